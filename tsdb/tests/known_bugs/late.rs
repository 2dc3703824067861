//! Samples that came out of order.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Outcome;
use model::TimeRange;

use crate::db_support::{append, floats, labels};
use crate::life_support::{HOUR, START, check, everything, life_for, new_disk, opening, try_open};

/// 19744: a checkpoint drops the record of a series that only the out-of-order log
/// still names; an acknowledged late sample is gone after a restart.
#[test]
fn issue_19744_the_late_log_keeps_its_series() {
    let (disk, mut options) = (new_disk(), opening(true));
    options.runtime.out_of_order_window = Duration::from_secs(48 * 3600);
    let (old, other) = (labels("old", &[]), labels("other", &[]));
    let db = try_open(&disk, &options, 1).unwrap();
    append(&db, &old, START, 1.0);
    for n in 0..=8 {
        append(&db, &other, START + n * HOUR, 1.0);
        db.maintain().unwrap();
    }
    assert_eq!(append(&db, &old, START + 2 * HOUR, 2.0), Outcome::AcceptedOutOfOrder);
    drop(db);
    for start in 1..5 {
        let db = try_open(&disk, &options, 1 + start).unwrap();
        let have: Vec<i64> = floats(&db, TimeRange::ALL)[&old].iter().map(|sample| sample.0).collect();
        assert_eq!(have, [START, START + 2 * HOUR], "start {start}");
        for n in 0..4 {
            append(&db, &other, START + (8 + start as i64 * 4 + n) * HOUR, 1.0);
            db.maintain().unwrap();
        }
    }
}

/// 19016: late samples and a compaction, then a restart: loss. The compaction comes
/// after any number of batches.
#[test]
fn issue_19016_a_compaction_at_any_time_loses_nothing() {
    for n_before in 0..48 {
        let (disk, options) = (new_disk(), opening(true));
        let mut life = life_for(1, &options);
        let db = try_open(&disk, &options, 1).unwrap();
        for n in 0..n_before {
            life.step(&*db).unwrap();
            if n == n_before / 2 {
                db.maintain().unwrap();
            }
        }
        db.maintain().unwrap();
        life.step(&*db).unwrap();
        drop(db);
        let db = try_open(&disk, &options, 2).unwrap();
        check(&db, &life, &format!("compacted after {n_before} batches"));
    }
}

/// 15380, 12127, 12406, 14584: the late log was not loaded, or its chunks were
/// ignored or counted twice after a restart.
#[test]
fn issue_14584_late_chunks_come_once() {
    let (disk, options) = (new_disk(), opening(true));
    let (series, clock) = (labels("m", &[]), labels("clock", &[]));
    let mut want = BTreeMap::new();
    let db = try_open(&disk, &options, 1).unwrap();
    append(&db, &clock, START + HOUR, 0.0);
    append(&db, &series, START + HOUR, 0.0);
    want.insert(START + HOUR, 0f64.to_bits());
    // More than two full chunks of late samples, backwards.
    for n in 1..80i64 {
        let t = START + HOUR - n * 30_000;
        assert_eq!(append(&db, &series, t, n as f64), Outcome::AcceptedOutOfOrder);
        want.insert(t, (n as f64).to_bits());
    }
    drop(db);
    let want: Vec<(i64, u64)> = want.into_iter().collect();
    for start in 2..5 {
        let db = try_open(&disk, &options, start).unwrap();
        assert_eq!(floats(&db, TimeRange::ALL)[&series], want, "start {start}");
        assert_eq!(append(&db, &series, want[5].0, f64::from_bits(want[5].1)), Outcome::AcceptedOutOfOrder);
        assert_eq!(floats(&db, TimeRange::ALL)[&series], want, "start {start}: the same sample again");
    }
    let db = try_open(&disk, &options, 6).unwrap();
    for n in 0..5 {
        append(&db, &clock, START + (2 + n) * HOUR, 0.0);
        db.maintain().unwrap();
    }
    assert_eq!(floats(&db, TimeRange::ALL)[&series], want, "cut into blocks");
    drop(db);
    let db = try_open(&disk, &options, 7).unwrap();
    assert_eq!(floats(&db, TimeRange::ALL)[&series], want, "cut into blocks, started again");
}

/// The window is closed while late samples wait: they are cut into blocks, and the
/// disk does not fill up with their log (upstream's `TestDiskFillingUpAfterDisablingOOO`).
#[test]
fn late_samples_are_drained_when_the_window_is_closed() {
    let (disk, options) = (new_disk(), opening(true));
    let mut life = life_for(2, &options);
    let db = try_open(&disk, &options, 1).unwrap();
    for _ in 0..60 {
        life.step(&*db).unwrap();
    }
    drop(db);
    let db = try_open(&disk, &opening(false), 2).unwrap();
    db.maintain().unwrap();
    check(&db, &life, "drained");
    let wbl: usize = disk
        .files()
        .iter()
        .filter(|path| path.starts_with("/data/wbl"))
        .map(|path| model::Fs::read(&disk, path).unwrap().len())
        .sum();
    assert!(wbl < 64 << 10, "{wbl} bytes are left of the late log");
    let before = everything(&db);
    drop(db);
    let db = try_open(&disk, &opening(false), 3).unwrap();
    assert_eq!(everything(&db), before);
}
