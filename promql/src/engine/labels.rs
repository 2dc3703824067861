//! What happens to labels between operators: names that go, rows that become
//! one, `label_replace` and `label_join`.

use model::matcher::GoRegex;
use model::{Label, MatchOp, SymbolId};

use super::batch::Batch;
use super::context::{EvalContext, QueryContext, Reservation};
use super::error::{QueryError, Result};
use super::node::{Node, Vectors, Worker, explain};
use super::repeat::kept;
use super::rows::{Pairs, Rows, set_label, value_of};
use crate::ast::StringLiteral;
use crate::stats::ExplainNode;

/// Rows whose name is gone: at once, or marked to go when the query ends.
pub(crate) fn without_name(query: &QueryContext, mut rows: Rows) -> Rows {
    if query.delayed_name_removal {
        rows.drop_name.fill(true);
        return rows;
    }
    rows.without_metadata(&query.names)
}

/// Rows without the names that were marked to go.
pub(crate) fn dropped_names(query: &QueryContext, rows: &Rows) -> Rows {
    let mut out = Rows::default();
    for i in 0..rows.len() {
        let drop = rows.drop_name[i];
        out.push(
            rows.row(i).iter().copied().filter(|(name, _)| !(drop && query.names.is_metadata(*name))),
            drop,
        );
    }
    out
}

/// [`merged`] for rows that differed before [`without_name`]: where all had the
/// same name they still do.
pub(crate) fn merged_without_name(ctx: &EvalContext, vectors: Vectors, named: &Rows) -> Result<Vectors> {
    if named.agree_on(|name| ctx.query.names.is_metadata(name)) {
        return Ok(vectors);
    }
    merged(ctx, vectors)
}

/// What a range function yields, whose rows were `named`. Unless names are
/// dropped late, rows with equal labels are an error wherever their samples lie.
pub(crate) fn distinct_without_name(ctx: &EvalContext, vectors: Vectors, named: &Rows) -> Result<Vectors> {
    if ctx.query.delayed_name_removal || named.agree_on(|name| ctx.query.names.is_metadata(name)) {
        return Ok(vectors);
    }
    one_each(ctx, vectors, false)
}

/// Makes one row of rows with equal labels. Two samples at one step are an
/// error; an instant query that drops names late finds that at its end.
pub(crate) fn merged(ctx: &EvalContext, vectors: Vectors) -> Result<Vectors> {
    if ctx.query.delayed_name_removal && ctx.instant {
        return Ok(vectors);
    }
    one_each(ctx, vectors, true)
}

/// [`merged`], in every query.
pub(crate) fn merged_always(ctx: &EvalContext, vectors: Vectors) -> Result<Vectors> {
    one_each(ctx, vectors, true)
}

fn one_each(ctx: &EvalContext, vectors: Vectors, may_take_turns: bool) -> Result<Vectors> {
    let Some(mut groups) = vectors.rows.duplicates() else { return Ok(vectors) };
    let mut vectors = vectors;
    if ctx.steps.count == 1 {
        // An instant query shows them in the order of those that are there.
        vectors = kept(ctx, vectors, |all| {
            let is_there = |row: &&u32| all.is_present(**row as usize);
            groups.sort_by_key(|group| group.iter().find(is_there).copied().unwrap_or(group[0]));
        })?;
    }
    let mut rows = Rows::default();
    for group in &groups {
        let first = group[0] as usize;
        rows.push(vectors.rows.row(first).iter().copied(), vectors.rows.drop_name[first]);
    }
    let account = vectors.account();
    let steps = ctx.steps.count;
    let node = Merge { input: vectors, groups, steps, may_take_turns };
    Vectors::passing(ctx, rows, node, account)
}

struct Merge {
    input: Vectors,
    groups: Vec<Vec<u32>>,
    steps: usize,
    /// Rows that never have a sample at the same step are no error.
    may_take_turns: bool,
}

