//! The targets of one job and their loops.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use discovery::TargetGroup;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::COMPONENT;
use crate::failure_log::FailureLog;
use crate::fetch::{Fetch, FetchError, FetchFactory};
use crate::job::Job;
use crate::metrics::go_duration;
use crate::scrape_loop::{LoopHandle, LoopSettings, Shared};
use crate::target::{Discovered, Origin, Target};

/// One job.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    fetchers: Arc<dyn FetchFactory>,
    offset_seed: u64,
    shutdown: CancellationToken,
    /// One sync, reload or stop at a time.
    turn: tokio::sync::Mutex<()>,
    inner: Mutex<Inner>,
}

struct Inner {
    job: Arc<Job>,
    fetch: Arc<dyn Fetch>,
    /// Fetchers of targets behind a socket: connections of one must not serve another.
    socket_fetches: HashMap<String, Arc<dyn Fetch>>,
    running: HashMap<u64, Running>,
    dropped: Arc<Vec<Origin>>,
    dropped_count: usize,
    failure_log: Option<Arc<FailureLog>>,
}

struct Running {
    target: Arc<Target>,
    handle: LoopHandle,
}

/// The targets of one job at a moment.
#[derive(Clone)]
pub struct PoolTargets {
    /// The job.
    pub job: String,
    /// Targets that are scraped, in order of their URLs.
    pub active: Vec<Arc<Target>>,
    /// Targets that relabelling dropped, as many as are remembered.
    pub dropped: Arc<Vec<Origin>>,
    /// How many were dropped.
    pub dropped_count: usize,
}

impl Pool {
    /// A pool without targets.
    ///
    /// # Errors
    /// The job's client settings cannot be used.
    pub(crate) fn new(
        job: Arc<Job>,
        shared: Arc<Shared>,
        fetchers: Arc<dyn FetchFactory>,
        offset_seed: u64,
        failure_log: Option<Arc<FailureLog>>,
    ) -> Result<Pool, FetchError> {
        let fetch = fetchers.fetcher(&job.config, None)?;
        shared.metrics.target_limit.with(&[job.name()]).set(job.config.target_limit as f64);
        let inner = Inner {
            job,
            fetch,
            socket_fetches: HashMap::new(),
            running: HashMap::new(),
            dropped: Arc::default(),
            dropped_count: 0,
            failure_log,
        };
        Ok(Pool {
            shared,
            fetchers,
            offset_seed,
            shutdown: CancellationToken::new(),
            turn: tokio::sync::Mutex::new(()),
            inner: Mutex::new(inner),
        })
    }

    pub(crate) fn job(&self) -> Arc<Job> {
        self.inner.lock().job.clone()
    }

    pub(crate) fn set_failure_log(&self, log: Option<Arc<FailureLog>>) {
        let mut inner = self.inner.lock();
        for running in inner.running.values() {
            running.handle.set_failure_log(log.clone());
        }
        inner.failure_log = log;
    }

    /// Scrapes the targets of these groups, and no others: starts loops of new
    /// targets, stops those of vanished ones and waits for their last scrapes.
    pub(crate) async fn sync(&self, groups: &[TargetGroup]) {
        let _turn = self.turn.lock().await;
        let start = self.shared.clock.monotonic();
        let job = self.job();
        let discovered = self.discover(&job, groups);
        let gone = self.replace_targets(&job, discovered);
        for running in &gone {
            running.handle.begin_stop();
        }
        for running in gone {
            running.handle.stop().await;
        }
        self.shared.metrics.observe_sync(job.name(), self.shared.clock.monotonic().saturating_sub(start));
    }

