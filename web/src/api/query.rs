//! `/query` and `/query_range`: evaluated whole into columns first, so that an
//! error keeps its status, then streamed as JSON from them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use model::query::CancelReason;
use model::{CancelToken, Queryable};
use promql::observer::{Origin, QueryRecord};
use promql::value::{Matrix, SampleValue, Series, Value, Vector};
use promql::{Output, Query, QueryError};
use serde::Serialize;

use super::{Answer, TRUNCATED, blocking, respond, write_annotations};
use crate::error::{ApiError, ErrorKind};
use crate::json::{self, GoFloat};
use crate::params::{DurationError, Params, parse_duration_ms};
use crate::state::Web;

/// Most points of a series that a range query may ask for.
const POINTS_MAX: i64 = 11_000;
/// Answers leave in pieces of about so many bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// Most warnings, and most infos, of an answer; the rest is counted.
const ANNOTATIONS_MAX: usize = 10;

/// `/query`: the expression at one time.
pub async fn instant(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let origin = origin(&request);
    let params = Params::read(request).await?;
    let limit = params.limit()?;
    let at_ms = params.time_ms("time", web.clock.now_ms())?;
    let query = common(&web, &params, Query::instant(params.get("query"), at_ms))?;
    run(web, params, query, limit, origin).await
}

/// `/query_range`: the expression at every step of a range.
pub async fn range(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let origin = origin(&request);
    let params = Params::read(request).await?;
    let limit = params.limit()?;
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
    let query = common(&web, &params, Query::range(params.get("query"), start_ms, end_ms, step_ms))?;
    run(web, params, query, limit, origin).await
}

/// What both forms share: lookback, statistics, time.
fn common(web: &Web, params: &Params, query: Query) -> Result<Query, ApiError> {
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
    Ok(Query { lookback_delta_ms, per_step_stats, clock: Some(web.clock.clone()), ..query })
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
        path: request.uri().path().to_owned(),
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
    let mut outcome = match query.step_ms > 0 {
        true => web.engine.range(store, query),
        false => web.engine.instant(store, query),
    };
    drop(running);
    if let Ok(output) = &mut outcome {
        output.stats.timings.exec_queue = queued;
        output.stats.timings.exec_total += queued;
    }
    if let Some(observer) = observer {
        observer.ended(&QueryRecord {
            text: &query.text,
            start_ms: query.start_ms,
            end_ms: query.end_ms,
            step_ms: query.step_ms,
            origin,
            stats: outcome.as_ref().ok().map(|output| &output.stats),
            error: outcome.as_ref().err(),
        });
    }
    outcome
}

async fn run(web: Arc<Web>, params: Params, mut query: Query, limit: usize, origin: Origin) -> Answer {
    let timeout = timeout(&web, &params)?;
    let storage = web.storage()?;
    let cancel = CancelToken::new();
    query.cancel = cancel.clone();
    let mut guard = CancelWhenDropped(Some(cancel.clone()));
    let deadline = tokio::time::Instant::now() + timeout;
    let queued_at = web.clock.monotonic();
    let slots = web.query_slots.clone();
    let Ok(permit) = tokio::time::timeout_at(deadline, slots.acquire_owned()).await else {
        return Err(ApiError::new(ErrorKind::Timeout, "query timed out in expression evaluation"));
    };
    let queued = web.clock.monotonic().saturating_sub(queued_at).as_secs_f64();
    if timeout.is_zero() {
        cancel.cancel(CancelReason::TimedOut);
    }
    let timer = tokio::spawn(async move {
        tokio::time::sleep_until(deadline).await;
        cancel.cancel(CancelReason::TimedOut);
    });
    let asked = web.clone();
    let outcome = blocking(move || {
        let _permit = permit;
        observed(&asked, &*storage.queryable, &query, queued, &origin).map_err(ApiError::from)
    })
    .await;
    timer.abort();
    guard.0 = None;
    let mut output = outcome?;
    let stats = match params.get("stats") {
        "" => None,
        mode => {
            if mode != "all" && mode != "true" {
                output.warnings.push(format!(
                    "the stats parameter value {} is deprecated, use \"true\" or \"all\"",
                    model::labels::go_quote(mode)
                ));
            }
            Some(stats_json(&output))
        }
    };
    let truncated = limit > 0
        && match &mut output.value {
            Value::Vector(vector) => vector.truncate(limit),
            Value::Matrix(matrix) => matrix.truncate(limit),
            Value::Scalar { .. } | Value::String { .. } => false,
        };
    if truncated {
        output.warnings.push(TRUNCATED.to_owned());
    }
    let pieces = Pieces { output, stats, next: 0, started: false, ended: false };
    Ok(respond(crate::body::from_iterator(pieces)))
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

/// The answer's JSON in pieces, made as they are taken.
struct Pieces {
    output: Output,
    stats: Option<Vec<u8>>,
    next: usize,
    started: bool,
    ended: bool,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut out = Vec::with_capacity(PIECE_BYTES + 4096);
        if !self.started {
            self.started = true;
            let kind = self.output.value.type_name();
            out.extend_from_slice(
                format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"{kind}\",\"result\":[")
                    .as_bytes(),
            );
        }
        let done = match &self.output.value {
            Value::Scalar { timestamp_ms, value } => {
                json::write_time(&mut out, *timestamp_ms);
                out.push(b',');
                json::write_value(&mut out, *value);
                true
            }
            Value::String { timestamp_ms, value } => {
                json::write_time(&mut out, *timestamp_ms);
                out.push(b',');
                json::write_string(&mut out, value);
                true
            }
            Value::Vector(vector) => {
                fill(&mut out, &mut self.next, vector.len(), |out, i| write_sample(out, vector, i))
            }
            Value::Matrix(matrix) => fill(&mut out, &mut self.next, matrix.len(), |out, i| {
                write_series(out, matrix, &matrix.series[i])
            }),
        };
        if done {
            self.ended = true;
            out.push(b']');
            if let Some(stats) = &self.stats {
                out.extend_from_slice(b",\"stats\":");
                out.extend_from_slice(stats);
            }
            out.push(b'}');
            let warnings = capped(&self.output.warnings, "warning");
            let infos = capped(&self.output.infos, "info");
            write_annotations(&mut out, &warnings, &infos);
            out.push(b'}');
        }
        Some(Bytes::from(out))
    }
}

