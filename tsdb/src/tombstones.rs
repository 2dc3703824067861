//! Deleted intervals of series, and the file of a block that lists them.
//!
//! ```text
//! ┌────────────┬───────────┬─────────────────────────────────────────┬───────┐
//! │ 0130BA30 4 │ version 1 │ (series uvarint, min varint, max varint)* │ CRC 4 │
//! └────────────┴───────────┴─────────────────────────────────────────┴───────┘
//! ```
//!
//! The checksum covers what is between version and checksum. No file means that
//! nothing is deleted. See `docs/format/tombstones.md`.

use std::collections::BTreeMap;
use std::path::Path;

use model::{Fs, TimeRange};

use crate::corruption::{Damage, FileError};
use crate::crc::{CRC_LEN, crc32c};
use crate::cursor::{Cursor, put_uvarint, put_varint};

/// The first bytes of a tombstones file.
pub const MAGIC: u32 = 0x0130_ba30;
const VERSION: u8 = 1;
const HEADER_LEN: usize = 5;
/// The file's name in a block.
pub const FILE_NAME: &str = "tombstones";

/// Deleted intervals by series; for each ascending, neither overlapping nor touching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones {
    by_series: BTreeMap<u64, Vec<TimeRange>>,
}

impl Tombstones {
    /// Nothing deleted.
    pub fn new() -> Tombstones {
        Tombstones::default()
    }

    /// Whether nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.by_series.is_empty()
    }

    /// Intervals of all series together.
    pub fn num_intervals(&self) -> usize {
        self.by_series.values().map(Vec::len).sum()
    }

    /// Series with any.
    pub fn num_series(&self) -> usize {
        self.by_series.len()
    }

    /// The intervals of a series.
    pub fn get(&self, series: u64) -> &[TimeRange] {
        self.by_series.get(&series).map_or(&[], Vec::as_slice)
    }

    /// All series with their intervals, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[TimeRange])> {
        self.by_series.iter().map(|(series, intervals)| (*series, intervals.as_slice()))
    }

    /// Deletes an interval of a series; what overlaps or touches becomes one.
    pub fn add(&mut self, series: u64, interval: TimeRange) {
        if !interval.is_empty() {
            add_interval(self.by_series.entry(series).or_default(), interval);
        }
    }

    /// Forgets the intervals of a series.
    pub fn remove(&mut self, series: u64) {
        self.by_series.remove(&series);
    }

    /// Forgets what ends before a time.
    pub fn truncate_before(&mut self, before_ms: i64) {
        self.by_series.retain(|_, intervals| {
            intervals.retain(|interval| interval.end_ms >= before_ms);
            !intervals.is_empty()
        });
    }
}

/// Adds an interval to ascending ones and merges what overlaps or touches.
pub fn add_interval(intervals: &mut Vec<TimeRange>, new: TimeRange) {
    // Those before end before the new one begins, with a gap.
    let from = intervals.partition_point(|old| old.end_ms < new.start_ms && old.end_ms + 1 < new.start_ms);
    let until = intervals.partition_point(|old| old.start_ms <= new.end_ms.saturating_add(1)).max(from);
    let mut merged = new;
    if from < until {
        merged.start_ms = merged.start_ms.min(intervals[from].start_ms);
        merged.end_ms = merged.end_ms.max(intervals[until - 1].end_ms);
    }
    intervals.splice(from..until, [merged]);
}

/// Whether a time lies in one of ascending intervals.
pub fn is_deleted(intervals: &[TimeRange], timestamp_ms: i64) -> bool {
    let at = intervals.partition_point(|interval| interval.end_ms < timestamp_ms);
    intervals.get(at).is_some_and(|interval| interval.start_ms <= timestamp_ms)
}

/// Writes version and entries, without magic number or checksum: as a snapshot
/// of the head has them.
pub(crate) fn put_versioned_entries(out: &mut Vec<u8>, tombstones: &Tombstones) {
    out.push(VERSION);
    put_entries(out, tombstones);
}

/// Reads version and entries.
pub(crate) fn take_versioned_entries(bytes: &[u8]) -> Result<Tombstones, Damage> {
    let mut cursor = Cursor::new(bytes);
    take_version(&mut cursor)?;
    take_entries(cursor)
}

fn take_version(cursor: &mut Cursor<'_>) -> Result<(), Damage> {
    match cursor.u8("a version")? {
        VERSION => Ok(()),
        found => Err(Damage::Version { what: "tombstones", found: u64::from(found) }),
    }
}

fn put_entries(out: &mut Vec<u8>, tombstones: &Tombstones) {
    for (series, intervals) in tombstones.iter() {
        for interval in intervals {
            put_uvarint(out, series);
            put_varint(out, interval.start_ms);
            put_varint(out, interval.end_ms);
        }
    }
}

