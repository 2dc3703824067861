//! No secret of the configuration is in any answer or error: every secret
//! field is filled with a marker, then all that shows configuration is read.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use config::{Config, LoadOptions};
use model::Labels;

use crate::server::{Server, all_on};

/// Stands in every secret.
const MARK: &str = "hunter2-";

/// A configuration with a marker in every field that is secret.
const ALL_SECRETS: &str = r#"
global:
  scrape_interval: 15s
scrape_configs:
  - job_name: basic
    proxy_url: "http://proxyuser:hunter2-proxy@proxy.example.org:3128"
    proxy_connect_header: { X-Proxy: ["hunter2-proxyheader"] }
    http_headers: { X-Token: { secrets: ["hunter2-header"] } }
    basic_auth: { username: u, password: hunter2-password }
    tls_config: { cert: "c", key: "hunter2-key" }
    static_configs: [{ targets: ["localhost:1"] }]
  - job_name: bearer
    bearer_token: hunter2-bearer
  - job_name: authorization
    authorization: { type: Bearer, credentials: hunter2-credentials }
  - job_name: oauth2
    oauth2: { client_id: c, client_secret: hunter2-client, token_url: "http://t.example.org/" }
  - job_name: oauth2_jwt
    oauth2:
      client_id: c
      grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer"
      client_certificate_key_id: k
      client_certificate_key: hunter2-jwt
      token_url: "http://t.example.org/"
  - job_name: discovery
    azure_sd_configs: [{ subscription_id: s, tenant_id: t, client_id: c, client_secret: hunter2-azure }]
    consul_sd_configs:
      - { server: "localhost:8500", token: hunter2-consul }
      - { server: "localhost:8500", username: u, password: hunter2-consulpassword }
    ec2_sd_configs: [{ region: r, access_key: a, secret_key: hunter2-ec2 }]
    lightsail_sd_configs: [{ region: r, access_key: a, secret_key: hunter2-lightsail }]
    aws_sd_configs: [{ role: ec2, region: r, access_key: a, secret_key: hunter2-aws }]
    marathon_sd_configs: [{ servers: ["http://m.example.org"], auth_token: hunter2-marathon }]
    openstack_sd_configs:
      - { role: instance, region: r, password: hunter2-openstack, application_credential_secret: hunter2-application }
    outscale_sd_configs: [{ region: r, access_key: a, secret_key: hunter2-outscale }]
    ovhcloud_sd_configs: [{ endpoint: ovh-eu, service: vps, application_key: a, application_secret: hunter2-ovh, consumer_key: hunter2-consumer }]
    scaleway_sd_configs: [{ role: instance, project_id: "11111111-1111-1111-1111-111111111112", access_key: SCWXXXXXXXXXXXXXXXXX, secret_key: 11111111-2222-3333-4444-555555555555 }]
    stackit_sd_configs: [{ project: p, service_account_key: hunter2-stackit, private_key: hunter2-stackitkey }]
    uyuni_sd_configs: [{ server: "http://u.example.org", username: u, password: hunter2-uyuni }]
alerting:
  alertmanagers:
    - basic_auth: { username: u, password: hunter2-alertmanager }
      static_configs: [{ targets: ["localhost:9093"] }]
    - sigv4: { region: r, access_key: a, secret_key: hunter2-sigv4 }
remote_write:
  - url: "http://writer:hunter2-url@w.example.org/write"
    headers: { X-Plain: shown }
    basic_auth: { username: u, password: hunter2-write }
  - url: "http://w.example.org/write"
    azuread: { cloud: AzurePublic, oauth: { client_id: "00000000-0000-0000-0000-000000000000", client_secret: hunter2-azuread, tenant_id: "00000000-0000-0000-0000-000000000000" } }
remote_read:
  - url: "http://reader:hunter2-readurl@r.example.org/read"
    authorization: { credentials: hunter2-read }
tracing:
  endpoint: "t.example.org:4317"
  headers: { X-Scope: shown }
"#;

/// Secret fields that no configuration above fills, each because of what follows it.
const NOT_FILLED: [(&str, &str); 4] = [
    ("key_passphrase", "a key file of that cloud must be readable"),
    ("certificate_password", "a certificate's file must be readable"),
    ("basic_auth_users", "in the web configuration, which no answer shows"),
    ("key", "in the web configuration too; filled in tls_config"),
];

fn load(text: &str) -> Result<config::Loaded, String> {
    let lookup = |_: &str| None;
    let options = LoadOptions { lookup: &lookup, ..LoadOptions::default() };
    Config::load(text, Path::new(""), &options).map_err(|error| format!("{error}\n{error:?}"))
}

/// The one secret that must have a form, which the mark does not have.
const KEY_OF_A_FORM: &str = "11111111-2222-3333-4444-555555555555";

