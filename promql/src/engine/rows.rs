//! Label rows of a vector, and how they are filtered, grouped and changed: all
//! of it on ids, text only where an order or a pattern asks for it.

use std::cmp::Ordering;
use std::sync::Arc;

use hashbrown::HashTable;
use model::query::DictionaryReader;
use model::{Dictionary, LabelTable, SymbolId};
use smallvec::SmallVec;

use super::error::Result;

/// Maps of ids; nothing depends on the order of their entries.
pub(crate) type HashMap<K, V> = hashbrown::HashMap<K, V, rapidhash::fast::RandomState>;
/// Sets of ids.
pub(crate) type HashSet<K> = hashbrown::HashSet<K, rapidhash::fast::RandomState>;

/// A row of (name, value) ids in order of the names' text.
pub(crate) type Pairs = SmallVec<[(SymbolId, SymbolId); 12]>;

/// Bytes of a row of its own, as they lie in lists and tables.
pub(crate) const PAIRS_BYTES: usize = size_of::<Pairs>();

/// A pair of ids.
pub(crate) type Pair = (SymbolId, SymbolId);

/// Label rows, and for each whether its name goes when the query ends.
/// Clones share the labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    labels: Arc<LabelTable>,
    /// The first label of each row, the metric's name, is not to be seen: so
    /// names are dropped without a copy of all labels.
    nameless: bool,
    pub(crate) drop_name: Vec<bool>,
}

impl Rows {
    pub(crate) fn new(labels: LabelTable, drop_name: bool) -> Rows {
        let drop_name = vec![drop_name; labels.len()];
        Rows { labels: Arc::new(labels), nameless: false, drop_name }
    }

    /// The same rows without name, type and unit.
    pub(crate) fn without_metadata(&self, names: &Names) -> Rows {
        let drop_name = vec![true; self.len()];
        let name_first = |i: usize| {
            let row = self.row(i);
            row.first().is_some_and(|(name, _)| *name == SymbolId::METRIC_NAME)
                && !row[1..].iter().any(|(name, _)| names.is_metadata(*name))
        };
        if !self.nameless && (0..self.len()).all(name_first) {
            return Rows { labels: self.labels.clone(), nameless: true, drop_name };
        }
        let mut out = Rows::default();
        for i in 0..self.len() {
            out.push(self.row(i).iter().copied().filter(|(name, _)| !names.is_metadata(*name)), true);
        }
        out
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    pub(crate) fn row(&self, i: usize) -> &[Pair] {
        let row = self.labels.row(i);
        if self.nameless { &row[1..] } else { row }
    }

    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = Pair>, drop_name: bool) {
        if self.nameless {
            let mut seen = LabelTable::new();
            for i in 0..self.len() {
                seen.push(self.row(i).iter().copied());
            }
            (self.labels, self.nameless) = (Arc::new(seen), false);
        }
        Arc::make_mut(&mut self.labels).push(row);
        self.drop_name.push(drop_name);
    }

    /// Bytes of the labels, shared or not.
    pub(crate) fn label_bytes(&self) -> u64 {
        self.labels.heap_bytes() as u64
    }

    /// Bytes that these rows alone hold: shared labels count where they were made.
    pub(crate) fn heap_bytes(&self) -> u64 {
        let shared = Arc::strong_count(&self.labels) > 1;
        let labels = if shared { 0 } else { self.labels.heap_bytes() };
        (labels + self.drop_name.capacity()) as u64
    }

    /// Whether all rows have the same labels among those that `is_chosen` names,
    /// so that rows which differ still do without them.
    pub(crate) fn agree_on(&self, is_chosen: impl Fn(SymbolId) -> bool) -> bool {
        let chosen = |i: usize| self.row(i).iter().filter(|(name, _)| is_chosen(*name));
        (1..self.len()).all(|i| chosen(i).eq(chosen(0)))
    }

    /// Row numbers by equal labels, in order of first sight; `None` where all differ.
    pub(crate) fn duplicates(&self) -> Option<Vec<Vec<u32>>> {
        if self.all_differ() {
            return None;
        }
        let mut first: HashMap<&[Pair], u32> =
            HashMap::with_capacity_and_hasher(self.len(), Default::default());
        let mut groups: Vec<Vec<u32>> = Vec::new();
        for i in 0..self.len() {
            match first.get(self.row(i)) {
                Some(&group) => groups[group as usize].push(i as u32),
                None => {
                    first.insert(self.row(i), groups.len() as u32);
                    groups.push(vec![i as u32]);
                }
            }
        }
        Some(groups)
    }

