//! An evaluator that is as plain as can be: it walks the syntax tree at one time
//! after the other, with maps of labels and lists of samples, and computes every
//! window from scratch. It knows floats only.

mod functions;
mod info;

use std::collections::{BTreeMap, HashSet};

use model::{Labels, Matcher, is_stale_nan};
use promql::Expr;
use promql::ast::{
    AggregateExpr, AggregateOp, AtModifier, BinaryExpr, BinaryOp, CallExpr, Cardinality, DurationOp,
    SubqueryExpr, ValueType, VectorMatching, VectorSelector,
};

use functions::{Window, over_time, quantile};

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The query is at fault.
    Query,
    /// It needs what this evaluator does not know, or its answer is not the only
    /// right one.
    Unknown,
}

pub type Outcome<T> = Result<T, Fault>;

/// A vector, in the order in which it was made.
pub type Vector = Vec<(Labels, f64)>;

/// A series as stored, staleness markers included.
pub struct Series {
    pub labels: Labels,
    pub samples: Vec<(i64, f64)>,
    /// It has histograms, too.
    pub histograms: bool,
}

pub struct Naive<'a> {
    pub data: &'a [Series],
    pub start_ms: i64,
    pub end_ms: i64,
    pub step_ms: i64,
    pub lookback_ms: i64,
    pub subquery_step_ms: i64,
}

#[derive(Debug)]
pub enum Val {
    Scalar(f64),
    Vector(Vector),
}

fn unique(vector: Vector) -> Outcome<Vector> {
    let mut seen = HashSet::new();
    if vector.iter().all(|(labels, _)| seen.insert(labels.clone())) { Ok(vector) } else { Err(Fault::Query) }
}

