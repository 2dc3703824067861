//! The strings of the head's labels, each once, under a small number.
//!
//! Names and values have a table each, so that the few names get numbers of
//! one byte. Series hold numbers only (see `head/page.rs`); text appears when a
//! query translates numbers into its own dictionary.
//!
//! ```text
//! entries   (block, offset, len, uses)  by id, in fixed pages
//! blocks    "instancejobnode_cpu…"      text, append only
//! table     hash of text → id
//! ```
//!
//! A string that no series uses leaves the table at once; its number is given
//! out again only when no reader that may have seen it is left.

use std::collections::VecDeque;

use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

const BLOCK_BYTES: usize = 64 * 1024;
const ENTRIES_PER_PAGE: usize = 1024;

#[derive(Clone, Copy, Default)]
struct Entry {
    block: u32,
    offset: u32,
    len: u32,
    /// How many series use the string.
    uses: u32,
}

/// Strings of one kind.
#[derive(Default)]
pub(crate) struct SymbolTable {
    entries: Vec<Vec<Entry>>,
    blocks: Vec<String>,
    table: HashTable<u32>,
    /// Numbers of dropped strings with the number of the reader epoch in which they fell.
    retired: VecDeque<(u64, u32)>,
    free: Vec<u32>,
    live_bytes: usize,
    text_bytes: usize,
}

fn text_hash(text: &str) -> u64 {
    rapidhash::v3::rapidhash_v3(text.as_bytes())
}

impl SymbolTable {
    fn entry(&self, id: u32) -> &Entry {
        &self.entries[id as usize / ENTRIES_PER_PAGE][id as usize % ENTRIES_PER_PAGE]
    }

    fn entry_mut(&mut self, id: u32) -> &mut Entry {
        &mut self.entries[id as usize / ENTRIES_PER_PAGE][id as usize % ENTRIES_PER_PAGE]
    }

    /// The text of a string in use.
    pub(crate) fn text(&self, id: u32) -> &str {
        text_of(&self.entries, &self.blocks, id)
    }

    /// The number of a string if some series uses it.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        self.table.find(text_hash(text), |&id| self.text(id) == text).copied()
    }

    /// The number of a string, counted as used once more.
    pub(crate) fn acquire(&mut self, text: &str) -> u32 {
        let hash = text_hash(text);
        if let Some(&id) = self.table.find(hash, |&id| self.text(id) == text) {
            self.entry_mut(id).uses += 1;
            return id;
        }
        let entry = self.store(text);
        self.live_bytes += text.len();
        let id = match self.free.pop() {
            Some(id) => {
                *self.entry_mut(id) = entry;
                id
            }
            None => self.push_entry(entry),
        };
        let SymbolTable { entries, blocks, table, .. } = self;
        table.insert_unique(hash, id, |&id| text_hash(text_of(entries, blocks, id)));
        id
    }

    /// Counts a string in use as used once more.
    pub(crate) fn acquire_again(&mut self, id: u32) -> u32 {
        self.entry_mut(id).uses += 1;
        id
    }

    fn push_entry(&mut self, entry: Entry) -> u32 {
        if self.entries.last().is_none_or(|page| page.len() == ENTRIES_PER_PAGE) {
            self.entries.push(Vec::with_capacity(ENTRIES_PER_PAGE));
        }
        let page = self.entries.len() - 1;
        self.entries[page].push(entry);
        u32::try_from(page * ENTRIES_PER_PAGE + self.entries[page].len() - 1)
            .expect("the head has fewer than 2^32 label strings")
    }

    fn store(&mut self, text: &str) -> Entry {
        let fits = self.blocks.last().is_some_and(|block| block.capacity() - block.len() >= text.len());
        if !fits {
            self.blocks.push(String::with_capacity(text.len().max(BLOCK_BYTES)));
        }
        let block = self.blocks.len() - 1;
        let offset = self.blocks[block].len() as u32;
        self.blocks[block].push_str(text);
        self.text_bytes += text.len();
        Entry { block: block as u32, offset, len: text.len() as u32, uses: 1 }
    }

    /// Takes one use off a string; `epoch` says which readers may still know its number.
    pub(crate) fn release(&mut self, id: u32, epoch: u64) {
        let entry = self.entry_mut(id);
        entry.uses -= 1;
        if entry.uses > 0 {
            return;
        }
        let hash = text_hash(self.text(id));
        if let Ok(found) = self.table.find_entry(hash, |&have| have == id) {
            found.remove();
        }
        self.live_bytes -= self.entry(id).len as usize;
        self.retired.push_back((epoch, id));
    }

    /// Makes numbers free that no reader since `oldest_reader` can know, and
    /// copies the text together when a quarter of it is dead.
    pub(crate) fn reclaim(&mut self, oldest_reader: u64) {
        while let Some(&(epoch, id)) = self.retired.front() {
            if epoch > oldest_reader {
                break;
            }
            self.retired.pop_front();
            *self.entry_mut(id) = Entry::default();
            self.free.push(id);
        }
        let dead = self.text_bytes - self.live_bytes;
        if self.retired.is_empty() && dead > BLOCK_BYTES && dead * 4 > self.text_bytes {
            self.rebuild();
        }
    }

    fn rebuild(&mut self) {
        let old = std::mem::take(&mut self.blocks);
        self.text_bytes = 0;
        let ids: Vec<u32> = self.table.iter().copied().collect();
        for id in ids {
            let Entry { block, offset, len, uses } = *self.entry(id);
            let text = &old[block as usize][offset as usize..(offset + len) as usize];
            let moved = self.store(text);
            *self.entry_mut(id) = Entry { uses, ..moved };
        }
    }

    /// One more than the largest number given out.
    pub(crate) fn id_bound(&self) -> usize {
        self.entries.iter().map(Vec::len).sum()
    }

    /// All strings in use, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.table.iter().map(|&id| (id, self.text(id)))
    }

    /// Bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.blocks.iter().map(String::capacity).sum::<usize>()
            + self.entries.len() * ENTRIES_PER_PAGE * size_of::<Entry>()
            + self.table.allocation_size()
            + self.free.capacity() * 4
            + self.retired.capacity() * 16
    }
}

