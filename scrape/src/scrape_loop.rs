//! One target, scraped again and again.
//!
//! ```text
//! offset │ scrape │ … interval … │ scrape │ … │ stop
//!                                               └─ two ticks and a tenth ─▶ markers, dated at the first
//! ```
//!
//! A loop is a task of its own. Fetching is asynchronous; parsing and
//! appending are not, and hold no lock across an await.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use model::memory::{Accountant, Owner};
use model::{Appendable, Appender, Clock};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::COMPONENT;
use crate::append::{AppendContext, AppendOptions, Counts, TargetState, append_nothing, append_page};
use crate::failure_log::FailureLog;
use crate::fetch::{Fetch, FetchError, FetchRequest};
use crate::job::Job;
use crate::metrics::ScrapeMetrics;
use crate::page_pool::PagePool;
use crate::report::{ExtraReport, Report};
use crate::target::Target;

/// Says what went wrong with a target, with upstream's keys.
macro_rules! tell {
    ($loop:ident, $level:ident, $error:expr, $message:literal) => {
        tracing::$level!(
            component = COMPONENT,
            scrape_pool = $loop.settings.job.name(),
            target = $loop.settings.target.url(),
            err = %$error,
            $message
        )
    };
}

/// Pages from this size on are parsed where they hold up nobody else.
const LARGE_PAGE_BYTES: usize = 256 << 10;

/// What all loops of the server share.
pub(crate) struct Shared {
    pub(crate) appendable: Arc<dyn Appendable>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: ScrapeMetrics,
    pub(crate) options: AppendOptions,
    pub(crate) pages: PagePool,
    pub(crate) caches: CacheAccount,
    /// Whether scrape times are snapped to their schedule.
    pub(crate) align_timestamps: bool,
    /// From so far after it at most.
    pub(crate) timestamp_tolerance_ms: i64,
    /// Added to each target's own offset.
    pub(crate) initial_offset: Duration,
}

/// Bytes that all targets' caches hold, as reported to the process's account.
pub(crate) struct CacheAccount {
    total: AtomicU64,
    owner: Owner,
}

impl CacheAccount {
    pub(crate) fn new(accountant: &Accountant) -> CacheAccount {
        CacheAccount { total: AtomicU64::new(0), owner: accountant.owner("scrape_caches") }
    }

    fn change(&self, before: u64, now: u64) {
        let change = now.wrapping_sub(before);
        let total = self.total.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
        self.owner.set(total);
    }
}

/// One loop's part of the account; given back with the loop.
struct CacheShare {
    shared: Arc<Shared>,
    bytes: u64,
}

impl CacheShare {
    fn set(&mut self, bytes: u64) {
        if bytes != self.bytes {
            self.shared.caches.change(self.bytes, bytes);
            self.bytes = bytes;
        }
    }
}

impl Drop for CacheShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Everything a loop runs with.
pub(crate) struct LoopSettings {
    pub(crate) shared: Arc<Shared>,
    pub(crate) job: Arc<Job>,
    pub(crate) target: Arc<Target>,
    pub(crate) fetch: Arc<dyn Fetch>,
    pub(crate) offset_seed: u64,
    /// The pool ends: nothing more is written.
    pub(crate) shutdown: CancellationToken,
}

/// A running loop, from outside.
pub(crate) struct LoopHandle {
    control: Arc<Control>,
    stopped: oneshot::Receiver<()>,
}

struct Control {
    stop: CancellationToken,
    no_end_markers: AtomicBool,
    forced_error: Mutex<Option<String>>,
    failure_log: Mutex<Option<Arc<FailureLog>>>,
    state: Arc<Mutex<TargetState>>,
}

impl LoopHandle {
    /// Starts a loop; with the state of an earlier one of the same target it
    /// goes on where that ended.
    pub(crate) fn start(
        settings: LoopSettings,
        state: Option<Arc<Mutex<TargetState>>>,
        forced_error: Option<String>,
        failure_log: Option<Arc<FailureLog>>,
    ) -> LoopHandle {
        let state = state.unwrap_or_else(|| Arc::new(Mutex::new(TargetState::new())));
        settings.target.set_metadata(state.lock().metadata.clone());
        let control = Arc::new(Control {
            stop: settings.shutdown.child_token(),
            no_end_markers: AtomicBool::new(false),
            forced_error: Mutex::new(forced_error),
            failure_log: Mutex::new(failure_log),
            state,
        });
        let (stopped_sender, stopped) = oneshot::channel();
        let scrape_loop = ScrapeLoop::new(settings, control.clone());
        tokio::spawn(scrape_loop.run(stopped_sender));
        LoopHandle { control, stopped }
    }

    /// Tells the loop to end.
    pub(crate) fn begin_stop(&self) {
        self.control.stop.cancel();
    }

    /// Ends the loop and waits until its last scrape is stored. Markers may
    /// follow later.
    pub(crate) async fn stop(self) {
        self.control.stop.cancel();
        // An error means that the task is gone: so it has stopped.
        let _gone = self.stopped.await;
    }

    /// No markers follow the loop's end: somebody else goes on with its state.
    pub(crate) fn disable_end_markers(&self) {
        self.control.no_end_markers.store(true, Ordering::Release);
    }

