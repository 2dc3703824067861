//! Parts of a date in UTC.

/// A part of a date by the name of its PromQL function.
pub(crate) fn by_name(name: &str) -> Option<fn(i64) -> f64> {
    Some(match name {
        "minute" => |s| (absolute(s).rem_euclid(3600) / 60) as f64,
        "hour" => |s| (absolute(s).rem_euclid(86_400) / 3600) as f64,
        // The first of January 1970 was a Thursday.
        "day_of_week" => |s| (absolute(s).div_euclid(86_400) + 4).rem_euclid(7) as f64,
        "day_of_month" => |s| civil(s).2 as f64,
        "day_of_year" => |s| day_of_year(s) as f64,
        "days_in_month" => |s| {
            let (year, month, _) = civil(s);
            days_in_month(year, month) as f64
        },
        "month" => |s| civil(s).1 as f64,
        "year" => |s| civil(s).0 as f64,
        _ => return None,
    })
}

/// Seconds since the epoch of a float, as Go converts it on amd64: what does
/// not fit becomes the smallest number.
pub(crate) fn to_seconds(value: f64) -> i64 {
    const LIMIT: f64 = 9.223_372_036_854_776e18;
    if (-LIMIT..LIMIT).contains(&value) { value as i64 } else { i64::MIN }
}

/// The first second that Go can tell a date of: 1 March of the year -292277022400.
const EARLIEST: i64 = -9_223_372_028_741_760_000;

/// Seconds as Go counts them, from its earliest date on with 64 bits: times
/// before it come round at the far end. So do all floats that do not fit.
fn absolute(seconds: i64) -> i128 {
    let around = if seconds < EARLIEST { 1 << 64 } else { 0 };
    i128::from(seconds) + around
}

/// Year, month and day of a time: the proleptic Gregorian calendar, counted in
/// eras of 400 years that start on the first of March.
fn civil(seconds: i64) -> (i64, i64, i64) {
    // Days fit in 64 bits by far.
    let days = absolute(seconds).div_euclid(86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_from_march + 2) / 153;
    let day = day_from_march - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn day_of_year(seconds: i64) -> i64 {
    let (year, month, day) = civil(seconds);
    (1..month).map(|m| days_in_month(year, m)).sum::<i64>() + day
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_known_dates() {
        // 2016-02-29 16:35:30 UTC, a Monday.
        let leap_day = 1_456_763_730;
        let part = |name| by_name(name).unwrap()(leap_day);
        assert_eq!(part("year"), 2016.0);
        assert_eq!(part("month"), 2.0);
        assert_eq!(part("day_of_month"), 29.0);
        assert_eq!(part("day_of_week"), 1.0);
        assert_eq!(part("day_of_year"), 60.0);
        assert_eq!(part("days_in_month"), 29.0);
        assert_eq!(part("hour"), 16.0);
        assert_eq!(part("minute"), 35.0);
        assert_eq!(by_name("year").unwrap()(-1), 1969.0);
    }

    #[test]
    fn times_before_the_earliest_date_come_round_at_the_far_end() {
        let parts = |seconds| {
            ["year", "month", "day_of_month", "day_of_year", "day_of_week", "hour", "minute"]
                .map(|name| by_name(name).unwrap()(seconds))
        };
        let not_a_number = to_seconds(f64::NAN);
        assert_eq!(parts(not_a_number), [292_277_026_596.0, 12.0, 4.0, 339.0, 0.0, 15.0, 30.0]);
        assert_eq!(parts(EARLIEST)[..3], [-292_277_022_400.0, 3.0, 1.0]);
        assert_eq!(parts(EARLIEST - 1)[..3], [292_277_026_854.0, 1.0, 7.0]);
    }
}
