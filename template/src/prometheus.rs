//! The functions that Prometheus adds to Go's.
//! Source: Prometheus `template/template.go`, prometheus/common `helpers/templates`.

use std::net::IpAddr;
use std::sync::Arc;

use model::float;
use model::matcher::GoRegex;
use model::relabel::{to_lower, to_upper};
use model::time::parse_duration_ms;

use crate::builtin::query_escaped;
use crate::error::CallError;
use crate::exec::Surroundings;
use crate::function::Function;
use crate::print;
use crate::text;
use crate::time::{Duration, Time};
use crate::title::title;
use crate::value::{IntType, Map, MapType, Sample, Slice, SliceType, StrType, Value};

type Called = Result<Value, CallError>;

/// How deep the maps that `args` makes may hold each other.
const ARGS_DEPTH_MAX: usize = 100;

fn fail<T>(message: impl Into<String>) -> Result<T, CallError> {
    Err(CallError::new(message))
}

/// What Go says where code follows a nil pointer.
const NIL_POINTER: &str = "runtime error: invalid memory address or nil pointer dereference";

/// Calls one of the functions with arguments of the types it takes.
pub(crate) fn apply(surroundings: &Surroundings<'_>, function: Function, args: &[Value]) -> Called {
    match (function, args) {
        (Function::Escape(escaper), args) => Ok(escaper.apply(args)),
        (Function::Now, []) => Ok(Value::Float(surroundings.now_ms as f64 / 1000.0)),
        (Function::PathPrefix, []) => Ok(Value::text(&surroundings.external_url.path)),
        (Function::ExternalUrl, []) => Ok(Value::text(&surroundings.external_url.text)),
        (Function::Args, args) => arguments(args),
        (Function::First, [Value::Slice(samples)]) => {
            samples.get(0).map_or_else(|| fail("first() called on vector with no elements"), Ok)
        }
        (Function::Value, [Value::Sample(sample)]) => Ok(Value::any(known(sample)?.value.clone())),
        (Function::StrValue, [Value::Sample(sample)]) => Ok(known(sample)?.labels.get(b"__value__")),
        (Function::Label, [Value::Str(_, name), Value::Sample(sample)]) => {
            Ok(known(sample)?.labels.get(name))
        }
        (Function::SortByLabel, [Value::Str(_, name), Value::Slice(samples)]) => {
            samples.sort_by_key(|sample| label_of(sample, name));
            Ok(Value::Slice(samples.clone()))
        }
        (Function::Match, [Value::Str(_, pattern), Value::Str(_, text)]) => {
            let regex = GoRegex::new(&text::lossy(pattern)).map_err(|fault| CallError(fault.to_string()))?;
            Ok(Value::Bool(regex.is_match(&text::lossy(text))))
        }
        (Function::ReReplaceAll, [Value::Str(_, pattern), Value::Str(_, by), Value::Str(_, text)]) => {
            replace_all(surroundings, pattern, by, text)
        }
        (Function::Humanize, [arg]) => Ok(Value::text(humanize(number(arg)?))),
        (Function::Humanize1024, [arg]) => Ok(Value::text(humanize1024(number(arg)?))),
        (Function::HumanizeDuration, [arg]) => Ok(Value::text(humanize_duration(number(arg)?))),
        (Function::HumanizePercentage, [arg]) => {
            Ok(Value::text(format!("{}%", digits4(number(arg)? * 100.0))))
        }
        (Function::HumanizeTimestamp, [arg]) => humanize_timestamp(number(arg)?),
        (Function::ToTime, [arg]) => time(number(arg)?).map(Value::TimePointer),
        (Function::ToDuration, [arg]) => Ok(Value::DurationPointer(Duration(go_int(number(arg)? * 1e9)))),
        (function, [Value::Str(_, text)]) => of_text(surroundings, function, text),
        (function, _) => fail(format!("{function:?} was called with arguments it does not take")),
    }
}

/// The functions of one text.
fn of_text(surroundings: &Surroundings<'_>, function: Function, text: &[u8]) -> Called {
    let shown = || text::lossy(text);
    Ok(match function {
        Function::Query => return query(surroundings, &shown()),
        Function::SafeHtml => Value::Str(StrType::Html, text.into()),
        Function::Title => Value::text(title(&shown())),
        Function::ToUpper => Value::text(to_upper(&shown())),
        Function::ToLower => Value::text(to_lower(&shown())),
        Function::GraphLink => link(text, "0"),
        Function::TableLink => link(text, "1"),
        Function::StripPort => Value::text(split_host_port(text).map_or(text, |(host, _)| host)),
        Function::StripDomain => Value::text(strip_domain(text)),
        Function::UrlQueryEscape => Value::text(query_escaped(text)),
        Function::ParseDuration => {
            let shown = shown();
            let (sign, magnitude) = match shown.strip_prefix('-') {
                Some(rest) => (-1.0, rest),
                None => (1.0, shown.as_str()),
            };
            let millis = parse_duration_ms(magnitude).map_err(|fault| CallError(fault.to_string()))?;
            Value::Float(sign * (millis as f64) * 1e6 / 1e9)
        }
        function => return fail(format!("{function:?} was called with arguments it does not take")),
    })
}

