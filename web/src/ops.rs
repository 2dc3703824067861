//! Probes and lifecycle: `/-/healthy`, `/-/ready`, `/-/reload`, `/-/quit`,
//! `/metrics`, `/version`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use tokio::sync::oneshot;

use crate::api::status::BuildInfo;
use crate::exposition::Accepted;
use crate::state::{Readiness, Web};

/// A plain-text answer.
pub fn text(status: StatusCode, body: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A plain-text error, which no browser shall take for something else.
pub fn error(status: StatusCode, body: impl Into<String>) -> Response<Body> {
    let mut response = text(status, body);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// There is nothing at this path.
pub fn not_found() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// What a handler behind readiness answers before and after the server is ready.
pub fn not_ready(readiness: Readiness) -> Response<Body> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
    let stopping = if readiness == Readiness::Stopping { "true" } else { "false" };
    response.headers_mut().insert("X-Prometheus-Stopping", HeaderValue::from_static(stopping));
    response
}

/// `/-/healthy`: the process answers.
pub async fn healthy() -> Response<Body> {
    text(StatusCode::OK, "Prometheus Server is Healthy.\n")
}

/// `/-/ready`: queries are answered.
pub async fn ready(State(web): State<Arc<Web>>) -> Response<Body> {
    match web.readiness() {
        Readiness::Ready => text(StatusCode::OK, "Prometheus Server is Ready.\n"),
        other => not_ready(other),
    }
}

/// Why a lifecycle call does not act: by method first, then by flag.
fn refusal(web: &Web, method: &Method) -> Option<Response<Body>> {
    if method != Method::POST && method != Method::PUT {
        return Some(text(StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed"));
    }
    (!web.options.enable_lifecycle).then(|| text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled."))
}

/// `/-/reload`: loads the configuration anew and waits for the outcome.
pub async fn reload(State(web): State<Arc<Web>>, method: Method) -> Response<Body> {
    if let Some(refusal) = refusal(&web, &method) {
        return refusal;
    }
    let (answer, outcome) = oneshot::channel();
    let failed = |reason: &str| {
        error(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {reason}\n"))
    };
    if web.reload.send(answer).await.is_err() {
        return failed("the server is stopping");
    }
    match outcome.await {
        Ok(Ok(())) => Response::new(Body::empty()),
        Ok(Err(reason)) => failed(&reason),
        Err(_) => failed("the server is stopping"),
    }
}

/// `/-/quit`: stops the server.
pub async fn quit(State(web): State<Arc<Web>>, method: Method) -> Response<Body> {
    if let Some(refusal) = refusal(&web, &method) {
        return refusal;
    }
    if web.quit_requested.swap(true, Ordering::AcqRel) {
        return text(StatusCode::OK, "Termination already in progress.");
    }
    // A full channel means that somebody else asked at this moment.
    let _ = web.quit.try_send(());
    text(StatusCode::OK, "Requesting termination... Goodbye!")
}

/// `/metrics`: own metrics in the format asked for.
pub async fn metrics(State(web): State<Arc<Web>>, headers: HeaderMap) -> Response<Body> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let accepted = Accepted::negotiate(accept, true);
    web.http.page_started();
    let page = accepted.format.encode(&web.registry.gather());
    web.http.page_ended();
    let mut response = Response::new(Body::from(page));
    if let Ok(kind) = HeaderValue::from_str(&accepted.content_type()) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// `/version`: facts of the build.
pub async fn version(State(web): State<Arc<Web>>) -> Response<Body> {
    let mut body = crate::json::to_vec(&BuildInfo(&web.options.build));
    body.push(b'\n');
    let mut response = Response::new(Body::from(body));
    // Upstream names no type, so that its server takes it for plain text.
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
