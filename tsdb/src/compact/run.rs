//! Carrying out what was planned: blocks are compacted until no rule asks for
//! more.
//!
//! ```text
//! plan ─ write the new block ─ reload: it replaces its parents, which go
//!          fails: the parents are marked, so that they are not tried again together
//!          empty: the parents are marked as deletable
//! ```
//!
//! A crash leaves a folder that is removed at the start, or a block and its
//! parents, of which the next reload removes the parents.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::StorageError;
use ulid::Ulid;

use super::merge::SeriesSource;
use super::plan::{Candidate, Class, Planner};
use super::sources::BlockSource;
use super::write::{CompactError, WriteOptions, compacted_meta, rewritten_meta, write_block};
use crate::block::{BlockHint, BlockMeta, read_meta, write_meta};
use crate::db::{Block, Store, storage_error};

impl Store {
    /// Compacts blocks until no rule asks for more, or the head is due to be
    /// cut. Callers hold `upkeep`.
    ///
    /// # Errors
    /// A compaction failed; blocks that are at fault are not tried again together.
    pub(crate) fn compact_blocks(&self) -> Result<(), StorageError> {
        let options = &self.options;
        self.metrics.compactions_triggered.inc();
        if !options.compaction {
            self.metrics.compactions_skipped.inc();
            return Ok(());
        }
        let planner = Planner::new(
            options.block_duration_ms,
            options.max_block_duration_ms,
            options.overlapping_compaction,
        );
        while !self.is_stopping() {
            if self.cut_may_start() {
                tracing::warn!("block compactions wait: the head is to be cut first");
                return Ok(());
            }
            let blocks = self.blocks.load_full();
            let shipped = self.shipped();
            let candidates: Vec<Candidate> = blocks
                .iter()
                .map(|block| block.reader.meta())
                // Shippers go from old to new: what lies behind a block that is
                // not shipped yet waits with it.
                .take_while(|meta| !shipped.must_wait(meta))
                .filter(|meta| !self.is_ahead(meta))
                .map(Candidate::of)
                .collect();
            let planned = planner.plan(&candidates);
            if planned.is_empty() {
                return Ok(());
            }
            let parents: Vec<Arc<Block>> =
                blocks.iter().filter(|block| planned.contains(&block.ulid())).cloned().collect();
            self.compact(&parents)?;
            self.reload_blocks()?;
        }
        Ok(())
    }

    fn is_stopping(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether a block of late samples reaches beyond what was cut from the head.
    /// Merged with an ordinary block it would lose its hint, and the next start
    /// would take the head's samples of that time to be in blocks.
    fn is_ahead(&self, meta: &BlockMeta) -> bool {
        let is_late = meta.compaction.has_hint(BlockHint::FromOutOfOrder);
        is_late
            && Class::of(meta) == Class::Ordinary
            && self.covered_until().is_none_or(|end| meta.max_time > end)
    }

    /// Makes one block of several, the oldest first; of one, the same without
    /// what was deleted.
    fn compact(&self, parents: &[Arc<Block>]) -> Result<Option<Ulid>, StorageError> {
        let metas: Vec<&BlockMeta> = parents.iter().map(|block| block.reader.meta()).collect();
        let meta = compacted_meta(self.new_ulid(), &metas);
        self.rewrite(parents, meta)
    }

    /// Rewrites a block without what was deleted from it. Callers hold `upkeep`.
    ///
    /// # Errors
    /// The block cannot be read or the new one not be written.
    pub(crate) fn rewrite_without_deleted(&self, block: &Arc<Block>) -> Result<Option<Ulid>, StorageError> {
        let meta = rewritten_meta(self.new_ulid(), block.reader.meta());
        self.rewrite(std::slice::from_ref(block), meta)
    }

    fn rewrite(&self, parents: &[Arc<Block>], meta: BlockMeta) -> Result<Option<Ulid>, StorageError> {
        let names: Vec<String> = parents.iter().map(|block| block.ulid().to_string()).collect();
        let (ulid, span, level) = (meta.ulid, meta.range(), meta.compaction.level);
        let started = self.env.clock.monotonic();
        if overlap(parents) {
            self.metrics.vertical_compactions.inc();
            tracing::info!(block = %ulid, "found overlapping blocks during compaction");
        }
        self.metrics.compaction_populating.set(1.0);
        let written = self.write_compacted(parents, meta);
        self.metrics.compaction_populating.set(0.0);
        let took = self.env.clock.monotonic().saturating_sub(started);
        self.metrics.compactions.inc();
        self.metrics.compaction_duration.observe(took.as_secs_f64());
        match written {
            Ok(true) => {
                tracing::info!(block = %ulid, min = span.min_ms, max = span.max_ms, level, sources = ?names,
                    seconds = took.as_secs_f64(), "compact blocks");
                Ok(Some(ulid))
            }
            Ok(false) => {
                tracing::info!(sources = ?names, "compact blocks resulted in empty block");
                for block in parents {
                    self.change_meta(block, |meta| meta.compaction.deletable = true)?;
                }
                Ok(None)
            }
            Err(CompactError::Stopped) => Err(StorageError::NotReady),
            Err(error) => {
                self.metrics.compactions_failed.inc();
                tracing::error!(sources = ?names, %error, "compaction failed");
                if error.is_of_the_sources() {
                    for block in parents {
                        self.change_meta(block, |meta| meta.compaction.failed = true)?;
                    }
                }
                Err(error.into())
            }
        }
    }

    fn write_compacted(&self, parents: &[Arc<Block>], meta: BlockMeta) -> Result<bool, CompactError> {
        let mut sources: Vec<Box<dyn SeriesSource>> = Vec::with_capacity(parents.len());
        for block in parents {
            let source = BlockSource::new(block.clone()).map_err(StorageError::from)?;
            sources.push(Box::new(source));
        }
        let options = WriteOptions {
            fs: self.env.fs.clone(),
            dir: &self.options.dir,
            chunk_segment_bytes: self.options.block_chunk_segment_bytes,
            xor2: self.head.rules.load().chunks.xor2,
            is_stopped: &|| self.is_stopping(),
        };
        let written = write_block(&mut sources, meta, &options, &mut |_| {})?;
        Ok(written.is_some())
    }

    /// Changes what a block's `meta.json` says. Callers hold `upkeep`.
    pub(crate) fn change_meta(
        &self,
        block: &Block,
        change: impl FnOnce(&mut BlockMeta),
    ) -> Result<(), StorageError> {
        let dir = block.reader.dir();
        let mut meta = read_meta(&*self.env.fs, dir).map_err(storage_error)?;
        change(&mut meta);
        write_meta(&*self.env.fs, dir, &meta)?;
        Ok(())
    }
}

/// Whether any of the blocks, oldest first, begins before an earlier one ends.
fn overlap(blocks: &[Arc<Block>]) -> bool {
    let mut end = i64::MIN;
    blocks.iter().any(|block| {
        let range = block.range();
        let overlaps = range.min_ms < end;
        end = end.max(range.max_ms);
        overlaps
    })
}
