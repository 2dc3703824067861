//! PromQL: lexer, parser, printer, evaluator, and the language of test scripts.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use model::Labels;
use model::memory::Accountant;
use promql::value::{SampleValue, Value};
use promql::{Engine, EngineOptions, Features, Query};
use testkit::MemoryStore;
use testkit::promqltest;

pub(crate) const WORDS: &[&str] = &[
    "sum",
    "by",
    "without",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "[5m]",
    "[5m:1m]",
    "offset ",
    "-1m",
    "@ ",
    "start()",
    "end()",
    "rate(",
    "histogram_quantile(",
    "label_replace(",
    "topk(",
    "quantile(",
    "count_values(",
    "absent(",
    "vector(",
    "time()",
    "and",
    "or",
    "unless",
    "on(",
    "ignoring(",
    "group_left",
    "group_right",
    "bool",
    "==",
    "!=",
    ">=",
    "=~",
    "!~",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "atan2",
    "1e308",
    "NaN",
    "Inf",
    "0x1F",
    "1_000",
    "'a'",
    "\"\\xff\"",
    "`a`",
    "#",
    ",",
    "m",
    "h",
    "c_total",
    "anchored",
    "smoothed",
    "fill(0)",
    "step()",
    "range()",
    "limitk(",
    "limit_ratio(",
    "info(",
    "1y",
    "0s",
    "1ms",
    "\n",
    " ",
    "stddev",
    "sort_desc(",
    "predict_linear(",
    "last_over_time(",
    "ts_of_max_over_time(",
    "{\"m\"}",
    "@ -1",
];

fn features() -> Features {
    Features {
        experimental_functions: true,
        duration_expr: true,
        extended_range_selectors: true,
        binop_fill_modifiers: true,
    }
}

/// Any bytes as an expression: what is parsed prints as itself.
pub(crate) fn parse(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(2000)];
    let all = features();
    let _ = promql::parse_bytes(bytes, Features::default());
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = promql::parse_selector(text, all);
    }
    match promql::parse_bytes(bytes, all) {
        Err(errors) => {
            let _ = errors.to_string();
        }
        Ok(expr) => {
            let printed = expr.to_string();
            let again = promql::parse(&printed, all).unwrap_or_else(|error| panic!("{printed}: {error}"));
            let pretty = promql::prettify(&expr, promql::MAX_CHARACTERS_PER_LINE);
            let not_pretty = promql::parse(&pretty, all).unwrap_or_else(|error| panic!("{pretty}: {error}"));
            // As upstream's, an infinite base prints with its sign, which is read as one
            // before the power.
            if !printed.contains("Inf ^") {
                assert_eq!(again.to_string(), printed, "printing is a fixed point");
                assert_eq!(not_pretty.to_string(), printed, "pretty or not, it is the same");
            }
            assert!(!promql::to_json(&expr).get().is_empty());
        }
    }
}

fn store() -> &'static (Engine, MemoryStore) {
    static STORE: OnceLock<(Engine, MemoryStore)> = OnceLock::new();
    STORE.get_or_init(|| {
        let engine = Engine::new(EngineOptions {
            features: features(),
            max_samples: 20_000,
            memory: Accountant::unlimited(),
            query_memory_budget: 16 << 20,
            ..EngineOptions::default()
        });
        let store = MemoryStore::new();
        let script = "load 1m\n  m{a=\"x\",n=\"1\"} 0+1x20\n  m{a=\"y\",n=\"2\"} 5 _ 3 NaN Inf -Inf stale 1 2 3\n  \
            c_total{a=\"x\"} 0+10x5 0+5x15\n  h{a=\"x\"} {{schema:1 count:6 sum:9 buckets:[1 2 3]}}x20\n  \
            b_bucket{le=\"1\"} 1+1x20\n  b_bucket{le=\"+Inf\"} 2+2x20\n  target_info{a=\"x\",v=\"1\"} 1x20\n";
        let shared = store.clone();
        promqltest::run_script(script, &engine, &move || Box::new(shared.clone())).expect("a script that loads");
        (engine, store)
    })
}

/// What a sample says, by its bits.
fn value_text(value: &SampleValue) -> String {
    match value {
        SampleValue::Float(value) if value.is_nan() => "NaN".to_owned(),
        SampleValue::Float(value) => format!("{:x}", value.to_bits()),
        SampleValue::Histogram(histogram) => format!("{histogram:?}"),
    }
}

/// Any text as a query: bounded, without panic, and an instant is the same as
/// the one step of a range.
pub(crate) fn eval(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(&bytes[..bytes.len().min(300)]) else { return };
    let (engine, store) = store();
    const AT_MS: i64 = 10 * 60_000;
    let instant = engine.instant(store, &Query::instant(text, AT_MS));
    let range = engine.range(store, &Query::range(text, AT_MS, AT_MS, 60_000));
    let _ = engine.range(store, &Query::range(text, 0, AT_MS, 90_000));
    // Words may be written in any case, and with space inside.
    let printed = promql::parse(text, features()).map(|expr| expr.to_string()).unwrap_or_default();
    let own_times = ["start()", "end()", "range()", "step()"].iter().any(|word| printed.contains(word));
    let (Ok(instant), Ok(range), false) = (instant, range, own_times) else { return };
    let Value::Matrix(matrix) = &range.value else { panic!("{text}: a range is answered by a matrix") };
    let at_once: BTreeMap<Labels, String> = match &instant.value {
        Value::Scalar { value, .. } => {
            BTreeMap::from([(Labels::default(), value_text(&SampleValue::Float(*value)))])
        }
        Value::Vector(vector) => {
            (0..vector.len()).map(|i| (vector.labels(i), value_text(&vector.values[i]))).collect()
        }
        Value::String { .. } | Value::Matrix(_) => return,
    };
    let mut stepped = BTreeMap::new();
    for i in 0..matrix.len() {
        let series = &matrix.series[i];
        let float = series.floats.first().map(|value| SampleValue::Float(*value));
        let histogram = series.histograms.first().map(|(_, value)| SampleValue::Histogram(value.clone()));
        if let Some(value) = float.or(histogram) {
            stepped.insert(matrix.labels(i), value_text(&value));
        }
    }
    assert_eq!(at_once, stepped, "{text}: at one time and as the only step of a range");
}

