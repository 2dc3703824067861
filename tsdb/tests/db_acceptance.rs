//! What is taken, what is refused, and in which words.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use std::time::Duration;

use db_support::*;
use model::append::Existing;
use model::{
    AppendError, Appendable, Exemplar, ExemplarError, Histogram, HistogramSample, HistogramValue, Labels,
    Outcome, TimeRange, stale_nan,
};

const HOUR: i64 = 3_600_000;

fn histogram(count: u64) -> HistogramValue {
    HistogramValue::Integer(Histogram {
        count,
        zero_count: count,
        zero_threshold: 0.001,
        sum: 1.0,
        ..Histogram::default()
    })
}

fn append_histogram(db: &tsdb::Db, series: &Labels, t: i64, value: HistogramValue) -> Outcome {
    let mut appender = db.appender().unwrap();
    let handle = appender.series(series).unwrap();
    let mut outcomes = Vec::new();
    let sample = HistogramSample { series: handle, timestamp_ms: t, start_timestamp_ms: 0, value };
    appender.append_histograms(vec![sample], &mut outcomes);
    appender.commit().unwrap();
    outcomes[0]
}

#[test]
fn without_a_window_only_newer_samples_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(options(dir.path()));
    let (a, b) = (labels("a", &[]), labels("b", &[]));
    let now = 100 * HOUR;
    assert_eq!(append(&db, &a, now, 1.0), Outcome::Accepted);
    assert_eq!(append(&db, &a, now, 1.0), Outcome::Unchanged, "the very sample again is no error");
    assert_eq!(append(&db, &a, now, 2.0), Outcome::DuplicateTimestamp { existing: Existing::Float(1.0) });
    assert_eq!(append(&db, &a, now - 1, 1.0), Outcome::OutOfOrder);
    // Half a block behind the newest of all series is the end.
    assert_eq!(append(&db, &b, now - HOUR, 1.0), Outcome::Accepted);
    assert_eq!(append(&db, &a, now - HOUR - 1, 1.0), Outcome::OutOfBounds);
    assert_eq!(append(&db, &labels("c", &[]), now - HOUR - 1, 1.0), Outcome::OutOfBounds);
    // NaN is compared by bits.
    assert_eq!(append(&db, &a, now + 1, stale_nan()), Outcome::Accepted);
    assert_eq!(append(&db, &a, now + 1, stale_nan()), Outcome::Unchanged);
    assert!(matches!(append(&db, &a, now + 1, f64::NAN), Outcome::DuplicateTimestamp { .. }));
    assert_eq!(floats(&db, TimeRange::ALL)[&a].len(), 2);
}

#[test]
fn inside_the_window_late_samples_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut opening = options(dir.path());
    opening.runtime.out_of_order_window = Duration::from_secs(3600);
    let db = open(opening);
    let a = labels("a", &[]);
    let now = 100 * HOUR;
    append(&db, &a, now, 1.0);
    assert_eq!(append(&db, &a, now - 1, 2.0), Outcome::AcceptedOutOfOrder);
    assert_eq!(append(&db, &a, now - HOUR, 3.0), Outcome::AcceptedOutOfOrder);
    assert_eq!(append(&db, &a, now - HOUR - 1, 3.0), Outcome::TooOld);
    let have: Vec<i64> = floats(&db, TimeRange::ALL)[&a].iter().map(|s| s.0).collect();
    assert_eq!(have, [now - HOUR, now - 1, now]);
}

#[test]
fn kinds_may_alternate_and_a_float_marker_ends_a_histogram_series() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(options(dir.path()));
    let a = labels("a", &[]);
    assert_eq!(append(&db, &a, 1000, 1.0), Outcome::Accepted);
    assert_eq!(append_histogram(&db, &a, 2000, histogram(1)), Outcome::Accepted);
    assert_eq!(append_histogram(&db, &a, 2000, histogram(1)), Outcome::Unchanged);
    assert_eq!(
        append_histogram(&db, &a, 2000, histogram(2)),
        Outcome::DuplicateTimestamp { existing: Existing::Histogram }
    );
    assert_eq!(append(&db, &a, 2000, 1.0), Outcome::DuplicateTimestamp { existing: Existing::Histogram });
    assert_eq!(append(&db, &a, 3000, stale_nan()), Outcome::Accepted);
    let check = |db: &tsdb::Db| {
        let found = select(db, everything(), TimeRange::ALL);
        let columns = &found[0].1;
        assert_eq!(columns.timestamps_ms, [1000, 2000, 3000]);
        assert_eq!(columns.floats, [1.0]);
        assert!(columns.histograms[1].is_stale(), "the marker is a histogram");
    };
    check(&db);
    db.close().unwrap();
    let db = open(options(dir.path()));
    check(&db);
    assert_eq!(append(&db, &a, 4000, 5.0), Outcome::Accepted);
    assert_eq!(select(&db, everything(), TimeRange::ALL)[0].1.floats, [1.0, 5.0]);
}

