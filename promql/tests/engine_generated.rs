//! Made-up queries over made-up data of every kind: whatever the number of
//! threads, wherever the samples lie, whether or not parts that stand twice are
//! evaluated once, and whether operators are a tree or a list, the answer is the
//! same, bit by bit; and a step of a range query is the instant query at its time.
//!
//! `NARTHEX_QUERIES` sets how many queries are asked (a few hundred otherwise),
//! `NARTHEX_SEED` the first seed.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use model::memory::Accountant;
use model::metrics::Registry;
use model::{Env, FloatHistogram, Labels, Queryable};
use promql::stats::ExplainNode;
use promql::value::{SampleValue, Value};
use promql::{Engine, EngineOptions, Features, Output, Query, ValueType};
use testkit::querygen::{Choice, QueryGen, data};
use testkit::{MemoryStore, TestClock};
use tsdb::{Db, DbOptions};

const START_MS: i64 = 1_700_000_000_000;
const INTERVAL_MS: i64 = 15_000;
const SCRAPES: usize = 240;
const END_MS: i64 = START_MS + INTERVAL_MS * SCRAPES as i64;

#[expect(clippy::disallowed_methods, reason = "whoever runs the test sets its size")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn queries(seed_offset: u64, usual: u64) -> impl Iterator<Item = String> {
    let seed = number("NARTHEX_SEED", 1) + seed_offset;
    let choice = Choice { deterministic: false, depth: 3, times_s: (START_MS / 1000, END_MS / 1000) };
    println!("seed {seed}");
    let mut made = QueryGen::new(seed, choice);
    let functions: Vec<String> = promql::FUNCTIONS.iter().map(|f| made.query_of(f.name)).collect();
    functions.into_iter().chain((0..number("NARTHEX_QUERIES", usual)).map(move |_| made.query()))
}

fn plan(start_timestamps: bool) -> data::Plan {
    data::Plan { start_ms: START_MS, interval_ms: INTERVAL_MS, scrapes: SCRAPES, seed: 5, start_timestamps }
}

fn memory_store(start_timestamps: bool) -> MemoryStore {
    let store = MemoryStore::new();
    data::fill(&store, plan(start_timestamps)).unwrap();
    store
}

fn engine(threads: usize, late_names: bool) -> Engine {
    engine_with(threads, late_names, true)
}

fn engine_with(threads: usize, late_names: bool, share_parts: bool) -> Engine {
    Engine::new(EngineOptions {
        share_parts,
        features: Features::all(),
        threads,
        delayed_name_removal: late_names,
        use_start_timestamps: late_names,
        per_step_stats: true,
        ..EngineOptions::default()
    })
}

type HistogramBits = (i64, String, u64, u64);

#[derive(Debug, PartialEq)]
struct Row {
    labels: Labels,
    times: Vec<i64>,
    floats: Vec<u64>,
    histograms: Vec<HistogramBits>,
}

fn bits(v: f64) -> u64 {
    // All NaN that are computed are one: which of two operands' NaN an
    // instruction hands on is the compiler's choice.
    if v.is_nan() && !model::is_stale_nan(v) { f64::NAN.to_bits() } else { v.to_bits() }
}

fn histogram(t: i64, h: &FloatHistogram) -> HistogramBits {
    let mut plain = h.clone();
    // The hint depends on where chunks begin.
    plain.counter_reset_hint = model::CounterResetHint::Unknown;
    (t, format!("{plain:?}"), bits(h.count), bits(h.sum))
}

