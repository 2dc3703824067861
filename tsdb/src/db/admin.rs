//! What an operator may ask: deletion, snapshots, settings at run time.

use std::path::Path;
use std::sync::Arc;

use model::admin::{RuntimeSettings, TsdbAdmin};
use model::query::ChunkEncoding;
use model::{BlockRange, Matcher, SeriesRef, StorageError, TimeRange};

use super::Db;
use super::blocks::Block;
use super::cut::CutKind;
use super::records::Records;
use super::store::Store;
use crate::block::{BlockMeta, write_meta};
use crate::corruption::FileError;
use crate::head::HeadRules;
use crate::head::page::NO_TIME;
use crate::query::block_matchers::matching_series;
use crate::query::matchers::matching_slots;
use crate::tombstones::write_tombstones;
use crate::wal::record::{RefTombstone, put_tombstones};

impl TsdbAdmin for Db {
    fn delete_series(&self, range: TimeRange, matcher_sets: &[Vec<Matcher>]) -> Result<(), StorageError> {
        self.check_open()?;
        let _upkeep = self.store.upkeep.lock();
        for block in self.store.blocks_in(range) {
            self.store.delete_in_block(&block, range, matcher_sets)?;
        }
        self.store.delete_in_head(range, matcher_sets)
    }

    fn clean_tombstones(&self) -> Result<(), StorageError> {
        self.check_open()?;
        let _upkeep = self.store.upkeep.lock();
        self.store.clean_tombstones()
    }

    fn snapshot(&self, skip_head: bool) -> Result<String, StorageError> {
        self.check_open()?;
        let _upkeep = self.store.upkeep.lock();
        self.store.snapshot(skip_head)
    }

    fn apply(&self, settings: &RuntimeSettings) -> Result<(), StorageError> {
        self.check_open()?;
        self.store.apply_settings(settings)
    }
}

impl Store {
    /// Marks samples of matching series in a block as deleted, no further than
    /// the samples of the series reach.
    fn delete_in_block(
        &self,
        block: &Block,
        range: TimeRange,
        matcher_sets: &[Vec<Matcher>],
    ) -> Result<(), StorageError> {
        let index = block.reader.index();
        let mut marked = block.tombstones.read().clone();
        let before = marked.num_intervals();
        let unmarked = marked.clone();
        let (mut labels, mut chunks) = (Vec::new(), Vec::new());
        for set in matcher_sets {
            for series in matching_series(index, set)? {
                index.series(series, &mut labels, &mut chunks)?;
                let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { continue };
                let touched = chunks.iter().any(|c| c.min_ms <= range.end_ms && c.max_ms >= range.start_ms);
                if touched {
                    let (start, end) = (range.start_ms.max(first.min_ms), range.end_ms.min(last.max_ms));
                    marked.add(u64::from(series.0), TimeRange::new(start, end));
                }
            }
        }
        if marked == unmarked {
            return Ok(());
        }
        let fs = &*self.env.fs;
        write_tombstones(fs, block.reader.dir(), &marked)?;
        if marked.num_intervals() != before {
            let mut meta: BlockMeta = block.reader.meta().clone();
            meta.stats.num_tombstones = marked.num_intervals() as u64;
            write_meta(fs, block.reader.dir(), &meta)?;
        }
        *block.tombstones.write() = marked;
        Ok(())
    }

    /// Rewrites every block of which something was deleted.
    fn clean_tombstones(self: &Arc<Self>) -> Result<(), StorageError> {
        let started = self.env.clock.monotonic();
        for block in self.blocks.load_full().iter() {
            if block.tombstones.read().is_empty() {
                continue;
            }
            self.rewrite_without_deleted(block)?;
            self.reload_blocks()?;
        }
        let took = self.env.clock.monotonic().saturating_sub(started);
        self.metrics.tombstone_cleanup.observe(took.as_secs_f64());
        Ok(())
    }

