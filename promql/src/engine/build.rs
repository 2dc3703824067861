//! From plan to operators.

use super::account::Account;
use super::batch::Point;
use super::buckets::{self, Ask};
use super::context::EvalContext;
use super::error::{QueryError, Result};
use super::map::WithScalar;
use super::node::Vectors;
use super::rows::Pairs;
use super::scalar::Column;
use super::selector::Want;
use super::{
    aggregate, chain, count_values, info, join, labels, map, parts, presence, range, rank, repeat, scalar,
    selector, setops,
};
use crate::annotations::{Annotation, Annotations, Place};
use crate::ast::{AggregateOp, PositionRange, ValueType};
use crate::functions::{histogram as hist, math, time};
use crate::plan::{Aggregate, Call, Kind, Operator, Plan};

/// Builds the operators of an expression whose value is an instant vector; a
/// scalar becomes one series without labels.
pub(crate) fn vectors(ctx: &EvalContext, plan: &Plan) -> Result<Vectors> {
    match plan.part {
        Some(part) => parts::vectors(ctx, plan, part, |ctx| operators(ctx, plan)),
        None => operators(ctx, plan),
    }
}

fn operators(ctx: &EvalContext, plan: &Plan) -> Result<Vectors> {
    ctx.query.check()?;
    let mark = ctx.query.aside.lock().len();
    let built = of_kind(ctx, plan).map_err(|error| error.in_operator(operator(plan)))?;
    let aside = ctx.query.aside.lock().split_off(mark);
    Ok(built.at(plan.pos, aside))
}

/// What a plan node is called in errors.
fn operator(plan: &Plan) -> &'static str {
    match &plan.kind {
        Kind::Number(_) | Kind::String(_) => "a constant",
        Kind::Negate(_) => "-",
        Kind::Same(e) | Kind::Invariant(e) => operator(e),
        Kind::Binary(e) => e.operator.op.as_str(),
        Kind::Chain(e) => e.links.last().map_or("a chain", |link| link.operator.op.as_str()),
        Kind::Aggregate(e) => e.op.as_str(),
        Kind::Call(e) => e.func,
        Kind::Selector(_) | Kind::Matrix(_) => "select",
        Kind::Subquery(_) => "subquery",
    }
}

fn of_kind(ctx: &EvalContext, plan: &Plan) -> Result<Vectors> {
    if plan.value_type == ValueType::Scalar {
        let Column { values, account } = scalar::column(ctx, plan)?;
        return repeat::of_scalar(ctx, values, account);
    }
    match &plan.kind {
        Kind::Same(e) => vectors(ctx, e),
        Kind::Negate(e) => map::negate(ctx, vectors(ctx, e)?),
        Kind::Invariant(e) => repeat::invariant(ctx, e),
        Kind::Selector(s) => selector::vectors(ctx, s, Want::Value, plan.place()),
        Kind::Binary(e) => {
            let left = operand(ctx, &e.lhs)?;
            match combined(ctx, left, &e.operator, &e.rhs, plan.place())? {
                Operand::Vectors(vectors) => Ok(vectors),
                Operand::Column(Column { values, account }) => repeat::of_scalar(ctx, values, account),
            }
        }
        Kind::Chain(e) => chain::vectors(ctx, e),
        Kind::Aggregate(e) => Ok(aggregation(ctx, e)?.detailed(grouping(e))),
        Kind::Call(e) => call(ctx, plan, e),
        Kind::Number(_) | Kind::String(_) | Kind::Matrix(_) | Kind::Subquery(_) => {
            Err(QueryError::execution(format!(
                "expected an instant vector, got {}",
                plan.value_type.documented()
            )))
        }
    }
}

/// The matching of a binary operator, for the explain tree.
pub(crate) fn matching(e: &Operator) -> String {
    let mut words = String::new();
    if e.return_bool {
        words.push_str(" bool");
    }
    crate::printer::push_matching(&mut words, &e.matching);
    words.trim_start().to_owned()
}

