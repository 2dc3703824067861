//! Exemplars: one ring for all series, a chain in order of time for each.
//!
//! ```text
//! ring    │ e7 │ e8 │ e2 │ e3 │ …     the next one replaces the oldest
//! series  A: [e3, e8]   B: [e2, e7]   places in the ring, by time
//! ```

use std::cmp::Ordering;
use std::collections::VecDeque;

use hashbrown::HashMap;
use model::exemplar::{EXEMPLAR_MAX_LABEL_CHARS, SeriesExemplars};
use model::{Exemplar, ExemplarError, Labels, Matcher, TimeRange};
use parking_lot::Mutex;

use crate::wal::record::RefExemplar;

struct Entry {
    series_ref: u64,
    exemplar: Exemplar,
}

struct Chain {
    labels: Labels,
    /// Places in the ring, in order of (time, value, hash of labels).
    places: VecDeque<u32>,
}

#[derive(Default)]
struct Ring {
    entries: Vec<Entry>,
    capacity: usize,
    /// The place that is replaced next once the ring is full.
    next: usize,
    chains: HashMap<u64, Chain, rapidhash::fast::RandomState>,
    heap_bytes: usize,
    appended: u64,
    out_of_order: u64,
}

/// All exemplars of a store.
#[derive(Default)]
pub(crate) struct Exemplars {
    ring: Mutex<Ring>,
}

/// Figures for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExemplarStats {
    pub(crate) stored: usize,
    pub(crate) series: usize,
    pub(crate) capacity: usize,
    pub(crate) appended: u64,
    pub(crate) out_of_order: u64,
    pub(crate) heap_bytes: usize,
}

fn label_chars(labels: &Labels) -> usize {
    labels.iter().map(|label| label.name.chars().count() + label.value.chars().count()).sum()
}

fn order(a: &Exemplar, b: &Exemplar) -> Ordering {
    a.timestamp_ms
        .cmp(&b.timestamp_ms)
        .then(a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal))
        .then_with(|| a.labels.stable_hash().cmp(&b.labels.stable_hash()))
}

fn is_same(a: &Exemplar, b: &Exemplar) -> bool {
    a.labels == b.labels
        && (!(a.has_timestamp || b.has_timestamp) || a.timestamp_ms == b.timestamp_ms)
        && a.value == b.value
}

fn entry_bytes(exemplar: &Exemplar) -> usize {
    size_of::<Entry>() + exemplar.labels.heap_bytes() + 4
}

impl Ring {
    fn check(&self, series_ref: u64, exemplar: &Exemplar, window_ms: i64) -> Result<(), ExemplarError> {
        if self.capacity == 0 {
            return Err(ExemplarError::Disabled);
        }
        if label_chars(&exemplar.labels) > EXEMPLAR_MAX_LABEL_CHARS {
            return Err(ExemplarError::LabelsTooLong);
        }
        let Some(&newest) = self.chains.get(&series_ref).and_then(|chain| chain.places.back()) else {
            return Ok(());
        };
        let newest = &self.entries[newest as usize].exemplar;
        if is_same(newest, exemplar) {
            return Err(ExemplarError::Duplicate);
        }
        let too_old = exemplar.timestamp_ms < newest.timestamp_ms
            && exemplar.timestamp_ms <= newest.timestamp_ms.saturating_sub(window_ms);
        let before_equal =
            exemplar.timestamp_ms == newest.timestamp_ms && order(exemplar, newest) == Ordering::Less;
        if too_old || before_equal {
            return Err(ExemplarError::OutOfOrder);
        }
        Ok(())
    }

    /// Whether an exemplar that is late has the time of one that is there: it is
    /// taken for the same. Native histograms bring many again and again.
    fn is_known_time(&self, series_ref: u64, t: i64) -> bool {
        let Some(chain) = self.chains.get(&series_ref) else { return false };
        let time = |place: u32| self.entries[place as usize].exemplar.timestamp_ms;
        if chain.places.back().is_none_or(|&newest| t >= time(newest)) {
            return false;
        }
        let at = chain.places.partition_point(|&place| time(place) < t);
        chain.places.get(at).is_some_and(|&place| time(place) == t)
    }

