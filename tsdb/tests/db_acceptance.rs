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
    append(&db, &a, 1000, 1.0);
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

/// Labels of all series in the head, as its status has them.
fn in_head(db: &tsdb::Db) -> (u64, Vec<String>) {
    let names = model::query::LabelQueryable::label_values(db, "__name__", TimeRange::ALL, &[], 0).unwrap();
    (model::admin::TsdbStatus::head_stats(db, 10).unwrap().num_series, names.values)
}

/// Upstream looks at a sample's time before it makes a series; here a series that
/// got no sample goes with its batch, committed or not, and what was said of it too.
#[test]
fn a_sample_out_of_bounds_makes_no_series() {
    let dir = tempfile::tempdir().unwrap();
    let mut opening = options(dir.path());
    opening.exemplar_storage = true;
    opening.metadata_storage = true;
    let db = open(opening.clone());
    let now = 100 * HOUR;
    let known = labels("known", &[]);
    append(&db, &known, now, 1.0);
    let exemplar = Exemplar {
        labels: Labels::from_pairs([("trace_id", "x")]),
        value: 1.0,
        timestamp_ms: now,
        has_timestamp: true,
    };
    let metadata = model::Metadata { help: "of nothing".to_owned(), ..Default::default() };
    for commits in [true, false] {
        let mut appender = db.appender().unwrap();
        let old = appender.series(&labels("old", &[])).unwrap();
        let histograms = appender.series(&labels("old_histogram", &[])).unwrap();
        let both = appender.series(&labels("both", &[])).unwrap();
        let silent = appender.series(&labels("silent", &[])).unwrap();
        let mut outcomes = Vec::new();
        let batch = model::FloatBatch {
            series: &[old, both, both],
            timestamps: model::Timestamps::Each(&[now - 2 * HOUR, now - 2 * HOUR, now]),
            start_timestamps: None,
            values: &[1.0; 3],
            in_order_only: false,
        };
        appender.append_floats(batch, &mut outcomes);
        let accepted = if commits { Outcome::Accepted } else { Outcome::Unchanged };
        assert_eq!(outcomes, [Outcome::OutOfBounds, Outcome::OutOfBounds, accepted]);
        let sample = HistogramSample {
            series: histograms,
            timestamp_ms: 0,
            start_timestamp_ms: 0,
            value: histogram(1),
        };
        appender.append_histograms(vec![sample], &mut outcomes);
        assert_eq!(outcomes, [Outcome::OutOfBounds]);
        for series in [old, silent] {
            appender.append_exemplar(series, &exemplar).unwrap();
            appender.update_metadata(series, &metadata);
        }
        match commits {
            true => drop(appender.commit().unwrap()),
            false => appender.rollback(),
        }
        assert_eq!(in_head(&db), (2, vec!["both".to_owned(), "known".to_owned()]));
        // The handle is of nothing now, whoever remembers it.
        let mut appender = db.appender().unwrap();
        let batch = model::FloatBatch {
            series: &[old],
            timestamps: model::Timestamps::Same(now),
            start_timestamps: None,
            values: &[1.0],
            in_order_only: false,
        };
        appender.append_floats(batch, &mut outcomes);
        assert_eq!(outcomes, [Outcome::UnknownSeries]);
    }
    assert!(
        model::query::ExemplarQueryable::exemplars(&*db, TimeRange::ALL, &[everything()]).unwrap().is_empty()
    );
    db.close().unwrap();
    let db = open(opening);
    assert_eq!(in_head(&db).0, 2, "the log says nothing of them either");
    // With room for late samples upstream makes the series, and so it stays.
    let mut settings = options(dir.path()).runtime;
    settings.out_of_order_window = Duration::from_secs(1800);
    model::admin::TsdbAdmin::apply(&*db, &settings).unwrap();
    assert_eq!(append(&db, &labels("too_old", &[]), now - HOUR - 1, 1.0), Outcome::TooOld);
    assert_eq!(in_head(&db).0, 3);
}

/// A series that one batch made and another found stays as long as either needs it.
#[test]
fn a_series_found_by_another_batch_is_not_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(options(dir.path()));
    let (known, shared) = (labels("known", &[]), labels("shared", &[]));
    append(&db, &known, 100 * HOUR, 1.0);
    let mut one = db.appender().unwrap();
    let of_one = one.series(&shared).unwrap();
    let mut other = db.appender().unwrap();
    assert_eq!(other.series(&shared).unwrap(), of_one);
    one.rollback();
    let batch = model::FloatBatch {
        series: &[of_one],
        timestamps: model::Timestamps::Same(100 * HOUR),
        start_timestamps: None,
        values: &[2.0],
        in_order_only: false,
    };
    let mut outcomes = Vec::new();
    other.append_floats(batch, &mut outcomes);
    other.commit().unwrap();
    assert_eq!(outcomes, [Outcome::Accepted]);
    assert_eq!(floats(&db, TimeRange::ALL)[&shared], [(100 * HOUR, 2f64.to_bits())]);
    drop(db);
    assert_eq!(floats(&open(options(dir.path())), TimeRange::ALL)[&shared].len(), 1, "its record is logged");
}

/// Starts come in order or not at all, are counted nowhere, and a histogram's says
/// that counting began.
#[test]
fn a_start_is_never_a_late_sample() {
    let dir = tempfile::tempdir().unwrap();
    let mut opening = options(dir.path());
    opening.runtime.out_of_order_window = Duration::from_secs(3600);
    let registry = model::metrics::Registry::new();
    let clock = std::sync::Arc::new(testkit::TestClock::new(0));
    let accountant = model::memory::Accountant::unlimited();
    let db = tsdb::Db::open(opening, env(&clock), accountant, &registry, Default::default()).unwrap();
    let h = labels("h", &[]);
    let mut appender = db.appender().unwrap();
    let handle = appender.series(&h).unwrap();
    let like = histogram(5);
    assert_eq!(appender.append_start_zero(handle, 2 * HOUR, HOUR, Some(&like)), Outcome::Accepted);
    appender.commit().unwrap();
    append_histogram(&db, &h, 2 * HOUR, histogram(5));
    let mut appender = db.appender().unwrap();
    let late = 2 * HOUR - 1000;
    assert_eq!(appender.append_start_zero(handle, 3 * HOUR, late, Some(&like)), Outcome::StartOutOfOrder);
    assert_eq!(appender.append_start_zero(handle, 3 * HOUR, late, None), Outcome::StartOutOfOrder);
    appender.commit().unwrap();
    let columns = &select(&db, everything(), TimeRange::ALL)[0].1;
    assert_eq!(columns.timestamps_ms, [HOUR, 2 * HOUR]);
    let request = model::SelectRequest::new(everything(), TimeRange::ALL);
    let mut headers = Vec::new();
    let each = &mut |_: &Labels, chunks: Vec<model::query::RawChunk>| {
        headers.extend(chunks.iter().map(|chunk| chunk.bytes[2]));
        true
    };
    model::query::ChunkQueryable::chunks(&*db, &request, each).unwrap();
    assert_eq!(headers[0], 0b1000_0000, "the chunk says that there was a reset before it");
    for family in registry.gather() {
        let refused = ["out_of_order_samples_total", "too_old_samples_total", "out_of_bound_samples_total"];
        if refused.iter().any(|name| family.name == format!("prometheus_tsdb_{name}")) {
            for metric in family.metrics {
                assert!(matches!(metric.value, model::metrics::MetricValue::Single(0.0)), "{}", family.name);
            }
        }
    }
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
