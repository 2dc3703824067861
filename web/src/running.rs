//! The queries that run or wait to: listed, and stopped when somebody asks.
//!
//! ```text
//! query ─▶ listed, waits for a place ─▶ runs ─▶ unlisted
//!               └────── cancel by id ──────┘ answers 499
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::CancelToken;
use model::query::CancelReason;
use parking_lot::Mutex;
use promql::Query;
use promql::observer::Origin;
use tokio::sync::Notify;

/// Bytes of a query's text that are kept for the list.
const TEXT_BYTES_MAX: usize = 4096;

/// All queries that run or wait. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct RunningQueries {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    last_id: AtomicU64,
    queries: Mutex<BTreeMap<u64, Arc<Running>>>,
}

/// One of them.
pub(crate) struct Running {
    pub text: String,
    pub start_ms: i64,
    pub end_ms: i64,
    pub step_ms: i64,
    pub client: String,
    /// When it came.
    pub since_ms: i64,
    runs: AtomicBool,
    cancel: CancelToken,
    canceled: Notify,
}

impl Running {
    /// Whether it runs, rather than waits for a place.
    pub(crate) fn runs(&self) -> bool {
        self.runs.load(Ordering::Relaxed)
    }
}

impl RunningQueries {
    /// Lists a query until what is returned is dropped; `query.cancel` stops it.
    pub(crate) fn begin(&self, query: &Query, origin: &Origin, now_ms: i64) -> Listed {
        let mut end = query.text.len().min(TEXT_BYTES_MAX);
        while !query.text.is_char_boundary(end) {
            end -= 1;
        }
        let client = match origin {
            Origin::Http { client_ip, .. } => client_ip.clone(),
            Origin::RuleGroup { name, .. } => name.clone(),
        };
        let running = Arc::new(Running {
            text: query.text[..end].to_owned(),
            start_ms: query.start_ms,
            end_ms: query.end_ms,
            step_ms: query.step_ms,
            client,
            since_ms: now_ms,
            runs: AtomicBool::new(false),
            cancel: query.cancel.clone(),
            canceled: Notify::new(),
        });
        let id = self.shared.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        self.shared.queries.lock().insert(id, running.clone());
        Listed { shared: self.shared.clone(), id, running }
    }

    /// Those that are there now, oldest first.
    pub(crate) fn list(&self) -> Vec<(u64, Arc<Running>)> {
        self.shared.queries.lock().iter().map(|(id, running)| (*id, running.clone())).collect()
    }

    /// Stops a query; whether there is one of that number.
    pub(crate) fn cancel(&self, id: u64) -> bool {
        let Some(running) = self.shared.queries.lock().get(&id).cloned() else { return false };
        running.cancel.cancel(CancelReason::Canceled);
        running.canceled.notify_one();
        true
    }
}

/// A query's place in the list.
pub(crate) struct Listed {
    shared: Arc<Shared>,
    id: u64,
    running: Arc<Running>,
}

impl Listed {
    /// It has its place and runs.
    pub(crate) fn runs(&self) {
        self.running.runs.store(true, Ordering::Relaxed);
    }

    /// Returns when somebody has stopped it.
    pub(crate) async fn canceled(&self) {
        self.running.canceled.notified().await;
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.shared.queries.lock().remove(&self.id);
    }
}
