//! The server's side of the network: listeners, TLS, limits, users.
//!
//! ```text
//! accept ─▶ slot ─▶ TLS (as the file says now) ─▶ HTTP ─▶ rate, headers, user ─▶ router
//! ```
//!
//! The web configuration file is looked at again for each connection and each
//! request; while it is faulty, every request is answered 500.

mod body;
mod gate;
mod listener;
pub(crate) mod san;
mod target;
mod tls;
mod web_file;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use model::Clock;
use model::metrics::Counter;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::LazyConfigAcceptor;
use tower::{Service, ServiceExt};

use gate::{Gate, Verdict};
use listener::Stream;
use target::Lenient;

pub use body::{BodyError, RequestBody};
pub use listener::Listener;
pub use web_file::{WebConfigError, WebConfigSource};

/// How connections are served.
#[derive(Clone)]
pub struct ServeOptions {
    /// Connections at the same time, over all listeners.
    pub max_connections: usize,
    /// How long a request may take to be read: its head, the wait for it on an
    /// idle connection included, and then its body.
    pub read_timeout: Duration,
    /// How long requests may go on once the server is told to end.
    pub drain_timeout: Duration,
    /// Time for the rate limit.
    pub clock: Arc<dyn Clock>,
    /// What counts connections.
    pub connections: Connections,
}

/// Counters of connections.
#[derive(Clone, Default)]
pub struct Connections {
    /// Those that were taken.
    pub accepted: Counter,
    /// Those of them that ended.
    pub closed: Counter,
}

impl ServeOptions {
    /// Upstream's choices: 512 connections, five minutes to read.
    pub fn new(clock: Arc<dyn Clock>) -> ServeOptions {
        ServeOptions {
            max_connections: 512,
            read_timeout: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(60),
            clock,
            connections: Connections::default(),
        }
    }
}

impl std::fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServeOptions").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

/// Who sent a request; found among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the connection; `0.0.0.0:0` where it came in by a file.
    pub address: SocketAddr,
    /// Whether the connection speaks TLS.
    pub is_tls: bool,
}

/// How long a TLS handshake may take at most; the time to read bounds it too.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait after a failed accept, as when files run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What Go answers to plain HTTP where TLS is spoken.
const PLAIN_ON_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

struct Shared<S> {
    service: S,
    gate: Gate,
    tls: Option<tls::ServerTls>,
    read_timeout: Duration,
    slots: Arc<Semaphore>,
    connections: Connections,
}

/// Serves the listeners until `shutdown` ends, then lets requests end.
///
/// # Errors
/// The web configuration file is faulty at the start.
pub async fn serve<L, S, B>(
    listeners: Vec<L>,
    source: WebConfigSource,
    service: S,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), WebConfigError>
where
    L: Into<Listener>,
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let web = source.load()?;
    let tls = tls::ServerTls::new(&source, &web)?;
    let shared = Arc::new(Shared {
        service,
        gate: Gate::new(source, &web, Arc::clone(&options.clock)),
        tls,
        read_timeout: options.read_timeout,
        slots: Arc::new(Semaphore::new(options.max_connections.max(1))),
        connections: options.connections,
    });
    let graceful = Arc::new(GracefulShutdown::new());
    let mut loops = tokio::task::JoinSet::new();
    for listener in listeners {
        loops.spawn(accept_loop(listener.into(), Arc::clone(&shared), Arc::clone(&graceful)));
    }
    shutdown.await;
    loops.abort_all();
    while loops.join_next().await.is_some() {}
    // Every accept loop has ended: none but watched connections hold it now.
    if let Ok(graceful) = Arc::try_unwrap(graceful) {
        let drained = tokio::time::timeout(options.drain_timeout, graceful.shutdown()).await;
        if drained.is_err() {
            tracing::warn!("some requests did not end in time and were cut off");
        }
    }
    Ok(())
}

