//! Values as they are given to a store: counters that grow, now and then reset,
//! spread into more buckets or change their kind.

use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{FloatHistogram, Histogram, HistogramValue, Span, is_stale_nan, stale_nan};

use super::read::{Point, Sample};
use crate::Rng;

/// Kinds of series, which are also their metric names.
pub(super) const KINDS: [&str; 7] =
    ["float", "integer", "floats", "custom", "custom_floats", "gauge_histogram", "changing"];

const BUCKETS: usize = 9;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Given {
    Float(f64),
    Histogram(HistogramValue),
}

impl Given {
    /// The float, a staleness marker for a histogram.
    pub(super) fn float(&self) -> f64 {
        match self {
            Given::Float(value) => *value,
            Given::Histogram(_) => stale_nan(),
        }
    }

    /// As the store answers it.
    pub(super) fn stored(&self, start: i64) -> Sample {
        let point = match self {
            Given::Float(value) => Point::float(*value),
            Given::Histogram(value) => Point::histogram(&value.to_float()),
        };
        (point, start)
    }
}

/// What a series has counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    positive: [u64; BUCKETS],
    negative: [u64; BUCKETS],
    zero: u64,
    sum: f64,
    schema: i32,
}

fn spans(counts: &[u64; BUCKETS], every: impl Fn(usize) -> bool) -> (Vec<Span>, Vec<u64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut buckets = Vec::new();
    let mut next = 0;
    for (i, &count) in counts.iter().enumerate() {
        if count == 0 && !every(i) {
            continue;
        }
        match spans.last_mut() {
            Some(span) if next == i => span.length += 1,
            _ => spans.push(Span { offset: (i - next) as i32, length: 1 }),
        }
        next = i + 1;
        buckets.push(count);
    }
    (spans, buckets)
}

fn deltas(buckets: &[u64]) -> Vec<i64> {
    let before = std::iter::once(0).chain(buckets.iter().copied());
    buckets.iter().zip(before).map(|(&count, before)| count as i64 - before as i64).collect()
}

impl Counts {
    fn observe(&mut self, rng: &mut Rng) {
        if rng.one_in(25) {
            *self = Counts { schema: self.schema, ..Counts::default() };
        }
        if rng.one_in(40) {
            self.schema = rng.below(4) as i32;
        }
        for _ in 0..1 + rng.below(5) {
            let bucket = rng.below(1 + rng.clone().below(BUCKETS as u64)) as usize;
            match rng.below(6) {
                0 => self.zero += 1,
                1 => self.negative[bucket] += 1 + rng.below(3),
                _ => self.positive[bucket] += 1 + rng.below(9),
            }
            self.sum += rng.unit();
        }
    }

    fn total(&self) -> u64 {
        self.zero + self.positive.iter().sum::<u64>() + self.negative.iter().sum::<u64>()
    }

    fn integer(&self) -> Histogram {
        let (positive_spans, positive) = spans(&self.positive, |_| false);
        let (negative_spans, negative) = spans(&self.negative, |_| false);
        Histogram {
            schema: self.schema,
            zero_threshold: 0.001,
            zero_count: self.zero,
            count: self.total(),
            sum: self.sum,
            positive_spans: positive_spans.into(),
            negative_spans: negative_spans.into(),
            positive_buckets: deltas(&positive),
            negative_buckets: deltas(&negative),
            ..Histogram::default()
        }
    }

    fn custom(&self) -> Histogram {
        let (positive_spans, positive) = spans(&self.positive, |_| true);
        let bounds: Vec<f64> =
            (1..BUCKETS).map(|i| i as f64 * if self.schema == 0 { 1.0 } else { 2.0 }).collect();
        Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: self.positive.iter().sum(),
            sum: self.sum,
            positive_spans: positive_spans.into(),
            positive_buckets: deltas(&positive),
            custom_values: bounds.into(),
            ..Histogram::default()
        }
    }

    fn value(&self, kind: &str, rng: &mut Rng) -> Given {
        let float = |h: Histogram| {
            let mut h: FloatHistogram = h.to_float();
            h.sum += 0.5;
            Given::Histogram(HistogramValue::Float(h))
        };
        match kind {
            "integer" => Given::Histogram(HistogramValue::Integer(self.integer())),
            "floats" => float(self.integer()),
            "custom" => Given::Histogram(HistogramValue::Integer(self.custom())),
            "custom_floats" => float(self.custom()),
            "gauge_histogram" => {
                let counter_reset_hint = model::CounterResetHint::Gauge;
                Given::Histogram(HistogramValue::Integer(Histogram { counter_reset_hint, ..self.integer() }))
            }
            "changing" => {
                let kind = super::given::KINDS[rng.below(5) as usize];
                self.value(kind, rng)
            }
            _ => Given::Float(match rng.below(10) {
                0 => f64::INFINITY,
                1 => model::sample::normal_nan(),
                2 => -0.0,
                3..6 => rng.unit(),
                _ => self.sum.floor(),
            }),
        }
    }

    /// The next value of a series that reports.
    pub(super) fn next(&mut self, kind: &str, rng: &mut Rng) -> Given {
        self.observe(rng);
        if !rng.one_in(15) {
            return self.value(kind, rng);
        }
        match (rng.one_in(2), self.value(kind, rng)) {
            // As a scrape marks the end of a histogram series.
            (true, Given::Histogram(HistogramValue::Integer(_))) => {
                let stale = Histogram { sum: stale_nan(), ..Histogram::default() };
                Given::Histogram(HistogramValue::Integer(stale))
            }
            (true, Given::Histogram(HistogramValue::Float(_))) => {
                let stale = FloatHistogram { sum: stale_nan(), ..FloatHistogram::default() };
                Given::Histogram(HistogramValue::Float(stale))
            }
            _ => Given::Float(stale_nan()),
        }
    }

    /// A value of a sample that comes late: no staleness marker.
    pub(super) fn late(&mut self, kind: &str, rng: &mut Rng) -> Given {
        self.observe(rng);
        let value = self.value(kind, rng);
        debug_assert!(!matches!(value, Given::Float(v) if is_stale_nan(v)));
        value
    }
}
