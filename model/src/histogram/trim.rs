//! Cutting off what lies beyond a value: PromQL's `</` and `>/`.
//!
//! ```text
//! (1,2]:5 (2,4]:10 (4,8]:10   </ 5.66   (1,2]:5 (2,4]:10 (4,8]:5
//! ```
//!
//! Count and sum are estimated anew from what stays, each observation being
//! taken as the middle of its bucket.

use super::FloatHistogram;
use super::buckets::Bucket;

/// What a trim keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimKeep {
    /// Observations below the value: `</`.
    Below,
    /// Observations above the value: `>/`.
    Above,
}

/// How bucket contents are spread.
#[derive(Clone, Copy)]
struct Spread {
    positive: bool,
    linear: bool,
}

impl Spread {
    /// The typical observation between two bounds.
    fn middle(self, lower: f64, upper: f64) -> f64 {
        match (lower.is_infinite(), upper.is_infinite()) {
            (true, true) => 0.0,
            (true, false) if upper > 0.0 => upper / 2.0,
            (true, false) => upper,
            (false, true) => lower,
            (false, false) if self.linear => (lower + upper) / 2.0,
            (false, false) => {
                let geometric = (lower * upper).abs().sqrt();
                if self.positive { geometric } else { -geometric }
            }
        }
    }
}

/// What stays of one bucket.
struct Kept {
    count: f64,
    middle: f64,
}

fn trim_bucket(bucket: &Bucket, value: f64, keep: TrimKeep, spread: Spread) -> Kept {
    let whole = || Kept { count: bucket.count, middle: spread.middle(bucket.lower, bucket.upper) };
    let (inside, outside) = match keep {
        TrimKeep::Below => (bucket.upper <= value, bucket.lower < value),
        TrimKeep::Above => (bucket.lower >= value, bucket.upper > value),
    };
    if inside {
        return whole();
    }
    if !outside {
        return Kept { count: 0.0, middle: 0.0 };
    }
    if bucket.lower == f64::NEG_INFINITY {
        return trim_from_minus_infinity(bucket, value, keep);
    }
    if bucket.upper == f64::INFINITY {
        return trim_to_infinity(bucket, value, keep);
    }
    let below = if value <= bucket.lower {
        0.0
    } else if value >= bucket.upper {
        bucket.count
    } else {
        bucket.count * bucket.fraction_below(value, spread.linear)
    };
    match keep {
        TrimKeep::Below => Kept { count: below, middle: spread.middle(bucket.lower, value) },
        TrimKeep::Above => Kept { count: bucket.count - below, middle: spread.middle(value, bucket.upper) },
    }
}

fn finite_or_zero(value: f64) -> f64 {
    if value.is_infinite() { 0.0 } else { value }
}

/// A bucket without lower end that ends above zero is taken to begin at zero;
/// of others nothing is known but the end.
fn trim_from_minus_infinity(bucket: &Bucket, value: f64, keep: TrimKeep) -> Kept {
    let upper = bucket.upper;
    let nothing = Kept { count: 0.0, middle: finite_or_zero(upper) };
    match keep {
        TrimKeep::Below if value > 0.0 && upper > 0.0 && upper.is_finite() => {
            Kept { count: bucket.count * value / upper, middle: value / 2.0 }
        }
        TrimKeep::Below if upper <= 0.0 => Kept { count: bucket.count, middle: value },
        TrimKeep::Below => nothing,
        TrimKeep::Above if value <= bucket.lower => Kept { count: bucket.count, middle: 0.0 },
        TrimKeep::Above if value >= 0.0 && upper > value && upper.is_finite() => {
            Kept { count: bucket.count * (1.0 - value / upper), middle: (value + upper) / 2.0 }
        }
        TrimKeep::Above => nothing,
    }
}