    /// Goes on with another configuration: every loop is started anew, with
    /// what it knew where that still means the same.
    ///
    /// # Errors
    /// The job's client settings cannot be used; the pool goes on as it was.
    pub(crate) async fn reload(&self, job: Arc<Job>) -> Result<(), FetchError> {
        let _turn = self.turn.lock().await;
        let metrics = &self.shared.metrics;
        metrics.pool_reloads.inc();
        let start = self.shared.clock.monotonic();
        let fetch =
            self.fetchers.fetcher(&job.config, None).inspect_err(|_| metrics.pool_reloads_failed.inc())?;
        metrics.target_limit.with(&[job.name()]).set(job.config.target_limit as f64);
        let (old, keeps_state) = {
            let mut inner = self.inner.lock();
            let keeps_state = inner.job.shares_cache_with(&job);
            inner.job = job.clone();
            inner.fetch = fetch;
            inner.socket_fetches.clear();
            (std::mem::take(&mut inner.running), keeps_state)
        };
        for running in old.values() {
            if keeps_state {
                running.handle.disable_end_markers();
            }
            running.handle.begin_stop();
        }
        let mut ended = Vec::with_capacity(old.len());
        for (hash, running) in old {
            let state = keeps_state.then(|| running.handle.state());
            running.handle.stop().await;
            ended.push((hash, running.target, state));
        }
        let mut inner = self.inner.lock();
        let forced = self.target_limit_error(&job, ended.len());
        for (hash, target, state) in ended {
            let running = self.start(&mut inner, target, state, forced.clone());
            inner.running.insert(hash, running);
        }
        let took = self.shared.clock.monotonic().saturating_sub(start);
        metrics.reload_length.with(&[&go_duration(job.interval())]).observe(took.as_secs_f64());
        Ok(())
    }

    /// Ends all loops, without markers: the job is gone. Scrapes under way end
    /// as they would have.
    pub(crate) async fn stop(&self) {
        let _turn = self.turn.lock().await;
        let running = std::mem::take(&mut self.inner.lock().running);
        for running in running.values() {
            running.handle.disable_end_markers();
            running.handle.begin_stop();
        }
        for running in running.into_values() {
            running.handle.stop().await;
        }
        self.shutdown.cancel();
        self.shared.metrics.forget_job(self.job().name());
    }

    /// Ends all loops now, without markers: after a restart they go on. Scrapes
    /// under way are given up, and nothing is written for them.
    pub(crate) async fn abort(&self) {
        self.shutdown.cancel();
        self.stop().await;
    }

    pub(crate) fn targets(&self) -> PoolTargets {
        let inner = self.inner.lock();
        let mut active: Vec<Arc<Target>> =
            inner.running.values().map(|running| running.target.clone()).collect();
        active.sort_by(|a, b| a.url().cmp(b.url()).then_with(|| a.all_labels().cmp(b.all_labels())));
        PoolTargets {
            job: inner.job.name().to_owned(),
            active,
            dropped: inner.dropped.clone(),
            dropped_count: inner.dropped_count,
        }
    }

    fn discover(&self, job: &Arc<Job>, groups: &[TargetGroup]) -> Vec<Target> {
        let mut kept = Vec::new();
        let mut dropped = Vec::new();
        let mut dropped_count = 0;
        let mut failed = 0;
        let remembered = usize::try_from(job.config.keep_dropped_targets).unwrap_or(usize::MAX);
        for group in groups {
            for (i, labels) in group.targets.iter().enumerate() {
                match Target::discover(job, labels, &group.labels) {
                    Ok(Discovered::Kept(target)) => kept.push(target),
                    Ok(Discovered::Dropped(origin)) => {
                        dropped_count += 1;
                        if remembered == 0 || dropped.len() < remembered {
                            dropped.push(origin);
                        }
                    }
                    Err(error) => {
                        failed += 1;
                        tracing::error!(
                            component = COMPONENT,
                            scrape_pool = job.name(),
                            err = format!("instance {i} in group {}: {error}", group.own_source()),
                            "Creating target failed"
                        );
                    }
                }
            }
        }
        self.shared.metrics.sync_failed.with(&[job.name()]).add(failed);
        let mut inner = self.inner.lock();
        inner.dropped = Arc::new(dropped);
        inner.dropped_count = dropped_count;
        kept
    }