    /// Whether no two rows are equal; looks at them without making anything of them.
    fn all_differ(&self) -> bool {
        let hash = |i: u32| hash_pairs(self.row(i as usize).iter());
        let mut seen: HashTable<u32> = HashTable::with_capacity(self.len());
        (0..self.len() as u32).all(|i| {
            let is_new =
                seen.find(hash(i), |&have| self.row(have as usize) == self.row(i as usize)).is_none();
            seen.insert_unique(hash(i), i, |&have| hash(have));
            is_new
        })
    }
}

/// Ids of names that operators ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    pub(crate) metric_type: SymbolId,
    pub(crate) metric_unit: SymbolId,
}

impl Names {
    pub(crate) fn new(dictionary: &Dictionary) -> Names {
        Names {
            metric_type: dictionary.intern(model::labels::METRIC_TYPE),
            metric_unit: dictionary.intern(model::labels::METRIC_UNIT),
        }
    }

    /// Whether the label says what the metric is, not which series.
    pub(crate) fn is_metadata(&self, name: SymbolId) -> bool {
        name == SymbolId::METRIC_NAME || name == self.metric_type || name == self.metric_unit
    }
}

/// The value id of a label, empty where the row lacks it.
pub(crate) fn value_of(row: &[Pair], name: SymbolId) -> SymbolId {
    row.iter().find(|(n, _)| *n == name).map_or(SymbolId::EMPTY, |(_, v)| *v)
}

/// Which labels of a row count.
#[derive(Clone, Debug)]
pub(crate) struct LabelFilter {
    names: Vec<SymbolId>,
    keep: bool,
}

impl LabelFilter {
    /// Only these.
    pub(crate) fn only(dictionary: &Dictionary, names: &[String]) -> LabelFilter {
        LabelFilter { names: names.iter().map(|n| dictionary.intern(n)).collect(), keep: true }
    }

    /// All but these and the metric's name.
    pub(crate) fn without(dictionary: &Dictionary, names: &[String]) -> LabelFilter {
        let mut ids: Vec<_> = names.iter().map(|n| dictionary.intern(n)).collect();
        ids.push(SymbolId::METRIC_NAME);
        LabelFilter { names: ids, keep: false }
    }

    pub(crate) fn keeps(&self, name: SymbolId) -> bool {
        self.names.contains(&name) == self.keep
    }

    pub(crate) fn apply(&self, row: &[Pair]) -> Pairs {
        row.iter().copied().filter(|(name, _)| self.keeps(*name)).collect()
    }
}

fn hash_pairs<'a>(pairs: impl Iterator<Item = &'a Pair>) -> u64 {
    let mix = |hash: u64, &(name, value): &Pair| {
        let word = hash ^ (u64::from(name.0) << 32 | u64::from(value.0));
        let wide = u128::from(word ^ 0x9e37_79b9_7f4a_7c15) * u128::from(0xd6e8_feb8_6659_fd93u64);
        (wide >> 64) as u64 ^ wide as u64
    };
    pairs.fold(0x517c_c1b7, mix)
}

/// Rows sorted into groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Labels of each group, in order of first sight.
    pub(crate) keys: Vec<Pairs>,
    /// The group of each row.
    pub(crate) of_row: Vec<u32>,
}

impl Groups {
    /// `follow` is told at each row how many bytes are held, and can end it.
    pub(crate) fn new(
        rows: &Rows,
        filter: &LabelFilter,
        mut follow: impl FnMut(usize, u64) -> Result<()>,
    ) -> Result<Groups> {
        // Keys are built for groups, not for rows.
        let mut ids: HashTable<u32> = HashTable::new();
        let mut keys: Vec<Pairs> = Vec::new();
        let mut of_row = Vec::with_capacity(rows.len());
        for i in 0..rows.len() {
            let key = || rows.row(i).iter().filter(|(name, _)| filter.keeps(*name));
            let is_group = |&group: &u32| key().eq(keys[group as usize].iter());
            let hash = hash_pairs(key());
            let group = match ids.find(hash, is_group) {
                Some(&group) => group,
                None => {
                    let group = keys.len() as u32;
                    keys.push(key().copied().collect());
                    ids.insert_unique(hash, group, |&group| hash_pairs(keys[group as usize].iter()));
                    group
                }
            };
            of_row.push(group);
            follow(i, (of_row.capacity() * 4 + keys.capacity() * PAIRS_BYTES + ids.capacity() * 5) as u64)?;
        }
        Ok(Groups { keys, of_row })
    }
}

