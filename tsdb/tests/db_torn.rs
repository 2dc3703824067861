//! A log that ends anywhere, and a byte that is wrong anywhere.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use std::collections::BTreeMap;

use db_support::*;
use model::{Labels, TimeRange};

fn opening(dir: &std::path::Path) -> tsdb::DbOptions {
    tsdb::DbOptions { no_lockfile: true, wal_compression: tsdb::Compression::None, ..options(dir) }
}

/// A directory with a log of twenty commits; what each left to be answered.
fn written(dir: &std::path::Path) -> Vec<BTreeMap<Labels, Vec<(i64, u64)>>> {
    let db = open(opening(dir));
    (0..20i64)
        .map(|n| {
            let a = labels("a", &[("n", &(n / 5).to_string())]);
            append_many(&db, &[(a, n * 1000, n as f64), (labels("b", &[]), n * 1000, 0.5)]);
            floats(&db, TimeRange::ALL)
        })
        .collect()
}

#[test]
fn a_log_cut_at_any_byte_yields_whole_commits() {
    let dir = tempfile::tempdir().unwrap();
    let states = written(dir.path());
    let log = std::fs::read(dir.path().join("wal/00000000")).unwrap();
    let mut seen = 0;
    for len in (0..log.len()).step_by(3).chain([log.len()]) {
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir(copy.path().join("wal")).unwrap();
        std::fs::write(copy.path().join("wal/00000000"), &log[..len]).unwrap();
        for _ in 0..2 {
            let db = open(opening(copy.path()));
            let have = floats(&db, TimeRange::ALL);
            let n = states.iter().position(|state| *state == have);
            assert!(n.is_some() || have.is_empty(), "at {len}: {have:?}");
            seen = seen.max(n.map_or(0, |n| n + 1));
            db.close().unwrap();
        }
    }
    assert_eq!(seen, states.len());
}

#[test]
fn a_wrong_byte_costs_its_own_record_only() {
    let dir = tempfile::tempdir().unwrap();
    let whole = written(dir.path()).pop().unwrap();
    let log = std::fs::read(dir.path().join("wal/00000000")).unwrap();
    for at in (0..log.len()).step_by(7) {
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir(copy.path().join("wal")).unwrap();
        let mut damaged = log.clone();
        damaged[at] ^= 0x55;
        std::fs::write(copy.path().join("wal/00000000"), &damaged).unwrap();
        let db = open(opening(copy.path()));
        let have = floats(&db, TimeRange::ALL);
        for (labels, samples) in &have {
            assert!(
                samples.iter().all(|sample| whole[labels].contains(sample)),
                "at {at}: nothing is invented"
            );
        }
        // And it goes on.
        append(&db, &labels("new", &[]), 100_000, 1.0);
        db.close().unwrap();
        let db = open(opening(copy.path()));
        let mut again = floats(&db, TimeRange::ALL);
        assert!(again.remove(&labels("new", &[])).is_some(), "at {at}");
        assert_eq!(again, have, "at {at}: a second start answers the same");
    }
}
