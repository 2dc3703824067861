//! A store whose samples are made up as they are read: large data without memory,
//! for what is measured apart from storage.

use std::sync::Arc;

use model::query::{Latest, LatestColumns, LatestValue, ReadOptions, ReadStats, SampleKind, SeriesReader};
use model::{
    Columns, Dictionary, LabelTable, Querier, Queryable, SelectRequest, SelectedSeries, StorageError,
    TimeRange,
};

/// Series with a float at each multiple of an interval, whatever is asked for.
#[derive(Clone, Copy)]
pub struct MadeUp {
    /// How many series.
    pub series: usize,
    /// Milliseconds between samples.
    pub interval_ms: i64,
    /// Adds the label rows of so many series, in label order.
    pub labels: fn(usize, &Dictionary, &mut LabelTable),
    /// The value of a series at the so-manieth multiple of the interval.
    pub value: fn(usize, i64) -> f64,
}

impl Queryable for MadeUp {
    fn querier(&self, _: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        Ok(Arc::new(*self))
    }
}

impl Querier for MadeUp {
    fn select(&self, _: &SelectRequest, dictionary: &Dictionary) -> Result<SelectedSeries, StorageError> {
        let mut labels = LabelTable::new();
        (self.labels)(self.series, dictionary, &mut labels);
        Ok(SelectedSeries { labels, reader: Arc::new(*self), warnings: Vec::new() })
    }
}

impl SeriesReader for MadeUp {
    fn read(
        &self,
        series: usize,
        range: TimeRange,
        _: ReadOptions,
        columns: &mut Columns,
    ) -> Result<ReadStats, StorageError> {
        columns.clear();
        let first = range.start_ms.div_euclid(self.interval_ms) + 1;
        for i in first..=range.end_ms.div_euclid(self.interval_ms) {
            columns.timestamps_ms.push(i * self.interval_ms);
            columns.floats.push((self.value)(series, i));
        }
        columns.extend_run(SampleKind::Float, columns.floats.len());
        Ok(ReadStats::default())
    }

    fn read_latest(
        &self,
        series: std::ops::Range<usize>,
        at_ms: i64,
        _: i64,
        out: &mut LatestColumns,
    ) -> Result<ReadStats, StorageError> {
        out.samples.clear();
        out.histograms.clear();
        let i = at_ms.div_euclid(self.interval_ms);
        out.samples.extend(series.map(|series| {
            let value = LatestValue::Float((self.value)(series, i));
            Some(Latest { timestamp_ms: i * self.interval_ms, value })
        }));
        Ok(ReadStats::default())
    }
}
