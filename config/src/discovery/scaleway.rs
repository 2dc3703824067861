//! Servers of Scaleway.

use std::path::Path;

use crate::block::{Block, Fields, block, choice};
use crate::decode::{Chosen, Walk};
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::secret::Secret;
use crate::values::{Duration, join_dir, quoted};

choice! {
    /// What is looked for.
    pub enum ScalewayRole: |text| format!("unknown role {}", quoted(text)) => {
        /// Virtual instances.
        Instance = "instance",
        /// Bare metal servers.
        Baremetal = "baremetal",
    }
}

block! {
    /// Servers of Scaleway.
    pub struct ScalewaySdConfig: "scaleway.plain" {
        /// The project.
        project_id: String => always "project_id",
        /// The API's URL.
        api_url: String => omit "api_url",
        /// The zone.
        zone: String => always "zone",
        /// The key's name.
        access_key: String => always "access_key",
        /// The key.
        secret_key: Secret => always "secret_key",
        /// A file with the key.
        secret_key_file: String => always "secret_key_file",
        /// A name that servers must have.
        name_filter: String => omit "name_filter",
        /// Tags that servers must have.
        tags_filter: Vec<String> => omit "tags_filter",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Time between two look-ups.
        refresh_interval: Duration => always "refresh_interval",
        /// The port of targets.
        port: i64 => always "port",
        /// What is looked for.
        role: Chosen<ScalewayRole> => always "role",
    }
}

impl Default for ScalewaySdConfig {
    fn default() -> ScalewaySdConfig {
        ScalewaySdConfig {
            port: 80,
            refresh_interval: model::time::PromDuration(60000),
            http_client: HttpClientConfig::default(),
            zone: "fr-par-1".to_owned(),
            api_url: "https://api.scaleway.com".to_owned(),
            ..ScalewaySdConfig::zeroed()
        }
    }
}

impl Block for ScalewaySdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.role.0.is_none() {
            walk.invalid_field("role", "role missing (one of: instance, baremetal)");
        }
        if self.project_id.is_empty() {
            walk.invalid_field("project_id", "project_id is mandatory");
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
        if self.access_key.is_empty() {
            walk.invalid_field("access_key", "access_key is mandatory");
        }
        self.http_client.check(walk);
    }
}

impl Located for ScalewaySdConfig {
    fn set_directory(&mut self, dir: &Path) {
        join_dir(dir, &mut self.secret_key_file);
        self.http_client.set_directory(dir);
    }
}
