//! Bits, most significant first: how chunks are packed.
//!
//! Writing goes through a register: a piece of up to 64 bits is shifted to its
//! place and stored with the partial byte before it in one unaligned store.
//! Reading loads the eight bytes at the position and shifts away the bits that
//! were read: at least 57 bits come with one load. Past the end zeros are read;
//! whoever reads checks [`BitReader::overrun`] before believing anything.

use super::ChunkError;

/// Free bytes behind a [`SliceWriter`]'s position that one store may touch.
pub(crate) const STORE_SLACK: usize = 9;

/// How many ones stand at the front, counted up to four. A look into a table that
/// lies in a register: without a `lzcnt` among the machine's basic instructions,
/// counting them takes several times as long.
#[inline(always)]
pub(crate) fn front_ones(word: u64) -> u32 {
    const ONES_OF_FOUR_BITS: u64 = 0x4322_1111_0000_0000;
    (ONES_OF_FOUR_BITS >> ((word >> 60) * 4)) as u32 & 0xf
}

/// Writes bits into a buffer with room to spare, as open chunks have.
pub(crate) struct SliceWriter<'a> {
    buffer: &'a mut [u8],
    position: usize,
}

impl<'a> SliceWriter<'a> {
    /// Goes on writing at a bit position; bits of that byte before it are kept.
    #[inline(always)]
    pub(crate) fn new(buffer: &'a mut [u8], position: usize) -> SliceWriter<'a> {
        SliceWriter { buffer, position }
    }

    /// The position behind the last bit written.
    #[inline(always)]
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Writes the lowest `count` bits (1 to 64) of `value`, whose others are 0.
    #[inline(always)]
    pub(crate) fn put(&mut self, value: u64, count: u32) {
        debug_assert!((1..=64).contains(&count) && (count == 64 || value >> count == 0));
        let at = self.position >> 3;
        let used = (self.position & 7) as u32;
        let window = &mut self.buffer[at..at + STORE_SLACK];
        // Of the first byte only the bits before the position count.
        let kept = (u64::from(window[0]) << 56) & !(u64::MAX >> used);
        let end = used + count;
        if end <= 64 {
            window[..8].copy_from_slice(&(kept | value << (64 - end)).to_be_bytes());
        } else {
            let spilled = end - 64;
            window[..8].copy_from_slice(&(kept | value >> spilled).to_be_bytes());
            window[8] = (value << (8 - spilled)) as u8;
        }
        self.position += count as usize;
    }

    /// Writes `count` (1 to 8) zero bits. Those of the byte at the position are
    /// zero already, so that most often there is nothing to store: a series
    /// that does not change seldom touches its chunk.
    #[inline(always)]
    pub(crate) fn put_zeros(&mut self, count: u32) {
        let at = self.position >> 3;
        let used = (self.position & 7) as u32;
        if used == 0 {
            self.buffer[at] = 0;
        } else if used + count > 8 {
            self.buffer[at + 1] = 0;
        }
        self.position += count as usize;
    }

    /// Writes a base-128 number, eight bits a piece.
    pub(crate) fn put_uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.put(value, 8);
    }

    /// Writes a signed number zig-zag.
    pub(crate) fn put_varint(&mut self, value: i64) {
        self.put_uvarint(zigzag(value));
    }
}

/// Writes bits to the end of a vector.
#[derive(Clone, Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Unused bits of the last byte, 0 to 7.
    free: u32,
}

impl BitWriter {
    /// Goes on behind whole bytes.
    pub(crate) fn after(bytes: Vec<u8>) -> BitWriter {
        BitWriter { bytes, free: 0 }
    }

    /// Goes on behind bytes whose last has `free` unused bits.
    pub(crate) fn resume(bytes: Vec<u8>, free: u32) -> BitWriter {
        debug_assert!(free < 8);
        BitWriter { bytes, free }
    }

