//! Samples that upstream's evaluation would hold, for `query.max-samples` and
//! `peakSamples`.
//!
//! Upstream computes each operator whole before the next one begins, and counts
//! what lies in memory meanwhile. Here blocks stream from operator to operator,
//! so the count is made beside them: each operator of upstream has an account
//! that learns how many samples its result has at each step, and when all is
//! evaluated the accounts are settled from the leaves up.
//!
//! ```text
//!            held     left operand   right operand   samples of a step   result
//!   before ───┬──────────┬───────────────┬───────────────┬────────────┬────────▶
//!             │  + its result   + its result    + those gathered,     operands
//!             │                                 results so far        are given back
//! ```
//!
//! Source: Prometheus `promql/engine.go`, `currentSamples` and `UpdatePeak`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::batch::{Batch, Point, histogram_samples, histogram_samples_at_step};
use super::context::{EvalContext, QueryContext, Reservation};
use super::error::Result;

/// How upstream counts while it evaluates an operator.
enum Rule {
    /// What is made is held: selectors, constants.
    Held,
    /// What is found is not held: selectors that are looked up at each step.
    Found,
    /// Step by step: what the operands have at a step is gathered, the result
    /// is added, and in the end the operands are given back.
    Steps(Vec<Arc<Account>>),
    /// The same, but the operand is looked up at each step and never held.
    LookedUp(Arc<Account>),
    /// As `Steps`, but the operands are never given back.
    Kept(Vec<Arc<Account>>),
    /// The parameter, then the whole input; the result takes their place.
    Aggregate { param: Option<Arc<Account>>, input: Arc<Account> },
    /// Series by series a window slides; what is seen lies in `runs`. A
    /// subquery's result is given back in the end, parameters never.
    Windows { subquery: Option<Arc<Account>>, params: Vec<Arc<Account>> },
    /// Another account's samples, of which something smaller was made.
    InPlaceOf(Arc<Account>),
    /// Evaluated at one step and repeated.
    Once(Arc<Account>),
}

/// Rows in turn that were evaluated one after the other.
#[derive(Clone, Copy)]
struct Run {
    first_row: u32,
    /// Most that was held at a time beyond what was held before.
    peak: u64,
    /// What of it stays.
    left: u64,
}

/// What an operator's result has.
#[derive(Default)]
struct Made {
    /// Series that have a sample at every step.
    whole: u64,
    /// Samples of other series by step; empty until there is one.
    partial: Vec<u32>,
    /// By step, what histograms count beyond one; empty until there is one.
    extra: Vec<u64>,
    /// And what they count beyond that while they are a step's result.
    at_step: Vec<u32>,
    runs: Vec<Run>,
    /// Everything so far.
    total: u64,
    /// What `runs` left so far.
    left: u64,
    memory: Option<Reservation>,
}

impl Made {
    /// Sets the counts by step to those of an account.
    fn copy_counts(&mut self, of: &Account) {
        let (mut elements, sizes) = (Profile::default(), of.sizes());
        of.add_elements(&mut elements);
        self.total = sizes.total(of.steps);
        if self.total > elements.total(of.steps) {
            self.extra = (0..of.steps).map(|step| sizes.at(step) - elements.at(step)).collect();
        }
        self.whole = elements.every;
        self.partial = elements.more.into_iter().map(|n| n as u32).collect();
        self.at_step.clone_from(&of.made.lock().at_step);
    }
}

/// What an evaluation took, as upstream counts, relative to what was held before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Settled {
    /// Held when it is over.
    left: u64,
    /// Most held at a time.
    pub(crate) peak: u64,
    /// Most held when upstream looked at the limit.
    pub(crate) checked: u64,
}

/// One operator's account.
pub(crate) struct Account {
    rule: Rule,
    steps: usize,
    query: Arc<QueryContext>,
    made: Mutex<Made>,
    settled: OnceLock<Settled>,
}

