//! `docker_sd_configs`: containers of a Docker engine; `dockerswarm_sd_configs`
//! beside it.

mod engine;
pub(crate) mod swarm;

use std::collections::{BTreeMap, HashMap};

use config::discovery::DockerSdConfig;
use model::{Labels, LabelsBuilder};
use serde::Deserialize;

use self::engine::{Engine, Network, Texts, add_texts};
use crate::client::null_as_empty;
use crate::group::{ADDRESS_LABEL, TargetGroup};
use crate::labels::{canonical_ip, join_host_port};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::Periodic;
use crate::refresh::Refresh;

const PREFIX: &str = "__meta_docker_";
/// Containers may share the network of one that shares the network of one …
const SHARED_NETWORK_DEPTH_MAX: usize = 16;

impl Periodic for DockerSdConfig {
    const NAME: &'static str = "docker";
    type Look = Containers;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Containers, DiscoveryError> {
        let engine =
            Engine::new(&self.host, &self.filters, &self.http_client, self.refresh_interval, context)?;
        Ok(Containers { config: self.clone(), engine })
    }
}

pub(crate) struct Containers {
    config: DockerSdConfig,
    engine: Engine,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Container {
    id: String,
    #[serde(deserialize_with = "null_as_empty")]
    names: Vec<String>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    #[serde(deserialize_with = "null_as_empty")]
    labels: Texts,
    #[serde(deserialize_with = "null_as_empty")]
    ports: Vec<Port>,
    #[serde(deserialize_with = "null_as_empty")]
    host_config: HostConfig,
    #[serde(deserialize_with = "null_as_empty")]
    network_settings: NetworkSettings,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Port {
    #[serde(rename = "IP", deserialize_with = "address")]
    ip: String,
    private_port: u16,
    public_port: u16,
    r#type: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct HostConfig {
    network_mode: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(deserialize_with = "null_as_empty")]
    networks: BTreeMap<String, Option<Attachment>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Attachment {
    #[serde(rename = "NetworkID")]
    network_id: String,
    #[serde(rename = "IPAddress", deserialize_with = "address")]
    ip: String,
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "address")]
    ip_v6: String,
}

/// An address in its shortest form, or none.
fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Option::<String>::deserialize(deserializer)?.unwrap_or_default() {
        text if text.is_empty() => Ok(text),
        text => canonical_ip(&text).ok_or_else(|| {
            let shown = model::labels::go_quote(&text);
            serde::de::Error::custom(format!("ParseAddr({shown}): unable to parse IP"))
        }),
    }
}

impl Refresh for Containers {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let containers: Vec<Container> = self.engine.list("/containers/json", true).await?;
        let networks = self.engine.networks().await?;
        let by_id: HashMap<&str, &Container> = containers.iter().map(|c| (c.id.as_str(), c)).collect();
        let mut targets = Vec::new();
        for container in containers.iter().filter(|container| !container.names.is_empty()) {
            let attached = attachments(container, &by_id);
            let count = if self.config.match_first_network { 1 } else { attached.len() };
            for attachment in attached.into_iter().take(count) {
                self.add_targets(&mut targets, container, attachment, networks.get(&attachment.network_id));
            }
        }
        Ok(vec![TargetGroup { source: "Docker".to_owned(), labels: Labels::empty(), targets }])
    }
}

/// The networks of a container, by name: its own, or those of the container
/// whose network it shares.
fn attachments<'a>(container: &'a Container, by_id: &HashMap<&str, &'a Container>) -> Vec<&'a Attachment> {
    let mut owner = container;
    for _ in 0..SHARED_NETWORK_DEPTH_MAX {
        if !owner.network_settings.networks.is_empty() {
            break;
        }
        let shared = owner.host_config.network_mode.strip_prefix("container:");
        let Some(next) = shared.and_then(|id| by_id.get(id)) else { break };
        owner = next;
    }
    owner.network_settings.networks.values().flatten().collect()
}

impl Containers {
    fn add_targets(
        &self,
        targets: &mut Vec<Labels>,
        container: &Container,
        attachment: &Attachment,
        network: Option<&Network>,
    ) {
        let ip = if attachment.ip.is_empty() { &attachment.ip_v6 } else { &attachment.ip };
        let common = |address: &str| {
            let mut labels = LabelsBuilder::new();
            labels.set(ADDRESS_LABEL, address);
            labels.set("__meta_docker_network_ip", ip);
            add_container(&mut labels, container);
            if let Some(network) = network {
                network.add_labels(&mut labels, PREFIX);
            }
            labels
        };
        let before = targets.len();
        for port in container.ports.iter().filter(|port| port.r#type == "tcp") {
            let mut labels = common(&join_host_port(ip, port.private_port));
            labels.set("__meta_docker_port_private", &port.private_port.to_string());
            if port.public_port > 0 {
                labels.set("__meta_docker_port_public", &port.public_port.to_string());
                labels.set("__meta_docker_port_public_ip", &port.ip);
            }
            targets.push(labels.labels());
        }
        if targets.len() == before {
            let is_host = container.host_config.network_mode == "host";
            let address = match is_host {
                true => self.config.host_networking_host.clone(),
                false => join_host_port(ip, self.config.port),
            };
            targets.push(common(&address).labels());
        }
    }
}

