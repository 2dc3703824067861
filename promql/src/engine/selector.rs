//! Instant selectors: for each step the newest sample of the lookback.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::query::{LatestValue, ReadOptions, SampleKind, SelectHints, SeriesReader};
use model::{Columns, CounterResetHint, FloatHistogram, SelectRequest, TimeRange, is_stale_nan};

use super::account::{Account, Fresh, RowSet};
use super::batch::{Batch, histogram_samples, window_samples};
use super::context::{EvalContext, QueryContext, Reservation};
use super::error::{QueryError, Result};
use super::node::{Node, Vectors, Worker, explain};
use super::rows::Rows;
use crate::annotations::Place;
use crate::ast::PositionRange;
use crate::functions::extended::smooth_at;
use crate::functions::window::{Answer, Cursor, Remarks};
use crate::plan::{Reach, Selector};
use crate::stats::{ExplainNode, OperatorCounters};

/// What of the sample found is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Want {
    /// Its value.
    Value,
    /// Its time in seconds.
    Timestamp,
    /// Its start timestamp in seconds.
    StartTimestamp,
    /// Its time in ms; histograms are an error.
    InfoTimestamp,
}

/// Series of a select, and how to read them.
pub(crate) struct Source {
    pub(crate) reader: Arc<dyn SeriesReader>,
    pub(crate) counters: Arc<OperatorCounters>,
    detail: String,
    position: PositionRange,
    /// The labels found, which operators above share without counting them again.
    rows: Rows,
    _memory: Reservation,
}

/// Selects the series of a selector that may have samples within `reach`.
pub(crate) fn select(
    ctx: &EvalContext,
    selector: &Selector,
    reach: Reach,
    range_ms: i64,
    position: PositionRange,
) -> Result<(Rows, Source)> {
    let query = &ctx.query;
    let start = query.check_time()?;
    let request = SelectRequest {
        matchers: selector.matchers.clone(),
        range: TimeRange::new(reach.start_ms, reach.end_ms),
        limit: 0,
        hints: SelectHints {
            func: selector.func,
            step_ms: if ctx.steps.count <= 1 { 0 } else { ctx.steps.interval_ms },
            range_ms,
            grouping: selector.grouping.clone(),
        },
        cancel: query.cancel.clone(),
    };
    let selected = query.querier.select(&request, &query.dictionary).map_err(QueryError::selecting)?;
    query.storage_warnings.lock().extend(selected.warnings);
    let counters = Arc::new(OperatorCounters::default());
    counters.nanoseconds.store(query.now_ns().saturating_sub(start), Ordering::Relaxed);
    let rows = Rows::new(selected.labels, false);
    let source = Source {
        reader: selected.reader,
        counters,
        detail: describe(selector),
        position,
        _memory: Reservation::new(query, rows.heap_bytes())?,
        rows: rows.clone(),
    };
    Ok((rows, source))
}

impl Source {
    /// The select as an operator of its own, below one that reads it.
    pub(crate) fn explain(&self) -> ExplainNode {
        let mut node = explain("select", self.detail.clone(), Vec::new());
        self.counters.fill(&mut node);
        node.series = self.rows.len() as u64;
        node.points = node.samples;
        node.position = Some(self.position);
        node
    }

    /// Decodes one series into the worker's columns.
    /// With `stats_only` histograms keep count and sum alone.
    pub(crate) fn read(
        &self,
        row: u32,
        range: TimeRange,
        options: ReadOptions,
        stats_only: bool,
        columns: &mut Columns,
    ) -> Result<()> {
        let stats = self.reader.read(row as usize, range, options, columns).map_err(QueryError::reading)?;
        self.counters.samples.fetch_add(columns.len() as u64, Ordering::Relaxed);
        self.counters.chunks.fetch_add(stats.chunks, Ordering::Relaxed);
        self.counters.bytes.fetch_add(stats.bytes, Ordering::Relaxed);
        if stats_only {
            keep_statistics(&mut columns.histograms);
        }
        Ok(())
    }
}

/// Reduces histograms of one series to count and sum. What their buckets tell
/// of resets is put into the hint first.
/// Source: Prometheus `promql/histogram_stats_iterator.go`.
fn keep_statistics(histograms: &mut [FloatHistogram]) {
    let mut previous: Option<FloatHistogram> = None;
    for h in histograms {
        let mut hint = h.counter_reset_hint;
        let stale = h.is_stale();
        if let (CounterResetHint::Unknown, false, Some(previous)) = (hint, stale, &previous) {
            hint = if h.detect_reset(previous) {
                CounterResetHint::CounterReset
            } else {
                CounterResetHint::NotCounterReset
            };
        }
        let reduced = FloatHistogram {
            counter_reset_hint: hint,
            schema: h.schema,
            count: h.count,
            sum: h.sum,
            ..FloatHistogram::default()
        };
        let mut whole = std::mem::replace(h, reduced);
        if !stale {
            whole.counter_reset_hint = hint;
            previous = Some(whole);
        }
    }
}

