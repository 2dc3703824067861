//! Appenders, readers and upkeep at once: a reader sees a batch wholly or not at all.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use db_support::*;
use model::query::{LatestColumns, LatestValue, ReadOptions};
use model::{Appendable, Columns, Dictionary, FloatBatch, Queryable, SelectRequest, TimeRange, Timestamps};

const SERIES: usize = 300;
const BATCHES: i64 = 1500;

#[test]
fn a_batch_is_seen_wholly_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(options(dir.path()));
    let done = Arc::new(AtomicBool::new(false));
    let committed = Arc::new(AtomicI64::new(0));
    let writer = {
        let (db, done, committed) = (db.clone(), done.clone(), committed.clone());
        std::thread::spawn(move || {
            let all: Vec<_> = (0..SERIES).map(|n| labels("m", &[("n", &n.to_string())])).collect();
            let mut outcomes = Vec::new();
            for batch in 1..=BATCHES {
                let mut appender = db.appender().unwrap();
                let handles: Vec<_> = all.iter().map(|labels| appender.series(labels).unwrap()).collect();
                let values = vec![batch as f64; SERIES];
                let floats = FloatBatch {
                    series: &handles,
                    // Twenty hours in all, so that the head is cut meanwhile.
                    timestamps: Timestamps::Same(batch * 48_000),
                    start_timestamps: None,
                    values: &values,
                    in_order_only: false,
                };
                appender.append_floats(floats, &mut outcomes);
                assert!(outcomes.iter().all(|outcome| outcome.is_ok()), "{:?}", outcomes[0]);
                appender.commit().unwrap();
                committed.store(batch, Ordering::SeqCst);
            }
            done.store(true, Ordering::SeqCst);
        })
    };
    let upkeep = {
        let (db, done) = (db.clone(), done.clone());
        std::thread::spawn(move || {
            while !done.load(Ordering::SeqCst) {
                db.maintain().unwrap();
                std::thread::yield_now();
            }
        })
    };
    let mut looks = 0;
    while !done.load(Ordering::SeqCst) || looks == 0 {
        let before = committed.load(Ordering::SeqCst);
        let querier = db.querier(TimeRange::ALL).unwrap();
        let dictionary = Dictionary::new();
        let request = SelectRequest::new(everything(), TimeRange::ALL);
        let selected = querier.select(&request, &dictionary).unwrap();
        if selected.labels.is_empty() {
            assert_eq!(before, 0);
            continue;
        }
        let mut latest = LatestColumns::default();
        selected
            .reader
            .read_latest(0..selected.labels.len(), i64::MAX / 2, i64::MAX / 2, &mut latest)
            .unwrap();
        let values: Vec<i64> = latest
            .samples
            .iter()
            .flatten()
            .map(|sample| match sample.value {
                LatestValue::Float(v) => v as i64,
                LatestValue::Histogram(_) => -1,
            })
            .collect();
        let Some(&first) = values.first() else {
            assert_eq!(before, 0);
            continue;
        };
        assert!(values.iter().all(|value| *value == first), "all series stand at the same batch: {values:?}");
        assert_eq!(values.len(), SERIES);
        assert!(first >= before, "what was committed before the query is seen: {first} of {before}");
        let mut columns = Columns::default();
        for row in (0..SERIES).step_by(60) {
            selected.reader.read(row, TimeRange::ALL, ReadOptions::default(), &mut columns).unwrap();
            assert_eq!(columns.len() as i64, first, "row {row} is whole");
        }
        looks += 1;
    }
    writer.join().unwrap();
    upkeep.join().unwrap();
    println!("a_batch_is_seen_wholly_or_not_at_all: {looks} looks");
}