    /// What was written; the last byte is padded with zeros.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, to patch headers.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Gives the bytes away.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes the writer holds.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Writes the lowest `count` bits (0 to 64) of `value`, whose others are 0.
    pub(crate) fn put(&mut self, value: u64, mut count: u32) {
        debug_assert!(count == 64 || value >> count == 0);
        while count > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = count.min(self.free);
            let piece = (value >> (count - take)) as u8 & (0xff >> (8 - take));
            if let Some(last) = self.bytes.last_mut() {
                *last |= piece << (self.free - take);
            }
            self.free -= take;
            count -= take;
        }
    }

    /// Writes a signed number zig-zag in base 128, eight bits a piece.
    pub(crate) fn put_varint(&mut self, value: i64) {
        let mut value = zigzag(value);
        while value >= 0x80 {
            self.put(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.put(value, 8);
    }
}

/// Reads bits of a slice.
#[derive(Clone)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    /// Starts at a byte of the slice.
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> BitReader<'a> {
        BitReader { bytes, position: at * 8 }
    }

    /// The bit position.
    #[inline(always)]
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Bits of the whole slice.
    #[inline(always)]
    pub(crate) fn total(&self) -> usize {
        self.bytes.len() * 8
    }

    /// Refuses bits behind the position, in the byte it is in, that are not zero:
    /// writers fill up with zeros and rely on it.
    pub(crate) fn check_padding(&self) -> Result<(), ChunkError> {
        let used = self.position & 7;
        match self.bytes.get(self.position >> 3) {
            Some(last) if used > 0 && last << used != 0 => Err(ChunkError::Malformed("padding is not zero")),
            _ => Ok(()),
        }
    }

    /// Bits not read yet.
    #[inline(always)]
    pub(crate) fn left(&self) -> usize {
        self.total().saturating_sub(self.position)
    }

    /// Whether more was read than there is.
    #[inline(always)]
    pub(crate) fn overrun(&self) -> bool {
        self.position > self.total()
    }

    /// Makes [`BitReader::check`] fail: what was read cannot be.
    #[cold]
    pub(crate) fn fail(&mut self) {
        self.position = self.total() + 1;
    }

    /// [`ChunkError::Truncated`] where more was read than there is.
    #[inline(always)]
    pub(crate) fn check(&self) -> Result<(), ChunkError> {
        if self.overrun() { Err(ChunkError::Truncated) } else { Ok(()) }
    }

    /// The next bits, at the top of the word; at least 57 of them are right.
    #[inline(always)]
    pub(crate) fn peek(&self) -> u64 {
        let at = self.position >> 3;
        let word = match self.bytes.get(at..at + 8) {
            Some(window) => u64::from_be_bytes(window.try_into().expect("the window has eight bytes")),
            None => tail(self.bytes, at),
        };
        word << (self.position & 7)
    }

    /// Passes over bits.
    #[inline(always)]
    pub(crate) fn skip(&mut self, count: u32) {
        self.position += count as usize;
    }

    /// The next `count` bits (1 to 64).
    #[inline(always)]
    pub(crate) fn take(&mut self, count: u32) -> u64 {
        debug_assert!((1..=64).contains(&count));
        if count <= 57 {
            let value = self.peek() >> (64 - count);
            self.skip(count);
            value
        } else {
            let high = self.peek() >> 32;
            self.skip(32);
            let low = self.peek() >> (96 - count);
            self.skip(count - 32);
            high << (count - 32) | low
        }
    }

    /// The `count` bits (1 to 64) behind `used` ones, at the top of the word. Those
    /// were looked at in `word`, the last [`BitReader::peek`], and are passed over.
    /// Where that word has them all, memory is not asked again. Behind the bits
    /// stand any others.
    #[inline(always)]
    pub(crate) fn take_behind(&mut self, word: u64, used: u32, count: u32) -> u64 {
        if used + count <= 57 {
            self.skip(used + count);
            return word << used;
        }
        self.skip(used);
        if count <= 57 {
            let word = self.peek();
            self.skip(count);
            word
        } else {
            self.take(count) << (64 - count)
        }
    }

    /// A base-128 number of at most ten bytes.
    pub(crate) fn take_uvarint(&mut self) -> Result<u64, ChunkError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.take(8);
            if shift == 63 && byte > 1 {
                break;
            }
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                self.check()?;
                return Ok(value);
            }
        }
        Err(ChunkError::Malformed("a varint has more than 64 bits"))
    }

    /// A zig-zag number.
    pub(crate) fn take_varint(&mut self) -> Result<i64, ChunkError> {
        self.take_uvarint().map(unzigzag)
    }
}

/// The last bytes from one on, zeros behind them. It takes no reader, so that a
/// loop's reader can stay in registers.
#[cold]
fn tail(bytes: &[u8], at: usize) -> u64 {
    let mut window = [0; 8];
    if let Some(rest) = bytes.get(at..) {
        window[..rest.len()].copy_from_slice(rest);
    }
    u64::from_be_bytes(window)
}

/// A signed number as an unsigned one, small for small magnitudes.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag`].
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::Rng;

    #[test]
    fn ones_at_the_front_are_counted_up_to_four() {
        for top in 0..256u64 {
            for word in [top << 56, top << 56 | u64::MAX >> 8] {
                assert_eq!(front_ones(word), word.leading_ones().min(4), "{word:x}");
            }
        }
    }

    #[test]
    fn both_writers_agree_and_the_reader_gives_it_back() {
        let mut rng = Rng::new(7);
        let mut vector = BitWriter::default();
        let mut buffer = vec![0xaa; 40_000];
        let mut slice = SliceWriter::new(&mut buffer, 0);
        let mut written = Vec::new();
        for _ in 0..4_000 {
            if rng.one_in(3) {
                let count = 1 + rng.below(8) as u32;
                vector.put(0, count);
                slice.put_zeros(count);
                written.push((0, count));
                continue;
            }
            let count = 1 + rng.below(64) as u32;
            let value = rng.next_u64() >> (64 - count);
            vector.put(value, count);
            slice.put(value, count);
            written.push((value, count));
        }
        let bits = slice.position();
        let bytes = bits.div_ceil(8);
        assert_eq!(vector.bytes(), &buffer[..bytes]);
        let mut reader = BitReader::new(&buffer[..bytes], 0);
        for (value, count) in written {
            assert_eq!(reader.take(count), value);
        }
        assert_eq!(reader.position(), bits);
        assert!(!reader.overrun());
        reader.skip(8);
        assert!(reader.overrun());
    }

    #[test]
    fn varints_survive() {
        for value in [0, 1, -1, 63, 64, -65, i64::MAX, i64::MIN] {
            let mut writer = BitWriter::default();
            writer.put(1, 1);
            writer.put_varint(value);
            let mut reader = BitReader::new(writer.bytes(), 0);
            reader.skip(1);
            assert_eq!(reader.take_varint(), Ok(value));
        }
        assert!(BitReader::new(&[0xff; 16], 0).take_varint().is_err());
        assert!(BitReader::new(&[0x80; 3], 0).take_varint().is_err());
    }
}
