//! Head chunk files: full chunks of the head, so that memory keeps only where
//! they are.
//!
//! ```text
//! chunks_head/000001 000002 …      at most 128 MiB each
//!
//! ┌────────────┬───────────┬───────────┬────────┬────────┬─ …
//! │ 0130BC91 4 │ version 1 │ padding 3 │ record │ record │
//! └────────────┴───────────┴───────────┴────────┴────────┴─ …
//! ┌──────────────┬────────────┬────────────┬────────────┬─────────┬──────┬───────┐
//! │ series ref 8 │ min time 8 │ max time 8 │ encoding 1 │ uvarint │ data │ CRC 4 │
//! └──────────────┴────────────┴────────────┴────────────┴─────────┴──────┴───────┘
//! ```
//!
//! A chunk's reference is its file's number in the upper and its offset in the
//! lower 32 bits. Zeros where a record should start end a file: other writers
//! allocate ahead. See `docs/format/head_chunks.md`.

mod files;
mod record;

pub use files::{ChunkData, HeadChunkFiles, HeadChunkOptions};
pub use record::{HeadChunk, HeadChunkRef};
