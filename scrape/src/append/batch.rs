//! The columns of a scrape under way, and what the store says to them.

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN};
use model::series_cache::SeriesKey;
use model::{
    Exemplar, ExemplarError, FloatBatch, HistogramSample, HistogramValue, Outcome, SeriesHandle, Timestamps,
};

use super::refusals::Shown;
use super::{PageError, Run, TargetState};
use crate::COMPONENT;
use crate::job::Job;

/// What is known of a sample beside its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) handle: SeriesHandle,
    pub(super) entry: Option<u32>,
    pub(super) own_time_ms: Option<i64>,
    pub(super) start_ms: i64,
    /// Whether the start was made up: then the end is watched for, too.
    pub(super) synthesised: bool,
}

/// Samples of one scrape, as columns.
#[derive(Default)]
pub(super) struct Batch {
    time_ms: i64,
    floats: Floats,
    histograms: Vec<HistogramSample>,
    histogram_notes: Vec<Note>,
    exemplars: Vec<SampleExemplars>,
}

#[derive(Default)]
struct Floats {
    handles: Vec<SeriesHandle>,
    values: Vec<f64>,
    /// Empty while all samples carry the scrape's time.
    times: Vec<i64>,
    /// Empty while no start timestamp is known.
    starts: Vec<i64>,
    notes: Vec<Note>,
}

/// Where the outcome of a sample goes.
#[derive(Clone, Copy, Debug)]
struct Note {
    /// Entry of the cache; `NO_ENTRY` where there is none.
    entry: u32,
    /// It carries its own time, and its series' end is not watched for that.
    has_own_time: bool,
}

const NO_ENTRY: u32 = u32::MAX;

struct SampleExemplars {
    is_histogram: bool,
    sample_idx: usize,
    exemplars: Vec<Exemplar>,
}

impl Batch {
    pub(super) fn new(time_ms: i64) -> Batch {
        Batch { time_ms, ..Batch::default() }
    }

    pub(super) fn reserve(&mut self, samples: usize) {
        self.floats.handles.reserve_exact(samples);
        self.floats.values.reserve_exact(samples);
        self.floats.notes.reserve_exact(samples);
    }

    /// Adds a sample that has neither a time nor a start of its own.
    #[inline]
    pub(super) fn push_plain(&mut self, handle: SeriesHandle, entry: u32, value: f64) {
        let floats = &mut self.floats;
        if !floats.times.is_empty() || !floats.starts.is_empty() {
            let entry = Some(entry);
            let sample = Sample { handle, entry, own_time_ms: None, start_ms: 0, synthesised: false };
            return self.push_float(sample, value);
        }
        floats.handles.push(handle);
        floats.values.push(value);
        floats.notes.push(Note { entry, has_own_time: false });
    }

    pub(super) fn push_float(&mut self, sample: Sample, value: f64) {
        let floats = &mut self.floats;
        let before = floats.handles.len();
        if let Some(time_ms) = sample.own_time_ms
            && floats.times.is_empty()
        {
            floats.times.resize(before, self.time_ms);
            floats.times.push(time_ms);
        } else if !floats.times.is_empty() {
            floats.times.push(sample.own_time_ms.unwrap_or(self.time_ms));
        }
        if sample.start_ms != 0 && floats.starts.is_empty() {
            floats.starts.resize(before, 0);
            floats.starts.push(sample.start_ms);
        } else if !floats.starts.is_empty() {
            floats.starts.push(sample.start_ms);
        }
        floats.handles.push(sample.handle);
        floats.values.push(value);
        floats.notes.push(Note::of(sample));
    }

    pub(super) fn push_histogram(&mut self, sample: Sample, value: HistogramValue, timestamp_ms: i64) {
        self.histograms.push(HistogramSample {
            series: sample.handle,
            timestamp_ms,
            start_timestamp_ms: sample.start_ms,
            value,
        });
        self.histogram_notes.push(Note::of(sample));
    }

