//! Operators that turn each sample into another: functions of one number,
//! arithmetic with a scalar, the sign.

use std::sync::Arc;

use super::account::Account;
use super::batch::{Batch, Hist, Point};
use super::binop::{self, Outcome};
use super::context::EvalContext;
use super::error::Result;
use super::labels::{merged_without_name, without_name};
use super::node::{Node, Vectors, Worker, explain};
use crate::annotations::{Annotation, Annotations, Place};
use crate::ast::BinaryOp;
use crate::functions::histogram as hist;
use crate::functions::window::Answer;
use crate::stats::ExplainNode;

type Change = Box<dyn Fn(&mut Batch, &mut Annotations) + Send + Sync>;

struct Map {
    input: Vectors,
    name: &'static str,
    change: Change,
}

impl Node for Map {
    fn eval(&self, rows: &[u32], worker: &mut Worker, out: &mut Batch) -> Result<()> {
        self.input.eval(rows, worker, out)?;
        (self.change)(out, &mut worker.annotations);
        Ok(())
    }

    fn explain(&self) -> ExplainNode {
        explain(self.name, "", vec![self.input.explain()])
    }
}

/// `account` counts what is made; `None` where upstream changes its input in place.
fn map(
    ctx: &EvalContext,
    input: Vectors,
    name: &'static str,
    drop_name: bool,
    account: Option<Arc<Account>>,
    change: impl Fn(&mut Batch, &mut Annotations) + Send + Sync + 'static,
) -> Result<Vectors> {
    let named = input.rows.clone();
    let rows = if drop_name { without_name(&ctx.query, named.clone()) } else { named.clone() };
    let before = input.account();
    let node = Map { input, name, change: Box::new(change) };
    let vectors = match account {
        Some(account) => Vectors::new(ctx, rows, node, account)?,
        None => Vectors::passing(ctx, rows, node, before)?,
    };
    if drop_name && !ctx.query.delayed_name_removal {
        merged_without_name(ctx, vectors, &named)
    } else {
        Ok(vectors)
    }
}

/// A function of one float; histograms are dropped, and so is the name.
pub(crate) fn floats(
    ctx: &EvalContext,
    input: Vectors,
    name: &'static str,
    f: impl Fn(usize, f64) -> f64 + Send + Sync + 'static,
) -> Result<Vectors> {
    let account = Account::steps(ctx, vec![input.account()]);
    floats_counted(ctx, input, name, account, f)
}

/// The same, where there are other operands.
pub(crate) fn floats_counted(
    ctx: &EvalContext,
    input: Vectors,
    name: &'static str,
    account: Arc<Account>,
    f: impl Fn(usize, f64) -> f64 + Send + Sync + 'static,
) -> Result<Vectors> {
    map(ctx, input, name, true, Some(account), move |batch, _| batch.map_floats(&f))
}

