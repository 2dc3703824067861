//! Samples older than their series' newest: kept apart until they are cut into
//! blocks of their own.
//!
//! A series holds up to a fixed number of them sorted and unencoded; when one
//! more comes, they are encoded (floats, whole and float histograms apart) and
//! written to the head chunk files, marked as out of order.

use model::HistogramValue;
use model::query::ChunkEncoding;

use super::open::{ChunkRules, ClosedChunk};
use super::page::FullChunk;
use crate::chunk::{
    APPEND_BYTES_MAX, Appended, FloatHistogramAppender, HistogramAppender, StartState, xor, xor2,
};

/// Out-of-order samples held unencoded a series.
pub(crate) const OPEN_SAMPLES_MAX: usize = 32;

/// The value of an out-of-order sample.
#[derive(Clone, Debug)]
pub(crate) enum OooValue {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(Box<HistogramValue>),
}

/// An out-of-order sample.
#[derive(Clone, Debug)]
pub(crate) struct OooSample {
    /// Its time.
    pub(crate) t: i64,
    /// Its start timestamp, 0 where unknown.
    pub(crate) start: i64,
    /// Its value.
    pub(crate) value: OooValue,
}

/// The out-of-order samples of a series.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutOfOrder {
    /// Unencoded, ascending in time.
    pub(crate) open: Vec<OooSample>,
    /// Encoded, in the order in which they were written; may overlap.
    pub(crate) full: Vec<FullChunk>,
}

impl OutOfOrder {
    /// Whether no more fits before the open samples are encoded.
    pub(crate) fn is_full(&self) -> bool {
        self.open.len() >= OPEN_SAMPLES_MAX
    }

    /// Puts a sample in its place; `false` where one of that time is there.
    pub(crate) fn insert(&mut self, sample: OooSample) -> bool {
        let at = self.open.partition_point(|have| have.t < sample.t);
        if self.open.get(at).is_some_and(|have| have.t == sample.t) {
            return false;
        }
        if self.open.len() == self.open.capacity() {
            self.open.reserve_exact((self.open.len() / 2).clamp(2, OPEN_SAMPLES_MAX));
        }
        self.open.insert(at, sample);
        true
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.full.is_empty()
    }

    /// Bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.open.capacity() * size_of::<OooSample>() + self.full.capacity() * size_of::<FullChunk>()
    }
}

/// Encodes samples ascending in time into as many chunks as their kinds need.
pub(crate) fn encode(series_ref: u64, samples: &[OooSample], rules: &ChunkRules) -> Vec<ClosedChunk> {
    let mut chunks = Vec::new();
    let mut from = 0;
    while from < samples.len() {
        let kind = kind_of(&samples[from].value);
        let len = samples[from..].iter().take_while(|sample| kind_of(&sample.value) == kind).count();
        let run = &samples[from..from + len];
        match kind {
            0 => encode_floats(series_ref, run, rules, &mut chunks),
            1 => encode_integers(series_ref, run, rules, &mut chunks),
            _ => encode_float_histograms(series_ref, run, rules, &mut chunks),
        }
        from += len;
    }
    chunks
}

fn kind_of(value: &OooValue) -> u8 {
    match value {
        OooValue::Float(_) => 0,
        OooValue::Histogram(value) => match value.as_ref() {
            HistogramValue::Integer(_) => 1,
            HistogramValue::Float(_) => 2,
        },
    }
}

fn chunk(series_ref: u64, min_ms: i64, max_ms: i64, encoding: ChunkEncoding, bytes: Vec<u8>) -> ClosedChunk {
    ClosedChunk { series_ref, min_ms, max_ms, encoding, out_of_order: true, bytes }
}

