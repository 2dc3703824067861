//! `rate`, `increase` and `delta` of a series of floats: what most range queries
//! spend their time on.
//!
//! The plain algorithm stands in `functions::rate`: slice the window, look at
//! its first and last sample, add back what resets took, extrapolate. Here the
//! windows of a series are taken together, in passes without choices:
//!
//! ```text
//! samples   x  x  x  x  x  x  x  x
//! bounds    |  |  |  |  |  |         where windows start and end in them; if the range
//!           lo       hi              is so many steps, a start is an earlier end
//!              lo       hi
//!
//! pass 1, a row:   find the bounds
//! pass 2, a block: count samples; gather first and last ─▶ a column for each number of the formula
//! pass 3, a block: the formula, a few windows at once
//! ```
//!
//! Where targets are scraped once a step, each bound of a block lies one sample behind
//! the one before: then the samples are the columns, and nothing is gathered.
//!
//! Every number is computed by the same operations in the same order, so that
//! bits are the same.

use super::batch::Batch;
use super::context::EvalContext;
use super::node::Worker;
use super::spans::{BLOCK, Block, Counts};
use crate::functions::rate::seconds;

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

/// What the formula needs of each window of a block, a column each. Windows of
/// fewer than two samples leave any numbers.
struct Columns {
    /// Value of the first sample.
    first: [f64; BLOCK],
    /// Last minus first, and what resets took.
    moved: [f64; BLOCK],
    /// Milliseconds from the window's start to its first sample.
    before_ms: [i64; BLOCK],
    /// Milliseconds from its first to its last sample.
    sampled_ms: [i64; BLOCK],
    /// Milliseconds from its last sample to its end.
    after_ms: [i64; BLOCK],
    /// Gaps between its samples.
    gaps: [i64; BLOCK],
}

impl Columns {
    const EMPTY: Columns = Columns {
        first: [0.0; BLOCK],
        moved: [0.0; BLOCK],
        before_ms: [0; BLOCK],
        sampled_ms: [0; BLOCK],
        after_ms: [0; BLOCK],
        gaps: [0; BLOCK],
    };

    /// Takes windows of some samples, the first of which starts at `start_ms`. Answers
    /// which have two samples or more, one bit each.
    ///
    /// Each loop does little, so that all it needs stays in registers.
    fn gather(
        &mut self,
        (times, values): (&[i64], &[f64]),
        block: Block<'_>,
        start_ms: i64,
        windows: &PlainRate<'_>,
    ) -> u64 {
        let Block { starts, ends } = block;
        let (range_ms, interval_ms) = (windows.range_ms, windows.ctx.steps.interval_ms);
        let mut bound_ms = start_ms;
        // Bounds ascend: where the last one is inside, all are.
        let newest = times.len() - 1;
        let all_start_inside = starts.last().is_some_and(|&lo| lo as usize <= newest);
        let all_end_inside = ends.first().is_some_and(|&hi| hi > 0);
        // An empty window takes any sample.
        let first = |&lo: &u32| if all_start_inside { lo as usize } else { (lo as usize).min(newest) };
        let last = |&hi: &u32| if all_end_inside { hi as usize - 1 } else { (hi as usize).saturating_sub(1) };
        for (((value, before_ms), sampled_ms), at) in
            self.first.iter_mut().zip(&mut self.before_ms).zip(&mut self.sampled_ms).zip(starts)
        {
            let (t, v) = (times[first(at)], values[first(at)]);
            *value = v;
            *before_ms = t.wrapping_sub(bound_ms);
            *sampled_ms = t;
            bound_ms = bound_ms.wrapping_add(interval_ms);
        }
        bound_ms = start_ms.wrapping_add(range_ms);
        for (((moved, after_ms), sampled_ms), at) in
            self.moved.iter_mut().zip(&mut self.after_ms).zip(&mut self.sampled_ms).zip(ends)
        {
            let (t, v) = (times[last(at)], values[last(at)]);
            *moved = v;
            *after_ms = bound_ms.wrapping_sub(t);
            *sampled_ms = t.wrapping_sub(*sampled_ms);
            bound_ms = bound_ms.wrapping_add(interval_ms);
        }
        for (moved, first) in self.moved.iter_mut().zip(&self.first) {
            *moved -= first;
        }
        for (gaps, (lo, hi)) in self.gaps.iter_mut().zip(block.spans()) {
            *gaps = i64::from(hi - lo) - 1;
        }
        block.spans().enumerate().fold(0, |some, (i, (lo, hi))| some | u64::from(hi - lo > 1) << i)
    }

