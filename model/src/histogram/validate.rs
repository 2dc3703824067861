//! Whether a histogram is well formed, and what is said when it is not.
//!
//! The texts are upstream's: they reach users through scrape logs, remote write
//! answers and `promtool`.

use std::fmt;

use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram, Span, is_exponential_schema};

/// The part of a histogram an error speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The buckets above zero.
    Positive,
    /// The buckets below zero.
    Negative,
    /// The buckets of custom bounds.
    Custom,
    /// Not known.
    Any,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Positive => "positive side: ",
            Part::Negative => "negative side: ",
            Part::Custom => "custom buckets: ",
            Part::Any => "",
        })
    }
}

/// A count as its histogram holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CountValue {
    /// Of an integer histogram.
    Integer(i64),
    /// Of a float histogram.
    Float(f64),
}

impl fmt::Display for CountValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CountValue::Integer(count) => write!(f, "{count}"),
            CountValue::Float(count) => f.write_str(&crate::float::format_g(*count)),
        }
    }
}

/// Why a histogram is malformed, or an operation impossible.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// The schema number is not one that can be stored.
    #[error(
        "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, \
         or -53 for custom buckets, got schema {0}"
    )]
    InvalidSchema(i32),
    /// The schema number is not even a reserved one.
    #[error(
        "histogram has an unknown schema, which must be between -9 and 52 for exponential buckets, \
         or -53 for custom buckets, got schema {0}"
    )]
    UnknownSchema(i32),
    /// A span reaches back before the one it follows.
    #[error("{part}span number {number} with offset {offset}: histogram has a span whose offset is negative")]
    SpanNegativeOffset {
        /// Where.
        part: Part,
        /// Which span, from 1.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// Spans and buckets are not equally many.
    #[error(
        "{part}spans need {needed} buckets, have {have} buckets: histogram spans specify different number \
         of buckets than provided"
    )]
    SpansBucketsMismatch {
        /// Where.
        part: Part,
        /// How many buckets the spans have.
        needed: u64,
        /// How many counts there are.
        have: usize,
    },
    /// There are fewer buckets than the spans have.
    #[error(
        "have {have} buckets but spans need more: histogram spans specify different number of buckets \
         than provided"
    )]
    TooFewBuckets {
        /// How many counts there are.
        have: usize,
    },
    /// A bucket holds less than nothing.
    #[error(
        "{part}bucket number {number} has observation count of {count}: histogram has a bucket whose \
         observation count is negative"
    )]
    NegativeBucketCount {
        /// Where.
        part: Part,
        /// Which bucket, from 1.
        number: usize,
        /// Its count.
        count: CountValue,
    },
    /// The zero bucket holds less than nothing.
    #[error(
        "zero bucket has observation count of {}: histogram has a bucket whose observation count is negative",
        crate::float::format_g(*.0)
    )]
    NegativeZeroCount(f64),
    /// The count is below nothing.
    #[error("observation count is  {}: histogram's observation count is negative", crate::float::format_g(*.0))]
    NegativeCount(f64),
    /// The count is not the sum of the buckets.
    #[error(
        "{found} observations found in buckets, but the Count field is {count}: histogram's observation \
         count should equal the number of observations found in the buckets (in absence of NaN)"
    )]
    CountMismatch {
        /// The sum of the buckets.
        found: u64,
        /// The count.
        count: u64,
    },
    /// The count is below the sum of the buckets.
    #[error(
        "{found} observations found in buckets, but the Count field is {count}: histogram's observation \
         count should be at least the number of observations found in the buckets"
    )]
    CountNotBigEnough {
        /// The sum of the buckets.
        found: u64,
        /// The count.
        count: u64,
    },
    /// There are buckets beyond the custom bounds.
    #[error(
        "custom buckets: only {bounds} custom bounds defined which is insufficient to cover total span \
         length of {length}: histogram custom bounds are too few"
    )]
    CustomBoundsTooFew {
        /// How many bounds there are.
        bounds: usize,
        /// How far the spans reach.
        length: u64,
    },
    /// A custom bound is not above the one before.
    #[error(
        "custom buckets: previous bound is {previous:.6} and current is {current:.6}: histogram custom \
         bounds must be in strictly increasing order"
    )]
    CustomBoundsOrder {
        /// The bound before.
        previous: f64,
        /// The bound.
        current: f64,
    },
    /// The bound +Inf is there without saying.
    #[error(
        "custom buckets: last +Inf bound must not be explicitly defined: histogram custom bounds must be finite"
    )]
    CustomBoundsInfinite,
    /// A bound that is no number.
    #[error("custom buckets: histogram custom bounds must not be NaN")]
    CustomBoundsNan,
    /// Custom buckets have no zero bucket.
    #[error("custom buckets: must have zero count of 0")]
    CustomZeroCount,
    /// Custom buckets have no zero bucket.
    #[error("custom buckets: must have zero threshold of 0")]
    CustomZeroThreshold,
    /// Custom buckets stand on the positive side.
    #[error("custom buckets: must not have negative spans")]
    CustomNegativeSpans,
    /// Custom buckets stand on the positive side.
    #[error("custom buckets: must not have negative buckets")]
    CustomNegativeBuckets,
    /// Exponential bounds follow from the schema.
    #[error("histogram with exponential schema must not have custom bounds")]
    ExponentialCustomBounds,
    /// One histogram has exponential bounds, the other custom ones.
    #[error("cannot apply this operation on histograms with a mix of exponential and custom bucket schemas")]
    IncompatibleSchemas,
    /// Custom bounds have no lower resolution.
    #[error("cannot reduce resolution when there are custom buckets")]
    ReduceCustomBuckets,
    /// Custom bounds are no resolution.
    #[error("cannot reduce resolution to custom buckets schema")]
    ReduceToCustomBuckets,
    /// The schema asked for is not below the one there is.
    #[error("cannot reduce resolution from schema {from} to {to}")]
    ReduceUpwards {
        /// The histogram's schema.
        from: i32,
        /// The schema asked for.
        to: i32,
    },
}

