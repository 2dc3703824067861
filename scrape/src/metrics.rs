//! What scraping says about itself. Names, labels and buckets are upstream's.

use std::time::Duration;

use model::metrics::{Counter, Gauge, HistogramMetric, HistogramOptions, Registry, Summary, Vector};

const QUANTILES: [f64; 5] = [0.01, 0.05, 0.5, 0.9, 0.99];
const BUCKETS: [f64; 4] = [0.01, 0.1, 1.0, 10.0];
const NATIVE_FACTOR: f64 = 1.1;

/// The instruments of scraping. Clones share them.
#[derive(Clone)]
pub(crate) struct ScrapeMetrics {
    pub(crate) pools: Counter,
    pub(crate) pools_failed: Counter,
    pub(crate) reload_length: Vector<Summary>,
    pub(crate) pool_reloads: Counter,
    pub(crate) pool_reloads_failed: Counter,
    pub(crate) exceeded_target_limit: Counter,
    pub(crate) target_limit: Vector<Gauge>,
    pub(crate) targets: Vector<Gauge>,
    pub(crate) symbols: Vector<Gauge>,
    pub(crate) syncs: Vector<Counter>,
    pub(crate) sync_length: Vector<Summary>,
    pub(crate) sync_length_histogram: Vector<HistogramMetric>,
    pub(crate) sync_failed: Vector<Counter>,
    pub(crate) exceeded_body_size_limit: Counter,
    pub(crate) cache_flush_forced: Counter,
    pub(crate) interval_length: Vector<Summary>,
    pub(crate) interval_length_histogram: Vector<HistogramMetric>,
    pub(crate) exceeded_sample_limit: Counter,
    pub(crate) duplicate_timestamp: Counter,
    pub(crate) out_of_order: Counter,
    pub(crate) out_of_bounds: Counter,
    pub(crate) exceeded_label_limits: Counter,
    pub(crate) exceeded_bucket_limit: Counter,
    pub(crate) exemplar_out_of_order: Counter,
    pub(crate) scrape_duration: HistogramMetric,
}

