//! Native histograms as plain as can be: counts in a map, every operation bucket
//! by bucket, as their description has it.

use std::collections::BTreeMap;
use std::rc::Rc;

use model::{FloatHistogram, elementary};

use super::{Fault, Outcome};

const CUSTOM: i32 = -53;

/// A native histogram.
#[derive(Clone, Debug)]
pub struct Hist {
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    /// Counts by index, buckets that are written down with nothing in them included.
    pub positive: BTreeMap<i32, f64>,
    pub negative: BTreeMap<i32, f64>,
    /// Upper bounds, where they are no powers.
    pub bounds: Vec<f64>,
}

/// One bucket: where it begins and ends, and its count.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    lower: f64,
    upper: f64,
    count: f64,
}

impl Hist {
    pub fn of(h: &FloatHistogram) -> Hist {
        let spread = |spans: &[model::Span], counts: &[f64]| {
            let mut map = BTreeMap::new();
            let mut index = 0;
            let mut counts = counts.iter();
            for span in spans {
                index += span.offset;
                for _ in 0..span.length {
                    map.insert(index, counts.next().copied().unwrap_or(0.0));
                    index += 1;
                }
            }
            map
        };
        Hist {
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            zero_count: h.zero_count,
            count: h.count,
            sum: h.sum,
            positive: spread(&h.positive_spans, &h.positive_buckets),
            negative: spread(&h.negative_spans, &h.negative_buckets),
            bounds: h.custom_values.to_vec(),
        }
    }

