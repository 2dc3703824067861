//! Which path is answered by which handler, and what wraps them.
//!
//! ```text
//! request ─ path cleaned, HEAD and OPTIONS ─ panics caught ─ counted
//!   ├ always: probes, own metrics, pages
//!   └ once ready: the API, compressed, with CORS headers
//! ```

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::compress::{compress, compress_page};
use crate::cors::cors;
use crate::state::{Readiness, Web};
use crate::{api, consoles, federate, ops, pages, profiles};

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
    USER_ASSETS,
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
    "/api/v1/narthex/explain",
    "/api/v1/narthex/queries",
    "/api/v1/narthex/queries/cancel",
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

/// Files of `--web.user-assets`: no route without the flag.
pub const USER_ASSETS: &str = "/user/{*filepath}";

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
        .route("/-/reload", get(ops::reload).post(ops::reload).put(ops::reload))
        .route("/-/quit", get(ops::quit).post(ops::quit).put(ops::quit))
        .route("/metrics", get(ops::metrics).layer(middleware::from_fn(compress_page)))
        .route("/version", get(ops::version))
        .merge(page_routes(&web))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(web.clone(), preflight))
        .layer(middleware::from_fn_with_state(web.clone(), crate::instrument::count))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(web.clone());
    // Layers of a router run behind its choice of path and method; this one runs before.
    let routes = Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn_with_state(web.clone(), special_methods));
    if web.options.route_prefix.trim_matches('/').is_empty() {
        return routes;
    }
    Router::new().fallback_service(routes).layer(middleware::from_fn_with_state(web, below_prefix))
}

/// Takes the route prefix from a path.
async fn below_prefix(State(web): State<Arc<Web>>, mut request: Request, next: Next) -> Response<Body> {
    let prefix = web.options.route_prefix.trim_end_matches('/');
    let (method, uri) = (request.method(), request.uri());
    if let Some(cleaned) = clean(uri.path()) {
        let target = with_query(&cleaned, uri.query());
        return pages::redirect(StatusCode::TEMPORARY_REDIRECT, method, &target);
    }
    match after_prefix(uri.path(), prefix) {
        Some("") if method == Method::GET => redirect_within(&web, moved(method), method, uri, "/"),
        Some("") => ops::not_found(),
        Some(rest) if rest.starts_with('/') => {
            let mut parts = uri.clone().into_parts();
            // What follows a slash in a URL may stand in one by itself.
            let Ok(inner) = with_query(rest, uri.query()).parse() else { return ops::not_found() };
            parts.path_and_query = Some(inner);
            let Ok(inner) = Uri::from_parts(parts) else { return ops::not_found() };
            *request.uri_mut() = inner;
            next.run(request).await
        }
        _ => outside_prefix(&web, method, uri).await,
    }
}

/// Outside the route prefix there is the way to it, from the root and from the same
/// path in other letters.
async fn outside_prefix(web: &Web, method: &Method, uri: &Uri) -> Response<Body> {
    let (path, prefix) = (uri.path(), web.options.route_prefix.trim_end_matches('/'));
    if path == "/" {
        if method == Method::GET {
            return pages::redirect(StatusCode::FOUND, method, prefix);
        }
        let mut response = match *method {
            Method::OPTIONS => Response::new(Body::empty()),
            _ => method_not_allowed().await,
        };
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, OPTIONS"));
        return response;
    }
    let start = path.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix));
    match start.and_then(|_| as_a_route(&path[prefix.len()..], web)) {
        Some(route) => redirect_within(web, moved(method), method, uri, &route),
        None => ops::not_found(),
    }
}

/// What follows a prefix in a path, which may write its characters as escapes.
fn after_prefix<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let mut rest = path.as_bytes();
    for &wanted in prefix.as_bytes() {
        let (byte, len) = match *rest {
            [b'%', high, low, ..] => {
                let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                (digit(high)? << 4 | digit(low)?, 3)
            }
            [byte, ..] => (byte, 1),
            [] => return None,
        };
        if byte != wanted {
            return None;
        }
        rest = &rest[len..];
    }
    path.get(path.len() - rest.len()..)
}