/// A bucket without upper end is kept whole above a value inside it, and dropped
/// below one.
fn trim_to_infinity(bucket: &Bucket, value: f64, keep: TrimKeep) -> Kept {
    if keep == TrimKeep::Above && value >= bucket.lower {
        return Kept { count: bucket.count, middle: value };
    }
    Kept { count: 0.0, middle: finite_or_zero(bucket.lower) }
}

fn trim_zero_bucket(mut bucket: Bucket, value: f64, keep: TrimKeep, populated: Populated) -> Kept {
    match populated {
        Populated { negative: true, positive: false } => bucket.upper = 0.0,
        Populated { negative: false, positive: true } => bucket.lower = 0.0,
        _ => {}
    }
    let (lower, upper) = (bucket.lower, bucket.upper);
    let whole = Kept { count: bucket.count, middle: (lower + upper) / 2.0 };
    let nothing = Kept { count: 0.0, middle: 0.0 };
    let (at_lower_end, at_upper_end) = match keep {
        TrimKeep::Below => (nothing, whole),
        TrimKeep::Above => (whole, nothing),
    };
    if value <= lower {
        return at_lower_end;
    }
    if value >= upper {
        return at_upper_end;
    }
    let (share, middle) = match keep {
        TrimKeep::Below => ((value - lower) / (upper - lower), (lower + value) / 2.0),
        TrimKeep::Above => ((upper - value) / (upper - lower), (value + upper) / 2.0),
    };
    Kept { count: bucket.count * share, middle }
}

/// Which sides hold observations.
#[derive(Clone, Copy)]
struct Populated {
    negative: bool,
    positive: bool,
}

/// Count and sum of what stays, added up bucket by bucket.
#[derive(Default)]
struct Totals {
    count: f64,
    sum: f64,
    changed: bool,
}

impl Totals {
    fn take(&mut self, kept: &Kept, before: f64) {
        self.count += kept.count;
        self.sum += kept.middle * kept.count;
        self.changed |= kept.count != before;
    }

    /// Trims the populated buckets of a side; what is left of each, in order.
    fn take_side(
        &mut self,
        buckets: impl Iterator<Item = Bucket>,
        value: f64,
        keep: TrimKeep,
        spread: Spread,
    ) -> Vec<f64> {
        let trim = |bucket: Bucket| {
            if bucket.count == 0.0 {
                return bucket.count;
            }
            let kept = trim_bucket(&bucket, value, keep, spread);
            self.take(&kept, bucket.count);
            kept.count
        };
        buckets.map(trim).collect()
    }
}

impl FloatHistogram {
    /// Drops the observations beyond `value`. A bucket that `value` cuts is
    /// shared out by interpolation; of one without end nothing is known, so it is
    /// kept or dropped whole (but see a lowest custom bucket: it begins at zero).
    /// Count and sum change only where a bucket does.
    ///
    /// Source: Prometheus `model/histogram/float_histogram.go`, `TrimBuckets`.
    pub fn trim_buckets(&mut self, value: f64, keep: TrimKeep) {
        let linear = self.uses_custom_buckets();
        let mut totals = Totals::default();
        let spread = Spread { positive: true, linear };
        let positive = totals.take_side(self.positive_buckets(), value, keep, spread);
        let spread = Spread { positive: false, linear };
        let negative = totals.take_side(self.negative_buckets(), value, keep, spread);
        let mut zero_count = self.zero_count;
        if let Some(zero) = self.zero_bucket().filter(|zero| zero.count > 0.0) {
            let populated = Populated {
                negative: self.negative_buckets.iter().any(|count| *count != 0.0),
                positive: self.positive_buckets.iter().any(|count| *count != 0.0),
            };
            let kept = trim_zero_bucket(zero, value, keep, populated);
            totals.take(&kept, zero.count);
            zero_count = kept.count;
        }
        if !totals.changed {
            return;
        }
        self.positive_buckets[..positive.len()].copy_from_slice(&positive);
        self.negative_buckets[..negative.len()].copy_from_slice(&negative);
        self.zero_count = zero_count;
        self.count = totals.count;
        self.sum = totals.sum;
        self.compact(0);
    }
}
