//! Signed tokens (RFC 7519) by which a client asks for another token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;

/// How a token is signed, by the names of RFC 7518.
fn scheme(algorithm: &str) -> (SignatureScheme, &'static str) {
    match algorithm {
        "RS384" => (SignatureScheme::RSA_PKCS1_SHA384, "RS384"),
        "RS512" => (SignatureScheme::RSA_PKCS1_SHA512, "RS512"),
        "PS256" => (SignatureScheme::RSA_PSS_SHA256, "PS256"),
        _ => (SignatureScheme::RSA_PKCS1_SHA256, "RS256"),
    }
}

/// The claims as a signed token; `header` holds what its head says further.
///
/// # Errors
/// The key is no RSA key in PEM.
pub(crate) fn sign(
    claims: &serde_json::Value,
    key_pem: &str,
    key_id: &str,
    algorithm: &str,
    header: serde_json::Map<String, serde_json::Value>,
) -> Result<String, String> {
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| bad_key())?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| bad_key())?;
    sign_with(&*key, claims, key_id, algorithm, header)
}

fn bad_key() -> String {
    "oauth2: client certificate key is no RSA private key in PEM".to_owned()
}

/// As [`sign`], with a key that was read already.
///
/// # Errors
/// The key is no RSA key.
pub(crate) fn sign_with(
    key: &dyn SigningKey,
    claims: &serde_json::Value,
    key_id: &str,
    algorithm: &str,
    mut header: serde_json::Map<String, serde_json::Value>,
) -> Result<String, String> {
    let (scheme, name) = scheme(algorithm);
    let signer = key.choose_scheme(&[scheme]).ok_or_else(bad_key)?;
    header.insert("alg".to_owned(), name.into());
    header.insert("typ".to_owned(), "JWT".into());
    if !key_id.is_empty() {
        header.insert("kid".to_owned(), key_id.into());
    }
    let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(&header.into()), encode(claims));
    let signature = signer.sign(message.as_bytes()).map_err(|error| error.to_string())?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
