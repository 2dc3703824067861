//! Servers of STACKIT.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::secret::Secret;
use crate::values::{Duration, split_url};

block! {
    /// Servers of STACKIT.
    pub struct StackitSdConfig: "stackit.plain" {
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// The project.
        project: String => always "project",
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
        /// The port of targets.
        port: i64 => omit "port",
        /// The region.
        region: String => omit "region",
        /// The API's URL; the region's where empty.
        endpoint: String => omit "endpoint",
        /// The service account's key, JSON.
        service_account_key: Secret => omit "service_account_key",
        /// The private key, PEM.
        private_key: Secret => omit "private_key",
        /// A file with the service account's key.
        service_account_key_path: String => omit "service_account_key_path",
        /// A file with the private key.
        private_key_path: String => omit "private_key_path",
        /// A credentials file.
        credentials_file_path: String => omit "credentials_file_path",
    }
}

impl Default for StackitSdConfig {
    fn default() -> StackitSdConfig {
        StackitSdConfig {
            region: "eu01".to_owned(),
            port: 80,
            refresh_interval: model::time::PromDuration(60000),
            http_client: HttpClientConfig::default(),
            ..StackitSdConfig::zeroed()
        }
    }
}

impl Block for StackitSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.endpoint.is_empty() && self.region.is_empty() {
            walk.invalid("stackit_sd: endpoint and region missing");
        }
        if let Err(error) = split_url(&self.endpoint) {
            walk.invalid_field("endpoint", format!("stackit_sd: invalid endpoint: {error}"));
        }
        self.http_client.check(walk);
    }
}

impl Located for StackitSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
