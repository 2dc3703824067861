//! Compaction: several blocks, or a span of the head, become one block.
//!
//! ```text
//! plan     which blocks belong together            pure rules, no file
//! sources  a block or the head, series by series in label order
//! merge    k sources → one, in label order         memory: symbols, one series
//! series   the chunks of one series                copied as bytes, or
//! encode   … decoded, merged and encoded anew      where they overlap or were deleted
//! write    into a block's folder
//! ```

mod encode;
mod merge;
pub(crate) mod plan;
mod series;
mod sources;
mod write;

pub(crate) use merge::{Series, SeriesSource, SourceChunk};
pub(crate) use sources::{BlockSource, HeadSource};
pub(crate) use write::{CompactError, WriteOptions, Written, compacted_meta, write_block};
