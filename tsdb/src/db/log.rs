//! The logs that a store writes: compression outside locks, one writer at a time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Fs, StorageError};
use parking_lot::{Mutex, MutexGuard};

use super::records::Records;
use crate::corruption::FileError;
use crate::wal::{Compression, Compressor, LogWriter, LogWriterOptions, Payload, WalPosition};

/// A log and its compressors.
pub(crate) struct Log {
    writer: Mutex<LogWriter>,
    compression: Compression,
    compressors: Mutex<Vec<Compressor>>,
    /// Bytes that compression saved.
    pub(crate) bytes_saved: AtomicU64,
    /// Writes that failed.
    pub(crate) writes_failed: AtomicU64,
    /// Writes that reached the system.
    pub(crate) writes: AtomicU64,
    /// Bytes that records took in the log, without framing.
    pub(crate) bytes_written: AtomicU64,
}

/// Records as they go into the log.
pub(crate) struct Packed {
    bytes: Vec<u8>,
    parts: Vec<(usize, Compression)>,
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

impl Log {
    /// Opens a log for writing.
    pub(crate) fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        segment_bytes: u64,
        compression: Compression,
    ) -> Result<Log, FileError> {
        let writer = LogWriter::open(fs, dir, LogWriterOptions { segment_bytes })?;
        Ok(Log {
            writer: Mutex::new(writer),
            compression,
            compressors: Mutex::default(),
            bytes_saved: AtomicU64::new(0),
            writes_failed: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
        })
    }

    /// Compresses records; takes no lock that a writer holds.
    pub(crate) fn pack(&self, records: &Records) -> Packed {
        let mut compressor =
            self.compressors.lock().pop().unwrap_or_else(|| Compressor::new(self.compression));
        let mut packed = Packed { bytes: Vec::new(), parts: Vec::new() };
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

    /// Takes the writer.
    pub(crate) fn lock(&self) -> MutexGuard<'_, LogWriter> {
        self.writer.lock()
    }

    /// Writes packed records, in order, as one write.
    pub(crate) fn write(
        &self,
        writer: &mut LogWriter,
        packed: &[&Packed],
    ) -> Result<WalPosition, StorageError> {
        let result = writer.log(packed.iter().flat_map(|packed| packed.iter()));
        let bytes: usize = packed.iter().map(|packed| packed.bytes.len()).sum();
        match result {
            Ok(position) => {
                self.writes.fetch_add(1, Ordering::Relaxed);
                self.bytes_written.fetch_add(bytes as u64, Ordering::Relaxed);
                Ok(position)
            }
            Err(error) => {
                self.writes_failed.fetch_add(1, Ordering::Relaxed);
                Err(error.into())
            }
        }
    }

    /// Logs records on their own.
    pub(crate) fn log(&self, records: &Records) -> Result<(), StorageError> {
        if records.is_empty() {
            return Ok(());
        }
        let packed = self.pack(records);
        self.write(&mut self.lock(), &[&packed]).map(|_| ())
    }

    /// Makes what was written survive a power cut.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        Ok(self.lock().sync()?)
    }

    /// Bytes kept for compressing.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.compressors.lock().iter().map(Compressor::heap_bytes).sum()
    }
}
