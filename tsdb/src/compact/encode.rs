//! Samples into chunks of the usual size, kind by kind.

use model::{FloatHistogram, Histogram};

use crate::chunk::{
    APPEND_BYTES_MAX, Appended, ChunkEncoding, FloatHistogramAppender, HistogramAppender, StartState,
    StoredSample, StoredValue, xor, xor2,
};

/// Samples of a chunk that is encoded anew.
pub(super) const SAMPLES_MAX: usize = 120;

/// A chunk that was encoded anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewChunk {
    pub(super) min_ms: i64,
    pub(super) max_ms: i64,
    pub(super) encoding: ChunkEncoding,
    pub(super) bytes: Vec<u8>,
}

/// Gathers samples, ascending in time, and encodes them chunk by chunk. Start
/// timestamps are kept: a chunk with any gets an encoding that holds them.
pub(super) struct Encoder {
    /// Floats become XOR2.
    xor2: bool,
    floats: Vec<(i64, i64, f64)>,
    integers: Vec<(i64, i64, Histogram)>,
    float_histograms: Vec<(i64, i64, FloatHistogram)>,
    done: Vec<NewChunk>,
}

impl Encoder {
    pub(super) fn new(xor2: bool) -> Encoder {
        Encoder {
            xor2,
            floats: Vec::new(),
            integers: Vec::new(),
            float_histograms: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Adds a sample behind all others.
    pub(super) fn push(&mut self, sample: StoredSample) {
        let (t, start) = (sample.timestamp_ms, sample.start_timestamp_ms);
        let same_kind = match &sample.value {
            StoredValue::Float(_) => self.floats.len(),
            StoredValue::Histogram(_) => self.integers.len(),
            StoredValue::FloatHistogram(_) => self.float_histograms.len(),
        };
        let open = self.floats.len() + self.integers.len() + self.float_histograms.len();
        if open != same_kind || open >= SAMPLES_MAX {
            self.flush();
        }
        match sample.value {
            StoredValue::Float(v) => self.floats.push((t, start, v)),
            StoredValue::Histogram(h) => self.integers.push((t, start, h)),
            StoredValue::FloatHistogram(h) => self.float_histograms.push((t, start, h)),
        }
    }

    /// Ends the chunk that is being gathered.
    pub(super) fn flush(&mut self) {
        self.flush_floats();
        let with_start = self.integers.iter().any(|sample| sample.1 != 0);
        let encoding = if with_start { ChunkEncoding::HistogramSt } else { ChunkEncoding::Histogram };
        let mut appender = HistogramAppender::new(with_start);
        encode_histograms(&self.integers, encoding, &mut self.done, |start, t, h| {
            appender.append(start, t, h)
        });
        end_histograms(&self.integers, encoding, &mut self.done, || appender.into_bytes());
        self.integers.clear();
        let with_start = self.float_histograms.iter().any(|sample| sample.1 != 0);
        let encoding =
            if with_start { ChunkEncoding::FloatHistogramSt } else { ChunkEncoding::FloatHistogram };
        let mut appender = FloatHistogramAppender::new(with_start);
        encode_histograms(&self.float_histograms, encoding, &mut self.done, |start, t, h| {
            appender.append(start, t, h)
        });
        end_histograms(&self.float_histograms, encoding, &mut self.done, || appender.into_bytes());
        self.float_histograms.clear();
    }

    /// Takes the chunks that are complete.
    pub(super) fn take(&mut self) -> Vec<NewChunk> {
        std::mem::take(&mut self.done)
    }

    fn flush_floats(&mut self) {
        let (Some(first), Some(last)) = (self.floats.first(), self.floats.last()) else { return };
        let (min_ms, max_ms) = (first.0, last.0);
        let with_start = self.floats.iter().any(|sample| sample.1 != 0);
        let mut bytes = vec![0; (self.floats.len() + 2) * APPEND_BYTES_MAX];
        let encoding = if with_start || self.xor2 { ChunkEncoding::Xor2 } else { ChunkEncoding::Xor };
        let mut state =
            if encoding == ChunkEncoding::Xor2 { xor2::start(&mut bytes) } else { xor::start(&mut bytes) };
        let mut starts = StartState::default();
        for &(t, start, v) in &self.floats {
            match (with_start, encoding) {
                (true, _) => xor2::append_with_start(&mut state, &mut starts, &mut bytes, start, t, v),
                (false, ChunkEncoding::Xor2) => xor2::append(&mut state, &mut bytes, t, v),
                (false, _) => xor::append(&mut state, &mut bytes, t, v),
            }
        }
        state.seal(&mut bytes);
        bytes.truncate(state.byte_len());
        self.done.push(NewChunk { min_ms, max_ms, encoding, bytes });
        self.floats.clear();
    }
}

/// Appends histograms; chunks that a histogram ends (a counter reset, other
/// bounds) are added to `done` with their bounds in time.
fn encode_histograms<H>(
    samples: &[(i64, i64, H)],
    encoding: ChunkEncoding,
    done: &mut Vec<NewChunk>,
    mut append: impl FnMut(i64, i64, &H) -> Appended,
) {
    let mut first = 0;
    for (i, (t, start, h)) in samples.iter().enumerate() {
        if let Appended::NewChunk(bytes) = append(*start, *t, h) {
            done.push(NewChunk { min_ms: samples[first].0, max_ms: samples[i - 1].0, encoding, bytes });
            first = i;
        }
    }
}

/// Adds the chunk that is still open behind those of [`encode_histograms`].
fn end_histograms<H>(
    samples: &[(i64, i64, H)],
    encoding: ChunkEncoding,
    done: &mut Vec<NewChunk>,
    bytes: impl FnOnce() -> Vec<u8>,
) {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return };
    let since = done.last().map(|chunk| chunk.max_ms).filter(|&end| end >= first.0);
    let from = since.map_or(0, |end| samples.partition_point(|sample| sample.0 <= end));
    done.push(NewChunk { min_ms: samples[from].0, max_ms: last.0, encoding, bytes: bytes() });
}
