//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction`, over
//! classic and native histograms.
//!
//! The series of one classic histogram differ in `le` only. They form a unit,
//! together with the native histogram that has the same labels but no `le`; a
//! unit is evaluated at once, so only one is held at a time.
//!
//! A native histogram under a label `le` is one like any other, and keeps that label:
//! so every bucket may be a result. As hardly any is, rows for them are made only once
//! one was met, when the query is evaluated anew ([`NativesWithBounds`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::SymbolId;

use super::account::Account;
use super::batch::{Batch, Hist, Point};
use super::context::{EvalContext, Reservation};
use super::error::{QueryError, Result};
use super::labels::merged;
use super::node::{Node, Vectors, Worker, explain};
use super::repeat::held_again;
use super::rows::{HashMap, PAIRS_BYTES, Pair, Pairs, Rows, set_label, value_of};
use crate::annotations::{Annotation, Annotations, ForcedMonotonicity, Place};
use crate::functions::histogram as hist;
use crate::stats::ExplainNode;

/// What is asked of each histogram.
pub(crate) enum Ask {
    /// The quantile φ, by step.
    Quantile { q: Vec<f64>, pos: Place },
    /// Several quantiles, each by step, told apart by a label.
    Quantiles { label: String, qs: Vec<(Vec<f64>, Place)> },
    /// The share of observations between two values, by step.
    Fraction { lower: Vec<f64>, upper: Vec<f64> },
}

/// The series of one histogram.
#[derive(Default)]
struct Unit {
    /// Rows with a bound.
    buckets: Vec<(u32, f64)>,
    /// Rows with a malformed bound.
    malformed: Vec<u32>,
    /// The row without `le`.
    native: Option<u32>,
}

impl Unit {
    /// Its rows of the input: buckets, malformed ones, the native one.
    fn inputs(&self) -> impl Iterator<Item = u32> {
        let buckets = self.buckets.iter().map(|&(row, _)| row);
        buckets.chain(self.malformed.iter().copied()).chain(self.native)
    }
}

/// Whether native histograms under a label `le` get rows, and whether some were met.
#[derive(Default)]
pub(crate) struct NativesWithBounds {
    /// They get rows.
    pub(crate) expected: bool,
    /// There are some.
    pub(crate) met: AtomicBool,
}

/// Which result a row holds.
#[derive(Clone, Copy, PartialEq)]
struct Output {
    unit: u32,
    /// Which of the unit's inputs is the native histogram; `None`: the classic one.
    native: Option<u32>,
    /// Index of the quantile's label, for [`Ask::Quantiles`].
    label: u32,
}

struct Histograms {
    ctx: EvalContext,
    input: Vectors,
    ask: Ask,
    pos: Place,
    units: Vec<Unit>,
    outputs: Vec<Output>,
    /// For each parameter and step the label of its quantile.
    labels: Vec<Vec<u32>>,
    /// `le`.
    bound_label: SymbolId,
    /// What units and outputs take.
    _memory: Reservation,
}

