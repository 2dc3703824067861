//! Compression of single records: snappy's block format or one zstd frame, and
//! only where that is smaller.

use std::io::Read;

use super::segment::{SNAPPY_FLAG, ZSTD_FLAG};
use crate::corruption::Damage;

/// How a record's bytes are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy, block format.
    #[default]
    Snappy,
    /// Zstandard.
    Zstd,
}

/// A record decompresses to at most so many bytes: more than fits a segment
/// uncompressed is no record that was ever written.
pub const RECORD_BYTES_MAX: usize = 1 << 30;
/// Snappy never yields more than this many bytes for one.
const SNAPPY_RATIO_MAX: usize = 32;
/// What upstream's default level comes down to.
const ZSTD_LEVEL: i32 = 3;

impl Compression {
    /// The flag of a fragment's type byte.
    pub(super) fn flag(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Snappy => SNAPPY_FLAG,
            Compression::Zstd => ZSTD_FLAG,
        }
    }

    /// The method that a fragment's type byte names.
    pub(super) fn of_type_byte(byte: u8) -> Compression {
        if byte & SNAPPY_FLAG != 0 {
            Compression::Snappy
        } else if byte & ZSTD_FLAG != 0 {
            Compression::Zstd
        } else {
            Compression::None
        }
    }
}

/// A record as it goes into the log.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// How its bytes are compressed.
    pub compression: Compression,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl<'a> Payload<'a> {
    /// A record that is not compressed.
    pub fn plain(bytes: &'a [u8]) -> Payload<'a> {
        Payload { compression: Compression::None, bytes }
    }
}

/// Compresses records. One for each thread: it keeps its memory.
pub struct Compressor {
    compression: Compression,
    snappy: snap::raw::Encoder,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    buffer: Vec<u8>,
}

impl Compressor {
    /// A compressor of one method.
    pub fn new(compression: Compression) -> Compressor {
        Compressor {
            compression,
            snappy: snap::raw::Encoder::new(),
            zstd: match compression {
                // Without a context there is no compression, and the log works on.
                Compression::Zstd => zstd::bulk::Compressor::new(ZSTD_LEVEL).ok(),
                _ => None,
            },
            buffer: Vec::new(),
        }
    }

    /// The record as it is to be logged: compressed where that is smaller.
    pub fn compress<'a>(&'a mut self, record: &'a [u8]) -> Payload<'a> {
        let written = match self.compression {
            Compression::None => None,
            Compression::Snappy => {
                self.buffer.resize(snap::raw::max_compress_len(record.len()), 0);
                self.snappy.compress(record, &mut self.buffer).ok()
            }
            Compression::Zstd => {
                self.buffer.resize(zstd::zstd_safe::compress_bound(record.len()), 0);
                self.zstd.as_mut().and_then(|zstd| zstd.compress_to_buffer(record, &mut self.buffer[..]).ok())
            }
        };
        match written {
            Some(len) if len > 0 && len < record.len() => {
                Payload { compression: self.compression, bytes: &self.buffer[..len] }
            }
            _ => Payload::plain(record),
        }
    }

    /// Bytes it keeps.
    pub fn heap_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}

/// Decompresses records. One for each thread.
pub struct Decompressor {
    snappy: snap::raw::Decoder,
    buffer: Vec<u8>,
}

impl Default for Decompressor {
    fn default() -> Decompressor {
        Decompressor::new()
    }
}

impl Decompressor {
    /// A decompressor of all methods.
    pub fn new() -> Decompressor {
        Decompressor { snappy: snap::raw::Decoder::new(), buffer: Vec::new() }
    }

    /// The record behind a payload.
    ///
    /// # Errors
    /// The payload does not decompress, or to more than [`RECORD_BYTES_MAX`].
    pub fn decompress<'a>(&'a mut self, payload: Payload<'a>) -> Result<&'a [u8], Damage> {
        let failed = |codec: &'static str, message: String| Damage::Compression { codec, message };
        match payload.compression {
            Compression::None => Ok(payload.bytes),
            Compression::Snappy => {
                let len = snap::raw::decompress_len(payload.bytes)
                    .map_err(|error| failed("snappy", error.to_string()))?;
                let limit = payload.bytes.len().saturating_mul(SNAPPY_RATIO_MAX).min(RECORD_BYTES_MAX);
                if len > limit {
                    return Err(Damage::OutOfRange {
                        what: "decompressed length",
                        found: len as u64,
                        limit: limit as u64,
                    });
                }
                self.buffer.resize(len, 0);
                let written = self
                    .snappy
                    .decompress(payload.bytes, &mut self.buffer)
                    .map_err(|error| failed("snappy", error.to_string()))?;
                Ok(&self.buffer[..written])
            }
            Compression::Zstd => {
                self.buffer.clear();
                let decoder = zstd::stream::read::Decoder::with_buffer(payload.bytes)
                    .map_err(|error| failed("zstd", error.to_string()))?;
                let limit = RECORD_BYTES_MAX as u64;
                let read = decoder
                    .take(limit + 1)
                    .read_to_end(&mut self.buffer)
                    .map_err(|error| failed("zstd", error.to_string()))?;
                if read as u64 > limit {
                    return Err(Damage::OutOfRange {
                        what: "decompressed length",
                        found: read as u64,
                        limit,
                    });
                }
                Ok(&self.buffer)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_gives_the_record_back() {
        let record: Vec<u8> = (0..20_000u32).map(|i| (i / 50) as u8).collect();
        for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
            let mut compressor = Compressor::new(compression);
            let payload = compressor.compress(&record);
            assert_eq!(payload.compression, compression);
            assert_eq!(payload.bytes.len() < record.len(), compression != Compression::None);
            assert_eq!(Decompressor::new().decompress(payload), Ok(record.as_slice()));
        }
    }

    #[test]
    fn what_does_not_shrink_stays_plain() {
        for compression in [Compression::Snappy, Compression::Zstd] {
            let mut compressor = Compressor::new(compression);
            assert_eq!(compressor.compress(b"abc").compression, Compression::None);
            assert_eq!(compressor.compress(b"").bytes, b"");
        }
    }

    #[test]
    fn a_claimed_length_is_not_allocated() {
        let payload = Payload { compression: Compression::Snappy, bytes: &[0xff, 0xff, 0xff, 0xff, 0x0f, 0] };
        assert!(matches!(Decompressor::new().decompress(payload), Err(Damage::OutOfRange { .. })));
        let payload = Payload { compression: Compression::Zstd, bytes: b"no frame" };
        assert!(matches!(Decompressor::new().decompress(payload), Err(Damage::Compression { .. })));
    }
}
