//! Which pages of other origins may read answers.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use axum::middleware::Next;
use model::{MatchOp, Matcher};

use crate::state::Web;

/// The origins that are allowed.
pub enum AllowedOrigins {
    /// Those that match as a whole; by default every one.
    Matching(Matcher),
    /// None: the expression does not compile, which the server refuses at its start.
    None,
}

impl AllowedOrigins {
    /// The origins that a regular expression names.
    pub fn new(pattern: &str) -> AllowedOrigins {
        Matcher::new(MatchOp::Regex, "origin", pattern).map_or(AllowedOrigins::None, AllowedOrigins::Matching)
    }

    /// Adds the headers by which browsers decide.
    pub(crate) fn set(&self, headers: &mut HeaderMap, origin: Option<HeaderValue>) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = origin.filter(|origin| !origin.is_empty()) else { return };
        let fixed: [(HeaderName, &'static str); 3] = [
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let allowed = match self {
            AllowedOrigins::Matching(matcher) => {
                let matches = origin.to_str().is_ok_and(|origin| matcher.matches(origin));
                matches.then_some(origin)
            }
            AllowedOrigins::None => None,
        };
        if let Some(allowed) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        }
    }
}

/// Adds the headers to what the handler answers.
pub async fn cors(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response<Body> {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = next.run(request).await;
    web.origins.set(response.headers_mut(), origin);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(pattern: &str, origin: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        AllowedOrigins::new(pattern).set(&mut headers, Some(HeaderValue::from_static(origin)));
        assert_eq!(headers[header::VARY], "Origin");
        let value = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_origin_that_may_read_is_named() {
        assert_eq!(allowed(".*", "https://a.test").as_deref(), Some("https://a.test"));
        assert_eq!(allowed("https://(a|b).test", "https://a.test").as_deref(), Some("https://a.test"));
        assert_eq!(allowed("https://a", "https://a.test"), None);
        assert_eq!(allowed("(", "https://a.test"), None);
        assert_eq!(allowed(".*", ""), None, "an empty one is none");
    }
}
