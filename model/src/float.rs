//! Floats as Go writes and reads them: upstream's texts carry them so.
//!
//! The shortest digits that read back to the same float come from one place
//! (`Digits`); the layouts only set the point or the exponent:
//!
//! ```text
//! digits 2349209324, point after 7
//!   f  2349209.324
//!   e  2.349209324e+06
//!   g  e where the exponent is below -4 or above 5, else f
//! ```

mod parse;

pub use parse::{FloatError, parse};

/// The shortest decimal digits of a finite float: `0.d₁d₂… × 10^point`.
struct Digits {
    negative: bool,
    digits: [u8; 20],
    len: usize,
    /// Where the decimal point stands, counted from before the first digit.
    point: i32,
}

impl Digits {
    fn of(value: f64) -> Digits {
        debug_assert!(value.is_finite());
        let mut result = Digits { negative: value.is_sign_negative(), digits: [0; 20], len: 0, point: 0 };
        if value == 0.0 {
            result.point = 1;
            result.digits[0] = b'0';
            result.len = 1;
            return result;
        }
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value.abs()).as_bytes();
        let (mantissa, exponent) = match text.iter().position(|b| *b == b'e') {
            Some(at) => (&text[..at], small_integer(&text[at + 1..])),
            None => (text, 0),
        };
        let mut whole_digits = 0;
        let mut seen_point = false;
        let mut leading_zeros_after_point = 0;
        let mut started = false;
        // At most 17 digits are significant; the printer pads whole numbers with zeros.
        let mut all = [0u8; 32];
        let mut all_len = 0;
        for &byte in mantissa {
            match byte {
                b'.' => seen_point = true,
                b'0' if !started => leading_zeros_after_point += i32::from(seen_point),
                digit => {
                    started = true;
                    whole_digits += i32::from(!seen_point);
                    all[all_len] = digit;
                    all_len += 1;
                }
            }
        }
        while all_len > 1 && all[all_len - 1] == b'0' {
            all_len -= 1;
        }
        result.digits[..all_len].copy_from_slice(&all[..all_len]);
        result.len = all_len;
        result.point = exponent + if whole_digits > 0 { whole_digits } else { -leading_zeros_after_point };
        result
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.len]
    }
}

fn small_integer(text: &[u8]) -> i32 {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let magnitude = digits.iter().fold(0, |sum, byte| sum * 10 + i32::from(byte - b'0'));
    if negative { -magnitude } else { magnitude }
}

/// The name of a value that has no digits.
fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("+Inf")
    } else if value == f64::NEG_INFINITY {
        Some("-Inf")
    } else {
        None
    }
}

fn lay_plain(out: &mut Vec<u8>, value: &Digits) {
    if value.negative {
        out.push(b'-');
    }
    let digits = value.as_bytes();
    let Ok(whole @ 1..) = usize::try_from(value.point) else {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', value.point.unsigned_abs() as usize));
        out.extend_from_slice(digits);
        return;
    };
    if whole >= digits.len() {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', whole - digits.len()));
    } else {
        out.extend_from_slice(&digits[..whole]);
        out.push(b'.');
        out.extend_from_slice(&digits[whole..]);
    }
}

fn lay_exponent(out: &mut Vec<u8>, value: &Digits) {
    if value.negative {
        out.push(b'-');
    }
    let digits = value.as_bytes();
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    push_exponent(out, value.point - 1);
}

fn push_exponent(out: &mut Vec<u8>, exponent: i32) {
    out.push(b'e');
    out.push(if exponent < 0 { b'-' } else { b'+' });
    let magnitude = exponent.unsigned_abs();
    if magnitude >= 100 {
        out.push(digit(magnitude / 100));
    }
    out.push(digit(magnitude / 10 % 10));
    out.push(digit(magnitude % 10));
}

fn digit(of: u32) -> u8 {
    b'0' + u8::try_from(of).expect("a decimal digit is below ten")
}

fn to_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("only ASCII is written")
}

/// Appends a float without exponent, as `strconv.FormatFloat(v, 'f', -1, 64)`.
pub fn write_f(out: &mut Vec<u8>, value: f64) {
    match special(value) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => lay_plain(out, &Digits::of(value)),
    }
}

/// Appends the shorter of both layouts, as `strconv.FormatFloat(v, 'g', -1, 64)`
/// and `fmt`'s `%g`.
pub fn write_g(out: &mut Vec<u8>, value: f64) {
    if let Some(name) = special(value) {
        out.extend_from_slice(name.as_bytes());
        return;
    }
    let digits = Digits::of(value);
    if (-4..6).contains(&(digits.point - 1)) {
        lay_plain(out, &digits);
    } else {
        lay_exponent(out, &digits);
    }
}

/// Appends a sample value as query answers carry it: without exponent unless
/// it is below 1e-6 or from 1e21 on. Not quoted.
pub fn write_json(out: &mut Vec<u8>, value: f64) {
    if let Some(name) = special(value) {
        out.extend_from_slice(name.as_bytes());
        return;
    }
    let magnitude = value.abs();
    let digits = Digits::of(value);
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        lay_exponent(out, &digits);
    } else {
        lay_plain(out, &digits);
    }
}

