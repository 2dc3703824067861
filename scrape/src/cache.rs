//! What one target exposed last: which line is which series.
//!
//! ```text
//! page of the last scrape      entries, in its order     this page
//! a{x="1"} …                   [hash, len, handle] ◀──── line 1: same bytes? then same series
//! a{x="2"} …                   [hash, len, dropped] ◀─── line 2
//! b …                          [hash, len, handle] ◀──── line 3
//! ```
//!
//! A line that is not where it was is looked up by its hash; one that is not
//! known at all takes the full path once. Entries are 32 bytes; the text of a
//! series is not kept. Dropped series are entries too. After a page that was
//! not like the one before, entries are laid out anew in its order, and what
//! it did not have is forgotten.

use std::collections::HashSet;

use hashbrown::HashTable;
use model::SeriesHandle;
use model::series_cache::SeriesKey;

/// Entries a cache may have more than twice those of the last good scrape
/// before it is emptied of what was not seen: against targets whose scrapes
/// fail with ever new series.
const GROWTH_ALLOWED: usize = 1000;

const DROPPED: u32 = 1 << 31;
/// Its staleness is watched, as of the scrape it was last seen in.
const TRACKED: u32 = 1 << 30;
/// So it was in the scrape before that.
const WAS_TRACKED: u32 = 1 << 29;
/// No sample of it was accepted yet.
const NEW: u32 = 1 << 28;
const LENGTH: u32 = NEW - 1;

/// Series of one target.
#[derive(Default)]
pub(crate) struct TargetCache {
    entries: Vec<Entry>,
    by_key: HashTable<u32>,
    /// Number of this scrape, from 1 on.
    scrape: u32,
    /// Where the next line is expected among the entries.
    cursor: usize,
    /// Entries in the order of this page.
    order: Vec<u32>,
    /// This page is not like the one before.
    changed: bool,
    /// Entries that may need a staleness marker are to be looked for.
    lost: bool,
    good_entries: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    key: SeriesKey,
    handle: SeriesHandle,
    seen: u32,
    length_and_flags: u32,
}

/// A line that the cache knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) entry: u32,
    /// `None`: relabelling drops the series.
    pub(crate) handle: Option<SeriesHandle>,
    /// The same line was in this page already.
    pub(crate) repeated: bool,
}

const NO_HANDLE: SeriesHandle = SeriesHandle { slot: u32::MAX, generation: u32::MAX };

impl TargetCache {
    pub(crate) fn new() -> TargetCache {
        TargetCache { scrape: 1, ..TargetCache::default() }
    }

    /// Length and hash of the line that is expected next.
    pub(crate) fn expected(&self) -> Option<(usize, SeriesKey)> {
        let entry = self.entries.get(self.cursor)?;
        Some(((entry.length_and_flags & LENGTH) as usize, entry.key))
    }

    /// Takes the expected line for seen.
    pub(crate) fn take_expected(&mut self) -> Hit {
        let entry = self.cursor;
        self.cursor += 1;
        self.see(entry)
    }

    /// Looks a line up that was not the expected one.
    pub(crate) fn find(&mut self, key: SeriesKey) -> Option<Hit> {
        let entries = &self.entries;
        let entry = *self.by_key.find(key.table_hash(), |&i| entries[i as usize].key == key)? as usize;
        if self.entries[entry].seen != self.scrape {
            self.changed |= entry != self.cursor;
            self.cursor = entry + 1;
        }
        Some(self.see(entry))
    }

    /// Adds a series that was not known; without handle it is a dropped one.
    pub(crate) fn add(
        &mut self,
        key: SeriesKey,
        key_bytes: usize,
        handle: Option<SeriesHandle>,
    ) -> Option<u32> {
        let length = u32::try_from(key_bytes).ok().filter(|length| *length <= LENGTH)?;
        let entry = u32::try_from(self.entries.len()).ok()?;
        let flags = if handle.is_some() { NEW } else { DROPPED };
        self.entries.push(Entry {
            key,
            handle: handle.unwrap_or(NO_HANDLE),
            seen: self.scrape,
            length_and_flags: length | flags,
        });
        let entries = &self.entries;
        self.by_key.insert_unique(key.table_hash(), entry, |&i| entries[i as usize].key.table_hash());
        self.order.push(entry);
        self.changed = true;
        Some(entry)
    }

