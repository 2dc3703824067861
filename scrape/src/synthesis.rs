//! Start timestamps for counters whose targets expose none.
//!
//! The first sample of a series is where it starts: it is not stored, and is
//! taken off all later ones until the series is reset. After a reset the start
//! is thought to be 1 ms before the sample that showed it.
//!
//! ```text
//! exposed    10   14   3
//! stored      -    4   3
//! start       -   t1  t3 - 1 ms
//! ```

use std::collections::HashMap;

use model::HistogramValue;
use model::histogram::{FloatHistogram, Histogram};
use model::series_cache::SeriesKey;

/// Series of one target for which starts are made up.
#[derive(Default)]
pub(crate) struct Synthesis {
    series: HashMap<SeriesKey, Anchor>,
    scrape: u64,
}

struct Anchor {
    start_ms: i64,
    last: Observed,
    /// What is taken off; `None` after a reset.
    first: Option<Observed>,
    seen: u64,
}

#[derive(Clone)]
enum Observed {
    Float(f64),
    Histogram(FloatHistogram),
}

/// A sample with its made-up start.
pub(crate) struct Synthesised {
    pub(crate) value: Option<f64>,
    pub(crate) histogram: Option<HistogramValue>,
    /// 0 where the series has none.
    pub(crate) start_ms: i64,
    /// The sample is only the start of its series.
    pub(crate) skip: bool,
}

impl Synthesis {
    /// Makes up the start of a sample. `applies` is asked for a series that is
    /// not known yet: whether it adds up.
    pub(crate) fn apply(
        &mut self,
        key: SeriesKey,
        time_ms: i64,
        value: Option<f64>,
        histogram: Option<HistogramValue>,
        applies: impl FnOnce() -> bool,
    ) -> Synthesised {
        let observed = match (&histogram, value) {
            (Some(HistogramValue::Integer(h)), _) => Observed::Histogram(h.to_float()),
            (Some(HistogramValue::Float(h)), _) => Observed::Histogram(h.clone()),
            (None, Some(value)) => Observed::Float(value),
            (None, None) => return Synthesised { value, histogram, start_ms: 0, skip: false },
        };
        let Some(anchor) = self.series.get_mut(&key) else {
            if !applies() {
                return Synthesised { value, histogram, start_ms: 0, skip: false };
            }
            let anchor = Anchor {
                start_ms: time_ms,
                last: observed.clone(),
                first: Some(observed),
                seen: self.scrape,
            };
            self.series.insert(key, anchor);
            return Synthesised { value, histogram, start_ms: time_ms, skip: true };
        };
        anchor.seen = self.scrape;
        if observed.is_reset_after(&anchor.last) {
            anchor.first = None;
            anchor.start_ms = time_ms - 1;
        }
        anchor.last = observed.clone();
        let start_ms = anchor.start_ms;
        match (observed, &anchor.first) {
            (Observed::Float(value), Some(Observed::Float(first))) => {
                Synthesised { value: Some(value - first), histogram: None, start_ms, skip: false }
            }
            (Observed::Histogram(now), Some(Observed::Histogram(first))) => Synthesised {
                value: None,
                histogram: histogram.map(|h| less(h, now, first)),
                start_ms,
                skip: false,
            },
            _ => Synthesised { value, histogram, start_ms, skip: false },
        }
    }

    /// A sample was not stored: the next one starts the series anew.
    pub(crate) fn forget(&mut self, key: SeriesKey) {
        self.series.remove(&key);
    }

    /// Ends a scrape: series that it did not have start anew.
    pub(crate) fn end_scrape(&mut self) {
        let scrape = self.scrape;
        self.series.retain(|_, anchor| anchor.seen == scrape);
        self.scrape += 1;
    }
}

impl Observed {
    fn is_reset_after(&self, last: &Observed) -> bool {
        match (self, last) {
            (Observed::Float(now), Observed::Float(last)) => now < last,
            (Observed::Histogram(now), Observed::Histogram(last)) => now.detect_reset(last),
            _ => true,
        }
    }
}

/// The histogram without what it had at the start, of the kind it was.
fn less(exposed: HistogramValue, now: FloatHistogram, first: &FloatHistogram) -> HistogramValue {
    let mut rest = now;
    if rest.sub(first).is_err() {
        return exposed;
    }
    rest.compact(0);
    match exposed {
        HistogramValue::Float(_) => HistogramValue::Float(rest),
        HistogramValue::Integer(exposed) => HistogramValue::Integer(Histogram {
            counter_reset_hint: exposed.counter_reset_hint,
            schema: rest.schema,
            zero_threshold: rest.zero_threshold,
            zero_count: rest.zero_count as u64,
            count: rest.count as u64,
            sum: rest.sum,
            positive_spans: rest.positive_spans,
            negative_spans: rest.negative_spans,
            positive_buckets: differences(&rest.positive_buckets),
            negative_buckets: differences(&rest.negative_buckets),
            custom_values: rest.custom_values,
        }),
    }
}

fn differences(counts: &[f64]) -> Vec<i64> {
    let mut last = 0;
    counts.iter().map(|count| *count as i64 - std::mem::replace(&mut last, *count as i64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_starts_at_its_first_sample_and_anew_after_a_reset() {
        let mut synthesis = Synthesis::default();
        let key = SeriesKey::of(b"a_total");
        let mut scrape = |time_ms, value| {
            let got = synthesis.apply(key, time_ms, Some(value), None, || true);
            synthesis.end_scrape();
            (got.value.unwrap(), got.start_ms, got.skip)
        };
        assert_eq!(scrape(1000, 10.0), (10.0, 1000, true));
        assert_eq!(scrape(2000, 14.0), (4.0, 1000, false));
        assert_eq!(scrape(3000, 3.0), (3.0, 2999, false));
        assert_eq!(scrape(4000, 5.0), (5.0, 2999, false));
    }

    #[test]
    fn a_gauge_is_left_alone() {
        let got = Synthesis::default().apply(SeriesKey::of(b"g"), 1000, Some(7.0), None, || false);
        assert_eq!((got.value, got.start_ms, got.skip), (Some(7.0), 0, false));
    }
}
