//! Blocks, their indexes and snapshots: upstream's read to the last sample,
//! ours equal to upstream's byte for byte, and against damage.

mod formats_support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use formats_support::{labels, sample_text, stored_samples};
use model::{BlockRange, Fs, Labels, TimeRange};
use serde_json::Value;
use testkit::{Rng, conformance_dir, json_lines};
use tsdb::block::{
    BlockHint, BlockMeta, BlockReader, BlockWriter, BlockWriterOptions, ChunkFilesWriter, ChunkToWrite,
    MetaError, list_blocks, read_meta, remove_block, remove_temporary, write_meta,
};
use tsdb::chunk::{ChunkEncoding, StoredValue, samples::samples};
use tsdb::fs::RealFs;
use tsdb::index::{BlockChunkRef, BlockSeriesRef, ChunkMeta, IndexReader, IndexWriteError, IndexWriter};
use tsdb::snapshot_format::{self, SnapshotRecord, list_snapshots};
use tsdb::tombstones::{Tombstones, is_deleted, write_tombstones};
use tsdb::wal::{Decompressor, LogReader, ReadMode, Step, list_segments};

/// Blocks of the conformance data: folder, expected index, expected samples.
fn all_blocks() -> Option<Vec<(PathBuf, Value, Vec<Value>)>> {
    let dir = conformance_dir("tsdb")?;
    let json = |path: PathBuf| -> Value {
        serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON")
    };
    let mut all = Vec::new();
    for name in ["floats", "histograms", "tombstones", "start-timestamps"] {
        let folder = dir.join("blocks").join(name);
        let block = list_blocks(&RealFs, &folder).expect("a folder").remove(0);
        let samples = json_lines(&folder.join("expected.samples.jsonl"));
        all.push((block, json(folder.join("expected.index.json")), samples));
    }
    let folder = dir.join("datadirs/blocks-and-checkpoint");
    for block in list_blocks(&RealFs, &folder.join("data")).expect("a folder") {
        let name = block.file_name().expect("a name").to_string_lossy().into_owned();
        let samples = json_lines(&folder.join(format!("block-{name}.samples.jsonl")));
        all.push((block, json(folder.join(format!("block-{name}.index.json"))), samples));
    }
    let folder = dir.join("index_format_v1");
    let samples = json_lines(&folder.join("expected.samples.jsonl"));
    all.push((folder.clone(), json(folder.join("expected.index.json")), samples));
    Some(all)
}

fn series_of(index: &IndexReader, series: BlockSeriesRef) -> (Labels, Vec<ChunkMeta>) {
    let (mut pairs, mut chunks) = (Vec::new(), Vec::new());
    index.series(series, &mut pairs, &mut chunks).expect("a series");
    (index.labels(&pairs).expect("its labels"), chunks)
}

/// All that an index says, in the shape of the expected JSON.
fn index_json(block: &BlockReader) -> Value {
    let index = block.index();
    let names: Vec<&str> = index.label_names().collect();
    let mut values = serde_json::Map::new();
    let mut postings = Vec::new();
    let refs = |list: tsdb::index::PostingsList| list.iter().map(|s| s.0).collect::<Vec<u32>>();
    let all = refs(index.all_postings().expect("a list"));
    postings.push(serde_json::json!({"name": "", "value": "", "series_refs": all}));
    for name in &names {
        let mut of_name = Vec::new();
        index
            .label_values(name, |value, list| {
                of_name.push(value.to_owned());
                let series_refs = refs(index.postings_at(list).expect("a list"));
                assert_eq!(series_refs, refs(index.postings(name, value).expect("a list")));
                postings.push(serde_json::json!({"name": name, "value": value, "series_refs": series_refs}));
                true
            })
            .expect("values");
        assert_eq!(index.num_label_values(name), of_name.len());
        values.insert((*name).to_owned(), of_name.into());
    }
    let series: Vec<Value> = all
        .iter()
        .map(|&series| {
            let (labels, chunks) = series_of(index, BlockSeriesRef(series));
            let chunks: Vec<Value> = chunks
                .iter()
                .map(|meta| {
                    let chunk = block.chunk(meta.chunk).expect("a chunk");
                    serde_json::json!({
                        "ref": meta.chunk.0,
                        "segment": meta.chunk.segment(),
                        "offset": meta.chunk.offset(),
                        "min_time": meta.min_ms,
                        "max_time": meta.max_ms,
                        "encoding_byte": chunk.encoding as u8,
                        "data_len": chunk.bytes.len(),
                        "num_samples": tsdb::chunk::num_samples(chunk.encoding, chunk.bytes).expect("a count"),
                    })
                })
                .collect();
            let labels: serde_json::Map<String, Value> =
                labels.iter().map(|l| (l.name.to_owned(), l.value.into())).collect();
            serde_json::json!({"ref": series, "labels": labels, "chunks": chunks})
        })
        .collect();
    let tombstones: Vec<Value> = block
        .tombstones()
        .iter()
        .map(|(series, intervals)| {
            let intervals: Vec<[i64; 2]> = intervals.iter().map(|i| [i.start_ms, i.end_ms]).collect();
            serde_json::json!({"series_ref": series, "intervals": intervals})
        })
        .collect();
    let symbols: Vec<&str> = index.symbols().iter().map(|(_, text)| text).collect();
    serde_json::json!({
        "symbols": symbols, "label_names": names, "label_values": values,
        "postings": postings, "series": series, "tombstones": tombstones,
    })
}

