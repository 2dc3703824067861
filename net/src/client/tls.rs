//! TLS of a client: settings, files, and one shared rustls configuration for
//! each distinct block.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use config::{TlsConfig, TlsVersion};
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use sha2::{Digest, Sha256};

use crate::error::{BuildError, LegacyName, file_text};
use crate::server::san;

/// One part of a block: written in it, or in a file.
#[derive(Clone, Debug)]
enum Pem {
    Inline(config::Secret),
    File(PathBuf),
}

impl Pem {
    fn new(text: &str, file: &str) -> Option<Pem> {
        match (text.is_empty(), file.is_empty()) {
            (false, _) => Some(Pem::Inline(config::Secret::new(text))),
            (true, false) => Some(Pem::File(PathBuf::from(file))),
            (true, true) => None,
        }
    }

    fn place(&self) -> String {
        match self {
            Pem::Inline(_) => "inline".to_owned(),
            Pem::File(path) => format!("file {}", path.display()),
        }
    }

    fn read(&self, what: &'static str) -> Result<Vec<u8>, BuildError> {
        match self {
            Pem::Inline(text) => Ok(text.expose().as_bytes().to_vec()),
            Pem::File(path) => std::fs::read(path).map_err(|error| BuildError::Read {
                what,
                path: path.clone(),
                why: file_text(path, &error),
            }),
        }
    }
}

/// A block's settings, its files not yet read.
#[derive(Debug)]
pub(super) struct TlsSettings {
    ca: Option<Pem>,
    cert: Option<Pem>,
    key: Option<Pem>,
    server_name: Option<ServerName<'static>>,
    insecure: bool,
    versions: &'static [&'static SupportedProtocolVersion],
}

/// Which versions of HTTP a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// None by name: HTTP/1.1 is spoken.
    Nothing,
    Http1,
    Http2AndHttp1,
}

impl Offer {
    fn names(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Offer::Nothing => &[],
            Offer::Http1 => &[b"http/1.1"],
            Offer::Http2AndHttp1 => &[b"h2", b"http/1.1"],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// What files were when they were last read; any change of a file changes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileStamps(Vec<Option<(u64, u64, i64, i64)>>);

static TLS12_ONLY: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
static TLS13_ONLY: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
static TLS12_AND_13: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// The versions between two bounds that this program speaks. An older lower
/// bound means the oldest spoken; an older upper bound leaves nothing.
pub(crate) fn versions(
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
) -> Result<&'static [&'static SupportedProtocolVersion], BuildError> {
    let min = min.unwrap_or(TlsVersion::Tls12);
    match (min, max.unwrap_or(TlsVersion::Tls13)) {
        (_, TlsVersion::Tls10 | TlsVersion::Tls11) => Err(BuildError::Versions(
            "TLS 1.0 and TLS 1.1 are not supported: max_version must be TLS12 or TLS13",
        )),
        (TlsVersion::Tls13, TlsVersion::Tls12) => Err(BuildError::Versions(
            "tls_config.max_version must be greater than or equal to tls_config.min_version if both are specified",
        )),
        (_, TlsVersion::Tls12) => Ok(&TLS12_ONLY),
        (TlsVersion::Tls13, _) => Ok(&TLS13_ONLY),
        _ => Ok(&TLS12_AND_13),
    }
}

impl TlsSettings {
    pub(super) fn new(config: &TlsConfig) -> Result<TlsSettings, BuildError> {
        if let Some(fault) = config.version_fault() {
            return Err(BuildError::Versions(fault));
        }
        let references =
            [(&config.ca_ref, "CA cert"), (&config.cert_ref, "client cert"), (&config.key_ref, "client key")];
        if let Some((_, what)) = references.into_iter().find(|(reference, _)| !reference.is_empty()) {
            return Err(BuildError::SecretRef { what });
        }
        let server_name = match config.server_name.as_str() {
            "" => None,
            name => Some(
                ServerName::try_from(name.to_owned())
                    .map_err(|_| BuildError::Tls(format!("{name} is no valid server name")))?,
            ),
        };
        Ok(TlsSettings {
            ca: Pem::new(&config.ca, &config.ca_file),
            cert: Pem::new(&config.cert, &config.cert_file),
            key: Pem::new(config.key.expose(), &config.key_file),
            server_name,
            insecure: config.insecure_skip_verify,
            versions: versions(config.min_version, config.max_version)?,
        })
    }

