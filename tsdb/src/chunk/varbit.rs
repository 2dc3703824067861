//! Numbers in as many bits as they need: the histogram chunks' and the start
//! times' coding.
//!
//! ```text
//! 0          0                  111110    + 18 bits
//! 10   + 3 bits                 1111110   + 25 bits
//! 110  + 6 bits                 11111110  + 56 bits
//! 1110 + 9 bits                 11111111  + 64 bits
//! 11110 + 12 bits
//! ```
//!
//! A signed field of n bits holds -(2^(n-1) - 1) … 2^(n-1), as upstream's does:
//! the half goes to the positive side.

use super::ChunkError;
use super::bits::{BitReader, BitWriter, SliceWriter};

/// Prefix bits and field bits of each class behind the single `0`.
const CLASSES: [(u32, u32); 8] = [(2, 3), (3, 6), (4, 9), (5, 12), (6, 18), (7, 25), (8, 56), (8, 64)];

/// Whether a number fits a signed field of `bits`, the half counted positive.
#[inline(always)]
pub(crate) fn fits_signed(value: i64, bits: u32) -> bool {
    let half = 1i64 << (bits - 1);
    -(half - 1) <= value && value <= half
}

/// The number that a signed field of `bits` (below 64) holds.
#[inline(always)]
pub(crate) fn from_signed(field: u64, bits: u32) -> i64 {
    if field > 1 << (bits - 1) { field.wrapping_sub(1 << bits) as i64 } else { field as i64 }
}

/// Prefix, its length, and the field's length for class `class`.
fn class(class: usize) -> (u64, u32, u32) {
    let (prefix_bits, field_bits) = CLASSES[class];
    // All ones, closed by a zero except in the last class.
    let ones = (1u64 << prefix_bits) - 1;
    (if class == 7 { ones } else { ones - 1 }, prefix_bits, field_bits)
}

fn signed_class(value: i64) -> usize {
    (0..7).find(|&c| fits_signed(value, CLASSES[c].1)).unwrap_or(7)
}

fn unsigned_class(value: u64) -> usize {
    (0..7).find(|&c| value >> CLASSES[c].1 == 0).unwrap_or(7)
}

/// Writes a class and a field through `put`.
fn put_field(class_number: usize, value: u64, mut put: impl FnMut(u64, u32)) {
    let (prefix, prefix_bits, field_bits) = class(class_number);
    if field_bits == 64 {
        put(prefix, prefix_bits);
        put(value, 64);
    } else {
        put(prefix << field_bits | value & ((1 << field_bits) - 1), prefix_bits + field_bits);
    }
}

impl BitWriter {
    /// Writes a signed number.
    pub(crate) fn put_varbit_int(&mut self, value: i64) {
        if value == 0 {
            return self.put(0, 1);
        }
        put_field(signed_class(value), value as u64, |bits, count| self.put(bits, count));
    }

    /// Writes an unsigned number.
    pub(crate) fn put_varbit_uint(&mut self, value: u64) {
        if value == 0 {
            return self.put(0, 1);
        }
        put_field(unsigned_class(value), value, |bits, count| self.put(bits, count));
    }
}

impl SliceWriter<'_> {
    /// Writes a signed number.
    pub(crate) fn put_varbit_int(&mut self, value: i64) {
        if value == 0 {
            return self.put(0, 1);
        }
        put_field(signed_class(value), value as u64, |bits, count| self.put(bits, count));
    }
}

impl BitReader<'_> {
    /// The next field and its width, 0 for the single zero bit.
    #[inline(always)]
    fn take_field(&mut self) -> (u64, u32) {
        let word = self.peek();
        let ones = word.leading_ones();
        if ones == 0 {
            self.skip(1);
            return (0, 0);
        }
        let (prefix_bits, field_bits) = CLASSES[(ones.min(8) - 1) as usize];
        if field_bits <= 25 {
            self.skip(prefix_bits + field_bits);
            ((word << prefix_bits) >> (64 - field_bits), field_bits)
        } else {
            self.skip(prefix_bits);
            (self.take(field_bits), field_bits)
        }
    }

    /// The next signed number.
    #[inline(always)]
    pub(crate) fn take_varbit_int(&mut self) -> i64 {
        match self.take_field() {
            (field, 0 | 64) => field as i64,
            (field, bits) => from_signed(field, bits),
        }
    }

    /// The next unsigned number.
    #[inline(always)]
    pub(crate) fn take_varbit_uint(&mut self) -> u64 {
        self.take_field().0
    }

    /// The next unsigned number, refused above a limit.
    pub(crate) fn take_varbit_uint_max(&mut self, max: u64, what: &'static str) -> Result<u64, ChunkError> {
        let value = self.take_varbit_uint();
        self.check()?;
        if value > max { Err(ChunkError::Malformed(what)) } else { Ok(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_boundary_survives() {
        let mut numbers = vec![0, i64::MIN, i64::MAX];
        for (_, bits) in &CLASSES[..7] {
            let half = 1i64 << (bits - 1);
            numbers.extend([half - 1, half, half + 1, 1 - half, -half, -half - 1, 1 - 2 * half, 2 * half]);
        }
        let mut writer = BitWriter::default();
        let mut buffer = vec![0; 4096];
        let mut slice = SliceWriter::new(&mut buffer, 0);
        for &number in &numbers {
            writer.put_varbit_int(number);
            slice.put_varbit_int(number);
        }
        for &number in &numbers {
            writer.put_varbit_uint(number as u64);
        }
        let whole = slice.position() / 8;
        assert_eq!(writer.bytes()[..whole], buffer[..whole]);
        let mut reader = BitReader::new(writer.bytes(), 0);
        for &number in &numbers {
            assert_eq!(reader.take_varbit_int(), number);
        }
        for &number in &numbers {
            assert_eq!(reader.take_varbit_uint(), number as u64);
        }
        assert!(!reader.overrun());
    }

    #[test]
    fn the_half_is_positive() {
        let mut writer = BitWriter::default();
        writer.put_varbit_int(4);
        writer.put_varbit_int(-3);
        // 10 100, 10 101
        assert_eq!(writer.bytes(), [0b1010_0101, 0b0100_0000]);
        let mut writer = BitWriter::default();
        writer.put_varbit_int(-4);
        assert_eq!(writer.bytes(), [0b1101_1110, 0]);
    }
}
