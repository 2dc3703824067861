//! Any of the services of AWS, chosen by role.

use std::path::Path;

use crate::block::{Block, block, choice, zero_default};
use crate::decode::{Chosen, Walk};
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::secret::Secret;
use crate::values::{Duration, quoted};

choice! {
    /// A service of AWS.
    pub enum AwsRole: |text| format!("unknown AWS SD role {}", quoted(text)) => {
        /// Instances of EC2.
        Ec2 = "ec2",
        /// Tasks of ECS.
        Ecs = "ecs",
        /// Caches of ElastiCache.
        Elasticache = "elasticache",
        /// Instances of Lightsail.
        Lightsail = "lightsail",
        /// Brokers of MSK.
        Msk = "msk",
        /// Databases of RDS.
        Rds = "rds",
    }
}

block! {
    /// What is asked for: a name and its values, any of which will do.
    pub struct AwsFilter: "aws.Filter" {
        /// The name.
        name: String => always "name",
        /// The values.
        values: Vec<String> => always "values",
    }
}

impl Block for AwsFilter {}

block! {
    /// One of the services of AWS. Zero and empty fields mean the service's own defaults.
    pub struct AwsSdConfig: "aws.plain" {
        /// The service.
        role: Chosen<AwsRole> => always "role",
        /// The region; the machine's own where empty.
        region: String => omit "region",
        /// Another endpoint than the region's.
        endpoint: String => omit "endpoint",
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
        port: i64 => omit "port",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// What is asked for; all where empty.
        filters: Vec<Option<AwsFilter>> => omit "filters",
        /// The clusters to look into, by ARN; all where empty.
        clusters: Vec<String> => omit "clusters",
    }
}

impl Block for AwsSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.role.0.is_none() {
            walk.invalid_field("role", "unknown AWS SD role \"\"");
        }
        self.http_client.check(walk);
    }
}

impl Located for AwsSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}

zero_default!(AwsFilter, AwsSdConfig);
