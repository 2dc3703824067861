//! `vultr_sd_configs`: instances of Vultr.

use config::discovery::VultrSdConfig;
use model::Labels;
use serde::Deserialize;

use crate::client::{Client, null_as_empty, with_query};
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group, surrounded};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

const API: &str = "https://api.vultr.com";
/// Pages that are asked for at most.
const PAGES_MAX: usize = 10_000;

impl Periodic for VultrSdConfig {
    const NAME: &'static str = "vultr";
    type Look = Vultr;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Vultr, DiscoveryError> {
        let client = Client::new(&self.http_client, context, interval_of(self.refresh_interval))?;
        Ok(Vultr { client, base: API.to_owned(), port: self.port })
    }
}

pub(crate) struct Vultr {
    client: Client,
    base: String,
    port: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    #[serde(deserialize_with = "null_as_empty")]
    instances: Vec<Instance>,
    #[serde(deserialize_with = "null_as_empty")]
    meta: Meta,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    #[serde(deserialize_with = "null_as_empty")]
    links: Links,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Links {
    next: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Instance {
    id: String,
    label: String,
    os: String,
    os_id: i64,
    region: String,
    plan: String,
    vcpu_count: i64,
    ram: i64,
    disk: i64,
    allowed_bandwidth: i64,
    main_ip: String,
    v6_main_ip: String,
    internal_ip: String,
    hostname: String,
    server_status: String,
    #[serde(deserialize_with = "null_as_empty")]
    features: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    tags: Vec<String>,
}

impl Refresh for Vultr {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let mut targets = Vec::new();
        let mut cursor = String::new();
        for _ in 0..PAGES_MAX {
            let pairs = [("per_page", "100"), ("cursor", &cursor)];
            let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
            let page: Page =
                self.client.get_json(&with_query(&format!("{}/v2/instances", self.base), pairs), &[]).await?;
            targets.extend(page.instances.iter().map(|instance| self.target(instance)));
            cursor = page.meta.links.next;
            if cursor.is_empty() {
                break;
            }
        }
        Ok(single_group("Vultr", targets))
    }
}

impl Vultr {
    fn target(&self, instance: &Instance) -> Labels {
        let mut labels = MetaLabels::new("__meta_vultr_instance_");
        labels
            .address(&instance.main_ip, self.port)
            .set("id", &instance.id)
            .set("label", &instance.label)
            .set("os", &instance.os)
            .set_shown("os_id", instance.os_id)
            .set("region", &instance.region)
            .set("plan", &instance.plan)
            .set_shown("vcpu_count", instance.vcpu_count)
            .set_shown("ram_mb", instance.ram)
            .set_shown("disk_gb", instance.disk)
            .set_shown("allowed_bandwidth_gb", instance.allowed_bandwidth)
            .set("main_ip", &instance.main_ip)
            .set("main_ipv6", &instance.v6_main_ip)
            .set("internal_ip", &instance.internal_ip)
            .set("hostname", &instance.hostname)
            .set("server_status", &instance.server_status);
        for (name, texts) in [("features", &instance.features), ("tags", &instance.tags)] {
            if !texts.is_empty() {
                labels.set(name, surrounded(texts, ","));
            }
        }
        labels.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context};

    #[tokio::test]
    async fn instances_of_all_pages_are_targets() {
        let server = TestServer::start(|request| match request.parameter("cursor").as_str() {
            "" => Reply::json(
                r#"{"instances": [{"id": "i-1", "label": "web", "os": "Debian", "os_id": 1743, "region": "ewr",
                     "plan": "vc2", "vcpu_count": 2, "ram": 4096, "disk": 80, "allowed_bandwidth": 3,
                     "main_ip": "192.0.2.1", "v6_main_ip": "2001:db8::1", "internal_ip": "10.0.0.1",
                     "hostname": "h", "server_status": "ok", "features": ["ipv6", "ddos"], "tags": null}],
                    "meta": {"links": {"next": "abc=", "prev": ""}}}"#,
            ),
            "abc=" => Reply::json(r#"{"instances": [{"id": "i-2", "main_ip": "192.0.2.2"}], "meta": {}}"#),
            _ => Reply::status(400),
        })
        .await;
        let mut look = VultrSdConfig::default().look(&context()).unwrap();
        look.base = server.url("");
        let groups = look.refresh().await.unwrap();
        assert_eq!((groups[0].source.as_str(), groups[0].targets.len()), ("Vultr", 2));
        for (name, value) in [
            ("__address__", "192.0.2.1:80"),
            ("__meta_vultr_instance_os_id", "1743"),
            ("__meta_vultr_instance_ram_mb", "4096"),
            ("__meta_vultr_instance_disk_gb", "80"),
            ("__meta_vultr_instance_main_ipv6", "2001:db8::1"),
            ("__meta_vultr_instance_features", ",ipv6,ddos,"),
        ] {
            assert_eq!(groups[0].targets[0].get(name), Some(value), "{name}");
        }
        assert_eq!(groups[0].targets[0].get("__meta_vultr_instance_tags"), None);
    }
}
