//! Blocks as sources of series.

use std::borrow::Cow;
use std::sync::Arc;

use model::StorageError;

use super::merge::{Series, SeriesSource, SourceChunk};
use crate::block::BlockChunk;
use crate::corruption::FileError;
use crate::db::Block;
use crate::index::{BlockChunkRef, BlockSeriesRef, ChunkMeta, PostingsList};
use crate::tombstones::Tombstones;

/// Yields the series of a block.
pub(super) struct BlockSource {
    block: Arc<Block>,
    /// As of the start; nothing is deleted from a block while it is compacted.
    tombstones: Tombstones,
    all: PostingsList,
    /// The series given last.
    last: Option<BlockSeriesRef>,
    metas: Vec<ChunkMeta>,
}

impl BlockSource {
    /// Starts with the first series.
    pub(super) fn new(block: Arc<Block>) -> Result<BlockSource, FileError> {
        let all = block.reader.index().all_postings()?;
        let tombstones = block.tombstones.read().clone();
        Ok(BlockSource { block, tombstones, all, last: None, metas: Vec::new() })
    }
}

impl SeriesSource for BlockSource {
    fn symbols(&self) -> Box<dyn Iterator<Item = (u32, Cow<'_, str>)> + '_> {
        let symbols = self.block.reader.index().symbols();
        Box::new(symbols.iter().map(|(number, text)| (number, Cow::Borrowed(text))))
    }

    fn next(&mut self, series: &mut Series) -> Result<bool, StorageError> {
        let mut rest = self.all.iter();
        if let Some(last) = self.last {
            // A list borrows its map for as long as it is walked, hence the
            // search: a few steps each.
            rest.seek(BlockSeriesRef(last.0.saturating_add(1)));
        }
        let Some(found) = rest.next().filter(|found| Some(*found) != self.last) else { return Ok(false) };
        self.last = Some(found);
        let index = self.block.reader.index();
        index.series(found, &mut series.labels, &mut self.metas)?;
        let chunk =
            |meta: &ChunkMeta| SourceChunk { min_ms: meta.min_ms, max_ms: meta.max_ms, handle: meta.chunk.0 };
        series.chunks.extend(self.metas.iter().map(chunk));
        series.deleted.extend_from_slice(self.tombstones.get(u64::from(found.0)));
        Ok(true)
    }

    fn chunk(&self, chunk: SourceChunk) -> Result<BlockChunk<'_>, StorageError> {
        Ok(self.block.reader.chunk(BlockChunkRef(chunk.handle))?)
    }
}
