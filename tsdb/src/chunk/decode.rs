//! Chunks into columns: the way every query reads.

use model::query::{Columns, ReadOptions, SampleKind};
use model::{FloatHistogram, TimeRange};

use super::histogram::{Decoder, FloatKind, IntegerKind, Kind};
use super::xor::XorDecoder;
use super::xor2::Xor2Decoder;
use super::{ChunkEncoding, ChunkError};

/// What a decode did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeStats {
    /// Samples that were read.
    pub decoded: usize,
    /// Of those, samples inside the range: so many were appended.
    pub appended: usize,
}

/// Appends the samples of a chunk that lie inside `range` to columns.
///
/// Stops reading behind the range's end. On an error the columns are as before.
///
/// # Errors
/// The bytes are no chunk of the encoding. Damage behind the range's end may go unseen.
pub fn decode(
    encoding: ChunkEncoding,
    bytes: &[u8],
    range: TimeRange,
    options: ReadOptions,
    columns: &mut Columns,
) -> Result<DecodeStats, ChunkError> {
    match encoding {
        ChunkEncoding::Xor => decode_xor(bytes, range, options, columns),
        ChunkEncoding::Xor2 => decode_xor2(bytes, range, options, columns),
        ChunkEncoding::Histogram => decode_histograms::<IntegerKind>(bytes, false, range, options, columns),
        ChunkEncoding::FloatHistogram => {
            decode_histograms::<FloatKind>(bytes, false, range, options, columns)
        }
        ChunkEncoding::HistogramSt => decode_histograms::<IntegerKind>(bytes, true, range, options, columns),
        ChunkEncoding::FloatHistogramSt => {
            decode_histograms::<FloatKind>(bytes, true, range, options, columns)
        }
    }
}

/// Time of the first and the last sample, `None` without samples. Reads the whole chunk.
///
/// # Errors
/// The bytes are no chunk of the encoding.
pub fn time_bounds(encoding: ChunkEncoding, bytes: &[u8]) -> Result<Option<(i64, i64)>, ChunkError> {
    let mut columns = Columns::default();
    decode(encoding, bytes, TimeRange::ALL, ReadOptions::default(), &mut columns)?;
    Ok(match columns.timestamps_ms.as_slice() {
        [] => None,
        [only] => Some((*only, *only)),
        [first, .., last] => Some((*first, *last)),
    })
}

fn decode_xor(
    bytes: &[u8],
    range: TimeRange,
    options: ReadOptions,
    columns: &mut Columns,
) -> Result<DecodeStats, ChunkError> {
    let mut decoder = XorDecoder::new(bytes)?;
    into_columns(columns, decoder.count(), range, options, |timestamps, values, starts| {
        if let Some(starts) = starts {
            starts.fill(0);
        }
        decoder.fill(timestamps, values, range.end_ms)
    })
}

fn decode_xor2(
    bytes: &[u8],
    range: TimeRange,
    options: ReadOptions,
    columns: &mut Columns,
) -> Result<DecodeStats, ChunkError> {
    let mut decoder = Xor2Decoder::new(bytes)?;
    into_columns(columns, decoder.count(), range, options, |timestamps, values, starts| {
        decoder.fill(timestamps, values, starts, range.end_ms)
    })
}

/// Lets `fill` write up to `count` samples behind those of the columns, then
/// keeps what lies inside the range.
fn into_columns(
    columns: &mut Columns,
    count: usize,
    range: TimeRange,
    options: ReadOptions,
    fill: impl FnOnce(&mut [i64], &mut [f64], Option<&mut [i64]>) -> Result<usize, ChunkError>,
) -> Result<DecodeStats, ChunkError> {
    let old = columns.timestamps_ms.len();
    let old_floats = columns.floats.len();
    columns.timestamps_ms.resize(old + count, 0);
    columns.floats.resize(old_floats + count, 0.0);
    if options.start_timestamps {
        columns.start_timestamps_ms.resize(old + count, 0);
    }
    let starts = options.start_timestamps.then(|| &mut columns.start_timestamps_ms[old..]);
    let filled = fill(&mut columns.timestamps_ms[old..], &mut columns.floats[old_floats..], starts);
    let decoded = *filled.as_ref().unwrap_or(&0);

    let timestamps = &columns.timestamps_ms[old..old + decoded];
    let from = match timestamps.first() {
        Some(&first) if first < range.start_ms => timestamps.partition_point(|&t| t < range.start_ms),
        _ => 0,
    };
    let kept = match timestamps.last() {
        Some(&last) if last > range.end_ms => timestamps[from..].partition_point(|&t| t <= range.end_ms),
        _ => decoded - from,
    };
    let keep = |column: &mut Vec<i64>, old: usize| {
        if from > 0 {
            column.copy_within(old + from..old + from + kept, old);
        }
        column.truncate(old + kept);
    };
    keep(&mut columns.timestamps_ms, old);
    if options.start_timestamps {
        keep(&mut columns.start_timestamps_ms, old);
    }
    if from > 0 {
        columns.floats.copy_within(old_floats + from..old_floats + from + kept, old_floats);
    }
    columns.floats.truncate(old_floats + kept);
    columns.extend_run(SampleKind::Float, kept);
    filled.map(|decoded| DecodeStats { decoded, appended: kept })
}

fn decode_histograms<K: Kind>(
    bytes: &[u8],
    with_start: bool,
    range: TimeRange,
    options: ReadOptions,
    columns: &mut Columns,
) -> Result<DecodeStats, ChunkError> {
    let mut decoder = Decoder::<K>::new(bytes, with_start)?;
    let mut stats = DecodeStats::default();
    let old = (columns.timestamps_ms.len(), columns.histograms.len());
    let result = loop {
        match decoder.next() {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
        stats.decoded += 1;
        let t = decoder.t();
        if t > range.end_ms {
            break Ok(());
        }
        if t < range.start_ms {
            continue;
        }
        let histogram: FloatHistogram = decoder.float();
        columns.timestamps_ms.push(t);
        columns.histograms.push(histogram);
        if options.start_timestamps {
            columns.start_timestamps_ms.push(decoder.start_ms());
        }
        stats.appended += 1;
    };
    if let Err(error) = result {
        columns.timestamps_ms.truncate(old.0);
        columns.start_timestamps_ms.truncate(old.0);
        columns.histograms.truncate(old.1);
        return Err(error);
    }
    columns.extend_run(SampleKind::Histogram, stats.appended);
    Ok(stats)
}
