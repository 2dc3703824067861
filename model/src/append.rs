//! The way in: batches of samples that become visible together.
//!
//! ```text
//! appender() ── series(labels) → handle ──┐
//!           ── append_floats(batch) ──────┼── commit()   all of it is logged, then visible
//!           ── append_histograms(…)  ─────┘   rollback() none of it ever was
//! ```
//!
//! A caller resolves a series to a [`SeriesHandle`] once and keeps it; each
//! append then names handles only and crosses the trait once a batch, never
//! once a sample. Every sample gets a typed [`Outcome`] and the caller decides
//! what a refused one means: scraping keeps the good ones, remote write 1.0
//! rolls back, 2.0 keeps and counts.

use crate::exemplar::Exemplar;
use crate::histogram::{FloatHistogram, Histogram};
use crate::labels::Labels;
use crate::metadata::Metadata;
use crate::query::StorageError;

/// The number of a series on disk and in the log: ever rising, below 2^40,
/// never given to another series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesRef(pub u64);

/// Where a series lives in memory. Valid until the store forgets the series;
/// an append with an outdated handle answers [`Outcome::UnknownSeries`] and the
/// caller asks for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesHandle {
    /// Index into the store's table.
    pub slot: u32,
    /// Tells this tenant of the slot from earlier ones.
    pub generation: u32,
}

/// Timestamps of a batch, in ms since the epoch.
#[derive(Clone, Copy, Debug)]
pub enum Timestamps<'a> {
    /// All samples carry the same time: a scrape.
    Same(i64),
    /// One for each sample.
    Each(&'a [i64]),
}

impl Timestamps<'_> {
    /// The timestamp of sample `i`.
    pub fn at(&self, i: usize) -> i64 {
        match self {
            Timestamps::Same(t) => *t,
            Timestamps::Each(all) => all[i],
        }
    }
}

/// Float samples of any series, in the order in which they were received.
#[derive(Clone, Copy, Debug)]
pub struct FloatBatch<'a> {
    /// The series of each sample.
    pub series: &'a [SeriesHandle],
    /// The time of each sample.
    pub timestamps: Timestamps<'a>,
    /// Start timestamps in ms, 0 where unknown; `None` where none is known.
    pub start_timestamps: Option<&'a [i64]>,
    /// The values; a staleness marker is its NaN.
    pub values: &'a [f64],
    /// Refuse samples older than the series' newest even inside the
    /// out-of-order window: for staleness markers.
    pub in_order_only: bool,
}

/// A histogram of either kind.
#[derive(Clone, Debug)]
pub enum HistogramValue {
    /// Whole counts.
    Integer(Histogram),
    /// Float counts.
    Float(FloatHistogram),
}

impl HistogramValue {
    /// The histogram with float counts; whole ones are converted.
    pub fn to_float(&self) -> FloatHistogram {
        match self {
            HistogramValue::Integer(h) => h.to_float(),
            HistogramValue::Float(h) => h.clone(),
        }
    }

    /// Whether this is a staleness marker.
    pub fn is_stale(&self) -> bool {
        match self {
            HistogramValue::Integer(h) => h.is_stale(),
            HistogramValue::Float(h) => h.is_stale(),
        }
    }

    /// Whether the histogram is well formed.
    ///
    /// # Errors
    /// The first fault found.
    pub fn validate(&self) -> Result<(), crate::histogram::HistogramError> {
        match self {
            HistogramValue::Integer(h) => h.validate(),
            HistogramValue::Float(h) => h.validate(),
        }
    }
}

/// One histogram sample.
#[derive(Clone, Debug)]
pub struct HistogramSample {
    /// The series.
    pub series: SeriesHandle,
    /// Its time in ms.
    pub timestamp_ms: i64,
    /// Its start timestamp in ms, 0 where unknown.
    pub start_timestamp_ms: i64,
    /// The histogram.
    pub value: HistogramValue,
}

/// What the series already holds at a refused timestamp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Existing {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram,
}

/// What became of one appended sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// Will be visible after the commit.
    Accepted,
    /// Will be visible after the commit, stored out of order.
    AcceptedOutOfOrder,
    /// The very sample is stored already: nothing to do, and no error.
    Unchanged,
    /// Another value is stored at this time.
    DuplicateTimestamp {
        /// What is stored.
        existing: Existing,
    },
    /// Older than the series' newest sample and no out-of-order window is open.
    OutOfOrder,
    /// Before what the head accepts at all, or too far in the future.
    OutOfBounds,
    /// Older than the out-of-order window.
    TooOld,
    /// The start timestamp is not before the sample.
    StartNotBeforeSample,
    /// The start timestamp is older than the newest sample.
    StartOutOfOrder,
    /// The histogram is malformed.
    InvalidHistogram(crate::histogram::HistogramError),
    /// The handle is of a series that is gone.
    UnknownSeries,
}

