//! Functions of angles in radians, and angles of their values: Moshier's Cephes.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, FRAC_PI_4, PI};

use super::{odd, polynomial};

/// Of sin z: z³, z⁵ …, the highest first.
const SIN: [f64; 6] = [
    1.589_623_015_765_465_6e-10,
    -2.505_074_776_285_780_7e-8,
    2.755_731_362_138_572_2e-6,
    -1.984_126_982_958_954e-4,
    8.333_333_333_322_118e-3,
    -1.666_666_666_666_663e-1,
];
/// Of cos z: z⁴, z⁶ …, the highest first.
const COS: [f64; 6] = [
    -1.135_853_652_138_768_2e-11,
    2.087_570_084_197_473e-9,
    -2.755_731_417_929_674e-7,
    2.480_158_728_885_170_4e-5,
    -1.388_888_888_887_305_6e-3,
    4.166_666_666_666_659_5e-2,
];

/// An angle as multiples of π/4, an even number of them, and what remains: at most π/4
/// on either side.
struct Octant {
    number: u64,
    rest: f64,
}

impl Octant {
    /// Of an angle that is not negative.
    fn of(x: f64) -> Octant {
        /// π/4 in three parts; a number of 30 bits times the first two is exact.
        const PARTS: [f64; 3] =
            [7.853_981_256_484_985e-1, 3.774_894_707_930_798e-8, 2.695_151_429_079_059_5e-15];
        /// Beyond this the number has more than 30 bits.
        const EXACT_BELOW: f64 = (1 << 29) as f64;
        if x >= EXACT_BELOW {
            return Octant::of_great(x);
        }
        let mut number = (x * (2.0 * FRAC_2_PI)) as u64;
        number += number & 1;
        let rest = PARTS.into_iter().fold(x, |rest, part| rest - number as f64 * part);
        Octant { number: number & 7, rest }
    }

    /// Payne and Hanek's way for great numbers: of the product with 4/π only those
    /// binary digits are made that count.
    fn of_great(x: f64) -> Octant {
        let mantissa = u128::from(x.to_bits() & ((1 << 52) - 1) | 1 << 52);
        let exponent = super::parts::power(x) - 52;
        // The product's first digits stand 61 places up: the upper three are the octant,
        // all above it are whole turns.
        let places = (exponent + 61) as usize;
        let digits = |n: usize| {
            let (word, bit) = (places / 64 + n, places % 64);
            let pair = u128::from(FOUR_BY_PI[word]) << 64 | u128::from(FOUR_BY_PI[word + 1]);
            u128::from((pair << bit >> 64) as u64)
        };
        let product =
            (digits(0) << 64 | digits(1)).wrapping_mul(mantissa).wrapping_add((digits(2) * mantissa) >> 64);
        let mut number = (product >> 125) as u64;
        let upper = (product >> 61) as u64;
        let zeros = upper.leading_zeros();
        // The leading one is not stored. The lower word is not moved by the octant's three
        // places, as upstream does not: it counts only where twelve digits are zeros.
        let joined = u128::from(upper) << 64 | u128::from(product as u64);
        let bits = (joined << (zeros + 1) >> 76) as u64;
        let mut rest = f64::from_bits(u64::from(1022 - zeros) << 52 | bits);
        if number & 1 == 1 {
            number = (number + 1) & 7;
            rest -= 1.0;
        }
        Octant { number, rest: rest * FRAC_PI_4 }
    }

    fn sin_of_rest(&self) -> f64 {
        let z = self.rest;
        z + z * (z * z) * polynomial(z * z, SIN)
    }

    fn cos_of_rest(&self) -> f64 {
        let z2 = self.rest * self.rest;
        1.0 - 0.5 * z2 + z2 * z2 * polynomial(z2, COS)
    }
}

/// The binary digits of 4/π, the whole part first: 1217 of them, as many as the
/// greatest number needs.
const FOUR_BY_PI: [u64; 20] = [
    0x0000000000000001,
    0x45f306dc9c882a53,
    0xf84eafa3ea69bb81,
    0xb6c52b3278872083,
    0xfca2c757bd778ac3,
    0x6e48dc74849ba5c0,
    0x0c925dd413a32439,
    0xfc3bd63962534e7d,
    0xd1046bea5d768909,
    0xd338e04d68befc82,
    0x7323ac7306a673e9,
    0x3908bf177bf25076,
    0x3ff12fffbc0b301f,
    0xde5e2316b414da3e,
    0xda6cfd9e4f96136e,
    0x9e8c7ecd3cbfd45a,
    0xea4f758fd7cbe2f6,
    0x7a0e73ef14a525d4,
    0xd7f6bf623f1aba10,
    0xac06608df8f6d757,
];

/// The sine.
pub fn sin(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    odd(x, |x| {
        let octant = Octant::of(x);
        match octant.number {
            0 => octant.sin_of_rest(),
            2 => octant.cos_of_rest(),
            4 => -octant.sin_of_rest(),
            _ => -octant.cos_of_rest(),
        }
    })
}

/// The cosine.
pub fn cos(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    let octant = Octant::of(x.abs());
    match octant.number {
        0 => octant.cos_of_rest(),
        2 => -octant.sin_of_rest(),
        4 => -octant.cos_of_rest(),
        _ => octant.sin_of_rest(),
    }
}

