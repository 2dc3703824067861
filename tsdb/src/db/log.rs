//! The logs that a store writes: compression outside locks, one writer at a
//! time, and nothing forgotten before it is safe.
//!
//! ```text
//! kept   [ written, not synced … │ not written … ]
//!          a failed sync makes    a failed write leaves
//!          these not written      them here: tried again
//! ```
//!
//! Records stay in memory until a sync has succeeded. After a write that failed
//! (the disk is full) they wait; after a sync that failed, what the segments
//! hold is unknown: their records are written again, to a new segment.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::memory::MemoryRefused;
use model::{Durability, Fs, StorageError};
use parking_lot::{Mutex, MutexGuard};

use super::options::DbOptions;
use super::records::Records;
use crate::corruption::FileError;
use crate::wal::writer::{Written, sync_segments};
use crate::wal::{Compression, Compressor, LogWriter, LogWriterOptions, Payload, WalPosition};

/// So long a log that could not be written is left alone.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// A log that cannot be synced is tried again after up to 2 to this power times that.
const SYNC_BACKOFF_MAX: u32 = 6;
/// Records that waited are written in pieces of about this size, so that what
/// fits a nearly full disk gets there.
const PIECE_BYTES: usize = 256 * 1024;
/// So much is written at most before it is synced, whoever has to wait for it:
/// all of it is kept in memory until then.
const UNSYNCED_BYTES_MAX: usize = 16 << 20;

/// A log and its compressors.
pub(crate) struct Log {
    fs: Arc<dyn Fs>,
    state: Mutex<LogState>,
    compression: Compression,
    compressors: Mutex<Vec<Compressor>>,
    backlog_bytes_max: u64,
    /// Bytes of a record that fit a segment.
    record_bytes_max: usize,
    /// Bytes that compression saved.
    bytes_saved: AtomicU64,
    /// Writes that failed.
    pub(crate) writes_failed: AtomicU64,
    /// Syncs that failed.
    pub(crate) syncs_failed: AtomicU64,
    /// Writes that reached the system.
    pub(crate) writes: AtomicU64,
    /// Samples that are in memory and not in the log.
    pub(crate) waiting_samples: AtomicU64,
    /// Bytes of records that are not in the log.
    pub(crate) waiting_bytes: AtomicU64,
    /// Samples that were made visible before they were logged, ever.
    pub(crate) delayed_samples: AtomicU64,
}

/// Records as they go into the log.
#[derive(Default)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    parts: Vec<(usize, Compression)>,
    samples: u64,
}

impl Packed {
    /// The records in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Payload<'_>> {
        (0..self.parts.len()).map(|i| {
            let start = if i == 0 { 0 } else { self.parts[i - 1].0 };
            let (end, compression) = self.parts[i];
            Payload { compression, bytes: &self.bytes[start..end] }
        })
    }
}

/// What the lock of a log protects.
pub(crate) struct LogState {
    writer: LogWriter,
    /// Records that no sync covers yet, oldest first.
    kept: VecDeque<Packed>,
    /// So many of them are written.
    written: usize,
    /// Bytes of those that are written.
    written_bytes: usize,
    /// The log could not be written: when to try again.
    retry_at: Option<Duration>,
    /// So many syncs failed one after the other.
    failed_syncs: u32,
    /// So many records were ever forgotten.
    forgotten: u64,
    /// So many syncs ever failed.
    failures: u64,
}

impl LogState {
    /// The number of the newest segment.
    pub(crate) fn segment(&self) -> u64 {
        self.writer.segment()
    }

    /// Where the next record goes.
    pub(crate) fn position(&self) -> WalPosition {
        self.writer.position()
    }

    /// What was written so far.
    pub(crate) fn written(&self) -> Written {
        self.writer.written()
    }

    /// Ends the segment and starts the next.
    pub(crate) fn next_segment(&mut self) -> Result<u64, FileError> {
        self.writer.next_segment()
    }

    /// Removes all segments below a number.
    pub(crate) fn truncate(&mut self, keep_from: u64) -> Result<(), FileError> {
        self.writer.truncate(keep_from)
    }

