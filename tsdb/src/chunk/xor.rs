//! XOR chunks: floats as upstream has always stored them.
//!
//! ```text
//! ┌─────────┬───────────┬─────────┬────────────┬─────────┬──────────┬─────────┬─ …
//! │ count   │ t0        │ v0      │ t1 - t0    │ v1 ^ v0 │ ΔΔt      │ v2 ^ v1 │
//! │ 2 bytes │ varint    │ 64 bits │ uvarint    │ window  │ class    │ window  │
//! └─────────┴───────────┴─────────┴────────────┴─────────┴──────────┴─────────┴─ …
//! ```
//!
//! The appender's state is apart from the bytes ([`XorState`], 32 bytes, `Copy`)
//! so that a head can keep it in an array; the bytes lie in any buffer with
//! [`APPEND_BYTES_MAX`] to spare. The count in the header is **not** written by
//! an append, to touch one cache line less: [`XorState::seal`] writes it into a
//! copy before anybody reads it.

use super::bits::{BitReader, SliceWriter};
use super::varbit::{fits_signed, from_signed};
use super::{COUNT_LEN, ChunkError};

/// An append may write so many bytes behind the end of a float chunk, some of
/// which are scratch: the room a buffer must have.
pub const APPEND_BYTES_MAX: usize = 48;

/// No window of significant bits is known yet.
const NO_WINDOW: u8 = 0xff;
/// Leading zeros are counted in five bits.
const LEADING_MAX: u32 = 31;
/// In [`XorState::end`]: the newest sample is a staleness marker.
const STALE: u32 = 1 << 31;

const _: () = assert!(size_of::<XorState>() == 32);

/// Where an open float chunk (XOR or XOR2) stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XorState {
    pub(super) last_t: i64,
    /// `t[n] - t[n-1]`, modulo 2^64.
    pub(super) last_delta: u64,
    /// Bits of the value that the next one is compared with. In XOR2 that is
    /// the newest that is no staleness marker.
    pub(super) baseline: u64,
    /// Bits of the chunk so far, and [`STALE`].
    end: u32,
    pub(super) samples: u16,
    pub(super) leading: u8,
    pub(super) trailing: u8,
}

impl XorState {
    /// The state of a chunk without samples whose header has `header_len` bytes.
    pub(super) fn empty(header_len: usize) -> XorState {
        XorState {
            last_t: i64::MIN,
            last_delta: 0,
            baseline: 0,
            end: header_len as u32 * 8,
            samples: 0,
            leading: NO_WINDOW,
            trailing: 0,
        }
    }

    /// Time of the newest sample, `i64::MIN` without samples.
    pub fn last_timestamp_ms(&self) -> i64 {
        self.last_t
    }

    /// Bits of the newest value.
    pub fn last_value_bits(&self) -> u64 {
        if self.end & STALE != 0 { model::STALE_NAN_BITS } else { self.baseline }
    }

    /// The newest value, 0 without samples.
    pub fn last_value(&self) -> f64 {
        f64::from_bits(self.last_value_bits())
    }

    /// How many samples the chunk has.
    pub fn num_samples(&self) -> u16 {
        self.samples
    }

    /// How many bytes the chunk has.
    pub fn byte_len(&self) -> usize {
        self.bit_len().div_ceil(8)
    }

    pub(super) fn bit_len(&self) -> usize {
        (self.end & !STALE) as usize
    }

    pub(super) fn set_end(&mut self, bits: usize, stale: bool) {
        self.end = bits as u32 | if stale { STALE } else { 0 };
    }

    /// Writes the number of samples into the header of the chunk's bytes or of
    /// a copy of them.
    pub fn seal(&self, bytes: &mut [u8]) {
        bytes[..COUNT_LEN].copy_from_slice(&self.samples.to_be_bytes());
    }

    /// Whether another sample of any size may be appended.
    pub fn has_room(&self) -> bool {
        self.samples < u16::MAX
    }

    /// Writes the significant bits of `diff`, which is not 0, behind one or two
    /// control bits that say whether the window is kept (`reuse`) or new.
    #[inline(always)]
    pub(super) fn put_window(
        &mut self,
        out: &mut SliceWriter<'_>,
        diff: u64,
        reuse: (u64, u32),
        new: (u64, u32),
    ) {
        let leading = diff.leading_zeros().min(LEADING_MAX);
        let trailing = diff.trailing_zeros();
        let known = self.leading != NO_WINDOW;
        if known && leading >= u32::from(self.leading) && trailing >= u32::from(self.trailing) {
            let significant = 64 - u32::from(self.leading) - u32::from(self.trailing);
            let field = diff >> self.trailing;
            if reuse.1 + significant <= 64 {
                out.put(reuse.0 << significant | field, reuse.1 + significant);
            } else {
                out.put(reuse.0, reuse.1);
                out.put(field, significant);
            }
            return;
        }
        self.leading = leading as u8;
        self.trailing = trailing as u8;
        let significant = 64 - leading - trailing;
        let header = (new.0 << 5 | u64::from(leading)) << 6 | u64::from(significant & 63);
        let header_bits = new.1 + 11;
        let field = diff >> trailing;
        if header_bits + significant <= 64 {
            out.put(header << significant | field, header_bits + significant);
        } else {
            out.put(header, header_bits);
            out.put(field, significant);
        }
    }
}