/// The grouping of an aggregation, for the explain tree.
fn grouping(e: &Aggregate) -> String {
    let word = match (e.without, e.grouping.is_empty()) {
        (false, true) => return String::new(),
        (false, false) => "by",
        (true, _) => "without",
    };
    format!("{word} ({})", crate::printer::labels(&e.grouping))
}

/// An operand of a binary operator.
pub(crate) enum Operand {
    Column(Column),
    Vectors(Vectors),
}

/// Builds an operand by its type.
pub(crate) fn operand(ctx: &EvalContext, plan: &Plan) -> Result<Operand> {
    Ok(match plan.value_type {
        ValueType::Scalar => Operand::Column(scalar::column(ctx, plan)?),
        _ => Operand::Vectors(vectors(ctx, plan)?),
    })
}

/// A binary operator behind its left operand.
pub(crate) fn combined(
    ctx: &EvalContext,
    left: Operand,
    e: &Operator,
    right: &Plan,
    place: Place,
) -> Result<Operand> {
    let with_scalar = |input: Vectors, scalar: Column, swapped: bool| {
        let Column { values: scalar, account } = scalar;
        let mut operands = vec![input.account(), account];
        if swapped {
            operands.reverse();
        }
        let how = WithScalar { op: e.op, scalar, swapped, return_bool: e.return_bool, pos: place };
        map::with_scalar(ctx, input, how, Account::steps(ctx, operands))
    };
    let built = match left {
        Operand::Column(scalar) => match operand(ctx, right)? {
            Operand::Column(right) => {
                return Ok(Operand::Column(scalar::combined(ctx, e, scalar, right)?));
            }
            Operand::Vectors(input) => with_scalar(input, scalar, true)?,
        },
        Operand::Vectors(left) => match left.before(operand(ctx, right))? {
            Operand::Column(scalar) => with_scalar(left, scalar, false)?,
            Operand::Vectors(right) if e.op.is_set() => setops::vectors(ctx, e, left, right)?,
            Operand::Vectors(right) => join::vectors(ctx, e, (left, right), place)?,
        },
    };
    Ok(Operand::Vectors(built.detailed(matching(e))))
}

fn aggregation(ctx: &EvalContext, e: &Aggregate) -> Result<Vectors> {
    let param = || match &e.param {
        Some(param) => scalar::column(ctx, param),
        None => Err(QueryError::execution(format!("missing parameter of {}", e.op.as_str()))),
    };
    match e.op {
        AggregateOp::CountValues => count_values::vectors(ctx, e),
        AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => {
            rank::vectors(ctx, e, param()?)
        }
        AggregateOp::Quantile => {
            let param = param()?;
            aggregate::vectors(ctx, e, Some(param))
        }
        _ => aggregate::vectors(ctx, e, None),
    }
}

