//! Compaction, retention and clean-up on a disk that stops, fails or fills up at
//! any point: every sample stays, every start succeeds.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;
mod upkeep_support;

use std::path::Path;
use std::sync::Arc;

use db_support::{equal, floats};
use model::admin::TsdbAdmin;
use model::memory::Accountant;
use model::metrics::Registry;
use model::query::ChunkEncoding;
use model::{BlockRange, Env, TimeRange};
use testkit::TestClock;
use testkit::disk::{Fault, SimDisk, Unsynced};
use tsdb::{Db, DbOptions, ReplayCell};
use upkeep_support::{HOUR, Series, every, series, spans_on, union, write_block_on};

const DIR: &str = "/data";

fn open(disk: &SimDisk) -> Arc<Db> {
    let mut options = DbOptions { dir: DIR.into(), ..DbOptions::default() };
    options.runtime.retention_time = None;
    let env = Env { fs: Arc::new(disk.clone()), clock: Arc::new(TestClock::new(1_000)), seed: 7 };
    Db::open(options, env, Accountant::unlimited(), &Registry::new(), Arc::new(ReplayCell::new())).unwrap()
}

/// A disk with five blocks of two hours.
fn disk_with_blocks() -> (SimDisk, Vec<Series>) {
    let disk = SimDisk::new();
    let fs: Arc<dyn model::Fs> = Arc::new(disk.clone());
    fs.create_dir_all(Path::new(DIR)).unwrap();
    let blocks = (0..5).map(|i| {
        let range = BlockRange::new(i * 2 * HOUR, (i + 1) * 2 * HOUR);
        let data = every(600_000, range, 3);
        write_block_on(fs.clone(), Path::new(DIR), i as u128 + 1, range, &data, ChunkEncoding::Xor, |_| {});
        data
    });
    let blocks = blocks.collect();
    (disk, blocks)
}

/// Runs `work` on a fresh copy of the disk once for each change that it makes,
/// with a fault there, and hands the result to `check`.
fn at_every_change(base: &SimDisk, fault: Fault, work: impl Fn(&Db), check: impl Fn(Arc<Db>, SimDisk, u64)) {
    let disk = base.after_kill();
    let db = open(&disk);
    let from = disk.changes();
    work(&db);
    let until = disk.changes();
    assert!(until > from + 10, "there is work");
    drop(db);
    for at in from..until {
        let disk = base.after_kill();
        let db = open(&disk);
        disk.fail_at(at, fault);
        work(&db);
        check(db, disk, at);
    }
}

#[test]
fn compaction_may_stop_anywhere() {
    let (base, blocks) = disk_with_blocks();
    let want = union(&blocks);
    for fault in [Fault::Stop, Fault::StopTorn] {
        let work = |db: &Db| drop(db.maintain());
        at_every_change(&base, fault, work, |db, disk, at| {
            drop(db);
            let kept = [
                disk.after_kill(),
                disk.after_power_cut(Unsynced::Lost),
                disk.after_power_cut(Unsynced::Kept),
                disk.after_power_cut(Unsynced::Mixed(at)),
            ];
            for (n, disk) in kept.iter().enumerate() {
                let db = open(disk);
                assert_eq!(floats(&db, TimeRange::ALL), want, "{fault:?} at {at}, case {n}");
                db.maintain().unwrap();
                assert_eq!(floats(&db, TimeRange::ALL), want, "{fault:?} at {at}, case {n}, compacted");
                if n < 3 {
                    assert_eq!(
                        spans_on(disk, Path::new(DIR)),
                        [(0, 6), (6, 8), (8, 10)],
                        "{fault:?} at {at}"
                    );
                }
            }
        });
    }
}

#[test]
fn an_error_of_the_disk_costs_nothing_and_passes() {
    let (base, blocks) = disk_with_blocks();
    let want = union(&blocks);
    for fault in [Fault::IoError, Fault::Full] {
        let work = |db: &Db| drop(db.maintain());
        at_every_change(&base, fault, work, |db, disk, at| {
            assert_eq!(floats(&db, TimeRange::ALL), want, "{fault:?} at {at}");
            disk.free();
            db.maintain().unwrap();
            assert_eq!(floats(&db, TimeRange::ALL), want, "{fault:?} at {at}, tried again");
            assert_eq!(spans_on(&disk, Path::new(DIR)), [(0, 6), (6, 8), (8, 10)], "{fault:?} at {at}");
            let unfinished: Vec<_> =
                disk.files().into_iter().filter(|p| p.to_string_lossy().contains(".tmp-")).collect();
            assert!(unfinished.is_empty(), "{fault:?} at {at}: {unfinished:?}");
        });
    }
}

#[test]
fn cleaning_up_may_stop_anywhere() {
    let (base, blocks) = disk_with_blocks();
    let disk = base.after_kill();
    {
        let db = open(&disk);
        let gone = TimeRange::new(3 * HOUR, 5 * HOUR);
        db.delete_series(gone, &[vec![equal("n", "1")]]).unwrap();
        db.delete_series(TimeRange::new(8 * HOUR, 10 * HOUR), &[vec![equal("__name__", "m")]]).unwrap();
        db.close().unwrap();
    }
    let mut want = union(&blocks);
    want.get_mut(&series(1)).unwrap().retain(|(t, _)| !(3 * HOUR..=5 * HOUR).contains(t));
    want.values_mut().for_each(|samples| samples.retain(|(t, _)| *t < 8 * HOUR));
    at_every_change(
        &disk,
        Fault::Stop,
        |db| drop(db.clean_tombstones()),
        |db, disk, at| {
            drop(db);
            for (n, disk) in [disk.after_kill(), disk.after_power_cut(Unsynced::Lost)].iter().enumerate() {
                let db = open(disk);
                assert_eq!(floats(&db, TimeRange::ALL), want, "at {at}, case {n}");
                db.clean_tombstones().unwrap();
                assert_eq!(floats(&db, TimeRange::ALL), want, "at {at}, case {n}, cleaned");
                assert_eq!(
                    spans_on(disk, Path::new(DIR)),
                    [(0, 2), (2, 4), (4, 6), (6, 8)],
                    "at {at}, case {n}"
                );
            }
        },
    );
}

#[test]
fn a_deletion_that_was_answered_survives_a_power_cut() {
    let (disk, blocks) = disk_with_blocks();
    let db = open(&disk);
    db.delete_series(TimeRange::ALL, &[vec![equal("n", "1")]]).unwrap();
    let mut want = union(&blocks);
    want.remove(&series(1));
    for n in 0..4 {
        let disk = disk.after_power_cut(if n == 0 { Unsynced::Lost } else { Unsynced::Mixed(n) });
        assert_eq!(floats(&open(&disk), TimeRange::ALL), want, "case {n}");
    }
}
