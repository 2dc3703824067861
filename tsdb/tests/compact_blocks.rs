//! Blocks become larger blocks and answer the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;
mod upkeep_support;

use std::collections::BTreeMap;
use std::time::Duration;

use db_support::{everything, floats, open, options, select};
use model::admin::TsdbAdmin;
use model::query::{ChunkEncoding, SampleKind};
use model::{BlockRange, FloatHistogram, Labels, TimeRange};
use tsdb::DbOptions;
use tsdb::block::{BlockHint, list_blocks};
use ulid::Ulid;
use upkeep_support::{HOUR, encodings, every, metas, series, simple_block, spans, union, write_block};

const ALL: TimeRange = TimeRange::ALL;

fn long_lived(dir: &std::path::Path) -> DbOptions {
    let mut options = options(dir);
    options.runtime.retention_time = None;
    options
}

#[test]
fn three_blocks_of_two_hours_become_one_of_six() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<_> = (0..5).map(|i| simple_block(dir.path(), i as u128 + 1, i * 2, i * 2 + 2, 5)).collect();
    let db = open(long_lived(dir.path()));
    let before = floats(&db, ALL);
    assert_eq!(before, union(&all));
    db.maintain().unwrap();
    assert_eq!(spans(dir.path()), [(0, 6), (6, 8), (8, 10)]);
    assert_eq!(floats(&db, ALL), before);
    let merged = &metas(dir.path())[0];
    assert_eq!(merged.compaction.level, 2);
    assert_eq!(merged.compaction.sources, [1u128, 2, 3].map(Ulid::from));
    assert_eq!(merged.compaction.parents.len(), 3);
    assert_eq!(merged.stats.num_series, 5);
    assert_eq!(merged.stats.num_samples, 5 * 360);
    assert_eq!(merged.stats.num_float_samples, 5 * 360);
    db.close().unwrap();
    let db = open(long_lived(dir.path()));
    assert_eq!(floats(&db, ALL), before, "after a restart too");
    db.maintain().unwrap();
    assert_eq!(spans(dir.path()).len(), 3, "nothing more to do");
}

#[test]
fn levels_build_on_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<_> = (0..11).map(|i| simple_block(dir.path(), i as u128 + 1, i * 2, i * 2 + 2, 2)).collect();
    let db = open(long_lived(dir.path()));
    db.maintain().unwrap();
    assert_eq!(spans(dir.path()), [(0, 18), (18, 20), (20, 22)]);
    assert_eq!(floats(&db, ALL), union(&all));
    assert_eq!(metas(dir.path())[0].compaction.level, 3);
}

#[test]
fn the_longest_range_is_not_exceeded() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..11 {
        simple_block(dir.path(), i as u128 + 1, i * 2, i * 2 + 2, 1);
    }
    let db = open(DbOptions { max_block_duration_ms: 6 * HOUR, ..long_lived(dir.path()) });
    db.maintain().unwrap();
    assert_eq!(spans(dir.path()), [(0, 6), (6, 12), (12, 18), (18, 20), (20, 22)]);
}

#[test]
fn of_overlapping_blocks_the_oldest_wins() {
    let dir = tempfile::tempdir().unwrap();
    let range = BlockRange::new(0, 2 * HOUR);
    let late = BlockRange::new(HOUR, 2 * HOUR);
    let first = every(60_000, range, 3);
    let mut second = every(30_000, late, 4);
    for samples in second.values_mut() {
        samples.iter_mut().for_each(|sample| sample.1 = -sample.1);
    }
    write_block(dir.path(), 1, range, &first, ChunkEncoding::Xor, |_| {});
    write_block(dir.path(), 2, late, &second, ChunkEncoding::Xor, |_| {});
    let db = open(long_lived(dir.path()));
    let want = union([&first, &second]);
    assert_eq!(floats(&db, ALL), want, "before the merge");
    db.maintain().unwrap();
    assert_eq!(spans(dir.path()), [(0, 2)]);
    assert_eq!(floats(&db, ALL), want, "after it");
    let samples = |n: u64| want[&series(n)].len() as u64;
    assert_eq!(metas(dir.path())[0].stats.num_samples, (0..4).map(samples).sum::<u64>());
}