    /// Lets every scrape fail with an error, or no longer.
    pub(crate) fn set_forced_error(&self, error: Option<String>) {
        *self.control.forced_error.lock() = error;
    }

    pub(crate) fn set_failure_log(&self, log: Option<Arc<FailureLog>>) {
        *self.control.failure_log.lock() = log;
    }

    /// What the loop knows of its target.
    pub(crate) fn state(&self) -> Arc<Mutex<TargetState>> {
        self.control.state.clone()
    }
}

struct ScrapeLoop {
    settings: LoopSettings,
    control: Arc<Control>,
    interval: Duration,
    request: FetchRequest,
    /// When the last scrape began, on the monotonic clock.
    last_start: Option<Duration>,
    /// Bytes of the last page: room to ask for.
    last_page_bytes: usize,
    cache_share: CacheShare,
}

/// A page, or why there is none.
struct PageOrError {
    page: Vec<u8>,
    content_type: String,
    error: Option<String>,
    /// What `scrape_body_size_bytes` says.
    body_bytes: i64,
}

impl ScrapeLoop {
    fn new(settings: LoopSettings, control: Arc<Control>) -> ScrapeLoop {
        let job = &settings.job;
        let request = FetchRequest {
            url: settings.target.shared_url(),
            accept: job.accept.clone(),
            accept_encoding: job.accept_encoding(),
            timeout: settings.target.timeout(),
            body_size_limit: u64::try_from(job.config.body_size_limit.0).unwrap_or(0),
        };
        let interval = settings.target.interval().max(Duration::from_millis(1));
        let cache_share = CacheShare { shared: settings.shared.clone(), bytes: 0 };
        ScrapeLoop { settings, control, interval, request, last_start: None, last_page_bytes: 0, cache_share }
    }

    async fn run(mut self, stopped: oneshot::Sender<()>) {
        let mut ticker = self.scrape_until_stopped().await;
        // Nobody may be waiting.
        let _unheard = stopped.send(());
        if let Some(ticker) = &mut ticker {
            self.mark_end(ticker).await;
        }
    }