/// The tangent.
pub fn tan(x: f64) -> f64 {
    const P: [f64; 3] = [-1.309_369_391_813_837_9e4, 1.153_516_648_385_874_2e6, -1.795_652_519_764_848_8e7];
    const Q: [f64; 5] = [
        1.0,
        1.368_129_634_706_929_6e4,
        -1.320_892_344_402_109_7e6,
        2.500_838_018_233_579e7,
        -5.386_957_559_294_546_4e7,
    ];
    if !x.is_finite() {
        return f64::NAN;
    }
    odd(x, |x| {
        let Octant { number, rest: z } = Octant::of(x);
        let z2 = z * z;
        let tan = if z2 > 1e-14 { z + z * (z2 * polynomial(z2, P) / polynomial(z2, Q)) } else { z };
        if number & 2 == 2 { -1.0 / tan } else { tan }
    })
}

/// The angle of a tangent from 0 to 0.66.
fn atan_of_small(x: f64) -> f64 {
    const P: [f64; 5] = [
        -8.750_608_600_031_904e-1,
        -1.615_753_718_733_365_2e1,
        -7.500_855_792_314_705e1,
        -1.228_866_684_490_136_1e2,
        -6.485_021_904_942_025e1,
    ];
    const Q: [f64; 6] = [
        1.0,
        2.485_846_490_142_306_2e1,
        1.650_270_098_316_988_5e2,
        4.328_810_604_912_902_7e2,
        4.853_903_996_359_137e2,
        1.945_506_571_482_614e2,
    ];
    let z = x * x;
    x * (z * polynomial(z, P) / polynomial(z, Q)) + x
}

/// The angle of a tangent that is not negative.
fn atan_of_positive(x: f64) -> f64 {
    const TAN_3_PI_8: f64 = 2.414_213_562_373_095;
    /// What π/2 is more than the number nearest to it.
    const MORE_BITS: f64 = 6.123_233_995_736_766e-17;
    if x <= 0.66 {
        atan_of_small(x)
    } else if x > TAN_3_PI_8 {
        FRAC_PI_2 - atan_of_small(1.0 / x) + MORE_BITS
    } else {
        FRAC_PI_4 + atan_of_small((x - 1.0) / (x + 1.0)) + 0.5 * MORE_BITS
    }
}

/// The angle of a tangent.
pub fn atan(x: f64) -> f64 {
    odd(x, atan_of_positive)
}

/// The angle of a sine.
pub fn asin(x: f64) -> f64 {
    odd(x, |x| {
        if x > 1.0 {
            return f64::NAN;
        }
        let cos = (1.0 - x * x).sqrt();
        if x > 0.7 { FRAC_PI_2 - atan_of_positive(cos / x) } else { atan_of_positive(x / cos) }
    })
}

/// The angle of a cosine.
pub fn acos(x: f64) -> f64 {
    FRAC_PI_2 - asin(x)
}

/// The angle of the point `(x, y)`, from -π to π.
pub fn atan2(y: f64, x: f64) -> f64 {
    if x.is_nan() || y.is_nan() {
        return f64::NAN;
    }
    if y == 0.0 {
        return if x.is_sign_negative() { PI.copysign(y) } else { y };
    }
    if x == 0.0 {
        return FRAC_PI_2.copysign(y);
    }
    let size = match (x.is_infinite(), y.is_infinite()) {
        (true, true) if x > 0.0 => FRAC_PI_4,
        (true, true) => 3.0 * FRAC_PI_4,
        (true, false) if x > 0.0 => 0.0,
        (true, false) => PI,
        (false, true) => FRAC_PI_2,
        (false, false) => {
            let angle = atan(y / x);
            return match x < 0.0 {
                true if angle <= 0.0 => angle + PI,
                true => angle - PI,
                false => angle,
            };
        }
    };
    size.copysign(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_near_a_librarys() {
        let mut rng = testkit::Rng::new(13);
        for n in 0..100_000 {
            // Angles up to 2^(n mod 60).
            let x = rng.below(1 << 52) as f64 / 2f64.powi(52 - n % 60) - 2f64.powi(n % 60 - 1);
            let part = (rng.below(1 << 52) as f64 / (1u64 << 51) as f64) - 1.0;
            for (ours, library) in [
                (sin(x), x.sin()),
                (cos(x), x.cos()),
                (1.0 / (1.0 + tan(x).abs()), 1.0 / (1.0 + x.tan().abs())),
                (atan(x), x.atan()),
                (asin(part), part.asin()),
                (acos(part), part.acos()),
                (atan2(part, x), part.atan2(x)),
                (atan2(x, part), x.atan2(part)),
            ] {
                assert!((ours - library).abs() <= 4e-15, "{x} {part}: {ours} {library}");
            }
        }
    }

    #[test]
    fn special_cases_are_the_librarys() {
        let numbers = [0.0, 1.0, f64::INFINITY, f64::NAN];
        let signed = || numbers.into_iter().flat_map(|x| [x, -x]);
        for (y, x) in signed().flat_map(|y| signed().map(move |x| (y, x))) {
            let (ours, library) = (atan2(y, x), y.atan2(x));
            assert!(ours.to_bits() == library.to_bits() || ours.is_nan() && library.is_nan(), "{y} {x}");
        }
        for f in [sin, tan, asin, atan] {
            assert_eq!((f(0.0).to_bits(), f(-0.0).to_bits()), (0, (-0.0f64).to_bits()));
            assert!(f(f64::NAN).is_nan());
        }
        assert!([sin, cos, tan, asin, acos].iter().all(|f| f(f64::NEG_INFINITY).is_nan()));
        assert_eq!((atan(f64::INFINITY), acos(1.0), asin(-1.0)), (FRAC_PI_2, 0.0, -FRAC_PI_2));
        assert!(asin(1.1).is_nan() && acos(-1.1).is_nan());
    }
}
