//! Series that a batch made: those that got no sample go with it.
//!
//! A sample that is out of bounds makes no series, as with upstream, which looks at
//! the time first. Here a series comes before its samples, so it is taken back. Until
//! then it is marked as fresh: whoever finds it or has a sample accepted for it takes
//! the mark away, under the lock of its page.

use std::sync::Arc;

use model::SeriesHandle;

use super::page::flag;
use super::slots::place;
use crate::db::Store;

/// The series of a batch under way. Dropping it takes back what is fresh.
pub(super) struct Made {
    store: Arc<Store>,
    handles: Vec<SeriesHandle>,
}

impl Made {
    /// None yet.
    pub(super) fn new(store: Arc<Store>) -> Made {
        Made { store, handles: Vec::new() }
    }

    /// The batch made a series.
    pub(super) fn note(&mut self, handle: SeriesHandle) {
        self.handles.push(handle);
    }

    /// Takes back what is fresh; answers the numbers, ascending.
    pub(super) fn take_back(mut self) -> Vec<u64> {
        self.take()
    }

    fn take(&mut self) -> Vec<u64> {
        let mut fresh = std::mem::take(&mut self.handles);
        let head = &self.store.head;
        fresh.retain(|&handle| {
            let (number, i) = place(handle.slot);
            let Some(page) = head.slots.page(number) else { return false };
            let page = page.lock();
            page.is_tenant(i, handle) && page.hot[i].flags & flag::FRESH != 0
        });
        if fresh.is_empty() {
            return Vec::new();
        }
        head.take_back(fresh)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.take();
    }
}
