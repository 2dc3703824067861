//! A number taken apart into a fraction and a power of two, and put together.

const BIAS: i32 = 1023;
const FRACTION: u64 = (1 << 52) - 1;
const SIGN: u64 = 1 << 63;

/// The power of two in a number's bits, off by one from [`split`]'s; of subnormal
/// numbers that of the smallest normal ones, less one.
pub(super) fn power(x: f64) -> i32 {
    (x.to_bits() >> 52 & 0x7ff) as i32 - BIAS
}

/// A number's fraction with another power of two.
pub(super) fn with_power(x: f64, power: i32) -> f64 {
    f64::from_bits(x.to_bits() & (FRACTION | SIGN) | ((power + BIAS) as u64) << 52)
}

/// A number as a fraction from ½ to 1 and a power of two; zero, infinities and NaN as
/// they are.
pub(super) fn split(x: f64) -> (f64, i32) {
    // Numbers with fewer bits than others are moved to where they have all.
    const UP: i32 = 54;
    if x == 0.0 || !x.is_finite() {
        return (x, 0);
    }
    if x.is_subnormal() {
        let (fraction, power) = split(x * (1u64 << UP) as f64);
        return (fraction, power - UP);
    }
    (with_power(x, -1), power(x) + 1)
}

/// `fraction × 2^exponent`, rounded once.
pub(super) fn join(fraction: f64, exponent: i32) -> f64 {
    if fraction == 0.0 || !fraction.is_finite() {
        return fraction;
    }
    let (fraction, own) = split(fraction);
    let power = own - 1 + exponent;
    if power < -1075 {
        0f64.copysign(fraction)
    } else if power > BIAS {
        f64::INFINITY.copysign(fraction)
    } else if power < -1022 {
        with_power(fraction, power + 53) / (1u64 << 53) as f64
    } else {
        with_power(fraction, power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_together_as_it_was() {
        let mut rng = testkit::Rng::new(5);
        for x in [0.0, -0.0, f64::INFINITY, f64::MIN_POSITIVE, 5e-324, -5e-324, f64::MAX] {
            let (fraction, power) = split(x);
            assert_eq!(join(fraction, power).to_bits(), x.to_bits(), "{x}");
        }
        for _ in 0..10_000 {
            let x = f64::from_bits(rng.below(0x7ff << 52));
            let (fraction, power) = split(-x);
            assert!((-1.0..=-0.5).contains(&fraction), "{x}");
            assert_eq!(join(fraction, power), -x);
        }
    }

    #[test]
    fn what_has_no_room_is_rounded_once() {
        assert_eq!(join(0.75, -1074), 5e-324);
        assert_eq!(join(0.5, -1074), 0.0);
        assert_eq!(join(0.9, 1025), f64::INFINITY);
        assert_eq!(join(-0.9, 1_000_000), f64::NEG_INFINITY);
        assert_eq!(join(-0.9, -1_000_000).to_bits(), (-0.0f64).to_bits());
    }
}