    /// Adds what resets took, in their order; answers the resets that later
    /// windows may have.
    fn add_drops<'d>(&mut self, values: &[f64], block: Block<'_>, mut drops: &'d [u32]) -> &'d [u32] {
        for (moved, (lo, hi)) in self.moved.iter_mut().zip(block.spans()) {
            drops = behind(drops, lo);
            for &drop in drops.iter().take_while(|&&drop| drop < hi) {
                *moved += values[drop as usize - 1];
            }
        }
        drops
    }

    /// The formula of `functions::rate` for the first windows, into `out`.
    /// `divisor`: what the factor is divided by.
    fn rates<const COUNTER: bool>(&self, divisor: f64, out: &mut [f64]) {
        if !self.calm_formula::<COUNTER>(divisor, out) {
            self.formula::<COUNTER>(divisor, out);
        }
    }

    /// The formula as it is where all windows are calm; answers whether they were,
    /// else `out` holds any numbers.
    fn calm_formula<const COUNTER: bool>(&self, divisor: f64, out: &mut [f64]) -> bool {
        let n = out.len().min(BLOCK);
        let (first, moved) = (&self.first[..n], &self.moved[..n]);
        let (before_ms, sampled_ms) = (&self.before_ms[..n], &self.sampled_ms[..n]);
        let (after_ms, gaps) = (&self.after_ms[..n], &self.gaps[..n]);
        let mut calm = true;
        for (i, out) in out[..n].iter_mut().enumerate() {
            let (before, after, gaps) = (float(before_ms[i]), float(after_ms[i]), float(gaps[i]));
            let window = (before, float(sampled_ms[i]), after);
            calm &= is_calm::<COUNTER>(window, gaps, first[i], moved[i]);
            *out = calm_rate(window, moved[i], divisor);
        }
        calm
    }

    fn formula<const COUNTER: bool>(&self, divisor: f64, out: &mut [f64]) {
        let n = out.len().min(BLOCK);
        let (first, moved) = (&self.first[..n], &self.moved[..n]);
        let (before_ms, sampled_ms) = (&self.before_ms[..n], &self.sampled_ms[..n]);
        let (after_ms, gaps) = (&self.after_ms[..n], &self.gaps[..n]);
        for (i, out) in out[..n].iter_mut().enumerate() {
            let mut to_start = float(before_ms[i]) / 1000.0;
            let mut to_end = float(after_ms[i]) / 1000.0;
            let sampled = float(sampled_ms[i]) / 1000.0;
            let average = sampled / float(gaps[i]);
            let (threshold, half) = (average * 1.1, average / 2.0);
            to_end = if to_end >= threshold { half } else { to_end };
            to_start = if to_start >= threshold { half } else { to_start };
            if COUNTER {
                // A counter is not below zero: how far back it may have begun there.
                let to_zero = sampled * (first[i] / moved[i]);
                let capped = if to_zero < to_start { to_zero } else { to_start };
                to_start = if (moved[i] > 0.0) & (first[i] >= 0.0) { capped } else { to_start };
            }
            let factor = (sampled + to_start + to_end) / sampled;
            let factor = if sampled == 0.0 { 1.0 } else { factor };
            *out = moved[i] * (factor / divisor);
        }
    }
}

/// A series, as its windows are computed.
struct Row<'a> {
    times: &'a [i64],
    values: &'a [f64],
    /// Resets that windows to come may have.
    drops: &'a [u32],
    columns: Columns,
}

/// Resets behind a sample, of some that ascend.
fn behind(drops: &[u32], sample: u32) -> &[u32] {
    let passed = drops.iter().take_while(|&&drop| drop <= sample).count();
    &drops[passed..]
}

/// Whether a window reaches not so far beyond its samples that it is cut, and its
/// counter does not come near zero: so most are, and that saves five divisions of
/// seven. `window`: the milliseconds before, between and after its samples.
#[inline(always)]
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "what is no number does not move up either")]
fn is_calm<const COUNTER: bool>(
    (before, sampled, after): (f64, f64, f64),
    gaps: f64,
    first: f64,
    moved: f64,
) -> bool {
    // Surely less than 1.1 of the mean distance: far more is left than is rounded.
    let cut_from = sampled * 1.099_999_9;
    let whole = (before * gaps < cut_from) & (after * gaps < cut_from) & (cut_from < THOUSANDTHS_BELOW);
    // Back to zero it would take twice as long as the samples do, or longer.
    whole & (!COUNTER | (first >= 2.0 * moved) | !(moved > 0.0))
}

