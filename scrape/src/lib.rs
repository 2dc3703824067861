//! Scraping: from a target's address to samples in the store.
//!
//! ```text
//! discovery ─groups─▶ manager ─▶ pool (one a job) ─▶ loop (one a target)
//!                                                      │ each interval
//!                                  fetch ─page─▶ append ─┴─batch─▶ store
//!                                          exposition, cache, metadata
//! ```

#![forbid(unsafe_code)]

pub mod exposition;
pub mod job;
pub mod metadata;
pub mod target;
