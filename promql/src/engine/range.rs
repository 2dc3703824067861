//! Range functions: a window slides over each series, or over what a subquery
//! makes of it.
//!
//! ```text
//! selector ─ decode one series ─┐
//!                               ├─▶ SeriesData ─▶ window at each step ─▶ function
//! subquery ─ evaluate one row ──┘
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::query::ReadOptions;
use model::{CounterResetHint, TimeRange};

use super::account::{Account, RowSet};
use super::batch::{Batch, Point, histogram_samples, window_samples};
use super::context::{EvalContext, Steps};
use super::error::{QueryError, Result};
use super::node::{Node, Vectors, Worker, explain};
use super::plain_rate::PlainRate;
use super::rows::Rows;
use super::scalar::Column;
use super::selector::{Source, select};
use crate::annotations::{Annotation, Place};
use crate::functions::extended::{self, Extended};
use crate::functions::window::{Answer, Cursor, Extremes, Remarks, SeriesData, Window};
use crate::functions::{over_time, rate};
use crate::plan::{Kind, Pin, Plan, Selector, Subquery};
use crate::stats::{ExplainNode, Relation};

/// A range function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RangeFunction {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Stddev,
    Stdvar,
    Quantile,
    Mad,
    First,
    Last,
    Present,
    Absent,
    TsOfFirst,
    TsOfLast,
    TsOfMin,
    TsOfMax,
    Changes,
    Resets,
    Deriv,
    PredictLinear,
    DoubleExponentialSmoothing,
}

/// The range function of a name.
pub(crate) fn by_name(name: &str) -> Option<RangeFunction> {
    use RangeFunction::*;
    Some(match name {
        "rate" => Rate,
        "increase" => Increase,
        "delta" => Delta,
        "irate" => Irate,
        "idelta" => Idelta,
        "sum_over_time" => Sum,
        "avg_over_time" => Avg,
        "count_over_time" => Count,
        "min_over_time" => Min,
        "max_over_time" => Max,
        "stddev_over_time" => Stddev,
        "stdvar_over_time" => Stdvar,
        "quantile_over_time" => Quantile,
        "mad_over_time" => Mad,
        "first_over_time" => First,
        "last_over_time" => Last,
        "present_over_time" => Present,
        "absent_over_time" => Absent,
        "ts_of_first_over_time" => TsOfFirst,
        "ts_of_last_over_time" => TsOfLast,
        "ts_of_min_over_time" => TsOfMin,
        "ts_of_max_over_time" => TsOfMax,
        "changes" => Changes,
        "resets" => Resets,
        "deriv" => Deriv,
        "predict_linear" => PredictLinear,
        "double_exponential_smoothing" => DoubleExponentialSmoothing,
        _ => return None,
    })
}

impl RangeFunction {
    fn keeps_name(self) -> bool {
        // Where `absent_over_time` found samples nobody sees under which labels.
        matches!(self, RangeFunction::First | RangeFunction::Last | RangeFunction::Absent)
    }

    /// What finds the extreme of its windows, if that is what it asks for.
    fn extremes(self) -> Option<Extremes> {
        match self {
            RangeFunction::Min => Some(Extremes::new(false, false)),
            RangeFunction::Max => Some(Extremes::new(true, false)),
            RangeFunction::TsOfMin => Some(Extremes::new(false, true)),
            RangeFunction::TsOfMax => Some(Extremes::new(true, true)),
            _ => None,
        }
    }

    fn uses_start_timestamps(self) -> bool {
        use RangeFunction::*;
        matches!(self, Rate | Increase | Irate | Resets)
    }
}

/// Where the windows lie.
#[derive(Clone, Copy, Debug)]
struct Shape {
    range_ms: i64,
    offset_ms: i64,
    at_ms: Option<i64>,
    /// Where the first step lies, if bounds move on from `@` with the steps, though
    /// the samples do not.
    wander_from_ms: Option<i64>,
    anchored: bool,
    smoothed: bool,
}

