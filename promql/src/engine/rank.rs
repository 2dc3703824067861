//! Aggregations that choose among the series of a group at each step: `topk`,
//! `bottomk`, `limitk`, `limit_ratio`.

use model::float::format_g;

use std::sync::Arc;

use super::account::Account;
use super::batch::{Batch, Hist, Point};
use super::context::{EvalContext, Reservation};
use super::error::{QueryError, Result};
use super::node::{Node, Vectors, Worker, explain};
use super::presence::SORTED_BY_INSERTION;
use super::repeat::nothing;
use super::rows::{Groups, Rows, label_hash};
use super::scalar::Column;
use crate::annotations::{Annotation, Annotations};
use crate::ast::AggregateOp;
use crate::plan::Aggregate;
use crate::stats::ExplainNode;

/// A chosen sample.
#[derive(Clone, Debug)]
struct Chosen {
    value: f64,
    hist: Option<Hist>,
    row: u32,
}

/// Chooses by rank or by order; `param` is `k` or the ratio.
pub(crate) fn vectors(ctx: &EvalContext, e: &Aggregate, param: Column) -> Result<Vectors> {
    let input = super::build::vectors(ctx, &e.expr)?;
    let account = Account::aggregate(ctx, Some(param.account), input.account());
    let param = param.values;
    if e.op == AggregateOp::LimitRatio {
        return limit_ratio(ctx, e, param, input, account);
    }
    let max = param.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let has_nan = param.iter().any(|p| p.is_nan());
    // Upstream's maximum is NaN where any value is, and NaN is not below 1.
    if !has_nan && max < 1.0 {
        return empty(ctx, e, &input, account);
    }
    if has_nan {
        return Err(QueryError::execution("Parameter value is NaN"));
    }
    let min = param.iter().copied().fold(f64::INFINITY, f64::min);
    if min <= i64::MIN as f64 {
        return Err(QueryError::execution(format!("Scalar value {} underflows int64", format_g(min))));
    }
    if max >= i64::MAX as f64 {
        return Err(QueryError::execution(format!("Scalar value {} overflows int64", format_g(max))));
    }
    let mut room = Reservation::new(&ctx.query, 0)?;
    let follow = |row, bytes| room.follow(row, || bytes);
    let groups = Groups::new(&input.rows, &super::aggregate::filter(ctx, e), follow)?;
    let steps = ctx.steps.count;
    let mut heaps: Vec<Vec<Chosen>> = vec![Vec::new(); groups.keys.len() * steps];
    let mut memory = Reservation::new(&ctx.query, (heaps.len() * 24) as u64)?;
    let mut annotations = Annotations::default();
    // How many samples the heaps have room for.
    let mut kept = 0u64;
    // For how many samples k makes room, and which order the heap has.
    let size = |step: usize| (param[step] as i64).min(input.len() as i64);
    // Groups in order of their first sample, which instant queries show.
    let mut order: Vec<u32> = Vec::new();
    let mut met = vec![false; groups.keys.len()];
    input.for_each(None, |rows, batch| {
        for (i, &row) in rows.iter().enumerate() {
            let group = groups.of_row[row as usize] as usize;
            if steps == 1 && !met[group] && batch.is_present(i) {
                met[group] = true;
                order.push(group as u32);
            }
            for step in 0..steps {
                let Some(point) = batch.get(i * steps + step) else { continue };
                let k = size(step);
                if k < 1 {
                    continue;
                }
                let heap = &mut heaps[group * steps + step];
                if heap.len() == heap.capacity() && heap.len() < k as usize {
                    // All heaps grow at about the same time: room first.
                    let more = (heap.len() / 2).clamp(4, (k as usize - heap.len()).max(4));
                    kept += more as u64;
                    memory.grow_to(heaps_bytes(groups.keys.len() * steps, kept))?;
                    heap.reserve_exact(more);
                }
                let chosen = match point {
                    Point::Float(value) => Chosen { value, hist: None, row },
                    Point::Hist(h) if e.op == AggregateOp::Limitk => {
                        Chosen { value: 0.0, hist: Some(h.clone()), row }
                    }
                    Point::Hist(_) => {
                        annotations.add(Annotation::histogram_ignored_in_aggregation(e.op.as_str(), e.place));
                        continue;
                    }
                };
                match e.op {
                    AggregateOp::Limitk if heap.len() < k as usize => push(heap, chosen, true),
                    AggregateOp::Limitk => {}
                    op => offer(heap, chosen, k as usize, op == AggregateOp::Topk),
                }
            }
        }
        Ok(())
    })?;
    ctx.annotate(annotations);
    if steps == 1 {
        heaps = order.into_iter().map(|group| std::mem::take(&mut heaps[group as usize])).collect();
    }
    collect(ctx, e, input, heaps, account)
}

