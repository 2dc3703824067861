//! `rate`, `increase` and `delta` of a series of floats: what most range queries
//! spend their time on.
//!
//! The plain algorithm stands in `functions::rate`: slice the window, look at
//! its first and last sample, add back what resets took, extrapolate. Here the
//! windows of a series are taken by the block, in two passes:
//!
//! ```text
//! samples   x  x  x  x  x  x  x  x        lo, hi     ends of the window, only rise
//! window    (lo            hi]            drop       first reset behind lo, only rises
//!              (lo            hi]         seen       hi of the step before: what is new
//!
//! pass 1, integers: find lo and hi      ─▶ a column for each number of the formula
//! pass 2, floats:   the formula, without a choice inside: a few windows at once
//! ```
//!
//! Every number is computed by the same operations in the same order, so that
//! bits are the same.

use super::batch::Batch;
use super::context::EvalContext;
use super::error::Result;
use super::node::Worker;
use super::range::SAMPLES_UNCHECKED;
use crate::functions::rate::seconds;
use crate::functions::window::advance;

/// How windows lie, and what is asked of them.
pub(crate) struct PlainRate<'a> {
    pub(crate) ctx: &'a EvalContext,
    pub(crate) range_ms: i64,
    pub(crate) offset_ms: i64,
    /// Whether a fall is a reset.
    pub(crate) counter: bool,
    pub(crate) per_second: bool,
    /// Whether samples are read from the store: those of a subquery were counted there.
    pub(crate) stored: bool,
}

/// Windows between the two passes.
const BLOCK: usize = 64;

/// What the formula needs of each window of a block, a column each. Windows of
/// fewer than two samples leave any numbers.
struct Columns {
    /// Value of the first sample.
    first: [f64; BLOCK],
    /// Last minus first, and what resets took.
    moved: [f64; BLOCK],
    /// Milliseconds from the window's start to its first sample.
    before_ms: [f64; BLOCK],
    /// Milliseconds from its first to its last sample.
    sampled_ms: [f64; BLOCK],
    /// Milliseconds from its last sample to its end.
    after_ms: [f64; BLOCK],
    /// Gaps between its samples.
    gaps: [f64; BLOCK],
}

impl Columns {
    const EMPTY: Columns = Columns {
        first: [0.0; BLOCK],
        moved: [0.0; BLOCK],
        before_ms: [0.0; BLOCK],
        sampled_ms: [0.0; BLOCK],
        after_ms: [0.0; BLOCK],
        gaps: [1.0; BLOCK],
    };

    /// The formula of `functions::rate` for the first windows, into `out`.
    /// `divisor`: the window's seconds, for what is asked a second.
    fn rates<const COUNTER: bool>(&self, divisor: Option<f64>, out: &mut [f64]) {
        // A factor divided by one is that factor.
        let divisor = divisor.unwrap_or(1.0);
        let n = out.len().min(BLOCK);
        let (first, moved) = (&self.first[..n], &self.moved[..n]);
        let (before_ms, sampled_ms) = (&self.before_ms[..n], &self.sampled_ms[..n]);
        let (after_ms, gaps) = (&self.after_ms[..n], &self.gaps[..n]);
        for (i, out) in out[..n].iter_mut().enumerate() {
            let to_start = before_ms[i] / 1000.0;
            let to_end = after_ms[i] / 1000.0;
            let sampled = sampled_ms[i] / 1000.0;
            let average = sampled / gaps[i];
            let (threshold, half) = (average * 1.1, average / 2.0);
            let to_end = if to_end >= threshold { half } else { to_end };
            let to_start = if to_start >= threshold { half } else { to_start };
            let to_start = if COUNTER {
                // A counter is not below zero: how far back it may have begun there.
                let to_zero = sampled * (first[i] / moved[i]);
                let capped = if to_zero < to_start { to_zero } else { to_start };
                if (moved[i] > 0.0) & (first[i] >= 0.0) { capped } else { to_start }
            } else {
                to_start
            };
            let factor = (sampled + to_start + to_end) / sampled;
            let factor = if sampled == 0.0 { 1.0 } else { factor };
            *out = moved[i] * (factor / divisor);
        }
    }
}

/// Where the windows of a block lie in the samples.
struct Spans {
    lo: [usize; BLOCK],
    hi: [usize; BLOCK],
}

