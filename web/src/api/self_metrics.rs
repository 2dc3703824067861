//! `/status/self_metrics`: own metrics as JSON, in protobuf's JSON form.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use model::metrics::{Family, Metric, MetricValue};
use model::{FloatHistogram, MatchOp, Matcher, MetricType};
use serde::{Serialize, Serializer};

use super::{Answer, success};
use crate::error::ApiError;
use crate::json::GoFloat;
use crate::params::Params;
use crate::state::Web;

/// Families whose whole name the pattern matches; all where there is none.
pub async fn self_metrics(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let params = Params::read(request).await?;
    let matcher = match params.get("metric_name_pattern") {
        "" => None,
        // Anchored already, but so do errors quote it.
        pattern => Some(
            Matcher::new(MatchOp::Regex, "name", &format!("^(?:{pattern})$"))
                .map_err(|error| ApiError::bad_data(format!("invalid metric_name_pattern: {error}")))?,
        ),
    };
    let mut families = web.registry.gather();
    families.retain(|family| matcher.as_ref().is_none_or(|matcher| matcher.matches(&family.name)));
    success(&families.iter().map(FamilyJson::new).collect::<Vec<FamilyJson>>(), &[])
}

/// A message of `io.prometheus.client`, its fields in their order.
#[derive(Serialize)]
struct FamilyJson<'a> {
    name: &'a str,
    help: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    metric: Vec<MetricJson<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct MetricJson<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    label: Vec<Pair<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gauge: Option<Single>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counter: Option<Single>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    untyped: Option<Single>,
    #[serde(skip_serializing_if = "Option::is_none")]
    histogram: Option<Histogram>,
}

#[derive(Serialize)]
struct Pair<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct Single {
    value: Number,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    sample_count: Whole,
    sample_sum: Number,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quantile: Vec<Quantile>,
}

#[derive(Serialize)]
struct Quantile {
    quantile: Number,
    value: Number,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Histogram {
    sample_count: Whole,
    sample_sum: Number,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bucket: Vec<Bucket>,
    #[serde(flatten)]
    native: Option<Native>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bucket {
    cumulative_count: Whole,
    upper_bound: Number,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Native {
    schema: i32,
    zero_threshold: Number,
    zero_count: Whole,
    positive_span: Vec<Span>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    positive_delta: Vec<Whole>,
}

#[derive(Serialize)]
struct Span {
    offset: i32,
    length: u32,
}

/// A 64-bit number, which protobuf's JSON form writes as a text.
struct Whole(i64);

impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A double: what JSON cannot write is a text.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            v if v.is_nan() => serializer.serialize_str("NaN"),
            f64::INFINITY => serializer.serialize_str("Infinity"),
            f64::NEG_INFINITY => serializer.serialize_str("-Infinity"),
            v => GoFloat(v).serialize(serializer),
        }
    }
}

impl<'a> FamilyJson<'a> {
    fn new(family: &'a Family) -> FamilyJson<'a> {
        let kind = match family.metric_type {
            MetricType::Counter => "COUNTER",
            MetricType::Gauge => "GAUGE",
            MetricType::Summary => "SUMMARY",
            MetricType::Histogram => "HISTOGRAM",
            MetricType::GaugeHistogram => "GAUGE_HISTOGRAM",
            _ => "UNTYPED",
        };
        let metric = family.metrics.iter().map(|metric| MetricJson::new(metric, family.metric_type));
        FamilyJson { name: &family.name, help: &family.help, kind, metric: metric.collect() }
    }
}

impl<'a> MetricJson<'a> {
    fn new(metric: &'a Metric, metric_type: MetricType) -> MetricJson<'a> {
        let label = metric.labels.iter().map(|(name, value)| Pair { name, value }).collect();
        let mut json = MetricJson { label, ..MetricJson::default() };
        match &metric.value {
            MetricValue::Single(value) => {
                let value = Some(Single { value: Number(*value) });
                match metric_type {
                    MetricType::Counter => json.counter = value,
                    MetricType::Gauge => json.gauge = value,
                    _ => json.untyped = value,
                }
            }
            MetricValue::Summary { count, sum, quantiles } => {
                let quantile =
                    quantiles.iter().map(|&(q, v)| Quantile { quantile: Number(q), value: Number(v) });
                json.summary = Some(Summary {
                    sample_count: Whole(*count as i64),
                    sample_sum: Number(*sum),
                    quantile: quantile.collect(),
                });
            }
            MetricValue::Histogram { count, sum, buckets, native } => {
                let bucket = buckets.iter().map(|&(bound, n)| Bucket {
                    cumulative_count: Whole(n as i64),
                    upper_bound: Number(bound),
                });
                json.histogram = Some(Histogram {
                    sample_count: Whole(*count as i64),
                    sample_sum: Number(*sum),
                    bucket: bucket.collect(),
                    native: native.as_ref().map(Native::new),
                });
            }
        }
        json
    }
}

impl Native {
    fn new(histogram: &FloatHistogram) -> Native {
        let mut before = 0;
        let deltas = histogram.positive_buckets.iter().map(|&n| {
            let delta = Whole(n as i64 - before);
            before = n as i64;
            delta
        });
        let spans = histogram.positive_spans.iter();
        Native {
            schema: histogram.schema,
            zero_threshold: Number(histogram.zero_threshold),
            zero_count: Whole(histogram.zero_count as i64),
            positive_span: spans.map(|span| Span { offset: span.offset, length: span.length }).collect(),
            positive_delta: deltas.collect(),
        }
    }
}
