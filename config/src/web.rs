//! The web configuration file: TLS, headers, users and limits of the server.
//! Source: prometheus/exporter-toolkit `web/tls_config.go`, `web/handler.go`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration as StdDuration;

use crate::block::{Block, Fields, block, choice, zero_default};
use crate::decode::{Choice, Chosen, Value, Walk};
use crate::secret::Secret;
use crate::tls::TlsVersion;
use crate::tree::Node;
use crate::values::{join_dir, quoted};
use crate::yaml::Yaml;

block! {
    /// The web configuration file.
    #[derive(Default)]
    pub struct WebConfig: "web.Config" {
        /// TLS.
        tls_server_config: TlsServerConfig => always "tls_server_config",
        /// HTTP.
        http_server_config: HttpServerConfig => always "http_server_config",
        /// Requests per time.
        rate_limit: RateLimitConfig => always "rate_limit",
        /// Users and the bcrypt hashes of their passwords; none: no password is asked for.
        basic_auth_users: BTreeMap<String, Secret> => always "basic_auth_users",
    }
}

block! {
    /// TLS of the server.
    pub struct TlsServerConfig: "web.TLSConfig" {
        /// The certificate chain, PEM.
        cert: String => always "cert",
        /// Its key, PEM.
        key: Secret => always "key",
        /// Who vouches for clients, PEM.
        client_ca: String => always "client_ca",
        /// A file with the certificate chain.
        cert_file: String => always "cert_file",
        /// A file with the key.
        key_file: String => always "key_file",
        /// What is asked of clients; [`TlsServerConfig::client_auth`] reads it.
        client_auth_type: String => always "client_auth_type",
        /// A file with who vouches for clients.
        client_ca_file: String => always "client_ca_file",
        /// The suites of TLS 1.2, by Go's names; all where empty.
        cipher_suites: Vec<Chosen<CipherSuite>> => always "cipher_suites",
        /// The curves, best first; all where empty.
        curve_preferences: Vec<Chosen<Curve>> => always "curve_preferences",
        /// The oldest version to speak.
        min_version: Chosen<ServerTlsVersion> => always "min_version",
        /// The newest version to speak.
        max_version: Chosen<ServerTlsVersion> => always "max_version",
        /// Whether the server's order of suites counts.
        prefer_server_cipher_suites: bool => always "prefer_server_cipher_suites",
        /// Names of which a client's certificate must bear one; any where absent.
        client_allowed_sans: Option<Vec<String>> => always "client_allowed_sans",
    }
}

block! {
    /// HTTP of the server.
    pub struct HttpServerConfig: "web.HTTPConfig" {
        /// Whether HTTP/2 is offered, with TLS.
        http2: bool => always "http2",
        /// Headers of all answers.
        headers: BTreeMap<String, String> => omit "headers",
    }
}

block! {
    /// A token bucket for the whole server.
    pub struct RateLimitConfig: "web.RateLimiterConfig" {
        /// How many requests may come at once.
        burst: i64 => always "burst",
        /// The time after which one more may come; no limit at zero.
        interval: GoDuration => always "interval",
    }
}

zero_default!(RateLimitConfig);

impl Default for TlsServerConfig {
    fn default() -> TlsServerConfig {
        TlsServerConfig {
            min_version: Chosen::some(ServerTlsVersion(TlsVersion::Tls12)),
            max_version: Chosen::some(ServerTlsVersion(TlsVersion::Tls13)),
            prefer_server_cipher_suites: true,
            ..TlsServerConfig::zeroed()
        }
    }
}

impl Default for HttpServerConfig {
    fn default() -> HttpServerConfig {
        HttpServerConfig { http2: true, headers: BTreeMap::new() }
    }
}

impl Block for WebConfig {}
impl Block for TlsServerConfig {}
impl Block for RateLimitConfig {}

impl Block for HttpServerConfig {
    fn finish(&mut self, walk: &mut Walk) {
        for (name, value) in &self.headers {
            if let Some(fault) = header_fault(name, value) {
                walk.invalid_at(["headers".into(), name.as_str().into()], fault);
            }
        }
    }
}

fn header_fault(name: &str, value: &str) -> Option<String> {
    let allowed: &[&str] = match name {
        "Strict-Transport-Security" | "X-XSS-Protection" | "Content-Security-Policy" => &[],
        "X-Content-Type-Options" => &["nosniff"],
        "X-Frame-Options" => &["deny", "sameorigin"],
        _ => return Some(format!("HTTP header {} can not be configured", quoted(name))),
    };
    if allowed.is_empty() || allowed.contains(&value) {
        return None;
    }
    let shown: Vec<String> = allowed.iter().map(|value| quoted(value)).collect();
    let shown = shown.join(" ");
    Some(format!("invalid value for {name}. Expected one of: [{shown}], but got: {}", quoted(value)))
}

