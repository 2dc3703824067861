//! Blocks in daily life: dropped in, damaged, deleted from, too old, copied.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;
mod upkeep_support;

use std::path::Path;
use std::sync::Arc;

use db_support::{append, equal, everything, floats, labels, open, options};
use model::TimeRange;
use model::admin::{TsdbAdmin, TsdbStatus};
use model::memory::Accountant;
use model::metrics::Registry;
use tsdb::{Db, DbOptions, ReplayCell};
use ulid::Ulid;
use upkeep_support::{HOUR, metas, series, simple_block, spans, union};

const ALL: TimeRange = TimeRange::ALL;

fn quiet(dir: &Path) -> DbOptions {
    let mut options = DbOptions { compaction: false, ..options(dir) };
    options.runtime.retention_time = None;
    options
}

fn block_dir(dir: &Path, ulid: u128) -> std::path::PathBuf {
    dir.join(Ulid::from(ulid).to_string())
}

fn metric(registry: &Registry, name: &str) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name == name).expect(name);
    match &family.metrics[0].value {
        model::metrics::MetricValue::Single(value) => *value,
        other => panic!("{other:?} is no single value"),
    }
}

fn open_counted(options: DbOptions) -> (Arc<Db>, Registry) {
    let registry = Registry::new();
    let env = db_support::env(&Arc::new(testkit::TestClock::new(0)));
    let db = Db::open(options, env, Accountant::unlimited(), &registry, Arc::new(ReplayCell::new())).unwrap();
    (db, registry)
}

#[test]
fn a_block_dropped_in_by_hand_is_found_and_one_taken_away_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let first = simple_block(dir.path(), 1, 0, 2, 2);
    let db = open(quiet(dir.path()));
    assert_eq!(floats(&db, ALL), union([&first]));
    let second = simple_block(dir.path(), 2, 2, 4, 2);
    db.maintain().unwrap();
    assert_eq!(floats(&db, ALL), union([&first, &second]));
    assert_eq!(db.blocks().unwrap().len(), 2);
    std::fs::remove_dir_all(block_dir(dir.path(), 1)).unwrap();
    db.maintain().unwrap();
    assert_eq!(floats(&db, ALL), union([&second]));
}

#[test]
fn leftovers_of_a_crash_are_removed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = simple_block(dir.path(), 1, 0, 2, 1);
    let name = Ulid::from(9u128);
    let leftovers =
        [".tmp-for-creation", ".tmp-for-deletion", ".tmp"].map(|end| dir.path().join(format!("{name}{end}")));
    for leftover in &leftovers {
        std::fs::create_dir_all(leftover.join("chunks")).unwrap();
        std::fs::write(leftover.join("index"), b"half").unwrap();
    }
    std::fs::create_dir(dir.path().join("something.tmp")).unwrap();
    let db = open(quiet(dir.path()));
    assert!(leftovers.iter().all(|leftover| !leftover.exists()));
    assert!(dir.path().join("something.tmp").exists(), "what is not ours stays");
    assert_eq!(floats(&db, ALL), union([&data]));
}

