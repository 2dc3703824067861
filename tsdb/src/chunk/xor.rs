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

use super::bits::{BitReader, SliceWriter, front_ones};
use super::varbit::{fits_signed, from_signed};
use super::{COUNT_LEN, ChunkError};

/// An append may write so many bytes behind the end of a float chunk, some of
/// which are scratch: the room a buffer must have.
pub const APPEND_BYTES_MAX: usize = 48;

/// No window of significant bits is known yet.
const NO_WINDOW: u8 = 0xff;
/// So many equal samples are a run to a decoder: fewer are as soon read singly.
pub(super) const RUN_MIN: u32 = 4;
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
    #[inline]
    pub fn last_timestamp_ms(&self) -> i64 {
        self.last_t
    }

    /// Bits of the newest value.
    #[inline]
    pub fn last_value_bits(&self) -> u64 {
        if self.end & STALE != 0 { model::STALE_NAN_BITS } else { self.baseline }
    }

    /// The newest value, 0 without samples.
    #[inline]
    pub fn last_value(&self) -> f64 {
        f64::from_bits(self.last_value_bits())
    }

    /// How many samples the chunk has.
    #[inline]
    pub fn num_samples(&self) -> u16 {
        self.samples
    }

    /// How many bytes the chunk has.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.bit_len().div_ceil(8)
    }

    #[inline]
    pub(super) fn bit_len(&self) -> usize {
        (self.end & !STALE) as usize
    }

    #[inline]
    pub(super) fn set_end(&mut self, bits: usize, stale: bool) {
        self.end = bits as u32 | if stale { STALE } else { 0 };
    }

    /// Writes the number of samples into the header of the chunk's bytes or of
    /// a copy of them.
    #[inline]
    pub fn seal(&self, bytes: &mut [u8]) {
        bytes[..COUNT_LEN].copy_from_slice(&self.samples.to_be_bytes());
    }

    /// Whether another sample of any size may be appended.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.samples < u16::MAX
    }

    /// Writes the significant bits of `diff`, which is not 0, behind the control
    /// bits that say whether the window is kept (`reuse`) or new, and those
    /// behind `before` (at most 24 bits), which came first: all in one store
    /// where they fit it.
    #[inline(always)]
    pub(super) fn put_window(
        &mut self,
        out: &mut SliceWriter<'_>,
        diff: u64,
        before: Code,
        reuse: Code,
        new: Code,
    ) {
        let leading = diff.leading_zeros().min(LEADING_MAX);
        let trailing = diff.trailing_zeros();
        let known = self.leading != NO_WINDOW;
        let (header, significant) =
            if known && leading >= u32::from(self.leading) && trailing >= u32::from(self.trailing) {
                (before.then(reuse), 64 - u32::from(self.leading) - u32::from(self.trailing))
            } else {
                self.leading = leading as u8;
                self.trailing = trailing as u8;
                let significant = 64 - leading - trailing;
                let window = Code(u64::from(leading) << 6 | u64::from(significant & 63), 11);
                (before.then(new).then(window), significant)
            };
        let field = diff >> self.trailing;
        if header.1 + significant <= 64 {
            out.put(header.0 << significant | field, header.1 + significant);
        } else {
            out.put(header.0, header.1);
            out.put(field, significant);
        }
    }
}

/// Some bits, in the lowest places, and how many.
#[derive(Clone, Copy)]
pub(super) struct Code(pub(super) u64, pub(super) u32);

impl Code {
    /// No bits.
    pub(super) const NONE: Code = Code(0, 0);

