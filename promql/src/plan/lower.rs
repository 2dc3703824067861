//! From syntax tree to plan.

use std::cell::Cell;

use crate::annotations::Place;
use crate::ast::{
    AtModifier, BinaryExpr, BinaryOp, CallExpr, Expr, PositionRange, ValueType, VectorSelector,
};
use crate::engine::error::Result;
use crate::functions::rate::seconds;

use super::{
    Aggregate, Binary, Call, Chain, Kind, Link, Matrix, Operator, Pin, Plan, Selector, Subquery, duration,
};

/// The times of a query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryTimes {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// 0 for instant queries.
    pub(crate) step_ms: i64,
}

/// Functions whose value depends on the evaluation time itself, so that pinned
/// arguments do not make them constant.
/// Source: Prometheus `promql/functions.go`, `AtModifierUnsafeFunctions`.
const TIME_DEPENDENT: [&str; 15] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "end",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
];

/// Lowers a checked expression for a query at the given times; operators in turn
/// become a list where `chained` says so.
///
/// # Errors
/// A duration expression has no usable value.
pub(crate) fn lower(expr: &Expr, times: &QueryTimes, chained: bool) -> Result<Plan> {
    let lowering = Lowering { times, ranks: Cell::new(0), chained, in_param: Cell::new(false) };
    let lowered = lowering.expr(expr, &Around::default())?;
    Ok(lowered.finish())
}

/// What stands around a selector.
#[derive(Clone, Debug, Default)]
struct Around {
    func: Option<&'static str>,
    grouping: Option<(Vec<String>, bool)>,
    stats_only: Stats,
}

impl Around {
    /// What stands around the operands of an operator.
    fn operands_of(&self, op: BinaryOp) -> Around {
        let trims = matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        let stats_only = if trims { Stats::Whole } else { self.stats_only };
        Around { stats_only, ..Around::default() }
    }
}

/// Whether histograms below need only count and sum: the nearest word decides.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Stats {
    #[default]
    Undecided,
    Only,
    Whole,
}

/// A lowered expression, whether it is the same at every step, and whether it
/// is to be wrapped so.
struct Lowered {
    plan: Plan,
    invariant: bool,
    wrap: bool,
}

impl Lowered {
    fn finish(self) -> Plan {
        if self.wrap { invariant(self.plan) } else { self.plan }
    }
}

fn invariant(plan: Plan) -> Plan {
    let (pos, value_type, rank) = (plan.pos, plan.value_type, plan.rank);
    Plan { kind: Kind::Invariant(Box::new(plan)), pos, value_type, rank, part: None }
}

/// The same without marks: upstream evaluates parameters of aggregations at each
/// step, whatever is in them, and counts so.
fn at_each_step(plan: Plan) -> Plan {
    let inner = |plan: &mut Plan| {
        let whole = std::mem::replace(plan, Plan { kind: Kind::Number(0.0), ..*plan });
        *plan = at_each_step(whole);
    };
    let mut plan = plan;
    while let Kind::Invariant(inside) = plan.kind {
        plan = *inside;
    }
    match &mut plan.kind {
        Kind::Negate(e) | Kind::Same(e) | Kind::Invariant(e) => inner(e),
        Kind::Binary(e) => {
            inner(&mut e.lhs);
            inner(&mut e.rhs);
        }
        Kind::Chain(e) => e.operands_mut().for_each(inner),
        Kind::Aggregate(e) => {
            inner(&mut e.expr);
            e.param.iter_mut().for_each(inner);
        }
        Kind::Call(e) => e.args.iter_mut().for_each(inner),
        Kind::Subquery(e) => inner(&mut e.expr),
        Kind::Number(_) | Kind::String(_) | Kind::Selector(_) | Kind::Matrix(_) => {}
    }
    plan
}

struct Lowering<'a> {
    times: &'a QueryTimes,
    /// How many operators are lowered.
    ranks: Cell<u32>,
    chained: bool,
    /// Whether this is the parameter of an aggregation.
    in_param: Cell<bool>,
}

fn operator(e: &BinaryExpr) -> Operator {
    Operator { op: e.op, matching: e.matching.clone().unwrap_or_default(), return_bool: e.return_bool }
}

/// A chain that is being made: what was lowered of it so far.
struct Open {
    first: Lowered,
    links: Vec<Link>,
}

impl Open {
    fn close(self) -> Lowered {
        let Some(last) = self.links.last() else { return self.first };
        let (Place { pos, rank }, value_type) = (last.place, last.value_type);
        let kind = Kind::Chain(Box::new(Chain { first: self.first.plan, links: self.links }));
        let plan = Plan { kind, pos, value_type, rank, part: None };
        Lowered { plan, invariant: self.first.invariant, wrap: self.first.wrap }
    }
}

