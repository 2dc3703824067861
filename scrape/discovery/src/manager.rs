//! The manager: runs each distinct mechanism once, gathers what they find and
//! hands it on by job, at most every few seconds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use model::Clock;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::group::TargetGroup;
use crate::mechanism::{Context, Mechanism, Surroundings, Updates, component};
use crate::metrics::DiscoveryMetrics;
use crate::static_targets::StaticTargets;

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
    surroundings: Mutex<Surroundings>,
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

/// Providers by what their mechanisms' settings look like.
type Looks = HashMap<u64, Vec<u64>>;

/// A mechanism that runs.
struct Provider {
    mechanism: Arc<dyn Mechanism>,
    look: u64,
    /// The job that it was started for: a label of its metrics.
    set: String,
    jobs: BTreeSet<String>,
    groups: BTreeMap<String, TargetGroup>,
    stop: CancellationToken,
}

/// A number for what a mechanism's settings look like. Equal mechanisms look
/// the same; others may, where they differ in a secret only.
fn look_of(mechanism: &dyn Mechanism) -> u64 {
    struct Text(DefaultHasher);
    impl fmt::Write for Text {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0.write(part.as_bytes());
            Ok(())
        }
    }
    let mut text = Text(DefaultHasher::new());
    // Writing to a hasher cannot fail.
    let _written = fmt::write(&mut text, format_args!("{} {mechanism:?}", mechanism.name()));
    text.0.finish()
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The pauses between deliveries: short after a quiet time, then ever longer.
#[derive(Default)]
struct Pauses {
    pause: Duration,
    last: Option<Instant>,
}

impl Pauses {
    /// When a change that comes now is to be delivered. Never at once: changes
    /// come in company, such as the first groups of all mechanisms of a reload.
    fn next(&mut self, now: Instant) -> Instant {
        let quiet = self.last.map_or(PAUSE_MAX, |last| now.saturating_duration_since(last));
        if quiet >= PAUSE_MAX || self.pause.is_zero() {
            self.pause = PAUSE_MIN;
        } else {
            self.pause = self.pause.mul_f64(1.5).min(PAUSE_MAX);
        }
        now + self.pause.saturating_sub(quiet).max(PAUSE_MIN)
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
        // Upstream shows these before anything happened. Delivery is a call here
        // that nobody can be too busy for, so none is ever delayed.
        metrics.received_updates.with(&[&options.name]);
        metrics.updates.with(&[&options.name]);
        metrics.delayed_updates.with(&[&options.name]);
        metrics.failed_configs.with(&[&options.name]);
        Arc::new(Manager {
            options,
            clock,
            metrics,
            surroundings: Mutex::default(),
            state: Mutex::default(),
            changed: Notify::new(),
            sender,
            receiver: tokio::sync::Mutex::new(receiver),
        })
    }

    /// Says what lies around the process; for mechanisms that start from now on.
    pub fn set_surroundings(&self, surroundings: Surroundings) {
        *self.surroundings.lock() = surroundings;
    }

    /// Runs the mechanisms of these jobs, and no others. One that runs already
    /// with the same settings goes on, its targets kept; one that cannot start
    /// is counted and told. Must be called inside the runtime.
    pub fn apply(&self, jobs: Vec<(String, Vec<Arc<dyn Mechanism>>)>) {
        let mut state = self.state.lock();
        state.jobs = jobs.iter().map(|(job, _)| job.clone()).collect();
        let mut looks = Looks::with_capacity(state.providers.len());
        for (&id, provider) in &mut state.providers {
            provider.jobs.clear();
            looks.entry(provider.look).or_default().push(id);
        }
        let mut failed = 0;
        for (job, mechanisms) in jobs {
            let mut found = false;
            for mechanism in mechanisms {
                match self.provide(&mut state, &mut looks, mechanism, &job) {
                    true => found = true,
                    false => failed += 1,
                }
            }
            if !found {
                // The job is known all the same, and has no target.
                let none = Arc::new(StaticTargets { groups: Vec::new() });
                self.provide(&mut state, &mut looks, none, &job);
            }
        }
        let mut gone = BTreeSet::new();
        state.providers.retain(|_, provider| {
            if provider.jobs.is_empty() {
                gone.insert((provider.mechanism.look_name(), provider.set.clone()));
            }
            !provider.jobs.is_empty()
        });
        for provider in state.providers.values() {
            gone.remove(&(provider.mechanism.look_name(), provider.set.clone()));
        }
        let jobs = state.jobs.clone();
        drop(state);
        for (mechanism, set) in gone {
            self.metrics.forget_refreshes(mechanism, &set);
        }
        let name = self.options.name.clone();
        let stays = |labels: &[String]| labels[0] != name || jobs.contains(&labels[1]);
        self.metrics.discovered_targets.retain(stays);
        self.metrics.last_update.retain(stays);
        self.metrics.failed_configs.with(&[&self.options.name]).set(f64::from(failed));
        self.changed.notify_one();
    }

