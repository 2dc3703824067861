//! How a series is found and made.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use model::{AppendError, Labels, SeriesHandle, SeriesRef};

use super::Head;
use super::labels::{self, Pairs};
use super::lookup::labels_hash;
use super::page::{flag, generation};
use super::symbols::Tables;

/// What making series needs.
#[derive(Default)]
pub(super) struct Creation {
    /// The highest number given to a series.
    pub(super) last_ref: u64,
    /// Vacant slots with the epoch in which they fell vacant.
    pub(super) vacant: VecDeque<(u64, u32)>,
}

/// A series that was found or made.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    /// Its handle.
    pub(crate) handle: SeriesHandle,
    /// Its number on disk.
    pub(crate) series_ref: SeriesRef,
}

impl Head {
    /// The series with these labels, if it exists.
    pub(crate) fn find(&self, labels: &Labels) -> Option<Found> {
        self.find_hashed(labels, labels_hash(labels))
    }

    fn find_hashed(&self, labels: &Labels, hash: u64) -> Option<Found> {
        let candidates = self.lookup.candidates(hash);
        if candidates.is_empty() {
            return None;
        }
        self.find_among(candidates, &self.symbols.read(), labels)
    }

    /// [`Head::find`] for a caller that holds the symbols.
    pub(super) fn find_in(&self, tables: &Tables, labels: &Labels, hash: u64) -> Option<Found> {
        self.find_among(self.lookup.candidates(hash), tables, labels)
    }

    fn find_among(
        &self,
        candidates: impl IntoIterator<Item = u32>,
        tables: &Tables,
        labels: &Labels,
    ) -> Option<Found> {
        candidates.into_iter().find_map(|slot| {
            let (page, i) = self.slots.of(slot);
            let mut page = page.lock();
            let series_ref = page.hot[i].series_ref;
            if series_ref == 0 || !labels::equal(tables, page.packed_labels(i), labels) {
                return None;
            }
            page.hot[i].flags &= !(flag::CONDEMNED | flag::FRESH);
            let handle = SeriesHandle { slot, generation: generation(series_ref) };
            Some(Found { handle, series_ref: SeriesRef(series_ref) })
        })
    }

    /// The series with these labels, made if it does not exist and noted as
    /// not logged; whether it was made. What was made is fresh.
    pub(crate) fn find_or_create(&self, labels: &Labels) -> Result<(Found, bool), AppendError> {
        if labels.is_empty() {
            return Err(AppendError::EmptyLabels);
        }
        let hash = labels_hash(labels);
        if let Some(found) = self.find_hashed(labels, hash) {
            return Ok((found, false));
        }
        if let Some(name) = labels.duplicate_name() {
            return Err(AppendError::DuplicateLabel(name.to_owned()));
        }
        let mut creation = self.creation.lock();
        if let Some(found) = self.find_hashed(labels, hash) {
            return Ok((found, false));
        }
        let series = self.counts.series.load(Ordering::Relaxed);
        if let Some(max) = self.rules.load().max_series.filter(|&max| series >= max) {
            return Err(AppendError::Refused(format!("{series} series of at most {max} exist")));
        }
        let series_ref = creation.last_ref + 1;
        self.create(&mut creation, labels, hash, series_ref, true).map(|made| (made, true))
    }

    /// The series with these labels, made under a number that the log knows if it
    /// does not exist.
    pub(crate) fn find_or_restore(&self, labels: &Labels, series_ref: u64) -> Result<Found, AppendError> {
        let hash = labels_hash(labels);
        let mut creation = self.creation.lock();
        creation.last_ref = creation.last_ref.max(series_ref);
        if let Some(found) = self.find_hashed(labels, hash) {
            return Ok(found);
        }
        self.create(&mut creation, labels, hash, series_ref, false)
    }

    /// Gives no number up to this one to a new series: files or logs know it.
    pub(crate) fn raise_last_ref(&self, series_ref: u64) {
        let mut creation = self.creation.lock();
        creation.last_ref = creation.last_ref.max(series_ref);
    }

    /// The highest number given to a series.
    pub(crate) fn last_ref(&self) -> u64 {
        self.creation.lock().last_ref
    }

    /// A slot for a new series; `None` when the table is full.
    pub(super) fn vacant_or_new(&self, creation: &mut Creation) -> Option<u32> {
        let oldest_reader = self.isolation.oldest_reader();
        match creation.vacant.front() {
            Some(&(epoch, slot)) if epoch <= oldest_reader => {
                creation.vacant.pop_front();
                Some(slot)
            }
            _ => self.slots.grow(),
        }
    }

    fn create(
        &self,
        creation: &mut Creation,
        labels: &Labels,
        hash: u64,
        series_ref: u64,
        log: bool,
    ) -> Result<Found, AppendError> {
        let slot = self
            .vacant_or_new(creation)
            .ok_or_else(|| AppendError::Refused("the table of series is full".to_owned()))?;
        creation.last_ref = creation.last_ref.max(series_ref);
        let pairs: Pairs = {
            let mut tables = self.symbols.write();
            labels.iter().map(|l| (tables.names.acquire(l.name), tables.values.acquire(l.value))).collect()
        };
        let (page, i) = self.slots.of(slot);
        {
            let mut page = page.lock();
            page.settle(i, series_ref, &pairs);
            if log {
                page.hot[i].flags |= flag::FRESH;
            }
        }
        if log {
            // Before anybody can find the series, so that its record is written
            // before any sample of it.
            self.unlogged.lock().push((SeriesRef(series_ref), labels.clone()));
        }
        self.postings.add(slot, &pairs);
        self.lookup.insert(hash, slot);
        self.counts.series.fetch_add(1, Ordering::Relaxed);
        self.counts.series_created.fetch_add(1, Ordering::Relaxed);
        let handle = SeriesHandle { slot, generation: generation(series_ref) };
        Ok(Found { handle, series_ref: SeriesRef(series_ref) })
    }
}
