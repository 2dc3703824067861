//! How far the replay is: written by the thread that opens, read by others.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::admin::ReplayProgress;

/// The state of a database that is being opened. Shared with those who wait.
#[derive(Debug, Default)]
pub struct ReplayCell {
    min: AtomicU64,
    max: AtomicU64,
    current: AtomicU64,
    done: AtomicBool,
}

impl ReplayCell {
    /// Nothing was read yet.
    pub fn new() -> ReplayCell {
        ReplayCell::default()
    }

    /// Where the replay is.
    pub fn progress(&self) -> ReplayProgress {
        ReplayProgress {
            min: self.min.load(Ordering::Relaxed),
            max: self.max.load(Ordering::Relaxed),
            current: self.current.load(Ordering::Relaxed),
        }
    }

    /// Whether the database is open.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub(crate) fn begin(&self, min: u64, max: u64) {
        self.min.store(min, Ordering::Relaxed);
        self.max.store(max, Ordering::Relaxed);
        self.current.store(min, Ordering::Relaxed);
    }

    pub(crate) fn reach(&self, segment: u64) {
        self.current.store(segment, Ordering::Relaxed);
    }

    pub(crate) fn finish(&self) {
        self.done.store(true, Ordering::Release);
    }
}