fn with_query(path: &str, query: Option<&str>) -> String {
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// The API: what needs a ready server, what does not, what is never compressed.
fn api_routes(web: &Arc<Web>) -> Router<Arc<Web>> {
    let cors = || middleware::from_fn_with_state(web.clone(), cors);
    let ready = || middleware::from_fn_with_state(web.clone(), when_ready);
    let compressed = Router::new()
        .route("/query", get(api::query::instant).post(api::query::instant))
        .route("/query_range", get(api::query::range).post(api::query::range))
        .route("/narthex/explain", get(api::query::explain).post(api::query::explain))
        .route("/narthex/queries", get(api::queries::running))
        .route("/narthex/queries/cancel", post(api::queries::cancel).put(api::queries::cancel))
        .route("/query_exemplars", get(api::exemplars::query).post(api::exemplars::query))
        .route("/format_query", get(api::parse::format).post(api::parse::format))
        .route("/parse_query", get(api::parse::parse).post(api::parse::parse))
        .route("/labels", get(api::labels::names).post(api::labels::names))
        .route("/label/{name}/values", get(api::labels::values))
        .route("/series", get(api::series::series).post(api::series::series))
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
        .route("/read", post(api::write::read_disabled))
        .route("/otlp/v1/metrics", post(api::write::otlp))
        .route_layer(ready());
    let early = Router::new()
        .route("/status/walreplay", get(api::status::wal_replay))
        .route("/notifications", get(api::notifications::notifications))
        .route("/notifications/live", get(api::notifications::live))
        .route_layer(cors());
    let described = Router::new().route("/openapi.yaml", get(api::openapi::document)).route_layer(ready());
    compressed.merge(plain).merge(received).merge(early).merge(described)
}

fn page_routes(web: &Arc<Web>) -> Router<Arc<Web>> {
    let console = || get(consoles::console).layer(middleware::from_fn_with_state(web.clone(), when_ready));
    let mut routes = Router::new()
        .route("/", get(pages::home))
        .route("/graph", get(pages::graph))
        .route("/assets/{*filepath}", get(pages::asset))
        .route("/favicon.svg", get(pages::icon))
        .route("/favicon.ico", get(pages::icon))
        .route("/manifest.json", get(pages::manifest))
        .route("/consoles/", console())
        .route("/consoles/{*filepath}", console())
        .route("/debug/{*subpath}", get(profiles::debug).post(profiles::debug));
    if web.options.has_user_assets() {
        let asset = || get(pages::user_asset);
        routes = routes.route("/user/", asset()).route(USER_ASSETS, asset());
    }
    for page in pages::PAGES {
        routes = routes.route(page, get(pages::index));
    }
    routes
}

/// 404, or the way to the same path without the slash at its end, with the one
/// that it lacks, or in small letters.
async fn not_found(State(web): State<Arc<Web>>, method: Method, uri: Uri) -> Response<Body> {
    let path = uri.path();
    let is_folder = match path {
        "/consoles" | "/debug" => true,
        "/user" => web.options.has_user_assets(),
        _ => false,
    };
    let target = match path.strip_suffix('/') {
        Some(file) => Some(file.to_owned()).filter(|path| PATTERNS.iter().any(|it| matches(it, path))),
        None if is_folder && method == Method::GET => Some(format!("{path}/")),
        None => as_a_route(path, &web).filter(|route| route != path),
    };
    match target {
        Some(target) => redirect_within(&web, moved(&method), &method, &uri, &target),
        None => ops::not_found(),
    }
}

/// How a request is sent to the right path.
fn moved(method: &Method) -> StatusCode {
    match *method {
        Method::GET => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::TEMPORARY_REDIRECT,
    }
}

/// The route outside the API that a path means, whatever its letters' case.
fn as_a_route(path: &str, web: &Web) -> Option<String> {
    let patterns = PATTERNS.iter().filter(|pattern| !pattern.starts_with("/api/"));
    let mut known = patterns.filter(|pattern| **pattern != USER_ASSETS || web.options.has_user_assets());
    known.find_map(|pattern| match pattern.split_once("{*") {
        Some((folder, _)) => {
            let start = path.get(..folder.len())?;
            start.eq_ignore_ascii_case(folder).then(|| format!("{folder}{}", &path[folder.len()..]))
        }
        None => pattern.eq_ignore_ascii_case(path).then(|| (*pattern).to_owned()),
    })
}

/// Whether a path has the shape of a route.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut have) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), have.next()) {
            (None, None) => return true,
            (Some(part), Some(_)) if part.starts_with("{*") => return false,
            (Some(part), Some(text)) if part == text || (part.starts_with('{') && !text.is_empty()) => {}
            _ => return false,
        }
    }
}

/// To another path of this server, with the same query.
fn redirect_within(web: &Web, status: StatusCode, method: &Method, uri: &Uri, path: &str) -> Response<Body> {
    let prefix = web.options.route_prefix.trim_end_matches('/');
    pages::redirect(status, method, &with_query(&format!("{prefix}{path}"), uri.query()))
}