impl Lowering<'_> {
    fn next_rank(&self) -> u32 {
        self.ranks.replace(self.ranks.get() + 1)
    }

    fn expr(&self, expr: &Expr, around: &Around) -> Result<Lowered> {
        let plan = |kind| Plan {
            kind,
            pos: expr.pos(),
            value_type: expr.value_type(),
            rank: self.next_rank(),
            part: None,
        };
        let constant = |kind| Lowered { plan: plan(kind), invariant: true, wrap: false };
        Ok(match expr {
            Expr::Number(e) => constant(Kind::Number(e.value)),
            Expr::String(e) => constant(Kind::String(e.clone())),
            Expr::Duration(_) => constant(Kind::Number(duration::resolve(expr, self.times, true)? as f64)),
            Expr::Paren(e) => {
                // Operators show the place of what they were given with its
                // parentheses, functions and aggregations without them.
                let inner = self.expr(&e.expr, around)?;
                match inner.plan.value_type {
                    // But in parameters, where they stay.
                    ValueType::Vector | ValueType::Scalar if self.in_param.get() => {
                        Lowered { plan: plan(Kind::Same(Box::new(inner.plan))), ..inner }
                    }
                    _ => inner,
                }
            }
            Expr::Unary(e) => {
                let Lowered { plan: inner, invariant, wrap } = self.expr(&e.expr, around)?;
                let kind = if e.negative { Kind::Negate } else { Kind::Same };
                Lowered { plan: plan(kind(Box::new(inner))), invariant, wrap }
            }
            Expr::Binary(_) if self.chained => self.chain(expr, around)?,
            Expr::Binary(e) => {
                let inner = around.operands_of(e.op);
                let lhs = self.expr(&e.lhs, &inner)?;
                let rhs = self.expr(&e.rhs, &inner)?;
                let both = lhs.invariant && rhs.invariant;
                let (lhs, rhs) = if both { (lhs.plan, rhs.plan) } else { (lhs.finish(), rhs.finish()) };
                let kind = Kind::Binary(Box::new(Binary { operator: operator(e), lhs, rhs }));
                Lowered { plan: plan(kind), invariant: both, wrap: both }
            }
            Expr::Aggregate(e) => {
                let inner = Around {
                    func: Some(e.op.as_str()),
                    grouping: Some((e.grouping.clone(), !e.without)),
                    stats_only: around.stats_only,
                };
                let param = e.param.as_ref().map(|param| self.param(param, around)).transpose()?;
                let Lowered { plan: inner, invariant, wrap } = self.expr(&e.expr, &inner)?;
                let kind = Kind::Aggregate(Box::new(Aggregate {
                    op: e.op,
                    expr: inner,
                    param,
                    grouping: e.grouping.clone(),
                    without: e.without,
                    place: Place { pos: e.pos, rank: self.ranks.get() },
                }));
                Lowered { plan: plan(kind), invariant, wrap }
            }
            Expr::Call(e) => self.call(expr, e, around)?,
            Expr::VectorSelector(e) => {
                let selector = self.selector(e, around)?;
                let pinned = selector.at_ms.is_some();
                let kind = Kind::Selector(Box::new(selector));
                Lowered { plan: plan(kind), invariant: pinned, wrap: pinned }
            }
            Expr::MatrixSelector(e) => {
                // Of two errors that of the range comes first.
                let range_ms = match &e.range_expr {
                    Some(expr) => duration::resolve(expr, self.times, false)?,
                    None => e.range_ms,
                };
                let selector = self.selector(&e.selector, around)?;
                let invariant = selector.at_ms.is_some();
                let kind = Kind::Matrix(Box::new(Matrix { selector, range_ms }));
                Lowered { plan: plan(kind), invariant, wrap: false }
            }
            Expr::Subquery(e) => {
                let resolved = |expr: &Option<Box<Expr>>, literal, may_be_negative| match expr {
                    Some(expr) => duration::resolve(expr, self.times, may_be_negative),
                    None => Ok(literal),
                };
                let offset_ms = resolved(&e.offset_expr, e.offset_ms, true)?;
                let step_ms = resolved(&e.step_expr, e.step_ms, false)?;
                let range_ms = resolved(&e.range_expr, e.range_ms, false)?;
                let inner = self.expr(&e.expr, &Around { stats_only: Stats::Whole, ..Around::default() })?;
                let inner = if inner.invariant { invariant(inner.plan) } else { inner.plan };
                let (at_ms, pin) = self.pinned(e.at);
                let kind = Kind::Subquery(Box::new(Subquery {
                    expr: inner,
                    range_ms,
                    step_ms,
                    offset_ms,
                    at_ms,
                    pin,
                }));
                Lowered { plan: plan(kind), invariant: at_ms.is_some(), wrap: false }
            }
        })
    }

    /// The parameter of an aggregation. Upstream does not prepare it as all else, in
    /// [version 3.14](https://github.com/prometheus/prometheus/blob/v3.14.0/promql/engine.go)
    /// (`preprocessExprHelper`): `@ start()` and `@ end()` are passed over, what `@`
    /// pins moves on with the steps, and parentheses inside stay.
    fn param(&self, mut param: &Expr, around: &Around) -> Result<Plan> {
        while let (Expr::Paren(e), false) = (param, self.in_param.get()) {
            param = &e.expr;
        }
        let outside = self.in_param.replace(true);
        let lowered = self.expr(param, &Around { stats_only: around.stats_only, ..Around::default() });
        self.in_param.set(outside);
        Ok(at_each_step(lowered?.plan))
    }

    /// Operators in turn, those in parentheses on the left among them.
    fn chain(&self, top: &Expr, around: &Around) -> Result<Lowered> {
        let mut spine: Vec<(&BinaryExpr, Around)> = Vec::new();
        let mut node = top;
        loop {
            match node {
                Expr::Paren(e) => node = &e.expr,
                Expr::Binary(e) => {
                    let inner = spine.last().map_or(around, |(_, above)| above).operands_of(e.op);
                    spine.push((e, inner));
                    node = &e.lhs;
                }
                _ => break,
            }
        }
        let first = self.expr(node, spine.last().map_or(around, |(_, inner)| inner))?;
        let mut open = Open { first, links: Vec::with_capacity(spine.len()) };
        while let Some((e, inner)) = spine.pop() {
            let rhs = self.expr(&e.rhs, &inner)?;
            let both = open.first.invariant && rhs.invariant;
            let rhs = if both { rhs.plan } else { rhs.finish() };
            if !both && open.first.wrap {
                // What is the same at every step ends here.
                let plan = open.close().finish();
                let first = Lowered { plan, invariant: false, wrap: false };
                open = Open { first, links: Vec::with_capacity(spine.len() + 1) };
            }
            (open.first.invariant, open.first.wrap) = (both, both);
            let place = Place { pos: e.pos, rank: self.next_rank() };
            open.links.push(Link { operator: operator(e), rhs, value_type: e.value_type, place });
        }
        Ok(open.close())
    }

    fn call(&self, expr: &Expr, e: &CallExpr, around: &Around) -> Result<Lowered> {
        let times = self.times;
        let number = |value| {
            let rank = self.next_rank();
            let kind = Kind::Number(value);
            let plan = Plan { kind, pos: e.pos, value_type: ValueType::Scalar, rank, part: None };
            Ok(Lowered { plan, invariant: true, wrap: false })
        };
        match e.func.name {
            "start" => return number(times.start_ms as f64 / 1000.0),
            "end" => return number(times.end_ms as f64 / 1000.0),
            "range" => return number(seconds(times.end_ms.saturating_sub(times.start_ms))),
            "step" if times.start_ms == times.end_ms => return number(0.0),
            "step" => return number(seconds(times.step_ms)),
            _ => {}
        }
        let stats_only = match e.func.name {
            // The nearest of these decides; what is further out does not count.
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => Stats::Whole,
            "histogram_count" | "histogram_sum" | "histogram_avg" if around.stats_only != Stats::Whole => {
                Stats::Only
            }
            _ => around.stats_only,
        };
        let inner = Around { func: Some(e.func.name), grouping: None, stats_only };
        let mut args = Vec::with_capacity(e.args.len());
        let mut invariant = !TIME_DEPENDENT.contains(&e.func.name);
        let mut pinned_timestamp = e.func.name == "timestamp";
        for arg in &e.args {
            let mut arg = self.expr(arg, &inner)?;
            if let (Kind::Selector(selector), "timestamp" | "start_timestamp") =
                (&mut arg.plan.kind, e.func.name)
                && selector.at_ms.is_some()
            {
                selector.pin = Pin::WithoutOffset;
            }
            invariant &= arg.invariant;
            pinned_timestamp &= arg.invariant && matches!(arg.plan.kind, Kind::Selector(_));
            args.push(arg);
        }
        let whole = invariant || pinned_timestamp;
        let args =
            args.into_iter().map(|arg| if whole { arg.plan } else { arg.finish() }).collect::<Vec<_>>();
        let pos: PositionRange = e.pos;
        let kind = Kind::Call(Box::new(Call { func: e.func.name, args }));
        let plan = Plan { kind, pos, value_type: expr.value_type(), rank: self.next_rank(), part: None };
        Ok(Lowered { plan, invariant: whole, wrap: whole })
    }

    fn selector(&self, e: &VectorSelector, around: &Around) -> Result<Selector> {
        let offset_ms = match &e.offset_expr {
            Some(expr) => duration::resolve(expr, self.times, true)?,
            None => e.offset_ms,
        };
        let (at_ms, pin) = self.pinned(e.at);
        Ok(Selector {
            matchers: e.matchers.clone(),
            offset_ms,
            at_ms,
            pin,
            anchored: e.anchored,
            smoothed: e.smoothed,
            stats_only: around.stats_only == Stats::Only,
            func: around.func,
            grouping: around.grouping.clone(),
        })
    }

    /// `@` in ms, and what it does.
    fn pinned(&self, at: Option<AtModifier>) -> (Option<i64>, Pin) {
        match self.at(at) {
            Some(at_ms) if self.in_param.get() => (Some(at_ms), Pin::Wandering),
            at_ms => (at_ms, Pin::Still),
        }
    }

    fn at(&self, at: Option<AtModifier>) -> Option<i64> {
        match at? {
            AtModifier::Timestamp(ms) => Some(ms),
            _ if self.in_param.get() => None,
            AtModifier::Start => Some(self.times.start_ms),
            AtModifier::End => Some(self.times.end_ms),
        }
    }
}
