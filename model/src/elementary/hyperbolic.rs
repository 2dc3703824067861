//! The hyperbolic functions and their inverses.

use std::f64::consts::LN_2;

use super::exponential::exp;
use super::logarithm::{ln, ln_1p};
use super::{odd, polynomial};

/// Beyond this `e^-x` does not count beside `e^x`.
const ONE_SIDED: f64 = 21.0;
/// 2^28: beyond it one does not count beside a square, nor, below its inverse, a square
/// beside one.
const GREAT: f64 = (1 << 28) as f64;

/// The hyperbolic sine: below one half a rational function (Hart & Cheney, 2029).
pub fn sinh(x: f64) -> f64 {
    const P: [f64; 4] = [
        -2.630_563_213_397_497e1,
        -2.894_211_355_989_564e3,
        -8.991_272_022_039_509e4,
        -6.307_673_640_497_717e5,
    ];
    const Q: [f64; 4] = [1.0, -1.736_789_535_582_337e2, 1.521_517_378_790_019e4, -6.307_673_640_497_717e5];
    odd(x, |x| {
        if x > ONE_SIDED {
            exp(x) * 0.5
        } else if x > 0.5 {
            let grown = exp(x);
            (grown - 1.0 / grown) * 0.5
        } else {
            let square = x * x;
            polynomial(square, P) * x / polynomial(square, Q)
        }
    })
}

/// The hyperbolic cosine.
pub fn cosh(x: f64) -> f64 {
    let grown = exp(x.abs());
    if x.abs() > ONE_SIDED { grown * 0.5 } else { (grown + 1.0 / grown) * 0.5 }
}

/// The hyperbolic tangent: below 0.625 a rational function (Cody & Waite).
pub fn tanh(x: f64) -> f64 {
    const P: [f64; 3] = [-9.643_991_794_250_523e-1, -9.928_772_310_019_185e1, -1.614_687_684_417_084_5e3];
    const Q: [f64; 4] = [1.0, 1.128_116_784_916_329_3e2, 2.235_488_390_601_004_5e3, 4.844_063_053_251_255e3];
    /// ln 2^127 / 2, beyond which one comes.
    const ONE_BEYOND: f64 = 0.5 * 88.029_691_931_113_05;
    odd(x, |x| {
        if x > ONE_BEYOND {
            1.0
        } else if x >= 0.625 {
            1.0 - 2.0 / (exp(2.0 * x) + 1.0)
        } else {
            let square = x * x;
            x + x * square * polynomial(square, P) / polynomial(square, Q)
        }
    })
}

/// The inverse of the hyperbolic sine.
pub fn asinh(x: f64) -> f64 {
    if !x.is_finite() {
        return x;
    }
    odd(x, |x| {
        if x > GREAT {
            ln(x) + LN_2
        } else if x > 2.0 {
            ln(2.0 * x + 1.0 / ((x * x + 1.0).sqrt() + x))
        } else if x < 1.0 / GREAT {
            x
        } else {
            ln_1p(x + x * x / (1.0 + (1.0 + x * x).sqrt()))
        }
    })
}

/// The inverse of the hyperbolic cosine.
pub fn acosh(x: f64) -> f64 {
    if x < 1.0 || x.is_nan() {
        f64::NAN
    } else if x == 1.0 {
        0.0
    } else if x >= GREAT {
        ln(x) + LN_2
    } else if x > 2.0 {
        ln(2.0 * x - 1.0 / (x + (x * x - 1.0).sqrt()))
    } else {
        let t = x - 1.0;
        ln_1p(t + (2.0 * t + t * t).sqrt())
    }
}

/// The inverse of the hyperbolic tangent.
pub fn atanh(x: f64) -> f64 {
    odd(x, |x| {
        if x > 1.0 || x.is_nan() {
            f64::NAN
        } else if x == 1.0 {
            f64::INFINITY
        } else if x < 1.0 / GREAT {
            x
        } else if x < 0.5 {
            let double = x + x;
            0.5 * ln_1p(double + double * x / (1.0 - x))
        } else {
            0.5 * ln_1p((x + x) / (1.0 - x))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_near_a_librarys() {
        let mut rng = testkit::Rng::new(14);
        for n in 0..100_000 {
            let x = (rng.below(1 << 52) as f64 - 2f64.powi(51)) / 2f64.powi(40 + n % 40);
            let part = (rng.below(1 << 52) as f64 / (1u64 << 51) as f64) - 1.0;
            for (ours, library) in [
                (tanh(x), x.tanh()),
                (asinh(x), x.asinh()),
                (acosh(1.01 + x.abs()), (1.01 + x.abs()).acosh()),
                (atanh(part * 0.99), (part * 0.99).atanh()),
                (sinh(part * 30.0), (part * 30.0).sinh()),
                (cosh(part * 30.0), (part * 30.0).cosh()),
            ] {
                let far = (ours - library).abs();
                assert!(far <= 1e-13 * library.abs() || far <= 1e-16, "{x} {part}: {ours} {library}");
            }
        }
    }

    #[test]
    fn special_cases_are_the_librarys() {
        let functions: [(fn(f64) -> f64, fn(f64) -> f64); 6] = [
            (sinh, f64::sinh),
            (cosh, f64::cosh),
            (tanh, f64::tanh),
            (asinh, f64::asinh),
            (acosh, f64::acosh),
            (atanh, f64::atanh),
        ];
        for (ours, library) in functions {
            for x in [0.0, -0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
                let (a, b) = (ours(x), library(x));
                let same = a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                assert!(same || (a - b).abs() < 1e-15, "{x}: {a} {b}");
            }
        }
    }
}
