//! One batch on its way in: what is accepted, and what is remembered until the
//! commit.
//!
//! Nothing here changes a series; the checks look at the newest sample that is
//! committed, and the commit looks again (see `head/commit.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::append::Existing;
use model::{
    AppendError, Appender, CounterResetHint, Durability, Exemplar, ExemplarError, FloatBatch, FloatHistogram,
    Histogram, HistogramSample, HistogramValue, Labels, Metadata, Outcome, SeriesHandle, StorageError,
    is_stale_nan,
};

use super::isolation::AppendMark;
use super::made::Made;
use super::page::{NO_TIME, PageData, flag};
use super::slots::place;
use crate::db::Store;

/// A float that waits for the commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingFloat {
    pub(crate) slot: u32,
    pub(crate) out_of_order: bool,
    pub(crate) series_ref: u64,
    pub(crate) t: i64,
    pub(crate) v: f64,
}

/// A histogram that waits for the commit.
#[derive(Clone, Debug)]
pub(crate) struct PendingHistogram {
    pub(crate) slot: u32,
    pub(crate) out_of_order: bool,
    pub(crate) series_ref: u64,
    pub(crate) t: i64,
    pub(crate) start: i64,
    pub(crate) value: HistogramValue,
}

/// An exemplar that waits for the commit.
#[derive(Clone, Debug)]
pub(crate) struct PendingExemplar {
    pub(crate) slot: u32,
    pub(crate) series_ref: u64,
    pub(crate) exemplar: Exemplar,
}

/// Samples of one kind in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PendingRun {
    /// So many floats.
    Floats(usize),
    /// So many histograms.
    Histograms(usize),
}

/// What a batch holds.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) floats: Vec<PendingFloat>,
    /// Start timestamps of `floats`, empty where none is known.
    pub(crate) starts: Vec<i64>,
    pub(crate) histograms: Vec<PendingHistogram>,
    pub(crate) runs: Vec<PendingRun>,
    pub(crate) exemplars: Vec<PendingExemplar>,
    pub(crate) metadata: Vec<(u32, u64, Metadata)>,
}

impl Batch {
    pub(super) fn extend_floats(&mut self, n: usize) {
        match self.runs.last_mut() {
            _ if n == 0 => {}
            Some(PendingRun::Floats(len)) => *len += n,
            _ => self.runs.push(PendingRun::Floats(n)),
        }
    }

    pub(super) fn extend_histograms(&mut self, n: usize) {
        match self.runs.last_mut() {
            _ if n == 0 => {}
            Some(PendingRun::Histograms(len)) => *len += n,
            _ => self.runs.push(PendingRun::Histograms(n)),
        }
    }

    /// Drops what is said of series, ascending by number, that got no sample.
    fn forget(&mut self, gone: &[u64]) {
        if !gone.is_empty() {
            let stays = |series_ref: u64| gone.binary_search(&series_ref).is_err();
            self.exemplars.retain(|pending| stays(pending.series_ref));
            self.metadata.retain(|pending| stays(pending.1));
        }
    }
}

/// The bounds that hold for one batch, as of its start.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    min_valid: i64,
    head_max: i64,
    ooo_window: i64,
}

/// What a sample is compared with.
enum Newest {
    Float(u64),
    Histogram,
}

impl Bounds {
    /// What becomes of a sample at `t` in a series whose newest is at `last_t`.
    /// `duplicate` decides a sample at that very time.
    fn judge(
        &self,
        t: i64,
        last_t: i64,
        in_order_only: bool,
        duplicate: impl FnOnce() -> Outcome,
    ) -> Outcome {
        if t >= self.min_valid {
            if last_t == NO_TIME || t > last_t {
                return Outcome::Accepted;
            }
            if t == last_t {
                return duplicate();
            }
        }
        if self.ooo_window > 0 {
            return if in_order_only {
                Outcome::OutOfOrder
            } else if t >= self.head_max.saturating_sub(self.ooo_window) {
                Outcome::AcceptedOutOfOrder
            } else {
                Outcome::TooOld
            };
        }
        if t < self.min_valid { Outcome::OutOfBounds } else { Outcome::OutOfOrder }
    }
}

/// The newest sample of series `i`, where the time given is its time.
fn newest(page: &PageData, i: usize) -> Newest {
    if page.hot[i].flags & flag::HISTOGRAM != 0 {
        Newest::Histogram
    } else {
        Newest::Float(page.hot[i].float.last_value_bits())
    }
}

