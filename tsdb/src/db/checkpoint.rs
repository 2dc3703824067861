//! The log made shorter: what is still needed of its older segments goes into a
//! checkpoint, then they go.
//!
//! A series record stays as long as the series lives, as any segment behind the
//! checkpoint may name it, or as the out-of-order log names it.

use std::collections::BTreeMap;

use hashbrown::HashSet;
use model::{Metadata, SeriesRef, StorageError};
use parking_lot::Mutex;
use roaring::RoaringTreemap;

use super::records::Records;
use super::store::Store;
use crate::wal::checkpoint::{CheckpointWriter, last_checkpoint, remove_checkpoints_before};
use crate::wal::record::{self, RecordType};
use crate::wal::{Compressor, Decompressor, LogReader, LogWriterOptions, ReadMode, Step, list_segments};

/// Why the records of series that are gone from memory are kept.
#[derive(Default)]
pub(crate) struct Needed {
    state: Mutex<NeededState>,
}

#[derive(Default)]
struct NeededState {
    /// By segment: series that it is the last to name, as far as is known, and
    /// which memory no longer has.
    until: BTreeMap<u64, RoaringTreemap>,
    /// Series that the out-of-order log names.
    by_late_log: RoaringTreemap,
    /// Numbers under which head chunk files have samples up to a time.
    by_files: BTreeMap<u64, i64>,
}

impl Needed {
    /// Segments up to `segment` may name these series.
    pub(crate) fn until(&self, series: &[u64], segment: u64) {
        if !series.is_empty() {
            self.state.lock().until.entry(segment).or_default().extend(series.iter().copied());
        }
    }

    /// Head chunk files have samples up to `max_ms` under these numbers.
    pub(crate) fn by_files(&self, series: &[u64], max_ms: i64) {
        self.state.lock().by_files.extend(series.iter().map(|&series_ref| (series_ref, max_ms)));
    }

    /// The out-of-order log names this series.
    pub(crate) fn by_late_log(&self, series_ref: u64) {
        self.state.lock().by_late_log.insert(series_ref);
    }

    /// The out-of-order log names only these.
    pub(crate) fn late_log_names_only(&self, names: RoaringTreemap) {
        self.state.lock().by_late_log = names;
    }

    /// Forgets what no segment behind `covered` names and what ends before `mint`;
    /// answers what is left.
    fn forget(&self, covered: u64, mint: i64) -> RoaringTreemap {
        {
            let mut state = self.state.lock();
            state.until.retain(|&segment, _| segment > covered);
            state.by_files.retain(|_, max_ms| *max_ms >= mint);
        }
        self.snapshot(covered)
    }

    fn snapshot(&self, covered: u64) -> RoaringTreemap {
        let state = self.state.lock();
        let mut needed = state.by_late_log.clone();
        for series in state.until.range(covered + 1..).map(|(_, series)| series) {
            needed |= series;
        }
        needed.extend(state.by_files.keys().copied());
        needed
    }
}

