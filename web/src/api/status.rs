//! `/status/*`: what the server says of itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::{Request, State};
use model::admin::NamedCount;
use serde::{Serialize, Serializer};
use serde_json::json;

use super::{Answer, blocking, success};
use crate::error::ApiError;
use crate::params::Params;
use crate::state::Web;

/// Most entries of a list of `/status/tsdb`.
const TSDB_LIMIT_MAX: usize = 10_000;

/// `/status/config`: the configuration in force, secrets hidden.
pub async fn config(State(web): State<Arc<Web>>) -> Answer {
    success(&json!({ "yaml": web.config_text.load().as_str() }), &[])
}

/// `/status/flags`: every flag and its value.
pub async fn flags(State(web): State<Arc<Web>>) -> Answer {
    success(&web.options.flags, &[])
}

/// Facts of the build as an object, in the order given.
pub struct BuildInfo<'a>(pub &'a [(&'static str, String)]);

impl Serialize for BuildInfo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// `/status/buildinfo`.
pub async fn build_info(State(web): State<Arc<Web>>) -> Answer {
    success(&BuildInfo(&web.options.build), &[])
}

#[derive(Serialize)]
struct RuntimeInfo<'a> {
    #[serde(rename = "startTime")]
    start_time: String,
    #[serde(rename = "CWD")]
    working_directory: &'a str,
    hostname: &'a str,
    #[serde(rename = "serverTime")]
    server_time: String,
    #[serde(rename = "reloadConfigSuccess")]
    reload_config_success: bool,
    #[serde(rename = "lastConfigTime")]
    last_config_time: String,
    #[serde(rename = "corruptionCount")]
    corruption_count: u64,
    #[serde(rename = "goroutineCount")]
    tasks: usize,
    #[serde(rename = "GOMAXPROCS")]
    threads: usize,
    #[serde(rename = "GOMEMLIMIT")]
    memory_limit: u64,
    #[serde(rename = "GOGC")]
    gogc: &'a str,
    #[serde(rename = "GODEBUG")]
    godebug: &'a str,
    #[serde(rename = "storageRetention")]
    storage_retention: String,
}

/// `/status/runtimeinfo`. What is Go's alone is shown by its nearest relative:
/// tasks for goroutines, the memory ceiling for `GOMEMLIMIT`.
pub async fn runtime_info(State(web): State<Arc<Web>>) -> Answer {
    let storage = web.storage()?;
    let options = &web.options;
    success(
        &RuntimeInfo {
            start_time: rfc3339(options.start_time_ms),
            working_directory: &options.working_directory,
            hostname: &options.hostname,
            server_time: rfc3339(web.clock.now_ms()),
            reload_config_success: web.reload_successful.load(Ordering::Relaxed),
            last_config_time: rfc3339(web.last_config_time_ms.load(Ordering::Relaxed) / 1000 * 1000),
            corruption_count: storage.status.corruption_count(),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory_limit: web.engine.options().memory.limit().min(i64::MAX as u64),
            gogc: &web.gogc.load(),
            godebug: &options.godebug,
            storage_retention: storage.status.retention_text(),
        },
        &[],
    )
}

/// A time as Go writes it in JSON: RFC 3339, fractions only where there are some.
pub fn rfc3339(time_ms: i64) -> String {
    match time_ms {
        0 => "0001-01-01T00:00:00Z".to_owned(),
        ms => jiff::Timestamp::from_millisecond(ms).map(|time| time.to_string()).unwrap_or_default(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TsdbStatus {
    head_stats: HeadFigures,
    series_count_by_metric_name: Vec<Count>,
    label_value_count_by_label_name: Vec<Count>,
    memory_in_bytes_by_label_name: Vec<Count>,
    series_count_by_label_value_pair: Vec<Count>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HeadFigures {
    num_series: u64,
    num_label_pairs: u64,
    chunk_count: u64,
    min_time: i64,
    max_time: i64,
}

#[derive(Serialize)]
struct Count {
    name: String,
    value: u64,
}

/// `/status/tsdb`: cardinality of the head.
pub async fn tsdb(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let params = Params::read(request).await?;
    let limit = match params.get("limit") {
        "" => 10,
        text => match text.parse::<i64>().ok().and_then(|limit| usize::try_from(limit).ok()) {
            Some(limit) if limit > TSDB_LIMIT_MAX => {
                return Err(ApiError::bad_data(format!("limit must not exceed {TSDB_LIMIT_MAX}")));
            }
            Some(limit) if limit > 0 => limit,
            _ => return Err(ApiError::bad_data("limit must be a positive number")),
        },
    };
    let storage = web.storage()?;
    let stats = blocking(move || Ok(storage.status.head_stats(limit)?)).await?;
    let list = |counts: Vec<NamedCount>| -> Vec<Count> {
        counts.into_iter().map(|NamedCount { name, value }| Count { name, value }).collect()
    };
    let status = TsdbStatus {
        head_stats: HeadFigures {
            num_series: stats.num_series,
            num_label_pairs: stats.num_label_pairs,
            chunk_count: stats.chunk_count,
            min_time: stats.min_time_ms,
            max_time: stats.max_time_ms,
        },
        series_count_by_metric_name: list(stats.series_by_metric),
        label_value_count_by_label_name: list(stats.values_by_label),
        memory_in_bytes_by_label_name: list(stats.bytes_by_label),
        series_count_by_label_value_pair: list(stats.series_by_pair),
    };
    success(&status, &[])
}

/// `/status/tsdb/blocks`: the contents of each block's `meta.json`.
pub async fn tsdb_blocks(State(web): State<Arc<Web>>) -> Answer {
    let storage = web.storage()?;
    let blocks = blocking(move || Ok(storage.status.blocks()?)).await?;
    success(&json!({ "blocks": blocks }), &[])
}

#[derive(Serialize)]
struct Replay {
    min: u64,
    max: u64,
    current: u64,
}

/// `/status/walreplay`: how far the replay is; answers before the server is ready.
pub async fn wal_replay(State(web): State<Arc<Web>>) -> Answer {
    let progress = (web.replay_progress)();
    success(&Replay { min: progress.min, max: progress.max, current: progress.current }, &[])
}
