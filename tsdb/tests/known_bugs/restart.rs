//! What a restart lost.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::admin::TsdbAdmin;
use model::query::{ChunkEncoding, ChunkQueryable};
use model::{Fs, HistogramSample, HistogramValue, Labels, Outcome, SelectRequest, TimeRange};
use testkit::disk::SimDisk;
use testkit::life::{Life, LifeOptions};
use tsdb::Db;
use tsdb::wal::checkpoint::list_checkpoints;
use tsdb::wal::record::decode_series;
use tsdb::wal::{Decompressor, LogReader, ReadMode, RecordType, Step, list_segments};

use crate::db_support::{append, append_many, equal, everything as any, floats, labels};
use crate::life_support::{HOUR, MINUTE, START, check, everything, life_for, new_disk, opening, try_open};

fn times(db: &Db, series: &Labels) -> Vec<i64> {
    floats(db, TimeRange::ALL).remove(series).unwrap_or_default().iter().map(|sample| sample.0).collect()
}

/// 16058, 16060, 17029: a series leaves memory and comes back before the next
/// checkpoint; of its two records in the log the checkpoint kept the wrong one, and
/// its samples belonged to nobody after a restart.
#[test]
fn issue_16058_a_series_that_came_back_keeps_its_samples() {
    for gap in 1..8 {
        let (disk, options) = (new_disk(), opening(false));
        let db = try_open(&disk, &options, 1).unwrap();
        let (coming, staying) = (labels("coming", &[]), labels("staying", &[]));
        let mut want = Vec::new();
        for n in 0..60i64 {
            let t = START + n * 30 * MINUTE;
            append(&db, &staying, t, n as f64);
            if n % (gap + 4) == 0 {
                append(&db, &coming, t, n as f64);
                want.push(t);
            }
            db.maintain().unwrap();
        }
        drop(db);
        let db = try_open(&disk, &options, 2).unwrap();
        assert_eq!(times(&db, &coming), want, "gap {gap}");
        assert_eq!(times(&db, &staying).len(), 60, "gap {gap}");
        db.maintain().unwrap();
        drop(db);
        let db = try_open(&disk, &options, 3).unwrap();
        assert_eq!(times(&db, &coming), want, "gap {gap}, started again");
    }
}

/// 18847, 18849: a sample that lies right on the border of a chunk range was lost.
#[test]
fn issue_18849_samples_on_a_border_belong_to_one_block() {
    let (disk, options) = (new_disk(), opening(false));
    let db = try_open(&disk, &options, 1).unwrap();
    let series = labels("m", &[]);
    let first = START - START % (2 * HOUR) + 2 * HOUR;
    let want: Vec<i64> = (0..8).flat_map(|n| [-1, 0, 1].map(|near| first + n * 2 * HOUR + near)).collect();
    for &t in &want {
        assert_eq!(append(&db, &series, t, 1.0), Outcome::Accepted);
        db.maintain().unwrap();
        assert!(times(&db, &series).contains(&t));
    }
    assert_eq!(times(&db, &series), want);
    drop(db);
    let db = try_open(&disk, &options, 2).unwrap();
    assert_eq!(times(&db, &series), want);
}

/// 19140: after a deletion and a restart other samples were missing, or queries failed.
#[test]
fn issue_19140_a_deletion_touches_nothing_else_after_a_restart() {
    let (disk, options) = (new_disk(), opening(true));
    let db = try_open(&disk, &options, 1).unwrap();
    let (gone, stays) = (labels("gone", &[]), labels("stays", &[]));
    for n in 0..300i64 {
        append_many(
            &db,
            &[(gone.clone(), START + n * MINUTE, 1.0), (stays.clone(), START + n * MINUTE, 1.0)],
        );
    }
    db.maintain().unwrap();
    db.delete_series(TimeRange::ALL, &[vec![equal("__name__", "gone")]]).unwrap();
    drop(db);
    for round in 0..3 {
        drop(try_open(&disk, &options, 2));
        let db = try_open(&disk, &options, 3).unwrap();
        assert!(times(&db, &gone).is_empty(), "round {round}");
        assert_eq!(times(&db, &stays).len() as i64, 300 + round, "round {round}");
        append(&db, &stays, START + (300 + round) * MINUTE, 1.0);
    }
    let db = try_open(&disk, &options, 4).unwrap();
    // What comes later shows.
    append(&db, &gone, START + 400 * MINUTE, 1.0);
    drop(db);
    let db = try_open(&disk, &options, 5).unwrap();
    assert_eq!(times(&db, &gone), [START + 400 * MINUTE]);
}

