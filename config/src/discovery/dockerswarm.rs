//! Services, tasks and nodes of a Docker swarm.

use std::path::Path;

use crate::block::{Block, Fields, block, choice};
use crate::decode::{Chosen, Walk};
use crate::discovery::{Located, docker::DockerFilter};
use crate::http_client::HttpClientConfig;
use crate::values::{Duration, split_url};

choice! {
    /// What is looked for.
    pub enum SwarmRole: |text| format!("invalid role {text}, expected tasks, services, or nodes") => {
        /// Services.
        Services = "services",
        /// Tasks.
        Tasks = "tasks",
        /// Nodes.
        Nodes = "nodes",
    }
}

block! {
    /// Services, tasks or nodes of a Docker swarm.
    pub struct DockerSwarmSdConfig: "moby.plain" {
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// A manager, as `tcp://manager:2375`.
        host: String => always "host",
        /// What is looked for.
        role: Chosen<SwarmRole> => always "role",
        /// The port of targets.
        port: i64 => always "port",
        /// What is asked for; all where empty.
        filters: Vec<DockerFilter> => always "filters",
        /// Time between two look-ups.
        refresh_interval: Duration => always "refresh_interval",
    }
}

impl Default for DockerSwarmSdConfig {
    fn default() -> DockerSwarmSdConfig {
        DockerSwarmSdConfig {
            refresh_interval: model::time::PromDuration(60000),
            port: 80,
            http_client: HttpClientConfig::default(),
            ..DockerSwarmSdConfig::zeroed()
        }
    }
}

impl Block for DockerSwarmSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        match split_url(&self.host) {
            _ if self.host.is_empty() => walk.invalid_field("host", "host missing"),
            Ok(_) => {}
            Err(error) => walk.invalid_field("host", error.to_string()),
        }
        if self.role.0.is_none() {
            walk.invalid_field("role", "role missing (one of: tasks, services, nodes)");
        }
        self.http_client.check(walk);
    }
}

impl Located for DockerSwarmSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
