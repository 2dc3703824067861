//! What a record of the write-ahead log says.
//!
//! A record is a type byte and its entries; framing, checksums and compression
//! are around it ([`super::writer`], [`super::reader`]). Encoders append to a
//! buffer of the caller, decoders to vectors of the caller. See
//! `docs/format/wal.md`.

mod histogram;
mod labels;
mod understood;

pub use histogram::{
    RefFloatHistogram, RefHistogram, decode_float_histograms, decode_histograms, put_custom_float_histograms,
    put_custom_histograms, put_float_histograms, put_float_histograms_v2, put_histograms, put_histograms_v2,
};
pub(crate) use histogram::{put_float_histogram, put_histogram, take_float_histogram, take_histogram};
pub(crate) use labels::{put_labels, take_labels};
pub use understood::understood;

use model::{Labels, Metadata, MetricType, SeriesRef};

use crate::corruption::Damage;
use crate::cursor::{Cursor, VARINT_BYTES_MAX, put_string, put_uvarint, put_varint, set_varint};

/// The type byte of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RecordType {
    /// New series.
    Series = 1,
    /// Float samples.
    Samples = 2,
    /// Deleted intervals.
    Tombstones = 3,
    /// Exemplars.
    Exemplars = 4,
    /// Chunks that went to head chunk files; only in the out-of-order log.
    MmapMarkers = 5,
    /// Type, unit and help of series.
    Metadata = 6,
    /// Histograms of whole counts, exponential schemas.
    Histograms = 7,
    /// Histograms of float counts, exponential schemas.
    FloatHistograms = 8,
    /// Histograms of whole counts with custom buckets.
    CustomHistograms = 9,
    /// Histograms of float counts with custom buckets.
    CustomFloatHistograms = 10,
    /// Float samples with start timestamps.
    SamplesV2 = 11,
    /// Histograms of whole counts of any schema, with start timestamps.
    HistogramsV2 = 12,
    /// Histograms of float counts of any schema, with start timestamps.
    FloatHistogramsV2 = 13,
}

impl RecordType {
    /// The type of a record; `None` for one without a byte or of a type that is
    /// not known, which replay passes over.
    pub fn of(record: &[u8]) -> Option<RecordType> {
        Some(match record.first()? {
            1 => RecordType::Series,
            2 => RecordType::Samples,
            3 => RecordType::Tombstones,
            4 => RecordType::Exemplars,
            5 => RecordType::MmapMarkers,
            6 => RecordType::Metadata,
            7 => RecordType::Histograms,
            8 => RecordType::FloatHistograms,
            9 => RecordType::CustomHistograms,
            10 => RecordType::CustomFloatHistograms,
            11 => RecordType::SamplesV2,
            12 => RecordType::HistogramsV2,
            13 => RecordType::FloatHistogramsV2,
            _ => return None,
        })
    }
}

/// A series and its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefSeries {
    /// Its number.
    pub series: SeriesRef,
    /// Its labels.
    pub labels: Labels,
}

/// A float sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RefSample {
    /// The series.
    pub series: SeriesRef,
    /// Its time in ms.
    pub timestamp_ms: i64,
    /// Its start timestamp in ms, 0 where unknown.
    pub start_timestamp_ms: i64,
    /// Its value.
    pub value: f64,
}

/// A deleted interval of a series, both ends inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefTombstone {
    /// The series.
    pub series: SeriesRef,
    /// First deleted time in ms.
    pub min_ms: i64,
    /// Last deleted time in ms.
    pub max_ms: i64,
}

/// An exemplar.
#[derive(Clone, Debug, PartialEq)]
pub struct RefExemplar {
    /// The series.
    pub series: SeriesRef,
    /// Its time in ms.
    pub timestamp_ms: i64,
    /// Its value.
    pub value: f64,
    /// Its labels.
    pub labels: Labels,
}

/// Says that out-of-order samples of a series so far went into a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefMmapMarker {
    /// The series.
    pub series: SeriesRef,
    /// The chunk in the head chunk files.
    pub chunk: u64,
}

/// What is known of a series' metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefMetadata {
    /// The series.
    pub series: SeriesRef,
    /// The metadata.
    pub metadata: Metadata,
}

/// Takes the type byte off a record.
pub(super) fn entries<'a>(
    record: &'a [u8],
    allowed: &[RecordType],
) -> Result<(RecordType, Cursor<'a>), Damage> {
    let mut cursor = Cursor::new(record);
    let found = cursor.u8("a record type")?;
    match RecordType::of(record) {
        Some(kind) if allowed.contains(&kind) => Ok((kind, cursor)),
        _ => {
            Err(Damage::OutOfRange { what: "record type", found: u64::from(found), limit: allowed[0] as u64 })
        }
    }
}

