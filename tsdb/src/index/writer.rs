//! Writes an index in one pass: symbols, then series in label order, then the
//! lists, which are gathered by reading the written series again, some label
//! names at a time. Memory: the symbols, and one batch of (value, series).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Fs;
use model::env::FsFile;

use super::toc::Toc;
use super::{BlockChunkRef, ChunkMeta, HEADER_LEN, MAGIC, POSTINGS_TABLE_KEYS, SERIES_ALIGNMENT, VERSION};
use crate::corruption::{Damage, FileError};
use crate::crc::{Crc, crc32c};
use crate::cursor::{Cursor, put_string, put_uvarint, put_varint};

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// So many (value, series) are gathered at a time, unless one name has more.
const POSTINGS_AT_ONCE: usize = 1 << 20;
/// Lists start at multiples of this.
const POSTINGS_ALIGNMENT: usize = 4;

/// Why an index cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum IndexWriteError {
    /// The file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Symbols must ascend.
    #[error("symbol {0:?} out-of-order")]
    SymbolOrder(String),
    /// Series must ascend by their labels and have each once.
    #[error("out-of-order series added: number {0}")]
    SeriesOrder(u64),
    /// A label names a symbol that is not there.
    #[error("symbol number {0} does not exist")]
    UnknownSymbol(u32),
    /// Chunks of a series must not overlap, and be written in order.
    #[error("chunk {chunk:?} ({min_ms} to {max_ms}) does not follow the one before it")]
    ChunkOrder {
        /// The chunk.
        chunk: BlockChunkRef,
        /// Its first time in ms.
        min_ms: i64,
        /// Its last time in ms.
        max_ms: i64,
    },
    /// A section or the index is longer than the format can say.
    #[error("{0}")]
    TooLarge(&'static str),
}

/// A file that is written from front to end through a buffer.
struct Output {
    path: PathBuf,
    file: Box<dyn FsFile>,
    buffer: Vec<u8>,
    written: u64,
}