    /// Whether a log that could not be written is to be tried again.
    fn is_due(&self, now: Duration) -> bool {
        self.retry_at.is_none_or(|at| now >= at)
    }

    fn waiting(&self) -> impl Iterator<Item = &Packed> {
        self.kept.range(self.written..)
    }

    /// What was written is safe.
    fn forget_written(&mut self) {
        self.forget(self.forgotten + self.written as u64);
    }

    /// What was written of the first `upto` that there ever were is safe.
    fn forget(&mut self, upto: u64) {
        let n = usize::try_from(upto.saturating_sub(self.forgotten)).unwrap_or(usize::MAX).min(self.written);
        for packed in self.kept.drain(..n) {
            self.written_bytes = self.written_bytes.saturating_sub(packed.bytes.len());
        }
        self.written -= n;
        self.forgotten += n as u64;
        if self.kept.is_empty() {
            self.kept.shrink_to(64);
        }
    }
}

impl Log {
    /// Opens a log of a data directory for writing, behind what it holds and the
    /// segment that is named. A segment that cannot be made now is made when that
    /// works: until then records wait.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub(crate) fn of(
        options: &DbOptions,
        fs: Arc<dyn Fs>,
        name: &str,
        behind: Option<u64>,
    ) -> Result<Log, FileError> {
        let segments = LogWriterOptions { segment_bytes: options.wal_segment_bytes };
        let mut writer = LogWriter::deferred(fs.clone(), &options.dir.join(name), segments)?;
        if let Some(behind) = behind {
            writer.start_behind(behind);
        }
        let mut writes_failed = 0;
        if let Err(error) = writer.next_segment() {
            writes_failed = 1;
            tracing::error!(%error, "a log segment cannot be made: samples stay in memory until it can");
        }
        let record_bytes_max = writer.record_bytes_max();
        let state = LogState {
            writer,
            kept: VecDeque::new(),
            written: 0,
            written_bytes: 0,
            retry_at: None,
            failed_syncs: 0,
            forgotten: 0,
            failures: 0,
        };
        Ok(Log {
            fs,
            state: Mutex::new(state),
            compression: options.wal_compression,
            compressors: Mutex::default(),
            backlog_bytes_max: options.wal_backlog_bytes_max,
            record_bytes_max,
            bytes_saved: AtomicU64::new(0),
            writes_failed: AtomicU64::new(writes_failed),
            syncs_failed: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            waiting_samples: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
            delayed_samples: AtomicU64::new(0),
        })
    }

    /// Compresses records; takes no lock that a writer holds.
    pub(crate) fn pack(&self, records: &Records) -> Packed {
        if records.is_empty() {
            return Packed::default();
        }
        let mut compressor =
            self.compressors.lock().pop().unwrap_or_else(|| Compressor::new(self.compression));
        let mut packed = Packed { bytes: Vec::new(), parts: Vec::new(), samples: records.samples() };
        let mut saved = 0;
        for record in records.iter() {
            let payload = compressor.compress(record);
            saved += record.len() - payload.bytes.len();
            packed.bytes.extend_from_slice(payload.bytes);
            packed.parts.push((packed.bytes.len(), payload.compression));
        }
        self.bytes_saved.fetch_add(saved as u64, Ordering::Relaxed);
        let mut compressors = self.compressors.lock();
        if compressors.len() < 16 {
            compressors.push(compressor);
        }
        packed
    }

    /// The method of compression and the bytes that it saved, where there is one.
    pub(crate) fn saved(&self) -> Option<(&'static str, u64)> {
        let name = match self.compression {
            Compression::None => return None,
            Compression::Snappy => "snappy",
            Compression::Zstd => "zstd",
        };
        Some((name, self.bytes_saved.load(Ordering::Relaxed)))
    }

    /// Takes the log.
    pub(crate) fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock()
    }

    /// Adds packed records behind all others, as one write where the log works.
    /// Where it does not, they wait in memory.
    ///
    /// # Errors
    /// A record is larger than a segment, or so much waits that memory has no
    /// room for more: the records are not added.
    pub(crate) fn append(
        &self,
        state: &mut LogState,
        packed: impl IntoIterator<Item = Packed>,
        now: Duration,
    ) -> Result<Durability, StorageError> {
        if state.written < state.kept.len() && state.is_due(now) {
            // Makes room, where that goes by now.
            let _ = self.drain(state, now);
        }
        let before = state.kept.len();
        state.kept.extend(packed.into_iter().filter(|packed| !packed.parts.is_empty()));
        if let Err(error) = self.check(state, before) {
            state.kept.truncate(before);
            return Err(error);
        }
        let is_due = state.is_due(now);
        if is_due && self.drain(state, now).is_ok() {
            self.bound_unsynced(state, now);
        }
        if state.written == state.kept.len() {
            return Ok(Durability::Logged);
        }
        let (mut samples, mut bytes) = (0, 0);
        for packed in state.kept.range(before.max(state.written)..) {
            samples += packed.samples;
            bytes += packed.bytes.len() as u64;
        }
        self.delayed_samples.fetch_add(samples, Ordering::Relaxed);
        if !is_due {
            self.waiting_samples.fetch_add(samples, Ordering::Relaxed);
            self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(Durability::MemoryOnly)
    }

    /// Whether the records from `from` on may be added.
    fn check(&self, state: &LogState, from: usize) -> Result<(), StorageError> {
        let largest = state.kept.range(from..).flat_map(Packed::iter).map(|part| part.bytes.len()).max();
        if let Some(bytes) = largest.filter(|&bytes| bytes > self.record_bytes_max) {
            return Err(StorageError::Invalid(format!(
                "a log record of {bytes} bytes does not fit a segment, which has room for {}",
                self.record_bytes_max
            )));
        }
        if state.written == from {
            return Ok(());
        }
        let used = self.waiting_bytes.load(Ordering::Relaxed);
        let wanted: u64 = state.kept.range(from..).map(|packed| packed.bytes.len() as u64).sum();
        if used + wanted > self.backlog_bytes_max {
            let by = "the backlog of the write-ahead log".to_owned();
            return Err(MemoryRefused { by, wanted, used, limit: self.backlog_bytes_max }.into());
        }
        Ok(())
    }

    /// Writes what waits, oldest first, as far as that goes.
    fn drain(&self, state: &mut LogState, now: Duration) -> Result<(), FileError> {
        let failed_before = state.retry_at.is_some();
        while state.written < state.kept.len() {
            let mut n = 0;
            let mut bytes = 0;
            for packed in state.waiting() {
                if n > 0 && bytes + packed.bytes.len() > PIECE_BYTES {
                    break;
                }
                n += 1;
                bytes += packed.bytes.len();
            }
            let records = state.kept.range(state.written..state.written + n).flat_map(Packed::iter);
            if let Err(error) = state.writer.log(records) {
                self.writes_failed.fetch_add(1, Ordering::Relaxed);
                state.retry_at = Some(now.saturating_add(RETRY_INTERVAL));
                if !failed_before {
                    tracing::error!(%error, "the log cannot be written: samples stay in memory until it can");
                }
                self.count_waiting(state);
                return Err(error);
            }
            state.written += n;
            state.written_bytes += bytes;
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        if failed_before {
            state.retry_at = None;
            self.count_waiting(state);
            tracing::info!(dir = %state.writer.dir().display(), "the log is written again, with all that waited");
        }
        Ok(())
    }

    fn count_waiting(&self, state: &LogState) {
        let (mut samples, mut bytes) = (0, 0);
        for packed in state.waiting() {
            samples += packed.samples;
            bytes += packed.bytes.len() as u64;
        }
        self.waiting_samples.store(samples, Ordering::Relaxed);
        self.waiting_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Syncs at once where much was written since the last time.
    fn bound_unsynced(&self, state: &mut LogState, now: Duration) {
        if state.written_bytes > UNSYNCED_BYTES_MAX
            && let Err(error) = self.sync_locked(state, now)
        {
            tracing::error!(%error, "the log cannot be synced: a power cut now would lose samples");
        }
    }

    /// Logs records on their own, behind all others, or not at all.
    ///
    /// # Errors
    /// The log cannot be written.
    pub(crate) fn log(&self, records: &Records, now: Duration) -> Result<(), StorageError> {
        if records.is_empty() {
            return Ok(());
        }
        let packed = self.pack(records);
        let mut guard = self.lock();
        let state = &mut *guard;
        self.drain(state, now)?;
        let before = state.kept.len();
        state.kept.push_back(packed);
        let logged = self.check(state, before).and_then(|()| Ok(self.drain(state, now)?));
        if logged.is_err() {
            state.kept.truncate(before);
            if state.written == before {
                // Nothing waits: the next batch finds out itself whether there is room.
                state.retry_at = None;
            }
            self.count_waiting(state);
        }
        logged
    }

    /// Writes what waits, and makes all that was written survive a power cut.
    /// Answers whether there was anything to do.
    ///
    /// # Errors
    /// Something still waits, or is not safe; it is kept and tried again.
    pub(crate) fn sync(&self, now: Duration) -> Result<bool, StorageError> {
        let (drained, segments, dir, upto, failures) = {
            let mut guard = self.lock();
            let state = &mut *guard;
            if state.kept.is_empty() {
                return Ok(false);
            }
            let drained = self.drain(state, now);
            let upto = state.forgotten + state.written as u64;
            (drained, state.writer.to_sync(), state.writer.dir().to_path_buf(), upto, state.failures)
        };
        // A disk may take its time: nobody waits for it to append.
        let result = sync_segments(&*self.fs, &dir, &segments);
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.failures != failures {
            // Another sync failed meanwhile, and this one says nothing.
            self.sync_locked(state, now)?;
        } else if let Err(error) = result {
            state.writer.abandon();
            self.write_again(state, &error, now)?;
        } else {
            state.writer.synced(&segments);
            state.forget(upto);
            state.failed_syncs = 0;
        }
        drained?;
        Ok(true)
    }

    /// Whether there is something to sync, and it is time to try.
    pub(crate) fn sync_is_due(&self, now: Duration) -> bool {
        let state = self.lock();
        !state.kept.is_empty() && state.is_due(now)
    }

    /// As [`Log::sync`], for those who have the lock and keep it.
    fn sync_locked(&self, state: &mut LogState, now: Duration) -> Result<(), FileError> {
        match state.writer.sync() {
            Ok(()) => {
                state.forget_written();
                state.failed_syncs = 0;
                Ok(())
            }
            Err(error) => self.write_again(state, &error, now),
        }
    }

    /// A sync that fails leaves it unknown what the segments hold: what no sync
    /// covers is written to a new one, and that is synced.
    fn write_again(&self, state: &mut LogState, error: &FileError, now: Duration) -> Result<(), FileError> {
        self.syncs_failed.fetch_add(1, Ordering::Relaxed);
        state.failures += 1;
        tracing::error!(%error, "the log cannot be synced: what is not safe is written to a new segment");
        state.written = 0;
        state.written_bytes = 0;
        self.drain(state, now)?;
        if let Err(error) = state.writer.sync() {
            // Each further try writes all of it once more: not too often.
            let interval = RETRY_INTERVAL * (1 << state.failed_syncs.min(SYNC_BACKOFF_MAX));
            state.failed_syncs += 1;
            state.retry_at = Some(now.saturating_add(interval));
            self.syncs_failed.fetch_add(1, Ordering::Relaxed);
            state.failures += 1;
            state.written = 0;
            state.written_bytes = 0;
            self.count_waiting(state);
            return Err(error);
        }
        state.forget_written();
        state.failed_syncs = 0;
        Ok(())
    }

    /// Bytes kept for compressing, and of records that are not safe yet.
    pub(crate) fn heap_bytes(&self) -> usize {
        let compressors: usize = self.compressors.lock().iter().map(Compressor::heap_bytes).sum();
        let state = self.lock();
        let kept: usize =
            state.kept.iter().map(|packed| packed.bytes.capacity() + packed.parts.capacity() * 16).sum();
        compressors + kept + state.kept.capacity() * size_of::<Packed>()
    }
}
