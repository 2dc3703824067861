//! XOR2 chunks: floats with the time and value control bits joined, staleness
//! markers in five bits, and room for start timestamps.
//!
//! ```text
//! ┌─────────┬───────────┬──────┬─────────┬──────────────┬─────────┬─ …
//! │ count   │ ST header │ t0   │ v0      │ t0 - st0     │ t1 - t0 │
//! │ 2 bytes │ 1 byte    │varint│ 64 bits │ varint, if   │ uvarint │
//! └─────────┴───────────┴──────┴─────────┴──────────────┴─────────┴─ …
//!
//! from the third sample on         behind a ΔΔt that is not 0, and for v1
//! 0        ΔΔt 0, same value       0     same value
//! 10       ΔΔt 0, window follows   10    kept window
//! 110      13 bits of ΔΔt          110   new window
//! 1110     20 bits                 111   stale
//! 11110    64 bits                 behind 10 alone: 0 kept, 1 new
//! 11111    ΔΔt 0, stale
//! ```
//!
//! A staleness marker never becomes what the next value is compared with.

use super::bits::{BitReader, SliceWriter};
use super::start::{CHANGE_INDEX_MAX, StartDecoder, StartField, StartState};
use super::xor::{Window, XorState};
use super::{COUNT_LEN, ChunkError};

/// Offset of the start timestamps' header byte.
const START_HEADER_AT: usize = COUNT_LEN;
const HEADER_LEN: usize = START_HEADER_AT + 1;
const _: () = assert!(HEADER_LEN == 3);

/// Starts a chunk in a buffer.
///
/// # Panics
/// The buffer is shorter than the header.
pub fn start(buffer: &mut [u8]) -> XorState {
    buffer[..HEADER_LEN].fill(0);
    XorState::empty(HEADER_LEN)
}

/// Appends a sample of a chunk in which no sample has a start timestamp. Buffer
/// as for [`super::xor::append`].
///
/// # Panics
/// As [`super::xor::append`].
#[inline]
pub fn append(state: &mut XorState, buffer: &mut [u8], timestamp_ms: i64, value: f64) {
    let (index, previous_ms, delta) = (state.samples, state.last_t, state.last_delta);
    append_sample(state, buffer, timestamp_ms, value);
    if index >= CHANGE_INDEX_MAX {
        // The header cannot say "none" past this index: from here on each sample
        // carries its distance to a start timestamp of 0.
        let field = if index == CHANGE_INDEX_MAX {
            buffer[START_HEADER_AT] = CHANGE_INDEX_MAX as u8;
            previous_ms
        } else {
            delta as i64
        };
        put_start(state, buffer, |out| out.put_varbit_int(field));
    }
}

/// Appends a sample with its start timestamp (0: unknown). Once a chunk has
/// been appended to in this way it must be until its end.
///
/// # Panics
/// As [`super::xor::append`].
pub fn append_with_start(
    state: &mut XorState,
    starts: &mut StartState,
    buffer: &mut [u8],
    start_timestamp_ms: i64,
    timestamp_ms: i64,
    value: f64,
) {
    let (index, previous_ms) = (state.samples, state.last_t);
    append_sample(state, buffer, timestamp_ms, value);
    match starts.next(index, previous_ms, timestamp_ms, start_timestamp_ms) {
        StartField::Nothing => return,
        StartField::First(field) => put_start(state, buffer, |out| out.put_varint(field)),
        StartField::Diff(field) => put_start(state, buffer, |out| out.put_varbit_int(field)),
    }
    buffer[START_HEADER_AT] = starts.header;
}

