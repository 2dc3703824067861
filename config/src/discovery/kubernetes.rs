//! Objects of Kubernetes.

use std::path::Path;

use crate::block::{Block, block, choice, zero_default};
use crate::decode::{Chosen, Walk};
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::values::{Url, join_dir, quoted};

choice! {
    /// A kind of object.
    pub enum KubernetesRole: |text| format!("unknown Kubernetes SD role {}", quoted(text)) => {
        /// Nodes.
        Node = "node",
        /// Pods.
        Pod = "pod",
        /// Services.
        Service = "service",
        /// Endpoints.
        Endpoints = "endpoints",
        /// Endpoint slices.
        EndpointSlice = "endpointslice",
        /// Ingresses.
        Ingress = "ingress",
    }
}

block! {
    /// Objects of Kubernetes.
    #[derive(Default)]
    pub struct KubernetesSdConfig: "kubernetes.plain" {
        /// The API server; that of the pod's own cluster where none is given.
        api_server: Option<Url> => omit "api_server",
        /// What becomes a target.
        role: Chosen<KubernetesRole> => always "role",
        /// A kubeconfig file.
        kubeconfig_file: String => always "kubeconfig_file",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Which namespaces are looked into.
        namespaces: NamespaceDiscovery => omit "namespaces",
        /// Which objects are asked for.
        selectors: Vec<KubernetesSelector> => omit "selectors",
        /// What is added to targets.
        attach_metadata: AttachMetadata => omit "attach_metadata",
    }
}

block! {
    /// Which namespaces are looked into; all where nothing is said.
    pub struct NamespaceDiscovery: "kubernetes.plain" {
        /// Whether the pod's own one is.
        own_namespace: bool => always "own_namespace",
        /// Others by name.
        names: Vec<String> => always "names",
    }
}

block! {
    /// Which objects of a kind are asked for.
    pub struct KubernetesSelector: "kubernetes.SelectorConfig" {
        /// The kind.
        role: Chosen<KubernetesRole> => omit "role",
        /// An expression over labels.
        label: String => omit "label",
        /// An expression over fields.
        field: String => omit "field",
    }
}

block! {
    /// What is added to targets.
    pub struct AttachMetadata: "kubernetes.AttachMetadataConfig" {
        /// Labels of the node.
        node: bool => always "node",
        /// Labels of the namespace.
        namespace: bool => always "namespace",
        /// The deployment a pod belongs to.
        deployment: bool => always "deployment",
        /// The job a pod belongs to.
        job: bool => always "job",
        /// The cron job a pod belongs to.
        cronjob: bool => always "cronjob",
    }
}

zero_default!(NamespaceDiscovery, KubernetesSelector, AttachMetadata);

impl Block for NamespaceDiscovery {}
impl Block for KubernetesSelector {}
impl Block for AttachMetadata {}

impl Located for KubernetesSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
        join_dir(dir, &mut self.kubeconfig_file);
    }
}

impl Block for KubernetesSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        let errors_before = walk.n_errors();
        self.http_client.check(walk);
        if walk.n_errors() > errors_before {
            return;
        }
        if let Some(fault) = self.place_fault() {
            walk.invalid(fault);
        }
        let Some(role) = self.role.0 else {
            let message = "role missing (one of: pod, service, endpoints, endpointslice, node, ingress)";
            walk.invalid_field("role", message);
            return;
        };
        let mut seen = Vec::new();
        for (index, selector) in self.selectors.iter().enumerate() {
            if let Err(fault) = check_selector(role, selector, &mut seen) {
                walk.invalid_at(["selectors".into(), index.into()], fault);
            }
        }
    }
}

impl KubernetesSdConfig {
    fn place_fault(&self) -> Option<&'static str> {
        let custom_client = self.http_client != HttpClientConfig::default();
        let (api_server, kubeconfig) = (self.api_server.is_some(), !self.kubeconfig_file.is_empty());
        if api_server && kubeconfig {
            return Some("cannot use 'kubeconfig_file' and 'api_server' simultaneously");
        }
        if kubeconfig && custom_client {
            return Some("cannot use a custom HTTP client configuration together with 'kubeconfig_file'");
        }
        if !api_server && custom_client {
            return Some(
                "to use custom HTTP client configuration please provide the 'api_server' URL explicitly",
            );
        }
        if api_server && self.namespaces.own_namespace {
            return Some("cannot use 'api_server' and 'namespaces.own_namespace' simultaneously");
        }
        if kubeconfig && self.namespaces.own_namespace {
            return Some("cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously");
        }
        None
    }
}

