//! Asks two servers the same questions and tells where their answers differ.
//!
//! ```sh
//! cargo run --release -p benches --bin query_diff -- FILE PORT_A PORT_B TIME [STEP_SECONDS]
//! ```
//!
//! FILE has one expression a line. Each is asked at TIME (in seconds), and over
//! the ten minutes before it where a step is given. Results are equal when they
//! have the same series and values within two units in the last place, and
//! errors when they are of the same kind.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::Value;
use testkit::http;

/// Values may differ by so many representable numbers: sums may be folded in
/// another order.
const ULPS_MAX: u64 = 2;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, port_a, port_b, time, rest @ ..] = args.as_slice() else {
        eprintln!("usage: query_diff FILE PORT_A PORT_B TIME [STEP_SECONDS]");
        return ExitCode::from(2);
    };
    let (Ok(a), Ok(b), Ok(time)) = (port_a.parse::<u16>(), port_b.parse::<u16>(), time.parse::<f64>()) else {
        eprintln!("ports and time are numbers");
        return ExitCode::from(2);
    };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{file}: {error}");
            return ExitCode::from(2);
        }
    };
    let expressions: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut different = 0;
    let (mut with_result, mut failed) = (0, 0);
    for expression in &expressions {
        let query = http::encode(expression);
        let mut paths = vec![format!("/api/v1/query?query={query}&time={time}")];
        if let Some(step) = rest.first() {
            paths.push(format!(
                "/api/v1/query_range?query={query}&start={}&end={time}&step={step}",
                time - 600.0
            ));
        }
        let mut verdict = None;
        for path in paths {
            let (from_a, from_b) = (ask(a, &path), ask(b, &path));
            match compare(&from_a, &from_b) {
                Ok(Answer::Results(n)) => with_result += usize::from(n > 0),
                Ok(Answer::Errors) => failed += 1,
                Err(difference) => verdict = Some(difference),
            }
        }
        if let Some(difference) = verdict {
            different += 1;
            println!("DIFFERENT {expression}\n    {difference}");
        }
    }
    println!(
        "expressions: {}, equal: {}, different: {different} (answers with series: {with_result}, refused by both: {failed})",
        expressions.len(),
        expressions.len() - different
    );
    ExitCode::from(u8::from(different > 0))
}

fn ask(port: u16, path: &str) -> Value {
    match http::get(port, path) {
        Ok((_, body)) => serde_json::from_str(&body).unwrap_or_else(|_| Value::from(body)),
        Err(error) => Value::from(error.to_string()),
    }
}

/// What both servers answered alike.
enum Answer {
    /// So many series.
    Results(usize),
    /// An error of the same kind.
    Errors,
}

fn compare(a: &Value, b: &Value) -> Result<Answer, String> {
    if a["status"] != b["status"] {
        return Err(format!("{} / {}", short(a), short(b)));
    }
    if a["status"] == "error" {
        return match a["errorType"] == b["errorType"] {
            true => Ok(Answer::Errors),
            false => Err(format!("{} / {}", short(a), short(b))),
        };
    }
    if a["data"]["resultType"] != b["data"]["resultType"] {
        return Err(format!("{} / {}", a["data"]["resultType"], b["data"]["resultType"]));
    }
    let (series_a, series_b) = (by_labels(&a["data"]["result"]), by_labels(&b["data"]["result"]));
    if let Some(only) = series_a.keys().find(|key| !series_b.contains_key(*key)) {
        return Err(format!("{} / {} series; only the first has {only}", series_a.len(), series_b.len()));
    }
    if let Some(only) = series_b.keys().find(|key| !series_a.contains_key(*key)) {
        return Err(format!("{} / {} series; only the second has {only}", series_a.len(), series_b.len()));
    }
    for (labels, points) in &series_a {
        if let Some(difference) = differ(points, &series_b[labels]) {
            return Err(format!("{labels}: {difference}"));
        }
    }
    Ok(Answer::Results(series_a.len()))
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

fn differ(a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).find_map(|(a, b)| differ(a, b))
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().zip(b.values()).find_map(|((_, a), b)| differ(a, b))
        }
        (Value::String(x), Value::String(y)) if x != y => match (x.parse::<f64>(), y.parse::<f64>()) {
            (Ok(x), Ok(y)) if near(x, y) => None,
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
    value.to_string().chars().take(200).collect()
}
