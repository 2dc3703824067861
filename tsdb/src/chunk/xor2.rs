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

use super::bits::{BitReader, SliceWriter, front_ones};
use super::start::{CHANGE_INDEX_MAX, StartDecoder, StartField, StartState};
use super::xor::{Code, RUN_MIN, Window, XorState, fill_run};
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
            put_value(state, &mut out, Code::NONE, bits);
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
                    out.put_zeros(1);
                } else {
                    state.put_window(&mut out, diff, Code::NONE, Code(0b100, 3), Code(0b101, 3));
                }
            } else {
                let code = delta_of_delta(&mut out, dod);
                put_value(state, &mut out, code, bits);
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

/// The bits of a ΔΔt that is not 0; those of the longest class are written at once.
#[inline(always)]
fn delta_of_delta(out: &mut SliceWriter<'_>, dod: i64) -> Code {
    let fits = |bits: u32| dod >= -(1 << (bits - 1)) && dod < 1 << (bits - 1);
    let field = |bits: u32| Code(dod as u64 & ((1 << bits) - 1), bits);
    if fits(13) {
        Code(0b110, 3).then(field(13))
    } else if fits(20) {
        Code(0b1110, 4).then(field(20))
    } else {
        out.put(0b11110, 5);
        out.put(dod as u64, 64);
        Code::NONE
    }
}

#[inline(always)]
fn put_value(state: &mut XorState, out: &mut SliceWriter<'_>, before: Code, bits: u64) {
    let diff = bits ^ state.baseline;
    if bits == model::STALE_NAN_BITS {
        let Code(all, count) = before.then(Code(0b111, 3));
        out.put(all, count);
    } else if diff == 0 {
        let Code(all, count) = before.then(Code(0, 1));
        out.put(all, count);
    } else {
        state.put_window(out, diff, before, Code(0b10, 2), Code(0b110, 3));
    }
}

/// The state that a chunk's bytes were left in, to append more.
///
/// # Errors
/// The bytes are no XOR2 chunk, or have other bits than zeros behind the last sample.
pub fn resume(bytes: &[u8]) -> Result<(XorState, StartState), ChunkError> {
    let mut decoder = Xor2Decoder::new(bytes)?;
    let mut timestamps = [0; 64];
    let mut values = [0.0; 64];
    while decoder.read < decoder.count {
        let n = (decoder.count - decoder.read).min(64);
        decoder.fill(&mut timestamps[..n], &mut values[..n], None, i64::MAX)?;
    }
    decoder.reader.check_padding()?;
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
        // Up to this index no sample is followed by a start timestamp: there runs
        // of zero bits are runs of equal samples.
        let plain_until =
            self.starts.change_index().unwrap_or(usize::MAX).saturating_sub(self.read).min(wanted);
        let mut i = 0;
        while i < wanted {
            let index = self.read + i;
            if index >= 2 && i < plain_until {
                let upto =
                    self.fill_plain(&mut timestamps[i..plain_until], &mut values[i..plain_until], end_ms)?;
                if let Some(starts) = starts.as_deref_mut() {
                    starts[i..i + upto].fill(self.starts.current_ms());
                }
                i += upto;
            } else {
                let previous_ms = self.t;
                let value = self.sample(index)?;
                self.starts.read(&mut self.reader, index, previous_ms, self.t)?;
                timestamps[i] = self.t;
                values[i] = f64::from_bits(value);
                if let Some(starts) = starts.as_deref_mut() {
                    starts[i] = self.starts.current_ms();
                }
                i += 1;
            }
            if self.t > end_ms {
                break;
            }
        }
        self.read += i;
        self.reader.check()?;
        Ok(i)
    }

    /// Decodes samples from the third on that no start timestamp follows, until
    /// the slices are full or a sample is later than `end_ms`.
    ///
    /// Plain: control bits, then maybe a ΔΔt, then maybe the changed bits. Zero
    /// bits at the front are counted at once; what a sample has is taken out of
    /// one load where it fits.
    fn fill_plain(
        &mut self,
        timestamps: &mut [i64],
        values: &mut [f64],
        end_ms: i64,
    ) -> Result<usize, ChunkError> {
        let wanted = timestamps.len().min(values.len());
        let (mut t, mut delta, mut baseline, mut stale) = (self.t, self.delta, self.baseline, self.stale);
        let mut reader = self.reader.clone();
        let mut window = self.window;
        let mut i = 0;
        while i < wanted && t <= end_ms {
            let word = reader.peek();
            if word >> (64 - RUN_MIN) == 0 {
                let same = (word.leading_zeros() as usize).min(57).min(wanted - i);
                let run = (&mut timestamps[i..i + same], &mut values[i..i + same]);
                t = fill_run(run, t, delta, f64::from_bits(baseline));
                stale = false;
                reader.skip(same as u32);
                i += same;
                continue;
            }
            stale = take_joint(&mut reader, &mut window, word, &mut delta, &mut baseline)?;
            t = t.wrapping_add(delta as i64);
            timestamps[i] = t;
            values[i] = f64::from_bits(if stale { model::STALE_NAN_BITS } else { baseline });
            i += 1;
        }
        (self.t, self.delta, self.baseline, self.stale) = (t, delta, baseline, stale);
        self.reader = reader;
        self.window = window;
        Ok(i)
    }

    /// Reads one sample without its start timestamp and answers its value.
    fn sample(&mut self, index: usize) -> Result<u64, ChunkError> {
        if index == 0 {
            self.t = self.reader.take_varint()?;
            let value = self.reader.take(64);
            self.stale = value == model::STALE_NAN_BITS;
            if !self.stale {
                self.baseline = value;
            }
            return Ok(value);
        }
        let (reader, window) = (&mut self.reader, &mut self.window);
        self.stale = if index == 1 {
            self.delta = reader.take_uvarint()?;
            let word = reader.peek();
            take_value(reader, window, word, 0, &mut self.baseline)?
        } else {
            let word = reader.peek();
            take_joint(reader, window, word, &mut self.delta, &mut self.baseline)?
        };
        self.t = self.t.wrapping_add(self.delta as i64);
        Ok(if self.stale { model::STALE_NAN_BITS } else { self.baseline })
    }
}

