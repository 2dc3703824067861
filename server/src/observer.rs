//! What the server does with each query: notes it while it runs, counts it,
//! writes it to the query log.

use std::any::Any;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use model::Clock;
use model::metrics::{Counter, Gauge, HistogramMetric, HistogramOptions, Registry, Summary, Vector};
use parking_lot::Mutex;
use promql::observer::{Origin, QueryObserver, QueryRecord};
use serde_json::{Map, Value, json};

use crate::active_queries::ActiveQueries;

/// Watches all queries of the server.
pub struct Observer {
    clock: Arc<dyn Clock>,
    active: Option<ActiveQueries>,
    log: Mutex<Option<(PathBuf, File)>>,
    metrics: EngineMetrics,
}

/// The engine's metrics, upstream's names.
struct EngineMetrics {
    running: Gauge,
    log_enabled: Gauge,
    log_failures: Counter,
    samples: Counter,
    samples_read: Counter,
    duration: Vector<Summary>,
    duration_histogram: Vector<HistogramMetric>,
}

/// The parts of a query that are timed.
const SLICES: [&str; 4] = ["queue_time", "prepare_time", "inner_eval", "result_sort"];

impl EngineMetrics {
    fn new(registry: &Registry, concurrency: usize) -> EngineMetrics {
        registry
            .gauge("prometheus_engine_queries_concurrent_max", "The max number of concurrent queries.")
            .set(concurrency as f64);
        let seconds = [0.01, 0.1, 1.0, 10.0];
        let metrics = EngineMetrics {
            running: registry.gauge(
                "prometheus_engine_queries",
                "The current number of queries being executed or waiting.",
            ),
            log_enabled: registry.gauge("prometheus_engine_query_log_enabled", "State of the query log."),
            log_failures: registry
                .counter("prometheus_engine_query_log_failures_total", "The number of query log failures."),
            samples: registry.counter(
                "prometheus_engine_query_samples_total",
                "The total number of samples loaded by all queries.",
            ),
            samples_read: registry.counter(
                "prometheus_engine_query_samples_read_total",
                "The total number of samples read by all queries.",
            ),
            duration: registry.summary_vec(
                "prometheus_engine_query_duration_seconds",
                "Query timings.",
                &["slice"],
                &[0.5, 0.9, 0.99],
            ),
            duration_histogram: registry.histogram_vec(
                "prometheus_engine_query_duration_histogram_seconds",
                "The duration of various parts of PromQL query execution.",
                &["slice"],
                HistogramOptions::classic(&seconds).with_native(1.1),
            ),
        };
        // There from the start, so that rates see the first query.
        for slice in SLICES {
            metrics.duration.with(&[slice]);
            metrics.duration_histogram.with(&[slice]);
        }
        metrics
    }
}

