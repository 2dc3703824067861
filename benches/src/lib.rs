//! Benchmarks: one file per layer and verb.

pub mod load;
pub mod query_data;
pub mod query_set;
pub mod workload;
