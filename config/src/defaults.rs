//! What flags and the environment put in place of the file's built-in defaults.

use crate::block::Fields;
use crate::global::GOGC_DEFAULT;
use crate::scrape::{PROTO_FIRST_PROTOCOLS, ScrapeProtocol};
use crate::storage::RetentionConfig;

/// Defaults that the command line decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// Whether protobuf is asked for first by every job that says nothing:
    /// features that keep start timestamps need it.
    pub proto_first: bool,
    /// Whether further series about each scrape are kept.
    pub extra_scrape_metrics: bool,
    /// `runtime.gogc`.
    pub gogc: i64,
    /// What the retention flags say; a `retention` block replaces all of it.
    pub retention: RetentionConfig,
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults {
            proto_first: false,
            extra_scrape_metrics: false,
            gogc: GOGC_DEFAULT,
            retention: RetentionConfig::zeroed(),
        }
    }
}

impl Defaults {
    pub(crate) fn protocols(&self) -> Option<Vec<ScrapeProtocol>> {
        self.proto_first.then(|| PROTO_FIRST_PROTOCOLS.to_vec())
    }
}