/// The expected JSON without what is only a name for something else in it, and
/// tombstones (a map's order there) sorted.
fn normalised(mut expected: Value) -> Value {
    for series in expected["series"].as_array_mut().expect("series") {
        for chunk in series["chunks"].as_array_mut().expect("chunks") {
            chunk.as_object_mut().expect("an object").remove("encoding");
        }
    }
    let stones = expected["tombstones"].as_array_mut().expect("tombstones");
    stones.sort_by_key(|stone| stone["series_ref"].as_u64());
    expected
}

#[test]
fn upstreams_indexes_say_what_upstream_reads() {
    let Some(blocks) = all_blocks() else { return };
    let (mut passed, mut total) = (0, 0);
    for (dir, expected, _) in blocks {
        let block = BlockReader::open(&RealFs, &dir).expect("a block");
        block.index().verify().expect("a good index");
        let (got, want) = (index_json(&block), normalised(expected));
        for key in ["symbols", "label_names", "label_values", "postings", "series", "tombstones"] {
            if got[key] != want[key] {
                println!("{} {key}:\n got {}\nwant {}", dir.display(), got[key], want[key]);
            }
        }
        total += 1;
        passed += usize::from(got == want);
    }
    println!("block indexes: {passed} / {total}");
    assert_eq!(passed, total);
}

#[test]
fn upstreams_blocks_give_every_sample_that_is_not_deleted() {
    let Some(blocks) = all_blocks() else { return };
    let (mut passed, mut total) = (0, 0);
    for (dir, _, expected) in blocks {
        let block = BlockReader::open(&RealFs, &dir).expect("a block");
        let mut read: Vec<(Labels, Vec<String>)> = Vec::new();
        for series in block.index().all_postings().expect("a list").iter() {
            let (labels, chunks) = series_of(block.index(), series);
            let deleted = block.tombstones().get(u64::from(series.0));
            let mut texts = Vec::new();
            for meta in chunks {
                let chunk = block.chunk(meta.chunk).expect("a chunk");
                for sample in samples(chunk.encoding, chunk.bytes).expect("a chunk") {
                    let sample = sample.expect("a sample");
                    if !is_deleted(deleted, sample.timestamp_ms) {
                        texts.push(without_hint(&sample_text(&sample)));
                    }
                }
            }
            if !texts.is_empty() {
                read.push((labels, texts));
            }
        }
        assert_eq!(read.len(), expected.len(), "{}", dir.display());
        for ((got_labels, got), want) in read.iter().zip(&expected) {
            let wanted: Vec<String> =
                stored_samples(&want["samples"]).iter().map(|s| without_hint(&sample_text(s))).collect();
            let good = *got_labels == labels(&want["labels"]) && *got == wanted;
            if !good {
                println!("{} {got_labels}: {} samples, want {}", dir.display(), got.len(), wanted.len());
            }
            total += 1;
            passed += usize::from(good);
        }
    }
    println!("block series: {passed} / {total}");
    assert_eq!(passed, total);
}