impl Node for Merge {
    fn eval(&self, rows: &[u32], worker: &mut Worker, out: &mut Batch) -> Result<()> {
        let inputs: Vec<u32> = rows.iter().flat_map(|&row| self.groups[row as usize].clone()).collect();
        let mut batch = worker.take_batch(inputs.len(), self.steps);
        let result = self.input.eval(&inputs, worker, &mut batch);
        let mut from = 0;
        let mut clash = false;
        for (i, &row) in rows.iter().enumerate() {
            let mut filled = false;
            for _ in &self.groups[row as usize] {
                let empty = batch.row_len(from) == 0;
                clash |= filled && !empty && !self.may_take_turns;
                filled |= !empty;
                for step in 0..self.steps {
                    if let Some(point) = batch.get(from * self.steps + step) {
                        clash |= out.is_present(i * self.steps + step);
                        out.set(i * self.steps + step, point);
                    }
                }
                from += 1;
            }
        }
        worker.put_batch(batch);
        result?;
        if clash { Err(QueryError::same_labelset()) } else { Ok(()) }
    }

    fn explain(&self) -> ExplainNode {
        explain("merge", "", vec![self.input.explain()])
    }
}

/// Yields the same values under other labels.
struct Relabelled {
    input: Vectors,
    name: &'static str,
}

impl Node for Relabelled {
    fn eval(&self, rows: &[u32], worker: &mut Worker, out: &mut Batch) -> Result<()> {
        self.input.eval(rows, worker, out)
    }

    fn explain(&self) -> ExplainNode {
        explain(self.name, "", vec![self.input.explain()])
    }
}

/// The same values under other labels; rows that become equal are made one.
pub(crate) fn relabelled(
    ctx: &EvalContext,
    input: Vectors,
    rows: Rows,
    name: &'static str,
) -> Result<Vectors> {
    merged_always(ctx, under_labels(ctx, input, rows, name)?)
}

/// The same values under other labels that all differ.
pub(crate) fn under_labels(
    ctx: &EvalContext,
    input: Vectors,
    rows: Rows,
    name: &'static str,
) -> Result<Vectors> {
    let account = input.account();
    Vectors::passing(ctx, rows, Relabelled { input, name }, account)
}

/// `label_replace`
pub(crate) fn replace(
    ctx: &EvalContext,
    input: impl FnOnce() -> Result<Vectors>,
    [dst, replacement, src, pattern]: [&StringLiteral; 4],
) -> Result<Vectors> {
    let (pattern, replacement) = (&pattern.value, &replacement.value);
    let invalid =
        || QueryError::execution(format!("invalid regular expression in label_replace(): {pattern}"));
    let regex = GoRegex::anchored(pattern).map_err(|_| invalid())?;
    let _pattern = Reservation::new(&ctx.query, regex.heap_bytes() as u64)?;
    check_label_name(dst, "destination", "label_replace")?;
    let input = input()?;
    let dictionary = ctx.query.dictionary.clone();
    let (dst_id, src_id) = (dictionary.intern(&dst.value), dictionary.intern(&src.value));
    let references = replacement.matches('$').count();
    let rows = relabel(
        &input.rows,
        dst_id,
        |row| {
            let text = dictionary.read().text(value_of(row, src_id)).to_owned();
            let bytes = replacement.len() + references.saturating_mul(text.len());
            let room = room_for_text(ctx, bytes, text.len())?;
            Ok(regex.captures(&text).map(|groups| (groups.expand(replacement), room)))
        },
        ctx,
    )?;
    relabelled(ctx, input, rows, "label_replace")
}

/// `label_join`
pub(crate) fn join(
    ctx: &EvalContext,
    input: impl FnOnce() -> Result<Vectors>,
    dst: &StringLiteral,
    separator: &str,
    sources: &[&StringLiteral],
) -> Result<Vectors> {
    for src in sources {
        check_label_name(src, "source", "label_join")?;
    }
    check_label_name(dst, "destination", "label_join")?;
    let input = input()?;
    let dictionary = ctx.query.dictionary.clone();
    let dst_id = dictionary.intern(&dst.value);
    let ids: Vec<SymbolId> = sources.iter().map(|src| dictionary.intern(&src.value)).collect();
    let rows = relabel(
        &input.rows,
        dst_id,
        |row| {
            let reader = dictionary.read();
            let parts: Vec<&str> = ids.iter().map(|&id| reader.text(value_of(row, id))).collect();
            let bytes: usize = parts.iter().map(|part| part.len() + separator.len()).sum();
            let room = room_for_text(ctx, bytes, 0)?;
            Ok(Some((parts.join(separator), room)))
        },
        ctx,
    )?;
    relabelled(ctx, input, rows, "label_join")
}