/// The formula for a calm window.
#[inline(always)]
fn calm_rate((before, sampled, after): (f64, f64, f64), moved: f64, divisor: f64) -> f64 {
    let (to_start, to_end, sampled) = (thousandth(before), thousandth(after), thousandth(sampled));
    let factor = (sampled + to_start + to_end) / sampled;
    moved * (factor / divisor)
}

/// Whole numbers below this have exact [`thousandth`]s.
const THOUSANDTHS_BELOW: f64 = (1 << 28) as f64;

/// `x / 1000.0` of a whole number below 2^28, to the bit, without a division.
///
/// A thousandth is taken in two parts. The upper one has 25 bits, so that its product
/// has no more than 53 and is exact. The lower product and the sum are rounded: the
/// first errs by less than 2^-75 of the result, and no `x / 1000` lies nearer than
/// 2^-64 to the middle of two floats, where that could matter.
#[inline(always)]
fn thousandth(x: f64) -> f64 {
    const UPPER: f64 = f64::from_bits((0.001f64).to_bits() & !((1 << 28) - 1));
    // 0.001 - UPPER is exact, but 0.001 is itself rounded: 1 - 1000 * UPPER is exact.
    const LOWER: f64 = (1.0 - 1000.0 * UPPER) / 1000.0;
    x * UPPER + x * LOWER
}

/// The float of a number from 0 to 2^52, which windows are far from: with
/// instructions that take several at once.
#[inline(always)]
fn float(n: i64) -> f64 {
    const ONE_AND_52_BITS: u64 = 0x433 << 52;
    f64::from_bits(n as u64 | ONE_AND_52_BITS) - f64::from_bits(ONE_AND_52_BITS)
}

