//! The disk fills up in the middle of a life and is freed later: queries go on, every
//! kind of sample goes on into memory, and once there is room all of it is on disk,
//! without a restart. What is answered before a kill and before a power cut is answered
//! after them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod life_support;

use life_support::*;
use testkit::disk::{Fault, Unsynced};
use testkit::life::Surety;

/// A life whose disk is full for `n_full` batches after `n_before`; how many samples it
/// answers at its end.
fn fill_and_free(seed: u64, n_before: u64, n_full: u64) -> usize {
    let options = opening_for(seed);
    let mut life = life_for(seed, &options);
    let disk = new_disk();
    let db = try_open(&disk, &options, seed).unwrap();
    for n in 0..n_before {
        life.step(&*db).unwrap();
        if n % 5 == 4 {
            db.maintain().unwrap();
        }
    }
    let when = |what: &str| format!("seed {seed}, full for {n_full} batches after {n_before}: {what}");
    disk.fail_at(disk.changes() + seed % 7, Fault::Full);
    let before = everything(&db).values().map(|samples| samples.len()).sum::<usize>();
    for n in 0..n_full {
        // Answered as in memory alone, and visible.
        let _ = life.step(&*db);
        let _ = db.sync();
        if n % 5 == 4 {
            let _ = db.maintain();
        }
        if n % 8 == 0 {
            check(&db, &life, &when("while it is full"));
        }
    }
    let full = everything(&db);
    let n_samples = full.values().map(|samples| samples.len()).sum::<usize>();
    assert!(n_samples > before, "{}", when("samples go on into memory"));
    disk.free();
    for n in 0..12 {
        // The log is tried again after a while only, which a sync does not wait for.
        db.sync().unwrap();
        life.step(&*db).unwrap();
        if n % 3 == 2 {
            db.maintain().unwrap();
        }
    }
    db.sync().unwrap();
    check(&db, &life, &when("freed"));
    let want = everything(&db);
    for (labels, samples) in &full {
        let have = &want[labels];
        assert!(samples.keys().all(|t| have.contains_key(t)), "{}", when("what was there is there"));
    }
    life.synced();
    drop(db);
    for (how, disk) in [
        ("killed", disk.after_kill()),
        ("power cut", disk.after_power_cut(Unsynced::Lost)),
        ("power cut, some of the rest kept", disk.after_power_cut(Unsynced::Mixed(seed))),
    ] {
        let db = try_open(&disk, &options, seed + 1).unwrap();
        assert!(everything(&db) == want, "{}", when(how));
        let faults = faults(&db, &life, Surety::Synced);
        assert!(faults.is_empty(), "{}: {:#?}", when(how), &faults[..faults.len().min(3)]);
    }
    want.values().map(|samples| samples.len()).sum()
}

#[test]
fn a_disk_that_was_full_has_everything_once_there_is_room() {
    let seeds = size("NARTHEX_FULL_SEEDS", 8);
    let samples: usize =
        (0..seeds).map(|seed| fill_and_free(seed, 20 + seed * 7 % 60, 3 + seed * 11 % 40)).sum();
    println!("full disk: {seeds} times filled and freed, {samples} samples at their ends, 0 lost");
}