    /// Starts what is new; what is to be stopped is yielded.
    fn replace_targets(&self, job: &Job, targets: Vec<Target>) -> Vec<Running> {
        let mut inner = self.inner.lock();
        let mut wanted = HashSet::with_capacity(targets.len());
        let mut sockets = HashSet::new();
        let mut started: HashMap<u64, Arc<Target>> = HashMap::new();
        for target in targets {
            if let Some(socket) = target.unix_socket() {
                sockets.insert(socket.to_owned());
            }
            wanted.insert(target.hash());
            let known = inner.running.get(&target.hash()).map(|running| &running.target);
            match known.or_else(|| started.get(&target.hash())) {
                // Of targets that come to the same the last one is shown.
                Some(known) => known.take_origin(&target),
                None => drop(started.insert(target.hash(), Arc::new(target))),
            }
        }
        let gone: Vec<u64> = inner.running.keys().filter(|hash| !wanted.contains(hash)).copied().collect();
        let gone = gone.iter().filter_map(|hash| inner.running.remove(hash)).collect();
        inner.socket_fetches.retain(|socket, _| sockets.contains(socket));
        let forced = self.target_limit_error(job, wanted.len());
        for running in inner.running.values() {
            running.handle.set_forced_error(forced.clone());
        }
        for (hash, target) in started {
            let running = self.start(&mut inner, target, None, forced.clone());
            inner.running.insert(hash, running);
        }
        let metrics = &self.shared.metrics;
        metrics.targets.with(&[job.name()]).set(wanted.len() as f64);
        metrics.symbols.with(&[job.name()]).set(distinct_strings(&inner.running) as f64);
        gone
    }

    fn start(
        &self,
        inner: &mut Inner,
        target: Arc<Target>,
        state: Option<Arc<Mutex<crate::append::TargetState>>>,
        forced_error: Option<String>,
    ) -> Running {
        let fetch = self.fetch_for(inner, &target);
        let settings = LoopSettings {
            shared: self.shared.clone(),
            job: inner.job.clone(),
            target: target.clone(),
            fetch,
            offset_seed: self.offset_seed,
            shutdown: self.shutdown.clone(),
        };
        let handle = LoopHandle::start(settings, state, forced_error, inner.failure_log.clone());
        Running { target, handle }
    }

    fn fetch_for(&self, inner: &mut Inner, target: &Target) -> Arc<dyn Fetch> {
        let Some(socket) = target.unix_socket() else { return inner.fetch.clone() };
        if let Some(fetch) = inner.socket_fetches.get(socket) {
            return fetch.clone();
        }
        match self.fetchers.fetcher(&inner.job.config, Some(socket)) {
            Ok(fetch) => {
                inner.socket_fetches.insert(socket.to_owned(), fetch.clone());
                fetch
            }
            Err(error) => Arc::new(NoFetch { socket: socket.to_owned(), client: error.to_string() }),
        }
    }

    fn target_limit_error(&self, job: &Job, targets: usize) -> Option<String> {
        let limit = job.config.target_limit;
        if limit == 0 || targets as u64 <= limit {
            return None;
        }
        self.shared.metrics.exceeded_target_limit.inc();
        Some(format!("target_limit exceeded (number of targets: {targets}, limit: {limit})"))
    }
}

/// Stands where a socket's fetcher cannot be made: its target must not be
/// reached any other way.
struct NoFetch {
    socket: String,
    client: String,
}

impl Fetch for NoFetch {
    fn fetch<'a>(
        &'a self,
        _request: &'a crate::fetch::FetchRequest,
        _page: &'a mut Vec<u8>,
    ) -> crate::fetch::Fetching<'a> {
        Box::pin(async {
            Err(FetchError::SocketClient { socket: self.socket.clone(), client: self.client.clone() })
        })
    }
}

fn distinct_strings(running: &HashMap<u64, Running>) -> usize {
    let mut strings = HashSet::new();
    for running in running.values() {
        for label in running.target.all_labels() {
            strings.insert(label.name);
            strings.insert(label.value);
        }
    }
    strings.len()
}
