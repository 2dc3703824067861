//! Which path is answered by which handler, and what wraps them.
//!
//! ```text
//! request ─ panics caught ─ counted ─ HEAD, OPTIONS ─┬ always: probes, own metrics, pages
//!                                                    └ once ready: the API
//!                                                        compressed, CORS headers
//! ```

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::routing::{any, get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::compress::compress;
use crate::cors::cors;
use crate::state::{Readiness, Web};
use crate::{api, federate, ops, pages};

/// The patterns of all routes, as counted.
pub const PATTERNS: &[&str] = &[
    "/",
    "/graph",
    "/query",
    "/alerts",
    "/targets",
    "/rules",
    "/service-discovery",
    "/status",
    "/tsdb-status",
    "/flags",
    "/config",
    "/alertmanager-discovery",
    "/assets/{*filepath}",
    "/favicon.svg",
    "/favicon.ico",
    "/manifest.json",
    "/user/{*filepath}",
    "/consoles/{*filepath}",
    "/debug/{*subpath}",
    "/federate",
    "/metrics",
    "/version",
    "/-/healthy",
    "/-/ready",
    "/-/reload",
    "/-/quit",
    "/api/v1/{*path}",
    "/api/v1/query",
    "/api/v1/query_range",
    "/api/v1/query_exemplars",
    "/api/v1/format_query",
    "/api/v1/parse_query",
    "/api/v1/labels",
    "/api/v1/label/{name}/values",
    "/api/v1/series",
    "/api/v1/search/metric_names",
    "/api/v1/search/label_names",
    "/api/v1/search/label_values",
    "/api/v1/scrape_pools",
    "/api/v1/scrape_pools/config",
    "/api/v1/targets",
    "/api/v1/targets/metadata",
    "/api/v1/targets/relabel_steps",
    "/api/v1/metadata",
    "/api/v1/alertmanagers",
    "/api/v1/alerts",
    "/api/v1/rules",
    "/api/v1/features",
    "/api/v1/notifications",
    "/api/v1/notifications/live",
    "/api/v1/status/config",
    "/api/v1/status/flags",
    "/api/v1/status/runtimeinfo",
    "/api/v1/status/buildinfo",
    "/api/v1/status/tsdb",
    "/api/v1/status/tsdb/blocks",
    "/api/v1/status/walreplay",
    "/api/v1/status/self_metrics",
    "/api/v1/admin/tsdb/delete_series",
    "/api/v1/admin/tsdb/clean_tombstones",
    "/api/v1/admin/tsdb/snapshot",
    "/api/v1/read",
    "/api/v1/write",
    "/api/v1/otlp/v1/metrics",
    "/api/v1/openapi.yaml",
];

/// All routes below the route prefix.
pub fn router(web: Arc<Web>) -> Router {
    let routes = Router::new()
        .nest("/api/v1", api_routes(&web))
        .route(
            "/federate",
            get(federate::federate)
                .layer(middleware::from_fn(compress))
                .layer(middleware::from_fn_with_state(web.clone(), when_ready)),
        )
        .route("/-/healthy", get(ops::healthy))
        .route("/-/ready", get(ops::ready))
        .route("/-/reload", any(ops::reload))
        .route("/-/quit", any(ops::quit))
        .route("/metrics", get(ops::metrics).layer(middleware::from_fn(compress)))
        .route("/version", get(ops::version))
        .merge(page_routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(web.clone(), special_methods))
        .layer(middleware::from_fn_with_state(web.clone(), crate::instrument::count))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(web.clone());
    match web.options.route_prefix.trim_end_matches('/') {
        "" => routes,
        prefix => {
            let target = prefix.to_owned();
            let home = get(pages::home).with_state(web.clone());
            Router::new()
                .nest(prefix, routes)
                .route(&format!("{prefix}/"), home)
                .route("/", get(move || async move { pages::redirect(&target) }))
                .fallback(async || ops::text(StatusCode::NOT_FOUND, "404 page not found\n"))
        }
    }
}

/// The API: what needs a ready server, what does not, what is never compressed.
fn api_routes(web: &Arc<Web>) -> Router<Arc<Web>> {
    let cors = || middleware::from_fn_with_state(web.clone(), cors);
    let ready = || middleware::from_fn_with_state(web.clone(), when_ready);
    let compressed = Router::new()
        .route("/query", get(api::query::instant).post(api::query::instant))
        .route("/query_range", get(api::query::range).post(api::query::range))
        .route("/query_exemplars", get(api::exemplars::query).post(api::exemplars::query))
        .route("/format_query", get(api::parse::format).post(api::parse::format))
        .route("/parse_query", get(api::parse::parse).post(api::parse::parse))
        .route("/labels", get(api::labels::names).post(api::labels::names))
        .route("/label/{name}/values", get(api::labels::values))
        .route("/series", get(api::series::series).post(api::series::series).delete(api::series::delete))
        .route("/scrape_pools", get(api::targets::scrape_pools))
        .route("/scrape_pools/config", get(api::targets::scrape_pool_config))
        .route("/targets", get(api::targets::targets))
        .route("/targets/metadata", get(api::metadata::target_metadata))
        .route("/targets/relabel_steps", get(api::targets::relabel_steps))
        .route("/metadata", get(api::metadata::metadata))
        .route("/alertmanagers", get(api::alerts::alertmanagers))
        .route("/alerts", get(api::alerts::alerts))
        .route("/rules", get(api::alerts::rules))
        .route("/features", get(api::features::features))
        .route("/status/config", get(api::status::config))
        .route("/status/flags", get(api::status::flags))
        .route("/status/runtimeinfo", get(api::status::runtime_info))
        .route("/status/buildinfo", get(api::status::build_info))
        .route("/status/tsdb", get(api::status::tsdb))
        .route("/status/tsdb/blocks", get(api::status::tsdb_blocks))
        .route("/status/self_metrics", get(api::self_metrics::self_metrics))
        .route("/admin/tsdb/delete_series", post(api::admin::delete_series).put(api::admin::delete_series))
        .route(
            "/admin/tsdb/clean_tombstones",
            post(api::admin::clean_tombstones).put(api::admin::clean_tombstones),
        )
        .route("/admin/tsdb/snapshot", post(api::admin::snapshot).put(api::admin::snapshot))
        .route_layer(cors())
        .route_layer(middleware::from_fn(compress))
        .route_layer(ready());
    let plain = Router::new()
        .route("/search/metric_names", get(api::search::metric_names).post(api::search::metric_names))
        .route("/search/label_names", get(api::search::label_names).post(api::search::label_names))
        .route("/search/label_values", get(api::search::label_values).post(api::search::label_values))
        .route_layer(cors())
        .route_layer(ready());
    let received = Router::new()
        .route("/write", post(api::write::write))
        .route("/otlp/v1/metrics", post(api::write::otlp))
        .route_layer(ready());
    let early = Router::new()
        .route("/status/walreplay", get(api::status::wal_replay))
        .route("/notifications", get(api::notifications::notifications))
        .route("/notifications/live", get(api::notifications::live))
        .route("/openapi.yaml", get(api::openapi::document))
        .route_layer(cors());
    compressed.merge(plain).merge(received).merge(early)
}

fn page_routes() -> Router<Arc<Web>> {
    let mut routes = Router::new()
        .route("/", get(pages::home))
        .route("/graph", get(pages::graph))
        .route("/assets/{*filepath}", get(pages::asset))
        .route("/favicon.svg", get(pages::icon))
        .route("/favicon.ico", get(pages::icon))
        .route("/manifest.json", get(pages::manifest))
        .route("/user/{*filepath}", get(pages::user_asset))
        .route("/consoles/{*filepath}", get(pages::console))
        .route("/debug/{*subpath}", get(pages::debug).post(pages::debug));
    for page in pages::PAGES {
        routes = routes.route(page, get(pages::index));
    }
    routes
}

/// 404, or the way to the same path without the slash at its end.
async fn not_found(State(web): State<Arc<Web>>, method: Method, uri: Uri) -> Response<Body> {
    let path = uri.path();
    if let Some(target) = path.strip_suffix('/').filter(|path| PATTERNS.contains(path)) {
        let prefix = web.options.route_prefix.trim_end_matches('/');
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut response = pages::redirect(&format!("{prefix}{target}{query}"));
        *response.status_mut() = match method {
            Method::GET => StatusCode::MOVED_PERMANENTLY,
            _ => StatusCode::PERMANENT_REDIRECT,
        };
        return response;
    }
    ops::text(StatusCode::NOT_FOUND, "404 page not found\n")
}

async fn method_not_allowed() -> Response<Body> {
    ops::text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

/// A handler's bug ends its request, not the process.
fn panicked(cause: Box<dyn std::any::Any + Send>) -> Response<Body> {
    let cause = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    tracing::error!(component = "web", cause, "a request handler panicked");
    ops::text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
}

/// `HEAD` is for the probes alone; `OPTIONS` below the API asks for CORS headers.
async fn special_methods(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response<Body> {
    let path = request.uri().path();
    match *request.method() {
        Method::HEAD if !matches!(path, "/-/healthy" | "/-/ready") => {
            let mut response = method_not_allowed().await;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, OPTIONS"));
            response
        }
        Method::OPTIONS if path.starts_with("/api/v1/") => match web.readiness() {
            Readiness::Ready => {
                let mut response = api::no_content();
                let origin = request.headers().get(header::ORIGIN).cloned();
                web.origins.set(response.headers_mut(), origin);
                response
            }
            other => ops::not_ready(other),
        },
        _ => next.run(request).await,
    }
}

/// Answers 503 for the whole handler before the server is ready and while it stops.
async fn when_ready(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response<Body> {
    match web.readiness() {
        Readiness::Ready => next.run(request).await,
        other => ops::not_ready(other),
    }
}
