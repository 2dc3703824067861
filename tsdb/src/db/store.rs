//! What appenders, queriers and upkeep share, and how a batch goes through it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use model::admin::RuntimeSettings;
use model::{Durability, Env, Exemplar, SeriesRef, StorageError, TimeRange};
use parking_lot::Mutex;

use super::blocks::Block;
use super::checkpoint::Needed;
use super::commits::Commits;
use super::log::Log;
use super::metrics::Instruments;
use super::options::DbOptions;
use super::random::Random;
use super::records::{Records, encode_batch, encode_late, encode_series, join_runs};
use crate::corruption::FileError;
use crate::exemplars::Exemplars;
use crate::head::append::Batch;
use crate::head::commit::LateSample;
use crate::head::deleted::Deleted;
use crate::head::gc::LateChunks;
use crate::head::labels;
use crate::head::ooo::{self, OooSample};
use crate::head::open::ClosedChunk;
use crate::head::page::{FullChunk, flag};
use crate::head::slots::place;
use crate::head::{Head, HeadRules};
use crate::head_chunks::{ChunkData, HeadChunkFiles, HeadChunkRef};
use crate::wal::WalPosition;
use crate::wal::record::{RefMmapMarker, put_mmap_markers};

/// What appenders, queriers and upkeep share.
pub(crate) struct Store {
    pub(crate) env: Env,
    pub(crate) options: DbOptions,
    pub(crate) head: Head,
    pub(crate) exemplars: Exemplars,
    pub(crate) tombstones: Deleted,
    /// The log. What is logged while the replay goes on is behind what it reads.
    pub(crate) wal: OnceLock<Arc<Log>>,
    /// The out-of-order log, made when it is first needed.
    pub(crate) wbl: OnceLock<Arc<Log>>,
    /// What the log says of late samples before this is stored elsewhere too.
    pub(super) late_settled: OnceLock<WalPosition>,
    /// The blocks, oldest first.
    pub(crate) blocks: ArcSwap<Vec<Arc<Block>>>,
    /// Blocks that cannot be read, and why.
    pub(crate) damaged_blocks: Mutex<BTreeMap<PathBuf, String>>,
    /// Held during a round of upkeep.
    pub(crate) upkeep: Mutex<()>,
    pub(crate) random: Mutex<Random>,
    /// Full chunks in files.
    pub(crate) chunks: HeadChunkFiles,
    closing: Mutex<()>,
    /// Segments that followers of the log still need, by their names.
    pub(crate) wal_holds: Mutex<BTreeMap<String, u64>>,
    pub(crate) commits: Commits,
    pub(crate) needed: Needed,
    /// Numbers that stand for a series with another number: (number, its own).
    pub(crate) aliases: Mutex<Vec<(u64, u64)>>,
    pub(crate) metrics: Arc<Instruments>,
    pub(crate) runtime: Mutex<RuntimeSettings>,
    /// So long the head waits before it is cut.
    pub(crate) compaction_delay_ms: i64,
    /// Since when it is due to be cut.
    pub(crate) cut_due_since_ms: Mutex<Option<i64>>,
    /// When it was cut last.
    pub(crate) last_cut_ms: Mutex<Option<i64>>,
    pub(crate) closed: AtomicBool,
    /// Late samples are in memory whose log had no room for them: only a block can
    /// keep them.
    pub(crate) late_unlogged: AtomicBool,
    pub(crate) corruptions: AtomicU64,
}