/// Hints depend on how a querier joins chunks; here chunks are read one by one.
fn without_hint(text: &str) -> String {
    text.rsplit_once(' ').expect("a hint at the end").0.to_owned()
}

#[test]
fn a_block_written_again_is_the_same_to_the_byte() {
    let Some(blocks) = all_blocks() else { return };
    let (mut passed, mut total) = (0, 0);
    for (dir, _, _) in blocks {
        let block = BlockReader::open(&RealFs, &dir).expect("a block");
        if block.index().version() == 1 {
            continue;
        }
        let out = tempfile::tempdir().expect("a folder");
        let symbols = block.index().symbols();
        let mut writer = BlockWriter::create(
            RealFs::shared(),
            out.path(),
            block.meta().ulid,
            symbols.iter().map(|(_, text)| text),
            BlockWriterOptions::default(),
        )
        .expect("a block");
        let (mut pairs, mut metas) = (Vec::new(), Vec::new());
        for series in block.index().all_postings().expect("a list").iter() {
            block.index().series(series, &mut pairs, &mut metas).expect("a series");
            let chunks: Vec<ChunkToWrite<'_>> = metas
                .iter()
                .map(|meta| {
                    let chunk = block.chunk(meta.chunk).expect("a chunk");
                    ChunkToWrite {
                        min_ms: meta.min_ms,
                        max_ms: meta.max_ms,
                        encoding: chunk.encoding,
                        bytes: chunk.bytes,
                    }
                })
                .collect();
            writer.add_series(&pairs, &chunks).expect("a series");
        }
        assert!(!out.path().join(block.meta().ulid.to_string()).exists());
        let written = writer.finish(block.meta().clone()).expect("a block");
        write_tombstones(&RealFs, &written, block.tombstones()).expect("tombstones");
        for file in ["index", "chunks/000001", "meta.json"] {
            let ours = std::fs::read(written.join(file)).expect("a file");
            let theirs = std::fs::read(dir.join(file)).expect("a file");
            total += 1;
            passed += usize::from(ours == theirs);
            if ours != theirs {
                let at = ours.iter().zip(&theirs).position(|(a, b)| a != b);
                println!("{} {file}: {} bytes, want {}, {at:?}", dir.display(), ours.len(), theirs.len());
            }
        }
        // Upstream writes series of the tombstones file in no order.
        let again = BlockReader::open(&RealFs, &written).expect("a block");
        assert_eq!(again.tombstones(), block.tombstones());
        assert_eq!(
            std::fs::metadata(written.join("tombstones")).expect("a file").len(),
            std::fs::metadata(dir.join("tombstones")).expect("a file").len()
        );
    }
    println!("block files written again: {passed} / {total}");
    assert_eq!(passed, total);
}

