//! `rate`, `increase`, `delta`, `irate`, `idelta`: how fast a series moved.
//!
//! ```text
//! window  (start ............................. end]
//! samples      x    x    x    x    x    x
//!         |----|  extrapolated   |-----|  if the gap is like those between samples
//! ```

use std::sync::Arc;

use model::histogram::CounterResetHint;
use model::{FloatHistogram, histogram::CUSTOM_BUCKETS_SCHEMA};

use super::histogram::{self as hist, Mixed};
use super::window::{Answer, Remarks, Samples, Window};
use crate::annotations::{Annotation, HistogramOperation};

/// Whether a sample's start timestamp says that the counter began anew after
/// the sample before. Source: Prometheus `promql/functions.go`, `isStartTimestampReset`.
pub(crate) fn is_start_reset(previous_st: i64, previous_t: i64, st: i64, t: i64) -> bool {
    if st == 0 || st >= t || st < previous_t {
        return false;
    }
    if st > previous_t {
        return true;
    }
    // It starts at the sample before: a delta series, if that one's own start is
    // known; else a cumulative one whose start is not.
    previous_st <= previous_t && previous_st != 0 && previous_st != previous_t
}

/// Whether a start timestamp reaches back behind the sample before.
fn overlaps(previous_st: i64, previous_t: i64, st: i64) -> bool {
    st != 0 && st < previous_t && st != previous_st
}

/// `rate` (`counter`, `per_second`), `increase` (`counter`) and `delta`.
pub(crate) fn extrapolated(
    window: &Window<'_>,
    counter: bool,
    per_second: bool,
    remarks: &mut Remarks<'_>,
) -> Option<Answer> {
    let samples = &window.samples;
    if !samples.floats.is_empty() && !samples.hists.is_empty() {
        remarks.mixed_floats_histograms();
        return None;
    }
    if samples.hists.is_empty() {
        float_rate(window, counter, per_second, remarks)
    } else {
        histogram_rate(window, counter, per_second, remarks)
    }
}

fn float_rate(
    window: &Window<'_>,
    counter: bool,
    per_second: bool,
    remarks: &mut Remarks<'_>,
) -> Option<Answer> {
    let Samples { floats, float_ts, .. } = window.samples;
    let sts = if counter { window.samples.float_sts } else { &[] };
    let (first, last) = (*floats.first()?, *floats.last()?);
    let mut result = last - first;
    if counter {
        if sts.is_empty() {
            for i in window.samples.drops() {
                result += floats[i - 1];
            }
        } else {
            result = float_increase_with_starts(window, result, remarks);
        }
    }
    let shape = Shape {
        first_ms: float_ts[0],
        last_ms: float_ts[float_ts.len() - 1],
        gaps: floats.len() - 1,
        start_known: sts.first().copied(),
    };
    let zero_point = |result: f64| (result > 0.0 && first >= 0.0).then(|| first / result);
    let factor = match shape.spread(window, counter) {
        Spread::TooFew => return None,
        Spread::FromStart(factor) => {
            result += first;
            factor
        }
        Spread::Extrapolate(edges) => edges.factor(counter.then(|| zero_point(result)).flatten()),
    };
    Some(Answer::Float(result * scale(factor, window, per_second)))
}

fn float_increase_with_starts(window: &Window<'_>, mut result: f64, remarks: &mut Remarks<'_>) -> f64 {
    let Samples { floats, float_ts, float_sts, .. } = window.samples;
    let mut overlap_seen = false;
    for i in 1..floats.len() {
        if !overlap_seen && overlaps(float_sts[i - 1], float_ts[i - 1], float_sts[i]) {
            remarks.add(Annotation::start_time_overlap(&(remarks.metric)(), remarks.pos));
            overlap_seen = true;
        }
        if floats[i] < floats[i - 1]
            || is_start_reset(float_sts[i - 1], float_ts[i - 1], float_sts[i], float_ts[i])
        {
            result += floats[i - 1];
        }
    }
    result
}

