//! Endpoint slices: as endpoints, in pieces and with more to say of each address.

use model::{Labels, LabelsBuilder};

use super::endpoints::{SeenPods, is_node, is_pod};
use super::labels::{NAMESPACE, add_metadata, merge, set};
use super::objects;
use super::state::{Attached, Primary, World};
use crate::group::{ADDRESS_LABEL, TargetGroup};
use crate::labels::{join_host_port, sanitize};

/// The label of a slice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What is kept of a slice.
#[derive(Debug)]
pub(super) struct EndpointSlice {
    namespace: Box<str>,
    name: Box<str>,
    service: Option<Box<str>>,
    address_type: Box<str>,
    labels: Labels,
    endpoints: Box<[objects::Endpoint]>,
    ports: Box<[objects::SlicePort]>,
}

impl Primary for EndpointSlice {
    const SOURCE: &'static str = "endpointslice";
    type Object = objects::EndpointSlice;

    fn new(slice: objects::EndpointSlice) -> EndpointSlice {
        let mut labels = LabelsBuilder::new();
        labels.set(NAMESPACE, &slice.metadata.namespace);
        set(&mut labels, "endpointslice_address_type", &slice.address_type);
        add_metadata(&mut labels, &slice.metadata, "endpointslice");
        EndpointSlice {
            service: slice.metadata.labels.get(SERVICE_NAME).cloned(),
            namespace: slice.metadata.namespace,
            name: slice.metadata.name,
            address_type: slice.address_type,
            labels: labels.labels(),
            endpoints: slice.endpoints.into(),
            ports: slice.ports.into(),
        }
    }

    fn group(&self, world: &World) -> Option<TargetGroup> {
        let mut labels = self.labels.to_builder();
        let key = self.service.as_ref().map(|service| objects::key(&self.namespace, service));
        let service = key.and_then(|key| world.services.get(&key));
        if let Some(service) = service {
            merge(&mut labels, &service.labels);
        }
        world.add_namespace(&mut labels, &self.namespace);
        let mut group = TargetGroup {
            source: format!("endpointslice/{}/{}", self.namespace, self.name),
            labels: labels.labels(),
            targets: Vec::new(),
        };
        // The slice of a service's second family repeats the first one's pods.
        let family = service.and_then(|service| service.primary_family.as_ref());
        if family.is_some_and(|family| *family != self.address_type) {
            return Some(group);
        }
        let mut pods = SeenPods::default();
        for endpoint in &self.endpoints {
            for port in &self.ports {
                for address in &endpoint.addresses {
                    group.targets.push(target(address, endpoint, port, world, &mut pods));
                }
            }
        }
        pods.add_undeclared(&mut group.targets, world);
        Some(group)
    }

    fn depends_on(&self, attached: &Attached<'_>) -> bool {
        let mut endpoints = self.endpoints.iter();
        match attached {
            Attached::Namespace(name) => *name == &*self.namespace,
            Attached::Service(key) => {
                self.service.as_ref().is_some_and(|service| *key == objects::key(&self.namespace, service))
            }
            Attached::Pod(key) => endpoints.any(|endpoint| is_pod(endpoint.target_ref.as_ref(), key)),
            Attached::Node(name) => endpoints.any(|endpoint| {
                endpoint.node_name.as_deref() == Some(name) || is_node(endpoint.target_ref.as_ref(), name)
            }),
            // Which pods a replica set or a job has is not known here.
            Attached::ReplicaSet(_) | Attached::Job(_) => true,
        }
    }
}

fn target<'a>(
    address: &str,
    endpoint: &objects::Endpoint,
    port: &objects::SlicePort,
    world: &'a World,
    pods: &mut SeenPods<'a>,
) -> Labels {
    let mut labels = LabelsBuilder::new();
    match port.port {
        Some(number) => {
            labels.set(ADDRESS_LABEL, &join_host_port(address, number));
            set(&mut labels, "endpointslice_port", &number.to_string());
        }
        None => drop(labels.set(ADDRESS_LABEL, address)),
    }
    add_endpoint_labels(&mut labels, endpoint, port);
    match (&endpoint.target_ref, &endpoint.node_name) {
        (Some(target), _) if &*target.kind == "Node" => world.add_node(&mut labels, &target.name),
        (_, Some(name)) => world.add_node(&mut labels, name),
        _ => {}
    }
    if let Some(pod) = pods.find(endpoint.target_ref.as_ref(), world) {
        pod.add_labels(&mut labels, world);
        for container in &pod.containers {
            let found = container.ports.iter().find(|have| Some(have.container_port) == port.port);
            if let Some(found) = found {
                container.add_port_labels(&mut labels, found, &found.protocol);
            }
        }
        pods.note(pod, port.port);
    }
    labels.labels()
}

fn add_endpoint_labels(labels: &mut LabelsBuilder, endpoint: &objects::Endpoint, port: &objects::SlicePort) {
    let text = |value: &Option<Box<str>>| value.as_deref().unwrap_or_default().to_owned();
    let flag = |value: Option<bool>| value.map_or("", |value| if value { "true" } else { "false" });
    set(labels, "endpointslice_port_name", &text(&port.name));
    set(labels, "endpointslice_port_protocol", &text(&port.protocol));
    set(labels, "endpointslice_port_app_protocol", &text(&port.app_protocol));
    set(labels, "endpointslice_endpoint_conditions_ready", flag(endpoint.conditions.ready));
    set(labels, "endpointslice_endpoint_conditions_serving", flag(endpoint.conditions.serving));
    set(labels, "endpointslice_endpoint_conditions_terminating", flag(endpoint.conditions.terminating));
    set(labels, "endpointslice_endpoint_hostname", &text(&endpoint.hostname));
    set(labels, "endpointslice_endpoint_node_name", &text(&endpoint.node_name));
    set(labels, "endpointslice_endpoint_zone", &text(&endpoint.zone));
    if let Some(target) = &endpoint.target_ref {
        set(labels, "endpointslice_address_target_kind", &target.kind);
        set(labels, "endpointslice_address_target_name", &target.name);
    }
    for (name, value) in &endpoint.deprecated_topology {
        let name = sanitize(name);
        set(labels, &format!("endpointslice_endpoint_topology_{name}"), value);
        set(labels, &format!("endpointslice_endpoint_topology_present_{name}"), "true");
    }
}