/// Whether a text can name a label: any that is UTF-8 and not empty.
pub(crate) fn is_label_name(name: &StringLiteral) -> bool {
    !name.value.is_empty() && name.bytes.is_none()
}

fn check_label_name(name: &StringLiteral, which: &str, function: &str) -> Result<()> {
    if is_label_name(name) {
        return Ok(());
    }
    let text = &name.value;
    Err(QueryError::execution(format!("invalid {which} label name in {function}(): {text}")))
}

/// Texts of labels up to so many bytes are made without further ado.
const TEXT_BYTES_FREE: usize = 64 * 1024;
/// Longer ones than this are not made at all: functions of functions can ask for
/// labels that no memory holds.
const TEXT_BYTES_MAX: usize = 1 << 30;

/// Room for a text of a label that is to be made, until it is in the dictionary:
/// for itself, for its copy there, and for what it is made of.
fn room_for_text(ctx: &EvalContext, bytes: usize, source: usize) -> Result<Option<Reservation>> {
    if bytes > TEXT_BYTES_MAX {
        let fault = format!("a label of {bytes} bytes is longer than the {TEXT_BYTES_MAX} that are allowed");
        return Err(QueryError::execution(fault));
    }
    let all = (bytes * 2 + source) as u64;
    (bytes > TEXT_BYTES_FREE).then(|| Reservation::new(&ctx.query, all)).transpose()
}

/// Sets a label of each row for which `value` has one.
fn relabel(
    rows: &Rows,
    dst: SymbolId,
    mut value: impl FnMut(&[(SymbolId, SymbolId)]) -> Result<Option<(String, Option<Reservation>)>>,
    ctx: &EvalContext,
) -> Result<Rows> {
    let dictionary = &ctx.query.dictionary;
    let mut out = Rows::default();
    let mut memory = Reservation::new(&ctx.query, 0)?;
    for i in 0..rows.len() {
        let mut drop_name = rows.drop_name[i];
        let mut row: Pairs = rows.row(i).iter().copied().collect();
        if let Some((text, room)) = value(&row)? {
            let id = dictionary.intern(&text);
            drop((text, room));
            set_label(&mut row, dictionary, dst, id);
            // A name that was set on purpose stays.
            drop_name &= dst != SymbolId::METRIC_NAME;
            ctx.query.hold_dictionary()?;
        }
        out.push(row, drop_name);
        memory.follow(i, || out.heap_bytes())?;
    }
    Ok(out)
}

/// The labels of `absent(…)`: those that the selector names once, with `=`.
///
/// Upstream's store moves the matchers that take series away behind the others
/// before the labels are told: so `!=` has the last word on its label wherever
/// it stands, `=~` only behind `=`.
pub(crate) fn absent_labels(ctx: &EvalContext, matchers: &[model::Matcher]) -> Pairs {
    let takes_away =
        |m: &&model::Matcher| matches!(m.op(), MatchOp::NotEqual | MatchOp::NotRegex) && m.matches_empty();
    let (last, first): (Vec<_>, Vec<_>) = matchers.iter().partition(takes_away);
    let mut seen: Vec<&str> = Vec::new();
    let mut labels = model::LabelsBuilder::new();
    for matcher in first.into_iter().chain(last) {
        let name = matcher.name();
        if name == model::METRIC_NAME {
            continue;
        }
        if matcher.op() == MatchOp::Equal && !seen.contains(&name) {
            labels.set(name, matcher.value());
            seen.push(name);
        } else {
            labels.del(name);
        }
    }
    let mut writer = ctx.query.dictionary.write();
    labels.iter().map(|Label { name, value }| (writer.intern(name), writer.intern(value))).collect()
}
