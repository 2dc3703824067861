//! What the log says becomes the head again.
//!
//! Records come in the order in which they were logged. A sample that is not
//! newer than its series is passed over here: it is a duplicate, lies in a full
//! chunk already, or is out of order and comes from the other log.

use std::sync::Arc;

use model::{HistogramValue, SeriesRef, StorageError};

use super::ooo::{OooSample, OooValue};
use super::open::ClosedChunk;
use super::page::FullChunk;
use super::refs::RefMap;
use super::slots::place;
use crate::corruption::Damage;
use crate::db::Store;
use crate::wal::record::{self, RecordType};

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
    store: &'a Store,
    refs: RefMap,
    /// Chunks whose series did not come yet.
    chunks: FoundChunks,
    /// Late chunks by slot that no marker named yet: they may be in blocks.
    unmarked: hashbrown::HashMap<u32, Vec<(FullChunk, i64)>, rapidhash::fast::RandomState>,
    /// Numbers that stand for a series with another number: (number, its own).
    pub(crate) aliases: Vec<(u64, u64)>,
    pub(crate) unknown: UnknownRefs,
    min_valid: i64,
    closing: Vec<u32>,
    series: Vec<record::RefSeries>,
    samples: Vec<record::RefSample>,
    histograms: Vec<record::RefHistogram>,
    float_histograms: Vec<record::RefFloatHistogram>,
}

