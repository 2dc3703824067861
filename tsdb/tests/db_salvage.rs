//! A log with damage in its middle: what is readable behind it is kept, the
//! segment is written anew so that readers which stop at damage find none, and
//! the original stays outside the log.
//!
//! `NARTHEX_SALVAGED` names a folder to leave the directory in, to be opened by
//! other programs.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use db_support::*;
use model::{Labels, TimeRange};
use testkit::Rng;
use tsdb::wal::record::{RefSample, put_samples};
use tsdb::wal::{
    LogReader, LogWriter, LogWriterOptions, Payload, ReadMode, Step, list_segments, segment_name,
};
use tsdb::{Compression, DbOptions};

const START: i64 = 1_700_000_000_000;

fn opening(dir: &Path) -> DbOptions {
    let mut options = options(dir);
    options.no_lockfile = true;
    options.wal_segment_bytes = 32 * 1024;
    options.wal_compression = Compression::Snappy;
    options.runtime.out_of_order_window = Duration::from_secs(4 * 3600);
    options.runtime.retention_time = None;
    options
}

/// Reads a log as upstream does: to the first fault. How many records there are.
fn strict(dir: &Path) -> usize {
    let fs = tsdb::real_fs();
    let segments: Vec<u64> = list_segments(&*fs, dir).unwrap().iter().map(|s| s.number).collect();
    let mut reader = LogReader::new(fs, dir, segments, ReadMode::Strict);
    let mut records = 0;
    loop {
        match reader.next().unwrap() {
            Step::Record(_) => records += 1,
            Step::End => return records,
            Step::Torn { at, .. } => panic!("{}: torn at {at:?}", dir.display()),
            Step::Damage { corruption, .. } => panic!("{}: {corruption}", dir.display()),
        }
    }
}

fn folder() -> (Option<tempfile::TempDir>, PathBuf) {
    match std::env::var_os("NARTHEX_SALVAGED") {
        Some(dir) => {
            std::fs::create_dir_all(&dir).unwrap();
            (None, dir.into())
        }
        None => {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().to_path_buf();
            (Some(dir), path)
        }
    }
}

#[test]
fn a_salvaged_log_reads_to_its_end_and_costs_one_record_a_fault() {
    let (_temporary, dir) = folder();
    let mut given: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
    let commits = 1500i64;
    {
        let db = open(opening(&dir));
        let mut rng = Rng::new(5);
        for n in 0..commits {
            let now = START + n * 5000;
            let mut batch: Vec<(Labels, i64, f64)> =
                (0..8).map(|i| (labels("m", &[("n", &i.to_string())]), now, rng.unit())).collect();
            batch.push((labels("late", &[]), if n % 2 == 0 { now } else { now - 600_000 }, n as f64));
            append_many(&db, &batch);
            for (labels, t, v) in batch {
                given.entry(labels).or_default().insert(t, v.to_bits());
            }
        }
        db.close().unwrap();
    }
    // The log alone has the samples.
    std::fs::remove_dir_all(dir.join("chunks_head")).unwrap();
    let segments = list_segments(&*tsdb::real_fs(), &dir.join("wal")).unwrap();
    assert!(segments.len() > 4);
    for (log, number) in [("wal", segments[1].number), ("wal", segments[3].number), ("wbl", 0)] {
        let path = dir.join(log).join(segment_name(number));
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() / 2;
        // No compression, no type of fragment and no length survives all bits.
        bytes[at] ^= 0xff;
        std::fs::write(&path, bytes).unwrap();
    }

    let db = open(opening(&dir));
    let have = floats(&db, TimeRange::ALL);
    let mut lost = 0;
    for (labels, samples) in &given {
        let found: BTreeMap<i64, u64> = have[labels].iter().copied().collect();
        assert!(found.iter().all(|(t, v)| samples.get(t) == Some(v)), "nothing is invented");
        lost += samples.len() - found.len();
    }
    assert!(lost > 0 && lost <= 3 * 10, "{lost} of {} are lost", commits * 9);
    db.close().unwrap();
    for (log, number) in [("wal", segments[1].number), ("wal", segments[3].number), ("wbl", 0)] {
        assert!(dir.join("damaged").join(log).join(segment_name(number)).exists());
    }
    assert!(strict(&dir.join("wal")) as i64 >= commits - 2);
    assert!(strict(&dir.join("wbl")) > 0);

    let db = open(opening(&dir));
    assert_eq!(floats(&db, TimeRange::ALL), have, "a second start answers the same");
    assert_eq!(model::admin::TsdbStatus::corruption_count(&*db), 0, "and finds no damage");
    db.close().unwrap();
    for (labels, samples) in &have {
        println!("{labels} {}", samples.len());
    }
}

#[test]
fn a_record_that_makes_no_sense_is_replaced_by_what_does() {
    let dir = tempfile::tempdir().unwrap();
    {
        let db = open(opening(dir.path()));
        append(&db, &labels("a", &[]), START, 1.0);
        append(&db, &labels("b", &[]), START, 1.0);
        db.close().unwrap();
    }
    let sample = |series: u64, n: i64| RefSample {
        series: model::SeriesRef(series),
        timestamp_ms: START + n * 1000,
        start_timestamp_ms: 0,
        value: n as f64,
    };
    let wal = dir.path().join("wal");
    {
        let mut writer = LogWriter::open(tsdb::real_fs(), &wal, LogWriterOptions::default()).unwrap();
        let mut cut = Vec::new();
        put_samples(&mut cut, [sample(1, 1), sample(2, 1)]);
        cut.truncate(cut.len() - 3);
        let mut whole = Vec::new();
        put_samples(&mut whole, [sample(1, 2), sample(2, 2)]);
        writer.log([Payload::plain(&cut), Payload::plain(&whole)]).unwrap();
        writer.sync().unwrap();
    }
    let times = |n: &[i64]| -> Vec<i64> { n.iter().map(|n| START + n * 1000).collect() };
    for start in 0..2 {
        let db = open(opening(dir.path()));
        let have = floats(&db, TimeRange::ALL);
        let of = |name: &str| -> Vec<i64> { have[&labels(name, &[])].iter().map(|s| s.0).collect() };
        assert_eq!((of("a"), of("b")), (times(&[0, 1, 2]), times(&[0, 2])), "start {start}");
        assert_eq!(model::admin::TsdbStatus::corruption_count(&*db), u64::from(start == 0));
        db.close().unwrap();
        strict(&wal);
    }
    assert!(dir.path().join("damaged/wal/00000001").exists());
}
