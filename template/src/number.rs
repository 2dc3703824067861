//! Number constants, which take their type from where they are used.
//!
//! `1` may be an integer or a float, `1e3` too, `1.5` only a float, `'a'` all of
//! them: each form that fits is kept. Source: Go `text/template/parse`.

use std::sync::Arc;

use model::float;

use crate::text::{self, unquote_char};

/// A constant in every form it can take.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Number {
    pub(crate) int: Option<i64>,
    pub(crate) uint: Option<u64>,
    pub(crate) float: Option<f64>,
    pub(crate) complex: Option<(f64, f64)>,
    pub(crate) text: Arc<[u8]>,
}

/// A constant that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NumberError {
    #[error("invalid syntax")]
    CharSyntax,
    #[error("malformed character constant: {0}")]
    CharTail(String),
    #[error("integer overflow: {0}")]
    Overflow(String),
    #[error("illegal number syntax: {0}")]
    Illegal(String),
    #[error("syntax error scanning complex number")]
    Complex,
}

impl Number {
    fn none(text: &[u8]) -> Number {
        Number { int: None, uint: None, float: None, complex: None, text: text.into() }
    }

    /// A character constant with its quotes.
    pub(crate) fn of_char(literal: &[u8]) -> Result<Number, NumberError> {
        let (part, tail) = unquote_char(&literal[1..], b'\'').map_err(|_| NumberError::CharSyntax)?;
        if tail != b"'" {
            return Err(NumberError::CharTail(text::lossy(literal)));
        }
        let code = part.code();
        Ok(Number {
            int: Some(i64::from(code)),
            uint: Some(u64::from(code)),
            float: Some(f64::from(code)),
            ..Number::none(literal)
        })
    }

    /// A constant of two parts, `1+2i`.
    pub(crate) fn of_complex(literal: &[u8]) -> Result<Number, NumberError> {
        let shown = text::lossy(literal);
        let body = shown.strip_suffix('i').ok_or(NumberError::Complex)?;
        // The sign between the parts is the last one that does not follow an exponent's letter.
        let is_split = |(at, c): &(usize, char)| {
            matches!(c, '+' | '-') && *at > 0 && !body[..*at].ends_with(['e', 'E', 'p', 'P'])
        };
        let (split, _) = body.char_indices().rfind(is_split).ok_or(NumberError::Complex)?;
        let part = |text: &str| float::parse(text).map_err(|_| NumberError::Complex);
        let mut number = Number::none(literal);
        number.set_complex(part(&body[..split])?, part(&body[split..])?);
        Ok(number)
    }

    /// A plain constant.
    pub(crate) fn of(literal: &[u8]) -> Result<Number, NumberError> {
        let shown = text::lossy(literal);
        let mut number = Number::none(literal);
        if let Some(imaginary) = shown.strip_suffix('i').and_then(|text| float::parse(text).ok()) {
            number.set_complex(0.0, imaginary);
            return Ok(number);
        }
        number.uint = parse_uint(&shown);
        number.int = parse_int(&shown);
        if number.int == Some(0) {
            number.uint = Some(0);
        }
        if let Some(int) = number.int {
            number.float = Some(int as f64);
        } else if let Some(uint) = number.uint {
            number.float = Some(uint as f64);
        } else if let Ok(value) = float::parse(&shown) {
            if !shown.contains(['.', 'e', 'E', 'p', 'P']) {
                return Err(NumberError::Overflow(text::quote(literal)));
            }
            number.set_float(value);
        }
        if number.float.is_none() {
            return Err(NumberError::Illegal(text::quote(literal)));
        }
        Ok(number)
    }

    fn set_float(&mut self, value: f64) {
        self.float = Some(value);
        self.int = whole_int(value);
        self.uint = whole_uint(value);
    }

    fn set_complex(&mut self, real: f64, imaginary: f64) {
        self.complex = Some((real, imaginary));
        if imaginary == 0.0 {
            self.set_float(real);
        }
    }
}

/// The float as an integer, if it is one that fits.
fn whole_int(value: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    ((-LIMIT..LIMIT).contains(&value) && value.trunc() == value).then_some(value as i64)
}

fn whole_uint(value: f64) -> Option<u64> {
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    ((0.0..LIMIT).contains(&value) && value.trunc() == value).then_some(value as u64)
}

/// An unsigned integer with Go's prefixes and underscores.
fn parse_uint(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (base, digits, prefixed) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..], true),
        [b'0', b'b', ..] => (2, &lower[2..], true),
        [b'0', b'o', ..] => (8, &lower[2..], true),
        [b'0', _, ..] => (8, &lower[1..], true),
        _ => (10, lower.as_str(), false),
    };
    let mut value = 0u64;
    let mut after_digit = prefixed;
    let mut seen = false;
    for c in digits.chars() {
        if c == '_' {
            if !after_digit {
                return None;
            }
            after_digit = false;
            continue;
        }
        let digit = c.to_digit(base)?;
        value = value.checked_mul(u64::from(base))?.checked_add(u64::from(digit))?;
        (after_digit, seen) = (true, true);
    }
    (seen && after_digit).then_some(value)
}

fn parse_int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = i128::from(parse_uint(digits)?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (Option<i64>, Option<u64>, Option<f64>) {
        let number = Number::of(text.as_bytes()).unwrap();
        (number.int, number.uint, number.float)
    }

    #[test]
    fn constants_take_every_form_that_fits() {
        assert_eq!(of("12"), (Some(12), Some(12), Some(12.0)));
        assert_eq!(of("-3"), (Some(-3), None, Some(-3.0)));
        assert_eq!(of("1e3"), (Some(1000), Some(1000), Some(1000.0)));
        assert_eq!(of("1.5"), (None, None, Some(1.5)));
        assert_eq!(of("0x_1F"), (Some(31), Some(31), Some(31.0)));
        assert_eq!(of("0b101"), (Some(5), Some(5), Some(5.0)));
        assert_eq!(of("017"), (Some(15), Some(15), Some(15.0)));
        assert_eq!(of("18446744073709551615").1, Some(u64::MAX));
        assert_eq!(Number::of_char(br"'\n'").unwrap().int, Some(10));
        assert_eq!(Number::of_complex(b"1e+2-3i").unwrap().complex, Some((100.0, -3.0)));
        assert_eq!(Number::of(b"2i").unwrap().complex, Some((0.0, 2.0)));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert_eq!(
            Number::of(b"18446744073709551616"),
            Err(NumberError::Overflow("\"18446744073709551616\"".into()))
        );
        assert_eq!(Number::of(b"1__2").unwrap_err().to_string(), "illegal number syntax: \"1__2\"");
        assert!(Number::of(b"+").is_err());
        assert!(Number::of_char(b"'ab'").is_err());
    }
}
