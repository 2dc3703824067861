//! `rate`, `increase` and `delta` of floats over many steps: the engine takes
//! windows by the block, this test one after the other, as upstream's documentation
//! describes them. Bits are the same.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use model::Labels;
use model::append::{Appendable, FloatBatch, Timestamps};
use promql::value::Value;
use promql::{Engine, EngineOptions, Features, Query};
use testkit::{MemoryStore, Rng};

const START_MS: i64 = 1_700_000_000_000;

/// A counter or gauge with jitter, gaps, resets, and numbers that are none: many or
/// few, so that some hundred samples follow each other one a step.
fn samples(seed: u64) -> Vec<(i64, f64)> {
    let mut rng = Rng::new(seed);
    let (mut t, mut v) = (START_MS + rng.below(40_000) as i64, 0.0);
    let mut all = Vec::new();
    let (calm, jitter_ms) = if seed.is_multiple_of(4) { (8, 10) } else { (1, 2_000) };
    for _ in 0..400 {
        t += match rng.below(40 * calm) {
            0 => 400_000,
            1 => 45_000,
            2 => 1,
            _ => 15_000 - jitter_ms / 2 + rng.below(jitter_ms as u64) as i64,
        };
        v = match rng.below(60 * calm) {
            0 => 0.0,
            1 => f64::INFINITY,
            2 => -7.5,
            3 => 1e300,
            _ if seed.is_multiple_of(3) => v + 0.25,
            _ => v + rng.below(1000) as f64 / 7.0,
        };
        all.push((t, v));
    }
    all
}

fn store_of(series: &[Vec<(i64, f64)>]) -> MemoryStore {
    let store = MemoryStore::new();
    let mut batch = store.appender().unwrap();
    for (i, samples) in series.iter().enumerate() {
        let labels = Labels::from_pairs([("__name__", "made_total"), ("nth", &format!("{i:03}"))]);
        let handle = batch.series(&labels).unwrap();
        let mut outcomes = Vec::new();
        for &(t, v) in samples {
            let batch_of_one = FloatBatch {
                series: &[handle],
                timestamps: Timestamps::Each(&[t]),
                start_timestamps: None,
                values: &[v],
                in_order_only: false,
            };
            batch.append_floats(batch_of_one, &mut outcomes);
        }
        assert!(outcomes.iter().all(|outcome| outcome.is_ok()));
    }
    batch.commit().unwrap();
    store
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    function: &'static str,
    range_ms: i64,
    offset_ms: i64,
}

/// One window. Source of the formula: Prometheus' documentation of `rate` and its
/// `extrapolatedRate`.
fn one(samples: &[(i64, f64)], asked: Asked, at_ms: i64) -> Option<f64> {
    let end = at_ms - asked.offset_ms;
    let start = end - asked.range_ms;
    let inside: Vec<_> = samples.iter().filter(|(t, _)| *t > start && *t <= end).collect();
    let [(first_t, first), .., (last_t, last)] = inside[..] else { return None };
    let counter = asked.function != "delta";
    let mut moved = last - first;
    if counter {
        for pair in inside.windows(2).filter(|pair| pair[1].1 < pair[0].1) {
            moved += pair[0].1;
        }
    }
    let mut to_start = (first_t - start) as f64 / 1000.0;
    let mut to_end = (end - last_t) as f64 / 1000.0;
    let sampled = (last_t - first_t) as f64 / 1000.0;
    let average = sampled / (inside.len() - 1) as f64;
    if to_end >= average * 1.1 {
        to_end = average / 2.0;
    }
    if to_start >= average * 1.1 {
        to_start = average / 2.0;
    }
    if counter && moved > 0.0 && *first >= 0.0 {
        let to_zero = sampled * (first / moved);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if asked.function == "rate" {
        factor /= asked.range_ms as f64 / 1000.0;
    }
    Some(moved * factor)
}

#[test]
fn windows_by_the_block_are_those_one_after_the_other() {
    let series: Vec<_> = (1..40).map(samples).collect();
    let store = store_of(&series);
    let engine = Engine::new(EngineOptions { features: Features::all(), ..EngineOptions::default() });
    let mut compared = 0;
    for function in ["rate", "increase", "delta"] {
        for (range_ms, offset_ms) in [(30_000, 0), (300_000, 0), (61_000, 7_000), (3_600_000, -45_000)] {
            for (step_ms, from_ms) in [(15_000, 0), (1_000, 0), (7_001, -1_300_000), (400_000, -60_000)] {
                let asked = Asked { function, range_ms, offset_ms };
                let text = format!("{function}(made_total[{range_ms}ms] offset {offset_ms}ms)");
                let start_ms = START_MS + from_ms;
                let end_ms = start_ms + step_ms * 519;
                let output = engine.range(&store, &Query::range(&text, start_ms, end_ms, step_ms)).unwrap();
                let Value::Matrix(matrix) = output.value else { panic!("a range query answers a matrix") };
                let mut shown = 0;
                for (i, samples) in series.iter().enumerate() {
                    let expected: Vec<(i64, u64)> = (0..520)
                        .map(|step| start_ms + step * step_ms)
                        .filter_map(|at| Some((at, one(samples, asked, at)?)))
                        .map(|(at, v)| (at, if v.is_nan() { f64::NAN } else { v }.to_bits()))
                        .collect();
                    let nth = format!("{i:03}");
                    let row = (0..matrix.len()).find(|&row| matrix.labels(row).get("nth") == Some(&nth));
                    let Some(row) = row else {
                        assert!(expected.is_empty(), "{text} by {step_ms} of series {nth}: nothing");
                        continue;
                    };
                    shown += 1;
                    let row = &matrix.series[row];
                    let floats = row.floats.iter().map(|&v| if v.is_nan() { f64::NAN } else { v }.to_bits());
                    let given: Vec<_> = row.float_timestamps_ms.iter().copied().zip(floats).collect();
                    assert_eq!(given, expected, "{text} by {step_ms} of series {nth}");
                    compared += expected.len();
                }
                assert_eq!(shown, matrix.len());
            }
        }
    }
    assert!(compared > 100_000, "{compared}");
}