impl Output {
    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn flush(&mut self) -> Result<(), FileError> {
        self.file.write_all(&self.buffer).map_err(|source| FileError::io("write", &self.path, source))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn relieve(&mut self) -> Result<(), FileError> {
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn align(&mut self, alignment: usize) {
        let over = (self.position() % alignment as u64) as usize;
        if over > 0 {
            self.buffer.resize(self.buffer.len() + alignment - over, 0);
        }
    }
}

/// Writes an index.
pub struct IndexWriter {
    fs: Arc<dyn Fs>,
    out: Output,
    toc: Toc,
    /// The symbols' text, and where each ends in it.
    text: String,
    ends: Vec<usize>,
    /// How many series have a label name, by its symbol.
    name_use: Vec<u32>,
    num_series: u64,
    last_labels: Vec<(u32, u32)>,
    last_chunk: BlockChunkRef,
    entry: Vec<u8>,
}

/// Bytes of the symbol table behind its length, of strings so long.
fn symbols_len(texts: impl Iterator<Item = u64>) -> Result<u32, IndexWriteError> {
    let mut prefix = Vec::new();
    let mut len = 4u64;
    for bytes in texts {
        put_uvarint(&mut prefix, bytes);
        len += prefix.len() as u64 + bytes;
        prefix.clear();
    }
    u32::try_from(len).map_err(|_| IndexWriteError::TooLarge("symbol table size exceeds 4294967295 bytes"))
}

impl IndexWriter {
    /// Starts an index with its symbols, which ascend and have each once.
    /// Upstream's always hold the empty string.
    ///
    /// # Errors
    /// See [`IndexWriteError`].
    pub fn create<S: AsRef<str>>(
        fs: Arc<dyn Fs>,
        path: &Path,
        symbols: impl IntoIterator<Item = S>,
    ) -> Result<IndexWriter, IndexWriteError> {
        let mut text = String::new();
        let mut ends = Vec::new();
        let mut last_start = 0;
        for symbol in symbols {
            let symbol = symbol.as_ref();
            if !ends.is_empty() && symbol <= &text[last_start..] {
                return Err(IndexWriteError::SymbolOrder(symbol.to_owned()));
            }
            last_start = text.len();
            text.push_str(symbol);
            ends.push(text.len());
        }
        let file = fs.create(path).map_err(|source| FileError::io("create", path, source))?;
        let out = Output { path: path.to_path_buf(), file, buffer: Vec::new(), written: 0 };
        let mut writer = IndexWriter {
            fs,
            out,
            toc: Toc::default(),
            name_use: vec![0; ends.len()],
            text,
            ends,
            num_series: 0,
            last_labels: Vec::new(),
            last_chunk: BlockChunkRef::default(),
            entry: Vec::new(),
        };
        writer.write_symbols()?;
        Ok(writer)
    }

    fn symbol_text(&self, symbol: u32) -> &str {
        let i = symbol as usize;
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.text[start..self.ends[i]]
    }

    /// The number of a symbol.
    pub fn symbol(&self, text: &str) -> Option<u32> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.symbol_text(middle as u32).cmp(text) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return u32::try_from(middle).ok(),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn write_symbols(&mut self) -> Result<(), IndexWriteError> {
        self.out.buffer.extend_from_slice(&MAGIC.to_be_bytes());
        self.out.buffer.push(VERSION);
        debug_assert_eq!(self.out.buffer.len(), HEADER_LEN);
        self.toc.symbols = self.out.position();
        let count = u32::try_from(self.ends.len())
            .map_err(|_| IndexWriteError::TooLarge("an index has fewer than 2^32 symbols"))?;
        // The length comes first, so that the strings are walked twice.
        let len = symbols_len((0..count).map(|symbol| self.symbol_text(symbol).len() as u64))?;
        let mut entry = Vec::new();
        self.out.buffer.extend_from_slice(&len.to_be_bytes());
        let mut crc = Crc::new();
        crc.update(&count.to_be_bytes());
        self.out.buffer.extend_from_slice(&count.to_be_bytes());
        for symbol in 0..count {
            put_string(&mut entry, self.symbol_text(symbol));
            crc.update(&entry);
            self.out.buffer.extend_from_slice(&entry);
            self.out.relieve()?;
            entry.clear();
        }
        self.out.buffer.extend_from_slice(&crc.finish().to_be_bytes());
        self.toc.series = self.out.position();
        Ok(())
    }

    /// The number of a series that starts here.
    fn series_id(&self) -> Result<u32, IndexWriteError> {
        u32::try_from(self.out.position() / SERIES_ALIGNMENT as u64)
            .map_err(|_| IndexWriteError::TooLarge("exceeding max size of 64GiB"))
    }

    /// Adds a series: its labels as (name, value) symbol numbers, which order as
    /// their text does, and its chunks in order. Series come in label order.
    ///
    /// # Errors
    /// See [`IndexWriteError`].
    pub fn add_series(&mut self, labels: &[(u32, u32)], chunks: &[ChunkMeta]) -> Result<(), IndexWriteError> {
        let sorted = labels.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !sorted || (self.num_series > 0 && labels <= self.last_labels.as_slice()) {
            return Err(IndexWriteError::SeriesOrder(self.num_series));
        }
        let known = self.ends.len() as u32;
        if let Some(symbol) = labels.iter().flat_map(|&(name, value)| [name, value]).find(|&s| s >= known) {
            return Err(IndexWriteError::UnknownSymbol(symbol));
        }
        self.check_chunks(chunks)?;
        self.out.align(SERIES_ALIGNMENT);
        self.series_id()?;
        self.entry.clear();
        put_uvarint(&mut self.entry, labels.len() as u64);
        for &(name, value) in labels {
            put_uvarint(&mut self.entry, u64::from(name));
            put_uvarint(&mut self.entry, u64::from(value));
            self.name_use[name as usize] += 1;
        }
        put_chunks(&mut self.entry, chunks);
        put_uvarint(&mut self.out.buffer, self.entry.len() as u64);
        self.out.buffer.extend_from_slice(&self.entry);
        self.out.buffer.extend_from_slice(&crc32c(&self.entry).to_be_bytes());
        self.out.relieve()?;
        self.num_series += 1;
        self.last_labels.clear();
        self.last_labels.extend_from_slice(labels);
        if let Some(last) = chunks.last() {
            self.last_chunk = last.chunk;
        }
        Ok(())
    }

    fn check_chunks(&self, chunks: &[ChunkMeta]) -> Result<(), IndexWriteError> {
        let mut last_chunk = self.last_chunk;
        let mut last_ms = None;
        for &ChunkMeta { chunk, min_ms, max_ms } in chunks {
            if chunk < last_chunk || max_ms < min_ms || last_ms.is_some_and(|last| min_ms <= last) {
                return Err(IndexWriteError::ChunkOrder { chunk, min_ms, max_ms });
            }
            last_chunk = chunk;
            last_ms = Some(max_ms);
        }
        Ok(())
    }

    /// Writes lists, table and table of contents, syncs the file, and answers
    /// its length.
    ///
    /// # Errors
    /// See [`IndexWriteError`].
    pub fn finish(mut self) -> Result<u64, IndexWriteError> {
        self.toc.label_indices = self.out.position();
        self.out.flush()?;
        let mut table = Table::default();
        self.out.align(POSTINGS_ALIGNMENT);
        self.toc.postings = self.toc.label_indices;
        self.write_all_postings(&mut table)?;
        self.write_postings(&mut table)?;
        self.toc.label_offset_table = self.out.position();
        self.toc.postings_table = self.out.position();
        self.write_table(&table)?;
        self.out.buffer.extend_from_slice(&self.toc.encode());
        self.out.flush()?;
        let path = &self.out.path;
        self.out.file.sync().map_err(|source| FileError::io("sync", path, source))?;
        Ok(self.out.position())
    }

    /// Calls `each` for every series that was written: its number and labels.
    fn walk_series(&self, mut each: impl FnMut(u32, &[(u32, u32)])) -> Result<(), FileError> {
        let path = &self.out.path;
        let map = self.fs.map(path).map_err(|source| FileError::io("map", path, source))?;
        let mut at = self.toc.series;
        let mut labels = Vec::new();
        for _ in 0..self.num_series {
            at = at.next_multiple_of(SERIES_ALIGNMENT as u64);
            let fail = |damage: Damage| FileError::corrupt(path, at, damage);
            let rest = map.get(at as usize..).unwrap_or_default();
            let mut cursor = Cursor::new(rest);
            let len = cursor.count(1, "a series entry").map_err(fail)?;
            let entry_at = at + cursor.position() as u64;
            let mut entry = Cursor::new(cursor.take(len, "a series entry").map_err(fail)?);
            labels.clear();
            for _ in 0..entry.count(2, "labels").map_err(fail)? {
                let name = entry.uvarint("a symbol number").map_err(fail)? as u32;
                labels.push((name, entry.uvarint("a symbol number").map_err(fail)? as u32));
            }
            each((at / SERIES_ALIGNMENT as u64) as u32, &labels);
            at = entry_at + len as u64 + crate::crc::CRC_LEN as u64;
        }
        Ok(())
    }

    fn write_all_postings(&mut self, table: &mut Table) -> Result<(), IndexWriteError> {
        let mut all = Vec::with_capacity(self.num_series as usize);
        self.walk_series(|series, _| all.push(series))?;
        table.push("", "", self.out.position());
        self.write_list(&all)
    }

    fn write_list(&mut self, series: &[u32]) -> Result<(), IndexWriteError> {
        self.out.align(POSTINGS_ALIGNMENT);
        let len = u32::try_from(series.len() as u64 * 4 + 4)
            .map_err(|_| IndexWriteError::TooLarge("a postings list is longer than 4 GiB"))?;
        self.out.buffer.extend_from_slice(&len.to_be_bytes());
        let mut crc = Crc::new();
        let count = (series.len() as u32).to_be_bytes();
        crc.update(&count);
        self.out.buffer.extend_from_slice(&count);
        for part in series.chunks(BUFFER_BYTES / 4) {
            let start = self.out.buffer.len();
            self.out.buffer.extend(part.iter().flat_map(|series| series.to_be_bytes()));
            crc.update(&self.out.buffer[start..]);
            self.out.relieve()?;
        }
        self.out.buffer.extend_from_slice(&crc.finish().to_be_bytes());
        Ok(self.out.relieve()?)
    }

    /// The lists of all pairs, some names at a time.
    fn write_postings(&mut self, table: &mut Table) -> Result<(), IndexWriteError> {
        let names: Vec<u32> =
            (0..self.name_use.len() as u32).filter(|&name| self.name_use[name as usize] > 0).collect();
        let mut rest = names.as_slice();
        let mut batch_of = vec![u32::MAX; self.name_use.len()];
        while !rest.is_empty() {
            let mut total = 0;
            let mut taken = 0;
            for &name in rest {
                total += self.name_use[name as usize] as usize;
                if taken > 0 && total > POSTINGS_AT_ONCE {
                    break;
                }
                taken += 1;
            }
            let (batch, behind) = rest.split_at(taken);
            rest = behind;
            batch_of.fill(u32::MAX);
            let mut gathered: Vec<Vec<(u32, u32)>> = Vec::with_capacity(batch.len());
            for (i, &name) in batch.iter().enumerate() {
                batch_of[name as usize] = i as u32;
                gathered.push(Vec::with_capacity(self.name_use[name as usize] as usize));
            }
            self.walk_series(|series, labels| {
                for &(name, value) in labels {
                    if let Some(list) = gathered.get_mut(batch_of[name as usize] as usize) {
                        list.push((value, series));
                    }
                }
            })?;
            for (&name, mut pairs) in batch.iter().zip(gathered) {
                pairs.sort_unstable();
                let mut list = Vec::new();
                for of_value in pairs.chunk_by(|a, b| a.0 == b.0) {
                    list.clear();
                    list.extend(of_value.iter().map(|&(_, series)| series));
                    self.out.align(POSTINGS_ALIGNMENT);
                    let offset = self.out.position();
                    table.push(self.symbol_text(name), self.symbol_text(of_value[0].0), offset);
                    self.write_list(&list)?;
                }
            }
        }
        Ok(())
    }

    fn write_table(&mut self, table: &Table) -> Result<(), IndexWriteError> {
        let len = u32::try_from(table.entries.len() as u64 + 4)
            .map_err(|_| IndexWriteError::TooLarge("length size exceeds 4 bytes"))?;
        self.out.buffer.extend_from_slice(&len.to_be_bytes());
        let mut crc = Crc::new();
        let count = table.count.to_be_bytes();
        crc.update(&count);
        crc.update(&table.entries);
        self.out.buffer.extend_from_slice(&count);
        self.out.buffer.extend_from_slice(&table.entries);
        self.out.buffer.extend_from_slice(&crc.finish().to_be_bytes());
        Ok(self.out.relieve()?)
    }
}

/// The postings offset table being gathered.
#[derive(Default)]
struct Table {
    entries: Vec<u8>,
    count: u32,
}

impl Table {
    fn push(&mut self, name: &str, value: &str, offset: u64) {
        self.entries.push(POSTINGS_TABLE_KEYS);
        put_string(&mut self.entries, name);
        put_string(&mut self.entries, value);
        put_uvarint(&mut self.entries, offset);
        self.count += 1;
    }
}

fn put_chunks(out: &mut Vec<u8>, chunks: &[ChunkMeta]) {
    put_uvarint(out, chunks.len() as u64);
    let Some((first, later)) = chunks.split_first() else { return };
    put_varint(out, first.min_ms);
    put_uvarint(out, first.max_ms.wrapping_sub(first.min_ms) as u64);
    put_uvarint(out, first.chunk.0);
    let mut previous = first;
    for chunk in later {
        put_uvarint(out, chunk.min_ms.wrapping_sub(previous.max_ms) as u64);
        put_uvarint(out, chunk.max_ms.wrapping_sub(chunk.min_ms) as u64);
        put_varint(out, chunk.chunk.0.wrapping_sub(previous.chunk.0) as i64);
        previous = chunk;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFs;

    /// 9104: what does not fit is refused by name, before anything wrong is written.
    #[test]
    fn issue_9104_symbols_of_four_gib_are_refused() {
        let of_a_gib = |n: u64| symbols_len((0..n).map(|_| 1 << 30));
        assert_eq!(of_a_gib(3).expect("three fit"), 4 + 3 * (5 + (1 << 30)));
        let refused = of_a_gib(4).expect_err("four do not");
        assert_eq!(refused.to_string(), "symbol table size exceeds 4294967295 bytes");
        let rest = u64::from(u32::MAX) - 4 - 3 * (5 + (1 << 30)) - 5;
        assert_eq!(symbols_len([1 << 30, 1 << 30, 1 << 30, rest].into_iter()).expect("all fit"), u32::MAX);
        assert!(symbols_len([1 << 30, 1 << 30, 1 << 30, rest + 1].into_iter()).is_err());
    }

    /// A series' number is its place in units of 16 bytes, in 32 bits.
    #[test]
    fn a_series_behind_64_gib_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("index");
        let mut writer = IndexWriter::create(RealFs::shared(), &path, ["", "a", "b"]).expect("an index");
        let chunk = ChunkMeta { chunk: BlockChunkRef(8), min_ms: 0, max_ms: 1 };
        writer.out.flush().expect("room");
        writer.out.written = 64 << 30;
        writer.out.written -= SERIES_ALIGNMENT as u64;
        writer.add_series(&[(1, 1)], &[chunk]).expect("the last place");
        let refused = writer.add_series(&[(1, 2)], &[chunk]).expect_err("behind it");
        assert_eq!(refused.to_string(), "exceeding max size of 64GiB");
    }
}
