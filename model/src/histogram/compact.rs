//! Dropping empty buckets and joining spans.
//!
//! ```text
//! before         [3][0][0][5]  .  [2][0]      three empty buckets are listed
//! compact(0)     [3] .  . [5]  .  [2]
//! compact(2)     [3][0][0][5] [0] [2]         gaps of up to two stay, or are filled
//! ```

use std::sync::Arc;

use super::convert::absolute_counts;
use super::layout::{Positions, SpanBuilder};
use super::{FloatHistogram, Histogram, Span};

/// Gaps wider than this are never filled, whatever the caller allows: a hostile
/// offset would ask for gigabytes. No gap between the bounds of floats is wider.
const FILL_MAX: u64 = 1 << 20;

/// The layout after compacting: for each bucket where its count was, `None` for
/// one that fills a gap.
struct Plan {
    spans: Arc<[Span]>,
    cells: Vec<Option<usize>>,
}

/// `None` where nothing changes.
fn plan(spans: &[Span], buckets: usize, max_empty: usize, is_empty: impl Fn(usize) -> bool) -> Option<Plan> {
    let wide = |span: &Span| {
        span.length > 0 && i64::from(span.offset) > i64::try_from(max_empty).unwrap_or(i64::MAX)
    };
    let separate = spans.first().is_none_or(|first| first.length > 0) && spans.iter().skip(1).all(wide);
    if separate && !(0..buckets).any(&is_empty) {
        return None;
    }
    let fill_max = (max_empty as u64).min(FILL_MAX);
    let mut layout = SpanBuilder::default();
    let mut cells = Vec::with_capacity(buckets);
    let mut next = None;
    for (at, index) in Positions::new(spans, buckets) {
        if is_empty(at) {
            continue;
        }
        let gap = next.map_or(0, |next| i64::from(index) - next);
        if u64::try_from(gap).is_ok_and(|gap| gap > 0 && gap <= fill_max) {
            for filler in i64::from(index) - gap..i64::from(index) {
                layout.push(i32::try_from(filler).unwrap_or(i32::MAX));
                cells.push(None);
            }
        }
        layout.push(index);
        cells.push(Some(at));
        next = Some(i64::from(index) + 1);
    }
    Some(Plan { spans: layout.finish(), cells })
}

impl Plan {
    fn pick(&self, counts: &[f64]) -> Vec<f64> {
        self.cells.iter().map(|cell| cell.map_or(0.0, |at| counts[at])).collect()
    }
}

/// Compacts one side of a float histogram.
pub(super) fn compact_floats(spans: &mut Arc<[Span]>, counts: &mut Vec<f64>, max_empty: usize) {
    if let Some(plan) = plan(spans, counts.len(), max_empty, |at| counts[at] == 0.0) {
        *counts = plan.pick(counts);
        *spans = plan.spans;
    }
}

/// Compacts one side together with what rounding lost of it: a bucket is empty
/// where both are zero.
pub(super) fn compact_with_compensation(spans: &mut Arc<[Span]>, counts: &mut Vec<f64>, lost: &mut Vec<f64>) {
    lost.resize(counts.len(), 0.0);
    if let Some(plan) = plan(spans, counts.len(), 0, |at| counts[at] == 0.0 && lost[at] == 0.0) {
        *counts = plan.pick(counts);
        *lost = plan.pick(lost);
        *spans = plan.spans;
    }
}

fn compact_integers(spans: &mut Arc<[Span]>, deltas: &mut Vec<i64>, max_empty: usize) {
    let counts: Vec<i64> = absolute_counts(deltas).collect();
    if let Some(plan) = plan(spans, counts.len(), max_empty, |at| counts[at] == 0) {
        *deltas = differences(plan.cells.iter().map(|cell| cell.map_or(0, |at| counts[at])));
        *spans = plan.spans;
    }
}

/// Each count as difference to the one before.
pub(super) fn differences(counts: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut before = 0i64;
    let difference = |count: i64| {
        let delta = count.wrapping_sub(before);
        before = count;
        delta
    };
    counts.map(difference).collect()
}

impl FloatHistogram {
    /// Drops empty buckets at the ends of spans and wherever more than
    /// `max_empty` follow each other, and joins spans that are at most that far
    /// apart.
    pub fn compact(&mut self, max_empty: usize) {
        compact_floats(&mut self.positive_spans, &mut self.positive_buckets, max_empty);
        compact_floats(&mut self.negative_spans, &mut self.negative_buckets, max_empty);
    }
}

impl Histogram {
    /// As [`FloatHistogram::compact`].
    pub fn compact(&mut self, max_empty: usize) {
        compact_integers(&mut self.positive_spans, &mut self.positive_buckets, max_empty);
        compact_integers(&mut self.negative_spans, &mut self.negative_buckets, max_empty);
    }
}
