//! Exemplars: a value of a series with labels that point to a trace.

use crate::labels::Labels;

/// Names and values of one exemplar's labels together may hold so many characters.
pub const EXEMPLAR_MAX_LABEL_CHARS: usize = 128;

/// One exemplar of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Labels of its own, such as a trace id.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// When it was observed, in ms since the epoch.
    pub timestamp_ms: i64,
    /// Whether the time was exposed with it, rather than taken from the sample.
    pub has_timestamp: bool,
}

/// What an exemplar query answers for one series.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesExemplars {
    /// The series.
    pub series: Labels,
    /// Its exemplars, ascending in time.
    pub exemplars: Vec<Exemplar>,
}
