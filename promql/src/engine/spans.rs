//! Where the windows of a row lie in its samples.

use crate::stats::StepTally;

/// Windows that are looked at together; a bit each fits a word.
pub(crate) const BLOCK: usize = 64;

/// Places of the first sample behind each bound of a row's windows. A buffer that is
/// used again.
///
/// ```text
/// bounds   s0 s1 s2 … e0 e1 e2 …        a range of 3 steps: s3 is e0, kept once
///          └── apart ─┘
/// ```
#[derive(Default)]
pub(crate) struct Spans {
    bounds: Vec<u32>,
    apart: usize,
    windows: usize,
}

impl Spans {
    /// Finds so many windows; the first ends at `end_ms`, each other `interval_ms` later.
    pub(crate) fn find(
        &mut self,
        times: &[i64],
        windows: usize,
        end_ms: i64,
        range_ms: i64,
        interval_ms: i64,
    ) {
        self.bounds.clear();
        self.windows = windows;
        let start_ms = end_ms.saturating_sub(range_ms);
        let apart = shared_bounds(windows, range_ms, interval_ms);
        self.apart = apart.unwrap_or(windows);
        self.walk(times, start_ms, interval_ms, windows + apart.unwrap_or(0));
        if apart.is_none() {
            self.walk(times, end_ms, interval_ms, windows);
        }
    }

    fn walk(&mut self, times: &[i64], mut bound_ms: i64, interval_ms: i64, n: usize) {
        let (mut at, mut left) = (0, n);
        while left > 0 {
            let block = left.min(BLOCK);
            at = passed(times, at, bound_ms);
            if one_a_step(times, at, bound_ms, interval_ms, block) {
                self.bounds.extend((at as u32..).take(block));
                at += block - 1;
                bound_ms = bound_ms.saturating_add(interval_ms.saturating_mul(block as i64));
            } else {
                self.bounds.extend((0..block).map(|_| {
                    at = passed(times, at, bound_ms);
                    bound_ms = bound_ms.saturating_add(interval_ms);
                    at as u32
                }));
            }
            left -= block;
        }
    }

    /// The windows, some at a time.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        let (starts, ends) = (&self.bounds[..self.windows], &self.bounds[self.apart..]);
        starts.chunks(BLOCK).zip(ends.chunks(BLOCK)).map(|(starts, ends)| Block { starts, ends })
    }

    /// Samples of the last window.
    pub(crate) fn last(&self) -> u32 {
        self.blocks().last().and_then(|block| block.spans().last()).map_or(0, |(lo, hi)| hi - lo)
    }

    /// Notes what the windows hold one by one, those of steps from `first` on.
    pub(crate) fn note_each(&self, first: usize, stored: bool, tally: &mut StepTally) {
        let mut seen = 0;
        for (step, (lo, hi)) in (first..).zip(self.blocks().flat_map(|block| block.spans())) {
            let new = unseen((lo, hi), &mut seen);
            if hi > lo {
                tally.note(step, u64::from(hi - lo), if stored { u64::from(new) } else { 0 });
            }
        }
    }
}

/// The first sample behind a bound, from one on that is not behind it.
#[inline(always)]
fn passed(times: &[i64], mut at: usize, bound_ms: i64) -> usize {
    // Mostly there is one sample a step: that one is passed without a branch.
    at += usize::from(times.get(at).is_some_and(|&t| t <= bound_ms));
    while at < times.len() && times[at] <= bound_ms {
        at += 1;
    }
    at
}

/// Whether each of so many bounds has one sample more before it than the last one; of
/// the first, `at` is the sample behind it.
fn one_a_step(times: &[i64], at: usize, bound_ms: i64, interval_ms: i64, bounds: usize) -> bool {
    let Some(times) = at.checked_sub(1).and_then(|before| times.get(before..at + bounds)) else {
        return false;
    };
    // So near to zero that no difference overflows.
    let near = |t: i64| t.unsigned_abs() < 1 << 61;
    let last_ms = interval_ms.checked_mul(bounds as i64).and_then(|all| all.checked_add(bound_ms));
    if !(near(times[0]) && near(times[bounds]) && near(bound_ms) && last_ms.is_some_and(near)) {
        return false;
    }
    let (mut bound_ms, mut signs) = (bound_ms, 0);
    for (before, behind) in times.iter().zip(&times[1..]) {
        signs |= (bound_ms - before) | (behind - 1 - bound_ms);
        bound_ms += interval_ms;
    }
    signs >= 0
}

/// How many steps a range has, if bounds are worth sharing.
fn shared_bounds(windows: usize, range_ms: i64, interval_ms: i64) -> Option<usize> {
    if interval_ms <= 0 || range_ms % interval_ms != 0 {
        return None;
    }
    usize::try_from(range_ms / interval_ms).ok().filter(|&steps| steps <= windows)
}

/// Up to [`BLOCK`] windows in a row.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    /// First samples of the windows.
    pub(crate) starts: &'a [u32],
    /// The samples behind their last ones.
    pub(crate) ends: &'a [u32],
}

