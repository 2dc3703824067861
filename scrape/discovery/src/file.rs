//! `file_sd_configs`: groups from files, read again when their folder changes.
//!
//! The *folder* is watched, not the file, so that atomic renames and the
//! symlink swaps of mounted config maps are seen; the interval looks again in
//! any case. A file that cannot be read or understood keeps its last groups.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::discovery::FileSdConfig;
use config::tree::{Node, NodeKind};
use notify::Watcher;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::group::{TargetGroup, parse_groups};
use crate::mechanism::{Context, DiscoveryError, Mechanism, Running, Updates, same};
use crate::polled::interval_of;

/// The label that tells which file a target is from.
const FILEPATH_LABEL: &str = "__meta_filepath";
/// Changes that come so close together are read once.
const SETTLE: Duration = Duration::from_millis(50);
/// Most bytes of a file.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// One `file_sd_configs` block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Files {
    pub(crate) config: FileSdConfig,
}

impl Mechanism for Files {
    fn name(&self) -> &'static str {
        "file"
    }

    fn is_same(&self, other: &dyn Mechanism) -> bool {
        same(self, other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn start(self: Arc<Self>, context: Context, updates: Updates) -> Result<Running, DiscoveryError> {
        Ok(Box::pin(watch(self, context, updates)))
    }
}

async fn watch(files: Arc<Files>, context: Context, updates: Updates) {
    let (sender, mut changes) = mpsc::channel::<()>(1);
    let errors = context.metrics.file_watcher_errors.clone();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
        Ok(event) if event.kind.is_access() => {}
        // A full channel means that a look is due already.
        Ok(_) => drop(sender.try_send(())),
        Err(_) => errors.inc(),
    });
    let mut watcher = match watcher {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            context.metrics.file_watcher_errors.inc();
            tracing::error!(
                component = context.component(), discovery = "file", config = context.set, err = %error,
                "Error adding file watcher"
            );
            None
        }
    };
    let mut watched = BTreeSet::new();
    let mut known: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let interval = interval_of(files.config.refresh_interval);
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return,
            _ = ticks.tick() => {}
            Some(()) = changes.recv() => {
                tokio::time::sleep(SETTLE).await;
                while changes.try_recv().is_ok() {}
            }
        }
        if let Some(watcher) = &mut watcher {
            add_folders(&files.config, watcher, &mut watched, &context);
        }
        let started = context.clock.monotonic();
        let scan = tokio::task::spawn_blocking({
            let (files, context, known) = (files.clone(), context.clone(), known.clone());
            move || scan(&files.config, &context, known)
        });
        let Ok((groups, now)) = scan.await else { return };
        known = now;
        let seconds = context.clock.monotonic().saturating_sub(started).as_secs_f64();
        context.metrics.file_scan_duration.observe(seconds);
        if !updates.send(groups).await {
            return;
        }
    }
}

/// Watches the folders of the patterns that exist and are not watched yet.
fn add_folders(
    config: &FileSdConfig,
    watcher: &mut notify::RecommendedWatcher,
    watched: &mut BTreeSet<PathBuf>,
    context: &Context,
) {
    for pattern in &config.files {
        let folder = match Path::new(pattern).parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        if watched.contains(&folder) || !folder.is_dir() {
            continue;
        }
        match watcher.watch(&folder, notify::RecursiveMode::NonRecursive) {
            Ok(()) => drop(watched.insert(folder)),
            Err(error) => {
                context.metrics.file_watcher_errors.inc();
                tracing::error!(
                    component = context.component(), discovery = "file", config = context.set,
                    path = %folder.display(), err = %error, "Error adding file watch"
                );
            }
        }
    }
}

/// Reads all files. `known` has how many groups each file had; groups that are
/// gone are sent empty. Answers the groups and the new numbers.
fn scan(
    config: &FileSdConfig,
    context: &Context,
    known: BTreeMap<PathBuf, usize>,
) -> (Vec<TargetGroup>, BTreeMap<PathBuf, usize>) {
    let mut groups = Vec::new();
    let mut now = BTreeMap::new();
    for path in list(config, context) {
        let before = known.get(&path).copied().unwrap_or(0);
        let count = match read(&path) {
            Ok(read) => {
                let seconds = std::fs::metadata(&path).and_then(|data| data.modified()).ok();
                let seconds = seconds.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
                if let Some(at) = seconds {
                    context.metrics.file_mtime.with(&[&path.to_string_lossy()]).set(at.as_secs_f64());
                }
                let count = read.len();
                groups.extend(read);
                groups.extend((count..before).map(|index| empty(&path, index)));
                count
            }
            Err(error) => {
                context.metrics.file_read_errors.inc();
                tracing::error!(
                    component = context.component(), discovery = "file", config = context.set,
                    path = %path.display(), err = %error, "Error reading file"
                );
                before
            }
        };
        now.insert(path, count);
    }
    for (path, count) in known {
        if !now.contains_key(&path) {
            context.metrics.file_mtime.remove(&[&path.to_string_lossy()]);
            groups.extend((0..count).map(|index| empty(&path, index)));
        }
    }
    (groups, now)
}

