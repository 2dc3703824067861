//! `marathon_sd_configs`: tasks of Marathon's applications.
//!
//! A port comes from the first of: the container's port mappings, the older
//! mappings of Docker, the port definitions, the task. One that is zero there
//! is chosen by Mesos, and the task has it.

use std::collections::BTreeMap;
use std::time::Duration;

use config::discovery::MarathonSdConfig;
use model::{Labels, LabelsBuilder};
use serde::Deserialize;

use crate::client::{Client, null_as_empty};
use crate::group::TargetGroup;
use crate::labels::MetaLabels;
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

const PATH: &str = "/v2/apps/?embed=apps.tasks";
const PREFIX: &str = "__meta_marathon_";
/// An answer takes no longer, whatever the interval.
const TIMEOUT_MIN: Duration = Duration::from_secs(60);

impl Periodic for MarathonSdConfig {
    const NAME: &'static str = "marathon";
    type Look = Marathon;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Marathon, DiscoveryError> {
        let timeout = interval_of(self.refresh_interval).max(TIMEOUT_MIN);
        let look = Marathon {
            client: Client::new(&self.http_client, context, timeout)?,
            config: self.clone(),
            turn: 0,
        };
        // A file that cannot be read is told at once.
        look.authorization()?;
        Ok(look)
    }
}

pub(crate) struct Marathon {
    config: MarathonSdConfig,
    client: Client,
    /// Which server is asked next: each by turns.
    turn: usize,
}

