//! Reading the head: which of its series match, and their samples.

use std::sync::Arc;

use model::query::{Latest, LatestValue, ReadOptions, ReadStats, SelectRequest};
use model::{Columns, Dictionary, LabelTable, SeriesHandle, StorageError, TimeRange};

use super::matchers::matching_slots;
use super::merge::{drop_intervals, merge_columns};
use super::rows::HeadRows;
use crate::chunk::{self, ChunkEncoding};
use crate::db::Store;
use crate::head::isolation::ReadMark;
use crate::head::ooo;
use crate::head::open::ClosedChunk;
use crate::head::page::{FullChunk, PageData, flag, generation};
use crate::head::slots::place;

/// The head as one reader sees it.
pub(crate) struct HeadView {
    pub(crate) store: Arc<Store>,
    pub(crate) mark: ReadMark,
    /// In-order samples before this are in blocks.
    pub(crate) min_ms: i64,
}

/// What is known of a series' chunks without decoding.
#[derive(Default)]
pub(crate) struct SeriesChunks {
    /// In files, in order of time.
    pub(crate) full: smallvec::SmallVec<[FullChunk; 8]>,
    /// On their way there, in order of time.
    pub(crate) closing: smallvec::SmallVec<[Arc<ClosedChunk>; 2]>,
    /// A copy of the open one.
    pub(crate) open: Option<ClosedChunk>,
    /// Out-of-order chunks in files.
    pub(crate) ooo_full: Vec<FullChunk>,
    /// Out-of-order chunks in memory.
    pub(crate) ooo_open: Vec<Arc<ClosedChunk>>,
    /// No in-order sample after this is visible.
    pub(crate) until: i64,
    /// Whether some of it was deleted.
    pub(crate) deleted: bool,
    /// The series' number.
    pub(crate) series_ref: u64,
}

impl HeadView {
    /// The series that match and touch the range, in label order.
    pub(crate) fn select(
        &self,
        request: &SelectRequest,
        dictionary: &Dictionary,
    ) -> Result<(LabelTable, Vec<SeriesHandle>), StorageError> {
        let head = &self.store.head;
        let slots = matching_slots(head, &request.matchers);
        let mut rows = HeadRows::expecting(slots.len() as usize);
        let mut handles = Vec::with_capacity(slots.len() as usize);
        let mut slots = slots.into_iter().peekable();
        while let Some(&first) = slots.peek() {
            request.cancel.check()?;
            let (page_number, _) = place(first);
            let (page, _) = head.slots.of(first);
            let page = page.lock();
            while let Some(slot) = slots.next_if(|&slot| place(slot).0 == page_number) {
                let (_, i) = place(slot);
                if page.hot[i].series_ref != 0 && self.touches(&page, i, request.range) {
                    rows.push(page.pairs(i));
                    handles.push(SeriesHandle { slot, generation: generation(page.hot[i].series_ref) });
                }
            }
        }
        let tables = head.symbols.read();
        let (table, order) = rows.sorted(&tables, dictionary);
        Ok((table, order.into_iter().map(|i| handles[i as usize]).collect()))
    }

    /// Whether the series may have a visible sample in the range.
    fn touches(&self, page: &PageData, i: usize, range: TimeRange) -> bool {
        let start = range.start_ms.max(self.min_ms);
        let last_t = page.last_t(i);
        if start <= range.end_ms && last_t >= start && page.visible_until(i, self.mark.number()) >= start {
            let first = page.cold[i].full.first().map(|chunk| chunk.min_ms);
            let closing =
                || page.closing.iter().find(|(slot, _)| usize::from(*slot) == i).map(|(_, c)| c.min_ms);
            let first = first.or_else(closing).or_else(|| page.open_min(i));
            if first.is_some_and(|first| first <= range.end_ms)
                && self.has_chunk(page, i, start, range.end_ms)
            {
                return true;
            }
        }
        let Some(ooo) = page.cold[i].ooo() else { return false };
        ooo.open.iter().any(|sample| range.contains(sample.t))
            || ooo
                .full
                .iter()
                .any(|chunk| chunk.min_ms <= range.end_ms && chunk.max_bound_ms() >= range.start_ms)
            || page.closing.iter().any(|(slot, chunk)| {
                usize::from(*slot) == i
                    && chunk.out_of_order
                    && chunk.min_ms <= range.end_ms
                    && chunk.max_ms >= range.start_ms
            })
    }

    /// Whether an in-order chunk touches the range.
    fn has_chunk(&self, page: &PageData, i: usize, start: i64, end: i64) -> bool {
        let touches = |min: i64, max: i64| min <= end && max >= start;
        if page.open_min(i).is_some_and(|min| touches(min, page.last_t(i))) {
            return true;
        }
        page.cold[i].full.iter().any(|chunk| touches(chunk.min_ms, chunk.max_bound_ms()))
            || page.closing.iter().any(|(slot, chunk)| {
                usize::from(*slot) == i && !chunk.out_of_order && touches(chunk.min_ms, chunk.max_ms)
            })
    }

