//! TLS of the server: what the web configuration file and its certificate files
//! say now, as one rustls configuration.

use std::path::PathBuf;
use std::sync::Arc;

use config::web::{CipherSuite, ClientAuth, Curve, TlsServerConfig};
use config::{TlsVersion, WebConfig};
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, NamedGroup, RootCertStore,
    ServerConfig, SignatureScheme,
};

use super::san;
use super::web_file::{Stamp, WebConfigError, WebConfigSource, stamp};
use crate::client::tls::{certificate_and_key, certificates, native_roots, provider, versions};
use crate::error::io_text;

/// TLS as the files say; each connection asks for it anew.
pub(super) struct ServerTls {
    source: WebConfigSource,
    /// Decided at the start.
    http2: bool,
    last: Mutex<Last>,
}

struct Last {
    web: Arc<WebConfig>,
    stamps: Vec<Stamp>,
    config: Arc<ServerConfig>,
}

impl ServerTls {
    /// `None` where the file does not ask for TLS.
    pub(super) fn new(
        source: &WebConfigSource,
        web: &Arc<WebConfig>,
    ) -> Result<Option<ServerTls>, WebConfigError> {
        if !web.tls_server_config.is_enabled() {
            return Ok(None);
        }
        let http2 = web.http_server_config.http2;
        let last = read(Arc::clone(web), http2).map_err(WebConfigError::Tls)?;
        Ok(Some(ServerTls { source: source.clone(), http2, last: Mutex::new(last) }))
    }

    /// The configuration for a connection that begins now.
    pub(super) fn current(&self) -> Result<Arc<ServerConfig>, String> {
        let web = self.source.load().map_err(|error| error.to_string())?;
        let mut last = self.last.lock();
        let unchanged = Arc::ptr_eq(&last.web, &web) && last.stamps == stamps(&web.tls_server_config);
        if !unchanged {
            *last = read(web, self.http2)?;
        }
        Ok(Arc::clone(&last.config))
    }
}

fn files(tls: &TlsServerConfig) -> [&String; 3] {
    [&tls.cert_file, &tls.key_file, &tls.client_ca_file]
}

fn stamps(tls: &TlsServerConfig) -> Vec<Stamp> {
    files(tls).into_iter().filter(|path| !path.is_empty()).map(|path| stamp(&PathBuf::from(path))).collect()
}

fn read(web: Arc<WebConfig>, http2: bool) -> Result<Last, String> {
    // Stamps first: a file that changes while it is read is read again.
    let stamps = stamps(&web.tls_server_config);
    let config = Arc::new(build(&web.tls_server_config, http2)?);
    Ok(Last { web, stamps, config })
}

fn part(text: &str, path: &str, what: &str) -> Result<Vec<u8>, String> {
    if path.is_empty() {
        return Ok(text.as_bytes().to_vec());
    }
    std::fs::read(path)
        .map_err(|error| format!("failed to read {what} ({path}): open {path}: {}", io_text(&error)))
}

fn build(tls: &TlsServerConfig, http2: bool) -> Result<ServerConfig, String> {
    let auth = tls.client_auth()?;
    let cert = part(&tls.cert, &tls.cert_file, "cert_file")?;
    let key = part(tls.key.expose(), &tls.key_file, "key_file")?;
    let (chain, key) =
        certificate_and_key(&cert, &key).map_err(|why| format!("failed to load X509KeyPair: {why}"))?;
    let version = |chosen: Option<config::web::ServerTlsVersion>| chosen.map(|version| version.0);
    let (min, max) = (version(tls.min_version.0), version(tls.max_version.0));
    if matches!(min, Some(TlsVersion::Tls10 | TlsVersion::Tls11)) {
        tracing::warn!("TLS 1.0 and TLS 1.1 are not supported: min_version is taken for TLS12");
    }
    let versions = versions(min, max).map_err(|_| {
        "tls_server_config: no supported versions satisfy min_version and max_version (TLS12 and TLS13 are \
         supported)"
            .to_owned()
    })?;
    let provider = narrowed_provider(tls)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| format!("tls_server_config: {error}"))?;
    let builder = match client_verifier(tls, auth)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            "failed to load X509KeyPair: tls: private key does not match public key".to_owned()
        }
        error => format!("failed to load X509KeyPair: tls: {error}"),
    })?;
    config.ignore_client_order = tls.prefer_server_cipher_suites;
    let http1 = b"http/1.1".to_vec();
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), http1] } else { vec![http1] };
    Ok(config)
}