/// One batch under way.
pub(crate) struct HeadAppender {
    pub(super) store: Arc<Store>,
    pub(super) batch: Batch,
    pub(super) bounds: Bounds,
    /// Series that the batch made.
    made: Made,
    pub(super) mark: Option<AppendMark>,
}

impl HeadAppender {
    /// Starts a batch.
    pub(crate) fn new(store: Arc<Store>) -> HeadAppender {
        let head = &store.head;
        head.counts.appenders_created.fetch_add(1, Ordering::Relaxed);
        let bounds = Bounds {
            min_valid: head.appendable_from(),
            head_max: head.times.max(),
            ooo_window: head.rules.load().ooo_window_ms,
        };
        let mark = Some(head.isolation.append());
        let made = Made::new(store.clone());
        HeadAppender { store, batch: Batch::default(), bounds, made, mark }
    }

    /// The first sample ever sets the bounds.
    fn initialise(&mut self, t: i64) {
        let head = &self.store.head;
        if self.bounds.head_max == i64::MIN {
            if !head.times.is_initialised() {
                head.times.extend(t, t);
            }
            self.bounds.head_max = head.times.max();
            self.bounds.min_valid = self.bounds.min_valid.max(head.appendable_from());
        }
    }

    fn count(&self, outcome: &Outcome, histogram: bool) {
        let counts = &self.store.head.counts;
        let counter = match (outcome, histogram) {
            (Outcome::OutOfBounds, false) => &counts.floats_out_of_bounds,
            (Outcome::OutOfBounds, true) => &counts.histograms_out_of_bounds,
            (Outcome::OutOfOrder, false) => &counts.floats_out_of_order,
            // Upstream counts a histogram that comes twice here too, a float not.
            (Outcome::OutOfOrder | Outcome::Unchanged, true) => &counts.histograms_out_of_order,
            (Outcome::TooOld, false) => &counts.floats_too_old,
            (Outcome::TooOld, true) => &counts.histograms_too_old,
            (Outcome::UnknownSeries, _) => &counts.series_not_found,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Appender for HeadAppender {
    fn series(&mut self, labels: &Labels) -> Result<SeriesHandle, AppendError> {
        let head = &self.store.head;
        if let Some(found) = head.find(labels) {
            return Ok(found.handle);
        }
        // Its record must fit a segment of the log.
        let bytes: usize = labels.iter().map(|label| label.name.len() + label.value.len() + 20).sum();
        let max = self.store.options.wal_segment_bytes / 4;
        if bytes as u64 > max {
            return Err(AppendError::Refused(format!("its labels have {bytes} bytes of at most {max}")));
        }
        let (found, is_new) = head.find_or_create(labels)?;
        if is_new {
            self.made.note(found.handle);
        }
        Ok(found.handle)
    }

    fn find_series(&mut self, labels: &Labels) -> Option<SeriesHandle> {
        self.store.head.find(labels).map(|found| found.handle)
    }

    fn append_floats(&mut self, batch: FloatBatch<'_>, outcomes: &mut Vec<Outcome>) {
        self.judge_floats(batch, outcomes);
        for outcome in outcomes.iter().filter(|outcome| !outcome.is_ok()) {
            self.count(outcome, false);
        }
    }

    fn append_histograms(&mut self, samples: Vec<HistogramSample>, outcomes: &mut Vec<Outcome>) {
        outcomes.clear();
        for sample in samples {
            self.initialise(sample.timestamp_ms);
            let outcome = self.append_histogram(sample, false);
            self.count(&outcome, true);
            outcomes.push(outcome);
        }
    }

    fn append_start_zero(
        &mut self,
        series: SeriesHandle,
        timestamp_ms: i64,
        start_timestamp_ms: i64,
        like: Option<&HistogramValue>,
    ) -> Outcome {
        if start_timestamp_ms >= timestamp_ms {
            return Outcome::StartNotBeforeSample;
        }
        let outcome = match like {
            None => {
                let mut outcomes = Vec::with_capacity(1);
                let batch = FloatBatch {
                    series: &[series],
                    timestamps: model::Timestamps::Same(start_timestamp_ms),
                    start_timestamps: None,
                    values: &[0.0],
                    in_order_only: true,
                };
                self.judge_floats(batch, &mut outcomes);
                outcomes.pop().unwrap_or(Outcome::UnknownSeries)
            }
            Some(value) => {
                self.initialise(start_timestamp_ms);
                let sample = HistogramSample {
                    series,
                    timestamp_ms: start_timestamp_ms,
                    start_timestamp_ms: 0,
                    value: reset_like(value),
                };
                self.append_histogram(sample, true)
            }
        };
        match outcome {
            Outcome::OutOfOrder | Outcome::DuplicateTimestamp { .. } => Outcome::StartOutOfOrder,
            other => other,
        }
    }

    fn append_exemplar(&mut self, series: SeriesHandle, exemplar: &Exemplar) -> Result<(), ExemplarError> {
        let (page, i) = self.page_of(series).ok_or(ExemplarError::UnknownSeries)?;
        let series_ref = {
            let page = page.lock();
            if !page.is_tenant(i, series) {
                return Err(ExemplarError::UnknownSeries);
            }
            page.hot[i].series_ref
        };
        let window = self.bounds.ooo_window;
        self.store.exemplars.check(series_ref, exemplar, window)?;
        let exemplar = exemplar.clone();
        self.batch.exemplars.push(PendingExemplar { slot: series.slot, series_ref, exemplar });
        Ok(())
    }

    fn update_metadata(&mut self, series: SeriesHandle, metadata: &Metadata) {
        let store = self.store.clone();
        let (number, i) = place(series.slot);
        let Some(page) = store.head.slots.page(number) else { return };
        let page = page.lock();
        if !page.is_tenant(i, series) {
            return;
        }
        let known = page.cold[i].extra.as_ref().and_then(|extra| extra.metadata.as_deref());
        if known != Some(metadata) {
            let series_ref = page.hot[i].series_ref;
            self.batch.metadata.push((series.slot, series_ref, metadata.clone()));
        }
    }

    fn commit(self: Box<Self>) -> Result<Durability, StorageError> {
        let HeadAppender { store, mut batch, made, mark, .. } = *self;
        // What is left of series that are taken back says nothing.
        batch.forget(&made.take_back());
        let result = store.commit(batch);
        drop(mark);
        result
    }

    fn rollback(self: Box<Self>) {
        drop(self);
    }
}

impl HeadAppender {
    /// As [`Appender::append_floats`], counting nothing.
    fn judge_floats(&mut self, batch: FloatBatch<'_>, outcomes: &mut Vec<Outcome>) {
        outcomes.clear();
        if batch.series.is_empty() {
            return;
        }
        self.initialise(batch.timestamps.at(0));
        outcomes.reserve(batch.series.len());
        self.batch.floats.reserve(batch.series.len());
        let store = self.store.clone();
        let mut markers = Vec::new();
        let mut i = 0;
        while i < batch.series.len() {
            let (page_number, _) = place(batch.series[i].slot);
            let Some(page) = store.head.slots.page(page_number) else {
                outcomes.push(Outcome::UnknownSeries);
                i += 1;
                continue;
            };
            let mut page = page.lock();
            while i < batch.series.len() && place(batch.series[i].slot).0 == page_number {
                let outcome = self.judge_float(&mut page, &batch, i, &mut markers);
                outcomes.push(outcome);
                i += 1;
            }
        }
        for &(n, ref histogram) in &markers {
            let sample = HistogramSample {
                series: batch.series[n],
                timestamp_ms: batch.timestamps.at(n),
                start_timestamp_ms: batch.start_timestamps.map_or(0, |starts| starts[n]),
                value: histogram.clone(),
            };
            outcomes[n] = self.append_histogram(sample, batch.in_order_only);
        }
    }

    /// Notes how late a sample is that does not come in order, taken or not. As
    /// upstream: not of samples that are out of all bounds, and not of those that
    /// were to come in order where others need not.
    fn observe_lateness(&self, t: i64, outcome: &Outcome, in_order_only: bool) {
        let late = matches!(outcome, Outcome::AcceptedOutOfOrder | Outcome::TooOld | Outcome::OutOfOrder);
        let delta_ms = self.bounds.head_max.saturating_sub(t);
        if late && delta_ms > 0 && !(in_order_only && self.bounds.ooo_window > 0) {
            self.store.metrics.ooo_delta.observe(delta_ms as f64 / 1000.0);
        }
    }

    fn page_of(&self, series: SeriesHandle) -> Option<(&super::page::Page, usize)> {
        let (number, i) = place(series.slot);
        self.store.head.slots.page(number).map(|page| (page, i))
    }

    fn judge_float(
        &mut self,
        page: &mut PageData,
        batch: &FloatBatch<'_>,
        n: usize,
        markers: &mut Vec<(usize, HistogramValue)>,
    ) -> Outcome {
        let handle = batch.series[n];
        let (_, i) = place(handle.slot);
        if !page.is_tenant(i, handle) {
            return Outcome::UnknownSeries;
        }
        let (t, v) = (batch.timestamps.at(n), batch.values[n]);
        let start = batch.start_timestamps.map_or(0, |starts| starts[n]);
        if page.hot[i].flags & flag::HISTOGRAM != 0 && is_stale_nan(v) {
            // The end of a histogram series is marked by a histogram.
            let marker = page.cold[i].extra.as_ref().and_then(|extra| extra.histogram.as_ref());
            if let Some(open) = marker {
                markers.push((n, open.stale_marker()));
                return Outcome::Accepted;
            }
        }
        let last_t = page.last_t(i);
        let outcome = self.bounds.judge(t, last_t, batch.in_order_only, || match newest(page, i) {
            Newest::Float(bits) if bits == v.to_bits() => Outcome::Unchanged,
            Newest::Float(bits) => {
                Outcome::DuplicateTimestamp { existing: Existing::Float(f64::from_bits(bits)) }
            }
            Newest::Histogram => Outcome::DuplicateTimestamp { existing: Existing::Histogram },
        });
        self.observe_lateness(t, &outcome, batch.in_order_only);
        if outcome != Outcome::OutOfBounds {
            page.hot[i].flags &= !flag::FRESH;
        }
        if let Outcome::Accepted | Outcome::AcceptedOutOfOrder = outcome {
            page.hot[i].flags &= !flag::CONDEMNED;
            let starts = &mut self.batch.starts;
            if start != 0 || !starts.is_empty() {
                starts.resize(self.batch.floats.len(), 0);
                starts.push(start);
            }
            self.batch.floats.push(PendingFloat {
                slot: handle.slot,
                out_of_order: outcome == Outcome::AcceptedOutOfOrder,
                series_ref: page.hot[i].series_ref,
                t,
                v,
            });
            self.batch.extend_floats(1);
        }
        outcome
    }

    fn append_histogram(&mut self, sample: HistogramSample, in_order_only: bool) -> Outcome {
        if let Err(error) = sample.value.validate() {
            return Outcome::InvalidHistogram(error);
        }
        let store = self.store.clone();
        let (number, i) = place(sample.series.slot);
        let Some(page) = store.head.slots.page(number) else { return Outcome::UnknownSeries };
        let mut page = page.lock();
        if !page.is_tenant(i, sample.series) {
            return Outcome::UnknownSeries;
        }
        let t = sample.timestamp_ms;
        let last_t = page.last_t(i);
        let outcome = self.bounds.judge(t, last_t, in_order_only, || {
            let extra = page.cold[i].extra.as_ref().and_then(|extra| extra.histogram.as_ref());
            match (page.hot[i].flags & flag::HISTOGRAM != 0, extra) {
                (true, Some(open)) if open.is_same(&sample.value) => Outcome::Unchanged,
                (true, _) => Outcome::DuplicateTimestamp { existing: Existing::Histogram },
                (false, _) => {
                    let existing = page.hot[i].float.last_value();
                    Outcome::DuplicateTimestamp { existing: Existing::Float(existing) }
                }
            }
        });
        self.observe_lateness(t, &outcome, in_order_only);
        if outcome != Outcome::OutOfBounds {
            page.hot[i].flags &= !flag::FRESH;
        }
        if let Outcome::Accepted | Outcome::AcceptedOutOfOrder = outcome {
            page.hot[i].flags &= !flag::CONDEMNED;
            self.batch.histograms.push(PendingHistogram {
                slot: sample.series.slot,
                out_of_order: outcome == Outcome::AcceptedOutOfOrder,
                series_ref: page.hot[i].series_ref,
                t,
                start: sample.start_timestamp_ms,
                value: sample.value,
            });
            self.batch.extend_histograms(1);
        }
        outcome
    }
}

/// An empty histogram of the same kind and layout rules, with which counting begins.
fn reset_like(value: &HistogramValue) -> HistogramValue {
    let counter_reset_hint = CounterResetHint::CounterReset;
    match value {
        HistogramValue::Integer(h) => HistogramValue::Integer(Histogram {
            counter_reset_hint,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            custom_values: h.custom_values.clone(),
            ..Histogram::default()
        }),
        HistogramValue::Float(h) => HistogramValue::Float(FloatHistogram {
            counter_reset_hint,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            custom_values: h.custom_values.clone(),
            ..FloatHistogram::default()
        }),
    }
}
