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
    /// The name as written in front of each line of text, quoted where need be.
    name: String,
    escaping: Option<EscapingScheme>,
    /// The message of the family so far; `None` for text.
    message: Option<Vec<u8>>,
}

impl Family {
    /// Starts a family; text gets its header at once.
    pub fn start(accepted: Accepted, name: &str, kind: Kind, out: &mut Vec<u8>) -> Family {
        let escaped = accepted.escaping.escape(name).into_owned();
        let escaping = Some(accepted.escaping);
        if accepted.format == Format::Protobuf {
            let mut message = Vec::new();
            bytes(&mut message, 1, escaped.as_bytes());
            let number_of = match kind {
                Kind::Untyped => 3,
                Kind::Histogram => 4,
                Kind::GaugeHistogram => 5,
            };
            number(&mut message, 3, number_of);
            return Family { name: escaped, escaping, message: Some(message) };
        }
        let mut family = Family { name: escaped, escaping, message: None };
        out.extend_from_slice(b"# TYPE ");
        family.write_name(out);
        out.extend_from_slice(b" untyped\n");
        if !is_legacy_metric_name(&family.name) {
            // Inside the braces, in front of the labels.
            family.name = quoted(&family.name);
        }
        family
    }

    fn write_name(&self, out: &mut Vec<u8>) {
        match is_legacy_metric_name(&self.name) {
            true => out.extend_from_slice(self.name.as_bytes()),
            false => out.extend_from_slice(quoted(&self.name).as_bytes()),
        }
    }

    /// Adds a sample.
    pub fn sample<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        sample: &Sample,
        out: &mut Vec<u8>,
    ) {
        let escaping = self.escaping.unwrap_or(EscapingScheme::Underscores);
        match &mut self.message {
            Some(family) => message(family, 4, |out| {
                for (name, value) in labels {
                    message(out, 1, |out| {
                        bytes(out, 1, escaping.escape(name).as_bytes());
                        bytes(out, 2, value.as_bytes());
                    });
                }
                match &sample.value {
                    Value::Float(value) => message(out, 5, |out| double(out, 1, *value)),
                    Value::Histogram(histogram) => message(out, 7, |out| write_histogram(out, histogram)),
                }
                number(out, 6, sample.timestamp_ms as u64);
            }),
            None => {
                let Value::Float(value) = sample.value else { return };
                let mut open = match self.name.starts_with('"') {
                    true => {
                        out.push(b'{');
                        out.extend_from_slice(self.name.as_bytes());
                        b','
                    }
                    false => {
                        out.extend_from_slice(self.name.as_bytes());
                        b'{'
                    }
                };
                for (name, value) in labels {
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
                out.extend_from_slice(format!(" {}\n", sample.timestamp_ms).as_bytes());
            }
        }
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
    double(out, 4, histogram.count);
    double(out, 2, histogram.sum);
    if histogram.uses_custom_buckets() {
        let mut below = 0.0;
        let mut buckets = histogram.positive_buckets().peekable();
        let bounds = histogram.custom_values.iter().copied().chain([f64::INFINITY]);
        for bound in bounds {
            while let Some(bucket) = buckets.next_if(|bucket| bucket.upper <= bound) {
                below += bucket.count;
            }
            message(out, 3, |out| {
                double(out, 4, below);
                double(out, 2, bound);
            });
        }
        return;
    }
    signed(out, 5, i64::from(histogram.schema));
    double(out, 6, histogram.zero_threshold);
    double(out, 8, histogram.zero_count);
    for (field, spans) in [(9, &histogram.negative_spans), (12, &histogram.positive_spans)] {
        for span in spans.iter() {
            message(out, field, |out| {
                signed(out, 1, i64::from(span.offset));
                number(out, 2, u64::from(span.length));
            });
        }
    }
    for (field, counts) in [(11, &histogram.negative_buckets), (14, &histogram.positive_buckets)] {
        if !counts.is_empty() {
            let packed: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
            bytes(out, field, &packed);
        }
    }
}
