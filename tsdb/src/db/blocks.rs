//! The blocks of a database: found, opened, and removed when their time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{BlockRange, StorageError, TimeRange};
use parking_lot::RwLock;
use ulid::Ulid;

use super::store::Store;
use crate::block::{
    BlockHint, BlockMeta, BlockReader, DELETION_SUFFIX, MetaError, list_blocks, read_meta, remove_block,
};
use crate::corruption::FileError;
use crate::tombstones::Tombstones;

/// An open block.
pub(crate) struct Block {
    pub(crate) reader: BlockReader,
    /// `meta.json` as it was read.
    written: BlockMeta,
    /// What was deleted from it, as of now.
    pub(crate) tombstones: RwLock<Tombstones>,
}

/// The usual span of a block of level 1 in ms.
const USUAL_MS: i64 = 2 * 3_600_000;

impl Block {
    /// Opens a block of a database whose blocks of level 1 have this span.
    fn open(fs: &dyn model::Fs, dir: &Path, span_ms: i64) -> Result<Block, MetaError> {
        let mut reader = BlockReader::open(fs, dir)?;
        let written = reader.meta().clone();
        if let Some(range) = other_range(&reader, span_ms) {
            tracing::warn!(
                block = %dir.display(), min_time = written.min_time, max_time = written.max_time,
                first = range.min_ms, end = range.max_ms,
                "meta.json says other times than the block's chunks have: the chunks count"
            );
            reader.set_range(range);
        }
        let tombstones = RwLock::new(reader.tombstones().clone());
        Ok(Block { reader, written, tombstones })
    }

    /// Its times.
    pub(crate) fn range(&self) -> BlockRange {
        self.reader.meta().range()
    }

    /// Its name.
    pub(crate) fn ulid(&self) -> Ulid {
        self.reader.meta().ulid
    }
}

/// The times that a block's chunks have, where `meta.json` says others.
///
/// A block that claimed a later end would hide what the log has from there on, and make
/// all other blocks look older than they may become; one bit of the file is enough. Ends
/// lie on multiples of a block's span, and another digit never leads from one to the
/// next, as the span is a multiple of three and a digit's place is not. So ends that lie
/// elsewhere, as those of blocks from other hands do, are looked up in the index, if it
/// can be read.
fn other_range(reader: &BlockReader, span_ms: i64) -> Option<BlockRange> {
    let written = reader.meta().range();
    if [span_ms, USUAL_MS].iter().any(|span_ms| written.max_ms.checked_rem(*span_ms) == Some(0)) {
        return None;
    }
    let held = reader.chunk_range().ok()??;
    let range = BlockRange::new(written.min_ms.min(held.min_ms), held.max_ms);
    (range != written).then_some(range)
}

/// A block's error as the store's.
pub(crate) fn storage_error(error: MetaError) -> StorageError {
    match error {
        MetaError::File(error) => error.into(),
        MetaError::Json { path, source } => {
            StorageError::Corrupt { path, offset: 0, what: source.to_string() }
        }
        MetaError::Version { path, version } => {
            StorageError::Corrupt { path, offset: 0, what: format!("unexpected meta file version {version}") }
        }
    }
}

impl Store {
    /// The blocks that touch a range, oldest first.
    pub(crate) fn blocks_in(&self, range: TimeRange) -> Vec<Arc<Block>> {
        self.blocks.load().iter().filter(|block| block.range().overlaps(range)).cloned().collect()
    }

