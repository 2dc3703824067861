//! Service discovery: one file per mechanism.
//!
//! Every mechanism yields [`TargetGroup`]s: targets that one source names
//! together. A group replaces the earlier one of the same source; a group
//! without targets takes it away.

#![forbid(unsafe_code)]

pub mod static_config;

use model::Labels;

/// Targets of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Tells the groups of one mechanism apart.
    pub source: String,
    /// Labels that all targets have unless they have their own.
    pub labels: Labels,
    /// The labels of each target, `__address__` among them.
    pub targets: Vec<Labels>,
}
