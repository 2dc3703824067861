//! The parsers against upstream's own cases and recorded pages.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use model::{FloatHistogram, Histogram, HistogramValue};
use scrape::exposition::{Entry, Format, LabelBuf, ParseError, ParseOptions, Parser, select_format};
use serde_json::{Value, json};
use testkit::{conformance_dir, json_lines};

fn format_named(name: &str) -> Format {
    match name {
        "prometheus-text" => Format::Text,
        "openmetrics" => Format::OpenMetrics,
        "prometheus-protobuf" => Format::Protobuf,
        other => panic!("unknown format {other}"),
    }
}

fn options_of(value: &Value) -> ParseOptions {
    let on = |name: &str| value[name].as_bool().unwrap_or(false);
    ParseOptions {
        type_and_unit_labels: on("type_and_unit_labels"),
        ignore_native_histograms: on("ignore_native_histograms"),
        convert_classic_to_nhcb: on("convert_classic_to_nhcb"),
        keep_classic: on("keep_classic"),
        start_timestamps: on("skip_created_series"),
    }
}

fn float(value: f64) -> String {
    if model::is_stale_nan(value) { "stale".to_owned() } else { model::float::format_g(value) }
}

/// All entries in the notation of the cases, and the error that ended them.
fn entries(page: &[u8], format: Format, options: ParseOptions) -> (Vec<Value>, Option<ParseError>) {
    let mut parser = Parser::new(page, format, options);
    let mut entries = Vec::new();
    let mut labels = LabelBuf::new();
    loop {
        let entry = match parser.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return (entries, None),
            Err(error) => return (entries, Some(error)),
        };
        let metric = String::from_utf8_lossy(parser.metric()).into_owned();
        let mut object = match entry {
            Entry::Comment => json!({"entry": "comment", "comment": parser.text()}),
            Entry::Help => json!({"entry": "help", "metric": metric, "help": parser.text()}),
            Entry::Unit => json!({"entry": "unit", "metric": metric, "unit": parser.text()}),
            Entry::Type(metric_type) => {
                json!({"entry": "type", "metric": metric, "type": metric_type.as_str()})
            }
            Entry::Series { value, .. } => {
                json!({"entry": "series", "metric": metric, "value": float(value)})
            }
            Entry::Histogram { .. } => {
                let histogram = parser.take_histogram().expect("a histogram entry has one");
                json!({"entry": "histogram", "metric": metric, "histogram": histogram_json(&histogram)})
            }
        };
        if let Entry::Series { timestamp_ms, .. } | Entry::Histogram { timestamp_ms } = entry {
            parser.labels(&mut labels);
            object["labels"] = labels.iter().map(|(name, value)| json!([name, value])).collect();
            if let Some(timestamp_ms) = timestamp_ms {
                object["timestamp_ms"] = json!(timestamp_ms);
            }
            let start = if format == Format::Protobuf || options.start_timestamps {
                parser.start_timestamp_ms()
            } else {
                0
            };
            if start != 0 {
                object["start_timestamp_ms"] = json!(start);
            }
            let mut exemplars = Vec::new();
            while let Some(exemplar) = parser.next_exemplar() {
                let pairs: Value = exemplar.labels.iter().map(|l| json!([l.name, l.value])).collect();
                let mut one = json!({"labels": pairs, "value": float(exemplar.value)});
                if exemplar.has_timestamp {
                    one["timestamp_ms"] = json!(exemplar.timestamp_ms);
                }
                exemplars.push(one);
            }
            if !exemplars.is_empty() {
                object["exemplars"] = json!(exemplars);
            }
        }
        entries.push(object);
    }
}

fn histogram_json(value: &HistogramValue) -> Value {
    let spans =
        |spans: &[model::Span]| -> Value { spans.iter().map(|s| json!([s.offset, s.length])).collect() };
    let floats = |values: &[f64]| -> Value { values.iter().map(|v| json!(float(*v))).collect() };
    let hint = |hint: model::CounterResetHint| match hint {
        model::CounterResetHint::Gauge => "gauge",
        _ => "unknown",
    };
    match value {
        HistogramValue::Integer(Histogram {
            counter_reset_hint,
            schema,
            zero_threshold,
            zero_count,
            count,
            sum,
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values,
        }) => json!({
            "kind": "int", "counter_reset_hint": hint(*counter_reset_hint), "schema": schema,
            "zero_threshold": float(*zero_threshold), "zero_count": zero_count, "count": count, "sum": float(*sum),
            "positive_spans": spans(positive_spans), "negative_spans": spans(negative_spans),
            "positive_deltas": positive_buckets, "negative_deltas": negative_buckets,
            "custom_values": floats(custom_values),
        }),
        HistogramValue::Float(FloatHistogram {
            counter_reset_hint,
            schema,
            zero_threshold,
            zero_count,
            count,
            sum,
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values,
        }) => json!({
            "kind": "float", "counter_reset_hint": hint(*counter_reset_hint), "schema": schema,
            "zero_threshold": float(*zero_threshold), "zero_count": float(*zero_count),
            "count": float(*count), "sum": float(*sum),
            "positive_spans": spans(positive_spans), "negative_spans": spans(negative_spans),
            "positive_buckets": floats(positive_buckets), "negative_buckets": floats(negative_buckets),
            "custom_values": floats(custom_values),
        }),
    }
}

