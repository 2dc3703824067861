//! Records of DNS.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::values::Duration;

block! {
    /// Records of DNS.
    pub struct DnsSdConfig: "dns.plain" {
        /// The names asked for.
        names: Vec<String> => always "names",
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
        /// `SRV`, `A`, `AAAA`, `MX` or `NS`, in any case.
        record_type: String => always "type",
        /// The port of targets; needed for all but `SRV`.
        port: i64 => always "port",
    }
}

impl Default for DnsSdConfig {
    fn default() -> DnsSdConfig {
        DnsSdConfig {
            refresh_interval: model::time::PromDuration(30000),
            record_type: "SRV".to_owned(),
            ..DnsSdConfig::zeroed()
        }
    }
}

impl Block for DnsSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.names.is_empty() {
            walk.invalid_field("names", "DNS-SD config must contain at least one SRV record name");
        }
        match self.record_type.to_uppercase().as_str() {
            "SRV" => {}
            "A" | "AAAA" | "MX" | "NS" => {
                if self.port == 0 {
                    let message = "a port is required in DNS-SD configs for all record types except SRV";
                    walk.invalid_field("port", message);
                }
            }
            _ => walk.invalid_field("type", format!("invalid DNS-SD records type {}", self.record_type)),
        }
    }
}

impl Located for DnsSdConfig {
    fn set_directory(&mut self, _dir: &Path) {}
}
