//! Aggregations into one series a group: the input passes by once, in row
//! order, and each group keeps an accumulator a step.

use std::sync::Arc;

use super::account::Account;
use super::batch::{Batch, Hist, Point};
use super::context::{EvalContext, Reservation};
use super::error::Result;
use super::node::{Vectors, explain};
use super::repeat::held;
use super::rows::{Groups, LabelFilter, Rows};
use super::scalar::Column;
use crate::annotations::{Annotation, Annotations, HistogramOperation, Place};
use crate::ast::AggregateOp;
use crate::functions::math::{go_max, go_min};
use crate::functions::over_time::{HistogramSum, Mean};
use crate::functions::quantile::quantile;
use crate::functions::{histogram as hist, kahan};
use crate::plan::Aggregate;

/// Which labels make a group.
pub(crate) fn filter(ctx: &EvalContext, e: &Aggregate) -> LabelFilter {
    let dictionary = &ctx.query.dictionary;
    if e.without {
        LabelFilter::without(dictionary, &e.grouping)
    } else {
        LabelFilter::only(dictionary, &e.grouping)
    }
}

/// Groups one series each. `param` is that of `quantile`.
pub(crate) fn vectors(ctx: &EvalContext, e: &Aggregate, param: Option<Column>) -> Result<Vectors> {
    let input = super::build::vectors(ctx, &e.expr)?;
    let (param, of_param) = param.map(|param| (param.values, param.account)).unzip();
    let account = Account::aggregate(ctx, of_param, input.account());
    let pos = e.place.at(e.expr.pos);
    let mut annotations = Annotations::default();
    if let (AggregateOp::Quantile, Some(q), Some(param)) = (e.op, &param, &e.param) {
        quantile_remarks(q, e.place.at(param.pos), &mut annotations);
    }
    let mut room = Reservation::new(&ctx.query, 0)?;
    let follow = |row, bytes| room.follow(row, || bytes);
    let groups = Groups::new(&input.rows, &filter(ctx, e), follow)?;
    let steps = ctx.steps.count;
    let cells = groups.keys.len() * steps;
    let orders = groups.keys.len() * (size_of::<Option<u32>>() + size_of::<u32>() + 1);
    let mut memory = Reservation::new(&ctx.query, (cells * 24 + orders) as u64)?;
    let mut folder = Folder::new(e.op, cells, pos);
    // Groups in order of their first series with a sample: without one there is no series.
    let mut order: Vec<u32> = Vec::new();
    let mut place: Vec<Option<u32>> = vec![None; groups.keys.len()];
    // Whether the name of a group's series goes follows the inputs it has seen.
    let mut drop_name: Vec<bool> = Vec::new();
    input.for_each(None, |rows, batch| {
        for (i, &row) in rows.iter().enumerate() {
            let group = groups.of_row[row as usize];
            let cells = i * steps..(i + 1) * steps;
            let at = match place[group as usize] {
                Some(at) => at as usize,
                None if cells.clone().any(|cell| batch.is_present(cell)) => {
                    place[group as usize] = Some(order.len() as u32);
                    order.push(group);
                    drop_name.push(false);
                    order.len() - 1
                }
                None => continue,
            };
            let metric =
                || ctx.query.dictionary.labels(input.rows.row(row as usize)).metric_name().to_owned();
            let seen = folder.fold_row(batch, cells.start, at * steps, steps, &metric, &mut annotations);
            drop_name[at] |= seen && input.rows.drop_name[row as usize];
        }
        memory.grow_to(folder.heap_bytes() + orders as u64)
    })?;
    let mut out = Batch::default();
    out.reset(order.len(), steps);
    folder.finish(ctx, &mut out, steps, param.as_deref(), &mut annotations)?;
    ctx.annotate(annotations);
    let mut rows = Rows::default();
    for (group, drop_name) in order.into_iter().zip(drop_name) {
        rows.push(groups.keys[group as usize].iter().copied(), drop_name);
    }
    let explained = explain(e.op.as_str(), "", vec![input.explain()]);
    drop(input);
    held(ctx, rows, out, explained, account)
}

fn quantile_remarks(q: &[f64], pos: Place, annotations: &mut Annotations) {
    if q.iter().any(|q| q.is_nan()) {
        annotations.add(Annotation::invalid_quantile(f64::NAN, pos));
    }
    // As upstream finds them: of no number with others comes none, but for infinity.
    let max = q.iter().copied().fold(f64::MIN, go_max);
    let min = q.iter().copied().fold(f64::MAX, go_min);
    if max > 1.0 {
        annotations.add(Annotation::invalid_quantile(max, pos));
    }
    if min < 0.0 {
        annotations.add(Annotation::invalid_quantile(min, pos));
    }
}

/// Whether all bits of a range are set.
fn all_set(bits: &[u64], range: std::ops::Range<usize>) -> bool {
    let mut at = range.start;
    while at < range.end {
        if at.is_multiple_of(64) && at + 64 <= range.end {
            if bits[at / 64] != u64::MAX {
                return false;
            }
            at += 64;
        } else {
            if bits[at / 64] >> (at % 64) & 1 == 0 {
                return false;
            }
            at += 1;
        }
    }
    true
}

