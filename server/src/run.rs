//! The life of the server: load, listen, open the store, apply, serve, stop.
//!
//! ```text
//! configuration ─► listen (answers, not ready) ─► open the store ─► apply ─► ready
//!      ▲ SIGHUP, /-/reload: load and check whole, then apply       │
//!      └───────────────────────────────────────────────────────────┤
//! SIGTERM, /-/quit: not ready ─► discovery ─► scraping ─► store ─► HTTP ─► exit 0
//! ```

mod options;
mod signals;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use model::memory::Accountant;
use model::metrics::{Gauge, Registry};
use model::{Clock, Env};
use net::server::{RequestBody, ServeOptions, WebConfigError, WebConfigSource};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tsdb::{Db, ReplayCell};
use web::{Readiness, Reload, Storage, Web};

use crate::active_queries::ActiveQueries;
use crate::auto_reload::Changes;
use crate::config_file::{ConfigSource, LoadedConfig};
use crate::environment::{Environment, SystemClock, is_network_file_system};
use crate::flags::Flags;
use crate::observer::Observer;
use crate::store::OpeningStore;
use crate::{build, process_metrics, settings};

use signals::{Signal, Signals};

/// How long open requests may take to end once the server stops.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the server ended, or did not start.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Failure {
    message: String,
    code: u8,
}

impl From<settings::SettingsError> for Failure {
    fn from(error: settings::SettingsError) -> Failure {
        Failure { message: error.message, code: error.code }
    }
}

fn failure(code: u8, message: impl Into<String>) -> Failure {
    Failure { message: message.into(), code }
}

/// Runs the server until it is asked to stop.
pub fn run(program: &str, flags: Flags, environment: Environment) -> ExitCode {
    match start(program, flags, environment) {
        Ok(()) => {
            tracing::info!("See you next time!");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            tracing::error!(err = failure.message, "Fatal error");
            ExitCode::from(failure.code)
        }
    }
}

fn start(program: &str, flags: Flags, environment: Environment) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    if flags.bool("agent") {
        return Err(failure(1, "agent mode (--agent) is not there yet"));
    }
    settings::check_features(&flags)?;
    settings::warn_without_effect(&flags);
    let (external_url, route_prefix) = settings::external_url(&flags, &environment)?;
    let cors = model::Matcher::new(model::MatchOp::Regex, "origin", flags.text("web.cors.origin"));
    cors.map_err(|error| failure(2, format!("could not compile CORS regex string: {error}")))?;
    let memory = Accountant::new(settings::memory_limit(&flags, &environment)?);
    tracing::info!(
        version = build::INFO.version,
        revision = build::INFO.revision,
        memory_limit = memory.limit(),
        "Starting Narthex"
    );
    let source = ConfigSource::choose(program, &flags, &environment);
    let loaded = source.load(&flags, &environment).map_err(|error| failure(2, error.to_string()))?;
    settings::runtime_settings(&flags, &loaded.config)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("narthex")
        .enable_all()
        .build()
        .map_err(|error| failure(1, format!("start worker threads: {error}")))?;
    let registry = Registry::new();
    let gauges = Gauges::new(&registry);
    let server = Server { flags, environment, clock, memory, registry, source, gauges };
    let outcome = runtime.block_on(server.serve(loaded, external_url, route_prefix, threads));
    runtime.shutdown_timeout(DRAIN);
    outcome
}

/// What stays the same for the server's whole life.
struct Server {
    flags: Flags,
    environment: Environment,
    clock: Arc<dyn Clock>,
    memory: Accountant,
    registry: Registry,
    source: ConfigSource,
    gauges: Gauges,
}

/// What monitoring systems watch a server by.
struct Gauges {
    reload_successful: Gauge,
    reload_time: Gauge,
    ready: Gauge,
}

impl Gauges {
    fn new(registry: &Registry) -> Gauges {
        Gauges {
            reload_successful: registry.gauge(
                "prometheus_config_last_reload_successful",
                "Whether the last configuration reload attempt was successful.",
            ),
            reload_time: registry.gauge(
                "prometheus_config_last_reload_success_timestamp_seconds",
                "Timestamp of the last successful configuration reload.",
            ),
            ready: registry.gauge(
                "prometheus_ready",
                "Whether Prometheus startup was fully completed and the server is ready for normal operation.",
            ),
        }
    }
}

