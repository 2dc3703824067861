//! The HTTP client fields that scraping, Alertmanagers, remote storage and most
//! discovery mechanisms share. They stand inline in the blocks that use them,
//! which call [`HttpClientConfig::check`] when all fields are read.
//! Source: prometheus/common `config/http_config.go`, `config/headers.go`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::block::{Block, block, zero_default};
use crate::decode::{Value, Walk};
use crate::secret::Secret;
use crate::tls::TlsConfig;
use crate::tree::Node;
use crate::values::{Url, join_dir, quoted};
use crate::yaml::Yaml;

/// OAuth2's grant with a signed token.
pub const GRANT_TYPE_JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

block! {
    /// User name and password.
    pub struct BasicAuth: "config.plain" {
        /// The name.
        username: String => omit "username",
        /// A file with the name, read at each use.
        username_file: String => omit "username_file",
        /// A name in a secret manager; no server has one.
        username_ref: String => omit "username_ref",
        /// The password.
        password: Secret => omit "password",
        /// A file with the password, read at each use.
        password_file: String => omit "password_file",
        /// As `username_ref`.
        password_ref: String => omit "password_ref",
    }
}

block! {
    /// Any other `Authorization` header.
    pub struct Authorization: "config.plain" {
        /// Its scheme, `Bearer` unless given.
        scheme: String => omit "type",
        /// What follows the scheme.
        credentials: Secret => omit "credentials",
        /// A file with the credentials, read at each use.
        credentials_file: String => omit "credentials_file",
        /// A name in a secret manager; no server has one.
        credentials_ref: String => omit "credentials_ref",
    }
}

block! {
    /// A token fetched from an OAuth2 server.
    pub struct OAuth2: "config.plain" {
        /// The client's name.
        client_id: String => omit "client_id",
        /// Its secret.
        client_secret: Secret => omit "client_secret",
        /// A file with the secret, read at each use.
        client_secret_file: String => omit "client_secret_file",
        /// A name in a secret manager; no server has one.
        client_secret_ref: String => omit "client_secret_ref",
        /// Which key signed the token.
        client_certificate_key_id: String => omit "client_certificate_key_id",
        /// The key that signs the token, PEM.
        client_certificate_key: Secret => omit "client_certificate_key",
        /// A file with the key.
        client_certificate_key_file: String => omit "client_certificate_key_file",
        /// As `client_secret_ref`.
        client_certificate_key_ref: String => omit "client_certificate_key_ref",
        /// `client_credentials` unless given, or [`GRANT_TYPE_JWT_BEARER`].
        grant_type: String => omit "grant_type",
        /// `RS256` unless given, `RS384`, `RS512`.
        signature_algorithm: String => omit "signature_algorithm",
        /// Who signs; the client's name unless given.
        iss: String => omit "iss",
        /// For whom; the token's URL unless given.
        audience: String => omit "audience",
        /// Further claims of the signed token.
        claims: BTreeMap<String, Claim> => omit "claims",
        /// The rights asked for.
        scopes: Vec<String> => omit "scopes",
        /// Where tokens are fetched.
        token_url: String => omit "token_url",
        /// Further parameters of the token request.
        endpoint_params: BTreeMap<String, String> => omit "endpoint_params",
        /// TLS of the token request.
        tls_config: TlsConfig => omit "tls_config",
        /// The proxy of the token request.
        proxy: ProxyConfig => inline,
    }
}

block! {
    /// How requests reach their host.
    pub struct ProxyConfig: "config.plain" {
        /// The proxy; none unless given.
        proxy_url: Option<Url> => omit "proxy_url",
        /// Hosts that are reached directly, comma-separated.
        no_proxy: String => omit "no_proxy",
        /// Whether the process's environment names the proxy.
        proxy_from_environment: bool => omit "proxy_from_environment",
        /// Headers for the proxy itself.
        proxy_connect_header: BTreeMap<String, Vec<Secret>> => omit "proxy_connect_header",
    }
}

block! {
    /// Values of one header.
    pub struct Header: "config.Header" {
        /// Values that may be printed.
        values: Vec<String> => omit "values",
        /// Values that may not.
        secrets: Vec<Secret> => omit "secrets",
        /// Files with values, read at each use.
        files: Vec<String> => omit "files",
    }
}

block! {
    /// Everything about how requests are made.
    pub struct HttpClientConfig: "config.plain" {
        /// User name and password.
        basic_auth: Option<BasicAuth> => omit "basic_auth",
        /// Any other `Authorization` header; set from `bearer_token` too.
        authorization: Option<Authorization> => omit "authorization",
        /// A token fetched from an OAuth2 server.
        oauth2: Option<OAuth2> => omit "oauth2",
        /// The older form of `authorization`; empty once checked.
        bearer_token: Secret => omit "bearer_token",
        /// The older form of `authorization`; empty once checked.
        bearer_token_file: String => omit "bearer_token_file",
        /// TLS.
        tls_config: TlsConfig => omit "tls_config",
        /// Whether redirects are followed.
        follow_redirects: bool => always "follow_redirects",
        /// Whether HTTP/2 is offered.
        enable_http2: bool => always "enable_http2",
        /// The proxy.
        proxy: ProxyConfig => inline,
        /// Further headers.
        http_headers: Option<BTreeMap<String, Header>> => omit "http_headers",
    }
}

