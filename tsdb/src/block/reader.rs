//! An open block.

use std::path::{Path, PathBuf};

use model::Fs;

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