#[test]
fn damaged_blocks_are_left_out_and_everything_else_answers() {
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
    let damages: &[Damage<'_>] = &[
        ("an empty meta.json", &|block| std::fs::write(block.join("meta.json"), b"").unwrap()),
        ("no meta.json", &|block| std::fs::remove_file(block.join("meta.json")).unwrap()),
        ("another version", &|block| {
            std::fs::write(
                block.join("meta.json"),
                br#"{"ulid":"00000000000000000000000002","minTime":0,"maxTime":1,"version":3}"#,
            )
            .unwrap()
        }),
        ("a cut index", &|block| {
            let bytes = std::fs::read(block.join("index")).unwrap();
            std::fs::write(block.join("index"), &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("a flipped bit in the index's symbols", &|block| {
            let mut bytes = std::fs::read(block.join("index")).unwrap();
            bytes[15] ^= 1;
            std::fs::write(block.join("index"), bytes).unwrap();
        }),
        ("no chunks", &|block| std::fs::remove_dir_all(block.join("chunks")).unwrap()),
        ("damaged tombstones", &|block| std::fs::write(block.join("tombstones"), b"xxxxxxxxxx").unwrap()),
    ];
    for (what, damage) in damages {
        let dir = tempfile::tempdir().unwrap();
        let blocks: Vec<_> =
            (0..3).map(|i| simple_block(dir.path(), i as u128 + 1, i * 2, i * 2 + 2, 2)).collect();
        let damaged = block_dir(dir.path(), 2);
        damage(&damaged);
        let (db, registry) = open_counted(quiet(dir.path()));
        assert_eq!(floats(&db, ALL), union([&blocks[0], &blocks[2]]), "{what}");
        assert!(damaged.exists(), "{what}: nothing that cannot be read is removed");
        let report = db.damaged_blocks();
        assert_eq!(report.len(), 1, "{what}");
        assert_eq!(report[0].0, damaged, "{what}");
        assert!(report[0].1.contains(&damaged.display().to_string()), "{what}: {}", report[0].1);
        assert_eq!(metric(&registry, "prometheus_tsdb_reloads_failures_total"), 1.0, "{what}");
        db.maintain().unwrap();
        assert_eq!(metric(&registry, "prometheus_tsdb_reloads_failures_total"), 2.0, "{what}");
        append(&db, &series(0), 7 * HOUR, 1.0);
        assert_eq!(floats(&db, TimeRange::new(7 * HOUR, 7 * HOUR)).len(), 1, "{what}: appends go on");
    }
}

#[test]
fn a_damaged_block_that_was_replaced_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let data = simple_block(dir.path(), 1, 0, 2, 1);
    let child = upkeep_support::write_block(
        dir.path(),
        5,
        model::BlockRange::new(0, 2 * HOUR),
        &data,
        model::query::ChunkEncoding::Xor,
        |meta| meta.compaction.parents = vec![metas(dir.path())[0].desc()],
    );
    std::fs::write(block_dir(dir.path(), 1).join("index"), b"").unwrap();
    let db = open(quiet(dir.path()));
    assert!(!block_dir(dir.path(), 1).exists());
    assert!(child.exists());
    assert!(db.damaged_blocks().is_empty());
    assert_eq!(floats(&db, ALL), union([&data]));
}

#[test]
fn a_block_that_is_put_right_answers_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = simple_block(dir.path(), 1, 0, 2, 1);
    let index = block_dir(dir.path(), 1).join("index");
    let bytes = std::fs::read(&index).unwrap();
    std::fs::write(&index, b"").unwrap();
    let db = open(quiet(dir.path()));
    assert!(floats(&db, ALL).is_empty());
    std::fs::write(&index, bytes).unwrap();
    db.maintain().unwrap();
    assert_eq!(floats(&db, ALL), union([&data]));
    assert!(db.damaged_blocks().is_empty());
}

#[test]
fn what_was_deleted_stays_deleted_and_later_samples_show() {
    let dir = tempfile::tempdir().unwrap();
    let data = simple_block(dir.path(), 1, 0, 2, 3);
    let db = open(quiet(dir.path()));
    for minute in 0..10 {
        append(&db, &series(1), 2 * HOUR + minute * 60_000, minute as f64);
    }
    let whole = floats(&db, ALL);
    let gone = TimeRange::new(HOUR, i64::MAX);
    db.delete_series(gone, &[vec![equal("n", "1")], vec![equal("n", "2")]]).unwrap();
    let mut want = whole.clone();
    for n in [1, 2] {
        want.get_mut(&series(n)).unwrap().retain(|(t, _)| *t < HOUR);
    }
    assert_eq!(floats(&db, ALL), want);
    append(&db, &series(1), 3 * HOUR, 7.0);
    want.get_mut(&series(1)).unwrap().push((3 * HOUR, 7f64.to_bits()));
    assert_eq!(floats(&db, ALL), want, "what comes later is not deleted");
    drop(db);
    let db = open(quiet(dir.path()));
    assert_eq!(floats(&db, ALL), want, "after a restart");
    assert_eq!(metas(dir.path())[0].stats.num_tombstones, 2);
    db.clean_tombstones().unwrap();
    assert_eq!(floats(&db, ALL), want, "after the clean-up");
    let meta = &metas(dir.path())[0];
    assert_eq!(meta.stats.num_tombstones, 0);
    assert_eq!(meta.stats.num_samples, data.len() as u64 * 120 - 2 * 60);
    assert_eq!((meta.min_time, meta.max_time), (0, 2 * HOUR));
    assert_eq!((meta.compaction.level, meta.compaction.parents.len()), (1, 1));
}

#[test]
fn a_block_of_which_all_was_deleted_goes_with_the_clean_up() {
    let dir = tempfile::tempdir().unwrap();
    simple_block(dir.path(), 1, 0, 2, 3);
    let kept = simple_block(dir.path(), 2, 2, 4, 3);
    let db = open(quiet(dir.path()));
    db.delete_series(TimeRange::new(0, 2 * HOUR - 1), &[everything()]).unwrap();
    assert_eq!(floats(&db, ALL), union([&kept]));
    assert_eq!(spans(dir.path()), [(0, 2), (2, 4)]);
    db.clean_tombstones().unwrap();
    assert_eq!(spans(dir.path()), [(2, 4)]);
    assert_eq!(floats(&db, ALL), union([&kept]));
}

#[test]
fn deleting_all_of_a_settled_block_compacts_it_away() {
    let dir = tempfile::tempdir().unwrap();
    simple_block(dir.path(), 1, 0, 2, 3);
    let kept = [simple_block(dir.path(), 2, 2, 4, 3), simple_block(dir.path(), 3, 4, 6, 3)];
    let db = open(DbOptions { compaction: true, ..quiet(dir.path()) });
    // The block in the middle is the newest that counts.
    db.delete_series(TimeRange::new(0, 4 * HOUR - 1), &[everything()]).unwrap();
    for _ in 0..3 {
        db.maintain().unwrap();
    }
    assert_eq!(spans(dir.path()), [(4, 6)]);
    assert_eq!(floats(&db, ALL), union([&kept[1]]));
}

#[test]
fn a_snapshot_opens_as_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let data = simple_block(dir.path(), 1, 0, 2, 3);
    let db = open(quiet(dir.path()));
    for minute in 0..10 {
        append(&db, &series(1), 2 * HOUR + minute * 60_000, minute as f64);
        append(&db, &labels("new", &[]), 2 * HOUR + minute * 60_000, 1.0);
    }
    db.delete_series(TimeRange::new(0, 60_000), &[vec![equal("n", "0")]]).unwrap();
    let want = floats(&db, ALL);
    let name = db.snapshot(false).unwrap();
    assert!(name.starts_with("19700101T000000Z-"), "{name}");
    let copy = dir.path().join("snapshots").join(&name);
    // What happens to the database later does not reach the snapshot.
    db.delete_series(ALL, &[everything()]).unwrap();
    db.clean_tombstones().unwrap();
    assert!(floats(&db, ALL).is_empty());
    let opened = open(quiet(&copy));
    assert_eq!(floats(&opened, ALL), want);
    assert_eq!(spans(&copy).len(), 2);

    let other = tempfile::tempdir().unwrap();
    simple_block(other.path(), 1, 0, 2, 3);
    let db = open(quiet(other.path()));
    append(&db, &series(1), 3 * HOUR, 1.0);
    let name = db.snapshot(true).unwrap();
    let opened = open(quiet(&other.path().join("snapshots").join(name)));
    assert_eq!(floats(&opened, ALL), union([&data]), "without the head");
}

