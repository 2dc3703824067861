//! What the head no longer needs goes away: chunks that are in blocks, series
//! without samples, their labels.
//!
//! Nothing is taken from under a reader or an appender. A truncation names the
//! time and is carried out when no reader from before it is left; a series that
//! has nothing left is condemned, and falls when no appender from before that
//! is left and nobody touched it meanwhile.

use std::sync::atomic::Ordering;

use model::SeriesHandle;
use roaring::RoaringBitmap;

use super::Head;
use super::labels;
use super::lookup::labels_hash;
use super::page::{FullChunk, PageData, flag};

/// Truncations under way.
#[derive(Default)]
pub(crate) struct Collection {
    /// (time, number after which readers know of it), rising.
    truncations: Vec<(i64, u64)>,
    /// Slots that were condemned under a number.
    condemned: Option<(u64, RoaringBitmap)>,
    /// A truncation was carried out and series may have nothing left.
    sweep_due: bool,
    /// Late chunks that are in blocks, with the number after which readers know.
    late: Option<(u64, Vec<LateChunks>)>,
    /// Series that are wholly in blocks, with the number after which readers know.
    gone: Option<(u64, Vec<GoneSeries>)>,
    /// Numbers of those that lost their samples and are to fall.
    evicting: roaring::RoaringTreemap,
}

/// A series that is wholly in blocks, as it was then.
pub(crate) struct GoneSeries {
    /// Its slot.
    pub(crate) slot: u32,
    /// Its number.
    pub(crate) series_ref: u64,
    /// Time of its newest sample: with a newer one it stays.
    pub(crate) last_t: i64,
}

/// Late chunks of a series that go into blocks.
pub(crate) struct LateChunks {
    /// The series' slot.
    pub(crate) slot: u32,
    /// Its number.
    pub(crate) series_ref: u64,
    /// The chunks.
    pub(crate) chunks: Vec<FullChunk>,
}

/// What a collection did.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Numbers of the series that fell.
    pub(crate) removed: Vec<u64>,
    /// Those of them that fell because they are wholly in blocks.
    pub(crate) evicted: Vec<u64>,
    /// No chunk of an earlier head chunk file is in use; `None` where nothing was looked at.
    pub(crate) oldest_file: Option<u64>,
    /// Whether everything that was due is done.
    pub(crate) done: bool,
}

impl Head {
    /// A number that rises: readers and appenders that start later know of
    /// everything that happened before the call.
    pub(crate) fn tick(&self) -> u64 {
        let _apply = self.apply.lock();
        let number = self.isolation.published() + 1;
        self.isolation.publish(number);
        number
    }

    /// Says that in-order samples before `mint` are in blocks. Readers that
    /// start from here on do not ask the head for them.
    pub(crate) fn truncate_before(&self, mint: i64) {
        self.times.raise_min_valid(mint);
        if self.times.is_initialised() && self.times.min() < mint {
            self.times.set_min(mint);
        }
        let number = self.tick();
        self.collection.lock().truncations.push((mint, number));
    }

    /// Carries out what can be carried out now.
    pub(crate) fn collect(&self) -> Collected {
        let mut collection = self.collection.lock();
        let mut collected = Collected { done: true, ..Collected::default() };
        let oldest_reader = self.isolation.oldest_reader();
        let due = collection.truncations.iter().filter(|(_, number)| *number <= oldest_reader).count();
        if due > 0 {
            let mint = collection.truncations.drain(..due).map(|(mint, _)| mint).max().unwrap_or(i64::MIN);
            collected.oldest_file = Some(self.drop_chunks(mint));
            collection.sweep_due = true;
        }
        if let Some((_, taken)) = collection.late.take_if(|(number, _)| *number <= oldest_reader) {
            self.drop_late(&taken);
            collection.sweep_due = true;
        }
        if collection.condemned.is_none()
            && let Some((_, gone)) = collection.gone.take_if(|(number, _)| *number <= oldest_reader)
        {
            collection.evicting.extend(self.drop_gone(&gone));
            collection.sweep_due = true;
        }
        if !collection.truncations.is_empty() || collection.late.is_some() || collection.gone.is_some() {
            collected.done = false;
        }
        if collection.sweep_due && collection.condemned.is_none() {
            collection.sweep_due = false;
            let condemned = self.condemn();
            if !condemned.is_empty() {
                collection.condemned = Some((self.tick(), condemned));
            }
        }
        let ready = collection
            .condemned
            .as_ref()
            .is_some_and(|(number, _)| *number <= self.isolation.oldest_appender());
        if ready && let Some((_, slots)) = collection.condemned.take() {
            collected.removed = self.sweep(&slots);
            let evicting = std::mem::take(&mut collection.evicting);
            let evicted = collected.removed.iter().filter(|number| evicting.contains(**number));
            collected.evicted = evicted.copied().collect();
        }
        collected.done &= collection.condemned.is_none();
        let oldest_reader = self.isolation.oldest_reader();
        {
            let mut tables = self.symbols.write();
            tables.names.reclaim(oldest_reader);
            tables.values.reclaim(oldest_reader);
        }
        collected
    }

