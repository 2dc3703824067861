//! What every handler sees: the parts of the server it shows and steers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use model::admin::{ReplayProgress, TsdbAdmin, TsdbStatus};
use model::memory::{Lease, Pressure};
use model::metrics::Registry;
use model::query::{ChunkQueryable, ExemplarQueryable, LabelQueryable};
use model::{Appendable, Clock, Labels, Queryable, StorageError};
use remote::{Message, Receiver, ReceiverOptions, V2Options};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::api::write::WritesAtOnce;
use crate::cors::AllowedOrigins;
use crate::error::{ApiError, ErrorKind};
use crate::federate::FederationMetrics;
use crate::instrument::HttpMetrics;
use crate::notifications::Notifications;

/// Bytes of the cache of series that senders of remote write have named.
const WRITE_CACHE_BYTES: usize = 32 << 20;

/// A store, as far as the API needs it.
#[derive(Clone)]
pub struct Storage {
    /// Series and samples.
    pub queryable: Arc<dyn Queryable>,
    /// Label names and values.
    pub labels: Arc<dyn LabelQueryable>,
    /// Exemplars.
    pub exemplars: Arc<dyn ExemplarQueryable>,
    /// Whole chunks.
    pub chunks: Arc<dyn ChunkQueryable>,
    /// The way in.
    pub appendable: Arc<dyn Appendable>,
    /// Deletion and snapshots.
    pub admin: Arc<dyn TsdbAdmin>,
    /// Statistics.
    pub status: Arc<dyn TsdbStatus>,
}

/// Settings of the API that no reload changes.
#[derive(Clone, Debug, Default)]
pub struct WebOptions {
    /// The URL under which the server is reached from outside, without a slash at the end.
    pub external_url: String,
    /// Prefix of all routes: `/`, or `/name` without a slash at the end.
    pub route_prefix: String,
    /// `host:port` of the first listener.
    pub listen_address: String,
    /// The origins that may read answers, as a regex, not anchored yet.
    pub cors_origin: String,
    /// Title of the web pages.
    pub page_title: String,
    /// Whether `/-/reload` and `/-/quit` act.
    pub enable_lifecycle: bool,
    /// Whether the admin calls act.
    pub enable_admin_api: bool,
    /// Whether remote write is received.
    pub enable_remote_write_receiver: bool,
    /// Whether OTLP is received.
    pub enable_otlp_receiver: bool,
    /// Remote-write messages that are accepted.
    pub accepted_remote_write_messages: Vec<String>,
    /// Most results of a search; 0 for no cap.
    pub search_max_limit: usize,
    /// Longest time of a query in ms.
    pub query_timeout_ms: i64,
    /// Most queries at the same time.
    pub query_concurrency: usize,
    /// How far back an instant selector looks, in ms.
    pub lookback_delta_ms: i64,
    /// All flags and their values.
    pub flags: BTreeMap<String, String>,
    /// Features that are switched on.
    pub features: Vec<String>,
    /// Facts of the build, as `/api/v1/status/buildinfo` shows them.
    pub build: Vec<(&'static str, String)>,
    /// When the process started, in ms.
    pub start_time_ms: i64,
    /// The folder the process runs in.
    pub working_directory: String,
    /// The command line.
    pub command_line: Vec<String>,
    /// Watches the process, where it was built with something that can.
    pub profiler: crate::profiles::Handle,
    /// The machine's name.
    pub hostname: String,
    /// The variable `GODEBUG`, shown only.
    pub godebug: String,
}

impl WebOptions {
    /// The value of a flag, empty where there is none of that name.
    pub fn flag(&self, name: &str) -> &str {
        self.flags.get(name).map_or("", String::as_str)
    }

    /// Whether files of a folder are served below `/user/`.
    pub fn has_user_assets(&self) -> bool {
        !self.flag("web.user-assets").is_empty()
    }

