//! A watch: lists the objects of a kind, then follows their changes.
//!
//! ```text
//! list (pages) ─▶ Replaced ─▶ watch from its version ─▶ Set, Removed …
//!    ▲                            │ cut: watch again from the last version
//!    └──── version too old ───────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::objects::{Bare, Object};
use super::state::{Change, Event, Item, Kind};
use crate::client::{Client, headers_of, null_as_empty, query, read_json};
use crate::mechanism::{Context, DiscoveryError};

/// Objects of one page of a list.
const PAGE_OBJECTS: &str = "500";
/// How long one watch lasts before the server ends it, in seconds.
const WATCH_SECONDS: u64 = 360;
/// A watch that the server should have ended so long ago is dead.
const WATCH_GRACE: Duration = Duration::from_secs(30);
/// Most bytes of one event.
const EVENT_BYTES_MAX: usize = 64 << 20;
/// Pauses after failures.
const PAUSE_MIN: Duration = Duration::from_millis(800);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A pause between watches that end well, lest a server that ends them at once
/// is asked without end.
const PAUSE_BETWEEN: Duration = Duration::from_millis(50);

/// The API of a cluster.
pub(super) struct Api {
    pub(super) client: Client,
    /// Its URL, without slash at the end.
    pub(super) base: String,
    pub(super) context: Context,
}

/// Which objects are watched.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) label: String,
    pub(super) field: String,
}

/// One watch.
pub(super) struct Watch<T, P> {
    pub(super) api: Arc<Api>,
    pub(super) kind: Kind,
    /// Empty for all namespaces.
    pub(super) namespace: Arc<str>,
    /// What is listed, as `/api/v1/pods`.
    pub(super) path: String,
    /// The path with a placeholder for the namespace, as metrics have it.
    pub(super) endpoint: String,
    pub(super) selection: Selection,
    /// What is kept of an object.
    pub(super) keep: fn(T) -> Item<P>,
    pub(super) events: mpsc::Sender<Event<P>>,
}

/// Why a watch ended.
enum End {
    /// The connection was cut or its time is over.
    Over,
    /// The version is too old: list again.
    Expired,
    /// Nobody listens any more.
    Stopped,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default, deserialize_with = "null_as_empty")]
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMetadata {
    resource_version: String,
    #[serde(deserialize_with = "null_as_empty")]
    r#continue: String,
}

#[derive(Deserialize)]
struct WatchEvent<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What the server says instead of an object.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    code: u16,
    message: String,
}

impl<T: Object, P> Watch<T, P> {
    /// Lists and watches until nobody listens.
    pub(super) async fn run(self) {
        let mut pause = PAUSE_MIN;
        loop {
            let outcome = match self.list().await {
                Ok((items, version)) => {
                    if !self.send(Change::Replaced(items)).await {
                        return;
                    }
                    self.follow(version, &mut pause).await
                }
                Err(error) => {
                    self.fail("list", &error);
                    Err(())
                }
            };
            match outcome {
                Ok(End::Stopped) => return,
                Ok(End::Over | End::Expired) => tokio::time::sleep(PAUSE_BETWEEN).await,
                Err(()) => wait(&mut pause).await,
            }
        }
    }

    fn fail(&self, verb: &str, error: &DiscoveryError) {
        self.api.context.metrics.kubernetes_failures.inc();
        tracing::error!(
            component = self.api.context.component(),
            discovery = "kubernetes",
            config = self.api.context.set,
            err = %error,
            "Failed to {verb} {}", self.path
        );
    }

    async fn send(&self, change: Change<P>) -> bool {
        let event = Event { kind: self.kind, namespace: self.namespace.clone(), change };
        self.events.send(event).await.is_ok()
    }

    fn url(&self, more: &[(&str, &str)]) -> String {
        let selection =
            [("labelSelector", &*self.selection.label), ("fieldSelector", &*self.selection.field)];
        let pairs = selection.iter().chain(more).filter(|(_, value)| !value.is_empty()).copied();
        format!("{}{}?{}", self.api.base, self.path, query(pairs))
    }

