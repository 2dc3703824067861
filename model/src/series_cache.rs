//! Remembers which series a key of raw bytes stands for, so that a known series
//! costs one look-up instead of parsing, relabelling and interning its labels.
//!
//! Keys are 128-bit hashes of what the sender wrote. The cache is bounded: when
//! the young generation is full it becomes the old one, and what nobody asked
//! for since then is forgotten.
//!
//! Senders name their series in the same order again and again. So entries lie in
//! the order in which they came, and the place behind the last hit is looked at
//! before the table is asked: most look-ups walk through memory in a line.

use hashbrown::HashTable;
use parking_lot::Mutex;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use crate::append::SeriesHandle;

/// A 128-bit hash of the bytes that name a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesKey {
    low: u64,
    high: u64,
}

const SEED_LOW: u64 = 0x6e61_7274_6865_7831;
const SEED_HIGH: u64 = 0x6665_6e6e_656c_3230;
static SECRETS_LOW: RapidSecrets = RapidSecrets::seed_cpp(SEED_LOW);
static SECRETS_HIGH: RapidSecrets = RapidSecrets::seed_cpp(SEED_HIGH);

impl SeriesKey {
    /// The key of some bytes.
    pub fn of(bytes: &[u8]) -> SeriesKey {
        SeriesKey {
            low: rapidhash_v3_seeded(bytes, &SECRETS_LOW),
            high: rapidhash_v3_seeded(bytes, &SECRETS_HIGH),
        }
    }

    /// A hash of the key for hash tables.
    pub fn table_hash(self) -> u64 {
        self.low
    }

    /// The key of nothing, to start a chain of [`SeriesKey::then_pair`] from.
    pub fn empty() -> SeriesKey {
        SeriesKey { low: SEED_LOW, high: SEED_HIGH }
    }

    /// The key of a sequence of pairs, given the keys of the next one's parts. The
    /// order counts. Pairs are folded each by itself: a machine works at several at once.
    #[inline]
    #[must_use]
    pub fn then_pair(self, first: SeriesKey, second: SeriesKey) -> SeriesKey {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        SeriesKey {
            low: self.low.wrapping_mul(STEP).wrapping_add(fold(first.low, second.low)),
            high: self.high.wrapping_mul(STEP).wrapping_add(fold(first.high, second.high)),
        }
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0xa076_1d64_78bd_642f) * u128::from(b ^ 0xd6e8_feb8_6659_fd93);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Bytes an entry takes, table overhead included.
const ENTRY_BYTES: usize = 32;

/// Handles by key, bounded in bytes.
pub struct SeriesCache {
    generations: Mutex<Generations>,
    entries_max: usize,
}

#[derive(Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

#[derive(Default)]
struct Generation {
    /// In the order in which they came.
    entries: Vec<(SeriesKey, SeriesHandle)>,
    /// Where the entry of a key stands.
    places: HashTable<u32>,
}

impl Generation {
    /// Where a key stands: at the place where it is expected, or wherever.
    fn find(&self, expected: usize, key: SeriesKey) -> Option<usize> {
        match self.entries.get(expected) {
            Some((have, _)) if *have == key => Some(expected),
            _ => {
                let place = self.places.find(key.low, |&at| self.entries[at as usize].0 == key);
                place.map(|&at| at as usize)
            }
        }
    }

    fn push(&mut self, key: SeriesKey, handle: SeriesHandle) {
        let Generation { entries, places } = self;
        let at = u32::try_from(entries.len()).expect("a generation has fewer than 2^32 entries");
        entries.push((key, handle));
        places.insert_unique(key.low, at, |&at| entries[at as usize].0.low);
    }

    fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(SeriesKey, SeriesHandle)>() + self.places.capacity() * 6
    }
}

/// Where nothing is expected to stand.
const NOWHERE: usize = usize::MAX;

