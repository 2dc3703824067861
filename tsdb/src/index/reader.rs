//! Reads an index through a map. What is kept in memory is a sample of offsets;
//! everything else is looked up in place, each entry's checksum verified when
//! it is read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::env::Mapped;
use model::{Fs, Labels};

use super::postings::{PostingsList, PostingsTable};
use super::symbols::Symbols;
use super::toc::{Toc, section};
use super::{
    BlockChunkRef, BlockSeriesRef, ChunkMeta, HEADER_LEN, MAGIC, SERIES_ALIGNMENT, VERSION, VERSION_1,
    VERSION_3,
};
use crate::corruption::{Damage, FileError};
use crate::crc::crc32c;
use crate::cursor::Cursor;

/// An open index.
pub struct IndexReader {
    path: PathBuf,
    map: Arc<dyn Mapped>,
    version: u8,
    toc: Toc,
    symbols: Symbols,
    postings: PostingsTable,
}

impl IndexReader {
    /// Opens an index and verifies its header, table of contents, symbols and
    /// postings offset table.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn open(fs: &dyn Fs, path: &Path) -> Result<IndexReader, FileError> {
        let map = fs.map(path).map_err(|source| FileError::io("map", path, source))?;
        let fail = |(offset, damage): (u64, Damage)| FileError::corrupt(path, offset, damage);
        let version = check_header(&map).map_err(|damage| fail((0, damage)))?;
        let toc = Toc::read(&map).map_err(fail)?;
        let symbols = Symbols::open(map.clone(), version, toc.symbols).map_err(fail)?;
        let postings = PostingsTable::open(map.clone(), version, toc.postings_table).map_err(fail)?;
        Ok(IndexReader { path: path.to_path_buf(), map, version, toc, symbols, postings })
    }

    /// The format's version.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.symbols.heap_bytes() + self.postings.heap_bytes()
    }

    /// The strings.
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// The label names in order.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        self.postings.names()
    }

    /// How many values a label name has.
    pub fn num_label_values(&self, name: &str) -> usize {
        self.postings.num_values(name)
    }

    /// Calls `each` for every value of a label name in order, with its list's
    /// place for [`IndexReader::postings_at`]; `each` answers whether to go on.
    ///
    /// # Errors
    /// The table is damaged.
    pub fn label_values<'a>(
        &'a self,
        name: &str,
        mut each: impl FnMut(&'a str, u64) -> bool,
    ) -> Result<(), FileError> {
        for read in self.postings.values(name) {
            let (value, postings) = read.map_err(|damage| self.table_damage(damage))?;
            if !each(value, postings) {
                break;
            }
        }
        Ok(())
    }

    /// As [`IndexReader::label_values`], from the first value not below `from` on.
    ///
    /// # Errors
    /// The table is damaged.
    pub fn label_values_from<'a>(
        &'a self,
        name: &str,
        from: &str,
        mut each: impl FnMut(&'a str, u64) -> bool,
    ) -> Result<(), FileError> {
        for read in self.postings.values_from(name, from) {
            let (value, postings) = read.map_err(|damage| self.table_damage(damage))?;
            if !each(value, postings) {
                break;
            }
        }
        Ok(())
    }

    fn table_damage(&self, damage: Damage) -> FileError {
        FileError::corrupt(&self.path, self.toc.postings_table, damage)
    }

    fn damage(&self, (offset, damage): (u64, Damage)) -> FileError {
        FileError::corrupt(&self.path, offset, damage)
    }

    /// The series with a label pair.
    ///
    /// # Errors
    /// The list or the table is damaged.
    pub fn postings(&self, name: &str, value: &str) -> Result<PostingsList, FileError> {
        match self.postings.find(name, value).map_err(|damage| self.table_damage(damage))? {
            Some(offset) => self.postings_at(offset),
            None => Ok(PostingsList::empty()),
        }
    }

    /// The list at a place that [`IndexReader::label_values`] named.
    ///
    /// # Errors
    /// The list is damaged.
    pub fn postings_at(&self, offset: u64) -> Result<PostingsList, FileError> {
        PostingsList::open(&self.map, offset).map_err(|error| self.damage(error))
    }

    /// All series.
    ///
    /// # Errors
    /// As [`IndexReader::postings`].
    pub fn all_postings(&self) -> Result<PostingsList, FileError> {
        self.postings("", "")
    }

    fn series_offset(&self, series: BlockSeriesRef) -> u64 {
        if self.version == VERSION_1 {
            u64::from(series.0)
        } else {
            u64::from(series.0) * SERIES_ALIGNMENT as u64
        }
    }

    fn series_bytes(&self, series: BlockSeriesRef) -> Result<&[u8], (u64, Damage)> {
        let offset = self.series_offset(series);
        let fail = |damage| (offset, damage);
        let limit = self.map.len() as u64;
        let rest = usize::try_from(offset)
            .ok()
            .filter(|&at| at >= HEADER_LEN)
            .and_then(|at| self.map.get(at..))
            .ok_or(fail(Damage::OutOfRange { what: "series offset", found: offset, limit }))?;
        let mut cursor = Cursor::new(rest);
        let len = cursor.count(1, "a series entry").map_err(fail)?;
        let bytes = cursor.take(len, "a series entry").map_err(fail)?;
        let stored = cursor.be_u32("a series entry's checksum").map_err(fail)?;
        let computed = crc32c(bytes);
        if stored != computed {
            return Err(fail(Damage::Checksum { stored, computed }));
        }
        Ok(bytes)
    }

    /// A series' labels, as (name, value) of [`IndexReader::symbols`], and its
    /// chunks in order. Both lists are cleared first.
    ///
    /// # Errors
    /// There is no such series, or its entry is damaged.
    pub fn series(
        &self,
        series: BlockSeriesRef,
        labels: &mut Vec<(u32, u32)>,
        chunks: &mut Vec<ChunkMeta>,
    ) -> Result<(), FileError> {
        labels.clear();
        chunks.clear();
        let bytes = self.series_bytes(series).map_err(|error| self.damage(error))?;
        let mut cursor = Cursor::new(bytes);
        read_labels(&mut cursor, labels)
            .and_then(|()| read_chunks(&mut cursor, chunks))
            .map_err(|damage| self.damage((self.series_offset(series), damage)))
    }

    /// A series' labels alone.
    ///
    /// # Errors
    /// As [`IndexReader::series`].
    pub fn series_labels(
        &self,
        series: BlockSeriesRef,
        labels: &mut Vec<(u32, u32)>,
    ) -> Result<(), FileError> {
        labels.clear();
        let bytes = self.series_bytes(series).map_err(|error| self.damage(error))?;
        read_labels(&mut Cursor::new(bytes), labels)
            .map_err(|damage| self.damage((self.series_offset(series), damage)))
    }

    /// The label set behind pairs that [`IndexReader::series`] gave.
    ///
    /// # Errors
    /// A pair names a string that is not there.
    pub fn labels(&self, pairs: &[(u32, u32)]) -> Result<Labels, FileError> {
        let text = |symbol: u32| {
            self.symbols.get(symbol).ok_or_else(|| {
                let (found, limit) = (u64::from(symbol), self.symbols.len() as u64);
                FileError::corrupt(
                    &self.path,
                    self.toc.symbols,
                    Damage::OutOfRange { what: "symbol number", found, limit },
                )
            })
        };
        let mut resolved = Vec::with_capacity(pairs.len());
        for &(name, value) in pairs {
            resolved.push((text(name)?, text(value)?));
        }
        Ok(
            if resolved.is_sorted_by(|a, b| a.0 < b.0) && resolved.iter().all(|(_, value)| !value.is_empty())
            {
                Labels::from_sorted(resolved)
            } else {
                Labels::from_pairs(resolved)
            },
        )
    }
}

