//! How fast the answer of a query becomes JSON, and how much memory that takes
//! beyond the columns that were evaluated.
//!
//! ```text
//! cargo run --release -p benches --bin api_answer [MEGABYTES]
//! ```

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]

use std::io::Write;
use std::time::Instant;

use benches::workload::status_kb;
use flate2::Compression;
use flate2::write::GzEncoder;
use model::{Dictionary, LabelTable};
use promql::value::Value;
use promql::{Engine, EngineOptions, Output, Query};
use testkit::MadeUp;
use web::api::query::Pieces;

const INTERVAL_MS: i64 = 15_000;
/// Points of each series.
const POINTS: i64 = 1_000;
const END_MS: i64 = 1_700_000_000_000;

/// So many series, values of counters of whole numbers, of seconds and of
/// ratios in turn.
fn made(series: usize) -> MadeUp {
    let value = |series: usize, i: i64| {
        let n = (i as usize * 31 + series * 17) as f64;
        match series % 3 {
            0 => n,
            1 => (n % 1e6) / 1000.0,
            _ => 1.0 / n,
        }
    };
    MadeUp { series, interval_ms: INTERVAL_MS, labels, value }
}

fn labels(series: usize, dictionary: &Dictionary, table: &mut LabelTable) {
    let mut writer = dictionary.write();
    let name = (writer.intern("__name__"), writer.intern("node_cpu_seconds_total"));
    let (instance, job) =
        (writer.intern("instance"), (writer.intern("job"), writer.intern("node <exporter>")));
    for i in 0..series {
        let instance = (instance, writer.intern(&format!("host-{i:06}.example.org:9100")));
        table.push([name, instance, job]);
    }
}

fn evaluated(series: usize) -> Output {
    let engine = Engine::new(EngineOptions::default());
    let query = Query::range("m", END_MS - (POINTS - 1) * INTERVAL_MS, END_MS, INTERVAL_MS);
    engine.range(&made(series), &query).expect("the benchmark's query is well formed")
}

/// Streams an answer: bytes of JSON, nanoseconds, and KiB that were added to
/// what the columns hold.
fn stream(output: Output, mut take: impl FnMut(&[u8])) -> (usize, u128, u64) {
    let before = status_kb("RssAnon");
    let (mut bytes, mut most, mut since) = (0, before, 0);
    let started = Instant::now();
    for piece in Pieces::new(output, false) {
        take(&piece);
        bytes += piece.len();
        since += piece.len();
        if since > 4 << 20 {
            since = 0;
            most = most.max(status_kb("RssAnon"));
        }
    }
    (bytes, started.elapsed().as_nanos(), most - before)
}

fn main() {
    let megabytes: usize = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(100);
    let (sample, _, _) = stream(evaluated(30), |_| ());
    let series = megabytes * 1_000_000 * 30 / sample;
    let samples = series as u128 * POINTS as u128;
    let output = evaluated(series);
    assert!(matches!(&output.value, Value::Matrix(matrix) if matrix.len() == series));
    let (bytes, ns, added) = stream(output, |_| ());
    println!(
        "plain: {:.1} MB, {} samples, {:.1} ns a sample, RssAnon +{added} KiB",
        bytes as f64 / 1e6,
        samples,
        ns as f64 / samples as f64
    );
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut packed = 0;
    let (bytes, ns, added) = stream(evaluated(series), |piece| {
        encoder.write_all(piece).expect("memory takes all");
        packed += encoder.get_ref().len();
        encoder.get_mut().clear();
    });
    println!(
        "gzip: {:.1} MB as {:.1} MB, {:.1} ns a sample, RssAnon +{added} KiB",
        bytes as f64 / 1e6,
        packed as f64 / 1e6,
        ns as f64 / samples as f64
    );
}
