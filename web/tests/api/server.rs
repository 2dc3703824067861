//! A server for tests: the router over a store in memory that a clock obeys.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use model::admin::{HeadStats, NamedCount, ReplayProgress, RuntimeSettings, TsdbAdmin, TsdbStatus};
use model::append::{FloatBatch, HistogramSample, HistogramValue, Timestamps};
use model::exemplar::SeriesExemplars;
use model::metrics::Registry;
use model::query::{ChunkQueryable, Dictionary, ExemplarQueryable, LabelList, LabelQueryable, RawChunk};
use model::{
    Appendable, Exemplar, FloatHistogram, Labels, Matcher, Queryable, SelectRequest, Span, StorageError,
    TimeRange,
};
use scrape::fetch::{Fetch, FetchError, FetchFactory, FetchRequest, Fetching};
use scrape::{ManagerOptions, ScrapeManager};
use serde_json::Value;
use testkit::{MemoryStore, TestClock};
use tokio::sync::mpsc;
use tower::ServiceExt;
use web::{Readiness, Reload, Storage, Web, WebOptions};

/// The time of the server's clock: 2023-11-14T22:13:20Z.
pub const NOW_MS: i64 = 1_700_000_000_000;

/// The parts of a store that the one in memory does not have.
#[derive(Clone)]
struct Rest(MemoryStore);

impl Rest {
    fn labels(&self, range: TimeRange, sets: &[Vec<Matcher>]) -> Result<Vec<Labels>, StorageError> {
        let everything = [vec![]];
        let sets = if sets.is_empty() { &everything } else { sets };
        let querier = self.0.querier(range)?;
        let dictionary = Dictionary::new();
        let mut all = Vec::new();
        for matchers in sets {
            let selected = querier.select(&SelectRequest::new(matchers.clone(), range), &dictionary)?;
            all.extend(selected.labels.iter().map(|row| dictionary.labels(row)));
        }
        Ok(all)
    }
}

fn list(values: impl Iterator<Item = String>, limit: usize) -> LabelList {
    let mut values: Vec<String> = values.collect();
    values.sort();
    values.dedup();
    let truncated = limit > 0 && values.len() > limit;
    if truncated {
        values.truncate(limit);
    }
    LabelList { values, truncated, warnings: Vec::new() }
}

impl LabelQueryable for Rest {
    fn label_names(
        &self,
        range: TimeRange,
        sets: &[Vec<Matcher>],
        limit: usize,
    ) -> Result<LabelList, StorageError> {
        let all = self.labels(range, sets)?;
        Ok(list(all.iter().flat_map(|labels| labels.iter().map(|label| label.name.to_owned())), limit))
    }

    fn label_values(
        &self,
        name: &str,
        range: TimeRange,
        sets: &[Vec<Matcher>],
        limit: usize,
    ) -> Result<LabelList, StorageError> {
        let all = self.labels(range, sets)?;
        Ok(list(all.iter().filter_map(|labels| labels.get(name)).map(str::to_owned), limit))
    }
}

impl ExemplarQueryable for Rest {
    fn exemplars(
        &self,
        range: TimeRange,
        sets: &[Vec<Matcher>],
    ) -> Result<Vec<SeriesExemplars>, StorageError> {
        let exemplar = Exemplar {
            labels: Labels::from_pairs([("trace_id", "<abc>")]),
            value: 0.5,
            timestamp_ms: NOW_MS - 1500,
            has_timestamp: true,
        };
        let all = self.labels(TimeRange::ALL, sets)?;
        let within = range.contains(exemplar.timestamp_ms);
        let of = |series| SeriesExemplars { series, exemplars: vec![exemplar.clone()] };
        Ok(all.into_iter().filter(|_| within).map(of).collect())
    }
}

impl ChunkQueryable for Rest {
    fn chunks(
        &self,
        _: &SelectRequest,
        _: &mut dyn FnMut(&Labels, Vec<RawChunk>) -> bool,
    ) -> Result<(), StorageError> {
        Err(StorageError::Unsupported)
    }
}

impl TsdbAdmin for Rest {
    fn delete_series(&self, _: TimeRange, _: &[Vec<Matcher>]) -> Result<(), StorageError> {
        Ok(())
    }