/// The selector as text, for the explain tree.
fn describe(selector: &Selector) -> String {
    let matchers: Vec<String> = selector.matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", matchers.join(","))
}

/// An instant selector; `pos` is where it stands, for its remarks.
pub(crate) fn vectors(ctx: &EvalContext, selector: &Selector, want: Want, pos: Place) -> Result<Vectors> {
    let (start, end) = ctx.selected_times();
    let reach = selector.reach(start, end, 0, ctx.query.lookback_ms);
    let (rows, source) = select(ctx, selector, reach, 0, pos.pos)?;
    let counters = source.counters.clone();
    let keep_rows = selector.smoothed || want == Want::InfoTimestamp;
    // Only values lie on a line; times are those of the newest sample.
    let smoothed = selector.smoothed && want == Want::Value;
    let account = match want {
        Want::Value if smoothed => Account::windows(ctx, None, Vec::new()),
        Want::Value | Want::InfoTimestamp => Account::held(ctx),
        Want::Timestamp | Want::StartTimestamp => Account::found(ctx),
    };
    let node = InstantSelector {
        ctx: ctx.clone(),
        selector: selector.clone(),
        pos,
        want,
        source,
        metric_rows: keep_rows.then(|| rows.clone()),
        smoothed,
        account: account.clone(),
        counted: RowSet::new(rows.len()),
    };
    Ok(Vectors::new(ctx, rows, node, account)?.with_counters(counters))
}

/// Steps between two looks at whether to go on.
const STEPS_UNCHECKED: usize = 1 << 16;

struct InstantSelector {
    ctx: EvalContext,
    selector: Selector,
    pos: Place,
    want: Want,
    source: Source,
    /// Labels for remarks, where the selector may make any.
    metric_rows: Option<Rows>,
    smoothed: bool,
    account: Arc<Account>,
    /// Rows whose samples were counted.
    counted: RowSet,
}

impl Node for InstantSelector {
    fn eval(&self, rows: &[u32], worker: &mut Worker, out: &mut Batch) -> Result<()> {
        let mut tally = std::mem::take(&mut worker.tally);
        tally.start(&self.ctx.counters);
        let fresh = self.counted.claim(rows);
        let result = if self.smoothed {
            self.smoothed(rows, &fresh, worker, out)
        } else if self.ctx.steps.count == 1
            && self.want != Want::StartTimestamp
            && !self.selector.stats_only
            && !self.selector.looks_aside()
            && self.ctx.selected_times().1 >= self.ctx.steps.start_ms
        {
            self.latest(rows, worker, out, &mut |i, step, samples| {
                if fresh.has(i) {
                    tally.add(step, samples, samples);
                }
            })
        } else {
            self.sweep(rows, worker, out, &mut |i, step, samples| {
                if fresh.has(i) {
                    tally.add(step, samples, samples);
                }
            })
        };
        self.ctx.counters.add(&tally);
        worker.tally = tally;
        result
    }

    fn explain(&self) -> ExplainNode {
        explain("select", self.source.detail.clone(), Vec::new())
    }
}

impl InstantSelector {
    fn query(&self) -> &QueryContext {
        &self.ctx.query
    }

