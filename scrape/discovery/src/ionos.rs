//! `ionos_sd_configs`: servers of a datacenter of IONOS.

use std::collections::BTreeMap;

use config::discovery::IonosSdConfig;
use model::Labels;
use serde::Deserialize;

use crate::client::{Client, null_as_empty};
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group, surrounded};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

const API: &str = "https://api.ionos.com/cloudapi/v6";

impl Periodic for IonosSdConfig {
    const NAME: &'static str = "ionos";
    type Look = Ionos;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Ionos, DiscoveryError> {
        Ok(Ionos {
            client: Client::new(&self.http_client, context, interval_of(self.refresh_interval))?,
            config: self.clone(),
            base: API.to_owned(),
        })
    }
}

pub(crate) struct Ionos {
    config: IonosSdConfig,
    client: Client,
    base: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Items<T> {
    #[serde(deserialize_with = "null_as_empty", bound(deserialize = "T: Deserialize<'de>"))]
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Servers {
    id: String,
    #[serde(deserialize_with = "null_as_empty")]
    items: Vec<Server>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Server {
    id: String,
    #[serde(deserialize_with = "null_as_empty")]
    metadata: Metadata,
    #[serde(deserialize_with = "null_as_empty")]
    properties: Properties,
    #[serde(deserialize_with = "null_as_empty")]
    entities: Entities,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(deserialize_with = "null_as_empty")]
    state: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Properties {
    #[serde(deserialize_with = "null_as_empty")]
    name: String,
    #[serde(deserialize_with = "null_as_empty")]
    availability_zone: String,
    #[serde(deserialize_with = "null_as_empty")]
    cpu_family: String,
    #[serde(deserialize_with = "null_as_empty")]
    vm_state: String,
    #[serde(deserialize_with = "null_as_empty")]
    r#type: String,
    #[serde(deserialize_with = "null_as_empty")]
    boot_cdrom: Id,
    #[serde(deserialize_with = "null_as_empty")]
    boot_volume: Id,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Id {
    #[serde(deserialize_with = "null_as_empty")]
    id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entities {
    #[serde(deserialize_with = "null_as_empty")]
    nics: Items<Nic>,
    #[serde(deserialize_with = "null_as_empty")]
    volumes: Items<Volume>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Nic {
    properties: Option<NicProperties>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NicProperties {
    name: Option<String>,
    #[serde(deserialize_with = "null_as_empty")]
    ips: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Volume {
    #[serde(deserialize_with = "null_as_empty")]
    properties: VolumeProperties,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct VolumeProperties {
    #[serde(deserialize_with = "null_as_empty")]
    image: String,
}

impl Refresh for Ionos {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let url = format!("{}/datacenters/{}/servers?depth=3", self.base, self.config.datacenter_id);
        let servers: Servers = self.client.get_json(&url, &[]).await?;
        let targets = servers.items.iter().filter_map(|server| self.target(server, &servers.id));
        Ok(single_group("ionos", targets.collect()))
    }
}

impl Ionos {
    /// The target of a server, `None` where it has no address.
    fn target(&self, server: &Server, servers_id: &str) -> Option<Labels> {
        let mut ips: Vec<&String> = Vec::new();
        let mut by_nic: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        // Later cards come first.
        for nic in server.entities.nics.items.iter().filter_map(|nic| nic.properties.as_ref()) {
            ips.splice(0..0, &nic.ips);
            by_nic.entry(nic.name.as_deref().unwrap_or("unnamed")).or_default().splice(0..0, &nic.ips);
        }
        let first = ips.first()?;
        let properties = &server.properties;
        let image = server.entities.volumes.items.first().map_or("", |volume| &volume.properties.image);
        let mut labels = MetaLabels::new("__meta_ionos_server_");
        labels
            .address(first, self.config.port)
            .set("ip", surrounded(&ips, ","))
            .set("availability_zone", &properties.availability_zone)
            .set("cpu_family", &properties.cpu_family)
            .set("servers_id", servers_id)
            .set("id", &server.id)
            .set("lifecycle", &server.metadata.state)
            .set("name", &properties.name)
            .set("state", &properties.vm_state)
            .set("type", &properties.r#type)
            .set("boot_cdrom_id", &properties.boot_cdrom.id)
            .set("boot_volume_id", &properties.boot_volume.id)
            .set("boot_image_id", image)
            .set_texts("nic_ip_", by_nic.iter().map(|(name, ips)| (name, surrounded(ips, ","))));
        Some(labels.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context, shown, without_empty};
    use serde_json::Value;

    #[tokio::test]
    async fn conformance_replies_give_their_targets() {
        let Some(dir) = testkit::conformance_dir("discovery") else { return };
        let dir = dir.join("ionos");
        let text = std::fs::read_to_string(dir.join("expected.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        let body = std::fs::read(dir.join("testdata/servers.json")).unwrap();
        let server = TestServer::start(move |request| {
            assert_eq!(request.target, "/datacenters/dc/servers?depth=3");
            Reply::json(body.clone())
        })
        .await;
        let config = IonosSdConfig { datacenter_id: "dc".to_owned(), ..IonosSdConfig::default() };
        let mut look = config.look(&context()).unwrap();
        look.base = server.url("");
        let groups = look.refresh().await.unwrap();
        assert_eq!(shown(&groups[0], str::to_owned)["targets"], without_empty(&cases[0]["targets"]));
        println!("discovery/ionos: {0} / {0}", cases.len());
    }
}
