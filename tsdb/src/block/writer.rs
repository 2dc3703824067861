//! Puts a block together: chunks and index side by side, then what the block is,
//! then its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Fs;
use model::query::ChunkEncoding;
use ulid::Ulid;

use super::chunks::{ChunkFilesWriter, SEGMENT_BYTES};
use super::meta::{BlockMeta, BlockStats, write_meta};
use super::{CHUNKS_DIR_NAME, CREATION_SUFFIX, INDEX_FILE_NAME};
use crate::chunk::num_samples;
use crate::corruption::{Damage, FileError};
use crate::index::{ChunkMeta, IndexWriteError, IndexWriter};
use crate::tombstones::{Tombstones, write_tombstones};

/// How blocks are written.
#[derive(Clone, Copy, Debug)]
pub struct BlockWriterOptions {
    /// A chunk file is no longer than this.
    pub chunk_segment_bytes: u64,
}

impl Default for BlockWriterOptions {
    fn default() -> BlockWriterOptions {
        BlockWriterOptions { chunk_segment_bytes: SEGMENT_BYTES }
    }
}

/// Why a block cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum BlockWriteError {
    /// A file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The index refused a series.
    #[error(transparent)]
    Index(#[from] IndexWriteError),
    /// A chunk's bytes are none.
    #[error("a chunk to be written is none: {0}")]
    Chunk(Damage),
}

/// A chunk of a series to be written.
#[derive(Clone, Copy, Debug)]
pub struct ChunkToWrite<'a> {
    /// Time of its first sample in ms.
    pub min_ms: i64,
    /// Time of its last sample in ms.
    pub max_ms: i64,
    /// How its bytes are encoded.
    pub encoding: ChunkEncoding,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// A block being written.
pub struct BlockWriter {
    fs: Arc<dyn Fs>,
    data_dir: PathBuf,
    temporary: PathBuf,
    ulid: Ulid,
    chunks: ChunkFilesWriter,
    index: IndexWriter,
    stats: BlockStats,
    metas: Vec<ChunkMeta>,
}

impl BlockWriter {
    /// Starts a block in a data folder with all strings its series will have,
    /// ascending.
    ///
    /// # Errors
    /// See [`BlockWriteError`].
    pub fn create<S: AsRef<str>>(
        fs: Arc<dyn Fs>,
        data_dir: &Path,
        ulid: Ulid,
        symbols: impl IntoIterator<Item = S>,
        options: BlockWriterOptions,
    ) -> Result<BlockWriter, BlockWriteError> {
        let temporary = data_dir.join(format!("{ulid}{CREATION_SUFFIX}"));
        if fs.exists(&temporary) {
            fs.remove_dir_all(&temporary).map_err(|source| FileError::io("remove", &temporary, source))?;
        }
        let chunks = ChunkFilesWriter::create(
            fs.clone(),
            &temporary.join(CHUNKS_DIR_NAME),
            options.chunk_segment_bytes,
        )?;
        let index = IndexWriter::create(fs.clone(), &temporary.join(INDEX_FILE_NAME), symbols)?;
        Ok(BlockWriter {
            fs,
            data_dir: data_dir.to_path_buf(),
            temporary,
            ulid,
            chunks,
            index,
            stats: BlockStats::default(),
            metas: Vec::new(),
        })
    }

    /// The number of a string for [`BlockWriter::add_series`].
    pub fn symbol(&self, text: &str) -> Option<u32> {
        self.index.symbol(text)
    }

    /// Adds a series with its chunks, in order and without overlap. Series come
    /// in label order. Labels are (name, value) numbers of the symbols as given.
    ///
    /// # Errors
    /// See [`BlockWriteError`].
    pub fn add_series(
        &mut self,
        labels: &[(u32, u32)],
        chunks: &[ChunkToWrite<'_>],
    ) -> Result<(), BlockWriteError> {
        self.metas.clear();
        for chunk in chunks {
            let samples = num_samples(chunk.encoding, chunk.bytes)
                .map_err(|error| BlockWriteError::Chunk(error.into()))?;
            let place = self.chunks.write(chunk.encoding, chunk.bytes)?;
            self.metas.push(ChunkMeta { chunk: place, min_ms: chunk.min_ms, max_ms: chunk.max_ms });
            let samples = u64::from(samples);
            self.stats.num_samples += samples;
            if chunk.encoding.is_histogram() {
                self.stats.num_histogram_samples += samples;
            } else {
                self.stats.num_float_samples += samples;
            }
        }
        self.index.add_series(labels, &self.metas)?;
        self.stats.num_chunks += chunks.len() as u64;
        self.stats.num_series += 1;
        Ok(())
    }

    /// What was added so far.
    pub fn stats(&self) -> BlockStats {
        self.stats
    }

    /// Completes the block: its metadata get the block's name and statistics.
    /// Answers its folder.
    ///
    /// # Errors
    /// Something could not be written, synced or renamed: there is no block.
    pub fn finish(self, mut meta: BlockMeta) -> Result<PathBuf, BlockWriteError> {
        meta.ulid = self.ulid;
        meta.stats = BlockStats { num_tombstones: meta.stats.num_tombstones, ..self.stats };
        self.chunks.finish()?;
        self.index.finish()?;
        let fs = &*self.fs;
        write_meta(fs, &self.temporary, &meta)?;
        write_tombstones(fs, &self.temporary, &Tombstones::new())?;
        fs.sync_dir(&self.temporary).map_err(|source| FileError::io("sync", &self.temporary, source))?;
        let dir = self.data_dir.join(self.ulid.to_string());
        fs.rename(&self.temporary, &dir).map_err(|source| FileError::io("rename", &dir, source))?;
        fs.sync_dir(&self.data_dir).map_err(|source| FileError::io("sync", &self.data_dir, source))?;
        Ok(dir)
    }

    /// Gives the block up and removes what was written.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn discard(self) -> Result<(), FileError> {
        let BlockWriter { fs, temporary, chunks, index, .. } = self;
        drop((chunks, index));
        fs.remove_dir_all(&temporary).map_err(|source| FileError::io("remove", &temporary, source))
    }
}