    fn insert(&mut self, series_ref: u64, labels: impl FnOnce() -> Labels, exemplar: Exemplar) {
        self.heap_bytes += entry_bytes(&exemplar);
        self.appended += 1;
        let entry = Entry { series_ref, exemplar };
        let place = if self.entries.len() < self.capacity {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let place = self.next;
            self.next = (self.next + 1) % self.capacity;
            let old = std::mem::replace(&mut self.entries[place], entry);
            self.unlink(&old, place as u32);
            place
        };
        let chain = self
            .chains
            .entry(series_ref)
            .or_insert_with(|| Chain { labels: labels(), places: VecDeque::with_capacity(1) });
        let new = &self.entries[place].exemplar;
        let at = chain.places.partition_point(|&other| {
            order(&self.entries[other as usize].exemplar, new) != Ordering::Greater
        });
        chain.places.insert(at, place as u32);
    }

    fn unlink(&mut self, old: &Entry, place: u32) {
        self.heap_bytes -= entry_bytes(&old.exemplar);
        if let Some(chain) = self.chains.get_mut(&old.series_ref) {
            // The oldest of all is among the oldest of its series.
            if let Some(at) = chain.places.iter().position(|&other| other == place) {
                chain.places.remove(at);
            }
            if chain.places.is_empty() {
                self.chains.remove(&old.series_ref);
            }
        }
    }

    /// Entries from the oldest to the newest.
    fn take_in_order(&mut self) -> Vec<Entry> {
        let mut entries = std::mem::take(&mut self.entries);
        if self.next > 0 && entries.len() == self.capacity {
            entries.rotate_left(self.next);
        }
        self.next = 0;
        entries
    }
}

impl Exemplars {
    /// Keeps up to `capacity` exemplars from now on; the newest of those there are stay.
    pub(crate) fn resize(&self, capacity: usize) {
        let mut ring = self.ring.lock();
        if ring.capacity == capacity {
            return;
        }
        let mut entries = ring.take_in_order();
        let dropped = entries.len().saturating_sub(capacity);
        entries.drain(..dropped);
        let chains = std::mem::take(&mut ring.chains);
        ring.capacity = capacity;
        ring.heap_bytes = 0;
        let appended = ring.appended;
        for entry in entries {
            let labels =
                || chains.get(&entry.series_ref).map(|chain| chain.labels.clone()).unwrap_or_default();
            ring.insert(entry.series_ref, labels, entry.exemplar);
        }
        ring.appended = appended;
    }

    /// Whether the exemplar may be added to its series.
    pub(crate) fn check(
        &self,
        series_ref: u64,
        exemplar: &Exemplar,
        window_ms: i64,
    ) -> Result<(), ExemplarError> {
        self.ring.lock().check(series_ref, exemplar, window_ms)
    }

    /// Adds an exemplar if it may be added.
    pub(crate) fn add(
        &self,
        series_ref: u64,
        labels: impl FnOnce() -> Labels,
        exemplar: Exemplar,
        window_ms: i64,
    ) -> Result<(), ExemplarError> {
        let mut ring = self.ring.lock();
        let checked = ring.check(series_ref, &exemplar, window_ms);
        if checked.is_ok() && ring.is_known_time(series_ref, exemplar.timestamp_ms) {
            return Ok(());
        }
        match &checked {
            Ok(()) => ring.insert(series_ref, labels, exemplar),
            Err(ExemplarError::OutOfOrder) => ring.out_of_order += 1,
            Err(_) => {}
        }
        checked
    }

    /// Exemplars in the range of series that match all of any one of the sets.
    pub(crate) fn select(&self, range: TimeRange, matcher_sets: &[Vec<Matcher>]) -> Vec<SeriesExemplars> {
        let ring = self.ring.lock();
        let mut found: Vec<SeriesExemplars> = Vec::new();
        for chain in ring.chains.values() {
            let matches =
                |set: &Vec<Matcher>| set.iter().all(|m| m.matches(chain.labels.value_or_empty(m.name())));
            if !matcher_sets.iter().any(matches) {
                continue;
            }
            let exemplars: Vec<Exemplar> = chain
                .places
                .iter()
                .map(|&place| &ring.entries[place as usize].exemplar)
                .filter(|exemplar| range.contains(exemplar.timestamp_ms))
                .cloned()
                .collect();
            if !exemplars.is_empty() {
                found.push(SeriesExemplars { series: chain.labels.clone(), exemplars });
            }
        }
        found.sort_by(|a, b| a.series.cmp(&b.series));
        // A series that was away has two chains.
        found.dedup_by(|next, first| {
            let same = next.series == first.series;
            if same {
                first.exemplars.append(&mut next.exemplars);
                first.exemplars.sort_by(order);
            }
            same
        });
        found
    }

