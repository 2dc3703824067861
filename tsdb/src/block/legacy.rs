//! Blocks of a release of long ago, whose `meta.json` says version 2 where its index
//! should: the index was written in version 2 and says 1. A start puts both right, as
//! upstream's does.

use std::path::Path;

use model::Fs;

use super::meta::{BlockMeta, MetaError, read_meta, write_meta};
use super::{INDEX_FILE_NAME, META_FILE_NAME, list_blocks, replace_file_by_parts};
use crate::corruption::FileError;
use crate::index::{HEADER_LEN, VERSION};

/// The version that `meta.json` of such a block has.
const MISPLACED_VERSION: i64 = 2;
/// Where an index says its version.
const VERSION_AT: usize = 4;
const _: () = assert!(VERSION_AT + 1 == HEADER_LEN);

/// Puts such blocks right; answers how many. One that cannot be put right is left as
/// it is and reported with other blocks that cannot be read.
///
/// # Errors
/// The folder cannot be listed.
pub(crate) fn repair_index_versions(fs: &dyn Fs, data_dir: &Path) -> Result<usize, FileError> {
    let mut repaired = 0;
    for block in list_blocks(fs, data_dir)? {
        let Err(MetaError::Version { version: MISPLACED_VERSION, .. }) = read_meta(fs, &block) else {
            continue;
        };
        match repair(fs, &block) {
            Ok(()) => {
                repaired += 1;
                tracing::info!(block = %block.display(), "the version of a block's index is put right");
            }
            Err(error) => {
                tracing::error!(block = %block.display(), %error, "a block of an old version stays as it is")
            }
        }
    }
    Ok(repaired)
}

/// The index first: a start that ends between the two begins again.
fn repair(fs: &dyn Fs, block: &Path) -> Result<(), MetaError> {
    let path = block.join(INDEX_FILE_NAME);
    let index = fs.map(&path).map_err(|source| FileError::io("map", &path, source))?;
    if index.len() >= HEADER_LEN {
        replace_file_by_parts(
            fs,
            block,
            INDEX_FILE_NAME,
            &[&index[..VERSION_AT], &[VERSION], &index[HEADER_LEN..]],
        )?;
    }
    let path = block.join(META_FILE_NAME);
    let bytes = fs.read(&path).map_err(|source| FileError::io("read", &path, source))?;
    let meta: BlockMeta =
        serde_json::from_slice(&bytes).map_err(|source| MetaError::Json { path, source })?;
    // Whatever is written says version 1.
    write_meta(fs, block, &meta)?;
    Ok(())
}