fn call(ctx: &EvalContext, plan: &Plan, e: &Call) -> Result<Vectors> {
    let steps = ctx.steps;
    let place = plan.place();
    let arg = |i: usize| {
        e.args.get(i).ok_or_else(|| QueryError::execution(format!("missing argument of {}", e.func)))
    };
    let vector = |i: usize| vectors(ctx, arg(i)?);
    let column = |i: usize| scalar::column(ctx, arg(i)?);
    let text = |i: usize| match &arg(i)?.kind {
        Kind::String(text) => Ok(text),
        _ => Err(QueryError::execution(format!("expected a string argument in {}", e.func))),
    };

    if let Some(function) = range::by_name(e.func) {
        return range_call(ctx, plan, e, function);
    }
    if let Some(f) = math::by_name(e.func) {
        return map::floats(ctx, vector(0)?, e.func, move |_, v| f(v));
    }
    if let Some(f) = time::by_name(e.func) {
        if e.args.is_empty() {
            let values = (0..steps.count).map(|i| Some(f(steps.at(i) / 1000)));
            return repeat::single(ctx, e.func, Pairs::new(), values, false, Account::held(ctx));
        }
        return map::floats(ctx, vector(0)?, e.func, move |_, v| f(time::to_seconds(v)));
    }
    match e.func {
        "vector" => {
            let Column { values, account } = column(0)?;
            let account = Account::steps(ctx, vec![account]);
            repeat::single(ctx, e.func, Pairs::new(), values.into_iter().map(Some), false, account)
        }
        "round" => {
            if e.args.len() < 2 {
                return map::floats(ctx, vector(0)?, e.func, |_, v| math::round_to(v, 1.0));
            }
            let (Column { values: to, account }, input) = (column(1)?, vector(0)?);
            let account = Account::steps(ctx, vec![input.account(), account]);
            let round = move |step: usize, v| math::round_to(v, 1.0 / to[step]);
            map::floats_counted(ctx, input, e.func, account, round)
        }
        "clamp" => clamp(ctx, e, vector(0)?, Some(column(1)?), Some(column(2)?)),
        "clamp_min" => clamp(ctx, e, vector(0)?, Some(column(1)?), None),
        "clamp_max" => clamp(ctx, e, vector(0)?, None, Some(column(1)?)),
        "timestamp" | "start_timestamp" => timestamp(ctx, e),
        "histogram_count" => map::histograms(ctx, vector(0)?, e.func, |h| h.count),
        "histogram_sum" => map::histograms(ctx, vector(0)?, e.func, |h| h.sum),
        "histogram_avg" => map::histograms(ctx, vector(0)?, e.func, |h| h.sum / h.count),
        "histogram_stdvar" => map::histograms(ctx, vector(0)?, e.func, |h| hist::variance(h)),
        "histogram_stddev" => map::histograms(ctx, vector(0)?, e.func, |h| hist::variance(h).sqrt()),
        "histogram_quantile" => {
            let Column { values: q, account } = column(0)?;
            let ask = Ask::Quantile { q, pos: place.at(arg(0)?.pos) };
            let input = vector(1)?;
            let account = Account::steps(ctx, vec![account, input.account()]);
            buckets::vectors(ctx, input, ask, place.at(arg(1)?.pos), account)
        }
        "histogram_quantiles" => {
            let mut qs = Vec::new();
            let mut params = Vec::new();
            for i in 2..e.args.len() {
                let Column { values, account } = column(i)?;
                qs.push((values, place.at(arg(i)?.pos)));
                params.push(account);
            }
            let ask = Ask::Quantiles { label: text(1)?.value.clone(), qs };
            let input = vector(0)?;
            params.insert(0, input.account());
            buckets::vectors(ctx, input, ask, place.at(arg(0)?.pos), Account::steps(ctx, params))
        }
        "histogram_fraction" => {
            let (lower, upper, input) = (column(0)?, column(1)?, vector(2)?);
            let account = Account::steps(ctx, vec![lower.account, upper.account, input.account()]);
            let ask = Ask::Fraction { lower: lower.values, upper: upper.values };
            buckets::vectors(ctx, input, ask, place.at(arg(2)?.pos), account)
        }
        "absent" => presence::absent(ctx, vector(0)?, arg(0)?, false),
        "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => sort(ctx, plan, e),
        "label_replace" => {
            let strings = [text(1)?, text(2)?, text(3)?, text(4)?];
            labels::replace(ctx, || vector(0), strings)
        }
        "label_join" => {
            let sources = (3..e.args.len()).map(text).collect::<Result<Vec<_>>>()?;
            labels::join(ctx, || vector(0), text(1)?, &text(2)?.value, &sources)
        }
        "info" => info::vectors(ctx, e),
        other => Err(QueryError::execution(format!("unknown function {other}"))),
    }
}

