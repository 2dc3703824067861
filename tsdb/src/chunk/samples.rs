//! Chunks sample by sample, of the kind that is stored: what compaction,
//! dumping and re-encoding read.

use std::vec;

use model::query::ReadOptions;
use model::{Columns, FloatHistogram, Histogram, HistogramValue, TimeRange};

use super::histogram::{Decoder, FloatKind, IntegerKind};
use super::{ChunkEncoding, ChunkError, decode};

/// A value as a chunk stores it.
#[derive(Clone, Debug)]
pub enum StoredValue {
    /// A float.
    Float(f64),
    /// A histogram of whole counts.
    Histogram(Histogram),
    /// A histogram of float counts.
    FloatHistogram(FloatHistogram),
}

impl From<HistogramValue> for StoredValue {
    fn from(value: HistogramValue) -> StoredValue {
        match value {
            HistogramValue::Integer(h) => StoredValue::Histogram(h),
            HistogramValue::Float(h) => StoredValue::FloatHistogram(h),
        }
    }
}

/// A sample as a chunk stores it.
#[derive(Clone, Debug)]
pub struct StoredSample {
    /// Its time in ms.
    pub timestamp_ms: i64,
    /// Its start timestamp in ms, 0 where unknown.
    pub start_timestamp_ms: i64,
    /// Its value.
    pub value: StoredValue,
}

/// The samples of a chunk in order. After an error there is no further item.
pub struct Samples<'a> {
    source: Source<'a>,
    failed: bool,
}

enum Source<'a> {
    Floats(vec::IntoIter<(i64, i64, f64)>),
    Integer(Decoder<'a, IntegerKind>),
    Float(Decoder<'a, FloatKind>),
}

/// Walks the samples of a chunk.
///
/// # Errors
/// The bytes do not start as a chunk of the encoding; of a float chunk, any damage.
pub fn samples(encoding: ChunkEncoding, bytes: &[u8]) -> Result<Samples<'_>, ChunkError> {
    let source = match encoding {
        ChunkEncoding::Xor | ChunkEncoding::Xor2 => {
            let mut columns = Columns::default();
            let options = ReadOptions { start_timestamps: true, ..ReadOptions::default() };
            decode(encoding, bytes, TimeRange::ALL, options, &mut columns)?;
            let rows: Vec<_> = columns
                .timestamps_ms
                .iter()
                .zip(&columns.start_timestamps_ms)
                .zip(&columns.floats)
                .map(|((&t, &st), &v)| (t, st, v))
                .collect();
            Source::Floats(rows.into_iter())
        }
        ChunkEncoding::Histogram => Source::Integer(Decoder::new(bytes, false)?),
        ChunkEncoding::HistogramSt => Source::Integer(Decoder::new(bytes, true)?),
        ChunkEncoding::FloatHistogram => Source::Float(Decoder::new(bytes, false)?),
        ChunkEncoding::FloatHistogramSt => Source::Float(Decoder::new(bytes, true)?),
    };
    Ok(Samples { source, failed: false })
}

impl Iterator for Samples<'_> {
    type Item = Result<StoredSample, ChunkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let advanced = match &mut self.source {
            Source::Floats(rows) => {
                return rows.next().map(|(timestamp_ms, start_timestamp_ms, value)| {
                    Ok(StoredSample { timestamp_ms, start_timestamp_ms, value: StoredValue::Float(value) })
                });
            }
            Source::Integer(decoder) => decoder.next(),
            Source::Float(decoder) => decoder.next(),
        };
        match advanced {
            Ok(false) => return None,
            Ok(true) => {}
            Err(error) => {
                self.failed = true;
                return Some(Err(error));
            }
        }
        let (timestamp_ms, start_timestamp_ms, value) = match &self.source {
            Source::Floats(_) => return None,
            Source::Integer(d) => (d.t(), d.start_ms(), StoredValue::Histogram(d.stored())),
            Source::Float(d) => (d.t(), d.start_ms(), StoredValue::FloatHistogram(d.stored())),
        };
        Some(Ok(StoredSample { timestamp_ms, start_timestamp_ms, value }))
    }
}

impl Samples<'_> {
    /// How many samples the chunk says to have.
    pub fn count(&self) -> usize {
        match &self.source {
            Source::Floats(rows) => rows.len(),
            Source::Integer(decoder) => decoder.count(),
            Source::Float(decoder) => decoder.count(),
        }
    }
}
