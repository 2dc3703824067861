//! Instances of Oracle Cloud.

use std::path::Path;

use crate::block::{Block, Fields, block, choice};
use crate::decode::{Chosen, Walk};
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::secret::Secret;
use crate::values::{Duration, join_dir, quoted};

choice! {
    /// How requests are signed.
    pub enum OciAuth: |text| unknown_auth(text) => {
        /// With a user's key.
        ApiKey = "api_key",
        /// With the instance's own identity.
        InstancePrincipal = "instance_principal",
    }
}

fn unknown_auth(text: &str) -> String {
    format!("oci_sd: unknown auth method {}, expected \"api_key\" or \"instance_principal\"", quoted(text))
}

block! {
    /// Instances of Oracle Cloud.
    pub struct OciSdConfig: "oci.plain" {
        /// How requests are signed.
        auth: Chosen<OciAuth> => omit "auth",
        /// The tenancy.
        tenancy: String => omit "tenancy",
        /// The user.
        user: String => omit "user",
        /// The key's fingerprint.
        fingerprint: String => omit "fingerprint",
        /// The key's file.
        key_file: String => omit "key_file",
        /// The key's passphrase.
        key_passphrase: Secret => omit "key_passphrase",
        /// A file with the passphrase.
        key_passphrase_file: String => omit "key_passphrase_file",
        /// The region.
        region: String => always "region",
        /// The compartments; the whole tenancy where empty.
        compartments: Vec<String> => omit "compartments",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// The port of targets.
        port: i64 => always "port",
        /// Time between two look-ups.
        refresh_interval: Duration => always "refresh_interval",
    }
}

impl Default for OciSdConfig {
    fn default() -> OciSdConfig {
        OciSdConfig {
            port: 80,
            refresh_interval: model::time::PromDuration(60000),
            auth: Chosen::some(OciAuth::ApiKey),
            http_client: HttpClientConfig::default(),
            ..OciSdConfig::zeroed()
        }
    }
}

impl Block for OciSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if let Err(fault) = self.checked() {
            walk.invalid(fault);
        }
        self.http_client.check(walk);
    }
}

impl Located for OciSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
        join_dir(dir, &mut self.key_file);
        join_dir(dir, &mut self.key_passphrase_file);
    }
}

impl OciSdConfig {
    fn checked(&self) -> Result<(), String> {
        if self.region.is_empty() {
            return Err("oci_sd: region is required".to_owned());
        }
        let fields = [
            ("tenancy", !self.tenancy.is_empty()),
            ("user", !self.user.is_empty()),
            ("fingerprint", !self.fingerprint.is_empty()),
            ("key_file", !self.key_file.is_empty()),
        ];
        let (passphrase, passphrase_file) =
            (!self.key_passphrase.is_empty(), !self.key_passphrase_file.is_empty());
        match self.auth.0 {
            Some(OciAuth::ApiKey) => {
                if let Some((name, _)) = fields.iter().find(|(_, given)| !given) {
                    return Err(format!("oci_sd: api_key auth requires {name}"));
                }
                if passphrase && passphrase_file {
                    return Err(
                        "oci_sd: at most one of key_passphrase and key_passphrase_file must be configured"
                            .to_owned(),
                    );
                }
            }
            Some(OciAuth::InstancePrincipal) => {
                if fields.iter().any(|(_, given)| *given) || passphrase || passphrase_file {
                    return Err("oci_sd: instance_principal auth must not have tenancy, user, fingerprint, \
                         key_file, key_passphrase, or key_passphrase_file set"
                        .to_owned());
                }
            }
            None => return Err(unknown_auth("")),
        }
        if let Some(index) = self.compartments.iter().position(String::is_empty) {
            return Err(format!("oci_sd: compartments[{index}] must not be empty"));
        }
        if self.refresh_interval.0 <= 0 {
            return Err(format!("oci_sd: refresh_interval must be positive, got {}", self.refresh_interval));
        }
        Ok(())
    }
}
