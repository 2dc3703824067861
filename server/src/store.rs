//! The store as scraping and the API see it while it is still being opened:
//! not ready, then the real one.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use model::append::{Appendable, Appender};
use model::query::StorageError;

/// An [`Appendable`] that is not ready until it is given the real one.
#[derive(Default)]
pub struct OpeningStore {
    open: ArcSwapOption<Arc<dyn Appendable>>,
}

impl OpeningStore {
    /// Hands in the open store.
    pub fn set(&self, store: Arc<dyn Appendable>) {
        self.open.store(Some(Arc::new(store)));
    }
}

impl Appendable for OpeningStore {
    fn appender(&self) -> Result<Box<dyn Appender>, StorageError> {
        match &*self.open.load() {
            Some(store) => store.appender(),
            None => Err(StorageError::NotReady),
        }
    }
}
