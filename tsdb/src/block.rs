//! Blocks: the samples of a span of time, complete and never changed but for
//! their tombstones.
//!
//! ```text
//! <ULID>/
//!   meta.json        what the block is
//!   index            series, labels, where chunks lie
//!   chunks/000001 …  the chunks, at most 512 MiB a file
//!   tombstones       what was deleted since
//! ```
//!
//! A block is written into `<ULID>.tmp-for-creation`, everything is synced, and
//! the folder renamed: a block that has its name is whole.

mod chunks;
mod legacy;
mod meta;
mod reader;
mod writer;

pub use chunks::{BlockChunk, ChunkFiles, ChunkFilesWriter, SEGMENT_BYTES};
pub(crate) use legacy::repair_index_versions;
pub use meta::{
    BlockDesc, BlockHint, BlockMeta, BlockStats, Compaction, META_FILE_NAME, MetaError, read_meta, write_meta,
};
pub use reader::BlockReader;
pub use writer::{BlockWriteError, BlockWriter, BlockWriterOptions, ChunkToWrite};

use std::path::Path;

use model::Fs;

use crate::corruption::FileError;

/// What a block's folder is called while it is written.
pub const CREATION_SUFFIX: &str = ".tmp-for-creation";
/// What a block's folder is called while it is removed.
pub const DELETION_SUFFIX: &str = ".tmp-for-deletion";
/// The index's name in a block.
pub const INDEX_FILE_NAME: &str = "index";
/// The name of the folder of chunk files.
pub const CHUNKS_DIR_NAME: &str = "chunks";

/// Puts new contents in a file's place: through a temporary one that is synced
/// and renamed. Answers the new length.
pub(crate) fn replace_file(fs: &dyn Fs, dir: &Path, name: &str, bytes: &[u8]) -> Result<u64, FileError> {
    replace_file_by_parts(fs, dir, name, &[bytes])
}

/// As [`replace_file`], contents that lie in several places.
fn replace_file_by_parts(fs: &dyn Fs, dir: &Path, name: &str, parts: &[&[u8]]) -> Result<u64, FileError> {
    let path = dir.join(name);
    let temporary = dir.join(format!("{name}.tmp"));
    let written = (|| {
        let mut file = fs.create(&temporary)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync()
    })();
    written.map_err(|source| FileError::io("write", &temporary, source))?;
    fs.rename(&temporary, &path).map_err(|source| FileError::io("rename", &path, source))?;
    fs.sync_dir(dir).map_err(|source| FileError::io("sync", dir, source))?;
    Ok(parts.iter().map(|part| part.len() as u64).sum())
}

/// Removes a block: renames it first, so that a removal cut short is finished at
/// the next start.
///
/// # Errors
/// The folder cannot be renamed or removed.
pub fn remove_block(fs: &dyn Fs, dir: &Path) -> Result<(), FileError> {
    let mut name = dir.as_os_str().to_owned();
    name.push(DELETION_SUFFIX);
    let doomed = Path::new(&name);
    if fs.exists(doomed) {
        fs.remove_dir_all(doomed).map_err(|source| FileError::io("remove", doomed, source))?;
    }
    fs.rename(dir, doomed).map_err(|source| FileError::io("rename", dir, source))?;
    // Without its new name a block that lost files would pass for a damaged one.
    if let Some(parent) = dir.parent() {
        fs.sync_dir(parent).map_err(|source| FileError::io("sync", parent, source))?;
    }
    fs.remove_dir_all(doomed).map_err(|source| FileError::io("remove", doomed, source))
}

/// Removes what unfinished writes and removals left in a data folder.
///
/// # Errors
/// The folder cannot be listed or something not be removed.
pub fn remove_temporary(fs: &dyn Fs, data_dir: &Path) -> Result<Vec<String>, FileError> {
    let entries = fs.list(data_dir).map_err(|source| FileError::io("list", data_dir, source))?;
    let mut removed = Vec::new();
    for entry in entries {
        let Some((stem, suffix)) = entry.name.split_once('.') else { continue };
        let temporary = matches!(suffix, "tmp-for-creation" | "tmp-for-deletion" | "tmp");
        if entry.is_dir && temporary && ulid::Ulid::from_string(stem).is_ok() {
            let dir = data_dir.join(&entry.name);
            fs.remove_dir_all(&dir).map_err(|source| FileError::io("remove", &dir, source))?;
            removed.push(entry.name);
        }
    }
    Ok(removed)
}

/// The folders of a data folder that are called as blocks are, oldest first.
///
/// # Errors
/// The folder cannot be listed.
pub fn list_blocks(fs: &dyn Fs, data_dir: &Path) -> Result<Vec<std::path::PathBuf>, FileError> {
    let entries = fs.list(data_dir).map_err(|source| FileError::io("list", data_dir, source))?;
    Ok(entries
        .into_iter()
        .filter(|entry| entry.is_dir && ulid::Ulid::from_string(&entry.name).is_ok())
        .map(|entry| data_dir.join(entry.name))
        .collect())
}
