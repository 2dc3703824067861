//! The engine against an evaluator that walks the syntax tree one time after the
//! other: made-up queries with every function, over made-up data of every kind,
//! start timestamps included.
//!
//! `NARTHEX_QUERIES` sets how many queries are asked (a few hundred otherwise),
//! `NARTHEX_SEED` the first seed.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod naive;

use std::collections::BTreeMap;
use std::rc::Rc;

use model::query::{ReadOptions, SampleKind};
use model::{Columns, Dictionary, Labels, MatchOp, Matcher, Queryable, SelectRequest, TimeRange};
use naive::{Fault, Hist, Naive, Point, Sample, Series, Val};
use promql::ast::ValueType;
use promql::value::Value;
use promql::{Engine, EngineOptions, Features, Query};
use testkit::MemoryStore;
use testkit::querygen::{Choice, QueryGen, data};

const START_MS: i64 = 1_700_000_000_000;
const INTERVAL_MS: i64 = 15_000;
const SCRAPES: usize = 120;
const LOOKBACK_MS: i64 = 300_000;

#[expect(clippy::disallowed_methods, reason = "whoever runs the test sets its size")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Everything that a store holds.
fn all_of(store: &MemoryStore) -> Vec<Series> {
    let querier = store.querier(TimeRange::ALL).unwrap();
    let dictionary = Dictionary::new();
    let named = Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap();
    let selected = querier.select(&SelectRequest::new(vec![named], TimeRange::ALL), &dictionary).unwrap();
    let mut columns = Columns::default();
    let options = ReadOptions { start_timestamps: true, ..ReadOptions::default() };
    (0..selected.labels.len())
        .map(|i| {
            selected.reader.read(i, TimeRange::ALL, options, &mut columns).unwrap();
            let (mut floats, mut histograms) = (columns.floats.iter(), columns.histograms.iter());
            let kinds = columns.runs.iter().flat_map(|run| std::iter::repeat_n(run.kind, run.len));
            let mut samples = Vec::new();
            for (n, (kind, &t)) in kinds.zip(&columns.timestamps_ms).enumerate() {
                let value = match kind {
                    SampleKind::Float => {
                        let v = *floats.next().unwrap();
                        (!model::is_stale_nan(v)).then_some(Point::Float(v))
                    }
                    SampleKind::Histogram => {
                        let h = histograms.next().unwrap();
                        (!h.is_stale()).then(|| Point::Hist(Rc::new(Hist::of(h))))
                    }
                };
                let start = columns.start_timestamps_ms.get(n).copied().unwrap_or(0);
                samples.push(Sample { t, start, value });
            }
            Series { labels: dictionary.labels(selected.labels.row(i)), samples }
        })
        .collect()
}

type Points = BTreeMap<Labels, BTreeMap<i64, Point>>;

fn plainly(naive: &Naive<'_>, expr: &promql::Expr) -> Result<Points, Fault> {
    let mut all = Points::new();
    let mut t = naive.start_ms;
    while t <= naive.end_ms {
        match naive.eval(expr, t)? {
            Val::Scalar(v) => {
                all.entry(Labels::empty()).or_default().insert(t, Point::Float(v));
            }
            Val::Vector(vector) => {
                for (labels, v) in vector {
                    all.entry(labels).or_default().insert(t, v);
                }
            }
        }
        t += naive.step_ms.max(1);
    }
    Ok(all)
}

fn points(value: &Value) -> Points {
    let Value::Matrix(matrix) = value else { panic!("a range query answers a matrix") };
    (0..matrix.len())
        .map(|i| {
            let one = &matrix.series[i];
            let floats = one.floats.iter().map(|&v| Point::Float(v));
            let floats = one.float_timestamps_ms.iter().copied().zip(floats);
            let hists = one.histograms.iter().map(|(t, h)| (*t, Point::Hist(Rc::new(Hist::of(h)))));
            (matrix.labels(i), floats.chain(hists).collect())
        })
        .collect()
}

fn close(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-7 * (1.0 + a.abs().max(b.abs()))
}

/// Equal but for rounding; buckets with next to nothing in them are none.
fn alike(a: &Hist, b: &Hist) -> bool {
    let value = |map: &BTreeMap<i32, f64>, index: &i32| map.get(index).copied().unwrap_or(0.0);
    let counts = |a: &BTreeMap<i32, f64>, b: &BTreeMap<i32, f64>| {
        a.keys().chain(b.keys()).all(|index| close(value(a, index), value(b, index)))
    };
    let numbers = |h: &Hist| [h.zero_threshold, h.zero_count, h.count, h.sum];
    a.schema == b.schema
        && a.bounds == b.bounds
        && numbers(a).into_iter().zip(numbers(b)).all(|(a, b)| close(a, b))
        && counts(&a.positive, &b.positive)
        && counts(&a.negative, &b.negative)
}

