//! The logical plan: the syntax tree with all that the query's times settle.
//!
//! ```text
//! Expr ──lower──▶ Plan     durations computed, start() and end() known,
//!                          parentheses gone, parts that do not change from
//!                          step to step marked (Invariant), long chains of
//!                          operators made lists
//!      ──share──▶ Plan     parts that stand in it more than once marked
//! ```

mod duration;
mod lower;
mod share;

use model::Matcher;

use crate::ast::{AggregateOp, BinaryOp, PositionRange, StringLiteral, ValueType, VectorMatching};

use crate::annotations::Place;

pub(crate) use lower::{QueryTimes, lower};
pub(crate) use share::{places, share};

/// An expression ready to be evaluated.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) pos: PositionRange,
    pub(crate) value_type: ValueType,
    /// Its place in the order of evaluation: operands come first.
    pub(crate) rank: u32,
    /// Its number among the parts that stand in the plan more than once.
    pub(crate) part: Option<u32>,
}

/// What a plan node does.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Number(f64),
    String(StringLiteral),
    Negate(Box<Plan>),
    /// `+x`, which changes nothing.
    Same(Box<Plan>),
    Binary(Box<Binary>),
    Chain(Box<Chain>),
    Aggregate(Box<Aggregate>),
    Call(Box<Call>),
    Selector(Box<Selector>),
    Matrix(Box<Matrix>),
    Subquery(Box<Subquery>),
    /// Evaluated once; the result stands at every step.
    Invariant(Box<Plan>),
}

/// A binary operator without its operands.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) op: BinaryOp,
    pub(crate) matching: VectorMatching,
    pub(crate) return_bool: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Binary {
    pub(crate) operator: Operator,
    pub(crate) lhs: Plan,
    pub(crate) rhs: Plan,
}

/// `a + b - c …`, as a list: a tree as deep as a long query has operators could
/// not be walked by functions that call themselves.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) first: Plan,
    pub(crate) links: Vec<Link>,
}

/// An operator of a chain and its right operand; the left one is all before it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) operator: Operator,
    pub(crate) rhs: Plan,
    pub(crate) value_type: ValueType,
    pub(crate) place: Place,
}

impl Chain {
    /// All operands, from left to right.
    pub(crate) fn operands(&self) -> impl Iterator<Item = &Plan> {
        std::iter::once(&self.first).chain(self.links.iter().map(|link| &link.rhs))
    }

    fn operands_mut(&mut self) -> impl Iterator<Item = &mut Plan> {
        std::iter::once(&mut self.first).chain(self.links.iter_mut().map(|link| &mut link.rhs))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Aggregate {
    pub(crate) op: AggregateOp,
    pub(crate) expr: Plan,
    pub(crate) param: Option<Plan>,
    pub(crate) grouping: Vec<String>,
    pub(crate) without: bool,
    pub(crate) place: Place,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) func: &'static str,
    pub(crate) args: Vec<Plan>,
}

/// Series, and the time they are looked at relative to the step.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) offset_ms: i64,
    /// `@` in ms.
    pub(crate) at_ms: Option<i64>,
    /// What `@` does; [`Pin::Still`] where there is none.
    pub(crate) pin: Pin,
    pub(crate) anchored: bool,
    pub(crate) smoothed: bool,
    /// Only count and sum of histograms are asked for.
    pub(crate) stats_only: bool,
    /// The function or aggregation around it, for the store.
    pub(crate) func: Option<&'static str>,
    /// Labels that the aggregation around it groups by (true) or drops (false).
    pub(crate) grouping: Option<(Vec<String>, bool)>,
}

/// What `@` does to what has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pin {
    /// Each step looks at the same time.
    Still,
    /// The first step looks there, later ones so much later; samples are read up to
    /// `@`. So upstream has it in parameters of aggregations.
    Wandering,
    /// Each step looks at the time without its offset, but samples are read up to
    /// where the offset leads. So upstream has it in `timestamp`.
    WithoutOffset,
}

