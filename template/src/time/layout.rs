//! Times laid out after the pattern of Go's reference time,
//! `Mon Jan 2 15:04:05 MST 2006`.

use super::{Date, MONTHS, Time, WEEKDAYS};

/// A piece of a layout that stands for a part of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperPm,
    LowerPm,
    ZoneName,
    /// An offset from UTC: its parts, with colons, `Z` for none.
    Offset {
        parts: u8,
        colons: bool,
        z: bool,
    },
    /// So many digits behind a point or comma; zeros at the end dropped or not.
    Fraction {
        digits: usize,
        point: u8,
        trims: bool,
    },
}

/// Pieces that nothing but their own text decides, the longer first.
const FIXED: &[(&[u8], Part)] = &[
    (b"January", Part::LongMonth),
    (b"Monday", Part::LongWeekday),
    (b"MST", Part::ZoneName),
    (b"002", Part::ZeroYearDay),
    (b"01", Part::ZeroMonth),
    (b"02", Part::ZeroDay),
    (b"03", Part::ZeroHour12),
    (b"04", Part::ZeroMinute),
    (b"05", Part::ZeroSecond),
    (b"06", Part::Year),
    (b"15", Part::Hour),
    (b"1", Part::NumMonth),
    (b"2006", Part::LongYear),
    (b"2", Part::Day),
    (b"__2", Part::UnderYearDay),
    (b"_2", Part::UnderDay),
    (b"3", Part::Hour12),
    (b"4", Part::Minute),
    (b"5", Part::Second),
    (b"PM", Part::UpperPm),
    (b"pm", Part::LowerPm),
    (b"-070000", Part::Offset { parts: 3, colons: false, z: false }),
    (b"-07:00:00", Part::Offset { parts: 3, colons: true, z: false }),
    (b"-0700", Part::Offset { parts: 2, colons: false, z: false }),
    (b"-07:00", Part::Offset { parts: 2, colons: true, z: false }),
    (b"-07", Part::Offset { parts: 1, colons: false, z: false }),
    (b"Z070000", Part::Offset { parts: 3, colons: false, z: true }),
    (b"Z07:00:00", Part::Offset { parts: 3, colons: true, z: true }),
    (b"Z0700", Part::Offset { parts: 2, colons: false, z: true }),
    (b"Z07:00", Part::Offset { parts: 2, colons: true, z: true }),
    (b"Z07", Part::Offset { parts: 1, colons: false, z: true }),
];

/// The piece that the layout starts with, and its length.
fn part_at(layout: &[u8]) -> Option<(Part, usize)> {
    if layout.starts_with(b"_2006") {
        return None;
    }
    if let Some((text, part)) = FIXED.iter().find(|(text, _)| layout.starts_with(text)) {
        return Some((*part, text.len()));
    }
    let short = |name: &[u8]| layout.starts_with(name) && !layout.get(3).is_some_and(u8::is_ascii_lowercase);
    if short(b"Jan") {
        return Some((Part::Month, 3));
    }
    if short(b"Mon") {
        return Some((Part::Weekday, 3));
    }
    let [point @ (b'.' | b','), digit @ (b'0' | b'9'), ..] = layout else { return None };
    let digits = layout[1..].iter().take_while(|b| *b == digit).count();
    if layout.get(1 + digits).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    Some((Part::Fraction { digits, point: *point, trims: *digit == b'9' }, 1 + digits))
}

pub(super) fn format(time: Time, layout: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(layout.len() + 10);
    let mut rest = layout;
    while let Some(first) = rest.first() {
        match part_at(rest) {
            Some((part, len)) => {
                write_part(&mut out, time, part);
                rest = &rest[len..];
            }
            None => {
                out.push(*first);
                rest = &rest[1..];
            }
        }
    }
    out
}

fn write_part(out: &mut Vec<u8>, time: Time, part: Part) {
    let Date { year, month, day, year_day } = time.date();
    let second = time.second_of_day();
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let hour12 = if hour % 12 == 0 { 12 } else { hour % 12 };
    let month_name = MONTHS[month as usize - 1];
    let weekday = WEEKDAYS[time.weekday() as usize];
    let text = match part {
        Part::LongMonth => month_name.to_owned(),
        Part::Month => month_name[..3].to_owned(),
        Part::NumMonth => month.to_string(),
        Part::ZeroMonth => format!("{month:02}"),
        Part::LongWeekday => weekday.to_owned(),
        Part::Weekday => weekday[..3].to_owned(),
        Part::Day => day.to_string(),
        Part::UnderDay => format!("{day:2}"),
        Part::ZeroDay => format!("{day:02}"),
        Part::UnderYearDay => format!("{year_day:3}"),
        Part::ZeroYearDay => format!("{year_day:03}"),
        Part::Hour => format!("{hour:02}"),
        Part::Hour12 => hour12.to_string(),
        Part::ZeroHour12 => format!("{hour12:02}"),
        Part::Minute => minute.to_string(),
        Part::ZeroMinute => format!("{minute:02}"),
        Part::Second => second.to_string(),
        Part::ZeroSecond => format!("{second:02}"),
        Part::LongYear if year < 0 => format!("-{:04}", -year),
        Part::LongYear => format!("{year:04}"),
        Part::Year => format!("{:02}", year.abs() % 100),
        Part::UpperPm => if hour >= 12 { "PM" } else { "AM" }.to_owned(),
        Part::LowerPm => if hour >= 12 { "pm" } else { "am" }.to_owned(),
        Part::ZoneName => "UTC".to_owned(),
        Part::Offset { z: true, .. } => "Z".to_owned(),
        Part::Offset { parts, colons, .. } => {
            let separator = if colons { ":" } else { "" };
            format!("+{}", vec!["00"; usize::from(parts)].join(separator))
        }
        Part::Fraction { digits, point, trims } => fraction(time.nanos, digits, char::from(point), trims),
    };
    out.extend_from_slice(text.as_bytes());
}

fn fraction(nanos: u32, digits: usize, point: char, trims: bool) -> String {
    let mut decimals = format!("{nanos:09}");
    decimals.truncate(digits);
    if trims {
        decimals.truncate(decimals.trim_end_matches('0').len());
        if decimals.is_empty() {
            return decimals;
        }
    }
    format!("{point}{decimals}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_of_go_are_followed() {
        let time = Time::from_millis(1_136_239_445_120);
        for (layout, text) in [
            ("Mon Jan _2 15:04:05 2006", "Mon Jan  2 22:04:05 2006"),
            ("02 Jan 06 03:04PM -0700 Z07:00", "02 Jan 06 10:04PM +0000 Z"),
            ("Monday, January 2 .000 .999999 ,00", "Monday, January 2 .120 .12 ,12"),
            ("Janet Month _2006 002 __2 1/2 3:4:5 pm", "Janet Month _2006 002   2 1/2 10:4:5 pm"),
            ("-07:00:00 Z0700 MST .0001 x", "+00:00:00 Z UTC .0001 x"),
        ] {
            assert_eq!(String::from_utf8(format(time, layout.as_bytes())).unwrap(), text, "{layout}");
        }
    }
}
