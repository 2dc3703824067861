//! Threads that append, query, cut and collect at the same time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use model::admin::TsdbStatus;
use model::{Appendable, FloatBatch, Labels, Outcome, StorageError, TimeRange, Timestamps};
use testkit::Rng;
use tsdb::Db;

use crate::db_support::{append_many, equal, floats, labels, select};
use crate::life_support::{MINUTE, START, new_disk, opening, size, try_open};

/// 19134: the cache of the head's chunks answered with samples of another chunk after
/// a truncation. Appends, series that come and go, truncation and compaction race with
/// queries, and what these answer was given to that series at that time.
#[test]
fn issue_19134_queries_during_truncation_answer_what_was_given() {
    let (disk, options) = (new_disk(), opening(false));
    let db = try_open(&disk, &options, 1).unwrap();
    let n_steps = size("NARTHEX_RACE_STEPS", 500) as i64;
    // The value tells series and time.
    let value = |n: i64, t: i64| (n * 1_000_000_000 + (t - START) / 1000) as f64;
    let series = |n: i64, step: i64| {
        labels("m", &[("n", &n.to_string()), ("era", &(step / 100 + n).rem_euclid(3).to_string())])
    };
    let now = AtomicI64::new(START);
    let done = AtomicBool::new(false);
    let check = |answer: BTreeMap<Labels, Vec<(i64, u64)>>| {
        for (labels, samples) in answer {
            let n: i64 = labels.get("n").unwrap().parse().unwrap();
            for (t, v) in samples {
                assert_eq!(f64::from_bits(v), value(n, t), "{labels} at {t}");
            }
        }
    };
    std::thread::scope(|scope| {
        let write = |writer: i64| {
            let (db, now) = (&db, &now);
            scope.spawn(move || {
                for step in 0..n_steps {
                    let t = START + step * 2 * MINUTE + writer;
                    let batch: Vec<(Labels, i64, f64)> =
                        (0..8).map(|n| n * 2 + writer).map(|n| (series(n, step), t, value(n, t))).collect();
                    let outcomes = append_many(db, &batch);
                    // The other writer may be hours ahead: then a sample is too old, never wrong.
                    let fine = |o: &Outcome| matches!(o, Outcome::Accepted | Outcome::OutOfBounds);
                    assert!(outcomes.iter().all(fine), "{outcomes:?}");
                    now.fetch_max(t, Ordering::Relaxed);
                }
            })
        };
        let writers = [write(0), write(1)];
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                db.maintain().unwrap();
                std::thread::yield_now();
            }
        });
        for reader in 0..2u64 {
            let (db, now, done, check) = (&db, &now, &done, &check);
            scope.spawn(move || {
                let mut rng = Rng::new(reader);
                while !done.load(Ordering::Relaxed) {
                    let end = now.load(Ordering::Relaxed);
                    let start = end - rng.below(12 * 60) as i64 * MINUTE;
                    check(floats(db, TimeRange::new(start, end)));
                    let n = rng.below(16);
                    for (labels, columns) in
                        select(db, vec![equal("n", &n.to_string())], TimeRange::new(start, end))
                    {
                        assert_eq!(labels.get("n"), Some(n.to_string().as_str()));
                        assert!(columns.timestamps_ms.iter().all(|t| (start..=end).contains(t)));
                    }
                }
            });
        }
        // Whatever became of the writers, the others end.
        let written = writers.map(|writer| writer.join());
        done.store(true, Ordering::Relaxed);
        written.into_iter().for_each(|written| written.unwrap());
    });
    let before = floats(&db, TimeRange::ALL);
    check(before.clone());
    drop(db);
    let db = try_open(&disk, &options, 2).unwrap();
    assert_eq!(floats(&db, TimeRange::ALL), before, "a restart answers the same");
}

/// A stop while batches are under way: it waits for those that are being logged, the
/// others are refused, and what was acknowledged is there afterwards. Found by reading:
/// a stop held what a batch waited for, and waited for what that held.
#[test]
fn a_stop_under_load_ends() {
    for round in 0..40u64 {
        let (disk, mut options) = (new_disk(), opening(true));
        options.memory_snapshot_on_shutdown = round % 2 == 0;
        let db = try_open(&disk, &options, 1).unwrap();
        let given = AtomicU64::new(0);
        let mut rng = Rng::new(round);
        // Now and then with many full chunks.
        let wanted = if rng.one_in(3) { 4_000 } else { rng.below(40) };
        let acknowledged: BTreeMap<Labels, Vec<i64>> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4i64)
                .map(|n| {
                    let (db, given) = (&db, &given);
                    scope.spawn(move || {
                        let series = labels("m", &[("n", &n.to_string())]);
                        let mut times = Vec::new();
                        // The last comes late.
                        while n == 3 && given.load(Ordering::Relaxed) < wanted {
                            std::thread::yield_now();
                        }
                        for step in 0.. {
                            let t = START + step * 1000;
                            match try_append(db, &series, t) {
                                Err(_) => return (series, times),
                                Ok(Outcome::Accepted | Outcome::AcceptedOutOfOrder) => times.push(t),
                                // It fell behind the others by more than the window.
                                Ok(outcome) => assert!(is_too_old(outcome), "{outcome:?}"),
                            }
                            given.fetch_add(1, Ordering::Relaxed);
                        }
                        unreachable!("steps do not end")
                    })
                })
                .collect();
            while db.head_stats(1).unwrap().num_series < 4 {
                std::thread::yield_now();
            }
            db.close().unwrap();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        drop(db);
        let db = try_open(&disk, &options, 2).unwrap();
        let found = floats(&db, TimeRange::ALL);
        for (series, times) in acknowledged {
            let found: Vec<i64> = found.get(&series).into_iter().flatten().map(|sample| sample.0).collect();
            let lost: Vec<i64> = times.iter().copied().filter(|t| found.binary_search(t).is_err()).collect();
            assert!(
                lost.is_empty(),
                "round {round}: {series}: {} of {} lost, {:?} to {:?}",
                lost.len(),
                times.len(),
                lost.first().map(|t| (t - START) / 1000),
                lost.last().map(|t| (t - START) / 1000)
            );
        }
    }
}

fn is_too_old(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::OutOfBounds | Outcome::TooOld)
}

fn try_append(db: &Db, series: &Labels, t: i64) -> Result<Outcome, StorageError> {
    let mut appender = db.appender()?;
    let handle = appender.series(series).unwrap();
    let batch = FloatBatch {
        series: &[handle],
        timestamps: Timestamps::Same(t),
        start_timestamps: None,
        values: &[1.0],
        in_order_only: false,
    };
    let mut outcomes = Vec::new();
    appender.append_floats(batch, &mut outcomes);
    appender.commit()?;
    Ok(outcomes[0])
}
