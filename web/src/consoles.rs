//! `/consoles/…`: pages made by templates of the operator.
//!
//! ```text
//! file below --web.console.templates ─┐
//! *.lib in --web.console.libraries ───┴─▶ template ─ query ─▶ engine
//!                                             └─▶ page
//! ```
//!
//! Source: Prometheus `web/web.go`, `consoles`.

use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path as UrlPath, Request, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use promql::Query;
use promql::observer::Origin;
use promql::value::{SampleValue, Value};
use template::{Expander, ExternalUrl, Library, Limits, Number, PAGE_DEFINITIONS, QueryError, Sample};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::query::run;
use crate::files;
use crate::ops::{error, not_found};
use crate::pages::{external_path, rooted};
use crate::params::Params;
use crate::state::Web;

/// Pages that are made at the same time: each may hold some memory.
pub(crate) const PAGES_AT_ONCE: usize = 8;
/// Bytes of a template's file.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why a page is not shown: its status and what is said.
struct Refusal(StatusCode, String);

type Made<T> = Result<T, Refusal>;

/// A page of the operator.
pub(crate) async fn console(
    State(web): State<Arc<Web>>,
    path: Option<UrlPath<String>>,
    request: Request<Body>,
) -> Response<Body> {
    match page(web, &rooted(path), request).await {
        Ok(body) => {
            let kind = files::kind_of_bytes(&body[..body.len().min(512)]);
            let mut response = Response::new(Body::from(body));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        }
        Err(Refusal(StatusCode::NOT_FOUND, text)) if text.is_empty() => not_found(),
        Err(Refusal(status, text)) => error(status, format!("{text}\n")),
    }
}

async fn page(web: Arc<Web>, path: &str, request: Request<Body>) -> Made<Vec<u8>> {
    let folder = Path::new(web.options.flag("web.console.templates"));
    let file = files::below(folder, &cleaned(path)).ok_or(Refusal(StatusCode::NOT_FOUND, String::new()))?;
    let text = read(&file).await.map_err(|fault| match fault.verb {
        "open" if fault.reason == NOT_A_FOLDER => Refusal(StatusCode::NOT_FOUND, fault.reason),
        "open" => Refusal(StatusCode::NOT_FOUND, fault.to_string()),
        _ => Refusal(StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()),
    })?;
    let params = Params::from_query(request.uri().query().unwrap_or_default());
    if let Some(fault) = params.fault() {
        return Err(Refusal(StatusCode::BAD_REQUEST, fault.to_string()));
    }
    let name = format!("__console_{path}");
    let libraries = libraries(web.options.flag("web.console.libraries"), &name).await?;
    let pairs: Vec<(Vec<u8>, Vec<u8>)> =
        params.pairs().iter().map(|(name, value)| (name.clone().into(), value.clone().into())).collect();
    let data = template::page_data(&pairs, path.trim_start_matches('/'), &web.external_labels.load());
    let text = [PAGE_DEFINITIONS.as_bytes(), &text].concat();
    let external_url = ExternalUrl { text: web.options.external_url.clone(), path: external_path(&web) };
    let limit = Duration::from_millis(web.options.query_timeout_ms.max(0).unsigned_abs());
    let deadline = Instant::now() + limit;
    let slots = web.console_slots.clone();
    let Ok(Ok(permit)) = tokio::time::timeout_at(deadline, slots.acquire_owned()).await else {
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, "too many console pages at once".to_owned()));
    };
    // Dropped with this future, when the client has left: queries and loops end.
    let (_stays, left) = watch::channel(());
    let now_ms = web.clock.now_ms();
    let queries = Queries { web, origin: origin(path, &request), runtime: Handle::current(), deadline, left };
    let made = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let expander = Expander {
            name: &name,
            text: &text,
            data,
            now_ms,
            query: &queries,
            external_url: &external_url,
            limits: Limits::default(),
        };
        expander.expand_page(&libraries)
    });
    match made.await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(fault)) => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, fault.to_string())),
        Err(fault) => {
            tracing::error!(component = "web", error = %fault, "a console page failed");
            Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the worker of this page failed".to_owned()))
        }
    }
}

