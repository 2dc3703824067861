//! The chunks of one series from all its sources: what can stay is copied, the
//! rest is decoded, merged and encoded anew.
//!
//! ```text
//! oldest block  [aaaaaaa][bbbbbbb]          [ccccccc]
//! next block            [ddddddd]  [eee][f]    ×××      deleted
//! output        [aaaaaaa][ new   ] [ new  ] [ new  ]
//! ```
//!
//! Of samples with the same time that of the first source stays. A histogram
//! behind a change of source, or behind deleted samples, no longer says whether
//! its counter was reset: whoever reads it looks for himself.

use std::collections::VecDeque;

use model::{CounterResetHint, StorageError, TimeRange};

use super::encode::{Encoder, NewChunk, SAMPLES_MAX};
use super::merge::{MergedSeries, SeriesSource, SourceChunk};
use crate::block::{BlockChunk, BlockWriteError, BlockWriter, ChunkToWrite};
use crate::chunk::samples::{Samples, samples};
use crate::chunk::{ChunkEncoding, ChunkError, StoredSample, StoredValue, num_samples};
use crate::tombstones::is_deleted;

/// Neighbours of which one has fewer samples than this become one chunk, where
/// together they are not too many.
const FEW_SAMPLES: usize = 30;

/// How series are merged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Samples outside do not go into the block.
    pub(super) keep: TimeRange,
    /// Floats that are encoded anew become XOR2.
    pub(super) xor2: bool,
}

/// A chunk with where it comes from.
struct Input<'s> {
    /// Number of the source: the lower one wins.
    source: usize,
    /// Place in the source's list: the lower one wins.
    place: usize,
    min_ms: i64,
    max_ms: i64,
    chunk: BlockChunk<'s>,
    /// What is deleted of it, where anything is.
    deleted: &'s [TimeRange],
    /// Some of its samples must go.
    is_cut: bool,
}

/// What becomes of neighbouring chunks.
enum Piece<'s> {
    /// One chunk as it is.
    Copy(BlockChunk<'s>, i64, i64),
    /// New chunks.
    New(Vec<NewChunk>),
}

/// Writes one series; whether anything of it was left.
pub(super) fn write_series<'s>(
    series: &'s MergedSeries<'_>,
    sources: &'s [Box<dyn SeriesSource + '_>],
    rules: Rules,
    writer: &mut BlockWriter,
    mut written: impl FnMut(ChunkToWrite<'_>),
) -> Result<bool, SeriesError> {
    let mut inputs: VecDeque<Input<'s>> = inputs(series, sources, rules.keep)?.into();
    let mut pieces: Vec<Piece<'s>> = Vec::with_capacity(inputs.len());
    while let Some(first) = inputs.pop_front() {
        let group = take_group(first, &mut inputs, rules);
        pieces.push(piece(group, rules)?);
    }
    let mut chunks: Vec<ChunkToWrite<'_>> = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        match piece {
            Piece::Copy(chunk, min_ms, max_ms) => chunks.push(ChunkToWrite {
                min_ms: *min_ms,
                max_ms: *max_ms,
                encoding: chunk.encoding,
                bytes: chunk.bytes,
            }),
            Piece::New(new) => chunks.extend(new.iter().map(|chunk| ChunkToWrite {
                min_ms: chunk.min_ms,
                max_ms: chunk.max_ms,
                encoding: chunk.encoding,
                bytes: &chunk.bytes,
            })),
        }
    }
    if chunks.is_empty() {
        return Ok(false);
    }
    writer.add_series(series.labels, &chunks)?;
    chunks.into_iter().for_each(&mut written);
    Ok(true)
}

/// Why a series cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SeriesError {
    /// A source cannot be read.
    #[error(transparent)]
    Source(#[from] StorageError),
    /// A chunk of a source is damaged although its checksum is right.
    #[error("a chunk from {min_ms} to {max_ms} cannot be decoded: {error}")]
    Chunk {
        /// Its first time in ms.
        min_ms: i64,
        /// Its last time in ms.
        max_ms: i64,
        /// What is wrong.
        error: ChunkError,
    },
    /// The block cannot be written.
    #[error(transparent)]
    Write(#[from] BlockWriteError),
}

/// All chunks that have anything to keep, by their first times.
fn inputs<'s>(
    series: &'s MergedSeries<'_>,
    sources: &'s [Box<dyn SeriesSource + '_>],
    keep: TimeRange,
) -> Result<Vec<Input<'s>>, StorageError> {
    let mut inputs = Vec::new();
    for &(source, part) in &series.parts {
        for (place, &chunk) in part.chunks.iter().enumerate() {
            let SourceChunk { min_ms, max_ms, .. } = chunk;
            let range = TimeRange::new(min_ms, max_ms);
            let is_gone = |all: &TimeRange| all.start_ms <= min_ms && max_ms <= all.end_ms;
            if !range.overlaps(keep) || part.deleted.iter().any(is_gone) {
                continue;
            }
            let is_outside = min_ms < keep.start_ms || max_ms > keep.end_ms;
            let is_cut = is_outside || part.deleted.iter().any(|interval| interval.overlaps(range));
            let deleted = part.deleted.as_slice();
            let chunk = sources[source].chunk(chunk)?;
            inputs.push(Input { source, place, min_ms, max_ms, chunk, deleted, is_cut });
        }
    }
    inputs.sort_by_key(|input| (input.min_ms, input.source, input.place));
    Ok(inputs)
}

