//! `/notifications` and `/notifications/live`: what the operator shall know.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, header};

use super::{Answer, no_content, success};
use crate::state::Web;

/// `/notifications`: what holds now.
pub async fn notifications(State(web): State<Arc<Web>>) -> Answer {
    success(&web.notifications.active(), &[])
}

/// `/notifications/live`: what holds now and every change, as server-sent events.
pub async fn live(State(web): State<Arc<Web>>) -> Response<Body> {
    let Some(events) = web.notifications.subscribe() else { return no_content() };
    let mut response = Response::new(crate::body::from_channel(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    response
}
