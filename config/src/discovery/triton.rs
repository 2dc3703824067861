//! Containers and compute nodes of Triton.

use std::path::Path;

use crate::block::{Block, Fields, block, choice};
use crate::decode::{Chosen, Walk};
use crate::discovery::Located;
use crate::tls::TlsConfig;
use crate::values::Duration;

const UNKNOWN_ROLE: &str = "triton SD configuration requires role to be 'container' or 'cn'";

choice! {
    /// What is looked for.
    pub enum TritonRole: |_text| UNKNOWN_ROLE.to_owned() => {
        /// Containers and virtual machines.
        Container = "container",
        /// Compute nodes.
        Cn = "cn",
    }
}

block! {
    /// Containers or compute nodes of Triton.
    pub struct TritonSdConfig: "triton.plain" {
        /// The account.
        account: String => always "account",
        /// What is looked for.
        role: Chosen<TritonRole> => always "role",
        /// What is put behind the names of targets.
        dns_suffix: String => always "dns_suffix",
        /// The host of the discovery service.
        endpoint: String => always "endpoint",
        /// The groups; all where empty.
        groups: Vec<String> => omit "groups",
        /// The port of discovery and of targets.
        port: i64 => always "port",
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
        /// TLS.
        tls_config: TlsConfig => omit "tls_config",
        /// The version of the API.
        version: i64 => always "version",
    }
}

impl Default for TritonSdConfig {
    fn default() -> TritonSdConfig {
        TritonSdConfig {
            role: Chosen::some(TritonRole::Container),
            port: 9163,
            refresh_interval: model::time::PromDuration(60000),
            version: 1,
            ..TritonSdConfig::zeroed()
        }
    }
}

impl Block for TritonSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.role.0.is_none() {
            walk.invalid_field("role", UNKNOWN_ROLE);
        }
        if self.account.is_empty() {
            walk.invalid_field("account", "triton SD configuration requires an account");
        }
        if self.dns_suffix.is_empty() {
            walk.invalid_field("dns_suffix", "triton SD configuration requires a dns_suffix");
        }
        if self.endpoint.is_empty() {
            walk.invalid_field("endpoint", "triton SD configuration requires an endpoint");
        }
        if self.refresh_interval.0 <= 0 {
            let message = "triton SD configuration requires RefreshInterval to be a positive integer";
            walk.invalid_field("refresh_interval", message);
        }
    }
}

impl Located for TritonSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.tls_config.set_directory(dir);
    }
}