/// A function of any sample, with its step.
pub(crate) fn samples(
    ctx: &EvalContext,
    input: Vectors,
    name: &'static str,
    f: impl Fn(usize, Point<'_>) -> Option<f64> + Send + Sync + 'static,
) -> Result<Vectors> {
    let account = Account::steps(ctx, vec![input.account()]);
    samples_counted(ctx, input, name, account, f)
}

/// The same, where there are other operands.
pub(crate) fn samples_counted(
    ctx: &EvalContext,
    input: Vectors,
    name: &'static str,
    account: Arc<Account>,
    f: impl Fn(usize, Point<'_>) -> Option<f64> + Send + Sync + 'static,
) -> Result<Vectors> {
    map(ctx, input, name, true, Some(account), move |batch, _| {
        let steps = batch.steps();
        for cell in 0..batch.cells() {
            match batch.get(cell).map(|point| f(cell % steps, point)) {
                Some(Some(v)) => batch.set_float(cell, v),
                Some(None) => batch.remove(cell),
                None => {}
            }
        }
    })
}

/// The floats as they are, histograms dropped, names kept.
pub(crate) fn only_floats(ctx: &EvalContext, input: Vectors, name: &'static str) -> Result<Vectors> {
    let account = Account::steps(ctx, vec![input.account()]);
    map(ctx, input, name, false, Some(account), |batch, _| batch.map_floats(|_, v| v))
}

/// The samples as they are.
pub(crate) fn same(ctx: &EvalContext, input: Vectors, name: &'static str) -> Result<Vectors> {
    let account = Account::steps(ctx, vec![input.account()]);
    map(ctx, input, name, false, Some(account), |_, _| ())
}

/// The samples of a selector, looked up at each step, without name.
pub(crate) fn renamed(ctx: &EvalContext, input: Vectors, name: &'static str) -> Result<Vectors> {
    let account = Account::looked_up(ctx, input.account());
    map(ctx, input, name, true, Some(account), |_, _| ())
}

/// A function of one histogram; floats are dropped, and so is the name.
pub(crate) fn histograms(
    ctx: &EvalContext,
    input: Vectors,
    name: &'static str,
    f: impl Fn(&Hist) -> f64 + Send + Sync + 'static,
) -> Result<Vectors> {
    samples(ctx, input, name, move |_, point| match point {
        Point::Hist(h) => Some(f(h)),
        Point::Float(_) => None,
    })
}

/// `-v`
pub(crate) fn negate(ctx: &EvalContext, input: Vectors) -> Result<Vectors> {
    map(ctx, input, "-", true, None, |batch, _| {
        if batch.only_floats() {
            return batch.map_floats(|_, v| -v);
        }
        for cell in 0..batch.cells() {
            match batch.get(cell) {
                None => {}
                Some(Point::Float(v)) => batch.set_float(cell, -v),
                Some(Point::Hist(h)) => {
                    let mut negated = (**h).clone();
                    hist::mul(&mut negated, -1.0);
                    batch.set_hist(cell, Arc::new(negated));
                }
            }
        }
    })
}

/// An operator between a vector and a scalar.
pub(crate) struct WithScalar {
    pub(crate) op: BinaryOp,
    /// The scalar at each step.
    pub(crate) scalar: Vec<f64>,
    /// Whether the scalar stands on the left.
    pub(crate) swapped: bool,
    pub(crate) return_bool: bool,
    pub(crate) pos: Place,
}

/// Applies an operator between a vector and a scalar.
pub(crate) fn with_scalar(
    ctx: &EvalContext,
    input: Vectors,
    how: WithScalar,
    account: Arc<Account>,
) -> Result<Vectors> {
    let drop_name = binop::changes_meaning(how.op) || how.return_bool;
    let name = how.op.as_str();
    map(ctx, input, name, drop_name, Some(account), move |batch, annotations| {
        how.apply(batch, annotations);
    })
}

impl WithScalar {
    fn apply(&self, batch: &mut Batch, annotations: &mut Annotations) {
        let steps = batch.steps();
        if batch.only_floats() && binop::changes_meaning(self.op) {
            if self.swapped {
                batch.map_floats(|step, v| binop::arithmetic(self.op, self.scalar[step], v));
            } else {
                batch.map_floats(|step, v| binop::arithmetic(self.op, v, self.scalar[step]));
            }
            return;
        }
        for cell in 0..batch.cells() {
            let Some(point) = batch.get(cell) else { continue };
            let scalar = Point::Float(self.scalar[cell % steps]);
            let (l, r) = if self.swapped { (scalar, point) } else { (point, scalar) };
            let mut note = |annotation: Annotation| annotations.add(annotation);
            match binop::elements(self.op, l, r, self.pos, &mut note) {
                Outcome::Dropped => batch.remove(cell),
                Outcome::Value { keep, .. } if self.return_bool => {
                    batch.set_float(cell, f64::from(u8::from(keep)));
                }
                Outcome::Value { keep: false, .. } => batch.remove(cell),
                // A filter keeps the vector's sample, also from the right.
                Outcome::Value { .. } if self.op.is_comparison() => {}
                Outcome::Value { value: Answer::Float(v), .. } => batch.set_float(cell, v),
                Outcome::Value { value: Answer::Hist(h), .. } => batch.set_hist(cell, h),
            }
        }
    }
}
