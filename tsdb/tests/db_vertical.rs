//! Append, commit, select, replay: the thin walk through the whole.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use db_support::*;
use model::{Appendable, Outcome, TimeRange, stale_nan};

#[test]
fn what_was_committed_is_answered_before_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let up = labels("up", &[("job", "node"), ("instance", "a")]);
    let down = labels("up", &[("job", "node"), ("instance", "b")]);
    let before = {
        let db = open(options(dir.path()));
        for i in 0..500 {
            let t = 1_700_000_000_000 + i * 15_000;
            assert_eq!(append(&db, &up, t, i as f64), Outcome::Accepted);
            assert_eq!(append(&db, &down, t + 3, 0.5), Outcome::Accepted);
        }
        append(&db, &down, 1_700_010_000_000, stale_nan());
        let before = floats(&db, TimeRange::ALL);
        assert_eq!(before[&up].len(), 500);
        assert_eq!(before[&down].len(), 501);
        assert_eq!(before[&up][7], (1_700_000_105_000, 7f64.to_bits()));
        db.close().unwrap();
        before
    };
    let db = open(options(dir.path()));
    assert_eq!(floats(&db, TimeRange::ALL), before);
    // And what comes after goes on where it ended.
    assert_eq!(append(&db, &up, 1_700_000_000_000, 1.0), Outcome::OutOfBounds);
    assert_eq!(append(&db, &up, 1_700_009_999_000, 1.0), Outcome::Accepted);
    assert_eq!(append(&db, &up, 1_700_009_999_000, 1.0), Outcome::Unchanged);
}

#[test]
fn a_crash_loses_nothing_that_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(DbOptionsNoLock::of(dir.path()));
    let series = labels("m", &[]);
    append(&db, &series, 1, 1.0);
    // No close: the process is killed.
    std::mem::forget(db);
    let db = open(DbOptionsNoLock::of(dir.path()));
    assert_eq!(floats(&db, TimeRange::ALL)[&series], [(1, 1f64.to_bits())]);
}

struct DbOptionsNoLock;

impl DbOptionsNoLock {
    fn of(dir: &std::path::Path) -> tsdb::DbOptions {
        tsdb::DbOptions { no_lockfile: true, ..options(dir) }
    }
}

#[test]
fn a_rolled_back_batch_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(options(dir.path()));
    let series = labels("m", &[]);
    let mut appender = db.appender().unwrap();
    let handle = appender.series(&series).unwrap();
    let batch = model::FloatBatch {
        series: &[handle],
        timestamps: model::Timestamps::Same(5),
        start_timestamps: None,
        values: &[1.0],
        in_order_only: false,
    };
    let mut outcomes = Vec::new();
    appender.append_floats(batch, &mut outcomes);
    assert_eq!(outcomes, [Outcome::Accepted]);
    assert!(floats(&db, TimeRange::ALL).is_empty(), "nothing is visible before the commit");
    appender.rollback();
    assert!(floats(&db, TimeRange::ALL).is_empty());
}

#[test]
fn a_reader_sees_no_batch_that_came_later() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(options(dir.path()));
    let series = labels("m", &[]);
    append(&db, &series, 1, 1.0);
    let querier = model::Queryable::querier(&*db, TimeRange::ALL).unwrap();
    append(&db, &series, 2, 2.0);
    append(&db, &series, 3, 3.0);
    let dictionary = model::Dictionary::new();
    let request = model::SelectRequest::new(everything(), TimeRange::ALL);
    let selected = querier.select(&request, &dictionary).unwrap();
    let mut columns = model::Columns::default();
    selected.reader.read(0, TimeRange::ALL, Default::default(), &mut columns).unwrap();
    assert_eq!(columns.timestamps_ms, [1]);
    let mut latest = model::query::LatestColumns::default();
    selected.reader.read_latest(0..1, 10, 10, &mut latest).unwrap();
    assert_eq!(latest.samples[0].unwrap().timestamp_ms, 1);
    assert_eq!(floats(&db, TimeRange::ALL)[&series].len(), 3);
}

#[test]
fn a_directory_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(options(dir.path()));
    let clock = std::sync::Arc::new(testkit::TestClock::new(0));
    let second = tsdb::Db::open(
        options(dir.path()),
        env(&clock),
        model::memory::Accountant::unlimited(),
        &model::metrics::Registry::new(),
        Default::default(),
    );
    let error = second.err().unwrap().to_string();
    assert!(error.starts_with("lock DB directory: "), "{error}");
    db.close().unwrap();
    assert!(!dir.path().join("lock").exists());
    open(options(dir.path()));
}
