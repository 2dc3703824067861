//! Droplets and databases of DigitalOcean.

use std::path::Path;

use crate::block::{Block, block, choice};
use crate::decode::{Chosen, Walk};
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::values::{Duration, quoted};

choice! {
    /// What is looked for.
    pub enum DigitalOceanRole: |text| format!("unknown DigitalOcean SD role {}", quoted(text)) => {
        /// Droplets.
        Droplets = "droplets",
        /// Database clusters.
        Databases = "databases",
    }
}

block! {
    /// Droplets or databases of DigitalOcean.
    pub struct DigitalOceanSdConfig: "digitalocean.plain" {
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Time between two look-ups.
        refresh_interval: Duration => always "refresh_interval",
        /// The port of targets.
        port: i64 => always "port",
        /// What is looked for.
        role: Chosen<DigitalOceanRole> => always "role",
    }
}

impl Default for DigitalOceanSdConfig {
    fn default() -> DigitalOceanSdConfig {
        DigitalOceanSdConfig {
            port: 80,
            refresh_interval: model::time::PromDuration(60000),
            http_client: HttpClientConfig::default(),
            role: Chosen::some(DigitalOceanRole::Droplets),
        }
    }
}

impl Block for DigitalOceanSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.role.0.is_none() {
            walk.invalid_field("role", "role missing (one of: droplets, databases)");
        }
        self.http_client.check(walk);
    }
}

impl Located for DigitalOceanSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
