//! Histograms of a finer resolution than is used, as a later version may write
//! them: brought down to the finest that is.

use std::sync::Arc;

use model::histogram::{EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MAX_RESERVED};
use model::{FloatHistogram, Histogram, Span};

/// By how many halvings a schema is too fine.
fn excess(schema: i32) -> u32 {
    if (EXPONENTIAL_SCHEMA_MAX + 1..=EXPONENTIAL_SCHEMA_MAX_RESERVED).contains(&schema) {
        (schema - EXPONENTIAL_SCHEMA_MAX) as u32
    } else {
        0
    }
}

/// Merges buckets whose coarser index is the same.
fn merge<V: Copy>(
    spans: &[Span],
    values: &[V],
    halvings: u32,
    add: impl Fn(V, V) -> V,
) -> (Vec<Span>, Vec<V>) {
    let mut merged_spans: Vec<Span> = Vec::new();
    let mut merged: Vec<V> = Vec::new();
    let mut values = values.iter().copied();
    let (mut index, mut end) = (0i64, 0i64);
    for span in spans {
        index += i64::from(span.offset);
        for value in values.by_ref().take(span.length as usize) {
            // Bucket i covers (base^(i-1), base^i].
            let coarse = ((index - 1) >> halvings) + 1;
            index += 1;
            match (merged.last_mut(), merged_spans.last_mut()) {
                (Some(last), Some(_)) if coarse == end - 1 => *last = add(*last, value),
                (_, Some(span)) if coarse == end => {
                    span.length += 1;
                    merged.push(value);
                }
                _ => {
                    merged_spans.push(Span { offset: (coarse - end) as i32, length: 1 });
                    merged.push(value);
                }
            }
            end = coarse + 1;
        }
    }
    (merged_spans, merged)
}

/// Brings a float histogram down to the finest schema in use.
pub(crate) fn float(mut histogram: FloatHistogram) -> FloatHistogram {
    let halvings = excess(histogram.schema);
    if halvings > 0 {
        let reduce = |spans: &mut Arc<[Span]>, values: &mut Vec<f64>| {
            let (merged_spans, merged) = merge(spans, values, halvings, |a, b| a + b);
            (*spans, *values) = (merged_spans.into(), merged);
        };
        reduce(&mut histogram.positive_spans, &mut histogram.positive_buckets);
        reduce(&mut histogram.negative_spans, &mut histogram.negative_buckets);
        histogram.schema = EXPONENTIAL_SCHEMA_MAX;
    }
    histogram
}

/// Brings a histogram of whole counts down to the finest schema in use.
pub(crate) fn integer(mut histogram: Histogram) -> Histogram {
    let halvings = excess(histogram.schema);
    if halvings > 0 {
        let reduce = |spans: &mut Arc<[Span]>, deltas: &mut Vec<i64>| {
            let absolute: Vec<i64> = deltas
                .iter()
                .scan(0i64, |sum, delta| {
                    *sum = sum.wrapping_add(*delta);
                    Some(*sum)
                })
                .collect();
            let (merged_spans, mut merged) = merge(spans, &absolute, halvings, i64::wrapping_add);
            let mut previous = 0i64;
            for value in &mut merged {
                (*value, previous) = (value.wrapping_sub(previous), *value);
            }
            (*spans, *deltas) = (merged_spans.into(), merged);
        };
        reduce(&mut histogram.positive_spans, &mut histogram.positive_buckets);
        reduce(&mut histogram.negative_spans, &mut histogram.negative_buckets);
        histogram.schema = EXPONENTIAL_SCHEMA_MAX;
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_beyond_the_finest_is_merged_down() {
        let histogram = Histogram {
            schema: 9,
            count: 10,
            // Indexes 1, 2, 3 and 7 with counts 1, 2, 3, 4.
            positive_spans: vec![Span { offset: 1, length: 3 }, Span { offset: 3, length: 1 }].into(),
            positive_buckets: vec![1, 1, 1, 1],
            ..Histogram::default()
        };
        let reduced = integer(histogram);
        assert_eq!(reduced.schema, 8);
        assert_eq!(&*reduced.positive_spans, [Span { offset: 1, length: 2 }, Span { offset: 1, length: 1 }]);
        assert_eq!(reduced.positive_buckets, [3, 0, 1]);
    }
}
