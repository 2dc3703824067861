//! The log: upstream's keys and order, as logfmt or JSON, on standard error.
//!
//! ```text
//! time=2026-01-02T03:04:05.678Z level=INFO source=run.rs:42 msg="TSDB started" component=tsdb
//! ```

use std::fmt;
use std::io::IsTerminal;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Starts the log of this process; a second call changes nothing.
pub fn init(level: &str, format: &str) {
    // Libraries speak only when something is wrong, unless everything is asked for.
    let filter = match level {
        "debug" => "debug,hyper=info,hyper_util=info,rustls=info,h2=info,reqwest=info".to_owned(),
        level => format!("{level},hyper=warn,hyper_util=warn,rustls=warn,h2=warn,reqwest=warn"),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // An error means that a subscriber is set already: a second start in tests.
    let _ = match format {
        "json" => builder.event_format(Lines { json: true }).try_init(),
        _ => builder.event_format(Lines { json: false }).try_init(),
    };
}

/// Writes an event as one line.
struct Lines {
    json: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = match *metadata.level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARN",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "DEBUG",
        };
        let file = metadata.file().unwrap_or("unknown");
        let file = file.rsplit('/').next().unwrap_or(file);
        let source = format!("{file}:{}", metadata.line().unwrap_or(0));
        let time = jiff::Timestamp::now().round(jiff::Unit::Millisecond).unwrap_or_default();
        let time = format!("{time:.3}");
        let message = fields.message.unwrap_or_default();
        let head = [("time", time), ("level", level.to_owned()), ("source", source), ("msg", message)];
        let all = head.map(|(key, text)| (key, Shown::Text(text))).into_iter().chain(fields.rest);
        if self.json { write_json(&mut writer, all) } else { write_logfmt(&mut writer, all) }
    }
}

/// The value of a field.
enum Shown {
    Text(String),
    /// A number or a truth, which JSON does not quote.
    Bare(String),
}

fn write_logfmt<'a>(writer: &mut Writer<'_>, fields: impl Iterator<Item = (&'a str, Shown)>) -> fmt::Result {
    for (i, (key, value)) in fields.enumerate() {
        if i > 0 {
            writer.write_char(' ')?;
        }
        let (Shown::Text(value) | Shown::Bare(value)) = value;
        let plain =
            !value.is_empty() && value.chars().all(|c| c > ' ' && c != '"' && c != '=' && c != '\u{7f}');
        if plain {
            write!(writer, "{key}={value}")?;
        } else {
            write!(writer, "{key}={}", model::labels::go_quote(&value))?;
        }
    }
    writeln!(writer)
}

fn write_json<'a>(writer: &mut Writer<'_>, fields: impl Iterator<Item = (&'a str, Shown)>) -> fmt::Result {
    writer.write_char('{')?;
    for (i, (key, value)) in fields.enumerate() {
        if i > 0 {
            writer.write_char(',')?;
        }
        write!(writer, "{}:", serde_json::Value::from(key))?;
        match value {
            Shown::Text(text) => write!(writer, "{}", serde_json::Value::from(text))?,
            Shown::Bare(text) => writer.write_str(&text)?,
        }
    }
    writeln!(writer, "}}")
}

/// The fields of an event in their order, the message apart.
#[derive(Default)]
struct Fields {
    message: Option<String>,
    rest: Vec<(&'static str, Shown)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = Some(value),
            name => self.rest.push((name, Shown::Text(value))),
        }
    }

    fn put_bare(&mut self, field: &Field, value: String) {
        self.rest.push((field.name(), Shown::Bare(value)));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put_bare(field, value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put_bare(field, value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put_bare(field, value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity and no NaN.
        match value.is_finite() {
            true => self.put_bare(field, value.to_string()),
            false => self.put(field, value.to_string()),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: bool, fields: &[(&'static str, &str)]) -> String {
        let mut out = String::new();
        let mut writer = Writer::new(&mut out);
        let fields = fields.iter().map(|(key, value)| {
            let bare = value.parse::<f64>().is_ok();
            (*key, if bare { Shown::Bare((*value).to_owned()) } else { Shown::Text((*value).to_owned()) })
        });
        if json { write_json(&mut writer, fields) } else { write_logfmt(&mut writer, fields) }.unwrap();
        out
    }

    #[test]
    fn values_with_spaces_or_quotes_are_quoted() {
        let fields = [("level", "INFO"), ("msg", "a \"b\""), ("empty", ""), ("n", "5")];
        assert_eq!(line(false, &fields), "level=INFO msg=\"a \\\"b\\\"\" empty=\"\" n=5\n");
    }

    #[test]
    fn json_lines_keep_the_order() {
        assert_eq!(line(true, &[("time", "t"), ("msg", "a\nb")]), "{\"time\":\"t\",\"msg\":\"a\\nb\"}\n");
        assert_eq!(line(true, &[("msg", "m"), ("n", "5")]), "{\"msg\":\"m\",\"n\":5}\n");
    }
}
