//! Queries that would take a server down: each gets its error, and the server
//! stays up within its ceiling.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the whole process, on the machine's clock"
)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
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
    let server = Server::start(dir.path(), port, &["--memory.limit=512MB", "--query.timeout=3s"]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while exporter.scrapes() < 3 {
        assert!(Instant::now() < deadline, "the target must be scraped");
        std::thread::sleep(Duration::from_millis(20));
    }
    let cases = cases();
    let mut passed = 0;
    for case in &cases {
        case.ask(port);
        let (healthy, _) = http::get(port, "/-/healthy").unwrap();
        assert_eq!(healthy, 200, "after {}", case.name);
        let bytes = resident(server.0.id());
        assert!(bytes < CEILING_BYTES, "after {}: {bytes} bytes are resident", case.name);
        passed += 1;
    }
    // All at once, and watched meanwhile.
    let asked = AtomicUsize::new(0);
    let mut most = 0;
    std::thread::scope(|scope| {
        for case in &cases {
            let asked = &asked;
            scope.spawn(move || {
                case.ask(port);
                asked.fetch_add(1, Ordering::Relaxed);
            });
        }
        let deadline = Instant::now() + Duration::from_secs(120);
        while asked.load(Ordering::Relaxed) < cases.len() && Instant::now() < deadline {
            most = most.max(resident(server.0.id()));
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(most < CEILING_BYTES, "all at once: {most} bytes were resident");
    let scrapes = exporter.scrapes();
    let deadline = Instant::now() + Duration::from_secs(30);
    while exporter.scrapes() < scrapes + 2 {
        assert!(Instant::now() < deadline, "scraping goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    println!(
        "hostile queries: {passed} / {}, {} MiB resident, at most {} MiB with all at once",
        cases.len(),
        resident(server.0.id()) >> 20,
        most >> 20
    );
}

/// One hostile request and what may come of it.
struct Case {
    name: &'static str,
    query: String,
    /// Start, end and step in seconds, for a range query.
    range: Option<(i64, i64, i64)>,
    allowed: &'static [u16],
    /// What an error must say; of what is always answered, the answer.
    says: &'static str,
}

impl Case {
    fn new(
        name: &'static str,
        query: impl Into<String>,
        allowed: &'static [u16],
        says: &'static str,
    ) -> Case {
        Case { name, query: query.into(), range: None, allowed, says }
    }

    fn over(self, start_s: i64, end_s: i64, step_s: i64) -> Case {
        Case { range: Some((start_s, end_s, step_s)), ..self }
    }

    /// Asks by POST, as long queries are.
    fn ask(&self, port: u16) {
        let Case { name, allowed, says, .. } = self;
        let mut form = format!("query={}", http::encode(&self.query));
        let path = match self.range {
            None => "/api/v1/query",
            Some((start, end, step)) => {
                form.push_str(&format!("&start={start}&end={end}&step={step}"));
                "/api/v1/query_range"
            }
        };
        let kind = "Content-Type: application/x-www-form-urlencoded";
        let (status, _, body) = http::request(port, "POST", path, &[kind], form.as_bytes()).unwrap();
        let shown: String = body.chars().take(300).collect();
        assert!(allowed.contains(&status), "{name}: {status} {shown}");
        if *allowed == [200] {
            assert!(body.contains(says), "{name}: {shown}");
        }
        if status != 200 {
            let answer: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(answer["status"], "error", "{name}");
            let error = answer["error"].as_str().unwrap();
            let stopped = ["timed out", "memory", "canceled", "too many samples"];
            let known = error.contains(says) || (status != 400 && stopped.iter().any(|s| error.contains(s)));
            assert!(!error.is_empty() && known, "{name}: {status} {shown}");
        }
    }
}

fn cases() -> Vec<Case> {
    let chain = |n: usize, of: &str, operator: &str| vec![of; n].join(operator);
    let now_s = now_ms() / 1000;
    let year = 365 * 86_400;
    let all = "{__name__=~\".+\"}";
    vec![
        Case::new("deep parentheses", "(".repeat(5000) + "1" + &")".repeat(5000), &[400], "nest"),
        Case::new("deep calls", "abs(".repeat(3000) + "up" + &")".repeat(3000), &[400], "nest"),
        Case::new("deep signs", "-".repeat(20_000) + "1", &[400], ""),
        Case::new("deep subqueries", format!("up{}", "[1m:1m]".repeat(3000)), &[400], ""),
        Case::new("or, ten thousand ways", chain(10_000, "up", " or "), &[200], ",\"1\"]}]"),
        Case::new("plus, ten thousand ways", chain(10_000, "up", " + "), &[200], ",\"10000\"]}]"),
        Case::new("and, ten thousand ways", chain(10_000, "up", " and "), &[200], ",\"1\"]}]"),
        Case::new("or of everything", chain(600, all, " or "), &[200, 422, 503], "memory"),
        Case::new("or over a range", chain(1500, "up", " or "), &[200, 422, 503], "memory").over(
            now_s - 10_000,
            now_s,
            1,
        ),
        Case::new(
            "huge regex",
            format!("up{{job=~\"({}){{1000}}\"}}", "a|b".repeat(500)),
            &[200, 400],
            "reg",
        ),
        Case::new("nested repetition", "up{job=~\"((a{100}){100}){100}\"}", &[400], "invalid repeat count"),
        Case::new(
            "a regex of ten thousand words",
            format!("up{{job=~\"{}\"}}", chain(10_000, "x.y+", "|")),
            &[200, 400, 503],
            "reg",
        ),
        Case::new(
            "subquery tower",
            "max_over_time(".repeat(6) + "up" + &"[1d:1s])".repeat(6),
            &[200, 422, 503],
            "samples",
        ),
        Case::new(
            "a year at one second",
            format!("sum_over_time({all}[1y:1s])"),
            &[200, 422, 503],
            "samples",
        ),
        Case::new("ten years at one second", "sum_over_time(up[10y:1s])", &[422], "too many samples"),
        Case::new(
            "a century by the millisecond",
            "count_over_time(up[100y:1ms])",
            &[422],
            "too many samples",
        ),
        Case::new(
            "years at one second, as a range",
            "up",
            &[400],
            "exceeded maximum resolution of 11,000 points",
        )
        .over(now_s - 3 * year, now_s, 1),
        Case::new("years of years", format!("sum(sum_over_time({all}[1y:1m]))"), &[200, 422, 503], "samples")
            .over(now_s - year, now_s, 86_400),
        Case::new("cartesian join", format!("{all} * on() group_left() {all}"), &[422], "many-to-many"),
        Case::new(
            "cartesian join over a range",
            format!("{all} * on() group_right() {all}"),
            &[422],
            "many-to-many",
        )
        .over(now_s - 60, now_s, 1),
        Case::new(
            "everything of everything",
            format!("count_values(\"v\", {all}) or topk(1e9, {all})"),
            &[200, 422, 503],
            "memory",
        )
        .over(now_s - 5000, now_s, 1),
        Case::new("everything", "{__name__=~\".*\"}", &[400], "non-empty matcher"),
        Case::new("no expression", "", &[400], "no expression found"),
        Case::new("not text", "\u{0}\u{1}\u{fffd}", &[400], ""),
        Case::new(
            "label blow-up",
            format!("label_replace(up, \"x\", \"{}\", \"\", \"\")", "$0".repeat(2000)),
            &[200, 422],
            "",
        ),
        Case::new(
            "labels joined again and again",
            "label_join(".repeat(40) + "up" + &", \"x\", \"x\", \"x\", \"x\", \"job\")".repeat(40),
            &[200, 422, 503],
            "memory",
        ),
    ]
}
