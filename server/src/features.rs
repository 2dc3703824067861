//! The names that `--enable-feature` knows, and what is said of them at start.

use crate::flags::{FLAGS, Flags};
use crate::settings::SettingsError;

/// What the log says of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// It is on, and may change.
    Experimental,
    /// It does what was asked, and there is a better way to ask.
    Deprecated(&'static str),
    /// It is always on, or replaced: the name does nothing.
    NoOp(&'static str),
    /// Nothing acts on it yet.
    WithoutEffect,
}

use Said::{Deprecated, Experimental, NoOp, WithoutEffect};

const ALWAYS_ON: &str = "This option for --enable-feature is now permanently enabled and therefore a no-op.";

/// All features by name.
const FEATURES: &[(&str, Said)] = &[
    ("exemplar-storage", Experimental),
    ("memory-snapshot-on-shutdown", Experimental),
    (
        "extra-scrape-metrics",
        Deprecated(
            "This option for --enable-feature is being phased out: set extra_scrape_metrics in the configuration.",
        ),
    ),
    ("metadata-wal-records", Experimental),
    ("promql-per-step-stats", Experimental),
    (
        "auto-reload-config",
        Deprecated("This option for --enable-feature is deprecated. Use --config.auto-reload instead."),
    ),
    ("concurrent-rule-eval", WithoutEffect),
    ("promql-experimental-functions", Experimental),
    ("promql-duration-expr", NoOp(ALWAYS_ON)),
    (
        "native-histograms",
        NoOp(
            "This option for --enable-feature is a no-op: set scrape_native_histograms in the configuration.",
        ),
    ),
    ("ooo-native-histograms", NoOp(ALWAYS_ON)),
    ("created-timestamp-zero-ingestion", Experimental),
    ("st-storage", Experimental),
    ("st-synthesis", Experimental),
    ("use-start-timestamps", Experimental),
    (
        "xor2-encoding",
        Deprecated(
            "This option for --enable-feature is being phased out: set storage.tsdb.chunk_encoding.floats in the configuration.",
        ),
    ),
    ("histograms-st-encoding", Experimental),
    ("delayed-compaction", Experimental),
    ("promql-delayed-name-removal", Experimental),
    ("promql-extended-range-selectors", Experimental),
    ("promql-binop-fill-modifiers", Experimental),
    ("old-ui", WithoutEffect),
    ("otlp-deltatocumulative", WithoutEffect),
    ("otlp-native-delta-ingestion", WithoutEffect),
    ("type-and-unit-labels", Experimental),
    (
        "use-uncached-io",
        NoOp(
            "This option for --enable-feature is a no-op: what compaction writes never stays in the page cache.",
        ),
    ),
    ("fast-startup", Experimental),
    ("search-api", Experimental),
];

/// The names that do something now, for the help text.
pub fn names() -> String {
    let useful = FEATURES.iter().filter(|(_, said)| !matches!(said, NoOp(_) | WithoutEffect));
    useful.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Says what each feature that was asked for does.
///
/// # Errors
/// Two that exclude each other.
pub fn check(flags: &Flags) -> Result<(), SettingsError> {
    let mut idle = Vec::new();
    for feature in flags.features() {
        match FEATURES.iter().find(|(name, _)| *name == feature).map(|(_, said)| said) {
            Some(Experimental) => tracing::info!(option = feature, "Experimental feature enabled"),
            Some(Deprecated(text) | NoOp(text)) => tracing::warn!(option = feature, "{text}"),
            Some(WithoutEffect) => idle.push(feature),
            None => tracing::warn!(option = feature, "Unknown option for --enable-feature"),
        }
    }
    if !idle.is_empty() {
        tracing::warn!(features = idle.join(","), "these features have no effect yet");
    }
    if flags.has_feature("otlp-deltatocumulative") && flags.has_feature("otlp-native-delta-ingestion") {
        return Err(SettingsError {
            message: "Error parsing feature list: cannot enable otlp-deltatocumulative and otlp-native-delta-ingestion features at the same time".to_owned(),
            code: 1,
        });
    }
    Ok(())
}

/// Flags, or families of them, that nothing acts on yet.
const FLAGS_WITHOUT_EFFECT: &[&str] = &[
    "storage.remote.",
    "rules.",
    "alertmanager.",
    "web.enable-otlp-receiver",
    "storage.tsdb.head-chunks-write-queue-size",
];

/// Names once, in the log, the flags that were given and have no effect yet.
pub fn warn_of_idle_flags(flags: &Flags) {
    let given = FLAGS.iter().map(|flag| flag.name).filter(|name| flags.is_given(name));
    let names: Vec<&str> =
        given.filter(|name| FLAGS_WITHOUT_EFFECT.iter().any(|none| name.starts_with(none))).collect();
    if !names.is_empty() {
        tracing::warn!(flags = names.join(","), "these flags have no effect yet");
    }
}
