//! Adding, subtracting and scaling histograms.
//!
//! Both sides are first brought to one layout: the lower resolution, a zero
//! bucket that no populated bucket straddles, and the bounds that both have
//! where bounds are custom. Then buckets of the same index meet:
//!
//! ```text
//! ours     -2 -1  .  1  2
//! theirs       .  0  1  .  3
//! result   -2 -1  0  1  2  3
//! ```
//!
//! Compensated addition carries a second histogram of the same layout that
//! holds what rounding lost in each field, by Neumaier's rule ([`neumaier`]).

use std::borrow::Cow;
use std::sync::Arc;

use super::bounds::exponential_bound;
use super::compact::compact_with_compensation;
use super::convert::bounds_match;
use super::layout::{Positions, SpanBuilder};
use super::resolution::{reduce_floats, reduce_with_compensation};
use super::validate::HistogramError;
use super::{CounterResetHint, FloatHistogram, Span, no_bounds, no_spans};

/// What there is to say about a sum or difference of histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddNotes {
    /// One histogram is known to follow a reset, the other known not to: a warning.
    pub counter_reset_collision: bool,
    /// Custom bounds differed and only the common ones were kept: an info.
    pub nhcb_bounds_reconciled: bool,
}

/// Adds `value` to `sum`, and what rounding loses to `compensation`.
#[inline]
pub fn neumaier(value: f64, sum: &mut f64, compensation: &mut f64) {
    let total = *sum + value;
    if total.is_infinite() {
        *compensation = 0.0;
    } else if sum.abs() >= value.abs() {
        *compensation += (*sum - total) + value;
    } else {
        *compensation += (value - total) + *sum;
    }
    *sum = total;
}

/// A zero bucket made larger.
pub(super) struct GrownZero {
    pub(super) count: f64,
    pub(super) compensation: f64,
    pub(super) threshold: f64,
}

/// The zero bucket a histogram would have with a threshold at or above its own.
/// A threshold inside a populated bucket moves up to that bucket's end.
pub(super) fn grown_zero_bucket(
    histogram: &FloatHistogram,
    threshold: f64,
    compensation: Option<&FloatHistogram>,
) -> GrownZero {
    let start = compensation.map_or(0.0, |c| c.zero_count);
    if threshold == histogram.zero_threshold {
        return GrownZero { count: histogram.zero_count, compensation: start, threshold };
    }
    let mut threshold = threshold;
    loop {
        let mut grown = GrownZero { count: histogram.zero_count, compensation: start, threshold };
        let positive_lost = compensation.map(|c| c.positive_buckets.as_slice());
        let positive = histogram.positive_buckets().map(|b| (b.lower, b.upper, b.count));
        grown.swallow(positive, positive_lost);
        threshold = grown.threshold;
        let negative_lost = compensation.map(|c| c.negative_buckets.as_slice());
        let negative = histogram.negative_buckets().map(|b| (-b.upper, -b.lower, b.count));
        grown.swallow(negative, negative_lost);
        if grown.threshold == threshold {
            return grown;
        }
        // Moved by a negative bucket: positive ones are to be looked at again.
        threshold = grown.threshold;
    }
}

impl GrownZero {
    /// Takes in the buckets (nearer bound, farther bound, count) that begin below
    /// the threshold.
    fn swallow(&mut self, buckets: impl Iterator<Item = (f64, f64, f64)>, lost: Option<&[f64]>) {
        for (at, (near, far, count)) in buckets.enumerate() {
            if near >= self.threshold {
                return;
            }
            neumaier(count, &mut self.count, &mut self.compensation);
            if let Some(lost) = lost.and_then(|all| all.get(at)) {
                neumaier(*lost, &mut self.count, &mut self.compensation);
            }
            if far > self.threshold {
                if count != 0.0 {
                    self.threshold = far;
                }
                return;
            }
        }
    }
}

