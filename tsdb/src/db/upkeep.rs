//! Upkeep: what a database does about itself once a minute.
//!
//! ```text
//! full chunks to files ─ blocks looked at ─ head cut while it is long enough
//!   each cut: block written ─ blocks reloaded ─ head truncated ─ log checkpointed
//! late samples cut into blocks ─ blocks compacted ─ what nobody reads any more collected
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{BlockRange, StorageError, TimeRange};

use super::cut::CutKind;
use super::late_mark::mark;
use super::store::Store;
use crate::head::open::range_end;

/// So long upkeep waits for batches under way; then the cut is left to the next
/// round.
const APPENDERS_WAIT: Duration = Duration::from_secs(5);

impl Store {
    /// One round of upkeep.
    ///
    /// # Errors
    /// Something could not be read or written; it is tried again next time.
    pub(crate) fn maintain(self: &Arc<Self>) -> Result<(), StorageError> {
        let _one_at_a_time = self.upkeep.lock();
        if self.closed.load(Ordering::Acquire) {
            return Err(StorageError::NotReady);
        }
        self.write_all_closing()?;
        self.chunks.flush()?;
        self.reload_blocks()?;
        self.collect()?;
        let mut cut = false;
        while self.cut_may_start() {
            if !self.cut_head()? {
                break;
            }
            cut = true;
        }
        if !cut && self.stale_cut_is_due() {
            self.cut_stale()?;
        }
        if cut || self.late_cut_is_due() {
            self.cut_late()?;
            self.reload_blocks()?;
        }
        let compacted = self.compact_blocks();
        self.collect()?;
        compacted
    }

    /// Tries again to write full chunks that could not be written.
    pub(crate) fn write_all_closing(&self) -> Result<(), StorageError> {
        let pages: Vec<u32> = self
            .head
            .slots
            .pages()
            .enumerate()
            .filter(|(_, (_, page))| !page.lock().closing.is_empty())
            .map(|(number, _)| number as u32)
            .collect();
        self.write_closing(&pages)
    }

    /// Whether the head spans more than one and a half blocks.
    pub(crate) fn cut_is_due(&self) -> bool {
        let (min, max) = (self.head.times.min(), self.head.times.max());
        let range = self.options.block_duration_ms;
        self.head.times.is_initialised() && min <= max && max.saturating_sub(min) > range / 2 * 3
    }

    /// Whether the head is due to be cut and has waited as long as it should: of
    /// many servers not all cut at the same time.
    pub(crate) fn cut_may_start(&self) -> bool {
        let mut due_since = self.cut_due_since_ms.lock();
        if !self.cut_is_due() {
            *due_since = None;
            return false;
        }
        let now_ms = self.env.clock.now_ms();
        now_ms.saturating_sub(*due_since.get_or_insert(now_ms)) >= self.compaction_delay_ms
    }

