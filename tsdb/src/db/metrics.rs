//! The database's own metrics, under upstream's names.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use model::MetricType;
use model::metrics::{
    Counter, Family, Gauge, HistogramMetric, HistogramOptions, Metric, MetricValue, Registry, Summary,
};

use super::log::Log;
use super::store::Store;

/// Instruments that events update.
pub(crate) struct Instruments {
    pub(crate) snapshot_replay_errors: Counter,
    pub(crate) stale_compactions: Counter,
    pub(crate) stale_compactions_failed: Counter,
    pub(crate) stale_compaction_duration: HistogramMetric,
    pub(crate) clean_start: Gauge,
    pub(crate) data_replay_seconds: Gauge,
    pub(crate) compactions: Counter,
    pub(crate) compactions_failed: Counter,
    pub(crate) compactions_triggered: Counter,
    pub(crate) compactions_skipped: Counter,
    pub(crate) vertical_compactions: Counter,
    pub(crate) compaction_populating: Gauge,
    pub(crate) compaction_duration: HistogramMetric,
    pub(crate) compaction_chunk_size: HistogramMetric,
    pub(crate) compaction_chunk_samples: HistogramMetric,
    pub(crate) compaction_chunk_range: HistogramMetric,
    pub(crate) reloads: Counter,
    pub(crate) reloads_failed: Counter,
    pub(crate) checkpoints: Counter,
    pub(crate) checkpoints_failed: Counter,
    pub(crate) checkpoint_deletions: Counter,
    pub(crate) checkpoint_deletions_failed: Counter,
    pub(crate) head_truncations: Counter,
    pub(crate) head_truncations_failed: Counter,
    pub(crate) head_gc: Summary,
    pub(crate) time_retentions: Counter,
    pub(crate) size_retentions: Counter,
    pub(crate) mmap_corruptions: Counter,
    pub(crate) tombstone_cleanup: HistogramMetric,
    pub(crate) ooo_delta: HistogramMetric,
    pub(crate) wal_fsync: Summary,
    pub(crate) wal_truncate: Summary,
    pub(crate) wal_truncations: Counter,
    pub(crate) wal_truncations_failed: Counter,
    pub(crate) wal_corruptions: Counter,
    pub(crate) wbl_fsync: Summary,
    pub(crate) wbl_truncations: Counter,
    pub(crate) wbl_truncations_failed: Counter,
    pub(crate) reader_corruptions: model::metrics::Vector<Counter>,
    pub(crate) unknown_refs: model::metrics::Vector<Counter>,
    pub(crate) late_unknown_refs: model::metrics::Vector<Counter>,
}

const QUANTILES: &[f64] = &[0.5, 0.9, 0.99];

fn exponential(start: f64, factor: f64, n: i32) -> HistogramOptions {
    let buckets: Vec<f64> = (0..n).map(|i| start * factor.powi(i)).collect();
    HistogramOptions::classic(&buckets)
}

