//! Times and durations of Go, as far as templates meet them.
//!
//! A time is seconds and nanoseconds since 1970 in UTC. The zone of the machine
//! is not read: `Local` is UTC here, which is what it is in a container.
//! Source: Go `time`.

mod layout;

use std::fmt;

use crate::value::IntType;

/// A length of time in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub i64);

/// The zone a time is shown in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// `time.UTC`
    Utc,
    /// `time.Local`
    Local,
}

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Since 1970.
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
    pub(crate) location: Location,
}

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: i64,
    /// 1 is January.
    pub(crate) month: u32,
    pub(crate) day: u32,
    /// 1 is the first of January.
    pub(crate) year_day: u32,
}

const NANOS: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;
/// From the first of January of year 1, where Go's rounding starts.
const SECONDS_TO_1970: i64 = 62_135_596_800;

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(crate) const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Time {
    /// A time in UTC from milliseconds since 1970.
    pub fn from_millis(millis: i64) -> Time {
        let seconds = millis.div_euclid(1000);
        Time { seconds, nanos: (millis.rem_euclid(1000) * 1_000_000) as u32, location: Location::Utc }
    }

    /// A time in UTC from years, months and so on, each of which may be out of its range.
    pub(crate) fn from_date(year: i64, month: i64, day: i64, second_of_day: i64, nanos: u32) -> Time {
        let months = year.saturating_mul(12).saturating_add(month - 1);
        let days = days_from_civil(months.div_euclid(12), (months.rem_euclid(12) + 1) as u32);
        let days = days.saturating_add(day - 1);
        let seconds = days.saturating_mul(DAY_SECONDS).saturating_add(second_of_day);
        Time { seconds, nanos, location: Location::Utc }
    }

    pub(crate) fn date(self) -> Date {
        civil_from_days(self.seconds.div_euclid(DAY_SECONDS))
    }

    /// Seconds since midnight.
    pub(crate) fn second_of_day(self) -> i64 {
        self.seconds.rem_euclid(DAY_SECONDS)
    }

    /// 0 is Sunday.
    pub(crate) fn weekday(self) -> u32 {
        (self.seconds.div_euclid(DAY_SECONDS) + 4).rem_euclid(7) as u32
    }

    pub(crate) fn add(self, by: Duration) -> Time {
        let nanos = i64::from(self.nanos) + by.0.rem_euclid(NANOS);
        let seconds = self.seconds.saturating_add(by.0.div_euclid(NANOS) + nanos / NANOS);
        Time { seconds, nanos: (nanos % NANOS) as u32, ..self }
    }

    /// What lies between, cut to what a duration can hold.
    pub(crate) fn sub(self, other: Time) -> Duration {
        let nanos = (i128::from(self.seconds) - i128::from(other.seconds)) * i128::from(NANOS)
            + i128::from(self.nanos)
            - i128::from(other.nanos);
        Duration(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
    }

    pub(crate) fn add_date(self, years: i64, months: i64, days: i64) -> Time {
        let date = self.date();
        let month = i64::from(date.month).saturating_add(months);
        let day = i64::from(date.day).saturating_add(days);
        let time =
            Time::from_date(date.year.saturating_add(years), month, day, self.second_of_day(), self.nanos);
        Time { location: self.location, ..time }
    }

    pub(crate) fn instant(self) -> (i64, u32) {
        (self.seconds, self.nanos)
    }

    /// Nanoseconds since 1970; they wrap as Go's do.
    pub(crate) fn unix_nanos(self) -> i64 {
        self.seconds.wrapping_mul(NANOS).wrapping_add(i64::from(self.nanos))
    }

    /// What is left over after whole multiples of `unit` since year 1.
    fn remainder(self, unit: Duration) -> i64 {
        let since = (i128::from(self.seconds) + i128::from(SECONDS_TO_1970)) * i128::from(NANOS);
        (since + i128::from(self.nanos)).rem_euclid(i128::from(unit.0)) as i64
    }

    pub(crate) fn truncate(self, unit: Duration) -> Time {
        if unit.0 <= 0 { self } else { self.add(Duration(-self.remainder(unit))) }
    }

    pub(crate) fn round(self, unit: Duration) -> Time {
        if unit.0 <= 0 {
            return self;
        }
        let rest = self.remainder(unit);
        let down = (rest as u64) * 2 < unit.0 as u64;
        self.add(Duration(if down { -rest } else { unit.0 - rest }))
    }

    pub(crate) fn is_zero(self) -> bool {
        self.seconds == -SECONDS_TO_1970 && self.nanos == 0
    }

    pub(crate) fn format(self, layout: &[u8]) -> Vec<u8> {
        layout::format(self, layout)
    }

    /// What Go holds of the time, where it is printed by a verb that times do not know.
    pub(crate) fn inside(self) -> String {
        format!("{{{} {} <nil>}}", self.nanos, self.seconds.saturating_add(SECONDS_TO_1970))
    }

    /// The time as a Go expression.
    pub(crate) fn go_syntax(self) -> String {
        let Date { year, month, day, .. } = self.date();
        let second = self.second_of_day();
        let zone = match self.location {
            Location::Utc => "UTC",
            Location::Local => "Local",
        };
        format!(
            "time.Date({year}, time.{}, {day}, {}, {}, {}, {}, time.{zone})",
            MONTHS[month as usize - 1],
            second / 3600,
            second / 60 % 60,
            second % 60,
            self.nanos
        )
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.format(b"2006-01-02 15:04:05.999999999 -0700 MST");
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Location::Utc => "UTC",
            Location::Local => "Local",
        })
    }
}