fn add_container(labels: &mut LabelsBuilder, container: &Container) {
    labels.set("__meta_docker_container_id", &container.id);
    labels.set("__meta_docker_container_name", &container.names[0]);
    labels.set("__meta_docker_container_network_mode", &container.host_config.network_mode);
    labels.set("__meta_docker_container_image", &container.image);
    labels.set("__meta_docker_container_image_id", &container.image_id);
    add_texts(labels, "__meta_docker_container_label_", &container.labels);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, Seen, TestServer, context, shown, without_empty};
    use config::decode::Chosen;
    use config::discovery::DockerSwarmSdConfig;
    use config::discovery::docker::DockerFilter;
    use config::discovery::dockerswarm::SwarmRole;
    use serde_json::Value;
    use std::path::Path;

    /// Answers a path with the file of that name; a query with the file that is
    /// marked as one for a query.
    fn recorded(dir: &Path, request: &Seen) -> Reply {
        let plain = dir.join(format!("{}.json", request.path().trim_start_matches('/')));
        let name = plain.file_name().unwrap().to_string_lossy().into_owned() + "__";
        let folder = std::fs::read_dir(plain.parent().unwrap()).unwrap();
        let special = folder.flatten().find(|file| file.file_name().to_string_lossy().starts_with(&name));
        let path = match special {
            Some(file) if request.target.contains("filters=") => file.path(),
            _ => plain,
        };
        Reply::json(std::fs::read(path).unwrap())
    }

    fn filters(case: &Value) -> Vec<DockerFilter> {
        let all = case["config"]["filters"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        all.iter()
            .map(|filter| DockerFilter {
                name: text(&filter["name"]),
                values: filter["values"].as_array().unwrap().iter().map(text).collect(),
            })
            .collect()
    }

    async fn look(case: &Value, host: String) -> Vec<TargetGroup> {
        let context = context();
        if case["mechanism"] == "docker" {
            let default = DockerSdConfig::default();
            let first = case["config"]["match_first_network"].as_bool().unwrap_or(true);
            let config =
                DockerSdConfig { host, match_first_network: first, filters: filters(case), ..default };
            return config.look(&context).unwrap().refresh().await.unwrap();
        }
        let role = match case["config"]["role"].as_str().unwrap() {
            "services" => SwarmRole::Services,
            "tasks" => SwarmRole::Tasks,
            _ => SwarmRole::Nodes,
        };
        let default = DockerSwarmSdConfig::default();
        let config =
            DockerSwarmSdConfig { host, role: Chosen::some(role), filters: filters(case), ..default };
        config.look(&context).unwrap().refresh().await.unwrap()
    }

    #[tokio::test]
    async fn conformance_replies_give_their_targets() {
        let Some(dir) = testkit::conformance_dir("discovery") else { return };
        let dir = dir.join("docker");
        let text = std::fs::read_to_string(dir.join("expected.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        for case in &cases {
            let replies = dir.join(case["server_directory"].as_str().unwrap());
            let server = TestServer::start(move |request| recorded(&replies, request)).await;
            let groups = look(case, server.url("")).await;
            assert_eq!(groups.len(), 1);
            let mut got = shown(&groups[0], str::to_owned)["targets"].as_array().unwrap().clone();
            let mut want = without_empty(&case["targets"]).as_array().unwrap().clone();
            // Networks come in no order upstream.
            got.sort_by_key(Value::to_string);
            want.sort_by_key(Value::to_string);
            assert_eq!(got, want, "{}", case["upstream_test"]);
        }
        println!("discovery/docker: {0} / {0}", cases.len());
    }

    #[test]
    fn addresses_are_read_in_their_shortest_form() {
        let read = |text: &str| serde_json::from_str::<Attachment>(text);
        let attachment =
            read(r#"{"IPAddress": "", "GlobalIPv6Address": "2001:0db8:0::0001", "NetworkID": "n"}"#).unwrap();
        assert_eq!((attachment.ip.as_str(), attachment.ip_v6.as_str()), ("", "2001:db8::1"));
        assert_eq!(read(r#"{"IPAddress": null}"#).unwrap().ip, "");
        let error = read(r#"{"IPAddress": "host"}"#).err().unwrap().to_string();
        assert!(error.starts_with("ParseAddr(\"host\")"), "{error}");
    }

    #[tokio::test]
    async fn an_engine_may_be_behind_a_socket() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut head = [0; 4096];
                assert!(connection.read(&mut head).await.unwrap() > 0);
                let reply = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]";
                connection.write_all(reply).await.unwrap();
            }
        });
        let host = format!("unix://{}", path.display());
        let config = DockerSdConfig { host, ..DockerSdConfig::default() };
        let groups = config.look(&context()).unwrap().refresh().await.unwrap();
        assert!(groups[0].targets.is_empty());
    }
}
