//! Series that the query benchmarks ask for: counters, gauges, classic and
//! native histograms, and an info metric, as a hundred services would have them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::histogram::{Histogram, Span};
use model::memory::Accountant;
use model::metrics::Registry;
use model::{
    Appendable, Appender, Env, FloatBatch, HistogramSample, HistogramValue, Labels, Outcome, SeriesHandle,
    Timestamps,
};
use testkit::{Rng, TestClock};
use tsdb::{Db, DbOptions};

/// Time of the first sample in ms.
pub const START_MS: i64 = 1_700_000_000_000;
/// Time between samples in ms.
pub const INTERVAL_MS: i64 = 15_000;
const BOUNDS: [&str; 12] =
    ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];

/// One target's series: what they are called and where they stand.
struct Target {
    counters: Vec<SeriesHandle>,
    counter_values: Vec<f64>,
    buckets: Vec<SeriesHandle>,
    bucket_values: Vec<f64>,
    gauges: Vec<SeriesHandle>,
    natives: Vec<SeriesHandle>,
    native_counts: Vec<[i64; 8]>,
    info: SeriesHandle,
}

/// Opens a database on a simulated clock.
pub fn open(dir: &Path, clock: Arc<TestClock>) -> Arc<Db> {
    open_with(DbOptions { dir: dir.to_path_buf(), ..DbOptions::default() }, clock)
}

/// The same with settings.
pub fn open_with(options: DbOptions, clock: Arc<TestClock>) -> Arc<Db> {
    Db::open(
        options,
        Env { fs: tsdb::real_fs(), clock, seed: 1 },
        Accountant::unlimited(),
        &Registry::new(),
        Arc::default(),
    )
    .expect("the folder can be opened")
}

/// Counters of one target among so many series.
fn counters_per_target(series: usize) -> usize {
    (series / 10).clamp(20, 1000)
}

fn labels(target: usize, name: &str, more: &[(&str, &str)]) -> Labels {
    let instance = format!("host-{target:05}:9100");
    let pod = format!("service-{target:05x}");
    let mut pairs = vec![
        ("__name__", name),
        ("cluster", "production-eu-1"),
        ("environment", "production"),
        ("instance", instance.as_str()),
        ("job", "service"),
        ("pod", pod.as_str()),
        ("region", ["eu-west-1", "eu-central-1", "us-east-1"][target % 3]),
    ];
    pairs.extend_from_slice(more);
    pairs.sort_unstable();
    Labels::from_pairs(pairs)
}

impl Target {
    fn new(target: usize, counters: usize, batch: &mut dyn Appender, rng: &mut Rng) -> Target {
        let mut make = |labels: Labels| batch.series(&labels).expect("series are not limited in a benchmark");
        let path = |n: usize| format!("/api/v{}/resource-{:02}", n % 3, n);
        let counter = |n: usize| {
            let path = path(n / 20);
            let code = ["200", "201", "301", "404", "500"][n % 5];
            let method = ["GET", "POST", "PUT", "DELETE"][n / 5 % 4];
            labels(target, "bench_requests_total", &[("code", code), ("method", method), ("path", &path)])
        };
        let paths = (counters / 20).clamp(1, 8);
        Target {
            counters: (0..counters).map(|n| make(counter(n))).collect(),
            counter_values: (0..counters).map(|_| rng.below(1_000_000) as f64).collect(),
            buckets: (0..paths * BOUNDS.len())
                .map(|n| {
                    let (path, le) = (path(n / BOUNDS.len()), BOUNDS[n % BOUNDS.len()]);
                    make(labels(target, "bench_latency_bucket", &[("le", le), ("path", &path)]))
                })
                .collect(),
            bucket_values: vec![0.0; paths * BOUNDS.len()],
            gauges: (0..counters.div_ceil(10))
                .map(|n| make(labels(target, "bench_temperature", &[("sensor", &format!("s{n:03}"))])))
                .collect(),
            natives: (0..paths)
                .map(|n| make(labels(target, "bench_latency_seconds", &[("path", &path(n))])))
                .collect(),
            native_counts: vec![[0; 8]; paths],
            info: make(labels(target, "bench_info", &[("version", ["1.0", "1.1", "2.0"][target % 3])])),
        }
    }

