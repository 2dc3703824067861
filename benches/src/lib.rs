//! Benchmarks: one file per layer and verb.

pub mod load;
pub mod workload;
