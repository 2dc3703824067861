//! Range functions that summarise a window: `*_over_time`, `changes`,
//! `resets`, `deriv` and their kin.

use std::sync::Arc;

use model::FloatHistogram;
use model::histogram::CounterResetHint;

use super::extended::first_compared;
use super::histogram::{self as hist, Mixed};
use super::kahan::{self, Sum};
use super::quantile::quantile;
use super::rate::is_start_reset;
use super::window::{Answer, Remarks, Samples, Window};
use crate::annotations::{Annotation, HistogramOperation};

/// `sum_over_time`
pub(crate) fn sum(window: &Window<'_>, remarks: &mut Remarks<'_>) -> Option<Answer> {
    let samples = unmixed(window, remarks)?;
    if samples.floats.is_empty() {
        return summed(samples.hists, false, remarks);
    }
    let mut sum = Sum::default();
    for &v in samples.floats {
        sum.add(v);
    }
    Some(Answer::Float(if sum.sum.is_infinite() { sum.sum } else { sum.value() }))
}

/// `avg_over_time`
pub(crate) fn avg(window: &Window<'_>, remarks: &mut Remarks<'_>) -> Option<Answer> {
    let samples = unmixed(window, remarks)?;
    if samples.floats.is_empty() {
        return summed(samples.hists, true, remarks);
    }
    let mut mean = Mean::new(samples.floats[0]);
    for &v in &samples.floats[1..] {
        mean.add(v);
    }
    Some(Answer::Float(mean.value()))
}

fn unmixed<'a>(window: &Window<'a>, remarks: &mut Remarks<'_>) -> Option<Samples<'a>> {
    let samples = window.samples;
    if !samples.floats.is_empty() && !samples.hists.is_empty() {
        remarks.mixed_floats_histograms();
        return None;
    }
    Some(samples)
}

/// A mean that adds up directly while it can, and goes on incrementally once
/// the sum would overflow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    count: f64,
    sum: f64,
    compensation: f64,
    incremental: bool,
}

impl Mean {
    pub(crate) fn new(first: f64) -> Mean {
        Mean { count: 1.0, sum: first, compensation: 0.0, incremental: false }
    }

    pub(crate) fn add(&mut self, v: f64) {
        self.count += 1.0;
        if !self.incremental {
            let (sum, compensation) = kahan::add(v, self.sum, self.compensation);
            if !sum.is_infinite() {
                (self.sum, self.compensation) = (sum, compensation);
                return;
            }
            self.incremental = true;
            self.sum /= self.count - 1.0;
            self.compensation /= self.count - 1.0;
        }
        let q = (self.count - 1.0) / self.count;
        (self.sum, self.compensation) = kahan::add(v / self.count, q * self.sum, q * self.compensation);
    }

    pub(crate) fn value(&self) -> f64 {
        if self.incremental {
            self.sum + self.compensation
        } else {
            self.sum / self.count + self.compensation / self.count
        }
    }
}

fn summed(hists: &[Arc<FloatHistogram>], mean: bool, remarks: &mut Remarks<'_>) -> Option<Answer> {
    let mut sum = HistogramSum::new(&hists[0], mean);
    for h in &hists[1..] {
        if sum.add(h).is_err() {
            remarks.mixed_exponential_custom();
            return None;
        }
    }
    if sum.resets_conflict() {
        remarks.add(Annotation::counter_reset_collision(HistogramOperation::Aggregation, remarks.pos));
    }
    if sum.bounds_reconciled {
        remarks.add(Annotation::mismatched_custom_buckets(HistogramOperation::Aggregation, remarks.pos));
    }
    Some(Answer::Hist(Arc::new(sum.finish())))
}

/// A compensated sum or mean of histograms.
#[derive(Clone, Debug)]
pub(crate) struct HistogramSum {
    value: FloatHistogram,
    compensation: Option<FloatHistogram>,
    count: f64,
    mean: bool,
    incremental: bool,
    reset_seen: bool,
    no_reset_seen: bool,
    pub(crate) bounds_reconciled: bool,
}