fn check_spans(part: Part, spans: &[Span], buckets: usize) -> Result<(), HistogramError> {
    let mut needed = 0;
    for (i, span) in spans.iter().enumerate() {
        // The first span of exponential buckets may start anywhere.
        if span.offset < 0 && (i > 0 || part == Part::Custom) {
            return Err(HistogramError::SpanNegativeOffset { part, number: i + 1, offset: span.offset });
        }
        needed += u64::from(span.length);
    }
    if needed != buckets as u64 {
        return Err(HistogramError::SpansBucketsMismatch { part, needed, have: buckets });
    }
    Ok(())
}

fn check_custom_bounds(bounds: &[f64]) -> Result<(), HistogramError> {
    if let Some(at) = bounds.iter().position(|b| b.is_nan()) {
        return check_custom_bounds(&bounds[..at]).and(Err(HistogramError::CustomBoundsNan));
    }
    for pair in bounds.windows(2) {
        if pair[1] <= pair[0] {
            return Err(HistogramError::CustomBoundsOrder { previous: pair[0], current: pair[1] });
        }
    }
    if bounds.last() == Some(&f64::INFINITY) {
        return Err(HistogramError::CustomBoundsInfinite);
    }
    Ok(())
}

/// What both kinds of histogram have in common, borrowed.
struct Shape<'a> {
    schema: i32,
    zero_count_is_zero: bool,
    zero_threshold: f64,
    positive_spans: &'a [Span],
    negative_spans: &'a [Span],
    positive_buckets: usize,
    negative_buckets: usize,
    custom_values: &'a [f64],
}

impl Shape<'_> {
    fn check_custom(&self) -> Result<(), HistogramError> {
        match check_custom_bounds(self.custom_values) {
            // A lone +Inf before a NaN: the NaN is met first.
            Err(HistogramError::CustomBoundsInfinite) if self.custom_values.iter().any(|b| b.is_nan()) => {
                return Err(HistogramError::CustomBoundsNan);
            }
            other => other?,
        }
        check_spans(Part::Custom, self.positive_spans, self.positive_buckets)?;
        let reach = |span: &Span| u64::from(span.length) + u64::from(span.offset.unsigned_abs());
        let length = self.positive_spans.iter().map(reach).sum();
        if ((self.custom_values.len() + 1) as u64) < length {
            return Err(HistogramError::CustomBoundsTooFew { bounds: self.custom_values.len(), length });
        }
        if !self.zero_count_is_zero {
            return Err(HistogramError::CustomZeroCount);
        }
        if self.zero_threshold != 0.0 {
            return Err(HistogramError::CustomZeroThreshold);
        }
        if !self.negative_spans.is_empty() {
            return Err(HistogramError::CustomNegativeSpans);
        }
        if self.negative_buckets > 0 {
            return Err(HistogramError::CustomNegativeBuckets);
        }
        Ok(())
    }

    fn check_exponential_spans(&self) -> Result<(), HistogramError> {
        check_spans(Part::Positive, self.positive_spans, self.positive_buckets)?;
        check_spans(Part::Negative, self.negative_spans, self.negative_buckets)
    }

    fn check_no_custom_bounds(&self) -> Result<(), HistogramError> {
        if self.custom_values.is_empty() { Ok(()) } else { Err(HistogramError::ExponentialCustomBounds) }
    }
}