impl Naive<'_> {
    pub fn eval(&self, expr: &Expr, t: i64) -> Outcome<Val> {
        Ok(match expr {
            Expr::Number(e) => Val::Scalar(e.value),
            Expr::Paren(e) => self.eval(&e.expr, t)?,
            Expr::Unary(e) => match (self.eval(&e.expr, t)?, e.negative) {
                (value, false) => value,
                (Val::Scalar(v), true) => Val::Scalar(-v),
                (Val::Vector(v), true) => Val::Vector(mapped(v, |v| -v)?),
            },
            Expr::Binary(e) => self.binary(e, t)?,
            Expr::Aggregate(e) => Val::Vector(self.aggregate(e, t)?),
            Expr::Call(e) => self.call(e, t)?,
            Expr::VectorSelector(e) if e.anchored => return Err(Fault::Unknown),
            Expr::VectorSelector(e) if e.smoothed => Val::Vector(self.smoothed(e, t)?),
            Expr::VectorSelector(e) => {
                Val::Vector(self.select(e, t)?.into_iter().map(|(l, _, v)| (l, v)).collect())
            }
            Expr::String(_) | Expr::MatrixSelector(_) | Expr::Subquery(_) | Expr::Duration(_) => {
                return Err(Fault::Unknown);
            }
        })
    }

    fn vector(&self, expr: &Expr, t: i64) -> Outcome<Vector> {
        match self.eval(expr, t)? {
            Val::Vector(v) => Ok(v),
            Val::Scalar(_) => Err(Fault::Unknown),
        }
    }

    fn scalar(&self, expr: &Expr, t: i64) -> Outcome<f64> {
        match self.eval(expr, t)? {
            Val::Scalar(v) => Ok(v),
            Val::Vector(_) => Err(Fault::Unknown),
        }
    }

    /// A duration in ms: as written, or what its expression comes to.
    fn duration(&self, expr: Option<&Expr>, written_ms: i64, positive: bool) -> Outcome<i64> {
        let Some(expr) = expr else { return Ok(written_ms) };
        let seconds = self.seconds(expr)?;
        if !seconds.is_finite() || (positive && seconds <= 0.0) || seconds.abs() > 9e9 {
            return Err(Fault::Query);
        }
        Ok((seconds * 1000.0).trunc() as i64)
    }

    fn seconds(&self, expr: &Expr) -> Outcome<f64> {
        let e = match expr {
            Expr::Number(n) => return Ok(n.value),
            Expr::Paren(e) => return self.seconds(&e.expr),
            Expr::Duration(e) => e,
            _ => return Err(Fault::Unknown),
        };
        let side = |side: &Option<Box<Expr>>| side.as_ref().map_or(Ok(0.0), |e| self.seconds(e));
        let (l, r) = (side(&e.lhs)?, side(&e.rhs)?);
        Ok(match e.op {
            DurationOp::Step if self.start_ms == self.end_ms => 0.0,
            DurationOp::Step => self.step_ms as f64 / 1000.0,
            DurationOp::Range => (self.end_ms - self.start_ms) as f64 / 1000.0,
            DurationOp::MinOf => l.min(r),
            DurationOp::MaxOf => l.max(r),
            DurationOp::Add => l + r,
            DurationOp::Sub => l - r,
            DurationOp::Mul => l * r,
            DurationOp::Div | DurationOp::Mod if r == 0.0 => return Err(Fault::Query),
            DurationOp::Div => l / r,
            DurationOp::Mod => l % r,
            DurationOp::Pow => l.powf(r),
        })
    }

    fn reference(&self, at: Option<AtModifier>, offset_ms: i64, t: i64) -> i64 {
        let base = match at {
            None => t,
            Some(AtModifier::Timestamp(ms)) => ms,
            Some(AtModifier::Start) => self.start_ms,
            Some(AtModifier::End) => self.end_ms,
        };
        base - offset_ms
    }

    fn matching(&self, matchers: &[Matcher]) -> Outcome<Vec<&Series>> {
        let matches =
            |series: &&Series| matchers.iter().all(|m| m.matches(series.labels.value_or_empty(m.name())));
        let found: Vec<&Series> = self.data.iter().filter(matches).collect();
        if found.iter().any(|series| series.histograms) { Err(Fault::Unknown) } else { Ok(found) }
    }

    /// The time that a selector looks at.
    fn looks_at(&self, e: &VectorSelector, t: i64) -> Outcome<i64> {
        let offset_ms = self.duration(e.offset_expr.as_deref(), e.offset_ms, false)?;
        Ok(self.reference(e.at, offset_ms, t))
    }

    /// The newest sample of each series, with its own time.
    fn select(&self, e: &VectorSelector, t: i64) -> Outcome<Vec<(Labels, i64, f64)>> {
        let t = self.looks_at(e, t)?;
        Ok(self.newest(&self.matching(&e.matchers)?, t))
    }

    fn newest(&self, series: &[&Series], t: i64) -> Vec<(Labels, i64, f64)> {
        let newest = |series: &&Series| {
            let (at, v) = *series.samples.iter().rev().find(|(at, _)| *at <= t)?;
            (at > t - self.lookback_ms && !is_stale_nan(v)).then(|| (series.labels.clone(), at, v))
        };
        series.iter().filter_map(newest).collect()
    }

    /// The point of each series on the line between the samples around `t`; the
    /// last one goes on.
    fn smoothed(&self, e: &VectorSelector, t: i64) -> Outcome<Vector> {
        let t = self.looks_at(e, t)?;
        let (from, to) = (t - self.lookback_ms, t + self.lookback_ms);
        let mut out = Vec::new();
        for series in self.matching(&e.matchers)? {
            let near = series.samples.iter().filter(|(at, v)| from < *at && *at <= to && !is_stale_nan(*v));
            let (before, after): (Vec<_>, Vec<_>) = near.copied().partition(|(at, _)| *at < t);
            let v = match (before.last(), after.first()) {
                (_, Some(&(at, v))) if at == t => v,
                (Some(&p), Some(&q)) => functions::on_the_line(p, q, t, false),
                (Some(&(_, v)), None) => v,
                (None, _) => continue,
            };
            out.push((series.labels.clone(), v));
        }
        Ok(out)
    }

    /// Every series' samples inside the window that ends at `t`.
    fn windows(&self, expr: &Expr, t: i64) -> Outcome<Vec<(Labels, Window)>> {
        match expr {
            Expr::Paren(e) => self.windows(&e.expr, t),
            Expr::MatrixSelector(e) => {
                let selector = &e.selector;
                let range_ms = self.duration(e.range_expr.as_deref(), e.range_ms, true)?;
                let end = self.looks_at(selector, t)?;
                let start = end - range_ms;
                let extended = match (selector.anchored, selector.smoothed) {
                    (true, _) => Some(functions::Ends::Anchored),
                    (_, true) => Some(functions::Ends::Smoothed),
                    _ => None,
                };
                let from = start - if extended.is_some() { self.lookback_ms } else { 0 };
                let to = end + if selector.smoothed { self.lookback_ms } else { 0 };
                let inside = |series: &Series| {
                    let all = series.samples.iter().copied();
                    all.filter(|&(at, v)| from < at && at <= to && !is_stale_nan(v)).collect::<Vec<_>>()
                };
                let found = self.matching(&selector.matchers)?;
                let window = |series: &Series| Window { samples: inside(series), start, end, t, extended };
                Ok(found.into_iter().map(|series| (series.labels.clone(), window(series))).collect())
            }
            Expr::Subquery(e) => self.subquery(e, t),
            _ => Err(Fault::Unknown),
        }
    }

    fn subquery(&self, e: &SubqueryExpr, t: i64) -> Outcome<Vec<(Labels, Window)>> {
        let offset_ms = self.duration(e.offset_expr.as_deref(), e.offset_ms, false)?;
        let range_ms = self.duration(e.range_expr.as_deref(), e.range_ms, true)?;
        let step_ms = self.duration(e.step_expr.as_deref(), e.step_ms, true)?;
        let end = self.reference(e.at, offset_ms, t);
        let start = end - range_ms;
        let step = if step_ms > 0 { step_ms } else { self.subquery_step_ms };
        let mut series: Vec<(Labels, Window)> = Vec::new();
        let mut at = (start.div_euclid(step) + 1) * step;
        while at <= end {
            for (labels, v) in self.vector(&e.expr, at)? {
                match series.iter_mut().find(|(have, _)| *have == labels) {
                    Some((_, window)) => window.samples.push((at, v)),
                    None => series
                        .push((labels, Window { samples: vec![(at, v)], start, end, t, extended: None })),
                }
            }
            at += step;
        }
        Ok(series)
    }

    fn binary(&self, e: &BinaryExpr, t: i64) -> Outcome<Val> {
        let (lhs, rhs) = (self.eval(&e.lhs, t)?, self.eval(&e.rhs, t)?);
        let matching = e.matching.clone().unwrap_or_default();
        Ok(match (lhs, rhs) {
            (Val::Scalar(l), Val::Scalar(r)) => Val::Scalar(match compare(e.op, l, r) {
                Some(holds) => f64::from(u8::from(holds)),
                None => arithmetic(e.op, l, r)?,
            }),
            (Val::Vector(v), Val::Scalar(s)) => Val::Vector(with_scalar(e, v, s, false)?),
            (Val::Scalar(s), Val::Vector(v)) => Val::Vector(with_scalar(e, v, s, true)?),
            (Val::Vector(l), Val::Vector(r)) if e.op.is_set() => Val::Vector(sets(e.op, &matching, l, r)?),
            (Val::Vector(l), Val::Vector(r)) => Val::Vector(join(e, &matching, l, r)?),
        })
    }

    fn aggregate(&self, e: &AggregateExpr, t: i64) -> Outcome<Vector> {
        let param = match (&e.param, e.op) {
            (Some(param), AggregateOp::CountValues) => match &**param {
                Expr::String(label) => return self.count_values(e, &label.value, t),
                _ => return Err(Fault::Unknown),
            },
            (Some(param), _) => self.scalar(param, t)?,
            (None, _) => f64::NAN,
        };
        let mut groups: BTreeMap<Labels, Vector> = BTreeMap::new();
        for (labels, v) in self.vector(&e.expr, t)? {
            groups.entry(group_key(e, &labels)).or_default().push((labels, v));
        }
        match e.op {
            AggregateOp::Topk | AggregateOp::Bottomk => {
                if param.is_nan() || param.abs() > 1e18 {
                    return Err(Fault::Unknown);
                }
                let mut out = Vec::new();
                for mut members in groups.into_values() {
                    let top = e.op == AggregateOp::Topk;
                    members.sort_by(|a, b| {
                        a.1.is_nan().cmp(&b.1.is_nan()).then_with(|| {
                            let order = a.1.partial_cmp(&b.1).unwrap_or(std::cmp::Ordering::Equal);
                            if top { order.reverse() } else { order }
                        })
                    });
                    let k = (param as i64).clamp(0, members.len() as i64) as usize;
                    let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
                    if k > 0 && k < members.len() && same(members[k - 1].1, members[k].1) {
                        return Err(Fault::Unknown);
                    }
                    out.extend(members.into_iter().take(k));
                }
                Ok(out)
            }
            AggregateOp::Limitk | AggregateOp::LimitRatio => Err(Fault::Unknown),
            _ => groups
                .into_iter()
                .map(|(key, members)| {
                    let values: Vec<f64> = members.into_iter().map(|(_, v)| v).collect();
                    Ok((key, fold(e.op, param, &values)?))
                })
                .collect(),
        }
    }

    fn count_values(&self, e: &AggregateExpr, label: &str, t: i64) -> Outcome<Vector> {
        let mut counts: BTreeMap<Labels, f64> = BTreeMap::new();
        for (labels, v) in self.vector(&e.expr, t)? {
            let mut with = labels.to_builder();
            with.set(label, &model::float::format_f(v));
            let labels = with.labels();
            let key = labels.filter(|name| {
                if e.without {
                    name != "__name__" && !e.grouping.iter().any(|g| g == name)
                } else {
                    name == label || e.grouping.iter().any(|g| g == name)
                }
            });
            *counts.entry(key).or_default() += 1.0;
        }
        Ok(counts.into_iter().collect())
    }

    fn call(&self, e: &CallExpr, t: i64) -> Outcome<Val> {
        let name = e.func.name;
        let scalar = |i: usize| self.scalar(&e.args[i], t);
        let vector = |i: usize| self.vector(&e.args[i], t);
        if let Some(at) = e.args.iter().position(|arg| arg.value_type() == ValueType::Matrix) {
            let mut params = Vec::new();
            for (i, _) in e.args.iter().enumerate().filter(|(i, _)| *i != at) {
                params.push(scalar(i)?);
            }
            let windows = self.windows(&e.args[at], t)?;
            if name == "absent_over_time" {
                let any = windows.iter().any(|(_, window)| !window.samples.is_empty());
                let labels = absent_labels(&e.args[at]);
                return Ok(Val::Vector(if any { Vec::new() } else { vec![(labels, 1.0)] }));
            }
            let mut out = Vec::new();
            for (labels, window) in windows {
                if let Some(v) = over_time(name, &window, &params)? {
                    let keeps = matches!(name, "first_over_time" | "last_over_time");
                    out.push((if keeps { labels } else { nameless(&labels) }, v));
                }
            }
            return Ok(Val::Vector(unique(out)?));
        }
        if let Some(f) = functions::of_number(name) {
            return Ok(Val::Vector(mapped(vector(0)?, f)?));
        }
        if let Some(f) = functions::of_time(name) {
            let v = if e.args.is_empty() {
                vec![(Labels::empty(), t.div_euclid(1000) as f64)]
            } else {
                vector(0)?
            };
            return Ok(Val::Vector(mapped(v, f)?));
        }
        Ok(match name {
            "time" => Val::Scalar(t as f64 / 1000.0),
            "pi" => Val::Scalar(std::f64::consts::PI),
            "start" => Val::Scalar(self.start_ms as f64 / 1000.0),
            "end" => Val::Scalar(self.end_ms as f64 / 1000.0),
            "range" => Val::Scalar((self.end_ms - self.start_ms) as f64 / 1000.0),
            "step" => {
                Val::Scalar(if self.start_ms == self.end_ms { 0.0 } else { self.step_ms as f64 / 1000.0 })
            }
            "min_of" | "max_of" => {
                let (a, b) = (scalar(0)?, scalar(1)?);
                let nan = a.is_nan() || b.is_nan();
                let infinity = if name == "min_of" { f64::NEG_INFINITY } else { f64::INFINITY };
                Val::Scalar(match name {
                    _ if a == infinity || b == infinity => infinity,
                    _ if nan => f64::NAN,
                    "min_of" => a.min(b),
                    _ => a.max(b),
                })
            }
            "scalar" => match vector(0)?.as_slice() {
                [(_, v)] => Val::Scalar(*v),
                _ => Val::Scalar(f64::NAN),
            },
            "vector" => Val::Vector(vec![(Labels::empty(), scalar(0)?)]),
            "round" => {
                let inverse = 1.0 / if e.args.len() > 1 { scalar(1)? } else { 1.0 };
                Val::Vector(mapped(vector(0)?, |v| (v * inverse + 0.5).floor() / inverse)?)
            }
            "clamp" | "clamp_min" | "clamp_max" => {
                let (low, high) = match name {
                    "clamp" => (scalar(1)?, scalar(2)?),
                    "clamp_min" => (scalar(1)?, f64::INFINITY),
                    _ => (f64::NEG_INFINITY, scalar(1)?),
                };
                let v = vector(0)?;
                if low > high {
                    return Ok(Val::Vector(Vec::new()));
                }
                let clamp = |v: f64| {
                    if v.is_nan() || low.is_nan() || high.is_nan() { f64::NAN } else { v.min(high).max(low) }
                };
                Val::Vector(mapped(v, clamp)?)
            }
            "timestamp" => Val::Vector(match &e.args[0] {
                Expr::VectorSelector(selector) if !selector.anchored => {
                    let found = self.select(selector, t)?.into_iter();
                    unique(found.map(|(l, at, _)| (nameless(&l), at as f64 / 1000.0)).collect())?
                }
                _ => mapped(vector(0)?, |_| t as f64 / 1000.0)?,
            }),
            "absent" => Val::Vector(if vector(0)?.is_empty() {
                vec![(absent_labels(&e.args[0]), 1.0)]
            } else {
                Vec::new()
            }),
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => Val::Vector(vector(0)?),
            "label_join" => Val::Vector(unique(self.label_join(e, vector(0)?)?)?),
            "label_replace" => Val::Vector(unique(self.label_replace(e, vector(0)?)?)?),
            "info" => Val::Vector(unique(self.info(e, t)?)?),
            "histogram_quantile" => {
                let q = scalar(0)?;
                Val::Vector(functions::classic(vector(1)?, |buckets| functions::bucket_quantile(q, buckets))?)
            }
            // Histograms and start timestamps have scripts and examples of their own.
            _ => return Err(Fault::Unknown),
        })
    }

    fn label_replace(&self, e: &CallExpr, v: Vector) -> Outcome<Vector> {
        let (dst, to, src, pattern) = (text(e, 1)?, text(e, 2)?, text(e, 3)?, text(e, 4)?);
        v.into_iter()
            .map(|(labels, v)| {
                let mut with = labels.to_builder();
                if let Some(value) = functions::replaced(labels.value_or_empty(&src), &pattern, &to)? {
                    if value.is_empty() {
                        with.del(&dst)
                    } else {
                        with.set(&dst, &value)
                    };
                }
                Ok((with.labels(), v))
            })
            .collect()
    }

    fn label_join(&self, e: &CallExpr, v: Vector) -> Outcome<Vector> {
        let text = |i: usize| text(e, i);
        let (dst, separator) = (text(1)?, text(2)?);
        let sources = (3..e.args.len()).map(text).collect::<Outcome<Vec<String>>>()?;
        Ok(v.into_iter()
            .map(|(labels, v)| {
                let parts: Vec<&str> = sources.iter().map(|src| labels.value_or_empty(src)).collect();
                let mut with = labels.to_builder();
                match parts.join(&separator).as_str() {
                    "" => with.del(&dst),
                    joined => with.set(&dst, joined),
                };
                (with.labels(), v)
            })
            .collect())
    }
}

