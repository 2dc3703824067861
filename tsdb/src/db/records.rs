//! A batch as log records.

use hashbrown::HashMap;
use model::{HistogramValue, Labels, SeriesRef};

use crate::head::append::{Batch, PendingHistogram, PendingRun};
use crate::head::commit::LateSample;
use crate::head::ooo::OooValue;
use crate::wal::record::{
    self, RefExemplar, RefFloatHistogram, RefHistogram, RefSample, put_exemplars, put_metadata, put_samples,
    put_samples_v2, put_series,
};

/// Records one after the other in one buffer.
#[derive(Default)]
pub(crate) struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    samples: u64,
}

impl Records {
    /// Adds the record that `put` appends.
    pub(crate) fn add(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Adds the record that `put` appends, unless it answers that there is none.
    pub(crate) fn add_if(&mut self, put: impl FnOnce(&mut Vec<u8>) -> bool) {
        let before = self.bytes.len();
        if put(&mut self.bytes) {
            self.ends.push(self.bytes.len());
        } else {
            self.bytes.truncate(before);
        }
    }

    /// The records in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|i| {
            let start = if i == 0 { 0 } else { self.ends[i - 1] };
            &self.bytes[start..self.ends[i]]
        })
    }

    /// How many samples the records hold, as far as they were counted.
    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    /// Says that the records hold so many samples more.
    pub(crate) fn count_samples(&mut self, n: usize) {
        self.samples += n as u64;
    }

    /// Bytes of all records.
    pub(crate) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no record.
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// Joins runs as far as that changes no series' order of kinds: scrapes mix
/// kinds line by line, and a record each would be small.
pub(crate) fn join_runs(batch: &mut Batch) {
    if batch.runs.len() <= 1 {
        return;
    }
    let mut kinds: HashMap<u64, bool, rapidhash::fast::RandomState> = HashMap::default();
    let mut joined = Vec::new();
    let (mut floats, mut histograms) = (0, 0);
    let (mut next_float, mut next_histogram) = (0, 0);
    let flush = |floats: &mut usize, histograms: &mut usize, joined: &mut Vec<PendingRun>| {
        if *floats > 0 {
            joined.push(PendingRun::Floats(std::mem::take(floats)));
        }
        if *histograms > 0 {
            joined.push(PendingRun::Histograms(std::mem::take(histograms)));
        }
    };
    for run in &batch.runs {
        let (is_histogram, n) = match *run {
            PendingRun::Floats(n) => (false, n),
            PendingRun::Histograms(n) => (true, n),
        };
        for _ in 0..n {
            let series_ref = if is_histogram {
                next_histogram += 1;
                batch.histograms[next_histogram - 1].series_ref
            } else {
                next_float += 1;
                batch.floats[next_float - 1].series_ref
            };
            if kinds.insert(series_ref, is_histogram).is_some_and(|other| other != is_histogram) {
                flush(&mut floats, &mut histograms, &mut joined);
                kinds.clear();
                kinds.insert(series_ref, is_histogram);
            }
            if is_histogram {
                histograms += 1;
            } else {
                floats += 1;
            }
        }
    }
    flush(&mut floats, &mut histograms, &mut joined);
    batch.runs = joined;
}

/// So many entries a record has at most, and so many bytes the labels of one:
/// records of large batches are several, as one must fit a segment.
const ENTRIES_MAX: usize = 32 * 1024;
const HISTOGRAMS_MAX: usize = 1024;
const LABEL_BYTES_MAX: usize = 1 << 20;

/// The records of new series.
pub(crate) fn encode_series(series: &[(SeriesRef, Labels)], records: &mut Records) {
    let mut rest = series;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|(_, labels)| {
            bytes += labels.iter().map(|label| label.name.len() + label.value.len()).sum::<usize>();
            bytes <= LABEL_BYTES_MAX
        });
        let (part, behind) = rest.split_at(fits.count().max(1));
        records.add(|out| put_series(out, part.iter().map(|(series_ref, labels)| (*series_ref, labels))));
        rest = behind;
    }
}

