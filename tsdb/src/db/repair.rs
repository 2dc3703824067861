//! Damaged log segments put right, so that any reader of the format can read
//! what is left: a record that the file's end cuts off is cut away; around
//! damage, the records before and behind it are written anew. The damaged
//! original is kept in `damaged/`, outside the log.

use std::path::Path;

use model::StorageError;

use super::store::Store;
use crate::corruption::FileError;
use crate::wal::segment::{PAGE_BYTES, segment_path};
use crate::wal::{LogReader, LogWriter, LogWriterOptions, ReadMode, Step, WalPosition, segment_name};

/// Where damaged originals are kept, in the data directory.
const DAMAGED_DIR: &str = "damaged";
/// Where a segment is written anew before it takes the old one's place.
const REPAIR_DIR: &str = "repair.tmp";

impl Store {
    /// Cuts a torn record off the end of a segment.
    ///
    /// # Errors
    /// The file cannot be cut.
    pub(super) fn cut_torn(&self, dir: &Path, at: WalPosition) -> Result<(), StorageError> {
        let path = segment_path(dir, at.segment);
        let mut file = self.env.fs.open(&path).map_err(|source| FileError::io("open", &path, source))?;
        file.set_len(at.offset).map_err(|source| FileError::io("cut", &path, source))?;
        file.sync().map_err(|source| FileError::io("sync", &path, source))?;
        Ok(())
    }

    /// Writes a damaged segment anew without what cannot be read.
    ///
    /// # Errors
    /// A file cannot be read, written or renamed: the segment is as it was.
    pub(super) fn rewrite_segment(&self, dir: &Path, number: u64) -> Result<(), StorageError> {
        let fs = &self.env.fs;
        let path = segment_path(dir, number);
        let len = fs.open(&path).and_then(|file| file.len()).map_err(|e| FileError::io("read", &path, e))?;
        let temporary = dir.join(REPAIR_DIR);
        if fs.exists(&temporary) {
            fs.remove_dir_all(&temporary).map_err(|e| FileError::io("remove", &temporary, e))?;
        }
        // Records that are left take no more than all did, but for padding.
        let segment_bytes = len.next_multiple_of(PAGE_BYTES as u64) + PAGE_BYTES as u64;
        {
            let mut writer = LogWriter::open(fs.clone(), &temporary, LogWriterOptions { segment_bytes })?;
            let mut reader = LogReader::new(fs.clone(), dir, [number], ReadMode::Salvage);
            loop {
                match reader.next()? {
                    Step::End => break,
                    Step::Record(record) => {
                        writer.log([record.payload])?;
                    }
                    Step::Torn { .. } | Step::Damage { .. } => {}
                }
            }
            writer.sync()?;
        }
        let kept = self.options.dir.join(DAMAGED_DIR);
        fs.create_dir_all(&kept).map_err(|e| FileError::io("create", &kept, e))?;
        let log = dir.file_name().and_then(|name| name.to_str()).unwrap_or("log");
        let mut copy = kept.join(format!("{log}-{}", segment_name(number)));
        let mut n = 1;
        while fs.exists(&copy) {
            copy = kept.join(format!("{log}-{}.{n}", segment_name(number)));
            n += 1;
        }
        fs.hard_link(&path, &copy).map_err(|e| FileError::io("link", &copy, e))?;
        fs.sync_dir(&kept).map_err(|e| FileError::io("sync", &kept, e))?;
        let new = segment_path(&temporary, 0);
        fs.rename(&new, &path).map_err(|e| FileError::io("rename", &path, e))?;
        fs.sync_dir(dir).map_err(|e| FileError::io("sync", dir, e))?;
        fs.remove_dir_all(&temporary).map_err(|e| FileError::io("remove", &temporary, e))?;
        tracing::warn!(segment = %path.display(), original = %copy.display(),
            "a damaged log segment was written anew with all records that can be read");
        Ok(())
    }
}
