//! Connections that wait for their next request.
//!
//! ```text
//! acquire ─┬─ waiting, and still silent ─┐
//!          └─ made anew ─────────────────┴─▶ exchange ─▶ body read to its end ─▶ put back
//! ```
//!
//! A connection that waits is its socket, and its state of TLS where it has
//! one: the buffers and states of HTTP live as long as an exchange. So what
//! idle targets cost is next to nothing. Connections of HTTP/2 are shared, and
//! are whole while they wait, 40 KB each; for who has many, as scraping does, they
//! end soon ([`HTTP2_IDLE_TIMEOUT`]).

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::ClientOptions;
use super::connector::Connector;
use super::destination::Destination;
use super::stream::Stream;
use crate::error::{ConnectError, Fault};

/// Upstream's limit of unused connections to one host.
const IDLE_PER_HOST_MAX: usize = 1000;
/// Places that are remembered not to agree on the preferred version of HTTP.
const UNWILLING_MAX: usize = 10_000;
/// Whoever prefers HTTP/1 keeps connections of HTTP/2 for so long at most: their
/// buffers cannot be made smaller, and the next one goes on with the session of TLS.
const HTTP2_IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Silent connections of HTTP/2 are asked so often whether they still stand.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(60);

pub(super) type Http2Sender = http2::SendRequest<Full<Bytes>>;

/// The connections of one client.
pub(super) struct Pool {
    connector: Connector,
    /// How long they are kept; `None`: not at all.
    idle_timeout: Option<Duration>,
    /// The same for those of HTTP/2.
    http2_idle_timeout: Duration,
    places: Mutex<HashMap<String, Place>>,
    /// Places that do not agree on the preferred version of HTTP.
    unwilling: Mutex<HashSet<String>>,
    /// Whether a task ends what waits too long.
    is_swept: AtomicBool,
}

/// The connections to one place.
#[derive(Default)]
struct Place {
    waiting: Vec<(Stream, Instant)>,
    shared: Option<Shared>,
}

/// A connection of HTTP/2.
struct Shared {
    sender: Http2Sender,
    /// When it was asked for last.
    used: Instant,
}

/// A connection for one exchange.
pub(super) struct Acquired {
    pub(super) connection: Connection,
    /// Whether it waited: then it may have ended just now.
    pub(super) is_reused: bool,
}

pub(super) enum Connection {
    Http1(Stream),
    Http2(Http2Sender),
}

impl Pool {
    pub(super) fn new(connector: Connector, options: &ClientOptions) -> Pool {
        let most = if options.prefers_http1 { HTTP2_IDLE_TIMEOUT } else { Duration::MAX };
        Pool {
            connector,
            idle_timeout: options.keep_alive.then_some(options.idle_timeout),
            http2_idle_timeout: options.idle_timeout.min(most),
            places: Mutex::default(),
            unwilling: Mutex::default(),
            is_swept: AtomicBool::new(false),
        }
    }

    /// A connection to a place, made where none waits.
    pub(super) async fn acquire(self: &Arc<Pool>, to: &Destination, key: &str) -> Result<Acquired, Fault> {
        if let Some(connection) = self.take_waiting(key).await {
            return Ok(Acquired { connection, is_reused: true });
        }
        let stream = self.connect(to, key).await?;
        let connection = if stream.agreed_protocol() == Some(b"h2") {
            Connection::Http2(self.begin_http2(stream, key).await?)
        } else {
            Connection::Http1(stream)
        };
        Ok(Acquired { connection, is_reused: false })
    }

