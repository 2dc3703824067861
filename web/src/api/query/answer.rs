//! The answer of a query as JSON, made piece by piece from the columns that
//! were evaluated.

use std::sync::Arc;

use axum::body::Bytes;
use promql::Output;
use promql::stats::ExplainNode;
use promql::value::{Matrix, SampleValue, Series, Value, Vector};
use serde::Serialize;

use crate::api::write_annotations;
use crate::body::PIECE_BYTES;
use crate::json::{self, GoFloat};

/// Times of longer series are not kept as text.
const SHARED_TIMES_MAX: usize = 20_000;
/// Most warnings, and most infos, of an answer; the rest is counted.
const ANNOTATIONS_MAX: usize = 10;

/// The answer's JSON in pieces, made as they are taken. No piece is much longer
/// than `PIECE_BYTES`, however long a series is.
pub struct Pieces {
    output: Output,
    stats: Option<Vec<u8>>,
    place: Place,
    times: Times,
    started: bool,
    ended: bool,
}

/// How far an answer is written.
#[derive(Default)]
struct Place {
    /// Elements that are written whole.
    elements: usize,
    /// Whether the labels of the next one are written.
    opened: bool,
    /// Its floats and its histograms that are written.
    floats: usize,
    histograms: usize,
}

/// Times as text: series of a range query share them, so that each is written
/// once and then copied.
#[derive(Default)]
struct Times {
    of: Option<Arc<[i64]>>,
    /// `[time,"` for each time.
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Times {
    /// Makes the text of these times, unless it is that already. Times of one
    /// series alone are not worth it.
    fn prepare(&mut self, times: &Arc<[i64]>) -> bool {
        if self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, times)) {
            return true;
        }
        if Arc::strong_count(times) < 2 || times.len() > SHARED_TIMES_MAX {
            return false;
        }
        self.text.clear();
        self.ends.clear();
        for &time_ms in times.iter() {
            self.text.push(b'[');
            json::write_time(&mut self.text, time_ms);
            self.text.extend_from_slice(b",\"");
            self.ends.push(self.text.len());
        }
        self.of = Some(times.clone());
        true
    }

    fn get(&self, i: usize) -> &[u8] {
        let start = if i > 0 { self.ends[i - 1] } else { 0 };
        &self.text[start..self.ends[i]]
    }
}

impl Pieces {
    /// The answer of a query, with its statistics or without.
    pub fn new(output: Output, with_stats: bool) -> Pieces {
        let stats = with_stats.then(|| stats_json(&output));
        Pieces {
            output,
            stats,
            place: Place::default(),
            times: Times::default(),
            started: false,
            ended: false,
        }
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut out = Vec::with_capacity(if self.started { PIECE_BYTES + 4096 } else { 4096 });
        if !self.started {
            self.started = true;
            let kind = self.output.value.type_name();
            out.extend_from_slice(
                format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"{kind}\",\"result\":[")
                    .as_bytes(),
            );
        }
        let done = match &self.output.value {
            Value::Scalar { timestamp_ms, value } => {
                json::write_float_time(&mut out, *timestamp_ms);
                out.push(b',');
                json::write_scalar(&mut out, *value);
                true
            }
            Value::String { timestamp_ms, value } => {
                json::write_float_time(&mut out, *timestamp_ms);
                out.push(b',');
                json::write_string(&mut out, value);
                true
            }
            Value::Vector(vector) => write_vector(&mut out, vector, &mut self.place),
            Value::Matrix(matrix) => write_matrix(&mut out, matrix, &mut self.place, &mut self.times),
        };
        if done {
            self.ended = true;
            out.push(b']');
            if let Some(stats) = &self.stats {
                out.extend_from_slice(b",\"stats\":");
                out.extend_from_slice(stats);
            }
            out.push(b'}');
            let warnings = capped(&self.output.warnings, "warning");
            let infos = capped(&self.output.infos, "info");
            write_annotations(&mut out, &warnings, &infos);
            out.push(b'}');
        }
        Some(Bytes::from(out))
    }
}

