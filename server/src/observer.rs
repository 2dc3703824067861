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
use promql::stats::QueryStats;
use serde_json::Value;

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
                "The total number of samples loaded by all queries (full window per step for range-vector).",
            ),
            samples_read: registry.counter(
                "prometheus_engine_query_samples_read_total",
                "The total number of samples read by all queries (only new points per step for range-vector).",
            ),
            duration: registry.summary_vec(
                "prometheus_engine_query_duration_seconds",
                "Query timings",
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

    /// Notes how long a part of a query took.
    fn observe(&self, slice: &str, seconds: f64) {
        self.duration.with(&[slice]).observe(seconds);
        self.duration_histogram.with(&[slice]).observe(seconds);
    }
}

/// Takes one off the gauge when the query ends.
struct Arrived(Gauge);

impl Drop for Arrived {
    fn drop(&mut self) {
        self.0.dec();
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
        let mut line = self.log_line(record);
        line.push('\n');
        if let Err(error) = file.write_all(line.as_bytes()) {
            self.metrics.log_failures.inc();
            tracing::error!(path = %path.display(), %error, "can't log query");
        }
    }

    /// The query as a line of JSON, its keys in upstream's order.
    fn log_line(&self, record: &QueryRecord<'_>) -> String {
        let text = |text: &str| Value::from(text).to_string();
        let time = |ms: i64| {
            let time = jiff::Timestamp::from_millisecond(ms).map(|t| format!("{t:.3}"));
            text(&time.unwrap_or_default())
        };
        let mut fields = vec![
            ("time", time(self.clock.now_ms())),
            ("level", text("INFO")),
            ("source", text("observer.rs")),
            ("msg", text("promql query logged")),
            (
                "params",
                object(&[
                    ("end", time(record.end_ms)),
                    ("query", text(record.text)),
                    ("start", time(record.start_ms)),
                    ("step", (record.step_ms / 1000).to_string()),
                ]),
            ),
        ];
        if let Some(error) = record.error {
            fields.push(("error", text(&error.to_string())));
        }
        fields.push(("stats", shown_stats(record.stats)));
        // There are no traces yet: what upstream writes without one.
        fields.push(("spanID", text("0000000000000000")));
        fields.push(("traceID", text("00000000000000000000000000000000")));
        fields.push(match record.origin {
            Origin::Http { client_ip, method, path } => (
                "httpRequest",
                object(&[("clientIP", text(client_ip)), ("method", text(method)), ("path", text(path))]),
            ),
            Origin::RuleGroup { file, name } => {
                ("ruleGroup", object(&[("file", text(file)), ("name", text(name))]))
            }
        });
        object(&fields)
    }
}

/// A JSON object of values that are JSON already.
fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn shown_stats(stats: &QueryStats) -> String {
    // Whole numbers without a fraction, as Go writes them.
    let seconds = |seconds: f64| match seconds {
        0.0 => "0".to_owned(),
        seconds => Value::from(seconds).to_string(),
    };
    let timings = &stats.timings;
    let timings = object(&[
        ("evalTotalTime", seconds(timings.eval_total)),
        ("resultSortTime", seconds(timings.result_sort)),
        ("queryPreparationTime", seconds(timings.query_preparation)),
        ("innerEvalTime", seconds(timings.inner_eval)),
        ("execQueueTime", seconds(timings.exec_queue)),
        ("execTotalTime", seconds(timings.exec_total)),
    ]);
    let samples = object(&[
        ("totalQueryableSamples", stats.total_queryable_samples.to_string()),
        ("samplesRead", stats.samples_read.to_string()),
        ("peakSamples", stats.peak_samples.to_string()),
    ]);
    object(&[("timings", timings), ("samples", samples)])
}

impl QueryObserver for Observer {
    fn arrived(&self) -> Box<dyn Any + Send> {
        self.metrics.running.inc();
        Box::new(Arrived(self.metrics.running.clone()))
    }

    fn begin(&self, text: &str) -> Box<dyn Any + Send> {
        Box::new(self.active.as_ref().map(|active| active.begin(text)))
    }

    fn waited(&self, seconds: f64) {
        self.metrics.observe("queue_time", seconds);
    }

