//! `absent`, `absent_over_time` and the sort functions: what needs to know
//! all samples of a step.

use super::account::Account;
use super::batch::{Batch, Point};
use super::context::{EvalContext, Reservation};
use super::error::Result;
use super::labels::absent_labels;
use super::node::{Vectors, cell_bytes, explain};
use super::repeat::{held, single};
use super::rows::{Pairs, Rows, compare_rows, value_of};
use crate::plan::{Kind, Plan};

/// Labels that `absent` can tell from its argument.
fn labels_of(ctx: &EvalContext, arg: &Plan) -> Pairs {
    match &arg.kind {
        Kind::Selector(s) => absent_labels(ctx, &s.matchers),
        Kind::Matrix(m) => absent_labels(ctx, &m.selector.matchers),
        _ => Pairs::new(),
    }
}

/// 1 at each step where `input` has no sample. `arg` is what was written; windows
/// over a range are counted as if their samples were the result.
pub(crate) fn absent(ctx: &EvalContext, input: Vectors, arg: &Plan, over_time: bool) -> Result<Vectors> {
    let steps = ctx.steps.count;
    let mut found = vec![false; steps];
    // To the end, though the answer may be known early: remarks and counts of
    // samples are part of the answer.
    input.for_each(None, |rows, batch| {
        for cell in 0..rows.len() * steps {
            found[cell % steps] |= batch.is_present(cell);
        }
        Ok(())
    })?;
    let values = found.into_iter().map(|found| (!found).then_some(1.0));
    let account = match over_time {
        true => Account::in_place_of(ctx, input.account()),
        false => Account::steps(ctx, vec![input.account()]),
    };
    single(ctx, "absent", labels_of(ctx, arg), values, over_time, account)
}

/// `sort` and `sort_desc` of an instant query: floats by value, NaN last.
pub(crate) fn by_value(ctx: &EvalContext, input: Vectors, descending: bool) -> Result<Vectors> {
    reordered(ctx, input, |rows, batch| {
        let value = |row: u32| match batch.get(row as usize) {
            Some(Point::Float(v)) => Some(v),
            _ => None,
        };
        rows.retain(|&row| value(row).is_some());
        rows.sort_by(|&a, &b| {
            let (a, b) = (value(a).unwrap_or(f64::NAN), value(b).unwrap_or(f64::NAN));
            a.is_nan().cmp(&b.is_nan()).then_with(|| {
                let order = a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal);
                if descending { order.reverse() } else { order }
            })
        });
        let numbers = rows.partition_point(|&row| value(row).is_some_and(|v| !v.is_nan()));
        if rows.len() <= SORTED_BY_INSERTION {
            rows[numbers..].reverse();
        }
    })
}

/// So few values Go sorts by insertion. As upstream takes NaN for smaller than
/// NaN, too, they come out in reverse.
pub(crate) const SORTED_BY_INSERTION: usize = 12;

/// `sort_by_label` and `sort_by_label_desc` of an instant query.
pub(crate) fn by_label(
    ctx: &EvalContext,
    input: Vectors,
    names: &[String],
    descending: bool,
) -> Result<Vectors> {
    let dictionary = ctx.query.dictionary.clone();
    let ids: Vec<_> = names.iter().map(|name| dictionary.intern(name)).collect();
    let labels = input.rows.clone();
    reordered(ctx, input, |rows, batch| {
        rows.retain(|&row| batch.is_present(row as usize));
        let reader = dictionary.read();
        rows.sort_by(|&a, &b| {
            let (a, b) = (labels.row(a as usize), labels.row(b as usize));
            let order = ids
                .iter()
                .map(|&id| (value_of(a, id), value_of(b, id)))
                .find(|(x, y)| x != y)
                .map(|(x, y)| natural_order(reader.text(x), reader.text(y)))
                .unwrap_or_else(|| compare_rows(&reader, a, b));
            if descending { order.reverse() } else { order }
        });
    })
}

fn reordered(
    ctx: &EvalContext,
    input: Vectors,
    order: impl FnOnce(&mut Vec<u32>, &Batch),
) -> Result<Vectors> {
    let mut memory = Reservation::new(&ctx.query, 0)?;
    let all = input.collect(&mut memory)?;
    let mut sorted: Vec<u32> = (0..input.len() as u32).collect();
    order(&mut sorted, &all);
    let mut rows = Rows::default();
    let mut batch = Batch::default();
    memory.grow_to(memory.bytes() + cell_bytes(sorted.len().saturating_mul(ctx.steps.count)))?;
    batch.reset(sorted.len(), ctx.steps.count);
    for (i, &row) in sorted.iter().enumerate() {
        rows.push(input.rows.row(row as usize).iter().copied(), input.rows.drop_name[row as usize]);
        batch.copy_row(i, &all, row as usize);
    }
    let explained = explain("sort", "", vec![input.explain()]);
    let account = Account::steps(ctx, vec![input.account()]);
    drop(input);
    // What is held from here on is reserved anew.
    drop((all, memory));
    held(ctx, rows, batch, explained, account)
}

/// Order of texts in which runs of digits count as numbers.
/// Source: facette/natsort, which upstream uses.
fn natural_order(a: &str, b: &str) -> std::cmp::Ordering {
    if natural_less(a, b) { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater }
}

fn natural_less(a: &str, b: &str) -> bool {
    let (chunks_a, chunks_b) = (chunks(a), chunks(b));
    for (i, chunk_a) in chunks_a.iter().enumerate() {
        let Some(chunk_b) = chunks_b.get(i) else { return false };
        let (number_a, number_b) = (chunk_a.parse::<i64>(), chunk_b.parse::<i64>());
        match (number_a, number_b) {
            (Ok(x), Ok(y)) => {
                if x == y {
                    // Equal numbers: the shorter text (fewer zeros) is decided last.
                    if i + 1 == chunks_a.len() {
                        return chunks_a.len() < chunks_b.len() || (i + 1 == chunks_b.len() && a < b);
                    }
                    continue;
                }
                return x < y;
            }
            _ => {
                if chunk_a == chunk_b {
                    if i + 1 == chunks_a.len() {
                        return true;
                    }
                    continue;
                }
                return chunk_a < chunk_b;
            }
        }
    }
    chunks_a.len() < chunks_b.len()
}

/// Runs of digits and runs of other characters.
fn chunks(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    let bytes = text.as_bytes();
    for i in 1..=bytes.len() {
        if i == bytes.len() || bytes[i].is_ascii_digit() != bytes[i - 1].is_ascii_digit() {
            out.push(&text[start..i]);
            start = i;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_inside_texts_are_ordered_as_numbers() {
        let mut all = vec!["cpu10", "cpu2", "cpu1", "mem"];
        all.sort_by(|a, b| natural_order(a, b));
        assert_eq!(all, ["cpu1", "cpu2", "cpu10", "mem"]);
    }
}
