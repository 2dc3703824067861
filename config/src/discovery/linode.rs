//! Instances of Linode.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::values::Duration;

block! {
    /// Instances of Linode.
    pub struct LinodeSdConfig: "linode.plain" {
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Time between two look-ups.
        refresh_interval: Duration => always "refresh_interval",
        /// The port of targets.
        port: i64 => always "port",
        /// What is put between tags.
        tag_separator: String => omit "tag_separator",
        /// The region; all where empty.
        region: String => omit "region",
    }
}

impl Default for LinodeSdConfig {
    fn default() -> LinodeSdConfig {
        LinodeSdConfig {
            tag_separator: ",".to_owned(),
            port: 80,
            refresh_interval: model::time::PromDuration(60000),
            http_client: HttpClientConfig::default(),
            ..LinodeSdConfig::zeroed()
        }
    }
}

impl Block for LinodeSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        self.http_client.check(walk);
    }
}

impl Located for LinodeSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
