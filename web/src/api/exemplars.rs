//! `/query_exemplars`: exemplars of the series that an expression selects.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use model::exemplar::SeriesExemplars;

use super::{Answer, blocking, no_content, respond};
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
    blocking(move || Ok(answer(&storage.exemplars.exemplars(range, &sets)?))).await
}

fn answer(found: &[SeriesExemplars]) -> axum::http::Response<Body> {
    let mut body = b"{\"status\":\"success\",\"data\":[".to_vec();
    for (i, series) in found.iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"seriesLabels\":");
        json::write_labels(&mut body, series.series.iter());
        body.extend_from_slice(b",\"exemplars\":[");
        for (i, exemplar) in series.exemplars.iter().enumerate() {
            if i > 0 {
                body.push(b',');
            }
            body.extend_from_slice(b"{\"labels\":");
            json::write_labels(&mut body, exemplar.labels.iter());
            body.extend_from_slice(b",\"value\":");
            json::write_value(&mut body, exemplar.value);
            body.extend_from_slice(b",\"timestamp\":");
            json::write_time(&mut body, exemplar.timestamp_ms);
            body.push(b'}');
        }
        body.extend_from_slice(b"]}");
    }
    body.extend_from_slice(b"]}");
    respond(body)
}