impl Account {
    fn new(ctx: &EvalContext, rule: Rule) -> Arc<Account> {
        Arc::new(Account {
            rule,
            steps: ctx.steps.count,
            query: ctx.query.clone(),
            made: Mutex::default(),
            settled: OnceLock::new(),
        })
    }

    /// Of a selector.
    pub(crate) fn held(ctx: &EvalContext) -> Arc<Account> {
        Account::new(ctx, Rule::Held)
    }

    /// Of a selector below [`Account::looked_up`].
    pub(crate) fn found(ctx: &EvalContext) -> Arc<Account> {
        Account::new(ctx, Rule::Found)
    }

    /// Of what has one float at every step and no operand.
    pub(crate) fn constant(ctx: &EvalContext) -> Arc<Account> {
        Account::scalar(Account::held(ctx))
    }

    /// Of most functions and operators; operands in the order of evaluation.
    pub(crate) fn steps(ctx: &EvalContext, operands: Vec<Arc<Account>>) -> Arc<Account> {
        Account::new(ctx, Rule::Steps(operands))
    }

    /// Of `timestamp` and its like directly on a selector.
    pub(crate) fn looked_up(ctx: &EvalContext, selector: Arc<Account>) -> Arc<Account> {
        Account::new(ctx, Rule::LookedUp(selector))
    }

    /// Of `info`.
    pub(crate) fn kept(ctx: &EvalContext, operands: Vec<Arc<Account>>) -> Arc<Account> {
        Account::new(ctx, Rule::Kept(operands))
    }

    /// Of an aggregation.
    pub(crate) fn aggregate(
        ctx: &EvalContext,
        param: Option<Arc<Account>>,
        input: Arc<Account>,
    ) -> Arc<Account> {
        Account::new(ctx, Rule::Aggregate { param, input })
    }

    /// Of range functions, range vectors and smoothed selectors: what has windows.
    pub(crate) fn windows(
        ctx: &EvalContext,
        subquery: Option<Arc<Account>>,
        params: Vec<Arc<Account>>,
    ) -> Arc<Account> {
        Account::new(ctx, Rule::Windows { subquery, params })
    }

    /// Of what stands in the place of something larger that stays counted.
    pub(crate) fn in_place_of(ctx: &EvalContext, larger: Arc<Account>) -> Arc<Account> {
        Account::new(ctx, Rule::InPlaceOf(larger))
    }

    /// Of what is evaluated once and stands at every step.
    pub(crate) fn once(ctx: &EvalContext, input: Arc<Account>) -> Arc<Account> {
        Account::new(ctx, Rule::Once(input))
    }

    /// In place of one whose operator was evaluated whole: what that took stays,
    /// and the accounts of its operands go. Refuses what upstream would refuse by
    /// then.
    pub(crate) fn settled(ctx: &EvalContext, account: &Account) -> Result<Arc<Account>> {
        let settled = account.settle();
        ctx.query.check_samples(settled.checked)?;
        let kept = Account::new(ctx, Rule::Held);
        kept.made.lock().copy_counts(account);
        kept.settled.get_or_init(|| settled);
        Ok(kept)
    }

    /// Takes over what another counted, as if it were this one's.
    pub(crate) fn count_as(&self, other: &Account) {
        self.made.lock().copy_counts(other);
    }

    /// The same, with a float at every step.
    pub(crate) fn scalar(account: Arc<Account>) -> Arc<Account> {
        account.made.lock().whole = 1;
        account
    }

