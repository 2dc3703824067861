//! Members registered by Nerve in ZooKeeper.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::values::Duration;

block! {
    /// Members registered by Nerve in ZooKeeper.
    pub struct NerveSdConfig: "zookeeper.plain" {
        /// The ZooKeeper servers.
        servers: Vec<String> => always "servers",
        /// The paths to watch.
        paths: Vec<String> => always "paths",
        /// How long a session lives.
        timeout: Duration => omit "timeout",
    }
}

impl Default for NerveSdConfig {
    fn default() -> NerveSdConfig {
        NerveSdConfig { timeout: model::time::PromDuration(10000), ..NerveSdConfig::zeroed() }
    }
}

impl Block for NerveSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.servers.is_empty() {
            walk.invalid_field("servers", "nerve SD config must contain at least one Zookeeper server");
        }
        if self.paths.is_empty() {
            walk.invalid_field("paths", "nerve SD config must contain at least one path");
        }
        for (index, path) in self.paths.iter().enumerate() {
            if !path.starts_with('/') {
                let message = format!("nerve SD config paths must begin with '/': {path}");
                walk.invalid_at(["paths".into(), index.into()], message);
            }
        }
    }
}

impl Located for NerveSdConfig {
    fn set_directory(&mut self, _dir: &Path) {}
}
