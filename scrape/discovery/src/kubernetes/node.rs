//! Nodes: the kubelet of each is a target.

use model::{Labels, LabelsBuilder};

use super::labels::{PREFIX, add_metadata, set};
use super::objects;
use super::state::{Attached, Primary, World};
use crate::group::{ADDRESS_LABEL, TargetGroup};
use crate::labels::{join_host_port, sanitize};

/// Which kinds of addresses are preferred.
const PREFERRED: [&str; 6] =
    ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

/// A node's group, which follows from the node alone.
#[derive(Debug, PartialEq)]
pub(super) struct Node {
    group: Option<TargetGroup>,
}

impl Primary for Node {
    const SOURCE: &'static str = "node";
    type Object = objects::Node;

    fn new(object: objects::Node) -> Node {
        let group = group(&object);
        if group.is_none() {
            tracing::warn!(
                component = "discovery manager scrape",
                discovery = "kubernetes",
                role = "node",
                node = %object.metadata.name,
                err = "host address unknown",
                "No node address found"
            );
        }
        Node { group }
    }

    fn group(&self, _: &World) -> Option<TargetGroup> {
        self.group.clone()
    }

    fn depends_on(&self, _: &Attached<'_>) -> bool {
        false
    }
}

fn group(node: &objects::Node) -> Option<TargetGroup> {
    let mut labels = LabelsBuilder::new();
    set(&mut labels, "node_provider_id", &node.spec.provider_id);
    for condition in &node.status.conditions {
        let kind = condition.r#type.to_lowercase();
        set(&mut labels, &format!("node_condition_{}", sanitize(&kind)), &condition.status.to_lowercase());
    }
    add_metadata(&mut labels, &node.metadata, "node");

    let addresses = &node.status.addresses;
    let of_kind = |kind: &&str| addresses.iter().find(|address| *address.r#type == **kind);
    let preferred = PREFERRED.iter().find_map(of_kind)?;
    let port = node.status.daemon_endpoints.kubelet_endpoint.port;
    let mut target = LabelsBuilder::new();
    // Of several addresses of a kind the first counts.
    for address in addresses.iter().rev() {
        let name = sanitize(&address.r#type).into_owned();
        target.set(&format!("{PREFIX}node_address_{name}"), &address.address);
    }
    target.set(ADDRESS_LABEL, &join_host_port(&preferred.address, port));
    target.set("instance", &node.metadata.name);
    Some(TargetGroup {
        source: format!("node/{}", node.metadata.name),
        labels: labels.labels(),
        targets: vec![target.labels()],
    })
}

/// What other roles say of a node: its name, labels and annotations.
pub(super) fn attached_labels(node: &objects::Metadata) -> Labels {
    let mut labels = LabelsBuilder::new();
    add_metadata(&mut labels, node, "node");
    labels.labels()
}
