//! `/narthex/queries`, which upstream does not have: the queries that run, and
//! how to stop one. Stopping is an admin call.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use serde_json::json;

use super::status::rfc3339;
use super::{Answer, admin, no_content, success};
use crate::error::{ApiError, ErrorKind};
use crate::params::Params;
use crate::state::Web;

/// The queries that run or wait for a place, oldest first.
pub async fn running(State(web): State<Arc<Web>>) -> Answer {
    let now_ms = web.clock.now_ms();
    let queries: Vec<serde_json::Value> = web
        .running
        .list()
        .into_iter()
        .map(|(id, running)| {
            json!({
                "id": id,
                "query": running.text,
                "start": rfc3339(running.start_ms),
                "end": rfc3339(running.end_ms),
                "step": running.step_ms as f64 / 1000.0,
                "client": running.client,
                "since": rfc3339(running.since_ms),
                "seconds": (now_ms - running.since_ms) as f64 / 1000.0,
                "state": if running.runs() { "running" } else { "waiting" },
            })
        })
        .collect();
    success(&queries, &[])
}

/// Stops the query of a number: who asked it is answered 499.
pub async fn cancel(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    admin::enabled(&web)?;
    let params = Params::read(request).await?;
    let text = params.get("id");
    let id: u64 = text.parse().map_err(|_| {
        ApiError::parameter("id", format_args!("{} is no number of a query", model::labels::go_quote(text)))
    })?;
    match web.running.cancel(id) {
        true => Ok(no_content()),
        false => Err(ApiError::new(ErrorKind::NotFound, format!("no query runs under the number {id}"))),
    }
}