impl HistogramSum {
    pub(crate) fn new(first: &FloatHistogram, mean: bool) -> HistogramSum {
        let mut sum = HistogramSum {
            value: first.clone(),
            compensation: None,
            count: 1.0,
            mean,
            incremental: false,
            reset_seen: false,
            no_reset_seen: false,
            bounds_reconciled: false,
        };
        sum.note_hint(first);
        sum
    }

    fn note_hint(&mut self, h: &FloatHistogram) {
        self.reset_seen |= h.counter_reset_hint == CounterResetHint::CounterReset;
        self.no_reset_seen |= h.counter_reset_hint == CounterResetHint::NotCounterReset;
    }

    pub(crate) fn resets_conflict(&self) -> bool {
        self.reset_seen && self.no_reset_seen
    }

    /// Adds one more. The error: exponential and custom buckets do not mix.
    pub(crate) fn add(&mut self, h: &FloatHistogram) -> Result<(), Mixed> {
        self.note_hint(h);
        self.count += 1.0;
        if !self.mean {
            let (compensation, reconciled) = hist::kahan_add(&mut self.value, h, self.compensation.take())?;
            self.compensation = Some(compensation);
            self.bounds_reconciled |= reconciled;
            return Ok(());
        }
        if !self.incremental {
            let mut value = self.value.clone();
            let (compensation, reconciled) = hist::kahan_add(&mut value, h, self.compensation.clone())?;
            self.bounds_reconciled |= reconciled;
            if !hist::has_overflow(&value) {
                (self.value, self.compensation) = (value, Some(compensation));
                return Ok(());
            }
            self.incremental = true;
            hist::div(&mut self.value, self.count - 1.0);
            if let Some(compensation) = &mut self.compensation {
                hist::div(compensation, self.count - 1.0);
            }
        }
        let q = (self.count - 1.0) / self.count;
        if let Some(compensation) = &mut self.compensation {
            hist::mul(compensation, q);
        }
        let mut part = h.clone();
        hist::div(&mut part, self.count);
        hist::mul(&mut self.value, q);
        let (compensation, reconciled) = hist::kahan_add(&mut self.value, &part, self.compensation.take())?;
        self.compensation = Some(compensation);
        self.bounds_reconciled |= reconciled;
        Ok(())
    }

    /// The sum or mean, not compacted.
    pub(crate) fn finish(self) -> FloatHistogram {
        let HistogramSum { mut value, mut compensation, count, mean, incremental, .. } = self;
        if mean && !incremental {
            hist::div(&mut value, count);
            if let Some(compensation) = &mut compensation {
                hist::div(compensation, count);
            }
        }
        if let Some(compensation) = compensation {
            // Both have the same layout, so this cannot fail.
            let _ = hist::add(&mut value, &compensation);
        }
        value
    }
}

/// `count_over_time`
pub(crate) fn count(window: &Window<'_>) -> Option<Answer> {
    Some(Answer::Float(window.samples.len() as f64))
}

/// `first_over_time`
pub(crate) fn first(window: &Window<'_>) -> Option<Answer> {
    let s = &window.samples;
    match (s.float_ts.first(), s.hist_ts.first()) {
        (Some(f), Some(h)) if f < h => Some(Answer::Float(s.floats[0])),
        (Some(_), None) => Some(Answer::Float(s.floats[0])),
        (_, Some(_)) => Some(Answer::Hist(s.hists[0].clone())),
        (None, None) => None,
    }
}

/// `last_over_time`
pub(crate) fn last(window: &Window<'_>) -> Option<Answer> {
    let s = &window.samples;
    let float = s.floats.last().map(|&v| Answer::Float(v));
    match (s.float_ts.last(), s.hist_ts.last()) {
        (Some(f), Some(h)) if f > h => float,
        (Some(_), None) => float,
        (_, Some(_)) => s.hists.last().map(|h| Answer::Hist(h.clone())),
        (None, None) => None,
    }
}

/// `ts_of_first_over_time`
pub(crate) fn ts_of_first(window: &Window<'_>) -> Option<Answer> {
    let s = &window.samples;
    s.float_ts.first().into_iter().chain(s.hist_ts.first()).min().map(|&t| Answer::Float(t as f64 / 1000.0))
}

/// `ts_of_last_over_time`
pub(crate) fn ts_of_last(window: &Window<'_>) -> Option<Answer> {
    let s = &window.samples;
    s.float_ts.last().into_iter().chain(s.hist_ts.last()).max().map(|&t| Answer::Float(t as f64 / 1000.0))
}