impl SeriesCache {
    /// A cache of at most about `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> SeriesCache {
        let entries_max = (bytes_max / ENTRY_BYTES / 2).clamp(16, u32::MAX as usize);
        SeriesCache { generations: Mutex::default(), entries_max }
    }

    /// The handle of a key, if it is known.
    pub fn get(&self, key: SeriesKey) -> Option<SeriesHandle> {
        let mut handles = Vec::new();
        self.get_all(&[key], &mut handles);
        handles[0]
    }

    /// The handles of many keys, in their order; `handles` is cleared first.
    pub fn get_all(&self, keys: &[SeriesKey], handles: &mut Vec<Option<SeriesHandle>>) {
        handles.clear();
        let mut generations = self.generations.lock();
        let (mut young, mut old) = (NOWHERE, NOWHERE);
        handles.extend(keys.iter().map(|&key| {
            if let Some(at) = generations.young.find(young, key) {
                young = at + 1;
                return Some(generations.young.entries[at].1);
            }
            let at = generations.old.find(old, key)?;
            old = at + 1;
            let handle = generations.old.entries[at].1;
            self.remember(&mut generations, key, handle);
            Some(handle)
        }));
    }

    /// Remembers the handle of a key in place of an earlier one.
    pub fn insert(&self, key: SeriesKey, handle: SeriesHandle) {
        let mut generations = self.generations.lock();
        match generations.young.find(NOWHERE, key) {
            Some(at) => generations.young.entries[at].1 = handle,
            None => self.remember(&mut generations, key, handle),
        }
    }

    /// Forgets everything and gives its memory back.
    pub fn clear(&self) {
        *self.generations.lock() = Generations::default();
    }

    /// Bytes the cache holds now, near enough.
    pub fn heap_bytes(&self) -> usize {
        let generations = self.generations.lock();
        generations.young.heap_bytes() + generations.old.heap_bytes()
    }

    fn remember(&self, generations: &mut Generations, key: SeriesKey, handle: SeriesHandle) {
        if generations.young.entries.len() >= self.entries_max {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.push(key, handle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(slot: u32) -> SeriesHandle {
        SeriesHandle { slot, generation: 1 }
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let cache = SeriesCache::new(2 * ENTRY_BYTES * 1024);
        let keys: Vec<SeriesKey> = (0u32..20_000).map(|i| SeriesKey::of(&i.to_le_bytes())).collect();
        for (i, &key) in keys.iter().enumerate() {
            cache.insert(key, handle(i as u32));
            assert_eq!(cache.get(keys[0]), Some(handle(0)), "in use, so it stays");
        }
        assert_eq!(cache.get(keys[19_999]), Some(handle(19_999)));
        let known = keys.iter().filter(|&&key| cache.get(key).is_some()).count();
        assert!(known < 20_000 / 2, "the cache is bounded, yet knows {known}");
    }

    #[test]
    fn many_keys_at_once_find_what_each_alone_finds() {
        let cache = SeriesCache::new(2 * ENTRY_BYTES * 1024);
        let keys: Vec<SeriesKey> = (0u32..3000).map(|i| SeriesKey::of(&i.to_le_bytes())).collect();
        for (i, &key) in keys.iter().enumerate() {
            cache.insert(key, handle(i as u32));
        }
        let mut handles = Vec::new();
        cache.get_all(&keys, &mut handles);
        let known = handles.iter().flatten().count();
        assert!(known > 500 && known < 3000, "some of both, old ones included: {known}");
        for (i, found) in handles.iter().enumerate() {
            assert!(found.is_none_or(|found| found == handle(i as u32)));
        }
        cache.get_all(&[], &mut handles);
        assert!(handles.is_empty());
    }

    #[test]
    fn keys_are_found_in_any_order() {
        let cache = SeriesCache::new(1 << 20);
        let keys: Vec<SeriesKey> = (0u32..1000).map(|i| SeriesKey::of(&i.to_le_bytes())).collect();
        for (i, &key) in keys.iter().enumerate() {
            cache.insert(key, handle(i as u32));
        }
        // As they came, some left out, backwards, some twice, unknown ones between.
        let mut asked: Vec<u32> = (0..1000).chain((0..1000).step_by(3)).chain((0..1000).rev()).collect();
        asked.extend([5, 5, 5000, 6, 7, 6000, 8]);
        let asked_keys: Vec<SeriesKey> = asked.iter().map(|i| SeriesKey::of(&i.to_le_bytes())).collect();
        let mut handles = Vec::new();
        cache.get_all(&asked_keys, &mut handles);
        let wanted: Vec<_> = asked.iter().map(|&i| (i < 1000).then(|| handle(i))).collect();
        assert_eq!(handles, wanted);
    }

    #[test]
    fn the_order_of_parts_counts() {
        let (a, b, c, d) =
            (SeriesKey::of(b"a"), SeriesKey::of(b"b"), SeriesKey::of(b"c"), SeriesKey::of(b"d"));
        let of = |pairs: [(SeriesKey, SeriesKey); 2]| {
            pairs.into_iter().fold(SeriesKey::empty(), |key, (name, value)| key.then_pair(name, value))
        };
        let all = [[(a, b), (c, d)], [(c, d), (a, b)], [(b, a), (c, d)], [(a, d), (c, b)], [(a, b), (a, b)]];
        let keys: std::collections::HashSet<SeriesKey> = all.into_iter().map(of).collect();
        assert_eq!(keys.len(), all.len());
        assert_ne!(a, b);
    }

    #[test]
    fn a_new_handle_replaces_the_old_one() {
        let cache = SeriesCache::new(1 << 20);
        let key = SeriesKey::of(b"x");
        cache.insert(key, handle(1));
        cache.insert(key, handle(2));
        assert_eq!(cache.get(key), Some(handle(2)));
        assert!(cache.heap_bytes() > 0);
        cache.clear();
        assert_eq!((cache.get(key), cache.heap_bytes()), (None, 0));
    }
}
