//! Following the log, background threads, metrics.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use std::sync::Arc;
use std::time::Duration;

use db_support::*;
use model::memory::Accountant;
use model::metrics::Registry;
use model::wal_tail::{LogRecord, WalTail};
use tsdb::Db;

#[test]
fn a_follower_reads_series_before_samples_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(options(dir.path()));
    let a = labels("a", &[]);
    append(&db, &a, 1000, 1.0);
    let mut tail = db.tail(None).unwrap();
    let (first, _) = tail.next(Duration::ZERO).unwrap().unwrap();
    assert!(matches!(&first, LogRecord::Series(series) if series[0].1 == a));
    let (second, position) = tail.next(Duration::ZERO).unwrap().unwrap();
    assert!(matches!(&second, LogRecord::Floats(samples) if samples[0].timestamp_ms == 1000));
    assert!(tail.next(Duration::ZERO).unwrap().is_none());
    // A commit wakes who waits.
    let waiting = std::thread::spawn(move || tail.next(Duration::from_secs(20)).unwrap().unwrap());
    append(&db, &a, 2000, 2.0);
    let (third, _) = waiting.join().unwrap();
    assert!(matches!(&third, LogRecord::Floats(samples) if samples[0].value == 2.0));
    let mut again = db.tail(Some(position)).unwrap();
    let (third, _) = again.next(Duration::ZERO).unwrap().unwrap();
    assert!(matches!(&third, LogRecord::Floats(samples) if samples[0].timestamp_ms == 2000));
}

#[test]
fn a_held_segment_stays_and_a_new_follower_starts_at_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(options(dir.path()));
    let a = labels("a", &[]);
    db.hold("queue", Some(0));
    for n in 0..40 {
        append(&db, &a, n * 1_800_000, n as f64);
        db.maintain().unwrap();
    }
    assert!(dir.path().join("wal/00000000").exists());
    db.hold("queue", None);
    for n in 40..80 {
        append(&db, &a, n * 1_800_000, n as f64);
        db.maintain().unwrap();
    }
    assert!(!dir.path().join("wal/00000000").exists());
    let mut tail = db.tail(None).unwrap();
    let (first, _) = tail.next(Duration::ZERO).unwrap().unwrap();
    assert!(matches!(&first, LogRecord::Series(series) if series[0].1 == a));
}

#[test]
fn metrics_have_upstreams_names_and_the_account_adds_up() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    let accountant = Accountant::unlimited();
    let clock = Arc::new(testkit::TestClock::new(0));
    let db =
        Db::open(options(dir.path()), env(&clock), accountant.clone(), &registry, Arc::default()).unwrap();
    db.start_background().unwrap();
    append(&db, &labels("a", &[]), 1000, 1.0);
    db.refresh_accounts();
    let families = registry.gather();
    let value = |name: &str| {
        let family = families.iter().find(|family| family.name == name);
        match &family.unwrap_or_else(|| panic!("{name} is missing")).metrics[0].value {
            model::metrics::MetricValue::Single(value) => *value,
            other => panic!("{name}: {other:?}"),
        }
    };
    assert_eq!(value("prometheus_tsdb_head_series"), 1.0);
    assert_eq!(value("prometheus_tsdb_head_samples_appended_total"), 1.0);
    assert_eq!(value("prometheus_tsdb_clean_start"), 1.0);
    assert_eq!(value("prometheus_tsdb_head_max_time"), 1000.0);
    assert_eq!(value("prometheus_tsdb_wal_corruptions_total"), 0.0);
    let owners = accountant.by_owner();
    for name in ["head_pages", "head_labels", "head_postings", "head_open_chunks", "head_lookup"] {
        assert!(owners.iter().any(|(owner, bytes)| *owner == name && *bytes > 0), "{name}");
    }
    db.close().unwrap();
    assert!(model::Appendable::appender(&*db).is_err(), "nothing goes into a closed database");
}
