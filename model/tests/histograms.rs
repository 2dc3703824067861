//! Native histograms against recorded behaviour of upstream.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::path::PathBuf;
use std::sync::Arc;

use model::histogram::quantile::{histogram_fraction, histogram_quantile};
use model::histogram::{
    Bucket, ClassicBucket, ClassicHistogram, HistogramError, Span, TrimKeep, bucket_quantile,
    exponential_bound, nhcb_to_classic,
};
use model::{CounterResetHint, FloatHistogram, Histogram, HistogramValue, Labels};
use serde_json::Value;

fn folder() -> Option<PathBuf> {
    testkit::conformance_dir("histograms")
}

/// Runs `check` on each case of a file; a case passes if it answers `Ok`.
fn run(file: &str, check: impl Fn(&Value) -> Result<(), String>) {
    let Some(folder) = folder() else { return };
    let cases = testkit::json_lines(&folder.join(file));
    let mut passed = 0;
    for (line, case) in cases.iter().enumerate() {
        match check(case) {
            Ok(()) => passed += 1,
            Err(why) => println!("{file}:{}: {why}", line + 1),
        }
    }
    println!("{file}: {passed} / {}", cases.len());
    assert_eq!(passed, cases.len(), "{file}");
    assert!(passed > 0, "{file} is empty");
}

fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) if text == "stale" => model::stale_nan(),
        Value::String(text) => model::float::parse(text).unwrap(),
        other => other.as_f64().unwrap(),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().map(|all| all.iter().map(number).collect()).unwrap_or_default()
}

fn integers(value: &Value) -> Vec<i64> {
    value.as_array().map(|all| all.iter().map(|v| v.as_i64().unwrap()).collect()).unwrap_or_default()
}

fn spans(value: &Value) -> Arc<[Span]> {
    let span = |pair: &Value| Span {
        offset: i32::try_from(pair[0].as_i64().unwrap()).unwrap(),
        length: u32::try_from(pair[1].as_i64().unwrap()).unwrap(),
    };
    value.as_array().unwrap().iter().map(span).collect()
}

fn hint(value: &Value) -> CounterResetHint {
    match value.as_str().unwrap() {
        "unknown" => CounterResetHint::Unknown,
        "not_reset" | "not_counter_reset" => CounterResetHint::NotCounterReset,
        "reset" | "counter_reset" => CounterResetHint::CounterReset,
        "gauge" => CounterResetHint::Gauge,
        other => panic!("hint {other}"),
    }
}

fn schema(value: &Value) -> i32 {
    i32::try_from(value["schema"].as_i64().unwrap()).unwrap()
}

fn float(value: &Value) -> FloatHistogram {
    FloatHistogram {
        counter_reset_hint: hint(&value["counter_reset_hint"]),
        schema: schema(value),
        zero_threshold: number(&value["zero_threshold"]),
        zero_count: number(&value["zero_count"]),
        count: number(&value["count"]),
        sum: number(&value["sum"]),
        positive_spans: spans(&value["positive_spans"]),
        negative_spans: spans(&value["negative_spans"]),
        positive_buckets: numbers(&value["positive_buckets"]),
        negative_buckets: numbers(&value["negative_buckets"]),
        custom_values: Arc::from(numbers(&value["custom_values"])),
    }
}

fn integer(value: &Value) -> Histogram {
    Histogram {
        counter_reset_hint: hint(&value["counter_reset_hint"]),
        schema: schema(value),
        zero_threshold: number(&value["zero_threshold"]),
        zero_count: value["zero_count"].as_u64().unwrap(),
        count: value["count"].as_u64().unwrap(),
        sum: number(&value["sum"]),
        positive_spans: spans(&value["positive_spans"]),
        negative_spans: spans(&value["negative_spans"]),
        positive_buckets: integers(&value["positive_deltas"]),
        negative_buckets: integers(&value["negative_deltas"]),
        custom_values: Arc::from(numbers(&value["custom_values"])),
    }
}

fn either(value: &Value) -> HistogramValue {
    match value["kind"].as_str().unwrap() {
        "int" => HistogramValue::Integer(integer(value)),
        "float" => HistogramValue::Float(float(value)),
        other => panic!("kind {other}"),
    }
}

fn near(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits()
        || a.is_nan() && b.is_nan() && !model::is_stale_nan(a) && !model::is_stale_nan(b)
        || a == b
        || (a - b).abs() <= 1e-12 * (a.abs() + b.abs())
}

fn all_near(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(*a, *b))
}

