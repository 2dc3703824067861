//! `dockerswarm_sd_configs`: services, tasks or nodes of a swarm.

use std::collections::HashMap;

use config::discovery::DockerSwarmSdConfig;
use config::discovery::dockerswarm::SwarmRole;
use model::{Labels, LabelsBuilder};
use serde::Deserialize;
use serde_json::Value;

use super::engine::{Engine, Texts, add_texts};
use crate::client::null_as_empty;
use crate::group::{ADDRESS_LABEL, TargetGroup};
use crate::labels::{canonical_ip, join_host_port};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::Periodic;
use crate::refresh::Refresh;

const PREFIX: &str = "__meta_dockerswarm_";

impl Periodic for DockerSwarmSdConfig {
    const NAME: &'static str = "dockerswarm";
    type Look = Swarm;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Swarm, DiscoveryError> {
        let engine =
            Engine::new(&self.host, &self.filters, &self.http_client, self.refresh_interval, context)?;
        Ok(Swarm { config: self.clone(), engine })
    }
}

pub(crate) struct Swarm {
    config: DockerSwarmSdConfig,
    engine: Engine,
}

impl Refresh for Swarm {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let targets = match self.config.role.0 {
            Some(SwarmRole::Services) => self.services().await?,
            Some(SwarmRole::Tasks) => self.tasks().await?,
            Some(SwarmRole::Nodes) | None => self.nodes().await?,
        };
        Ok(vec![TargetGroup { source: "DockerSwarm".to_owned(), labels: Labels::empty(), targets }])
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    spec: ServiceSpec,
    #[serde(deserialize_with = "null_as_empty")]
    endpoint: ServiceEndpoint,
    update_status: Option<UpdateStatus>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ServiceSpec {
    name: String,
    #[serde(deserialize_with = "null_as_empty")]
    labels: Texts,
    #[serde(deserialize_with = "null_as_empty")]
    mode: Mode,
    #[serde(deserialize_with = "null_as_empty")]
    task_template: TaskSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Mode {
    global: Option<Value>,
    replicated: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct TaskSpec {
    container_spec: Option<ContainerSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ContainerSpec {
    hostname: String,
    image: String,
    #[serde(deserialize_with = "null_as_empty")]
    labels: Texts,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct UpdateStatus {
    state: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ServiceEndpoint {
    #[serde(deserialize_with = "null_as_empty")]
    ports: Vec<Port>,
    #[serde(rename = "VirtualIPs", deserialize_with = "null_as_empty")]
    virtual_ips: Vec<VirtualIp>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Port {
    name: String,
    protocol: String,
    published_port: u32,
    publish_mode: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct VirtualIp {
    #[serde(rename = "NetworkID")]
    network_id: String,
    addr: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Task {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "ServiceID")]
    service_id: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    slot: i64,
    desired_state: String,
    #[serde(deserialize_with = "null_as_empty")]
    spec: TaskSpec,
    #[serde(deserialize_with = "null_as_empty")]
    status: TaskStatus,
    #[serde(deserialize_with = "null_as_empty")]
    networks_attachments: Vec<Attachment>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct TaskStatus {
    state: String,
    container_status: Option<ContainerStatus>,
    #[serde(deserialize_with = "null_as_empty")]
    port_status: PortStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ContainerStatus {
    #[serde(rename = "ContainerID")]
    container_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct PortStatus {
    #[serde(deserialize_with = "null_as_empty")]
    ports: Vec<Port>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Attachment {
    #[serde(deserialize_with = "null_as_empty")]
    network: AttachedNetwork,
    #[serde(deserialize_with = "null_as_empty")]
    addresses: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AttachedNetwork {
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Node {
    #[serde(rename = "ID")]
    id: String,
    #[serde(deserialize_with = "null_as_empty")]
    spec: NodeSpec,
    #[serde(deserialize_with = "null_as_empty")]
    description: Description,
    #[serde(deserialize_with = "null_as_empty")]
    status: NodeStatus,
    manager_status: Option<ManagerStatus>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NodeSpec {
    role: String,
    availability: String,
    #[serde(deserialize_with = "null_as_empty")]
    labels: Texts,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Description {
    hostname: String,
    platform: Platform,
    engine: EngineDescription,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Platform {
    architecture: String,
    #[serde(rename = "OS")]
    os: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct EngineDescription {
    engine_version: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NodeStatus {
    state: String,
    addr: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ManagerStatus {
    leader: bool,
    reachability: String,
    addr: String,
}

fn set(labels: &mut LabelsBuilder, name: &str, value: &str) {
    labels.set(&format!("{PREFIX}{name}"), value);
}

impl Service {
    fn add_labels(&self, labels: &mut LabelsBuilder) {
        let mode = match &self.spec.mode {
            mode if mode.global.is_some() => "global",
            mode if mode.replicated.is_some() => "replicated",
            _ => "",
        };
        set(labels, "service_id", &self.id);
        set(labels, "service_name", &self.spec.name);
        set(labels, "service_mode", mode);
        add_texts(labels, "__meta_dockerswarm_service_label_", &self.spec.labels);
    }
}

impl Node {
    fn add_labels(&self, labels: &mut LabelsBuilder) {
        set(labels, "node_id", &self.id);
        set(labels, "node_role", &self.spec.role);
        set(labels, "node_address", &self.status.addr);
        set(labels, "node_availability", &self.spec.availability);
        set(labels, "node_hostname", &self.description.hostname);
        set(labels, "node_platform_architecture", &self.description.platform.architecture);
        set(labels, "node_platform_os", &self.description.platform.os);
        set(labels, "node_status", &self.status.state);
        add_texts(labels, "__meta_dockerswarm_node_label_", &self.spec.labels);
    }
}

/// The address of `10.0.0.5/24`.
fn ip_of(prefix: &str) -> Result<String, DiscoveryError> {
    let ip = prefix.split_once('/').and_then(|(ip, _)| canonical_ip(ip));
    ip.ok_or_else(|| {
        DiscoveryError::Malformed(format!(
            "error while parsing address {prefix}: invalid CIDR address: {prefix}"
        ))
    })
}

fn is_tcp(port: &&Port) -> bool {
    port.protocol == "tcp"
}

impl Swarm {
    async fn services(&self) -> Result<Vec<Labels>, DiscoveryError> {
        let services: Vec<Service> = self.engine.list("/services", true).await?;
        let networks = self.engine.networks().await?;
        let mut targets = Vec::new();
        for service in &services {
            let mut common = LabelsBuilder::new();
            service.add_labels(&mut common);
            if let Some(container) = &service.spec.task_template.container_spec {
                set(&mut common, "service_task_container_hostname", &container.hostname);
                set(&mut common, "service_task_container_image", &container.image);
            }
            if let Some(update) = &service.update_status {
                set(&mut common, "service_updating_status", &update.state);
            }
            for virtual_ip in &service.endpoint.virtual_ips {
                let ip = ip_of(&virtual_ip.addr)?;
                let mut common = common.clone();
                if let Some(network) = networks.get(&virtual_ip.network_id) {
                    network.add_labels(&mut common, PREFIX);
                }
                let before = targets.len();
                for port in service.endpoint.ports.iter().filter(is_tcp) {
                    let mut labels = common.clone();
                    set(&mut labels, "service_endpoint_port_name", &port.name);
                    set(&mut labels, "service_endpoint_port_publish_mode", &port.publish_mode);
                    labels.set(ADDRESS_LABEL, &join_host_port(&ip, port.published_port));
                    targets.push(labels.labels());
                }
                if targets.len() == before {
                    common.set(ADDRESS_LABEL, &join_host_port(&ip, self.config.port));
                    targets.push(common.labels());
                }
            }
        }
        Ok(targets)
    }

    async fn tasks(&self) -> Result<Vec<Labels>, DiscoveryError> {
        let tasks: Vec<Task> = self.engine.list("/tasks", true).await?;
        let services: Vec<Service> = self.engine.list("/services", false).await?;
        let services: HashMap<&str, &Service> = services.iter().map(|s| (s.id.as_str(), s)).collect();
        let nodes: Vec<Node> = self.engine.list("/nodes", false).await?;
        let nodes: HashMap<&str, &Node> = nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let networks = self.engine.networks().await?;
        let mut targets = Vec::new();
        for task in &tasks {
            let service = services.get(task.service_id.as_str());
            let node = nodes.get(task.node_id.as_str());
            let mut common = LabelsBuilder::new();
            task.add_labels(&mut common);
            if let Some(service) = service {
                service.add_labels(&mut common);
            }
            if let Some(node) = node {
                node.add_labels(&mut common);
            }
            let host = node.map_or("", |node| &node.status.addr);
            for port in task.status.port_status.ports.iter().filter(is_tcp) {
                targets.push(task_target(&common, port, host));
            }
            let ports: &[Port] = service.map_or(&[], |service| &service.endpoint.ports);
            for attachment in &task.networks_attachments {
                let mut common = common.clone();
                if let Some(network) = networks.get(&attachment.network.id) {
                    network.add_labels(&mut common, PREFIX);
                }
                for address in &attachment.addresses {
                    let ip = ip_of(address)?;
                    let before = targets.len();
                    targets.extend(ports.iter().filter(is_tcp).map(|port| task_target(&common, port, &ip)));
                    if targets.len() == before {
                        common.set(ADDRESS_LABEL, &join_host_port(&ip, self.config.port));
                        targets.push(common.labels());
                    }
                }
            }
        }
        Ok(targets)
    }

    async fn nodes(&self) -> Result<Vec<Labels>, DiscoveryError> {
        let nodes: Vec<Node> = self.engine.list("/nodes", true).await?;
        let target = |node: &Node| {
            let mut labels = LabelsBuilder::new();
            node.add_labels(&mut labels);
            set(&mut labels, "node_engine_version", &node.description.engine.engine_version);
            if let Some(manager) = &node.manager_status {
                set(&mut labels, "node_manager_leader", if manager.leader { "true" } else { "false" });
                set(&mut labels, "node_manager_reachability", &manager.reachability);
                set(&mut labels, "node_manager_address", &manager.addr);
            }
            labels.set(ADDRESS_LABEL, &join_host_port(&node.status.addr, self.config.port));
            labels.labels()
        };
        Ok(nodes.iter().map(target).collect())
    }
}

impl Task {
    fn add_labels(&self, labels: &mut LabelsBuilder) {
        set(labels, "task_id", &self.id);
        set(labels, "task_desired_state", &self.desired_state);
        set(labels, "task_state", &self.status.state);
        set(labels, "task_slot", &self.slot.to_string());
        if let Some(status) = &self.status.container_status {
            set(labels, "task_container_id", &status.container_id);
        }
        if let Some(container) = &self.spec.container_spec {
            add_texts(labels, "__meta_dockerswarm_container_label_", &container.labels);
        }
    }
}

fn task_target(common: &LabelsBuilder, port: &Port, host: &str) -> Labels {
    let mut labels = common.clone();
    set(&mut labels, "task_port_publish_mode", &port.publish_mode);
    labels.set(ADDRESS_LABEL, &join_host_port(host, port.published_port));
    labels.labels()
}
