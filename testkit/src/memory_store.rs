//! A store that keeps everything in memory, as simply as can be: for tests of
//! what stands on storage, and as the plain answer to compare a real store with.
//!
//! Like the real one it tells a histogram's reset hint anew: samples that go
//! on with a run of histograms are known not to follow a reset, the first of a run
//! is unknown, unless it was written as one.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::append::{Existing, Outcome};
use model::query::{ReadOptions, ReadStats, SeriesReader};
use model::{
    AppendError, Appendable, Appender, Columns, CounterResetHint, Dictionary, Durability, Exemplar,
    ExemplarError, FloatBatch, FloatHistogram, HistogramSample, HistogramValue, LabelTable, Labels, Metadata,
    Querier, Queryable, SelectRequest, SelectedSeries, SeriesHandle, StorageError, TimeRange,
};
use parking_lot::RwLock;

/// A float or a histogram.
#[derive(Clone, Debug)]
enum Value {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

#[derive(Clone, Debug)]
struct Sample {
    timestamp_ms: i64,
    start_timestamp_ms: i64,
    value: Value,
}

#[derive(Clone, Debug)]
struct Series {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, Default)]
struct Data {
    series: Vec<Series>,
    by_labels: BTreeMap<Labels, u32>,
}

/// The store. Clones are the same store.
#[derive(Clone, Default)]
pub struct MemoryStore {
    data: Arc<RwLock<Arc<Data>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// How many series there are.
    pub fn series_count(&self) -> usize {
        self.data.read().series.len()
    }
}

impl Appendable for MemoryStore {
    fn appender(&self) -> Result<Box<dyn Appender>, StorageError> {
        let data = self.data.read().clone();
        Ok(Box::new(Batch { store: self.clone(), data }))
    }
}

struct Batch {
    store: MemoryStore,
    data: Arc<Data>,
}

impl Batch {
    fn push(&mut self, handle: SeriesHandle, sample: Sample) -> Outcome {
        let data = Arc::make_mut(&mut self.data);
        let Some(series) = data.series.get_mut(handle.slot as usize) else { return Outcome::UnknownSeries };
        if let Some(last) = series.samples.last() {
            if sample.timestamp_ms < last.timestamp_ms {
                return Outcome::OutOfOrder;
            }
            if sample.timestamp_ms == last.timestamp_ms {
                let same = match (&last.value, &sample.value) {
                    (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
                    (Value::Histogram(a), Value::Histogram(b)) => a.equals(b),
                    _ => false,
                };
                if same {
                    return Outcome::Unchanged;
                }
                let existing = match &last.value {
                    Value::Float(v) => Existing::Float(*v),
                    Value::Histogram(_) => Existing::Histogram,
                };
                return Outcome::DuplicateTimestamp { existing };
            }
        }
        series.samples.push(sample);
        Outcome::Accepted
    }
}

/// The hint with which a histogram is read back behind `previous`.
fn stored_hint(h: &FloatHistogram, previous: Option<&Value>) -> CounterResetHint {
    if h.counter_reset_hint == CounterResetHint::Gauge {
        return CounterResetHint::Gauge;
    }
    if h.counter_reset_hint == CounterResetHint::CounterReset {
        return CounterResetHint::CounterReset;
    }
    let Some(Value::Histogram(previous)) = previous else { return CounterResetHint::Unknown };
    if previous.counter_reset_hint == CounterResetHint::Gauge {
        return CounterResetHint::Unknown;
    }
    if h.is_stale() {
        return CounterResetHint::NotCounterReset;
    }
    if previous.is_stale() {
        return CounterResetHint::Unknown;
    }
    // Where a run ends, by a reset or by another layout, the next one's first
    // sample reads as unknown.
    let same_layout = h.schema == previous.schema
        && h.zero_threshold == previous.zero_threshold
        && h.custom_values == previous.custom_values;
    let bare =
        |h: &FloatHistogram| FloatHistogram { counter_reset_hint: CounterResetHint::Unknown, ..h.clone() };
    if !same_layout || bare(h).detect_reset(&bare(previous)) {
        CounterResetHint::Unknown
    } else {
        CounterResetHint::NotCounterReset
    }
}

impl Appender for Batch {
    fn series(&mut self, labels: &Labels) -> Result<SeriesHandle, AppendError> {
        if labels.is_empty() {
            return Err(AppendError::EmptyLabels);
        }
        if let Some(handle) = self.find_series(labels) {
            return Ok(handle);
        }
        let data = Arc::make_mut(&mut self.data);
        let slot = u32::try_from(data.series.len()).expect("tests have fewer than 2^32 series");
        data.series.push(Series { samples: Vec::new() });
        data.by_labels.insert(labels.clone(), slot);
        Ok(SeriesHandle { slot, generation: 0 })
    }

    fn find_series(&mut self, labels: &Labels) -> Option<SeriesHandle> {
        self.data.by_labels.get(labels).map(|&slot| SeriesHandle { slot, generation: 0 })
    }

    fn append_floats(&mut self, batch: FloatBatch<'_>, outcomes: &mut Vec<Outcome>) {
        outcomes.clear();
        for (i, &handle) in batch.series.iter().enumerate() {
            let sample = Sample {
                timestamp_ms: batch.timestamps.at(i),
                start_timestamp_ms: batch.start_timestamps.map_or(0, |sts| sts[i]),
                value: Value::Float(batch.values[i]),
            };
            let outcome = self.push(handle, sample);
            outcomes.push(outcome);
        }
    }

