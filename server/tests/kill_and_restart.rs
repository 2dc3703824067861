//! The whole server under load: what was once visible is there after `kill -9`,
//! with the time and the value that the target exposed.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the whole process, on the machine's clock"
)]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::Server;
use testkit::exporter::{self, Exporter};
use testkit::http;

/// How often the server is killed; the long size is for a run by hand.
fn rounds() -> usize {
    std::env::var("NARTHEX_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Every stored sample of a selector: (labels, time in ms) → value.
fn samples(port: u16, selector: &str) -> BTreeMap<(String, i64), f64> {
    let query = http::encode(&format!("{selector}[1h]"));
    let (status, body) = http::get(port, &format!("/api/v1/query?query={query}")).unwrap();
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let mut samples = BTreeMap::new();
    for series in answer["data"]["result"].as_array().unwrap() {
        for point in series["values"].as_array().unwrap() {
            let time_ms = (point[0].as_f64().unwrap() * 1000.0).round() as i64;
            let value = point[1].as_str().unwrap().parse().unwrap();
            samples.insert((series["metric"].to_string(), time_ms), value);
        }
    }
    samples
}

#[test]
fn samples_survive_kills_with_their_times_and_values() {
    let dir = tempfile::tempdir().unwrap();
    let exporter = Exporter::start(now_ms);
    let target = exporter.address();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n  - job_name: kit\n    static_configs: [{{targets: ['{target}']}}]\n"
    );
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let port = http::free_port();
    let mut seen: BTreeMap<(String, i64), f64> = BTreeMap::new();
    for round in 0..rounds() {
        let server = Server::start(dir.path(), port, &[]);
        let after = samples(port, "{__name__=~\"kit_.+\"}");
        for (key, value) in &seen {
            assert_eq!(after.get(key), Some(value), "round {round}: {key:?} was visible before the kill");
        }
        let scrapes = exporter.scrapes();
        let deadline = Instant::now() + Duration::from_secs(30);
        while exporter.scrapes() < scrapes + 10 {
            assert!(Instant::now() < deadline, "the target must be scraped");
            std::thread::sleep(Duration::from_millis(20));
        }
        seen = samples(port, "{__name__=~\"kit_.+\"}");
        drop(server);
    }
    let _server = Server::start(dir.path(), port, &[]);
    let after = samples(port, "{__name__=~\"kit_.+\"}");
    let mut checked = 0;
    for (key, value) in &seen {
        assert_eq!(after.get(key), Some(value), "{key:?} was visible before the last kill");
    }
    for ((metric, time_ms), value) in &after {
        let labels: Value = serde_json::from_str(metric).unwrap();
        let number = |label: &str| labels[label].as_str().unwrap().parse::<f64>();
        let exposed = match labels["__name__"].as_str().unwrap() {
            "kit_counter_total" => exporter::counter(number("i").unwrap() as u64, *time_ms),
            "kit_gauge" => exporter::gauge(number("i").unwrap() as u64, *time_ms),
            "kit_seconds_bucket" if labels["le"] == "+Inf" => exporter::bucket(5, *time_ms),
            "kit_seconds_bucket" => exporter::bucket(number("le").unwrap() as u64, *time_ms),
            "kit_seconds_count" => exporter::bucket(5, *time_ms),
            "kit_seconds_sum" => exporter::bucket(5, *time_ms) / 2.0,
            other => panic!("{other} was never exposed"),
        };
        assert_eq!(value.to_bits(), exposed.to_bits(), "{metric} at {time_ms}");
        checked += 1;
    }
    println!("kill and restart: {checked} samples checked after {} kills, 0 lost", rounds());
    assert!(checked > 1000, "only {checked} samples were stored");
}
