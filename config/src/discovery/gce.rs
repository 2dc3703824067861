//! Instances of Google Compute Engine.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::values::Duration;

block! {
    /// Instances of Google Compute Engine.
    pub struct GceSdConfig: "gce.plain" {
        /// The project.
        project: String => always "project",
        /// The zone.
        zone: String => always "zone",
        /// An expression over instances.
        filter: String => omit "filter",
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
        /// The port of targets.
        port: i64 => always "port",
        /// What is put between tags.
        tag_separator: String => omit "tag_separator",
    }
}

impl Default for GceSdConfig {
    fn default() -> GceSdConfig {
        GceSdConfig {
            port: 80,
            tag_separator: ",".to_owned(),
            refresh_interval: model::time::PromDuration(60000),
            ..GceSdConfig::zeroed()
        }
    }
}

impl Block for GceSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.project.is_empty() {
            walk.invalid_field("project", "GCE SD configuration requires a project");
        }
        if self.zone.is_empty() {
            walk.invalid_field("zone", "GCE SD configuration requires a zone");
        }
    }
}

impl Located for GceSdConfig {
    fn set_directory(&mut self, _dir: &Path) {}
}
