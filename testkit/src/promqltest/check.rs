//! Compares what a query answered with what its script says.

use model::{FloatHistogram, Labels, is_stale_nan};
use promql::value::{Matrix, SampleValue, Value};
use promql::{Output, SequenceValue};

use super::command::{Annotations, Eval, Expectation, Text};

/// How far floats may differ, relative to their sum.
const TOLERANCE: f64 = 1e-6;

pub(super) fn check_annotations(eval: &Eval, output: &Output) -> Result<(), String> {
    check_kind(eval, &eval.warn, &output.warnings, "warn", "warnings")?;
    check_kind(eval, &eval.info, &output.infos, "info", "infos")
}

fn check_kind(
    eval: &Eval,
    expected: &Annotations,
    found: &[String],
    name: &str,
    plural: &str,
) -> Result<(), String> {
    let query = &eval.text;
    if expected.none && !found.is_empty() {
        return Err(format!("unexpected {name} annotations evaluating query {query:?}: {found:?}"));
    }
    if expected.some && found.is_empty() {
        return Err(format!("expected {plural} evaluating query {query:?} but got none"));
    }
    if expected.texts.is_empty() {
        return Ok(());
    }
    if found.is_empty() {
        return Err(format!("expected {name} annotations but none were found for query {query:?}"));
    }
    for text in &expected.texts {
        if !found.iter().any(|found| text.accepts(found)) {
            return Err(format!(
                "expected {name} annotation {text} but no matching annotation was found for query {query:?}, found: {found:?}"
            ));
        }
    }
    for text in found {
        let any: fn(&Text, &str) -> bool = Text::accepts;
        if !expected.texts.iter().any(|expected| any(expected, text)) {
            return Err(format!("unexpected {name} annotation {text:?} found for query {query:?}"));
        }
    }
    Ok(())
}

pub(super) fn check_value(eval: &Eval, value: &Value) -> Result<(), String> {
    match (&eval.expected, value) {
        (Expectation::Scalar(expected), Value::Scalar { value, .. }) => {
            if floats_equal(*expected, *value) {
                return Ok(());
            }
            Err(format!("expected scalar {expected} but got {value}"))
        }
        (Expectation::Scalar(_), other) => {
            Err(format!("expected scalar result, but got {}", other.type_name()))
        }
        (Expectation::String(expected), Value::String { value, .. }) => {
            if expected == value {
                return Ok(());
            }
            Err(format!("expected string {expected:?} but got {value:?}"))
        }
        (Expectation::String(_), other) => {
            Err(format!("expected string result, but got {}", other.type_name()))
        }
        (Expectation::RangeVector { series, start_ms, step_ms, .. }, Value::Matrix(matrix)) => {
            check_matrix(series, matrix, *start_ms, *step_ms)
        }
        (Expectation::RangeVector { .. }, other) => {
            Err(format!("expected range vector result, but got {}", other.type_name()))
        }
        (Expectation::Series(series), Value::Matrix(matrix)) if !eval.instant => {
            check_matrix(series, matrix, eval.start_ms, eval.step_ms)
        }
        (Expectation::Series(_), Value::Matrix(_)) => {
            Err("received range result on instant evaluation".to_owned())
        }
        (Expectation::Series(_), Value::Vector(vector)) => check_samples(eval, super::vector_samples(vector)),
        (Expectation::Series(series), Value::String { value, .. }) => {
            if series.is_empty() {
                return Err(format!("expected string \"\" but got {value:?}"));
            }
            Err("expected vector or matrix result, but got string".to_owned())
        }
        (Expectation::Series(_), Value::Scalar { value, .. }) => {
            Err(format!("expected vector or matrix result, but got scalar: {value}"))
        }
    }
}

pub(super) fn check_samples(eval: &Eval, samples: Vec<(Labels, SampleValue)>) -> Result<(), String> {
    let Expectation::Series(expected) = &eval.expected else {
        return Err("expected no vector".to_owned());
    };
    let mut seen = vec![false; expected.len()];
    for (position, (labels, value)) in samples.iter().enumerate() {
        let Some(at) = expected.iter().position(|(want, _)| want == labels) else {
            return Err(format!("unexpected metric {labels} in result, has value {}", show(value)));
        };
        if std::mem::replace(&mut seen[at], true) {
            return Err(format!("metric {labels} stands twice in the result"));
        }
        if eval.ordered && at != position {
            return Err(format!("expected metric {labels} at position {at} but was at {position}"));
        }
        let Some(want) = expected[at].1.first() else {
            return Err(format!("no value is expected for {labels}"));
        };
        check_sample(labels, want, value)?;
    }
    for (at, (labels, values)) in expected.iter().enumerate() {
        if !seen[at] {
            let values: Vec<String> = values.iter().map(show_expected).collect();
            return Err(format!("expected metric {labels} with {values:?} not found"));
        }
    }
    Ok(())
}

fn check_sample(labels: &Labels, want: &SequenceValue, value: &SampleValue) -> Result<(), String> {
    match (&want.histogram, value) {
        (Some(want), SampleValue::Float(v)) => {
            Err(format!("expected histogram {want} for {labels} but got float value {v}"))
        }
        (None, SampleValue::Histogram(h)) => {
            Err(format!("expected float value {} for {labels} but got histogram {h}", want.value))
        }
        (Some(expected), SampleValue::Histogram(h)) => {
            if histograms_equal(expected, h, want.counter_reset_hint_set) {
                return Ok(());
            }
            Err(format!("expected {} for {labels} but got {}", describe(expected), describe(h)))
        }
        (None, SampleValue::Float(v)) => {
            if floats_equal(want.value, *v) {
                return Ok(());
            }
            Err(format!("expected {} for {labels} but got {v}", want.value))
        }
    }
}

