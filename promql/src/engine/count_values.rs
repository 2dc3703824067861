//! `count_values`: how many series of a group have each value.

use super::account::Account;
use super::batch::{Batch, Point};
use super::context::{EvalContext, Reservation};
use super::error::{QueryError, Result};
use super::labels::is_label_name;
use super::node::{Vectors, cell_bytes, explain};
use super::repeat::held;
use super::rows::{HashMap, Pairs, Rows, set_label};
use crate::functions::histogram::to_text;
use crate::plan::{Aggregate, Kind};

/// Counts samples by value under the label that the parameter names.
pub(crate) fn vectors(ctx: &EvalContext, e: &Aggregate) -> Result<Vectors> {
    let label = match e.param.as_ref().map(|p| &p.kind) {
        Some(Kind::String(label)) => label.clone(),
        _ => return Err(QueryError::execution("expected a string as parameter of count_values")),
    };
    if !is_label_name(&label) {
        return Err(QueryError::execution(format!("invalid label name {}", label.quoted())));
    }
    let input = super::build::vectors(ctx, &e.expr)?;
    let dictionary = ctx.query.dictionary.clone();
    let label_id = dictionary.intern(&label.value);
    let mut grouping = e.grouping.clone();
    if !e.without {
        grouping.push(label.value.clone());
    }
    let filter = super::aggregate::filter(ctx, &Aggregate { grouping, ..e.clone() });
    let steps = ctx.steps.count;
    let mut ids: HashMap<Pairs, usize> = HashMap::default();
    let mut rows = Rows::default();
    let mut counts: Vec<u32> = Vec::new();
    let mut memory = Reservation::new(&ctx.query, 0)?;
    input.for_each(None, |block, batch| {
        for (i, &row) in block.iter().enumerate() {
            for step in 0..steps {
                let Some(point) = batch.get(i * steps + step) else { continue };
                let text = match point {
                    Point::Float(v) => model::float::format_f(v),
                    Point::Hist(h) => to_text(h),
                };
                let value = dictionary.intern(&text);
                let mut labels: Pairs = input.rows.row(row as usize).iter().copied().collect();
                set_label(&mut labels, &dictionary, label_id, value);
                let key = filter.apply(&labels);
                let group = match ids.get(&key) {
                    Some(&group) => group,
                    None => {
                        if counts.capacity() - counts.len() < steps {
                            // Room for what is there and what it moves to.
                            let more = (counts.len() / 2).max(16 * steps);
                            memory.grow_to(memory.bytes() + (counts.capacity() + more) as u64 * 4)?;
                            counts.reserve_exact(more);
                        }
                        counts.resize(counts.len() + steps, 0);
                        rows.push(key.iter().copied(), false);
                        ids.insert(key, rows.len() - 1);
                        rows.len() - 1
                    }
                };
                counts[group * steps + step] += 1;
            }
        }
        ctx.query.hold_dictionary()?;
        memory.grow_to(rows.heap_bytes() + counts.capacity() as u64 * 4 + ids.capacity() as u64 * 128)
    })?;
    memory.grow_to(memory.bytes() + cell_bytes(rows.len().saturating_mul(steps)))?;
    let mut batch = Batch::default();
    batch.reset(rows.len(), steps);
    for (cell, &count) in counts.iter().enumerate() {
        if count > 0 {
            batch.set_float(cell, f64::from(count));
        }
    }
    let explained = explain("count_values", "", vec![input.explain()]);
    let account = Account::steps(ctx, vec![input.account()]);
    drop(input);
    // What is held from here on is reserved anew.
    drop((counts, ids, memory));
    held(ctx, rows, batch, explained, account)
}
