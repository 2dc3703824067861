//! Service discovery: one file per mechanism.
//!
//! ```text
//! config blocks ─▶ registry ─▶ Manager ─▶ groups of every job ─▶ scraping, notifier
//!                               │  ▲
//!                        runs once │ updates
//!                              mechanisms: static, file, dns, http, kubernetes, clouds …
//! ```
//!
//! Every mechanism yields [`TargetGroup`]s: targets that one source names
//! together. A group replaces the earlier one of the same source; a group
//! without targets takes it away.

#![forbid(unsafe_code)]

mod group;
mod manager;
mod mechanism;
mod metrics;
mod refresh;
mod registry;

mod dns;
mod file;
mod static_targets;

pub use group::{ADDRESS_LABEL, GroupError, TargetGroup, parse_groups};
pub use manager::{GroupsByJob, Manager, ManagerOptions};
pub use mechanism::{Context, DiscoveryError, Mechanism, Updates};
pub use metrics::DiscoveryMetrics;
pub use registry::{mechanisms, without_effect};
