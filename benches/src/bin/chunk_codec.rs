//! Chunk codecs: ns and bytes a sample, encoding and decoding, by encoding and
//! by kind of data. Seeded; every decode is checked before it is timed.
//!
//! ```text
//! cargo run --release -p benches --bin chunk_codec
//! ```

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use model::query::{Columns, ReadOptions};
use model::{Histogram, Span, TimeRange};
use testkit::Rng;
use tsdb::chunk::{
    APPEND_BYTES_MAX, Appended, ChunkEncoding, FloatHistogramAppender, HistogramAppender, XorState, decode,
    xor, xor2,
};

const SAMPLES_A_CHUNK: usize = 120;
const CHUNKS: usize = 2_000;
const ROUNDS: usize = 15;

type Series = Vec<(i64, f64)>;

/// A kind of data: what it is called, and one series of it.
struct Data {
    name: &'static str,
    make: fn(&mut Rng) -> Series,
}

fn times(rng: &mut Rng, jitter_ms: u64) -> Vec<i64> {
    let start = 1_700_000_000_000 + rng.below(15_000) as i64;
    (0..SAMPLES_A_CHUNK as i64).map(|i| start + i * 15_000 + rng.below(jitter_ms + 1) as i64).collect()
}

fn series(rng: &mut Rng, jitter_ms: u64, mut value: impl FnMut(&mut Rng, usize) -> f64) -> Series {
    times(rng, jitter_ms).into_iter().enumerate().map(|(i, t)| (t, value(rng, i))).collect()
}

const DATA: [Data; 7] = [
    Data { name: "constant", make: |rng| series(rng, 0, |_, _| 1.0) },
    Data {
        name: "counter",
        make: |rng| {
            let mut total = rng.below(1_000_000);
            series(rng, 0, move |rng, _| {
                total += rng.below(50);
                total as f64
            })
        },
    },
    Data {
        name: "gauge in 1/100",
        make: |rng| {
            let mut now = rng.below(10_000) as i64;
            series(rng, 0, move |rng, _| {
                now += rng.below(21) as i64 - 10;
                now as f64 / 100.0
            })
        },
    },
    Data { name: "random floats", make: |rng| series(rng, 0, |rng, _| rng.unit()) },
    // Nobody can foresee which of its samples are as the one before.
    Data {
        name: "counter, ⅓ still",
        make: |rng| {
            let mut total = rng.below(1_000_000);
            series(rng, 0, move |rng, _| {
                if rng.below(3) > 0 {
                    total += rng.below(200);
                }
                total as f64
            })
        },
    },
    // Three of five series as they are: constant; the rest counters and gauges.
    Data {
        name: "mix",
        make: |rng| match rng.below(10) {
            0..6 => (DATA[0].make)(rng),
            6..8 => (DATA[1].make)(rng),
            _ => (DATA[2].make)(rng),
        },
    },
    Data {
        name: "mix, jitter 5 ms",
        make: |rng| {
            let kind = rng.below(10);
            let mut now = 1_000.0;
            series(rng, 5, move |rng, _| {
                if kind >= 6 {
                    now += rng.below(50) as f64;
                }
                now
            })
        },
    },
];

fn encode(encoding: ChunkEncoding, series: &Series, buffer: &mut Vec<u8>) -> XorState {
    buffer.resize(SAMPLES_A_CHUNK * 20 + APPEND_BYTES_MAX, 0);
    let buffer = buffer.as_mut_slice();
    if encoding == ChunkEncoding::Xor {
        let mut state = xor::start(buffer);
        series.iter().for_each(|&(t, v)| xor::append(&mut state, buffer, t, v));
        state
    } else {
        let mut state = xor2::start(buffer);
        series.iter().for_each(|&(t, v)| xor2::append(&mut state, buffer, t, v));
        state
    }
}

/// The best time of several rounds, in ns a sample.
fn best(samples: usize, mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_nanos() as f64 / samples as f64);
    }
    best
}

