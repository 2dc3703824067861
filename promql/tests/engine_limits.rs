//! What stops a query, what it costs, and that threads change nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::Clock;
use model::memory::Accountant;
use model::query::{CancelReason, CancelToken};
use model::{Appendable, FloatBatch, Labels, Timestamps};
use promql::value::Value;
use promql::{Engine, EngineOptions, Features, Query, QueryError};
use testkit::{MemoryStore, TestClock};

/// `series` series of `m_total` in 7 groups, a sample every 10 s for 10 minutes.
fn store(series: usize) -> MemoryStore {
    let store = MemoryStore::new();
    let mut batch = store.appender().expect("the memory store is open");
    let mut outcomes = Vec::new();
    for i in 0..series {
        let (id, group) = (format!("{i:05}"), format!("{}", i % 7));
        let labels =
            Labels::from_pairs([("__name__", "m_total"), ("id", id.as_str()), ("g", group.as_str())]);
        let handle = batch.series(&labels).expect("the labels are well formed");
        let times: Vec<i64> = (0..60).map(|k| k * 10_000).collect();
        let values: Vec<f64> = (0..60).map(|k| (i * 31 % 97) as f64 / 7.0 + k as f64 * 0.1).collect();
        let floats = FloatBatch {
            series: &vec![handle; times.len()],
            timestamps: Timestamps::Each(&times),
            start_timestamps: None,
            values: &values,
            in_order_only: false,
        };
        batch.append_floats(floats, &mut outcomes);
    }
    batch.commit().expect("memory does not fail");
    store
}

fn options() -> EngineOptions {
    EngineOptions { features: Features::all(), ..EngineOptions::default() }
}

fn failure(options: EngineOptions, store: &MemoryStore, query: &Query) -> QueryError {
    let engine = Engine::new(options);
    let result = if query.step_ms == 0 { engine.instant(store, query) } else { engine.range(store, query) };
    match result {
        Ok(_) => panic!("{} must fail", query.text),
        Err(error) => error,
    }
}

type Bits = (Labels, Vec<i64>, Vec<u64>);

fn bits(value: Value) -> Vec<Bits> {
    let Value::Matrix(matrix) = value else { panic!("a range query answers a matrix") };
    (0..matrix.len())
        .map(|i| {
            let one = &matrix.series[i];
            let bits = one.floats.iter().map(|v| v.to_bits()).collect();
            (matrix.labels(i), one.float_timestamps_ms.to_vec(), bits)
        })
        .collect()
}

#[test]
fn threads_change_no_bit() {
    let store = store(1500);
    for text in [
        "sum by (g) (rate(m_total[1m]))",
        "avg(m_total)",
        "stddev by (g) (m_total)",
        "topk(3, m_total)",
        "quantile by (g) (0.9, m_total)",
        "m_total * on (id) group_left () rate(m_total[1m])",
        "sum(m_total > 5) / count(m_total)",
        "max_over_time(sum by (g) (m_total)[1m:10s])",
        "count_values by (g) (\"v\", ceil(m_total))",
    ] {
        let query = Query::range(text, 60_000, 600_000, 20_000);
        let answers: Vec<_> = [1, 2, 8]
            .into_iter()
            .map(|threads| {
                let engine = Engine::new(EngineOptions { threads, ..options() });
                let output = engine.range(&store, &query).unwrap();
                (bits(output.value), output.stats)
            })
            .collect();
        assert!(!answers[0].0.is_empty(), "{text}");
        for other in &answers[1..] {
            assert_eq!(answers[0].0, other.0, "{text}");
            let reads =
                |stats: &promql::stats::QueryStats| (stats.total_queryable_samples, stats.samples_read);
            assert_eq!(reads(&answers[0].1), reads(&other.1), "{text}");
        }
    }
}

#[test]
fn too_many_samples_are_refused() {
    let query = Query::range("m_total", 0, 600_000, 10_000);
    let error = failure(EngineOptions { max_samples: 1000, ..options() }, &store(100), &query);
    assert_eq!(
        error.to_string(),
        "query processing would load too many samples into memory in query execution"
    );
    assert!(matches!(error, QueryError::TooManySamples(_)));
}

#[test]
fn a_streamed_aggregation_counts_its_input_as_upstream_does() {
    let query = Query::range("sum(m_total)", 0, 590_000, 10_000);
    let engine = Engine::new(EngineOptions { max_samples: 5999, ..options() });
    assert!(engine.range(&store(100), &query).is_err(), "100 series by 60 steps are 6000");
    let engine = Engine::new(EngineOptions { max_samples: 6100, ..options() });
    assert!(engine.range(&store(100), &query).is_ok());
}