fn known(sample: &Option<Arc<Sample>>) -> Result<&Sample, CallError> {
    sample.as_deref().ok_or_else(|| CallError::new(NIL_POINTER))
}

fn label_of(sample: &Value, name: &[u8]) -> Vec<u8> {
    let Value::Sample(Some(sample)) = sample else { return Vec::new() };
    match sample.labels.get(name) {
        Value::Str(_, value) => value.to_vec(),
        _ => Vec::new(),
    }
}

fn query(surroundings: &Surroundings<'_>, expression: &str) -> Called {
    if surroundings.query.is_cancelled() {
        return fail("template was cancelled");
    }
    let samples = surroundings
        .query
        .query(expression, surroundings.now_ms)
        .map_err(|fault| CallError(fault.to_string()))?;
    let samples = samples.into_iter().map(|sample| Value::Sample(Some(Arc::new(sample)))).collect();
    Ok(Value::Slice(Slice::new(SliceType::QueryResult, samples)))
}

/// `args`: the arguments by `arg0`, `arg1` and so on.
fn arguments(args: &[Value]) -> Called {
    let depth = 1 + args.iter().map(args_depth).max().unwrap_or(0);
    if depth > ARGS_DEPTH_MAX {
        return fail(format!("args within args, more than {ARGS_DEPTH_MAX} deep"));
    }
    let entries = args
        .iter()
        .enumerate()
        .map(|(i, arg)| (Arc::from(format!("arg{i}").into_bytes()), Value::any(arg.clone())));
    let mut map = Map::new(MapType::Any, entries.collect());
    map.depth = depth;
    Ok(Value::Map(map))
}

fn args_depth(value: &Value) -> usize {
    match value {
        Value::Map(map) => map.depth,
        Value::Any(Some(inner)) => args_depth(inner),
        _ => 0,
    }
}

fn replace_all(surroundings: &Surroundings<'_>, pattern: &[u8], by: &[u8], text: &[u8]) -> Called {
    let pattern = text::lossy(pattern);
    let regex = GoRegex::new(&pattern).map_err(|fault| {
        let plain =
            pattern.chars().all(|c| c != '`' && c != '\u{7f}' && c != '\u{feff}' && (c >= ' ' || c == '\t'));
        let quoted = if plain { format!("`{pattern}`") } else { text::quote(pattern.as_bytes()) };
        CallError::new(format!("regexp: Compile({quoted}): {fault}"))
    })?;
    // A match may be empty, and a group the whole text: what could come out at most.
    let groups = by.iter().filter(|b| **b == b'$').count();
    let one = by.len().saturating_add(groups.saturating_mul(text.len()));
    let most = one.saturating_mul(text.len() + 1).saturating_add(text.len());
    if most > surroundings.limits.output_bytes {
        surroundings.make(most)?;
    }
    Ok(Value::text(regex.replace_all(&text::lossy(text), &text::lossy(by))))
}

fn link(expression: &[u8], tab: &str) -> Value {
    let escaped = text::lossy(&query_escaped(expression));
    Value::text(format!("/graph?g0.expr={escaped}&g0.tab={tab}"))
}

/// Host and port. Source: Go `net.SplitHostPort`.
fn split_host_port(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = text.iter().rposition(|b| *b == b':')?;
    let (host, rest) = if text[0] == b'[' {
        let end = text.iter().position(|b| *b == b']')?;
        if end + 1 != colon {
            return None;
        }
        (&text[1..end], (&text[1..], &text[end + 1..]))
    } else {
        let host = &text[..colon];
        if host.contains(&b':') {
            return None;
        }
        (host, (text, text))
    };
    let stray = rest.0.contains(&b'[') || rest.1.contains(&b']');
    (!stray).then(|| (host, &text[colon + 1..]))
}

fn strip_domain(text: &[u8]) -> Vec<u8> {
    let (host, port) = split_host_port(text).unwrap_or((text, b""));
    if text::lossy(host).parse::<IpAddr>().is_ok() {
        return text.to_vec();
    }
    let host = host.split(|b| *b == b'.').next().unwrap_or(host);
    if port.is_empty() {
        return host.to_vec();
    }
    match host.contains(&b':') {
        true => [b"[", host, b"]:", port].concat(),
        false => [host, b":", port].concat(),
    }
}

/// A number, or text that is one.
fn number(value: &Value) -> Result<f64, CallError> {
    match value.clone().opened() {
        Value::Float(value) => Ok(value),
        Value::Int(IntType::Int | IntType::Int64, value) => Ok(value as f64),
        Value::Int(IntType::Duration, nanos) => Ok(Duration(nanos).in_units(1_000_000_000)),
        Value::Str(StrType::Plain, digits) => float::parse(&text::lossy(&digits)).map_err(|fault| {
            CallError::new(format!("strconv.ParseFloat: parsing {}: {fault}", text::quote(&digits)))
        }),
        other => fail(format!("can't convert {} to float", other.type_name())),
    }
}

