//! The same expression pinned to a time: it must answer the same at any other.

use promql::Features;
use promql::ast::{AtModifier, Expr};

/// Functions whose value depends on the evaluation time itself.
const TIME_DEPENDENT: [&str; 15] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
    "start",
    "end",
    "range",
    "step",
];

/// The expression with `@` at every selector and outermost subquery, `None`
/// where that would change its meaning.
pub(super) fn pinned(text: &str, features: Features, at_ms: i64) -> Result<Option<String>, String> {
    let mut expr = promql::parse(text, features).map_err(|errors| errors.to_string())?;
    Ok(pin(&mut expr, at_ms).then(|| expr.to_string()))
}

/// Pins an expression; whether it may be pinned.
fn pin(expr: &mut Expr, at_ms: i64) -> bool {
    let set = |at: &mut Option<AtModifier>| {
        if !matches!(at, Some(AtModifier::Timestamp(_))) {
            *at = Some(AtModifier::Timestamp(at_ms));
        }
    };
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Duration(_) => true,
        Expr::Paren(e) => pin(&mut e.expr, at_ms),
        Expr::Unary(e) => pin(&mut e.expr, at_ms),
        Expr::Binary(e) => {
            let left = pin(&mut e.lhs, at_ms);
            pin(&mut e.rhs, at_ms) && left
        }
        Expr::Aggregate(e) => {
            let inner = pin(&mut e.expr, at_ms);
            e.param.as_mut().is_none_or(|param| pin(param, at_ms)) && inner
        }
        Expr::Call(e) => {
            let mut may = !TIME_DEPENDENT.contains(&e.func.name);
            for arg in &mut e.args {
                may &= pin(arg, at_ms);
            }
            may
        }
        Expr::VectorSelector(e) => {
            set(&mut e.at);
            true
        }
        Expr::MatrixSelector(e) => {
            set(&mut e.selector.at);
            true
        }
        Expr::Subquery(e) => {
            set(&mut e.at);
            // Inside it nothing is pinned, but time-dependent functions count
            // only outside: a pinned subquery is evaluated at its own times.
            true
        }
    }
}
