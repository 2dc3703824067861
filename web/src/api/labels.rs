//! `/labels` and `/label/<name>/values`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use model::names::{EscapingScheme, ValidationScheme};
use model::query::LabelList;

use super::{Answer, TRUNCATED, blocking, matcher_sets, success};
use crate::error::ApiError;
use crate::params::Params;
use crate::state::Web;

/// `/labels`: the label names of matching series, sorted.
pub async fn names(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let params = Params::read(request).await?;
    let (limit, range) = (params.limit()?, params.range()?);
    let sets = matcher_sets(&params)?;
    let storage = web.storage()?;
    answer(blocking(move || Ok(storage.labels.label_names(range, &sets, limit)?)).await?)
}

/// `/label/<name>/values`: the values of one label in matching series, sorted.
pub async fn values(State(web): State<Arc<Web>>, Path(name): Path<String>, request: Request<Body>) -> Answer {
    let name = match name.starts_with("U__") {
        true => EscapingScheme::Values.unescape(&name).into_owned(),
        false => name,
    };
    if !ValidationScheme::Utf8.is_valid_label_name(&name) {
        return Err(ApiError::bad_data(format!("invalid label name: {}", model::labels::go_quote(&name))));
    }
    let params = Params::read(request).await?;
    let (limit, range) = (params.limit()?, params.range()?);
    let sets = matcher_sets(&params)?;
    let storage = web.storage()?;
    answer(blocking(move || Ok(storage.labels.label_values(&name, range, &sets, limit)?)).await?)
}

fn answer(list: LabelList) -> Answer {
    let mut warnings = list.warnings;
    if list.truncated {
        warnings.push(TRUNCATED.to_owned());
    }
    success(&list.values, &warnings)
}