fn expect(
    what: &str,
    holds: bool,
    got: impl std::fmt::Debug,
    wanted: impl std::fmt::Debug,
) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{what}: got {got:?}, wanted {wanted:?}")) }
}

/// Layout and hint exactly, numbers nearly.
fn same_float(got: &FloatHistogram, wanted: &FloatHistogram) -> Result<(), String> {
    let same = got.counter_reset_hint == wanted.counter_reset_hint
        && got.schema == wanted.schema
        && near(got.zero_threshold, wanted.zero_threshold)
        && near(got.zero_count, wanted.zero_count)
        && near(got.count, wanted.count)
        && near(got.sum, wanted.sum)
        && got.positive_spans == wanted.positive_spans
        && got.negative_spans == wanted.negative_spans
        && all_near(&got.positive_buckets, &wanted.positive_buckets)
        && all_near(&got.negative_buckets, &wanted.negative_buckets)
        && all_near(&got.custom_values, &wanted.custom_values);
    expect("histogram", same, got, wanted)
}

fn same_integer(got: &Histogram, wanted: &Histogram) -> Result<(), String> {
    let same = got.counter_reset_hint == wanted.counter_reset_hint
        && got.schema == wanted.schema
        && got.zero_threshold == wanted.zero_threshold
        && got.zero_count == wanted.zero_count
        && got.count == wanted.count
        && near(got.sum, wanted.sum)
        && got.positive_spans == wanted.positive_spans
        && got.negative_spans == wanted.negative_spans
        && got.positive_buckets == wanted.positive_buckets
        && got.negative_buckets == wanted.negative_buckets
        && got.custom_values == wanted.custom_values;
    expect("histogram", same, got, wanted)
}

fn same(got: &HistogramValue, wanted: &Value) -> Result<(), String> {
    match (got, either(wanted)) {
        (HistogramValue::Integer(got), HistogramValue::Integer(wanted)) => same_integer(got, &wanted),
        (HistogramValue::Float(got), HistogramValue::Float(wanted)) => same_float(got, &wanted),
        (got, wanted) => Err(format!("another kind: got {got:?}, wanted {wanted:?}")),
    }
}

fn same_error(got: Result<(), impl std::fmt::Display>, case: &Value) -> Result<(), String> {
    let got = got.err().map(|error| error.to_string());
    let wanted = case.get("error").and_then(Value::as_str);
    expect("error", got.as_deref() == wanted, &got, wanted)
}

type Operation =
    fn(&mut FloatHistogram, &FloatHistogram) -> Result<model::histogram::AddNotes, HistogramError>;

fn check_addition(case: &Value, operation: Operation) -> Result<(), String> {
    let mut result = float(&case["a"]);
    let outcome = operation(&mut result, &float(&case["b"]));
    same_error(outcome.map(|_| ()), case)?;
    let Ok(notes) = outcome else { return Ok(()) };
    let flag = |name: &str| case[name].as_bool().unwrap();
    let flags = (notes.counter_reset_collision, notes.nhcb_bounds_reconciled);
    let wanted = (flag("counter_reset_collision"), flag("nhcb_bounds_reconciled"));
    expect("flags", flags == wanted, flags, wanted)?;
    // Adding promises no layout: the recorded one and ours are compared compacted.
    let mut wanted = float(&case["result"]);
    wanted.compact(0);
    result.compact(0);
    same_float(&result, &wanted)
}

#[test]
fn adding_gives_what_upstream_gives() {
    run("add.jsonl", |case| check_addition(case, FloatHistogram::add));
}

#[test]
fn compensated_adding_gives_what_upstream_gives() {
    run("add.jsonl", |case| {
        check_addition(case, |a, b| {
            let mut compensation = None;
            let notes = a.kahan_add(b, &mut compensation)?;
            if let Some(compensation) = compensation {
                assert_eq!(a.positive_spans, compensation.positive_spans);
                assert_eq!(a.positive_buckets.len(), compensation.positive_buckets.len());
                assert_eq!(a.negative_buckets.len(), compensation.negative_buckets.len());
                let hint = a.counter_reset_hint;
                a.add(&compensation)?;
                a.counter_reset_hint = hint;
            }
            Ok(notes)
        })
    });
}

#[test]
fn subtracting_gives_what_upstream_gives() {
    run("sub.jsonl", |case| check_addition(case, FloatHistogram::sub));
}

#[test]
fn scaling_gives_what_upstream_gives() {
    run("mul.jsonl", |case| {
        let mut result = float(&case["a"]);
        result.mul(number(&case["scalar"]));
        same_float(&result, &float(&case["result"]))
    });
    run("div.jsonl", |case| {
        let mut result = float(&case["a"]);
        result.div(number(&case["scalar"]));
        same_float(&result, &float(&case["result"]))
    });
}

