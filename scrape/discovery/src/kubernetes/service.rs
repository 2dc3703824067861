//! Services: a target for each port, at the name that the cluster's DNS has.

use model::{Labels, LabelsBuilder};

use super::labels::{NAMESPACE, add_metadata, set};
use super::objects;
use super::state::{Attached, Primary, World};
use crate::group::{ADDRESS_LABEL, TargetGroup};
use crate::labels::join_host_port;

/// What is kept of a service where services are the targets.
#[derive(Debug, PartialEq)]
pub(super) struct Service {
    namespace: Box<str>,
    name: Box<str>,
    labels: Labels,
    targets: Vec<Labels>,
}

impl Primary for Service {
    const SOURCE: &'static str = "svc";
    type Object = objects::Service;

    fn new(service: objects::Service) -> Service {
        let targets = service.spec.ports.iter().map(|port| target(&service, port)).collect();
        let labels = labels(&service.metadata);
        Service { labels, targets, namespace: service.metadata.namespace, name: service.metadata.name }
    }

    fn group(&self, world: &World) -> Option<TargetGroup> {
        let mut labels = self.labels.to_builder();
        world.add_namespace(&mut labels, &self.namespace);
        Some(TargetGroup {
            source: format!("svc/{}/{}", self.namespace, self.name),
            labels: labels.labels(),
            targets: self.targets.clone(),
        })
    }

    fn depends_on(&self, attached: &Attached<'_>) -> bool {
        matches!(attached, Attached::Namespace(name) if *name == &*self.namespace)
    }
}

fn labels(metadata: &objects::Metadata) -> Labels {
    let mut labels = LabelsBuilder::new();
    labels.set(NAMESPACE, &metadata.namespace);
    add_metadata(&mut labels, metadata, "service");
    labels.labels()
}

fn target(service: &objects::Service, port: &objects::ServicePort) -> Labels {
    let (metadata, spec) = (&service.metadata, &service.spec);
    let host = format!("{}.{}.svc", metadata.name, metadata.namespace);
    let mut labels = LabelsBuilder::new();
    labels.set(ADDRESS_LABEL, &join_host_port(&host, port.port));
    set(&mut labels, "service_port_name", &port.name);
    set(&mut labels, "service_port_number", &port.port.to_string());
    set(&mut labels, "service_port_protocol", &port.protocol);
    set(&mut labels, "service_type", &spec.r#type);
    match &*spec.r#type {
        "ExternalName" => set(&mut labels, "service_external_name", &spec.external_name),
        _ => set(&mut labels, "service_cluster_ip", &spec.cluster_ip),
    }
    if &*spec.r#type == "LoadBalancer" {
        set(&mut labels, "service_loadbalancer_ip", &load_balancer_ips(service));
    }
    labels.labels()
}

/// The addresses that the load balancer has, else the one asked for.
fn load_balancer_ips(service: &objects::Service) -> String {
    let ingress = &service.status.load_balancer.ingress;
    let ips: Vec<&str> = ingress.iter().map(|ingress| &*ingress.ip).filter(|ip| !ip.is_empty()).collect();
    if ips.is_empty() { service.spec.load_balancer_ip.to_string() } else { ips.join(",") }
}

/// What is kept of a service where endpoints are the targets.
#[derive(Debug, PartialEq)]
pub(super) struct BehindEndpoints {
    pub(super) labels: Labels,
    /// The first family of a service of two: slices of the other repeat it.
    pub(super) primary_family: Option<Box<str>>,
}

impl BehindEndpoints {
    pub(super) fn new(service: &objects::Service) -> BehindEndpoints {
        let dual =
            matches!(service.spec.ip_family_policy.as_deref(), Some("PreferDualStack" | "RequireDualStack"));
        BehindEndpoints {
            labels: labels(&service.metadata),
            primary_family: service.spec.ip_families.first().filter(|_| dual).cloned(),
        }
    }
}
