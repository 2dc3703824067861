//! From whole counts to float counts, equality, and size.

use super::{FloatHistogram, Histogram, Span, no_bounds, no_spans};

/// What upstream counts for a histogram before its lists: the limit on samples
/// of a query is in its terms.
const STRUCT_BYTES: usize = 168;

/// Bytes of a (time, histogram) point beside the histogram, in the same terms.
const POINT_BYTES: usize = 8;

/// Bytes of a float point: the unit in which `query.max-samples` counts.
const FLOAT_POINT_BYTES: usize = 16;

/// Absolute counts from differences.
pub(super) fn absolute_counts(deltas: &[i64]) -> impl Iterator<Item = i64> + '_ {
    deltas.iter().scan(0i64, |count, delta| {
        *count = count.wrapping_add(*delta);
        Some(*count)
    })
}

fn float_counts(deltas: &[i64]) -> Vec<f64> {
    // Summed as floats: beyond 2^53 upstream rounds each step.
    let running = deltas.iter().scan(0.0, |count, delta| {
        *count += *delta as f64;
        Some(*count)
    });
    running.collect()
}

/// Whether both lists of bounds are the same.
pub fn bounds_match(a: &[f64], b: &[f64]) -> bool {
    std::ptr::eq(a, b) || a == b
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}

/// Whether both lists name the same buckets; spans without length only shift
/// the next one.
fn spans_match(a: &[Span], b: &[Span]) -> bool {
    if std::ptr::eq(a, b) || a == b {
        return true;
    }
    solid_spans(a).eq(solid_spans(b))
}

/// The spans that have a length, with what empty ones before them shift.
fn solid_spans(spans: &[Span]) -> impl Iterator<Item = (i64, u32)> + '_ {
    let mut shift = 0i64;
    spans.iter().filter_map(move |span| {
        shift += i64::from(span.offset);
        if span.length == 0 {
            return None;
        }
        Some((std::mem::take(&mut shift), span.length))
    })
}

impl Histogram {
    /// The same histogram with float counts. Spans and bounds are shared.
    pub fn to_float(&self) -> FloatHistogram {
        let custom = self.uses_custom_buckets();
        FloatHistogram {
            counter_reset_hint: self.counter_reset_hint,
            schema: self.schema,
            zero_threshold: if custom { 0.0 } else { self.zero_threshold },
            zero_count: if custom { 0.0 } else { self.zero_count as f64 },
            count: self.count as f64,
            sum: self.sum,
            positive_spans: self.positive_spans.clone(),
            negative_spans: if custom { no_spans() } else { self.negative_spans.clone() },
            positive_buckets: float_counts(&self.positive_buckets),
            negative_buckets: if custom { Vec::new() } else { float_counts(&self.negative_buckets) },
            custom_values: if custom { self.custom_values.clone() } else { no_bounds() },
        }
    }

    /// Whether both are the same histogram, bit by bit; the counter reset hint
    /// is not compared, nor are spans without length.
    pub fn equals(&self, other: &Histogram) -> bool {
        self.schema == other.schema
            && self.count == other.count
            && self.sum.to_bits() == other.sum.to_bits()
            && (!self.uses_custom_buckets() || bounds_match(&self.custom_values, &other.custom_values))
            && self.zero_threshold == other.zero_threshold
            && self.zero_count == other.zero_count
            && spans_match(&self.negative_spans, &other.negative_spans)
            && self.negative_buckets == other.negative_buckets
            && spans_match(&self.positive_spans, &other.positive_spans)
            && self.positive_buckets == other.positive_buckets
    }
}

impl FloatHistogram {
    /// Whether both are the same histogram, bit by bit, NaN equal to the same
    /// NaN; the counter reset hint is not compared, nor are spans without length.
    pub fn equals(&self, other: &FloatHistogram) -> bool {
        self.schema == other.schema
            && self.count.to_bits() == other.count.to_bits()
            && self.sum.to_bits() == other.sum.to_bits()
            && (!self.uses_custom_buckets() || bounds_match(&self.custom_values, &other.custom_values))
            && self.zero_threshold == other.zero_threshold
            && self.zero_count.to_bits() == other.zero_count.to_bits()
            && spans_match(&self.negative_spans, &other.negative_spans)
            && same_bits(&self.negative_buckets, &other.negative_buckets)
            && spans_match(&self.positive_spans, &other.positive_spans)
            && same_bits(&self.positive_buckets, &other.positive_buckets)
    }

    /// Bytes the histogram counts for in upstream's terms, which the limit on
    /// samples of a query is in.
    pub fn size(&self) -> usize {
        let spans = self.positive_spans.len() + self.negative_spans.len();
        let counts = self.positive_buckets.len() + self.negative_buckets.len();
        STRUCT_BYTES + 8 * (spans + counts + self.custom_values.len())
    }

    /// How many samples a point with this histogram counts for in
    /// `query.max-samples`.
    pub fn samples(&self) -> usize {
        (self.size() + POINT_BYTES) / FLOAT_POINT_BYTES
    }

    /// Whether any count, the sum or a bound is infinite, as after adding up
    /// more than a float can hold.
    pub fn has_overflow(&self) -> bool {
        [self.zero_count, self.count, self.sum].iter().any(|v| v.is_infinite())
            || self.positive_buckets.iter().any(|v| v.is_infinite())
            || self.negative_buckets.iter().any(|v| v.is_infinite())
            || self.custom_values.iter().any(|v| v.is_infinite())
    }
}
