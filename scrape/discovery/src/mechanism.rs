//! What a mechanism is to the manager: something that runs until it is stopped
//! and sends groups as they change.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use model::Clock;
use net::{ClientOptions, ProxyEnvironment};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::group::TargetGroup;
use crate::metrics::DiscoveryMetrics;

/// What the server knows of its surroundings and mechanisms need: nothing in
/// this crate reads the process' environment itself.
#[derive(Clone)]
pub struct Surroundings {
    /// The `User-Agent` of requests.
    pub user_agent: String,
    /// What `proxy_from_environment` means.
    pub proxies: Arc<ProxyEnvironment>,
    /// Environment variables: where a cluster's API, a cloud's credentials and
    /// the like are named.
    pub variables: Arc<BTreeMap<String, String>>,
    /// What counts the connections of mechanisms, by their names.
    pub dials: Option<net::Dials>,
}

impl Default for Surroundings {
    fn default() -> Surroundings {
        Surroundings {
            user_agent: "Prometheus/3.14.0".to_owned(),
            proxies: Arc::default(),
            variables: Arc::default(),
            dials: None,
        }
    }
}

impl Surroundings {
    /// A variable, the empty text where it is not set.
    pub(crate) fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }
}

/// Variables may hold credentials: their values are not shown.
impl Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("user_agent", &self.user_agent).finish_non_exhaustive()
    }
}

/// What every mechanism is given.
#[derive(Clone)]
pub struct Context {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where failures and durations are counted.
    pub metrics: Arc<DiscoveryMetrics>,
    /// What lies around the process.
    pub surroundings: Surroundings,
    /// The mechanism's name.
    pub mechanism: &'static str,
    /// The manager's name: `scrape` or `notify`.
    pub manager: String,
    /// The set that the mechanism belongs to, as a label of metrics: a job's name.
    pub set: String,
    /// Cancelled when the mechanism is to end.
    pub stop: CancellationToken,
}

impl Context {
    /// Who speaks in the log.
    pub(crate) fn component(&self) -> &'static str {
        component(&self.manager)
    }

    /// How HTTP clients of mechanisms are built.
    pub(crate) fn client_options(&self) -> ClientOptions {
        let surroundings = &self.surroundings;
        // Upstream's names: two mechanisms share one without an ending.
        let dialer = match self.mechanism {
            "http" | "puppetdb" => "http".to_owned(),
            name => format!("{name}_sd"),
        };
        ClientOptions {
            dials: surroundings.dials.as_ref().map(|dials| dials.of(&dialer)).unwrap_or_default(),
            proxies: surroundings.proxies.clone(),
            variables: surroundings.variables.clone().into(),
            ..ClientOptions::new(surroundings.user_agent.clone(), self.clock.clone())
        }
    }
}

/// Who speaks in the log for a manager of that name.
pub(crate) fn component(manager: &str) -> &'static str {
    if manager == "notify" { "discovery manager notify" } else { "discovery manager scrape" }
}

/// The way from a mechanism to its manager.
#[derive(Clone)]
pub struct Updates {
    pub(crate) provider: u64,
    pub(crate) sender: mpsc::Sender<(u64, Vec<TargetGroup>)>,
}

impl Updates {
    /// Sends groups: each takes the place of the earlier one of its source.
    /// Whether anybody still listens.
    pub async fn send(&self, groups: Vec<TargetGroup>) -> bool {
        self.sender.send((self.provider, groups)).await.is_ok()
    }
}

/// A mechanism at work, until it is stopped.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A mechanism with its settings.
///
/// Equal mechanisms are run once, however many jobs name them.
pub trait Mechanism: Debug + Send + Sync {
    /// Its name in metrics: `file`.
    fn name(&self) -> &'static str;

    /// Its name in the metrics of its looks: that of its role, if it has several.
    fn look_name(&self) -> &'static str {
        self.name()
    }

    /// Whether the other is the same mechanism with the same settings.
    fn is_same(&self, other: &dyn Mechanism) -> bool;

    /// For [`Mechanism::is_same`].
    fn as_any(&self) -> &dyn Any;

    /// Makes ready to find targets; the future does it until stopped.
    ///
    /// # Errors
    /// The settings cannot be used: a certificate cannot be read, no cluster is
    /// around. The mechanism counts as failed and is tried again at the next
    /// reload.
    fn start(self: Arc<Self>, context: Context, updates: Updates) -> Result<Running, DiscoveryError>;
}

/// [`Mechanism::is_same`] for mechanisms that can be compared.
pub(crate) fn same<T: PartialEq + 'static>(this: &T, other: &dyn Mechanism) -> bool {
    other.as_any().downcast_ref::<T>().is_some_and(|other| this == other)
}

/// Why targets could not be found this time. The last ones are kept.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// A file cannot be read.
    #[error("read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// What was answered cannot be understood.
    #[error("{0}")]
    Malformed(String),
    /// The settings cannot be used here.
    #[error("{0}")]
    Unusable(String),
    /// The request failed.
    #[error("{0}")]
    Request(String),
    /// The answer is no success.
    #[error("{what}: {status}{detail}")]
    Status {
        /// What was asked for.
        what: String,
        /// Number and reason.
        status: http::StatusCode,
        /// The beginning of the answer, where it says more.
        detail: String,
    },
    /// There are no credentials.
    #[error(transparent)]
    Credentials(#[from] net::CloudError),
    /// The answer is no XML.
    #[error(transparent)]
    Xml(#[from] net::xml::XmlError),
    /// The HTTP client cannot be built.
    #[error(transparent)]
    Client(#[from] net::BuildError),
}
