//! Signatures of AWS, version 4.
//!
//! ```text
//! request ─▶ canonical text ─▶ hash ┐
//! secret ─▶ day ─▶ region ─▶ service ┴─▶ signature
//! ```
//!
//! Source: AWS General Reference, "Signature Version 4 signing process".

use sha2::{Digest, Sha256};

use super::credentials::Credentials;
use crate::mechanism::DiscoveryError;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What requests are signed with.
pub(crate) struct Signer<'a> {
    pub(crate) credentials: &'a Credentials,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    pub(crate) now_ms: i64,
}

impl Signer<'_> {
    /// The headers that a request needs besides those named, which are signed too.
    pub(crate) fn sign(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Vec<(&'static str, String)>, DiscoveryError> {
        let malformed = |what: String| DiscoveryError::Malformed(what);
        let uri: http::Uri = url.parse().map_err(|error| malformed(format!("{url}: {error}")))?;
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let time =
            jiff::Timestamp::from_millisecond(self.now_ms).map_err(|error| malformed(error.to_string()))?;
        let stamp = time.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = &stamp[..8];

        let mut out = vec![("x-amz-date", stamp.clone())];
        if !self.credentials.token.is_empty() {
            out.push(("x-amz-security-token", self.credentials.token.expose().to_owned()));
        }
        let mut signed: Vec<(String, &str)> =
            headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.trim())).collect();
        signed.push(("host".to_owned(), host));
        signed.extend(out.iter().map(|(name, value)| ((*name).to_owned(), value.as_str())));
        signed.sort();
        let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();

        let mut query: Vec<&str> =
            uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty()).collect();
        query.sort_unstable();
        let path = if uri.path().is_empty() { "/" } else { uri.path() };
        let canonical = format!(
            "{method}\n{path}\n{}\n{lines}\n{names}\n{}",
            query.join("&"),
            hex(&Sha256::digest(body))
        );

        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("{ALGORITHM}\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let secret = format!("AWS4{}", self.credentials.secret.expose());
        let key = [day, self.region, self.service, "aws4_request"]
            .iter()
            .fold(secret.into_bytes(), |key, part| hmac(&key, part.as_bytes()).to_vec());
        let signature = hex(&hmac(&key, text.as_bytes()));
        let id = &self.credentials.id;
        out.push((
            "authorization",
            format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"),
        ));
        Ok(out)
    }
}

/// HMAC with SHA-256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let mut inner = Sha256::new();
    inner.update(block.map(|byte| byte ^ 0x36));
    inner.update(message);
    let mut outer = Sha256::new();
    outer.update(block.map(|byte| byte ^ 0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Secret;

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        assert_eq!(
            hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn the_signature_is_that_of_awss_vanilla_case() {
        let credentials = Credentials {
            id: "AKIDEXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            ..Credentials::default()
        };
        // 2015-08-30 12:36:00 UTC.
        let signer = Signer {
            credentials: &credentials,
            region: "us-east-1",
            service: "service",
            now_ms: 1_440_938_160_000,
        };
        let headers = signer.sign("GET", "https://example.amazonaws.com/", &[], b"").unwrap();
        assert_eq!(headers[0].1, "20150830T123600Z");
        assert!(
            headers[1].1.ends_with(
                "SignedHeaders=host;x-amz-date, \
                 Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
            ),
            "{}",
            headers[1].1
        );
    }
}
