//! `scrape_configs`: what is scraped, how, and what becomes of it.
//! Source: Prometheus `config/config.go`, `ScrapeConfig`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::block::{Block, Fields, block, zero_default};
use crate::decode::{Chosen, Step, Value, Walk};
use crate::discovery::{DiscoveryConfigs, check_static_targets};
use crate::global::GlobalConfig;
use crate::http_client::HttpClientConfig;
use crate::relabel::{RelabelRule, check_present, check_rules, compiled};
use crate::tree::{Node, NodeKind};
use crate::values::{ByteSize, Duration, join_dir, quoted};
use crate::yaml::Yaml;
use model::names::{EscapingScheme, ValidationScheme};
use model::relabel::RelabelConfig;

/// A form in which targets may answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ScrapeProtocol {
    /// Delimited protobuf messages.
    PrometheusProto,
    /// Prometheus text 0.0.4.
    PrometheusText0_0_4,
    /// Prometheus text 1.0.0.
    PrometheusText1_0_0,
    /// OpenMetrics text 0.0.1.
    OpenMetricsText0_0_1,
    /// OpenMetrics text 1.0.0.
    OpenMetricsText1_0_0,
    /// None of these; no loaded configuration has it.
    Unknown(String),
}

use ScrapeProtocol::{
    OpenMetricsText0_0_1, OpenMetricsText1_0_0, PrometheusProto, PrometheusText0_0_4, PrometheusText1_0_0,
};

/// What is asked for, best first, where nothing else is said.
pub const DEFAULT_PROTOCOLS: [ScrapeProtocol; 4] =
    [OpenMetricsText1_0_0, OpenMetricsText0_0_1, PrometheusText1_0_0, PrometheusText0_0_4];

/// What is asked for where native histograms are scraped.
pub const PROTO_FIRST_PROTOCOLS: [ScrapeProtocol; 5] =
    [PrometheusProto, OpenMetricsText1_0_0, OpenMetricsText0_0_1, PrometheusText1_0_0, PrometheusText0_0_4];

impl ScrapeProtocol {
    /// The name in the file.
    pub fn name(&self) -> &str {
        match self {
            PrometheusProto => "PrometheusProto",
            PrometheusText0_0_4 => "PrometheusText0.0.4",
            PrometheusText1_0_0 => "PrometheusText1.0.0",
            OpenMetricsText0_0_1 => "OpenMetricsText0.0.1",
            OpenMetricsText1_0_0 => "OpenMetricsText1.0.0",
            ScrapeProtocol::Unknown(name) => name,
        }
    }

    /// The protocol of that name.
    pub fn from_name(name: &str) -> ScrapeProtocol {
        let known = PROTO_FIRST_PROTOCOLS.into_iter().find(|protocol| protocol.name() == name);
        known.unwrap_or_else(|| ScrapeProtocol::Unknown(name.to_owned()))
    }

    /// What an `Accept` header says for it.
    pub fn media_type(&self) -> &'static str {
        match self {
            PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            PrometheusText0_0_4 => "text/plain;version=0.0.4",
            PrometheusText1_0_0 => "text/plain;version=1.0.0",
            OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
            OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
            ScrapeProtocol::Unknown(_) => "",
        }
    }

    fn check(&self) -> Result<(), String> {
        let ScrapeProtocol::Unknown(name) = self else { return Ok(()) };
        let mut known = PROTO_FIRST_PROTOCOLS.map(|protocol| protocol.name().to_owned());
        known.sort();
        Err(format!("unknown scrape protocol {name}, supported: [{}]", known.join(" ")))
    }
}

