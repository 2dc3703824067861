//! Dataplanes of a Kuma mesh.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::values::{Duration, split_url};

block! {
    /// Dataplanes of a Kuma mesh.
    pub struct KumaSdConfig: "xds.plainKumaConf" {
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
        /// How long a request may take.
        fetch_timeout: Duration => omit "fetch_timeout",
        /// The control plane's URL.
        server: String => omit "server",
        /// Who asks; the host's name where empty.
        client_id: String => omit "client_id",
    }
}

impl Default for KumaSdConfig {
    fn default() -> KumaSdConfig {
        KumaSdConfig {
            http_client: HttpClientConfig::default(),
            refresh_interval: model::time::PromDuration(15000),
            fetch_timeout: model::time::PromDuration(120000),
            ..KumaSdConfig::zeroed()
        }
    }
}

impl Block for KumaSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        match split_url(&self.server) {
            _ if self.server.is_empty() => walk.invalid_field("server", "kuma SD server must not be empty: "),
            Ok(url) if url.scheme.is_empty() || url.host.is_empty() => {
                walk.invalid_field("server", "kuma SD server must not be empty and have a scheme");
            }
            Ok(_) => {}
            Err(error) => walk.invalid_field("server", error.to_string()),
        }
        self.http_client.check(walk);
    }
}

impl Located for KumaSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
