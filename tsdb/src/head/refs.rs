//! From the numbers on disk to slots, while a log is replayed.

use hashbrown::HashMap;

/// No series.
const NONE: u32 = u32::MAX;

/// Slots by series number: dense as long as the numbers are.
#[derive(Default)]
pub(crate) struct RefMap {
    dense: Vec<u32>,
    sparse: HashMap<u64, u32, rapidhash::fast::RandomState>,
    len: usize,
}

impl RefMap {
    /// The slot of a series.
    pub(crate) fn get(&self, series_ref: u64) -> Option<u32> {
        match self.dense.get(series_ref as usize) {
            Some(&NONE) => None,
            Some(&slot) => Some(slot),
            None => self.sparse.get(&series_ref).copied(),
        }
    }

    /// Forgets a series.
    pub(crate) fn remove(&mut self, series_ref: u64) {
        match self.dense.get_mut(series_ref as usize) {
            Some(place) => *place = NONE,
            None => {
                self.sparse.remove(&series_ref);
            }
        }
    }

    /// Notes the slot of a series.
    pub(crate) fn insert(&mut self, series_ref: u64, slot: u32) {
        self.len += 1;
        if series_ref < self.dense.len() as u64 {
            self.dense[series_ref as usize] = slot;
        } else if series_ref <= self.len as u64 * 4 + 65_536 {
            self.dense.resize((series_ref as usize + 1).next_power_of_two(), NONE);
            // What was sparse before is dense now.
            let dense = &mut self.dense;
            self.sparse.retain(|&known, &mut slot| match dense.get_mut(known as usize) {
                Some(place) => {
                    *place = slot;
                    false
                }
                None => true,
            });
            self.dense[series_ref as usize] = slot;
        } else {
            self.sparse.insert(series_ref, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_near_and_far_are_found() {
        let mut map = RefMap::default();
        for n in [1u64 << 39, 100_000, 5, 65_000, 7] {
            map.insert(n, n as u32 & 0xffff);
        }
        for n in [1u64 << 39, 100_000, 5, 65_000, 7] {
            assert_eq!(map.get(n), Some(n as u32 & 0xffff));
        }
        assert_eq!(map.get(6), None);
    }
}
