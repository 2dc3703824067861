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
    /// Reads and checks the parameters; `limit_max` 0 sets no cap.
    ///
    /// # Errors
    /// One is malformed or out of bounds.
    pub fn read(params: &Params, now_ms: i64, limit_max: usize) -> Result<SearchParams, ApiError> {
        let start_ms = params.time_ms("start", now_ms - RANGE_MS)?;
        let end_ms = params.time_ms("end", now_ms)?;
        if end_ms < start_ms {
            return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
        }
        let terms: Vec<String> =
            params.all("search[]").filter(|term| !term.is_empty()).map(str::to_owned).collect();
        if terms.len() > TERMS_MAX {
            return Err(ApiError::bad_data(format!(
                "too many search[] terms: {} (maximum {TERMS_MAX})",
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
                let text = "must be \"subsequence\" or \"jarowinkler\"";
                return Err(ApiError::bad_data(format!("unsupported fuzz_alg {}: {text}", go_quote(other))));
            }
        };
        let case_sensitive = boolean(params, "case_sensitive", true)?;
        let sort_by = sort_by(params, terms.is_empty())?;
        let include_score = boolean(params, "include_score", false)?;
        let limit = count(params, "limit")?;
        if limit_max > 0 && limit > limit_max {
            return Err(ApiError::bad_data(format!("limit must not exceed {limit_max}")));
        }
        Ok(SearchParams {
            matcher_sets: matcher_sets(params)?,
            filter: Filter::new(terms, algorithm, f64::from(threshold) / 100.0, case_sensitive),
            sort_by,
            include_score,
            range: TimeRange::new(start_ms, end_ms),
            limit,
            batch: count(params, "batch_size")?,
        })
    }
}

fn sort_by(params: &Params, no_terms: bool) -> Result<SortBy, ApiError> {
    let direction = params.get("sort_dir");
    let descending = match direction {
        "" | "asc" => false,
        "dsc" => true,
        other => {
            let text = "must be \"asc\" or \"dsc\"";
            return Err(ApiError::bad_data(format!("invalid sort_dir {}: {text}", go_quote(other))));
        }
    };
    match params.get("sort_by") {
        "alpha" => Ok(SortBy::Alpha { descending }),
        _ if !direction.is_empty() => {
            Err(ApiError::bad_data("sort_dir is only valid when sort_by is set to alpha"))
        }
        "" => Ok(SortBy::Alpha { descending: false }),
        "score" if no_terms => Err(ApiError::bad_data("sort_by=score requires search[]")),
        "score" => Ok(SortBy::Score),
        other => {
            Err(ApiError::bad_data(format!("invalid sort_by {}: must be alpha or score", go_quote(other))))
        }
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

fn count(params: &Params, name: &str) -> Result<usize, ApiError> {
    match params.get(name) {
        "" => Ok(DEFAULT_COUNT),
        text => match text.parse::<usize>() {
            Ok(0) => Ok(DEFAULT_COUNT),
            Ok(count) => Ok(count),
            Err(_) => {
                let text = go_quote(text);
                Err(ApiError::bad_data(format!("invalid {name} {text}: must be non-negative integer")))
            }
        },
    }
}
