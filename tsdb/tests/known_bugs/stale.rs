//! Series that have gone stale and leave the head early.

use std::collections::BTreeMap;

use model::admin::TsdbStatus;
use model::{Labels, TimeRange, stale_nan};
use testkit::disk::SimDisk;
use testkit::life::Answer;
use tsdb::{Db, DbOptions};

use crate::db_support::{append_many, labels};
use crate::life_support::{HOUR, MINUTE, START, check, everything, life_for, new_disk, opening, try_open};

fn stale_opening(late: bool) -> DbOptions {
    let mut options = opening(late);
    options.runtime.stale_series_compaction_threshold = 0.2;
    options
}

fn pod(n: i64) -> Labels {
    labels("m", &[("pod", &n.to_string())])
}

/// Pods that come and go: each lives for three hours and ends with a marker.
fn churn(db: &Db, from: i64, to: i64, step: i64, mut between: impl FnMut(i64)) -> Answer {
    for n in from / step..to / step {
        let t = START + n * step;
        let era = n * step / (3 * HOUR);
        let is_last = (n + 1) * step / (3 * HOUR) != era;
        let value = if is_last { stale_nan() } else { n as f64 };
        let mut batch: Vec<_> = (0..4).map(|pod_n| (pod(era * 4 + pod_n), t, value)).collect();
        batch.extend((0..3).map(|n| (labels("steady", &[("n", &n.to_string())]), t, 1.0)));
        assert!(append_many(db, &batch).iter().all(|outcome| outcome.is_ok()));
        between(n);
    }
    everything(db)
}

fn restarted(disk: &SimDisk, options: &DbOptions, want: &Answer, what: &str) {
    for start in 5..8 {
        let db = try_open(disk, options, start).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = everything(&db);
        let n = |answer: &Answer| answer.values().map(BTreeMap::len).sum::<usize>();
        assert!(found == *want, "{what}, start {start}: {} samples of {}", n(&found), n(want));
        db.maintain().unwrap();
    }
}

/// 18847: how long the log keeps records of series that left was told in the wrong unit:
/// they went too early, and what came later under their numbers was lost.
#[test]
fn issue_18847_the_log_keeps_what_names_series_that_left() {
    let (disk, options) = (new_disk(), stale_opening(false));
    let db = try_open(&disk, &options, 1).unwrap();
    let want = churn(&db, 0, 14 * HOUR, 5 * MINUTE, |n| {
        if n % 6 == 5 {
            db.maintain().unwrap();
        }
    });
    let head = db.head_stats(1).unwrap().num_series;
    assert!(head <= 3 + 8, "stale series left the head: {head}");
    drop(db);
    restarted(&disk, &options, &want, "after many evictions");
}

/// 18849: the sample of a stale series right on the border of a chunk range was lost.
#[test]
fn issue_18849_stale_series_keep_samples_on_a_border() {
    let border = START - START % (2 * HOUR) + 4 * HOUR;
    for near in [-1, 0, 1] {
        let (disk, options) = (new_disk(), stale_opening(false));
        let db = try_open(&disk, &options, 1).unwrap();
        let series = pod(1);
        for t in [border - 2 * HOUR + near, border - 60_000 + near, border + near] {
            append_many(&db, &[(series.clone(), t, 1.0), (labels("steady", &[]), t, 1.0)]);
        }
        append_many(&db, &[(series.clone(), border + near + 1, stale_nan())]);
        let want = everything(&db);
        for _ in 0..3 {
            db.maintain().unwrap();
        }
        assert_eq!(db.head_stats(1).unwrap().num_series, 1, "{near}: it left");
        assert_eq!(everything(&db), want, "{near}");
        drop(db);
        restarted(&disk, &options, &want, &format!("{near} ms from the border"));
    }
}

/// 19016: a compaction of stale series, then a restart: samples of others were lost, as
/// the start took all before the new block for compacted; and a crash loop. Killed after
/// any number of batches.
#[test]
fn issue_19016_a_kill_after_stale_series_left_loses_nothing() {
    for n_batches in (30..150).step_by(7) {
        let (disk, options) = (new_disk(), stale_opening(n_batches % 2 == 0));
        let mut life = life_for(n_batches, &options);
        let db = try_open(&disk, &options, 1).unwrap();
        for n in 0..n_batches {
            life.step(&*db).unwrap();
            if n % 5 == 0 {
                db.maintain().unwrap();
            }
        }
        db.maintain().unwrap();
        life.step(&*db).unwrap();
        check(&db, &life, &format!("before the kill after {n_batches} batches"));
        drop(db);
        for start in 2..4 {
            let db = try_open(&disk, &options, start).unwrap();
            check(&db, &life, &format!("killed after {n_batches} batches, start {start}"));
            db.maintain().unwrap();
        }
    }
}

/// Upstream's `TestWALReplayRaceWithStaleSeriesCompaction`: series leave, come back under
/// new numbers and leave again, while the log is read by any number of threads.
#[test]
fn series_that_left_and_came_back_are_read_by_any_number_of_threads() {
    let (base, options) = (new_disk(), stale_opening(true));
    let db = try_open(&base, &options, 1).unwrap();
    let mut n_left = 0;
    for round in 0..9 {
        for n in 0..12 {
            let t = START + round * 40 * MINUTE + n * MINUTE;
            let value = if n == 11 { stale_nan() } else { n as f64 };
            let batch: Vec<_> = (0..6).map(|n| (pod(n), t, value)).collect();
            append_many(&db, &batch);
        }
        append_many(&db, &[(labels("steady", &[]), START + round * 40 * MINUTE + 20 * MINUTE, 1.0)]);
        db.maintain().unwrap();
        db.maintain().unwrap();
        n_left += i32::from(db.head_stats(1).unwrap().num_series == 1);
    }
    assert!(n_left > 3, "they left and came back: {n_left}");
    let want = everything(&db);
    assert_eq!(want[&pod(3)].len(), 9 * 12);
    drop(db);
    for threads in [1, 2, 5] {
        let mut options = options.clone();
        options.replay_threads = threads;
        restarted(&base.after_kill(), &options, &want, &format!("{threads} threads"));
    }
    assert!(
        everything(&try_open(&base, &options, 2).unwrap())
            .values()
            .all(|samples| { samples.keys().all(|t| TimeRange::new(START, START + 9 * HOUR).contains(*t)) })
    );
}