#[test]
fn an_unknown_meta_version_is_refused() {
    let Some(dir) = conformance_dir("tsdb/repair_index_version") else { return };
    let block = list_blocks(&RealFs, &dir).expect("a folder").remove(0);
    match read_meta(&RealFs, &block) {
        Err(MetaError::Version { version: 2, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_start_puts_the_version_of_an_old_index_right() {
    let Some(dir) = conformance_dir("tsdb/repair_index_version") else { return };
    let block = list_blocks(&RealFs, &dir).expect("a folder").remove(0);
    let data = tempfile::tempdir().expect("a folder");
    let copy = data.path().join(block.file_name().expect("a name"));
    std::fs::create_dir_all(copy.join("chunks")).expect("a folder");
    for file in ["index", "meta.json"] {
        std::fs::copy(block.join(file), copy.join(file)).expect("a copy");
    }
    let mut options = tsdb::DbOptions { dir: data.path().to_path_buf(), ..tsdb::DbOptions::default() };
    options.runtime.retention_time = None;
    let clock = std::sync::Arc::new(testkit::TestClock::new(0));
    let env = model::Env { fs: RealFs::shared(), clock, seed: 1 };
    let accountant = model::memory::Accountant::unlimited();
    let db = tsdb::Db::open(options, env, accountant, &model::metrics::Registry::new(), Default::default());
    let db = db.expect("a database");
    assert!(db.damaged_blocks().is_empty(), "{:?}", db.damaged_blocks());
    drop(db);
    let block = BlockReader::open(&RealFs, &copy).expect("a block");
    assert_eq!((block.index().version(), block.meta().stats.num_series), (2, 88_910));
    let index = block.index();
    let names = |of: &[(u32, u32)]| -> Vec<String> {
        let text = |symbol: u32| index.symbols().get(symbol).expect("a symbol");
        of.iter().map(|&(name, value)| format!("{}={}", text(name), text(value))).collect()
    };
    let (mut labels, mut chunks, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for series in index.postings("b", "1").expect("a list").iter() {
        index.series(series, &mut labels, &mut chunks).expect("a series");
        found.push(names(&labels));
    }
    assert_eq!(found, [["a=1", "b=1"], ["a=2", "b=1"]]);
}

#[test]
fn metadata_survive_with_all_fields() {
    let dir = tempfile::tempdir().expect("a folder");
    let (a, b) = (ulid::Ulid(5), ulid::Ulid(6));
    let mut meta = BlockMeta::new(a, BlockRange::new(-10, 20));
    write_meta(&RealFs, dir.path(), &meta).expect("a file");
    let text = std::fs::read_to_string(dir.path().join("meta.json")).expect("a file");
    assert_eq!(
        text,
        "{\n\t\"ulid\": \"00000000000000000000000005\",\n\t\"minTime\": -10,\n\t\"maxTime\": 20,\n\t\"stats\": {},\n\t\
         \"compaction\": {\n\t\t\"level\": 1,\n\t\t\"sources\": [\n\t\t\t\"00000000000000000000000005\"\n\t\t]\n\t},\n\t\
         \"version\": 1\n}"
    );
    meta.compaction.parents = vec![BlockMeta::new(b, BlockRange::new(0, 1)).desc()];
    meta.compaction.deletable = true;
    meta.compaction.failed = true;
    meta.compaction.add_hint(BlockHint::FromStaleSeries);
    meta.compaction.add_hint(BlockHint::FromOutOfOrder);
    meta.compaction.add_hint(BlockHint::FromStaleSeries);
    assert_eq!(meta.compaction.hints, ["from-out-of-order", "from-stale-series"]);
    write_meta(&RealFs, dir.path(), &meta).expect("a file");
    assert_eq!(read_meta(&RealFs, dir.path()).expect("a file"), meta);
    assert!(!dir.path().join("meta.json.tmp").exists());
    for bad in [
        "",
        "{",
        "[]",
        "{\"version\": 1}",
        "{\"version\": 1, \"ulid\": \"x\", \"minTime\": 0, \"maxTime\": 0}",
    ] {
        std::fs::write(dir.path().join("meta.json"), bad).expect("a file");
        assert!(matches!(read_meta(&RealFs, dir.path()), Err(MetaError::Json { .. })), "{bad}");
    }
    let thanos = "{\"version\": 1, \"ulid\": \"00000000000000000000000005\", \"minTime\": 0, \"maxTime\": 0, \
                  \"thanos\": {\"labels\": {}}, \"compaction\": {\"level\": 1, \"sources\": null}}";
    std::fs::write(dir.path().join("meta.json"), thanos).expect("a file");
    assert_eq!(read_meta(&RealFs, dir.path()).expect("a file").compaction.sources, []);
}

fn float_chunk(start_ms: i64, count: i64) -> Vec<u8> {
    let mut buffer = vec![0; 64];
    let mut state = tsdb::chunk::xor::start(&mut buffer);
    for i in 0..count {
        buffer.resize(state.byte_len() + tsdb::chunk::APPEND_BYTES_MAX, 0);
        tsdb::chunk::xor::append(&mut state, &mut buffer, start_ms + i * 1000, i as f64);
    }
    buffer.truncate(state.byte_len());
    state.seal(&mut buffer);
    buffer
}

/// Writes an index of `count` series with three labels each.
fn write_index(path: &Path, count: u32) -> (Vec<String>, u64) {
    let mut symbols: Vec<String> = (0..count).map(|i| format!("value-{i:05}")).collect();
    symbols.extend(["".to_owned(), "a".to_owned(), "b".to_owned(), "group".to_owned()]);
    symbols.sort();
    let mut writer = IndexWriter::create(RealFs::shared(), path, &symbols).expect("an index");
    let symbol = |writer: &IndexWriter, text: &str| writer.symbol(text).expect("a symbol");
    let names = [symbol(&writer, "a"), symbol(&writer, "b"), symbol(&writer, "group")];
    for i in 0..count {
        let value = symbol(&writer, &format!("value-{i:05}"));
        let group = symbol(&writer, &format!("value-{:05}", i % 7));
        let chunk = BlockChunkRef::new(0, 8 + i * 10);
        let chunks =
            [ChunkMeta { chunk, min_ms: -5, max_ms: 10 }, ChunkMeta { chunk, min_ms: 11, max_ms: 11 }];
        let pairs = [(names[0], value), (names[1], value), (names[2], group)];
        writer.add_series(&pairs, &chunks[..1 + i as usize % 2]).expect("a series");
    }
    let len = writer.finish().expect("an index");
    (symbols, len)
}

#[test]
fn every_string_value_and_list_is_found_through_the_samples() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("index");
    let (symbols, len) = write_index(&path, 1000);
    let index = IndexReader::open(&RealFs, &path).expect("an index");
    assert_eq!(index.file_bytes(), len);
    index.verify().expect("a good index");
    for (i, text) in symbols.iter().enumerate() {
        assert_eq!(index.symbols().find(text), Some(i as u32));
        assert_eq!(index.symbols().get(i as u32), Some(text.as_str()));
    }
    assert_eq!(index.symbols().find("value-00000x"), None);
    assert_eq!(index.symbols().find("zzz"), None);
    assert_eq!(index.symbols().get(symbols.len() as u32), None);
    for i in 0..1000 {
        let list = index.postings("a", &format!("value-{i:05}")).expect("a list");
        assert_eq!(list.len(), 1);
        let series = list.iter().next().expect("a series");
        let (labels, chunks) = series_of(&index, series);
        assert_eq!(labels.get("b"), Some(format!("value-{i:05}").as_str()));
        assert_eq!(chunks.len(), 1 + i % 2);
        assert!(index.postings("group", &format!("value-{:05}", i % 7)).expect("a list").contains(series));
    }
    for (name, value) in [("a", ""), ("a", "value-00000x"), ("a", "zzz"), ("c", "x"), ("", "x")] {
        assert!(index.postings(name, value).expect("a list").is_empty());
    }
    let mut from = Vec::new();
    index
        .label_values_from("a", "value-00500x", |value, _| {
            from.push(value.to_owned());
            from.len() < 100
        })
        .expect("values");
    assert_eq!(from.len(), 100);
    assert_eq!((from[0].as_str(), from[99].as_str()), ("value-00501", "value-00600"));
    // A few KB, whatever the file's size.
    assert!(index.heap_bytes() < 1500, "{}", index.heap_bytes());
}

#[test]
fn seeking_in_a_list_equals_walking_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("index");
    write_index(&path, 500);
    let index = IndexReader::open(&RealFs, &path).expect("an index");
    let list = index.postings("group", "value-00003").expect("a list");
    let all: Vec<_> = list.iter().collect();
    let mut rng = Rng::new(71);
    for _ in 0..500 {
        let mut iter = list.iter();
        let mut walked = all.as_slice();
        for _ in 0..4 {
            let target = BlockSeriesRef(rng.below(u64::from(all[all.len() - 1].0) + 10) as u32);
            iter.seek(target);
            walked = &walked[walked.partition_point(|&series| series < target)..];
            assert_eq!(iter.next(), walked.first().copied());
            walked = walked.get(1..).unwrap_or(&[]);
        }
    }
}

#[test]
fn the_index_refuses_what_is_out_of_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("index");
    let create = |symbols: &[&str]| IndexWriter::create(RealFs::shared(), &path, symbols.iter());
    assert!(matches!(create(&["b", "a"]), Err(IndexWriteError::SymbolOrder(_))));
    assert!(matches!(create(&["a", "a"]), Err(IndexWriteError::SymbolOrder(_))));
    let mut writer = create(&["a", "b", "c"]).expect("an index");
    let meta = |place, min_ms, max_ms| ChunkMeta { chunk: BlockChunkRef(place), min_ms, max_ms };
    writer.add_series(&[(0, 1)], &[meta(8, 0, 5), meta(9, 6, 7)]).expect("a series");
    assert!(matches!(writer.add_series(&[(0, 1)], &[]), Err(IndexWriteError::SeriesOrder(1))));
    assert!(matches!(writer.add_series(&[(0, 0)], &[]), Err(IndexWriteError::SeriesOrder(1))));
    assert!(matches!(writer.add_series(&[(1, 0), (0, 1)], &[]), Err(IndexWriteError::SeriesOrder(1))));
    assert!(matches!(writer.add_series(&[(0, 3)], &[]), Err(IndexWriteError::UnknownSymbol(3))));
    for chunks in
        [[meta(8, 0, 1), meta(12, 2, 3)], [meta(10, 0, 2), meta(12, 2, 3)], [meta(10, 2, 1), meta(11, 4, 5)]]
    {
        assert!(matches!(writer.add_series(&[(0, 2)], &chunks), Err(IndexWriteError::ChunkOrder { .. })));
    }
    writer.add_series(&[(0, 1), (1, 1)], &[]).expect("a series");
    writer.finish().expect("an index");
}

#[test]
fn a_damaged_index_is_an_error_and_never_a_panic() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("index");
    write_index(&path, 20);
    let whole = std::fs::read(&path).expect("a file");
    let damaged = dir.path().join("damaged");
    for len in (0..whole.len()).step_by(3) {
        std::fs::write(&damaged, &whole[..len]).expect("a file");
        assert!(IndexReader::open(&RealFs, &damaged).is_err(), "cut at {len}");
    }
    let mut unnoticed = 0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&damaged, &bytes).expect("a file");
        if let Ok(index) = IndexReader::open(&RealFs, &damaged)
            && index.verify().is_ok()
        {
            unnoticed += 1;
        }
    }
    // Padding between series and before lists is not covered by any checksum.
    assert!(unnoticed <= 20 * 15 + 50 * 3, "{unnoticed} of {} bytes", whole.len());
    let mut rng = Rng::new(72);
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..1 + rng.below(20) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        std::fs::write(&damaged, &bytes).expect("a file");
        if let Ok(index) = IndexReader::open(&RealFs, &damaged) {
            let _ = index.verify();
        }
    }
}

