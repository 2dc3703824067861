//! Asks two servers the same questions and tells where their answers differ.
//!
//! ```sh
//! cargo run --release -p benches --bin query_diff -- FILE PORT_A PORT_B TIME [STEP_SECONDS [SPAN_SECONDS]] [stats] [order] [exact]
//! ```
//!
//! FILE has one expression a line; lines that begin with `# ` are skipped. Each
//! is asked at TIME (in seconds), and over the span before it (ten minutes) where
//! a step is given. Answers are equal when they have the same series, the same
//! warnings and infos, and values within two units in the last place; errors when
//! kind and text are the same. Answers whose digits differ further, but by less
//! than 1e-9 of the value, are counted apart: what follows on a sum in another
//! order may amplify it. So are expressions to which the second server itself
//! gives more than one answer: it is asked again where they differ, as upstream
//! keeps series in maps whose order is random. How many samples a remark on
//! buckets that had to be made monotonic counts is left out: upstream's figure
//! doubles with every step.
//!
//! With `stats` the counts of samples that belong to each answer must be equal,
//! too, by step and at the peak; with `order` the series of an instant answer
//! must come in the same order; with `exact` no value may differ in any digit.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::Value;
use testkit::http;

/// Values may differ by so many representable numbers: sums may be folded in
/// another order.
const ULPS_MAX: u64 = 2;
/// Values that differ by more than this share are different.
const SHARE_MAX: f64 = 1e-9;
/// An answer shows so many warnings; of more, which ones is open.
const ANNOTATIONS_MAX: usize = 10;
/// How often a server is asked whether it has another answer, too.
const ASKED_AGAIN: usize = 40;

#[derive(Default)]
struct Tally {
    with_series: usize,
    with_annotations: usize,
    refused: usize,
    digits: usize,
}

/// What is compared beside series, values and remarks.
#[derive(Clone, Copy)]
struct Also {
    stats: bool,
    order: bool,
    exact: bool,
}

/// How far values may be from each other, and whether any were far.
struct Digits {
    exact: bool,
    far: bool,
}

fn main() -> ExitCode {
    let (words, args): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|arg| ["stats", "order", "exact"].contains(&arg.as_str()));
    let has = |word: &str| words.iter().any(|have| have == word);
    let also = Also { stats: has("stats"), order: has("order"), exact: has("exact") };
    let [file, port_a, port_b, time, rest @ ..] = args.as_slice() else {
        eprintln!(
            "usage: query_diff FILE PORT_A PORT_B TIME [STEP_SECONDS [SPAN_SECONDS]] [stats] [order] [exact]"
        );
        return ExitCode::from(2);
    };
    let (Ok(a), Ok(b), Ok(time)) = (port_a.parse::<u16>(), port_b.parse::<u16>(), time.parse::<f64>()) else {
        eprintln!("ports and time are numbers");
        return ExitCode::from(2);
    };
    let span = rest.get(1).and_then(|span| span.parse::<f64>().ok()).unwrap_or(600.0);
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{file}: {error}");
            return ExitCode::from(2);
        }
    };
    let is_asked = |line: &&str| !line.trim().is_empty() && !line.starts_with("# ");
    let expressions: Vec<&str> = text.lines().filter(is_asked).collect();
    let (mut different, mut unstable) = (0, 0);
    let mut tally = Tally::default();
    for expression in &expressions {
        let query = http::encode(expression);
        let stats = if also.stats { "&stats=all" } else { "" };
        let mut paths = vec![format!("/api/v1/query?query={query}&time={time}{stats}")];
        if let Some(step) = rest.first() {
            paths.push(format!(
                "/api/v1/query_range?query={query}&start={}&end={time}&step={step}{stats}",
                time - span
            ));
        }
        let mut verdict = None;
        for path in paths {
            let (from_a, from_b) = (ask(a, &path), ask(b, &path));
            let Err(difference) = compare(expression, also, &from_a, &from_b, &mut tally) else { continue };
            let again = || compare(expression, also, &from_b, &ask(b, &path), &mut Tally::default());
            if (0..ASKED_AGAIN).any(|_| again().is_err()) {
                unstable += 1;
            } else {
                verdict = Some(difference);
            }
        }
        if let Some(difference) = verdict {
            different += 1;
            println!("DIFFERENT {expression}\n    {difference}");
        }
    }
    println!(
        "expressions: {}, equal: {}, different: {different} (answers with series: {}, with annotations: {}, \
         refused by both: {}, digits beyond {ULPS_MAX} ulp: {}; answers that the second server changes: {unstable})",
        expressions.len(),
        expressions.len() - different,
        tally.with_series,
        tally.with_annotations,
        tally.refused,
        tally.digits
    );
    ExitCode::from(u8::from(different > 0))
}

fn ask(port: u16, path: &str) -> Value {
    match http::get(port, path) {
        Ok((_, body)) => serde_json::from_str(&body).unwrap_or_else(|_| Value::from(body)),
        Err(error) => Value::from(error.to_string()),
    }
}

