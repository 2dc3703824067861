//! `nomad_sd_configs`: services registered with Nomad.

use config::discovery::NomadSdConfig;
use serde::Deserialize;

use crate::client::{Client, null_as_empty, query};
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group, surrounded};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

impl Periodic for NomadSdConfig {
    const NAME: &'static str = "nomad";
    type Look = Nomad;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Nomad, DiscoveryError> {
        // Of the server's URL the path does not count.
        let url = net::go_url::GoUrl::parse(&self.server).map_err(|error| {
            DiscoveryError::Unusable(format!("invalid address '{}': {error}", self.server))
        })?;
        let user = url.userinfo().map(|user| format!("{user}@")).unwrap_or_default();
        Ok(Nomad {
            client: Client::new(&self.http_client, context, interval_of(self.refresh_interval))?,
            base: format!("{}://{user}{}", url.scheme(), url.host()),
            config: self.clone(),
            context: context.clone(),
        })
    }
}

pub(crate) struct Nomad {
    config: NomadSdConfig,
    client: Client,
    /// The URL before `/v1`.
    base: String,
    context: Context,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Namespace {
    #[serde(deserialize_with = "null_as_empty")]
    services: Vec<Stub>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Stub {
    service_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Instance {
    #[serde(rename = "ID")]
    id: String,
    service_name: String,
    namespace: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    datacenter: String,
    address: String,
    port: i64,
    #[serde(deserialize_with = "null_as_empty")]
    tags: Vec<String>,
}

impl Refresh for Nomad {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let outcome = self.services().await;
        if outcome.is_err() {
            self.context.metrics.nomad_failures.inc();
        }
        outcome
    }
}

impl Nomad {
    async fn services(&self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let namespaces: Option<Vec<Namespace>> = self.client.get_json(&self.url("/v1/services"), &[]).await?;
        let mut targets = Vec::new();
        for stub in namespaces.iter().flatten().flat_map(|namespace| &namespace.services) {
            let name: String = form_urlencoded::byte_serialize(stub.service_name.as_bytes()).collect();
            let url = self.url(&format!("/v1/service/{}", name.replace('+', "%20")));
            let instances: Option<Vec<Instance>> = self.client.get_json(&url, &[]).await?;
            targets.extend(instances.iter().flatten().map(|instance| self.target(instance)));
        }
        Ok(single_group("Nomad", targets))
    }

    fn url(&self, path: &str) -> String {
        let config = &self.config;
        let mut pairs = vec![("namespace", config.namespace.as_str()), ("region", &config.region)];
        pairs.retain(|(_, value)| !value.is_empty());
        if config.allow_stale {
            pairs.push(("stale", ""));
        }
        format!("{}{path}?{}", self.base, query(pairs))
    }

    fn target(&self, instance: &Instance) -> model::Labels {
        let mut labels = MetaLabels::new("__meta_nomad_");
        labels
            .address(&instance.address, instance.port)
            .set("address", &instance.address)
            .set("dc", &instance.datacenter)
            .set("node_id", &instance.node_id)
            .set("namespace", &instance.namespace)
            .set("service_address", &instance.address)
            .set("service_id", &instance.id)
            .set_shown("service_port", instance.port)
            .set("service", &instance.service_name);
        if !instance.tags.is_empty() {
            labels.set("tags", surrounded(&instance.tags, &self.config.tag_separator));
        }
        labels.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context};

    #[tokio::test]
    async fn every_instance_of_every_service_is_a_target() {
        let server = TestServer::start(|request| match request.path() {
            "/v1/services" => Reply::json(r#"[{"Namespace": "default", "Services": [{"ServiceName": "web app"}]}]"#),
            "/v1/service/web%20app" => Reply::json(
                r#"[{"ID": "i", "ServiceName": "web app", "Namespace": "default", "NodeID": "n", "Datacenter": "dc1",
                     "Address": "10.0.0.3", "Port": 9000, "Tags": ["a", "b"]}]"#,
            ),
            _ => Reply::status(404),
        })
        .await;
        let config = NomadSdConfig { server: server.url("/not/used"), ..NomadSdConfig::default() };
        let groups = config.look(&context()).unwrap().refresh().await.unwrap();
        assert_eq!(groups[0].source, "Nomad");
        assert_eq!(
            groups[0].targets[0].to_string(),
            r#"{__address__="10.0.0.3:9000", __meta_nomad_address="10.0.0.3", __meta_nomad_dc="dc1", "#
                .to_owned()
                + r#"__meta_nomad_namespace="default", __meta_nomad_node_id="n", __meta_nomad_service="web app", "#
                + r#"__meta_nomad_service_address="10.0.0.3", __meta_nomad_service_id="i", "#
                + r#"__meta_nomad_service_port="9000", __meta_nomad_tags=",a,b,"}"#
        );
        let request = &server.requests()[0];
        assert_eq!(
            (request.parameter("namespace").as_str(), request.parameter("region").as_str()),
            ("default", "global")
        );
    }
}
