//! Chunks: up to a few hundred samples of one series, packed bit by bit.
//!
//! The bytes here are the chunk's data alone: its length, encoding number and
//! checksum belong to the file it lies in (`block`, `head_chunks`). Every format
//! is upstream's, bit for bit; see `docs/format/chunks.md`.
//!
//! Going in: [`xor`], [`xor2`] (state apart from bytes) and [`histogram`].
//! Coming out: [`decode`] appends whole columns; [`samples`] yields what is
//! stored, for compaction.

pub(crate) mod bits;
pub(crate) mod varbit;

pub mod histogram;
pub mod samples;
pub mod start;
pub mod xor;
pub mod xor2;

mod decode;
mod layout;
pub(crate) mod reduce;
mod spans;

pub use decode::{DecodeStats, decode, time_bounds};
pub use histogram::{Appended, FloatHistogramAppender, HistogramAppender};
pub use model::query::ChunkEncoding;
pub use samples::{StoredSample, StoredValue};
pub use start::StartState;
pub use xor::{APPEND_BYTES_MAX, XorState};

/// Width of the sample count every chunk starts with.
pub const COUNT_LEN: usize = 2;
/// The histogram ST chunks keep their counter-reset flags in the count's top bits.
const COUNT_MASK_HISTOGRAM_ST: u16 = 0x3fff;

/// Why bytes are no chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The bytes end before the last sample does.
    #[error("ends before its last sample")]
    Truncated,
    /// The bytes break a rule of the encoding.
    #[error("{0}")]
    Malformed(&'static str),
    /// A histogram's schema is not one that is known.
    #[error("unknown histogram schema {0}")]
    UnknownSchema(i32),
}

/// The big-endian number that a chunk starts with.
fn read_count(bytes: &[u8]) -> Result<u16, ChunkError> {
    let head = bytes.first_chunk::<COUNT_LEN>().ok_or(ChunkError::Truncated)?;
    Ok(u16::from_be_bytes(*head))
}

/// How many samples a chunk says to have.
///
/// # Errors
/// The bytes are shorter than a header.
pub fn num_samples(encoding: ChunkEncoding, bytes: &[u8]) -> Result<u16, ChunkError> {
    let count = read_count(bytes)?;
    Ok(match encoding {
        ChunkEncoding::HistogramSt | ChunkEncoding::FloatHistogramSt => count & COUNT_MASK_HISTOGRAM_ST,
        _ => count,
    })
}
