//! A start with a long log: targets are scraped while it is being read, queries
//! wait until all of it is there, and nothing that was scraped is lost, not even
//! by a kill before the server was ever ready.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the whole process, on the machine's clock"
)]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::{Appendable, Env, FloatBatch, Labels, Timestamps};
use serde_json::Value;
use support::Server;
use testkit::exporter::Exporter;
use testkit::{TestClock, http};

const SERIES: usize = 1000;
const SCRAPES: i64 = 4000;
const INTERVAL_MS: i64 = 100;
const FLAGS: &[&str] = &["--scrape.discovery-reload-interval=100ms"];

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Leaves a log that takes a while to read, of the hour before now.
fn write_a_long_log(dir: &Path) {
    let options = tsdb::DbOptions { dir: dir.to_path_buf(), ..tsdb::DbOptions::default() };
    let env = Env { fs: tsdb::real_fs(), clock: Arc::new(TestClock::new(now_ms())), seed: 1 };
    let (accountant, registry) = (model::memory::Accountant::unlimited(), model::metrics::Registry::new());
    let db = tsdb::Db::open(options, env, accountant, &registry, Arc::default()).unwrap();
    let from = now_ms() - 3_600_000;
    let (mut handles, mut outcomes) = (Vec::new(), Vec::new());
    for step in 0..SCRAPES {
        let mut appender = db.appender().unwrap();
        if handles.is_empty() {
            for n in 0..SERIES {
                let labels = Labels::from_pairs([("__name__", "old"), ("n", &n.to_string())]);
                handles.push(appender.series(&labels).unwrap());
            }
        }
        let values: Vec<f64> = (0..SERIES).map(|n| (step as f64).sin() * n as f64).collect();
        let batch = FloatBatch {
            series: &handles,
            timestamps: Timestamps::Same(from + step * 750),
            start_timestamps: None,
            values: &values,
            in_order_only: false,
        };
        appender.append_floats(batch, &mut outcomes);
        appender.commit().unwrap();
    }
    drop(db);
    // Every sample of the log is then needed.
    std::fs::remove_dir_all(dir.join("chunks_head")).unwrap();
}

/// The times of all stored samples of a selector, which is one series.
fn times(port: u16, selector: &str) -> Vec<i64> {
    let query = http::encode(&format!("{selector}[10m]"));
    let (status, body) = http::get(port, &format!("/api/v1/query?query={query}")).unwrap();
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let values = answer["data"]["result"][0]["values"].as_array().unwrap().clone();
    values.iter().map(|point| (point[0].as_f64().unwrap() * 1000.0).round() as i64).collect()
}

fn old_samples(port: u16) -> f64 {
    let query = http::encode("sum(count_over_time(old[2h]))");
    let (_, body) = http::get(port, &format!("/api/v1/query?query={query}")).unwrap();
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["data"]["result"][0]["value"][1].as_str().unwrap().parse().unwrap()
}

#[test]
fn targets_are_scraped_while_the_log_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write_a_long_log(&dir.path().join("data"));
    let exporter = Exporter::start(now_ms);
    let target = exporter.address();
    let config = format!(
        "global: {{scrape_interval: {INTERVAL_MS}ms, scrape_timeout: {INTERVAL_MS}ms}}\nscrape_configs:\n  - job_name: kit\n    static_configs: [{{targets: ['{target}']}}]\n"
    );
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let port = http::free_port();
    // Killed while it reads the log: what it scraped is in the log.
    let server = Server::spawn(dir.path(), port, FLAGS, Stdio::inherit());
    let deadline = Instant::now() + Duration::from_secs(60);
    while exporter.scrapes() < 4 {
        assert!(Instant::now() < deadline, "the target must be scraped");
        std::thread::sleep(Duration::from_millis(5));
    }
    let was_ready = matches!(http::get(port, "/-/ready"), Ok((200, _)));
    drop(server);
    assert!(!was_ready, "the log is too short for this test");
    let killed_ms = now_ms();
    let scrapes = exporter.scrapes();
    let server = Server::start(dir.path(), port, FLAGS);
    let ready_ms = now_ms();
    let while_reading = exporter.scrapes() - scrapes;
    assert!(while_reading >= 3, "{while_reading} scrapes before the server was ready");
    while now_ms() < ready_ms + 10 * INTERVAL_MS {
        std::thread::sleep(Duration::from_millis(20));
    }
    let times = times(port, "up{job=\"kit\"}");
    let before_kill = times.iter().filter(|&&t| t < killed_ms).count();
    assert!(before_kill >= 2, "{before_kill} samples from before the kill");
    let since: Vec<i64> = times.iter().copied().filter(|&t| t >= killed_ms).collect();
    assert!(since[0] < ready_ms, "the first scrape is from before the server was ready");
    let gap = since.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    println!(
        "scraping while replaying: {while_reading} scrapes in the {} ms before ready, longest gap {gap} ms",
        ready_ms - killed_ms
    );
    assert!(gap <= 5 * INTERVAL_MS, "a gap of {gap} ms in {since:?}");
    assert_eq!(old_samples(port), SERIES as f64 * SCRAPES as f64, "all that the log had");
    drop(server);
}
