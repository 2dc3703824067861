//! An evaluator that is as plain as can be: it walks the syntax tree at one time
//! after the other, with maps of labels and lists of samples, and computes every
//! window from scratch.

mod functions;
mod histograms;
mod info;
mod operators;

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use model::{Labels, Matcher, elementary};
use promql::Expr;
use promql::ast::{
    AggregateExpr, AggregateOp, AtModifier, BinaryExpr, CallExpr, DurationOp, SubqueryExpr, ValueType,
    VectorSelector,
};

use functions::{Window, over_time, quantile};
pub use histograms::Hist;
use operators::{arithmetic, compare, join, sets, with_scalar};

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

/// A float or a histogram.
#[derive(Clone, Debug)]
pub enum Point {
    Float(f64),
    Hist(Rc<Hist>),
}

/// A vector, in the order in which it was made.
pub type Vector = Vec<(Labels, Point)>;

/// What was measured at a time.
#[derive(Clone, Debug)]
pub struct Sample {
    pub t: i64,
    /// When it began to count; 0 where that is not known.
    pub start: i64,
    /// `None` for a staleness marker.
    pub value: Option<Point>,
}

/// A series as stored.
pub struct Series {
    pub labels: Labels,
    pub samples: Vec<Sample>,
}

/// The newest sample of a series.
pub struct Found {
    pub t: i64,
    pub start: i64,
    pub point: Point,
}