    /// Whether a feature is switched on.
    pub fn has_feature(&self, name: &str) -> bool {
        self.features.iter().any(|have| have == name)
    }
}

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Replaying, or loading the configuration.
    Starting,
    /// Answers everything.
    Ready,
    /// Shutting down.
    Stopping,
}

/// A request to load the configuration anew; the answer says what failed.
pub type Reload = oneshot::Sender<Result<(), String>>;

/// Answers how far the replay of the log is, before there is a store to ask.
pub type ReplayProgressFn = Arc<dyn Fn() -> ReplayProgress + Send + Sync>;

/// What every handler sees. One for the process.
pub struct Web {
    /// Settings that no reload changes.
    pub options: WebOptions,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Own metrics.
    pub registry: Registry,
    /// Metrics of the HTTP server itself.
    pub http: HttpMetrics,
    /// The query engine.
    pub engine: Arc<promql::Engine>,
    /// One permit a query that runs.
    pub query_slots: Arc<Semaphore>,
    /// Threads that store remote-written requests themselves.
    pub writes_at_once: WritesAtOnce,
    /// Targets and their states.
    pub scrape: Arc<scrape::ScrapeManager>,
    /// The configuration in force, as it is shown.
    pub config_text: ArcSwap<String>,
    /// The percentage of heap growth that the configuration asks for: Go's, shown only.
    pub gogc: ArcSwap<String>,
    /// Whether the last load of the configuration succeeded.
    pub reload_successful: AtomicBool,
    /// When the configuration was last loaded, in ms.
    pub last_config_time_ms: std::sync::atomic::AtomicI64,
    /// Asks the server to load the configuration anew.
    pub reload: mpsc::Sender<Reload>,
    /// Asks the server to stop; false once it was asked.
    pub quit: mpsc::Sender<()>,
    /// Whether somebody asked to quit already.
    pub quit_requested: AtomicBool,
    /// How far the replay of the log is.
    pub replay_progress: ReplayProgressFn,
    /// Is told of every query; set once, before the server is ready.
    pub observer: std::sync::OnceLock<Arc<dyn promql::observer::QueryObserver>>,
    /// Labels that tell this server from others, for federation; a reload sets them.
    pub external_labels: ArcSwap<Labels>,
    /// What the operator shall know, shown by the web pages.
    pub notifications: Notifications,
    pub(crate) origins: AllowedOrigins,
    pub(crate) federation: FederationMetrics,
    pub(crate) metadata_cache: crate::api::search::MetadataCache,
    pub(crate) running: crate::running::RunningQueries,
    /// One permit a console page that is made.
    pub(crate) console_slots: Arc<Semaphore>,
    /// Counts expansions of templates into text.
    pub template_metrics: template::Metrics,
    storage: ArcSwapOption<Storage>,
    receiver: ArcSwapOption<Receiver>,
    readiness: AtomicU8,
}

impl Web {
    /// The state of a server whose store is not open yet.
    pub fn new(
        options: WebOptions,
        clock: Arc<dyn Clock>,
        registry: Registry,
        engine: Arc<promql::Engine>,
        scrape: Arc<scrape::ScrapeManager>,
        reload: mpsc::Sender<Reload>,
        quit: mpsc::Sender<()>,
        replay_progress: ReplayProgressFn,
    ) -> Arc<Web> {
        let http = HttpMetrics::new(&registry, clock.clone(), options.has_user_assets());
        let slots = Arc::new(Semaphore::new(options.query_concurrency.max(1)));
        let subscribers_max = options.flag("web.max-notifications-subscribers").parse().unwrap_or(16);
        let notifications = Notifications::new(subscribers_max, clock.clone(), &registry);
        notifications.add(crate::notifications::STARTING);
        let federation = FederationMetrics::new(&registry);
        let template_metrics = template::Metrics::new(&registry);
        Arc::new(Web {
            origins: AllowedOrigins::new(&options.cors_origin),
            options,
            clock,
            registry,
            http,
            engine,
            query_slots: slots,
            writes_at_once: WritesAtOnce::default(),
            scrape,
            config_text: ArcSwap::from_pointee(String::new()),
            gogc: ArcSwap::from_pointee("75".to_owned()),
            reload_successful: AtomicBool::new(false),
            last_config_time_ms: std::sync::atomic::AtomicI64::new(0),
            reload,
            quit,
            quit_requested: AtomicBool::new(false),
            replay_progress,
            observer: std::sync::OnceLock::new(),
            external_labels: ArcSwap::from_pointee(Labels::empty()),
            notifications,
            federation,
            metadata_cache: Default::default(),
            running: Default::default(),
            console_slots: Arc::new(Semaphore::new(crate::consoles::PAGES_AT_ONCE)),
            template_metrics,
            storage: ArcSwapOption::empty(),
            receiver: ArcSwapOption::empty(),
            readiness: AtomicU8::new(0),
        })
    }