fn same(a: &Points, b: &Points) -> Result<(), String> {
    if a.len() != b.len() {
        let only = |x: &Points, y: &Points| -> Vec<String> {
            x.keys().filter(|labels| !y.contains_key(labels)).map(ToString::to_string).collect()
        };
        return Err(format!("only the engine has {:?}, only the other {:?}", only(a, b), only(b, a)));
    }
    for ((labels_a, points_a), (labels_b, points_b)) in a.iter().zip(b) {
        if labels_a != labels_b {
            return Err(format!("{labels_a} / {labels_b}"));
        }
        for t in points_a.keys().chain(points_b.keys()) {
            match (points_a.get(t), points_b.get(t)) {
                (Some(Point::Float(x)), Some(Point::Float(y))) if close(*x, *y) => {}
                (Some(Point::Hist(x)), Some(Point::Hist(y))) if alike(x, y) => {}
                (x, y) => return Err(format!("{labels_a} at {t}: {x:?} / {y:?}")),
            }
        }
    }
    Ok(())
}

/// Operators that make much of a rounding error: two right answers may differ.
fn is_stable(text: &str) -> bool {
    let fragile = [
        "==",
        "!=",
        "<",
        ">",
        "%",
        "ceil",
        "floor",
        "round",
        "sgn",
        "count_values",
        "changes",
        "resets",
        "topk",
        "bottomk",
        "rate(",
        "increase(",
        "deriv",
        "predict",
        "stddev",
        "stdvar",
        "ts_of_m",
    ];
    fragile.iter().filter(|word| text.contains(*word)).count() < 2
        && !(text.contains('^') || text.contains("1e300"))
}

/// Whether resets of gauges are looked for in counts alone: only count and sum of
/// histograms are read below these functions, as upstream does.
fn reads_statistics_of_gauges(text: &str) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    has(&["histogram_count(", "histogram_sum(", "histogram_avg("])
        && has(&["rate(", "increase(", "resets("])
        && has(&["sizes", "__name__"])
}

#[test]
fn the_engine_answers_as_the_plain_evaluator() {
    let store = MemoryStore::new();
    let plan = data::Plan {
        start_ms: START_MS,
        interval_ms: INTERVAL_MS,
        scrapes: SCRAPES,
        seed: 9,
        start_timestamps: true,
    };
    data::fill(&store, plan).unwrap();
    let series = all_of(&store);
    let end_ms = START_MS + SCRAPES as i64 * INTERVAL_MS;
    let engines = [false, true].map(|use_start_timestamps| {
        let options = EngineOptions { features: Features::all(), ..EngineOptions::default() };
        Engine::new(EngineOptions { use_start_timestamps, ..options })
    });
    let seed = number("NARTHEX_SEED", 100);
    println!("seed {seed}");
    let choice = Choice { deterministic: true, depth: 3, times_s: (START_MS / 1000, end_ms / 1000) };
    let mut made = QueryGen::new(seed, choice);
    let mut differences = Vec::new();
    let (mut compared, mut histograms, mut refused, mut unknown) = (0, 0, 0, 0);
    let mut used = std::collections::BTreeSet::new();
    let functions = promql::FUNCTIONS.iter().map(|f| f.name).cycle();
    for (n, function) in (0..number("NARTHEX_QUERIES", 1200)).zip(functions) {
        let text = if n % 2 == 0 { made.query_of(function) } else { made.query() };
        let expr = promql::parse(&text, Features::all()).unwrap();
        if !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector)
            || !is_stable(&text)
            || reads_statistics_of_gauges(&text)
        {
            unknown += 1;
            continue;
        }
        let step_ms = [15_000, 60_000, 47_000][n as usize % 3];
        let query = Query::range(text.clone(), START_MS + 300_000, end_ms + 60_000, step_ms);
        let naive = Naive {
            data: &series,
            start_ms: query.start_ms,
            end_ms: query.end_ms,
            step_ms,
            lookback_ms: LOOKBACK_MS,
            subquery_step_ms: 60_000,
            starts: n % 4 > 1,
        };
        let engine = &engines[usize::from(naive.starts)];
        let expected = plainly(&naive, &expr);
        if matches!(expected, Err(Fault::Unknown)) {
            unknown += 1;
            continue;
        }
        match (engine.range(&store, &query), expected) {
            (Err(_), Err(_)) => refused += 1,
            // A subquery is evaluated at all its steps, also at those between the
            // windows of long steps: only the engine meets an error there. And range
            // functions refuse series of one name too many that never meet at a step.
            (Err(_), Ok(_)) if text.contains(':') || text.contains("__name__=~") => unknown += 1,
            (Ok(output), Ok(expected)) => {
                if let Err(difference) = same(&points(&output.value), &expected) {
                    differences.push(format!("{text} (engine / plain): {difference}"));
                    continue;
                }
                compared += 1;
                let hist = |point: &Point| matches!(point, Point::Hist(_));
                histograms += usize::from(expected.values().flat_map(BTreeMap::values).any(hist));
                for f in promql::FUNCTIONS.iter().filter(|f| text.contains(&format!("{}(", f.name))) {
                    used.insert(f.name);
                }
            }
            (result, expected) => {
                let result = result.map(|_| ()).map_err(|error| error.to_string());
                let expected = expected.map(|points| points.len());
                differences.push(format!("{text}: the engine {result:?}, the other {expected:?}"));
            }
        }
    }
    println!(
        "{compared} compared ({histograms} with histograms), {refused} refused by both, \
         {unknown} beyond the plain evaluator"
    );
    differences.truncate(20);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    println!("functions compared: {} of {}", used.len(), promql::FUNCTIONS.len());
    assert!(compared > 300, "most queries are compared: {compared}");
    assert!(histograms > 30, "answers with histograms come up: {histograms}");
    assert!(used.len() > 75, "every function comes up: {used:?}");
}