/// The sum of buckets that are held as differences.
fn sum_integer_buckets(part: Part, deltas: &[i64]) -> Result<u64, HistogramError> {
    let mut count = 0i64;
    let mut sum = 0u64;
    for (i, delta) in deltas.iter().enumerate() {
        count = count.wrapping_add(*delta);
        let Ok(positive) = u64::try_from(count) else {
            let count = CountValue::Integer(count);
            return Err(HistogramError::NegativeBucketCount { part, number: i + 1, count });
        };
        sum = sum.wrapping_add(positive);
    }
    Ok(sum)
}

fn check_float_buckets(part: Part, buckets: &[f64]) -> Result<(), HistogramError> {
    match buckets.iter().position(|count| *count < 0.0) {
        None => Ok(()),
        Some(at) => {
            let count = CountValue::Float(buckets[at]);
            Err(HistogramError::NegativeBucketCount { part, number: at + 1, count })
        }
    }
}

impl Histogram {
    fn shape(&self) -> Shape<'_> {
        Shape {
            schema: self.schema,
            zero_count_is_zero: self.zero_count == 0,
            zero_threshold: self.zero_threshold,
            positive_spans: &self.positive_spans,
            negative_spans: &self.negative_spans,
            positive_buckets: self.positive_buckets.len(),
            negative_buckets: self.negative_buckets.len(),
            custom_values: &self.custom_values,
        }
    }

    /// Whether the histogram is well formed: spans fit buckets, no count is
    /// negative, and the count is the sum of the buckets (or at least that, where
    /// the sum is NaN: observations of NaN are in no bucket).
    ///
    /// # Errors
    /// The first fault found.
    pub fn validate(&self) -> Result<(), HistogramError> {
        let shape = self.shape();
        let mut negative = 0;
        if shape.schema == CUSTOM_BUCKETS_SCHEMA {
            shape.check_custom()?;
        } else if is_exponential_schema(shape.schema) {
            shape.check_exponential_spans()?;
            negative = sum_integer_buckets(Part::Negative, &self.negative_buckets)?;
            shape.check_no_custom_bounds()?;
        } else {
            return Err(HistogramError::InvalidSchema(self.schema));
        }
        let positive = sum_integer_buckets(Part::Positive, &self.positive_buckets)?;
        let found = negative.wrapping_add(positive).wrapping_add(self.zero_count);
        let count = self.count;
        if self.sum.is_nan() {
            if found > count {
                return Err(HistogramError::CountNotBigEnough { found, count });
            }
        } else if found != count {
            return Err(HistogramError::CountMismatch { found, count });
        }
        Ok(())
    }
}

impl FloatHistogram {
    fn shape(&self) -> Shape<'_> {
        Shape {
            schema: self.schema,
            zero_count_is_zero: self.zero_count == 0.0,
            zero_threshold: self.zero_threshold,
            positive_spans: &self.positive_spans,
            negative_spans: &self.negative_spans,
            positive_buckets: self.positive_buckets.len(),
            negative_buckets: self.negative_buckets.len(),
            custom_values: &self.custom_values,
        }
    }

    /// Whether the histogram is well formed, as [`Histogram::validate`]; the
    /// count is not compared with the buckets, as rounding may part them.
    ///
    /// # Errors
    /// The first fault found.
    pub fn validate(&self) -> Result<(), HistogramError> {
        let shape = self.shape();
        if shape.schema == CUSTOM_BUCKETS_SCHEMA {
            shape.check_custom()?;
        } else if is_exponential_schema(shape.schema) {
            shape.check_exponential_spans()?;
            check_float_buckets(Part::Negative, &self.negative_buckets)?;
            if self.zero_count < 0.0 {
                return Err(HistogramError::NegativeZeroCount(self.zero_count));
            }
            shape.check_no_custom_bounds()?;
        } else {
            return Err(HistogramError::InvalidSchema(self.schema));
        }
        if self.count < 0.0 {
            return Err(HistogramError::NegativeCount(self.count));
        }
        check_float_buckets(Part::Positive, &self.positive_buckets)
    }
}
