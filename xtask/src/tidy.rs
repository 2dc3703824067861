//! What a compiler does not check: module headers, links between documents,
//! left-over markers, files that grew past their seam, paths of one machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A Rust file longer than this has a seam that nobody looked for.
const LINES_MAX: usize = 1200;

/// Checks every file that git knows below `root`.
///
/// # Errors
/// Everything that is untidy, each with its place.
pub fn check(root: &Path) -> Result<()> {
    let files = tracked(root)?;
    let mut wrong = Vec::new();
    for file in &files {
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        wrong.extend(untidy(root, file, &text));
    }
    if !wrong.is_empty() {
        bail!("tidy:\n  {}", wrong.join("\n  "));
    }
    println!("tidy: {} files checked", files.len());
    Ok(())
}

fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root)
        .output()
        .context("git cannot be started")?;
    if !output.status.success() {
        bail!("git ls-files failed");
    }
    let names = String::from_utf8(output.stdout).context("a file's name is no UTF-8")?;
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

/// What is wrong with one file.
fn untidy(root: &Path, file: &Path, text: &str) -> Vec<String> {
    let shown = file.display();
    let mut wrong = Vec::new();
    if file.extension().is_some_and(|e| e == "rs") {
        if !text.starts_with("//!") {
            wrong.push(format!("{shown}:1: a file opens with //! and says what it holds"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{shown}: {lines} lines, find the seam"));
        }
        for (number, line) in text.lines().enumerate() {
            if let Some(marker) = left_over(line) {
                wrong.push(format!("{shown}:{}: {marker}", number + 1));
            }
        }
    }
    if file.extension().is_some_and(|e| e == "md") {
        for (number, target) in local_links(text) {
            let dir = root.join(file).parent().map(Path::to_path_buf).unwrap_or_default();
            if !dir.join(&target).exists() {
                wrong.push(format!("{shown}:{number}: the link {target} leads nowhere"));
            }
        }
    }
    wrong
}

fn left_over(line: &str) -> Option<&'static str> {
    // Assembled, so that this file does not find itself.
    let markers = [
        (concat!("TO", "DO"), "an open to-do belongs in an issue"),
        (concat!("FIX", "ME"), "an open fault belongs in an issue"),
        (concat!("#[", "ignore"), "a test that never runs checks nothing"),
    ];
    markers.into_iter().find(|(marker, _)| line.contains(marker)).map(|(_, why)| why)
}

/// Links of a Markdown text to files beside it, with their line numbers.
fn local_links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for part in line.split("](").skip(1) {
            let target = part.split([')', '#', ' ']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                links.push((number + 1, target.to_owned()));
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_header_or_with_a_marker_is_untidy() {
        let marker = concat!("// TO", "DO later");
        let found = untidy(Path::new("."), Path::new("a.rs"), &format!("fn main() {{}}\n{marker}\n"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(untidy(Path::new("."), Path::new("a.rs"), "//! Fine.\n").is_empty());
    }

    #[test]
    fn a_dead_link_is_untidy_and_a_link_in_code_is_none() {
        let text = "[x](no/such/file.md)\n```\n[y](nor/this)\n```\n[z](https://example.org)\n";
        assert_eq!(local_links(text), [(1, "no/such/file.md".to_owned())]);
    }
}
