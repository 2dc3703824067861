//! Label rows in label order: sorting those of the head, merging those of
//! several sources.

use std::cmp::Ordering;

use hashbrown::HashMap;
use model::query::DictionaryReader;
use model::{Dictionary, LabelTable, SymbolId};

use crate::head::symbols::{SymbolTable, Tables};

/// Rows of symbol numbers on their way to a sorted table.
#[derive(Default)]
pub(crate) struct HeadRows {
    pairs: Vec<(u32, u32)>,
    ends: Vec<u32>,
}

/// For each symbol number in use: its place in the order of texts, and its
/// number in the query's dictionary.
struct Ranks {
    by_number: Translation,
    ids: Vec<SymbolId>,
}

/// Dense where most numbers are in use, else a map.
enum Translation {
    Dense(Vec<u32>),
    Sparse(HashMap<u32, u32, rapidhash::fast::RandomState>),
}

impl Translation {
    fn get(&self, number: u32) -> u32 {
        match self {
            Translation::Dense(ranks) => ranks[number as usize],
            Translation::Sparse(ranks) => ranks.get(&number).copied().unwrap_or(u32::MAX),
        }
    }
}

impl Ranks {
    /// The dictionary's id of a symbol number in use.
    fn id(&self, number: u32) -> SymbolId {
        self.ids[self.by_number.get(number) as usize]
    }

    fn new(
        table: &SymbolTable,
        numbers: impl Iterator<Item = u32> + Clone,
        n: usize,
        dictionary: &Dictionary,
    ) -> Ranks {
        let dense = table.id_bound() <= n * 8;
        let mut distinct: Vec<u32> = Vec::new();
        let mut by_number = if dense {
            let mut seen = vec![u32::MAX; table.id_bound()];
            for number in numbers {
                if seen[number as usize] == u32::MAX {
                    seen[number as usize] = 0;
                    distinct.push(number);
                }
            }
            Translation::Dense(seen)
        } else {
            let mut seen: HashMap<u32, u32, _> = HashMap::default();
            for number in numbers {
                if seen.insert(number, 0).is_none() {
                    distinct.push(number);
                }
            }
            Translation::Sparse(seen)
        };
        distinct.sort_unstable_by(|&a, &b| table.text(a).cmp(table.text(b)));
        let mut writer = dictionary.write();
        let ids = distinct.iter().map(|&number| writer.intern(table.text(number))).collect();
        for (rank, &number) in distinct.iter().enumerate() {
            match &mut by_number {
                Translation::Dense(ranks) => ranks[number as usize] = rank as u32,
                Translation::Sparse(ranks) => {
                    ranks.insert(number, rank as u32);
                }
            }
        }
        Ranks { by_number, ids }
    }
}

/// The order of rows that all have the same label names, which most selects
/// find. The ranks of the values that differ fit one number, and numbers sort
/// several times faster than rows: `None` where it is not so.
///
/// ```text
/// instance=b code=200      instance  0 1   code  00 01 10      0 01│row
/// instance=a code=404      ───────▶  b a         200 404 500   1 00│row
/// ```
fn packed_order(pairs: &[(u32, u32)], ends: &[u32], values: &Ranks) -> Option<Vec<u32>> {
    let width = *ends.first()? as usize;
    let shape = &pairs[..width];
    let same_width = ends.iter().zip(1..).all(|(&end, n)| end as usize == n * width);
    if !same_width || width == 0 {
        return None;
    }
    let mut varies = vec![false; width];
    for row in pairs.chunks_exact(width) {
        for ((pair, first), varies) in row.iter().zip(shape).zip(&mut varies) {
            if pair.0 != first.0 {
                return None;
            }
            *varies |= pair.1 != first.1;
        }
    }
    // Per label that varies: ranks among its own values, and the bits they take.
    let mut packed: Vec<u128> = vec![0; ends.len()];
    let mut bits = 0;
    let mut dense = vec![0u32; values.ids.len()];
    for column in (0..width).filter(|&column| varies[column]) {
        let ranks = || pairs[column..].iter().step_by(width).map(|pair| values.by_number.get(pair.1));
        dense.fill(0);
        for rank in ranks() {
            dense[rank as usize] = 1;
        }
        let mut next = 0;
        for seen in &mut dense {
            let is_seen = std::mem::replace(seen, next);
            next += is_seen;
        }
        let column_bits = u32::BITS - (next - 1).leading_zeros();
        bits += column_bits;
        if bits > u128::BITS - u32::BITS {
            return None;
        }
        for (key, rank) in packed.iter_mut().zip(ranks()) {
            *key = *key << column_bits | u128::from(dense[rank as usize]);
        }
    }
    let rows = packed.iter().zip(0u32..);
    if bits <= u32::BITS {
        let mut keys: Vec<u64> = rows.map(|(&key, i)| (key as u64) << 32 | u64::from(i)).collect();
        drop(packed);
        keys.sort_unstable();
        return Some(keys.into_iter().map(|key| key as u32).collect());
    }
    let mut keys: Vec<u128> = rows.map(|(&key, i)| key << 32 | u128::from(i)).collect();
    drop(packed);
    keys.sort_unstable();
    Some(keys.into_iter().map(|key| key as u32).collect())
}

