//! `/query_exemplars`: exemplars of the series that an expression selects.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use model::exemplar::SeriesExemplars;

use super::{Answer, blocking, list, no_content};
use crate::error::ApiError;
use crate::json;
use crate::params::Params;
use crate::state::Web;

/// Exemplars by series, series in label order.
pub async fn query(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let params = Params::read(request).await?;
    let range = params.range()?;
    if range.end_ms < range.start_ms {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let expr = promql::parse(params.get("query"), web.engine.options().features)
        .map_err(|error| ApiError::bad_data(error.to_string()))?;
    let sets = promql::visit::extract_selectors(&expr);
    if sets.is_empty() {
        return Ok(no_content());
    }
    let storage = web.storage()?;
    blocking(move || {
        let _room = web.room("exemplars request")?;
        Ok(answer(storage.exemplars.exemplars(range, &sets)?))
    })
    .await
}

fn answer(found: Vec<SeriesExemplars>) -> axum::http::Response<Body> {
    list(found.len(), &[], move |out, i| {
        out.extend_from_slice(b"{\"seriesLabels\":");
        json::write_labels(out, found[i].series.iter());
        out.extend_from_slice(b",\"exemplars\":[");
        for (i, exemplar) in found[i].exemplars.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"labels\":");
            json::write_labels(out, exemplar.labels.iter());
            out.extend_from_slice(b",\"value\":");
            json::write_value(out, exemplar.value);
            out.extend_from_slice(b",\"timestamp\":");
            json::write_time(out, exemplar.timestamp_ms);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    })
}
