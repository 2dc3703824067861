//! Functions of numbers, times and windows, each as its description has it.

use model::{Labels, elementary};

use std::rc::Rc;

use super::histograms::{self, Hist};
use super::{Fault, Outcome, Point, Vector};

/// The greater number; with what is none it is infinity or none.
pub fn greatest(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        return f64::INFINITY;
    }
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The smaller number; with what is none it is minus infinity or none.
pub fn least(a: f64, b: f64) -> f64 {
    -greatest(-a, -b)
}

/// The samples of one series inside a window.
#[derive(Debug, Default)]
pub struct Window {
    /// Its floats.
    pub samples: Vec<(i64, f64)>,
    /// When each of them began to count, 0 where that is not known.
    pub starts: Vec<i64>,
    /// Its histograms: time, when it began to count, and what it shows.
    pub hists: Vec<(i64, i64, Rc<Hist>)>,
    pub start: i64,
    pub end: i64,
    /// The evaluation time.
    pub t: i64,
    /// `samples` reach beyond the window, which ends by these rules.
    pub extended: Option<Ends>,
}

impl Window {
    /// Takes a sample; staleness markers go.
    pub fn add(&mut self, t: i64, start: i64, point: Option<Point>) {
        match point {
            Some(Point::Float(v)) if model::is_stale_nan(v) => {}
            Some(Point::Float(v)) => {
                self.samples.push((t, v));
                self.starts.push(start);
            }
            Some(Point::Hist(h)) => self.hists.push((t, start, h)),
            None => {}
        }
    }

    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.hists.is_empty()
    }

    fn start_of(&self, i: usize) -> i64 {
        self.starts.get(i).copied().unwrap_or(0)
    }
}

/// Whether a sample says that it began to count after the one before.
fn begins(before: (i64, i64), now: (i64, i64)) -> bool {
    let ((t0, start0), (t1, start1)) = (before, now);
    let known_before = start0 != 0 && start0 < t0;
    start1 != 0 && start1 < t1 && (start1 > t0 || (start1 == t0 && known_before))
}

/// A range function over floats, histograms, or both.
pub fn of_window(name: &str, window: &Window, params: &[f64]) -> Outcome<Option<Point>> {
    let floats = |window: &Window| Ok(over_time(name, window, params)?.map(Point::Float));
    if window.hists.is_empty() {
        return floats(window);
    }
    if window.extended.is_some() {
        return Err(Fault::Unknown);
    }
    let hists: Vec<Rc<Hist>> = window.hists.iter().map(|(_, _, h)| h.clone()).collect();
    let mixed = !window.samples.is_empty();
    let (first_float, last_float) = (window.samples.first(), window.samples.last());
    let (first, last) = (&window.hists[0], &window.hists[window.hists.len() - 1]);
    let float_first = first_float.is_some_and(|(t, _)| *t < first.0);
    let float_last = last_float.is_some_and(|(t, _)| *t > last.0);
    let seconds = |t: i64| Some(Point::Float(t as f64 / 1000.0));
    let made = |h: Option<Hist>| h.map(|h| Point::Hist(Rc::new(h)));
    Ok(match name {
        "rate" | "increase" | "delta" if mixed => None,
        "rate" | "increase" | "delta" => made(histogram_rate(name, window, &hists)),
        "irate" | "idelta" => return instant(name, window),
        "sum_over_time" | "avg_over_time" if mixed => None,
        "sum_over_time" => made(histograms::total(&hists)),
        "avg_over_time" => made(histograms::total(&hists).map(|sum| sum.scaled(1.0 / hists.len() as f64))),
        "count_over_time" => Some(Point::Float((hists.len() + window.samples.len()) as f64)),
        "present_over_time" => Some(Point::Float(1.0)),
        "first_over_time" if float_first => first_float.map(|(_, v)| Point::Float(*v)),
        "first_over_time" => Some(Point::Hist(first.2.clone())),
        "last_over_time" if float_last => last_float.map(|(_, v)| Point::Float(*v)),
        "last_over_time" => Some(Point::Hist(last.2.clone())),
        "ts_of_first_over_time" => seconds(first_float.map_or(first.0, |(t, _)| first.0.min(*t))),
        "ts_of_last_over_time" => seconds(last_float.map_or(last.0, |(t, _)| last.0.max(*t))),
        "resets" => {
            let all = in_order(window);
            let reset = |pair: &&[(i64, i64, Point)]| {
                let [(t0, s0, before), (t1, s1, now)] = pair else { return false };
                let begins = begins((*t0, *s0), (*t1, *s1));
                match (before, now) {
                    (Point::Float(a), Point::Float(b)) => b < a || begins,
                    (Point::Hist(a), Point::Hist(b)) => begins || b.fell_since(a),
                    _ => true,
                }
            };
            Some(Point::Float(all.windows(2).filter(reset).count() as f64))
        }
        // Whether two histograms are the same bit by bit is not asked here.
        "changes" => return Err(Fault::Unknown),
        "double_exponential_smoothing" => {
            let outside = |v: f64| v <= 0.0 || v >= 1.0;
            if outside(params[0]) || outside(params[1]) {
                return Err(Fault::Query);
            }
            return floats(window);
        }
        _ => return floats(window),
    })
}