async fn accept_loop<S, B>(listener: Listener, shared: Arc<Shared<S>>, graceful: Arc<GracefulShutdown>)
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        let Ok(slot) = Arc::clone(&shared.slots).acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let watcher = graceful.watcher();
        shared.connections.accepted.inc();
        let (serving, closing) = (Arc::clone(&shared), Closing(shared.connections.closed.clone()));
        tokio::spawn(async move {
            let _closing = closing;
            connection(stream, address, serving, watcher, slot).await;
        });
    }
}

/// Counts a connection as closed however it ends.
struct Closing(Counter);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.inc();
    }
}

async fn connection<S, B>(
    stream: Stream,
    address: SocketAddr,
    shared: Arc<Shared<S>>,
    watcher: hyper_util::server::graceful::Watcher,
    _slot: OwnedSemaphorePermit,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Names as Go writes them: scripts look for `Content-Type`.
    let mut http1 = builder.http1();
    http1.timer(TokioTimer::new()).header_read_timeout(shared.read_timeout).title_case_headers(true);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(60));
    let Some(tls) = &shared.tls else {
        let peer = Peer { address, is_tls: false };
        // Without TLS no HTTP/2, as upstream.
        run(builder.http1_only(), Lenient::new(stream), peer, Arc::clone(&shared), watcher).await;
        return;
    };
    let patience = HANDSHAKE_TIMEOUT.min(shared.read_timeout);
    let Ok(stream) = tokio::time::timeout(patience, handshake(stream, tls)).await else { return };
    match stream {
        Ok(stream) => {
            let peer = Peer { address, is_tls: true };
            let shared = Arc::clone(&shared);
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                run(builder.http2_only(), stream, peer, shared, watcher).await;
            } else {
                run(builder.http1_only(), Lenient::new(stream), peer, shared, watcher).await;
            }
        }
        Err(error) => {
            tracing::error!(component = "web", "http: TLS handshake error from {address}: {error}");
        }
    }
}

async fn handshake(
    mut stream: Stream,
    tls: &tls::ServerTls,
) -> io::Result<tokio_rustls::server::TlsStream<Stream>> {
    if stream.first_byte().await?.is_some_and(|first| first.is_ascii_uppercase()) {
        // A method's first letter; a handshake begins with 22.
        let _ = stream.write_all(PLAIN_ON_TLS).await;
        let _ = stream.shutdown().await;
        return Err(io::Error::other("client sent an HTTP request to an HTTPS server"));
    }
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let config = tls.current().map_err(io::Error::other)?;
    start.into_stream(config).await
}

async fn run<S, B, I>(
    builder: auto::Builder<TokioExecutor>,
    stream: I,
    peer: Peer,
    shared: Arc<Shared<S>>,
    watcher: hyper_util::server::graceful::Watcher,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let service = service_fn(move |request| answer(request, peer, Arc::clone(&shared)));
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, address = %peer.address, "connection ended with an error");
    }
}

type Answer<B> = Pin<Box<dyn Future<Output = Result<Response<Either<Full<Bytes>, B>>, Infallible>> + Send>>;

fn answer<S, B>(request: Request<Incoming>, peer: Peer, shared: Arc<Shared<S>>) -> Answer<B>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    Box::pin(async move {
        if let Some(refusal) = gate::misaddressed(&request) {
            return Ok(refusal.map(|text| Either::Left(Full::new(text))));
        }
        let mut request = request.map(|body| RequestBody::new(body, shared.read_timeout));
        request.extensions_mut().insert(peer);
        let web = match shared.gate.admit(request.headers()).await {
            Verdict::Pass(web) => web,
            Verdict::Refuse(response) => return Ok(response.map(|text| Either::Left(Full::new(text)))),
        };
        let response = shared.service.clone().oneshot(request).await;
        let mut response = match response {
            Ok(response) => response.map(Either::Right),
            Err(never) => match never {},
        };
        gate::add_headers(response.headers_mut(), &web);
        Ok(response)
    })
}
