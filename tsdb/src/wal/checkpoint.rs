//! Checkpoints: what is still needed of removed segments, as a small log in a
//! folder of its own.
//!
//! `checkpoint.00000007` covers all segments up to and with number 7. It is
//! built as `….tmp`, synced and renamed; older ones go afterwards.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Fs;

use super::writer::{LogWriter, LogWriterOptions};
use crate::corruption::FileError;

const PREFIX: &str = "checkpoint.";
const TEMPORARY: &str = ".tmp";

/// A checkpoint of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last segment that it covers.
    pub covers: u64,
    /// Its folder.
    pub dir: PathBuf,
}

/// The folder name of a checkpoint.
///
/// ```
/// assert_eq!(tsdb::wal::checkpoint::checkpoint_name(12), "checkpoint.00000012");
/// ```
pub fn checkpoint_name(covers: u64) -> String {
    format!("{PREFIX}{covers:08}")
}

/// The finished checkpoints of a log's folder, ascending.
///
/// # Errors
/// The folder cannot be listed.
pub fn list_checkpoints(fs: &dyn Fs, wal_dir: &Path) -> Result<Vec<Checkpoint>, FileError> {
    let entries = fs.list(wal_dir).map_err(|source| FileError::io("list", wal_dir, source))?;
    let mut all: Vec<Checkpoint> = entries
        .into_iter()
        .filter(|entry| entry.is_dir)
        .filter_map(|entry| {
            let covers = entry.name.strip_prefix(PREFIX)?.parse().ok()?;
            Some(Checkpoint { covers, dir: wal_dir.join(&entry.name) })
        })
        .collect();
    all.sort_by_key(|checkpoint| checkpoint.covers);
    Ok(all)
}

/// The newest finished checkpoint.
///
/// # Errors
/// The folder cannot be listed.
pub fn last_checkpoint(fs: &dyn Fs, wal_dir: &Path) -> Result<Option<Checkpoint>, FileError> {
    Ok(list_checkpoints(fs, wal_dir)?.pop())
}

/// Removes checkpoints that cover less than `covers`.
///
/// # Errors
/// One cannot be removed.
pub fn remove_checkpoints_before(fs: &dyn Fs, wal_dir: &Path, covers: u64) -> Result<(), FileError> {
    for checkpoint in list_checkpoints(fs, wal_dir)? {
        if checkpoint.covers < covers {
            let dir = &checkpoint.dir;
            fs.remove_dir_all(dir).map_err(|source| FileError::io("remove", dir, source))?;
        }
    }
    Ok(())
}

/// Removes what unfinished checkpoints left behind.
///
/// # Errors
/// The folder cannot be listed or one not be removed.
pub fn remove_temporary(fs: &dyn Fs, wal_dir: &Path) -> Result<(), FileError> {
    let entries = fs.list(wal_dir).map_err(|source| FileError::io("list", wal_dir, source))?;
    for entry in entries {
        if entry.is_dir && entry.name.starts_with(PREFIX) && entry.name.ends_with(TEMPORARY) {
            let dir = wal_dir.join(&entry.name);
            fs.remove_dir_all(&dir).map_err(|source| FileError::io("remove", &dir, source))?;
        }
    }
    Ok(())
}

/// A checkpoint being written.
pub struct CheckpointWriter {
    fs: Arc<dyn Fs>,
    wal_dir: PathBuf,
    temporary: PathBuf,
    covers: u64,
    log: LogWriter,
}

impl CheckpointWriter {
    /// Starts a checkpoint of all segments up to and with `covers`.
    ///
    /// # Errors
    /// Its folder cannot be made.
    pub fn begin(
        fs: Arc<dyn Fs>,
        wal_dir: &Path,
        covers: u64,
        options: LogWriterOptions,
    ) -> Result<CheckpointWriter, FileError> {
        let temporary = wal_dir.join(checkpoint_name(covers) + TEMPORARY);
        if fs.exists(&temporary) {
            fs.remove_dir_all(&temporary).map_err(|source| FileError::io("remove", &temporary, source))?;
        }
        let log = LogWriter::open(fs.clone(), &temporary, options)?;
        Ok(CheckpointWriter { fs, wal_dir: wal_dir.to_path_buf(), temporary, covers, log })
    }

    /// Where its records go.
    pub fn log(&mut self) -> &mut LogWriter {
        &mut self.log
    }

    /// Syncs and names it: from here on it counts.
    ///
    /// # Errors
    /// It could not be synced or renamed, and does not count.
    pub fn finish(mut self) -> Result<Checkpoint, FileError> {
        self.log.sync()?;
        drop(self.log);
        let dir = self.wal_dir.join(checkpoint_name(self.covers));
        if self.fs.exists(&dir) {
            self.fs.remove_dir_all(&dir).map_err(|source| FileError::io("remove", &dir, source))?;
        }
        self.fs.sync_dir(&self.temporary).map_err(|source| FileError::io("sync", &self.temporary, source))?;
        self.fs.rename(&self.temporary, &dir).map_err(|source| FileError::io("rename", &dir, source))?;
        self.fs.sync_dir(&self.wal_dir).map_err(|source| FileError::io("sync", &self.wal_dir, source))?;
        Ok(Checkpoint { covers: self.covers, dir })
    }
}
