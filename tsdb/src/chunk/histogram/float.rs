//! Histograms of float counts: every number but the time is coded against the
//! one before it as in an XOR chunk, with a window of its own.

use std::cmp::Ordering;
use std::sync::Arc;

use model::{CounterResetHint, FloatHistogram, Span, is_stale_nan};

use super::super::bits::{BitReader, BitWriter};
use super::super::layout::Layout;
use super::super::reduce;
use super::super::spans::{Alignment, Insert, align, widen_values};
use super::{Kind, View};

/// Histograms of float counts.
#[derive(Clone, Copy, Debug)]
pub enum FloatKind {}

impl FloatKind {
    pub(super) fn stale_float(sum: f64) -> FloatHistogram {
        FloatHistogram { sum, ..FloatHistogram::default() }
    }
}

const NO_WINDOW: u8 = 0xff;

/// A float and the window of bits that changed.
#[derive(Clone, Copy)]
pub(super) struct XorField {
    bits: u64,
    leading: u8,
    trailing: u8,
}

impl Default for XorField {
    fn default() -> XorField {
        XorField::new(0.0)
    }
}

impl XorField {
    pub(super) fn new(value: f64) -> XorField {
        XorField { bits: value.to_bits(), leading: NO_WINDOW, trailing: 0 }
    }

    pub(super) fn value(self) -> f64 {
        f64::from_bits(self.bits)
    }

    pub(super) fn put(&mut self, out: &mut BitWriter, value: f64) {
        let diff = value.to_bits() ^ self.bits;
        self.bits = value.to_bits();
        if diff == 0 {
            return out.put(0, 1);
        }
        let leading = diff.leading_zeros().min(31) as u8;
        let trailing = diff.trailing_zeros() as u8;
        if self.leading != NO_WINDOW && leading >= self.leading && trailing >= self.trailing {
            out.put(0b10, 2);
            out.put(diff >> self.trailing, 64 - u32::from(self.leading) - u32::from(self.trailing));
            return;
        }
        self.leading = leading;
        self.trailing = trailing;
        let significant = 64 - u32::from(leading) - u32::from(trailing);
        out.put(0b11 << 11 | u64::from(leading) << 6 | u64::from(significant & 63), 13);
        out.put(diff >> trailing, significant);
    }

    #[inline(always)]
    pub(super) fn take(&mut self, reader: &mut BitReader<'_>) {
        let word = reader.peek();
        match word >> 62 {
            0 | 1 => reader.skip(1),
            2 => {
                reader.skip(2);
                if self.leading == NO_WINDOW {
                    // Upstream writes so after a restart: the whole word.
                    self.leading = 0;
                }
                let significant = 64 - u32::from(self.leading) - u32::from(self.trailing);
                self.bits ^= reader.take(significant) << self.trailing;
            }
            _ => {
                reader.skip(13);
                let leading = ((word >> 57) & 31) as u32;
                let significant = match ((word >> 51) & 63) as u32 {
                    0 => 64,
                    bits => bits,
                };
                if leading + significant > 64 {
                    return reader.fail();
                }
                self.leading = leading as u8;
                self.trailing = (64 - leading - significant) as u8;
                self.bits ^= reader.take(significant) << self.trailing;
            }
        }
    }
}

/// The newest sample of a chunk.
#[derive(Clone, Default)]
pub struct FloatFields {
    t: i64,
    delta: i64,
    count: XorField,
    zero_count: XorField,
    sum: XorField,
    positive: Vec<XorField>,
    negative: Vec<XorField>,
}

fn bucket(values: &[f64], i: usize) -> f64 {
    values.get(i).copied().unwrap_or(0.0)
}

/// Lays a chunk's buckets beside a histogram's; `None` where one lost counts.
fn counter_align(
    spans: &[Span],
    fields: &[XorField],
    new_spans: &[Span],
    values: &[f64],
) -> Option<Alignment> {
    let old = |i: usize| fields.get(i).map_or(0.0, |field| field.value());
    align(spans, new_spans, |a, b| match (a, b) {
        (Some(a), Some(b)) => old(a).partial_cmp(&bucket(values, b)) != Some(Ordering::Greater),
        (Some(a), None) => old(a) == 0.0,
        (None, _) => true,
    })
}

impl Kind for FloatKind {
    type Histogram = FloatHistogram;
    type Fields = FloatFields;
    const BUCKET_BITS: usize = 64;

    fn view(sample: &FloatHistogram) -> View<'_> {
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

    fn stale(sum: f64) -> FloatHistogram {
        FloatKind::stale_float(sum)
    }