/// The buckets of one side of the other operand, in the resolution needed.
struct Operand<'a> {
    spans: Cow<'a, [Span]>,
    counts: Cow<'a, [f64]>,
    /// What reducing the resolution lost, if that is kept.
    lost: Vec<f64>,
}

impl Operand<'_> {
    /// How many leading buckets lie inside a zero bucket of this threshold.
    fn inside_zero(&self, schema: i32, threshold: f64) -> usize {
        let inside = |(_, index): &(usize, i32)| exponential_bound(*index, schema) <= threshold;
        Positions::new(&self.spans, self.counts.len()).take_while(inside).count()
    }
}

/// One side of the receiving histogram.
struct Side<'a> {
    spans: &'a mut Arc<[Span]>,
    counts: &'a mut Vec<f64>,
}

impl Side<'_> {
    /// Adds the operand's buckets from `skip` on, `factor` being 1 or -1.
    fn add(self, operand: &Operand<'_>, skip: usize, factor: f64) {
        if self.spans[..] == operand.spans[..] && self.counts.len() == operand.counts.len() {
            for (ours, theirs) in self.counts.iter_mut().zip(operand.counts.iter()).skip(skip) {
                *ours += factor * theirs;
            }
            return;
        }
        let mut spans = SpanBuilder::default();
        let mut counts = Vec::with_capacity(self.counts.len().max(operand.counts.len()));
        let ours = Positions::new(self.spans, self.counts.len());
        let theirs = Positions::new(&operand.spans, operand.counts.len()).skip(skip);
        for (index, ours, theirs) in union(ours, theirs) {
            spans.push(index);
            counts.push(match (ours, theirs) {
                (Some(a), Some(b)) => self.counts[a] + factor * operand.counts[b],
                (Some(a), None) => self.counts[a],
                (None, b) => b.map_or(0.0, |b| factor * operand.counts[b]),
            });
        }
        *self.spans = spans.finish();
        *self.counts = counts;
    }

    /// As [`Side::add`], keeping what rounding loses in `lost`.
    fn add_compensated(self, lost: &mut Vec<f64>, operand: &Operand<'_>, skip: usize) {
        lost.resize(self.counts.len(), 0.0);
        let mut spans = SpanBuilder::default();
        let mut counts = Vec::with_capacity(self.counts.len().max(operand.counts.len()));
        let mut compensations = Vec::with_capacity(counts.capacity());
        let same_layout = self.spans[..] == operand.spans[..];
        let ours = Positions::new(self.spans, self.counts.len());
        let theirs = Positions::new(&operand.spans, operand.counts.len()).skip(skip);
        for (index, ours, theirs) in union(ours, theirs) {
            if !same_layout {
                spans.push(index);
            }
            let their_lost = theirs.and_then(|b| operand.lost.get(b)).copied().unwrap_or(0.0);
            let (count, compensation) = match (ours, theirs) {
                (Some(a), theirs) => {
                    let (mut sum, mut compensation) = (self.counts[a], lost[a]);
                    if let Some(b) = theirs {
                        neumaier(operand.counts[b], &mut sum, &mut compensation);
                        if their_lost != 0.0 {
                            neumaier(their_lost, &mut sum, &mut compensation);
                        }
                    }
                    (sum, compensation)
                }
                (None, b) => (b.map_or(0.0, |b| operand.counts[b]), their_lost),
            };
            counts.push(count);
            compensations.push(compensation);
        }
        if !same_layout {
            *self.spans = spans.finish();
        }
        *self.counts = counts;
        *lost = compensations;
    }
}

