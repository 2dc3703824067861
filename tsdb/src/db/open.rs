//! How a database is opened: lock, clean up, blocks, replay.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Appendable, Env, Fs, StorageError};

use super::late_mark::{Marked, mark, newest_mark};
use super::log::Log;
use super::metrics::Instruments;
use super::options::DbOptions;
use super::progress::ReplayCell;
use super::read_log::{Wrong, read_log};
use super::store::Store;
use crate::corruption::FileError;
use crate::head::open::ChunkRules;
use crate::head::page::FullChunk;
use crate::head::parked::{Parked, ParkedDoor};
use crate::head::replay::decoded::{Decoded, decode, decode_snapshot};
use crate::head::replay::{FoundChunks, Replay};
use crate::head::{Head, HeadRules};
use crate::head_chunks::{HeadChunkFiles, HeadChunkOptions};
use crate::snapshot_format::{SnapshotDir, list_snapshots};
use crate::wal::checkpoint::{last_checkpoint, remove_temporary};
use crate::wal::series_state::{self, read_series_state};
use crate::wal::{LogReader, ReadMode, WalPosition, list_segments};

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

/// Is given what takes batches while the log is being read.
pub(super) type Early<'a> = dyn FnMut(Arc<dyn Appendable>) + 'a;

/// Numbers that may have been given to series whose records came to the log in
/// another order, or never.
const SERIES_GAP: u64 = 1 << 16;

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
            histogram_starts: options.histogram_start_timestamps,
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
    early: Option<&mut Early<'_>>,
) -> Result<Opened, OpenError> {
    let rules = head_rules(&options)?;
    let fs = env.fs.clone();
    let dir = options.dir.clone();
    fs.create_dir_all(&dir).map_err(|source| FileError::io("create", &dir, source))?;
    let lock = if options.no_lockfile { None } else { Some(DirLock::take(&*fs, &dir)?) };
    match open_locked(options, env, metrics, rules, progress, early) {
        Ok((store, replay_seconds)) => Ok(Opened { store, lock, replay_seconds }),
        Err(error) => {
            // Nothing is left behind that looks like a crash.
            if let Some(Err(error)) = lock.map(|lock| lock.release(&*fs)) {
                tracing::error!(%error, "the lock file cannot be removed");
            }
            Err(error)
        }
    }
}

/// What [`open`] does once nobody else can: the store, and how long its replay took.
fn open_locked(
    options: DbOptions,
    env: Env,
    metrics: Instruments,
    rules: HeadRules,
    progress: &ReplayCell,
    early: Option<&mut Early<'_>>,
) -> Result<(Arc<Store>, f64), OpenError> {
    let fs = env.fs.clone();
    let dir = options.dir.clone();
    let started = env.clock.monotonic();
    crate::block::remove_temporary(&*fs, &dir)?;
    crate::block::repair_index_versions(&*fs, &dir)?;
    crate::snapshot_format::remove_temporary(&*fs, &dir)?;
    let metrics = Arc::new(metrics);
    let mut use_snapshot = options.memory_snapshot_on_shutdown;
    let wal_dir = dir.join("wal");
    // What is there now is read; what comes meanwhile goes behind.
    let mut log_end = None;
    if fs.exists(&wal_dir) {
        remove_temporary(&*fs, &wal_dir)?;
        log_end = list_segments(&*fs, &wal_dir)?.last().map(|segment| segment.number);
    }
    let files = || open_head_chunks(&fs, &dir.join("chunks_head"), &metrics);
    let mut found = Some(files()?);
    // Of a log whose segments are gone the snapshot may be left: what comes is
    // behind it then, and nothing comes before its series are known.
    let snapshot_alone = match use_snapshot && log_end.is_none() {
        true => list_snapshots(&*fs, &dir)?.pop().map(|snapshot| snapshot.reaches.segment),
        false => None,
    };
    let early = early.filter(|_| snapshot_alone.is_none());
    let last_series = match &early {
        Some(_) => last_series(&fs, &wal_dir, log_end, &options)?,
        None => 0,
    };
    let log = Log::of(&options, fs.clone(), "wal", snapshot_alone).map(Arc::new)?;
    let late = late_start(&options, &env, &rules, log_end)?;
    let parked = early.map(|early| {
        let of_files = found.iter().flat_map(|found| found.chunks.keys().copied()).max().unwrap_or(0);
        let first = last_series.max(of_files) + SERIES_GAP;
        let parked = Arc::new(Parked::new(log.clone(), env.clock.clone(), first, &options));
        early(Arc::new(ParkedDoor(parked.clone())));
        parked
    });
    let store = loop {
        let found = found.take().map_or_else(files, Ok)?;
        let head = Head::new(rules.clone());
        let store = Arc::new(Store::new(options.clone(), env.clone(), head, found.files, metrics.clone()));
        let _ = store.wal.set(log.clone());
        if let Some(wbl) = &late.log {
            let _ = store.wbl.set(wbl.clone());
        }
        store.reload_blocks()?;
        if let Some(covered) = store.covered_until() {
            store.head.times.raise_min_valid(covered);
        }
        // A snapshot holds only what is not in full chunks: with some of those gone
        // only the log has everything.
        let snapshot = match use_snapshot && found.are_whole {
            true => store.usable_snapshot(log_end)?,
            false => None,
        };
        match replay(&store, found.chunks, snapshot, log_end, &late, progress) {
            Ok(()) => break store,
            Err(ReplayError::Snapshot(error)) => {
                metrics.snapshot_replay_errors.inc();
                tracing::error!(error, "the chunk snapshot cannot be used: the whole log is read");
                use_snapshot = false;
            }
            Err(ReplayError::Other(error)) => return Err(error),
        }
    };
    if let Some(parked) = parked {
        parked.open(&store)?;
    }
    let seconds = store.env.clock.monotonic().saturating_sub(started).as_secs_f64();
    Ok((store, seconds))
}

