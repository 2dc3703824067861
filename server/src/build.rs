//! What this build is, and which Prometheus it stands in for.

/// Facts of the build, as `--version` and `/api/v1/status/buildinfo` tell them.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// The Prometheus version whose behaviour this is: clients decide by it.
    pub version: &'static str,
    /// Narthex' own version, shown as the revision.
    pub revision: &'static str,
    /// The branch.
    pub branch: &'static str,
    /// Who built it.
    pub user: &'static str,
    /// When; not recorded, so that builds can be repeated bit for bit.
    pub date: &'static str,
    /// The compiler, where clients expect Go's version.
    pub compiler: &'static str,
    /// Operating system and processor.
    pub platform: &'static str,
    /// Tags of the build.
    pub tags: &'static str,
}

/// This build.
pub const INFO: BuildInfo = BuildInfo {
    version: "3.14.0",
    revision: concat!("narthex-", env!("CARGO_PKG_VERSION")),
    branch: "HEAD",
    user: "narthex",
    date: "unknown",
    compiler: concat!("rust", env!("CARGO_PKG_RUST_VERSION")),
    platform: if cfg!(target_arch = "x86_64") { "linux/amd64" } else { "linux/arm64" },
    tags: "narthex",
};