fn put_base(out: &mut Vec<u8>, series: SeriesRef, timestamp_ms: i64) {
    out.extend_from_slice(&series.0.to_be_bytes());
    out.extend_from_slice(&timestamp_ms.to_be_bytes());
}

pub(super) fn ref_delta(series: SeriesRef, base: SeriesRef) -> i64 {
    series.0.wrapping_sub(base.0) as i64
}

pub(super) fn ref_plus(base: SeriesRef, delta: i64) -> SeriesRef {
    SeriesRef(base.0.wrapping_add(delta as u64))
}

/// Appends a series record.
pub fn put_series<'a>(out: &mut Vec<u8>, series: impl IntoIterator<Item = (SeriesRef, &'a Labels)>) {
    out.push(RecordType::Series as u8);
    for (series, labels) in series {
        out.extend_from_slice(&series.0.to_be_bytes());
        put_labels(out, labels);
    }
}

/// Reads a series record.
///
/// # Errors
/// The record is damaged; what precedes the damage was appended.
pub fn decode_series(record: &[u8], series: &mut Vec<RefSeries>) -> Result<(), Damage> {
    let (_, mut cursor) = entries(record, &[RecordType::Series])?;
    while !cursor.is_empty() {
        let number = SeriesRef(cursor.be_u64("a series reference")?);
        series.push(RefSeries { series: number, labels: take_labels(&mut cursor)? });
    }
    Ok(())
}

/// Appends a record of float samples; start timestamps are left out.
pub fn put_samples(out: &mut Vec<u8>, samples: impl IntoIterator<Item = RefSample>) {
    out.push(RecordType::Samples as u8);
    let mut samples = samples.into_iter().peekable();
    let Some(&first) = samples.peek() else { return };
    put_base(out, first.series, first.timestamp_ms);
    out.reserve(samples.size_hint().0 * 12);
    // Put together aside, so that the buffer grows once a sample.
    let mut entry = [0; 2 * VARINT_BYTES_MAX + 8];
    for sample in samples {
        let mut len = set_varint(&mut entry, 0, ref_delta(sample.series, first.series));
        len = set_varint(&mut entry, len, sample.timestamp_ms.wrapping_sub(first.timestamp_ms));
        entry[len..len + 8].copy_from_slice(&sample.value.to_bits().to_be_bytes());
        out.extend_from_slice(&entry[..len + 8]);
    }
}

/// Appends a record of float samples with their start timestamps.
pub fn put_samples_v2(out: &mut Vec<u8>, samples: impl IntoIterator<Item = RefSample>) {
    out.push(RecordType::SamplesV2 as u8);
    let mut bases = Bases::default();
    for sample in samples {
        bases.put(out, sample.series, sample.timestamp_ms, sample.start_timestamp_ms);
        out.extend_from_slice(&sample.value.to_bits().to_be_bytes());
    }
}

/// Reads a record of float samples, with or without start timestamps.
///
/// # Errors
/// The record is damaged; what precedes the damage was appended.
pub fn decode_samples(record: &[u8], samples: &mut Vec<RefSample>) -> Result<(), Damage> {
    let (kind, mut cursor) = entries(record, &[RecordType::Samples, RecordType::SamplesV2])?;
    if cursor.is_empty() {
        return Ok(());
    }
    if kind == RecordType::SamplesV2 {
        // Reference, time, marker and value take eleven bytes at least.
        samples.reserve(cursor.left() / 11);
        let mut bases = Bases::default();
        while !cursor.is_empty() {
            let (series, timestamp_ms, start_timestamp_ms) = bases.take(&mut cursor)?;
            let value = cursor.be_f64("a value")?;
            samples.push(RefSample { series, timestamp_ms, start_timestamp_ms, value });
        }
        return Ok(());
    }
    let series = SeriesRef(cursor.be_u64("a series reference")?);
    let timestamp_ms = cursor.be_i64("a timestamp")?;
    samples.reserve(cursor.left() / 10);
    while !cursor.is_empty() {
        let reference = cursor.varint("a series reference")?;
        let time = cursor.varint("a timestamp")?;
        samples.push(RefSample {
            series: ref_plus(series, reference),
            timestamp_ms: timestamp_ms.wrapping_add(time),
            start_timestamp_ms: 0,
            value: cursor.be_f64("a value")?,
        });
    }
    Ok(())
}

