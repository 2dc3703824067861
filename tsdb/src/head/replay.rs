//! What the log says becomes the head again.
//!
//! ```text
//! record ─ decoded (any thread) ─ this one: numbers to series ─┬─ lane 0: pages 0, 2, …
//!                                                              └─ lane 1: pages 1, 3, …
//! ```
//!
//! Records come in the order in which they were logged. A sample that is not
//! newer than its series is passed over here: it is a duplicate, lies in a full
//! chunk already, or is out of order and comes from the other log (see `late` for
//! what that lacks).

pub(crate) mod decoded;
mod lanes;
mod late;

use std::sync::Arc;
use std::thread::Scope;

use model::{SeriesRef, StorageError};

use super::ooo::{OooSample, OooValue};
use super::page::FullChunk;
use super::refs::RefMap;
use super::restore::{Restorer, SavedSeries};
use crate::db::{Store, is_mark};
use crate::tombstones::Tombstones;
use crate::wal::record;

use decoded::Decoded;
use lanes::{LaneHistogram, Lanes};

/// How often records named a series that no record made, by type.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UnknownRefs {
    pub(crate) samples: u64,
    pub(crate) histograms: u64,
    pub(crate) exemplars: u64,
    pub(crate) metadata: u64,
    pub(crate) tombstones: u64,
    pub(crate) mmap_markers: u64,
    pub(crate) series: u64,
}

impl UnknownRefs {
    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        self.samples + self.histograms + self.exemplars + self.metadata + self.tombstones + self.mmap_markers
    }
}

/// Full chunks found in files, by series number.
pub(crate) type FoundChunks = hashbrown::HashMap<u64, SeriesFiles, rapidhash::fast::RandomState>;

/// The chunks of one series in head chunk files.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeriesFiles {
    /// In order of time: (chunk, last time).
    pub(crate) in_order: Vec<(FullChunk, i64)>,
    /// Out of order, in order of writing.
    pub(crate) out_of_order: Vec<(FullChunk, i64)>,
}

/// A replay under way.
pub(crate) struct Replay<'a> {
    store: &'a Arc<Store>,
    lanes: Lanes,
    restorer: Restorer,
    refs: RefMap,
    /// Chunks whose series did not come yet.
    chunks: FoundChunks,
    /// Late chunks by slot that no marker named yet: they may be in blocks.
    unmarked: hashbrown::HashMap<u32, Vec<(FullChunk, i64)>, rapidhash::fast::RandomState>,
    /// Numbers that stand for a series with another number: (number, its own).
    pub(crate) aliases: Vec<(u64, u64)>,
    pub(crate) unknown: UnknownRefs,
    /// Those of them under which files hold chunks.
    pub(crate) aliased_files: Vec<u64>,
    /// Numbers of series that the log lets go of.
    pub(crate) evicted: Vec<u64>,
    min_valid: i64,
    threads: usize,
}

