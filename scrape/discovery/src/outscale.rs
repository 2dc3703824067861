//! `outscale_sd_configs`: virtual machines of 3DS OUTSCALE. Requests are signed
//! as AWS has it.

use config::Secret;
use config::discovery::OutscaleSdConfig;
use http::Method;
use model::Labels;
use net::cloud::aws::{Credentials, Signer};
use serde::Deserialize;

use crate::client::{Client, headers_of, null_as_empty};
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

/// What the service's own client signs for, whatever the region.
const SERVICE: &str = "oapi";
const SIGNED_REGION: &str = "eu-west-2";
/// Pages that are asked for at most.
const PAGES_MAX: usize = 10_000;

impl Periodic for OutscaleSdConfig {
    const NAME: &'static str = "outscale";
    type Look = Outscale;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Outscale, DiscoveryError> {
        let client = Client::new(&self.http_client, context, interval_of(self.refresh_interval))?;
        Ok(Outscale { config: self.clone(), client, context: context.clone() })
    }
}

pub(crate) struct Outscale {
    config: OutscaleSdConfig,
    client: Client,
    context: Context,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Page {
    #[serde(deserialize_with = "null_as_empty")]
    vms: Vec<Machine>,
    #[serde(deserialize_with = "null_as_empty")]
    next_page_token: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Machine {
    vm_id: String,
    state: String,
    private_ip: String,
    public_ip: String,
    #[serde(deserialize_with = "null_as_empty")]
    placement: Placement,
    #[serde(deserialize_with = "null_as_empty")]
    tags: Vec<Tag>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Placement {
    subregion_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

impl Refresh for Outscale {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let credentials = Credentials {
            id: self.config.access_key.clone(),
            secret: self.secret()?,
            ..Credentials::default()
        };
        let mut targets = Vec::new();
        let mut token = String::new();
        for _ in 0..PAGES_MAX {
            let page = self.page(&credentials, &token).await;
            let page = page.map_err(|error| DiscoveryError::Request(format!("outscale ReadVms: {error}")))?;
            targets.extend(page.vms.iter().filter_map(|machine| self.target(machine)));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        Ok(single_group(self.config.region.as_str(), targets))
    }
}

impl Outscale {
    fn secret(&self) -> Result<Secret, DiscoveryError> {
        match self.config.secret_key_file.as_str() {
            "" => Ok(self.config.secret_key.clone()),
            file => match std::fs::read_to_string(file) {
                Ok(text) => Ok(Secret::new(text.trim())),
                Err(source) => Err(DiscoveryError::Read { path: file.into(), source }),
            },
        }
    }

    async fn page(&self, credentials: &Credentials, token: &str) -> Result<Page, DiscoveryError> {
        let url = format!("{}/ReadVms", self.config.endpoint.trim_end_matches('/'));
        let body = match token {
            "" => "{}".to_owned(),
            token => serde_json::json!({ "NextPageToken": token }).to_string(),
        };
        let uri: http::Uri =
            url.parse().map_err(|error| DiscoveryError::Malformed(format!("{url}: {error}")))?;
        let mut headers =
            headers_of(&[("Content-Type", "application/json"), ("Accept", "application/json")])?;
        let now_ms = self.context.clock.now_ms();
        let signer = Signer { credentials, region: SIGNED_REGION, service: SERVICE, now_ms };
        signer.sign(&Method::POST, &uri, &mut headers, body.as_bytes())?;
        self.client.request_with(Method::POST, &url, headers, body).await?.success("ReadVms")?.json()
    }

    /// The target of a machine, `None` where it has no address.
    fn target(&self, machine: &Machine) -> Option<Labels> {
        let addresses = [&machine.private_ip, &machine.public_ip];
        let address = addresses.into_iter().find(|address| !address.is_empty())?;
        let mut labels = MetaLabels::new("__meta_outscale_vm_");
        labels
            .address(address, self.config.port)
            .set("instance_id", &machine.vm_id)
            .set("region", &self.config.region)
            .set("subregion", &machine.placement.subregion_name)
            .set("state", &machine.state)
            .set("private_ip", &machine.private_ip)
            .set("public_ip", &machine.public_ip)
            .set_texts("tag_", machine.tags.iter().map(|tag| (&tag.key, &tag.value)));
        Some(labels.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context};

    #[tokio::test]
    async fn machines_with_addresses_are_targets_of_signed_requests() {
        let server = TestServer::start(|request| {
            let signed = request.header("authorization");
            if !signed.starts_with("AWS4-HMAC-SHA256 Credential=AK/20231114/eu-west-2/oapi/aws4_request") {
                return Reply::status(401);
            }
            match request.body.as_str() {
                "{}" => Reply::json(
                    r#"{"Vms": [{"VmId": "i-1", "State": "running", "PrivateIp": "10.0.0.1", "PublicIp": "192.0.2.1",
                         "Placement": {"SubregionName": "eu-west-2a"}, "Tags": [{"Key": "my key", "Value": "v"}]},
                        {"VmId": "i-2", "State": "stopped"}], "NextPageToken": "n"}"#,
                ),
                r#"{"NextPageToken":"n"}"# => Reply::json(r#"{"Vms": [{"VmId": "i-3", "PublicIp": "192.0.2.3"}]}"#),
                _ => Reply::status(400),
            }
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, "SK\n").unwrap();
        let config = OutscaleSdConfig {
            endpoint: server.url("/api/v1"),
            access_key: "AK".to_owned(),
            secret_key_file: file.display().to_string(),
            ..OutscaleSdConfig::default()
        };
        let groups = config.look(&context()).unwrap().refresh().await.unwrap();
        assert_eq!((groups[0].source.as_str(), groups[0].targets.len()), ("eu-west-2", 2));
        for (name, value) in [
            ("__address__", "10.0.0.1:80"),
            ("__meta_outscale_vm_subregion", "eu-west-2a"),
            ("__meta_outscale_vm_tag_my_key", "v"),
            ("__meta_outscale_vm_public_ip", "192.0.2.1"),
        ] {
            assert_eq!(groups[0].targets[0].get(name), Some(value), "{name}");
        }
        assert_eq!(groups[0].targets[1].get("__address__"), Some("192.0.2.3:80"));
    }
}
