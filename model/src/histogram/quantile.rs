//! Quantiles, fractions and variance estimated from native histograms.
//!
//! Within a bucket observations are taken as spread evenly: over the logarithm
//! of the value in exponential buckets, over the value itself in the zero bucket
//! and in custom ones.
//!
//! ```text
//! rank = q · count      walk from the nearer end until the rank is inside
//!   [ 2 ][  5  ][ 3 ]   q = 0.5: rank 5, three fifths into the second bucket
//! ```
//!
//! Observations of NaN are in no bucket but in the count; they rank highest.

use super::arithmetic::neumaier;
use super::{Bucket, FloatHistogram};
use crate::elementary::{exp2, log2};

/// What NaN observations did to a quantile: each is an info annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NanNote {
    /// The quantile falls among them: the result is NaN.
    ResultIsNan,
    /// They push the quantile up.
    SkewedHigher,
}

/// A quantile estimated from a native histogram.
#[derive(Clone, Copy, Debug)]
pub struct Quantile {
    /// The estimate.
    pub value: f64,
    /// What to tell about NaN observations.
    pub note: Option<NanNote>,
}

impl Quantile {
    fn plain(value: f64) -> Quantile {
        Quantile { value, note: None }
    }
}

/// The share of observations between two values.
#[derive(Clone, Copy, Debug)]
pub struct Fraction {
    /// From 0 to 1; NaN without observations.
    pub value: f64,
    /// NaN observations are in no interval: an info annotation.
    pub nans_excluded: bool,
}

/// The `q`-quantile, as PromQL's `histogram_quantile`.
///
/// Below 0 it is -Inf, above 1 +Inf; NaN for a histogram without observations.
/// In the outermost custom buckets it is their finite bound.
///
/// Source: Prometheus `promql/quantile.go`, `HistogramQuantile`.
pub fn histogram_quantile(q: f64, h: &FloatHistogram) -> Quantile {
    if q < 0.0 {
        return Quantile::plain(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return Quantile::plain(f64::INFINITY);
    }
    if h.count == 0.0 || q.is_nan() {
        return Quantile::plain(f64::NAN);
    }
    // NaN observations rank highest, so that only the walk up is right then.
    if h.sum.is_nan() || q < 0.5 { quantile_from_below(q, h) } else { quantile_from_above(q, h) }
}

const NOTHING: Bucket =
    Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0, index: 0 };

/// Walks until `rank` observations are passed; the last bucket seen, and how many
/// observations there are up to and with it.
fn walk(buckets: &mut impl Iterator<Item = Bucket>, rank: f64) -> (Bucket, f64) {
    let mut last = NOTHING;
    let mut passed = 0.0;
    for bucket in buckets {
        last = bucket;
        if bucket.count != 0.0 {
            passed += bucket.count;
            if passed >= rank {
                break;
            }
        }
    }
    (last, passed)
}

/// Gives the bucket the bounds to interpolate between, or the quantile itself
/// where there is nothing to interpolate.
fn confine(bucket: &mut Bucket, h: &FloatHistogram) -> Option<f64> {
    if !h.uses_custom_buckets() {
        if bucket.lower < 0.0 && bucket.upper > 0.0 {
            confine_zero_bucket(bucket, h);
        }
        return None;
    }
    if bucket.lower == f64::NEG_INFINITY {
        if bucket.upper <= 0.0 {
            return Some(bucket.upper);
        }
        bucket.lower = 0.0;
        return None;
    }
    (bucket.upper == f64::INFINITY).then_some(bucket.lower)
}

/// Where all other observations are on one side of zero, so are those in the
/// zero bucket.
fn confine_zero_bucket(bucket: &mut Bucket, h: &FloatHistogram) {
    match (h.negative_buckets.is_empty(), h.positive_buckets.is_empty()) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        _ => {}
    }
}

fn quantile_from_below(q: f64, h: &FloatHistogram) -> Quantile {
    let rank = q * h.count;
    let mut buckets = h.all_buckets();
    let (mut bucket, passed) = walk(&mut buckets, rank);
    if let Some(value) = confine(&mut bucket, h) {
        return Quantile::plain(value);
    }
    // Rounding may have put more into the buckets than the count says.
    let mut passed = if passed > h.count { h.count } else { passed };
    if passed < rank {
        if h.sum.is_nan() {
            return Quantile { value: f64::NAN, note: Some(NanNote::ResultIsNan) };
        }
        return Quantile::plain(bucket.upper);
    }
    let rank = rank - (passed - bucket.count);
    let mut note = None;
    if h.sum.is_nan() {
        // Upstream looks for NaN observations with the variable that holds the
        // bucket of the quantile, and interpolates in the last bucket from here
        // on. Its answers are the reference.
        for later in buckets {
            passed += later.count;
            bucket = later;
        }
        note = (passed < h.count).then_some(NanNote::SkewedHigher);
    }
    Quantile { value: interpolate(&bucket, rank, h), note }
}

