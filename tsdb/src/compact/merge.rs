//! Several sources of series as one, in label order.
//!
//! Each source numbers its strings in their order; the numbers are translated
//! to those of the output once, so that labels compare as numbers.

use std::borrow::Cow;

use model::{StorageError, TimeRange};

use crate::block::BlockChunk;

/// A chunk of a series, not yet read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceChunk {
    /// Time of its first sample in ms.
    pub(crate) min_ms: i64,
    /// Time of its last sample in ms.
    pub(crate) max_ms: i64,
    /// How the source finds it.
    pub(crate) handle: u64,
}

/// A series of a source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// (name, value) as the source numbers its strings.
    pub(crate) labels: Vec<(u32, u32)>,
    /// Its chunks by their first times; those of a head may overlap, then the
    /// earlier entry wins.
    pub(crate) chunks: Vec<SourceChunk>,
    /// What was deleted of it: ascending, disjoint.
    pub(crate) deleted: Vec<TimeRange>,
}

impl Series {
    /// Empties it and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.labels.clear();
        self.chunks.clear();
        self.deleted.clear();
    }
}

/// Yields series in label order.
pub(crate) trait SeriesSource {
    /// All strings of the labels in order, with their numbers, which ascend too.
    fn symbols(&self) -> Box<dyn Iterator<Item = (u32, Cow<'_, str>)> + '_>;

    /// Fills in the next series; `false` at the end. The chunks of the one
    /// before can no longer be read.
    fn next(&mut self, series: &mut Series) -> Result<bool, StorageError>;

    /// A chunk of the series that [`SeriesSource::next`] gave last.
    fn chunk(&self, chunk: SourceChunk) -> Result<BlockChunk<'_>, StorageError>;
}

/// From a source's numbers to those of the output.
pub(super) enum Translation {
    /// Number `i` stands at `i`.
    Dense(Vec<u32>),
    /// Pairs, ascending.
    Sparse(Vec<(u32, u32)>),
}

impl Translation {
    fn get(&self, number: u32) -> Option<u32> {
        match self {
            Translation::Dense(all) => all.get(number as usize).copied(),
            Translation::Sparse(pairs) => {
                let at = pairs.binary_search_by_key(&number, |pair| pair.0).ok()?;
                Some(pairs[at].1)
            }
        }
    }

    fn from_pairs(pairs: Vec<(u32, u32)>) -> Translation {
        if pairs.iter().enumerate().all(|(i, pair)| pair.0 as usize == i) {
            Translation::Dense(pairs.into_iter().map(|pair| pair.1).collect())
        } else {
            Translation::Sparse(pairs)
        }
    }
}

/// The strings of all sources in order and once each, the empty one always;
/// while it is walked the translations are made.
pub(super) struct SymbolUnion<'a> {
    sources: Vec<Symbols<'a>>,
    next_number: u32,
}

struct Symbols<'a> {
    rest: Box<dyn Iterator<Item = (u32, Cow<'a, str>)> + 'a>,
    head: Option<(u32, Cow<'a, str>)>,
    pairs: Vec<(u32, u32)>,
}

impl<'a> SymbolUnion<'a> {
    pub(super) fn new(sources: &'a [Box<dyn SeriesSource + 'a>]) -> SymbolUnion<'a> {
        let sources = sources.iter().map(|source| {
            let mut rest = source.symbols();
            let head = rest.next();
            Symbols { rest, head, pairs: Vec::new() }
        });
        SymbolUnion { sources: sources.collect(), next_number: 0 }
    }

    /// The translations, one a source, once all strings were walked.
    pub(super) fn into_translations(self) -> Vec<Translation> {
        self.sources.into_iter().map(|source| Translation::from_pairs(source.pairs)).collect()
    }
}

impl<'a> Iterator for &mut SymbolUnion<'a> {
    type Item = Cow<'a, str>;

    fn next(&mut self) -> Option<Cow<'a, str>> {
        let number = self.next_number;
        let least = self.sources.iter().filter_map(|source| source.head.as_ref().map(|(_, text)| text)).min();
        let least = match least {
            // Upstream's symbols always have it.
            _ if number == 0 => Cow::Borrowed(""),
            Some(text) => text.clone(),
            None => return None,
        };
        for source in &mut self.sources {
            while source.head.as_ref().is_some_and(|(_, text)| *text <= least) {
                if let Some((own, _)) = source.head.take() {
                    source.pairs.push((own, number));
                }
                source.head = source.rest.next();
            }
        }
        self.next_number += 1;
        Some(least)
    }
}

/// The sources side by side, each with its next series.
pub(super) struct Merge<'a, 's> {
    sources: &'a mut [Box<dyn SeriesSource + 's>],
    translations: Vec<Translation>,
    lanes: Vec<Lane>,
}

#[derive(Default)]
struct Lane {
    series: Series,
    /// The labels in the output's numbers.
    labels: Vec<(u32, u32)>,
    is_over: bool,
}

/// One series as all sources have it.
pub(super) struct MergedSeries<'m> {
    /// (name, value) in the output's numbers.
    pub(super) labels: &'m [(u32, u32)],
    /// Where it comes from: number of the source and what that says.
    pub(super) parts: Vec<(usize, &'m Series)>,
}

impl<'a, 's> Merge<'a, 's> {
    pub(super) fn new(
        sources: &'a mut [Box<dyn SeriesSource + 's>],
        translations: Vec<Translation>,
    ) -> Result<Merge<'a, 's>, StorageError> {
        let lanes = sources.iter().map(|_| Lane::default()).collect();
        let mut merge = Merge { sources, translations, lanes };
        for source in 0..merge.sources.len() {
            merge.advance(source)?;
        }
        Ok(merge)
    }

    fn advance(&mut self, source: usize) -> Result<(), StorageError> {
        let lane = &mut self.lanes[source];
        lane.series.clear();
        lane.is_over = !self.sources[source].next(&mut lane.series)?;
        let translation = &self.translations[source];
        lane.labels.clear();
        for &(name, value) in &lane.series.labels {
            let (Some(name), Some(value)) = (translation.get(name), translation.get(value)) else {
                return Err(StorageError::Invalid(format!(
                    "a series to be compacted names a symbol that does not exist: {name} or {value}"
                )));
            };
            lane.labels.push((name, value));
        }
        Ok(())
    }

    /// Hands the next series to `each`; `false` at the end.
    pub(super) fn next<E: From<StorageError>>(
        &mut self,
        each: impl FnOnce(MergedSeries<'_>, &[Box<dyn SeriesSource + 's>]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let live = || self.lanes.iter().enumerate().filter(|(_, lane)| !lane.is_over);
        let Some((first, _)) = live().min_by(|a, b| a.1.labels.cmp(&b.1.labels)) else { return Ok(false) };
        let labels = &self.lanes[first].labels;
        let of_series: Vec<usize> =
            live().filter(|(_, lane)| lane.labels == *labels).map(|(n, _)| n).collect();
        let parts = of_series.iter().map(|&n| (n, &self.lanes[n].series)).collect();
        each(MergedSeries { labels, parts }, self.sources)?;
        for source in of_series {
            self.advance(source)?;
        }
        Ok(true)
    }
}