    fn clean_tombstones(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn snapshot(&self, skip_head: bool) -> Result<String, StorageError> {
        Ok(format!("20231114T221320Z-{:016x}", u8::from(skip_head)))
    }

    fn apply(&self, _: &RuntimeSettings) -> Result<(), StorageError> {
        Ok(())
    }
}

impl TsdbStatus for Rest {
    fn head_stats(&self, limit: usize) -> Result<HeadStats, StorageError> {
        let names = ["up", "http_requests_total"].iter().take(limit);
        let counts = names.map(|name| NamedCount { name: (*name).to_owned(), value: 2 }).collect();
        Ok(HeadStats {
            num_series: self.0.series_count() as u64,
            series_by_metric: counts,
            ..HeadStats::default()
        })
    }

    fn blocks(&self) -> Result<Vec<Value>, StorageError> {
        Ok(vec![serde_json::json!({ "ulid": "01HF7YAT31J3RM6TQ3PM2P0000", "version": 1 })])
    }

    fn replay_progress(&self) -> ReplayProgress {
        ReplayProgress::default()
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn start_time_ms(&self) -> Result<i64, StorageError> {
        Ok(0)
    }

    fn corruption_count(&self) -> u64 {
        0
    }

    fn retention_text(&self) -> String {
        "15d".to_owned()
    }
}

/// Samples of the last ten minutes: floats every 15 s, one native histogram.
fn filled() -> MemoryStore {
    let store = MemoryStore::new();
    let mut batch = store.appender().unwrap();
    let mut outcomes = Vec::new();
    let series: [&[(&str, &str)]; 6] = [
        &[("__name__", "up"), ("job", "a"), ("instance", "one")],
        &[("__name__", "up"), ("job", "b")],
        &[("__name__", "http_requests_total"), ("job", "a"), ("path", "/<x>&")],
        &[("__name__", "http_requests_total"), ("job", "b"), ("region", "own")],
        &[("__name__", "my.metric"), ("my.label", "v")],
        &[("__name__", "stale_metric")],
    ];
    for (n, pairs) in series.iter().enumerate() {
        let handle = batch.series(&Labels::from_pairs(pairs.iter().copied())).unwrap();
        for step in (0..=40).rev() {
            let value =
                if n == 5 && step == 0 { model::stale_nan() } else { (n * 100 + 40 - step as usize) as f64 };
            let floats = FloatBatch {
                series: &[handle],
                timestamps: Timestamps::Same(NOW_MS - step * 15_000),
                start_timestamps: None,
                values: &[value],
                in_order_only: false,
            };
            batch.append_floats(floats, &mut outcomes);
        }
    }
    let handle = batch.series(&Labels::from_pairs([("__name__", "latency")])).unwrap();
    let histogram = FloatHistogram {
        schema: 0,
        count: 6.0,
        sum: 9.5,
        zero_count: 1.0,
        zero_threshold: 0.001,
        positive_spans: vec![Span { offset: 0, length: 2 }].into(),
        positive_buckets: vec![2.0, 3.0],
        ..FloatHistogram::default()
    };
    let sample = HistogramSample {
        series: handle,
        timestamp_ms: NOW_MS - 1000,
        start_timestamp_ms: 0,
        value: HistogramValue::Float(histogram),
    };
    batch.append_histograms(vec![sample], &mut outcomes);
    batch.commit().unwrap();
    store
}

/// A network that no target can be reached over.
struct Offline;

impl Fetch for Offline {
    fn fetch<'a>(&'a self, _: &'a FetchRequest, _: &'a mut Vec<u8>) -> Fetching<'a> {
        Box::pin(async { Err(FetchError::BodyTimeout) })
    }
}

impl FetchFactory for Offline {
    fn fetcher(&self, _: &config::ScrapeConfig, _: Option<&str>) -> Result<Arc<dyn Fetch>, FetchError> {
        Ok(Arc::new(Offline))
    }
}

/// The jobs of [`Server::with_targets`].
const JOBS: &str = r"
scrape_configs:
  - job_name: node
    basic_auth: { username: u, password: hidden }
    relabel_configs:
      - { source_labels: [drop_me], regex: 'yes', action: drop }
      - { source_labels: [__address__], target_label: host }
  - job_name: other
";

/// A server under test.
pub struct Server {
    pub web: Arc<Web>,
    pub store: MemoryStore,
    pub reloads: mpsc::Receiver<Reload>,
    pub quits: mpsc::Receiver<()>,
    router: Router,
}

