//! Stale series leave the head early, and nothing of them is lost: not at the
//! edges of block ranges, not over a restart, not when they come back meanwhile.
//! And: the head waits before it is cut where the options ask for it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use db_support::*;
use model::memory::Accountant;
use model::metrics::{MetricValue, Registry};
use model::{Labels, Queryable, TimeRange, stale_nan};
use testkit::TestClock;
use tsdb::{Db, DbOptions, ReplayCell};

const RANGE: i64 = 7_200_000;

struct Store {
    db: Arc<Db>,
    registry: Registry,
    clock: Arc<TestClock>,
}

impl Store {
    fn open(options: DbOptions) -> Store {
        let (registry, clock) = (Registry::new(), Arc::new(TestClock::new(0)));
        let progress = Arc::new(ReplayCell::new());
        let db = Db::open(options, env(&clock), Accountant::unlimited(), &registry, progress).unwrap();
        Store { db, registry, clock }
    }

    fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name == name).unwrap();
        match family.metrics[0].value {
            MetricValue::Single(value) => value,
            _ => panic!("{name} has one value"),
        }
    }

    fn head_series(&self) -> f64 {
        self.metric("prometheus_tsdb_head_series")
    }

    fn maintain(&self) {
        self.db.maintain().unwrap();
        self.db.maintain().unwrap();
    }
}

fn with_threshold(dir: &Path) -> DbOptions {
    let mut options = options(dir);
    options.runtime.stale_series_compaction_threshold = 0.5;
    options.runtime.retention_time = None;
    options
}

fn series(n: usize) -> Labels {
    labels("m", &[("n", &n.to_string())])
}

/// Ten series with samples up to `end`; those from `live` on end with a marker.
fn fill(db: &Db, from: i64, end: i64, live: usize) {
    let mut t = from;
    while t < end {
        let all: Vec<_> = (0..10).map(|n| (series(n), t, t as f64 + n as f64)).collect();
        assert!(append_many(db, &all).iter().all(|outcome| outcome.is_ok()));
        t += 60_000;
    }
    let last: Vec<_> = (0..10).map(|n| (series(n), end, if n < live { 1.0 } else { stale_nan() })).collect();
    assert!(append_many(db, &last).iter().all(|outcome| outcome.is_ok()));
}

fn hints(dir: &Path) -> Vec<String> {
    let mut hints = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let meta = entry.unwrap().path().join("meta.json");
        if let Ok(text) = std::fs::read_to_string(meta) {
            let meta: serde_json::Value = serde_json::from_str(&text).unwrap();
            hints.push(meta["compaction"]["hints"].to_string());
        }
    }
    hints
}

#[test]
fn stale_series_go_to_blocks_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let store = Store::open(with_threshold(dir));
    fill(&store.db, RANGE + 3_000_000, RANGE * 2 + 600_000, 4);
    let want = floats(&store.db, TimeRange::ALL);
    assert_eq!(want.len(), 10);
    store.maintain();
    assert_eq!(store.metric("prometheus_tsdb_stale_series_compactions_triggered_total"), 1.0);
    assert_eq!(store.head_series(), 4.0);
    assert_eq!(store.metric("prometheus_tsdb_head_stale_series"), 0.0);
    assert_eq!(hints(dir), [r#"["from-stale-series"]"#; 2], "a block a range");
    assert_eq!(floats(&store.db, TimeRange::ALL), want);
    // As after a crash: what is only in the log, of the others, is still there.
    drop(store);
    let store = Store::open(with_threshold(dir));
    assert_eq!(floats(&store.db, TimeRange::ALL), want, "after a restart");
    assert_eq!(store.head_series(), 4.0, "the log says who was evicted");
    // Some come back, under new numbers.
    let t = RANGE * 2 + 700_000;
    append_many(&store.db, &[(series(7), t, 1.0), (series(0), t, 2.0)]);
    let want = floats(&store.db, TimeRange::ALL);
    assert_eq!(want[&series(7)].last(), Some(&(t, 1f64.to_bits())));
    drop(store);
    for round in 0..2 {
        drop(Store::open(with_threshold(dir)));
        let store = Store::open(with_threshold(dir));
        assert_eq!(floats(&store.db, TimeRange::ALL), want, "restart {round}");
        assert_eq!(store.head_series(), 5.0);
    }
}

#[test]
fn no_sample_at_the_edge_of_a_range_is_lost() {
    for edge in [-1, 0, 1] {
        for only_one in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(with_threshold(dir.path()));
            let end = RANGE * 3 + edge;
            if only_one {
                // The head begins and ends at the edge.
                append(&store.db, &series(1), end - 1, 5.0);
                append(&store.db, &series(1), end, stale_nan());
            } else {
                fill(&store.db, RANGE * 2 + 60_000 + edge, end, 0);
            }
            let want = floats(&store.db, TimeRange::ALL);
            store.maintain();
            assert_eq!(store.head_series(), 0.0, "edge {edge}");
            assert_eq!(floats(&store.db, TimeRange::ALL), want, "edge {edge}");
            drop(store);
            let store = Store::open(with_threshold(dir.path()));
            assert_eq!(floats(&store.db, TimeRange::ALL), want, "edge {edge}, after a restart");
        }
    }
}

