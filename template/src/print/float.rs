//! Floats in every form of Go's `strconv.FormatFloat`.

use std::fmt::Write;

/// Digits behind which a float has only zeros.
const DIGITS_MAX: usize = 1100;

/// The decimal digits of a float: `0.d₁d₂… × 10^point`, no zeros at the end.
struct Decimal {
    digits: String,
    point: i32,
}

impl Decimal {
    /// From Rust's exponent form.
    fn parse(text: &str) -> Decimal {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let all: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        let digits = all.trim_end_matches('0').to_owned();
        if digits.is_empty() {
            return Decimal { digits, point: 0 };
        }
        Decimal { digits, point: exponent.parse::<i32>().unwrap_or(0) + 1 }
    }

    fn shortest(value: f64) -> Decimal {
        Decimal::parse(&format!("{value:e}"))
    }

    /// Rounded to so many digits.
    fn rounded(value: f64, digits: usize) -> Decimal {
        Decimal::parse(&format!("{value:.*e}", digits.clamp(1, DIGITS_MAX) - 1))
    }
}

/// A float by verb (`e E f g G b x X`) and precision, none for the shortest that
/// reads back. Infinities have their sign.
pub(crate) fn format(value: f64, verb: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let magnitude = value.abs();
    let body = match verb {
        'e' | 'E' => exponent_form(magnitude, verb, precision),
        'f' => plain_form(magnitude, precision),
        'g' | 'G' => general_form(magnitude, verb, precision),
        'b' => binary_form(magnitude),
        _ => hexadecimal_form(magnitude, verb, precision),
    };
    format!("{sign}{body}")
}

fn exponent_form(value: f64, verb: char, precision: Option<usize>) -> String {
    let decimal = match precision {
        None => Decimal::shortest(value),
        Some(precision) => Decimal::rounded(value, precision + 1),
    };
    let decimals = precision.unwrap_or_else(|| decimal.digits.len().saturating_sub(1));
    lay_exponent(&decimal, verb, decimals)
}

fn lay_exponent(decimal: &Decimal, verb: char, decimals: usize) -> String {
    let mut out = decimal.digits.get(..1).unwrap_or("0").to_owned();
    if decimals > 0 {
        let rest = decimal.digits.get(1..).unwrap_or("");
        let shown = &rest[..rest.len().min(decimals)];
        out.push('.');
        out.push_str(shown);
        out.extend(std::iter::repeat_n('0', decimals - shown.len()));
    }
    let exponent = if decimal.digits.is_empty() { 0 } else { decimal.point - 1 };
    let letter = if verb == 'e' || verb == 'g' { 'e' } else { 'E' };
    let sign = if exponent < 0 { '-' } else { '+' };
    let _ = write!(out, "{letter}{sign}{:02}", exponent.abs());
    out
}

fn plain_form(value: f64, precision: Option<usize>) -> String {
    let Some(precision) = precision else { return format!("{value}") };
    let mut out = format!("{value:.*}", precision.min(DIGITS_MAX));
    out.extend(std::iter::repeat_n('0', precision.saturating_sub(DIGITS_MAX)));
    out
}

fn general_form(value: f64, verb: char, precision: Option<usize>) -> String {
    let decimal = match precision {
        None => Decimal::shortest(value),
        Some(precision) => Decimal::rounded(value, precision.max(1)),
    };
    let count = decimal.digits.len();
    let limit = match precision {
        None => 6,
        Some(precision) => {
            let precision = precision.max(1);
            let reaches_point = i32::try_from(count).unwrap_or(i32::MAX) >= decimal.point;
            if precision > count && reaches_point { count } else { precision }
        }
    };
    let exponent = if count == 0 { -1 } else { decimal.point - 1 };
    if count > 0 && (exponent < -4 || exponent >= i32::try_from(limit).unwrap_or(i32::MAX)) {
        return lay_exponent(&decimal, verb, count - 1);
    }
    lay_plain(&decimal)
}