impl<'a> Block<'a> {
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The first sample of each window, and the one behind its last.
    pub(crate) fn spans(self) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        self.starts.iter().copied().zip(self.ends.iter().copied())
    }

    /// The first window's span if each other has one sample more behind and one less in
    /// front, and all have two or more: as where targets are scraped once a step.
    pub(crate) fn one_a_step(self) -> Option<(usize, usize)> {
        let (lo, hi) = self.spans().next()?;
        let apart = |bounds: &[u32], from: u32| {
            bounds.iter().zip(0..).fold(0, |apart, (&at, i)| apart | (at ^ from.wrapping_add(i)))
        };
        let even = hi - lo >= 2 && apart(self.starts, lo) | apart(self.ends, hi) == 0;
        even.then_some((lo as usize, hi as usize))
    }
}

/// Samples of a window behind the end of the one before, which is `seen`.
fn unseen((lo, hi): (u32, u32), seen: &mut u32) -> u32 {
    hi - lo.max(std::mem::replace(seen, hi))
}

/// Samples of the windows of a row.
#[derive(Default)]
pub(crate) struct Counts {
    /// Of all windows.
    pub(crate) total: u64,
    /// Those that the window before did not have.
    pub(crate) new: u64,
    /// Of the largest window.
    pub(crate) largest: u32,
    /// What the last window ended before.
    seen: u32,
}

impl Counts {
    /// Counts the next block; `even` is its [`Block::one_a_step`].
    pub(crate) fn add(&mut self, block: Block<'_>, even: Option<(usize, usize)>) {
        if let Some((lo, hi)) = even {
            let (lo, hi, windows) = (lo as u32, hi as u32, block.len() as u32);
            self.total += u64::from(hi - lo) * u64::from(windows);
            self.new += u64::from(hi - lo.max(self.seen)) + u64::from(windows - 1);
            self.largest = self.largest.max(hi - lo);
            self.seen = hi + windows - 1;
            return;
        }
        for (lo, hi) in block.spans() {
            self.total += u64::from(hi - lo);
            self.new += u64::from(unseen((lo, hi), &mut self.seen));
            self.largest = self.largest.max(hi - lo);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::Rng;

    /// Times some of which are one a step, some with gaps or two a step.
    fn times(rng: &mut Rng, n: usize) -> Vec<i64> {
        let mut t = rng.below(30) as i64 - 15;
        let uneven = rng.below(4) * 5;
        (0..n)
            .map(|_| {
                t += match rng.below(100) {
                    at if at < uneven => 1 + rng.below(40) as i64,
                    _ => 10,
                };
                t
            })
            .collect()
    }

    #[test]
    fn windows_are_those_that_a_search_finds() {
        let mut rng = Rng::new(11);
        let (mut spans, mut even) = (Spans::default(), 0);
        for _ in 0..600 {
            let len = rng.below(400) as usize;
            let times = times(&mut rng, len);
            let (windows, range_ms) = (1 + rng.below(300) as usize, 1 + rng.below(200) as i64);
            let range_ms = if rng.one_in(2) { range_ms / 10 * 10 + 10 } else { range_ms };
            let interval_ms = if rng.one_in(4) { 1 + rng.below(40) as i64 } else { 10 };
            let end_ms = rng.below(400) as i64 - 200;
            spans.find(&times, windows, end_ms, range_ms, interval_ms);
            let behind = |bound_ms: i64| times.partition_point(|&t| t <= bound_ms) as u32;
            let wanted: Vec<(u32, u32)> = (0..windows as i64)
                .map(|i| end_ms + i * interval_ms)
                .map(|end_ms| (behind(end_ms - range_ms), behind(end_ms)))
                .collect();
            let found: Vec<(u32, u32)> = spans.blocks().flat_map(|block| block.spans()).collect();
            assert_eq!(found, wanted);

            let (mut counts, mut plain) = (Counts::default(), Counts::default());
            for block in spans.blocks() {
                even += usize::from(block.one_a_step().is_some());
                counts.add(block, block.one_a_step());
                plain.add(block, None);
            }
            let parts = |c: &Counts| (c.total, c.new, c.largest, c.seen);
            assert_eq!(parts(&counts), parts(&plain));
        }
        assert!(even > 100, "{even}");
    }

    #[test]
    fn bounds_at_the_ends_of_time_are_found_plainly() {
        let times = [i64::MIN, -5, 0, 5, i64::MAX - 1, i64::MAX];
        let mut spans = Spans::default();
        spans.find(&times, 3, i64::MAX - 1, 10, 1);
        let found: Vec<(u32, u32)> = spans.blocks().flat_map(|block| block.spans()).collect();
        assert_eq!(found, [(4, 5), (4, 6), (4, 6)]);
        spans.find(&times, 2, i64::MIN + 3, 10, 5);
        let found: Vec<(u32, u32)> = spans.blocks().flat_map(|block| block.spans()).collect();
        assert_eq!(found, [(1, 1), (1, 1)]);
    }
}