impl Store {
    /// A store without data.
    pub(crate) fn new(
        options: DbOptions,
        env: Env,
        head: Head,
        chunks: HeadChunkFiles,
        metrics: Arc<Instruments>,
    ) -> Store {
        let runtime = options.runtime.clone();
        let mut random = Random::new(env.seed ^ env.clock.now_ms().unsigned_abs());
        let delay_max_ms = options.compaction_delay_max_percent.map_or(0, |percent| {
            options.block_duration_ms.saturating_mul(i64::from(percent)).unsigned_abs() / 100
        });
        let compaction_delay_ms = match delay_max_ms {
            0 => 0,
            max => i64::try_from(random.next_u64() % max).unwrap_or(0),
        };
        let exemplars = Exemplars::default();
        if options.exemplar_storage {
            exemplars.resize(options.runtime.max_exemplars);
        }
        Store {
            env,
            options,
            head,
            exemplars,
            tombstones: Deleted::default(),
            wal: OnceLock::new(),
            wbl: OnceLock::new(),
            late_settled: OnceLock::new(),
            blocks: ArcSwap::default(),
            damaged_blocks: Mutex::default(),
            upkeep: Mutex::default(),
            random: Mutex::new(random),
            chunks,
            closing: Mutex::default(),
            wal_holds: Mutex::default(),
            commits: Commits::default(),
            needed: Needed::default(),
            aliases: Mutex::default(),
            metrics,
            runtime: Mutex::new(runtime),
            compaction_delay_ms,
            cut_due_since_ms: Mutex::default(),
            last_cut_ms: Mutex::default(),
            closed: AtomicBool::new(false),
            late_unlogged: AtomicBool::new(false),
            corruptions: AtomicU64::new(0),
        }
    }

