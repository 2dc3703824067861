//! `/write`: remote write, received.

use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use model::memory::{Lease, Pressure};
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
    let stored = tokio::task::spawn_blocking(move || {
        let reply = receiver.receive(message, encoding, &body);
        drop(lease);
        reply
    });
    match stored.await {
        Ok(reply) => {
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
        Err(fault) => {
            tracing::error!(component = "web", error = %fault, "a worker failed");
            error(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
        }
    }
}

fn header_text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).map_or("", |value| value.to_str().unwrap_or("invalid"))
}

/// What most requests are shorter than: 2,000 samples with their labels.
const USUAL_BYTES: usize = 256 * 1024;

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
        // Three times: the body, what it unpacks to, and the samples of it.
        let bytes_held = bytes.capacity() as u64 * 3;
        lease
            .grow_to(bytes_held)
            .map_err(|error| come_back(text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))))?;
    }
    Ok(bytes)
}

/// How long a sender shall wait that was refused for want of room, in seconds.
const RETRY_AFTER_S: u64 = 5;

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
