//! Upstream's evaluation scripts on the memory store.

use promql::{Engine, EngineOptions, Features};
use testkit::promqltest::{Runs, ScriptStore, run_all, run_script};
use testkit::{MemoryStore, conformance_dir, json_lines};

fn options() -> EngineOptions {
    EngineOptions {
        features: Features::all(),
        max_samples: 10_000,
        timeout_ms: 100_000,
        delayed_name_removal: true,
        use_start_timestamps: true,
        ..EngineOptions::default()
    }
}

fn store() -> Box<dyn ScriptStore> {
    Box::new(MemoryStore::new())
}

/// Runs a script, prints each failure, and asserts that there is none.
fn check(name: &str, options: EngineOptions) {
    let Some(dir) = conformance_dir("promql") else { return };
    let script = std::fs::read_to_string(dir.join(name)).expect("the script is there");
    let report = run_all(&script, &Engine::new(options), &store, Runs::default())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let total = report.passed + report.failures.len();
    println!("{name}: {} / {total}", report.passed);
    for failure in report.failures.iter().take(40) {
        println!("  {failure}");
    }
    assert_eq!(report.passed, total, "{name}");
}

macro_rules! scripts {
    ($($test:ident: $file:literal,)*) => {
        $(#[test]
        fn $test() {
            check($file, options());
        })*
    };
}

scripts! {
    aggregators: "aggregators.test",
    at_modifier: "at_modifier.test",
    collision: "collision.test",
    duration_expression: "duration_expression.test",
    extended_vectors: "extended_vectors.test",
    fill_modifier: "fill-modifier.test",
    functions: "functions.test",
    histograms: "histograms.test",
    info: "info.test",
    limit: "limit.test",
    literals: "literals.test",
    name_label_dropping: "name_label_dropping.test",
    native_histograms: "native_histograms.test",
    operators: "operators.test",
    range_queries: "range_queries.test",
    selectors: "selectors.test",
    staleness: "staleness.test",
    start_timestamps: "start_timestamps.test",
    subquery: "subquery.test",
    trig_functions: "trig_functions.test",
    type_and_unit: "type_and_unit.test",
}

#[test]
fn names_dropped_at_once() {
    check("delayed_name_removal_disabled.test", EngineOptions { delayed_name_removal: false, ..options() });
}

#[test]
fn the_runner_itself() {
    let Some(dir) = conformance_dir("promql") else { return };
    let cases = json_lines(&dir.join("runner-self-test.jsonl"));
    let engine = Engine::new(options());
    let mut passed = 0;
    for case in &cases {
        let name = case["name"].as_str().expect("a name");
        let script = case["script"].as_str().expect("a script");
        let ok = case["ok"].as_bool().expect("an outcome");
        match run_script(script, &engine, &store) {
            Ok(()) if ok => passed += 1,
            Err(_) if !ok => passed += 1,
            Ok(()) => println!("  {name}: passed, but should fail with {}", case["error"]),
            Err(error) => println!("  {name}: {error}"),
        }
    }
    println!("runner-self-test.jsonl: {passed} / {}", cases.len());
    assert_eq!(passed, cases.len());
}