/// A sample from the joined control bits on, at the front of `word`. Answers
/// whether it is a staleness marker.
#[inline(always)]
fn take_joint(
    reader: &mut BitReader<'_>,
    window: &mut Window,
    word: u64,
    delta: &mut u64,
    baseline: &mut u64,
) -> Result<bool, ChunkError> {
    if word >> 63 == 0 {
        reader.skip(1);
        return Ok(false);
    }
    let ones = front_ones(word);
    if ones == 1 {
        *baseline ^= match word >> 61 {
            0b100 => window.take_kept(reader, word, 3),
            _ => window.take_new(reader, word, 3)?,
        };
        return Ok(false);
    }
    if ones <= 3 {
        let (prefix, bits) = if ones == 2 { (3, 13) } else { (4, 20) };
        let dod = ((word << prefix) as i64) >> (64 - bits);
        *delta = delta.wrapping_add(dod as u64);
        return take_value(reader, window, word, prefix + bits, baseline);
    }
    reader.skip(5);
    if word >> 59 & 1 == 1 {
        return Ok(true);
    }
    *delta = delta.wrapping_add(reader.take(64));
    let word = reader.peek();
    take_value(reader, window, word, 0, baseline)
}

/// The value behind `used` bits (at most 24) of `word`. Answers whether it is a
/// staleness marker.
#[inline(always)]
fn take_value(
    reader: &mut BitReader<'_>,
    window: &mut Window,
    word: u64,
    used: u32,
    baseline: &mut u64,
) -> Result<bool, ChunkError> {
    let control = word << used;
    if control >> 63 == 0 {
        reader.skip(used + 1);
    } else if control >> 62 == 0b10 {
        *baseline ^= window.take_kept(reader, word, used + 2);
    } else if control >> 61 == 0b110 {
        *baseline ^= window.take_new(reader, word, used + 3)?;
    } else {
        reader.skip(used + 3);
        return Ok(true);
    }
    Ok(false)
}
