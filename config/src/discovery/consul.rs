//! Services of a Consul catalogue.

use std::collections::BTreeMap;
use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::{BasicAuth, HttpClientConfig};
use crate::secret::Secret;
use crate::values::Duration;

block! {
    /// Services of a Consul catalogue.
    pub struct ConsulSdConfig: "consul.plain" {
        /// Host and port of an agent.
        server: String => omit "server",
        /// What is put before paths.
        path_prefix: String => omit "path_prefix",
        /// The ACL token.
        token: Secret => omit "token",
        /// The datacenter; the agent's own where empty.
        datacenter: String => omit "datacenter",
        /// The namespace.
        namespace: String => omit "namespace",
        /// The admin partition.
        partition: String => omit "partition",
        /// What is put between tags.
        tag_separator: String => omit "tag_separator",
        /// `http` or `https`.
        scheme: String => omit "scheme",
        /// The older form of `basic_auth`.
        username: String => omit "username",
        /// The older form of `basic_auth`.
        password: Secret => omit "password",
        /// Whether any server may answer.
        allow_stale: bool => always "allow_stale",
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
        /// The services; all where empty.
        services: Vec<String> => omit "services",
        /// Tags that a service must have.
        tags: Vec<String> => omit "tags",
        /// Metadata that a node must have.
        node_meta: BTreeMap<String, String> => omit "node_meta",
        /// An expression over the catalogue.
        filter: String => omit "filter",
        /// An expression over health entries.
        health_filter: String => omit "health_filter",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
    }
}

impl Default for ConsulSdConfig {
    fn default() -> ConsulSdConfig {
        ConsulSdConfig {
            tag_separator: ",".to_owned(),
            scheme: "http".to_owned(),
            server: "localhost:8500".to_owned(),
            allow_stale: true,
            refresh_interval: model::time::PromDuration(30000),
            http_client: HttpClientConfig::default(),
            ..ConsulSdConfig::zeroed()
        }
    }
}

impl Block for ConsulSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.server.trim().is_empty() {
            walk.invalid_field("server", "consul SD configuration requires a server address");
        }
        if !self.username.is_empty() || !self.password.is_empty() {
            if self.http_client.basic_auth.is_some() {
                walk.invalid(
                    "at most one of consul SD configuration username and password and basic auth can be \
                     configured",
                );
            }
            self.http_client.basic_auth = Some(BasicAuth {
                username: self.username.clone(),
                password: self.password.clone(),
                ..BasicAuth::default()
            });
        }
        let other_token = self.http_client.authorization.is_some() || self.http_client.oauth2.is_some();
        if !self.token.is_empty() && other_token {
            walk.invalid("at most one of consul SD token, authorization, or oauth2 can be configured");
        }
        self.http_client.check(walk);
    }
}

impl Located for ConsulSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