#[test]
fn overlapping_blocks_stay_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    simple_block(dir.path(), 1, 0, 2, 1);
    simple_block(dir.path(), 2, 0, 2, 1);
    let db = open(DbOptions { overlapping_compaction: false, ..long_lived(dir.path()) });
    db.maintain().unwrap();
    assert_eq!(spans(dir.path()), [(0, 2), (0, 2)]);
}

#[test]
fn chunks_keep_their_encoding() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..5 {
        let range = BlockRange::new(i * 2 * HOUR, (i + 1) * 2 * HOUR);
        let data = every(60_000, range, 2);
        write_block(dir.path(), i as u128 + 1, range, &data, ChunkEncoding::Xor2, |_| {});
    }
    let db = open(long_lived(dir.path()));
    db.maintain().unwrap();
    let blocks = list_blocks(&*tsdb::real_fs(), dir.path()).unwrap();
    let merged = blocks.iter().find(|block| encodings(block).len() == 6).expect("one block has six chunks");
    assert!(encodings(merged).iter().all(|encoding| *encoding == ChunkEncoding::Xor2));
}

#[test]
fn blocks_of_stale_series_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let range = BlockRange::new(0, 2 * HOUR);
    for n in 1..=2 {
        write_block(dir.path(), n, range, &every(60_000, range, n as u64), ChunkEncoding::Xor, |_| {});
        write_block(dir.path(), n + 10, range, &every(60_000, range, n as u64), ChunkEncoding::Xor, |meta| {
            meta.compaction.add_hint(BlockHint::FromStaleSeries);
            meta.compaction.add_hint(BlockHint::FromOutOfOrder);
        });
    }
    let db = open(long_lived(dir.path()));
    db.maintain().unwrap();
    let hints: Vec<_> = metas(dir.path()).into_iter().map(|meta| meta.compaction.hints).collect();
    assert_eq!(hints.len(), 2);
    assert!(hints.contains(&Vec::new()));
    assert!(hints.contains(&vec!["from-out-of-order".to_owned(), "from-stale-series".to_owned()]));
}

#[test]
fn blocks_wait_for_their_shipper() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..5 {
        simple_block(dir.path(), i as u128 + 1, i * 2, i * 2 + 2, 1);
    }
    let file = dir.path().join("shipper.json");
    let write = |n: u128| {
        let names: Vec<String> = (1..=n).map(|i| Ulid::from(i).to_string()).collect();
        std::fs::write(&file, serde_json::json!({"version": 1, "uploaded": names}).to_string()).unwrap();
    };
    write(2);
    let db = open(DbOptions { delay_compact_file: Some(file.clone()), ..long_lived(dir.path()) });
    db.maintain().unwrap();
    assert_eq!(spans(dir.path()).len(), 5);
    write(4);
    db.maintain().unwrap();
    assert_eq!(spans(dir.path()), [(0, 6), (6, 8), (8, 10)]);
}

#[test]
fn no_compaction_where_it_is_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..5 {
        simple_block(dir.path(), i as u128 + 1, i * 2, i * 2 + 2, 1);
    }
    let db = open(DbOptions { compaction: false, ..long_lived(dir.path()) });
    db.maintain().unwrap();
    assert_eq!(spans(dir.path()).len(), 5);
}

#[test]
fn a_damaged_chunk_fails_its_compaction_once_and_costs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<_> = (0..8).map(|i| simple_block(dir.path(), i as u128 + 1, i * 2, i * 2 + 2, 3)).collect();
    let chunks = dir.path().join(Ulid::from(2u128).to_string()).join("chunks/000001");
    let mut bytes = std::fs::read(&chunks).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&chunks, bytes).unwrap();
    let db = open(long_lived(dir.path()));
    assert!(db.maintain().is_err(), "the failure is told");
    db.maintain().unwrap();
    assert_eq!(spans(dir.path()), [(0, 2), (2, 4), (4, 6), (6, 12), (12, 14), (14, 16)]);
    let failed: Vec<bool> = metas(dir.path()).iter().map(|meta| meta.compaction.failed).collect();
    assert_eq!(failed, [true, true, true, false, false, false]);
    let later = TimeRange::new(4 * HOUR, i64::MAX);
    let mut want = union(&all);
    want.values_mut().for_each(|samples| samples.retain(|(t, _)| later.contains(*t)));
    assert_eq!(floats(&db, later), want);
    let leftovers: BTreeMap<_, _> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".tmp"))
        .map(|name| (name, ()))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[test]