/// What is switched on.
pub fn all_on() -> WebOptions {
    WebOptions {
        external_url: "http://prom.example.org/base".to_owned(),
        route_prefix: "/".to_owned(),
        listen_address: "[::]:9090".to_owned(),
        cors_origin: "https://(grafana|perses).example.org".to_owned(),
        page_title: "A <title>".to_owned(),
        enable_lifecycle: true,
        enable_admin_api: true,
        enable_remote_write_receiver: true,
        search_max_limit: 1000,
        query_timeout_ms: 120_000,
        query_concurrency: 20,
        lookback_delta_ms: 300_000,
        flags: BTreeMap::from([("web.max-notifications-subscribers".to_owned(), "2".to_owned())]),
        features: vec!["search-api".to_owned()],
        build: vec![("version", "3.14.0".to_owned()), ("revision", "abc".to_owned())],
        start_time_ms: NOW_MS - 5000,
        working_directory: "/data".to_owned(),
        command_line: vec!["narthex".to_owned(), "--web.listen-address=:9090".to_owned()],
        hostname: "host".to_owned(),
        ..WebOptions::default()
    }
}

/// Upstream's defaults: what changes data is off.
pub fn defaults() -> WebOptions {
    WebOptions {
        cors_origin: ".*".to_owned(),
        enable_lifecycle: false,
        enable_admin_api: false,
        enable_remote_write_receiver: false,
        features: Vec::new(),
        ..all_on()
    }
}

impl Server {
    /// A server that is ready.
    pub fn new(options: WebOptions) -> Server {
        let server = Server::starting(options);
        let (store, rest) = (server.store.clone(), Arc::new(Rest(server.store.clone())));
        server.web.set_storage(Storage {
            queryable: Arc::new(store.clone()),
            labels: rest.clone(),
            exemplars: rest.clone(),
            chunks: rest.clone(),
            appendable: Arc::new(store),
            admin: rest.clone(),
            status: rest,
        });
        server.web.set_readiness(Readiness::Ready);
        server.web.config_text.store(Arc::new("global: {}\n".to_owned()));
        server
    }

    /// A server that still replays its log.
    pub fn starting(options: WebOptions) -> Server {
        let store = filled();
        let clock = Arc::new(TestClock::new(NOW_MS));
        let registry = Registry::new();
        let engine = Arc::new(promql::Engine::new(promql::EngineOptions::default()));
        let options_of_scrape = ManagerOptions::new(Arc::new(Offline));
        let scrape = ScrapeManager::new(options_of_scrape, Arc::new(store.clone()), clock.clone(), &registry);
        let (reload, reloads) = mpsc::channel(4);
        let (quit, quits) = mpsc::channel(1);
        let progress = Arc::new(|| ReplayProgress { min: 1, max: 7, current: 3 });
        let web = Web::new(options, clock, registry, engine, Arc::new(scrape), reload, quit, progress);
        Server { router: web::router(web.clone()), web, store, reloads, quits }
    }

    /// Discovers three targets, one of which is dropped.
    pub async fn with_targets(self) -> Server {
        let lookup = |_: &str| None;
        let options = config::LoadOptions { lookup: &lookup, ..config::LoadOptions::default() };
        let loaded = config::Config::load(JOBS, std::path::Path::new(""), &options).unwrap();
        let jobs = loaded.config.jobs().map(|job| Arc::new(job.clone())).collect();
        self.web.scrape.apply(jobs, &Labels::empty()).await.unwrap();
        let target = |address: &str, drop_me: &str| {
            Labels::from_pairs([("__address__", address), ("drop_me", drop_me)])
        };
        let group = |source: &str, targets| discovery::TargetGroup {
            source: source.to_owned(),
            labels: Labels::empty(),
            targets,
        };
        let node = vec![target("localhost:9100", ""), target("gone:9100", "yes")];
        self.web.scrape.update_groups("node", vec![group("0", node)]);
        self.web.scrape.update_groups("other", vec![group("0", vec![target("localhost:9090", "")])]);
        self.web.scrape.sync().await;
        self
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Reply { status: parts.status, headers: parts.headers, body: body.to_vec() }
    }

    /// Sends a request without reading its answer's body.
    pub async fn open(&self, request: Request<Body>) -> axum::http::Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn post_form(&self, path: &str, form: &str) -> Reply {
        let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(form.to_owned())).unwrap()).await
    }
}

/// An answer.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