#[test]
fn label_sets_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let mut opening = options(dir.path());
    opening.max_series = Some(1);
    let db = open(opening);
    let mut appender = db.appender().unwrap();
    let error = appender.series(&Labels::empty()).unwrap_err();
    assert_eq!(error.to_string(), "empty labelset: invalid sample");
    appender.series(&labels("a", &[])).unwrap();
    let error = appender.series(&labels("b", &[])).unwrap_err();
    assert!(matches!(error, AppendError::Refused(_)), "{error}");
    appender.series(&labels("a", &[])).unwrap();
    assert!(appender.find_series(&labels("b", &[])).is_none());
}

#[test]
fn exemplars_are_kept_checked_and_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let mut opening = options(dir.path());
    opening.exemplar_storage = true;
    let a = labels("a", &[]);
    let exemplar = |t: i64| Exemplar {
        labels: Labels::from_pairs([("trace_id", "x")]),
        value: t as f64,
        timestamp_ms: t,
        has_timestamp: true,
    };
    let db = open(opening.clone());
    let mut appender = db.appender().unwrap();
    let handle = appender.series(&a).unwrap();
    appender.append_exemplar(handle, &exemplar(1000)).unwrap();
    appender.append_exemplar(handle, &exemplar(2000)).unwrap();
    appender.commit().unwrap();
    let mut appender = db.appender().unwrap();
    assert_eq!(appender.append_exemplar(handle, &exemplar(2000)), Err(ExemplarError::Duplicate));
    assert_eq!(appender.append_exemplar(handle, &exemplar(1500)), Err(ExemplarError::OutOfOrder));
    drop(appender);
    db.close().unwrap();
    let db = open(opening);
    let sets = [vec![equal("__name__", "a")]];
    let found = model::query::ExemplarQueryable::exemplars(&*db, TimeRange::ALL, &sets).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].exemplars.iter().map(|e| e.timestamp_ms).collect::<Vec<_>>(), [1000, 2000]);
}

#[test]
fn a_start_timestamp_becomes_a_zero_once() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(options(dir.path()));
    let a = labels("a", &[]);
    let mut appender = db.appender().unwrap();
    let handle = appender.series(&a).unwrap();
    assert_eq!(appender.append_start_zero(handle, 2000, 2000, None), Outcome::StartNotBeforeSample);
    assert_eq!(appender.append_start_zero(handle, 2000, 1000, None), Outcome::Accepted);
    appender.commit().unwrap();
    append(&db, &a, 2000, 5.0);
    let mut appender = db.appender().unwrap();
    assert_eq!(appender.append_start_zero(handle, 3000, 1000, None), Outcome::StartOutOfOrder);
    drop(appender);
    assert_eq!(select(&db, everything(), TimeRange::ALL)[0].1.floats, [0.0, 5.0]);
}

#[test]
fn settings_change_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let opening = options(dir.path());
    let db = open(opening.clone());
    let a = labels("a", &[]);
    append(&db, &a, 100 * HOUR, 1.0);
    let mut settings = opening.runtime;
    settings.out_of_order_window = Duration::from_secs(1800);
    model::admin::TsdbAdmin::apply(&*db, &settings).unwrap();
    assert_eq!(append(&db, &a, 100 * HOUR - 1000, 1.0), Outcome::AcceptedOutOfOrder);
    settings.out_of_order_window = Duration::ZERO;
    model::admin::TsdbAdmin::apply(&*db, &settings).unwrap();
    assert_eq!(append(&db, &a, 100 * HOUR - 2000, 1.0), Outcome::OutOfOrder);
    assert_eq!(floats(&db, TimeRange::ALL)[&a].len(), 2);
    // What is there is drained into a block.
    db.maintain().unwrap();
    assert_eq!(model::admin::TsdbStatus::blocks(&*db).unwrap().len(), 1);
    assert_eq!(floats(&db, TimeRange::ALL)[&a].len(), 2);
}
