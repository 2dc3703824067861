//! Lists of series, read in place, and the table that finds them.
//!
//! The table is walked once at the opening; of the values of a label name every
//! 32nd entry's offset is kept, so that a look-up is a binary search over these
//! and a walk of at most 32 entries.

use std::cmp::Ordering;
use std::sync::Arc;

use model::env::Mapped;

use super::toc::section;
use super::{BlockSeriesRef, POSTINGS_TABLE_KEYS, SAMPLING, VERSION_1};
use crate::corruption::Damage;
use crate::cursor::Cursor;

/// A list of series, ascending, as a slice of the mapped index.
#[derive(Clone)]
pub struct PostingsList {
    map: Option<Arc<dyn Mapped>>,
    start: usize,
    len: usize,
}

impl PostingsList {
    /// The list without series.
    pub fn empty() -> PostingsList {
        PostingsList { map: None, start: 0, len: 0 }
    }

    /// Reads the list at an offset.
    pub(super) fn open(map: &Arc<dyn Mapped>, offset: u64) -> Result<PostingsList, (u64, Damage)> {
        let (at, bytes) = section(map, offset, "a postings list")?;
        let mut cursor = Cursor::new(bytes);
        let count = cursor.be_u32("a postings list's number").map_err(|damage| (offset, damage))? as usize;
        if cursor.left() != count * 4 {
            let (need, have) = (count as u64 * 4, cursor.left() as u64);
            return Err((offset, Damage::Short { what: "a postings list", need, have }));
        }
        Ok(PostingsList { map: Some(map.clone()), start: at + 4, len: count })
    }

    /// How many series it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn bytes(&self) -> &[u8] {
        match &self.map {
            Some(map) => &map[self.start..self.start + self.len * 4],
            None => &[],
        }
    }

    /// The series in order.
    pub fn iter(&self) -> PostingsIter<'_> {
        PostingsIter { words: self.bytes().as_chunks().0 }
    }

    /// Whether a series is in it.
    pub fn contains(&self, series: BlockSeriesRef) -> bool {
        self.iter().seek(series)
    }
}

/// Walks a [`PostingsList`].
#[derive(Clone)]
pub struct PostingsIter<'a> {
    words: &'a [[u8; 4]],
}

impl PostingsIter<'_> {
    /// Goes on with the first series not below `series`; says whether it is that one.
    pub fn seek(&mut self, series: BlockSeriesRef) -> bool {
        // Near ones are found by doubling steps, far ones by halving the rest.
        let below = |word: &[u8; 4]| u32::from_be_bytes(*word) < series.0;
        let mut step = 1;
        while step < self.words.len() && below(&self.words[step - 1]) {
            step *= 2;
        }
        let (near, _) = self.words.split_at(step.min(self.words.len()));
        let skip = near.partition_point(below);
        self.words = &self.words[skip..];
        self.words.first().is_some_and(|word| u32::from_be_bytes(*word) == series.0)
    }
}

impl Iterator for PostingsIter<'_> {
    type Item = BlockSeriesRef;

    #[inline]
    fn next(&mut self) -> Option<BlockSeriesRef> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(BlockSeriesRef(u32::from_be_bytes(*first)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.words.len(), Some(self.words.len()))
    }
}

impl ExactSizeIterator for PostingsIter<'_> {}

/// The postings offset table.
pub(super) struct PostingsTable {
    map: Arc<dyn Mapped>,
    /// Where the table's entries end in the file.
    end: usize,
    /// Sorted by name.
    names: Vec<NameEntry>,
    /// Offsets of entries, for each name a run.
    samples: Vec<u32>,
    /// Distance of sampled entries: 1 in the oldest version, which is not sorted.
    sampling: usize,
    /// The offset that sampled offsets count from.
    base: usize,
}

struct NameEntry {
    name: Box<str>,
    /// Number of values.
    values: usize,
    /// Its run of `samples`.
    first_sample: usize,
    num_samples: usize,
}

/// One entry of the table.
struct Entry<'a> {
    name: &'a str,
    value: &'a str,
    postings: u64,
    next: usize,
}

fn entry_at(map: &[u8], at: usize, end: usize) -> Result<Entry<'_>, Damage> {
    let Some(bytes) = map.get(at..end) else {
        return Err(Damage::Short { what: "a postings table entry", need: at as u64, have: end as u64 });
    };
    let mut cursor = Cursor::new(bytes);
    let keys = cursor.u8("a postings table entry")?;
    if keys != POSTINGS_TABLE_KEYS {
        let (found, limit) = (u64::from(keys), u64::from(POSTINGS_TABLE_KEYS));
        return Err(Damage::OutOfRange { what: "number of keys", found, limit });
    }
    let name = cursor.string("a label name")?;
    let value = cursor.string("a label value")?;
    let postings = cursor.uvarint("a postings offset")?;
    Ok(Entry { name, value, postings, next: at + cursor.position() })
}

