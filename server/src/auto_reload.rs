//! Notices that the configuration's files changed.
//!
//! The checksum covers the main file and what `rule_files` and
//! `scrape_config_files` match, each with its path; target files, certificates
//! and credentials are looked after by those who read them.
//! Source: Prometheus `config/reload.go`, `GenerateChecksum`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::tree::{Node, NodeKind};
use sha2::{Digest, Sha256};

/// Watches the files by looking at them every so often.
pub struct Changes {
    watched: Option<Watched>,
}

struct Watched {
    path: PathBuf,
    ticks: tokio::time::Interval,
    /// Of the files that are in force; an unreadable file has none.
    applied: Option<[u8; 32]>,
    seen: Option<[u8; 32]>,
}

impl Changes {
    /// Sees no change, ever.
    pub fn never() -> Changes {
        Changes { watched: None }
    }

    /// Looks every `interval`; what is there now is in force.
    pub fn watch(path: PathBuf, interval: Duration) -> Changes {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let applied = checksum(&path).ok();
        Changes { watched: Some(Watched { path, ticks, applied, seen: applied }) }
    }

    /// Returns when the files differ from those in force.
    pub async fn next(&mut self) {
        let Some(watched) = &mut self.watched else { return std::future::pending().await };
        loop {
            watched.ticks.tick().await;
            match checksum(&watched.path) {
                Ok(now) if Some(now) != watched.applied => {
                    watched.seen = Some(now);
                    return;
                }
                Ok(_) => {}
                Err(error) => {
                    // The reload tells the same to all who watch it.
                    tracing::error!(%error, "Failed to generate checksum during configuration reload");
                    watched.seen = None;
                    return;
                }
            }
        }
    }

    /// What lies there now was loaded because somebody asked for it.
    pub fn loaded(&mut self) {
        if let Some(watched) = &mut self.watched {
            watched.applied = checksum(&watched.path)
                .inspect_err(|error| {
                    tracing::error!(%error, "Failed to generate checksum during configuration reload");
                })
                .ok();
        }
    }

    /// The change is in force.
    pub fn applied(&mut self) {
        if let Some(watched) = &mut self.watched {
            watched.applied = watched.seen;
        }
    }
}

/// The checksum of a configuration file and of the files that it names.
///
/// # Errors
/// A file cannot be read, or the main file is no YAML.
pub fn checksum(path: &Path) -> io::Result<[u8; 32]> {
    let text = std::fs::read(path)?;
    let mut hash = Sha256::new();
    hash.update(&text);
    let text = String::from_utf8_lossy(&text);
    let invalid =
        |error: config::tree::SyntaxError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    if let Some(root) = config::tree::parse(&text).map_err(invalid)? {
        let dir = path.parent().unwrap_or(Path::new(""));
        for (field, prefix) in [("rule_files", "r"), ("scrape_config_files", "s")] {
            for pattern in patterns(&root, field) {
                let pattern = dir.join(pattern).display().to_string();
                let Ok(matches) = glob::glob(&pattern) else { continue };
                for file in matches.flatten() {
                    for part in
                        [prefix.as_bytes(), file.as_os_str().as_encoded_bytes(), &std::fs::read(&file)?]
                    {
                        hash.update(part);
                        hash.update([0]);
                    }
                }
            }
        }
    }
    Ok(hash.finalize().into())
}

fn patterns(root: &Node, field: &str) -> Vec<String> {
    match root.entry(field).map(|(_, value)| &value.kind) {
        Some(NodeKind::Seq(items)) => {
            items.iter().filter_map(|item| item.text().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_follows_the_named_files_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("prometheus.yml");
        std::fs::write(&main, "rule_files: ['rules/*.yml']\nscrape_config_files: [jobs.yml]\n").unwrap();
        std::fs::create_dir(dir.path().join("rules")).unwrap();
        let first = checksum(&main).unwrap();
        std::fs::write(dir.path().join("targets.json"), "[]").unwrap();
        assert_eq!(checksum(&main).unwrap(), first, "a file that is not named does not count");
        std::fs::write(dir.path().join("rules/a.yml"), "groups: []").unwrap();
        let second = checksum(&main).unwrap();
        assert_ne!(second, first);
        std::fs::rename(dir.path().join("rules/a.yml"), dir.path().join("rules/b.yml")).unwrap();
        assert_ne!(checksum(&main).unwrap(), second, "the path counts");
        std::fs::write(dir.path().join("jobs.yml"), "scrape_configs: []").unwrap();
        let third = checksum(&main).unwrap();
        std::fs::write(&main, "{}").unwrap();
        assert_ne!(checksum(&main).unwrap(), third);
    }
}
