//! Remote write: what other servers and agents push to us.
//!
//! ```text
//! body ─ decompress (bounded) ─ wire (borrowed fields) ─ v1 | v2 ─ one batch ─ Appender
//! ```
//!
//! The decoders walk the wire bytes and build no object tree; a known series is
//! found by a hash of the bytes that name it.

#![forbid(unsafe_code)]

mod batch;
pub mod body;
mod faults;
mod histogram;
pub mod receiver;
mod series;
mod v1;
mod v2;
pub mod wire;

pub use receiver::{Message, Receiver, ReceiverOptions, Reply, Stats};
pub use v2::Options as V2Options;
