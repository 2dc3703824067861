//! Bodies of requests: bounded before they are unpacked.

use std::io::Read;

/// Most bytes of a body as sent.
pub const COMPRESSED_BYTES_MAX: usize = 32 << 20;
/// Most bytes of a body once unpacked.
pub const DECODED_BYTES_MAX: usize = 32 << 20;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Snappy's block format, upstream's only one.
    Snappy,
    /// Zstandard, which agents of other makers send.
    Zstd,
}

impl Encoding {
    /// The encoding of a `Content-Encoding` header; an empty one is snappy.
    pub fn from_header(value: &str) -> Option<Encoding> {
        match value.to_ascii_lowercase().as_str() {
            "" | "snappy" => Some(Encoding::Snappy),
            "zstd" => Some(Encoding::Zstd),
            _ => None,
        }
    }
}

/// Why a body cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The declared or actual size passes the limit.
    #[error("decoded body of {size} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// What was declared or reached.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// It is not packed as said.
    #[error("{0}")]
    Malformed(String),
}

/// How long a body says it is unpacked; `None` where it does not say, or lies.
pub fn declared_len(encoding: Encoding, body: &[u8]) -> Option<usize> {
    match encoding {
        Encoding::Snappy => snappy_len(body).ok(),
        Encoding::Zstd => None,
    }
}

fn snappy_len(body: &[u8]) -> Result<usize, BodyError> {
    let size = snap::raw::decompress_len(body).map_err(|error| BodyError::Malformed(error.to_string()))?;
    if size > DECODED_BYTES_MAX {
        return Err(BodyError::TooLarge { size, limit: DECODED_BYTES_MAX });
    }
    // Snappy copies at most 64 bytes for two bytes of input.
    if size > body.len().saturating_mul(32).saturating_add(64) {
        return Err(BodyError::Malformed(format!("snappy: {} bytes cannot hold {size}", body.len())));
    }
    Ok(size)
}

/// Unpacks a body into `out`, whose memory is used again; the size it declares
/// is checked before memory is taken. Answers the unpacked bytes.
///
/// # Errors
/// See [`BodyError`].
pub fn unpack<'o>(encoding: Encoding, body: &[u8], out: &'o mut Vec<u8>) -> Result<&'o [u8], BodyError> {
    match encoding {
        Encoding::Snappy => {
            let malformed = |error: snap::Error| BodyError::Malformed(error.to_string());
            let size = snappy_len(body)?;
            // What was unpacked before is written over: only growth costs zeros.
            if out.len() < size {
                out.resize(size, 0);
            }
            let len = snap::raw::Decoder::new().decompress(body, &mut out[..size]).map_err(malformed)?;
            Ok(&out[..len])
        }
        Encoding::Zstd => {
            let malformed = |error: std::io::Error| BodyError::Malformed(error.to_string());
            let decoder = zstd::stream::read::Decoder::new(body).map_err(malformed)?;
            out.clear();
            decoder.take(DECODED_BYTES_MAX as u64 + 1).read_to_end(out).map_err(malformed)?;
            if out.len() > DECODED_BYTES_MAX {
                return Err(BodyError::TooLarge { size: out.len(), limit: DECODED_BYTES_MAX });
            }
            Ok(out)
        }
    }
}

/// Buffers that bodies are unpacked into, kept for the next body.
#[derive(Default)]
pub struct Buffers {
    free: parking_lot::Mutex<Vec<Vec<u8>>>,
}

/// Buffers that are kept.
const BUFFERS_MAX: usize = 8;
/// Larger ones are given back to the system.
const BUFFER_BYTES_MAX: usize = 2 << 20;

impl Buffers {
    /// A buffer, with whatever was in it.
    pub fn take(&self) -> Vec<u8> {
        self.free.lock().pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub fn put(&self, buffer: Vec<u8>) {
        let mut free = self.free.lock();
        if free.len() < BUFFERS_MAX && buffer.capacity() <= BUFFER_BYTES_MAX {
            free.push(buffer);
        }
    }

    /// Gives all of them back to the system.
    pub fn clear(&self) {
        self.free.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_refused_by_what_it_declares() {
        let mut out = Vec::new();
        // A declared length of 4 GiB in front of nothing.
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        assert!(matches!(unpack(Encoding::Snappy, &bomb, &mut out), Err(BodyError::TooLarge { .. })));
        let lie = [0x80, 0x80, 0x80, 0x08, 0x00];
        assert!(matches!(unpack(Encoding::Snappy, &lie, &mut out), Err(BodyError::Malformed(_))));
        assert_eq!(declared_len(Encoding::Snappy, &bomb), None);
        assert_eq!(declared_len(Encoding::Snappy, &lie), None);
        let zeros = vec![0u8; DECODED_BYTES_MAX + 1];
        let bomb = zstd::bulk::compress(&zeros, 3).unwrap();
        assert!(bomb.len() < 10_000);
        assert!(matches!(unpack(Encoding::Zstd, &bomb, &mut out), Err(BodyError::TooLarge { .. })));
    }

    #[test]
    fn both_encodings_round_trip() {
        // Longer than what comes, and full of something else.
        let mut out = vec![7; 10_000];
        let text = b"some text, some text, some text".repeat(100);
        let packed = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        assert_eq!(unpack(Encoding::Snappy, &packed, &mut out).unwrap(), text);
        assert_eq!(declared_len(Encoding::Snappy, &packed), Some(text.len()));
        let packed = zstd::bulk::compress(&text, 3).unwrap();
        assert_eq!(unpack(Encoding::Zstd, &packed, &mut out).unwrap(), text);
        assert_eq!(declared_len(Encoding::Zstd, &packed), None);
    }

    #[test]
    fn buffers_come_back_and_large_ones_do_not_stay() {
        let buffers = Buffers::default();
        buffers.put(vec![1; 100]);
        assert_eq!(buffers.take().len(), 100);
        buffers.put(vec![0; BUFFER_BYTES_MAX + 1]);
        assert_eq!(buffers.take().capacity(), 0);
        (0..20).for_each(|_| buffers.put(vec![0; 1]));
        assert_eq!(buffers.free.lock().len(), BUFFERS_MAX);
    }
}
