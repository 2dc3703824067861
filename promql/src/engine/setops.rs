//! `and`, `or`, `unless`: which series stay depends on whether the other side
//! has any of the same group at that step.

use std::sync::Arc;

use super::account::Account;
use super::batch::Batch;
use super::context::{EvalContext, Reservation};
use super::error::Result;
use super::join::signature_filter;
use super::labels::merged;
use super::node::{Node, Vectors, Worker, explain};
use super::repeat::kept;
use super::rows::{HashMap, LabelFilter, PAIRS_BYTES, Pairs, Rows};
use crate::ast::BinaryOp;
use crate::plan::Operator;
use crate::stats::ExplainNode;

/// A set operator between two vectors.
pub(crate) fn vectors(ctx: &EvalContext, e: &Operator, lhs: Vectors, rhs: Vectors) -> Result<Vectors> {
    let filter = signature_filter(ctx, &e.matching);
    let account = Account::steps(ctx, vec![lhs.account(), rhs.account()]);
    match e.op {
        BinaryOp::Or => or(ctx, lhs, rhs, &filter, account),
        op => filtered(ctx, lhs, rhs, &filter, op == BinaryOp::And, account),
    }
}

/// Numbers the groups of one side; `find` those of the other.
struct Signatures {
    ids: HashMap<Pairs, u32>,
    _memory: Reservation,
}

impl Signatures {
    fn of(ctx: &EvalContext, rows: &Rows, filter: &LabelFilter) -> Result<(Signatures, Vec<u32>)> {
        let mut ids: HashMap<Pairs, u32> = HashMap::default();
        let mut memory = Reservation::new(&ctx.query, 0)?;
        let mut of_row = Vec::with_capacity(rows.len());
        for i in 0..rows.len() {
            let next = ids.len() as u32;
            of_row.push(*ids.entry(filter.apply(rows.row(i))).or_insert(next));
            memory.follow(i, || (ids.capacity() * (PAIRS_BYTES + 8) + of_row.capacity() * 4) as u64)?;
        }
        Ok((Signatures { ids, _memory: memory }, of_row))
    }

    fn find(&self, rows: &Rows, filter: &LabelFilter) -> Vec<Option<u32>> {
        (0..rows.len()).map(|i| self.ids.get(&filter.apply(rows.row(i))).copied()).collect()
    }
}

/// At which steps a group has any sample.
pub(crate) struct Presence {
    steps: usize,
    bits: Vec<u64>,
    words: usize,
    memory: Reservation,
}

impl Presence {
    pub(crate) fn new(ctx: &EvalContext, groups: usize) -> Result<Presence> {
        let steps = ctx.steps.count;
        let words = steps.div_ceil(64);
        let memory = Reservation::new(&ctx.query, (groups * words) as u64 * 8)?;
        Ok(Presence { steps, bits: vec![0; groups * words], words, memory })
    }

    /// Makes room for more groups.
    pub(crate) fn grow(&mut self, groups: usize) -> Result<()> {
        let words = (groups * self.words).max(self.bits.len());
        self.memory.grow_to(words.max(self.bits.capacity()) as u64 * 8)?;
        self.bits.resize(words, 0);
        Ok(())
    }

    pub(crate) fn note(&mut self, group: u32, batch: &Batch, row: usize) {
        for step in 0..self.steps {
            if batch.is_present(row * self.steps + step) {
                self.bits[group as usize * self.words + step / 64] |= 1 << (step % 64);
            }
        }
    }

    pub(crate) fn has(&self, group: u32, step: usize) -> bool {
        self.bits[group as usize * self.words + step / 64] >> (step % 64) & 1 == 1
    }
}

/// Rows of `input` whose cells pass or not as their group is present elsewhere.
struct Masked {
    input: Vectors,
    /// The input row of each output row, with its group on the other side.
    rows: Vec<(u32, Option<u32>)>,
    presence: Presence,
    /// Whether samples stay where the group is present, or where it is not.
    keep_present: bool,
    name: &'static str,
}

impl Node for Masked {
    fn eval(&self, rows: &[u32], worker: &mut Worker, out: &mut Batch) -> Result<()> {
        let inputs: Vec<u32> = rows.iter().map(|&row| self.rows[row as usize].0).collect();
        self.input.eval(&inputs, worker, out)?;
        let steps = self.presence.steps;
        for (i, &row) in rows.iter().enumerate() {
            let group = self.rows[row as usize].1;
            for step in 0..steps {
                let present = group.is_some_and(|group| self.presence.has(group, step));
                if present != self.keep_present {
                    out.remove(i * steps + step);
                }
            }
        }
        Ok(())
    }

    fn explain(&self) -> ExplainNode {
        explain(self.name, "", vec![self.input.explain()])
    }
}