/// Takes one off the gauge when the query ends, and then empties its place.
struct Running {
    gauge: Gauge,
    _place: Option<Box<dyn Any + Send>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Observer {
    /// An observer without a query log. `active` is `None` where the file
    /// cannot be had: queries go unnoted then.
    pub fn new(
        registry: &Registry,
        concurrency: usize,
        clock: Arc<dyn Clock>,
        active: Option<ActiveQueries>,
    ) -> Observer {
        Observer { clock, active, log: Mutex::new(None), metrics: EngineMetrics::new(registry, concurrency) }
    }

    /// Opens the query log, anew where it was open already; an empty path closes it.
    ///
    /// # Errors
    /// The file cannot be opened: there is no query log then.
    pub fn set_log(&self, path: &str) -> io::Result<()> {
        let mut log = self.log.lock();
        *log = None;
        self.metrics.log_enabled.set(0.0);
        if !path.is_empty() {
            let file = File::options().create(true).append(true).open(path)?;
            *log = Some((PathBuf::from(path), file));
            self.metrics.log_enabled.set(1.0);
        }
        Ok(())
    }

    fn write_log(&self, record: &QueryRecord<'_>) {
        let mut log = self.log.lock();
        let Some((path, file)) = &mut *log else { return };
        let mut line = self.log_line(record).to_string();
        line.push('\n');
        if let Err(error) = file.write_all(line.as_bytes()) {
            self.metrics.log_failures.inc();
            tracing::error!(path = %path.display(), %error, "can't log query");
        }
    }

    fn log_line(&self, record: &QueryRecord<'_>) -> Value {
        let time =
            |ms: i64| jiff::Timestamp::from_millisecond(ms).map(|t| format!("{t:.3}")).unwrap_or_default();
        let mut line = Map::new();
        line.insert("time".to_owned(), time(self.clock.now_ms()).into());
        line.insert("level".to_owned(), "INFO".into());
        line.insert("source".to_owned(), "observer.rs".into());
        line.insert("msg".to_owned(), "promql query logged".into());
        line.insert(
            "params".to_owned(),
            json!({
                "query": record.text,
                "start": time(record.start_ms),
                "end": time(record.end_ms),
                "step": record.step_ms / 1000,
            }),
        );
        if let Some(error) = record.error {
            line.insert("error".to_owned(), error.to_string().into());
        }
        if let Some(stats) = record.stats {
            let timings = &stats.timings;
            line.insert(
                "stats".to_owned(),
                json!({
                    "timings": {
                        "evalTotalTime": timings.eval_total,
                        "resultSortTime": timings.result_sort,
                        "queryPreparationTime": timings.query_preparation,
                        "innerEvalTime": timings.inner_eval,
                        "execQueueTime": timings.exec_queue,
                        "execTotalTime": timings.exec_total,
                    },
                    "samples": {
                        "totalQueryableSamples": stats.total_queryable_samples,
                        "samplesRead": stats.samples_read,
                        "peakSamples": stats.peak_samples,
                    },
                }),
            );
        }
        let (key, origin) = match record.origin {
            Origin::Http { client_ip, method, path } => {
                ("httpRequest", json!({ "clientIP": client_ip, "method": method, "path": path }))
            }
            Origin::RuleGroup { file, name } => ("ruleGroup", json!({ "file": file, "name": name })),
        };
        line.insert(key.to_owned(), origin);
        Value::Object(line)
    }
}

impl QueryObserver for Observer {
    fn begin(&self, text: &str) -> Box<dyn Any + Send> {
        self.metrics.running.inc();
        let place = self.active.as_ref().map(|active| active.begin(text));
        Box::new(Running { gauge: self.metrics.running.clone(), _place: place })
    }

    fn ended(&self, record: &QueryRecord<'_>) {
        if let Some(stats) = record.stats {
            self.metrics.samples.add(stats.total_queryable_samples);
            self.metrics.samples_read.add(stats.samples_read);
            let timings = &stats.timings;
            for (slice, seconds) in [
                ("queue_time", timings.exec_queue),
                ("prepare_time", timings.query_preparation),
                ("inner_eval", timings.inner_eval),
                ("result_sort", timings.result_sort),
            ] {
                self.metrics.duration.with(&[slice]).observe(seconds);
                self.metrics.duration_histogram.with(&[slice]).observe(seconds);
            }
        }
        self.write_log(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql::stats::QueryStats;

    #[test]
    fn a_logged_query_says_what_it_was_and_where_it_came_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("query.log");
        let clock = Arc::new(testkit::TestClock::new(1_700_000_000_000));
        let observer = Observer::new(&Registry::new(), 20, clock, None);
        let stats = QueryStats { total_queryable_samples: 7, ..QueryStats::default() };
        let origin = Origin::Http {
            client_ip: "127.0.0.1".to_owned(),
            method: "GET".to_owned(),
            path: "/api/v1/query".to_owned(),
        };
        let record = QueryRecord {
            text: "up",
            start_ms: 1000,
            end_ms: 1000,
            step_ms: 0,
            origin: &origin,
            stats: Some(&stats),
            error: None,
        };
        observer.ended(&record);
        assert!(!path.exists(), "there is no log yet");
        observer.set_log(&path.display().to_string()).unwrap();
        observer.ended(&record);
        let line: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(line["msg"], "promql query logged");
        assert_eq!(line["params"]["query"], "up");
        assert_eq!(line["httpRequest"]["path"], "/api/v1/query");
        assert_eq!(line["stats"]["samples"]["totalQueryableSamples"], 7);
        observer.set_log("").unwrap();
        observer.ended(&record);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn running_queries_are_counted_until_they_end() {
        let registry = Registry::new();
        let observer = Observer::new(&registry, 20, Arc::new(testkit::TestClock::new(0)), None);
        let running = observer.begin("up");
        assert_eq!(observer.metrics.running.get(), 1.0);
        drop(running);
        assert_eq!(observer.metrics.running.get(), 0.0);
    }
}