fn heaps_bytes(heaps: usize, kept: u64) -> u64 {
    heaps as u64 * 24 + kept * size_of::<Chosen>() as u64
}

/// Nothing is chosen; remarks on the input and its samples count all the same.
fn empty(ctx: &EvalContext, e: &Aggregate, input: &Vectors, account: Arc<Account>) -> Result<Vectors> {
    input.for_each(None, |_, _| Ok(()))?;
    ctx.query.aside.lock().push(input.explain());
    nothing(ctx, e.op.as_str(), account)
}

/// Whether `a` stands nearer the root than `b`: what is given up first.
/// NaN is worse than every number.
fn worse(a: f64, b: f64, top: bool) -> bool {
    a.is_nan() || if top { a < b } else { a > b }
}

/// Puts a sample into a heap whose root is the worst. An instant query shows
/// what `limitk` and `limit_ratio` let pass in the order of such a heap.
fn push(heap: &mut Vec<Chosen>, new: Chosen, top: bool) {
    heap.push(new);
    let mut child = heap.len() - 1;
    while child > 0 {
        let parent = (child - 1) / 2;
        if !worse(heap[child].value, heap[parent].value, top) {
            break;
        }
        heap.swap(child, parent);
        child = parent;
    }
}

/// Keeps the `k` best in a heap whose root is the worst of them.
fn offer(heap: &mut Vec<Chosen>, new: Chosen, k: usize, top: bool) {
    if heap.len() < k {
        return push(heap, new, top);
    }
    let root = heap[0].value;
    let better = if top { root < new.value } else { root > new.value };
    if better || (root.is_nan() && !new.value.is_nan()) {
        heap[0] = new;
        let mut at = 0;
        loop {
            let mut next = 2 * at + 1;
            if next >= heap.len() {
                break;
            }
            if next + 1 < heap.len() && worse(heap[next + 1].value, heap[next].value, top) {
                next += 1;
            }
            if !worse(heap[next].value, heap[at].value, top) {
                break;
            }
            heap.swap(at, next);
            at = next;
        }
    }
}

