//! `hetzner_sd_configs`: servers of the cloud, or dedicated ones.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use config::discovery::HetznerSdConfig;
use config::discovery::hetzner::HetznerRole;
use model::Labels;
use serde::Deserialize;

use crate::client::{Client, null_as_empty, with_query};
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, canonical_ip, canonical_network, sanitize, single_group};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

const CLOUD: &str = "https://api.hetzner.cloud/v1";
const ROBOT: &str = "https://robot-ws.your-server.de";
const PREFIX: &str = "__meta_hetzner_";

impl Periodic for HetznerSdConfig {
    const NAME: &'static str = "hetzner";
    type Look = Hetzner;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Hetzner, DiscoveryError> {
        let base = if self.role == HetznerRole::Robot { ROBOT } else { CLOUD };
        Ok(Hetzner {
            client: Client::new(&self.http_client, context, interval_of(self.refresh_interval))?,
            config: self.clone(),
            base: base.to_owned(),
        })
    }
}

pub(crate) struct Hetzner {
    config: HetznerSdConfig,
    client: Client,
    base: String,
}

impl Refresh for Hetzner {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let is_robot = self.config.role == HetznerRole::Robot;
        let targets = if is_robot { self.robot().await? } else { self.cloud().await? };
        Ok(single_group("hetzner", targets))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    #[serde(deserialize_with = "null_as_empty")]
    servers: Vec<Server>,
    #[serde(deserialize_with = "null_as_empty")]
    networks: Vec<Network>,
    meta: Meta,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    pagination: Pagination,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pagination {
    next_page: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Network {
    id: u64,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Server {
    id: u64,
    name: String,
    status: String,
    public_net: PublicNet,
    #[serde(deserialize_with = "null_as_empty")]
    private_net: Vec<PrivateNet>,
    server_type: ServerType,
    location: Option<Location>,
    datacenter: Option<Datacenter>,
    image: Option<Image>,
    #[serde(deserialize_with = "null_as_empty")]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PublicNet {
    ipv4: Option<PublicIp>,
    ipv6: Option<PublicIp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PublicIp {
    ip: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PrivateNet {
    network: u64,
    ip: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServerType {
    name: String,
    cores: u64,
    cpu_type: String,
    memory: f64,
    disk: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Location {
    name: String,
    network_zone: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Datacenter {
    location: Option<Location>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Image {
    #[serde(deserialize_with = "null_as_empty")]
    name: String,
    description: String,
    os_flavor: String,
    #[serde(deserialize_with = "null_as_empty")]
    os_version: String,
}

#[derive(Deserialize)]
struct RobotServer {
    server: Dedicated,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Dedicated {
    #[serde(deserialize_with = "null_as_empty")]
    server_ip: String,
    server_number: u64,
    server_name: String,
    dc: String,
    status: String,
    product: String,
    cancelled: bool,
    #[serde(deserialize_with = "null_as_empty")]
    subnet: Vec<Subnet>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Subnet {
    ip: String,
    mask: String,
}

impl Hetzner {
    /// All pages of a list.
    async fn pages(&self, path: &str, selector: &str) -> Result<Vec<Page>, DiscoveryError> {
        let mut pages = Vec::new();
        let mut number = 1;
        loop {
            let page = number.to_string();
            let pairs = [("page", page.as_str()), ("per_page", "50"), ("label_selector", selector)];
            let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
            let url = with_query(&format!("{}{path}", self.base), pairs);
            let page: Page = self.client.get_json(&url, &[]).await?;
            let next = page.meta.pagination.next_page;
            pages.push(page);
            match next {
                Some(next) if next > number => number = next,
                _ => return Ok(pages),
            }
        }
    }

    async fn cloud(&self) -> Result<Vec<Labels>, DiscoveryError> {
        let servers = self.pages("/servers", &self.config.label_selector).await?;
        let networks = self.pages("/networks", "").await?;
        let names: HashMap<u64, &str> =
            networks.iter().flat_map(|page| &page.networks).map(|n| (n.id, n.name.as_str())).collect();
        let servers = servers.iter().flat_map(|page| &page.servers);
        Ok(servers.map(|server| self.cloud_target(server, &names)).collect())
    }

    fn cloud_target(&self, server: &Server, networks: &HashMap<u64, &str>) -> Labels {
        // What has no address prints as Go prints no address.
        let shown = |ip: &Option<PublicIp>, form: fn(&str) -> Option<String>| {
            ip.as_ref().and_then(|ip| form(&ip.ip)).unwrap_or_else(|| "<nil>".to_owned())
        };
        let ipv4 = shown(&server.public_net.ipv4, canonical_ip);
        let ipv6 = shown(&server.public_net.ipv6, canonical_network);
        let kind = &server.server_type;
        let mut labels = MetaLabels::new(PREFIX);
        labels
            .address(&ipv4, self.config.port)
            .set("role", "hcloud")
            .set_shown("server_id", server.id)
            .set("server_name", &server.name)
            .set("server_status", &server.status)
            .set("public_ipv4", ipv4)
            .set("public_ipv6_network", ipv6)
            .set("hcloud_server_type", &kind.name)
            .set_shown("hcloud_cpu_cores", kind.cores)
            .set("hcloud_cpu_type", &kind.cpu_type)
            .set_shown("hcloud_memory_size_gb", kind.memory.trunc())
            .set_shown("hcloud_disk_size_gb", kind.disk);
        let of_datacenter = server.datacenter.as_ref().and_then(|datacenter| datacenter.location.as_ref());
        if let Some(location) = server.location.as_ref().or(of_datacenter) {
            for place in ["hcloud_location", "hcloud_datacenter_location"] {
                labels
                    .set(place, &location.name)
                    .set(&format!("{place}_network_zone"), &location.network_zone);
            }
        }
        if let Some(image) = &server.image {
            labels
                .set("hcloud_image_name", &image.name)
                .set("hcloud_image_description", &image.description)
                .set("hcloud_image_os_version", &image.os_version)
                .set("hcloud_image_os_flavor", &image.os_flavor);
        }
        let private =
            server.private_net.iter().filter_map(|net| Some((networks.get(&net.network)?, &net.ip)));
        labels.set_texts("hcloud_private_ipv4_", private);
        labels.set_texts("hcloud_label_", &server.labels);
        for name in server.labels.keys() {
            labels.set(&format!("hcloud_labelpresent_{}", sanitize(name)), "true");
        }
        labels.finish()
    }

    async fn robot(&self) -> Result<Vec<Labels>, DiscoveryError> {
        let answer = self.client.get(&format!("{}/server", self.base), &[]).await?;
        if !answer.status.is_success() {
            let status = answer.status.as_u16();
            return Err(DiscoveryError::Request(format!(
                "non 2xx status '{status}' response during hetzner service discovery with role robot"
            )));
        }
        let servers: Vec<RobotServer> = answer.json()?;
        Ok(servers.iter().map(|server| self.robot_target(&server.server)).collect())
    }

    fn robot_target(&self, server: &Dedicated) -> Labels {
        let datacenter = server.dc.to_lowercase();
        let mut labels = MetaLabels::new(PREFIX);
        labels
            .address(&server.server_ip, self.config.port)
            .set("role", "robot")
            .set_shown("server_id", server.server_number)
            .set("server_name", &server.server_name)
            .set("server_status", &server.status)
            .set("public_ipv4", &server.server_ip)
            .set("datacenter", &datacenter)
            .set("robot_datacenter", &datacenter)
            .set("robot_product", &server.product)
            .set_shown("robot_cancelled", server.cancelled);
        let second = server.subnet.iter().find(|subnet| subnet.ip.parse::<Ipv4Addr>().is_err());
        if let Some(subnet) = second {
            labels.set("public_ipv6_network", format!("{}/{}", subnet.ip, subnet.mask));
        }
        labels.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context};
    use config::decode::Chosen;

    async fn targets(role: HetznerRole, server: &TestServer) -> Vec<Labels> {
        let config = HetznerSdConfig {
            role: Chosen::some(role),
            label_selector: "env=prod".to_owned(),
            ..HetznerSdConfig::default()
        };
        let mut look = config.look(&context()).unwrap();
        look.base = server.url("");
        look.refresh().await.unwrap().remove(0).targets
    }

    #[tokio::test]
    async fn servers_of_the_cloud_come_in_pages() {
        let server = TestServer::start(|request| match (request.path(), request.parameter("page").as_str()) {
            ("/servers", "1") => Reply::json(
                r#"{"servers": [{"id": 42, "name": "a", "status": "running",
                     "public_net": {"ipv4": {"ip": "1.2.3.4"}, "ipv6": {"ip": "2001:db8::/64"}},
                     "private_net": [{"network": 7, "ip": "10.0.0.2"}], "labels": {"my-key": ""},
                     "server_type": {"name": "cx11", "cores": 1, "cpu_type": "shared", "memory": 2.0, "disk": 25},
                     "location": {"name": "fsn1", "network_zone": "eu-central"},
                     "image": {"name": "ubuntu-20.04", "description": "U", "os_flavor": "ubuntu", "os_version": "20.04"}
                   }], "meta": {"pagination": {"next_page": 2}}}"#,
            ),
            ("/servers", _) => Reply::json(r#"{"servers": [{"id": 43}], "meta": {"pagination": {"next_page": null}}}"#),
            _ => Reply::json(r#"{"networks": [{"id": 7, "name": "my net"}]}"#),
        })
        .await;
        let targets = targets(HetznerRole::Hcloud, &server).await;
        assert_eq!(targets.len(), 2);
        for (name, value) in [
            ("__address__", "1.2.3.4:80"),
            ("__meta_hetzner_public_ipv6_network", "2001:db8::/64"),
            ("__meta_hetzner_hcloud_memory_size_gb", "2"),
            ("__meta_hetzner_hcloud_location_network_zone", "eu-central"),
            ("__meta_hetzner_hcloud_private_ipv4_my_net", "10.0.0.2"),
            ("__meta_hetzner_hcloud_labelpresent_my_key", "true"),
            ("__meta_hetzner_hcloud_image_os_version", "20.04"),
        ] {
            assert_eq!(targets[0].get(name), Some(value), "{name}");
        }
        assert!(!targets[0].has("__meta_hetzner_datacenter"));
        assert_eq!(server.requests()[0].parameter("label_selector"), "env=prod");
    }

    #[tokio::test]
    async fn dedicated_servers_have_a_datacenter() {
        let server = TestServer::start(|_| {
            Reply::json(
                r#"[{"server": {"server_ip": "123.1.2.3", "server_number": 321, "server_name": "s1", "dc": "FSN1-DC1",
                     "product": "EQ 4", "status": "ready", "cancelled": false,
                     "subnet": [{"ip": "123.1.2.3", "mask": "32"}, {"ip": "2a01:4f8::", "mask": "64"}]}}]"#,
            )
        })
        .await;
        let targets = targets(HetznerRole::Robot, &server).await;
        assert_eq!(targets[0].get("__meta_hetzner_datacenter"), Some("fsn1-dc1"));
        assert_eq!(targets[0].get("__meta_hetzner_public_ipv6_network"), Some("2a01:4f8::/64"));
        assert_eq!(targets[0].get("__meta_hetzner_robot_cancelled"), Some("false"));
    }
}