fn compare(expression: &str, also: Also, a: &Value, b: &Value, tally: &mut Tally) -> Result<(), String> {
    if a["status"] != b["status"] {
        return Err(format!("{} / {}", short(a), short(b)));
    }
    annotations("warnings", a, b)?;
    annotations("infos", a, b)?;
    tally.with_annotations += usize::from(a["warnings"].is_array() || a["infos"].is_array());
    if a["status"] == "error" {
        tally.refused += 1;
        return match a["errorType"] == b["errorType"] && a["error"] == b["error"] {
            true => Ok(()),
            false => Err(format!("{} / {}", short(a), short(b))),
        };
    }
    if a["data"]["resultType"] != b["data"]["resultType"] {
        return Err(format!("{} / {}", a["data"]["resultType"], b["data"]["resultType"]));
    }
    let (result_a, result_b) = (&a["data"]["result"], &b["data"]["result"]);
    let (series_a, series_b) = (by_labels(result_a), by_labels(result_b));
    if let Some(only) = series_a.keys().find(|key| !series_b.contains_key(*key)) {
        return Err(format!("{} / {} series; only the first has {only}", series_a.len(), series_b.len()));
    }
    if let Some(only) = series_b.keys().find(|key| !series_a.contains_key(*key)) {
        return Err(format!("{} / {} series; only the second has {only}", series_a.len(), series_b.len()));
    }
    let mut digits = Digits { exact: also.exact, far: false };
    for (labels, points) in &series_a {
        if let Some(difference) = differ(points, &series_b[labels], &mut digits) {
            return Err(format!("{labels}: {difference}"));
        }
    }
    // What `sort` sorts by value; of equal values any may come first.
    if a["data"]["resultType"] == "vector"
        && ["sort(", "sort_desc("].iter().any(|f| expression.starts_with(f))
    {
        let values = |result: &Value| -> Vec<Value> {
            let all = result.as_array().map(Vec::as_slice).unwrap_or_default();
            all.iter().map(|series| series["value"].clone()).collect()
        };
        let (values_a, values_b) = (Value::from(values(result_a)), Value::from(values(result_b)));
        if differ(&values_a, &values_b, &mut digits).is_some() {
            return Err("the values come in another order".to_owned());
        }
    }
    // Range results are in label order; labels alone decide the order here.
    if also.order || a["data"]["resultType"] == "matrix" || expression.starts_with("sort_by_label") {
        let order = |result: &Value| -> Vec<String> {
            let all = result.as_array().map(Vec::as_slice).unwrap_or_default();
            all.iter().map(|series| series["metric"].to_string()).collect()
        };
        if order(result_a) != order(result_b) {
            return Err("the series come in another order".to_owned());
        }
    }
    if also.stats {
        let (stats_a, stats_b) = (&a["data"]["stats"]["samples"], &b["data"]["stats"]["samples"]);
        if let Some(difference) = differ(stats_a, stats_b, &mut digits) {
            return Err(format!(
                "counts of samples: {difference}: {} / {}",
                counts(stats_a),
                counts(stats_b)
            ));
        }
    }
    tally.digits += usize::from(digits.far);
    tally.with_series += usize::from(!series_a.is_empty());
    Ok(())
}

/// The counts without those by step.
fn counts(stats: &Value) -> String {
    let names = ["totalQueryableSamples", "samplesRead", "peakSamples"];
    names.map(|name| format!("{name} {}", stats[name])).join(" ")
}

fn annotations(kind: &str, a: &Value, b: &Value) -> Result<(), String> {
    let sorted = |value: &Value| {
        let mut all: Vec<String> = value[kind]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .filter_map(|text| Some(without_count(text.as_str()?)))
            .collect();
        all.sort();
        all
    };
    let (left, right) = (sorted(a), sorted(b));
    if left == right || (left.len() > ANNOTATIONS_MAX && left.len() == right.len()) {
        return Ok(());
    }
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|text| !those.contains(text)).cloned().collect()
    };
    Err(format!(
        "{kind}: only the first {:?}, only the second {:?}",
        only(&left, &right),
        only(&right, &left)
    ))
}

/// A remark without the number of samples it was made for: upstream doubles that
/// of `histogram_quantile` with each step of a range query.
fn without_count(text: &str) -> String {
    match (text.find(", over "), text.find(" samples from ")) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &text[..from], &text[to..]),
        _ => text.to_owned(),
    }
}

/// Series by their labels; scalars and strings under one name.
fn by_labels(result: &Value) -> BTreeMap<String, Value> {
    let items = result.as_array().map(Vec::as_slice).unwrap_or_default();
    if items.iter().all(Value::is_object) {
        items
            .iter()
            .map(|series| {
                let mut points = series.clone();
                if let Some(map) = points.as_object_mut() {
                    map.remove("metric");
                }
                (series["metric"].to_string(), points)
            })
            .collect()
    } else {
        BTreeMap::from([("scalar".to_owned(), result.clone())])
    }
}

fn differ(a: &Value, b: &Value, digits: &mut Digits) -> Option<String> {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).find_map(|(a, b)| differ(a, b, digits))
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().zip(b.values()).find_map(|((_, a), b)| differ(a, b, digits))
        }
        (Value::String(x), Value::String(y)) if x != y => match (x.parse::<f64>(), y.parse::<f64>()) {
            (Ok(x), Ok(y)) if !digits.exact && near(x, y) => None,
            (Ok(x), Ok(y)) if !digits.exact && (x - y).abs() <= SHARE_MAX * x.abs().max(y.abs()) => {
                digits.far = true;
                None
            }
            _ => Some(format!("{x} / {y}")),
        },
        (a, b) if a == b => None,
        (a, b) => Some(format!("{} / {}", short(a), short(b))),
    }
}

fn near(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let ordered = |value: f64| {
        let bits = value.to_bits() as i64;
        if bits < 0 { i64::MIN - bits } else { bits }
    };
    ordered(a).abs_diff(ordered(b)) <= ULPS_MAX
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}