    /// Scrapes until told to stop; the ticker if anything was scraped.
    async fn scrape_until_stopped(&mut self) -> Option<tokio::time::Interval> {
        let stop = self.control.stop.clone();
        let shared = self.settings.shared.clone();
        let offset =
            self.settings.target.offset(self.interval, shared.clock.now_ms(), self.settings.offset_seed);
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(shared.initial_offset + offset) => {}
        }
        let mut ticker = tokio::time::interval_at(Instant::now() + self.interval, self.interval);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut aligned_ms = shared.clock.now_ms();
        loop {
            if stop.is_cancelled() {
                break;
            }
            let time_ms = self.scrape_time(&mut aligned_ms);
            let shutdown = self.settings.shutdown.clone();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                () = self.scrape(time_ms) => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = ticker.tick() => {}
            }
        }
        self.last_start.map(|_| ticker)
    }

    /// The time that the samples of a scrape get that begins now.
    fn scrape_time(&self, aligned_ms: &mut i64) -> i64 {
        let now_ms = self.settings.shared.clock.now_ms();
        if !self.settings.shared.align_timestamps {
            return now_ms;
        }
        let interval_ms = i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let tolerance_ms = (interval_ms / 100).min(self.settings.shared.timestamp_tolerance_ms);
        let late_ms = now_ms - *aligned_ms;
        if late_ms >= interval_ms {
            *aligned_ms += late_ms / interval_ms * interval_ms;
        }
        if now_ms - *aligned_ms <= tolerance_ms { *aligned_ms } else { now_ms }
    }

    async fn scrape(&mut self, time_ms: i64) {
        let shared = self.settings.shared.clone();
        let start = shared.clock.monotonic();
        if let Some(last) = self.last_start {
            shared.metrics.observe_interval(self.interval, start.saturating_sub(last));
        }
        let fetched = self.fetch(&shared).await;
        if fetched.error.is_none() && !fetched.page.is_empty() {
            self.last_page_bytes = fetched.page.len();
        }
        if fetched.page.len() >= LARGE_PAGE_BYTES && runs_on_many_threads() {
            // Other tasks of this thread, scrapes among them, go on elsewhere.
            tokio::task::block_in_place(|| self.store(&shared, &fetched, time_ms, start));
        } else {
            self.store(&shared, &fetched, time_ms, start);
        }
        let cache_bytes = self.control.state.lock().cache.heap_bytes();
        self.cache_share.set(cache_bytes as u64);
        shared.pages.give_back(fetched.page);
        self.last_start = Some(start);
    }

    async fn fetch(&mut self, shared: &Shared) -> PageOrError {
        let forced = self.control.forced_error.lock().clone();
        if let Some(error) = forced {
            return PageOrError {
                page: Vec::new(),
                content_type: String::new(),
                error: Some(error),
                body_bytes: 0,
            };
        }
        let mut page = shared.pages.take(self.last_page_bytes);
        match self.settings.fetch.fetch(&self.request, &mut page).await {
            Ok(fetched) => {
                let body_bytes = i64::try_from(page.len()).unwrap_or(i64::MAX);
                PageOrError { page, content_type: fetched.content_type, error: None, body_bytes }
            }
            Err(error) => {
                let too_large = matches!(error, FetchError::BodySizeLimit);
                if too_large {
                    shared.metrics.exceeded_body_size_limit.inc();
                }
                let text = error.to_string();
                self.log_failure(shared, &text);
                page.clear();
                let body_bytes = if too_large { -1 } else { 0 };
                PageOrError { page, content_type: String::new(), error: Some(text), body_bytes }
            }
        }
    }

    fn log_failure(&self, shared: &Shared, error: &str) {
        let target = self.settings.target.url();
        tell!(self, debug, error, "Scrape failed");
        let log = self.control.failure_log.lock().clone();
        if let Some(log) = log {
            log.write(shared.clock.now_ms(), self.settings.job.name(), target, error);
        }
    }

    /// Appends a page, or markers where there is none, and the report.
    fn store(&self, shared: &Shared, fetched: &PageOrError, time_ms: i64, start: Duration) {
        let mut state = self.control.state.lock();
        let state = &mut *state;
        let job = &self.settings.job;
        let context = AppendContext {
            job,
            target: &self.settings.target,
            options: shared.options,
            metrics: &shared.metrics,
            now_ms: shared.clock.now_ms(),
        };
        let mut counts = Counts::default();
        let mut error = fetched.error.clone();
        let Some(mut appender) = self.appender(shared, time_ms, start) else { return };
        if error.is_none() && !fetched.page.is_empty() {
            let (counted, result) = append_page(
                &context,
                state,
                appender.as_mut(),
                &fetched.page,
                &fetched.content_type,
                time_ms,
            );
            counts = counted;
            if let Err(failed) = result {
                tell!(self, debug, failed, "Append failed");
                error = Some(failed.to_string());
                appender.rollback();
                let Some(again) = self.appender(shared, time_ms, start) else { return };
                appender = again;
                append_nothing(&context, state, appender.as_mut(), time_ms);
            }
        } else {
            append_nothing(&context, state, appender.as_mut(), time_ms);
        }
        let duration = shared.clock.monotonic().saturating_sub(start);
        let extra = job.config.extra_scrape_metrics.unwrap_or(false).then(|| ExtraReport {
            timeout: self.request.timeout,
            sample_limit: job.config.sample_limit,
            body_bytes: fetched.body_bytes,
        });
        let has_extra = extra.is_some();
        let report = Report { up: error.is_none(), duration, counts, extra };
        self.settings.target.report(time_ms, duration, error);
        let reported =
            state.report.append(appender.as_mut(), &self.settings.target, shared.options, time_ms, &report);
        if let Err(failed) = reported {
            tell!(self, warn, failed, "Appending scrape report failed");
            appender.rollback();
            return;
        }
        let committed = appender.commit();
        if has_extra {
            let took = shared.clock.monotonic().saturating_sub(start);
            shared.metrics.scrape_duration.observe(took.as_secs_f64());
        }
        if let Err(failed) = committed {
            tell!(self, error, failed, "Scrape commit failed");
        }
    }

    /// A batch; where the store has none, the target's status says so.
    fn appender(&self, shared: &Shared, time_ms: i64, start: Duration) -> Option<Box<dyn Appender>> {
        match shared.appendable.appender() {
            Ok(appender) => Some(appender),
            Err(error) => {
                tell!(self, warn, error, "Append failed");
                let duration = shared.clock.monotonic().saturating_sub(start);
                self.settings.target.report(time_ms, duration, Some(error.to_string()));
                None
            }
        }
    }

    /// The target is gone: unless it comes back by the next scrape but one,
    /// its series end where the next scrape would have been.
    async fn mark_end(&self, ticker: &mut tokio::time::Interval) {
        let shared = &self.settings.shared;
        let shutdown = self.settings.shutdown.clone();
        let waited = async {
            ticker.tick().await;
            let time_ms = shared.clock.now_ms();
            ticker.tick().await;
            tokio::time::sleep(self.interval / 10).await;
            time_ms
        };
        let time_ms = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            time_ms = waited => time_ms,
        };
        if self.control.no_end_markers.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.control.state.lock();
        let state = &mut *state;
        let context = AppendContext {
            job: &self.settings.job,
            target: &self.settings.target,
            options: shared.options,
            metrics: &shared.metrics,
            now_ms: shared.clock.now_ms(),
        };
        let Ok(mut appender) = shared.appendable.appender() else { return };
        append_nothing(&context, state, appender.as_mut(), time_ms);
        let extra = self.settings.job.config.extra_scrape_metrics.unwrap_or(false);
        let marked =
            state.report.append_end(appender.as_mut(), &self.settings.target, shared.options, time_ms, extra);
        if let Err(failed) = marked {
            tell!(self, warn, failed, "Stale report failed");
        }
        if let Err(failed) = appender.commit() {
            tell!(self, warn, failed, "Stale commit failed");
        }
    }
}

fn runs_on_many_threads() -> bool {
    tokio::runtime::Handle::current().runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread
}
