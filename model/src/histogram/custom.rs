//! Classic histograms into native ones with custom buckets, and back.
//!
//! ```text
//! le      0.5    1   +Inf                 custom_values [0.5 1]
//! count    50  950   1000   <-------->    buckets        50 900 50
//! ```

use super::compact::differences;
use super::convert::absolute_counts;
use super::layout::Positions;
use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram, HistogramError, Span, no_bounds};
use crate::append::HistogramValue;
use crate::float::{format_g, format_open_metrics};
use crate::labels::{Labels, METRIC_NAME};
use std::sync::Arc;

/// Why the series of a classic histogram make no histogram.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ClassicError {
    /// A bucket holds less than nothing.
    #[error("bucket count must be non-negative: le={}, count={}", format_g(*le), format_g(*count))]
    NegativeBucketCount {
        /// The bucket's bound.
        le: f64,
        /// Its count.
        count: f64,
    },
    /// A bound is no number.
    #[error("bucket boundary must not be NaN")]
    NanBound,
    /// The count is below nothing.
    #[error("count must be non-negative: count={}", format_g(*.0))]
    NegativeCount(f64),
    /// The count is not that of the last bucket.
    #[error(
        "count mismatch: count={} != le={} count={}",
        format_g(*count), format_g(*le), format_g(*bucket_count)
    )]
    CountMismatch {
        /// The count.
        count: f64,
        /// The last bucket's bound.
        le: f64,
        /// Its count.
        bucket_count: f64,
    },
    /// As [`ClassicError::CountMismatch`], where all counts are whole.
    #[error("count mismatch: count={count} != le={} count={}", format_g(*le), format_g(*bucket_count))]
    WholeCountMismatch {
        /// The count.
        count: u64,
        /// The last bucket's bound.
        le: f64,
        /// Its count.
        bucket_count: f64,
    },
    /// A bucket has less than the one below it.
    #[error("count is not cumulative: {} < {}", format_g(*count), format_g(*below))]
    LessThanBelow {
        /// Its count.
        count: f64,
        /// The count of the bucket below.
        below: f64,
    },
    /// A bucket has more than the one above it.
    #[error("count is not cumulative: {} > {}", format_g(*count), format_g(*above))]
    MoreThanAbove {
        /// Its count.
        count: f64,
        /// The count of the bucket above.
        above: f64,
    },
}

/// The series of one classic histogram, gathered to become a native one.
///
/// They may come in any order, fastest from the lowest bucket up. After an error
/// every call answers it until [`ClassicHistogram::reset`].
///
/// ```
/// use model::histogram::ClassicHistogram;
/// use model::HistogramValue;
/// let mut classic = ClassicHistogram::default();
/// classic.set_bucket_count(0.5, 50.0)?;
/// classic.set_bucket_count(f64::INFINITY, 60.0)?;
/// classic.set_sum(100.0)?;
/// let HistogramValue::Integer(native) = classic.convert()? else { panic!("counts are whole") };
/// assert_eq!(native.to_string(), "{count:60, sum:100, [-Inf,0.5]:50, (0.5,+Inf]:10}");
/// # Ok::<(), model::histogram::ClassicError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ClassicHistogram {
    /// (upper bound, cumulative count), ascending.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    error: Option<ClassicError>,
}

impl ClassicHistogram {
    /// Forgets everything but the memory.
    pub fn reset(&mut self) {
        self.buckets.clear();
        self.count = None;
        self.sum = 0.0;
        self.error = None;
    }

    /// Whether no bucket was set.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The first error.
    pub fn error(&self) -> Option<ClassicError> {
        self.error
    }

    /// Takes in a `_bucket` series. A bound that is known already is passed over.
    ///
    /// # Errors
    /// The bound is NaN, or the count is negative or not between its neighbours'.
    pub fn set_bucket_count(&mut self, le: f64, count: f64) -> Result<(), ClassicError> {
        self.guard(|this| this.try_set_bucket_count(le, count))
    }

