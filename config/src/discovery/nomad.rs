//! Services of Nomad.

use std::path::Path;

use crate::block::{Block, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::values::Duration;

block! {
    /// Services of Nomad.
    pub struct NomadSdConfig: "nomad.plain" {
        /// Whether any server may answer.
        allow_stale: bool => always "allow_stale",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// The namespace.
        namespace: String => always "namespace",
        /// Time between two look-ups.
        refresh_interval: Duration => always "refresh_interval",
        /// The region.
        region: String => always "region",
        /// The URL of an agent.
        server: String => always "server",
        /// What is put between tags.
        tag_separator: String => omit "tag_separator",
    }
}

impl Default for NomadSdConfig {
    fn default() -> NomadSdConfig {
        NomadSdConfig {
            allow_stale: true,
            http_client: HttpClientConfig::default(),
            namespace: "default".to_owned(),
            refresh_interval: model::time::PromDuration(60000),
            region: "global".to_owned(),
            server: "http://localhost:4646".to_owned(),
            tag_separator: ",".to_owned(),
        }
    }
}

impl Block for NomadSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.server.trim().is_empty() {
            walk.invalid_field("server", "nomad SD configuration requires a server address");
        }
        self.http_client.check(walk);
    }
}

impl Located for NomadSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
