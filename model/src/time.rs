//! Times and durations as Prometheus writes them.
//!
//! Timestamps are `i64` milliseconds since the Unix epoch. Query ranges are
//! closed ([`TimeRange`]), block ranges are half-open ([`BlockRange`]): two
//! types, so that neither is taken for the other.

use std::fmt;

/// A closed range of timestamps: `start_ms <= t <= end_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First timestamp inside.
    pub start_ms: i64,
    /// Last timestamp inside.
    pub end_ms: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

    /// The range from `start_ms` to `end_ms`, both inside.
    pub fn new(start_ms: i64, end_ms: i64) -> TimeRange {
        TimeRange { start_ms, end_ms }
    }

    /// Whether the timestamp is inside.
    pub fn contains(&self, timestamp_ms: i64) -> bool {
        self.start_ms <= timestamp_ms && timestamp_ms <= self.end_ms
    }

    /// Whether the two ranges share a timestamp.
    pub fn overlaps(&self, other: TimeRange) -> bool {
        self.start_ms <= other.end_ms && other.start_ms <= self.end_ms
    }

    /// Whether no timestamp is inside.
    pub fn is_empty(&self) -> bool {
        self.start_ms > self.end_ms
    }
}

/// A half-open range of timestamps: `min_ms <= t < max_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockRange {
    /// First timestamp inside.
    pub min_ms: i64,
    /// First timestamp after the range.
    pub max_ms: i64,
}

impl BlockRange {
    /// The range from `min_ms` up to, but without, `max_ms`.
    pub fn new(min_ms: i64, max_ms: i64) -> BlockRange {
        BlockRange { min_ms, max_ms }
    }

    /// Whether the timestamp is inside.
    pub fn contains(&self, timestamp_ms: i64) -> bool {
        self.min_ms <= timestamp_ms && timestamp_ms < self.max_ms
    }

    /// Whether the block has a timestamp inside the closed range.
    pub fn overlaps(&self, range: TimeRange) -> bool {
        self.min_ms <= range.end_ms && range.start_ms < self.max_ms
    }
}

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing was given.
    #[error("empty duration string")]
    Empty,
    /// Not of the form `1h30m`.
    #[error("not a valid duration string: {}", crate::labels::go_quote(.0))]
    Invalid(String),
    /// A unit that does not exist.
    #[error("unknown unit {} in duration {}", crate::labels::go_quote(.unit), crate::labels::go_quote(.text))]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// Does not fit 64-bit nanoseconds.
    #[error("duration out of range")]
    OutOfRange,
}

/// Units from the longest to the shortest, in milliseconds.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Parses `1h30m` into milliseconds: units `y w d h m s ms`, whole numbers, each
/// at most once, longest first; a bare `0` is allowed.
/// Source: prometheus/common `model.ParseDuration`.
///
/// ```
/// assert_eq!(model::time::parse_duration_ms("1h30m"), Ok(5_400_000));
/// assert!(model::time::parse_duration_ms("30m1h").is_err());
/// ```
///
/// # Errors
/// The text is empty, of another form, or beyond 64-bit nanoseconds.
pub fn parse_duration_ms(text: &str) -> Result<i64, DurationError> {
    match text {
        "0" => return Ok(0),
        "" => return Err(DurationError::Empty),
        _ => {}
    }
    let invalid = || DurationError::Invalid(text.to_owned());
    let mut rest = text;
    let mut next_unit = 0;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(invalid());
        }
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(|b| !b.is_ascii_digit()).count();
        let (unit, tail) = tail.split_at(letters);
        if unit.is_empty() {
            return Err(invalid());
        }
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let Some(index) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() });
        };
        if index < next_unit {
            return Err(invalid());
        }
        next_unit = index + 1;
        let unit_ms = UNITS[index].1;
        let number = i64::try_from(number).map_err(|_| DurationError::OutOfRange)?;
        let part = number.checked_mul(unit_ms).ok_or(DurationError::OutOfRange)?;
        total = total.checked_add(part).ok_or(DurationError::OutOfRange)?;
        // Upstream counts in nanoseconds.
        if total.checked_mul(1_000_000).is_none() {
            return Err(DurationError::OutOfRange);
        }
        rest = tail;
    }
    Ok(total)
}

/// Milliseconds as Prometheus prints a duration: `1h30m`, `0s`; years and weeks
/// only where nothing shorter remains.
/// Source: prometheus/common `model.Duration.String`.
///
/// ```
/// assert_eq!(model::time::format_duration_ms(5_400_000), "1h30m");
/// assert_eq!(model::time::format_duration_ms(8 * 86_400_000), "8d");
/// ```
pub fn format_duration_ms(duration_ms: i64) -> String {
    PromDuration(duration_ms).to_string()
}

/// A duration in milliseconds that prints as Prometheus does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PromDuration(pub i64);

impl fmt::Display for PromDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest == 0 {
            return f.write_str("0s");
        }
        if rest < 0 {
            f.write_str("-")?;
            rest = rest.saturating_neg();
        }
        for (name, unit_ms) in UNITS {
            let exact_only = matches!(name, "y" | "w");
            if exact_only && rest % unit_ms != 0 {
                continue;
            }
            let number = rest / unit_ms;
            if number > 0 {
                write!(f, "{number}{name}")?;
                rest -= number * unit_ms;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_back_as_parsed() {
        for text in ["0s", "1ms", "1s", "5m", "1h30m", "1d", "3w", "1y", "4h59m59s999ms", "36h"] {
            let parsed = parse_duration_ms(text).unwrap();
            let printed = format_duration_ms(parsed);
            assert_eq!(parse_duration_ms(&printed), Ok(parsed), "{text} printed as {printed}");
        }
        assert_eq!(format_duration_ms(parse_duration_ms("36h").unwrap()), "1d12h");
        assert_eq!(format_duration_ms(parse_duration_ms("90d").unwrap()), "90d");
        assert_eq!(format_duration_ms(parse_duration_ms("48h").unwrap()), "2d");
    }

    #[test]
    fn malformed_durations_are_refused() {
        for text in ["", "1", "-1w", "1.5d", "d", "1h1h", "30m1h", "1x", "294y", "99999999999999999999s"] {
            assert!(parse_duration_ms(text).is_err(), "{text} must be refused");
        }
    }
}