fn in_order(window: &Window) -> Vec<(i64, i64, Point)> {
    let floats = window.samples.iter().enumerate();
    let mut all: Vec<(i64, i64, Point)> =
        floats.map(|(i, &(t, v))| (t, window.start_of(i), Point::Float(v))).collect();
    all.extend(window.hists.iter().map(|(t, start, h)| (*t, *start, Point::Hist(h.clone()))));
    all.sort_by_key(|(t, ..)| *t);
    all
}

fn instant(name: &str, window: &Window) -> Outcome<Option<Point>> {
    let all = in_order(window);
    let [.., (t0, s0, before), (t1, s1, now)] = &all[..] else { return Ok(None) };
    let (Point::Hist(before), Point::Hist(now)) = (before, now) else {
        let (Point::Float(_), Point::Float(_)) = (before, now) else { return Ok(None) };
        return Ok(over_time(name, window, &[])?.map(Point::Float));
    };
    let anew = begins((*t0, *s0), (*t1, *s1)) || now.fell_since(before);
    let moved = match name {
        "irate" if anew => Some((**now).clone()),
        _ => now.combined(before, -1.0),
    };
    let seconds = if name == "irate" { (t1 - t0) as f64 / 1000.0 } else { 1.0 };
    Ok(moved.map(|moved| Point::Hist(Rc::new(moved.compacted().scaled(1.0 / seconds)))))
}

fn histogram_rate(name: &str, window: &Window, hists: &[Rc<Hist>]) -> Option<Hist> {
    let counter = name != "delta";
    let times: Vec<i64> = window.hists.iter().map(|(t, ..)| *t).collect();
    let at = |i: usize| (window.hists[i].0, window.hists[i].1);
    let begins: Vec<bool> = (0..hists.len()).map(|i| i > 0 && begins(at(i - 1), at(i))).collect();
    let moved = match hists.len() {
        1 => None,
        _ => Some(histograms::increase(hists, counter, &begins)?),
    };
    let first = hists[0].count;
    let share = moved.as_ref().filter(|moved| counter && moved.count > 0.0 && first >= 0.0);
    let share = share.map(|moved| first / moved.count);
    let (factor, from_start) = reach(window, &times, if counter { window.hists[0].1 } else { 0 }, share)?;
    let moved = match (moved, from_start) {
        (moved, false) => moved?,
        (None, true) => (*hists[0]).clone(),
        (Some(moved), true) => moved.combined(&hists[0], 1.0)?,
    };
    let per = if name == "rate" { (window.end - window.start) as f64 / 1000.0 } else { 1.0 };
    Some(moved.scaled(factor / per))
}

/// How much wider the window is than what was seen in it, and whether that is
/// from where the first sample began to count. `zero`: the share of what was seen
/// before which a counter would be below zero.
fn reach(window: &Window, times: &[i64], start: i64, zero: Option<f64>) -> Option<(f64, bool)> {
    let (first, last) = (*times.first()?, *times.last()?);
    let gaps = times.len() - 1;
    let mut seen = (last - first) as f64 / 1000.0;
    let gap = if gaps > 0 { seen / gaps as f64 } else { 0.0 };
    let mut left = (first - window.start) as f64 / 1000.0;
    let mut right = (window.end - last) as f64 / 1000.0;
    if right >= gap * 1.1 {
        right = gap / 2.0;
    }
    let from_start = start != 0 && start > window.start && start < first;
    if from_start {
        (left, seen) = (0.0, (last - start) as f64 / 1000.0);
    } else if gaps == 0 {
        return None;
    } else {
        if left >= gap * 1.1 {
            left = gap / 2.0;
        }
        left = zero.map_or(left, |share| left.min(seen * share));
    }
    Some((if seen == 0.0 { 1.0 } else { (seen + left + right) / seen }, from_start))
}