impl Shape {
    fn of_selector(selector: &Selector, range_ms: i64, ctx: &EvalContext) -> Shape {
        Shape {
            range_ms,
            offset_ms: selector.offset_ms,
            at_ms: selector.at_ms,
            wander_from_ms: wander_from_ms(selector.pin, ctx),
            anchored: selector.anchored,
            smoothed: selector.smoothed,
        }
    }

    /// Start (outside) and end (inside) of the window of a step.
    fn bounds(&self, step_ms: i64) -> (i64, i64) {
        let end = match (self.at_ms, self.wander_from_ms) {
            (Some(at_ms), Some(from_ms)) => at_ms.saturating_add(step_ms.saturating_sub(from_ms)),
            (Some(at_ms), None) => at_ms,
            (None, _) => step_ms,
        };
        let end = end.saturating_sub(self.offset_ms);
        (end.saturating_sub(self.range_ms), end)
    }

    /// The same with what `anchored` and `smoothed` look at beyond.
    fn seen(&self, step_ms: i64, lookback_ms: i64) -> (i64, i64) {
        let (start, end) = self.bounds(step_ms);
        let back = if self.anchored || self.smoothed { lookback_ms } else { 0 };
        let ahead = if self.smoothed { lookback_ms } else { 0 };
        (start.saturating_sub(back), end.saturating_add(ahead))
    }
}

fn wander_from_ms(pin: Pin, ctx: &EvalContext) -> Option<i64> {
    (pin == Pin::Wandering).then_some(ctx.steps.start_ms)
}

/// Rows of a block whose reading is measured.
const ROWS_MEASURED: usize = 8;

/// Samples of windows between two looks at whether to go on.
const SAMPLES_UNCHECKED: u64 = 1 << 18;

enum Input {
    Selector { source: Source, range: TimeRange, options: ReadOptions, stats_only: bool },
    Subquery { vectors: Vectors, steps: Steps },
}

struct RangeNode {
    ctx: EvalContext,
    function: RangeFunction,
    name: &'static str,
    pos: Place,
    shape: Shape,
    input: Input,
    /// Labels of the input, for remarks.
    rows: Rows,
    /// Scalar arguments, one value a step each.
    params: Vec<Vec<f64>>,
    account: Arc<Account>,
    /// Rows whose samples were counted.
    counted: RowSet,
}

/// A call of a range function. `pos` is where its first argument stands (to
/// which upstream's remarks point), `params` are its scalar arguments by step.
pub(crate) fn vectors(
    ctx: &EvalContext,
    name: &'static str,
    function: RangeFunction,
    arg: &Plan,
    pos: Place,
    params: Vec<Column>,
) -> Result<Vectors> {
    check_modifiers(name, arg)?;
    let node = RangeNode { pos, ..node(ctx, name, function, arg, params)? };
    let query = &ctx.query;
    let (named, account) = (node.rows.clone(), node.account.clone());
    if function.keeps_name() {
        return Vectors::new(ctx, named, node, account);
    }
    let rows = super::labels::without_name(query, named.clone());
    super::labels::distinct_without_name(ctx, Vectors::new(ctx, rows, node, account)?, &named)
}

/// `anchored` and `smoothed` go with few functions.
fn check_modifiers(name: &str, arg: &Plan) -> Result<()> {
    let Kind::Matrix(m) = &arg.kind else { return Ok(()) };
    let (list, word): (&[&str], _) = if m.selector.anchored {
        (&extended::ANCHORED_FUNCTIONS, "anchored")
    } else if m.selector.smoothed {
        (&extended::SMOOTHED_FUNCTIONS, "smoothed")
    } else {
        return Ok(());
    };
    if list.contains(&name) {
        return Ok(());
    }
    let list = list.join(", ");
    Err(QueryError::execution(format!("{word} modifier can only be used with: {list} - not with {name}")))
}

