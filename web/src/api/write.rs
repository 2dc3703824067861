//! `/write`: remote write, received.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use model::memory::{Lease, MemoryRefused, Pressure};
use remote::body::COMPRESSED_BYTES_MAX;
use remote::{Reply, Stats};

use crate::ops::{error, text};
use crate::state::Web;

/// What is answered where the receiver is switched off.
const DISABLED: &str = "remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n";

/// Stores the samples of a request.
pub async fn write(State(web): State<Arc<Web>>, request: Request<Body>) -> Response<Body> {
    if !web.options.enable_remote_write_receiver {
        return error(StatusCode::NOT_FOUND, DISABLED);
    }
    let Some(receiver) = web.receiver() else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "TSDB not ready\n");
    };
    let (parts, body) = request.into_parts();
    let text_of = |name: HeaderName| header_text(&parts.headers, name);
    let (message, encoding) =
        match receiver.negotiate(text_of(header::CONTENT_TYPE), text_of(header::CONTENT_ENCODING)) {
            Ok(negotiated) => negotiated,
            Err(reply) => return respond(&reply),
        };
    // The body, what it unpacks to, and its samples on their way into the store.
    let memory = &web.engine.options().memory;
    let lease = memory.lease("remote write request", u64::MAX, Pressure::RefuseWrites);
    let body = match read(body, &lease).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let declared = remote::body::declared_len(encoding, &body);
    let unpacked = declared.unwrap_or_else(|| body.len().saturating_mul(USUAL_RATIO)) as u64;
    if let Err(error) = lease.grow_to(body.capacity() as u64 + unpacked.saturating_mul(BYTES_HELD_PER_BYTE)) {
        return no_room(&error);
    }
    let is_small = declared.is_some_and(|len| len <= AT_ONCE_BYTES_MAX);
    let here = if is_small { web.writes_at_once.enter() } else { None };
    let store = move || {
        let reply = receiver.receive(message, encoding, &body);
        drop(lease);
        reply
    };
    let reply = match here {
        Some(_entered) => store(),
        None => match tokio::task::spawn_blocking(store).await {
            Ok(reply) => reply,
            Err(fault) => {
                tracing::error!(component = "web", error = %fault, "a worker failed");
                return error(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n");
            }
        },
    };
    if reply.status >= 400 {
        tracing::error!(
            component = "web",
            err = reply.body,
            code = reply.status,
            "Error on remote write request"
        );
    }
    respond(&reply)
}

/// Requests that unpack to no more are stored by the thread that read them, where
/// it may: to wake another and be woken again costs a fifth of the request.
const AT_ONCE_BYTES_MAX: usize = 1 << 20;

/// How many threads that serve sockets store requests themselves. One of them is
/// always left, so that neither a slow disk nor many senders keep probes, scrapes
/// and queries from their answers.
#[derive(Default)]
pub struct WritesAtOnce(AtomicUsize);

impl WritesAtOnce {
    /// A permit to store on this thread; `None` where that would be the last one.
    fn enter(&self) -> Option<Entered<'_>> {
        self.enter_of(tokio::runtime::Handle::current().metrics().num_workers())
    }

    fn enter_of(&self, threads: usize) -> Option<Entered<'_>> {
        let one_more = |inside: usize| (inside + 1 < threads).then_some(inside + 1);
        self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more).ok()?;
        Some(Entered(&self.0))
    }
}

/// A thread that stores a request.
struct Entered<'w>(&'w AtomicUsize);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

fn header_text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).map_or("", |value| value.to_str().unwrap_or("invalid"))
}

/// What most requests are shorter than: 2,000 samples with their labels.
const USUAL_BYTES: usize = 256 * 1024;

/// How many times longer a body is when it is unpacked that does not say it.
const USUAL_RATIO: usize = 10;

/// Bytes that a byte of an unpacked body may take at most until it is stored: itself,
/// its part in tables of symbols, and its samples on their way.
const BYTES_HELD_PER_BYTE: u64 = 8;

/// Reads a body within the bounds of its kind and of memory.
async fn read(mut body: Body, lease: &Lease) -> Result<Vec<u8>, Response<Body>> {
    let too_large = || error(StatusCode::PAYLOAD_TOO_LARGE, "http: request body too large\n");
    let announced = http_body::Body::size_hint(&body).lower();
    if announced > COMPRESSED_BYTES_MAX as u64 {
        return Err(too_large());
    }
    // What is announced need not come: no more than a usual request's is held for it.
    let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(0).min(USUAL_BYTES));
    while let Some(frame) = Pin::new(&mut body).frame().await {
        let frame = frame.map_err(|fault| error(StatusCode::BAD_REQUEST, format!("{fault}\n")))?;
        let Ok(piece) = frame.into_data() else { continue };
        if bytes.len() + piece.len() > COMPRESSED_BYTES_MAX {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
        lease.grow_to(bytes.capacity() as u64).map_err(|error| no_room(&error))?;
    }
    Ok(bytes)
}

/// How long a sender shall wait that was refused for want of room, in seconds.
const RETRY_AFTER_S: u64 = 5;

fn no_room(error: &MemoryRefused) -> Response<Body> {
    come_back(text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")))
}

/// Tells the sender when to try again.
fn come_back(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    response
}

fn respond(reply: &Reply) -> Response<Body> {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match reply.body.is_empty() {
        true => super::no_content(),
        false => error(status, format!("{}\n", reply.body)),
    };
    *response.status_mut() = status;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response = come_back(response);
    }
    if let Some(Stats { samples, histograms, exemplars }) = reply.stats {
        for (name, count) in [
            ("x-prometheus-remote-write-samples-written", samples),
            ("x-prometheus-remote-write-histograms-written", histograms),
            ("x-prometheus-remote-write-exemplars-written", exemplars),
        ] {
            response.headers_mut().insert(name, HeaderValue::from(count));
        }
    }
    response
}

/// `/read`: not answered yet.
pub async fn read_disabled() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "this server does not answer remote read yet\n")
}

/// `/otlp/v1/metrics`: not received yet.
pub async fn otlp(State(web): State<Arc<Web>>) -> Response<Body> {
    match web.options.enable_otlp_receiver {
        false => error(
            StatusCode::NOT_FOUND,
            "otlp write receiver needs to be enabled with --web.enable-otlp-receiver\n",
        ),
        true => error(StatusCode::NOT_IMPLEMENTED, "this server does not receive OTLP yet\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_left_for_all_else() {
        let writes = WritesAtOnce::default();
        assert!(writes.enter_of(1).is_none());
        let first = writes.enter_of(3).unwrap();
        let second = writes.enter_of(3);
        assert!(second.is_some());
        assert!(writes.enter_of(3).is_none());
        drop(first);
        assert!(writes.enter_of(3).is_some());
    }
}