impl Value for ScrapeProtocol {
    fn zero() -> ScrapeProtocol {
        ScrapeProtocol::Unknown(String::new())
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<ScrapeProtocol> {
        if !matches!(node.kind, NodeKind::Scalar(_)) {
            walk.mistyped(node, "config.ScrapeProtocol");
            return None;
        }
        String::decode(node, walk).map(|name| ScrapeProtocol::from_name(&name))
    }

    fn encode(&self) -> Yaml {
        Yaml::Str(self.name().to_owned())
    }

    fn is_zero(&self) -> bool {
        matches!(self, ScrapeProtocol::Unknown(name) if name.is_empty())
    }
}

/// Checks a list of protocols.
pub(crate) fn check_protocols(protocols: &[ScrapeProtocol]) -> Result<(), String> {
    if protocols.is_empty() {
        return Err("scrape_protocols cannot be empty".to_owned());
    }
    let mut seen = std::collections::HashSet::new();
    for protocol in protocols {
        if !seen.insert(protocol.name().to_lowercase()) {
            let names: Vec<&str> = protocols.iter().map(ScrapeProtocol::name).collect();
            return Err(format!("duplicated protocol in scrape_protocols, got [{}]", names.join(" ")));
        }
        protocol.check().map_err(|fault| format!("scrape_protocols: {fault}"))?;
    }
    Ok(())
}

block! {
    /// One job.
    pub struct ScrapeConfig: "config.ScrapeConfig" {
        /// Its name, the `job` label of what it scrapes.
        job_name: String => always "job_name",
        /// Whether labels of the target win over the server's.
        honor_labels: bool => omit "honor_labels",
        /// Whether timestamps of the target are kept.
        honor_timestamps: bool => always "honor_timestamps",
        /// Whether series with own timestamps become stale when they vanish.
        track_timestamps_staleness: bool => always "track_timestamps_staleness",
        /// URL parameters.
        params: BTreeMap<String, Vec<String>> => omit "params",
        /// Time between two scrapes.
        scrape_interval: Duration => omit "scrape_interval",
        /// How long a scrape may take; never more than the interval.
        scrape_timeout: Duration => omit "scrape_timeout",
        /// What is asked for, best first; set once loaded.
        scrape_protocols: Option<Vec<ScrapeProtocol>> => omit "scrape_protocols",
        /// What an answer without a known type is taken for.
        fallback_scrape_protocol: Option<ScrapeProtocol> => omit "fallback_scrape_protocol",
        /// Whether native histograms are scraped; set once loaded.
        scrape_native_histograms: Option<bool> => omit "scrape_native_histograms",
        /// Whether classic histograms are kept beside native ones; set once loaded.
        always_scrape_classic_histograms: Option<bool> => omit "always_scrape_classic_histograms",
        /// Whether classic histograms become native ones; set once loaded.
        convert_classic_histograms_to_nhcb: Option<bool> => omit "convert_classic_histograms_to_nhcb",
        /// Where failed scrapes are logged.
        scrape_failure_log_file: String => omit "scrape_failure_log_file",
        /// The path of the URL.
        metrics_path: String => omit "metrics_path",
        /// `http` or `https`.
        scheme: String => omit "scheme",
        /// Whether compressed answers are asked for.
        enable_compression: bool => always "enable_compression",
        /// Bytes an answer may have, uncompressed; 0 is any.
        body_size_limit: ByteSize => omit "body_size_limit",
        /// Samples a scrape may yield after relabelling; 0 is any.
        sample_limit: u64 => omit "sample_limit",
        /// Targets the job may have after relabelling; 0 is any.
        target_limit: u64 => omit "target_limit",
        /// Labels a sample may have; 0 is any.
        label_limit: u64 => omit "label_limit",
        /// Bytes a label's name may have; 0 is any.
        label_name_length_limit: u64 => omit "label_name_length_limit",
        /// Bytes a label's value may have; 0 is any.
        label_value_length_limit: u64 => omit "label_value_length_limit",
        /// Buckets a native histogram may have; 0 is any.
        native_histogram_bucket_limit: u64 => omit "native_histogram_bucket_limit",
        /// The smallest growth from bucket to bucket; 0 is any.
        native_histogram_min_bucket_factor: f64 => omit "native_histogram_min_bucket_factor",
        /// How many dropped targets are remembered; 0 is all.
        keep_dropped_targets: u64 => omit "keep_dropped_targets",
        /// Which names are valid; set once loaded.
        metric_name_validation_scheme: Chosen<ValidationScheme> => omit "metric_name_validation_scheme",
        /// How other names are asked for; set once loaded.
        metric_name_escaping_scheme: Chosen<EscapingScheme> => omit "metric_name_escaping_scheme",
        /// Whether further series about each scrape are kept; set once loaded.
        extra_scrape_metrics: Option<bool> => omit "extra_scrape_metrics",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Rules for targets.
        relabel_configs: Vec<Option<RelabelRule>> => omit "relabel_configs",
        /// Rules for samples.
        metric_relabel_configs: Vec<Option<RelabelRule>> => omit "metric_relabel_configs",
        /// Where targets come from.
        discovery: DiscoveryConfigs => inline,
    }
}

impl Default for ScrapeConfig {
    fn default() -> ScrapeConfig {
        ScrapeConfig {
            metrics_path: "/metrics".to_owned(),
            scheme: "http".to_owned(),
            honor_timestamps: true,
            enable_compression: true,
            http_client: HttpClientConfig::default(),
            ..ScrapeConfig::zeroed()
        }
    }
}

impl Block for ScrapeConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.job_name.is_empty() {
            walk.invalid_field("job_name", "job_name is empty");
        }
        self.discovery.check_present(walk);
        self.http_client.check(walk);
        if self.relabel_configs.is_empty() {
            check_static_targets(&self.discovery, walk);
        }
        check_present(
            &self.relabel_configs,
            "relabel_configs",
            "target relabeling rule in scrape config",
            walk,
        );
        let what = "metric relabeling rule in scrape config";
        check_present(&self.metric_relabel_configs, "metric_relabel_configs", what, walk);
    }
}