/// Accumulators by group and step.
struct Folder {
    op: AggregateOp,
    pos: Place,
    /// What `values` holds has been begun.
    seen: Vec<u64>,
    /// Sum, minimum, mean …
    values: Vec<f64>,
    /// Compensation of sums, mean of deviations.
    seconds: Vec<f64>,
    counts: Vec<u32>,
    means: Vec<Mean>,
    lists: Vec<Vec<f64>>,
    /// Cells that met a histogram, for `sum` and `avg`; empty until one does.
    hists: Vec<HistCell>,
}

/// What a cell of `sum` or `avg` knows of histograms.
#[derive(Clone, Default)]
struct HistCell {
    sum: Option<Box<HistogramSum>>,
    has_hist: bool,
    has_float: bool,
    /// The first sample was a float: later histograms are not added up.
    began_with_float: bool,
    incompatible: bool,
}

impl Folder {
    fn new(op: AggregateOp, cells: usize, pos: Place) -> Folder {
        let needs = |wanted: bool| if wanted { cells } else { 0 };
        use AggregateOp::*;
        Folder {
            op,
            pos,
            seen: vec![0; cells.div_ceil(64)],
            values: vec![0.0; needs(matches!(op, Sum | Min | Max | Stddev | Stdvar))],
            seconds: vec![0.0; needs(matches!(op, Sum | Stddev | Stdvar))],
            counts: vec![0; needs(matches!(op, Count | Stddev | Stdvar | Avg))],
            means: if op == Avg { vec![Mean::new(0.0); cells] } else { Vec::new() },
            lists: if op == Quantile { vec![Vec::new(); cells] } else { Vec::new() },
            hists: Vec::new(),
        }
    }

    fn heap_bytes(&self) -> u64 {
        let lists: usize = self.lists.iter().map(|list| list.capacity() * 8 + 24).sum();
        let vectors = self.seen.len() * 8 + self.values.len() * 16 + self.counts.len() * 4;
        (vectors + self.means.len() * size_of::<Mean>() + lists + self.hists.len() * size_of::<HistCell>())
            as u64
    }

    /// Takes one series' values; whether it had any that counts.
    fn fold_row(
        &mut self,
        batch: &Batch,
        from: usize,
        to: usize,
        steps: usize,
        metric: &dyn Fn() -> String,
        annotations: &mut Annotations,
    ) -> bool {
        let mut any = false;
        if self.hists.is_empty() && batch.only_floats() {
            return self.fold_floats(batch, from, to, steps);
        }
        for step in 0..steps {
            match batch.get(from + step) {
                None => {}
                Some(Point::Float(v)) => {
                    any = true;
                    self.fold_float(to + step, v);
                }
                Some(Point::Hist(h)) => {
                    any |= self.fold_hist(to + step, h, metric, annotations);
                }
            }
        }
        any
    }

    /// [`Folder::fold_row`] where nobody has seen a histogram. The commonest
    /// operators have loops without a choice inside.
    fn fold_floats(&mut self, batch: &Batch, from: usize, to: usize, steps: usize) -> bool {
        if self.op == AggregateOp::Sum && steps > 1 {
            let (row, dense) = batch.row_floats(from / steps);
            let cells = to..to + steps;
            if dense && all_set(&self.seen, cells.clone()) {
                let sums = self.values[cells.clone()].iter_mut().zip(&mut self.seconds[cells]);
                for ((sum, compensation), &v) in sums.zip(row) {
                    (*sum, *compensation) = kahan::add(v, *sum, *compensation);
                }
                return true;
            }
        }
        let mut any = false;
        for step in 0..steps {
            if let Some(Point::Float(v)) = batch.get(from + step) {
                any = true;
                self.fold_float(to + step, v);
            }
        }
        any
    }

    /// Marks a cell; whether it was begun before.
    fn begin(&mut self, cell: usize) -> bool {
        let before = self.is_seen(cell);
        self.seen[cell / 64] |= 1 << (cell % 64);
        before
    }

    fn is_seen(&self, cell: usize) -> bool {
        self.seen[cell / 64] >> (cell % 64) & 1 == 1
    }