    /// One step: the store looks up the newest sample of many series.
    fn latest(
        &self,
        rows: &[u32],
        worker: &mut Worker,
        out: &mut Batch,
        count: &mut impl FnMut(usize, usize, u64),
    ) -> Result<()> {
        let at_ms = self.selector.reference_ms(self.ctx.steps.start_ms, self.ctx.steps.start_ms);
        let mut first = 0;
        while first < rows.len() {
            let mut end = first + 1;
            while end < rows.len() && rows[end] == rows[end - 1] + 1 {
                end += 1;
            }
            let range = rows[first] as usize..rows[end - 1] as usize + 1;
            let latest = &mut worker.latest;
            let stats = self
                .source
                .reader
                .read_latest(range, at_ms, self.query().lookback_ms, latest)
                .map_err(QueryError::reading)?;
            self.source.counters.samples.fetch_add(latest.samples.len() as u64, Ordering::Relaxed);
            self.source.counters.chunks.fetch_add(stats.chunks, Ordering::Relaxed);
            self.source.counters.bytes.fetch_add(stats.bytes, Ordering::Relaxed);
            for (i, sample) in latest.samples.iter().enumerate() {
                let Some(sample) = sample else { continue };
                let cell = first + i;
                match sample.value {
                    LatestValue::Float(v) if is_stale_nan(v) => {}
                    LatestValue::Float(v) => {
                        out.set_float(cell, self.wanted(v, sample.timestamp_ms));
                        count(cell, 0, 1);
                    }
                    LatestValue::Histogram(at) => {
                        let h = &mut latest.histograms[at];
                        if h.is_stale() {
                            continue;
                        }
                        let samples = histogram_samples(h);
                        match self.want {
                            Want::Value => {
                                count(cell, 0, samples);
                                out.set_hist(cell, Arc::new(std::mem::take(h)));
                            }
                            Want::InfoTimestamp => return Err(self.info_histogram(rows[cell])),
                            _ => {
                                count(cell, 0, 1);
                                out.set_float(cell, sample.timestamp_ms as f64 / 1000.0);
                            }
                        }
                    }
                }
            }
            first = end;
        }
        Ok(())
    }

    fn wanted(&self, value: f64, timestamp_ms: i64) -> f64 {
        match self.want {
            Want::Value => value,
            Want::InfoTimestamp => timestamp_ms as f64,
            _ => timestamp_ms as f64 / 1000.0,
        }
    }

    fn info_histogram(&self, row: u32) -> QueryError {
        let labels = self
            .metric_rows
            .as_ref()
            .map(|rows| self.query().dictionary.labels(rows.row(row as usize)).to_string())
            .unwrap_or_default();
        QueryError::execution(format!("this should be an info metric, with float samples: {labels}"))
    }

    /// Many steps: decode a series once and walk over it.
    fn sweep(
        &self,
        rows: &[u32],
        worker: &mut Worker,
        out: &mut Batch,
        count: &mut impl FnMut(usize, usize, u64),
    ) -> Result<()> {
        let steps = self.ctx.steps;
        let lookback_ms = self.query().lookback_ms;
        let (start, end) = self.ctx.selected_times();
        let reach = self.selector.reach(start, end, 0, lookback_ms);
        let range = TimeRange::new(reach.start_ms, reach.end_ms);
        let options =
            ReadOptions { start_timestamps: self.want == Want::StartTimestamp, ..ReadOptions::default() };
        for (i, &row) in rows.iter().enumerate() {
            let columns = &mut worker.columns;
            self.source.read(row, range, options, self.selector.stats_only, columns)?;
            let mut walk = Walk::new(columns);
            for step in 0..steps.count {
                if step % STEPS_UNCHECKED == 0 {
                    self.query().check_canceled()?;
                }
                let at_ms = self.selector.reference_ms(steps.at(step), steps.start_ms);
                walk.advance(at_ms);
                let Some(found) = walk.current(at_ms, lookback_ms) else { continue };
                let cell = i * steps.count + step;
                match (found.value, self.want) {
                    (Found::Float(v), _) if is_stale_nan(v) => {}
                    (Found::Histogram(at), _) if columns.histograms[at].is_stale() => {}
                    (Found::Histogram(at), Want::Value) => {
                        let samples = histogram_samples(&columns.histograms[at]);
                        count(i, step, samples);
                        out.set_hist(cell, walk.shared(at));
                    }
                    (Found::Histogram(_), Want::InfoTimestamp) => return Err(self.info_histogram(row)),
                    (_, Want::StartTimestamp) => {
                        count(i, step, 1);
                        let st = columns.start_timestamps_ms.get(found.sample).copied().unwrap_or(0);
                        out.set_float(cell, st as f64 / 1000.0);
                    }
                    (Found::Float(v), _) => {
                        count(i, step, 1);
                        out.set_float(cell, self.wanted(v, found.timestamp_ms));
                    }
                    (Found::Histogram(_), _) => {
                        count(i, step, 1);
                        out.set_float(cell, found.timestamp_ms as f64 / 1000.0);
                    }
                }
            }
        }
        Ok(())
    }

