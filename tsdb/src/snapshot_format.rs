//! The records of a chunk snapshot: what a clean stop writes so that a start
//! need not replay the log.
//!
//! The folder `chunk_snapshot.NNNNNN.MMMMMMMMMM` names the place in the log up to
//! which it reaches: segment and offset. Inside it is a log of its own, framed
//! as the write-ahead log is. See `docs/format/memory_snapshot.md`.

use std::path::Path;

use model::query::ChunkEncoding;
use model::{FloatHistogram, Fs, Histogram, Labels, SeriesRef};

use crate::chunk::StoredValue;
use crate::corruption::{Damage, FileError};
use crate::cursor::{Cursor, put_uvarint};
use crate::tombstones::{Tombstones, put_versioned_entries, take_versioned_entries};
use crate::wal::WalPosition;
use crate::wal::record::{
    RefExemplar, put_exemplar_entries, put_float_histogram, put_histogram, put_labels, take_exemplar_entries,
    take_float_histogram, take_histogram, take_labels,
};

const PREFIX: &str = "chunk_snapshot.";
/// What is being written has this behind its name.
pub const TEMPORARY_SUFFIX: &str = ".tmp";
/// Exemplars of one record, at most.
pub const EXEMPLARS_PER_RECORD: usize = 10_000;

const SERIES: u8 = 1;
const TOMBSTONES: u8 = 2;
const EXEMPLARS: u8 = 3;

/// Samples before the newest that a float chunk's entry still has room for.
const UNUSED_SAMPLES: usize = 3;

/// A snapshot of a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotDir {
    /// The folder's name.
    pub name: String,
    /// Records of the log behind this place are not in it.
    pub reaches: WalPosition,
}

/// The folder name of a snapshot.
///
/// ```
/// # use tsdb::{snapshot_format::snapshot_name, wal::WalPosition};
/// let at = WalPosition { segment: 3, offset: 65536 };
/// assert_eq!(snapshot_name(at), "chunk_snapshot.000003.0000065536");
/// ```
pub fn snapshot_name(reaches: WalPosition) -> String {
    format!("{PREFIX}{:06}.{:010}", reaches.segment, reaches.offset)
}

/// The finished snapshots of a data folder, oldest first.
///
/// # Errors
/// The folder cannot be listed.
pub fn list_snapshots(fs: &dyn Fs, data_dir: &Path) -> Result<Vec<SnapshotDir>, FileError> {
    let entries = fs.list(data_dir).map_err(|source| FileError::io("list", data_dir, source))?;
    let mut all: Vec<SnapshotDir> = entries
        .into_iter()
        .filter(|entry| entry.is_dir)
        .filter_map(|entry| {
            let (segment, offset) = entry.name.strip_prefix(PREFIX)?.split_once('.')?;
            let reaches = WalPosition { segment: segment.parse().ok()?, offset: offset.parse().ok()? };
            Some(SnapshotDir { name: entry.name, reaches })
        })
        .collect();
    all.sort_by_key(|snapshot| snapshot.reaches);
    Ok(all)
}

/// Removes what unfinished snapshots left behind.
///
/// # Errors
/// The folder cannot be listed or one not be removed.
pub fn remove_temporary(fs: &dyn Fs, data_dir: &Path) -> Result<(), FileError> {
    let entries = fs.list(data_dir).map_err(|source| FileError::io("list", data_dir, source))?;
    for entry in entries {
        if entry.is_dir && entry.name.starts_with(PREFIX) && entry.name.ends_with(TEMPORARY_SUFFIX) {
            let dir = data_dir.join(&entry.name);
            fs.remove_dir_all(&dir).map_err(|source| FileError::io("remove", &dir, source))?;
        }
    }
    Ok(())
}

/// A series of a snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotSeries {
    /// The series.
    pub series: SeriesRef,
    /// Its labels.
    pub labels: Labels,
    /// Its open chunk, if it has one.
    pub chunk: Option<SnapshotChunk>,
}

/// The open chunk of a series.
#[derive(Clone, Debug)]
pub struct SnapshotChunk {
    /// Time of its first sample in ms.
    pub min_ms: i64,
    /// Time of its newest sample in ms.
    pub max_ms: i64,
    /// How its bytes are encoded.
    pub encoding: ChunkEncoding,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its newest value.
    pub last: StoredValue,
}

/// What a record of a snapshot says.
#[derive(Clone, Debug)]
pub enum SnapshotRecord {
    /// A series.
    Series(Box<SnapshotSeries>),
    /// What is deleted in the head.
    Tombstones(Tombstones),
    /// Exemplars.
    Exemplars(Vec<RefExemplar>),
}

/// The kind of value that a chunk's encoding goes with.
enum LastKind {
    Float,
    Histogram,
    FloatHistogram,
}