fn quantile_from_above(q: f64, h: &FloatHistogram) -> Quantile {
    let rank = (1.0 - q) * h.count;
    let (mut bucket, passed) = walk(&mut h.all_buckets().rev(), rank);
    if let Some(value) = confine(&mut bucket, h) {
        return Quantile::plain(value);
    }
    let passed = if passed > h.count { h.count } else { passed };
    if passed < rank {
        return Quantile::plain(bucket.upper);
    }
    Quantile::plain(interpolate(&bucket, passed - rank, h))
}

/// The value below which `rank` of the bucket's observations lie.
fn interpolate(bucket: &Bucket, rank: f64, h: &FloatHistogram) -> f64 {
    let fraction = rank / bucket.count;
    if h.uses_custom_buckets() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let (lower, upper) = (log2(bucket.lower.abs()), log2(bucket.upper.abs()));
    if bucket.lower > 0.0 {
        exp2(lower + (upper - lower) * fraction)
    } else {
        -exp2(upper + (lower - upper) * (1.0 - fraction))
    }
}

/// The share of all observations that lie between `lower` and `upper`, as
/// PromQL's `histogram_fraction`.
///
/// Source: Prometheus `promql/quantile.go`, `HistogramFraction`.
pub fn histogram_fraction(lower: f64, upper: f64, h: &FloatHistogram) -> Fraction {
    let plain = |value| Fraction { value, nans_excluded: false };
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return plain(f64::NAN);
    }
    if lower >= upper {
        return plain(0.0);
    }
    let (mut below_lower, mut below_upper) = (RankOf::new(lower), RankOf::new(upper));
    let mut rank = 0.0;
    let mut seen = 0.0;
    let mut buckets = h.all_buckets();
    for mut bucket in buckets.by_ref() {
        seen += bucket.count;
        let around_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if around_zero {
            confine_zero_bucket(&mut bucket, h);
        }
        let linear = around_zero || h.uses_custom_buckets();
        below_lower.look_at(&bucket, rank, linear);
        below_upper.look_at(&bucket, rank, linear);
        if below_lower.rank.is_some() && below_upper.rank.is_some() {
            break;
        }
        rank += bucket.count;
    }
    let mut nans_excluded = false;
    let mut all = h.count;
    if h.sum.is_nan() {
        all = buckets.fold(seen, |sum, bucket| sum + bucket.count);
        nans_excluded = all < h.count;
    }
    let value = (below_upper.at_most(all) - below_lower.at_most(all)) / h.count;
    Fraction { value, nans_excluded }
}

/// How many observations lie below a value, once that is known.
struct RankOf {
    value: f64,
    rank: Option<f64>,
}

impl RankOf {
    fn new(value: f64) -> RankOf {
        RankOf { value, rank: None }
    }

    /// `rank`: observations below the bucket.
    fn look_at(&mut self, bucket: &Bucket, rank: f64, linear: bool) {
        if self.rank.is_some() {
            return;
        }
        if bucket.lower >= self.value {
            self.rank = Some(rank);
        } else if bucket.lower < self.value && bucket.upper > self.value {
            self.rank = Some(if linear && bucket.lower == f64::NEG_INFINITY {
                bucket.count
            } else {
                rank + bucket.count * bucket.fraction_below(self.value, linear)
            });
        }
    }

    fn at_most(&self, all: f64) -> f64 {
        match self.rank {
            // Not `min`, which would pass over a NaN.
            Some(rank) if rank > all => all,
            Some(rank) => rank,
            None => all,
        }
    }
}

/// The estimated variance of the observations, as PromQL's `histogram_stdvar`:
/// each observation is taken as the mean of its bucket, geometric in exponential
/// buckets, arithmetic in custom ones, zero in the zero bucket.
pub fn histogram_variance(h: &FloatHistogram) -> f64 {
    let mean = h.sum / h.count;
    let (mut sum, mut lost) = (0.0, 0.0);
    for bucket in h.all_buckets().filter(|bucket| bucket.count != 0.0) {
        let value = if h.uses_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let middle = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -middle } else { middle }
        };
        let delta = value - mean;
        neumaier(bucket.count * delta * delta, &mut sum, &mut lost);
    }
    (sum + lost) / h.count
}

/// The square root of [`histogram_variance`], as `histogram_stddev`.
pub fn histogram_stddev(h: &FloatHistogram) -> f64 {
    histogram_variance(h).sqrt()
}