fn check_matrix(
    expected: &[(Labels, Vec<SequenceValue>)],
    matrix: &Matrix,
    start_ms: i64,
    step_ms: i64,
) -> Result<(), String> {
    let mut seen = vec![false; expected.len()];
    for i in 0..matrix.len() {
        let labels = matrix.labels(i);
        let found = &matrix.series[i];
        if i > 0 && matrix.labels(i - 1) >= labels {
            return Err(format!("result series {} and {labels} are not sorted", matrix.labels(i - 1)));
        }
        let Some(at) = expected.iter().position(|(want, _)| *want == labels) else {
            return Err(format!(
                "unexpected metric {labels} in result, has {} float points {:?} and {} histogram points",
                found.floats.len(),
                found.floats,
                found.histograms.len()
            ));
        };
        if std::mem::replace(&mut seen[at], true) {
            return Err(format!("metric {labels} stands twice in the result"));
        }
        check_points(&labels, &expected[at].1, found, start_ms, step_ms)?;
    }
    for (at, (labels, values)) in expected.iter().enumerate() {
        if !seen[at] && values.iter().any(|value| !value.omitted) {
            return Err(format!("expected metric {labels} not found"));
        }
        if !seen[at] {
            return Err(format!("expected metric {labels} not found"));
        }
    }
    Ok(())
}

fn check_points(
    labels: &Labels,
    expected: &[SequenceValue],
    found: &promql::value::Series,
    start_ms: i64,
    step_ms: i64,
) -> Result<(), String> {
    let points = expected.iter().enumerate().filter(|(_, want)| !want.omitted);
    let (hists, floats): (Vec<_>, Vec<_>) = points.partition(|(_, want)| want.histogram.is_some());
    if floats.len() != found.floats.len() || hists.len() != found.histograms.len() {
        let shown: Vec<_> = found.float_timestamps_ms.iter().zip(&found.floats).collect();
        let histograms: Vec<_> = found.histograms.iter().map(|(t, h)| format!("{t}: {h}")).collect();
        return Err(format!(
            "expected {} float points and {} histogram points for {labels}, but got {} float points {shown:?} and {} histogram points {histograms:?}",
            floats.len(),
            hists.len(),
            found.floats.len(),
            found.histograms.len()
        ));
    }
    for (i, (step, want)) in floats.into_iter().enumerate() {
        let (t, v) = (found.float_timestamps_ms[i], found.floats[i]);
        check_time(labels, i, start_ms + step as i64 * step_ms, t)?;
        if !floats_equal(want.value, v) {
            return Err(format!(
                "expected float value at index {i} (t={t}) for {labels} to be {}, but got {v} (result has {:?})",
                want.value, found.floats
            ));
        }
    }
    for (i, (step, want)) in hists.into_iter().enumerate() {
        let (t, h) = &found.histograms[i];
        check_time(labels, i, start_ms + step as i64 * step_ms, *t)?;
        let Some(expected) = &want.histogram else { continue };
        if !histograms_equal(expected, h, want.counter_reset_hint_set) {
            return Err(format!(
                "expected histogram value at index {i} (t={t}) for {labels} to be {}, but got {}",
                describe(expected),
                describe(h)
            ));
        }
    }
    Ok(())
}

fn check_time(labels: &Labels, i: usize, want: i64, have: i64) -> Result<(), String> {
    if want == have {
        return Ok(());
    }
    Err(format!(
        "expected value at index {i} for {labels} to have timestamp {want}, but it had timestamp {have}"
    ))
}

fn show(value: &SampleValue) -> String {
    match value {
        SampleValue::Float(v) => v.to_string(),
        SampleValue::Histogram(h) => h.to_string(),
    }
}

fn show_expected(value: &SequenceValue) -> String {
    match &value.histogram {
        Some(h) => h.to_string(),
        None => value.value.to_string(),
    }
}

fn describe(h: &FloatHistogram) -> String {
    format!("{} (hint {:?}, schema {})", h.test_expression(), h.counter_reset_hint, h.schema)
}

pub(super) fn floats_equal(a: f64, b: f64) -> bool {
    if is_stale_nan(a) || is_stale_nan(b) {
        return is_stale_nan(a) && is_stale_nan(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

fn histograms_equal(a: &FloatHistogram, b: &FloatHistogram, hint: bool) -> bool {
    let (mut a, mut b) = (a.clone(), b.clone());
    a.compact(0);
    b.compact(0);
    let all_equal =
        |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| floats_equal(*a, *b));
    let spans = |spans: &[model::Span]| -> Vec<(i64, u32)> {
        let mut out: Vec<(i64, u32)> = Vec::new();
        let mut gap = 0i64;
        for span in spans {
            gap += i64::from(span.offset);
            if span.length == 0 {
                continue;
            }
            match out.last_mut() {
                Some(last) if gap == 0 => last.1 += span.length,
                _ => out.push((gap, span.length)),
            }
            gap = 0;
        }
        out
    };
    a.schema == b.schema
        && floats_equal(a.count, b.count)
        && floats_equal(a.sum, b.sum)
        && a.zero_threshold == b.zero_threshold
        && floats_equal(a.zero_count, b.zero_count)
        && (!a.uses_custom_buckets() || a.custom_values == b.custom_values)
        && spans(&a.positive_spans) == spans(&b.positive_spans)
        && spans(&a.negative_spans) == spans(&b.negative_spans)
        && all_equal(&a.positive_buckets, &b.positive_buckets)
        && all_equal(&a.negative_buckets, &b.negative_buckets)
        && (!hint || a.counter_reset_hint == b.counter_reset_hint)
}
