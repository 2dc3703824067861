//! Elementary functions, to the bit as upstream computes them on x86-64.
//!
//! A library rounds the last digit otherwise here and there, and a label, a warning or
//! a comparison shows it. Each function follows the published method that upstream's
//! runtime follows, in the same order of operations:
//!
//! | functions | method |
//! |---|---|
//! | `ln` `log2` `log10` `ln_1p` | Sun's FDLIBM: a polynomial in f / (2 + f) |
//! | `exp` | Shibata 2010: a Taylor series of x / 16, squared four times, in fused steps |
//! | `exp2` | FDLIBM: a rational function of the remainder |
//! | `pow` | squarings for the whole part of the exponent, `exp` for the rest |
//! | `sin` `cos` `tan` `atan` `tanh` | Moshier's Cephes: polynomials on an octant, an eighth … |
//! | `sinh` | Hart & Cheney 2029, below one half |
//! | `asinh` `acosh` `atanh` | FDLIBM, by `ln_1p` |
//!
//! Upstream's `exp` has fused steps where the processor has them (most x86-64 ones of
//! servers do); here they are always fused, so that every machine gives the same answers.

mod circle;
mod exponential;
mod hyperbolic;
mod logarithm;
mod parts;

#[cfg(test)]
mod fingerprints;

pub use circle::{acos, asin, atan, atan2, cos, sin, tan};
pub use exponential::{exp, exp2, pow};
pub use hyperbolic::{acosh, asinh, atanh, cosh, sinh, tanh};
pub use logarithm::{ln, ln_1p, log2, log10};

/// A polynomial, its highest coefficient first.
#[inline]
fn polynomial<const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
    coefficients.into_iter().reduce(|sum, c| sum * x + c).unwrap_or(0.0)
}

/// An odd function, of what it is for positive numbers; the sign of zero stays.
#[inline]
fn odd(x: f64, of_positive: impl Fn(f64) -> f64) -> f64 {
    match x {
        0.0 => x,
        x if x < 0.0 => -of_positive(-x),
        x => of_positive(x),
    }
}
