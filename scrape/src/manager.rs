//! All jobs: takes configurations and discovered targets, keeps a pool a job.
//!
//! ```text
//! apply(jobs) ────────────────────▶ pools reloaded, stopped
//! update_groups(job, groups) ─┐
//!                             └ every 5 s ─▶ pools made, synced
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use discovery::TargetGroup;
use model::memory::Accountant;
use model::metrics::{Family, Metric, MetricValue, Registry};
use model::{Appendable, Clock, Labels, MetricType};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::COMPONENT;
use crate::append::AppendOptions;
use crate::failure_log::{FailureLog, FailureLogError};
use crate::fetch::FetchFactory;
use crate::job::Job;
use crate::metrics::ScrapeMetrics;
use crate::page_pool::PagePool;
use crate::pool::{Pool, PoolTargets};
use crate::scrape_loop::{CacheAccount, Shared};
use crate::target::fnv64a;

/// Discovered targets are taken over so often at most.
const UPDATE_INTERVAL: Duration = Duration::from_secs(5);
/// The first pause between two such rounds is this part of it.
const FIRST_PAUSE_PART: u32 = 64;
/// Equal distances between samples compress better.
const TIMESTAMP_TOLERANCE: Duration = Duration::from_millis(2);

/// How a manager works.
#[derive(Clone)]
pub struct ManagerOptions {
    /// What is appended.
    pub append: AppendOptions,
    /// Discovered targets are taken over so often at most.
    pub update_interval: Duration,
    /// Whether scrape times are snapped to their schedule.
    pub align_timestamps: bool,
    /// Scrapes that begin so little late at most are dated at their schedule,
    /// as far as it is no more than a hundredth of the interval.
    pub timestamp_tolerance: Duration,
    /// Added to each target's own offset.
    pub initial_offset: Duration,
    /// The machine's full name: two servers with one configuration scrape at
    /// different moments.
    pub host_name: String,
    /// What gets pages.
    pub fetchers: Arc<dyn FetchFactory>,
    /// The process's memory account.
    pub accountant: Accountant,
}

impl ManagerOptions {
    /// The usual settings.
    pub fn new(fetchers: Arc<dyn FetchFactory>) -> ManagerOptions {
        ManagerOptions {
            append: AppendOptions::default(),
            update_interval: UPDATE_INTERVAL,
            align_timestamps: true,
            timestamp_tolerance: TIMESTAMP_TOLERANCE,
            initial_offset: Duration::ZERO,
            host_name: String::new(),
            fetchers,
            accountant: Accountant::unlimited(),
        }
    }
}

/// Why a configuration is not wholly applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A log of failed scrapes cannot be opened; nothing was applied.
    #[error(transparent)]
    FailureLog(#[from] FailureLogError),
    /// Some jobs go on as they were.
    #[error("failed to apply the new configuration")]
    Jobs,
}

/// Scrapes all jobs. Clones are the same manager.
#[derive(Clone)]
pub struct ScrapeManager {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    fetchers: Arc<dyn FetchFactory>,
    host_name: String,
    update_interval: Duration,
    /// One configuration or round of updates at a time.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    updated: Notify,
    shutdown: CancellationToken,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<String, Arc<Job>>,
    pools: BTreeMap<String, Arc<Pool>>,
    groups: HashMap<String, Arc<Vec<TargetGroup>>>,
    /// Jobs whose groups changed since the last round.
    changed: BTreeSet<String>,
    failure_logs: HashMap<String, Arc<FailureLog>>,
    offset_seed: u64,
}