/// Writes elements until the piece is full; whether all are written.
fn fill(out: &mut Vec<u8>, next: &mut usize, len: usize, mut write: impl FnMut(&mut Vec<u8>, usize)) -> bool {
    while *next < len {
        if out.len() >= PIECE_BYTES {
            return false;
        }
        if *next > 0 {
            out.push(b',');
        }
        write(out, *next);
        *next += 1;
    }
    true
}

fn write_sample(out: &mut Vec<u8>, vector: &Vector, i: usize) {
    out.extend_from_slice(b"{\"metric\":");
    let dictionary = vector.labels.dictionary().read();
    json::write_labels(out, dictionary.row(vector.labels.table().row(i)));
    match &vector.values[i] {
        SampleValue::Float(value) => {
            out.extend_from_slice(b",\"value\":[");
            json::write_time(out, vector.timestamp_ms);
            out.push(b',');
            json::write_value(out, *value);
        }
        SampleValue::Histogram(histogram) => {
            out.extend_from_slice(b",\"histogram\":[");
            json::write_time(out, vector.timestamp_ms);
            out.push(b',');
            json::write_histogram(out, histogram);
        }
    }
    out.extend_from_slice(b"]}");
}

fn write_series(out: &mut Vec<u8>, matrix: &Matrix, series: &Series) {
    out.extend_from_slice(b"{\"metric\":");
    let dictionary = matrix.labels.dictionary().read();
    json::write_labels(out, dictionary.row(matrix.labels.table().row(series.row as usize)));
    if !series.floats.is_empty() {
        out.extend_from_slice(b",\"values\":[");
        for (i, (&timestamp_ms, &value)) in series.float_timestamps_ms.iter().zip(&series.floats).enumerate()
        {
            out.extend_from_slice(if i > 0 { b",[" } else { b"[" });
            json::write_time(out, timestamp_ms);
            out.push(b',');
            json::write_value(out, value);
            out.push(b']');
        }
        out.push(b']');
    }
    if !series.histograms.is_empty() {
        out.extend_from_slice(b",\"histograms\":[");
        for (i, (timestamp_ms, histogram)) in series.histograms.iter().enumerate() {
            out.extend_from_slice(if i > 0 { b",[" } else { b"[" });
            json::write_time(out, *timestamp_ms);
            out.push(b',');
            json::write_histogram(out, histogram);
            out.push(b']');
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// At most [`ANNOTATIONS_MAX`] texts and a line that counts the rest.
fn capped(texts: &[String], kind: &str) -> Vec<String> {
    let mut shown: Vec<String> = texts.iter().take(ANNOTATIONS_MAX).cloned().collect();
    if texts.len() > ANNOTATIONS_MAX {
        shown.push(format!("{} more {kind} annotations omitted", texts.len() - ANNOTATIONS_MAX));
    }
    shown
}

#[derive(Serialize)]
struct Stats {
    timings: TimingFigures,
    samples: SampleFigures,
}

/// Seconds, in upstream's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TimingFigures {
    eval_total_time: GoFloat,
    result_sort_time: GoFloat,
    query_preparation_time: GoFloat,
    inner_eval_time: GoFloat,
    exec_queue_time: GoFloat,
    exec_total_time: GoFloat,
}

/// Counts, by step as `[seconds, count]`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SampleFigures {
    #[serde(skip_serializing_if = "Option::is_none")]
    total_queryable_samples_per_step: Option<Vec<(GoFloat, u64)>>,
    total_queryable_samples: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    samples_read_per_step: Option<Vec<(GoFloat, u64)>>,
    samples_read: u64,
    peak_samples: u64,
}

/// The `stats` object.
fn stats_json(output: &Output) -> Vec<u8> {
    let (stats, timings) = (&output.stats, &output.stats.timings);
    let per_step = |steps: &Option<Vec<(i64, u64)>>| {
        let seconds = |&(ms, count): &(i64, u64)| (GoFloat(ms as f64 / 1000.0), count);
        steps.as_ref().map(|steps| steps.iter().map(seconds).collect())
    };
    json::to_vec(&Stats {
        timings: TimingFigures {
            eval_total_time: GoFloat(timings.eval_total),
            result_sort_time: GoFloat(timings.result_sort),
            query_preparation_time: GoFloat(timings.query_preparation),
            inner_eval_time: GoFloat(timings.inner_eval),
            exec_queue_time: GoFloat(timings.exec_queue),
            exec_total_time: GoFloat(timings.exec_total),
        },
        samples: SampleFigures {
            total_queryable_samples_per_step: per_step(&stats.total_queryable_samples_per_step),
            total_queryable_samples: stats.total_queryable_samples,
            samples_read_per_step: per_step(&stats.samples_read_per_step),
            samples_read: stats.samples_read,
            peak_samples: stats.peak_samples,
        },
    })
}
