//! Merging against a naive map: whatever the sources hold, the block holds what
//! a map filled from the last source to the first would.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use model::{BlockRange, Histogram, Labels, Span, StorageError, TimeRange};
use testkit::Rng;
use ulid::Ulid;

use super::encode::{Encoder, NewChunk};
use super::merge::{Series, SeriesSource, SourceChunk};
use super::write::{WriteOptions, compacted_meta, rewritten_meta, write_block};
use crate::block::{BlockChunk, BlockHint, BlockMeta, BlockReader};
use crate::chunk::samples::samples;
use crate::chunk::{ChunkEncoding, StoredSample, StoredValue};
use crate::tombstones::{add_interval, is_deleted};

/// A sample as a test compares it: the value as text, the start timestamp.
type Value = (String, i64);
type Data = BTreeMap<Labels, BTreeMap<i64, Value>>;

fn value_of(sample: &StoredSample) -> Value {
    let value = match &sample.value {
        StoredValue::Float(v) => format!("{:x}", v.to_bits()),
        StoredValue::Histogram(h) => format!("{}/{}/{:?}/{:?}", h.count, h.sum, absolute(h), h.schema),
        StoredValue::FloatHistogram(h) => format!("{h:?}"),
    };
    (value, sample.start_timestamp_ms)
}

/// Populated buckets as (index, count): layouts may differ, what they say not.
fn absolute(h: &Histogram) -> Vec<(i32, i64)> {
    let (mut index, mut count, mut deltas) = (0, 0, h.positive_buckets.iter());
    let mut all = Vec::new();
    for span in h.positive_spans.iter() {
        index += span.offset;
        for _ in 0..span.length {
            count += deltas.next().unwrap();
            if count != 0 {
                all.push((index, count));
            }
            index += 1;
        }
    }
    all
}

fn float(t: i64, start: i64, v: f64) -> StoredSample {
    StoredSample { timestamp_ms: t, start_timestamp_ms: start, value: StoredValue::Float(v) }
}

fn histogram(t: i64, count: u64) -> StoredSample {
    let h = Histogram {
        schema: 1,
        count: count + 3,
        sum: count as f64,
        positive_spans: vec![Span { offset: (count % 3) as i32, length: 2 }].into(),
        positive_buckets: vec![count as i64, 3 - count as i64],
        ..Histogram::default()
    };
    StoredSample { timestamp_ms: t, start_timestamp_ms: 0, value: StoredValue::Histogram(h) }
}

/// A source in memory: (labels, chunks, what is deleted).
#[derive(Default)]
struct Memory {
    symbols: Vec<String>,
    series: Vec<(Labels, Vec<NewChunk>, Vec<TimeRange>)>,
    at: usize,
}

impl Memory {
    fn new(mut series: Vec<(Labels, Vec<NewChunk>, Vec<TimeRange>)>) -> Memory {
        series.sort_by(|a, b| a.0.cmp(&b.0));
        let symbols: BTreeSet<String> = series
            .iter()
            .flat_map(|(labels, ..)| labels.iter().flat_map(|l| [l.name.to_owned(), l.value.to_owned()]))
            .collect();
        Memory { symbols: symbols.into_iter().collect(), series, at: 0 }
    }

    /// What it holds, deletions applied.
    fn data(&self) -> Data {
        let mut data = Data::new();
        for (labels, chunks, deleted) in &self.series {
            for chunk in chunks {
                for sample in samples(chunk.encoding, &chunk.bytes).unwrap() {
                    let sample = sample.unwrap();
                    if !is_deleted(deleted, sample.timestamp_ms) {
                        let of_series = data.entry(labels.clone()).or_default();
                        of_series.entry(sample.timestamp_ms).or_insert_with(|| value_of(&sample));
                    }
                }
            }
        }
        data
    }
}

