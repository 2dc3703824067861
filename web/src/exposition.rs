//! Own metrics on `/metrics`: families written in the format that the reader's
//! `Accept` header asks for.
//!
//! Text 0.0.4 is the default; OpenMetrics and protobuf (with native
//! histograms) are there for those that ask.

mod proto;

use model::metadata::MetricType;
use model::metrics::{Family, Metric, MetricValue};
use model::names::EscapingScheme;

/// A format of an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Length-delimited protobuf messages.
    Protobuf,
}

/// What a reader accepts best: a format, and how names outside the older
/// character set are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The format.
    pub format: Format,
    /// The format's version, of OpenMetrics alone.
    version: &'static str,
    /// The way names are written.
    pub escaping: EscapingScheme,
}

/// One range of an `Accept` header.
struct Range<'a> {
    kind: String,
    params: Vec<(String, &'a str)>,
    weight: f64,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Range<'a> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let params: Vec<(String, &str)> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"')))
            .collect();
        let mut range = Range { kind, params, weight: 1.0 };
        range.weight = range.param("q").parse().unwrap_or(1.0);
        range
    }

    fn param(&self, name: &str) -> &'a str {
        self.params.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value)
    }

    /// How many stars stand in the type: the fewer, the better.
    fn stars(&self) -> usize {
        self.kind.matches('*').count()
    }
}

impl Accepted {
    /// The best of an `Accept` header: by weight, then in the header's order;
    /// text where none is known. A way of writing names holds for the ranges
    /// after it too.
    /// Source: Prometheus `common/expfmt`, `NegotiateIncludingOpenMetrics`.
    pub fn negotiate(accept: &str, open_metrics: bool) -> Accepted {
        let mut ranges: Vec<Range<'_>> = accept.split(',').map(Range::parse).collect();
        ranges.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.stars().cmp(&b.stars())));
        let mut escaping = EscapingScheme::Underscores;
        for range in &ranges {
            if let Ok(named) = EscapingScheme::from_name(range.param("escaping")) {
                escaping = named;
            }
            let version = range.param("version");
            let (format, version) = match range.kind.as_str() {
                "application/vnd.google.protobuf"
                    if range.param("proto") == "io.prometheus.client.MetricFamily"
                        && range.param("encoding") == "delimited" =>
                {
                    (Format::Protobuf, "")
                }
                "application/openmetrics-text" if open_metrics => match version {
                    "1.0.0" => (Format::OpenMetrics, "1.0.0"),
                    "0.0.1" | "" => (Format::OpenMetrics, "0.0.1"),
                    _ => continue,
                },
                "text/plain" if matches!(version, "" | "0.0.4") => (Format::Text, ""),
                _ => continue,
            };
            return Accepted { format, version, escaping };
        }
        Accepted { format: Format::Text, version: "", escaping }
    }

    /// The `Content-Type` of the answer.
    pub fn content_type(self) -> String {
        let escaping = self.escaping;
        match self.format {
            Format::Text => format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}"),
            Format::OpenMetrics => {
                let version = self.version;
                format!("application/openmetrics-text; version={version}; charset=utf-8; escaping={escaping}")
            }
            Format::Protobuf => format!(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; \
                 escaping={escaping}"
            ),
        }
    }
}

impl Format {
    /// The families in this format.
    pub fn encode(self, families: &[Family]) -> Vec<u8> {
        match self {
            Format::Text => text(families),
            Format::OpenMetrics => open_metrics(families),
            Format::Protobuf => proto::families(families),
        }
    }
}

fn text(families: &[Family]) -> Vec<u8> {
    let mut out = String::with_capacity(64 * 1024);
    for family in families {
        let kind = match family.metric_type {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Summary => "summary",
            MetricType::Histogram => "histogram",
            _ => "untyped",
        };
        let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
        out.push_str(&format!("# HELP {} {help}\n# TYPE {} {kind}\n", family.name, family.name));
        for metric in &family.metrics {
            lines(&mut out, &family.name, metric, float_text);
        }
    }
    out.into_bytes()
}

fn open_metrics(families: &[Family]) -> Vec<u8> {
    let mut out = String::with_capacity(64 * 1024);
    for family in families {
        let counter = family.metric_type == MetricType::Counter;
        let name = if counter { family.name.trim_end_matches("_total") } else { &family.name };
        let kind = match family.metric_type {
            MetricType::Counter if name == family.name => "unknown",
            kind => kind.as_str(),
        };
        let help = family.help.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
        out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for metric in &family.metrics {
            lines(&mut out, &family.name, metric, open_metrics_float);
        }
    }
    out.push_str("# EOF\n");
    out.into_bytes()
}