impl ScrapeConfig {
    /// The rules for targets, compiled.
    pub fn relabel_rules(&self) -> Vec<RelabelConfig> {
        compiled(&self.relabel_configs)
    }

    /// The rules for samples, compiled.
    pub fn metric_relabel_rules(&self) -> Vec<RelabelConfig> {
        compiled(&self.metric_relabel_configs)
    }

    /// Which names are valid.
    pub fn name_scheme(&self) -> ValidationScheme {
        self.metric_name_validation_scheme.0.unwrap_or_default()
    }

    /// How other names are asked for.
    pub fn name_escaping(&self) -> EscapingScheme {
        self.metric_name_escaping_scheme.0.unwrap_or(EscapingScheme::NoEscaping)
    }

    /// What is asked for, best first.
    pub fn protocols(&self) -> &[ScrapeProtocol] {
        self.scrape_protocols.as_deref().unwrap_or(&DEFAULT_PROTOCOLS)
    }

    /// Joins relative paths with the folder of the file they stand in.
    pub fn set_directory(&mut self, dir: &Path) {
        self.discovery.set_directory(dir);
        self.http_client.set_directory(dir);
        join_dir(dir, &mut self.scrape_failure_log_file);
    }

    /// Fills what was left open from the global block and checks the rest.
    /// `walk` stands at this job.
    pub(crate) fn apply_global(&mut self, global: &GlobalConfig, walk: &mut Walk) {
        let job = format!("for scrape config with job name {}", quoted(&self.job_name));
        if self.scrape_interval.0 == 0 {
            self.scrape_interval = global.scrape_interval;
        }
        if self.scrape_timeout > self.scrape_interval {
            walk.invalid_field(
                "scrape_timeout",
                format!("scrape timeout greater than scrape interval {job}"),
            );
            return;
        }
        if self.scrape_timeout.0 == 0 {
            self.scrape_timeout = global.scrape_timeout.min(self.scrape_interval);
        }
        self.inherit_limits(global);
        if self.scrape_failure_log_file.is_empty() {
            self.scrape_failure_log_file.clone_from(&global.scrape_failure_log_file);
        }
        self.scrape_native_histograms = self.scrape_native_histograms.or(global.scrape_native_histograms);
        self.extra_scrape_metrics = self.extra_scrape_metrics.or(global.extra_scrape_metrics);
        self.choose_protocols(global, &job, walk);
        self.choose_names(global, walk);
        self.convert_classic_histograms_to_nhcb.get_or_insert(global.convert_classic_histograms_to_nhcb);
        self.always_scrape_classic_histograms.get_or_insert(global.always_scrape_classic_histograms);
        let scheme = self.name_scheme();
        check_rules(&mut self.relabel_configs, "relabel_configs", scheme, walk);
        check_rules(&mut self.metric_relabel_configs, "metric_relabel_configs", scheme, walk);
    }

