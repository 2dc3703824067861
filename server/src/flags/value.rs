//! The forms of flag values.

use super::Kind;

/// The messages of remote write that can be accepted.
const MESSAGES: [&str; 2] = ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"];

/// Whether a text is a value of the kind.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub fn check(kind: Kind, text: &str) -> Result<(), String> {
    let one_of = |choices: &[&str], fault: String| choices.contains(&text).then_some(()).ok_or(fault);
    match kind {
        Kind::Bool | Kind::Text | Kind::Texts | Kind::List => Ok(()),
        Kind::Messages => one_of(
            &MESSAGES,
            format!(
                "unknown type for remote write protobuf message {text}, supported: {}",
                MESSAGES.join(", ")
            ),
        ),
        Kind::Duration => model::time::parse_duration_ms(text).map(|_| ()).map_err(|error| error.to_string()),
        Kind::GoDuration => match parse_go_duration_ms(text) {
            Some(_) => Ok(()),
            None => Err(format!("time: invalid duration {}", model::labels::go_quote(text))),
        },
        Kind::Integer => parse_integer(text).map(|_| ()).ok_or_else(|| not_parsed("ParseFloat", text)),
        Kind::Whole => text.parse::<i64>().map(|_| ()).map_err(|_| not_parsed("ParseInt", text)),
        Kind::Number => text.parse::<f64>().map(|_| ()).map_err(|_| not_parsed("ParseFloat", text)),
        Kind::Bytes => parse_bytes(text).map(|_| ()),
        Kind::OneOf(choices) => {
            one_of(choices, format!("enum value must be one of {}, got '{text}'", choices.join(",")))
        }
        Kind::LogLevel => {
            one_of(&["debug", "info", "warn", "error"], format!("unrecognized log level {text}"))
        }
        Kind::LogFormat => one_of(&["logfmt", "json"], format!("unrecognized log format {text}")),
    }
}

fn not_parsed(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {}: invalid syntax", model::labels::go_quote(text))
}

/// A flag's values as they are shown: each kind in one form.
pub fn shown(kind: Kind, values: &[String]) -> String {
    let text = values.last().map_or("", String::as_str);
    let one = match kind {
        Kind::Duration => model::time::parse_duration_ms(text).ok().map(model::time::format_duration_ms),
        Kind::Integer => parse_integer(text).map(|n| n.to_string()),
        Kind::Number => text.parse::<f64>().ok().map(|n| n.to_string()),
        Kind::Bytes => parse_bytes(text).ok().map(format_bytes),
        _ => None,
    };
    one.unwrap_or_else(|| values.join(","))
}

/// A whole number as upstream reads its counts: a float, cut.
pub fn parse_integer(text: &str) -> Option<i64> {
    match text.parse::<i64>() {
        Ok(n) => Some(n),
        Err(_) => text.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n as i64),
    }
}

const UNITS: [&str; 7] = ["B", "KB", "MB", "GB", "TB", "PB", "EB"];

/// Bytes of a size such as `512MB` or `1.5GiB`; units count in powers of 2 and
/// must be given.
///
/// ```text
/// "1KB" → 1024        "0B" → 0        "5" → no size
/// ```
///
/// # Errors
/// It is no size, in upstream's words.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let invalid = || format!("units: invalid {text}");
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let plain = unit.to_ascii_uppercase().replace('I', "");
    let power = UNITS.iter().position(|have| *have == plain);
    let power = power.ok_or_else(|| format!("units: unknown unit {unit} in {text}"))?;
    let bytes = number * 1024f64.powi(i32::try_from(power).unwrap_or(0));
    if bytes <= u64::MAX as f64 { Ok(bytes as u64) } else { Err(invalid()) }
}

/// Bytes as upstream prints them: whole units, largest first.
///
/// ```text
/// 0 → "0B"        512 << 20 → "512MiB"        1536 → "1KiB512B"
/// ```
pub fn format_bytes(bytes: u64) -> String {
    if bytes == 0 {
        return "0B".to_owned();
    }
    let mut out = String::new();
    for (power, unit) in ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].iter().enumerate().rev() {
        let count = (bytes >> (10 * power)) & if power == 6 { u64::MAX } else { 1023 };
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
        }
    }
    out
}

/// Milliseconds of a duration as Go writes it: `1h2m3.5s`, `300ms`, `2us`; days
/// and weeks as well, as upstream's library.
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
            "d" => 86_400e9,
            "w" => 604_800e9,
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
