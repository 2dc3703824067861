//! Which blocks are to be compacted next: rules over their metadata alone.
//!
//! ```text
//! level 1  ├─2h─┤├─2h─┤├─2h─┤├─2h─┤…      the newest is left alone
//! level 2  ├───────6h────────┤├───────…   aligned to multiples of its length
//! level 3  ├──────────────18h─────────…
//! ```
//!
//! Overlapping blocks come first, then the smallest range that is complete, then
//! blocks of which much was deleted. Source: Prometheus `tsdb/compact.go`.

use model::BlockRange;
use ulid::Ulid;

use crate::block::{BlockHint, BlockMeta};

/// How many ranges there are at most.
const RANGES_MAX: usize = 10;
/// Each range is so many times as long as the one below it.
const RANGE_FACTOR: i64 = 3;
/// A block is rewritten when it has more intervals deleted a series than this.
const DELETED_SHARE_MAX: f64 = 0.05;

/// What planning must know of a block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// Its name.
    pub(crate) ulid: Ulid,
    /// Its times.
    pub(crate) range: BlockRange,
    /// Its compaction failed before.
    pub(crate) failed: bool,
    /// Series in it.
    pub(crate) num_series: u64,
    /// Intervals deleted from it.
    pub(crate) num_tombstones: u64,
    /// Only blocks of one class are merged with each other.
    pub(crate) class: Class,
}

/// Blocks of different classes are never merged: what a hint says must hold for
/// all of a block. Out-of-order blocks merge with ordinary ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Neither of the others.
    Ordinary,
    /// Series that had gone stale.
    Stale,
    /// Series selected by hand.
    Selected,
}

impl Class {
    /// The class of a block.
    pub(crate) fn of(meta: &BlockMeta) -> Class {
        if meta.compaction.has_hint(BlockHint::FromStaleSeries) {
            Class::Stale
        } else if meta.compaction.has_hint(BlockHint::FromSelectedSeries) {
            Class::Selected
        } else {
            Class::Ordinary
        }
    }
}

impl Candidate {
    /// What planning must know of a block.
    pub(crate) fn of(meta: &BlockMeta) -> Candidate {
        Candidate {
            ulid: meta.ulid,
            range: meta.range(),
            failed: meta.compaction.failed,
            num_series: meta.stats.num_series,
            num_tombstones: meta.stats.num_tombstones,
            class: Class::of(meta),
        }
    }
}

/// The rules.
#[derive(Clone, Debug)]
pub(crate) struct Planner {
    /// Lengths of blocks in ms, ascending.
    ranges: Vec<i64>,
    /// Merge blocks that overlap.
    overlapping: bool,
}

/// Lengths of blocks, in ms: the first, three times that, … up to the longest.
pub(crate) fn ranges(shortest_ms: i64, longest_ms: i64) -> Vec<i64> {
    let lengths = std::iter::successors(Some(shortest_ms), |length| length.checked_mul(RANGE_FACTOR));
    let mut ranges: Vec<i64> = lengths.take(RANGES_MAX).take_while(|&length| length <= longest_ms).collect();
    if ranges.is_empty() {
        ranges.push(shortest_ms);
    }
    ranges
}

impl Planner {
    /// The rules for blocks from `shortest_ms` to `longest_ms` length.
    pub(crate) fn new(shortest_ms: i64, longest_ms: i64, overlapping: bool) -> Planner {
        Planner { ranges: ranges(shortest_ms, longest_ms), overlapping }
    }

    /// The blocks that are to become one, in order of time; none where there is
    /// nothing to do.
    pub(crate) fn plan(&self, blocks: &[Candidate]) -> Vec<Ulid> {
        for class in [Class::Ordinary, Class::Stale, Class::Selected] {
            let mut of_class: Vec<&Candidate> = blocks.iter().filter(|block| block.class == class).collect();
            of_class.sort_by_key(|block| block.range.min_ms);
            let planned = self.plan_class(&of_class);
            if !planned.is_empty() {
                return planned;
            }
        }
        Vec::new()
    }

    fn plan_class(&self, blocks: &[&Candidate]) -> Vec<Ulid> {
        if self.overlapping {
            let overlapping = first_overlap(blocks);
            if !overlapping.is_empty() {
                return ulids(overlapping);
            }
        }
        // The newest block stays as it is for one block's length: whoever copies
        // blocks elsewhere has so much time for it.
        let Some((_, settled)) = blocks.split_last() else { return Vec::new() };
        let level = self.complete_range(settled);
        if !level.is_empty() {
            return ulids(level);
        }
        self.much_deleted(settled).map(|block| vec![block.ulid]).unwrap_or_default()
    }

    /// The first group of blocks that fills a range, shortest ranges first.
    fn complete_range<'a, 'b>(&self, blocks: &'a [&'b Candidate]) -> &'a [&'b Candidate] {
        let Some(newest) = blocks.last() else { return &[] };
        for &length in self.ranges.iter().skip(1) {
            for group in groups(blocks, length) {
                let (first, last) = (group[0], group[group.len() - 1]);
                let fills = last.range.max_ms.saturating_sub(first.range.min_ms) == length;
                // Nothing more can come into it.
                let is_over = last.range.max_ms <= newest.range.min_ms;
                if group.len() > 1 && (fills || is_over) && !group.iter().any(|block| block.failed) {
                    return group;
                }
            }
        }
        &[]
    }

    /// The newest block that is worth rewriting without what was deleted.
    fn much_deleted<'b>(&self, blocks: &[&'b Candidate]) -> Option<&'b Candidate> {
        let long = self.ranges[self.ranges.len() / 2];
        for block in blocks.iter().rev() {
            if block.range.max_ms.saturating_sub(block.range.min_ms) < long {
                let all = block.num_tombstones > 0 && block.num_tombstones >= block.num_series;
                return all.then_some(*block);
            }
            let share = block.num_tombstones as f64 / (block.num_series as f64 + 1.0);
            if share > DELETED_SHARE_MAX {
                return Some(*block);
            }
        }
        None
    }
}

fn ulids(blocks: &[&Candidate]) -> Vec<Ulid> {
    blocks.iter().map(|block| block.ulid).collect()
}

/// The first run of blocks that overlap, each at least one before it.
fn first_overlap<'a, 'b>(blocks: &'a [&'b Candidate]) -> &'a [&'b Candidate] {
    let Some(first) = blocks.first() else { return &[] };
    let mut end = first.range.max_ms;
    let mut from = None;
    for (i, block) in blocks.iter().enumerate().skip(1) {
        match (block.range.min_ms < end, from) {
            // The one before it belongs to the run.
            (true, None) => from = Some(i - 1),
            (false, Some(from)) => return &blocks[from..i],
            _ => {}
        }
        end = end.max(block.range.max_ms);
    }
    from.map_or(&[], |from| &blocks[from..])
}

/// Groups of neighbours that lie inside one range of a length, aligned to its
/// multiples. Blocks that cross its bounds are in none.
fn groups<'a, 'b>(blocks: &'a [&'b Candidate], length: i64) -> Vec<&'a [&'b Candidate]> {
    let mut groups = Vec::new();
    let mut i = 0;
    while let Some(block) = blocks.get(i) {
        let start = block.range.min_ms.div_euclid(length).saturating_mul(length);
        let end = start.saturating_add(length);
        let inside = blocks[i..].iter().take_while(|block| block.range.max_ms <= end).count();
        if inside > 0 {
            groups.push(&blocks[i..i + inside]);
        }
        i += inside.max(1);
    }
    groups
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