/// Go's `%.4g`.
fn digits4(value: f64) -> String {
    print::float::format(value, 'g', Some(4))
}

const BELOW_ONE: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// Brings a number below one up by prefixes.
fn raised(value: f64) -> (f64, &'static str) {
    let mut raised = (value, "");
    for prefix in BELOW_ONE {
        if raised.0.abs() >= 1.0 {
            break;
        }
        raised = (raised.0 * 1000.0, prefix);
    }
    raised
}

/// Brings a number down below the base by prefixes.
fn lowered(value: f64, base: f64, prefixes: [&'static str; 8]) -> (f64, &'static str) {
    let mut lowered = (value, "");
    for prefix in prefixes {
        if lowered.0.abs() < base {
            break;
        }
        lowered = (lowered.0 / base, prefix);
    }
    lowered
}

fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return digits4(value);
    }
    let (value, prefix) = if value.abs() >= 1.0 {
        lowered(value, 1000.0, ["k", "M", "G", "T", "P", "E", "Z", "Y"])
    } else {
        raised(value)
    };
    format!("{}{prefix}", digits4(value))
}

fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return digits4(value);
    }
    let (value, prefix) = lowered(value, 1024.0, ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"]);
    format!("{}{prefix}", digits4(value))
}

fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return digits4(value);
    }
    if value == 0.0 {
        return format!("{}s", digits4(value));
    }
    if value.abs() < 1.0 {
        let (value, prefix) = raised(value);
        return format!("{}{prefix}s", digits4(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let magnitude = value.abs();
    let whole = go_int(magnitude);
    let (days, hours, minutes, seconds) =
        (whole / 60 / 60 / 24, (whole / 60 / 60) % 24, (whole / 60) % 60, whole % 60);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {seconds}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {seconds}s")
    } else {
        format!("{sign}{}s", digits4(magnitude))
    }
}

fn humanize_timestamp(value: f64) -> Called {
    if !value.is_finite() {
        return Ok(Value::text(digits4(value)));
    }
    time(value).map(|time| Value::text(time.to_string()))
}

/// A time from seconds since 1970, in whole milliseconds.
fn time(seconds: f64) -> Result<Time, CallError> {
    if !seconds.is_finite() {
        return fail("value is NaN or Inf");
    }
    let nanos = seconds * 1e9;
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if !(-LIMIT..=LIMIT).contains(&nanos) {
        return fail(format!(
            "{} cannot be represented as a nanoseconds timestamp since it overflows int64",
            print::float::format(seconds, 'g', None)
        ));
    }
    Ok(Time::from_millis(go_int(nanos) / 1_000_000))
}

/// A float as an integer: what does not fit is the least one, as on the machines
/// that upstream runs on.
fn go_int(value: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&value) { value as i64 } else { i64::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_humanized_as_upstream_does() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (1234567.0, "1.235M"),
            (0.12, "120m"),
            (-0.0001, "-100u"),
            (1e30, "1e+06Y"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(humanize(value), text);
        }
        assert_eq!(humanize1024(1048576.0), "1Mi");
        assert_eq!(humanize1024(0.5), "0.5");
    }

    #[test]
    fn durations_are_humanized_as_upstream_does() {
        for (value, text) in [
            (0.0, "0s"),
            (1.0, "1s"),
            (12.3456, "12.35s"),
            (59.99, "59.99s"),
            (60.0, "1m 0s"),
            (-3661.5, "-1h 1m 1s"),
            (86400.0, "1d 0h 0m 0s"),
            (0.0012, "1.2ms"),
            (1e-9, "1ns"),
        ] {
            assert_eq!(humanize_duration(value), text);
        }
    }

    #[test]
    fn hosts_and_ports_are_split_as_in_go() {
        let strip = |text: &str| String::from_utf8(strip_domain(text.as_bytes())).unwrap();
        assert_eq!(strip("foo.example.com:9090"), "foo:9090");
        assert_eq!(strip("foo.example.com"), "foo");
        assert_eq!(strip("192.0.2.1:9090"), "192.0.2.1:9090");
        assert_eq!(strip("[::1]:9090"), "[::1]:9090");
        assert_eq!(strip("::1"), "::1");
        assert_eq!(split_host_port(b"[::1]:80"), Some((&b"::1"[..], &b"80"[..])));
        assert_eq!(split_host_port(b"a:b:80"), None);
        assert_eq!(split_host_port(b"a"), None);
        assert_eq!(split_host_port(b"[a]b:80"), None);
    }

    #[test]
    fn times_have_a_range() {
        assert_eq!(time(1.5).unwrap().to_string(), "1970-01-01 00:00:01.5 +0000 UTC");
        assert!(time(1e11).unwrap_err().0.starts_with("1e+11 cannot be represented"));
    }
}
