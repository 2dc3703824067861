//! One page from a target over HTTP.
//!
//! ```text
//! GET ─▶ status, Content-Type ─▶ body ─┬─ plain ─┐
//!                                      └─ gunzip ┴─▶ page, never past its limit
//! ```

use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use model::memory::{Accountant, MemoryRefused, Pressure};
use net::{ClientOptions, HttpClient, HttpError};

const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// What is asked for.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// Where.
    pub url: String,
    /// The `Accept` header.
    pub accept: String,
    /// The `Accept-Encoding` header.
    pub accept_encoding: &'static str,
    /// How long all of it may take.
    pub timeout: Duration,
    /// Bytes at which a page is too large, uncompressed; 0 for none.
    pub body_size_limit: u64,
}

/// What came back beside the page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The `Content-Type` header, empty where there is none.
    pub content_type: String,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL is none.
    #[error("{0}")]
    Url(String),
    /// No answer came.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It took too long.
    #[error("Get {}: context deadline exceeded", model::labels::go_quote(url))]
    Timeout {
        /// Where.
        url: String,
    },
    /// The answer is not 200.
    #[error("server returned HTTP status {0}")]
    Status(String),
    /// The body ended early.
    #[error("unexpected EOF")]
    BodyCut,
    /// The body is no gzip.
    #[error("gzip: invalid header")]
    GzipHeader,
    /// The body is damaged gzip.
    #[error("gzip: {0}")]
    Gzip(String),
    /// The page is too large.
    #[error("body size limit exceeded")]
    BodySizeLimit,
    /// The process has no room for the page.
    #[error(transparent)]
    Memory(#[from] MemoryRefused),
    /// The client cannot be made.
    #[error("{0}")]
    Client(String),
}

/// A fetch under way.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send + 'a>>;

/// Gets pages.
pub trait Fetch: Send + Sync {
    /// Gets a page into `page`, which is empty.
    fn fetch<'a>(&'a self, request: &'a FetchRequest, page: &'a mut Vec<u8>) -> Fetching<'a>;
}

/// Makes what gets the pages of a job.
pub trait FetchFactory: Send + Sync {
    /// A fetcher of a job's targets; with `unix_socket`, of those behind it.
    ///
    /// # Errors
    /// The job's client settings cannot be used.
    fn fetcher(
        &self,
        config: &config::ScrapeConfig,
        unix_socket: Option<&str>,
    ) -> Result<Arc<dyn Fetch>, FetchError>;
}

/// Fetches over the network.
pub struct NetFetchFactory {
    options: ClientOptions,
    accountant: Accountant,
}

impl NetFetchFactory {
    /// A factory whose clients share options; pages are on the account.
    pub fn new(options: ClientOptions, accountant: Accountant) -> NetFetchFactory {
        NetFetchFactory { options, accountant }
    }
}

impl FetchFactory for NetFetchFactory {
    fn fetcher(
        &self,
        config: &config::ScrapeConfig,
        unix_socket: Option<&str>,
    ) -> Result<Arc<dyn Fetch>, FetchError> {
        let options = ClientOptions { unix_socket: unix_socket.map(Into::into), ..self.options.clone() };
        let client =
            HttpClient::new(&config.http_client, options).map_err(|e| FetchError::Client(e.to_string()))?;
        Ok(Arc::new(NetFetch { client, accountant: self.accountant.clone() }))
    }
}

struct NetFetch {
    client: HttpClient,
    accountant: Accountant,
}

impl Fetch for NetFetch {
    fn fetch<'a>(&'a self, request: &'a FetchRequest, page: &'a mut Vec<u8>) -> Fetching<'a> {
        Box::pin(async move {
            let exchange = self.exchange(request, page);
            match tokio::time::timeout(request.timeout, exchange).await {
                Ok(done) => done,
                Err(_) => Err(FetchError::Timeout { url: request.url.clone() }),
            }
        })
    }
}

impl NetFetch {
    async fn exchange(&self, request: &FetchRequest, page: &mut Vec<u8>) -> Result<Fetched, FetchError> {
        let response = self.client.send(http_request(request)?).await?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(FetchError::Status(status_line(&response)));
        }
        let gzip = response.headers().get(CONTENT_ENCODING).is_some_and(|value| value == "gzip");
        let fetched = Fetched { content_type: text_of(response.headers(), &CONTENT_TYPE) };
        let lease = self.accountant.lease("scrape", u64::MAX, Pressure::RefuseWrites);
        let mut sink = PageSink { page: std::mem::take(page), limit: request.body_size_limit, passed: false };
        let mut gunzip = None;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| FetchError::BodyCut)?;
            let Ok(chunk) = frame.into_data() else { continue };
            if gzip {
                let decoder = gunzip.get_or_insert_with(|| MultiGzDecoder::new(std::mem::take(&mut sink)));
                let written = decoder.write_all(&chunk);
                lease.grow_to(decoder.get_ref().page.capacity() as u64)?;
                written.map_err(|error| gzip_error(&error, decoder))?;
            } else {
                sink.write_all(&chunk).map_err(|_| FetchError::BodySizeLimit)?;
                lease.grow_to(sink.page.capacity() as u64)?;
            }
        }
        if gzip {
            let Some(mut decoder) = gunzip else { return Err(FetchError::BodyCut) };
            if let Err(error) = decoder.try_finish() {
                // All there was has been read: what is missing was cut off.
                return Err(match gzip_error(&error, &decoder) {
                    FetchError::Gzip(_) => FetchError::BodyCut,
                    other => other,
                });
            }
            std::mem::swap(&mut sink, decoder.get_mut());
        }
        *page = sink.page;
        Ok(fetched)
    }
}

fn http_request(request: &FetchRequest) -> Result<Request<Bytes>, FetchError> {
    let seconds = model::float::format_f(request.timeout.as_secs_f64());
    let header = |text: &str| HeaderValue::from_str(text).map_err(|error| FetchError::Url(error.to_string()));
    Request::get(&request.url)
        .header(ACCEPT, header(&request.accept)?)
        .header(ACCEPT_ENCODING, request.accept_encoding)
        .header(TIMEOUT_HEADER, header(&seconds)?)
        .body(Bytes::new())
        .map_err(|error| FetchError::Url(format!("parse {}: {error}", model::labels::go_quote(&request.url))))
}

fn status_line<B>(response: &http::Response<B>) -> String {
    let status = response.status();
    let reason = response.extensions().get::<hyper::ext::ReasonPhrase>();
    let reason = match reason {
        Some(reason) => String::from_utf8_lossy(reason.as_bytes()).into_owned(),
        None => status.canonical_reason().unwrap_or("").to_owned(),
    };
    format!("{} {reason}", status.as_str()).trim_end().to_owned()
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> String {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

/// Takes a page up to its limit.
#[derive(Default)]
struct PageSink {
    page: Vec<u8>,
    limit: u64,
    passed: bool,
}

impl Write for PageSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.limit > 0 && (self.page.len() + bytes.len()) as u64 >= self.limit {
            self.passed = true;
            return Err(io::Error::other("page too large"));
        }
        self.page.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gzip_error(error: &io::Error, decoder: &MultiGzDecoder<PageSink>) -> FetchError {
    if decoder.get_ref().passed {
        return FetchError::BodySizeLimit;
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => FetchError::BodyCut,
        _ if decoder.header().is_none() => FetchError::GzipHeader,
        _ => FetchError::Gzip(error.to_string()),
    }
}
