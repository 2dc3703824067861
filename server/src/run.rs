//! The life of the server: load, listen, open the store, apply, serve, stop.
//!
//! ```text
//! configuration ─► listen (answers, not ready) ─► open the store ─► apply ─► ready
//!      ▲ SIGHUP, /-/reload: load and check whole, then apply       │
//!      └───────────────────────────────────────────────────────────┤
//! SIGTERM, /-/quit: not ready ─► discovery ─► scraping ─► store ─► HTTP ─► exit 0
//! ```

mod listen;
mod opening;
mod options;
mod reload;
mod signals;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use model::Clock;
use model::append::Appendable;
use model::memory::{Accountant, Owner};
use model::metrics::{Counter, Gauge, Registry, Vector};
use net::go_url::GoUrl;
use net::server::{Listener, RequestBody, ServeOptions, WebConfigError, WebConfigSource};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tsdb::{Db, ReplayCell};
use web::{Readiness, Reload, Storage, Web};

use crate::active_queries::ActiveQueries;
use crate::auto_reload::Changes;
use crate::config_file::{ConfigSource, LoadedConfig};
use crate::environment::{self, Environment, SystemClock};
use crate::flags::Flags;
use crate::observer::Observer;
use crate::store::{GuardedStore, OpeningStore};
use crate::{build, features, memory, process_metrics, settings};

use signals::{Signal, Signals};

/// How long open requests may take to end once the server stops.
const DRAIN: Duration = Duration::from_secs(10);
/// How long answers that are on their way may take once the store is closed.
const ANSWERS_DRAIN: Duration = Duration::from_secs(2);
/// Summaries turn over so often.
const SUMMARY_TURN: Duration = Duration::from_secs(120);

/// Why the server ended, or did not start.
#[derive(Debug)]
enum Failure {
    /// Told on standard error as it stands: the command line is to blame.
    Plain { message: String, code: u8 },
    /// Told in the log.
    Fatal { message: String, code: u8 },
    /// Told already.
    Told { code: u8 },
}

impl From<settings::SettingsError> for Failure {
    fn from(error: settings::SettingsError) -> Failure {
        Failure::Plain { message: error.message, code: error.code }
    }
}

fn failure(code: u8, message: impl Into<String>) -> Failure {
    Failure::Fatal { message: message.into(), code }
}

/// Runs the server until it is asked to stop.
pub fn run(program: &str, flags: Flags, environment: Environment) -> ExitCode {
    let code = match start(program, flags, environment) {
        Ok(()) => {
            tracing::info!("See you next time!");
            return ExitCode::SUCCESS;
        }
        Err(Failure::Plain { message, code }) => {
            eprintln!("{message}");
            code
        }
        Err(Failure::Fatal { message, code }) => {
            tracing::error!(err = message, "Fatal error");
            code
        }
        Err(Failure::Told { code }) => code,
    };
    ExitCode::from(code)
}

fn start(program: &str, mut flags: Flags, environment: Environment) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    features::check(&flags)?;
    features::warn_of_idle_flags(&flags);
    if let Some(interval) = settings::auto_reload_interval(&flags) {
        let interval =
            model::time::format_duration_ms(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX));
        tracing::info!(interval, "Automatic configuration file reloading enabled");
    }
    settings::check(&flags)?;
    let memory = Accountant::new(settings::memory_limit(&flags, &environment)?);
    let (external_url, route_prefix) = settings::external_url(&flags, &environment)?;
    if flags.bool("agent") {
        return Err(failure(1, "agent mode (--agent) is not there yet"));
    }
    let source = ConfigSource::choose(program, &flags, &environment);
    let loaded = source.load(&flags, &environment).map_err(|error| {
        let said = format!("Error loading config (--config.file={})", source.name());
        let file = std::path::absolute(source.name()).map(|path| path.display().to_string());
        tracing::error!(file = file.unwrap_or_else(|_| source.name()), err = error.fault(), "{said}");
        // A log of JSON is read by programs: lines of another form would not do.
        if flags.text("log.format") == "logfmt" {
            eprint!("{}", error.excerpts());
        }
        Failure::Told { code: 2 }
    })?;
    settings::check_storage(&flags, &loaded.config)?;
    settings::note_effective(&mut flags, &loaded.config, &route_prefix);
    let info = build::INFO;
    tracing::info!(
        mode = "server",
        version = format!("(version={}, branch={}, revision={})", info.version, info.branch, info.revision),
        "Starting Prometheus Server"
    );
    let [build_context, host_details, fd_limits, vm_limits] =
        environment::operational_information().map(|(_, value)| value);
    tracing::info!(build_context, host_details, fd_limits, vm_limits, "operational information");
    let threads = settings::worker_threads(&flags);
    tracing::info!(memory_limit = memory.limit(), threads, "Narthex stands in for it");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("narthex")
        .enable_all()
        .build()
        .map_err(|error| failure(1, format!("start worker threads: {error}")))?;
    let registry = Registry::new();
    let gauges = Gauges::new(&registry);
    let fresh = Arc::new(memory.owner("fresh_series"));
    let server = Server {
        flags,
        environment,
        clock,
        memory,
        fresh,
        registry,
        source,
        gauges,
        last_retention: Default::default(),
    };
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
    /// Series made since those who hold their bytes reported.
    fresh: Arc<Owner>,
    registry: Registry,
    source: ConfigSource,
    gauges: Gauges,
    /// How long blocks are kept, as it was last applied.
    last_retention: parking_lot::Mutex<Option<[String; 3]>>,
}