impl<'a> Replay<'a> {
    /// Starts a replay into an empty head, with so many threads that put samples
    /// into their series. `with_late`: there may be late samples.
    pub(crate) fn start<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        store: &'a Arc<Store>,
        chunks: FoundChunks,
        threads: usize,
        with_late: bool,
    ) -> Replay<'a> {
        let min_valid = store.head.times.min_valid();
        // Files may know series whose records are gone.
        store.head.raise_last_ref(chunks.keys().copied().max().unwrap_or(0));
        Replay {
            store,
            lanes: Lanes::start(scope, store, threads, min_valid, with_late),
            restorer: Restorer::default(),
            refs: RefMap::default(),
            chunks,
            unmarked: Default::default(),
            aliases: Vec::new(),
            unknown: UnknownRefs::default(),
            aliased_files: Vec::new(),
            evicted: Vec::new(),
            min_valid,
            threads,
        }
    }

    /// Applies what records of the log or a snapshot say.
    ///
    /// # Errors
    /// Chunks cannot be written.
    pub(crate) fn apply(&mut self, decoded: Decoded) -> Result<(), StorageError> {
        match decoded {
            Decoded::Series(series) => self.series(&series)?,
            Decoded::Samples(samples) => self.samples(&samples),
            Decoded::Histograms(all) => self.histograms(all),
            Decoded::Tombstones(stones) => self.tombstones(&stones)?,
            Decoded::Exemplars(exemplars) => self.exemplars(exemplars),
            Decoded::Metadata(all) => self.metadata(all),
            Decoded::Markers(_) => {}
            Decoded::Mark => self.look_for_late(),
            Decoded::Saved(series) => self.saved(series)?,
            Decoded::Deleted(tombstones) => self.deleted(&tombstones),
        }
        Ok(())
    }

    /// Waits until all samples are in their series, then lets matchers find these.
    ///
    /// # Errors
    /// Chunks cannot be written.
    pub(crate) fn settle(&mut self) -> Result<(), StorageError> {
        self.lanes.wait()?;
        self.store.head.build_postings(self.threads);
        Ok(())
    }

    /// Late samples of the log from here on are not known to be in blocks.
    pub(crate) fn look_for_late(&mut self) {
        self.lanes.look_for_late();
    }

    /// Takes late samples of the log that the out-of-order log lacks, and logs them
    /// there; answers how many. Both logs were read before.
    ///
    /// # Errors
    /// Blocks cannot be read, or the log's folder not.
    pub(crate) fn take_lacking_late(&mut self) -> Result<usize, StorageError> {
        let lacking = late::lacking(self.store, self.lanes.take_late())?;
        let n = lacking.len();
        if n > 0 {
            let _apply = self.store.head.apply.lock();
            self.store.apply_late(lacking, &self.store.head.rules.load_full())?;
        }
        Ok(n)
    }

    fn series(&mut self, series: &[record::RefSeries]) -> Result<(), StorageError> {
        let entries = series.iter().map(|entry| (&entry.labels, entry.series.0));
        let found = self.store.head.restore_series(&mut self.restorer, entries);
        for (entry, found) in series.iter().zip(found) {
            self.note_series(entry.series.0, found)?;
        }
        Ok(())
    }

    /// Notes where a series is, and gives it the chunks that files hold of it.
    fn note_series(
        &mut self,
        series_ref: u64,
        found: Option<super::series::Found>,
    ) -> Result<(), StorageError> {
        if series_ref == 0 {
            return Ok(());
        }
        let Some(found) = found else {
            self.unknown.series += 1;
            return Ok(());
        };
        let slot = found.handle.slot;
        self.refs.insert(series_ref, slot);
        let is_alias = found.series_ref.0 != series_ref;
        if is_alias {
            self.aliases.push((series_ref, found.series_ref.0));
        }
        if let Some(files) = self.chunks.remove(&series_ref) {
            if is_alias {
                self.aliased_files.push(series_ref);
                // What the series holds decides what is taken.
                self.lanes.wait()?;
            }
            self.adopt(slot, files);
        }
        Ok(())
    }

    /// Takes series over that a snapshot holds.
    fn saved(&mut self, series: Vec<SavedSeries>) -> Result<(), StorageError> {
        let entries = series.iter().map(|entry| (&entry.labels, entry.series_ref));
        let found = self.store.head.restore_series(&mut self.restorer, entries);
        let rules = self.store.head.rules.load().chunks;
        for (entry, found) in series.into_iter().zip(found) {
            self.note_series(entry.series_ref, found)?;
            let Some(found) = found else { continue };
            let (page, i) = self.store.head.slots.of(found.handle.slot);
            let mut page = page.lock();
            match entry.open {
                Some(open) if open.max_ms >= self.min_valid => {
                    let times = (open.min_ms, open.max_ms);
                    if page.restore_open(i, open, &rules) {
                        self.store.head.times.extend(times.0.max(self.min_valid), times.1);
                    }
                }
                Some(open) => page.restore_newest(i, open.max_ms),
                None => {}
            }
        }
        Ok(())
    }

    /// Gives a series the in-order chunks that files hold of it; the late ones
    /// wait for their markers, as only the log knows which are not in blocks.
    fn adopt(&mut self, slot: u32, files: SeriesFiles) {
        let head = &self.store.head;
        let (page, i) = head.slots.of(slot);
        let mut page = page.lock();
        let mut newest = page.last_t(i);
        let (older, newer): (Vec<_>, Vec<_>) =
            files.in_order.into_iter().partition(|(chunk, _)| chunk.min_ms <= newest);
        for (chunk, max) in older.into_iter().rev().chain(newer) {
            if max < self.min_valid {
                continue;
            }
            if chunk.min_ms <= newest {
                // A series that had another number before the last start has older
                // chunks under that one; they come after its newer ones.
                // A snapshot's open chunk may be all that it has under its own.
                let full = &page.cold[i].full;
                let oldest = full.first().map(|first| first.min_ms).or_else(|| page.open_min(i));
                if oldest.is_some_and(|oldest| max < oldest) {
                    let all = std::iter::once(chunk).chain(full.iter()).collect();
                    page.cold[i].full = all;
                    head.times.extend(chunk.min_ms.max(self.min_valid), max);
                }
                continue;
            }
            page.cold[i].push_full(chunk);
            head.times.extend(chunk.min_ms.max(self.min_valid), max);
            newest = max;
        }
        page.restore_newest(i, newest);
        if !files.out_of_order.is_empty() {
            self.unmarked.entry(slot).or_default().extend(files.out_of_order);
        }
    }

    /// Gives series the late chunks that no marker named: with markers lost,
    /// samples twice are better than none.
    pub(crate) fn adopt_unmarked(&mut self) {
        let head = &self.store.head;
        for (slot, chunks) in self.unmarked.drain() {
            let (page, i) = head.slots.of(slot);
            let mut page = page.lock();
            for (chunk, max) in chunks {
                page.adopt_out_of_order(i, chunk);
                head.late_times.extend(chunk.min_ms, max);
            }
        }
    }

    fn samples(&mut self, samples: &[record::RefSample]) {
        for sample in samples {
            match self.refs.get(sample.series.0) {
                Some(slot) => {
                    self.lanes.float(slot, sample.timestamp_ms, sample.value, sample.start_timestamp_ms);
                }
                None => self.unknown.samples += 1,
            }
        }
    }

    fn histograms(&mut self, all: Vec<decoded::RefHistogramValue>) {
        for entry in all {
            match self.refs.get(entry.series.0) {
                Some(slot) => {
                    let (t, start, value) = (entry.t, entry.start, entry.value);
                    self.lanes.histogram(LaneHistogram { slot, t, start, value });
                }
                None => self.unknown.histograms += 1,
            }
        }
    }

    fn tombstones(&mut self, stones: &[record::RefTombstone]) -> Result<(), StorageError> {
        let is_whole = |stone: &record::RefTombstone| stone.min_ms == i64::MIN && stone.max_ms == i64::MAX;
        if stones.iter().any(is_whole) {
            // What was logged before is to be in its series, to go with it.
            self.lanes.wait()?;
        }
        for stone in stones {
            self.store.head.raise_last_ref(stone.series.0);
            match self.refs.get(stone.series.0) {
                Some(slot) if is_whole(stone) => self.evict(slot),
                // Late samples, which come after, may be as old as any.
                Some(slot) => self.store.mark_deleted(slot, stone.min_ms, stone.max_ms),
                // The checkpoint lets go of series that were evicted.
                None if is_whole(stone) => {}
                None => self.unknown.tombstones += 1,
            }
        }
        Ok(())
    }

    /// A series that left the head at this point of the log: all of it is in
    /// blocks, and whoever comes back with its labels is a new one.
    fn evict(&mut self, slot: u32) {
        let series_ref = self.store.head.unmake(&mut self.restorer, slot);
        self.lanes.forget(slot);
        self.refs.remove(series_ref);
        let (refs, evicted) = (&mut self.refs, &mut self.evicted);
        evicted.push(series_ref);
        self.aliases.retain(|&(alias, own)| {
            if own == series_ref {
                refs.remove(alias);
                evicted.push(alias);
            }
            own != series_ref
        });
        self.unmarked.remove(&slot);
        self.store.tombstones.forget(series_ref);
    }

    fn deleted(&mut self, tombstones: &Tombstones) {
        for (series_ref, intervals) in tombstones.iter() {
            self.store.head.raise_last_ref(series_ref);
            // Upstream keeps those of series that are gone for a while.
            let Some(slot) = self.refs.get(series_ref) else { continue };
            for interval in intervals {
                self.store.mark_deleted(slot, interval.start_ms, interval.end_ms);
            }
        }
    }

    fn exemplars(&mut self, exemplars: Vec<record::RefExemplar>) {
        for entry in exemplars {
            let Some(slot) = self.refs.get(entry.series.0) else {
                self.unknown.exemplars += 1;
                continue;
            };
            if entry.timestamp_ms < self.min_valid {
                continue;
            }
            let exemplar = model::Exemplar {
                labels: entry.labels,
                value: entry.value,
                timestamp_ms: entry.timestamp_ms,
                has_timestamp: true,
            };
            self.store.add_exemplar(slot, None, exemplar);
        }
    }

    fn metadata(&mut self, all: Vec<record::RefMetadata>) {
        for entry in all {
            let Some(slot) = self.refs.get(entry.series.0) else {
                self.unknown.metadata += 1;
                continue;
            };
            let (page, i) = self.store.head.slots.of(slot);
            page.lock().cold[i].extra_mut().metadata = Some(Arc::new(entry.metadata));
        }
    }

    /// Applies what records of the out-of-order log say. [`Replay::settle`] comes
    /// before.
    ///
    /// # Errors
    /// As [`Replay::apply`].
    pub(crate) fn apply_late(&mut self, decoded: Decoded) -> Result<(), StorageError> {
        match decoded {
            Decoded::Samples(samples) => {
                for s in samples {
                    let value = OooValue::Float(s.value);
                    let sample = OooSample { t: s.timestamp_ms, start: s.start_timestamp_ms, value };
                    self.late(s.series, sample)?;
                }
            }
            Decoded::Histograms(all) => {
                for h in all {
                    let value = OooValue::Histogram(Box::new(h.value));
                    self.late(h.series, OooSample { t: h.t, start: h.start, value })?;
                }
            }
            Decoded::Markers(markers) => markers.into_iter().for_each(|marker| self.marker(marker)),
            _ => {}
        }
        Ok(())
    }

    fn late(&mut self, series: SeriesRef, sample: OooSample) -> Result<(), StorageError> {
        self.store.needed.by_late_log(series.0);
        self.store.head.raise_last_ref(series.0);
        match self.refs.get(series.0) {
            Some(slot) => self.store.restore_late(slot, sample)?,
            None => match sample.value {
                OooValue::Float(_) => self.unknown.samples += 1,
                OooValue::Histogram(_) => self.unknown.histograms += 1,
            },
        }
        Ok(())
    }

    /// What came before a marker lies in a chunk file, if that was read.
    fn marker(&mut self, marker: record::RefMmapMarker) {
        if marker.chunk == 0 || is_mark(&marker) {
            return;
        }
        let Some(slot) = self.refs.get(marker.series.0) else {
            self.unknown.mmap_markers += 1;
            return;
        };
        let wanted = (marker.chunk >> 32, marker.chunk & 0xffff_ffff);
        let Some(chunks) = self.unmarked.get_mut(&slot) else { return };
        let Some(at) = chunks.iter().position(|(chunk, _)| (chunk.file(), chunk.offset()) == wanted) else {
            return;
        };
        let (chunk, max) = chunks.remove(at);
        let head = &self.store.head;
        let (page, i) = head.slots.of(slot);
        let mut page = page.lock();
        page.adopt_out_of_order(i, chunk);
        head.late_times.extend(chunk.min_ms, max);
        if let Some(ooo) = page.cold[i].extra.as_mut().and_then(|extra| extra.ooo.as_mut()) {
            ooo.open.clear();
        }
    }
}