    #[inline]
    fn fold_float(&mut self, cell: usize, v: f64) {
        use AggregateOp::*;
        let begun = self.begin(cell);
        match self.op {
            Sum => {
                if begun {
                    (self.values[cell], self.seconds[cell]) =
                        kahan::add(v, self.values[cell], self.seconds[cell]);
                } else {
                    self.values[cell] = v;
                }
                self.note_float(cell, begun);
            }
            Avg => {
                if begun && self.counts[cell] > 0 {
                    self.means[cell].add(v);
                } else if begun {
                    // The cell began with a histogram: it is dropped in the end.
                    self.means[cell] = Mean::new(v);
                } else {
                    self.means[cell] = Mean::new(v);
                }
                self.counts[cell] += 1;
                self.note_float(cell, begun);
            }
            Count => self.counts[cell] += 1,
            Min if !begun || self.values[cell] > v || self.values[cell].is_nan() => self.values[cell] = v,
            Max if !begun || self.values[cell] < v || self.values[cell].is_nan() => self.values[cell] = v,
            Stddev | Stdvar => {
                self.counts[cell] += 1;
                if !begun {
                    self.values[cell] = if v.is_finite() { 0.0 } else { f64::NAN };
                    self.seconds[cell] = v;
                } else {
                    let delta = v - self.seconds[cell];
                    self.seconds[cell] += delta / f64::from(self.counts[cell]);
                    self.values[cell] += delta * (v - self.seconds[cell]);
                }
            }
            Quantile => self.lists[cell].push(v),
            _ => {}
        }
    }

    fn note_float(&mut self, cell: usize, begun: bool) {
        if let Some(hist) = self.hists.get_mut(cell) {
            hist.has_float = true;
            hist.began_with_float |= !begun;
        }
    }

    /// Takes a histogram; whether it counts.
    fn fold_hist(
        &mut self,
        cell: usize,
        h: &Hist,
        metric: &dyn Fn() -> String,
        annotations: &mut Annotations,
    ) -> bool {
        use AggregateOp::*;
        match self.op {
            Count => {
                self.begin(cell);
                self.counts[cell] += 1;
                true
            }
            Group => {
                self.begin(cell);
                true
            }
            Sum | Avg => {
                let begun = self.begin(cell);
                self.sum_hist(cell, h, begun, metric, annotations);
                true
            }
            _ => {
                annotations.add(Annotation::histogram_ignored_in_aggregation(self.op.as_str(), self.pos));
                false
            }
        }
    }

    fn sum_hist(
        &mut self,
        cell: usize,
        h: &Hist,
        begun: bool,
        metric: &dyn Fn() -> String,
        annotations: &mut Annotations,
    ) {
        if self.hists.is_empty() {
            // What was seen until now were floats only.
            let cells = self.seen.len() * 64;
            let mut hists = vec![HistCell::default(); cells];
            for (i, hist) in hists.iter_mut().enumerate() {
                let float = self.is_seen(i) && (i != cell || begun);
                (hist.has_float, hist.began_with_float) = (float, float);
            }
            self.hists = hists;
        }
        let state = &mut self.hists[cell];
        if state.incompatible {
            return;
        }
        state.has_hist = true;
        if !begun {
            state.sum = Some(Box::new(HistogramSum::new(h, self.op == AggregateOp::Avg)));
            return;
        }
        let Some(sum) = &mut state.sum else { return };
        if sum.add(h).is_err() {
            annotations.add(Annotation::mixed_exponential_custom(&metric(), self.pos));
            state.incompatible = true;
        } else if std::mem::take(&mut sum.bounds_reconciled) {
            annotations.add(Annotation::mismatched_custom_buckets(HistogramOperation::Aggregation, self.pos));
        }
    }

    fn finish(
        &mut self,
        ctx: &EvalContext,
        out: &mut Batch,
        steps: usize,
        param: Option<&[f64]>,
        annotations: &mut Annotations,
    ) -> Result<()> {
        use AggregateOp::*;
        for cell in 0..out.cells() {
            if cell % 64 == 0 || self.op == Quantile {
                ctx.query.check_canceled()?;
            }
            if !self.is_seen(cell) {
                continue;
            }
            if let Some(state) = self.hists.get_mut(cell)
                && state.has_hist
            {
                let state = std::mem::take(state);
                finish_hist(state, cell, self.pos, out, annotations);
                continue;
            }
            let value = match self.op {
                Sum => self.values[cell] + self.seconds[cell],
                Avg => self.means[cell].value(),
                Count => f64::from(self.counts[cell]),
                Group => 1.0,
                Min | Max => self.values[cell],
                Stdvar => self.values[cell] / f64::from(self.counts[cell]),
                Stddev => (self.values[cell] / f64::from(self.counts[cell])).sqrt(),
                Quantile => {
                    let q = param.and_then(|p| p.get(cell % steps)).copied().unwrap_or(f64::NAN);
                    quantile(q, &mut self.lists[cell])
                }
                _ => continue,
            };
            out.set_float(cell, value);
        }
        Ok(())
    }
}

fn finish_hist(state: HistCell, cell: usize, pos: Place, out: &mut Batch, annotations: &mut Annotations) {
    if state.has_float {
        annotations.add(Annotation::mixed_floats_histograms_agg(pos));
        return;
    }
    let Some(sum) = state.sum.filter(|_| !state.incompatible) else { return };
    if sum.resets_conflict() {
        annotations.add(Annotation::counter_reset_collision(HistogramOperation::Aggregation, pos));
    }
    let mut value = sum.finish();
    hist::compact(&mut value);
    out.set_hist(cell, Arc::new(value));
}
