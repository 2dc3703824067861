//! Native histograms as functions see them: a thin layer over `model`.

use model::FloatHistogram;
use model::histogram::quantile::{NanNote, histogram_fraction, histogram_quantile, histogram_variance};
use model::histogram::{AddNotes, HistogramError, TrimKeep};

pub(crate) use model::histogram::{ClassicBucket, bucket_fraction};

/// Two histograms that cannot be combined: one has exponential, the other
/// custom buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mixed;

impl From<HistogramError> for Mixed {
    fn from(_: HistogramError) -> Mixed {
        Mixed
    }
}

/// What an addition or subtraction found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) resets_conflict: bool,
    pub(crate) bounds_reconciled: bool,
}

impl From<AddNotes> for Done {
    fn from(notes: AddNotes) -> Done {
        Done {
            resets_conflict: notes.counter_reset_collision,
            bounds_reconciled: notes.nhcb_bounds_reconciled,
        }
    }
}

/// `a += b`
pub(crate) fn add(a: &mut FloatHistogram, b: &FloatHistogram) -> Result<Done, Mixed> {
    Ok(a.add(b)?.into())
}

/// `a -= b`
pub(crate) fn sub(a: &mut FloatHistogram, b: &FloatHistogram) -> Result<Done, Mixed> {
    Ok(a.sub(b)?.into())
}

/// `a += b` with compensation; whether custom bounds were reconciled.
pub(crate) fn kahan_add(
    a: &mut FloatHistogram,
    b: &FloatHistogram,
    mut compensation: Option<FloatHistogram>,
) -> Result<(FloatHistogram, bool), Mixed> {
    let notes = a.kahan_add(b, &mut compensation)?;
    Ok((compensation.unwrap_or_default(), notes.nhcb_bounds_reconciled))
}

/// `h *= factor`
pub(crate) fn mul(h: &mut FloatHistogram, factor: f64) {
    h.mul(factor);
}

/// `h /= divisor`
pub(crate) fn div(h: &mut FloatHistogram, divisor: f64) {
    h.div(divisor);
}

/// Drops empty buckets.
pub(crate) fn compact(h: &mut FloatHistogram) {
    h.compact(0);
}

/// Whether a counter was reset between `previous` and `h`.
pub(crate) fn detect_reset(h: &FloatHistogram, previous: &FloatHistogram) -> bool {
    h.detect_reset(previous)
}

/// A copy at a coarser resolution; as it is where that cannot be.
pub(crate) fn copy_to_schema(h: &FloatHistogram, schema: i32) -> FloatHistogram {
    h.copy_to_schema(schema).unwrap_or_else(|_| h.clone())
}

/// Whether any count or the sum is infinite.
pub(crate) fn has_overflow(h: &FloatHistogram) -> bool {
    h.has_overflow()
}

/// Whether two histograms are the same.
pub(crate) fn equals(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    a.equals(b)
}

/// Keeps what lies below (`upper`) or above a value.
pub(crate) fn trim(h: &mut FloatHistogram, value: f64, upper: bool) {
    h.trim_buckets(value, if upper { TrimKeep::Below } else { TrimKeep::Above });
}

/// `{count:4, sum:5.3, (1,2]:4}`
pub(crate) fn to_text(h: &FloatHistogram) -> String {
    h.to_string()
}

/// The estimated variance of the observations.
pub(crate) fn variance(h: &FloatHistogram) -> f64 {
    histogram_variance(h)
}

/// What NaN observations did to a quantile.
pub(crate) enum NanRemark {
    Result,
    Skew,
}

/// `histogram_quantile` of a native histogram.
pub(crate) fn quantile(q: f64, h: &FloatHistogram) -> (f64, Option<NanRemark>) {
    let found = histogram_quantile(q, h);
    let remark = found.note.map(|note| match note {
        NanNote::ResultIsNan => NanRemark::Result,
        NanNote::SkewedHigher => NanRemark::Skew,
    });
    (found.value, remark)
}

/// `histogram_fraction` of a native histogram, and whether NaN observations were left out.
pub(crate) fn fraction(lower: f64, upper: f64, h: &FloatHistogram) -> (f64, bool) {
    let found = histogram_fraction(lower, upper, h);
    (found.value, found.nans_excluded)
}

/// Where the counts of a classic histogram were not monotonic.
pub(crate) struct Forced {
    pub(crate) min_bucket: f64,
    pub(crate) max_bucket: f64,
    pub(crate) max_diff: f64,
}

/// A quantile of classic buckets.
pub(crate) struct Quantile {
    pub(crate) value: f64,
    pub(crate) forced: Option<Forced>,
}

/// `histogram_quantile` of a classic histogram.
pub(crate) fn bucket_quantile(q: f64, buckets: &mut Vec<ClassicBucket>) -> Quantile {
    let found = model::histogram::bucket_quantile(q, buckets);
    let forced = found.forced_monotonic.then_some(Forced {
        min_bucket: found.lowest_lifted,
        max_bucket: found.highest_lifted,
        max_diff: found.lift_max,
    });
    Quantile { value: found.value, forced }
}
