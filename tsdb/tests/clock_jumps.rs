//! A clock that steps an hour back and forth while samples come, queries run and
//! blocks are cut: what was acknowledged is there, then and after a restart.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;
mod life_support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use db_support::{append_many, floats, labels};
use life_support::{DIR, HOUR, START, new_disk, opening, size};
use model::memory::Accountant;
use model::metrics::Registry;
use model::{Clock, Env, Labels, Outcome, TimeRange};
use testkit::disk::SimDisk;
use testkit::{Rng, TestClock};
use tsdb::{Db, DbOptions, ReplayCell};

/// Values by series and time; of two at one time either may be answered.
type Given = BTreeMap<Labels, BTreeMap<i64, Vec<u64>>>;

fn open(disk: &SimDisk, options: &DbOptions, clock: &Arc<TestClock>) -> Arc<Db> {
    let env = Env { fs: Arc::new(disk.clone()), clock: clock.clone(), seed: 4 };
    let progress = Arc::new(ReplayCell::new());
    Db::open(options.clone(), env, Accountant::unlimited(), &Registry::new(), progress).unwrap()
}

/// Scrapes of one target: stamped by the clock, whatever it says.
fn scrape(db: &Db, clock: &TestClock, target: u64, n_scrapes: u64, late: bool) -> Given {
    let mut rng = Rng::new(target);
    let mut given = Given::new();
    let mut refused = 0u64;
    for n in 0..n_scrapes {
        let t = clock.now_ms();
        let batch: Vec<(Labels, i64, f64)> = (0..5)
            .map(|i| {
                (
                    labels("m", &[("target", &target.to_string()), ("i", &i.to_string())]),
                    t,
                    (n * 10 + i) as f64,
                )
            })
            .collect();
        for ((labels, t, v), outcome) in batch.iter().zip(append_many(db, &batch)) {
            match outcome {
                Outcome::Accepted | Outcome::AcceptedOutOfOrder => {
                    given.entry(labels.clone()).or_default().entry(*t).or_default().push(v.to_bits());
                }
                Outcome::OutOfOrder | Outcome::OutOfBounds | Outcome::TooOld => refused += 1,
                Outcome::Unchanged | Outcome::DuplicateTimestamp { .. } => {}
                other => panic!("{labels} at {t}: {other:?}"),
            }
        }
        if target == 0 {
            clock.advance(Duration::from_secs(15));
            if rng.one_in(150) {
                let hour = if rng.one_in(2) { HOUR } else { -HOUR };
                clock.set_wall(clock.now_ms() + hour);
            }
        }
    }
    assert!(late || target > 0 || refused > 0, "some scrapes were stamped before others");
    given
}

fn run(late: bool) {
    let (disk, mut options) = (new_disk(), opening(late));
    options.runtime.out_of_order_window = Duration::from_secs(if late { 12 * 3600 } else { 0 });
    assert_eq!(options.dir.to_str(), Some(DIR));
    let clock = Arc::new(TestClock::new(START));
    let db = open(&disk, &options, &clock);
    let done = AtomicBool::new(false);
    let n_scrapes = size("NARTHEX_CLOCK_SCRAPES", 3000);
    let given: Given = std::thread::scope(|scope| {
        let upkeep = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                db.maintain().unwrap();
                let _ = floats(&db, TimeRange::new(clock.now_ms() - HOUR, clock.now_ms()));
            }
        });
        let targets: Vec<_> = (0..3)
            .map(|target| {
                let (db, clock) = (&db, &clock);
                scope.spawn(move || scrape(db, clock, target, n_scrapes, late))
            })
            .collect();
        let given: Vec<_> = targets.into_iter().map(|target| target.join()).collect();
        // Whatever became of them, the other ends.
        done.store(true, Ordering::Relaxed);
        upkeep.join().unwrap();
        given.into_iter().flat_map(|given| given.unwrap()).collect()
    });
    let check = |db: &Db, when: &str| {
        let found = floats(db, TimeRange::ALL);
        let mut n = 0;
        for (labels, samples) in &given {
            let found: BTreeMap<i64, u64> = found.get(labels).into_iter().flatten().copied().collect();
            for (t, v) in samples {
                assert!(
                    found.get(t).is_some_and(|found| v.contains(found)),
                    "{when}: {labels} at {t}: {v:?}"
                );
                n += 1;
            }
            assert_eq!(found.len(), samples.len(), "{when}: {labels}: nothing is invented");
        }
        n
    };
    let n = check(&db, "at the end");
    drop(db);
    // The machine starts an hour in the past.
    clock.set_wall(clock.now_ms() - HOUR);
    let db = open(&disk, &options, &clock);
    check(&db, "started an hour ago");
    db.maintain().unwrap();
    check(&db, "started an hour ago, looked after");
    println!("clock stepping by an hour, late samples {late}: {n} samples acknowledged, 0 lost");
}

#[test]
fn the_clock_steps_by_an_hour() {
    run(false);
}

#[test]
fn the_clock_steps_by_an_hour_with_a_window_for_late_samples() {
    run(true);
}
