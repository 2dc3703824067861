//! Series and values like those of node_exporter, seeded.

use model::{Appendable, FloatBatch, Labels, Outcome, SeriesHandle, Timestamps};
use testkit::Rng;
use tsdb::Db;

/// Targets with their series, and what each series shows.
pub struct Workload {
    per_target: usize,
    series: usize,
    values: Vec<f64>,
    handles: Vec<SeriesHandle>,
    known: Vec<bool>,
    rng: Rng,
}

/// One scrape of one target.
pub struct Scrape<'a> {
    /// The series in order of the page.
    pub handles: &'a [SeriesHandle],
    /// Their values.
    pub values: &'a [f64],
    /// Added to the time that all samples should have.
    pub jitter_ms: i64,
}

impl Workload {
    /// So many series, so many a target.
    pub fn new(series: usize, per_target: usize) -> Workload {
        let per_target = per_target.min(series.max(1));
        Workload {
            per_target,
            series,
            values: vec![0.0; series],
            handles: Vec::with_capacity(series),
            known: vec![false; series.div_ceil(per_target)],
            rng: Rng::new(42),
        }
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series == 0
    }

    /// How many targets there are.
    pub fn targets(&self) -> usize {
        self.known.len()
    }

    /// Bytes that the workload itself holds.
    pub fn heap_bytes(&self) -> u64 {
        (self.values.capacity() * 8 + self.handles.capacity() * 8 + self.known.capacity()) as u64
    }

    /// The labels of a series: ten of them.
    pub fn labels(&self, series: usize) -> Labels {
        let target = series / self.per_target;
        let n = series % self.per_target;
        let metric = format!("node_metric_{}_total", n / 20);
        let instance = format!("10.{}.{}.{}:9100", target >> 16 & 255, target >> 8 & 255, target & 255);
        Labels::from_pairs([
            ("__name__", metric.as_str()),
            ("cluster", "production-eu-1"),
            ("device", &format!("dev{}", n % 20)),
            ("environment", "production"),
            ("instance", &instance),
            ("job", "node-exporter"),
            ("mode", ["user", "system", "idle", "iowait"][n % 4]),
            ("namespace", "monitoring"),
            ("pod", &format!("node-exporter-{target:05x}")),
            ("region", ["eu-west-1", "eu-central-1", "us-east-1"][target % 3]),
        ])
    }

    /// What the series with these labels shows.
    pub fn value_of(&self, labels: &Labels) -> f64 {
        let target =
            labels.get("pod").and_then(|pod| usize::from_str_radix(pod.rsplit('-').next()?, 16).ok());
        let metric = labels.get("__name__").and_then(|name| name.split('_').nth(2)?.parse::<usize>().ok());
        let device = labels.get("device").and_then(|device| device[3..].parse::<usize>().ok());
        match (target, metric, device) {
            (Some(target), Some(metric), Some(device)) => {
                self.values[target * self.per_target + metric * 20 + device]
            }
            _ => f64::NAN,
        }
    }

    /// The next scrape of a target; `resolve` gives the handle of a series that
    /// is seen for the first time.
    pub fn scrape(&mut self, target: usize, mut resolve: impl FnMut(&Labels) -> SeriesHandle) -> Scrape<'_> {
        let from = target * self.per_target;
        let to = (from + self.per_target).min(self.series);
        if !self.known[target] {
            self.known[target] = true;
            for series in from..to {
                let handle = resolve(&self.labels(series));
                self.handles.push(handle);
            }
        }
        for n in from..to {
            match n % 10 {
                // Six in ten never change or seldom do.
                0..=3 => {}
                4 | 5 => {
                    if self.rng.one_in(50) {
                        self.values[n] += 1.0;
                    }
                }
                // Counters of whole numbers.
                6 | 7 => self.values[n] += self.rng.below(200) as f64,
                // Seconds.
                8 => self.values[n] += self.rng.below(15_000) as f64 / 1000.0,
                // A gauge.
                _ => self.values[n] = (self.rng.unit() * 1e9).floor(),
            }
        }
        let jitter_ms = match self.rng.below(10) {
            0..=5 => 0,
            n => n as i64 - 6,
        };
        Scrape { handles: &self.handles[from..to], values: &self.values[from..to], jitter_ms }
    }
}

/// Scrapes every target once, at `now_ms` and their jitter (none where it is not
/// `jittered`); each sample must be taken.
pub fn append_round(db: &Db, workload: &mut Workload, now_ms: i64, jittered: bool) {
    let mut outcomes = Vec::new();
    for target in 0..workload.targets() {
        let mut appender = db.appender().expect("the database is open");
        let scrape =
            workload.scrape(target, |labels| appender.series(labels).expect("series are not limited here"));
        let jitter_ms = if jittered { scrape.jitter_ms } else { 0 };
        let batch = FloatBatch {
            series: scrape.handles,
            timestamps: Timestamps::Same(now_ms + jitter_ms),
            start_timestamps: None,
            values: scrape.values,
            in_order_only: false,
        };
        appender.append_floats(batch, &mut outcomes);
        assert!(outcomes.iter().all(Outcome::is_ok), "every sample is taken");
        appender.commit().expect("the log can be written");
    }
}

/// A figure of `/proc/self/status` in kB, 0 where it cannot be read.
pub fn status_kb(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().split(' ').next()?.parse().ok())
        .unwrap_or(0)
}
