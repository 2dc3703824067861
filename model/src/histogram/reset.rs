//! Whether a counter was reset between two histograms.

use super::arithmetic::grown_zero_bucket;
use super::bounds::{exponential_bound, target_index};
use super::convert::bounds_match;
use super::layout::Positions;
use super::{CounterResetHint, FloatHistogram, Span};

/// A side's populated and unpopulated buckets in a schema at or below its own:
/// (index, count), ascending.
fn merged<'a>(
    spans: &'a [Span],
    counts: &'a [f64],
    from: i32,
    to: i32,
) -> impl Iterator<Item = (i32, f64)> + 'a {
    let index_of = move |(at, index): (usize, i32)| {
        let index = if from == to { index } else { target_index(index, from, to) };
        (index, counts[at])
    };
    let mut single = Positions::new(spans, counts.len()).map(index_of).peekable();
    std::iter::from_fn(move || {
        let (index, mut count) = single.next()?;
        while let Some((_, more)) = single.next_if(|(next, _)| *next == index) {
            count += more;
        }
        Some((index, count))
    })
}

/// Whether a populated bucket is gone or has become less.
fn any_decrease(
    current: impl Iterator<Item = (i32, f64)>,
    previous: impl Iterator<Item = (i32, f64)>,
) -> bool {
    let mut current = current.peekable();
    for (index, count) in previous {
        while current.next_if(|(at, _)| *at < index).is_some() {}
        let decreased = match current.peek() {
            Some((at, now)) if *at == index => *now < count,
            _ => count != 0.0,
        };
        if decreased {
            return true;
        }
    }
    false
}

impl FloatHistogram {
    /// Whether a counter was reset between `previous` and this histogram. The
    /// hint decides where it says so; otherwise any of these does: the count, the
    /// zero bucket or a bucket became less, a populated bucket is gone, the
    /// resolution rose, the zero threshold fell, or custom buckets came in place
    /// of exponential ones. The sum is not looked at.
    ///
    /// `previous` is seen in the resolution and with the zero threshold of this
    /// histogram; a threshold inside one of its populated buckets is a reset. Of
    /// custom buckets with other bounds, those bounds count which both have.
    pub fn detect_reset(&self, previous: &FloatHistogram) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::CounterReset => return true,
            CounterResetHint::NotCounterReset => return false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.uses_custom_buckets() {
            if !previous.uses_custom_buckets() {
                return true;
            }
            if !bounds_match(&self.custom_values, &previous.custom_values) {
                return self.common_bounds_decrease(previous);
            }
        }
        if self.schema > previous.schema || previous.uses_custom_buckets() != self.uses_custom_buckets() {
            return true;
        }
        self.zero_bucket_decreased(previous)
            || self.side_decreased(previous, |h| (&h.positive_spans, &h.positive_buckets))
            || self.side_decreased(previous, |h| (&h.negative_spans, &h.negative_buckets))
    }

    fn zero_bucket_decreased(&self, previous: &FloatHistogram) -> bool {
        if self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let grown = grown_zero_bucket(previous, self.zero_threshold, None);
        // Another threshold: ours lies within a populated bucket.
        grown.threshold != self.zero_threshold || self.zero_count < grown.count
    }

    fn side_decreased(
        &self,
        previous: &FloatHistogram,
        side: for<'h> fn(&'h FloatHistogram) -> (&'h [Span], &'h [f64]),
    ) -> bool {
        let schema = self.schema;
        let custom = self.uses_custom_buckets();
        let threshold = self.zero_threshold;
        // What lies inside the zero bucket was counted there.
        let inside_zero = move |(index, _): &(i32, f64)| {
            !custom && threshold != 0.0 && exponential_bound(*index, schema) <= threshold
        };
        let [current, before] = [self, previous].map(|h| {
            let (spans, counts) = side(h);
            merged(spans, counts, h.schema, schema).skip_while(inside_zero)
        });
        any_decrease(current, before)
    }

    /// Compares the counts between bounds that both histograms have.
    fn common_bounds_decrease(&self, previous: &FloatHistogram) -> bool {
        let mut current = Rollup::of(self);
        let mut before = Rollup::of(previous);
        let (ours, theirs) = (&self.custom_values, &previous.custom_values);
        let (mut i, mut j) = (0, 0);
        while i <= ours.len() && j <= theirs.len() {
            let bound = |bounds: &[f64], at: usize| bounds.get(at).copied().unwrap_or(f64::INFINITY);
            let (our_bound, their_bound) = (bound(ours, i), bound(theirs, j));
            if our_bound == their_bound {
                if current.up_to(our_bound) < before.up_to(our_bound) {
                    return true;
                }
                (i, j) = (i + 1, j + 1);
            } else if our_bound < their_bound {
                i += 1;
            } else {
                j += 1;
            }
        }
        false
    }
}

/// Adds up custom buckets from bound to bound.
struct Rollup<'a> {
    histogram: &'a FloatHistogram,
    positions: std::iter::Peekable<Positions<'a>>,
}

impl<'a> Rollup<'a> {
    fn of(histogram: &'a FloatHistogram) -> Rollup<'a> {
        let positions =
            Positions::new(&histogram.positive_spans, histogram.positive_buckets.len()).peekable();
        Rollup { histogram, positions }
    }

    /// What lies at or below `bound` and was not asked for before.
    fn up_to(&mut self, bound: f64) -> f64 {
        let histogram = self.histogram;
        let mut sum = 0.0;
        let inside = |(_, index): &(usize, i32)| {
            super::upper_bound(*index, histogram.schema, &histogram.custom_values) <= bound
        };
        while let Some((at, _)) = self.positions.next_if(inside) {
            sum += histogram.positive_buckets[at];
        }
        sum
    }
}