impl ScrapeMetrics {
    pub(crate) fn new(registry: &Registry) -> ScrapeMetrics {
        let counter = |name: &str, help: &str| registry.counter(&format!("prometheus_target_{name}"), help);
        let summary = |name: &str, help: &str, label: &str| {
            registry.summary_vec(&format!("prometheus_target_{name}"), help, &[label], &QUANTILES)
        };
        let histogram = |name: &str, help: &str, label: &str| {
            let options = HistogramOptions::classic(&BUCKETS).with_native(NATIVE_FACTOR);
            registry.histogram_vec(&format!("prometheus_target_{name}"), help, &[label], options)
        };
        let job_gauge = |name: &str, help: &str| {
            registry.gauge_vec(&format!("prometheus_target_{name}"), help, &["scrape_job"])
        };
        let job_counter = |name: &str, help: &str| {
            registry.counter_vec(&format!("prometheus_target_{name}"), help, &["scrape_job"])
        };
        ScrapeMetrics {
            pools: counter("scrape_pools_total", "Total number of scrape pool creation attempts."),
            pools_failed: counter(
                "scrape_pools_failed_total",
                "Total number of scrape pool creations that failed.",
            ),
            reload_length: summary(
                "reload_length_seconds",
                "Actual interval to reload the scrape pool with a given configuration.",
                "interval",
            ),
            pool_reloads: counter("scrape_pool_reloads_total", "Total number of scrape pool reloads."),
            pool_reloads_failed: counter(
                "scrape_pool_reloads_failed_total",
                "Total number of failed scrape pool reloads.",
            ),
            exceeded_target_limit: counter(
                "scrape_pool_exceeded_target_limit_total",
                "Total number of times scrape pools hit the target limit, during sync or config reload.",
            ),
            target_limit: job_gauge(
                "scrape_pool_target_limit",
                "Maximum number of targets allowed in this scrape pool.",
            ),
            targets: job_gauge("scrape_pool_targets", "Current number of targets in this scrape pool."),
            symbols: job_gauge(
                "scrape_pool_symboltable_items",
                "Current number of symbols in table for this scrape pool.",
            ),
            syncs: job_counter(
                "scrape_pool_sync_total",
                "Total number of syncs that were executed on a scrape pool.",
            ),
            sync_length: summary(
                "sync_length_seconds",
                "Actual interval to sync the scrape pool.",
                "scrape_job",
            ),
            sync_length_histogram: histogram(
                "sync_length_histogram_seconds",
                "Actual interval to sync the scrape pool.",
                "scrape_job",
            ),
            sync_failed: job_counter("sync_failed_total", "Total number of target sync failures."),
            exceeded_body_size_limit: counter(
                "scrapes_exceeded_body_size_limit_total",
                "Total number of scrapes that hit the body size limit",
            ),
            cache_flush_forced: counter(
                "scrapes_cache_flush_forced_total",
                "How many times a scrape cache was flushed due to getting big while scrapes are failing.",
            ),
            interval_length: summary(
                "interval_length_seconds",
                "Actual intervals between scrapes.",
                "interval",
            ),
            interval_length_histogram: histogram(
                "interval_length_histogram_seconds",
                "Actual intervals between scrapes.",
                "interval",
            ),
            exceeded_sample_limit: counter(
                "scrapes_exceeded_sample_limit_total",
                "Total number of scrapes that hit the sample limit and were rejected.",
            ),
            duplicate_timestamp: counter(
                "scrapes_sample_duplicate_timestamp_total",
                "Total number of samples rejected due to duplicate timestamps but different values.",
            ),
            out_of_order: counter(
                "scrapes_sample_out_of_order_total",
                "Total number of samples rejected due to not being out of the expected order.",
            ),
            out_of_bounds: counter(
                "scrapes_sample_out_of_bounds_total",
                "Total number of samples rejected due to timestamp falling outside of the time bounds.",
            ),
            exceeded_label_limits: counter(
                "scrape_pool_exceeded_label_limits_total",
                "Total number of times scrape pools hit the label limits, during sync or config reload.",
            ),
            exceeded_bucket_limit: counter(
                "scrapes_exceeded_native_histogram_bucket_limit_total",
                "Total number of scrapes that hit the native histogram bucket limit and were rejected.",
            ),
            exemplar_out_of_order: counter(
                "scrapes_exemplar_out_of_order_total",
                "Total number of exemplar rejected due to not being out of the expected order.",
            ),
            scrape_duration: registry.histogram(
                "prometheus_target_scrape_duration_seconds",
                "Total duration of the scrape from start to commit completion in seconds.",
                HistogramOptions::default().with_native(NATIVE_FACTOR),
            ),
        }
    }

    pub(crate) fn observe_interval(&self, interval: Duration, actual: Duration) {
        let interval = go_duration(interval);
        self.interval_length.with(&[&interval]).observe(actual.as_secs_f64());
        self.interval_length_histogram.with(&[&interval]).observe(actual.as_secs_f64());
    }

    pub(crate) fn observe_sync(&self, job: &str, took: Duration) {
        self.sync_length.with(&[job]).observe(took.as_secs_f64());
        self.sync_length_histogram.with(&[job]).observe(took.as_secs_f64());
        self.syncs.with(&[job]).inc();
    }

    /// Takes the series of a job that is gone away.
    pub(crate) fn forget_job(&self, job: &str) {
        self.syncs.remove(&[job]);
        self.target_limit.remove(&[job]);
        self.targets.remove(&[job]);
        self.symbols.remove(&[job]);
        self.sync_length.remove(&[job]);
        self.sync_length_histogram.remove(&[job]);
        self.sync_failed.remove(&[job]);
    }
}

/// A duration as Go prints it: `15s`, `1m0s`, `1h0m0s`, `500ms`, `1.5s`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return match millis {
            0 => "0s".to_owned(),
            _ => format!("{millis}ms"),
        };
    }
    let (hours, minutes, seconds) =
        (millis / 3_600_000, millis / 60_000 % 60, (millis % 60_000) as f64 / 1000.0);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        for (ms, text) in [
            (15_000, "15s"),
            (60_000, "1m0s"),
            (3_600_000, "1h0m0s"),
            (500, "500ms"),
            (1_500, "1.5s"),
            (90_500, "1m30.5s"),
            (0, "0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(ms)), text);
        }
    }
}
