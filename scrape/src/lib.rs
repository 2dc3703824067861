//! Scraping: from a target's address to samples in the store.
//!
//! ```text
//! discovery ─groups─▶ manager ─▶ pool (one a job) ─▶ loop (one a target)
//!                                                      │ each interval
//!                                  fetch ─page─▶ append ─┴─batch─▶ store
//!                                          exposition, cache, metadata
//! ```

#![forbid(unsafe_code)]

mod append;
mod cache;
pub mod exposition;
mod failure_log;
pub mod fetch;
pub mod job;
mod labelling;
pub mod manager;
pub mod metadata;
mod metrics;
mod page_appender;
mod page_pool;
mod pool;
mod report;
mod scrape_loop;
mod synthesis;
pub mod target;

/// Who speaks in the log.
pub(crate) const COMPONENT: &str = "scrape manager";

pub use append::{AppendOptions, PageError};
pub use failure_log::{FailureLog, FailureLogError};
pub use fetch::NetFetchFactory;
pub use labelling::LabelError;
pub use manager::{ManagerOptions, ScrapeManager};
pub use page_appender::{PageAppender, PageCounts};
pub use pool::PoolTargets;
pub use target::Target;
