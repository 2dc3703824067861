//! `rate`, `increase` and `delta` of a series of floats: what most range queries
//! spend their time on.
//!
//! The plain algorithm stands in `functions::rate`: slice the window, look at
//! its first and last sample, add back what resets took, extrapolate. Here all
//! windows of a series are taken in one pass:
//!
//! ```text
//! samples   x  x  x  x  x  x  x  x        lo, hi     ends of the window, only rise
//! window    (lo            hi]            drop       first reset behind lo, only rises
//!              (lo            hi]         seen       hi of the step before: what is new
//! ```
//!
//! Every number is computed by the same operations in the same order, so that
//! bits are the same.

use super::batch::Batch;
use super::context::EvalContext;
use super::error::Result;
use super::node::Worker;
use super::range::SAMPLES_UNCHECKED;
use crate::functions::rate::{Gaps, seconds};
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

impl PlainRate<'_> {
    /// Computes the row of the worker's series from cell `base` on; `before`
    /// samples of the block are held already. Answers how many are held then.
    pub(crate) fn eval_row(
        &self,
        base: usize,
        before: u64,
        worker: &mut Worker,
        out: &mut Batch,
    ) -> Result<u64> {
        let steps = self.ctx.steps;
        let (series, tally) = (&worker.series, &mut worker.tally);
        let (times, values, drops) = (&series.float_ts[..], &series.floats[..], series.drops());
        let divisor = if self.per_second { Some(seconds(self.range_ms)) } else { None };
        let (mut lo, mut hi, mut seen, mut drop) = (0, 0, 0, 0);
        let (mut largest, mut latest, mut yielded, mut unchecked) = (0u64, 0u64, 0u64, 0u64);
        for step in 0..steps.count {
            let end_ms = steps.at(step).saturating_sub(self.offset_ms);
            let start_ms = end_ms.saturating_sub(self.range_ms);
            advance(&mut lo, times, start_ms);
            advance(&mut hi, times, end_ms);
            if lo >= hi {
                seen = hi;
                continue;
            }
            let count = (hi - lo) as u64;
            unchecked += count;
            if unchecked > SAMPLES_UNCHECKED {
                unchecked = 0;
                self.ctx.query.check_canceled()?;
            }
            largest = largest.max(count);
            latest = count;
            let read = match step {
                _ if !self.stored => 0,
                0 => count,
                _ => hi.saturating_sub(lo.max(seen)) as u64,
            };
            seen = hi;
            tally.add(step, count, read);
            if count < 2 {
                continue;
            }
            let (first, last) = (values[lo], values[hi - 1]);
            let mut moved = last - first;
            if self.counter {
                while drops.get(drop).is_some_and(|&i| i as usize <= lo) {
                    drop += 1;
                }
                for &i in drops[drop..].iter().take_while(|&&i| (i as usize) < hi) {
                    moved += values[i as usize - 1];
                }
            }
            let gaps =
                Gaps { start_ms, end_ms, first_ms: times[lo], last_ms: times[hi - 1], between: hi - lo - 1 };
            let zero_point = (self.counter && moved > 0.0 && first >= 0.0).then(|| first / moved);
            let factor = gaps.factor(zero_point);
            let factor = divisor.map_or(factor, |seconds| factor / seconds);
            out.set_float(base + step, moved * factor);
            yielded += 1;
        }
        // Upstream holds what was yielded beside the window, the last one in the end.
        self.ctx.query.budget.pass(before + largest.max(yielded + latest))?;
        Ok(before + yielded)
    }
}
