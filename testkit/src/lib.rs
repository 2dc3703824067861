//! For tests only: where the conformance data lies, a simulated clock, seeded
//! data, a simulated disk, and the runner of promqltest scripts.

#![forbid(unsafe_code)]

mod clock;
mod conformance;
pub mod exporter;
pub mod http;
mod seed;

pub use clock::TestClock;
pub use conformance::{conformance_dir, json_lines};
pub use seed::Rng;
