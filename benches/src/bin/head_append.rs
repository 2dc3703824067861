//! Time that an appended sample takes, log included:
//! `head_append [series] [scrapes]`.
//!
//! The answer is checked by a query before anything is timed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::workload::Workload;
use model::memory::Accountant;
use model::metrics::Registry;
use model::query::ReadOptions;
use model::{
    Appendable, Columns, Dictionary, Env, FloatBatch, MatchOp, Matcher, Outcome, Queryable, SelectRequest,
    TimeRange, Timestamps,
};
use testkit::TestClock;
use tsdb::{Db, DbOptions};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::ALLOCATOR;

const START_MS: i64 = 1_700_000_000_000;

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]
fn now() -> Instant {
    Instant::now()
}

struct Bench {
    db: Arc<Db>,
    clock: Arc<TestClock>,
    workload: Workload,
    outcomes: Vec<Outcome>,
    step: i64,
    appending: Duration,
    committing: Duration,
}

impl Bench {
    /// Scrapes every target once.
    fn scrape(&mut self) {
        self.step += 1;
        self.clock.advance(Duration::from_secs(15));
        let at = START_MS + self.step * 15_000;
        for target in 0..self.workload.targets() {
            let mut appender = self.db.appender().expect("the database is open");
            let scrape = self
                .workload
                .scrape(target, |labels| appender.series(labels).expect("series are not limited here"));
            let batch = FloatBatch {
                series: scrape.handles,
                timestamps: Timestamps::Same(at + scrape.jitter_ms),
                start_timestamps: None,
                values: scrape.values,
                in_order_only: false,
            };
            let started = now();
            appender.append_floats(batch, &mut self.outcomes);
            let appended = now();
            appender.commit().expect("the log can be written");
            self.appending += appended - started;
            self.committing += now() - appended;
            assert!(self.outcomes.iter().all(Outcome::is_ok), "every sample is taken");
        }
    }

    /// Whether a query answers the newest value of every series.
    fn check(&self) {
        let range = TimeRange::ALL;
        let querier = self.db.querier(range).expect("the database is open");
        let dictionary = Dictionary::new();
        let all = Matcher::new(MatchOp::Regex, "__name__", ".+").expect("a valid pattern");
        let selected =
            querier.select(&SelectRequest::new(vec![all], range), &dictionary).expect("it answers");
        assert_eq!(selected.labels.len(), self.workload.len());
        let mut columns = Columns::default();
        for row in (0..selected.labels.len()).step_by(97) {
            let read = selected.reader.read(row, range, ReadOptions::default(), &mut columns);
            read.expect("it answers");
            assert_eq!(columns.len() as i64, self.step, "every scrape is there");
            let labels = dictionary.labels(selected.labels.row(row));
            let want = self.workload.value_of(&labels);
            assert_eq!(columns.floats.last().map(|v| v.to_bits()), Some(want.to_bits()));
        }
    }
}

fn main() {
    allocator::keep_free_memory_shortly();
    let mut arguments = std::env::args().skip(1);
    let series: usize = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(200_000);
    let scrapes: usize = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(40);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let clock = Arc::new(TestClock::new(START_MS));
    let db = Db::open(
        DbOptions { dir: dir.path().to_path_buf(), ..DbOptions::default() },
        Env { fs: tsdb::real_fs(), clock: clock.clone(), seed: 1 },
        Accountant::unlimited(),
        &Registry::new(),
        Arc::default(),
    )
    .expect("an empty folder opens");
    let workload = Workload::new(series, 1000);
    let mut bench = Bench {
        db,
        clock,
        workload,
        outcomes: Vec::new(),
        step: 0,
        appending: Duration::ZERO,
        committing: Duration::ZERO,
    };
    let started = now();
    bench.scrape();
    println!(
        "first scrape, series made: {:.0} ns/series",
        started.elapsed().as_nanos() as f64 / series as f64
    );
    bench.scrape();
    bench.check();
    (bench.appending, bench.committing) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..scrapes {
        bench.scrape();
    }
    bench.check();
    let samples = (series * scrapes) as f64;
    let each = |time: Duration| time.as_nanos() as f64 / samples;
    println!(
        "{series} series, {scrapes} scrapes: append {:.1} + commit {:.1} = {:.1} ns/sample",
        each(bench.appending),
        each(bench.committing),
        each(bench.appending + bench.committing)
    );
}
