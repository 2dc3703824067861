//! `/status/self_metrics`: own metrics as JSON, in protobuf's JSON form.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use model::metrics::{Family, Metric, MetricValue};
use model::{MatchOp, Matcher, MetricType};
use serde_json::{Map, Value, json};

use super::{Answer, success};
use crate::error::ApiError;
use crate::params::Params;
use crate::state::Web;

/// Families whose whole name the pattern matches; all where there is none.
pub async fn self_metrics(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let params = Params::read(request).await?;
    let matcher = match params.get("metric_name_pattern") {
        "" => None,
        pattern => Some(
            Matcher::new(MatchOp::Regex, "name", pattern)
                .map_err(|error| ApiError::parameter("metric_name_pattern", error))?,
        ),
    };
    let mut families = web.registry.gather();
    families.retain(|family| matcher.as_ref().is_none_or(|matcher| matcher.matches(&family.name)));
    success(&families.iter().map(family).collect::<Vec<Value>>(), &[])
}

fn family(family: &Family) -> Value {
    let kind = match family.metric_type {
        MetricType::Counter => "COUNTER",
        MetricType::Gauge => "GAUGE",
        MetricType::Summary => "SUMMARY",
        MetricType::Histogram => "HISTOGRAM",
        MetricType::GaugeHistogram => "GAUGE_HISTOGRAM",
        _ => "UNTYPED",
    };
    let metrics: Vec<Value> = family.metrics.iter().map(|m| metric(m, family.metric_type)).collect();
    json!({ "name": family.name, "help": family.help, "type": kind, "metric": metrics })
}

fn metric(metric: &Metric, metric_type: MetricType) -> Value {
    let mut object = Map::new();
    if !metric.labels.is_empty() {
        let labels = metric.labels.iter().map(|(name, value)| json!({ "name": name, "value": value }));
        object.insert("label".to_owned(), Value::from_iter(labels));
    }
    let (key, value) = match &metric.value {
        MetricValue::Single(value) => {
            let key = match metric_type {
                MetricType::Counter => "counter",
                MetricType::Gauge => "gauge",
                _ => "untyped",
            };
            (key, json!({ "value": number(*value) }))
        }
        MetricValue::Summary { count, sum, quantiles } => {
            let quantiles =
                quantiles.iter().map(|&(q, v)| json!({ "quantile": number(q), "value": number(v) }));
            let mut value = json!({ "sampleCount": count.to_string(), "sampleSum": number(*sum) });
            if let Some(object) = value.as_object_mut()
                && quantiles.len() > 0
            {
                object.insert("quantile".to_owned(), Value::from_iter(quantiles));
            }
            ("summary", value)
        }
        MetricValue::Histogram { count, sum, buckets, native } => {
            let mut value = Map::new();
            value.insert("sampleCount".to_owned(), count.to_string().into());
            value.insert("sampleSum".to_owned(), number(*sum));
            if !buckets.is_empty() {
                let buckets = buckets.iter().map(
                    |&(bound, n)| json!({ "cumulativeCount": n.to_string(), "upperBound": number(bound) }),
                );
                value.insert("bucket".to_owned(), Value::from_iter(buckets));
            }
            if let Some(native) = native {
                value.insert("schema".to_owned(), native.schema.into());
                value.insert("zeroThreshold".to_owned(), number(native.zero_threshold));
                value.insert("zeroCount".to_owned(), (native.zero_count as u64).to_string().into());
                let spans =
                    native.positive_spans.iter().map(|s| json!({ "offset": s.offset, "length": s.length }));
                value.insert("positiveSpan".to_owned(), Value::from_iter(spans));
                let mut before = 0i64;
                let deltas = native.positive_buckets.iter().map(|&n| {
                    let delta = n as i64 - before;
                    before = n as i64;
                    Value::from(delta.to_string())
                });
                value.insert("positiveDelta".to_owned(), Value::from_iter(deltas));
            }
            ("histogram", Value::Object(value))
        }
    };
    object.insert(key.to_owned(), value);
    Value::Object(object)
}

/// A double as protobuf's JSON form has it: what JSON cannot write is a text.
fn number(value: f64) -> Value {
    match value {
        v if v.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        v if v.fract() == 0.0 && v.abs() < 9e15 => (v as i64).into(),
        v => v.into(),
    }
}