impl SeriesSource for Memory {
    fn symbols(&self) -> Box<dyn Iterator<Item = (u32, Cow<'_, str>)> + '_> {
        // Numbers with holes, as offsets have them.
        Box::new(self.symbols.iter().enumerate().map(|(i, s)| (i as u32 * 7 + 5, Cow::Borrowed(s.as_str()))))
    }

    fn next(&mut self, series: &mut Series) -> Result<bool, StorageError> {
        let Some((labels, chunks, deleted)) = self.series.get(self.at) else { return Ok(false) };
        self.at += 1;
        let number =
            |text: &str| self.symbols.binary_search_by(|s| s.as_str().cmp(text)).unwrap() as u32 * 7 + 5;
        series.labels.extend(labels.iter().map(|l| (number(l.name), number(l.value))));
        let chunk = |(i, chunk): (usize, &NewChunk)| SourceChunk {
            min_ms: chunk.min_ms,
            max_ms: chunk.max_ms,
            handle: i as u64,
        };
        series.chunks.extend(chunks.iter().enumerate().map(chunk));
        series.deleted.extend_from_slice(deleted);
        Ok(true)
    }

    fn chunk(&self, chunk: SourceChunk) -> Result<BlockChunk<'_>, StorageError> {
        let found = &self.series[self.at - 1].1[chunk.handle as usize];
        Ok(BlockChunk { encoding: found.encoding, bytes: &found.bytes })
    }
}

fn encode(all: Vec<StoredSample>, xor2: bool, chunk_samples: usize) -> Vec<NewChunk> {
    let mut encoder = Encoder::new(xor2);
    for (i, sample) in all.into_iter().enumerate() {
        if i % chunk_samples == 0 {
            encoder.flush();
        }
        encoder.push(sample);
    }
    encoder.flush();
    encoder.take()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

/// Writes a block and reads it back: its samples, and its chunks by series.
fn write(
    sources: Vec<Memory>,
    range: BlockRange,
    xor2: bool,
) -> Option<(BlockMeta, Data, BTreeMap<Labels, Vec<NewChunk>>)> {
    let dir = tempfile::tempdir().unwrap();
    let fs = crate::real_fs();
    let options = WriteOptions {
        fs: fs.clone(),
        dir: dir.path(),
        chunk_segment_bytes: 1 << 20,
        xor2,
        is_stopped: &|| false,
    };
    let mut sources: Vec<Box<dyn SeriesSource>> =
        sources.into_iter().map(|source| Box::new(source) as Box<dyn SeriesSource>).collect();
    let meta = BlockMeta::new(Ulid::from(7u128), range);
    let block = write_block(&mut sources, meta, &options, &mut |_| {}).unwrap();
    let Some(block) = block else {
        assert!(fs.list(dir.path()).unwrap().is_empty(), "nothing is left of an empty block");
        return None;
    };
    let reader = BlockReader::open(&*fs, &block).unwrap();
    reader.index().verify().unwrap();
    let (mut data, mut all_chunks) = (Data::new(), BTreeMap::new());
    let (mut pairs, mut metas) = (Vec::new(), Vec::new());
    for series in reader.index().all_postings().unwrap().iter() {
        reader.index().series(series, &mut pairs, &mut metas).unwrap();
        let labels = reader.index().labels(&pairs).unwrap();
        let mut chunks = Vec::new();
        for meta in &metas {
            let chunk = reader.chunk(meta.chunk).unwrap();
            let (encoding, bytes) = (chunk.encoding, chunk.bytes.to_vec());
            let mut times = Vec::new();
            for sample in samples(encoding, &bytes).unwrap() {
                let sample = sample.unwrap();
                times.push(sample.timestamp_ms);
                let old =
                    data.entry(labels.clone()).or_default().insert(sample.timestamp_ms, value_of(&sample));
                assert_eq!(old, None, "each time once");
            }
            assert_eq!((times[0], times[times.len() - 1]), (meta.min_ms, meta.max_ms));
            chunks.push(NewChunk { min_ms: meta.min_ms, max_ms: meta.max_ms, encoding, bytes });
        }
        all_chunks.insert(labels, chunks);
    }
    let stats = reader.meta().stats;
    assert_eq!(stats.num_series as usize, data.len());
    assert_eq!(stats.num_samples as usize, data.values().map(BTreeMap::len).sum::<usize>());
    Some((reader.meta().clone(), data, all_chunks))
}

#[test]
fn merging_equals_a_map() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let xor2 = rng.one_in(2);
        let sources: Vec<Memory> = (0..1 + rng.below(4)).map(|_| random_source(&mut rng, xor2)).collect();
        let range = BlockRange::new(rng.below(300) as i64, 4_000 + rng.below(3_000) as i64);
        let mut want = Data::new();
        for source in sources.iter().rev() {
            for (labels, of_series) in source.data() {
                want.entry(labels).or_default().extend(of_series);
            }
        }
        for of_series in want.values_mut() {
            of_series.retain(|t, _| range.contains(*t));
        }
        want.retain(|_, of_series| !of_series.is_empty());
        let got = write(sources, range, xor2).map(|(_, data, _)| data).unwrap_or_default();
        for (labels, of_series) in &want {
            assert_eq!(got.get(labels), Some(of_series), "seed {seed}, series {labels}");
        }
        assert_eq!(got.len(), want.len(), "seed {seed}");
    }
}

