//! Deletion, cleaning, snapshots, label queries.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use db_support::*;
use model::admin::{TsdbAdmin, TsdbStatus};
use model::query::{ChunkQueryable, LabelQueryable};
use model::{Labels, MatchOp, Matcher, SelectRequest, TimeRange};

const HOUR: i64 = 3_600_000;
const START: i64 = 1_699_999_200_000;

fn opening(dir: &std::path::Path) -> tsdb::DbOptions {
    let mut options = options(dir);
    options.runtime.retention_time = None;
    options
}

/// Ten hours of two series, most of it in blocks.
fn filled(dir: &std::path::Path) -> (std::sync::Arc<tsdb::Db>, Labels, Labels) {
    let db = open(opening(dir));
    let (a, b) = (labels("a", &[("job", "x")]), labels("b", &[("job", "y")]));
    for n in 0..600 {
        append_many(&db, &[(a.clone(), START + n * 60_000, n as f64), (b.clone(), START + n * 60_000, 1.0)]);
        db.maintain().unwrap();
    }
    assert!(db.blocks().unwrap().len() >= 3);
    (db, a, b)
}

#[test]
fn what_was_deleted_stays_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (db, a, b) = filled(dir.path());
    let from = START + HOUR;
    let to = START + 9 * HOUR + HOUR / 2;
    db.delete_series(TimeRange::new(from, to), &[vec![equal("__name__", "a")]]).unwrap();
    let check = |db: &tsdb::Db| {
        let have = floats(db, TimeRange::ALL);
        assert!(have[&a].iter().all(|(t, _)| *t < from || *t > to));
        assert_eq!(have[&a].len(), 60 + 29);
        assert_eq!(have[&b].len(), 600);
    };
    check(&db);
    db.close().unwrap();
    let db = open(opening(dir.path()));
    check(&db);
    db.clean_tombstones().unwrap();
    check(&db);
    for meta in db.blocks().unwrap() {
        assert!(meta["stats"]["numTombstones"].is_null(), "{meta}");
    }
    // Later samples of the series are not touched.
    append(&db, &a, START + 600 * 60_000, 7.0);
    assert_eq!(floats(&db, TimeRange::ALL)[&a].last().unwrap().1, 7f64.to_bits());
}

#[test]
fn a_snapshot_opens_as_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let (db, _, _) = filled(dir.path());
    let name = db.snapshot(false).unwrap();
    let copy = open(opening(&dir.path().join("snapshots").join(&name)));
    assert_eq!(floats(&copy, TimeRange::ALL), floats(&db, TimeRange::ALL));
    let without_head = db.snapshot(true).unwrap();
    assert_ne!(name, without_head);
    let copy = open(opening(&dir.path().join("snapshots").join(&without_head)));
    assert!(floats(&copy, TimeRange::ALL).values().all(|samples| samples.len() < 600));
}

#[test]
fn names_and_values_come_from_blocks_and_head() {
    let dir = tempfile::tempdir().unwrap();
    let (db, a, _) = filled(dir.path());
    append(&db, &labels("c", &[("only", "here")]), START + 600 * 60_000, 1.0);
    let names = db.label_names(TimeRange::ALL, &[], 0).unwrap().values;
    assert_eq!(names, ["__name__", "job", "only"]);
    assert_eq!(db.label_values("__name__", TimeRange::ALL, &[], 0).unwrap().values, ["a", "b", "c"]);
    let sets = [vec![equal("job", "x")], vec![equal("only", "here")]];
    assert_eq!(db.label_values("__name__", TimeRange::ALL, &sets, 0).unwrap().values, ["a", "c"]);
    assert_eq!(db.label_names(TimeRange::ALL, &sets, 2).unwrap().values, ["__name__", "job"]);
    assert!(db.label_names(TimeRange::ALL, &sets, 2).unwrap().truncated);
    // Absence is what an empty value matches.
    let matching = |op, name: &str, value: &str| {
        let matcher = Matcher::new(op, name, value).unwrap();
        let found = select(&db, vec![equal_any(), matcher], TimeRange::ALL);
        found.into_iter().map(|(labels, _)| labels.metric_name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(matching(MatchOp::Equal, "only", ""), ["a", "b"]);
    assert_eq!(matching(MatchOp::NotEqual, "only", ""), ["c"]);
    assert_eq!(matching(MatchOp::NotRegex, "job", ".+"), ["c"]);
    assert_eq!(matching(MatchOp::Regex, "job", "x|"), ["a", "c"]);
    assert_eq!(matching(MatchOp::NotEqual, "job", "x"), ["b", "c"]);
    assert_eq!(a.metric_name(), "a");
}

fn equal_any() -> Matcher {
    Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap()
}

#[test]
fn whole_chunks_hold_every_sample_once() {
    let dir = tempfile::tempdir().unwrap();
    let (db, _, _) = filled(dir.path());
    let request = SelectRequest::new(vec![equal("__name__", "a")], TimeRange::ALL);
    let mut times = Vec::new();
    db.chunks(&request, &mut |_, chunks| {
        for chunk in chunks {
            let mut columns = model::Columns::default();
            tsdb::chunk::decode(
                chunk.encoding,
                &chunk.bytes,
                TimeRange::ALL,
                Default::default(),
                &mut columns,
            )
            .unwrap();
            assert_eq!(columns.timestamps_ms.first(), Some(&chunk.min_ms));
            assert_eq!(columns.timestamps_ms.last(), Some(&chunk.max_ms));
            times.extend(columns.timestamps_ms);
        }
        true
    })
    .unwrap();
    assert_eq!(times, (0..600).map(|n| START + n * 60_000).collect::<Vec<_>>());
}
