//! Members of Finagle server sets in ZooKeeper.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::values::Duration;

block! {
    /// Members of Finagle server sets in ZooKeeper.
    pub struct ServersetSdConfig: "zookeeper.plain" {
        /// The ZooKeeper servers.
        servers: Vec<String> => always "servers",
        /// The paths to watch.
        paths: Vec<String> => always "paths",
        /// How long a session lives.
        timeout: Duration => omit "timeout",
    }
}

impl Default for ServersetSdConfig {
    fn default() -> ServersetSdConfig {
        ServersetSdConfig { timeout: model::time::PromDuration(10000), ..ServersetSdConfig::zeroed() }
    }
}

impl Block for ServersetSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.servers.is_empty() {
            walk.invalid_field("servers", "serverset SD config must contain at least one Zookeeper server");
        }
        if self.paths.is_empty() {
            walk.invalid_field("paths", "serverset SD config must contain at least one path");
        }
        for (index, path) in self.paths.iter().enumerate() {
            if !path.starts_with('/') {
                let message = format!("serverset SD config paths must begin with '/': {path}");
                walk.invalid_at(["paths".into(), index.into()], message);
            }
        }
    }
}

impl Located for ServersetSdConfig {
    fn set_directory(&mut self, _dir: &Path) {}
}