#[test]
fn chunk_files_are_cut_and_read_across() {
    let dir = tempfile::tempdir().expect("a folder");
    let fs: Arc<dyn Fs> = RealFs::shared();
    let mut writer = ChunkFilesWriter::create(fs.clone(), dir.path(), 1_200).expect("a folder");
    let chunks: Vec<Vec<u8>> = (0..50).map(|i| float_chunk(i * 100, 20 + i)).collect();
    let places: Vec<BlockChunkRef> =
        chunks.iter().map(|bytes| writer.write(ChunkEncoding::Xor, bytes).expect("a write")).collect();
    writer.finish().expect("files");
    assert!(places.is_sorted());
    assert!(places[49].segment() >= 2);
    let files = tsdb::block::ChunkFiles::open(&*fs, dir.path()).expect("files");
    for (place, bytes) in places.iter().zip(&chunks) {
        let chunk = files.chunk(*place).expect("a chunk");
        assert_eq!((chunk.encoding, chunk.bytes), (ChunkEncoding::Xor, bytes.as_slice()));
    }
    for place in [BlockChunkRef::new(99, 8), BlockChunkRef::new(0, 0), BlockChunkRef::new(0, u32::MAX)] {
        assert!(files.chunk(place).is_err());
    }
    for offset in 0..1_200 {
        let place = BlockChunkRef::new(0, offset);
        assert_eq!(files.chunk(place).is_ok(), places.contains(&place), "offset {offset}");
    }
}

