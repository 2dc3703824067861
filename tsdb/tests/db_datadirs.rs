//! Whole data directories that upstream's server left behind, opened here.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use db_support::*;
use model::query::SampleKind;
use model::{Columns, CounterResetHint, FloatHistogram, Labels, TimeRange};
use serde_json::Value;

/// A sample in a form that compares by bits.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    t: i64,
    start: i64,
    value: PlainValue,
}

#[derive(Clone, Debug, PartialEq)]
enum PlainValue {
    Float(u64),
    Histogram { numbers: Vec<u64>, spans: Vec<(i64, i64)>, hint: String },
}

type Series = BTreeMap<Labels, Vec<Plain>>;

fn number(value: &Value) -> f64 {
    match value {
        Value::Number(n) => n.as_f64().unwrap(),
        Value::String(text) => match text.as_str() {
            "stale" => model::stale_nan(),
            "NaN" => f64::from_bits(model::sample::NORMAL_NAN_BITS),
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            text => text.parse().unwrap(),
        },
        other => panic!("no number: {other}"),
    }
}

fn hint_name(hint: CounterResetHint) -> String {
    match hint {
        CounterResetHint::Unknown => "unknown",
        CounterResetHint::CounterReset => "reset",
        CounterResetHint::NotCounterReset => "not_reset",
        CounterResetHint::Gauge => "gauge",
    }
    .to_owned()
}

fn wanted_histogram(h: &Value) -> PlainValue {
    let list = |name: &str| h[name].as_array().map(|all| all.iter().map(number).collect::<Vec<f64>>());
    let absolute = |deltas: Vec<f64>| {
        deltas
            .iter()
            .scan(0.0, |sum, d| {
                *sum += d;
                Some(*sum)
            })
            .collect::<Vec<f64>>()
    };
    let side = |name: &str| {
        list(&format!("{name}_buckets")).unwrap_or_else(|| absolute(list(&format!("{name}_deltas")).unwrap()))
    };
    let mut numbers: Vec<f64> =
        ["schema", "zero_threshold", "zero_count", "count", "sum"].map(|n| number(&h[n])).into();
    numbers.extend(side("positive"));
    numbers.extend(side("negative"));
    numbers.extend(list("custom_values").unwrap());
    let spans = ["positive_spans", "negative_spans"].iter().flat_map(|name| h[name].as_array().unwrap());
    PlainValue::Histogram {
        numbers: numbers.iter().map(|n| n.to_bits()).collect(),
        spans: spans.map(|span| (span[0].as_i64().unwrap(), span[1].as_i64().unwrap())).collect(),
        hint: h["counter_reset_hint"].as_str().unwrap().to_owned(),
    }
}

fn read_histogram(h: &FloatHistogram) -> PlainValue {
    let mut numbers = vec![f64::from(h.schema), h.zero_threshold, h.zero_count, h.count, h.sum];
    numbers.extend(&h.positive_buckets);
    numbers.extend(&h.negative_buckets);
    numbers.extend(h.custom_values.iter());
    let spans = h.positive_spans.iter().chain(h.negative_spans.iter());
    PlainValue::Histogram {
        numbers: numbers.iter().map(|n| n.to_bits()).collect(),
        spans: spans.map(|span| (i64::from(span.offset), i64::from(span.length))).collect(),
        hint: hint_name(h.counter_reset_hint),
    }
}

fn wanted(path: &Path) -> Series {
    let mut all = Series::new();
    for line in testkit::json_lines(path) {
        let labels = Labels::from_pairs(
            line["labels"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())),
        );
        let samples = line["samples"].as_array().unwrap().iter().map(|sample| {
            let value = match (&sample["h"], &sample["v_bits"]) {
                (Value::Null, Value::String(bits)) => {
                    PlainValue::Float(u64::from_str_radix(bits, 16).unwrap())
                }
                (Value::Null, _) => PlainValue::Float(number(&sample["v"]).to_bits()),
                (h, _) => wanted_histogram(h),
            };
            Plain { t: sample["t"].as_i64().unwrap(), start: sample["st"].as_i64().unwrap_or(0), value }
        });
        all.insert(labels, samples.collect());
    }
    all
}

fn plain(columns: &Columns) -> Vec<Plain> {
    let (mut floats, mut histograms) = (columns.floats.iter(), columns.histograms.iter());
    let kinds = columns.runs.iter().flat_map(|run| std::iter::repeat_n(run.kind, run.len));
    columns
        .timestamps_ms
        .iter()
        .zip(&columns.start_timestamps_ms)
        .zip(kinds)
        .map(|((&t, &start), kind)| {
            let value = match kind {
                SampleKind::Float => PlainValue::Float(floats.next().unwrap().to_bits()),
                SampleKind::Histogram => read_histogram(histograms.next().unwrap()),
            };
            Plain { t, start, value }
        })
        .collect()
}

