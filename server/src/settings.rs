//! From flags to the settings of each part.

use std::path::PathBuf;
use std::time::Duration;

use config::storage::RetentionConfig;
use config::{ByteSize, Config};
use model::admin::RuntimeSettings;
use model::query::ChunkEncoding;
use model::time::PromDuration;

use crate::environment::Environment;
use crate::flags::Flags;

/// Memory is bounded by this much where nothing says otherwise and the machine
/// does not tell how much it has.
const MEMORY_FALLBACK_BYTES: u64 = 4 << 30;

/// Settings that cannot be used; the process ends with the code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SettingsError {
    /// What is wrong.
    pub message: String,
    /// The exit code.
    pub code: u8,
}

fn fatal(code: u8, message: impl Into<String>) -> SettingsError {
    SettingsError { message: message.into(), code }
}

/// The ceiling of memory in bytes: the flag, else a share of what the container
/// or the machine has.
///
/// # Errors
/// The share is none.
pub fn memory_limit(flags: &Flags, environment: &Environment) -> Result<u64, SettingsError> {
    let ratio = flags.number("auto-gomemlimit.ratio");
    if !(ratio > 0.0 && ratio <= 1.0) {
        return Err(fatal(1, "--auto-gomemlimit.ratio must be greater than 0 and less than or equal to 1."));
    }
    if let Some(bytes) = flags.bytes("memory.limit") {
        return Ok(bytes);
    }
    if !flags.bool("auto-gomemlimit") {
        return Ok(u64::MAX);
    }
    Ok((environment.memory_bytes.unwrap_or(MEMORY_FALLBACK_BYTES) as f64 * ratio) as u64)
}

/// Where the server is reached from outside: (URL, route prefix).
///
/// # Errors
/// The flag is no URL.
pub fn external_url(flags: &Flags, environment: &Environment) -> Result<(String, String), SettingsError> {
    let given = flags.text("web.external-url");
    let quoted = |c: char| c == '"' || c == '\'';
    if given.starts_with(quoted) || given.ends_with(quoted) {
        return Err(fatal(2, "URL must not begin or end with quotes"));
    }
    let addresses = flags.texts("web.listen-address");
    let port = addresses.first().map_or("9090", |address| listen_port(address));
    let url = match given {
        "" => format!("http://{}:{port}/", environment.hostname),
        url => url.to_owned(),
    };
    let parsed =
        url::Url::parse(&url).map_err(|error| fatal(2, format!("parse external URL \"{url}\": {error}")))?;
    let path = parsed.path().trim_end_matches('/').to_owned();
    let prefix = match flags.text("web.route-prefix") {
        "" => path,
        prefix => prefix.trim_matches('/').to_owned(),
    };
    let prefix = format!("/{}", prefix.trim_matches('/'));
    Ok((url.trim_end_matches('/').to_owned(), prefix))
}

/// The port of a listen address.
pub fn listen_port(address: &str) -> &str {
    address.rsplit_once(':').map_or("9090", |(_, port)| port)
}

/// What the deprecated retention flags say; the file's own block replaces all of it.
pub fn retention_flags(flags: &Flags) -> RetentionConfig {
    let time_ms = flags.duration_ms("storage.tsdb.retention.time");
    let size = flags.bytes("storage.tsdb.retention.size").and_then(|bytes| i64::try_from(bytes).ok());
    RetentionConfig {
        time: PromDuration(time_ms),
        size: ByteSize(size.unwrap_or(0)),
        ..RetentionConfig::default()
    }
}

/// Settings of the store that a reload may change.
///
/// # Errors
/// A value passes its range.
pub fn runtime_settings(flags: &Flags, config: &Config) -> Result<RuntimeSettings, SettingsError> {
    let tsdb = config.storage.tsdb.as_ref();
    let retention = tsdb.and_then(|tsdb| tsdb.retention.as_ref());
    let time_ms = retention.map(|retention| retention.time.0).filter(|&ms| ms != 0);
    let size = retention.map(|retention| retention.size.0).filter(|&bytes| bytes > 0);
    let percentage = retention.map(|retention| retention.percentage).filter(|&p| p > 0.0);
    // Nothing is said at all: upstream's fifteen days.
    let time_ms = match (time_ms, size, percentage) {
        (None, None, None) => Some(15 * 24 * 3_600_000),
        (time, ..) => time,
    };
    const YEARS_100_MS: i64 = 100 * 365 * 24 * 3_600_000;
    let time_ms = time_ms.map(|ms| if ms < 0 { YEARS_100_MS } else { ms });
    let millis = |ms: i64| Duration::from_millis(ms.max(0).unsigned_abs());
    let exemplars = config.storage.exemplars.as_ref().map_or(100_000, |exemplars| exemplars.max_exemplars);
    let exemplars = if flags.has_feature("exemplar-storage") { exemplars } else { 0 };
    let xor2 = flags.has_feature("xor2-encoding") || flags.has_feature("st-storage");
    let float_encoding = match tsdb.map_or("", |tsdb| tsdb.chunk_encoding.floats.as_str()) {
        "xor2" => ChunkEncoding::Xor2,
        "" if xor2 => ChunkEncoding::Xor2,
        "" => ChunkEncoding::Xor,
        _ if flags.has_feature("st-storage") => {
            return Err(fatal(1, "the st-storage feature needs 'storage.tsdb.chunk_encoding.floats: xor2'"));
        }
        _ => ChunkEncoding::Xor,
    };
    Ok(RuntimeSettings {
        retention_time: time_ms.filter(|&ms| ms > 0).map(millis),
        retention_bytes: size.and_then(|bytes| u64::try_from(bytes).ok()),
        retention_percentage: percentage,
        out_of_order_window: millis(tsdb.map_or(0, |tsdb| tsdb.out_of_order_time_window.0)),
        max_exemplars: usize::try_from(exemplars).unwrap_or(0),
        stale_series_compaction_threshold: tsdb.map_or(0.0, |tsdb| tsdb.stale_series_compaction_threshold),
        float_encoding,
    })
}

