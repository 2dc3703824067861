//! What a server spends on a remote-written sample, seen from outside:
//! `remote_write PORT PID [1|2] [SERIES] [ROUNDS] [PATH]`.
//!
//! Sends one sample of each series a round, 15 s apart, 2000 samples a request,
//! to a server of any make that is running as process PID, and reads that
//! process' CPU time and memory from `/proc`. The first round, which makes the
//! series, is reported apart. At the end the server is asked how many samples
//! it holds: a figure of a server that lost some is none.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use benches::workload::Workload;
use model::SeriesHandle;
use testkit::sender::{Entry, Sender, Version, request};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::ALLOCATOR;

const PER_REQUEST: usize = 2000;
const STEP_MS: i64 = 15_000;

fn main() {
    allocator::keep_free_memory_shortly();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: u64| {
        arguments.get(i).map_or(default, |text| text.parse().expect("arguments are numbers"))
    };
    let port = number(0, 9090) as u16;
    let process = number(1, 0);
    let version = if number(2, 1) == 2 { Version::Two } else { Version::One };
    let series = number(3, 200_000) as usize;
    let rounds = number(4, 40) as i64;
    let path = arguments.get(5).map_or("/api/v1/write", String::as_str);
    let mut workload = Workload::new(series, 1000);
    let labels: Vec<Vec<(String, String)>> = (0..series)
        .map(|n| {
            let labels = workload.labels(n);
            labels.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect()
        })
        .collect();
    let start_ms = now_ms() - rounds * STEP_MS;
    let mut sender = Sender::connect(port, path).expect("the server listens");
    let (mut first, mut rest, mut bytes) = (0.0, 0.0, 0);
    for round in 0..rounds {
        let before = cpu_seconds(process);
        let mut values = Vec::with_capacity(series);
        for target in 0..workload.targets() {
            let scrape = workload.scrape(target, |_| SeriesHandle { slot: 0, generation: 0 });
            values.extend(scrape.values.iter().map(|&value| (value, scrape.jitter_ms)));
        }
        for (labels, values) in labels.chunks(PER_REQUEST).zip(values.chunks(PER_REQUEST)) {
            let entries: Vec<Entry<'_>> = labels
                .iter()
                .zip(values)
                .map(|(labels, &(value, jitter_ms))| Entry {
                    labels,
                    timestamp_ms: start_ms + round * STEP_MS + jitter_ms,
                    value,
                })
                .collect();
            let body = request(version, &entries);
            bytes += body.len();
            let (status, text) = sender.send(version, &body).expect("the connection holds");
            assert!((200..300).contains(&status), "{status} {text}");
        }
        let spent = cpu_seconds(process) - before;
        if round == 0 { first = spent } else { rest += spent }
    }
    // What is done later is part of the price.
    let before = cpu_seconds(process);
    std::thread::sleep(Duration::from_secs(3));
    rest += cpu_seconds(process) - before;
    let samples = (rounds - 1).max(1) as f64 * series as f64;
    let total = rounds as u64 * series as u64;
    println!("{series} series, {rounds} samples of each, {} bytes a sample sent", bytes as u64 / total);
    println!(
        "CPU a sample: {:.3} us (first round, which makes the series: {:.2} us)",
        rest / samples * 1e6,
        first / series as f64 * 1e6
    );
    for name in ["VmRSS", "RssAnon"] {
        let kb = kb_of(process, name);
        println!("{name}: {} MB, {} B a series", kb / 1024, kb * 1024 / series as u64);
    }
    // One metric at a time: without their names its series would be one another's twins.
    let metrics: BTreeSet<&str> = labels
        .iter()
        .flatten()
        .filter(|(name, _)| name == "__name__")
        .map(|(_, metric)| metric.as_str())
        .collect();
    let held: f64 = metrics.into_iter().map(|metric| held(port, metric)).sum();
    println!("samples held: {held} of {total}");
    assert_eq!(held, total as f64, "every sample is held once");
}

/// How many samples of a metric the server answers with.
fn held(port: u16, metric: &str) -> f64 {
    let query = format!("sum(count_over_time({metric}[4h]))");
    let path = format!("/api/v1/query?query={}&time={}", testkit::http::encode(&query), now_ms() / 1000 + 60);
    let (_, text) = testkit::http::get(port, &path).expect("the server answers");
    let value = text.rsplit("\"value\":[").next().and_then(|tail| tail.split('"').nth(1));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no count of {metric}: {text}"))
}

#[expect(clippy::disallowed_methods, reason = "servers judge samples by the real time")]
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Seconds of processor time that a process has used, its own and the kernel's for it.
fn cpu_seconds(process: u64) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, tail)| tail).split_whitespace().collect();
    let ticks = |i: usize| fields[i].parse::<f64>().expect("ticks are numbers");
    (ticks(11) + ticks(12)) / 100.0
}

fn kb_of(process: u64, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}
