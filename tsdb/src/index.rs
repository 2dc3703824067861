//! The index of a block: which series it has, where their chunks lie, and which
//! series have which label.
//!
//! ```text
//! ┌────────────┬───────────┐
//! │ BAAAD700 4 │ version 1 │
//! ├────────────┴───────────┤
//! │ symbols                │  every string once, sorted; named by its number
//! ├────────────────────────┤
//! │ series                 │  16-byte aligned, in label order; named by offset / 16
//! ├────────────────────────┤
//! │ postings               │  lists of series, one for each label pair
//! ├────────────────────────┤
//! │ postings offset table  │  label pair → list, sorted
//! ├────────────────────────┤
//! │ table of contents      │  where each of these starts; the last 52 bytes
//! └────────────────────────┘
//! ```
//!
//! See `docs/format/index.md`.

mod postings;
mod reader;
mod symbols;
mod toc;
mod writer;

pub use postings::{PostingsIter, PostingsList};
pub use reader::IndexReader;
pub use symbols::Symbols;
pub use writer::{IndexWriteError, IndexWriter};

/// The first bytes of an index.
pub const MAGIC: u32 = 0xbaaa_d700;
/// The version that is written. Versions 1 to 3 are read.
pub const VERSION: u8 = 2;
/// Bytes before the symbols.
pub const HEADER_LEN: usize = 5;
/// Series start at multiples of this.
pub const SERIES_ALIGNMENT: usize = 16;
/// Of so many symbols or label values one offset is kept in memory.
pub const SAMPLING: usize = 32;
/// The oldest version: symbols and series are named by their offsets, and the
/// postings offset table is not sorted.
const VERSION_1: u8 = 1;
const VERSION_3: u8 = 3;

/// What every entry of the postings offset table starts with: two strings follow.
const POSTINGS_TABLE_KEYS: u8 = 2;

/// A series of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSeriesRef(pub u32);

/// A chunk of a block: its segment's number, from 0, in the upper 32 bits, its
/// offset there in the lower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockChunkRef(pub u64);

impl BlockChunkRef {
    /// The reference of an offset in a segment (counted from 0).
    pub fn new(segment: u32, offset: u32) -> BlockChunkRef {
        BlockChunkRef(u64::from(segment) << 32 | u64::from(offset))
    }

    /// The segment, counted from 0: file `000001` is 0.
    pub fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The offset in it.
    pub fn offset(self) -> u32 {
        self.0 as u32
    }
}

/// What the index says of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkMeta {
    /// Where it lies.
    pub chunk: BlockChunkRef,
    /// Time of its first sample in ms.
    pub min_ms: i64,
    /// Time of its last sample in ms.
    pub max_ms: i64,
}
