//! What a query answers, as columns: one dictionary of strings, rows of labels
//! as ids, times and values apart. Labels become text where they are printed.

use std::sync::Arc;

use model::{Dictionary, FloatHistogram, LabelTable, Labels};

/// The value of a query.
#[derive(Clone)]
pub enum Value {
    /// One number.
    Scalar {
        /// Time in ms.
        timestamp_ms: i64,
        /// The number.
        value: f64,
    },
    /// A text.
    String {
        /// Time in ms.
        timestamp_ms: i64,
        /// The text.
        value: String,
    },
    /// One sample a series, all at the same time.
    Vector(Vector),
    /// Samples over time.
    Matrix(Matrix),
}

impl Value {
    /// Its name in the API: `vector`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Scalar { .. } => "scalar",
            Value::String { .. } => "string",
            Value::Vector(_) => "vector",
            Value::Matrix(_) => "matrix",
        }
    }
}

/// A float or a native histogram.
#[derive(Clone, Debug)]
pub enum SampleValue {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(Arc<FloatHistogram>),
}

/// Rows of labels with the dictionary that spells them.
#[derive(Clone)]
pub struct LabelRows {
    pub(crate) dictionary: Arc<Dictionary>,
    pub(crate) table: Arc<LabelTable>,
}

impl LabelRows {
    /// The dictionary of the ids.
    pub fn dictionary(&self) -> &Arc<Dictionary> {
        &self.dictionary
    }

    /// The rows.
    pub fn table(&self) -> &LabelTable {
        &self.table
    }

    /// The label set of one row.
    pub fn labels(&self, row: usize) -> Labels {
        self.dictionary.labels(self.table.row(row))
    }
}

/// An instant vector.
#[derive(Clone)]
pub struct Vector {
    /// The time of all samples in ms.
    pub timestamp_ms: i64,
    /// Labels of the samples.
    pub labels: LabelRows,
    /// One value a row.
    pub values: Vec<SampleValue>,
}

impl Vector {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The label set of sample `i`.
    pub fn labels(&self, i: usize) -> Labels {
        self.labels.labels(i)
    }

    /// Keeps the first `limit` samples; whether any was cut.
    pub fn truncate(&mut self, limit: usize) -> bool {
        let cut = self.values.len() > limit;
        self.values.truncate(limit);
        cut
    }
}

/// Range vectors: the answer of a range query.
#[derive(Clone)]
pub struct Matrix {
    /// Labels of the series; series `i` has row `series[i].row`.
    pub labels: LabelRows,
    /// The series, sorted by labels.
    pub series: Vec<Series>,
}

/// The samples of one series.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its row of labels.
    pub row: u32,
    /// Times of the floats in ms, ascending; shared between series that have
    /// a sample at every step.
    pub float_timestamps_ms: Arc<[i64]>,
    /// The floats.
    pub floats: Vec<f64>,
    /// Histograms with their times in ms, ascending.
    pub histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

impl Matrix {
    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The label set of series `i`.
    pub fn labels(&self, i: usize) -> Labels {
        self.labels.labels(self.series[i].row as usize)
    }

    /// Keeps the first `limit` series; whether any was cut.
    pub fn truncate(&mut self, limit: usize) -> bool {
        let cut = self.series.len() > limit;
        self.series.truncate(limit);
        cut
    }
}