    pub(super) fn server_name(&self) -> Option<ServerName<'static>> {
        self.server_name.clone()
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.ca, &self.cert, &self.key].into_iter().flatten().filter_map(|pem| match pem {
            Pem::File(path) => Some(path.as_path()),
            Pem::Inline(_) => None,
        })
    }

    pub(super) fn has_files(&self) -> bool {
        self.files().next().is_some()
    }

    pub(super) fn stamps(&self) -> FileStamps {
        let stamp = |path: &Path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
        };
        FileStamps(self.files().map(stamp).collect())
    }

    /// The rustls configuration of what the files hold now; equal ones are shared.
    pub(super) fn client_config(&self, offer: Offer) -> Result<Arc<ClientConfig>, BuildError> {
        let ca = self.ca.as_ref().map(|pem| pem.read("CA cert")).transpose()?;
        let cert = self.cert.as_ref().map(|pem| pem.read("specified client cert")).transpose()?;
        let key = self.key.as_ref().map(|pem| pem.read("specified client key")).transpose()?;
        let mut hash = Sha256::new();
        for part in [&ca, &cert, &key] {
            hash.update(part.as_ref().map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
            hash.update(part.as_deref().unwrap_or_default());
        }
        let first_version = u16::from(self.versions[0].version);
        hash.update([offer as u8, u8::from(self.insecure), self.versions.len() as u8]);
        hash.update(first_version.to_le_bytes());
        let id: [u8; 32] = hash.finalize().into();
        let mut shared = SHARED.lock();
        if let Some(config) = shared.get(&id).and_then(Weak::upgrade) {
            return Ok(config);
        }
        let config = Arc::new(self.build(ca, cert, key, offer)?);
        shared.retain(|_, config| config.strong_count() > 0);
        shared.insert(id, Arc::downgrade(&config));
        Ok(config)
    }

    fn build(
        &self,
        ca: Option<Vec<u8>>,
        cert: Option<Vec<u8>>,
        key: Option<Vec<u8>>,
        offer: Offer,
    ) -> Result<ClientConfig, BuildError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(self.versions)
            .map_err(|error| BuildError::Tls(error.to_string()))?;
        let verifier = self.verifier(ca)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match (cert, key) {
            (Some(cert), Some(key)) => {
                let failed = |why: String| BuildError::ClientCert {
                    cert: self.cert.as_ref().map(Pem::place).unwrap_or_default(),
                    key: self.key.as_ref().map(Pem::place).unwrap_or_default(),
                    why,
                };
                let (chain, key) = certificate_and_key(&cert, &key).map_err(failed)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| failed(error.to_string()))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = offer.names();
        Ok(config)
    }

    fn verifier(&self, ca: Option<Vec<u8>>) -> Result<Arc<dyn ServerCertVerifier>, BuildError> {
        let place = || self.ca.as_ref().map(Pem::place).unwrap_or_default();
        let authorities = match ca {
            Some(pem) => {
                let found = certificates(&pem).map_err(|_| BuildError::Ca { place: place() })?;
                if found.is_empty() {
                    return Err(BuildError::Ca { place: place() });
                }
                Some(found)
            }
            None => None,
        };
        if self.insecure {
            return Ok(Arc::new(AnyCertificate(provider())));
        }
        let (roots, pinned) = match authorities {
            None => (native_roots(), Vec::new()),
            Some(found) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(found.iter().cloned());
                if roots.is_empty() {
                    return Err(BuildError::Ca { place: place() });
                }
                (Arc::new(roots), found)
            }
        };
        if roots.is_empty() {
            // A machine without authorities: every handshake must fail, not the start.
            return Ok(Arc::new(NoCertificate(provider())));
        }
        let web = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(|error| BuildError::Tls(error.to_string()))?;
        Ok(Arc::new(Authorities { web, pinned, provider: provider() }))
    }
}

