//! An open block.

use std::path::{Path, PathBuf};

use model::{BlockRange, Fs};

use super::chunks::{BlockChunk, ChunkFiles};
use super::meta::{BlockMeta, MetaError, read_meta};
use super::{CHUNKS_DIR_NAME, INDEX_FILE_NAME};
use crate::corruption::FileError;
use crate::index::{BlockChunkRef, IndexReader};
use crate::tombstones::{Tombstones, read_tombstones};

/// A block's parts, mapped.
pub struct BlockReader {
    dir: PathBuf,
    meta: BlockMeta,
    index: IndexReader,
    chunks: ChunkFiles,
    tombstones: Tombstones,
}

impl BlockReader {
    /// Opens a block's folder.
    ///
    /// # Errors
    /// A file of it cannot be read or is damaged.
    pub fn open(fs: &dyn Fs, dir: &Path) -> Result<BlockReader, MetaError> {
        let meta = read_meta(fs, dir)?;
        let index = IndexReader::open(fs, &dir.join(INDEX_FILE_NAME))?;
        let chunks = ChunkFiles::open(fs, &dir.join(CHUNKS_DIR_NAME))?;
        let tombstones = read_tombstones(fs, dir)?;
        Ok(BlockReader { dir: dir.to_path_buf(), meta, index, chunks, tombstones })
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it is.
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// The times of its chunks by the index: from the first sample to behind the
    /// last. `None` without a chunk. Reads the whole index.
    ///
    /// # Errors
    /// The index is damaged.
    pub fn chunk_range(&self) -> Result<Option<BlockRange>, FileError> {
        let (mut labels, mut chunks) = (Vec::new(), Vec::new());
        let mut range: Option<BlockRange> = None;
        for series in self.index.all_postings()?.iter() {
            self.index.series(series, &mut labels, &mut chunks)?;
            for chunk in &chunks {
                let (min_ms, max_ms) = (chunk.min_ms, chunk.max_ms.saturating_add(1));
                range = Some(range.map_or(BlockRange::new(min_ms, max_ms), |all| {
                    BlockRange::new(all.min_ms.min(min_ms), all.max_ms.max(max_ms))
                }));
            }
        }
        Ok(range)
    }

    /// Lets other times count than those in the file.
    pub(crate) fn set_range(&mut self, range: BlockRange) {
        (self.meta.min_time, self.meta.max_time) = (range.min_ms, range.max_ms);
    }

    /// Its index.
    pub fn index(&self) -> &IndexReader {
        &self.index
    }

    /// What was deleted when it was opened, by series reference.
    pub fn tombstones(&self) -> &Tombstones {
        &self.tombstones
    }

    /// A chunk of it.
    ///
    /// # Errors
    /// There is no chunk, or it is damaged.
    pub fn chunk(&self, chunk: BlockChunkRef) -> Result<BlockChunk<'_>, FileError> {
        self.chunks.chunk(chunk)
    }

    /// Bytes of its index and chunk files.
    pub fn file_bytes(&self) -> u64 {
        self.index.file_bytes() + self.chunks.file_bytes()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.index.heap_bytes() + self.tombstones.num_intervals() * 16
    }
}
