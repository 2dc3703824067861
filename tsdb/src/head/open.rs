//! The chunk that a series is filling: when it ends, how it grows, what
//! becomes of it.
//!
//! A float chunk's state lies in the page's hot array and its bytes in a buffer
//! of a few sizes; histogram chunks are rarer and hold their own.

use model::STALE_NAN_BITS;
use model::query::ChunkEncoding;

use super::page::{PageData, flag};
use crate::chunk::xor::APPEND_BYTES_MAX;
use crate::chunk::{XorState, xor, xor2};

/// A float chunk of more bytes than this takes no further sample.
const FLOAT_CHUNK_BYTES_MAX: usize = 1024 - 19;
/// A share of this of the target count re-estimates where the chunk ends.
const ESTIMATE_SHARE: u16 = 4;

/// When chunks end and how they are encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkRules {
    /// Samples that a chunk aims at.
    pub(crate) samples: u16,
    /// No chunk crosses a multiple of this.
    pub(crate) range_ms: i64,
    /// Float chunks are XOR2.
    pub(crate) xor2: bool,
    /// Start timestamps are stored.
    pub(crate) starts: bool,
    /// Histogram chunks have room for start timestamps.
    pub(crate) histogram_starts: bool,
}

/// A chunk that takes no more samples.
#[derive(Clone, Debug)]
pub(crate) struct ClosedChunk {
    /// Its series.
    pub(crate) series_ref: u64,
    /// Time of its first sample.
    pub(crate) min_ms: i64,
    /// Time of its last sample.
    pub(crate) max_ms: i64,
    /// How its bytes are encoded.
    pub(crate) encoding: ChunkEncoding,
    /// Whether it holds out-of-order samples.
    pub(crate) out_of_order: bool,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

/// The first timestamp behind the aligned range that holds `t`.
pub(crate) fn range_end(t: i64, range_ms: i64) -> i64 {
    (t / range_ms).saturating_mul(range_ms).saturating_add(range_ms)
}

/// Where a chunk should end so that the rest of its range divides evenly, given
/// that a share of `1 / share` of it lies between `start` and `current`.
pub(crate) fn estimate_end(start: i64, current: i64, end: i64, share: f64) -> i64 {
    let n = (end.saturating_sub(start)) as f64 / ((current.saturating_sub(start) + 1) as f64 * share);
    if n <= 1.0 { end } else { (start as f64 + (end - start) as f64 / n.floor()) as i64 }
}

/// The sizes that buffers of open chunks have.
pub(super) fn buffer_size(needed: usize) -> usize {
    const SIZES: [usize; 19] =
        [32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1120];
    SIZES.into_iter().find(|&size| size >= needed).unwrap_or(needed)
}

/// Time of the first sample of an open float chunk.
pub(super) fn first_t(chunk: &[u8], xor2: bool) -> i64 {
    let mut value = 0u64;
    let at = if xor2 { 3 } else { 2 };
    for (i, &byte) in chunk[at..].iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            break;
        }
    }
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// An open float chunk that is put in place as it is.
pub(super) struct OpenFloats {
    pub(super) state: XorState,
    pub(super) chunk: Box<[u8]>,
    pub(super) xor2: bool,
    /// It ends before its first timestamp plus this, in ms.
    pub(super) end_after_ms: u32,
}

impl PageData {
    /// Makes a chunk the open one of series `i`, which has none.
    pub(super) fn put_open_floats(&mut self, i: usize, open: OpenFloats) {
        let hot = &mut self.hot[i];
        hot.float = open.state;
        hot.chunk = open.chunk;
        hot.xor2 = open.xor2;
        let end = first_t(&hot.chunk, hot.xor2).saturating_add(i64::from(open.end_after_ms));
        hot.ends_in_ms = span(hot.float.last_timestamp_ms(), end);
        hot.flags &= !(flag::HISTOGRAM | flag::STALE);
    }

