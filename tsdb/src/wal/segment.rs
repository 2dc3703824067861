//! Segments: numbered files of 32 KiB pages, pages of fragments.
//!
//! ```text
//! ┌───────────────────────────── page, 32768 bytes ──────────────────────────┐
//! │ fragment │ fragment │ … │ zeros, where less than a header is left        │
//! └──────────────────────────────────────────────────────────────────────────┘
//! ┌──────────────┬─────────────┬──────────────┬──────┐
//! │ type+flags 1 │ length 2 BE │ CRC-32C 4 BE │ data │    0 as type: the rest of
//! └──────────────┴─────────────┴──────────────┴──────┘    the page is zeros
//! ```
//!
//! A record is one `full` fragment, or `first`, any `middle`, `last`. It never
//! crosses segments. The last page of a segment may be partial.

use std::path::{Path, PathBuf};

use model::Fs;

use crate::corruption::FileError;

/// Bytes of a page.
pub const PAGE_BYTES: usize = 32 * 1024;
/// Bytes before a fragment's data.
pub const FRAGMENT_HEADER_LEN: usize = 7;
/// Bytes of a segment, unless options say otherwise.
pub const SEGMENT_BYTES: u64 = 128 * 1024 * 1024;

/// Offsets inside a fragment's header.
pub(crate) const LENGTH_AT: usize = 1;
pub(crate) const CRC_AT: usize = 3;
const _: () = assert!(CRC_AT + crate::crc::CRC_LEN == FRAGMENT_HEADER_LEN);
const _: () = assert!(SEGMENT_BYTES.is_multiple_of(PAGE_BYTES as u64));
const _: () = assert!(PAGE_BYTES - FRAGMENT_HEADER_LEN <= u16::MAX as usize);

/// The type bits of a fragment's first byte.
pub(crate) const TYPE_MASK: u8 = 0b0000_0111;
/// The record is compressed with snappy.
pub(crate) const SNAPPY_FLAG: u8 = 0b0000_1000;
/// The record is compressed with zstd.
pub(crate) const ZSTD_FLAG: u8 = 0b0001_0000;

/// What part of a record a fragment holds.
pub(crate) mod fragment {
    /// Nothing: the rest of the page is zeros.
    pub(crate) const PAGE_END: u8 = 0;
    /// A whole record.
    pub(crate) const FULL: u8 = 1;
    /// Its start.
    pub(crate) const FIRST: u8 = 2;
    /// Neither start nor end.
    pub(crate) const MIDDLE: u8 = 3;
    /// Its end.
    pub(crate) const LAST: u8 = 4;
}

/// A segment of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: u64,
    /// Its bytes when it was listed.
    pub len: u64,
}

/// The file name of a segment: its number in at least eight digits.
///
/// ```
/// assert_eq!(tsdb::wal::segment_name(7), "00000007");
/// ```
pub fn segment_name(number: u64) -> String {
    format!("{number:08}")
}

/// The path of a segment.
pub fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(segment_name(number))
}

/// The segments of a folder, ascending; other entries are passed over.
///
/// # Errors
/// The folder cannot be listed.
pub fn list_segments(fs: &dyn Fs, dir: &Path) -> Result<Vec<SegmentInfo>, FileError> {
    let entries = fs.list(dir).map_err(|source| FileError::io("list", dir, source))?;
    let mut segments: Vec<SegmentInfo> = entries
        .into_iter()
        .filter(|entry| !entry.is_dir && entry.name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|entry| Some(SegmentInfo { number: entry.name.parse().ok()?, len: entry.len }))
        .collect();
    segments.sort_by_key(|segment| segment.number);
    Ok(segments)
}

/// The number of the first segment after which one is missing, where any is:
/// a log with a hole cannot be replayed past it.
pub fn first_gap(segments: &[SegmentInfo]) -> Option<u64> {
    segments.windows(2).find(|pair| pair[0].number + 1 != pair[1].number).map(|pair| pair[0].number)
}
