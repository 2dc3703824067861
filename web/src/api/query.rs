//! `/query` and `/query_range`: evaluated whole into columns first, so that an
//! error keeps its status, then streamed as JSON from them.

mod answer;

pub use answer::Pieces;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use model::query::CancelReason;
use model::{CancelToken, Queryable};
use promql::observer::{Origin, QueryRecord};
use promql::value::Value;
use promql::{Output, Query, QueryError};

use super::{Answer, TRUNCATED, add_warning, blocking, respond};
use crate::error::{ApiError, ErrorKind};
use crate::params::{DurationError, Params, parse_duration_ms};
use crate::state::Web;

/// Most points of a series that a range query may ask for.
const POINTS_MAX: i64 = 11_000;

/// `/query`: the expression at one time.
pub async fn instant(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let origin = origin(&request);
    let params = Params::read(request).await?;
    let limit = params.limit()?;
    let at_ms = params.time_ms("time", web.clock.now_ms())?;
    let (query, timeout) = common(&web, &params, Query::instant(params.get("query"), at_ms))?;
    let output = run(web, timeout, query, origin).await??;
    Ok(answer(output, &params, limit))
}

/// `/query_range`: the expression at every step of a range.
pub async fn range(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let origin = origin(&request);
    let params = Params::read(request).await?;
    let limit = params.limit()?;
    let (query, timeout) = common(&web, &params, range_of(&params)?)?;
    let output = run(web, timeout, query, origin).await??;
    Ok(answer(output, &params, limit))
}

/// `/narthex/explain`, which upstream does not have: evaluates the expression,
/// at one time or over a range where `step` is given, and answers what its
/// operators did instead of its value.
pub async fn explain(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let origin = origin(&request);
    let params = Params::read(request).await?;
    let query = match params.get("step") {
        "" => Query::instant(params.get("query"), params.time_ms("time", web.clock.now_ms())?),
        _ => range_of(&params)?,
    };
    let (query, timeout) = common(&web, &params, query)?;
    let output = run(web, timeout, query, origin).await??;
    Ok(respond(answer::explanation(&output)))
}

