//! How a database is opened: lock, clean up, blocks, replay.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Env, Fs, StorageError};

use super::metrics::Instruments;
use super::options::DbOptions;
use super::progress::ReplayCell;
use super::store::Store;
use crate::corruption::{Damage, FileError};
use crate::head::open::ChunkRules;
use crate::head::page::FullChunk;
use crate::head::replay::{FoundChunks, Replay};
use crate::head::{Head, HeadRules};
use crate::head_chunks::{HeadChunkFiles, HeadChunkOptions};
use crate::wal::checkpoint::{last_checkpoint, remove_temporary};
use crate::wal::{Decompressor, LogReader, ReadMode, Step, WalPosition, list_segments};

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has the directory open.
    #[error("lock DB directory: {0}")]
    Locked(std::io::Error),
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
    /// A file cannot be read, written or made.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<FileError> for OpenError {
    fn from(error: FileError) -> OpenError {
        OpenError::Storage(error.into())
    }
}

/// The directory's lock; dropping it leaves the file, as a crash would.
pub(super) struct DirLock {
    path: PathBuf,
    _lock: Box<dyn Send + Sync>,
    /// An old lock file was there: the last stop was no clean one.
    pub(super) replaced: bool,
}

impl DirLock {
    fn take(fs: &dyn Fs, dir: &Path) -> Result<DirLock, OpenError> {
        let path = dir.join("lock");
        let replaced = fs.exists(&path);
        if replaced {
            tracing::warn!(file = %path.display(), "a lock file from a previous execution already existed, it was replaced");
        }
        let lock = fs.lock(&path).map_err(OpenError::Locked)?;
        Ok(DirLock { path, _lock: lock, replaced })
    }

    /// Removes the file: the stop was a clean one.
    pub(super) fn release(self, fs: &dyn Fs) -> std::io::Result<()> {
        fs.remove_file(&self.path)
    }
}

/// What opening yields beside the store.
pub(super) struct Opened {
    pub(super) store: Arc<Store>,
    pub(super) lock: Option<DirLock>,
    pub(super) replay_seconds: f64,
}

/// The head's rules as options have them.
pub(super) fn head_rules(options: &DbOptions) -> Result<HeadRules, OpenError> {
    use model::query::ChunkEncoding;
    let xor2 = options.runtime.float_encoding == ChunkEncoding::Xor2;
    if options.start_timestamp_storage && !xor2 {
        return Err(OpenError::Options(
            "start timestamp storage needs the XOR2 encoding for float chunks".to_owned(),
        ));
    }
    if options.block_duration_ms <= 0 {
        return Err(OpenError::Options("the block duration must be positive".to_owned()));
    }
    let window = options.runtime.out_of_order_window.as_millis();
    Ok(HeadRules {
        chunks: ChunkRules {
            samples: options.samples_per_chunk.max(4),
            range_ms: options.block_duration_ms,
            xor2,
            starts: options.start_timestamp_storage,
        },
        ooo_window_ms: i64::try_from(window).unwrap_or(i64::MAX),
        max_series: options.max_series,
    })
}

/// Opens a directory and replays its logs.
pub(super) fn open(
    options: DbOptions,
    env: Env,
    metrics: Instruments,
    progress: &ReplayCell,
) -> Result<Opened, OpenError> {
    let rules = head_rules(&options)?;
    let fs = env.fs.clone();
    let dir = options.dir.clone();
    fs.create_dir_all(&dir).map_err(|source| FileError::io("create", &dir, source))?;
    let lock = if options.no_lockfile { None } else { Some(DirLock::take(&*fs, &dir)?) };
    let started = env.clock.monotonic();
    let chunks_dir = dir.join("chunks_head");
    let (chunks, found) = open_head_chunks(&fs, &chunks_dir, &metrics)?;
    let store = Arc::new(Store::new(options, env, Head::new(rules), chunks, metrics));
    crate::block::remove_temporary(&*store.env.fs, &store.options.dir)?;
    store.reload_blocks()?;
    if let Some(covered) = store.covered_until() {
        store.head.times.raise_min_valid(covered);
    }
    replay(&store, found, progress)?;
    let seconds = store.env.clock.monotonic().saturating_sub(started).as_secs_f64();
    Ok(Opened { store, lock, replay_seconds: seconds })
}

/// Opens the head chunk files and lists what they hold. Files that are damaged
/// go, and those behind them: the log has their samples.
fn open_head_chunks(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    metrics: &Instruments,
) -> Result<(HeadChunkFiles, FoundChunks), OpenError> {
    let open = || HeadChunkFiles::open(fs.clone(), dir, HeadChunkOptions::default());
    let files = match open() {
        Ok(files) => files,
        Err(FileError::Corrupt(corruption)) => {
            metrics.mmap_corruptions.inc();
            tracing::error!(%corruption, "the head chunk files are damaged and are removed; the log has their samples");
            fs.remove_dir_all(dir).map_err(|source| FileError::io("remove", dir, source))?;
            open()?
        }
        Err(error) => return Err(error.into()),
    };
    let mut found = FoundChunks::default();
    let damage = files.for_each(|chunk, _| {
        let full = FullChunk::new(
            u64::from(chunk.chunk.file()),
            u64::from(chunk.chunk.offset()),
            chunk.min_ms,
            chunk.max_ms,
        );
        let series = found.entry(chunk.series.0).or_default();
        if chunk.out_of_order {
            series.out_of_order.push((full, chunk.max_ms));
        } else {
            series.in_order.push((full, chunk.max_ms));
        }
    });
    if let Some(corruption) = damage {
        metrics.mmap_corruptions.inc();
        let number = corruption
            .path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse::<u32>().ok())
            .unwrap_or(0);
        tracing::error!(%corruption, file = number,
            "a head chunk file is damaged: it and those behind it are removed; the log has their samples");
        files.remove_from(number)?;
        for series in found.values_mut() {
            series.in_order.retain(|(chunk, _)| chunk.file() < u64::from(number));
            series.out_of_order.retain(|(chunk, _)| chunk.file() < u64::from(number));
        }
    }
    for series in found.values_mut() {
        series.in_order.sort_by_key(|(chunk, _)| chunk.min_ms);
    }
    Ok((files, found))
}

