//! The samples of a request on their way into one batch of the store.
//!
//! Samples are gathered in columns and handed over some thousand at a time, so
//! that a request full of tiny messages takes no more memory than a normal one.
//! Upstream appends a series' floats before its histograms, series by series;
//! gathering keeps that order for every series.

use std::collections::HashSet;

use model::append::{
    AppendError, Appender, Existing, FloatBatch, HistogramSample, HistogramValue, Outcome, SeriesHandle,
    Timestamps,
};

use crate::histogram::{self, WireHistogram};

/// Samples further ahead of the clock than this are refused.
pub const FUTURE_MS_MAX: i64 = 10 * 60 * 1000;

/// What a text says of a sample that lies too far ahead.
pub const TOO_FAR_AHEAD: &str = "out of bounds: timestamp is too far in the future";

/// Floats are handed over when so many are gathered.
const FLOATS_MAX: usize = 16 * 1024;
/// Histograms are handed over when so many are gathered.
const HISTOGRAMS_MAX: usize = 1024;

/// How many samples are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Floats.
    pub floats: u64,
    /// Native histograms.
    pub histograms: u64,
}

/// Takes a refused sample: its series' place, and why.
pub type Refuse<'r> = &'r mut dyn FnMut(u32, String);

/// Finds the series at a place of the request anew.
pub type Resolve<'r> = &'r mut dyn FnMut(&mut dyn Appender, u32) -> Result<SeriesHandle, AppendError>;

/// Samples that are gathered and not handed over yet.
#[derive(Default)]
pub struct Pending<'a> {
    series: Vec<SeriesHandle>,
    timestamps_ms: Vec<i64>,
    start_timestamps_ms: Vec<i64>,
    values: Vec<f64>,
    owners: Vec<u32>,
    histograms: Vec<HistogramSample>,
    /// Of each histogram its series' place and its message, to decode it again
    /// where the handle went stale.
    histogram_sources: Vec<(u32, &'a [u8])>,
    with_histograms: HashSet<SeriesHandle>,
    outcomes: Vec<Outcome>,
}

impl<'a> Pending<'a> {
    /// Whether nothing is gathered.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.histograms.is_empty()
    }

    /// Whether to flush before the next float of a series is gathered: the
    /// columns are full, or histograms of the same series would be overtaken.
    pub fn is_full_for_float(&self, series: SeriesHandle) -> bool {
        self.values.len() >= FLOATS_MAX || self.with_histograms.contains(&series)
    }

    /// Whether to flush before the next histogram is gathered.
    pub fn is_full_for_histogram(&self) -> bool {
        self.histograms.len() >= HISTOGRAMS_MAX
    }

    /// Takes room for so many floats more.
    pub fn reserve(&mut self, floats: usize) {
        self.series.reserve(floats);
        self.timestamps_ms.reserve(floats);
        self.start_timestamps_ms.reserve(floats);
        self.values.reserve(floats);
        self.owners.reserve(floats);
    }

    /// Gathers a float.
    #[inline]
    pub fn push_float(
        &mut self,
        owner: u32,
        series: SeriesHandle,
        timestamp_ms: i64,
        start_ms: i64,
        value: f64,
    ) {
        self.series.push(series);
        self.timestamps_ms.push(timestamp_ms);
        self.start_timestamps_ms.push(start_ms);
        self.values.push(value);
        self.owners.push(owner);
    }

    /// Gathers a histogram that was decoded from `message`.
    pub fn push_histogram(
        &mut self,
        owner: u32,
        series: SeriesHandle,
        histogram: WireHistogram,
        message: &'a [u8],
    ) {
        self.with_histograms.insert(series);
        self.histogram_sources.push((owner, message));
        self.histograms.push(sample(series, histogram));
    }

    /// Hands over what is gathered: floats, then histograms. A sample whose
    /// handle went stale is appended again to the series that `resolve` names.
    /// What is refused goes to `refuse`.
    ///
    /// # Errors
    /// A series cannot be made.
    pub fn flush(
        &mut self,
        appender: &mut dyn Appender,
        resolve: Resolve<'_>,
        refuse: Refuse<'_>,
    ) -> Result<Stored, AppendError> {
        let flushed = self.flush_floats(appender, resolve, refuse).and_then(|floats| {
            let histograms = self.flush_histograms(appender, resolve, refuse)?;
            Ok(Stored { floats, histograms })
        });
        self.series.clear();
        self.timestamps_ms.clear();
        self.start_timestamps_ms.clear();
        self.values.clear();
        self.owners.clear();
        self.histograms.clear();
        self.histogram_sources.clear();
        self.with_histograms.clear();
        flushed
    }

    fn flush_floats(
        &mut self,
        appender: &mut dyn Appender,
        resolve: Resolve<'_>,
        refuse: Refuse<'_>,
    ) -> Result<u64, AppendError> {
        if self.values.is_empty() {
            return Ok(0);
        }
        let started = self.start_timestamps_ms.iter().any(|&start| start != 0);
        let batch = FloatBatch {
            series: &self.series,
            timestamps: Timestamps::Each(&self.timestamps_ms),
            start_timestamps: started.then_some(&self.start_timestamps_ms),
            values: &self.values,
            in_order_only: false,
        };
        appender.append_floats(batch, &mut self.outcomes);
        let mut stored = self.outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
        if stored == self.values.len() as u64 {
            return Ok(stored);
        }
        let mut again = Vec::new();
        for i in 0..self.values.len() {
            let mut outcome = self.outcomes[i];
            if outcome.is_ok() {
                continue;
            }
            if outcome == Outcome::UnknownSeries {
                let handle = resolve(appender, self.owners[i])?;
                let batch = FloatBatch {
                    series: &[handle],
                    timestamps: Timestamps::Same(self.timestamps_ms[i]),
                    start_timestamps: started.then_some(&self.start_timestamps_ms[i..=i]),
                    values: &self.values[i..=i],
                    in_order_only: false,
                };
                appender.append_floats(batch, &mut again);
                outcome = again.first().copied().unwrap_or(Outcome::UnknownSeries);
            }
            match refusal(&outcome, self.timestamps_ms[i], Some(self.values[i])) {
                Some(text) => refuse(self.owners[i], text),
                None => stored += 1,
            }
        }
        Ok(stored)
    }

    fn flush_histograms(
        &mut self,
        appender: &mut dyn Appender,
        resolve: Resolve<'_>,
        refuse: Refuse<'_>,
    ) -> Result<u64, AppendError> {
        if self.histograms.is_empty() {
            return Ok(0);
        }
        let times: Vec<(i64, i64)> =
            self.histograms.iter().map(|sample| (sample.timestamp_ms, sample.start_timestamp_ms)).collect();
        appender.append_histograms(std::mem::take(&mut self.histograms), &mut self.outcomes);
        let mut again = Vec::new();
        let mut stored = 0;
        for (i, &(owner, message)) in self.histogram_sources.iter().enumerate() {
            let mut outcome = self.outcomes[i];
            if outcome == Outcome::UnknownSeries
                && let Ok(mut histogram) = histogram::decode(message)
            {
                let handle = resolve(appender, owner)?;
                histogram.start_timestamp_ms = times[i].1;
                appender.append_histograms(vec![sample(handle, histogram)], &mut again);
                outcome = again.first().copied().unwrap_or(Outcome::UnknownSeries);
            }
            match refusal(&outcome, times[i].0, None) {
                Some(text) => refuse(owner, text),
                None => stored += 1,
            }
        }
        Ok(stored)
    }
}

