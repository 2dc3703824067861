//! JSON as upstream writes it: HTML-safe strings, times in seconds with three
//! decimals or none, sample values as quoted numbers.

use std::io;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// What stands for a byte inside a text: itself, `\u00xx` or a short escape.
/// Bytes of characters beyond ASCII stand for themselves.
const PLAIN: u8 = 0;
const UNICODE: u8 = 1;

/// For each byte [`PLAIN`], [`UNICODE`], or the letter after the backslash.
const ESCAPES: [u8; 256] = {
    let mut escapes = [PLAIN; 256];
    let mut byte = 0;
    while byte < 0x20 {
        escapes[byte] = UNICODE;
        byte += 1;
    }
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes[b'\n' as usize] = b'n';
    escapes[b'\r' as usize] = b'r';
    escapes[b'\t' as usize] = b't';
    escapes
};

/// As [`ESCAPES`], and what HTML takes for markup.
const HTML_ESCAPES: [u8; 256] = {
    let mut escapes = ESCAPES;
    escapes[b'<' as usize] = UNICODE;
    escapes[b'>' as usize] = UNICODE;
    escapes[b'&' as usize] = UNICODE;
    escapes
};

const HEX: &[u8; 16] = b"0123456789abcdef";

fn write_escaped(out: &mut Vec<u8>, text: &str, escapes: &[u8; 256]) {
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        let escape = escapes[usize::from(byte)];
        if escape == PLAIN {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..i]);
        plain_from = i + 1;
        match escape {
            UNICODE => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
    }
    out.extend_from_slice(&bytes[plain_from..]);
}

/// Appends a string, quoted and escaped as Go's encoder does: `<`, `>`, `&` and
/// the two line separators as `\u…`.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text;
    // The separators begin with a byte that few texts have.
    while let Some(at) = rest.find(['\u{2028}', '\u{2029}']) {
        write_escaped(out, &rest[..at], &HTML_ESCAPES);
        out.extend_from_slice(if rest[at..].starts_with('\u{2028}') { b"\\u2028" } else { b"\\u2029" });
        rest = &rest[at + 3..];
    }
    write_escaped(out, rest, &HTML_ESCAPES);
    out.push(b'"');
}

/// Appends a string, quoted, with no more escapes than JSON asks for: so are
/// labels written. Source: Prometheus `web/api/v1/json_codec.go`.
pub fn write_plain_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text, &ESCAPES);
    out.push(b'"');
}

/// Appends a whole number.
pub fn write_int(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
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
    write_int(out, ms / 1000);
    let fraction = ms % 1000;
    if fraction != 0 {
        let digit = |n: u64| b'0' + (n % 10) as u8;
        out.extend_from_slice(&[b'.', digit(fraction / 100), digit(fraction / 10), digit(fraction)]);
    }
}

/// Appends the time of a scalar or a text: seconds as any other float.
/// Source: Prometheus `promql/value.go`, `Scalar.MarshalJSON`.
pub fn write_float_time(out: &mut Vec<u8>, time_ms: i64) {
    model::float::write_json(out, time_ms as f64 / 1000.0);
}

/// Appends a label set as an object, in the order given.
pub fn write_labels<'a>(out: &mut Vec<u8>, labels: impl Iterator<Item = model::Label<'a>>) {
    out.push(b'{');
    for (i, label) in labels.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_plain_string(out, label.name);
        out.push(b':');
        write_plain_string(out, label.value);
    }
    out.push(b'}');
}

/// Appends a sample's value: a quoted number, so that NaN and infinities fit.
pub fn write_value(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    model::float::write_json(out, value);
    out.push(b'"');
}

/// Appends the value of a scalar answer: quoted, and never with an exponent.
/// Source: Prometheus `promql/value.go`, `Scalar.MarshalJSON`.
pub fn write_scalar(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    model::float::write_f(out, value);
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

/// A label set as an object, its texts with no more escapes than JSON asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelMap(pub model::Labels);

impl Serialize for LabelMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Vec::new();
        write_labels(&mut text, self.0.iter());
        let text = String::from_utf8(text).map_err(serde::ser::Error::custom)?;
        RawValue::from_string(text).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// JSON that was made elsewhere, with what HTML would take for markup escaped:
/// such characters stand only inside its texts.
pub fn html_safe(raw: &RawValue) -> Box<RawValue> {
    let mut safe = String::with_capacity(raw.get().len());
    for c in raw.get().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => safe.push_str(&format!("\\u{:04x}", c as u32)),
            c => safe.push(c),
        }
    }
    RawValue::from_string(safe).expect("an escape in a text leaves JSON what it is")
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
        assert_eq!(to_vec(&html_safe(&raw)), br#"{"a":"\u003c\u003e"}"#);
    }

    #[test]
    fn labels_are_not_made_safe_for_html() {
        let labels = model::Labels::from_pairs([("a<", "<b>&\n\u{1}\"\\é\u{2028}")]);
        let wanted = "{\"a<\":\"<b>&\\n\\u0001\\\"\\\\é\u{2028}\"}";
        assert_eq!(to_vec(&LabelMap(labels.clone())), wanted.as_bytes());
        let mut out = Vec::new();
        write_labels(&mut out, labels.iter());
        assert_eq!(out, wanted.as_bytes());
    }

    #[test]
    fn floats_are_written_as_go_does() {
        for (value, text) in [(0.0, "0"), (1.5, "1.5"), (1e-5, "0.00001"), (f64::NAN, "0"), (2e21, "2e+21")] {
            assert_eq!(to_vec(&GoFloat(value)), text.as_bytes());
        }
    }

    #[test]
    fn times_have_three_decimals_or_none() {
        let mut out = Vec::new();
        write_float_time(&mut out, -1_500);
        assert_eq!(out, b"-1.5");
        for (ms, text) in
            [(0, "0"), (1000, "1"), (1001, "1.001"), (-1, "-0.001"), (-1500, "-1.500"), (10, "0.010")]
        {
            let mut out = Vec::new();
            write_time(&mut out, ms);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