    /// Lets a job have what a mechanism finds, starting it where it does not run
    /// yet. Whether it runs.
    fn provide(
        &self,
        state: &mut State,
        looks: &mut Looks,
        mechanism: Arc<dyn Mechanism>,
        job: &str,
    ) -> bool {
        let look = look_of(&*mechanism);
        let alike = looks.entry(look).or_default();
        for id in &*alike {
            if let Some(provider) = state.providers.get_mut(id)
                && provider.mechanism.is_same(&*mechanism)
            {
                provider.jobs.insert(job.to_owned());
                return true;
            }
        }
        let stop = CancellationToken::new();
        let context = Context {
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            surroundings: self.surroundings.lock().clone(),
            mechanism: mechanism.name(),
            manager: self.options.name.clone(),
            set: job.to_owned(),
            stop: stop.clone(),
        };
        let id = state.next_provider;
        let updates = Updates { provider: id, sender: self.sender.clone() };
        match mechanism.clone().start(context, updates) {
            Ok(running) => drop(tokio::spawn(running)),
            Err(error) => {
                tracing::error!(
                    component = component(&self.options.name),
                    err = %error, r#type = mechanism.name(), config = job, "Cannot create service discovery"
                );
                return false;
            }
        }
        state.next_provider += 1;
        let jobs = BTreeSet::from([job.to_owned()]);
        let provider = Provider { mechanism, look, set: job.to_owned(), jobs, groups: BTreeMap::new(), stop };
        state.providers.insert(id, provider);
        alike.push(id);
        true
    }