    /// Counts the rows of a block that are `fresh`; `samples` are those of all its rows.
    pub(crate) fn add(&self, block: &Batch, fresh: &Fresh, samples: u64, spare: &mut Spare) -> Result<()> {
        let (steps, rows) = (self.steps, block.rows());
        if matches!(fresh, Fresh::None) || samples == 0 {
            return Ok(());
        }
        let all = matches!(fresh, Fresh::All) && block.only_floats();
        let mut whole = 0;
        let mut total = 0;
        spare.clear();
        if all && (steps == 1 || samples == (rows * steps) as u64) {
            whole = samples / steps.max(1) as u64;
            total = samples;
        } else {
            for row in (0..rows).filter(|&row| fresh.has(row)) {
                total += spare.add_row(block, row, steps, &mut whole);
            }
        }
        let mut made = self.made.lock();
        made.whole += whole;
        made.total += total;
        let room = made.partial.len() * 4 + made.extra.len() * 8;
        add_all(&mut made.partial, &spare.partial);
        add_all(&mut made.extra, &spare.extra);
        add_all(&mut made.at_step, &spare.at_step);
        let more = made.partial.len() * 4 + made.extra.len() * 8;
        if more > room && steps >= STEPS_RESERVED {
            made.memory = Some(Reservation::new(&self.query, more as u64)?);
        }
        match self.rule {
            // Where upstream holds the result while it is made.
            Rule::Held | Rule::Steps(_) | Rule::LookedUp(_) | Rule::Kept(_) => {
                self.query.check_samples(made.total)
            }
            _ => Ok(()),
        }
    }

    /// Notes what rows held while they were evaluated.
    pub(crate) fn add_runs(&self, runs: &Runs) -> Result<()> {
        if runs.runs.is_empty() {
            return Ok(());
        }
        let mut made = self.made.lock();
        for run in &runs.runs {
            made.left += run.left;
            self.query.check_samples(run.peak.max(made.left))?;
            made.runs.push(*run);
        }
        Ok(())
    }

    /// Refuses if the operands alone, with what is gathered up to a step, are too
    /// many samples: upstream finds that out before it looks at them. All of their
    /// rows must have been counted.
    pub(crate) fn check_operands(&self, until_step: usize) -> Result<()> {
        let Rule::Steps(accounts) = &self.rule else { return Ok(()) };
        let Operands { held, checked, .. } = Operands::of(accounts);
        let mut each = Profile::default();
        accounts.iter().for_each(|operand| operand.add_elements(&mut each));
        let gathered = (0..=until_step).map(|step| each.at(step)).max().unwrap_or(0);
        self.query.check_samples(checked.max(held + gathered))
    }

    /// What upstream would have held, of all that was counted.
    pub(crate) fn settle(&self) -> Settled {
        *self.settled.get_or_init(|| match &self.rule {
            Rule::Found => Settled::default(),
            Rule::Held => {
                let total = self.sizes().total(self.steps);
                Settled { left: total, peak: total, checked: total }
            }
            Rule::Steps(operands) => self.by_step(Operands::of(operands), operands, false),
            Rule::LookedUp(selector) => {
                self.by_step(Operands::default(), std::slice::from_ref(selector), false)
            }
            Rule::Kept(operands) => self.by_step(Operands::of(operands), operands, true),
            Rule::Aggregate { param, input } => {
                let mut operands = Operands::default();
                param.iter().for_each(|param| operands.take(param.settle()));
                operands.take(input.settle());
                let left = self.sizes().total(self.steps);
                let Operands { peak, checked, .. } = operands;
                Settled { left, peak: peak.max(left), checked }
            }
            Rule::Windows { subquery, params } => self.windows_held(subquery.as_deref(), params),
            Rule::InPlaceOf(larger) => larger.settle(),
            Rule::Once(input) => {
                let Settled { left, peak, checked } = input.settle();
                let again = self.steps.saturating_sub(1) as u64;
                let left = left + input.sizes().total(1) * again;
                Settled { left, peak: peak.max(left), checked: checked.max(left) }
            }
        })
    }

    fn by_step(&self, held: Operands, gathered: &[Arc<Account>], keeps: bool) -> Settled {
        let Operands { held, mut peak, mut checked } = held;
        let mut each = Profile::default();
        gathered.iter().for_each(|operand| operand.add_elements(&mut each));
        let made = self.sizes();
        let mut at_step = Profile::default();
        at_step.add(self.made.lock().at_step.iter().map(|&n| u64::from(n)));
        // Where all steps have the same counts the last one has most held.
        let even = made.more.is_empty() && each.more.is_empty();
        let first = if even { self.steps.saturating_sub(1) } else { 0 };
        let mut results = made.every * first as u64;
        for step in first..self.steps {
            results += made.at(step) + at_step.at(step);
            let now = held + results + each.at(step);
            (peak, checked) = (peak.max(now), checked.max(now));
        }
        let left = made.total(self.steps) + if keeps { held } else { 0 };
        Settled { left, peak, checked }
    }