fn input_of(case: &Value) -> Vec<u8> {
    match case["input_base64"].as_str() {
        Some(text) => base64::engine::general_purpose::STANDARD.decode(text).expect("the cases hold base64"),
        None => case["input"].as_str().expect("a case has an input").as_bytes().to_vec(),
    }
}

#[test]
fn upstreams_parser_cases_agree() {
    let Some(dir) = conformance_dir("exposition") else { return };
    let cases = json_lines(&dir.join("prometheus-textparse/cases.jsonl"));
    let (mut passed, mut same_text, mut errors) = (0, 0, 0);
    for case in &cases {
        let format = format_named(case["format"].as_str().expect("a case has a format"));
        let (found, error) = entries(&input_of(case), format, options_of(&case["options"]));
        let expected = case["entries"].as_array().expect("a case has entries");
        let fails = case["outcome"] == "error";
        if &found == expected && error.is_some() == fails {
            passed += 1;
        } else {
            println!(
                "case {}: {:?}, expected {}",
                case["id"],
                error.as_ref().map(ToString::to_string),
                case["outcome"]
            );
            for (i, entry) in found.iter().enumerate() {
                if expected.get(i) != Some(entry) {
                    println!(
                        "  entry {i}\n  found    {entry}\n  expected {}",
                        expected.get(i).unwrap_or(&Value::Null)
                    );
                    break;
                }
            }
            println!("  {} entries of {}", found.len(), expected.len());
        }
        if fails {
            errors += 1;
            let text = error.map(|e| e.to_string()).unwrap_or_default();
            if text == case["error"] {
                same_text += 1;
            } else {
                println!("case {}: error\n  found    {text}\n  expected {}", case["id"], case["error"]);
            }
        }
    }
    println!("textparse error texts: {same_text} / {errors}");
    println!("textparse cases: {passed} / {}", cases.len());
    assert_eq!((passed, same_text), (cases.len(), errors));
}

