//! Reading the log as it grows: what remote write sends.

use std::time::Duration;

use crate::append::{HistogramValue, SeriesRef};
use crate::exemplar::Exemplar;
use crate::labels::Labels;
use crate::metadata::Metadata;
use crate::query::StorageError;

/// A place in the log, just behind a whole record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalPosition {
    /// Segment number.
    pub segment: u64,
    /// Byte offset inside it.
    pub offset: u64,
}

/// One sample of the log.
#[derive(Clone, Debug)]
pub struct LoggedSample<V> {
    /// The series, named by an earlier series record.
    pub series: SeriesRef,
    /// Its time in ms.
    pub timestamp_ms: i64,
    /// Its start timestamp in ms, 0 where unknown.
    pub start_timestamp_ms: i64,
    /// Its value.
    pub value: V,
}

/// One decoded record.
#[derive(Clone, Debug)]
pub enum LogRecord {
    /// New series.
    Series(Vec<(SeriesRef, Labels)>),
    /// Float samples.
    Floats(Vec<LoggedSample<f64>>),
    /// Histogram samples.
    Histograms(Vec<LoggedSample<HistogramValue>>),
    /// Exemplars.
    Exemplars(Vec<(SeriesRef, Exemplar)>),
    /// Metadata.
    Metadata(Vec<(SeriesRef, Metadata)>),
}

/// A store whose log can be followed.
pub trait WalTail: Send + Sync {
    /// Starts to read at a position, or at the newest checkpoint where it is
    /// `None` or gone.
    ///
    /// # Errors
    /// The log cannot be opened.
    fn tail(&self, from: Option<WalPosition>) -> Result<Box<dyn WalTailReader>, StorageError>;

    /// Keeps segments from this number on until told otherwise, for one reader by name.
    fn hold(&self, reader: &str, segment: Option<u64>);
}

/// Follows the log.
pub trait WalTailReader: Send {
    /// The next record and the position behind it; `None` where none came
    /// within the wait.
    ///
    /// # Errors
    /// The log cannot be read on.
    fn next(&mut self, wait: Duration) -> Result<Option<(LogRecord, WalPosition)>, StorageError>;
}
