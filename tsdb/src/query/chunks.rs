//! Whole chunks of series: for remote read, StoreAPI and dumps.

use std::collections::BTreeMap;

use model::query::{RawChunk, SelectRequest};
use model::{Dictionary, Labels, StorageError, TimeRange};

use super::View;
use super::rows;
use crate::db::cut::{CutChunk, merge_chunks, trim_all};

impl View {
    /// Calls `each` for every matching series in label order with its chunks that
    /// touch the range, ascending and disjoint.
    ///
    /// # Errors
    /// A file cannot be read or is damaged, or the request was stopped.
    pub(super) fn chunks(
        &self,
        request: &SelectRequest,
        each: &mut dyn FnMut(&Labels, Vec<RawChunk>) -> bool,
    ) -> Result<(), StorageError> {
        let dictionary = Dictionary::new();
        let (tables, found) = self.select_all(request, &dictionary)?;
        let merged = rows::merge(tables, &dictionary);
        let limit = if request.limit == 0 { usize::MAX } else { request.limit };
        for row in 0..merged.labels.len().min(limit) {
            request.cancel.check()?;
            let mut sources: Vec<Vec<CutChunk>> = Vec::new();
            for part in merged.parts(row) {
                let (source, row) = (part.source as usize, part.row as usize);
                match self.blocks.get(source) {
                    Some(block) => {
                        let series = found.blocks[source][row];
                        let (chunks, deleted) = block.raw_chunks(series, request.range)?;
                        sources.push(trim_all(&self.head.store, chunks, TimeRange::ALL, &deleted)?);
                    }
                    None => sources.extend(self.head.store.raw_chunks(
                        &self.head,
                        found.head[row],
                        request.range,
                    )?),
                }
            }
            let chunks = disjoint(&self.head.store, sources)?;
            if chunks.is_empty() {
                continue;
            }
            if !each(&dictionary.labels(merged.labels.row(row)), chunks) {
                break;
            }
        }
        Ok(())
    }
}

/// The chunks of several sources in order; those that overlap are merged.
fn disjoint(store: &crate::db::Store, sources: Vec<Vec<CutChunk>>) -> Result<Vec<RawChunk>, StorageError> {
    let mut all: Vec<(usize, CutChunk)> = Vec::new();
    for (source, chunks) in sources.into_iter().enumerate() {
        all.extend(chunks.into_iter().map(|chunk| (source, chunk)));
    }
    all.sort_by_key(|(source, chunk)| (chunk.min_ms, *source));
    let mut out: Vec<RawChunk> = Vec::new();
    let mut rest = all.into_iter().peekable();
    while let Some((source, first)) = rest.next() {
        let mut end = first.max_ms;
        let mut group: BTreeMap<usize, Vec<CutChunk>> = BTreeMap::new();
        let mut n = 1;
        group.entry(source).or_default().push(first);
        while let Some((source, chunk)) = rest.next_if(|(_, chunk)| chunk.min_ms <= end) {
            end = end.max(chunk.max_ms);
            n += 1;
            group.entry(source).or_default().push(chunk);
        }
        let group: Vec<CutChunk> = group.into_values().flatten().collect();
        let chunks = if n == 1 { group } else { merge_chunks(store, &group, TimeRange::ALL, &[])? };
        out.extend(chunks.into_iter().map(|chunk| RawChunk {
            min_ms: chunk.min_ms,
            max_ms: chunk.max_ms,
            encoding: chunk.encoding,
            bytes: chunk.bytes,
        }));
    }
    Ok(out)
}
