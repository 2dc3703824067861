//! `storage`, `tracing` and `otlp`.
//! Source: Prometheus `config/config.go`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::block::{Block, Fields, block, choice, zero_default};
use crate::decode::{Chosen, Value, Walk};
use crate::remote::is_reserved_header;
use crate::tls::TlsConfig;
use crate::tree::Node;
use crate::values::{ByteSize, Duration, quoted};
use crate::yaml::{Yaml, float_text};

block! {
    /// What is kept, how.
    pub struct StorageConfig: "config.StorageConfig" {
        /// Samples; set once loaded.
        tsdb: Option<TsdbConfig> => omit "tsdb",
        /// Exemplars.
        exemplars: Option<ExemplarsConfig> => omit "exemplars",
    }
}

block! {
    /// Samples on disk.
    pub struct TsdbConfig: "config.plain" {
        /// [`TsdbConfig::out_of_order_time_window`] in milliseconds, under the
        /// name that upstream prints.
        out_of_order_time_window_ms: i64 => always "outofordertimewindow",
        /// How far in the past samples may still come in.
        out_of_order_time_window: Duration => omit "out_of_order_time_window",
        /// The share of stale series, 0 to 1, at which the head is compacted; 0 is never.
        stale_series_compaction_threshold: f64 => omit "stale_series_compaction_threshold",
        /// How chunks are encoded.
        chunk_encoding: ChunkEncodingConfig => omit "chunk_encoding",
        /// How long samples are kept; set once loaded.
        retention: Option<RetentionConfig> => omit "retention",
    }
}

block! {
    /// How chunks are encoded.
    pub struct ChunkEncodingConfig: "config.ChunkEncodingConfig" {
        /// `xor`, `xor2`, or empty: what the flags say.
        floats: String => omit "floats",
    }
}

block! {
    /// How long samples are kept. A block that is present replaces the flags.
    pub struct RetentionConfig: "config.plain" {
        /// By age; 0 is any.
        time: Duration => omit "time",
        /// By bytes of all blocks; 0 is any.
        size: ByteSize => omit "size",
        /// By share of the disk in percent, instead of `size`; 0 is any.
        percentage: f64 => omit "percentage",
    }
}

block! {
    /// Exemplars in memory.
    pub struct ExemplarsConfig: "config.ExemplarsConfig" {
        /// How many; none at 0 or below.
        max_exemplars: i64 => omit "max_exemplars",
    }
}

zero_default!(StorageConfig, TsdbConfig, ChunkEncodingConfig, RetentionConfig, ExemplarsConfig);

impl Block for StorageConfig {}
impl Block for ChunkEncodingConfig {}
impl Block for ExemplarsConfig {}

impl Block for TsdbConfig {
    fn finish(&mut self, walk: &mut Walk) {
        self.out_of_order_time_window_ms = self.out_of_order_time_window.0;
        let floats = &self.chunk_encoding.floats;
        if !matches!(floats.as_str(), "" | "xor" | "xor2") {
            walk.invalid_at(
                ["chunk_encoding".into(), "floats".into()],
                format!(
                    "'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be \
                     omitted entirely, got {}",
                    quoted(floats)
                ),
            );
        }
        self.retention.get_or_insert_with(|| walk.defaults.retention.clone());
    }
}

impl Block for RetentionConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.size.0 < 0 {
            let message = format!(
                "'storage.tsdb.retention.size' must be greater than or equal to 0, got {}",
                self.size
            );
            walk.invalid_field("size", message);
        }
        if !(0.0..=100.0).contains(&self.percentage) && !self.percentage.is_nan() {
            let got = float_text(self.percentage);
            let message =
                format!("'storage.tsdb.retention.percentage' must be in the range [0, 100], got {got}");
            walk.invalid_field("percentage", message);
        }
    }
}

choice! {
    /// How traces are sent.
    pub enum TracingClient: |text| {
        format!("expected tracing client type to be to be http or grpc, but got {text}")
    } => {
        /// OTLP over HTTP.
        Http = "http",
        /// OTLP over gRPC.
        Grpc = "grpc",
    }
}

block! {
    /// Where the server's own traces go.
    pub struct TracingConfig: "config.plain" {
        /// How they are sent.
        client_type: Chosen<TracingClient> => omit "client_type",
        /// Where; no tracing while empty.
        endpoint: String => omit "endpoint",
        /// The share of requests that are traced, 0 to 1.
        sampling_fraction: f64 => omit "sampling_fraction",
        /// Whether TLS is left out.
        insecure: bool => omit "insecure",
        /// TLS.
        tls_config: TlsConfig => omit "tls_config",
        /// Further headers.
        headers: BTreeMap<String, String> => omit "headers",
        /// `gzip` or empty.
        compression: String => omit "compression",
        /// How long sending may take; 0 is the exporter's own.
        timeout: Duration => omit "timeout",
    }
}

/// A block that is present; [`Fields::zeroed`] is the absent one.
impl Default for TracingConfig {
    fn default() -> TracingConfig {
        TracingConfig { client_type: Chosen::some(TracingClient::Grpc), ..TracingConfig::zeroed() }
    }
}

impl Block for TracingConfig {
    fn finish(&mut self, walk: &mut Walk) {
        for name in self.headers.keys() {
            if name.eq_ignore_ascii_case("authorization") {
                walk.invalid_field(
                    "headers",
                    "custom authorization header configuration is not yet supported",
                );
            } else if is_reserved_header(name) {
                walk.invalid_field("headers", format!("{name} is a reserved header. It must not be changed"));
            }
        }
        if self.endpoint.is_empty() {
            walk.invalid("tracing endpoint must be set");
        }
        if !matches!(self.compression.as_str(), "" | "gzip") {
            let message =
                format!("invalid compression type {} provided, valid options: gzip", self.compression);
            walk.invalid_field("compression", message);
        }
    }
}

