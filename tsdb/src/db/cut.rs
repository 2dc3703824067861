//! Head to block: a span of the head's samples becomes a block.
//!
//! Chunks end at multiples of the block duration, so most are copied as bytes;
//! those that cross the span or hold deleted samples are encoded anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::query::{ChunkEncoding, SelectRequest};
use model::{BlockRange, Dictionary, HistogramValue, SeriesHandle, StorageError, SymbolId, TimeRange};
use roaring::RoaringBitmap;
use ulid::Ulid;

use super::store::Store;
use crate::block::{BlockHint, BlockMeta, BlockWriteError, BlockWriter, BlockWriterOptions, ChunkToWrite};
use crate::chunk::samples::samples;
use crate::chunk::{StoredValue, num_samples};
use crate::head::ooo::{self, OooSample, OooValue};
use crate::head::open::{ChunkRules, ClosedChunk};
use crate::head_chunks::ChunkData;
use crate::query::head::HeadView;

/// Which samples of the head go into a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutKind {
    /// Those that came in order.
    InOrder,
    /// Those that came late.
    OutOfOrder,
    /// Those that came in order, of series that have gone stale.
    Stale,
    /// All.
    Everything,
}

/// A chunk on its way into a block.
pub(crate) struct CutChunk {
    /// Time of its first sample.
    pub(crate) min_ms: i64,
    /// Time of its last sample.
    pub(crate) max_ms: i64,
    /// How its bytes are encoded.
    pub(crate) encoding: ChunkEncoding,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

impl CutChunk {
    fn of_file(data: &ChunkData) -> CutChunk {
        CutChunk {
            min_ms: data.chunk.min_ms,
            max_ms: data.chunk.max_ms,
            encoding: data.chunk.encoding,
            bytes: data.to_vec(),
        }
    }

    fn of_closed(chunk: &ClosedChunk) -> CutChunk {
        CutChunk {
            min_ms: chunk.min_ms,
            max_ms: chunk.max_ms,
            encoding: chunk.encoding,
            bytes: chunk.bytes.clone(),
        }
    }

    fn to_write(&self) -> ChunkToWrite<'_> {
        ChunkToWrite { min_ms: self.min_ms, max_ms: self.max_ms, encoding: self.encoding, bytes: &self.bytes }
    }
}

/// A block writer's error as the store's.
pub(crate) fn write_error(error: BlockWriteError) -> StorageError {
    match error {
        BlockWriteError::File(error) => error.into(),
        other => StorageError::Invalid(other.to_string()),
    }
}

impl Store {
    /// A view of the head as a query has it, wholly.
    pub(crate) fn head_view(self: &Arc<Self>) -> HeadView {
        let mark = self.head.isolation.read();
        HeadView { store: self.clone(), mark, min_ms: i64::MIN }
    }

    /// Writes the head's samples of a span into a block of a folder, all series or
    /// those of the slots given; `None` where there is none.
    ///
    /// # Errors
    /// The block cannot be written: there is none.
    pub(crate) fn write_block(
        self: &Arc<Self>,
        view: &HeadView,
        range: BlockRange,
        kind: CutKind,
        only: Option<&RoaringBitmap>,
        dir: &std::path::Path,
    ) -> Result<Option<Ulid>, StorageError> {
        let span = TimeRange::new(range.min_ms, range.max_ms - 1);
        let dictionary = Dictionary::new();
        let (rows, handles) = view.select(&SelectRequest::new(Vec::new(), span), &dictionary)?;
        let rows: Vec<(&[(SymbolId, SymbolId)], SeriesHandle)> = rows
            .iter()
            .zip(handles)
            .filter(|(_, handle)| only.is_none_or(|only| only.contains(handle.slot)))
            .collect();
        // Symbols come first in an index, so what will be written is found out
        // before; chunks are read one series at a time.
        let mut used: BTreeMap<String, SymbolId> = BTreeMap::new();
        let mut seen = Vec::new();
        {
            let texts = dictionary.read();
            for &(name, value) in rows.iter().flat_map(|(row, _)| row.iter()) {
                for id in [name, value] {
                    let n = id.0 as usize;
                    if seen.len() <= n {
                        seen.resize(n + 1, false);
                    }
                    if !seen[n] {
                        seen[n] = true;
                        used.insert(texts.text(id).to_owned(), id);
                    }
                }
            }
        }
        used.entry(String::new()).or_insert(SymbolId::EMPTY);
        let mut number_of = vec![0u32; seen.len().max(1)];
        for (number, id) in used.values().enumerate() {
            number_of[id.0 as usize] = number as u32;
        }
        let ulid = self.new_ulid();
        let options = BlockWriterOptions { chunk_segment_bytes: self.options.block_chunk_segment_bytes };
        let mut writer =
            BlockWriter::create(self.env.fs.clone(), dir, ulid, used.keys(), options).map_err(write_error)?;
        self.metrics.compaction_populating.set(1.0);
        let filled = self.fill_block(view, &mut writer, span, kind, &rows, &number_of);
        self.metrics.compaction_populating.set(0.0);
        if let Err(error) = filled {
            writer.discard()?;
            return Err(error);
        }
        if writer.stats().num_samples == 0 {
            writer.discard()?;
            return Ok(None);
        }
        let mut meta = BlockMeta::new(ulid, range);
        match kind {
            CutKind::OutOfOrder => meta.compaction.add_hint(BlockHint::FromOutOfOrder),
            CutKind::Stale => meta.compaction.add_hint(BlockHint::FromStaleSeries),
            CutKind::InOrder | CutKind::Everything => {}
        }
        writer.finish(meta).map_err(write_error)?;
        Ok(Some(ulid))
    }

