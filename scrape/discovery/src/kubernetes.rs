//! `kubernetes_sd_configs`: objects of a cluster, listed and then watched.
//!
//! One task a kind of object and namespace watches the API; one more owns what
//! is known and makes groups of it. Objects are cut down to what labels need
//! while their JSON is read.

mod credentials;
mod endpoints;
mod endpointslice;
mod ingress;
mod labels;
mod node;
mod objects;
mod pod;
mod service;
mod state;
mod watch;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::discovery::KubernetesSdConfig;
use config::discovery::kubernetes::KubernetesRole;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::credentials::{Access, SERVICE_ACCOUNT};
use self::objects::Object;
use self::state::{Event, Item, Kind, Primary, State};
use self::watch::{Api, Selection, Watch};
use crate::mechanism::{Context, DiscoveryError, Mechanism, Running, Updates, same};

/// Events that may wait for the task that owns the state.
const EVENTS_MAX: usize = 256;
/// Groups of one update.
const GROUPS_MAX: usize = 1000;

/// One `kubernetes_sd_configs` block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kubernetes {
    pub(crate) config: KubernetesSdConfig,
    /// The folder of the pod's service account.
    account: PathBuf,
}

impl Kubernetes {
    pub(crate) fn new(config: KubernetesSdConfig) -> Kubernetes {
        Kubernetes { config, account: PathBuf::from(SERVICE_ACCOUNT) }
    }
}

impl Mechanism for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn is_same(&self, other: &dyn Mechanism) -> bool {
        same(self, other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn start(self: Arc<Self>, context: Context, updates: Updates) -> Result<Running, DiscoveryError> {
        let access = credentials::access(&self.config, &context, Path::new(&self.account))?;
        let watching = Watching { config: self.config.clone(), access, context, updates };
        let Some(role) = self.config.role.0 else {
            return Err(DiscoveryError::Unusable("role missing".to_owned()));
        };
        Ok(match role {
            KubernetesRole::Node => Box::pin(watching.run::<node::Node>(role)),
            KubernetesRole::Pod => Box::pin(watching.run::<pod::Pod>(role)),
            KubernetesRole::Service => Box::pin(watching.run::<service::Service>(role)),
            KubernetesRole::Endpoints => Box::pin(watching.run::<endpoints::Endpoints>(role)),
            KubernetesRole::EndpointSlice => Box::pin(watching.run::<endpointslice::EndpointSlice>(role)),
            KubernetesRole::Ingress => Box::pin(watching.run::<ingress::Ingress>(role)),
        })
    }
}

/// Settings and a way to the cluster, before any watch runs.
struct Watching {
    config: KubernetesSdConfig,
    access: Access,
    context: Context,
    updates: Updates,
}

/// Which kinds a role watches in every namespace, and which in the whole cluster.
fn kinds(config: &KubernetesSdConfig, role: KubernetesRole) -> (Vec<Kind>, Vec<Kind>) {
    use KubernetesRole::{EndpointSlice, Endpoints, Node, Pod};
    let attach = &config.attach_metadata;
    let of_pods = matches!(role, Pod | Endpoints | EndpointSlice);
    let mut inside = Vec::new();
    let mut whole = Vec::new();
    if role == Node {
        return (inside, vec![Kind::Primary]);
    }
    inside.push(Kind::Primary);
    if matches!(role, Endpoints | EndpointSlice) {
        inside.extend([Kind::Service, Kind::Pod]);
    }
    if of_pods && attach.deployment {
        inside.push(Kind::ReplicaSet);
    }
    if of_pods && (attach.job || attach.cronjob) {
        inside.push(Kind::Job);
    }
    if of_pods && attach.node {
        whole.push(Kind::Node);
    }
    if attach.namespace {
        whole.push(Kind::Namespace);
    }
    (inside, whole)
}

/// Group and plural of what a kind is, as URLs have it.
fn resource(kind: Kind, role: KubernetesRole) -> (&'static str, &'static str) {
    let core = "/api/v1";
    match kind {
        Kind::Service => (core, "services"),
        Kind::Pod => (core, "pods"),
        Kind::Node => (core, "nodes"),
        Kind::Namespace => (core, "namespaces"),
        Kind::ReplicaSet => ("/apis/apps/v1", "replicasets"),
        Kind::Job => ("/apis/batch/v1", "jobs"),
        Kind::Primary => match role {
            KubernetesRole::Node => (core, "nodes"),
            KubernetesRole::Pod => (core, "pods"),
            KubernetesRole::Service => (core, "services"),
            KubernetesRole::Endpoints => (core, "endpoints"),
            KubernetesRole::EndpointSlice => ("/apis/discovery.k8s.io/v1", "endpointslices"),
            KubernetesRole::Ingress => ("/apis/networking.k8s.io/v1", "ingresses"),
        },
    }
}

/// The role whose selectors a kind follows.
fn selecting_role(kind: Kind, role: KubernetesRole) -> Option<KubernetesRole> {
    match kind {
        Kind::Primary => Some(role),
        Kind::Service => Some(KubernetesRole::Service),
        Kind::Pod => Some(KubernetesRole::Pod),
        Kind::Node => Some(KubernetesRole::Node),
        Kind::Namespace | Kind::ReplicaSet | Kind::Job => None,
    }
}

fn labels_of_node<P>(node: objects::Bare) -> Item<P> {
    Item::Labels(node::attached_labels(&node.metadata))
}

fn labels_of_namespace<P>(namespace: objects::Bare) -> Item<P> {
    let mut labels = model::LabelsBuilder::new();
    labels::add_texts(&mut labels, &namespace.metadata, "namespace");
    Item::Labels(labels.labels())
}

fn owner_of_replica_set<P>(set: objects::Bare) -> Item<P> {
    Item::Owner(set.metadata.controller_of_kind("Deployment").map(Box::from))
}

fn owner_of_job<P>(job: objects::Bare) -> Item<P> {
    Item::Owner(job.metadata.controller_of_kind("CronJob").map(Box::from))
}

impl Watching {
    /// The namespaces to look into; one empty name for all.
    fn namespaces(&self) -> BTreeSet<Arc<str>> {
        let named = self.config.namespaces.names.iter().chain(&self.access.own_namespace);
        let mut all: BTreeSet<Arc<str>> = named.map(|name| Arc::from(name.as_str())).collect();
        if all.is_empty() {
            all.insert(Arc::from(""));
        }
        all
    }

