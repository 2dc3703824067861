//! The write-ahead log: every accepted sample is here before it is visible.
//!
//! ```text
//! wal/00000000  00000001  …        segments of at most 128 MB
//!     checkpoint.00000001/00000000 what is still needed of older segments
//!
//! segment = pages of 32 KiB = fragments of records
//! ```
//!
//! [`record`] is what is said, [`segment`] how it is framed, [`writer`] and
//! [`reader`] put it to disk and back. The same framing holds the out-of-order
//! log (`wbl/`) and the chunk snapshot.

pub mod checkpoint;
pub mod compression;
pub mod reader;
pub mod record;
pub mod repair;
pub mod segment;
pub mod series_state;
pub mod tail;
pub mod writer;

pub use compression::{Compression, Compressor, Decompressor, Payload};
pub use model::wal_tail::WalPosition;
pub use reader::{LogReader, RawRecord, ReadMode, Step};
pub use record::RecordType;
pub use segment::{SegmentInfo, list_segments, segment_name};
pub use tail::TailReader;
pub use writer::{LogWriter, LogWriterOptions};
