//! The store as those who write see it: not there until it is open, and closed
//! to new series when memory runs out.
//!
//! ```text
//! scraping, remote write ─► OpeningStore ─► GuardedStore ─► tsdb
//!                            not ready        new series are asked of the account
//! ```

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use model::Labels;
use model::append::{
    AppendError, Appendable, Appender, Durability, ExemplarError, FloatBatch, HistogramSample,
    HistogramValue, Outcome, SeriesHandle,
};
use model::exemplar::Exemplar;
use model::memory::{Accountant, Owner, Pressure};
use model::metadata::Metadata;
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

/// What a new series takes beside its labels until its owners report it.
const SERIES_BYTES: u64 = 700;

/// A store that takes new series only while there is memory for them; samples
/// of known series always get through.
pub struct GuardedStore {
    store: Arc<dyn Appendable>,
    memory: Accountant,
    /// Series made since the owners of their bytes last reported.
    fresh: Arc<Owner>,
}

impl GuardedStore {
    /// Guards a store; `fresh` is set back by whoever has the owners report.
    pub fn new(store: Arc<dyn Appendable>, memory: Accountant, fresh: Arc<Owner>) -> GuardedStore {
        GuardedStore { store, memory, fresh }
    }
}

impl Appendable for GuardedStore {
    fn appender(&self) -> Result<Box<dyn Appender>, StorageError> {
        let inner = self.store.appender()?;
        Ok(Box::new(Guarded { inner, memory: self.memory.clone(), fresh: self.fresh.clone() }))
    }
}

struct Guarded {
    inner: Box<dyn Appender>,
    memory: Accountant,
    fresh: Arc<Owner>,
}

impl Appender for Guarded {
    fn series(&mut self, labels: &Labels) -> Result<SeriesHandle, AppendError> {
        if let Some(known) = self.inner.find_series(labels) {
            return Ok(known);
        }
        let bytes = SERIES_BYTES + labels.as_bytes().len() as u64;
        self.memory
            .admit("a new series", bytes, Pressure::RefuseSeries)
            .map_err(|refused| AppendError::Refused(refused.to_string()))?;
        let made = self.inner.series(labels)?;
        self.fresh.add(bytes);
        Ok(made)
    }

    fn find_series(&mut self, labels: &Labels) -> Option<SeriesHandle> {
        self.inner.find_series(labels)
    }

    fn append_floats(&mut self, batch: FloatBatch<'_>, outcomes: &mut Vec<Outcome>) {
        self.inner.append_floats(batch, outcomes);
    }

    fn append_histograms(&mut self, samples: Vec<HistogramSample>, outcomes: &mut Vec<Outcome>) {
        self.inner.append_histograms(samples, outcomes);
    }

    fn append_start_zero(
        &mut self,
        series: SeriesHandle,
        timestamp_ms: i64,
        start_timestamp_ms: i64,
        like: Option<&HistogramValue>,
    ) -> Outcome {
        self.inner.append_start_zero(series, timestamp_ms, start_timestamp_ms, like)
    }

    fn append_exemplar(&mut self, series: SeriesHandle, exemplar: &Exemplar) -> Result<(), ExemplarError> {
        self.inner.append_exemplar(series, exemplar)
    }

    fn update_metadata(&mut self, series: SeriesHandle, metadata: &Metadata) {
        self.inner.update_metadata(series, metadata);
    }

    fn commit(self: Box<Self>) -> Result<Durability, StorageError> {
        self.inner.commit()
    }

    fn rollback(self: Box<Self>) {
        self.inner.rollback();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::append::Timestamps;

    #[test]
    fn near_the_ceiling_known_series_get_through_and_new_ones_do_not() {
        let memory = Accountant::new(100 << 20);
        let other = memory.owner("other");
        let fresh = Arc::new(memory.owner("fresh_series"));
        let store = GuardedStore::new(Arc::new(testkit::MemoryStore::new()), memory.clone(), fresh.clone());
        let mut appender = store.appender().unwrap();
        let known = Labels::from_pairs([("__name__", "a")]);
        appender.series(&known).unwrap();
        assert!(fresh.get() > SERIES_BYTES, "its bytes are noted until somebody reports them");
        let before = fresh.get();
        other.set(96 << 20);
        let handle = appender.series(&known).unwrap();
        assert_eq!(fresh.get(), before, "it exists: nothing is added");
        let refused = appender.series(&Labels::from_pairs([("__name__", "b")])).unwrap_err().to_string();
        assert!(refused.contains("no room for a new series: a new series needs"), "{refused}");
        assert!(refused.contains("of 104857600 are in use"), "with numbers: {refused}");
        let mut outcomes = Vec::new();
        let batch = FloatBatch {
            series: &[handle],
            timestamps: Timestamps::Same(1000),
            start_timestamps: None,
            values: &[1.0],
            in_order_only: false,
        };
        appender.append_floats(batch, &mut outcomes);
        assert!(outcomes[0].is_ok());
        appender.commit().unwrap();
    }
}