impl PostingsTable {
    pub(super) fn open(
        map: Arc<dyn Mapped>,
        version: u8,
        offset: u64,
    ) -> Result<PostingsTable, (u64, Damage)> {
        let (at, bytes) = section(&map, offset, "the postings offset table")?;
        let end = at + bytes.len();
        let fail = |damage| (offset, damage);
        let mut cursor = Cursor::new(bytes);
        let count = cursor.be_u32("the postings' number").map_err(fail)?;
        let mut next = at + 4;
        let mut names: Vec<NameEntry> = Vec::new();
        let mut samples: Vec<u32> = Vec::new();
        let distance = |entry: usize| {
            u32::try_from(entry - at)
                .map_err(|_| fail(Damage::Malformed("the postings offset table is longer than 4 GiB")))
        };
        if version == VERSION_1 {
            // Name, value, where the entry starts.
            let mut all: Vec<(Box<str>, Box<str>, u32)> = Vec::new();
            for _ in 0..count {
                let entry = entry_at(&map, next, end).map_err(fail)?;
                all.push((entry.name.into(), entry.value.into(), distance(next)?));
                next = entry.next;
            }
            all.sort();
            for (name, _, offset) in all {
                match names.last_mut().filter(|last| last.name == name) {
                    Some(last) => {
                        last.values += 1;
                        last.num_samples += 1;
                    }
                    None => {
                        names.push(NameEntry { name, values: 1, first_sample: samples.len(), num_samples: 1 })
                    }
                }
                samples.push(offset);
            }
            return Ok(PostingsTable { map, end, names, samples, sampling: 1, base: at });
        }
        let mut last_value = "";
        for _ in 0..count {
            let entry = entry_at(&map, next, end).map_err(fail)?;
            match names.last_mut().filter(|last| *last.name == *entry.name) {
                Some(last) => {
                    if last_value >= entry.value {
                        return Err(fail(Damage::Malformed("the postings offset table is not sorted")));
                    }
                    if last.values % SAMPLING == 0 {
                        samples.push(distance(next)?);
                        last.num_samples += 1;
                    }
                    last.values += 1;
                }
                None => {
                    if names.last().is_some_and(|last| *last.name > *entry.name) {
                        return Err(fail(Damage::Malformed("the postings offset table is not sorted")));
                    }
                    let name = entry.name.into();
                    names.push(NameEntry { name, values: 1, first_sample: samples.len(), num_samples: 1 });
                    samples.push(distance(next)?);
                }
            }
            last_value = entry.value;
            next = entry.next;
        }
        samples.shrink_to_fit();
        Ok(PostingsTable { map: map.clone(), end, names, samples, sampling: SAMPLING, base: at })
    }

    /// The label names in order, `""` for all series not among them.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|entry| &*entry.name).filter(|name| !name.is_empty())
    }

    fn find_name(&self, name: &str) -> Option<&NameEntry> {
        let at = self.names.binary_search_by(|entry| (*entry.name).cmp(name)).ok()?;
        Some(&self.names[at])
    }

    /// How many values a name has.
    pub(super) fn num_values(&self, name: &str) -> usize {
        self.find_name(name).map_or(0, |entry| entry.values)
    }

    fn sampled(&self, entry: &NameEntry, i: usize) -> usize {
        self.base + self.samples[entry.first_sample + i] as usize
    }

    /// The values of a name in order, each with where its list starts.
    pub(super) fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = Result<(&'a str, u64), Damage>> {
        let found = self.find_name(name);
        let count = found.map_or(0, |entry| entry.values);
        let mut at = 0;
        (0..count).map(move |i| {
            let entry = found.ok_or(Damage::Malformed("a name without an entry"))?;
            if i % self.sampling == 0 {
                at = self.sampled(entry, i / self.sampling);
            }
            let read = entry_at(&self.map, at, self.end)?;
            at = read.next;
            Ok((read.value, read.postings))
        })
    }

    /// The values of a name from the first one not below `from` on.
    pub(super) fn values_from<'a>(
        &'a self,
        name: &str,
        from: &str,
    ) -> impl Iterator<Item = Result<(&'a str, u64), Damage>> {
        let found = self.find_name(name);
        let block = found.map_or(0, |entry| self.block_of(entry, from));
        let count = found.map_or(0, |entry| entry.values);
        let mut at = 0;
        let mut skipping = Some(from.to_owned());
        (block * self.sampling..count).filter_map(move |i| {
            let entry = found?;
            if i % self.sampling == 0 {
                at = self.sampled(entry, i / self.sampling);
            }
            let read = match entry_at(&self.map, at, self.end) {
                Ok(read) => read,
                Err(damage) => return Some(Err(damage)),
            };
            at = read.next;
            if skipping.as_deref().is_some_and(|from| read.value < from) {
                return None;
            }
            skipping = None;
            Some(Ok((read.value, read.postings)))
        })
    }

    /// The block of values that `value` would be in.
    fn block_of(&self, entry: &NameEntry, value: &str) -> usize {
        let samples = &self.samples[entry.first_sample..entry.first_sample + entry.num_samples];
        let first_of = |sample: &u32| {
            entry_at(&self.map, self.base + *sample as usize, self.end).map_or("", |entry| entry.value)
        };
        samples.partition_point(|sample| first_of(sample) <= value).saturating_sub(1)
    }

    /// Where the list of a label pair starts.
    pub(super) fn find(&self, name: &str, value: &str) -> Result<Option<u64>, Damage> {
        let Some(entry) = self.find_name(name) else { return Ok(None) };
        let block = self.block_of(entry, value);
        let mut at = self.sampled(entry, block);
        for _ in block * self.sampling..((block + 1) * self.sampling).min(entry.values) {
            let read = entry_at(&self.map, at, self.end)?;
            match read.value.cmp(value) {
                Ordering::Less => at = read.next,
                Ordering::Equal => return Ok(Some(read.postings)),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|entry| entry.name.len()).sum();
        names + self.names.capacity() * size_of::<NameEntry>() + self.samples.capacity() * 4
    }
}