/// Where samples are kept.
pub fn data_dir(flags: &Flags) -> PathBuf {
    PathBuf::from(flags.text("storage.tsdb.path"))
}

/// Facts of the build for the API, in upstream's order.
pub fn build_facts() -> Vec<(&'static str, String)> {
    let build = crate::build::INFO;
    vec![
        ("version", build.version.to_owned()),
        ("revision", build.revision.to_owned()),
        ("branch", build.branch.to_owned()),
        ("buildUser", build.user.to_owned()),
        ("buildDate", build.date.to_owned()),
        ("goVersion", build.compiler.to_owned()),
    ]
}

/// Features that are known, by name; those that do something say what they switch.
const FEATURES: &[&str] = &[
    "exemplar-storage",
    "memory-snapshot-on-shutdown",
    "extra-scrape-metrics",
    "metadata-wal-records",
    "promql-per-step-stats",
    "auto-reload-config",
    "concurrent-rule-eval",
    "promql-experimental-functions",
    "promql-duration-expr",
    "native-histograms",
    "ooo-native-histograms",
    "created-timestamp-zero-ingestion",
    "st-storage",
    "st-synthesis",
    "use-start-timestamps",
    "xor2-encoding",
    "histograms-st-encoding",
    "delayed-compaction",
    "promql-delayed-name-removal",
    "promql-extended-range-selectors",
    "promql-binop-fill-modifiers",
    "old-ui",
    "otlp-deltatocumulative",
    "otlp-native-delta-ingestion",
    "type-and-unit-labels",
    "use-uncached-io",
    "fast-startup",
    "search-api",
];

/// Features without effect any more, which upstream answers with a warning.
const NO_OPS: &[&str] = &["promql-duration-expr", "native-histograms", "ooo-native-histograms"];

/// Warns about features that do not exist or do nothing.
///
/// # Errors
/// Two that exclude each other.
pub fn check_features(flags: &Flags) -> Result<(), SettingsError> {
    for feature in flags.features() {
        if !FEATURES.contains(&feature.as_str()) {
            tracing::warn!(option = feature, "Unknown option for --enable-feature");
        } else if NO_OPS.contains(&feature.as_str()) {
            tracing::warn!(
                option = feature,
                "This option for --enable-feature is now permanently enabled and therefore a no-op."
            );
        }
    }
    if flags.has_feature("otlp-deltatocumulative") && flags.has_feature("otlp-native-delta-ingestion") {
        return Err(fatal(
            1,
            "cannot enable otlp-deltatocumulative and otlp-native-delta-ingestion features at the same time",
        ));
    }
    Ok(())
}

/// Flags, or families of them, that nothing acts on yet.
const WITHOUT_EFFECT: &[&str] = &[
    "storage.remote.",
    "rules.",
    "alertmanager.",
    "web.console.",
    "web.enable-otlp-receiver",
    "storage.tsdb.head-chunks-write-queue-size",
    "auto-gomaxprocs",
    "auto-gomemlimit.refresh-interval",
];

/// Features that nothing acts on yet.
const FEATURES_WITHOUT_EFFECT: &[&str] =
    &["concurrent-rule-eval", "old-ui", "otlp-deltatocumulative", "otlp-native-delta-ingestion"];

/// Names once, in the log, what was asked for and has no effect yet.
pub fn warn_without_effect(flags: &Flags) {
    let given = crate::flags::FLAGS.iter().map(|flag| flag.name).filter(|name| flags.is_given(name));
    let names: Vec<&str> =
        given.filter(|name| WITHOUT_EFFECT.iter().any(|none| name.starts_with(none))).collect();
    if !names.is_empty() {
        tracing::warn!(flags = names.join(","), "these flags have no effect yet");
    }
    let features: Vec<String> = flags
        .features()
        .into_iter()
        .filter(|name| FEATURES_WITHOUT_EFFECT.contains(&name.as_str()))
        .collect();
    if !features.is_empty() {
        tracing::warn!(features = features.join(","), "these features have no effect yet");
    }
}