zero_default!(BasicAuth, Authorization, OAuth2, ProxyConfig, Header);

impl Block for BasicAuth {}
impl Block for Authorization {}
impl Block for Header {}

impl Default for HttpClientConfig {
    fn default() -> HttpClientConfig {
        HttpClientConfig { follow_redirects: true, enable_http2: true, ..crate::block::Fields::zeroed() }
    }
}

impl Block for HttpClientConfig {
    fn finish(&mut self, walk: &mut Walk) {
        self.check(walk);
    }
}

impl Block for OAuth2 {
    fn finish(&mut self, walk: &mut Walk) {
        self.proxy.check(walk);
    }
}

/// A claim of a signed token: any value.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim(pub Yaml);

impl Value for Claim {
    fn zero() -> Claim {
        Claim(Yaml::Null)
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<Claim> {
        Yaml::from_node(node, walk).map(Claim)
    }

    fn encode(&self) -> Yaml {
        self.0.clone()
    }

    fn is_zero(&self) -> bool {
        self.0 == Yaml::Null
    }
}

/// Headers that a block may not set, as Go writes their names.
const RESERVED_HEADERS: [&str; 18] = [
    "Authorization",
    "Host",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "User-Agent",
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Www-Authenticate",
    "Accept-Encoding",
    "X-Prometheus-Remote-Write-Version",
    "X-Prometheus-Remote-Read-Version",
    "X-Prometheus-Scrape-Timeout-Seconds",
    "X-Amz-Date",
    "X-Amz-Security-Token",
    "X-Amz-Content-Sha256",
];

fn n_set<const N: usize>(set: [bool; N]) -> usize {
    set.iter().filter(|s| **s).count()
}

impl HttpClientConfig {
    /// Reads a document that holds these fields alone.
    ///
    /// # Errors
    /// All faults found.
    pub fn load(text: &str) -> Result<HttpClientConfig, crate::ConfigErrors> {
        crate::load::block_from_text(text)
    }

    /// Whether a user name, an authorization header or OAuth2 is set.
    pub fn has_auth(&self) -> bool {
        self.basic_auth.is_some() || self.authorization.is_some() || self.oauth2.is_some()
    }

    /// Checks the fields against each other and turns `bearer_token` into
    /// `authorization`.
    pub fn check(&mut self, walk: &mut Walk) {
        if let Err((field, message)) = self.checked() {
            walk.invalid_field(field, message);
            return;
        }
        self.proxy.check(walk);
        for name in self.http_headers.iter().flatten().map(|(name, _)| name) {
            let canonical = canonical_header(name);
            if RESERVED_HEADERS.contains(&canonical.as_str()) {
                walk.invalid_field(
                    "http_headers",
                    format!("setting header {} is not allowed", quoted(&canonical)),
                );
            }
        }
    }

    fn checked(&mut self) -> Result<(), (&'static str, &'static str)> {
        let bearer = !self.bearer_token.is_empty();
        let bearer_file = !self.bearer_token_file.is_empty();
        if bearer && bearer_file {
            return Err((
                "bearer_token",
                "at most one of bearer_token & bearer_token_file must be configured",
            ));
        }
        if (self.basic_auth.is_some() || self.oauth2.is_some()) && (bearer || bearer_file) {
            return Err((
                "bearer_token",
                "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
            ));
        }
        if let Some(basic) = &self.basic_auth {
            basic.checked().map_err(|message| ("basic_auth", message))?;
        }
        if let Some(authorization) = &mut self.authorization {
            if bearer || bearer_file {
                let message = "authorization is not compatible with bearer_token & bearer_token_file";
                return Err(("authorization", message));
            }
            authorization.checked().map_err(|message| ("authorization", message))?;
            if self.basic_auth.is_some() || self.oauth2.is_some() {
                let message = "at most one of basic_auth, oauth2 & authorization must be configured";
                return Err(("authorization", message));
            }
        } else if bearer || bearer_file {
            self.authorization = Some(Authorization {
                scheme: "Bearer".to_owned(),
                credentials: std::mem::take(&mut self.bearer_token),
                credentials_file: std::mem::take(&mut self.bearer_token_file),
                ..Authorization::default()
            });
        }
        if let Some(oauth2) = &self.oauth2 {
            if self.basic_auth.is_some() {
                let message = "at most one of basic_auth, oauth2 & authorization must be configured";
                return Err(("oauth2", message));
            }
            oauth2.checked().map_err(|message| ("oauth2", message))?;
        }
        Ok(())
    }