    fn inherit_limits(&mut self, global: &GlobalConfig) {
        if self.body_size_limit.0 == 0 {
            self.body_size_limit = global.body_size_limit;
        }
        let limits = [
            (&mut self.sample_limit, global.sample_limit),
            (&mut self.target_limit, global.target_limit),
            (&mut self.label_limit, global.label_limit),
            (&mut self.label_name_length_limit, global.label_name_length_limit),
            (&mut self.label_value_length_limit, global.label_value_length_limit),
            (&mut self.keep_dropped_targets, global.keep_dropped_targets),
        ];
        for (own, inherited) in limits {
            if *own == 0 {
                *own = inherited;
            }
        }
    }

    fn choose_protocols(&mut self, global: &GlobalConfig, job: &str, walk: &mut Walk) {
        if self.scrape_protocols.is_none() {
            self.scrape_protocols = Some(match &global.scrape_protocols {
                Some(protocols) => protocols.clone(),
                None if self.scrape_native_histograms == Some(true) => PROTO_FIRST_PROTOCOLS.to_vec(),
                None => DEFAULT_PROTOCOLS.to_vec(),
            });
        }
        if let Err(fault) = check_protocols(self.protocols()) {
            walk.invalid_field("scrape_protocols", format!("{fault} {job}"));
        }
        let fallback = self.fallback_scrape_protocol.take().filter(|protocol| !protocol.is_zero());
        if let Some(Err(fault)) = fallback.as_ref().map(ScrapeProtocol::check) {
            let message = format!("invalid fallback_scrape_protocol {job}: {fault}");
            walk.invalid_field("fallback_scrape_protocol", message);
        }
        self.fallback_scrape_protocol = fallback;
    }

    fn choose_names(&mut self, global: &GlobalConfig, walk: &mut Walk) {
        let unset = self.metric_name_validation_scheme == Chosen::NONE;
        if unset {
            self.metric_name_validation_scheme = global.metric_name_validation_scheme;
        }
        let inferred = |scheme| match scheme {
            Some(ValidationScheme::Legacy) => EscapingScheme::Underscores,
            _ => EscapingScheme::NoEscaping,
        };
        if self.metric_name_escaping_scheme == Chosen::NONE {
            let escaping = match global.metric_name_escaping_scheme.0 {
                Some(escaping) if unset => escaping,
                _ => inferred(self.metric_name_validation_scheme.0),
            };
            self.metric_name_escaping_scheme = Chosen::some(escaping);
        }
        if self.metric_name_escaping_scheme == EscapingScheme::NoEscaping
            && self.metric_name_validation_scheme.0 != Some(ValidationScheme::Utf8)
        {
            let message = "utf8 metric names requested but validation scheme is not set to UTF8";
            walk.invalid_field("metric_name_escaping_scheme", message);
        }
    }
}

block! {
    /// A file named by `scrape_config_files`.
    pub struct ScrapeConfigFile: "config.ScrapeConfigs" {
        /// Its jobs.
        scrape_configs: Vec<Option<ScrapeConfig>> => omit "scrape_configs",
    }
}

zero_default!(ScrapeConfigFile);

impl Block for ScrapeConfigFile {}

/// Fills and checks a file's jobs; null ones are faults.
pub(crate) fn apply_global_to_all(jobs: &mut [Option<ScrapeConfig>], global: &GlobalConfig, walk: &mut Walk) {
    for (index, job) in jobs.iter_mut().enumerate() {
        match job {
            Some(job) => walk.within("scrape_configs", |walk| {
                walk.within(index, |walk| job.apply_global(global, walk));
            }),
            None => walk.invalid_at(
                [Step::from("scrape_configs"), index.into()],
                "empty or null scrape config section",
            ),
        }
    }
}