/// Labels that tell one series from another of the same metric.
fn nameless(labels: &Labels) -> Labels {
    labels.filter(|name| !matches!(name, "__name__" | "__type__" | "__unit__"))
}

fn text(e: &CallExpr, i: usize) -> Outcome<String> {
    match &e.args[i] {
        Expr::String(text) => Ok(text.value.clone()),
        _ => Err(Fault::Unknown),
    }
}

fn mapped(v: Vector, f: impl Fn(f64) -> f64) -> Outcome<Vector> {
    unique(v.into_iter().map(|(labels, v)| (nameless(&labels), f(v))).collect())
}

fn absent_labels(arg: &Expr) -> Labels {
    let matchers = match arg {
        Expr::Paren(e) => return absent_labels(&e.expr),
        Expr::VectorSelector(e) => &e.matchers,
        Expr::MatrixSelector(e) => &e.selector.matchers,
        _ => return Labels::empty(),
    };
    use model::MatchOp::{Equal, NotEqual, NotRegex};
    let mut labels = model::LabelsBuilder::new();
    for m in matchers.iter().filter(|m| m.name() != "__name__") {
        let of_name = || matchers.iter().enumerate().filter(|(_, other)| other.name() == m.name());
        let first = of_name().find(|(_, other)| other.op() == Equal).map(|(at, _)| at);
        // Whatever follows the first `=` takes the label away, and what takes
        // series away does so from anywhere.
        let taken = of_name().any(|(at, other)| {
            let negative = matches!(other.op(), NotEqual | NotRegex) && other.matches_empty();
            negative || first.is_some_and(|first| at > first)
        });
        if m.op() == Equal && !taken && !m.value().is_empty() {
            labels.set(m.name(), m.value());
        }
    }
    labels.labels()
}

