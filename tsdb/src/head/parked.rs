//! Batches that come while the log is still being read.
//!
//! ```text
//! replay  ├── segments 0 … 7 ──────────────────────┤ held batches ├─ open
//! scrapes      ├ logged in segment 8, held ┤ … ┤ …  ▲
//! ```
//!
//! Such a batch is logged at once, in a segment that the replay does not read,
//! and held; when the replay is over it goes into the head, before any batch that
//! comes later. Which series exist is not known yet, so each gets a number above
//! all that were given out; where the series turns out to exist, the log knows it
//! by two numbers from then on, as it does after a restart anyway.
//!
//! What is held is bounded; beyond that batches are refused until the replay is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use model::append::Existing;
use model::{
    AppendError, Appendable, Appender, Clock, Durability, Exemplar, ExemplarError, FloatBatch,
    HistogramSample, HistogramValue, Labels, Metadata, Outcome, SeriesHandle, SeriesRef, StorageError,
    Timestamps,
};
use parking_lot::Mutex;

use super::append::{Batch, HeadAppender, PendingExemplar, PendingFloat, PendingHistogram, PendingRun};
use super::page::NO_TIME;
use super::slots::SLOTS_MAX;
use crate::db::log::Log;
use crate::db::records::{Records, encode_batch, join_runs};
use crate::db::{DbOptions, Store};
use crate::wal::record::put_series;

/// Handles of held series: beyond every slot, so that the head does not know them.
const FIRST_SLOT: u32 = SLOTS_MAX;

/// A series of held batches.
struct ParkedSeries {
    labels: Labels,
    series_ref: u64,
    newest: i64,
    /// Bits of the newest value, `None` for a histogram.
    newest_bits: Option<u64>,
}

#[derive(Default)]
struct State {
    by_labels: HashMap<Labels, u32, rapidhash::fast::RandomState>,
    series: Vec<ParkedSeries>,
    /// The first so many have their record in the log.
    logged: usize,
    held: Vec<Batch>,
    bytes: u64,
    /// Batches under way.
    appenders: usize,
    /// The head, once the replay is over, and where the series are in it.
    open: Option<(Arc<Store>, Vec<Option<SeriesHandle>>)>,
}

impl Store {
    /// Puts a batch that is in the log already into memory.
    fn apply_logged(&self, mut batch: Batch) -> Result<(), StorageError> {
        join_runs(&mut batch);
        let rules = self.head.rules.load_full();
        let apply = self.head.apply.lock();
        let (late, closing) = self.head.apply(&mut batch, &rules);
        let late_result = if late.is_empty() { Ok(()) } else { self.apply_late(late, &rules).map(drop) };
        drop(apply);
        for pending in batch.exemplars.drain(..) {
            self.add_exemplar(pending.slot, Some(pending.series_ref), pending.exemplar);
        }
        self.write_closing(&closing)?;
        late_result
    }
}

/// Takes batches before there is a head for them.
pub(crate) struct Parked {
    log: Arc<Log>,
    clock: Arc<dyn Clock>,
    first_ref: u64,
    bytes_max: u64,
    with_starts: bool,
    with_metadata: bool,
    state: Mutex<State>,
}

/// The same, to be handed out.
pub(crate) struct ParkedDoor(pub(crate) Arc<Parked>);

impl Parked {
    /// Holds batches, logged in `log` with numbers from `first_ref` on.
    pub(crate) fn new(log: Arc<Log>, clock: Arc<dyn Clock>, first_ref: u64, options: &DbOptions) -> Parked {
        Parked {
            log,
            clock,
            first_ref,
            bytes_max: options.parked_bytes_max,
            with_starts: options.start_timestamp_storage,
            with_metadata: options.metadata_storage,
            state: Mutex::default(),
        }
    }