impl Selector {
    /// The time it looks at when the step is at `step_ms`, and the first at `start_ms`.
    pub(crate) fn reference_ms(&self, step_ms: i64, start_ms: i64) -> i64 {
        let at_ms = match (self.at_ms, self.pin) {
            (Some(at_ms), Pin::WithoutOffset) => return at_ms,
            (Some(at_ms), Pin::Wandering) => at_ms.saturating_add(step_ms.saturating_sub(start_ms)),
            (Some(at_ms), Pin::Still) => at_ms,
            (None, _) => step_ms,
        };
        at_ms.saturating_sub(self.offset_ms)
    }

    /// Whether it looks where not all of the lookback is read.
    pub(crate) fn looks_aside(&self) -> bool {
        self.pin == Pin::WithoutOffset && self.offset_ms != 0
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    pub(crate) selector: Selector,
    pub(crate) range_ms: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Subquery {
    pub(crate) expr: Plan,
    pub(crate) range_ms: i64,
    /// 0 for the default.
    pub(crate) step_ms: i64,
    pub(crate) offset_ms: i64,
    pub(crate) at_ms: Option<i64>,
    /// What `@` does to the bounds that functions are told; [`Pin::WithoutOffset`] it
    /// does not do.
    pub(crate) pin: Pin,
}

/// The widest range of times that any selector of a plan may read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

impl Plan {
    /// Where its remarks belong that show all of it.
    pub(crate) fn place(&self) -> Place {
        Place { pos: self.pos, rank: self.rank }
    }

    /// What the selectors below read when the plan is evaluated from `start_ms`
    /// to `end_ms`; `None` where there is none.
    pub(crate) fn reach(&self, start_ms: i64, end_ms: i64, lookback_ms: i64) -> Option<Reach> {
        let of = |plan: &Plan| plan.reach(start_ms, end_ms, lookback_ms);
        match &self.kind {
            Kind::Number(_) | Kind::String(_) => None,
            Kind::Negate(e) | Kind::Same(e) => of(e),
            Kind::Invariant(e) => of(e),
            Kind::Binary(e) => join(of(&e.lhs), of(&e.rhs)),
            Kind::Chain(e) => e.operands().map(of).fold(None, join),
            Kind::Aggregate(e) => join(of(&e.expr), e.param.as_ref().and_then(of)),
            Kind::Call(e) => {
                let mut reach = e.args.iter().map(of).fold(None, join);
                // `info` selects its info metrics at the time of its input.
                if e.func == "info" {
                    reach = reach.map(|r| Reach { start_ms: r.start_ms.saturating_sub(lookback_ms), ..r });
                }
                reach
            }
            Kind::Selector(e) => Some(e.reach(start_ms, end_ms, 0, lookback_ms)),
            Kind::Matrix(e) => Some(e.selector.reach(start_ms, end_ms, e.range_ms, lookback_ms)),
            Kind::Subquery(e) => {
                let (start, end) = match e.at_ms {
                    Some(at) => (at, at.saturating_add(end_ms.saturating_sub(start_ms))),
                    None => (start_ms, end_ms),
                };
                let start = start.saturating_sub(e.offset_ms).saturating_sub(e.range_ms);
                e.expr.reach(start, end.saturating_sub(e.offset_ms), lookback_ms)
            }
        }
    }
}

impl Selector {
    /// The times read when the selector is evaluated from `start_ms` to `end_ms`
    /// with windows of `range_ms` (0 for an instant selector).
    pub(crate) fn reach(&self, start_ms: i64, end_ms: i64, range_ms: i64, lookback_ms: i64) -> Reach {
        let back = match range_ms {
            0 => lookback_ms,
            range if self.anchored || self.smoothed => range.saturating_add(lookback_ms),
            range => range,
        };
        let ahead = if self.smoothed { lookback_ms } else { 0 };
        let (first_ms, last_ms) = self.at_ms.map_or((start_ms, end_ms), |at_ms| (at_ms, at_ms));
        Reach {
            start_ms: first_ms.saturating_sub(self.offset_ms).saturating_sub(back).saturating_add(1),
            end_ms: last_ms.saturating_sub(self.offset_ms).saturating_add(ahead),
        }
    }
}

fn join(a: Option<Reach>, b: Option<Reach>) -> Option<Reach> {
    match (a, b) {
        (Some(a), Some(b)) => {
            Some(Reach { start_ms: a.start_ms.min(b.start_ms), end_ms: a.end_ms.max(b.end_ms) })
        }
        (a, b) => a.or(b),
    }
}
