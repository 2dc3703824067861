//! Every function over 20,000 arguments against upstream's runtime (Go 1.26, x86-64):
//! a fingerprint of all bits that came out.
//!
//! The arguments are [`testkit::Rng`]'s from seed 1: in turn any bits, numbers from -1 to
//! 1, to 40, to 800, and those to 1,000 with three digits. What a fingerprint stands for is
//! made in upstream's language by the same few lines.

use super::*;

const ARGUMENTS: u64 = 20_000;

fn argument(rng: &mut testkit::Rng, kind: u64) -> f64 {
    let bits = rng.next_u64();
    let part = (bits >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
    match kind {
        0 => f64::from_bits(bits),
        1 => part,
        2 => part * 40.0,
        3 => part * 800.0,
        _ => (part * 1e6).floor() / 1000.0,
    }
}

fn fingerprint(mut of: impl FnMut(&mut testkit::Rng, u64) -> f64) -> u64 {
    let mut rng = testkit::Rng::new(1);
    (0..ARGUMENTS).fold(0, |sum, n| {
        let value = of(&mut rng, n);
        let bits = if value.is_nan() { 0x7ff8_0000_0000_0000 } else { value.to_bits() };
        let sum = (sum ^ bits).wrapping_mul(0x0100_0000_01b3);
        sum ^ sum >> 29
    })
}

#[test]
fn functions_of_one_number_have_upstreams_bits() {
    let functions: [(&str, fn(f64) -> f64, u64); 18] = [
        ("exp", exp, 0x16380403dd7ec409),
        ("exp2", exp2, 0x493919b4d94e8117),
        ("ln", ln, 0x40ccf6bbf1882d13),
        ("log2", log2, 0x241fa00edcfa17ff),
        ("log10", log10, 0xdda84046177e949a),
        ("ln_1p", ln_1p, 0xf539a03e9994ae77),
        ("sin", sin, 0x08985732c7413a55),
        ("cos", cos, 0x0abf9861502b7666),
        ("tan", tan, 0x1c2933ac86c05ccf),
        ("asin", asin, 0x26023046b07f9bb8),
        ("acos", acos, 0x7dcef45fc7556e3e),
        ("atan", atan, 0xf2290a49c8b8f557),
        ("sinh", sinh, 0x9acbbe55fd46a134),
        ("cosh", cosh, 0x0a4de42a06cfdec8),
        ("tanh", tanh, 0xee35ec15093e1e1c),
        ("asinh", asinh, 0xb94adf232b907ce5),
        ("acosh", acosh, 0x4d6f1e09dd0b035a),
        ("atanh", atanh, 0x3cd0cf709df0eb83),
    ];
    let other: Vec<_> = functions
        .into_iter()
        .filter(|&(_, f, wanted)| fingerprint(|rng, n| f(argument(rng, n % 5))) != wanted)
        .map(|(name, ..)| name)
        .collect();
    assert!(other.is_empty(), "other bits than upstream's: {other:?}");
}

#[test]
fn functions_of_two_numbers_have_upstreams_bits() {
    let functions: [(&str, fn(f64, f64) -> f64, u64); 2] =
        [("pow", pow, 0xc22c464f06f75a2b), ("atan2", atan2, 0x31c4d934e97f8c26)];
    for (name, f, wanted) in functions {
        let found = fingerprint(|rng, n| {
            let first = argument(rng, n % 5);
            f(first, argument(rng, n / 5 % 5))
        });
        assert_eq!(found, wanted, "{name}");
    }
}