#[test]
fn content_types_select_upstreams_parser() {
    let Some(dir) = conformance_dir("exposition") else { return };
    let text = std::fs::read_to_string(dir.join("prometheus-textparse/content-type-cases.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut passed = 0;
    for case in &cases {
        let fallback = match case["fallback_media_type"].as_str().unwrap() {
            "" => None,
            "text/plain" => Some(Format::Text),
            "application/openmetrics-text" => Some(Format::OpenMetrics),
            _ => Some(Format::Protobuf),
        };
        let (format, text) = match select_format(case["content_type"].as_str().unwrap(), fallback) {
            Ok(selected) => {
                (Some(selected.format), selected.warning.map(|w| w.to_string()).unwrap_or_default())
            }
            Err(error) => (None, error.to_string()),
        };
        let wanted = case["parser"].as_str().map(format_named);
        let contained = case["error_contains"].as_str().unwrap();
        if format == wanted && text.contains(contained) && text.is_empty() == contained.is_empty() {
            passed += 1;
        } else {
            println!("{}: {format:?} {text}", case["name"]);
        }
    }
    println!("content types: {passed} / {}", cases.len());
    assert_eq!(passed, cases.len());
}

fn counts(page: &[u8], format: Format, options: ParseOptions) -> (BTreeMap<String, u64>, Option<ParseError>) {
    let (entries, error) = entries(page, format, options);
    let mut counts = BTreeMap::new();
    for entry in entries {
        *counts.entry(entry["entry"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    (counts, error)
}

fn counts_of(value: &Value) -> BTreeMap<String, u64> {
    value.as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.as_u64().unwrap())).collect()
}

#[test]
fn larger_pages_have_as_many_entries() {
    let Some(dir) = conformance_dir("exposition") else { return };
    let dir = dir.join("prometheus-textparse");
    let text = std::fs::read_to_string(dir.join("testdata-counts.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut passed = 0;
    for case in &cases {
        let page = std::fs::read(dir.join(case["file"].as_str().unwrap())).unwrap();
        let format = format_named(case["format"].as_str().unwrap());
        let mut options = options_of(&case["options"]);
        // The counts were taken with `_created` lines read as start timestamps.
        options.start_timestamps = format == Format::OpenMetrics;
        let (found, error) = counts(&page, format, options);
        if error.is_none() && found == counts_of(&case["counts"]) {
            passed += 1;
        } else {
            println!("{}: {found:?} {error:?}, expected {}", case["file"], case["counts"]);
        }
    }
    println!("testdata counts: {passed} / {}", cases.len());
    assert_eq!(passed, cases.len());
}

#[test]
fn openmetrics_suite_behaves_as_upstream() {
    let Some(dir) = conformance_dir("exposition") else { return };
    let dir = dir.join("openmetrics");
    let text = std::fs::read_to_string(dir.join("prometheus-behaviour.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut passed = 0;
    for case in &cases {
        let name = case["case"].as_str().unwrap();
        let page = std::fs::read(dir.join("parsers").join(name).join("metrics")).unwrap();
        let (_, error) = entries(&page, Format::OpenMetrics, ParseOptions::default());
        let text = error.map(|e| e.to_string());
        if text.as_deref() == case["prometheus_error"].as_str() {
            passed += 1;
        } else {
            println!("{name}: {text:?}, expected {}", case["prometheus_error"]);
        }
    }
    println!("openmetrics: {passed} / {}", cases.len());
    assert_eq!(passed, cases.len());
}

#[test]
fn client_python_inputs_behave_as_upstream() {
    let Some(dir) = conformance_dir("exposition") else { return };
    let cases = json_lines(&dir.join("client_python/cases.jsonl"));
    let mut passed = 0;
    for case in &cases {
        let format = format_named(case["format"].as_str().unwrap());
        let (_, error) = entries(&input_of(case), format, ParseOptions::default());
        let text = error.map(|e| e.to_string());
        if text.as_deref() == case["prometheus_error"].as_str() {
            passed += 1;
        } else {
            println!("{}: {text:?}, expected {}", case["id"], case["prometheus_error"]);
        }
    }
    println!("client_python: {passed} / {}", cases.len());
    assert_eq!(passed, cases.len());
}

#[test]
fn recorded_pages_parse() {
    let Some(dir) = conformance_dir("exposition") else { return };
    let (mut passed, mut total) = (0, 0);
    for file in std::fs::read_dir(dir.join("recorded")).unwrap() {
        let path = file.unwrap().path();
        let page = std::fs::read(&path).unwrap();
        total += 1;
        match entries(&page, Format::Text, ParseOptions::default()) {
            (found, None) if found.len() > 1000 => passed += 1,
            (found, error) => println!("{}: {} entries, {error:?}", path.display(), found.len()),
        }
    }
    println!("recorded pages: {passed} / {total}");
    assert_eq!((passed, total), (total, 2));
}

#[test]
fn real_pages_have_as_many_entries() {
    let Some(dir) = conformance_dir("realworld") else { return };
    let dir = dir.join("metrics");
    let cases: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(dir.join("manifest.json")).unwrap()).unwrap();
    let mut passed = 0;
    for case in &cases {
        let page = std::fs::read(dir.join(case["file"].as_str().unwrap())).unwrap();
        let format = format_named(case["format"].as_str().unwrap());
        // The counts were taken with `_created` lines read as start timestamps.
        let options =
            ParseOptions { start_timestamps: format == Format::OpenMetrics, ..ParseOptions::default() };
        let (found, error) = counts(&page, format, options);
        let fails = case["prometheus_parser"] != "ok";
        if error.is_some() == fails && (fails || found == counts_of(&case["entries"])) {
            passed += 1;
        } else {
            println!(
                "{}: {found:?} {error:?}, expected {} {}",
                case["file"], case["prometheus_parser"], case["entries"]
            );
        }
    }
    println!("real pages: {passed} / {}", cases.len());
    assert_eq!(passed, cases.len());
}

#[test]
fn client_side_testdata_parses_in_both_formats() {
    let Some(dir) = conformance_dir("exposition") else { return };
    let read = |name: &str| read_file(&dir.join("expfmt/testdata").join(name));
    let (text, error) = counts(&read("text"), Format::Text, ParseOptions::default());
    assert_eq!(error, None);
    let (protobuf, error) = counts(&read("protobuf"), Format::Protobuf, ParseOptions::default());
    assert_eq!(error, None);
    assert_eq!((text["series"], text["type"]), (protobuf["series"], protobuf["type"]));
    let (_, error) = counts(&read("protobuf-multimessage"), Format::Protobuf, ParseOptions::default());
    assert_eq!(error, None);
}

fn read_file(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