/// Walks two ascending lists of (position, index) as one.
fn union(
    ours: impl Iterator<Item = (usize, i32)>,
    theirs: impl Iterator<Item = (usize, i32)>,
) -> impl Iterator<Item = (i32, Option<usize>, Option<usize>)> {
    let (mut ours, mut theirs) = (ours.peekable(), theirs.peekable());
    std::iter::from_fn(move || {
        let index = match (ours.peek(), theirs.peek()) {
            (Some((_, a)), Some((_, b))) => *a.min(b),
            (Some((_, a)), None) => *a,
            (None, Some((_, b))) => *b,
            (None, None) => return None,
        };
        let here = |(_, at): &(usize, i32)| *at == index;
        let a = ours.next_if(here).map(|(at, _)| at);
        let b = theirs.next_if(here).map(|(at, _)| at);
        Some((index, a, b))
    })
}

/// The bounds that both have.
fn common_bounds(a: &[f64], b: &[f64]) -> Arc<[f64]> {
    let mut rest = b.iter().peekable();
    let mut common = Vec::new();
    for bound in a {
        while rest.next_if(|other| **other < *bound).is_some() {}
        if rest.next_if(|other| **other == *bound).is_some() {
            common.push(*bound);
        }
    }
    if common.is_empty() { no_bounds() } else { Arc::from(common) }
}

/// Custom buckets gathered between fewer bounds.
struct Gathered<'a> {
    bounds: &'a [f64],
    counts: Vec<f64>,
    lost: Vec<f64>,
}

impl Gathered<'_> {
    fn between(bounds: &[f64]) -> Gathered<'_> {
        let buckets = bounds.len() + 1;
        Gathered { bounds, counts: vec![0.0; buckets], lost: vec![0.0; buckets] }
    }

    fn take(&mut self, h: &FloatHistogram, factor: f64, lost: Option<&[f64]>) {
        let mut target = 0;
        for (at, index) in Positions::new(&h.positive_spans, h.positive_buckets.len()) {
            let bound = usize::try_from(index).ok().and_then(|i| h.custom_values.get(i));
            let into = match bound {
                None => self.bounds.len(),
                Some(bound) => {
                    while self.bounds.get(target).is_some_and(|b| b < bound) {
                        target += 1;
                    }
                    target
                }
            };
            let (sum, compensation) = (&mut self.counts[into], &mut self.lost[into]);
            neumaier(factor * h.positive_buckets[at], sum, compensation);
            if let Some(lost) = lost.and_then(|all| all.get(at)) {
                neumaier(*lost, sum, compensation);
            }
        }
    }

    /// The layout of the buckets that hold something, and those.
    fn finish(self) -> (Arc<[Span]>, Vec<f64>, Vec<f64>) {
        let mut spans = SpanBuilder::default();
        let (mut counts, mut losses) = (Vec::new(), Vec::new());
        for (i, (count, lost)) in self.counts.into_iter().zip(self.lost).enumerate() {
            if count != 0.0 || lost != 0.0 {
                spans.push(i32::try_from(i).unwrap_or(i32::MAX));
                counts.push(count);
                losses.push(lost);
            }
        }
        (spans.finish(), counts, losses)
    }
}