fn last_kind(encoding: ChunkEncoding) -> LastKind {
    match encoding {
        ChunkEncoding::Xor | ChunkEncoding::Xor2 => LastKind::Float,
        ChunkEncoding::Histogram | ChunkEncoding::HistogramSt => LastKind::Histogram,
        ChunkEncoding::FloatHistogram | ChunkEncoding::FloatHistogramSt => LastKind::FloatHistogram,
    }
}

/// Appends the record of a series. The chunk's newest value must be of the kind
/// that its encoding holds; another is written as an empty one.
pub fn put_series(out: &mut Vec<u8>, series: SeriesRef, labels: &Labels, chunk: Option<&SnapshotChunk>) {
    out.push(SERIES);
    out.extend_from_slice(&series.0.to_be_bytes());
    put_labels(out, labels);
    // The chunk range once was here.
    out.extend_from_slice(&0u64.to_be_bytes());
    let Some(chunk) = chunk else { return put_uvarint(out, 0) };
    put_uvarint(out, 1);
    out.extend_from_slice(&chunk.min_ms.to_be_bytes());
    out.extend_from_slice(&chunk.max_ms.to_be_bytes());
    out.push(chunk.encoding as u8);
    put_uvarint(out, chunk.bytes.len() as u64);
    out.extend_from_slice(&chunk.bytes);
    match (last_kind(chunk.encoding), &chunk.last) {
        (LastKind::Float, last) => {
            out.extend_from_slice(&[0; 16 * UNUSED_SAMPLES + 8]);
            let value = if let StoredValue::Float(value) = last { *value } else { 0.0 };
            out.extend_from_slice(&value.to_bits().to_be_bytes());
        }
        (LastKind::Histogram, StoredValue::Histogram(last)) => put_histogram(out, last),
        (LastKind::Histogram, _) => put_histogram(out, &Histogram::default()),
        (LastKind::FloatHistogram, StoredValue::FloatHistogram(last)) => put_float_histogram(out, last),
        (LastKind::FloatHistogram, _) => put_float_histogram(out, &FloatHistogram::default()),
    }
}

/// Appends the record of what is deleted.
pub fn put_tombstones(out: &mut Vec<u8>, tombstones: &Tombstones) {
    out.push(TOMBSTONES);
    let mut entries = Vec::new();
    put_versioned_entries(&mut entries, tombstones);
    put_uvarint(out, entries.len() as u64);
    out.extend_from_slice(&entries);
}

/// Appends a record of exemplars, of which there should be no more than
/// [`EXEMPLARS_PER_RECORD`].
pub fn put_exemplars<'a>(out: &mut Vec<u8>, exemplars: impl IntoIterator<Item = &'a RefExemplar>) {
    out.push(EXEMPLARS);
    put_exemplar_entries(out, exemplars);
}

/// Reads a record.
///
/// # Errors
/// The record is damaged or of an unknown type.
pub fn decode(record: &[u8]) -> Result<SnapshotRecord, Damage> {
    let mut cursor = Cursor::new(record);
    match cursor.u8("a snapshot record's type")? {
        SERIES => take_series(&mut cursor).map(|series| SnapshotRecord::Series(Box::new(series))),
        TOMBSTONES => take_versioned_entries(cursor.prefixed("tombstones")?).map(SnapshotRecord::Tombstones),
        EXEMPLARS => {
            let mut exemplars = Vec::new();
            take_exemplar_entries(&mut cursor, &mut exemplars)?;
            Ok(SnapshotRecord::Exemplars(exemplars))
        }
        other => Err(Damage::OutOfRange {
            what: "snapshot record type",
            found: u64::from(other),
            limit: u64::from(EXEMPLARS),
        }),
    }
}

fn take_series(cursor: &mut Cursor<'_>) -> Result<SnapshotSeries, Damage> {
    let series = SeriesRef(cursor.be_u64("a series reference")?);
    let labels = take_labels(cursor)?;
    cursor.be_u64("an unused field")?;
    if cursor.uvarint("whether there is a chunk")? == 0 {
        return Ok(SnapshotSeries { series, labels, chunk: None });
    }
    let min_ms = cursor.be_i64("a timestamp")?;
    let max_ms = cursor.be_i64("a timestamp")?;
    let number = cursor.u8("a chunk's encoding")?;
    let encoding = ChunkEncoding::from_number(number).ok_or(Damage::Encoding(number))?;
    let bytes = cursor.prefixed("a chunk")?.to_vec();
    let last = match last_kind(encoding) {
        LastKind::Float => {
            cursor.take(16 * UNUSED_SAMPLES + 8, "unused samples")?;
            StoredValue::Float(cursor.be_f64("a value")?)
        }
        LastKind::Histogram => StoredValue::Histogram(take_histogram(cursor)?),
        LastKind::FloatHistogram => StoredValue::FloatHistogram(take_float_histogram(cursor)?),
    };
    Ok(SnapshotSeries {
        series,
        labels,
        chunk: Some(SnapshotChunk { min_ms, max_ms, encoding, bytes, last }),
    })
}