/// Floats of a window that ignores histograms, with a remark where it had both.
fn only_floats<'a>(window: &Window<'a>, remarks: &mut Remarks<'_>) -> Option<Samples<'a>> {
    let samples = window.samples;
    if samples.floats.is_empty() {
        return None;
    }
    if !samples.hists.is_empty() {
        remarks.histograms_ignored();
    }
    Some(samples)
}

/// `min_over_time` and `max_over_time`, or when that was (its last time).
pub(crate) fn extreme(
    window: &Window<'_>,
    max: bool,
    when: bool,
    remarks: &mut Remarks<'_>,
) -> Option<Answer> {
    let samples = only_floats(window, remarks)?;
    if let Some(at) = samples.extreme {
        let value = if when { samples.float_ts[at] as f64 / 1000.0 } else { samples.floats[at] };
        return Some(Answer::Float(value));
    }
    let mut best = samples.floats[0];
    let mut at = samples.float_ts[0];
    for (&v, &t) in samples.floats.iter().zip(samples.float_ts) {
        let better = if max { v > best } else { v < best };
        if better || best.is_nan() || (when && v == best) {
            best = v;
            at = t;
        }
    }
    Some(Answer::Float(if when { at as f64 / 1000.0 } else { best }))
}

/// `quantile_over_time`
pub(crate) fn quantile_over_time(window: &Window<'_>, q: f64, remarks: &mut Remarks<'_>) -> Option<Answer> {
    if window.samples.floats.is_empty() {
        return None;
    }
    if !(0.0..=1.0).contains(&q) {
        remarks.add(Annotation::invalid_quantile(q, remarks.pos));
    }
    let samples = only_floats(window, remarks)?;
    Some(Answer::Float(quantile(q, &mut samples.floats.to_vec())))
}

/// `mad_over_time`
pub(crate) fn mad(window: &Window<'_>, remarks: &mut Remarks<'_>) -> Option<Answer> {
    let samples = only_floats(window, remarks)?;
    if samples.floats.iter().any(|v| v.is_nan()) {
        return Some(Answer::Float(f64::NAN));
    }
    let mut values = samples.floats.to_vec();
    let median = quantile(0.5, &mut values);
    for v in &mut values {
        *v = (*v - median).abs();
    }
    Some(Answer::Float(quantile(0.5, &mut values)))
}

/// `stdvar_over_time`, or its root.
pub(crate) fn variance(window: &Window<'_>, root: bool, remarks: &mut Remarks<'_>) -> Option<Answer> {
    let samples = only_floats(window, remarks)?;
    let (mut count, mut mean, mut aux) = (0.0, Sum::default(), Sum::default());
    for &v in samples.floats {
        count += 1.0;
        let delta = v - mean.value();
        mean.add(delta / count);
        aux.add(delta * (v - mean.value()));
    }
    let variance = aux.value() / count;
    Some(Answer::Float(if root { variance.sqrt() } else { variance }))
}

