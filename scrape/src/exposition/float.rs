//! Numbers as expositions write them.

use model::float::FloatError;

use super::error::{NumberError, excerpt};

const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Reads a value; every NaN becomes the ordinary one, so that no target can
/// write a staleness marker.
///
/// The plain way is the standard parser; before it, short decimals without
/// exponent (nearly all of what is exposed) are taken as a whole number below
/// 2^53 divided by a power of ten up to 10^22: both are exact, so the quotient
/// is the nearest float.
pub(super) fn parse_float(text: &[u8]) -> Result<f64, NumberError> {
    if let Some(value) = parse_short_decimal(text) {
        return Ok(value);
    }
    parse_any_float(text)
}

fn parse_short_decimal(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let mut mantissa = 0u64;
    let mut point = None;
    for (i, &byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            mantissa = mantissa * 10 + u64::from(digit);
        } else if byte == b'.' && point.is_none() && digits.len() > 1 {
            point = Some(i);
        } else {
            return None;
        }
    }
    if mantissa >= 1 << 53 {
        return None;
    }
    let fraction_digits = point.map_or(0, |at| digits.len() - at - 1);
    let value = mantissa as f64 / POWERS_OF_TEN[fraction_digits];
    Some(if negative { -value } else { value })
}

#[cold]
fn parse_any_float(text: &[u8]) -> Result<f64, NumberError> {
    if text.iter().any(|b| matches!(b, b'p' | b'P' | b'_')) {
        return Err(NumberError::UnsupportedCharacter);
    }
    let error = |error| match error {
        FloatError::Syntax => NumberError::Syntax { function: "ParseFloat", text: excerpt(text) },
        FloatError::Range => NumberError::Range { function: "ParseFloat", text: excerpt(text) },
    };
    let as_text = std::str::from_utf8(text).map_err(|_| error(FloatError::Syntax))?;
    let value = model::float::parse(as_text).map_err(error)?;
    Ok(if value.is_nan() { model::sample::normal_nan() } else { value })
}

/// Reads a whole number of digits alone.
pub(super) fn parse_digits(text: &[u8]) -> Result<i64, NumberError> {
    let mut number = 0i64;
    for &byte in text {
        debug_assert!(byte.is_ascii_digit(), "the caller scanned digits");
        number = number
            .checked_mul(10)
            .and_then(|n| n.checked_add(i64::from(byte - b'0')))
            .ok_or_else(|| NumberError::Range { function: "ParseInt", text: excerpt(text) })?;
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_decimals_equal_the_standard_parser() {
        for text in
            ["0", "-0", "1", "33", "0.1", "123456.789", "-4.9351", "9007199254740991", "1.", ".5", "-.5"]
        {
            let expected: f64 = text.parse().unwrap();
            assert_eq!(parse_float(text.as_bytes()).unwrap().to_bits(), expected.to_bits(), "{text}");
            assert!(text.len() > 16 || parse_short_decimal(text.as_bytes()).is_some(), "{text} is short");
        }
    }

    #[test]
    fn go_refuses_what_rust_would_take() {
        for text in ["+NaN", "-nan", "1e400", "-1e400", "", ".", "-", "1e", "0x10", "1_0", "0x1p-3", " 1"] {
            assert!(parse_float(text.as_bytes()).is_err(), "{text:?}");
        }
        for text in ["NaN", "nan", "+Inf", "-Inf", "inf", "Infinity", "1e-400", "+1", "1E5"] {
            assert!(parse_float(text.as_bytes()).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_nan_is_never_a_staleness_marker() {
        assert_eq!(parse_float(b"NaN").unwrap().to_bits(), model::sample::NORMAL_NAN_BITS);
    }
}