#[test]
fn a_stopped_query_says_why() {
    let store = store(10);
    for (reason, text) in [
        (CancelReason::Canceled, "query was canceled in expression evaluation"),
        (CancelReason::TimedOut, "query timed out in expression evaluation"),
    ] {
        let cancel = CancelToken::new();
        cancel.cancel(reason);
        let query = Query { cancel, ..Query::instant("sum(m_total)", 1000) };
        assert_eq!(failure(options(), &store, &query).to_string(), text);
    }
}

#[test]
fn time_runs_out_by_the_clock() {
    let clock = Some(Arc::new(TestClock::new(0)) as Arc<dyn model::Clock>);
    let query = Query { clock, timeout_ms: Some(0), ..Query::instant("m_total", 1000) };
    assert!(matches!(failure(options(), &store(10), &query), QueryError::TimedOut(_)));
}

#[test]
fn memory_is_refused_with_numbers() {
    let query = Query::range("m_total * 2", 0, 600_000, 1_000);
    let memory = Accountant::new(1 << 30);
    let refused = EngineOptions { query_memory_budget: 1 << 20, memory: memory.clone(), ..options() };
    let error = failure(refused, &store(1000), &query);
    assert!(matches!(error, QueryError::Memory(_)), "{error}");
    assert!(error.to_string().contains("of 1048576"), "{error}");
    assert!(error.to_string().starts_with("query in the result "), "{error}");
    assert_eq!(memory.used(), 0, "a failed query holds nothing");
}

#[test]
fn a_refusal_names_the_operator_that_asked() {
    let store = store(1000);
    for (text, operator) in [
        ("quantile by (g) (0.5, m_total)", "query in quantile "),
        ("sum by (id) (m_total) + 1", "query in sum "),
        ("topk(1000, m_total)", "query in topk "),
        ("m_total or on (id) m_total * 2", "query in or "),
        ("count_values(\"v\", m_total)", "query in count_values "),
        ("sum(sum_over_time(m_total[10m:1ms]))", "query in sum_over_time "),
    ] {
        let options = EngineOptions { query_memory_budget: 1 << 19, ..options() };
        let error = failure(options, &store, &Query::range(text, 0, 600_000, 1_000));
        assert!(matches!(error, QueryError::Memory(_)), "{text}: {error}");
        assert!(error.to_string().starts_with(operator), "{text}: {error}");
        assert!(error.to_string().contains("of 524288"), "{text}: {error}");
    }
}

#[test]
fn what_streams_holds_its_output_and_not_its_input() {
    // 500 series at 541 steps: 2.4 MB if they were held.
    let store = store(500);
    for text in [
        "sum by (g) (rate(m_total[1m]))",
        "avg(m_total)",
        "stddev by (g) (m_total * 2)",
        "topk(3, m_total)",
        "bottomk by (g) (1, rate(m_total[1m]))",
        "limitk(5, m_total)",
        "count(m_total > 5)",
        "sum(m_total * on (id, g) m_total)",
        "sum(m_total * on (g) group_left () sum by (g) (m_total))",
        "count(m_total and rate(m_total[1m]))",
        "count(m_total unless m_total > 3)",
        "sum(limit_ratio(0.5, m_total))",
        "absent(m_total)",
        "vector(scalar(m_total))",
        "max(max_over_time(m_total[1m:20s]))",
        "sum(label_replace(m_total, \"x\", \"$1\", \"g\", \"(.*)\"))",
    ] {
        for threads in [1, 2] {
            let engine = Engine::new(EngineOptions { query_memory_budget: 1 << 20, threads, ..options() });
            let output = engine.range(&store, &Query::range(text, 60_000, 600_000, 1_000));
            let stats = output.unwrap_or_else(|error| panic!("{text}: {error}")).stats;
            assert!(stats.peak_memory_bytes > 0, "{text}");
        }
    }
}

#[test]
fn memory_is_given_back() {
    let memory = Accountant::new(1 << 30);
    let engine = Engine::new(EngineOptions { memory: memory.clone(), threads: 2, ..options() });
    let query = Query::range("topk(2, sum by (g) (m_total) or m_total)", 0, 600_000, 10_000);
    engine.range(&store(200), &query).unwrap();
    assert_eq!(memory.used(), 0);
}

#[test]
fn tiny_steps_of_long_subqueries_are_refused() {
    let query = Query::instant("count_over_time(m_total[100y:1ms])", 0);
    assert!(matches!(failure(options(), &store(1), &query), QueryError::TooManySamples(_)));
}

#[test]
fn range_queries_take_no_range_vectors() {
    let query = Query::range("m_total[5m]", 0, 10, 1);
    assert_eq!(
        failure(options(), &store(1), &query).to_string(),
        "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"
    );
}

