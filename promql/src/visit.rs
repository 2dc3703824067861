//! Walking trees without overflowing the stack.
//!
//! A tree nests as deep as [`crate::NESTING_MAX`] at most, except to the left:
//! there binary expressions and subqueries form spines of any length. So a walk
//! takes a spine in a loop and recurses into what hangs on it:
//!
//! ```text
//! a + f(b) + c        (+)  top      for each node of the spine, from the
//!                    /   \          bottom up: first what is left of it,
//!                  (+)    c         then its right side
//!                 /   \
//!        bottom  a    f(b)
//! ```

use crate::ast::{Expr, VectorSelector};
use model::Matcher;

/// The spine under an expression: its nodes from the top down, each a binary
/// expression or a subquery, and the expression at the bottom, which is neither.
/// The spine is empty where `top` itself is neither.
pub fn left_spine(top: &Expr) -> (Vec<&Expr>, &Expr) {
    let mut spine = Vec::new();
    let mut node = top;
    loop {
        let below = match node {
            Expr::Binary(e) => &e.lhs,
            Expr::Subquery(e) => &e.expr,
            _ => return (spine, node),
        };
        spine.push(node);
        node = below;
    }
}

/// The expressions directly below one, in the order in which they are written;
/// a parameter comes before what is aggregated. Duration expressions are no children.
pub fn children(expr: &Expr) -> impl Iterator<Item = &Expr> {
    let (first, second, rest): (Option<&Expr>, Option<&Expr>, &[Expr]) = match expr {
        Expr::Number(_)
        | Expr::String(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Duration(_) => (None, None, &[]),
        Expr::Paren(e) => (Some(&e.expr), None, &[]),
        Expr::Unary(e) => (Some(&e.expr), None, &[]),
        Expr::Binary(e) => (Some(&e.lhs), Some(&e.rhs), &[]),
        Expr::Aggregate(e) => (e.param.as_deref(), Some(&e.expr), &[]),
        Expr::Call(e) => (None, None, &e.args),
        Expr::Subquery(e) => (Some(&e.expr), None, &[]),
    };
    first.into_iter().chain(second).chain(rest)
}

/// Calls `visit` with the expression and all below it, each before what is
/// below it, in the order in which they are written.
///
/// ```
/// let expr = promql::parse("rate(a[5m]) + b", promql::Features::default()).unwrap();
/// let mut n_nodes = 0;
/// promql::visit::walk(&expr, &mut |_| n_nodes += 1);
/// assert_eq!(n_nodes, 4); // +, rate, a[5m], b
/// ```
pub fn walk<'e>(expr: &'e Expr, visit: &mut impl FnMut(&'e Expr)) {
    let mut open = vec![expr];
    while let Some(node) = open.pop() {
        visit(node);
        let below = open.len();
        open.extend(children(node));
        open[below..].reverse();
    }
}

/// The vector selectors of an expression, those of ranges included, in the
/// order in which they are written.
pub fn selectors(expr: &Expr) -> Vec<&VectorSelector> {
    let mut found = Vec::new();
    walk(expr, &mut |node| match node {
        Expr::VectorSelector(selector) => found.push(selector),
        Expr::MatrixSelector(matrix) => found.push(&matrix.selector),
        _ => {}
    });
    found
}

/// The matchers of each selector of an expression: what `query_exemplars` looks up.
pub fn extract_selectors(expr: &Expr) -> Vec<Vec<Matcher>> {
    selectors(expr).into_iter().map(|selector| selector.matchers.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Features;

    #[test]
    fn selectors_come_in_the_order_they_are_written() {
        let text = r#"sum(a) + rate(b{x="1"}[5m]) / topk(scalar(c), d)[1h:5m]"#;
        let expr = crate::parse(&text.replace("[1h:5m]", ""), Features::default()).unwrap();
        let names: Vec<_> = selectors(&expr).iter().map(|s| s.name.clone().unwrap()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_spine_runs_from_the_top_to_what_it_starts_with() {
        let expr = crate::parse("a + b + c", Features::default()).unwrap();
        let (spine, bottom) = left_spine(&expr);
        assert_eq!(spine.len(), 2);
        assert_eq!(bottom.to_string(), "a");
    }
}
