//! `/debug/pprof/…`: profiles of this process in the form that pprof reads.
//!
//! CPU time is sampled by the [`Profiler`] that the server hands in. Memory is
//! told by the parts that hold it, as they report to the account; what no
//! part reports is the allocator's. What exists in the Go runtime alone is
//! answered with 404 and the reason.

mod encode;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Response, StatusCode, header};

use self::encode::Profile;
use crate::api::blocking;
use crate::error::ApiError;
use crate::ops::{error, not_found, text};
use crate::pages::redirect;
use crate::params::Params;
use crate::state::Web;

/// How long the CPU is watched where the request does not say.
const SECONDS_DEFAULT: u64 = 30;
/// The longest that it is watched.
const SECONDS_MAX: u64 = 600;

/// One call on a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The function.
    pub function: String,
    /// Its source file, empty where it is not known.
    pub file: String,
    /// The line in it, 0 where it is not known.
    pub line: u32,
}

/// How often a stack was seen, the innermost call first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The calls.
    pub frames: Vec<Frame>,
    /// How often.
    pub count: u64,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Somebody else watches already.
    #[error("cpu profiling already in use")]
    Busy,
    /// The system refuses.
    #[error("{0}")]
    Failed(String),
}

/// Watches the process.
pub trait Profiler: Send + Sync {
    /// Begins to sample stacks, so many a second.
    ///
    /// # Errors
    /// It is under way already, or the system refuses.
    fn start(&self, per_second: u32) -> Result<Box<dyn Sampling>, ProfileError>;

    /// Names of threads and how many have each.
    fn threads(&self) -> Vec<(String, u64)>;
}

/// A profiler, or none.
#[derive(Clone, Default)]
pub struct Handle(Option<Arc<dyn Profiler>>);

impl Handle {
    /// This profiler.
    pub fn new(profiler: Arc<dyn Profiler>) -> Handle {
        Handle(Some(profiler))
    }

    fn get(&self) -> Option<&Arc<dyn Profiler>> {
        self.0.as_ref()
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "a profiler" } else { "none" })
    }
}

/// Sampling under way; it ends when this is dropped.
pub trait Sampling: Send {
    /// Ends it and tells what was seen.
    ///
    /// # Errors
    /// The samples could not be read.
    fn finish(self: Box<Self>) -> Result<Vec<Stack>, ProfileError>;
}

/// Samples a second, as Go takes them.
const PER_SECOND: u32 = 100;

/// What is not there, and why.
const GO_ONLY: [(&str, &str); 3] = [
    ("trace", "execution traces exist in the Go runtime alone"),
    ("symbol", "profiles of this server carry their names"),
    ("fgprof", "only time on the CPU is sampled by this server"),
];

/// What there is, and what it shows.
const HERE: [(&str, &str); 8] = [
    ("profile", "time on the CPU by stack, for ?seconds= (30)"),
    ("heap", "bytes in memory by the part that holds them"),
    ("allocs", "the same as heap"),
    ("goroutine", "threads by name"),
    ("threadcreate", "threads by name"),
    ("block", "empty: waiting for locks is not sampled"),
    ("mutex", "empty: contention of locks is not sampled"),
    ("cmdline", "the command line, arguments divided by zero bytes"),
];

/// `/debug/…`.
pub async fn debug(
    State(web): State<Arc<Web>>,
    Path(path): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    let Some(name) = path.strip_prefix("pprof/") else {
        if path != "pprof" {
            return not_found();
        }
        let prefix = web.options.route_prefix.trim_end_matches('/');
        return redirect(StatusCode::MOVED_PERMANENTLY, request.method(), &format!("{prefix}/debug/pprof/"));
    };
    if let Some((_, reason)) = GO_ONLY.iter().find(|(have, _)| *have == name) {
        return error(StatusCode::NOT_FOUND, format!("{reason}\n"));
    }
    let params = match Params::read(request).await {
        Ok(params) => params,
        Err(fault) => return error(StatusCode::BAD_REQUEST, format!("{}\n", fault.message)),
    };
    match name {
        "" => index(),
        "cmdline" => text(StatusCode::OK, web.options.command_line.join("\0")),
        "profile" => cpu(&web, &params).await,
        "heap" | "allocs" => counts(&web, &params, &memory(&web), "inuse_space", "bytes"),
        "goroutine" | "threadcreate" => match web.options.profiler.get() {
            Some(profiler) => counts(&web, &params, &profiler.threads(), name, "count"),
            None => no_profiler(),
        },
        // Tools that gather all profiles stop at what is none.
        "block" | "mutex" => {
            let values = [("contentions", "count"), ("delay", "nanoseconds")];
            file(name, &Profile::new(&values, web.clock.now_ms()))
        }
        _ => error(StatusCode::NOT_FOUND, "Unknown profile\n"),
    }
}