fn group_key(e: &AggregateExpr, labels: &Labels) -> Labels {
    let listed = |name: &str| e.grouping.iter().any(|g| g == name);
    labels.filter(|name| if e.without { name != "__name__" && !listed(name) } else { listed(name) })
}

fn fold(op: AggregateOp, param: f64, values: &[f64]) -> Outcome<f64> {
    let n = values.len() as f64;
    let window = || Window {
        samples: values.iter().map(|&v| (0, v)).collect(),
        start: 0,
        end: 0,
        t: 0,
        extended: None,
    };
    let over = |name| Ok(over_time(name, &window(), &[])?.unwrap_or(f64::NAN));
    match op {
        AggregateOp::Sum => over("sum_over_time"),
        AggregateOp::Avg => over("avg_over_time"),
        AggregateOp::Min => over("min_over_time"),
        AggregateOp::Max => over("max_over_time"),
        AggregateOp::Stddev => over("stddev_over_time"),
        AggregateOp::Stdvar => over("stdvar_over_time"),
        AggregateOp::Count => Ok(n),
        AggregateOp::Group => Ok(1.0),
        AggregateOp::Quantile => Ok(quantile(param, values)),
        _ => Err(Fault::Unknown),
    }
}

fn compare(op: BinaryOp, l: f64, r: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Eql => l == r,
        BinaryOp::Neq => l != r,
        BinaryOp::Lss => l < r,
        BinaryOp::Gtr => l > r,
        BinaryOp::Lte => l <= r,
        BinaryOp::Gte => l >= r,
        _ => return None,
    })
}

