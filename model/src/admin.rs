//! Running a store: deletion, snapshots, settings that change at run time, and
//! what it tells about itself.

use std::time::Duration;

use crate::matcher::Matcher;
use crate::query::{ChunkEncoding, StorageError};
use crate::time::TimeRange;

/// Settings that a reload may change.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeSettings {
    /// Keep blocks for so long, `None` for ever.
    pub retention_time: Option<Duration>,
    /// Keep at most so many bytes, `None` without limit.
    pub retention_bytes: Option<u64>,
    /// Keep at most this share of the file system, in percent.
    pub retention_percentage: Option<f64>,
    /// Accept samples so much older than the newest.
    pub out_of_order_window: Duration,
    /// Exemplars kept in all; 0 keeps none.
    pub max_exemplars: usize,
    /// Share of stale series that starts their compaction; 0 never.
    pub stale_series_compaction_threshold: f64,
    /// Encoding of new float chunks: XOR or XOR2.
    pub float_encoding: ChunkEncoding,
}

/// What an operator may ask of a store.
pub trait TsdbAdmin: Send + Sync {
    /// Marks samples of matching series inside the range as deleted.
    ///
    /// # Errors
    /// The store is not open or the marks cannot be written.
    fn delete_series(&self, range: TimeRange, matcher_sets: &[Vec<Matcher>]) -> Result<(), StorageError>;

    /// Rewrites blocks without what was deleted.
    ///
    /// # Errors
    /// A block cannot be read or written.
    fn clean_tombstones(&self) -> Result<(), StorageError>;

    /// Writes a snapshot below `snapshots/` and answers its folder's name.
    ///
    /// # Errors
    /// A block cannot be linked or written.
    fn snapshot(&self, skip_head: bool) -> Result<String, StorageError>;

    /// Applies settings of a reloaded configuration.
    ///
    /// # Errors
    /// A setting cannot be applied; the others are.
    fn apply(&self, settings: &RuntimeSettings) -> Result<(), StorageError>;
}

/// A name and how often it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCount {
    /// The name.
    pub name: String,
    /// Its count.
    pub value: u64,
}

/// Cardinality of the head, each list descending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadStats {
    /// Series in memory.
    pub num_series: u64,
    /// Distinct label pairs.
    pub num_label_pairs: u64,
    /// Chunks, memory-mapped ones included.
    pub chunk_count: u64,
    /// Oldest timestamp in ms; `i64::MAX` where there is no sample.
    pub min_time_ms: i64,
    /// Newest timestamp in ms; `i64::MIN` where there is no sample.
    pub max_time_ms: i64,
    /// Series a metric name.
    pub series_by_metric: Vec<NamedCount>,
    /// Values a label name.
    pub values_by_label: Vec<NamedCount>,
    /// Bytes of values a label name.
    pub bytes_by_label: Vec<NamedCount>,
    /// Series a `name=value` pair.
    pub series_by_pair: Vec<NamedCount>,
}

/// How far the replay of the log is, in segment numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayProgress {
    /// First segment.
    pub min: u64,
    /// Last segment.
    pub max: u64,
    /// Segment now being read.
    pub current: u64,
}

/// What a store tells about itself.
pub trait TsdbStatus: Send + Sync {
    /// Cardinality of the head, each list cut to `limit` entries.
    ///
    /// # Errors
    /// The store is not open.
    fn head_stats(&self, limit: usize) -> Result<HeadStats, StorageError>;

    /// The contents of each block's `meta.json`, ascending in time.
    ///
    /// # Errors
    /// The store is not open.
    fn blocks(&self) -> Result<Vec<serde_json::Value>, StorageError>;

    /// How far the replay is; answers before the store is open.
    fn replay_progress(&self) -> ReplayProgress;

    /// Whether queries may be answered.
    fn is_ready(&self) -> bool;

    /// Oldest timestamp stored, in ms.
    ///
    /// # Errors
    /// The store is not open.
    fn start_time_ms(&self) -> Result<i64, StorageError>;

    /// How often the log was found damaged.
    fn corruption_count(&self) -> u64;

    /// The retention in force as upstream prints it, such as `15d or 1GiB`.
    fn retention_text(&self) -> String;
}
