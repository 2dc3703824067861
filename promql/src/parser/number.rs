//! Numbers and durations as literals.

use model::labels::go_quote;

/// A number as Go's `ParseInt` with base 0 reads it, else as `ParseFloat` does.
/// The lexer has let through only digits, `x`, `.`, `e`, signs and underscores.
///
/// # Errors
/// Go's message where neither can read the text.
pub(crate) fn parse_number(text: &str) -> Result<f64, String> {
    if let Some(integer) = parse_integer(text) {
        return Ok(integer as f64);
    }
    let refuse = |why: &str| {
        Err(format!("error parsing number: strconv.ParseFloat: parsing {}: {why}", go_quote(text)))
    };
    match text.to_ascii_lowercase().as_str() {
        "inf" => return Ok(f64::INFINITY),
        "nan" => return Ok(f64::NAN),
        _ => {}
    }
    // Digits of another base are integers or nothing: floats of base 16 need
    // an exponent behind `p`, which the lexer does not know.
    if text.starts_with("0x") || text.starts_with("0X") {
        return refuse("invalid syntax");
    }
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    match digits.parse::<f64>() {
        Ok(value) if value.is_infinite() => refuse("value out of range"),
        Ok(value) if underscores_are_placed(text) => Ok(value),
        _ => refuse("invalid syntax"),
    }
}

fn parse_integer(text: &str) -> Option<i64> {
    if !underscores_are_placed(text) {
        return None;
    }
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits.as_str()),
    };
    i64::from_str_radix(digits, base).ok()
}

/// Whether each underscore stands between digits or right behind a base prefix.
fn underscores_are_placed(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_hexdigit);
    bytes.iter().enumerate().filter(|(_, b)| **b == b'_').all(|(i, _)| {
        let before = i > 0 && (is_digit(i - 1) || matches!(bytes[i - 1], b'x' | b'X'));
        before && is_digit(i + 1)
    })
}

/// An unsigned repetition count.
///
/// # Errors
/// Go's message.
pub(crate) fn parse_count(text: &str) -> Result<u64, String> {
    let refuse = |why: &str| Err(format!("strconv.ParseUint: parsing {}: {why}", go_quote(text)));
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return refuse("invalid syntax");
    }
    match text.parse() {
        Ok(count) => Ok(count),
        Err(_) => refuse("value out of range"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_zero_makes_octal_unless_a_digit_says_otherwise() {
        assert_eq!(parse_number("0755"), Ok(493.0));
        assert_eq!(parse_number("08"), Ok(8.0));
        assert_eq!(parse_number("0x_1F"), Ok(31.0));
        assert_eq!(parse_number("1_000"), Ok(1000.0));
        assert_eq!(parse_number("1_000.5"), Ok(1000.5));
        assert_eq!(parse_number("0"), Ok(0.0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let error = parse_number("1e999").unwrap_err();
        assert_eq!(error, "error parsing number: strconv.ParseFloat: parsing \"1e999\": value out of range");
        assert!(parse_number("0x").is_err());
        assert_eq!(parse_number("99999999999999999999"), Ok(1e20));
    }
}