fn rows(value: &Value) -> Vec<Row> {
    match value {
        Value::Matrix(matrix) => (0..matrix.len())
            .map(|i| {
                let one = &matrix.series[i];
                Row {
                    labels: matrix.labels(i),
                    times: one.float_timestamps_ms.to_vec(),
                    floats: one.floats.iter().map(|&v| bits(v)).collect(),
                    histograms: one.histograms.iter().map(|(t, h)| histogram(*t, h)).collect(),
                }
            })
            .collect(),
        Value::Vector(vector) => (0..vector.len())
            .map(|i| {
                let (times, floats, histograms) = match &vector.values[i] {
                    SampleValue::Float(v) => (vec![vector.timestamp_ms], vec![bits(*v)], vec![]),
                    SampleValue::Histogram(h) => (vec![], vec![], vec![histogram(vector.timestamp_ms, h)]),
                };
                Row { labels: vector.labels(i), times, floats, histograms }
            })
            .collect(),
        Value::Scalar { timestamp_ms, value } => {
            let labels = Labels::from_pairs([] as [(&str, &str); 0]);
            vec![Row { labels, times: vec![*timestamp_ms], floats: vec![bits(*value)], histograms: vec![] }]
        }
        Value::String { .. } => Vec::new(),
    }
}

#[derive(Debug, PartialEq)]
struct Answer {
    rows: Vec<Row>,
    warnings: Vec<String>,
    infos: Vec<String>,
    /// Looked at, read, and most held at a time.
    samples: (u64, u64, u64),
    samples_by_step: Option<Vec<(i64, u64)>>,
    read_by_step: Option<Vec<(i64, u64)>>,
}

fn ask(engine: &Engine, store: &dyn Queryable, query: &Query) -> Result<Answer, String> {
    run(engine, store, query).map(answer)
}

fn run(engine: &Engine, store: &dyn Queryable, query: &Query) -> Result<Output, String> {
    let output = if query.step_ms == 0 { engine.instant(store, query) } else { engine.range(store, query) };
    output.map_err(|error| error.to_string())
}

fn answer(output: Output) -> Answer {
    let stats = output.stats;
    Answer {
        rows: rows(&output.value),
        warnings: output.warnings,
        infos: output.infos,
        samples: (stats.total_queryable_samples, stats.samples_read, stats.peak_samples),
        samples_by_step: stats.total_queryable_samples_per_step,
        read_by_step: stats.samples_read_per_step,
    }
}

fn over_the_data(text: String, step_ms: i64) -> Query {
    let mut query = Query::range(text, START_MS + 600_000, END_MS - 300_000, step_ms);
    query.per_step_stats = true;
    query
}

#[test]
fn threads_change_nothing() {
    let store = memory_store(true);
    let engines = [1, 2, 8].map(|threads| engine(threads, false));
    let late = [1, 2, 8].map(|threads| engine(threads, true));
    for (n, text) in queries(0, 400).enumerate() {
        let engines = if n % 2 == 0 { &engines } else { &late };
        for query in [over_the_data(text.clone(), 47_000), Query::instant(text.clone(), END_MS - 1)] {
            let [one, two, eight] = [0, 1, 2].map(|i| ask(&engines[i], &store, &query));
            assert_eq!(one, two, "{text}");
            assert_eq!(one, eight, "{text}");
        }
    }
}

/// A query in which another stands more than once.
fn repeated(text: &str, how: usize) -> String {
    match how % 6 {
        0 => format!("({text}) - ({text})"),
        1 => format!("sum({text}) / (sum({text}) + count( {text} ))"),
        2 => format!("({text}) or on (instance) abs({text})"),
        3 => format!("topk by (job) (2, {text}) unless on (code) (({text}) > 3)"),
        4 => format!("max_over_time(({text})[2m:30s]) + on (job, instance, code, le) group_left () ({text})"),
        _ => {
            format!("label_replace({text}, \"a\", \"b\", \"\", \"\") and ignoring (a) (-({text}) or {text})")
        }
    }
}