    /// The chunks of a series that touch the range, `None` where it is gone.
    pub(crate) fn chunks(&self, handle: SeriesHandle, range: TimeRange) -> Option<SeriesChunks> {
        let (page, i) = self.store.head.slots.of(handle.slot);
        let page = page.lock();
        if !page.is_tenant(i, handle) {
            return None;
        }
        let until = page.visible_until(i, self.mark.number());
        let (start, end) = (range.start_ms.max(self.min_ms), range.end_ms.min(until));
        let hot = &page.hot[i];
        let mut found = SeriesChunks {
            until,
            deleted: hot.flags & flag::DELETED != 0,
            series_ref: hot.series_ref,
            ..SeriesChunks::default()
        };
        if start <= end {
            let full = page.cold[i].full.iter();
            found.full = full.filter(|chunk| chunk.max_bound_ms() >= start && chunk.min_ms <= end).collect();
            found.open = page.copy_open(i, start, end);
        }
        let mine = page.closing.iter().filter(|(slot, _)| usize::from(*slot) == i).map(|(_, chunk)| chunk);
        for chunk in mine {
            if chunk.out_of_order {
                if chunk.min_ms <= range.end_ms && chunk.max_ms >= range.start_ms {
                    found.ooo_open.push(chunk.clone());
                }
            } else if chunk.min_ms <= end && chunk.max_ms >= start {
                found.closing.push(chunk.clone());
            }
        }
        found.closing.sort_by_key(|chunk| chunk.min_ms);
        if let Some(ooo) = page.cold[i].ooo() {
            let full = ooo.full.iter();
            found.ooo_full = full
                .filter(|chunk| chunk.min_ms <= range.end_ms && chunk.max_bound_ms() >= range.start_ms)
                .copied()
                .collect();
            let rules = &self.store.head.rules.load().chunks;
            let encoded = ooo::encode(hot.series_ref, &ooo.open, rules);
            let touching =
                encoded.into_iter().filter(|c| c.min_ms <= range.end_ms && c.max_ms >= range.start_ms);
            found.ooo_open.extend(touching.map(Arc::new));
        }
        Some(found)
    }

    /// Appends a series' samples to columns that hold none, or only older ones.
    pub(crate) fn read(
        &self,
        handle: SeriesHandle,
        range: TimeRange,
        options: ReadOptions,
        columns: &mut Columns,
    ) -> Result<ReadStats, StorageError> {
        let mut stats = ReadStats::default();
        let Some(found) = self.chunks(handle, range) else { return Ok(stats) };
        let in_order = TimeRange::new(range.start_ms.max(self.min_ms), range.end_ms.min(found.until));
        for chunk in &found.full {
            let data = self.store.head_chunk(*chunk)?;
            decode(data.chunk.encoding, &data, in_order, options, columns, &mut stats)?;
        }
        for chunk in found.closing.iter().map(Arc::as_ref).chain(&found.open) {
            decode(chunk.encoding, &chunk.bytes, in_order, options, columns, &mut stats)?;
        }
        if !found.ooo_full.is_empty() || !found.ooo_open.is_empty() {
            let mut sources = vec![std::mem::take(columns)];
            for chunk in &found.ooo_full {
                let data = self.store.head_chunk(*chunk)?;
                let mut source = Columns::default();
                decode(data.chunk.encoding, &data, range, options, &mut source, &mut stats)?;
                sources.push(source);
            }
            for chunk in &found.ooo_open {
                let mut source = Columns::default();
                decode(chunk.encoding, &chunk.bytes, range, options, &mut source, &mut stats)?;
                sources.push(source);
            }
            merge_columns(&mut sources, columns);
        }
        if found.deleted {
            drop_intervals(columns, &self.store.tombstones.intervals(found.series_ref));
        }
        Ok(stats)
    }

    /// The newest sample of a series in the range, where memory answers it
    /// without decoding: `None` means that it does not.
    pub(crate) fn newest(&self, handle: SeriesHandle, range: TimeRange) -> Option<Option<Latest>> {
        let (page, i) = self.store.head.slots.of(handle.slot);
        let page = page.lock();
        if !page.is_tenant(i, handle) {
            return Some(None);
        }
        let hot = &page.hot[i];
        let t = hot.float.last_timestamp_ms();
        let plain = hot.flags & (flag::HISTOGRAM | flag::OUT_OF_ORDER | flag::DELETED) == 0;
        if !plain || t > range.end_ms || page.visible_until(i, self.mark.number()) < t {
            return None;
        }
        if t < range.start_ms.max(self.min_ms) {
            // Nothing in the range, at least not here.
            return Some(None);
        }
        Some(Some(Latest { timestamp_ms: t, value: LatestValue::Float(hot.float.last_value()) }))
    }
}

/// Decodes one chunk and counts it.
pub(crate) fn decode(
    encoding: ChunkEncoding,
    bytes: &[u8],
    range: TimeRange,
    options: ReadOptions,
    columns: &mut Columns,
    stats: &mut ReadStats,
) -> Result<(), StorageError> {
    chunk::decode(encoding, bytes, range, options, columns).map_err(|error| StorageError::Corrupt {
        path: "head".into(),
        offset: 0,
        what: error.to_string(),
    })?;
    stats.chunks += 1;
    stats.bytes += bytes.len() as u64;
    Ok(())
}