/// The provider with the suites and curves that the file names. Those of Go
/// that are not spoken here are left out with a warning; none left is a fault.
fn narrowed_provider(tls: &TlsServerConfig) -> Result<Arc<CryptoProvider>, String> {
    let mut narrowed = (*provider()).clone();
    let suites: Vec<CipherSuite> = tls.cipher_suites.iter().filter_map(|suite| suite.0).collect();
    if !suites.is_empty() {
        warn_unknown(
            "cipher suites",
            suites.iter().filter(|suite| suite_id(**suite).is_none()).map(|s| s.as_str()),
        );
        let wanted: Vec<rustls::CipherSuite> = suites.into_iter().filter_map(suite_id).collect();
        // As in Go, the list does not concern TLS 1.3.
        narrowed.cipher_suites.retain(|suite| suite.tls13().is_some() || wanted.contains(&suite.suite()));
    }
    let curves: Vec<Curve> = tls.curve_preferences.iter().filter_map(|curve| curve.0).collect();
    if !curves.is_empty() {
        warn_unknown("curves", curves.iter().filter(|curve| **curve == Curve::P521).map(|c| c.as_str()));
        let groups = provider();
        let found = |curve: &Curve| {
            let name = match curve {
                Curve::P256 => NamedGroup::secp256r1,
                Curve::P384 => NamedGroup::secp384r1,
                Curve::P521 => NamedGroup::secp521r1,
                Curve::X25519 => NamedGroup::X25519,
            };
            groups.kx_groups.iter().find(|group| group.name() == name).copied()
        };
        narrowed.kx_groups = curves.iter().filter_map(found).collect();
        if narrowed.kx_groups.is_empty() {
            return Err("none of the configured curve_preferences is supported".to_owned());
        }
    }
    let max = tls.max_version.0.map(|version| version.0);
    let tls12_only = max == Some(TlsVersion::Tls12);
    if tls12_only && narrowed.cipher_suites.iter().all(|suite| suite.tls13().is_some()) {
        return Err("none of the configured cipher_suites is supported".to_owned());
    }
    Ok(Arc::new(narrowed))
}

fn warn_unknown<'a>(what: &str, names: impl Iterator<Item = &'a str>) {
    let names: Vec<&str> = names.collect();
    if !names.is_empty() {
        tracing::warn!(names = names.join(","), "some configured {what} are not supported and left out");
    }
}

fn suite_id(suite: CipherSuite) -> Option<rustls::CipherSuite> {
    use rustls::CipherSuite as Id;
    Some(match suite {
        CipherSuite::Tls13Aes128Gcm => Id::TLS13_AES_128_GCM_SHA256,
        CipherSuite::Tls13Aes256Gcm => Id::TLS13_AES_256_GCM_SHA384,
        CipherSuite::Tls13Chacha20 => Id::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdsaAes128Gcm => Id::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaAes256Gcm => Id::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaAes128Gcm => Id::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::RsaAes256Gcm => Id::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaChacha20 => Id::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdsaChacha20 => Id::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdsaAes128Cbc
        | CipherSuite::EcdsaAes256Cbc
        | CipherSuite::RsaAes128Cbc
        | CipherSuite::RsaAes256Cbc => return None,
    })
}

fn client_verifier(
    tls: &TlsServerConfig,
    auth: ClientAuth,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let any = |mandatory| -> Arc<dyn ClientCertVerifier> {
        Arc::new(AnyClient { mandatory, provider: provider() })
    };
    let inner = match auth {
        ClientAuth::None => return Ok(None),
        ClientAuth::Request => any(false),
        ClientAuth::RequireAny => any(true),
        ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {
            let (roots, pinned) = client_roots(tls)?;
            let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let builder = match auth {
                ClientAuth::VerifyIfGiven => builder.allow_unauthenticated(),
                _ => builder,
            };
            let inner = builder.build().map_err(|error| format!("tls_server_config: client CA: {error}"))?;
            Arc::new(NamedClient { inner, accepts: Accepts::Pinned(pinned) })
        }
    };
    Ok(Some(match &tls.client_allowed_sans {
        Some(allowed) => Arc::new(NamedClient { inner, accepts: Accepts::Named(allowed.clone()) }),
        None => inner,
    }))
}

/// The authorities for clients, and those of them that the file names.
fn client_roots(tls: &TlsServerConfig) -> Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>), String> {
    let pem = if !tls.client_ca_file.is_empty() {
        let path = &tls.client_ca_file;
        std::fs::read(path).map_err(|error| format!("open {path}: {}", io_text(&error)))?
    } else if !tls.client_ca.is_empty() {
        tls.client_ca.as_bytes().to_vec()
    } else {
        return Ok((native_roots(), Vec::new()));
    };
    let named = certificates(&pem).unwrap_or_default();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(named.iter().cloned());
    Ok((Arc::new(roots), named))
}

/// Takes any certificate whose key the client holds.
#[derive(Debug)]
struct AnyClient {
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// As the one inside, with more to say on a certificate.
#[derive(Debug)]
struct NamedClient {
    inner: Arc<dyn ClientCertVerifier>,
    accepts: Accepts,
}

/// What is said beyond the verdict inside.
#[derive(Debug)]
enum Accepts {
    /// The certificate must bear one of the names.
    Named(Vec<String>),
    /// One of the authorities itself is good too: people sign a client's
    /// certificate by itself and name it as its authority.
    Pinned(Vec<CertificateDer<'static>>),
}

impl ClientCertVerifier for NamedClient {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verdict = self.inner.verify_client_cert(end_entity, intermediates, now);
        match &self.accepts {
            Accepts::Named(allowed) => {
                let verified = verdict?;
                let names =
                    san::names(end_entity).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
                if names.iter().any(|name| allowed.contains(name)) {
                    return Ok(verified);
                }
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            // Dates are checked before what a certificate may be used for:
            // `Other` is left for an authority that stands for itself.
            Accepts::Pinned(pinned) => match &verdict {
                Err(Error::InvalidCertificate(CertificateError::Other(_)))
                    if pinned.iter().any(|own| own == end_entity) =>
                {
                    Ok(ClientCertVerified::assertion())
                }
                _ => verdict,
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
