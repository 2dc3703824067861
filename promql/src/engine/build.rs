//! From plan to operators.

use super::batch::Point;
use super::buckets::{self, Ask};
use super::context::EvalContext;
use super::error::{QueryError, Result};
use super::map::WithScalar;
use super::node::Vectors;
use super::rows::Pairs;
use super::selector::Want;
use super::{
    aggregate, count_values, info, join, labels, map, presence, range, rank, repeat, scalar, selector, setops,
};
use crate::annotations::{Annotation, Annotations};
use crate::ast::{AggregateOp, PositionRange, ValueType};
use crate::functions::{histogram as hist, math, time};
use crate::plan::{Aggregate, Binary, Call, Kind, Plan};

/// Builds the operators of an expression whose value is an instant vector; a
/// scalar becomes one series without labels.
pub(crate) fn vectors(ctx: &EvalContext, plan: &Plan) -> Result<Vectors> {
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
        Kind::Binary(e) => e.op.as_str(),
        Kind::Aggregate(e) => e.op.as_str(),
        Kind::Call(e) => e.func,
        Kind::Selector(_) | Kind::Matrix(_) => "select",
        Kind::Subquery(_) => "subquery",
    }
}

fn of_kind(ctx: &EvalContext, plan: &Plan) -> Result<Vectors> {
    if plan.value_type == ValueType::Scalar {
        let values = scalar::column(ctx, plan)?;
        return repeat::single(ctx, "scalar", Pairs::new(), values.into_iter().map(Some), false);
    }
    match &plan.kind {
        Kind::Same(e) => vectors(ctx, e),
        Kind::Negate(e) => map::negate(ctx, vectors(ctx, e)?),
        Kind::Invariant(e) => repeat::invariant(ctx, e),
        Kind::Selector(s) => selector::vectors(ctx, s, Want::Value, plan.place()),
        Kind::Binary(e) => Ok(binary(ctx, plan, e)?.detailed(matching(e))),
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
fn matching(e: &Binary) -> String {
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

fn binary(ctx: &EvalContext, plan: &Plan, e: &Binary) -> Result<Vectors> {
    let with_scalar = |input: Vectors, scalar: Vec<f64>, swapped: bool| {
        let how = WithScalar { op: e.op, scalar, swapped, return_bool: e.return_bool, pos: plan.place() };
        map::with_scalar(ctx, input, how)
    };
    match (e.lhs.value_type, e.rhs.value_type) {
        (ValueType::Vector, ValueType::Scalar) => {
            let input = vectors(ctx, &e.lhs)?;
            let scalar = input.before(scalar::column(ctx, &e.rhs))?;
            with_scalar(input, scalar, false)
        }
        (ValueType::Scalar, ValueType::Vector) => {
            let scalar = scalar::column(ctx, &e.lhs)?;
            with_scalar(vectors(ctx, &e.rhs)?, scalar, true)
        }
        _ if e.op.is_set() => setops::vectors(ctx, e),
        _ => join::vectors(ctx, e, plan.place()),
    }
}

fn aggregation(ctx: &EvalContext, e: &Aggregate) -> Result<Vectors> {
    let param = || match &e.param {
        Some(param) => scalar::column(ctx, param),
        None => Ok(vec![f64::NAN; ctx.steps.count]),
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
            return repeat::single(ctx, e.func, Pairs::new(), values, false);
        }
        return map::floats(ctx, vector(0)?, e.func, move |_, v| f(time::to_seconds(v)));
    }
    match e.func {
        "vector" => {
            let values = column(0)?;
            repeat::single(ctx, e.func, Pairs::new(), values.into_iter().map(Some), false)
        }
        "round" => {
            let to = if e.args.len() > 1 { column(1)? } else { vec![1.0; steps.count] };
            map::floats(ctx, vector(0)?, e.func, move |step, v| math::round_to(v, 1.0 / to[step]))
        }
        "clamp" => clamp(ctx, e, vector(0)?, column(1)?, column(2)?),
        "clamp_min" => clamp(ctx, e, vector(0)?, column(1)?, vec![f64::INFINITY; steps.count]),
        "clamp_max" => clamp(ctx, e, vector(0)?, vec![f64::NEG_INFINITY; steps.count], column(1)?),
        "timestamp" | "start_timestamp" => timestamp(ctx, e),
        "histogram_count" => map::histograms(ctx, vector(0)?, e.func, |h| h.count),
        "histogram_sum" => map::histograms(ctx, vector(0)?, e.func, |h| h.sum),
        "histogram_avg" => map::histograms(ctx, vector(0)?, e.func, |h| h.sum / h.count),
        "histogram_stdvar" => map::histograms(ctx, vector(0)?, e.func, |h| hist::variance(h)),
        "histogram_stddev" => map::histograms(ctx, vector(0)?, e.func, |h| hist::variance(h).sqrt()),
        "histogram_quantile" => {
            let ask = Ask::Quantile { q: column(0)?, pos: place.at(arg(0)?.pos) };
            buckets::vectors(ctx, vector(1)?, ask, place.at(arg(1)?.pos))
        }
        "histogram_quantiles" => {
            let mut qs = Vec::new();
            for i in 2..e.args.len() {
                qs.push((column(i)?, place.at(arg(i)?.pos)));
            }
            let ask = Ask::Quantiles { label: text(1)?.value.clone(), qs };
            buckets::vectors(ctx, vector(0)?, ask, place.at(arg(0)?.pos))
        }
        "histogram_fraction" => {
            let ask = Ask::Fraction { lower: column(0)?, upper: column(1)? };
            buckets::vectors(ctx, vector(2)?, ask, place.at(arg(2)?.pos))
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

fn clamp(ctx: &EvalContext, e: &Call, input: Vectors, min: Vec<f64>, max: Vec<f64>) -> Result<Vectors> {
    map::samples(ctx, input, e.func, move |step, point| match point {
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
    let none = |input: Vectors| {
        input.for_each(None, |_, _| Ok(()))?;
        ctx.query.aside.lock().push(input.explain());
        repeat::nothing(ctx, e.func)
    };
    if let Kind::Selector(s) = &arg.kind {
        let known = start && ctx.query.use_start_timestamps;
        let want = if known { Want::StartTimestamp } else { Want::Timestamp };
        let input = selector::vectors(ctx, s, want, arg.place())?.uncounted();
        return if start && !known { none(input) } else { map::renamed(ctx, input, e.func) };
    }
    if start {
        return none(vectors(ctx, arg)?);
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
    if !ctx.instant {
        if ctx.steps.count > 0 {
            let mut annotations = Annotations::default();
            annotations.add(Annotation::sort_in_range_query(plan.place()));
            ctx.query.annotate(annotations);
        }
        return if by_label { Ok(input) } else { map::only_floats(ctx, input, e.func) };
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