/// A float without exponent, as `strconv.FormatFloat(v, 'f', -1, 64)`.
///
/// ```
/// assert_eq!(model::float::format_f(1e21), "1000000000000000000000");
/// assert_eq!(model::float::format_f(f64::INFINITY), "+Inf");
/// ```
pub fn format_f(value: f64) -> String {
    let mut out = Vec::with_capacity(24);
    write_f(&mut out, value);
    to_text(out)
}

/// A float as Go's `%g`.
///
/// ```
/// assert_eq!(model::float::format_g(2349209.324), "2.349209324e+06");
/// assert_eq!(model::float::format_g(123400.0), "123400");
/// assert_eq!(model::float::format_g(0.00001), "1e-05");
/// ```
pub fn format_g(value: f64) -> String {
    let mut out = Vec::with_capacity(24);
    write_g(&mut out, value);
    to_text(out)
}

/// A sample value as query answers carry it, not quoted; see [`write_json`].
///
/// ```
/// assert_eq!(model::float::format_json(1e20), "100000000000000000000");
/// assert_eq!(model::float::format_json(1e21), "1e+21");
/// assert_eq!(model::float::format_json(2.5e-7), "2.5e-07");
/// ```
pub fn format_json(value: f64) -> String {
    let mut out = Vec::with_capacity(24);
    write_json(&mut out, value);
    to_text(out)
}

/// A float with an exponent of at least two digits and `decimals` digits after
/// the point, as Go's `%.Ne`; `None` writes as many as are needed.
///
/// ```
/// assert_eq!(model::float::format_e(1234.5, Some(2)), "1.23e+03");
/// assert_eq!(model::float::format_e(1234.5, None), "1.2345e+03");
/// ```
pub fn format_e(value: f64, decimals: Option<usize>) -> String {
    if let Some(name) = special(value) {
        return name.to_owned();
    }
    let mut out = Vec::with_capacity(24);
    let Some(decimals) = decimals else {
        lay_exponent(&mut out, &Digits::of(value));
        return to_text(out);
    };
    let text = format!("{value:.decimals$e}");
    let (mantissa, exponent) = text.split_once('e').expect("the exponent form has an exponent");
    out.extend_from_slice(mantissa.as_bytes());
    push_exponent(&mut out, small_integer(exponent.as_bytes()));
    to_text(out)
}

/// A float as OpenMetrics and normalised `le` values have it: `%g`, with `.0`
/// where there is neither point nor exponent.
///
/// ```
/// assert_eq!(model::float::format_open_metrics(1.0), "1.0");
/// assert_eq!(model::float::format_open_metrics(1e21), "1e+21");
/// assert_eq!(model::float::format_open_metrics(f64::INFINITY), "+Inf");
/// ```
pub fn format_open_metrics(value: f64) -> String {
    let mut text = format_g(value);
    if value.is_finite() && !text.contains(['e', '.']) {
        text.push_str(".0");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn g_switches_to_exponents_at_both_ends() {
        assert_eq!(format_g(0.0001), "0.0001");
        assert_eq!(format_g(0.00001234), "1.234e-05");
        assert_eq!(format_g(999999.0), "999999");
        assert_eq!(format_g(-0.0), "-0");
        assert_eq!(format_g(5e-324), "5e-324");
        assert_eq!(format_g(f64::MAX), "1.7976931348623157e+308");
        assert_eq!(format_g(f64::NAN), "NaN");
    }

    #[test]
    fn json_values_have_no_exponent_in_the_middle() {
        assert_eq!(format_json(0.000001), "0.000001");
        assert_eq!(format_json(0.00000099), "9.9e-07");
        assert_eq!(format_json(123456789012345680000.0), "123456789012345680000");
        assert_eq!(format_json(-0.0), "-0");
        assert_eq!(format_json(f64::NEG_INFINITY), "-Inf");
    }

    #[test]
    fn fixed_digits_round() {
        assert_eq!(format_e(0.0, Some(6)), "0.000000e+00");
        assert_eq!(format_e(9.9999, Some(2)), "1.00e+01");
        assert_eq!(format_e(1e-300, Some(0)), "1e-300");
    }

    #[test]
    fn a_tie_between_two_shortest_texts_goes_to_the_even_digit() {
        // …760.125 and …760.375, as Go prints them; the standard library rounds up.
        assert_eq!(format_f(f64::from_bits(4_820_249_279_927_308_548)), "184414945882760.12");
        assert_eq!(format_f(f64::from_bits(4_820_249_279_927_308_556)), "184414945882760.38");
    }

    proptest! {
        #[test]
        fn f_equals_the_standard_library(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let (ours, std) = (format_f(value), format!("{value}"));
            if ours != std {
                // Two shortest texts are equally near.
                let is_even = ours.trim_end_matches('0').bytes().last().is_some_and(|digit| digit % 2 == 0);
                prop_assert!(is_even && ours.len() == std.len(), "{} / {}", ours, std);
                prop_assert_eq!(ours.parse::<f64>(), Ok(value));
            }
        }

        #[test]
        fn every_layout_reads_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            for text in [format_f(value), format_g(value), format_json(value), format_e(value, None)] {
                prop_assert_eq!(parse(&text).map(f64::to_bits), Ok(value.to_bits()), "{}", text);
            }
        }

        #[test]
        fn exponents_equal_the_standard_library(value in -1e30..1e30f64) {
            let std = format!("{value:e}");
            let (mantissa, _) = std.split_once('e').unwrap();
            let ours = format_e(value, None);
            prop_assert_eq!(ours.split_once('e').unwrap().0, mantissa);
        }
    }
}