impl Instruments {
    /// Makes the instruments.
    pub(crate) fn new(r: &Registry) -> Instruments {
        let counter = |name: &str, help: &str| r.counter(&format!("prometheus_tsdb_{name}"), help);
        let gauge = |name: &str, help: &str| r.gauge(&format!("prometheus_tsdb_{name}"), help);
        let summary = |name: &str, help: &str, quantiles: &[f64]| {
            r.summary(&format!("prometheus_tsdb_{name}"), help, quantiles)
        };
        let histogram = |name: &str, help: &str, options: HistogramOptions| {
            r.histogram(&format!("prometheus_tsdb_{name}"), help, options)
        };
        let durations = exponential(1.0, 2.0, 14).with_native(1.1);
        // Known under these names; what they count does not happen here yet.
        counter(
            "selected_series_compactions_triggered_total",
            "Total number of compactions triggered for an explicit caller-provided list of series references.",
        );
        counter(
            "selected_series_compactions_failed_total",
            "Total number of compactions triggered for an explicit caller-provided list of series references that failed.",
        );
        histogram(
            "selected_series_compaction_duration_seconds",
            "Duration of compactions triggered for an explicit caller-provided list of series references.",
            durations.clone(),
        );
        Instruments {
            stale_compactions: counter(
                "stale_series_compactions_triggered_total",
                "Total number of triggered stale series compactions.",
            ),
            stale_compactions_failed: counter(
                "stale_series_compactions_failed_total",
                "Total number of stale series compactions that failed.",
            ),
            stale_compaction_duration: histogram(
                "stale_series_compaction_duration_seconds",
                "Duration of stale series compaction runs.",
                durations.clone(),
            ),
            snapshot_replay_errors: counter(
                "snapshot_replay_error_total",
                "Total number snapshot replays that failed.",
            ),
            clean_start: gauge(
                "clean_start",
                "-1: lockfile is disabled. 0: a lockfile from a previous execution was replaced. 1: lockfile creation was clean",
            ),
            data_replay_seconds: gauge(
                "data_replay_duration_seconds",
                "Time taken to replay the data on disk.",
            ),
            compactions: counter(
                "compactions_total",
                "Total number of compactions that were executed for the partition.",
            ),
            compactions_failed: counter(
                "compactions_failed_total",
                "Total number of compactions that failed for the partition.",
            ),
            compactions_triggered: counter(
                "compactions_triggered_total",
                "Total number of triggered compactions for the partition.",
            ),
            compactions_skipped: counter(
                "compactions_skipped_total",
                "Total number of skipped compactions due to disabled auto compaction.",
            ),
            vertical_compactions: counter(
                "vertical_compactions_total",
                "Total number of compactions done on overlapping blocks.",
            ),
            compaction_populating: gauge(
                "compaction_populating_block",
                "Set to 1 when a block is currently being written to the disk.",
            ),
            compaction_duration: histogram(
                "compaction_duration_seconds",
                "Duration of compaction runs",
                durations,
            ),
            compaction_chunk_size: histogram(
                "compaction_chunk_size_bytes",
                "Final size of chunks on their first compaction",
                exponential(32.0, 1.5, 12),
            ),
            compaction_chunk_samples: histogram(
                "compaction_chunk_samples",
                "Final number of samples on their first compaction",
                exponential(4.0, 1.5, 12),
            ),
            compaction_chunk_range: histogram(
                "compaction_chunk_range_seconds",
                "Final time range of chunks on their first compaction",
                exponential(100.0, 4.0, 10),
            ),
            reloads: counter("reloads_total", "Number of times the database reloaded block data from disk."),
            reloads_failed: counter(
                "reloads_failures_total",
                "Number of times the database failed to reloadBlocks block data from disk.",
            ),
            checkpoints: counter(
                "checkpoint_creations_total",
                "Total number of checkpoint creations attempted.",
            ),
            checkpoints_failed: counter(
                "checkpoint_creations_failed_total",
                "Total number of checkpoint creations that failed.",
            ),
            checkpoint_deletions: counter(
                "checkpoint_deletions_total",
                "Total number of checkpoint deletions attempted.",
            ),
            checkpoint_deletions_failed: counter(
                "checkpoint_deletions_failed_total",
                "Total number of checkpoint deletions that failed.",
            ),
            head_truncations: counter(
                "head_truncations_total",
                "Total number of head truncations attempted.",
            ),
            head_truncations_failed: counter(
                "head_truncations_failed_total",
                "Total number of head truncations that failed.",
            ),
            head_gc: summary(
                "head_gc_duration_seconds",
                "Runtime of garbage collection in the head block.",
                &[],
            ),
            time_retentions: counter(
                "time_retentions_total",
                "The number of times that blocks were deleted because the maximum time limit was exceeded.",
            ),
            size_retentions: counter(
                "size_retentions_total",
                "The number of times that blocks were deleted because the maximum number of bytes was exceeded.",
            ),
            mmap_corruptions: counter(
                "mmap_chunk_corruptions_total",
                "Total number of memory-mapped chunk corruptions.",
            ),
            tombstone_cleanup: histogram(
                "tombstone_cleanup_seconds",
                "The time taken to recompact blocks to remove tombstones.",
                HistogramOptions::classic(&[]).with_native(1.1),
            ),
            ooo_delta: histogram(
                "sample_ooo_delta",
                "Delta in seconds by which a sample is considered out of order (reported regardless of OOO time window and whether sample is accepted or not).",
                HistogramOptions::classic(&[600.0, 1800.0, 3600.0, 7200.0, 10800.0, 21600.0, 43200.0])
                    .with_native(1.1),
            ),
            wal_fsync: summary("wal_fsync_duration_seconds", "Duration of write log fsync.", QUANTILES),
            wal_truncate: summary("wal_truncate_duration_seconds", "Duration of WAL truncation.", &[]),
            wal_truncations: counter(
                "wal_truncations_total",
                "Total number of write log truncations attempted.",
            ),
            wal_truncations_failed: counter(
                "wal_truncations_failed_total",
                "Total number of write log truncations that failed.",
            ),
            wal_corruptions: counter("wal_corruptions_total", "Total number of WAL corruptions."),
            wbl_fsync: summary(
                "out_of_order_wbl_fsync_duration_seconds",
                "Duration of write log fsync.",
                QUANTILES,
            ),
            reader_corruptions: r.counter_vec(
                "prometheus_tsdb_wal_reader_corruption_errors_total",
                "Errors encountered when reading the WAL.",
                &["error"],
            ),
            wbl_truncations: counter(
                "out_of_order_wbl_truncations_total",
                "Total number of write log truncations attempted.",
            ),
            wbl_truncations_failed: counter(
                "out_of_order_wbl_truncations_failed_total",
                "Total number of write log truncations that failed.",
            ),
            unknown_refs: r.counter_vec(
                "prometheus_tsdb_wal_replay_unknown_refs_total",
                "Total number of unknown series references encountered during WAL replay.",
                &["type"],
            ),
            late_unknown_refs: r.counter_vec(
                "prometheus_tsdb_wbl_replay_unknown_refs_total",
                "Total number of unknown series references encountered during WBL replay.",
                &["type"],
            ),
        }
    }
}

