//! CRC-32C (Castagnoli): the one checksum of every file the store writes.
//!
//! Stored big endian behind the bytes it covers.

use crc_fast::{CrcAlgorithm, Digest};

/// Width of a stored checksum in bytes.
pub const CRC_LEN: usize = 4;

/// The checksum of some bytes.
///
/// ```
/// assert_eq!(tsdb::crc::crc32c(b"123456789"), 0xe306_9283);
/// ```
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// A checksum over bytes that come in pieces.
pub struct Crc {
    digest: Digest,
}

impl Default for Crc {
    fn default() -> Crc {
        Crc::new()
    }
}

impl Crc {
    /// The checksum of nothing.
    pub fn new() -> Crc {
        Crc { digest: Digest::new(CrcAlgorithm::Crc32Iscsi) }
    }

    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn finish(&self) -> u32 {
        self.digest.finalize() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_another_implementation_at_every_length() {
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for len in 0..bytes.len() {
            assert_eq!(crc32c(&bytes[..len]), crc32c::crc32c(&bytes[..len]), "length {len}");
        }
    }

    #[test]
    fn pieces_give_the_checksum_of_the_whole() {
        let mut crc = Crc::new();
        crc.update(b"1234");
        crc.update(b"");
        crc.update(b"56789");
        assert_eq!(crc.finish(), 0xe306_9283);
    }
}
