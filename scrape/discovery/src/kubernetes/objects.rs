//! Objects of the API as its JSON has them: only the fields that labels need.
//! The rest, `managedFields` above all, is skipped while reading and never
//! stored, which is why there is no crate with the whole API here: its types
//! would hold whole objects, several times our memory, and take a minute to build.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::client::null_as_empty;

/// Labels or annotations.
pub(super) type Texts = BTreeMap<Box<str>, Box<str>>;

/// What every object has.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: Box<str>,
    pub(super) namespace: Box<str>,
    pub(super) uid: Box<str>,
    pub(super) resource_version: Box<str>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) labels: Texts,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) annotations: Texts,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) owner_references: Vec<OwnerReference>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OwnerReference {
    pub(super) kind: Box<str>,
    pub(super) name: Box<str>,
    pub(super) controller: Option<bool>,
}

impl Metadata {
    /// `namespace/name`, or the name alone where there is no namespace.
    pub(super) fn key(&self) -> String {
        if self.namespace.is_empty() { self.name.to_string() } else { key(&self.namespace, &self.name) }
    }

    /// The owner that controls this object.
    pub(super) fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller == Some(true))
    }

    /// The name of the controlling owner if it is of that kind.
    pub(super) fn controller_of_kind(&self, kind: &str) -> Option<&str> {
        self.controller().filter(|owner| &*owner.kind == kind).map(|owner| &*owner.name)
    }
}

/// `namespace/name`
pub(super) fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// Any object.
pub(super) trait Object: serde::de::DeserializeOwned + Send + 'static {
    fn metadata(&self) -> &Metadata;
}

macro_rules! objects {
    ($($name:ident),*) => {
        $(
            impl Object for $name {
                fn metadata(&self) -> &Metadata {
                    &self.metadata
                }
            }
        )*
    };
}

objects!(Bare, Node, Pod, Service, Endpoints, EndpointSlice, Ingress);

/// An object of which only the common part counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Bare {
    pub(super) metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    pub(super) r#type: Box<str>,
    pub(super) status: Box<str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) metadata: Metadata,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) spec: NodeSpec,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) status: NodeStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeSpec {
    #[serde(rename = "providerID")]
    pub(super) provider_id: Box<str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NodeStatus {
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) addresses: Vec<NodeAddress>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) conditions: Vec<Condition>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) daemon_endpoints: DaemonEndpoints,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeAddress {
    pub(super) r#type: Box<str>,
    pub(super) address: Box<str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct DaemonEndpoints {
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) kubelet_endpoint: DaemonEndpoint,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DaemonEndpoint {
    #[serde(rename = "Port")]
    pub(super) port: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: Metadata,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) spec: PodSpec,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub(super) node_name: Box<str>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) containers: Vec<Container>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) init_containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Container {
    pub(super) name: Box<str>,
    pub(super) image: Box<str>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) ports: Vec<ContainerPort>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerPort {
    pub(super) name: Box<str>,
    pub(super) container_port: i32,
    pub(super) protocol: Box<str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub(super) phase: Box<str>,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Box<str>,
    #[serde(rename = "hostIP")]
    pub(super) host_ip: Box<str>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) conditions: Vec<Condition>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerStatus {
    pub(super) name: Box<str>,
    #[serde(rename = "containerID")]
    pub(super) container_id: Box<str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Service {
    pub(super) metadata: Metadata,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) spec: ServiceSpec,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) status: ServiceStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ServiceSpec {
    pub(super) r#type: Box<str>,
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: Box<str>,
    #[serde(rename = "loadBalancerIP")]
    pub(super) load_balancer_ip: Box<str>,
    pub(super) external_name: Box<str>,
    pub(super) ip_family_policy: Option<Box<str>>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) ip_families: Vec<Box<str>>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) ports: Vec<ServicePort>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServicePort {
    pub(super) name: Box<str>,
    pub(super) port: i32,
    pub(super) protocol: Box<str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ServiceStatus {
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) load_balancer: LoadBalancerStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoadBalancerStatus {
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) ingress: Vec<LoadBalancerIngress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoadBalancerIngress {
    pub(super) ip: Box<str>,
}

/// What an address stands for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct TargetRef {
    pub(super) kind: Box<str>,
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Endpoints {
    pub(super) metadata: Metadata,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) subsets: Vec<EndpointSubset>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct EndpointSubset {
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) addresses: Vec<EndpointAddress>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) not_ready_addresses: Vec<EndpointAddress>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) ports: Vec<EndpointPort>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct EndpointAddress {
    pub(super) ip: Box<str>,
    pub(super) hostname: Box<str>,
    pub(super) node_name: Option<Box<str>>,
    pub(super) target_ref: Option<TargetRef>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EndpointPort {
    pub(super) name: Box<str>,
    pub(super) port: i32,
    pub(super) protocol: Box<str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct EndpointSlice {
    pub(super) metadata: Metadata,
    pub(super) address_type: Box<str>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) endpoints: Vec<Endpoint>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) ports: Vec<SlicePort>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Endpoint {
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) addresses: Vec<Box<str>>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) conditions: EndpointConditions,
    pub(super) hostname: Option<Box<str>>,
    pub(super) node_name: Option<Box<str>>,
    pub(super) zone: Option<Box<str>>,
    pub(super) target_ref: Option<TargetRef>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) deprecated_topology: Texts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EndpointConditions {
    pub(super) ready: Option<bool>,
    pub(super) serving: Option<bool>,
    pub(super) terminating: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SlicePort {
    pub(super) name: Option<Box<str>>,
    pub(super) port: Option<i32>,
    pub(super) protocol: Option<Box<str>>,
    pub(super) app_protocol: Option<Box<str>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ingress {
    pub(super) metadata: Metadata,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) spec: IngressSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct IngressSpec {
    pub(super) ingress_class_name: Option<Box<str>>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) tls: Vec<IngressTls>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) rules: Vec<IngressRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct IngressTls {
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) hosts: Vec<Box<str>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct IngressRule {
    pub(super) host: Box<str>,
    pub(super) http: Option<IngressHttp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct IngressHttp {
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) paths: Vec<IngressPath>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct IngressPath {
    pub(super) path: Box<str>,
}
