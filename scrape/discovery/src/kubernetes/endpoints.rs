//! Endpoints: a target for each address and port of a service, and for every
//! further port of the pods behind the addresses.

use model::{Labels, LabelsBuilder};

use super::labels::{NAMESPACE, add_metadata, merge, set};
use super::objects::{self, TargetRef};
use super::pod::Pod;
use super::state::{Attached, Primary, World};
use crate::group::{ADDRESS_LABEL, TargetGroup};
use crate::labels::join_host_port;

/// The API server marks objects with more than 1000 addresses.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// What is kept of an endpoints object.
#[derive(Debug)]
pub(super) struct Endpoints {
    namespace: Box<str>,
    name: Box<str>,
    labels: Labels,
    subsets: Box<[objects::EndpointSubset]>,
}

impl Primary for Endpoints {
    const SOURCE: &'static str = "endpoints";
    type Object = objects::Endpoints;

    fn new(endpoints: objects::Endpoints) -> Endpoints {
        let mut labels = LabelsBuilder::new();
        add_metadata(&mut labels, &endpoints.metadata, "endpoints");
        warn_of_size(&endpoints.metadata);
        Endpoints {
            namespace: endpoints.metadata.namespace,
            name: endpoints.metadata.name,
            labels: labels.labels(),
            subsets: endpoints.subsets.into(),
        }
    }

    fn group(&self, world: &World) -> Option<TargetGroup> {
        let mut labels = LabelsBuilder::new();
        labels.set(NAMESPACE, &self.namespace);
        if let Some(service) = world.services.get(&objects::key(&self.namespace, &self.name)) {
            merge(&mut labels, &service.labels);
        }
        merge(&mut labels, &self.labels);
        world.add_namespace(&mut labels, &self.namespace);

        let mut targets = Vec::new();
        let mut pods = SeenPods::default();
        for subset in &self.subsets {
            for port in &subset.ports {
                for address in &subset.addresses {
                    targets.push(target(address, port, "true", world, &mut pods));
                }
                for address in &subset.not_ready_addresses {
                    targets.push(target(address, port, "false", world, &mut pods));
                }
            }
        }
        pods.add_undeclared(&mut targets, world);
        Some(TargetGroup {
            source: format!("endpoints/{}/{}", self.namespace, self.name),
            labels: labels.labels(),
            targets,
        })
    }

    fn depends_on(&self, attached: &Attached<'_>) -> bool {
        let mut addresses =
            self.subsets.iter().flat_map(|subset| subset.addresses.iter().chain(&subset.not_ready_addresses));
        match attached {
            Attached::Namespace(name) => *name == &*self.namespace,
            Attached::Service(key) => *key == objects::key(&self.namespace, &self.name),
            Attached::Pod(key) => addresses.any(|address| is_pod(address.target_ref.as_ref(), key)),
            Attached::Node(name) => addresses.any(|address| {
                address.node_name.as_deref() == Some(name) || is_node(address.target_ref.as_ref(), name)
            }),
            // Which pods a replica set or a job has is not known here.
            Attached::ReplicaSet(_) | Attached::Job(_) => true,
        }
    }
}

fn warn_of_size(metadata: &objects::Metadata) {
    let how = match metadata.labels.get(OVER_CAPACITY).map(|value| &**value) {
        Some("truncated") => "exceeds 1000 and has been truncated",
        Some("warning") => "exceeds 1000",
        _ => return,
    };
    tracing::warn!(
        component = "discovery manager scrape",
        discovery = "kubernetes",
        role = "endpoint",
        endpoint = %metadata.name,
        "Number of endpoints in one Endpoints object {how}, please use \"role: endpointslice\" instead"
    );
}

/// Whether an address stands for the pod of a key.
pub(super) fn is_pod(target: Option<&TargetRef>, key: &str) -> bool {
    target.is_some_and(|target| {
        &*target.kind == "Pod" && key.split_once('/') == Some((&*target.namespace, &*target.name))
    })
}

/// Whether an address stands for a node.
pub(super) fn is_node(target: Option<&TargetRef>, name: &str) -> bool {
    target.is_some_and(|target| &*target.kind == "Node" && &*target.name == name)
}

/// The pods behind addresses, with the ports that a service names.
#[derive(Default)]
pub(super) struct SeenPods<'a> {
    pods: Vec<(&'a Pod, Vec<i32>)>,
}

impl<'a> SeenPods<'a> {
    /// The pod an address stands for, where it is known.
    pub(super) fn find(&mut self, target: Option<&TargetRef>, world: &'a World) -> Option<&'a Pod> {
        let target = target.filter(|target| &*target.kind == "Pod")?;
        world.pods.get(&objects::key(&target.namespace, &target.name))
    }

    /// Notes that a target for this port exists.
    pub(super) fn note(&mut self, pod: &'a Pod, port: Option<i32>) {
        let known = self.pods.iter().position(|(have, _)| std::ptr::eq(*have, pod));
        let index = known.unwrap_or_else(|| {
            self.pods.push((pod, Vec::new()));
            self.pods.len() - 1
        });
        self.pods[index].1.extend(port);
    }

    /// Adds targets for the ports of these pods that no service names.
    pub(super) fn add_undeclared(&self, targets: &mut Vec<Labels>, world: &World) {
        for (pod, declared) in self.pods.iter().filter(|(pod, _)| !pod.ip.is_empty()) {
            for container in &pod.containers {
                let ports = container.ports.iter().filter(|port| !declared.contains(&port.container_port));
                targets.extend(ports.map(|port| pod.undeclared_target(container, port, world)));
            }
        }
    }
}

fn target<'a>(
    address: &objects::EndpointAddress,
    port: &objects::EndpointPort,
    ready: &str,
    world: &'a World,
    pods: &mut SeenPods<'a>,
) -> Labels {
    let mut labels = LabelsBuilder::new();
    labels.set(ADDRESS_LABEL, &join_host_port(&address.ip, port.port));
    set(&mut labels, "endpoint_port_name", &port.name);
    set(&mut labels, "endpoint_port_protocol", &port.protocol);
    set(&mut labels, "endpoint_ready", ready);
    if let Some(target) = &address.target_ref {
        set(&mut labels, "endpoint_address_target_kind", &target.kind);
        set(&mut labels, "endpoint_address_target_name", &target.name);
    }
    set(&mut labels, "endpoint_node_name", address.node_name.as_deref().unwrap_or_default());
    set(&mut labels, "endpoint_hostname", &address.hostname);
    match (&address.node_name, &address.target_ref) {
        (Some(name), _) => world.add_node(&mut labels, name),
        (None, Some(target)) if &*target.kind == "Node" => world.add_node(&mut labels, &target.name),
        _ => {}
    }
    if let Some(pod) = pods.find(address.target_ref.as_ref(), world) {
        pod.add_labels(&mut labels, world);
        for container in &pod.containers {
            if let Some(found) = container.ports.iter().find(|have| have.container_port == port.port) {
                container.add_port_labels(&mut labels, found, &port.protocol);
            }
        }
        pods.note(pod, Some(port.port));
    }
    labels.labels()
}
