//! Metrics of the HTTP server: requests, durations and sizes by route.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, Response, StatusCode};
use axum::middleware::Next;
use http_body::{Frame, SizeHint};
use model::Clock;
use model::metrics::{Counter, Gauge, HistogramMetric, HistogramOptions, Registry, Vector};

use crate::state::Web;

/// Counters and histograms by route pattern, upstream's names.
pub struct HttpMetrics {
    clock: Arc<dyn Clock>,
    requests: Vector<Counter>,
    duration: Vector<HistogramMetric>,
    size: Vector<HistogramMetric>,
    pages: Vector<Counter>,
    pages_in_flight: Gauge,
}

impl HttpMetrics {
    /// Registers the instruments; every route shows its successes from the start.
    pub fn new(registry: &Registry, clock: Arc<dyn Clock>, has_user_assets: bool) -> HttpMetrics {
        let seconds = [0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0];
        let bytes = [100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
        let metrics = HttpMetrics {
            clock,
            requests: registry.counter_vec(
                "prometheus_http_requests_total",
                "Counter of HTTP requests.",
                &["handler", "code"],
            ),
            duration: registry.histogram_vec(
                "prometheus_http_request_duration_seconds",
                "Histogram of latencies for HTTP requests.",
                &["handler"],
                HistogramOptions::classic(&seconds).with_native(1.1),
            ),
            size: registry.histogram_vec(
                "prometheus_http_response_size_bytes",
                "Histogram of response size for HTTP requests.",
                &["handler"],
                HistogramOptions::classic(&bytes),
            ),
            pages: registry.counter_vec(
                "promhttp_metric_handler_requests_total",
                "Total number of scrapes by HTTP status code.",
                &["code"],
            ),
            pages_in_flight: registry.gauge(
                "promhttp_metric_handler_requests_in_flight",
                "Current number of scrapes being served.",
            ),
        };
        let is_route = |pattern: &&&str| has_user_assets || **pattern != crate::router::USER_ASSETS;
        for pattern in crate::router::PATTERNS.iter().filter(is_route) {
            metrics.requests.with(&[&handler_name(pattern, ""), "200"]);
        }
        for code in ["200", "500", "503"] {
            metrics.pages.with(&[code]);
        }
        metrics
    }

    /// A page of own metrics is being made.
    pub fn page_started(&self) {
        self.pages_in_flight.inc();
    }

    /// A page of own metrics is made.
    pub fn page_ended(&self) {
        self.pages_in_flight.dec();
        self.pages.with(&["200"]).inc();
    }
}

/// Counts a request under the pattern of its route, when its answer has left.
pub async fn count(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response<Body> {
    let pattern = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    // Below the API every path has this method, which a route of its own answers;
    // elsewhere it is another by now.
    let handler = match pattern {
        _ if request.method() == Method::OPTIONS => "/api/v1/*path".to_owned(),
        Some(pattern) => handler_name(&pattern, &web.options.route_prefix),
        None => return next.run(request).await,
    };
    let started = web.http.clock.monotonic();
    let mut counting = Counting { web, handler, started, status: None, bytes: 0 };
    let response = next.run(request).await;
    // A method that a route does not have never reaches a handler; those below
    // `/-/` refuse methods themselves.
    if response.status() == StatusCode::METHOD_NOT_ALLOWED && !counting.handler.starts_with("/-/") {
        counting.handler.clear();
    }
    counting.status = Some(response.status());
    response.map(|body| Body::new(Counted { body, counting }))
}

/// A request under way; it is counted when this is dropped.
struct Counting {
    web: Arc<Web>,
    /// Empty for a request that is not counted.
    handler: String,
    started: Duration,
    /// `None` until there is an answer: where there never is one, the client left.
    status: Option<StatusCode>,
    bytes: u64,
}

impl Drop for Counting {
    fn drop(&mut self) {
        if self.handler.is_empty() {
            return;
        }
        let http = &self.web.http;
        let elapsed = http.clock.monotonic().saturating_sub(self.started);
        let code = self.status.map_or(499, |status| status.as_u16());
        http.requests.with(&[&self.handler, &code.to_string()]).inc();
        http.duration.with(&[&self.handler]).observe(elapsed.as_secs_f64());
        http.size.with(&[&self.handler]).observe(self.bytes as f64);
    }
}

/// A body whose bytes are counted.
struct Counted {
    body: Body,
    counting: Counting,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(piece) = frame.data_ref()
        {
            self.counting.bytes += piece.len() as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A route as upstream names it: without the prefix, `:name` for `{name}`,
/// `*path` for `{*path}`.
fn handler_name(pattern: &str, prefix: &str) -> String {
    let path = pattern.strip_prefix(prefix.trim_end_matches('/')).unwrap_or(pattern);
    let name = path.replace("{*", "*").replace('{', ":").replace('}', "");
    // Upstream's `/user/*filepath` is two routes here: one for no file at all.
    if name.len() > 1 && name.ends_with('/') { format!("{name}*filepath") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_named_as_upstream_does() {
        assert_eq!(handler_name("/api/v1/label/{name}/values", "/"), "/api/v1/label/:name/values");
        assert_eq!(handler_name("/prom/consoles/{*filepath}", "/prom"), "/consoles/*filepath");
        assert_eq!(handler_name("/prom/consoles/", "/prom"), "/consoles/*filepath");
        assert_eq!(handler_name("/", "/"), "/");
    }
}
