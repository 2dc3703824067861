//! Whole-byte fields: fixed-width numbers (big endian everywhere), base-128
//! numbers as Go's `encoding/binary` writes them, and strings behind a length.

use crate::chunk::bits::{unzigzag, zigzag};
use crate::corruption::Damage;

/// Reads fields from the front of a slice.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Cursor<'a> {
    /// Reads a slice from its start.
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: bytes, len: bytes.len() }
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    /// The bytes between this place and a later one of the same slice.
    pub(crate) fn rest_until(&self, later: &Cursor<'a>) -> &'a [u8] {
        &self.rest[..self.rest.len() - later.rest.len()]
    }

    /// Bytes not read yet.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Damage> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(Damage::Short { what, need: count as u64, have: self.rest.len() as u64 }),
        }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Damage> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(Damage::Short { what, need: N as u64, have: self.rest.len() as u64 }),
        }
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Damage> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn be_u32(&mut self, what: &'static str) -> Result<u32, Damage> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(crate) fn be_u64(&mut self, what: &'static str) -> Result<u64, Damage> {
        self.array(what).map(u64::from_be_bytes)
    }

    pub(crate) fn be_i64(&mut self, what: &'static str) -> Result<i64, Damage> {
        self.array(what).map(i64::from_be_bytes)
    }

    pub(crate) fn be_f64(&mut self, what: &'static str) -> Result<f64, Damage> {
        self.be_u64(what).map(f64::from_bits)
    }

    /// A base-128 number of at most ten bytes.
    #[inline]
    pub(crate) fn uvarint(&mut self, what: &'static str) -> Result<u64, Damage> {
        if let [byte, rest @ ..] = self.rest
            && *byte < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_uvarint(what)
    }

    fn long_uvarint(&mut self, what: &'static str) -> Result<u64, Damage> {
        let mut value = 0u64;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            if i == 9 && byte > 1 {
                return Err(Damage::Malformed("a varint has more than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        let have = self.rest.len() as u64;
        Err(Damage::Short { what, need: have + 1, have })
    }

    /// A zig-zag base-128 number.
    #[inline]
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<i64, Damage> {
        self.uvarint(what).map(unzigzag)
    }

    /// A number of things that take at least `bytes_each` bytes: refused where
    /// there are not so many bytes left, before anything is allocated.
    pub(crate) fn count(&mut self, bytes_each: usize, what: &'static str) -> Result<usize, Damage> {
        let count = self.uvarint(what)?;
        let limit = (self.left() / bytes_each) as u64;
        if count > limit {
            return Err(Damage::OutOfRange { what, found: count, limit });
        }
        Ok(count as usize)
    }

    /// Bytes behind their length.
    pub(crate) fn prefixed(&mut self, what: &'static str) -> Result<&'a [u8], Damage> {
        let len = self.count(1, what)?;
        self.take(len, what)
    }

    /// A string behind its length.
    pub(crate) fn string(&mut self, what: &'static str) -> Result<&'a str, Damage> {
        std::str::from_utf8(self.prefixed(what)?).map_err(|_| Damage::Utf8(what))
    }
}

/// Writes a base-128 number.
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of the longest varint.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

/// Writes a zig-zag varint at a place of a buffer and answers where it ends.
#[inline]
pub(crate) fn set_varint(out: &mut [u8], mut at: usize, value: i64) -> usize {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out[at] = rest as u8 | 0x80;
        at += 1;
        rest >>= 7;
    }
    out[at] = rest as u8;
    at + 1
}

/// Writes a zig-zag base-128 number.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, zigzag(value));
}

/// Writes a string behind its length.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive() {
        let mut out = Vec::new();
        let values = [0, 1, 127, 128, 300, u64::MAX];
        for value in values {
            put_uvarint(&mut out, value);
            put_varint(&mut out, value as i64);
        }
        let mut cursor = Cursor::new(&out);
        for value in values {
            assert_eq!(cursor.uvarint("a number"), Ok(value));
            assert_eq!(cursor.varint("a number"), Ok(value as i64));
        }
        assert!(cursor.is_empty());
    }

    #[test]
    fn overlong_and_cut_numbers_are_refused() {
        assert!(Cursor::new(&[0x80; 9]).uvarint("a number").is_err());
        assert!(Cursor::new(&[0xff; 12]).uvarint("a number").is_err());
        assert!(Cursor::new(&[5, 1, 2]).prefixed("a string").is_err());
        assert!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).count(8, "things").is_err());
    }
}
