//! What is evaluated once and stands at every step, and vectors made of scalars.

use std::sync::Arc;

use super::account::Account;
use super::batch::Batch;
use super::context::{EvalContext, Reservation};
use super::error::Result;
use super::node::{Held, Node, Vectors, Worker, explain};
use super::rows::{Pairs, Rows};
use crate::plan::Plan;
use crate::stats::{ExplainNode, Relation};

struct Repeat {
    input: Vectors,
    steps: usize,
}

impl Node for Repeat {
    fn eval(&self, rows: &[u32], worker: &mut Worker, out: &mut Batch) -> Result<()> {
        let mut once = worker.take_batch(rows.len(), 1);
        let result = self.input.eval(rows, worker, &mut once);
        for row in 0..rows.len() {
            if let Some(point) = once.get(row) {
                for step in 0..self.steps {
                    out.set(row * self.steps + step, point);
                }
            }
        }
        worker.put_batch(once);
        result
    }

    fn explain(&self) -> ExplainNode {
        explain("once", "", vec![self.input.explain()])
    }
}

/// Evaluates a plan at the first step only.
pub(crate) fn invariant(ctx: &EvalContext, plan: &Plan) -> Result<Vectors> {
    let once = ctx.child(ctx.steps.first_only(), false);
    ctx.counters.adopt(once.counters.clone(), Relation::Invariant);
    let input = super::build::vectors(&once, plan)?;
    if ctx.steps.count <= 1 {
        return Ok(input);
    }
    let (rows, account) = (input.rows.clone(), Account::once(ctx, input.account()));
    Vectors::passing(ctx, rows, Repeat { input, steps: ctx.steps.count }, account)
}

/// One series with a value at each step where `values` has one.
pub(crate) fn single(
    ctx: &EvalContext,
    name: &str,
    labels: Pairs,
    values: impl IntoIterator<Item = Option<f64>>,
    drop_name: bool,
    account: Arc<Account>,
) -> Result<Vectors> {
    let mut batch = Batch::default();
    batch.reset(1, ctx.steps.count);
    for (step, value) in values.into_iter().enumerate() {
        if let Some(v) = value {
            batch.set_float(step, v);
        }
    }
    let mut rows = Rows::default();
    rows.push(labels, drop_name);
    held(ctx, rows, batch, explain(name, "", Vec::new()), account)
}

/// A scalar as a series without labels; its account has it already.
pub(crate) fn of_scalar(ctx: &EvalContext, values: Vec<f64>, account: Arc<Account>) -> Result<Vectors> {
    let mut batch = Batch::default();
    batch.reset(1, ctx.steps.count);
    for (step, v) in values.into_iter().enumerate() {
        batch.set_float(step, v);
    }
    let mut rows = Rows::default();
    rows.push(Pairs::new(), false);
    held_again(ctx, rows, batch, explain("scalar", "", Vec::new()), account)
}

/// Series whose values are held.
pub(crate) fn held(
    ctx: &EvalContext,
    rows: Rows,
    batch: Batch,
    explain: ExplainNode,
    account: Arc<Account>,
) -> Result<Vectors> {
    let memory = Reservation::new(&ctx.query, batch.heap_bytes())?;
    Vectors::new(ctx, rows, Held { batch, explain, memory }, account)
}

/// The same, of what the account has counted already.
pub(crate) fn held_again(
    ctx: &EvalContext,
    rows: Rows,
    batch: Batch,
    explain: ExplainNode,
    account: Arc<Account>,
) -> Result<Vectors> {
    let memory = Reservation::new(&ctx.query, batch.heap_bytes())?;
    Vectors::passing(ctx, rows, Held { batch, explain, memory }, account)
}

/// Evaluates everything and holds it, once `look` has seen it.
pub(crate) fn kept(ctx: &EvalContext, input: Vectors, look: impl FnOnce(&Batch)) -> Result<Vectors> {
    let mut memory = Reservation::new(&ctx.query, 0)?;
    let all = input.collect(&mut memory)?;
    look(&all);
    let rows = input.rows.clone();
    let explained = explain("keep", "", vec![input.explain()]);
    let account = input.account();
    drop(input);
    held_again(ctx, rows, all, explained, account)
}

/// The same of the beginning of a chain: what it took is shown beside the rest, and
/// what comes behind does not lie on top of it.
pub(crate) fn kept_apart(ctx: &EvalContext, input: Vectors) -> Result<Vectors> {
    let mut memory = Reservation::new(&ctx.query, 0)?;
    let all = input.collect(&mut memory)?;
    let (rows, account) = (input.rows.clone(), input.account());
    ctx.query.aside.lock().push(explain("keep", "", vec![input.explain()]));
    drop(input);
    held_again(ctx, rows, all, explain("kept", "", Vec::new()), account)
}

/// No series.
pub(crate) fn nothing(ctx: &EvalContext, name: &str, account: Arc<Account>) -> Result<Vectors> {
    held(ctx, Rows::default(), Batch::default(), explain(name, "", Vec::new()), account)
}