fn clean(what: &str, text: &str) {
    if let Some(at) = text.find(MARK).or_else(|| text.find(KEY_OF_A_FORM)) {
        let from = text[..at].char_indices().rev().nth(60).map_or(0, |(i, _)| i);
        panic!("{what} shows a secret: …{}", &text[from..text.len().min(at + 40)]);
    }
}

#[test]
fn every_secret_field_is_filled() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/src");
    let mut fields = BTreeSet::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            for line in std::fs::read_to_string(path).unwrap().lines() {
                if let Some((field, kind)) = line.trim().split_once(": ")
                    && kind.contains("=>")
                    && kind.contains("Secret")
                {
                    fields.insert(field.to_owned());
                }
            }
        }
    }
    assert!(fields.len() >= 15, "{fields:?}");
    let filled = |field: &str| {
        ALL_SECRETS.lines().any(|line| {
            line.split_once(&format!("{field}: ")).is_some_and(|(_, after)| {
                after.starts_with(MARK) || after.trim_start_matches(['"', '[', '{', ' ']).contains(MARK)
            })
        })
    };
    for field in fields {
        assert!(filled(&field) || NOT_FILLED.iter().any(|(name, _)| *name == field), "{field} is not filled");
    }
}

#[tokio::test]
async fn no_answer_shows_a_secret() {
    let loaded = load(ALL_SECRETS).unwrap();
    let server = Server::new(all_on());
    server.web.config_text.store(Arc::new(loaded.config.to_yaml()));
    let jobs: Vec<_> = loaded.config.jobs().map(|job| Arc::new(job.clone())).collect();
    let names: Vec<String> = jobs.iter().map(|job| job.job_name.clone()).collect();
    clean("the configuration's debug form", &format!("{:?}", loaded.config));
    server.web.scrape.apply(jobs, &Labels::empty()).await.unwrap();
    let target = Labels::from_pairs([("__address__", "localhost:1")]);
    let group =
        discovery::TargetGroup { source: "0".to_owned(), labels: Labels::empty(), targets: vec![target] };
    for name in &names {
        server.web.scrape.update_groups(name, vec![group.clone()]);
    }
    server.web.scrape.sync().await;
    let shown = server.get("/api/v1/status/config").await.text();
    assert!(shown.matches("secret\\u003e").count() >= 25, "{shown}");
    let mut paths = vec!["/api/v1/status/config".to_owned()];
    for name in &names {
        paths.push(format!("/api/v1/scrape_pools/config?scrapePool={name}"));
        paths.push(format!("/api/v1/targets/relabel_steps?scrapePool={name}&labels=%7B%7D"));
    }
    for path in [
        "/api/v1/targets",
        "/api/v1/targets/metadata",
        "/api/v1/scrape_pools",
        "/api/v1/alertmanagers",
        "/api/v1/status/flags",
        "/api/v1/status/runtimeinfo",
        "/api/v1/notifications",
        "/api/v1/status/self_metrics",
        "/metrics",
        "/debug/pprof/goroutine?debug=1",
    ] {
        paths.push(path.to_owned());
    }
    for path in paths {
        clean(&path, &server.get(&path).await.text());
    }
}

#[test]
fn no_fault_of_the_file_quotes_a_secret() {
    let mut refused = 0;
    let secret = |line: &str| line.find(MARK).or_else(|| line.find(KEY_OF_A_FORM));
    for (number, line) in ALL_SECRETS.lines().enumerate() {
        let Some(at) = secret(line) else { continue };
        let replace = |from: &str, to: &str| {
            let faulty = line.replacen(from, to, 1);
            let mut lines: Vec<&str> = ALL_SECRETS.lines().collect();
            lines[number] = &faulty;
            lines.join("\n")
        };
        let word: String = line[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect();
        for faulty in [
            // Another kind of value, a value too many, a key unknown, a value that does not end.
            replace(&word, &format!("{{ {word}: 1 }}")),
            replace(&word, &format!("[{word}, {word}]")),
            replace(&word, &format!("{word}: {word}")),
            replace(&word, &format!("\"{word}")),
            replace(&word, &format!("&a {word} *b")),
            replace(": ", &format!(": {word}: ")),
            replace("_", "_x_"),
            replace("token", "tokem"),
            replace("password", "passwort"),
            replace("secret", "secred"),
            replace("@", " @"),
            replace("://", ":"),
            format!("{}\n{line}", replace("", "")),
        ] {
            if let Err(error) = load(&faulty) {
                refused += 1;
                // The whole text of a value that is no secret where it stands may be told.
                clean(&format!("the fault of\n{}", line.trim()), &error);
            }
        }
    }
    assert!(refused > 200, "{refused} files were refused");
}