fn of(store: &Weak<Store>, value: impl Fn(&Store) -> f64) -> f64 {
    store.upgrade().map_or(0.0, |store| value(&store))
}

fn load(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

fn load_signed(counter: &AtomicI64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

/// Registers what is computed when asked.
pub(crate) fn register(store: &Arc<Store>, registry: &Registry) {
    let gauge = |name: &str, help: &str, value: fn(&Store) -> f64| {
        let store = Arc::downgrade(store);
        registry.gauge_fn(&format!("prometheus_tsdb_{name}"), help, move || of(&store, value));
    };
    let counter = |name: &str, help: &str, value: fn(&Store) -> f64| {
        let store = Arc::downgrade(store);
        registry.counter_fn(&format!("prometheus_tsdb_{name}"), help, move || of(&store, value));
    };
    let typed = |name: &str, help: &str, value: fn(&Store) -> (f64, f64)| {
        let store = Arc::downgrade(store);
        let (name, help) = (format!("prometheus_tsdb_{name}"), help.to_owned());
        registry.register_fn(move |families| {
            let Some(store) = store.upgrade() else { return };
            let (floats, histograms) = value(&store);
            let metric = |kind: &str, value: f64| Metric {
                labels: vec![("type".to_owned(), kind.to_owned())],
                value: MetricValue::Single(value),
            };
            families.push(Family {
                name: name.clone(),
                help: help.clone(),
                metric_type: MetricType::Counter,
                metrics: vec![metric("float", floats), metric("histogram", histograms)],
            });
        });
    };
    head_gauges(&gauge);
    head_counters(&counter, &typed);
    log_metrics(store, registry);
}

type Single<'a> = &'a dyn Fn(&str, &str, fn(&Store) -> f64);
type Typed<'a> = &'a dyn Fn(&str, &str, fn(&Store) -> (f64, f64));

fn seconds(ms: i64) -> f64 {
    (ms / 1000) as f64
}

fn head_gauges(gauge: Single<'_>) {
    gauge("head_series", "Total number of series in the head block.", |s| load(&s.head.counts.series));
    gauge("head_stale_series", "Total number of stale series in the head block.", |s| {
        load_signed(&s.head.counts.stale_series)
    });
    gauge(
        "head_native_histogram_series",
        "Number of series whose most recent in-order sample is a native histogram.",
        |s| load(&s.head.counts.histogram_series),
    );
    gauge(
        "head_native_histogram_buckets",
        "Number of positive and negative bucket entries in the most recent in-order native histogram sample of each series, including entries carried by staleness markers.",
        |s| load(&s.head.counts.histogram_buckets),
    );
    gauge("head_chunks", "Total number of chunks in the head block.", |s| load_signed(&s.head.counts.chunks));
    gauge(
        "head_min_time",
        "Minimum time bound of the head block. The unit is decided by the library consumer.",
        |s| s.head.times.min() as f64,
    );
    gauge("head_min_time_seconds", "Minimum time bound of the head block.", |s| seconds(s.head.times.min()));
    gauge(
        "head_max_time",
        "Maximum timestamp of the head block. The unit is decided by the library consumer.",
        |s| s.head.times.max() as f64,
    );
    gauge("head_max_time_seconds", "Maximum timestamp of the head block.", |s| seconds(s.head.times.max()));
    gauge("head_active_appenders", "Number of currently active appender transactions", |s| {
        s.head.isolation.active_appenders() as f64
    });
    gauge("head_chunks_storage_size_bytes", "Size of the chunks_head directory.", |s| {
        s.chunks.disk_bytes().unwrap_or(0) as f64
    });
    gauge("isolation_low_watermark", "The lowest TSDB append ID that is still referenced.", |s| {
        s.head.isolation.oldest_reader().min(s.head.isolation.published()) as f64
    });
    gauge("isolation_high_watermark", "The highest TSDB append ID that has been given out.", |s| {
        s.head.isolation.published() as f64
    });
    gauge(
        "lowest_timestamp",
        "Lowest timestamp value stored in the database. The unit is decided by the library consumer.",
        |s| s.start_time_ms() as f64,
    );
    gauge("lowest_timestamp_seconds", "Lowest timestamp value stored in the database.", |s| {
        seconds(s.start_time_ms())
    });
    gauge("exemplar_exemplars_in_storage", "Number of exemplars currently in circular storage.", |s| {
        s.exemplars.stats().stored as f64
    });
    gauge(
        "exemplar_series_with_exemplars_in_storage",
        "Number of series with exemplars currently in circular storage.",
        |s| s.exemplars.stats().series as f64,
    );
    gauge(
        "exemplar_max_exemplars",
        "Total number of exemplars the exemplar storage can store, resizeable.",
        |s| s.exemplars.stats().capacity as f64,
    );
    gauge(
        "exemplar_last_exemplars_timestamp_seconds",
        "The timestamp of the oldest exemplar stored in circular storage. Useful to check for what timerange the current exemplar buffer limit allows. This usually means the last timestampfor all exemplars for a typical setup. This is not true though if one of the series timestamp is in future compared to rest series.",
        |s| s.exemplars.oldest_ms().map_or(0.0, |ms| ms as f64 / 1000.0),
    );
    gauge("blocks_loaded", "Number of currently loaded data blocks", |s| s.blocks.load().len() as f64);
    gauge(
        "storage_blocks_bytes",
        "The number of bytes that are currently used for local storage by all blocks.",
        |s| s.blocks_bytes() as f64,
    );
    gauge("symbol_table_size_bytes", "Size of symbol table in memory for loaded blocks", |s| {
        s.block_index_bytes() as f64
    });
    gauge("retention_limit_seconds", "How long to retain samples in storage.", |s| {
        s.runtime.lock().retention_time.map_or(0.0, |time| time.as_secs_f64())
    });
    gauge(
        "retention_limit_bytes",
        "Max number of bytes to be retained in the tsdb blocks, configured 0 means disabled",
        |s| s.runtime.lock().retention_bytes.unwrap_or(0) as f64,
    );
    gauge(
        "retention_limit_percentage",
        "Max percentage of total storage space to be retained in the tsdb blocks, configured 0 means disabled",
        |s| s.runtime.lock().retention_percentage.unwrap_or(0.0),
    );
}

fn head_counters(counter: Single<'_>, typed: Typed<'_>) {
    counter("head_series_created_total", "Total number of series created in the head", |s| {
        load(&s.head.counts.series_created)
    });
    counter("head_series_removed_total", "Total number of series removed in the head", |s| {
        load(&s.head.counts.series_removed)
    });
    counter("head_series_not_found_total", "Total number of requests for series that were not found.", |s| {
        load(&s.head.counts.series_not_found)
    });
    counter("head_chunks_created_total", "Total number of chunks created in the head", |s| {
        load(&s.head.counts.chunks_created)
    });
    counter("head_chunks_removed_total", "Total number of chunks removed in the head", |s| {
        load(&s.head.counts.chunks_removed)
    });
    counter("head_appenders_created_total", "Total number of appender transactions created.", |s| {
        load(&s.head.counts.appenders_created)
    });
    counter("mmap_chunks_total", "Total number of chunks that were memory-mapped.", |s| {
        load(&s.head.counts.mmap_chunks)
    });
    counter("exemplar_exemplars_appended_total", "Total number of appended exemplars.", |s| {
        s.exemplars.stats().appended as f64
    });
    counter(
        "exemplar_out_of_order_exemplars_total",
        "Total number of out of order exemplar ingestion failed attempts.",
        |s| s.exemplars.stats().out_of_order as f64,
    );
    typed("head_samples_appended_total", "Total number of appended samples.", |s| {
        (load(&s.head.counts.floats_appended), load(&s.head.counts.histograms_appended))
    });
    typed(
        "head_out_of_order_samples_appended_total",
        "Total number of appended out of order samples.",
        |s| (load(&s.head.counts.ooo_floats_appended), load(&s.head.counts.ooo_histograms_appended)),
    );
    typed(
        "out_of_bound_samples_total",
        "Total number of out of bound samples ingestion failed attempts with out of order support disabled.",
        |s| (load(&s.head.counts.floats_out_of_bounds), load(&s.head.counts.histograms_out_of_bounds)),
    );
    typed(
        "out_of_order_samples_total",
        "Total number of out of order samples ingestion failed attempts due to out of order being disabled.",
        |s| (load(&s.head.counts.floats_out_of_order), load(&s.head.counts.histograms_out_of_order)),
    );
    typed(
        "too_old_samples_total",
        "Total number of out of order samples ingestion failed attempts with out of support enabled, but sample outside of time window.",
        |s| (load(&s.head.counts.floats_too_old), load(&s.head.counts.histograms_too_old)),
    );
}

/// Registers what both logs tell, each under its own names.
fn log_metrics(store: &Arc<Store>, registry: &Registry) {
    one_log(store, registry, "wal", "wal", |store| store.wal.get().map(|log| &**log));
    one_log(store, registry, "out_of_order_wbl", "wbl", |store| store.wbl.get().map(|log| &**log));
    let own = |name: &str, help: &str, is_counter: bool, value: fn(&Log) -> &AtomicU64| {
        let store = Arc::downgrade(store);
        let sum = move |store: &Store| -> f64 {
            [store.wal.get(), store.wbl.get()].into_iter().flatten().map(|log| load(value(log))).sum()
        };
        let (name, value) = (format!("narthex_log_{name}"), move || of(&store, sum));
        if is_counter {
            registry.counter_fn(&name, help, value);
        } else {
            registry.gauge_fn(&name, help, value);
        }
    };
    own(
        "waiting_samples",
        "Samples in memory that are not durable, as a log cannot be written; late ones count once a log.",
        false,
        |log| &log.waiting_samples,
    );
    own("waiting_bytes", "Bytes of log records in memory that wait to be written.", false, |log| {
        &log.waiting_bytes
    });
    own(
        "delayed_samples_total",
        "Samples that were stored in memory before they could be logged.",
        true,
        |log| &log.delayed_samples,
    );
    own("fsyncs_failed_total", "Syncs of the log that failed.", true, |log| &log.syncs_failed);
}

fn one_log(
    store: &Arc<Store>,
    registry: &Registry,
    name: &'static str,
    dir: &'static str,
    log: fn(&Store) -> Option<&Log>,
) {
    let gauge = |metric: &str, help: &str, value: fn(&Log) -> f64, absent: f64| {
        let store = Arc::downgrade(store);
        registry.gauge_fn(&format!("prometheus_tsdb_{name}_{metric}"), help, move || {
            of(&store, |store| log(store).map_or(absent, value))
        });
    };
    let counter = |metric: &str, help: &str, value: fn(&Log) -> f64| {
        let store = Arc::downgrade(store);
        registry.counter_fn(&format!("prometheus_tsdb_{name}_{metric}"), help, move || {
            of(&store, |store| log(store).map_or(0.0, value))
        });
    };
    let segment = |log: &Log| log.lock().segment() as f64;
    gauge("segment_current", "Write log segment index that TSDB is currently writing to.", segment, -1.0);
    counter("writes_failed_total", "Total number of write log writes that failed.", |log| {
        load(&log.writes_failed)
    });
    counter("page_flushes_total", "Total number of page flushes.", |log| load(&log.writes));
    counter("completed_pages_total", "Total number of completed pages.", |log| {
        log.lock().written().pages as f64
    });
    counter("record_part_writes_total", "Total number of record parts written before flushing.", |log| {
        log.lock().written().parts as f64
    });
    counter(
        "record_parts_bytes_written_total",
        "Total number of record part bytes written before flushing, including CRC and compression headers.",
        |log| log.lock().written().bytes as f64,
    );
    let weak = Arc::downgrade(store);
    registry.gauge_fn(
        &format!("prometheus_tsdb_{name}_storage_size_bytes"),
        "Size of the write log directory.",
        move || of(&weak, |store| store.dir_bytes(dir) as f64),
    );
    let weak = Arc::downgrade(store);
    registry.register_fn(move |families| {
        let Some(store) = weak.upgrade() else { return };
        let Some((compression, saved)) = log(&store).and_then(Log::saved) else { return };
        families.push(Family {
            name: format!("prometheus_tsdb_{name}_record_bytes_saved_total"),
            help: "Total number of bytes saved by the optional record compression. Use this metric to learn about the effectiveness compression."
                .to_owned(),
            metric_type: MetricType::Counter,
            metrics: vec![Metric {
                labels: vec![("compression".to_owned(), compression.to_owned())],
                value: MetricValue::Single(saved as f64),
            }],
        });
    });
}