    /// Looks at the data directory anew: opens what is new, lets go of what is
    /// gone, removes what is superseded, deletable or too old. A block that
    /// cannot be read is left alone, reported, and not counted.
    ///
    /// # Errors
    /// The directory cannot be listed. Blocks that cannot be read are no error.
    pub(crate) fn reload_blocks(&self) -> Result<(), StorageError> {
        let fs = &*self.env.fs;
        self.metrics.reloads.inc();
        if let Err(error) = self.finish_removals() {
            tracing::error!(%error, "what is left of a removed block cannot be removed");
        }
        let before = self.blocks.load_full();
        let mut open: Vec<Arc<Block>> = Vec::new();
        let mut damaged: BTreeMap<PathBuf, String> = BTreeMap::new();
        for dir in list_blocks(fs, &self.options.dir)? {
            let known = before.iter().find(|block| block.reader.dir() == dir);
            // A tombstone rewrite or a mark changes what a block says of itself.
            let meta = read_meta(fs, &dir);
            let unchanged = known.filter(|block| meta.as_ref().is_ok_and(|meta| *meta == block.written));
            match (unchanged, known) {
                (Some(block), _) => open.push(block.clone()),
                (None, known) => match Block::open(fs, &dir, self.options.block_duration_ms) {
                    Ok(block) => open.push(Arc::new(block)),
                    Err(error) => {
                        damaged.insert(dir, error.to_string());
                        // What was mapped before can still be read.
                        open.extend(known.cloned());
                    }
                },
            }
        }
        let doomed = self.doomed(&open);
        // A block that cannot be read but was replaced is not missed.
        let replaced = |dir: &Path| {
            let parents = open.iter().flat_map(|block| &block.reader.meta().compaction.parents);
            parents.into_iter().any(|parent| dir.ends_with(parent.ulid.to_string()))
        };
        let (superseded, damaged): (BTreeMap<_, _>, BTreeMap<_, _>) =
            damaged.into_iter().partition(|(dir, _)| replaced(dir));
        self.report_damaged(damaged);
        // A folder may have another name than the block gives itself.
        let dirs = open.iter().filter(|block| doomed.contains(&block.ulid()));
        let dirs: Vec<PathBuf> = dirs.map(|block| block.reader.dir().to_path_buf()).collect();
        open.retain(|block| !doomed.contains(&block.ulid()));
        open.sort_by_key(|block| (block.range(), block.ulid()));
        self.blocks.store(Arc::new(open));
        let dirs: BTreeSet<PathBuf> = dirs.into_iter().chain(superseded.into_keys()).collect();
        let mut failed = None;
        for dir in dirs {
            match remove_block(fs, &dir) {
                Ok(()) => tracing::info!(block = %dir.display(), "a block is removed"),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Removes what is left of blocks whose removal failed half way. Blocks that
    /// are being written are not touched: others may write here too.
    fn finish_removals(&self) -> Result<(), FileError> {
        let (fs, dir) = (&*self.env.fs, &self.options.dir);
        for entry in fs.list(dir).map_err(|source| FileError::io("list", dir, source))? {
            let is_block = |name: &str| Ulid::from_string(name).is_ok();
            if entry.is_dir && entry.name.strip_suffix(DELETION_SUFFIX).is_some_and(is_block) {
                let doomed = dir.join(&entry.name);
                fs.remove_dir_all(&doomed).map_err(|source| FileError::io("remove", &doomed, source))?;
            }
        }
        Ok(())
    }

    /// Notes which blocks cannot be read: they stay where they are, untouched,
    /// and are tried again at each reload; everything else answers meanwhile.
    fn report_damaged(&self, damaged: BTreeMap<PathBuf, String>) {
        if !damaged.is_empty() {
            self.metrics.reloads_failed.inc();
        }
        let mut known = self.damaged_blocks.lock();
        for (dir, error) in &damaged {
            if known.get(dir) != Some(error) {
                tracing::error!(block = %dir.display(), error, "a block cannot be read and is left out");
            }
        }
        *known = damaged;
    }

    /// The blocks that nothing needs any more.
    fn doomed(&self, blocks: &[Arc<Block>]) -> BTreeSet<Ulid> {
        let mut doomed = BTreeSet::new();
        for block in blocks {
            let compaction = &block.reader.meta().compaction;
            doomed.extend(compaction.parents.iter().map(|parent| parent.ulid));
            if compaction.deletable {
                doomed.insert(block.ulid());
            }
        }
        doomed.retain(|ulid| blocks.iter().any(|block| block.ulid() == *ulid));
        let mut newest_first: Vec<&Arc<Block>> =
            blocks.iter().filter(|block| !doomed.contains(&block.ulid())).collect();
        newest_first.sort_by_key(|block| std::cmp::Reverse(block.range().max_ms));
        let by_time = self.beyond_time(&newest_first);
        let by_size = self.beyond_size(&newest_first);
        if by_time < newest_first.len() {
            self.metrics.time_retentions.inc();
        }
        if by_size < newest_first.len() {
            self.metrics.size_retentions.inc();
        }
        doomed.extend(newest_first[by_time.min(by_size)..].iter().map(|block| block.ulid()));
        doomed
    }

    /// How many of the newest blocks the retention time keeps.
    fn beyond_time(&self, newest_first: &[&Arc<Block>]) -> usize {
        let Some(time) = self.runtime.lock().retention_time.filter(|time| !time.is_zero()) else {
            return newest_first.len();
        };
        let keep_ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let Some(newest) = newest_first.first().map(|block| block.range().max_ms) else { return 0 };
        newest_first
            .iter()
            .skip(1)
            .position(|block| newest.saturating_sub(block.range().max_ms) >= keep_ms)
            .map_or(newest_first.len(), |n| n + 1)
    }

    /// How many of the newest blocks the retention size keeps.
    fn beyond_size(&self, newest_first: &[&Arc<Block>]) -> usize {
        let limit = {
            let settings = self.runtime.lock();
            let of_share = settings.retention_percentage.filter(|share| *share > 0.0).and_then(|share| {
                let all = self.env.fs.total_bytes(&self.options.dir)?;
                Some((all as f64 * share / 100.0) as u64)
            });
            of_share.or(settings.retention_bytes.filter(|bytes| *bytes > 0))
        };
        let Some(limit) = limit else { return newest_first.len() };
        let mut used = self.dir_bytes("chunks_head") + self.dir_bytes("wal") + self.dir_bytes("wbl");
        for (n, block) in newest_first.iter().enumerate() {
            used += self.block_bytes(block);
            if used > limit {
                return n;
            }
        }
        newest_first.len()
    }

    /// Bytes of a block on disk.
    fn block_bytes(&self, block: &Block) -> u64 {
        let small: u64 = self.env.fs.list(block.reader.dir()).map_or(0, |entries| {
            entries.iter().filter(|e| !e.is_dir && e.name != "index").map(|e| e.len).sum()
        });
        block.reader.file_bytes() + small
    }

    /// Bytes of all blocks on disk.
    pub(crate) fn blocks_bytes(&self) -> u64 {
        self.blocks.load().iter().map(|block| self.block_bytes(block)).sum()
    }

    /// What every block's `meta.json` says.
    pub(crate) fn block_metas(&self) -> Vec<serde_json::Value> {
        let blocks = self.blocks.load();
        blocks.iter().filter_map(|block| serde_json::to_value(block.reader.meta()).ok()).collect()
    }

    /// Bytes that block indexes hold in memory.
    pub(crate) fn block_index_bytes(&self) -> usize {
        self.blocks.load().iter().map(|block| block.reader.heap_bytes()).sum()
    }

    /// In-order samples before this are in blocks: blocks of samples that were
    /// late, or of some series only, say nothing of the others.
    pub(crate) fn covered_until(&self) -> Option<i64> {
        let blocks = self.blocks.load();
        let whole = blocks.iter().filter(|block| {
            let compaction = &block.reader.meta().compaction;
            !compaction.has_hint(BlockHint::FromOutOfOrder)
                && !compaction.has_hint(BlockHint::FromStaleSeries)
                && !compaction.has_hint(BlockHint::FromSelectedSeries)
        });
        whole.map(|block| block.range().max_ms).max()
    }

    /// A name for a new block.
    pub(crate) fn new_ulid(&self) -> Ulid {
        let ms = u64::try_from(self.env.clock.now_ms()).unwrap_or(0);
        let mut random = self.random.lock();
        loop {
            let ulid = Ulid::from_parts(ms, random.next_u128());
            // A name that was given before (the same seed, the clock set back) would
            // make the block pass for one that was replaced.
            let is_named = self.blocks.load().iter().any(|block| {
                let compaction = &block.reader.meta().compaction;
                compaction.sources.contains(&ulid)
                    || compaction.parents.iter().any(|parent| parent.ulid == ulid)
            });
            if !is_named && !self.env.fs.exists(&self.options.dir.join(ulid.to_string())) {
                return ulid;
            }
        }
    }
}
