//! `/admin/tsdb/*`: deletion and snapshots, behind their flag.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use model::Matcher;

use super::{Answer, blocking, no_content, success};
use crate::error::{ApiError, ErrorKind};
use crate::params::{Params, parse_selector};
use crate::state::Web;

/// Admin calls act only behind their flag.
pub(super) fn enabled(web: &Web) -> Result<(), ApiError> {
    match web.options.enable_admin_api {
        true => Ok(()),
        false => Err(ApiError::new(ErrorKind::Unavailable, "admin APIs disabled")),
    }
}

/// Marks samples of matching series as deleted.
pub async fn delete_series(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    enabled(&web)?;
    let params = Params::read(request).await?;
    params.well_formed()?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let range = params.range()?;
    let sets: Result<Vec<Vec<Matcher>>, _> = params.all("match[]").map(parse_selector).collect();
    let mut sets = sets.map_err(|error| ApiError::parameter("match[]", error))?;
    // A selector without matchers selects nothing.
    sets.retain(|matchers| !matchers.is_empty());
    let storage = web.storage()?;
    blocking(move || Ok(storage.admin.delete_series(range, &sets)?)).await?;
    Ok(no_content())
}

/// Rewrites blocks without what was deleted.
pub async fn clean_tombstones(State(web): State<Arc<Web>>) -> Answer {
    enabled(&web)?;
    let storage = web.storage()?;
    blocking(move || Ok(storage.admin.clean_tombstones()?)).await?;
    Ok(no_content())
}

/// Writes a snapshot and answers its name.
pub async fn snapshot(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    enabled(&web)?;
    let params = Params::read(request).await?;
    let skip_head = match params.get("skip_head") {
        "" => false,
        text => parse_bool(text).ok_or_else(|| {
            let reason = format!(
                "unable to parse boolean: strconv.ParseBool: parsing {}: invalid syntax",
                model::labels::go_quote(text)
            );
            ApiError::parameter("skip_head", reason)
        })?,
    };
    let storage = web.storage()?;
    let name = blocking(move || Ok(storage.admin.snapshot(skip_head)?)).await?;
    success(&serde_json::json!({ "name": name }), &[])
}

/// A boolean as Go's `strconv.ParseBool` takes it.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