/// Applies a histogram function; `pos` is where the vector argument stands.
pub(crate) fn vectors(
    ctx: &EvalContext,
    input: Vectors,
    ask: Ask,
    pos: Place,
    account: Arc<Account>,
) -> Result<Vectors> {
    let query = &ctx.query;
    let mut memory = Reservation::new(&ctx.query, 0)?;
    let (units, keys) = units(ctx, &input.rows, &mut memory)?;
    let units_bytes = memory.bytes();
    quantile_remarks(ctx, &ask);
    let mut label_texts = vec![String::new()];
    let mut labels = Vec::new();
    let mut quantile_label = None;
    if let Ask::Quantiles { label, qs } = &ask {
        quantile_label = Some(query.dictionary.intern(label));
        label_texts.clear();
        // The same quantile twice is an error; an instant query that drops names
        // late finds that at its end.
        let apart = query.delayed_name_removal && ctx.instant;
        for (q, _) in qs {
            let mut of_steps = Vec::with_capacity(q.len());
            for &q in q {
                let text = model::float::format_open_metrics(q);
                let known = label_texts.iter().position(|have| *have == text).filter(|_| !apart);
                let at = known.unwrap_or_else(|| {
                    label_texts.push(text);
                    label_texts.len() - 1
                });
                of_steps.push(at as u32);
            }
            labels.push(of_steps);
        }
    }
    let mut outputs = Vec::new();
    let mut rows = Rows::default();
    for (u, (unit, key)) in units.iter().zip(&keys).enumerate() {
        for (l, text) in label_texts.iter().enumerate() {
            let mut push = |native: Option<u32>, mut row: Pairs| {
                if let Some(name) = quantile_label {
                    set_label(&mut row, &query.dictionary, name, query.dictionary.intern(text));
                }
                outputs.push(Output { unit: u as u32, native, label: l as u32 });
                rows.push(row, true);
                memory.follow(rows.len(), || {
                    units_bytes + rows.heap_bytes() + (outputs.capacity() * size_of::<Output>()) as u64
                })
            };
            let keep = |name| query.delayed_name_removal || !query.names.is_metadata(name);
            let kept = |row: &[Pair]| row.iter().copied().filter(|(name, _)| keep(*name)).collect();
            if !unit.buckets.is_empty() || !unit.malformed.is_empty() {
                push(None, kept(key))?;
            }
            for (at, input_row) in unit.inputs().enumerate() {
                if unit.native == Some(input_row) || query.natives_with_bounds.expected {
                    push(Some(at as u32), kept(input.rows.row(input_row as usize)))?;
                }
            }
        }
    }
    // What an instant query shows: quantile by quantile, native histograms first,
    // in the order of the series.
    let place = |output: &Output| {
        let unit = &units[output.unit as usize];
        let native = output.native.and_then(|at| unit.inputs().nth(at as usize));
        (output.label, native.is_none(), native.unwrap_or(output.unit))
    };
    let mut shown: Vec<u32> = (0..outputs.len() as u32).collect();
    if ctx.steps.count == 1 {
        shown.sort_by_cached_key(|&row| place(&outputs[row as usize]));
    }
    let bound_label = query.dictionary.intern(model::labels::BUCKET_LABEL);
    // The keys are gone, and the rows are reserved anew.
    drop((keys, memory));
    let outputs_bytes = (outputs.capacity() * size_of::<Output>()) as u64;
    let memory = Reservation::new(query, units_bytes + outputs_bytes)?;
    let node = Histograms {
        ctx: ctx.clone(),
        input,
        ask,
        pos,
        units,
        outputs,
        labels,
        bound_label,
        _memory: memory,
    };
    let vectors = Vectors::new(ctx, rows, node, account)?;
    let vectors = if shown.is_sorted() { vectors } else { in_order(ctx, vectors, &shown)? };
    merged(ctx, vectors)
}

/// The same rows in another order; they are evaluated unit by unit and held.
fn in_order(ctx: &EvalContext, vectors: Vectors, order: &[u32]) -> Result<Vectors> {
    let mut memory = Reservation::new(&ctx.query, 0)?;
    let all = vectors.collect(&mut memory)?;
    let (mut rows, mut batch) = (Rows::default(), Batch::default());
    memory.grow_to(memory.bytes() * 2)?;
    batch.reset(order.len(), ctx.steps.count);
    for (to, &from) in order.iter().enumerate() {
        let from = from as usize;
        rows.push(vectors.rows.row(from).iter().copied(), vectors.rows.drop_name[from]);
        batch.copy_row(to, &all, from);
    }
    let (explained, account) = (vectors.explain(), vectors.account());
    drop((vectors, all, memory));
    held_again(ctx, rows, batch, explained, account)
}