/// What a reload changes.
struct Parts {
    db: Arc<Db>,
    engine: Arc<promql::Engine>,
    scrape: Arc<scrape::ScrapeManager>,
    discovery: Arc<discovery::Manager>,
    web: Arc<Web>,
    observer: Arc<Observer>,
}

impl Server {
    async fn serve(
        self,
        loaded: LoadedConfig,
        external_url: String,
        route_prefix: String,
        threads: usize,
    ) -> Result<(), Failure> {
        process_metrics::register(&self.registry, self.clock.now_ms());
        self.register_build_info();
        let web_source = match self.flags.text("web.config.file") {
            "" => WebConfigSource::none(),
            path => WebConfigSource::file(path),
        };
        web_source
            .validate()
            .map_err(|error| failure(1, format!("Unable to validate web configuration file: {error}")))?;
        let listeners = self.listen().await?;
        let progress = Arc::new(ReplayCell::new());
        let opening = Arc::new(OpeningStore::default());
        let engine = Arc::new(promql::Engine::new(self.engine_options(threads, &loaded)));
        let scrape = Arc::new(scrape::ScrapeManager::new(
            self.scrape_options(),
            opening.clone(),
            self.clock.clone(),
            &self.registry,
        ));
        let metrics = Arc::new(discovery::DiscoveryMetrics::new(&self.registry));
        let options = discovery::ManagerOptions { name: "scrape".to_owned() };
        let discovery = discovery::Manager::new(options, self.clock.clone(), metrics);
        discovery.set_surroundings(discovery::Surroundings {
            user_agent: user_agent(),
            proxies: Arc::new(self.proxies()),
            variables: Arc::new(self.environment.variables.clone()),
        });
        let (reload, mut reloads) = mpsc::channel::<Reload>(16);
        let (quit, mut quits) = mpsc::channel(1);
        let web = Web::new(
            self.web_options(external_url, route_prefix, &listeners),
            self.clock.clone(),
            self.registry.clone(),
            engine.clone(),
            scrape.clone(),
            reload,
            quit,
            Arc::new({
                let progress = progress.clone();
                move || progress.progress()
            }),
        );
        let stop_http = CancellationToken::new();
        let mut http = self.serve_http(listeners, web_source, &web, stop_http.clone());
        let mut signals = Signals::new()?;
        // Targets are scraped while the log is being read: the store takes samples
        // long before it answers queries.
        let stop = CancellationToken::new();
        self.apply_jobs(&scrape, &discovery, &loaded).await;
        let finding = tokio::spawn({
            let (discovery, scrape, stop) = (discovery.clone(), scrape.clone(), stop.clone());
            async move { discovery.run(stop, move |groups| update_groups(&scrape, groups)).await }
        });
        let scraping = tokio::spawn({
            let (scrape, stop) = (scrape.clone(), stop.clone());
            async move { scrape.run(stop).await }
        });
        let Some(db) = self.open_store(&loaded, &progress, &opening, &mut signals, &mut quits).await? else {
            return Ok(());
        };
        let observer = Arc::new(self.observer());
        let parts = Parts {
            db: db.clone(),
            engine,
            scrape: scrape.clone(),
            discovery: discovery.clone(),
            web,
            observer,
        };
        // The first observer stays; there is no other.
        let _ = parts.web.observer.set(parts.observer.clone());
        opening.set(db.clone());
        parts.web.set_storage(storage(&db));
        self.apply(&parts, &loaded).await.map_err(|error| failure(2, error))?;
        self.note_reload(&parts.web, true);
        db.start_background().map_err(|error| failure(1, format!("starting storage upkeep: {error}")))?;
        parts.web.set_readiness(Readiness::Ready);
        self.gauges.ready.set(1.0);
        self.say_ready(&parts.web);
        let mut changes = self.changes();
        loop {
            tokio::select! {
                // A change that cannot be applied counts as one until it can.
                () = changes.next() => if self.reload(&parts).await.is_ok() {
                    changes.applied();
                },
                signal = signals.next() => match signal {
                    Signal::Reload => drop(self.reload(&parts).await),
                    Signal::Stop(name) => {
                        tracing::warn!(signal = name, "Received an OS signal, exiting gracefully...");
                        break;
                    }
                },
                Some(answer) = reloads.recv() => {
                    // Nobody waits for the answer any more: the client left.
                    let _ = answer.send(self.reload(&parts).await);
                }
                Some(()) = quits.recv() => {
                    tracing::warn!("Received termination request via web service, exiting gracefully...");
                    break;
                }
                ended = &mut http => {
                    return Err(failure(1, format!("web server ended: {ended:?}")));
                }
            }
        }
        parts.web.set_readiness(Readiness::Stopping);
        self.gauges.ready.set(0.0);
        tracing::info!("Stopping scrape discovery manager...");
        stop.cancel();
        // A task that panicked has nothing left to stop.
        let _ = tokio::join!(finding, scraping);
        tracing::info!("Stopping scrape manager...");
        scrape.stop().await;
        tracing::info!("Stopping storage...");
        let closed = tokio::task::spawn_blocking(move || db.close()).await;
        stop_http.cancel();
        match http.await {
            Ok(Ok(())) => {}
            ended => tracing::warn!(component = "web", "web server ended: {ended:?}"),
        }
        match closed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failure(1, format!("closing storage: {error}"))),
            Err(error) => Err(failure(1, format!("closing storage: {error}"))),
        }
    }

    /// Serves the API on all listeners, as the web configuration file says.
    fn serve_http(
        &self,
        listeners: Vec<(TcpListener, SocketAddr)>,
        source: WebConfigSource,
        web: &Arc<Web>,
        stop: CancellationToken,
    ) -> JoinHandle<Result<(), WebConfigError>> {
        let options = ServeOptions {
            max_connections: usize::try_from(self.flags.integer("web.max-connections")).unwrap_or(1),
            read_timeout: Duration::from_millis(
                self.flags.duration_ms("web.read-timeout").max(1).unsigned_abs(),
            ),
            drain_timeout: DRAIN,
            ..ServeOptions::new(self.clock.clone())
        };
        for (_, address) in &listeners {
            tracing::info!(component = "web", address = %address, "Start listening for connections");
        }
        let listeners = listeners.into_iter().map(|(listener, _)| listener).collect();
        let router = web::router(web.clone())
            .map_request(|request: http::Request<RequestBody>| request.map(Body::new));
        tokio::spawn(async move {
            net::server::serve(listeners, source, router, options, stop.cancelled_owned()).await
        })
    }

    async fn listen(&self) -> Result<Vec<(TcpListener, SocketAddr)>, Failure> {
        let mut listeners = Vec::new();
        for given in self.flags.texts("web.listen-address") {
            let address = match given.strip_prefix(':') {
                // Go listens on all addresses of both families where none is named.
                Some(port) => format!("[::]:{port}"),
                None => given.clone(),
            };
            let bound = match TcpListener::bind(&address).await {
                Err(_) if given.starts_with(':') => TcpListener::bind(format!("0.0.0.0{given}")).await,
                bound => bound,
            };
            let unable = |error: std::io::Error| {
                failure(1, format!("Unable to start web listener: listen tcp {given}: {error}"))
            };
            let listener = bound.map_err(unable)?;
            let address = listener.local_addr().map_err(unable)?;
            listeners.push((listener, address));
        }
        Ok(listeners)
    }

    /// Opens the store on a thread of its own; `None` where the server was asked
    /// to stop meanwhile.
    async fn open_store(
        &self,
        loaded: &LoadedConfig,
        progress: &Arc<ReplayCell>,
        door: &Arc<OpeningStore>,
        signals: &mut Signals,
        quits: &mut mpsc::Receiver<()>,
    ) -> Result<Option<Arc<Db>>, Failure> {
        let options = self.db_options(loaded)?;
        let dir = options.dir.clone();
        let started = self.clock.monotonic();
        let env =
            Env { fs: tsdb::real_fs(), clock: self.clock.clone(), seed: self.clock.now_ms().unsigned_abs() };
        let (memory, registry, progress) = (self.memory.clone(), self.registry.clone(), progress.clone());
        let door = door.clone();
        let mut opening = tokio::task::spawn_blocking(move || {
            let mut early = |store| door.set(store);
            Db::open_with(options, env, memory, &registry, progress, Some(&mut early))
        });
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break opened,
                signal = signals.next() => if let Signal::Stop(name) = signal {
                    tracing::warn!(signal = name, "Received an OS signal while opening storage, exiting...");
                    return Ok(None);
                },
                Some(()) = quits.recv() => return Ok(None),
            }
        };
        if is_network_file_system(&dir) {
            tracing::warn!(
                fs_type = "NFS_SUPER_MAGIC",
                "This filesystem is not supported and may lead to data corruption and data loss."
            );
        }
        match opened {
            Ok(Ok(db)) => {
                let seconds = self.clock.monotonic().saturating_sub(started).as_secs_f64();
                tracing::info!(component = "tsdb", dir = %dir.display(), duration = format!("{seconds:.3}s"), "TSDB started");
                Ok(Some(db))
            }
            Ok(Err(error)) => Err(failure(1, format!("opening storage failed: {error}"))),
            Err(error) => Err(failure(1, format!("opening storage failed: {error}"))),
        }
    }

    /// Loads the file whole and checks it, then applies it.
    async fn reload(&self, parts: &Parts) -> Result<(), String> {
        tracing::info!(filename = self.source.name(), "Loading configuration file");
        let loaded = match self.source.load(&self.flags, &self.environment) {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!(err = %error, "Error reloading config");
                self.note_reload(&parts.web, false);
                return Err(error.to_string());
            }
        };
        let applied = self.apply(parts, &loaded).await;
        self.note_reload(&parts.web, applied.is_ok());
        match &applied {
            Ok(()) => {
                tracing::info!(filename = self.source.name(), "Completed loading of configuration file")
            }
            Err(error) => tracing::error!(err = error, "Error reloading config"),
        }
        applied
    }

    /// Applies a checked configuration in upstream's order. Every part gets it,
    /// even where an earlier one failed.
    async fn apply(&self, parts: &Parts, loaded: &LoadedConfig) -> Result<(), String> {
        let mut faults = Vec::new();
        let external_labels = model::Labels::from_pairs(loaded.config.global.external_labels.iter());
        match settings::runtime_settings(&self.flags, &loaded.config) {
            Ok(settings) => {
                use model::admin::TsdbAdmin as _;
                if let Err(error) = parts.db.apply(&settings) {
                    faults.push(format!("db_storage: {error}"));
                }
            }
            Err(error) => faults.push(format!("db_storage: {error}")),
        }
        parts.web.config_text.store(Arc::new(loaded.config.to_yaml()));
        parts.web.external_labels.store(Arc::new(external_labels.clone()));
        if let Err(error) = parts.observer.set_log(&loaded.config.global.query_log_file) {
            faults.push(format!("query_engine: open {}: {error}", loaded.config.global.query_log_file));
        }
        parts.engine.set_default_subquery_interval_ms(loaded.config.global.evaluation_interval.0);
        if let Some(fault) = self.apply_jobs(&parts.scrape, &parts.discovery, loaded).await {
            faults.push(fault);
        }
        if faults.is_empty() {
            return Ok(());
        }
        for fault in &faults {
            tracing::error!(err = fault, "Failed to apply configuration");
        }
        let name = model::labels::go_quote(&self.source.name()).into_owned();
        Err(format!(
            "one or more errors occurred while applying the new configuration (--config.file={name})"
        ))
    }

    /// Hands the jobs to those who find and scrape their targets; answers what
    /// cannot be applied.
    async fn apply_jobs(
        &self,
        scrape: &scrape::ScrapeManager,
        discovery: &discovery::Manager,
        loaded: &LoadedConfig,
    ) -> Option<String> {
        let external_labels = model::Labels::from_pairs(loaded.config.global.external_labels.iter());
        let jobs = loaded.jobs.iter().cloned().map(Arc::new).collect();
        let applied = scrape.apply(jobs, &external_labels).await;
        let jobs =
            loaded.jobs.iter().map(|job| (job.job_name.clone(), discovery::mechanisms(&job.discovery)));
        discovery.apply(jobs.collect());
        applied.err().map(|error| format!("scrape: {error}"))
    }

    fn note_reload(&self, web: &Web, success: bool) {
        web.reload_successful.store(success, Ordering::Relaxed);
        self.gauges.reload_successful.set(f64::from(u8::from(success)));
        if success {
            web.notifications.remove(web::notifications::RELOAD_FAILED);
            let now_ms = self.clock.now_ms();
            web.last_config_time_ms.store(now_ms, Ordering::Relaxed);
            self.gauges.reload_time.set(now_ms as f64 / 1000.0);
        } else {
            web.notifications.add(web::notifications::RELOAD_FAILED);
        }
    }

    /// Notes queries in the data folder, which exists once the store is open.
    fn observer(&self) -> Observer {
        let concurrency = usize::try_from(self.flags.integer("query.max-concurrency")).unwrap_or(1).max(1);
        let dir = settings::data_dir(&self.flags);
        let active = match ActiveQueries::open(&dir, concurrency, self.clock.clone()) {
            Ok(active) => Some(active),
            Err(error) => {
                tracing::error!(%error, "Unable to create the file of active queries");
                None
            }
        };
        Observer::new(&self.registry, concurrency, self.clock.clone(), active)
    }

    /// Watches the configuration's files, where the flag or the old feature asks for it.
    fn changes(&self) -> Changes {
        let on = self.flags.bool("config.auto-reload") || self.flags.has_feature("auto-reload-config");
        match (&self.source, on) {
            (ConfigSource::File(path), true) => {
                let interval = self.flags.duration_ms("config.auto-reload-interval").max(1000);
                Changes::watch(path.clone(), Duration::from_millis(interval.unsigned_abs()))
            }
            _ => Changes::never(),
        }
    }

    fn say_ready(&self, web: &Web) {
        tracing::info!("Server is ready to receive web requests.");
        tracing::info!(
            url = format!("{}/", web.options.external_url.trim_end_matches('/')),
            config = self.source.name(),
            data = self.flags.text("storage.tsdb.path"),
            "Narthex is up: open the URL, or query its API below /api/v1"
        );
    }

    fn register_build_info(&self) {
        let info = build::INFO;
        let labels = ["branch", "goarch", "goos", "goversion", "revision", "tags", "version"];
        let help = "A metric with a constant '1' value labeled by version, revision, branch, goversion from which prometheus was built, and the goos and goarch for the build.";
        let (os, arch) = info.platform.split_once('/').unwrap_or((info.platform, ""));
        let values = [info.branch, arch, os, info.compiler, info.revision, info.tags, info.version];
        self.registry.gauge_vec("prometheus_build_info", help, &labels).with(&values).set(1.0);
        let memory = self.memory.clone();
        self.registry.gauge_fn("narthex_memory_limit_bytes", "Ceiling of the process' memory.", move || {
            memory.limit() as f64
        });
        let memory = self.memory.clone();
        self.registry.counter_fn(
            "narthex_memory_refusals_total",
            "Requests refused for want of memory.",
            move || memory.refusals() as f64,
        );
        let memory = self.memory.clone();
        self.registry.register_fn(move |families| {
            let metrics = memory.by_owner().into_iter().map(|(owner, bytes)| model::metrics::Metric {
                labels: vec![("owner".to_owned(), owner.to_owned())],
                value: model::metrics::MetricValue::Single(bytes as f64),
            });
            families.push(model::metrics::Family {
                name: "narthex_memory_bytes".to_owned(),
                help: "Memory by what holds it.".to_owned(),
                metric_type: model::metadata::MetricType::Gauge,
                metrics: metrics.collect(),
            });
        });
    }
}

/// The `User-Agent` of all requests: targets and proxies know Prometheus'.
fn user_agent() -> String {
    format!("Prometheus/{}", build::INFO.version)
}

/// Hands what discovery found to the scrape manager.
fn update_groups(scrape: &scrape::ScrapeManager, groups: discovery::GroupsByJob) {
    for (job, groups) in groups {
        scrape.update_groups(&job, groups);
    }
}

/// The store behind each trait that the API asks.
fn storage(db: &Arc<Db>) -> Storage {
    Storage {
        queryable: db.clone(),
        labels: db.clone(),
        exemplars: db.clone(),
        chunks: db.clone(),
        appendable: db.clone(),
        admin: db.clone(),
        status: db.clone(),
    }
}
