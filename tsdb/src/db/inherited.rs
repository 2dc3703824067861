//! Log segments of earlier processes: one that was killed may have left them
//! written but not synced. They are synced with the first sync of this process, so
//! that what a start has answered survives a power cut as well.

use std::io;
use std::path::{Path, PathBuf};

use model::Fs;
use parking_lot::Mutex;

use crate::corruption::FileError;
use crate::wal::list_segments;
use crate::wal::segment::segment_path;

/// Segments that were there at the start and are not synced by this process.
pub(super) struct Inherited {
    paths: Mutex<Vec<PathBuf>>,
}

impl Inherited {
    /// Lists the segments of a data directory.
    ///
    /// # Errors
    /// A folder cannot be listed.
    pub(super) fn find(fs: &dyn Fs, data_dir: &Path) -> Result<Inherited, FileError> {
        let mut paths = Vec::new();
        for dir in ["wal", "wbl"].map(|log| data_dir.join(log)).iter().filter(|dir| fs.exists(dir)) {
            paths.extend(list_segments(fs, dir)?.iter().map(|segment| segment_path(dir, segment.number)));
        }
        Ok(Inherited { paths: Mutex::new(paths) })
    }

    /// Syncs them, once. Those that are gone since need it no more.
    ///
    /// # Errors
    /// One cannot be synced.
    pub(super) fn sync(&self, fs: &dyn Fs) -> Result<(), FileError> {
        let mut paths = self.paths.lock();
        while let Some(path) = paths.last() {
            let synced = match fs.open(path) {
                Ok(mut file) => file.sync(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            };
            synced.map_err(|source| FileError::io("sync", path, source))?;
            paths.pop();
        }
        Ok(())
    }
}