type Texts = BTreeMap<String, String>;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Applications {
    #[serde(deserialize_with = "null_as_empty")]
    apps: Vec<Application>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Application {
    id: String,
    #[serde(deserialize_with = "null_as_empty")]
    tasks: Vec<Task>,
    #[serde(deserialize_with = "null_as_empty")]
    labels: Texts,
    #[serde(deserialize_with = "null_as_empty")]
    container: Container,
    #[serde(deserialize_with = "null_as_empty")]
    port_definitions: Vec<PortDefinition>,
    #[serde(deserialize_with = "null_as_empty")]
    networks: Vec<Network>,
    require_ports: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Task {
    id: String,
    host: String,
    #[serde(deserialize_with = "null_as_empty")]
    ports: Vec<u32>,
    #[serde(deserialize_with = "null_as_empty")]
    ip_addresses: Vec<IpAddress>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct IpAddress {
    ip_address: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    #[serde(deserialize_with = "null_as_empty")]
    docker: Docker,
    #[serde(deserialize_with = "null_as_empty")]
    port_mappings: Vec<PortMapping>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Docker {
    image: String,
    #[serde(deserialize_with = "null_as_empty")]
    port_mappings: Vec<PortMapping>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PortMapping {
    #[serde(deserialize_with = "null_as_empty")]
    labels: Texts,
    container_port: u32,
    host_port: u32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PortDefinition {
    #[serde(deserialize_with = "null_as_empty")]
    labels: Texts,
    port: u32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Network {
    mode: String,
}

impl Refresh for Marathon {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let server = &self.config.servers[self.turn % self.config.servers.len().max(1)];
        self.turn = self.turn.wrapping_add(1);
        let authorization = self.authorization()?;
        let headers: Vec<(&str, &str)> =
            authorization.iter().map(|value| ("Authorization", value.expose())).collect();
        let found: Applications = self.client.get_json(&format!("{server}{PATH}"), &headers).await?;
        Ok(found.apps.iter().map(group).collect())
    }
}

impl Marathon {
    /// The header in the form that DC/OS wants.
    fn authorization(&self) -> Result<Option<config::Secret>, DiscoveryError> {
        let config = &self.config;
        let token = match config.auth_token_file.as_str() {
            "" if config.auth_token.is_empty() => return Ok(None),
            "" => config.auth_token.expose().to_owned(),
            file => std::fs::read_to_string(file)
                .map_err(|source| DiscoveryError::Read { path: file.into(), source })?,
        };
        Ok(Some(config::Secret::new(format!("token={}", token.trim()))))
    }
}

fn group(application: &Application) -> TargetGroup {
    let mut labels = MetaLabels::new(PREFIX);
    labels
        .set("app", &application.id)
        .set("image", &application.container.docker.image)
        .set_texts("app_label_", &application.labels);
    TargetGroup { source: application.id.clone(), labels: labels.finish(), targets: targets(application) }
}

fn targets(application: &Application) -> Vec<Labels> {
    let in_container = application.networks.first().is_some_and(|network| network.mode == "container");
    let container = &application.container;
    let mapped = |mappings: &[PortMapping]| -> Vec<(u32, Labels)> {
        let port = |m: &PortMapping| if in_container { m.container_port } else { m.host_port };
        mappings.iter().map(|m| (port(m), texts("port_mapping_label_", &m.labels))).collect()
    };
    let declared: Vec<(u32, Labels)> = if !container.port_mappings.is_empty() {
        mapped(&container.port_mappings)
    } else if !container.docker.port_mappings.is_empty() {
        mapped(&container.docker.port_mappings)
    } else {
        // What is not required is the port of the service, not of the task.
        let port = |d: &PortDefinition| if application.require_ports { d.port } else { 0 };
        let definitions = application.port_definitions.iter();
        definitions.map(|d| (port(d), texts("port_definition_label_", &d.labels))).collect()
    };
    let mut ports = declared;
    let mut all = Vec::new();
    for task in &application.tasks {
        // Ports that only tasks name are the same for all of them.
        if ports.is_empty() {
            ports = task.ports.iter().map(|port| (*port, Labels::empty())).collect();
        }
        let host = match task.ip_addresses.first() {
            Some(address) if in_container => &address.ip_address,
            _ => &task.host,
        };
        for (index, (port, more)) in ports.iter().enumerate() {
            let port = if *port == 0 && task.ports.len() == ports.len() { task.ports[index] } else { *port };
            let mut labels = MetaLabels::new(PREFIX);
            labels.address(host, port).set("task", &task.id).set_shown("port_index", index);
            let mut labels: LabelsBuilder = labels.finish().to_builder();
            more.iter().for_each(|label| {
                labels.set(label.name, label.value);
            });
            all.push(labels.labels());
        }
    }
    all
}

fn texts(name: &str, texts: &Texts) -> Labels {
    MetaLabels::new(PREFIX).set_texts(name, texts).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context};
    use config::Secret;

    fn shown(application: &str) -> Vec<String> {
        let application: Application = serde_json::from_str(application).unwrap();
        targets(&application).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ports_come_from_mappings_definitions_or_tasks() {
        let bridged = r#"{"tasks": [{"id": "t", "host": "h", "ports": [31000, 32000]}],
            "container": {"docker": {"portMappings": [{"labels": {"a-b": "c"}, "containerPort": 8080, "hostPort": 0},
                                                      {"containerPort": 81, "hostPort": 31001}]}}}"#;
        assert_eq!(
            shown(bridged),
            [
                "{__address__=\"h:31000\", __meta_marathon_port_index=\"0\", \
                 __meta_marathon_port_mapping_label_a_b=\"c\", __meta_marathon_task=\"t\"}",
                "{__address__=\"h:31001\", __meta_marathon_port_index=\"1\", __meta_marathon_task=\"t\"}",
            ]
        );
        let own_network = r#"{"networks": [{"mode": "container", "name": "n"}],
            "tasks": [{"id": "t", "host": "h", "ports": [], "ipAddresses": [{"ipAddress": "1.2.3.4"}]}],
            "container": {"portMappings": [{"containerPort": 8080, "hostPort": 31000}]}}"#;
        assert!(shown(own_network)[0].starts_with("{__address__=\"1.2.3.4:8080\""));
        for (required, wanted) in [(true, "h:1234"), (false, "h:31000")] {
            let defined = format!(
                r#"{{"requirePorts": {required}, "portDefinitions": [{{"port": 1234, "labels": {{"x": "y"}}}}],
                    "tasks": [{{"id": "t", "host": "h", "ports": [31000]}}]}}"#
            );
            let targets = shown(&defined);
            assert!(targets[0].starts_with(&format!("{{__address__=\"{wanted}\"")), "{targets:?}");
            assert!(targets[0].contains("port_definition_label_x=\"y\""));
        }
        let bare = r#"{"tasks": [{"id": "t", "host": "h", "ports": [31000]}]}"#;
        assert_eq!(shown(bare).len(), 1);
        assert!(shown(r#"{"tasks": [{"id": "t", "host": "h"}]}"#).is_empty());
    }

    #[tokio::test]
    async fn applications_are_groups_and_the_token_is_shown() {
        let server = TestServer::start(|request| match request.header("authorization") {
            "token=s3" if request.target == PATH => Reply::json(
                r#"{"apps": [{"id": "/web", "labels": {"k": "v"}, "container": {"docker": {"image": "img"}},
                     "tasks": [{"id": "t", "host": "h", "ports": [1]}]}, {"id": "/none", "tasks": null}]}"#,
            ),
            _ => Reply::status(401),
        })
        .await;
        let config = MarathonSdConfig {
            servers: vec![server.url("")],
            auth_token: Secret::new("s3"),
            ..MarathonSdConfig::default()
        };
        let groups = config.look(&context()).unwrap().refresh().await.unwrap();
        assert_eq!(groups.len(), 2);
        assert_eq!(
            groups[0].labels.to_string(),
            "{__meta_marathon_app=\"/web\", __meta_marathon_app_label_k=\"v\", __meta_marathon_image=\"img\"}"
        );
        let missing = MarathonSdConfig {
            auth_token: Secret::default(),
            auth_token_file: "/no/file".to_owned(),
            ..config
        };
        assert!(missing.look(&context()).is_err());
    }
}
