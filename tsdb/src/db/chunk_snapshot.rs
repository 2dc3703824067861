//! The snapshot of the head's open chunks that a clean stop leaves, if the
//! options ask for it: the next start reads it instead of the log.

use model::{Labels, SeriesRef, StorageError, TimeRange};

use super::log::Packed;
use super::records::Records;
use super::store::Store;
use crate::chunk::StoredValue;
use crate::corruption::FileError;
use crate::head::labels;
use crate::head::page::{Page, flag};
use crate::snapshot_format::{
    EXEMPLARS_PER_RECORD, SnapshotChunk, SnapshotDir, TEMPORARY_SUFFIX, list_snapshots, put_exemplars,
    put_series, put_tombstones, snapshot_name,
};
use crate::tombstones::Tombstones;
use crate::wal::checkpoint::last_checkpoint;
use crate::wal::record::RefExemplar;
use crate::wal::{LogWriter, LogWriterOptions};

impl Store {
    /// The newest snapshot, unless the log ends before it: then something else
    /// wrote the log meanwhile, and no snapshot says anything; or a checkpoint reaches
    /// as far.
    /// `log_end`: the newest segment that was there; without any, a snapshot is all
    /// there is.
    pub(super) fn usable_snapshot(&self, log_end: Option<u64>) -> Result<Option<SnapshotDir>, StorageError> {
        let fs = &*self.env.fs;
        let mut snapshots = list_snapshots(fs, &self.options.dir)?;
        if let Some(checkpoint) = last_checkpoint(fs, &self.options.dir.join("wal"))? {
            self.remove_snapshots_until(checkpoint.covers);
            snapshots.retain(|snapshot| snapshot.reaches.segment > checkpoint.covers);
        }
        let Some(newest) = snapshots.last() else { return Ok(None) };
        if log_end.is_none_or(|end| end >= newest.reaches.segment) {
            return Ok(Some(newest.clone()));
        }
        tracing::warn!(snapshot = newest.name, "the log ends before the snapshot: snapshots are removed");
        for snapshot in &snapshots {
            self.remove_snapshot(snapshot);
        }
        Ok(None)
    }

    /// Removes the snapshots of segments that a checkpoint covers. The checkpoint left
    /// out series that were gone by then; a start that took one from the snapshot would
    /// go on with its number there, of which no record of the log tells any more.
    pub(super) fn remove_snapshots_until(&self, covers: u64) {
        match list_snapshots(&*self.env.fs, &self.options.dir) {
            Ok(snapshots) => {
                let covered = snapshots.iter().filter(|snapshot| snapshot.reaches.segment <= covers);
                covered.for_each(|snapshot| self.remove_snapshot(snapshot));
            }
            // The next start does it.
            Err(error) => tracing::warn!(%error, "chunk snapshots cannot be listed"),
        }
    }

    /// One that stays takes room and is passed over for a newer one.
    fn remove_snapshot(&self, snapshot: &SnapshotDir) {
        let dir = self.options.dir.join(&snapshot.name);
        if let Err(error) = self.env.fs.remove_dir_all(&dir) {
            tracing::error!(dir = %dir.display(), %error, "a chunk snapshot cannot be removed");
        }
    }

    /// Writes a snapshot of all series as of the log's end. Callers see to it that
    /// nothing is appended meanwhile and that full chunks are in files.
    ///
    /// # Errors
    /// It cannot be written: the log still has everything.
    pub(super) fn write_chunk_snapshot(&self) -> Result<(), StorageError> {
        let started = self.env.clock.monotonic();
        let fs = &self.env.fs;
        let wal = self.wal.get().ok_or(StorageError::NotReady)?;
        if self.head.slots.pages().any(|(_, page)| !page.lock().closing.is_empty()) {
            tracing::warn!("full chunks could not be written: no chunk snapshot says that they are in files");
            return Ok(());
        }
        let reaches = wal.lock().position();
        let before = list_snapshots(&**fs, &self.options.dir)?;
        if before.last().is_some_and(|newest| newest.reaches == reaches) {
            return Ok(());
        }
        let name = snapshot_name(reaches);
        let dir = self.options.dir.join(&name);
        let temporary = self.options.dir.join(format!("{name}{TEMPORARY_SUFFIX}"));
        if fs.exists(&temporary) {
            fs.remove_dir_all(&temporary).map_err(|e| FileError::io("remove", &temporary, e))?;
        }
        let written = self.fill_snapshot(&temporary).and_then(|series| {
            fs.sync_dir(&temporary).map_err(|e| FileError::io("sync", &temporary, e))?;
            fs.rename(&temporary, &dir).map_err(|e| FileError::io("rename", &dir, e))?;
            fs.sync_dir(&self.options.dir).map_err(|e| FileError::io("sync", &self.options.dir, e))?;
            Ok(series)
        });
        let series = match written {
            Ok(series) => series,
            Err(error) => {
                // What stays of it is removed at the next start.
                let _ = fs.remove_dir_all(&temporary);
                return Err(error);
            }
        };
        for snapshot in before.iter().filter(|snapshot| snapshot.reaches < reaches) {
            self.remove_snapshot(snapshot);
        }
        let seconds = self.env.clock.monotonic().saturating_sub(started).as_secs_f64();
        tracing::info!(dir = name, series, seconds, "a chunk snapshot is written");
        Ok(())
    }

