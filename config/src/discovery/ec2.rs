//! Instances of AWS EC2.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::{Located, aws::AwsFilter};
use crate::http_client::HttpClientConfig;
use crate::secret::Secret;
use crate::values::Duration;

block! {
    /// Instances of EC2.
    pub struct Ec2SdConfig: "aws.plain" {
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
        /// What is asked for; all where empty.
        filters: Vec<Option<AwsFilter>> => always "filters",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
    }
}

impl Default for Ec2SdConfig {
    fn default() -> Ec2SdConfig {
        Ec2SdConfig {
            port: 80,
            refresh_interval: model::time::PromDuration(60000),
            http_client: HttpClientConfig::default(),
            ..Ec2SdConfig::zeroed()
        }
    }
}

impl Block for Ec2SdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        let empty = self.filters.iter().flatten().position(|filter| filter.values.is_empty());
        if let Some(index) = empty {
            let message = "EC2 SD configuration filter values cannot be empty";
            walk.invalid_at(["filters".into(), index.into()], message);
        }
        self.http_client.check(walk);
    }
}

impl Located for Ec2SdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