    /// Puts everything that is held into the head, in order; from here on batches
    /// go there at once.
    ///
    /// # Errors
    /// Late samples cannot be logged.
    pub(crate) fn open(&self, store: &Arc<Store>) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        let mut handles = Vec::with_capacity(state.series.len());
        let mut aliases = Vec::new();
        for series in &state.series {
            let found = store.head.find_or_restore(&series.labels, series.series_ref).ok();
            if let Some(found) = found.filter(|found| found.series_ref.0 != series.series_ref) {
                aliases.push((series.series_ref, found.series_ref.0));
            }
            handles.push(found.map(|found| found.handle));
        }
        let numbers: Vec<u64> = aliases.iter().map(|alias| alias.0).collect();
        store.needed.until(&numbers, store.newest_segment());
        store.aliases.lock().extend(aliases);
        let held = std::mem::take(&mut state.held);
        if !held.is_empty() {
            let (batches, series) = (held.len(), handles.len());
            tracing::info!(batches, series, "what came while the log was read goes into the head");
        }
        for batch in held {
            let mut appender = HeadAppender::new(store.clone());
            feed(&mut appender, batch, &handles);
            store.apply_logged(appender.batch)?;
        }
        state.open = Some((store.clone(), handles));
        state.forget_if_idle();
        Ok(())
    }

    fn series(&self, labels: &Labels) -> Result<SeriesHandle, AppendError> {
        if labels.is_empty() {
            return Err(AppendError::EmptyLabels);
        }
        let state = &mut *self.state.lock();
        if let Some(&n) = state.by_labels.get(labels) {
            return Ok(handle_of(n));
        }
        if let Some(name) = labels.duplicate_name() {
            return Err(AppendError::DuplicateLabel(name.to_owned()));
        }
        let bytes = (labels.heap_bytes() + size_of::<ParkedSeries>() + 32) as u64;
        if state.bytes + bytes > self.bytes_max {
            return Err(AppendError::Refused("the log is still being read".to_owned()));
        }
        if let Some((store, handles)) = &mut state.open {
            handles.push(Some(store.head.find_or_create(labels)?.0.handle));
        }
        let n = state.series.len() as u32;
        state.bytes += bytes;
        state.by_labels.insert(labels.clone(), n);
        let series_ref = self.first_ref + u64::from(n);
        state.series.push(ParkedSeries {
            labels: labels.clone(),
            series_ref,
            newest: NO_TIME,
            newest_bits: None,
        });
        Ok(handle_of(n))
    }

    fn commit(&self, mut batch: Batch) -> Result<Durability, StorageError> {
        join_runs(&mut batch);
        let mut records = Records::default();
        encode_batch(&batch, self.with_starts, self.with_metadata, &mut records);
        let packed = self.log.pack(&records);
        let state = &mut *self.state.lock();
        if let Some((store, handles)) = &state.open {
            // The replay ended meanwhile.
            let mut appender = HeadAppender::new(store.clone());
            feed(&mut appender, batch, handles);
            return Box::new(appender).commit();
        }
        let bytes = batch_bytes(&batch);
        if state.bytes + bytes > self.bytes_max {
            return Err(StorageError::NotReady);
        }
        let mut series = Records::default();
        if state.logged < state.series.len() {
            let unlogged = &state.series[state.logged..];
            series.add(|out| put_series(out, unlogged.iter().map(|s| (SeriesRef(s.series_ref), &s.labels))));
        }
        let series = self.log.pack(&series);
        let durability = self.log.append(&mut self.log.lock(), [series, packed], self.clock.monotonic())?;
        state.logged = state.series.len();
        state.bytes += bytes;
        for float in &batch.floats {
            let series = &mut state.series[place_of(float.slot)];
            (series.newest, series.newest_bits) = (float.t, Some(float.v.to_bits()));
        }
        for histogram in &batch.histograms {
            let series = &mut state.series[place_of(histogram.slot)];
            (series.newest, series.newest_bits) = (histogram.t, None);
        }
        state.held.push(batch);
        Ok(durability)
    }
}

impl State {
    fn forget_if_idle(&mut self) {
        if self.appenders == 0 && self.open.is_some() {
            *self =
                State { open: self.open.take().map(|(store, _)| (store, Vec::new())), ..State::default() };
        }
    }
}

