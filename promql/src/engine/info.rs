//! `info(v, {selector})`: adds labels of info metrics that share the
//! identifying labels of each series.

use model::{MatchOp, Matcher, SymbolId};

use super::account::Account;
use super::batch::{Batch, Hist, Point};
use super::context::{EvalContext, Reservation};
use super::error::{QueryError, Result};
use super::node::{Vectors, explain};
use super::repeat::{held, kept};
use super::rows::{HashMap, HashSet, Pair, Pairs, Rows, set_label, value_of};
use super::selector::{self, Want};
use crate::plan::{Call, Kind, Pin, Plan, Selector};

const TARGET_INFO: &str = "target_info";
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// The info metrics' labels that are asked for: matchers by label.
struct Wanted {
    name: Vec<Matcher>,
    data: Vec<Matcher>,
}

impl Wanted {
    fn new(selector: Option<&Selector>) -> Wanted {
        let matchers = selector.map(|s| s.matchers.clone()).unwrap_or_default();
        let (name, data) = matchers.into_iter().partition(|m| m.name() == model::METRIC_NAME);
        Wanted { name, data }
    }

    /// What the info metrics' names must match: where nothing is said, or only
    /// what they are not, upstream's conventions say the rest.
    fn names(&self) -> Vec<Matcher> {
        let name = |op, value| Matcher::new(op, model::METRIC_NAME, value).into_iter();
        if self.name.is_empty() {
            return name(MatchOp::Equal, TARGET_INFO).collect();
        }
        let positive = self.name.iter().any(|m| matches!(m.op(), MatchOp::Equal | MatchOp::Regex));
        if positive {
            return self.name.clone();
        }
        name(MatchOp::Regex, ".+_info").chain(self.name.iter().cloned()).collect()
    }
}

/// One output series: its points by step.
#[derive(Default)]
struct Points {
    floats: Vec<(u32, f64)>,
    hists: Vec<(u32, Hist)>,
}

/// `info`
pub(crate) fn vectors(ctx: &EvalContext, e: &Call) -> Result<Vectors> {
    let Some(base_plan) = e.args.first() else {
        return Err(QueryError::execution("missing argument of info"));
    };
    let base = super::build::vectors(ctx, base_plan)?;
    // Series without a sample have no part in what is selected.
    let steps = ctx.steps.count;
    let mut is_empty = vec![false; base.len()];
    let base = kept(ctx, base, |all| {
        for (row, is_empty) in is_empty.iter_mut().enumerate() {
            *is_empty = steps == 0 || all.row_len(row) == 0;
        }
    })?;
    let selector = e.args.get(1).and_then(|arg| match &arg.kind {
        Kind::Selector(s) => Some(&**s),
        Kind::Invariant(inner) => match &inner.kind {
            Kind::Selector(s) => Some(&**s),
            _ => None,
        },
        _ => None,
    });
    let wanted = Wanted::new(selector);
    let names = wanted.names();
    let ids: Vec<SymbolId> = IDENTIFYING.iter().map(|name| ctx.query.dictionary.intern(name)).collect();
    let reader = ctx.query.dictionary.read();
    let is_info: Vec<bool> = (0..base.len())
        .map(|row| {
            if is_empty[row] {
                return true;
            }
            let name = reader.text(value_of(base.rows.row(row), SymbolId::METRIC_NAME));
            names.iter().all(|m| m.matches(name))
        })
        .collect();
    drop(reader);
    let info = select_info(ctx, base_plan, &base, &is_info, &wanted, &names, &ids)?;
    Combine { ctx, base: &base, is_info: &is_info, wanted: &wanted, ids: &ids }.run(info)
}

/// `@` and offset of the first selector of an expression, subqueries around it included.
fn first_selector_time(plan: &Plan, around: &[(Option<i64>, i64)]) -> Option<(Option<i64>, i64)> {
    let below = |plan: &Plan| first_selector_time(plan, around);
    match &plan.kind {
        Kind::Number(_) | Kind::String(_) => None,
        Kind::Negate(e) | Kind::Same(e) | Kind::Invariant(e) => below(e),
        Kind::Binary(e) => below(&e.lhs).or_else(|| below(&e.rhs)),
        Kind::Chain(e) => e.operands().find_map(below),
        Kind::Aggregate(e) => below(&e.expr).or_else(|| e.param.as_ref().and_then(below)),
        Kind::Call(e) => e.args.iter().find_map(below),
        Kind::Selector(s) => Some(with_subqueries(s, around)),
        Kind::Matrix(m) => Some(with_subqueries(&m.selector, around)),
        Kind::Subquery(s) => {
            let mut inner = around.to_vec();
            inner.push((s.at_ms, s.offset_ms));
            first_selector_time(&s.expr, &inner)
        }
    }
}