    fn fill_snapshot(&self, dir: &std::path::Path) -> Result<u64, StorageError> {
        let options = LogWriterOptions { segment_bytes: self.options.wal_segment_bytes };
        let mut writer = LogWriter::open(self.env.fs.clone(), dir, options)?;
        let mut series = 0;
        let pages: Vec<&Page> = self.head.slots.pages().map(|(_, page)| page).collect();
        // Pages are encoded and compressed side by side and written in order.
        for group in pages.chunks(self.options.replay_threads.max(1)) {
            let packed: Vec<Result<(u64, Packed), StorageError>> = std::thread::scope(|scope| {
                let threads: Vec<_> =
                    group.iter().map(|page| scope.spawn(|| self.snapshot_page(page))).collect();
                let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                };
                threads.into_iter().map(join).collect()
            });
            for packed in packed {
                let (n, packed) = packed?;
                series += n;
                writer.log(packed.iter())?;
            }
        }
        let rest = self.snapshot_rest();
        let wal = self.wal.get().ok_or(StorageError::NotReady)?;
        writer.log(wal.pack(&rest).iter())?;
        writer.sync()?;
        Ok(series)
    }

    /// The records of a page's series.
    fn snapshot_page(&self, page: &Page) -> Result<(u64, Packed), StorageError> {
        let wal = self.wal.get().ok_or(StorageError::NotReady)?;
        let tables = self.head.symbols.read();
        let page = page.lock();
        let mut records = Records::default();
        let mut series = 0;
        for i in (0..page.hot.len()).filter(|&i| page.hot[i].series_ref != 0) {
            let labels = labels::to_labels(&tables, page.pairs(i));
            let open = page.copy_open(i, i64::MIN, i64::MAX).map(|chunk| {
                let last = match page.hot[i].flags & flag::HISTOGRAM {
                    0 => StoredValue::Float(page.hot[i].float.last_value()),
                    _ => page.last_histogram(i).map_or(StoredValue::Float(0.0), StoredValue::from),
                };
                let (min_ms, max_ms) = (chunk.min_ms, chunk.max_ms);
                SnapshotChunk { min_ms, max_ms, encoding: chunk.encoding, bytes: chunk.bytes, last }
            });
            records.add(|out| put_series(out, SeriesRef(page.hot[i].series_ref), &labels, open.as_ref()));
            series += 1;
        }
        drop((page, tables));
        Ok((series, wal.pack(&records)))
    }

    /// The records behind the series: other numbers that logs and files still know
    /// series by, deletions, exemplars.
    fn snapshot_rest(&self) -> Records {
        let mut records = Records::default();
        for (alias, labels) in self.other_numbers() {
            records.add(|out| put_series(out, SeriesRef(alias), &labels, None));
        }
        let mut deleted = Tombstones::new();
        self.tombstones.for_each(|series_ref, intervals| {
            for &(min, max) in intervals {
                deleted.add(series_ref, TimeRange::new(min, max));
            }
        });
        // The highest number that was given out goes with a series that may be gone,
        // while the log before this place still names it: nobody may get it again. A
        // deletion of nothing tells of it, as readers pass over unknown series there.
        let last_ref = self.head.last_ref();
        if last_ref > 0 && !self.alive().contains(last_ref) {
            deleted.add(last_ref, TimeRange::new(i64::MIN, i64::MIN));
        }
        records.add(|out| put_tombstones(out, &deleted));
        let exemplars: Vec<RefExemplar> = self.exemplars.in_order();
        for run in exemplars.chunks(EXEMPLARS_PER_RECORD) {
            records.add(|out| put_exemplars(out, run));
        }
        records
    }

    /// Numbers that stand for a series with another number, with its labels.
    fn other_numbers(&self) -> Vec<(u64, Labels)> {
        let aliases: Vec<(u64, u64)> = self.aliases.lock().clone();
        if aliases.is_empty() {
            return Vec::new();
        }
        let mut wanted: hashbrown::HashMap<u64, Option<Labels>, rapidhash::fast::RandomState> =
            aliases.iter().map(|&(_, own)| (own, None)).collect();
        let tables = self.head.symbols.read();
        for (_, page) in self.head.slots.pages() {
            let page = page.lock();
            for (i, hot) in page.hot.iter().enumerate().filter(|(_, hot)| hot.series_ref != 0) {
                if let Some(labels) = wanted.get_mut(&hot.series_ref) {
                    *labels = Some(labels::to_labels(&tables, page.pairs(i)));
                }
            }
        }
        let with_labels = aliases.into_iter().filter_map(|(alias, own)| {
            // Those of series that are gone mean nothing any more.
            wanted.get(&own).cloned().flatten().map(|labels| (alias, labels))
        });
        with_labels.collect()
    }
}
