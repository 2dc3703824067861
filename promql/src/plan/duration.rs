//! Duration expressions: what stands in brackets and behind `offset`, computed
//! in seconds once the query's times are known.

use crate::ast::{DurationExpr, DurationOp, Expr};
use crate::engine::error::QueryError;
use crate::functions::math::{go_max, go_min};
use crate::functions::rate::seconds;

use super::lower::QueryTimes;

/// The milliseconds that an expression stands for.
///
/// # Errors
/// With the expression's byte positions: no number, out of range, or not
/// positive where it must be. Such a query is malformed, it is never run.
pub(super) fn resolve(expr: &Expr, times: &QueryTimes, may_be_negative: bool) -> Result<i64, QueryError> {
    let pos = expr.pos();
    let fail = |text: &str| Err(QueryError::Parse(format!("{}:{}: {text}", pos.start, pos.end)));
    let value = compute(expr, times)?;
    if value.is_nan() || value.is_infinite() {
        return fail("duration is NaN or infinite");
    }
    if value <= 0.0 && !may_be_negative {
        return fail("duration must be greater than 0");
    }
    let limit = 9_223_372_036.854_776;
    if value > limit || value < -limit {
        return fail("duration is out of range");
    }
    Ok((value * 1000.0) as i64)
}

fn compute(expr: &Expr, times: &QueryTimes) -> Result<f64, QueryError> {
    match expr {
        Expr::Number(n) => Ok(n.value),
        Expr::Paren(e) => compute(&e.expr, times),
        Expr::Duration(e) => compute_operator(e, times),
        other => {
            let pos = other.pos();
            Err(QueryError::Parse(format!("{}:{}: unexpected duration expression type", pos.start, pos.end)))
        }
    }
}

fn compute_operator(e: &DurationExpr, times: &QueryTimes) -> Result<f64, QueryError> {
    let side = |side: &Option<Box<Expr>>| side.as_deref().map_or(Ok(0.0), |e| compute(e, times));
    let (lhs, rhs) = (side(&e.lhs)?, side(&e.rhs)?);
    let fail = |text: &str| Err(QueryError::Parse(format!("{}:{}: {text}", e.pos.start, e.pos.end)));
    Ok(match e.op {
        DurationOp::Step => seconds(times.step_ms),
        DurationOp::Range => seconds(times.end_ms.saturating_sub(times.start_ms)),
        DurationOp::MinOf => go_min(lhs, rhs),
        DurationOp::MaxOf => go_max(lhs, rhs),
        DurationOp::Add => {
            if e.lhs.is_none() {
                rhs
            } else {
                lhs + rhs
            }
        }
        DurationOp::Sub => {
            if e.lhs.is_none() {
                -rhs
            } else {
                lhs - rhs
            }
        }
        DurationOp::Mul => lhs * rhs,
        DurationOp::Div if rhs == 0.0 => return fail("division by zero"),
        DurationOp::Div => lhs / rhs,
        DurationOp::Mod if rhs == 0.0 => return fail("modulo by zero"),
        DurationOp::Mod => lhs % rhs,
        DurationOp::Pow => model::elementary::pow(lhs, rhs),
    })
}
