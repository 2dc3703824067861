//! The chunk files of a block.
//!
//! ```text
//! ┌────────────┬───────────┬───────────┬───────┬───────┬─ …
//! │ 85BD40DD 4 │ version 1 │ padding 3 │ chunk │ chunk │
//! └────────────┴───────────┴───────────┴───────┴───────┴─ …
//! ┌─────────────┬────────────┬──────┬───────┐
//! │ len uvarint │ encoding 1 │ data │ CRC 4 │   len counts the data, the CRC
//! └─────────────┴────────────┴──────┴───────┘   covers encoding and data
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Fs;
use model::env::{FsFile, Mapped};
use model::query::ChunkEncoding;

use crate::corruption::{Damage, FileError};
use crate::crc::{CRC_LEN, crc32c};
use crate::cursor::{Cursor, put_uvarint};
use crate::index::BlockChunkRef;

/// The first bytes of a chunk file.
const MAGIC: u32 = 0x85bd_40dd;
const VERSION: u8 = 1;
const HEADER_LEN: usize = 8;
/// A chunk file is no longer than this, unless options say otherwise.
pub const SEGMENT_BYTES: u64 = 512 * 1024 * 1024;
/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes of a file that may wait in the system's cache.
const DROP_BYTES: u64 = 32 << 20;
/// Length, encoding and checksum take so many bytes at most.
const OVERHEAD_MAX: u64 = 10 + 1 + CRC_LEN as u64;

fn segment_path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("{:06}", segment + 1))
}

/// Writes chunk files one after the other.
pub struct ChunkFilesWriter {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    segment_bytes: u64,
    /// The file being written and its number from 0.
    open: Option<(u32, Box<dyn FsFile>)>,
    next_segment: u32,
    written: u64,
    /// So much of it is on disk and no longer in the system's cache.
    dropped: u64,
    buffer: Vec<u8>,
}

impl ChunkFilesWriter {
    /// Starts in a folder, which is made.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn create(fs: Arc<dyn Fs>, dir: &Path, segment_bytes: u64) -> Result<ChunkFilesWriter, FileError> {
        fs.create_dir_all(dir).map_err(|source| FileError::io("create", dir, source))?;
        Ok(ChunkFilesWriter {
            fs,
            dir: dir.to_path_buf(),
            segment_bytes: segment_bytes.min(u64::from(u32::MAX)),
            open: None,
            next_segment: 0,
            written: 0,
            dropped: 0,
            buffer: Vec::new(),
        })
    }

    /// Writes a chunk and answers where it lies; references ascend.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, encoding: ChunkEncoding, data: &[u8]) -> Result<BlockChunkRef, FileError> {
        let end = self.written + self.buffer.len() as u64;
        let need = data.len() as u64 + OVERHEAD_MAX;
        if self.open.is_none() || (end > HEADER_LEN as u64 && end + need > self.segment_bytes) {
            self.next_file()?;
        }
        let offset = self.written + self.buffer.len() as u64;
        put_uvarint(&mut self.buffer, data.len() as u64);
        let start = self.buffer.len();
        self.buffer.push(encoding as u8);
        self.buffer.extend_from_slice(data);
        let crc = crc32c(&self.buffer[start..]);
        self.buffer.extend_from_slice(&crc.to_be_bytes());
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(BlockChunkRef::new(self.next_segment - 1, offset as u32))
    }

    fn flush(&mut self) -> Result<(), FileError> {
        if let Some((segment, file)) = &mut self.open {
            let path = segment_path(&self.dir, *segment);
            file.write_all(&self.buffer).map_err(|source| FileError::io("write", &path, source))?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
            if self.written - self.dropped >= DROP_BYTES {
                // So that what queries read stays in memory, and this does not.
                file.sync().map_err(|source| FileError::io("sync", &path, source))?;
                file.drop_cache();
                self.dropped = self.written;
            }
        }
        Ok(())
    }

    fn close_file(&mut self) -> Result<(), FileError> {
        self.flush()?;
        if let Some((segment, mut file)) = self.open.take() {
            let path = segment_path(&self.dir, segment);
            file.sync().map_err(|source| FileError::io("sync", &path, source))?;
            // What was compacted is not read soon; what queries need is.
            file.drop_cache();
        }
        Ok(())
    }

    fn next_file(&mut self) -> Result<(), FileError> {
        self.close_file()?;
        let path = segment_path(&self.dir, self.next_segment);
        let file = self.fs.create(&path).map_err(|source| FileError::io("create", &path, source))?;
        self.open = Some((self.next_segment, file));
        self.next_segment += 1;
        self.written = 0;
        self.dropped = 0;
        self.buffer.extend_from_slice(&MAGIC.to_be_bytes());
        self.buffer.extend_from_slice(&[VERSION, 0, 0, 0]);
        Ok(())
    }

    /// Writes what is left and syncs files and folder.
    ///
    /// # Errors
    /// A file cannot be written or synced.
    pub fn finish(mut self) -> Result<(), FileError> {
        self.close_file()?;
        self.fs.sync_dir(&self.dir).map_err(|source| FileError::io("sync", &self.dir, source))
    }
}

