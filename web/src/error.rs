//! Errors of the API: the one place where a kind of error becomes a status.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use model::StorageError;
use model::query::CancelReason;

/// The kinds of errors that clients tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is malformed.
    BadData,
    /// The query cannot be evaluated.
    Execution,
    /// The client, or an operator, stopped it.
    Canceled,
    /// Its time ran out.
    Timeout,
    /// Our fault, or the disk's.
    Internal,
    /// Not now, or not with these flags.
    Unavailable,
    /// No such thing.
    NotFound,
}

impl ErrorKind {
    /// The `errorType` of the answer.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::BadData => "bad_data",
            ErrorKind::Execution => "execution",
            ErrorKind::Canceled => "canceled",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Internal => "internal",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::NotFound => "not_found",
        }
    }

    /// The status of the answer. Source: Prometheus `web/api/v1`, `respondError`.
    pub fn status(self) -> StatusCode {
        match self {
            ErrorKind::BadData => StatusCode::BAD_REQUEST,
            ErrorKind::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Canceled => StatusCode::from_u16(499).expect("499 is in the range of status codes"),
            ErrorKind::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Internal | ErrorKind::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
        }
    }
}

/// An error answer of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Its kind.
    pub kind: ErrorKind,
    /// What to tell the client.
    pub message: String,
}

impl ApiError {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> ApiError {
        ApiError { kind, message: message.into() }
    }

    /// A malformed request.
    pub fn bad_data(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorKind::BadData, message)
    }

    /// A malformed parameter: `invalid parameter "name": reason`.
    pub fn parameter(name: &str, reason: impl std::fmt::Display) -> ApiError {
        ApiError::bad_data(format!("invalid parameter {}: {reason}", model::labels::go_quote(name)))
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> ApiError {
        let kind = match &error {
            StorageError::NotReady => ErrorKind::Unavailable,
            StorageError::Io { .. } | StorageError::Corrupt { .. } => ErrorKind::Internal,
            StorageError::Stopped(CancelReason::Canceled) => ErrorKind::Canceled,
            StorageError::Stopped(CancelReason::TimedOut) => ErrorKind::Timeout,
            StorageError::Memory(_) | StorageError::Unsupported => ErrorKind::Execution,
            StorageError::Invalid(_) => ErrorKind::BadData,
        };
        ApiError::new(kind, error.to_string())
    }
}

impl axum::response::IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let mut body = Vec::with_capacity(128 + self.message.len());
        body.extend_from_slice(b"{\"status\":\"error\",\"errorType\":\"");
        body.extend_from_slice(self.kind.as_str().as_bytes());
        body.extend_from_slice(b"\",\"error\":");
        crate::json::write_string(&mut body, &self.message);
        body.push(b'}');
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.kind.status();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        response
    }
}
