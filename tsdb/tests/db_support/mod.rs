//! What the tests of the database share: a directory, a clock, short ways to
//! append and to read back.

#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests; each file uses some")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::memory::Accountant;
use model::metrics::Registry;
use model::query::{ReadOptions, SampleKind};
use model::{
    Appendable, Columns, Dictionary, Env, FloatBatch, Labels, MatchOp, Matcher, Outcome, Queryable,
    SelectRequest, SeriesHandle, TimeRange, Timestamps,
};
use testkit::TestClock;
use tsdb::{Db, DbOptions, ReplayCell};

/// An environment on the real file system with a clock of its own.
pub fn env(clock: &Arc<TestClock>) -> Env {
    Env { fs: tsdb::real_fs(), clock: clock.clone(), seed: 1 }
}

/// Options for a directory.
pub fn options(dir: &Path) -> DbOptions {
    DbOptions { dir: dir.to_path_buf(), ..DbOptions::default() }
}

/// Opens a database.
pub fn open(options: DbOptions) -> Arc<Db> {
    open_at(options, &Arc::new(TestClock::new(0)))
}

/// Opens a database on a clock.
pub fn open_at(options: DbOptions, clock: &Arc<TestClock>) -> Arc<Db> {
    Db::open(options, env(clock), Accountant::unlimited(), &Registry::new(), Arc::new(ReplayCell::new()))
        .unwrap()
}

/// A label set from `name{a="b"}`-like pairs.
pub fn labels(name: &str, pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied().chain([("__name__", name)]))
}

/// Appends one float in a batch of its own.
pub fn append(db: &Db, series: &Labels, t: i64, v: f64) -> Outcome {
    append_many(db, &[(series.clone(), t, v)])[0]
}

/// Appends floats in one batch.
pub fn append_many(db: &Db, samples: &[(Labels, i64, f64)]) -> Vec<Outcome> {
    let mut appender = db.appender().unwrap();
    let handles: Vec<SeriesHandle> =
        samples.iter().map(|(labels, _, _)| appender.series(labels).unwrap()).collect();
    let times: Vec<i64> = samples.iter().map(|sample| sample.1).collect();
    let values: Vec<f64> = samples.iter().map(|sample| sample.2).collect();
    let mut outcomes = Vec::new();
    let batch = FloatBatch {
        series: &handles,
        timestamps: Timestamps::Each(&times),
        start_timestamps: None,
        values: &values,
        in_order_only: false,
    };
    appender.append_floats(batch, &mut outcomes);
    appender.commit().unwrap();
    outcomes
}

/// Any series.
pub fn everything() -> Vec<Matcher> {
    vec![Matcher::new(MatchOp::Regex, "__name__", ".*").unwrap()]
}

/// A matcher for equality.
pub fn equal(name: &str, value: &str) -> Matcher {
    Matcher::new(MatchOp::Equal, name, value).unwrap()
}

/// The columns of all series that match, in label order.
pub fn select(db: &Db, matchers: Vec<Matcher>, range: TimeRange) -> Vec<(Labels, Columns)> {
    let querier = db.querier(range).unwrap();
    let dictionary = Dictionary::new();
    let selected = querier.select(&SelectRequest::new(matchers, range), &dictionary).unwrap();
    (0..selected.labels.len())
        .map(|row| {
            let mut columns = Columns::default();
            let options = ReadOptions { start_timestamps: true, ..ReadOptions::default() };
            selected.reader.read(row, range, options, &mut columns).unwrap();
            (dictionary.labels(selected.labels.row(row)), columns)
        })
        .collect()
}

/// Floats by series: (time, bits of the value).
pub fn floats(db: &Db, range: TimeRange) -> BTreeMap<Labels, Vec<(i64, u64)>> {
    let mut all = BTreeMap::new();
    for (labels, columns) in select(db, everything(), range) {
        assert!(columns.runs.iter().all(|run| run.kind == SampleKind::Float));
        let samples: Vec<(i64, u64)> =
            columns.timestamps_ms.iter().zip(&columns.floats).map(|(&t, v)| (t, v.to_bits())).collect();
        if !samples.is_empty() {
            assert!(all.insert(labels, samples).is_none(), "a series comes once");
        }
    }
    all
}
