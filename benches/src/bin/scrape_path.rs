//! Time of a scraped sample from page to store: `scrape_path [targets] [scrapes]`.
//!
//! Pages of 1,000 series like those of node_exporter, values changing from
//! scrape to scrape; first with a store that only counts, then with the real
//! one, log included. Counts are checked before anything is timed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::memory::Accountant;
use model::metrics::Registry;
use model::{
    AppendError, Appendable, Appender, Durability, Env, Exemplar, ExemplarError, FloatBatch, HistogramSample,
    HistogramValue, Labels, Metadata, Outcome, SeriesHandle, StorageError,
};
use scrape::job::Job;
use scrape::{AppendOptions, PageAppender, Target};
use testkit::TestClock;
use tsdb::{Db, DbOptions};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::ALLOCATOR;

const START_MS: i64 = 1_700_000_000_000;
const FAMILIES: usize = 50;
const SERIES_PER_FAMILY: usize = 20;
const SERIES: usize = FAMILIES * SERIES_PER_FAMILY;

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]
fn now() -> Instant {
    Instant::now()
}

/// Takes everything and keeps nothing.
struct NullStore;

struct NullAppender {
    next: u32,
}

impl Appendable for NullStore {
    fn appender(&self) -> Result<Box<dyn Appender>, StorageError> {
        Ok(Box::new(NullAppender { next: 0 }))
    }
}

impl Appender for NullAppender {
    fn series(&mut self, _labels: &Labels) -> Result<SeriesHandle, AppendError> {
        self.next += 1;
        Ok(SeriesHandle { slot: self.next, generation: 0 })
    }

    fn find_series(&mut self, _labels: &Labels) -> Option<SeriesHandle> {
        None
    }

    fn append_floats(&mut self, batch: FloatBatch<'_>, outcomes: &mut Vec<Outcome>) {
        outcomes.clear();
        outcomes.resize(batch.series.len(), Outcome::Accepted);
    }

    fn append_histograms(&mut self, samples: Vec<HistogramSample>, outcomes: &mut Vec<Outcome>) {
        outcomes.clear();
        outcomes.resize(samples.len(), Outcome::Accepted);
    }

    fn append_start_zero(
        &mut self,
        _series: SeriesHandle,
        _timestamp_ms: i64,
        _start_timestamp_ms: i64,
        _like: Option<&HistogramValue>,
    ) -> Outcome {
        Outcome::Accepted
    }

    fn append_exemplar(&mut self, _series: SeriesHandle, _exemplar: &Exemplar) -> Result<(), ExemplarError> {
        Ok(())
    }

    fn update_metadata(&mut self, _series: SeriesHandle, _metadata: &Metadata) {}

    fn commit(self: Box<Self>) -> Result<Durability, StorageError> {
        Ok(Durability::Logged)
    }

    fn rollback(self: Box<Self>) {}
}

fn page(scrape: usize) -> Vec<u8> {
    let mut page = String::new();
    for family in 0..FAMILIES {
        page.push_str(&format!("# HELP node_metric_{family}_total What metric number {family} tells.\n"));
        page.push_str(&format!("# TYPE node_metric_{family}_total counter\n"));
        for series in 0..SERIES_PER_FAMILY {
            // Six in ten values stay as they are.
            let moved = if series % 5 < 3 { 0 } else { scrape };
            let value = (family * 31 + series) as f64 * 1.25 + moved as f64 * 3.5;
            page.push_str(&format!(
                "node_metric_{family}_total{{device=\"dev{series}\",mode=\"user\",namespace=\"monitoring\"}} {value}\n"
            ));
        }
    }
    page.into_bytes()
}

fn appenders(targets: usize) -> Vec<PageAppender> {
    let job = Arc::new(Job::new(Arc::new(config::ScrapeConfig {
        job_name: "node".to_owned(),
        ..config::ScrapeConfig::default()
    })));
    let registry = Registry::new();
    (0..targets)
        .map(|i| {
            let address = format!("10.0.{}.{}:9100", i >> 8, i & 255);
            let labels =
                Labels::from_pairs([("__address__", &*address), ("instance", &address), ("job", "node")]);
            let target = Target::new(&job, labels, None);
            PageAppender::new(job.clone(), target, AppendOptions::default(), &registry)
        })
        .collect()
}

fn run(name: &str, store: &dyn Appendable, clock: &TestClock, targets: usize, scrapes: usize) {
    let mut appenders = appenders(targets);
    let pages: Vec<Vec<u8>> = (0..16).map(page).collect();
    let content_type = "text/plain; version=0.0.4";
    let mut took = Duration::ZERO;
    for scrape in 0..scrapes + 2 {
        clock.advance(Duration::from_secs(15));
        let time_ms = START_MS + (scrape as i64 + 1) * 15_000;
        let page = &pages[scrape % pages.len()];
        let start = now();
        for appender in &mut appenders {
            let counts =
                appender.append(store, page, content_type, time_ms).expect("the page is well formed");
            assert_eq!(counts.samples as usize, SERIES);
            assert_eq!(counts.series_added as usize, if scrape == 0 { SERIES } else { 0 });
        }
        match scrape {
            0 => println!(
                "{name:6} first scrape    {:7.0} ns/series",
                start.elapsed().as_nanos() as f64 / (targets * SERIES) as f64
            ),
            1 => {}
            _ => took += start.elapsed(),
        }
    }
    let samples = (scrapes * targets * SERIES) as f64;
    let cache = appenders[0].cache_bytes() as f64 / SERIES as f64;
    println!(
        "{name:6} known series    {:7.1} ns/sample, {cache:.1} B/series remembered",
        took.as_nanos() as f64 / samples
    );
}

fn main() {
    allocator::keep_free_memory_shortly();
    let mut arguments = std::env::args().skip(1);
    let targets: usize = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(200);
    let scrapes: usize = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(40);
    let clock = Arc::new(TestClock::new(START_MS));
    run("null", &NullStore, &clock, targets, scrapes);
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
    run("tsdb", db.as_ref(), &clock, targets, scrapes);
}