fn replay(store: &Arc<Store>, found: FoundChunks, progress: &ReplayCell) -> Result<(), OpenError> {
    let fs = &store.env.fs;
    let wal_dir = store.options.dir.join("wal");
    let wbl_dir = store.options.dir.join("wbl");
    let mut replay = Replay::new(store, found);
    if fs.exists(&wal_dir) {
        remove_temporary(&**fs, &wal_dir)?;
        let mut from = 0;
        if let Some(checkpoint) = last_checkpoint(&**fs, &wal_dir)? {
            let segments = list_segments(&**fs, &checkpoint.dir)?;
            read_log(store, &checkpoint.dir, segments.iter().map(|s| s.number).collect(), |record| {
                replay.apply(record)
            })?;
            from = checkpoint.covers + 1;
        }
        let segments: Vec<u64> =
            list_segments(&**fs, &wal_dir)?.iter().map(|s| s.number).filter(|&n| n >= from).collect();
        progress.begin(segments.first().copied().unwrap_or(0), segments.last().copied().unwrap_or(0));
        for segment in segments {
            progress.reach(segment);
            read_log(store, &wal_dir, vec![segment], |record| replay.apply(record))?;
        }
    }
    let with_wbl = fs.exists(&wbl_dir);
    if with_wbl {
        let segments = list_segments(&**fs, &wbl_dir)?.iter().map(|s| s.number).collect();
        if !read_log(store, &wbl_dir, segments, |record| replay.apply_late(record))? {
            replay.adopt_unmarked();
        }
    } else {
        replay.adopt_unmarked();
    }
    store.tombstones.forget_before(store.deletions_needed_from(store.head.times.min_valid()));
    let unknown = replay.unknown;
    for (kind, n) in [
        ("series", unknown.series),
        ("samples", unknown.samples),
        ("exemplars", unknown.exemplars),
        ("histograms", unknown.histograms),
        ("metadata", unknown.metadata),
        ("tombstones", unknown.tombstones),
    ] {
        store.metrics.unknown_refs.with(&[kind]).add(n);
    }
    store.metrics.late_unknown_refs.with(&["mmap_markers"]).add(unknown.mmap_markers);
    if replay.unknown.total() > 0 {
        tracing::warn!(
            samples = replay.unknown.samples,
            histograms = replay.unknown.histograms,
            exemplars = replay.unknown.exemplars,
            metadata = replay.unknown.metadata,
            tombstones = replay.unknown.tombstones,
            "the log names series that no record of it made"
        );
    }
    let _ = store.wal.set(store.open_log("wal")?);
    if with_wbl || store.head.rules.load().ooo_window_ms > 0 {
        store.wbl()?;
    }
    // Any segment so far may name a series by its other number.
    let aliases: Vec<u64> = replay.aliases.iter().map(|alias| alias.0).collect();
    store.needed.until(&aliases, store.newest_segment());
    store.head.recount();
    Ok(())
}

/// What was wrong with a segment.
#[derive(Default)]
struct Wrong {
    /// Where a record is cut off by the end of a segment.
    torn: Vec<WalPosition>,
    /// Segments with damaged bytes.
    damaged: BTreeSet<u64>,
}

/// Reads segments, hands over their records, decompressed, and puts right what is
/// wrong with the segments. Answers whether no record was damaged.
fn read_log(
    store: &Store,
    dir: &Path,
    segments: Vec<u64>,
    mut apply: impl FnMut(&[u8]) -> Result<Result<(), Damage>, StorageError>,
) -> Result<bool, OpenError> {
    let mut reader = LogReader::new(store.env.fs.clone(), dir, segments, ReadMode::Salvage);
    let mut decompressor = Decompressor::new();
    let mut wrong = Wrong::default();
    let mut whole = true;
    let mut corrupt = |what: &str| {
        whole = false;
        store.corruptions.fetch_add(1, Ordering::Relaxed);
        store.metrics.wal_corruptions.inc();
        tracing::error!(dir = %dir.display(), "a log record is damaged and passed over: {what}");
    };
    loop {
        match reader.next()? {
            Step::End => break,
            Step::Torn { at, bytes } => {
                tracing::warn!(dir = %dir.display(), segment = at.segment, offset = at.offset, bytes,
                    "a log segment ends inside a record, which was never acknowledged");
                wrong.torn.push(at);
            }
            Step::Damage { at, corruption } => {
                corrupt(&corruption.to_string());
                wrong.damaged.insert(at.segment);
            }
            Step::Record(record) => {
                let start = record.start;
                let damage = match decompressor.decompress(record.payload) {
                    Ok(bytes) => apply(bytes)?,
                    Err(damage) => Err(damage),
                };
                if let Err(damage) = damage {
                    wrong.damaged.insert(start.segment);
                    corrupt(&format!("segment {}, offset {}: {damage}", start.segment, start.offset));
                }
            }
        }
    }
    drop(reader);
    for &segment in &wrong.damaged {
        store.rewrite_segment(dir, segment);
    }
    for at in wrong.torn.into_iter().filter(|at| !wrong.damaged.contains(&at.segment)) {
        store.cut_torn(dir, at);
    }
    Ok(whole)
}
