//! Relabelling against the recorded behaviour of upstream.

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
