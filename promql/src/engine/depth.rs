//! How deep an expression is nested, and so how much stack its evaluation takes.
//!
//! Functions, parentheses and right operands nest as deep as the parser lets
//! them. Chains of operators have no end, so those of long expressions are
//! evaluated in a loop: of such a chain only the operators between two results
//! that are kept lie on the stack.

use crate::ast::Expr;
use crate::visit::children;

/// Levels that fit any thread's stack.
pub(crate) const LEVELS_SHALLOW: usize = 40;
/// Operators of a chain between two results that are kept.
const STREAMED: usize = 16;
/// So many `or` in turn are made at once.
const UNION_LINKS_MIN: usize = 8;

/// How an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Depth {
    /// Operators in turn are a list, not a tree.
    pub(crate) chained: bool,
    /// After so many operators of a list a result is kept.
    pub(crate) streamed: usize,
    /// So many `or` of a list in turn are made at once.
    pub(crate) union_links_min: usize,
    /// Levels that lie on the stack.
    pub(crate) levels: usize,
}

impl Depth {
    pub(crate) fn of(expr: &Expr, always_chained: bool) -> Depth {
        let whole = levels(expr, usize::MAX);
        let usual = Depth {
            chained: whole > LEVELS_SHALLOW,
            streamed: STREAMED,
            union_links_min: UNION_LINKS_MIN,
            levels: whole,
        };
        if always_chained {
            return Depth { chained: true, streamed: 1, union_links_min: 1, levels: levels(expr, 1) };
        }
        if !usual.chained {
            return usual;
        }
        // Chains in chains in chains: each takes as little as can be.
        let streamed = if levels(expr, 1) > LEVELS_SHALLOW { 1 } else { STREAMED };
        Depth { streamed, levels: levels(expr, streamed), ..usual }
    }
}

/// How many levels an expression has where of a chain at most so many operators
/// count.
fn levels(expr: &Expr, of_chain: usize) -> usize {
    let mut deepest = 0;
    let mut open = vec![(expr, 1)];
    while let Some((mut node, mut level)) = open.pop() {
        if matches!(node, Expr::Binary(_)) {
            let right = open.len();
            loop {
                match node {
                    Expr::Paren(e) => node = &e.expr,
                    Expr::Binary(e) => {
                        open.push((&e.rhs, 0));
                        node = &e.lhs;
                    }
                    _ => break,
                }
            }
            level += (open.len() - right).min(of_chain);
            open[right..].iter_mut().for_each(|(_, at)| *at = level);
        }
        deepest = deepest.max(level);
        open.extend(children(node).map(|below| (below, level + 1)));
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(text: &str) -> Depth {
        Depth::of(&crate::parse(text, crate::Features::default()).expect("the text is PromQL"), false)
    }

    #[test]
    fn short_expressions_stay_trees() {
        assert_eq!(depth("a").levels, 1);
        assert_eq!(depth("sum(rate(a[5m])) / b").levels, 4);
        assert!(!depth(&vec!["a"; 40].join(" + ")).chained);
    }

    #[test]
    fn chains_take_no_more_stack_than_their_operators_that_stream() {
        let long = depth(&vec!["a"; 10_000].join(" + "));
        assert_eq!((long.chained, long.streamed, long.levels), (true, STREAMED, 1 + STREAMED));
        let left = depth(&format!("{}a{}", "(".repeat(400), " + b)".repeat(400)));
        assert_eq!(left, Depth { levels: left.levels, ..long });
        assert!(left.levels < 20);
    }

    #[test]
    fn true_nesting_is_seen() {
        let right = depth(&format!("{}a{}", "b + (".repeat(200), ")".repeat(200)));
        assert_eq!((right.chained, right.streamed), (true, 1));
        assert!((400..500).contains(&right.levels), "{}", right.levels);
    }
}