#[test]
fn compacting_gives_what_upstream_gives() {
    run("compact.jsonl", |case| {
        let allowed = usize::try_from(case["max_empty_buckets"].as_i64().unwrap()).unwrap();
        let mut result = either(&case["a"]);
        match &mut result {
            HistogramValue::Integer(h) => h.compact(allowed),
            HistogramValue::Float(h) => h.compact(allowed),
        }
        same(&result, &case["result"])
    });
}

#[test]
fn lowering_the_resolution_gives_what_upstream_gives() {
    let target = |case: &Value| i32::try_from(case["target_schema"].as_i64().unwrap()).unwrap();
    run("reduce-resolution.jsonl", |case| {
        let mut result = either(&case["a"]);
        let outcome = match &mut result {
            HistogramValue::Integer(h) => h.reduce_resolution(target(case)),
            HistogramValue::Float(h) => h.reduce_resolution(target(case)),
        };
        same_error(outcome, case)?;
        if outcome.is_err() { Ok(()) } else { same(&result, &case["result"]) }
    });
    run("copy-to-schema.jsonl", |case| {
        let result = float(&case["a"]).copy_to_schema(target(case)).map_err(|e| e.to_string())?;
        same_float(&result, &float(&case["result"]))
    });
}

#[test]
fn resets_are_seen_where_upstream_sees_them() {
    run("detect-reset.jsonl", |case| {
        let got = float(&case["current"]).detect_reset(&float(&case["previous"]));
        expect("reset", Some(got) == case["result"].as_bool(), got, &case["result"])
    });
}

#[test]
fn float_counts_are_upstreams() {
    run("to-float.jsonl", |case| {
        let got = integer(&case["a"]).to_float();
        let wanted = float(&case["result"]);
        same_float(&got, &wanted)?;
        // A bound of NaN equals none, itself included.
        let has_nan_bound = got.custom_values.iter().any(|bound| bound.is_nan());
        expect("equal", has_nan_bound || got.equals(&wanted), &got, &wanted)
    });
}

#[test]
fn texts_are_upstreams() {
    run("string.jsonl", |case| {
        let got = match either(&case["a"]) {
            HistogramValue::Integer(h) => h.to_string(),
            HistogramValue::Float(h) => h.to_string(),
        };
        expect("text", Some(got.as_str()) == case["result"].as_str(), &got, &case["result"])
    });
}

#[test]
fn faults_are_named_as_upstream_names_them() {
    run("validate.jsonl", |case| {
        let outcome = either(&case["a"]).validate();
        expect("ok", Some(outcome.is_ok()) == case["ok"].as_bool(), outcome, &case["ok"])?;
        same_error(outcome, case)
    });
}

#[test]
fn trimming_gives_what_upstream_gives() {
    run("trim-buckets.jsonl", |case| {
        let mut result = float(&case["a"]);
        let keep = if case["is_upper_trim"].as_bool().unwrap() { TrimKeep::Below } else { TrimKeep::Above };
        result.trim_buckets(number(&case["bound"]), keep);
        same_float(&result, &float(&case["result"]))
    });
}

#[test]
fn bounds_and_fractions_are_upstreams() {
    run("bounds-and-fractions.jsonl", |case| match case["op"].as_str().unwrap() {
        "upper_bound_exponential" => {
            let index = i32::try_from(case["index"].as_i64().unwrap()).unwrap();
            let got = exponential_bound(index, schema(case));
            let wanted = number(&case["upper_bound"]);
            expect("bound", got.to_bits() == wanted.to_bits(), got, wanted)
        }
        "fraction_below" => {
            let bucket = Bucket {
                lower: number(&case["lower"]),
                upper: number(&case["upper"]),
                lower_inclusive: false,
                upper_inclusive: true,
                count: 1.0,
                index: 0,
            };
            let got = bucket.fraction_below(number(&case["value"]), case["linear"].as_bool().unwrap());
            let wanted = number(&case["fraction"]);
            expect("fraction", near(got, wanted), got, wanted)
        }
        other => Err(format!("operation {other}")),
    });
}