    /// Joins relative paths with the folder of the file they stand in.
    pub fn set_directory(&mut self, dir: &Path) {
        self.tls_config.set_directory(dir);
        join_dir(dir, &mut self.bearer_token_file);
        if let Some(basic) = &mut self.basic_auth {
            join_dir(dir, &mut basic.username_file);
            join_dir(dir, &mut basic.password_file);
        }
        if let Some(authorization) = &mut self.authorization {
            join_dir(dir, &mut authorization.credentials_file);
        }
        if let Some(oauth2) = &mut self.oauth2 {
            join_dir(dir, &mut oauth2.client_secret_file);
            oauth2.tls_config.set_directory(dir);
        }
        let headers = self.http_headers.iter_mut().flatten();
        headers.flat_map(|(_, header)| &mut header.files).for_each(|file| join_dir(dir, file));
    }
}

impl BasicAuth {
    fn checked(&self) -> Result<(), &'static str> {
        if n_set([!self.username.is_empty(), !self.username_file.is_empty(), !self.username_ref.is_empty()])
            > 1
        {
            return Err(
                "at most one of basic_auth username, username_file & username_ref must be configured",
            );
        }
        if n_set([!self.password.is_empty(), !self.password_file.is_empty(), !self.password_ref.is_empty()])
            > 1
        {
            return Err(
                "at most one of basic_auth password, password_file & password_ref must be configured",
            );
        }
        Ok(())
    }
}

impl Authorization {
    fn checked(&mut self) -> Result<(), &'static str> {
        let given = [
            !self.credentials.is_empty(),
            !self.credentials_file.is_empty(),
            !self.credentials_ref.is_empty(),
        ];
        if n_set(given) > 1 {
            return Err("at most one of authorization credentials & credentials_file must be configured");
        }
        self.scheme = self.scheme.trim().to_owned();
        if self.scheme.is_empty() {
            self.scheme = "Bearer".to_owned();
        }
        if self.scheme.eq_ignore_ascii_case("basic") {
            return Err("authorization type cannot be set to \"basic\", use \"basic_auth\" instead");
        }
        Ok(())
    }
}

impl OAuth2 {
    fn checked(&self) -> Result<(), &'static str> {
        if self.client_id.is_empty() {
            return Err("oauth2 client_id must be configured");
        }
        if self.token_url.is_empty() {
            return Err("oauth2 token_url must be configured");
        }
        if self.grant_type == GRANT_TYPE_JWT_BEARER {
            let keys = [
                !self.client_certificate_key.is_empty(),
                !self.client_certificate_key_file.is_empty(),
                !self.client_certificate_key_ref.is_empty(),
            ];
            if n_set(keys) > 1 {
                return Err("at most one of oauth2 client_certificate_key, client_certificate_key_file & \
                     client_certificate_key_ref must be configured using \
                     grant-type=urn:ietf:params:oauth:grant-type:jwt-bearer");
            }
            if !matches!(self.signature_algorithm.as_str(), "" | "RS256" | "RS384" | "RS512") {
                return Err("valid signature algorithms are RS256, RS384 and RS512");
            }
            return Ok(());
        }
        let secrets = [
            !self.client_secret.is_empty(),
            !self.client_secret_file.is_empty(),
            !self.client_secret_ref.is_empty(),
        ];
        if n_set(secrets) > 1 {
            return Err("at most one of oauth2 client_secret, client_secret_file & client_secret_ref \
                 must be configured using grant-type=client_credentials");
        }
        Ok(())
    }
}

impl ProxyConfig {
    fn has_url(&self) -> bool {
        self.proxy_url.as_ref().is_some_and(|url| !url.is_empty())
    }

    fn check(&self, walk: &mut Walk) {
        let fault = if !self.proxy_connect_header.is_empty()
            && !self.proxy_from_environment
            && !self.has_url()
        {
            "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured"
        } else if self.proxy_from_environment && self.has_url() {
            "if proxy_from_environment is configured, proxy_url must not be configured"
        } else if self.proxy_from_environment && !self.no_proxy.is_empty() {
            "if proxy_from_environment is configured, no_proxy must not be configured"
        } else if self.proxy_url.is_none() && !self.no_proxy.is_empty() {
            "if no_proxy is configured, proxy_url must also be configured"
        } else {
            return;
        };
        walk.invalid(fault);
    }
}

/// `x-my-header` as Go writes it: `X-My-Header`.
pub fn canonical_header(name: &str) -> String {
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)) {
        return name.to_owned();
    }
    let mut upper = true;
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        out.push(if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
        upper = c == '-';
    }
    out
}