pub struct Naive<'a> {
    pub data: &'a [Series],
    pub start_ms: i64,
    pub end_ms: i64,
    pub step_ms: i64,
    pub lookback_ms: i64,
    pub subquery_step_ms: i64,
    /// Whether rates look at when samples began to count.
    pub starts: bool,
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
                (Val::Vector(v), true) => Val::Vector(unique(
                    v.into_iter()
                        .map(|(labels, point)| {
                            let negated = match point {
                                Point::Float(v) => Point::Float(-v),
                                Point::Hist(h) => Point::Hist(Rc::new(h.scaled(-1.0))),
                            };
                            (nameless(&labels), negated)
                        })
                        .collect(),
                )?),
            },
            Expr::Binary(e) => self.binary(e, t)?,
            Expr::Aggregate(e) => Val::Vector(self.aggregate(e, t)?),
            Expr::Call(e) => self.call(e, t)?,
            Expr::VectorSelector(e) if e.anchored => return Err(Fault::Unknown),
            Expr::VectorSelector(e) if e.smoothed => Val::Vector(self.smoothed(e, t)?),
            Expr::VectorSelector(e) => {
                Val::Vector(self.select(e, t)?.into_iter().map(|(l, found)| (l, found.point)).collect())
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
            DurationOp::Pow => elementary::pow(l, r),
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

    fn matching(&self, matchers: &[Matcher]) -> Vec<&Series> {
        let matches =
            |series: &&Series| matchers.iter().all(|m| m.matches(series.labels.value_or_empty(m.name())));
        self.data.iter().filter(matches).collect()
    }

    /// The time that a selector looks at.
    fn looks_at(&self, e: &VectorSelector, t: i64) -> Outcome<i64> {
        let offset_ms = self.duration(e.offset_expr.as_deref(), e.offset_ms, false)?;
        Ok(self.reference(e.at, offset_ms, t))
    }

    /// The newest sample of each series, with its own time.
    fn select(&self, e: &VectorSelector, t: i64) -> Outcome<Vec<(Labels, Found)>> {
        let t = self.looks_at(e, t)?;
        Ok(self.newest(&self.matching(&e.matchers), t))
    }

    fn newest(&self, series: &[&Series], t: i64) -> Vec<(Labels, Found)> {
        let newest = |series: &&Series| {
            let sample = series.samples.iter().rev().find(|sample| sample.t <= t)?;
            let point = sample.value.clone().filter(|_| sample.t > t - self.lookback_ms)?;
            Some((series.labels.clone(), Found { t: sample.t, start: sample.start, point }))
        };
        series.iter().filter_map(newest).collect()
    }

    /// The point of each series on the line between the samples around `t`; the
    /// last one goes on.
    fn smoothed(&self, e: &VectorSelector, t: i64) -> Outcome<Vector> {
        let t = self.looks_at(e, t)?;
        let (from, to) = (t - self.lookback_ms, t + self.lookback_ms);
        let mut out = Vec::new();
        for series in self.matching(&e.matchers) {
            let mut near = Vec::new();
            for sample in series.samples.iter().filter(|sample| from < sample.t && sample.t <= to) {
                match sample.value {
                    Some(Point::Float(v)) => near.push((sample.t, v)),
                    Some(Point::Hist(_)) => return Err(Fault::Unknown),
                    None => {}
                }
            }
            let (before, after): (Vec<_>, Vec<_>) = near.into_iter().partition(|(at, _)| *at < t);
            let v = match (before.last(), after.first()) {
                (_, Some(&(at, v))) if at == t => v,
                (Some(&p), Some(&q)) => functions::on_the_line(p, q, t, false),
                (Some(&(_, v)), None) => v,
                (None, _) => continue,
            };
            out.push((series.labels.clone(), Point::Float(v)));
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
                let window = |series: &Series| {
                    let mut window = Window { start, end, t, extended, ..Window::default() };
                    for sample in series.samples.iter().filter(|sample| from < sample.t && sample.t <= to) {
                        window.add(
                            sample.t,
                            if self.starts { sample.start } else { 0 },
                            sample.value.clone(),
                        );
                    }
                    window
                };
                let found = self.matching(&selector.matchers);
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
            for (labels, point) in self.vector(&e.expr, at)? {
                let place = series.iter().position(|(have, _)| *have == labels).unwrap_or_else(|| {
                    series.push((labels, Window { start, end, t, ..Window::default() }));
                    series.len() - 1
                });
                series[place].1.add(at, 0, Some(point));
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
            // An expression without a step is evaluated with the first step's parameter.
            (Some(param), _)
                if !matches!(**param, Expr::Number(_))
                    && ["@", "vector("].iter().any(|part| e.expr.to_string().contains(part)) =>
            {
                return Err(Fault::Unknown);
            }
            (Some(param), _) => self.scalar(param, t)?,
            (None, _) => f64::NAN,
        };
        let mut groups: BTreeMap<Labels, Vec<(Labels, f64)>> = BTreeMap::new();
        let mut hists: BTreeMap<Labels, Vec<Rc<Hist>>> = BTreeMap::new();
        for (labels, point) in self.vector(&e.expr, t)? {
            let key = group_key(e, &labels);
            match point {
                Point::Float(v) => groups.entry(key).or_default().push((labels, v)),
                Point::Hist(h) => hists.entry(key).or_default().push(h),
            }
        }
        match e.op {
            AggregateOp::Count | AggregateOp::Group => {
                for (key, members) in hists {
                    let floats = groups.entry(key.clone()).or_default();
                    floats.extend(members.iter().map(|_| (key.clone(), 0.0)));
                }
            }
            AggregateOp::Sum | AggregateOp::Avg => {
                // Floats and histograms do not mix.
                let mixed: Vec<Labels> =
                    hists.keys().filter(|key| groups.contains_key(*key)).cloned().collect();
                for key in mixed {
                    hists.remove(&key);
                    groups.remove(&key);
                }
                let mut out = Vec::new();
                for (key, members) in hists {
                    if let Some(sum) = histograms::total(&members) {
                        let parts = if e.op == AggregateOp::Avg { members.len() as f64 } else { 1.0 };
                        out.push((key, Point::Hist(Rc::new(sum.scaled(1.0 / parts)))));
                    }
                }
                for (key, members) in groups {
                    let values: Vec<f64> = members.into_iter().map(|(_, v)| v).collect();
                    out.push((key, Point::Float(fold(e.op, param, &values)?)));
                }
                return Ok(out);
            }
            _ => {}
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
                    out.extend(members.into_iter().take(k).map(|(labels, v)| (labels, Point::Float(v))));
                }
                Ok(out)
            }
            AggregateOp::Limitk | AggregateOp::LimitRatio => Err(Fault::Unknown),
            _ => groups
                .into_iter()
                .map(|(key, members)| {
                    let values: Vec<f64> = members.into_iter().map(|(_, v)| v).collect();
                    Ok((key, Point::Float(fold(e.op, param, &values)?)))
                })
                .collect(),
        }
    }

    fn count_values(&self, e: &AggregateExpr, label: &str, t: i64) -> Outcome<Vector> {
        let mut counts: BTreeMap<Labels, f64> = BTreeMap::new();
        for (labels, point) in self.vector(&e.expr, t)? {
            // How a histogram reads is not this evaluator's business.
            let Point::Float(v) = point else { return Err(Fault::Unknown) };
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
        Ok(counts.into_iter().map(|(labels, count)| (labels, Point::Float(count))).collect())
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
                let any = windows.iter().any(|(_, window)| !window.is_empty());
                let labels = absent_labels(&e.args[at]);
                return Ok(Val::Vector(if any { Vec::new() } else { vec![(labels, Point::Float(1.0))] }));
            }
            let mut out = Vec::new();
            for (labels, window) in windows {
                if let Some(v) = functions::of_window(name, &window, &params)? {
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
                vec![(Labels::empty(), Point::Float(t.div_euclid(1000) as f64))]
            } else {
                vector(0)?
            };
            // What is no date is one by a processor's conversion of floats.
            let dates = v.iter().filter_map(|(_, point)| float(point.clone()));
            if !dates.into_iter().all(|v| v.abs() < 1e11) {
                return Err(Fault::Unknown);
            }
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
                Val::Scalar(if name == "min_of" { functions::least(a, b) } else { functions::greatest(a, b) })
            }
            "scalar" => {
                let floats: Vec<f64> = vector(0)?.into_iter().filter_map(|(_, point)| float(point)).collect();
                Val::Scalar(if let [v] = floats[..] { v } else { f64::NAN })
            }
            "vector" => Val::Vector(vec![(Labels::empty(), Point::Float(scalar(0)?))]),
            "round" => {
                let inverse = 1.0 / if e.args.len() > 1 { scalar(1)? } else { 1.0 };
                Val::Vector(mapped(vector(0)?, |v| (v * inverse + 0.5).floor() / inverse)?)
            }
            "clamp" | "clamp_min" | "clamp_max" => {
                let (low, high) = match name {
                    "clamp" => (Some(scalar(1)?), Some(scalar(2)?)),
                    "clamp_min" => (Some(scalar(1)?), None),
                    _ => (None, Some(scalar(1)?)),
                };
                let v = vector(0)?;
                if low.zip(high).is_some_and(|(low, high)| low > high) {
                    return Ok(Val::Vector(Vec::new()));
                }
                Val::Vector(mapped(v, |v| {
                    let v = high.map_or(v, |high| functions::least(high, v));
                    low.map_or(v, |low| functions::greatest(low, v))
                })?)
            }
            "timestamp" => Val::Vector(match without_parens(&e.args[0]) {
                Expr::VectorSelector(selector) if !selector.anchored => {
                    let found = self.select(selector, t)?.into_iter();
                    let time = |t: i64| Point::Float(t as f64 / 1000.0);
                    unique(found.map(|(l, found)| (nameless(&l), time(found.t))).collect())?
                }
                _ => {
                    let time = || Point::Float(t as f64 / 1000.0);
                    unique(vector(0)?.into_iter().map(|(l, _)| (nameless(&l), time())).collect())?
                }
            }),
            "start_timestamp" => Val::Vector(match without_parens(&e.args[0]) {
                Expr::VectorSelector(selector) if selector.anchored => return Err(Fault::Unknown),
                Expr::VectorSelector(selector) if self.starts => {
                    let found = self.select(selector, t)?.into_iter();
                    let start = |start: i64| Point::Float(start as f64 / 1000.0);
                    unique(found.map(|(l, found)| (nameless(&l), start(found.start))).collect())?
                }
                _ => {
                    vector(0)?;
                    Vec::new()
                }
            }),
            "absent" => Val::Vector(if vector(0)?.is_empty() {
                vec![(absent_labels(&e.args[0]), Point::Float(1.0))]
            } else {
                Vec::new()
            }),
            "sort" | "sort_desc" => {
                let floats = |point: &Point| matches!(point, Point::Float(_));
                Val::Vector(vector(0)?.into_iter().filter(|(_, point)| floats(point)).collect())
            }
            "sort_by_label" | "sort_by_label_desc" => Val::Vector(vector(0)?),
            "histogram_count" => histograms_of(vector(0)?, |h| h.count)?,
            "histogram_sum" => histograms_of(vector(0)?, |h| h.sum)?,
            "histogram_avg" => histograms_of(vector(0)?, |h| h.sum / h.count)?,
            "histogram_stdvar" => histograms_of(vector(0)?, Hist::variance)?,
            "histogram_stddev" => histograms_of(vector(0)?, |h| h.variance().sqrt())?,
            "label_join" => Val::Vector(unique(self.label_join(e, vector(0)?)?)?),
            "label_replace" => Val::Vector(unique(self.label_replace(e, vector(0)?)?)?),
            "info" => Val::Vector(unique(self.info(e, t)?)?),
            "histogram_quantile" => {
                let q = scalar(0)?;
                Val::Vector(functions::of_histograms(
                    vector(1)?,
                    |h| h.quantile(q),
                    |buckets| Ok(functions::bucket_quantile(q, buckets)),
                )?)
            }
            "histogram_fraction" => {
                let (lower, upper) = (scalar(0)?, scalar(1)?);
                Val::Vector(functions::of_histograms(
                    vector(2)?,
                    |h| Ok(h.fraction(lower, upper)),
                    |_| Err(Fault::Unknown),
                )?)
            }
            "histogram_quantiles" => {
                let label = text(e, 1)?;
                let mut out = Vec::new();
                for i in 2..e.args.len() {
                    let q = scalar(i)?;
                    let of_q = functions::of_histograms(
                        vector(0)?,
                        |h| h.quantile(q),
                        |buckets| Ok(functions::bucket_quantile(q, buckets)),
                    )?;
                    out.extend(of_q.into_iter().map(|(labels, v)| {
                        let mut with = labels.to_builder();
                        with.set(&label, &model::float::format_open_metrics(q));
                        (with.labels(), v)
                    }));
                }
                Val::Vector(unique(out)?)
            }
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

fn float(point: Point) -> Option<f64> {
    match point {
        Point::Float(v) => Some(v),
        Point::Hist(_) => None,
    }
}

/// A function of floats; histograms go.
fn mapped(v: Vector, f: impl Fn(f64) -> f64) -> Outcome<Vector> {
    let mapped = |(labels, point)| Some((nameless(&labels), Point::Float(f(float(point)?))));
    unique(v.into_iter().filter_map(mapped).collect())
}

/// A function of histograms; floats go.
fn histograms_of(v: Vector, f: impl Fn(&Hist) -> f64) -> Outcome<Val> {
    let mapped = |(labels, point): (Labels, Point)| match point {
        Point::Hist(h) => Some((nameless(&labels), Point::Float(f(&h)))),
        Point::Float(_) => None,
    };
    Ok(Val::Vector(unique(v.into_iter().filter_map(mapped).collect())?))
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

fn without_parens(mut e: &Expr) -> &Expr {
    while let Expr::Paren(inner) = e {
        e = &inner.expr;
    }
    e
}

fn group_key(e: &AggregateExpr, labels: &Labels) -> Labels {
    let listed = |name: &str| e.grouping.iter().any(|g| g == name);
    labels.filter(|name| if e.without { name != "__name__" && !listed(name) } else { listed(name) })
}

fn fold(op: AggregateOp, param: f64, values: &[f64]) -> Outcome<f64> {
    let n = values.len() as f64;
    let window = || Window { samples: values.iter().map(|&v| (0, v)).collect(), ..Window::default() };
    let over = |name| Ok(over_time(name, &window(), &[])?.unwrap_or(f64::NAN));
    match op {
        AggregateOp::Sum => over("sum_over_time"),
        AggregateOp::Avg => over("avg_over_time"),
        AggregateOp::Min => over("min_over_time"),
        AggregateOp::Max => over("max_over_time"),
        AggregateOp::Stddev | AggregateOp::Stdvar => {
            let name = if op == AggregateOp::Stddev { "stddev_over_time" } else { "stdvar_over_time" };
            let spread = over(name)?;
            // Of values that lie close together far from zero little but rounding is left.
            let far = values.iter().any(|v| v.is_finite() && v.abs() > spread * 1e5);
            if far && spread != 0.0 { Err(Fault::Unknown) } else { Ok(spread) }
        }
        AggregateOp::Count => Ok(n),
        AggregateOp::Group => Ok(1.0),
        AggregateOp::Quantile => Ok(quantile(param, values)),
        _ => Err(Fault::Unknown),
    }
}