impl Appendable for ParkedDoor {
    fn appender(&self) -> Result<Box<dyn Appender>, StorageError> {
        let mut state = self.0.state.lock();
        if let Some((store, _)) = &state.open {
            if store.closed.load(Ordering::Acquire) {
                return Err(StorageError::NotReady);
            }
            return Ok(Box::new(HeadAppender::new(store.clone())));
        }
        if state.bytes >= self.0.bytes_max {
            return Err(StorageError::NotReady);
        }
        state.appenders += 1;
        Ok(Box::new(ParkedAppender { parked: self.0.clone(), batch: Batch::default() }))
    }
}

fn handle_of(n: u32) -> SeriesHandle {
    SeriesHandle { slot: FIRST_SLOT + n, generation: 0 }
}

fn place_of(slot: u32) -> usize {
    (slot - FIRST_SLOT) as usize
}

fn batch_bytes(batch: &Batch) -> u64 {
    let exemplars: usize = batch.exemplars.iter().map(|e| e.exemplar.labels.heap_bytes()).sum();
    let bytes = size_of::<Batch>()
        + batch.floats.len() * size_of::<PendingFloat>()
        + batch.starts.len() * 8
        + batch.histograms.len() * (size_of::<PendingHistogram>() + 512)
        + batch.exemplars.len() * size_of::<PendingExemplar>()
        + exemplars
        + batch.metadata.len() * 256;
    bytes as u64
}

/// Gives a held batch to an appender of the head, as if it came now.
fn feed(appender: &mut HeadAppender, batch: Batch, handles: &[Option<SeriesHandle>]) {
    let handle = |slot: u32| handles.get(place_of(slot)).copied().flatten();
    let mut outcomes = Vec::new();
    let (mut float, mut histograms) = (0, batch.histograms.into_iter());
    for run in &batch.runs {
        match *run {
            PendingRun::Floats(n) => {
                let starts = batch.starts.get(float..float + n);
                let (mut series, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new());
                let mut kept_starts = Vec::new();
                for (i, sample) in batch.floats[float..float + n].iter().enumerate() {
                    let Some(handle) = handle(sample.slot) else { continue };
                    series.push(handle);
                    times.push(sample.t);
                    values.push(sample.v);
                    kept_starts.extend(starts.map(|starts| starts[i]));
                }
                float += n;
                let floats = FloatBatch {
                    series: &series,
                    timestamps: Timestamps::Each(&times),
                    start_timestamps: starts.map(|_| &kept_starts[..]),
                    values: &values,
                    in_order_only: false,
                };
                appender.append_floats(floats, &mut outcomes);
            }
            PendingRun::Histograms(n) => {
                let samples = histograms.by_ref().take(n).filter_map(|sample| {
                    Some(HistogramSample {
                        series: handle(sample.slot)?,
                        timestamp_ms: sample.t,
                        start_timestamp_ms: sample.start,
                        value: sample.value,
                    })
                });
                appender.append_histograms(samples.collect(), &mut outcomes);
            }
        }
    }
    for pending in &batch.exemplars {
        if let Some(series) = handle(pending.slot) {
            // Refused ones are passed over, as in a replay.
            let _ = appender.append_exemplar(series, &pending.exemplar);
        }
    }
    for (slot, _, metadata) in &batch.metadata {
        if let Some(series) = handle(*slot) {
            appender.update_metadata(series, metadata);
        }
    }
}

/// A batch under way that will be held.
struct ParkedAppender {
    parked: Arc<Parked>,
    batch: Batch,
}

impl ParkedAppender {
    /// The number of a handle's series, where it is one of a held series.
    fn number(&self, series: SeriesHandle) -> Option<u64> {
        let n = series.slot.checked_sub(FIRST_SLOT)?;
        (series.generation == 0).then(|| self.parked.first_ref + u64::from(n))
    }

