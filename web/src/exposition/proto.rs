//! Own metrics as `io.prometheus.client.MetricFamily` messages, each after its
//! length.

use model::histogram::FloatHistogram;
use model::metadata::MetricType;
use model::metrics::{Family, Metric, MetricValue};

use crate::protobuf::{bytes, double, number, varint, zigzag};

pub fn families(families: &[Family]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 * 1024);
    for family in families {
        let message = self::family(family);
        varint(&mut out, message.len() as u64);
        out.extend_from_slice(&message);
    }
    out
}

fn family(family: &Family) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 1, family.name.as_bytes());
    bytes(&mut out, 2, family.help.as_bytes());
    let kind = match family.metric_type {
        MetricType::Counter => 0,
        MetricType::Gauge => 1,
        MetricType::Summary => 2,
        MetricType::Histogram => 4,
        MetricType::GaugeHistogram => 5,
        _ => 3,
    };
    number(&mut out, 3, kind);
    for metric in &family.metrics {
        bytes(&mut out, 4, &self::metric(metric, family.metric_type));
    }
    out
}

fn metric(metric: &Metric, metric_type: MetricType) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in &metric.labels {
        let mut pair = Vec::new();
        bytes(&mut pair, 1, name.as_bytes());
        bytes(&mut pair, 2, value.as_bytes());
        bytes(&mut out, 1, &pair);
    }
    let mut value = Vec::new();
    let field = match &metric.value {
        MetricValue::Single(single) => {
            double(&mut value, 1, *single);
            match metric_type {
                MetricType::Gauge => 2,
                MetricType::Counter => 3,
                _ => 5,
            }
        }
        MetricValue::Summary { count, sum, quantiles } => {
            number(&mut value, 1, *count);
            double(&mut value, 2, *sum);
            for &(quantile, at) in quantiles {
                let mut pair = Vec::new();
                double(&mut pair, 1, quantile);
                double(&mut pair, 2, at);
                bytes(&mut value, 3, &pair);
            }
            4
        }
        MetricValue::Histogram { count, sum, buckets, native } => {
            number(&mut value, 1, *count);
            double(&mut value, 2, *sum);
            for &(bound, count) in buckets {
                let mut bucket = Vec::new();
                number(&mut bucket, 1, count);
                double(&mut bucket, 2, bound);
                bytes(&mut value, 3, &bucket);
            }
            if let Some(native) = native {
                self::native(&mut value, native);
            }
            7
        }
    };
    bytes(&mut out, field, &value);
    out
}

/// Fields 5 to 13 of a histogram: whole counts as differences.
fn native(out: &mut Vec<u8>, histogram: &FloatHistogram) {
    number(out, 5, zigzag(i64::from(histogram.schema)));
    double(out, 6, histogram.zero_threshold);
    number(out, 7, histogram.zero_count as u64);
    for span in histogram.positive_spans.iter() {
        let mut message = Vec::new();
        number(&mut message, 1, zigzag(i64::from(span.offset)));
        number(&mut message, 2, u64::from(span.length));
        bytes(out, 12, &message);
    }
    if histogram.positive_spans.is_empty() && histogram.zero_count == 0.0 {
        // A span without buckets tells readers that the histogram is native.
        bytes(out, 12, &[]);
    }
    let mut deltas = Vec::new();
    let mut before = 0;
    for &count in &histogram.positive_buckets {
        varint(&mut deltas, zigzag(count as i64 - before));
        before = count as i64;
    }
    if !deltas.is_empty() {
        bytes(out, 13, &deltas);
    }
}