impl PlainRate<'_> {
    /// Computes the row of the worker's series from cell `base` on; answers how
    /// many samples that made.
    pub(crate) fn eval_row(&self, base: usize, worker: &mut Worker, out: &mut Batch) -> u64 {
        let Worker { series, tally, spans, .. } = worker;
        let (times, interval_ms) = (&series.float_ts[..], self.ctx.steps.interval_ms);
        let first = self.first_step(times);
        worker.window = (0, 0);
        if first == self.ctx.steps.count {
            return 0;
        }
        spans.find(times, self.ctx.steps.count - first, self.end_ms(first), self.range_ms, interval_ms);
        let mut counts = Counts::default();
        let mut row = Row {
            times,
            values: &series.floats,
            drops: if self.counter { series.drops() } else { &[] },
            columns: Columns::EMPTY,
        };
        let (mut step, mut yielded) = (first, 0);
        for block in spans.blocks() {
            let even = block.one_a_step();
            counts.add(block, even);
            let at = (step, base + step);
            yielded += match self.counter {
                true => self.eval_block::<true>(&mut row, block, even, at, out),
                false => self.eval_block::<false>(&mut row, block, even, at, out),
            };
            step += block.len();
        }
        tally.add_all(counts.total, if self.stored { counts.new } else { 0 });
        if tally.wants_steps() {
            spans.note_each(first, self.stored, tally);
        }
        worker.window = (u64::from(counts.largest), u64::from(spans.last()));
        yielded
    }

    /// Computes the windows of some steps, the first of which stands in `cell`; answers
    /// how many had a rate.
    fn eval_block<const COUNTER: bool>(
        &self,
        row: &mut Row<'_>,
        block: Block<'_>,
        even: Option<(usize, usize)>,
        (step, cell): (usize, usize),
        out: &mut Batch,
    ) -> u64 {
        let n = block.len();
        let start_ms = self.end_ms(step).saturating_sub(self.range_ms);
        if let Some((lo, hi)) = even {
            row.drops = behind(row.drops, lo as u32);
            let no_drop = row.drops.first().is_none_or(|&drop| drop as usize >= hi + n - 1);
            let cells = out.floats_mut(cell, n, u64::MAX >> (64 - n));
            let calm = no_drop && self.even_formula::<COUNTER>(row, (lo, hi), start_ms, cells);
            if calm {
                return n as u64;
            }
        }
        let some = row.columns.gather((row.times, row.values), block, start_ms, self);
        if some == 0 {
            return 0;
        }
        if !row.drops.is_empty() {
            row.drops = row.columns.add_drops(row.values, block, row.drops);
        }
        row.columns.rates::<COUNTER>(self.divisor(), out.floats_mut(cell, n, some));
        u64::from(some.count_ones())
    }

    /// The formula over windows without a reset, each one sample behind the one before,
    /// if all are calm; answers whether they were, else `out` holds any numbers. The
    /// first window has samples `lo` to `hi` and starts at `start_ms`.
    fn even_formula<const COUNTER: bool>(
        &self,
        row: &Row<'_>,
        (lo, hi): (usize, usize),
        start_ms: i64,
        out: &mut [f64],
    ) -> bool {
        let n = out.len();
        let (first_ts, firsts) = (&row.times[lo..lo + n], &row.values[lo..lo + n]);
        let (last_ts, lasts) = (&row.times[hi - 1..hi - 1 + n], &row.values[hi - 1..hi - 1 + n]);
        let (gaps, divisor) = (float((hi - lo - 1) as i64), self.divisor());
        let (mut start_ms, interval_ms) = (start_ms, self.ctx.steps.interval_ms);
        let mut end_ms = start_ms.wrapping_add(self.range_ms);
        let mut calm = true;
        for (i, out) in out.iter_mut().enumerate() {
            let before = float(first_ts[i].wrapping_sub(start_ms));
            let sampled = float(last_ts[i].wrapping_sub(first_ts[i]));
            let after = float(end_ms.wrapping_sub(last_ts[i]));
            let moved = lasts[i] - firsts[i];
            calm &= is_calm::<COUNTER>((before, sampled, after), gaps, firsts[i], moved);
            *out = calm_rate((before, sampled, after), moved, divisor);
            start_ms = start_ms.wrapping_add(interval_ms);
            end_ms = end_ms.wrapping_add(interval_ms);
        }
        calm
    }

    /// What the factor is divided by: the window's seconds, for what is asked a second.
    /// A factor divided by one is that factor.
    fn divisor(&self) -> f64 {
        if self.per_second { seconds(self.range_ms) } else { 1.0 }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows whose ends lie near where they are cut, and counters near zero.
    fn columns(rng: &mut testkit::Rng) -> Columns {
        let mut columns = Columns::EMPTY;
        let near = rng.below(3) == 0;
        for i in 0..BLOCK {
            let gaps = 1 + rng.below(20) as i64;
            let sampled_ms = gaps * (1 + rng.below(15_000) as i64);
            let cut_ms = sampled_ms * 11 / (gaps * 10);
            let end_ms = |rng: &mut testkit::Rng| match near {
                true => (cut_ms + rng.below(3) as i64 - 1).max(0),
                false => rng.below(cut_ms.max(1) as u64) as i64,
            };
            columns.moved[i] = [0.0, 1.0, 7.25, -3.0, f64::NAN][rng.below(5) as usize];
            columns.first[i] = match near {
                true => [0.0, 1.99, 2.0, 14.5, 14.6, f64::INFINITY][rng.below(6) as usize],
                false => 1e6 + rng.below(1000) as f64,
            };
            columns.before_ms[i] = end_ms(rng);
            columns.after_ms[i] = end_ms(rng);
            (columns.sampled_ms[i], columns.gaps[i]) = (sampled_ms, gaps);
        }
        columns
    }

    #[test]
    fn calm_blocks_have_the_bits_of_all_others() {
        let mut rng = testkit::Rng::new(5);
        let mut n_calm = 0;
        for _ in 0..4000 {
            let columns = columns(&mut rng);
            let bits = |out: [f64; BLOCK]| out.map(f64::to_bits);
            let mut out = [[0.0; BLOCK]; 4];
            columns.rates::<true>(300.0, &mut out[0]);
            columns.formula::<true>(300.0, &mut out[1]);
            columns.rates::<false>(1.0, &mut out[2]);
            columns.formula::<false>(1.0, &mut out[3]);
            n_calm += u32::from(columns.calm_formula::<true>(300.0, &mut [0.0; BLOCK]));
            let [rate, rate_plainly, delta, delta_plainly] = out.map(bits);
            assert_eq!(rate, rate_plainly);
            assert_eq!(delta, delta_plainly);
        }
        assert!((500..3900).contains(&n_calm), "{n_calm}");
    }

    #[test]
    fn thousandths_are_those_of_a_division() {
        let same = |n: u32| {
            let x = f64::from(n);
            assert_eq!(thousandth(x).to_bits(), (x / 1000.0).to_bits(), "{n}");
        };
        // All of half an hour, and a walk to the end: all were tried once.
        (0..1 << 21).for_each(same);
        let mut n = 1 << 21;
        while f64::from(n) < THOUSANDTHS_BELOW {
            same(n);
            n += 97;
        }
        ((1 << 28) - 1000..1 << 28).for_each(same);
    }
}