fn sample(series: SeriesHandle, histogram: WireHistogram) -> HistogramSample {
    HistogramSample {
        series,
        timestamp_ms: histogram.timestamp_ms,
        start_timestamp_ms: histogram.start_timestamp_ms,
        value: reduced(histogram.value),
    }
}

/// Resolutions finer than the finest that is stored are reduced to it.
fn reduced(value: HistogramValue) -> HistogramValue {
    use model::histogram::{EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MAX_RESERVED};
    let too_fine = |schema: i32| schema > EXPONENTIAL_SCHEMA_MAX && schema <= EXPONENTIAL_SCHEMA_MAX_RESERVED;
    match value {
        HistogramValue::Integer(mut histogram) if too_fine(histogram.schema) => {
            // A malformed one stays as it is and is refused by validation.
            let _ = histogram.reduce_resolution(EXPONENTIAL_SCHEMA_MAX);
            HistogramValue::Integer(histogram)
        }
        HistogramValue::Float(mut histogram) if too_fine(histogram.schema) => {
            let _ = histogram.reduce_resolution(EXPONENTIAL_SCHEMA_MAX);
            HistogramValue::Float(histogram)
        }
        other => other,
    }
}

/// The text of a refused sample; `None` for one that is stored.
fn refusal(outcome: &Outcome, timestamp_ms: i64, value: Option<f64>) -> Option<String> {
    Some(match outcome {
        Outcome::Accepted | Outcome::AcceptedOutOfOrder | Outcome::Unchanged => return None,
        Outcome::DuplicateTimestamp { existing } => match (existing, value) {
            (Existing::Float(existing), Some(value)) => format!(
                "duplicate sample for timestamp {timestamp_ms}; overrides not allowed: existing {}, new value {}",
                model::float::format_g(*existing),
                model::float::format_g(value)
            ),
            (Existing::Histogram, Some(value)) => format!(
                "duplicate sample for timestamp {timestamp_ms}; overrides not allowed: existing is a histogram, new value {}",
                model::float::format_g(value)
            ),
            (_, None) => "duplicate sample for timestamp".to_owned(),
        },
        Outcome::OutOfOrder => "out of order sample".to_owned(),
        Outcome::OutOfBounds => "out of bounds".to_owned(),
        Outcome::TooOld => "too old sample".to_owned(),
        Outcome::StartNotBeforeSample => "ST is newer or the same as sample's timestamp, ignoring".to_owned(),
        Outcome::StartOutOfOrder => "start timestamp out of order, ignoring".to_owned(),
        Outcome::InvalidHistogram(error) => error.to_string(),
        Outcome::UnknownSeries => "unknown series reference".to_owned(),
    })
}