fn with_subqueries(selector: &Selector, around: &[(Option<i64>, i64)]) -> (Option<i64>, i64) {
    let (mut at, mut offset) = (selector.at_ms, selector.offset_ms);
    for &(subquery_at, subquery_offset) in around.iter().rev() {
        if at.is_some() {
            break;
        }
        offset += subquery_offset;
        at = subquery_at;
    }
    (at, offset)
}

/// The info series that may match any base series; their values are the times
/// of their samples in ms.
fn select_info(
    ctx: &EvalContext,
    base_plan: &Plan,
    base: &Vectors,
    is_info: &[bool],
    wanted: &Wanted,
    names: &[Matcher],
    ids: &[SymbolId],
) -> Result<Option<Vectors>> {
    let reader = ctx.query.dictionary.read();
    let mut matchers = Vec::new();
    for (&id, label) in ids.iter().zip(IDENTIFYING) {
        let mut values: Vec<&str> = (0..base.len())
            .filter(|&row| !is_info[row])
            .map(|row| reader.text(value_of(base.rows.row(row), id)))
            .filter(|value| !value.is_empty())
            .collect();
        values.sort_unstable();
        values.dedup();
        if values.is_empty() {
            continue;
        }
        let pattern = values.iter().map(|v| quote_meta(v)).collect::<Vec<_>>().join("|");
        let matcher = Matcher::new(MatchOp::Regex, label, &pattern)
            .map_err(|error| QueryError::execution(error.to_string()))?;
        matchers.push(matcher);
    }
    drop(reader);
    if matchers.is_empty() {
        return Ok(None);
    }
    matchers.extend(wanted.data.iter().cloned());
    matchers.extend(names.iter().cloned());
    let (at_ms, offset_ms) = first_selector_time(base_plan, &[]).unwrap_or((None, 0));
    let selector = Selector {
        matchers,
        offset_ms,
        at_ms,
        pin: Pin::Still,
        anchored: false,
        smoothed: false,
        stats_only: false,
        func: Some("info"),
        grouping: None,
    };
    selector::vectors(ctx, &selector, Want::InfoTimestamp, base_plan.place()).map(Some)
}

fn quote_meta(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

struct Combine<'a> {
    ctx: &'a EvalContext,
    base: &'a Vectors,
    is_info: &'a [bool],
    wanted: &'a Wanted,
    ids: &'a [SymbolId],
}

