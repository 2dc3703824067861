//! Instances of Vultr.

use std::path::Path;

use crate::block::{Block, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::values::Duration;

block! {
    /// Instances of Vultr.
    pub struct VultrSdConfig: "vultr.plain" {
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Time between two look-ups.
        refresh_interval: Duration => always "refresh_interval",
        /// The port of targets.
        port: i64 => always "port",
    }
}

impl Default for VultrSdConfig {
    fn default() -> VultrSdConfig {
        VultrSdConfig {
            port: 80,
            refresh_interval: model::time::PromDuration(60000),
            http_client: HttpClientConfig::default(),
        }
    }
}

impl Block for VultrSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        self.http_client.check(walk);
    }
}

impl Located for VultrSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
