//! A page of 4,096 series: everything the head knows of them, under one lock.
//!
//! ```text
//! hot     [last t, last v, open chunk, …]     what an append touches: one line or two
//! cold    [labels, full chunks, extra]  what selects and upkeep touch
//! labels  packed pairs, one run a series
//! before  what a batch found, until no reader from before it is left
//! closing full chunks on their way to a file
//! ```

use model::{Metadata, SeriesHandle};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

use super::full::FullChunks;
use super::labels::{self, PairIter};
use super::ooo::OutOfOrder;
use super::open::ClosedChunk;
use super::open_histogram::OpenHistogram;
use crate::chunk::{StartState, XorState, xor};

/// Series a page.
pub(crate) const PAGE_SLOTS: usize = 4096;

/// The series has no sample yet.
pub(crate) const NO_TIME: i64 = i64::MIN;

/// So many series are fetched from memory at once, see [`PageData::touch`].
pub(crate) const TOUCHED_AT_ONCE: usize = 16;

/// What an append touches of a series: one cache line.
pub(crate) struct Hot {
    /// The series' number on disk; 0 marks a vacant slot.
    pub(crate) series_ref: u64,
    /// Newest float and where the open chunk stands. Without an open chunk it
    /// is what the last one ended with.
    pub(crate) float: XorState,
    /// Bytes of the open float chunk, with room to spare; empty where there is none.
    pub(crate) chunk: Box<[u8]>,
    /// The open chunk ends before its newest timestamp plus this, in ms: so an
    /// append need not look at the chunk's start.
    pub(crate) ends_in_ms: u32,
    /// See [`flag`].
    pub(crate) flags: u8,
    /// Whether the open float chunk is XOR2.
    pub(crate) xor2: bool,
}

const _: () = assert!(size_of::<Hot>() == 64);

impl Hot {
    fn vacant() -> Hot {
        Hot {
            series_ref: 0,
            float: xor::start(&mut [0; 2]),
            chunk: Box::default(),
            ends_in_ms: 0,
            flags: 0,
            xor2: false,
        }
    }
}

/// Bits of [`Hot::flags`].
pub(crate) mod flag {
    /// The newest sample is a histogram.
    pub(crate) const HISTOGRAM: u8 = 1;
    /// The newest sample is a staleness marker.
    pub(crate) const STALE: u8 = 2;
    /// A collection found no sample; any touch saves the series.
    pub(crate) const CONDEMNED: u8 = 4;
    /// There are out-of-order samples.
    pub(crate) const OUT_OF_ORDER: u8 = 8;
    /// Some chunk of the series holds histograms.
    pub(crate) const EVER_HISTOGRAM: u8 = 16;
    /// Samples of the series were deleted by tombstones.
    pub(crate) const DELETED: u8 = 32;
    /// Made by a batch under way that put no sample into it yet, and seen by nobody
    /// else: it goes with the batch.
    pub(crate) const FRESH: u8 = 64;
}

/// A full chunk in a head chunk file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FullChunk {
    /// Time of its first sample.
    pub(crate) min_ms: i64,
    /// File number, offset and whole seconds, see [`FullChunk::new`].
    packed: u64,
}

const OFFSET_BITS: u32 = 28;
const SECONDS_BITS: u32 = 16;
const SECONDS_MAX: u64 = (1 << SECONDS_BITS) - 1;

impl FullChunk {
    /// A chunk of a file (number below 2^20) at an offset (below 2^28).
    pub(crate) fn new(file: u64, offset: u64, min_ms: i64, max_ms: i64) -> FullChunk {
        let seconds = (max_ms.wrapping_sub(min_ms) as u64).div_ceil(1000).min(SECONDS_MAX);
        FullChunk::from_parts(file, offset, min_ms, seconds)
    }

    /// A chunk whose last sample is so many whole seconds behind its first.
    pub(super) fn from_parts(file: u64, offset: u64, min_ms: i64, seconds: u64) -> FullChunk {
        assert!(file >> 20 == 0 && offset >> OFFSET_BITS == 0, "head chunk {file}:{offset} is out of range");
        FullChunk { min_ms, packed: file << (OFFSET_BITS + SECONDS_BITS) | offset << SECONDS_BITS | seconds }
    }

    /// Number of its file.
    pub(crate) fn file(&self) -> u64 {
        self.packed >> (OFFSET_BITS + SECONDS_BITS)
    }

