//! A data directory goes to Prometheus and comes back: what one wrote the other reads,
//! blocks, checkpoint, both logs and head chunks after `kill -9`, and what that leaves
//! after a clean stop the first reads again. Chunk snapshots as well.
//!
//! For a run by hand: `NARTHEX_PEER_2` and `NARTHEX_PEER_3` name Prometheus binaries of
//! version 2.39 or later and of version 3.14.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of whole processes, on the machine's clock"
)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::Server;
use testkit::http;
use testkit::sender::{Entry, HistogramEntry, Sender, Version, histogram_request, request};

const HOUR: i64 = 3_600_000;
const STEP: i64 = 30_000;
/// So many steps are written before blocks are waited for.
const STEPS: i64 = 15 * HOUR / STEP;

/// A kind of server, and how it is started.
#[derive(Clone)]
struct Kind {
    name: &'static str,
    binary: PathBuf,
    flags: Vec<&'static str>,
}

/// What a variable names, if it is set.
fn peer(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        println!("skipped: {variable} names no Prometheus binary");
    }
    path
}

fn kinds(peer: PathBuf, name: &'static str, flags: &[&'static str]) -> [Kind; 2] {
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_narthex"));
    [("narthex", ours), (name, peer)].map(|(name, binary)| Kind { name, binary, flags: flags.to_vec() })
}

impl Kind {
    fn start(&self, dir: &Path, port: u16) -> Server {
        let config = dir.with_extension("yml");
        std::fs::write(
            &config,
            "global: {scrape_interval: 1h}\nstorage: {tsdb: {out_of_order_time_window: 1h}}\n",
        )
        .unwrap();
        let child = Command::new(&self.binary)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=10y"])
            .args(&self.flags)
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.binary.display()));
        let server = Server(child);
        server.wait_until_ready(port);
        server
    }
}

fn stop(mut server: Server) {
    server.signal(rustix::process::Signal::TERM);
    assert!(server.0.wait().unwrap().success(), "a clean stop");
}

fn series(name: &str, n: i64) -> Vec<(String, String)> {
    [("__name__", name.to_owned()), ("n", n.to_string())].map(|(k, v)| (k.to_owned(), v)).into()
}

/// Hours of floats of every sort, histograms, late samples, series that end.
fn fill(port: u16, from: i64, steps: std::ops::Range<i64>) {
    let mut sender = Sender::connect(port, "/api/v1/write").unwrap();
    let mut send = |body: &[u8]| {
        let (status, text) = sender.send(Version::One, body).unwrap();
        assert_eq!(status, 204, "{text}");
    };
    let all: Vec<_> = (0..8).map(|n| series("interop", n)).collect();
    let histograms: Vec<_> = (0..2).map(|n| series("interop_native", n)).collect();
    for step in steps {
        let t = from + step * STEP;
        let value = |n: i64| match n {
            0 => f64::NAN,
            1 => f64::from_bits(0x7ff0_0000_0000_0002),
            2 => -0.0,
            3 => f64::INFINITY,
            n => (step * n) as f64 / 3.0,
        };
        let live = all.iter().zip(0..).filter(|(_, n)| is_live(*n, step));
        let mut entries: Vec<Entry<'_>> =
            live.map(|(labels, n)| Entry { labels, timestamp_ms: t, value: value(n) }).collect();
        if step % 10 == 9 {
            let timestamp_ms = t - 17 * STEP - 1;
            entries.push(Entry { labels: &all[7], timestamp_ms, value: step as f64 });
        }
        send(&request(Version::One, &entries));
        let counts = [step as u64 % 300, 2 * step as u64 + 1, 7];
        let entries: Vec<HistogramEntry<'_>> = histograms
            .iter()
            .map(|labels| HistogramEntry { labels, timestamp_ms: t, sum: step as f64, buckets: &counts })
            .collect();
        send(&histogram_request(&entries));
    }
}

/// Whether a float series has a sample at a step: they end and come back.
fn is_live(n: i64, step: i64) -> bool {
    n % 4 != step / 200 % 5
}

/// How many samples [`fill`] gives in so many steps that a query shows: all but the
/// markers of series 1.
fn n_given(steps: i64) -> usize {
    let of_step = |step: i64| {
        let floats = (0..8).filter(|&n| n != 1 && is_live(n, step)).count();
        floats + 2 + usize::from(step % 10 == 9)
    };
    (0..steps).map(of_step).sum()
}

/// Whether one answer has everything that another has.
fn has_all(
    found: &BTreeMap<String, BTreeMap<String, String>>,
    want: &BTreeMap<String, BTreeMap<String, String>>,
) -> bool {
    want.iter().all(|(series, samples)| {
        found.get(series).is_some_and(|have| samples.iter().all(|(t, v)| have.get(t) == Some(v)))
    })
}

/// Every sample: series → time → value or histogram, as text.
fn everything(port: u16, at: i64) -> BTreeMap<String, BTreeMap<String, String>> {
    let query = http::encode("{__name__=~\"interop.*\"}[20h]");
    let (status, body) = http::get(port, &format!("/api/v1/query?query={query}&time={}", at / 1000)).unwrap();
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let mut all = BTreeMap::new();
    for series in answer["data"]["result"].as_array().unwrap() {
        let points = ["values", "histograms"].iter().filter_map(|kind| series[kind].as_array()).flatten();
        let samples = points.map(|point| (point[0].to_string(), point[1].to_string())).collect();
        all.insert(series["metric"].to_string(), samples);
    }
    all
}

