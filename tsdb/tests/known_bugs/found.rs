//! What is stored and not found, or found under a name that is not its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use model::query::LabelQueryable;
use model::{Labels, MatchOp, Matcher, TimeRange};
use testkit::life::read;

use crate::db_support::{append_many, equal, floats, labels, select};
use crate::life_support::{
    HOUR, MINUTE, START, check, everything, life_for, new_disk, opening, size, try_open,
};

/// 3309, 3271, 7417, 3502, 10763, 5840 of VictoriaMetrics: entries of an index for a
/// day were missing, or a cache outlived its index, and what was stored was not found.
/// Here every sample is found through each label of its series, in any span of time,
/// through blocks, restarts and kills; and each value is listed where it was used.
#[test]
fn victoria_3309_what_is_stored_is_found_through_every_label_in_every_span() {
    for seed in 1..=3 {
        let (mut disk, options) = (new_disk(), opening(seed % 2 == 1));
        let mut life = life_for(seed, &options);
        let mut db = try_open(&disk, &options, seed).unwrap();
        for step in 0..240u64 {
            life.step(&*db).unwrap();
            if step % 15 == 14 {
                db.maintain().unwrap();
            }
            if step % 80 == 79 {
                drop(db);
                disk = disk.after_kill();
                db = try_open(&disk, &options, seed + step).unwrap();
            }
        }
        check(&db, &life, &format!("seed {seed}"));
        let all = everything(&db);
        assert!(all.len() > 5 && disk.files().iter().any(|path| path.ends_with("meta.json")));
        let times = || all.values().flat_map(|samples| samples.iter().map(|sample| *sample.0));
        let (first, last) = (times().min().unwrap(), times().max().unwrap());
        let mut spans = vec![TimeRange::ALL];
        spans.extend(
            (0..)
                .map(|n| first + n * 5 * HOUR)
                .take_while(|start| *start <= last)
                .map(|start| TimeRange::new(start, start + 5 * HOUR - 1)),
        );
        for span in spans {
            for (series, samples) in &all {
                let inside = samples.range(span.start_ms..=span.end_ms).count();
                for label in series.iter() {
                    let when = format!("seed {seed}: {series} by {}={} in {span:?}", label.name, label.value);
                    let found = read(&*db, vec![Matcher::equal(label.name, label.value)], span).unwrap();
                    assert_eq!(found.get(series).map_or(0, BTreeMap::len), inside, "{when}");
                    let listed = db.label_values(label.name, span, &[], 0).unwrap().values;
                    assert!(inside == 0 || listed.iter().any(|value| value == label.value), "{when}");
                }
            }
        }
    }
}

/// 15317: the list of a label's series was changed while a query went through it. Here
/// series come all the time, and a query finds all that were there when it began, each
/// once and in order.
#[test]
fn issue_15317_lists_that_grow_are_read_whole() {
    let (disk, options) = (new_disk(), opening(false));
    let db = try_open(&disk, &options, 1).unwrap();
    let n_series = size("NARTHEX_RACE_STEPS", 500) as i64;
    let made = [AtomicI64::new(0), AtomicI64::new(0)];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = [0i64, 1]
            .into_iter()
            .map(|writer| {
                let (db, made) = (&db, &made);
                scope.spawn(move || {
                    for n in 0..n_series {
                        // Numbers that do not ascend as text does.
                        let name = format!("{writer}-{}", n * 7919 % n_series);
                        let part = (n % 3).to_string();
                        let series = labels("m", &[("n", &name), ("part", &part)]);
                        append_many(db, &[(series, START + n, n as f64)]);
                        made[writer as usize].store(n + 1, Ordering::Release);
                    }
                })
            })
            .collect();
        for part in ["0", "1"] {
            let (db, made, done) = (&db, &made, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let before: i64 = made.iter().map(|made| made.load(Ordering::Acquire)).sum();
                    let all = select(db, vec![equal("__name__", "m")], TimeRange::ALL);
                    assert!(all.len() as i64 >= before, "{} of {before}", all.len());
                    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, each once");
                    let not = Matcher::new(MatchOp::NotEqual, "part", part).unwrap();
                    for (labels, columns) in select(db, vec![not, equal("__name__", "m")], TimeRange::ALL) {
                        assert_ne!(labels.get("part"), Some(part));
                        assert_eq!(columns.timestamps_ms.len(), 1, "{labels}");
                    }
                    let listed = db.label_values("n", TimeRange::ALL, &[], 0).unwrap().values;
                    assert!(listed.len() as i64 >= before && listed.is_sorted());
                }
            });
        }
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    assert_eq!(select(&db, vec![equal("__name__", "m")], TimeRange::ALL).len() as i64, 2 * n_series);
}

/// 9856, 7560, 7526, 9081: strings of series that had gone were given to others, or
/// chunks were out of order, when series came and went during a compaction. Here each
/// series says its name three times, so that no other string can stand in for one.
#[test]
fn issue_9856_series_that_come_and_go_keep_their_own_strings() {
    let (disk, options) = (new_disk(), opening(false));
    let db = try_open(&disk, &options, 1).unwrap();
    let n_steps = size("NARTHEX_RACE_STEPS", 500) as i64;
    let is_own = |series: &Labels, values: &[f64]| {
        let pod = series.get("pod").unwrap();
        assert_eq!(series.get("copy"), Some(pod));
        assert_eq!(series.get(&format!("of_{pod}")), Some(pod), "{series}");
        let number: f64 = pod.strip_prefix("pod-").unwrap().parse().unwrap();
        assert!(values.iter().all(|value| *value == number), "{series} {values:?}");
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for step in 0..n_steps {
                let batch: Vec<(Labels, i64, f64)> = (0..6)
                    .map(|n| {
                        // A pod lives for an hour or two.
                        let number = step / (15 + n) * 6 + n;
                        let pod = format!("pod-{number}");
                        let own = format!("of_{pod}");
                        let pairs = [("pod", pod.as_str()), ("copy", &pod), (own.as_str(), &pod)];
                        (labels("m", &pairs), START + step * 4 * MINUTE, number as f64)
                    })
                    .collect();
                append_many(&db, &batch);
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                db.maintain().unwrap();
                std::thread::yield_now();
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (series, columns) in select(&db, vec![equal("__name__", "m")], TimeRange::ALL) {
                    is_own(&series, &columns.floats);
                    assert!(columns.timestamps_ms.is_sorted_by(|a, b| a < b), "{series}");
                }
            }
        });
        let written = writer.join();
        done.store(true, Ordering::Relaxed);
        written.unwrap();
    });
    for _ in 0..3 {
        db.maintain().unwrap();
    }
    let before = floats(&db, TimeRange::ALL);
    let want: BTreeSet<i64> = (0..n_steps).map(|step| START + step * 4 * MINUTE).collect();
    let have: BTreeSet<i64> = before.values().flatten().map(|sample| sample.0).collect();
    assert_eq!(have, want);
    drop(db);
    let db = try_open(&disk, &options, 2).unwrap();
    assert!(db.damaged_blocks().is_empty());
    assert_eq!(floats(&db, TimeRange::ALL), before, "a restart answers the same");
    for (series, columns) in select(&db, vec![equal("__name__", "m")], TimeRange::ALL) {
        is_own(&series, &columns.floats);
    }
}
