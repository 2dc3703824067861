//! Out-of-order samples against a simple model: through restarts, cuts and kills.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use std::collections::BTreeMap;
use std::time::Duration;

use db_support::*;
use model::{Labels, Outcome, TimeRange};
use testkit::Rng;

const HOUR: i64 = 3_600_000;
const START: i64 = 1_700_000_000_000;

type Model = BTreeMap<Labels, BTreeMap<i64, u64>>;

fn opening(dir: &std::path::Path) -> tsdb::DbOptions {
    let mut options = options(dir);
    options.no_lockfile = true;
    options.wal_segment_bytes = 1 << 20;
    options.runtime.out_of_order_window = Duration::from_secs(4 * 3600);
    options.runtime.retention_time = None;
    options
}

fn check(db: &tsdb::Db, model: &Model, when: &str) {
    let have = floats(db, TimeRange::ALL);
    assert_eq!(have.len(), model.len(), "{when}");
    for (labels, samples) in model {
        let want: Vec<(i64, u64)> = samples.iter().map(|(&t, &v)| (t, v)).collect();
        assert_eq!(have[labels].len(), want.len(), "{when}: {labels}");
        assert_eq!(have[labels], want, "{when}: {labels}");
    }
}

#[test]
fn late_samples_survive_everything() {
    for seed in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        let mut db = open(opening(dir.path()));
        let mut rng = Rng::new(seed);
        let series: Vec<Labels> = (0..6).map(|n| labels("m", &[("n", &n.to_string())])).collect();
        let mut model = Model::new();
        for step in 0..4000i64 {
            let now = START + step * 10_000;
            let mut batch = Vec::new();
            for series in &series {
                let t = match rng.below(4) {
                    0 => now - rng.below(3 * HOUR as u64) as i64,
                    _ => now,
                };
                let already = model.get(series).is_some_and(|samples| samples.contains_key(&t));
                if !already && t >= START {
                    batch.push((series.clone(), t, rng.unit()));
                }
            }
            for (outcome, (series, t, v)) in append_many(&db, &batch).iter().zip(&batch) {
                assert!(
                    matches!(outcome, Outcome::Accepted | Outcome::AcceptedOutOfOrder),
                    "{outcome:?} {t}"
                );
                model.entry(series.clone()).or_default().insert(*t, v.to_bits());
            }
            if step % 6 == 5 {
                db.maintain().unwrap();
            }
            if step % 777 == 776 {
                if rng.one_in(2) {
                    db.close().unwrap();
                }
                db = open(opening(dir.path()));
                check(&db, &model, &format!("seed {seed}, after the restart at {step}"));
            }
            if step % 500 == 499 {
                check(&db, &model, &format!("seed {seed}, step {step}"));
            }
        }
        check(&db, &model, &format!("seed {seed}, at the end"));
        let hinted = model::admin::TsdbStatus::blocks(&*db)
            .unwrap()
            .iter()
            .filter(|meta| meta["compaction"]["hints"] == serde_json::json!(["from-out-of-order"]))
            .count();
        assert!(hinted > 0, "late samples are cut into blocks of their own");
    }
}

/// Known bug of a peer: a checkpoint dropped the series record that only the
/// out-of-order log still needed (prometheus 19744).
#[test]
fn a_checkpoint_keeps_series_that_the_late_log_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = opening(dir.path());
    options.runtime.out_of_order_window = Duration::from_secs(48 * 3600);
    let db = open(options.clone());
    let (old, other) = (labels("old", &[]), labels("other", &[]));
    append(&db, &old, START, 1.0);
    append(&db, &other, START, 1.0);
    // The series ends; the head is cut past it and it leaves memory.
    for n in 1..=8 {
        append(&db, &other, START + n * HOUR, 1.0);
        db.maintain().unwrap();
    }
    // It comes back under a new number with a late sample only.
    assert_eq!(append(&db, &old, START + 2 * HOUR, 2.0), Outcome::AcceptedOutOfOrder);
    let db2 = {
        drop(db);
        open(options.clone())
    };
    for n in 9..=16 {
        append(&db2, &other, START + n * HOUR, 1.0);
    }
    db2.maintain().unwrap();
    drop(db2);
    let db = open(options);
    let have: Vec<i64> = floats(&db, TimeRange::ALL)[&old].iter().map(|s| s.0).collect();
    assert_eq!(have, [START, START + 2 * HOUR]);
}
