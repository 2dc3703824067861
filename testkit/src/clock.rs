//! A clock that goes only when told to.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::Clock;

/// A clock whose wall time and monotonic time are set by the test.
#[derive(Debug, Default)]
pub struct TestClock {
    wall_ms: AtomicI64,
    monotonic_ms: AtomicI64,
}

impl TestClock {
    /// A clock that shows `now_ms`.
    pub fn new(now_ms: i64) -> TestClock {
        TestClock { wall_ms: AtomicI64::new(now_ms), monotonic_ms: AtomicI64::new(0) }
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).expect("a test advances by less than 292 million years");
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or NTP would.
    pub fn set_wall(&self, now_ms: i64) {
        self.wall_ms.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst).unsigned_abs())
    }
}
