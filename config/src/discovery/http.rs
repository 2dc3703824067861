//! Target groups from a URL.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::values::{Duration, Url};

block! {
    /// Target groups from a URL.
    pub struct HttpSdConfig: "http.plain" {
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
        /// Where.
        url: Url => always "url",
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
        let url = self.url.parts();
        if self.url.is_empty() {
            walk.invalid_field("url", "URL is missing");
        } else if !matches!(url.scheme.to_ascii_lowercase().as_str(), "http" | "https") {
            walk.invalid_field("url", "URL scheme must be 'http' or 'https'");
        } else if url.host.is_empty() {
            walk.invalid_field("url", "host is missing in URL");
        }
        self.http_client.check(walk);
    }
}

impl Located for HttpSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
