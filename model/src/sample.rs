//! Staleness: the one NaN that means "this series ended here".
//!
//! Values are plain `f64`; a marker is told from every other NaN by its bits,
//! so values are compared by [`f64::to_bits`] wherever NaN matters.

/// The bits of the staleness marker. Source: Prometheus `model/value`.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The bits of the NaN that Prometheus stores for every other NaN it reads.
pub const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// The staleness marker.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// The ordinary NaN.
pub fn normal_nan() -> f64 {
    f64::from_bits(NORMAL_NAN_BITS)
}

/// Whether a value is the staleness marker.
///
/// ```
/// assert!(model::is_stale_nan(model::stale_nan()));
/// assert!(!model::is_stale_nan(f64::NAN));
/// ```
pub fn is_stale_nan(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}
