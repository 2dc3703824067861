//! Ingresses: a target for each host and path, for blackbox probes.

use model::{Labels, LabelsBuilder};

use super::labels::{NAMESPACE, add_metadata, set};
use super::objects;
use super::state::{Attached, Primary, World};
use crate::group::{ADDRESS_LABEL, TargetGroup};

/// What is kept of an ingress.
#[derive(Debug, PartialEq)]
pub(super) struct Ingress {
    namespace: Box<str>,
    name: Box<str>,
    labels: Labels,
    targets: Vec<Labels>,
}

impl Primary for Ingress {
    const SOURCE: &'static str = "ingress";
    type Object = objects::Ingress;

    fn new(ingress: objects::Ingress) -> Ingress {
        let mut labels = LabelsBuilder::new();
        labels.set(NAMESPACE, &ingress.metadata.namespace);
        set(
            &mut labels,
            "ingress_class_name",
            ingress.spec.ingress_class_name.as_deref().unwrap_or_default(),
        );
        add_metadata(&mut labels, &ingress.metadata, "ingress");
        let targets = ingress.spec.rules.iter().flat_map(|rule| targets(rule, &ingress.spec.tls)).collect();
        Ingress {
            labels: labels.labels(),
            targets,
            namespace: ingress.metadata.namespace,
            name: ingress.metadata.name,
        }
    }

    fn group(&self, world: &World) -> Option<TargetGroup> {
        let mut labels = self.labels.to_builder();
        world.add_namespace(&mut labels, &self.namespace);
        Some(TargetGroup {
            source: format!("ingress/{}/{}", self.namespace, self.name),
            labels: labels.labels(),
            targets: self.targets.clone(),
        })
    }

    fn depends_on(&self, attached: &Attached<'_>) -> bool {
        matches!(attached, Attached::Namespace(name) if *name == &*self.namespace)
    }
}

fn targets(rule: &objects::IngressRule, tls: &[objects::IngressTls]) -> Vec<Labels> {
    let is_secure = tls.iter().flat_map(|tls| &tls.hosts).any(|pattern| matches_host(pattern, &rule.host));
    let scheme = if is_secure { "https" } else { "http" };
    // A rule without HTTP part stands for the whole host; one with an empty
    // list of paths for nothing.
    let paths: Vec<&str> = match &rule.http {
        None => vec!["/"],
        Some(http) => {
            http.paths.iter().map(|path| if path.path.is_empty() { "/" } else { &path.path }).collect()
        }
    };
    let target = |path| {
        let mut labels = LabelsBuilder::new();
        labels.set(ADDRESS_LABEL, &rule.host);
        set(&mut labels, "ingress_scheme", scheme);
        set(&mut labels, "ingress_host", &rule.host);
        set(&mut labels, "ingress_path", path);
        labels.labels()
    };
    paths.into_iter().map(target).collect()
}

/// Whether a host is meant by a pattern, whose first part may be an asterisk
/// that stands for exactly one part.
fn matches_host(pattern: &str, host: &str) -> bool {
    if pattern == host {
        return true;
    }
    let Some(rest) = pattern.strip_prefix('*') else { return false };
    match host.split_once('.') {
        Some((_, domain)) => rest.strip_prefix('.') == Some(domain),
        None => rest.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::matches_host;

    #[test]
    fn an_asterisk_stands_for_one_part() {
        assert!(matches_host("a.example.com", "a.example.com"));
        assert!(matches_host("*.example.com", "a.example.com"));
        assert!(!matches_host("*.example.com", "a.b.example.com"));
        assert!(!matches_host("*.example.com", "example.com"));
        assert!(!matches_host("b.example.com", "a.example.com"));
    }
}