fn put_start(state: &mut XorState, buffer: &mut [u8], put: impl FnOnce(&mut SliceWriter<'_>)) {
    let mut out = SliceWriter::new(buffer, state.bit_len());
    put(&mut out);
    let end = out.position();
    state.set_end(end, state.last_value_bits() == model::STALE_NAN_BITS);
}

#[inline(always)]
fn append_sample(state: &mut XorState, buffer: &mut [u8], timestamp_ms: i64, value: f64) {
    assert!(state.has_room(), "a chunk holds at most 65535 samples");
    let mut out = SliceWriter::new(buffer, state.bit_len());
    let bits = value.to_bits();
    let stale = bits == model::STALE_NAN_BITS;
    let delta = timestamp_ms.wrapping_sub(state.last_t) as u64;
    match state.samples {
        0 => {
            out.put_varint(timestamp_ms);
            out.put(bits, 64);
        }
        1 => {
            out.put_uvarint(delta);
            put_value(state, &mut out, bits);
            state.last_delta = delta;
        }
        _ => {
            let dod = delta.wrapping_sub(state.last_delta) as i64;
            state.last_delta = delta;
            if dod == 0 {
                let diff = bits ^ state.baseline;
                if stale {
                    out.put(0b11111, 5);
                } else if diff == 0 {
                    out.put(0, 1);
                } else {
                    state.put_window(&mut out, diff, (0b100, 3), (0b101, 3));
                }
            } else {
                put_delta_of_delta(&mut out, dod);
                put_value(state, &mut out, bits);
            }
        }
    }
    state.last_t = timestamp_ms;
    if !stale {
        state.baseline = bits;
    }
    state.samples += 1;
    let end = out.position();
    state.set_end(end, stale);
}

fn put_delta_of_delta(out: &mut SliceWriter<'_>, dod: i64) {
    let fits = |bits: u32| dod >= -(1 << (bits - 1)) && dod < 1 << (bits - 1);
    let field = |bits: u32| dod as u64 & ((1 << bits) - 1);
    if fits(13) {
        out.put(0b110 << 13 | field(13), 16);
    } else if fits(20) {
        out.put(0b1110 << 20 | field(20), 24);
    } else {
        out.put(0b11110, 5);
        out.put(dod as u64, 64);
    }
}

fn put_value(state: &mut XorState, out: &mut SliceWriter<'_>, bits: u64) {
    if bits == model::STALE_NAN_BITS {
        return out.put(0b111, 3);
    }
    let diff = bits ^ state.baseline;
    if diff == 0 {
        out.put(0, 1);
    } else {
        state.put_window(out, diff, (0b10, 2), (0b110, 3));
    }
}

/// The state that a chunk's bytes were left in, to append more.
///
/// # Errors
/// The bytes are no XOR2 chunk.
pub fn resume(bytes: &[u8]) -> Result<(XorState, StartState), ChunkError> {
    let mut decoder = Xor2Decoder::new(bytes)?;
    let mut timestamps = [0; 64];
    let mut values = [0.0; 64];
    while decoder.read < decoder.count {
        let n = (decoder.count - decoder.read).min(64);
        decoder.fill(&mut timestamps[..n], &mut values[..n], None, i64::MAX)?;
    }
    Ok((decoder.state(), decoder.starts.state()))
}

/// Decodes a chunk from its start.
pub(super) struct Xor2Decoder<'a> {
    reader: BitReader<'a>,
    count: usize,
    read: usize,
    t: i64,
    delta: u64,
    baseline: u64,
    stale: bool,
    window: Window,
    starts: StartDecoder,
}