/// How a start deals with late samples.
struct LateStart {
    /// There is a log of them, or there will be.
    may_be: bool,
    /// What the log has of them from here on may be nowhere else.
    from: WalPosition,
    /// Behind what this start reads of the log.
    settled: WalPosition,
    /// The out-of-order log, where it had to be marked at once.
    log: Option<Arc<Log>>,
}

/// Finds out from where on the out-of-order log may lack samples. One without a mark
/// gets it before anything can be acknowledged.
fn late_start(
    options: &DbOptions,
    env: &Env,
    rules: &HeadRules,
    log_end: Option<u64>,
) -> Result<LateStart, OpenError> {
    let dir = options.dir.join("wbl");
    let is_there = env.fs.exists(&dir);
    let may_be = is_there || rules.ooo_window_ms > 0;
    let settled = WalPosition { segment: log_end.map_or(0, |end| end + 1), offset: 0 };
    let marked = if is_there { newest_mark(&env.fs, &dir)? } else { Marked::Unclear };
    let from = match marked {
        Marked::At(position) => return Ok(LateStart { may_be, from: position, settled, log: None }),
        // What its writer acknowledged is in both logs.
        Marked::Never => settled,
        Marked::Unclear => WalPosition::default(),
    };
    let mut late = LateStart { may_be, from, settled, log: None };
    if may_be {
        let log = Log::of(options, env.fs.clone(), "wbl", None)?;
        let now = env.clock.monotonic();
        log.append(&mut log.lock(), [log.pack(&mark(from))], now)?;
        if let Err(error) = log.sync(now) {
            tracing::warn!(%error, "the mark of the out-of-order log cannot be synced yet");
        }
        late.log = Some(Arc::new(log));
    }
    Ok(late)
}

/// The highest series number that was given out, as far as the log tells.
fn last_series(
    fs: &Arc<dyn Fs>,
    wal_dir: &Path,
    log_end: Option<u64>,
    options: &DbOptions,
) -> Result<u64, OpenError> {
    let state = match options.fast_startup {
        true => read_series_state(&**fs, wal_dir)?,
        false => None,
    };
    let state = match state {
        Some(state) if state.clean_shutdown && u64::try_from(state.last_wal_segment).ok() == log_end => {
            return Ok(state.last_series_id);
        }
        state => state.unwrap_or_default(),
    };
    let from = u64::try_from(state.last_wal_segment).unwrap_or(0);
    let found = series_state::last_series(fs, wal_dir, from)?;
    Ok(found.unwrap_or(0).max(state.last_series_id))
}

/// The head chunk files as they were found.
struct FoundFiles {
    files: HeadChunkFiles,
    chunks: FoundChunks,
    /// None of them was damaged.
    are_whole: bool,
}