/// The digits with the point set, nothing rounded.
fn lay_plain(decimal: &Decimal) -> String {
    let digits = decimal.digits.as_str();
    let Ok(whole @ 1..) = usize::try_from(decimal.point) else {
        if digits.is_empty() {
            return "0".to_owned();
        }
        return format!("0.{}{digits}", "0".repeat(decimal.point.unsigned_abs() as usize));
    };
    if whole >= digits.len() {
        return format!("{digits}{}", "0".repeat(whole - digits.len()));
    }
    format!("{}.{}", &digits[..whole], &digits[whole..])
}

/// Mantissa (53 bits) and the exponent of its last bit.
fn parts(value: f64) -> (u64, i64) {
    let bits = value.to_bits();
    let field = (bits >> 52 & 0x7ff) as i64;
    let mantissa = bits & ((1 << 52) - 1);
    if field == 0 { (mantissa, -1074) } else { (mantissa | 1 << 52, field - 1075) }
}

fn binary_form(value: f64) -> String {
    let (mantissa, exponent) = parts(value);
    format!("{mantissa}p{exponent:+}")
}

fn hexadecimal_form(value: f64, verb: char, precision: Option<usize>) -> String {
    let (mut mantissa, mut exponent) = parts(value);
    if mantissa == 0 {
        exponent = 0;
    } else {
        // The highest bit goes to bit 60, so that each hex digit is four bits from the top.
        let shift = i64::from(mantissa.leading_zeros()) - 3;
        mantissa <<= shift;
        exponent += 60 - shift;
    }
    if let Some(precision @ 0..15) = precision {
        let kept = precision as u32 * 4;
        let rest = (mantissa << kept) & ((1 << 60) - 1);
        mantissa >>= 60 - kept;
        if rest | (mantissa & 1) > 1 << 59 {
            mantissa += 1;
        }
        mantissa <<= 60 - kept;
        if mantissa & (1 << 61) != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let mut out = format!("0x{}", mantissa >> 60 & 1);
    mantissa <<= 4;
    let mut digits = String::new();
    match precision {
        None => {
            while mantissa != 0 {
                let _ = write!(digits, "{:x}", mantissa >> 60);
                mantissa <<= 4;
            }
        }
        Some(precision) => {
            for _ in 0..precision {
                let _ = write!(digits, "{:x}", mantissa >> 60);
                mantissa <<= 4;
            }
        }
    }
    if !digits.is_empty() {
        out.push('.');
        out.push_str(&digits);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let _ = write!(out, "p{sign}{:02}", exponent.abs());
    if verb == 'X' { out.to_uppercase() } else { out }
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn every_form_reads_as_in_go() {
        for (value, verb, precision, text) in [
            (1e6, 'g', None, "1e+06"),
            (123456.0, 'g', None, "123456"),
            (1048576.0, 'g', None, "1.048576e+06"),
            (0.0001, 'g', None, "0.0001"),
            (0.00001, 'g', None, "1e-05"),
            (1000.0, 'g', Some(4), "1000"),
            (100000.0, 'g', Some(4), "1e+05"),
            (12.3456, 'g', Some(4), "12.35"),
            (0.0, 'g', Some(4), "0"),
            (-0.0, 'g', None, "-0"),
            (2.5, 'f', Some(0), "2"),
            (3.5, 'f', Some(0), "4"),
            (1.5, 'f', Some(3), "1.500"),
            (1e21, 'f', None, "1000000000000000000000"),
            (1.5, 'e', Some(6), "1.500000e+00"),
            (0.0, 'e', Some(2), "0.00e+00"),
            (12345.0, 'E', None, "1.2345E+04"),
            (1.0, 'b', None, "4503599627370496p-52"),
            (1.0, 'x', None, "0x1p+00"),
            (1.5, 'x', Some(3), "0x1.800p+00"),
            (-0.1, 'X', None, "-0X1.999999999999AP-04"),
            (5e-324, 'x', None, "0x1p-1074"),
            (0.0, 'x', None, "0x0p+00"),
            (f64::INFINITY, 'f', None, "+Inf"),
        ] {
            assert_eq!(format(value, verb, precision), text, "{value} {verb} {precision:?}");
        }
    }
}