fn histogram_rate(
    window: &Window<'_>,
    counter: bool,
    per_second: bool,
    remarks: &mut Remarks<'_>,
) -> Option<Answer> {
    let Samples { hists, hist_ts, .. } = window.samples;
    let sts = if counter { window.samples.hist_sts } else { &[] };
    let mut result =
        if hists.len() > 1 { Some(histogram_increase(&window.samples, counter, remarks)?) } else { None };
    let shape = Shape {
        first_ms: hist_ts[0],
        last_ms: hist_ts[hist_ts.len() - 1],
        gaps: hists.len() - 1,
        start_known: sts.first().copied(),
    };
    let factor = match shape.spread(window, counter) {
        Spread::TooFew => return None,
        Spread::FromStart(factor) => {
            match &mut result {
                None => result = Some((*hists[0]).clone()),
                Some(result) => add(result, &hists[0], remarks)?,
            }
            factor
        }
        Spread::Extrapolate(edges) => {
            let zero_point = result.as_ref().and_then(|result| {
                (counter && result.count > 0.0 && hists[0].count >= 0.0)
                    .then(|| hists[0].count / result.count)
            });
            edges.factor(zero_point)
        }
    };
    let mut result = result?;
    hist::mul(&mut result, scale(factor, window, per_second));
    Some(Answer::Hist(Arc::new(result)))
}

/// Adds, and says in an annotation what went wrong or was reconciled.
pub(crate) fn add(
    base: &mut FloatHistogram,
    other: &FloatHistogram,
    remarks: &mut Remarks<'_>,
) -> Option<()> {
    match hist::add(base, other) {
        Err(Mixed) => {
            remarks.mixed_exponential_custom();
            None
        }
        Ok(done) => {
            if done.bounds_reconciled {
                reconciled(remarks, HistogramOperation::Addition);
            }
            Some(())
        }
    }
}

/// Subtracts, and says in an annotation what went wrong or was reconciled.
pub(crate) fn sub(
    base: &mut FloatHistogram,
    other: &FloatHistogram,
    remarks: &mut Remarks<'_>,
) -> Option<()> {
    match hist::sub(base, other) {
        Err(Mixed) => {
            remarks.mixed_exponential_custom();
            None
        }
        Ok(done) => {
            if done.bounds_reconciled {
                reconciled(remarks, HistogramOperation::Subtraction);
            }
            Some(())
        }
    }
}

fn reconciled(remarks: &mut Remarks<'_>, operation: HistogramOperation) {
    remarks.add(Annotation::mismatched_custom_buckets(operation, remarks.pos));
}

/// Last minus first, plus what resets took away; compacted, a gauge.
/// Source: Prometheus `promql/functions.go`, `histogramRate`.
fn histogram_increase(
    samples: &Samples<'_>,
    counter: bool,
    remarks: &mut Remarks<'_>,
) -> Option<FloatHistogram> {
    let Samples { hists, hist_ts, hist_sts, .. } = *samples;
    let sts = if counter { hist_sts } else { &[] };
    let start_reset =
        |i: usize| !sts.is_empty() && is_start_reset(sts[i - 1], hist_ts[i - 1], sts[i], hist_ts[i]);
    let is_gauge = |h: &FloatHistogram| h.counter_reset_hint == CounterResetHint::Gauge;
    let last = hists[hists.len() - 1].as_ref();
    let mut first = hists[0].clone();
    let mut custom = first.uses_custom_buckets();
    if counter && (is_gauge(&first) || is_gauge(last)) {
        remarks.not_counter();
    }
    // A reset right after the first sample: its layout does not matter any more.
    if counter && (start_reset(1) || hist::detect_reset(&hists[1], &first)) {
        first = Arc::new(FloatHistogram {
            schema: hists[1].schema,
            custom_values: hists[1].custom_values.clone(),
            ..FloatHistogram::default()
        });
        custom = hists[1].uses_custom_buckets();
    }
    if last.uses_custom_buckets() != custom {
        remarks.mixed_exponential_custom();
        return None;
    }
    let mut schema = last.schema.min(first.schema);
    if counter {
        for h in &hists[1..hists.len() - 1] {
            if is_gauge(h) {
                remarks.not_counter();
            }
            schema = schema.min(h.schema);
            if h.uses_custom_buckets() != custom {
                remarks.mixed_exponential_custom();
                return None;
            }
        }
    }
    let mut result =
        if schema == CUSTOM_BUCKETS_SCHEMA { last.clone() } else { hist::copy_to_schema(last, schema) };
    sub(&mut result, &first, remarks)?;
    if counter {
        let mut previous = first;
        let mut overlap_seen = false;
        for i in 1..hists.len() {
            if !overlap_seen && !sts.is_empty() && overlaps(sts[i - 1], hist_ts[i - 1], sts[i]) {
                remarks.add(Annotation::start_time_overlap(&(remarks.metric)(), remarks.pos));
                overlap_seen = true;
            }
            if start_reset(i) || hist::detect_reset(&hists[i], &previous) {
                add(&mut result, &previous, remarks)?;
            }
            previous = hists[i].clone();
        }
    } else if !is_gauge(&hists[0]) || !is_gauge(last) {
        remarks.not_gauge();
    }
    result.counter_reset_hint = CounterResetHint::Gauge;
    hist::compact(&mut result);
    Some(result)
}

