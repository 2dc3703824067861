//! Finds upstream's test data, which lies beside the project, never in it.

use std::path::{Path, PathBuf};

/// The folder `name` of the conformance data: below `NARTHEX_CONFORMANCE`, else
/// below `../shared/conformance` seen from the workspace's root. `None`, with a
/// line that says so, where the data is absent: then the test returns.
///
/// # Panics
/// The data is there but this folder is not: a failure, not a skip.
pub fn conformance_dir(name: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("NARTHEX_CONFORMANCE") {
        Some(path) => PathBuf::from(path),
        None => workspace_root().join("../shared/conformance"),
    };
    if !root.is_dir() {
        println!("skipped: conformance data not found (set NARTHEX_CONFORMANCE)");
        return None;
    }
    let dir = root.join(name);
    assert!(dir.is_dir(), "{} is missing from the conformance data", dir.display());
    Some(dir)
}

fn workspace_root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR for tests");
    let mut dir = Path::new(&manifest).to_path_buf();
    while !dir.join("Cargo.lock").is_file() {
        assert!(dir.pop(), "the tests run inside the workspace, which has a Cargo.lock");
    }
    dir
}

/// The objects of a JSON Lines file.
///
/// # Panics
/// The file is missing or a line is no JSON.
pub fn json_lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .collect()
}
