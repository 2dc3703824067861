//! `digitalocean_sd_configs`: droplets, or clusters of databases.

use config::discovery::DigitalOceanSdConfig;
use config::discovery::digitalocean::DigitalOceanRole;
use model::Labels;
use serde::Deserialize;

use crate::client::{Client, null_as_empty};
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group, surrounded};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

const API: &str = "https://api.digitalocean.com";
const PREFIX: &str = "__meta_digitalocean_";
/// Pages that are asked for at most.
const PAGES_MAX: u32 = 10_000;

impl Periodic for DigitalOceanSdConfig {
    const NAME: &'static str = "digitalocean";
    type Look = DigitalOcean;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<DigitalOcean, DiscoveryError> {
        Ok(DigitalOcean {
            client: Client::new(&self.http_client, context, interval_of(self.refresh_interval))?,
            config: self.clone(),
            base: API.to_owned(),
        })
    }
}

pub(crate) struct DigitalOcean {
    config: DigitalOceanSdConfig,
    client: Client,
    base: String,
}

impl Refresh for DigitalOcean {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        if self.config.role == DigitalOceanRole::Databases {
            let pages = self.pages("/v2/databases", 100, |_| false).await?;
            let clusters = pages.iter().flat_map(|page| &page.databases);
            let targets = clusters.map(|cluster| self.database_target(cluster)).collect();
            return Ok(single_group("DigitalOcean Databases", targets));
        }
        let names_no_next = |page: &Page| page.links.pages.next.as_ref().is_none_or(String::is_empty);
        let pages = self.pages("/v2/droplets", 200, names_no_next).await?;
        let droplets = pages.iter().flat_map(|page| &page.droplets).filter(|d| !d.networks.v4.is_empty());
        Ok(single_group("DigitalOcean", droplets.map(|droplet| self.droplet_target(droplet)).collect()))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    #[serde(deserialize_with = "null_as_empty")]
    droplets: Vec<Droplet>,
    #[serde(deserialize_with = "null_as_empty")]
    databases: Vec<Database>,
    #[serde(deserialize_with = "null_as_empty")]
    links: Links,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Links {
    #[serde(deserialize_with = "null_as_empty")]
    pages: PageLinks,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PageLinks {
    next: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Droplet {
    id: u64,
    name: String,
    status: String,
    size_slug: String,
    vpc_uuid: String,
    #[serde(deserialize_with = "null_as_empty")]
    features: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    tags: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    region: Slug,
    #[serde(deserialize_with = "null_as_empty")]
    image: Slug,
    #[serde(deserialize_with = "null_as_empty")]
    networks: Networks,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Slug {
    #[serde(deserialize_with = "null_as_empty")]
    slug: String,
    #[serde(deserialize_with = "null_as_empty")]
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Networks {
    #[serde(deserialize_with = "null_as_empty")]
    v4: Vec<Address>,
    #[serde(deserialize_with = "null_as_empty")]
    v6: Vec<Address>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Address {
    ip_address: String,
    r#type: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Database {
    id: String,
    name: String,
    engine: String,
    version: String,
    status: String,
    region: String,
    size: String,
    num_nodes: u64,
    connection: Option<Connection>,
    private_connection: Option<Connection>,
    #[serde(deserialize_with = "null_as_empty")]
    tags: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Connection {
    host: String,
}

fn address<'a>(all: &'a [Address], kind: &str) -> &'a str {
    all.iter().find(|address| address.r#type == kind).map_or("", |address| &address.ip_address)
}

impl DigitalOcean {
    /// All pages up to an empty one, or one that is said to be the last: lists of
    /// databases do not name their next page.
    async fn pages(
        &self,
        path: &str,
        per_page: u32,
        is_last: impl Fn(&Page) -> bool + Send,
    ) -> Result<Vec<Page>, DiscoveryError> {
        let mut pages = Vec::new();
        for number in 1..=PAGES_MAX {
            let url = format!("{}{path}?page={number}&per_page={per_page}", self.base);
            let page: Page = self.client.get_json(&url, &[]).await?;
            let is_empty = page.droplets.is_empty() && page.databases.is_empty();
            let ends = is_empty || is_last(&page);
            pages.push(page);
            if ends {
                break;
            }
        }
        Ok(pages)
    }

    fn droplet_target(&self, droplet: &Droplet) -> Labels {
        let networks = &droplet.networks;
        let public = address(&networks.v4, "public");
        let mut labels = MetaLabels::new(PREFIX);
        labels
            .address(public, self.config.port)
            .set_shown("droplet_id", droplet.id)
            .set("droplet_name", &droplet.name)
            .set("image", &droplet.image.slug)
            .set("image_name", &droplet.image.name)
            .set("private_ipv4", address(&networks.v4, "private"))
            .set("public_ipv4", public)
            .set("public_ipv6", address(&networks.v6, "public"))
            .set("region", &droplet.region.slug)
            .set("size", &droplet.size_slug)
            .set("status", &droplet.status)
            .set("vpc", &droplet.vpc_uuid);
        for (name, texts) in [("features", &droplet.features), ("tags", &droplet.tags)] {
            if !texts.is_empty() {
                labels.set(name, surrounded(texts, ","));
            }
        }
        labels.finish()
    }

    fn database_target(&self, cluster: &Database) -> Labels {
        let host = |connection: &Option<Connection>| connection.as_ref().map_or("", |c| &c.host).to_owned();
        let (public, private) = (host(&cluster.connection), host(&cluster.private_connection));
        let mut labels = MetaLabels::new(PREFIX);
        labels
            .set("db_id", &cluster.id)
            .set("db_name", &cluster.name)
            .set("db_engine", &cluster.engine)
            .set("db_version", &cluster.version)
            .set("db_status", &cluster.status)
            .set("db_region", &cluster.region)
            .set("db_size", &cluster.size)
            .set_shown("db_num_nodes", cluster.num_nodes)
            .set("db_host", &public)
            .set("db_private_host", &private);
        let host = if private.is_empty() { public } else { private };
        if !host.is_empty() {
            labels.address(&host, self.config.port);
        }
        // Names of tags are used as they are.
        for tag in &cluster.tags {
            labels.set(&format!("db_tag_{tag}"), "true");
        }
        labels.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context};
    use config::decode::Chosen;

    async fn look(role: DigitalOceanRole, server: &TestServer) -> TargetGroup {
        let config = DigitalOceanSdConfig { role: Chosen::some(role), ..DigitalOceanSdConfig::default() };
        let mut look = config.look(&context()).unwrap();
        look.base = server.url("");
        look.refresh().await.unwrap().remove(0)
    }

    #[tokio::test]
    async fn droplets_come_in_pages() {
        let server = TestServer::start(|request| match request.parameter("page").as_str() {
            "1" => Reply::json(
                r#"{"droplets": [{"id": 1, "name": "d", "size_slug": "s-1", "status": "active", "vpc_uuid": "v",
                     "features": ["backups", "ipv6"], "tags": ["web"], "region": {"slug": "nyc3"},
                     "image": {"slug": "ubuntu", "name": "20.04"},
                     "networks": {"v4": [{"ip_address": "10.0.0.1", "type": "private"},
                                         {"ip_address": "1.2.3.4", "type": "public"}],
                                  "v6": [{"ip_address": "2001:db8::1", "type": "public"}]}}],
                    "links": {"pages": {"next": "https://x/?page=2"}}}"#,
            ),
            _ => Reply::json(r#"{"droplets": [{"id": 2, "networks": {"v4": []}}], "links": {}}"#),
        })
        .await;
        let group = look(DigitalOceanRole::Droplets, &server).await;
        assert_eq!(group.targets.len(), 1, "one has no address");
        let target = &group.targets[0];
        assert_eq!(target.get("__address__"), Some("1.2.3.4:80"));
        assert_eq!(target.get("__meta_digitalocean_features"), Some(",backups,ipv6,"));
        assert_eq!(target.get("__meta_digitalocean_image_name"), Some("20.04"));
    }

    #[tokio::test]
    async fn databases_prefer_their_private_host() {
        let server = TestServer::start(|request| match request.parameter("page").as_str() {
            "1" => Reply::json(
                r#"{"databases": [{"id": "x", "engine": "pg", "num_nodes": 2, "tags": ["prod"],
                     "connection": {"host": "pub"}, "private_connection": {"host": "priv"}}]}"#,
            ),
            "2" => Reply::json(r#"{"databases": [{"id": "y", "connection": {"host": "second"}}]}"#),
            _ => Reply::json(r#"{"databases": []}"#),
        })
        .await;
        let group = look(DigitalOceanRole::Databases, &server).await;
        assert_eq!(group.source, "DigitalOcean Databases");
        assert_eq!(group.targets[0].get("__address__"), Some("priv:80"));
        assert_eq!(group.targets[0].get("__meta_digitalocean_db_tag_prod"), Some("true"));
        assert_eq!(group.targets[1].get("__address__"), Some("second:80"));
        assert_eq!((group.targets.len(), server.requests().len()), (2, 3));
    }
}
