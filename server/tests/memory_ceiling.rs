//! One ceiling for everything at once: series by remote write and by scraping,
//! hostile queries, compaction, `kill -9` and replay, more series than fit. The
//! process stays below its ceiling, misses no scrape, and what it refuses it
//! refuses with numbers.
//!
//! The long size: `NARTHEX_CEILING_SERIES=1000000 NARTHEX_CEILING_MB=1536`. Where
//! the machine has control groups to give, `NARTHEX_CEILING_CGROUP` names a
//! folder of the memory controller whose limit is the ceiling: the server then
//! runs inside it.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the whole process, on the machine's clock"
)]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::Server;
use testkit::exporter::Exporter;
use testkit::http;
use testkit::sender::{Entry, Sender, Version, request};

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn number(name: &str, quick: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(quick)
}

/// Resident memory that no file backs, in bytes; 0 once the process is gone.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Looks at a process' memory every few milliseconds and keeps the most it saw.
struct Watch {
    most: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn start(process: u32) -> Watch {
        let (most, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (most, stop) = (most.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    most.fetch_max(resident(process), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        Watch { most, stop, thread: Some(thread) }
    }

    fn most_mb(&self) -> u64 {
        self.most.load(Ordering::Relaxed) >> 20
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and the test is over.
            let _ = thread.join();
        }
    }
}

/// Ten labels as of node_exporter.
fn labels(n: u64) -> Vec<(String, String)> {
    let pairs = [
        ("__name__", format!("node_metric_{}_total", n / 20 % 50)),
        ("cluster", "production-eu-1".to_owned()),
        ("device", format!("dev{}", n % 20)),
        ("environment", "production".to_owned()),
        ("instance", format!("10.0.{}.{}:9100", n / 256_000, n / 1000 % 256)),
        ("job", "node-exporter".to_owned()),
        ("mode", ["user", "system", "idle", "iowait"][(n % 4) as usize].to_owned()),
        ("namespace", "monitoring".to_owned()),
        ("pod", format!("node-exporter-{:05x}", n / 1000)),
        ("region", ["eu-west-1", "eu-central-1", "us-east-1"][(n % 3) as usize].to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// Sends one sample of now of each of the series `from..to`; statuses and the last
/// text that was not a success. With `patience`, what is refused for want of room is
/// sent again until it is taken, as a sender does.
fn send(sender: &mut Sender, from: u64, to: u64, patience: bool) -> (Vec<u16>, String) {
    let (mut statuses, mut said) = (Vec::new(), String::new());
    let mut at = from;
    while at < to {
        let end = (at + 2000).min(to);
        let labels: Vec<_> = (at..end).map(labels).collect();
        let body = || {
            let timestamp_ms = now_ms();
            let entries: Vec<Entry<'_>> = labels
                .iter()
                .enumerate()
                .map(|(i, labels)| Entry {
                    labels,
                    timestamp_ms,
                    value: (at + i as u64) as f64 + timestamp_ms as f64,
                })
                .collect();
            request(Version::One, &entries)
        };
        let (mut status, mut text) = sender.send(Version::One, &body()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while patience && status == 503 {
            assert!(text.contains(" are in use"), "a refusal has numbers: {text}");
            assert!(Instant::now() < deadline, "room must come back: {text}");
            std::thread::sleep(Duration::from_millis(100));
            (status, text) = sender.send(Version::One, &body()).unwrap();
        }
        statuses.push(status);
        if status >= 300 {
            said = text;
        }
        at = end;
    }
    (statuses, said)
}

fn value(port: u16, query: &str) -> f64 {
    let (status, body) = http::get(port, &format!("/api/v1/query?query={}", http::encode(query))).unwrap();
    assert_eq!(status, 200, "{query}: {body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

const HOSTILE: &[&str] = &[
    "sum_over_time({__name__=~\".+\"}[1y:1s])",
    "{__name__=~\".+\"} * on() group_left() {__name__=~\".+\"}",
    "max_over_time(max_over_time(up[1d:1s])[1d:1s])",
    "label_replace({job=\"node-exporter\"}, \"x\", \"$0$0$0$0$0$0$0$0\", \"pod\", \"(.*)\")",
    "count_values(\"v\", {job=\"node-exporter\"})",
    "sort_desc(rate({job=\"node-exporter\"}[1h]))",
    "topk(1000000, {job=\"node-exporter\"})",
    "quantile by (pod, device, mode) (0.5, {job=\"node-exporter\"})",
];

/// A server and who watches its memory, from its first moment on.
fn start(dir: &Path, port: u16, ceiling_mb: u64, block: &str) -> (Server, Watch) {
    let limit = format!("--memory.limit={ceiling_mb}MB");
    let block = format!("--storage.tsdb.min-block-duration={block}");
    let flags = [
        limit.as_str(),
        "--web.enable-remote-write-receiver",
        "--query.timeout=20s",
        &block,
        "--storage.tsdb.block-reload-interval=1s",
        "--log.level=warn",
    ];
    let server = Server::spawn(dir, port, &flags, Stdio::inherit());
    if let Ok(group) = std::env::var("NARTHEX_CEILING_CGROUP") {
        std::fs::write(Path::new(&group).join("cgroup.procs"), server.0.id().to_string()).unwrap();
    }
    let watch = Watch::start(server.0.id());
    server.wait_until_ready(port);
    (server, watch)
}

#[test]
fn everything_at_once_stays_below_the_ceiling() {
    let series = number("NARTHEX_CEILING_SERIES", 30_000);
    let ceiling_mb = number("NARTHEX_CEILING_MB", 256);
    let dir = tempfile::tempdir().unwrap();
    let exporter = Exporter::start(now_ms);
    let config = format!(
        "global: {{scrape_interval: 2s, scrape_timeout: 2s}}\nscrape_configs:\n  - job_name: kit\n    static_configs: [{{targets: ['{}']}}]\n",
        exporter.address()
    );
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let port = http::free_port();
    // Blocks come within the test's time.
    let (mut server, watch) = start(dir.path(), port, ceiling_mb, "20s");
    let mut sender = Sender::connect(port, "/api/v1/write").unwrap();

    let rounds = 20;
    let hostile_stop = Arc::new(AtomicBool::new(false));
    let hostile = std::thread::spawn({
        let stop = hostile_stop.clone();
        move || {
            let (mut asked, mut refused) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                for query in HOSTILE {
                    let end = now_ms() / 1000;
                    for path in [
                        format!("/api/v1/query?query={}", http::encode(query)),
                        format!(
                            "/api/v1/query_range?query={}&start={}&end={end}&step=1",
                            http::encode(query),
                            end - 600
                        ),
                    ] {
                        let (status, body) = http::get(port, &path).unwrap();
                        assert!(
                            [200, 422, 503].contains(&status),
                            "{query}: {status} {}",
                            &body[..body.len().min(300)]
                        );
                        asked += 1;
                        refused += u64::from(status != 200);
                    }
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            }
            (asked, refused)
        }
    });
    for round in 0..rounds {
        let (statuses, said) = send(&mut sender, 0, series, true);
        assert!(statuses.iter().all(|&status| status == 204), "round {round}: {said}");
    }
    hostile_stop.store(true, Ordering::Relaxed);
    let (asked, refused) = hostile.join().unwrap();
    Server::until("the head is cut into blocks", || {
        Server::metric(port, "prometheus_tsdb_blocks_loaded") >= 1.0
    });
    println!(
        "{series} series, {rounds} samples each, {asked} hostile queries ({refused} refused), {} blocks: at most {} of {ceiling_mb} MB",
        Server::metric(port, "prometheus_tsdb_blocks_loaded"),
        watch.most_mb()
    );

    assert!(server.0.try_wait().unwrap().is_none(), "it was never ended");
    assert!(watch.most_mb() < ceiling_mb, "{} MB", watch.most_mb());

    // Every scrape that was served is there.
    let (scraped, stored) = (exporter.scrapes() as f64, value(port, "count_over_time(up{job=\"kit\"}[1h])"));
    assert!((scraped - stored).abs() <= 1.0, "{scraped} scrapes were served, {stored} are stored");
    assert_eq!(value(port, "min_over_time(up{job=\"kit\"}[1h])"), 1.0, "no scrape failed");
    let window_s = value(
        port,
        "max_over_time(timestamp(up{job=\"kit\"})[1h:1s]) - min_over_time(timestamp(up{job=\"kit\"})[1h:1s])",
    );
    assert!(2.0 * stored + 4.0 >= window_s, "{stored} scrapes in {window_s} s: one every two seconds");
    let known = format!(
        "sum(count_over_time({{__name__=\"node_metric_7_total\",pod=\"node-exporter-{:05x}\"}}[2h]))",
        3
    );
    let held = value(port, &known);

    drop(watch);
    server.0.kill().unwrap();
    server.0.wait().unwrap();
    let begun = Instant::now();
    // From here on what is in the head stays there.
    let (mut server, watch) = start(dir.path(), port, ceiling_mb, "2h");
    let ready = begun.elapsed();
    Server::until("it is scraped again", || value(port, "count_over_time(up{job=\"kit\"}[1h])") > stored);
    assert_eq!(value(port, &known), held, "what was there is there");
    let most_mb = watch.most_mb();
    println!(
        "ready {:.1} s after kill -9, replay included: at most {most_mb} of {ceiling_mb} MB",
        ready.as_secs_f64()
    );
    assert!(most_mb < ceiling_mb, "{most_mb} MB at and after replay");

    let mut sender = Sender::connect(port, "/api/v1/write").unwrap();
    // More series than fit: new ones are refused at some point, known ones are not.
    let mut made = series;
    let deadline = Instant::now() + Duration::from_secs(600);
    let said = loop {
        assert!(Instant::now() < deadline, "series must be refused before the ceiling");
        let (statuses, said) = send(&mut sender, made, made + 20_000, false);
        if statuses.contains(&503) {
            break said;
        }
        assert!(statuses.iter().all(|&status| status == 204), "{said}");
        made += 20_000;
    };
    assert!(said.contains("no room for a new series: a new series needs"), "{said}");
    assert!(said.contains(&format!("of {} are in use", ceiling_mb << 20)), "with numbers: {said}");
    // Those of the last batch that was taken: older ones may have left the head.
    let (statuses, said) = send(&mut sender, made - 2000, made, false);
    assert_eq!(statuses, [204], "a known series gets through: {said}");
    assert!(Server::metric(port, "narthex_memory_refusals_total{kind=\"series\"}") > 0.0);
    println!("new series were refused after {made}: at most {} of {ceiling_mb} MB", watch.most_mb());
    assert!(server.0.try_wait().unwrap().is_none(), "it was never ended");
    assert!(watch.most_mb() < ceiling_mb, "{} MB", watch.most_mb());
}