    /// Hands in the open store.
    pub fn set_storage(&self, storage: Storage) {
        if self.options.enable_remote_write_receiver {
            let receiver = self.new_receiver(storage.appendable.clone());
            self.receiver.store(Some(Arc::new(receiver)));
        }
        self.storage.store(Some(Arc::new(storage)));
    }

    fn new_receiver(&self, store: Arc<dyn Appendable>) -> Receiver {
        let named = self.options.accepted_remote_write_messages.iter();
        let mut accepted: Vec<Message> = named.filter_map(|name| Message::from_name(name)).collect();
        if accepted.is_empty() {
            accepted = vec![Message::V1, Message::V2];
        }
        let v2 = V2Options {
            metadata: self.options.has_feature("metadata-wal-records"),
            type_and_unit_labels: self.options.has_feature("type-and-unit-labels"),
            start_zero: self.options.has_feature("created-timestamp-zero-ingestion"),
            start_timestamps: self.options.has_feature("st-storage"),
        };
        let options = ReceiverOptions { accepted, v2, cache_bytes: WRITE_CACHE_BYTES };
        Receiver::new(options, store, self.clock.clone(), &self.registry)
    }

    /// The receiver of remote write, where it is switched on and the store is open.
    pub fn receiver(&self) -> Option<Arc<Receiver>> {
        self.receiver.load_full()
    }

    /// Room in memory for a request that gathers what it answers: as of queries, it
    /// is refused where memory runs short.
    ///
    /// # Errors
    /// There is none.
    pub fn room(&self, by: &str) -> Result<Lease, StorageError> {
        let lease = self.engine.options().memory.lease(by, u64::MAX, Pressure::RefuseQueries);
        lease.grow_to(1)?;
        Ok(lease)
    }

    /// The store.
    ///
    /// # Errors
    /// It is not open yet.
    pub fn storage(&self) -> Result<Arc<Storage>, ApiError> {
        self.storage.load_full().ok_or_else(|| ApiError::new(ErrorKind::Unavailable, "TSDB not ready"))
    }

    /// How far the server is.
    pub fn readiness(&self) -> Readiness {
        match self.readiness.load(Ordering::Acquire) {
            0 => Readiness::Starting,
            1 => Readiness::Ready,
            _ => Readiness::Stopping,
        }
    }

    /// Tells handlers how far the server is.
    pub fn set_readiness(&self, readiness: Readiness) {
        let number = match readiness {
            Readiness::Starting => 0,
            Readiness::Ready => 1,
            Readiness::Stopping => 2,
        };
        self.readiness.store(number, Ordering::Release);
        match readiness {
            Readiness::Starting => {}
            Readiness::Ready => self.notifications.remove(crate::notifications::STARTING),
            Readiness::Stopping => {
                self.notifications.add(crate::notifications::STOPPING);
                // Listeners have heard it; their connections must not hold the server up.
                self.notifications.close();
            }
        }
    }
}