/// Operators between queries, as many as `pick` says.
fn chain(texts: &[String], mut pick: impl FnMut(usize) -> usize) -> String {
    const OPERATORS: [&str; 14] = [
        "or",
        "or",
        "or",
        "or on (instance)",
        "or on (instance)",
        "and",
        "unless on (job)",
        "+",
        "-",
        "/",
        "> bool",
        "* on (instance, job, code, le)",
        "== on (instance) group_left ()",
        "unless",
    ];
    let link = |text: &String, operator: &str| format!(" {operator} ({text})");
    let count = 2 + pick(9);
    let first = pick(texts.len());
    let mut chain = format!("({})", texts[first]);
    let mut operator = OPERATORS[pick(OPERATORS.len())];
    for _ in 0..count {
        // Runs of the same are what lists are for.
        if pick(3) == 0 {
            operator = OPERATORS[pick(OPERATORS.len())];
        }
        let next = &texts[pick(texts.len())];
        match pick(6) {
            0 => chain.push_str(&link(next, ["+", "*", "-"][pick(3)])),
            1 => chain = format!("({chain}){}", link(next, operator)),
            2 => chain.push_str([" + 1", " > 2", " * time()", " - pi()"][pick(4)]),
            _ => chain.push_str(&link(next, operator)),
        }
    }
    chain
}

#[test]
fn operators_as_a_list_answer_as_those_of_a_tree() {
    let store = memory_store(true);
    let engine = |late_names, chains_as_lists| {
        Engine::new(EngineOptions {
            chains_as_lists,
            threads: 2,
            ..engine_with(1, late_names, true).options().clone()
        })
    };
    let engines = [false, true].map(|late| [false, true].map(|lists| engine(late, lists)));
    let of_type = |text: &String, wanted: &[ValueType]| {
        wanted.contains(&promql::parse(text, Features::all()).unwrap().value_type())
    };
    let texts: Vec<String> = queries(5, 400).filter(|text| of_type(text, &[ValueType::Vector])).collect();
    let mut random = testkit::Rng::new(number("NARTHEX_SEED", 1));
    let (mut answered, mut some) = (0, 0);
    for n in 0..number("NARTHEX_QUERIES", 400) {
        let text = chain(&texts, |below| random.below(below as u64) as usize);
        if promql::parse(&text, Features::all()).is_err() {
            continue;
        }
        let [tree, list] = &engines[n as usize % 2];
        for query in [over_the_data(text.clone(), 57_000), Query::instant(text.clone(), END_MS - 1)] {
            let as_tree = ask(tree, &store, &query);
            answered += usize::from(as_tree.is_ok());
            some += as_tree.as_ref().map_or(0, |answer| usize::from(!answer.rows.is_empty()));
            assert_eq!(ask(list, &store, &query), as_tree, "{text}");
        }
    }
    println!("{answered} answered, {some} with series");
    assert!(some > 100, "{answered} answered, {some} with series");
}

fn operators(node: &ExplainNode, name: &str) -> usize {
    let below = node.children.iter().map(|child| operators(child, name)).sum::<usize>();
    below + usize::from(node.operator == name)
}

#[test]
fn parts_that_stand_twice_answer_as_if_they_were_evaluated_twice() {
    let store = memory_store(true);
    let pair = |late_names| [true, false].map(|share_parts| engine_with(2, late_names, share_parts));
    let engines = [pair(false), pair(true)];
    let mut shared = 0;
    for (n, text) in queries(3, 300).enumerate() {
        let parsed = promql::parse(&text, Features::all()).unwrap();
        if parsed.value_type() != ValueType::Vector {
            continue;
        }
        let text = repeated(&text, n);
        let [once, twice] = &engines[n / 2 % 2];
        for query in [over_the_data(text.clone(), 53_000), Query::instant(text.clone(), END_MS - 1)] {
            let with = run(once, &store, &query);
            shared += with.as_ref().map_or(0, |output| operators(&output.explain, "again"));
            assert_eq!(with.map(answer), ask(twice, &store, &query), "{text}");
        }
    }
    println!("{shared} parts were handed out again");
    assert!(shared > 200, "{shared} parts were handed out again");
}