fn no_profiler() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "this server was built without a profiler\n")
}

fn index() -> Response<Body> {
    let mut page = String::from("<!doctype html>\n<title>/debug/pprof/</title>\n<h1>Profiles</h1>\n<dl>\n");
    for (name, about) in HERE {
        page.push_str(&format!("<dt><a href=\"{name}\">{name}</a></dt><dd>{about}</dd>\n"));
    }
    page.push_str("</dl>\n");
    let mut response = Response::new(Body::from(page));
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A profile leaves as a file, packed as pprof expects it.
fn file(name: &str, profile: &Profile) -> Response<Body> {
    let mut response = Response::new(Body::from(profile.packed()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

/// Bytes by owner, the largest first.
fn memory(web: &Web) -> Vec<(String, u64)> {
    let mut owners: Vec<(String, u64)> = web
        .engine
        .options()
        .memory
        .by_owner()
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .collect();
    owners.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    owners
}

/// Names with a count each: as text where `debug` asks for it.
fn counts(web: &Web, params: &Params, counts: &[(String, u64)], what: &str, unit: &str) -> Response<Body> {
    if !matches!(params.get("debug"), "" | "0") {
        let lines: String = counts.iter().map(|(name, count)| format!("{count} {name}\n")).collect();
        return text(StatusCode::OK, lines);
    }
    let stack = |(name, count): &(String, u64)| Stack {
        frames: vec![Frame { function: name.clone(), file: String::new(), line: 0 }],
        count: *count,
    };
    let mut profile = Profile::new(&[(what, unit)], web.clock.now_ms());
    counts.iter().map(stack).for_each(|stack| profile.add(&stack, &[stack.count]));
    file(what, &profile)
}

async fn cpu(web: &Web, params: &Params) -> Response<Body> {
    let Some(profiler) = web.options.profiler.get() else { return no_profiler() };
    let seconds = match params.get("seconds").parse() {
        Ok(seconds @ 1..) => seconds,
        _ => SECONDS_DEFAULT,
    };
    if seconds > SECONDS_MAX {
        return error(StatusCode::BAD_REQUEST, format!("at most {SECONDS_MAX} seconds\n"));
    }
    let failed = |fault: &dyn std::fmt::Display| {
        error(StatusCode::INTERNAL_SERVER_ERROR, format!("Could not enable CPU profiling: {fault}\n"))
    };
    let sampling = match profiler.start(PER_SECOND) {
        Ok(sampling) => sampling,
        Err(fault) => return failed(&fault),
    };
    let started_ms = web.clock.now_ms();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let stacks = blocking(move || {
        sampling.finish().map_err(|fault| ApiError::new(crate::error::ErrorKind::Internal, fault.to_string()))
    });
    let stacks = match stacks.await {
        Ok(stacks) => stacks,
        Err(fault) => return failed(&fault.message),
    };
    let period_ns = 1_000_000_000 / u64::from(PER_SECOND);
    let mut profile = Profile::new(&[("samples", "count"), ("cpu", "nanoseconds")], started_ms);
    profile.period(("cpu", "nanoseconds"), period_ns, Duration::from_secs(seconds));
    for stack in &stacks {
        profile.add(stack, &[stack.count, stack.count * period_ns]);
    }
    file("profile", &profile)
}