/// Reads entries to the end.
fn take_entries(mut cursor: Cursor<'_>) -> Result<Tombstones, Damage> {
    let mut tombstones = Tombstones::new();
    while !cursor.is_empty() {
        let series = cursor.uvarint("a series reference")?;
        let start_ms = cursor.varint("a timestamp")?;
        let end_ms = cursor.varint("a timestamp")?;
        tombstones.add(series, TimeRange { start_ms, end_ms });
    }
    Ok(tombstones)
}

/// Reads the tombstones of a block; none where there is no file.
///
/// # Errors
/// The file cannot be read or is damaged.
pub fn read_tombstones(fs: &dyn Fs, block: &Path) -> Result<Tombstones, FileError> {
    let path = block.join(FILE_NAME);
    if !fs.exists(&path) {
        return Ok(Tombstones::new());
    }
    let bytes = fs.read(&path).map_err(|source| FileError::io("read", &path, source))?;
    decode(&bytes).map_err(|(offset, damage)| FileError::corrupt(&path, offset, damage))
}

fn decode(bytes: &[u8]) -> Result<Tombstones, (u64, Damage)> {
    let (need, have) = ((HEADER_LEN + CRC_LEN) as u64, bytes.len() as u64);
    if have < need {
        return Err((0, Damage::Short { what: "a tombstones file", need, have }));
    }
    let mut cursor = Cursor::new(bytes);
    let at_start = |damage| (0, damage);
    let found = cursor.be_u32("a magic number").map_err(at_start)?;
    if found != MAGIC {
        return Err(at_start(Damage::Magic { found, want: MAGIC }));
    }
    take_version(&mut cursor).map_err(at_start)?;
    let (entries, crc) = bytes.split_at(bytes.len() - CRC_LEN);
    let entries = &entries[HEADER_LEN..];
    let stored = Cursor::new(crc).be_u32("a checksum").map_err(at_start)?;
    let computed = crc32c(entries);
    if stored != computed {
        return Err((entries.len() as u64, Damage::Checksum { stored, computed }));
    }
    take_entries(Cursor::new(entries)).map_err(|damage| (HEADER_LEN as u64, damage))
}

/// The bytes of a tombstones file.
pub fn encode(tombstones: &Tombstones) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC.to_be_bytes());
    put_versioned_entries(&mut out, tombstones);
    let crc = crc32c(&out[HEADER_LEN..]);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

/// Writes the tombstones of a block anew, through a temporary file.
///
/// # Errors
/// The file cannot be written or renamed; the old one stays.
pub fn write_tombstones(fs: &dyn Fs, block: &Path, tombstones: &Tombstones) -> Result<u64, FileError> {
    crate::block::replace_file(fs, block, FILE_NAME, &encode(tombstones))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start_ms: i64, end_ms: i64) -> TimeRange {
        TimeRange { start_ms, end_ms }
    }

    #[test]
    fn intervals_merge_where_they_overlap_or_touch() {
        let mut all = Vec::new();
        for (start, end) in [(10, 20), (30, 40), (21, 22), (50, 60), (42, 48), (41, 41), (i64::MIN, 5)] {
            add_interval(&mut all, range(start, end));
        }
        assert_eq!(all, [range(i64::MIN, 5), range(10, 22), range(30, 48), range(50, 60)]);
        add_interval(&mut all, range(7, i64::MAX));
        assert_eq!(all, [range(i64::MIN, 5), range(7, i64::MAX)]);
        add_interval(&mut all, range(6, 6));
        assert_eq!(all, [range(i64::MIN, i64::MAX)]);
    }

    #[test]
    fn merging_equals_marking_each_time() {
        let mut rng = testkit::Rng::new(61);
        for _ in 0..200 {
            let mut all = Vec::new();
            let mut marked = [false; 64];
            for _ in 0..8 {
                let start = rng.below(60) as i64;
                let end = start + rng.below(6) as i64;
                add_interval(&mut all, range(start, end.min(63)));
                marked[start as usize..=end.min(63) as usize].fill(true);
            }
            for (t, deleted) in marked.iter().enumerate() {
                assert_eq!(is_deleted(&all, t as i64), *deleted);
            }
            assert!(all.windows(2).all(|pair| pair[0].end_ms + 1 < pair[1].start_ms));
        }
    }

    #[test]
    fn the_file_survives_and_damage_is_named() {
        let mut tombstones = Tombstones::new();
        tombstones.add(7, range(-5, 10));
        tombstones.add(7, range(i64::MAX - 1, i64::MAX));
        tombstones.add(300, range(i64::MIN, i64::MAX));
        let bytes = encode(&tombstones);
        assert_eq!(decode(&bytes), Ok(tombstones));
        assert_eq!(encode(&Tombstones::new()).len(), 9);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err());
        }
    }
}
