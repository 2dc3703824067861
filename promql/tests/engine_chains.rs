//! Chains of operators as long as a query can be, and nesting as deep as it can
//! be: each is answered, on any thread's stack, within bounded memory.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::thread;

use model::memory::Accountant;
use model::{Appendable, FloatBatch, Labels, Timestamps};
use promql::value::{SampleValue, Value};
use promql::{Engine, EngineOptions, Features, Output, Query, QueryError};
use testkit::MemoryStore;

/// `m{id="0"}` and so on, their values from 1 on, at 0 s, 10 s, … 100 s.
fn store(series: usize) -> MemoryStore {
    let store = MemoryStore::new();
    let mut batch = store.appender().unwrap();
    let mut outcomes = Vec::new();
    for i in 0..series {
        let id = i.to_string();
        let handle = batch.series(&Labels::from_pairs([("__name__", "m"), ("id", id.as_str())])).unwrap();
        let times: Vec<i64> = (0..11).map(|k| k * 10_000).collect();
        let floats = FloatBatch {
            series: &vec![handle; times.len()],
            timestamps: Timestamps::Each(&times),
            start_timestamps: None,
            values: &vec![i as f64 + 1.0; times.len()],
            in_order_only: false,
        };
        batch.append_floats(floats, &mut outcomes);
    }
    batch.commit().unwrap();
    store
}

fn options() -> EngineOptions {
    EngineOptions { features: Features::all(), threads: 2, ..EngineOptions::default() }
}

/// Evaluates on a thread whose stack is small.
fn ask(store: &MemoryStore, query: &Query) -> Result<Output, QueryError> {
    const STACK_BYTES: usize = 1 << 20;
    thread::scope(|scope| {
        let run = || {
            let engine = Engine::new(options());
            if query.step_ms == 0 { engine.instant(store, query) } else { engine.range(store, query) }
        };
        thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run).unwrap().join().unwrap()
    })
}

/// Series by `id`, each with its values.
fn answer(store: &MemoryStore, query: &Query) -> Vec<(String, Vec<f64>)> {
    let output = ask(store, query).unwrap_or_else(|error| panic!("{error}"));
    let id = |labels: Labels| labels.get("id").unwrap_or_default().to_owned();
    match output.value {
        Value::Vector(vector) => (0..vector.len())
            .map(|i| match &vector.values[i] {
                SampleValue::Float(v) => (id(vector.labels(i)), vec![*v]),
                SampleValue::Histogram(_) => panic!("there are no histograms"),
            })
            .collect(),
        Value::Matrix(matrix) => {
            (0..matrix.len()).map(|i| (id(matrix.labels(i)), matrix.series[i].floats.clone())).collect()
        }
        Value::Scalar { value, .. } => vec![(String::new(), vec![value])],
        Value::String { .. } => panic!("an expression is no string"),
    }
}

fn instant(store: &MemoryStore, text: String) -> Vec<(String, Vec<f64>)> {
    answer(store, &Query::instant(text, 100_000))
}

fn range(store: &MemoryStore, text: String) -> Vec<(String, Vec<f64>)> {
    answer(store, &Query::range(text, 0, 100_000, 10_000))
}

fn one(id: &str, values: Vec<f64>) -> (String, Vec<f64>) {
    (id.to_owned(), values)
}

const LONG: usize = 10_000;
const LONGER: usize = 50_000;

#[test]
fn a_chain_of_one_operator_is_answered_however_long() {
    let store = store(3);
    let same = vec![one("0", vec![1.0]), one("1", vec![2.0]), one("2", vec![3.0])];
    for n in [LONG, LONGER] {
        let chain = |operator: &str| vec!["m"; n].join(operator);
        let sums: Vec<_> = (1..=3).map(|i| one(&(i - 1).to_string(), vec![(i * n) as f64])).collect();
        assert_eq!(instant(&store, chain(" + ")), sums);
        assert_eq!(instant(&store, chain(" or ")), same);
        if n == LONGER {
            continue;
        }
        assert_eq!(instant(&store, chain(" and on (id) ")), same);
        assert_eq!(instant(&store, chain(" unless ")), []);
        assert_eq!(instant(&store, vec!["1"; n].join(" + ")), [one("", vec![n as f64])]);
        assert_eq!(instant(&store, format!("m{}", " + 1".repeat(n)))[2], one("2", vec![3.0 + n as f64]));
    }
}

#[test]
fn each_operand_of_a_long_chain_counts() {
    let store = store(0);
    let operand = |i: usize| format!("label_replace(vector({}), \"id\", \"{i}\", \"\", \"\")", i + 1);
    let chain = |operator: &str| (0..LONG).map(operand).collect::<Vec<_>>().join(operator);
    let all: Vec<_> = (0..LONG).map(|i| one(&i.to_string(), vec![i as f64 + 1.0])).collect();
    assert_eq!(instant(&store, chain(" or ")), all, "in the order in which they are written");
    let mut sorted = range(&store, chain(" or "));
    sorted.sort_by_key(|(id, _)| id.parse::<usize>().unwrap());
    assert!(sorted.iter().zip(&all).all(|(a, b)| a.0 == b.0 && a.1 == vec![b.1[0]; 11]));
    let sum = LONG * (LONG + 1) / 2;
    assert_eq!(instant(&store, chain(" + on () ")), [one("", vec![sum as f64])]);
    assert_eq!(range(&store, chain(" - on () ")), [one("", vec![2.0 - sum as f64; 11])]);
    assert_eq!(instant(&store, chain(" and ")), []);
    assert_eq!(instant(&store, chain(" unless ")), all[..1]);
}

