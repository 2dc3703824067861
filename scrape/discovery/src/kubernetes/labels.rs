//! Labels that several roles share.

use model::LabelsBuilder;

use super::objects::Metadata;
use crate::labels::sanitize;

/// What all labels of this mechanism begin with.
pub(super) const PREFIX: &str = "__meta_kubernetes_";
/// The label of the namespace.
pub(super) const NAMESPACE: &str = "__meta_kubernetes_namespace";

/// Sets a label behind the common prefix.
pub(super) fn set(labels: &mut LabelsBuilder, name: &str, value: &str) {
    // Empty values are no labels: building the name would be for nothing.
    if !value.is_empty() {
        labels.set(&format!("{PREFIX}{name}"), value);
    }
}

/// The name, labels and annotations of an object.
pub(super) fn add_metadata(labels: &mut LabelsBuilder, metadata: &Metadata, role: &str) {
    set(labels, &format!("{role}_name"), &metadata.name);
    add_texts(labels, metadata, role);
}

/// The labels and annotations of an object; each also says that it is there,
/// for those that are there but empty.
pub(super) fn add_texts(labels: &mut LabelsBuilder, metadata: &Metadata, role: &str) {
    for (kind, texts) in [("label", &metadata.labels), ("annotation", &metadata.annotations)] {
        for (name, value) in texts {
            let name = sanitize(name);
            set(labels, &format!("{role}_{kind}_{name}"), value);
            set(labels, &format!("{role}_{kind}present_{name}"), "true");
        }
    }
}

/// Adds all labels of a set.
pub(super) fn merge(labels: &mut LabelsBuilder, more: &model::Labels) {
    for label in more.iter() {
        labels.set(label.name, label.value);
    }
}
