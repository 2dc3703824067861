//! Tasks of AWS ECS.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::secret::Secret;
use crate::values::Duration;

block! {
    /// Tasks of ECS.
    pub struct EcsSdConfig: "aws.plain" {
        /// The region; the machine's own where empty.
        region: String => always "region",
        /// Another endpoint than the region's.
        endpoint: String => always "endpoint",
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
        /// The clusters to look into, by ARN; all where empty.
        clusters: Vec<String> => omit "clusters",
        /// The port of targets.
        port: i64 => always "port",
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
        /// Requests at the same time.
        request_concurrency: i64 => omit "request_concurrency",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
    }
}

impl Default for EcsSdConfig {
    fn default() -> EcsSdConfig {
        EcsSdConfig {
            port: 80,
            refresh_interval: model::time::PromDuration(60000),
            request_concurrency: 20,
            http_client: HttpClientConfig::default(),
            ..EcsSdConfig::zeroed()
        }
    }
}

impl Block for EcsSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        self.http_client.check(walk);
    }
}

impl Located for EcsSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
