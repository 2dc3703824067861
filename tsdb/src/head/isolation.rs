//! Who sees what: numbers of batches, of readers and of collections.
//!
//! One number rises with every published batch and every collection. A reader
//! remembers the number at its start; samples of batches above it are hidden by
//! the `before` marks that a page keeps (see `head/page.rs`), and what a
//! collection took away stays in place until no reader from before is left.
//!
//! ```text
//! published  …  41      42 (applying)
//! reader A: 41 ─────── sees ≤ 41 ───────────────▶
//!                        reader B: 41 ──▶    (42 is published only when whole)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The numbers. One for a head.
#[derive(Default)]
pub(crate) struct Isolation {
    published: AtomicU64,
    readers: Mutex<BTreeMap<u64, usize>>,
    appenders: Mutex<BTreeMap<u64, usize>>,
    appender_left: Condvar,
}

impl Isolation {
    /// The number of the newest batch that is wholly visible.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Makes everything up to `number` visible. One caller at a time.
    pub(crate) fn publish(&self, number: u64) {
        self.published.store(number, Ordering::Release);
    }

    /// Starts a reader that sees what is published now.
    pub(crate) fn read(self: &Arc<Self>) -> ReadMark {
        let mut readers = self.readers.lock();
        let number = self.published();
        *readers.entry(number).or_insert(0) += 1;
        ReadMark { isolation: self.clone(), number }
    }

    /// Notes an appender, so that collections leave alone what it may have touched.
    pub(crate) fn append(self: &Arc<Self>) -> AppendMark {
        let mut appenders = self.appenders.lock();
        let number = self.published();
        *appenders.entry(number).or_insert(0) += 1;
        AppendMark { isolation: self.clone(), number }
    }

    /// The number of the oldest reader, `u64::MAX` where there is none.
    pub(crate) fn oldest_reader(&self) -> u64 {
        self.readers.lock().keys().next().copied().unwrap_or(u64::MAX)
    }

    /// The number of the oldest appender, `u64::MAX` where there is none.
    pub(crate) fn oldest_appender(&self) -> u64 {
        self.appenders.lock().keys().next().copied().unwrap_or(u64::MAX)
    }

    /// Waits until all appenders from before `number` have ended; `false` where
    /// some has not within `timeout`.
    pub(crate) fn wait_for_appenders(&self, number: u64, timeout: Duration) -> bool {
        let is_older = |appenders: &mut BTreeMap<u64, usize>| {
            appenders.keys().next().is_some_and(|oldest| *oldest < number)
        };
        let mut appenders = self.appenders.lock();
        self.appender_left.wait_while_for(&mut appenders, is_older, timeout);
        !is_older(&mut appenders)
    }

    /// How many appenders are under way.
    pub(crate) fn active_appenders(&self) -> usize {
        self.appenders.lock().values().sum()
    }
}

fn leave(marks: &Mutex<BTreeMap<u64, usize>>, number: u64) {
    let mut marks = marks.lock();
    if let Some(count) = marks.get_mut(&number) {
        *count -= 1;
        if *count == 0 {
            marks.remove(&number);
        }
    }
}

/// A reader's place; dropping it ends the reader.
pub(crate) struct ReadMark {
    isolation: Arc<Isolation>,
    number: u64,
}

impl ReadMark {
    /// Batches above this number are not visible to the reader.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for ReadMark {
    fn drop(&mut self) {
        leave(&self.isolation.readers, self.number);
    }
}

/// An appender's place; dropping it ends the appender.
pub(crate) struct AppendMark {
    isolation: Arc<Isolation>,
    number: u64,
}

impl Drop for AppendMark {
    fn drop(&mut self) {
        leave(&self.isolation.appenders, self.number);
        self.isolation.appender_left.notify_all();
    }
}