    /// Logs a batch and makes it visible. Where the log cannot be written, the
    /// batch waits for it in memory, visible.
    ///
    /// # Errors
    /// The store is closed, or so much waits for the log already that there is
    /// no room for more: nothing of the batch is visible.
    pub(crate) fn commit(&self, mut batch: Batch) -> Result<Durability, StorageError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StorageError::NotReady);
        }
        let wal = self.wal.get().ok_or(StorageError::NotReady)?;
        join_runs(&mut batch);
        let rules = self.head.rules.load_full();
        let mut records = Records::default();
        let with_starts = self.options.start_timestamp_storage;
        encode_batch(&batch, with_starts, self.options.metadata_storage, &mut records);
        let packed = wal.pack(&records);
        drop(records);

        let now = self.env.clock.monotonic();
        let mut log = wal.lock();
        if self.closed.load(Ordering::Acquire) {
            // Whoever closes waits for this lock, and from then on for no batch.
            return Err(StorageError::NotReady);
        }
        // Series of other batches too: whoever writes first writes them all, so
        // that no sample comes before its series.
        let unlogged = std::mem::take(&mut *self.head.unlogged.lock());
        let mut series = Records::default();
        encode_series(&unlogged, &mut series);
        let durability = match wal.append(&mut log, [wal.pack(&series), packed], now) {
            Ok(durability) => durability,
            Err(error) => {
                self.head.unlogged.lock().splice(0..0, unlogged);
                return Err(error);
            }
        };
        // From the log's lock to memory's, so that both have the same order.
        let apply = self.head.apply.lock();
        drop(log);
        let (late, closing) = self.head.apply(&mut batch, &rules);
        let late_durability =
            if late.is_empty() { self.late_durability() } else { self.apply_late(late, &rules)? };
        drop(apply);
        for pending in batch.exemplars.drain(..) {
            self.add_exemplar(pending.slot, Some(pending.series_ref), pending.exemplar);
        }
        self.commits.add();
        self.write_closing(&closing)?;
        Ok(match late_durability {
            Durability::Logged => durability,
            Durability::MemoryOnly => Durability::MemoryOnly,
        })
    }

    /// Whether the out-of-order log has all that it should: who sends a late
    /// sample again, which changes nothing, asks whether it is safe now.
    fn late_durability(&self) -> Durability {
        let waits = self.wbl.get().is_some_and(|wbl| wbl.waiting_bytes.load(Ordering::Relaxed) > 0);
        match waits || self.late_unlogged.load(Ordering::Relaxed) {
            true => Durability::MemoryOnly,
            false => Durability::Logged,
        }
    }

    /// Stores out-of-order samples, in memory and in their log. Callers hold `apply`.
    ///
    /// # Errors
    /// The log's folder cannot be read.
    pub(crate) fn apply_late(
        &self,
        late: Vec<LateSample>,
        rules: &HeadRules,
    ) -> Result<Durability, StorageError> {
        let wbl = self.wbl()?;
        let with_starts = self.options.start_timestamp_storage;
        let mut records = Records::default();
        let mut logged: Vec<LateSample> = Vec::new();
        for late in late {
            if let Some(marker) = self.make_room(late.slot, late.series_ref, rules)? {
                // What came before the marker is in the chunk.
                encode_late(&logged, with_starts, &mut records);
                logged.clear();
                if !marker.is_empty() {
                    records.add(|out| put_mmap_markers(out, marker));
                }
            }
            if self.insert_late(&late) {
                self.needed.by_late_log(late.series_ref);
                self.count_late(&late);
                logged.push(late);
            }
        }
        encode_late(&logged, with_starts, &mut records);
        records.count_samples(logged.len());
        let packed = wbl.pack(&records);
        let now = self.env.clock.monotonic();
        if let Err(error) = wbl.append(&mut wbl.lock(), [packed], now) {
            // They are in memory already. Sent again they would not be logged again:
            // nothing late is durable before the next cut.
            tracing::error!(%error, "late samples cannot be logged: they are to go into a block");
            self.late_unlogged.store(true, Ordering::Relaxed);
        }
        Ok(self.late_durability())
    }

    fn count_late(&self, late: &LateSample) {
        let counts = &self.head.counts;
        let (all, late_ones) = match late.sample.value {
            ooo::OooValue::Float(_) => (&counts.floats_appended, &counts.ooo_floats_appended),
            ooo::OooValue::Histogram(_) => (&counts.histograms_appended, &counts.ooo_histograms_appended),
        };
        all.fetch_add(1, Ordering::Relaxed);
        late_ones.fetch_add(1, Ordering::Relaxed);
    }

    /// Encodes the open out-of-order samples of a series if no more fit. The
    /// markers of the chunks that they went to.
    fn make_room(
        &self,
        slot: u32,
        series_ref: u64,
        rules: &HeadRules,
    ) -> Result<Option<Vec<RefMmapMarker>>, StorageError> {
        let (page, i) = self.head.slots.of(slot);
        {
            let mut page = page.lock();
            let page = &mut *page;
            let Some(ooo) = page.cold[i].extra.as_mut().and_then(|extra| extra.ooo.as_mut()) else {
                return Ok(None);
            };
            if !ooo.is_full() {
                return Ok(None);
            }
            let chunks = ooo::encode(series_ref, &ooo.open, &rules.chunks);
            ooo.open = Vec::new();
            page.closing.extend(chunks.into_iter().map(|chunk| (i as u16, Arc::new(chunk))));
        }
        let before = self.late_chunks(slot).len();
        self.write_closing(&[place(slot).0 as u32])?;
        let written = self.late_chunks(slot).split_off(before);
        let markers = written.iter().map(|chunk| RefMmapMarker {
            series: SeriesRef(series_ref),
            chunk: chunk.file() << 32 | chunk.offset(),
        });
        Ok(Some(markers.collect()))
    }

    /// Encodes all open late samples and writes them to files; answers every late
    /// chunk there is. Callers hold `apply`.
    pub(crate) fn take_late(&self) -> Result<Vec<LateChunks>, StorageError> {
        if self.head.is_late_pending() {
            return Ok(Vec::new());
        }
        let rules = self.head.rules.load_full();
        let mut taken = Vec::new();
        for (number, (first, page)) in self.head.slots.pages().enumerate() {
            let mut touched = false;
            {
                let mut page = page.lock();
                let page = &mut *page;
                for i in 0..page.hot.len() {
                    let series_ref = page.hot[i].series_ref;
                    let Some(ooo) = page.cold[i].extra.as_mut().and_then(|extra| extra.ooo.as_mut()) else {
                        continue;
                    };
                    let chunks = ooo::encode(series_ref, &ooo.open, &rules.chunks);
                    ooo.open = Vec::new();
                    touched = true;
                    page.closing.extend(chunks.into_iter().map(|chunk| (i as u16, Arc::new(chunk))));
                }
            }
            if !touched {
                continue;
            }
            self.write_closing(&[number as u32])?;
            let page = page.lock();
            for (i, cold) in page.cold.iter().enumerate() {
                if let Some(ooo) = cold.ooo().filter(|ooo| !ooo.full.is_empty()) {
                    let (slot, series_ref) = (first + i as u32, page.hot[i].series_ref);
                    taken.push(LateChunks { slot, series_ref, chunks: ooo.full.clone() });
                }
            }
        }
        Ok(taken)
    }

    /// Whether a late sample may lie in a range.
    pub(crate) fn late_touches(&self, range: TimeRange) -> bool {
        self.head.slots.pages().any(|(_, page)| {
            let page = page.lock();
            page.cold.iter().filter_map(|cold| cold.ooo()).any(|ooo| {
                ooo.open.iter().any(|sample| range.contains(sample.t))
                    || ooo.full.iter().any(|c| c.min_ms <= range.end_ms && c.max_bound_ms() >= range.start_ms)
            })
        })
    }

    /// The out-of-order log names only series that still have late samples.
    pub(crate) fn forget_late_names(&self) {
        self.needed.late_log_names_only(self.head.late_series());
    }

    fn late_chunks(&self, slot: u32) -> Vec<FullChunk> {
        let (page, i) = self.head.slots.of(slot);
        let page = page.lock();
        page.cold[i].ooo().map(|ooo| ooo.full.clone()).unwrap_or_default()
    }

    fn insert_late(&self, late: &LateSample) -> bool {
        let (page, i) = self.head.slots.of(late.slot);
        let mut page = page.lock();
        if page.hot[i].series_ref != late.series_ref {
            return false;
        }
        let inserted = page.cold[i].extra_mut().ooo.get_or_insert_default().insert(late.sample.clone());
        page.hot[i].flags |= flag::OUT_OF_ORDER;
        drop(page);
        if inserted {
            self.head.late_times.extend(late.sample.t, late.sample.t);
        }
        inserted
    }

    /// Stores one sample of the out-of-order log again.
    pub(crate) fn restore_late(&self, slot: u32, sample: OooSample) -> Result<(), StorageError> {
        let rules = self.head.rules.load_full();
        let (page, i) = self.head.slots.of(slot);
        let series_ref = page.lock().hot[i].series_ref;
        self.make_room(slot, series_ref, &rules)?;
        self.insert_late(&LateSample { slot, series_ref, sample });
        Ok(())
    }

    /// The out-of-order log.
    pub(crate) fn wbl(&self) -> Result<&Log, FileError> {
        if let Some(wbl) = self.wbl.get() {
            return Ok(wbl);
        }
        let log = Log::of(&self.options, self.env.fs.clone(), "wbl", None)?;
        if let Some(&position) = self.late_settled.get() {
            self.put_mark(&log, &mut log.lock(), position);
        }
        // Two first commits cannot race: both hold `apply`.
        Ok(&**self.wbl.get_or_init(|| Arc::new(log)))
    }

    /// Adds an exemplar to the series of a slot, if it is the one that is meant.
    pub(crate) fn add_exemplar(&self, slot: u32, meant: Option<u64>, exemplar: Exemplar) {
        let (page, i) = self.head.slots.of(slot);
        let series_ref = page.lock().hot[i].series_ref;
        if series_ref == 0 || meant.is_some_and(|meant| meant != series_ref) {
            return;
        }
        let window = self.head.rules.load().ooo_window_ms;
        let labels = || {
            let tables = self.head.symbols.read();
            let page = page.lock();
            labels::to_labels(&tables, page.pairs(i))
        };
        // A refused one was counted; its batch was not wrong.
        let _ = self.exemplars.add(series_ref, labels, exemplar, window);
    }

    /// The time before which no deletion matters to the head any more, as
    /// in-order samples before `mint` are in blocks.
    pub(crate) fn deletions_needed_from(&self, mint: i64) -> i64 {
        let late = &self.head.late_times;
        if late.is_initialised() { mint.min(late.min()) } else { mint }
    }

    /// Notes a deleted interval of a series.
    pub(crate) fn mark_deleted(&self, slot: u32, min_ms: i64, max_ms: i64) {
        let (page, i) = self.head.slots.of(slot);
        let mut page = page.lock();
        page.hot[i].flags |= flag::DELETED;
        self.tombstones.add(page.hot[i].series_ref, min_ms, max_ms);
    }

    /// Writes full chunks of pages to files; afterwards memory holds only where
    /// they are. What cannot be written stays in memory and is tried again.
    pub(crate) fn write_closing(&self, pages: &[u32]) -> Result<(), StorageError> {
        if pages.is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.closing.lock();
        for &number in pages {
            let Some(page) = self.head.slots.page(number as usize) else { continue };
            let waiting: Vec<(u16, Arc<ClosedChunk>)> = page.lock().closing.clone();
            let mut written = Vec::with_capacity(waiting.len());
            let mut failed = None;
            for (slot, chunk) in waiting {
                let times = (chunk.min_ms, chunk.max_ms);
                let series = SeriesRef(chunk.series_ref);
                match self.chunks.write(series, times, chunk.encoding, chunk.out_of_order, &chunk.bytes) {
                    Ok(place) => {
                        let full = FullChunk::new(
                            u64::from(place.file()),
                            u64::from(place.offset()),
                            chunk.min_ms,
                            chunk.max_ms,
                        );
                        written.push((slot, full, chunk));
                    }
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            self.head.counts.mmap_chunks.fetch_add(written.len() as u64, Ordering::Relaxed);
            page.lock().chunks_written(written);
            if let Some(error) = failed {
                tracing::error!(%error, "full chunks cannot be written and stay in memory");
                return Ok(());
            }
        }
        Ok(())
    }

    /// Removes head chunk files that no series has a chunk in.
    ///
    /// # Errors
    /// A file cannot be written or removed.
    pub(crate) fn remove_chunk_files(&self) -> Result<(), StorageError> {
        // Nobody writes chunks meanwhile: every place that was given out is known
        // to its series.
        let _no_chunk_is_under_way = self.closing.lock();
        let oldest = self.head.oldest_chunk_file();
        // Chunks go to a new file from now on, so that this one can go in its turn.
        self.chunks.cut()?;
        let newest = self.chunks.newest_file();
        Ok(self.chunks.truncate(u32::try_from(oldest).unwrap_or(u32::MAX).min(newest + 1))?)
    }

    /// The bytes of a full chunk of the head.
    pub(crate) fn head_chunk(&self, chunk: FullChunk) -> Result<ChunkData, StorageError> {
        Ok(self.chunks.read(HeadChunkRef::new(chunk.file() as u32, chunk.offset() as u32))?)
    }

    /// Oldest timestamp that a query may find: the first block's, else the head's.
    pub(crate) fn start_time_ms(&self) -> i64 {
        let blocks = self.blocks.load();
        blocks.first().map_or_else(|| self.head.times.min(), |block| block.range().min_ms)
    }

    /// Bytes of the files of a folder, one level deep.
    pub(crate) fn dir_bytes(&self, name: &str) -> u64 {
        let dir = self.options.dir.join(name);
        let sum = |dir: &std::path::Path| -> u64 {
            self.env
                .fs
                .list(dir)
                .map_or(0, |entries| entries.iter().filter(|e| !e.is_dir).map(|e| e.len).sum())
        };
        let inside = self.env.fs.list(&dir).unwrap_or_default();
        sum(&dir) + inside.iter().filter(|entry| entry.is_dir).map(|e| sum(&dir.join(&e.name))).sum::<u64>()
    }
}
