//! JSON as upstream writes it: HTML-safe strings, times in seconds with three
//! decimals or none, sample values as quoted numbers.

use std::io;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Appends a string, quoted and escaped as Go's encoder does: `<`, `>`, `&` and
/// the two line separators as `\u…`.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut plain_from = 0;
    for (i, c) in text.char_indices() {
        let escaped: &[u8] = match c {
            '"' => b"\\\"",
            '\\' => b"\\\\",
            '\n' => b"\\n",
            '\r' => b"\\r",
            '\t' => b"\\t",
            '\u{2028}' => b"\\u2028",
            '\u{2029}' => b"\\u2029",
            '<' => b"\\u003c",
            '>' => b"\\u003e",
            '&' => b"\\u0026",
            c if c < ' ' => {
                out.extend_from_slice(&text.as_bytes()[plain_from..i]);
                out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes());
                plain_from = i + 1;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[plain_from..i]);
        out.extend_from_slice(escaped);
        plain_from = i + c.len_utf8();
    }
    out.extend_from_slice(&text.as_bytes()[plain_from..]);
    out.push(b'"');
}

/// Appends a time in seconds: whole seconds bare, else exactly three decimals.
///
/// ```
/// let mut out = Vec::new();
/// web::json::write_time(&mut out, 1_435_781_451_780);
/// assert_eq!(out, b"1435781451.780");
/// ```
pub fn write_time(out: &mut Vec<u8>, time_ms: i64) {
    if time_ms < 0 {
        out.push(b'-');
    }
    let ms = time_ms.unsigned_abs();
    out.extend_from_slice((ms / 1000).to_string().as_bytes());
    let fraction = ms % 1000;
    if fraction != 0 {
        out.extend_from_slice(format!(".{fraction:03}").as_bytes());
    }
}

/// Appends a label set as an object, in the order given.
pub fn write_labels<'a>(out: &mut Vec<u8>, labels: impl Iterator<Item = model::Label<'a>>) {
    out.push(b'{');
    for (i, label) in labels.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(out, label.name);
        out.push(b':');
        write_string(out, label.value);
    }
    out.push(b'}');
}

/// Appends a sample's value: a quoted number, so that NaN and infinities fit.
pub fn write_value(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    model::float::write_json(out, value);
    out.push(b'"');
}

/// Appends a native histogram: count, sum and the buckets that are not empty,
/// each as `[rule, lower, upper, count]`.
pub fn write_histogram(out: &mut Vec<u8>, histogram: &model::FloatHistogram) {
    out.extend_from_slice(b"{\"count\":");
    write_value(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    write_value(out, histogram.sum);
    let mut open: &[u8] = b",\"buckets\":[";
    for bucket in histogram.all_buckets() {
        if bucket.count == 0.0 {
            continue;
        }
        out.extend_from_slice(open);
        open = b",";
        let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => b"[0,",
            (true, false) => b"[1,",
            (false, false) => b"[2,",
            (true, true) => b"[3,",
        };
        out.extend_from_slice(rule);
        write_value(out, bucket.lower);
        out.push(b',');
        write_value(out, bucket.upper);
        out.push(b',');
        write_value(out, bucket.count);
        out.push(b']');
    }
    if open == b"," {
        out.push(b']');
    }
    out.push(b'}');
}

/// Serialises a value with strings escaped as [`write_string`] does.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, HtmlSafe);
    value.serialize(&mut serializer).expect("answers are made of types that serialise into memory");
    out
}

/// A float as Go writes it in JSON: without a point where it is whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GoFloat(pub f64);

impl Serialize for GoFloat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = if self.0.is_finite() { self.0 } else { 0.0 };
        let text = model::float::format_json(value);
        match RawValue::from_string(text) {
            Ok(number) => number.serialize(serializer),
            Err(_) => serializer.serialize_f64(value),
        }
    }
}

/// A label set as an object.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelMap(pub model::Labels);

impl Serialize for LabelMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|label| (label.name, label.value)))
    }
}

/// Escapes what HTML would take for markup.
struct HtmlSafe;

impl serde_json::ser::Formatter for HtmlSafe {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut escaped = Vec::with_capacity(fragment.len() + 2);
        write_string(&mut escaped, fragment);
        writer.write_all(&escaped[1..escaped.len() - 1])
    }

    /// JSON that was made elsewhere: these characters stand only inside its strings.
    fn write_raw_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain_from = 0;
        for (i, c) in fragment.char_indices() {
            if matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
                writer.write_all(&fragment.as_bytes()[plain_from..i])?;
                write!(writer, "\\u{:04x}", c as u32)?;
                plain_from = i + c.len_utf8();
            }
        }
        writer.write_all(&fragment.as_bytes()[plain_from..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> String {
        let mut out = Vec::new();
        write_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_safe_inside_html() {
        assert_eq!(string("a<b>&\"c\"\\\n\u{1}é\u{2028}"), r#""a\u003cb\u003e\u0026\"c\"\\\n\u0001é\u2028""#);
        let parsed: String = serde_json::from_str(&string("x<\u{7f}\u{0}>")).unwrap();
        assert_eq!(parsed, "x<\u{7f}\u{0}>");
        assert_eq!(to_vec(&serde_json::json!({"a": "<"})), br#"{"a":"\u003c"}"#);
        let raw = RawValue::from_string(r#"{"a":"<\u003e"}"#.to_owned()).unwrap();
        assert_eq!(to_vec(&raw), br#"{"a":"\u003c\u003e"}"#);
    }

    #[test]
    fn floats_are_written_as_go_does() {
        for (value, text) in [(0.0, "0"), (1.5, "1.5"), (1e-5, "0.00001"), (f64::NAN, "0"), (2e21, "2e+21")] {
            assert_eq!(to_vec(&GoFloat(value)), text.as_bytes());
        }
    }

    #[test]
    fn times_have_three_decimals_or_none() {
        for (ms, text) in
            [(0, "0"), (1000, "1"), (1001, "1.001"), (-1, "-0.001"), (-1500, "-1.500"), (10, "0.010")]
        {
            let mut out = Vec::new();
            write_time(&mut out, ms);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
