//! What a search asks for.

use model::labels::go_quote;
use model::{Matcher, TimeRange};

use super::score::{Algorithm, Filter};
use crate::api::admin::parse_bool;
use crate::api::matcher_sets;
use crate::error::ApiError;
use crate::params::Params;

/// Most terms of one search.
const TERMS_MAX: usize = 32;
/// How far back a search looks unless told otherwise.
const RANGE_MS: i64 = 3_600_000;
/// Results, and results a line, unless told otherwise.
const DEFAULT_COUNT: usize = 100;

/// The order of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// By name.
    Alpha {
        /// The last first.
        descending: bool,
    },
    /// The best first, then by name.
    Score,
}

/// A search, checked.
pub struct SearchParams {
    /// Only names of matching series.
    pub matcher_sets: Vec<Vec<Matcher>>,
    /// Which names match, and how well.
    pub filter: Filter,
    /// The order.
    pub sort_by: SortBy,
    /// Whether scores are shown.
    pub include_score: bool,
    /// Only names of series with samples in it.
    pub range: TimeRange,
    /// Most results.
    pub limit: usize,
    /// Results a line.
    pub batch: usize,
}

impl SearchParams {
    /// Reads and checks the parameters of an endpoint; `limit_max` 0 sets no cap.
    ///
    /// # Errors
    /// One is malformed or out of bounds.
    pub fn read(
        params: &Params,
        endpoint: &str,
        now_ms: i64,
        limit_max: usize,
    ) -> Result<SearchParams, ApiError> {
        params.well_formed()?;
        let start_ms = params.unnamed_time_ms("start", now_ms - RANGE_MS)?;
        let end_ms = params.unnamed_time_ms("end", now_ms)?;
        if end_ms < start_ms {
            return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
        }
        let matcher_sets = matcher_sets(params)?;
        let mut terms: Vec<String> = params.all("search[]").map(str::to_owned).collect();
        if terms.len() > TERMS_MAX {
            return Err(ApiError::bad_data(format!(
                "too many search[] terms: got {}, maximum is {TERMS_MAX}",
                terms.len()
            )));
        }
        let threshold = match params.get("fuzz_threshold") {
            "" => 0,
            text => text.parse::<u8>().ok().filter(|&n| n <= 100).ok_or_else(|| {
                ApiError::bad_data(format!("invalid fuzz_threshold {}: must be 0-100", go_quote(text)))
            })?,
        };
        let algorithm = match params.get("fuzz_alg") {
            "" | "subsequence" => Algorithm::Subsequence,
            "jarowinkler" => Algorithm::JaroWinkler,
            other => {
                let text = "must be one of [subsequence jarowinkler]";
                return Err(ApiError::bad_data(format!("unsupported fuzz_alg {}: {text}", go_quote(other))));
            }
        };
        let case_sensitive = boolean(params, "case_sensitive", true)?;
        let include_score = boolean(params, "include_score", false)?;
        let sort_by = sort_by(params, terms.is_empty())?;
        let default = if limit_max > 0 { DEFAULT_COUNT.min(limit_max) } else { DEFAULT_COUNT };
        let limit = count(params, "limit", default)?;
        if limit_max > 0 && limit > limit_max {
            return Err(ApiError::bad_data(format!(
                "limit {limit} exceeds the configured maximum ({limit_max}, see --web.search.max-limit)"
            )));
        }
        let batch = count(params, "batch_size", DEFAULT_COUNT)?;
        let sort_by = sort_by.ok_or_else(|| {
            let wanted = go_quote(params.get("sort_by"));
            let text = "must be \"alpha\" or \"score\"";
            ApiError::bad_data(format!("invalid sort_by {wanted} for {endpoint}: {text}"))
        })?;
        terms.retain(|term| !term.is_empty());
        Ok(SearchParams {
            matcher_sets,
            filter: Filter::new(terms, algorithm, f64::from(threshold) / 100.0, case_sensitive),
            sort_by,
            include_score,
            range: TimeRange::new(start_ms, end_ms),
            limit,
            batch,
        })
    }
}

/// The order; `None` where it is not known.
fn sort_by(params: &Params, no_terms: bool) -> Result<Option<SortBy>, ApiError> {
    let (by, direction) = (params.get("sort_by"), params.get("sort_dir"));
    let refuse = |text: &str| Err(ApiError::bad_data(text));
    match (by, direction) {
        (_, "") => {}
        ("", _) => return refuse("sort_dir is only valid when sort_by is set"),
        ("score", _) => return refuse("sort_dir is not supported for sort_by=score"),
        (_, "asc" | "dsc") => {}
        (_, other) => {
            let other = go_quote(other);
            return refuse(&format!("invalid sort_dir {other}: must be \"asc\" or \"dsc\""));
        }
    }
    match by {
        "score" if no_terms => refuse("sort_by=score requires search[] to be set"),
        "score" => Ok(Some(SortBy::Score)),
        "" | "alpha" => Ok(Some(SortBy::Alpha { descending: direction == "dsc" })),
        _ => Ok(None),
    }
}

/// A boolean parameter.
///
/// # Errors
/// It is none.
pub fn boolean(params: &Params, name: &str, default: bool) -> Result<bool, ApiError> {
    match params.get(name) {
        "" => Ok(default),
        text => parse_bool(text)
            .ok_or_else(|| ApiError::bad_data(format!("invalid {name} {}: must be boolean", go_quote(text)))),
    }
}

fn count(params: &Params, name: &str, default: usize) -> Result<usize, ApiError> {
    match params.get(name) {
        "" => Ok(default),
        text => text.parse::<usize>().ok().filter(|&count| count > 0).ok_or_else(|| {
            ApiError::bad_data(format!("invalid {name} {}: must be a positive integer", go_quote(text)))
        }),
    }
}
