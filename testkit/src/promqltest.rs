//! Runs scripts in upstream's test language for PromQL.
//!
//! ```text
//! load 5m
//!   up{job="a"} 1+1x10          samples at 0, 5m, 10m …
//!
//! eval instant at 10m sum(up)
//!   {} 3
//! ```
//!
//! The store is made by the caller, so that the same scripts check the memory
//! store and the real one. Each instant query also runs pinned by `@` at other
//! times and as the middle step of a range query.

mod check;
mod command;
mod load;
mod pin;

use std::fmt;

use model::{Appendable, Queryable};
use promql::value::{SampleValue, Value, Vector};
use promql::{Engine, Output, Query};

use check::{check_annotations, check_value};
use command::{Command, Eval, Expectation};

/// A store that scripts can run on.
pub trait ScriptStore: Appendable + Queryable {}

impl<T: Appendable + Queryable> ScriptStore for T {}

/// Why a script failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What went wrong.
    pub message: String,
}

impl std::error::Error for ScriptError {}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Which of the runs of an instant query are made.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    /// Pinned by `@`, at other times.
    pub pinned: bool,
    /// As the middle step of a range query.
    pub range: bool,
}

impl Default for Runs {
    fn default() -> Runs {
        Runs { pinned: true, range: true }
    }
}

/// What became of a script's evaluations.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Evaluations that went as expected.
    pub passed: usize,
    /// The others.
    pub failures: Vec<ScriptError>,
}

/// Runs a script up to its first failure.
///
/// # Errors
/// The script is malformed, or something did not go as it says.
pub fn run_script(
    script: &str,
    engine: &Engine,
    make_store: &dyn Fn() -> Box<dyn ScriptStore>,
) -> Result<(), ScriptError> {
    let mut failure = None;
    run(script, engine, make_store, Runs::default(), &mut |outcome| {
        failure = outcome.err();
        failure.is_none()
    })?;
    failure.map_or(Ok(()), Err)
}

/// Runs all of a script and counts what failed.
///
/// # Errors
/// The script is malformed, or a load failed.
pub fn run_all(
    script: &str,
    engine: &Engine,
    make_store: &dyn Fn() -> Box<dyn ScriptStore>,
    runs: Runs,
) -> Result<Report, ScriptError> {
    let mut report = Report::default();
    run(script, engine, make_store, runs, &mut |outcome| {
        match outcome {
            Ok(()) => report.passed += 1,
            Err(error) => report.failures.push(error),
        }
        true
    })?;
    Ok(report)
}

fn run(
    script: &str,
    engine: &Engine,
    make_store: &dyn Fn() -> Box<dyn ScriptStore>,
    runs: Runs,
    each: &mut dyn FnMut(Result<(), ScriptError>) -> bool,
) -> Result<(), ScriptError> {
    let mut store = make_store();
    for (line, command) in command::parse(script, engine.options().features)? {
        let failed = |message| ScriptError { line, message };
        match command {
            Command::Clear => store = make_store(),
            Command::Load(load) => load.run(&*store).map_err(failed)?,
            Command::Eval(eval) => {
                if !each(evaluate(&eval, engine, &*store, runs).map_err(failed)) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn evaluate(eval: &Eval, engine: &Engine, store: &dyn Queryable, runs: Runs) -> Result<(), String> {
    if !eval.instant {
        let query = Query::range(eval.text.clone(), eval.start_ms, eval.end_ms, eval.step_ms);
        let result = engine.range(store, &query);
        let Some(output) = check_failure(eval, result)? else { return Ok(()) };
        check_annotations(eval, &output)?;
        return check_value(eval, &output.value);
    }
    let mut queries = vec![(eval.text.clone(), eval.start_ms)];
    if runs.pinned
        && let Some(pinned) = pin::pinned(&eval.text, engine.options().features, eval.start_ms)?
    {
        let t = eval.start_ms;
        let times = if t == 0 { vec![-1000, 0, 1000] } else { vec![-10 * t, 0, t / 5, t, 10 * t] };
        queries.extend(times.into_iter().map(|at| (pinned.clone(), at)));
    }
    for (text, at_ms) in queries {
        let place = |message: String| {
            if text == eval.text && at_ms == eval.start_ms {
                message
            } else {
                format!("pinned as {text} at {at_ms}: {message}")
            }
        };
        let result = engine.instant(store, &Query::instant(text.clone(), at_ms));
        let Some(output) = check_failure(eval, result).map_err(place)? else { return Ok(()) };
        check_annotations(eval, &output).map_err(place)?;
        check_value(eval, &output.value).map_err(place)?;
        if runs.range {
            check_as_range(eval, &text, at_ms, engine, store)
                .map_err(|message| place(format!("as range query: {message}")))?;
        }
    }
    Ok(())
}

/// The output, `None` where the query failed as it should.
fn check_failure(eval: &Eval, result: Result<Output, promql::QueryError>) -> Result<Option<Output>, String> {
    match (result, &eval.fail) {
        (Ok(output), None) => Ok(Some(output)),
        (Ok(_), Some(_)) => Err(format!("expected error evaluating query {:?} but got none", eval.text)),
        (Err(error), None) => Err(format!("error evaluating query {:?}: {error}", eval.text)),
        (Err(error), Some(expected)) => {
            let text = error.to_string();
            if expected.accepts(&text) {
                Ok(None)
            } else {
                Err(format!("expected error {expected} evaluating query {:?}, but got: {text}", eval.text))
            }
        }
    }
}

/// The middle step of a range query around the time must say the same.
fn check_as_range(
    eval: &Eval,
    text: &str,
    at_ms: i64,
    engine: &Engine,
    store: &dyn Queryable,
) -> Result<(), String> {
    let asks_times = ["start()", "end()", "range()", "step()"].iter().any(|word| text.contains(word));
    if asks_times || matches!(eval.expected, Expectation::String(_) | Expectation::RangeVector { .. }) {
        return Ok(());
    }
    let query = Query::range(text, at_ms - 60_000, at_ms + 60_000, 60_000);
    let output = engine.range(store, &query).map_err(|error| error.to_string())?;
    if eval.ordered {
        return Ok(());
    }
    let Value::Matrix(matrix) = &output.value else {
        return Err("a range query must answer a matrix".to_owned());
    };
    for i in 1..matrix.len() {
        if matrix.labels(i - 1) >= matrix.labels(i) {
            return Err(format!("series {} and {} are not sorted", matrix.labels(i - 1), matrix.labels(i)));
        }
    }
    let mut values = Vec::new();
    for i in 0..matrix.len() {
        let series = &matrix.series[i];
        let float = series.float_timestamps_ms.iter().position(|&t| t == at_ms);
        let hist = series.histograms.iter().find(|(t, _)| *t == at_ms);
        if let Some(float) = float {
            values.push((matrix.labels(i), SampleValue::Float(series.floats[float])));
        } else if let Some((_, h)) = hist {
            values.push((matrix.labels(i), SampleValue::Histogram(h.clone())));
        }
    }
    if let Expectation::Scalar(_) = eval.expected {
        return match values.first() {
            Some((_, SampleValue::Float(value))) => {
                check_value(eval, &Value::Scalar { timestamp_ms: at_ms, value: *value })
            }
            _ => Err("a scalar has a value at each step".to_owned()),
        };
    }
    check::check_samples(eval, values)
}

fn vector_samples(vector: &Vector) -> Vec<(model::Labels, SampleValue)> {
    (0..vector.len()).map(|i| (vector.labels(i), vector.values[i].clone())).collect()
}
