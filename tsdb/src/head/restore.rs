//! Many series made at once, from a log or a snapshot, before anybody queries.
//!
//! Series that follow each other share most of their labels, so each label is
//! first compared with the one in the same place of the series before: that
//! saves most look-ups. Postings are made for all series at once at the end.

use std::sync::atomic::Ordering;

use model::query::ChunkEncoding;
use model::{Labels, SeriesHandle, SeriesRef, is_stale_nan};

use super::Head;
use super::labels::{self, Pairs};
use super::lookup::labels_hash;
use super::open::{ChunkRules, OpenFloats, buffer_size, estimate_end, first_t, range_end, span};
use super::open_histogram::OpenHistogram;
use super::page::{PageData, TOUCHED_AT_ONCE, flag, generation};
use super::postings::PostingsBuilder;
use super::series::{Creation, Found};
use super::symbols::{SymbolTable, Tables};
use crate::chunk::samples::samples;
use crate::chunk::{StartState, StoredValue, XorState, num_samples, xor, xor2};
use crate::corruption::Damage;
use crate::snapshot_format::SnapshotSeries;

/// What is remembered from one series to the next.
#[derive(Default)]
pub(crate) struct Restorer {
    /// Labels of the series before, and their numbers by place.
    last: Labels,
    pairs: Pairs,
}

impl Restorer {
    fn forget(&mut self) {
        self.pairs.clear();
        self.last = Labels::empty();
    }
}

/// A series of a snapshot.
pub(crate) struct SavedSeries {
    pub(crate) series_ref: u64,
    pub(crate) labels: Labels,
    pub(crate) open: Option<SavedChunk>,
}

/// An open chunk of a snapshot, ready to be gone on with.
pub(crate) struct SavedChunk {
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    encoding: ChunkEncoding,
    /// The chunk, and room behind it where it is one of floats.
    buffer: Box<[u8]>,
    len: usize,
    state: SavedState,
}

impl SavedChunk {
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

enum SavedState {
    Floats(XorState, StartState),
    Histogram(Box<OpenHistogram>),
}

impl SavedSeries {
    /// Reads a series' chunk to its end, so that it can be gone on with.
    ///
    /// # Errors
    /// The chunk is damaged.
    pub(crate) fn of(series: SnapshotSeries) -> Result<SavedSeries, Damage> {
        let open = match series.chunk {
            Some(chunk) if num_samples(chunk.encoding, &chunk.bytes)? > 0 => {
                let state = match chunk.encoding {
                    ChunkEncoding::Xor => {
                        SavedState::Floats(xor::resume(&chunk.bytes)?, StartState::default())
                    }
                    ChunkEncoding::Xor2 => {
                        let (state, starts) = xor2::resume(&chunk.bytes)?;
                        SavedState::Floats(state, starts)
                    }
                    encoding => {
                        let open = OpenHistogram::resume(encoding, &chunk.bytes, chunk.min_ms)?;
                        SavedState::Histogram(Box::new(open))
                    }
                };
                let (min_ms, max_ms) = match &state {
                    SavedState::Floats(state, _) => {
                        let is_xor2 = chunk.encoding == ChunkEncoding::Xor2;
                        (first_t(&chunk.bytes, is_xor2), state.last_timestamp_ms())
                    }
                    SavedState::Histogram(open) => (chunk.min_ms, open.last_t),
                };
                let len = chunk.bytes.len();
                let mut buffer = chunk.bytes;
                if matches!(state, SavedState::Floats(..)) {
                    buffer.reserve_exact(buffer_size(len) - len);
                    buffer.resize(buffer_size(len), 0);
                }
                let buffer = buffer.into_boxed_slice();
                Some(SavedChunk { min_ms, max_ms, encoding: chunk.encoding, buffer, len, state })
            }
            _ => None,
        };
        Ok(SavedSeries { series_ref: series.series.0, labels: series.labels, open })
    }
}

impl Head {
    /// The series with these labels, made under their numbers where they do not
    /// exist; `None` where the table is full or there are no labels. No matcher
    /// finds them before [`Head::build_postings`].
    pub(crate) fn restore_series<'l>(
        &self,
        restorer: &mut Restorer,
        entries: impl Iterator<Item = (&'l Labels, u64)>,
    ) -> Vec<Option<Found>> {
        let mut creation = self.creation.lock();
        let mut tables = self.symbols.write();
        let entries: Vec<(&Labels, u64, u64)> =
            entries.map(|(labels, series_ref)| (labels, series_ref, labels_hash(labels))).collect();
        let mut all = Vec::with_capacity(entries.len());
        for group in entries.chunks(TOUCHED_AT_ONCE) {
            self.lookup.touch(group.iter().map(|&(.., hash)| hash));
            for &(labels, series_ref, hash) in group {
                if labels.is_empty() || series_ref == 0 {
                    all.push(None);
                    continue;
                }
                creation.last_ref = creation.last_ref.max(series_ref);
                let found = self.find_in(&tables, labels, hash);
                all.push(found.or_else(|| {
                    self.restore(restorer, &mut creation, &mut tables, labels, hash, series_ref)
                }));
            }
        }
        all
    }