/// What the entries of the newer records are relative to: references to the
/// entry before, times and start timestamps to the first.
#[derive(Default)]
pub(super) struct Bases {
    started: bool,
    series: SeriesRef,
    first_ms: i64,
    first_start_ms: i64,
    last_start_ms: i64,
}

/// There is no start timestamp.
const START_NONE: u8 = 0;
/// It is that of the entry before.
const START_SAME: u8 = 1;
/// The difference to the first entry's follows.
const START_EXPLICIT: u8 = 2;

impl Bases {
    pub(super) fn put(&mut self, out: &mut Vec<u8>, series: SeriesRef, timestamp_ms: i64, start_ms: i64) {
        if !self.started {
            *self = Bases {
                started: true,
                series,
                first_ms: timestamp_ms,
                first_start_ms: start_ms,
                last_start_ms: start_ms,
            };
            put_varint(out, series.0 as i64);
            put_varint(out, timestamp_ms);
            put_varint(out, start_ms);
            return;
        }
        put_varint(out, ref_delta(series, self.series));
        put_varint(out, timestamp_ms.wrapping_sub(self.first_ms));
        if start_ms == 0 {
            out.push(START_NONE);
        } else if start_ms == self.last_start_ms {
            out.push(START_SAME);
        } else {
            out.push(START_EXPLICIT);
            put_varint(out, start_ms.wrapping_sub(self.first_start_ms));
        }
        self.series = series;
        self.last_start_ms = start_ms;
    }

    pub(super) fn take(&mut self, cursor: &mut Cursor<'_>) -> Result<(SeriesRef, i64, i64), Damage> {
        if !self.started {
            self.started = true;
            self.series = SeriesRef(cursor.varint("a series reference")? as u64);
            self.first_ms = cursor.varint("a timestamp")?;
            self.first_start_ms = cursor.varint("a start timestamp")?;
            self.last_start_ms = self.first_start_ms;
            return Ok((self.series, self.first_ms, self.first_start_ms));
        }
        self.series = ref_plus(self.series, cursor.varint("a series reference")?);
        let timestamp_ms = self.first_ms.wrapping_add(cursor.varint("a timestamp")?);
        self.last_start_ms = match cursor.u8("a start timestamp's marker")? {
            START_NONE => 0,
            START_SAME => self.last_start_ms,
            START_EXPLICIT => self.first_start_ms.wrapping_add(cursor.varint("a start timestamp")?),
            other => {
                return Err(Damage::OutOfRange {
                    what: "start timestamp marker",
                    found: u64::from(other),
                    limit: u64::from(START_EXPLICIT),
                });
            }
        };
        Ok((self.series, timestamp_ms, self.last_start_ms))
    }
}

/// Appends a record of deleted intervals.
pub fn put_tombstones(out: &mut Vec<u8>, tombstones: impl IntoIterator<Item = RefTombstone>) {
    out.push(RecordType::Tombstones as u8);
    for stone in tombstones {
        out.extend_from_slice(&stone.series.0.to_be_bytes());
        put_varint(out, stone.min_ms);
        put_varint(out, stone.max_ms);
    }
}

/// Reads a record of deleted intervals.
///
/// # Errors
/// The record is damaged; what precedes the damage was appended.
pub fn decode_tombstones(record: &[u8], tombstones: &mut Vec<RefTombstone>) -> Result<(), Damage> {
    let (_, mut cursor) = entries(record, &[RecordType::Tombstones])?;
    while !cursor.is_empty() {
        tombstones.push(RefTombstone {
            series: SeriesRef(cursor.be_u64("a series reference")?),
            min_ms: cursor.varint("a timestamp")?,
            max_ms: cursor.varint("a timestamp")?,
        });
    }
    Ok(())
}

/// Appends a record of exemplars.
pub fn put_exemplars<'a>(out: &mut Vec<u8>, exemplars: impl IntoIterator<Item = &'a RefExemplar>) {
    out.push(RecordType::Exemplars as u8);
    put_exemplar_entries(out, exemplars);
}