pub(crate) fn corpus() -> Vec<Vec<u8>> {
    let all = [
        "sum by (a) (rate(c_total[5m] offset 1m)) / on(a) group_left(v) target_info",
        "histogram_quantile(0.9, b_bucket)",
        "m{a=~\"x|y\", n!=\"2\"} @ 300 > bool 2",
        "max_over_time(rate(c_total[5m])[10m:1m])",
        "topk(1, m) or vector(1)",
        "label_replace(m, \"z\", \"$1-x\", \"a\", \"(.*)\")",
        "-m ^ 2 % 3 atan2 m",
        "histogram_sum(rate(h[5m]))",
        "absent_over_time(nothing[5m])",
        "count_values(\"v\", m)",
        "{\"m\", a=\"x\"} unless on(a) c_total",
        "quantile_over_time(0.5, m[5m])",
        "sort_desc(m) and ignoring(n) m",
        "predict_linear(m[10m], 3600)",
        "'text'",
        "1 + 2",
        "sum(m) without (n)",
        "increase(c_total[5m] smoothed)",
        "m + on(a) fill(0) c_total",
        "limit_ratio(0.5, m)",
        "info(m)",
        "rate(m[step()+5m])",
        "holt_winters(m[5m], 0.5, 0.5)",
        "double_exponential_smoothing(m[5m], 0.5, 0.5)",
        "avg(h) * 2",
        "day_of_month(vector(time()))",
        "scalar(m{n=\"1\"}) + time()",
        "stdvar_over_time(m[5m])",
    ];
    let mut all: Vec<Vec<u8>> = all.iter().map(|text| text.as_bytes().to_vec()).collect();
    all.extend(crate::finds::of("promql_parse"));
    all.extend(crate::finds::of("promql_eval"));
    all
}

pub(crate) const SERIES_WORDS: &[&str] = &[
    "m",
    "{a=\"b\"}",
    " ",
    "1",
    "+1x3",
    "-0.5x10",
    "x1000000000",
    "_",
    "_x5",
    "stale",
    "NaN",
    "Inf",
    "{{",
    "}}",
    "schema:",
    "count:",
    "sum:",
    "buckets:[",
    "]",
    "n_buckets:[",
    "offset:",
    "z_bucket:",
    "z_bucket_w:",
    "custom_values:[",
    "counter_reset_hint:gauge",
    "-53",
];

/// Any text as a series of a test script.
pub(crate) fn series(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(&bytes[..bytes.len().min(500)]) else { return };
    if let Ok((_, values)) = promql::parse_series_description(text) {
        assert!(values.len() <= promql::SERIES_VALUES_MAX);
    }
}

pub(crate) fn series_corpus() -> Vec<Vec<u8>> {
    let all = [
        "m{a=\"b\"} 1+1x10 _ _x3 stale NaN -Inf 0x5",
        "h {{schema:1 count:6 sum:9 z_bucket:1 z_bucket_w:0.1 buckets:[1 2 3] n_buckets:[4]}}x4",
        "h {{schema:-53 count:3 sum:1 custom_values:[1 5] buckets:[1 1 1]}}+{{schema:-53 custom_values:[1 5] buckets:[1]}}x4",
        "{\"m.x\"} 1 2 3",
        "m",
    ];
    all.iter().map(|text| text.as_bytes().to_vec()).chain(crate::finds::of("promql_series")).collect()
}

pub(crate) const SCRIPT_WORDS: &[&str] = &[
    "load 5m\n",
    "load_with_nhcb 1m\n",
    "clear\n",
    "eval instant at 1m ",
    "eval range from 0 to 5m step 1m ",
    "eval_ordered instant at 1m ",
    "  m 1+1x5\n",
    "  expect fail\n",
    "  expect no_warn\n",
    "  expect ordered\n",
    "  {} 1\n",
    "m",
    "sum(m)",
    "\n",
    "  ",
    "expect string \"a\"",
    "x9999999",
];

/// Any text as a test script.
pub(crate) fn script(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(&bytes[..bytes.len().min(600)]) else { return };
    let (engine, _) = store();
    let _ = promqltest::run_script(text, engine, &|| Box::new(MemoryStore::new()));
}

pub(crate) fn script_corpus() -> Vec<Vec<u8>> {
    let all = [
        "load 5m\n  m{a=\"b\"} 0+10x10\n\neval instant at 10m m\n  m{a=\"b\"} 20\n",
        "load 1m\n  m 1 2 3\nclear\nload 1m\n  n 1x5\neval range from 0 to 3m step 1m n\n  n 1 1 1 1\neval instant at 1m 1/0\n  expect no_warn\n  +Inf\n",
        "eval instant at 1m foo(\n  expect fail\n",
    ];
    all.iter().map(|text| text.as_bytes().to_vec()).chain(crate::finds::of("promql_script")).collect()
}
