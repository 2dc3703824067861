//! Which crate may use which: normal and build edges of `cargo metadata`
//! against an allow-list. Edges of tests are free.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Workspace crates and what each may use of the others, directly.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("allocator", &[]),
    ("config", &["model"]),
    ("net", &["model", "config"]),
    ("tsdb", &["model"]),
    ("promql", &["model"]),
    ("discovery", &["model", "config", "net"]),
    ("scrape", &["model", "config", "net", "discovery"]),
    ("remote", &["model", "config", "net"]),
    ("template", &["model"]),
    ("web", &["model", "config", "net", "promql", "scrape", "discovery", "remote", "template"]),
    (
        "narthex",
        &[
            "model",
            "allocator",
            "config",
            "net",
            "tsdb",
            "promql",
            "scrape",
            "discovery",
            "remote",
            "template",
            "web",
        ],
    ),
    // For tests and measurements only: nothing that ships may use these.
    ("testkit", &["model", "promql"]),
    (
        "benches",
        &[
            "model",
            "allocator",
            "config",
            "net",
            "tsdb",
            "promql",
            "scrape",
            "discovery",
            "remote",
            "template",
            "web",
            "testkit",
        ],
    ),
    ("fuzz", &["model", "config", "tsdb", "promql", "scrape", "remote", "template", "testkit"]),
    ("xtask", &[]),
];

/// Crates that must not be reachable, however indirectly.
const UNREACHABLE: &[(&str, &[&str])] = &[
    (
        "tsdb",
        &[
            "tokio",
            "hyper",
            "http",
            "axum",
            "reqwest",
            "tower",
            "serde-saphyr",
            "saphyr-parser",
            "futures-core",
            "async-trait",
        ],
    ),
    ("promql", &["tsdb", "tokio", "hyper", "http", "serde-saphyr", "memmap2"]),
    ("scrape", &["tsdb", "promql", "memmap2"]),
    ("template", &["tsdb", "promql", "tokio", "hyper", "http"]),
    ("web", &["tsdb", "memmap2"]),
];

/// Edges between packages by name, normal and build kinds only.
#[derive(Debug, Default, Clone)]
struct Graph {
    members: BTreeSet<String>,
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn from_metadata(metadata: &Value) -> Result<Graph> {
        let mut names = BTreeMap::new();
        for package in metadata["packages"].as_array().context("metadata lists no packages")? {
            let id = package["id"].as_str().context("a package has no id")?;
            names.insert(id, package["name"].as_str().context("a package has no name")?);
        }
        let mut graph = Graph::default();
        for id in metadata["workspace_members"].as_array().context("metadata lists no members")? {
            let id = id.as_str().context("a member's id is no text")?;
            graph.members.insert((*names.get(id).context("a member is no package")?).to_owned());
        }
        for node in metadata["resolve"]["nodes"].as_array().context("metadata resolves nothing")? {
            let from = names.get(node["id"].as_str().unwrap_or_default()).context("a node is no package")?;
            for dep in node["deps"].as_array().into_iter().flatten() {
                let ships =
                    dep["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"] != "dev");
                let to =
                    names.get(dep["pkg"].as_str().unwrap_or_default()).context("an edge leads nowhere")?;
                if ships {
                    graph.edges.entry((*from).to_owned()).or_default().insert((*to).to_owned());
                }
            }
        }
        Ok(graph)
    }

    /// What is wrong with the graph, one sentence each.
    fn violations(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
        for member in &self.members {
            let Some(may_use) = allowed.get(member.as_str()) else {
                wrong.push(format!("{member} is not in the allow-list of xtask/src/arrows.rs"));
                continue;
            };
            for used in self.edges.get(member).into_iter().flatten() {
                if self.members.contains(used) && !may_use.contains(&used.as_str()) {
                    wrong.push(format!("{member} uses {used}, which it must not"));
                }
            }
        }
        for (from, banned) in UNREACHABLE {
            for (reached, path) in self.reachable(from) {
                if banned.contains(&reached.as_str()) {
                    wrong.push(format!("{from} reaches {reached}: {path}"));
                }
            }
        }
        wrong
    }

    /// Every crate reachable from one, with a path that leads there.
    fn reachable(&self, from: &str) -> BTreeMap<String, String> {
        let mut paths = BTreeMap::from([(from.to_owned(), from.to_owned())]);
        let mut open = vec![from.to_owned()];
        while let Some(at) = open.pop() {
            for next in self.edges.get(&at).into_iter().flatten() {
                if !paths.contains_key(next) {
                    paths.insert(next.clone(), format!("{} → {next}", paths[&at]));
                    open.push(next.clone());
                }
            }
        }
        paths
    }
}

/// Checks the workspace below `root`.
///
/// # Errors
/// An edge that must not be, each named.
pub fn check(root: &Path) -> Result<()> {
    let graph = Graph::from_metadata(&metadata(root)?)?;
    let wrong = graph.violations();
    if !wrong.is_empty() {
        bail!("arrows: {}", wrong.join("; "));
    }
    println!("arrows: {} crates checked, every edge allowed", graph.members.len());
    for (from, banned) in UNREACHABLE {
        println!("arrows: {from} does not reach {}", banned.join(", "));
    }
    Ok(())
}

/// The graph as it is built here: crates for other platforms are no edges.
fn metadata(root: &Path) -> Result<Value> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc cannot be started")?;
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host])
        .current_dir(root)
        .output()
        .context("cargo metadata cannot be started")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> Graph {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        Graph::from_metadata(&metadata(&root).unwrap()).unwrap()
    }

    #[test]
    fn the_workspace_has_no_forbidden_edge() {
        assert_eq!(workspace().violations(), Vec::<String>::new());
    }

    #[test]
    fn a_planted_edge_is_caught() {
        let mut graph = workspace();
        graph.edges.entry("promql".to_owned()).or_default().insert("tsdb".to_owned());
        let wrong = graph.violations();
        assert!(wrong.contains(&"promql uses tsdb, which it must not".to_owned()), "{wrong:?}");
        assert!(wrong.iter().any(|w| w.starts_with("promql reaches tsdb")), "{wrong:?}");
    }

    #[test]
    fn a_planted_indirect_edge_is_caught() {
        let mut graph = workspace();
        graph.edges.entry("roaring".to_owned()).or_default().insert("tokio".to_owned());
        assert!(
            graph.violations().iter().any(|w| w.starts_with("tsdb reaches tokio: tsdb → roaring → tokio"))
        );
    }

    #[test]
    fn a_crate_that_is_not_listed_is_caught() {
        let mut graph = workspace();
        graph.members.insert("newcomer".to_owned());
        assert!(graph.violations().iter().any(|w| w.starts_with("newcomer is not in the allow-list")));
    }
}
