//! `tls_config`: how a client proves itself and what it believes.
//! Source: prometheus/common `config/http_config.go`, `TLSConfig`.

use std::path::Path;

use crate::block::{Block, block, zero_default};
use crate::decode::{Value, Walk};
use crate::secret::Secret;
use crate::tree::Node;
use crate::values::join_dir;
use crate::yaml::Yaml;

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.0
    Tls10,
    /// 1.1
    Tls11,
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

impl TlsVersion {
    const ALL: [(&'static str, TlsVersion); 4] = [
        ("TLS10", TlsVersion::Tls10),
        ("TLS11", TlsVersion::Tls11),
        ("TLS12", TlsVersion::Tls12),
        ("TLS13", TlsVersion::Tls13),
    ];

    /// The name in the file.
    pub fn name(self) -> &'static str {
        TlsVersion::ALL.iter().find(|(_, version)| *version == self).map_or("", |(name, _)| name)
    }
}

impl Value for TlsVersion {
    fn zero() -> TlsVersion {
        TlsVersion::Tls12
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<TlsVersion> {
        let text = String::decode(node, walk)?;
        let found = TlsVersion::ALL.iter().find(|(name, _)| *name == text).map(|(_, version)| *version);
        if found.is_none() {
            walk.invalid(format!("unknown TLS version: {text}"));
        }
        found
    }

    fn encode(&self) -> Yaml {
        Yaml::Str(self.name().to_owned())
    }

    fn is_zero(&self) -> bool {
        false
    }
}

block! {
    /// TLS of a client.
    pub struct TlsConfig: "config.plain" {
        /// Who is believed, PEM; the system's authorities unless given.
        ca: String => omit "ca",
        /// The client's certificate, PEM.
        cert: String => omit "cert",
        /// Its key, PEM.
        key: Secret => omit "key",
        /// A file with the authorities.
        ca_file: String => omit "ca_file",
        /// A file with the certificate.
        cert_file: String => omit "cert_file",
        /// A file with the key.
        key_file: String => omit "key_file",
        /// A name in a secret manager; no server has one.
        ca_ref: String => omit "ca_ref",
        /// As `ca_ref`.
        cert_ref: String => omit "cert_ref",
        /// As `ca_ref`.
        key_ref: String => omit "key_ref",
        /// The name that the server's certificate must bear.
        server_name: String => omit "server_name",
        /// Whether any certificate is believed.
        insecure_skip_verify: bool => always "insecure_skip_verify",
        /// The oldest version to speak.
        min_version: Option<TlsVersion> => omit "min_version",
        /// The newest version to speak.
        max_version: Option<TlsVersion> => omit "max_version",
    }
}

zero_default!(TlsConfig);

impl Block for TlsConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if let Some(fault) = self.fault() {
            walk.invalid(fault);
        }
    }
}

impl TlsConfig {
    /// Reads a document that holds this block alone.
    ///
    /// # Errors
    /// All faults found, the order of versions included.
    pub fn load(text: &str) -> Result<TlsConfig, crate::ConfigErrors> {
        let config: TlsConfig = crate::load::block_from_text(text)?;
        match config.version_fault() {
            Some(fault) => Err(crate::ConfigErrors::single(fault)),
            None => Ok(config),
        }
    }

    fn fault(&self) -> Option<&'static str> {
        let n_set = |set: [bool; 3]| set.into_iter().filter(|s| *s).count();
        let n_ca = n_set([!self.ca.is_empty(), !self.ca_file.is_empty(), !self.ca_ref.is_empty()]);
        let n_cert = n_set([!self.cert.is_empty(), !self.cert_file.is_empty(), !self.cert_ref.is_empty()]);
        let n_key = n_set([!self.key.is_empty(), !self.key_file.is_empty(), !self.key_ref.is_empty()]);
        match (n_ca, n_cert, n_key) {
            (2.., _, _) => Some("at most one of ca, ca_file & ca_ref must be configured"),
            (_, 2.., _) => Some("at most one of cert, cert_file & cert_ref must be configured"),
            (_, _, 2..) => Some("at most one of key and key_file must be configured"),
            (_, 1, 0) => Some(
                "exactly one of key or key_file must be configured when a client certificate is configured",
            ),
            (_, 0, 1) => {
                Some("exactly one of cert or cert_file must be configured when a client key is configured")
            }
            _ => None,
        }
    }

    /// What is wrong with the versions: found when a client is built, not when
    /// the file is read.
    pub fn version_fault(&self) -> Option<&'static str> {
        let (min, max) = (self.min_version?, self.max_version?);
        (max < min).then_some(
            "tls_config.max_version must be greater than or equal to tls_config.min_version if both are specified",
        )
    }

    /// Whether a client certificate is presented.
    pub fn has_client_cert(&self) -> bool {
        !self.cert.is_empty() || !self.cert_file.is_empty() || !self.cert_ref.is_empty()
    }

    /// Joins relative paths with the folder of the file they stand in.
    pub fn set_directory(&mut self, dir: &Path) {
        join_dir(dir, &mut self.ca_file);
        join_dir(dir, &mut self.cert_file);
        join_dir(dir, &mut self.key_file);
    }
}
