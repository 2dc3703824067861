//! Values as JSON, as Go's `encoding/json` writes it into pages.

use std::fmt::Write;

use crate::exec::printable;
use crate::print;
use crate::text;
use crate::time::Time;
use crate::value::{SliceType, Value};

/// A value that JSON has no form for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("json: unsupported {0}")]
pub(super) struct JsonError(String);

/// The value as JSON.
pub(super) fn json(value: &Value) -> Result<String, JsonError> {
    let mut out = String::new();
    write(&mut out, value)?;
    Ok(out)
}

fn write(out: &mut String, value: &Value) -> Result<(), JsonError> {
    if out.len() > print::BYTES_MAX {
        return Ok(());
    }
    match value {
        Value::Nothing | Value::Any(None) | Value::Sample(None) => out.push_str("null"),
        Value::Any(Some(inner)) => write(out, inner)?,
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Int(_, number) => {
            let _ = write!(out, "{number}");
        }
        Value::Float(number) => out.push_str(&float(*number)?),
        Value::Complex(..) => return Err(JsonError("type: complex128".to_owned())),
        Value::Str(_, text) => string(out, text),
        Value::Map(map) => {
            let pairs = map.entries.iter().map(|(name, value)| (&**name, value.clone()));
            object(out, pairs)?;
        }
        Value::Slice(slice) if slice.is_nil() => out.push_str("null"),
        Value::Slice(slice) if slice.kind == SliceType::Octets => {
            string(out, &print::sprint(std::slice::from_ref(value)))
        }
        Value::Slice(slice) => {
            out.push('[');
            for (i, item) in slice.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(out, &item)?;
            }
            out.push(']');
        }
        Value::Sample(Some(_)) => write(out, &printable(value.clone()))?,
        Value::Time(time) | Value::TimePointer(time) => string(out, &rfc3339(*time)),
        Value::DurationPointer(duration) => {
            let _ = write!(out, "{}", duration.0);
        }
        Value::Location(_) => out.push_str("{}"),
        Value::Histogram(histogram) => {
            let of = crate::method::histogram_struct(histogram);
            object(out, of.fields.iter().map(|(name, value)| (name.as_bytes(), value.clone())))?;
        }
        Value::Struct(of) => {
            object(out, of.fields.iter().map(|(name, value)| (name.as_bytes(), value.clone())))?;
        }
    }
    Ok(())
}

fn object<'v>(out: &mut String, pairs: impl Iterator<Item = (&'v [u8], Value)>) -> Result<(), JsonError> {
    out.push('{');
    for (i, (name, value)) in pairs.enumerate() {
        if i > 0 {
            out.push(',');
        }
        string(out, name);
        out.push(':');
        write(out, &value)?;
    }
    out.push('}');
    Ok(())
}

fn rfc3339(time: Time) -> Vec<u8> {
    time.format(b"2006-01-02T15:04:05.999999999Z07:00")
}

fn float(number: f64) -> Result<String, JsonError> {
    if !number.is_finite() {
        return Err(JsonError(format!("value: {}", print::float::format(number, 'g', None))));
    }
    let magnitude = number.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        return Ok(print::float::format(number, 'f', None));
    }
    let text = print::float::format(number, 'e', None);
    // An exponent of one digit has no zero before it.
    Ok(match text.strip_suffix(|c: char| c.is_ascii_digit()) {
        Some(front) if front.ends_with("e-0") => {
            format!("{}{}", &front[..front.len() - 1], &text[front.len()..])
        }
        _ => text,
    })
}

fn string(out: &mut String, text: &[u8]) {
    out.push('"');
    for (_, c, width) in text::chars(text) {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char::REPLACEMENT_CHARACTER if width == 1 => out.push_str("\\ufffd"),
            '\0'..=' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' if c != ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Map;

    #[test]
    fn values_read_as_in_go() {
        for (value, text) in [
            (Value::Float(1e6), "1000000"),
            (Value::Float(1e-7), "1e-7"),
            (Value::Float(1e21), "1e+21"),
            (Value::Float(1.5e-10), "1.5e-10"),
            (Value::text("<a>&\"\u{2028}\n"), "\"\\u003ca\\u003e\\u0026\\\"\\u2028\\n\""),
            (Value::Map(Map::of_strings([("b", "1"), ("a", "2")])), "{\"a\":\"2\",\"b\":\"1\"}"),
            (Value::TimePointer(Time::from_millis(1500)), "\"1970-01-01T00:00:01.5Z\""),
        ] {
            assert_eq!(json(&value).as_deref(), Ok(text));
        }
        assert_eq!(json(&Value::Float(f64::NAN)).unwrap_err().to_string(), "json: unsupported value: NaN");
    }
}