/// Opens the head chunk files and lists what they hold. Files that are damaged
/// go, and those behind them: the log has their samples.
fn open_head_chunks(fs: &Arc<dyn Fs>, dir: &Path, metrics: &Instruments) -> Result<FoundFiles, OpenError> {
    let mut are_whole = true;
    let open = || HeadChunkFiles::open(fs.clone(), dir, HeadChunkOptions::default());
    let files = match open() {
        Ok(files) => files,
        Err(FileError::Corrupt(corruption)) => {
            metrics.mmap_corruptions.inc();
            tracing::error!(%corruption, "the head chunk files are damaged and are removed; the log has their samples");
            fs.remove_dir_all(dir).map_err(|source| FileError::io("remove", dir, source))?;
            are_whole = false;
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
        are_whole = false;
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
    Ok(FoundFiles { files, chunks: found, are_whole })
}

/// Why a replay failed.
enum ReplayError {
    /// The snapshot is at fault: the log has everything too.
    Snapshot(String),
    /// Something else is.
    Other(OpenError),
}

impl<E: Into<OpenError>> From<E> for ReplayError {
    fn from(error: E) -> ReplayError {
        ReplayError::Other(error.into())
    }
}

fn replay(
    store: &Arc<Store>,
    found: FoundChunks,
    snapshot: Option<SnapshotDir>,
    log_end: Option<u64>,
    start: &LateStart,
    progress: &ReplayCell,
) -> Result<(), ReplayError> {
    let fs = &store.env.fs;
    let wal_dir = store.options.dir.join("wal");
    let wbl_dir = store.options.dir.join("wbl");
    let with_wbl = fs.exists(&wbl_dir);
    let with_late = start.may_be;
    let threads = store.options.replay_threads.max(1);
    std::thread::scope(|scope| -> Result<(), ReplayError> {
        let mut replay = Replay::start(scope, store, found, threads, with_late);
        if let Some(snapshot) = &snapshot {
            load_snapshot(store, snapshot, &mut replay)?;
        }
        let span = LogSpan { snapshot: snapshot.as_ref(), end: log_end, late_from: start.from };
        replay_wal(store, &wal_dir, &span, &mut replay, progress)?;
        replay.settle()?;
        let mut wbl_is_whole = false;
        if with_wbl {
            let segments: Vec<u64> = list_segments(&**fs, &wbl_dir)?.iter().map(|s| s.number).collect();
            let ends = (segments.first().copied().unwrap_or(0), segments.last().copied().unwrap_or(0));
            progress.begin(ends.0, ends.1);
            let reader = LogReader::new(fs.clone(), &wbl_dir, segments, ReadMode::Salvage);
            let wrong =
                read_log(reader, threads, decode, Some(progress), None, |late| replay.apply_late(late))?;
            progress.reach(ends.1);
            wbl_is_whole = wrong.is_whole();
            put_right(store, &wbl_dir, &wrong)?;
        }
        if !wbl_is_whole {
            replay.adopt_unmarked();
        }
        if with_late {
            let n = replay.take_lacking_late()?;
            if n > 0 {
                tracing::warn!(
                    samples = n,
                    "late samples that the out-of-order log lacks are taken from the other log"
                );
            }
        }
        finish(store, &replay, start)
    })
}

/// Reads what a clean stop left.
fn load_snapshot(
    store: &Arc<Store>,
    snapshot: &SnapshotDir,
    replay: &mut Replay<'_>,
) -> Result<(), ReplayError> {
    let fs = &store.env.fs;
    let dir = store.options.dir.join(&snapshot.name);
    let bad = |error: String| ReplayError::Snapshot(format!("{}: {error}", snapshot.name));
    let segments = list_segments(&**fs, &dir).map_err(|error| bad(error.to_string()))?;
    let numbers: Vec<u64> = segments.iter().map(|segment| segment.number).collect();
    let reader = LogReader::new(fs.clone(), &dir, numbers, ReadMode::Strict);
    let started = store.env.clock.monotonic();
    let mut is_whole = false;
    let threads = store.options.replay_threads;
    let wrong = read_log(reader, threads, decode_snapshot, None, None, |saved| {
        is_whole |= matches!(saved, Decoded::Deleted(_));
        replay.apply(saved)
    })
    .map_err(|error| bad(error.to_string()))?;
    let torn = wrong.torn.first().map(|(at, _)| format!("segment {} ends inside a record", at.segment));
    if let Some(fault) = wrong.faults().next().map(str::to_owned).or(torn) {
        return Err(bad(fault));
    }
    if !is_whole {
        // Deletions, if only that there are none, come behind all series.
        return Err(bad("it ends before its deletions".to_owned()));
    }
    let seconds = store.env.clock.monotonic().saturating_sub(started).as_secs_f64();
    tracing::info!(dir = snapshot.name, seconds, "the chunk snapshot is loaded");
    Ok(())
}

/// What of a log is read.
struct LogSpan<'a> {
    /// Has what comes before it.
    snapshot: Option<&'a SnapshotDir>,
    /// The newest segment that was there at the start.
    end: Option<u64>,
    /// From here on late samples are not known to be in blocks.
    late_from: WalPosition,
}

/// Reads checkpoint and segments, or what of them is behind the snapshot.
fn replay_wal(
    store: &Arc<Store>,
    wal_dir: &Path,
    span: &LogSpan<'_>,
    replay: &mut Replay<'_>,
    progress: &ReplayCell,
) -> Result<(), OpenError> {
    let fs = &store.env.fs;
    let threads = store.options.replay_threads;
    let reaches = span.snapshot.map(|snapshot| snapshot.reaches);
    let mut from = reaches.map_or(0, |reaches| reaches.segment);
    // A snapshot that is used is newer than any checkpoint.
    let checkpoint = if reaches.is_none() { last_checkpoint(&**fs, wal_dir)? } else { None };
    if let Some(checkpoint) = checkpoint {
        let segments: Vec<u64> = list_segments(&**fs, &checkpoint.dir)?.iter().map(|s| s.number).collect();
        let reader = LogReader::new(fs.clone(), &checkpoint.dir, segments, ReadMode::Salvage);
        if checkpoint.covers >= span.late_from.segment {
            replay.look_for_late();
        }
        let wrong = read_log(reader, threads, decode, None, None, |decoded| replay.apply(decoded))?;
        put_right(store, &checkpoint.dir, &wrong)?;
        from = checkpoint.covers + 1;
    }
    let is_read = |n: &u64| *n >= from && span.end.is_some_and(|end| *n <= end);
    let segments: Vec<u64> =
        list_segments(&**fs, wal_dir)?.iter().map(|s| s.number).filter(is_read).collect();
    let (first, last) = (segments.first().copied(), segments.last().copied());
    progress.begin(first.unwrap_or(0), last.unwrap_or(0));
    let mut reader = LogReader::new(fs.clone(), wal_dir, segments, ReadMode::Salvage);
    if let Some(reaches) = reaches.filter(|reaches| first == Some(reaches.segment)) {
        reader.seek(reaches.offset)?;
    }
    let mark = Some(span.late_from);
    let wrong = read_log(reader, threads, decode, Some(progress), mark, |decoded| replay.apply(decoded))?;
    progress.reach(last.unwrap_or(0));
    put_right(store, wal_dir, &wrong)
}

/// Reports what was wrong with a log and makes its segments whole again.
fn put_right(store: &Store, dir: &Path, wrong: &Wrong) -> Result<(), OpenError> {
    for what in wrong.faults() {
        store.corruptions.fetch_add(1, Ordering::Relaxed);
        store.metrics.wal_corruptions.inc();
        tracing::error!(dir = %dir.display(), "a log record is damaged and passed over: {what}");
    }
    let damaged = wrong.damaged_segments();
    for &segment in &damaged {
        store.rewrite_segment(dir, segment);
    }
    for &(at, bytes) in &wrong.torn {
        tracing::warn!(dir = %dir.display(), segment = at.segment, offset = at.offset, bytes,
            "a log segment ends inside a record, which was never acknowledged");
        if !damaged.contains(&at.segment) {
            store.cut_torn(dir, at);
        }
    }
    Ok(())
}

/// Opens the out-of-order log to be written, and notes what the replay found out.
fn finish(store: &Arc<Store>, replay: &Replay<'_>, late: &LateStart) -> Result<(), ReplayError> {
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
    if unknown.total() > 0 {
        tracing::warn!(
            samples = unknown.samples,
            histograms = unknown.histograms,
            exemplars = unknown.exemplars,
            metadata = unknown.metadata,
            tombstones = unknown.tombstones,
            "the log names series that no record of it made"
        );
    }
    if late.may_be {
        store.wbl()?;
        if late.from != late.settled {
            store.mark_late(late.settled)?;
        }
    }
    let _ = store.late_settled.set(late.settled);
    // Any segment so far may name a series by its other number.
    let aliases: Vec<u64> =
        replay.aliases.iter().map(|alias| alias.0).chain(replay.evicted.clone()).collect();
    store.needed.until(&aliases, store.newest_segment());
    store.needed.by_files(&replay.aliased_files, store.head.times.max());
    store.aliases.lock().clone_from(&replay.aliases);
    store.head.recount();
    Ok(())
}