impl Outcome {
    /// Whether the sample is or will be stored.
    pub fn is_ok(&self) -> bool {
        matches!(self, Outcome::Accepted | Outcome::AcceptedOutOfOrder | Outcome::Unchanged)
    }
}

/// Why a series cannot be appended to.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// No label at all.
    #[error("empty labelset: invalid sample")]
    EmptyLabels,
    /// A name stands twice.
    #[error("label name {} is not unique: invalid sample", crate::labels::go_quote(.0))]
    DuplicateLabel(String),
    /// A limit on series or on memory is reached: known series still go in.
    #[error("no room for a new series: {0}")]
    Refused(String),
    /// The store is closed, closing or failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why an exemplar was not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExemplarError {
    /// Older than the newest one of the series.
    #[error("out of order exemplar")]
    OutOfOrder,
    /// Equal to the newest one of the series.
    #[error("duplicate exemplar")]
    Duplicate,
    /// Its labels are too long.
    #[error("label length for exemplar exceeds maximum of 128 UTF-8 characters")]
    LabelsTooLong,
    /// No exemplar is kept.
    #[error("exemplar storage is disabled or max exemplars is less than or equal to 0")]
    Disabled,
    /// The handle is of a series that is gone.
    #[error("unknown series reference")]
    UnknownSeries,
}

/// What a committed batch survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is in the log, with everything before it: the end of the process costs
    /// nothing of it.
    Logged,
    /// It is visible, but only in memory: the log could not be written. It is
    /// logged as soon as that works again.
    MemoryOnly,
}

/// A store that samples can be appended to.
pub trait Appendable: Send + Sync {
    /// Starts a batch. Nothing of it is visible before [`Appender::commit`].
    ///
    /// # Errors
    /// The store is not open (`NotReady`).
    fn appender(&self) -> Result<Box<dyn Appender>, StorageError>;
}

/// One batch under way. Dropping it rolls it back.
pub trait Appender: Send {
    /// The handle of a series, which is created where it does not exist.
    /// A series created by a batch that is rolled back may stay, without samples.
    ///
    /// # Errors
    /// The labels are unusable, or a limit refuses new series.
    fn series(&mut self, labels: &Labels) -> Result<SeriesHandle, AppendError>;

    /// The handle of a series if it exists.
    fn find_series(&mut self, labels: &Labels) -> Option<SeriesHandle>;

    /// Appends float samples. `outcomes` is cleared and filled with one entry a
    /// sample, in the same order.
    fn append_floats(&mut self, batch: FloatBatch<'_>, outcomes: &mut Vec<Outcome>);

    /// Appends histogram samples, as [`Appender::append_floats`] does floats.
    fn append_histograms(&mut self, samples: Vec<HistogramSample>, outcomes: &mut Vec<Outcome>);

    /// Appends a zero sample at the start timestamp of a sample that is about to
    /// be appended at `timestamp_ms`: a float 0, or an empty histogram of the
    /// kind given.
    fn append_start_zero(
        &mut self,
        series: SeriesHandle,
        timestamp_ms: i64,
        start_timestamp_ms: i64,
        like: Option<&HistogramValue>,
    ) -> Outcome;

    /// Appends an exemplar to a series.
    ///
    /// # Errors
    /// See [`ExemplarError`].
    fn append_exemplar(&mut self, series: SeriesHandle, exemplar: &Exemplar) -> Result<(), ExemplarError>;

    /// Stores what a target says about the series' metric.
    fn update_metadata(&mut self, series: SeriesHandle, metadata: &Metadata);

    /// Logs the batch, then makes all of it visible at once.
    ///
    /// A log that cannot be written is no error as long as memory has room: the
    /// batch is visible, and the answer says that it is not durable. Whoever
    /// answers for others (remote write, OTLP) must not acknowledge such a batch;
    /// who has nobody to ask again (scrapes, rules) takes it as stored.
    ///
    /// # Errors
    /// The batch is rolled back: the store is closed or has no room.
    fn commit(self: Box<Self>) -> Result<Durability, StorageError>;

    /// Drops the batch.
    fn rollback(self: Box<Self>);
}