#[test]
fn blocks_appear_whole_and_go_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let ulid = ulid::Ulid(77);
    let options = BlockWriterOptions::default();
    let begin =
        || BlockWriter::create(RealFs::shared(), dir.path(), ulid, ["", "a", "b"], options).expect("a block");
    let chunk = float_chunk(0, 10);
    let chunk = ChunkToWrite { min_ms: 0, max_ms: 9_000, encoding: ChunkEncoding::Xor, bytes: &chunk };
    let mut writer = begin();
    writer.add_series(&[(1, 2)], &[chunk]).expect("a series");
    assert!(list_blocks(&RealFs, dir.path()).expect("a folder").is_empty());
    drop(writer);
    assert_eq!(remove_temporary(&RealFs, dir.path()).expect("a folder").len(), 1);
    begin().discard().expect("a removal");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);

    let mut writer = begin();
    writer.add_series(&[(1, 2)], &[chunk]).expect("a series");
    let path = writer.finish(BlockMeta::new(ulid, BlockRange::new(0, 9_001))).expect("a block");
    let block = BlockReader::open(&RealFs, &path).expect("a block");
    assert_eq!(block.meta().stats.num_float_samples, 10);
    assert!(block.tombstones().is_empty());
    let mut tombstones = Tombstones::new();
    tombstones.add(3, TimeRange::new(0, 5));
    write_tombstones(&RealFs, &path, &tombstones).expect("a file");
    assert_eq!(BlockReader::open(&RealFs, &path).expect("a block").tombstones(), &tombstones);
    remove_block(&RealFs, &path).expect("a removal");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);
    // The map holds what was removed.
    block.index().verify().expect("still readable");
}