    fn windows_held(&self, subquery: Option<&Account>, params: &[Arc<Account>]) -> Settled {
        let mut operands = Operands::default();
        subquery.iter().for_each(|subquery| operands.take(subquery.settle()));
        params.iter().for_each(|param| operands.take(param.settle()));
        let given_back = subquery.map_or(0, |subquery| subquery.sizes().total(subquery.steps));
        let mut made = self.made.lock();
        made.runs.sort_unstable_by_key(|run| run.first_row);
        for run in &made.runs {
            operands.take(Settled { left: run.left, peak: run.peak, checked: run.peak });
        }
        let Operands { held, peak, checked } = operands;
        Settled { left: held.saturating_sub(given_back), peak, checked }
    }

    /// Adds how many samples there are at each step, a histogram being one.
    fn add_elements(&self, to: &mut Profile) {
        if let Rule::Once(input) = &self.rule {
            let mut once = Profile::default();
            input.add_elements(&mut once);
            to.every += once.at(0);
            return;
        }
        let made = self.made.lock();
        to.every += made.whole;
        to.add(made.partial.iter().map(|&n| u64::from(n)));
    }

    /// How many samples there are at each step, histograms by their size.
    fn sizes(&self) -> Profile {
        let mut sizes = Profile::default();
        if let Rule::Once(input) = &self.rule {
            sizes.every = input.sizes().at(0);
            return sizes;
        }
        self.add_elements(&mut sizes);
        sizes.add(self.made.lock().extra.iter().copied());
        sizes
    }
}

/// Below so many steps a list of counts is not worth an entry in the account of memory.
const STEPS_RESERVED: usize = 4096;