    /// A new connection; who does not agree on the preferred version of HTTP is
    /// offered all from then on.
    async fn connect(&self, to: &Destination, key: &str) -> Result<Stream, Fault> {
        if self.connector.has_preference(to) && !self.unwilling.lock().contains(key) {
            match self.connector.connect(to, true).await {
                Ok(stream) if stream.agreed_protocol().is_some() => return Ok(stream),
                Ok(_) | Err(ConnectError::NoApplicationProtocol) => {
                    let mut unwilling = self.unwilling.lock();
                    if unwilling.len() >= UNWILLING_MAX {
                        unwilling.clear();
                    }
                    unwilling.insert(key.to_owned());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.connector.connect(to, false).await?)
    }

    /// Keeps a connection over which nothing is under way.
    pub(super) fn put_back(self: &Arc<Pool>, key: String, stream: Stream) {
        if self.idle_timeout.is_none() {
            return;
        }
        let mut places = self.places.lock();
        let waiting = &mut places.entry(key).or_default().waiting;
        if waiting.len() < IDLE_PER_HOST_MAX {
            waiting.push((stream, Instant::now()));
        }
        drop(places);
        self.keep_swept();
    }

    /// Forgets the shared connection to a place: it has ended.
    pub(super) fn forget_shared(&self, key: &str) {
        if let Some(place) = self.places.lock().get_mut(key) {
            place.shared = None;
        }
    }

    async fn take_waiting(&self, key: &str) -> Option<Connection> {
        loop {
            let mut stream = {
                let mut places = self.places.lock();
                let place = places.get_mut(key)?;
                if let Some(shared) = &mut place.shared {
                    if !shared.sender.is_closed() {
                        shared.used = Instant::now();
                        return Some(Connection::Http2(shared.sender.clone()));
                    }
                    place.shared = None;
                }
                // The one that was used last: the others may end.
                place.waiting.pop()?.0
            };
            if poll_fn(|cx| Poll::Ready(stream.poll_is_silent(cx))).await {
                return Some(Connection::Http1(stream));
            }
        }
    }

    async fn begin_http2(self: &Arc<Pool>, stream: Stream, key: &str) -> Result<Http2Sender, Fault> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(HTTP2_PING_INTERVAL);
        let begun = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = begun.map_err(|error| Fault::Exchange(error.to_string()))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "HTTP/2 connection ended");
            }
        });
        if self.idle_timeout.is_some() {
            let shared = Shared { sender: sender.clone(), used: Instant::now() };
            self.places.lock().entry(key.to_owned()).or_default().shared = Some(shared);
            self.end_when_idle(key.to_owned());
        }
        Ok(sender)
    }

    /// Lets a task forget the shared connection to a place once nobody asked for it
    /// for long; then it ends behind its last exchange.
    fn end_when_idle(self: &Arc<Pool>, key: String) {
        let (pool, timeout) = (Arc::downgrade(self), self.http2_idle_timeout);
        tokio::spawn(async move {
            let mut wait = timeout;
            loop {
                tokio::time::sleep(wait).await;
                let Some(pool) = pool.upgrade() else { return };
                let mut places = pool.places.lock();
                let Some(place) = places.get_mut(&key) else { return };
                let Some(shared) = &place.shared else { return };
                let idle = shared.used.elapsed();
                if idle >= timeout || shared.sender.is_closed() {
                    place.shared = None;
                    if place.waiting.is_empty() {
                        places.remove(&key);
                    }
                    return;
                }
                wait = timeout - idle;
            }
        });
    }

    /// Lets a task look after what waits, until nothing does.
    fn keep_swept(self: &Arc<Pool>) {
        let Some(timeout) = self.idle_timeout else { return };
        if self.is_swept.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(timeout / 2).await;
                let Some(pool) = pool.upgrade() else { return };
                if pool.sweep(timeout) {
                    return;
                }
            }
        });
    }

    /// Ends what waits too long. Whether nothing is left.
    fn sweep(&self, timeout: Duration) -> bool {
        let mut places = self.places.lock();
        places.retain(|_, place| {
            place.waiting.retain(|(_, since)| since.elapsed() < timeout);
            !place.waiting.is_empty() || place.shared.is_some()
        });
        let is_empty = places.is_empty();
        if is_empty {
            self.is_swept.store(false, Ordering::Release);
        }
        is_empty
    }
}
