//! Queries that would take a server down: each gets its error, and the server
//! stays up within its ceiling.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the whole process, on the machine's clock"
)]

mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::Server;
use testkit::exporter::Exporter;
use testkit::http;

const CEILING_BYTES: u64 = 512 << 20;

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Resident memory that no file backs, in bytes.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn hostile_queries_are_refused_and_the_server_stays_up() {
    let dir = tempfile::tempdir().unwrap();
    let exporter = Exporter::start(now_ms);
    let config = format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\nscrape_configs:\n  - job_name: kit\n    static_configs: [{{targets: ['{}']}}]\n",
        exporter.address()
    );
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let port = http::free_port();
    let server = Server::start(dir.path(), port, &["--memory.limit=512MB", "--query.timeout=5s"]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while exporter.scrapes() < 3 {
        assert!(Instant::now() < deadline, "the target must be scraped");
        std::thread::sleep(Duration::from_millis(20));
    }
    let cases: Vec<(&str, String, &[u64])> = vec![
        ("deep parentheses", "(".repeat(5000) + "1" + &")".repeat(5000), &[400]),
        ("deep calls", "abs(".repeat(3000) + "up" + &")".repeat(3000), &[400]),
        ("deep signs", "-".repeat(20_000) + "1", &[400]),
        ("a long chain of or", vec!["up"; 1500].join(" or "), &[200, 400, 422, 503]),
        ("huge regex", format!("up{{job=~\"({}){{1000}}\"}}", "a|b".repeat(500)), &[200, 400]),
        ("nested repetition", "up{job=~\"((a{100}){100}){100}\"}".to_owned(), &[400]),
        ("subquery tower", "max_over_time(".repeat(6) + "up" + &"[1d:1s])".repeat(6), &[200, 422, 503]),
        ("a year at one second", "sum_over_time({__name__=~\".+\"}[1y:1s])".to_owned(), &[200, 422, 503]),
        ("cartesian join", "{__name__=~\".+\"} * on() group_left() {__name__=~\".+\"}".to_owned(), &[422]),
        ("everything", "{__name__=~\".*\"}".to_owned(), &[400]),
        ("no expression", String::new(), &[400]),
        ("not text", "\u{0}\u{1}\u{fffd}".to_owned(), &[400]),
        (
            "label blow-up",
            format!("label_replace(up, \"x\", \"{}\", \"\", \"\")", "$0".repeat(2000)),
            &[200, 422],
        ),
    ];
    let mut passed = 0;
    let total = cases.len();
    for (name, query, allowed) in cases {
        let path = format!("/api/v1/query?query={}", http::encode(&query));
        let (status, body) = http::get(port, &path).unwrap();
        assert!(allowed.contains(&u64::from(status)), "{name}: {status} {}", &body[..body.len().min(300)]);
        if status != 200 {
            let answer: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(answer["status"], "error", "{name}");
            assert!(!answer["error"].as_str().unwrap().is_empty(), "{name}");
        }
        let (healthy, _) = http::get(port, "/-/healthy").unwrap();
        assert_eq!(healthy, 200, "after {name}");
        let bytes = resident(server.0.id());
        assert!(bytes < CEILING_BYTES, "after {name}: {bytes} bytes are resident");
        passed += 1;
    }
    let scrapes = exporter.scrapes();
    let deadline = Instant::now() + Duration::from_secs(30);
    while exporter.scrapes() < scrapes + 2 {
        assert!(Instant::now() < deadline, "scraping goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("hostile queries: {passed} / {total}, {} MiB resident", resident(server.0.id()) >> 20);
}
