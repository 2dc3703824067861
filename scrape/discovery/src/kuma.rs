//! `kuma_sd_configs`: dataplanes of a Kuma mesh, by its monitoring assignments
//! (MADS version 1, which is xDS over REST).

use std::collections::BTreeMap;
use std::time::Duration;

use config::discovery::KumaSdConfig;
use http::{Method, StatusCode};
use model::Labels;
use serde::Deserialize;

use crate::client::{Client, null_as_empty, with_query};
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

const TYPE: &str = "type.googleapis.com/kuma.observability.v1.MonitoringAssignment";
/// The control plane holds a request back until something changes: so much more
/// than it was told is allowed for the way.
const TIMEOUT_MORE: Duration = Duration::from_secs(15);

impl Periodic for KumaSdConfig {
    const NAME: &'static str = "kuma";
    type Look = Kuma;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Kuma, DiscoveryError> {
        let client_id = match (self.client_id.as_str(), context.surroundings.variable("HOSTNAME")) {
            ("", "") => "prometheus",
            ("", host) => host,
            (id, _) => id,
        };
        let base = format!("{}/v3/discovery:monitoringassignments", self.server.trim_end_matches('/'));
        let timeout = self.fetch_timeout.to_string();
        Ok(Kuma {
            url: with_query(&base, [("fetch-timeout", timeout.as_str())]),
            client: Client::new(&self.http_client, context, interval_of(self.fetch_timeout) + TIMEOUT_MORE)?,
            client_id: client_id.to_owned(),
            version: String::new(),
            nonce: String::new(),
            last: Vec::new(),
            context: context.clone(),
        })
    }
}

pub(crate) struct Kuma {
    url: String,
    client: Client,
    client_id: String,
    /// Of the last answer: what is the same since then is not sent again.
    version: String,
    nonce: String,
    last: Vec<TargetGroup>,
    context: Context,
}

