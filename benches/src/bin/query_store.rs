//! What the queries of a board cost on a real store, head and blocks:
//! `query_store SERIES [HOURS] [THREADS]`, or `query_store --dir DIR ...` to keep the
//! data and use it again (also by other servers).
//!
//! Printed for each: the best time of some runs, CPU time a run, the most memory
//! that the process had beyond what it had at rest, and what was read.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use benches::query_data::{self, START_MS};
use benches::query_set::BOARD;
use benches::workload::status_kb;
use promql::stats::ExplainNode;
use promql::value::Value;
use promql::{Engine, EngineOptions, Features, Query};
use testkit::TestClock;
use tsdb::Db;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::ALLOCATOR;

/// Watches the process' memory while something runs.
struct Peak {
    stop: Arc<AtomicBool>,
    peak_kb: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Peak {
    fn watch() -> Peak {
        let (stop, peak_kb) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, peak) = (stop.clone(), peak_kb.clone());
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                peak.fetch_max(status_kb("RssAnon"), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Peak { stop, peak_kb, thread }
    }

    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watcher only sleeps");
        self.peak_kb.load(Ordering::Relaxed)
    }
}

/// CPU seconds of the process, its threads included.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = |n: usize| after.split(' ').nth(n).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn series(value: &Value) -> usize {
    match value {
        Value::Vector(vector) => vector.len(),
        Value::Matrix(matrix) => matrix.len(),
        _ => 1,
    }
}

fn read(node: &ExplainNode) -> (u64, u64) {
    node.children.iter().map(read).fold((node.samples, node.chunks), |a, b| (a.0 + b.0, a.1 + b.1))
}

fn run(engine: &Engine, db: &Arc<Db>, query: &Query) -> promql::Output {
    let output = if query.step_ms == 0 { engine.instant(&**db, query) } else { engine.range(&**db, query) };
    output.unwrap_or_else(|error| panic!("{}: {error}", query.text))
}

fn measure(engine: &Engine, db: &Arc<Db>, query: &Query, seconds: f64) -> f64 {
    std::thread::sleep(Duration::from_millis(30));
    let rest = status_kb("RssAnon");
    let peak = Peak::watch();
    let output = run(engine, db, query);
    let peak = peak.finish().saturating_sub(rest);
    let (series, (samples, chunks)) = (series(&output.value), read(&output.explain));
    drop(output);
    let (mut best, mut runs) = (f64::INFINITY, 0);
    let (started, cpu) = (Instant::now(), cpu_seconds());
    while runs < 3 || (started.elapsed().as_secs_f64() < seconds && runs < 200) {
        let start = Instant::now();
        run(engine, db, query);
        best = best.min(start.elapsed().as_secs_f64() * 1000.0);
        runs += 1;
    }
    let cpu = (cpu_seconds() - cpu) * 1000.0 / f64::from(runs);
    let kind = if query.step_ms == 0 { "instant".to_owned() } else { format!("{} steps", steps(query)) };
    println!(
        "| `{}` | {kind} | {best:.1} | {cpu:.1} | {:.1} | {series} | {samples} | {chunks} |",
        query.text,
        peak as f64 / 1024.0
    );
    best
}

/// The machine's clock, and how often it was read.
struct RealClock {
    started: Instant,
    reads: AtomicU64,
}

impl RealClock {
    fn start() -> RealClock {
        RealClock { started: Instant::now(), reads: AtomicU64::new(0) }
    }

    /// What reading it costs, in ns.
    fn ns_a_read(&self) -> f64 {
        const READS: u32 = 1_000_000;
        let started = Instant::now();
        for _ in 0..READS {
            std::hint::black_box(model::Clock::monotonic(self));
        }
        started.elapsed().as_secs_f64() * 1e9 / f64::from(READS)
    }
}

impl model::Clock for RealClock {
    fn now_ms(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.started.elapsed()
    }
}

/// What measuring every operator costs: the same query with and without a clock, by
/// turns; the median over many pairs says it where single runs differ by more than
/// what is looked for. Beside it, what the reads of the clock cost by their number.
fn cost_of_measuring(engine: &Engine, db: &Arc<Db>, query: &Query) {
    let clock = Arc::new(RealClock::start());
    let measured = Query { clock: Some(clock.clone()), ..query.clone() };
    run(engine, db, &measured);
    let reads = clock.reads.load(Ordering::Relaxed);
    // Short queries are asked so many times for one figure.
    let started = Instant::now();
    run(engine, db, query);
    let runs = (0.25 / started.elapsed().as_secs_f64()).ceil().max(1.0) as usize;
    let of = |query: &Query| {
        let start = Instant::now();
        (0..runs).for_each(|_| drop(run(engine, db, query)));
        start.elapsed().as_secs_f64()
    };
    let (mut ratios, mut shortest) = (Vec::new(), f64::INFINITY);
    for pair in 0..41 {
        let (with, without) = if pair % 2 == 0 {
            let with = of(&measured);
            (with, of(query))
        } else {
            let without = of(query);
            (of(&measured), without)
        };
        ratios.push((with / without - 1.0) * 100.0);
        shortest = shortest.min(without / runs as f64);
    }
    ratios.sort_by(f64::total_cmp);
    let at = |share: usize| ratios[ratios.len() * share / 4];
    println!(
        "measured: `{}` costs {:+.2} % (half of {} pairs between {:+.2} and {:+.2} %)",
        query.text,
        at(2),
        ratios.len(),
        at(1),
        at(3)
    );
    let ns = clock.ns_a_read();
    println!(
        "          {reads} reads of the clock, {ns:.0} ns each: {:.3} % of its {:.1} ms at best",
        reads as f64 * ns / (shortest * 1e9) * 100.0,
        shortest * 1000.0
    );
}