    /// Forgets full chunks that end before `mint`; answers the oldest head chunk
    /// file that is still in use.
    fn drop_chunks(&self, mint: i64) -> u64 {
        // Held, so that no sample comes in below what is found to be the oldest.
        let _apply = self.apply.lock();
        let mut oldest = u64::MAX;
        let mut oldest_t = i64::MAX;
        let mut dropped = 0u64;
        for (_, page) in self.slots.pages() {
            let mut page = page.lock();
            let page = &mut *page;
            for i in 0..page.hot.len() {
                if page.hot[i].series_ref == 0 {
                    continue;
                }
                dropped += page.drop_chunks(i, mint);
                let full = page.cold[i].full.iter().map(|chunk| chunk.file());
                let late =
                    page.cold[i].ooo().into_iter().flat_map(|ooo| ooo.full.iter().map(|chunk| chunk.file()));
                oldest = full.chain(late).fold(oldest, u64::min);
                let first = page.cold[i].full.first().map(|chunk| chunk.min_ms).or_else(|| page.open_min(i));
                oldest_t = first.map_or(oldest_t, |first| oldest_t.min(first));
            }
            for (_, chunk) in page.closing.iter().filter(|(_, chunk)| !chunk.out_of_order) {
                oldest_t = oldest_t.min(chunk.min_ms);
            }
        }
        if self.times.is_initialised() && oldest_t != i64::MAX {
            self.times.set_min(self.times.min().max(oldest_t));
        }
        self.counts.chunks.fetch_sub(dropped as i64, Ordering::Relaxed);
        self.counts.chunks_removed.fetch_add(dropped, Ordering::Relaxed);
        oldest
    }

    /// The oldest head chunk file that holds a chunk of some series, `u64::MAX`
    /// where none does.
    pub(crate) fn oldest_chunk_file(&self) -> u64 {
        let mut oldest = u64::MAX;
        for (_, page) in self.slots.pages() {
            for cold in &page.lock().cold {
                let late = cold.ooo().into_iter().flat_map(|ooo| ooo.full.iter().map(|chunk| chunk.file()));
                oldest = cold.full.iter().map(|chunk| chunk.file()).chain(late).fold(oldest, u64::min);
            }
        }
        oldest
    }

    /// Says that late chunks are in blocks.
    pub(crate) fn forget_late(&self, taken: Vec<LateChunks>) {
        let number = self.tick();
        self.collection.lock().late = Some((number, taken));
    }

    /// Whether late chunks that are in blocks are still here too.
    pub(crate) fn is_late_pending(&self) -> bool {
        self.collection.lock().late.is_some()
    }

    /// Says that series are wholly in blocks. They go when nobody reads them here
    /// any more, unless they changed meanwhile.
    pub(crate) fn evict_when_unread(&self, gone: Vec<GoneSeries>) {
        let number = self.tick();
        self.collection.lock().gone = Some((number, gone));
    }

    /// Whether series that are wholly in blocks are still here too.
    pub(crate) fn is_eviction_pending(&self) -> bool {
        let collection = self.collection.lock();
        collection.gone.is_some() || !collection.evicting.is_empty()
    }

