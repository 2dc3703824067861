//! Servers of Scaleway.

use std::path::Path;

use crate::block::{Block, Fields, block, choice};
use crate::decode::{Chosen, Walk};
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::secret::Secret;
use crate::values::{Duration, join_dir, quoted};

choice! {
    /// What is looked for.
    pub enum ScalewayRole: |text| format!("unknown role {}", quoted(text)) => {
        /// Virtual instances.
        Instance = "instance",
        /// Bare metal servers.
        Baremetal = "baremetal",
    }
}

block! {
    /// Servers of Scaleway.
    pub struct ScalewaySdConfig: "scaleway.plain" {
        /// The project.
        project_id: String => always "project_id",
        /// The API's URL.
        api_url: String => omit "api_url",
        /// The zone.
        zone: String => always "zone",
        /// The key's name.
        access_key: String => always "access_key",
        /// The key.
        secret_key: Secret => always "secret_key",
        /// A file with the key.
        secret_key_file: String => always "secret_key_file",
        /// A name that servers must have.
        name_filter: String => omit "name_filter",
        /// Tags that servers must have.
        tags_filter: Vec<String> => omit "tags_filter",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Time between two look-ups.
        refresh_interval: Duration => always "refresh_interval",
        /// The port of targets.
        port: i64 => always "port",
        /// What is looked for.
        role: Chosen<ScalewayRole> => always "role",
    }
}

impl Default for ScalewaySdConfig {
    fn default() -> ScalewaySdConfig {
        ScalewaySdConfig {
            port: 80,
            refresh_interval: model::time::PromDuration(60000),
            http_client: HttpClientConfig::default(),
            zone: "fr-par-1".to_owned(),
            api_url: "https://api.scaleway.com".to_owned(),
            ..ScalewaySdConfig::zeroed()
        }
    }
}

impl Block for ScalewaySdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.role.0.is_none() {
            walk.invalid_field("role", "role missing (one of: instance, baremetal)");
        }
        if self.project_id.is_empty() {
            walk.invalid_field("project_id", "project_id is mandatory");
        }
        match (self.secret_key.is_empty(), self.secret_key_file.is_empty()) {
            (true, true) => {
                walk.invalid("one of secret_key & secret_key_file must be configured");
            }
            (false, false) => {
                walk.invalid("at most one of secret_key & secret_key_file must be configured");
            }
            _ => {}
        }
        if self.access_key.is_empty() {
            walk.invalid_field("access_key", "access_key is mandatory");
        }
        self.check_formats(walk);
        self.http_client.check(walk);
    }
}

/// The zones that are named where one is none.
const ZONES: &str = "fr-par-1, fr-par-2, fr-par-3, nl-ams-1, nl-ams-2, nl-ams-3, pl-waw-1, pl-waw-2, pl-waw-3, \
                     it-mil-1";

impl ScalewaySdConfig {
    /// What the service's own client checks before it asks anything.
    fn check_formats(&self, walk: &mut Walk) {
        let key = &self.access_key;
        if !key.is_empty() && !is_access_key(key) {
            let expected = "expected SCWXXXXXXXXXXXXXXXXX format";
            walk.invalid_field(
                "access_key",
                format!("scaleway-sdk-go: invalid access key format '{key}', {expected}"),
            );
        }
        let uuid = "expected a UUID: xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
        if !self.secret_key.is_empty() && !is_uuid(self.secret_key.expose()) {
            // Upstream quotes the key here.
            walk.invalid_field("secret_key", format!("scaleway-sdk-go: invalid secret key format, {uuid}"));
        }
        let project = &self.project_id;
        if !project.is_empty() && !is_uuid(project) {
            walk.invalid_field(
                "project_id",
                format!("scaleway-sdk-go: invalid project ID format '{project}', {uuid}"),
            );
        }
        let zone = &self.zone;
        if !is_zone(zone) {
            let message = format!(
                "scaleway-sdk-go: invalid default zone format '{zone}', available zones are: {ZONES}"
            );
            walk.invalid_field("zone", message);
        }
    }
}

fn is_access_key(text: &str) -> bool {
    let rest = text.strip_prefix("SCW").unwrap_or_default();
    rest.len() == 17 && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lens: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lens == [8, 4, 4, 4, 12] && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// As `fr-par-1`.
fn is_zone(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [country, town, number] = parts.as_slice() else { return false };
    let lower = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase());
    country.len() == 2
        && lower(country)
        && (3..=7).contains(&town.len())
        && lower(town)
        && (1..=2).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_digit())
}

impl Located for ScalewaySdConfig {
    fn set_directory(&mut self, dir: &Path) {
        join_dir(dir, &mut self.secret_key_file);
        self.http_client.set_directory(dir);
    }
}