/// Who asks, for the query log.
fn origin(path: &str, request: &Request<Body>) -> Origin {
    let peer = request.extensions().get::<net::server::Peer>();
    Origin::Http {
        client_ip: peer.map(|peer| peer.address.ip().to_string()).unwrap_or_default(),
        method: request.method().to_string(),
        path: format!("/consoles{path}"),
    }
}

/// A path without dotted parts: two dots lead up, not above the folder.
fn cleaned(path: &str) -> String {
    crate::router::plain_parts(path).join("/")
}

/// What Go says where a part of a path is a file and should be a folder.
const NOT_A_FOLDER: &str = "file does not exist";

/// A file that cannot be read, in Go's words.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {}: {reason}", .path.display())]
struct FileFault {
    verb: &'static str,
    path: PathBuf,
    reason: String,
}

async fn read(path: &Path) -> Result<Vec<u8>, FileFault> {
    let fault = |verb, reason: &str| FileFault { verb, path: path.to_owned(), reason: reason.to_owned() };
    let metadata = tokio::fs::metadata(path).await.map_err(|cause| match cause.kind() {
        IoKind::NotFound => fault("open", "no such file or directory"),
        IoKind::NotADirectory => fault("open", NOT_A_FOLDER),
        IoKind::PermissionDenied => fault("open", "permission denied"),
        _ => fault("open", &cause.to_string()),
    })?;
    if metadata.is_dir() {
        return Err(fault("read", "is a directory"));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(fault("read", &format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    tokio::fs::read(path).await.map_err(|cause| match cause.kind() {
        IoKind::PermissionDenied => fault("open", "permission denied"),
        _ => fault("read", &cause.to_string()),
    })
}

/// The library files in their order. What the flag says may be a pattern.
async fn libraries(folder: &str, page: &str) -> Made<Vec<Library>> {
    let refused = |text: String| Refusal(StatusCode::INTERNAL_SERVER_ERROR, text);
    let pattern = format!("{folder}/*.lib");
    let found = tokio::task::spawn_blocking(move || config::glob_files(&pattern)).await;
    let files = found.map_err(|fault| refused(fault.to_string()))?;
    let mut libraries = Vec::new();
    for file in files.map_err(|fault| refused(fault.to_string()))? {
        let Some(name) = file.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        let text = read(&file)
            .await
            .map_err(|fault| refused(format!("error parsing template files for {page}: {fault}")))?;
        libraries.push(Library { name, text });
    }
    Ok(libraries)
}

/// Runs the queries of one page.
struct Queries {
    web: Arc<Web>,
    origin: Origin,
    runtime: Handle,
    /// When the page must be done.
    deadline: Instant,
    /// Closed when nobody waits for the page any more.
    left: watch::Receiver<()>,
}

impl template::Query for Queries {
    fn query(&self, expression: &str, at_ms: i64) -> Result<Vec<Sample>, QueryError> {
        let fail = |text: String| QueryError(text);
        let query = Query { clock: Some(self.web.clock.clone()), ..Query::instant(expression, at_ms) };
        let timeout = self.deadline.saturating_duration_since(Instant::now());
        let answer = run(self.web.clone(), timeout, query, self.origin.clone());
        let mut left = self.left.clone();
        let output = self.runtime.block_on(async {
            tokio::select! {
                output = answer => Some(output),
                _ = left.changed() => None,
            }
        });
        let output = output.ok_or_else(|| fail("query was canceled in expression evaluation".to_owned()))?;
        let output = output.map_err(|fault| fail(fault.message))?.map_err(|fault| fail(fault.to_string()))?;
        match output.value {
            Value::Scalar { value, .. } => Ok(vec![Sample::new([], template::Value::Float(value))]),
            Value::Vector(vector) => Ok((0..vector.len())
                .map(|i| {
                    let labels = vector.labels(i);
                    let value = match &vector.values[i] {
                        SampleValue::Float(value) => Number::Float(*value),
                        SampleValue::Histogram(histogram) => Number::Histogram(histogram.clone()),
                    };
                    Sample::new(labels.iter().map(|label| (label.name, label.value)), value.value())
                })
                .collect()),
            _ => Err(fail("rule result is not a vector or scalar".to_owned())),
        }
    }

    fn is_cancelled(&self) -> bool {
        self.left.has_changed().is_err() || Instant::now() >= self.deadline
    }
}
