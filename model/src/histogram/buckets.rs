//! Buckets one by one, with bounds and absolute counts.
//!
//! ```text
//!   negative_buckets()        zero_bucket()      positive_buckets()
//!  ◄── [-4,-2) ── [-2,-1) ──   [-0.1,0.1]   ── (0.5,1] ── (1,2] ──►
//!  ──────────────────── all_buckets() ───────────────────────────►
//! ```
//!
//! All iterators over float histograms can be walked from the back.

use std::fmt;

use super::bounds::upper_bound;
use super::convert::absolute_counts;
use super::layout::Positions;
use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram};
use crate::elementary::log2;

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket<C = f64> {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether the lower bound itself is inside.
    pub lower_inclusive: bool,
    /// Whether the upper bound itself is inside.
    pub upper_inclusive: bool,
    /// Observations in this bucket alone.
    pub count: C,
    /// Number within the schema; of no meaning for the zero bucket.
    pub index: i32,
}

/// Which way a side's indexes count.
#[derive(Clone, Copy, PartialEq)]
enum Sign {
    Positive,
    Negative,
}

impl<C> Bucket<C> {
    fn of(index: i32, count: C, schema: i32, sign: Sign, custom_values: &[f64]) -> Bucket<C> {
        let far = upper_bound(index, schema, custom_values);
        let near = upper_bound(index.wrapping_sub(1), schema, custom_values);
        let (lower, upper) = if sign == Sign::Positive { (near, far) } else { (-far, -near) };
        let custom = schema == CUSTOM_BUCKETS_SCHEMA;
        Bucket {
            lower,
            upper,
            lower_inclusive: if custom { index == 0 } else { lower < 0.0 },
            upper_inclusive: custom || upper > 0.0,
            count,
            index,
        }
    }

    /// How much of the bucket's width lies below `value`, from 0 to 1, for a
    /// value strictly inside finite bounds: on a linear scale, or on the
    /// logarithmic one which exponential buckets have.
    ///
    /// ```
    /// # let h = model::FloatHistogram::default();
    /// let bucket = model::histogram::Bucket {
    ///     lower: 2.0, upper: 8.0, lower_inclusive: false, upper_inclusive: true, count: 1.0, index: 0,
    /// };
    /// assert_eq!(bucket.fraction_below(4.0, false), 0.5);
    /// assert_eq!(bucket.fraction_below(5.0, true), 0.5);
    /// ```
    pub fn fraction_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let lower = log2(self.lower.abs());
        let upper = log2(self.upper.abs());
        let at = log2(value.abs());
        if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - ((at - upper) / (lower - upper)) }
    }

    /// This bucket without what the zero bucket covers.
    fn outside_zero(mut self, zero_threshold: f64) -> Bucket<C> {
        if self.upper < 0.0 && self.upper > -zero_threshold {
            self.upper = -zero_threshold;
        } else if self.lower > 0.0 && self.lower < zero_threshold {
            self.lower = zero_threshold;
        }
        self
    }
}

impl fmt::Display for Bucket<f64> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_bucket(f, self, &crate::float::format_g(self.count))
    }
}

impl fmt::Display for Bucket<u64> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_bucket(f, self, &self.count.to_string())
    }
}

fn write_bucket<C>(f: &mut fmt::Formatter<'_>, bucket: &Bucket<C>, count: &str) -> fmt::Result {
    let open = if bucket.lower_inclusive { '[' } else { '(' };
    let close = if bucket.upper_inclusive { ']' } else { ')' };
    let [lower, upper] = [bucket.lower, bucket.upper].map(crate::float::format_g);
    write!(f, "{open}{lower},{upper}{close}:{count}")
}

impl FloatHistogram {
    /// The buckets above zero, from the one next to zero outward; the buckets of
    /// custom bounds from the lowest up. Unpopulated ones that are in a span
    /// come too.
    pub fn positive_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let positions = Positions::new(&self.positive_spans, self.positive_buckets.len());
        positions.map(|(at, index)| {
            let count = self.positive_buckets[at];
            Bucket::of(index, count, self.schema, Sign::Positive, &self.custom_values)
        })
    }

    /// The buckets below zero, from the one next to zero outward.
    pub fn negative_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let positions = Positions::new(&self.negative_spans, self.negative_buckets.len());
        positions
            .map(|(at, index)| Bucket::of(index, self.negative_buckets[at], self.schema, Sign::Negative, &[]))
    }

    /// The bucket around zero; `None` where bounds are custom.
    pub fn zero_bucket(&self) -> Option<Bucket> {
        (!self.uses_custom_buckets()).then(|| Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
            index: 0,
        })
    }

    /// All buckets from the lowest to the highest, the zero bucket where it is
    /// populated. A bucket which overlaps the zero bucket is cut at the zero
    /// threshold.
    pub fn all_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let threshold = self.zero_threshold;
        let below = self.negative_buckets().rev().map(move |b| b.outside_zero(threshold));
        let zero = self.zero_bucket().filter(|b| b.count > 0.0);
        let above = self.positive_buckets().map(move |b| b.outside_zero(threshold));
        below.chain(zero).chain(above)
    }
}

impl Histogram {
    /// As [`FloatHistogram::positive_buckets`], with whole counts, forward only.
    pub fn positive_buckets(&self) -> impl Iterator<Item = Bucket<u64>> + '_ {
        let positions = Positions::new(&self.positive_spans, self.positive_buckets.len());
        positions.zip(absolute_counts(&self.positive_buckets)).map(|((_, index), count)| {
            Bucket::of(index, count.cast_unsigned(), self.schema, Sign::Positive, &self.custom_values)
        })
    }

    /// As [`FloatHistogram::negative_buckets`], with whole counts, forward only.
    pub fn negative_buckets(&self) -> impl Iterator<Item = Bucket<u64>> + '_ {
        let positions = Positions::new(&self.negative_spans, self.negative_buckets.len());
        positions.zip(absolute_counts(&self.negative_buckets)).map(|((_, index), count)| {
            Bucket::of(index, count.cast_unsigned(), self.schema, Sign::Negative, &[])
        })
    }

    /// The bucket around zero; `None` where bounds are custom.
    pub fn zero_bucket(&self) -> Option<Bucket<u64>> {
        (!self.uses_custom_buckets()).then(|| Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
            index: 0,
        })
    }
}
