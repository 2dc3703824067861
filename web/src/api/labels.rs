//! `/labels` and `/label/<name>/values`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use model::StorageError;
use model::labels::go_quote;
use model::memory::Lease;
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
    blocking(move || {
        let room = web.room("labels request")?;
        answer(storage.labels.label_names(range, &sets, limit)?, room)
    })
    .await
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
    blocking(move || {
        let room = web.room("label values request")?;
        answer(storage.labels.label_values(&name, range, &sets, limit)?, room)
    })
    .await
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

/// `room` is held until the answer is sent.
fn answer(found: LabelList, room: Lease) -> Answer {
    let LabelList { values, truncated, mut warnings } = found;
    let bytes: usize = values.iter().map(|value| value.capacity() + size_of::<String>()).sum();
    room.grow_to(bytes as u64).map_err(StorageError::from)?;
    if truncated {
        add_warning(&mut warnings, TRUNCATED);
    }
    Ok(list(values.len(), &warnings, move |out, i| {
        let _ = &room;
        json::write_string(out, &values[i]);
    }))
}