impl Store {
    /// Replaces the older two thirds of the log by a checkpoint. Samples before
    /// `mint` are in blocks. Answers whether there was anything to do.
    ///
    /// # Errors
    /// The log cannot be read or the checkpoint not be written; nothing is lost.
    pub(crate) fn checkpoint(&self, mint: i64) -> Result<bool, StorageError> {
        let wal = self.wal.get().ok_or(StorageError::NotReady)?;
        let dir = self.options.dir.join("wal");
        let fs = &self.env.fs;
        let segments: Vec<u64> = list_segments(&**fs, &dir)?.iter().map(|segment| segment.number).collect();
        let (Some(&first), Some(&last)) = (segments.first(), segments.last()) else {
            return Ok(false);
        };
        // The newest is being written and stays.
        wal.lock().next_segment()?;
        let Some(before_last) = last.checked_sub(1).filter(|&before| before >= first) else {
            return Ok(false);
        };
        let mut covers = first + (before_last - first) * 2 / 3;
        if let Some(&held) = self.wal_holds.lock().values().min() {
            covers = covers.min(held.saturating_sub(1));
        }
        if covers <= first {
            return Ok(false);
        }
        let series = self.alive();
        let needed = self.needed.snapshot(covers);
        let keep = |series_ref: SeriesRef| series.contains(series_ref.0) || needed.contains(series_ref.0);
        let options = LogWriterOptions { segment_bytes: self.options.wal_segment_bytes };
        let mut writer = CheckpointWriter::begin(fs.clone(), &dir, covers, options)?;
        let mut copier = Copier {
            store: self,
            mint,
            deletions_from: self.deletions_needed_from(mint),
            compressor: Compressor::new(self.options.wal_compression),
            metadata: BTreeMap::new(),
            metadata_met: 0,
            written: HashSet::default(),
        };
        let mut from = first;
        if let Some(old) = last_checkpoint(&**fs, &dir)? {
            let inside: Vec<u64> = list_segments(&**fs, &old.dir)?.iter().map(|s| s.number).collect();
            copier.copy(
                LogReader::new(fs.clone(), &old.dir, inside, ReadMode::Salvage),
                &keep,
                &mut writer,
            )?;
            from = from.max(old.covers + 1);
        }
        let covered = segments.iter().copied().filter(|n| (from..=covers).contains(n));
        copier.copy(LogReader::new(fs.clone(), &dir, covered, ReadMode::Salvage), &keep, &mut writer)?;
        copier.finish(&mut writer)?;
        writer.finish()?;
        // From here on the checkpoint counts; what it replaces may go.
        wal.lock().truncate(covers + 1)?;
        self.remove_snapshots_until(covers);
        let needed = self.needed.forget(covers, mint);
        self.aliases.lock().retain(|(alias, _)| needed.contains(*alias));
        if let Err(error) = remove_checkpoints_before(&**fs, &dir, covers) {
            // The newest counts; older ones only take room.
            self.metrics.checkpoint_deletions_failed.inc();
            tracing::warn!(%error, "an old checkpoint cannot be removed");
        }
        Ok(true)
    }

    /// The numbers of all series in memory.
    pub(super) fn alive(&self) -> RoaringTreemap {
        let mut alive = RoaringTreemap::new();
        for (_, page) in self.head.slots.pages() {
            let page = page.lock();
            alive.extend(page.hot.iter().map(|hot| hot.series_ref).filter(|&series_ref| series_ref != 0));
        }
        alive
    }

    /// The newest segment of the log.
    pub(crate) fn newest_segment(&self) -> u64 {
        self.wal.get().map_or(0, |wal| wal.lock().segment())
    }
}

/// Copies what is still needed.
struct Copier<'a> {
    store: &'a Store,
    mint: i64,
    /// Deletions that end before this are in no need of a record.
    deletions_from: i64,
    compressor: Compressor,
    /// The newest metadata of each series, and where it stood among all others: one
    /// series may have been told under two numbers, and what comes last counts.
    metadata: BTreeMap<u64, (u64, Metadata)>,
    /// How much metadata was met.
    metadata_met: u64,
    /// Series whose record is in the checkpoint.
    written: HashSet<u64, rapidhash::fast::RandomState>,
}