fn node(
    ctx: &EvalContext,
    name: &'static str,
    function: RangeFunction,
    arg: &Plan,
    params: Vec<Column>,
) -> Result<RangeNode> {
    let query = &ctx.query;
    let (start, end) = ctx.selected_times();
    let (rows, shape, input) = match &arg.kind {
        Kind::Matrix(m) => {
            let reach = m.selector.reach(start, end, m.range_ms, query.lookback_ms);
            let (rows, source) = select(ctx, &m.selector, reach, m.range_ms, arg.pos)?;
            let options = ReadOptions {
                start_timestamps: query.use_start_timestamps && function.uses_start_timestamps(),
                ..ReadOptions::default()
            };
            let range = TimeRange::new(reach.start_ms, reach.end_ms);
            let shape = Shape::of_selector(&m.selector, m.range_ms, ctx);
            let stats_only = m.selector.stats_only;
            (rows, shape, Input::Selector { source, range, options, stats_only })
        }
        Kind::Subquery(s) => {
            let (vectors, steps) = subquery(ctx, s, false)?;
            let shape = Shape {
                range_ms: s.range_ms,
                offset_ms: s.offset_ms,
                at_ms: s.at_ms,
                wander_from_ms: wander_from_ms(s.pin, ctx),
                anchored: false,
                smoothed: false,
            };
            (vectors.rows.clone(), shape, Input::Subquery { vectors, steps })
        }
        _ => return Err(QueryError::execution("expected a range vector")),
    };
    let (params, accounts) = params.into_iter().map(|param| (param.values, param.account)).unzip();
    let subquery = match &input {
        Input::Selector { .. } => None,
        Input::Subquery { vectors, .. } => Some(vectors.account()),
    };
    Ok(RangeNode {
        ctx: ctx.clone(),
        function,
        name,
        pos: arg.place(),
        shape,
        input,
        params,
        account: Account::windows(ctx, subquery, accounts),
        counted: RowSet::new(rows.len()),
        rows,
    })
}

/// Builds what stands inside a subquery, and the steps it is evaluated at.
/// `alone`: it is the query's answer, not the argument of a function.
pub(crate) fn subquery(ctx: &EvalContext, s: &Subquery, alone: bool) -> Result<(Vectors, Steps)> {
    let (start, end) = (ctx.steps.start_ms, ctx.steps.last_ms());
    let shift = s.at_ms.map_or(0, |at| at.saturating_sub(start)).saturating_sub(s.offset_ms);
    let interval = if s.step_ms > 0 { s.step_ms } else { ctx.query.default_subquery_interval_ms.max(1) };
    let lower = start.saturating_add(shift).saturating_sub(s.range_ms);
    // The first multiple of the step behind the window's open start.
    let mut first = interval * (lower / interval);
    if first <= lower {
        first += interval;
    }
    let last = end.saturating_add(shift);
    let steps = Steps::new(first, last, interval);
    // Whether windows leave gaps, or lie elsewhere: so that not all that is read
    // is seen.
    let apart = ctx.steps.interval_ms > s.range_ms || s.at_ms.is_some();
    let gaps = !alone && ctx.steps.count > 1 && apart && steps.count < 1 << 16;
    let mut inner = ctx.child(steps, gaps || ctx.counters.wants_steps());
    inner.instant = first == last;
    // Upstream selects for the one window of a subquery that is pinned, whatever
    // steps it is then evaluated at.
    inner.selected_until_ms = match s.at_ms {
        Some(at) => Some(at.saturating_sub(s.offset_ms)),
        None => ctx.selected_until_ms.map(|until| until.saturating_sub(s.offset_ms)),
    };
    let _room = inner.check_steps()?;
    ctx.counters.adopt(
        inner.counters.clone(),
        Relation::Subquery {
            steps,
            parent: ctx.steps,
            offset_ms: if alone { 0 } else { s.offset_ms },
            range_ms: s.range_ms,
            alone,
        },
    );
    let vectors = super::build::vectors(&inner, &s.expr)?;
    Ok((vectors, steps))
}

