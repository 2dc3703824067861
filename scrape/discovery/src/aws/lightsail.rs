//! `lightsail_sd_configs`: instances of Lightsail.

use model::Labels;
use serde::Deserialize;

use super::Service;
use crate::client::null_as_empty;
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group, surrounded};
use crate::mechanism::DiscoveryError;
use crate::refresh::Refresh;

/// Instances of a region.
pub(crate) struct Lightsail {
    service: Service,
    port: i64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Page {
    #[serde(deserialize_with = "null_as_empty")]
    instances: Vec<Instance>,
    #[serde(deserialize_with = "null_as_empty")]
    next_page_token: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Instance {
    name: String,
    support_code: String,
    blueprint_id: String,
    bundle_id: String,
    private_ip_address: String,
    public_ip_address: String,
    #[serde(deserialize_with = "null_as_empty")]
    ipv6_addresses: Vec<String>,
    location: Location,
    state: State,
    #[serde(deserialize_with = "null_as_empty")]
    tags: Vec<Tag>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Location {
    availability_zone: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tag {
    key: String,
    value: String,
}

impl Lightsail {
    pub(super) fn new(service: Service, port: i64) -> Lightsail {
        Lightsail { service, port }
    }

    fn target(&self, instance: &Instance, region: &str) -> Labels {
        let mut labels = MetaLabels::new("__meta_lightsail_");
        labels
            .address(&instance.private_ip_address, self.port)
            .set("availability_zone", &instance.location.availability_zone)
            .set("blueprint_id", &instance.blueprint_id)
            .set("bundle_id", &instance.bundle_id)
            .set("instance_name", &instance.name)
            .set("instance_state", &instance.state.name)
            .set("instance_support_code", &instance.support_code)
            .set("private_ip", &instance.private_ip_address)
            .set("public_ip", &instance.public_ip_address)
            .set("region", region);
        if !instance.ipv6_addresses.is_empty() {
            labels.set("ipv6_addresses", surrounded(&instance.ipv6_addresses, ","));
        }
        let tags = instance.tags.iter().filter(|tag| !tag.key.is_empty());
        labels.set_texts("tag_", tags.map(|tag| (&tag.key, &tag.value)));
        labels.finish()
    }
}

impl Refresh for Lightsail {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let region = self.service.region().await?;
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "Lightsail_20161128.GetInstances"),
        ];
        let mut targets = Vec::new();
        let mut token = String::new();
        loop {
            let body = match token.as_str() {
                "" => serde_json::json!({}),
                token => serde_json::json!({ "pageToken": token }),
            };
            let answer = self.service.post(&headers, body.to_string()).await?;
            let page: Page = answer.success("could not get instances")?.json()?;
            let instances = page.instances.iter().filter(|instance| !instance.private_ip_address.is_empty());
            targets.extend(instances.map(|instance| self.target(instance, &region)));
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(single_group(region, targets));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::polled::Periodic;
    use crate::testing::{Reply, TestServer, context};
    use config::Secret;
    use config::discovery::LightsailSdConfig;

    #[tokio::test]
    async fn instances_with_an_address_are_targets() {
        let server = TestServer::start(|request| {
            assert_eq!(request.header("x-amz-target"), "Lightsail_20161128.GetInstances");
            Reply::json(
                r#"{"instances": [{"name": "a", "privateIpAddress": "10.0.0.1", "ipv6Addresses": ["2001:db8::1"],
                    "location": {"availabilityZone": "z"}, "state": {"name": "running"},
                    "tags": [{"key": "k-1", "value": "v"}]}, {"name": "b"}]}"#,
            )
        })
        .await;
        let config = LightsailSdConfig {
            endpoint: server.url(""),
            region: "eu-west-1".to_owned(),
            access_key: "AKID".to_owned(),
            secret_key: Secret::new("secret"),
            ..LightsailSdConfig::default()
        };
        let groups = config.look(&context()).unwrap().refresh().await.unwrap();
        assert_eq!(groups[0].targets.len(), 1);
        let target = &groups[0].targets[0];
        assert_eq!(target.get("__address__"), Some("10.0.0.1:80"));
        assert_eq!(target.get("__meta_lightsail_ipv6_addresses"), Some(",2001:db8::1,"));
        assert_eq!(target.get("__meta_lightsail_tag_k_1"), Some("v"));
    }
}
