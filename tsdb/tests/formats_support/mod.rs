//! Samples of the conformance data: parsed from its JSON, and compared bit by bit.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::fmt::Write as _;
use std::sync::Arc;

use model::{CounterResetHint, FloatHistogram, Histogram, Labels, Span};
use serde_json::Value;
use tsdb::chunk::{StoredSample, StoredValue};

pub fn bytes_of_hex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "hex digits come in pairs");
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex digits")).collect()
}

pub fn float(value: &Value) -> f64 {
    match value {
        Value::String(text) if text == "stale" => model::stale_nan(),
        Value::String(text) if text == "NaN" => model::sample::normal_nan(),
        Value::String(text) => text.parse().unwrap_or_else(|_| panic!("no float: {text}")),
        other => panic!("no float: {other}"),
    }
}

fn sample_float(sample: &Value) -> f64 {
    match sample.get("v_bits") {
        Some(bits) => {
            f64::from_bits(u64::from_str_radix(bits.as_str().expect("bits are text"), 16).expect("hex"))
        }
        None => float(&sample["v"]),
    }
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().map(|all| all.iter().map(float).collect()).unwrap_or_default()
}

fn numbers(value: &Value) -> Vec<i64> {
    let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|v| v.as_i64().expect("a whole number")).collect()
}

fn spans(value: &Value) -> Arc<[Span]> {
    let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter()
        .map(|pair| Span {
            offset: pair[0].as_i64().expect("an offset") as i32,
            length: pair[1].as_u64().expect("a length") as u32,
        })
        .collect()
}

fn hint(value: &Value) -> CounterResetHint {
    match value.as_str() {
        Some("unknown") => CounterResetHint::Unknown,
        Some("reset") => CounterResetHint::CounterReset,
        Some("not_reset") => CounterResetHint::NotCounterReset,
        Some("gauge") => CounterResetHint::Gauge,
        other => panic!("no hint: {other:?}"),
    }
}

fn histogram_sum(h: &Value) -> f64 {
    match h.get("sum_bits") {
        Some(bits) => {
            f64::from_bits(u64::from_str_radix(bits.as_str().expect("bits are text"), 16).expect("hex"))
        }
        None => float(&h["sum"]),
    }
}

pub fn stored_value(sample: &Value) -> StoredValue {
    let Some(h) = sample.get("h") else { return StoredValue::Float(sample_float(sample)) };
    match h["kind"].as_str() {
        Some("int") => StoredValue::Histogram(Histogram {
            counter_reset_hint: hint(&h["counter_reset_hint"]),
            schema: h["schema"].as_i64().expect("a schema") as i32,
            zero_threshold: float(&h["zero_threshold"]),
            zero_count: h["zero_count"].as_u64().expect("a count"),
            count: h["count"].as_u64().expect("a count"),
            sum: histogram_sum(h),
            positive_spans: spans(&h["positive_spans"]),
            negative_spans: spans(&h["negative_spans"]),
            positive_buckets: numbers(&h["positive_deltas"]),
            negative_buckets: numbers(&h["negative_deltas"]),
            custom_values: floats(&h["custom_values"]).into(),
        }),
        Some("float") => StoredValue::FloatHistogram(FloatHistogram {
            counter_reset_hint: hint(&h["counter_reset_hint"]),
            schema: h["schema"].as_i64().expect("a schema") as i32,
            zero_threshold: float(&h["zero_threshold"]),
            zero_count: float(&h["zero_count"]),
            count: float(&h["count"]),
            sum: histogram_sum(h),
            positive_spans: spans(&h["positive_spans"]),
            negative_spans: spans(&h["negative_spans"]),
            positive_buckets: floats(&h["positive_buckets"]),
            negative_buckets: floats(&h["negative_buckets"]),
            custom_values: floats(&h["custom_values"]).into(),
        }),
        other => panic!("no kind of histogram: {other:?}"),
    }
}

pub fn stored_sample(sample: &Value) -> StoredSample {
    StoredSample {
        timestamp_ms: sample["t"].as_i64().expect("a time"),
        start_timestamp_ms: sample.get("st").map_or(0, |st| st.as_i64().expect("a time")),
        value: stored_value(sample),
    }
}

pub fn stored_samples(samples: &Value) -> Vec<StoredSample> {
    samples.as_array().expect("a list of samples").iter().map(stored_sample).collect()
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Everything of a value, floats as bits, without the hint.
pub fn value_text(value: &StoredValue) -> String {
    let mut text = String::new();
    match value {
        StoredValue::Float(value) => write!(text, "float {:x}", value.to_bits()),
        StoredValue::Histogram(h) => write!(
            text,
            "int {} {:x} {} {} {:x} {:?} {:?} {:?} {:?} {:?}",
            h.schema,
            h.zero_threshold.to_bits(),
            h.zero_count,
            h.count,
            h.sum.to_bits(),
            h.positive_spans,
            h.negative_spans,
            h.positive_buckets,
            h.negative_buckets,
            bits(&h.custom_values),
        ),
        StoredValue::FloatHistogram(h) => write!(
            text,
            "floats {} {:x} {:x} {:x} {:x} {:?} {:?} {:?} {:?} {:?}",
            h.schema,
            h.zero_threshold.to_bits(),
            h.zero_count.to_bits(),
            h.count.to_bits(),
            h.sum.to_bits(),
            h.positive_spans,
            h.negative_spans,
            bits(&h.positive_buckets),
            bits(&h.negative_buckets),
            bits(&h.custom_values),
        ),
    }
    .expect("writing to a string cannot fail");
    text
}

/// Everything of a sample, hint included.
pub fn sample_text(sample: &StoredSample) -> String {
    let hint = match &sample.value {
        StoredValue::Float(_) => CounterResetHint::Unknown,
        StoredValue::Histogram(h) => h.counter_reset_hint,
        StoredValue::FloatHistogram(h) => h.counter_reset_hint,
    };
    format!("{} st {} {} {hint:?}", sample.timestamp_ms, sample.start_timestamp_ms, value_text(&sample.value))
}

/// As a query sees it: every histogram as floats.
pub fn as_float(value: &StoredValue) -> StoredValue {
    let StoredValue::Histogram(h) = value else { return value.clone() };
    let absolute = |deltas: &[i64]| {
        let mut sum = 0i64;
        deltas
            .iter()
            .map(|delta| {
                sum += delta;
                sum as f64
            })
            .collect::<Vec<f64>>()
    };
    StoredValue::FloatHistogram(FloatHistogram {
        counter_reset_hint: h.counter_reset_hint,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: h.zero_count as f64,
        count: h.count as f64,
        sum: h.sum,
        positive_spans: h.positive_spans.clone(),
        negative_spans: h.negative_spans.clone(),
        positive_buckets: absolute(&h.positive_buckets),
        negative_buckets: absolute(&h.negative_buckets),
        custom_values: h.custom_values.clone(),
    })
}

pub fn labels(value: &Value) -> Labels {
    let object = value.as_object().expect("labels are an object");
    Labels::from_pairs(object.iter().map(|(name, value)| (name.as_str(), value.as_str().expect("text"))))
}