    fn fill_block(
        &self,
        view: &HeadView,
        writer: &mut BlockWriter,
        span: TimeRange,
        kind: CutKind,
        rows: &[(&[(SymbolId, SymbolId)], SeriesHandle)],
        number_of: &[u32],
    ) -> Result<(), StorageError> {
        let rules = self.head.rules.load().chunks;
        let mut labels = Vec::new();
        for &(row, handle) in rows {
            let chunks = self.cut_series(view, handle, span, kind, &rules)?;
            if chunks.is_empty() {
                continue;
            }
            labels.clear();
            labels.extend(row.iter().map(|(n, v)| (number_of[n.0 as usize], number_of[v.0 as usize])));
            let to_write: Vec<ChunkToWrite<'_>> = chunks.iter().map(CutChunk::to_write).collect();
            for chunk in &chunks {
                self.metrics.compaction_chunk_size.observe(chunk.bytes.len() as f64);
                self.metrics.compaction_chunk_range.observe((chunk.max_ms - chunk.min_ms) as f64);
                let samples = num_samples(chunk.encoding, &chunk.bytes).unwrap_or(0);
                self.metrics.compaction_chunk_samples.observe(f64::from(samples));
            }
            writer.add_series(&labels, &to_write).map_err(write_error)?;
        }
        Ok(())
    }

    /// The chunks of a series inside a span.
    fn cut_series(
        &self,
        view: &HeadView,
        handle: SeriesHandle,
        span: TimeRange,
        kind: CutKind,
        rules: &ChunkRules,
    ) -> Result<Vec<CutChunk>, StorageError> {
        let Some(found) = self.gather(view, handle, span, kind)? else { return Ok(Vec::new()) };
        let Gathered { series_ref, until, deleted, in_order, late } = found;
        let visible = TimeRange::new(span.start_ms, span.end_ms.min(until));
        let mut chunks = Vec::with_capacity(in_order.len());
        if late.is_empty() {
            for chunk in in_order {
                trim(series_ref, chunk, visible, &deleted, rules, &mut chunks)?;
            }
            return Ok(chunks);
        }
        let all: Vec<CutChunk> = in_order.into_iter().chain(late).collect();
        merge_chunks(self, &all, span, &deleted)
    }

    /// The chunks of a series of the head that touch a range, by source: those in
    /// order, then each late one.
    pub(crate) fn raw_chunks(
        &self,
        view: &HeadView,
        handle: SeriesHandle,
        range: TimeRange,
    ) -> Result<Vec<Vec<CutChunk>>, StorageError> {
        let Some(found) = self.gather(view, handle, range, CutKind::Everything)? else {
            return Ok(Vec::new());
        };
        let visible = TimeRange::new(view.min_ms, found.until);
        let mut sources = vec![trim_all(self, found.in_order, visible, &found.deleted)?];
        for chunk in found.late {
            sources.push(trim_all(self, vec![chunk], TimeRange::ALL, &found.deleted)?);
        }
        Ok(sources)
    }

