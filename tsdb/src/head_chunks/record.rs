//! One record of a head chunk file.

use model::SeriesRef;
use model::query::ChunkEncoding;

use crate::corruption::Damage;
use crate::crc::{CRC_LEN, crc32c};
use crate::cursor::{Cursor, put_uvarint};

/// The first bytes of a head chunk file.
pub(super) const MAGIC: u32 = 0x0130_bc91;
pub(super) const VERSION: u8 = 1;
/// Bytes before the first record.
pub(super) const FILE_HEADER_LEN: usize = 8;

/// Offsets inside a record.
const SERIES_AT: usize = 0;
const MIN_TIME_AT: usize = 8;
const MAX_TIME_AT: usize = 16;
const ENCODING_AT: usize = 24;
const LENGTH_AT: usize = 25;
const _: () = assert!(MIN_TIME_AT == SERIES_AT + 8 && MAX_TIME_AT == MIN_TIME_AT + 8);
const _: () = assert!(ENCODING_AT == MAX_TIME_AT + 8 && LENGTH_AT == ENCODING_AT + 1);

/// Set in the encoding byte of chunks with out-of-order samples.
const OUT_OF_ORDER: u8 = 0b1000_0000;

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeadChunkRef(pub u64);

impl HeadChunkRef {
    /// The reference of an offset in a file.
    pub fn new(file: u32, offset: u32) -> HeadChunkRef {
        HeadChunkRef(u64::from(file) << 32 | u64::from(offset))
    }

    /// The file's number.
    pub fn file(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Where the record starts in it.
    pub fn offset(self) -> u32 {
        self.0 as u32
    }
}

/// What a record says of its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadChunk {
    /// Where it lies.
    pub chunk: HeadChunkRef,
    /// The series.
    pub series: SeriesRef,
    /// Time of its first sample in ms.
    pub min_ms: i64,
    /// Time of its last sample in ms.
    pub max_ms: i64,
    /// How its bytes are encoded.
    pub encoding: ChunkEncoding,
    /// Whether its samples came out of order.
    pub out_of_order: bool,
    /// How many samples it has.
    pub num_samples: u16,
    /// Length of its bytes.
    pub len: u32,
}

/// Appends a record.
pub(super) fn put_record(
    out: &mut Vec<u8>,
    series: SeriesRef,
    (min_ms, max_ms): (i64, i64),
    encoding: ChunkEncoding,
    out_of_order: bool,
    data: &[u8],
) {
    let start = out.len();
    out.extend_from_slice(&series.0.to_be_bytes());
    out.extend_from_slice(&min_ms.to_be_bytes());
    out.extend_from_slice(&max_ms.to_be_bytes());
    out.push(encoding as u8 | if out_of_order { OUT_OF_ORDER } else { 0 });
    put_uvarint(out, data.len() as u64);
    out.extend_from_slice(data);
    let crc = crc32c(&out[start..]);
    out.extend_from_slice(&crc.to_be_bytes());
}

/// A record that was read.
pub(super) struct Record<'a> {
    pub(super) chunk: HeadChunk,
    pub(super) data: &'a [u8],
    /// Bytes of the whole record.
    pub(super) len: usize,
}

/// What stands at an offset of a file.
pub(super) enum Place<'a> {
    Record(Record<'a>),
    /// Zeros, or the file's end.
    End,
    /// The record goes beyond the file's end.
    Cut,
    Bad(Damage),
}

/// Reads the record at `offset` of a file's bytes.
pub(super) fn read_record(file: u32, bytes: &[u8], offset: usize) -> Place<'_> {
    let Some(rest) = bytes.get(offset..) else { return Place::End };
    let head = &rest[..rest.len().min(LENGTH_AT)];
    if head.iter().all(|&byte| byte == 0) {
        return Place::End;
    }
    match parse(file, rest, offset) {
        Ok(record) => Place::Record(record),
        Err(Damage::Short { .. }) => Place::Cut,
        Err(damage) => Place::Bad(damage),
    }
}

fn parse(file: u32, rest: &[u8], offset: usize) -> Result<Record<'_>, Damage> {
    let mut cursor = Cursor::new(rest);
    let series = SeriesRef(cursor.be_u64("a series reference")?);
    let min_ms = cursor.be_i64("a timestamp")?;
    let max_ms = cursor.be_i64("a timestamp")?;
    let encoding_byte = cursor.u8("a chunk's encoding")?;
    let data_len = cursor.uvarint("a chunk's length")?;
    let data = cursor.take(usize::try_from(data_len).unwrap_or(usize::MAX), "a chunk")?;
    let covered = cursor.position();
    let stored = cursor.be_u32("a chunk's checksum")?;
    let computed = crc32c(&rest[..covered]);
    if stored != computed {
        return Err(Damage::Checksum { stored, computed });
    }
    let number = encoding_byte & !OUT_OF_ORDER;
    let encoding = ChunkEncoding::from_number(number).ok_or(Damage::Encoding(number))?;
    let chunk = HeadChunk {
        chunk: HeadChunkRef::new(file, offset as u32),
        series,
        min_ms,
        max_ms,
        encoding,
        out_of_order: encoding_byte & OUT_OF_ORDER != 0,
        num_samples: crate::chunk::num_samples(encoding, data)?,
        len: data_len as u32,
    };
    Ok(Record { chunk, data, len: covered + CRC_LEN })
}

/// Checks the bytes before the first record. A file of zeros, allocated and
/// never written, is no file.
pub(super) fn check_header(bytes: &[u8]) -> Result<(), Damage> {
    let mut cursor = Cursor::new(bytes);
    let found = cursor.be_u32("a head chunk file's magic number")?;
    if found != MAGIC {
        return Err(Damage::Magic { found, want: MAGIC });
    }
    let version = cursor.u8("a head chunk file's version")?;
    if version != VERSION {
        return Err(Damage::Version { what: "head chunk file", found: u64::from(version) });
    }
    cursor.take(FILE_HEADER_LEN - 5, "a head chunk file's padding")?;
    Ok(())
}

/// The bytes before the first record.
pub(super) fn file_header() -> [u8; FILE_HEADER_LEN] {
    let mut header = [0; FILE_HEADER_LEN];
    header[..4].copy_from_slice(&MAGIC.to_be_bytes());
    header[4] = VERSION;
    header
}