fn range_call(ctx: &EvalContext, plan: &Plan, e: &Call, function: range::RangeFunction) -> Result<Vectors> {
    let matrix = e
        .args
        .iter()
        .position(|arg| arg.value_type == ValueType::Matrix)
        .ok_or_else(|| QueryError::execution(format!("missing range vector in {}", e.func)))?;
    let mut params = Vec::new();
    for (i, arg) in e.args.iter().enumerate() {
        if i != matrix {
            params.push(scalar::column(ctx, arg)?);
        }
    }
    // Where a subquery was, upstream's remarks find a range vector of no place.
    let pos = match e.args[0].kind {
        Kind::Subquery(_) => PositionRange::default(),
        _ => e.args[0].pos,
    };
    let input = range::vectors(ctx, e.func, function, &e.args[matrix], plan.place().at(pos), params)?;
    if function == range::RangeFunction::Absent {
        return presence::absent(ctx, input, &e.args[matrix], true);
    }
    Ok(input)
}

fn clamp(
    ctx: &EvalContext,
    e: &Call,
    input: Vectors,
    min: Option<Column>,
    max: Option<Column>,
) -> Result<Vectors> {
    let mut operands = vec![input.account()];
    operands.extend(min.iter().chain(&max).map(|limit| limit.account.clone()));
    let values = |limit: Option<Column>, otherwise: f64| {
        limit.map_or_else(|| vec![otherwise; ctx.steps.count], |limit| limit.values)
    };
    let (min, max) = (values(min, f64::NEG_INFINITY), values(max, f64::INFINITY));
    let account = Account::steps(ctx, operands);
    map::samples_counted(ctx, input, e.func, account, move |step, point| match point {
        Point::Hist(_) => None,
        Point::Float(_) if max[step] < min[step] => None,
        Point::Float(v) => Some(math::clamp(v, min[step], max[step])),
    })
}

/// `timestamp` sees the samples' own times only directly on a selector.
fn timestamp(ctx: &EvalContext, e: &Call) -> Result<Vectors> {
    let Some(arg) = e.args.first() else {
        return Err(QueryError::execution(format!("missing argument of {}", e.func)));
    };
    let start = e.func == "start_timestamp";
    // Start timestamps are those of stored samples: of anything else there are
    // none, nor where they are not in use. Remarks on the argument stay.
    let none = |input: Vectors, account| {
        input.for_each(None, |_, _| Ok(()))?;
        ctx.query.aside.lock().push(input.explain());
        repeat::nothing(ctx, e.func, account)
    };
    if let Kind::Selector(s) = &arg.kind {
        let known = start && ctx.query.use_start_timestamps;
        let want = if known { Want::StartTimestamp } else { Want::Timestamp };
        let input = selector::vectors(ctx, s, want, arg.place())?;
        if start && !known {
            let account = Account::looked_up(ctx, input.account());
            return none(input, account);
        }
        return map::renamed(ctx, input, e.func);
    }
    if start {
        let input = vectors(ctx, arg)?;
        let account = Account::steps(ctx, vec![input.account()]);
        return none(input, account);
    }
    let steps = ctx.steps;
    map::samples(ctx, vectors(ctx, arg)?, e.func, move |step, _| Some(steps.at(step) as f64 / 1000.0))
}

fn sort(ctx: &EvalContext, plan: &Plan, e: &Call) -> Result<Vectors> {
    let Some(arg) = e.args.first() else {
        return Err(QueryError::execution(format!("missing argument of {}", e.func)));
    };
    let input = vectors(ctx, arg)?;
    let by_label = e.func.starts_with("sort_by_label");
    if !ctx.instant || ctx.steps.count == 0 {
        if ctx.steps.count > 0 {
            let mut annotations = Annotations::default();
            annotations.add(Annotation::sort_in_range_query(plan.place()));
            ctx.annotate(annotations);
        }
        return if by_label { map::same(ctx, input, e.func) } else { map::only_floats(ctx, input, e.func) };
    }
    let descending = e.func.ends_with("_desc");
    if !by_label {
        return presence::by_value(ctx, input, descending);
    }
    let names: Vec<String> = e.args[1..]
        .iter()
        .filter_map(|arg| match &arg.kind {
            Kind::String(name) => Some(name.value.clone()),
            _ => None,
        })
        .collect();
    presence::by_label(ctx, input, &names, descending)
}
