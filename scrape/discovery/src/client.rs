//! Requests of mechanisms: the shared HTTP client with a time limit and a limit
//! of bytes, and answers as JSON.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use config::HttpClientConfig;
use http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use net::{Body, ClientOptions, HttpClient};
use serde::de::DeserializeOwned;

use crate::mechanism::{Context, DiscoveryError};

/// Most bytes of one answer.
const BODY_BYTES_MAX: usize = 256 << 20;
/// So much of a refusal is told.
const DETAIL_BYTES_MAX: usize = 512;

/// A client with a time limit for whole exchanges.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: HttpClient,
    timeout: Duration,
}

/// An answer, all of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    /// A client as a block describes it.
    pub(crate) fn new(
        config: &HttpClientConfig,
        context: &Context,
        timeout: Duration,
    ) -> Result<Client, DiscoveryError> {
        Client::build(config, context, timeout, None)
    }

    /// A client whose connections all go to a Unix socket.
    pub(crate) fn over_socket(
        config: &HttpClientConfig,
        context: &Context,
        timeout: Duration,
        socket: PathBuf,
    ) -> Result<Client, DiscoveryError> {
        Client::build(config, context, timeout, Some(socket))
    }

    fn build(
        config: &HttpClientConfig,
        context: &Context,
        timeout: Duration,
        unix_socket: Option<PathBuf>,
    ) -> Result<Client, DiscoveryError> {
        let options = ClientOptions { unix_socket, ..context.client_options() };
        Ok(Client { http: HttpClient::new(config, options)?, timeout })
    }

    /// The client below, without limits.
    pub(crate) fn http(&self) -> &HttpClient {
        &self.http
    }

    /// Sends a request and waits for the head of the answer only.
    pub(crate) async fn open(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> Result<Response<Body>, DiscoveryError> {
        let sent = self.http.send_to(method, url, headers, body.into()).await;
        sent.map_err(|error| DiscoveryError::Request(error.to_string()))
    }

    /// Sends a request and reads the whole answer, whatever its status.
    pub(crate) async fn request(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, DiscoveryError> {
        self.request_with(method, url, headers_of(headers)?, body).await
    }

    /// The same with headers as a map.
    pub(crate) async fn request_with(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> Result<Answer, DiscoveryError> {
        let exchange = async {
            let response = self.open(method.clone(), url, headers, body).await?;
            let (parts, body) = response.into_parts();
            let body = read(body, BODY_BYTES_MAX).await?;
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(DiscoveryError::Request(format!(
                "{} {}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                title(&method),
                model::labels::go_quote(url)
            ))),
        }
    }

    /// The answer to a GET, whatever its status.
    pub(crate) async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, DiscoveryError> {
        self.request(Method::GET, url, headers, Bytes::new()).await
    }

    /// The JSON that a GET is answered with; only a success will do.
    pub(crate) async fn get_json<T: DeserializeOwned>(
        &self,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<T, DiscoveryError> {
        let mut all = vec![(ACCEPT.as_str(), "application/json")];
        all.extend_from_slice(headers);
        self.get(url, &all).await?.success(url)?.json()
    }
}

/// How often a cloud is asked again that says it is busy, and how long after.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Requests in all.
    pub(crate) attempts: u32,
    /// The first pause; each further one is twice as long.
    pub(crate) pause: Duration,
}

/// The longest pause before a cloud is asked again.
const PAUSE_MAX: Duration = Duration::from_secs(60);

impl Patience {
    /// Asks until the answer is none of those that may be another one soon.
    pub(crate) async fn ask<F>(
        self,
        mut ask: impl FnMut() -> F + Send,
        is_temporary: impl Fn(&Answer) -> bool + Send,
    ) -> Result<Answer, DiscoveryError>
    where
        F: Future<Output = Result<Answer, DiscoveryError>> + Send,
    {
        let mut pause = self.pause;
        for _ in 1..self.attempts {
            let answer = ask().await?;
            if !is_temporary(&answer) {
                return Ok(answer);
            }
            let told = answer.header("retry-after").parse().map(Duration::from_secs);
            tokio::time::sleep(told.unwrap_or(pause).min(PAUSE_MAX)).await;
            pause = pause.saturating_mul(2);
        }
        ask().await
    }
}

/// Headers as a request takes them.
pub(crate) fn headers_of(pairs: &[(&str, &str)]) -> Result<HeaderMap, DiscoveryError> {
    let failed = |what: &dyn std::fmt::Display| DiscoveryError::Request(format!("{what}"));
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().map_err(|error| failed(&error))?;
        headers.append(name, HeaderValue::from_str(value).map_err(|error| failed(&error))?);
    }
    Ok(headers)
}

fn title(method: &Method) -> String {
    let (first, rest) = method.as_str().split_at(1);
    format!("{first}{}", rest.to_ascii_lowercase())
}

/// Reads a body up to a limit.
pub(crate) async fn read(mut body: Body, bytes_max: usize) -> Result<Bytes, DiscoveryError> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| DiscoveryError::Request(format!("read the answer: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > bytes_max {
            return Err(DiscoveryError::Malformed(format!(
                "the answer has more than the limit of {bytes_max} bytes"
            )));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

impl Answer {
    /// This answer if it is a success.
    pub(crate) fn success(self, what: &str) -> Result<Answer, DiscoveryError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(DETAIL_BYTES_MAX)]);
        let detail = if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) };
        // What stands behind the question mark may be a secret.
        let what = what.split('?').next().unwrap_or_default().to_owned();
        Err(DiscoveryError::Status { what, status: self.status, detail })
    }

    /// Its body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, DiscoveryError> {
        read_json(&self.body)
    }

    /// A header's value, empty where it is absent or no text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Reads JSON as programs written in Go do: `null` is as good as absent. Where