    /// Writes a snapshot and answers its folder's name.
    fn snapshot(self: &Arc<Self>, skip_head: bool) -> Result<String, StorageError> {
        let now = jiff::Timestamp::from_millisecond(self.env.clock.now_ms())
            .map_err(|error| StorageError::Invalid(error.to_string()))?;
        let random = self.random.lock().next_u64() >> 1;
        let name = format!("{}-{random:x}", now.strftime("%Y%m%dT%H%M%SZ"));
        let dir = self.options.dir.join("snapshots").join(&name);
        let fs = &*self.env.fs;
        fs.create_dir_all(&dir).map_err(|source| FileError::io("create", &dir, source))?;
        for block in self.blocks.load_full().iter() {
            self.link_folder(block.reader.dir(), &dir.join(block.ulid().to_string()))?;
        }
        let (min, max) = (self.head.times.min(), self.head.times.max());
        let (min, max) = (min.min(self.head.late_times.min()), max.max(self.head.late_times.max()));
        if !skip_head && min <= max {
            let view = self.head_view();
            self.write_block(
                &view,
                BlockRange::new(min, max.saturating_add(1)),
                CutKind::Everything,
                None,
                &dir,
            )?;
        }
        fs.sync_dir(&dir).map_err(|source| FileError::io("sync", &dir, source))?;
        Ok(name)
    }

    fn link_folder(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let fs = &*self.env.fs;
        fs.create_dir_all(to).map_err(|source| FileError::io("create", to, source))?;
        for entry in fs.list(from).map_err(|source| FileError::io("list", from, source))? {
            let (source_path, target) = (from.join(&entry.name), to.join(&entry.name));
            if entry.is_dir {
                self.link_folder(&source_path, &target)?;
            } else if entry.name == "tombstones" || entry.name == "meta.json" {
                // These two are written anew in place; the snapshot keeps them as they are.
                let bytes = fs.read(&source_path).map_err(|e| FileError::io("read", &source_path, e))?;
                let mut file = fs.create(&target).map_err(|e| FileError::io("create", &target, e))?;
                file.write_all(&bytes).map_err(|e| FileError::io("write", &target, e))?;
            } else {
                fs.hard_link(&source_path, &target).map_err(|e| FileError::io("link", &target, e))?;
            }
        }
        Ok(())
    }

    /// Marks samples of matching series in the head as deleted. The marks reach
    /// no further than the samples that are there now, so that later ones show.
    ///
    /// # Errors
    /// The log cannot be written.
    pub(crate) fn delete_in_head(
        &self,
        range: TimeRange,
        matcher_sets: &[Vec<Matcher>],
    ) -> Result<(), StorageError> {
        let wal = self.wal.get().ok_or(StorageError::NotReady)?;
        let mut stones: Vec<(u32, RefTombstone)> = Vec::new();
        for set in matcher_sets {
            for slot in matching_slots(&self.head, set) {
                let (page, i) = self.head.slots.of(slot);
                let page = page.lock();
                let hot = &page.hot[i];
                if hot.series_ref == 0 {
                    continue;
                }
                let (first, last) = page.time_bounds(i);
                let (min_ms, max_ms) = (range.start_ms.max(first), range.end_ms.min(last));
                if last != NO_TIME && min_ms <= max_ms {
                    let stone = RefTombstone { series: SeriesRef(hot.series_ref), min_ms, max_ms };
                    stones.push((slot, stone));
                }
            }
        }
        if stones.is_empty() {
            return Ok(());
        }
        let mut records = Records::default();
        records.add(|out| put_tombstones(out, stones.iter().map(|(_, stone)| *stone)));
        wal.log(&records, self.env.clock.monotonic())?;
        for (slot, stone) in stones {
            self.mark_deleted(slot, stone.min_ms, stone.max_ms);
        }
        Ok(())
    }

    /// Applies settings that may change while the database is open.
    ///
    /// # Errors
    /// The settings contradict how the database was opened: none is applied.
    pub(crate) fn apply_settings(&self, settings: &RuntimeSettings) -> Result<(), StorageError> {
        let xor2 = settings.float_encoding == ChunkEncoding::Xor2;
        if self.options.start_timestamp_storage && !xor2 {
            return Err(StorageError::Invalid(
                "start timestamp storage needs the XOR2 encoding for float chunks".to_owned(),
            ));
        }
        let window = i64::try_from(settings.out_of_order_window.as_millis()).unwrap_or(i64::MAX);
        self.head.rules.rcu(|rules| {
            let mut rules: HeadRules = rules.as_ref().clone();
            rules.ooo_window_ms = window;
            rules.chunks.xor2 = xor2;
            rules
        });
        if self.options.exemplar_storage {
            self.exemplars.resize(settings.max_exemplars);
        }
        if window > 0 {
            let _apply = self.head.apply.lock();
            self.wbl()?;
        }
        *self.runtime.lock() = settings.clone();
        Ok(())
    }
}
