//! Target groups from files.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::Walk;
use crate::discovery::Located;
use crate::values::{Duration, join_dir, quoted};

/// `^[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)$`
fn is_discovery_file(name: &str) -> bool {
    let known = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];
    let Some(stem) = known.iter().find_map(|end| name.strip_suffix(end)) else { return false };
    stem.split_once('*').is_none_or(|(_, after)| !after.contains('/'))
}

block! {
    /// Target groups from files.
    pub struct FileSdConfig: "file.plain" {
        /// The files; the last segment may have one `*`.
        files: Vec<String> => always "files",
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
    }
}

impl Default for FileSdConfig {
    fn default() -> FileSdConfig {
        FileSdConfig { refresh_interval: model::time::PromDuration(300000), ..FileSdConfig::zeroed() }
    }
}

impl Block for FileSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.files.is_empty() {
            let message = "file service discovery config must contain at least one path name";
            walk.invalid_field("files", message);
        }
        for (index, name) in self.files.iter().enumerate() {
            if !is_discovery_file(name) {
                let message = format!("path name {} is not valid for file discovery", quoted(name));
                walk.invalid_at(["files".into(), index.into()], message);
            }
        }
    }
}

impl Located for FileSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.files.iter_mut().for_each(|file| join_dir(dir, file));
    }
}
