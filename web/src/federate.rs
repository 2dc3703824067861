//! `/federate`: the newest sample of every series that matches, for another
//! server to scrape.

mod encode;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use model::memory::Lease;
use model::metrics::{Counter, Registry};
use model::query::{Dictionary, LatestColumns, LatestValue};
use model::{FloatHistogram, Labels, Matcher, SelectRequest, StorageError, TimeRange, is_stale_nan};

use crate::exposition::{Accepted, Format};
use crate::ops::error;
use crate::params::Params;
use crate::state::{Storage, Web};

/// Series whose newest samples are read at once.
const SERIES_AT_ONCE: usize = 1024;
/// Answers leave in pieces of about so many bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// Counts what went wrong.
pub struct FederationMetrics {
    errors: Counter,
    warnings: Counter,
}

impl FederationMetrics {
    /// Registers the counters.
    pub fn new(registry: &Registry) -> FederationMetrics {
        FederationMetrics {
            errors: registry.counter(
                "prometheus_web_federation_errors_total",
                "Total number of errors that occurred while sending federation responses.",
            ),
            warnings: registry.counter(
                "prometheus_web_federation_warnings_total",
                "Total number of warnings that occurred while sending federation responses.",
            ),
        }
    }
}

/// The newest sample of a series.
struct Sample {
    timestamp_ms: i64,
    value: Value,
}

enum Value {
    Float(f64),
    Histogram(FloatHistogram),
}

impl Value {
    fn heap_bytes(&self) -> usize {
        match self {
            Value::Float(_) => 0,
            Value::Histogram(histogram) => {
                (histogram.positive_buckets.len() + histogram.negative_buckets.len()) * 8
            }
        }
    }
}

/// What a sample takes beside its labels' text.
const SAMPLE_BYTES: usize = size_of::<(Labels, Sample)>() + 16;