#[test]
fn mixed_chains_are_what_their_operators_say() {
    let store = store(4);
    // What the operators leave of the series 0 to 3, from left to right: in each
    // round those that bind weaker come last, before parentheses close.
    let mut text = "m".to_owned();
    let mut left: Vec<Option<f64>> = (1..=4).map(|v| Some(f64::from(v))).collect();
    let own = |i: usize| i as f64 + 1.0;
    for round in 0..100 {
        let id = round % 4;
        for n in 0..LONG / 200 {
            text.push_str(if n % 2 == 0 { " + m" } else { " - 0.5 * m" });
            for (i, v) in left.iter_mut().enumerate() {
                *v = v.map(|v| if n % 2 == 0 { v + own(i) } else { v - 0.5 * own(i) });
            }
        }
        text.push_str(&" and m".repeat(LONG / 400));
        text.push_str(&format!(" unless m{{id=\"{id}\"}}").repeat(LONG / 400));
        left[id] = None;
        if round % 3 == 0 {
            text.push_str(&" or 2 * m".repeat(LONG / 400));
            left.iter_mut().enumerate().for_each(|(i, v)| *v = v.or(Some(2.0 * own(i))));
        }
        text = format!("({text})");
    }
    let expected: Vec<_> =
        left.iter().enumerate().filter_map(|(i, v)| Some(one(&i.to_string(), vec![(*v)?]))).collect();
    assert!(!expected.is_empty());
    let mut found = instant(&store, text);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, expected);
}

#[test]
fn nesting_is_answered_as_deep_as_it_can_be_written() {
    let store = store(1);
    let left = |n: usize| format!("{}m{}", "(".repeat(n), " + m)".repeat(n));
    let right = |n: usize| format!("{}m{}", "m + (".repeat(n), ")".repeat(n));
    assert_eq!(instant(&store, left(490)), [one("0", vec![491.0])]);
    assert_eq!(instant(&store, right(240)), [one("0", vec![241.0])]);
    assert_eq!(range(&store, right(240)), [one("0", vec![241.0; 11])]);
    let or = format!("{}m{}", "m or (".repeat(240), ")".repeat(240));
    assert_eq!(instant(&store, or), [one("0", vec![1.0])]);
    assert_eq!(instant(&store, vec!["1"; 400].join(" ^ ")), [one("", vec![1.0])]);
    // Chains in chains: each level adds up fifty, then what lies deeper.
    let fifty = "m + ".repeat(50);
    let both = format!("{}m{}", format!("{fifty}(").repeat(160), " + m)".repeat(160));
    assert_eq!(instant(&store, both), [one("0", vec![160.0 * 51.0 + 1.0])]);
    let functions = format!("{}m{}", "abs(m + m + ".repeat(160), ")".repeat(160));
    assert_eq!(instant(&store, functions), [one("0", vec![321.0])]);
    for text in [left(600), right(600)] {
        let error = ask(&store, &Query::instant(text, 0)).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("expression is nested too deeply: more than 500 levels"), "{error}");
    }
}

#[test]
fn long_chains_are_printed_and_explained() {
    let store = store(2);
    for (operator, n) in [(" + ", LONG), (" or ", LONG), (" and ", LONG)] {
        let text = vec!["m"; n].join(operator);
        let expr = promql::parse(&text, Features::all()).unwrap();
        assert_eq!(expr.to_string(), text);
        assert!(promql::to_json(&expr).get().len() > text.len());
        drop(expr.clone());
        let output = ask(&store, &Query::instant(text, 100_000)).unwrap();
        let tree = output.explain.clone();
        let (mut nodes, mut open) = (0, vec![&tree]);
        while let Some(node) = open.pop() {
            nodes += 1;
            open.extend(&node.children);
        }
        assert!(nodes >= n, "each operand is in the tree: {nodes}");
        let json = tree.to_json().to_string();
        assert!(!json.contains("\"cut\""), "long is not deep");
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    }
}

#[test]
fn long_chains_hold_no_more_than_a_result() {
    let store = store(100);
    let memory = Accountant::new(1 << 30);
    let held = |text: String| {
        let engine = Engine::new(EngineOptions { memory: memory.clone(), threads: 1, ..options() });
        let output = engine.range(&store, &Query::range(text, 0, 100_000, 500)).unwrap();
        output.stats.peak_memory_bytes
    };
    for operator in [" + ", " or ", " and ", " unless on (x) m or "] {
        let (short, long) = (held(vec!["m"; 20].join(operator)), held(vec!["m"; 200].join(operator)));
        // Both sides of an operator and what it makes: 100 series at 201 steps each.
        assert!(long < short + 6 * 100 * 201 * 9, "{operator}: {short} and {long} bytes");
    }
    assert_eq!(memory.used(), 0);
    let engine = Engine::new(EngineOptions { query_memory_budget: 1 << 20, ..options() });
    let text = vec!["m"; LONG].join(" + ");
    let error = engine.range(&store, &Query::range(text, 0, 100_000, 10)).map(|_| ()).unwrap_err();
    assert!(matches!(error, QueryError::Memory(_)), "{error}");
}
