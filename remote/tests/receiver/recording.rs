//! A store that records what it is told, with slots that can change hands.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::append::{Existing, Outcome, Timestamps};
use model::{
    AppendError, Appendable, Appender, Durability, Exemplar, ExemplarError, FloatBatch, HistogramSample,
    HistogramValue, Labels, Metadata, SeriesHandle, StorageError,
};
use parking_lot::Mutex;

/// What a series holds: (time, start, value).
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    pub floats: Vec<(i64, i64, f64)>,
    pub histograms: Vec<(i64, i64, HistogramValue)>,
    pub exemplars: Vec<Exemplar>,
    pub metadata: Option<Metadata>,
}

impl Recorded {
    fn newest_ms(&self) -> i64 {
        let float = self.floats.last().map_or(i64::MIN, |sample| sample.0);
        float.max(self.histograms.last().map_or(i64::MIN, |sample| sample.0))
    }
}

#[derive(Clone, Debug, Default)]
struct Data {
    /// Labels, generation and samples by slot.
    slots: Vec<(Labels, u32, Recorded)>,
}

/// The store. Clones are the same store.
#[derive(Clone, Default)]
pub struct Store {
    data: Arc<Mutex<Data>>,
    /// Whether commits fail.
    pub fail_commit: Arc<Mutex<bool>>,
    /// Whether commits cannot be logged.
    pub memory_only: Arc<Mutex<bool>>,
    /// Whether samples may come in any order.
    any_order: bool,
}

impl Store {
    pub fn of_any_order() -> Store {
        Store { any_order: true, ..Store::default() }
    }

    pub fn series(&self) -> BTreeMap<String, Recorded> {
        let data = self.data.lock();
        data.slots.iter().map(|(labels, _, recorded)| (labels.to_string(), recorded.clone())).collect()
    }

    /// Gives the slot of every series to the next one: all handles go stale.
    pub fn move_all(&self) {
        let mut data = self.data.lock();
        data.slots.rotate_right(1);
        for slot in &mut data.slots {
            slot.1 += 1;
        }
    }
}

impl Appendable for Store {
    fn appender(&self) -> Result<Box<dyn Appender>, StorageError> {
        Ok(Box::new(Batch { store: self.clone(), data: self.data.lock().clone() }))
    }
}

struct Batch {
    store: Store,
    data: Data,
}

impl Batch {
    fn slot(&mut self, handle: SeriesHandle) -> Option<&mut Recorded> {
        let (_, generation, recorded) = self.data.slots.get_mut(handle.slot as usize)?;
        (*generation == handle.generation).then_some(recorded)
    }

    fn check(&mut self, handle: SeriesHandle, timestamp_ms: i64) -> Outcome {
        let any_order = self.store.any_order;
        let Some(recorded) = self.slot(handle) else { return Outcome::UnknownSeries };
        if any_order {
            return Outcome::Accepted;
        }
        if timestamp_ms < recorded.newest_ms() {
            return Outcome::OutOfOrder;
        }
        match (recorded.floats.last(), recorded.newest_ms() == timestamp_ms) {
            (_, false) => Outcome::Accepted,
            (Some(&(at, _, value)), true) if at == timestamp_ms => {
                Outcome::DuplicateTimestamp { existing: Existing::Float(value) }
            }
            _ => Outcome::DuplicateTimestamp { existing: Existing::Histogram },
        }
    }
}

impl Appender for Batch {
    fn series(&mut self, labels: &Labels) -> Result<SeriesHandle, AppendError> {
        if labels.is_empty() {
            return Err(AppendError::EmptyLabels);
        }
        if let Some(handle) = self.find_series(labels) {
            return Ok(handle);
        }
        self.data.slots.push((labels.clone(), 1, Recorded::default()));
        Ok(SeriesHandle { slot: self.data.slots.len() as u32 - 1, generation: 1 })
    }

    fn find_series(&mut self, labels: &Labels) -> Option<SeriesHandle> {
        let slot = self.data.slots.iter().position(|(have, ..)| have == labels)?;
        Some(SeriesHandle { slot: slot as u32, generation: self.data.slots[slot].1 })
    }

    fn append_floats(&mut self, batch: FloatBatch<'_>, outcomes: &mut Vec<Outcome>) {
        outcomes.clear();
        assert!(!matches!(batch.timestamps, Timestamps::Each(all) if all.len() != batch.values.len()));
        for (i, &handle) in batch.series.iter().enumerate() {
            let at = batch.timestamps.at(i);
            let mut outcome = self.check(handle, at);
            if let Some(recorded) = self.slot(handle) {
                match outcome {
                    Outcome::Accepted => {
                        let start = batch.start_timestamps.map_or(0, |starts| starts[i]);
                        recorded.floats.push((at, start, batch.values[i]));
                    }
                    Outcome::DuplicateTimestamp { existing: Existing::Float(have) }
                        if have.to_bits() == batch.values[i].to_bits() =>
                    {
                        outcome = Outcome::Unchanged;
                    }
                    _ => {}
                }
            }
            outcomes.push(outcome);
        }
    }

    fn append_histograms(&mut self, samples: Vec<HistogramSample>, outcomes: &mut Vec<Outcome>) {
        outcomes.clear();
        for sample in samples {
            let outcome = match sample.value.validate() {
                Err(error) => Outcome::InvalidHistogram(error),
                Ok(()) => self.check(sample.series, sample.timestamp_ms),
            };
            if outcome == Outcome::Accepted
                && let Some(recorded) = self.slot(sample.series)
            {
                recorded.histograms.push((sample.timestamp_ms, sample.start_timestamp_ms, sample.value));
            }
            outcomes.push(outcome);
        }
    }

    fn append_start_zero(
        &mut self,
        series: SeriesHandle,
        timestamp_ms: i64,
        start_timestamp_ms: i64,
        _: Option<&HistogramValue>,
    ) -> Outcome {
        if start_timestamp_ms >= timestamp_ms {
            return Outcome::StartNotBeforeSample;
        }
        match self.check(series, start_timestamp_ms) {
            Outcome::Accepted => {
                if let Some(recorded) = self.slot(series) {
                    recorded.floats.push((start_timestamp_ms, 0, 0.0));
                }
                Outcome::Accepted
            }
            _ => Outcome::StartOutOfOrder,
        }
    }

    fn append_exemplar(&mut self, series: SeriesHandle, exemplar: &Exemplar) -> Result<(), ExemplarError> {
        let recorded = self.slot(series).ok_or(ExemplarError::UnknownSeries)?;
        if recorded.exemplars.last().is_some_and(|last| last.timestamp_ms > exemplar.timestamp_ms) {
            return Err(ExemplarError::OutOfOrder);
        }
        if recorded.exemplars.last() == Some(exemplar) {
            return Err(ExemplarError::Duplicate);
        }
        recorded.exemplars.push(exemplar.clone());
        Ok(())
    }

    fn update_metadata(&mut self, series: SeriesHandle, metadata: &Metadata) {
        if let Some(recorded) = self.slot(series) {
            recorded.metadata = Some(metadata.clone());
        }
    }

    fn commit(self: Box<Self>) -> Result<Durability, StorageError> {
        if *self.store.fail_commit.lock() {
            return Err(StorageError::Io {
                op: "write",
                path: "wal".into(),
                source: std::io::Error::from(std::io::ErrorKind::StorageFull),
            });
        }
        *self.store.data.lock() = self.data;
        Ok(if *self.store.memory_only.lock() { Durability::MemoryOnly } else { Durability::Logged })
    }

    fn rollback(self: Box<Self>) {}
}