    /// All exemplars, the one that came first first.
    pub(crate) fn in_order(&self) -> Vec<RefExemplar> {
        let ring = self.ring.lock();
        let oldest = if ring.entries.len() < ring.capacity { 0 } else { ring.next };
        let (newer, older) = ring.entries.split_at(oldest.min(ring.entries.len()));
        let entries = older.iter().chain(newer);
        entries
            .map(|entry| RefExemplar {
                series: model::SeriesRef(entry.series_ref),
                timestamp_ms: entry.exemplar.timestamp_ms,
                value: entry.exemplar.value,
                labels: entry.exemplar.labels.clone(),
            })
            .collect()
    }

    /// Time of the oldest exemplar in the ring.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        let ring = self.ring.lock();
        let place = if ring.entries.len() < ring.capacity { 0 } else { ring.next };
        ring.entries.get(place).map(|entry| entry.exemplar.timestamp_ms)
    }

    /// Figures for metrics.
    pub(crate) fn stats(&self) -> ExemplarStats {
        let ring = self.ring.lock();
        ExemplarStats {
            stored: ring.entries.len(),
            series: ring.chains.len(),
            capacity: ring.capacity,
            appended: ring.appended,
            out_of_order: ring.out_of_order,
            heap_bytes: ring.heap_bytes
                + ring.chains.len() * size_of::<Chain>()
                + ring.entries.capacity() * 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(t: i64, value: f64) -> Exemplar {
        let labels = Labels::from_pairs([("trace", format!("{t}"))]);
        Exemplar { labels, value, timestamp_ms: t, has_timestamp: true }
    }

    fn times(exemplars: &Exemplars) -> Vec<i64> {
        let any = [vec![]];
        exemplars
            .select(TimeRange::ALL, &any)
            .iter()
            .flat_map(|s| s.exemplars.iter().map(|e| e.timestamp_ms))
            .collect()
    }

    #[test]
    fn the_ring_replaces_the_oldest_and_shrinking_keeps_the_newest() {
        let exemplars = Exemplars::default();
        assert_eq!(exemplars.check(1, &exemplar(1, 1.0), 0), Err(ExemplarError::Disabled));
        exemplars.resize(4);
        let labels = || Labels::from_pairs([("a", "b")]);
        for t in 1..=6 {
            exemplars.add(1, labels, exemplar(t, 1.0), 0).unwrap();
        }
        assert_eq!(times(&exemplars), [3, 4, 5, 6]);
        assert_eq!(exemplars.add(1, labels, exemplar(6, 1.0), 0), Err(ExemplarError::Duplicate));
        assert_eq!(exemplars.add(1, labels, exemplar(5, 1.0), 0), Err(ExemplarError::OutOfOrder));
        exemplars.resize(2);
        assert_eq!(times(&exemplars), [5, 6]);
        exemplars.resize(3);
        exemplars.add(1, labels, exemplar(7, 1.0), 0).unwrap();
        assert_eq!(times(&exemplars), [5, 6, 7]);
        exemplars.resize(0);
        assert!(times(&exemplars).is_empty());
    }

    #[test]
    fn older_ones_are_taken_inside_the_window() {
        let exemplars = Exemplars::default();
        exemplars.resize(10);
        for t in [100, 95, 98] {
            exemplars.add(1, Labels::empty, exemplar(t, 1.0), 10).unwrap();
        }
        assert_eq!(times(&exemplars), [95, 98, 100]);
        assert!(exemplars.add(1, Labels::empty, exemplar(90, 1.0), 10).is_err());
        exemplars.add(1, Labels::empty, exemplar(98, 7.0), 10).unwrap();
        assert_eq!(times(&exemplars), [95, 98, 100], "one of a time that is known is the same");
        exemplars.add(1, Labels::empty, exemplar(100, 7.0), 10).unwrap();
        assert_eq!(times(&exemplars), [95, 98, 100, 100], "unless it is the newest");
    }

    #[test]
    fn long_labels_are_refused() {
        let exemplars = Exemplars::default();
        exemplars.resize(1);
        let labels = Labels::from_pairs([("a", "é".repeat(128))]);
        let long = Exemplar { labels, value: 1.0, timestamp_ms: 1, has_timestamp: true };
        assert_eq!(exemplars.check(1, &long, 0), Err(ExemplarError::LabelsTooLong));
    }
}