    fn ended(&self, record: &QueryRecord<'_>) {
        let QueryStats { total_queryable_samples, samples_read, timings, .. } = record.stats;
        self.metrics.samples.add(*total_queryable_samples);
        self.metrics.samples_read.add(*samples_read);
        // Upstream waits for a place twice, to read the text and to run it; here
        // one place is for both, so that the second wait takes no time.
        self.metrics.observe("queue_time", 0.0);
        self.metrics.observe("prepare_time", timings.query_preparation);
        self.metrics.observe("inner_eval", timings.inner_eval);
        if record.sorted {
            self.metrics.observe("result_sort", timings.result_sort);
        }
        self.write_log(record);
    }
}

#[cfg(test)]
mod tests {
    use model::metrics::{Instrument, MetricValue};

    use super::*;

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
            stats: &stats,
            sorted: false,
            error: None,
        };
        observer.ended(&record);
        assert!(!path.exists(), "there is no log yet");
        observer.set_log(&path.display().to_string()).unwrap();
        observer.ended(&record);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"time":"2023-11-14T22:13:20.000Z","level":"INFO","source":"observer.rs","#,
                r#""msg":"promql query logged","params":{"end":"1970-01-01T00:00:01.000Z","query":"up","#,
                r#""start":"1970-01-01T00:00:01.000Z","step":0},"stats":{"timings":{"evalTotalTime":0,"#,
                r#""resultSortTime":0,"queryPreparationTime":0,"innerEvalTime":0,"execQueueTime":0,"#,
                r#""execTotalTime":0},"samples":{"totalQueryableSamples":7,"samplesRead":0,"peakSamples":0}},"#,
                r#""spanID":"0000000000000000","traceID":"00000000000000000000000000000000","#,
                r#""httpRequest":{"clientIP":"127.0.0.1","method":"GET","path":"/api/v1/query"}}"#,
                "\n"
            )
        );
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["httpRequest"]["path"], "/api/v1/query");
        assert_eq!(line["stats"]["samples"]["totalQueryableSamples"], 7);
        let error = promql::QueryError::Execution("no".to_owned());
        observer.ended(&QueryRecord { error: Some(&error), ..record });
        let text = std::fs::read_to_string(&path).unwrap();
        let failed: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
        assert_eq!(failed["error"], "no");
        assert_eq!(failed["stats"]["samples"]["totalQueryableSamples"], 7, "what it cost is there, too");
        observer.set_log("").unwrap();
        observer.ended(&record);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }

    #[test]
    fn queries_are_counted_from_when_they_come_until_they_end() {
        let registry = Registry::new();
        let observer = Observer::new(&registry, 20, Arc::new(testkit::TestClock::new(0)), None);
        let arrived = observer.arrived();
        assert_eq!(observer.metrics.running.get(), 1.0);
        drop(observer.begin("up"));
        assert_eq!(observer.metrics.running.get(), 1.0);
        drop(arrived);
        assert_eq!(observer.metrics.running.get(), 0.0);
    }

    #[test]
    fn parts_of_a_query_are_timed_also_where_it_fails() {
        let observer = Observer::new(&Registry::new(), 20, Arc::new(testkit::TestClock::new(0)), None);
        let origin = Origin::RuleGroup { file: "f".to_owned(), name: "g".to_owned() };
        let timings = promql::stats::Timings { inner_eval: 2.0, ..Default::default() };
        let stats = QueryStats { total_queryable_samples: 7, timings, ..QueryStats::default() };
        let error = promql::QueryError::Execution("no".to_owned());
        let record = QueryRecord {
            text: "up",
            start_ms: 0,
            end_ms: 0,
            step_ms: 0,
            origin: &origin,
            stats: &stats,
            sorted: false,
            error: Some(&error),
        };
        observer.waited(0.5);
        observer.ended(&record);
        observer.waited(0.5);
        observer.ended(&QueryRecord { sorted: true, error: None, ..record });
        let count = |slice: &str| match observer.metrics.duration.with(&[slice]).value() {
            MetricValue::Summary { count, .. } => count,
            other => panic!("{other:?}"),
        };
        assert_eq!(SLICES.map(count), [4, 2, 2, 1]);
        assert_eq!(observer.metrics.samples.get(), 14.0);
    }
}
