//! Pods: a target for every port of their containers, and what other roles say
//! of the pods behind their addresses.

use model::{Labels, LabelsBuilder};

use super::labels::{NAMESPACE, add_metadata, merge, set};
use super::objects::{self, ContainerPort};
use super::state::{Attached, Primary, World};
use crate::group::{ADDRESS_LABEL, TargetGroup};
use crate::labels::join_host_port;

/// What is kept of a pod.
#[derive(Debug, PartialEq)]
pub(super) struct Pod {
    pub(super) namespace: Box<str>,
    name: Box<str>,
    /// The labels that follow from the pod alone.
    labels: Labels,
    pub(super) ip: Box<str>,
    pub(super) node: Box<str>,
    /// Kind and name of its controller.
    pub(super) controller: Option<(Box<str>, Box<str>)>,
    pub(super) containers: Box<[Container]>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Container {
    pub(super) name: Box<str>,
    pub(super) image: Box<str>,
    id: Box<str>,
    pub(super) init: bool,
    pub(super) ports: Box<[ContainerPort]>,
}

impl Pod {
    pub(super) fn new(pod: objects::Pod) -> Pod {
        let mut labels = LabelsBuilder::new();
        set(&mut labels, "pod_ip", &pod.status.pod_ip);
        set(&mut labels, "pod_ready", &ready(&pod.status.conditions));
        set(&mut labels, "pod_phase", &pod.status.phase);
        set(&mut labels, "pod_node_name", &pod.spec.node_name);
        set(&mut labels, "pod_host_ip", &pod.status.host_ip);
        set(&mut labels, "pod_uid", &pod.metadata.uid);
        add_metadata(&mut labels, &pod.metadata, "pod");
        let controller = pod.metadata.controller().map(|owner| (owner.kind.clone(), owner.name.clone()));
        if let Some((kind, name)) = &controller {
            set(&mut labels, "pod_controller_kind", kind);
            set(&mut labels, "pod_controller_name", name);
        }
        let (status, spec) = (pod.status, pod.spec);
        let regular =
            spec.containers.into_iter().map(|c| Container::new(c, &status.container_statuses, false));
        let init = spec
            .init_containers
            .into_iter()
            .map(|c| Container::new(c, &status.init_container_statuses, true));
        Pod {
            containers: regular.chain(init).collect(),
            namespace: pod.metadata.namespace,
            name: pod.metadata.name,
            labels: labels.labels(),
            ip: status.pod_ip,
            node: spec.node_name,
            controller,
        }
    }

    /// Adds the pod's own labels and those of what controls its controller.
    pub(super) fn add_labels(&self, labels: &mut LabelsBuilder, world: &World) {
        merge(labels, &self.labels);
        let Some((kind, name)) = &self.controller else { return };
        let attach = &world.attach;
        let owner = || objects::key(&self.namespace, name);
        match &**kind {
            "ReplicaSet" if attach.deployment => {
                let deployment = world.replica_sets.get(&owner()).and_then(|name| name.as_deref());
                set(labels, "pod_deployment_name", deployment.unwrap_or_default());
            }
            "Job" => {
                if attach.job {
                    set(labels, "pod_job_name", name);
                }
                if attach.cronjob {
                    let cronjob = world.jobs.get(&owner()).and_then(|name| name.as_deref());
                    set(labels, "pod_cronjob_name", cronjob.unwrap_or_default());
                }
            }
            _ => {}
        }
    }

    /// The target of a container's port that no service names.
    pub(super) fn undeclared_target(
        &self,
        container: &Container,
        port: &ContainerPort,
        world: &World,
    ) -> Labels {
        let mut labels = LabelsBuilder::new();
        labels.set(ADDRESS_LABEL, &join_host_port(&self.ip, port.container_port));
        container.add_port_labels(&mut labels, port, &port.protocol);
        self.add_labels(&mut labels, world);
        labels.labels()
    }
}

impl Container {
    fn new(container: objects::Container, statuses: &[objects::ContainerStatus], init: bool) -> Container {
        let status = statuses.iter().find(|status| status.name == container.name);
        Container {
            id: status.map(|status| status.container_id.clone()).unwrap_or_default(),
            name: container.name,
            image: container.image,
            init,
            ports: container.ports.into(),
        }
    }