fn arithmetic(op: BinaryOp, l: f64, r: f64) -> Outcome<f64> {
    Ok(match op {
        BinaryOp::Add => l + r,
        BinaryOp::Sub => l - r,
        BinaryOp::Mul => l * r,
        BinaryOp::Div => l / r,
        BinaryOp::Mod => l % r,
        BinaryOp::Pow => l.powf(r),
        BinaryOp::Atan2 => l.atan2(r),
        _ => return Err(Fault::Unknown),
    })
}

fn with_scalar(e: &BinaryExpr, v: Vector, s: f64, swapped: bool) -> Outcome<Vector> {
    let mut out = Vec::new();
    for (labels, v) in v {
        let (l, r) = if swapped { (s, v) } else { (v, s) };
        match compare(e.op, l, r) {
            Some(holds) if e.return_bool => out.push((nameless(&labels), f64::from(u8::from(holds)))),
            Some(true) => out.push((labels, v)),
            Some(false) => {}
            // Trimming is for histograms: floats go.
            None if matches!(e.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) => {}
            None => out.push((nameless(&labels), arithmetic(e.op, l, r)?)),
        }
    }
    unique(out)
}

fn signature(matching: &VectorMatching, labels: &Labels) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|l| l == name);
    labels.filter(|name| if matching.on { listed(name) } else { name != "__name__" && !listed(name) })
}