/// Days since 1970 of the first of a month.
fn days_from_civil(year: i64, month: u32) -> i64 {
    // Years start in March, so that the leap day is their last.
    let year =
        if month <= 2 { year.saturating_sub(1) } else { year }.clamp(-300_000_000_000, 300_000_000_000);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> Date {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = ((month_from_march + 2) % 12 + 1) as u32;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let year_day = (days - days_from_civil(year, 1) + 1) as u32;
    Date { year, month, day, year_day }
}

impl Duration {
    pub(crate) fn truncate(self, unit: Duration) -> Duration {
        if unit.0 <= 0 { self } else { Duration(self.0 - self.0 % unit.0) }
    }

    pub(crate) fn round(self, unit: Duration) -> Duration {
        if unit.0 <= 0 {
            return self;
        }
        let rest = (self.0 % unit.0).unsigned_abs();
        let down = rest * 2 < unit.0.unsigned_abs();
        let toward_zero = self.0 - self.0 % unit.0;
        Duration(match (down, self.0 < 0) {
            (true, _) => toward_zero,
            (false, false) => toward_zero.saturating_add(unit.0),
            (false, true) => toward_zero.saturating_sub(unit.0),
        })
    }

    /// The length in a unit of so many nanoseconds.
    pub(crate) fn in_units(self, unit: i64) -> f64 {
        (self.0 / unit) as f64 + (self.0 % unit) as f64 / unit as f64
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", decimal(nanos, 1_000, 3)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", decimal(nanos, 1_000_000, 6)),
            _ => {
                let whole = nanos / 1_000_000_000;
                let (hours, minutes) = (whole / 3600, whole / 60 % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if whole >= 60 {
                    write!(f, "{minutes}m")?;
                }
                write!(f, "{}s", decimal(nanos % 60_000_000_000, 1_000_000_000, 9))
            }
        }
    }
}

/// `value / unit` with as many decimals as are not zero.
fn decimal(value: u64, unit: u64, digits: usize) -> String {
    let fraction = value % unit;
    if fraction == 0 {
        return (value / unit).to_string();
    }
    let decimals = format!("{fraction:0digits$}");
    format!("{}.{}", value / unit, decimals.trim_end_matches('0'))
}

/// The name of an integer whose type has names.
pub(crate) fn int_name(kind: IntType, value: i64) -> Option<String> {
    let named = |names: &[&str], index: i64, type_name: &str| {
        let name = usize::try_from(index).ok().and_then(|index| names.get(index));
        name.map_or_else(|| format!("%!{type_name}({})", value as u64), |name| (*name).to_owned())
    };
    match kind {
        IntType::Month => Some(named(&MONTHS, value - 1, "Month")),
        IntType::Weekday => Some(named(&WEEKDAYS, value, "Weekday")),
        IntType::Duration => Some(Duration(value).to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_in_go() {
        assert_eq!(Time::from_millis(0).to_string(), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(Time::from_millis(1_435_065_584_128).to_string(), "2015-06-23 13:19:44.128 +0000 UTC");
        assert_eq!(Time::from_millis(-1).to_string(), "1969-12-31 23:59:59.999 +0000 UTC");
        assert_eq!(
            Time::from_millis(951_782_400_000).go_syntax(),
            "time.Date(2000, time.February, 29, 0, 0, 0, 0, time.UTC)"
        );
    }

    #[test]
    fn dates_are_reckoned_both_ways() {
        for days in [-1_000_000i64, -719_529, -1, 0, 59, 10_957, 11_016, 1_000_000] {
            let time = Time { seconds: days * DAY_SECONDS, nanos: 0, location: Location::Utc };
            let date = time.date();
            let again = Time::from_date(date.year, i64::from(date.month), i64::from(date.day), 0, 0);
            assert_eq!(again, time, "{days}");
        }
        let time = Time::from_millis(1_709_164_800_000);
        assert_eq!(time.add_date(1, 0, 1).to_string(), "2025-03-02 00:00:00 +0000 UTC");
        assert_eq!(time.weekday(), 4);
    }

    #[test]
    fn durations_print_as_in_go() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (-60_000_000_000, "-1m0s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(Duration(nanos).to_string(), text);
        }
        assert_eq!(Duration(1_500).round(Duration(1_000)), Duration(2_000));
        assert_eq!(Duration(-1_499).round(Duration(1_000)), Duration(-1_000));
    }
}
