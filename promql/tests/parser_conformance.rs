//! The lexer, parser and printers against the outcomes recorded from upstream.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::PathBuf;

use promql::lexer::{Lexer, Token, TokenKind};
use promql::{Features, ParseErrors};
use serde_json::Value;
use testkit::{conformance_dir, json_lines};

/// Counts cases and shows the first that fail.
struct Tally {
    name: &'static str,
    passed: usize,
    total: usize,
}

impl Tally {
    fn new(name: &'static str) -> Tally {
        Tally { name, passed: 0, total: 0 }
    }

    fn case(&mut self, input: &str, problems: Vec<String>) {
        self.total += 1;
        if problems.is_empty() {
            self.passed += 1;
        } else if self.total - self.passed <= 25 {
            let input: String = input.chars().take(300).collect();
            println!("{}: {input}\n    {}", self.name, problems.join("\n    "));
        }
    }

    fn finish(self) {
        println!("{}: {} / {}", self.name, self.passed, self.total);
        assert!(self.total > 0, "{} has no cases", self.name);
        assert_eq!(self.passed, self.total, "{}", self.name);
    }
}

fn file(name: &str) -> Option<PathBuf> {
    Some(conformance_dir("promql-parser")?.join(name))
}

fn features_of(names: &Value) -> Features {
    let mut features = Features::none();
    for name in names.as_array().unwrap() {
        match name.as_str().unwrap() {
            "experimental_functions" => features.experimental_functions = true,
            "duration_expr" => features.duration_expr = true,
            "extended_range_selectors" => features.extended_range_selectors = true,
            "binop_fill_modifiers" => features.binop_fill_modifiers = true,
            other => panic!("unknown feature {other}"),
        }
    }
    features
}

fn input_of(case: &Value) -> Vec<u8> {
    match case["input"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => decode_base64(case["input_base64"].as_str().unwrap()),
    }
}

fn decode_base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut n_bits) = (0u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        bits = bits << 6 | ALPHABET.iter().position(|a| *a == c).unwrap() as u32;
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits) as u8);
        }
    }
    bytes
}

fn compare(problems: &mut Vec<String>, what: &str, got: &str, want: &str) {
    if got != want {
        problems.push(format!("{what}\n      got  {got}\n      want {want}"));
    }
}

/// Errors in a form to compare: each with its range and message, then the first as shown.
fn errors_as_text(errors: &ParseErrors) -> Vec<String> {
    let mut lines: Vec<String> =
        errors.errors().iter().map(|e| format!("{}..{} {}", e.pos.start, e.pos.end, e.message)).collect();
    lines.push(errors.to_string());
    lines
}

fn expected_errors(case: &Value) -> Vec<String> {
    let errors = case["errors"].as_array().unwrap();
    let mut lines: Vec<String> = errors
        .iter()
        .map(|e| format!("{}..{} {}", e["start"], e["end"], e["message"].as_str().unwrap()))
        .collect();
    lines.push(errors[0]["full"].as_str().unwrap().to_owned());
    lines
}

fn compare_errors(problems: &mut Vec<String>, got: &ParseErrors, case: &Value) {
    let (got, want) = (errors_as_text(got), expected_errors(case));
    if got != want {
        let differ = got.iter().zip(&want).find(|(got, want)| got != want);
        problems.push(format!(
            "errors: {} for {}\n      first difference: {differ:?}",
            got.len(),
            want.len()
        ));
    }
}

fn check_expression(case: &Value, features: Features) -> Vec<String> {
    let mut problems = Vec::new();
    let expr = match promql::parse_bytes(&input_of(case), features) {
        Ok(expr) => expr,
        Err(errors) if case["ok"] == false => {
            compare_errors(&mut problems, &errors, case);
            return problems;
        }
        Err(errors) => return vec![format!("refused: {errors}")],
    };
    if case["ok"] == false {
        return vec![format!("accepted as {expr}, want {:?}", expected_errors(case))];
    }
    let canonical = expr.to_string();
    compare(&mut problems, "canonical", &canonical, case["canonical"].as_str().unwrap());
    if let Some(value_type) = case["type"].as_str() {
        compare(&mut problems, "type", expr.value_type().as_str(), value_type);
    }
    let json: Value = serde_json::from_str(promql::to_json(&expr).get()).unwrap();
    if json != case["ast"] {
        compare(&mut problems, "ast", &json.to_string(), &case["ast"].to_string());
    }
    match promql::parse(&canonical, features) {
        Ok(again) => compare(&mut problems, "canonical, parsed again", &again.to_string(), &canonical),
        Err(errors) => problems.push(format!("canonical refused: {errors}")),
    }
    problems
}

