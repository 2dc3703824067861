//! Following the log: the newest checkpoint, then the segments behind it, then
//! what is being written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use model::wal_tail::{LogRecord, LoggedSample, WalPosition, WalTail, WalTailReader};
use model::{Exemplar, HistogramValue, StorageError};

use super::{Db, Store};
use crate::corruption::Damage;
use crate::wal::checkpoint::last_checkpoint;
use crate::wal::record::{self, RecordType};
use crate::wal::{Decompressor, LogReader, ReadMode, Step, TailReader, list_segments};

impl WalTail for Db {
    fn tail(&self, from: Option<WalPosition>) -> Result<Box<dyn WalTailReader>, StorageError> {
        self.check_open()?;
        let store = self.store.clone();
        let fs = &store.env.fs;
        let dir = store.options.dir.join("wal");
        let segments = list_segments(&**fs, &dir)?;
        let known = |position: &WalPosition| {
            segments.iter().any(|s| s.number == position.segment && s.len >= position.offset)
        };
        let mut ready = VecDeque::new();
        let start = match from.filter(known) {
            Some(position) => position,
            None => {
                let mut first = segments.first().map_or(0, |segment| segment.number);
                if let Some(checkpoint) = last_checkpoint(&**fs, &dir)? {
                    let inside =
                        list_segments(&**fs, &checkpoint.dir)?.iter().map(|s| s.number).collect::<Vec<_>>();
                    let mut reader = LogReader::new(fs.clone(), &checkpoint.dir, inside, ReadMode::Salvage);
                    let mut decompressor = Decompressor::new();
                    loop {
                        match reader.next()? {
                            Step::End => break,
                            Step::Record(raw) => {
                                if let Ok(bytes) = decompressor.decompress(raw.payload) {
                                    ready.extend(decode(bytes));
                                }
                            }
                            Step::Torn { .. } | Step::Damage { .. } => {}
                        }
                    }
                    // The one right behind it may be lost.
                    let behind = segments.iter().map(|s| s.number).find(|&n| n > checkpoint.covers);
                    first = behind.unwrap_or(checkpoint.covers + 1);
                }
                WalPosition { segment: first, offset: 0 }
            }
        };
        let reader = TailReader::open(fs.clone(), &dir, start)?;
        Ok(Box::new(StoreTail { store, reader, decompressor: Decompressor::new(), ready }))
    }

    fn hold(&self, reader: &str, segment: Option<u64>) {
        let mut holds = self.store.wal_holds.lock();
        match segment {
            Some(segment) => {
                holds.insert(reader.to_owned(), segment);
            }
            None => {
                holds.remove(reader);
            }
        }
    }
}

struct StoreTail {
    store: Arc<Store>,
    reader: TailReader,
    decompressor: Decompressor,
    /// Decoded records of a checkpoint.
    ready: VecDeque<LogRecord>,
}

impl WalTailReader for StoreTail {
    fn next(&mut self, wait: Duration) -> Result<Option<(LogRecord, WalPosition)>, StorageError> {
        if let Some(record) = self.ready.pop_front() {
            // Whoever stops in a checkpoint reads it again.
            return Ok(Some((record, WalPosition::default())));
        }
        let mut waited = false;
        loop {
            let seen = self.store.commits.count();
            while let Some(raw) = self.reader.next_record()? {
                let end = raw.end;
                let decoded = self.decompressor.decompress(raw.payload).ok().and_then(decode);
                if let Some(record) = decoded {
                    return Ok(Some((record, end)));
                }
            }
            if let Some(damage) = self.reader.take_damage() {
                self.store.metrics.reader_corruptions.with(&[damage.what.kind()]).inc();
                tracing::error!(%damage, "a log record is damaged and is not sent");
            }
            if waited || wait.is_zero() {
                return Ok(None);
            }
            waited = true;
            self.store.commits.wait(seen, wait);
        }
    }
}

/// A record as followers see it; `None` for those that do not concern them.
fn decode(bytes: &[u8]) -> Option<LogRecord> {
    match RecordType::of(bytes)? {
        RecordType::Series => {
            let mut series = Vec::new();
            note(record::decode_series(bytes, &mut series));
            Some(LogRecord::Series(series.into_iter().map(|entry| (entry.series, entry.labels)).collect()))
        }
        RecordType::Samples | RecordType::SamplesV2 => {
            let mut samples = Vec::new();
            note(record::decode_samples(bytes, &mut samples));
            let floats = samples.into_iter().map(|sample| LoggedSample {
                series: sample.series,
                timestamp_ms: sample.timestamp_ms,
                start_timestamp_ms: sample.start_timestamp_ms,
                value: sample.value,
            });
            Some(LogRecord::Floats(floats.collect()))
        }
        RecordType::Histograms | RecordType::CustomHistograms | RecordType::HistogramsV2 => {
            let mut all = Vec::new();
            note(record::decode_histograms(bytes, &mut all).map(|_| ()));
            let histograms = all.into_iter().map(|entry| LoggedSample {
                series: entry.series,
                timestamp_ms: entry.timestamp_ms,
                start_timestamp_ms: entry.start_timestamp_ms,
                value: HistogramValue::Integer(entry.histogram),
            });
            Some(LogRecord::Histograms(histograms.collect()))
        }
        RecordType::FloatHistograms | RecordType::CustomFloatHistograms | RecordType::FloatHistogramsV2 => {
            let mut all = Vec::new();
            note(record::decode_float_histograms(bytes, &mut all).map(|_| ()));
            let histograms = all.into_iter().map(|entry| LoggedSample {
                series: entry.series,
                timestamp_ms: entry.timestamp_ms,
                start_timestamp_ms: entry.start_timestamp_ms,
                value: HistogramValue::Float(entry.histogram),
            });
            Some(LogRecord::Histograms(histograms.collect()))
        }
        RecordType::Exemplars => {
            let mut all = Vec::new();
            note(record::decode_exemplars(bytes, &mut all));
            let exemplars = all.into_iter().map(|entry| {
                let exemplar = Exemplar {
                    labels: entry.labels,
                    value: entry.value,
                    timestamp_ms: entry.timestamp_ms,
                    has_timestamp: true,
                };
                (entry.series, exemplar)
            });
            Some(LogRecord::Exemplars(exemplars.collect()))
        }
        RecordType::Metadata => {
            let mut all = Vec::new();
            note(record::decode_metadata(bytes, &mut all));
            let metadata = all.into_iter().map(|entry| (entry.series, entry.metadata));
            Some(LogRecord::Metadata(metadata.collect()))
        }
        RecordType::Tombstones | RecordType::MmapMarkers => None,
    }
}

/// What precedes the damage of a record is sent.
fn note(result: Result<(), Damage>) {
    if let Err(damage) = result {
        tracing::error!(%damage, "a log record is damaged");
    }
}