impl RangeNode {
    /// Loads the samples of one series.
    fn load(&self, row: u32, worker: &mut Worker) -> Result<()> {
        match &self.input {
            Input::Selector { source, range, options, stats_only, .. } => {
                source.read(row, *range, *options, *stats_only, &mut worker.columns)?;
                worker.series.load(&mut worker.columns);
            }
            Input::Subquery { vectors, steps } => {
                let mut batch = worker.take_batch(1, steps.count);
                vectors.eval(&[row], worker, &mut batch)?;
                fill(&mut worker.series, &batch, 0, steps);
                worker.put_batch(batch);
            }
        }
        Ok(())
    }

    /// The same; the time that it takes stands for so many rows.
    fn load_measured(&self, row: u32, rows: u64, worker: &mut Worker) -> Result<()> {
        let Input::Selector { source, .. } = &self.input else { return self.load(row, worker) };
        let start = self.ctx.query.check_time()?;
        let result = self.load(row, worker);
        let took = self.ctx.query.now_ns().saturating_sub(start) * rows;
        source.counters.nanoseconds.fetch_add(took, Ordering::Relaxed);
        worker.counted_elsewhere(took);
        result
    }

    fn call(&self, window: &Window<'_>, step: usize, remarks: &mut Remarks<'_>) -> Result<Option<Answer>> {
        use RangeFunction::*;
        let param = |i: usize| self.params.get(i).and_then(|p| p.get(step)).copied().unwrap_or(f64::NAN);
        let extended = self.shape.anchored || self.shape.smoothed;
        Ok(match self.function {
            Rate | Increase | Delta => {
                let counter = self.function != Delta;
                let per_second = self.function == Rate;
                if extended {
                    let how = Extended { smoothed: self.shape.smoothed, counter, per_second };
                    extended::rate(window, how, remarks)
                } else {
                    rate::extrapolated(window, counter, per_second, remarks)
                }
            }
            Irate => rate::instant(window, true, remarks),
            Idelta => rate::instant(window, false, remarks),
            Sum => over_time::sum(window, remarks),
            Avg => over_time::avg(window, remarks),
            Count => over_time::count(window),
            Min => over_time::extreme(window, false, false, remarks),
            Max => over_time::extreme(window, true, false, remarks),
            TsOfMin => over_time::extreme(window, false, true, remarks),
            TsOfMax => over_time::extreme(window, true, true, remarks),
            Stddev => over_time::variance(window, true, remarks),
            Stdvar => over_time::variance(window, false, remarks),
            Quantile => over_time::quantile_over_time(window, param(0), remarks),
            Mad => over_time::mad(window, remarks),
            First => over_time::first(window),
            Last => over_time::last(window),
            Present | Absent => Some(Answer::Float(1.0)),
            TsOfFirst => over_time::ts_of_first(window),
            TsOfLast => over_time::ts_of_last(window),
            Changes => over_time::changes(window, self.shape.anchored),
            Resets => over_time::resets(window, self.shape.anchored),
            Deriv => over_time::deriv(window, remarks),
            PredictLinear => over_time::predict_linear(window, param(0), remarks),
            DoubleExponentialSmoothing => {
                over_time::double_exponential_smoothing(window, param(0), param(1), remarks)
                    .map_err(QueryError::Execution)?
            }
        })
    }

