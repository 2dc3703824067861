//! Series that have gone stale leave the head early: when they are a large share
//! of it, their samples are written to blocks of their own and they are evicted.
//!
//! ```text
//! stale series ─ a block for each range they touch ─ reload ─ no older reader ─ evicted
//!                                              a sample, or late data, meanwhile: stays
//! ```
//!
//! An evicted series is deleted in the log, so that a replay forgets what it read
//! of it. Such blocks say nothing of other series: the head is not cut by them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{BlockRange, SeriesRef, StorageError};
use roaring::RoaringBitmap;

use super::cut::CutKind;
use super::records::Records;
use super::store::Store;
use crate::head::gc::GoneSeries;
use crate::head::open::range_end;
use crate::head::page::{NO_TIME, flag};
use crate::wal::record::{RefTombstone, put_tombstones};

/// A cut that is due so soon takes stale series along.
const NEXT_CUT_SOON_MS: i64 = 10 * 60 * 1000;

impl Store {
    /// Whether so many series are stale that they are to leave.
    pub(super) fn stale_cut_is_due(&self) -> bool {
        let threshold = self.runtime.lock().stale_series_compaction_threshold;
        let series = self.head.counts.series.load(Ordering::Relaxed);
        let stale = self.head.counts.stale_series.load(Ordering::Relaxed).max(0);
        if !self.options.compaction || threshold <= 0.0 || series == 0 {
            return false;
        }
        if (stale as f64) < threshold * series as f64 || self.head.is_eviction_pending() {
            return false;
        }
        let next_cut =
            self.last_cut_ms.lock().map(|last| last.saturating_add(self.options.block_duration_ms));
        let soon = self.env.clock.now_ms().saturating_add(NEXT_CUT_SOON_MS);
        next_cut.is_none_or(|next| next >= soon)
    }

    /// Writes stale series to blocks and lets them go. Callers hold `upkeep`.
    ///
    /// # Errors
    /// A block or the log cannot be written; the series stay.
    pub(super) fn cut_stale(self: &Arc<Self>) -> Result<(), StorageError> {
        self.metrics.stale_compactions.inc();
        let started = self.env.clock.monotonic();
        let result = self.write_stale();
        match &result {
            Ok(series) => {
                let took = self.env.clock.monotonic().saturating_sub(started);
                self.metrics.stale_compaction_duration.observe(took.as_secs_f64());
                tracing::info!(series, seconds = took.as_secs_f64(), "stale series are in blocks");
            }
            Err(_) => self.metrics.stale_compactions_failed.inc(),
        }
        result.map(|_| ())
    }

    fn write_stale(self: &Arc<Self>) -> Result<usize, StorageError> {
        let (gone, first) = self.stale_series();
        let Some(last) = gone.iter().map(|series| series.last_t).max() else { return Ok(0) };
        let slots: RoaringBitmap = gone.iter().map(|series| series.slot).collect();
        let range = self.options.block_duration_ms;
        let min_valid = self.head.times.min_valid();
        let first = first.max(min_valid);
        let mut start = range_end(first, range).saturating_sub(range);
        if first < start {
            start = start.saturating_sub(range);
        }
        // After the list was made, so that what it names is visible.
        let view = self.head_view();
        // A sample at the very start of a range is the only one of its block.
        while start <= last {
            let end = start.saturating_add(range);
            let span = BlockRange::new(start.max(min_valid), end);
            let written = self.write_block(&view, span, CutKind::Stale, Some(&slots), &self.options.dir)?;
            if let Some(ulid) = written {
                tracing::info!(block = %ulid, min = span.min_ms, max = span.max_ms,
                    "a block is cut from stale series");
            }
            start = end;
        }
        drop(view);
        self.reload_blocks()?;
        let n = gone.len();
        self.head.evict_when_unread(gone);
        self.collect()?;
        Ok(n)
    }

    /// Stale series without late samples, and the time of their first sample.
    fn stale_series(&self) -> (Vec<GoneSeries>, i64) {
        let mut gone = Vec::new();
        let mut first = i64::MAX;
        for (first_slot, page) in self.head.slots.pages() {
            let page = page.lock();
            for (i, hot) in page.hot.iter().enumerate() {
                let is_stale = hot.series_ref != 0 && hot.flags & flag::STALE != 0;
                if !is_stale || page.cold[i].ooo().is_some() {
                    continue;
                }
                let (first_t, last_t) = page.time_bounds(i);
                if last_t != NO_TIME && first_t <= last_t {
                    first = first.min(first_t);
                    gone.push(GoneSeries { slot: first_slot + i as u32, series_ref: hot.series_ref, last_t });
                }
            }
        }
        (gone, first)
    }

    /// Says in the log that series are gone wholly.
    pub(super) fn log_evicted(&self, evicted: &[u64]) -> Result<(), StorageError> {
        let Some(wal) = self.wal.get().filter(|_| !evicted.is_empty()) else { return Ok(()) };
        let mut records = Records::default();
        let stones = evicted.iter().map(|&series_ref| RefTombstone {
            series: SeriesRef(series_ref),
            min_ms: i64::MIN,
            max_ms: i64::MAX,
        });
        records.add(|out| put_tombstones(out, stones));
        wal.log(&records, self.env.clock.monotonic())
    }
}
