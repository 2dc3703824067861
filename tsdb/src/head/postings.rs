//! Which slots carry a label: name → value → slots.
//!
//! Small lists are sorted arrays, large ones roaring bitmaps. Readers take
//! clones of the `Arc`s and keep them; a change copies the list only while a
//! reader holds it. One lock a label name.

use std::sync::Arc;

use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

/// Lists longer than this become bitmaps.
const FEW_MAX: usize = 32;

/// The slots of one name and value.
#[derive(Clone)]
pub(crate) enum List {
    /// One slot.
    One(u32),
    /// A sorted array.
    Few(Arc<Vec<u32>>),
    /// A bitmap.
    Many(Arc<RoaringBitmap>),
}

impl List {
    /// How many slots there are.
    pub(crate) fn len(&self) -> u64 {
        match self {
            List::One(_) => 1,
            List::Few(slots) => slots.len() as u64,
            List::Many(slots) => slots.len(),
        }
    }

    fn add(&mut self, slot: u32) {
        match self {
            List::One(have) if *have == slot => {}
            List::One(have) => {
                let (low, high) = (slot.min(*have), slot.max(*have));
                *self = List::Few(Arc::new(vec![low, high]));
            }
            List::Few(slots) if slots.len() < FEW_MAX => {
                let slots = Arc::make_mut(slots);
                if let Err(at) = slots.binary_search(&slot) {
                    if slots.len() == slots.capacity() {
                        slots.reserve_exact((slots.len() / 4).max(2));
                    }
                    slots.insert(at, slot);
                }
            }
            List::Few(slots) => {
                let mut bitmap: RoaringBitmap = slots.iter().copied().collect();
                bitmap.insert(slot);
                *self = List::Many(Arc::new(bitmap));
            }
            List::Many(slots) => {
                Arc::make_mut(slots).insert(slot);
            }
        }
    }

    /// Without some slots; `None` when nothing is left.
    fn without(&self, gone: &RoaringBitmap) -> Option<List> {
        match self {
            List::One(slot) => (!gone.contains(*slot)).then_some(List::One(*slot)),
            List::Few(slots) => {
                let kept: Vec<u32> = slots.iter().copied().filter(|&slot| !gone.contains(slot)).collect();
                List::of_sorted(kept)
            }
            List::Many(slots) => {
                let kept = slots.as_ref() - gone;
                if kept.len() as usize > FEW_MAX {
                    Some(List::Many(Arc::new(kept)))
                } else {
                    List::of_sorted(kept.iter().collect())
                }
            }
        }
    }

    fn of_sorted(mut slots: Vec<u32>) -> Option<List> {
        match slots.len() {
            0 => None,
            1 => Some(List::One(slots[0])),
            _ => {
                slots.shrink_to_fit();
                Some(List::Few(Arc::new(slots)))
            }
        }
    }

    /// Adds all slots to a bitmap.
    pub(crate) fn union_into(&self, bitmap: &mut RoaringBitmap) {
        match self {
            List::One(slot) => {
                bitmap.insert(*slot);
            }
            List::Few(slots) => bitmap.extend(slots.iter().copied()),
            List::Many(slots) => *bitmap |= slots.as_ref(),
        }
    }

    /// Whether a slot of the bitmap is in the list.
    pub(crate) fn touches(&self, bitmap: &RoaringBitmap) -> bool {
        match self {
            List::One(slot) => bitmap.contains(*slot),
            List::Few(slots) => slots.iter().any(|&slot| bitmap.contains(slot)),
            List::Many(slots) => !slots.is_disjoint(bitmap),
        }
    }

    /// The slots as a bitmap.
    pub(crate) fn to_bitmap(&self) -> RoaringBitmap {
        let mut bitmap = RoaringBitmap::new();
        self.union_into(&mut bitmap);
        bitmap
    }

    fn heap_bytes(&self) -> usize {
        match self {
            List::One(_) => 0,
            List::Few(slots) => 40 + slots.capacity() * 4,
            List::Many(slots) => bitmap_bytes(slots),
        }
    }
}