fn random_source(rng: &mut Rng, xor2: bool) -> Memory {
    let mut series = Vec::new();
    for n in 0..12 {
        if rng.one_in(3) {
            continue;
        }
        let name = ["a", "b", "c"][n % 3];
        let labels = labels(&[("__name__", "m"), (name, &n.to_string())]);
        let mut t = rng.below(2_000) as i64;
        let mut all = Vec::new();
        let with_start = xor2 && rng.one_in(4);
        let kind = rng.below(3);
        for i in 0..rng.below(400) {
            t += 1 + rng.below(20) as i64;
            let is_histogram = kind == 0 || (kind == 1 && i / 50 % 2 == 0);
            all.push(if is_histogram {
                histogram(t, rng.below(9))
            } else {
                float(t, if with_start { t - 1 } else { 0 }, rng.below(5) as f64)
            });
        }
        let mut deleted = Vec::new();
        for _ in 0..rng.below(3) {
            let start = rng.below(5_000) as i64;
            add_interval(&mut deleted, TimeRange::new(start, start + rng.below(1_000) as i64));
        }
        let size = 1 + rng.below(150) as usize;
        series.push((labels, encode(all, xor2, size), deleted));
    }
    Memory::new(series)
}

fn run(from: i64, n: i64, v: f64) -> Vec<StoredSample> {
    (0..n).map(|i| float(from + i * 15, 0, v + i as f64)).collect()
}

#[test]
fn chunks_that_nothing_touches_are_copied() {
    let a = labels(&[("a", "1")]);
    // XOR2 in, although XOR is what would be written now.
    let first = encode(run(0, 240, 1.0), true, 120);
    let second = encode(run(10_000, 240, 2.0), true, 120);
    let sources = vec![
        Memory::new(vec![(a.clone(), first.clone(), Vec::new())]),
        Memory::new(vec![(a.clone(), second.clone(), Vec::new())]),
    ];
    let (_, _, chunks) = write(sources, BlockRange::new(0, 100_000), false).unwrap();
    assert_eq!(chunks[&a], [first, second].concat());
}

#[test]
fn the_same_chunk_of_several_blocks_is_copied_once() {
    let a = labels(&[("a", "1")]);
    let chunks = encode(run(0, 120, 1.0), false, 120);
    let source = || Memory::new(vec![(a.clone(), chunks.clone(), Vec::new())]);
    let (_, _, written) =
        write(vec![source(), source(), source()], BlockRange::new(0, 100_000), false).unwrap();
    assert_eq!(written[&a], chunks);
}

#[test]
fn what_is_encoded_anew_gets_the_configured_encoding() {
    let a = labels(&[("a", "1")]);
    for (xor2, want) in [(false, ChunkEncoding::Xor), (true, ChunkEncoding::Xor2)] {
        let chunks = encode(run(0, 120, 1.0), !xor2, 120);
        let source = Memory::new(vec![(a.clone(), chunks, vec![TimeRange::new(0, 100)])]);
        let (_, _, written) = write(vec![source], BlockRange::new(0, 100_000), xor2).unwrap();
        assert_eq!(written[&a].iter().map(|c| c.encoding).collect::<Vec<_>>(), [want]);
    }
}