#[test]
fn the_limit_of_samples_is_met_at_the_peak() {
    let store = memory_store(false);
    let limited = |max_samples: usize, threads: usize| {
        let options =
            EngineOptions { features: Features::all(), max_samples, threads, ..EngineOptions::default() };
        Engine::new(options)
    };
    let free = limited(usize::MAX, 1);
    let mut refused = 0;
    for text in queries(4, 200) {
        for query in [over_the_data(text.clone(), 71_000), Query::instant(text.clone(), END_MS - 1)] {
            let Ok(output) = run(&free, &store, &query) else { continue };
            let peak = usize::try_from(output.stats.peak_samples).unwrap();
            let before = answer(output);
            assert_eq!(ask(&limited(peak, 2), &store, &query), Ok(before), "{text} within {peak} samples");
            // Upstream looks at the limit before an aggregation's result takes the
            // place of its input: what these make was not counted then.
            if peak > 0 && !["smoothed", "absent_over_time"].iter().any(|word| text.contains(word)) {
                let Err(error) = ask(&limited(peak - 1, 2), &store, &query) else {
                    panic!("{text} passes within {} samples", peak - 1);
                };
                assert!(error.contains("too many samples"), "{text} within {} samples: {error}", peak - 1);
                refused += 1;
            }
        }
    }
    assert!(refused > 200, "{refused} queries were refused");
}

#[test]
fn head_and_blocks_answer_as_memory_does() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new(START_MS));
    let options = DbOptions {
        dir: dir.path().to_path_buf(),
        block_duration_ms: 10 * 60_000,
        max_block_duration_ms: 30 * 60_000,
        ..DbOptions::default()
    };
    let env = Env { fs: tsdb::real_fs(), clock: clock.clone(), seed: 1 };
    let db = Db::open(options, env, Accountant::unlimited(), &Registry::new(), Arc::default()).unwrap();
    data::fill(&*db, plan(false)).unwrap();
    let memory = memory_store(false);
    let engine = engine(2, false);
    let texts: Vec<String> = queries(1, 300).collect();
    let ask_all = |store: &dyn Queryable| -> Vec<Result<Answer, String>> {
        let asked = |text: &String| {
            let range = ask(&engine, store, &over_the_data(text.clone(), 61_000));
            let instant = ask(&engine, store, &Query::instant(text.clone(), END_MS));
            [range, instant]
        };
        texts.iter().flat_map(asked).collect()
    };
    let expected = ask_all(&memory);
    let from_head = ask_all(&*db);
    clock.advance(Duration::from_secs(2 * 3600));
    for _ in 0..4 {
        db.maintain().unwrap();
    }
    let n_blocks = std::fs::read_dir(dir.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().join("meta.json").exists());
    assert!(n_blocks.count() > 0, "the head was cut");
    let from_blocks = ask_all(&*db);
    for (i, expected) in expected.iter().enumerate() {
        let text = &texts[i / 2];
        assert_eq!(expected, &from_head[i], "head: {text}");
        assert_eq!(expected, &from_blocks[i], "blocks: {text}");
    }
    db.close().unwrap();
}

#[test]
fn a_step_of_a_range_query_is_the_instant_query_at_its_time() {
    let store = memory_store(true);
    let engine = engine(1, false);
    for text in queries(2, 300) {
        // What depends on the query's own times, and orders that only instant queries have.
        if ["start()", "end()", "range()", "step()"].iter().any(|word| text.contains(word)) {
            continue;
        }
        let query = over_the_data(text.clone(), 300_000);
        let Ok(range) = ask(&engine, &store, &query) else { continue };
        let mut t = query.start_ms;
        while t <= query.end_ms {
            let Ok(mut instant) = ask(&engine, &store, &Query::instant(text.clone(), t)) else {
                panic!("{text}: the range query passed, but not the instant query at {t}");
            };
            instant.rows.sort_by(|a, b| a.labels.cmp(&b.labels));
            let at_step: Vec<Row> = range
                .rows
                .iter()
                .filter_map(|row| {
                    let float = row.times.iter().position(|&at| at == t);
                    let histogram = row.histograms.iter().find(|(at, ..)| *at == t);
                    (float.is_some() || histogram.is_some()).then(|| Row {
                        labels: row.labels.clone(),
                        times: float.map(|_| t).into_iter().collect(),
                        floats: float.map(|i| row.floats[i]).into_iter().collect(),
                        histograms: histogram.cloned().into_iter().collect(),
                    })
                })
                .collect();
            assert_eq!(at_step, instant.rows, "{text} at {t}");
            t += query.step_ms;
        }
    }
}
