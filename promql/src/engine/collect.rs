//! The last stage: from operators to the query's value.

use std::sync::Arc;

use model::LabelTable;

use super::account::Account;
use super::batch::{Batch, Point};
use super::context::{EvalContext, Reservation};
use super::error::Result;
use super::node::{Vectors, explain};
use super::range;
use super::rows::{Rows, compare_rows};
use super::{Watch, build, labels, scalar};
use crate::ast::ValueType;
use crate::plan::{Kind, Plan};
use crate::stats::ExplainNode;
use crate::value::{LabelRows, Matrix, SampleValue, Series, Value, Vector};

/// A value and what it took.
pub(crate) struct Collected {
    pub(crate) value: Value,
    pub(crate) explain: ExplainNode,
    /// Seconds spent on sorting.
    pub(crate) sort: f64,
    /// What the value holds; `None` where that is next to nothing.
    pub(crate) memory: Option<Reservation>,
    /// Samples that upstream would have held; `None` where there are none.
    pub(crate) account: Option<Arc<Account>>,
}

/// Evaluates a plan.
pub(crate) fn value(ctx: &EvalContext, plan: &Plan, instant: bool, watch: &Watch) -> Result<Collected> {
    let timestamp_ms = ctx.steps.start_ms;
    let done = |value, explain, account| Ok(Collected { value, explain, sort: 0.0, memory: None, account });
    let aside = || std::mem::take(&mut *ctx.query.aside.lock());
    match plan.value_type {
        ValueType::String => {
            let value = text(plan);
            done(Value::String { timestamp_ms, value }, explain("string", "", Vec::new()), None)
        }
        ValueType::Scalar if instant => {
            let scalar::Column { values, account } = scalar::column(ctx, plan)?;
            let value = values.first().copied().unwrap_or(f64::NAN);
            done(Value::Scalar { timestamp_ms, value }, explain("scalar", "", aside()), Some(account))
        }
        ValueType::Matrix => range_vector(ctx, plan, watch),
        ValueType::Scalar | ValueType::Vector => {
            let vectors = finished(ctx, build::vectors(ctx, plan)?)?;
            if instant { vector(ctx, vectors) } else { matrix(ctx, vectors, watch) }
        }
    }
}

fn text(plan: &Plan) -> String {
    match &plan.kind {
        Kind::String(text) => text.value.clone(),
        Kind::Invariant(inner) | Kind::Same(inner) => text(inner),
        _ => String::new(),
    }
}

/// Drops the names that were marked to go; rows that become equal are made one.
fn finished(ctx: &EvalContext, mut vectors: Vectors) -> Result<Vectors> {
    if !ctx.query.delayed_name_removal {
        return Ok(vectors);
    }
    let named = vectors.rows.clone();
    if named.drop_name.iter().any(|&drop| drop) {
        let rows = labels::dropped_names(&ctx.query, &named);
        vectors = labels::under_labels(ctx, vectors, rows, "drop names")?;
    }
    labels::merged_always(ctx, vectors)
}

fn label_rows(ctx: &EvalContext, table: LabelTable) -> LabelRows {
    LabelRows { dictionary: ctx.query.dictionary.clone(), table: Arc::new(table) }
}

fn vector(ctx: &EvalContext, vectors: Vectors) -> Result<Collected> {
    let mut table = LabelTable::new();
    let mut values = Vec::new();
    let mut memory = Reservation::new(&ctx.query, 0)?;
    vectors.for_each(None, |rows, batch| {
        for (i, &row) in rows.iter().enumerate() {
            let value = match batch.get(i) {
                None => continue,
                Some(Point::Float(v)) => SampleValue::Float(v),
                Some(Point::Hist(h)) => SampleValue::Histogram(h.clone()),
            };
            table.push(vectors.rows.row(row as usize).iter().copied());
            values.push(value);
        }
        memory.grow_to((table.heap_bytes() + values.capacity() * size_of::<SampleValue>()) as u64)
    })?;
    let value =
        Value::Vector(Vector { timestamp_ms: ctx.steps.start_ms, labels: label_rows(ctx, table), values });
    let account = Some(vectors.account());
    Ok(Collected { value, explain: vectors.explain(), sort: 0.0, memory: Some(memory), account })
}