fn found(db: &tsdb::Db) -> Series {
    select(db, everything(), TimeRange::ALL)
        .into_iter()
        .map(|(labels, columns)| (labels, plain(&columns)))
        .filter(|(_, samples)| !samples.is_empty())
        .collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What differs, in a few words.
fn difference(want: &Series, have: &Series) -> Option<String> {
    for (labels, samples) in want {
        let Some(other) = have.get(labels) else { return Some(format!("{labels} is missing")) };
        if samples.len() != other.len() {
            return Some(format!("{labels}: {} samples, not {}", other.len(), samples.len()));
        }
        if let Some((want, have)) = samples.iter().zip(other).find(|(want, have)| want != have) {
            return Some(format!("{labels}: {have:?}, not {want:?}"));
        }
    }
    have.keys()
        .find(|labels| !want.contains_key(labels))
        .map(|labels| format!("{labels} should not be there"))
}

/// Whether every sample of `few` is in `many`.
fn is_part(few: &Series, many: &Series) -> bool {
    few.iter().all(|(labels, samples)| {
        let found = many.get(labels).is_some_and(|others| {
            samples.iter().all(|sample| others.iter().any(|other| other.t == sample.t))
        });
        if !found {
            println!("{labels}: {:?} .. {:?}", samples.first(), samples.last());
        }
        found
    })
}

/// The samples of one set that the other has too: a deletion behind the damage
/// is kept like everything else.
fn both(a: &Series, b: &Series) -> Series {
    let mut common = a.clone();
    common.retain(|labels, samples| {
        let others = b.get(labels);
        samples.retain(|sample| others.is_some_and(|others| others.iter().any(|other| other.t == sample.t)));
        !samples.is_empty()
    });
    common
}

fn options_for(name: &str, dir: &Path) -> tsdb::DbOptions {
    let mut options = options(dir);
    options.exemplar_storage = true;
    options.memory_snapshot_on_shutdown = name == "memory-snapshot";
    options.metadata_storage = true;
    options.runtime.retention_time = None;
    if name == "out-of-order" {
        options.runtime.out_of_order_window = Duration::from_secs(3 * 3600);
    }
    if name == "wal-start-timestamps" {
        options.start_timestamp_storage = true;
        options.histogram_start_timestamps = true;
        options.runtime.float_encoding = model::query::ChunkEncoding::Xor2;
    }
    options
}

#[test]
fn upstreams_data_directories_open() {
    let Some(root) = testkit::conformance_dir("tsdb") else { return };
    let root = root.join("datadirs");
    let mut names: Vec<String> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let whole = wanted(&root.join("wal-none/expected.samples.jsonl"));
    let (mut passed, total) = (0, names.len());
    for name in &names {
        let from = root.join(name);
        let want = wanted(&from.join("expected.samples.jsonl"));
        let dir = tempfile::tempdir().unwrap();
        copy(&from.join("data"), dir.path());
        let mut problems = Vec::new();
        // Twice: what a start leaves behind must open just as well.
        for _ in 0..2 {
            let db = open(options_for(name, dir.path()));
            let have = found(&db);
            let damaged = name == "wal-flipped-byte";
            let problem = if damaged {
                // More is kept than upstream keeps, and nothing is invented.
                if is_part(&both(&want, &whole), &have) { None } else { Some("too little".to_owned()) }
                    .or_else(|| (!is_part(&have, &whole)).then(|| "too much".to_owned()))
            } else {
                difference(&want, &have)
            };
            problems.extend(problem);
            let exemplars = from.join("expected.exemplars.jsonl");
            if exemplars.exists() {
                let want = testkit::json_lines(&exemplars).len();
                let sets = [everything()];
                let have = model::query::ExemplarQueryable::exemplars(&*db, TimeRange::ALL, &sets).unwrap();
                let have: usize = have.iter().map(|series| series.exemplars.len()).sum();
                if want != have {
                    problems.push(format!("{have} exemplars, not {want}"));
                }
            }
            db.close().unwrap();
        }
        if name == "wal-flipped-byte" {
            assert!(dir.path().join("damaged/wal/00000000").exists(), "the damaged original is kept");
        }
        if problems.is_empty() {
            passed += 1;
        } else {
            println!("{name}: {}", problems.join("; "));
        }
    }
    println!("upstreams_data_directories_open: {passed} / {total}");
    assert_eq!(passed, total);
}