    async fn run<P: Primary>(self, role: KubernetesRole) {
        let (inside, whole) = kinds(&self.config, role);
        let mut watched: Vec<(Kind, Arc<str>)> =
            whole.into_iter().map(|kind| (kind, Arc::from(""))).collect();
        for namespace in self.namespaces() {
            watched.extend(inside.iter().map(|&kind| (kind, namespace.clone())));
        }
        let attach = self.config.attach_metadata.clone();
        let state = State::<P>::new(attach, watched.clone(), self.context.metrics.clone());
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let (context, updates) = (self.context.clone(), self.updates.clone());
        let api = Arc::new(Api {
            client: self.access.client.clone(),
            base: self.access.base.clone(),
            context: context.clone(),
        });
        // The watches end with the set.
        let mut watches = JoinSet::new();
        for (kind, namespace) in watched {
            let spec = Spec { kind, namespace, role, api: &api, events: &sender };
            match kind {
                Kind::Primary => {
                    watches.spawn(self.watch(spec, |o: P::Object| Item::Primary(P::new(o))).run())
                }
                Kind::Service => watches.spawn(
                    self.watch(spec, |o: objects::Service| Item::Service(service::BehindEndpoints::new(&o)))
                        .run(),
                ),
                Kind::Pod => {
                    watches.spawn(self.watch(spec, |o: objects::Pod| Item::Pod(pod::Pod::new(o))).run())
                }
                Kind::Node => watches.spawn(self.watch(spec, labels_of_node::<P>).run()),
                Kind::Namespace => watches.spawn(self.watch(spec, labels_of_namespace::<P>).run()),
                Kind::ReplicaSet => watches.spawn(self.watch(spec, owner_of_replica_set::<P>).run()),
                Kind::Job => watches.spawn(self.watch(spec, owner_of_job::<P>).run()),
            };
        }
        drop(sender);
        gather(state, receiver, &context, &updates).await;
    }

    fn watch<T: Object, P>(&self, spec: Spec<'_, P>, keep: fn(T) -> Item<P>) -> Watch<T, P> {
        let Spec { kind, namespace, role, api, events } = spec;
        let (group, plural) = resource(kind, role);
        let path = |namespace: &str| match namespace {
            "" => format!("{group}/{plural}"),
            name => format!("{group}/namespaces/{name}/{plural}"),
        };
        let selecting = selecting_role(kind, role);
        let selector =
            self.config.selectors.iter().find(|selector| selecting.is_some_and(|role| selector.role == role));
        let selection = selector.map(|s| Selection { label: s.label.clone(), field: s.field.clone() });
        Watch {
            api: api.clone(),
            kind,
            path: path(&namespace),
            endpoint: path(if namespace.is_empty() { "" } else { "%7Bnamespace%7D" }),
            namespace,
            selection: selection.unwrap_or_default(),
            keep,
            events: events.clone(),
        }
    }
}

/// What a watch is made from.
struct Spec<'a, P> {
    kind: Kind,
    namespace: Arc<str>,
    role: KubernetesRole,
    api: &'a Arc<Api>,
    events: &'a mpsc::Sender<Event<P>>,
}

/// Takes events, as many as there are, and sends the groups that they change.
async fn gather<P: Primary>(
    mut state: State<P>,
    mut events: mpsc::Receiver<Event<P>>,
    context: &Context,
    updates: &Updates,
) {
    let queue = if P::SOURCE == "svc" { "service" } else { P::SOURCE };
    let metrics = &context.metrics;
    metrics.queue_depth.with(&[queue]).set(0.0);
    metrics.queue_unfinished.with(&[queue]).set(0.0);
    metrics.queue_longest_running.with(&[queue]).set(0.0);
    loop {
        let event = tokio::select! {
            () = context.stop.cancelled() => return,
            event = events.recv() => event,
        };
        let Some(event) = event else { return };
        let arrived = context.clock.monotonic();
        state.apply(event);
        while let Ok(event) = events.try_recv() {
            state.apply(event);
        }
        let started = context.clock.monotonic();
        let mut groups = state.groups();
        if groups.is_empty() {
            continue;
        }
        let seconds = |since: Duration, until: Duration| until.saturating_sub(since).as_secs_f64();
        metrics.queue_items.with(&[queue]).add(groups.len() as u64);
        metrics.queue_latency.with(&[queue]).observe(seconds(arrived, started));
        metrics.queue_work_duration.with(&[queue]).observe(seconds(started, context.clock.monotonic()));
        while !groups.is_empty() {
            let rest = groups.split_off(groups.len().min(GROUPS_MAX));
            if !updates.send(groups).await {
                return;
            }
            groups = rest;
        }
    }
}
