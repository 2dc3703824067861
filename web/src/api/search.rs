//! `/search/*`: metric names, label names and label values that match terms,
//! scored and streamed as lines of JSON. Behind the feature `search-api`.
//!
//! ```text
//! {"results":[…],"warnings":[…]}      one line a batch, at least one
//! {"status":"success","has_more":false}
//! ```

mod params;
mod score;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Response, header};
use model::query::LabelList;
use model::{METRIC_NAME, Metadata, StorageError};
use parking_lot::Mutex;
use serde::Serialize;

use self::params::{SearchParams, SortBy};
use super::{Answer, blocking};
use crate::error::{ApiError, ErrorKind};
use crate::json::{GoFloat, to_vec};
use crate::params::Params;
use crate::state::Web;

/// Metadata of all targets is gathered anew after so long.
const METADATA_AGE_MAX: Duration = Duration::from_secs(5);
/// The time is looked at after so many names.
const NAMES_BETWEEN_CHECKS: usize = 256;

/// Metadata by metric, kept for a short while.
#[derive(Default)]
pub struct MetadataCache {
    gathered: Mutex<Option<(Duration, Arc<HashMap<String, Metadata>>)>>,
}

impl MetadataCache {
    fn get(&self, web: &Web) -> Arc<HashMap<String, Metadata>> {
        let now = web.clock.monotonic();
        if let Some((at, all)) = &*self.gathered.lock()
            && now.saturating_sub(*at) < METADATA_AGE_MAX
        {
            return all.clone();
        }
        let mut all = HashMap::new();
        for target in web.scrape.targets().iter().flat_map(|pool| &pool.active) {
            let cache = target.metadata();
            for (family, metadata) in cache.lock().iter() {
                if !all.contains_key(family) {
                    all.insert(family.to_owned(), metadata.clone());
                }
            }
        }
        let all = Arc::new(all);
        *self.gathered.lock() = Some((now, all.clone()));
        all
    }
}

/// What is searched.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    MetricNames { metadata: bool },
    LabelNames,
    LabelValues(String),
}

/// `/search/metric_names`.
pub async fn metric_names(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    enabled(&web)?;
    let params = Params::read(request).await?;
    let wanted = wanted(&web, &params, "metric_names")?;
    let metadata = params::boolean(&params, "include_metadata", false)?;
    search(web, wanted, Subject::MetricNames { metadata }).await
}

/// `/search/label_names`.
pub async fn label_names(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    enabled(&web)?;
    let params = Params::read(request).await?;
    let wanted = wanted(&web, &params, "label_names")?;
    search(web, wanted, Subject::LabelNames).await
}

/// `/search/label_values`.
pub async fn label_values(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    enabled(&web)?;
    let params = Params::read(request).await?;
    let wanted = wanted(&web, &params, "label_values")?;
    let label = params.get("label").to_owned();
    if label.is_empty() {
        return Err(ApiError::bad_data("missing required parameter \"label\""));
    }
    search(web, wanted, Subject::LabelValues(label)).await
}

fn wanted(web: &Web, params: &Params, endpoint: &str) -> Result<SearchParams, ApiError> {
    SearchParams::read(params, endpoint, web.clock.now_ms(), web.options.search_max_limit)
}

fn enabled(web: &Web) -> Result<(), ApiError> {
    match web.options.has_feature("search-api") {
        true => Ok(()),
        false => Err(ApiError::new(ErrorKind::Unavailable, "search API disabled")),
    }
}

#[derive(Serialize)]
struct Record<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<GoFloat>,
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    metric_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    help: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'a str,
}

#[derive(Serialize)]
struct Batch<'a> {
    results: Vec<Record<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Trailer {
    status: &'static str,
    has_more: bool,
}

/// What a search found, on its way out.
struct Lines {
    found: Vec<(String, f64)>,
    subject: Subject,
    metadata: Option<Arc<HashMap<String, Metadata>>>,
    include_score: bool,
    batch: usize,
    warnings: Vec<String>,
    has_more: bool,
    next: usize,
    started: bool,
    ended: bool,
}

async fn search(web: Arc<Web>, wanted: SearchParams, subject: Subject) -> Answer {
    let storage = web.storage()?;
    let metadata = (subject == Subject::MetricNames { metadata: true }).then(|| web.metadata_cache.get(&web));
    let deadline =
        web.clock.monotonic() + Duration::from_millis(web.options.query_timeout_ms.max(0).unsigned_abs());
    let lines = blocking(move || {
        let room = web.room("search request")?;
        let sets = &wanted.matcher_sets;
        let list: LabelList = match &subject {
            Subject::MetricNames { .. } => storage.labels.label_values(METRIC_NAME, wanted.range, sets, 0)?,
            Subject::LabelNames => storage.labels.label_names(wanted.range, sets, 0)?,
            Subject::LabelValues(label) => storage.labels.label_values(label, wanted.range, sets, 0)?,
        };
        let bytes: usize = list.values.iter().map(|value| value.capacity() + size_of::<String>()).sum();
        room.grow_to(bytes as u64).map_err(StorageError::from)?;
        let mut found = Vec::new();
        for (i, value) in list.values.into_iter().enumerate() {
            if i % NAMES_BETWEEN_CHECKS == 0 && web.clock.monotonic() > deadline {
                return Err(ApiError::new(ErrorKind::Timeout, "search timed out"));
            }
            if let Some(score) = wanted.filter.score(&value) {
                found.push((value, score));
            }
        }
        match wanted.sort_by {
            SortBy::Alpha { descending: false } => {}
            SortBy::Alpha { descending: true } => found.reverse(),
            // Names are sorted already, and the sort is stable.
            SortBy::Score => found.sort_by(|(_, a), (_, b)| b.total_cmp(a)),
        }
        let has_more = found.len() > wanted.limit;
        found.truncate(wanted.limit);
        Ok(Lines {
            found,
            subject,
            metadata,
            include_score: wanted.include_score,
            batch: wanted.batch,
            warnings: list.warnings,
            has_more,
            next: 0,
            started: false,
            ended: false,
        })
    })
    .await?;
    let mut response = Response::new(crate::body::from_iterator(lines));
    let kind = HeaderValue::from_static("application/x-ndjson; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

impl Iterator for Lines {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut line = if self.started && self.next >= self.found.len() {
            self.ended = true;
            to_vec(&Trailer { status: "success", has_more: self.has_more })
        } else {
            let end = self.next.saturating_add(self.batch).min(self.found.len());
            let results = self.found[self.next..end].iter().map(|(value, score)| self.record(value, *score));
            let warnings: &[String] = if self.started { &[] } else { &self.warnings };
            let line = to_vec(&Batch { results: results.collect(), warnings });
            self.started = true;
            self.next = end;
            line
        };
        line.push(b'\n');
        Some(Bytes::from(line))
    }
}

impl Lines {
    fn record<'a>(&'a self, text: &'a str, score: f64) -> Record<'a> {
        let is_value = matches!(self.subject, Subject::LabelValues(_));
        let metadata = self.metadata.as_ref().and_then(|all| all.get(text));
        Record {
            name: (!is_value).then_some(text),
            value: is_value.then_some(text),
            score: self.include_score.then_some(GoFloat(score)),
            metric_type: metadata.map_or("", |metadata| metadata.metric_type.as_str()),
            help: metadata.map_or("", |metadata| &metadata.help),
            unit: metadata.map_or("", |metadata| &metadata.unit),
        }
    }
}
