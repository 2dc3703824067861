//! Targets that are written in the configuration.

use config::discovery::StaticConfig;
use model::Labels;

use crate::TargetGroup;

/// The label that holds a target's host and port.
const ADDRESS: &str = "__address__";

/// The groups of a job's static blocks; each block is a source named by its
/// place.
pub fn groups<'a>(blocks: impl IntoIterator<Item = &'a StaticConfig>) -> Vec<TargetGroup> {
    let group = |(place, block): (usize, &StaticConfig)| TargetGroup {
        source: place.to_string(),
        labels: block.labels.to_labels(),
        targets: block.targets.iter().map(|address| Labels::from_pairs([(ADDRESS, address.as_str())])).collect(),
    };
    blocks.into_iter().enumerate().map(group).collect()
}