/// The range that a request asks for.
fn range_of(params: &Params) -> Result<Query, ApiError> {
    let time = |name: &str| match params.get(name) {
        "" => Err(ApiError::parameter(name, "cannot parse \"\" to a valid timestamp")),
        text => crate::params::parse_time_ms(text).ok_or_else(|| {
            ApiError::parameter(
                name,
                format_args!("cannot parse {} to a valid timestamp", model::labels::go_quote(text)),
            )
        }),
    };
    let (start_ms, end_ms) = (time("start")?, time("end")?);
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms =
        parse_duration_ms(params.get("step")).map_err(|error| ApiError::parameter("step", error))?;
    if step_ms <= 0 {
        return Err(ApiError::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if end_ms.saturating_sub(start_ms) / step_ms > POINTS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    Ok(Query::range(params.get("query"), start_ms, end_ms, step_ms))
}

/// What both forms share: how long it may take, lookback, statistics, time.
fn common(web: &Web, params: &Params, query: Query) -> Result<(Query, Duration), ApiError> {
    let timeout = timeout(web, params)?;
    let lookback_delta_ms = match params.get("lookback_delta") {
        "" => None,
        text => match parse_duration_ms(text) {
            Ok(lookback) if lookback > 0 => Some(lookback),
            Ok(_) => None,
            Err(error) => {
                return Err(ApiError::bad_data(format!("error parsing lookback delta duration: {error}")));
            }
        },
    };
    let per_step_stats = params.get("stats") == "all";
    Ok((Query { lookback_delta_ms, per_step_stats, clock: Some(web.clock.clone()), ..query }, timeout))
}

/// How long a query may take: the request's wish, capped by the flag.
fn timeout(web: &Web, params: &Params) -> Result<Duration, ApiError> {
    let cap = web.options.query_timeout_ms;
    let ms = match params.get("timeout") {
        "" => cap,
        text => parse_duration_ms(text)
            .map_err(|error: DurationError| ApiError::parameter("timeout", error))?
            .min(cap),
    };
    Ok(Duration::from_millis(ms.max(0).unsigned_abs()))
}

/// Stops the query when the client leaves before it is done.
struct CancelWhenDropped(Option<CancelToken>);

impl Drop for CancelWhenDropped {
    fn drop(&mut self) {
        if let Some(token) = self.0.take() {
            token.cancel(CancelReason::Canceled);
        }
    }
}

/// Who asks, for the query log.
fn origin(request: &Request<Body>) -> Origin {
    let peer = request.extensions().get::<net::server::Peer>();
    Origin::Http {
        client_ip: peer.map(|peer| peer.address.ip().to_string()).unwrap_or_default(),
        method: request.method().to_string(),
        // The routes of the API do not see its prefix.
        path: format!("/api/v1{}", request.uri().path()),
    }
}

/// Evaluates a query and tells the observer, which also notes it while it runs.
fn observed(
    web: &Web,
    store: &dyn Queryable,
    query: &Query,
    queued: f64,
    origin: &Origin,
) -> Result<Output, QueryError> {
    let observer = web.observer.get();
    let running = observer.map(|observer| observer.begin(&query.text));
    let mut outcome = web.engine.evaluate(store, query);
    drop(running);
    let timed = match &mut outcome {
        Ok(output) => Some(&mut output.stats),
        Err(failure) => failure.stats.as_deref_mut(),
    };
    if let Some(stats) = timed {
        stats.timings.exec_queue = queued;
        stats.timings.exec_total += queued;
        stats.timings = stats.timings.rounded();
    }
    let (stats, sorted, error) = match &outcome {
        Ok(output) => (Some(&output.stats), matches!(output.value, Value::Matrix(_)), None),
        Err(failure) => (failure.stats.as_deref(), false, Some(&failure.error)),
    };
    // What is no expression was never run.
    if let (Some(observer), Some(stats)) = (observer, stats) {
        observer.ended(&QueryRecord {
            text: &query.text,
            start_ms: query.start_ms,
            end_ms: query.end_ms,
            step_ms: query.step_ms,
            origin,
            stats,
            sorted,
            error,
        });
    }
    outcome.map_err(QueryError::from)
}

/// Evaluates a query on a worker thread, once there is room, within its time.
///
/// # Errors
/// The outer: it did not come to be run. The inner: its own.
pub(crate) async fn run(
    web: Arc<Web>,
    timeout: Duration,
    mut query: Query,
    origin: Origin,
) -> Result<Result<Output, QueryError>, ApiError> {
    let storage = web.storage()?;
    let cancel = CancelToken::new();
    query.cancel = cancel.clone();
    let mut guard = CancelWhenDropped(Some(cancel.clone()));
    let deadline = tokio::time::Instant::now() + timeout;
    let queued_at = web.clock.monotonic();
    let slots = web.query_slots.clone();
    let arrived = web.observer.get().map(|observer| observer.arrived());
    let listed = web.running.begin(&query, &origin, web.clock.now_ms());
    let waited = tokio::select! {
        waited = tokio::time::timeout_at(deadline, slots.acquire_owned()) => waited,
        () = listed.canceled() => {
            return Err(ApiError::new(ErrorKind::Canceled, "query was canceled in query queue"));
        }
    };
    let queued = web.clock.monotonic().saturating_sub(queued_at).as_secs_f64();
    if let Some(observer) = web.observer.get() {
        observer.waited(queued);
    }
    let Ok(permit) = waited else {
        return Err(ApiError::new(ErrorKind::Timeout, "query timed out in expression evaluation"));
    };
    listed.runs();
    if timeout.is_zero() {
        cancel.cancel(CancelReason::TimedOut);
    }
    let timer = tokio::spawn(async move {
        tokio::time::sleep_until(deadline).await;
        cancel.cancel(CancelReason::TimedOut);
    });
    let asked = web.clone();
    let outcome = blocking(move || {
        // Held to the end, though the client may leave before.
        let (_permit, _arrived) = (permit, arrived);
        Ok(observed(&asked, &*storage.queryable, &query, queued, &origin))
    })
    .await;
    timer.abort();
    guard.0 = None;
    outcome
}

/// What was asked for beside the value is added, what is too much cut.
fn answer(mut output: Output, params: &Params, limit: usize) -> Response<Body> {
    let with_stats = match params.get("stats") {
        "" => false,
        mode => {
            if mode != "all" && mode != "true" {
                let warning = format!(
                    "value {} for parameter \"stats\" is deprecated and will be rejected in the next major release, \
                     use \"true\" or \"all\"",
                    model::labels::go_quote(mode)
                );
                add_warning(&mut output.warnings, &warning);
            }
            true
        }
    };
    let truncated = limit > 0
        && match &mut output.value {
            Value::Vector(vector) => vector.truncate(limit),
            Value::Matrix(matrix) => matrix.truncate(limit),
            Value::Scalar { .. } | Value::String { .. } => false,
        };
    if truncated {
        add_warning(&mut output.warnings, TRUNCATED);
    }
    respond(crate::body::from_iterator(Pieces::new(output, with_stats)))
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> ApiError {
        let kind = match &error {
            QueryError::Parse(_) => return ApiError::parameter("query", error),
            QueryError::TimedOut(_) => ErrorKind::Timeout,
            QueryError::Canceled(_) => ErrorKind::Canceled,
            QueryError::Storage(_) => ErrorKind::Internal,
            QueryError::TooManySamples(_)
            | QueryError::Samples(_)
            | QueryError::Execution(_)
            | QueryError::Memory(_) => ErrorKind::Execution,
        };
        ApiError::new(kind, error.to_string())
    }
}