fn empty(path: &Path, index: usize) -> TargetGroup {
    TargetGroup { source: format!("{}:{index}", path.display()), ..TargetGroup::default() }
}

fn list(config: &FileSdConfig, context: &Context) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    for pattern in &config.files {
        match glob::glob(pattern) {
            Ok(paths) => found.extend(paths.flatten()),
            Err(error) => {
                tracing::error!(
                    component = context.component(), discovery = "file", config = context.set, glob = pattern,
                    err = %error, "Error expanding glob"
                )
            }
        }
    }
    found.into_iter().collect()
}

/// The groups of one file, JSON or YAML by its ending.
fn read(path: &Path) -> Result<Vec<TargetGroup>, DiscoveryError> {
    let io = |source| DiscoveryError::Read { path: path.to_path_buf(), source };
    let len = std::fs::metadata(path).map_err(io)?.len();
    if len > FILE_BYTES_MAX {
        return Err(DiscoveryError::Malformed(format!("{len} bytes are over the limit of {FILE_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(io)?;
    let json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let source = path.to_string_lossy();
    let mut groups = if json { groups_of_json(&text, &source) } else { groups_of_yaml(&text, &source) }?;
    for group in &mut groups {
        group.labels = group.labels.to_builder().set(FILEPATH_LABEL, &source).labels();
    }
    Ok(groups)
}

fn groups_of_json(text: &str, source: &str) -> Result<Vec<TargetGroup>, DiscoveryError> {
    let document =
        serde_json::from_str(text).map_err(|error| DiscoveryError::Malformed(error.to_string()))?;
    parse_groups(&document, source).map_err(|error| DiscoveryError::Malformed(error.to_string()))
}

/// YAML is read as the configuration's own groups are: numbers are texts, keys
/// may be merged and must not stand twice.
fn groups_of_yaml(text: &str, source: &str) -> Result<Vec<TargetGroup>, DiscoveryError> {
    let groups = config::discovery::load_target_groups(text);
    let groups = groups.map_err(|error| DiscoveryError::Malformed(error.to_string()))?;
    let numbered = groups.iter().enumerate();
    Ok(numbered.map(|(index, group)| TargetGroup::written(group, format!("{source}:{index}"))).collect())
}

/// A document; texts stay as written.
pub(crate) fn document_of_yaml(text: &str) -> Result<Value, config::tree::SyntaxError> {
    Ok(config::tree::parse(text)?.map_or(Value::Null, |root| value_of(&root)))
}

/// A node as a value.
fn value_of(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Scalar(_) if node.is_null() => Value::Null,
        NodeKind::Scalar(_) => Value::from(node.text().unwrap_or_default()),
        NodeKind::Seq(items) => items.iter().map(|item| value_of(item)).collect(),
        NodeKind::Map(entries) => {
            let pairs = entries
                .iter()
                .map(|(key, value)| (key.text().unwrap_or_default().to_owned(), value_of(value)));
            Value::Object(pairs.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::context;

    fn config(pattern: &Path) -> FileSdConfig {
        FileSdConfig { files: vec![pattern.display().to_string()], ..FileSdConfig::default() }
    }

    #[test]
    fn conformance_files_give_their_groups() {
        let Some(dir) = testkit::conformance_dir("discovery") else { return };
        let text = std::fs::read_to_string(dir.join("file/expected.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        let (mut passed, total) = (0, cases.len());
        for case in &cases {
            let path = dir.join("file").join(case["file"].as_str().unwrap());
            let got = read(&path);
            if case["expect"] == "error" {
                assert!(got.is_err(), "{} must be refused", path.display());
            } else {
                // Some cases say that their groups are those of another file.
                let groups = match case["groups"].as_str() {
                    Some(text) => {
                        let other = text.rsplit(' ').next().unwrap();
                        &cases.iter().find(|c| c["file"].as_str().unwrap().ends_with(other)).unwrap()["groups"]
                    }
                    None => &case["groups"],
                };
                let got: Vec<Value> = got.unwrap().iter().map(|group| shown(group, &path)).collect();
                assert_eq!(&Value::Array(got), groups, "{}", path.display());
            }
            passed += 1;
        }
        println!("discovery/file: {passed} / {total}");
        assert!(total > 0);
    }

    fn shown(group: &TargetGroup, path: &Path) -> Value {
        let path = path.to_string_lossy();
        let labels = |labels: &model::Labels| -> Value {
            let pairs =
                labels.iter().map(|l| (l.name.to_owned(), Value::from(l.value.replace(&*path, "<path>"))));
            Value::Object(pairs.collect())
        };
        serde_json::json!({
            "source": group.source.replace(&*path, "<path>"),
            "labels": labels(&group.labels),
            "targets": group.targets.iter().map(labels).collect::<Vec<_>>(),
        })
    }

    #[test]
    fn yaml_is_read_as_the_configuration_is() {
        let read = |text: &str| groups_of_yaml(text, "f.yml");
        let groups =
            read("- targets: [a, 5, true, ~]\n  labels: {n: 010, f: 1.50, b: yes, none: ~}\n").unwrap();
        let addresses: Vec<_> = groups[0].targets.iter().map(|target| target.get("__address__")).collect();
        assert_eq!(addresses, [Some("a"), Some("5"), Some("true"), None]);
        assert_eq!(groups[0].labels.to_string(), r#"{b="yes", f="1.50", n="010"}"#);
        let groups = read("- &a\n  targets: [c:1]\n  labels: {x: y}\n- <<: *a\n  targets: [d:1]\n").unwrap();
        assert_eq!((groups[1].source.as_str(), groups[1].labels.get("x")), ("f.yml:1", Some("y")));
        for empty in ["", "---\n", "~", "[]"] {
            assert_eq!(read(empty).unwrap(), [], "{empty}");
        }
        for refused in
            ["- targets: [a]\n  targets: [b]\n", "- ~\n", "targets: [a]\n", "- targets: a\n", "- port: 1\n"]
        {
            assert!(read(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_broken_file_keeps_its_groups_and_a_removed_one_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.json");
        let context = context();
        let config = config(&dir.path().join("*.json"));
        std::fs::write(&file, r#"[{"targets": ["a:1"]}, {"targets": ["b:1"]}]"#).unwrap();
        let (groups, known) = scan(&config, &context, BTreeMap::new());
        assert_eq!((groups.len(), known[&file]), (2, 2));

        std::fs::write(&file, "[{").unwrap();
        let (groups, known) = scan(&config, &context, known);
        assert_eq!((groups.len(), known[&file]), (0, 2), "the last good groups stay");
        assert_eq!(context.metrics.file_read_errors.get(), 1.0);

        std::fs::write(&file, r#"[{"targets": ["c:1"]}]"#).unwrap();
        let (groups, known) = scan(&config, &context, known);
        assert_eq!(groups.len(), 2, "one group and one that is gone");
        assert!(groups[1].targets.is_empty());

        std::fs::remove_file(&file).unwrap();
        let (groups, known) = scan(&config, &context, known);
        assert_eq!(
            groups,
            [TargetGroup { source: format!("{}:0", file.display()), ..TargetGroup::default() }]
        );
        assert!(known.is_empty());
    }

    /// A block that runs, with its updates.
    fn running(pattern: &Path) -> (mpsc::Receiver<(u64, Vec<TargetGroup>)>, Context) {
        let (sender, receiver) = mpsc::channel(16);
        let context = context();
        let files = Arc::new(Files { config: config(pattern) });
        tokio::spawn(files.start(context.clone(), Updates { provider: 0, sender }).unwrap());
        (receiver, context)
    }

    /// Waits until the first group has these addresses: no look is due but by
    /// what the watch sees.
    async fn until(receiver: &mut mpsc::Receiver<(u64, Vec<TargetGroup>)>, wanted: &[&str]) {
        loop {
            let (_, groups) = receiver.recv().await.unwrap();
            let targets = groups.first().map(|group| group.targets.as_slice()).unwrap_or_default();
            let have: Vec<&str> = targets.iter().filter_map(|target| target.get("__address__")).collect();
            if have == wanted {
                return;
            }
        }
    }

    #[tokio::test]
    async fn written_renamed_and_removed_files_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("targets.json");
        let (mut receiver, context) = running(&file);
        until(&mut receiver, &[]).await;
        std::fs::write(&file, r#"[{"targets": ["a:1"]}]"#).unwrap();
        until(&mut receiver, &["a:1"]).await;
        let next = dir.path().join("next");
        std::fs::write(&next, r#"[{"targets": ["b:1", "c:1"]}]"#).unwrap();
        std::fs::rename(&next, &file).unwrap();
        until(&mut receiver, &["b:1", "c:1"]).await;
        std::fs::remove_file(&file).unwrap();
        until(&mut receiver, &[]).await;
        context.stop.cancel();
    }

    /// How a mounted config map changes: `targets.yml` is a link through
    /// `..data`, which a rename leads to another folder.
    #[tokio::test]
    async fn a_swapped_link_is_seen() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        for (folder, target) in [("..first", "a:1"), ("..second", "b:1")] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
            let text = format!("- targets: ['{target}']\n");
            std::fs::write(dir.path().join(folder).join("targets.yml"), text).unwrap();
        }
        symlink("..first", dir.path().join("..data")).unwrap();
        symlink("..data/targets.yml", dir.path().join("targets.yml")).unwrap();
        let (mut receiver, context) = running(&dir.path().join("*.yml"));
        until(&mut receiver, &["a:1"]).await;
        symlink("..second", dir.path().join("..data_tmp")).unwrap();
        std::fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
        until(&mut receiver, &["b:1"]).await;
        context.stop.cancel();
    }
}
