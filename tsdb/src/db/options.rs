//! How a database is opened.

use std::path::PathBuf;
use std::time::Duration;

use model::admin::RuntimeSettings;
use model::query::ChunkEncoding;

use crate::wal::Compression;

/// Settings of a database; those in `runtime` may change while it is open.
#[derive(Clone, Debug)]
pub struct DbOptions {
    /// The data directory, made where it is missing.
    pub dir: PathBuf,
    /// Length of the blocks that are cut from the head, in ms; no chunk crosses
    /// a multiple of it.
    pub block_duration_ms: i64,
    /// Length up to which blocks are merged, in ms.
    pub max_block_duration_ms: i64,
    /// Samples that a chunk aims at.
    pub samples_per_chunk: u16,
    /// Bytes of a log segment.
    pub wal_segment_bytes: u64,
    /// How log records are compressed.
    pub wal_compression: Compression,
    /// Bytes of log records that may wait in memory while the log cannot be
    /// written, such as on a full disk; beyond them batches are refused.
    pub wal_backlog_bytes_max: u64,
    /// Bytes of a block's chunk file.
    pub block_chunk_segment_bytes: u64,
    /// Do not lock the directory.
    pub no_lockfile: bool,
    /// What a reload may change.
    pub runtime: RuntimeSettings,
    /// Keep exemplars.
    pub exemplar_storage: bool,
    /// Write a snapshot of the head's chunks at a clean stop, and use it at the start.
    pub memory_snapshot_on_shutdown: bool,
    /// Threads that decode the log at the start, and as many that put its samples
    /// into their series.
    pub replay_threads: usize,
    /// Bytes of batches that are held while the log is being read; beyond that they
    /// are refused.
    pub parked_bytes_max: u64,
    /// Keep `series_state.json` beside the log, and look into it at the start.
    pub fast_startup: bool,
    /// Histogram chunks keep start timestamps.
    pub histogram_start_timestamps: bool,
    /// Store start timestamps.
    pub start_timestamp_storage: bool,
    /// Log what targets say of their metrics.
    pub metadata_storage: bool,
    /// Refuse series beyond this number.
    pub max_series: Option<u64>,
    /// How often the log is made safe against power cuts.
    pub wal_sync_interval: Duration,
    /// Time between two looks at blocks and head.
    pub maintenance_interval: Duration,
    /// Merge blocks that overlap.
    pub overlapping_compaction: bool,
    /// Wait up to this share of the block duration before a block is cut, in percent.
    pub compaction_delay_max_percent: Option<u8>,
    /// Merge blocks at all; a sidecar that ships them may not want it.
    pub compaction: bool,
    /// A JSON file whose `uploaded` lists block names: blocks of level 1 that it
    /// does not list are not compacted. A file that cannot be read excludes none.
    pub delay_compact_file: Option<PathBuf>,
}

impl Default for DbOptions {
    fn default() -> DbOptions {
        DbOptions {
            dir: PathBuf::from("data"),
            block_duration_ms: 2 * 3_600_000,
            max_block_duration_ms: 31 * 24 * 3_600_000,
            samples_per_chunk: 120,
            wal_segment_bytes: 128 << 20,
            wal_compression: Compression::Snappy,
            wal_backlog_bytes_max: 256 << 20,
            block_chunk_segment_bytes: 512 << 20,
            no_lockfile: false,
            runtime: RuntimeSettings {
                retention_time: Some(Duration::from_secs(15 * 24 * 3600)),
                retention_bytes: None,
                retention_percentage: None,
                out_of_order_window: Duration::ZERO,
                max_exemplars: 100_000,
                stale_series_compaction_threshold: 0.0,
                float_encoding: ChunkEncoding::Xor,
            },
            exemplar_storage: false,
            memory_snapshot_on_shutdown: false,
            replay_threads: 2,
            parked_bytes_max: 256 << 20,
            fast_startup: false,
            histogram_start_timestamps: false,
            start_timestamp_storage: false,
            metadata_storage: false,
            max_series: None,
            wal_sync_interval: Duration::from_secs(1),
            maintenance_interval: Duration::from_secs(60),
            overlapping_compaction: true,
            compaction_delay_max_percent: None,
            compaction: true,
            delay_compact_file: None,
        }
    }
}