    /// Adds exemplars to the sample pushed last.
    pub(super) fn push_exemplars(&mut self, is_histogram: bool, exemplars: Vec<Exemplar>) {
        let samples = if is_histogram { self.histograms.len() } else { self.floats.handles.len() };
        if let Some(sample_idx) = samples.checked_sub(1) {
            self.exemplars.push(SampleExemplars { is_histogram, sample_idx, exemplars });
        }
    }
}

impl Note {
    fn of(sample: Sample) -> Note {
        Note {
            entry: sample.entry.unwrap_or(NO_ENTRY),
            has_own_time: sample.own_time_ms.is_some() && !sample.synthesised,
        }
    }

    fn key(self, state: &TargetState) -> Option<SeriesKey> {
        (self.entry != NO_ENTRY).then(|| state.cache.key(self.entry))
    }
}

impl Run<'_, '_> {
    /// Hands the batch to the store and acts on each outcome.
    pub(super) fn append_batch(&mut self, state: &mut TargetState) -> Result<(), PageError> {
        let batch = std::mem::replace(&mut self.batch, Batch::new(self.time_ms));
        let floats = &batch.floats;
        let mut float_outcomes = Vec::with_capacity(floats.handles.len());
        if !floats.handles.is_empty() {
            let timestamps = match floats.times.is_empty() {
                true => Timestamps::Same(self.time_ms),
                false => Timestamps::Each(&floats.times),
            };
            let columns = FloatBatch {
                series: &floats.handles,
                timestamps,
                start_timestamps: (!floats.starts.is_empty()).then_some(floats.starts.as_slice()),
                values: &floats.values,
                // A made-up start must not be put before older samples.
                in_order_only: self.context.options.synthesize_start_timestamps,
            };
            self.appender.append_floats(columns, &mut float_outcomes);
        }
        let histogram_handles: Vec<SeriesHandle> =
            batch.histograms.iter().map(|sample| sample.series).collect();
        let mut histogram_outcomes = Vec::new();
        if !batch.histograms.is_empty() {
            self.appender.append_histograms(batch.histograms, &mut histogram_outcomes);
        }
        for (note, outcome) in floats.notes.iter().zip(&float_outcomes) {
            // Nearly all of them: stored, and watched for.
            if is_stored(*outcome) && note.entry != NO_ENTRY && !note.has_own_time {
                self.counts.series_added += u64::from(state.cache.accept_and_track(note.entry));
            } else {
                self.outcome(state, *note, *outcome)?;
            }
        }
        for (note, outcome) in batch.histogram_notes.iter().zip(&histogram_outcomes) {
            self.outcome(state, *note, *outcome)?;
        }
        for group in batch.exemplars {
            let (outcome, handle) = if group.is_histogram {
                (histogram_outcomes.get(group.sample_idx), histogram_handles.get(group.sample_idx))
            } else {
                (float_outcomes.get(group.sample_idx), floats.handles.get(group.sample_idx))
            };
            if let (Some(outcome), Some(handle)) = (outcome, handle)
                && outcome.is_ok()
            {
                self.append_exemplars(*handle, &group.exemplars);
            }
        }
        Ok(())
    }

    /// Counts the new series of a page that is not stored: they are known now.
    pub(super) fn count_new_series(&mut self, state: &mut TargetState) {
        let batch = &self.batch;
        for note in batch.floats.notes.iter().chain(&batch.histogram_notes) {
            if note.entry != NO_ENTRY && state.cache.accept(note.entry) {
                self.counts.series_added += 1;
            }
        }
    }