/// Where the samples of a window lie.
struct Shape {
    first_ms: i64,
    last_ms: i64,
    gaps: usize,
    start_known: Option<i64>,
}

enum Spread {
    /// One sample and no start: no rate.
    TooFew,
    /// The first sample's start lies inside the window: its value counts whole
    /// and only the right edge is extrapolated.
    FromStart(f64),
    /// Both edges are extrapolated.
    Extrapolate(Edges),
}

struct Edges {
    sampled: f64,
    to_start: f64,
    to_end: f64,
}

impl Shape {
    fn spread(&self, window: &Window<'_>, counter: bool) -> Spread {
        let mut to_start = (self.first_ms - window.start_ms) as f64 / 1000.0;
        let mut to_end = (window.end_ms - self.last_ms) as f64 / 1000.0;
        let sampled = (self.last_ms - self.first_ms) as f64 / 1000.0;
        let average = if self.gaps > 0 { sampled / self.gaps as f64 } else { 0.0 };
        let threshold = average * 1.1;
        let start =
            self.start_known.filter(|&st| counter && st != 0 && st > window.start_ms && st < self.first_ms);
        if start.is_none() && self.gaps == 0 {
            return Spread::TooFew;
        }
        if to_end >= threshold {
            to_end = average / 2.0;
        }
        if let Some(st) = start {
            let sampled = (self.last_ms - st) as f64 / 1000.0;
            return Spread::FromStart(Edges { sampled, to_start: 0.0, to_end }.factor(None));
        }
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        Spread::Extrapolate(Edges { sampled, to_start, to_end })
    }
}