/// The sample lines of one metric.
fn lines(out: &mut String, name: &str, metric: &Metric, float: fn(f64) -> String) {
    let line = |out: &mut String, suffix: &str, extra: Option<(&str, f64)>, value: &str| {
        out.push_str(name);
        out.push_str(suffix);
        let extra = extra.map(|(name, value)| (name.to_owned(), float(value)));
        let mut open = '{';
        for (name, value) in metric.labels.iter().chain(extra.as_ref()) {
            out.push(open);
            open = ',';
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            out.push_str(&format!("{name}=\"{value}\""));
        }
        if open == ',' {
            out.push('}');
        }
        out.push(' ');
        out.push_str(value);
        out.push('\n');
    };
    match &metric.value {
        MetricValue::Single(value) => line(out, "", None, &float(*value)),
        MetricValue::Summary { count, sum, quantiles } => {
            for (quantile, value) in quantiles {
                line(out, "", Some(("quantile", *quantile)), &float(*value));
            }
            line(out, "_sum", None, &float(*sum));
            line(out, "_count", None, &count.to_string());
        }
        MetricValue::Histogram { count, sum, buckets, .. } => {
            for (bound, count) in buckets {
                line(out, "_bucket", Some(("le", *bound)), &count.to_string());
            }
            line(out, "_bucket", Some(("le", f64::INFINITY)), &count.to_string());
            line(out, "_sum", None, &float(*sum));
            line(out, "_count", None, &count.to_string());
        }
    }
}

/// A value as the text format has it: Go's `%g`.
fn float_text(value: f64) -> String {
    model::float::format_g(value)
}

/// A value as OpenMetrics has it: with a point or an exponent.
fn open_metrics_float(value: f64) -> String {
    model::float::format_open_metrics(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(accept: &str) -> Format {
        Accepted::negotiate(accept, true).format
    }

    #[test]
    fn names_are_written_as_the_reader_can_read_them() {
        let accepted = Accepted::negotiate("text/plain;version=1.0.0;escaping=allow-utf-8", true);
        assert_eq!(accepted.content_type(), "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8");
        let accepted = Accepted::negotiate("application/openmetrics-text;version=1.0.0", false);
        assert_eq!(accepted.format, Format::Text);
    }

    #[test]
    fn the_heaviest_known_range_wins() {
        assert_eq!(negotiate(""), Format::Text);
        assert_eq!(negotiate("*/*"), Format::Text);
        assert_eq!(
            negotiate(
                "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
            ),
            Format::OpenMetrics
        );
        assert_eq!(
            negotiate(
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,*/*;q=0.2"
            ),
            Format::Protobuf
        );
        assert_eq!(negotiate("application/json"), Format::Text);
    }

    #[test]
    fn a_histogram_ends_with_its_infinite_bucket_sum_and_count() {
        let registry = model::metrics::Registry::new();
        let options = model::metrics::HistogramOptions::classic(&[0.5, 1.0]);
        let histogram = registry.histogram_vec("req_seconds", "Time.", &["path"], options);
        histogram.with(&["/\"a\""]).observe(0.75);
        let page = String::from_utf8(Format::Text.encode(&registry.gather())).unwrap();
        assert_eq!(
            page,
            "# HELP req_seconds Time.\n# TYPE req_seconds histogram\n\
             req_seconds_bucket{path=\"/\\\"a\\\"\",le=\"0.5\"} 0\n\
             req_seconds_bucket{path=\"/\\\"a\\\"\",le=\"1\"} 1\n\
             req_seconds_bucket{path=\"/\\\"a\\\"\",le=\"+Inf\"} 1\n\
             req_seconds_sum{path=\"/\\\"a\\\"\"} 0.75\n\
             req_seconds_count{path=\"/\\\"a\\\"\"} 1\n"
        );
    }

    #[test]
    fn open_metrics_counters_lose_total_in_the_header_and_the_page_ends() {
        let registry = model::metrics::Registry::new();
        registry.counter("hits_total", "Hits.").add(2);
        let page = String::from_utf8(Format::OpenMetrics.encode(&registry.gather())).unwrap();
        assert_eq!(page, "# HELP hits Hits.\n# TYPE hits counter\nhits_total 2.0\n# EOF\n");
    }
}