    /// All objects, with the version to watch from. Pages keep answers, and so
    /// the memory that reading them takes, small.
    async fn list(&self) -> Result<(Vec<(String, Item<P>)>, String), DiscoveryError> {
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let url = self.url(&[("limit", PAGE_OBJECTS), ("continue", &next)]);
            let started = self.api.context.clock.monotonic();
            let answer = self.api.client.get(&url, &[("Accept", "application/json")]).await;
            self.observe(started, answer.as_ref().ok().map(|answer| answer.status));
            let page: Page<T> = answer?.success(&self.path)?.json()?;
            items.extend(page.items.into_iter().map(|object| (object.metadata().key(), (self.keep)(object))));
            if page.metadata.r#continue.is_empty() {
                return Ok((items, page.metadata.resource_version));
            }
            next = page.metadata.r#continue;
        }
    }

    fn observe(&self, started: Duration, status: Option<http::StatusCode>) {
        let metrics = &self.api.context.metrics;
        let seconds = self.api.context.clock.monotonic().saturating_sub(started).as_secs_f64();
        metrics.kubernetes_request_duration.with(&[&self.endpoint]).observe(seconds);
        let status = status.map_or("<error>".to_owned(), |status| status.as_u16().to_string());
        metrics.kubernetes_requests.with(&[&status]).inc();
    }

    /// Watches from a version on, again and again, until it is too old. An
    /// error, which is told already, asks for another list.
    async fn follow(&self, mut version: String, pause: &mut Duration) -> Result<End, ()> {
        loop {
            match self.watch(&mut version).await {
                Ok(End::Over) => {
                    *pause = PAUSE_MIN;
                    tokio::time::sleep(PAUSE_BETWEEN).await;
                }
                Ok(end) => return Ok(end),
                Err(error) => {
                    self.fail("watch", &error);
                    // Where the server cannot be reached, what was listed is
                    // still good; what it refuses may look otherwise now.
                    if !matches!(error, DiscoveryError::Request(_)) {
                        return Err(());
                    }
                    wait(pause).await;
                }
            }
        }
    }

    /// One watch, from its request to its end.
    async fn watch(&self, version: &mut String) -> Result<End, DiscoveryError> {
        let seconds = WATCH_SECONDS.to_string();
        let url = self.url(&[
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", &seconds),
        ]);
        let started = self.api.context.clock.monotonic();
        let headers = [("Accept", "application/json")];
        let deadline = tokio::time::Instant::now() + Duration::from_secs(WATCH_SECONDS) + WATCH_GRACE;
        let opened = self.api.client.open(Method::GET, &url, headers_of(&headers)?, Bytes::new());
        let response = match tokio::time::timeout_at(deadline, opened).await {
            Ok(response) => response,
            Err(_) => return Ok(End::Over),
        };
        self.observe(started, response.as_ref().ok().map(|response| response.status()));
        let response = response?;
        if response.status() == http::StatusCode::GONE {
            return Ok(End::Expired);
        }
        if !response.status().is_success() {
            return Err(DiscoveryError::Status {
                what: self.path.clone(),
                status: response.status(),
                detail: String::new(),
            });
        }
        let mut body = response.into_body();
        let mut buffer = BytesMut::new();
        loop {
            let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                // Cut, ended or dead: what was missed comes with the next watch.
                Ok(Some(Err(_)) | None) | Err(_) => return Ok(End::Over),
            };
            let Ok(data) = frame.into_data() else { continue };
            let searched = buffer.len();
            buffer.extend_from_slice(&data);
            if let Some(end) = self.take_lines(&mut buffer, searched, version).await? {
                return Ok(end);
            }
            if buffer.len() > EVENT_BYTES_MAX {
                let what = format!("an event has more than the limit of {EVENT_BYTES_MAX} bytes");
                return Err(DiscoveryError::Malformed(what));
            }
        }
    }

    /// Takes the complete lines of a buffer; up to `searched` there is no end
    /// of line.
    async fn take_lines(
        &self,
        buffer: &mut BytesMut,
        mut searched: usize,
        version: &mut String,
    ) -> Result<Option<End>, DiscoveryError> {
        while let Some(at) = buffer[searched..].iter().position(|&byte| byte == b'\n') {
            let line = buffer.split_to(searched + at + 1);
            searched = 0;
            if line.trim_ascii().is_empty() {
                continue;
            }
            match self.read_event(&line, version)? {
                Read::Change(change) => {
                    if !self.send(change).await {
                        return Ok(Some(End::Stopped));
                    }
                }
                Read::Bookmark => {}
                Read::End(end) => return Ok(Some(end)),
            }
        }
        Ok(None)
    }

    fn read_event(&self, line: &[u8], version: &mut String) -> Result<Read<P>, DiscoveryError> {
        let malformed = |error: serde_json::Error| DiscoveryError::Malformed(error.to_string());
        let event: WatchEvent<'_> = serde_json::from_slice(line).map_err(malformed)?;
        if event.r#type == "ERROR" {
            let refusal: Refusal = serde_json::from_str(event.object.get()).unwrap_or_default();
            return match refusal.code {
                410 => Ok(Read::End(End::Expired)),
                _ => Err(DiscoveryError::Request(refusal.message)),
            };
        }
        let object = event.object.get();
        let is_set = matches!(event.r#type, "ADDED" | "MODIFIED");
        let (read, seen) = if is_set {
            let object: T = read_json(object.as_bytes())?;
            let (key, seen) = (object.metadata().key(), object.metadata().resource_version.clone());
            (Read::Change(Change::Set(key, (self.keep)(object))), seen)
        } else {
            let metadata = read_json::<Bare>(object.as_bytes())?.metadata;
            let is_gone = event.r#type == "DELETED";
            let read = if is_gone { Read::Change(Change::Removed(metadata.key())) } else { Read::Bookmark };
            (read, metadata.resource_version)
        };
        if !seen.is_empty() {
            *version = seen.into();
        }
        Ok(read)
    }
}

/// Waits, and longer the next time.
async fn wait(pause: &mut Duration) {
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(PAUSE_MAX);
}

/// What a line of a watch says.
enum Read<P> {
    Change(Change<P>),
    /// Only the version moved.
    Bookmark,
    End(End),
}
