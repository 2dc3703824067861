//! Numbers and times as upstream's texts spell them, where `model::float` does not.

/// As Go's `%.<digits>g`.
pub(crate) fn format_g_digits(value: f64, digits: usize) -> String {
    let digits = digits.max(1);
    if value == 0.0 || !value.is_finite() {
        return model::float::format_g(value);
    }
    let text = model::float::format_e(value, Some(digits - 1));
    let (mantissa, exponent) = text.split_once('e').expect("the exponent form has an exponent");
    let power: i32 = exponent.parse().expect("the exponent is a number");
    if power < -4 || power >= digits as i32 {
        return format!("{}e{exponent}", trim_fraction(mantissa));
    }
    let decimals = (digits as i32 - 1 - power).max(0) as usize;
    trim_fraction(&format!("{value:.decimals$}")).to_owned()
}

fn trim_fraction(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// As Go's `%f`: six decimals.
pub(crate) fn format_six_decimals(value: f64) -> String {
    if value.is_finite() { format!("{value:.6}") } else { model::float::format_g(value) }
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
    fn numbers_and_times_are_spelled_as_go_does() {
        assert_eq!(format_g_digits(3.25, 2), "3.2");
        assert_eq!(format_g_digits(1234.0, 2), "1.2e+03");
        assert_eq!(format_g_digits(0.5, 2), "0.5");
        assert_eq!(format_six_decimals(0.5), "0.500000");
        assert_eq!(format_rfc3339_seconds(1_000), "1970-01-01T00:00:01Z");
    }
}
