//! The engine's API: where it is, and what `docker` and `dockerswarm` ask alike.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use config::HttpClientConfig;
use config::discovery::docker::DockerFilter;
use model::LabelsBuilder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::{Client, null_as_empty, with_query};
use crate::labels::sanitize;
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::interval_of;

/// An engine.
pub(super) struct Engine {
    client: Client,
    base: String,
    filters: String,
}

/// Texts by name.
pub(super) type Texts = BTreeMap<String, String>;

impl Engine {
    /// The engine at a host such as `unix:///var/run/docker.sock`,
    /// `tcp://manager:2375` or a URL. The block's client settings are for URLs
    /// alone, as upstream's.
    pub(super) fn new(
        host: &str,
        filters: &[DockerFilter],
        http: &HttpClientConfig,
        interval: config::Duration,
        context: &Context,
    ) -> Result<Engine, DiscoveryError> {
        let timeout = interval_of(interval);
        let plain = HttpClientConfig::default();
        let (scheme, rest) = host.split_once("://").unwrap_or(("", host));
        let (client, base) = match scheme {
            "unix" => (
                Client::over_socket(&plain, context, timeout, PathBuf::from(rest))?,
                "http://docker".to_owned(),
            ),
            "tcp" => (Client::new(&plain, context, timeout)?, format!("http://{rest}")),
            "http" | "https" => (Client::new(http, context, timeout)?, host.to_owned()),
            _ => {
                let what = format!("error setting up docker client: unable to parse docker host `{host}`");
                return Err(DiscoveryError::Unusable(what));
            }
        };
        let base = base.trim_end_matches('/').to_owned();
        Ok(Engine { client, base, filters: filters_text(filters) })
    }

    /// What a path answers with; `filtered` asks for the block's choice only.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        filtered: bool,
    ) -> Result<Vec<T>, DiscoveryError> {
        let filters = (filtered && !self.filters.is_empty()).then_some(("filters", self.filters.as_str()));
        let url = with_query(&format!("{}{path}", self.base), filters);
        let all: Option<Vec<T>> = self.client.get_json(&url, &[]).await?;
        Ok(all.unwrap_or_default())
    }

    /// All networks by id.
    pub(super) async fn networks(&self) -> Result<HashMap<String, Network>, DiscoveryError> {
        let all: Vec<Network> = self.list("/networks", false).await?;
        Ok(all.into_iter().map(|network| (network.id.clone(), network)).collect())
    }
}

fn filters_text(filters: &[DockerFilter]) -> String {
    let mut all: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
    for filter in filters {
        let values = filter.values.iter().map(|value| (value.as_str(), true));
        all.entry(&filter.name).or_default().extend(values);
    }
    match all.is_empty() {
        true => String::new(),
        false => serde_json::to_string(&all).expect("texts and flags can be written"),
    }
}

/// A network.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Network {
    id: String,
    name: String,
    scope: String,
    internal: bool,
    ingress: bool,
    #[serde(deserialize_with = "null_as_empty")]
    labels: Texts,
}

impl Network {
    /// Adds the network's labels behind a prefix.
    pub(super) fn add_labels(&self, labels: &mut LabelsBuilder, prefix: &str) {
        let flag = |value: bool| if value { "true" } else { "false" };
        labels.set(&format!("{prefix}network_id"), &self.id);
        labels.set(&format!("{prefix}network_name"), &self.name);
        labels.set(&format!("{prefix}network_scope"), &self.scope);
        labels.set(&format!("{prefix}network_internal"), flag(self.internal));
        labels.set(&format!("{prefix}network_ingress"), flag(self.ingress));
        add_texts(labels, &format!("{prefix}network_label_"), &self.labels);
    }
}

/// Adds texts behind a prefix, their names sanitised.
pub(super) fn add_texts(labels: &mut LabelsBuilder, prefix: &str, texts: &Texts) {
    for (name, value) in texts {
        labels.set(&format!("{prefix}{}", sanitize(name)), value);
    }
}
