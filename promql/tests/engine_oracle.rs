//! The engine against an evaluator that is as plain as can be: one time after
//! the other, maps of labels, no blocks, no ids, no threads.

use std::collections::BTreeMap;

use model::{Appendable, FloatBatch, Labels, Timestamps, is_stale_nan, stale_nan};
use promql::value::Value;
use promql::{Engine, EngineOptions, Features, Query};
use proptest::prelude::*;
use testkit::MemoryStore;

const LOOKBACK_MS: i64 = 60_000;
const INTERVAL_MS: i64 = 15_000;

/// A series: labels, and a value, a staleness marker or nothing every 15 s.
type Data = Vec<(Labels, Vec<Option<f64>>)>;
/// A vector; `Err` where the query is at fault.
type Vector = Result<BTreeMap<Labels, f64>, ()>;

#[derive(Clone, Debug)]
enum Tree {
    Selector(char),
    Range { function: &'static str, metric: char, range_s: i64, offset_s: i64 },
    Function(&'static str, Box<Tree>),
    WithScalar { op: &'static str, number: i32, left: bool, returns_bool: bool, tree: Box<Tree> },
    Aggregate { op: &'static str, grouping: Vec<&'static str>, without: bool, tree: Box<Tree> },
    Join { op: &'static str, on: bool, labels: Vec<&'static str>, lhs: Box<Tree>, rhs: Box<Tree> },
}

impl Tree {
    fn text(&self) -> String {
        match self {
            Tree::Selector(metric) => metric.to_string(),
            Tree::Range { function, metric, range_s, offset_s } => {
                format!("{function}({metric}[{range_s}s] offset {offset_s}s)")
            }
            Tree::Function(name, tree) => format!("{name}({})", tree.text()),
            Tree::WithScalar { op, number, left, returns_bool, tree } => {
                let word = if *returns_bool { " bool" } else { "" };
                if *left {
                    format!("({number} {op}{word} ({}))", tree.text())
                } else {
                    format!("(({}) {op}{word} {number})", tree.text())
                }
            }
            Tree::Aggregate { op, grouping, without, tree } => {
                let word = if *without { "without" } else { "by" };
                format!("{op} {word} ({}) ({})", grouping.join(", "), tree.text())
            }
            Tree::Join { op, on, labels, lhs, rhs } => {
                let word = if *on { "on" } else { "ignoring" };
                format!("(({}) {op} {word} ({}) ({}))", lhs.text(), labels.join(", "), rhs.text())
            }
        }
    }

    /// Whether its values carry no rounding: quarters only.
    fn exact(&self) -> bool {
        match self {
            Tree::Selector(_) => true,
            Tree::Range { function, .. } => {
                !["rate", "increase", "delta", "avg_over_time", "stdvar_over_time"].contains(function)
            }
            Tree::Function(_, tree) => tree.exact(),
            Tree::WithScalar { op, tree, .. } => tree.exact() && !["/", "%"].contains(op),
            Tree::Aggregate { op, tree, .. } => tree.exact() && !["avg", "stdvar"].contains(op),
            Tree::Join { op, lhs, rhs, .. } => lhs.exact() && rhs.exact() && *op != "/",
        }
    }

    /// Whether rounding cannot decide between two answers.
    fn stable(&self) -> bool {
        match self {
            Tree::Selector(_) | Tree::Range { .. } => true,
            Tree::Function(name, tree) => tree.stable() && (tree.exact() || ["abs", "-"].contains(name)),
            Tree::WithScalar { op, tree, .. } => {
                tree.stable() && (tree.exact() || (compare(op, 0.0, 0.0).is_none() && *op != "%"))
            }
            Tree::Aggregate { tree, .. } => tree.stable(),
            Tree::Join { op, lhs, rhs, .. } => {
                let plain = compare(op, 0.0, 0.0).is_none();
                lhs.stable()
                    && rhs.stable()
                    && (plain || (lhs.exact() && rhs.exact()))
                    && (*op != "/" || rhs.exact())
            }
        }
    }

    fn eval(&self, data: &Data, t: i64) -> Vector {
        match self {
            Tree::Selector(metric) => Ok(data
                .iter()
                .filter(|(labels, _)| labels.metric_name() == metric.to_string())
                .filter_map(|(labels, values)| {
                    let (_, v) = samples(values)
                        .into_iter()
                        .rev()
                        .find(|&(at, _)| at <= t)
                        .filter(|&(at, v)| at > t - LOOKBACK_MS && !is_stale_nan(v))?;
                    Some((labels.clone(), v))
                })
                .collect()),
            Tree::Range { function, metric, range_s, offset_s } => {
                let end = t - offset_s * 1000;
                let start = end - range_s * 1000;
                unique(
                    data.iter().filter(|(labels, _)| labels.metric_name() == metric.to_string()).filter_map(
                        |(labels, values)| {
                            let window: Vec<(i64, f64)> = samples(values)
                                .into_iter()
                                .filter(|&(at, v)| start < at && at <= end && !is_stale_nan(v))
                                .collect();
                            over(function, &window, start, end).map(|v| (labels.without_name(), v))
                        },
                    ),
                )
            }
            Tree::Function(name, tree) => unique(tree.eval(data, t)?.into_iter().map(|(labels, v)| {
                let v = match *name {
                    "abs" => v.abs(),
                    "ceil" => v.ceil(),
                    "sgn" => {
                        if v == 0.0 {
                            v
                        } else {
                            v.signum()
                        }
                    }
                    _ => -v,
                };
                (labels.without_name(), v)
            })),
            Tree::WithScalar { op, number, left, returns_bool, tree } => {
                let number = f64::from(*number);
                let vector = tree.eval(data, t)?;
                unique(vector.into_iter().filter_map(|(labels, v)| {
                    let (l, r) = if *left { (number, v) } else { (v, number) };
                    match (compare(op, l, r), returns_bool) {
                        (None, _) => Some((labels.without_name(), arithmetic(op, l, r))),
                        (Some(holds), true) => Some((labels.without_name(), f64::from(u8::from(holds)))),
                        (Some(holds), false) => holds.then_some((labels, v)),
                    }
                }))
            }
            Tree::Aggregate { op, grouping, without, tree } => {
                let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
                for (labels, v) in tree.eval(data, t)? {
                    let key = labels.filter(|name| {
                        if *without {
                            name != "__name__" && !grouping.contains(&name)
                        } else {
                            grouping.contains(&name)
                        }
                    });
                    groups.entry(key).or_default().push(v);
                }
                Ok(groups.into_iter().map(|(key, values)| (key, fold(op, &values))).collect())
            }
            Tree::Join { op, on, labels, lhs, rhs } => {
                let signature = |set: &Labels| {
                    set.filter(|name| labels.contains(&name) == *on && (*on || name != "__name__"))
                };
                join(op, *on, lhs.eval(data, t)?, rhs.eval(data, t)?, &signature, labels)
            }
        }
    }
}

fn join(
    op: &str,
    on: bool,
    lhs: BTreeMap<Labels, f64>,
    rhs: BTreeMap<Labels, f64>,
    signature: &dyn Fn(&Labels) -> Labels,
    listed: &[&str],
) -> Vector {
    let has = |side: &BTreeMap<Labels, f64>, set: &Labels| {
        side.keys().any(|other| signature(other) == signature(set))
    };
    match op {
        "and" => return Ok(lhs.into_iter().filter(|(set, _)| has(&rhs, set)).collect()),
        "unless" => return Ok(lhs.into_iter().filter(|(set, _)| !has(&rhs, set)).collect()),
        "or" => {
            let more: Vec<_> = rhs.into_iter().filter(|(set, _)| !has(&lhs, set)).collect();
            return unique(lhs.into_iter().chain(more));
        }
        _ => {}
    }
    if lhs.is_empty() || rhs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut ones: BTreeMap<Labels, f64> = BTreeMap::new();
    for (set, v) in rhs {
        if ones.insert(signature(&set), v).is_some() {
            return Err(());
        }
    }
    let mut matched = Vec::new();
    let mut out = Vec::new();
    for (set, l) in lhs {
        let key = signature(&set);
        let Some(&r) = ones.get(&key) else { continue };
        if matched.contains(&key) {
            return Err(());
        }
        matched.push(key);
        let named = set.filter(|name| listed.contains(&name) == on);
        match compare(op, l, r) {
            None => out.push((named.without_name(), arithmetic(op, l, r))),
            Some(true) => out.push((named, l)),
            Some(false) => {}
        }
    }
    unique(out.into_iter())
}

fn unique(pairs: impl Iterator<Item = (Labels, f64)>) -> Vector {
    let mut out = BTreeMap::new();
    for (labels, v) in pairs {
        if out.insert(labels, v).is_some() {
            return Err(());
        }
    }
    Ok(out)
}

fn samples(values: &[Option<f64>]) -> Vec<(i64, f64)> {
    values.iter().enumerate().filter_map(|(i, v)| v.map(|v| (i as i64 * INTERVAL_MS, v))).collect()
}

fn compare(op: &str, l: f64, r: f64) -> Option<bool> {
    Some(match op {
        "==" => l == r,
        "!=" => l != r,
        ">" => l > r,
        "<=" => l <= r,
        _ => return None,
    })
}

fn arithmetic(op: &str, l: f64, r: f64) -> f64 {
    match op {
        "+" => l + r,
        "-" => l - r,
        "*" => l * r,
        "/" => l / r,
        _ => l % r,
    }
}

fn fold(op: &str, values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let sum: f64 = values.iter().sum();
    match op {
        "sum" => sum,
        "avg" => sum / n,
        "count" => n,
        "min" => values.iter().copied().fold(f64::NAN, |a, b| if a.is_nan() || b < a { b } else { a }),
        "max" => values.iter().copied().fold(f64::NAN, |a, b| if a.is_nan() || b > a { b } else { a }),
        "stdvar" => values.iter().map(|v| (v - sum / n).powi(2)).sum::<f64>() / n,
        _ => 1.0,
    }
}

fn over(function: &str, window: &[(i64, f64)], start: i64, end: i64) -> Option<f64> {
    let values: Vec<f64> = window.iter().map(|&(_, v)| v).collect();
    match function {
        "rate" | "increase" | "delta" => return extrapolated(function, window, start, end),
        _ if window.is_empty() => return None,
        _ => {}
    }
    let pairs = || values.windows(2);
    Some(match function {
        "sum_over_time" => fold("sum", &values),
        "avg_over_time" => fold("avg", &values),
        "count_over_time" => fold("count", &values),
        "min_over_time" => fold("min", &values),
        "max_over_time" => fold("max", &values),
        "stdvar_over_time" => fold("stdvar", &values),
        "changes" => pairs().filter(|p| p[0] != p[1]).count() as f64,
        "resets" => pairs().filter(|p| p[1] < p[0]).count() as f64,
        _ => 1.0,
    })
}

fn extrapolated(function: &str, window: &[(i64, f64)], start: i64, end: i64) -> Option<f64> {
    let [first, .., last] = window else { return None };
    let counter = function != "delta";
    let mut moved = last.1 - first.1;
    if counter {
        moved += window.windows(2).filter(|p| p[1].1 < p[0].1).map(|p| p[0].1).sum::<f64>();
    }
    let sampled = (last.0 - first.0) as f64;
    let gap = sampled / (window.len() - 1) as f64;
    let mut left = (first.0 - start) as f64;
    let mut right = (end - last.0) as f64;
    if left >= gap * 1.1 {
        left = gap / 2.0;
    }
    if right >= gap * 1.1 {
        right = gap / 2.0;
    }
    if counter && moved > 0.0 && first.1 >= 0.0 {
        left = left.min(sampled * (first.1 / moved));
    }
    let moved = moved * (sampled + left + right) / sampled;
    Some(if function == "rate" { moved / ((end - start) as f64 / 1000.0) } else { moved })
}

fn store(data: &Data) -> MemoryStore {
    let store = MemoryStore::new();
    let mut batch = store.appender().expect("the memory store is open");
    let mut outcomes = Vec::new();
    for (labels, values) in data {
        let handle = batch.series(labels).expect("the labels are well formed");
        for (t, v) in samples(values) {
            let floats = FloatBatch {
                series: &[handle],
                timestamps: Timestamps::Same(t),
                start_timestamps: None,
                values: &[v],
                in_order_only: false,
            };
            batch.append_floats(floats, &mut outcomes);
        }
    }
    batch.commit().expect("memory does not fail");
    store
}

fn engine(threads: usize) -> Engine {
    Engine::new(EngineOptions {
        features: Features::all(),
        lookback_delta_ms: LOOKBACK_MS,
        threads,
        ..EngineOptions::default()
    })
}

fn data() -> impl Strategy<Value = Data> {
    let value = prop_oneof![
        6 => (0i32..50).prop_map(|v| Some(f64::from(v))),
        1 => Just(Some(stale_nan())),
        3 => Just(None),
        1 => (-20i32..20).prop_map(|v| Some(f64::from(v) / 4.0)),
    ];
    let series = prop::collection::vec(value, 24);
    prop::collection::vec(series, 12).prop_map(|all| {
        all.into_iter()
            .enumerate()
            .map(|(i, values)| {
                let name = if i < 6 { "a" } else { "b" };
                let x = format!("{}", i % 3);
                let y = format!("{}", i / 3 % 2);
                let pairs = [("__name__", name), ("x", x.as_str()), ("y", y.as_str())];
                (Labels::from_pairs(pairs), values)
            })
            .collect()
    })
}

fn label_list() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(vec!["x", "y", "__name__"], 0..=2)
}

fn tree() -> impl Strategy<Value = Tree> {
    let metric = || prop_oneof![Just('a'), Just('b')];
    let functions = [
        "rate",
        "increase",
        "delta",
        "sum_over_time",
        "avg_over_time",
        "count_over_time",
        "min_over_time",
        "max_over_time",
        "stdvar_over_time",
        "changes",
        "resets",
        "present_over_time",
    ];
    let leaf = prop_oneof![
        metric().prop_map(Tree::Selector),
        (prop::sample::select(functions.to_vec()), metric(), 1i64..100, -30i64..60).prop_map(
            |(function, metric, range_s, offset_s)| Tree::Range { function, metric, range_s, offset_s }
        ),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        let inner = || inner.clone().prop_map(Box::new);
        prop_oneof![
            (prop::sample::select(vec!["abs", "ceil", "sgn", "-"]), inner())
                .prop_map(|(name, tree)| Tree::Function(name, tree)),
            (
                prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "!=", ">", "<="]),
                -3i32..20,
                any::<bool>(),
                any::<bool>(),
                inner()
            )
                .prop_map(|(op, number, left, returns_bool, tree)| {
                    let returns_bool = returns_bool && compare(op, 0.0, 0.0).is_some();
                    Tree::WithScalar { op, number, left, returns_bool, tree }
                }),
            (
                prop::sample::select(vec!["sum", "avg", "count", "min", "max", "stdvar", "group"]),
                label_list(),
                any::<bool>(),
                inner()
            )
                .prop_map(|(op, grouping, without, tree)| Tree::Aggregate {
                    op,
                    grouping,
                    without,
                    tree
                }),
            (
                prop::sample::select(vec!["+", "-", "/", ">", "==", "and", "or", "unless"]),
                any::<bool>(),
                label_list(),
                inner(),
                inner()
            )
                .prop_map(|(op, on, labels, lhs, rhs)| Tree::Join { op, on, labels, lhs, rhs }),
        ]
    })
}