#[test]
fn buckets_quantiles_and_fractions_are_upstreams() {
    run("buckets-quantiles-fractions.jsonl", |case| {
        let histogram = float(&case["histogram"]);
        let wanted: Vec<Bucket> = case["buckets"].as_array().unwrap().iter().map(bucket_of).collect();
        let got: Vec<Bucket> = histogram.all_buckets().collect();
        expect("buckets", got == wanted, &got, &wanted)?;
        let mut backwards: Vec<Bucket> = histogram.all_buckets().rev().collect();
        backwards.reverse();
        expect("buckets backwards", backwards == wanted, &backwards, &wanted)?;
        for pair in case["quantiles"].as_array().unwrap() {
            let got = histogram_quantile(number(&pair[0]), &histogram).value;
            expect("quantile", near(got, number(&pair[1])), got, pair)?;
        }
        for triple in case["fractions"].as_array().unwrap() {
            let got = histogram_fraction(number(&triple[0]), number(&triple[1]), &histogram).value;
            expect("fraction", near(got, number(&triple[2])), got, triple)?;
        }
        let text = histogram.to_string();
        expect("text", Some(text.as_str()) == case["string"].as_str(), &text, &case["string"])?;
        // The texts were recorded without hints, which upstream would write too.
        let unhinted = FloatHistogram { counter_reset_hint: CounterResetHint::Unknown, ..histogram };
        let text = unhinted.test_expression();
        expect(
            "text",
            Some(text.as_str()) == case["test_expression"].as_str(),
            &text,
            &case["test_expression"],
        )
    });
}

fn bucket_of(fields: &Value) -> Bucket {
    Bucket {
        lower: number(&fields[0]),
        upper: number(&fields[1]),
        lower_inclusive: fields[2].as_bool().unwrap(),
        upper_inclusive: fields[3].as_bool().unwrap(),
        count: number(&fields[4]),
        index: i32::try_from(fields[5].as_i64().unwrap()).unwrap(),
    }
}

#[test]
fn classic_quantiles_are_upstreams() {
    run("classic-bucket-quantile.jsonl", |case| {
        let bucket = |pair: &Value| ClassicBucket { upper_bound: number(&pair[0]), count: number(&pair[1]) };
        let mut buckets: Vec<ClassicBucket> =
            case["buckets"].as_array().unwrap().iter().map(bucket).collect();
        let got = bucket_quantile(number(&case["q"]), &mut buckets);
        expect("quantile", near(got.value, number(&case["quantile"])), got, &case["quantile"])?;
        let flags = (Some(got.forced_monotonic), Some(got.fixed_precision));
        let wanted = (case["forced_monotonic"].as_bool(), case["fixed_precision"].as_bool());
        expect("repairs", flags == wanted, flags, wanted)
    });
}

#[test]
fn classic_series_become_upstreams_histograms() {
    run("classic-to-nhcb.jsonl", |case| {
        let mut classic = ClassicHistogram::default();
        let calls = case["set"].as_array().cloned().unwrap_or_default();
        let set = |call: &Value, classic: &mut ClassicHistogram| match call[0].as_str().unwrap() {
            "bucket" => classic.set_bucket_count(number(&call[1]), number(&call[2])),
            "count" => classic.set_count(number(&call[1])),
            "sum" => classic.set_sum(number(&call[1])),
            other => panic!("call {other}"),
        };
        // Each call answers the first error again, and so does converting.
        let outcomes: Vec<_> = calls.iter().map(|call| set(call, &mut classic)).collect();
        let converted = classic.convert();
        if let Some(error) = outcomes.iter().find_map(|outcome| outcome.err()) {
            expect("error kept", converted.as_ref().err() == Some(&error), &converted, error)?;
        }
        match converted {
            Ok(got) if case["ok"].as_bool() == Some(true) => same(&got, &case["result"]),
            outcome => same_error(outcome.map(|_| ()), case),
        }
    });
}

#[test]
fn custom_buckets_become_upstreams_classic_series() {
    run("nhcb-to-classic.jsonl", |case| {
        let Some(histogram) = case.get("nhcb").filter(|h| !h.is_null()) else {
            // A histogram of no kind cannot be written down here.
            return expect("error", case["error"] == "unsupported histogram type: <nil>", (), case);
        };
        let labels_of = |value: &Value| {
            let pairs = value.as_object().unwrap().iter();
            Labels::from_pairs(pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())))
        };
        let mut got = Vec::new();
        let outcome = nhcb_to_classic(&either(histogram), &labels_of(&case["labels"]), |labels, value| {
            got.push((labels, value));
        });
        same_error(outcome, case)?;
        let series = case.get("series").and_then(Value::as_array).cloned().unwrap_or_default();
        let wanted: Vec<(Labels, f64)> =
            series.iter().map(|one| (labels_of(&one["labels"]), number(&one["value"]))).collect();
        expect("series", got == wanted, &got, &wanted)
    });
}
