//! Matchers and hashes against the recorded behaviour of upstream.

use std::collections::BTreeSet;

use model::{Labels, MatchOp, Matcher};
use serde_json::Value;
use testkit::{conformance_dir, json_lines};

fn strings(value: &Value) -> Vec<String> {
    let texts = value.as_array().map_or(&[] as &[Value], Vec::as_slice);
    texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn op(text: &str) -> MatchOp {
    match text {
        "=" => MatchOp::Equal,
        "!=" => MatchOp::NotEqual,
        "=~" => MatchOp::Regex,
        "!~" => MatchOp::NotRegex,
        _ => panic!("unknown operator {text}"),
    }
}

fn text(case: &Value, key: &str) -> String {
    case[key].as_str().unwrap_or_else(|| panic!("{key} is missing in {case}")).to_owned()
}

/// Runs every case; `check` says what is wrong.
fn run(name: &str, file: &str, check: impl Fn(&Value) -> Vec<String>) {
    let Some(dir) = conformance_dir("labels") else { return };
    let cases = json_lines(&dir.join(file));
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case).into_iter().next()).collect();
    println!("{name}: {} / {}", cases.len() - failures.len(), cases.len());
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn regexes_match_what_upstream_matches() {
    run("labels/regex-match", "regex-match.jsonl", |case| {
        let pattern = text(case, "pattern");
        let matcher = Matcher::new(MatchOp::Regex, "l", &pattern).unwrap();
        let matches = strings(&case["match"]).into_iter().map(|value| (value, true));
        let others = strings(&case["no_match"]).into_iter().map(|value| (value, false));
        let wrong = matches.chain(others).filter(|(value, expected)| matcher.matches(value) != *expected);
        let mut wrong: Vec<String> =
            wrong.map(|(value, expected)| format!("{pattern:?} on {value:?}: expected {expected}")).collect();
        let set = strings(&case["set_matches"]);
        if !set.is_empty() && matcher.set_matches().map(<[String]>::len) != Some(set.len()) {
            wrong.push(format!("{pattern:?}: {:?} instead of {set:?}", matcher.set_matches()));
        }
        wrong
    });
}

#[test]
fn finite_sets_are_found_where_upstream_finds_them() {
    run("labels/set-matches", "set-matches.jsonl", |case| {
        let pattern = text(case, "pattern");
        let matcher = Matcher::new(MatchOp::Regex, "l", &pattern).unwrap();
        // Of case-insensitive sets upstream lists one spelling, we list all or none.
        if case["case_sensitive"] != true {
            return Vec::new();
        }
        let expected: BTreeSet<String> = strings(&case["set_matches"]).into_iter().collect();
        let found: BTreeSet<String> = matcher.set_matches().unwrap_or(&[]).iter().cloned().collect();
        if found == expected {
            Vec::new()
        } else {
            vec![format!("{pattern:?}: {found:?} instead of {expected:?}")]
        }
    });
}

#[test]
fn matchers_accept_what_upstream_accepts() {
    run("labels/matchers", "matchers.jsonl", |case| {
        let matcher = Matcher::new(op(&text(case, "op")), "l", &text(case, "pattern")).unwrap();
        let wrong = matcher.matches(&text(case, "value")) != case["match"].as_bool().unwrap();
        wrong.then(|| case.to_string()).into_iter().collect()
    });
}

#[test]
fn stable_hash_and_text_equal_upstream() {
    run("labels/hash", "hash.jsonl", |case| {
        let pairs = case["labels"].as_object().unwrap();
        let labels = Labels::from_pairs(pairs.iter().map(|(name, value)| (name, value.as_str().unwrap())));
        let hash = format!("{:016x}", labels.stable_hash());
        let mut wrong = Vec::new();
        if hash != text(case, "stable_hash") {
            wrong.push(format!("{labels}: hash {hash}"));
        }
        if labels.to_string() != text(case, "string") {
            wrong.push(format!("printed as {labels} instead of {}", case["string"]));
        }
        wrong
    });
}