    /// These bits, then others.
    #[inline(always)]
    pub(super) fn then(self, next: Code) -> Code {
        Code(self.0 << next.1 | next.0, self.1 + next.1)
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
    append_at(state, buffer, 0, timestamp_ms, value);
}

/// As [`append`] to a piece of the chunk's bytes alone: `window` holds those from
/// byte `origin` on, which is at most the last byte in use, and
/// [`APPEND_BYTES_MAX`] more.
///
/// # Panics
/// As [`append`].
#[inline]
pub fn append_at(state: &mut XorState, window: &mut [u8], origin: usize, timestamp_ms: i64, value: f64) {
    assert!(state.has_room(), "a chunk holds at most 65535 samples");
    let mut out = SliceWriter::new(window, state.bit_len() - origin * 8);
    let bits = value.to_bits();
    match state.samples {
        0 => {
            out.put_varint(timestamp_ms);
            out.put(bits, 64);
        }
        1 => {
            state.last_delta = timestamp_ms.wrapping_sub(state.last_t) as u64;
            out.put_uvarint(state.last_delta);
            put_value(state, &mut out, Code::NONE, bits);
        }
        _ => {
            let delta = timestamp_ms.wrapping_sub(state.last_t) as u64;
            let dod = delta.wrapping_sub(state.last_delta) as i64;
            state.last_delta = delta;
            if dod == 0 && bits == state.baseline {
                out.put_zeros(2);
            } else {
                let code = delta_of_delta(&mut out, dod);
                put_value(state, &mut out, code, bits);
            }
        }
    }
    state.last_t = timestamp_ms;
    state.baseline = bits;
    state.samples += 1;
    let end = out.position() + origin * 8;
    state.set_end(end, false);
}

/// The bits of a ΔΔt; those of the longest class are written at once.
#[inline(always)]
fn delta_of_delta(out: &mut SliceWriter<'_>, dod: i64) -> Code {
    let field = |bits: u32| Code(dod as u64 & ((1 << bits) - 1), bits);
    if dod == 0 {
        Code(0, 1)
    } else if fits_signed(dod, 14) {
        Code(0b10, 2).then(field(14))
    } else if fits_signed(dod, 17) {
        Code(0b110, 3).then(field(17))
    } else if fits_signed(dod, 20) {
        Code(0b1110, 4).then(field(20))
    } else {
        out.put(0b1111, 4);
        out.put(dod as u64, 64);
        Code::NONE
    }
}

#[inline(always)]
fn put_value(state: &mut XorState, out: &mut SliceWriter<'_>, before: Code, bits: u64) {
    let diff = bits ^ state.baseline;
    if diff == 0 {
        let Code(all, count) = before.then(Code(0, 1));
        out.put(all, count);
    } else {
        state.put_window(out, diff, before, Code(0b10, 2), Code(0b11, 2));
    }
}

/// The state that a chunk's bytes were left in, to append more.
///
/// # Errors
/// The bytes are no XOR chunk, or have other bits than zeros behind the last sample.
pub fn resume(bytes: &[u8]) -> Result<XorState, ChunkError> {
    let mut decoder = XorDecoder::new(bytes)?;
    decoder.run_to_end()?;
    decoder.reader.check_padding()?;
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
#[derive(Clone, Copy)]
pub(super) struct Window {
    leading: u32,
    significant: u32,
    /// Ones where the window is, and before it.
    mask: u64,
    known: bool,
}

impl Default for Window {
    /// Before any window was given it is all 64 bits: so upstream writes after a restart.
    fn default() -> Window {
        Window { leading: 0, significant: 64, mask: u64::MAX, known: false }
    }
}

impl Window {
    /// Leading and trailing zeros, for [`XorState`].
    pub(super) fn parts(self) -> (u8, u8) {
        if self.known { (self.leading as u8, self.mask.trailing_zeros() as u8) } else { (NO_WINDOW, 0) }
    }

    /// The difference behind `used` bits of `word` that end in a kept window's
    /// control bits.
    #[inline(always)]
    pub(super) fn take_kept(&mut self, reader: &mut BitReader<'_>, word: u64, used: u32) -> u64 {
        self.known = true;
        (reader.take_behind(word, used, self.significant) >> self.leading) & self.mask
    }

    /// The difference behind `used` bits of `word` (at most 46) that end in a new
    /// window's control bits.
    #[inline(always)]
    pub(super) fn take_new(
        &mut self,
        reader: &mut BitReader<'_>,
        word: u64,
        used: u32,
    ) -> Result<u64, ChunkError> {
        let header = (word << used) >> 53;
        self.leading = (header >> 6) as u32;
        self.significant = match (header & 63) as u32 {
            0 => 64,
            bits => bits,
        };
        let Some(trailing) = 64u32.checked_sub(self.leading + self.significant) else {
            return Err(ChunkError::Malformed("a value has more than 64 bits"));
        };
        self.mask = u64::MAX << trailing;
        Ok(self.take_kept(reader, word, used + 11))
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
            let mut word = reader.peek();
            let mut used = 1;
            if word >> 63 == 1 {
                (delta, used) = match front_ones(word) {
                    ones @ 1..=3 => {
                        let bits = 11 + 3 * ones;
                        let dod = from_signed((word << (ones + 1)) >> (64 - bits), bits);
                        (delta.wrapping_add(dod as u64), ones + 1 + bits)
                    }
                    _ => {
                        reader.skip(4);
                        let dod = reader.take(64);
                        word = reader.peek();
                        (delta.wrapping_add(dod), 0)
                    }
                };
            } else if word >> (64 - 2 * RUN_MIN) == 0 {
                let same = (word.leading_zeros() as usize / 2).min(28).min(wanted - i);
                let run = (&mut timestamps[i..i + same], &mut values[i..i + same]);
                t = fill_run(run, t, delta, f64::from_bits(value));
                reader.skip(same as u32 * 2);
                i += same;
                continue;
            }
            value ^= take_diff(&mut reader, &mut window, word, used)?;
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

/// Fills in samples that are as the one before, which was at `t`; answers the time
/// of the last. Apart from the loops that use it: else each of their rounds would
/// make ready for a run.
#[inline(never)]
pub(super) fn fill_run(
    (timestamps, values): (&mut [i64], &mut [f64]),
    mut t: i64,
    delta: u64,
    value: f64,
) -> i64 {
    for slot in timestamps {
        t = t.wrapping_add(delta as i64);
        *slot = t;
    }
    values.fill(value);
    t
}

/// The difference of a value to the one before, behind `used` bits (at most 24)
/// of `word`, the reader's last look.
#[inline(always)]
fn take_diff(
    reader: &mut BitReader<'_>,
    window: &mut Window,
    word: u64,
    used: u32,
) -> Result<u64, ChunkError> {
    let control = word << used;
    if control >> 63 == 0 {
        reader.skip(used + 1);
        Ok(0)
    } else if control >> 62 == 0b10 {
        Ok(window.take_kept(reader, word, used + 2))
    } else {
        window.take_new(reader, word, used + 2)
    }
}
