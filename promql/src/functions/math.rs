//! Functions of one number, and Go's rules where they differ from Rust's.

use model::elementary;

/// Go's `math.Max`: NaN wins, unless the other is +Inf.
pub(crate) fn go_max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { b } else { a }
    } else if a > b {
        a
    } else {
        b
    }
}

/// Go's `math.Min`: NaN wins, unless the other is -Inf.
pub(crate) fn go_min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { a } else { b }
    } else if a < b {
        a
    } else {
        b
    }
}

/// A function of one number by its PromQL name.
pub(crate) fn by_name(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => elementary::exp,
        "sqrt" => f64::sqrt,
        "ln" => elementary::ln,
        "log2" => elementary::log2,
        "log10" => elementary::log10,
        "sin" => elementary::sin,
        "cos" => elementary::cos,
        "tan" => elementary::tan,
        "asin" => elementary::asin,
        "acos" => elementary::acos,
        "atan" => elementary::atan,
        "sinh" => elementary::sinh,
        "cosh" => elementary::cosh,
        "tanh" => elementary::tanh,
        "asinh" => elementary::asinh,
        "acosh" => elementary::acosh,
        "atanh" => elementary::atanh,
        "rad" => |v| v * std::f64::consts::PI / 180.0,
        "deg" => |v| v * 180.0 / std::f64::consts::PI,
        "sgn" => |v| {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        },
        _ => return None,
    })
}

/// `round(v, to)`: ties up, by the inverse as it is more exact.
pub(crate) fn round_to(value: f64, to_inverse: f64) -> f64 {
    (value * to_inverse + 0.5).floor() / to_inverse
}

/// `clamp` with Go's rules for NaN.
pub(crate) fn clamp(value: f64, min: f64, max: f64) -> f64 {
    go_max(min, go_min(max, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinity_beats_nan_and_nan_beats_numbers() {
        assert_eq!(go_max(f64::INFINITY, f64::NAN), f64::INFINITY);
        assert!(go_max(1.0, f64::NAN).is_nan());
        assert!(go_min(f64::NAN, 1.0).is_nan());
        assert!(go_max(-0.0, 0.0).is_sign_positive());
    }
}
