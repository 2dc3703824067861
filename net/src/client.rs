//! The HTTP client for everything that has an `http_config`.
//!
//! ```text
//! send ─▶ headers, authorization ─▶ pool ─▶ connector: proxy │ unix │ tcp, TLS
//!   ▲                                 ▲              │
//!   │                                 └── exchange ◀─┘
//!   └── redirect (credentials stay behind when the host changes)
//! ```
//!
//! Clones share connections. Files of TLS are watched: a change builds a new
//! pool, connections in use end with their requests.

mod auth;
mod connector;
mod destination;
mod dial;
mod dials;
mod exchange;
mod gate;
mod head;
pub(crate) mod jwt;
mod oauth2;
mod pool;
mod proxy;
mod redirect;
mod signing;
mod stream;
pub(crate) mod tls;
mod tolerance;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use config::HttpClientConfig;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::Full;
use model::Clock;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::error::{BuildError, Fault, HttpError};
use crate::go_url::GoUrl;
use auth::Authenticator;
use connector::{Connector, TlsConfigs};
use destination::Destination;
use pool::{Connection, Pool};
use redirect::Hop;
use signing::RequestSigner;
use tls::{FileStamps, Offer, TlsSettings};

pub use dials::{DialCounters, Dials};
pub use exchange::Body;
pub use proxy::ProxyEnvironment;
pub use signing::Signing;

/// Environment variables as the server read them: where clouds keep credentials
/// and are told of. Their values are not shown.
#[derive(Clone, Default)]
pub struct Variables(Arc<BTreeMap<String, String>>);

impl Variables {
    /// A variable, the empty text where it is not set.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// All of them, for programs that are started.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }
}

impl From<BTreeMap<String, String>> for Variables {
    fn from(variables: BTreeMap<String, String>) -> Variables {
        Variables(Arc::new(variables))
    }
}

impl From<Arc<BTreeMap<String, String>>> for Variables {
    fn from(variables: Arc<BTreeMap<String, String>>) -> Variables {
        Variables(variables)
    }
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What a client needs beside its block.
#[derive(Clone)]
pub struct ClientOptions {
    /// The `User-Agent` of all requests.
    pub user_agent: String,
    /// Time for tokens and file checks.
    pub clock: Arc<dyn Clock>,
    /// What `proxy_from_environment` means.
    pub proxies: Arc<ProxyEnvironment>,
    /// Where credentials of clouds are looked for.
    pub variables: Variables,
    /// A socket that all connections go to, whatever the URL's host.
    pub unix_socket: Option<PathBuf>,
    /// Whether connections are kept for further requests.
    pub keep_alive: bool,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Whether each connection picks one of the host's addresses by turns.
    pub round_robin_dns: bool,
    /// A `Host` header instead of the URL's.
    pub host: Option<String>,
    /// Whether HTTP/2 is spoken to those only who speak nothing else: it is for
    /// requests side by side, and costs an unused connection 40 KB. Those are kept for
    /// seconds only.
    pub prefers_http1: bool,
    /// What counts its connections.
    pub dials: DialCounters,
}

impl ClientOptions {
    /// Upstream's choices: connections kept for five minutes.
    pub fn new(user_agent: impl Into<String>, clock: Arc<dyn Clock>) -> ClientOptions {
        ClientOptions {
            user_agent: user_agent.into(),
            clock,
            proxies: Arc::new(ProxyEnvironment::default()),
            variables: Variables::default(),
            unix_socket: None,
            keep_alive: true,
            idle_timeout: Duration::from_secs(300),
            round_robin_dns: false,
            host: None,
            prefers_http1: false,
            dials: DialCounters::default(),
        }
    }

    /// The same for requests that are made on the side: for tokens.
    pub(crate) fn plain(&self) -> ClientOptions {
        ClientOptions {
            idle_timeout: SIDE_IDLE_TIMEOUT,
            unix_socket: None,
            host: None,
            round_robin_dns: false,
            ..self.clone()
        }
    }
}

impl std::fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientOptions").field("user_agent", &self.user_agent).finish_non_exhaustive()
    }
}

/// An HTTP client as one block describes it. Clones share it.
#[derive(Clone)]
pub struct HttpClient {
    inner: Arc<Inner>,
}

struct Inner {
    options: ClientOptions,
    follow_redirects: bool,
    http2: bool,
    user_agent: HeaderValue,
    host: Option<HeaderValue>,
    authenticator: Authenticator,
    signer: Option<RequestSigner>,
    headers: Vec<(HeaderName, HeaderSource)>,
    tls: TlsSettings,
    proxy: Arc<proxy::ProxyRules>,
    pool: ArcSwap<Pool>,
    watch: Mutex<Watch>,
}

