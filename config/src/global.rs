//! `global` and `runtime`.
//! Source: Prometheus `config/config.go`, `GlobalConfig`.

use std::path::Path;

use crate::block::{Block, Fields, block};
use crate::decode::{Chosen, Walk};
use crate::defaults::Defaults;
use crate::names::LabelSet;
use crate::scrape::{ScrapeProtocol, check_protocols};
use crate::values::{ByteSize, Duration, join_dir, quoted};
use model::names::{EscapingScheme, ValidationScheme};

block! {
    /// What holds for all jobs and rules that say nothing else. The limits are
    /// those of a job ([`crate::ScrapeConfig`]).
    pub struct GlobalConfig: "config.plain" {
        /// Time between two scrapes.
        scrape_interval: Duration => omit "scrape_interval",
        /// How long a scrape may take.
        scrape_timeout: Duration => omit "scrape_timeout",
        /// What targets are asked for, best first.
        scrape_protocols: Option<Vec<ScrapeProtocol>> => omit "scrape_protocols",
        /// Time between two evaluations of a rule group.
        evaluation_interval: Duration => omit "evaluation_interval",
        /// How far in the past rules are evaluated.
        rule_query_offset: Duration => omit "rule_query_offset",
        /// Where queries are logged.
        query_log_file: String => omit "query_log_file",
        /// Where failed scrapes are logged.
        scrape_failure_log_file: String => omit "scrape_failure_log_file",
        /// Labels of this server towards others.
        external_labels: LabelSet => omit "external_labels",
        /// Bytes an answer may have, uncompressed.
        body_size_limit: ByteSize => omit "body_size_limit",
        /// Samples a scrape may yield.
        sample_limit: u64 => omit "sample_limit",
        /// Targets a job may have.
        target_limit: u64 => omit "target_limit",
        /// Labels a sample may have.
        label_limit: u64 => omit "label_limit",
        /// Bytes a label's name may have.
        label_name_length_limit: u64 => omit "label_name_length_limit",
        /// Bytes a label's value may have.
        label_value_length_limit: u64 => omit "label_value_length_limit",
        /// How many dropped targets are remembered per job.
        keep_dropped_targets: u64 => omit "keep_dropped_targets",
        /// Which names are valid.
        metric_name_validation_scheme: Chosen<ValidationScheme> => omit "metric_name_validation_scheme",
        /// How other names are asked for.
        metric_name_escaping_scheme: Chosen<EscapingScheme> => omit "metric_name_escaping_scheme",
        /// Whether native histograms are scraped.
        scrape_native_histograms: Option<bool> => omit "scrape_native_histograms",
        /// Whether classic histograms become native ones.
        convert_classic_histograms_to_nhcb: bool => omit "convert_classic_histograms_to_nhcb",
        /// Whether classic histograms are kept beside native ones.
        always_scrape_classic_histograms: bool => omit "always_scrape_classic_histograms",
        /// Whether further series about each scrape are kept.
        extra_scrape_metrics: Option<bool> => omit "extra_scrape_metrics",
    }
}

const SCRAPE_INTERVAL: Duration = model::time::PromDuration(60_000);
const SCRAPE_TIMEOUT: Duration = model::time::PromDuration(10_000);
const EVALUATION_INTERVAL: Duration = model::time::PromDuration(60_000);

/// An empty block: its defaults are filled in by [`Block::finish`], as the
/// block's presence changes one of them.
impl Default for GlobalConfig {
    fn default() -> GlobalConfig {
        GlobalConfig::zeroed()
    }
}

impl Block for GlobalConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.metric_name_validation_scheme == Chosen::NONE {
            self.metric_name_validation_scheme = Chosen::some(ValidationScheme::Utf8);
        }
        for (name, _) in self.external_labels.iter() {
            if !self.name_scheme().is_valid_label_name(name) {
                walk.invalid_at(
                    ["external_labels".into(), name.into()],
                    format!("{} is not a valid label name", quoted(name)),
                );
            }
        }
        if self.scrape_interval.0 == 0 {
            self.scrape_interval = SCRAPE_INTERVAL;
        }
        if self.scrape_timeout > self.scrape_interval {
            walk.invalid_field("scrape_timeout", "global scrape timeout greater than scrape interval");
        }
        if self.scrape_timeout.0 == 0 {
            self.scrape_timeout = SCRAPE_TIMEOUT.min(self.scrape_interval);
        }
        if self.evaluation_interval.0 == 0 {
            self.evaluation_interval = EVALUATION_INTERVAL;
        }
        self.scrape_native_histograms.get_or_insert(false);
        self.extra_scrape_metrics.get_or_insert(walk.defaults.extra_scrape_metrics);
        if self.scrape_protocols.is_none() {
            self.scrape_protocols = walk.defaults.protocols();
        }
        if let Some(Err(fault)) = self.scrape_protocols.as_deref().map(check_protocols) {
            walk.invalid_field("scrape_protocols", format!("{fault} for global config"));
        }
    }
}

impl GlobalConfig {
    /// What holds where there is no `global` block, or an empty one.
    pub fn absent(defaults: &Defaults) -> GlobalConfig {
        GlobalConfig {
            scrape_protocols: defaults.protocols(),
            scrape_interval: SCRAPE_INTERVAL,
            scrape_timeout: SCRAPE_TIMEOUT,
            evaluation_interval: EVALUATION_INTERVAL,
            scrape_native_histograms: Some(false),
            extra_scrape_metrics: Some(defaults.extra_scrape_metrics),
            metric_name_validation_scheme: Chosen::some(ValidationScheme::Utf8),
            metric_name_escaping_scheme: Chosen::some(EscapingScheme::NoEscaping),
            ..GlobalConfig::zeroed()
        }
    }

    /// Which names are valid.
    pub fn name_scheme(&self) -> ValidationScheme {
        self.metric_name_validation_scheme.0.unwrap_or_default()
    }

    /// Joins relative paths with the folder of the file they stand in.
    pub fn set_directory(&mut self, dir: &Path) {
        join_dir(dir, &mut self.query_log_file);
        join_dir(dir, &mut self.scrape_failure_log_file);
    }
}

block! {
    /// The process itself.
    pub struct RuntimeConfig: "config.RuntimeConfig" {
        /// Go's garbage collection target; kept and shown, without effect here.
        gogc: i64 => omit "gogc",
    }
}

/// Go's default target.
pub const GOGC_DEFAULT: i64 = 75;

impl Default for RuntimeConfig {
    fn default() -> RuntimeConfig {
        RuntimeConfig { gogc: GOGC_DEFAULT }
    }
}

impl Block for RuntimeConfig {}
