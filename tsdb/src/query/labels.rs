//! Names and values of labels: answered from tables and postings, no sample read.

use std::collections::BTreeSet;

use model::query::LabelList;
use model::{Matcher, StorageError, TimeRange};
use roaring::RoaringBitmap;

use super::block_matchers::matching_series;
use super::matchers::matching_slots;
use crate::db::Block;
use crate::head::Head;
use crate::head::slots::place;
use crate::index::BlockSeriesRef;

/// Whether the head may have a sample in the range.
pub(crate) fn head_overlaps(head: &Head, range: TimeRange) -> bool {
    head.times.min() <= range.end_ms && range.start_ms <= head.times.max()
}

fn matching_any(head: &Head, matcher_sets: &[Vec<Matcher>]) -> RoaringBitmap {
    matcher_sets.iter().fold(RoaringBitmap::new(), |all, set| all | matching_slots(head, set))
}

/// Adds the label names of the head.
pub(crate) fn head_names(head: &Head, matcher_sets: &[Vec<Matcher>], names: &mut BTreeSet<String>) {
    if matcher_sets.is_empty() {
        names.extend(head.symbols.read().names.iter().map(|(_, name)| name.to_owned()));
        return;
    }
    let mut found = RoaringBitmap::new();
    let mut slots = matching_any(head, matcher_sets).into_iter().peekable();
    while let Some(&first) = slots.peek() {
        let (page_number, _) = place(first);
        let (page, _) = head.slots.of(first);
        let page = page.lock();
        while let Some(slot) = slots.next_if(|&slot| place(slot).0 == page_number) {
            let (_, i) = place(slot);
            if page.hot[i].series_ref != 0 {
                found.extend(page.pairs(i).map(|(name, _)| name));
            }
        }
    }
    let tables = head.symbols.read();
    names.extend(found.iter().map(|name| tables.names.text(name).to_owned()));
}

/// Adds the values of a label in the head.
pub(crate) fn head_values(
    head: &Head,
    name: &str,
    matcher_sets: &[Vec<Matcher>],
    values: &mut BTreeSet<String>,
) {
    let matching = (!matcher_sets.is_empty()).then(|| matching_any(head, matcher_sets));
    let tables = head.symbols.read();
    let Some(postings) = tables.names.find(name).and_then(|name| head.postings.name(name)) else { return };
    postings.for_each(|value, list| {
        if matching.as_ref().is_none_or(|slots| list.touches(slots)) {
            values.insert(tables.values.text(value).to_owned());
        }
    });
}

/// Adds the label names of a block.
pub(crate) fn block_names(
    block: &Block,
    matcher_sets: &[Vec<Matcher>],
    names: &mut BTreeSet<String>,
) -> Result<(), StorageError> {
    let index = block.reader.index();
    if matcher_sets.is_empty() {
        names.extend(index.label_names().filter(|name| !name.is_empty()).map(str::to_owned));
        return Ok(());
    }
    let mut found = RoaringBitmap::new();
    let mut labels = Vec::new();
    for series in matching_in_block(block, matcher_sets)? {
        index.series_labels(BlockSeriesRef(series), &mut labels)?;
        found.extend(labels.iter().map(|label| label.0));
    }
    names.extend(found.iter().filter_map(|name| index.symbols().get(name)).map(str::to_owned));
    Ok(())
}

/// Adds the values of a label in a block.
pub(crate) fn block_values(
    block: &Block,
    name: &str,
    matcher_sets: &[Vec<Matcher>],
    values: &mut BTreeSet<String>,
) -> Result<(), StorageError> {
    let index = block.reader.index();
    if matcher_sets.is_empty() {
        index.label_values(name, |value, _| {
            values.insert(value.to_owned());
            true
        })?;
        return Ok(());
    }
    let matching = matching_in_block(block, matcher_sets)?;
    let mut places = Vec::new();
    index.label_values(name, |value, place| {
        places.push((value, place));
        true
    })?;
    for (value, place) in places {
        if index.postings_at(place)?.iter().any(|series| matching.contains(series.0)) {
            values.insert(value.to_owned());
        }
    }
    Ok(())
}

fn matching_in_block(block: &Block, matcher_sets: &[Vec<Matcher>]) -> Result<RoaringBitmap, StorageError> {
    let mut all = RoaringBitmap::new();
    for set in matcher_sets {
        all.extend(matching_series(block.reader.index(), set)?.into_iter().map(|series| series.0));
    }
    Ok(all)
}

/// What was found as an answer, cut to a limit (0: none).
pub(crate) fn answer(found: BTreeSet<String>, limit: usize) -> Result<LabelList, StorageError> {
    let truncated = limit > 0 && found.len() > limit;
    let keep = if limit > 0 { limit } else { usize::MAX };
    let warnings = if truncated { vec!["results truncated due to limit".to_owned()] } else { Vec::new() };
    Ok(LabelList { values: found.into_iter().take(keep).collect(), truncated, warnings })
}
