//! What the tests of compaction and upkeep share: blocks made by hand, databases
//! over them, what they answer.

#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests; each file uses some")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::query::ChunkEncoding;
use model::{BlockRange, Fs, Labels};
use tsdb::block::{
    BlockMeta, BlockReader, BlockWriter, BlockWriterOptions, ChunkToWrite, list_blocks, read_meta,
};
use tsdb::chunk::{APPEND_BYTES_MAX, xor, xor2};
use ulid::Ulid;

/// Samples by series: (time, value).
pub type Series = BTreeMap<Labels, Vec<(i64, f64)>>;

pub const HOUR: i64 = 3_600_000;

/// One series `m{n="…"}`.
pub fn series(n: u64) -> Labels {
    Labels::from_pairs([("__name__", "m".to_owned()), ("n", n.to_string())])
}

/// Some series with a sample every `step_ms` of a range; values tell series and time.
pub fn every(step_ms: i64, range: BlockRange, n_series: u64) -> Series {
    (0..n_series)
        .map(|n| {
            let times = (range.min_ms..range.max_ms).step_by(step_ms as usize);
            (series(n), times.map(|t| (t, n as f64 * 1e6 + (t / 1000) as f64)).collect())
        })
        .collect()
}

/// A float chunk.
pub fn float_chunk(samples: &[(i64, f64)], encoding: ChunkEncoding) -> Vec<u8> {
    let mut bytes = vec![0; (samples.len() + 2) * APPEND_BYTES_MAX];
    let mut state =
        if encoding == ChunkEncoding::Xor2 { xor2::start(&mut bytes) } else { xor::start(&mut bytes) };
    for &(t, v) in samples {
        if encoding == ChunkEncoding::Xor2 {
            xor2::append(&mut state, &mut bytes, t, v);
        } else {
            xor::append(&mut state, &mut bytes, t, v);
        }
    }
    state.seal(&mut bytes);
    bytes.truncate(state.byte_len());
    bytes
}

/// Writes a block of floats and answers its folder; `change` has the last word on
/// its metadata.
pub fn write_block(
    dir: &Path,
    ulid: u128,
    range: BlockRange,
    data: &Series,
    encoding: ChunkEncoding,
    change: impl FnOnce(&mut BlockMeta),
) -> PathBuf {
    write_block_on(tsdb::real_fs(), dir, ulid, range, data, encoding, change)
}

/// The same on any file system.
pub fn write_block_on(
    fs: Arc<dyn Fs>,
    dir: &Path,
    ulid: u128,
    range: BlockRange,
    data: &Series,
    encoding: ChunkEncoding,
    change: impl FnOnce(&mut BlockMeta),
) -> PathBuf {
    let mut symbols: Vec<String> = vec![String::new()];
    symbols.extend(data.keys().flat_map(|l| l.iter().flat_map(|l| [l.name.to_owned(), l.value.to_owned()])));
    symbols.sort();
    symbols.dedup();
    let options = BlockWriterOptions::default();
    let mut writer = BlockWriter::create(fs, dir, Ulid::from(ulid), &symbols, options).unwrap();
    for (labels, samples) in data {
        let encoded: Vec<_> = samples
            .chunks(120)
            .map(|part| (part[0].0, part[part.len() - 1].0, float_chunk(part, encoding)))
            .collect();
        let chunks: Vec<ChunkToWrite<'_>> = encoded
            .iter()
            .map(|(min_ms, max_ms, bytes)| ChunkToWrite { min_ms: *min_ms, max_ms: *max_ms, encoding, bytes })
            .collect();
        let pairs: Vec<(u32, u32)> = labels
            .iter()
            .map(|l| (writer.symbol(l.name).unwrap(), writer.symbol(l.value).unwrap()))
            .collect();
        writer.add_series(&pairs, &chunks).unwrap();
    }
    let mut meta = BlockMeta::new(Ulid::from(ulid), range);
    change(&mut meta);
    writer.finish(meta).unwrap()
}

/// Writes a block of `n_series` series with a sample every minute.
pub fn simple_block(dir: &Path, ulid: u128, min_hour: i64, max_hour: i64, n_series: u64) -> Series {
    let range = BlockRange::new(min_hour * HOUR, max_hour * HOUR);
    let data = every(60_000, range, n_series);
    write_block(dir, ulid, range, &data, ChunkEncoding::Xor, |_| {});
    data
}

/// The metadata of all blocks on disk, oldest first.
pub fn metas(dir: &Path) -> Vec<BlockMeta> {
    metas_on(&*tsdb::real_fs(), dir)
}

/// The same on any file system.
pub fn metas_on(fs: &dyn Fs, dir: &Path) -> Vec<BlockMeta> {
    let mut metas: Vec<BlockMeta> =
        list_blocks(fs, dir).unwrap().iter().map(|block| read_meta(fs, block).unwrap()).collect();
    metas.sort_by_key(|meta| (meta.min_time, meta.max_time));
    metas
}

/// The spans of all blocks on disk in hours.
pub fn spans(dir: &Path) -> Vec<(i64, i64)> {
    spans_on(&*tsdb::real_fs(), dir)
}

/// The same on any file system.
pub fn spans_on(fs: &dyn Fs, dir: &Path) -> Vec<(i64, i64)> {
    metas_on(fs, dir).iter().map(|meta| (meta.min_time / HOUR, meta.max_time / HOUR)).collect()
}

/// Encodings of all chunks of a block.
pub fn encodings(block: &Path) -> Vec<ChunkEncoding> {
    let reader = BlockReader::open(&*tsdb::real_fs(), block).unwrap();
    let (mut labels, mut chunks, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for series in reader.index().all_postings().unwrap().iter() {
        reader.index().series(series, &mut labels, &mut chunks).unwrap();
        all.extend(chunks.iter().map(|meta| reader.chunk(meta.chunk).unwrap().encoding));
    }
    all
}

/// Several sets of samples as one; of equal times the first set's stays.
pub fn union<'a>(sets: impl IntoIterator<Item = &'a Series>) -> BTreeMap<Labels, Vec<(i64, u64)>> {
    let mut all: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
    for set in sets {
        for (labels, samples) in set {
            let of_series = all.entry(labels.clone()).or_default();
            for &(t, v) in samples {
                of_series.entry(t).or_insert(v.to_bits());
            }
        }
    }
    all.into_iter().map(|(labels, samples)| (labels, samples.into_iter().collect())).collect()
}