fn text_of<'a>(entries: &[Vec<Entry>], blocks: &'a [String], id: u32) -> &'a str {
    let Entry { block, offset, len, .. } =
        entries[id as usize / ENTRIES_PER_PAGE][id as usize % ENTRIES_PER_PAGE];
    &blocks[block as usize][offset as usize..(offset + len) as usize]
}

/// Names and values of the head's labels.
#[derive(Default)]
pub(crate) struct Tables {
    /// Label names.
    pub(crate) names: SymbolTable,
    /// Label values.
    pub(crate) values: SymbolTable,
}

/// [`Tables`] behind their lock.
#[derive(Default)]
pub(crate) struct Symbols {
    tables: RwLock<Tables>,
}

impl Symbols {
    /// For looking up. Take it before a page's lock, never after.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read()
    }

    /// For series creation and collection.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write()
    }

    /// Bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        let tables = self.read();
        tables.names.heap_bytes() + tables.values.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_again_only_after_older_readers() {
        let mut table = SymbolTable::default();
        let a = table.acquire("a");
        assert_eq!(table.acquire("a"), a);
        table.release(a, 5);
        assert_eq!(table.find("a"), Some(a), "one use is left");
        table.release(a, 5);
        assert_eq!(table.find("a"), None);
        table.reclaim(4);
        let b = table.acquire("b");
        assert_ne!(b, a, "a reader of epoch 4 may still know the number");
        table.reclaim(5);
        assert_eq!(table.acquire("c"), a);
    }

    #[test]
    fn rebuilding_keeps_numbers_and_text() {
        let mut table = SymbolTable::default();
        let ids: Vec<u32> = (0..20_000).map(|i| table.acquire(&format!("value-{i}"))).collect();
        for (i, &id) in ids.iter().enumerate() {
            if i % 3 != 0 {
                table.release(id, 1);
            }
        }
        let before = table.heap_bytes();
        table.reclaim(1);
        assert!(table.heap_bytes() < before);
        for (i, &id) in ids.iter().enumerate().step_by(3) {
            assert_eq!(table.text(id), format!("value-{i}"));
            assert_eq!(table.find(&format!("value-{i}")), Some(id));
        }
    }
}