/// How a window ends that is not extrapolated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ends {
    /// At samples: the last one before it begins stands at its beginning.
    Anchored,
    /// On the line between the samples around each end.
    Smoothed,
}

/// The value at `t` on the line from one sample to the next; a counter that
/// fell began at zero.
pub fn on_the_line((t0, v0): (i64, f64), (t1, v1): (i64, f64), t: i64, counter: bool) -> f64 {
    let v0 = if counter && v1 < v0 { 0.0 } else { v0 };
    v0 + (v1 - v0) * (t - t0) as f64 / (t1 - t0) as f64
}

/// What `label_replace` makes of a value, for the patterns that are made up;
/// `None` where the pattern does not match.
pub fn replaced(value: &str, pattern: &str, to: &str) -> Outcome<Option<String>> {
    let mut rest = value.chars();
    Ok(match (pattern, to) {
        (".*", to) if !to.contains('$') => Some(to.to_owned()),
        ("(.*)", "$1-x") => Some(format!("{value}-x")),
        ("(.)(.*)", "$1$2") => rest.next().map(|_| value.to_owned()),
        ("a", to) if !to.contains('$') => (value == "a").then(|| to.to_owned()),
        _ => return Err(Fault::Unknown),
    })
}

pub fn of_number(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => elementary::exp,
        "sqrt" => f64::sqrt,
        "ln" => elementary::ln,
        "log2" => elementary::log2,
        "log10" => elementary::log10,
        "sin" => elementary::sin,
        "cos" => elementary::cos,
        "tan" => elementary::tan,
        "asin" => elementary::asin,
        "acos" => elementary::acos,
        "atan" => elementary::atan,
        "sinh" => elementary::sinh,
        "cosh" => elementary::cosh,
        "tanh" => elementary::tanh,
        "asinh" => elementary::asinh,
        "acosh" => elementary::acosh,
        "atanh" => elementary::atanh,
        "deg" => |v| v * 180.0 / std::f64::consts::PI,
        "rad" => |v| v * std::f64::consts::PI / 180.0,
        "sgn" => |v: f64| if v == 0.0 || v.is_nan() { v } else { v.signum() },
        _ => return None,
    })
}

/// Year, month, day and seconds of the day, by counting days from 1970 on.
fn civil(v: f64) -> Option<(i64, usize, i64, i64)> {
    // Only times that a walk from year to year reaches.
    if !(-1e11..1e11).contains(&v) {
        return None;
    }
    let seconds = v.trunc() as i64;
    let (mut days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days < 0 {
        year -= 1;
        days += if leap(year) { 366 } else { 365 };
    }
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let mut month = 0;
    while days >= month_days(year, month) {
        days -= month_days(year, month);
        month += 1;
    }
    Some((year, month, days + 1, second))
}

fn month_days(year: i64, month: usize) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month]
}

pub fn of_time(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "year" => |v| civil(v).map_or(f64::INFINITY, |(year, ..)| year as f64),
        "month" => |v| civil(v).map_or(f64::INFINITY, |(_, month, ..)| (month + 1) as f64),
        "day_of_month" => |v| civil(v).map_or(f64::INFINITY, |(_, _, day, _)| day as f64),
        "days_in_month" => |v| civil(v).map_or(f64::INFINITY, |(y, m, ..)| month_days(y, m) as f64),
        "day_of_year" => |v| {
            civil(v).map_or(f64::INFINITY, |(y, m, day, _)| {
                ((0..m).map(|m| month_days(y, m)).sum::<i64>() + day) as f64
            })
        },
        // 1 January 1970 was a Thursday.
        "day_of_week" => |v| {
            civil(v)
                .map_or(f64::INFINITY, |_| ((v.trunc() as i64).div_euclid(86_400) + 4).rem_euclid(7) as f64)
        },
        "hour" => |v| civil(v).map_or(f64::INFINITY, |(.., second)| (second / 3600) as f64),
        "minute" => |v| civil(v).map_or(f64::INFINITY, |(.., second)| (second / 60 % 60) as f64),
        _ => return None,
    })
}

