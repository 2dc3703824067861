//! Log records as values: what is made of them away from the thread that applies
//! them.

use model::{HistogramValue, SeriesRef};

use crate::corruption::Damage;
use crate::head::restore::SavedSeries;
use crate::snapshot_format::{self, SnapshotRecord};
use crate::tombstones::Tombstones;
use crate::wal::record::{
    self, RecordType, RefExemplar, RefMetadata, RefMmapMarker, RefSample, RefSeries, RefTombstone,
};

/// A histogram of a record.
pub(crate) struct RefHistogramValue {
    pub(crate) series: SeriesRef,
    pub(crate) t: i64,
    pub(crate) start: i64,
    pub(crate) value: HistogramValue,
}

/// What records of one kind, one behind the other, say.
pub(crate) enum Decoded {
    Series(Vec<RefSeries>),
    Samples(Vec<RefSample>),
    Histograms(Vec<RefHistogramValue>),
    Tombstones(Vec<RefTombstone>),
    Exemplars(Vec<RefExemplar>),
    Metadata(Vec<RefMetadata>),
    Markers(Vec<RefMmapMarker>),
    /// The position that was to be told of: what comes is behind it.
    Mark,
    /// Of a snapshot.
    Saved(Vec<SavedSeries>),
    /// Of a snapshot.
    Deleted(Tombstones),
}

/// Adds to the last of `all` if it is of the kind, else behind it.
macro_rules! last_or_new {
    ($all:ident, $kind:ident) => {{
        if !matches!($all.last(), Some(Decoded::$kind(_))) {
            $all.push(Decoded::$kind(Vec::new()));
        }
        match $all.last_mut() {
            Some(Decoded::$kind(entries)) => entries,
            _ => unreachable!("it was just added"),
        }
    }};
}

/// Adds what a log record says to what those before it said.
///
/// # Errors
/// The record is damaged; what precedes the damage was added.
pub(crate) fn decode(record: &[u8], all: &mut Vec<Decoded>) -> Result<(), Damage> {
    let Some(kind) = RecordType::of(record) else { return Ok(()) };
    match kind {
        RecordType::Series => record::decode_series(record, last_or_new!(all, Series)),
        RecordType::Samples | RecordType::SamplesV2 => {
            record::decode_samples(record, last_or_new!(all, Samples))
        }
        RecordType::Histograms | RecordType::CustomHistograms | RecordType::HistogramsV2 => {
            let mut found = Vec::new();
            let result = record::decode_histograms(record, &mut found).map(say_skipped);
            last_or_new!(all, Histograms).extend(found.into_iter().map(|entry| RefHistogramValue {
                series: entry.series,
                t: entry.timestamp_ms,
                start: entry.start_timestamp_ms,
                value: HistogramValue::Integer(entry.histogram),
            }));
            result
        }
        RecordType::FloatHistograms | RecordType::CustomFloatHistograms | RecordType::FloatHistogramsV2 => {
            let mut found = Vec::new();
            let result = record::decode_float_histograms(record, &mut found).map(say_skipped);
            last_or_new!(all, Histograms).extend(found.into_iter().map(|entry| RefHistogramValue {
                series: entry.series,
                t: entry.timestamp_ms,
                start: entry.start_timestamp_ms,
                value: HistogramValue::Float(entry.histogram),
            }));
            result
        }
        RecordType::Tombstones => record::decode_tombstones(record, last_or_new!(all, Tombstones)),
        RecordType::Exemplars => record::decode_exemplars(record, last_or_new!(all, Exemplars)),
        RecordType::Metadata => record::decode_metadata(record, last_or_new!(all, Metadata)),
        RecordType::MmapMarkers => record::decode_mmap_markers(record, last_or_new!(all, Markers)),
    }
}

/// So many histograms of a record have a schema that nobody knows.
fn say_skipped(skipped: usize) {
    if skipped > 0 {
        tracing::warn!(skipped, "histograms of an unknown schema in the log are passed over");
    }
}

/// Adds what a record of a snapshot says.
///
/// # Errors
/// The record is damaged.
pub(crate) fn decode_snapshot(record: &[u8], all: &mut Vec<Decoded>) -> Result<(), Damage> {
    match snapshot_format::decode(record)? {
        SnapshotRecord::Series(series) => last_or_new!(all, Saved).push(SavedSeries::of(*series)?),
        SnapshotRecord::Tombstones(tombstones) => all.push(Decoded::Deleted(tombstones)),
        SnapshotRecord::Exemplars(exemplars) => last_or_new!(all, Exemplars).extend(exemplars),
    }
    Ok(())
}