type Texts = BTreeMap<String, String>;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Answer {
    #[serde(alias = "version_info")]
    version_info: String,
    nonce: String,
    #[serde(alias = "type_url")]
    type_url: String,
    #[serde(deserialize_with = "null_as_empty")]
    resources: Vec<Assignment>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Assignment {
    mesh: String,
    service: String,
    #[serde(deserialize_with = "null_as_empty")]
    targets: Vec<Target>,
    #[serde(deserialize_with = "null_as_empty")]
    labels: Texts,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Target {
    name: String,
    scheme: String,
    address: String,
    #[serde(alias = "metrics_path")]
    metrics_path: String,
    #[serde(deserialize_with = "null_as_empty")]
    labels: Texts,
}

impl Refresh for Kuma {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let started = self.context.clock.monotonic();
        let outcome = self.fetch().await;
        let metrics = &self.context.metrics;
        let seconds = self.context.clock.monotonic().saturating_sub(started).as_secs_f64();
        metrics.kuma_fetch_duration.observe(seconds);
        match outcome {
            Ok(true) => {}
            Ok(false) => metrics.kuma_skipped_updates.inc(),
            Err(error) => {
                metrics.kuma_fetch_failures.inc();
                return Err(error);
            }
        }
        Ok(self.last.clone())
    }
}

impl Kuma {
    /// Asks for the assignments. Whether they are other ones than before.
    async fn fetch(&mut self) -> Result<bool, DiscoveryError> {
        let body = serde_json::json!({
            "version_info": self.version, "response_nonce": self.nonce, "type_url": TYPE,
            "resource_names": [], "node": {"id": self.client_id},
        });
        let headers = [("Content-Type", "application/json"), ("Accept", "application/json")];
        let answer = self.client.request(Method::POST, &self.url, &headers, body.to_string()).await?;
        match answer.status {
            StatusCode::NOT_MODIFIED => return Ok(false),
            StatusCode::OK => {}
            status => {
                let status = status.as_u16();
                return Err(DiscoveryError::Request(format!(
                    "non 200 status '{status}' response during xDS fetch"
                )));
            }
        }
        let found: Answer = answer.json()?;
        if found.type_url != TYPE {
            return Err(DiscoveryError::Malformed(format!(
                "received invalid typeURL for Kuma MADS v1 Resource: {}",
                found.type_url
            )));
        }
        self.last = single_group("kuma", found.resources.iter().flat_map(targets).collect());
        (self.version, self.nonce) = (found.version_info, found.nonce);
        Ok(true)
    }
}

fn targets(assignment: &Assignment) -> Vec<Labels> {
    let target = |target: &Target| {
        let mut labels = MetaLabels::new("__meta_kuma_");
        // What the assignment says goes before what the target says.
        labels
            .set_texts("label_", &target.labels)
            .set_texts("label_", &assignment.labels)
            .set("mesh", &assignment.mesh)
            .set("service", &assignment.service)
            .set("dataplane", &target.name)
            .set_plain(crate::ADDRESS_LABEL, &target.address)
            .set_plain("instance", &target.name)
            .set_plain("__scheme__", &target.scheme)
            .set_plain("__metrics_path__", &target.metrics_path);
        labels.finish()
    };
    assignment.targets.iter().map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context};
    use serde_json::Value;

    #[tokio::test]
    async fn assignments_are_targets_until_others_come() {
        let server = TestServer::start(|request| {
            let body: Value = serde_json::from_str(&request.body).unwrap();
            assert_eq!((&body["type_url"], &body["node"]["id"]), (&TYPE.into(), &"me".into()));
            assert_eq!(request.path(), "/mads/v3/discovery:monitoringassignments");
            assert_eq!(request.parameter("fetch-timeout"), "2m");
            if body["version_info"] == "v1" && body["response_nonce"] == "n1" {
                return Reply::status(304);
            }
            Reply::json(serde_json::json!({
                "versionInfo": "v1", "nonce": "n1", "typeUrl": TYPE,
                "resources": [{"@type": TYPE, "mesh": "default", "service": "web", "labels": {"team-a": "x", "both": "a"},
                    "targets": [{"name": "web-01", "scheme": "http", "address": "10.1.4.32:9090",
                                 "metricsPath": "/custom", "labels": {"both": "t"}}]}],
            }).to_string())
        })
        .await;
        let config = KumaSdConfig {
            server: server.url("/mads"),
            client_id: "me".to_owned(),
            ..KumaSdConfig::default()
        };
        let mut look = config.look(&context()).unwrap();
        let groups = look.refresh().await.unwrap();
        assert_eq!(groups[0].source, "kuma");
        assert_eq!(
            groups[0].targets[0].to_string(),
            "{__address__=\"10.1.4.32:9090\", __meta_kuma_dataplane=\"web-01\", __meta_kuma_label_both=\"a\", \
             __meta_kuma_label_team_a=\"x\", __meta_kuma_mesh=\"default\", __meta_kuma_service=\"web\", \
             __metrics_path__=\"/custom\", __scheme__=\"http\", instance=\"web-01\"}"
        );
        assert_eq!(look.refresh().await.unwrap(), groups);
        assert_eq!(look.context.metrics.kuma_skipped_updates.get(), 1.0);
    }

    #[tokio::test]
    async fn refusals_and_other_resources_are_faults() {
        let server = TestServer::start(|request| match request.path() {
            "/other/v3/discovery:monitoringassignments" => Reply::json(r#"{"typeUrl": "x"}"#),
            _ => Reply::status(503),
        })
        .await;
        for (path, fault) in [("/other", "invalid typeURL"), ("", "non 200 status '503'")] {
            let config = KumaSdConfig { server: server.url(path), ..KumaSdConfig::default() };
            let mut look = config.look(&context()).unwrap();
            let error = look.refresh().await.unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
            assert_eq!(look.context.metrics.kuma_fetch_failures.get(), 1.0);
        }
    }
}
