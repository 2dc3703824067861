//! Series of every kind, for queries that are made up.

use std::sync::Arc;

use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{
    Appendable, CounterResetHint, FloatBatch, FloatHistogram, Histogram, HistogramSample, HistogramValue,
    Labels, Span, StorageError, Timestamps, stale_nan,
};

use crate::Rng;

/// What a metric's series show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A counter with resets and gaps.
    Counter,
    /// A gauge in quarters.
    Gauge,
    /// A gauge with NaN, infinities and negative zero.
    Strange,
    /// Cumulative buckets; `true`: some fall, and bounds are missing.
    Buckets(bool),
    /// Native histograms that count, with resets and changes of schema.
    Native,
    /// Native histograms that go up and down.
    NativeGauge,
    /// Custom bounds, which differ between instances.
    Custom,
    /// Floats and histograms in turn.
    Mixed,
    /// Native histograms of few samples: NaN and infinite observations, zero
    /// buckets that widen, negative schemas and none of the usual buckets.
    Odd,
    /// A counter that says when it started, now and then too late.
    Started,
    /// Native histograms that say when they started.
    StartedNative,
    /// A gauge with a type, a unit, and a label of a dotted name.
    Typed,
    /// 1, with labels that say something.
    Info,
}

/// Names and kinds of the metrics.
pub const METRICS: &[(&str, Kind)] = &[
    ("requests_total", Kind::Counter),
    ("requests_total", Kind::Counter),
    ("errors_total", Kind::Counter),
    ("temperature", Kind::Gauge),
    ("temperature", Kind::Gauge),
    ("strange", Kind::Strange),
    ("latency_bucket", Kind::Buckets(false)),
    ("broken_bucket", Kind::Buckets(true)),
    ("latency", Kind::Native),
    ("sizes", Kind::NativeGauge),
    ("nhcb", Kind::Custom),
    ("mixed", Kind::Mixed),
    ("odd", Kind::Odd),
    ("jobs_total", Kind::Started),
    ("durations", Kind::StartedNative),
    ("queue.length", Kind::Typed),
    ("target_info", Kind::Info),
    ("build_info", Kind::Info),
    ("no_such_metric", Kind::Info),
];

const INSTANCES: [(&str, &str); 4] = [("a", "one"), ("b", "one"), ("c", "two"), ("d", "two")];

/// What is made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first samples lie shortly behind this time.
    pub start_ms: i64,
    /// Time between a series' samples.
    pub interval_ms: i64,
    /// Samples of each series.
    pub scrapes: usize,
    /// The same seed makes the same data.
    pub seed: u64,
    /// Whether start timestamps are stored with samples that have them.
    pub start_timestamps: bool,
}

/// One series on its way.
struct Series {
    kind: Kind,
    rng: Rng,
    value: f64,
    /// When it started to count, in ms.
    started_ms: i64,
    counts: [f64; 4],
    /// Which of its siblings it is.
    nth: usize,
    /// Not seen for so many scrapes.
    away: u32,
}

/// Appends the samples of each series.
///
/// # Errors
/// The store cannot be written.
pub fn fill(store: &dyn Appendable, plan: Plan) -> Result<(), StorageError> {
    let Plan { start_ms, interval_ms, scrapes, seed, start_timestamps } = plan;
    // In label order, so that stores that sum in the order of creation sum alike.
    let mut planned: Vec<(Labels, Series)> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for &(name, kind) in METRICS {
        if !seen.contains(&name) && name != "no_such_metric" {
            seen.push(name);
            series_of(name, kind, seed, &mut planned);
        }
    }
    planned.sort_by(|a, b| a.0.cmp(&b.0));
    for scrape in 0..scrapes {
        let mut batch = store.appender()?;
        let (mut handles, mut times, mut starts, mut values) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut histograms = Vec::new();
        for (n, (labels, one)) in planned.iter_mut().enumerate() {
            let jitter = (n as i64 * 211 + one.rng.below(50) as i64) % (interval_ms / 2).max(1);
            let t = start_ms + scrape as i64 * interval_ms + jitter;
            let point = one.next(scrape, t);
            let start = if start_timestamps { one.started_ms } else { 0 };
            // A series is made with its first sample.
            let mut handle = || batch.series(labels).expect("the labels are well formed");
            match point {
                Some(Point::Float(v)) => {
                    handles.push(handle());
                    times.push(t);
                    starts.push(start);
                    values.push(v);
                }
                Some(Point::Histogram(h)) => histograms.push(HistogramSample {
                    series: handle(),
                    timestamp_ms: t,
                    start_timestamp_ms: start,
                    // Both kinds that scrapes bring.
                    value: match whole(&h).filter(|_| n % 2 == 1) {
                        Some(whole) => HistogramValue::Integer(whole),
                        None => HistogramValue::Float(h),
                    },
                }),
                None => {}
            }
        }
        let mut outcomes = Vec::new();
        let floats = FloatBatch {
            series: &handles,
            timestamps: Timestamps::Each(&times),
            start_timestamps: start_timestamps.then_some(&starts[..]),
            values: &values,
            in_order_only: false,
        };
        batch.append_floats(floats, &mut outcomes);
        assert!(outcomes.iter().all(|outcome| outcome.is_ok()), "{outcomes:?}");
        batch.append_histograms(histograms, &mut outcomes);
        assert!(outcomes.iter().all(|outcome| outcome.is_ok()), "{outcomes:?}");
        batch.commit()?;
    }
    Ok(())
}

