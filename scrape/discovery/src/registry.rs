//! From a job's blocks to its mechanisms.

use std::sync::Arc;

use config::discovery::DiscoveryConfigs;

use crate::dns::Dns;
use crate::file::Files;
use crate::mechanism::Mechanism;
use crate::static_targets::StaticTargets;

/// The mechanisms of a job, in the file's order by kind. A job without any has
/// an empty static one, so that it is known all the same.
pub fn mechanisms(configs: &DiscoveryConfigs) -> Vec<Arc<dyn Mechanism>> {
    let mut all: Vec<Arc<dyn Mechanism>> = Vec::new();
    let groups: Vec<_> = configs.static_groups().cloned().collect();
    all.extend(configs.dns.iter().flatten().cloned().map(|config| Arc::new(Dns { config }) as _));
    all.extend(configs.file.iter().flatten().cloned().map(|config| Arc::new(Files { config }) as _));
    if !groups.is_empty() || all.is_empty() {
        all.push(Arc::new(StaticTargets { groups }));
    }
    all
}

/// Mechanisms that a job names but that nothing acts on yet.
pub fn without_effect(configs: &DiscoveryConfigs) -> Vec<&'static str> {
    let known = ["static", "file", "dns"];
    configs.in_use().into_iter().map(|(name, _)| name).filter(|name| !known.contains(name)).collect()
}
