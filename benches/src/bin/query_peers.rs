//! Asks several servers the queries of a board, one server after the other, and
//! prints how long each took: `query_peers TIME PORT:PID [PORT:PID]...`.
//!
//! The servers hold the same data, that of `query_store --dir`; TIME is the end
//! that it prints. Beside latency: CPU of the process, and the most memory it had
//! beyond what it had at rest. The last line compares by geometric mean.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use benches::query_set::{BOARD, BoardQuery};
use testkit::http;

const RUNS: usize = 5;

struct Peer {
    port: u16,
    process: u32,
}

#[derive(Clone, Copy)]
struct Cost {
    best_ms: f64,
    cpu_ms: f64,
    peak_mb: f64,
    bytes: usize,
}

fn status_kb(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

fn cpu_ms(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = |n: usize| after.split(' ').nth(n).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) * 10.0
}

fn ask(peer: &Peer, path: &str) -> Result<Cost, String> {
    let rest = status_kb(peer.process, "RssAnon");
    let stop = Arc::new(AtomicBool::new(false));
    let (ends, process) = (stop.clone(), peer.process);
    let watcher = std::thread::spawn(move || {
        let mut peak = 0;
        while !ends.load(Ordering::Relaxed) {
            peak = peak.max(status_kb(process, "RssAnon"));
            std::thread::sleep(Duration::from_millis(2));
        }
        peak
    });
    let (mut best_ms, mut bytes) = (f64::INFINITY, 0);
    let cpu = cpu_ms(peer.process);
    let mut failure = None;
    for _ in 0..RUNS {
        let start = Instant::now();
        match http::get(peer.port, path) {
            Ok((200, body)) => bytes = body.len(),
            Ok((status, body)) => {
                failure = Some(format!("{status}: {}", body.chars().take(120).collect::<String>()));
            }
            Err(error) => failure = Some(error.to_string()),
        }
        best_ms = best_ms.min(start.elapsed().as_secs_f64() * 1000.0);
    }
    let cpu_ms = (cpu_ms(peer.process) - cpu) / RUNS as f64;
    stop.store(true, Ordering::Relaxed);
    let peak = watcher.join().unwrap_or(0);
    match failure {
        Some(failure) => Err(failure),
        None => Ok(Cost { best_ms, cpu_ms, peak_mb: peak.saturating_sub(rest) as f64 / 1024.0, bytes }),
    }
}

fn path(query: &BoardQuery, end_s: i64) -> String {
    let text = http::encode(query.text);
    match query.range {
        None => format!("/api/v1/query?query={text}&time={end_s}"),
        Some((span, step)) => {
            format!("/api/v1/query_range?query={text}&start={}&end={end_s}&step={step}", end_s - span)
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((Ok(end_s), rest)) = arguments.split_first().map(|(time, rest)| (time.parse::<i64>(), rest))
    else {
        eprintln!("usage: query_peers TIME PORT:PID [PORT:PID]...");
        return ExitCode::from(2);
    };
    let peers: Vec<Peer> = rest
        .iter()
        .filter_map(|peer| {
            let (port, process) = peer.split_once(':')?;
            Some(Peer { port: port.parse().ok()?, process: process.parse().ok()? })
        })
        .collect();
    let (mut logs, mut counted) = (vec![0.0; peers.len()], 0);
    for query in BOARD {
        let answers: Vec<_> = peers.iter().map(|peer| ask(peer, &path(query, end_s))).collect();
        let kind = if query.range.is_some() { "range" } else { "instant" };
        print!("| `{}` | {kind}", query.text);
        for answer in &answers {
            match answer {
                Ok(Cost { best_ms, cpu_ms, peak_mb, bytes }) => {
                    print!(" | {best_ms:.1} ms, {cpu_ms:.0} ms CPU, {peak_mb:.1} MB, {bytes} B");
                }
                Err(failure) => print!(" | {failure}"),
            }
        }
        println!(" |");
        if answers.iter().all(Result::is_ok) {
            counted += 1;
            for (log, answer) in logs.iter_mut().zip(answers.iter().flatten()) {
                *log += answer.best_ms.ln();
            }
        }
    }
    for (peer, log) in peers.iter().zip(&logs) {
        let ratio = ((log - logs[0]) / f64::from(counted)).exp();
        println!("port {}: {ratio:.2} times the first, geometric mean over {counted} queries", peer.port);
    }
    ExitCode::SUCCESS
}