impl HeadRows {
    /// No rows, with room for so many that are as long as the first.
    pub(crate) fn expecting(rows: usize) -> HeadRows {
        HeadRows { pairs: Vec::new(), ends: Vec::with_capacity(rows) }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, pairs: impl Iterator<Item = (u32, u32)>) {
        self.pairs.extend(pairs);
        if self.ends.is_empty() {
            self.pairs.reserve_exact(self.pairs.len() * self.ends.capacity());
        }
        self.ends.push(u32::try_from(self.pairs.len()).expect("a select has fewer than 2^32 labels"));
    }

    /// The rows in label order as ids of the dictionary, and for each the
    /// number under which it was pushed.
    pub(crate) fn sorted(self, tables: &Tables, dictionary: &Dictionary) -> (LabelTable, Vec<u32>) {
        let HeadRows { pairs, ends } = self;
        let n = pairs.len();
        let names = Ranks::new(&tables.names, pairs.iter().map(|pair| pair.0), n, dictionary);
        let values = Ranks::new(&tables.values, pairs.iter().map(|pair| pair.1), n, dictionary);
        if let Some(order) = packed_order(&pairs, &ends, &values) {
            let width = pairs.len() / ends.len().max(1);
            let mut table = LabelTable::new();
            table.reserve(ends.len(), pairs.len());
            for &i in &order {
                let row = &pairs[i as usize * width..(i as usize + 1) * width];
                table.push(row.iter().map(|&(name, value)| (names.id(name), values.id(value))));
            }
            return (table, order);
        }
        let keys: Vec<u64> = pairs
            .iter()
            .map(|&(name, value)| {
                u64::from(names.by_number.get(name)) << 32 | u64::from(values.by_number.get(value))
            })
            .collect();
        drop(pairs);
        let row = |i: u32| {
            let start = if i == 0 { 0 } else { ends[i as usize - 1] as usize };
            &keys[start..ends[i as usize] as usize]
        };
        let mut order: Vec<u32> = (0..ends.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| row(a).cmp(row(b)));
        let mut table = LabelTable::new();
        table.reserve(ends.len(), n);
        for &i in &order {
            table.push(
                row(i).iter().map(|key| (names.ids[(key >> 32) as usize], values.ids[*key as u32 as usize])),
            );
        }
        (table, order)
    }
}

/// Label order of two rows of one dictionary.
pub(crate) fn compare(
    texts: &DictionaryReader<'_>,
    a: &[(SymbolId, SymbolId)],
    b: &[(SymbolId, SymbolId)],
) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        if a.0 != b.0 {
            return texts.text(a.0).cmp(texts.text(b.0));
        }
        if a.1 != b.1 {
            return texts.text(a.1).cmp(texts.text(b.1));
        }
    }
    a.len().cmp(&b.len())
}

/// Where the samples of a merged row come from: source number and row there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Number of the source.
    pub(crate) source: u32,
    /// Row in it.
    pub(crate) row: u32,
}

