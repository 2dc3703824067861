//! The configuration file.

use std::path::Path;

use config::{Config, LoadOptions};

pub(crate) const WORDS: &[&str] = &[
    "global:",
    "scrape_configs:",
    "- job_name: x",
    "static_configs:",
    "- targets: [a:1]",
    "relabel_configs:",
    "action: ",
    "replace",
    "keep",
    "hashmod",
    "regex: ",
    "scrape_interval: ",
    "1m",
    "0s",
    "-1s",
    "1y",
    "params: {a: [b]}",
    "&a",
    "*a",
    "<<: *a",
    "? ",
    ": ",
    "- ",
    "\n",
    "  ",
    "\n  ",
    "|",
    ">",
    "{",
    "}",
    "[",
    "]",
    "!!binary",
    "'",
    "\"",
    "null",
    "~",
    "yes",
    "0x1F",
    "1e3",
    "tls_config:",
    "basic_auth: {username: u, password: p}",
    "remote_write:",
    "rule_files:",
    "storage:",
    "tsdb:",
    "file_sd_configs:",
    "kubernetes_sd_configs:",
    "dns_sd_configs:",
    "body_size_limit: 10MB",
    "external_labels: {a: b}",
    "${X}",
    "---",
    "...",
    "#",
];

/// Any text as a configuration: faults lie in the text; what loads prints, and
/// no secret stands in what is printed.
pub(crate) fn load(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(&bytes[..bytes.len().min(4096)]) else { return };
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
    let lookup = |_: &str| None;
    let options = LoadOptions { lookup: &lookup, ..LoadOptions::default() };
    match Config::load(text, Path::new("/base"), &options) {
        Ok(loaded) => {
            let printed = loaded.config.to_yaml();
            assert!(!printed.contains("narthex-fuzz-secret"), "{printed}");
            // With secrets hidden it may not load again; it may not panic either.
            let _ = Config::load(&printed, Path::new("/base"), &options);
        }
        Err(errors) => {
            assert!(!errors.errors.is_empty(), "a refusal has a reason");
            for error in &errors.errors {
                if let Some(position) = error.position {
                    assert!(position.line <= lines + 1, "{error:?} lies in the text");
                }
            }
            assert!(!errors.to_string().is_empty());
        }
    }
}

pub(crate) fn corpus() -> Vec<Vec<u8>> {
    let whole = "global:\n  scrape_interval: 15s\n  external_labels: {region: eu}\nscrape_configs:\n  - job_name: node\n    \
        scheme: https\n    basic_auth: {username: u, password: narthex-fuzz-secret}\n    tls_config: {insecure_skip_verify: true}\n    \
        static_configs:\n      - targets: ['a:9100', 'b:9100']\n        labels: {zone: x}\n    relabel_configs:\n      \
        - source_labels: [__address__]\n        regex: '(.*):\\d+'\n        target_label: host\n        action: replace\n";
    let sd = "scrape_configs:\n- job_name: k\n  authorization: {credentials: narthex-fuzz-secret}\n  kubernetes_sd_configs:\n  \
        - role: pod\n    namespaces: {names: [a, b]}\n  file_sd_configs:\n  - files: ['x/*.yml']\n    refresh_interval: 1m\n  \
        consul_sd_configs:\n  - server: 'localhost:8500'\n    token: narthex-fuzz-secret\n";
    let rest = "rule_files: ['r/*.yml']\nalerting:\n  alertmanagers:\n  - static_configs: [{targets: ['am:9093']}]\nremote_write:\n\
        - url: 'http://x/write'\n  oauth2: {client_id: a, client_secret: narthex-fuzz-secret, token_url: 'http://t'}\n  \
        queue_config: {capacity: 100}\nremote_read: [{url: 'http://x/read'}]\nstorage:\n  tsdb: {out_of_order_time_window: 30m}\n  \
        exemplars: {max_exemplars: 10}\ntracing: {endpoint: 'localhost:4317'}\notlp: {promote_resource_attributes: [a.b]}\n";
    let mut all: Vec<Vec<u8>> = [whole, sd, rest, ""].iter().map(|text| text.as_bytes().to_vec()).collect();
    all.push(include_bytes!("../../testdata/config/faults.yml").to_vec());
    all.extend(crate::finds::of("config"));
    all
}