/// Sorts rows into units; the key of a unit is its labels without `le`.
/// `memory` is what they take.
fn units(ctx: &EvalContext, rows: &Rows, memory: &mut Reservation) -> Result<(Vec<Unit>, Vec<Pairs>)> {
    let dictionary = &ctx.query.dictionary;
    let le = dictionary.intern(model::labels::BUCKET_LABEL);
    let reader = dictionary.read();
    let mut bounds: HashMap<SymbolId, Option<f64>> = HashMap::default();
    let mut ids: HashMap<Pairs, u32> = HashMap::default();
    let mut units: Vec<Unit> = Vec::new();
    let mut keys = Vec::new();
    for i in 0..rows.len() {
        let row = rows.row(i);
        let key: Pairs = row.iter().copied().filter(|(name, _)| *name != le).collect();
        let unit = match ids.get(&key) {
            Some(&id) => id as usize,
            None => {
                ids.insert(key.clone(), units.len() as u32);
                keys.push(key);
                units.push(Unit::default());
                units.len() - 1
            }
        };
        let value = value_of(row, le);
        let bound = *bounds.entry(value).or_insert_with(|| model::float::parse(reader.text(value)).ok());
        let unit = &mut units[unit];
        match bound {
            Some(bound) => unit.buckets.push((i as u32, bound)),
            None if value == SymbolId::EMPTY => unit.native = Some(i as u32),
            None => unit.malformed.push(i as u32),
        }
        memory.follow(i, || {
            let entries = ids.capacity() * (PAIRS_BYTES + 8) + keys.capacity() * PAIRS_BYTES;
            (entries + units.capacity() * size_of::<Unit>() + i * 16) as u64
        })?;
    }
    Ok((units, keys))
}

fn quantile_remarks(ctx: &EvalContext, ask: &Ask) {
    let mut annotations = Annotations::default();
    let mut check = |qs: &[f64], pos| {
        for &q in qs.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            annotations.add(Annotation::invalid_quantile(q, pos));
        }
    };
    match ask {
        Ask::Quantile { q, pos } => check(q, *pos),
        Ask::Quantiles { qs, .. } => qs.iter().for_each(|(q, pos)| check(q, *pos)),
        Ask::Fraction { .. } => {}
    }
    ctx.annotate(annotations);
}

impl Node for Histograms {
    fn eval(&self, rows: &[u32], worker: &mut Worker, out: &mut Batch) -> Result<()> {
        let steps = self.ctx.steps.count;
        let mut batch = worker.take_batch(0, steps);
        let mut loaded: Option<u32> = None;
        let mut result = Ok(());
        for (i, &row) in rows.iter().enumerate() {
            let output = self.outputs[row as usize];
            let unit = &self.units[output.unit as usize];
            if result.is_err() {
                break;
            }
            if loaded != Some(output.unit) {
                let inputs: Vec<u32> = unit.inputs().collect();
                result = self.input.eval(&inputs, worker, &mut batch);
                if result.is_err() {
                    break;
                }
                loaded = Some(output.unit);
            }
            for step in 0..steps {
                match self.at_step(unit, output, &batch, step, &mut worker.annotations) {
                    Ok(Some(v)) => out.set_float(i * steps + step, v),
                    Ok(None) => {}
                    Err(error) => result = Err(error),
                }
            }
        }
        worker.put_batch(batch);
        result
    }

    fn explain(&self) -> ExplainNode {
        let name = match self.ask {
            Ask::Quantile { .. } => "histogram_quantile",
            Ask::Quantiles { .. } => "histogram_quantiles",
            Ask::Fraction { .. } => "histogram_fraction",
        };
        explain(name, "", vec![self.input.explain()])
    }
}

impl Histograms {
    /// The name that remarks on histograms show: only where names are dropped late.
    fn remark_name(&self, row: u32) -> String {
        if !self.ctx.query.delayed_name_removal {
            return String::new();
        }
        self.ctx.query.dictionary.labels(self.input.rows.row(row as usize)).metric_name().to_owned()
    }

