//! For tests only: where the conformance data lies, a simulated clock, seeded
//! data, a simulated disk, and the runner of promqltest scripts.

#![forbid(unsafe_code)]

mod clock;
mod conformance;
pub mod disk;
pub mod exporter;
pub mod http;
pub mod life;
mod made_up;
pub mod memory_store;
pub mod promqltest;
pub mod querygen;
mod seed;
pub mod sender;

pub use clock::TestClock;
pub use conformance::{conformance_dir, json_lines};
pub use made_up::MadeUp;
pub use memory_store::MemoryStore;
pub use seed::Rng;
