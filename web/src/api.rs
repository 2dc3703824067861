//! `/api/v1`: one file a group of endpoints, and the envelope all answers share.

pub mod admin;
pub mod alerts;
pub mod exemplars;
pub mod features;
pub mod labels;
pub mod metadata;
pub mod notifications;
pub mod openapi;
pub mod parse;
pub mod queries;
pub mod query;
pub mod search;
pub mod self_metrics;
pub mod series;
pub mod status;
pub mod targets;
pub mod write;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use model::Matcher;
use serde::Serialize;

use crate::body::List;
use crate::error::{ApiError, ErrorKind};
use crate::json;
use crate::params::{Params, parse_selector};

/// An answer of the API, or the error it answers with.
pub type Answer = Result<Response<Body>, ApiError>;

/// `{"status":"success","data":…}` with warnings where there are some.
pub fn success<T: Serialize + ?Sized>(data: &T, warnings: &[String]) -> Answer {
    Ok(respond(envelope(&json::to_vec(data), warnings, &[])))
}

/// The envelope around data that is JSON already.
pub fn envelope(data: &[u8], warnings: &[String], infos: &[String]) -> Vec<u8> {
    let mut body = Vec::with_capacity(data.len() + 64);
    body.extend_from_slice(b"{\"status\":\"success\",\"data\":");
    body.extend_from_slice(data);
    write_annotations(&mut body, warnings, infos);
    body.push(b'}');
    body
}

/// A list as the data of an answer, made piece by piece; `write` appends one
/// element.
pub fn list(
    len: usize,
    warnings: &[String],
    write: impl FnMut(&mut Vec<u8>, usize) + Send + Unpin + 'static,
) -> Response<Body> {
    let mut tail = b"]".to_vec();
    write_annotations(&mut tail, warnings, &[]);
    tail.push(b'}');
    let list = List::new("{\"status\":\"success\",\"data\":[", len, tail, write);
    respond(crate::body::from_iterator(list))
}

/// The keys `warnings` and `infos`, each only where there are some.
pub fn write_annotations(body: &mut Vec<u8>, warnings: &[String], infos: &[String]) {
    for (key, texts) in [("warnings", warnings), ("infos", infos)] {
        if !texts.is_empty() {
            body.extend_from_slice(format!(",\"{key}\":").as_bytes());
            body.extend_from_slice(&json::to_vec(texts));
        }
    }
}

/// A JSON answer with status 200.
pub fn respond(body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 204: done, and nothing to say.
pub fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Adds a warning; each is told once.
pub fn add_warning(warnings: &mut Vec<String>, text: &str) {
    if !warnings.iter().any(|have| have == text) {
        warnings.push(text.to_owned());
    }
}

/// What is said where a limit cut an answer.
pub const TRUNCATED: &str = "results truncated due to limit";

/// The selectors of `match[]`. Some endpoints name the parameter in front of
/// what is wrong with it, see [`named_matcher_sets`].
///
/// # Errors
/// One is malformed, or matches every series.
pub fn matcher_sets(params: &Params) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let sets: Result<Vec<Vec<Matcher>>, _> = params.all("match[]").map(parse_selector).collect();
    let sets = sets.map_err(|error| ApiError::bad_data(error.to_string()))?;
    match sets.iter().any(|matchers| matchers.iter().all(Matcher::matches_empty)) {
        true => Err(ApiError::bad_data("match[] must contain at least one non-empty matcher")),
        false => Ok(sets),
    }
}

/// As [`matcher_sets`], with the parameter's name in front of faults.
///
/// # Errors
/// As [`matcher_sets`].
pub fn named_matcher_sets(params: &Params) -> Result<Vec<Vec<Matcher>>, ApiError> {
    matcher_sets(params).map_err(|error| ApiError::parameter("match[]", error.message))
}

/// Runs storage or query work on a worker thread, away from the sockets.
///
/// # Errors
/// The work's own, or `internal` where it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::error!(component = "web", %error, "a worker failed");
            Err(ApiError::new(ErrorKind::Internal, "the worker of this request failed"))
        }
    }
}
