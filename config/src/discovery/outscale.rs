//! Virtual machines of Outscale.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::secret::Secret;
use crate::values::{Duration, join_dir};

block! {
    /// Virtual machines of Outscale.
    pub struct OutscaleSdConfig: "outscale.plain" {
        /// The API's URL; the region's where empty in the file.
        endpoint: String => omit "endpoint",
        /// The region.
        region: String => always "region",
        /// The key's name.
        access_key: String => always "access_key",
        /// The key.
        secret_key: Secret => always "secret_key",
        /// A file with the key.
        secret_key_file: String => always "secret_key_file",
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
        /// The port of targets.
        port: i64 => always "port",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
    }
}

impl Default for OutscaleSdConfig {
    fn default() -> OutscaleSdConfig {
        OutscaleSdConfig {
            port: 80,
            refresh_interval: model::time::PromDuration(60000),
            http_client: HttpClientConfig::default(),
            region: "eu-west-2".to_owned(),
            ..OutscaleSdConfig::zeroed()
        }
    }
}

impl Block for OutscaleSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.region.is_empty() {
            walk.invalid_field("region", "outscale SD configuration requires a region");
        }
        if self.access_key.is_empty() {
            walk.invalid_field("access_key", "outscale SD configuration requires access_key");
        }
        match (self.secret_key.is_empty(), self.secret_key_file.is_empty()) {
            (true, true) => {
                walk.invalid("one of secret_key & secret_key_file must be configured");
            }
            (false, false) => {
                walk.invalid("at most one of secret_key & secret_key_file must be configured");
            }
            _ => {}
        }
        if self.endpoint.is_empty() {
            self.endpoint = format!("https://api.{}.outscale.com/api/v1", self.region);
        }
        self.http_client.check(walk);
    }
}

impl Located for OutscaleSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        join_dir(dir, &mut self.secret_key_file);
        self.http_client.set_directory(dir);
    }
}
