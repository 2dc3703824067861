//! Select: head and blocks as one.
//!
//! ```text
//! querier ─ pins: a reader's mark in the head, the list of blocks
//!   select ─ blocks, oldest first ─┐
//!          └ head ─────────────────┴─ sorted rows merged, parts a row
//!     read ─ parts in order of time; overlapping ones merged, first wins
//! ```

pub(crate) mod block;
pub(crate) mod block_matchers;
mod chunks;
pub(crate) mod head;

pub(crate) mod labels;
pub(crate) mod matchers;
pub(crate) mod merge;
pub(crate) mod rows;

use std::ops::Range;
use std::sync::Arc;

use model::query::{Latest, LatestColumns, LatestValue, ReadOptions, ReadStats, SampleKind, SelectRequest};
use model::{
    Columns, CounterResetHint, Dictionary, LabelTable, Querier, SelectedSeries, SeriesHandle, SeriesReader,
    StorageError, TimeRange,
};

use crate::db::Store;
use crate::index::BlockSeriesRef;
use block::BlockView;
use head::HeadView;
use merge::merge_columns;
use rows::{Merged, Part};

/// One pinned view of everything.
pub(crate) struct DbQuerier {
    view: Arc<View>,
    range: TimeRange,
}

struct View {
    /// Oldest first.
    blocks: Vec<BlockView>,
    head: HeadView,
}

/// What a select found, by source: the head comes behind all blocks.
struct Found {
    blocks: Vec<Vec<BlockSeriesRef>>,
    head: Vec<SeriesHandle>,
}

impl DbQuerier {
    /// Pins what is there now.
    pub(crate) fn new(store: &Arc<Store>, range: TimeRange) -> DbQuerier {
        // The order matters: whoever starts before the head is cut keeps the
        // head's chunks, whoever starts later sees the new block.
        let mark = store.head.isolation.read();
        let min_ms = store.head.times.min();
        let blocks = store.blocks_in(range).into_iter().map(|block| BlockView { block }).collect();
        let head = HeadView { store: store.clone(), mark, min_ms };
        DbQuerier { view: Arc::new(View { blocks, head }), range }
    }
}

impl View {
    /// The sorted rows of every source.
    fn select_all(
        &self,
        request: &SelectRequest,
        dictionary: &Dictionary,
    ) -> Result<(Vec<LabelTable>, Found), StorageError> {
        let mut tables = Vec::with_capacity(self.blocks.len() + 1);
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let (table, series) = block.select(request, dictionary)?;
            tables.push(table);
            blocks.push(series);
        }
        let (table, head) = self.head.select(request, dictionary)?;
        tables.push(table);
        Ok((tables, Found { blocks, head }))
    }
}

impl DbQuerier {
    /// As [`model::query::ChunkQueryable::chunks`] has it.
    pub(crate) fn chunks(
        &self,
        request: &SelectRequest,
        each: &mut dyn FnMut(&model::Labels, Vec<model::query::RawChunk>) -> bool,
    ) -> Result<(), StorageError> {
        self.view.chunks(request, each)
    }
}

impl Querier for DbQuerier {
    fn select(
        &self,
        request: &SelectRequest,
        dictionary: &Dictionary,
    ) -> Result<SelectedSeries, StorageError> {
        let request = SelectRequest {
            range: TimeRange::new(
                request.range.start_ms.max(self.range.start_ms),
                request.range.end_ms.min(self.range.end_ms),
            ),
            ..request.clone()
        };
        let (tables, found) = self.view.select_all(&request, dictionary)?;
        let mut merged = rows::merge(tables, dictionary);
        let mut warnings = Vec::new();
        if merged.truncate(request.limit) {
            warnings.push("results truncated due to limit".to_owned());
        }
        let labels = std::mem::take(&mut merged.labels);
        let reader = DbReader { view: self.view.clone(), merged, found };
        Ok(SelectedSeries { labels, reader: Arc::new(reader), warnings })
    }
}

struct DbReader {
    view: Arc<View>,
    /// Rows without their labels.
    merged: Merged,
    found: Found,
}