fn floats() {
    println!("{:<18} {:<5} {:>10} {:>10} {:>12}", "data", "", "encode ns", "decode ns", "bytes/sample");
    for data in &DATA {
        for encoding in [ChunkEncoding::Xor, ChunkEncoding::Xor2] {
            let mut rng = Rng::new(1);
            let all: Vec<Series> = (0..CHUNKS).map(|_| (data.make)(&mut rng)).collect();
            let mut buffer = Vec::new();
            let chunks: Vec<Vec<u8>> = all
                .iter()
                .map(|series| {
                    let state = encode(encoding, series, &mut buffer);
                    let mut bytes = buffer[..state.byte_len()].to_vec();
                    state.seal(&mut bytes);
                    bytes
                })
                .collect();
            let mut columns = Columns::default();
            for (series, bytes) in all.iter().zip(&chunks) {
                columns.clear();
                decode(encoding, bytes, TimeRange::ALL, ReadOptions::default(), &mut columns)
                    .expect("own bytes");
                let read = columns.timestamps_ms.iter().zip(&columns.floats);
                assert!(
                    read.zip(series).all(|((t, v), want)| (*t, v.to_bits()) == (want.0, want.1.to_bits()))
                );
                assert_eq!(columns.len(), series.len());
            }
            let samples = CHUNKS * SAMPLES_A_CHUNK;
            let encode_ns = best(samples, || {
                for series in &all {
                    black_box(encode(encoding, series, &mut buffer));
                }
            });
            let decode_ns = best(samples, || {
                for bytes in &chunks {
                    columns.clear();
                    let read = decode(encoding, bytes, TimeRange::ALL, ReadOptions::default(), &mut columns);
                    black_box(read.is_ok());
                }
            });
            let bytes: usize = chunks.iter().map(Vec::len).sum();
            let per_sample = bytes as f64 / samples as f64;
            println!(
                "{:<18} {encoding:<5?} {encode_ns:>10.2} {decode_ns:>10.2} {per_sample:>12.3}",
                data.name
            );
        }
    }
}

fn histograms() {
    let mut rng = Rng::new(2);
    let spans: std::sync::Arc<[Span]> =
        [Span { offset: 0, length: 10 }, Span { offset: 3, length: 10 }].into();
    let mut counts = [100i64; 20];
    let all: Vec<Histogram> = (0..SAMPLES_A_CHUNK)
        .map(|_| {
            counts.iter_mut().for_each(|count| *count += rng.below(5) as i64);
            let deltas = (0..20).map(|i| if i == 0 { counts[0] } else { counts[i] - counts[i - 1] });
            Histogram {
                schema: 3,
                count: counts.iter().sum::<i64>() as u64,
                sum: counts.iter().sum::<i64>() as f64 * 0.37,
                positive_spans: spans.clone(),
                positive_buckets: deltas.collect(),
                ..Histogram::default()
            }
        })
        .collect();
    let mut integer = HistogramAppender::new(false);
    let mut float = FloatHistogramAppender::new(false);
    for (i, histogram) in all.iter().enumerate() {
        assert_eq!(integer.append(0, i as i64 * 15_000, histogram), Appended::Appended);
    }
    let mut columns = Columns::default();
    decode(ChunkEncoding::Histogram, integer.bytes(), TimeRange::ALL, ReadOptions::default(), &mut columns)
        .expect("own bytes");
    for (i, histogram) in columns.histograms.iter().enumerate() {
        assert_eq!(histogram.count, all[i].count as f64);
        float.append(0, i as i64 * 15_000, histogram);
    }
    for (encoding, bytes) in
        [(ChunkEncoding::Histogram, integer.bytes()), (ChunkEncoding::FloatHistogram, float.bytes())]
    {
        let decode_ns = best(SAMPLES_A_CHUNK * 100, || {
            for _ in 0..100 {
                columns.clear();
                let read = decode(encoding, bytes, TimeRange::ALL, ReadOptions::default(), &mut columns);
                black_box(read.is_ok());
            }
        });
        let per_sample = bytes.len() as f64 / SAMPLES_A_CHUNK as f64;
        println!("20 buckets {encoding:?}: decode {decode_ns:.1} ns, {per_sample:.2} bytes a histogram");
    }
}

fn main() {
    floats();
    histograms();
}
