//! `scaleway_sd_configs`: instances, or servers of bare metal.

use std::collections::{BTreeMap, HashMap};

use config::Secret;
use config::discovery::ScalewaySdConfig;
use config::discovery::scaleway::ScalewayRole;
use model::Labels;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::{Client, null_as_empty, with_query};
use crate::group::{ADDRESS_LABEL, TargetGroup};
use crate::labels::{MetaLabels, join_host_port, single_group, surrounded};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

const API: &str = "https://api.scaleway.com";
/// Items of a page, and pages that are asked for at most.
const PAGE_ITEMS: usize = 100;
const PAGES_MAX: usize = 10_000;

impl Periodic for ScalewaySdConfig {
    const NAME: &'static str = "scaleway";
    type Look = Scaleway;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Scaleway, DiscoveryError> {
        let base = if self.api_url.is_empty() { API } else { self.api_url.trim_end_matches('/') };
        Ok(Scaleway {
            client: Client::new(&self.http_client, context, interval_of(self.refresh_interval))?,
            base: base.to_owned(),
            config: self.clone(),
        })
    }
}

pub(crate) struct Scaleway {
    config: ScalewaySdConfig,
    client: Client,
    base: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Server {
    id: String,
    name: String,
    hostname: String,
    boot_type: String,
    organization: String,
    project: String,
    state: String,
    commercial_type: String,
    zone: String,
    #[serde(deserialize_with = "null_as_empty")]
    tags: Vec<String>,
    image: Option<Image>,
    location: Option<Location>,
    security_group: Option<SecurityGroup>,
    #[serde(deserialize_with = "null_as_empty")]
    public_ips: Vec<PublicIp>,
    public_ip: Option<PublicIp>,
    ipv6: Option<PublicIp>,
    private_ip: Option<String>,
    #[serde(deserialize_with = "null_as_empty")]
    private_nics: Vec<Id>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Image {
    arch: String,
    id: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Location {
    cluster_id: String,
    hypervisor_id: String,
    node_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SecurityGroup {
    id: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PublicIp {
    address: String,
    family: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Id {
    id: String,
}

/// An address of the address management.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ManagedIp {
    address: String,
    is_ipv6: bool,
    resource: Option<Id>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metal {
    id: String,
    name: String,
    zone: String,
    status: String,
    project_id: String,
    offer_id: String,
    install: Option<Install>,
    #[serde(deserialize_with = "null_as_empty")]
    tags: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    ips: Vec<MetalIp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Install {
    os_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetalIp {
    address: String,
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    id: String,
    name: String,
    version: String,
}

impl Refresh for Scaleway {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let is_metal = self.config.role == ScalewayRole::Baremetal;
        let targets = if is_metal { self.metal().await? } else { self.instances().await? };
        Ok(single_group("scaleway", targets))
    }
}

/// The region of a zone: `fr-par-1` is in `fr-par`.
fn region_of(zone: &str) -> &str {
    zone.rsplit_once('-').map_or("", |(region, _)| region)
}

impl Scaleway {
    /// The key, which may be in a file that is renewed.
    fn secret(&self) -> Result<Secret, DiscoveryError> {
        let path = &self.config.secret_key_file;
        if path.is_empty() {
            return Ok(self.config.secret_key.clone());
        }
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| DiscoveryError::Read { path: path.into(), source })?;
        Ok(Secret::new(text.trim()))
    }

    async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        name: &str,
        more: &[(&str, &str)],
    ) -> Result<Vec<T>, DiscoveryError> {
        let secret = self.secret()?;
        let per_page = PAGE_ITEMS.to_string();
        let mut items = Vec::new();
        for number in 1..=PAGES_MAX {
            let number = number.to_string();
            let pairs = [("page", number.as_str()), ("per_page", &per_page), ("page_size", &per_page)];
            let pairs = pairs.iter().chain(more).filter(|(_, value)| !value.is_empty()).copied();
            let url = with_query(&format!("{}{path}", self.base), pairs);
            let mut page: BTreeMap<String, Value> =
                self.client.get_json(&url, &[("X-Auth-Token", secret.expose())]).await?;
            let list = page.remove(name).unwrap_or_default();
            let list: Option<Vec<T>> =
                serde_json::from_value(list).map_err(|error| DiscoveryError::Malformed(error.to_string()))?;
            let list = list.unwrap_or_default();
            let is_last = list.len() < PAGE_ITEMS;
            items.extend(list);
            if is_last {
                break;
            }
        }
        Ok(items)
    }

    async fn instances(&self) -> Result<Vec<Labels>, DiscoveryError> {
        let tags = self.config.tags_filter.join(",");
        let path = format!("/instance/v1/zones/{}/servers", self.config.zone);
        let filter = [("name", self.config.name_filter.as_str()), ("tags", &tags)];
        let servers: Vec<Server> = self.list(&path, "servers", &filter).await?;
        let private = self.private_ips(&servers).await?;
        Ok(servers.iter().filter_map(|server| self.instance_target(server, &private)).collect())
    }

    /// Addresses by network card, of servers that have no other address.
    async fn private_ips(&self, servers: &[Server]) -> Result<HashMap<String, String>, DiscoveryError> {
        let mut cards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for server in servers {
            if server.private_ip.is_none() && server.public_ip.is_none() && server.ipv6.is_none() {
                let ids = server.private_nics.iter().map(|nic| nic.id.as_str()).filter(|id| !id.is_empty());
                cards.entry(region_of(&server.zone)).or_default().extend(ids);
            }
        }
        let mut by_card = HashMap::new();
        for (region, ids) in cards.iter().filter(|(_, ids)| !ids.is_empty()) {
            let mut pairs = vec![("resource_types", "instance_private_nic")];
            pairs.extend(ids.iter().map(|id| ("resource_ids", *id)));
            let ips: Vec<ManagedIp> =
                self.list(&format!("/ipam/v1/regions/{region}/ips"), "ips", &pairs).await?;
            for ip in ips.into_iter().filter(|ip| !ip.is_ipv6) {
                let address = ip.address.split('/').next().unwrap_or_default().to_owned();
                by_card.extend(ip.resource.map(|resource| (resource.id, address)));
            }
        }
        Ok(by_card)
    }

    fn instance_target(&self, server: &Server, private: &HashMap<String, String>) -> Option<Labels> {
        let mut labels = MetaLabels::new("__meta_scaleway_instance_");
        labels
            .set("boot_type", &server.boot_type)
            .set("hostname", &server.hostname)
            .set("id", &server.id)
            .set("name", &server.name)
            .set("organization_id", &server.organization)
            .set("project_id", &server.project)
            .set("status", &server.state)
            .set("type", &server.commercial_type)
            .set("zone", &server.zone)
            .set("region", region_of(&server.zone));
        if let Some(image) = &server.image {
            labels.set("image_arch", &image.arch).set("image_id", &image.id).set("image_name", &image.name);
        }
        if let Some(location) = &server.location {
            labels
                .set("location_cluster_id", &location.cluster_id)
                .set("location_hypervisor_id", &location.hypervisor_id)
                .set("location_node_id", &location.node_id);
        }
        if let Some(group) = &server.security_group {
            labels.set("security_group_id", &group.id).set("security_group_name", &group.name);
        }
        let of_family = |family: &str| -> Vec<&String> {
            server.public_ips.iter().filter(|ip| ip.family == family).map(|ip| &ip.address).collect()
        };
        let tags: Vec<&String> = server.tags.iter().collect();
        for (name, texts) in [
            ("tags", tags),
            ("public_ipv4_addresses", of_family("inet")),
            ("public_ipv6_addresses", of_family("inet6")),
        ] {
            if !texts.is_empty() {
                labels.set(name, surrounded(&texts, ","));
            }
        }
        let host = add_addresses(&mut labels, server, private)?;
        labels.address(&host, self.config.port);
        Some(labels.finish())
    }

    async fn metal(&self) -> Result<Vec<Labels>, DiscoveryError> {
        let zone = format!("/baremetal/v1/zones/{}", self.config.zone);
        let mut filter = vec![("name", self.config.name_filter.as_str())];
        filter.extend(self.config.tags_filter.iter().map(|tag| ("tags", tag.as_str())));
        let servers: Vec<Metal> = self.list(&format!("{zone}/servers"), "servers", &filter).await?;
        let offers: Vec<Named> = self.list(&format!("{zone}/offers"), "offers", &[]).await?;
        let systems: Vec<Named> = self.list(&format!("{zone}/os"), "os", &[]).await?;
        Ok(servers.iter().map(|server| self.metal_target(server, &offers, &systems)).collect())
    }

    fn metal_target(&self, server: &Metal, offers: &[Named], systems: &[Named]) -> Labels {
        let mut labels = MetaLabels::new("__meta_scaleway_baremetal_");
        labels
            .set("id", &server.id)
            .set("name", &server.name)
            .set("zone", &server.zone)
            .set("status", &server.status)
            .set("project_id", &server.project_id);
        if let Some(offer) = offers.iter().find(|offer| offer.id == server.offer_id) {
            labels.set("type", &offer.name);
        }
        let install = server.install.as_ref();
        if let Some(os) = install.and_then(|install| systems.iter().find(|os| os.id == install.os_id)) {
            labels.set("os_name", &os.name).set("os_version", &os.version);
        }
        if !server.tags.is_empty() {
            labels.set("tags", surrounded(&server.tags, ","));
        }
        let first =
            |version: &str| server.ips.iter().find(|ip| ip.version == version).map(|ip| ip.address.as_str());
        let (ipv4, ipv6) = (first("IPv4"), first("IPv6"));
        labels.set("public_ipv4", ipv4.unwrap_or_default()).set("public_ipv6", ipv6.unwrap_or_default());
        if let Some(host) = ipv4.or(ipv6) {
            labels.set_plain(ADDRESS_LABEL, &join_host_port(host, self.config.port));
        }
        labels.finish()
    }
}

/// Adds the addresses of a server; answers the one to be scraped.
fn add_addresses(
    labels: &mut MetaLabels,
    server: &Server,
    private: &HashMap<String, String>,
) -> Option<String> {
    let mut host = None;
    if let Some(ip) = &server.ipv6 {
        labels.set("public_ipv6", &ip.address);
        host = Some(ip.address.clone());
    }
    if let Some(ip) = &server.public_ip {
        if ip.family != "inet6" {
            labels.set("public_ipv4", &ip.address);
        }
        host = Some(ip.address.clone());
    }
    if let Some(ip) = &server.private_ip {
        labels.set("private_ipv4", ip);
        host = Some(ip.clone());
    }
    host.or_else(|| {
        let ip = server.private_nics.iter().find_map(|nic| private.get(&nic.id))?;
        labels.set("private_ipv4", ip);
        Some(ip.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context, shown, without_empty};
    use config::decode::Chosen;

    fn config(api_url: String, role: ScalewayRole) -> ScalewaySdConfig {
        ScalewaySdConfig {
            api_url,
            zone: "fr-par-1".to_owned(),
            role: Chosen::some(role),
            secret_key: Secret::new("key"),
            ..ScalewaySdConfig::default()
        }
    }

    #[tokio::test]
    async fn conformance_replies_give_their_targets() {
        let Some(dir) = testkit::conformance_dir("discovery") else { return };
        let dir = dir.join("scaleway");
        let text = std::fs::read_to_string(dir.join("expected.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        let body = std::fs::read(dir.join("testdata/instance.json")).unwrap();
        let server = TestServer::start(move |request| {
            assert_eq!(request.path(), "/instance/v1/zones/fr-par-1/servers");
            assert_eq!(request.header("x-auth-token"), "key");
            Reply::json(body.clone())
        })
        .await;
        let config = config(server.url(""), ScalewayRole::Instance);
        let groups = config.look(&context()).unwrap().refresh().await.unwrap();
        assert_eq!(shown(&groups[0], str::to_owned)["targets"], without_empty(&cases[0]["targets"]));
        println!("discovery/scaleway: {0} / {0}", cases.len());
    }

    #[tokio::test]
    async fn servers_of_bare_metal_name_offer_and_system() {
        let server = TestServer::start(|request| match request.path() {
            "/baremetal/v1/zones/fr-par-1/servers" => Reply::json(
                r#"{"servers": [{"id": "m", "offer_id": "o", "install": {"os_id": "s"},
                    "ips": [{"address": "2001:db8::1", "version": "IPv6"}]}]}"#,
            ),
            "/baremetal/v1/zones/fr-par-1/offers" => {
                Reply::json(r#"{"offers": [{"id": "o", "name": "EM-A"}]}"#)
            }
            _ => Reply::json(r#"{"os": [{"id": "s", "name": "Debian", "version": "12"}]}"#),
        })
        .await;
        let config = config(server.url(""), ScalewayRole::Baremetal);
        let groups = config.look(&context()).unwrap().refresh().await.unwrap();
        let target = &groups[0].targets[0];
        assert_eq!(target.get("__address__"), Some("[2001:db8::1]:80"));
        assert_eq!(target.get("__meta_scaleway_baremetal_type"), Some("EM-A"));
        assert_eq!(target.get("__meta_scaleway_baremetal_os_version"), Some("12"));
    }
}
