//! Thirty hours of scrapes every 15 s, on a clock of the test's: the head is cut
//! into blocks, the log into checkpoints, series come and go, the database is
//! restarted in the middle, once cleanly and once not, and every sample is
//! answered.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use db_support::*;
use model::{Appendable, FloatBatch, Labels, Outcome, SeriesHandle, TimeRange, Timestamps};
use testkit::{Rng, TestClock};

const START_MS: i64 = 1_700_000_000_000;
const STEP: Duration = Duration::from_secs(15);
const SERIES: usize = 240;

/// What a scrape knows of a series between scrapes.
struct Target {
    labels: Labels,
    handle: Option<SeriesHandle>,
    value: f64,
    samples: Vec<(i64, u64)>,
}

impl Target {
    fn new(n: usize, generation: usize) -> Target {
        let labels = labels(
            "metric_total",
            &[
                ("job", "node"),
                ("instance", &format!("host-{}", n / 40)),
                ("n", &n.to_string()),
                ("pod", &format!("pod-{generation}-{n}")),
            ],
        );
        Target { labels, handle: None, value: 0.0, samples: Vec::new() }
    }
}

/// One scrape of all targets. Handles that became outdated are asked for anew.
fn scrape(db: &tsdb::Db, targets: &mut [Target], now: i64, rng: &mut Rng) {
    let mut appender = db.appender().unwrap();
    for target in targets.iter_mut() {
        if rng.one_in(3) {
            target.value += rng.below(1000) as f64 / 8.0;
        }
    }
    let mut todo: Vec<usize> = (0..targets.len()).collect();
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let handles: Vec<SeriesHandle> = todo
            .iter()
            .map(|&n| {
                let target = &mut targets[n];
                *target.handle.get_or_insert_with(|| appender.series(&target.labels).unwrap())
            })
            .collect();
        let values: Vec<f64> = todo.iter().map(|&n| targets[n].value).collect();
        let batch = FloatBatch {
            series: &handles,
            timestamps: Timestamps::Same(now),
            start_timestamps: None,
            values: &values,
            in_order_only: false,
        };
        appender.append_floats(batch, &mut outcomes);
        let mut again = Vec::new();
        for (&n, outcome) in todo.iter().zip(&outcomes) {
            match outcome {
                Outcome::Accepted => targets[n].samples.push((now, targets[n].value.to_bits())),
                Outcome::UnknownSeries => {
                    targets[n].handle = None;
                    again.push(n);
                }
                other => panic!("{other:?} at {now}"),
            }
        }
        todo = again;
    }
    assert!(todo.is_empty());
    appender.commit().unwrap();
}

fn check(db: &tsdb::Db, all: &BTreeMap<Labels, Vec<(i64, u64)>>, range: TimeRange) {
    let have = floats(db, range);
    let mut n = 0;
    for (labels, samples) in all {
        let want: Vec<(i64, u64)> = samples.iter().copied().filter(|(t, _)| range.contains(*t)).collect();
        if want.is_empty() {
            continue;
        }
        n += 1;
        let have = have.get(labels).unwrap_or_else(|| panic!("{labels} is missing"));
        assert_eq!(have.len(), want.len(), "{labels}: first {:?} of {:?}", have.first(), want.first());
        assert_eq!(*have, want, "{labels}");
    }
    assert_eq!(have.len(), n, "no series is there that should not be");
}

fn everything_of(
    targets: &[Target],
    gone: &BTreeMap<Labels, Vec<(i64, u64)>>,
) -> BTreeMap<Labels, Vec<(i64, u64)>> {
    let mut all = gone.clone();
    all.extend(targets.iter().map(|t| (t.labels.clone(), t.samples.clone())));
    all
}

#[test]
fn thirty_hours_of_scrapes_stay_answered() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new(START_MS));
    let opening = || {
        let mut options = options(dir.path());
        options.no_lockfile = true;
        options.wal_segment_bytes = 1 << 20;
        options.runtime.retention_time = None;
        options
    };
    let mut db = open_at(opening(), &clock);
    let mut rng = Rng::new(30);
    let mut targets: Vec<Target> = (0..SERIES).map(|n| Target::new(n, 0)).collect();
    let mut gone: BTreeMap<Labels, Vec<(i64, u64)>> = BTreeMap::new();
    let steps = 30 * 3600 / 15;
    let (mut blocks_seen, mut changes) = (0, 0);
    for step in 0..steps {
        clock.advance(STEP);
        let now = START_MS + (step + 1) * 15_000;
        scrape(&db, &mut targets, now, &mut rng);
        if step % 4 == 3 {
            db.maintain().unwrap();
        }
        if step % 1200 == 1199 {
            // A tenth of the series is replaced every five hours.
            for n in (0..SERIES).filter(|n| n % 10 == (step / 1200) as usize % 10) {
                let old = std::mem::replace(&mut targets[n], Target::new(n, step as usize));
                gone.insert(old.labels, old.samples);
            }
        }
        if step == steps / 3 {
            db.close().unwrap();
            db = open_at(opening(), &clock);
        }
        if step == steps / 2 + 7 {
            // No close: as if the process were killed.
            db = open_at(opening(), &clock);
        }
        if step == steps / 3 || step == steps / 2 + 7 {
            for target in &mut targets {
                target.handle = None;
            }
            check(&db, &everything_of(&targets, &gone), TimeRange::ALL);
        }
        let blocks = model::admin::TsdbStatus::blocks(&*db).unwrap().len();
        if blocks != blocks_seen {
            // Right after a cut, around its edge.
            blocks_seen = blocks;
            changes += 1;
            let edge = now - 3 * 3_600_000;
            check(&db, &everything_of(&targets, &gone), TimeRange::new(edge, edge + 3_600_000));
        }
    }
    let all = everything_of(&targets, &gone);
    check(&db, &all, TimeRange::ALL);
    check(&db, &all, TimeRange::new(START_MS + 5 * 3_600_000 + 1, START_MS + 6 * 3_600_000 - 1));
    assert!(changes >= 10, "blocks were cut and merged {changes} times");
    assert!(
        dir.path().join("wal").read_dir().unwrap().any(|e| e
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("checkpoint."))
    );
    let stats = model::admin::TsdbStatus::head_stats(&*db, 10).unwrap();
    assert!(stats.num_series < SERIES as u64 + 60, "series that ended leave memory: {}", stats.num_series);
    db.close().unwrap();
    let db = open_at(opening(), &clock);
    check(&db, &all, TimeRange::ALL);
    println!(
        "thirty_hours_of_scrapes_stay_answered: {} series, {} samples",
        all.len(),
        all.values().map(Vec::len).sum::<usize>()
    );
}
