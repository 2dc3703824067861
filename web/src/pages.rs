//! The web pages: one page for all paths, its script and style, and the files
//! of operators.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path as UrlPath, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use net::go_url::GoUrl;

use crate::files;
use crate::ops::not_found;
use crate::state::Web;

const INDEX: &str = include_str!("../assets/index.html");
const SCRIPT: &str = include_str!("../assets/app.js");
const STYLE: &str = include_str!("../assets/style.css");
const ICON: &str = include_str!("../assets/favicon.svg");
const MANIFEST: &str = include_str!("../assets/manifest.json");

/// The page may load its own script and style and ask this server, no more.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'self'";

/// Where the page's title goes.
const TITLE: &str = "TITLE_PLACEHOLDER";

/// The paths that answer the page.
pub const PAGES: [&str; 10] = [
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
];

fn page(kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Where the link to the consoles goes.
const CONSOLES: &str = "<!-- CONSOLES_LINK_PLACEHOLDER -->";

/// The page.
pub async fn index(State(web): State<Arc<Web>>) -> Response<Body> {
    let link = match consoles_path(&web).await {
        Some(path) => format!("<a href=\"{}\">Consoles</a>", escaped(&path)),
        None => String::new(),
    };
    let text = INDEX.replace(TITLE, &escaped(&web.options.page_title)).replace(CONSOLES, &link);
    page("text/html; charset=utf-8", text)
}

/// The first page of the consoles, else that of the operator's own files.
async fn consoles_path(web: &Web) -> Option<String> {
    let folders = [("web.console.templates", "consoles"), ("web.user-assets", "user")];
    for (flag, route) in folders {
        let folder = web.options.flag(flag);
        let index = Path::new(folder).join("index.html");
        if !folder.is_empty() && tokio::fs::try_exists(&index).await.unwrap_or(true) {
            return Some(format!("{}/{route}/index.html", external_path(web)));
        }
    }
    None
}

/// A text as HTML shows it.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A file of the page.
pub async fn asset(UrlPath(path): UrlPath<String>) -> Response<Body> {
    match path.as_str() {
        "app.js" => page("text/javascript; charset=utf-8", SCRIPT),
        "style.css" => page("text/css; charset=utf-8", STYLE),
        _ => not_found(),
    }
}

/// The icon.
pub async fn icon() -> Response<Body> {
    page("image/svg+xml", ICON)
}

/// What browsers ask of an application.
pub async fn manifest() -> Response<Body> {
    page("application/manifest+json", MANIFEST)
}

/// `/`: to the query page.
pub async fn home(State(web): State<Arc<Web>>) -> Response<Body> {
    redirect(StatusCode::FOUND, &Method::GET, &format!("{}/query", external_path(&web)))
}

/// `/graph`: where the query page was in earlier versions.
pub async fn graph(State(web): State<Arc<Web>>, RawQuery(query): RawQuery) -> Response<Body> {
    let target = format!("{}/query?{}", external_path(&web), query.unwrap_or_default());
    redirect(StatusCode::FOUND, &Method::GET, &target)
}

/// The path of the external URL, without a slash at the end.
pub(crate) fn external_path(web: &Web) -> String {
    let path = GoUrl::parse(&web.options.external_url).unwrap_or_default().plain_path();
    match path.trim_end_matches('/') {
        "" => String::new(),
        path => format!("/{}", path.trim_start_matches('/')),
    }
}

/// To another path, with a link for those that read.
pub fn redirect(status: StatusCode, method: &Method, target: &str) -> Response<Body> {
    let reason = status.canonical_reason().unwrap_or_default();
    let body = match *method {
        Method::GET => format!("<a href=\"{}\">{reason}</a>.\n\n", escaped(target)),
        _ => String::new(),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if *method == Method::GET {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    let mut location = String::with_capacity(target.len());
    for byte in target.bytes() {
        match byte {
            0x80.. => location.push_str(&format!("%{byte:02x}")),
            _ => location.push(char::from(byte)),
        }
    }
    if let Ok(location) = HeaderValue::from_str(&location) {
        headers.insert(header::LOCATION, location);
    }
    response
}

/// `/user/…`: files below the folder of `--web.user-assets`.
pub async fn user_asset(
    State(web): State<Arc<Web>>,
    path: Option<UrlPath<String>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    let folder = web.options.flag("web.user-assets");
    files::serve(Path::new(folder), &rooted(path), query.as_deref(), &headers).await
}

/// What follows a route's prefix, from its slash on.
pub(crate) fn rooted(path: Option<UrlPath<String>>) -> String {
    format!("/{}", path.map(|UrlPath(path)| path).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_inline_script_or_style() {
        assert!(!INDEX.contains("<style") && !INDEX.contains(" style=") && !INDEX.contains("onclick"));
        assert_eq!(INDEX.matches("<script").count(), 1);
        assert!(INDEX.contains(r#"<script src="./assets/app.js" defer></script>"#));
        assert_eq!(INDEX.matches(TITLE).count(), 1);
        assert_eq!(INDEX.matches(CONSOLES).count(), 1);
    }
}
