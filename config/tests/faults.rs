//! What is said of faulty files: all faults, each with its place, no secrets.

use std::path::Path;

use config::decode::Chosen;
use config::{Config, ConfigErrors, Defaults, FaultKind, LoadOptions};
use model::names::ValidationScheme;

fn load(text: &str) -> Result<Config, ConfigErrors> {
    Config::load(text, Path::new(""), &LoadOptions::default()).map(|loaded| loaded.config)
}

fn fault(text: &str) -> String {
    load(text).expect_err("the text has a fault").to_string()
}

#[test]
fn all_faults_are_reported_with_their_place() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/config/faults.yml");
    let errors = Config::load_file(&path, &LoadOptions::default()).unwrap_err();
    let lines: Vec<usize> = errors.errors.iter().map(|e| e.position.unwrap().line).collect();
    assert_eq!(lines, [3, 4, 7, 8, 11, 14, 16], "{errors}");
    let fields: Vec<&str> = errors.errors.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(fields[2], "scrape_configs[0].scrape_interval");
    assert_eq!(errors.errors[0].suggestion.as_deref(), Some("scrape_interval"));
    assert!(errors.to_string().contains("cannot unmarshal !!str `many` into uint"), "{errors}");
}

#[test]
fn secrets_are_not_quoted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/config/faults.yml");
    let errors = Config::load_file(&path, &LoadOptions::default()).unwrap_err();
    assert!(!format!("{errors} {errors:?}").contains("hunter"), "{errors}");
    let text = "remote_write: [{url: 'http://u:hunter2@host:x/'}]";
    assert!(!fault(text).contains("hunter"), "{}", fault(text));
}

#[test]
fn each_fault_shows_its_line_without_values() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/config/faults.yml");
    let shown = Config::load_file(&path, &LoadOptions::default()).unwrap_err().excerpts;
    assert_eq!(shown.matches("--> ").count(), 7, "{shown}");
    assert!(shown.contains("faults.yml:3:"), "{shown}");
    assert!(shown.contains("^ did you mean \"scrape_interval\"?"), "{shown}");
    assert!(!shown.contains("hunter"), "{shown}");
    assert_eq!(load("nope: 1").unwrap_err().excerpts, "", "there is no file to name");
}

#[test]
fn a_single_fault_reads_as_upstream_says_it() {
    assert_eq!(
        fault("scrape_configs:\n- job_nam: x\n"),
        "yaml: unmarshal errors:\n  line 2: field job_nam not found in type config.ScrapeConfig \
         (column 3, at scrape_configs[0], did you mean \"job_name\"?)"
    );
    assert_eq!(
        fault("scrape_configs:\n- scheme: http\n"),
        "job_name is empty (line 2, column 3, at scrape_configs[0].job_name)"
    );
    assert_eq!(
        fault("global: {}\nglobal: {}\n").lines().nth(1).unwrap().trim(),
        "line 2: field global already set in type config.plain (column 1)"
    );
}

#[test]
fn names_cut_short_are_known_again() {
    for (block, name) in [
        ("basic_auth: {pass: x}", Some("password")),
        ("basic_auth: {user: x}", Some("username")),
        ("authorization: {cred: x}", Some("credentials")),
        ("authorization: {xy: x}", None),
    ] {
        let errors = load(&format!("scrape_configs: [{{job_name: a, {block}}}]")).unwrap_err();
        assert_eq!(errors.errors[0].suggestion.as_deref(), name, "{block}");
    }
}

#[test]
fn a_quoted_null_is_no_url() {
    for text in ["scrape_configs: [{job_name: a, proxy_url: 'null'}]", "remote_write: [{url: '~'}]"] {
        assert!(fault(text).contains("cannot unmarshal !!str into config.URL"), "{}", fault(text));
    }
    assert!(load("scrape_configs: [{job_name: a, proxy_url: null}]").is_ok());
    assert!(load("remote_write: [{url: 'Null'}]").is_ok(), "a path alone is a URL, too");
}

#[test]
fn yaml_syntax_faults_have_a_line() {
    let errors = load("global:\n  a: [\n").unwrap_err();
    assert_eq!(errors.errors[0].kind, FaultKind::Syntax);
    assert!(errors.to_string().starts_with("yaml: line "), "{errors}");
}

#[test]
fn empty_files_and_null_blocks_mean_the_defaults() {
    let default = Config::default();
    for text in ["", "# nothing", "global:", "global:\nruntime:\nscrape_configs:\n", "~"] {
        assert_eq!(load(text).unwrap(), default, "{text:?}");
    }
    // A block that is present leaves the escaping scheme to each job.
    assert_eq!(load("global: {}").unwrap().global.metric_name_escaping_scheme, Chosen::NONE);
}

#[test]
fn merge_keys_and_aliases_are_followed() {
    let text = "
scrape_configs:
- &base
  job_name: a
  scrape_interval: 7s
  honor_labels: yes
- <<: *base
  job_name: b
";
    let config = load(text).unwrap();
    let jobs: Vec<_> = config.jobs().collect();
    assert_eq!(jobs[1].job_name, "b");
    assert_eq!(jobs[1].scrape_interval.0, 7_000);
    assert!(jobs[1].honor_labels);
}