/// When the files of TLS were last looked at, and what they were.
struct Watch {
    stamps: FileStamps,
    checked: Duration,
}

/// Files of TLS are looked at no more often than this.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long an unused connection for tokens is kept.
const SIDE_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
enum HeaderSource {
    Fixed(HeaderValue),
    File(PathBuf),
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl HttpClient {
    /// A client as the block describes it.
    ///
    /// # Errors
    /// A file cannot be read, TLS cannot be set up, or a secret manager is asked for.
    pub fn new(config: &HttpClientConfig, options: ClientOptions) -> Result<HttpClient, BuildError> {
        HttpClient::with_signing(config, None, options)
    }

    /// A client as the block describes it, whose requests are signed.
    ///
    /// Credentials and tokens are fetched with the first request, kept, and
    /// renewed before they end.
    ///
    /// # Errors
    /// As [`HttpClient::new`]; or the settings of the signature cannot be used.
    pub fn with_signing(
        config: &HttpClientConfig,
        signing: Option<&Signing>,
        options: ClientOptions,
    ) -> Result<HttpClient, BuildError> {
        let tls = TlsSettings::new(&config.tls_config)?;
        let stamps = tls.stamps();
        let proxy = Arc::new(proxy::ProxyRules::new(&config.proxy, &options.proxies)?);
        let pool = new_pool(&tls, &proxy, &options, config.enable_http2)?;
        let header = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        let watch = Watch { stamps, checked: options.clock.monotonic() };
        Ok(HttpClient {
            inner: Arc::new(Inner {
                follow_redirects: config.follow_redirects,
                http2: config.enable_http2,
                user_agent: header(&options.user_agent),
                host: options.host.as_deref().map(header),
                authenticator: Authenticator::new(config, &options)?,
                signer: signing.map(|signing| RequestSigner::new(signing, &options)).transpose()?,
                headers: configured_headers(config),
                tls,
                proxy,
                pool: ArcSwap::new(pool),
                watch: Mutex::new(watch),
                options,
            }),
        })
    }

    /// Sends a request and yields the answer once its head is there; the body
    /// streams. The caller bounds the time.
    ///
    /// # Errors
    /// No answer came. Any status is an answer.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, HttpError> {
        let (parts, body) = request.into_parts();
        self.send_to(parts.method, &parts.uri.to_string(), parts.headers, body).await
    }

