//! Instances of AWS Lightsail.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::secret::Secret;
use crate::values::Duration;

block! {
    /// Instances of Lightsail.
    pub struct LightsailSdConfig: "aws.plain" {
        /// Another endpoint than the region's.
        endpoint: String => always "endpoint",
        /// The region; the machine's own where empty.
        region: String => always "region",
        /// The key's name; found out where empty.
        access_key: String => omit "access_key",
        /// The key.
        secret_key: Secret => omit "secret_key",
        /// A profile of the shared credentials file.
        profile: String => omit "profile",
        /// A role to take on.
        role_arn: String => omit "role_arn",
        /// What the role's owner asks for.
        external_id: String => omit "external_id",
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
        /// The port of targets.
        port: i64 => always "port",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
    }
}

impl Default for LightsailSdConfig {
    fn default() -> LightsailSdConfig {
        LightsailSdConfig {
            port: 80,
            refresh_interval: model::time::PromDuration(60000),
            http_client: HttpClientConfig::default(),
            ..LightsailSdConfig::zeroed()
        }
    }
}

impl Block for LightsailSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        self.http_client.check(walk);
    }
}

impl Located for LightsailSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
