//! Benchmarks: one file per layer and verb.