    fn widen(
        sample: &mut FloatHistogram,
        positive: (Arc<[Span]>, &[Insert]),
        negative: (Arc<[Span]>, &[Insert]),
    ) {
        if !positive.1.is_empty() {
            sample.positive_buckets = widen_values(&sample.positive_buckets, positive.1);
        }
        if !negative.1.is_empty() {
            sample.negative_buckets = widen_values(&sample.negative_buckets, negative.1);
        }
        sample.positive_spans = positive.0;
        sample.negative_spans = negative.0;
    }

    fn put_first(
        fields: &mut FloatFields,
        out: &mut BitWriter,
        t: i64,
        sample: &FloatHistogram,
        layout: &Layout,
    ) {
        out.put_varbit_int(t);
        let mut put_raw = |value: f64| {
            out.put(value.to_bits(), 64);
            XorField::new(value)
        };
        let count = put_raw(sample.count);
        let zero_count = put_raw(sample.zero_count);
        let sum = put_raw(sample.sum);
        let mut put_side =
            |values: &[f64], len: usize| (0..len).map(|i| put_raw(bucket(values, i))).collect::<Vec<_>>();
        *fields = FloatFields {
            t,
            delta: 0,
            count,
            zero_count,
            sum,
            positive: put_side(&sample.positive_buckets, layout.positive_len),
            negative: put_side(&sample.negative_buckets, layout.negative_len),
        };
    }

    fn put_next(fields: &mut FloatFields, out: &mut BitWriter, t: i64, sample: &FloatHistogram) {
        let delta = t.wrapping_sub(fields.t);
        out.put_varbit_int(delta.wrapping_sub(fields.delta));
        fields.t = t;
        fields.delta = delta;
        fields.count.put(out, sample.count);
        fields.zero_count.put(out, sample.zero_count);
        fields.sum.put(out, sample.sum);
        if is_stale_nan(sample.sum) {
            return;
        }
        let sides = [
            (&mut fields.positive, &sample.positive_buckets),
            (&mut fields.negative, &sample.negative_buckets),
        ];
        for (side, values) in sides {
            for (i, field) in side.iter_mut().enumerate() {
                field.put(out, bucket(values, i));
            }
        }
    }

    fn take_first(fields: &mut FloatFields, reader: &mut BitReader<'_>, layout: &Layout) {
        fields.t = reader.take_varbit_int();
        let mut raw = || XorField::new(f64::from_bits(reader.take(64)));
        fields.count = raw();
        fields.zero_count = raw();
        fields.sum = raw();
        fields.positive = (0..layout.positive_len).map(|_| raw()).collect();
        fields.negative = (0..layout.negative_len).map(|_| raw()).collect();
    }

    fn take_next(fields: &mut FloatFields, reader: &mut BitReader<'_>) {
        fields.delta = fields.delta.wrapping_add(reader.take_varbit_int());
        fields.t = fields.t.wrapping_add(fields.delta);
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

    fn t(fields: &FloatFields) -> i64 {
        fields.t
    }

    fn sum(fields: &FloatFields) -> f64 {
        fields.sum.value()
    }

    fn count_fell(fields: &FloatFields, sample: &FloatHistogram) -> bool {
        sample.count < fields.count.value()
    }

    fn zero_count_fell(fields: &FloatFields, sample: &FloatHistogram) -> bool {
        sample.zero_count < fields.zero_count.value()
    }

    fn counter_alignment(
        fields: &FloatFields,
        layout: &Layout,
        sample: &FloatHistogram,
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

    fn sample(fields: &FloatFields, layout: &Layout, counter_reset_hint: CounterResetHint) -> FloatHistogram {
        let histogram = FloatHistogram {
            counter_reset_hint,
            schema: layout.schema,
            zero_threshold: layout.zero_threshold,
            zero_count: fields.zero_count.value(),
            count: fields.count.value(),
            sum: fields.sum.value(),
            positive_spans: layout.positive_spans.clone(),
            negative_spans: layout.negative_spans.clone(),
            positive_buckets: fields.positive.iter().map(|field| field.value()).collect(),
            negative_buckets: fields.negative.iter().map(|field| field.value()).collect(),
            custom_values: layout.custom_values.clone(),
        };
        reduce::float(histogram)
    }

    fn float_sample(
        fields: &FloatFields,
        layout: &Layout,
        counter_reset_hint: CounterResetHint,
    ) -> FloatHistogram {
        FloatKind::sample(fields, layout, counter_reset_hint)
    }

    fn heap_bytes(fields: &FloatFields) -> usize {
        (fields.positive.capacity() + fields.negative.capacity()) * size_of::<XorField>()
    }
}