    /// Cuts the oldest block off the head. `false` where appenders from before
    /// may still add to it: the next round tries again.
    fn cut_head(self: &Arc<Self>) -> Result<bool, StorageError> {
        let range = self.options.block_duration_ms;
        let min = self.head.times.min();
        let span = BlockRange::new(min, range_end(min, range));
        // Whoever starts now takes nothing that old; whoever started before that
        // became true may.
        let number = self.head.tick();
        if !self.head.isolation.wait_for_appenders(number, APPENDERS_WAIT) {
            tracing::debug!("a batch under way may reach the block to be cut: it waits");
            return Ok(false);
        }
        self.metrics.compactions_triggered.inc();
        let started = self.env.clock.monotonic();
        let written = {
            let view = self.head_view();
            self.write_block(&view, span, CutKind::InOrder, None, &self.options.dir)
        };
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                self.metrics.compactions_failed.inc();
                return Err(error);
            }
        };
        let took = self.env.clock.monotonic().saturating_sub(started);
        self.metrics.compaction_duration.observe(took.as_secs_f64());
        if let Some(ulid) = written {
            self.metrics.compactions.inc();
            tracing::info!(block = %ulid, min = span.min_ms, max = span.max_ms, "a block is cut from the head");
            self.reload_blocks()?;
        }
        *self.last_cut_ms.lock() = Some(self.env.clock.now_ms());
        self.metrics.head_truncations.inc();
        self.head.truncate_before(span.max_ms);
        self.tombstones.forget_before(self.deletions_needed_from(span.max_ms));
        self.collect().inspect_err(|_| self.metrics.head_truncations_failed.inc())?;
        self.shorten_log(span.max_ms)?;
        Ok(true)
    }

    /// Puts what is needed of the log's older segments into a checkpoint.
    fn shorten_log(&self, mint: i64) -> Result<(), StorageError> {
        let started = self.env.clock.monotonic();
        self.metrics.checkpoints.inc();
        match self.checkpoint(mint) {
            Ok(done) => {
                if done {
                    self.metrics.wal_truncations.inc();
                    self.metrics.checkpoint_deletions.inc();
                }
            }
            Err(error) => {
                self.metrics.checkpoints_failed.inc();
                self.metrics.wal_truncations_failed.inc();
                return Err(error);
            }
        }
        let took = self.env.clock.monotonic().saturating_sub(started);
        self.metrics.wal_truncate.observe(took.as_secs_f64());
        Ok(())
    }

    /// Carries out what truncations left to do.
    pub(crate) fn collect(&self) -> Result<(), StorageError> {
        let started = self.env.clock.monotonic();
        let collected = self.head.collect();
        self.log_evicted(&collected.evicted)?;
        if !collected.removed.is_empty() {
            self.needed.until(&collected.removed, self.newest_segment());
            for &series_ref in &collected.removed {
                self.tombstones.forget(series_ref);
            }
        }
        if collected.oldest_file.is_some() {
            self.remove_chunk_files()?;
            let took = self.env.clock.monotonic().saturating_sub(started);
            self.metrics.head_gc.observe(took.as_secs_f64());
        }
        Ok(())
    }

    /// Whether late samples wait that no cut of the head will take along.
    fn late_cut_is_due(&self) -> bool {
        let window = self.head.rules.load().ooo_window_ms;
        let times = &self.head.late_times;
        // Out-of-order storage was switched off: what is there is drained. Or only a
        // block can keep what is there.
        (window == 0 && times.is_initialised() && times.min() <= times.max())
            || self.late_unlogged.load(Ordering::Relaxed)
    }

    /// Cuts all late samples into blocks, one for each range they touch, and
    /// shortens their log.
    pub(crate) fn cut_late(self: &Arc<Self>) -> Result<(), StorageError> {
        // What is refused by its log from here on waits for the next cut.
        let unlogged = self.late_unlogged.swap(false, Ordering::Relaxed);
        self.cut_late_blocks().inspect_err(|_| {
            if unlogged {
                self.late_unlogged.store(true, Ordering::Relaxed);
            }
        })
    }

    fn cut_late_blocks(self: &Arc<Self>) -> Result<(), StorageError> {
        let Some(wbl) = self.wbl.get() else { return Ok(()) };
        if !self.head.late_times.is_initialised() {
            return Ok(());
        }
        // From here on the log names only what comes from here on, and says where the
        // other log stands: with both locks held, what is in that is in memory.
        let (keep_from, taken) = {
            let wal = self.wal.get().ok_or(StorageError::NotReady)?.lock();
            let _apply = self.head.apply.lock();
            let reaches = wal.position();
            drop(wal);
            let keep_from = wbl.lock().next_segment()?;
            wbl.log(&mark(reaches), self.env.clock.monotonic())?;
            (keep_from, self.take_late()?)
        };
        if taken.is_empty() {
            return Ok(());
        }
        let range = self.options.block_duration_ms;
        let view = self.head_view();
        let (min, max) = (self.head.late_times.min(), self.head.late_times.max());
        let mut start = range_end(min, range).saturating_sub(range);
        if min < start {
            start = start.saturating_sub(range);
        }
        while start <= max {
            let span = BlockRange::new(start, start.saturating_add(range));
            let touches = self.late_touches(TimeRange::new(span.min_ms, span.max_ms - 1));
            if touches
                && let Some(ulid) =
                    self.write_block(&view, span, CutKind::OutOfOrder, None, &self.options.dir)?
            {
                self.metrics.compactions.inc();
                tracing::info!(block = %ulid, min = span.min_ms, max = span.max_ms,
                    "a block is cut from samples that came late");
            }
            start = span.max_ms;
        }
        drop(view);
        self.reload_blocks()?;
        self.head.forget_late(taken);
        self.metrics.wbl_truncations.inc();
        // What goes is named by the mark alone from here on.
        wbl.sync(self.env.clock.monotonic())?;
        wbl.lock().truncate(keep_from).inspect_err(|_| self.metrics.wbl_truncations_failed.inc())?;
        self.forget_late_names();
        Ok(())
    }
}