    /// Offset in its file.
    pub(crate) fn offset(&self) -> u64 {
        (self.packed >> SECONDS_BITS) & ((1 << OFFSET_BITS) - 1)
    }

    /// Whole seconds from its first to its last sample, or a number that says more
    /// than can be told.
    pub(super) fn seconds(&self) -> u64 {
        self.packed & SECONDS_MAX
    }

    /// A time not before its last sample, and seldom more than a second after.
    pub(crate) fn max_bound_ms(&self) -> i64 {
        match self.seconds() {
            SECONDS_MAX => i64::MAX,
            seconds => self.min_ms.saturating_add(seconds as i64 * 1000),
        }
    }
}

/// What appends seldom touch of a series.
#[derive(Default)]
pub(crate) struct Cold {
    labels_at: u32,
    /// Full chunks in order of time.
    pub(crate) full: FullChunks,
    /// What most series lack.
    pub(crate) extra: Option<Box<Extra>>,
}

/// What most series lack.
#[derive(Default)]
pub(crate) struct Extra {
    /// The newest histogram and the chunk that it lies in; there as long as the
    /// newest sample is a histogram.
    pub(crate) histogram: Option<Box<OpenHistogram>>,
    /// Start timestamps of the open XOR2 chunk.
    pub(crate) starts: StartState,
    /// Samples older than the newest.
    pub(crate) ooo: Option<OutOfOrder>,
    /// What its target says of it.
    pub(crate) metadata: Option<Arc<Metadata>>,
}

impl Cold {
    /// The extra state, made where it is missing.
    pub(crate) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// The out-of-order samples, where there are some.
    pub(crate) fn ooo(&self) -> Option<&OutOfOrder> {
        self.extra.as_ref().and_then(|extra| extra.ooo.as_ref())
    }

    /// Adds a full chunk.
    pub(crate) fn push_full(&mut self, chunk: FullChunk) {
        self.full.push(chunk);
    }
}

/// The newest times that a batch found in the series it touched.
struct BeforeSet {
    batch: u64,
    entries: Vec<(u16, i64)>,
    sorted: bool,
}

/// What a page holds.
#[derive(Default)]
pub(crate) struct PageData {
    /// By slot.
    pub(crate) hot: Vec<Hot>,
    /// By slot.
    pub(crate) cold: Vec<Cold>,
    labels: Vec<u8>,
    dead_label_bytes: usize,
    before: Vec<BeforeSet>,
    /// Full chunks that are not in a file yet, by slot, in order of time a slot.
    pub(crate) closing: Vec<(u16, Arc<ClosedChunk>)>,
}

/// A page and its lock. Lock symbols before it, and nothing while holding it.
#[derive(Default)]
pub(crate) struct Page {
    data: Mutex<PageData>,
}

impl Page {
    /// Locks the page.
    pub(crate) fn lock(&self) -> MutexGuard<'_, PageData> {
        self.data.lock()
    }
}

/// The tenant of a slot as told by a handle.
pub(crate) fn generation(series_ref: u64) -> u32 {
    series_ref as u32
}

impl PageData {
    /// Whether a handle's series still lives in place `i`.
    pub(crate) fn is_tenant(&self, i: usize, handle: SeriesHandle) -> bool {
        self.hot
            .get(i)
            .is_some_and(|hot| hot.series_ref != 0 && generation(hot.series_ref) == handle.generation)
    }

    /// Puts a new series into place `i`, the next place or a vacant one.
    pub(crate) fn settle(&mut self, i: usize, series_ref: u64, pairs: &[(u32, u32)]) {
        if self.labels.capacity() - self.labels.len() < 5 + pairs.len() * 10 {
            let more = (self.labels.len() / 8).max(4096);
            self.labels.reserve_exact(more.max(5 + pairs.len() * 10));
        }
        let labels_at = u32::try_from(self.labels.len()).expect("a page has less than 4 GiB of labels");
        labels::pack(pairs, &mut self.labels);
        let hot = Hot { series_ref, ..Hot::vacant() };
        let cold = Cold { labels_at, ..Cold::default() };
        if i == self.hot.len() {
            if i == 0 {
                self.hot.reserve_exact(PAGE_SLOTS);
                self.cold.reserve_exact(PAGE_SLOTS);
            }
            self.hot.push(hot);
            self.cold.push(cold);
        } else {
            self.hot[i] = hot;
            self.cold[i] = cold;
        }
    }