/// What stands behind the type byte.
pub(crate) fn put_exemplar_entries<'a>(
    out: &mut Vec<u8>,
    exemplars: impl IntoIterator<Item = &'a RefExemplar>,
) {
    let mut exemplars = exemplars.into_iter().peekable();
    let Some(&first) = exemplars.peek() else { return };
    put_base(out, first.series, first.timestamp_ms);
    for exemplar in exemplars {
        put_varint(out, ref_delta(exemplar.series, first.series));
        put_varint(out, exemplar.timestamp_ms.wrapping_sub(first.timestamp_ms));
        out.extend_from_slice(&exemplar.value.to_bits().to_be_bytes());
        put_labels(out, &exemplar.labels);
    }
}

/// Reads a record of exemplars.
///
/// # Errors
/// The record is damaged; what precedes the damage was appended.
pub fn decode_exemplars(record: &[u8], exemplars: &mut Vec<RefExemplar>) -> Result<(), Damage> {
    let (_, mut cursor) = entries(record, &[RecordType::Exemplars])?;
    take_exemplar_entries(&mut cursor, exemplars)
}

/// Reads what stands behind the type byte.
pub(crate) fn take_exemplar_entries(
    cursor: &mut Cursor<'_>,
    exemplars: &mut Vec<RefExemplar>,
) -> Result<(), Damage> {
    if cursor.is_empty() {
        return Ok(());
    }
    let series = SeriesRef(cursor.be_u64("a series reference")?);
    let timestamp_ms = cursor.be_i64("a timestamp")?;
    while !cursor.is_empty() {
        let reference = cursor.varint("a series reference")?;
        let time = cursor.varint("a timestamp")?;
        exemplars.push(RefExemplar {
            series: ref_plus(series, reference),
            timestamp_ms: timestamp_ms.wrapping_add(time),
            value: cursor.be_f64("a value")?,
            labels: take_labels(cursor)?,
        });
    }
    Ok(())
}

/// Appends a record of markers.
pub fn put_mmap_markers(out: &mut Vec<u8>, markers: impl IntoIterator<Item = RefMmapMarker>) {
    out.push(RecordType::MmapMarkers as u8);
    for marker in markers {
        out.extend_from_slice(&marker.series.0.to_be_bytes());
        out.extend_from_slice(&marker.chunk.to_be_bytes());
    }
}

/// Reads a record of markers.
///
/// # Errors
/// The record is damaged; what precedes the damage was appended.
pub fn decode_mmap_markers(record: &[u8], markers: &mut Vec<RefMmapMarker>) -> Result<(), Damage> {
    let (_, mut cursor) = entries(record, &[RecordType::MmapMarkers])?;
    while !cursor.is_empty() {
        markers.push(RefMmapMarker {
            series: SeriesRef(cursor.be_u64("a series reference")?),
            chunk: cursor.be_u64("a chunk reference")?,
        });
    }
    Ok(())
}

const UNIT_FIELD: &str = "UNIT";
const HELP_FIELD: &str = "HELP";

/// Appends a record of metadata.
pub fn put_metadata<'a>(out: &mut Vec<u8>, all: impl IntoIterator<Item = (SeriesRef, &'a Metadata)>) {
    out.push(RecordType::Metadata as u8);
    for (series, metadata) in all {
        put_uvarint(out, series.0);
        out.push(metadata.metric_type as u8);
        put_uvarint(out, 2);
        put_string(out, UNIT_FIELD);
        put_string(out, &metadata.unit);
        put_string(out, HELP_FIELD);
        put_string(out, &metadata.help);
    }
}

/// Reads a record of metadata; fields of unknown names are passed over.
///
/// # Errors
/// The record is damaged; what precedes the damage was appended.
pub fn decode_metadata(record: &[u8], all: &mut Vec<RefMetadata>) -> Result<(), Damage> {
    let (_, mut cursor) = entries(record, &[RecordType::Metadata])?;
    while !cursor.is_empty() {
        let series = SeriesRef(cursor.uvarint("a series reference")?);
        let metric_type = MetricType::from_number(cursor.u8("a metric type")?);
        let fields = cursor.count(2, "metadata fields")?;
        let mut metadata = Metadata { metric_type, ..Metadata::default() };
        for _ in 0..fields {
            let name = cursor.prefixed("a metadata field's name")?;
            let value = cursor.prefixed("a metadata field's value")?;
            // Help is whatever a target said: bytes that are no text are replaced.
            match name {
                name if name == UNIT_FIELD.as_bytes() => {
                    metadata.unit = String::from_utf8_lossy(value).into_owned();
                }
                name if name == HELP_FIELD.as_bytes() => {
                    metadata.help = String::from_utf8_lossy(value).into_owned();
                }
                _ => {}
            }
        }
        all.push(RefMetadata { series, metadata });
    }
    Ok(())
}