/// A chunk of a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockChunk<'a> {
    /// How its bytes are encoded.
    pub encoding: ChunkEncoding,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Reads the chunk files of a block through maps.
pub struct ChunkFiles {
    dir: PathBuf,
    segments: Vec<(PathBuf, Arc<dyn Mapped>)>,
}

impl ChunkFiles {
    /// Maps all files of a folder. Their names only order them.
    ///
    /// # Errors
    /// A file cannot be read or is no chunk file.
    pub fn open(fs: &dyn Fs, dir: &Path) -> Result<ChunkFiles, FileError> {
        let entries = fs.list(dir).map_err(|source| FileError::io("list", dir, source))?;
        let mut numbered: Vec<(u64, PathBuf)> = entries
            .into_iter()
            .filter(|entry| !entry.is_dir && entry.name.bytes().all(|byte| byte.is_ascii_digit()))
            .filter_map(|entry| Some((entry.name.parse().ok()?, dir.join(entry.name))))
            .collect();
        numbered.sort();
        let mut segments = Vec::with_capacity(numbered.len());
        for (_, path) in numbered {
            let map = fs.map(&path).map_err(|source| FileError::io("map", &path, source))?;
            check_header(&map).map_err(|damage| FileError::corrupt(&path, 0, damage))?;
            segments.push((path, map));
        }
        Ok(ChunkFiles { dir: dir.to_path_buf(), segments })
    }

    /// Bytes of all files.
    pub fn file_bytes(&self) -> u64 {
        self.segments.iter().map(|(_, map)| map.len() as u64).sum()
    }

    /// The chunk at a place, its checksum verified.
    ///
    /// # Errors
    /// There is no chunk, or it is damaged.
    pub fn chunk(&self, chunk: BlockChunkRef) -> Result<BlockChunk<'_>, FileError> {
        let offset = u64::from(chunk.offset());
        let Some((path, map)) = self.segments.get(chunk.segment() as usize) else {
            let (found, limit) = (u64::from(chunk.segment()), self.segments.len() as u64);
            let what = Damage::OutOfRange { what: "chunk segment", found, limit };
            return Err(FileError::corrupt(&self.dir, 0, what));
        };
        read_chunk(map, chunk.offset() as usize).map_err(|damage| FileError::corrupt(path, offset, damage))
    }
}

fn check_header(bytes: &[u8]) -> Result<(), Damage> {
    let mut cursor = Cursor::new(bytes);
    let found = cursor.be_u32("a chunk file's magic number")?;
    if found != MAGIC {
        return Err(Damage::Magic { found, want: MAGIC });
    }
    let version = cursor.u8("a chunk file's version")?;
    if version != VERSION {
        return Err(Damage::Version { what: "chunk file", found: u64::from(version) });
    }
    cursor.take(HEADER_LEN - 5, "a chunk file's padding").map(|_| ())
}

fn read_chunk(file: &[u8], offset: usize) -> Result<BlockChunk<'_>, Damage> {
    let rest = file.get(offset..).filter(|_| offset >= HEADER_LEN).ok_or(Damage::OutOfRange {
        what: "chunk offset",
        found: offset as u64,
        limit: file.len() as u64,
    })?;
    let mut cursor = Cursor::new(rest);
    let len = cursor.count(1, "a chunk's length")?;
    let covered = cursor.take(len + 1, "a chunk")?;
    let stored = cursor.be_u32("a chunk's checksum")?;
    let computed = crc32c(covered);
    if stored != computed {
        return Err(Damage::Checksum { stored, computed });
    }
    let encoding = ChunkEncoding::from_number(covered[0]).ok_or(Damage::Encoding(covered[0]))?;
    Ok(BlockChunk { encoding, bytes: &covered[1..] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFs;

    /// An offset has 32 bits, whatever the options ask for: behind that comes a new file.
    #[test]
    fn a_file_ends_before_its_offsets_do() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut writer = ChunkFilesWriter::create(RealFs::shared(), dir.path(), u64::MAX).expect("a folder");
        let first = writer.write(ChunkEncoding::Xor, &[1; 100]).expect("room");
        assert_eq!((first.segment(), first.offset()), (0, HEADER_LEN as u32));
        writer.flush().expect("room");
        writer.written = u64::from(u32::MAX) - 150;
        writer.dropped = writer.written;
        let last = writer.write(ChunkEncoding::Xor, &[2; 100]).expect("room");
        assert_eq!((last.segment(), last.offset()), (0, u32::MAX - 150));
        let next = writer.write(ChunkEncoding::Xor, &[3; 100]).expect("room");
        assert_eq!((next.segment(), next.offset()), (1, HEADER_LEN as u32));
    }
}