    /// Whether no sample of the series was accepted before; from now on one was.
    pub(crate) fn accept(&mut self, entry: u32) -> bool {
        let flags = &mut self.entries[entry as usize].length_and_flags;
        let is_new = *flags & NEW != 0;
        *flags &= !NEW;
        is_new
    }

    /// [`TargetCache::accept`] and [`TargetCache::track`] in one.
    #[inline]
    pub(crate) fn accept_and_track(&mut self, entry: u32) -> bool {
        let flags = &mut self.entries[entry as usize].length_and_flags;
        let is_new = *flags & NEW != 0;
        *flags = *flags & !NEW | TRACKED;
        is_new
    }

    /// Watches for the end of the series.
    pub(crate) fn track(&mut self, entry: u32) {
        self.entries[entry as usize].length_and_flags |= TRACKED;
    }

    /// A sample of the series was not stored: if the series was watched, it ends.
    pub(crate) fn untracked(&mut self, entry: u32) {
        if self.entries[entry as usize].length_and_flags & WAS_TRACKED != 0 {
            self.lost = true;
        }
    }

    /// Puts the new handle of a series in place of one that the store forgot.
    pub(crate) fn set_handle(&mut self, entry: u32, handle: SeriesHandle) {
        self.entries[entry as usize].handle = handle;
    }

    /// The key of an entry.
    pub(crate) fn key(&self, entry: u32) -> SeriesKey {
        self.entries[entry as usize].key
    }

    /// The series that ended with this scrape: watched in the one before, and
    /// not in this. With `whole_failed` this scrape had none at all.
    pub(crate) fn ended(&self, whole_failed: bool) -> Vec<SeriesHandle> {
        let complete = self.cursor == self.entries.len() && !self.changed && !self.lost;
        if complete && !whole_failed {
            return Vec::new();
        }
        let mut ended = Vec::new();
        for entry in &self.entries {
            let was = if entry.seen == self.scrape { WAS_TRACKED } else { TRACKED };
            let watched_before = entry.length_and_flags & was != 0
                && (entry.seen == self.scrape || entry.seen + 1 == self.scrape);
            if watched_before && (whole_failed || !entry.watched_in(self.scrape)) {
                ended.push(entry.handle);
            }
        }
        if !ended.is_empty() && !whole_failed {
            // The same series may have come under another spelling.
            let living: HashSet<SeriesHandle> =
                self.entries.iter().filter(|e| e.watched_in(self.scrape)).map(|e| e.handle).collect();
            ended.retain(|handle| !living.contains(handle));
        }
        ended
    }

    /// Ends a good scrape: what was not seen is forgotten.
    pub(crate) fn end_good(&mut self) {
        if self.changed || self.cursor != self.entries.len() {
            self.lay_out_anew();
        }
        self.good_entries = self.entries.len();
        self.begin_next();
    }

    /// Ends a scrape that failed or was empty; whether the cache had grown so
    /// much that it was emptied of what was not seen.
    pub(crate) fn end_bad(&mut self) -> bool {
        for entry in &mut self.entries {
            entry.length_and_flags &= !(TRACKED | WAS_TRACKED);
        }
        let too_large = self.entries.len() > self.good_entries * 2 + GROWTH_ALLOWED;
        if too_large {
            self.lay_out_anew();
        }
        self.begin_next();
        too_large
    }