/// Takes the chunks that overlap the first one, or each other, from the front;
/// without overlap, neighbours that are too small.
fn take_group<'s>(first: Input<'s>, rest: &mut VecDeque<Input<'s>>, rules: Rules) -> Vec<Input<'s>> {
    let mut end = first.max_ms;
    let mut group = vec![first];
    while let Some(next) = rest.pop_front_if(|next| next.min_ms <= end) {
        end = end.max(next.max_ms);
        group.push(next);
    }
    if group.len() > 1 {
        return group;
    }
    let Some(mut total) = joinable(&group[0], rules) else { return group };
    let mut last = total;
    while let Some(next) = rest.front() {
        let Some(count) = joinable(next, rules) else { break };
        let overlaps_its_next = rest.get(1).is_some_and(|after| after.min_ms <= next.max_ms);
        if overlaps_its_next || total + count > SAMPLES_MAX || (last >= FEW_SAMPLES && count >= FEW_SAMPLES) {
            break;
        }
        (total, last) = (total + count, count);
        group.extend(rest.pop_front());
    }
    group
}

/// Samples of a chunk that may be joined with a neighbour: of floats in the
/// encoding that is written. `None` where it may not.
fn joinable(input: &Input<'_>, rules: Rules) -> Option<usize> {
    let written = if rules.xor2 { ChunkEncoding::Xor2 } else { ChunkEncoding::Xor };
    let count = num_samples(input.chunk.encoding, input.chunk.bytes).ok()?;
    (input.chunk.encoding == written && !input.is_cut).then_some(usize::from(count))
}

fn piece<'s>(mut group: Vec<Input<'s>>, rules: Rules) -> Result<Piece<'s>, SeriesError> {
    // The same chunk from several blocks: overlapping blocks often share data.
    let (first, others) = group.split_at(1);
    let is_same = |other: &Input<'_>| {
        let first = &first[0];
        other.min_ms == first.min_ms
            && other.max_ms == first.max_ms
            && !other.is_cut
            && other.chunk.encoding == first.chunk.encoding
            && other.chunk.bytes == first.chunk.bytes
    };
    if !first[0].is_cut && others.iter().all(is_same) {
        group.truncate(1);
        return Ok(Piece::Copy(group[0].chunk, group[0].min_ms, group[0].max_ms));
    }
    let mut encoder = Encoder::new(rules.xor2);
    merge_samples(group, rules.keep, &mut encoder)?;
    encoder.flush();
    Ok(Piece::New(encoder.take()))
}

/// A chunk that is being read.
struct Lane<'s> {
    source: usize,
    place: usize,
    bounds: TimeRange,
    samples: Samples<'s>,
    deleted: &'s [TimeRange],
    /// The next sample that stays, and whether any before it was passed over.
    head: Option<(StoredSample, bool)>,
}

impl<'s> Lane<'s> {
    fn open(input: Input<'s>, keep: TimeRange) -> Result<Lane<'s>, SeriesError> {
        let bounds = TimeRange::new(input.min_ms, input.max_ms);
        let samples =
            samples(input.chunk.encoding, input.chunk.bytes).map_err(|error| chunk_error(bounds, error))?;
        let (source, place, deleted) = (input.source, input.place, input.deleted);
        let mut lane = Lane { source, place, bounds, samples, deleted, head: None };
        lane.advance(keep, false)?;
        Ok(lane)
    }

    fn advance(&mut self, keep: TimeRange, mut passed: bool) -> Result<(), SeriesError> {
        loop {
            let Some(next) = self.samples.next() else {
                self.head = None;
                return Ok(());
            };
            let sample = next.map_err(|error| chunk_error(self.bounds, error))?;
            if keep.contains(sample.timestamp_ms) && !is_deleted(self.deleted, sample.timestamp_ms) {
                self.head = Some((sample, passed));
                return Ok(());
            }
            passed = true;
        }
    }

    fn order(&self) -> Option<(i64, usize, usize)> {
        self.head.as_ref().map(|(sample, _)| (sample.timestamp_ms, self.source, self.place))
    }
}

fn chunk_error(bounds: TimeRange, error: ChunkError) -> SeriesError {
    SeriesError::Chunk { min_ms: bounds.start_ms, max_ms: bounds.end_ms, error }
}

/// Walks chunks sorted by their first times, opening each when its time comes.
fn merge_samples(group: Vec<Input<'_>>, keep: TimeRange, encoder: &mut Encoder) -> Result<(), SeriesError> {
    let mut waiting: VecDeque<Input<'_>> = group.into();
    let mut lanes: Vec<Lane<'_>> = Vec::new();
    let mut last_source = None;
    loop {
        let earliest = |lanes: &[Lane<'_>]| lanes.iter().filter_map(Lane::order).min();
        while let Some(next) =
            waiting.pop_front_if(|next| earliest(&lanes).is_none_or(|(t, ..)| next.min_ms <= t))
        {
            lanes.push(Lane::open(next, keep)?);
        }
        let Some((t, source, place)) = earliest(&lanes) else { break };
        for lane in &mut lanes {
            let is_first = (lane.source, lane.place) == (source, place);
            let Some((mut sample, passed)) = lane.head.take_if(|(sample, _)| sample.timestamp_ms == t) else {
                continue;
            };
            if is_first {
                if passed || last_source.is_some_and(|last| last != source) {
                    forget_reset(&mut sample.value);
                }
                encoder.push(sample);
                last_source = Some(source);
            }
            lane.advance(keep, !is_first)?;
        }
        lanes.retain(|lane| lane.head.is_some());
    }
    Ok(())
}

fn forget_reset(value: &mut StoredValue) {
    let hint = match value {
        StoredValue::Float(_) => return,
        StoredValue::Histogram(histogram) => &mut histogram.counter_reset_hint,
        StoredValue::FloatHistogram(histogram) => &mut histogram.counter_reset_hint,
    };
    if *hint != CounterResetHint::Gauge {
        *hint = CounterResetHint::Unknown;
    }
}