    /// What is to be said of a sample, as far as held batches tell.
    fn judge(&self, series: SeriesHandle, t: i64, bits: Option<u64>) -> Outcome {
        let state = self.parked.state.lock();
        let Some(series) = series.slot.checked_sub(FIRST_SLOT).and_then(|n| state.series.get(n as usize))
        else {
            return Outcome::UnknownSeries;
        };
        match t.cmp(&series.newest) {
            std::cmp::Ordering::Greater => Outcome::Accepted,
            std::cmp::Ordering::Less => Outcome::OutOfOrder,
            std::cmp::Ordering::Equal => match (series.newest_bits, bits) {
                (Some(held), Some(bits)) if held == bits => Outcome::Unchanged,
                (Some(held), _) => {
                    Outcome::DuplicateTimestamp { existing: Existing::Float(f64::from_bits(held)) }
                }
                (None, _) => Outcome::DuplicateTimestamp { existing: Existing::Histogram },
            },
        }
    }
}

impl Appender for ParkedAppender {
    fn series(&mut self, labels: &Labels) -> Result<SeriesHandle, AppendError> {
        self.parked.series(labels)
    }

    fn find_series(&mut self, labels: &Labels) -> Option<SeriesHandle> {
        self.parked.state.lock().by_labels.get(labels).copied().map(handle_of)
    }

    fn append_floats(&mut self, batch: FloatBatch<'_>, outcomes: &mut Vec<Outcome>) {
        outcomes.clear();
        for (n, &series) in batch.series.iter().enumerate() {
            let (t, v) = (batch.timestamps.at(n), batch.values[n]);
            let outcome = self.judge(series, t, Some(v.to_bits()));
            outcomes.push(outcome);
            let Some(series_ref) = self.number(series).filter(|_| outcome == Outcome::Accepted) else {
                continue;
            };
            let start = batch.start_timestamps.map_or(0, |starts| starts[n]);
            let held = &mut self.batch;
            if start != 0 || !held.starts.is_empty() {
                held.starts.resize(held.floats.len(), 0);
                held.starts.push(start);
            }
            held.floats.push(PendingFloat { slot: series.slot, out_of_order: false, series_ref, t, v });
            held.extend_floats(1);
        }
    }

    fn append_histograms(&mut self, samples: Vec<HistogramSample>, outcomes: &mut Vec<Outcome>) {
        outcomes.clear();
        for sample in samples {
            let outcome = match sample.value.validate() {
                Err(error) => Outcome::InvalidHistogram(error),
                Ok(()) => self.judge(sample.series, sample.timestamp_ms, None),
            };
            outcomes.push(outcome);
            let Some(series_ref) = self.number(sample.series).filter(|_| outcome == Outcome::Accepted) else {
                continue;
            };
            self.batch.histograms.push(PendingHistogram {
                slot: sample.series.slot,
                out_of_order: false,
                series_ref,
                t: sample.timestamp_ms,
                start: sample.start_timestamp_ms,
                value: sample.value,
            });
            self.batch.extend_histograms(1);
        }
    }

    fn append_start_zero(
        &mut self,
        _: SeriesHandle,
        timestamp_ms: i64,
        start_timestamp_ms: i64,
        _: Option<&HistogramValue>,
    ) -> Outcome {
        if start_timestamp_ms >= timestamp_ms {
            return Outcome::StartNotBeforeSample;
        }
        // Most series have samples behind their start, in the log being read.
        Outcome::StartOutOfOrder
    }

    fn append_exemplar(&mut self, series: SeriesHandle, exemplar: &Exemplar) -> Result<(), ExemplarError> {
        let series_ref = self.number(series).ok_or(ExemplarError::UnknownSeries)?;
        let exemplar = exemplar.clone();
        self.batch.exemplars.push(PendingExemplar { slot: series.slot, series_ref, exemplar });
        Ok(())
    }

    fn update_metadata(&mut self, series: SeriesHandle, metadata: &Metadata) {
        if let Some(series_ref) = self.number(series) {
            self.batch.metadata.push((series.slot, series_ref, metadata.clone()));
        }
    }

    fn commit(mut self: Box<Self>) -> Result<Durability, StorageError> {
        let batch = std::mem::take(&mut self.batch);
        self.parked.commit(batch)
    }

    fn rollback(self: Box<Self>) {
        drop(self);
    }
}

impl Drop for ParkedAppender {
    fn drop(&mut self) {
        let mut state = self.parked.state.lock();
        state.appenders -= 1;
        state.forget_if_idle();
    }
}