#[test]
fn start_timestamps_outlive_a_setting_that_would_drop_them() {
    let a = labels(&[("a", "1")]);
    let all: Vec<StoredSample> = (0..50).map(|i| float(1_000 + i, 900, 1.0)).collect();
    let source = Memory::new(vec![(a.clone(), encode(all, true, 120), vec![TimeRange::new(0, 1_010)])]);
    let (_, data, written) = write(vec![source], BlockRange::new(0, 100_000), false).unwrap();
    assert_eq!(written[&a][0].encoding, ChunkEncoding::Xor2);
    assert!(data[&a].values().all(|(_, start)| *start == 900));
}

#[test]
fn small_neighbours_become_one_chunk() {
    let a = labels(&[("a", "1")]);
    let source =
        |from: i64, n: i64| Memory::new(vec![(a.clone(), encode(run(from, n, 1.0), false, 120), Vec::new())]);
    let sources = vec![source(0, 100), source(10_000, 10), source(20_000, 5), source(30_000, 119)];
    let (_, _, written) = write(sources, BlockRange::new(0, 100_000), false).unwrap();
    let bounds: Vec<_> = written[&a].iter().map(|c| (c.min_ms, c.max_ms)).collect();
    assert_eq!(bounds, [(0, 20_060), (30_000, 31_770)]);
}

#[test]
fn a_block_of_which_all_was_deleted_is_not_written() {
    let a = labels(&[("a", "1")]);
    let source = Memory::new(vec![(a, encode(run(0, 120, 1.0), false, 120), vec![TimeRange::ALL])]);
    assert!(write(vec![source], BlockRange::new(0, 100_000), false).is_none());
}

#[test]
fn counter_resets_between_sources_are_not_hidden() {
    let a = labels(&[("a", "1")]);
    let source = |from: i64, counts: &[u64]| {
        let all =
            counts.iter().enumerate().map(|(i, &count)| histogram(from + i as i64 * 10, count)).collect();
        Memory::new(vec![(a.clone(), encode(all, false, 120), Vec::new())])
    };
    // 8, 4 (of the second source), 8: a reset and none.
    let sources = vec![source(0, &[8, 8]), source(5, &[4, 4])];
    let (_, data, chunks) = write(sources, BlockRange::new(0, 100_000), false).unwrap();
    assert_eq!(data[&a].len(), 4);
    let mut at = Vec::new();
    for chunk in &chunks[&a] {
        for (i, sample) in samples(chunk.encoding, &chunk.bytes).unwrap().enumerate() {
            let StoredValue::Histogram(h) = sample.unwrap().value else { panic!("a histogram") };
            at.push((h.count, i == 0, h.counter_reset_hint));
        }
    }
    assert_eq!(at.iter().map(|(count, ..)| *count).collect::<Vec<_>>(), [11, 7, 11, 7]);
    assert!(at[1].1 && at[3].1, "a lower count opens a chunk: {at:?}");
    assert!(at.iter().all(|(_, _, hint)| *hint != model::CounterResetHint::Gauge));
}

#[test]
fn metadata_name_the_parents() {
    let mut parents: Vec<BlockMeta> = (1..4u128)
        .map(|n| BlockMeta::new(Ulid::from(n), BlockRange::new(n as i64 * 10, n as i64 * 10 + 10)))
        .collect();
    parents[1].compaction.level = 2;
    parents[1].compaction.sources = vec![Ulid::from(9u128), Ulid::from(1u128)];
    parents[0].compaction.add_hint(BlockHint::FromOutOfOrder);
    let meta = compacted_meta(Ulid::from(5u128), &parents.iter().collect::<Vec<_>>());
    assert_eq!(meta.range(), BlockRange::new(10, 40));
    assert_eq!(meta.compaction.level, 3);
    assert_eq!(meta.compaction.sources, [1u128, 3, 9].map(Ulid::from));
    assert_eq!(meta.compaction.parents, parents.iter().map(BlockMeta::desc).collect::<Vec<_>>());
    assert!(meta.compaction.hints.is_empty(), "not all came out of order");
    let same = compacted_meta(Ulid::from(5u128), &[&parents[0]]);
    assert!(same.compaction.has_hint(BlockHint::FromOutOfOrder));
    let rewritten = rewritten_meta(Ulid::from(6u128), &parents[1]);
    assert_eq!(rewritten.compaction.level, 2);
    assert_eq!(rewritten.compaction.sources, parents[1].compaction.sources);
    assert_eq!(rewritten.compaction.parents, [parents[1].desc()]);
}
