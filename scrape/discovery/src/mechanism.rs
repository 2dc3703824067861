//! What a mechanism is to the manager: something that runs until it is stopped
//! and sends groups as they change.

use std::any::Any;
use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use model::Clock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::group::TargetGroup;
use crate::metrics::DiscoveryMetrics;

/// What every mechanism is given.
#[derive(Clone)]
pub struct Context {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where failures and durations are counted.
    pub metrics: Arc<DiscoveryMetrics>,
    /// The set that the mechanism belongs to, as a label of metrics: a job's name.
    pub set: String,
    /// Cancelled when the mechanism is to end.
    pub stop: CancellationToken,
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

/// A mechanism with its settings.
///
/// Equal mechanisms are run once, however many jobs name them.
pub trait Mechanism: Debug + Send + Sync {
    /// Its name in metrics: `file`.
    fn name(&self) -> &'static str;

    /// Whether the other is the same mechanism with the same settings.
    fn is_same(&self, other: &dyn Mechanism) -> bool;

    /// For [`Mechanism::is_same`].
    fn as_any(&self) -> &dyn Any;

    /// Finds targets until stopped.
    fn run(self: Arc<Self>, context: Context, updates: Updates) -> Pin<Box<dyn Future<Output = ()> + Send>>;
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
    /// The request failed.
    #[error("{0}")]
    Request(String),
}