#[test]
fn a_series_that_changes_meanwhile_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(with_threshold(dir.path()));
    fill(&store.db, RANGE + 60_000, RANGE + 1_200_000, 2);
    // A reader holds the eviction up.
    let reader = store.db.querier(TimeRange::ALL).unwrap();
    store.db.maintain().unwrap();
    assert_eq!(store.head_series(), 10.0);
    append(&store.db, &series(5), RANGE + 1_300_000, 7.0);
    let want = floats(&store.db, TimeRange::ALL);
    drop(reader);
    store.maintain();
    assert_eq!(store.head_series(), 3.0);
    assert_eq!(floats(&store.db, TimeRange::ALL), want);
    drop(store);
    let store = Store::open(with_threshold(dir.path()));
    assert_eq!(floats(&store.db, TimeRange::ALL), want);
}

#[test]
fn series_with_late_samples_stay_and_zero_switches_it_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = with_threshold(dir.path());
    options.runtime.out_of_order_window = Duration::from_secs(3600);
    let store = Store::open(options.clone());
    fill(&store.db, RANGE + 60_000, RANGE + 1_200_000, 2);
    append(&store.db, &series(9), RANGE + 61_000, 0.5);
    let want = floats(&store.db, TimeRange::ALL);
    store.maintain();
    assert_eq!(store.head_series(), 3.0);
    assert_eq!(floats(&store.db, TimeRange::ALL), want);
    drop(store);
    options.runtime.stale_series_compaction_threshold = 0.0;
    let store = Store::open(options);
    assert_eq!(floats(&store.db, TimeRange::ALL), want);
    append(&store.db, &series(1), RANGE + 1_300_000, stale_nan());
    append(&store.db, &series(0), RANGE + 1_300_000, stale_nan());
    store.maintain();
    assert_eq!(store.head_series(), 3.0);
    assert_eq!(store.metric("prometheus_tsdb_stale_series_compactions_triggered_total"), 0.0);
}

#[test]
fn before_the_next_cut_of_the_head_stale_series_wait() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(with_threshold(dir.path()));
    fill(&store.db, RANGE + 60_000, RANGE * 2 + 60_000, 10);
    fill(&store.db, RANGE * 2 + 120_000, RANGE * 3 + 60_000, 4);
    store.clock.advance(Duration::from_secs(1));
    store.db.maintain().unwrap();
    assert_eq!(store.metric("prometheus_tsdb_head_truncations_total"), 1.0, "the head was cut");
    // Ten minutes before the next cut is due.
    store.clock.advance(Duration::from_secs(7200 - 300));
    store.maintain();
    assert_eq!(store.metric("prometheus_tsdb_stale_series_compactions_triggered_total"), 0.0);
    assert_eq!(store.head_series(), 10.0);
}

#[test]
fn the_head_waits_as_long_as_the_options_say() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.compaction_delay_max_percent = Some(100);
    options.runtime.retention_time = None;
    let store = Store::open(options);
    fill(&store.db, RANGE + 60_000, RANGE * 2 + 60_000, 10);
    fill(&store.db, RANGE * 2 + 120_000, RANGE * 3 + 60_000, 10);
    let truncations = || store.metric("prometheus_tsdb_head_truncations_total");
    store.db.maintain().unwrap();
    assert_eq!(truncations(), 0.0, "the delay begins");
    let mut waited = Duration::ZERO;
    while truncations() == 0.0 {
        store.clock.advance(Duration::from_secs(60));
        waited += Duration::from_secs(60);
        store.db.maintain().unwrap();
        assert!(waited <= Duration::from_secs(7260), "no longer than the share of the block's length");
    }
    assert!(waited > Duration::from_secs(60), "{waited:?}");
}
