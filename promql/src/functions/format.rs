//! Numbers and times as upstream's texts spell them.

/// As Go's `%g`: shortest digits, with an exponent below 1e-4 and from 1e21.
pub(crate) fn format_g(value: f64) -> String {
    if let Some(text) = special(value) {
        return text;
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').expect("exponent form has an e");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    if exponent < -4 || exponent >= 21 {
        return with_exponent(digits, exponent);
    }
    format!("{value}")
}

/// As Go's `%.<n>g`.
pub(crate) fn format_g_digits(value: f64, digits: usize) -> String {
    if let Some(text) = special(value) {
        return text;
    }
    let text = format!("{value:.*e}", digits.max(1) - 1);
    let (mantissa, exponent) = text.split_once('e').expect("exponent form has an e");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    let trimmed = trim_fraction(mantissa);
    if exponent < -4 || exponent >= digits.max(1) as i32 {
        return with_exponent(trimmed, exponent);
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    trim_fraction(&format!("{value:.decimals$}")).to_owned()
}

fn trim_fraction(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

fn with_exponent(digits: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn special(value: f64) -> Option<String> {
    if value.is_nan() {
        Some("NaN".to_owned())
    } else if value.is_infinite() {
        Some(if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned())
    } else if value == 0.0 {
        Some(if value.is_sign_negative() { "-0" } else { "0" }.to_owned())
    } else {
        None
    }
}

/// As Go's `strconv.FormatFloat(v, 'f', -1, 64)`: plain, shortest digits.
pub(crate) fn format_plain(value: f64) -> String {
    special(value).unwrap_or_else(|| format!("{value}"))
}

/// As Go's `%f`: six decimals.
pub(crate) fn format_f(value: f64) -> String {
    if value.is_nan() || value.is_infinite() {
        return special(value).unwrap_or_default();
    }
    format!("{value:.6}")
}

/// As OpenMetrics spells a float: `1.0`, `0.5`, `1e+21`.
pub(crate) fn format_openmetrics(value: f64) -> String {
    let text = match value {
        v if v == 1.0 => return "1.0".to_owned(),
        v if v == 0.0 => return "0.0".to_owned(),
        v if v == -1.0 => return "-1.0".to_owned(),
        v => format_g(v),
    };
    if value.is_nan() || value.is_infinite() || text.contains(['e', '.']) { text } else { format!("{text}.0") }
}

/// A time in ms as `2006-01-02T15:04:05Z`, whole seconds.
pub(crate) fn format_rfc3339_seconds(timestamp_ms: i64) -> String {
    // Go's division truncates towards zero.
    match jiff::Timestamp::from_second(timestamp_ms / 1000) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => timestamp_ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_as_go_does() {
        for (value, text) in [
            (0.9, "0.9"),
            (-1.0, "-1"),
            (100.0, "100"),
            (0.00001, "1e-05"),
            (1e21, "1e+21"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(format_g(value), text);
        }
        assert_eq!(format_g_digits(3.25, 2), "3.2");
        assert_eq!(format_g_digits(1234.0, 2), "1.2e+03");
        assert_eq!(format_g_digits(0.5, 2), "0.5");
        assert_eq!(format_openmetrics(0.9), "0.9");
        assert_eq!(format_openmetrics(2.0), "2.0");
        assert_eq!(format_rfc3339_seconds(1_000), "1970-01-01T00:00:01Z");
    }
}