    /// `smoothed`: on the line between the neighbours of each step.
    fn smoothed(&self, rows: &[u32], fresh: &Fresh, worker: &mut Worker, out: &mut Batch) -> Result<()> {
        let steps = self.ctx.steps;
        worker.runs.clear();
        let lookback_ms = self.query().lookback_ms;
        let (start, end) = self.ctx.selected_times();
        let reach = self.selector.reach(start, end, 0, lookback_ms);
        let range = TimeRange::new(reach.start_ms, reach.end_ms);
        for (i, &row) in rows.iter().enumerate() {
            self.source.read(row, range, ReadOptions::default(), false, &mut worker.columns)?;
            worker.series.load(&mut worker.columns);
            let metric = || {
                let rows = self.metric_rows.as_ref().map(|rows| rows.row(row as usize));
                self.query().dictionary.labels(rows.unwrap_or_default()).metric_name().to_owned()
            };
            let mut cursor = Cursor::default();
            let (mut largest, mut last) = (0, 0);
            for step in 0..steps.count {
                let at_ms = self.selector.reference_ms(steps.at(step), steps.start_ms);
                cursor.slide(
                    &worker.series,
                    at_ms.saturating_sub(lookback_ms),
                    at_ms.saturating_add(lookback_ms),
                );
                let window = cursor.window(&worker.series);
                last = window_samples(&window);
                largest = largest.max(last);
                let mut remarks =
                    Remarks { metric: &metric, pos: self.pos, annotations: &mut worker.annotations };
                match smooth_at(&window, at_ms, &mut remarks) {
                    Some(Answer::Float(v)) => out.set_float(i * steps.count + step, v),
                    Some(Answer::Hist(h)) => out.set_hist(i * steps.count + step, h),
                    None => {}
                }
            }
            // Upstream does not give back the last window.
            if fresh.has(i) {
                worker.runs.add(row, largest, last);
            }
        }
        self.account.add_runs(&worker.runs)
    }
}

enum Found {
    Float(f64),
    Histogram(usize),
}

struct FoundSample {
    sample: usize,
    timestamp_ms: i64,
    value: Found,
}

/// Walks along decoded columns, knowing at each sample where its value stands.
struct Walk<'a> {
    columns: &'a Columns,
    /// Samples at or before the time asked for.
    passed: usize,
    run: usize,
    run_end: usize,
    floats: usize,
    histograms: usize,
    last: Option<(usize, super::batch::Hist)>,
}

impl<'a> Walk<'a> {
    fn new(columns: &'a Columns) -> Walk<'a> {
        let run_end = columns.runs.first().map_or(0, |run| run.len);
        Walk { columns, passed: 0, run: 0, run_end, floats: 0, histograms: 0, last: None }
    }

    fn advance(&mut self, at_ms: i64) {
        let timestamps = &self.columns.timestamps_ms;
        if self.columns.histograms.is_empty() {
            let mut near = 0;
            while self.passed < timestamps.len() && timestamps[self.passed] <= at_ms {
                self.passed += 1;
                near += 1;
                if near == 16 {
                    self.passed += timestamps[self.passed..].partition_point(|&t| t <= at_ms);
                    break;
                }
            }
            self.floats = self.passed;
            return;
        }
        while self.passed < timestamps.len() && timestamps[self.passed] <= at_ms {
            while self.passed >= self.run_end && self.run + 1 < self.columns.runs.len() {
                self.run += 1;
                self.run_end += self.columns.runs[self.run].len;
            }
            match self.columns.runs[self.run].kind {
                SampleKind::Float => self.floats += 1,
                SampleKind::Histogram => self.histograms += 1,
            }
            self.passed += 1;
        }
    }

    /// The newest sample at or before `at_ms`, if it is inside the lookback.
    fn current(&self, at_ms: i64, lookback_ms: i64) -> Option<FoundSample> {
        let sample = self.passed.checked_sub(1)?;
        let timestamp_ms = self.columns.timestamps_ms[sample];
        if timestamp_ms <= at_ms.saturating_sub(lookback_ms) {
            return None;
        }
        let histogram =
            !self.columns.histograms.is_empty() && self.columns.runs[self.run].kind == SampleKind::Histogram;
        let value = if histogram {
            Found::Histogram(self.histograms - 1)
        } else {
            Found::Float(self.columns.floats[self.floats - 1])
        };
        Some(FoundSample { sample, timestamp_ms, value })
    }

    /// The histogram at a position, shared between the steps that see it.
    fn shared(&mut self, at: usize) -> super::batch::Hist {
        match &self.last {
            Some((have, h)) if *have == at => h.clone(),
            _ => {
                let h = Arc::new(self.columns.histograms[at].clone());
                self.last = Some((at, h.clone()));
                h
            }
        }
    }
}