impl Combine<'_> {
    fn signature(&self, row: &[Pair]) -> Pairs {
        row.iter().copied().filter(|(name, _)| self.ids.contains(name)).collect()
    }

    fn run(self, info: Option<Vectors>) -> Result<Vectors> {
        let steps = self.ctx.steps.count;
        let mut memory = Reservation::new(&self.ctx.query, 0)?;
        let (info_batch, info_rows) = match &info {
            Some(info) => (info.collect(&mut memory)?, info.rows.clone()),
            None => (Batch::default(), Rows::default()),
        };
        // Info series by identity, and inside by name.
        let mut by_identity: HashMap<Pairs, Vec<(SymbolId, Vec<u32>)>> = HashMap::default();
        for row in 0..info_rows.len() {
            let labels = info_rows.row(row);
            let name = value_of(labels, SymbolId::METRIC_NAME);
            let names = by_identity.entry(self.signature(labels)).or_default();
            match names.iter_mut().find(|(have, _)| *have == name) {
                Some((_, rows)) => rows.push(row as u32),
                None => names.push((name, vec![row as u32])),
            }
        }
        let data_ids: HashSet<SymbolId> =
            self.wanted.data.iter().map(|m| self.ctx.query.dictionary.intern(m.name())).collect();
        let keep_unmatched = self.wanted.data.iter().all(|m| m.matches_empty());
        let newest = Newest { batch: &info_batch, rows: &info_rows, steps, ctx: self.ctx };
        let mut any_base = vec![false; steps];
        let mut out: HashMap<Pairs, usize> = HashMap::default();
        let mut rows = Rows::default();
        let mut points: Vec<Points> = Vec::new();
        let (info_bytes, mut held_bytes) = (info_batch.heap_bytes(), 0);
        self.base.for_each(None, |block, batch| {
            for (i, &row) in block.iter().enumerate() {
                let labels = self.base.rows.row(row as usize);
                let candidates: &[(SymbolId, Vec<u32>)] = if self.is_info[row as usize] {
                    &[]
                } else {
                    by_identity.get(&self.signature(labels)).map_or(&[], Vec::as_slice)
                };
                for (step, any_base) in any_base.iter_mut().enumerate() {
                    let Some(point) = batch.get(i * steps + step) else { continue };
                    *any_base = true;
                    let mut chosen = Vec::new();
                    for (_, rows) in candidates {
                        chosen.extend(newest.at(rows, step)?);
                    }
                    let name: Pairs = if self.is_info[row as usize] {
                        labels.iter().copied().collect()
                    } else if chosen.is_empty() {
                        if !keep_unmatched {
                            continue;
                        }
                        labels.iter().copied().collect()
                    } else {
                        self.enriched(labels, &chosen, &info_rows, &data_ids)?
                    };
                    let slot = *out.entry(name).or_insert_with_key(|name| {
                        rows.push(name.iter().copied(), self.base.rows.drop_name[row as usize]);
                        points.push(Points::default());
                        points.len() - 1
                    });
                    held_bytes += size_of::<(u32, f64)>() as u64;
                    match point {
                        Point::Float(v) => points[slot].floats.push((step as u32, v)),
                        Point::Hist(h) => points[slot].hists.push((step as u32, h.clone())),
                    }
                }
            }
            memory.grow_to(info_bytes + held_bytes + rows.heap_bytes())
        })?;
        newest.check(&by_identity, &any_base)?;
        let mut batch = Batch::default();
        memory.grow_to(info_bytes + held_bytes + (rows.len() * steps * 9) as u64)?;
        batch.reset(rows.len(), steps);
        for (row, points) in points.into_iter().enumerate() {
            for (step, v) in points.floats {
                place(&mut batch, row * steps + step as usize, Point::Float(v))?;
            }
            for (step, h) in points.hists {
                place(&mut batch, row * steps + step as usize, Point::Hist(&h))?;
            }
        }
        let mut explained = vec![self.base.explain()];
        explained.extend(info.as_ref().map(Vectors::explain));
        let mut operands = vec![self.base.account()];
        operands.extend(info.as_ref().map(Vectors::account));
        let account = Account::kept(self.ctx, operands);
        held(self.ctx, rows, batch, explain("info", "", explained), account)
    }

    /// A base series' labels with those of the info series it meets.
    fn enriched(
        &self,
        base: &[Pair],
        chosen: &[u32],
        info: &Rows,
        data: &HashSet<SymbolId>,
    ) -> Result<Pairs> {
        let dictionary = &self.ctx.query.dictionary;
        let mut added: Vec<Pair> = Vec::new();
        for &row in chosen {
            for &(name, value) in info.row(row as usize) {
                if name == SymbolId::METRIC_NAME || (!data.is_empty() && !data.contains(&name)) {
                    continue;
                }
                match added.iter().find(|(have, _)| *have == name) {
                    Some((_, have)) if *have != value => {
                        let reader = dictionary.read();
                        let label = reader.text(name);
                        return Err(QueryError::execution(format!("conflicting label: {label}")));
                    }
                    Some(_) => {}
                    None if value_of(base, name) != SymbolId::EMPTY => {}
                    None => added.push((name, value)),
                }
            }
        }
        let mut row: Pairs = base.iter().copied().collect();
        for (name, value) in added {
            set_label(&mut row, dictionary, name, value);
        }
        Ok(row)
    }
}

fn place(batch: &mut Batch, cell: usize, point: Point<'_>) -> Result<()> {
    if batch.is_present(cell) {
        return Err(QueryError::same_labelset());
    }
    batch.set(cell, point);
    Ok(())
}

/// The info series with the newest sample at a step.
struct Newest<'a> {
    batch: &'a Batch,
    rows: &'a Rows,
    steps: usize,
    ctx: &'a EvalContext,
}

impl Newest<'_> {
    fn at(&self, rows: &[u32], step: usize) -> Result<Option<u32>> {
        let mut best: Option<(u32, f64)> = None;
        for &row in rows {
            let Some(Point::Float(time)) = self.batch.get(row as usize * self.steps + step) else { continue };
            match best {
                Some((_, newest)) if newest > time => {}
                Some((have, newest)) if newest == time => {
                    let text =
                        |row: u32| self.ctx.query.dictionary.labels(self.rows.row(row as usize)).to_string();
                    return Err(QueryError::execution(format!(
                        "found duplicate series for info metric: existing {} @ {}, new {} @ {}",
                        text(have),
                        newest as i64,
                        text(row),
                        time as i64
                    )));
                }
                _ => best = Some((row, time)),
            }
        }
        Ok(best.map(|(row, _)| row))
    }

    /// Duplicates are an error also where no base series has their identity.
    fn check(&self, by_identity: &HashMap<Pairs, Vec<(SymbolId, Vec<u32>)>>, present: &[bool]) -> Result<()> {
        for (_, rows) in by_identity.values().flatten() {
            if rows.len() > 1 {
                for (step, &present) in present.iter().enumerate() {
                    if present {
                        self.at(rows, step)?;
                    }
                }
            }
        }
        Ok(())
    }
}