impl DbReader {
    fn read_part(
        &self,
        part: Part,
        range: TimeRange,
        options: ReadOptions,
        columns: &mut Columns,
    ) -> Result<ReadStats, StorageError> {
        let (source, row) = (part.source as usize, part.row as usize);
        match self.view.blocks.get(source) {
            Some(block) => block.read(self.found.blocks[source][row], range, options, columns),
            None => self.view.head.read(self.found.head[row], range, options, columns),
        }
    }
}

impl SeriesReader for DbReader {
    fn read(
        &self,
        series: usize,
        range: TimeRange,
        options: ReadOptions,
        columns: &mut Columns,
    ) -> Result<ReadStats, StorageError> {
        columns.clear();
        let mut stats = ReadStats::default();
        for (n, &part) in self.merged.parts(series).iter().enumerate() {
            let read = if n == 0 || columns.is_empty() {
                self.read_part(part, range, options, columns)?
            } else {
                let mut next = Columns::default();
                let read = self.read_part(part, range, options, &mut next)?;
                join(columns, next);
                read
            };
            stats.chunks += read.chunks;
            stats.bytes += read.bytes;
        }
        Ok(stats)
    }

    fn read_latest(
        &self,
        series: Range<usize>,
        at_ms: i64,
        lookback_ms: i64,
        out: &mut LatestColumns,
    ) -> Result<ReadStats, StorageError> {
        out.samples.clear();
        out.histograms.clear();
        let mut stats = ReadStats::default();
        let mut columns = Columns::default();
        let range = TimeRange::new(at_ms.saturating_sub(lookback_ms).saturating_add(1), at_ms);
        for series in series {
            if let Some(latest) = self.newest(series, range) {
                out.samples.push(latest);
                continue;
            }
            let read = self.read(series, range, ReadOptions::default(), &mut columns)?;
            stats.chunks += read.chunks;
            stats.bytes += read.bytes;
            out.samples.push(latest_of(&mut columns, out_histograms(&mut out.histograms)));
        }
        Ok(stats)
    }
}

impl DbReader {
    /// The newest sample where the head answers it alone and without decoding.
    fn newest(&self, series: usize, range: TimeRange) -> Option<Option<Latest>> {
        let parts = self.merged.parts(series);
        let last = parts.last()?;
        if (last.source as usize) < self.view.blocks.len() {
            return None;
        }
        let latest = self.view.head.newest(self.found.head[last.row as usize], range)?;
        // Where the head has nothing, a block may have.
        (latest.is_some() || parts.len() == 1).then_some(latest)
    }
}

fn out_histograms(histograms: &mut Vec<model::FloatHistogram>) -> &mut Vec<model::FloatHistogram> {
    histograms
}

/// The last sample of columns.
fn latest_of(columns: &mut Columns, histograms: &mut Vec<model::FloatHistogram>) -> Option<Latest> {
    let run = columns.runs.last().copied()?;
    let timestamp_ms = *columns.timestamps_ms.last()?;
    let value = match run.kind {
        SampleKind::Float => LatestValue::Float(*columns.floats.last()?),
        SampleKind::Histogram => {
            histograms.push(columns.histograms.pop()?);
            LatestValue::Histogram(histograms.len() - 1)
        }
    };
    Some(Latest { timestamp_ms, value })
}

/// Adds the samples of a later source: behind those there are, or merged.
fn join(columns: &mut Columns, mut next: Columns) {
    let Some(&first) = next.timestamps_ms.first() else { return };
    if columns.timestamps_ms.last().is_some_and(|&last| last >= first) {
        let have = std::mem::take(columns);
        return merge_columns(&mut [have, next], columns);
    }
    if next.runs[0].kind == SampleKind::Histogram {
        let hint = &mut next.histograms[0].counter_reset_hint;
        if *hint != CounterResetHint::Gauge {
            *hint = CounterResetHint::Unknown;
        }
    }
    columns.timestamps_ms.append(&mut next.timestamps_ms);
    columns.start_timestamps_ms.append(&mut next.start_timestamps_ms);
    columns.floats.append(&mut next.floats);
    columns.histograms.append(&mut next.histograms);
    for run in next.runs {
        columns.extend_run(run.kind, run.len);
    }
}
