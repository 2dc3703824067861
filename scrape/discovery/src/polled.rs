//! Mechanisms that look again every so often, from their settings alone.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::mechanism::{Context, DiscoveryError, Mechanism, Running, Updates, same};
use crate::refresh::{self, Refresh};

/// Settings of a mechanism that looks at intervals.
pub(crate) trait Periodic: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// The mechanism's name in metrics.
    const NAME: &'static str;
    /// What looks.
    type Look: Refresh + 'static;

    /// Its name in the metrics of its looks, where that depends on its role.
    fn look_name(&self) -> &'static str {
        Self::NAME
    }

    /// The time between two looks.
    fn interval(&self) -> config::Duration;

    /// Makes ready to look: builds clients, reads credentials.
    fn look(&self, context: &Context) -> Result<Self::Look, DiscoveryError>;
}

/// The shortest time between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// A duration of the configuration as a time between two looks.
pub(crate) fn interval_of(duration: config::Duration) -> Duration {
    Duration::from_millis(duration.0.max(0).unsigned_abs()).max(INTERVAL_MIN)
}

/// A mechanism from such settings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Polled<C>(pub(crate) C);

impl<C: Periodic> Mechanism for Polled<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn look_name(&self) -> &'static str {
        self.0.look_name()
    }

    fn is_same(&self, other: &dyn Mechanism) -> bool {
        same(self, other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn start(self: Arc<Self>, context: Context, updates: Updates) -> Result<Running, DiscoveryError> {
        let look = self.0.look(&context)?;
        let interval = interval_of(self.0.interval());
        Ok(Box::pin(refresh::run(self.0.look_name(), look, interval, context, updates)))
    }
}
