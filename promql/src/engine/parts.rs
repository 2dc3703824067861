//! Parts of a query that stand in it more than once: evaluated where they first
//! stand, kept if they are small, and handed out where they stand again.
//!
//! What is counted for a part is counted each time; its remarks are made again at
//! the other places. What is large is evaluated again instead: a series passing by
//! costs less memory than all of them kept.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::account::Account;
use super::batch::Batch;
use super::context::{EvalContext, Reservation};
use super::error::{QueryError, Result};
use super::node::{Node, Vectors, Worker, explain};
use super::rows::Rows;
use crate::annotations::{Annotations, Place};
use crate::plan::{Plan, places};
use crate::stats::{ExplainNode, Relation, SampleCounters};

/// Most cells of a part that is kept: a megabyte of floats.
const CELLS_MAX: usize = 1 << 17;

/// The parts of one evaluation, by number.
#[derive(Default)]
pub(crate) struct Parts {
    seen: Mutex<HashMap<u32, Option<Kept>>>,
}

/// A part that was evaluated.
#[derive(Clone)]
struct Kept {
    rows: Rows,
    values: Arc<Values>,
    account: Arc<Account>,
    counters: Arc<SampleCounters>,
    /// The remarks, and the places of the plan that made them.
    remarks: Annotations,
    places: Arc<Vec<Place>>,
}

struct Values {
    batch: Batch,
    _memory: Reservation,
}

/// The vectors of a part; `build` builds its operators.
pub(crate) fn vectors(
    ctx: &EvalContext,
    plan: &Plan,
    part: u32,
    build: impl Fn(&EvalContext) -> Result<Vectors>,
) -> Result<Vectors> {
    let seen = ctx.parts.seen.lock().get(&part).cloned();
    match seen {
        Some(Some(kept)) => again(ctx, plan, kept),
        Some(None) => build(ctx),
        None => first(ctx, plan, part, build),
    }
}

fn first(
    ctx: &EvalContext,
    plan: &Plan,
    part: u32,
    build: impl Fn(&EvalContext) -> Result<Vectors>,
) -> Result<Vectors> {
    let inner = ctx.of_part();
    let built = build(&inner)?;
    ctx.counters.adopt(inner.counters.clone(), Relation::Part);
    let cells = built.len().saturating_mul(ctx.steps.count);
    let room = (cells <= CELLS_MAX).then(|| Reservation::new(&ctx.query, 0)).transpose()?;
    let kept = match room {
        Some(mut memory) => match built.collect(&mut memory) {
            Ok(batch) => Some(Values { batch, _memory: memory }),
            // Without room it is not kept, but may pass by.
            Err(QueryError::Memory(_)) => None,
            Err(error) => return Err(error),
        },
        None => None,
    };
    let Some(values) = kept else {
        ctx.parts.seen.lock().insert(part, None);
        inner.remarks.forward(&ctx.remarks);
        return Ok(built);
    };
    let kept = Kept {
        rows: built.rows.clone(),
        values: Arc::new(values),
        account: built.account(),
        counters: inner.counters.clone(),
        remarks: inner.remarks.taken(),
        places: Arc::new(places(plan)),
    };
    ctx.annotate(kept.remarks.clone());
    let explained = vec![built.explain()];
    drop(built);
    let vectors = hand_out(ctx, &kept, explain("keep", "", explained))?;
    ctx.parts.seen.lock().insert(part, Some(kept));
    Ok(vectors)
}

fn again(ctx: &EvalContext, plan: &Plan, kept: Kept) -> Result<Vectors> {
    ctx.counters.adopt(kept.counters.clone(), Relation::Part);
    if !kept.remarks.is_empty() {
        ctx.annotate(kept.remarks.moved(&kept.places, &places(plan)));
    }
    Ok(hand_out(ctx, &kept, explain("again", "", Vec::new()))?.at(plan.pos, Vec::new()))
}

fn hand_out(ctx: &EvalContext, kept: &Kept, explain: ExplainNode) -> Result<Vectors> {
    let node = Shared { values: kept.values.clone(), explain };
    Vectors::passing(ctx, kept.rows.clone(), node, kept.account.clone())
}

/// Yields from what is kept.
struct Shared {
    values: Arc<Values>,
    explain: ExplainNode,
}

impl Node for Shared {
    fn eval(&self, rows: &[u32], _: &mut Worker, out: &mut Batch) -> Result<()> {
        for (i, &row) in rows.iter().enumerate() {
            out.copy_row(i, &self.values.batch, row as usize);
        }
        Ok(())
    }

    fn explain(&self) -> ExplainNode {
        self.explain.clone()
    }
}
