//! One page from a target over HTTP.
//!
//! ```text
//! GET ─▶ status, Content-Type ─▶ body ─┬─ plain ─┐
//!                                      └─ gunzip ┴─▶ page, never past its limit
//! ```

mod gunzip;
mod page;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use model::memory::{Accountant, MemoryRefused};
use net::{BodyError, ClientOptions, Fault, HttpClient, HttpError};
use parking_lot::Mutex;
use tokio::time::Instant;

use self::gunzip::Gunzip;
use self::page::Page;

const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// Headers of a request, those of its client among them.
const HEADERS_SENT: usize = 8;

/// Unpackers that are kept for the next bodies.
const GUNZIPS_KEPT: usize = 4;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// Where.
    pub url: Arc<str>,
    /// The `Accept` header.
    pub accept: Arc<str>,
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
    /// A header cannot be sent.
    #[error("{0}")]
    Header(String),
    /// No answer came.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It took too long.
    #[error("Get {}: context deadline exceeded", model::labels::go_quote(url))]
    Timeout {
        /// Where.
        url: String,
    },
    /// The answer began in time, but did not end.
    #[error("context deadline exceeded")]
    BodyTimeout,
    /// The answer is not 200.
    #[error("server returned HTTP status {0}")]
    Status(String),
    /// The body did not come to its end.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body should be gzip, and is empty.
    #[error("EOF")]
    GzipEmpty,
    /// The body is no gzip.
    #[error("gzip: invalid header")]
    GzipHeader,
    /// The body is gzip whose text is not what it should be.
    #[error("gzip: invalid checksum")]
    GzipChecksum,
    /// The body is gzip that cannot be unpacked.
    #[error("flate: corrupt input before offset {offset}")]
    Deflate {
        /// Bytes that were read by then.
        offset: u64,
    },
    /// The page is too large.
    #[error("body size limit exceeded")]
    BodySizeLimit,
    /// The process has no room for the page.
    #[error(transparent)]
    Memory(#[from] MemoryRefused),
    /// The client cannot be made.
    #[error("error creating HTTP client: {0}")]
    Client(String),
    /// The client for a socket cannot be made.
    #[error("creating unix socket scrape client for {}: {client}", model::labels::go_quote(socket))]
    SocketClient {
        /// The socket.
        socket: String,
        /// The fault of the client.
        client: String,
    },
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
    dials: Option<net::Dials>,
}

impl NetFetchFactory {
    /// A factory whose clients share options; pages are on the account.
    pub fn new(options: ClientOptions, accountant: Accountant) -> NetFetchFactory {
        NetFetchFactory { options, accountant, dials: None }
    }

    /// Counts each job's connections under its name.
    pub fn counting(self, dials: net::Dials) -> NetFetchFactory {
        NetFetchFactory { dials: Some(dials), ..self }
    }
}

impl FetchFactory for NetFetchFactory {
    fn fetcher(
        &self,
        config: &config::ScrapeConfig,
        unix_socket: Option<&str>,
    ) -> Result<Arc<dyn Fetch>, FetchError> {
        let options = ClientOptions {
            unix_socket: unix_socket.map(Into::into),
            // One request at a time: HTTP/2 would bring nothing.
            prefers_http1: true,
            dials: self.dials.as_ref().map(|dials| dials.of(&config.job_name)).unwrap_or_default(),
            ..self.options.clone()
        };
        let client = HttpClient::new(&config.http_client, options);
        let client = client.map_err(|error| FetchError::Client(error.to_string()))?;
        Ok(Arc::new(NetFetch { client, accountant: self.accountant.clone(), gunzips: Mutex::default() }))
    }
}

struct NetFetch {
    client: HttpClient,
    accountant: Accountant,
    /// Unpackers that are not in use.
    gunzips: Mutex<Vec<Gunzip>>,
}

impl Fetch for NetFetch {
    fn fetch<'a>(&'a self, request: &'a FetchRequest, page: &'a mut Vec<u8>) -> Fetching<'a> {
        Box::pin(async move {
            let deadline = Instant::now() + request.timeout;
            let (url, headers) = (&request.url, headers(request)?);
            let sent = self.client.send_until(deadline, Method::GET, url, headers, Bytes::new()).await;
            let response = sent.map_err(|error| match error.fault {
                Fault::Deadline => FetchError::Timeout { url: error.url().to_owned() },
                _ => FetchError::Http(error),
            })?;
            if response.status() != StatusCode::OK {
                let status = status_line(&response);
                // The answer is known: what comes of the rest does not matter.
                let _late = tokio::time::timeout_at(deadline, response.into_body().discard()).await;
                return Err(FetchError::Status(status));
            }
            let read = tokio::time::timeout_at(deadline, self.read(request, response, page)).await;
            read.unwrap_or(Err(FetchError::BodyTimeout))
        })
    }
}

impl NetFetch {
    async fn read(
        &self,
        request: &FetchRequest,
        response: http::Response<net::Body>,
        page: &mut Vec<u8>,
    ) -> Result<Fetched, FetchError> {
        let fetched = Fetched { content_type: text_of(response.headers(), &CONTENT_TYPE) };
        let gzip = response.headers().get(CONTENT_ENCODING).is_some_and(|value| value == "gzip");
        let mut arriving = Page::new(std::mem::take(page), request.body_size_limit, &self.accountant);
        let mut gunzip = gzip.then(|| self.take_gunzip());
        let mut body = response.into_body();
        if let (false, Some(bytes)) = (gzip, body.size_hint().exact()) {
            arriving.expect(bytes)?;
        }
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame?.into_data() else { continue };
            match &mut gunzip {
                Some(gunzip) => gunzip.push(&bytes, &mut arriving)?,
                None => arriving.push(&bytes)?,
            }
        }
        if let Some(gunzip) = gunzip {
            gunzip.finish()?;
            self.give_back(gunzip);
        }
        *page = arriving.into_bytes();
        Ok(fetched)
    }

    fn take_gunzip(&self) -> Gunzip {
        let mut gunzip = self.gunzips.lock().pop().unwrap_or_else(Gunzip::new);
        gunzip.begin();
        gunzip
    }

    fn give_back(&self, gunzip: Gunzip) {
        let mut gunzips = self.gunzips.lock();
        if gunzips.len() < GUNZIPS_KEPT {
            gunzips.push(gunzip);
        }
    }
}

fn headers(request: &FetchRequest) -> Result<HeaderMap, FetchError> {
    let value =
        |text: &str| HeaderValue::from_str(text).map_err(|error| FetchError::Header(error.to_string()));
    let seconds = model::float::format_f(request.timeout.as_secs_f64());
    let mut headers = HeaderMap::with_capacity(HEADERS_SENT);
    headers.insert(ACCEPT, value(&request.accept)?);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(request.accept_encoding));
    headers.insert(TIMEOUT_HEADER, value(&seconds)?);
    Ok(headers)
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