    /// One output of a unit at one step. The unit's rows stand in `batch` as
    /// buckets, malformed ones, native.
    fn at_step(
        &self,
        unit: &Unit,
        output: Output,
        batch: &Batch,
        step: usize,
        annotations: &mut Annotations,
    ) -> Result<Option<f64>> {
        let steps = self.ctx.steps.count;
        let at = |row: usize| batch.get(row * steps + step);
        let histogram = |row: usize| match at(row) {
            Some(Point::Hist(h)) => Some(h),
            _ => None,
        };
        let native_at = unit.buckets.len() + unit.malformed.len();
        let mut met = false;
        let mut buckets: Vec<hist::ClassicBucket> = Vec::new();
        for (i, &(_, upper_bound)) in unit.buckets.iter().enumerate() {
            match at(i) {
                Some(Point::Float(count)) => buckets.push(hist::ClassicBucket { upper_bound, count }),
                Some(Point::Hist(_)) => met = true,
                None => {}
            }
        }
        let malformed = unit.malformed.iter().chain(&unit.native);
        for (i, &row) in (unit.buckets.len()..).zip(malformed) {
            match at(i) {
                Some(Point::Float(_)) => {
                    let reader = self.ctx.query.dictionary.read();
                    let labels = self.input.rows.row(row as usize);
                    let value = reader.text(value_of(labels, self.bound_label)).to_owned();
                    drop(reader);
                    annotations.add(Annotation::bad_bucket_label(&self.remark_name(row), &value, self.pos));
                }
                Some(Point::Hist(_)) => met |= i < native_at,
                None => {}
            }
        }
        if met {
            self.ctx.query.natives_with_bounds.met.store(true, Ordering::Relaxed);
        }
        if let Some(row) = unit.native.filter(|_| histogram(native_at).is_some())
            && !buckets.is_empty()
            && output.native.is_none_or(|at| at as usize == native_at)
        {
            annotations.add(Annotation::mixed_classic_native(&self.remark_name(row), self.pos));
            return Ok(None);
        }
        if let Some(native) = output.native {
            let (Some(h), Some(row)) = (histogram(native as usize), unit.inputs().nth(native as usize))
            else {
                return Ok(None);
            };
            return self.native(row, h, output, step, annotations);
        }
        if buckets.is_empty() {
            return Ok(None);
        }
        let name = || unit.buckets.first().map_or_else(String::new, |&(row, _)| self.remark_name(row));
        self.classic(&name, buckets, output, step, annotations)
    }

    fn native(
        &self,
        row: u32,
        h: &Hist,
        output: Output,
        step: usize,
        annotations: &mut Annotations,
    ) -> Result<Option<f64>> {
        let name = || self.remark_name(row);
        if let Ask::Fraction { lower, upper } = &self.ask {
            let (fraction, has_nan) = hist::fraction(lower[step], upper[step], h);
            if has_nan {
                annotations.add(Annotation::fraction_nans(&name(), self.pos));
            }
            return Ok(Some(fraction));
        }
        let Some(q) = self.quantile(output, step)? else { return Ok(None) };
        let (value, remark) = hist::quantile(q, h);
        match remark {
            Some(hist::NanRemark::Result) => {
                annotations.add(Annotation::quantile_nan_result(&name(), self.pos));
            }
            Some(hist::NanRemark::Skew) => {
                annotations.add(Annotation::quantile_nan_skew(&name(), self.pos));
            }
            None => {}
        }
        Ok(Some(value))
    }

    fn classic(
        &self,
        name: &dyn Fn() -> String,
        mut buckets: Vec<hist::ClassicBucket>,
        output: Output,
        step: usize,
        annotations: &mut Annotations,
    ) -> Result<Option<f64>> {
        if let Ask::Fraction { lower, upper } = &self.ask {
            return Ok(Some(hist::bucket_fraction(lower[step], upper[step], &mut buckets)));
        }
        let Some(q) = self.quantile(output, step)? else { return Ok(None) };
        let found = hist::bucket_quantile(q, &mut buckets);
        if let Some(forced) = found.forced {
            let at = ForcedMonotonicity {
                at_ms: self.ctx.steps.at(step),
                min_bucket: forced.min_bucket,
                max_bucket: forced.max_bucket,
                max_diff: forced.max_diff,
            };
            annotations.add(Annotation::forced_monotonicity(&name(), self.pos, at));
        }
        Ok(Some(found.value))
    }

    /// The quantile that an output shows at a step, `None` where none has its label.
    fn quantile(&self, output: Output, step: usize) -> Result<Option<f64>> {
        match &self.ask {
            Ask::Quantile { q, .. } => Ok(Some(q[step])),
            Ask::Fraction { .. } => Ok(None),
            Ask::Quantiles { qs, .. } => {
                let mut found = None;
                for (labels, (q, _)) in self.labels.iter().zip(qs) {
                    if labels[step] == output.label && found.replace(q[step]).is_some() {
                        return Err(QueryError::same_labelset());
                    }
                }
                Ok(found)
            }
        }
    }
}