    /// Empties place `i`.
    pub(crate) fn evict(&mut self, i: usize) {
        self.dead_label_bytes += self.pairs(i).packed_len();
        self.hot[i] = Hot::vacant();
        self.cold[i] = Cold::default();
        self.closing.retain(|(slot, _)| usize::from(*slot) != i);
    }

    /// The packed labels of the series in place `i`.
    pub(crate) fn packed_labels(&self, i: usize) -> &[u8] {
        &self.labels[self.cold[i].labels_at as usize..]
    }

    /// The label pairs of the series in place `i`.
    pub(crate) fn pairs(&self, i: usize) -> PairIter<'_> {
        labels::unpack(self.packed_labels(i))
    }

    /// Copies the labels together when a quarter of them is dead.
    pub(crate) fn compact_labels(&mut self) {
        if self.dead_label_bytes * 4 < self.labels.len() || self.dead_label_bytes == 0 {
            return;
        }
        let mut packed = Vec::with_capacity(self.labels.len() - self.dead_label_bytes);
        for i in 0..self.hot.len() {
            if self.hot[i].series_ref == 0 {
                continue;
            }
            let at = packed.len() as u32;
            let len = self.pairs(i).packed_len();
            packed.extend_from_slice(&self.packed_labels(i)[..len]);
            self.cold[i].labels_at = at;
        }
        self.labels = packed;
        self.dead_label_bytes = 0;
    }

    /// Time of the newest in-order sample of series `i`, [`NO_TIME`] where there is none.
    pub(crate) fn last_t(&self, i: usize) -> i64 {
        let hot = &self.hot[i];
        if hot.flags & flag::HISTOGRAM == 0 {
            return hot.float.last_timestamp_ms();
        }
        let histogram = self.cold[i].extra.as_ref().and_then(|extra| extra.histogram.as_ref());
        histogram.map_or(NO_TIME, |histogram| histogram.last_t)
    }

    /// Times of the first and the last sample of series `i`, out-of-order ones
    /// included; [`NO_TIME`] as last where there is none. The first may be a
    /// second early.
    pub(crate) fn time_bounds(&self, i: usize) -> (i64, i64) {
        let mut first = i64::MAX;
        let mut last = self.last_t(i);
        let full = self.cold[i].full.first().map(|chunk| chunk.min_ms);
        let mine = self.closing.iter().filter(|(slot, _)| usize::from(*slot) == i);
        for t in full.into_iter().chain(self.open_min(i)).chain(mine.clone().map(|(_, chunk)| chunk.min_ms)) {
            first = first.min(t);
        }
        if let Some(ooo) = self.cold[i].ooo() {
            for t in ooo.open.iter().map(|sample| sample.t).chain(ooo.full.iter().map(|chunk| chunk.min_ms)) {
                first = first.min(t);
            }
            let newest =
                ooo.open.iter().map(|sample| sample.t).chain(ooo.full.iter().map(|c| c.max_bound_ms()));
            last = newest.chain(mine.map(|(_, chunk)| chunk.max_ms)).fold(last, i64::max);
        }
        (first, last)
    }

    /// Starts to keep what batch `batch` finds in about `series` series;
    /// `oldest_reader` may still ask for older ones.
    pub(crate) fn begin_batch(&mut self, batch: u64, oldest_reader: u64, series: usize) {
        if let Some(set) = self.before.last_mut().filter(|set| set.batch == batch) {
            set.entries.reserve(series);
            return;
        }
        self.forget_before(oldest_reader);
        self.before.push(BeforeSet { batch, entries: Vec::with_capacity(series), sorted: true });
    }

    /// Reads where the open chunks of some series end, all at once: the memory of
    /// a few is waited for together, not one after the other.
    pub(crate) fn touch(&self, series: impl Iterator<Item = usize>) {
        let mut seen = 0;
        for i in series {
            let hot = &self.hot[i];
            seen ^= hot.chunk.get(hot.float.byte_len().saturating_sub(1)).copied().unwrap_or(0);
        }
        std::hint::black_box(seen);
    }

    /// Notes the newest time of series `i` before the batch under way changes it.
    pub(crate) fn note_before(&mut self, i: usize) {
        let last_t = self.last_t(i);
        if let Some(set) = self.before.last_mut() {
            set.sorted &= set.entries.last().is_none_or(|last| usize::from(last.0) <= i);
            set.entries.push((i as u16, last_t));
        }
    }

    /// Drops what no reader will ask for.
    pub(crate) fn forget_before(&mut self, oldest_reader: u64) {
        self.before.retain(|set| set.batch > oldest_reader);
    }

    /// The newest time of series `i` that a reader of `number` may see.
    pub(crate) fn visible_until(&self, i: usize, number: u64) -> i64 {
        let mut until = i64::MAX;
        for set in self.before.iter().filter(|set| set.batch > number) {
            let slot = i as u16;
            let found = if set.sorted {
                let at = set.entries.partition_point(|entry| entry.0 < slot);
                set.entries.get(at).filter(|entry| entry.0 == slot)
            } else {
                set.entries.iter().find(|entry| entry.0 == slot)
            };
            if let Some(&(_, last_t)) = found {
                until = until.min(last_t);
            }
        }
        until
    }

    /// Notes that closing chunks are in files.
    pub(crate) fn chunks_written(&mut self, written: Vec<(u16, FullChunk, Arc<ClosedChunk>)>) {
        for (slot, full, chunk) in written {
            let i = usize::from(slot);
            // The series may have been evicted meanwhile, and its chunks with it.
            let Some(at) = self.closing.iter().position(|(_, closing)| Arc::ptr_eq(closing, &chunk)) else {
                continue;
            };
            self.closing.remove(at);
            if chunk.out_of_order {
                self.adopt_out_of_order(i, full);
            } else {
                self.cold[i].push_full(full);
            }
        }
        if self.closing.is_empty() {
            self.closing = Vec::new();
        }
    }

    /// Bytes of (hot and cold arrays, labels, open chunks, full chunk lists and the rest).
    pub(crate) fn heap_bytes(&self) -> PageBytes {
        let mut bytes = PageBytes {
            pages: self.hot.capacity() * size_of::<Hot>() + self.cold.capacity() * size_of::<Cold>(),
            labels: self.labels.capacity(),
            ..PageBytes::default()
        };
        for hot in &self.hot {
            bytes.open_chunks += hot.chunk.len();
        }
        for cold in &self.cold {
            bytes.full_chunks += cold.full.heap_bytes();
            if let Some(extra) = &cold.extra {
                bytes.extra += size_of::<Extra>()
                    + extra.ooo.as_ref().map_or(0, OutOfOrder::heap_bytes)
                    + extra.histogram.as_ref().map_or(0, |histogram| histogram.heap_bytes());
            }
        }
        bytes.extra += self.closing.iter().map(|(_, chunk)| chunk.bytes.len() + 64).sum::<usize>();
        bytes
    }
}

