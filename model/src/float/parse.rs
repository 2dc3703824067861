//! Reads floats as Go's `strconv.ParseFloat(text, 64)`.
//!
//! Beyond plain decimals that is: `inf`, `infinity` and `nan` in any case,
//! hexadecimal mantissas (`0x1.8p3`, where the exponent is required), and
//! underscores between digits.

/// Why a text is no float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FloatError {
    /// Not the syntax of a float.
    #[error("invalid syntax")]
    Syntax,
    /// Too large for a float.
    #[error("value out of range")]
    Range,
}

/// Reads a float as `strconv.ParseFloat`.
///
/// # Errors
/// The text is no float, or its magnitude is above the greatest one.
///
/// ```
/// use model::float::{FloatError, parse};
/// assert_eq!(parse("+Inf"), Ok(f64::INFINITY));
/// assert_eq!(parse("0x1.8p1"), Ok(3.0));
/// assert_eq!(parse("1_000.5"), Ok(1000.5));
/// assert_eq!(parse("1e999"), Err(FloatError::Range));
/// assert_eq!(parse("+NaN"), Err(FloatError::Syntax));
/// ```
pub fn parse(text: &str) -> Result<f64, FloatError> {
    let bytes = text.as_bytes();
    let (negative, unsigned) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let signed = unsigned.len() != bytes.len();
    if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
        return Ok(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if !signed && unsigned.eq_ignore_ascii_case(b"nan") {
        return Ok(f64::NAN);
    }
    let magnitude = match unsigned {
        [b'0', b'x' | b'X', digits @ ..] => hexadecimal(digits)?,
        decimal_text => decimal(decimal_text)?,
    };
    Ok(if negative { -magnitude } else { magnitude })
}

fn decimal(text: &[u8]) -> Result<f64, FloatError> {
    let shape = Shape::of(text, u8::is_ascii_digit, b'e', false).ok_or(FloatError::Syntax)?;
    if shape.mantissa_digits == 0 {
        return Err(FloatError::Syntax);
    }
    let plain;
    let text = if shape.underscores {
        plain = text.iter().copied().filter(|b| *b != b'_').collect::<Vec<u8>>();
        plain.as_slice()
    } else {
        text
    };
    let text = std::str::from_utf8(text).map_err(|_| FloatError::Syntax)?;
    let value: f64 = text.parse().map_err(|_| FloatError::Syntax)?;
    if value.is_infinite() { Err(FloatError::Range) } else { Ok(value) }
}

/// What a number looks like.
struct Shape {
    mantissa_digits: usize,
    underscores: bool,
    /// Where the exponent's mark stands.
    exponent_at: Option<usize>,
}

impl Shape {
    /// `None` where the text is malformed. `prefixed`: an underscore may come
    /// first, after the base prefix.
    fn of(text: &[u8], is_digit: fn(&u8) -> bool, mark: u8, prefixed: bool) -> Option<Shape> {
        let mut shape = Shape { mantissa_digits: 0, underscores: false, exponent_at: None };
        let mut seen_point = false;
        let mut exponent_digits = 0;
        // Whether an underscore may follow: behind a digit or the prefix.
        let mut after_digit = prefixed;
        let mut after_underscore = false;
        for (i, byte) in text.iter().enumerate() {
            let digit = if shape.exponent_at.is_some() { byte.is_ascii_digit() } else { is_digit(byte) };
            if digit {
                match shape.exponent_at {
                    Some(_) => exponent_digits += 1,
                    None => shape.mantissa_digits += 1,
                }
                (after_digit, after_underscore) = (true, false);
                continue;
            }
            if *byte == b'_' {
                if !after_digit {
                    return None;
                }
                shape.underscores = true;
                (after_digit, after_underscore) = (false, true);
                continue;
            }
            if after_underscore {
                return None;
            }
            match (*byte, shape.exponent_at) {
                (b'.', None) if !seen_point => seen_point = true,
                (b'+' | b'-', Some(at)) if at + 1 == i => {}
                (other, None) if other.eq_ignore_ascii_case(&mark) => shape.exponent_at = Some(i),
                _ => return None,
            }
            after_digit = false;
        }
        let exponent_is_whole = shape.exponent_at.is_none() || exponent_digits > 0;
        (!after_underscore && exponent_is_whole).then_some(shape)
    }
}

/// Exponents are capped: beyond this every number is zero or out of range.
const EXPONENT_MAX: i64 = 1 << 40;

fn hexadecimal(text: &[u8]) -> Result<f64, FloatError> {
    let shape = Shape::of(text, u8::is_ascii_hexdigit, b'p', true).ok_or(FloatError::Syntax)?;
    let exponent_at = shape.exponent_at.ok_or(FloatError::Syntax)?;
    if shape.mantissa_digits == 0 {
        return Err(FloatError::Syntax);
    }
    let mut mantissa = 0u64;
    let mut exponent = decimal_exponent(&text[exponent_at + 1..]);
    let mut lost = false;
    let mut seen_point = false;
    for byte in &text[..exponent_at] {
        let digit = match byte {
            b'.' => {
                seen_point = true;
                continue;
            }
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => continue,
        };
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            exponent -= if seen_point { 4 } else { 0 };
        } else {
            lost |= digit != 0;
            exponent += if seen_point { 0 } else { 4 };
        }
    }
    compose(mantissa, lost, exponent)
}