impl FloatHistogram {
    /// Adds another histogram to this one.
    ///
    /// The result may hold empty buckets: [`FloatHistogram::compact`] drops them.
    /// Hints are reconciled: equal ones stay, a gauge wins, then an unknown one;
    /// reset against no reset is a collision and becomes unknown.
    ///
    /// # Errors
    /// One has exponential, the other custom buckets, or the other's spans do not
    /// fit its buckets while its resolution must be reduced.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<AddNotes, HistogramError> {
        self.add_scaled(other, 1.0)
    }

    /// Subtracts another histogram from this one; otherwise as
    /// [`FloatHistogram::add`]. The hint is not made a gauge's: the caller knows.
    ///
    /// # Errors
    /// As [`FloatHistogram::add`].
    pub fn sub(&mut self, other: &FloatHistogram) -> Result<AddNotes, HistogramError> {
        self.add_scaled(other, -1.0)
    }

    fn add_scaled(&mut self, other: &FloatHistogram, factor: f64) -> Result<AddNotes, HistogramError> {
        self.check_same_bounds_kind(other)?;
        let mut notes =
            AddNotes { counter_reset_collision: self.reconcile_hint(other), ..AddNotes::default() };
        if self.uses_custom_buckets() {
            self.count += factor * other.count;
            self.sum += factor * other.sum;
            if bounds_match(&self.custom_values, &other.custom_values) {
                let theirs = operand(&other.positive_spans, &other.positive_buckets);
                self.positive_side().add(&theirs, 0, factor);
            } else {
                notes.nhcb_bounds_reconciled = true;
                self.add_other_bounds(other, factor, None);
            }
            return Ok(notes);
        }
        let (schema, from) = (self.schema.min(other.schema), other.schema);
        let positive = reduced(&other.positive_spans, &other.positive_buckets, from, schema)?;
        let negative = reduced(&other.negative_spans, &other.negative_buckets, from, schema)?;
        let (zero_count, _) = self.reconcile_zero_bucket(other, None);
        self.zero_count += factor * zero_count;
        self.count += factor * other.count;
        self.sum += factor * other.sum;
        if schema < self.schema {
            self.reduce_resolution(schema)?;
        }
        let threshold = self.zero_threshold;
        self.positive_side().add(&positive, positive.inside_zero(schema, threshold), factor);
        self.negative_side().add(&negative, negative.inside_zero(schema, threshold), factor);
        Ok(notes)
    }

    /// As [`FloatHistogram::add`], collecting in `compensation` what rounding
    /// loses: a histogram of the same layout, made at the first call. Adding it
    /// to this histogram at the end gives the exact sum, rounded once.
    ///
    /// # Errors
    /// As [`FloatHistogram::add`].
    pub fn kahan_add(
        &mut self,
        other: &FloatHistogram,
        compensation: &mut Option<FloatHistogram>,
    ) -> Result<AddNotes, HistogramError> {
        self.check_same_bounds_kind(other)?;
        let mut notes =
            AddNotes { counter_reset_collision: self.reconcile_hint(other), ..AddNotes::default() };
        let lost = compensation.get_or_insert_with(|| self.no_compensation());
        if self.uses_custom_buckets() {
            neumaier(other.count, &mut self.count, &mut lost.count);
            neumaier(other.sum, &mut self.sum, &mut lost.sum);
            if bounds_match(&self.custom_values, &other.custom_values) {
                let theirs = operand(&other.positive_spans, &other.positive_buckets);
                self.positive_side().add_compensated(&mut lost.positive_buckets, &theirs, 0);
            } else {
                notes.nhcb_bounds_reconciled = true;
                self.add_other_bounds(other, 1.0, Some(lost));
            }
            lost.positive_spans = self.positive_spans.clone();
            return Ok(notes);
        }
        let (schema, from) = (self.schema.min(other.schema), other.schema);
        let positive = reduced_compensated(&other.positive_spans, &other.positive_buckets, from, schema)?;
        let negative = reduced_compensated(&other.negative_spans, &other.negative_buckets, from, schema)?;
        let (zero_count, zero_lost) = self.reconcile_zero_bucket(other, Some(lost));
        neumaier(zero_count, &mut self.zero_count, &mut lost.zero_count);
        neumaier(zero_lost, &mut self.zero_count, &mut lost.zero_count);
        neumaier(other.count, &mut self.count, &mut lost.count);
        neumaier(other.sum, &mut self.sum, &mut lost.sum);
        if schema < self.schema {
            self.reduce_compensated(schema, lost)?;
        }
        let threshold = self.zero_threshold;
        let skip = positive.inside_zero(schema, threshold);
        self.positive_side().add_compensated(&mut lost.positive_buckets, &positive, skip);
        let skip = negative.inside_zero(schema, threshold);
        self.negative_side().add_compensated(&mut lost.negative_buckets, &negative, skip);
        self.share_layout_with(lost);
        Ok(notes)
    }

    /// Scales every count and the sum. A negative factor makes a gauge.
    pub fn mul(&mut self, factor: f64) {
        self.scale(|value| value * factor);
        if factor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Divides every count and the sum. Dividing by zero drops all buckets; a
    /// negative divisor makes a gauge.
    pub fn div(&mut self, divisor: f64) {
        if divisor == 0.0 {
            for buckets in [&mut self.positive_buckets, &mut self.negative_buckets] {
                buckets.clear();
            }
            self.positive_spans = no_spans();
            self.negative_spans = no_spans();
        }
        self.scale(|value| value / divisor);
        if divisor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Turns every count and the sum into its opposite: the result is a gauge.
    pub fn negate(&mut self) {
        self.mul(-1.0);
    }

    fn scale(&mut self, scale: impl Fn(f64) -> f64) {
        let fields = [&mut self.zero_count, &mut self.count, &mut self.sum];
        let buckets = self.positive_buckets.iter_mut().chain(&mut self.negative_buckets);
        for value in fields.into_iter().chain(buckets) {
            *value = scale(*value);
        }
    }

    fn positive_side(&mut self) -> Side<'_> {
        Side { spans: &mut self.positive_spans, counts: &mut self.positive_buckets }
    }

    fn negative_side(&mut self) -> Side<'_> {
        Side { spans: &mut self.negative_spans, counts: &mut self.negative_buckets }
    }

    fn check_same_bounds_kind(&self, other: &FloatHistogram) -> Result<(), HistogramError> {
        if self.uses_custom_buckets() == other.uses_custom_buckets() {
            Ok(())
        } else {
            Err(HistogramError::IncompatibleSchemas)
        }
    }

    /// Sets the hint of a sum; true for a collision.
    fn reconcile_hint(&mut self, other: &FloatHistogram) -> bool {
        use CounterResetHint::{Gauge, Unknown};
        let (ours, theirs) = (self.counter_reset_hint, other.counter_reset_hint);
        let collision = ours != theirs && ![ours, theirs].iter().any(|hint| matches!(hint, Gauge | Unknown));
        self.counter_reset_hint = if ours == theirs {
            ours
        } else if ours == Gauge || theirs == Gauge {
            Gauge
        } else {
            Unknown
        };
        collision
    }

    /// Makes the zero bucket wide enough for both; gives the count that the
    /// other's zero bucket has then, and what rounding lost of it.
    fn reconcile_zero_bucket(
        &mut self,
        other: &FloatHistogram,
        mut compensation: Option<&mut FloatHistogram>,
    ) -> (f64, f64) {
        let mut theirs =
            GrownZero { count: other.zero_count, compensation: 0.0, threshold: other.zero_threshold };
        loop {
            if self.zero_threshold > theirs.threshold {
                theirs = grown_zero_bucket(other, self.zero_threshold, None);
            }
            // Not written as `<=`, so that a NaN ends the loop too.
            let too_narrow = theirs.threshold > self.zero_threshold;
            if !too_narrow {
                return (theirs.count, theirs.compensation);
            }
            let ours = grown_zero_bucket(self, theirs.threshold, compensation.as_deref());
            self.zero_count = ours.count;
            self.zero_threshold = ours.threshold;
            if let Some(lost) = compensation.as_deref_mut() {
                lost.zero_count = ours.compensation;
            }
            self.drop_buckets_inside_zero(compensation.as_deref_mut());
        }
    }

    fn drop_buckets_inside_zero(&mut self, compensation: Option<&mut FloatHistogram>) {
        let threshold = self.zero_threshold;
        let positive = self.positive_buckets().take_while(|b| b.lower < threshold).count();
        let negative = self.negative_buckets().take_while(|b| b.upper > -threshold).count();
        self.positive_buckets[..positive].fill(0.0);
        self.negative_buckets[..negative].fill(0.0);
        match compensation {
            None => self.compact(0),
            Some(lost) => {
                lost.positive_buckets[..positive].fill(0.0);
                lost.negative_buckets[..negative].fill(0.0);
                let side = (&mut self.positive_spans, &mut self.positive_buckets);
                compact_with_compensation(side.0, side.1, &mut lost.positive_buckets);
                let side = (&mut self.negative_spans, &mut self.negative_buckets);
                compact_with_compensation(side.0, side.1, &mut lost.negative_buckets);
                self.share_layout_with(lost);
            }
        }
    }

    fn add_other_bounds(
        &mut self,
        other: &FloatHistogram,
        factor: f64,
        compensation: Option<&mut FloatHistogram>,
    ) {
        let bounds = common_bounds(&self.custom_values, &other.custom_values);
        let mut gathered = Gathered::between(&bounds);
        gathered.take(self, 1.0, compensation.as_deref().map(|c| c.positive_buckets.as_slice()));
        gathered.take(other, factor, None);
        let (spans, counts, lost) = gathered.finish();
        self.positive_spans = spans;
        self.positive_buckets = counts;
        self.custom_values = bounds;
        if let Some(compensation) = compensation {
            compensation.positive_buckets = lost;
            compensation.custom_values = self.custom_values.clone();
        }
    }

    /// A histogram of this layout, all zero.
    fn no_compensation(&self) -> FloatHistogram {
        FloatHistogram {
            counter_reset_hint: self.counter_reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            positive_spans: self.positive_spans.clone(),
            negative_spans: self.negative_spans.clone(),
            positive_buckets: vec![0.0; self.positive_buckets.len()],
            negative_buckets: vec![0.0; self.negative_buckets.len()],
            custom_values: self.custom_values.clone(),
            ..FloatHistogram::default()
        }
    }

    fn share_layout_with(&self, lost: &mut FloatHistogram) {
        lost.schema = self.schema;
        lost.zero_threshold = self.zero_threshold;
        lost.positive_spans = self.positive_spans.clone();
        lost.negative_spans = self.negative_spans.clone();
    }

    fn reduce_compensated(&mut self, schema: i32, lost: &mut FloatHistogram) -> Result<(), HistogramError> {
        let from = self.schema;
        let positive = reduce_with_compensation(
            &self.positive_spans,
            &self.positive_buckets,
            &lost.positive_buckets,
            from,
            schema,
        )?;
        let negative = reduce_with_compensation(
            &self.negative_spans,
            &self.negative_buckets,
            &lost.negative_buckets,
            from,
            schema,
        )?;
        (self.positive_spans, self.positive_buckets, lost.positive_buckets) = positive;
        (self.negative_spans, self.negative_buckets, lost.negative_buckets) = negative;
        self.schema = schema;
        self.share_layout_with(lost);
        Ok(())
    }
}

fn operand<'a>(spans: &'a [Span], counts: &'a [f64]) -> Operand<'a> {
    Operand { spans: Cow::Borrowed(spans), counts: Cow::Borrowed(counts), lost: Vec::new() }
}

fn reduced<'a>(
    spans: &'a [Span],
    counts: &'a [f64],
    from: i32,
    to: i32,
) -> Result<Operand<'a>, HistogramError> {
    if from == to {
        return Ok(operand(spans, counts));
    }
    let (spans, counts) = reduce_floats(spans, counts, from, to)?;
    Ok(Operand { spans: Cow::Owned(spans.to_vec()), counts: Cow::Owned(counts), lost: Vec::new() })
}

fn reduced_compensated<'a>(
    spans: &'a [Span],
    counts: &'a [f64],
    from: i32,
    to: i32,
) -> Result<Operand<'a>, HistogramError> {
    if from == to {
        return Ok(operand(spans, counts));
    }
    let none = vec![0.0; counts.len()];
    let (spans, counts, lost) = reduce_with_compensation(spans, counts, &none, from, to)?;
    Ok(Operand { spans: Cow::Owned(spans.to_vec()), counts: Cow::Owned(counts), lost })
}