fn matrix(ctx: &EvalContext, vectors: Vectors, watch: &Watch) -> Result<Collected> {
    let steps = ctx.steps;
    let all_steps: Arc<[i64]> = (0..steps.count).map(|i| steps.at(i)).collect();
    let mut series: Vec<Series> = Vec::new();
    let mut bytes = 0u64;
    let mut memory = Reservation::new(&ctx.query, 0)?;
    vectors.for_each(None, |rows, batch| {
        for (i, &row) in rows.iter().enumerate() {
            let before = series.last().map_or(&all_steps, |last| &last.float_timestamps_ms);
            let Some(one) = series_of(batch, i, row, &all_steps, before) else { continue };
            if !Arc::ptr_eq(before, &one.float_timestamps_ms) {
                bytes += one.float_timestamps_ms.len() as u64 * 8;
            }
            bytes += series_bytes(&one);
            series.push(one);
        }
        memory.grow_to(bytes + (series.capacity() * size_of::<Series>()) as u64)
    })?;
    // The answer has a table of its own.
    memory.grow_to(bytes + (series.capacity() * size_of::<Series>()) as u64 + vectors.rows.label_bytes())?;
    let before = watch.elapsed();
    let value = sorted(ctx, &vectors.rows, series);
    let sort = watch.elapsed() - before;
    let account = Some(vectors.account());
    Ok(Collected { value, explain: vectors.explain(), sort, memory: Some(memory), account })
}

/// What the points of a series take, but for the times of its floats.
fn series_bytes(series: &Series) -> u64 {
    (series.floats.capacity() * 8 + series.histograms.capacity() * 64) as u64
}

/// The points of a row, `None` where there are none. Times are those of all steps
/// or of the series before, where they are the same: the series of a target come
/// and go together.
fn series_of(
    batch: &Batch,
    at: usize,
    row: u32,
    all_steps: &Arc<[i64]>,
    before: &Arc<[i64]>,
) -> Option<Series> {
    let steps = all_steps.len();
    let count = batch.row_len(at);
    if count == 0 {
        return None;
    }
    let only_floats = batch.only_floats();
    let mut floats = Vec::with_capacity(if only_floats { count } else { 0 });
    let mut histograms = Vec::new();
    let mut times = Vec::new();
    let dense = count == steps && only_floats;
    // How many times are as before, until one is not.
    let mut same = if dense { None } else { Some(0) };
    for step in 0..steps {
        match batch.get(at * steps + step) {
            None => {}
            Some(Point::Float(v)) => {
                let at_ms = all_steps[step];
                match same {
                    _ if dense => {}
                    Some(n) if before.get(n) == Some(&at_ms) => same = Some(n + 1),
                    Some(n) => {
                        same = None;
                        times.extend_from_slice(&before[..n]);
                        times.push(at_ms);
                    }
                    None => times.push(at_ms),
                }
                floats.push(v);
            }
            Some(Point::Hist(h)) => histograms.push((all_steps[step], h.clone())),
        }
    }
    let float_timestamps_ms = match same {
        _ if dense => all_steps.clone(),
        Some(n) if n == before.len() => before.clone(),
        Some(n) => before[..n].into(),
        None => times.into(),
    };
    Some(Series { row, float_timestamps_ms, floats, histograms })
}

/// A matrix in label order; rows are numbered anew, as only few may be left.
fn sorted(ctx: &EvalContext, rows: &Rows, mut series: Vec<Series>) -> Value {
    let reader = ctx.query.dictionary.read();
    series.sort_by(|a, b| compare_rows(&reader, rows.row(a.row as usize), rows.row(b.row as usize)));
    drop(reader);
    let mut table = LabelTable::new();
    for (i, one) in series.iter_mut().enumerate() {
        table.push(rows.row(one.row as usize).iter().copied());
        one.row = i as u32;
    }
    Value::Matrix(Matrix { labels: label_rows(ctx, table), series })
}

fn range_vector(ctx: &EvalContext, plan: &Plan, watch: &Watch) -> Result<Collected> {
    let points = range::points(ctx, plan)?;
    let rows = if ctx.query.delayed_name_removal {
        labels::dropped_names(&ctx.query, &points.rows)
    } else {
        points.rows
    };
    let (mut bytes, mut points_count) = (0u64, 0u64);
    let mut memory = Reservation::new(&ctx.query, 0)?;
    let mut series = Vec::new();
    for (row, data) in points.series {
        points_count += (data.floats.len() + data.hists.len()) as u64;
        let histograms: Vec<_> = data.hist_ts.into_iter().zip(data.hists).collect();
        bytes += (data.floats.len() * 16 + histograms.len() * 64) as u64;
        memory.grow_to(bytes)?;
        series.push(Series {
            row,
            float_timestamps_ms: data.float_ts.into(),
            floats: data.floats,
            histograms,
        });
    }
    let series_count = series.len() as u64;
    let before = watch.elapsed();
    memory.grow_to(bytes + (series.capacity() * size_of::<Series>()) as u64 + rows.label_bytes())?;
    let value = sorted(ctx, &rows, series);
    let node = ExplainNode {
        series: series_count,
        points: points_count,
        position: Some(plan.pos),
        ..explain("range vector", "", vec![points.input])
    };
    let sort = watch.elapsed() - before;
    Ok(Collected { value, explain: node, sort, memory: Some(memory), account: Some(points.account) })
}
