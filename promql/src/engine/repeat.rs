//! What is evaluated once and stands at every step, and vectors made of scalars.

use super::batch::Batch;
use super::context::EvalContext;
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

    fn is_silent(&self) -> bool {
        self.input.is_silent()
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
    let (rows, chain) = (input.rows.clone(), input.chain());
    let input = input.uncounted();
    Ok(Vectors::new(ctx, rows, Repeat { input, steps: ctx.steps.count })?.on_top_of(chain))
}

/// One series with a value at each step where `values` has one.
pub(crate) fn single(
    ctx: &EvalContext,
    name: &str,
    labels: Pairs,
    values: impl IntoIterator<Item = Option<f64>>,
    drop_name: bool,
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
    held(ctx, name, rows, batch, Vec::new())
}

/// Series whose values are held.
pub(crate) fn held(
    ctx: &EvalContext,
    name: &str,
    rows: Rows,
    batch: Batch,
    children: Vec<ExplainNode>,
) -> Result<Vectors> {
    let memory = super::context::Reservation::new(&ctx.query, batch.heap_bytes())?;
    let samples = batch.sample_count();
    let node = Held { batch, explain: explain(name, "", children), memory };
    Vectors::new(ctx, rows, node)?.holding(samples)
}

/// No series.
pub(crate) fn nothing(ctx: &EvalContext, name: &str) -> Result<Vectors> {
    held(ctx, name, Rows::default(), Batch::default(), Vec::new())
}
