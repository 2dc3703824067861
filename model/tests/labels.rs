//! Labels and matchers against the recorded behaviour of upstream and against
//! plain models of them.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use model::labels::go_quote;
use model::{Labels, LabelsBuilder, MatchOp, Matcher};
use proptest::prelude::*;
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

#[test]
fn text_is_quoted_as_go_quotes_it() {
    for (text, quoted) in [
        ("plain text", r#""plain text""#),
        ("a\"b\\c", r#""a\"b\\c""#),
        ("\u{7}\u{8}\u{c}\n\r\t\u{b}", r#""\a\b\f\n\r\t\v""#),
        ("\0\u{1b}\u{7f}", r#""\x00\x1b\x7f""#),
        ("é日😱", r#""é日😱""#),
        // No-break space, zero-width space, byte order mark, private use, unassigned.
        ("\u{a0}\u{200b}\u{feff}\u{e000}\u{378}", r#""\u00a0\u200b\ufeff\ue000\u0378""#),
        ("\u{85}\u{2028}\u{10ffff}", r#""\u0085\u2028\U0010ffff""#),
        // Combining marks are printable, even alone.
        ("\u{301}", "\"\u{301}\""),
    ] {
        assert_eq!(go_quote(text), quoted);
    }
}

#[test]
fn sets_are_ordered_by_name_then_value_then_length() {
    let set = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
    let ascending = [
        set(&[]),
        set(&[("a", "1")]),
        set(&[("a", "1"), ("b", "1")]),
        set(&[("a", "1"), ("c", "0")]),
        set(&[("a", "10")]),
        set(&[("a", "2")]),
        set(&[("a.b", "0")]),
        set(&[("b", "0")]),
    ];
    assert!(ascending.is_sorted_by(|a, b| a.cmp(b) == Ordering::Less));
}

#[derive(Clone, Debug)]
enum Step {
    Set(String, String),
    Del(String),
    Keep(char),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => ("[a-cé]{1,2}", "[x-z]{0,2}").prop_map(|(name, value)| Step::Set(name, value)),
        1 => "[a-cé]{1,2}".prop_map(Step::Del),
        1 => prop::char::range('a', 'c').prop_map(Step::Keep),
    ]
}

proptest! {
    #[test]
    fn builder_does_what_a_sorted_map_does(steps in prop::collection::vec(step(), 0..24)) {
        let mut builder = LabelsBuilder::new();
        let mut model: BTreeMap<String, String> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Set(name, value) => {
                    builder.set(&name, &value);
                    if value.is_empty() { model.remove(&name) } else { model.insert(name, value) };
                }
                Step::Del(name) => {
                    builder.del(&name);
                    model.remove(&name);
                }
                Step::Keep(letter) => {
                    builder.retain(|name| name.contains(letter));
                    model.retain(|name, _| name.contains(letter));
                }
            }
        }
        let labels = builder.labels();
        let found: Vec<(&str, &str)> = labels.iter().map(|label| (label.name, label.value)).collect();
        let expected: Vec<(&str, &str)> = model.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(labels.len(), model.len());
        for (name, value) in &model {
            prop_assert_eq!(labels.get(name), Some(value.as_str()));
        }
        prop_assert_eq!(labels.to_builder().labels(), labels);
    }

    #[test]
    fn order_and_equality_are_those_of_the_pairs(
        left in prop::collection::btree_map("[a-c]{1,2}", "[x-z]{1,2}", 0..4),
        right in prop::collection::btree_map("[a-c]{1,2}", "[x-z]{1,2}", 0..4),
    ) {
        let (a, b) = (Labels::from_pairs(&left), Labels::from_pairs(&right));
        prop_assert_eq!(a.cmp(&b), left.iter().cmp(right.iter()));
        prop_assert_eq!(a == b, left == right);
        prop_assert_eq!(a.stable_hash() == b.stable_hash(), left == right);
    }

    #[test]
    fn long_values_come_back(value in "[a-z]{1,4}", repeat in 0usize..9000) {
        let value = value.repeat(repeat);
        let labels = Labels::from_pairs([("a", value.as_str()), ("b", "1")]);
        prop_assert_eq!(labels.value_or_empty("a"), value);
        prop_assert_eq!(labels.get("b"), Some("1"));
    }
}
