//! `puppetdb_sd_configs`: resources that a query of PuppetDB finds.

use std::collections::BTreeMap;

use config::discovery::PuppetdbSdConfig;
use http::Method;
use model::Labels;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Client, null_as_empty};
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, sanitize, single_group, surrounded};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

/// Maps inside each other whose values become labels.
const DEPTH_MAX: usize = 16;

impl Periodic for PuppetdbSdConfig {
    const NAME: &'static str = "puppetdb";
    type Look = PuppetDb;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<PuppetDb, DiscoveryError> {
        Ok(PuppetDb {
            url: format!("{}/pdb/query/v4", self.url.trim_end_matches('/')),
            client: Client::new(&self.http_client, context, interval_of(self.refresh_interval))?,
            config: self.clone(),
        })
    }
}

pub(crate) struct PuppetDb {
    config: PuppetdbSdConfig,
    client: Client,
    url: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resource {
    certname: String,
    resource: String,
    r#type: String,
    title: String,
    exported: bool,
    #[serde(deserialize_with = "null_as_empty")]
    tags: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    file: String,
    #[serde(deserialize_with = "null_as_empty")]
    environment: String,
    #[serde(deserialize_with = "null_as_empty")]
    parameters: BTreeMap<String, Value>,
}

impl Refresh for PuppetDb {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let body = serde_json::json!({ "query": self.config.query }).to_string();
        let headers = [("Accept", "application/json"), ("Content-Type", "application/json")];
        let answer = self.client.request(Method::POST, &self.url, &headers, body).await?;
        if answer.status != http::StatusCode::OK {
            return Err(DiscoveryError::Request(format!("server returned HTTP status {}", answer.status)));
        }
        let content_type = answer.header("content-type");
        if !crate::http_sd::is_json(content_type) {
            return Err(DiscoveryError::Malformed(format!("unsupported content type {content_type}")));
        }
        let resources: Vec<Resource> = answer.json()?;
        let targets = resources.iter().map(|resource| self.target(resource)).collect();
        Ok(single_group(format!("{}?query={}", self.url, self.config.query), targets))
    }
}

impl PuppetDb {
    fn target(&self, resource: &Resource) -> Labels {
        let mut labels = MetaLabels::new("__meta_puppetdb_");
        labels
            .address(&resource.certname, self.config.port)
            .set("query", &self.config.query)
            .set("certname", &resource.certname)
            .set("resource", &resource.resource)
            .set("type", &resource.r#type)
            .set("title", &resource.title)
            .set_shown("exported", resource.exported)
            .set("file", &resource.file)
            .set("environment", &resource.environment);
        if !resource.tags.is_empty() {
            labels.set("tags", surrounded(&resource.tags, ","));
        }
        if self.config.include_parameters {
            for (name, value) in &resource.parameters {
                add_parameter(&mut labels, "parameter_", name, value, 0);
            }
        }
        labels.finish()
    }
}

fn add_parameter(labels: &mut MetaLabels, prefix: &str, name: &str, value: &Value, depth: usize) {
    let name = format!("{prefix}{}", sanitize(name));
    match value {
        Value::Object(map) if depth < DEPTH_MAX => {
            let prefix = format!("{name}_");
            map.iter().for_each(|(name, value)| add_parameter(labels, &prefix, name, value, depth + 1));
        }
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().map(|item| text_of(item).unwrap_or_default()).collect();
            labels.set(&name, texts.join(","));
        }
        value => {
            labels.set(&name, text_of(value).unwrap_or_default());
        }
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(model::float::format_g(number.as_f64()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context, shown, without_empty};

    #[tokio::test]
    async fn conformance_replies_give_their_targets() {
        let Some(dir) = testkit::conformance_dir("discovery") else { return };
        let dir = dir.join("puppetdb");
        let text = std::fs::read_to_string(dir.join("expected.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        for case in &cases {
            let body = std::fs::read(dir.join("fixtures/vhosts.json")).unwrap();
            let server = TestServer::start(move |request| {
                assert_eq!(
                    (request.method.as_str(), request.body.as_str()),
                    ("POST", r#"{"query":"vhosts"}"#)
                );
                Reply::json(body.clone()).header("Content-Type", "application/json; charset=utf-8")
            })
            .await;
            let url = server.url("");
            let config = PuppetdbSdConfig {
                url: url.clone(),
                query: "vhosts".to_owned(),
                include_parameters: case["config"]["include_parameters"] == true,
                ..PuppetdbSdConfig::default()
            };
            let groups = config.look(&context()).unwrap().refresh().await.unwrap();
            let want = without_empty(&case["targets"]);
            let got = shown(&groups[0], |text| text.replace(&url, "<url>"));
            assert_eq!(got["targets"], want);
            assert_eq!(got["source"], case["source"]);
        }
        println!("discovery/puppetdb: {0} / {0}", cases.len());
    }
}