#[test]
fn upstreams_snapshot_decodes_and_encodes_alike() {
    let Some(dir) = conformance_dir("tsdb/datadirs/memory-snapshot") else { return };
    let snapshots = list_snapshots(&RealFs, &dir.join("data")).expect("a folder");
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0].reaches.offset, 65536);
    let folder = dir.join("data").join(&snapshots[0].name);
    let segments: Vec<u64> =
        list_segments(&RealFs, &folder).expect("a folder").iter().map(|segment| segment.number).collect();
    let mut reader = LogReader::new(RealFs::shared(), &folder, segments, ReadMode::Strict);
    let mut decompressor = Decompressor::new();
    let expected = json_lines(&dir.join("expected.samples.jsonl"));
    let exemplars = json_lines(&dir.join("expected.exemplars.jsonl"));
    let (mut series_count, mut exemplar_count, mut tombstone_records, mut total) = (0, 0, 0, 0);
    loop {
        let record = match reader.next().expect("a log") {
            Step::Record(raw) => decompressor.decompress(raw.payload).expect("a record").to_vec(),
            Step::End => break,
            other => panic!("{other:?}"),
        };
        let mut again = Vec::new();
        match snapshot_format::decode(&record).unwrap_or_else(|error| panic!("{error}: {record:02x?}")) {
            SnapshotRecord::Series(series) => {
                snapshot_format::put_series(&mut again, series.series, &series.labels, series.chunk.as_ref());
                let want = expected.iter().find(|line| labels(&line["labels"]) == series.labels);
                if let (Some(want), Some(chunk)) = (want, &series.chunk) {
                    let last = stored_samples(&want["samples"]).pop().expect("a sample");
                    let stored = samples(chunk.encoding, &chunk.bytes)
                        .expect("a chunk")
                        .last()
                        .expect("a sample")
                        .expect("a sample");
                    assert_eq!(without_hint(&sample_text(&stored)), without_hint(&sample_text(&last)));
                    assert_eq!(chunk.max_ms, last.timestamp_ms);
                    if let (StoredValue::Float(newest), StoredValue::Float(want)) = (&chunk.last, &last.value)
                    {
                        assert_eq!(newest.to_bits(), want.to_bits());
                    }
                }
                series_count += 1;
            }
            SnapshotRecord::Tombstones(tombstones) => {
                snapshot_format::put_tombstones(&mut again, &tombstones);
                tombstone_records += 1;
            }
            SnapshotRecord::Exemplars(all) => {
                snapshot_format::put_exemplars(&mut again, &all);
                exemplar_count += all.len();
            }
        }
        assert_eq!(again, record);
        total += 1;
        for len in 0..record.len().min(200) {
            let _ = snapshot_format::decode(&record[..len]);
        }
    }
    assert!(series_count >= expected.len());
    let wanted: usize = exemplars.iter().map(|line| line["exemplars"].as_array().map_or(1, Vec::len)).sum();
    assert_eq!(exemplar_count, wanted);
    println!(
        "snapshot: {total} records ({series_count} series, {tombstone_records} tombstones, {exemplar_count} exemplars)"
    );
}
