//! Targets that are written in the configuration file.

use std::any::Any;
use std::sync::Arc;

use config::discovery::StaticConfig;

use crate::group::TargetGroup;
use crate::mechanism::{Context, DiscoveryError, Mechanism, Running, Updates, same};

/// All `static_configs` of a job; the source of each group is its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StaticTargets {
    pub(crate) groups: Vec<StaticConfig>,
}

impl Mechanism for StaticTargets {
    fn name(&self) -> &'static str {
        "static"
    }

    fn is_same(&self, other: &dyn Mechanism) -> bool {
        same(self, other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn start(self: Arc<Self>, _: Context, updates: Updates) -> Result<Running, DiscoveryError> {
        let groups = self
            .groups
            .iter()
            .enumerate()
            .map(|(index, group)| TargetGroup::written(group, index.to_string()))
            .collect();
        Ok(Box::pin(async move {
            updates.send(groups).await;
        }))
    }
}