fn add_all<T: Copy + Default + std::ops::AddAssign>(to: &mut Vec<T>, from: &[T]) {
    if to.len() < from.len() {
        to.resize(from.len(), T::default());
    }
    for (to, &from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

/// Operands that are evaluated one after the other and held.
#[derive(Default)]
struct Operands {
    held: u64,
    peak: u64,
    checked: u64,
}

impl Operands {
    fn of(accounts: &[Arc<Account>]) -> Operands {
        let mut all = Operands::default();
        accounts.iter().for_each(|account| all.take(account.settle()));
        all
    }

    fn take(&mut self, next: Settled) {
        self.peak = self.peak.max(self.held + next.peak);
        self.checked = self.checked.max(self.held + next.checked);
        self.held += next.left;
    }
}

/// Counts by step.
#[derive(Default)]
struct Profile {
    /// At every step.
    every: u64,
    /// Beyond that; empty for nothing.
    more: Vec<u64>,
}

impl Profile {
    fn add(&mut self, counts: impl ExactSizeIterator<Item = u64>) {
        if self.more.len() < counts.len() {
            self.more.resize(counts.len(), 0);
        }
        for (to, from) in self.more.iter_mut().zip(counts) {
            *to += from;
        }
    }

    fn at(&self, step: usize) -> u64 {
        self.every + self.more.get(step).copied().unwrap_or(0)
    }

    fn total(&self, steps: usize) -> u64 {
        self.every * steps as u64 + self.more.iter().sum::<u64>()
    }
}

/// A thread's lists for the rows of a block.
#[derive(Default)]
pub(crate) struct Spare {
    partial: Vec<u32>,
    extra: Vec<u64>,
    at_step: Vec<u32>,
}

impl Spare {
    fn clear(&mut self) {
        self.partial.clear();
        self.extra.clear();
        self.at_step.clear();
    }

    /// Counts one row; answers how many samples it has.
    fn add_row(&mut self, block: &Batch, row: usize, steps: usize, whole: &mut u64) -> u64 {
        let len = block.row_len(row);
        if len == steps {
            *whole += 1;
        } else if len > 0 {
            self.partial.resize(steps, 0);
            for (step, count) in self.partial.iter_mut().enumerate() {
                *count += u32::from(block.is_present(row * steps + step));
            }
        }
        let mut total = len as u64;
        if len > 0 && !block.only_floats() {
            for step in 0..steps {
                if let Some(Point::Hist(h)) = block.get(row * steps + step) {
                    self.extra.resize(steps, 0);
                    self.at_step.resize(steps, 0);
                    let samples = histogram_samples(h);
                    self.extra[step] += samples.saturating_sub(1);
                    self.at_step[step] += histogram_samples_at_step(h).saturating_sub(samples) as u32;
                    total += samples.saturating_sub(1);
                }
            }
        }
        total
    }
}

/// What rows with windows held, gathered by one thread.
#[derive(Default)]
pub(crate) struct Runs {
    runs: Vec<Run>,
    /// The row that continues the last run.
    next_row: u32,
}

impl Runs {
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }

    /// A row held `peak` samples at most, of which `left` stay.
    pub(crate) fn add(&mut self, row: u32, peak: u64, left: u64) {
        match self.runs.last_mut() {
            Some(run) if row == self.next_row => {
                run.peak = run.peak.max(run.left + peak);
                run.left += left;
            }
            _ => self.runs.push(Run { first_row: row, peak, left }),
        }
        self.next_row = row + 1;
    }
}

/// Rows that were counted: some are evaluated more than once.
pub(crate) struct RowSet {
    bits: Vec<AtomicU64>,
}

/// Which rows of a block are met for the first time.
pub(crate) enum Fresh {
    All,
    None,
    Some(Vec<bool>),
}

impl Fresh {
    pub(crate) fn has(&self, at: usize) -> bool {
        match self {
            Fresh::All => true,
            Fresh::None => false,
            Fresh::Some(fresh) => fresh[at],
        }
    }
}

impl RowSet {
    pub(crate) fn new(rows: usize) -> RowSet {
        RowSet { bits: (0..rows.div_ceil(64)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Puts rows into the set; which were not in it.
    pub(crate) fn claim(&self, rows: &[u32]) -> Fresh {
        let mut known: Vec<usize> = Vec::new();
        let mut first = 0;
        while first < rows.len() {
            // Rows in turn that share a word go at once.
            let word = rows[first] / 64;
            let mut mask = 0u64;
            let mut end = first;
            while end < rows.len() && rows[end] / 64 == word && mask >> (rows[end] % 64) & 1 == 0 {
                mask |= 1 << (rows[end] % 64);
                end += 1;
            }
            let before = self.bits[word as usize].fetch_or(mask, Ordering::Relaxed);
            if before & mask != 0 {
                known.extend((first..end).filter(|&i| before >> (rows[i] % 64) & 1 == 1));
            }
            first = end;
        }
        if known.is_empty() {
            return Fresh::All;
        }
        if known.len() == rows.len() {
            return Fresh::None;
        }
        let mut fresh = vec![true; rows.len()];
        known.into_iter().for_each(|i| fresh[i] = false);
        Fresh::Some(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_fresh_once() {
        let set = RowSet::new(200);
        assert!(matches!(set.claim(&[0, 1, 63, 64, 65]), Fresh::All));
        assert!(matches!(set.claim(&[64, 1]), Fresh::None));
        let mixed = set.claim(&[1, 2, 64, 199]);
        assert_eq!([0, 1, 2, 3].map(|i| mixed.has(i)), [false, true, false, true]);
        assert!(matches!(set.claim(&[2, 199, 199]), Fresh::None));
    }

    #[test]
    fn rows_in_turn_are_one_run() {
        let mut runs = Runs::default();
        runs.add(3, 10, 4);
        runs.add(4, 10, 5);
        runs.add(9, 1, 1);
        let runs: Vec<_> = runs.runs.iter().map(|run| (run.first_row, run.peak, run.left)).collect();
        assert_eq!(runs, [(3, 14, 9), (9, 1, 1)]);
    }
}