/// Several sorted tables as one.
#[derive(Default)]
pub(crate) struct Merged {
    /// The rows.
    pub(crate) labels: LabelTable,
    parts: Vec<Part>,
    ends: Vec<u32>,
}

impl Merged {
    /// The parts of a row, in order of sources.
    pub(crate) fn parts(&self, row: usize) -> &[Part] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.parts[start..self.ends[row] as usize]
    }

    fn push(&mut self, row: &[(SymbolId, SymbolId)]) {
        self.labels.push(row.iter().copied());
        self.ends.push(self.parts.len() as u32);
    }

    /// Keeps the first rows only; answers whether any was dropped.
    pub(crate) fn truncate(&mut self, limit: usize) -> bool {
        if limit == 0 || self.labels.len() <= limit {
            return false;
        }
        let mut cut = Merged::default();
        for row in 0..limit {
            cut.parts.extend_from_slice(self.parts(row));
            cut.push(self.labels.row(row));
        }
        *self = cut;
        true
    }
}

/// Merges sorted tables whose rows are ids of one dictionary; equal rows become one.
pub(crate) fn merge(mut tables: Vec<LabelTable>, dictionary: &Dictionary) -> Merged {
    let mut filled = tables.iter().enumerate().filter(|(_, table)| !table.is_empty());
    if let (Some((source, _)), None) = (filled.next(), filled.next()) {
        let labels = tables.swap_remove(source);
        let rows = labels.len() as u32;
        return Merged {
            labels,
            parts: (0..rows).map(|row| Part { source: source as u32, row }).collect(),
            ends: (1..=rows).collect(),
        };
    }
    let texts = dictionary.read();
    let mut next: Vec<usize> = vec![0; tables.len()];
    let mut parts = Vec::with_capacity(tables.iter().map(LabelTable::len).sum());
    let mut ends = Vec::with_capacity(tables.iter().map(LabelTable::len).max().unwrap_or(0));
    let mut pairs = 0;
    loop {
        let mut least: Option<usize> = None;
        for (source, table) in tables.iter().enumerate() {
            if next[source] == table.len() {
                continue;
            }
            let is_less = least.is_none_or(|least| {
                compare(&texts, table.row(next[source]), tables[least].row(next[least])) == Ordering::Less
            });
            if is_less {
                least = Some(source);
            }
        }
        let Some(least) = least else { break };
        let row = tables[least].row(next[least]);
        for (source, table) in tables.iter().enumerate().skip(least) {
            if next[source] < table.len() && table.row(next[source]) == row {
                parts.push(Part { source: source as u32, row: next[source] as u32 });
                next[source] += 1;
            }
        }
        pairs += row.len();
        ends.push(parts.len() as u32);
    }
    // Mostly one source, the head or a block, has all rows: its table is the merged one.
    let whole = tables.iter().position(|table| table.len() == ends.len());
    let labels = match whole {
        Some(whole) => tables.swap_remove(whole),
        None => {
            let mut labels = LabelTable::new();
            labels.reserve(ends.len(), pairs);
            let mut first = 0;
            for &end in &ends {
                let Part { source, row } = parts[first as usize];
                labels.push(tables[source as usize].row(row as usize).iter().copied());
                first = end;
            }
            labels
        }
    };
    Merged { labels, parts, ends }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(dictionary: &Dictionary, rows: &[&[(&str, &str)]]) -> LabelTable {
        let mut table = LabelTable::new();
        for row in rows {
            table.push(row.iter().map(|(n, v)| (dictionary.intern(n), dictionary.intern(v))));
        }
        table
    }

    #[test]
    fn equal_rows_of_several_sources_become_one() {
        let dictionary = Dictionary::new();
        let a = table(&dictionary, &[&[("a", "1")], &[("a", "1"), ("b", "2")], &[("c", "3")]]);
        let b = table(&dictionary, &[&[("a", "1"), ("b", "2")], &[("a", "2")]]);
        let merged = merge(vec![a, b], &dictionary);
        assert_eq!(merged.labels.len(), 4);
        let parts: Vec<usize> = (0..4).map(|row| merged.parts(row).len()).collect();
        assert_eq!(parts, [1, 2, 1, 1]);
    }

    #[test]
    fn merged_rows_are_those_of_a_set() {
        let mut rng = testkit::Rng::new(5);
        let dictionary = Dictionary::new();
        let mut reused = 0;
        for _ in 0..300 {
            let (values, sources) = (1 + rng.below(30), 2 + rng.below(3));
            let numbers: Vec<std::collections::BTreeSet<u64>> = (0..sources)
                .map(|_| {
                    let odds = 1 + rng.below(3);
                    (0..values).filter(|_| rng.below(3) < odds).collect()
                })
                .collect();
            let tables = numbers.iter().map(|numbers| {
                let texts: Vec<String> = numbers.iter().map(|n| format!("{n:02}")).collect();
                let rows: Vec<[(&str, &str); 1]> = texts.iter().map(|text| [("n", text.as_str())]).collect();
                table(&dictionary, &rows.iter().map(<[_; 1]>::as_slice).collect::<Vec<_>>())
            });
            let merged = merge(tables.collect(), &dictionary);
            let all: std::collections::BTreeSet<u64> = numbers.iter().flatten().copied().collect();
            reused += usize::from(numbers.contains(&all));
            assert_eq!(merged.labels.len(), all.len());
            for (row, n) in all.iter().enumerate() {
                let labels = dictionary.labels(merged.labels.row(row)).to_string();
                assert_eq!(labels, format!(r#"{{n="{n:02}"}}"#));
                let parts: Vec<(u32, u32)> = merged.parts(row).iter().map(|p| (p.source, p.row)).collect();
                let holders = (0..).zip(&numbers).filter(|(_, numbers)| numbers.contains(n));
                let wanted: Vec<(u32, u32)> =
                    holders.map(|(source, numbers)| (source, numbers.range(..n).count() as u32)).collect();
                assert_eq!(parts, wanted);
            }
        }
        assert!((50..290).contains(&reused), "{reused}");
    }

    #[test]
    fn rows_with_the_same_names_are_sorted_by_text_as_others_are() {
        let mut rng = testkit::Rng::new(11);
        for extra in [false, true] {
            let mut tables = Tables::default();
            let mut rows = HeadRows::default();
            let mut texts: Vec<(Vec<(String, String)>, u32)> = Vec::new();
            for i in 0..500 {
                let mut row: Vec<(String, String)> = Vec::new();
                for (name, below) in [("a", 300), ("b", 2), ("c", 1), ("d", 40)] {
                    row.push((name.to_owned(), format!("v{}", rng.below(below))));
                }
                // A row with another name in it takes the general way.
                if extra && i == 77 {
                    row.push(("e".to_owned(), "x".to_owned()));
                }
                let numbers: Vec<(u32, u32)> = row
                    .iter()
                    .map(|(name, value)| (tables.names.acquire(name), tables.values.acquire(value)))
                    .collect();
                rows.push(numbers.into_iter());
                texts.push((row, i));
            }
            texts.sort();
            let dictionary = Dictionary::new();
            let (table, order) = rows.sorted(&tables, &dictionary);
            let mut got: Vec<(Vec<(String, String)>, u32)> = Vec::new();
            for (row, i) in table.iter().zip(order) {
                let labels = dictionary.labels(row);
                got.push((labels.iter().map(|l| (l.name.to_owned(), l.value.to_owned())).collect(), i));
            }
            assert!(got.is_sorted_by(|a, b| a.0 <= b.0));
            got.sort();
            assert_eq!(got, texts);
        }
    }

    #[test]
    fn head_rows_are_sorted_by_text() {
        let mut tables = Tables::default();
        let mut rows = HeadRows::default();
        for (name, value) in [("b", "1"), ("a", "zz"), ("a", "z")] {
            let pair = (tables.names.acquire(name), tables.values.acquire(value));
            rows.push([pair].into_iter());
        }
        let dictionary = Dictionary::new();
        let (table, order) = rows.sorted(&tables, &dictionary);
        assert_eq!(order, [2, 1, 0]);
        assert_eq!(dictionary.labels(table.row(0)).to_string(), r#"{a="z"}"#);
    }
}
