//! A query whose client has left stops: counted by what it still reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::query::{CancelReason, LatestColumns, ReadOptions, ReadStats, SeriesReader};
use model::{
    CancelToken, Columns, Dictionary, LabelTable, Querier, Queryable, SelectRequest, SelectedSeries,
    StorageError, TimeRange,
};
use promql::{Engine, EngineOptions, Features, Query, QueryError};

const SERIES: usize = 20_000;

/// Many series; at the n-th read the client leaves.
#[derive(Clone)]
struct Leaving {
    cancel: CancelToken,
    leaves_at: u64,
    reads: Arc<AtomicU64>,
    reads_after: Arc<AtomicU64>,
}

impl Leaving {
    fn new(leaves_at: u64) -> Leaving {
        Leaving { cancel: CancelToken::new(), leaves_at, reads: Arc::default(), reads_after: Arc::default() }
    }

    fn note(&self) {
        if self.cancel.reason().is_some() {
            self.reads_after.fetch_add(1, Ordering::SeqCst);
        }
        if self.reads.fetch_add(1, Ordering::SeqCst) + 1 == self.leaves_at {
            self.cancel.cancel(CancelReason::Canceled);
        }
    }
}

impl Queryable for Leaving {
    fn querier(&self, _: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        Ok(Arc::new(self.clone()))
    }
}

impl Querier for Leaving {
    fn select(&self, _: &SelectRequest, dictionary: &Dictionary) -> Result<SelectedSeries, StorageError> {
        let mut writer = dictionary.write();
        let (name, metric) = (writer.intern("__name__"), writer.intern("m_total"));
        let id = writer.intern("id");
        let mut table = LabelTable::new();
        for i in 0..SERIES {
            table.push([(name, metric), (id, writer.intern(&format!("{i:06}")))]);
        }
        Ok(SelectedSeries { labels: table, reader: Arc::new(self.clone()), warnings: Vec::new() })
    }
}

impl SeriesReader for Leaving {
    fn read(
        &self,
        series: usize,
        range: TimeRange,
        _: ReadOptions,
        columns: &mut Columns,
    ) -> Result<ReadStats, StorageError> {
        self.note();
        columns.clear();
        for i in 0..20 {
            columns.push_float(range.start_ms + i * 10_000, (series as f64) + i as f64);
        }
        Ok(ReadStats::default())
    }

    fn read_latest(
        &self,
        series: std::ops::Range<usize>,
        at_ms: i64,
        _: i64,
        out: &mut LatestColumns,
    ) -> Result<ReadStats, StorageError> {
        self.note();
        out.samples.clear();
        out.histograms.clear();
        out.samples.extend(series.map(|i| {
            let value = model::query::LatestValue::Float(i as f64);
            Some(model::query::Latest { timestamp_ms: at_ms, value })
        }));
        Ok(ReadStats::default())
    }
}

#[test]
fn what_is_read_after_the_client_left_is_a_block_a_thread_at_most() {
    for threads in [1u64, 2, 8] {
        let engine = Engine::new(EngineOptions {
            features: Features::all(),
            threads: threads as usize,
            ..EngineOptions::default()
        });
        for text in [
            "sum(rate(m_total[5m]))",
            "quantile(0.5, m_total)",
            "topk(3, increase(m_total[5m]))",
            "m_total * on (id) group_left () m_total",
            "m_total or rate(m_total[5m])",
            "sort(m_total)",
            "count_values(\"v\", m_total)",
            "max_over_time(sum(m_total)[5m:1m])",
            "histogram_quantile(0.9, m_total)",
            "absent(m_total)",
            "scalar(m_total)",
            "label_replace(m_total, \"x\", \"$1\", \"id\", \"(.*)\")",
        ] {
            for (start_ms, end_ms, step_ms) in [(300_000, 300_000, 0), (300_000, 900_000, 60_000)] {
                let store = Leaving::new(7);
                let query =
                    Query { cancel: store.cancel.clone(), ..Query::range(text, start_ms, end_ms, step_ms) };
                let result =
                    if step_ms == 0 { engine.instant(&store, &query) } else { engine.range(&store, &query) };
                assert!(matches!(result, Err(QueryError::Canceled(_))), "{text}, {threads} threads");
                let after = store.reads_after.load(Ordering::SeqCst);
                assert!(after <= threads, "{text}: {after} reads after the client left, {threads} threads");
            }
        }
    }
}
