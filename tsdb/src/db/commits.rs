//! Waking those who follow the log.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Counts commits; others can wait for the next.
#[derive(Default)]
pub(crate) struct Commits {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Commits {
    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        *self.count.lock()
    }

    /// Notes one.
    pub(crate) fn add(&self) {
        *self.count.lock() += 1;
        self.changed.notify_all();
    }

    /// Waits until there were more than `seen`, or the time is up.
    pub(crate) fn wait(&self, seen: u64, timeout: Duration) {
        let mut count = self.count.lock();
        if *count == seen {
            self.changed.wait_for(&mut count, timeout);
        }
    }
}
