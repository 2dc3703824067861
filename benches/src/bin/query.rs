//! How fast the query engine is, apart from storage: series are made up as
//! they are read, so that what is measured is labels, windows and folds.
//!
//! ```text
//! cargo run --release -p benches --bin query [threads]
//! ```

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]

use std::time::Instant;

use benches::workload::status_kb;
use model::{Dictionary, LabelTable};
use promql::value::Value;
use promql::{Engine, EngineOptions, Features, Query};
use testkit::MadeUp;

const INTERVAL_MS: i64 = 15_000;

/// So many series of one metric with ten labels, a sample every 15 s.
fn made(series: usize) -> MadeUp {
    MadeUp { series, interval_ms: INTERVAL_MS, labels, value: |series, i| (i + series as i64) as f64 * 1.5 }
}

fn labels(series: usize, dictionary: &Dictionary, table: &mut LabelTable) {
    let mut writer = dictionary.write();
    let name = (writer.intern("__name__"), writer.intern("m_total"));
    let fixed: Vec<_> = ["cluster", "env", "job", "namespace", "node", "region"]
        .iter()
        .map(|label| (writer.intern(label), writer.intern("some-value")))
        .collect();
    let (instance, x, z) = (writer.intern("instance"), writer.intern("x"), writer.intern("z"));
    for i in 0..series {
        let instance = (instance, writer.intern(&format!("host-{:06}", i / 100)));
        let x = (x, writer.intern(&format!("x-{}", i % 20)));
        let z = (z, writer.intern(&format!("z-{:04}", i % 100)));
        let (before, after) = fixed.split_at(2);
        table.push(
            std::iter::once(name)
                .chain(before.iter().copied())
                .chain([instance])
                .chain(after.iter().copied().chain([x, z])),
        );
    }
}

fn measure(name: &str, engine: &Engine, store: MadeUp, query: &Query, samples: u64) {
    let mut best = f64::INFINITY;
    let mut series = 0;
    let before = status_kb("RssAnon");
    for _ in 0..5 {
        let start = Instant::now();
        let output =
            if query.step_ms == 0 { engine.instant(&store, query) } else { engine.range(&store, query) };
        let took = start.elapsed().as_secs_f64() * 1000.0;
        best = best.min(took);
        let output = output.expect("the benchmark's queries are well formed");
        series = match &output.value {
            Value::Vector(vector) => vector.len(),
            Value::Matrix(matrix) => matrix.len(),
            _ => 0,
        };
    }
    let grown = status_kb("RssAnon").saturating_sub(before);
    println!(
        "{name}: {best:.1} ms, {:.1} M samples/s, {series} series, RssAnon +{grown} KiB",
        samples as f64 / best / 1000.0
    );
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(2);
    let engine =
        Engine::new(EngineOptions { features: Features::all(), threads, ..EngineOptions::default() });
    let end = 1_800_000_000_000;
    let wide = made(140_000);
    for text in ["sum by (x) (m_total)", "count(m_total)", "topk(5, m_total)", "m_total * 2 > 1e12"] {
        measure(text, &engine, wide, &Query::instant(text, end), 140_000);
    }
    let long = made(10_000);
    let span = 1300 * INTERVAL_MS;
    for text in [
        "sum(rate(m_total[5m]))",
        "sum by (x) (rate(m_total[5m]))",
        "sum by (x) (avg_over_time(m_total[5m]))",
        "max by (x) (max_over_time(m_total[1h]))",
        "sum by (x) (m_total)",
    ] {
        measure(text, &engine, long, &Query::range(text, end - span, end, 60_000), 13_000_000);
    }
}
