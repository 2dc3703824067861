//! Powers of e, of two and of any number.

use std::f64::consts::LOG2_E;

use super::logarithm::{self, ln};
use super::parts::{join, split};

/// The powers of e: `e^x = 2^k e^r`, where the remainder r is at most ln 2 / 2.
///
/// `e^(r/16) - 1` comes of a Taylor series, and four times of `y` follows `y (2 + y)`,
/// which is that of the squared. As upstream's on x86-64, infinity comes where k would
/// be 1024, half a step before numbers end.
pub fn exp(x: f64) -> f64 {
    const END: f64 = 709.782712893384;
    /// ln 2 in two parts; a whole number times the upper one is exact.
    const LN_2_UPPER: f64 = 0.693_147_180_559_662_956_511_601_805_686_950_683_593_75;
    const LN_2_LOWER: f64 = 0.282_352_905_630_315_771_225_884_481_750_134_360_255_254_120_68e-12;
    /// Of 8, 7 … 1.
    const INVERSE_FACTORIALS: [f64; 8] =
        [1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x > END {
        return f64::INFINITY;
    }
    // Anything that is below all numbers will do for what is below -10,000.
    let k = (x.max(-1e4) * LOG2_E).round_ties_even();
    let remainder = (-k).mul_add(LN_2_LOWER, (-k).mul_add(LN_2_UPPER, x.max(-1e4)));
    let t = remainder * 0.0625;
    let series = INVERSE_FACTORIALS.into_iter().reduce(|sum, c| sum.mul_add(t, c)).unwrap_or(0.0);
    let mut less_one = t * series;
    for _ in 0..3 {
        less_one *= less_one + 2.0;
    }
    let y = less_one.mul_add(less_one + 2.0, 1.0);
    match k as i32 {
        1024.. => f64::INFINITY,
        k @ -1022..1024 => y * join(1.0, k),
        // In two steps, of which the second rounds.
        k @ -1075..-1022 => y * join(1.0, k + 1022) * f64::MIN_POSITIVE,
        _ => 0.0,
    }
}

/// The powers of two.
pub fn exp2(x: f64) -> f64 {
    /// Of the odd powers in `r (e^r + 1) / (e^r - 1)`.
    const P: [f64; 5] = [
        4.138_136_797_057_238_5e-8,
        -1.653_390_220_546_525_2e-6,
        6.613_756_321_437_934e-5,
        -2.777_777_777_701_559_3e-3,
        1.666_666_666_666_666_6e-1,
    ];
    if x.is_nan() {
        return x;
    }
    if x > 1_023.999_999_999_999_9 {
        return f64::INFINITY;
    }
    if x < -1074.0 {
        return 0.0;
    }
    let k = (x + 0.5f64.copysign(x)).trunc();
    let t = x - k;
    let (upper, lower) = (t * logarithm::LN_2_UPPER, -t * logarithm::LN_2_LOWER);
    let r = upper - lower;
    let r2 = r * r;
    let c = r - r2 * super::polynomial(r2, P);
    let y = 1.0 - ((lower - (r * c) / (2.0 - c)) - upper);
    join(y, k as i32)
}

/// `x^y`, with the special cases of IEEE 754-2008, 9.2.1.
pub fn pow(x: f64, y: f64) -> f64 {
    if y == 0.0 || x == 1.0 {
        return 1.0;
    }
    if y == 1.0 {
        return x;
    }
    if x.is_nan() || y.is_nan() {
        return f64::NAN;
    }
    if x == 0.0 || x.is_infinite() {
        let grows = (x == 0.0) == (y < 0.0);
        let size = if grows { f64::INFINITY } else { 0.0 };
        return if x.is_sign_negative() && is_odd(y) { -size } else { size };
    }
    if y.is_infinite() || y.abs() >= 2f64.powi(63) {
        // An even number too great for any x but -1.
        return match x.abs() {
            1.0 => 1.0,
            size if (size < 1.0) == (y > 0.0) => 0.0,
            _ => f64::INFINITY,
        };
    }
    if y == 0.5 {
        return x.sqrt();
    }
    if y == -0.5 {
        return 1.0 / x.sqrt();
    }
    let (mut whole, mut rest) = (y.abs().trunc(), y.abs().fract());
    if rest != 0.0 && x < 0.0 {
        return f64::NAN;
    }
    let (mut fraction, mut power) = (1.0, 0i32);
    if rest != 0.0 {
        if rest > 0.5 {
            rest -= 1.0;
            whole += 1.0;
        }
        fraction = exp(rest * ln(x));
    }
    let (mut square, mut square_power) = split(x);
    let mut left = whole as u64;
    while left != 0 {
        if square_power.abs() > 1 << 12 {
            // Far from all numbers already: the power alone decides.
            power += square_power;
            break;
        }
        if left & 1 == 1 {
            fraction *= square;
            power += square_power;
        }
        square *= square;
        square_power *= 2;
        if square < 0.5 {
            square += square;
            square_power -= 1;
        }
        left >>= 1;
    }
    if y < 0.0 {
        return join(1.0 / fraction, -power);
    }
    join(fraction, power)
}

/// Whether a number is whole and odd; those of 2^53 and more are even.
fn is_odd(y: f64) -> bool {
    y.abs() < 2f64.powi(53) && y.fract() == 0.0 && y as i64 & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_near_a_librarys() {
        let mut rng = testkit::Rng::new(12);
        for _ in 0..100_000 {
            let x = rng.below(1 << 40) as f64 / (1u64 << 30) as f64 - 512.0;
            let y = rng.below(1 << 40) as f64 / (1u64 << 36) as f64 - 8.0;
            for (ours, library) in [
                (exp(x), x.exp()),
                (exp2(x), x.exp2()),
                (pow(x.abs(), y), x.abs().powf(y)),
                (pow(x, y.trunc()), x.powf(y.trunc())),
            ] {
                assert!(
                    (ours - library).abs() <= 64.0 * f64::EPSILON * library.abs(),
                    "{x} {y}: {ours} {library}"
                );
            }
        }
    }

    #[test]
    fn special_cases_are_the_librarys() {
        let numbers = [
            0.0,
            0.5,
            1.0,
            1.5,
            2.0,
            3.0,
            1e15,
            9007199254740991.0,
            1e16,
            1e19,
            1e300,
            5e-324,
            f64::INFINITY,
            f64::NAN,
        ];
        let signed = || numbers.into_iter().flat_map(|x| [x, -x]);
        for (x, y) in signed().flat_map(|x| signed().map(move |y| (x, y))) {
            let (ours, library) = (pow(x, y), x.powf(y));
            let near = (ours - library).abs() <= 1e-12 * library.abs();
            assert!(
                near || ours.to_bits() == library.to_bits() || ours.is_nan() && library.is_nan(),
                "{x}^{y} {ours} {library}"
            );
        }
        assert_eq!((exp(f64::NEG_INFINITY), exp(-1e300), exp(-746.0)), (0.0, 0.0, 0.0));
        assert_eq!((exp(710.0), exp(709.5), exp2(1024.0)), (f64::INFINITY, f64::INFINITY, f64::INFINITY));
        assert_eq!((exp(0.0), exp2(-1074.0), exp2(10.0)), (1.0, 5e-324, 1024.0));
        assert!(exp(f64::NAN).is_nan() && exp2(f64::NAN).is_nan());
    }
}