    /// Gathers updates and calls `deliver` with the groups of all jobs whenever
    /// they changed: soon, then after growing pauses while changes keep coming,
    /// so that a flood of them costs little. Upstream's pauses have a jitter,
    /// which one process with nobody to fall in step with does not need. Ends
    /// when `stop` is cancelled; all mechanisms end with it.
    pub async fn run(&self, stop: CancellationToken, mut deliver: impl FnMut(GroupsByJob) + Send) {
        let mut receiver = self.receiver.lock().await;
        let mut pauses = Pauses::default();
        let mut due: Option<Instant> = None;
        loop {
            let wait = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                Some((provider, groups)) = receiver.recv() => {
                    self.take(provider, groups);
                    due.get_or_insert_with(|| pauses.next(Instant::now()));
                }
                () = self.changed.notified() => {
                    due.get_or_insert_with(|| pauses.next(Instant::now()));
                }
                () = wait => {
                    due = None;
                    pauses.last = Some(Instant::now());
                    self.metrics.updates.with(&[&self.options.name]).inc();
                    deliver(self.delivery());
                }
            }
        }
        self.state.lock().providers.clear();
    }

    fn take(&self, provider: u64, groups: Vec<TargetGroup>) {
        let mut state = self.state.lock();
        // A provider that was stopped meanwhile has nothing to say.
        let Some(provider) = state.providers.get_mut(&provider) else { return };
        self.metrics.received_updates.with(&[&self.options.name]).inc();
        for group in groups {
            match group.targets.is_empty() {
                true => drop(provider.groups.remove(&group.source)),
                false => drop(provider.groups.insert(group.source.clone(), group)),
            }
        }
    }

    /// The groups to hand on, their numbers noted.
    fn delivery(&self) -> GroupsByJob {
        let jobs = self.groups();
        let now = self.clock.now_ms() as f64 / 1000.0;
        for (job, groups) in &jobs {
            let count: usize = groups.iter().map(|group| group.targets.len()).sum();
            self.metrics.discovered_targets.with(&[&self.options.name, job]).set(count as f64);
            self.metrics.last_update.with(&[&self.options.name, job]).set(now);
        }
        jobs
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
        jobs
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
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
        assert_eq!(manager.state.lock().providers.len(), 3, "x:1, y:1 and the empty one");
        let groups = until(&manager, |groups| groups["a"].len() == 1 && groups["c"].len() == 1).await;
        assert_eq!(groups["a"], groups["b"]);
        assert_eq!(groups["none"], []);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_while_changes_keep_coming_and_shrink_after_quiet() {
        let mut pauses = Pauses::default();
        let start = Instant::now();
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..12 {
            let due = pauses.next(now);
            waits.push((due - now).as_millis());
            pauses.last = Some(due);
            now = due;
        }
        assert_eq!(waits[..4], [100, 150, 225, 337]);
        assert_eq!(waits[11], 5000);
        assert_eq!(pauses.next(now + PAUSE_MAX) - (now + PAUSE_MAX), PAUSE_MIN);
    }

    /// Counts how often it is compared. Its secret does not show.
    struct Counted {
        address: usize,
        secret: usize,
        n_compared: Arc<AtomicUsize>,
    }

    impl fmt::Debug for Counted {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "Counted({})", self.address)
        }
    }

    impl Mechanism for Counted {
        fn name(&self) -> &'static str {
            "counted"
        }
        fn is_same(&self, other: &dyn Mechanism) -> bool {
            self.n_compared.fetch_add(1, Ordering::Relaxed);
            let other = other.as_any().downcast_ref::<Counted>();
            other.is_some_and(|other| (self.address, self.secret) == (other.address, other.secret))
        }
        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
        fn start(
            self: Arc<Self>,
            _: Context,
            _: Updates,
        ) -> Result<crate::mechanism::Running, crate::mechanism::DiscoveryError> {
            Ok(Box::pin(async {}))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_mechanism_is_compared_with_those_only_that_look_the_same() {
        const N_JOBS: usize = 20_000;
        let (manager, n_compared) = (manager(), Arc::new(AtomicUsize::new(0)));
        let jobs = |n_jobs: usize, secret: usize| -> Vec<(String, Vec<Arc<dyn Mechanism>>)> {
            let job = |address| {
                let n_compared = n_compared.clone();
                let mechanism: Arc<dyn Mechanism> = Arc::new(Counted { address, secret, n_compared });
                (format!("job {address}"), vec![mechanism])
            };
            (0..n_jobs).map(job).collect()
        };
        manager.apply(jobs(N_JOBS, 1));
        assert_eq!(n_compared.swap(0, Ordering::Relaxed), 0);
        // The same again: each finds itself.
        manager.apply(jobs(N_JOBS, 1));
        assert_eq!(n_compared.swap(0, Ordering::Relaxed), N_JOBS);
        assert_eq!(manager.state.lock().next_provider, N_JOBS as u64);
        // One that differs in what does not show is another.
        manager.apply(jobs(1, 2));
        assert_eq!(n_compared.swap(0, Ordering::Relaxed), 1);
        assert_eq!(manager.state.lock().providers.keys().copied().collect::<Vec<_>>(), [N_JOBS as u64]);
    }

    /// Cannot start.
    #[derive(Debug, PartialEq)]
    struct Broken;

    impl Mechanism for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }
        fn is_same(&self, other: &dyn Mechanism) -> bool {
            crate::mechanism::same(self, other)
        }
        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
        fn start(
            self: Arc<Self>,
            _: Context,
            _: Updates,
        ) -> Result<crate::mechanism::Running, crate::mechanism::DiscoveryError> {
            Err(crate::mechanism::DiscoveryError::Unusable("no".to_owned()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_mechanism_that_cannot_start_is_counted_and_its_job_is_known() {
        let manager = manager();
        manager.apply(vec![("a".to_owned(), vec![Arc::new(Broken)])]);
        assert_eq!(manager.metrics.failed_configs.with(&["scrape"]).get(), 1.0);
        let groups = until(&manager, |_| true).await;
        assert_eq!(groups["a"], []);
        assert!(manager.metrics.last_update.with(&["scrape", "a"]).get() >= 0.0);
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