/// What one answer has beyond another.
fn beyond(
    more: &BTreeMap<String, BTreeMap<String, String>>,
    less: &BTreeMap<String, BTreeMap<String, String>>,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let is_new = |series: &str, t: &str| less.get(series).is_none_or(|samples| !samples.contains_key(t));
    let of_series = |(series, samples): (&String, &BTreeMap<String, String>)| {
        let new = samples.iter().filter(|(t, _)| is_new(series, t));
        (series.clone(), new.map(|(t, v)| (t.clone(), v.clone())).collect())
    };
    more.iter().map(of_series).collect()
}

fn n_samples(all: &BTreeMap<String, BTreeMap<String, String>>) -> usize {
    all.values().map(BTreeMap::len).sum()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn has(dir: &Path, what: &str) -> bool {
    names(dir).iter().any(|name| name.starts_with(what))
}

/// Long enough ago, at the start of a block.
fn start_of_data() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    now - now % (2 * HOUR) - 17 * HOUR
}

/// One writes and is killed, both read; the other goes on, stops, the first reads again.
/// A peer that is killed while it compacts late samples may lose some of them for good;
/// we find all that was given, and the peer what it had and what we added.
fn one_way(writer: &Kind, reader: &Kind) {
    let dir = tempfile::tempdir().unwrap();
    let [data, first, second] = ["data", "first", "second"].map(|name| dir.path().join(name));
    let (port, from) = (http::free_port(), start_of_data());
    let at = from + 17 * HOUR;
    let what = format!("{} -> {}", writer.name, reader.name);
    let server = writer.start(&data, port);
    fill(port, from, 0..STEPS);
    // Blocks are cut and the log is shortened in the background.
    Server::until("blocks and a checkpoint", || {
        has(&data.join("wal"), "checkpoint.") && names(&data).iter().any(|name| name.len() == 26)
    });
    fill(port, from, STEPS..STEPS + 50);
    drop(server);
    assert!(has(&data, "wbl") && !names(&data.join("chunks_head")).is_empty(), "{what}");
    copy(&data, &first);
    copy(&data, &second);
    let want = {
        let _server = writer.start(&first, port);
        everything(port, at)
    };
    let server = reader.start(&second, port);
    let found = everything(port, at);
    let given = n_given(STEPS + 50);
    let numbers = format!("{what}: {given} given, {} left, {} read", n_samples(&want), n_samples(&found));
    assert!(n_samples(&found) == given && has_all(&found, &want), "{numbers}");
    assert!(writer.name != "narthex" || found == want, "{numbers}");
    fill(port, from, STEPS + 50..STEPS + 80);
    let more = everything(port, at);
    stop(server);
    let _server = writer.start(&second, port);
    let back = everything(port, at);
    let given = n_given(STEPS + 80);
    let numbers = format!("{what} and back: {given} given, {} read", n_samples(&back));
    assert!(n_samples(&more) == given && has_all(&more, &back), "{numbers}");
    assert!(has_all(&back, &want) && has_all(&back, &beyond(&more, &found)), "{numbers}");
    assert!(writer.name != "narthex" || back == more, "{numbers}");
    let lost = n_samples(&more) - n_samples(&back);
    println!("{numbers}, {} series{}", back.len(), if lost == 0 { ", equal" } else { "" });
    assert!(back.len() == 9 && n_samples(&back) > n_samples(&want), "{what}");
}

/// A clean stop leaves a snapshot; with nothing in the log, the other has all of it.
fn snapshot(writer: &Kind, reader: &Kind) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (port, from) = (http::free_port(), start_of_data());
    let at = from + 17 * HOUR;
    let server = writer.start(&data, port);
    fill(port, from, 0..200);
    let want = everything(port, at);
    stop(server);
    assert!(has(&data, "chunk_snapshot."), "{} left a snapshot", writer.name);
    for name in names(&data.join("wal")) {
        std::fs::write(data.join("wal").join(name), []).unwrap();
    }
    let server = reader.start(&data, port);
    assert_eq!(Server::metric(port, "prometheus_tsdb_snapshot_replay_error_total"), 0.0);
    let found = everything(port, at);
    assert!(found == want, "{}: {} samples, {} are read", reader.name, n_samples(&want), n_samples(&found));
    stop(server);
    println!("snapshot {} -> {}: {} samples, equal", writer.name, reader.name, n_samples(&found));
    assert!(n_samples(&found) > 1000);
}

#[test]
fn prometheus_2_reads_ours_and_we_read_its() {
    let Some(peer) = peer("NARTHEX_PEER_2") else { return };
    let [ours, theirs] = kinds(peer, "prometheus 2", &["--enable-feature=native-histograms"]);
    one_way(&ours, &theirs);
    one_way(&theirs, &ours);
}

#[test]
fn prometheus_3_reads_ours_and_we_read_its() {
    let Some(peer) = peer("NARTHEX_PEER_3") else { return };
    let plain = ["--enable-feature=native-histograms"];
    let new = [
        "--enable-feature=native-histograms,xor2-encoding,st-storage,metadata-wal-records",
        "--storage.tsdb.wal-compression-type=zstd",
    ];
    for flags in [&plain[..], &new] {
        let [ours, theirs] = kinds(peer.clone(), "prometheus 3", flags);
        one_way(&ours, &theirs);
        one_way(&theirs, &ours);
    }
    let flags = ["--enable-feature=native-histograms,memory-snapshot-on-shutdown"];
    let [ours, theirs] = kinds(peer, "prometheus 3", &flags);
    snapshot(&ours, &theirs);
    snapshot(&theirs, &ours);
}