fn bitmap_bytes(bitmap: &RoaringBitmap) -> usize {
    let statistics = bitmap.statistics();
    (statistics.n_bytes_array_containers
        + statistics.n_bytes_run_containers
        + statistics.n_bytes_bitset_containers) as usize
        + statistics.n_containers as usize * 40
        + 40
}

struct Entry {
    value: u32,
    list: List,
}

/// The lists of one label name.
#[derive(Default)]
pub(crate) struct NamePostings {
    values: RwLock<HashTable<Entry>>,
}

fn value_hash(value: u32) -> u64 {
    (u64::from(value) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl NamePostings {
    /// The slots of a value.
    pub(crate) fn get(&self, value: u32) -> Option<List> {
        let values = self.values.read();
        values.find(value_hash(value), |entry| entry.value == value).map(|entry| entry.list.clone())
    }

    /// Calls `each` with all values and their slots, in no order.
    pub(crate) fn for_each(&self, mut each: impl FnMut(u32, &List)) {
        for entry in self.values.read().iter() {
            each(entry.value, &entry.list);
        }
    }

    fn add(&self, value: u32, slot: u32) {
        let mut values = self.values.write();
        match values.find_mut(value_hash(value), |entry| entry.value == value) {
            Some(entry) => entry.list.add(slot),
            None => {
                let entry = Entry { value, list: List::One(slot) };
                values.insert_unique(value_hash(value), entry, |entry| value_hash(entry.value));
            }
        }
    }

    fn remove(&self, touched: &[u32], gone: &RoaringBitmap) {
        for &value in touched {
            let mut values = self.values.write();
            let Ok(mut found) = values.find_entry(value_hash(value), |entry| entry.value == value) else {
                continue;
            };
            match found.get().list.without(gone) {
                Some(list) => found.get_mut().list = list,
                None => {
                    found.remove();
                }
            }
        }
        let mut values = self.values.write();
        if values.capacity() > values.len() * 4 + 16 {
            values.shrink_to_fit(|entry| value_hash(entry.value));
        }
    }
}

/// All postings of the head.
#[derive(Default)]
pub(crate) struct Postings {
    /// By name id.
    names: RwLock<Vec<Arc<NamePostings>>>,
    all: Mutex<Arc<RoaringBitmap>>,
}

impl Postings {
    /// The lists of a name.
    pub(crate) fn name(&self, name: u32) -> Option<Arc<NamePostings>> {
        self.names.read().get(name as usize).cloned()
    }

    /// All slots in use.
    pub(crate) fn all(&self) -> Arc<RoaringBitmap> {
        self.all.lock().clone()
    }

    fn name_or_new(&self, name: u32) -> Arc<NamePostings> {
        if let Some(found) = self.name(name) {
            return found;
        }
        let mut names = self.names.write();
        if names.len() <= name as usize {
            names.resize_with(name as usize + 1, Arc::default);
        }
        names[name as usize].clone()
    }

    /// Adds a series.
    pub(crate) fn add(&self, slot: u32, pairs: &[(u32, u32)]) {
        for &(name, value) in pairs {
            self.name_or_new(name).add(value, slot);
        }
        Arc::make_mut(&mut self.all.lock()).insert(slot);
    }

    /// Forgets everything and takes what builders of all parts made.
    pub(crate) fn replace(&self, parts: Vec<BuiltPostings>) {
        let (mut names, mut all) = (Vec::new(), RoaringBitmap::new());
        for part in parts {
            for (name, postings) in part.names {
                if names.len() <= name {
                    names.resize_with(name + 1, Default::default);
                }
                names[name] = Arc::new(postings);
            }
            all |= part.all;
        }
        *self.names.write() = names;
        *self.all.lock() = Arc::new(all);
    }

    /// Takes series out. `pairs`: all their (name, value) pairs.
    pub(crate) fn remove(&self, gone: &RoaringBitmap, pairs: &mut Vec<(u32, u32)>) {
        pairs.sort_unstable();
        pairs.dedup();
        for of_name in pairs.chunk_by(|a, b| a.0 == b.0) {
            let values: Vec<u32> = of_name.iter().map(|pair| pair.1).collect();
            if let Some(postings) = self.name(of_name[0].0) {
                postings.remove(&values, gone);
            }
        }
        let mut all = self.all.lock();
        *all = Arc::new(all.as_ref() - gone);
    }

    /// Bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        let names = self.names.read();
        let lists: usize = names
            .iter()
            .map(|name| {
                let values = name.values.read();
                values.allocation_size() + values.iter().map(|entry| entry.list.heap_bytes()).sum::<usize>()
            })
            .sum();
        lists + names.capacity() * 8 + bitmap_bytes(&self.all())
    }
}

/// Gathers the postings of many series at once, in the order of their slots: those
/// of every so manieth name.
pub(crate) struct PostingsBuilder {
    part: usize,
    parts: usize,
    /// By name id divided by the number of parts.
    names: Vec<NameBuilder>,
    /// All series; the first part alone has them.
    all: RoaringBitmap,
}

/// What a [`PostingsBuilder`] made.
pub(crate) struct BuiltPostings {
    names: Vec<(usize, NamePostings)>,
    all: RoaringBitmap,
}

#[derive(Default)]
struct NameBuilder {
    /// Where the list of a value is.
    places: hashbrown::HashMap<u32, u32, rapidhash::fast::RandomState>,
    lists: Vec<(u32, Vec<u32>)>,
    /// The list that was added to last: the next series often has the same value.
    last: usize,
}

impl PostingsBuilder {
    /// For the names whose number leaves `part` when divided by `parts`.
    pub(crate) fn of_part(part: usize, parts: usize) -> PostingsBuilder {
        PostingsBuilder { part, parts, names: Vec::new(), all: RoaringBitmap::new() }
    }

    /// Adds a series behind all others.
    pub(crate) fn add(&mut self, slot: u32, pairs: impl Iterator<Item = (u32, u32)>) {
        for (name, value) in pairs {
            let name = name as usize;
            if name % self.parts != self.part {
                continue;
            }
            let name = name / self.parts;
            if self.names.len() <= name {
                self.names.resize_with(name + 1, NameBuilder::default);
            }
            self.names[name].add(value, slot);
        }
        if self.part == 0 {
            self.all.insert(slot);
        }
    }

    /// Makes lists of what was gathered.
    pub(crate) fn build(self) -> BuiltPostings {
        let PostingsBuilder { part, parts, names, all } = self;
        let names = names.into_iter().enumerate().map(|(i, name)| (i * parts + part, name.build()));
        BuiltPostings { names: names.collect(), all }
    }
}

impl NameBuilder {
    fn add(&mut self, value: u32, slot: u32) {
        if self.lists.get(self.last).is_none_or(|list| list.0 != value) {
            let new = self.lists.len() as u32;
            self.last = *self.places.entry(value).or_insert(new) as usize;
            if self.last == new as usize {
                self.lists.push((value, Vec::new()));
            }
        }
        self.lists[self.last].1.push(slot);
    }

    fn build(self) -> NamePostings {
        let mut values = HashTable::with_capacity(self.lists.len());
        for (value, slots) in self.lists {
            let list = if slots.len() > FEW_MAX {
                let bitmap = RoaringBitmap::from_sorted_iter(slots).expect("slots were added in order");
                Some(List::Many(Arc::new(bitmap)))
            } else {
                List::of_sorted(slots)
            };
            let Some(list) = list else { continue };
            values.insert_unique(value_hash(value), Entry { value, list }, |entry: &Entry| {
                value_hash(entry.value)
            });
        }
        NamePostings { values: RwLock::new(values) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_and_shrink_through_all_shapes() {
        let postings = Postings::default();
        for slot in (0..200).rev() {
            postings.add(slot, &[(0, 1), (1, slot)]);
        }
        let reader = postings.name(0).unwrap().get(1).unwrap();
        let gone: RoaringBitmap = (1..200).collect();
        postings.remove(&gone, &mut (0..200).flat_map(|slot| [(0, 1), (1, slot)]).collect());
        assert_eq!(reader.len(), 200, "a reader's list does not change");
        assert!(matches!(postings.name(0).unwrap().get(1), Some(List::One(0))));
        let mut values = 0;
        postings.name(1).unwrap().for_each(|_, _| values += 1);
        assert_eq!(values, 1);
        assert_eq!(postings.all().len(), 1);
    }
}
