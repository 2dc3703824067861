//! The histogram message, which both versions share.

use std::sync::Arc;

use model::append::HistogramValue;
use model::histogram::{CounterResetHint, FloatHistogram, Histogram, Span, no_bounds, no_spans};

use crate::wire::{Reader, WireError, zigzag};

/// A decoded histogram with its times.
pub struct WireHistogram {
    /// Its time in ms.
    pub timestamp_ms: i64,
    /// Its start timestamp in ms, 0 where unknown.
    pub start_timestamp_ms: i64,
    /// The histogram.
    pub value: HistogramValue,
}

/// Everything a message may hold, before it is known to be whole or float.
#[derive(Default)]
struct Parts {
    count: u64,
    count_float: Option<f64>,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    negative_spans: Vec<Span>,
    negative_deltas: Vec<i64>,
    negative_counts: Vec<f64>,
    positive_spans: Vec<Span>,
    positive_deltas: Vec<i64>,
    positive_counts: Vec<f64>,
    hint: CounterResetHint,
    custom_values: Vec<f64>,
}

/// Decodes a `Histogram` message of either version.
///
/// # Errors
/// The bytes are no such message.
pub fn decode(message: &[u8]) -> Result<WireHistogram, WireError> {
    let mut reader = Reader::new(message);
    let mut parts = Parts::default();
    let (mut timestamp_ms, mut start_timestamp_ms) = (0, 0);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => parts.count = field.varint()?,
            2 => parts.count_float = Some(field.double()?),
            3 => parts.sum = field.double()?,
            4 => parts.schema = zigzag(field.varint()?) as i32,
            5 => parts.zero_threshold = field.double()?,
            6 => parts.zero_count = field.varint()?,
            7 => parts.zero_count_float = field.double()?,
            8 => parts.negative_spans.push(span(field.bytes()?)?),
            9 => field.each_varint(|n| parts.negative_deltas.push(zigzag(n)))?,
            10 => field.each_double(|n| parts.negative_counts.push(n))?,
            11 => parts.positive_spans.push(span(field.bytes()?)?),
            12 => field.each_varint(|n| parts.positive_deltas.push(zigzag(n)))?,
            13 => field.each_double(|n| parts.positive_counts.push(n))?,
            14 => {
                parts.hint = match field.varint()? {
                    1 => CounterResetHint::CounterReset,
                    2 => CounterResetHint::NotCounterReset,
                    3 => CounterResetHint::Gauge,
                    _ => CounterResetHint::Unknown,
                }
            }
            15 => timestamp_ms = field.varint()? as i64,
            16 => field.each_double(|n| parts.custom_values.push(n))?,
            17 => start_timestamp_ms = field.varint()? as i64,
            _ => {}
        }
    }
    Ok(WireHistogram { timestamp_ms, start_timestamp_ms, value: parts.into_value() })
}

fn span(message: &[u8]) -> Result<Span, WireError> {
    let mut reader = Reader::new(message);
    let mut span = Span::default();
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => span.offset = zigzag(field.varint()?) as i32,
            2 => span.length = field.varint()? as u32,
            _ => {}
        }
    }
    Ok(span)
}

impl Parts {
    fn into_value(self) -> HistogramValue {
        let spans = |spans: Vec<Span>| if spans.is_empty() { no_spans() } else { Arc::from(spans) };
        let bounds = |bounds: Vec<f64>| if bounds.is_empty() { no_bounds() } else { Arc::from(bounds) };
        match self.count_float {
            Some(count) => HistogramValue::Float(FloatHistogram {
                counter_reset_hint: self.hint,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                zero_count: self.zero_count_float,
                count,
                sum: self.sum,
                positive_spans: spans(self.positive_spans),
                negative_spans: spans(self.negative_spans),
                positive_buckets: self.positive_counts,
                negative_buckets: self.negative_counts,
                custom_values: bounds(self.custom_values),
            }),
            None => HistogramValue::Integer(Histogram {
                counter_reset_hint: self.hint,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                zero_count: self.zero_count,
                count: self.count,
                sum: self.sum,
                positive_spans: spans(self.positive_spans),
                negative_spans: spans(self.negative_spans),
                positive_buckets: self.positive_deltas,
                negative_buckets: self.negative_deltas,
                custom_values: bounds(self.custom_values),
            }),
        }
    }
}