impl<'a> Replay<'a> {
    /// Starts a replay into an empty head.
    pub(crate) fn new(store: &'a Store, chunks: FoundChunks) -> Replay<'a> {
        Replay {
            store,
            refs: RefMap::default(),
            chunks,
            unmarked: Default::default(),
            aliases: Vec::new(),
            unknown: UnknownRefs::default(),
            min_valid: store.head.times.min_valid(),
            closing: Vec::new(),
            series: Vec::new(),
            samples: Vec::new(),
            histograms: Vec::new(),
            float_histograms: Vec::new(),
        }
    }

    /// Applies one record of the log.
    ///
    /// # Errors
    /// The record is damaged (what precedes the damage was applied), or chunks
    /// cannot be written.
    pub(crate) fn apply(&mut self, record: &[u8]) -> Result<Result<(), Damage>, StorageError> {
        let Some(kind) = RecordType::of(record) else { return Ok(Ok(())) };
        let damage = match kind {
            RecordType::Series => self.series(record),
            RecordType::Samples | RecordType::SamplesV2 => self.samples(record),
            RecordType::Histograms | RecordType::CustomHistograms | RecordType::HistogramsV2 => {
                self.histograms(record)
            }
            RecordType::FloatHistograms
            | RecordType::CustomFloatHistograms
            | RecordType::FloatHistogramsV2 => self.float_histograms(record),
            RecordType::Tombstones => self.tombstones(record),
            RecordType::Exemplars => self.exemplars(record),
            RecordType::Metadata => self.metadata(record),
            RecordType::MmapMarkers => Ok(()),
        };
        if !self.closing.is_empty() {
            let pages = std::mem::take(&mut self.closing);
            self.store.write_closing(&pages)?;
        }
        Ok(damage)
    }

    fn series(&mut self, record: &[u8]) -> Result<(), Damage> {
        let mut series = std::mem::take(&mut self.series);
        series.clear();
        let result = record::decode_series(record, &mut series);
        for entry in series.drain(..) {
            self.one_series(entry);
        }
        self.series = series;
        result
    }

    fn one_series(&mut self, entry: record::RefSeries) {
        let SeriesRef(series_ref) = entry.series;
        if entry.labels.is_empty() || series_ref == 0 {
            return;
        }
        let Ok(found) = self.store.head.find_or_restore(&entry.labels, series_ref) else {
            self.unknown.series += 1;
            return;
        };
        self.refs.insert(series_ref, found.handle.slot);
        if found.series_ref.0 != series_ref {
            self.aliases.push((series_ref, found.series_ref.0));
        }
        if let Some(files) = self.chunks.remove(&series_ref) {
            self.adopt(found.handle.slot, files);
        }
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
                let full = &page.cold[i].full;
                if full.first().is_some_and(|first| max < first.min_ms) {
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

    fn samples(&mut self, record: &[u8]) -> Result<(), Damage> {
        let mut samples = std::mem::take(&mut self.samples);
        samples.clear();
        let result = record::decode_samples(record, &mut samples);
        let rules = self.store.head.rules.load();
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        let mut n = 0;
        while n < samples.len() {
            let Some(slot) = self.refs.get(samples[n].series.0) else {
                self.unknown.samples += 1;
                n += 1;
                continue;
            };
            let (page_number, _) = place(slot);
            let (page, _) = self.store.head.slots.of(slot);
            let mut page = page.lock();
            while n < samples.len() {
                let sample = &samples[n];
                let Some(slot) = self.refs.get(sample.series.0) else { break };
                let (number, i) = place(slot);
                if number != page_number {
                    break;
                }
                n += 1;
                let t = sample.timestamp_ms;
                if t < self.min_valid || t <= page.last_t(i) {
                    page.refine_newest(i, t, sample.value);
                    continue;
                }
                (min, max) = (min.min(t), max.max(t));
                let closed = page.push_float(i, t, sample.value, sample.start_timestamp_ms, &rules.chunks);
                if let Some(closed) = closed {
                    self.close(&mut page, page_number, i, closed);
                }
            }
        }
        if min <= max {
            self.store.head.times.extend(min, max);
        }
        self.samples = samples;
        result
    }

    fn close(&mut self, page: &mut super::page::PageData, page_number: usize, i: usize, closed: ClosedChunk) {
        page.closing.push((i as u16, Arc::new(closed)));
        self.closing.push(page_number as u32);
    }

    fn histograms(&mut self, record: &[u8]) -> Result<(), Damage> {
        let mut all = std::mem::take(&mut self.histograms);
        all.clear();
        let result = record::decode_histograms(record, &mut all).map(|_| ());
        for entry in all.drain(..) {
            let value = HistogramValue::Integer(entry.histogram);
            self.histogram(entry.series, entry.timestamp_ms, entry.start_timestamp_ms, &value);
        }
        self.histograms = all;
        result
    }

    fn float_histograms(&mut self, record: &[u8]) -> Result<(), Damage> {
        let mut all = std::mem::take(&mut self.float_histograms);
        all.clear();
        let result = record::decode_float_histograms(record, &mut all).map(|_| ());
        for entry in all.drain(..) {
            let value = HistogramValue::Float(entry.histogram);
            self.histogram(entry.series, entry.timestamp_ms, entry.start_timestamp_ms, &value);
        }
        self.float_histograms = all;
        result
    }

    fn histogram(&mut self, series: SeriesRef, t: i64, start: i64, value: &HistogramValue) {
        let Some(slot) = self.refs.get(series.0) else {
            self.unknown.histograms += 1;
            return;
        };
        let store = self.store;
        let (page, i) = store.head.slots.of(slot);
        let mut page = page.lock();
        if t < self.min_valid || t <= page.last_t(i) {
            return;
        }
        let rules = store.head.rules.load();
        let closed = page.push_histogram(i, t, start, value, &rules.chunks);
        if let Some(closed) = closed {
            self.close(&mut page, place(slot).0, i, closed);
        }
        store.head.times.extend(t, t);
    }

    fn tombstones(&mut self, record: &[u8]) -> Result<(), Damage> {
        let mut stones = Vec::new();
        let result = record::decode_tombstones(record, &mut stones);
        for stone in stones {
            let Some(slot) = self.refs.get(stone.series.0) else {
                self.unknown.tombstones += 1;
                continue;
            };
            // Late samples, which come after, may be as old as any.
            self.store.mark_deleted(slot, stone.min_ms, stone.max_ms);
        }
        result
    }

    fn exemplars(&mut self, record: &[u8]) -> Result<(), Damage> {
        let mut exemplars = Vec::new();
        let result = record::decode_exemplars(record, &mut exemplars);
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
            self.store.add_exemplar(slot, exemplar);
        }
        result
    }

    fn metadata(&mut self, record: &[u8]) -> Result<(), Damage> {
        let mut all = Vec::new();
        let result = record::decode_metadata(record, &mut all);
        for entry in all {
            let Some(slot) = self.refs.get(entry.series.0) else {
                self.unknown.metadata += 1;
                continue;
            };
            let (page, i) = self.store.head.slots.of(slot);
            page.lock().cold[i].extra_mut().metadata = Some(Arc::new(entry.metadata));
        }
        result
    }

    /// Applies one record of the out-of-order log.
    ///
    /// # Errors
    /// As [`Replay::apply`].
    pub(crate) fn apply_late(&mut self, record: &[u8]) -> Result<Result<(), Damage>, StorageError> {
        let mut late = Vec::new();
        let damage = match RecordType::of(record) {
            Some(RecordType::Samples | RecordType::SamplesV2) => {
                let mut samples = Vec::new();
                let result = record::decode_samples(record, &mut samples);
                late.extend(samples.into_iter().map(|s| {
                    let value = OooValue::Float(s.value);
                    (s.series.0, OooSample { t: s.timestamp_ms, start: s.start_timestamp_ms, value })
                }));
                result
            }
            Some(RecordType::Histograms | RecordType::CustomHistograms | RecordType::HistogramsV2) => {
                let mut all = Vec::new();
                let result = record::decode_histograms(record, &mut all).map(|_| ());
                late.extend(all.into_iter().map(|h| {
                    let value = OooValue::Histogram(Box::new(HistogramValue::Integer(h.histogram)));
                    (h.series.0, OooSample { t: h.timestamp_ms, start: h.start_timestamp_ms, value })
                }));
                result
            }
            Some(
                RecordType::FloatHistograms
                | RecordType::CustomFloatHistograms
                | RecordType::FloatHistogramsV2,
            ) => {
                let mut all = Vec::new();
                let result = record::decode_float_histograms(record, &mut all).map(|_| ());
                late.extend(all.into_iter().map(|h| {
                    let value = OooValue::Histogram(Box::new(HistogramValue::Float(h.histogram)));
                    (h.series.0, OooSample { t: h.timestamp_ms, start: h.start_timestamp_ms, value })
                }));
                result
            }
            Some(RecordType::MmapMarkers) => {
                let mut markers = Vec::new();
                let result = record::decode_mmap_markers(record, &mut markers);
                for marker in markers {
                    self.marker(marker);
                }
                result
            }
            _ => Ok(()),
        };
        for (series_ref, sample) in late {
            self.store.needed.by_late_log(series_ref);
            match self.refs.get(series_ref) {
                Some(slot) => self.store.restore_late(slot, sample)?,
                None => match sample.value {
                    OooValue::Float(_) => self.unknown.samples += 1,
                    OooValue::Histogram(_) => self.unknown.histograms += 1,
                },
            }
        }
        Ok(damage)
    }

    /// What came before a marker lies in a chunk file, if that was read.
    fn marker(&mut self, marker: record::RefMmapMarker) {
        if marker.chunk == 0 {
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
