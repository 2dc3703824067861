//! Histograms of whole counts: everything but the sum as change of the change.

use std::sync::Arc;

use model::{CounterResetHint, FloatHistogram, Histogram, Span, is_stale_nan};

use super::super::bits::{BitReader, BitWriter};
use super::super::layout::Layout;
use super::super::reduce;
use super::super::spans::{Alignment, Insert, align, widen_deltas};
use super::float::XorField;
use super::{Kind, View};

/// Histograms of whole counts.
#[derive(Clone, Copy, Debug)]
pub enum IntegerKind {}

/// A number and how it changed last.
#[derive(Clone, Copy, Default)]
struct DeltaField {
    value: i64,
    delta: i64,
}

impl DeltaField {
    /// Writes the change of the change.
    fn put(&mut self, out: &mut BitWriter, value: i64) {
        let delta = value.wrapping_sub(self.value);
        out.put_varbit_int(delta.wrapping_sub(self.delta));
        *self = DeltaField { value, delta };
    }

    /// Writes that nothing is to be read, and remembers the value.
    fn put_ignored(&mut self, out: &mut BitWriter, value: i64) {
        out.put_varbit_int(0);
        *self = DeltaField { value, delta: value.wrapping_sub(self.value) };
    }

    #[inline(always)]
    fn take(&mut self, reader: &mut BitReader<'_>) {
        self.delta = self.delta.wrapping_add(reader.take_varbit_int());
        self.value = self.value.wrapping_add(self.delta);
    }
}

/// The newest sample of a chunk.
#[derive(Clone, Default)]
pub struct IntegerFields {
    t: DeltaField,
    count: DeltaField,
    zero_count: DeltaField,
    sum: XorField,
    positive: Vec<DeltaField>,
    negative: Vec<DeltaField>,
}

fn bucket(deltas: &[i64], i: usize) -> i64 {
    deltas.get(i).copied().unwrap_or(0)
}

/// Running totals of bucket differences: the absolute counts.
fn absolute(deltas: impl Iterator<Item = i64>) -> Vec<i64> {
    deltas
        .scan(0i64, |sum, delta| {
            *sum = sum.wrapping_add(delta);
            Some(*sum)
        })
        .collect()
}

/// Lays a chunk's buckets beside a histogram's; `None` where one lost counts.
fn counter_align(
    spans: &[Span],
    fields: &[DeltaField],
    new_spans: &[Span],
    deltas: &[i64],
) -> Option<Alignment> {
    let old = absolute(fields.iter().map(|field| field.value));
    let new = absolute(deltas.iter().copied());
    let at = |counts: &[i64], i: usize| counts.get(i).copied().unwrap_or(0);
    align(spans, new_spans, |a, b| match (a, b) {
        (Some(a), Some(b)) => at(&old, a) <= at(&new, b),
        (Some(a), None) => at(&old, a) == 0,
        (None, _) => true,
    })
}

impl Kind for IntegerKind {
    type Histogram = Histogram;
    type Fields = IntegerFields;
    const BUCKET_BITS: usize = 1;

