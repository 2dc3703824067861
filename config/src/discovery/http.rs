//! Target groups from a URL.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::values::{Duration, split_url};

block! {
    /// Target groups from a URL.
    pub struct HttpSdConfig: "http.plain" {
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
        /// Where.
        url: String => always "url",
    }
}

impl Default for HttpSdConfig {
    fn default() -> HttpSdConfig {
        HttpSdConfig {
            http_client: HttpClientConfig::default(),
            refresh_interval: model::time::PromDuration(60000),
            ..HttpSdConfig::zeroed()
        }
    }
}

impl Block for HttpSdConfig {
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
        self.http_client.check(walk);
    }
}

impl Located for HttpSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