impl ScrapeManager {
    /// A manager without jobs.
    pub fn new(
        options: ManagerOptions,
        appendable: Arc<dyn Appendable>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> ScrapeManager {
        let shared = Shared {
            appendable,
            clock,
            metrics: ScrapeMetrics::new(registry),
            options: options.append,
            pages: PagePool::default(),
            caches: CacheAccount::new(&options.accountant),
            align_timestamps: options.align_timestamps,
            timestamp_tolerance_ms: i64::try_from(options.timestamp_tolerance.as_millis())
                .unwrap_or(i64::MAX),
            initial_offset: options.initial_offset,
        };
        let inner = Arc::new(Inner {
            shared: Arc::new(shared),
            fetchers: options.fetchers,
            host_name: options.host_name,
            update_interval: options.update_interval,
            turn: tokio::sync::Mutex::new(()),
            state: Mutex::default(),
            updated: Notify::new(),
            shutdown: CancellationToken::new(),
        });
        let weak = Arc::downgrade(&inner);
        registry.register_fn(move |families| collect_metadata_sizes(&weak, families));
        ScrapeManager { inner }
    }

    /// Goes over to a configuration: changed jobs restart their loops, vanished
    /// ones end, new ones wait for their targets.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn apply(
        &self,
        configs: Vec<Arc<config::ScrapeConfig>>,
        external_labels: &Labels,
    ) -> Result<(), ApplyError> {
        let _turn = self.inner.turn.lock().await;
        let mut failure_logs = HashMap::new();
        for config in &configs {
            let path = &config.scrape_failure_log_file;
            if !path.is_empty() && !failure_logs.contains_key(path) {
                failure_logs.insert(path.clone(), Arc::new(FailureLog::open(path)?));
            }
        }
        let jobs: BTreeMap<String, Arc<Job>> =
            configs.into_iter().map(|config| (config.job_name.clone(), Arc::new(Job::new(config)))).collect();
        let pools = {
            let mut state = self.inner.state.lock();
            state.groups.retain(|job, _| jobs.contains_key(job));
            state.jobs = jobs.clone();
            state.failure_logs = failure_logs.clone();
            let seed_text = format!("{}{external_labels}", self.inner.host_name);
            state.offset_seed = fnv64a(seed_text.bytes());
            // Rules may have changed: the groups as known mean other targets.
            state.changed = state.groups.keys().cloned().collect();
            state.pools.clone()
        };
        // A pool waits for its scrapes under way: one must not wait for another's.
        let mut changes = JoinSet::new();
        for (name, pool) in pools {
            let Some(job) = jobs.get(&name).cloned() else {
                self.inner.state.lock().pools.remove(&name);
                changes.spawn(async move {
                    pool.stop().await;
                    true
                });
                continue;
            };
            pool.set_failure_log(failure_logs.get(&job.config.scrape_failure_log_file).cloned());
            if pool.job().config == job.config {
                continue;
            }
            changes.spawn(async move {
                let reloaded = pool.reload(job).await;
                if let Err(error) = &reloaded {
                    tracing::error!(
                        component = COMPONENT,
                        err = %error,
                        scrape_pool = name,
                        "error reloading scrape pool"
                    );
                }
                reloaded.is_ok()
            });
        }
        let failed = changes.join_all().await.contains(&false);
        self.inner.updated.notify_one();
        if failed { Err(ApplyError::Jobs) } else { Ok(()) }
    }

    /// Takes note of all groups of a job; they count from the next round on.
    pub fn update_groups(&self, job: &str, groups: Vec<TargetGroup>) {
        let mut state = self.inner.state.lock();
        state.groups.insert(job.to_owned(), Arc::new(groups));
        state.changed.insert(job.to_owned());
        drop(state);
        self.inner.updated.notify_one();
    }

