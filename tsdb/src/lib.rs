//! The time-series database: head, write-ahead log, chunks, blocks, index, compaction, select.

pub mod block;
pub mod chunk;
pub mod corruption;
pub mod crc;
mod cursor;
pub mod fs;
pub mod head_chunks;
pub mod index;
pub mod snapshot_format;
pub mod tombstones;
pub mod wal;

mod compact;
pub mod db;
mod exemplars;
mod head;
mod query;

pub use db::{Compression, Db, DbOptions, OpenError, ReplayCell};

/// The file system of the machine.
pub fn real_fs() -> std::sync::Arc<dyn model::Fs> {
    fs::RealFs::shared()
}