    fn empty(schema: i32, bounds: Vec<f64>) -> Hist {
        Hist {
            schema,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive: BTreeMap::new(),
            negative: BTreeMap::new(),
            bounds,
        }
    }

    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM
    }

    pub fn scaled(&self, factor: f64) -> Hist {
        let mut out = self.clone();
        for v in [&mut out.zero_count, &mut out.count, &mut out.sum] {
            *v *= factor;
        }
        for v in out.positive.values_mut().chain(out.negative.values_mut()) {
            *v *= factor;
        }
        out
    }

    /// Without buckets that hold nothing.
    pub fn compacted(mut self) -> Hist {
        self.positive.retain(|_, count| *count != 0.0);
        self.negative.retain(|_, count| *count != 0.0);
        self
    }

    /// At a coarser resolution.
    fn reduced(&self, schema: i32) -> Hist {
        let shift = self.schema - schema;
        let merge = |from: &BTreeMap<i32, f64>| {
            let mut to = BTreeMap::new();
            for (index, count) in from {
                *to.entry(((index - 1) >> shift) + 1).or_insert(0.0) += count;
            }
            to
        };
        Hist { schema, positive: merge(&self.positive), negative: merge(&self.negative), ..self.clone() }
    }

    /// Where a bucket above zero begins and ends.
    fn edges(&self, index: i32) -> (f64, f64) {
        if self.is_custom() {
            let bound = |i: i32, beyond| {
                usize::try_from(i)
                    .map_or(f64::NEG_INFINITY, |i| self.bounds.get(i).copied().unwrap_or(beyond))
            };
            return (bound(index - 1, f64::INFINITY), bound(index, f64::INFINITY));
        }
        let power = |i: i32| (f64::from(i) * 2f64.powi(-self.schema)).exp2();
        (power(index - 1), power(index))
    }

    fn above(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.positive.iter().map(|(&index, &count)| {
            let (lower, upper) = self.edges(index);
            Bucket { lower, upper, count }
        })
    }

    /// From zero downwards.
    fn below(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.negative.iter().map(|(&index, &count)| {
            let (lower, upper) = self.edges(index);
            Bucket { lower: -upper, upper: -lower, count }
        })
    }

    /// All buckets from the lowest up.
    fn ascending(&self) -> Vec<Bucket> {
        let zero = Bucket { lower: -self.zero_threshold, upper: self.zero_threshold, count: self.zero_count };
        // One that holds fewer than none is not looked at.
        let zero = (self.zero_count > 0.0).then_some(zero);
        let limit = self.zero_threshold;
        let outside = move |mut b: Bucket| {
            if b.upper < 0.0 && b.upper > -limit {
                b.upper = -limit;
            } else if b.lower > 0.0 && b.lower < limit {
                b.lower = limit;
            }
            b
        };
        self.below().rev().map(outside).chain(zero).chain(self.above().map(outside)).collect()
    }

    /// Count and threshold of a zero bucket that reaches to `threshold` at least,
    /// and to the end of any bucket with something in it.
    fn widened(&self, mut threshold: f64) -> (f64, f64) {
        if threshold == self.zero_threshold {
            return (self.zero_count, threshold);
        }
        'again: loop {
            let mut count = self.zero_count;
            for bucket in self.above().take_while(|bucket| bucket.lower < threshold) {
                count += bucket.count;
                if bucket.upper > threshold {
                    if bucket.count != 0.0 {
                        threshold = bucket.upper;
                    }
                    break;
                }
            }
            for bucket in self.below().take_while(|bucket| bucket.upper > -threshold) {
                count += bucket.count;
                if bucket.lower < -threshold {
                    if bucket.count != 0.0 {
                        threshold = -bucket.lower;
                        continue 'again;
                    }
                    break;
                }
            }
            return (count, threshold);
        }
    }

    /// The sum (`sign` 1) or difference (−1); `None` where one has powers for
    /// bounds and the other has not.
    pub fn combined(&self, other: &Hist, sign: f64) -> Option<Hist> {
        if self.is_custom() != other.is_custom() {
            return None;
        }
        let mut out = self.clone();
        let mut other = other.clone();
        if out.is_custom() {
            if out.bounds != other.bounds {
                let common = common_bounds(&out.bounds, &other.bounds);
                (out, other) = (out.mapped_to(&common), other.mapped_to(&common));
            }
        } else {
            let (mut zeros, mut threshold) = (other.zero_count, other.zero_threshold);
            while threshold != out.zero_threshold {
                if out.zero_threshold > threshold {
                    (zeros, threshold) = other.widened(out.zero_threshold);
                }
                if threshold > out.zero_threshold {
                    (out.zero_count, out.zero_threshold) = out.widened(threshold);
                    let (limit, shape) = (out.zero_threshold, out.clone());
                    out.positive.retain(|&index, _| shape.edges(index).0 >= limit);
                    out.negative.retain(|&index, _| shape.edges(index).0 >= limit);
                    out = out.compacted();
                }
            }
            out.zero_count += sign * zeros;
            let schema = out.schema.min(other.schema);
            (out, other) = (out.reduced(schema), other.reduced(schema));
        }
        out.count += sign * other.count;
        out.sum += sign * other.sum;
        let (limit, shape) = (out.zero_threshold, out.clone());
        let shown = |index: i32| shape.is_custom() || shape.edges(index).1 > limit;
        for (to, from) in [(&mut out.positive, other.positive), (&mut out.negative, other.negative)] {
            for (index, count) in from.into_iter().filter(|(index, _)| shown(*index)) {
                *to.entry(index).or_insert(0.0) += sign * count;
            }
        }
        Some(out)
    }

    /// Custom buckets under fewer bounds.
    fn mapped_to(&self, bounds: &[f64]) -> Hist {
        let mut positive = BTreeMap::new();
        for (&index, &count) in &self.positive {
            let upper = self.edges(index).1;
            let at = bounds.iter().position(|bound| *bound >= upper).unwrap_or(bounds.len());
            *positive.entry(at as i32).or_insert(0.0) += count;
        }
        Hist { positive, bounds: bounds.to_vec(), ..self.clone() }
    }

    /// Whether a counter began anew between `before` and this.
    pub fn fell_since(&self, before: &Hist) -> bool {
        if self.count < before.count {
            return true;
        }
        if self.is_custom() && before.is_custom() && self.bounds != before.bounds {
            let common = common_bounds(&self.bounds, &before.bounds);
            let (now, before) = (self.mapped_to(&common), before.mapped_to(&common));
            return before
                .positive
                .iter()
                .any(|(index, count)| now.positive.get(index).copied().unwrap_or(0.0) < *count);
        }
        if self.schema > before.schema || self.is_custom() != before.is_custom() {
            return true;
        }
        if self.zero_threshold < before.zero_threshold {
            return true;
        }
        let (zeros, threshold) = before.widened(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zeros {
            return true;
        }
        let before = before.reduced(self.schema);
        let seen = |index: i32| self.is_custom() || self.edges(index).1 > self.zero_threshold;
        [(&self.positive, &before.positive), (&self.negative, &before.negative)].iter().any(
            |(now, before)| {
                before.iter().filter(|(index, _)| seen(**index)).any(|(index, count)| match now.get(index) {
                    Some(now) => now < count,
                    None => *count != 0.0,
                })
            },
        )
    }

    /// What `histogram_quantile` answers. Where there are observations of NaN and the
    /// buckets hold as many as the rank, but for what was rounded, that decides.
    pub fn quantile(&self, q: f64) -> Outcome<f64> {
        let held: f64 = self.ascending().iter().map(|bucket| bucket.count).sum();
        if self.sum.is_nan() && (held - q * self.count).abs() <= self.count * 1e-12 {
            return Err(Fault::Unknown);
        }
        Ok(self.known_quantile(q))
    }

    fn known_quantile(&self, q: f64) -> f64 {
        if q < 0.0 {
            return f64::NEG_INFINITY;
        }
        if q > 1.0 {
            return f64::INFINITY;
        }
        if self.count == 0.0 || q.is_nan() {
            return f64::NAN;
        }
        let forward = self.sum.is_nan() || q < 0.5;
        let mut buckets = self.ascending();
        if !forward {
            buckets.reverse();
        }
        let rank = if forward { q } else { 1.0 - q } * self.count;
        let mut found = Bucket { lower: 0.0, upper: 0.0, count: 0.0 };
        let mut count = 0.0;
        let mut beyond = None;
        for (i, &bucket) in buckets.iter().enumerate() {
            found = bucket;
            count += bucket.count;
            // Where there are observations of NaN upstream looks for them in all
            // other buckets, and lands in the last one.
            beyond = buckets.last().copied().filter(|_| self.sum.is_nan() && i + 1 < buckets.len());
            if bucket.count != 0.0 && count >= rank {
                break;
            }
        }
        if self.is_custom() {
            if found.lower == f64::NEG_INFINITY {
                if found.upper <= 0.0 {
                    return found.upper;
                }
                found.lower = 0.0;
            } else if found.upper == f64::INFINITY {
                return found.lower;
            }
        } else if found.lower < 0.0 && found.upper > 0.0 {
            found = self.one_sided(found);
        }
        let count = count.min(self.count);
        if count < rank {
            return if self.sum.is_nan() { f64::NAN } else { found.upper };
        }
        let inside = if forward { rank - (count - found.count) } else { count - rank };
        let found = beyond.unwrap_or(found);
        let share = inside / found.count;
        if self.is_custom() || (found.lower <= 0.0 && found.upper >= 0.0) {
            return found.lower + (found.upper - found.lower) * share;
        }
        let (low, high) = (elementary::log2(found.lower.abs()), elementary::log2(found.upper.abs()));
        if found.lower > 0.0 {
            elementary::exp2(low + (high - low) * share)
        } else {
            -elementary::exp2(high + (low - high) * (1.0 - share))
        }
    }

    /// The zero bucket of a histogram with buckets on one side only ends at zero.
    fn one_sided(&self, mut bucket: Bucket) -> Bucket {
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
        bucket
    }

    /// What `histogram_fraction` answers.
    pub fn fraction(&self, lower: f64, upper: f64) -> f64 {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        let buckets = self.ascending();
        let all = if self.sum.is_nan() { buckets.iter().map(|b| b.count).sum() } else { self.count };
        // How many observations lie below a value.
        let below = |v: f64| {
            let mut rank = 0.0;
            for &bucket in &buckets {
                let zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
                let b = if zero { self.one_sided(bucket) } else { bucket };
                if b.lower >= v {
                    return rank;
                }
                if b.upper > v {
                    if (self.is_custom() || zero) && b.lower == f64::NEG_INFINITY {
                        return b.count;
                    }
                    let share = if self.is_custom() || zero {
                        (v - b.lower) / (b.upper - b.lower)
                    } else {
                        let (low, high) = (elementary::log2(b.lower.abs()), elementary::log2(b.upper.abs()));
                        if v > 0.0 {
                            (elementary::log2(v) - low) / (high - low)
                        } else {
                            1.0 - (elementary::log2(v.abs()) - high) / (low - high)
                        }
                    };
                    return rank + b.count * share;
                }
                rank += bucket.count;
            }
            all
        };
        (below(upper).min(all) - below(lower).min(all)) / self.count
    }

    /// What `histogram_stdvar` answers.
    pub fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut squares = 0.0;
        for bucket in self.ascending().into_iter().filter(|bucket| bucket.count != 0.0) {
            let middle = if self.is_custom() {
                (bucket.upper + bucket.lower) / 2.0
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                (bucket.upper * bucket.lower).sqrt() * bucket.upper.signum()
            };
            squares += bucket.count * (middle - mean) * (middle - mean);
        }
        squares / self.count
    }
}

fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().copied().filter(|bound| b.contains(bound)).collect()
}

/// Adds up; `None` where they do not go together.
pub fn total(hists: &[Rc<Hist>]) -> Option<Hist> {
    let (first, more) = hists.split_first()?;
    more.iter().try_fold((**first).clone(), |sum, h| sum.combined(h, 1.0)).map(Hist::compacted)
}

/// Last minus first, and what was lost where a counter began anew; `begins` says
/// of each sample whether its start tells so.
pub fn increase(hists: &[Rc<Hist>], counter: bool, begins: &[bool]) -> Option<Hist> {
    let last = hists.last()?;
    let mut before = hists[0].clone();
    let anew = |i: usize, before: &Hist| begins[i] || hists[i].fell_since(before);
    if counter && anew(1, &before) {
        before = Rc::new(Hist::empty(hists[1].schema, hists[1].bounds.clone()));
    }
    if last.is_custom() != before.is_custom() {
        return None;
    }
    let mut schema = last.schema.min(before.schema);
    if counter {
        let between = &hists[1..hists.len() - 1];
        if between.iter().any(|h| h.is_custom() != last.is_custom()) {
            return None;
        }
        schema = between.iter().map(|h| h.schema).fold(schema, i32::min);
    }
    let mut moved = last.reduced(schema).combined(&before, -1.0)?;
    if counter {
        for (i, now) in hists.iter().enumerate().skip(1) {
            if anew(i, &before) {
                moved = moved.combined(&before, 1.0)?;
            }
            before = now.clone();
        }
    }
    Some(moved.compacted())
}
