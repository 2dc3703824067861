//! The table of contents, and sections behind a length with a checksum.

use super::HEADER_LEN;
use crate::corruption::Damage;
use crate::crc::{CRC_LEN, crc32c};
use crate::cursor::Cursor;

/// Bytes of the table of contents: six offsets and a checksum.
pub(super) const TOC_LEN: usize = 6 * 8 + CRC_LEN;
const _: () = assert!(TOC_LEN == 52);

/// Where the sections start; 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Toc {
    pub(super) symbols: u64,
    pub(super) series: u64,
    /// Sections that are no longer written; upstream still fills their places.
    pub(super) label_indices: u64,
    pub(super) label_offset_table: u64,
    pub(super) postings: u64,
    pub(super) postings_table: u64,
}

impl Toc {
    fn fields(&self) -> [u64; 6] {
        [
            self.symbols,
            self.series,
            self.label_indices,
            self.label_offset_table,
            self.postings,
            self.postings_table,
        ]
    }

    pub(super) fn encode(&self) -> [u8; TOC_LEN] {
        let mut bytes = [0; TOC_LEN];
        for (place, field) in bytes.chunks_exact_mut(8).zip(self.fields()) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        let crc = crc32c(&bytes[..TOC_LEN - CRC_LEN]);
        bytes[TOC_LEN - CRC_LEN..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads it from the end of an index.
    pub(super) fn read(index: &[u8]) -> Result<Toc, (u64, Damage)> {
        let start = index.len().checked_sub(TOC_LEN).filter(|start| *start >= HEADER_LEN).ok_or((
            0,
            Damage::Short { what: "an index", need: (HEADER_LEN + TOC_LEN) as u64, have: index.len() as u64 },
        ))?;
        let at = |damage| (start as u64, damage);
        let mut cursor = Cursor::new(&index[start..]);
        let mut field = || cursor.be_u64("a table of contents");
        let toc = (|| {
            Ok(Toc {
                symbols: field()?,
                series: field()?,
                label_indices: field()?,
                label_offset_table: field()?,
                postings: field()?,
                postings_table: field()?,
            })
        })()
        .map_err(at)?;
        let stored = cursor.be_u32("a checksum").map_err(at)?;
        let computed = crc32c(&index[start..index.len() - CRC_LEN]);
        if stored != computed {
            return Err(at(Damage::Checksum { stored, computed }));
        }
        if let Some(&found) = toc.fields().iter().find(|&&field| field > start as u64) {
            return Err(at(Damage::OutOfRange { what: "section offset", found, limit: start as u64 }));
        }
        Ok(toc)
    }
}

/// The bytes of a section: a 4-byte length, so many bytes, their checksum.
/// Answers where the bytes start, and them.
pub(super) fn section<'a>(
    index: &'a [u8],
    offset: u64,
    what: &'static str,
) -> Result<(usize, &'a [u8]), (u64, Damage)> {
    let at = |damage| (offset, damage);
    let start = usize::try_from(offset)
        .ok()
        .filter(|&start| start <= index.len())
        .ok_or(at(Damage::OutOfRange { what: "section offset", found: offset, limit: index.len() as u64 }))?;
    let mut cursor = Cursor::new(&index[start..]);
    let len = cursor.be_u32(what).map_err(at)? as usize;
    let bytes = cursor.take(len, what).map_err(at)?;
    let stored = cursor.be_u32("a checksum").map_err(at)?;
    let computed = crc32c(bytes);
    if stored != computed {
        return Err(at(Damage::Checksum { stored, computed }));
    }
    Ok((start + 4, bytes))
}
