//! Benchmarks: one file per layer and verb.

pub mod workload;