/// Starts a chunk in a buffer.
///
/// # Panics
/// The buffer is shorter than the header.
pub fn start(buffer: &mut [u8]) -> XorState {
    buffer[..COUNT_LEN].fill(0);
    XorState::empty(COUNT_LEN)
}

/// Appends a sample to a chunk.
///
/// `buffer` holds the chunk's bytes and at least [`APPEND_BYTES_MAX`] more.
///
/// # Panics
/// The buffer is too short, or the chunk holds 65535 samples already.
#[inline]
pub fn append(state: &mut XorState, buffer: &mut [u8], timestamp_ms: i64, value: f64) {
    assert!(state.has_room(), "a chunk holds at most 65535 samples");
    let mut out = SliceWriter::new(buffer, state.bit_len());
    let bits = value.to_bits();
    match state.samples {
        0 => {
            out.put_varint(timestamp_ms);
            out.put(bits, 64);
        }
        1 => {
            state.last_delta = timestamp_ms.wrapping_sub(state.last_t) as u64;
            out.put_uvarint(state.last_delta);
            put_value(state, &mut out, bits);
        }
        _ => {
            let delta = timestamp_ms.wrapping_sub(state.last_t) as u64;
            let dod = delta.wrapping_sub(state.last_delta) as i64;
            state.last_delta = delta;
            if dod == 0 && bits == state.baseline {
                out.put(0, 2);
            } else {
                put_delta_of_delta(&mut out, dod);
                put_value(state, &mut out, bits);
            }
        }
    }
    state.last_t = timestamp_ms;
    state.baseline = bits;
    state.samples += 1;
    let end = out.position();
    state.set_end(end, false);
}

fn put_delta_of_delta(out: &mut SliceWriter<'_>, dod: i64) {
    let field = |bits: u32| dod as u64 & ((1 << bits) - 1);
    if dod == 0 {
        out.put(0, 1);
    } else if fits_signed(dod, 14) {
        out.put(0b10 << 14 | field(14), 16);
    } else if fits_signed(dod, 17) {
        out.put(0b110 << 17 | field(17), 20);
    } else if fits_signed(dod, 20) {
        out.put(0b1110 << 20 | field(20), 24);
    } else {
        out.put(0b1111, 4);
        out.put(dod as u64, 64);
    }
}

fn put_value(state: &mut XorState, out: &mut SliceWriter<'_>, bits: u64) {
    let diff = bits ^ state.baseline;
    if diff == 0 {
        out.put(0, 1);
    } else {
        state.put_window(out, diff, (0b10, 2), (0b11, 2));
    }
}

/// The state that a chunk's bytes were left in, to append more.
///
/// # Errors
/// The bytes are no XOR chunk.
pub fn resume(bytes: &[u8]) -> Result<XorState, ChunkError> {
    let mut decoder = XorDecoder::new(bytes)?;
    decoder.run_to_end()?;
    Ok(decoder.state())
}

/// Decodes a chunk from its start.
pub(super) struct XorDecoder<'a> {
    reader: BitReader<'a>,
    count: usize,
    read: usize,
    t: i64,
    delta: u64,
    value: u64,
    window: Window,
}

/// Which bits of a difference are stored.
#[derive(Clone, Copy, Default)]
pub(super) struct Window {
    leading: u32,
    trailing: u32,
    known: bool,
}

impl Window {
    /// For [`XorState`].
    pub(super) fn parts(self) -> (u8, u8) {
        if self.known { (self.leading as u8, self.trailing as u8) } else { (NO_WINDOW, 0) }
    }

    /// The difference behind the control bits of a kept window. Before any was
    /// given it is all 64 bits: so upstream writes after a restart.
    #[inline(always)]
    pub(super) fn take_kept(&mut self, reader: &mut BitReader<'_>) -> u64 {
        self.known = true;
        reader.take(64 - self.leading - self.trailing) << self.trailing
    }

    /// The difference behind the control bits of a new window.
    #[inline(always)]
    pub(super) fn take_new(&mut self, reader: &mut BitReader<'_>) -> Result<u64, ChunkError> {
        let header = reader.peek() >> 53;
        reader.skip(11);
        let leading = (header >> 6) as u32;
        let significant = match (header & 63) as u32 {
            0 => 64,
            bits => bits,
        };
        if leading + significant > 64 {
            return Err(ChunkError::Malformed("a value has more than 64 bits"));
        }
        *self = Window { leading, trailing: 64 - leading - significant, known: true };
        Ok(reader.take(significant) << self.trailing)
    }
}

