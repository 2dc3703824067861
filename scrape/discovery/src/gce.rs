//! `gce_sd_configs`: instances of Google Compute Engine.
//! Credentials are Google's default ones.

use std::collections::BTreeMap;
use std::time::Duration;

use config::HttpClientConfig;
use config::discovery::GceSdConfig;
use config::http_client::ProxyConfig;
use model::Labels;
use net::cloud::google::Tokens;
use serde::Deserialize;

use crate::client::{Client, null_as_empty, with_query};
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group, surrounded};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

const API: &str = "https://compute.googleapis.com/compute/v1";
const SCOPE: &str = "https://www.googleapis.com/auth/compute.readonly";
const TIMEOUT: Duration = Duration::from_secs(60);

impl Periodic for GceSdConfig {
    const NAME: &'static str = "gce";
    type Look = Gce;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Gce, DiscoveryError> {
        let tokens = Tokens::of_surroundings(SCOPE, &context.client_options()).map_err(|what| {
            DiscoveryError::Unusable(format!("error setting up communication with GCE service: {what}"))
        })?;
        // As all clients of Google's that are not configured.
        let proxy = ProxyConfig { proxy_from_environment: true, ..ProxyConfig::default() };
        let http = HttpClientConfig { proxy, ..HttpClientConfig::default() };
        Ok(Gce {
            config: self.clone(),
            client: Client::new(&http, context, TIMEOUT.max(interval_of(self.refresh_interval)))?,
            base: API.to_owned(),
            tokens,
        })
    }
}

