//! `series_state.json` beside the segments: how far series numbers and segments
//! had gone, for a start that does not wait for the replay (upstream's feature
//! `fast-startup`). Rewritten each second and at a clean stop; a missing or
//! damaged file only means that the log must be read.

use std::path::Path;
use std::sync::Arc;

use model::Fs;
use serde::{Deserialize, Serialize};

use super::checkpoint::last_checkpoint;
use super::record::{self, RecordType};
use super::{Compression, Decompressor, LogReader, Payload, ReadMode, Step, list_segments};
use crate::corruption::FileError;

/// The file's name in the log's folder.
pub const FILE_NAME: &str = "series_state.json";

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeriesState {
    /// The highest number given to a series.
    pub last_series_id: u64,
    /// The newest segment.
    pub last_wal_segment: i64,
    /// Whether everything was written before the process ended.
    pub clean_shutdown: bool,
}

/// Reads the file; `None` where it is missing or says nothing.
///
/// # Errors
/// It is there but cannot be read.
pub fn read_series_state(fs: &dyn Fs, wal_dir: &Path) -> Result<Option<SeriesState>, FileError> {
    let path = wal_dir.join(FILE_NAME);
    if !fs.exists(&path) {
        return Ok(None);
    }
    let bytes = fs.read(&path).map_err(|source| FileError::io("read", &path, source))?;
    Ok(serde_json::from_slice(&bytes).ok())
}

/// Writes the file anew through a temporary one.
///
/// # Errors
/// The file cannot be written or renamed; the old one stays.
pub fn write_series_state(fs: &dyn Fs, wal_dir: &Path, state: &SeriesState) -> Result<(), FileError> {
    let mut bytes = serde_json::to_vec(state).expect("numbers always serialize into memory");
    bytes.push(b'\n');
    crate::block::replace_file(fs, wal_dir, FILE_NAME, &bytes).map(|_| ())
}

/// The highest series number that the log knows, found without reading samples:
/// in the newest segment from `from` on that names a series, else in the newest
/// checkpoint. Numbers rise, so that no older segment has a higher one.
///
/// # Errors
/// A segment cannot be read. Damaged records are passed over.
pub fn last_series(fs: &Arc<dyn Fs>, wal_dir: &Path, from: u64) -> Result<Option<u64>, FileError> {
    if !fs.exists(wal_dir) {
        return Ok(None);
    }
    for segment in list_segments(&**fs, wal_dir)?.into_iter().rev().take_while(|s| s.number >= from) {
        let found = last_series_of(LogReader::new(fs.clone(), wal_dir, [segment.number], ReadMode::Salvage))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    let Some(checkpoint) = last_checkpoint(&**fs, wal_dir)? else { return Ok(None) };
    let segments: Vec<u64> = list_segments(&**fs, &checkpoint.dir)?.iter().map(|s| s.number).collect();
    last_series_of(LogReader::new(fs.clone(), &checkpoint.dir, segments, ReadMode::Salvage))
}

fn last_series_of(mut reader: LogReader) -> Result<Option<u64>, FileError> {
    let mut decompressor = Decompressor::new();
    let (mut last, mut series) = (None, Vec::new());
    loop {
        let raw = match reader.next()? {
            Step::End => return Ok(last),
            Step::Torn { .. } | Step::Damage { .. } => continue,
            Step::Record(raw) => raw,
        };
        if first_byte(&raw.payload).is_some_and(|first| first != RecordType::Series as u8) {
            continue;
        }
        let Ok(bytes) = decompressor.decompress(raw.payload) else { continue };
        if RecordType::of(bytes) == Some(RecordType::Series) {
            series.clear();
            // What precedes damage counts.
            let _ = record::decode_series(bytes, &mut series);
            last = last.max(series.iter().map(|entry| entry.series.0).max());
        }
    }
}

/// The first byte of a record, where it can be told without decompressing all.
fn first_byte(payload: &Payload<'_>) -> Option<u8> {
    let bytes = payload.bytes;
    match payload.compression {
        Compression::None => bytes.first().copied(),
        Compression::Zstd => None,
        Compression::Snappy => {
            // Behind the length, snappy's first element is a literal.
            let at = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
            let tag = *bytes.get(at)?;
            let length_bytes = usize::from(tag >> 2).saturating_sub(59);
            (tag & 3 == 0).then(|| bytes.get(at + 1 + length_bytes).copied()).flatten()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFs;

    #[test]
    fn the_state_survives_and_damage_counts_as_absence() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(read_series_state(&RealFs, dir.path()).expect("readable"), None);
        let state = SeriesState { last_series_id: 7, last_wal_segment: 3, clean_shutdown: true };
        write_series_state(&RealFs, dir.path(), &state).expect("a file");
        let text = std::fs::read_to_string(dir.path().join(FILE_NAME)).expect("a file");
        assert_eq!(text, "{\"last_series_id\":7,\"last_wal_segment\":3,\"clean_shutdown\":true}\n");
        assert_eq!(read_series_state(&RealFs, dir.path()).expect("readable"), Some(state));
        std::fs::write(dir.path().join(FILE_NAME), "{").expect("a file");
        assert_eq!(read_series_state(&RealFs, dir.path()).expect("readable"), None);
    }

    #[test]
    fn the_last_series_is_found_in_any_compression_and_in_checkpoints() {
        use super::super::checkpoint::CheckpointWriter;
        use super::super::{Compressor, LogWriter, LogWriterOptions};
        use model::{Labels, SeriesRef};
        let dir = tempfile::tempdir().expect("a folder");
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let options = LogWriterOptions { segment_bytes: 1 << 20 };
        let record = |from: u64| {
            let mut bytes = Vec::new();
            let labels = |n: u64| Labels::from_pairs([("n", n.to_string())]);
            let all: Vec<(SeriesRef, Labels)> =
                (from..from + 40).map(|n| (SeriesRef(n), labels(n))).collect();
            record::put_series(&mut bytes, all.iter().map(|(series, labels)| (*series, labels)));
            bytes
        };
        let samples = |series: u64| {
            let mut bytes = Vec::new();
            let sample = |t| record::RefSample {
                series: SeriesRef(series),
                timestamp_ms: t,
                start_timestamp_ms: 0,
                value: 1.0,
            };
            record::put_samples(&mut bytes, (0..100).map(sample));
            bytes
        };
        for (n, compression) in
            [Compression::None, Compression::Snappy, Compression::Zstd].into_iter().enumerate()
        {
            let wal = dir.path().join(n.to_string());
            assert_eq!(last_series(&fs, &wal, 0).expect("no log"), None);
            let mut compressor = Compressor::new(compression);
            let mut checkpoint = CheckpointWriter::begin(fs.clone(), &wal, 0, options).expect("a checkpoint");
            checkpoint.log().log([compressor.compress(&record(1))]).expect("a record");
            checkpoint.finish().expect("a checkpoint");
            assert_eq!(last_series(&fs, &wal, 0).expect("readable"), Some(40));
            let mut log = LogWriter::open(fs.clone(), &wal, options).expect("a log");
            log.log([compressor.compress(&record(100))]).expect("a record");
            log.next_segment().expect("a segment");
            log.log([compressor.compress(&samples(5000))]).expect("a record");
            assert_eq!(last_series(&fs, &wal, 0).expect("readable"), Some(139));
        }
    }
}