/// A range function; `None` where it has no answer.
pub fn over_time(name: &str, window: &Window, params: &[f64]) -> Outcome<Option<f64>> {
    if let Some(ends) = window.extended {
        return extended(name, ends, window);
    }
    let samples = &window.samples;
    let values: Vec<f64> = samples.iter().map(|&(_, v)| v).collect();
    let n = values.len() as f64;
    if values.is_empty() {
        return Ok(None);
    }
    let pairs = || values.windows(2);
    let seconds = |t: i64| t as f64 / 1000.0;
    Ok(Some(match name {
        "rate" | "increase" | "delta" => return Ok(extrapolated(name, window)),
        "irate" | "idelta" => {
            let [.., (t0, v0), (t1, v1)] = samples[..] else { return Ok(None) };
            let n = samples.len();
            let anew = v1 < v0 || begins((t0, window.start_of(n - 2)), (t1, window.start_of(n - 1)));
            let moved = if name == "irate" && anew { v1 } else { v1 - v0 };
            if name == "irate" { moved / seconds(t1 - t0) } else { moved }
        }
        "sum_over_time" => sum(&values),
        "avg_over_time" => mean(&values),
        "count_over_time" => n,
        "min_over_time" => values.iter().copied().fold(f64::NAN, f64::min),
        "max_over_time" => values.iter().copied().fold(f64::NAN, f64::max),
        "stdvar_over_time" => variance(&values),
        "stddev_over_time" => variance(&values).sqrt(),
        "quantile_over_time" => quantile(params[0], &values),
        "mad_over_time" => {
            if values.iter().any(|v| v.is_nan()) {
                return Ok(Some(f64::NAN));
            }
            let median = quantile(0.5, &values);
            let deviations: Vec<f64> = values.iter().map(|v| (v - median).abs()).collect();
            quantile(0.5, &deviations)
        }
        "first_over_time" => values[0],
        "last_over_time" => values[values.len() - 1],
        "present_over_time" => 1.0,
        "ts_of_first_over_time" => seconds(samples[0].0),
        "ts_of_last_over_time" => seconds(samples[samples.len() - 1].0),
        "ts_of_min_over_time" | "ts_of_max_over_time" => {
            let extreme = if name == "ts_of_min_over_time" { f64::min } else { f64::max };
            let value = values.iter().copied().fold(f64::NAN, extreme);
            let last = samples.iter().rev().find(|(_, v)| *v == value || value.is_nan());
            seconds(last.map_or(0, |(t, _)| *t))
        }
        "changes" => pairs().filter(|p| p[0] != p[1] && !(p[0].is_nan() && p[1].is_nan())).count() as f64,
        "resets" => {
            let at = |i: usize| (samples[i].0, window.start_of(i));
            let reset = |i: &usize| values[*i] < values[*i - 1] || begins(at(*i - 1), at(*i));
            (1..values.len()).filter(reset).count() as f64
        }
        "deriv" if samples.len() < 2 => return Ok(None),
        "deriv" => regression(samples, samples[0].0).0,
        "predict_linear" if samples.len() < 2 => return Ok(None),
        "predict_linear" => {
            let (slope, intercept) = regression(samples, window.t);
            slope * params[0] + intercept
        }
        "double_exponential_smoothing" => {
            let (sf, tf) = (params[0], params[1]);
            if sf <= 0.0 || sf >= 1.0 || tf <= 0.0 || tf >= 1.0 {
                return Err(Fault::Query);
            }
            if sf.is_nan() || tf.is_nan() {
                return Err(Fault::Unknown);
            }
            if values.len() < 2 {
                return Ok(None);
            }
            let (mut level, mut trend) = (values[0], values[1] - values[0]);
            let mut level_before = level;
            for (i, v) in values.iter().enumerate().skip(1) {
                if i > 1 {
                    trend = tf * (level - level_before) + (1.0 - tf) * trend;
                }
                level_before = level;
                level = sf * v + (1.0 - sf) * (level + trend);
            }
            level
        }
        _ => return Err(Fault::Unknown),
    }))
}