    /// The same with a URL as people write it, read as Go reads URLs.
    ///
    /// # Errors
    /// As [`HttpClient::send`]; or the URL is none.
    pub async fn send_to(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Body>, HttpError> {
        self.follow(method, url, headers, body, None).await
    }

    /// The same, given up at a time; the fault tells which request of a chain of
    /// redirects was under way.
    ///
    /// # Errors
    /// As [`HttpClient::send_to`]; or the time is up.
    pub async fn send_until(
        &self,
        deadline: Instant,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Body>, HttpError> {
        self.follow(method, url, headers, body, Some(deadline)).await
    }

    async fn follow(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        deadline: Option<Instant>,
    ) -> Result<Response<Body>, HttpError> {
        let parsed = match GoUrl::parse(url) {
            Ok(parsed) => parsed.without_empty_port(),
            Err(fault) => return Err(HttpError { method, url: url.into(), fault: fault.into() }),
        };
        let mut hop = Hop::new(method, parsed, headers, body);
        loop {
            let sending = self.send_hop(&hop);
            let outcome = match deadline {
                Some(deadline) => timeout_at(deadline, sending).await.unwrap_or(Err(Fault::Deadline)),
                None => sending.await,
            };
            let response = outcome.map_err(|fault| hop.error(fault))?;
            if !self.inner.follow_redirects {
                return Ok(response);
            }
            match hop.next(&response)? {
                Some(next) => hop = next,
                None => return Ok(response),
            }
            let discarding = response.into_body().discard();
            // The next request finds out where the time is up.
            let _late = match deadline {
                Some(deadline) => timeout_at(deadline, discarding).await.is_err(),
                None => {
                    discarding.await;
                    false
                }
            };
        }
    }

    async fn send_hop(&self, hop: &Hop) -> Result<Response<Body>, Fault> {
        let inner = &self.inner;
        let to = Destination::new(&hop.url)?;
        self.reload_changed_files()?;
        let mut headers = hop.headers.clone();
        auth::add_userinfo(&hop.url, &mut headers);
        headers.insert(http::header::USER_AGENT, inner.user_agent.clone());
        if let Some(host) = &inner.host {
            headers.insert(http::header::HOST, host.clone());
        }
        if !hop.left_host {
            self.add_configured_headers(&mut headers)?;
            if !headers.contains_key(http::header::AUTHORIZATION)
                && let Some(value) = inner.authenticator.authorization().await?
            {
                headers.insert(http::header::AUTHORIZATION, value);
            }
        }
        if let Some(signer) = &inner.signer
            && !hop.left_host
        {
            signer.sign(hop, &to.uri, &mut headers).await?;
        }
        if let Some(value) = inner.proxy.authorization_for(&to.uri) {
            headers.insert(http::header::PROXY_AUTHORIZATION, value);
        }
        if !inner.options.keep_alive {
            headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.exchange(hop, &to, headers).await
    }

    /// A connection that was kept may have ended just now: what may be repeated
    /// is sent again, over another.
    async fn exchange(
        &self,
        hop: &Hop,
        to: &Destination,
        headers: HeaderMap,
    ) -> Result<Response<Body>, Fault> {
        let pool = self.inner.pool.load_full();
        let key = to.pool_key();
        loop {
            let mut request = Request::new(Full::new(hop.body.clone()));
            *request.method_mut() = hop.method.clone();
            *request.uri_mut() = to.uri.clone();
            *request.headers_mut() = headers.clone();
            let acquired = pool.acquire(to, &key).await?;
            let (outcome, is_shared) = match acquired.connection {
                Connection::Http1(stream) => {
                    (exchange::over_http1(stream, request, &pool, key.clone()).await, false)
                }
                Connection::Http2(sender) => (exchange::over_http2(sender, request).await, true),
            };
            match outcome {
                Err(Fault::Closed | Fault::Io(_)) if acquired.is_reused && hop.method.is_idempotent() => {
                    if is_shared {
                        pool.forget_shared(&key);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    fn add_configured_headers(&self, headers: &mut HeaderMap) -> Result<(), Fault> {
        for (name, source) in &self.inner.headers {
            let value = match source {
                HeaderSource::Fixed(value) => value.clone(),
                HeaderSource::File(path) => {
                    let text = std::fs::read_to_string(path).map_err(|error| Fault::HeaderFile {
                        path: path.clone(),
                        why: crate::error::file_text(path, &error),
                    })?;
                    let value = HeaderValue::from_str(text.trim());
                    value.map_err(|_| Fault::HeaderValue(name.to_string()))?
                }
            };
            headers.append(name.clone(), value);
        }
        Ok(())
    }

    /// Builds a new pool where a file of TLS changed.
    fn reload_changed_files(&self) -> Result<(), Fault> {
        let inner = &self.inner;
        if !inner.tls.has_files() {
            return Ok(());
        }
        let now = inner.options.clock.monotonic();
        let mut watch = inner.watch.lock();
        if now.saturating_sub(watch.checked) < WATCH_INTERVAL {
            return Ok(());
        }
        watch.checked = now;
        let stamps = inner.tls.stamps();
        if stamps == watch.stamps {
            return Ok(());
        }
        let pool = new_pool(&inner.tls, &inner.proxy, &inner.options, inner.http2)?;
        inner.pool.store(pool);
        watch.stamps = stamps;
        Ok(())
    }
}

fn new_pool(
    tls: &TlsSettings,
    proxy: &Arc<proxy::ProxyRules>,
    options: &ClientOptions,
    http2: bool,
) -> Result<Arc<Pool>, BuildError> {
    let all = tls.client_config(if http2 { Offer::Http2AndHttp1 } else { Offer::Nothing })?;
    let preferred = (http2 && options.prefers_http1).then(|| tls.client_config(Offer::Http1)).transpose()?;
    let configs = TlsConfigs { all, preferred };
    let connector = Connector::new(configs, tls.server_name(), Arc::clone(proxy), options);
    Ok(Arc::new(Pool::new(connector, options)))
}

fn configured_headers(config: &HttpClientConfig) -> Vec<(HeaderName, HeaderSource)> {
    let mut out = Vec::new();
    for (name, header) in config.http_headers.iter().flatten() {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        let texts = header.values.iter().map(String::as_str);
        let secrets = header.secrets.iter().map(config::Secret::expose);
        let values = texts.chain(secrets).filter_map(|text| HeaderValue::from_str(text).ok());
        out.extend(values.map(|value| (name.clone(), HeaderSource::Fixed(value))));
        out.extend(header.files.iter().map(|file| (name.clone(), HeaderSource::File(PathBuf::from(file)))));
    }
    out
}
