//! Servers of IONOS.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::values::Duration;

block! {
    /// Servers of IONOS.
    pub struct IonosSdConfig: "ionos.plain" {
        /// The datacenter.
        datacenter_id: String => always "datacenter_id",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Time between two look-ups.
        refresh_interval: Duration => always "refresh_interval",
        /// The port of targets.
        port: i64 => always "port",
    }
}

impl Default for IonosSdConfig {
    fn default() -> IonosSdConfig {
        IonosSdConfig {
            http_client: HttpClientConfig::default(),
            refresh_interval: model::time::PromDuration(60000),
            port: 80,
            ..IonosSdConfig::zeroed()
        }
    }
}

impl Block for IonosSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.datacenter_id.is_empty() {
            walk.invalid_field("datacenter_id", "datacenter id can't be empty");
        }
        self.http_client.check(walk);
    }
}

impl Located for IonosSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
