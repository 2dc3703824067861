//! Signatures of AWS, version 4.
//!
//! ```text
//! request ─▶ canonical text ─▶ hash ┐
//! secret ─▶ day ─▶ region ─▶ service ┴─▶ signature
//! ```
//!
//! Source: AWS General Reference, "Signature Version 4 signing process"; which
//! headers count is aws-sdk-go-v2's choice, as upstream signs with it.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use sha2::{Digest, Sha256};

use super::Credentials;
use crate::cloud::CloudError;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Headers that are not signed: they change on the way.
const UNSIGNED: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::USER_AGENT,
    header::EXPECT,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("x-amzn-trace-id"),
    HeaderName::from_static("uber-trace-id"),
];

/// What requests are signed with.
pub struct Signer<'a> {
    /// Whose signature.
    pub credentials: &'a Credentials,
    /// Where the service runs.
    pub region: &'a str,
    /// The service's name in signatures.
    pub service: &'a str,
    /// Now, in milliseconds since 1970.
    pub now_ms: i64,
}

impl Signer<'_> {
    /// Adds date, token and signature to a request's headers; all that stand
    /// there are signed.
    ///
    /// # Errors
    /// The time or a credential cannot stand in a header.
    pub fn sign(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> Result<(), CloudError> {
        let time = jiff::Timestamp::from_millisecond(self.now_ms);
        let time = time.map_err(|error| CloudError::Malformed(error.to_string()))?;
        let stamp = time.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = &stamp[..8];
        headers.insert(DATE, value(&stamp, "X-Amz-Date")?);
        if self.credentials.token.is_empty() {
            headers.remove(TOKEN);
        } else {
            let mut token = value(self.credentials.token.expose(), "X-Amz-Security-Token")?;
            token.set_sensitive(true);
            headers.insert(TOKEN, token);
        }

        let (names, lines) = canonical_headers(uri, headers, body.len());
        let canonical = format!(
            "{method}\n{}\n{}\n{lines}\n{names}\n{}",
            canonical_path(uri),
            canonical_query(uri.query().unwrap_or("")),
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
        let text =
            format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        let mut authorization = value(&text, "Authorization")?;
        authorization.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, authorization);
        Ok(())
    }
}

fn value(text: &str, name: &str) -> Result<HeaderValue, CloudError> {
    // The text may be a secret: it is not told.
    HeaderValue::from_str(text)
        .map_err(|_| CloudError::Malformed(format!("invalid header field value for {name}")))
}

/// Names joined by `;`, and a line for each.
fn canonical_headers(uri: &Uri, headers: &HeaderMap, body_len: usize) -> (String, String) {
    let mut signed = vec![("host".to_owned(), vec![host(uri, headers)])];
    if body_len > 0 {
        signed.push(("content-length".to_owned(), vec![body_len.to_string()]));
    }
    for name in headers.keys() {
        if UNSIGNED.contains(name) || matches!(*name, header::HOST | header::CONTENT_LENGTH) {
            continue;
        }
        let texts = headers.get_all(name).iter();
        let texts = texts.map(|value| without_excess_spaces(&String::from_utf8_lossy(value.as_bytes())));
        signed.push((name.as_str().to_owned(), texts.collect()));
    }
    signed.sort();
    let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
    let lines = signed.iter().map(|(name, values)| format!("{name}:{}\n", values.join(",")));
    (names.join(";"), lines.collect())
}

/// As it goes over the wire: without the scheme's own port.
fn host(uri: &Uri, headers: &HeaderMap) -> String {
    if let Some(host) = headers.get(header::HOST).and_then(|value| value.to_str().ok()) {
        return host.to_owned();
    }
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    match (uri.host(), uri.port_u16()) {
        (Some(host), Some(port)) if port != usual => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    }
}

fn without_excess_spaces(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// The path, encoded once more than it is already.
fn canonical_path(uri: &Uri) -> String {
    let path = if uri.path().is_empty() { "/" } else { uri.path() };
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        push_encoded(&mut out, byte, b"/");
    }
    out
}

/// The pairs sorted, in the one encoding that signatures know.
fn canonical_query(query: &str) -> String {
    let encoded = |text: &str| {
        let mut out = String::with_capacity(text.len());
        text.bytes().for_each(|byte| push_encoded(&mut out, byte, b""));
        out
    };
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| (encoded(&name), encoded(&value)))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn push_encoded(out: &mut String, byte: u8, as_is: &[u8]) {
    if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || as_is.contains(&byte) {
        out.push(char::from(byte));
    } else {
        out.push_str(&format!("%{byte:02X}"));
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

    fn signed(url: &str, method: &Method, token: &str, given: &[(&str, &str)], body: &[u8]) -> HeaderMap {
        let credentials = Credentials {
            id: "AKIDEXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            token: Secret::new(token),
            ..Credentials::default()
        };
        // 2015-08-30 12:36:00 UTC.
        let signer = Signer {
            credentials: &credentials,
            region: "us-east-1",
            service: "service",
            now_ms: 1_440_938_160_000,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        signer.sign(method, &url.parse().unwrap(), &mut headers, body).unwrap();
        headers
    }

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        assert_eq!(
            hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn the_signature_is_that_of_awss_vanilla_case() {
        let headers = signed("https://example.amazonaws.com/", &Method::GET, "", &[], b"");
        assert_eq!(headers[DATE], "20150830T123600Z");
        let text = headers[header::AUTHORIZATION].to_str().unwrap();
        let wanted = "SignedHeaders=host;x-amz-date, \
                      Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        assert!(text.ends_with(wanted), "{text}");
        assert!(headers[header::AUTHORIZATION].is_sensitive());
    }

    /// What aws-sdk-go-v2's signer makes of the same requests.
    #[test]
    fn signatures_are_those_of_awss_own_signer() {
        let given = [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("user-agent", "Prometheus/3.14.0"),
            ("x-prometheus-remote-write-version", "0.1.0"),
        ];
        let url = "http://127.0.0.1:9009/workspaces/ws-1/api/v1/remote_write";
        let headers = signed(url, &Method::POST, "tok", &given, b"body");
        assert_eq!(
            headers[header::AUTHORIZATION],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=content-encoding;content-length;content-type;host;x-amz-date;x-amz-security-token;\
             x-prometheus-remote-write-version, \
             Signature=88f6d27a04a92144a0c9ac119d0b81599efa020fb203c1f92b08303c39469a49"
        );
        let given = [("x-many", " a   b "), ("x-many", "c"), ("uber-trace", "x")];
        let url = "https://example.amazonaws.com:443/a%20b/%C3%A9/c+d?b=2&a=x%20y&a=w+z&c&k=%2F";
        let headers = signed(url, &Method::GET, "", &given, b"");
        let text = headers[header::AUTHORIZATION].to_str().unwrap();
        let wanted = "SignedHeaders=host;uber-trace;x-amz-date;x-many, \
                      Signature=2e44852b846197c26c386aeabcd45c2bd433277afe3bd865b03714dc05021d00";
        assert!(text.ends_with(wanted), "{text}");
    }
}
