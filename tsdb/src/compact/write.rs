//! From sources to a block.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Fs, StorageError, TimeRange};
use ulid::Ulid;

use super::merge::{Merge, SeriesSource, SymbolUnion};
use super::series::{Rules, SeriesError, write_series};
use crate::block::{
    BlockHint, BlockMeta, BlockWriteError, BlockWriter, BlockWriterOptions, CREATION_SUFFIX, ChunkToWrite,
};
use crate::corruption::FileError;
use crate::index::IndexWriteError;

/// Why a compaction made no block.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompactError {
    /// A source cannot be read.
    #[error(transparent)]
    Source(#[from] StorageError),
    /// A source's chunk is damaged.
    #[error("{0}")]
    Chunk(String),
    /// The block cannot be written.
    #[error(transparent)]
    Write(#[from] BlockWriteError),
    /// The database is being closed.
    #[error("compaction was stopped")]
    Stopped,
}

impl From<SeriesError> for CompactError {
    fn from(error: SeriesError) -> CompactError {
        match error {
            SeriesError::Source(error) => CompactError::Source(error),
            SeriesError::Write(error) => CompactError::Write(error),
            error @ SeriesError::Chunk { .. } => CompactError::Chunk(error.to_string()),
        }
    }
}

impl CompactError {
    /// Whether the same blocks would fail again: they are at fault, not the disk.
    pub(super) fn is_of_the_sources(&self) -> bool {
        match self {
            CompactError::Source(StorageError::Io { .. }) | CompactError::Stopped => false,
            CompactError::Source(_) | CompactError::Chunk(_) => true,
            CompactError::Write(error) => !matches!(
                error,
                BlockWriteError::File(FileError::Io { .. })
                    | BlockWriteError::Index(IndexWriteError::File(FileError::Io { .. }))
            ),
        }
    }
}

impl From<CompactError> for StorageError {
    fn from(error: CompactError) -> StorageError {
        match error {
            CompactError::Source(error) => error,
            CompactError::Write(
                BlockWriteError::File(error) | BlockWriteError::Index(IndexWriteError::File(error)),
            ) => error.into(),
            CompactError::Stopped => StorageError::NotReady,
            other => StorageError::Invalid(other.to_string()),
        }
    }
}

/// How a block is written.
pub(super) struct WriteOptions<'a> {
    pub(super) fs: Arc<dyn Fs>,
    /// The folder that will hold it.
    pub(super) dir: &'a Path,
    /// A chunk file is no longer than this.
    pub(super) chunk_segment_bytes: u64,
    /// Floats that are encoded anew become XOR2.
    pub(super) xor2: bool,
    /// Asked before each series.
    pub(super) is_stopped: &'a dyn Fn() -> bool,
}

/// Writes the block `meta` from sources, the oldest first: of samples with the
/// same time that of the first source stays. `None` where nothing was left.
pub(super) fn write_block<'s>(
    sources: &mut [Box<dyn SeriesSource + 's>],
    meta: BlockMeta,
    options: &WriteOptions<'_>,
    written: &mut dyn FnMut(ChunkToWrite<'_>),
) -> Result<Option<PathBuf>, CompactError> {
    let writer_options = BlockWriterOptions { chunk_segment_bytes: options.chunk_segment_bytes };
    let mut union = SymbolUnion::new(sources);
    let created = BlockWriter::create(options.fs.clone(), options.dir, meta.ulid, &mut union, writer_options);
    let translations = union.into_translations();
    let mut writer = match created {
        Ok(writer) => writer,
        Err(error) => {
            remove_unfinished(options, meta.ulid);
            return Err(error.into());
        }
    };
    let filled = fill(&mut writer, sources, translations, &meta, options, written);
    if let Err(error) = filled {
        discard(writer);
        return Err(error);
    }
    if writer.stats().num_samples == 0 {
        discard(writer);
        return Ok(None);
    }
    let ulid = meta.ulid;
    match writer.finish(meta) {
        Ok(dir) => Ok(Some(dir)),
        Err(error) => {
            remove_unfinished(options, ulid);
            Err(error.into())
        }
    }
}

fn fill<'s>(
    writer: &mut BlockWriter,
    sources: &mut [Box<dyn SeriesSource + 's>],
    translations: Vec<super::merge::Translation>,
    meta: &BlockMeta,
    options: &WriteOptions<'_>,
    written: &mut dyn FnMut(ChunkToWrite<'_>),
) -> Result<(), CompactError> {
    // Blocks end before their last time.
    let keep = TimeRange::new(meta.min_time, meta.max_time.saturating_sub(1));
    let rules = Rules { keep, xor2: options.xor2 };
    let mut merge = Merge::new(sources, translations)?;
    while merge.next(|series, sources| {
        if (options.is_stopped)() {
            return Err(CompactError::Stopped);
        }
        write_series(&series, sources, rules, writer, &mut *written)?;
        Ok(())
    })? {}
    Ok(())
}

/// What cannot be removed now is removed at the next start.
fn discard(writer: BlockWriter) {
    if let Err(error) = writer.discard() {
        tracing::error!(%error, "the folder of a block that was not finished cannot be removed");
    }
}

fn remove_unfinished(options: &WriteOptions<'_>, ulid: Ulid) {
    let dir = options.dir.join(format!("{ulid}{CREATION_SUFFIX}"));
    if options.fs.exists(&dir)
        && let Err(error) = options.fs.remove_dir_all(&dir)
    {
        tracing::error!(dir = %dir.display(), %error, "the folder of a block that was not finished cannot be removed");
    }
}

/// What a block is that is made from others: their whole span, one level up.
pub(super) fn compacted_meta(ulid: Ulid, parents: &[&BlockMeta]) -> BlockMeta {
    let min = parents.iter().map(|meta| meta.min_time).min().unwrap_or(0);
    let max = parents.iter().map(|meta| meta.max_time).max().unwrap_or(0);
    let mut meta = BlockMeta::new(ulid, model::BlockRange::new(min, max));
    let compaction = &mut meta.compaction;
    compaction.level = parents.iter().map(|meta| meta.compaction.level).max().unwrap_or(0).saturating_add(1);
    compaction.sources = parents.iter().flat_map(|meta| meta.compaction.sources.iter().copied()).collect();
    compaction.sources.sort_unstable();
    compaction.sources.dedup();
    compaction.parents = parents.iter().map(|meta| meta.desc()).collect();
    // A hint must hold for all of the block.
    for hint in [BlockHint::FromOutOfOrder, BlockHint::FromSelectedSeries, BlockHint::FromStaleSeries] {
        if !parents.is_empty() && parents.iter().all(|meta| meta.compaction.has_hint(hint)) {
            compaction.add_hint(hint);
        }
    }
    meta
}

/// What a block is that is another without what was deleted from it.
pub(super) fn rewritten_meta(ulid: Ulid, parent: &BlockMeta) -> BlockMeta {
    let mut meta = BlockMeta::new(ulid, parent.range());
    meta.compaction.level = parent.compaction.level;
    if parent.compaction.level > 1 {
        meta.compaction.sources.clone_from(&parent.compaction.sources);
    }
    meta.compaction.parents = vec![parent.desc()];
    meta.compaction.hints.clone_from(&parent.compaction.hints);
    meta
}