    /// Takes their samples from series that are in blocks and did not change;
    /// answers their numbers.
    fn drop_gone(&self, gone: &[GoneSeries]) -> Vec<u64> {
        let _apply = self.apply.lock();
        let mut dropped = 0;
        let mut evicting = Vec::new();
        for series in gone {
            let (page, i) = self.slots.of(series.slot);
            let mut page = page.lock();
            let hot = &page.hot[i];
            let is_same = hot.series_ref == series.series_ref && hot.flags & flag::STALE != 0;
            if !is_same || page.last_t(i) != series.last_t || page.cold[i].ooo().is_some() {
                continue;
            }
            dropped += page.drop_all(i);
            evicting.push(series.series_ref);
        }
        self.counts.chunks.fetch_sub(dropped as i64, Ordering::Relaxed);
        self.counts.chunks_removed.fetch_add(dropped, Ordering::Relaxed);
        evicting
    }

    fn drop_late(&self, taken: &[LateChunks]) {
        let _apply = self.apply.lock();
        for LateChunks { slot, series_ref, chunks } in taken {
            let (page, i) = self.slots.of(*slot);
            let mut page = page.lock();
            let page = &mut *page;
            if page.hot[i].series_ref != *series_ref {
                continue;
            }
            let Some(extra) = page.cold[i].extra.as_mut() else { continue };
            let Some(ooo) = &mut extra.ooo else { continue };
            ooo.full.retain(|chunk| !chunks.contains(chunk));
            if ooo.is_empty() {
                extra.ooo = None;
                page.hot[i].flags &= !flag::OUT_OF_ORDER;
            }
        }
        self.late_times.reset();
        for (_, page) in self.slots.pages() {
            for ooo in page.lock().cold.iter().filter_map(|cold| cold.ooo()) {
                for sample in &ooo.open {
                    self.late_times.extend(sample.t, sample.t);
                }
                for chunk in &ooo.full {
                    self.late_times.extend(chunk.min_ms, chunk.max_bound_ms());
                }
            }
        }
    }

    /// The numbers of series with late samples.
    pub(crate) fn late_series(&self) -> roaring::RoaringTreemap {
        let mut series = roaring::RoaringTreemap::new();
        for (_, page) in self.slots.pages() {
            let page = page.lock();
            let late =
                page.hot.iter().zip(&page.cold).filter(|(_, cold)| cold.ooo().is_some_and(|o| !o.is_empty()));
            series.extend(late.map(|(hot, _)| hot.series_ref));
        }
        series
    }

    /// Marks series that hold no sample.
    fn condemn(&self) -> RoaringBitmap {
        let mut condemned = RoaringBitmap::new();
        for (first, page) in self.slots.pages() {
            let mut page = page.lock();
            for i in 0..page.hot.len() {
                if page.hot[i].series_ref != 0 && page.is_bare(i) {
                    page.hot[i].flags |= flag::CONDEMNED;
                    condemned.insert(first + i as u32);
                }
            }
        }
        condemned
    }

    /// Removes the series that are still condemned.
    fn sweep(&self, slots: &RoaringBitmap) -> Vec<u64> {
        self.remove(slots, |page, i, _| page.hot[i].flags & flag::CONDEMNED != 0)
    }

    /// Removes series that a batch made and that are still fresh: as nobody had a
    /// sample accepted for them, nobody will add one. Answers their numbers, ascending.
    pub(super) fn take_back(&self, mut made: Vec<SeriesHandle>) -> Vec<u64> {
        made.sort_unstable_by_key(|handle| handle.slot);
        let slots: RoaringBitmap = made.iter().map(|handle| handle.slot).collect();
        let mut removed = self.remove(&slots, |page, i, slot| {
            let of_batch = made.binary_search_by_key(&slot, |handle| handle.slot).map(|at| made[at]);
            page.hot[i].flags & flag::FRESH != 0 && of_batch.is_ok_and(|handle| page.is_tenant(i, handle))
        });
        removed.sort_unstable();
        self.unlogged.lock().retain(|(series_ref, _)| removed.binary_search(&series_ref.0).is_err());
        removed
    }