    fn try_set_bucket_count(&mut self, le: f64, count: f64) -> Result<(), ClassicError> {
        if le.is_nan() {
            return Err(ClassicError::NanBound);
        }
        if count < 0.0 {
            return Err(ClassicError::NegativeBucketCount { le, count });
        }
        let at = match self.buckets.last() {
            Some((last, _)) if *last < le => self.buckets.len(),
            _ => self.buckets.partition_point(|(bound, _)| *bound < le),
        };
        let above = self.buckets.get(at).copied();
        if above.is_some_and(|(bound, _)| bound == le) {
            return Ok(());
        }
        let below = at.checked_sub(1).map(|below| self.buckets[below].1);
        if let Some(below) = below.filter(|below| count < *below) {
            return Err(ClassicError::LessThanBelow { count, below });
        }
        if let Some((_, above)) = above.filter(|(_, above)| count > *above) {
            return Err(ClassicError::MoreThanAbove { count, above });
        }
        self.buckets.insert(at, (le, count));
        Ok(())
    }

    /// Takes in the `_count` series.
    ///
    /// # Errors
    /// The count is negative.
    pub fn set_count(&mut self, count: f64) -> Result<(), ClassicError> {
        self.guard(|this| {
            if count < 0.0 {
                return Err(ClassicError::NegativeCount(count));
            }
            this.count = Some(count);
            Ok(())
        })
    }

    /// Takes in the `_sum` series.
    ///
    /// # Errors
    /// An earlier call failed.
    pub fn set_sum(&mut self, sum: f64) -> Result<(), ClassicError> {
        self.guard(|this| {
            this.sum = sum;
            Ok(())
        })
    }

    fn guard(
        &mut self,
        set: impl FnOnce(&mut ClassicHistogram) -> Result<(), ClassicError>,
    ) -> Result<(), ClassicError> {
        let result = match self.error {
            Some(error) => Err(error),
            None => set(self),
        };
        self.error = result.err();
        result
    }

    /// The native histogram: of whole counts if all are whole. A missing count is
    /// that of the last bucket, a missing +Inf bucket holds the count.
    ///
    /// # Errors
    /// An earlier call failed, or the count is not that of the +Inf bucket.
    pub fn convert(&self) -> Result<HistogramValue, ClassicError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut buckets = self.buckets.clone();
        let count = self.count.or_else(|| buckets.last().map(|(_, count)| *count)).unwrap_or(0.0);
        if buckets.last().is_none_or(|(le, _)| *le != f64::INFINITY) {
            buckets.push((f64::INFINITY, count));
        }
        let whole: Option<Vec<i64>> = buckets.iter().map(|(_, count)| whole(*count)).collect();
        match (whole, whole_unsigned(count)) {
            (Some(counts), Some(whole_count)) => self.integer(&buckets, &counts, whole_count),
            _ => self.float(&buckets, count),
        }
    }

    fn integer(
        &self,
        buckets: &[(f64, f64)],
        cumulative: &[i64],
        count: u64,
    ) -> Result<HistogramValue, ClassicError> {
        let (le, bucket_count) = buckets.last().copied().unwrap_or((f64::INFINITY, 0.0));
        if cumulative.last().is_none_or(|last| last.cast_unsigned() != count) {
            return Err(ClassicError::WholeCountMismatch { count, le, bucket_count });
        }
        let single = differences(cumulative.iter().copied());
        let mut histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: one_span(buckets.len()),
            positive_buckets: differences(single.into_iter()),
            custom_values: bounds(buckets),
            ..Histogram::default()
        };
        // Upstream's choice, and so part of what is stored: short gaps stay.
        histogram.compact(2);
        Ok(HistogramValue::Integer(histogram))
    }

    fn float(&self, buckets: &[(f64, f64)], count: f64) -> Result<HistogramValue, ClassicError> {
        let (le, bucket_count) = buckets.last().copied().unwrap_or((f64::INFINITY, 0.0));
        if count != bucket_count {
            return Err(ClassicError::CountMismatch { count, le, bucket_count });
        }
        let mut below = 0.0;
        let single = |(_, count): &(f64, f64)| count - std::mem::replace(&mut below, *count);
        let mut histogram = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: one_span(buckets.len()),
            positive_buckets: buckets.iter().map(single).collect(),
            custom_values: bounds(buckets),
            ..FloatHistogram::default()
        };
        histogram.compact(0);
        Ok(HistogramValue::Float(histogram))
    }
}

