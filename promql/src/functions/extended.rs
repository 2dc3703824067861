//! `anchored` and `smoothed` ranges: no extrapolation. Anchored takes the last
//! sample at or before the window's start, smoothed interpolates at both edges.
//!
//! ```text
//!            (start           end]
//!  anchored x--|--x---x---x--|        left edge has the value of the x before
//!  smoothed x--o--x---x---x--o--x     o: on the line between neighbours
//! ```

use std::sync::Arc;

use model::FloatHistogram;
use model::histogram::CounterResetHint;

use super::histogram as hist;
use super::rate::{add, seconds, sub};
use super::window::{Answer, Remarks, Samples, Window};

/// Functions that take an anchored range, in the order upstream lists them.
pub(crate) const ANCHORED_FUNCTIONS: [&str; 5] = ["changes", "delta", "increase", "rate", "resets"];
/// Functions that take a smoothed range.
pub(crate) const SMOOTHED_FUNCTIONS: [&str; 3] = ["delta", "increase", "rate"];

/// What is asked of an extended range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extended {
    pub(crate) smoothed: bool,
    pub(crate) counter: bool,
    pub(crate) per_second: bool,
}

/// `rate`, `increase` and `delta` of an extended range.
pub(crate) fn rate(window: &Window<'_>, how: Extended, remarks: &mut Remarks<'_>) -> Option<Answer> {
    let samples = &window.samples;
    match (samples.floats.is_empty(), samples.hists.is_empty()) {
        (true, true) => None,
        (false, false) => {
            remarks.mixed_floats_histograms();
            None
        }
        (false, true) => float_rate(window, how),
        (true, false) => histogram_rate(window, how, remarks),
    }
}

/// First and last sample that matter, `None` where the window is not covered.
fn bounds(timestamps: &[i64], window: &Window<'_>, smoothed: bool) -> Option<(usize, usize)> {
    let mut last = timestamps.len() - 1;
    let first = timestamps[..last].partition_point(|&t| t <= window.start_ms).saturating_sub(1);
    if smoothed {
        last = timestamps[..last].partition_point(|&t| t < window.end_ms);
    }
    let covered = timestamps[last] > window.start_ms && !(smoothed && timestamps[first] > window.end_ms);
    covered.then_some((first, last))
}

/// The value at `t` on the line between two samples; after a reset of a
/// counter the line starts at zero.
pub(crate) fn interpolate(a: (i64, f64), b: (i64, f64), t: i64, counter: bool) -> f64 {
    let left = if counter && b.1 < a.1 { 0.0 } else { a.1 };
    left + (b.1 - left) * (t - a.0) as f64 / (b.0 - a.0) as f64
}

fn float_rate(window: &Window<'_>, how: Extended) -> Option<Answer> {
    let Samples { floats, float_ts, .. } = window.samples;
    let (mut first, last) = bounds(float_ts, window, how.smoothed)?;
    let (left, right) = float_edges(&window.samples, window, first, last, how.smoothed, how.counter);
    let mut result = right - left;
    if how.counter {
        let mut end = last + 1;
        if float_ts[first] <= window.start_ms {
            first += 1;
        }
        if float_ts[last] >= window.end_ms {
            end -= 1;
        }
        let mut correction = 0.0;
        let mut previous = left;
        for &v in floats.get(first..end).unwrap_or_default() {
            if v < previous {
                correction += previous;
            }
            previous = v;
        }
        if right < previous {
            correction += previous;
        }
        result += correction;
    }
    if how.per_second {
        result /= seconds(window.range_ms);
    }
    Some(Answer::Float(result))
}

fn float_edges(
    samples: &Samples<'_>,
    window: &Window<'_>,
    first: usize,
    last: usize,
    smoothed: bool,
    counter: bool,
) -> (f64, f64) {
    let at = |i: usize| (samples.float_ts[i], samples.floats[i]);
    let left = if smoothed && at(first).0 < window.start_ms && first + 1 < samples.floats.len() {
        interpolate(at(first), at(first + 1), window.start_ms, counter)
    } else {
        at(first).1
    };
    let right = if smoothed && last > 0 && at(last).0 > window.end_ms {
        interpolate(at(last - 1), at(last), window.end_ms, counter)
    } else {
        at(last).1
    };
    (left, right)
}