fn decimal_exponent(text: &[u8]) -> i64 {
    let negative = text.first() == Some(&b'-');
    let digits = text.iter().filter(|b| b.is_ascii_digit());
    let magnitude = digits.fold(0i64, |sum, b| (sum * 10 + i64::from(b - b'0')).min(EXPONENT_MAX));
    if negative { -magnitude } else { magnitude }
}

/// The float nearest to `mantissa × 2^exponent`, ties to even; `lost` says that
/// the true mantissa is a little greater.
fn compose(mantissa: u64, lost: bool, exponent: i64) -> Result<f64, FloatError> {
    if mantissa == 0 {
        return Ok(0.0);
    }
    let shift = mantissa.leading_zeros();
    let mantissa = mantissa << shift | u64::from(lost);
    // The value is mantissa / 2^63 × 2^exponent, with the top bit set.
    let exponent = exponent - i64::from(shift) + 63;
    if exponent > 1023 {
        return Err(FloatError::Range);
    }
    let bits_kept = if exponent >= -1022 { 53 } else { 53 - (-1022 - exponent) };
    let Ok(bits_kept @ 0..) = u32::try_from(bits_kept) else { return Ok(0.0) };
    let dropped = 64 - bits_kept;
    let (kept, rest) =
        if dropped == 64 { (0, mantissa) } else { (mantissa >> dropped, mantissa << bits_kept) };
    const HALF: u64 = 1 << 63;
    let up = rest > HALF || (rest == HALF && kept & 1 == 1);
    let rounded = kept + u64::from(up);
    // The mantissa's top bit adds one to the exponent field: also when rounding
    // carried, or made the least normal number of a subnormal one.
    let field = u64::try_from((exponent + 1022).max(0)).expect("not below zero");
    let value = f64::from_bits((field << 52) + rounded);
    if value.is_infinite() { Err(FloatError::Range) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_spellings_are_read() {
        for (text, value) in [
            ("1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("+5.e1", 50.0),
            ("1_23.50_0_0e+1_2", 1.235e14),
            ("0x_1_2.3_4_5p+1_2", 74565.0),
            ("0x1p-1074", 5e-324),
            ("0x1p-1075", 0.0),
            ("0x1.8p-1075", 5e-324),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x0.0000000000001p-1022", 5e-324),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.00000000000018p0", 1.0000000000000004),
            ("0x1.000000000000080000000000000000001p0", 1.0000000000000002),
            ("0x1.fffffffffffffp-1023", 2.2250738585072014e-308),
            ("iNfInItY", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse(text).map(f64::to_bits), Ok(value.to_bits()), "{text}");
        }
        assert!(parse("nAn").is_ok_and(f64::is_nan));
        assert_eq!(parse("-0").map(f64::is_sign_negative), Ok(true));
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "", "+", "-", ".", "e5", "1e", "1e+", "1x", "1.1.", "0x", "0x1", "0x1e5", "0xp1", "-nan", "+nan",
            "_1", "1_", "1__2", "1_.5", "1._5", "1_e5", "1e_5", "1e+_5", "1e5_", "0b1", "0x1p", "0x1p1_",
            " 1", "1 ", "infinit", "1e5.5", "0x1p0x5", "١",
        ] {
            assert_eq!(parse(text), Err(FloatError::Syntax), "{text}");
        }
        for text in ["1e309", "-1e999999999999999999", "0x1p1024", "0x1.fffffffffffff8p1023"] {
            assert_eq!(parse(text), Err(FloatError::Range), "{text}");
        }
        assert_eq!(parse("1e-999999999999"), Ok(0.0));
    }
}