fn one_span(buckets: usize) -> Arc<[Span]> {
    Arc::from([Span { offset: 0, length: u32::try_from(buckets).unwrap_or(u32::MAX) }].as_slice())
}

fn bounds(buckets: &[(f64, f64)]) -> Arc<[f64]> {
    let finite: Vec<f64> = buckets.iter().map(|(le, _)| *le).filter(|le| *le != f64::INFINITY).collect();
    if finite.is_empty() { no_bounds() } else { Arc::from(finite) }
}

/// The count as a whole number, if it is one that fits.
fn whole(count: f64) -> Option<i64> {
    const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0;
    (count.fract() == 0.0 && count.abs() < TOO_LARGE).then_some(count as i64)
}

fn whole_unsigned(count: f64) -> Option<u64> {
    const TOO_LARGE: f64 = 18_446_744_073_709_551_616.0;
    (count.fract() == 0.0 && (0.0..TOO_LARGE).contains(&count)).then_some(count as u64)
}

/// Why a histogram has no classic series.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum NhcbError {
    /// There is no name to derive names from.
    #[error("metric name label '__name__' is missing")]
    NoName,
    /// Its bounds are not custom ones.
    #[error("unsupported histogram schema, not a NHCB")]
    NotCustomBuckets,
    /// It is malformed.
    #[error(transparent)]
    Invalid(#[from] HistogramError),
}

/// The classic series of a histogram with custom buckets: `emit` is called for
/// each bucket from the lowest up, then for the count and the sum, with labels
/// and value.
///
/// Of histograms with whole counts, an unpopulated bucket between two spans
/// repeats the count of the one before, as upstream has it.
///
/// # Errors
/// There is no metric name, or the histogram is not such a one; nothing was
/// emitted then.
pub fn nhcb_to_classic(
    histogram: &HistogramValue,
    labels: &Labels,
    mut emit: impl FnMut(Labels, f64),
) -> Result<(), NhcbError> {
    let name = labels.metric_name();
    if name.is_empty() {
        return Err(NhcbError::NoName);
    }
    let (counts, bounds, count, sum) = match histogram {
        HistogramValue::Integer(h) if h.uses_custom_buckets() => {
            h.validate()?;
            (repeated_counts(h), &h.custom_values, h.count as f64, h.sum)
        }
        HistogramValue::Float(h) if h.uses_custom_buckets() => {
            h.validate()?;
            (dense_counts(h), &h.custom_values, h.count, h.sum)
        }
        _ => return Err(NhcbError::NotCustomBuckets),
    };
    let mut builder = labels.to_builder();
    builder.set(METRIC_NAME, &format!("{name}_bucket"));
    let mut total = 0.0;
    let ends = bounds.iter().copied().chain([f64::INFINITY]);
    for (end, count) in ends.zip(counts) {
        total += count;
        builder.set("le", &format_open_metrics(end));
        emit(builder.labels(), total);
    }
    for (suffix, value) in [("_count", count), ("_sum", sum)] {
        let mut builder = labels.to_builder();
        builder.set(METRIC_NAME, &format!("{name}{suffix}"));
        emit(builder.labels(), value);
    }
    Ok(())
}

/// One count for each bound and +Inf, 0 where a bucket is not in a span.
fn dense_counts(h: &FloatHistogram) -> Vec<f64> {
    let mut counts = vec![0.0; h.custom_values.len() + 1];
    for (at, index) in Positions::new(&h.positive_spans, h.positive_buckets.len()) {
        if let Some(count) = usize::try_from(index).ok().and_then(|i| counts.get_mut(i)) {
            *count = h.positive_buckets[at];
        }
    }
    counts
}

/// As [`dense_counts`], with gaps before spans filled by the count before them.
fn repeated_counts(h: &Histogram) -> Vec<f64> {
    let mut counts = Vec::with_capacity(h.custom_values.len() + 1);
    let mut before = 0.0;
    let positions = Positions::new(&h.positive_spans, h.positive_buckets.len());
    for ((_, index), count) in positions.zip(absolute_counts(&h.positive_buckets)) {
        counts.resize(usize::try_from(index).unwrap_or(0).min(h.custom_values.len()), before);
        before = count as f64;
        counts.push(before);
    }
    counts.resize(h.custom_values.len() + 1, 0.0);
    counts
}
