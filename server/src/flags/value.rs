//! The forms of flag values.

use super::Kind;

/// Whether a text is a value of the kind.
///
/// # Errors
/// What is wrong with it.
pub fn check(kind: Kind, text: &str) -> Result<(), String> {
    match kind {
        Kind::Bool | Kind::Text | Kind::Texts => Ok(()),
        Kind::Duration => model::time::parse_duration_ms(text).map(|_| ()).map_err(|error| error.to_string()),
        Kind::GoDuration => {
            parse_go_duration_ms(text).map(|_| ()).ok_or_else(|| format!("time: invalid duration \"{text}\""))
        }
        Kind::Integer => match text.parse::<i64>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("\"{text}\" is no whole number")),
        },
        Kind::Number => match text.parse::<f64>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("\"{text}\" is no number")),
        },
        Kind::Bytes => match parse_bytes(text) {
            Some(_) => Ok(()),
            None => Err(format!(
                "units: unknown unit or malformed size in \"{text}\", want a number with B, KB, MB, GB, TB, PB or EB"
            )),
        },
        Kind::OneOf(choices) if choices.contains(&text) => Ok(()),
        Kind::OneOf(choices) => Err(format!("enum value must be one of {}, got '{text}'", choices.join(","))),
    }
}

/// Bytes of a size such as `512MB` or `1.5GiB`; units count in powers of 2 and
/// must be given.
///
/// ```text
/// "1KB" → 1024        "0B" → 0        "5" → no size
/// ```
pub fn parse_bytes(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let unit = unit.to_ascii_uppercase().replace('I', "");
    let power = ["B", "KB", "MB", "GB", "TB", "PB", "EB"].iter().position(|have| *have == unit)?;
    let bytes = number * 1024f64.powi(i32::try_from(power).ok()?);
    (bytes <= u64::MAX as f64).then_some(bytes as u64)
}

/// Milliseconds of a duration as Go writes it: `1h2m3.5s`, `300ms`, `2us`.
/// What is below a millisecond is cut.
pub fn parse_go_duration_ms(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total_ns = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit_ns = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total_ns += number.parse::<f64>().ok()? * unit_ns;
        rest = tail;
    }
    if total_ns > i64::MAX as f64 {
        return None;
    }
    let ms = (total_ns / 1e6) as i64;
    Some(if negative { -ms } else { ms })
}