    /// Adds a float to series `i`; its time is after all of its in-order samples.
    /// Answers the chunk before where a new one had to be started.
    pub(crate) fn push_float(
        &mut self,
        i: usize,
        t: i64,
        v: f64,
        start_ms: i64,
        rules: &ChunkRules,
    ) -> Option<ClosedChunk> {
        let stale = v.to_bits() == STALE_NAN_BITS;
        let hot = &mut self.hot[i];
        let mut closed = None;
        if hot.flags & flag::HISTOGRAM != 0 {
            closed = self.close_histogram(i);
            self.forget_histogram(i);
        } else if !hot.chunk.is_empty() && (self.is_full(i, t, rules) || self.hot[i].xor2 != rules.xor2) {
            closed = self.close_float(i);
        }
        let hot = &mut self.hot[i];
        if hot.chunk.is_empty() {
            hot.chunk = vec![0; buffer_size(1)].into();
            hot.float = if rules.xor2 { xor2::start(&mut hot.chunk) } else { xor::start(&mut hot.chunk) };
            hot.xor2 = rules.xor2;
            hot.ends_in_ms = span(t, range_end(t, rules.range_ms));
            if rules.starts {
                self.cold[i].extra_mut().starts = Default::default();
            }
        } else {
            hot.ends_in_ms = hot.ends_in_ms.saturating_sub(span(hot.float.last_timestamp_ms(), t));
        }
        let hot = &mut self.hot[i];
        if !hot.xor2 {
            append_xor(&mut hot.float, &mut hot.chunk, t, v);
        } else {
            resize(&mut hot.chunk, hot.float.byte_len(), hot.float.byte_len() + APPEND_BYTES_MAX);
            if rules.starts {
                let starts = &mut self.cold[i].extra_mut().starts;
                xor2::append_with_start(&mut hot.float, starts, &mut hot.chunk, start_ms, t, v);
            } else {
                xor2::append(&mut hot.float, &mut hot.chunk, t, v);
            }
        }
        let hot = &mut self.hot[i];
        hot.flags &= !(flag::HISTOGRAM | flag::STALE | flag::CONDEMNED);
        if stale {
            hot.flags |= flag::STALE;
        }
        closed
    }

    /// Whether the open float chunk of series `i` ends before time `t`.
    fn is_full(&mut self, i: usize, t: i64, rules: &ChunkRules) -> bool {
        let hot = &mut self.hot[i];
        let samples = hot.float.num_samples();
        if hot.float.byte_len() > FLOAT_CHUNK_BYTES_MAX {
            return true;
        }
        let last = hot.float.last_timestamp_ms();
        if samples == rules.samples / ESTIMATE_SHARE {
            let first = first_t(&hot.chunk, hot.xor2);
            let end = last.saturating_add(i64::from(hot.ends_in_ms));
            hot.ends_in_ms = span(last, estimate_end(first, last, end, f64::from(ESTIMATE_SHARE)));
        }
        t >= last.saturating_add(i64::from(hot.ends_in_ms)) || samples >= rules.samples.saturating_mul(2)
    }

    /// Ends the open float chunk of series `i`.
    pub(crate) fn close_float(&mut self, i: usize) -> Option<ClosedChunk> {
        let hot = &mut self.hot[i];
        if hot.chunk.is_empty() {
            return None;
        }
        let chunk = std::mem::take(&mut hot.chunk);
        let mut bytes = chunk[..hot.float.byte_len()].to_vec();
        hot.float.seal(&mut bytes);
        Some(ClosedChunk {
            series_ref: hot.series_ref,
            min_ms: first_t(&bytes, hot.xor2),
            max_ms: hot.float.last_timestamp_ms(),
            encoding: if hot.xor2 { ChunkEncoding::Xor2 } else { ChunkEncoding::Xor },
            out_of_order: false,
            bytes,
        })
    }

    /// Ends whatever chunk of series `i` is open.
    pub(crate) fn close_open(&mut self, i: usize) -> Option<ClosedChunk> {
        if self.hot[i].flags & flag::HISTOGRAM != 0 { self.close_histogram(i) } else { self.close_float(i) }
    }