/// Answers the samples in the format that the reader accepts best.
pub async fn federate(State(web): State<Arc<Web>>, request: Request<Body>) -> Response<Body> {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let accepted = Accepted::negotiate(accept.unwrap_or_default(), false);
    let params = Params::read(request).await.and_then(|params| params.well_formed().map(|()| params));
    let params = match params {
        Ok(params) => params,
        Err(fault) => return error(StatusCode::BAD_REQUEST, format!("{}\n", fault.message)),
    };
    let sets: Result<Vec<Vec<Matcher>>, _> =
        params.all("match[]").map(crate::params::parse_selector).collect();
    let sets = match sets {
        Ok(sets) => sets,
        Err(fault) => return error(StatusCode::BAD_REQUEST, format!("{fault}\n")),
    };
    let storage = match web.storage() {
        Ok(storage) => storage,
        Err(error) => return failed(&web, StatusCode::SERVICE_UNAVAILABLE, error.message),
    };
    let (at_ms, lookback_ms) = (web.clock.now_ms(), web.options.lookback_delta_ms);
    let asked = web.clone();
    let found = tokio::task::spawn_blocking(move || {
        newest(&storage, &sets, at_ms, lookback_ms, asked.room("federation request")?)
    })
    .await;
    let found = match found {
        Ok(Ok(found)) => found,
        Ok(Err(error @ (StorageError::NotReady | StorageError::Memory(_)))) => {
            return failed(&web, StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        }
        Ok(Err(error)) => return failed(&web, StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        Err(error) => return failed(&web, StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    web.federation.warnings.add(found.warnings);
    let families = Families {
        samples: found.samples.into_iter(),
        external: external_labels(&web.external_labels.load()),
        accepted,
        last: None,
        family: encode::Family::default(),
        ended: false,
        _room: found.room,
    };
    let mut response = Response::new(crate::body::from_iterator(families));
    if let Ok(kind) = HeaderValue::from_str(&accepted.content_type()) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

fn failed(web: &Web, status: StatusCode, reason: String) -> Response<Body> {
    web.federation.errors.inc();
    error(status, format!("{reason}\n"))
}

/// The labels to add: an empty `instance` keeps the reader from adding its own.
fn external_labels(labels: &Labels) -> BTreeMap<String, String> {
    let mut external: BTreeMap<String, String> =
        labels.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect();
    external.entry("instance".to_owned()).or_default();
    external
}

struct Found {
    /// By metric name, then in label order.
    samples: Vec<(Labels, Sample)>,
    warnings: u64,
    room: Lease,
}

fn newest(
    storage: &Storage,
    sets: &[Vec<Matcher>],
    at_ms: i64,
    lookback_ms: i64,
    room: Lease,
) -> Result<Found, StorageError> {
    let range = TimeRange::new(at_ms.saturating_sub(lookback_ms).saturating_add(1), at_ms);
    let querier = storage.queryable.querier(range)?;
    let dictionary = Dictionary::new();
    let mut found = Found { samples: Vec::new(), warnings: 0, room };
    let mut samples_bytes = 0;
    let mut latest = LatestColumns::default();
    // A selector without matchers selects nothing.
    for matchers in sets.iter().filter(|matchers| !matchers.is_empty()) {
        let selected = querier.select(&SelectRequest::new(matchers.clone(), range), &dictionary)?;
        found.warnings += selected.warnings.len() as u64;
        for start in (0..selected.labels.len()).step_by(SERIES_AT_ONCE) {
            let rows = start..selected.labels.len().min(start + SERIES_AT_ONCE);
            selected.reader.read_latest(rows.clone(), at_ms, lookback_ms, &mut latest)?;
            let names = dictionary.read();
            for (row, sample) in rows.zip(&latest.samples) {
                let Some(sample) = sample else { continue };
                let value = match sample.value {
                    LatestValue::Float(value) if is_stale_nan(value) => continue,
                    LatestValue::Float(value) => Value::Float(value),
                    LatestValue::Histogram(at) if latest.histograms[at].is_stale() => continue,
                    LatestValue::Histogram(at) => Value::Histogram(latest.histograms[at].clone()),
                };
                let labels = names.labels(selected.labels.row(row));
                samples_bytes += labels.as_bytes().len() + value.heap_bytes() + SAMPLE_BYTES;
                found.samples.push((labels, Sample { timestamp_ms: sample.timestamp_ms, value }));
            }
            let held = samples_bytes + selected.labels.heap_bytes() + dictionary.heap_bytes();
            found.room.grow_to(held as u64)?;
        }
    }
    if sets.len() > 1 {
        found.samples.sort_by(|(a, _), (b, _)| a.cmp(b));
        found.samples.dedup_by(|(next, _), (first, _)| next == first);
    }
    found.samples.sort_by(|(a, _), (b, _)| a.metric_name().cmp(b.metric_name()));
    Ok(found)
}

/// What tells one family from the next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FamilyKey {
    name: String,
    kind: encode::Kind,
}

/// Writes family after family, a piece at a time.
struct Families {
    samples: std::vec::IntoIter<(Labels, Sample)>,
    external: BTreeMap<String, String>,
    accepted: Accepted,
    last: Option<FamilyKey>,
    family: encode::Family,
    ended: bool,
    /// Given back when all are sent.
    _room: Lease,
}

impl Iterator for Families {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::with_capacity(PIECE_BYTES + 4096);
        while !self.ended && out.len() < PIECE_BYTES {
            match self.samples.next() {
                Some((labels, sample)) => self.write(&labels, &sample, &mut out),
                None => {
                    self.ended = true;
                    self.family.end(&mut out);
                }
            }
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }
}

impl Families {
    fn write(&mut self, labels: &Labels, sample: &Sample, out: &mut Vec<u8>) {
        let kind = match &sample.value {
            Value::Float(_) => encode::Kind::Untyped,
            // Text has no native histograms, but those with custom buckets are classic ones.
            Value::Histogram(histogram)
                if self.accepted.format != Format::Protobuf && !histogram.uses_custom_buckets() =>
            {
                return;
            }
            Value::Histogram(histogram) if histogram.counter_reset_hint == model::CounterResetHint::Gauge => {
                encode::Kind::GaugeHistogram
            }
            Value::Histogram(_) => encode::Kind::Histogram,
        };
        let name = labels.metric_name();
        if name.is_empty() {
            tracing::warn!(component = "web", metric = %labels, "Ignoring nameless metric during federation");
            return;
        }
        if self.last.as_ref().is_none_or(|last| last.name != name || last.kind != kind) {
            self.family.end(out);
            self.family = encode::Family::start(self.accepted, name, kind, out);
            self.last = Some(FamilyKey { name: name.to_owned(), kind });
        }
        let own = labels.iter().filter(|label| label.name != model::METRIC_NAME);
        let added = self.external.iter().filter(|(name, _)| !labels.has(name));
        let pairs = own
            .map(|label| (label.name, label.value))
            .chain(added.map(|(name, value)| (name.as_str(), value.as_str())));
        let pairs: Vec<(&str, &str)> = pairs.collect();
        self.family.sample(&pairs, sample, out);
    }
}