async fn method_not_allowed() -> Response<Body> {
    ops::error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

/// The parts of a path without empty and dotted ones: two dots lead up, not above
/// the root.
pub(crate) fn plain_parts(path: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

/// A path without empty and dotted parts; `None` where it has none.
fn clean(path: &str) -> Option<String> {
    if !path.contains("//") && !path.contains("/.") {
        return None;
    }
    let parts = plain_parts(path);
    let slash = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    let cleaned = format!("/{}{slash}", parts.join("/"));
    (cleaned != path).then_some(cleaned)
}

/// The methods of a route as upstream lists them: sorted, with `OPTIONS`, and
/// `HEAD` for the probes alone.
fn list_methods(headers: &mut HeaderMap, is_probe: bool) {
    let Some(allow) = headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok()) else { return };
    let named = allow.split(',').map(str::trim).filter(|method| is_probe || *method != "HEAD");
    let mut methods: Vec<&str> = named.chain(["OPTIONS"]).collect();
    methods.sort_unstable();
    if let Ok(methods) = HeaderValue::from_str(&methods.join(", ")) {
        headers.insert(header::ALLOW, methods);
    }
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

/// Paths are cleaned before all else. `HEAD` is for the probes alone, and
/// `OPTIONS` tells the methods of a route; below the API it is [`preflight`]'s.
async fn special_methods(State(web): State<Arc<Web>>, mut request: Request, next: Next) -> Response<Body> {
    let path = request.uri().path();
    if let Some(cleaned) = clean(path) {
        let status = StatusCode::TEMPORARY_REDIRECT;
        return redirect_within(&web, status, request.method(), request.uri(), &cleaned);
    }
    let is_probe = matches!(path, "/-/healthy" | "/-/ready");
    let is_api = path.starts_with("/api/v1/");
    let method = request.method().clone();
    match method {
        // No route has this method, so that the router tells which it has.
        Method::HEAD if !is_probe => *request.method_mut() = Method::TRACE,
        Method::OPTIONS if !is_api => *request.method_mut() = Method::TRACE,
        _ => {}
    }
    let mut response = next.run(request).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        list_methods(response.headers_mut(), is_probe);
        if method == Method::OPTIONS {
            let allow = response.headers_mut().remove(header::ALLOW);
            response = Response::new(Body::empty());
            response.headers_mut().extend(allow.map(|allow| (header::ALLOW, allow)));
        }
    } else {
        response.headers_mut().remove(header::ALLOW);
    }
    if method == Method::HEAD && is_probe {
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    response
}

/// `OPTIONS` below the API asks for CORS headers, whatever the path.
async fn preflight(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response<Body> {
    if request.method() != Method::OPTIONS {
        return next.run(request).await;
    }
    match web.readiness() {
        Readiness::Ready => {
            let mut response = api::no_content();
            let origin = request.headers().get(header::ORIGIN).cloned();
            web.origins.set(response.headers_mut(), origin);
            response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            response
        }
        other => ops::not_ready(other),
    }
}

/// Answers 503 for the whole handler before the server is ready and while it stops.
async fn when_ready(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response<Body> {
    match web.readiness() {
        Readiness::Ready => next.run(request).await,
        other => ops::not_ready(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_upstreams_server_does() {
        for (path, cleaned) in [
            ("/api/v1/query", None),
            ("//api/v1/query", Some("/api/v1/query")),
            ("/api/v1//query/", Some("/api/v1/query/")),
            ("/api/v1/../v2/./x", Some("/api/v2/x")),
            ("/../..", Some("/")),
            ("/a/.b", None),
        ] {
            assert_eq!(clean(path).as_deref(), cleaned, "{path}");
        }
    }

    #[test]
    fn a_prefix_may_be_written_with_escapes() {
        for (path, rest) in [
            ("/é/-/ready", Some("/-/ready")),
            ("/%C3%a9/-/ready", Some("/-/ready")),
            ("/é", Some("")),
            ("/éx", Some("x")),
            ("/%C3", None),
            ("/%", None),
            ("/e", None),
        ] {
            assert_eq!(after_prefix(path, "/é"), rest, "{path}");
        }
    }

    #[test]
    fn a_path_is_matched_part_by_part() {
        assert!(matches("/api/v1/label/{name}/values", "/api/v1/label/job/values"));
        assert!(!matches("/api/v1/label/{name}/values", "/api/v1/label//values"));
        assert!(!matches("/user/{*filepath}", "/user/x"));
        assert!(!matches("/metrics", "/metrics/x"));
    }
}