fn shown_input(case: &Value) -> String {
    String::from_utf8_lossy(&input_of(case)).into_owned()
}

#[test]
fn expressions_parse_print_and_fail_as_upstream() {
    let Some(path) = file("expressions.jsonl") else { return };
    let mut tally = Tally::new("promql-parser/expressions");
    for case in json_lines(&path) {
        tally.case(&shown_input(&case), check_expression(&case, features_of(&case["features"])));
    }
    tally.finish();
}

#[test]
fn expressions_of_the_test_scripts_parse_and_print_as_upstream() {
    let Some(path) = file("test-file-expressions.jsonl") else { return };
    let mut tally = Tally::new("promql-parser/test-file-expressions");
    for mut case in json_lines(&path) {
        case["ok"] = true.into();
        tally.case(&shown_input(&case), check_expression(&case, Features::all()));
    }
    tally.finish();
}

#[test]
fn pretty_printing_is_upstreams() {
    let Some(path) = file("pretty.jsonl") else { return };
    let mut tally = Tally::new("promql-parser/pretty");
    for case in json_lines(&path) {
        let max = case["max_characters_per_line"].as_u64().unwrap() as usize;
        let mut problems = Vec::new();
        match promql::parse(case["input"].as_str().unwrap(), Features::all()) {
            Ok(expr) => {
                let want = case["pretty"].as_str().or(case["output"].as_str()).unwrap();
                compare(&mut problems, "pretty", &promql::prettify(&expr, max), want);
            }
            Err(errors) => problems.push(format!("refused: {errors}")),
        }
        tally.case(&shown_input(&case), problems);
    }
    tally.finish();
}

#[test]
fn selectors_yield_upstreams_matchers() {
    let Some(path) = file("selectors.jsonl") else { return };
    let mut tally = Tally::new("promql-parser/selectors");
    for case in json_lines(&path) {
        let mut problems = Vec::new();
        match promql::parse_selector(case["input"].as_str().unwrap(), Features::default()) {
            Ok(matchers) => {
                let got: Value = matchers
                    .iter()
                    .map(|m| Value::from(vec![m.name(), m.op().as_str(), m.value()]))
                    .collect();
                compare(&mut problems, "matchers", &got.to_string(), &case["matchers"].to_string());
            }
            Err(errors) => problems.push(format!("refused: {errors}")),
        }
        tally.case(&shown_input(&case), problems);
    }
    tally.finish();
}

#[test]
fn functions_have_upstreams_signatures() {
    let Some(path) = file("functions.jsonl") else { return };
    let mut tally = Tally::new("promql-parser/functions");
    for case in json_lines(&path) {
        let name = case["name"].as_str().unwrap();
        let mut problems = Vec::new();
        match promql::function(name) {
            Some(f) => {
                let types: Vec<_> = f.arg_types.iter().map(|t| t.as_str()).collect();
                let got = serde_json::json!({
                    "name": f.name, "arg_types": types, "variadic": f.variadic,
                    "return_type": f.return_type.as_str(), "experimental": f.experimental,
                });
                compare(&mut problems, "signature", &got.to_string(), &case.to_string());
            }
            None => problems.push("missing".to_owned()),
        }
        tally.case(name, problems);
    }
    assert_eq!(tally.total, promql::FUNCTIONS.len());
    tally.finish();
}

#[test]
fn features_gate_what_upstreams_gate() {
    let Some(path) = file("feature-gates.jsonl") else { return };
    let mut tally = Tally::new("promql-parser/feature-gates");
    for case in json_lines(&path) {
        let input = case["input"].as_str().unwrap();
        let mut problems = Vec::new();
        for outcome in case["outcomes"].as_array().unwrap() {
            let got = match promql::parse(input, features_of(&outcome["features"])) {
                Ok(expr) => expr.to_string(),
                Err(errors) => errors.errors()[0].message.clone(),
            };
            let want = outcome["canonical"].as_str().or(outcome["error"].as_str()).unwrap();
            compare(&mut problems, &outcome["features"].to_string(), &got, want);
        }
        tally.case(input, problems);
    }
    tally.finish();
}