    fn view(sample: &Histogram) -> View<'_> {
        View {
            hint: sample.counter_reset_hint,
            schema: sample.schema,
            zero_threshold: sample.zero_threshold,
            sum: sample.sum,
            positive_spans: &sample.positive_spans,
            negative_spans: &sample.negative_spans,
            custom_values: &sample.custom_values,
        }
    }

    fn stale(sum: f64) -> Histogram {
        Histogram { sum, ..Histogram::default() }
    }

    fn widen(sample: &mut Histogram, positive: (Arc<[Span]>, &[Insert]), negative: (Arc<[Span]>, &[Insert])) {
        if !positive.1.is_empty() {
            sample.positive_buckets = widen_deltas(&sample.positive_buckets, positive.1);
        }
        if !negative.1.is_empty() {
            sample.negative_buckets = widen_deltas(&sample.negative_buckets, negative.1);
        }
        sample.positive_spans = positive.0;
        sample.negative_spans = negative.0;
    }

    fn put_first(
        fields: &mut IntegerFields,
        out: &mut BitWriter,
        t: i64,
        sample: &Histogram,
        layout: &Layout,
    ) {
        out.put_varbit_int(t);
        out.put_varbit_uint(sample.count);
        out.put_varbit_uint(sample.zero_count);
        out.put(sample.sum.to_bits(), 64);
        let mut put_side = |deltas: &[i64], len: usize| -> Vec<DeltaField> {
            (0..len)
                .map(|i| {
                    let value = bucket(deltas, i);
                    out.put_varbit_int(value);
                    DeltaField { value, delta: 0 }
                })
                .collect()
        };
        *fields = IntegerFields {
            t: DeltaField { value: t, delta: 0 },
            count: DeltaField { value: sample.count as i64, delta: 0 },
            zero_count: DeltaField { value: sample.zero_count as i64, delta: 0 },
            sum: XorField::new(sample.sum),
            positive: put_side(&sample.positive_buckets, layout.positive_len),
            negative: put_side(&sample.negative_buckets, layout.negative_len),
        };
    }

    fn put_next(fields: &mut IntegerFields, out: &mut BitWriter, t: i64, sample: &Histogram) {
        fields.t.put(out, t);
        if is_stale_nan(sample.sum) {
            fields.count.put_ignored(out, sample.count as i64);
            fields.zero_count.put_ignored(out, sample.zero_count as i64);
            return fields.sum.put(out, sample.sum);
        }
        fields.count.put(out, sample.count as i64);
        fields.zero_count.put(out, sample.zero_count as i64);
        fields.sum.put(out, sample.sum);
        let sides = [
            (&mut fields.positive, &sample.positive_buckets),
            (&mut fields.negative, &sample.negative_buckets),
        ];
        for (side, deltas) in sides {
            for (i, field) in side.iter_mut().enumerate() {
                field.put(out, bucket(deltas, i));
            }
        }
    }

    fn take_first(fields: &mut IntegerFields, reader: &mut BitReader<'_>, layout: &Layout) {
        fields.t.value = reader.take_varbit_int();
        fields.count.value = reader.take_varbit_uint() as i64;
        fields.zero_count.value = reader.take_varbit_uint() as i64;
        fields.sum = XorField::new(f64::from_bits(reader.take(64)));
        let mut take_side = |len: usize| -> Vec<DeltaField> {
            (0..len).map(|_| DeltaField { value: reader.take_varbit_int(), delta: 0 }).collect()
        };
        fields.positive = take_side(layout.positive_len);
        fields.negative = take_side(layout.negative_len);
    }

    fn take_next(fields: &mut IntegerFields, reader: &mut BitReader<'_>) {
        fields.t.take(reader);
        fields.count.take(reader);
        fields.zero_count.take(reader);
        fields.sum.take(reader);
        if is_stale_nan(fields.sum.value()) {
            return;
        }
        for field in fields.positive.iter_mut().chain(&mut fields.negative) {
            field.take(reader);
        }
    }

    fn t(fields: &IntegerFields) -> i64 {
        fields.t.value
    }

    fn sum(fields: &IntegerFields) -> f64 {
        fields.sum.value()
    }

    fn count_fell(fields: &IntegerFields, sample: &Histogram) -> bool {
        sample.count < fields.count.value as u64
    }

    fn zero_count_fell(fields: &IntegerFields, sample: &Histogram) -> bool {
        sample.zero_count < fields.zero_count.value as u64
    }

    fn counter_alignment(
        fields: &IntegerFields,
        layout: &Layout,
        sample: &Histogram,
    ) -> Option<(Alignment, Alignment)> {
        Some((
            counter_align(
                &layout.positive_spans,
                &fields.positive,
                &sample.positive_spans,
                &sample.positive_buckets,
            )?,
            counter_align(
                &layout.negative_spans,
                &fields.negative,
                &sample.negative_spans,
                &sample.negative_buckets,
            )?,
        ))
    }

    fn sample(fields: &IntegerFields, layout: &Layout, counter_reset_hint: CounterResetHint) -> Histogram {
        let histogram = Histogram {
            counter_reset_hint,
            schema: layout.schema,
            zero_threshold: layout.zero_threshold,
            zero_count: fields.zero_count.value as u64,
            count: fields.count.value as u64,
            sum: fields.sum.value(),
            positive_spans: layout.positive_spans.clone(),
            negative_spans: layout.negative_spans.clone(),
            positive_buckets: fields.positive.iter().map(|field| field.value).collect(),
            negative_buckets: fields.negative.iter().map(|field| field.value).collect(),
            custom_values: layout.custom_values.clone(),
        };
        reduce::integer(histogram)
    }

    fn float_sample(
        fields: &IntegerFields,
        layout: &Layout,
        counter_reset_hint: CounterResetHint,
    ) -> FloatHistogram {
        let counts = |side: &[DeltaField]| -> Vec<f64> {
            let mut sum = 0i64;
            side.iter()
                .map(|field| {
                    sum = sum.wrapping_add(field.value);
                    sum as f64
                })
                .collect()
        };
        let histogram = FloatHistogram {
            counter_reset_hint,
            schema: layout.schema,
            zero_threshold: layout.zero_threshold,
            zero_count: fields.zero_count.value as u64 as f64,
            count: fields.count.value as u64 as f64,
            sum: fields.sum.value(),
            positive_spans: layout.positive_spans.clone(),
            negative_spans: layout.negative_spans.clone(),
            positive_buckets: counts(&fields.positive),
            negative_buckets: counts(&fields.negative),
            custom_values: layout.custom_values.clone(),
        };
        reduce::float(histogram)
    }

    fn heap_bytes(fields: &IntegerFields) -> usize {
        (fields.positive.capacity() + fields.negative.capacity()) * size_of::<DeltaField>()
    }
}