/// The points of an extended range that stands alone: both edges and what lies between.
pub(crate) fn points(window: &Window<'_>, smoothed: bool) -> Vec<(i64, f64)> {
    let samples = &window.samples;
    if samples.floats.is_empty() {
        return Vec::new();
    }
    let mut last = samples.floats.len() - 1;
    let mut first = samples.float_ts[..last].partition_point(|&t| t <= window.start_ms).saturating_sub(1);
    if smoothed {
        last = samples.float_ts[..last].partition_point(|&t| t < window.end_ms);
    }
    if samples.float_ts[last] <= window.start_ms {
        return Vec::new();
    }
    let (left, right) = float_edges(samples, window, first, last, smoothed, false);
    let mut end = last + 1;
    if samples.float_ts[first] <= window.start_ms {
        first += 1;
    }
    if samples.float_ts[last] >= window.end_ms {
        end -= 1;
    }
    let mut out = vec![(window.start_ms, left)];
    out.extend((first..end.max(first)).map(|i| (samples.float_ts[i], samples.floats[i])));
    out.push((window.end_ms, right));
    out
}

/// The histogram at `t` on the line between two; see [`interpolate`].
pub(crate) fn interpolate_histograms(
    a: (i64, &FloatHistogram),
    b: (i64, &FloatHistogram),
    t: i64,
    counter: bool,
    remarks: &mut Remarks<'_>,
) -> Option<FloatHistogram> {
    if t == a.0 {
        return Some(a.1.clone());
    }
    let mut result = b.1.clone();
    if t == b.0 {
        return Some(result);
    }
    let fraction = (t - a.0) as f64 / (b.0 - a.0) as f64;
    if counter && hist::detect_reset(b.1, a.1) {
        hist::mul(&mut result, fraction);
        return Some(result);
    }
    sub(&mut result, a.1, remarks)?;
    hist::mul(&mut result, fraction);
    add(&mut result, a.1, remarks)?;
    Some(result)
}

fn histogram_rate(window: &Window<'_>, how: Extended, remarks: &mut Remarks<'_>) -> Option<Answer> {
    let Samples { hists, hist_ts, .. } = window.samples;
    let (first, last) = bounds(hist_ts, window, how.smoothed)?;
    let custom = hists[first].uses_custom_buckets();
    for h in hists.get(first..=last).unwrap_or_default() {
        if h.uses_custom_buckets() != custom {
            remarks.mixed_exponential_custom();
            return None;
        }
        if how.counter && h.counter_reset_hint == CounterResetHint::Gauge {
            remarks.not_counter();
        }
    }
    let at = |i: usize| (hist_ts[i], hists[i].as_ref());
    let left = if how.smoothed && hist_ts[first] < window.start_ms && first + 1 < hists.len() {
        interpolate_histograms(at(first), at(first + 1), window.start_ms, how.counter, remarks)?
    } else {
        (*hists[first]).clone()
    };
    let right = if how.smoothed && last > 0 && hist_ts[last] > window.end_ms {
        interpolate_histograms(at(last - 1), at(last), window.end_ms, how.counter, remarks)?
    } else {
        (*hists[last]).clone()
    };
    let gauge = |h: &FloatHistogram| h.counter_reset_hint == CounterResetHint::Gauge;
    if !how.counter && (!gauge(&left) || !gauge(&right)) {
        remarks.not_gauge();
    }
    let mut result = right.clone();
    sub(&mut result, &left, remarks)?;
    if how.counter {
        let correction = reset_correction(window, first, last, &left, &right, how.smoothed, remarks)?;
        if let Some(correction) = correction {
            add(&mut result, &correction, remarks)?;
        }
    }
    if how.per_second {
        hist::div(&mut result, seconds(window.range_ms));
    }
    result.counter_reset_hint = CounterResetHint::Gauge;
    hist::compact(&mut result);
    Some(Answer::Hist(Arc::new(result)))
}

