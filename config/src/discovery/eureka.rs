//! Instances of a Eureka registry.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::values::{Duration, split_url};

block! {
    /// Instances of a Eureka registry.
    pub struct EurekaSdConfig: "eureka.plain" {
        /// The registry's URL.
        server: String => omit "server",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
    }
}

impl Default for EurekaSdConfig {
    fn default() -> EurekaSdConfig {
        EurekaSdConfig {
            refresh_interval: model::time::PromDuration(30000),
            http_client: HttpClientConfig::default(),
            ..EurekaSdConfig::zeroed()
        }
    }
}

impl Block for EurekaSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        match split_url(&self.server) {
            _ if self.server.is_empty() => {
                walk.invalid_field("server", "eureka_sd: empty or null eureka server");
            }
            Ok(url) if url.scheme.is_empty() || url.host.is_empty() => {
                walk.invalid_field("server", "eureka_sd: invalid eureka server URL");
            }
            Ok(_) => {}
            Err(error) => walk.invalid_field("server", error.to_string()),
        }
        self.http_client.check(walk);
    }
}

impl Located for EurekaSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