pub(crate) struct Gce {
    config: GceSdConfig,
    client: Client,
    base: String,
    tokens: Tokens,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Page {
    #[serde(deserialize_with = "null_as_empty")]
    items: Vec<Instance>,
    next_page_token: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Instance {
    id: String,
    name: String,
    status: String,
    zone: String,
    machine_type: String,
    #[serde(deserialize_with = "null_as_empty")]
    network_interfaces: Vec<Interface>,
    #[serde(deserialize_with = "null_as_empty")]
    tags: Tags,
    #[serde(deserialize_with = "null_as_empty")]
    metadata: Metadata,
    #[serde(deserialize_with = "null_as_empty")]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Interface {
    name: String,
    network: String,
    subnetwork: String,
    #[serde(rename = "networkIP")]
    network_ip: String,
    #[serde(deserialize_with = "null_as_empty")]
    access_configs: Vec<AccessConfig>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AccessConfig {
    r#type: String,
    #[serde(rename = "natIP")]
    nat_ip: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tags {
    #[serde(deserialize_with = "null_as_empty")]
    items: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(deserialize_with = "null_as_empty")]
    items: Vec<MetadataItem>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetadataItem {
    key: String,
    value: Option<String>,
}

impl Refresh for Gce {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let (project, zone) = (self.config.project.clone(), self.config.zone.clone());
        let told =
            |error| DiscoveryError::Request(format!("error retrieving refresh targets from gce: {error}"));
        let url = format!("{}/projects/{project}/zones/{zone}/instances", self.base);
        let mut targets = Vec::new();
        let mut token = String::new();
        loop {
            let pairs = [("filter", self.config.filter.as_str()), ("pageToken", &token)];
            let url = with_query(&url, pairs.into_iter().filter(|(_, value)| !value.is_empty()));
            let page = self.page(&url).await.map_err(told)?;
            let instances = page.items.iter().filter_map(|instance| self.target(instance));
            targets.extend(instances);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(single_group(format!("GCE_{project}_{zone}"), targets));
            }
        }
    }
}

impl Gce {
    async fn page(&mut self, url: &str) -> Result<Page, DiscoveryError> {
        let authorization = format!("Bearer {}", self.tokens.token().await?.expose());
        let mut headers = vec![("Authorization", authorization.as_str())];
        if !self.tokens.quota_project().is_empty() {
            headers.push(("X-Goog-User-Project", self.tokens.quota_project()));
        }
        let answer = self.client.get(url, &headers).await?;
        if answer.status == http::StatusCode::UNAUTHORIZED {
            self.tokens.forget().await;
        }
        answer.success("list instances")?.json()
    }

    fn target(&self, instance: &Instance) -> Option<Labels> {
        let first = instance.network_interfaces.first()?;
        let config = &self.config;
        let mut labels = MetaLabels::new("__meta_gce_");
        labels
            .set_plain(crate::ADDRESS_LABEL, &format!("{}:{}", first.network_ip, config.port))
            .set("project", &config.project)
            .set("zone", &instance.zone)
            .set("instance_id", &instance.id)
            .set("instance_name", &instance.name)
            .set("instance_status", &instance.status)
            .set("machine_type", &instance.machine_type)
            .set("network", &first.network)
            .set("subnetwork", &first.subnetwork)
            .set("private_ip", &first.network_ip);
        let interfaces = instance.network_interfaces.iter();
        labels.set_texts(
            "interface_ipv4_",
            interfaces.map(|interface| (&interface.name, &interface.network_ip)),
        );
        if !instance.tags.items.is_empty() {
            labels.set("tags", surrounded(&instance.tags.items, &config.tag_separator));
        }
        let metadata = instance.metadata.items.iter();
        labels.set_texts("metadata_", metadata.filter_map(|item| Some((&item.key, item.value.as_ref()?))));
        labels.set_texts("label_", &instance.labels);
        let public = first.access_configs.first().filter(|access| access.r#type == "ONE_TO_ONE_NAT");
        labels.set("public_ip", public.map_or("", |access| &access.nat_ip));
        Some(labels.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context_with};

    #[tokio::test]
    async fn the_machines_token_is_used_for_all_pages() {
        let server = TestServer::start(|request| match request.path() {
            "/computeMetadata/v1/instance/service-accounts/default/token" => {
                assert_eq!(request.header("metadata-flavor"), "Google");
                Reply::json(r#"{"access_token": "abc", "expires_in": 3600, "token_type": "Bearer"}"#)
            }
            _ if request.header("authorization") != "Bearer abc" => Reply::status(401),
            "/projects/p/zones/z/instances" if request.parameter("pageToken") == "next" => {
                Reply::json(r#"{"items": [{"id": "2", "networkInterfaces": []}]}"#)
            }
            "/projects/p/zones/z/instances" => Reply::json(
                r#"{"items": [{"id": "123", "name": "vm", "status": "RUNNING", "zone": "https://x/zones/z",
                     "machineType": "https://x/n1", "tags": {"items": ["a", "b"]}, "labels": {"l-1": "v"},
                     "metadata": {"items": [{"key": "my-key", "value": "m"}, {"key": "none"}]},
                     "networkInterfaces": [{"name": "nic0", "network": "n", "subnetwork": "s", "networkIP": "10.0.0.4",
                        "accessConfigs": [{"type": "ONE_TO_ONE_NAT", "natIP": "1.2.3.4"}]}]}],
                    "nextPageToken": "next"}"#,
            ),
            _ => Reply::status(404),
        })
        .await;
        let context = context_with(&[("GCE_METADATA_HOST", &server.address)]);
        let config = GceSdConfig {
            project: "p".to_owned(),
            zone: "z".to_owned(),
            filter: "status = RUNNING".to_owned(),
            ..GceSdConfig::default()
        };
        let mut look = config.look(&context).unwrap();
        look.base = server.url("");
        let groups = look.refresh().await.unwrap();
        assert_eq!((groups[0].source.as_str(), groups[0].targets.len()), ("GCE_p_z", 1));
        for (name, value) in [
            ("__address__", "10.0.0.4:80"),
            ("__meta_gce_tags", ",a,b,"),
            ("__meta_gce_metadata_my_key", "m"),
            ("__meta_gce_label_l_1", "v"),
            ("__meta_gce_interface_ipv4_nic0", "10.0.0.4"),
            ("__meta_gce_public_ip", "1.2.3.4"),
            ("__meta_gce_instance_id", "123"),
        ] {
            assert_eq!(groups[0].targets[0].get(name), Some(value), "{name}");
        }
        look.refresh().await.unwrap();
        let tokens = server.requests().iter().filter(|request| request.target.contains("token?")).count();
        assert_eq!(tokens, 1);
        assert_eq!(server.requests()[1].parameter("filter"), "status = RUNNING");
    }
}