#[test]
fn flags_move_the_defaults() {
    let defaults = Defaults {
        proto_first: true,
        extra_scrape_metrics: true,
        gogc: 30,
        retention: config::storage::RetentionConfig { percentage: 5.0, ..Default::default() },
    };
    let options = LoadOptions { defaults, ..LoadOptions::default() };
    for text in
        ["scrape_configs: [{job_name: a}]", "global: {sample_limit: 3}\nscrape_configs: [{job_name: a}]"]
    {
        let config = Config::load(text, Path::new(""), &options).unwrap().config;
        let job = config.jobs().next().unwrap();
        assert_eq!(job.protocols()[0].name(), "PrometheusProto");
        assert_eq!(job.extra_scrape_metrics, Some(true));
        assert_eq!(config.runtime.gogc, 30);
        assert_eq!(config.storage.tsdb.unwrap().retention.unwrap().percentage, 5.0);
    }
    let text = "storage: {tsdb: {retention: {time: 1d}}}";
    let config = Config::load(text, Path::new(""), &options).unwrap().config;
    assert_eq!(config.storage.tsdb.unwrap().retention.unwrap().percentage, 0.0);
}

#[test]
fn relabelling_rules_compile_under_the_jobs_scheme() {
    let text = "
scrape_configs:
- job_name: a
  metric_name_validation_scheme: legacy
  relabel_configs:
  - {source_labels: [x], target_label: y, regex: }
";
    let config = load(text).unwrap();
    let job = config.jobs().next().unwrap();
    assert_eq!(job.name_scheme(), ValidationScheme::Legacy);
    assert_eq!(job.relabel_rules()[0].regex().as_str(), "");
    assert!(fault(&text.replace("y,", "'y.z',")).contains("\"y.z\" is invalid 'target_label'"));
}

#[test]
fn sections_and_mechanisms_in_use_are_listed() {
    let text = "
rule_files: [a.yml]
remote_write: [{url: 'http://x'}]
scrape_configs: [{job_name: a, dns_sd_configs: [{names: [x]}], static_configs: [{targets: [b]}]}]
";
    let config = load(text).unwrap();
    let names: Vec<_> = config.sections_in_use().iter().map(|section| section.name()).collect();
    assert_eq!(names, ["rule_files", "remote_write"]);
    assert_eq!(config.mechanisms_in_use(), ["dns", "static"]);
}

#[test]
fn keys_of_scaleway_have_their_formats_and_are_not_quoted() {
    let block = |access: &str, secret: &str, project: &str, zone: &str| {
        format!(
            "scrape_configs: [{{job_name: a, scaleway_sd_configs: [{{role: instance, access_key: '{access}', \
             secret_key: '{secret}', project_id: '{project}', zone: '{zone}'}}]}}]"
        )
    };
    let (key, uuid) = ("SCWXXXXXXXXXXXXXXXXX", "11111111-1111-1111-1111-111111111112");
    assert!(load(&block(key, uuid, uuid, "fr-par-1")).is_ok());
    for (text, wanted) in [
        (block("AK", uuid, uuid, "fr-par-1"), "invalid access key format 'AK'"),
        (block(key, "hunter2", uuid, "fr-par-1"), "invalid secret key format, expected a UUID"),
        (block(key, uuid, "p", "fr-par-1"), "invalid project ID format 'p'"),
        (block(key, uuid, uuid, "paris"), "invalid default zone format 'paris'"),
    ] {
        let fault = fault(&text);
        assert!(fault.contains(wanted) && !fault.contains("hunter"), "{fault}");
    }
}

#[test]
fn tabs_around_the_document_are_refused() {
    for text in [
        "\tglobal: {}\n",
        "# c\n\tglobal: {}\n",
        "\t# c\nglobal: {}\n",
        "global: {}\n  \t",
        "global: {}\n\n\t# c\n",
    ] {
        assert!(fault(text).contains("found character that cannot start any token"), "{}", fault(text));
    }
    for text in
        ["global: {}\n# c\n", "rule_files: [a,\n\tb]\n", "global:\n  scrape_interval:\t5s\t# c\n", "\n", ""]
    {
        assert!(load(text).is_ok(), "{text:?}");
    }
}

#[test]
fn null_among_source_labels_is_the_empty_name() {
    let rule = |name: &str| {
        format!(
            "scrape_configs: [{{job_name: a, relabel_configs: [{{source_labels: [{name}], target_label: b}}]}}]"
        )
    };
    assert!(load(&rule("null")).is_ok());
    assert!(fault(&rule("''")).contains("is not a valid label name"));
}

#[test]
fn clouds_of_azure_are_known_and_the_public_one_is_meant_by_none() {
    let block = |cloud: &str| config::azuread::AzureAdConfig::load(&format!("sdk: {{}}\ncloud: '{cloud}'\n"));
    assert_eq!(block("").unwrap().cloud, "AzurePublic");
    assert!(block("AzureChina").is_ok());
    let fault = block("azurepublic").unwrap_err().to_string();
    assert!(fault.contains("must provide a cloud in the Azure AD config"), "{fault}");
}