/// Bytes of a page by what they hold.
#[derive(Clone, Copy, Default)]
pub(crate) struct PageBytes {
    /// The arrays.
    pub(crate) pages: usize,
    /// Packed labels.
    pub(crate) labels: usize,
    /// Chunks being filled.
    pub(crate) open_chunks: usize,
    /// Where full chunks are.
    pub(crate) full_chunks: usize,
    /// Out-of-order samples, metadata, chunks on their way to a file.
    pub(crate) extra: usize,
}

/// For replay.
impl PageData {
    /// Says what time the newest sample of series `i` has, which lies in a file.
    pub(crate) fn restore_newest(&mut self, i: usize, newest: i64) {
        if newest != NO_TIME && self.hot[i].chunk.is_empty() && newest > self.last_t(i) {
            self.set_newest(i, newest, 0.0);
        }
    }

    /// Says what value the newest sample of series `i` has, if it is at time `t`
    /// and lies in a file.
    pub(crate) fn refine_newest(&mut self, i: usize, t: i64, value: f64) {
        if self.hot[i].flags & flag::HISTOGRAM == 0 && self.hot[i].chunk.is_empty() && t == self.last_t(i) {
            self.set_newest(i, t, value);
        }
    }

    fn set_newest(&mut self, i: usize, t: i64, value: f64) {
        let mut scratch = [0; 64];
        let mut state = xor::start(&mut scratch);
        xor::append(&mut state, &mut scratch, t, value);
        self.hot[i].float = state;
    }

    /// Adds a file's chunk of out-of-order samples to series `i`.
    pub(crate) fn adopt_out_of_order(&mut self, i: usize, chunk: FullChunk) {
        self.cold[i].extra_mut().ooo.get_or_insert_default().full.push(chunk);
        self.hot[i].flags |= flag::OUT_OF_ORDER;
    }
}