/// The records of a batch but for its new series: metadata, samples in their
/// runs, exemplars.
pub(crate) fn encode_batch(batch: &Batch, with_starts: bool, with_metadata: bool, records: &mut Records) {
    if with_metadata && !batch.metadata.is_empty() {
        for part in batch.metadata.chunks(HISTOGRAMS_MAX) {
            let all = part.iter().map(|(_, series_ref, metadata)| (SeriesRef(*series_ref), metadata));
            records.add(|out| put_metadata(out, all));
        }
    }
    let (mut float, mut histogram) = (0, 0);
    for run in &batch.runs {
        match *run {
            PendingRun::Floats(n) => {
                for part in batch.floats[float..float + n].chunks(ENTRIES_MAX) {
                    let floats = part.iter().enumerate().map(|(i, sample)| RefSample {
                        series: SeriesRef(sample.series_ref),
                        timestamp_ms: sample.t,
                        start_timestamp_ms: batch.starts.get(float + i).copied().unwrap_or(0),
                        value: sample.v,
                    });
                    if with_starts {
                        records.add(|out| put_samples_v2(out, floats));
                    } else {
                        records.add(|out| put_samples(out, floats));
                    }
                    float += part.len();
                }
                records.count_samples(n);
            }
            PendingRun::Histograms(n) => {
                for part in batch.histograms[histogram..histogram + n].chunks(HISTOGRAMS_MAX) {
                    encode_histograms(part.iter().map(logged), with_starts, records);
                }
                records.count_samples(n);
                histogram += n;
            }
        }
    }
    for part in batch.exemplars.chunks(ENTRIES_MAX) {
        let exemplars: Vec<RefExemplar> = part
            .iter()
            .map(|pending| RefExemplar {
                series: SeriesRef(pending.series_ref),
                timestamp_ms: pending.exemplar.timestamp_ms,
                value: pending.exemplar.value,
                labels: pending.exemplar.labels.clone(),
            })
            .collect();
        records.add(|out| put_exemplars(out, &exemplars));
    }
}

fn logged(pending: &PendingHistogram) -> (u64, i64, i64, &HistogramValue) {
    (pending.series_ref, pending.t, pending.start, &pending.value)
}

/// Adds the records that histograms of both kinds need: (series, time, start, value).
pub(crate) fn encode_histograms<'a>(
    all: impl Iterator<Item = (u64, i64, i64, &'a HistogramValue)>,
    with_starts: bool,
    records: &mut Records,
) {
    let mut integers = Vec::new();
    let mut floats = Vec::new();
    for (series_ref, timestamp_ms, start_timestamp_ms, value) in all {
        let series = SeriesRef(series_ref);
        match value {
            HistogramValue::Integer(h) => {
                integers.push(RefHistogram {
                    series,
                    timestamp_ms,
                    start_timestamp_ms,
                    histogram: h.clone(),
                });
            }
            HistogramValue::Float(h) => {
                floats.push(RefFloatHistogram {
                    series,
                    timestamp_ms,
                    start_timestamp_ms,
                    histogram: h.clone(),
                });
            }
        }
    }
    if !integers.is_empty() {
        if with_starts {
            records.add(|out| record::put_histograms_v2(out, &integers));
        } else {
            records.add_if(|out| record::put_histograms(out, &integers));
            records.add_if(|out| record::put_custom_histograms(out, &integers));
        }
    }
    if !floats.is_empty() {
        if with_starts {
            records.add(|out| record::put_float_histograms_v2(out, &floats));
        } else {
            records.add_if(|out| record::put_float_histograms(out, &floats));
            records.add_if(|out| record::put_custom_float_histograms(out, &floats));
        }
    }
}

/// The records of out-of-order samples, floats before histograms.
pub(crate) fn encode_late(late: &[LateSample], with_starts: bool, records: &mut Records) {
    let floats: Vec<RefSample> = late
        .iter()
        .filter_map(|late| match late.sample.value {
            OooValue::Float(value) => Some(RefSample {
                series: SeriesRef(late.series_ref),
                timestamp_ms: late.sample.t,
                start_timestamp_ms: late.sample.start,
                value,
            }),
            OooValue::Histogram(_) => None,
        })
        .collect();
    for part in floats.chunks(ENTRIES_MAX) {
        if with_starts {
            records.add(|out| put_samples_v2(out, part.iter().copied()));
        } else {
            records.add(|out| put_samples(out, part.iter().copied()));
        }
    }
    let histograms = late.iter().filter_map(|late| match &late.sample.value {
        OooValue::Histogram(value) => {
            Some((late.series_ref, late.sample.t, late.sample.start, value.as_ref()))
        }
        OooValue::Float(_) => None,
    });
    let histograms: Vec<_> = histograms.collect();
    for part in histograms.chunks(HISTOGRAMS_MAX) {
        encode_histograms(part.iter().copied(), with_starts, records);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::append::PendingFloat;
    use model::Histogram;

    fn float(series_ref: u64) -> PendingFloat {
        PendingFloat { slot: 0, out_of_order: false, series_ref, t: 0, v: 0.0 }
    }

    fn histogram(series_ref: u64) -> PendingHistogram {
        let value = HistogramValue::Integer(Histogram::default());
        PendingHistogram { slot: 0, out_of_order: false, series_ref, t: 0, start: 0, value }
    }

    #[test]
    fn runs_join_until_a_series_changes_its_kind() {
        use PendingRun::{Floats, Histograms};
        let mut batch = Batch {
            floats: vec![float(1), float(2), float(3)],
            histograms: vec![histogram(4), histogram(5), histogram(1)],
            runs: vec![Floats(1), Histograms(1), Floats(1), Histograms(2), Floats(1)],
            ..Batch::default()
        };
        join_runs(&mut batch);
        assert_eq!(batch.runs, [Floats(2), Histograms(2), Floats(1), Histograms(1)]);
    }
}
