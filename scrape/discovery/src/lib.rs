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

mod client;
mod group;
mod labels;
mod manager;
mod mechanism;
mod metrics;
mod polled;
mod refresh;
mod registry;

mod aws;
mod azure;
mod consul;
mod digitalocean;
mod dns;
mod docker;
mod eureka;
mod file;
mod gce;
mod hetzner;
mod http_sd;
mod ionos;
mod kubernetes;
mod kuma;
mod linode;
mod marathon;
mod nomad;
mod openstack;
mod outscale;
mod puppetdb;
mod scaleway;
mod static_targets;
mod triton;
mod uyuni;
mod vultr;

#[cfg(test)]
mod testing;

pub use group::{ADDRESS_LABEL, GroupError, TargetGroup, parse_groups};
pub use manager::{GroupsByJob, Manager, ManagerOptions};
pub use mechanism::{Context, DiscoveryError, Mechanism, Running, Surroundings, Updates};
pub use metrics::DiscoveryMetrics;
pub use registry::{mechanisms, without_effect};