/// Writes samples until the piece is full; whether all are written.
fn write_vector(out: &mut Vec<u8>, vector: &Vector, place: &mut Place) -> bool {
    let dictionary = vector.labels.dictionary().read();
    while place.elements < vector.len() {
        if out.len() >= PIECE_BYTES {
            return false;
        }
        let i = place.elements;
        place.elements += 1;
        out.extend_from_slice(if i > 0 { b",{\"metric\":" } else { b"{\"metric\":" });
        json::write_labels(out, dictionary.row(vector.labels.table().row(i)));
        match &vector.values[i] {
            SampleValue::Float(value) => {
                out.extend_from_slice(b",\"value\":[");
                json::write_time(out, vector.timestamp_ms);
                out.push(b',');
                json::write_value(out, *value);
            }
            SampleValue::Histogram(histogram) => {
                out.extend_from_slice(b",\"histogram\":[");
                json::write_time(out, vector.timestamp_ms);
                out.push(b',');
                json::write_histogram(out, histogram);
            }
        }
        out.extend_from_slice(b"]}");
    }
    true
}

/// Writes series until the piece is full; whether all are written.
fn write_matrix(out: &mut Vec<u8>, matrix: &Matrix, place: &mut Place, times: &mut Times) -> bool {
    let dictionary = matrix.labels.dictionary().read();
    while place.elements < matrix.len() {
        if out.len() >= PIECE_BYTES {
            return false;
        }
        let series = &matrix.series[place.elements];
        if !place.opened {
            place.opened = true;
            out.extend_from_slice(if place.elements > 0 { b",{\"metric\":" } else { b"{\"metric\":" });
            json::write_labels(out, dictionary.row(matrix.labels.table().row(series.row as usize)));
        }
        if !write_floats(out, series, &mut place.floats, times)
            || !write_histograms(out, series, &mut place.histograms)
        {
            return false;
        }
        out.push(b'}');
        *place = Place { elements: place.elements + 1, ..Place::default() };
    }
    true
}

fn write_floats(out: &mut Vec<u8>, series: &Series, next: &mut usize, times: &mut Times) -> bool {
    let shared = *next < series.floats.len() && times.prepare(&series.float_timestamps_ms);
    while let Some(&value) = series.floats.get(*next) {
        if out.len() >= PIECE_BYTES {
            return false;
        }
        out.extend_from_slice(if *next > 0 { b"," } else { b",\"values\":[" });
        if shared {
            out.extend_from_slice(times.get(*next));
        } else {
            out.push(b'[');
            json::write_time(out, series.float_timestamps_ms[*next]);
            out.extend_from_slice(b",\"");
        }
        model::float::write_json(out, value);
        *next += 1;
        out.extend_from_slice(if *next == series.floats.len() { b"\"]]" } else { b"\"]" });
    }
    true
}

fn write_histograms(out: &mut Vec<u8>, series: &Series, next: &mut usize) -> bool {
    while let Some((timestamp_ms, histogram)) = series.histograms.get(*next) {
        if out.len() >= PIECE_BYTES {
            return false;
        }
        out.extend_from_slice(if *next > 0 { b",[" } else { b",\"histograms\":[[" });
        json::write_time(out, *timestamp_ms);
        out.push(b',');
        json::write_histogram(out, histogram);
        *next += 1;
        out.extend_from_slice(if *next == series.histograms.len() { b"]]" } else { b"]" });
    }
    true
}

/// At most [`ANNOTATIONS_MAX`] texts and a line that counts the rest.
fn capped(texts: &[String], kind: &str) -> Vec<String> {
    let mut shown: Vec<String> = texts.iter().take(ANNOTATIONS_MAX).cloned().collect();
    if texts.len() > ANNOTATIONS_MAX {
        shown.push(format!("{} more {kind} annotations omitted", texts.len() - ANNOTATIONS_MAX));
    }
    shown
}

