//! `cargo xtask ci | arrows | tidy`: the checks of this repository.

#![forbid(unsafe_code)]

mod arrows;
mod tidy;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask ci [--skip-tests] | arrows | tidy";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["ci"] => ci(true),
        ["ci", "--skip-tests"] => ci(false),
        ["arrows"] => arrows::check(&root()),
        ["tidy"] => tidy::check(&root()),
        _ => bail!(USAGE),
    }
}

/// All checks, cheapest first; the first that fails ends the run.
fn ci(tests: bool) -> Result<()> {
    arrows::check(&root())?;
    tidy::check(&root())?;
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])?;
    if tests {
        cargo(&["test", "--workspace", "--locked"], &[])?;
    }
    cargo(&["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings")])?;
    println!("ci: all checks passed");
    Ok(())
}

fn cargo(args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    println!("$ cargo {}", args.join(" "));
    let status = Command::new(env!("CARGO"))
        .args(args)
        .envs(env.iter().copied())
        .current_dir(root())
        .status()
        .context("cargo cannot be started")?;
    if !status.success() {
        bail!("cargo {} failed: {status}", args.join(" "));
    }
    Ok(())
}

fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(PathBuf::from).unwrap_or(manifest)
}