    fn advance(&mut self, rng: &mut Rng, series: &mut Vec<SeriesHandle>, values: &mut Vec<f64>) {
        for (handle, value) in self.counters.iter().zip(&mut self.counter_values) {
            // A third stands still, the rest counts; a restart now and then.
            match rng.below(3000) {
                0 => *value = 0.0,
                n if n % 3 > 0 => *value += rng.below(200) as f64,
                _ => {}
            }
            series.push(*handle);
            values.push(*value);
        }
        for (n, handle) in self.buckets.iter().enumerate() {
            let less = if n % BOUNDS.len() == 0 { 0.0 } else { self.bucket_values[n - 1] };
            let wanted = self.bucket_values[n] + rng.below(4) as f64;
            self.bucket_values[n] = wanted.max(less);
            series.push(*handle);
            values.push(self.bucket_values[n]);
        }
        for handle in &self.gauges {
            series.push(*handle);
            values.push((rng.unit() * 4000.0).round() / 100.0);
        }
        series.push(self.info);
        values.push(1.0);
    }

    fn natives(&mut self, t: i64, rng: &mut Rng) -> Vec<HistogramSample> {
        let one = |(handle, counts): (&SeriesHandle, &mut [i64; 8])| {
            for count in counts.iter_mut() {
                *count += rng.below(5) as i64;
            }
            let mut before = 0;
            let positive_buckets = counts.iter().map(|&n| n - std::mem::replace(&mut before, n)).collect();
            let count = counts.iter().sum::<i64>().unsigned_abs();
            let value = HistogramValue::Integer(Histogram {
                schema: 3,
                zero_threshold: 1e-9,
                count,
                sum: count as f64 * 0.2,
                positive_spans: Arc::from([Span { offset: -20, length: 8 }]),
                positive_buckets,
                ..Histogram::default()
            });
            HistogramSample { series: *handle, timestamp_ms: t, start_timestamp_ms: 0, value }
        };
        self.natives.iter().zip(&mut self.native_counts).map(one).collect()
    }
}

/// Fills a folder with `hours` of data: about `series` counters, and with them
/// a tenth as many buckets and gauges, and a hundredth as many native
/// histograms. Answers the time of the last sample.
pub fn make(dir: &Path, series: usize, hours: f64) -> i64 {
    let clock = Arc::new(TestClock::new(START_MS));
    let db = open(dir, clock.clone());
    let mut rng = Rng::new(7);
    let per_target = counters_per_target(series);
    let n_targets = series.div_ceil(per_target);
    let mut targets: Vec<Target> = Vec::with_capacity(n_targets);
    let (mut handles, mut values, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = START_MS;
    for step in 0..(hours * 3_600_000.0) as i64 / INTERVAL_MS {
        clock.advance(Duration::from_millis(INTERVAL_MS.unsigned_abs()));
        for n in 0..n_targets {
            let mut batch = db.appender().expect("the database is open");
            if step == 0 {
                // A series that gets no sample goes with the batch that made it.
                targets.push(Target::new(n, per_target, &mut *batch, &mut rng));
            }
            let target = &mut targets[n];
            // Targets are scraped at times of their own.
            let t = START_MS + (step + 1) * INTERVAL_MS + (n as i64 * 97) % INTERVAL_MS;
            last = last.max(t);
            handles.clear();
            values.clear();
            target.advance(&mut rng, &mut handles, &mut values);
            let floats = FloatBatch {
                series: &handles,
                timestamps: Timestamps::Same(t),
                start_timestamps: None,
                values: &values,
                in_order_only: false,
            };
            batch.append_floats(floats, &mut outcomes);
            assert!(outcomes.iter().all(Outcome::is_ok), "every sample is taken");
            batch.append_histograms(target.natives(t, &mut rng), &mut outcomes);
            assert!(outcomes.iter().all(Outcome::is_ok), "every histogram is taken");
            batch.commit().expect("the log can be written");
        }
        if step % 4 == 3 {
            db.maintain().expect("upkeep works");
        }
    }
    db.maintain().expect("upkeep works");
    db.close().expect("the database closes");
    last
}
