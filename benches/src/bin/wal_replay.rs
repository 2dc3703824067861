//! How fast a start reads the log: `wal_replay [series] [scrapes] [threads]`.
//!
//! Series and values as in `head_memory`, all written through `Appender`; then
//! the process "dies" (the store is dropped, not closed) and the folder is opened
//! again, three times: as it is (full chunks lie in files and are passed over),
//! without head chunk files (every sample becomes a chunk again), and from the
//! snapshot that a clean stop leaves. Each time some samples are asked for.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::workload::{Workload, append_round, status_kb};
use model::memory::Accountant;
use model::metrics::Registry;
use model::query::ReadOptions;
use model::{Columns, Dictionary, Env, MatchOp, Matcher, Queryable, SelectRequest, TimeRange};
use testkit::TestClock;
use tsdb::{Db, DbOptions};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::ALLOCATOR;

const START_MS: i64 = 1_700_000_000_000;

fn open(dir: &Path, threads: usize, snapshot: bool) -> Arc<Db> {
    let options = DbOptions {
        dir: dir.to_path_buf(),
        replay_threads: threads,
        memory_snapshot_on_shutdown: snapshot,
        ..DbOptions::default()
    };
    let env = Env { fs: tsdb::real_fs(), clock: Arc::new(TestClock::new(START_MS)), seed: 1 };
    Db::open(options, env, Accountant::unlimited(), &Registry::new(), Arc::default())
        .expect("the folder opens")
}

fn write(dir: &Path, series: usize, scrapes: usize) {
    let db = open(dir, 1, false);
    let mut workload = Workload::new(series, 1000);
    for step in 0..scrapes {
        let now = START_MS + (step as i64 + 1) * 15_000;
        append_round(&db, &mut workload, now, true);
    }
}

/// Samples of the first target's first metric.
fn count(db: &Db) -> usize {
    let matchers = vec![
        Matcher::new(MatchOp::Equal, "__name__", "node_metric_0_total").expect("a matcher"),
        Matcher::new(MatchOp::Equal, "pod", "node-exporter-00000").expect("a matcher"),
    ];
    let querier = db.querier(TimeRange::ALL).expect("the database is open");
    let request = SelectRequest::new(matchers, TimeRange::ALL);
    let selected = querier.select(&request, &Dictionary::new()).expect("a selection");
    let mut columns = Columns::default();
    let mut samples = 0;
    for row in 0..selected.labels.len() {
        let options = ReadOptions::default();
        selected.reader.read(row, TimeRange::ALL, options, &mut columns).expect("samples");
        samples += columns.len();
    }
    samples
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn main() {
    allocator::keep_free_memory_shortly();
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().and_then(|a| a.parse().ok()).unwrap_or(default);
    let (series, scrapes, threads) = (number(200_000usize), number(240usize), number(2usize));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let dir = dir.path();
    write(dir, series, scrapes);
    let samples = (series * scrapes) as f64;
    let bytes: u64 = std::fs::read_dir(dir.join("wal"))
        .expect("a log")
        .map(|entry| entry.and_then(|entry| entry.metadata()).map_or(0, |meta| meta.len()))
        .sum();
    println!(
        "{series} series x {scrapes} scrapes, log {:.2} B/sample, {threads} threads",
        bytes as f64 / samples
    );
    let expected = series.min(20) * scrapes;
    let measure = |what: &str, snapshot: bool| {
        let (started, busy) = (Instant::now(), cpu());
        let db = open(dir, threads, snapshot);
        let (took, used) = (started.elapsed(), cpu() - busy);
        assert_eq!(count(&db), expected, "{what}: every sample is there");
        println!(
            "{what:32} {:7.3} s {:7.1} M samples/s  CPU {:6.1} ns/sample  RssAnon {} MB, peak {} MB",
            took.as_secs_f64(),
            samples / took.as_secs_f64() / 1e6,
            used.as_nanos() as f64 / samples,
            status_kb("RssAnon") / 1024,
            status_kb("VmHWM") / 1024,
        );
        db
    };
    drop(measure("after a crash", false));
    std::fs::remove_dir_all(dir.join("chunks_head")).expect("head chunk files");
    let db = measure("without head chunk files", true);
    let started = Instant::now();
    db.close().expect("a clean stop");
    println!("{:32} {:7.3} s", "clean stop with a snapshot", started.elapsed().as_secs_f64());
    drop(db);
    drop(measure("from the snapshot", true));
}