impl<'a> XorDecoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<XorDecoder<'a>, ChunkError> {
        let count = super::read_count(bytes)? as usize;
        let reader = BitReader::new(bytes, COUNT_LEN);
        // Two bits is the least that a sample takes.
        if count > reader.left() / 2 {
            return Err(ChunkError::Truncated);
        }
        Ok(XorDecoder { reader, count, read: 0, t: i64::MIN, delta: 0, value: 0, window: Window::default() })
    }

    /// Samples of the whole chunk.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn state(&self) -> XorState {
        let mut state = XorState::empty(COUNT_LEN);
        state.last_t = self.t;
        state.last_delta = self.delta;
        state.baseline = self.value;
        state.samples = self.count as u16;
        (state.leading, state.trailing) = self.window.parts();
        state.set_end(self.reader.position(), false);
        state
    }

    fn run_to_end(&mut self) -> Result<(), ChunkError> {
        let mut timestamps = [0; 64];
        let mut values = [0.0; 64];
        while self.read < self.count {
            let n = (self.count - self.read).min(64);
            self.fill(&mut timestamps[..n], &mut values[..n], i64::MAX)?;
        }
        Ok(())
    }

    /// Decodes the next samples, as many as the slices hold, which must not be
    /// more than are left. Stops after the first sample later than `end_ms`.
    /// Answers how many were decoded.
    ///
    /// Plain: for each sample a class of ΔΔt, then the changed bits of the value.
    /// Runs of `0 0` (same distance, same value) are counted with one
    /// instruction and filled in; up to 57 bits come with each load, so that a
    /// sample takes one load, or two if its value's bits do not fit.
    pub(super) fn fill(
        &mut self,
        timestamps: &mut [i64],
        values: &mut [f64],
        end_ms: i64,
    ) -> Result<usize, ChunkError> {
        let wanted = timestamps.len().min(values.len()).min(self.count - self.read);
        let (timestamps, values) = (&mut timestamps[..wanted], &mut values[..wanted]);
        let mut i = 0;
        while i < wanted && self.read + i < 2 {
            if self.read + i == 0 {
                self.t = self.reader.take_varint()?;
                self.value = self.reader.take(64);
            } else {
                self.delta = self.reader.take_uvarint()?;
                self.t = self.t.wrapping_add(self.delta as i64);
                let word = self.reader.peek();
                self.value ^= take_diff(&mut self.reader, &mut self.window, word, 0)?;
            }
            timestamps[i] = self.t;
            values[i] = f64::from_bits(self.value);
            i += 1;
            if self.t > end_ms {
                return self.finish(i);
            }
        }
        let (mut t, mut delta, mut value) = (self.t, self.delta, self.value);
        let mut reader = self.reader.clone();
        let mut window = self.window;
        while i < wanted && t <= end_ms {
            let word = reader.peek();
            let same = (word.leading_zeros() as usize / 2).min(28).min(wanted - i);
            if same > 0 {
                for slot in &mut timestamps[i..i + same] {
                    t = t.wrapping_add(delta as i64);
                    *slot = t;
                }
                values[i..i + same].fill(f64::from_bits(value));
                reader.skip(same as u32 * 2);
                i += same;
                continue;
            }
            let ones = word.leading_ones();
            if ones <= 3 {
                let mut used = 1;
                if ones > 0 {
                    let bits = 11 + 3 * ones;
                    used = ones + 1 + bits;
                    let dod = from_signed((word << (ones + 1)) >> (64 - bits), bits);
                    delta = delta.wrapping_add(dod as u64);
                }
                value ^= take_diff(&mut reader, &mut window, word << used, used)?;
            } else {
                reader.skip(4);
                delta = delta.wrapping_add(reader.take(64));
                let word = reader.peek();
                value ^= take_diff(&mut reader, &mut window, word, 0)?;
            }
            t = t.wrapping_add(delta as i64);
            timestamps[i] = t;
            values[i] = f64::from_bits(value);
            i += 1;
        }
        (self.t, self.delta, self.value) = (t, delta, value);
        self.reader = reader;
        self.window = window;
        self.finish(i)
    }

    fn finish(&mut self, decoded: usize) -> Result<usize, ChunkError> {
        self.read += decoded;
        self.reader.check()?;
        Ok(decoded)
    }
}

/// The difference of a value to the one before. `word` holds the bits at the
/// reader's position plus `used`, at least two of them right.
#[inline(always)]
fn take_diff(
    reader: &mut BitReader<'_>,
    window: &mut Window,
    word: u64,
    used: u32,
) -> Result<u64, ChunkError> {
    match word >> 62 {
        0 | 1 => {
            reader.skip(used + 1);
            Ok(0)
        }
        2 => {
            reader.skip(used + 2);
            Ok(window.take_kept(reader))
        }
        _ => {
            reader.skip(used + 2);
            window.take_new(reader)
        }
    }
}
