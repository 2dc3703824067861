//! Servers of OVHcloud.

use std::path::Path;

use crate::block::{Block, Fields, block, choice};
use crate::decode::{Chosen, Walk};
use crate::discovery::Located;
use crate::secret::Secret;
use crate::values::Duration;

choice! {
    /// What is looked for.
    pub enum OvhcloudService: |text| format!("unknown service: {text}") => {
        /// Dedicated servers.
        DedicatedServer = "dedicated_server",
        /// Virtual private servers.
        Vps = "vps",
    }
}

block! {
    /// Servers of OVHcloud.
    pub struct OvhcloudSdConfig: "ovhcloud.plain" {
        /// The API, by name or URL.
        endpoint: String => always "endpoint",
        /// The application.
        application_key: String => always "application_key",
        /// Its secret.
        application_secret: Secret => always "application_secret",
        /// The consumer's key.
        consumer_key: Secret => always "consumer_key",
        /// Time between two look-ups.
        refresh_interval: Duration => always "refresh_interval",
        /// What is looked for.
        service: Chosen<OvhcloudService> => always "service",
    }
}

impl Default for OvhcloudSdConfig {
    fn default() -> OvhcloudSdConfig {
        OvhcloudSdConfig {
            endpoint: "ovh-eu".to_owned(),
            refresh_interval: model::time::PromDuration(60000),
            ..OvhcloudSdConfig::zeroed()
        }
    }
}

impl Block for OvhcloudSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.endpoint.is_empty() {
            walk.invalid_field("endpoint", "endpoint can not be empty");
        }
        if self.application_key.is_empty() {
            walk.invalid_field("application_key", "application key can not be empty");
        }
        if self.application_secret.is_empty() {
            walk.invalid_field("application_secret", "application secret can not be empty");
        }
        if self.consumer_key.is_empty() {
            walk.invalid_field("consumer_key", "consumer key can not be empty");
        }
        if self.service.0.is_none() {
            walk.invalid_field("service", "unknown service: ");
        }
    }
}

impl Located for OvhcloudSdConfig {
    fn set_directory(&mut self, _dir: &Path) {}
}
