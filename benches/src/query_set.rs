//! The queries that a board asks, over the series of [`crate::query_data`].

/// A query, asked at one time or over a range.
pub struct BoardQuery {
    /// The expression.
    pub text: &'static str,
    /// Seconds of range and step; `None` for an instant query.
    pub range: Option<(i64, i64)>,
}

const fn instant(text: &'static str) -> BoardQuery {
    BoardQuery { text, range: None }
}

const fn hour(text: &'static str) -> BoardQuery {
    BoardQuery { text, range: Some((3600, 15)) }
}

/// All of them.
pub const BOARD: &[BoardQuery] = &[
    instant("sum by (region) (bench_requests_total)"),
    instant("count(bench_requests_total)"),
    instant("count(count by (path) (bench_requests_total))"),
    instant("topk(5, bench_requests_total)"),
    instant("sum by (path) (rate(bench_requests_total[5m]))"),
    instant("sum(rate(bench_requests_total{path=~\"/api/v[0-9]/.*\",code!~\"2..\"}[5m]))"),
    instant("sum by (code) (bench_requests_total{instance=~\"host-000[0-4].*\"})"),
    instant(
        "sum by (region) (rate(bench_requests_total{code=~\"5..\"}[5m])) / sum by (region) (rate(bench_requests_total[5m]))",
    ),
    instant(
        "sum by (instance, version) (bench_requests_total * on (instance) group_left (version) bench_info)",
    ),
    instant("histogram_quantile(0.9, sum by (le) (rate(bench_latency_bucket[5m])))"),
    instant("histogram_quantile(0.9, sum by (path) (rate(bench_latency_seconds[5m])))"),
    instant("avg_over_time(bench_temperature[1h])"),
    instant("max_over_time(sum by (region) (rate(bench_requests_total{code=\"500\"}[5m]))[30m:1m])"),
    instant("quantile(0.5, bench_requests_total)"),
    instant("bench_temperature{instance=\"host-00001:9100\"}"),
    instant("bench_requests_total > 1e15 or bench_temperature > 1e15"),
    hour("sum(rate(bench_requests_total[5m]))"),
    hour("sum by (path) (rate(bench_requests_total{code=\"200\"}[5m]))"),
    hour("sum by (region) (bench_requests_total{method=\"GET\"})"),
    hour("topk(5, rate(bench_requests_total{code=\"500\"}[5m]))"),
    hour("histogram_quantile(0.9, sum by (le, path) (rate(bench_latency_bucket[5m])))"),
    hour("histogram_quantile(0.9, sum(rate(bench_latency_seconds[5m])))"),
    hour("avg by (region) (avg_over_time(bench_temperature[10m]))"),
    hour("max_over_time(bench_temperature{instance=\"host-00001:9100\"}[1h])"),
    hour(
        "sum by (version) (rate(bench_requests_total{code=\"200\"}[5m]) * on (instance) group_left (version) bench_info)",
    ),
    hour(
        "1 - sum(rate(bench_requests_total{code=~\"5..\"}[5m])) / sum(rate(bench_requests_total{code=~\"[23]..\"}[5m]))",
    ),
    hour("quantile by (region) (0.99, bench_temperature)"),
];