    /// Entries after the last good scrape, dropped ones too.
    pub(crate) fn good_len(&self) -> usize {
        self.good_entries
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.by_key.allocation_size()
            + self.order.capacity() * 4
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn see(&mut self, index: usize) -> Hit {
        let entry = &mut self.entries[index];
        let repeated = entry.seen == self.scrape;
        if !repeated {
            let tracked = entry.length_and_flags & TRACKED != 0 && entry.seen + 1 == self.scrape;
            entry.length_and_flags &= !(TRACKED | WAS_TRACKED);
            if tracked {
                entry.length_and_flags |= WAS_TRACKED;
            }
            entry.seen = self.scrape;
            self.order.push(index as u32);
        }
        let dropped = entry.length_and_flags & DROPPED != 0;
        Hit { entry: index as u32, handle: (!dropped).then_some(entry.handle), repeated }
    }

    fn lay_out_anew(&mut self) {
        let mut entries = Vec::with_capacity(self.order.len());
        entries.extend(self.order.iter().map(|&i| self.entries[i as usize]));
        self.entries = entries;
        self.by_key.clear();
        self.by_key.shrink_to(self.entries.len(), |_| 0);
        let entries = &self.entries;
        for (i, entry) in entries.iter().enumerate() {
            self.by_key
                .insert_unique(entry.key.table_hash(), i as u32, |&i| entries[i as usize].key.table_hash());
        }
    }

    fn begin_next(&mut self) {
        self.scrape = self.scrape.checked_add(1).unwrap_or_else(|| {
            // After four thousand million scrapes all entries look unseen once.
            for entry in &mut self.entries {
                entry.seen = 0;
            }
            1
        });
        self.cursor = 0;
        self.order.clear();
        self.order.shrink_to(self.entries.len());
        self.changed = false;
        self.lost = false;
    }
}

impl Entry {
    fn watched_in(&self, scrape: u32) -> bool {
        self.seen == scrape && self.length_and_flags & TRACKED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(slot: u32) -> SeriesHandle {
        SeriesHandle { slot, generation: 0 }
    }

    /// Scrapes lines named by one letter each; capital ones are dropped.
    fn scrape(cache: &mut TargetCache, lines: &str) -> (usize, Vec<u32>) {
        let mut predicted = 0;
        for line in lines.bytes() {
            let key = SeriesKey::of(&[line]);
            let hit = match cache.expected() {
                Some((1, expected)) if expected == key => {
                    predicted += 1;
                    Some(cache.take_expected())
                }
                _ => cache.find(key),
            };
            match hit {
                Some(hit) if hit.handle.is_some() => {
                    cache.accept(hit.entry);
                    cache.track(hit.entry);
                }
                Some(_) => {}
                None if line.is_ascii_uppercase() => {
                    cache.add(key, 1, None);
                }
                None => {
                    let entry = cache.add(key, 1, Some(handle(u32::from(line)))).unwrap();
                    assert!(cache.accept(entry));
                    cache.track(entry);
                }
            }
        }
        let mut ended: Vec<u32> = cache.ended(lines.is_empty()).iter().map(|h| h.slot).collect();
        ended.sort_unstable();
        if lines.is_empty() {
            cache.end_bad();
        } else {
            cache.end_good();
        }
        (predicted, ended)
    }

    fn slots(letters: &str) -> Vec<u32> {
        letters.bytes().map(u32::from).collect()
    }

    #[test]
    fn a_page_like_the_last_is_predicted_line_by_line() {
        let mut cache = TargetCache::new();
        assert_eq!(scrape(&mut cache, "abXcd"), (0, vec![]));
        assert_eq!(scrape(&mut cache, "abXcd"), (5, vec![]));
        assert_eq!(cache.len(), 5);
    }

    #[test]
    fn a_new_or_missing_line_costs_only_its_place() {
        let mut cache = TargetCache::new();
        scrape(&mut cache, "abcdef");
        assert_eq!(scrape(&mut cache, "abxcdef"), (6, vec![]));
        assert_eq!(scrape(&mut cache, "abxcdef").0, 7);
        assert_eq!(scrape(&mut cache, "abdef"), (4, slots("cx")));
        assert_eq!(scrape(&mut cache, "abdef"), (5, vec![]));
        assert_eq!(cache.len(), 5);
    }

    #[test]
    fn a_series_ends_once() {
        let mut cache = TargetCache::new();
        scrape(&mut cache, "ab");
        assert_eq!(scrape(&mut cache, "a").1, slots("b"));
        assert!(scrape(&mut cache, "a").1.is_empty());
        assert_eq!(scrape(&mut cache, "").1, slots("a"));
        assert!(scrape(&mut cache, "").1.is_empty());
        assert!(scrape(&mut cache, "a").1.is_empty());
        assert_eq!(scrape(&mut cache, "").1, slots("a"));
    }

    #[test]
    fn a_repeated_line_is_told() {
        let mut cache = TargetCache::new();
        scrape(&mut cache, "abac");
        assert_eq!(scrape(&mut cache, "abac"), (3, vec![]));
        let hit = |cache: &mut TargetCache| cache.find(SeriesKey::of(b"b")).unwrap();
        assert!(!hit(&mut cache).repeated);
        assert!(hit(&mut cache).repeated);
    }

    #[test]
    fn failing_scrapes_with_ever_new_series_do_not_fill_memory() {
        let mut cache = TargetCache::new();
        for round in 0..50u32 {
            for i in 0..500u32 {
                let key = [round.to_le_bytes(), i.to_le_bytes()].concat();
                cache.add(SeriesKey::of(&key), 8, Some(handle(i)));
            }
            cache.end_bad();
        }
        assert!(cache.len() <= GROWTH_ALLOWED + 500);
    }
}
