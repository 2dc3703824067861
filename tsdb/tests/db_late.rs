//! Out-of-order samples against a simple model: through restarts, cuts and kills.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use db_support::*;
use model::memory::Accountant;
use model::metrics::{Metric, MetricValue, Registry};
use model::{Appendable, Histogram, HistogramSample, HistogramValue, Labels, Outcome, TimeRange};
use testkit::{Rng, TestClock};
use tsdb::{Db, ReplayCell};

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

#[test]
fn what_is_appended_and_refused_is_counted_as_upstream_counts() {
    let (disk, registry) = (tempfile::tempdir().unwrap(), Registry::new());
    let clock = Arc::new(TestClock::new(START));
    let db = Db::open(
        opening(disk.path()),
        env(&clock),
        Accountant::unlimited(),
        &registry,
        Arc::new(ReplayCell::new()),
    )
    .unwrap();
    let (series, histogram) = (labels("m", &[]), labels("h", &[]));
    append(&db, &series, START + 5 * HOUR, 1.0);
    append(&db, &series, START + 5 * HOUR, 1.0);
    append(&db, &series, START + 4 * HOUR, 1.0);
    append(&db, &series, START + 4 * HOUR, 1.0);
    append(&db, &series, START, 1.0);
    for hours in [5, 5, 4] {
        let mut appender = db.appender().unwrap();
        let series = appender.series(&histogram).unwrap();
        let value = HistogramValue::Integer(Histogram::default());
        let timestamp_ms = START + hours * HOUR;
        let sample = HistogramSample { series, timestamp_ms, start_timestamp_ms: 0, value };
        appender.append_histograms(vec![sample], &mut Vec::new());
        appender.commit().unwrap();
    }
    let counts = |name: &str| -> Vec<f64> {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name == name).unwrap();
        let value = |metric: &Metric| match metric.value {
            MetricValue::Single(value) => value,
            _ => panic!("{name} counts"),
        };
        family.metrics.iter().map(value).collect()
    };
    // Floats, histograms; those that came late are counted in both.
    assert_eq!(counts("prometheus_tsdb_head_samples_appended_total"), [2.0, 2.0]);
    assert_eq!(counts("prometheus_tsdb_head_out_of_order_samples_appended_total"), [1.0, 1.0]);
    assert_eq!(counts("prometheus_tsdb_too_old_samples_total"), [1.0, 0.0]);
    // A histogram that comes again counts as out of order.
    assert_eq!(counts("prometheus_tsdb_out_of_order_samples_total"), [0.0, 1.0]);
}
