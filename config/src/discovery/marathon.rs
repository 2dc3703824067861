//! Tasks of Marathon.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::secret::Secret;
use crate::values::{Duration, join_dir};

block! {
    /// Tasks of Marathon.
    pub struct MarathonSdConfig: "marathon.plain" {
        /// URLs of servers, any of which will do.
        servers: Vec<String> => omit "servers",
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
        /// The token.
        auth_token: Secret => omit "auth_token",
        /// A file with the token, read at each use.
        auth_token_file: String => omit "auth_token_file",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
    }
}

impl Default for MarathonSdConfig {
    fn default() -> MarathonSdConfig {
        MarathonSdConfig {
            refresh_interval: model::time::PromDuration(30000),
            http_client: HttpClientConfig::default(),
            ..MarathonSdConfig::zeroed()
        }
    }
}

impl Block for MarathonSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.servers.is_empty() {
            walk.invalid_field("servers", "marathon_sd: must contain at least one Marathon server");
        }
        if let Some(fault) = self.token_fault() {
            walk.invalid_field("auth_token", fault);
        }
        self.http_client.check(walk);
    }
}

impl Located for MarathonSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
        join_dir(dir, &mut self.auth_token_file);
    }
}

impl MarathonSdConfig {
    fn token_fault(&self) -> Option<&'static str> {
        let (token, file) = (!self.auth_token.is_empty(), !self.auth_token_file.is_empty());
        let client = &self.http_client;
        if token && file {
            return Some("marathon_sd: at most one of auth_token & auth_token_file must be configured");
        }
        if !token && !file {
            return None;
        }
        if client.basic_auth.is_some() {
            let fault =
                "marathon_sd: at most one of basic_auth, auth_token & auth_token_file must be configured";
            return Some(fault);
        }
        if !client.bearer_token.is_empty() || !client.bearer_token_file.is_empty() {
            return Some(
                "marathon_sd: at most one of bearer_token, bearer_token_file, auth_token & auth_token_file \
                 must be configured",
            );
        }
        client.authorization.is_some().then_some(
            "marathon_sd: at most one of auth_token, auth_token_file & authorization must be configured",
        )
    }
}
