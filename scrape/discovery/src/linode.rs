//! `linode_sd_configs`: instances of Linode. Each look lists anew; upstream
//! asks for events first and lists only when there are any.

use config::discovery::LinodeSdConfig;
use model::Labels;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::{Client, null_as_empty};
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group, surrounded};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

const API: &str = "https://api.linode.com";

impl Periodic for LinodeSdConfig {
    const NAME: &'static str = "linode";
    type Look = Linode;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Linode, DiscoveryError> {
        Ok(Linode {
            client: Client::new(&self.http_client, context, interval_of(self.refresh_interval))?,
            config: self.clone(),
            base: API.to_owned(),
            context: context.clone(),
        })
    }
}

pub(crate) struct Linode {
    config: LinodeSdConfig,
    client: Client,
    base: String,
    context: Context,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Page<T> {
    #[serde(default, deserialize_with = "null_as_empty")]
    data: Vec<T>,
    #[serde(default)]
    pages: u32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Instance {
    id: i64,
    label: String,
    group: String,
    status: String,
    r#type: String,
    #[serde(deserialize_with = "null_as_empty")]
    image: String,
    region: String,
    hypervisor: String,
    #[serde(deserialize_with = "null_as_empty")]
    ipv4: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    ipv6: String,
    #[serde(deserialize_with = "null_as_empty")]
    tags: Vec<String>,
    specs: Specs,
    backups: Backups,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Specs {
    disk: i64,
    memory: i64,
    vcpus: i64,
    gpus: i64,
    transfer: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Backups {
    enabled: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Address {
    address: String,
    public: bool,
    #[serde(deserialize_with = "null_as_empty")]
    rdns: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Range {
    range: String,
    prefix: i64,
    #[serde(deserialize_with = "null_as_empty")]
    route_target: String,
}

impl Refresh for Linode {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let outcome = self.instances().await;
        if outcome.is_err() {
            self.context.metrics.linode_failures.inc();
        }
        outcome
    }
}

impl Linode {
    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, DiscoveryError> {
        let filter = serde_json::json!({ "region": self.config.region }).to_string();
        let header = [("X-Filter", filter.as_str())];
        let headers: &[(&str, &str)] = if self.config.region.is_empty() { &[] } else { &header };
        let mut items = Vec::new();
        let mut number = 1;
        loop {
            let url = format!("{}{path}?page={number}&page_size=500", self.base);
            let page: Page<T> = self.client.get_json(&url, headers).await?;
            items.extend(page.data);
            if number >= page.pages {
                return Ok(items);
            }
            number += 1;
        }
    }

    async fn instances(&self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let instances: Vec<Instance> = self.list("/v4/linode/instances").await?;
        let addresses: Vec<Address> = self.list("/v4/networking/ips").await?;
        let ranges: Vec<Range> = self.list("/v4/networking/ipv6/ranges").await?;
        let instances = instances.iter().filter(|instance| !instance.ipv4.is_empty());
        let targets = instances.map(|instance| self.target(instance, &addresses, &ranges));
        Ok(single_group("Linode", targets.collect()))
    }

    fn target(&self, instance: &Instance, addresses: &[Address], ranges: &[Range]) -> Labels {
        let (mut public, mut private) = (None, None);
        let mut extra: Vec<&str> = Vec::new();
        for ip in &instance.ipv4 {
            for address in addresses.iter().filter(|address| address.address == *ip) {
                let place = if address.public { &mut public } else { &mut private };
                match place {
                    None => *place = Some(address),
                    Some(_) => extra.push(&address.address),
                }
            }
        }
        let own = instance.ipv6.split('/').next().unwrap_or_default();
        let public_v6 = addresses.iter().find(|address| !own.is_empty() && address.address == own);
        let ranges: Vec<String> = ranges
            .iter()
            .filter(|range| !own.is_empty() && range.route_target == own)
            .map(|range| format!("{}/{}", range.range, range.prefix))
            .collect();
        let ip = |address: Option<&Address>| address.map_or(String::new(), |address| address.address.clone());
        let name = |address: Option<&Address>| {
            let rdns = address.map_or("", |address| &address.rdns);
            if rdns == "null" { String::new() } else { rdns.to_owned() }
        };
        let specs = &instance.specs;
        let mut labels = MetaLabels::new("__meta_linode_");
        labels
            .address(&ip(public), self.config.port)
            .set_shown("instance_id", instance.id)
            .set("instance_label", &instance.label)
            .set("image", &instance.image)
            .set("private_ipv4", ip(private))
            .set("public_ipv4", ip(public))
            .set("public_ipv6", ip(public_v6))
            .set("private_ipv4_rdns", name(private))
            .set("public_ipv4_rdns", name(public))
            .set("public_ipv6_rdns", name(public_v6))
            .set("region", &instance.region)
            .set("type", &instance.r#type)
            .set("status", &instance.status)
            .set("group", &instance.group)
            .set("hypervisor", &instance.hypervisor)
            .set("backups", if instance.backups.enabled { "enabled" } else { "disabled" })
            .set_shown("gpus", specs.gpus)
            .set_shown("specs_vcpus", specs.vcpus);
        for (name, mebibytes) in
            [("disk", specs.disk), ("memory", specs.memory), ("transfer", specs.transfer)]
        {
            labels.set_shown(&format!("specs_{name}_bytes"), mebibytes.saturating_mul(1 << 20));
        }
        let tags: Vec<&str> = instance.tags.iter().map(String::as_str).collect();
        let ranges: Vec<&str> = ranges.iter().map(String::as_str).collect();
        for (name, texts) in [("tags", &tags), ("extra_ips", &extra), ("ipv6_ranges", &ranges)] {
            if !texts.is_empty() {
                labels.set(name, surrounded(texts, &self.config.tag_separator));
            }
        }
        labels.finish()
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
        let dir = dir.join("linode");
        let text = std::fs::read_to_string(dir.join("expected.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        for case in &cases {
            let region = case["config"]["region"].as_str().unwrap().to_owned();
            let replies =
                dir.join("testdata").join(if region.is_empty() { "no_region_filter" } else { &region });
            let filter =
                if region.is_empty() { String::new() } else { format!("{{\"region\":\"{region}\"}}") };
            let server = TestServer::start(move |request| {
                assert_eq!(request.header("x-filter"), filter);
                let path = replies.join(format!("{}.json", request.path().trim_start_matches('/')));
                Reply::json(std::fs::read(path).unwrap())
            })
            .await;
            let config = LinodeSdConfig { region, ..LinodeSdConfig::default() };
            let mut look = config.look(&context()).unwrap();
            look.base = server.url("");
            let groups = look.refresh().await.unwrap();
            assert_eq!(shown(&groups[0], str::to_owned)["targets"], without_empty(&case["targets"]));
        }
        println!("discovery/linode: {0} / {0}", cases.len());
    }
}