fn check_selector(
    role: KubernetesRole,
    selector: &KubernetesSelector,
    seen: &mut Vec<Chosen<KubernetesRole>>,
) -> Result<(), String> {
    use KubernetesRole::{EndpointSlice, Endpoints, Ingress, Node, Pod, Service};
    let name = selector.role.0.map_or("", KubernetesRole::as_str);
    if seen.contains(&selector.role) {
        return Err(format!("duplicated selector role: {name}"));
    }
    seen.push(selector.role);
    let allowed: &[KubernetesRole] = match role {
        Pod => &[Pod, Node],
        Service => &[Service],
        EndpointSlice => &[Pod, Service, EndpointSlice],
        Endpoints => &[Pod, Service, Endpoints],
        Node => &[Node],
        Ingress => &[Ingress],
    };
    if !selector.role.0.is_some_and(|role| allowed.contains(&role)) {
        let names: Vec<&str> = allowed.iter().map(|role| role.as_str()).collect();
        return Err(format!("{} role supports only {} selectors", role.as_str(), names.join(", ")));
    }
    check_field_selector(&selector.field)?;
    check_label_selector(&selector.label)
}

/// `a=b,c!=d`: each part has an operator, backslashes escape.
fn check_field_selector(text: &str) -> Result<(), String> {
    for part in split_unescaped(text, ',') {
        if !part.is_empty() && !part.contains('=') {
            return Err(format!("invalid selector: '{text}'; can't understand '{part}'"));
        }
    }
    Ok(())
}

fn split_unescaped(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == separator => {
                parts.push(&text[start..i]);
                start = i + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// `a`, `!a`, `a=b`, `a==b`, `a!=b`, `a>1`, `a<1`, `a in (b, c)`, `a notin (b)`,
/// joined by commas.
fn check_label_selector(text: &str) -> Result<(), String> {
    let fault = |what: &str| Err(format!("unable to parse requirement: {what} in selector {}", quoted(text)));
    let mut rest = text.trim();
    while !rest.is_empty() {
        let negated = rest.starts_with('!');
        rest = rest.trim_start_matches('!').trim_start();
        let key_len = rest.find(|c: char| " ,=!<>()".contains(c)).unwrap_or(rest.len());
        if key_len == 0 {
            return fault("a label name is missing");
        }
        if !is_label_name(&rest[..key_len]) {
            return fault("a label name has characters that it cannot have");
        }
        rest = rest[key_len..].trim_start();
        if !negated && !rest.is_empty() && !rest.starts_with(',') {
            let Some(after) = after_operator(rest) else { return fault("an operator is missing") };
            rest = after;
        }
        match rest.strip_prefix(',') {
            Some(after) if !after.trim().is_empty() => rest = after.trim_start(),
            None if rest.is_empty() => {}
            _ => return fault("a comma or the end is missing"),
        }
    }
    Ok(())
}

/// What follows an operator and its values.
fn after_operator(text: &str) -> Option<&str> {
    for word in ["notin", "in"] {
        if let Some(after) = text.strip_prefix(word) {
            let (values, after) = after.trim_start().strip_prefix('(')?.split_once(')')?;
            return values.split(',').all(|value| is_label_value(value.trim())).then(|| after.trim_start());
        }
    }
    let after = ["==", "!=", "=", ">", "<"].iter().find_map(|op| text.strip_prefix(op))?.trim_start();
    let len = after.find([',', ' ']).unwrap_or(after.len());
    is_label_value(&after[..len]).then(|| after[len..].trim_start())
}

/// `name` or `domain/name`.
fn is_label_name(text: &str) -> bool {
    let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    let is_part = |part: &str| {
        let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty() && part.bytes().all(fine) && !part.starts_with('-') && !part.ends_with('-')
    };
    let domain_is_fine = domain.is_none_or(|domain| domain.len() <= 253 && domain.split('.').all(is_part));
    domain_is_fine && !name.is_empty() && is_label_value(name)
}

/// Letters, digits, `-`, `_` and `.` between letters or digits; or nothing.
fn is_label_value(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let is_outer = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(is_inner)
        && is_outer(text.bytes().next())
        && is_outer(text.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_selectors_are_checked() {
        for text in
            ["", "a", "!a", "a=b", "a==b,c!=d", "a in (b, c), d notin (e)", "a>1", "a=", "x.io/a-b=c_d"]
        {
            assert_eq!(check_label_selector(text), Ok(()), "{text}");
        }
        for text in [
            "=b",
            "a b",
            "a in b",
            "a=b,",
            "a=b=c",
            "file_*.yml",
            "http://x:1/",
            "a=b/c",
            "-a",
            "X/a",
            "a in (b*)",
        ] {
            assert!(check_label_selector(text).is_err(), "{text}");
        }
    }
}
