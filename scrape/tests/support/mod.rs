//! A store that records what is appended, a target that says what it is told
//! to, and a clock that follows tokio's.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::append::Existing;
use model::{
    AppendError, Appendable, Appender, Clock, Durability, Exemplar, ExemplarError, FloatBatch,
    HistogramSample, HistogramValue, Labels, Metadata, Outcome, SeriesHandle, StorageError,
};
use parking_lot::Mutex;
use scrape::fetch::{Fetch, FetchError, FetchFactory, FetchRequest, Fetched, Fetching};

/// What was stored of one series.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub floats: Vec<(i64, f64)>,
    pub histograms: Vec<(i64, HistogramValue)>,
    pub exemplars: Vec<Exemplar>,
    pub metadata: Vec<Metadata>,
    pub starts: Vec<(i64, i64)>,
    pub zeros: Vec<i64>,
}

#[derive(Default)]
struct Inner {
    generation: u32,
    by_labels: HashMap<String, u32>,
    names: Vec<String>,
    stored: Vec<Stored>,
    series_max: Option<usize>,
    commits: usize,
    rollbacks: usize,
    not_ready: bool,
}

/// Keeps everything in memory, by the labels' text.
#[derive(Clone, Default)]
pub struct Recorder {
    inner: Arc<Mutex<Inner>>,
}

impl Recorder {
    pub fn new() -> Recorder {
        Recorder::default()
    }

    /// Everything of a series, by its labels as printed.
    pub fn series(&self, labels: &str) -> Stored {
        let inner = self.inner.lock();
        inner.by_labels.get(labels).map(|i| inner.stored[*i as usize].clone()).unwrap_or_default()
    }

    /// Float samples of a series; a marker is `None`.
    pub fn floats(&self, labels: &str) -> Vec<(i64, Option<f64>)> {
        let plain = |v: f64| if model::is_stale_nan(v) { None } else { Some(v) };
        self.series(labels).floats.into_iter().map(|(t, v)| (t, plain(v))).collect()
    }

    /// Values of a series without their times.
    pub fn values(&self, labels: &str) -> Vec<Option<f64>> {
        self.floats(labels).into_iter().map(|(_, v)| v).collect()
    }

    pub fn names(&self) -> Vec<String> {
        let mut names = self.inner.lock().names.clone();
        names.sort();
        names
    }

    pub fn commits(&self) -> usize {
        self.inner.lock().commits
    }

    pub fn rollbacks(&self) -> usize {
        self.inner.lock().rollbacks
    }

    /// Makes all handles given out so far unknown.
    pub fn forget_handles(&self) {
        self.inner.lock().generation += 1;
    }

    pub fn refuse_new_series_above(&self, max: usize) {
        self.inner.lock().series_max = Some(max);
    }

    pub fn set_ready(&self, ready: bool) {
        self.inner.lock().not_ready = !ready;
    }
}

impl Appendable for Recorder {
    fn appender(&self) -> Result<Box<dyn Appender>, StorageError> {
        if self.inner.lock().not_ready {
            return Err(StorageError::NotReady);
        }
        Ok(Box::new(RecordingAppender { inner: self.inner.clone(), pending: Vec::new() }))
    }
}

enum Pending {
    Float(u32, i64, f64),
    Histogram(u32, i64, HistogramValue),
    Exemplar(u32, Exemplar),
    Metadata(u32, Metadata),
    Start(u32, i64, i64),
    Zero(u32, i64),
}

struct RecordingAppender {
    inner: Arc<Mutex<Inner>>,
    pending: Vec<Pending>,
}

impl RecordingAppender {
    fn newest(&self, slot: u32) -> Option<(i64, Option<f64>)> {
        let inner = self.inner.lock();
        let stored = &inner.stored[slot as usize];
        let mut newest = stored.floats.last().map(|(t, v)| (*t, Some(*v)));
        newest = newest.max_by_time(stored.histograms.last().map(|(t, _)| (*t, None)));
        for pending in &self.pending {
            match pending {
                Pending::Float(at, t, v) if *at == slot => newest = newest.max_by_time(Some((*t, Some(*v)))),
                Pending::Histogram(at, t, _) if *at == slot => newest = newest.max_by_time(Some((*t, None))),
                _ => {}
            }
        }
        newest
    }