#[test]
fn retention_by_size_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..4 {
        simple_block(dir.path(), i as u128 + 1, i * 2, i * 2 + 2, 20);
    }
    let size = |path: &Path| -> u64 {
        let sum = |dir: &Path| -> u64 {
            std::fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().metadata().unwrap())
                .filter(|metadata| metadata.is_file())
                .map(|metadata| metadata.len())
                .sum()
        };
        sum(path) + sum(&path.join("chunks"))
    };
    let one = size(&block_dir(dir.path(), 4));
    let mut options = quiet(dir.path());
    options.runtime.retention_bytes = Some(one * 5 / 2);
    let (db, registry) = open_counted(options);
    assert_eq!(spans(dir.path()), [(4, 6), (6, 8)]);
    assert_eq!(metric(&registry, "prometheus_tsdb_size_retentions_total"), 1.0);
    assert_eq!(metric(&registry, "prometheus_tsdb_time_retentions_total"), 0.0);
    drop(db);
    let mut options = quiet(dir.path());
    options.runtime.retention_bytes = Some(1 << 50);
    options.runtime.retention_percentage = Some(1e-12);
    let (_db, _) = open_counted(options);
    assert!(spans(dir.path()).is_empty(), "a share wins over a size");
}

#[test]
fn a_query_under_way_keeps_the_blocks_that_it_found() {
    let dir = tempfile::tempdir().unwrap();
    let data = simple_block(dir.path(), 1, 0, 2, 2);
    simple_block(dir.path(), 2, 2, 4, 2);
    let db = open(quiet(dir.path()));
    let querier = model::Queryable::querier(&*db, TimeRange::new(0, 2 * HOUR - 1)).unwrap();
    let dictionary = model::Dictionary::new();
    let request = model::SelectRequest::new(everything(), TimeRange::new(0, 2 * HOUR - 1));
    let selected = model::Querier::select(&*querier, &request, &dictionary).unwrap();
    db.delete_series(TimeRange::new(0, 2 * HOUR - 1), &[everything()]).unwrap();
    db.clean_tombstones().unwrap();
    assert_eq!(spans(dir.path()), [(2, 4)]);
    let mut columns = model::Columns::default();
    selected.reader.read(0, request.range, Default::default(), &mut columns).unwrap();
    assert!(columns.len() <= data[&series(0)].len(), "it still answers");
}