/// Upstream's name of a token.
fn token_name(kind: TokenKind) -> String {
    match kind {
        TokenKind::And => return "LAND".to_owned(),
        TokenKind::Or => return "LOR".to_owned(),
        TokenKind::Unless => return "LUNLESS".to_owned(),
        TokenKind::EqlC => return "EQLC".to_owned(),
        TokenKind::Atan2 => return "ATAN2".to_owned(),
        _ => {}
    }
    let mut name = String::new();
    for c in format!("{kind:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[test]
fn tokens_are_cut_as_upstream_cuts_them() {
    let Some(path) = file("lexer.jsonl") else { return };
    let mut tally = Tally::new("promql-parser/lexer");
    for case in json_lines(&path) {
        let input = input_of(&case);
        let mut lexer =
            if case["series_desc"] == true { Lexer::for_series(&input) } else { Lexer::new(&input) };
        let mut got = Vec::new();
        let failed = loop {
            let Token { kind, start, end } = lexer.next_token();
            match kind {
                TokenKind::Error => break true,
                TokenKind::Eof => break false,
                _ => {}
            }
            let text = String::from_utf8_lossy(&input[start as usize..end as usize]).into_owned();
            got.push(serde_json::json!([token_name(kind), start, text]));
        };
        let mut problems = Vec::new();
        // Upstream's lexer hands out comments, which ours skips, and may go on
        // behind an error, which no parser reads.
        let tokens = case["tokens"].as_array().cloned().unwrap_or_default();
        let want: Vec<Value> =
            tokens.iter().take_while(|t| t[0] != "ERROR").filter(|t| t[0] != "COMMENT").cloned().collect();
        let want_failure = case["fail"] == true || tokens.iter().any(|t| t[0] == "ERROR");
        if failed != want_failure {
            problems.push(format!("failed: {failed}, {:?}", lexer.error()));
        }
        if case["fail"] == false {
            compare(&mut problems, "tokens", &Value::from(got).to_string(), &Value::from(want).to_string());
        }
        tally.case(&shown_input(&case), problems);
    }
    tally.finish();
}

/// A float as upstream's data writes it.
fn float_text(value: f64) -> String {
    if model::is_stale_nan(value) { "stale".to_owned() } else { model::float::format_g(value) }
}

fn floats(values: &[f64]) -> Value {
    values.iter().map(|v| Value::from(float_text(*v))).collect()
}

fn spans(spans: &[model::Span]) -> Value {
    spans.iter().map(|s| serde_json::json!([s.offset, s.length])).collect()
}

fn sequence_value(value: &promql::SequenceValue) -> Value {
    let Some(h) = &value.histogram else {
        return if value.omitted { "_".into() } else { float_text(value.value).into() };
    };
    let hint = match h.counter_reset_hint {
        model::CounterResetHint::Unknown => "unknown",
        model::CounterResetHint::CounterReset => "reset",
        model::CounterResetHint::NotCounterReset => "not_reset",
        model::CounterResetHint::Gauge => "gauge",
    };
    serde_json::json!({
        "count": float_text(h.count),
        "counter_reset_hint": hint,
        "counter_reset_hint_set": value.counter_reset_hint_set,
        "custom_values": floats(&h.custom_values),
        "negative_buckets": floats(&h.negative_buckets),
        "negative_spans": spans(&h.negative_spans),
        "positive_buckets": floats(&h.positive_buckets),
        "positive_spans": spans(&h.positive_spans),
        "schema": h.schema,
        "sum": float_text(h.sum),
        "zero_count": float_text(h.zero_count),
        "zero_threshold": float_text(h.zero_threshold),
    })
}

#[test]
fn series_descriptions_yield_upstreams_values() {
    let Some(path) = file("series-descriptions.jsonl") else { return };
    let mut tally = Tally::new("promql-parser/series-descriptions");
    for case in json_lines(&path) {
        let mut problems = Vec::new();
        match promql::parse_series_description(case["input"].as_str().unwrap()) {
            Ok((labels, values)) if case["ok"] == true => {
                let labels: Value = labels.iter().map(|l| serde_json::json!([l.name, l.value])).collect();
                compare(&mut problems, "labels", &labels.to_string(), &case["labels"].to_string());
                let values: Value = values.iter().map(sequence_value).collect();
                compare(&mut problems, "values", &values.to_string(), &case["values"].to_string());
            }
            Ok(_) => problems.push(format!("accepted, want {:?}", expected_errors(&case))),
            Err(errors) if case["ok"] == false => compare_errors(&mut problems, &errors, &case),
            Err(errors) => problems.push(format!("refused: {errors}")),
        }
        tally.case(&shown_input(&case), problems);
    }
    tally.finish();
}