/// The same histogram with whole counts, where they are whole.
fn whole(h: &FloatHistogram) -> Option<Histogram> {
    let is_whole = |n: &f64| *n >= 0.0 && n.fract() == 0.0;
    let buckets = || h.positive_buckets.iter().chain(&h.negative_buckets);
    if !buckets().chain([&h.count, &h.zero_count]).all(is_whole) {
        return None;
    }
    let deltas = |counts: &[f64]| {
        let mut before = 0;
        counts.iter().map(|&n| n as i64 - std::mem::replace(&mut before, n as i64)).collect()
    };
    Some(Histogram {
        counter_reset_hint: h.counter_reset_hint,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: h.zero_count as u64,
        count: h.count as u64,
        sum: h.sum,
        positive_spans: h.positive_spans.clone(),
        negative_spans: h.negative_spans.clone(),
        positive_buckets: deltas(&h.positive_buckets),
        negative_buckets: deltas(&h.negative_buckets),
        custom_values: h.custom_values.clone(),
    })
}

/// The series of one metric.
fn series_of(name: &str, kind: Kind, seed: u64, all: &mut Vec<(Labels, Series)>) {
    for (i, (instance, job)) in INSTANCES.into_iter().enumerate() {
        let variants: &[&str] = match kind {
            Kind::Counter => &["200", "404", "500"],
            Kind::Buckets(false) => &["0.1", "0.5", "1", "5", "+Inf"],
            Kind::Buckets(true) if i == 0 => &["0.1", "x", "+Inf"],
            Kind::Buckets(true) if i == 1 => &["0.1", "1"],
            Kind::Buckets(true) => &["0.1", "1", "1.0", "+Inf"],
            _ => &[""],
        };
        for (n, &variant) in variants.iter().enumerate() {
            let mut pairs = vec![("__name__", name), ("instance", instance), ("job", job)];
            match kind {
                Kind::Counter => pairs.push(("code", variant)),
                Kind::Buckets(_) => pairs.push(("le", variant)),
                Kind::Typed => {
                    pairs.push(("__type__", ["gauge", "counter"][i % 2]));
                    pairs.push(("__unit__", "items"));
                    if i != 2 {
                        pairs.push(("host.name", ["x", "y", "", "x"][i]));
                    }
                }
                Kind::Info => {
                    pairs.push(("version", ["1.0", "1.0", "1.1", "2.0"][i]));
                    pairs.push((if name == "build_info" { "revision" } else { "os" }, ["x", "y"][i % 2]));
                }
                _ => {}
            }
            pairs.sort_unstable();
            let siblings = seed.wrapping_mul(31).wrapping_add(i as u64 * 1009 + name.len() as u64 * 77);
            let own = if matches!(kind, Kind::Buckets(_)) { 0 } else { n as u64 + 1 };
            let rng = Rng::new(siblings.wrapping_add(own * 7919));
            let nth = if matches!(kind, Kind::Buckets(_)) { n } else { i };
            let one = Series { kind, rng, value: 0.0, started_ms: 0, counts: [0.0; 4], nth, away: 0 };
            all.push((Labels::from_pairs(pairs), one));
        }
    }
}

enum Point {
    Float(f64),
    Histogram(FloatHistogram),
}