    /// A copy of the open chunk of series `i` if it touches the range.
    pub(crate) fn copy_open(&self, i: usize, start_ms: i64, end_ms: i64) -> Option<ClosedChunk> {
        let hot = &self.hot[i];
        if hot.flags & flag::HISTOGRAM != 0 {
            let histogram = self.cold[i].extra.as_ref()?.histogram.as_ref()?;
            return histogram.copy(hot.series_ref).filter(|c| c.min_ms <= end_ms && c.max_ms >= start_ms);
        }
        if hot.chunk.is_empty() || hot.float.last_timestamp_ms() < start_ms {
            return None;
        }
        let min_ms = first_t(&hot.chunk, hot.xor2);
        if min_ms > end_ms {
            return None;
        }
        let mut bytes = hot.chunk[..hot.float.byte_len()].to_vec();
        hot.float.seal(&mut bytes);
        Some(ClosedChunk {
            series_ref: hot.series_ref,
            min_ms,
            max_ms: hot.float.last_timestamp_ms(),
            encoding: if hot.xor2 { ChunkEncoding::Xor2 } else { ChunkEncoding::Xor },
            out_of_order: false,
            bytes,
        })
    }

    /// Whether series `i` has an open chunk.
    pub(crate) fn has_open(&self, i: usize) -> bool {
        let hot = &self.hot[i];
        if hot.flags & flag::HISTOGRAM != 0 { self.open_min(i).is_some() } else { !hot.chunk.is_empty() }
    }

    /// Time of the first sample of the open chunk of series `i`.
    pub(crate) fn open_min(&self, i: usize) -> Option<i64> {
        let hot = &self.hot[i];
        if hot.flags & flag::HISTOGRAM != 0 {
            return self.cold[i].extra.as_ref()?.histogram.as_ref()?.min_ms();
        }
        (!hot.chunk.is_empty()).then(|| first_t(&hot.chunk, hot.xor2))
    }
}

/// Makes room for `needed` bytes, of which `used` are in use.
fn resize(chunk: &mut Box<[u8]>, used: usize, needed: usize) {
    if chunk.len() < needed {
        let mut grown = vec![0; buffer_size(needed)].into_boxed_slice();
        grown[..used].copy_from_slice(&chunk[..used]);
        *chunk = grown;
    }
}

/// Appends to a buffer that need not have room to spare: where the encoder might
/// touch bytes behind its end, it works on a piece of the stack, and only what
/// it wrote is kept. So a buffer is as long as the chunk, not as long as the
/// longest sample more.
fn append_xor(state: &mut XorState, chunk: &mut Box<[u8]>, t: i64, v: f64) {
    let used = state.byte_len();
    if chunk.len() >= used + APPEND_BYTES_MAX {
        return xor::append(state, chunk, t, v);
    }
    let from = used - 1;
    let mut window = [0; APPEND_BYTES_MAX + 16];
    window[0] = chunk[from];
    xor::append_at(state, &mut window, from, t, v);
    let end = state.byte_len();
    resize(chunk, used, end);
    chunk[from..end].copy_from_slice(&window[..end - from]);
}

/// The distance from `from` to `to` in ms as far as it can be kept.
pub(super) fn span(from: i64, to: i64) -> u32 {
    u32::try_from(to.saturating_sub(from).max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_end_divides_what_is_left_evenly() {
        // A quarter of a chunk took 30 samples of 15 s: a 2 h range has room for 4 chunks.
        assert_eq!(estimate_end(0, 29 * 15_000, 7_200_000, 4.0), 1_800_000);
        assert_eq!(estimate_end(0, 7_000_000, 7_200_000, 4.0), 7_200_000);
        assert_eq!(range_end(7_199_999, 7_200_000), 7_200_000);
        assert_eq!(range_end(7_200_000, 7_200_000), 14_400_000);
    }
}