/// Large terms first lose nothing of the small ones: exact where it matters here.
fn sum(values: &[f64]) -> f64 {
    let (mut sum, mut lost) = (0.0f64, 0.0f64);
    for &v in values {
        let next = sum + v;
        lost += if next.is_infinite() {
            0.0
        } else if sum.abs() >= v.abs() {
            (sum - next) + v
        } else {
            (v - next) + sum
        };
        sum = next;
    }
    if sum.is_infinite() { sum } else { sum + lost }
}

fn mean(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let total = sum(values);
    if total.is_finite() || values.iter().any(|v| !v.is_finite()) {
        return total / n;
    }
    sum(&values.iter().map(|v| v / n).collect::<Vec<_>>())
}

fn variance(values: &[f64]) -> f64 {
    if values.iter().any(|v| !v.is_finite()) {
        return f64::NAN;
    }
    let middle = mean(values);
    let squares: Vec<f64> = values.iter().map(|v| (v - middle) * (v - middle)).collect();
    mean(&squares)
}

pub fn quantile(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| {
        b.is_nan().cmp(&a.is_nan()).then(a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
    });
    let rank = q * (sorted.len() - 1) as f64;
    let low = rank.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    let weight = rank - rank.floor();
    sorted[low] * (1.0 - weight) + sorted[high] * weight
}