fn encode_floats(series_ref: u64, run: &[OooSample], rules: &ChunkRules, chunks: &mut Vec<ClosedChunk>) {
    let mut buffer = vec![0; 3 + run.len() * 32 + APPEND_BYTES_MAX];
    let mut starts = StartState::default();
    let mut state = if rules.xor2 { xor2::start(&mut buffer) } else { xor::start(&mut buffer) };
    for sample in run {
        let OooValue::Float(v) = sample.value else { continue };
        if !rules.xor2 {
            xor::append(&mut state, &mut buffer, sample.t, v);
        } else if rules.starts {
            xor2::append_with_start(&mut state, &mut starts, &mut buffer, sample.start, sample.t, v);
        } else {
            xor2::append(&mut state, &mut buffer, sample.t, v);
        }
    }
    state.seal(&mut buffer);
    buffer.truncate(state.byte_len());
    let encoding = if rules.xor2 { ChunkEncoding::Xor2 } else { ChunkEncoding::Xor };
    chunks.push(chunk(series_ref, run[0].t, run[run.len() - 1].t, encoding, buffer));
}

fn encode_integers(series_ref: u64, run: &[OooSample], rules: &ChunkRules, chunks: &mut Vec<ClosedChunk>) {
    let encoding = if rules.histogram_starts { ChunkEncoding::HistogramSt } else { ChunkEncoding::Histogram };
    let mut appender = HistogramAppender::new(rules.histogram_starts);
    let (mut min, mut max) = (run[0].t, run[0].t);
    for sample in run {
        let OooValue::Histogram(value) = &sample.value else { continue };
        let HistogramValue::Integer(h) = value.as_ref() else { continue };
        if let Appended::NewChunk(bytes) = appender.append(sample.start, sample.t, h) {
            chunks.push(chunk(series_ref, min, max, encoding, bytes));
            min = sample.t;
        }
        max = sample.t;
    }
    chunks.push(chunk(series_ref, min, max, encoding, appender.into_bytes()));
}

fn encode_float_histograms(
    series_ref: u64,
    run: &[OooSample],
    rules: &ChunkRules,
    chunks: &mut Vec<ClosedChunk>,
) {
    let encoding =
        if rules.histogram_starts { ChunkEncoding::FloatHistogramSt } else { ChunkEncoding::FloatHistogram };
    let mut appender = FloatHistogramAppender::new(rules.histogram_starts);
    let (mut min, mut max) = (run[0].t, run[0].t);
    for sample in run {
        let OooValue::Histogram(value) = &sample.value else { continue };
        let HistogramValue::Float(h) = value.as_ref() else { continue };
        if let Appended::NewChunk(bytes) = appender.append(sample.start, sample.t, h) {
            chunks.push(chunk(series_ref, min, max, encoding, bytes));
            min = sample.t;
        }
        max = sample.t;
    }
    chunks.push(chunk(series_ref, min, max, encoding, appender.into_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{FloatHistogram, Histogram};

    #[test]
    fn mixed_kinds_become_a_chunk_each() {
        let mut ooo = OutOfOrder::default();
        let value = |t: i64| match t % 3 {
            0 => OooValue::Float(1.0),
            1 => OooValue::Histogram(Box::new(HistogramValue::Integer(Histogram::default()))),
            _ => OooValue::Histogram(Box::new(HistogramValue::Float(FloatHistogram::default()))),
        };
        for t in [5, 3, 4, 0, 6] {
            assert!(ooo.insert(OooSample { t, start: 0, value: value(t) }));
        }
        assert!(!ooo.insert(OooSample { t: 4, start: 0, value: OooValue::Float(2.0) }));
        let rules = ChunkRules {
            samples: 120,
            range_ms: 7_200_000,
            xor2: false,
            starts: false,
            histogram_starts: false,
        };
        let chunks = encode(7, &ooo.open, &rules);
        let bounds: Vec<_> = chunks.iter().map(|c| (c.min_ms, c.max_ms, c.encoding)).collect();
        assert_eq!(
            bounds,
            [
                (0, 3, ChunkEncoding::Xor),
                (4, 4, ChunkEncoding::Histogram),
                (5, 5, ChunkEncoding::FloatHistogram),
                (6, 6, ChunkEncoding::Xor)
            ]
        );
    }
}