fn check_header(index: &[u8]) -> Result<u8, Damage> {
    let mut cursor = Cursor::new(index);
    let found = cursor.be_u32("an index's magic number")?;
    if found != MAGIC {
        return Err(Damage::Magic { found, want: MAGIC });
    }
    let version = cursor.u8("an index's version")?;
    if !matches!(version, VERSION_1 | VERSION | VERSION_3) {
        return Err(Damage::Version { what: "index", found: u64::from(version) });
    }
    Ok(version)
}

fn read_labels(cursor: &mut Cursor<'_>, labels: &mut Vec<(u32, u32)>) -> Result<(), Damage> {
    let count = cursor.count(2, "labels")?;
    labels.reserve(count);
    let symbol = |cursor: &mut Cursor<'_>| {
        let number = cursor.uvarint("a symbol number")?;
        u32::try_from(number).map_err(|_| Damage::OutOfRange {
            what: "symbol number",
            found: number,
            limit: u64::from(u32::MAX),
        })
    };
    for _ in 0..count {
        labels.push((symbol(cursor)?, symbol(cursor)?));
    }
    Ok(())
}

fn read_chunks(cursor: &mut Cursor<'_>, chunks: &mut Vec<ChunkMeta>) -> Result<(), Damage> {
    let count = cursor.count(3, "chunks")?;
    if count == 0 {
        return Ok(());
    }
    chunks.reserve(count);
    let mut min_ms = cursor.varint("a chunk's time")?;
    let mut max_ms = min_ms.wrapping_add(cursor.uvarint("a chunk's time")? as i64);
    let mut chunk = cursor.uvarint("a chunk's reference")?;
    chunks.push(ChunkMeta { chunk: BlockChunkRef(chunk), min_ms, max_ms });
    for _ in 1..count {
        min_ms = max_ms.wrapping_add(cursor.uvarint("a chunk's time")? as i64);
        max_ms = min_ms.wrapping_add(cursor.uvarint("a chunk's time")? as i64);
        chunk = chunk.wrapping_add(cursor.varint("a chunk's reference")? as u64);
        chunks.push(ChunkMeta { chunk: BlockChunkRef(chunk), min_ms, max_ms });
    }
    Ok(())
}

/// Verifies every list and every series of an index: for scrubbing and tests.
impl IndexReader {
    /// Reads all of it.
    ///
    /// # Errors
    /// The first damage found.
    pub fn verify(&self) -> Result<(), FileError> {
        let (mut labels, mut chunks) = (Vec::new(), Vec::new());
        for series in self.all_postings()?.iter() {
            self.series(series, &mut labels, &mut chunks)?;
            self.labels(&labels)?;
        }
        let mut lists = Vec::new();
        let names: Vec<&str> = self.label_names().collect();
        for name in names {
            self.label_values(name, |_, list| {
                lists.push(list);
                true
            })?;
        }
        for list in lists {
            section(&self.map, list, "a postings list").map_err(|error| self.damage(error))?;
        }
        Ok(())
    }
}