/// 19202, 18306, 15482: native histograms were wrong after a restart, or their
/// chunks were not written to files while the log was replayed.
#[test]
fn issue_19202_histograms_are_the_same_after_every_restart() {
    let (disk, options) = (new_disk(), opening(true));
    let mut life = life_for(3, &options);
    for round in 0..8 {
        let db = try_open(&disk, &options, round).unwrap();
        check(&db, &life, &format!("started {round} times"));
        for _ in 0..40 {
            life.step(&*db).unwrap();
        }
        if round % 2 == 1 {
            db.maintain().unwrap();
        }
        check(&db, &life, &format!("before restart {round}"));
    }
}

/// 18629: samples were refused as out of bounds while the head was being initialised.
#[test]
fn issue_18629_the_first_samples_are_in_bounds() {
    let (disk, options) = (new_disk(), opening(false));
    let db = try_open(&disk, &options, 1).unwrap();
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8i64)
            .map(|n| {
                let db = &db;
                scope.spawn(move || {
                    append(db, &labels("m", &[("n", &n.to_string())]), START + n * MINUTE, 1.0)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Accepted), "{outcomes:?}");
    assert_eq!(floats(&db, TimeRange::ALL).len(), 8);
}

/// 19145: compaction wrote XOR2 chunks as XOR.
#[test]
fn issue_19145_compaction_keeps_the_encoding() {
    let (disk, mut options) = (new_disk(), opening(false));
    options.runtime.float_encoding = ChunkEncoding::Xor2;
    let db = try_open(&disk, &options, 1).unwrap();
    let series = labels("m", &[]);
    for n in 0..1400i64 {
        append(&db, &series, START + n * MINUTE, n as f64);
        if n % 30 == 29 {
            db.maintain().unwrap();
        }
    }
    assert!(
        model::admin::TsdbStatus::blocks(&*db).unwrap().iter().any(|meta| meta["compaction"]["level"] != 1)
    );
    let mut encodings = Vec::new();
    let request = SelectRequest::new(any(), TimeRange::ALL);
    db.chunks(&request, &mut |_, chunks| {
        encodings.extend(chunks.iter().map(|chunk| chunk.encoding));
        true
    })
    .unwrap();
    assert!(!encodings.is_empty() && encodings.iter().all(|encoding| *encoding == ChunkEncoding::Xor2));
}

/// 18692: chunks of histograms that overlap made a query panic.
#[test]
fn issue_18692_histogram_chunks_may_overlap() {
    let (disk, options) = (new_disk(), opening(true));
    let db = try_open(&disk, &options, 1).unwrap();
    let mut given = 0;
    let mut put = |t: i64, spans: u32| {
        let mut appender = model::Appendable::appender(&*db).unwrap();
        let series = appender.series(&labels("h", &[])).unwrap();
        let histogram = model::Histogram {
            count: u64::from(spans),
            sum: 1.0,
            positive_spans: [model::Span { offset: 0, length: spans }].into(),
            positive_buckets: std::iter::once(1).chain((1..spans).map(|_| 0)).collect(),
            ..model::Histogram::default()
        };
        let value = HistogramValue::Integer(histogram);
        let sample = HistogramSample { series, timestamp_ms: t, start_timestamp_ms: 0, value };
        let mut outcomes = Vec::new();
        appender.append_histograms(vec![sample], &mut outcomes);
        appender.commit().unwrap();
        assert!(outcomes[0].is_ok(), "{outcomes:?}");
        given += 1;
    };
    for n in 0..60 {
        put(START + n * MINUTE, 1 + (n % 5) as u32);
    }
    for n in 0..50 {
        put(START + n * MINUTE + 30_000, 5 - (n % 5) as u32);
    }
    let found = everything(&db);
    assert_eq!(found.values().map(std::collections::BTreeMap::len).sum::<usize>(), given);
    drop(db);
    let db = try_open(&disk, &options, 2).unwrap();
    assert_eq!(everything(&db), found);
}

/// 18401: the gauge of chunks in memory went below zero.
#[test]
fn issue_18401_the_head_counts_no_negative_chunks() {
    let (disk, options) = (new_disk(), opening(true));
    let registry = model::metrics::Registry::new();
    let db = crate::life_support::try_open_with(&disk, &options, 1, &registry).unwrap();
    let mut life = Life::new(1, START, LifeOptions { late_window_ms: 90 * MINUTE, ..LifeOptions::default() });
    for n in 0..200 {
        life.step(&*db).unwrap();
        if n % 5 == 4 {
            db.maintain().unwrap();
        }
        for family in registry.gather() {
            if family.name == "prometheus_tsdb_head_chunks" || family.name == "prometheus_tsdb_head_series" {
                for metric in &family.metrics {
                    let model::metrics::MetricValue::Single(value) = metric.value else { panic!("a gauge") };
                    assert!(value >= 0.0, "{} is {value}", family.name);
                }
            }
        }
    }
}

/// 18739: the snapshot of the head wrote XOR2 chunks so that they were read wrongly.
#[test]
fn issue_18739_a_snapshot_record_keeps_each_encoding() {
    use tsdb::chunk::{APPEND_BYTES_MAX, StartState, StoredValue, xor, xor2};
    use tsdb::snapshot_format::{SnapshotChunk, SnapshotRecord, decode, put_series};
    let mut plain = vec![0; 40 * APPEND_BYTES_MAX];
    let mut state = xor::start(&mut plain);
    let mut with_starts = vec![0; 40 * APPEND_BYTES_MAX];
    let (mut state2, mut starts) = (xor2::start(&mut with_starts), StartState::default());
    for n in 0..30i64 {
        let (t, v) = (START + n * 15_000, n as f64 / 3.0);
        xor::append(&mut state, &mut plain, t, v);
        xor2::append_with_start(&mut state2, &mut starts, &mut with_starts, t - n, t, v);
    }
    state.seal(&mut plain);
    plain.truncate(state.byte_len());
    state2.seal(&mut with_starts);
    with_starts.truncate(state2.byte_len());
    for (encoding, bytes) in [(ChunkEncoding::Xor, plain), (ChunkEncoding::Xor2, with_starts)] {
        let last = StoredValue::Float(29.0 / 3.0);
        let chunk = SnapshotChunk { min_ms: START, max_ms: START + 29 * 15_000, encoding, bytes, last };
        let mut record = Vec::new();
        put_series(&mut record, model::SeriesRef(5), &labels("m", &[]), Some(&chunk));
        let Ok(SnapshotRecord::Series(found)) = decode(&record) else { panic!("a series") };
        let found = found.chunk.unwrap();
        assert_eq!((found.encoding, &found.bytes), (encoding, &chunk.bytes));
        assert_eq!(
            tsdb::chunk::time_bounds(encoding, &found.bytes).unwrap(),
            Some((chunk.min_ms, chunk.max_ms))
        );
    }
}

/// 10587: after a restart numbers were given again that older segments still used, and
/// samples went to another series. All series records that were ever written name one
/// label set a number.
#[test]
fn issue_10587_a_number_is_never_given_twice() {
    for seed in 0..6 {
        let options = crate::life_support::opening_for(seed);
        let disk = new_disk();
        let mut life = life_for(seed, &options);
        let mut owners: BTreeMap<u64, Labels> = BTreeMap::new();
        for start in 0..7u64 {
            let db = try_open(&disk, &options, start).unwrap();
            for n in 0..30 {
                life.step(&*db).unwrap();
                if n % 7 == 6 {
                    db.maintain().unwrap();
                }
            }
            if start % 3 == 1 {
                db.close().unwrap();
            }
            drop(db);
            for (number, labels) in series_records(&disk) {
                let owner = owners.entry(number).or_insert_with(|| labels.clone());
                assert_eq!(*owner, labels, "seed {seed}, start {start}: number {number}");
            }
        }
        assert!(owners.len() > 10, "seed {seed}: series come and go: {}", owners.len());
    }
}

/// All series records of the log's segments and checkpoints.
fn series_records(disk: &SimDisk) -> Vec<(u64, Labels)> {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let wal = Path::new("/data/wal");
    let checkpoints = list_checkpoints(&*fs, wal).unwrap().into_iter().map(|checkpoint| checkpoint.dir);
    let mut found = Vec::new();
    for dir in checkpoints.chain([wal.to_path_buf()]) {
        let segments: Vec<u64> = list_segments(&*fs, &dir).unwrap().iter().map(|s| s.number).collect();
        let mut reader = LogReader::new(fs.clone(), &dir, segments, ReadMode::Salvage);
        let mut decompressor = Decompressor::new();
        loop {
            match reader.next().unwrap() {
                Step::End => break,
                Step::Record(raw) => {
                    let mut series = Vec::new();
                    let record = decompressor.decompress(raw.payload).unwrap();
                    if RecordType::of(record) == Some(RecordType::Series) {
                        decode_series(record, &mut series).unwrap();
                    }
                    found.extend(series.into_iter().map(|entry| (entry.series.0, entry.labels)));
                }
                _ => {}
            }
        }
    }
    found
}