/// Makes a vector of what was chosen; at one step in order of rank.
fn collect(
    ctx: &EvalContext,
    e: &Aggregate,
    input: Vectors,
    mut heaps: Vec<Vec<Chosen>>,
    account: Arc<Account>,
) -> Result<Vectors> {
    let steps = ctx.steps.count;
    if matches!(e.op, AggregateOp::Topk | AggregateOp::Bottomk) {
        let top = e.op == AggregateOp::Topk;
        for heap in &mut heaps {
            heap.sort_by(|a, b| {
                a.value.is_nan().cmp(&b.value.is_nan()).then_with(|| {
                    let order = a.value.partial_cmp(&b.value).unwrap_or(std::cmp::Ordering::Equal);
                    if top { order.reverse() } else { order }
                })
            });
            if heap.len() <= SORTED_BY_INSERTION {
                let numbers = heap.partition_point(|chosen| !chosen.value.is_nan());
                heap[numbers..].reverse();
            }
        }
    }
    let mut place: Vec<Option<u32>> = vec![None; input.len()];
    let mut order: Vec<u32> = Vec::new();
    for chosen in heaps.iter().flatten() {
        let slot = &mut place[chosen.row as usize];
        if slot.is_none() {
            *slot = Some(order.len() as u32);
            order.push(chosen.row);
        }
    }
    if steps > 1 {
        order.sort_unstable();
        for (at, &row) in order.iter().enumerate() {
            place[row as usize] = Some(at as u32);
        }
    }
    let mut rows = Rows::default();
    for &row in &order {
        rows.push(input.rows.row(row as usize).iter().copied(), input.rows.drop_name[row as usize]);
    }
    let kept: usize = heaps.iter().map(Vec::len).sum();
    let bytes = kept * size_of::<(u32, Chosen)>() + order.len() * 4;
    let memory = Reservation::new(&ctx.query, bytes as u64)?;
    // Points by row, and inside by step: a row is often chosen at few steps only.
    let mut ends = vec![0u32; order.len()];
    let mut points: Vec<(u32, Chosen)> = Vec::with_capacity(kept);
    for (i, heap) in heaps.into_iter().enumerate() {
        for mut chosen in heap {
            let Some(at) = place[chosen.row as usize] else { continue };
            chosen.row = at;
            ends[at as usize] += 1;
            points.push(((i % steps.max(1)) as u32, chosen));
        }
    }
    points.sort_unstable_by_key(|(step, chosen)| (chosen.row, *step));
    let mut end = 0;
    for count in &mut ends {
        end += *count;
        *count = end;
    }
    let explained = explain(e.op.as_str(), "", vec![input.explain()]);
    drop(input);
    let node = Sparse { ends, points, explain: explained, _memory: memory };
    Vectors::new(ctx, rows, node, account)
}

/// What was chosen, by row.
struct Sparse {
    /// Where the points of each row end.
    ends: Vec<u32>,
    /// Step and sample.
    points: Vec<(u32, Chosen)>,
    explain: ExplainNode,
    _memory: Reservation,
}

impl Node for Sparse {
    fn eval(&self, rows: &[u32], _: &mut Worker, out: &mut Batch) -> Result<()> {
        let steps = out.steps();
        for (i, &row) in rows.iter().enumerate() {
            let start = if row == 0 { 0 } else { self.ends[row as usize - 1] as usize };
            for (step, chosen) in &self.points[start..self.ends[row as usize] as usize] {
                let cell = i * steps + *step as usize;
                match &chosen.hist {
                    Some(h) => out.set_hist(cell, h.clone()),
                    None => out.set_float(cell, chosen.value),
                }
            }
        }
        Ok(())
    }

    fn explain(&self) -> ExplainNode {
        self.explain.clone()
    }
}

/// `limit_ratio`: a series is in by its hash alone, so nothing is held.
fn limit_ratio(
    ctx: &EvalContext,
    e: &Aggregate,
    param: Vec<f64>,
    input: Vectors,
    account: Arc<Account>,
) -> Result<Vectors> {
    if param.iter().all(|&p| p == 0.0) {
        return empty(ctx, e, &input, account);
    }
    if param.iter().any(|p| p.is_nan()) {
        return Err(QueryError::execution("Ratio value is NaN"));
    }
    let max = param.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let min = param.iter().copied().fold(f64::INFINITY, f64::min);
    let pos = e.place.at(e.param.as_ref().map(|p| p.pos).unwrap_or_default());
    let mut annotations = Annotations::default();
    if max > 1.0 {
        annotations.add(Annotation::invalid_ratio(max, 1.0, pos));
    }
    if min < -1.0 {
        annotations.add(Annotation::invalid_ratio(min, -1.0, pos));
    }
    ctx.annotate(annotations);
    let ratios: Vec<f64> = param.iter().map(|p| p.clamp(-1.0, 1.0)).collect();
    if let [ratio] = ratios[..] {
        return limit_ratio_at_once(ctx, e, ratio, input, account);
    }
    let reader = ctx.query.dictionary.read();
    let mut offsets = Vec::with_capacity(input.len());
    let mut keep = Vec::new();
    for i in 0..input.len() {
        let offset = label_hash(&reader, input.rows.row(i)) as f64 / u64::MAX as f64;
        if ratios.iter().any(|&r| in_ratio(r, offset)) {
            keep.push(i as u32);
            offsets.push(offset);
        }
    }
    drop(reader);
    let mut rows = Rows::default();
    for &row in &keep {
        rows.push(input.rows.row(row as usize).iter().copied(), input.rows.drop_name[row as usize]);
    }
    input.drain(|row| keep.binary_search(&row).is_ok())?;
    Vectors::new(ctx, rows, Ratio { input, keep, offsets, ratios }, account)
}