/// it stands in a place that has no room for it the document is read once more,
/// without.
pub(crate) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DiscoveryError> {
    let error = match serde_json::from_slice(bytes) {
        Ok(read) => {
            // A list would do for a structure, as its fields in order; what takes a
            // number, too, takes whatever comes.
            let is_list = bytes.trim_ascii_start().starts_with(b"[");
            let is = |text| serde_json::from_str::<T>(text).is_ok();
            if is_list && is("{}") && !is("0") {
                return Err(DiscoveryError::Malformed("expected an object, found a list".to_owned()));
            }
            return Ok(read);
        }
        Err(error) => DiscoveryError::Malformed(error.to_string()),
    };
    let Ok(mut document) = serde_json::from_slice(bytes) else { return Err(error) };
    drop_nulls(&mut document);
    serde_json::from_value(document).map_err(|_| error)
}

/// Takes `null` out of a document.
pub(crate) fn drop_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Reads JSON's `null` as the empty value: servers written in Go send it for
/// every list and map that is empty.
pub(crate) fn null_as_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + serde::Deserialize<'de>,
{
    Ok(<Option<T> as serde::Deserialize>::deserialize(deserializer)?.unwrap_or_default())
}

/// A query string, without the question mark; empty where there are no pairs.
pub(crate) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// A base URL and a query, joined.
pub(crate) fn with_query<'a>(url: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let query = query(pairs);
    match (query.is_empty(), url.contains('?')) {
        (true, _) => url.to_owned(),
        (false, true) => format!("{url}&{query}"),
        (false, false) => format!("{url}?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cloud_that_is_busy_is_asked_again_but_not_for_ever() {
        use crate::testing::{Reply, TestServer, context};
        let server = TestServer::start(|request| match request.path() {
            "/wrong" => Reply::status(400),
            _ => Reply::status(503).header("Retry-After", "0"),
        })
        .await;
        let client = Client::new(&HttpClientConfig::default(), &context(), Duration::from_secs(30)).unwrap();
        let patience = Patience { attempts: 3, pause: Duration::from_secs(600) };
        for (path, status, requests) in [("/busy", 503, 3), ("/wrong", 400, 4)] {
            let url = server.url(path);
            let answer = patience.ask(|| client.get(&url, &[]), |answer| answer.status.as_u16() == 503).await;
            assert_eq!(answer.unwrap().status.as_u16(), status);
            assert_eq!(server.requests().len(), requests);
        }
    }

    #[test]
    fn null_is_as_good_as_absent() {
        #[derive(Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(default)]
        struct Thing {
            name: String,
            parts: Vec<Thing>,
        }
        let thing: Thing = read_json(br#"{"name": null, "parts": [{"name": "a", "parts": null}]}"#).unwrap();
        assert_eq!(thing.parts, [Thing { name: "a".to_owned(), parts: vec![] }]);
        assert!(read_json::<Thing>(br#"{"name": 1}"#).is_err());
        assert!(read_json::<Thing>(b" []").is_err() && read_json::<Vec<Thing>>(b"[]").is_ok());
        assert!(read_json::<serde_json::Value>(b"[]").is_ok());
        assert!(read_json::<Thing>(b"{").is_err());
    }
}