fn retention_removes_whole_blocks_by_the_newest_block() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..4 {
        simple_block(dir.path(), i as u128 + 1, i * 2, i * 2 + 2, 1);
    }
    let mut options = options(dir.path());
    options.compaction = false;
    options.runtime.retention_time = Some(Duration::from_millis(4 * HOUR as u64));
    let db = open(options);
    assert_eq!(spans(dir.path()), [(4, 6), (6, 8)], "a block that ends 4 h before the newest is over");
    drop(db);
}

/// Samples by series without what merging may change: hints, and buckets that
/// are empty.
fn comparable(db: &tsdb::Db) -> BTreeMap<Labels, Vec<(i64, i64, String)>> {
    let mut all = BTreeMap::new();
    for (labels, columns) in select(db, everything(), ALL) {
        let mut rows = Vec::new();
        let (mut at, mut floats, mut histograms) = (0, columns.floats.iter(), columns.histograms.iter());
        for run in &columns.runs {
            for _ in 0..run.len {
                let value = match run.kind {
                    SampleKind::Float => format!("{:x}", floats.next().unwrap().to_bits()),
                    SampleKind::Histogram => histogram_text(histograms.next().unwrap()),
                };
                rows.push((columns.timestamps_ms[at], columns.start_timestamps_ms[at], value));
                at += 1;
            }
        }
        if !rows.is_empty() {
            all.insert(labels, rows);
        }
    }
    all
}

fn histogram_text(h: &FloatHistogram) -> String {
    let side = |spans: &[model::Span], buckets: &[f64]| {
        let (mut index, mut n, mut text) = (0, 0, String::new());
        for span in spans {
            index += span.offset;
            for _ in 0..span.length {
                if buckets[n] != 0.0 {
                    text.push_str(&format!(" {index}:{:x}", buckets[n].to_bits()));
                }
                (index, n) = (index + 1, n + 1);
            }
        }
        text
    };
    format!(
        "{} {:x} {:x} {:x} {:x}{} /{} {:?}",
        h.schema,
        h.zero_threshold.to_bits(),
        h.zero_count.to_bits(),
        h.count.to_bits(),
        h.sum.to_bits(),
        side(&h.positive_spans, &h.positive_buckets),
        side(&h.negative_spans, &h.negative_buckets),
        h.custom_values,
    )
}

#[test]
fn upstreams_blocks_compact_without_loss() {
    let Some(folder) = testkit::conformance_dir("tsdb") else { return };
    let dir = tempfile::tempdir().unwrap();
    for (name, block) in [
        ("floats", "01M7W4ARBA8V4SNEES5XF031AA"),
        ("histograms", "01M7W4ARH34SVPQN8A4VBFFZ7C"),
        ("tombstones", "01M7W4ARN9WMPHJMRT9PF0MZAA"),
        ("start-timestamps", "01M7W4ARVBT19R3556K58N647B"),
    ] {
        let from = folder.join("blocks").join(name).join(block);
        let to = dir.path().join(block);
        std::fs::create_dir_all(to.join("chunks")).unwrap();
        for file in ["meta.json", "index", "tombstones", "chunks/000001"] {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
    let db = open(DbOptions { overlapping_compaction: false, ..long_lived(dir.path()) });
    let before = comparable(&db);
    db.clean_tombstones().unwrap();
    assert_eq!(metas(dir.path()).iter().map(|meta| meta.stats.num_tombstones).sum::<u64>(), 0);
    assert_eq!(comparable(&db), before, "rewritten without what was deleted");
    db.close().unwrap();
    let db = open(long_lived(dir.path()));
    db.maintain().unwrap();
    assert_eq!(metas(dir.path()).len(), 1, "all overlap");
    let after = comparable(&db);
    let passed = before.iter().filter(|(labels, rows)| after.get(labels) == Some(rows)).count();
    println!("compacted upstream blocks: {passed} / {}", before.len());
    for (labels, rows) in &before {
        let have = after.get(labels).unwrap_or_else(|| panic!("{labels} is there"));
        let differs = rows.iter().zip(have).find(|(a, b)| a != b);
        assert_eq!((differs, rows.len()), (None, have.len()), "{labels}");
    }
}
