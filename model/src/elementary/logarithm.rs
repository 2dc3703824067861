//! Logarithms, by the method of Sun's FDLIBM (`e_log.c`, `s_log1p.c`):
//!
//! ```text
//! x = 2^k * (1 + f),  √½ ≤ 1 + f < √2      s = f / (2 + f)
//! ln(1 + f) = f - (f²/2 - s * (f²/2 + R)), where R is a polynomial in s²
//! ln x = k * ln 2 + ln(1 + f),              ln 2 in two parts
//! ```

use std::f64::consts::{FRAC_1_SQRT_2, LOG2_E, LOG10_E};

use super::parts::{power, split, with_power};

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
pub(super) const LN_2_UPPER: f64 = 0.6931471803691238;
/// ln 2 less the upper bits.
pub(super) const LN_2_LOWER: f64 = 1.9082149292705877e-10;
/// √½ - 1 and √2 - 1, rounded once.
const SQRT_HALF_LESS_1: f64 = -0.292_893_218_813_452_5;
const SQRT_2_LESS_1: f64 = 0.414_213_562_373_095_03;

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
    // Upstream takes the bits of subnormal numbers for those of normal ones.
    let (mut fraction, mut power) = (with_power(x, -1), power(x) + 1);
    if fraction <= FRAC_1_SQRT_2 {
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
    match split(x) {
        (0.5, power) => f64::from(power - 1),
        (fraction, power) => ln(fraction) * LOG2_E + f64::from(power),
    }
}

/// The logarithm to base 10.
pub fn log10(x: f64) -> f64 {
    ln(x) * LOG10_E
}

/// The natural logarithm of `1 + x`, exact for small `x`.
pub fn ln_1p(x: f64) -> f64 {
    if x.is_nan() || x < -1.0 {
        return f64::NAN;
    }
    if x == -1.0 {
        return f64::NEG_INFINITY;
    }
    if x == f64::INFINITY {
        return x;
    }
    let size = x.abs();
    if size < 2f64.powi(-54) {
        return x;
    }
    if size < 2f64.powi(-29) {
        return x - x * x * 0.5;
    }
    let near_zero = (SQRT_HALF_LESS_1..SQRT_2_LESS_1).contains(&x) && x != SQRT_HALF_LESS_1;
    let (f, k, lost, small) = if near_zero { (x, 0.0, 0.0, false) } else { above_zero(x) };
    let half = 0.5 * f * f;
    let lower = k * LN_2_LOWER + lost;
    if small {
        if f == 0.0 {
            return k * LN_2_UPPER + lower;
        }
        let r = half * (1.0 - 2.0 / 3.0 * f);
        return if k == 0.0 { f - r } else { k * LN_2_UPPER - ((r - lower) - f) };
    }
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * R.into_iter().rev().reduce(|sum, c| c + z * sum).unwrap_or(0.0);
    if k == 0.0 {
        return f - (half - s * (half + r));
    }
    k * LN_2_UPPER - ((half - (s * (half + r) + lower)) - f)
}

/// `1 + x = 2^k (1 + f)`: f, k, what the sum lost (as a part of it), and whether f is
/// within 2^-20 of nothing.
fn above_zero(x: f64) -> (f64, f64, f64, bool) {
    /// The fraction bits of √2.
    const OF_SQRT_2: u64 = 0x0006_a09e_667f_3bcd;
    let sum = 1.0 + x;
    let mut k = power(sum);
    let lost = if x >= 2f64.powi(53) {
        0.0
    } else if k > 0 {
        (1.0 - (sum - x)) / sum
    } else {
        (x - (sum - 1.0)) / sum
    };
    let mut bits = sum.to_bits() & ((1 << 52) - 1);
    let f = if bits < OF_SQRT_2 {
        with_power(sum, 0) - 1.0
    } else {
        k += 1;
        bits = ((1 << 52) - bits) >> 2;
        with_power(sum, -1) - 1.0
    };
    (f, f64::from(k), lost, bits == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_a_digit_off_at_most() {
        let mut rng = testkit::Rng::new(11);
        for _ in 0..100_000 {
            let x = f64::from_bits((1 << 52) + rng.below(0x7fe << 52));
            for (ours, library) in [
                (ln(x), x.ln()),
                (log2(x), x.log2()),
                (log10(x), x.log10()),
                (ln_1p(x), x.ln_1p()),
                (ln_1p(-1.0 / x), (-1.0 / x).ln_1p()),
            ] {
                if library.is_nan() {
                    assert!(ours.is_nan(), "{x}");
                    continue;
                }
                assert!((ours - library).abs() <= 4.0 * f64::EPSILON * library.abs().max(1.0), "{x}");
            }
        }
    }

    #[test]
    fn what_has_no_digits_is_exact() {
        for power in -1074..=1023 {
            let x = super::super::parts::join(1.0, power);
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