fn sets(op: BinaryOp, matching: &VectorMatching, l: Vector, r: Vector) -> Outcome<Vector> {
    let keys =
        |side: &Vector| -> HashSet<Labels> { side.iter().map(|(l, _)| signature(matching, l)).collect() };
    let (left, right) = (keys(&l), keys(&r));
    let has = |keys: &HashSet<Labels>, labels: &Labels| keys.contains(&signature(matching, labels));
    match op {
        BinaryOp::And => Ok(l.into_iter().filter(|(labels, _)| has(&right, labels)).collect()),
        BinaryOp::Unless => Ok(l.into_iter().filter(|(labels, _)| !has(&right, labels)).collect()),
        _ => {
            let more: Vec<_> = r.into_iter().filter(|(labels, _)| !has(&left, labels)).collect();
            unique(l.into_iter().chain(more).collect())
        }
    }
}

fn join(e: &BinaryExpr, matching: &VectorMatching, l: Vector, r: Vector) -> Outcome<Vector> {
    // Left and right are those after `group_right` swapped the sides.
    let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
    let swapped = matching.card == Cardinality::OneToMany;
    let (mut many, one) = if swapped { (r, l) } else { (l, r) };
    let fills = fill_many.is_some() || fill_one.is_some();
    if (many.is_empty() && one.is_empty()) || ((many.is_empty() || one.is_empty()) && !fills) {
        return Ok(Vec::new());
    }
    let mut ones: BTreeMap<Labels, (Labels, f64)> = BTreeMap::new();
    for (labels, v) in one {
        if ones.insert(signature(matching, &labels), (labels, v)).is_some() {
            return Err(Fault::Query);
        }
    }
    let one_to_one = matching.card == Cardinality::OneToOne;
    if let Some(fill) = fill_many {
        let has: HashSet<Labels> = many.iter().map(|(labels, _)| signature(matching, labels)).collect();
        let lonely = ones.keys().filter(|key| !has.contains(*key)).map(|key| (key.clone(), fill));
        many.extend(lonely);
    }
    let mut seen: HashSet<(Labels, Labels)> = HashSet::new();
    let mut out = Vec::new();
    for (labels, m) in many {
        let key = signature(matching, &labels);
        let filled = fill_one.map(|fill| (key.clone(), fill));
        let Some((one_labels, o)) = ones.get(&key).or(filled.as_ref()) else { continue };
        let (left, right) = if swapped { (*o, m) } else { (m, *o) };
        let holds = compare(e.op, left, right);
        let value = match holds {
            Some(holds) if e.return_bool => f64::from(u8::from(holds)),
            Some(_) => left,
            None if matches!(e.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) => continue,
            None => arithmetic(e.op, left, right)?,
        };
        let listed = |name: &str| matching.labels.iter().any(|l| l == name);
        let mut named = labels.to_builder();
        if holds.is_none() || e.return_bool {
            for name in ["__name__", "__type__", "__unit__"] {
                named.del(name);
            }
        }
        if one_to_one {
            named.retain(|name| listed(name) == matching.on);
        }
        for name in &matching.include {
            match one_labels.value_or_empty(name) {
                "" => named.del(name),
                value => named.set(name, value),
            };
        }
        let named = named.labels();
        let slot = if one_to_one { Labels::empty() } else { named.clone() };
        if !seen.insert((key, slot)) {
            return Err(Fault::Query);
        }
        if holds != Some(false) || e.return_bool {
            out.push((named, value));
        }
    }
    unique(out)
}
