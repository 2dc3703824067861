//! Where buckets begin and end.
//!
//! Bucket `i` of schema `s` is `(2^((i-1)·2^-s), 2^(i·2^-s)]`:
//!
//! ```text
//! schema 0   …  (0.5, 1]  (1, 2]  (2, 4]  …
//! index           0         1       2
//! ```
//!
//! Stored data and answers elsewhere carry upstream's bounds to the last bit, so
//! the fractions come from square roots of two multiplied in one fixed order
//! ([`FRACTIONS`]), not from a library's power function.

use std::sync::LazyLock;

use super::{CUSTOM_BUCKETS_SCHEMA, EXPONENTIAL_SCHEMA_MAX};

const FRACTION_BITS: u32 = EXPONENTIAL_SCHEMA_MAX.unsigned_abs();

/// `2^(i/256 - 1)` for `i` below 256, each the product of the roots that the
/// bits of `i` name, greatest first. Only multiplications and square roots are
/// in it, both exactly rounded everywhere; the square root of two is taken as the
/// square of the fourth root, which puts it one unit in the last place low.
static FRACTIONS: LazyLock<[f64; 1 << FRACTION_BITS]> = LazyLock::new(|| {
    let mut roots = [2f64.sqrt(); FRACTION_BITS as usize];
    for i in 1..roots.len() {
        roots[i] = roots[i - 1].sqrt();
    }
    roots[0] = roots[1] * roots[1];
    std::array::from_fn(|i| {
        let taken =
            roots.iter().enumerate().filter(|(bit, _)| i >> (FRACTION_BITS as usize - 1 - bit) & 1 == 1);
        taken.fold(0.5, |product, (_, root)| product * root)
    })
});

/// `2^exponent`, 0 or infinite where that is beyond a float; `exponent` of
/// subnormals included.
fn power_of_two(exponent: i64) -> f64 {
    match exponent {
        1024.. => f64::INFINITY,
        -1022.. => f64::from_bits(((exponent + 1023) as u64) << 52),
        -1074.. => f64::from_bits(1 << (exponent + 1074)),
        _ => 0.0,
    }
}

/// The upper bound of bucket `index` of an exponential schema. The bucket that
/// holds the greatest float ends there; the one above it ends at +Inf.
///
/// ```
/// use model::histogram::exponential_bound;
/// assert_eq!(exponential_bound(1, 1), 1.414213562373095);
/// assert_eq!(exponential_bound(1024, 0), f64::MAX);
/// assert_eq!(exponential_bound(1025, 0), f64::INFINITY);
/// ```
pub fn exponential_bound(index: i32, schema: i32) -> f64 {
    let index = i64::from(index);
    if schema <= 0 {
        let exponent = index << schema.unsigned_abs().min(31);
        return if exponent == 1024 { f64::MAX } else { power_of_two(exponent) };
    }
    if schema > EXPONENTIAL_SCHEMA_MAX {
        // Reserved: such histograms are reduced when read, so this is never stored.
        return (index as f64 / power_of_two(i64::from(schema))).exp2();
    }
    let fraction_index = index & ((1 << schema) - 1);
    let exponent = index >> schema;
    if fraction_index == 0 && exponent == 1024 {
        return f64::MAX;
    }
    let position =
        usize::try_from(fraction_index << (EXPONENTIAL_SCHEMA_MAX - schema)).expect("masked: below 256");
    scale(FRACTIONS[position] * 2.0, exponent)
}

/// `value × 2^exponent` of a value from 1 to 2, rounded once.
fn scale(value: f64, exponent: i64) -> f64 {
    if exponent >= -1022 {
        return value * power_of_two(exponent.min(1024));
    }
    value * power_of_two(exponent + 64) * power_of_two(-64)
}

/// The upper bound of bucket `index`, of custom or exponential buckets. The
/// bucket behind the last custom bound ends at +Inf, the one before the first
/// at -Inf.
pub fn upper_bound(index: i32, schema: i32, custom_values: &[f64]) -> f64 {
    if schema != CUSTOM_BUCKETS_SCHEMA {
        return exponential_bound(index, schema);
    }
    match usize::try_from(index) {
        Err(_) => f64::NEG_INFINITY,
        Ok(index) => custom_values.get(index).copied().unwrap_or(f64::INFINITY),
    }
}

/// The index which bucket `index` falls into when the schema goes down from
/// `from` to `to`.
pub(super) fn target_index(index: i32, from: i32, to: i32) -> i32 {
    let shift = from.saturating_sub(to).clamp(0, 31);
    (index.wrapping_sub(1) >> shift).wrapping_add(1)
}
