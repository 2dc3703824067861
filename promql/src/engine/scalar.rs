//! Scalars: one number a step, computed when the plan is built.

use std::sync::Arc;

use model::labels::go_quote;

use super::account::Account;
use super::batch::Point;
use super::binop;
use super::chain;
use super::context::EvalContext;
use super::error::{QueryError, Result};
use super::node::explain;
use crate::ast::BinaryOp;
use crate::functions::math::{go_max, go_min};
use crate::plan::{Call, Kind, Operator, Plan};
use crate::stats::{ExplainNode, Relation};

/// A scalar: its value at each step.
pub(crate) struct Column {
    pub(crate) values: Vec<f64>,
    pub(crate) account: Arc<Account>,
}

impl Column {
    fn constant(ctx: &EvalContext, values: Vec<f64>) -> Column {
        Column { values, account: Account::constant(ctx) }
    }
}

/// Evaluates a scalar.
pub(crate) fn column(ctx: &EvalContext, plan: &Plan) -> Result<Column> {
    let steps = ctx.steps;
    ctx.query.check()?;
    ctx.query.check_samples(steps.count as u64)?;
    Ok(match &plan.kind {
        Kind::Number(v) => Column::constant(ctx, vec![*v; steps.count]),
        Kind::Same(e) => column(ctx, e)?,
        Kind::Negate(e) => {
            let mut column = column(ctx, e)?;
            for v in &mut column.values {
                *v = -*v;
            }
            column
        }
        Kind::Binary(e) => {
            let lhs = column(ctx, &e.lhs)?;
            combined(ctx, &e.operator, lhs, column(ctx, &e.rhs)?)?
        }
        Kind::Chain(e) => chain::column(ctx, e)?,
        Kind::Invariant(e) => {
            let once = ctx.child(steps.first_only(), false);
            ctx.counters.adopt(once.counters.clone(), Relation::Invariant);
            let Column { values, account } = column(&once, e)?;
            let first = values.first().copied().unwrap_or(f64::NAN);
            Column { values: vec![first; steps.count], account: Account::once(ctx, account) }
        }
        Kind::Call(e) => call(ctx, e)?,
        _ => return Err(QueryError::execution("expected a scalar")),
    })
}

/// An operator between two scalars.
pub(crate) fn combined(ctx: &EvalContext, e: &Operator, lhs: Column, rhs: Column) -> Result<Column> {
    if matches!(e.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) {
        let op = go_quote(e.op.as_str());
        return Err(QueryError::execution(format!("operator {op} not allowed for Scalar operations")));
    }
    let mut values = lhs.values;
    for (l, r) in values.iter_mut().zip(rhs.values) {
        *l = binop::scalar(e.op, *l, r);
    }
    let account = Account::scalar(Account::steps(ctx, vec![lhs.account, rhs.account]));
    Ok(Column { values, account })
}

fn call(ctx: &EvalContext, e: &Call) -> Result<Column> {
    let steps = ctx.steps;
    match (e.func, e.args.as_slice()) {
        ("time", []) => {
            let values = (0..steps.count).map(|i| steps.at(i) as f64 / 1000.0).collect();
            Ok(Column::constant(ctx, values))
        }
        ("pi", []) => Ok(Column::constant(ctx, vec![std::f64::consts::PI; steps.count])),
        ("max_of", [a, b]) => pairwise(ctx, a, b, go_max),
        ("min_of", [a, b]) => pairwise(ctx, a, b, go_min),
        ("scalar", [v]) => of_vector(ctx, v),
        _ => Err(QueryError::execution(format!("unknown scalar function {}", e.func))),
    }
}

fn pairwise(ctx: &EvalContext, a: &Plan, b: &Plan, f: fn(f64, f64) -> f64) -> Result<Column> {
    let Column { mut values, account: left } = column(ctx, a)?;
    let right = column(ctx, b)?;
    for (l, r) in values.iter_mut().zip(right.values) {
        *l = f(*l, r);
    }
    Ok(Column { values, account: Account::scalar(Account::steps(ctx, vec![left, right.account])) })
}

/// `scalar(v)`: the value of the only float, NaN where there is none or more.
fn of_vector(ctx: &EvalContext, v: &Plan) -> Result<Column> {
    let input = super::build::vectors(ctx, v)?;
    let steps = ctx.steps.count;
    let mut found = vec![0u8; steps];
    let mut values = vec![f64::NAN; steps];
    input.for_each(None, |rows, batch| {
        for row in 0..rows.len() {
            for step in 0..steps {
                if let Some(Point::Float(v)) = batch.get(row * steps + step) {
                    found[step] = found[step].saturating_add(1);
                    values[step] = if found[step] == 1 { v } else { f64::NAN };
                }
            }
        }
        Ok(())
    })?;
    let fed_by = vec![input.explain()];
    ctx.query.aside.lock().push(ExplainNode {
        series: 1,
        points: steps as u64,
        ..explain("scalar", "", fed_by)
    });
    Ok(Column { values, account: Account::scalar(Account::steps(ctx, vec![input.account()])) })
}