fn filtered(
    ctx: &EvalContext,
    lhs: Vectors,
    rhs: Vectors,
    filter: &LabelFilter,
    and: bool,
    account: Arc<Account>,
) -> Result<Vectors> {
    let (signatures, of_left) = Signatures::of(ctx, &lhs.rows, filter)?;
    let of_right = signatures.find(&rhs.rows, filter);
    let mut presence = Presence::new(ctx, signatures.ids.len())?;
    let mut on_right = vec![false; signatures.ids.len()];
    let relevant: Vec<u32> = (0..rhs.len() as u32).filter(|&row| of_right[row as usize].is_some()).collect();
    for group in of_right.iter().flatten() {
        on_right[*group as usize] = true;
    }
    let looked = rhs.for_each(Some(&relevant), |rows, batch| {
        for (i, &row) in rows.iter().enumerate() {
            if let Some(group) = of_right[row as usize] {
                presence.note(group, batch, i);
            }
        }
        Ok(())
    });
    lhs.before(looked)?;
    lhs.before(rhs.drain(|row| of_right[row as usize].is_some()))?;
    lhs.drain(|row| !and || on_right[of_left[row as usize] as usize])?;
    ctx.query.aside.lock().push(rhs.explain());
    drop((rhs, signatures));
    let mut out_rows = Rows::default();
    let mut kept = Vec::new();
    let mut memory = Reservation::new(&ctx.query, 0)?;
    for (row, &group) in of_left.iter().enumerate() {
        if !and || on_right[group as usize] {
            kept.push((row as u32, Some(group)));
            out_rows.push(lhs.rows.row(row).iter().copied(), lhs.rows.drop_name[row]);
        }
        memory.follow(row, || out_rows.heap_bytes() + (kept.capacity() * 12) as u64)?;
    }
    // The rows are reserved anew.
    drop(memory);
    let name = if and { "and" } else { "unless" };
    let node = Masked { input: lhs, rows: kept, presence, keep_present: and, name };
    Vectors::new(ctx, out_rows, node, account)
}

/// All of the left, and of the right what has no partner there.
fn or(
    ctx: &EvalContext,
    lhs: Vectors,
    rhs: Vectors,
    filter: &LabelFilter,
    account: Arc<Account>,
) -> Result<Vectors> {
    let (signatures, of_right) = Signatures::of(ctx, &rhs.rows, filter)?;
    let of_left = signatures.find(&lhs.rows, filter);
    let mut presence = Presence::new(ctx, signatures.ids.len())?;
    let lhs = if of_left.iter().any(Option::is_some) {
        // The left is needed twice: to know where it is, and as output. It is kept.
        kept(ctx, lhs, |all| {
            for (row, group) in of_left.iter().enumerate() {
                if let Some(group) = group {
                    presence.note(*group, all, row);
                }
            }
        })?
    } else {
        lhs
    };
    let mut rows = lhs.rows.clone();
    let mut memory = Reservation::new(&ctx.query, 0)?;
    for row in 0..rhs.len() {
        rows.push(rhs.rows.row(row).iter().copied(), rhs.rows.drop_name[row]);
        memory.follow(row, || rows.heap_bytes())?;
    }
    drop((memory, signatures));
    let unmatched = (0..rhs.len()).map(|row| (row as u32, Some(of_right[row]))).collect();
    let (right_rows, right_account) = (rhs.rows.clone(), rhs.account());
    let masked = Masked { input: rhs, rows: unmatched, presence, keep_present: false, name: "unmatched" };
    let mut right = Vectors::passing(ctx, right_rows, masked, right_account)?;
    if ctx.query.delayed_name_removal
        && let Some(groups) = rows.duplicates()
    {
        let differ = |group: &&Vec<u32>| {
            group.iter().any(|&row| rows.drop_name[row as usize] != rows.drop_name[group[0] as usize])
        };
        let differing: Vec<Vec<u32>> = groups.iter().filter(differ).cloned().collect();
        if !differing.is_empty() {
            right = kept(ctx, right, |_| ())?;
            for group in differing {
                // Whether the name goes is what the first sample says.
                let first = first_seen(&group, &lhs, &right, ctx.steps.count)?;
                rows.drop_name[group[0] as usize] = rows.drop_name[first as usize];
            }
        }
    }
    let node = Union { split: lhs.len() as u32, lhs, rhs: right, steps: ctx.steps.count };
    merged(ctx, Vectors::new(ctx, rows, node, account)?)
}

/// Of rows of `lhs` and behind it `rhs` the one with the earliest sample.
fn first_seen(group: &[u32], lhs: &Vectors, rhs: &Vectors, steps: usize) -> Result<u32> {
    let split = lhs.len() as u32;
    let mut best = (steps, group[0]);
    for &row in group {
        let (side, at) = if row < split { (lhs, row) } else { (rhs, row - split) };
        side.for_each(Some(&[at]), |_, batch| {
            if let Some(step) = (0..best.0).find(|&step| batch.is_present(step)) {
                best = (step, row);
            }
            Ok(())
        })?;
    }
    Ok(best.1)
}

struct Union {
    lhs: Vectors,
    rhs: Vectors,
    split: u32,
    steps: usize,
}

impl Node for Union {
    fn eval(&self, rows: &[u32], worker: &mut Worker, out: &mut Batch) -> Result<()> {
        for (side, from_left) in [(&self.lhs, true), (&self.rhs, false)] {
            let places: Vec<usize> =
                (0..rows.len()).filter(|&i| (rows[i] < self.split) == from_left).collect();
            if places.is_empty() {
                continue;
            }
            let shift = if from_left { 0 } else { self.split };
            let inputs: Vec<u32> = places.iter().map(|&i| rows[i] - shift).collect();
            let mut batch = worker.take_batch(inputs.len(), self.steps);
            let result = side.eval(&inputs, worker, &mut batch);
            for (from, &to) in places.iter().enumerate() {
                out.copy_row(to, &batch, from);
            }
            worker.put_batch(batch);
            result?;
        }
        Ok(())
    }

    fn explain(&self) -> ExplainNode {
        explain("or", "", vec![self.lhs.explain(), self.rhs.explain()])
    }
}