impl WebConfig {
    /// Loads a text; relative paths in it are joined with `base_dir`.
    ///
    /// # Errors
    /// All faults found.
    pub fn load(text: &str, base_dir: &Path) -> Result<WebConfig, crate::ConfigErrors> {
        let mut config: WebConfig = crate::load::block_from_text(text)?;
        let tls = &mut config.tls_server_config;
        [&mut tls.cert_file, &mut tls.key_file, &mut tls.client_ca_file]
            .into_iter()
            .for_each(|path| join_dir(base_dir, path));
        Ok(config)
    }
}

/// What is asked of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nothing.
    None,
    /// A certificate, any or none.
    Request,
    /// A certificate, any.
    RequireAny,
    /// A certificate that is vouched for, or none.
    VerifyIfGiven,
    /// A certificate that is vouched for.
    RequireAndVerify,
}

impl TlsServerConfig {
    /// Whether TLS is spoken at all: any field of it is set.
    pub fn is_enabled(&self) -> bool {
        !self.cert_file.is_empty()
            || !self.cert.is_empty()
            || !self.key_file.is_empty()
            || !self.key.is_empty()
            || self.has_client_ca()
            || !self.client_auth_type.is_empty()
    }

    fn has_client_ca(&self) -> bool {
        !self.client_ca_file.is_empty() || !self.client_ca.is_empty()
    }

    /// What is missing for TLS to be spoken, in upstream's words.
    ///
    /// # Errors
    /// A half of the certificate, or the policy for clients, is missing or unknown.
    pub fn client_auth(&self) -> Result<ClientAuth, String> {
        if self.cert_file.is_empty() && self.cert.is_empty() {
            return Err("missing one of cert or cert_file".to_owned());
        }
        if self.key_file.is_empty() && self.key.is_empty() {
            return Err("missing one of key or key_file".to_owned());
        }
        let auth = match self.client_auth_type.as_str() {
            "" | "NoClientCert" => ClientAuth::None,
            "RequestClientCert" => ClientAuth::Request,
            "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::RequireAny,
            "VerifyClientCertIfGiven" => ClientAuth::VerifyIfGiven,
            "RequireAndVerifyClientCert" => ClientAuth::RequireAndVerify,
            other => return Err(format!("invalid ClientAuth: {other}")),
        };
        if self.has_client_ca() && auth == ClientAuth::None {
            return Err("client CA's have been configured without a Client Auth Policy".to_owned());
        }
        Ok(auth)
    }
}

/// A version in this file: unknown ones are named as upstream names them here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerTlsVersion(pub TlsVersion);

impl Choice for ServerTlsVersion {
    fn parse(text: &str) -> Result<ServerTlsVersion, String> {
        let known = [TlsVersion::Tls10, TlsVersion::Tls11, TlsVersion::Tls12, TlsVersion::Tls13];
        let found = known.into_iter().find(|version| version.name() == text);
        found.map(ServerTlsVersion).ok_or_else(|| format!("unknown TLS version: {text}"))
    }

    fn text(&self) -> &'static str {
        self.0.name()
    }
}

choice! {
    /// A curve for key exchange.
    pub enum Curve: |text| format!("unknown curve: {text}") => {
        /// P-256.
        P256 = "CurveP256",
        /// P-384.
        P384 = "CurveP384",
        /// P-521, which this program does not speak.
        P521 = "CurveP521",
        /// X25519.
        X25519 = "X25519",
    }
}

choice! {
    /// A suite that Go counts as secure, by its IANA name. Those with CBC are
    /// known but not spoken.
    pub enum CipherSuite: |text| format!("unknown cipher: {text}") => {
        /// TLS 1.3, AES-128-GCM.
        Tls13Aes128Gcm = "TLS_AES_128_GCM_SHA256",
        /// TLS 1.3, AES-256-GCM.
        Tls13Aes256Gcm = "TLS_AES_256_GCM_SHA384",
        /// TLS 1.3, ChaCha20.
        Tls13Chacha20 = "TLS_CHACHA20_POLY1305_SHA256",
        /// ECDSA, AES-128-CBC.
        EcdsaAes128Cbc = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        /// ECDSA, AES-256-CBC.
        EcdsaAes256Cbc = "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        /// RSA, AES-128-CBC.
        RsaAes128Cbc = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        /// RSA, AES-256-CBC.
        RsaAes256Cbc = "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        /// ECDSA, AES-128-GCM.
        EcdsaAes128Gcm = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        /// ECDSA, AES-256-GCM.
        EcdsaAes256Gcm = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        /// RSA, AES-128-GCM.
        RsaAes128Gcm = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        /// RSA, AES-256-GCM.
        RsaAes256Gcm = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        /// RSA, ChaCha20.
        RsaChacha20 = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        /// ECDSA, ChaCha20.
        EcdsaChacha20 = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    }
}

