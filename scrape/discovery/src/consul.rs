//! `consul_sd_configs`: services of a catalogue. Requests are long polls that
//! the agent answers when something changed.
//!
//! ```text
//! catalogue ─▶ names ─▶ one watch a service ─▶ its group
//! ```

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use config::Secret;
use config::discovery::ConsulSdConfig;
use model::{Labels, LabelsBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::{AbortHandle, JoinSet};

use crate::client::{Client, null_as_empty, query};
use crate::group::{ADDRESS_LABEL, TargetGroup};
use crate::labels::{join_host_port, sanitize, surrounded};
use crate::mechanism::{Context, DiscoveryError, Mechanism, Running, Updates, same};
use crate::polled::interval_of;

/// How long the agent may wait for a change.
const WAIT: Duration = Duration::from_secs(120);
/// The time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(135);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(15);

/// One `consul_sd_configs` block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Consul {
    pub(crate) config: ConsulSdConfig,
}

impl Mechanism for Consul {
    fn name(&self) -> &'static str {
        "consul"
    }

    fn is_same(&self, other: &dyn Mechanism) -> bool {
        same(self, other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn start(self: Arc<Self>, context: Context, updates: Updates) -> Result<Running, DiscoveryError> {
        let config = with_environment(&self.config, &context)?;
        let (client, base) = open(&config, &context)?;
        let agent = Agent { config, client, base, context: context.clone() };
        Ok(Box::pin(async move {
            tokio::select! {
                () = context.stop.cancelled() => {}
                () = watch(Arc::new(agent), updates) => {}
            }
        }))
    }
}

/// The client and the URL before `/v1`. The server may be a URL: its path takes
/// the prefix's place, and `https` is never taken back.
/// Source: `hashicorp/consul/api`, `NewClient`.
fn open(config: &ConsulSdConfig, context: &Context) -> Result<(Client, String), DiscoveryError> {
    let wants_tls = || {
        matches!(context.surroundings.variable("CONSUL_HTTP_SSL"), "1" | "t" | "T" | "true" | "TRUE" | "True")
    };
    let scheme = match config.scheme.as_str() {
        "" if wants_tls() => "https",
        "" => "http",
        scheme => scheme,
    };
    let (scheme, server, prefix) = match config.server.split_once("://") {
        None => (scheme, config.server.as_str(), config.path_prefix.as_str()),
        Some(("unix", path)) => {
            let client = Client::over_socket(&config.http_client, context, TIMEOUT, path.into())?;
            return Ok((client, format!("{scheme}://localhost{}", config.path_prefix)));
        }
        Some((kind @ ("http" | "https"), rest)) => {
            let scheme = if kind == "https" { kind } else { scheme };
            match rest.find('/') {
                Some(slash) => (scheme, &rest[..slash], &rest[slash..]),
                None => (scheme, rest, config.path_prefix.as_str()),
            }
        }
        Some((other, _)) => {
            return Err(DiscoveryError::Unusable(format!("Unknown protocol scheme: {other}")));
        }
    };
    let client = Client::new(&config.http_client, context, TIMEOUT)?;
    let prefix = prefix.trim_matches('/');
    let slash = if prefix.is_empty() { "" } else { "/" };
    Ok((client, format!("{scheme}://{server}{slash}{}", net::go_url::escaped_path(prefix))))
}

/// The block, with what it leaves to the environment.
fn with_environment(config: &ConsulSdConfig, context: &Context) -> Result<ConsulSdConfig, DiscoveryError> {
    let or = |given: &str, name: &str| match given {
        "" => context.surroundings.variable(name).to_owned(),
        given => given.to_owned(),
    };
    let mut config = config.clone();
    config.namespace = or(&config.namespace, "CONSUL_NAMESPACE");
    config.partition = or(&config.partition, "CONSUL_PARTITION");
    if config.token.is_empty() {
        let file = context.surroundings.variable("CONSUL_HTTP_TOKEN_FILE");
        let token = match file {
            "" => String::new(),
            file => std::fs::read_to_string(file).map_err(|error| {
                DiscoveryError::Unusable(format!(
                    "Error loading token file {file} : {}",
                    net::error::io_text(&error)
                ))
            })?,
        };
        config.token = Secret::new(or(token.trim(), "CONSUL_HTTP_TOKEN"));
    }
    Ok(config)
}

struct Agent {
    config: ConsulSdConfig,
    client: Client,
    base: String,
    context: Context,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
    #[serde(deserialize_with = "null_as_empty")]
    checks: Vec<Check>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Node {
    node: String,
    address: String,
    #[serde(deserialize_with = "null_as_empty")]
    meta: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_empty")]
    tagged_addresses: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    address: String,
    port: i64,
    namespace: String,
    partition: String,
    #[serde(deserialize_with = "null_as_empty")]
    tags: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    meta: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID")]
    id: String,
    status: String,
}

/// The worst of a service's checks; nothing where one says something else.
fn health(checks: &[Check]) -> &'static str {
    let is_maintenance =
        |check: &&Check| check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:");
    let (maintenance, checks): (Vec<&Check>, Vec<&Check>) = checks.iter().partition(is_maintenance);
    let has = |status: &str| checks.iter().any(|check| check.status == status);
    let known = |check: &&&Check| matches!(check.status.as_str(), "passing" | "warning" | "critical");
    if checks.iter().filter(known).count() < checks.len() {
        ""
    } else if !maintenance.is_empty() {
        "maintenance"
    } else if has("critical") {
        "critical"
    } else if has("warning") {
        "warning"
    } else {
        "passing"
    }
}

impl Agent {
    /// An answer and the index it stands for.
    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        index: u64,
        more: &[(&str, &str)],
    ) -> Result<(T, u64), DiscoveryError> {
        let (index, wait) = (index.to_string(), format!("{}ms", WAIT.as_millis()));
        let config = &self.config;
        let node_meta: Vec<String> = config.node_meta.iter().map(|(k, v)| format!("{k}:{v}")).collect();
        let mut pairs: Vec<(&str, &str)> = vec![("wait", &wait)];
        if index != "0" {
            pairs.push(("index", &index));
        }
        pairs.extend(node_meta.iter().map(|pair| ("node-meta", pair.as_str())));
        if config.allow_stale {
            pairs.push(("stale", ""));
        }
        pairs.extend(more.iter().filter(|(_, value)| !value.is_empty()));
        let (answer, headers) = self.get(path, &pairs).await?;
        let index = headers.get("x-consul-index").and_then(|index| index.to_str().ok());
        Ok((answer, index.and_then(|index| index.parse().ok()).unwrap_or(0)))
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        pairs: &[(&str, &str)],
    ) -> Result<(T, http::HeaderMap), DiscoveryError> {
        let config = &self.config;
        let place = [("dc", &config.datacenter), ("ns", &config.namespace), ("partition", &config.partition)];
        let place = place.iter().map(|(name, value)| (*name, value.as_str())).filter(|(_, v)| !v.is_empty());
        let url = format!("{}{path}?{}", self.base, query(place.chain(pairs.iter().copied())));
        let token = config.token.expose();
        let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &[("X-Consul-Token", token)] };
        let answer = self.client.get(&url, headers).await?.success(path)?;
        Ok((answer.json()?, answer.headers))
    }

    fn fail(&self, what: &str, error: &DiscoveryError) {
        self.context.metrics.consul_rpc_failures.inc();
        tracing::error!(
            component = self.context.component(),
            discovery = "consul",
            config = self.context.set,
            err = %error,
            "{what}"
        );
    }

    fn observe(&self, call: &str, started: Duration) {
        let seconds = self.context.clock.monotonic().saturating_sub(started).as_secs_f64();
        self.context.metrics.consul_rpc_duration.with(&["catalog", call]).observe(seconds);
    }

    /// The agent's datacenter, unless the settings name one.
    async fn datacenter(&self) -> String {
        loop {
            if !self.config.datacenter.is_empty() {
                return self.config.datacenter.clone();
            }
            let error = match self.get::<Value>("/v1/agent/self", &[]).await {
                Ok((answer, _)) => match answer["Config"]["Datacenter"].as_str() {
                    Some(name) => return name.to_owned(),
                    None => DiscoveryError::Malformed("invalid value for Config.Datacenter".to_owned()),
                },
                Err(error) => error,
            };
            self.fail("Error retrieving datacenter name", &error);
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn wants(&self, name: &str, tags: &[String]) -> bool {
        let config = &self.config;
        (config.services.is_empty() || config.services.iter().any(|want| want == name))
            && config.tags.iter().all(|want| tags.contains(want))
    }
}

async fn watch(agent: Arc<Agent>, updates: Updates) {
    let datacenter: Arc<str> = agent.datacenter().await.into();
    let mut watches = JoinSet::new();
    let config = &agent.config;
    let watch =
        |name: &str| watch_service(agent.clone(), updates.clone(), name.to_owned(), datacenter.clone());
    if !config.services.is_empty() && config.tags.is_empty() && config.filter.is_empty() {
        for name in &config.services {
            watches.spawn(watch(name));
        }
        while watches.join_next().await.is_some() {}
        return;
    }
    let mut running: HashMap<String, AbortHandle> = HashMap::new();
    let mut index = 0;
    let mut ticks = tokio::time::interval(interval_of(config.refresh_interval));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let started = agent.context.clock.monotonic();
        let filter = [("filter", config.filter.as_str())];
        let outcome =
            agent.ask::<HashMap<String, Option<Vec<String>>>>("/v1/catalog/services", index, &filter).await;
        agent.observe("services", started);
        let services = match outcome {
            Ok((_, now)) if now == index => continue,
            Ok((services, now)) => {
                index = now;
                services
            }
            Err(error) => {
                agent.fail("Error refreshing service list", &error);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        for (name, tags) in &services {
            if !running.contains_key(name) && agent.wants(name, tags.as_deref().unwrap_or_default()) {
                running.insert(name.clone(), watches.spawn(watch(name)));
            }
        }
        let gone: Vec<String> =
            running.keys().filter(|name| !services.contains_key(*name)).cloned().collect();
        for name in &gone {
            if let Some(watch) = running.remove(name) {
                watch.abort();
            }
        }
        let mut groups: Vec<TargetGroup> =
            gone.into_iter().map(|source| TargetGroup { source, ..TargetGroup::default() }).collect();
        // The job is known to have no target.
        if running.is_empty() {
            groups.push(TargetGroup::default());
        }
        if !groups.is_empty() && !updates.send(groups).await {
            return;
        }
        while watches.try_join_next().is_some() {}
    }
}

async fn watch_service(agent: Arc<Agent>, updates: Updates, name: String, datacenter: Arc<str>) {
    let config = &agent.config;
    let mut parameters: Vec<(&str, &str)> = config.tags.iter().map(|tag| ("tag", tag.as_str())).collect();
    parameters.push(("filter", &config.health_filter));
    let path = format!("/v1/health/service/{}", net::go_url::escaped_path(&name));
    let mut index = 0;
    let mut ticks = tokio::time::interval(interval_of(config.refresh_interval));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let started = agent.context.clock.monotonic();
        let outcome = agent.ask::<Option<Vec<Entry>>>(&path, index, &parameters).await;
        agent.observe("service", started);
        match outcome {
            Ok((_, now)) if now == index => {}
            Ok((entries, now)) => {
                index = now;
                let group = group(&name, &datacenter, &entries.unwrap_or_default(), &config.tag_separator);
                if !updates.send(vec![group]).await {
                    return;
                }
            }
            Err(error) => {
                agent.fail("Error refreshing service", &error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn group(name: &str, datacenter: &str, entries: &[Entry], separator: &str) -> TargetGroup {
    TargetGroup {
        source: name.to_owned(),
        labels: Labels::from_pairs([("__meta_consul_service", name), ("__meta_consul_dc", datacenter)]),
        targets: entries.iter().map(|entry| target(entry, separator)).collect(),
    }
}

fn target(entry: &Entry, separator: &str) -> Labels {
    let Entry { node, service, checks } = entry;
    let host = if service.address.is_empty() { &node.address } else { &service.address };
    let mut labels = LabelsBuilder::new();
    labels.set(ADDRESS_LABEL, &join_host_port(host, service.port));
    let mut set = |name: &str, value: &str| {
        labels.set(&format!("__meta_consul_{name}"), value);
    };
    set("address", &node.address);
    set("node", &node.node);
    set("namespace", &service.namespace);
    set("partition", &service.partition);
    set("tags", &surrounded(&service.tags, separator));
    set("service_address", &service.address);
    set("service_port", &service.port.to_string());
    set("service_id", &service.id);
    set("health", health(checks));
    for (prefix, texts) in [
        ("metadata_", &node.meta),
        ("service_metadata_", &service.meta),
        ("tagged_address_", &node.tagged_addresses),
    ] {
        for (name, value) in texts {
            set(&format!("{prefix}{}", sanitize(name)), value);
        }
    }
    labels.labels()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context, context_with};
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::sync::mpsc;

    const ENTRY: &str = r#"[{
        "Node": {"Node": "n1", "Address": "10.0.0.1", "Meta": {"rack-id": "r1"}, "TaggedAddresses": {"lan": "10.0.0.1"}},
        "Service": {"ID": "web-1", "Service": "web", "Tags": ["a", "b"], "Address": "", "Port": 8080,
                    "Meta": {"v": "2"}, "Namespace": "ns", "Partition": "p"},
        "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "x", "Status": "warning"}]
    }]"#;

    fn start(config: ConsulSdConfig) -> mpsc::Receiver<(u64, Vec<TargetGroup>)> {
        let (sender, receiver) = mpsc::channel(16);
        let running = Arc::new(Consul { config }).start(context(), Updates { provider: 0, sender }).unwrap();
        tokio::spawn(running);
        receiver
    }

    #[tokio::test]
    async fn a_service_of_the_catalogue_is_watched_until_it_goes() {
        let round = Arc::new(AtomicU64::new(0));
        let server = TestServer::start({
            let round = round.clone();
            move |request| match request.path() {
                "/pre/v1/agent/self" => Reply::json(r#"{"Config": {"Datacenter": "dc1"}}"#),
                "/pre/v1/catalog/services" => match round.load(Ordering::SeqCst) {
                    0 => Reply::json(r#"{"web": ["a", "b"], "other": ["b"]}"#).header("X-Consul-Index", "5"),
                    _ => Reply::json(r#"{"other": ["b"]}"#).header("X-Consul-Index", "6"),
                },
                _ => Reply::json(ENTRY).header("X-Consul-Index", "7"),
            }
        })
        .await;
        let mut received = start(ConsulSdConfig {
            server: server.address.clone(),
            path_prefix: "/pre".to_owned(),
            token: Secret::new("t0ken"),
            tags: vec!["a".to_owned()],
            node_meta: [("k".to_owned(), "v".to_owned())].into(),
            health_filter: "Service.Port == 1".to_owned(),
            refresh_interval: model::time::PromDuration(100),
            ..ConsulSdConfig::default()
        });
        let (_, groups) = received.recv().await.unwrap();
        let group = &groups[0];
        assert_eq!(group.source, "web");
        assert_eq!(group.labels.to_string(), r#"{__meta_consul_dc="dc1", __meta_consul_service="web"}"#);
        assert_eq!(
            group.targets[0].to_string(),
            concat!(
                r#"{__address__="10.0.0.1:8080", __meta_consul_address="10.0.0.1", __meta_consul_health="warning", "#,
                r#"__meta_consul_metadata_rack_id="r1", __meta_consul_namespace="ns", __meta_consul_node="n1", "#,
                r#"__meta_consul_partition="p", __meta_consul_service_id="web-1", "#,
                r#"__meta_consul_service_metadata_v="2", __meta_consul_service_port="8080", "#,
                r#"__meta_consul_tagged_address_lan="10.0.0.1", __meta_consul_tags=",a,b,"}"#,
            )
        );
        let requests = server.requests();
        let health = requests.iter().find(|r| r.path() == "/pre/v1/health/service/web").unwrap();
        assert_eq!(health.header("x-consul-token"), "t0ken");
        assert_eq!(health.parameter("tag"), "a");
        assert_eq!(health.parameter("node-meta"), "k:v");
        assert_eq!(health.parameter("filter"), "Service.Port == 1");
        assert_eq!(health.parameter("wait"), "120000ms");
        assert!(health.target.contains("stale="));

        round.store(1, Ordering::SeqCst);
        let (_, groups) = received.recv().await.unwrap();
        assert_eq!(groups[0], TargetGroup { source: "web".to_owned(), ..TargetGroup::default() });
        assert!(!server.requests().iter().any(|request| request.path().ends_with("/other")));
    }

    #[test]
    fn the_worst_check_counts() {
        let checks = |all: &[(&str, &str)]| -> Vec<Check> {
            all.iter().map(|(id, status)| Check { id: (*id).into(), status: (*status).into() }).collect()
        };
        assert_eq!(health(&checks(&[])), "passing");
        assert_eq!(health(&checks(&[("a", "warning"), ("b", "critical")])), "critical");
        assert_eq!(health(&checks(&[("_service_maintenance:web", "critical")])), "maintenance");
        assert_eq!(health(&checks(&[("_node_maintenance", "critical"), ("a", "odd")])), "");
    }

    #[test]
    fn a_server_may_be_a_url_whose_path_takes_the_prefix_place() {
        let base = |server: &str, scheme: &str, prefix: &str| {
            let config = ConsulSdConfig {
                server: server.to_owned(),
                scheme: scheme.to_owned(),
                path_prefix: prefix.to_owned(),
                ..ConsulSdConfig::default()
            };
            open(&config, &context()).map(|(_, base)| base).map_err(|error| error.to_string())
        };
        for (server, scheme, prefix, want) in [
            ("c:8500", "http", "", "http://c:8500"),
            ("c:8500", "https", "/a b/", "https://c:8500/a%20b"),
            ("http://c/own", "http", "/given", "http://c/own"),
            ("http://c", "https", "/given", "https://c/given"),
            ("https://c", "http", "", "https://c"),
            ("unix:///run/consul.sock", "http", "", "http://localhost"),
        ] {
            assert_eq!(base(server, scheme, prefix).as_deref(), Ok(want), "{server}");
        }
        assert_eq!(base("tcp://c", "http", ""), Err("Unknown protocol scheme: tcp".to_owned()));
    }

    #[test]
    fn the_environment_names_what_the_block_does_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "of-file\n").unwrap();
        let path = file.path().to_str().unwrap();
        let context = context_with(&[
            ("CONSUL_HTTP_TOKEN_FILE", path),
            ("CONSUL_HTTP_TOKEN", "t"),
            ("CONSUL_NAMESPACE", "n"),
        ]);
        let config = with_environment(&ConsulSdConfig::default(), &context).unwrap();
        assert_eq!((config.token.expose(), config.namespace.as_str()), ("of-file", "n"));
        let given = ConsulSdConfig { token: Secret::new("own"), ..ConsulSdConfig::default() };
        assert_eq!(with_environment(&given, &context).unwrap().token.expose(), "own");
    }
}
