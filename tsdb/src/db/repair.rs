//! Damaged log segments put right, so that any reader of the format can read
//! what is left: a record that the file's end cuts off is cut away; around
//! damage, the records before and behind it are written anew. The damaged
//! original is kept in `damaged/`, outside the log.

use std::path::Path;

use super::store::Store;
use crate::wal::{Decompressor, WalPosition, repair};

/// Where damaged originals are kept, in the data directory, a folder a log.
const DAMAGED_DIR: &str = "damaged";

impl Store {
    /// Cuts a torn record off the end of a segment. Where that cannot be done the
    /// segment stays as it is: it can be read all the same.
    pub(super) fn cut_torn(&self, dir: &Path, at: WalPosition) {
        if let Err(error) = repair::cut_segment(&*self.env.fs, dir, at) {
            tracing::error!(%error, "a torn record cannot be cut off its log segment");
        }
    }

    /// Writes a damaged segment anew without what cannot be read. Where that cannot
    /// be done the segment stays as it is, and is tried again at the next start.
    pub(super) fn rewrite_segment(&self, dir: &Path, number: u64) {
        let log = dir.file_name().and_then(|name| name.to_str()).unwrap_or("log");
        let kept = self.options.dir.join(DAMAGED_DIR).join(log);
        let mut decompressor = Decompressor::new();
        let written = repair::rewrite_segment(&self.env.fs, dir, number, &kept, |record| {
            repair::judge(record, &mut decompressor)
        });
        match written {
            Ok(salvaged) => {
                tracing::warn!(dir = %dir.display(), segment = number, originals = %kept.display(),
                    records = salvaged.kept, faults = salvaged.faults,
                    "a damaged log segment was written anew with all records that can be read");
            }
            Err(error) => {
                tracing::error!(%error, dir = %dir.display(), segment = number,
                    "a damaged log segment cannot be written anew: readers that stop at damage lose what is behind it");
            }
        }
    }
}
