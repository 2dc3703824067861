//! Families of federated samples as text or as protobuf messages.

use model::FloatHistogram;
use model::names::{EscapingScheme, is_legacy_label_name, is_legacy_metric_name};

use super::{Sample, Value};
use crate::exposition::{Accepted, Format};
use crate::protobuf::{bytes, double, message, number, signed, varint};

/// The kinds of families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Floats: nothing is known of their type.
    #[default]
    Untyped,
    /// Native histograms that count.
    Histogram,
    /// Native histograms that go up and down.
    GaugeHistogram,
}

/// A family under way.
#[derive(Default)]
pub struct Family {
    /// The name as the reader can read it, not quoted.
    name: String,
    escaping: Option<EscapingScheme>,
    /// The message of the family so far; `None` for text.
    message: Option<Vec<u8>>,
}

impl Family {
    /// Starts a family; text gets its header at once.
    pub fn start(accepted: Accepted, name: &str, kind: Kind, out: &mut Vec<u8>) -> Family {
        let name = accepted.escaping.escape(name).into_owned();
        let escaping = Some(accepted.escaping);
        if accepted.format == Format::Protobuf {
            let mut message = Vec::new();
            bytes(&mut message, 1, name.as_bytes());
            let number_of = match kind {
                Kind::Untyped => 3,
                Kind::Histogram => 4,
                Kind::GaugeHistogram => 5,
            };
            number(&mut message, 3, number_of);
            return Family { name, escaping, message: Some(message) };
        }
        let shown = if is_legacy_metric_name(&name) { name.clone() } else { quoted(&name) };
        // Text knows no histograms of gauges.
        let kind = if kind == Kind::Untyped { "untyped" } else { "histogram" };
        out.extend_from_slice(format!("# TYPE {shown} {kind}\n").as_bytes());
        Family { name, escaping, message: None }
    }

    /// Adds a sample; its labels in the order to write them.
    pub fn sample(&mut self, labels: &[(&str, &str)], sample: &Sample, out: &mut Vec<u8>) {
        let escaping = self.escaping.unwrap_or(EscapingScheme::Underscores);
        let Some(family) = &mut self.message else {
            let at_ms = sample.timestamp_ms;
            match &sample.value {
                Value::Float(value) => self.line(labels, "", None, *value, at_ms, out),
                Value::Histogram(histogram) => self.classic_lines(labels, histogram, at_ms, out),
            }
            return;
        };
        message(family, 4, |out| {
            for (name, value) in labels {
                message(out, 1, |out| {
                    bytes(out, 1, escaping.escape(name).as_bytes());
                    bytes(out, 2, value.as_bytes());
                });
            }
            if let Value::Float(value) = sample.value {
                message(out, 5, |out| double(out, 1, value));
            }
            number(out, 6, sample.timestamp_ms as u64);
            if let Value::Histogram(histogram) = &sample.value {
                message(out, 7, |out| write_histogram(out, histogram));
            }
        });
    }

    /// The lines of a histogram with custom buckets.
    fn classic_lines(
        &self,
        labels: &[(&str, &str)],
        histogram: &FloatHistogram,
        at_ms: i64,
        out: &mut Vec<u8>,
    ) {
        for (bound, below) in classic_buckets(histogram) {
            self.line(labels, "_bucket", Some(bound), below, at_ms, out);
        }
        self.line(labels, "_bucket", Some(f64::INFINITY), histogram.count, at_ms, out);
        self.line(labels, "_sum", None, histogram.sum, at_ms, out);
        self.line(labels, "_count", None, histogram.count, at_ms, out);
    }

    /// A line of text; a name outside the older character set stands inside
    /// the braces, in front of the labels.
    fn line(
        &self,
        labels: &[(&str, &str)],
        suffix: &str,
        bound: Option<f64>,
        value: f64,
        at_ms: i64,
        out: &mut Vec<u8>,
    ) {
        let escaping = self.escaping.unwrap_or(EscapingScheme::Underscores);
        let legacy = is_legacy_metric_name(&self.name);
        let mut open = b'{';
        if legacy {
            out.extend_from_slice(self.name.as_bytes());
            out.extend_from_slice(suffix.as_bytes());
        } else {
            out.push(b'{');
            out.extend_from_slice(quoted(&format!("{}{suffix}", self.name)).as_bytes());
            open = b',';
        }
        let bound = bound.map(|bound| ("le", model::float::format_g(bound)));
        let bound = bound.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in labels.iter().copied().chain(bound) {
            out.push(open);
            open = b',';
            let name = escaping.escape(name);
            match is_legacy_label_name(&name) {
                true => out.extend_from_slice(name.as_bytes()),
                false => out.extend_from_slice(quoted(&name).as_bytes()),
            }
            out.push(b'=');
            out.extend_from_slice(quoted(value).as_bytes());
        }
        if open == b',' {
            out.push(b'}');
        }
        out.push(b' ');
        model::float::write_g(out, value);
        out.extend_from_slice(format!(" {at_ms}\n").as_bytes());
    }

    /// Ends the family: a message leaves when it is whole.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(message) = self.message.take() {
            varint(out, message.len() as u64);
            out.extend_from_slice(&message);
        }
    }
}

/// A text in quotes, as the text format escapes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// The fields of a histogram with float counts; custom buckets become classic ones.
fn write_histogram(out: &mut Vec<u8>, histogram: &FloatHistogram) {
    double(out, 2, histogram.sum);
    if histogram.uses_custom_buckets() {
        // The infinite bucket is left out: the count says as much.
        for (bound, below) in classic_buckets(histogram) {
            message(out, 3, |out| {
                double(out, 2, bound);
                double(out, 4, below);
            });
        }
        double(out, 4, histogram.count);
        return;
    }
    double(out, 4, histogram.count);
    signed(out, 5, i64::from(histogram.schema));
    double(out, 6, histogram.zero_threshold);
    double(out, 8, histogram.zero_count);
    let sides = [
        (9, 11, &histogram.negative_spans, &histogram.negative_buckets),
        (12, 14, &histogram.positive_spans, &histogram.positive_buckets),
    ];
    for (spans_field, counts_field, spans, counts) in sides {
        for span in spans.iter() {
            message(out, spans_field, |out| {
                signed(out, 1, i64::from(span.offset));
                number(out, 2, u64::from(span.length));
            });
        }
        counts.iter().for_each(|count| double(out, counts_field, *count));
    }
}

/// The buckets of a histogram with custom bounds as (bound, how many are not
/// above it), without the infinite one.
fn classic_buckets(histogram: &FloatHistogram) -> Vec<(f64, f64)> {
    let mut below = 0.0;
    let mut buckets = histogram.positive_buckets().peekable();
    let bounds = histogram.custom_values.iter().copied();
    bounds
        .map(|bound| {
            while let Some(bucket) = buckets.next_if(|bucket| bucket.upper <= bound) {
                below += bucket.count;
            }
            (bound, below)
        })
        .collect()
}
