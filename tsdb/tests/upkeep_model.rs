//! Days of life against a naive map: appends in and out of order, deletions,
//! upkeep, clean-ups, kills and restarts, in any order.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use db_support::{append_many, equal, floats, labels};
use model::admin::TsdbAdmin;
use model::memory::Accountant;
use model::metrics::Registry;
use model::{Env, Labels, Outcome, TimeRange};
use testkit::disk::SimDisk;
use testkit::{Rng, TestClock};
use tsdb::{Db, DbOptions, ReplayCell};

const MINUTE: i64 = 60_000;
const WINDOW: i64 = 30 * MINUTE;

fn open(disk: &SimDisk, seed: u64, late: bool) -> Arc<Db> {
    let mut options = DbOptions {
        dir: "/data".into(),
        max_block_duration_ms: 18 * 60 * MINUTE,
        wal_segment_bytes: 64 << 10,
        ..DbOptions::default()
    };
    options.runtime.retention_time = None;
    options.runtime.out_of_order_window = Duration::from_millis(if late { WINDOW as u64 } else { 0 });
    let env = Env { fs: Arc::new(disk.clone()), clock: Arc::new(TestClock::new(1_000)), seed };
    Db::open(options, env, Accountant::unlimited(), &Registry::new(), Arc::new(ReplayCell::new())).unwrap()
}

/// What should be there.
#[derive(Default)]
struct Naive {
    samples: BTreeMap<Labels, BTreeMap<i64, u64>>,
    deleted: BTreeMap<Labels, Vec<TimeRange>>,
    used: BTreeSet<(Labels, i64)>,
}

impl Naive {
    fn all(&self) -> BTreeMap<Labels, Vec<(i64, u64)>> {
        let of = |samples: &BTreeMap<i64, u64>| samples.iter().map(|(t, v)| (*t, *v)).collect::<Vec<_>>();
        let all = self.samples.iter().filter(|(_, samples)| !samples.is_empty());
        all.map(|(labels, samples)| (labels.clone(), of(samples))).collect()
    }

    /// Whether a sample there may show at all: late ones inside what was deleted do not.
    fn is_free(&self, labels: &Labels, t: i64) -> bool {
        !self.used.contains(&(labels.clone(), t))
            && !self.deleted.get(labels).is_some_and(|all| all.iter().any(|range| range.contains(t)))
    }

    fn add(&mut self, labels: &Labels, t: i64, v: f64) {
        self.used.insert((labels.clone(), t));
        self.samples.entry(labels.clone()).or_default().insert(t, v.to_bits());
    }
}

fn name(n: u64) -> Labels {
    labels("m", &[("n", &n.to_string())])
}

fn life(seed: u64, late: bool) {
    let mut rng = Rng::new(seed);
    let mut disk = SimDisk::new();
    let mut db = open(&disk, seed, late);
    let mut naive = Naive::default();
    let mut now = 1_000 * MINUTE;
    for step in 0..400 {
        now += (1 + rng.below(10) as i64) * MINUTE;
        let mut batch = Vec::new();
        for n in 0..6 {
            // Some series pause for long.
            if (step / 40 + n) % 5 != 0 && !rng.one_in(4) {
                batch.push((name(n), now + n as i64, (step * 10 + n) as f64));
            }
        }
        if late {
            for _ in 0..rng.below(4) {
                let n = rng.below(6);
                let t = now - rng.below(WINDOW as u64 - MINUTE as u64) as i64;
                if naive.is_free(&name(n), t) && batch.iter().all(|(l, have, _)| (l, *have) != (&name(n), t))
                {
                    batch.push((name(n), t, rng.below(1_000) as f64));
                }
            }
        }
        let outcomes = append_many(&db, &batch);
        for ((labels, t, v), outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Outcome::Accepted | Outcome::AcceptedOutOfOrder => naive.add(labels, *t, *v),
                other => panic!("seed {seed}, step {step}: {labels} at {t}: {other:?}"),
            }
        }
        let what = rng.below(40);
        match what {
            0 | 1 => delete(&db, &mut naive, &mut rng, now),
            2..=6 => db.maintain().unwrap(),
            7 => db.clean_tombstones().unwrap(),
            8 => {
                drop(db);
                disk = disk.after_kill();
                db = open(&disk, seed ^ step, late);
            }
            9 => {
                db.close().unwrap();
                drop(db);
                disk = disk.after_kill();
                db = open(&disk, seed ^ step, late);
            }
            _ => continue,
        }
        check(&db, &naive, seed, step, what);
    }
    check(&db, &naive, seed, 400, 0);
}

fn delete(db: &Db, naive: &mut Naive, rng: &mut Rng, now: i64) {
    let n = rng.below(6);
    let end = now - rng.below(600) as i64 * MINUTE;
    let range = TimeRange::new(end - rng.below(600) as i64 * MINUTE, end);
    db.delete_series(range, &[vec![equal("n", &n.to_string())]]).unwrap();
    naive.deleted.entry(name(n)).or_default().push(range);
    if let Some(samples) = naive.samples.get_mut(&name(n)) {
        samples.retain(|t, _| !range.contains(*t));
    }
}

fn check(db: &Db, naive: &Naive, seed: u64, step: u64, what: u64) {
    let (have, want) = (floats(db, TimeRange::ALL), naive.all());
    for (labels, samples) in &want {
        let found = have.get(labels).map(Vec::as_slice).unwrap_or_default();
        let missing: Vec<_> = samples.iter().filter(|sample| !found.contains(sample)).take(5).collect();
        let extra: Vec<_> = found.iter().filter(|sample| !samples.contains(sample)).take(5).collect();
        assert!(
            missing.is_empty() && extra.is_empty() && found.len() == samples.len(),
            "seed {seed}, step {step}, after {what}: {labels}: missing {missing:?}, too many {extra:?}"
        );
    }
    assert_eq!(have.len(), want.len(), "seed {seed}, step {step}, after {what}");
}

#[test]
fn days_of_samples_in_order() {
    (0..6).chain([34]).for_each(|seed| life(seed, false));
}

#[test]
fn days_of_samples_in_any_order() {
    (10..30).chain([122]).for_each(|seed| life(seed, true));
}
