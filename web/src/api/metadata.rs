//! `/metadata` and `/targets/metadata`: what targets say about their metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use model::{Matcher, Metadata};
use serde::Serialize;

use super::{Answer, success};
use crate::error::ApiError;
use crate::json::LabelMap;
use crate::params::{Params, parse_selector};
use crate::state::Web;

#[derive(Serialize)]
struct Described {
    #[serde(rename = "type")]
    metric_type: &'static str,
    help: String,
    unit: String,
}

impl Described {
    fn new(metadata: &Metadata) -> Described {
        let Metadata { metric_type, help, unit } = metadata;
        Described { metric_type: metric_type.as_str(), help: help.clone(), unit: unit.clone() }
    }
}

/// As [`Described`], in the order of `/metadata`.
#[derive(Serialize)]
struct Said {
    #[serde(rename = "type")]
    metric_type: &'static str,
    unit: String,
    help: String,
}

/// A limit where a negative number, or none, means all.
fn limit(params: &Params, name: &str, reason: &str) -> Result<usize, ApiError> {
    match params.get(name) {
        "" => Ok(usize::MAX),
        text => match text.parse::<i64>() {
            Ok(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
            Err(_) => Err(ApiError::bad_data(reason)),
        },
    }
}

/// `/metadata`: by metric, each thing that is said once.
pub async fn metadata(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let params = Params::read(request).await?;
    let metrics_max = limit(&params, "limit", "limit must be a number")?;
    let said_max = match limit(&params, "limit_per_metric", "limit_per_metric must be a number")? {
        // Unlike the limit of metrics, zero sets none.
        0 => usize::MAX,
        limit => limit,
    };
    let metric = params.get("metric");
    let mut said: BTreeMap<String, BTreeSet<(&'static str, String, String)>> = BTreeMap::new();
    let mut note = |family: &str, metadata: &Metadata| {
        let entry = (metadata.metric_type.as_str(), metadata.help.clone(), metadata.unit.clone());
        match said.get_mut(family) {
            Some(all) => {
                if all.len() < said_max {
                    all.insert(entry);
                }
            }
            None => {
                said.insert(family.to_owned(), BTreeSet::from([entry]));
            }
        }
    };
    for pool in web.scrape.targets() {
        for target in &pool.active {
            let cache = target.metadata();
            let cache = cache.lock();
            match metric {
                "" => cache.iter().for_each(|(family, metadata)| note(family, metadata)),
                metric => {
                    if let Some(metadata) = cache.get(metric) {
                        note(metric, metadata);
                    }
                }
            }
        }
    }
    let described = |(metric_type, help, unit)| Said { metric_type, unit, help };
    let shown: BTreeMap<String, Vec<Said>> = said
        .into_iter()
        .take(metrics_max)
        .map(|(family, all)| (family, all.into_iter().map(described).collect()))
        .collect();
    success(&shown, &[])
}

#[derive(Serialize)]
struct TargetMetadata {
    target: LabelMap,
    #[serde(skip_serializing_if = "String::is_empty")]
    metric: String,
    #[serde(flatten)]
    described: Described,
}

/// `/targets/metadata`: by target; the limit is looked at between targets.
pub async fn target_metadata(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let params = Params::read(request).await?;
    let entries_max = limit(&params, "limit", "limit must be a number")?;
    let matchers: Vec<Matcher> = match params.get("match_target") {
        "" => Vec::new(),
        text => parse_selector(text).map_err(|error| ApiError::parameter("match_target", error))?,
    };
    let metric = params.get("metric");
    let mut entries = Vec::new();
    for pool in web.scrape.targets() {
        for target in &pool.active {
            if entries.len() >= entries_max {
                break;
            }
            let labels = target.labels();
            if !matchers.iter().all(|matcher| matcher.matches(labels.value_or_empty(matcher.name()))) {
                continue;
            }
            let cache = target.metadata();
            let cache = cache.lock();
            let entry = |metric: &str, metadata: &Metadata| TargetMetadata {
                target: LabelMap(labels.clone()),
                metric: metric.to_owned(),
                described: Described::new(metadata),
            };
            match metric {
                "" => {
                    let mut all: Vec<_> = cache.iter().collect();
                    all.sort_by_key(|(family, _)| *family);
                    entries.extend(all.into_iter().map(|(family, metadata)| entry(family, metadata)));
                }
                // Asked for one metric, its name is not repeated.
                metric => entries.extend(cache.get(metric).map(|metadata| entry("", metadata))),
            }
        }
    }
    success(&entries, &[])
}
