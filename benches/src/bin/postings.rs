//! Postings intersected and subtracted: `postings [series]`.
//!
//! Series as in `head_memory`, once in the head and once in a block; each set of
//! matchers is asked for again and again, and what it finds is counted first.
//! Selecting includes the labels of what was found, so the sets find little.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use benches::workload::{Workload, append_round};
use model::memory::Accountant;
use model::metrics::Registry;
use model::{Dictionary, Env, MatchOp, Matcher, Queryable, SelectRequest, TimeRange};
use testkit::TestClock;
use tsdb::{Db, DbOptions};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::ALLOCATOR;

const START_MS: i64 = 1_699_999_200_000;

fn open(dir: &Path) -> Arc<Db> {
    let mut options = DbOptions { dir: dir.to_path_buf(), ..DbOptions::default() };
    options.runtime.retention_time = None;
    let env = Env { fs: tsdb::real_fs(), clock: Arc::new(TestClock::new(START_MS)), seed: 1 };
    Db::open(options, env, Accountant::unlimited(), &Registry::new(), Arc::default())
        .expect("the folder opens")
}

fn found(db: &Db, matchers: &[Matcher], range: TimeRange) -> usize {
    let querier = db.querier(range).expect("the database is open");
    let selected = querier.select(&SelectRequest::new(matchers.to_vec(), range), &Dictionary::new());
    selected.expect("a selection").labels.len()
}

fn main() {
    allocator::keep_free_memory_shortly();
    let series: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let db = open(dir.path());
    let mut workload = Workload::new(series, 1000);
    append_round(&db, &mut workload, START_MS, false);
    append_round(&db, &mut workload, START_MS + 4 * 3_600_000, false);
    db.maintain().expect("upkeep works");
    let of_head = TimeRange::new(START_MS + 3 * 3_600_000, START_MS + 5 * 3_600_000);
    let of_block = TimeRange::new(START_MS, START_MS + 1000);
    let matcher = |name: &str, op, value: &str| Matcher::new(op, name, value).expect("a matcher");
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let one = || matcher("pod", Equal, "node-exporter-00003");
    let sets: Vec<(&str, usize, Vec<Matcher>)> = vec![
        (
            "three large lists and a small one",
            50,
            vec![
                matcher("job", Equal, "node-exporter"),
                matcher("mode", Equal, "idle"),
                matcher("device", Equal, "dev2"),
                one(),
            ],
        ),
        (
            "three large lists, nothing in common",
            0,
            vec![
                matcher("mode", Equal, "idle"),
                matcher("device", Equal, "dev1"),
                matcher("region", Equal, "eu-west-1"),
            ],
        ),
        (
            "a small list less two large ones",
            50,
            vec![one(), matcher("mode", NotEqual, "idle"), matcher("device", NotRegex, "dev[0-9]|dev1[0-8]")],
        ),
        (
            "alternatives of a name, a small list",
            60,
            vec![matcher("__name__", Regex, "node_metric_(1|2|3)_total"), one()],
        ),
        (
            "a prefix over all values, a small list",
            1000,
            vec![matcher("pod", Regex, "node-exporter-00003.*")],
        ),
    ];
    println!("{series} series");
    for (what, expected, matchers) in &sets {
        let mut line = format!("{what:42}");
        for (place, range) in [("head", of_head), ("block", of_block)] {
            let n = found(&db, matchers, range);
            if series >= 4000 {
                assert_eq!(n, *expected, "{what} in the {place}");
            }
            let rounds = 50;
            let started = Instant::now();
            for _ in 0..rounds {
                assert_eq!(found(&db, matchers, range), n);
            }
            let us = started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds);
            line += &format!("  {place} {us:9.1} us ({n} series)");
        }
        println!("{line}");
    }
}