    fn check(&self, handle: SeriesHandle, t: i64, value: Option<f64>) -> Outcome {
        if handle.generation != self.inner.lock().generation {
            return Outcome::UnknownSeries;
        }
        match self.newest(handle.slot) {
            Some((newest, _)) if t < newest => Outcome::OutOfOrder,
            Some((newest, have)) if t == newest => match (have, value) {
                (Some(have), Some(value)) if have.to_bits() == value.to_bits() => Outcome::Unchanged,
                (Some(have), _) => Outcome::DuplicateTimestamp { existing: Existing::Float(have) },
                (None, _) => Outcome::DuplicateTimestamp { existing: Existing::Histogram },
            },
            _ => Outcome::Accepted,
        }
    }
}

trait MaxByTime {
    fn max_by_time(self, other: Self) -> Self;
}

impl MaxByTime for Option<(i64, Option<f64>)> {
    fn max_by_time(self, other: Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) => Some(if b.0 >= a.0 { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

impl Appender for RecordingAppender {
    fn series(&mut self, labels: &Labels) -> Result<SeriesHandle, AppendError> {
        let text = labels.to_string();
        let mut inner = self.inner.lock();
        let generation = inner.generation;
        if let Some(slot) = inner.by_labels.get(&text) {
            return Ok(SeriesHandle { slot: *slot, generation });
        }
        if inner.series_max.is_some_and(|max| inner.names.len() >= max) {
            return Err(AppendError::Refused("test".to_owned()));
        }
        let slot = inner.names.len() as u32;
        inner.by_labels.insert(text.clone(), slot);
        inner.names.push(text);
        inner.stored.push(Stored::default());
        Ok(SeriesHandle { slot, generation })
    }

    fn find_series(&mut self, labels: &Labels) -> Option<SeriesHandle> {
        let inner = self.inner.lock();
        let slot = *inner.by_labels.get(&labels.to_string())?;
        Some(SeriesHandle { slot, generation: inner.generation })
    }

    fn append_floats(&mut self, batch: FloatBatch<'_>, outcomes: &mut Vec<Outcome>) {
        outcomes.clear();
        for (i, (handle, value)) in batch.series.iter().zip(batch.values).enumerate() {
            let t = batch.timestamps.at(i);
            let outcome = self.check(*handle, t, Some(*value));
            if outcome == Outcome::Accepted {
                self.pending.push(Pending::Float(handle.slot, t, *value));
                if let Some(start) =
                    batch.start_timestamps.map(|starts| starts[i]).filter(|start| *start != 0)
                {
                    self.pending.push(Pending::Start(handle.slot, t, start));
                }
            }
            outcomes.push(outcome);
        }
    }

    fn append_histograms(&mut self, samples: Vec<HistogramSample>, outcomes: &mut Vec<Outcome>) {
        outcomes.clear();
        for sample in samples {
            let outcome = self.check(sample.series, sample.timestamp_ms, None);
            if outcome == Outcome::Accepted {
                self.pending.push(Pending::Histogram(sample.series.slot, sample.timestamp_ms, sample.value));
            }
            outcomes.push(outcome);
        }
    }

    fn append_start_zero(
        &mut self,
        series: SeriesHandle,
        timestamp_ms: i64,
        start_timestamp_ms: i64,
        _like: Option<&HistogramValue>,
    ) -> Outcome {
        if start_timestamp_ms >= timestamp_ms {
            return Outcome::StartNotBeforeSample;
        }
        if self.newest(series.slot).is_some_and(|(newest, _)| newest >= start_timestamp_ms) {
            return Outcome::StartOutOfOrder;
        }
        self.pending.push(Pending::Zero(series.slot, start_timestamp_ms));
        Outcome::Accepted
    }

    fn append_exemplar(&mut self, series: SeriesHandle, exemplar: &Exemplar) -> Result<(), ExemplarError> {
        let inner = self.inner.lock();
        let newest = inner.stored[series.slot as usize].exemplars.last().map(|e| e.timestamp_ms);
        drop(inner);
        if newest.is_some_and(|newest| newest > exemplar.timestamp_ms) {
            return Err(ExemplarError::OutOfOrder);
        }
        self.pending.push(Pending::Exemplar(series.slot, exemplar.clone()));
        Ok(())
    }

    fn update_metadata(&mut self, series: SeriesHandle, metadata: &Metadata) {
        self.pending.push(Pending::Metadata(series.slot, metadata.clone()));
    }

    fn commit(self: Box<Self>) -> Result<Durability, StorageError> {
        let mut inner = self.inner.lock();
        inner.commits += 1;
        for pending in self.pending {
            match pending {
                Pending::Float(slot, t, v) => inner.stored[slot as usize].floats.push((t, v)),
                Pending::Histogram(slot, t, h) => inner.stored[slot as usize].histograms.push((t, h)),
                Pending::Exemplar(slot, e) => inner.stored[slot as usize].exemplars.push(e),
                Pending::Metadata(slot, m) => inner.stored[slot as usize].metadata.push(m),
                Pending::Start(slot, t, start) => inner.stored[slot as usize].starts.push((t, start)),
                Pending::Zero(slot, t) => inner.stored[slot as usize].zeros.push(t),
            }
        }
        Ok(Durability::Logged)
    }

    fn rollback(self: Box<Self>) {
        self.inner.lock().rollbacks += 1;
    }
}

/// Shows tokio's time, which a paused runtime moves.
pub struct TokioClock {
    start: tokio::time::Instant,
    wall_start_ms: i64,
}

impl TokioClock {
    pub fn new(wall_start_ms: i64) -> TokioClock {
        TokioClock { start: tokio::time::Instant::now(), wall_start_ms }
    }
}

impl Clock for TokioClock {
    fn now_ms(&self) -> i64 {
        self.wall_start_ms + i64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// The real clocks, for tests with real sockets.
pub struct SystemClock(std::time::Instant);

#[expect(clippy::disallowed_methods, reason = "a real server needs a real clock")]
impl SystemClock {
    pub fn new() -> SystemClock {
        SystemClock(std::time::Instant::now())
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "a real server needs a real clock")]
    fn now_ms(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        i64::try_from(since.as_millis()).unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What targets answer.
#[derive(Clone)]
pub enum Answer {
    Page(String),
    Bytes(Vec<u8>, String),
    Fails(String),
    /// Never answers.
    Hangs,
}

/// Targets without a network: answers by URL.
#[derive(Clone, Default)]
pub struct FakeTargets {
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<FetchRequest>>>,
}

impl FakeTargets {
    pub fn set(&self, url: &str, page: &str) {
        self.answer(url, Answer::Page(page.to_owned()));
    }

    pub fn answer(&self, url: &str, answer: Answer) {
        self.answers.lock().insert(url.to_owned(), answer);
    }

    pub fn asked(&self) -> Vec<FetchRequest> {
        self.asked.lock().clone()
    }
}

impl Fetch for FakeTargets {
    fn fetch<'a>(&'a self, request: &'a FetchRequest, page: &'a mut Vec<u8>) -> Fetching<'a> {
        Box::pin(async move {
            self.asked.lock().push(request.clone());
            let answer = self.answers.lock().get(&*request.url).cloned();
            match answer {
                Some(Answer::Page(text)) => {
                    page.extend_from_slice(text.as_bytes());
                    Ok(Fetched { content_type: "text/plain; version=0.0.4".to_owned() })
                }
                Some(Answer::Bytes(bytes, content_type)) => {
                    page.extend_from_slice(&bytes);
                    Ok(Fetched { content_type })
                }
                Some(Answer::Fails(error)) => Err(FetchError::Header(error)),
                Some(Answer::Hangs) => {
                    match tokio::time::timeout(request.timeout, std::future::pending()).await {
                        Ok(never) => never,
                        Err(_) => Err(FetchError::Timeout { url: request.url.to_string() }),
                    }
                }
                None => Err(FetchError::Header("no such target".to_owned())),
            }
        })
    }
}

impl FetchFactory for FakeTargets {
    fn fetcher(&self, _: &config::ScrapeConfig, _: Option<&str>) -> Result<Arc<dyn Fetch>, FetchError> {
        Ok(Arc::new(self.clone()))
    }
}