impl Edges {
    /// How much larger the window is than what was sampled. `zero_point`: the
    /// share of the sampled interval before which a counter would be below zero.
    fn factor(&self, zero_point: Option<f64>) -> f64 {
        let mut to_start = self.to_start;
        if let Some(share) = zero_point {
            let to_zero = self.sampled * share;
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
        if self.sampled == 0.0 { 1.0 } else { (self.sampled + to_start + self.to_end) / self.sampled }
    }
}

fn scale(factor: f64, window: &Window<'_>, per_second: bool) -> f64 {
    if per_second { factor / seconds(window.range_ms) } else { factor }
}

/// Milliseconds in seconds as Go's `Duration.Seconds` adds them up.
pub(crate) fn seconds(ms: i64) -> f64 {
    (ms / 1000) as f64 + ((ms % 1000) * 1_000_000) as f64 / 1e9
}

/// `irate` (`rate`) and `idelta`: from the last two samples.
pub(crate) fn instant(window: &Window<'_>, rate: bool, remarks: &mut Remarks<'_>) -> Option<Answer> {
    let samples = &window.samples;
    if samples.len() < 2 {
        return None;
    }
    let [earlier, later] = last_two(samples);
    let interval = later.t - earlier.t;
    if interval == 0 {
        return None;
    }
    let start_reset = is_start_reset(earlier.st, earlier.t, later.st, later.t);
    let per_second = interval as f64 / 1000.0;
    match (earlier.value, later.value) {
        (Value::Float(a), Value::Float(b)) => {
            let moved = if rate && (b < a || start_reset) { b } else { b - a };
            Some(Answer::Float(if rate { moved / per_second } else { moved }))
        }
        (Value::Hist(a), Value::Hist(b)) => {
            let gauge = |h: &FloatHistogram| h.counter_reset_hint == CounterResetHint::Gauge;
            if rate && (gauge(a) || gauge(b)) {
                remarks.not_counter();
            }
            if !rate && (!gauge(a) || !gauge(b)) {
                remarks.not_gauge();
            }
            let mut result = b.clone();
            if !rate || (!start_reset && !hist::detect_reset(b, a)) {
                sub(&mut result, a, remarks)?;
            }
            result.counter_reset_hint = CounterResetHint::Gauge;
            hist::compact(&mut result);
            if rate {
                hist::div(&mut result, per_second);
            }
            Some(Answer::Hist(Arc::new(result)))
        }
        _ => {
            remarks.mixed_floats_histograms();
            None
        }
    }
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Float(f64),
    Hist(&'a FloatHistogram),
}

#[derive(Clone, Copy)]
struct Sample<'a> {
    t: i64,
    st: i64,
    value: Value<'a>,
}

fn last_two<'a>(samples: &Samples<'a>) -> [Sample<'a>; 2] {
    let float = |i: usize| Sample {
        t: samples.float_ts[i],
        st: samples.float_sts.get(i).copied().unwrap_or(0),
        value: Value::Float(samples.floats[i]),
    };
    let hist = |i: usize| Sample {
        t: samples.hist_ts[i],
        st: samples.hist_sts.get(i).copied().unwrap_or(0),
        value: Value::Hist(&samples.hists[i]),
    };
    let (mut f, mut h) = (samples.floats.len(), samples.hists.len());
    let mut take_latest = || {
        let float_later = f > 0 && (h == 0 || samples.float_ts[f - 1] > samples.hist_ts[h - 1]);
        if float_later {
            f -= 1;
            float(f)
        } else {
            h -= 1;
            hist(h)
        }
    };
    let later = take_latest();
    [take_latest(), later]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotations::Annotations;
    use crate::functions::window::{Cursor, SeriesData};

    fn rate_of(points: &[(i64, f64)], start_ms: i64, end_ms: i64, counter: bool) -> Option<f64> {
        let mut series = SeriesData::default();
        for &(t, v) in points {
            series.push_float(t, v);
        }
        series.find_drops();
        let mut cursor = Cursor::default();
        cursor.slide(&series, start_ms, end_ms);
        let samples = cursor.window(&series);
        let window = Window { samples, start_ms, end_ms, range_ms: end_ms - start_ms, at_ms: end_ms };
        let mut annotations = Annotations::default();
        let mut remarks = Remarks {
            metric: &String::new,
            pos: crate::annotations::Place::default(),
            annotations: &mut annotations,
        };
        match extrapolated(&window, counter, false, &mut remarks)? {
            Answer::Float(v) => Some(v),
            Answer::Hist(_) => None,
        }
    }

    #[test]
    fn an_increase_reaches_to_the_edges() {
        let points: Vec<_> = (1..=4).map(|i| (i * 15_000, i as f64)).collect();
        assert_eq!(rate_of(&points, 0, 60_000, false), Some(4.0));
    }

    #[test]
    fn a_reset_adds_back_what_it_took() {
        let points = [(15_000, 10.0), (30_000, 14.0), (45_000, 3.0), (60_000, 5.0)];
        // 10 → 14, restart, 5: the counter moved by 4 + 5 in 45 of 60 seconds.
        assert_eq!(rate_of(&points, 0, 60_000, true), Some(9.0 * (45.0 + 15.0) / 45.0));
    }

    #[test]
    fn a_start_at_the_sample_before_is_a_reset_of_a_delta_series() {
        assert!(is_start_reset(10, 20, 20, 30));
        assert!(!is_start_reset(0, 20, 20, 30), "the start before is unknown");
        assert!(is_start_reset(0, 20, 25, 30));
        assert!(!is_start_reset(0, 20, 15, 30));
    }
}
