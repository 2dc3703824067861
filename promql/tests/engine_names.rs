//! What becomes of series that are the same once their names are gone: at once,
//! or when the query ends.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use promql::{Engine, EngineOptions, Features};
use testkit::MemoryStore;
use testkit::promqltest::{Runs, ScriptStore, run_all};

fn passes(delayed_name_removal: bool, script: &str) {
    let options = EngineOptions { features: Features::all(), delayed_name_removal, ..Default::default() };
    let make_store = || -> Box<dyn ScriptStore> { Box::new(MemoryStore::new()) };
    let report = run_all(script, &Engine::new(options), &make_store, Runs::default()).unwrap();
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert!(report.passed > 0);
}

/// `a` and `b` take turns: their samples never meet.
const TURNS: &str = "
load 1m
  a{x=\"1\"} 1 2 _ _ _
  b{x=\"1\"} _ _ 3 4 5
";

#[test]
fn range_functions_refuse_series_that_take_turns() {
    let script = format!(
        "{TURNS}
eval range from 0 to 4m step 1m sum_over_time({{__name__=~\"a|b\"}}[1m])
  expect fail msg: vector cannot contain metrics with the same labelset

eval range from 0 to 1m step 1m sum_over_time({{__name__=~\"a|b\"}}[1m])
  {{x=\"1\"}} 1 2
"
    );
    passes(false, &script);
}

#[test]
fn other_functions_make_one_of_them() {
    let script = format!(
        "{TURNS}
eval range from 0 to 4m step 1m abs(last_over_time({{__name__=~\"a|b\"}}[1m]))
  {{x=\"1\"}} 1 2 3 4 5

eval range from 0 to 4m step 1m -last_over_time({{__name__=~\"a|b\"}}[1m])
  {{x=\"1\"}} -1 -2 -3 -4 -5
"
    );
    passes(false, &script);
    passes(true, &script);
}

#[test]
fn errors_of_the_left_side_come_before_those_of_the_right() {
    let left = "count_over_time({__name__=~\"a|b\"}[5m])";
    let right = "(h{x=\"1\"} * on () h)";
    let mut script = format!("{TURNS}  h{{x=\"1\"}} 1x4\n  h{{x=\"2\"}} 1x4\n");
    for operator in ["and", "unless", "or", "+", "> on ()"] {
        script += &format!(
            "
eval range from 1m to 4m step 1m {left} {operator} {right}
  expect fail msg: vector cannot contain metrics with the same labelset

eval range from 1m to 4m step 1m {right} {operator} {left}
  expect fail regex: ^found duplicate series
"
        );
    }
    passes(false, &script);
}

#[test]
fn names_that_go_late_let_range_functions_take_turns() {
    let script = format!(
        "{TURNS}
eval range from 0 to 4m step 1m sum_over_time({{__name__=~\"a|b\"}}[1m])
  {{x=\"1\"}} 1 2 3 4 5
"
    );
    passes(true, &script);
}

#[test]
fn the_first_sample_of_a_union_decides_on_its_name() {
    // `rate` of a comes first where the left side begins later.
    let script = "
load 1m
  a_total{x=\"1\"} 0 60 120 180 240
  a_total{x=\"2\"} 0 60 120 180 240

eval range from 1m to 4m step 1m (a_total{x=\"1\"} > 100) or rate(a_total{x=\"1\"}[2m])
  {x=\"1\"} 0.5 120 180 240

eval range from 1m to 4m step 1m (a_total{x=\"2\"} < 200) or rate(a_total{x=\"2\"}[2m])
  a_total{x=\"2\"} 60 120 180 1
";
    passes(true, script);
}

#[test]
fn instant_queries_that_drop_names_late_find_equal_series_at_their_end() {
    let script = "
load 1m
  h{x=\"1\"} {{schema:0 sum:1 count:2 buckets:[1 1]}}

eval instant at 0m sum(histogram_quantiles(h, \"q\", 1, 1) * 0)
  {} 0

eval instant at 0m histogram_quantiles(h, \"q\", 1, 1) < 0

eval instant at 0m histogram_quantiles(h, \"q\", 1, 1)
  expect fail msg: vector cannot contain metrics with the same labelset
";
    let runs = Runs { range: false, ..Runs::default() };
    let options =
        EngineOptions { features: Features::all(), delayed_name_removal: true, ..Default::default() };
    let make_store = || -> Box<dyn ScriptStore> { Box::new(MemoryStore::new()) };
    let report = run_all(script, &Engine::new(options), &make_store, runs).unwrap();
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert_eq!(report.passed, 3);
}

#[test]
fn remarks_on_classic_histograms_show_names_that_go_late() {
    let script = |named: &str| {
        format!(
            "
load 1m
  h_bucket{{le=\"1\"}} 5 5
  h_bucket{{le=\"2\"}} 3 3
  h_bucket{{le=\"+Inf\"}} 6 6

eval instant at 1m histogram_quantile(0.5, h_bucket)
  expect info regex: histogram_quantile\\){named}, from buckets 2 to 2, with a max diff of 2
  {{}} 0.6

eval instant at 1m histogram_quantiles(h_bucket, \"q\", 0.5)
  expect info regex: histogram_quantile\\){named}, from buckets 2 to 2, with a max diff of 2
  {{q=\"0.5\"}} 0.6
"
        )
    };
    passes(false, &script(""));
    passes(true, &script(" for metric name \"h_bucket\""));
}

#[test]
fn what_is_evaluated_once_finds_equal_series_at_the_end_too() {
    let script = "
load 1m
  h_bucket{le=\"1\"} 5 5
  h_bucket{le=\"+Inf\"} 6 6
  a{x=\"1\"} 1 2
  a{x=\"2\"} 1 2

eval range from 0 to 1m step 1m histogram_quantiles(h_bucket @ 60, \"q\", 0, 0)
  expect fail msg: vector cannot contain metrics with the same labelset

eval range from 0 to 1m step 1m label_replace(a @ 60, \"x\", \"3\", \"\", \"\")
  expect fail msg: vector cannot contain metrics with the same labelset
";
    passes(false, script);
    passes(true, script);
}

#[test]
fn quantiles_of_classic_histograms_keep_names_that_go_late() {
    let script = |labels: &str| {
        format!(
            "
load 1m
  h_bucket{{le=\"1\"}} 5 5
  h_bucket{{le=\"+Inf\"}} 5 5

eval instant at 1m count_values by (__name__) (\"v\", histogram_quantile(0.5, h_bucket))
  {labels} 1
"
        )
    };
    passes(false, &script("{v=\"0.5\"}"));
    passes(true, &script("h_bucket{v=\"0.5\"}"));
}