    fn restore(
        &self,
        restorer: &mut Restorer,
        creation: &mut Creation,
        tables: &mut Tables,
        labels: &Labels,
        hash: u64,
        series_ref: u64,
    ) -> Option<Found> {
        let slot = self.vacant_or_new(creation)?;
        let mut pairs = Pairs::new();
        let mut last = restorer.last.iter().zip(&restorer.pairs);
        for label in labels {
            let (name, value) = match last.next() {
                Some((before, &(name, value))) => (
                    (before.name == label.name).then_some(name),
                    (before.value == label.value).then_some(value),
                ),
                None => (None, None),
            };
            let acquire = |table: &mut SymbolTable, known: Option<u32>, text| match known {
                Some(id) => table.acquire_again(id),
                None => table.acquire(text),
            };
            pairs.push((
                acquire(&mut tables.names, name, label.name),
                acquire(&mut tables.values, value, label.value),
            ));
        }
        restorer.last = labels.clone();
        restorer.pairs.clone_from(&pairs);
        let (page, i) = self.slots.of(slot);
        page.lock().settle(i, series_ref, &pairs);
        self.lookup.insert(hash, slot);
        self.counts.series.fetch_add(1, Ordering::Relaxed);
        self.counts.series_created.fetch_add(1, Ordering::Relaxed);
        let handle = SeriesHandle { slot, generation: generation(series_ref) };
        Some(Found { handle, series_ref: SeriesRef(series_ref) })
    }

    /// Undoes the making of a series, before postings are built; answers its number.
    pub(crate) fn unmake(&self, restorer: &mut Restorer, slot: u32) -> u64 {
        restorer.forget();
        let mut creation = self.creation.lock();
        let mut tables = self.symbols.write();
        let (page, i) = self.slots.of(slot);
        let mut page = page.lock();
        let series_ref = page.hot[i].series_ref;
        let labels = labels::to_labels(&tables, page.pairs(i));
        self.lookup.remove(labels_hash(&labels), slot);
        let pairs: Pairs = page.pairs(i).collect();
        page.evict(i);
        for (name, value) in pairs {
            tables.names.release(name, 0);
            tables.values.release(value, 0);
        }
        creation.vacant.push_back((0, slot));
        self.counts.series.fetch_sub(1, Ordering::Relaxed);
        self.counts.series_removed.fetch_add(1, Ordering::Relaxed);
        series_ref
    }

    /// Makes the postings of all series anew, names shared out among threads.
    pub(crate) fn build_postings(&self, threads: usize) {
        let _creation = self.creation.lock();
        let parts = threads.max(1);
        let gather = |part: usize| {
            let mut builder = PostingsBuilder::of_part(part, parts);
            for (first, page) in self.slots.pages() {
                let page = page.lock();
                for i in (0..page.hot.len()).filter(|&i| page.hot[i].series_ref != 0) {
                    builder.add(first + i as u32, labels::unpack(page.packed_labels(i)));
                }
            }
            builder.build()
        };
        let built = std::thread::scope(|scope| {
            let others: Vec<_> = (1..parts).map(|part| scope.spawn(move || gather(part))).collect();
            let mut all = vec![gather(0)];
            for other in others {
                all.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            all
        });
        self.postings.replace(built);
    }
}

impl PageData {
    /// Gives series `i` the open chunk of a snapshot, unless files have its
    /// samples already. Answers whether it did.
    pub(crate) fn restore_open(&mut self, i: usize, saved: SavedChunk, rules: &ChunkRules) -> bool {
        let newest = self.last_t(i);
        if saved.max_ms <= newest {
            return false;
        }
        if saved.min_ms <= newest {
            self.restore_rest(i, &saved, newest, rules);
            return true;
        }
        match saved.state {
            SavedState::Floats(state, starts) => {
                let is_xor2 = saved.encoding == ChunkEncoding::Xor2;
                let goes_on = !is_xor2 || rules.starts || starts == StartState::default();
                let end = range_end(saved.min_ms, rules.range_ms);
                let done = f64::from(state.num_samples()) / f64::from(rules.samples);
                let end = match done {
                    // The next sample starts a new chunk.
                    _ if !goes_on => saved.min_ms,
                    0.25.. => estimate_end(saved.min_ms, saved.max_ms, end, 1.0 / done),
                    _ => end,
                };
                self.put_open_floats(
                    i,
                    OpenFloats {
                        state,
                        chunk: saved.buffer,
                        xor2: is_xor2,
                        end_after_ms: span(saved.min_ms, end),
                    },
                );
                if is_xor2 && rules.starts {
                    self.cold[i].extra_mut().starts = starts;
                }
                let is_stale = is_stale_nan(state.last_value());
                self.hot[i].flags |= if is_stale { flag::STALE } else { 0 };
            }
            SavedState::Histogram(open) => {
                let is_stale = open.last_sample().is_some_and(|sample| sample.is_stale());
                self.put_open_histogram(i, open, rules);
                self.hot[i].flags |= if is_stale { flag::STALE } else { 0 };
            }
        }
        true
    }

    /// Adds those samples of a chunk that are newer than the series.
    fn restore_rest(&mut self, i: usize, saved: &SavedChunk, newest: i64, rules: &ChunkRules) {
        // The bytes were read to their end before.
        let Ok(all) = samples(saved.encoding, saved.bytes()) else { return };
        for sample in all.flatten().filter(|sample| sample.timestamp_ms > newest) {
            let (t, start) = (sample.timestamp_ms, sample.start_timestamp_ms);
            let closed = match sample.value {
                StoredValue::Float(v) => self.push_float(i, t, v, start, rules),
                StoredValue::Histogram(h) => {
                    self.push_histogram(i, t, start, &model::HistogramValue::Integer(h), rules)
                }
                StoredValue::FloatHistogram(h) => {
                    self.push_histogram(i, t, start, &model::HistogramValue::Float(h), rules)
                }
            };
            self.closing.extend(closed.map(|chunk| (i as u16, std::sync::Arc::new(chunk))));
        }
    }
}