fn stable_tree() -> impl Strategy<Value = Tree> {
    tree().prop_filter("rounding must not decide", Tree::stable)
}

fn close(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

proptest! {
    #[test]
    fn the_engine_answers_as_the_plain_evaluator(data in data(), tree in stable_tree(), step_s in 1i64..60) {
        let store = store(&data);
        let (start, end) = (0, 24 * INTERVAL_MS);
        let query = Query::range(tree.text(), start, end, step_s * 1000);
        let mut expected: Result<BTreeMap<Labels, Vec<(i64, f64)>>, ()> = Ok(BTreeMap::new());
        for t in (start..=end).step_by((step_s * 1000) as usize) {
            match (tree.eval(&data, t), &mut expected) {
                (Ok(vector), Ok(all)) => {
                    for (labels, v) in vector {
                        all.entry(labels).or_default().push((t, v));
                    }
                }
                _ => expected = Err(()),
            }
        }
        let result = engine(1).range(&store, &query);
        match (expected, result) {
            (Err(()), Err(_)) => {}
            (Ok(expected), Ok(output)) => {
                let Value::Matrix(matrix) = output.value else { panic!("a range query answers a matrix") };
                prop_assert_eq!(matrix.len(), expected.len(), "{}", query.text);
                for (i, (labels, points)) in expected.iter().enumerate() {
                    prop_assert_eq!(&matrix.labels(i), labels, "{}", query.text);
                    let series = &matrix.series[i];
                    let times: Vec<i64> = points.iter().map(|p| p.0).collect();
                    prop_assert_eq!(&series.float_timestamps_ms[..], &times[..], "{} {}", query.text, labels);
                    for (have, want) in series.floats.iter().zip(points) {
                        prop_assert!(close(*have, want.1), "{} {labels}: {have} instead of {want:?}", query.text);
                    }
                }
            }
            (expected, result) => {
                let result = result.map(|_| ()).map_err(|error| error.to_string());
                prop_assert!(false, "{}: {expected:?}, but {result:?}", query.text);
            }
        }
    }

    #[test]
    fn threads_change_no_bit(data in data(), tree in tree()) {
        let store = store(&data);
        let query = Query::range(tree.text(), 0, 24 * INTERVAL_MS, 7_000);
        let answers: Vec<_> = [1, 2, 8]
            .into_iter()
            .map(|threads| {
                engine(threads).range(&store, &query).map_err(|error| error.to_string()).map(|output| {
                    let Value::Matrix(matrix) = output.value else { panic!("a matrix") };
                    let series: Vec<_> = (0..matrix.len())
                        .map(|i| {
                            let one = &matrix.series[i];
                            let bits: Vec<u64> = one.floats.iter().map(|v| v.to_bits()).collect();
                            (matrix.labels(i), one.float_timestamps_ms.to_vec(), bits)
                        })
                        .collect();
                    (series, output.warnings, output.infos)
                })
            })
            .collect();
        prop_assert_eq!(&answers[0], &answers[1], "{}", query.text);
        prop_assert_eq!(&answers[0], &answers[2], "{}", query.text);
    }
}
