//! The manager: runs each distinct mechanism once, gathers what they find and
//! hands it on by job, at most every few seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::Clock;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::group::TargetGroup;
use crate::mechanism::{Context, Mechanism, Updates};
use crate::metrics::DiscoveryMetrics;

/// The groups of every job.
pub type GroupsByJob = BTreeMap<String, Vec<TargetGroup>>;

/// The first pause between two deliveries, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Updates that may wait for the manager.
const UPDATES_MAX: usize = 64;

/// Settings of a manager.
#[derive(Clone, Debug)]
pub struct ManagerOptions {
    /// Its name as a label of metrics: `scrape` or `notify`.
    pub name: String,
}

/// Runs mechanisms and gathers their groups.
pub struct Manager {
    options: ManagerOptions,
    clock: Arc<dyn Clock>,
    metrics: Arc<DiscoveryMetrics>,
    state: Mutex<State>,
    changed: Notify,
    sender: mpsc::Sender<(u64, Vec<TargetGroup>)>,
    receiver: tokio::sync::Mutex<mpsc::Receiver<(u64, Vec<TargetGroup>)>>,
}

#[derive(Default)]
struct State {
    providers: BTreeMap<u64, Provider>,
    /// Every job, those without a provider included.
    jobs: BTreeSet<String>,
    next_provider: u64,
}

/// A mechanism that runs.
struct Provider {
    mechanism: Arc<dyn Mechanism>,
    jobs: BTreeSet<String>,
    groups: BTreeMap<String, TargetGroup>,
    stop: CancellationToken,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Manager {
    /// A manager that runs nothing yet.
    pub fn new(
        options: ManagerOptions,
        clock: Arc<dyn Clock>,
        metrics: Arc<DiscoveryMetrics>,
    ) -> Arc<Manager> {
        let (sender, receiver) = mpsc::channel(UPDATES_MAX);
        Arc::new(Manager {
            options,
            clock,
            metrics,
            state: Mutex::default(),
            changed: Notify::new(),
            sender,
            receiver: tokio::sync::Mutex::new(receiver),
        })
    }

    /// Runs the mechanisms of these jobs, and no others. One that runs already
    /// with the same settings goes on, its targets kept. Must be called inside
    /// the runtime.
    pub fn apply(&self, jobs: Vec<(String, Vec<Arc<dyn Mechanism>>)>) {
        let mut state = self.state.lock();
        state.jobs = jobs.iter().map(|(job, _)| job.clone()).collect();
        for provider in state.providers.values_mut() {
            provider.jobs.clear();
        }
        for (job, mechanisms) in jobs {
            for mechanism in mechanisms {
                let running =
                    state.providers.values_mut().find(|provider| provider.mechanism.is_same(&*mechanism));
                match running {
                    Some(provider) => drop(provider.jobs.insert(job.clone())),
                    None => self.start(&mut state, mechanism, &job),
                }
            }
        }
        state.providers.retain(|_, provider| !provider.jobs.is_empty());
        let jobs = state.jobs.clone();
        drop(state);
        let name = self.options.name.clone();
        let stays = |labels: &[String]| labels[0] != name || jobs.contains(&labels[1]);
        self.metrics.discovered_targets.retain(stays);
        self.metrics.last_update.retain(stays);
        self.metrics.failed_configs.with(&[&self.options.name]).set(0.0);
        self.changed.notify_one();
    }

    fn start(&self, state: &mut State, mechanism: Arc<dyn Mechanism>, job: &str) {
        let id = state.next_provider;
        state.next_provider += 1;
        let stop = CancellationToken::new();
        let context = Context {
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            set: job.to_owned(),
            stop: stop.clone(),
        };
        let updates = Updates { provider: id, sender: self.sender.clone() };
        tokio::spawn(mechanism.clone().run(context, updates));
        let provider =
            Provider { mechanism, jobs: BTreeSet::from([job.to_owned()]), groups: BTreeMap::new(), stop };
        state.providers.insert(id, provider);
    }

    /// Gathers updates and calls `deliver` with the groups of all jobs whenever
    /// they changed: at once, then after growing pauses while changes keep
    /// coming. Ends when `stop` is cancelled; all mechanisms end with it.
    pub async fn run(&self, stop: CancellationToken, mut deliver: impl FnMut(GroupsByJob) + Send) {
        let mut receiver = self.receiver.lock().await;
        let mut pause = PAUSE_MIN;
        let mut last_delivery: Option<Duration> = None;
        let mut due: Option<tokio::time::Instant> = None;
        loop {
            let wait = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                Some((provider, groups)) = receiver.recv() => self.take(provider, groups),
                () = self.changed.notified() => {}
                () = wait => {
                    due = None;
                    last_delivery = Some(self.clock.monotonic());
                    self.metrics.updates.with(&[&self.options.name]).inc();
                    deliver(self.groups());
                    continue;
                }
            }
            if due.is_some() {
                self.metrics.delayed_updates.with(&[&self.options.name]).inc();
                continue;
            }
            let quiet = last_delivery.map_or(PAUSE_MAX, |at| self.clock.monotonic().saturating_sub(at));
            pause = if quiet >= PAUSE_MAX { PAUSE_MIN } else { pause.mul_f64(1.5).min(PAUSE_MAX) };
            due = Some(tokio::time::Instant::now() + pause.saturating_sub(quiet));
        }
        self.state.lock().providers.clear();
    }

