//! `/labels` and `/label/<name>/values`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use model::labels::go_quote;
use model::names::{EscapingScheme, ValidationScheme};
use model::query::LabelList;

use super::{Answer, TRUNCATED, add_warning, blocking, list, matcher_sets};
use crate::error::ApiError;
use crate::json;
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
pub async fn values(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let name = label_name(request.uri().path())?;
    let name = match name.starts_with("U__") {
        true => EscapingScheme::Values.unescape(&name).into_owned(),
        false => name,
    };
    if !ValidationScheme::Utf8.is_valid_label_name(&name) {
        return Err(ApiError::bad_data(format!("invalid label name: {}", go_quote(&name))));
    }
    let params = Params::read(request).await?;
    let (limit, range) = (params.limit()?, params.range()?);
    let sets = matcher_sets(&params)?;
    let storage = web.storage()?;
    answer(blocking(move || Ok(storage.labels.label_values(&name, range, &sets, limit)?)).await?)
}

/// The name in `…/label/<name>/values`, escapes taken away.
fn label_name(path: &str) -> Result<String, ApiError> {
    let name = path.strip_suffix("/values").and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let name = crate::params::unescape_path(name.as_bytes());
    String::from_utf8(name).map_err(|error| {
        let mut shown = String::new();
        for chunk in error.as_bytes().utf8_chunks() {
            shown.push_str(go_quote(chunk.valid()).trim_matches('"'));
            chunk.invalid().iter().for_each(|byte| shown.push_str(&format!("\\x{byte:02x}")));
        }
        ApiError::bad_data(format!("invalid label name: \"{shown}\""))
    })
}

fn answer(found: LabelList) -> Answer {
    let LabelList { values, truncated, mut warnings } = found;
    if truncated {
        add_warning(&mut warnings, TRUNCATED);
    }
    Ok(list(values.len(), &warnings, move |out, i| json::write_string(out, &values[i])))
}