/// What monitoring systems watch a server by.
struct Gauges {
    reload_successful: Gauge,
    reload_time: Gauge,
    ready: Gauge,
    /// Sections and mechanisms of the configuration that nothing acts on, by name.
    inactive: Vector<Gauge>,
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
            inactive: registry.gauge_vec(
                "narthex_config_inactive_sections",
                "Sections of the configuration that are accepted by --allow-inactive and have no effect.",
                &["section"],
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
        let (tasks, limit) = (tokio::runtime::Handle::current().metrics(), self.memory.clone());
        let runtime = process_metrics::Runtime {
            workers: threads,
            tasks: Box::new(move || tasks.num_alive_tasks()),
            memory_limit: Box::new(move || limit.limit()),
        };
        process_metrics::register_runtime(&self.registry, runtime);
        self.register_build_info();
        memory::register(&self.memory, &self.registry);
        // The file is known to be good: nobody shall be alarmed while the store opens.
        self.gauges.reload_successful.set(1.0);
        self.gauges.reload_time.set(self.clock.now_ms() as f64 / 1000.0);
        let web_source = match self.flags.text("web.config.file") {
            "" => WebConfigSource::none(),
            path => WebConfigSource::file(path),
        };
        let listeners = self.listen().await.map_err(|error| {
            tracing::error!(err = %error, "Unable to start web listener");
            Failure::Told { code: 1 }
        })?;
        web_source.validate().map_err(|error| {
            tracing::error!(err = %error, "Unable to validate web configuration file");
            Failure::Told { code: 1 }
        })?;
        let progress = Arc::new(ReplayCell::new());
        let opening = Arc::new(OpeningStore::default());
        let engine = Arc::new(promql::Engine::new(self.engine_options(threads, &loaded)));
        let dials = net::Dials::new(&self.registry);
        let scrape = Arc::new(scrape::ScrapeManager::new(
            self.scrape_options(&dials),
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
            dials: Some(dials.clone()),
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
        // What cannot be applied is told when everything is applied, below.
        let _ = reload::apply_jobs(&scrape, &loaded).await;
        reload::apply_discovery(&discovery, &loaded);
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
        let guarded: Arc<dyn Appendable> =
            Arc::new(GuardedStore::new(db.clone(), self.memory.clone(), self.fresh.clone()));
        opening.set(guarded.clone());
        parts.web.set_storage(storage(&db, guarded));
        self.apply_first(&parts, &loaded).await?;
        db.start_background().map_err(|error| failure(1, format!("starting storage upkeep: {error}")))?;
        let governing = self.govern(&parts, stop.clone());
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
                    Signal::Reload => if self.reload(&parts).await.is_ok() {
                        changes.loaded();
                    },
                    Signal::Stop(name) => {
                        tracing::warn!(signal = name, "Received an OS signal, exiting gracefully...");
                        break;
                    }
                },
                Some(answer) = reloads.recv() => {
                    let reloaded = self.reload(&parts).await;
                    if reloaded.is_ok() {
                        changes.loaded();
                    }
                    // Where sending fails the client left: nobody waits for the answer.
                    let _ = answer.send(reloaded);
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
        // Nobody reloads any more: those who wait for it are told so.
        drop(reloads);
        tracing::info!("Stopping scrape discovery manager...");
        stop.cancel();
        // A task that panicked has nothing left to stop.
        let _ = tokio::join!(finding, scraping, governing);
        tracing::info!("Scrape discovery manager stopped");
        tracing::info!("Stopping scrape manager...");
        scrape.stop().await;
        tracing::info!("Scrape manager stopped");
        tracing::info!("Stopping storage...");
        let closed = tokio::task::spawn_blocking(move || db.close()).await;
        tracing::info!("TSDB stopped");
        tracing::info!("Stopping web handler...");
        stop_http.cancel();
        match http.await {
            Ok(Ok(())) => tracing::info!("Web handler stopped"),
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
        listeners: Vec<(Listener, String)>,
        source: WebConfigSource,
        web: &Arc<Web>,
        stop: CancellationToken,
    ) -> JoinHandle<Result<(), WebConfigError>> {
        let options = ServeOptions {
            max_connections: usize::try_from(self.flags.integer("web.max-connections")).unwrap_or(1),
            read_timeout: Duration::from_millis(
                self.flags.duration_ms("web.read-timeout").max(1).unsigned_abs(),
            ),
            drain_timeout: ANSWERS_DRAIN,
            connections: net::server::Connections {
                accepted: self.connections(
                    "accepted",
                    "Total number of connections opened to the listener of a given name.",
                ),
                closed: self.connections(
                    "closed",
                    "Total number of connections closed that were made to the listener of a given name.",
                ),
            },
            ..ServeOptions::new(self.clock.clone())
        };
        for (_, address) in &listeners {
            tracing::info!(component = "web", address = %address, "Start listening for connections");
        }
        // The file was found to be good just now.
        let web_config = source.load().unwrap_or_default();
        let is_tls = web_config.tls_server_config.is_enabled();
        let http2 = is_tls && web_config.http_server_config.http2;
        for (_, address) in &listeners {
            tracing::info!(component = "web", address = %address, "Listening on");
            let state = if is_tls { "TLS is enabled." } else { "TLS is disabled." };
            tracing::info!(component = "web", http2, address = %address, "{state}");
        }
        let listeners = listeners.into_iter().map(|(listener, _)| listener).collect();
        let router = web::router(web.clone())
            .map_request(|request: http::Request<RequestBody>| request.map(Body::new));
        tokio::spawn(async move {
            net::server::serve(listeners, source, router, options, stop.cancelled_owned()).await
        })
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
        match (&self.source, settings::auto_reload_interval(&self.flags)) {
            (ConfigSource::File(path), Some(interval)) => Changes::watch(path.clone(), interval),
            _ => Changes::never(),
        }
    }

    fn say_ready(&self, web: &Web) {
        tracing::info!("Server is ready to receive web requests.");
        // Printed by this type, a URL has no password.
        let url = GoUrl::parse(&web.options.external_url).unwrap_or_default().to_string();
        tracing::info!(
            url = format!("{}/", url.trim_end_matches('/')),
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
    }

    /// A counter of connections to the server.
    fn connections(&self, what: &str, help: &str) -> Counter {
        let name = format!("net_conntrack_listener_conn_{what}_total");
        self.registry.counter_vec(&name, help, &["listener_name"]).with(&["http"])
    }

    /// Starts what keeps memory below its ceiling.
    fn govern(&self, parts: &Parts, stop: CancellationToken) -> JoinHandle<()> {
        let refresh = self.flags.duration_ms("auto-gomemlimit.refresh-interval");
        let derived = self.flags.bytes("memory.limit").is_none() && self.flags.bool("auto-gomemlimit");
        let ratio = self.flags.number("auto-gomemlimit.ratio");
        let before = self.memory.limit();
        let governor = memory::Governor {
            memory: self.memory.clone(),
            clock: self.clock.clone(),
            fresh: self.fresh.clone(),
            detect: (derived && refresh > 0).then(|| {
                let detect = move || memory::detected_limit(ratio).unwrap_or(before);
                (
                    Duration::from_millis(refresh.unsigned_abs()),
                    Box::new(detect) as Box<dyn Fn() -> u64 + Send>,
                )
            }),
        };
        let (db, web) = (parts.db.clone(), parts.web.clone());
        let shrink = move || {
            if let Some(receiver) = web.receiver() {
                receiver.forget_series();
            }
        };
        tokio::spawn(age_summaries(self.registry.clone(), stop.clone()));
        tokio::spawn(governor.run(move || db.refresh_accounts(), shrink, stop))
    }
}

/// Lets summaries of own metrics forget as upstream's do.
async fn age_summaries(registry: Registry, stop: CancellationToken) {
    let mut turns = tokio::time::interval(SUMMARY_TURN);
    // The first comes at once.
    turns.tick().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = turns.tick() => registry.age(),
        }
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
fn storage(db: &Arc<Db>, appendable: Arc<dyn Appendable>) -> Storage {
    Storage {
        queryable: db.clone(),
        labels: db.clone(),
        exemplars: db.clone(),
        chunks: db.clone(),
        appendable,
        admin: db.clone(),
        status: db.clone(),
    }
}
