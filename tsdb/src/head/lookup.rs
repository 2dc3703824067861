//! From a label set to its slot.
//!
//! A table of (slot, half of the hash) in shards: eight bytes a series, nothing
//! of the labels themselves. A hit is checked against the labels of the slot by
//! the caller.

use hashbrown::HashTable;
use model::Labels;
use parking_lot::RwLock;

const SHARDS: usize = 64;

#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    slot: u32,
}

/// Slots by hash of their label set.
pub(crate) struct Lookup {
    shards: Box<[RwLock<HashTable<Entry>>]>,
}

/// The table hash of a label set.
pub(crate) fn labels_hash(labels: &Labels) -> u64 {
    rapidhash::v3::rapidhash_v3(labels.as_bytes())
}

/// Spreads the kept half over what the table looks at.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Default for Lookup {
    fn default() -> Lookup {
        Lookup { shards: (0..SHARDS).map(|_| RwLock::new(HashTable::new())).collect() }
    }
}

impl Lookup {
    fn shard(&self, hash: u64) -> &RwLock<HashTable<Entry>> {
        &self.shards[(hash >> 58) as usize]
    }

    /// The slots that may hold a label set of this hash: almost always none or one.
    pub(crate) fn candidates(&self, hash: u64) -> smallvec::SmallVec<[u32; 2]> {
        let short = hash as u32;
        let shard = self.shard(hash).read();
        shard.iter_hash(spread(short)).filter(|entry| entry.hash == short).map(|entry| entry.slot).collect()
    }

    /// Reads where some hashes have their places, all at once: the memory of a few
    /// is waited for together, not one after the other.
    pub(crate) fn touch(&self, hashes: impl Iterator<Item = u64>) {
        let mut seen = 0;
        for hash in hashes {
            let shard = self.shard(hash).read();
            seen ^= shard.find(spread(hash as u32), |_| true).map_or(0, |entry| entry.slot);
        }
        std::hint::black_box(seen);
    }

    /// Adds a slot.
    pub(crate) fn insert(&self, hash: u64, slot: u32) {
        let entry = Entry { hash: hash as u32, slot };
        self.shard(hash).write().insert_unique(spread(entry.hash), entry, |entry| spread(entry.hash));
    }

    /// Takes a slot out.
    pub(crate) fn remove(&self, hash: u64, slot: u32) {
        let mut shard = self.shard(hash).write();
        if let Ok(found) = shard.find_entry(spread(hash as u32), |entry| entry.slot == slot) {
            found.remove();
        }
    }

    /// Gives memory back after many slots were taken out.
    pub(crate) fn shrink(&self) {
        for shard in &self.shards {
            let mut shard = shard.write();
            if shard.capacity() > shard.len() * 4 {
                shard.shrink_to_fit(|entry| spread(entry.hash));
            }
        }
    }

    /// Bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().allocation_size()).sum()
    }
}
