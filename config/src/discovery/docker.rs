//! Containers of a Docker engine.

use std::path::Path;

use crate::block::{Block, Fields, block, zero_default};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::values::{Duration, split_url};

block! {
    /// What is asked for: a name and its values.
    pub struct DockerFilter: "moby.Filter" {
        /// The name.
        name: String => always "name",
        /// The values.
        values: Vec<String> => always "values",
    }
}

impl Block for DockerFilter {}

block! {
    /// Containers of a Docker engine.
    pub struct DockerSdConfig: "moby.plain" {
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// The engine, as `unix:///var/run/docker.sock`.
        host: String => always "host",
        /// The port of targets.
        port: i64 => always "port",
        /// What is asked for; all where empty.
        filters: Vec<DockerFilter> => always "filters",
        /// The host of containers in the host's network.
        host_networking_host: String => always "host_networking_host",
        /// Time between two look-ups.
        refresh_interval: Duration => always "refresh_interval",
        /// Whether only the first network of a container counts.
        match_first_network: bool => always "match_first_network",
    }
}

impl Default for DockerSdConfig {
    fn default() -> DockerSdConfig {
        DockerSdConfig {
            refresh_interval: model::time::PromDuration(60000),
            port: 80,
            host_networking_host: "localhost".to_owned(),
            http_client: HttpClientConfig::default(),
            match_first_network: true,
            ..DockerSdConfig::zeroed()
        }
    }
}

impl Block for DockerSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        match split_url(&self.host) {
            _ if self.host.is_empty() => walk.invalid_field("host", "host missing"),
            Ok(_) => {}
            Err(error) => walk.invalid_field("host", error.to_string()),
        }
        self.http_client.check(walk);
    }
}

impl Located for DockerSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}

zero_default!(DockerFilter);
