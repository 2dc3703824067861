//! `load`: series into the store, also as histograms with custom buckets.

use std::collections::BTreeMap;

use model::append::{HistogramSample, HistogramValue, Outcome};
use model::histogram::ClassicHistogram;
use model::labels::BUCKET_LABEL;
use model::time::parse_duration_ms;
use model::{Appendable, Appender, FloatBatch, Labels, METRIC_NAME, Timestamps};
use promql::SequenceValue;

/// Start timestamps of one series, relative to its samples; `None` where unknown.
pub(super) struct StartTimestamps(Vec<Option<i64>>);

impl StartTimestamps {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// `_`, `_xN`, `D`, `DxN`, `D+DxN`, `D-DxN`, separated by spaces.
    pub(super) fn parse(items: &str) -> Result<StartTimestamps, String> {
        let mut all = Vec::new();
        for item in items.split_whitespace() {
            let invalid = || format!("invalid start timestamp {item:?}");
            let count = |text: &str| text.parse::<usize>().map_err(|_| invalid());
            if item == "_" {
                all.push(None);
                continue;
            }
            if let Some(times) = item.strip_prefix("_x") {
                all.extend(std::iter::repeat_n(None, count(times)?));
                continue;
            }
            let (start, rest) = signed(item).ok_or_else(invalid)?;
            if rest.is_empty() {
                all.push(Some(start));
            } else if let Some(times) = rest.strip_prefix('x') {
                all.extend(std::iter::repeat_n(Some(start), count(times)? + 1));
            } else {
                let (step, rest) = signed(rest).ok_or_else(invalid)?;
                let times = count(rest.strip_prefix('x').ok_or_else(invalid)?)?;
                all.extend((0..=times as i64).map(|i| Some(start + i * step)));
            }
        }
        Ok(StartTimestamps(all))
    }
}

/// A duration with an optional sign, and what follows it.
fn signed(text: &str) -> Option<(i64, &str)> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    // A duration is digits and units; `x` is no unit.
    let end = digits.find(|c: char| !c.is_ascii_digit() && !"smhdwy".contains(c)).unwrap_or(digits.len());
    let ms = parse_duration_ms(&digits[..end]).ok()?;
    Some((sign * ms, &digits[end..]))
}

struct Series {
    labels: Labels,
    values: Vec<SequenceValue>,
    starts: Option<StartTimestamps>,
}

/// One `load` command.
pub(super) struct Load {
    pub(super) step_ms: i64,
    pub(super) with_nhcb: bool,
    pub(super) series: Vec<SeriesLine>,
}

/// A line of a `load` command.
pub(super) struct SeriesLine(Series);

impl Load {
    /// Adds a series; the last line of a series counts.
    pub(super) fn add(
        &mut self,
        labels: Labels,
        values: Vec<SequenceValue>,
        starts: Option<StartTimestamps>,
    ) {
        self.series.retain(|line| line.0.labels != labels);
        self.series.push(SeriesLine(Series { labels, values, starts }));
    }

    pub(super) fn run(&self, store: &dyn Appendable) -> Result<(), String> {
        let mut batch = store.appender().map_err(|error| error.to_string())?;
        for SeriesLine(series) in &self.series {
            for (i, value) in series.values.iter().enumerate() {
                if value.omitted {
                    continue;
                }
                let t = i as i64 * self.step_ms;
                let st = series.starts.as_ref().and_then(|starts| starts.0[i]).map_or(0, |st| t + st);
                let value = match &value.histogram {
                    Some(h) => Sample::Histogram(HistogramValue::Float((**h).clone())),
                    None => Sample::Float(value.value),
                };
                append(&mut *batch, &series.labels, t, st, value)?;
            }
        }
        if self.with_nhcb {
            for (labels, t, value) in self.custom_bucket_histograms()? {
                append(&mut *batch, &labels, t, 0, Sample::Histogram(value))?;
            }
        }
        batch.commit().map(|_| ()).map_err(|error| error.to_string())
    }

    /// Classic histograms as histograms with custom buckets, by series and time.
    fn custom_bucket_histograms(&self) -> Result<Vec<(Labels, i64, HistogramValue)>, String> {
        let mut classic: BTreeMap<(Labels, i64), ClassicHistogram> = BTreeMap::new();
        for SeriesLine(series) in &self.series {
            let name = series.labels.metric_name();
            let (base, part) = match () {
                () if let Some(base) = name.strip_suffix("_bucket") => (base, Part::Bucket),
                () if let Some(base) = name.strip_suffix("_count") => (base, Part::Count),
                () if let Some(base) = name.strip_suffix("_sum") => (base, Part::Sum),
                () => continue,
            };
            let le = match part {
                Part::Bucket => match series.labels.get(BUCKET_LABEL).map(model::float::parse) {
                    Some(Ok(le)) if !le.is_nan() => le,
                    _ => continue,
                },
                _ => 0.0,
            };
            let mut labels = series.labels.to_builder();
            labels.set(METRIC_NAME, base).del(BUCKET_LABEL);
            let labels = labels.labels();
            for (i, value) in series.values.iter().enumerate() {
                if value.omitted || value.histogram.is_some() {
                    continue;
                }
                let t = i as i64 * self.step_ms;
                let histogram = classic.entry((labels.clone(), t)).or_default();
                // An error stays with the histogram and shows when it is converted.
                let _ = match part {
                    Part::Bucket => histogram.set_bucket_count(le, value.value),
                    Part::Count => histogram.set_count(value.value),
                    Part::Sum => histogram.set_sum(value.value),
                };
            }
        }
        let mut out = Vec::new();
        for ((labels, t), histogram) in classic {
            let value = histogram.convert().map_err(|error| error.to_string())?;
            let float = match value {
                HistogramValue::Float(h) => h,
                HistogramValue::Integer(h) => h.to_float(),
            };
            float.validate().map_err(|error| error.to_string())?;
            out.push((labels, t, HistogramValue::Float(float)));
        }
        Ok(out)
    }
}

#[derive(Clone, Copy)]
enum Part {
    Bucket,
    Count,
    Sum,
}

enum Sample {
    Float(f64),
    Histogram(HistogramValue),
}

fn append(batch: &mut dyn Appender, labels: &Labels, t: i64, st: i64, value: Sample) -> Result<(), String> {
    let handle = batch.series(labels).map_err(|error| error.to_string())?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    match value {
        Sample::Float(value) => batch.append_floats(
            FloatBatch {
                series: &[handle],
                timestamps: Timestamps::Same(t),
                start_timestamps: Some(&[st]),
                values: &[value],
                in_order_only: false,
            },
            &mut outcomes,
        ),
        Sample::Histogram(value) => {
            let sample = HistogramSample { series: handle, timestamp_ms: t, start_timestamp_ms: st, value };
            batch.append_histograms(vec![sample], &mut outcomes);
        }
    }
    match outcomes.first() {
        Some(outcome) if outcome.is_ok() => Ok(()),
        outcome => Err(format!("cannot append {labels} at {t}: {outcome:?}")),
    }
}