/// `double_exponential_smoothing`; the error is the query's.
pub(crate) fn double_exponential_smoothing(
    window: &Window<'_>,
    smoothing: f64,
    trend: f64,
    remarks: &mut Remarks<'_>,
) -> Result<Option<Answer>, String> {
    for (name, symbol, factor) in [("smoothing", "sf", smoothing), ("trend", "tf", trend)] {
        if factor <= 0.0 || factor >= 1.0 {
            return Err(format!(
                "invalid {name} factor. Expected: 0 < {symbol} < 1, got: {}",
                super::format::format_six_decimals(factor)
            ));
        }
    }
    let Some(floats) = two_floats(window, remarks) else { return Ok(None) };
    let mut before = 0.0;
    let mut level = floats[0];
    let mut slope = floats[1] - floats[0];
    for (i, &v) in floats.iter().enumerate().skip(1) {
        if i > 1 {
            slope = trend * (level - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * v + (1.0 - smoothing) * (level + slope);
        (before, level) = (level, next);
    }
    Ok(Some(Answer::Float(level)))
}

/// The floats where there are at least two; a remark where histograms were ignored.
fn two_floats<'a>(window: &Window<'a>, remarks: &mut Remarks<'_>) -> Option<&'a [f64]> {
    let samples = window.samples;
    if !samples.floats.is_empty() && !samples.hists.is_empty() {
        remarks.histograms_ignored();
    }
    (samples.floats.len() >= 2).then_some(samples.floats)
}

/// `deriv`
pub(crate) fn deriv(window: &Window<'_>, remarks: &mut Remarks<'_>) -> Option<Answer> {
    two_floats(window, remarks)?;
    Some(Answer::Float(regression(&window.samples, window.samples.float_ts[0]).0))
}

/// `predict_linear`
pub(crate) fn predict_linear(window: &Window<'_>, seconds: f64, remarks: &mut Remarks<'_>) -> Option<Answer> {
    two_floats(window, remarks)?;
    let (slope, intercept) = regression(&window.samples, window.at_ms);
    Some(Answer::Float(slope * seconds + intercept))
}

/// Slope and value at a time of the line of least squares.
/// Source: Prometheus `promql/functions.go`, `linearRegression`.
fn regression(samples: &Samples<'_>, intercept_ms: i64) -> (f64, f64) {
    let first = samples.floats[0];
    let mut n = 0.0;
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) =
        (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    let mut constant = true;
    for (&t, &y) in samples.float_ts.iter().zip(samples.floats) {
        constant &= n == 0.0 || y == first;
        n += 1.0;
        let x = (t - intercept_ms) as f64 / 1e3;
        x_sum.add(x);
        y_sum.add(y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    if constant {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (x, y, xy, xx) = (x_sum.value(), y_sum.value(), xy_sum.value(), xx_sum.value());
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

#[derive(Clone, Copy)]
enum One<'a> {
    Float(f64),
    Hist(&'a FloatHistogram),
}

/// Walks floats and histograms in order of time from the given positions.
fn in_order<'a>(
    samples: Samples<'a>,
    (mut f, mut h): (usize, usize),
) -> impl Iterator<Item = (i64, i64, One<'a>)> {
    std::iter::from_fn(move || {
        let float_next = match (samples.float_ts.get(f), samples.hist_ts.get(h)) {
            (None, None) => return None,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(a), Some(b)) => a < b,
        };
        Some(if float_next {
            f += 1;
            let st = samples.float_sts.get(f - 1).copied().unwrap_or(0);
            (samples.float_ts[f - 1], st, One::Float(samples.floats[f - 1]))
        } else {
            h += 1;
            let st = samples.hist_sts.get(h - 1).copied().unwrap_or(0);
            (samples.hist_ts[h - 1], st, One::Hist(&samples.hists[h - 1]))
        })
    })
}

/// `resets`
pub(crate) fn resets(window: &Window<'_>, anchored: bool) -> Option<Answer> {
    pairs(window, anchored, |(pt, pst, previous), (t, st, current)| match (previous, current) {
        (One::Float(a), One::Float(b)) => b < a || is_start_reset(pst, pt, st, t),
        (One::Hist(a), One::Hist(b)) => is_start_reset(pst, pt, st, t) || hist::detect_reset(b, a),
        _ => true,
    })
}

/// `changes`
pub(crate) fn changes(window: &Window<'_>, anchored: bool) -> Option<Answer> {
    pairs(window, anchored, |(_, _, previous), (_, _, current)| match (previous, current) {
        (One::Float(a), One::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (One::Hist(a), One::Hist(b)) => !hist::equals(b, a),
        _ => true,
    })
}

/// Counts neighbours for which `differs` holds.
fn pairs(
    window: &Window<'_>,
    anchored: bool,
    differs: impl Fn((i64, i64, One<'_>), (i64, i64, One<'_>)) -> bool,
) -> Option<Answer> {
    if window.samples.is_empty() {
        return None;
    }
    let first = first_compared(window, anchored)?;
    let mut all = in_order(window.samples, first);
    let mut previous = all.next()?;
    let mut count = 0u64;
    for current in all {
        count += u64::from(differs(previous, current));
        previous = current;
    }
    Some(Answer::Float(count as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_survives_an_overflowing_sum() {
        let mut mean = Mean::new(f64::MAX);
        mean.add(f64::MAX);
        assert_eq!(mean.value(), f64::MAX);
    }
}
