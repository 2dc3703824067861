//! Logarithms to the bit as upstream computes them on x86-64.
//!
//! A library's `ln` may round the last digit otherwise, and a label or a warning shows
//! all digits. The method is the widely used one of Sun's FDLIBM (`e_log.c`):
//!
//! ```text
//! x = 2^k * (1 + f),  √½ ≤ 1 + f < √2      s = f / (2 + f)
//! ln(1 + f) = f - (f²/2 - s * (f²/2 + R)), where R is a polynomial in s²
//! ln x = k * ln 2 + ln(1 + f),              ln 2 in two parts
//! ```

use std::f64::consts::{FRAC_1_SQRT_2, LOG2_E, LOG10_E};

/// Coefficients of R: of s², s⁴, s⁶ and so on.
const R: [f64; 7] = [
    0.6666666666666735,
    0.3999999999940942,
    0.2857142874366239,
    0.22222198432149784,
    0.1818357216161805,
    0.15313837699209373,
    0.14798198605106586,
];
/// The upper bits of ln 2; `k` times that is exact.
const LN_2_UPPER: f64 = 0.6931471803691238;
/// ln 2 less the upper bits.
const LN_2_LOWER: f64 = 1.9082149292705877e-10;

/// A positive finite number as a fraction from ½ to 1 and a power of two.
fn fraction_and_power(x: f64) -> (f64, i32) {
    const BIAS: i32 = 1022;
    // Numbers with fewer bits than others are moved to where they have all.
    const UP: i32 = 54;
    if x < f64::MIN_POSITIVE {
        let (fraction, power) = fraction_and_power(x * (1u64 << UP) as f64);
        return (fraction, power - UP);
    }
    let bits = x.to_bits();
    let power = (bits >> 52) as i32 - BIAS;
    (f64::from_bits(bits & ((1 << 52) - 1) | (BIAS as u64) << 52), power)
}

/// The natural logarithm.
pub fn ln(x: f64) -> f64 {
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    let (mut fraction, mut power) = fraction_and_power(x);
    if fraction < FRAC_1_SQRT_2 {
        fraction *= 2.0;
        power -= 1;
    }
    let (f, k) = (fraction - 1.0, f64::from(power));
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    // Every other coefficient, so that two chains are computed side by side.
    let odd = s2 * (R[0] + s4 * (R[2] + s4 * (R[4] + s4 * R[6])));
    let even = s4 * (R[1] + s4 * (R[3] + s4 * R[5]));
    let r = odd + even;
    let half = 0.5 * f * f;
    k * LN_2_UPPER - ((half - (s * (half + r) + k * LN_2_LOWER)) - f)
}

/// The logarithm to base 2, exact for powers of two.
pub fn log2(x: f64) -> f64 {
    if x.is_nan() || x <= 0.0 || x == f64::INFINITY {
        return ln(x);
    }
    match fraction_and_power(x) {
        (0.5, power) => f64::from(power - 1),
        (fraction, power) => ln(fraction) * LOG2_E + f64::from(power),
    }
}

/// The logarithm to base 10.
pub fn log10(x: f64) -> f64 {
    ln(x) * LOG10_E
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_a_digit_off_at_most() {
        let mut rng = testkit::Rng::new(11);
        for _ in 0..100_000 {
            let x = f64::from_bits(rng.below(0x7ff << 52));
            for (ours, library) in [(ln(x), x.ln()), (log2(x), x.log2()), (log10(x), x.log10())] {
                assert!((ours - library).abs() <= 4.0 * f64::EPSILON * library.abs().max(1.0), "{x}");
            }
        }
    }

    #[test]
    fn what_has_no_digits_is_exact() {
        for power in -1074..=1023 {
            let x = 2f64.powi(power.max(-1022)) * 2f64.powi((power + 1022).min(0));
            assert_eq!(log2(x), f64::from(power));
        }
        for f in [ln, log2, log10] {
            assert_eq!((f(1.0), f(0.0), f(-0.0)), (0.0, f64::NEG_INFINITY, f64::NEG_INFINITY));
            assert_eq!(f(f64::INFINITY), f64::INFINITY);
            assert!(f(-1.0).is_nan() && f(f64::NEG_INFINITY).is_nan() && f(f64::NAN).is_nan());
        }
    }

    #[test]
    fn a_last_digit_is_upstreams() {
        // From answers of 3.14; a library rounds the first otherwise.
        assert_eq!(log2(0.8678), -0.20456550873270699);
        assert_eq!(log2(20.5), 4.357552004618084);
        assert_eq!(log10(2.5), 0.3979400086720376);
        assert_eq!(log10(7.0), 0.8450980400142568);
        assert_eq!(ln(7.3), 1.9878743481543455);
    }
}