    /// Removes the series without a sample of some slots that are due when their page
    /// is locked. Answers their numbers.
    fn remove(&self, slots: &RoaringBitmap, is_due: impl Fn(&PageData, usize, u32) -> bool) -> Vec<u64> {
        let mut creation = self.creation.lock();
        let mut gone = RoaringBitmap::new();
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        let mut released: Vec<(u32, u32)> = Vec::new();
        let mut removed = Vec::new();
        let mut stale = 0i64;
        for slot in slots {
            let tables = self.symbols.read();
            let (page, i) = self.slots.of(slot);
            let mut page = page.lock();
            let hot = &page.hot[i];
            if hot.series_ref == 0 || !is_due(&page, i, slot) || !page.is_bare(i) {
                continue;
            }
            stale += i64::from(hot.flags & flag::STALE != 0);
            removed.push(hot.series_ref);
            // Out of the look-up first: from here on nobody finds it.
            let labels = labels::to_labels(&tables, page.pairs(i));
            self.lookup.remove(labels_hash(&labels), slot);
            released.extend(page.pairs(i));
            gone.insert(slot);
            page.evict(i);
        }
        if gone.is_empty() {
            return removed;
        }
        pairs.extend_from_slice(&released);
        self.postings.remove(&gone, &mut pairs);
        let number = self.tick();
        {
            let mut tables = self.symbols.write();
            for &(name, value) in &released {
                tables.names.release(name, number);
                tables.values.release(value, number);
            }
        }
        creation.vacant.extend(gone.iter().map(|slot| (number, slot)));
        self.lookup.shrink();
        for (_, page) in self.slots.pages() {
            page.lock().compact_labels();
        }
        let n = removed.len() as u64;
        self.counts.series.fetch_sub(n, Ordering::Relaxed);
        self.counts.series_removed.fetch_add(n, Ordering::Relaxed);
        self.counts.stale_series.fetch_sub(stale, Ordering::Relaxed);
        removed
    }
}

impl PageData {
    /// Forgets the chunks of series `i` that end before `mint`; answers how many.
    fn drop_chunks(&mut self, i: usize, mint: i64) -> u64 {
        let mut dropped = 0;
        let full: Vec<FullChunk> = self.cold[i].full.iter().collect();
        let gone = full.partition_point(|chunk| chunk.max_bound_ms() < mint);
        // A bound may lie a second behind the last sample; a chunk never crosses
        // the end of a block, so its neighbour's start tells as well.
        let gone = (gone..full.len())
            .take_while(|&n| full.get(n + 1).is_some_and(|next| next.min_ms <= mint && full[n].min_ms < mint))
            .last()
            .map_or(gone, |n| n + 1);
        let open_ends = self.last_t(i);
        let all_over = open_ends < mint;
        let keep = if all_over { full.len() } else { gone };
        if keep > 0 {
            self.cold[i].full.drop_first(keep);
            dropped += keep as u64;
        }
        let before = self.closing.len();
        self.closing
            .retain(|(slot, chunk)| usize::from(*slot) != i || chunk.out_of_order || chunk.max_ms >= mint);
        dropped += (before - self.closing.len()) as u64;
        if all_over && self.close_open(i).is_some() {
            dropped += 1;
        }
        dropped
    }

    /// Forgets all in-order chunks of series `i`; answers how many.
    pub(super) fn drop_all(&mut self, i: usize) -> u64 {
        let mut dropped = std::mem::take(&mut self.cold[i].full).len() as u64;
        let before = self.closing.len();
        self.closing.retain(|(slot, _)| usize::from(*slot) != i);
        dropped += (before - self.closing.len()) as u64;
        dropped + u64::from(self.close_open(i).is_some())
    }

    /// Whether series `i` holds no sample.
    fn is_bare(&self, i: usize) -> bool {
        self.cold[i].full.is_empty()
            && self.open_min(i).is_none()
            && self.cold[i].ooo().is_none_or(|ooo| ooo.is_empty())
            && self.closing.iter().all(|(slot, _)| usize::from(*slot) != i)
    }
}
