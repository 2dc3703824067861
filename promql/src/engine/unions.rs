//! `a or b or c …`, all at once.
//!
//! One operand comes after the other; of each stays what has no partner in those
//! before it. Which groups have a sample at which step is noted as the operands
//! pass, so that a link costs what its operand has, not what is there already.

use std::sync::Arc;

use super::account::{Account, Fresh, Spare};
use super::batch::Batch;
use super::build;
use super::context::{EvalContext, Reservation};
use super::error::{QueryError, Result};
use super::join::signature_filter;
use super::node::{Vectors, cell_bytes, explain};
use super::repeat;
use super::rows::{HashMap, LabelFilter, PAIRS_BYTES, Pairs, Rows};
use super::setops::Presence;
use crate::plan::Link;

/// An operand and behind it those of `links`, which are all `or` and match alike.
pub(crate) fn vectors(ctx: &EvalContext, first: Vectors, links: &[Link]) -> Result<Vectors> {
    let Some(Link { operator, .. }) = links.first() else { return Ok(first) };
    let mut union = Union::new(ctx, signature_filter(ctx, &operator.matching))?;
    union.take(&first)?;
    let mut account = first.account();
    let mut operands = vec![first.explain()];
    drop(first);
    for link in links {
        let right = build::vectors(ctx, &link.rhs)?;
        union.take(&right)?;
        let link = Account::steps(ctx, vec![account, right.account()]);
        link.count_as(&union.counted);
        account = Account::settled(ctx, &link)?;
        operands.push(right.explain());
    }
    let matching = build::matching(operator);
    let separator = if matching.is_empty() { "" } else { ", " };
    let detail = format!("{matching}{separator}{} operands", operands.len());
    let Union { rows, batch, memory, presence, .. } = union;
    // Reserved anew.
    drop((memory, presence));
    repeat::held_again(ctx, rows, batch, explain(operator.op.as_str(), detail, operands), account)
}

/// What operands left so far.
struct Union<'a> {
    ctx: &'a EvalContext,
    steps: usize,
    filter: LabelFilter,
    /// Numbers of the groups.
    groups: HashMap<Pairs, u32>,
    presence: Presence,
    rows: Rows,
    /// The rows by their labels.
    places: HashMap<Pairs, u32>,
    batch: Batch,
    batch_bytes: u64,
    /// The first step at which each row has a sample.
    first_steps: Vec<usize>,
    /// Counts what is in `batch`.
    counted: Arc<Account>,
    memory: Reservation,
}

impl<'a> Union<'a> {
    fn new(ctx: &'a EvalContext, filter: LabelFilter) -> Result<Union<'a>> {
        let steps = ctx.steps.count;
        let mut batch = Batch::default();
        batch.reset(0, steps);
        Ok(Union {
            ctx,
            steps,
            filter,
            groups: HashMap::default(),
            presence: Presence::new(ctx, 0)?,
            rows: Rows::default(),
            places: HashMap::default(),
            batch,
            batch_bytes: 0,
            first_steps: Vec::new(),
            counted: Account::held(ctx),
            memory: Reservation::new(&ctx.query, 0)?,
        })
    }

    /// Adds what of an operand has no partner yet.
    fn take(&mut self, input: &Vectors) -> Result<()> {
        let groups = self.groups_of(&input.rows)?;
        let (mut masked, mut spare) = (Batch::default(), Spare::default());
        let mut added: Vec<(u32, u32)> = Vec::new();
        input.for_each(None, |rows, block| {
            self.mask(rows, &groups, block, &mut masked);
            self.counted.add(&masked, &Fresh::All, masked.sample_count(), &mut spare)?;
            let row_bytes = cell_bytes(self.steps) + PAIRS_BYTES as u64;
            self.memory.grow_to(self.heap_bytes() + rows.len() as u64 * row_bytes)?;
            let before = added.len();
            for (i, &row) in rows.iter().enumerate() {
                if let Some(place) = self.add(&input.rows, row as usize, &masked, i)? {
                    added.push((place, groups[row as usize]));
                }
            }
            if added.len() > before {
                self.batch_bytes = self.batch.heap_bytes();
            }
            Ok(())
        })?;
        // Series of one operand are no partners of each other.
        for (place, group) in added {
            self.presence.note(group, &self.batch, place as usize);
        }
        self.memory.grow_to(self.heap_bytes())
    }

    fn groups_of(&mut self, rows: &Rows) -> Result<Vec<u32>> {
        let mut of_row = Vec::with_capacity(rows.len());
        let held = self.heap_bytes();
        for i in 0..rows.len() {
            let next = self.groups.len() as u32;
            of_row.push(*self.groups.entry(self.filter.apply(rows.row(i))).or_insert(next));
            let entries = || self.groups.capacity() * (PAIRS_BYTES + 8) + of_row.capacity() * 4;
            self.memory.follow(i, || held + entries() as u64)?;
        }
        self.presence.grow(self.groups.len())?;
        Ok(of_row)
    }

    fn mask(&self, rows: &[u32], groups: &[u32], block: &Batch, masked: &mut Batch) {
        masked.reset(rows.len(), self.steps);
        for (i, &row) in rows.iter().enumerate() {
            for step in 0..self.steps {
                let cell = i * self.steps + step;
                if let Some(point) = block.get(cell)
                    && !self.presence.has(groups[row as usize], step)
                {
                    masked.set(cell, point);
                }
            }
        }
    }

    /// Adds a row of `block` to that of its labels; answers which that is, `None`
    /// where it has no sample.
    fn add(&mut self, rows: &Rows, row: usize, block: &Batch, at: usize) -> Result<Option<u32>> {
        let steps = self.steps;
        let Some(first_step) = (0..steps).find(|step| block.is_present(at * steps + step)) else {
            return Ok(None);
        };
        let labels: Pairs = rows.row(row).iter().copied().collect();
        let next = self.rows.len() as u32;
        let mut place = *self.places.entry(labels).or_insert(next);
        let clashes = |have: usize, batch: &Batch| {
            (first_step..steps)
                .any(|step| block.is_present(at * steps + step) && batch.is_present(have * steps + step))
        };
        if place != next && clashes(place as usize, &self.batch) {
            // An instant query that drops names late finds it at its end.
            if !(self.ctx.query.delayed_name_removal && self.ctx.instant) {
                return Err(QueryError::same_labelset());
            }
            place = next;
        }
        if place == next {
            self.rows.push(rows.row(row).iter().copied(), rows.drop_name[row]);
            self.batch.add_row();
            self.first_steps.push(first_step);
        } else if first_step < self.first_steps[place as usize] {
            // Whether the name goes is what the first sample says.
            self.first_steps[place as usize] = first_step;
            self.rows.drop_name[place as usize] = rows.drop_name[row];
        }
        self.batch.copy_row(place as usize, block, at);
        Ok(Some(place))
    }

    fn heap_bytes(&self) -> u64 {
        let entries = (self.groups.capacity() + self.places.capacity()) * (PAIRS_BYTES + 8);
        let listed = self.first_steps.capacity() * 8;
        self.rows.heap_bytes() + self.batch_bytes + (entries + listed) as u64
    }
}
