//! Servers of Hetzner.

use std::path::Path;

use crate::block::{Block, Fields, block, choice};
use crate::decode::{Chosen, Walk};
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::values::{Duration, quoted};

choice! {
    /// What is looked for.
    pub enum HetznerRole: |text| format!("unknown role {}", quoted(text)) => {
        /// Dedicated servers.
        Robot = "robot",
        /// Servers of the cloud.
        Hcloud = "hcloud",
    }
}

block! {
    /// Servers of Hetzner.
    pub struct HetznerSdConfig: "hetzner.plain" {
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Time between two look-ups.
        refresh_interval: Duration => always "refresh_interval",
        /// The port of targets.
        port: i64 => always "port",
        /// What is looked for.
        role: Chosen<HetznerRole> => always "role",
        /// An expression over labels, for the cloud.
        label_selector: String => omit "label_selector",
    }
}

impl Default for HetznerSdConfig {
    fn default() -> HetznerSdConfig {
        HetznerSdConfig {
            port: 80,
            refresh_interval: model::time::PromDuration(60000),
            http_client: HttpClientConfig::default(),
            ..HetznerSdConfig::zeroed()
        }
    }
}

impl Block for HetznerSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.role.0.is_none() {
            walk.invalid_field("role", "role missing (one of: robot, hcloud)");
        }
        self.http_client.check(walk);
    }
}

impl Located for HetznerSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
