//! What a job's configuration means for its scrapes.

use std::sync::Arc;
use std::time::Duration;

use config::ScrapeProtocol;
use model::names::EscapingScheme;
use model::relabel::RelabelConfig;

use crate::exposition::Format;

/// A job: its configuration, and what is derived from it once.
#[derive(Clone, Debug)]
pub struct Job {
    /// The configuration as loaded.
    pub config: Arc<config::ScrapeConfig>,
    /// Rules for targets, compiled.
    pub relabel_rules: Vec<RelabelConfig>,
    /// Rules for samples, compiled.
    pub metric_relabel_rules: Vec<RelabelConfig>,
    /// The `Accept` header, see `accept_header`.
    pub(crate) accept: Arc<str>,
}

impl Job {
    /// The job of a loaded configuration.
    pub fn new(config: Arc<config::ScrapeConfig>) -> Job {
        let relabel_rules = config.relabel_rules();
        let metric_relabel_rules = config.metric_relabel_rules();
        let accept = accept_header(&config).into();
        Job { config, relabel_rules, metric_relabel_rules, accept }
    }

    /// The job's name.
    pub fn name(&self) -> &str {
        &self.config.job_name
    }

    /// Time between two scrapes where a target does not say otherwise.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.config.scrape_interval.0.unsigned_abs())
    }

    /// How long a scrape may take where a target does not say otherwise.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.config.scrape_timeout.0.unsigned_abs())
    }

    /// The `Accept-Encoding` header.
    pub fn accept_encoding(&self) -> &'static str {
        if self.config.enable_compression { "gzip" } else { "identity" }
    }

    /// What a page without usable type is read as.
    pub fn fallback_format(&self) -> Option<Format> {
        match self.config.fallback_scrape_protocol.as_ref()? {
            ScrapeProtocol::PrometheusProto => Some(Format::Protobuf),
            ScrapeProtocol::PrometheusText0_0_4 | ScrapeProtocol::PrometheusText1_0_0 => Some(Format::Text),
            ScrapeProtocol::OpenMetricsText0_0_1 | ScrapeProtocol::OpenMetricsText1_0_0 => {
                Some(Format::OpenMetrics)
            }
            ScrapeProtocol::Unknown(_) => None,
        }
    }

    /// The finest schema that native histograms are kept in: the finest whose
    /// buckets grow by the least factor at least, or a coarser one.
    pub fn schema_max(&self) -> i32 {
        schema_for_factor(self.config.native_histogram_min_bucket_factor)
    }

    /// Whether what is cached of targets means the same under both jobs.
    pub fn shares_cache_with(&self, other: &Job) -> bool {
        let relevant = |config: &config::ScrapeConfig| config::ScrapeConfig {
            scrape_interval: Default::default(),
            scrape_timeout: Default::default(),
            sample_limit: 0,
            http_client: Default::default(),
            ..config.clone()
        };
        relevant(&self.config) == relevant(&other.config)
    }
}

/// The `Accept` header: what is asked for, best first, with falling weights.
///
/// The first of at most five protocols weighs 0.6, each further 0.1 less,
/// and anything else is taken last.
fn accept_header(config: &config::ScrapeConfig) -> String {
    let mut weight = config::scrape::PROTO_FIRST_PROTOCOLS.len() + 1;
    let mut header = String::new();
    for protocol in config.protocols() {
        header.push_str(protocol.media_type());
        if matches!(protocol, ScrapeProtocol::PrometheusText1_0_0 | ScrapeProtocol::OpenMetricsText1_0_0) {
            header.push_str(";escaping=");
            header.push_str(escaping_parameter(config.name_escaping()));
        }
        header.push_str(&format!(";q=0.{weight},"));
        weight = weight.saturating_sub(1);
    }
    header.push_str(&format!("*/*;q=0.{weight}"));
    header
}

fn escaping_parameter(scheme: EscapingScheme) -> &'static str {
    scheme.as_str()
}

fn schema_for_factor(factor: f64) -> i32 {
    use model::histogram::{EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN};
    if factor <= 1.0 {
        return EXPONENTIAL_SCHEMA_MAX;
    }
    let floor = (-factor.log2().log2()).floor();
    floor.clamp(f64::from(EXPONENTIAL_SCHEMA_MIN), f64::from(EXPONENTIAL_SCHEMA_MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_accept_header_is_upstreams() {
        let job = Job::new(Arc::new(config::ScrapeConfig::default()));
        assert_eq!(
            &*job.accept,
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
    }

    #[test]
    fn schemas_follow_the_least_factor() {
        for (factor, schema) in [
            (0.0, 8),
            (1.0, 8),
            (1.002, 8),
            (1.1, 2),
            (1.5, 0),
            (2.0, 0),
            (4.0, -1),
            (65536.0, -4),
            (1e10, -4),
        ] {
            assert_eq!(schema_for_factor(factor), schema, "{factor}");
        }
    }
}
