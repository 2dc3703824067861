//! Quantiles and fractions from classic histograms: cumulative `le` buckets.
//!
//! Such buckets are series of their own, scraped or computed apart, so their
//! counts may contradict each other. They are repaired first:
//!
//! ```text
//! le      1   2   2   5   +Inf
//! count   4   3   3   9    8        equal bounds are added up,
//!         4   6       9    9        what sinks is lifted to the one before
//! ```

/// One cumulative bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassicBucket {
    /// The upper bound, `le`.
    pub upper_bound: f64,
    /// Observations at or below it.
    pub count: f64,
}

/// A quantile from classic buckets, and how they were repaired.
#[derive(Clone, Copy, Debug)]
pub struct ClassicQuantile {
    /// The estimate.
    pub value: f64,
    /// Counts that sank beyond rounding were lifted: an info annotation.
    pub forced_monotonic: bool,
    /// Counts that differed by rounding alone were made equal.
    pub fixed_precision: bool,
    /// The lowest bound whose count was lifted; +Inf without.
    pub lowest_lifted: f64,
    /// The highest bound whose count was lifted; -Inf without.
    pub highest_lifted: f64,
    /// The greatest lift.
    pub lift_max: f64,
}

/// Counts nearer than this, in proportion to their sum, are the same.
const SMALL_DELTA: f64 = 1e-12;

fn nearly_equal(a: f64, b: f64) -> bool {
    if crate::is_stale_nan(a) || crate::is_stale_nan(b) {
        return crate::is_stale_nan(a) && crate::is_stale_nan(b);
    }
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DELTA
}

/// Sorts by bound and joins equal bounds. Whether the last is +Inf.
fn arrange(buckets: &mut Vec<ClassicBucket>) -> bool {
    buckets.sort_by(|a, b| a.upper_bound.total_cmp(&b.upper_bound));
    let complete = buckets.last().is_some_and(|last| last.upper_bound == f64::INFINITY);
    buckets.dedup_by(|later, kept| {
        let same = later.upper_bound == kept.upper_bound;
        if same {
            kept.count += later.count;
        }
        same
    });
    complete
}

impl ClassicQuantile {
    fn without_repairs(value: f64) -> ClassicQuantile {
        ClassicQuantile {
            value,
            forced_monotonic: false,
            fixed_precision: false,
            lowest_lifted: f64::INFINITY,
            highest_lifted: f64::NEG_INFINITY,
            lift_max: 0.0,
        }
    }

    /// Makes the counts rise, and notes where they did not.
    fn repair(&mut self, buckets: &mut [ClassicBucket]) {
        let Some((first, rest)) = buckets.split_first_mut() else { return };
        let mut before = first.count;
        for bucket in rest {
            let count = bucket.count;
            if count == before {
                continue;
            }
            if nearly_equal(before, count) {
                bucket.count = before;
                self.fixed_precision = true;
            } else if count < before {
                bucket.count = before;
                self.forced_monotonic = true;
                self.lowest_lifted = self.lowest_lifted.min(bucket.upper_bound);
                self.highest_lifted = self.highest_lifted.max(bucket.upper_bound);
                self.lift_max = self.lift_max.max(before - count);
            } else {
                before = count;
            }
        }
    }
}

/// The `q`-quantile from cumulative buckets in any order, as PromQL's
/// `histogram_quantile`; `buckets` is sorted and repaired in place.
///
/// Within a bucket observations are taken as evenly spread; the lowest bucket
/// begins at 0 if it ends above. In the +Inf bucket the result is the bound
/// before it. NaN without a +Inf bucket, with fewer than two buckets, or without
/// observations.
///
/// ```
/// use model::histogram::{ClassicBucket, bucket_quantile};
/// let bucket = |upper_bound, count| ClassicBucket { upper_bound, count };
/// let mut buckets = vec![bucket(10.0, 10.0), bucket(15.0, 15.0), bucket(f64::INFINITY, 15.0)];
/// assert_eq!(bucket_quantile(0.5, &mut buckets).value, 7.5);
/// ```
///
/// Source: Prometheus `promql/quantile.go`, `BucketQuantile`.
pub fn bucket_quantile(q: f64, buckets: &mut Vec<ClassicBucket>) -> ClassicQuantile {
    let plain = ClassicQuantile::without_repairs;
    if q.is_nan() {
        return plain(f64::NAN);
    }
    if q < 0.0 {
        return plain(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return plain(f64::INFINITY);
    }
    if !arrange(buckets) {
        return plain(f64::NAN);
    }
    let mut result = plain(f64::NAN);
    result.repair(buckets);
    result.value = quantile_of_arranged(q, buckets);
    result
}

fn quantile_of_arranged(q: f64, buckets: &[ClassicBucket]) -> f64 {
    let [finite @ .., last] = buckets else { return f64::NAN };
    let Some(highest) = finite.last() else { return f64::NAN };
    if last.count == 0.0 {
        return f64::NAN;
    }
    let rank = q * last.count;
    let at = finite.partition_point(|bucket| {
        let reached = bucket.count >= rank;
        !reached
    });
    let Some(bucket) = finite.get(at) else { return highest.upper_bound };
    match at.checked_sub(1).map(|before| finite[before]) {
        None if bucket.upper_bound <= 0.0 => bucket.upper_bound,
        // From its start on, 0: so that -0 becomes 0.
        None => 0.0 + bucket.upper_bound * (rank / bucket.count),
        Some(before) => {
            let share = (rank - before.count) / (bucket.count - before.count);
            before.upper_bound + (bucket.upper_bound - before.upper_bound) * share
        }
    }
}

/// The share of observations between two values from cumulative buckets in any
/// order, as PromQL's `histogram_fraction`; `buckets` is sorted in place, not
/// repaired.
///
/// Source: Prometheus `promql/quantile.go`, `BucketFraction`.
pub fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>) -> f64 {
    if !arrange(buckets) {
        return f64::NAN;
    }
    let all = buckets.last().map_or(0.0, |last| last.count);
    if all == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let [below_lower, below_upper] = [lower, upper].map(|value| {
        let rank = rank_of(value, buckets);
        if rank > all { all } else { rank }
    });
    (below_upper - below_lower) / all
}

/// How many observations lie below `value`; +Inf where all do.
fn rank_of(value: f64, buckets: &[ClassicBucket]) -> f64 {
    let first_ends_above_zero = buckets.first().is_some_and(|first| first.upper_bound > 0.0);
    let mut start = if first_ends_above_zero { 0.0 } else { f64::NEG_INFINITY };
    let mut rank = 0.0;
    for bucket in buckets {
        if start >= value {
            return rank;
        }
        if bucket.upper_bound > value {
            if start == f64::NEG_INFINITY {
                return bucket.count;
            }
            return rank + (bucket.count - rank) * (value - start) / (bucket.upper_bound - start);
        }
        rank = bucket.count;
        start = bucket.upper_bound;
    }
    f64::INFINITY
}