    fn append_histograms(&mut self, samples: Vec<HistogramSample>, outcomes: &mut Vec<Outcome>) {
        outcomes.clear();
        for sample in samples {
            let mut h = match sample.value {
                HistogramValue::Float(h) => h,
                HistogramValue::Integer(h) => h.to_float(),
            };
            let previous = self
                .data
                .series
                .get(sample.series.slot as usize)
                .and_then(|series| series.samples.last())
                .map(|sample| &sample.value);
            h.counter_reset_hint = stored_hint(&h, previous);
            let stored = Sample {
                timestamp_ms: sample.timestamp_ms,
                start_timestamp_ms: sample.start_timestamp_ms,
                value: Value::Histogram(Arc::new(h)),
            };
            let outcome = self.push(sample.series, stored);
            outcomes.push(outcome);
        }
    }

    fn append_start_zero(
        &mut self,
        series: SeriesHandle,
        timestamp_ms: i64,
        start_timestamp_ms: i64,
        like: Option<&HistogramValue>,
    ) -> Outcome {
        if start_timestamp_ms >= timestamp_ms {
            return Outcome::StartNotBeforeSample;
        }
        let value = match like {
            None => Value::Float(0.0),
            Some(_) => Value::Histogram(Arc::new(FloatHistogram::default())),
        };
        let outcome =
            self.push(series, Sample { timestamp_ms: start_timestamp_ms, start_timestamp_ms: 0, value });
        if outcome.is_ok() { outcome } else { Outcome::StartOutOfOrder }
    }

    fn append_exemplar(&mut self, _: SeriesHandle, _: &Exemplar) -> Result<(), ExemplarError> {
        Err(ExemplarError::Disabled)
    }

    fn update_metadata(&mut self, _: SeriesHandle, _: &Metadata) {}

    fn commit(self: Box<Self>) -> Result<Durability, StorageError> {
        *self.store.data.write() = self.data;
        Ok(Durability::Logged)
    }

    fn rollback(self: Box<Self>) {}
}

impl Queryable for MemoryStore {
    fn querier(&self, _: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        Ok(Arc::new(View { data: self.data.read().clone() }))
    }
}

struct View {
    data: Arc<Data>,
}

impl Querier for View {
    fn select(
        &self,
        request: &SelectRequest,
        dictionary: &Dictionary,
    ) -> Result<SelectedSeries, StorageError> {
        request.cancel.check()?;
        let mut labels = LabelTable::new();
        let mut slots = Vec::new();
        let mut writer = dictionary.write();
        for (set, &slot) in &self.data.by_labels {
            let matches = request.matchers.iter().all(|m| m.matches(set.value_or_empty(m.name())));
            let samples = &self.data.series[slot as usize].samples;
            let first = samples.partition_point(|s| s.timestamp_ms < request.range.start_ms);
            let in_range = samples.get(first).is_some_and(|s| s.timestamp_ms <= request.range.end_ms);
            if !matches || !in_range {
                continue;
            }
            labels.push(set.iter().map(|l| (writer.intern(l.name), writer.intern(l.value))));
            slots.push(slot);
            if request.limit > 0 && slots.len() == request.limit {
                break;
            }
        }
        let reader = Arc::new(Reader { data: self.data.clone(), slots });
        Ok(SelectedSeries { labels, reader, warnings: Vec::new() })
    }
}

struct Reader {
    data: Arc<Data>,
    slots: Vec<u32>,
}

impl SeriesReader for Reader {
    fn read(
        &self,
        series: usize,
        range: TimeRange,
        options: ReadOptions,
        columns: &mut Columns,
    ) -> Result<ReadStats, StorageError> {
        columns.clear();
        let samples = &self.data.series[self.slots[series] as usize].samples;
        let start = samples.partition_point(|s| s.timestamp_ms < range.start_ms);
        for sample in samples[start..].iter().take_while(|s| s.timestamp_ms <= range.end_ms) {
            match &sample.value {
                Value::Float(v) => columns.push_float(sample.timestamp_ms, *v),
                Value::Histogram(h) => columns.push_histogram(sample.timestamp_ms, (**h).clone()),
            }
            if options.start_timestamps {
                columns.start_timestamps_ms.push(sample.start_timestamp_ms);
            }
        }
        Ok(ReadStats::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{MatchOp, Matcher, Timestamps, is_stale_nan};

    #[test]
    fn what_is_committed_is_found_in_label_order() {
        let store = MemoryStore::new();
        let mut batch = store.appender().unwrap();
        let handles: Vec<_> = ["b", "a"]
            .map(|job| batch.series(&Labels::from_pairs([("__name__", "up"), ("job", job)])).unwrap())
            .into();
        let mut outcomes = Vec::new();
        batch.append_floats(
            FloatBatch {
                series: &handles,
                timestamps: Timestamps::Same(10),
                start_timestamps: None,
                values: &[1.0, 2.0],
                in_order_only: false,
            },
            &mut outcomes,
        );
        assert!(outcomes.iter().all(Outcome::is_ok));
        batch.commit().unwrap();
        let dictionary = Dictionary::new();
        let matcher = Matcher::new(MatchOp::Equal, "__name__", "up").unwrap();
        let request = SelectRequest::new(vec![matcher], TimeRange::ALL);
        let found = store.querier(TimeRange::ALL).unwrap().select(&request, &dictionary).unwrap();
        assert_eq!(dictionary.labels(found.labels.row(0)).get("job"), Some("a"));
        let mut columns = Columns::default();
        found.reader.read(0, TimeRange::ALL, ReadOptions::default(), &mut columns).unwrap();
        assert_eq!(columns.as_floats(), Some((&[10][..], &[2.0][..])));
        assert!(!is_stale_nan(columns.floats[0]));
    }
}