/// The same at one step, in the order that instant queries show.
fn limit_ratio_at_once(
    ctx: &EvalContext,
    e: &Aggregate,
    ratio: f64,
    input: Vectors,
    account: Arc<Account>,
) -> Result<Vectors> {
    let mut room = Reservation::new(&ctx.query, 0)?;
    let follow = |row, bytes| room.follow(row, || bytes);
    let groups = Groups::new(&input.rows, &super::aggregate::filter(ctx, e), follow)?;
    let mut heaps: Vec<Vec<Chosen>> = vec![Vec::new(); groups.keys.len()];
    let mut order: Vec<usize> = Vec::new();
    let mut met = vec![false; groups.keys.len()];
    let mut kept = 0;
    let mut memory = Reservation::new(&ctx.query, heaps_bytes(heaps.len(), 0))?;
    input.for_each(None, |rows, batch| {
        for (i, &row) in rows.iter().enumerate() {
            let Some(point) = batch.get(i) else { continue };
            let group = groups.of_row[row as usize] as usize;
            if !std::mem::replace(&mut met[group], true) {
                order.push(group);
            }
            let reader = ctx.query.dictionary.read();
            let offset = label_hash(&reader, input.rows.row(row as usize)) as f64 / u64::MAX as f64;
            if in_ratio(ratio, offset) {
                let (value, hist) = match point {
                    Point::Float(value) => (value, None),
                    Point::Hist(h) => (0.0, Some(h.clone())),
                };
                push(&mut heaps[group], Chosen { value, hist, row }, true);
                kept += 1;
            }
        }
        // Lists have room for twice as many when they grow.
        memory.grow_to(heaps_bytes(groups.keys.len(), kept * 2))
    })?;
    let heaps = order.into_iter().map(|group| std::mem::take(&mut heaps[group])).collect();
    collect(ctx, e, input, heaps, account)
}

fn in_ratio(ratio: f64, offset: f64) -> bool {
    if ratio == 0.0 {
        return false;
    }
    if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio }
}

struct Ratio {
    input: Vectors,
    keep: Vec<u32>,
    offsets: Vec<f64>,
    ratios: Vec<f64>,
}

impl Node for Ratio {
    fn eval(&self, rows: &[u32], worker: &mut Worker, out: &mut Batch) -> Result<()> {
        let inputs: Vec<u32> = rows.iter().map(|&row| self.keep[row as usize]).collect();
        self.input.eval(&inputs, worker, out)?;
        let steps = self.ratios.len();
        for (i, &row) in rows.iter().enumerate() {
            for (step, &ratio) in self.ratios.iter().enumerate() {
                if !in_ratio(ratio, self.offsets[row as usize]) {
                    out.remove(i * steps + step);
                }
            }
        }
        Ok(())
    }

    fn explain(&self) -> ExplainNode {
        explain("limit_ratio", "", vec![self.input.explain()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_stay_and_nan_goes_first() {
        let mut heap = Vec::new();
        for (row, value) in [3.0, f64::NAN, 1.0, 9.0, 5.0].into_iter().enumerate() {
            offer(&mut heap, Chosen { value, hist: None, row: row as u32 }, 3, true);
        }
        let mut values: Vec<f64> = heap.iter().map(|c| c.value).collect();
        values.sort_by(f64::total_cmp);
        assert_eq!(values, [3.0, 5.0, 9.0]);
    }
}