impl Copier<'_> {
    fn copy(
        &mut self,
        mut reader: LogReader,
        keep: &impl Fn(SeriesRef) -> bool,
        writer: &mut CheckpointWriter,
    ) -> Result<(), StorageError> {
        let mut decompressor = Decompressor::new();
        let mut records = Records::default();
        loop {
            match reader.next()? {
                Step::End => break,
                Step::Torn { .. } => {}
                Step::Damage { corruption, .. } => {
                    self.store.corruptions.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    tracing::error!(%corruption, "a damaged log record does not go into the checkpoint");
                }
                Step::Record(raw) => {
                    if let Ok(bytes) = decompressor.decompress(raw.payload) {
                        self.record(bytes, keep, &mut records);
                    }
                }
            }
            if records.len_bytes() > 1 << 20 {
                self.flush(&mut records, writer)?;
            }
        }
        self.flush(&mut records, writer)
    }

    fn flush(&mut self, records: &mut Records, writer: &mut CheckpointWriter) -> Result<(), StorageError> {
        for record in records.iter() {
            let payload = self.compressor.compress(record);
            writer.log().log([payload])?;
        }
        *records = Records::default();
        Ok(())
    }

    fn finish(mut self, writer: &mut CheckpointWriter) -> Result<(), StorageError> {
        let metadata = std::mem::take(&mut self.metadata);
        if metadata.is_empty() {
            return Ok(());
        }
        let mut records = Records::default();
        let mut all: Vec<_> = metadata.iter().collect();
        all.sort_unstable_by_key(|(_, (place, _))| *place);
        let all = all.into_iter().map(|(&series_ref, (_, metadata))| (SeriesRef(series_ref), metadata));
        records.add(|out| record::put_metadata(out, all));
        self.flush(&mut records, writer)
    }

    /// Adds what is needed of one record. A damaged record yields what precedes
    /// the damage.
    fn record(&mut self, bytes: &[u8], keep: &impl Fn(SeriesRef) -> bool, out: &mut Records) {
        let mint = self.mint;
        match RecordType::of(bytes) {
            Some(RecordType::Series) => {
                let mut series = Vec::new();
                let _ = record::decode_series(bytes, &mut series);
                series.retain(|entry| keep(entry.series) && self.written.insert(entry.series.0));
                if !series.is_empty() {
                    out.add(|out| record::put_series(out, series.iter().map(|s| (s.series, &s.labels))));
                }
            }
            Some(kind @ (RecordType::Samples | RecordType::SamplesV2)) => {
                let mut samples = Vec::new();
                let _ = record::decode_samples(bytes, &mut samples);
                samples.retain(|sample| sample.timestamp_ms >= mint);
                if samples.is_empty() {
                } else if kind == RecordType::SamplesV2 {
                    out.add(|out| record::put_samples_v2(out, samples));
                } else {
                    out.add(|out| record::put_samples(out, samples));
                }
            }
            Some(
                kind @ (RecordType::Histograms | RecordType::CustomHistograms | RecordType::HistogramsV2),
            ) => {
                let mut all = Vec::new();
                let _ = record::decode_histograms(bytes, &mut all);
                all.retain(|entry| entry.timestamp_ms >= mint);
                if all.is_empty() {
                } else if kind == RecordType::HistogramsV2 {
                    out.add(|out| record::put_histograms_v2(out, &all));
                } else {
                    out.add_if(|out| record::put_histograms(out, &all));
                    out.add_if(|out| record::put_custom_histograms(out, &all));
                }
            }
            Some(
                kind @ (RecordType::FloatHistograms
                | RecordType::CustomFloatHistograms
                | RecordType::FloatHistogramsV2),
            ) => {
                let mut all = Vec::new();
                let _ = record::decode_float_histograms(bytes, &mut all);
                all.retain(|entry| entry.timestamp_ms >= mint);
                if all.is_empty() {
                } else if kind == RecordType::FloatHistogramsV2 {
                    out.add(|out| record::put_float_histograms_v2(out, &all));
                } else {
                    out.add_if(|out| record::put_float_histograms(out, &all));
                    out.add_if(|out| record::put_custom_float_histograms(out, &all));
                }
            }
            Some(RecordType::Tombstones) => {
                let mut stones = Vec::new();
                let _ = record::decode_tombstones(bytes, &mut stones);
                // Of a series without a record nothing is left to be deleted.
                stones.retain(|stone| stone.max_ms >= self.deletions_from && keep(stone.series));
                if !stones.is_empty() {
                    out.add(|out| record::put_tombstones(out, stones));
                }
            }
            Some(RecordType::Exemplars) => {
                let mut all = Vec::new();
                let _ = record::decode_exemplars(bytes, &mut all);
                all.retain(|entry| entry.timestamp_ms >= mint);
                if !all.is_empty() {
                    out.add(|out| record::put_exemplars(out, &all));
                }
            }
            Some(RecordType::Metadata) => {
                let mut all = Vec::new();
                let _ = record::decode_metadata(bytes, &mut all);
                for entry in all {
                    if keep(entry.series) {
                        self.metadata_met += 1;
                        self.metadata.insert(entry.series.0, (self.metadata_met, entry.metadata));
                    }
                }
            }
            Some(RecordType::MmapMarkers) | None => {}
        }
    }
}