#[test]
fn samples_are_counted_as_upstream_counts_them() {
    let engine = Engine::new(EngineOptions { per_step_stats: true, ..options() });
    let store = store(1);
    let stats = |text: &str, start_s: i64, end_s: i64| {
        let step_ms = if start_s == end_s { 0 } else { 5_000 };
        let mut query = Query::range(text, start_s * 1000, end_s * 1000, step_ms);
        query.per_step_stats = true;
        let result = if step_ms == 0 { engine.instant(&store, &query) } else { engine.range(&store, &query) };
        result.unwrap().stats
    };
    // Six samples a window; later windows read one new sample every ten seconds.
    let window = stats("max_over_time(m_total[60s])", 201, 221);
    assert_eq!((window.total_queryable_samples, window.samples_read), (30, 8));
    let by_step: Vec<u64> =
        window.samples_read_per_step.unwrap().into_iter().map(|(_, count)| count).collect();
    assert_eq!(by_step, [6, 0, 1, 0, 1]);
    assert_eq!(window.peak_samples, 11, "five results beside a window");
    let pinned = stats("m_total @ 30", 201, 221);
    assert_eq!((pinned.total_queryable_samples, pinned.samples_read), (5, 1));
    let subquery = stats("max_over_time(m_total[60s:5s])", 201, 201);
    assert_eq!((subquery.total_queryable_samples, subquery.samples_read), (12, 12));
    // The steps of a pinned subquery go on behind its time, its selectors do not: the
    // first sample is at 0.
    let behind = stats("predict_linear((m_total)[1s:5s] @ -3, 60)", 201, 221);
    assert_eq!((behind.total_queryable_samples, behind.samples_read), (0, 0));
    let once = stats("predict_linear((m_total)[1s:50s] @ -3, 60)", 201, 221);
    assert_eq!((once.total_queryable_samples, once.samples_read), (0, 0));
}

#[test]
fn the_explain_tree_names_each_operator() {
    let engine = Engine::new(options());
    let query = Query::range("sum by (g) (rate(m_total[1m])) * 2", 60_000, 600_000, 60_000);
    let output = engine.range(&store(10), &query).unwrap();
    let sum = &output.explain.children[0];
    let rate = &sum.children[0];
    let select = &rate.children[0];
    let names = [&output.explain, sum, rate, select].map(|node| node.operator.as_str());
    assert_eq!(names, ["*", "sum", "rate", "select"]);
    assert_eq!((sum.detail.as_str(), rate.detail.as_str()), ("by (g)", "[1m]"));
    assert_eq!((rate.series, rate.points), (10, 100));
    assert_eq!((sum.series, sum.points), (7, 70));
    assert_eq!((select.series, select.samples), (10, 590));
    let position = sum.position.expect("every operator has a place");
    assert_eq!(&query.text[position.start as usize..position.end as usize], "sum by (g) (rate(m_total[1m]))");
}

/// A clock that is a microsecond later each time it is looked at.
#[derive(Default)]
struct Ticking(AtomicU64);

impl model::Clock for Ticking {
    fn now_ms(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[test]
fn every_operator_has_its_own_time_and_all_times_are_the_whole() {
    let clock = Arc::new(Ticking::default());
    let text = "sum by (g) (rate(m_total[1m])) / scalar(count(m_total)) or topk(2, m_total)";
    let query = Query { clock: Some(clock.clone()), ..Query::range(text, 60_000, 600_000, 60_000) };
    let output = Engine::new(options()).range(&store(8), &query).unwrap();
    let tree = output.explain.to_json();
    let mut operators = Vec::new();
    let mut open = vec![&tree];
    let mut own = 0;
    while let Some(node) = open.pop() {
        operators.push(node["operator"].as_str().unwrap().to_owned());
        let nanoseconds = node["nanoseconds"].as_u64().unwrap();
        assert!(nanoseconds > 0, "{node}");
        own += nanoseconds;
        let children = node["children"].as_array().unwrap();
        let below: u64 = children.iter().map(|child| child["totalNanoseconds"].as_u64().unwrap()).sum();
        assert_eq!(node["totalNanoseconds"].as_u64().unwrap(), nanoseconds + below);
        open.extend(children);
    }
    operators.sort();
    assert_eq!(operators.iter().filter(|name| *name == "select").count(), 3, "{operators:?}");
    assert!(operators.contains(&"scalar".to_owned()), "{operators:?}");
    assert_eq!(tree["totalNanoseconds"].as_u64().unwrap(), own);
    let all = clock.monotonic().as_nanos() as u64;
    assert!(own <= all, "{own} ns of {all} ns");
}

#[test]
fn a_tree_too_deep_for_readers_of_json_is_cut() {
    let engine = Engine::new(options());
    let nested = format!("{}m_total{}", "m_total + (".repeat(200), ")".repeat(200));
    let output = engine.instant(&store(1), &Query::instant(nested, 0)).unwrap();
    let text = output.explain.to_json().to_string();
    assert!(text.contains("\"cut\":true"));
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "within a reader's limits");
}