#[derive(Serialize)]
struct Stats {
    timings: TimingFigures,
    samples: SampleFigures,
}

/// Seconds, in upstream's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TimingFigures {
    eval_total_time: GoFloat,
    result_sort_time: GoFloat,
    query_preparation_time: GoFloat,
    inner_eval_time: GoFloat,
    exec_queue_time: GoFloat,
    exec_total_time: GoFloat,
}

/// Counts, by step as `[seconds, count]`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SampleFigures {
    #[serde(skip_serializing_if = "Option::is_none")]
    total_queryable_samples_per_step: Option<Vec<(GoFloat, u64)>>,
    total_queryable_samples: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    samples_read_per_step: Option<Vec<(GoFloat, u64)>>,
    samples_read: u64,
    peak_samples: u64,
}

/// The `stats` object.
fn stats_json(output: &Output) -> Vec<u8> {
    let (stats, timings) = (&output.stats, &output.stats.timings);
    let per_step = |steps: &Option<Vec<(i64, u64)>>| {
        let seconds = |&(ms, count): &(i64, u64)| (GoFloat(ms as f64 / 1000.0), count);
        steps.as_ref().map(|steps| steps.iter().map(seconds).collect())
    };
    json::to_vec(&Stats {
        timings: TimingFigures {
            eval_total_time: GoFloat(timings.eval_total),
            result_sort_time: GoFloat(timings.result_sort),
            query_preparation_time: GoFloat(timings.query_preparation),
            inner_eval_time: GoFloat(timings.inner_eval),
            exec_queue_time: GoFloat(timings.exec_queue),
            exec_total_time: GoFloat(timings.exec_total),
        },
        samples: SampleFigures {
            total_queryable_samples_per_step: per_step(&stats.total_queryable_samples_per_step),
            total_queryable_samples: stats.total_queryable_samples,
            samples_read_per_step: per_step(&stats.samples_read_per_step),
            samples_read: stats.samples_read,
            peak_samples: stats.peak_samples,
        },
    })
}

/// What the operators of a query did, as a tree of the root and what feeds it.
pub fn explanation(output: &Output) -> Vec<u8> {
    enum Step<'a> {
        Open(&'a ExplainNode),
        Text(&'static [u8]),
    }
    let mut out = b"{\"status\":\"success\",\"data\":{\"plan\":".to_vec();
    // Expressions may be deeper than a thread's stack.
    let mut steps = vec![Step::Open(&output.explain)];
    while let Some(step) = steps.pop() {
        let node = match step {
            Step::Text(text) => {
                out.extend_from_slice(text);
                continue;
            }
            Step::Open(node) => node,
        };
        out.extend_from_slice(b"{\"operator\":");
        json::write_string(&mut out, &node.operator);
        out.extend_from_slice(b",\"detail\":");
        json::write_string(&mut out, &node.detail);
        for (name, count) in [
            ("series", node.series),
            ("points", node.points),
            ("samples", node.samples),
            ("chunks", node.chunks),
            ("bytes", node.bytes),
            ("nanoseconds", node.nanoseconds),
        ] {
            out.extend_from_slice(format!(",\"{name}\":{count}").as_bytes());
        }
        out.extend_from_slice(b",\"children\":[");
        steps.push(Step::Text(b"]}"));
        for (i, child) in node.children.iter().enumerate().rev() {
            steps.push(Step::Open(child));
            if i > 0 {
                steps.push(Step::Text(b","));
            }
        }
    }
    out.extend_from_slice(b",\"stats\":");
    out.extend_from_slice(&stats_json(output));
    out.push(b'}');
    write_annotations(&mut out, &capped(&output.warnings, "warning"), &capped(&output.infos, "info"));
    out.push(b'}');
    out
}