type SharedConfigs = Mutex<HashMap<[u8; 32], Weak<ClientConfig>>>;

static SHARED: std::sync::LazyLock<SharedConfigs> = std::sync::LazyLock::new(SharedConfigs::default);

/// The one provider of cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// The system's authorities, read once.
pub(crate) fn native_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    Arc::clone(ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "cannot read some of the system's certificate authorities");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        Arc::new(roots)
    }))
}

/// All certificates of a PEM text.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// A chain and its key.
pub(crate) fn certificate_and_key(
    cert: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = certificates(cert)?;
    if chain.is_empty() {
        return Err("tls: failed to find any PEM data in certificate input".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| "tls: failed to find any PEM data in key input".to_owned())?;
    Ok((chain, key))
}

/// Believes what the authorities vouch for, and a server that shows one of the
/// configured ones itself: people configure a self-signed certificate as its
/// own authority.
#[derive(Debug)]
struct Authorities {
    web: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Authorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.web.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        // Dates and the like are checked before what a certificate may be used
        // for: `Other` is left for an authority that stands for itself.
        let unusual = matches!(&verdict, Err(Error::InvalidCertificate(CertificateError::Other(_))));
        if unusual && self.pinned.iter().any(|own| own == end_entity) {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            verify_server_name(&parsed, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        if is_nameless(&verdict) && names_only_in_subject(end_entity, server_name) {
            let legacy = OtherError(Arc::new(LegacyName));
            return Err(Error::InvalidCertificate(CertificateError::Other(legacy)));
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a certificate was refused that has no names where names belong.
fn is_nameless(verdict: &Result<ServerCertVerified, Error>) -> bool {
    let Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })) = verdict
    else {
        return false;
    };
    presented.is_empty()
}

/// Whether a certificate names its host in its subject, as was usual once.
fn names_only_in_subject(end_entity: &CertificateDer<'_>, server_name: &ServerName<'_>) -> bool {
    let ServerName::DnsName(host) = server_name else { return false };
    let host = host.as_ref();
    let Some(name) = san::common_name(end_entity) else { return false };
    let host_tail = host.split_once('.').map_or("", |(_, tail)| tail);
    name.eq_ignore_ascii_case(host)
        || name
            .strip_prefix("*.")
            .is_some_and(|tail| !tail.is_empty() && tail.eq_ignore_ascii_case(host_tail))
}

/// `insecure_skip_verify`: believes any certificate, though its key must be held.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

/// Believes none.
#[derive(Debug)]
struct NoCertificate(Arc<CryptoProvider>);

macro_rules! verifier {
    ($name:ident, $verdict:expr) => {
        impl ServerCertVerifier for $name {
            fn verify_server_cert(
                &self,
                _end_entity: &CertificateDer<'_>,
                _intermediates: &[CertificateDer<'_>],
                _server_name: &ServerName<'_>,
                _ocsp_response: &[u8],
                _now: UnixTime,
            ) -> Result<ServerCertVerified, Error> {
                $verdict
            }

            fn verify_tls12_signature(
                &self,
                message: &[u8],
                cert: &CertificateDer<'_>,
                dss: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, Error> {
                verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
            }

            fn verify_tls13_signature(
                &self,
                message: &[u8],
                cert: &CertificateDer<'_>,
                dss: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, Error> {
                verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
            }

            fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
                self.0.signature_verification_algorithms.supported_schemes()
            }
        }
    };
}

verifier!(AnyCertificate, Ok(ServerCertVerified::assertion()));
verifier!(NoCertificate, Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)));
