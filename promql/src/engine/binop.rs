//! Binary operators on single values.

use std::sync::Arc;

use model::elementary;

use super::batch::{Hist, Point};
use crate::annotations::{Annotation, HistogramOperation, Place};
use crate::ast::BinaryOp;
use crate::functions::histogram::{self as hist, Mixed};
use crate::functions::window::Answer;

/// Whether the result measures something else than the operands, so that the
/// metric's name goes.
pub(crate) fn changes_meaning(op: BinaryOp) -> bool {
    use BinaryOp::*;
    matches!(op, Add | Sub | Div | Mul | Pow | Mod | Atan2)
}

/// An operator between two scalars; comparisons give 0 or 1.
pub(crate) fn scalar(op: BinaryOp, l: f64, r: f64) -> f64 {
    if op.is_comparison() {
        return f64::from(u8::from(compare(op, l, r)));
    }
    arithmetic(op, l, r)
}

#[inline]
pub(crate) fn arithmetic(op: BinaryOp, l: f64, r: f64) -> f64 {
    match op {
        BinaryOp::Add => l + r,
        BinaryOp::Sub => l - r,
        BinaryOp::Mul => l * r,
        BinaryOp::Div => l / r,
        BinaryOp::Mod => l % r,
        BinaryOp::Pow => elementary::pow(l, r),
        BinaryOp::Atan2 => elementary::atan2(l, r),
        _ => f64::NAN,
    }
}

#[inline]
pub(crate) fn compare(op: BinaryOp, l: f64, r: f64) -> bool {
    match op {
        BinaryOp::Eql => l == r,
        BinaryOp::Neq => l != r,
        BinaryOp::Lss => l < r,
        BinaryOp::Gtr => l > r,
        BinaryOp::Lte => l <= r,
        BinaryOp::Gte => l >= r,
        _ => false,
    }
}

/// What an operator made of two samples.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A value, and whether a filter keeps it.
    Value { value: Answer, keep: bool },
    /// Nothing: the samples do not go together.
    Dropped,
}

/// Applies an operator to two samples of vectors.
pub(crate) fn elements(
    op: BinaryOp,
    l: Point<'_>,
    r: Point<'_>,
    pos: Place,
    note: &mut dyn FnMut(Annotation),
) -> Outcome {
    use BinaryOp::*;
    let kept = |value| Outcome::Value { value, keep: true };
    match (l, r) {
        (Point::Float(l), Point::Float(r)) if op.is_comparison() => {
            Outcome::Value { value: Answer::Float(l), keep: compare(op, l, r) }
        }
        (Point::Float(l), Point::Float(r)) if changes_meaning(op) => {
            kept(Answer::Float(arithmetic(op, l, r)))
        }
        (Point::Float(l), Point::Hist(r)) if op == Mul => kept(changed(r, |h| hist::mul(h, l))),
        (Point::Hist(l), Point::Float(r)) if op == Mul => kept(changed(l, |h| hist::mul(h, r))),
        (Point::Hist(l), Point::Float(r)) if op == Div => kept(changed(l, |h| hist::div(h, r))),
        (Point::Hist(l), Point::Float(r)) if matches!(op, TrimUpper | TrimLower) => {
            let mut result = (**l).clone();
            hist::trim(&mut result, r, op == TrimUpper);
            kept(Answer::Hist(Arc::new(result)))
        }
        (Point::Hist(l), Point::Hist(r)) if matches!(op, Add | Sub) => combined(op, l, r, pos, note),
        (Point::Hist(l), Point::Hist(r)) if matches!(op, Eql | Neq) => {
            Outcome::Value { value: Answer::Hist(l.clone()), keep: hist::equals(l, r) == (op == Eql) }
        }
        (l, r) => {
            note(Annotation::incompatible_types(kind(l), op.as_str(), kind(r), pos));
            Outcome::Dropped
        }
    }
}

fn kind(point: Point<'_>) -> &'static str {
    match point {
        Point::Float(_) => "float",
        Point::Hist(_) => "histogram",
    }
}

fn changed(h: &Hist, change: impl FnOnce(&mut model::FloatHistogram)) -> Answer {
    let mut result = (**h).clone();
    change(&mut result);
    hist::compact(&mut result);
    Answer::Hist(Arc::new(result))
}

fn combined(op: BinaryOp, l: &Hist, r: &Hist, pos: Place, note: &mut dyn FnMut(Annotation)) -> Outcome {
    let mut result = (**l).clone();
    let (done, operation) = if op == BinaryOp::Add {
        (hist::add(&mut result, r), HistogramOperation::Addition)
    } else {
        (hist::sub(&mut result, r), HistogramOperation::Subtraction)
    };
    match done {
        Err(Mixed) => {
            note(Annotation::incompatible_bucket_layout(op.as_str(), pos));
            Outcome::Dropped
        }
        Ok(done) => {
            if op == BinaryOp::Sub {
                result.counter_reset_hint = model::CounterResetHint::Gauge;
            }
            if done.resets_conflict {
                // Upstream drops the result of such an addition with the warning.
                note(Annotation::counter_reset_collision(operation, pos));
                return Outcome::Dropped;
            }
            if done.bounds_reconciled {
                note(Annotation::mismatched_custom_buckets(operation, pos));
            }
            hist::compact(&mut result);
            Outcome::Value { value: Answer::Hist(Arc::new(result)), keep: true }
        }
    }
}
