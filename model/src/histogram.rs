//! Native histograms: sparse buckets of exponential or custom bounds.
//!
//! Populated buckets are listed by spans (gap, length); integer histograms
//! hold each bucket as the difference to its left neighbour, float histograms
//! hold it absolute:
//!
//! ```text
//! spans    (offset 2, len 2) (offset 3, len 1)
//! index     0  1 [2][3] 4  5  6 [7]
//! ```
//!
//! Spans and custom bounds are shared between the histograms of a series, as
//! they seldom change.

mod arithmetic;
mod bounds;
mod buckets;
mod classic;
mod compact;
mod convert;
mod custom;
mod layout;
pub mod quantile;
mod reset;
mod resolution;
mod text;
mod trim;
mod validate;

use std::sync::{Arc, LazyLock};

pub use arithmetic::{AddNotes, neumaier};
pub use bounds::{exponential_bound, upper_bound};
pub use buckets::Bucket;
pub use classic::{ClassicBucket, ClassicQuantile, bucket_fraction, bucket_quantile};
pub use convert::bounds_match;
pub use custom::{ClassicError, ClassicHistogram, NhcbError, nhcb_to_classic};
pub use resolution::{check_known_schema, needs_reduction};
pub use trim::TrimKeep;
pub use validate::{CountValue, HistogramError, Part};

/// The schema number of histograms with custom bucket bounds.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;
/// The coarsest exponential schema.
pub const EXPONENTIAL_SCHEMA_MIN: i32 = -4;
/// The finest exponential schema.
pub const EXPONENTIAL_SCHEMA_MAX: i32 = 8;
/// The finest schema number that is reserved: read, and reduced to [`EXPONENTIAL_SCHEMA_MAX`].
pub const EXPONENTIAL_SCHEMA_MAX_RESERVED: i32 = 52;
/// The coarsest schema number that is reserved.
pub const EXPONENTIAL_SCHEMA_MIN_RESERVED: i32 = -9;

/// Whether bounds follow from the schema and the schema can be stored.
pub fn is_exponential_schema(schema: i32) -> bool {
    (EXPONENTIAL_SCHEMA_MIN..=EXPONENTIAL_SCHEMA_MAX).contains(&schema)
}

/// Whether the schema is one that can be read: stored ones and reserved ones.
pub fn is_known_schema(schema: i32) -> bool {
    schema == CUSTOM_BUCKETS_SCHEMA
        || (EXPONENTIAL_SCHEMA_MIN_RESERVED..=EXPONENTIAL_SCHEMA_MAX_RESERVED).contains(&schema)
}

/// A run of populated buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Empty buckets since the end of the span before; the first span's is
    /// the index of its first bucket.
    pub offset: i32,
    /// How many buckets the span has.
    pub length: u32,
}

/// What is known of a counter reset between a histogram and the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CounterResetHint {
    /// Nothing is known: compare the buckets.
    #[default]
    Unknown = 0,
    /// There was a reset.
    CounterReset = 1,
    /// There was none.
    NotCounterReset = 2,
    /// A gauge: resets mean nothing.
    Gauge = 3,
}

/// A histogram of whole counts.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// What is known of a reset before this one.
    pub counter_reset_hint: CounterResetHint,
    /// Resolution, -4…8, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: u64,
    /// All observations.
    pub count: u64,
    /// Sum of all observations; the staleness NaN marks a stale sample.
    pub sum: f64,
    /// Populated positive buckets.
    pub positive_spans: Arc<[Span]>,
    /// Populated negative buckets.
    pub negative_spans: Arc<[Span]>,
    /// Positive counts, each as difference to the one before.
    pub positive_buckets: Vec<i64>,
    /// Negative counts, each as difference to the one before.
    pub negative_buckets: Vec<i64>,
    /// Upper bounds of custom buckets, without +Inf.
    pub custom_values: Arc<[f64]>,
}

/// A histogram of float counts: the result of arithmetic.
#[derive(Clone, Debug)]
pub struct FloatHistogram {
    /// What is known of a reset before this one.
    pub counter_reset_hint: CounterResetHint,
    /// Resolution, -4…8, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of all observations; the staleness NaN marks a stale sample.
    pub sum: f64,
    /// Populated positive buckets.
    pub positive_spans: Arc<[Span]>,
    /// Populated negative buckets.
    pub negative_spans: Arc<[Span]>,
    /// Positive counts.
    pub positive_buckets: Vec<f64>,
    /// Negative counts.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds of custom buckets, without +Inf.
    pub custom_values: Arc<[f64]>,
}

static NO_SPANS: LazyLock<Arc<[Span]>> = LazyLock::new(|| Arc::from([].as_slice()));
static NO_BOUNDS: LazyLock<Arc<[f64]>> = LazyLock::new(|| Arc::from([].as_slice()));

/// The shared empty list of spans.
pub fn no_spans() -> Arc<[Span]> {
    NO_SPANS.clone()
}

/// The shared empty list of custom bounds.
pub fn no_bounds() -> Arc<[f64]> {
    NO_BOUNDS.clone()
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            counter_reset_hint: CounterResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0,
            count: 0,
            sum: 0.0,
            positive_spans: no_spans(),
            negative_spans: no_spans(),
            positive_buckets: Vec::new(),
            negative_buckets: Vec::new(),
            custom_values: no_bounds(),
        }
    }
}

impl Default for FloatHistogram {
    fn default() -> FloatHistogram {
        FloatHistogram {
            counter_reset_hint: CounterResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive_spans: no_spans(),
            negative_spans: no_spans(),
            positive_buckets: Vec::new(),
            negative_buckets: Vec::new(),
            custom_values: no_bounds(),
        }
    }
}

impl Histogram {
    /// Whether the bucket bounds are custom ones.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Whether this is a staleness marker.
    pub fn is_stale(&self) -> bool {
        crate::is_stale_nan(self.sum)
    }
}

impl FloatHistogram {
    /// Whether the bucket bounds are custom ones.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Whether this is a staleness marker.
    pub fn is_stale(&self) -> bool {
        crate::is_stale_nan(self.sum)
    }
}