    /// The labels of a container and one of its ports.
    pub(super) fn add_port_labels(&self, labels: &mut LabelsBuilder, port: &ContainerPort, protocol: &str) {
        set(labels, "pod_container_name", &self.name);
        set(labels, "pod_container_image", &self.image);
        set(labels, "pod_container_port_name", &port.name);
        set(labels, "pod_container_port_number", &port.container_port.to_string());
        set(labels, "pod_container_port_protocol", protocol);
        set(labels, "pod_container_init", if self.init { "true" } else { "false" });
    }
}

fn ready(conditions: &[objects::Condition]) -> String {
    let ready = conditions.iter().find(|condition| &*condition.r#type == "Ready");
    ready.map_or("unknown".to_owned(), |condition| condition.status.to_ascii_lowercase())
}

impl Primary for Pod {
    const SOURCE: &'static str = "pod";
    type Object = objects::Pod;

    fn new(object: objects::Pod) -> Pod {
        Pod::new(object)
    }

    fn group(&self, world: &World) -> Option<TargetGroup> {
        let source = format!("pod/{}/{}", self.namespace, self.name);
        let empty = TargetGroup { source: source.clone(), ..TargetGroup::default() };
        // A pod has no address while it starts and after it was evicted.
        if self.ip.is_empty() {
            return Some(empty);
        }
        // Nodes may be selected: pods of the others are left out.
        if world.attach.node && !world.nodes.contains_key(&*self.node) {
            return Some(empty);
        }
        let mut labels = LabelsBuilder::new();
        self.add_labels(&mut labels, world);
        labels.set(NAMESPACE, &self.namespace);
        world.add_node(&mut labels, &self.node);
        world.add_namespace(&mut labels, &self.namespace);
        let targets = self.containers.iter().flat_map(|container| self.targets_of(container)).collect();
        Some(TargetGroup { source, labels: labels.labels(), targets })
    }

    fn depends_on(&self, attached: &Attached<'_>) -> bool {
        let controls = |kind: &str, key: &str| {
            self.controller
                .as_ref()
                .is_some_and(|(have, name)| &**have == kind && objects::key(&self.namespace, name) == key)
        };
        match attached {
            Attached::Node(name) => *name == &*self.node,
            Attached::Namespace(name) => *name == &*self.namespace,
            Attached::ReplicaSet(key) => controls("ReplicaSet", key),
            Attached::Job(key) => controls("Job", key),
            Attached::Service(_) | Attached::Pod(_) => false,
        }
    }
}

impl Pod {
    fn targets_of(&self, container: &Container) -> Vec<Labels> {
        let target = |address: &str, port: Option<&ContainerPort>| {
            let mut labels = LabelsBuilder::new();
            labels.set(ADDRESS_LABEL, address);
            set(&mut labels, "pod_container_id", &container.id);
            match port {
                Some(port) => container.add_port_labels(&mut labels, port, &port.protocol),
                None => {
                    set(&mut labels, "pod_container_name", &container.name);
                    set(&mut labels, "pod_container_image", &container.image);
                    set(&mut labels, "pod_container_init", if container.init { "true" } else { "false" });
                }
            }
            labels.labels()
        };
        // Without a declared port there is one target, to which relabelling may
        // add a port.
        if container.ports.is_empty() {
            return vec![target(&self.ip, None)];
        }
        let address = |port: &ContainerPort| join_host_port(&self.ip, port.container_port);
        container.ports.iter().map(|port| target(&address(port), Some(port))).collect()
    }
}