/// A duration as Go's `time.ParseDuration` reads it (`1.5h`, `300ms`), in
/// nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GoDuration(pub i64);

impl GoDuration {
    /// The duration, zero where it is negative.
    pub fn as_std(self) -> StdDuration {
        StdDuration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// Parses `1h30m`, `1.5s`, `-2us`.
    pub fn parse(text: &str) -> Option<GoDuration> {
        let (sign, mut rest) = match text.as_bytes().first()? {
            b'-' => (-1.0, &text[1..]),
            b'+' => (1.0, &text[1..]),
            _ => (1.0, text),
        };
        if rest == "0" {
            return Some(GoDuration(0));
        }
        if rest.is_empty() {
            return None;
        }
        let mut total = 0.0f64;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
            let number: f64 = rest[..digits].parse().ok()?;
            let tail = &rest[digits..];
            let letters = tail.bytes().take_while(|b| *b != b'.' && !b.is_ascii_digit()).count();
            let unit = match &tail[..letters] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
            total += number * unit;
            rest = &tail[letters..];
        }
        (total < 9.2e18).then_some(GoDuration((sign * total) as i64))
    }
}

impl Value for GoDuration {
    fn zero() -> GoDuration {
        GoDuration(0)
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<GoDuration> {
        let text = String::decode(node, walk)?;
        let parsed = GoDuration::parse(&text);
        if parsed.is_none() {
            walk.mistyped(node, "time.Duration");
        }
        parsed
    }

    fn encode(&self) -> Yaml {
        Yaml::Int(self.0.into())
    }

    fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        WebConfig::load(text, Path::new("")).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_asks_for_nothing() {
        let config = WebConfig::load("", Path::new("")).unwrap();
        assert!(!config.tls_server_config.is_enabled() && config.http_server_config.http2);
        assert_eq!(config, WebConfig::default());
    }

    #[test]
    fn faults_read_as_upstream_says_them() {
        assert!(fault("tls_confg: {}").contains("field tls_confg not found in type web.Config"));
        assert!(
            fault("http_server_config: {headers: {X-Own: a}}")
                .contains("HTTP header \"X-Own\" can not be configured")
        );
        assert!(fault("http_server_config: {headers: {X-Frame-Options: no}}").contains(
            "invalid value for X-Frame-Options. Expected one of: [\"deny\" \"sameorigin\"], but got: \"no\""
        ));
        assert!(fault("tls_server_config: {min_version: TLS111}").contains("unknown TLS version: TLS111"));
        assert!(fault("tls_server_config: {cipher_suites: [x]}").contains("unknown cipher: x"));
        assert!(fault("tls_server_config: {curve_preferences: [x]}").contains("unknown curve: x"));
    }

    #[test]
    fn both_halves_of_the_certificate_are_needed() {
        let auth = |text: &str| {
            let config = WebConfig::load(&format!("tls_server_config: {text}"), Path::new("/d")).unwrap();
            config.tls_server_config.client_auth()
        };
        assert_eq!(auth("{key_file: k}").unwrap_err(), "missing one of cert or cert_file");
        assert_eq!(auth("{cert_file: c}").unwrap_err(), "missing one of key or key_file");
        assert_eq!(
            auth("{cert: c, key: k, client_auth_type: Maybe}").unwrap_err(),
            "invalid ClientAuth: Maybe"
        );
        assert_eq!(
            auth("{cert: c, key: k, client_ca_file: a}").unwrap_err(),
            "client CA's have been configured without a Client Auth Policy"
        );
        assert_eq!(
            auth("{cert: c, key: k, client_auth_type: RequireClientCert}"),
            Ok(ClientAuth::RequireAny)
        );
    }

    #[test]
    fn go_durations_have_fractions() {
        assert_eq!(GoDuration::parse("1.5s"), Some(GoDuration(1_500_000_000)));
        assert_eq!(GoDuration::parse("1h1ms"), Some(GoDuration(3_600_001_000_000)));
        assert_eq!(GoDuration::parse("1d"), None);
    }
}