/// How long a query goes on after its client has left.
fn time_to_stop(engine: &Engine, db: &Arc<Db>, query: &Query) {
    let mut worst = Duration::ZERO;
    for after_ms in [5, 20, 50, 100] {
        let cancel = model::CancelToken::new();
        let query = Query { cancel: cancel.clone(), ..query.clone() };
        let leaving = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(after_ms));
            let left = Instant::now();
            cancel.cancel(model::query::CancelReason::Canceled);
            left
        });
        let outcome =
            if query.step_ms == 0 { engine.instant(&**db, &query) } else { engine.range(&**db, &query) };
        let ended = Instant::now();
        let left = leaving.join().expect("it only sleeps");
        if outcome.is_err() {
            worst = worst.max(ended.saturating_duration_since(left));
        }
    }
    println!(
        "stopped: `{}` {:.1} ms after its client left, at worst",
        query.text,
        worst.as_secs_f64() * 1000.0
    );
}

fn steps(query: &Query) -> i64 {
    (query.end_ms - query.start_ms) / query.step_ms + 1
}

fn main() {
    allocator::keep_free_memory_shortly();
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut kept = None;
    let mut only = None;
    while arguments.first().is_some_and(|a| a.starts_with("--")) {
        let (option, value) = (arguments.remove(0), arguments.remove(0));
        match option.as_str() {
            "--dir" => kept = Some(PathBuf::from(value)),
            "--only" => only = Some(value),
            other => panic!("unknown option {other}"),
        }
    }
    let number = |i: usize, default: f64| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (count, hours, threads) = (number(0, 20_000.0) as usize, number(1, 4.5), number(2, 2.0) as usize);
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let dir = kept.unwrap_or_else(|| temporary.path().to_path_buf());
    if !dir.join("wal").exists() {
        let start = Instant::now();
        query_data::make(&dir, count, hours);
        println!("data made in {:.1} s", start.elapsed().as_secs_f64());
    }
    // When every target was scraped for the last time.
    let end_ms = START_MS + (hours * 3_600_000.0) as i64 + 15_000;
    let start = Instant::now();
    let db = query_data::open(&dir, Arc::new(TestClock::new(end_ms)));
    println!("opened in {:.1} s; {} kB at rest", start.elapsed().as_secs_f64(), status_kb("RssAnon"));
    let engine = Engine::new(EngineOptions {
        features: Features::all(),
        threads,
        max_samples: usize::MAX,
        ..EngineOptions::default()
    });
    println!("{count} counters, {hours} hours, {threads} threads; end at {}", end_ms / 1000);
    println!("| query | kind | ms | CPU ms | peak MB | series | samples | chunks |");
    println!("|---|---|---|---|---|---|---|---|");
    for query in BOARD {
        if only.as_ref().is_some_and(|only| !query.text.contains(only.as_str())) {
            continue;
        }
        let asked = match query.range {
            None => Query::instant(query.text, end_ms),
            Some((span_s, step_s)) => Query::range(query.text, end_ms - span_s * 1000, end_ms, step_s * 1000),
        };
        measure(&engine, &db, &asked, 1.0);
    }
    // 13 M samples at 20 k series, and 1,000 steps: the budgets.
    let budgets = [
        ("sum by (path) (rate(bench_requests_total[5m]))", 631),
        ("sum(rate(bench_requests_total[5m]))", 1000),
    ];
    for (text, steps) in budgets {
        if only.as_ref().is_some_and(|only| !text.contains(only.as_str())) {
            continue;
        }
        let span_ms = (steps - 1) * 15_000;
        measure(&engine, &db, &Query::range(text, end_ms - span_ms, end_ms, 15_000), 1.0);
    }
    if only.is_none() {
        let hour = |text| Query::range(text, end_ms - 3_600_000, end_ms, 15_000);
        for text in ["sum by (region) (bench_requests_total)", "sum(rate(bench_requests_total[5m]))"] {
            cost_of_measuring(&engine, &db, &Query::instant(text, end_ms));
        }
        cost_of_measuring(
            &engine,
            &db,
            &hour("sum by (path) (rate(bench_requests_total{code=\"200\"}[5m]))"),
        );
        for text in [
            "sum(rate(bench_requests_total[5m]))",
            "quantile_over_time(0.5, bench_requests_total[1h])",
            "quantile(0.5, bench_requests_total)",
            "topk(5, rate(bench_requests_total[5m]))",
            "bench_requests_total * on (instance) group_left () bench_info",
        ] {
            time_to_stop(&engine, &db, &hour(text));
        }
    }
    db.close().expect("the database closes");
}
