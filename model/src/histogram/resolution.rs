//! Lowering the resolution: each step down joins pairs of neighbours.
//!
//! ```text
//! schema 1   (…,1] (1,√2] (√2,2] (2,2√2] (2√2,4]
//! schema 0   (…,1] (1        ,2] (2         , 4]
//! ```

use std::sync::Arc;

use super::arithmetic::neumaier;
use super::bounds::target_index;
use super::compact::differences;
use super::convert::absolute_counts;
use super::layout::{Positions, SpanBuilder};
use super::validate::{HistogramError, Part};
use super::{CUSTOM_BUCKETS_SCHEMA, EXPONENTIAL_SCHEMA_MAX, FloatHistogram, Histogram, Span};

fn check_fit(spans: &[Span], buckets: usize) -> Result<(), HistogramError> {
    let mut needed = 0u64;
    for (i, span) in spans.iter().enumerate() {
        if i > 0 && span.offset < 0 {
            return Err(HistogramError::SpanNegativeOffset {
                part: Part::Any,
                number: i + 1,
                offset: span.offset,
            });
        }
        needed += u64::from(span.length);
        if needed > buckets as u64 {
            return Err(HistogramError::TooFewBuckets { have: buckets });
        }
    }
    if needed != buckets as u64 {
        return Err(HistogramError::SpansBucketsMismatch { part: Part::Any, needed, have: buckets });
    }
    Ok(())
}

/// The layout at the lower resolution; `join` is told for each bucket, in order,
/// its position and whether it falls into the same bucket as the one before.
fn reduce(
    spans: &[Span],
    buckets: usize,
    from: i32,
    to: i32,
    mut join: impl FnMut(usize, bool),
) -> Result<Arc<[Span]>, HistogramError> {
    check_fit(spans, buckets)?;
    let mut layout = SpanBuilder::default();
    let mut last = None;
    for (at, index) in Positions::new(spans, buckets) {
        let target = target_index(index, from, to);
        let same = last == Some(target);
        join(at, same);
        if !same {
            layout.push(target);
            last = Some(target);
        }
    }
    Ok(layout.finish())
}

/// One side at a lower resolution.
pub(super) fn reduce_floats(
    spans: &[Span],
    counts: &[f64],
    from: i32,
    to: i32,
) -> Result<(Arc<[Span]>, Vec<f64>), HistogramError> {
    let mut sums: Vec<f64> = Vec::with_capacity(counts.len());
    let spans = reduce(spans, counts.len(), from, to, |at, same| match sums.last_mut() {
        Some(sum) if same => *sum += counts[at],
        _ => sums.push(counts[at]),
    })?;
    Ok((spans, sums))
}

/// As [`reduce_floats`], with what rounding lost of each count; `lost` has as
/// many entries as `counts`, missing ones are zero.
pub(super) fn reduce_with_compensation(
    spans: &[Span],
    counts: &[f64],
    lost: &[f64],
    from: i32,
    to: i32,
) -> Result<(Arc<[Span]>, Vec<f64>, Vec<f64>), HistogramError> {
    let mut sums: Vec<f64> = Vec::with_capacity(counts.len());
    let mut losses: Vec<f64> = Vec::with_capacity(counts.len());
    let spans = reduce(spans, counts.len(), from, to, |at, same| {
        let lost = lost.get(at).copied().unwrap_or(0.0);
        match (sums.last_mut(), losses.last_mut()) {
            (Some(sum), Some(loss)) if same => {
                neumaier(counts[at], sum, loss);
                neumaier(lost, sum, loss);
            }
            _ => {
                sums.push(counts[at]);
                losses.push(lost);
            }
        }
    })?;
    Ok((spans, sums, losses))
}

fn reduce_integers(
    spans: &[Span],
    deltas: &[i64],
    from: i32,
    to: i32,
) -> Result<(Arc<[Span]>, Vec<i64>), HistogramError> {
    let counts: Vec<i64> = absolute_counts(deltas).collect();
    let mut sums: Vec<i64> = Vec::with_capacity(counts.len());
    let spans = reduce(spans, counts.len(), from, to, |at, same| match sums.last_mut() {
        Some(sum) if same => *sum = sum.wrapping_add(counts[at]),
        _ => sums.push(counts[at]),
    })?;
    Ok((spans, differences(sums.into_iter())))
}

fn check_direction(from: i32, to: i32) -> Result<(), HistogramError> {
    if from == CUSTOM_BUCKETS_SCHEMA {
        Err(HistogramError::ReduceCustomBuckets)
    } else if to == CUSTOM_BUCKETS_SCHEMA {
        Err(HistogramError::ReduceToCustomBuckets)
    } else if to >= from {
        Err(HistogramError::ReduceUpwards { from, to })
    } else {
        Ok(())
    }
}

impl FloatHistogram {
    /// Lowers the resolution to `schema`. On an error the histogram is as before.
    ///
    /// # Errors
    /// `schema` is not below the histogram's, either is that of custom buckets, or
    /// spans and buckets do not fit.
    pub fn reduce_resolution(&mut self, schema: i32) -> Result<(), HistogramError> {
        check_direction(self.schema, schema)?;
        let positive = reduce_floats(&self.positive_spans, &self.positive_buckets, self.schema, schema)?;
        let negative = reduce_floats(&self.negative_spans, &self.negative_buckets, self.schema, schema)?;
        (self.positive_spans, self.positive_buckets) = positive;
        (self.negative_spans, self.negative_buckets) = negative;
        self.schema = schema;
        Ok(())
    }

    /// A copy at `schema`; its hint is unknown where the schema differs.
    ///
    /// # Errors
    /// As [`FloatHistogram::reduce_resolution`], but the same schema is none.
    pub fn copy_to_schema(&self, schema: i32) -> Result<FloatHistogram, HistogramError> {
        let mut copy = self.clone();
        if schema != self.schema {
            copy.reduce_resolution(schema)?;
            copy.counter_reset_hint = super::CounterResetHint::Unknown;
        }
        Ok(copy)
    }
}

impl Histogram {
    /// As [`FloatHistogram::reduce_resolution`].
    ///
    /// # Errors
    /// As there.
    pub fn reduce_resolution(&mut self, schema: i32) -> Result<(), HistogramError> {
        check_direction(self.schema, schema)?;
        let positive = reduce_integers(&self.positive_spans, &self.positive_buckets, self.schema, schema)?;
        let negative = reduce_integers(&self.negative_spans, &self.negative_buckets, self.schema, schema)?;
        (self.positive_spans, self.positive_buckets) = positive;
        (self.negative_spans, self.negative_buckets) = negative;
        self.schema = schema;
        Ok(())
    }
}

/// Whether histograms of this schema can be read; those above
/// [`EXPONENTIAL_SCHEMA_MAX`] must then be reduced to it.
///
/// # Errors
/// It is not known: nothing can be said of the buckets.
pub fn check_known_schema(schema: i32) -> Result<(), HistogramError> {
    if super::is_known_schema(schema) { Ok(()) } else { Err(HistogramError::UnknownSchema(schema)) }
}

/// Whether a histogram of this schema must be reduced when it is read.
pub fn needs_reduction(schema: i32) -> bool {
    schema > EXPONENTIAL_SCHEMA_MAX && super::is_known_schema(schema)
}