    fn outcome(&mut self, state: &mut TargetState, note: Note, outcome: Outcome) -> Result<(), PageError> {
        match outcome {
            Outcome::Accepted | Outcome::AcceptedOutOfOrder | Outcome::Unchanged => {
                if note.entry == NO_ENTRY {
                    self.counts.series_added += 1;
                    return Ok(());
                }
                if state.cache.accept(note.entry) {
                    self.counts.series_added += 1;
                }
                if !note.has_own_time || self.context.job.config.track_timestamps_staleness {
                    state.cache.track(note.entry);
                } else {
                    state.cache.untracked(note.entry);
                }
                return Ok(());
            }
            Outcome::DuplicateTimestamp { .. } => self.duplicate(note.key(state)),
            Outcome::OutOfOrder | Outcome::TooOld => self.out_of_order(note.key(state)),
            Outcome::OutOfBounds => self.out_of_bounds(note.key(state)),
            Outcome::InvalidHistogram(error) => return Err(error.into()),
            Outcome::UnknownSeries => {
                if note.entry != NO_ENTRY {
                    self.forgotten.push(note.entry);
                }
                return Ok(());
            }
            Outcome::StartNotBeforeSample | Outcome::StartOutOfOrder => {}
        }
        if note.entry != NO_ENTRY {
            self.refused(state, note.entry);
        }
        Ok(())
    }

    fn append_exemplars(&mut self, handle: SeriesHandle, exemplars: &[Exemplar]) {
        let mut out_of_order = 0;
        for exemplar in exemplars {
            match self.appender.append_exemplar(handle, exemplar) {
                Ok(()) | Err(ExemplarError::Duplicate | ExemplarError::Disabled) => {}
                Err(ExemplarError::OutOfOrder) => out_of_order += 1,
                Err(error) => {
                    tracing::debug!(
                        component = COMPONENT,
                        scrape_pool = self.context.job.name(),
                        target = self.context.target.url(),
                        exemplar = %Shown(exemplar),
                        err = %error,
                        "Error while adding exemplar in AddExemplar"
                    );
                }
            }
        }
        // Where only some are, the others are what is new in a known set.
        if let Some(latest) = exemplars.last()
            && out_of_order == exemplars.len()
        {
            tracing::debug!(
                component = COMPONENT,
                scrape_pool = self.context.job.name(),
                target = self.context.target.url(),
                count = out_of_order,
                latest = %Shown(latest),
                "Out of order exemplars"
            );
            self.problems.exemplars_out_of_order += out_of_order as u64;
            self.context.metrics.exemplar_out_of_order.add(out_of_order as u64);
        }
    }
}

#[inline]
fn is_stored(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Accepted | Outcome::AcceptedOutOfOrder | Outcome::Unchanged)
}

/// How fine native histograms may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct HistogramLimits {
    buckets_max: u64,
    schema_max: i32,
}

impl HistogramLimits {
    pub(super) fn of(job: &Job) -> HistogramLimits {
        HistogramLimits {
            buckets_max: job.config.native_histogram_bucket_limit,
            schema_max: job.schema_max(),
        }
    }

    /// Lowers the resolution until the limits hold.
    pub(super) fn apply(self, histogram: HistogramValue) -> Result<HistogramValue, PageError> {
        let mut histogram = histogram;
        let (schema, _) = shape(&histogram);
        if schema != CUSTOM_BUCKETS_SCHEMA
            && schema > self.schema_max
            && self.schema_max < EXPONENTIAL_SCHEMA_MAX
        {
            reduce(&mut histogram, self.schema_max)?;
        }
        loop {
            let (schema, buckets) = shape(&histogram);
            if self.buckets_max == 0 || buckets <= self.buckets_max {
                return Ok(histogram);
            }
            if schema <= EXPONENTIAL_SCHEMA_MIN || schema > EXPONENTIAL_SCHEMA_MAX {
                return Err(PageError::BucketLimit);
            }
            reduce(&mut histogram, schema - 1)?;
        }
    }
}

/// Schema and number of buckets.
fn shape(histogram: &HistogramValue) -> (i32, u64) {
    match histogram {
        HistogramValue::Integer(h) => {
            (h.schema, (h.positive_buckets.len() + h.negative_buckets.len()) as u64)
        }
        HistogramValue::Float(h) => (h.schema, (h.positive_buckets.len() + h.negative_buckets.len()) as u64),
    }
}

fn reduce(histogram: &mut HistogramValue, schema: i32) -> Result<(), PageError> {
    match histogram {
        HistogramValue::Integer(h) => h.reduce_resolution(schema)?,
        HistogramValue::Float(h) => h.reduce_resolution(schema)?,
    }
    Ok(())
}
