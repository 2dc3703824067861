//! The certificate and key of an application, in PEM or PKCS #12.
//! Source: Azure SDK for Go, `azidentity.ParseCertificates`; its library for
//! authentication, `confidential.NewCredFromCert`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Secret;
use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error as Pkcs12Error;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use rustls::{SignatureAlgorithm, crypto};

use crate::client::tls;
use crate::cloud::CloudError;

/// Most bytes of a file; chains are far shorter.
const FILE_BYTES_MAX: usize = 1 << 20;
const PEM_START: &[u8] = b"-----BEGIN ";
const ENCRYPTED_KEY: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// Where an application's certificate is.
#[derive(Clone, Debug)]
pub(super) struct CertificateFile {
    pub(super) path: PathBuf,
    /// The key's file, where it stands in another.
    pub(super) key_path: Option<PathBuf>,
    /// Of a file in PKCS #12.
    pub(super) password: Secret,
    /// Whether the whole chain is sent.
    pub(super) send_chain: bool,
}

/// What signs requests for tokens.
pub(super) struct Signer {
    /// Certificates, the one of the key first.
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) key: Arc<dyn SigningKey>,
}

impl Signer {
    /// The certificate of the key.
    pub(super) fn own(&self) -> &[u8] {
        self.chain.first().map(Vec::as_slice).unwrap_or_default()
    }
}

impl CertificateFile {
    /// Reads the files anew, since they are renewed.
    ///
    /// # Errors
    /// A file cannot be read; there is no certificate, no RSA key, or none
    /// that belong together; the password is wrong.
    pub(super) fn read(&self) -> Result<Signer, CloudError> {
        let told = |why: String| CloudError::Unusable(format!("{}: {why}", self.path.display()));
        let mut bytes = contents(&self.path)?;
        if let Some(path) = &self.key_path {
            bytes.push(b'\n');
            bytes.extend(contents(path)?);
        }
        let (chain, keys) = if self.password.is_empty() && holds(&bytes, PEM_START) {
            pem(&bytes)
        } else {
            self.pkcs12(&bytes)
        }
        .map_err(told)?;
        if chain.is_empty() {
            return Err(told("found no certificate".to_owned()));
        }
        let key = match &*keys {
            [key] => key,
            [] if holds(&bytes, ENCRYPTED_KEY) => {
                let why =
                    "the private key is encrypted, which PEM is read without (`openssl pkey` decrypts it)";
                return Err(told(why.to_owned()));
            }
            [] => return Err(told("found no private key".to_owned())),
            _ => return Err(told("certData contains multiple private keys".to_owned())),
        };
        let key = crypto::ring::sign::any_supported_type(key).ok();
        let key = key.filter(|key| key.algorithm() == SignatureAlgorithm::RSA);
        let key = key.ok_or_else(|| told("key must be an RSA key".to_owned()))?;
        let chain = own_first(chain, &*key);
        let chain = chain.ok_or_else(|| told("key doesn't match any certificate".to_owned()))?;
        Ok(Signer { chain, key })
    }

    fn pkcs12(&self, bytes: &[u8]) -> Result<Parts, String> {
        let archive = Pkcs12Archive::from_pkcs12(bytes, self.password.expose());
        let archive = archive.map_err(|error| match error {
            Pkcs12Error::MacError(_) => "pkcs12: decryption password incorrect".to_owned(),
            Pkcs12Error::DerError(_) if holds(bytes, PEM_START) => {
                "the file is in PEM, and a password is for PKCS #12 only".to_owned()
            }
            Pkcs12Error::DerError(_) => "the file is neither PEM nor PKCS #12".to_owned(),
            error => format!("pkcs12: {error}"),
        })?;
        let chain = archive.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect();
        let keys = archive.keys.iter().map(|bag| PrivateKeyDer::try_from(bag.key.as_der().to_vec()));
        let keys: Result<_, _> = keys.collect();
        Ok((chain, keys.map_err(str::to_owned)?))
    }
}

/// Certificates and keys.
type Parts = (Vec<Vec<u8>>, Vec<PrivateKeyDer<'static>>);

fn pem(bytes: &[u8]) -> Result<Parts, String> {
    let chain = tls::certificates(bytes)?;
    let keys: Result<_, _> = PrivateKeyDer::pem_slice_iter(bytes).collect();
    let keys = keys.map_err(|error: rustls::pki_types::pem::Error| error.to_string())?;
    Ok((chain.iter().map(|certificate| certificate.to_vec()).collect(), keys))
}

/// The chain with the key's certificate at its head; `None` where there is none.
fn own_first(mut chain: Vec<Vec<u8>>, key: &dyn SigningKey) -> Option<Vec<Vec<u8>>> {
    let public = key.public_key()?;
    // A certificate holds the public key as it is.
    let own = chain.iter().position(|certificate| holds(certificate, &public))?;
    chain[..=own].rotate_right(1);
    Some(chain)
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len().max(1)).any(|window| window == part)
}

fn contents(path: &Path) -> Result<Vec<u8>, CloudError> {
    let bytes = std::fs::read(path).map_err(|source| CloudError::Read { path: path.to_owned(), source })?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(CloudError::Unusable(format!("{}: more than {FILE_BYTES_MAX} bytes", path.display())));
    }
    Ok(bytes)
}