    /// `rate` and its kin over floats have a loop of their own.
    fn plain_rate(&self, series: &SeriesData) -> Option<PlainRate<'_>> {
        let counter = match self.function {
            RangeFunction::Rate | RangeFunction::Increase => true,
            RangeFunction::Delta => false,
            _ => return None,
        };
        let shape = &self.shape;
        if shape.anchored || shape.smoothed || shape.at_ms.is_some() || !series.is_plain() {
            return None;
        }
        let per_second = self.function == RangeFunction::Rate;
        Some(PlainRate {
            ctx: &self.ctx,
            range_ms: shape.range_ms,
            offset_ms: shape.offset_ms,
            counter,
            per_second,
            stored: matches!(self.input, Input::Selector { .. }),
        })
    }

    /// Computes one row; answers how many samples that made.
    fn eval_row(&self, row: u32, base: usize, worker: &mut Worker, out: &mut Batch) -> Result<u64> {
        let steps = self.ctx.steps;
        let query = &self.ctx.query;
        let metric = || query.dictionary.labels(self.rows.row(row as usize)).metric_name().to_owned();
        let series = std::mem::take(&mut worker.series);
        let from_subquery = matches!(self.input, Input::Subquery { .. });
        let mut cursor = Cursor::default();
        let mut result = Ok(());
        let mut extremes = self.function.extremes();
        let mut largest = 0;
        let mut latest = 0;
        let mut yielded = 0;
        let mut unchecked = 0;
        for step in 0..steps.count {
            let at_ms = steps.at(step);
            let refetch = step == 0 || self.shape.at_ms.is_none();
            let (seen_start, seen_end) = self.shape.seen(at_ms, query.lookback_ms);
            let ends_before = cursor.ends();
            if refetch {
                cursor.slide(&series, seen_start, seen_end);
            }
            let mut samples = cursor.window(&series);
            if samples.is_empty() {
                latest = 0;
                continue;
            }
            samples.extreme = extremes.as_mut().and_then(|extremes| extremes.slide(&series, &cursor));
            let count = window_samples(&samples);
            unchecked += count;
            if unchecked > SAMPLES_UNCHECKED {
                unchecked = 0;
                if let Err(error) = query.check_canceled() {
                    result = Err(error);
                    break;
                }
            }
            largest = largest.max(count);
            latest = count;
            let read = if !refetch || from_subquery {
                0
            } else if step == 0 {
                count
            } else {
                let (floats, hists) = cursor.since(ends_before);
                let hists = samples.hists.get(hists..).unwrap_or_default();
                floats as u64 + hists.iter().map(|h| histogram_samples(h)).sum::<u64>()
            };
            worker.tally.add(step, count, read);
            let (start_ms, end_ms) = self.shape.bounds(at_ms);
            let window = Window { samples, start_ms, end_ms, range_ms: self.shape.range_ms, at_ms };
            let mut remarks =
                Remarks { metric: &metric, pos: self.pos, annotations: &mut worker.annotations };
            match self.call(&window, step, &mut remarks) {
                Ok(Some(Answer::Float(v))) => {
                    yielded += 1;
                    out.set_float(base + step, v);
                }
                Ok(Some(Answer::Hist(h))) => {
                    yielded += histogram_samples(&h);
                    out.set_hist(base + step, h);
                }
                Ok(None) => {}
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        worker.series = series;
        worker.window = (largest, latest);
        result.map(|()| yielded)
    }

    /// What to say where `rate` or `increase` took floats that do not look like a counter.
    fn check_counter(&self, row: u32, worker: &mut Worker) {
        let query = &self.ctx.query;
        let reader = query.dictionary.read();
        let row = self.rows.row(row as usize);
        let value = |name| reader.text(super::rows::value_of(row, name));
        let name = value(model::SymbolId::METRIC_NAME);
        if name.is_empty() {
            return;
        }
        if query.type_and_unit_labels {
            let metric_type = value(query.names.metric_type);
            if metric_type != "counter" && metric_type != "histogram" {
                let remark = Annotation::possible_non_counter_label(name, metric_type, self.pos);
                worker.annotations.add(remark);
            }
        } else if !["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end)) {
            worker.annotations.add(Annotation::possible_non_counter(name, self.pos));
        }
    }
}

/// Takes a row of a block as the samples of a series.
fn fill(series: &mut SeriesData, batch: &Batch, row: usize, steps: &Steps) {
    series.clear();
    for step in 0..steps.count {
        match batch.get(row * steps.count + step) {
            None => {}
            Some(Point::Float(v)) if model::is_stale_nan(v) => {}
            Some(Point::Float(v)) => series.push_float(steps.at(step), v),
            Some(Point::Hist(h)) if h.is_stale() => {}
            Some(Point::Hist(h)) => {
                // What is known of resets holds between stored samples only.
                let known = matches!(
                    h.counter_reset_hint,
                    CounterResetHint::CounterReset | CounterResetHint::NotCounterReset
                );
                let h = if known {
                    let hint = CounterResetHint::Unknown;
                    Arc::new(model::FloatHistogram { counter_reset_hint: hint, ..(**h).clone() })
                } else {
                    h.clone()
                };
                series.push_hist(steps.at(step), h);
            }
        }
    }
    series.find_drops();
}

impl Node for RangeNode {
    fn eval(&self, rows: &[u32], worker: &mut Worker, out: &mut Batch) -> Result<()> {
        let fresh = self.counted.claim(rows);
        let mut runs = worker.take_runs();
        // Reading is a select's time. Few long rows are measured each, of many
        // short ones one in so many.
        let one_in = if rows.len() <= ROWS_MEASURED { 1 } else { rows.len().div_ceil(ROWS_MEASURED) };
        for (i, &row) in rows.iter().enumerate() {
            self.ctx.query.check_canceled()?;
            if i % one_in == one_in / 2 {
                self.load_measured(row, one_in as u64, worker)?;
            } else {
                self.load(row, worker)?;
            }
            if worker.series.is_empty() {
                if fresh.has(i) {
                    runs.add(row, 0, 0);
                }
                continue;
            }
            worker.tally.start(&self.ctx.counters);
            // Some remarks tell how often they were made: a join that looks at its rows
            // again makes no more of them.
            let made = (!fresh.has(i)).then(|| std::mem::take(&mut worker.annotations));
            let base = i * self.ctx.steps.count;
            let rate = self.plain_rate(&worker.series);
            let plain = rate.is_some();
            let result = match rate {
                Some(rate) => Ok(rate.eval_row(base, worker, out)),
                None => self.eval_row(row, base, worker, out),
            };
            if let (Err(QueryError::Execution(_)), Input::Subquery { vectors, .. }) = (&result, &self.input) {
                // Upstream has the whole subquery by then.
                vectors.for_each(None, |_, _| Ok(()))?;
                self.ctx.query.check_samples(vectors.account().settle().checked)?;
            }
            let yielded = if fresh.has(i) {
                self.ctx.counters.add(&worker.tally);
                // Upstream holds what is made of a series beside its last window.
                let (yielded, (largest, last)) = (result?, worker.window);
                runs.add(row, largest.max(yielded + last), yielded);
                yielded
            } else {
                result?
            };
            if yielded > 0 && matches!(self.function, RangeFunction::Rate | RangeFunction::Increase) {
                let mut cells = base..base + self.ctx.steps.count;
                if plain || cells.any(|cell| matches!(out.get(cell), Some(Point::Float(_)))) {
                    self.check_counter(row, worker);
                }
            }
            if let Some(made) = made {
                worker.annotations = made;
            }
        }
        let done = self.account.add_runs(&runs);
        worker.runs = runs;
        done
    }

    fn explain(&self) -> ExplainNode {
        let range = model::time::format_duration_ms(self.shape.range_ms);
        match &self.input {
            Input::Selector { source, .. } => {
                explain(self.name, format!("[{range}]"), vec![source.explain()])
            }
            Input::Subquery { vectors, steps } => {
                let step = model::time::format_duration_ms(steps.interval_ms);
                let detail = format!("[{range}:{step}], {} steps", steps.count);
                explain(self.name, detail, vec![vectors.explain()])
            }
        }
    }
}

/// The points of a range vector that is itself the answer.
pub(crate) struct RangePoints {
    pub(crate) rows: Rows,
    /// Where they come from.
    pub(crate) input: ExplainNode,
    pub(crate) account: Arc<Account>,
    /// For each row with points: floats and histograms with their times.
    pub(crate) series: Vec<(u32, SeriesData)>,
}

/// Evaluates a range selector or subquery that stands alone, at one time.
pub(crate) fn points(ctx: &EvalContext, plan: &Plan) -> Result<RangePoints> {
    let mut worker = Worker::default();
    let mut series = Vec::new();
    let query = &ctx.query;
    match &plan.kind {
        Kind::Matrix(m) => {
            let node = node(ctx, "", RangeFunction::Last, plan, Vec::new())?;
            let shape = Shape::of_selector(&m.selector, m.range_ms, ctx);
            for row in 0..node.rows.len() as u32 {
                query.check()?;
                node.load(row, &mut worker)?;
                let mut data = std::mem::take(&mut worker.series);
                // What `anchored` and `smoothed` add at the ends is not held.
                let mut held = window_samples(&data.all());
                let (start_ms, end_ms) = shape.bounds(ctx.steps.start_ms);
                if (m.selector.anchored || m.selector.smoothed) && !data.is_empty() {
                    if !data.hists.is_empty() {
                        let word = if m.selector.anchored { "anchored" } else { "smoothed" };
                        return Err(QueryError::execution(format!(
                            "{word} modifier is not supported with histograms"
                        )));
                    }
                    let mut cursor = Cursor::default();
                    let (from, to) = shape.seen(ctx.steps.start_ms, query.lookback_ms);
                    cursor.slide(&data, from, to);
                    let samples = cursor.window(&data);
                    held = window_samples(&samples);
                    let window =
                        Window { samples, start_ms, end_ms, range_ms: m.range_ms, at_ms: ctx.steps.start_ms };
                    let points = extended::points(&window, m.selector.smoothed);
                    data.clear();
                    for (t, v) in points {
                        data.push_float(t, v);
                    }
                }
                let count =
                    data.floats.len() as u64 + data.hists.iter().map(|h| histogram_samples(h)).sum::<u64>();
                worker.runs.add(row, held, held);
                worker.tally.start(&ctx.counters);
                worker.tally.add(0, count, count);
                ctx.counters.add(&worker.tally);
                if !data.is_empty() {
                    series.push((row, data));
                }
            }
            let input = match &node.input {
                Input::Selector { source, .. } => source.explain(),
                Input::Subquery { vectors, .. } => vectors.explain(),
            };
            node.account.add_runs(&worker.runs)?;
            Ok(RangePoints { rows: node.rows.clone(), input, account: node.account.clone(), series })
        }
        Kind::Subquery(s) => {
            let (vectors, steps) = subquery(ctx, s, true)?;
            let mut batch = Batch::default();
            for row in 0..vectors.len() as u32 {
                vectors.eval(&[row], &mut worker, &mut batch)?;
                let mut data = SeriesData::default();
                for step in 0..steps.count {
                    match batch.get(step) {
                        Some(Point::Float(v)) => data.push_float(steps.at(step), v),
                        Some(Point::Hist(h)) => data.push_hist(steps.at(step), h.clone()),
                        None => {}
                    }
                }
                if !data.is_empty() {
                    series.push((row, data));
                }
            }
            ctx.annotate(worker.annotations);
            let account = vectors.account();
            Ok(RangePoints { rows: vectors.rows.clone(), input: vectors.explain(), account, series })
        }
        Kind::Invariant(inner) => points(ctx, inner),
        _ => Err(QueryError::execution("expected a range vector")),
    }
}
