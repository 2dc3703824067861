//! Relabelling against the recorded behaviour of upstream.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use model::Labels;
use model::names::ValidationScheme;
use model::relabel::{RelabelConfig, RelabelParams, process};
use serde_json::Value;
use testkit::{conformance_dir, json_lines};

fn labels(value: &Value) -> Labels {
    Labels::from_pairs(value.as_object().unwrap().iter().map(|(name, value)| (name, value.as_str().unwrap())))
}

fn params(value: &Value, defaults: RelabelParams) -> RelabelParams {
    let text = |key: &str, default: String| value[key].as_str().map_or(default, str::to_owned);
    let names = value["source_labels"].as_array();
    let regex = value["regex"].as_str().map(str::to_owned);
    RelabelParams {
        source_labels: names.map(|names| names.iter().map(|n| n.as_str().unwrap().to_owned()).collect()),
        separator: text("separator", defaults.separator),
        // The recorded objects spell the default out.
        regex: regex.filter(|regex| regex != "(.*)"),
        modulus: value["modulus"].as_u64().unwrap_or(0),
        target_label: text("target_label", defaults.target_label),
        replacement: text("replacement", defaults.replacement),
        action: text("action", defaults.action),
    }
}

fn relabelled(case: &Value) -> Option<Labels> {
    let configs: Vec<RelabelConfig> = case["relabel_configs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|config| {
            let params = params(config, RelabelParams { action: String::new(), ..RelabelParams::default() });
            RelabelConfig::new(params, ValidationScheme::Utf8).unwrap()
        })
        .collect();
    let mut builder = labels(&case["input"]).to_builder();
    process(&mut builder, &configs).then(|| builder.labels())
}

#[test]
fn rules_do_what_upstream_does() {
    let Some(dir) = conformance_dir("relabel") else { return };
    let cases = json_lines(&dir.join("relabel.jsonl"));
    let mut failures = Vec::new();
    for case in &cases {
        let expected = case["keep"].as_bool().unwrap().then(|| labels(&case["output"]));
        let found = relabelled(case);
        if found != expected {
            failures.push(format!("case {}: {found:?} instead of {expected:?}", case["id"]));
        }
    }
    println!("relabel/relabel: {} / {}", cases.len() - failures.len(), cases.len());
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn rules_are_refused_as_upstream_refuses_them() {
    let Some(dir) = conformance_dir("relabel") else { return };
    let cases = json_lines(&dir.join("validate.jsonl"));
    let mut failures = Vec::new();
    for case in &cases {
        let scheme = ValidationScheme::from_name(case["name_validation_scheme"].as_str().unwrap()).unwrap();
        let expected = case["error"].as_str();
        let found = RelabelConfig::new(params(&case["config"], RelabelParams::default()), scheme).err();
        let found = found.map(|error| error.to_string());
        let equal = match (&found, expected) {
            (None, None) => case["ok"] == true,
            (Some(found), Some(expected)) => found.contains(expected),
            _ => false,
        };
        if !equal {
            failures.push(format!("{}: {found:?} instead of {expected:?}", case["config"]));
        }
    }
    println!("relabel/validate: {} / {}", cases.len() - failures.len(), cases.len());
    assert!(failures.is_empty(), "{failures:#?}");
}

fn rule(params: RelabelParams) -> RelabelConfig {
    RelabelConfig::new(params, ValidationScheme::Utf8).unwrap()
}

fn refusal(params: RelabelParams, scheme: ValidationScheme) -> String {
    RelabelConfig::new(params, scheme).unwrap_err().to_string()
}

fn with_action(action: &str) -> RelabelParams {
    RelabelParams { action: action.to_owned(), ..RelabelParams::default() }
}

#[test]
fn rules_that_make_no_sense_are_refused_in_upstreams_words() {
    let utf8 = ValidationScheme::Utf8;
    let to =
        |action: &str, target: &str| RelabelParams { target_label: target.to_owned(), ..with_action(action) };
    let with_regex = |params: RelabelParams| RelabelParams { regex: Some("(.*)".to_owned()), ..params };
    for (params, text) in [
        (with_action("Nope"), "unknown relabel action \"Nope\""),
        (to("hashmod", "x"), "relabel configuration for hashmod requires non-zero modulus"),
        (
            RelabelParams { modulus: 3, ..with_action("HASHMOD") },
            "relabel configuration for hashmod action requires 'target_label' value",
        ),
        (
            with_regex(to("keepequal", "x")),
            "keepequal action requires only 'source_labels' and `target_label`, and no other fields",
        ),
        (
            RelabelParams { replacement: "x".to_owned(), ..to("dropequal", "x") },
            "'replacement' can not be set for dropequal action",
        ),
        (
            RelabelParams { source_labels: Some(Vec::new()), ..with_action("labeldrop") },
            "labeldrop action requires only 'regex', and no other fields",
        ),
        (
            RelabelParams { replacement: String::new(), ..with_action("labelmap") },
            "\"\" is invalid 'replacement' for labelmap action",
        ),
        (
            RelabelParams { regex: Some("a(b".to_owned()), ..to("replace", "x") },
            "error parsing regexp: missing closing ): `^(?s:a(b)$`",
        ),
    ] {
        assert_eq!(refusal(params, utf8), text);
    }
    let legacy = ValidationScheme::Legacy;
    for target in ["a-b", "0a", "0$1", "a.$1", "$", "${a", "$-", "a${}", "${a.b}"] {
        assert_eq!(
            refusal(to("replace", target), legacy),
            format!("\"{target}\" is invalid 'target_label' for replace action")
        );
    }
    for target in ["a", "_0", "$1", "${1}0", "a$1_${name}9", "$1$2"] {
        assert!(RelabelConfig::new(to("replace", target), legacy).is_ok(), "{target}");
    }
}

#[test]
fn an_empty_replacement_deletes_the_target() {
    let delete = rule(RelabelParams {
        target_label: "a".into(),
        replacement: String::new(),
        ..RelabelParams::default()
    });
    let mut builder = Labels::from_pairs([("a", "1"), ("b", "2")]).to_builder();
    assert!(process(&mut builder, &[delete]));
    assert_eq!(builder.labels().to_string(), r#"{b="2"}"#);
}

#[test]
fn a_target_that_becomes_no_valid_name_changes_nothing() {
    let params = RelabelParams {
        source_labels: Some(vec!["a".into()]),
        target_label: "$1".into(),
        replacement: "x".into(),
        ..RelabelParams::default()
    };
    let legacy = RelabelConfig::new(params.clone(), ValidationScheme::Legacy).unwrap();
    let mut builder = Labels::from_pairs([("a", "no.name")]).to_builder();
    assert!(process(&mut builder, &[legacy]));
    assert_eq!(builder.labels().to_string(), r#"{a="no.name"}"#);
    assert!(process(&mut builder, &[rule(params)]));
    assert_eq!(builder.labels().to_string(), r#"{a="no.name", "no.name"="x"}"#);
}

#[test]
fn case_is_changed_character_by_character() {
    assert_eq!(model::relabel::to_upper("straße ᾳ"), "STRAßE ᾼ");
    assert_eq!(model::relabel::to_lower("İΣ"), "iσ");
}
