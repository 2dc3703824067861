//! Reading a block: which of its series match, and their samples.

use std::sync::Arc;

use hashbrown::HashMap;
use model::query::{ReadOptions, ReadStats, SelectRequest};
use model::{Columns, Dictionary, LabelTable, StorageError, SymbolId, TimeRange};

use super::block_matchers::matching_series;
use super::merge::drop_intervals;
use crate::chunk;
use crate::corruption::{Damage, FileError};
use crate::db::Block;
use crate::db::cut::CutChunk;
use crate::index::{BlockSeriesRef, ChunkMeta, IndexReader};

/// A block as one reader sees it.
pub(crate) struct BlockView {
    pub(crate) block: Arc<Block>,
}

/// From an index's symbols to a dictionary's ids.
struct Translation<'a> {
    index: &'a IndexReader,
    dictionary: &'a Dictionary,
    known: HashMap<u32, SymbolId, rapidhash::fast::RandomState>,
}

impl Translation<'_> {
    fn id(&mut self, symbol: u32) -> Option<SymbolId> {
        if let Some(&id) = self.known.get(&symbol) {
            return Some(id);
        }
        let id = self.dictionary.intern(self.index.symbols().get(symbol)?);
        self.known.insert(symbol, id);
        Some(id)
    }
}

impl BlockView {
    fn damage(&self, series: BlockSeriesRef) -> StorageError {
        let what = Damage::Malformed("a series names a string that is not there");
        FileError::corrupt(&self.block.reader.dir().join("index"), u64::from(series.0), what).into()
    }

    /// The series that match and touch the range, in label order.
    pub(crate) fn select(
        &self,
        request: &SelectRequest,
        dictionary: &Dictionary,
    ) -> Result<(LabelTable, Vec<BlockSeriesRef>), StorageError> {
        let index = self.block.reader.index();
        let matching = matching_series(index, &request.matchers)?;
        let mut translation = Translation { index, dictionary, known: HashMap::default() };
        let (mut labels, mut chunks) = (Vec::new(), Vec::new());
        let mut table = LabelTable::new();
        let expected = matching.len();
        let mut found = Vec::with_capacity(expected);
        let mut row = Vec::new();
        for (n, series) in matching.into_iter().enumerate() {
            if n % 1024 == 0 {
                request.cancel.check()?;
            }
            index.series(series, &mut labels, &mut chunks)?;
            if !self.touches(series, &chunks, request.range) {
                continue;
            }
            row.clear();
            for &(name, value) in &labels {
                let (Some(name), Some(value)) = (translation.id(name), translation.id(value)) else {
                    return Err(self.damage(series));
                };
                row.push((name, value));
            }
            if table.is_empty() {
                // Others are mostly as long: a table that grows is held twice meanwhile.
                table.reserve(expected, expected * row.len());
            }
            table.push(row.iter().copied());
            found.push(series);
        }
        if found.len() < expected / 2 {
            table.shrink_to_fit();
            found.shrink_to_fit();
        }
        Ok((table, found))
    }

    fn touches(&self, series: BlockSeriesRef, chunks: &[ChunkMeta], range: TimeRange) -> bool {
        let tombstones = self.block.tombstones.read();
        let deleted = tombstones.get(u64::from(series.0));
        chunks.iter().any(|chunk| {
            chunk.min_ms <= range.end_ms
                && chunk.max_ms >= range.start_ms
                && !deleted.iter().any(|gone| gone.start_ms <= chunk.min_ms && chunk.max_ms <= gone.end_ms)
        })
    }

    /// Appends a series' samples to columns that hold none.
    pub(crate) fn read(
        &self,
        series: BlockSeriesRef,
        range: TimeRange,
        options: ReadOptions,
        columns: &mut Columns,
    ) -> Result<ReadStats, StorageError> {
        let reader = &self.block.reader;
        let (mut labels, mut chunks) = (Vec::new(), Vec::new());
        reader.index().series(series, &mut labels, &mut chunks)?;
        let mut stats = ReadStats::default();
        for meta in chunks.iter().filter(|c| c.min_ms <= range.end_ms && c.max_ms >= range.start_ms) {
            let found = reader.chunk(meta.chunk)?;
            chunk::decode(found.encoding, found.bytes, range, options, columns).map_err(|error| {
                let offset = u64::from(meta.chunk.offset());
                FileError::corrupt(&reader.dir().join("chunks"), offset, Damage::Chunk(error))
            })?;
            stats.chunks += 1;
            stats.bytes += found.bytes.len() as u64;
        }
        let tombstones = self.block.tombstones.read();
        let deleted = tombstones.get(u64::from(series.0));
        if !deleted.is_empty() {
            let intervals: Vec<(i64, i64)> =
                deleted.iter().map(|gone| (gone.start_ms, gone.end_ms)).collect();
            drop(tombstones);
            drop_intervals(columns, &intervals);
        }
        Ok(stats)
    }

    /// A series' chunks that touch a range, and what of them was deleted.
    pub(crate) fn raw_chunks(
        &self,
        series: BlockSeriesRef,
        range: TimeRange,
    ) -> Result<(Vec<CutChunk>, Vec<(i64, i64)>), StorageError> {
        let reader = &self.block.reader;
        let (mut labels, mut metas) = (Vec::new(), Vec::new());
        reader.index().series(series, &mut labels, &mut metas)?;
        let mut chunks = Vec::new();
        for meta in metas.iter().filter(|c| c.min_ms <= range.end_ms && c.max_ms >= range.start_ms) {
            let found = reader.chunk(meta.chunk)?;
            chunks.push(CutChunk {
                min_ms: meta.min_ms,
                max_ms: meta.max_ms,
                encoding: found.encoding,
                bytes: found.bytes.to_vec(),
            });
        }
        let tombstones = self.block.tombstones.read();
        let deleted =
            tombstones.get(u64::from(series.0)).iter().map(|gone| (gone.start_ms, gone.end_ms)).collect();
        Ok((chunks, deleted))
    }
}
