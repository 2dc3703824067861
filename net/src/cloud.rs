//! Credentials of clouds, and requests signed with them.
//!
//! ```text
//! block, environment, files, machine ─▶ credentials or token (kept until they end) ─▶ headers
//! ```

pub mod aws;
pub mod azure;
pub mod google;
mod process;
mod token;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use config::HttpClientConfig;
use config::http_client::ProxyConfig;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};

use crate::client::{ClientOptions, HttpClient};
use crate::error::{BuildError, file_text};

/// Most bytes of an answer with credentials.
const ANSWER_MAX: usize = 1 << 20;
/// So much of a refusal is told.
const DETAIL_BYTES_MAX: usize = 512;
/// How long a service that issues credentials may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why there are no credentials, or a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// A file cannot be read.
    #[error("{}", file_text(path, source))]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// What was answered or configured cannot be understood.
    #[error("{0}")]
    Malformed(String),
    /// The settings cannot be used here.
    #[error("{0}")]
    Unusable(String),
    /// The request failed, or was refused.
    #[error("{0}")]
    Request(String),
}

/// An answer, all of it.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn success(self, what: &str) -> Result<Answer, CloudError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(DETAIL_BYTES_MAX)]);
        let detail = if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) };
        // What stands behind the question mark may be a secret.
        let what = what.split('?').next().unwrap_or_default();
        Err(CloudError::Request(format!("{what}: {}{detail}", self.status)))
    }

    fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, CloudError> {
        // Its text would quote the answer, and with it a token.
        serde_json::from_slice(&self.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            CloudError::Malformed(format!(
                "the answer is not the JSON expected (line {line}, column {column})"
            ))
        })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

/// A client for requests to services of a cloud that no block configures: the
/// environment names the proxy, as for every program in Go.
pub(crate) fn surrounding_client(options: &ClientOptions) -> Result<HttpClient, BuildError> {
    let proxy = ProxyConfig { proxy_from_environment: true, ..ProxyConfig::default() };
    HttpClient::new(&HttpClientConfig { proxy, ..HttpClientConfig::default() }, options.plain())
}

/// Sends a request and reads the whole answer, whatever its status.
async fn ask(
    client: &HttpClient,
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
    timeout: Duration,
) -> Result<Answer, CloudError> {
    let failed = |error: &dyn std::fmt::Display| CloudError::Request(error.to_string());
    let mut request = Request::new(body.into());
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().map_err(|error| failed(&error))?;
    for (name, value) in headers {
        let name: HeaderName = name.parse().map_err(|error| failed(&error))?;
        let value = HeaderValue::from_str(value).map_err(|error| failed(&error))?;
        request.headers_mut().append(name, value);
    }
    let exchange = async {
        // Boxed: a client that signs asks for credentials through another.
        let response = Box::pin(client.send(request)).await.map_err(|error| failed(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|error| CloudError::Request(format!("read the answer: {error}")))?.to_bytes();
        Ok(Answer { status, headers, body })
    };
    let what = url.split('?').next().unwrap_or_default();
    match tokio::time::timeout(timeout, exchange).await {
        Ok(outcome) => outcome,
        Err(_) => Err(CloudError::Request(format!("{what}: context deadline exceeded"))),
    }
}

/// Reads a file with a secret, without the white space around it.
fn secret_of(path: impl Into<PathBuf>) -> Result<config::Secret, CloudError> {
    let path = path.into();
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(config::Secret::new(text.trim())),
        Err(source) => Err(CloudError::Read { path, source }),
    }
}

/// A form, encoded.
fn form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
