//! Systems of Uyuni.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::secret::Secret;
use crate::values::{Duration, split_url};

block! {
    /// Systems of Uyuni.
    pub struct UyuniSdConfig: "uyuni.plain" {
        /// Uyuni's URL.
        server: String => always "server",
        /// The user's name.
        username: String => always "username",
        /// The user's password.
        password: Secret => always "password",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// What systems must be entitled to.
        entitlement: String => omit "entitlement",
        /// What is put between groups.
        separator: String => omit "separator",
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
    }
}

impl Default for UyuniSdConfig {
    fn default() -> UyuniSdConfig {
        UyuniSdConfig {
            entitlement: "monitoring_entitled".to_owned(),
            separator: ",".to_owned(),
            refresh_interval: model::time::PromDuration(60000),
            http_client: HttpClientConfig::default(),
            ..UyuniSdConfig::zeroed()
        }
    }
}

impl Block for UyuniSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        match split_url(&self.server) {
            _ if self.server.is_empty() => {
                walk.invalid_field("server", "Uyuni SD configuration requires server host");
            }
            Ok(_) => {}
            Err(error) => walk.invalid_field("server", format!("Uyuni Server URL is not valid: {error}")),
        }
        if self.username.is_empty() {
            walk.invalid_field("username", "Uyuni SD configuration requires a username");
        }
        if self.password.is_empty() {
            walk.invalid_field("password", "Uyuni SD configuration requires a password");
        }
        self.http_client.check(walk);
    }
}

impl Located for UyuniSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
