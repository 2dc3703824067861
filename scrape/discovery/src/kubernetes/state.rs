//! What is known of a cluster: the objects that become targets, those that say
//! more of them, and which groups have to be made anew.
//!
//! One task owns it all, so there are no locks:
//!
//! ```text
//! watches ─▶ Event ─▶ State::apply ─▶ stores + dirty keys ─▶ State::groups
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use config::discovery::kubernetes::AttachMetadata;
use model::{Labels, LabelsBuilder};

use super::labels::merge;
use super::objects::Object;
use super::pod::Pod;
use super::service::BehindEndpoints;
use crate::group::TargetGroup;
use crate::metrics::DiscoveryMetrics;

/// Objects of which each makes a group.
pub(super) trait Primary: Send + Sized + 'static {
    /// What sources begin with.
    const SOURCE: &'static str;
    /// The API's form.
    type Object: Object;

    /// Keeps what groups need.
    fn new(object: Self::Object) -> Self;

    /// The group as things are now; `None` leaves the last one as it is.
    fn group(&self, world: &World) -> Option<TargetGroup>;

    /// Whether the group says something of another object.
    fn depends_on(&self, attached: &Attached<'_>) -> bool;
}

/// Another object, by name or key.
pub(super) enum Attached<'a> {
    Node(&'a str),
    Namespace(&'a str),
    Service(&'a str),
    Pod(&'a str),
    ReplicaSet(&'a str),
    Job(&'a str),
}

/// Objects that say more of targets.
#[derive(Default)]
pub(super) struct World {
    pub(super) attach: AttachMetadata,
    pub(super) nodes: HashMap<String, Labels>,
    pub(super) namespaces: HashMap<String, Labels>,
    pub(super) services: HashMap<String, BehindEndpoints>,
    pub(super) pods: HashMap<String, Pod>,
    /// The deployment of each.
    pub(super) replica_sets: HashMap<String, Option<Box<str>>>,
    /// The cron job of each.
    pub(super) jobs: HashMap<String, Option<Box<str>>>,
}

impl World {
    /// Adds what is known of a node, where that is asked for.
    pub(super) fn add_node(&self, labels: &mut LabelsBuilder, name: &str) {
        if let Some(node) = self.nodes.get(name) {
            merge(labels, node);
        }
    }

    /// Adds what is known of a namespace, where that is asked for.
    pub(super) fn add_namespace(&self, labels: &mut LabelsBuilder, name: &str) {
        if let Some(namespace) = self.namespaces.get(name) {
            merge(labels, namespace);
        }
    }
}

/// A kind of object that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Primary,
    Service,
    Pod,
    Node,
    Namespace,
    ReplicaSet,
    Job,
}

/// What is kept of an object.
pub(super) enum Item<P> {
    Primary(P),
    Service(BehindEndpoints),
    Pod(Pod),
    /// Of a node or a namespace.
    Labels(Labels),
    /// Of a replica set or a job: what controls it.
    Owner(Option<Box<str>>),
}

/// What a watch has seen. Objects are named by key.
pub(super) enum Change<P> {
    /// All there are.
    Replaced(Vec<(String, Item<P>)>),
    Set(String, Item<P>),
    Removed(String),
}

/// A change of one kind of objects in one namespace, or in all of them.
pub(super) struct Event<P> {
    pub(super) kind: Kind,
    /// Empty for all namespaces.
    pub(super) namespace: Arc<str>,
    pub(super) change: Change<P>,
}

/// What is known of a cluster.
pub(super) struct State<P> {
    pub(super) world: World,
    /// Without the object itself where nothing else can change its group.
    primaries: BTreeMap<String, Option<P>>,
    keeps_primaries: bool,
    /// Watches that have not listed yet: until then groups would be incomplete.
    awaited: BTreeSet<(Kind, Arc<str>)>,
    dirty: BTreeSet<String>,
    /// Groups of objects that are not kept.
    ready: BTreeMap<String, TargetGroup>,
    metrics: Arc<DiscoveryMetrics>,
}

impl<P: Primary> State<P> {
    /// Nothing known yet; `watched` says what will be listed.
    pub(super) fn new(
        attach: AttachMetadata,
        watched: impl IntoIterator<Item = (Kind, Arc<str>)>,
        metrics: Arc<DiscoveryMetrics>,
    ) -> State<P> {
        let awaited: BTreeSet<_> = watched.into_iter().collect();
        State {
            world: World { attach, ..World::default() },
            primaries: BTreeMap::new(),
            keeps_primaries: awaited.iter().any(|(kind, _)| *kind != Kind::Primary),
            awaited,
            dirty: BTreeSet::new(),
            ready: BTreeMap::new(),
            metrics,
        }
    }

    /// Takes what a watch has seen.
    pub(super) fn apply(&mut self, event: Event<P>) {
        let Event { kind, namespace, change } = event;
        match change {
            Change::Set(key, item) => self.set(kind, key, item),
            Change::Removed(key) => self.remove(kind, &key),
            Change::Replaced(items) => {
                let now: BTreeSet<&str> = items.iter().map(|(key, _)| key.as_str()).collect();
                let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
                let mut gone = self.keys(kind);
                gone.retain(|key| key.starts_with(&prefix) && !now.contains(key.as_str()));
                for (key, item) in items {
                    self.set(kind, key, item);
                }
                gone.iter().for_each(|key| self.remove(kind, key));
                let waited = !self.awaited.is_empty();
                self.awaited.remove(&(kind, namespace));
                if waited && self.awaited.is_empty() {
                    let kept = self.primaries.iter().filter(|(_, object)| object.is_some());
                    self.dirty.extend(kept.map(|(key, _)| key.clone()));
                }
            }
        }
    }

    /// The groups that changed, once everything was listed.
    pub(super) fn groups(&mut self) -> Vec<TargetGroup> {
        if !self.awaited.is_empty() {
            return Vec::new();
        }
        let mut groups: Vec<TargetGroup> = std::mem::take(&mut self.ready).into_values().collect();
        for key in std::mem::take(&mut self.dirty) {
            match self.primaries.get(&key) {
                Some(Some(object)) => groups.extend(object.group(&self.world)),
                Some(None) => {}
                None => groups.push(tombstone::<P>(&key)),
            }
        }
        groups
    }

    fn keys(&self, kind: Kind) -> Vec<String> {
        let world = &self.world;
        match kind {
            Kind::Primary => self.primaries.keys().cloned().collect(),
            Kind::Service => world.services.keys().cloned().collect(),
            Kind::Pod => world.pods.keys().cloned().collect(),
            Kind::Node => world.nodes.keys().cloned().collect(),
            Kind::Namespace => world.namespaces.keys().cloned().collect(),
            Kind::ReplicaSet => world.replica_sets.keys().cloned().collect(),
            Kind::Job => world.jobs.keys().cloned().collect(),
        }
    }

    fn set(&mut self, kind: Kind, key: String, item: Item<P>) {
        let world = &mut self.world;
        let (is_new, is_changed) = match (kind, item) {
            (_, Item::Primary(object)) => return self.set_primary(key, object),
            (_, Item::Service(service)) => put(&mut world.services, &key, service),
            (_, Item::Pod(pod)) => put(&mut world.pods, &key, pod),
            (Kind::Node, Item::Labels(labels)) => put(&mut world.nodes, &key, labels),
            (_, Item::Labels(labels)) => put(&mut world.namespaces, &key, labels),
            (Kind::ReplicaSet, Item::Owner(owner)) => put(&mut world.replica_sets, &key, owner),
            (_, Item::Owner(owner)) => put(&mut world.jobs, &key, owner),
        };
        self.count(kind, if is_new { "add" } else { "update" });
        if is_changed {
            self.mark(kind, &key);
        }
    }

    fn set_primary(&mut self, key: String, object: P) {
        let is_new = !self.primaries.contains_key(&key);
        self.count(Kind::Primary, if is_new { "add" } else { "update" });
        if self.keeps_primaries {
            self.dirty.insert(key.clone());
            self.primaries.insert(key, Some(object));
            return;
        }
        if let Some(group) = object.group(&self.world) {
            self.ready.insert(key.clone(), group);
        }
        self.primaries.insert(key, None);
    }

    fn remove(&mut self, kind: Kind, key: &str) {
        let world = &mut self.world;
        let was_there = match kind {
            Kind::Primary => self.primaries.remove(key).is_some(),
            Kind::Service => world.services.remove(key).is_some(),
            Kind::Pod => world.pods.remove(key).is_some(),
            Kind::Node => world.nodes.remove(key).is_some(),
            Kind::Namespace => world.namespaces.remove(key).is_some(),
            Kind::ReplicaSet => world.replica_sets.remove(key).is_some(),
            Kind::Job => world.jobs.remove(key).is_some(),
        };
        if !was_there {
            return;
        }
        self.count(kind, "delete");
        match kind {
            Kind::Primary if self.keeps_primaries => drop(self.dirty.insert(key.to_owned())),
            Kind::Primary => drop(self.ready.insert(key.to_owned(), tombstone::<P>(key))),
            _ => self.mark(kind, key),
        }
    }

    /// Marks the groups that say something of an object. Most changes of nodes
    /// and pods are of things that no label has: those never come here, so a
    /// walk over the objects of a namespace will do.
    fn mark(&mut self, kind: Kind, key: &str) {
        if !self.awaited.is_empty() {
            return;
        }
        let attached = match kind {
            Kind::Primary => return,
            Kind::Service => Attached::Service(key),
            Kind::Pod => Attached::Pod(key),
            Kind::Node => Attached::Node(key),
            Kind::Namespace => Attached::Namespace(key),
            Kind::ReplicaSet => Attached::ReplicaSet(key),
            Kind::Job => Attached::Job(key),
        };
        let prefix = match kind {
            Kind::Node => String::new(),
            Kind::Namespace => format!("{key}/"),
            _ => key.split_once('/').map_or(String::new(), |(namespace, _)| format!("{namespace}/")),
        };
        let all = self.primaries.range(prefix.clone()..);
        for (key, object) in all.take_while(|(key, _)| key.starts_with(&prefix)) {
            if object.as_ref().is_some_and(|object| object.depends_on(&attached)) {
                self.dirty.insert(key.clone());
            }
        }
    }

    /// Counts what upstream counts: the role's own objects, services, and
    /// changes of pods behind endpoints.
    fn count(&self, kind: Kind, event: &str) {
        let role = match (kind, P::SOURCE) {
            (Kind::Primary, "svc") => "service",
            (Kind::Primary, role) => role,
            (Kind::Service, _) => "service",
            (Kind::Pod, "endpoints") if event == "update" => "pod",
            _ => return,
        };
        self.metrics.kubernetes_events.with(&[role, event]).inc();
    }
}

/// The empty group that takes an object's targets away.
fn tombstone<P: Primary>(key: &str) -> TargetGroup {
    TargetGroup { source: format!("{}/{key}", P::SOURCE), ..TargetGroup::default() }
}

/// Puts a value; whether the key is new, and whether anything changed.
fn put<V: PartialEq>(map: &mut HashMap<String, V>, key: &str, value: V) -> (bool, bool) {
    match map.get_mut(key) {
        Some(have) => {
            let is_changed = *have != value;
            *have = value;
            (false, is_changed)
        }
        None => {
            map.insert(key.to_owned(), value);
            (true, true)
        }
    }
}