impl TracingConfig {
    /// Joins relative paths with the folder of the file they stand in.
    pub fn set_directory(&mut self, dir: &Path) {
        self.tls_config.set_directory(dir);
    }
}

/// How OTLP names become metric names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TranslationStrategy {
    /// Underscores, with unit and type suffixes.
    UnderscoreEscapingWithSuffixes,
    /// Underscores, without suffixes.
    UnderscoreEscapingWithoutSuffixes,
    /// As they are, with suffixes.
    NoUtf8EscapingWithSuffixes,
    /// As they are.
    NoTranslation,
    /// None of these; no loaded configuration has it.
    Unknown(String),
}

impl TranslationStrategy {
    const KNOWN: [TranslationStrategy; 4] = [
        TranslationStrategy::UnderscoreEscapingWithSuffixes,
        TranslationStrategy::UnderscoreEscapingWithoutSuffixes,
        TranslationStrategy::NoUtf8EscapingWithSuffixes,
        TranslationStrategy::NoTranslation,
    ];

    /// The name in the file.
    pub fn name(&self) -> &str {
        match self {
            TranslationStrategy::UnderscoreEscapingWithSuffixes => "UnderscoreEscapingWithSuffixes",
            TranslationStrategy::UnderscoreEscapingWithoutSuffixes => "UnderscoreEscapingWithoutSuffixes",
            TranslationStrategy::NoUtf8EscapingWithSuffixes => "NoUTF8EscapingWithSuffixes",
            TranslationStrategy::NoTranslation => "NoTranslation",
            TranslationStrategy::Unknown(name) => name,
        }
    }

    /// Whether names keep characters beyond the older set.
    pub fn keeps_utf8(&self) -> bool {
        matches!(self, TranslationStrategy::NoUtf8EscapingWithSuffixes | TranslationStrategy::NoTranslation)
    }
}

impl Value for TranslationStrategy {
    fn zero() -> TranslationStrategy {
        TranslationStrategy::Unknown(String::new())
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<TranslationStrategy> {
        let name = String::decode(node, walk)?;
        let known = TranslationStrategy::KNOWN.into_iter().find(|strategy| strategy.name() == name);
        Some(known.unwrap_or(TranslationStrategy::Unknown(name)))
    }

    fn encode(&self) -> Yaml {
        Yaml::Str(self.name().to_owned())
    }

    fn is_zero(&self) -> bool {
        self.name().is_empty()
    }
}

block! {
    /// How OTLP data is taken in.
    pub struct OtlpConfig: "config.plain" {
        /// Whether all resource attributes become labels.
        promote_all_resource_attributes: bool => omit "promote_all_resource_attributes",
        /// The resource attributes that become labels.
        promote_resource_attributes: Vec<String> => omit "promote_resource_attributes",
        /// The resource attributes that do not, where all others do.
        ignore_resource_attributes: Vec<String> => omit "ignore_resource_attributes",
        /// How names are translated.
        translation_strategy: TranslationStrategy => omit "translation_strategy",
        /// Whether the attributes that make `job` and `instance` stay in `target_info`.
        keep_identifying_resource_attributes: bool => omit "keep_identifying_resource_attributes",
        /// Whether explicit histograms become native ones.
        convert_histograms_to_nhcb: bool => omit "convert_histograms_to_nhcb",
        /// Whether scope name, version, schema and attributes become labels.
        promote_scope_metadata: bool => omit "promote_scope_metadata",
        /// Whether labels that start with `_` get a `key` in front.
        label_name_underscore_sanitization: bool => omit "label_name_underscore_sanitization",
        /// Whether several underscores in a row stay.
        label_name_preserve_multiple_underscores: bool => omit "label_name_preserve_multiple_underscores",
    }
}

impl Default for OtlpConfig {
    fn default() -> OtlpConfig {
        OtlpConfig {
            translation_strategy: TranslationStrategy::UnderscoreEscapingWithSuffixes,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
            ..OtlpConfig::zeroed()
        }
    }
}

impl Block for OtlpConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.promote_all_resource_attributes {
            if !self.promote_resource_attributes.is_empty() {
                walk.invalid(
                    "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be \
                     configured simultaneously",
                );
            } else if let Err(fault) = clean_attributes(&mut self.ignore_resource_attributes, "ignored") {
                let field = "ignore_resource_attributes";
                walk.invalid_field(field, format!("invalid '{field}': {fault}"));
            }
        } else if !self.ignore_resource_attributes.is_empty() {
            walk.invalid_field(
                "ignore_resource_attributes",
                "'ignore_resource_attributes' cannot be configured unless \
                 'promote_all_resource_attributes' is true",
            );
        } else if let Err(fault) = clean_attributes(&mut self.promote_resource_attributes, "promoted") {
            let field = "promote_resource_attributes";
            walk.invalid_field(field, format!("invalid '{field}': {fault}"));
        }
    }
}

/// Trims attribute names; empty and repeated ones are faults, one a line.
fn clean_attributes(attributes: &mut [String], adjective: &str) -> Result<(), String> {
    let mut seen = std::collections::HashSet::new();
    let mut faults = Vec::new();
    for attribute in attributes.iter_mut() {
        let trimmed = attribute.trim().to_owned();
        if trimmed.is_empty() {
            faults.push(format!("empty {adjective} OTel resource attribute"));
        } else if !seen.insert(trimmed.clone()) {
            faults.push(format!("duplicated {adjective} OTel resource attribute {}", quoted(&trimmed)));
        } else {
            *attribute = trimmed;
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}
