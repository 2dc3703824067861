//! All samples of a store as plain values that can be compared.

use std::collections::BTreeMap;

use model::query::{ReadOptions, SampleKind};
use model::{
    Columns, Dictionary, FloatHistogram, Labels, Matcher, Queryable, SelectRequest, StorageError, TimeRange,
    is_stale_nan,
};

/// A value by its bits; histograms without what storage may change: their spans'
/// empty buckets and what is known of resets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// A staleness marker of any kind.
    Stale,
    /// A float's bits.
    Float(u64),
    /// Everything of a histogram, as text.
    Histogram(String),
}

impl Point {
    /// The point of a float.
    pub fn float(value: f64) -> Point {
        if is_stale_nan(value) { Point::Stale } else { Point::Float(value.to_bits()) }
    }

    /// The point of a histogram.
    pub fn histogram(histogram: &FloatHistogram) -> Point {
        if histogram.is_stale() {
            return Point::Stale;
        }
        let mut h = histogram.clone();
        h.compact(0);
        let bits = |all: &[f64]| all.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        Point::Histogram(format!(
            "{} {} {} {} {} {:?} {:?} {:?} {:?} {:?}",
            h.schema,
            h.zero_threshold,
            h.zero_count,
            h.count,
            h.sum,
            h.positive_spans.iter().map(|s| (s.offset, s.length)).collect::<Vec<_>>(),
            bits(&h.positive_buckets),
            h.negative_spans.iter().map(|s| (s.offset, s.length)).collect::<Vec<_>>(),
            bits(&h.negative_buckets),
            h.custom_values,
        ))
    }
}

/// A value and its start timestamp in ms, 0 where unknown.
pub type Sample = (Point, i64);

/// Samples by series and time in ms.
pub type Answer = BTreeMap<Labels, BTreeMap<i64, Sample>>;

/// Reads everything that matches.
///
/// # Errors
/// The store does not answer.
///
/// # Panics
/// It answers a series twice, or times that do not ascend.
pub fn read(store: &dyn Queryable, matchers: Vec<Matcher>, range: TimeRange) -> Result<Answer, StorageError> {
    let querier = store.querier(range)?;
    let dictionary = Dictionary::new();
    let selected = querier.select(&SelectRequest::new(matchers, range), &dictionary)?;
    let options = ReadOptions { start_timestamps: true, ..ReadOptions::default() };
    let mut columns = Columns::default();
    let mut answer = Answer::new();
    for row in 0..selected.labels.len() {
        selected.reader.read(row, range, options, &mut columns)?;
        if columns.is_empty() {
            continue;
        }
        let labels = dictionary.labels(selected.labels.row(row));
        let ascending = columns.timestamps_ms.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(ascending, "{labels}: times must ascend");
        let (mut floats, mut histograms) = (columns.floats.iter(), columns.histograms.iter());
        let kinds = columns.runs.iter().flat_map(|run| std::iter::repeat_n(run.kind, run.len));
        let mut samples = BTreeMap::new();
        for (i, kind) in kinds.enumerate() {
            let point = match kind {
                SampleKind::Float => floats.next().map(|value| Point::float(*value)),
                SampleKind::Histogram => histograms.next().map(Point::histogram),
            };
            let point = point.expect("runs are as long as values are many");
            samples.insert(columns.timestamps_ms[i], (point, columns.start_timestamps_ms[i]));
        }
        assert!(answer.insert(labels, samples).is_none(), "a series comes once");
    }
    Ok(answer)
}
