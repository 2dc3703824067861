//! Makes a log whole again after a crash or damage, so that readers which stop
//! at the first fault (upstream drops all segments behind it) find none.
//!
//! A torn record is cut off: it was never acknowledged. A damaged segment is
//! written anew from the records that can be read; the original is kept in a
//! folder outside the log. To be called when nobody writes these segments.

use std::path::Path;
use std::sync::Arc;

use model::Fs;

use super::WalPosition;
use super::compression::{Decompressor, Payload};
use super::reader::{LogReader, RawRecord, ReadMode, Step};
use super::record::understood;
use super::segment::{PAGE_BYTES, segment_name, segment_path};
use super::writer::{LogWriter, LogWriterOptions};
use crate::corruption::FileError;

/// A size that no segment reaches: what is written anew stays one segment.
const UNBOUNDED: u64 = (1 << 62) / PAGE_BYTES as u64 * PAGE_BYTES as u64;

/// What became of a segment that was written anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Records that were kept.
    pub kept: u64,
    /// Places where something was lost.
    pub faults: u64,
}

/// What becomes of a record when its segment is written anew.
pub enum Verdict {
    /// It goes into the new segment as it is.
    Keep,
    /// It is damaged inside: these, not compressed, go in its place.
    Replace(Vec<Vec<u8>>),
}

/// The verdict on a record: what can be understood of it is kept.
pub fn judge(record: &RawRecord<'_>, decompressor: &mut Decompressor) -> Verdict {
    match decompressor.decompress(record.payload) {
        Ok(bytes) => understood(bytes).map_or(Verdict::Keep, Verdict::Replace),
        Err(_) => Verdict::Replace(Vec::new()),
    }
}

/// Ends a segment at a position: where a [`Step::Torn`] says that a record starts.
///
/// # Errors
/// The file cannot be cut or synced.
pub fn cut_segment(fs: &dyn Fs, dir: &Path, at: WalPosition) -> Result<(), FileError> {
    let path = segment_path(dir, at.segment);
    let mut file = fs.open(&path).map_err(|source| FileError::io("open", &path, source))?;
    file.set_len(at.offset).map_err(|source| FileError::io("cut", &path, source))?;
    file.sync().map_err(|source| FileError::io("sync", &path, source))
}

/// Writes a segment anew without what is damaged or torn, its records as `judge`
/// says. The original goes to `keep_dir`, under its own name
/// or, where that is taken, with a number behind it.
///
/// The segment's name always stands for one whole file: the new one replaces
/// the old one by a rename, after the original has its second name.
///
/// # Errors
/// A file cannot be read, written or renamed; the segment is as it was.
pub fn rewrite_segment(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    segment: u64,
    keep_dir: &Path,
    mut judge: impl FnMut(&RawRecord<'_>) -> Verdict,
) -> Result<Salvaged, FileError> {
    let building = keep_dir.join(format!("{}.tmp", segment_name(segment)));
    if fs.exists(&building) {
        fs.remove_dir_all(&building).map_err(|source| FileError::io("remove", &building, source))?;
    }
    let mut salvaged = Salvaged::default();
    let mut writer = LogWriter::open(fs.clone(), &building, LogWriterOptions { segment_bytes: UNBOUNDED })?;
    let mut reader = LogReader::new(fs.clone(), dir, [segment], ReadMode::Salvage);
    loop {
        match reader.next()? {
            Step::Record(record) => match judge(&record) {
                Verdict::Keep => {
                    writer.log([record.payload])?;
                    salvaged.kept += 1;
                }
                Verdict::Replace(records) => {
                    writer.log(records.iter().map(|record| Payload::plain(record)))?;
                    salvaged.faults += 1;
                }
            },
            Step::Torn { .. } | Step::Damage { .. } => salvaged.faults += 1,
            Step::End => break,
        }
    }
    writer.sync()?;
    let written = segment_path(&building, writer.segment());
    drop(writer);
    let original = segment_path(dir, segment);
    let mut kept = segment_path(keep_dir, segment);
    let mut number = 0;
    while fs.exists(&kept) {
        number += 1;
        kept = keep_dir.join(format!("{}.{number}", segment_name(segment)));
    }
    fs.hard_link(&original, &kept).map_err(|source| FileError::io("link", &kept, source))?;
    fs.sync_dir(keep_dir).map_err(|source| FileError::io("sync", keep_dir, source))?;
    fs.rename(&written, &original).map_err(|source| FileError::io("rename", &original, source))?;
    fs.sync_dir(dir).map_err(|source| FileError::io("sync", dir, source))?;
    fs.remove_dir_all(&building).map_err(|source| FileError::io("remove", &building, source))?;
    Ok(salvaged)
}
