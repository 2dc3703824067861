//! Remembers which series a key of raw bytes stands for, so that a known series
//! costs one look-up instead of parsing, relabelling and interning its labels.
//!
//! Keys are 128-bit hashes of what the sender wrote. The cache is bounded: when
//! the young generation is full it becomes the old one, and what nobody asked
//! for since then is forgotten.

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

    /// The key of nothing, to start a chain of [`SeriesKey::then`] from.
    pub fn empty() -> SeriesKey {
        SeriesKey { low: SEED_LOW, high: SEED_HIGH }
    }

    /// The key of a sequence, given the key of its next part. Order counts.
    #[must_use]
    pub fn then(self, next: SeriesKey) -> SeriesKey {
        SeriesKey { low: mix(self.low, next.low), high: mix(self.high, next.high.rotate_left(17)) }
    }
}

fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd6e8_feb8_6659_fd93);
    ((product as u64) ^ ((product >> 64) as u64)).wrapping_add(a.rotate_left(23))
}

/// Bytes an entry takes, table overhead included.
const ENTRY_BYTES: usize = 32;
const SHARDS: usize = 16;

/// Handles by key, bounded in bytes.
pub struct SeriesCache {
    shards: Vec<Mutex<Generations>>,
    entries_max: usize,
}

#[derive(Default)]
struct Generations {
    young: HashTable<(SeriesKey, SeriesHandle)>,
    old: HashTable<(SeriesKey, SeriesHandle)>,
}

impl SeriesCache {
    /// A cache of at most about `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> SeriesCache {
        let entries_max = (bytes_max / ENTRY_BYTES / SHARDS / 2).max(16);
        SeriesCache { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), entries_max }
    }

    /// The handle of a key, if it is known.
    pub fn get(&self, key: SeriesKey) -> Option<SeriesHandle> {
        let mut shard = self.shard(key).lock();
        if let Some((_, handle)) = shard.young.find(key.low, |(have, _)| *have == key) {
            return Some(*handle);
        }
        let handle = shard.old.find(key.low, |(have, _)| *have == key)?.1;
        self.insert_young(&mut shard, key, handle);
        Some(handle)
    }

    /// The handles of many keys, in their order; `handles` is cleared first.
    ///
    /// Keys are looked up part of the table by part, so that the processor waits
    /// for many of them at once and not for one after the other.
    pub fn get_all(&self, keys: &[SeriesKey], handles: &mut Vec<Option<SeriesHandle>>) {
        handles.clear();
        handles.resize(keys.len(), None);
        let mut ends = [0usize; SHARDS];
        for key in keys {
            ends[shard_of(*key)] += 1;
        }
        let mut sum = 0;
        let mut starts = ends.map(|count| {
            sum += count;
            sum - count
        });
        let mut order = vec![0u32; keys.len()];
        for (i, key) in keys.iter().enumerate() {
            let place = &mut starts[shard_of(*key)];
            order[*place] = i as u32;
            *place += 1;
        }
        // Each start has moved to the end of its part.
        let mut from = 0;
        for (shard, &to) in self.shards.iter().zip(&starts) {
            if from == to {
                continue;
            }
            let mut shard = shard.lock();
            for &i in &order[from..to] {
                let key = keys[i as usize];
                let found = shard.young.find(key.low, |(have, _)| *have == key);
                handles[i as usize] = found.map(|(_, handle)| *handle);
            }
            for &i in &order[from..to] {
                let key = keys[i as usize];
                if handles[i as usize].is_none()
                    && let Some(handle) = shard.old.find(key.low, |(have, _)| *have == key).map(|it| it.1)
                {
                    self.insert_young(&mut shard, key, handle);
                    handles[i as usize] = Some(handle);
                }
            }
            from = to;
        }
    }

    /// Remembers the handle of a key in place of an earlier one.
    pub fn insert(&self, key: SeriesKey, handle: SeriesHandle) {
        let mut shard = self.shard(key).lock();
        if let Some(entry) = shard.young.find_mut(key.low, |(have, _)| *have == key) {
            entry.1 = handle;
            return;
        }
        self.insert_young(&mut shard, key, handle);
    }

    /// Forgets everything and gives its memory back.
    pub fn clear(&self) {
        for shard in &self.shards {
            *shard.lock() = Generations::default();
        }
    }

    /// Bytes the cache holds now, near enough.
    pub fn heap_bytes(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                let shard = shard.lock();
                (shard.young.capacity() + shard.old.capacity()) * (ENTRY_BYTES - 8)
            })
            .sum()
    }

    fn shard(&self, key: SeriesKey) -> &Mutex<Generations> {
        &self.shards[shard_of(key)]
    }

    fn insert_young(&self, shard: &mut Generations, key: SeriesKey, handle: SeriesHandle) {
        if shard.young.len() >= self.entries_max {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert_unique(key.low, (key, handle), |(key, _)| key.low);
    }
}

/// The part of the table that a key belongs to.
fn shard_of(key: SeriesKey) -> usize {
    (key.high >> 60) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(slot: u32) -> SeriesHandle {
        SeriesHandle { slot, generation: 1 }
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let cache = SeriesCache::new(SHARDS * 2 * ENTRY_BYTES * 64);
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
        let cache = SeriesCache::new(SHARDS * 2 * ENTRY_BYTES * 64);
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
    fn the_order_of_parts_counts() {
        let (a, b) = (SeriesKey::of(b"a"), SeriesKey::of(b"b"));
        assert_ne!(SeriesKey::empty().then(a).then(b), SeriesKey::empty().then(b).then(a));
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