    fn gather(
        &self,
        view: &HeadView,
        handle: SeriesHandle,
        span: TimeRange,
        kind: CutKind,
    ) -> Result<Option<Gathered>, StorageError> {
        let Some(found) = view.chunks(handle, span) else { return Ok(None) };
        let deleted = if found.deleted { self.tombstones.intervals(found.series_ref) } else { Vec::new() };
        let mut in_order: Vec<CutChunk> = Vec::new();
        if kind != CutKind::OutOfOrder {
            for chunk in &found.full {
                in_order.push(CutChunk::of_file(&self.head_chunk(*chunk)?));
            }
            in_order.extend(found.closing.iter().map(|chunk| CutChunk::of_closed(chunk)));
            in_order.extend(found.open.iter().map(CutChunk::of_closed));
        }
        let mut late: Vec<CutChunk> = Vec::new();
        if matches!(kind, CutKind::OutOfOrder | CutKind::Everything) {
            for chunk in &found.ooo_full {
                late.push(CutChunk::of_file(&self.head_chunk(*chunk)?));
            }
            late.extend(found.ooo_open.iter().map(|chunk| CutChunk::of_closed(chunk)));
        }
        in_order.retain(|chunk| chunk.min_ms <= span.end_ms && chunk.max_ms >= span.start_ms);
        late.retain(|chunk| chunk.min_ms <= span.end_ms && chunk.max_ms >= span.start_ms);
        Ok(Some(Gathered { series_ref: found.series_ref, until: found.until, deleted, in_order, late }))
    }
}

/// The chunks of one series of the head.
struct Gathered {
    series_ref: u64,
    /// No in-order sample after this is visible.
    until: i64,
    deleted: Vec<(i64, i64)>,
    in_order: Vec<CutChunk>,
    late: Vec<CutChunk>,
}

/// Chunks that overlap, as one row of chunks: at equal times the first source wins.
pub(crate) fn merge_chunks(
    store: &Store,
    chunks: &[CutChunk],
    span: TimeRange,
    deleted: &[(i64, i64)],
) -> Result<Vec<CutChunk>, StorageError> {
    let rules = store.head.rules.load().chunks;
    let mut by_time: BTreeMap<i64, OooSample> = BTreeMap::new();
    for chunk in chunks {
        for sample in decoded(chunk, span, deleted)? {
            by_time.entry(sample.t).or_insert(sample);
        }
    }
    let all: Vec<OooSample> = by_time.into_values().collect();
    let mut merged = Vec::new();
    for run in all.chunks(usize::from(rules.samples)) {
        encode(0, run, &rules, &mut merged);
    }
    Ok(merged)
}

/// Chunks without what lies outside a span or was deleted.
pub(crate) fn trim_all(
    store: &Store,
    chunks: Vec<CutChunk>,
    span: TimeRange,
    deleted: &[(i64, i64)],
) -> Result<Vec<CutChunk>, StorageError> {
    let rules = store.head.rules.load().chunks;
    let mut kept = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        trim(0, chunk, span, deleted, &rules, &mut kept)?;
    }
    Ok(kept)
}

/// The samples of a chunk inside a span that were not deleted.
fn decoded(
    chunk: &CutChunk,
    span: TimeRange,
    deleted: &[(i64, i64)],
) -> Result<Vec<OooSample>, StorageError> {
    let damaged = |error: crate::chunk::ChunkError| StorageError::Corrupt {
        path: "chunks_head".into(),
        offset: 0,
        what: error.to_string(),
    };
    let mut kept = Vec::new();
    for sample in samples(chunk.encoding, &chunk.bytes).map_err(damaged)? {
        let sample = sample.map_err(damaged)?;
        let t = sample.timestamp_ms;
        if !span.contains(t) || deleted.iter().any(|&(min, max)| min <= t && t <= max) {
            continue;
        }
        let value = match sample.value {
            StoredValue::Float(v) => OooValue::Float(v),
            StoredValue::Histogram(h) => OooValue::Histogram(Box::new(HistogramValue::Integer(h))),
            StoredValue::FloatHistogram(h) => OooValue::Histogram(Box::new(HistogramValue::Float(h))),
        };
        kept.push(OooSample { t, start: sample.start_timestamp_ms, value });
    }
    Ok(kept)
}

fn encode(series_ref: u64, run: &[OooSample], rules: &ChunkRules, chunks: &mut Vec<CutChunk>) {
    chunks.extend(ooo::encode(series_ref, run, rules).into_iter().map(|chunk| CutChunk {
        min_ms: chunk.min_ms,
        max_ms: chunk.max_ms,
        encoding: chunk.encoding,
        bytes: chunk.bytes,
    }));
}

/// Adds a chunk as it is, or what of it is inside the span and not deleted.
fn trim(
    series_ref: u64,
    chunk: CutChunk,
    span: TimeRange,
    deleted: &[(i64, i64)],
    rules: &ChunkRules,
    chunks: &mut Vec<CutChunk>,
) -> Result<(), StorageError> {
    let inside = span.start_ms <= chunk.min_ms && chunk.max_ms <= span.end_ms;
    let touched = deleted.iter().any(|&(min, max)| min <= chunk.max_ms && chunk.min_ms <= max);
    if inside && !touched {
        chunks.push(chunk);
        return Ok(());
    }
    let kept = decoded(&chunk, span, deleted)?;
    if !kept.is_empty() {
        encode(series_ref, &kept, rules, chunks);
    }
    Ok(())
}