impl PlainRate<'_> {
    /// Computes the row of the worker's series from cell `base` on; answers how
    /// many samples that made.
    pub(crate) fn eval_row(&self, base: usize, worker: &mut Worker, out: &mut Batch) -> Result<u64> {
        let (series, tally) = (&worker.series, &mut worker.tally);
        let (times, values) = (&series.float_ts[..], &series.floats[..]);
        let mut drops = series.drops();
        let divisor = if self.per_second { Some(seconds(self.range_ms)) } else { None };
        let (mut lo, mut hi, mut seen) = (0, 0, 0);
        let (mut largest, mut latest, mut yielded, mut unchecked) = (0, 0, 0u64, 0);
        let mut columns = Columns::EMPTY;
        let mut spans = Spans { lo: [0; BLOCK], hi: [0; BLOCK] };
        let mut next = self.first_step(times);
        let count = self.ctx.steps.count;
        while next < count && lo < times.len() {
            let (step, block) = (next, BLOCK.min(count - next));
            next += block;
            let first_end_ms = self.end_ms(step);
            let mut end_ms = first_end_ms;
            for (to_lo, to_hi) in spans.lo[..block].iter_mut().zip(&mut spans.hi) {
                advance(&mut lo, times, end_ms.saturating_sub(self.range_ms));
                advance(&mut hi, times, end_ms);
                (*to_lo, *to_hi) = (lo, hi);
                end_ms = end_ms.saturating_add(self.ctx.steps.interval_ms);
            }
            // Of windows with a rate, one bit each.
            let mut some = 0u64;
            let mut end_ms = first_end_ms;
            let (mut total, mut read) = (0, 0);
            for i in 0..block {
                let (lo, hi) = (spans.lo[i], spans.hi[i]);
                let samples = hi.saturating_sub(lo);
                let new = hi.saturating_sub(lo.max(seen));
                seen = hi;
                total += samples;
                read += new;
                latest = samples;
                if samples > 0 {
                    largest = samples.max(largest);
                    tally.note(step + i, samples as u64, if self.stored { new as u64 } else { 0 });
                }
                if samples > 1 {
                    let (first, last) = (values[lo], values[hi - 1]);
                    let (first_ms, last_ms) = (times[lo], times[hi - 1]);
                    let mut moved = last - first;
                    if self.counter && !drops.is_empty() {
                        let passed = drops.iter().take_while(|&&drop| drop as usize <= lo).count();
                        drops = &drops[passed..];
                        for &drop in drops.iter().take_while(|&&drop| (drop as usize) < hi) {
                            moved += values[drop as usize - 1];
                        }
                    }
                    columns.first[i] = first;
                    columns.moved[i] = moved;
                    columns.before_ms[i] = (first_ms - end_ms.saturating_sub(self.range_ms)) as f64;
                    columns.sampled_ms[i] = (last_ms - first_ms) as f64;
                    columns.after_ms[i] = (end_ms - last_ms) as f64;
                    columns.gaps[i] = (samples as i64 - 1) as f64;
                    some |= 1 << i;
                }
                end_ms = end_ms.saturating_add(self.ctx.steps.interval_ms);
            }
            tally.add_all(total as u64, if self.stored { read as u64 } else { 0 });
            let cells = out.floats_mut(base + step, block, some);
            if self.counter {
                columns.rates::<true>(divisor, cells);
            } else {
                columns.rates::<false>(divisor, cells);
            }
            yielded += u64::from(some.count_ones());
            unchecked += total as u64;
            if unchecked > SAMPLES_UNCHECKED {
                unchecked = 0;
                self.ctx.query.check_canceled()?;
            }
        }
        // Windows that were not looked at are empty.
        worker.window = (largest as u64, if next < count { 0 } else { latest as u64 });
        Ok(yielded)
    }

    /// Where the window of a step ends.
    fn end_ms(&self, step: usize) -> i64 {
        self.ctx.steps.at(step).saturating_sub(self.offset_ms)
    }

    /// The first step whose window reaches the first sample.
    fn first_step(&self, times: &[i64]) -> usize {
        let Some(&first_ms) = times.first() else { return self.ctx.steps.count };
        let until = i128::from(first_ms) - i128::from(self.end_ms(0));
        let steps = until.max(0) / i128::from(self.ctx.steps.interval_ms.max(1));
        usize::try_from(steps).unwrap_or(usize::MAX).min(self.ctx.steps.count)
    }
}