impl<'a> Xor2Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Xor2Decoder<'a>, ChunkError> {
        let count = super::read_count(bytes)? as usize;
        let header = *bytes.get(START_HEADER_AT).ok_or(ChunkError::Truncated)?;
        let reader = BitReader::new(bytes, HEADER_LEN);
        if count > reader.left() {
            return Err(ChunkError::Truncated);
        }
        Ok(Xor2Decoder {
            reader,
            count,
            read: 0,
            t: i64::MIN,
            delta: 0,
            baseline: 0,
            stale: false,
            window: Window::default(),
            starts: StartDecoder::new(header),
        })
    }

    /// Samples of the whole chunk.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn state(&self) -> XorState {
        let mut state = XorState::empty(HEADER_LEN);
        if self.count > 0 {
            state.last_t = self.t;
        }
        state.last_delta = self.delta;
        state.baseline = self.baseline;
        state.samples = self.count as u16;
        (state.leading, state.trailing) = self.window.parts();
        state.set_end(self.reader.position(), self.stale);
        state
    }

    /// As [`super::xor::XorDecoder::fill`]; `starts`, if given, is as long as
    /// the others.
    pub(super) fn fill(
        &mut self,
        timestamps: &mut [i64],
        values: &mut [f64],
        mut starts: Option<&mut [i64]>,
        end_ms: i64,
    ) -> Result<usize, ChunkError> {
        let wanted = timestamps.len().min(values.len()).min(self.count - self.read);
        let (timestamps, values) = (&mut timestamps[..wanted], &mut values[..wanted]);
        // Up to this index no sample is followed by a start timestamp, so that
        // runs of zero bits are runs of equal samples.
        let plain_until = self.starts.change_index().unwrap_or(usize::MAX);
        let mut i = 0;
        while i < wanted {
            let index = self.read + i;
            if index >= 2 && index < plain_until {
                let limit = (wanted - i).min(plain_until - index).min(57);
                let same = (self.reader.peek().leading_zeros() as usize).min(limit);
                if same > 0 {
                    for slot in &mut timestamps[i..i + same] {
                        self.t = self.t.wrapping_add(self.delta as i64);
                        *slot = self.t;
                    }
                    values[i..i + same].fill(f64::from_bits(self.baseline));
                    if let Some(starts) = starts.as_deref_mut() {
                        starts[i..i + same].fill(self.starts.current_ms());
                    }
                    self.stale = false;
                    self.reader.skip(same as u32);
                    i += same;
                    if self.t > end_ms {
                        break;
                    }
                    continue;
                }
            }
            let previous_ms = self.t;
            let value = self.sample(index)?;
            self.starts.read(&mut self.reader, index, previous_ms, self.t)?;
            timestamps[i] = self.t;
            values[i] = f64::from_bits(value);
            if let Some(starts) = starts.as_deref_mut() {
                starts[i] = self.starts.current_ms();
            }
            i += 1;
            if self.t > end_ms {
                break;
            }
        }
        self.read += i;
        self.reader.check()?;
        Ok(i)
    }

    /// Reads one sample without its start timestamp and answers its value.
    #[inline(always)]
    fn sample(&mut self, index: usize) -> Result<u64, ChunkError> {
        match index {
            0 => {
                self.t = self.reader.take_varint()?;
                let value = self.reader.take(64);
                self.stale = value == model::STALE_NAN_BITS;
                if !self.stale {
                    self.baseline = value;
                }
                Ok(value)
            }
            1 => {
                self.delta = self.reader.take_uvarint()?;
                self.t = self.t.wrapping_add(self.delta as i64);
                let word = self.reader.peek();
                self.value(word, 0)
            }
            _ => self.joint(),
        }
    }

    /// Time and value from the joined control bits on.
    #[inline(always)]
    fn joint(&mut self) -> Result<u64, ChunkError> {
        let word = self.reader.peek();
        let ones = word.leading_ones();
        if let 2 | 3 = ones {
            let (prefix, bits) = if ones == 2 { (3, 13) } else { (4, 20) };
            let dod = ((word << prefix) as i64) >> (64 - bits);
            self.delta = self.delta.wrapping_add(dod as u64);
            self.t = self.t.wrapping_add(self.delta as i64);
            return self.value(word << (prefix + bits), prefix + bits);
        }
        if ones == 4 {
            self.reader.skip(5);
            self.delta = self.delta.wrapping_add(self.reader.take(64));
            self.t = self.t.wrapping_add(self.delta as i64);
            let word = self.reader.peek();
            return self.value(word, 0);
        }
        self.t = self.t.wrapping_add(self.delta as i64);
        match ones {
            0 => {
                self.reader.skip(1);
                self.stale = false;
            }
            1 => {
                self.reader.skip(3);
                self.stale = false;
                self.baseline ^= if word >> 61 == 0b100 {
                    self.window.take_kept(&mut self.reader)
                } else {
                    self.window.take_new(&mut self.reader)?
                };
            }
            _ => {
                self.reader.skip(5);
                self.stale = true;
                return Ok(model::STALE_NAN_BITS);
            }
        }
        Ok(self.baseline)
    }

    /// The value behind a ΔΔt that is not 0. `word` holds the bits at the
    /// reader's position plus `used`, at least three of them right.
    #[inline(always)]
    fn value(&mut self, word: u64, used: u32) -> Result<u64, ChunkError> {
        self.stale = false;
        match word.leading_ones() {
            0 => self.reader.skip(used + 1),
            1 => {
                self.reader.skip(used + 2);
                self.baseline ^= self.window.take_kept(&mut self.reader);
            }
            2 => {
                self.reader.skip(used + 3);
                self.baseline ^= self.window.take_new(&mut self.reader)?;
            }
            _ => {
                self.reader.skip(used + 3);
                self.stale = true;
                return Ok(model::STALE_NAN_BITS);
            }
        }
        Ok(self.baseline)
    }
}