/// The sum of what resets took away between the edges; `None` where it cannot
/// be added up, `Some(None)` where there was no reset.
fn reset_correction(
    window: &Window<'_>,
    first: usize,
    last: usize,
    left: &FloatHistogram,
    right: &FloatHistogram,
    smoothed: bool,
    remarks: &mut Remarks<'_>,
) -> Option<Option<FloatHistogram>> {
    let Samples { hists, hist_ts, .. } = window.samples;
    let mut next = first + 1;
    let mut previous = left;
    if smoothed
        && hist_ts[first] < window.start_ms
        && next < hists.len()
        && hist::detect_reset(&hists[next], &hists[first])
    {
        // The left edge was interpolated across this reset already.
        previous = &hists[next];
        next += 1;
    }
    // The last sample is the right edge itself.
    if next > last {
        return Some(None);
    }
    let mut correction: Option<FloatHistogram> = None;
    let between = hists[next..last].iter().map(AsRef::as_ref);
    for h in between.chain(std::iter::once(right)) {
        if hist::detect_reset(h, previous) {
            match &mut correction {
                None => correction = Some(previous.clone()),
                Some(sum) => add(sum, previous, remarks)?,
            }
        }
        previous = h;
    }
    Some(correction)
}

/// A smoothed instant selector at `at_ms`: the value on the line between the
/// neighbours, or that of the last sample where none follows.
pub(crate) fn smooth_at(samples: &Samples<'_>, at_ms: i64, remarks: &mut Remarks<'_>) -> Option<Answer> {
    match (samples.floats.is_empty(), samples.hists.is_empty()) {
        (true, true) => None,
        (false, false) => {
            remarks.mixed_floats_histograms();
            None
        }
        (false, true) => {
            let at = |i: usize| (samples.float_ts[i], samples.floats[i]);
            let i = samples.float_ts.partition_point(|&t| t < at_ms);
            if samples.float_ts.get(i) == Some(&at_ms) {
                return Some(Answer::Float(samples.floats[i]));
            }
            let before = i.checked_sub(1)?;
            Some(Answer::Float(if i < samples.floats.len() {
                interpolate(at(before), at(i), at_ms, false)
            } else {
                samples.floats[before]
            }))
        }
        (true, false) => {
            let i = samples.hist_ts.partition_point(|&t| t < at_ms);
            if samples.hist_ts.get(i) == Some(&at_ms) {
                return Some(Answer::Hist(samples.hists[i].clone()));
            }
            let before = i.checked_sub(1)?;
            let (a, b) = (&samples.hists[before], samples.hists.get(i));
            let Some(b) = b else {
                let hint = CounterResetHint::Unknown;
                return Some(Answer::Hist(Arc::new(FloatHistogram {
                    counter_reset_hint: hint,
                    ..(**a).clone()
                })));
            };
            if a.uses_custom_buckets() != b.uses_custom_buckets() {
                remarks.mixed_exponential_custom();
                return None;
            }
            let counter = a.counter_reset_hint != CounterResetHint::Gauge
                || b.counter_reset_hint != CounterResetHint::Gauge;
            let (ta, tb) = (samples.hist_ts[before], samples.hist_ts[i]);
            interpolate_histograms((ta, a), (tb, b), at_ms, counter, remarks)
                .map(|h| Answer::Hist(Arc::new(h)))
        }
    }
}

/// First float and histogram that `changes` and `resets` compare; for anchored
/// ranges the latest sample at or before the window's start comes first.
pub(crate) fn first_compared(window: &Window<'_>, anchored: bool) -> Option<(usize, usize)> {
    if !anchored {
        return Some((0, 0));
    }
    let samples = &window.samples;
    let floats_before = samples.float_ts.partition_point(|&t| t <= window.start_ms);
    let hists_before = samples.hist_ts.partition_point(|&t| t <= window.start_ms);
    if floats_before >= samples.floats.len() && hists_before >= samples.hists.len() {
        return None;
    }
    Some(match (floats_before, hists_before) {
        (0, 0) => (0, 0),
        (f, 0) => (f - 1, 0),
        (0, h) => (0, h - 1),
        (f, h) if samples.float_ts[f - 1] >= samples.hist_ts[h - 1] => (f - 1, h),
        (f, h) => (f, h - 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_starts_from_zero_after_a_reset() {
        assert_eq!(interpolate((0, 8.0), (10, 4.0), 5, true), 2.0);
        assert_eq!(interpolate((0, 8.0), (10, 4.0), 5, false), 6.0);
    }
}