    fn take(&self, provider: u64, groups: Vec<TargetGroup>) {
        let mut state = self.state.lock();
        // A provider that was stopped meanwhile has nothing to say.
        let Some(provider) = state.providers.get_mut(&provider) else { return };
        self.metrics.received_updates.with(&[&self.options.name]).inc();
        let now = self.clock.now_ms() as f64 / 1000.0;
        for group in groups {
            match group.targets.is_empty() {
                true => drop(provider.groups.remove(&group.source)),
                false => drop(provider.groups.insert(group.source.clone(), group)),
            }
        }
        for job in &provider.jobs {
            self.metrics.last_update.with(&[&self.options.name, job]).set(now);
        }
    }

    /// The groups of every job as they are now. Sources of different mechanisms
    /// are told apart by the mechanism's name and number.
    pub fn groups(&self) -> GroupsByJob {
        let state = self.state.lock();
        let mut jobs: GroupsByJob = state.jobs.iter().map(|job| (job.clone(), Vec::new())).collect();
        for (id, provider) in &state.providers {
            for job in &provider.jobs {
                let groups = provider.groups.values().map(|group| TargetGroup {
                    source: format!("{}/{id}/{}", provider.mechanism.name(), group.source),
                    ..group.clone()
                });
                jobs.entry(job.clone()).or_default().extend(groups);
            }
        }
        drop(state);
        for (job, groups) in &jobs {
            let count: usize = groups.iter().map(|group| group.targets.len()).sum();
            self.metrics.discovered_targets.with(&[&self.options.name, job]).set(count as f64);
        }
        jobs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::static_targets::StaticTargets;
    use config::discovery::StaticConfig;
    use model::metrics::Registry;

    fn manager() -> Arc<Manager> {
        let metrics = Arc::new(DiscoveryMetrics::new(&Registry::new()));
        let clock = Arc::new(testkit::TestClock::new(0));
        Manager::new(ManagerOptions { name: "scrape".to_owned() }, clock, metrics)
    }

    fn targets(addresses: &[&str]) -> Arc<dyn Mechanism> {
        let targets = addresses.iter().map(|&a| a.to_owned()).collect();
        Arc::new(StaticTargets { groups: vec![StaticConfig { targets, labels: Default::default() }] })
    }

    /// Runs the manager until it has delivered something that `enough` accepts.
    async fn until(manager: &Arc<Manager>, enough: impl Fn(&GroupsByJob) -> bool) -> GroupsByJob {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (manager, stop) = (manager.clone(), stop.clone());
            async move { manager.run(stop, |groups| drop(sender.send(groups))).await }
        });
        let delivered = loop {
            let groups = receiver.recv().await.unwrap();
            if enough(&groups) {
                break groups;
            }
        };
        stop.cancel();
        task.await.unwrap();
        delivered
    }

    #[tokio::test(start_paused = true)]
    async fn equal_mechanisms_run_once_and_serve_all_their_jobs() {
        let manager = manager();
        manager.apply(vec![
            ("a".to_owned(), vec![targets(&["x:1"])]),
            ("b".to_owned(), vec![targets(&["x:1"])]),
            ("c".to_owned(), vec![targets(&["y:1"])]),
            ("none".to_owned(), vec![]),
        ]);
        assert_eq!(manager.state.lock().providers.len(), 2);
        let groups = until(&manager, |groups| groups["a"].len() == 1 && groups["c"].len() == 1).await;
        assert_eq!(groups["a"], groups["b"]);
        assert_eq!(groups["none"], []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_keeps_what_did_not_change() {
        let manager = manager();
        manager.apply(vec![
            ("a".to_owned(), vec![targets(&["x:1"])]),
            ("b".to_owned(), vec![targets(&["y:1"])]),
        ]);
        let before: Vec<u64> = manager.state.lock().providers.keys().copied().collect();
        manager.apply(vec![
            ("a".to_owned(), vec![targets(&["x:1"])]),
            ("b".to_owned(), vec![targets(&["z:1"])]),
        ]);
        let after: Vec<u64> = manager.state.lock().providers.keys().copied().collect();
        assert_eq!((before, after), (vec![0, 1], vec![0, 2]));
        let groups = until(&manager, |groups| groups["a"].len() == 1 && groups["b"].len() == 1).await;
        assert_eq!(groups["b"][0].targets[0].get("__address__"), Some("z:1"));
    }
}