/// Slope per second and value at `zero`, by least squares.
fn regression(samples: &[(i64, f64)], zero: i64) -> (f64, f64) {
    let first = samples[0].1;
    if samples.iter().all(|&(_, v)| v == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let n = samples.len() as f64;
    let xs: Vec<f64> = samples.iter().map(|&(t, _)| (t - zero) as f64 / 1000.0).collect();
    let ys: Vec<f64> = samples.iter().map(|&(_, v)| v).collect();
    let products = |a: &[f64], b: &[f64]| sum(&a.iter().zip(b).map(|(a, b)| a * b).collect::<Vec<_>>());
    let (sum_x, sum_y) = (sum(&xs), sum(&ys));
    let covariance = products(&xs, &ys) - sum_x * sum_y / n;
    let slope = covariance / (products(&xs, &xs) - sum_x * sum_x / n);
    (slope, sum_y / n - slope * sum_x / n)
}

fn extrapolated(function: &str, window: &Window) -> Option<f64> {
    let samples = &window.samples;
    let (first, last) = (samples.first()?, samples.last()?);
    let counter = function != "delta";
    let mut moved = last.1 - first.1;
    for i in (1..samples.len()).filter(|_| counter) {
        let at = |i: usize| (samples[i].0, window.start_of(i));
        if samples[i].1 < samples[i - 1].1 || begins(at(i - 1), at(i)) {
            moved += samples[i - 1].1;
        }
    }
    let times: Vec<i64> = samples.iter().map(|(t, _)| *t).collect();
    let zero = (counter && moved > 0.0 && first.1 >= 0.0).then(|| first.1 / moved);
    let (factor, from_start) = reach(window, &times, if counter { window.start_of(0) } else { 0 }, zero)?;
    if from_start {
        moved += first.1;
    }
    let seconds = (window.end - window.start) as f64 / 1000.0;
    Some(moved * factor / if function == "rate" { seconds } else { 1.0 })
}

/// A window with ends of its own.
fn extended(name: &str, ends: Ends, window: &Window) -> Outcome<Option<f64>> {
    let known: &[&str] = match ends {
        Ends::Anchored => &["changes", "delta", "increase", "rate", "resets"],
        Ends::Smoothed => &["delta", "increase", "rate"],
    };
    if !known.contains(&name) {
        return Err(Fault::Query);
    }
    if name == "resets" && window.starts.iter().any(|&start| start != 0) {
        return Err(Fault::Unknown);
    }
    let before = window.samples.iter().rev().find(|(at, _)| *at <= window.start);
    let inside: Vec<_> =
        window.samples.iter().copied().filter(|(at, _)| window.start < *at && *at <= window.end).collect();
    let after = window.samples.iter().find(|(at, _)| *at > window.end);
    let counter = matches!(name, "rate" | "increase");
    // What the window shows from its beginning to its end.
    let mut shown: Vec<f64> = Vec::new();
    match ends {
        Ends::Anchored => {
            if inside.is_empty() {
                return Ok(None);
            }
            shown.extend(before.map(|(_, v)| *v));
            shown.extend(inside.iter().map(|(_, v)| *v));
        }
        Ends::Smoothed => {
            let next = inside.first().or(after);
            match (before, next) {
                (Some(&(at, v)), _) if at == window.start => shown.push(v),
                (Some(&p), Some(&q)) => shown.push(on_the_line(p, q, window.start, counter)),
                _ => {}
            }
            shown.extend(inside.iter().map(|(_, v)| *v));
            if inside.last().is_none_or(|(at, _)| *at < window.end)
                && let Some(&q) = after
                && let Some(&p) = inside.last().or(before)
            {
                shown.push(on_the_line(p, q, window.end, counter));
            }
            if shown.is_empty() || (inside.is_empty() && after.is_none()) {
                return Ok(None);
            }
        }
    }
    let pairs = || shown.windows(2);
    let resets = pairs().filter(|p| p[1] < p[0]);
    Ok(Some(match name {
        "changes" => pairs().filter(|p| p[0] != p[1] && !(p[0].is_nan() && p[1].is_nan())).count() as f64,
        "resets" => resets.count() as f64,
        _ => {
            let mut moved = shown[shown.len() - 1] - shown[0];
            if counter {
                moved += resets.map(|p| p[0]).sum::<f64>();
            }
            let seconds = (window.end - window.start) as f64 / 1000.0;
            if name == "rate" { moved / seconds } else { moved }
        }
    }))
}

/// Native histograms, and buckets sorted into histograms by their labels without
/// `le` and name. Where both have the same labels neither counts.
pub fn of_histograms(
    v: Vector,
    native: impl Fn(&Hist) -> Outcome<f64>,
    classic: impl Fn(Vec<(f64, f64)>) -> Outcome<f64>,
) -> Outcome<Vector> {
    let mut histograms: Vec<(Labels, Vec<(f64, f64)>)> = Vec::new();
    let mut natives: Vec<(Labels, Rc<Hist>)> = Vec::new();
    for (labels, point) in v {
        let count = match point {
            Point::Float(count) => count,
            Point::Hist(h) => {
                natives.push((labels, h));
                continue;
            }
        };
        let Ok(bound) = model::float::parse(labels.value_or_empty("le")) else { continue };
        let named = labels.filter(|name| name != "le");
        match histograms.iter_mut().find(|(have, _)| *have == named) {
            Some((_, buckets)) => buckets.push((bound, count)),
            None => histograms.push((named, vec![(bound, count)])),
        }
    }
    let both = |labels: &Labels| {
        histograms.iter().any(|(l, _)| l == labels) && natives.iter().any(|(l, _)| l == labels)
    };
    let mut out = Vec::new();
    for (labels, h) in natives.iter().filter(|(labels, _)| !both(labels)) {
        out.push((super::nameless(labels), Point::Float(native(h)?)));
    }
    for (labels, buckets) in histograms.iter().filter(|(labels, _)| !both(labels)) {
        out.push((super::nameless(labels), Point::Float(classic(buckets.clone())?)));
    }
    super::unique(out)
}

pub fn bucket_quantile(q: f64, mut buckets: Vec<(f64, f64)>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    if buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
        return f64::NAN;
    }
    let mut merged: Vec<(f64, f64)> = Vec::new();
    for (bound, count) in buckets {
        match merged.last_mut() {
            Some(last) if last.0 == bound => last.1 += count,
            _ => merged.push((bound, count)),
        }
    }
    if merged.len() < 2 {
        return f64::NAN;
    }
    for i in 1..merged.len() {
        if merged[i].1 < merged[i - 1].1 || (merged[i].1 - merged[i - 1].1).abs() < 1e-12 * merged[i].1.abs()
        {
            merged[i].1 = merged[i - 1].1;
        }
    }
    let observations = merged[merged.len() - 1].1;
    if observations == 0.0 || observations.is_nan() {
        return f64::NAN;
    }
    let mut rank = q * observations;
    let at =
        merged[..merged.len() - 1].iter().position(|(_, count)| *count >= rank).unwrap_or(merged.len() - 1);
    if at == merged.len() - 1 {
        return merged[merged.len() - 2].0;
    }
    if at == 0 && merged[0].0 <= 0.0 {
        return merged[0].0;
    }
    let end = merged[at].0;
    let (mut start, mut count) = (0.0, merged[at].1);
    if at > 0 {
        start = merged[at - 1].0;
        count -= merged[at - 1].1;
        rank -= merged[at - 1].1;
    }
    start + (end - start) * (rank / count)
}