impl Series {
    fn next(&mut self, scrape: usize, t: i64) -> Option<Point> {
        if self.away > 0 {
            self.away -= 1;
            return None;
        }
        if self.rng.one_in(60) {
            self.away = self.rng.below(25) as u32;
            // Half of those that go leave a marker.
            let marker = self.rng.one_in(2);
            use Kind::{Custom, Native, NativeGauge, Odd, StartedNative};
            let histograms = matches!(self.kind, Native | NativeGauge | Custom | Odd | StartedNative);
            return match (marker, histograms) {
                (false, _) => None,
                (true, false) => Some(Point::Float(stale_nan())),
                (true, true) => {
                    Some(Point::Histogram(FloatHistogram { sum: stale_nan(), ..FloatHistogram::default() }))
                }
            };
        }
        Some(match self.kind {
            Kind::Counter => {
                self.value = if self.rng.one_in(25) { 0.0 } else { self.value + self.rng.below(20) as f64 };
                Point::Float(self.value)
            }
            Kind::Gauge => Point::Float(self.rng.below(400) as f64 / 4.0 - 20.0),
            Kind::Strange => Point::Float(match self.rng.below(12) {
                0 => f64::NAN,
                1 => f64::INFINITY,
                2 => f64::NEG_INFINITY,
                3 => -0.0,
                4 => 1e300,
                _ => self.rng.below(9) as f64 - 4.0,
            }),
            Kind::Buckets(broken) => {
                // Siblings draw the same numbers, so that buckets add up.
                let more = self.rng.below(5) as f64;
                self.value += more * (self.nth + 1) as f64;
                let fallen = if broken && scrape % 7 == 3 && self.nth == 1 { 9.0 } else { 0.0 };
                Point::Float((self.value - fallen).max(0.0))
            }
            Kind::Native => Point::Histogram(self.native(scrape)),
            Kind::NativeGauge => {
                self.counts = std::array::from_fn(|_| self.rng.below(9) as f64);
                let hint = CounterResetHint::Gauge;
                Point::Histogram(FloatHistogram { counter_reset_hint: hint, ..self.exponential(1, 0) })
            }
            Kind::Custom => Point::Histogram(self.custom(scrape)),
            Kind::Odd => Point::Histogram(self.odd(scrape)),
            Kind::Started => {
                if self.restarts(t) {
                    self.value = 0.0;
                }
                self.value += self.rng.below(7) as f64;
                Point::Float(self.value)
            }
            Kind::StartedNative => {
                if self.restarts(t) {
                    self.counts = [0.0; 4];
                }
                for count in &mut self.counts {
                    *count += self.rng.below(6) as f64;
                }
                Point::Histogram(self.exponential(1, 0))
            }
            Kind::Typed => Point::Float(self.rng.below(40) as f64),
            Kind::Mixed if scrape / 8 % 3 == self.nth % 3 => Point::Histogram(self.native(scrape)),
            Kind::Mixed => {
                self.value += self.rng.below(5) as f64;
                Point::Float(self.value)
            }
            Kind::Info => Point::Float(1.0),
        })
    }

    /// Whether it starts anew before the sample at `t`: mostly it says when, now
    /// and then as if that were before the sample before, or not at all.
    fn restarts(&mut self, t: i64) -> bool {
        let anew = self.started_ms == 0 || self.rng.one_in(12);
        if anew {
            self.started_ms = match self.rng.below(6) {
                0 => t - 20_000,
                1 => t - 1,
                _ => t - 1 - self.rng.below(9_000) as i64,
            };
        }
        anew
    }

    fn odd(&mut self, scrape: usize) -> FloatHistogram {
        self.count_up();
        let mut h = self.exponential([-1, 0, 3, 2][self.nth % 4], self.nth as i32 - 2);
        if self.nth == 1 {
            // Buckets below zero only.
            (h.positive_spans, h.positive_buckets) = (Arc::from([]), Vec::new());
            h.count = h.zero_count + h.negative_buckets.iter().sum::<f64>();
        }
        if scrape / 16 % 3 == 1 {
            h.zero_threshold = 0.25;
        }
        match scrape / 10 % 5 {
            1 => {
                h.count += 2.0;
                h.sum = f64::NAN;
            }
            2 => h.sum = f64::INFINITY,
            3 if self.nth == 2 => h = FloatHistogram { zero_threshold: 0.001, ..FloatHistogram::default() },
            _ => {}
        }
        h
    }

    fn count_up(&mut self) {
        if self.rng.one_in(30) {
            self.counts = [0.0; 4];
        }
        for count in &mut self.counts {
            *count += self.rng.below(6) as f64;
        }
    }

    fn native(&mut self, scrape: usize) -> FloatHistogram {
        self.count_up();
        // The resolution falls for a while.
        let schema = if scrape / 20 % 4 == 3 { 0 } else { 2 };
        self.exponential(schema, (self.nth as i32) - 1)
    }

    fn exponential(&self, schema: i32, offset: i32) -> FloatHistogram {
        let [a, b, c, zero] = self.counts;
        FloatHistogram {
            schema,
            zero_threshold: 0.001,
            zero_count: zero,
            count: a + b + c + zero + a,
            sum: a * 0.5 + b * 2.0 + c * 4.0 - a * 0.25,
            positive_spans: Arc::from([Span { offset, length: 2 }, Span { offset: 2, length: 1 }]),
            positive_buckets: vec![a, b, c],
            negative_spans: Arc::from([Span { offset: 0, length: 1 }]),
            negative_buckets: vec![a],
            ..FloatHistogram::default()
        }
    }

    fn custom(&mut self, scrape: usize) -> FloatHistogram {
        self.count_up();
        let wide = self.nth == 3 || (self.nth == 2 && scrape / 30 % 2 == 1);
        let bounds: &[f64] = if wide { &[0.5, 2.0, 5.0] } else { &[0.5, 1.0, 5.0] };
        FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: self.counts.iter().sum(),
            sum: self.counts.iter().enumerate().map(|(i, n)| i as f64 * n).sum(),
            positive_spans: Arc::from([Span { offset: 0, length: 4 }]),
            positive_buckets: self.counts.to_vec(),
            custom_values: Arc::from(bounds),
            ..FloatHistogram::default()
        }
    }
}