    /// Takes discovered targets over, at most once an interval, until cancelled. The
    /// first come soon after the start, with pauses that grow to the interval: a
    /// restart shall leave no gap but its own.
    pub async fn run(&self, cancel: CancellationToken) {
        let rounds = async {
            let most = self.inner.update_interval.max(Duration::from_millis(1));
            let mut pause = most / FIRST_PAUSE_PART;
            loop {
                self.inner.updated.notified().await;
                self.sync().await;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(most);
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.inner.shutdown.cancelled() => {}
            () = rounds => {}
        }
    }

    /// Takes the discovered targets over now.
    pub async fn sync(&self) {
        let _turn = self.inner.turn.lock().await;
        let changed = std::mem::take(&mut self.inner.state.lock().changed);
        let mut syncs = JoinSet::new();
        for name in changed {
            let (pool, groups) = {
                let mut state = self.inner.state.lock();
                let Some(groups) = state.groups.get(&name).cloned() else { continue };
                let Some(job) = state.jobs.get(&name).cloned() else {
                    tracing::error!(
                        component = COMPONENT,
                        err = format!("invalid config id:{name}"),
                        "error reloading target set"
                    );
                    continue;
                };
                let pool = match state.pools.get(&name) {
                    Some(pool) => pool.clone(),
                    None => match self.new_pool(&state, job) {
                        Some(pool) => {
                            state.pools.insert(name.clone(), pool.clone());
                            pool
                        }
                        None => continue,
                    },
                };
                (pool, groups)
            };
            syncs.spawn(async move { pool.sync(&groups).await });
        }
        syncs.join_all().await;
    }

    /// Ends all scraping; scrapes under way are given up, nothing is written
    /// for them.
    pub async fn stop(&self) {
        self.inner.shutdown.cancel();
        let _turn = self.inner.turn.lock().await;
        let pools = std::mem::take(&mut self.inner.state.lock().pools);
        let mut stops = JoinSet::new();
        for pool in pools.into_values() {
            stops.spawn(async move { pool.abort().await });
        }
        stops.join_all().await;
    }

    /// The targets of all jobs, in order of the jobs' names.
    pub fn targets(&self) -> Vec<PoolTargets> {
        let pools: Vec<Arc<Pool>> = self.inner.state.lock().pools.values().cloned().collect();
        pools.iter().map(|pool| pool.targets()).collect()
    }

    /// The names of all jobs that have a pool.
    pub fn scrape_pools(&self) -> Vec<String> {
        self.inner.state.lock().pools.keys().cloned().collect()
    }

    /// The configuration that a job is scraped with, `None` where it has no pool.
    pub fn pool_config(&self, job: &str) -> Option<Arc<config::ScrapeConfig>> {
        self.inner.state.lock().pools.get(job).map(|pool| pool.job().config.clone())
    }

    fn new_pool(&self, state: &State, job: Arc<Job>) -> Option<Arc<Pool>> {
        let shared = self.inner.shared.clone();
        shared.metrics.pools.inc();
        let name = job.name().to_owned();
        let log = state.failure_logs.get(&job.config.scrape_failure_log_file).cloned();
        match Pool::new(job, shared, self.inner.fetchers.clone(), state.offset_seed, log) {
            Ok(pool) => Some(Arc::new(pool)),
            Err(error) => {
                self.inner.shared.metrics.pools_failed.inc();
                tracing::error!(
                    component = COMPONENT,
                    err = %error,
                    scrape_pool = name,
                    "error creating new scrape pool"
                );
                None
            }
        }
    }
}

fn collect_metadata_sizes(inner: &Weak<Inner>, families: &mut Vec<Family>) {
    let Some(inner) = inner.upgrade() else { return };
    let manager = ScrapeManager { inner };
    let mut entries = Vec::new();
    let mut bytes = Vec::new();
    for pool in manager.targets() {
        let (mut len, mut size) = (0, 0);
        for target in &pool.active {
            let metadata = target.metadata();
            let metadata = metadata.lock();
            len += metadata.len();
            size += metadata.text_bytes();
        }
        let metric = |value: usize| Metric {
            labels: vec![("scrape_job".to_owned(), pool.job.clone())],
            value: MetricValue::Single(value as f64),
        };
        entries.push(metric(len));
        bytes.push(metric(size));
    }
    for (name, help, metrics) in [
        (
            "prometheus_target_metadata_cache_entries",
            "Total number of metric metadata entries in the cache",
            entries,
        ),
        (
            "prometheus_target_metadata_cache_bytes",
            "The number of bytes that are currently used for storing metric metadata in the cache",
            bytes,
        ),
    ] {
        families.push(Family {
            name: name.to_owned(),
            help: help.to_owned(),
            metric_type: MetricType::Gauge,
            metrics,
        });
    }
}
