//! Where the log's late samples begin that are not known to be in blocks.
//!
//! ```text
//! wal … late samples in blocks │ …            wbl │ mark │ late samples
//!                              └─ where it stood when they were cut: the mark
//! ```
//!
//! A late sample goes to both logs, one after the other. What a crash between the
//! two left in the first alone is found by a start: it looks behind the mark, as
//! what precedes it is in the out-of-order log or in blocks, or was deleted from
//! them since. Marks stand at the front of a segment; the newest counts.
//!
//! The mark is a chunk marker with a chunk that cannot be: readers pass it over,
//! as they do with markers of chunks that a crash took. An out-of-order log without
//! any is another program's, which acknowledges nothing before both logs have it.

use std::path::Path;
use std::sync::Arc;

use model::{Fs, SeriesRef};

use super::log::{Log, LogState};
use super::records::Records;
use super::store::Store;
use crate::corruption::FileError;
use crate::wal::record::{RefMmapMarker, decode_mmap_markers, put_mmap_markers};
use crate::wal::{Decompressor, LogReader, ReadMode, RecordType, Step, WalPosition, list_segments};

/// The file of a mark's chunk, after all others; the offset in it and the series are
/// the position.
const NO_FILE: u64 = 0xffff_ffff;

/// Whether a marker names no chunk but a position of the log.
pub(crate) fn is_mark(marker: &RefMmapMarker) -> bool {
    marker.chunk >> 32 == NO_FILE
}

/// The mark of a position.
pub(super) fn mark(position: WalPosition) -> Records {
    let chunk = NO_FILE << 32 | position.offset.min(NO_FILE);
    let mut records = Records::default();
    records.add(|out| put_mmap_markers(out, [RefMmapMarker { series: SeriesRef(position.segment), chunk }]));
    records
}

/// What the marks of an out-of-order log say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    /// Late samples before this position are known to be stored elsewhere.
    At(WalPosition),
    /// There is no mark: the log is another program's.
    Never,
    /// There is none that can be read, and there may have been one.
    Unclear,
}

/// Looks for the newest mark.
///
/// # Errors
/// The folder cannot be listed or a segment not be read.
pub(super) fn newest_mark(fs: &Arc<dyn Fs>, wbl_dir: &Path) -> Result<Marked, FileError> {
    let mut without = Marked::Never;
    for segment in list_segments(&**fs, wbl_dir)?.iter().rev() {
        let mut reader = LogReader::new(fs.clone(), wbl_dir, [segment.number], ReadMode::Salvage);
        match reader.next()? {
            Step::Record(first) => {
                if let Ok(record) = Decompressor::new().decompress(first.payload)
                    && let Some(position) = position_of(record)
                {
                    return Ok(Marked::At(position));
                }
            }
            Step::End => {}
            Step::Torn { .. } | Step::Damage { .. } => without = Marked::Unclear,
        }
    }
    Ok(without)
}

/// The position that a record marks.
fn position_of(record: &[u8]) -> Option<WalPosition> {
    let mut markers = Vec::new();
    if RecordType::of(record) != Some(RecordType::MmapMarkers) {
        return None;
    }
    // What precedes damage counts.
    let _ = decode_mmap_markers(record, &mut markers);
    let mark = markers.iter().find(|marker| is_mark(marker))?;
    Some(WalPosition { segment: mark.series.0, offset: mark.chunk & NO_FILE })
}

impl Store {
    /// From here on no late sample is lacking that the log has before `position`: it
    /// is noted in the out-of-order log. Where that fails, the next start looks at
    /// more than it must.
    ///
    /// # Errors
    /// The folder of the log cannot be read.
    pub(super) fn mark_late(&self, position: WalPosition) -> Result<(), FileError> {
        let _ = self.late_settled.set(position);
        if self.wbl.get().is_none() {
            // It begins with the mark.
            return self.wbl().map(drop);
        }
        let wbl = self.wbl()?;
        let mut state = wbl.lock();
        if state.position().offset > 0
            && let Err(error) = state.next_segment()
        {
            tracing::warn!(%error, "the out-of-order log cannot be marked");
            return Ok(());
        }
        self.put_mark(wbl, &mut state, position);
        Ok(())
    }

    /// Adds a mark to the out-of-order log, which may have to wait for room.
    pub(super) fn put_mark(&self, wbl: &Log, state: &mut LogState, position: WalPosition) {
        if let Err(error) = wbl.append(state, [wbl.pack(&mark(position))], self.env.clock.monotonic()) {
            tracing::warn!(%error, "the out-of-order log cannot be marked");
        }
    }
}