/// Sets, changes or (with an empty value) removes a label of a row.
pub(crate) fn set_label(row: &mut Pairs, dictionary: &Dictionary, name: SymbolId, value: SymbolId) {
    if let Some(at) = row.iter().position(|(n, _)| *n == name) {
        if value == SymbolId::EMPTY {
            row.remove(at);
        } else {
            row[at].1 = value;
        }
        return;
    }
    if value == SymbolId::EMPTY {
        return;
    }
    let reader = dictionary.read();
    let text = reader.text(name);
    let at = row.iter().position(|(n, _)| reader.text(*n) > text).unwrap_or(row.len());
    row.insert(at, (name, value));
}

/// Upstream's order of label sets.
pub(crate) fn compare_rows(reader: &DictionaryReader<'_>, a: &[Pair], b: &[Pair]) -> Ordering {
    for (left, right) in a.iter().zip(b) {
        if left.0 != right.0 {
            return reader.text(left.0).cmp(reader.text(right.0));
        }
        if left.1 != right.1 {
            return reader.text(left.1).cmp(reader.text(right.1));
        }
    }
    a.len().cmp(&b.len())
}

/// Upstream's hash of a label set, on which `limit_ratio` stands: XXH64 over
/// each name and value behind its length, one byte, or 255 and three bytes.
/// Source: Prometheus `model/labels`, `labels_stringlabels.go`.
pub(crate) fn label_hash(reader: &DictionaryReader<'_>, row: &[Pair]) -> u64 {
    let mut bytes = Vec::with_capacity(128);
    for &(name, value) in row {
        for text in [reader.text(name), reader.text(value)] {
            let len = text.len();
            if len < 255 {
                bytes.push(len as u8);
            } else {
                bytes.extend_from_slice(&[255, len as u8, (len >> 8) as u8, (len >> 16) as u8]);
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    xxhash_rust::xxh64::xxh64(&bytes, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(dictionary: &Dictionary, pairs: &[(&str, &str)]) -> Pairs {
        pairs.iter().map(|(n, v)| (dictionary.intern(n), dictionary.intern(v))).collect()
    }

    #[test]
    fn a_label_is_set_in_its_place_and_removed_when_empty() {
        let dictionary = Dictionary::new();
        let mut r = row(&dictionary, &[("a", "1"), ("c", "3")]);
        set_label(&mut r, &dictionary, dictionary.intern("b"), dictionary.intern("2"));
        assert_eq!(dictionary.labels(&r).to_string(), r#"{a="1", b="2", c="3"}"#);
        set_label(&mut r, &dictionary, dictionary.intern("a"), SymbolId::EMPTY);
        assert_eq!(dictionary.labels(&r).to_string(), r#"{b="2", c="3"}"#);
    }

    #[test]
    fn names_go_with_and_without_a_copy() {
        let dictionary = Dictionary::new();
        let names = Names::new(&dictionary);
        let mut rows = Rows::default();
        rows.push(row(&dictionary, &[("__name__", "m"), ("a", "1")]), false);
        let shared = rows.without_metadata(&names);
        assert!(Arc::ptr_eq(&rows.labels, &shared.labels));
        assert_eq!(dictionary.labels(shared.row(0)).to_string(), r#"{a="1"}"#);
        let mut grown = shared.clone();
        grown.push(row(&dictionary, &[("b", "2")]), false);
        assert_eq!(dictionary.labels(grown.row(0)).to_string(), r#"{a="1"}"#);
        assert_eq!(dictionary.labels(grown.row(1)).to_string(), r#"{b="2"}"#);
        rows.push(row(&dictionary, &[("A", "1"), ("__name__", "m"), ("__type__", "gauge")]), false);
        let copied = rows.without_metadata(&names);
        assert_eq!(dictionary.labels(copied.row(0)).to_string(), r#"{a="1"}"#);
        assert_eq!(dictionary.labels(copied.row(1)).to_string(), r#"{A="1"}"#);
    }

    #[test]
    fn rows_fall_into_groups_in_order_of_first_sight() {
        let dictionary = Dictionary::new();
        let mut rows = Rows::default();
        for (job, pod) in [("b", "1"), ("a", "2"), ("b", "3")] {
            rows.push(row(&dictionary, &[("__name__", "m"), ("job", job), ("pod", pod)]), false);
        }
        let filter = LabelFilter::only(&dictionary, &["job".to_owned()]);
        let by_job = Groups::new(&rows, &filter, |_, _| Ok(())).unwrap();
        assert_eq!(by_job.of_row, [0, 1, 0]);
        let filter = LabelFilter::without(&dictionary, &["pod".to_owned()]);
        let without = Groups::new(&rows, &filter, |_, _| Ok(())).unwrap();
        assert_eq!(without.keys, by_job.keys);
    }
}
