//! Where the log's late samples begin that are not known to be in blocks.
//!
//! ```text
//! wal … late samples in blocks │ …            wbl │ mark │ late samples
//!                              └─ where it stood when they were cut: the mark
//! ```
//!
//! A late sample goes to both logs, one after the other. What a crash between the
//! two left in the first alone is found by a start: it looks behind the mark, as
//! what precedes it is in blocks, or was deleted from them since.
//!
//! The mark is a chunk marker with a chunk that cannot be: readers pass it over,
//! as they do with markers of chunks that a crash took.

use std::path::Path;
use std::sync::Arc;

use model::{Fs, SeriesRef};

use super::records::Records;
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

/// The position that an out-of-order log's first record marks; without one the
/// log's late samples may all be lacking.
///
/// # Errors
/// The folder cannot be listed or a segment not be read.
pub(super) fn late_from(fs: &Arc<dyn Fs>, wbl_dir: &Path) -> Result<WalPosition, FileError> {
    let segments: Vec<u64> = list_segments(&**fs, wbl_dir)?.iter().map(|segment| segment.number).collect();
    let mut reader = LogReader::new(fs.clone(), wbl_dir, segments, ReadMode::Salvage);
    let Step::Record(first) = reader.next()? else { return Ok(WalPosition::default()) };
    let mut markers = Vec::new();
    if let Ok(record) = Decompressor::new().decompress(first.payload)
        && RecordType::of(record) == Some(RecordType::MmapMarkers)
        && decode_mmap_markers(record, &mut markers).is_ok()
    {
        let mark = markers.iter().find(|marker| is_mark(marker));
        let position =
            |mark: &RefMmapMarker| WalPosition { segment: mark.series.0, offset: mark.chunk & NO_FILE };
        return Ok(mark.map(position).unwrap_or_default());
    }
    Ok(WalPosition::default())
}
