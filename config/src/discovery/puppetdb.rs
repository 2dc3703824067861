//! Resources of PuppetDB.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::values::{Duration, split_url};

block! {
    /// Resources of PuppetDB.
    pub struct PuppetdbSdConfig: "puppetdb.plain" {
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
        /// PuppetDB's URL.
        url: String => always "url",
        /// The query, in PQL.
        query: String => always "query",
        /// Whether parameters become labels.
        include_parameters: bool => always "include_parameters",
        /// The port of targets.
        port: i64 => always "port",
    }
}

impl Default for PuppetdbSdConfig {
    fn default() -> PuppetdbSdConfig {
        PuppetdbSdConfig {
            refresh_interval: model::time::PromDuration(60000),
            port: 80,
            http_client: HttpClientConfig::default(),
            ..PuppetdbSdConfig::zeroed()
        }
    }
}

impl Block for PuppetdbSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        match split_url(&self.url) {
            _ if self.url.is_empty() => walk.invalid_field("url", "URL is missing"),
            Ok(url) if !matches!(url.scheme.to_ascii_lowercase().as_str(), "http" | "https") => {
                walk.invalid_field("url", "URL scheme must be 'http' or 'https'");
            }
            Ok(url) if url.host.is_empty() => walk.invalid_field("url", "host is missing in URL"),
            Ok(_) => {}
            Err(error) => walk.invalid_field("url", error.to_string()),
        }
        if self.query.is_empty() {
            walk.invalid_field("query", "query missing");
        }
        self.http_client.check(walk);
    }
}

impl Located for PuppetdbSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
