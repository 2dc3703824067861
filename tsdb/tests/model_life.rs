//! Days of every kind of sample against a naive map with upstream's rules of
//! acceptance: floats, histograms of all kinds, changes of type, staleness, late
//! samples, exemplars, metadata, deletions, upkeep, kills, restarts. Every sample
//! that is stored is found by each of its labels.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod life_support;

use life_support::*;
use model::TimeRange;
use model::admin::TsdbAdmin;
use model::query::LabelQueryable;
use testkit::Rng;

fn live(seed: u64, n_ops: u64) -> usize {
    let options = opening_for(seed);
    let mut rng = Rng::new(seed ^ 0x5eed);
    let mut life = life_for(seed, &options);
    let disk = new_disk();
    let mut db = try_open(&disk, &options, seed).unwrap();
    for n in 0..n_ops {
        let op = next_op(&mut rng);
        let when = format!("seed {seed}, operation {n}, after {op:?}");
        match op {
            Op::Give => life.give(&*db).unwrap(),
            Op::Sync => db.sync().unwrap(),
            Op::Maintain => db.maintain().unwrap(),
            Op::Delete => life.delete(&*db).unwrap(),
            Op::Clean => db.clean_tombstones().unwrap(),
            Op::Snapshot => {
                let name = db.snapshot(false).unwrap();
                let mut copy = options.clone();
                copy.dir = std::path::Path::new(DIR).join("snapshots").join(name);
                let copy = try_open(&disk, &copy, seed ^ n).unwrap();
                assert_eq!(everything(&copy), everything(&db), "{when}: a snapshot says the same");
            }
            Op::Restart => {
                db.close().unwrap();
                drop(db);
                db = try_open(&disk, &options, seed ^ n).unwrap();
            }
            Op::Kill => {
                drop(db);
                db = try_open(&disk, &options, seed ^ n).unwrap();
            }
        }
        life.acknowledge();
        if op != Op::Give || n.is_multiple_of(16) {
            check(&db, &life, &when);
        }
    }
    let when = format!("seed {seed}, at the end");
    check(&db, &life, &when);
    check_labels(&db, &when);
    let names = db.label_values("__name__", TimeRange::ALL, &[], 0).unwrap().values;
    for labels in life.series() {
        assert!(
            names.iter().any(|name| name == labels.metric_name()),
            "{when}: {labels} has its name listed"
        );
    }
    life.n_sure()
}

#[test]
fn every_kind_of_sample_lives_through_everything() {
    let seeds = size("NARTHEX_MODEL_SEEDS", 14);
    let first = size("NARTHEX_MODEL_FIRST_SEED", 0);
    let samples: usize = (first..first + seeds).map(|seed| live(seed, 300)).sum();
    println!(
        "model: {seeds} seeds, {samples} samples sure to be there at their ends, none missing, none invented"
    );
}
