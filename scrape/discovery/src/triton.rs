//! `triton_sd_configs`: containers or compute nodes of Triton.

use std::time::Duration;

use config::HttpClientConfig;
use config::discovery::TritonSdConfig;
use config::discovery::triton::TritonRole;
use serde::Deserialize;

use crate::client::{Client, null_as_empty, with_query};
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group, surrounded};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

/// An answer takes no longer, whatever the interval.
const TIMEOUT_MIN: Duration = Duration::from_secs(60);

impl Periodic for TritonSdConfig {
    const NAME: &'static str = "triton";
    type Look = Triton;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Triton, DiscoveryError> {
        let http = HttpClientConfig { tls_config: self.tls_config.clone(), ..HttpClientConfig::default() };
        let timeout = interval_of(self.refresh_interval).max(TIMEOUT_MIN);
        let base = format!("https://{}:{}/v{}", self.endpoint, self.port, self.version);
        Ok(Triton { client: Client::new(&http, context, timeout)?, config: self.clone(), base })
    }
}

pub(crate) struct Triton {
    config: TritonSdConfig,
    client: Client,
    base: String,
}

/// Either list is there, by the role.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Found {
    #[serde(deserialize_with = "null_as_empty")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "null_as_empty")]
    cns: Vec<ComputeNode>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    #[serde(deserialize_with = "null_as_empty")]
    groups: Vec<String>,
    server_uuid: String,
    vm_alias: String,
    vm_brand: String,
    vm_image_uuid: String,
    vm_uuid: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ComputeNode {
    server_uuid: String,
    server_hostname: String,
}

impl Refresh for Triton {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let of_nodes = self.config.role.0 == Some(TritonRole::Cn);
        let path = if of_nodes { "gz/discover" } else { "discover" };
        let groups = self.config.groups.join(",");
        let pairs = (!groups.is_empty()).then_some(("groups", groups.as_str()));
        let url = with_query(&format!("{}/{path}", self.base), pairs);
        let failed = |error| {
            DiscoveryError::Request(format!(
                "an error occurred when requesting targets from the discovery endpoint: {error}"
            ))
        };
        let found: Found = self.client.get_json(&url, &[]).await.map_err(failed)?;
        let labels = |id: &str| {
            let mut labels = MetaLabels::new("__meta_triton_");
            labels
                .address(&format!("{id}.{}", self.config.dns_suffix), self.config.port)
                .set("machine_id", id);
            labels
        };
        let targets = if of_nodes {
            found
                .cns
                .iter()
                .map(|node| labels(&node.server_uuid).set("machine_alias", &node.server_hostname).finish())
                .collect()
        } else {
            let target = |container: &Container| {
                let mut labels = labels(&container.vm_uuid);
                labels
                    .set("machine_alias", &container.vm_alias)
                    .set("machine_brand", &container.vm_brand)
                    .set("machine_image", &container.vm_image_uuid)
                    .set("server_id", &container.server_uuid);
                if !container.groups.is_empty() {
                    labels.set("groups", surrounded(&container.groups, ","));
                }
                labels.finish()
            };
            found.containers.iter().map(target).collect()
        };
        Ok(single_group(url, targets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context};
    use config::decode::Chosen;

    async fn look(role: TritonRole) -> Vec<TargetGroup> {
        let server = TestServer::start(|request| match request.path() {
            "/v1/discover" if request.parameter("groups") == "foo,bar" => Reply::json(
                r#"{"containers": [{"groups": ["foo", "bar"], "server_uuid": "s1", "vm_alias": "server01",
                     "vm_brand": "lx", "vm_image_uuid": "img", "vm_uuid": "u1"}]}"#,
            ),
            "/v1/gz/discover" => {
                Reply::json(r#"{"cns": [{"server_uuid": "c1", "server_hostname": "node01"}]}"#)
            }
            _ => Reply::status(404),
        })
        .await;
        let config = TritonSdConfig {
            role: Chosen::some(role),
            account: "a".to_owned(),
            dns_suffix: "triton.example".to_owned(),
            endpoint: "unused".to_owned(),
            groups: vec!["foo".to_owned(), "bar".to_owned()],
            ..TritonSdConfig::default()
        };
        let mut look = config.look(&context()).unwrap();
        assert_eq!(look.base, "https://unused:9163/v1");
        look.base = server.url("/v1");
        look.refresh().await.unwrap()
    }

    #[tokio::test]
    async fn containers_and_compute_nodes_are_targets() {
        let groups = look(TritonRole::Container).await;
        let target = &groups[0].targets[0];
        for (name, value) in [
            ("__address__", "u1.triton.example:9163"),
            ("__meta_triton_machine_id", "u1"),
            ("__meta_triton_machine_brand", "lx"),
            ("__meta_triton_server_id", "s1"),
            ("__meta_triton_groups", ",foo,bar,"),
        ] {
            assert_eq!(target.get(name), Some(value), "{name}");
        }
        let groups = look(TritonRole::Cn).await;
        assert_eq!(
            groups[0].targets[0].to_string(),
            "{__address__=\"c1.triton.example:9163\", __meta_triton_machine_alias=\"node01\", \
             __meta_triton_machine_id=\"c1\"}"
        );
    }
}
