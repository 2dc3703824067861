//! What a plain scalar means, as Go's yaml.v2 resolves it (YAML 1.1):
//! `yes` is true, `010` is eight, `1_000` a thousand, `~` nothing.

use crate::tree::{Node, NodeKind, Scalar, Text};

/// A scalar's meaning.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// Nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number within 64 bits, with or without sign.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text; also timestamps and merge keys.
    Str,
}

impl Resolved {
    /// The tag that names the meaning in error texts.
    pub fn tag(&self) -> &'static str {
        match self {
            Resolved::Null => "!!null",
            Resolved::Bool(_) => "!!bool",
            Resolved::Int(_) => "!!int",
            Resolved::Float(_) => "!!float",
            Resolved::Str => "!!str",
        }
    }
}

/// What the scalar means, its quotes and tag considered.
pub fn resolve_scalar(scalar: &Scalar) -> Resolved {
    let Text::Utf8(text) = &scalar.text else { return Resolved::Str };
    match scalar.tag.as_deref() {
        None if scalar.plain => resolve_plain(text),
        None | Some("str" | "binary") => Resolved::Str,
        Some("float") => match resolve_plain(text) {
            Resolved::Int(n) => Resolved::Float(n as f64),
            other => other,
        },
        Some("int" | "bool" | "null" | "timestamp" | "merge") => resolve_plain(text),
        Some(_) => Resolved::Str,
    }
}

/// The tag of any node as error texts name it.
pub fn tag_of(node: &Node) -> &'static str {
    match &node.kind {
        NodeKind::Scalar(scalar) => resolve_scalar(scalar).tag(),
        NodeKind::Seq(_) => "!!seq",
        NodeKind::Map(_) => "!!map",
    }
}

/// What a text without quotes or tag means.
pub fn resolve_plain(text: &str) -> Resolved {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Resolved::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Resolved::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Resolved::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Resolved::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number_like = text.as_bytes()[0].is_ascii_digit() || matches!(text.as_bytes()[0], b'+' | b'-' | b'.');
    if !number_like {
        return Resolved::Str;
    }
    // yaml.v2 leaves underscores in what begins with a dot.
    let plain = if text.starts_with('.') { text.to_owned() } else { text.replace('_', "") };
    if let Some(number) = parse_int(&plain) {
        return Resolved::Int(number);
    }
    if is_yaml_float(&plain)
        && let Ok(number) = plain.parse::<f64>()
        && number.is_finite()
    {
        return Resolved::Float(number);
    }
    Resolved::Str
}

/// Whether an unquoted text would be read as something other than text: base 60
/// numbers (`1:30`) and timestamps count too.
pub fn needs_quotes(text: &str) -> bool {
    resolve_plain(text) != Resolved::Str || is_base_60(text) || is_timestamp(text)
}

/// Go's `ParseInt` with base 0 within 64 bits.
fn parse_int(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    let number = u64::from_str_radix(digits, radix).ok()?;
    let number = if negative { -i128::from(number) } else { i128::from(number) };
    (number >= i128::from(i64::MIN)).then_some(number)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_yaml_float(text: &str) -> bool {
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = &rest[whole..];
    if let Some(tail) = rest.strip_prefix('.') {
        let fraction = tail.bytes().take_while(u8::is_ascii_digit).count();
        if whole == 0 && fraction == 0 {
            return false;
        }
        rest = &tail[fraction..];
    } else if whole == 0 {
        return false;
    }
    let Some(exponent) = rest.strip_prefix(['e', 'E']) else { return rest.is_empty() };
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`
fn is_base_60(text: &str) -> bool {
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !rest.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    let (rest, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
        return false;
    }
    let mut parts = rest.split(':');
    let whole = parts.next().unwrap_or_default();
    let mut n_parts = 0;
    for part in parts {
        n_parts += 1;
        let ok = match part.as_bytes() {
            [a] => a.is_ascii_digit(),
            [a, b] => (b'0'..=b'5').contains(a) && b.is_ascii_digit(),
            _ => false,
        };
        if !ok {
            return false;
        }
    }
    n_parts > 0 && whole.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

/// Whether the text is one of the timestamp forms that yaml.v2 knows:
/// `2006-1-2`, then optionally a time of day.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits =
        |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = 0;
    for (i, (len_min, len_max)) in [(4, 4), (1, 2), (1, 2)].into_iter().enumerate() {
        let n = digits(at);
        if n < len_min || n > len_max {
            return false;
        }
        at += n;
        if i < 2 {
            if bytes.get(at) != Some(&b'-') {
                return false;
            }
            at += 1;
        }
    }
    if at == bytes.len() {
        return at == 10 || at >= 8;
    }
    is_time_of_day(&text[at..])
}

/// `T15:4:5.9Z` and `T15:4:5.9+07:00`, or ` 15:4:5.9` without a zone.
fn is_time_of_day(text: &str) -> bool {
    let with_zone = text.starts_with(['T', 't']);
    let Some(time) = text.strip_prefix(['T', 't', ' ']) else { return false };
    let parts: Vec<&str> = time.splitn(3, ':').collect();
    let [hour, minute, rest] = parts.as_slice() else { return false };
    let is_short = |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let n_digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let seconds = n_digits(rest);
    if !is_short(hour) || !is_short(minute) || !(1..=2).contains(&seconds) {
        return false;
    }
    let mut rest = &rest[seconds..];
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = &fraction[n_digits(fraction)..];
    }
    match (with_zone, rest.as_bytes()) {
        (false, rest) => rest.is_empty(),
        (true, b"Z") => true,
        (true, [b'+' | b'-', a, b, b':', c, d]) => [a, b, c, d].iter().all(|digit| digit.is_ascii_digit()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_yaml_1_1_says() {
        assert_eq!(resolve_plain("yes"), Resolved::Bool(true));
        assert_eq!(resolve_plain("off"), Resolved::Bool(false));
        assert_eq!(resolve_plain("010"), Resolved::Int(8));
        assert_eq!(resolve_plain("0o17"), Resolved::Int(15));
        assert_eq!(resolve_plain("1_000"), Resolved::Int(1000));
        assert_eq!(resolve_plain("-0x1F"), Resolved::Int(-31));
        assert_eq!(resolve_plain("18446744073709551615"), Resolved::Int(u64::MAX.into()));
        assert_eq!(resolve_plain("1e3"), Resolved::Float(1000.0));
        assert_eq!(resolve_plain("1.2.3"), Resolved::Str);
        assert_eq!(resolve_plain("08"), Resolved::Float(8.0));
        assert_eq!(resolve_plain("30s"), Resolved::Str);
    }

    #[test]
    fn texts_that_would_be_misread_need_quotes() {
        for text in ["", "true", "1", "1.5", "0x1", "1:30", "2001-01-01", "~"] {
            assert!(needs_quotes(text), "{text:?}");
        }
        for text in ["1.2.3.4:9093", "30s", "a:b", "$1", "2001-1"] {
            assert!(!needs_quotes(text), "{text:?}");
        }
    }
}
