//! Own metrics: names, types, labels and quantiles of everything that exists, as
//! upstream has them; boards and alerts ask for exactly these.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test of the whole process")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use Kind::{Counter, Gauge, Histogram, Native, Summary};
use serde_json::Value;
use support::Server;
use testkit::http;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Summary,
    Histogram,
    /// A histogram with a native form beside its classic one.
    Native,
}

/// Name, type, labels, quantiles: what a server shows that scrapes itself.
#[rustfmt::skip]
const METRICS: &[(&str, Kind, &[&str], &[&str])] = &[
    ("net_conntrack_dialer_conn_attempted_total", Counter, &["dialer_name"], &[]),
    ("net_conntrack_dialer_conn_closed_total", Counter, &["dialer_name"], &[]),
    ("net_conntrack_dialer_conn_established_total", Counter, &["dialer_name"], &[]),
    ("net_conntrack_dialer_conn_failed_total", Counter, &["dialer_name", "reason"], &[]),
    ("net_conntrack_listener_conn_accepted_total", Counter, &["listener_name"], &[]),
    ("net_conntrack_listener_conn_closed_total", Counter, &["listener_name"], &[]),
    ("process_cpu_seconds_total", Counter, &[], &[]),
    ("process_max_fds", Gauge, &[], &[]),
    ("process_network_receive_bytes_total", Counter, &[], &[]),
    ("process_network_transmit_bytes_total", Counter, &[], &[]),
    ("process_open_fds", Gauge, &[], &[]),
    ("process_resident_memory_bytes", Gauge, &[], &[]),
    ("process_start_time_seconds", Gauge, &[], &[]),
    ("process_virtual_memory_bytes", Gauge, &[], &[]),
    ("process_virtual_memory_max_bytes", Gauge, &[], &[]),
    ("prometheus_api_notification_active_subscribers", Gauge, &[], &[]),
    ("prometheus_api_notification_updates_dropped_total", Counter, &[], &[]),
    ("prometheus_api_notification_updates_sent_total", Counter, &[], &[]),
    ("prometheus_api_remote_write_invalid_labels_samples_total", Counter, &[], &[]),
    ("prometheus_api_remote_write_without_metadata_appended_samples_total", Counter, &[], &[]),
    ("prometheus_build_info", Gauge, &["branch", "goarch", "goos", "goversion", "revision", "tags", "version"], &[]),
    ("prometheus_config_last_reload_success_timestamp_seconds", Gauge, &[], &[]),
    ("prometheus_config_last_reload_successful", Gauge, &[], &[]),
    ("prometheus_engine_queries", Gauge, &[], &[]),
    ("prometheus_engine_queries_concurrent_max", Gauge, &[], &[]),
    ("prometheus_engine_query_duration_histogram_seconds", Native, &["slice"], &[]),
    ("prometheus_engine_query_duration_seconds", Summary, &["slice"], &["0.5", "0.9", "0.99"]),
    ("prometheus_engine_query_log_enabled", Gauge, &[], &[]),
    ("prometheus_engine_query_log_failures_total", Counter, &[], &[]),
    ("prometheus_engine_query_samples_read_total", Counter, &[], &[]),
    ("prometheus_engine_query_samples_total", Counter, &[], &[]),
    ("prometheus_http_request_duration_seconds", Native, &["handler"], &[]),
    ("prometheus_http_requests_total", Counter, &["code", "handler"], &[]),
    ("prometheus_http_response_size_bytes", Histogram, &["handler"], &[]),
    ("prometheus_ready", Gauge, &[], &[]),
    ("prometheus_sd_azure_cache_hit_total", Counter, &[], &[]),
    ("prometheus_sd_azure_failures_total", Counter, &[], &[]),
    ("prometheus_sd_consul_rpc_duration_seconds", Summary, &["call", "endpoint"], &["0.5", "0.9", "0.99"]),
    ("prometheus_sd_consul_rpc_failures_total", Counter, &[], &[]),
    ("prometheus_sd_discovered_targets", Gauge, &["config", "name"], &[]),
    ("prometheus_sd_dns_lookup_failures_total", Counter, &[], &[]),
    ("prometheus_sd_dns_lookups_total", Counter, &[], &[]),
    ("prometheus_sd_failed_configs", Gauge, &["name"], &[]),
    ("prometheus_sd_file_read_errors_total", Counter, &[], &[]),
    ("prometheus_sd_file_scan_duration_seconds", Summary, &[], &["0.5", "0.9", "0.99"]),
    ("prometheus_sd_file_watcher_errors_total", Counter, &[], &[]),
    ("prometheus_sd_http_failures_total", Counter, &[], &[]),
    ("prometheus_sd_kubernetes_events_total", Counter, &["event", "role"], &[]),
    ("prometheus_sd_kubernetes_failures_total", Counter, &[], &[]),
    ("prometheus_sd_last_update_timestamp_seconds", Gauge, &["config", "name"], &[]),
    ("prometheus_sd_linode_failures_total", Counter, &[], &[]),
    ("prometheus_sd_nomad_failures_total", Counter, &[], &[]),
    ("prometheus_sd_received_updates_total", Counter, &["name"], &[]),
    ("prometheus_sd_updates_delayed_total", Counter, &["name"], &[]),
    ("prometheus_sd_updates_total", Counter, &["name"], &[]),
    ("prometheus_target_interval_length_histogram_seconds", Native, &["interval"], &[]),
    ("prometheus_target_interval_length_seconds", Summary, &["interval"], &["0.01", "0.05", "0.5", "0.9", "0.99"]),
    ("prometheus_target_metadata_cache_bytes", Gauge, &["scrape_job"], &[]),
    ("prometheus_target_metadata_cache_entries", Gauge, &["scrape_job"], &[]),
    ("prometheus_target_scrape_duration_seconds", Native, &[], &[]),
    ("prometheus_target_scrape_pool_exceeded_label_limits_total", Counter, &[], &[]),
    ("prometheus_target_scrape_pool_exceeded_target_limit_total", Counter, &[], &[]),
    ("prometheus_target_scrape_pool_reloads_failed_total", Counter, &[], &[]),
    ("prometheus_target_scrape_pool_reloads_total", Counter, &[], &[]),
    ("prometheus_target_scrape_pool_symboltable_items", Gauge, &["scrape_job"], &[]),
    ("prometheus_target_scrape_pool_sync_total", Counter, &["scrape_job"], &[]),
    ("prometheus_target_scrape_pool_target_limit", Gauge, &["scrape_job"], &[]),
    ("prometheus_target_scrape_pool_targets", Gauge, &["scrape_job"], &[]),
    ("prometheus_target_scrape_pools_failed_total", Counter, &[], &[]),
    ("prometheus_target_scrape_pools_total", Counter, &[], &[]),
    ("prometheus_target_scrapes_cache_flush_forced_total", Counter, &[], &[]),
    ("prometheus_target_scrapes_exceeded_body_size_limit_total", Counter, &[], &[]),
    ("prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total", Counter, &[], &[]),
    ("prometheus_target_scrapes_exceeded_sample_limit_total", Counter, &[], &[]),
    ("prometheus_target_scrapes_exemplar_out_of_order_total", Counter, &[], &[]),
    ("prometheus_target_scrapes_sample_duplicate_timestamp_total", Counter, &[], &[]),
    ("prometheus_target_scrapes_sample_out_of_bounds_total", Counter, &[], &[]),
    ("prometheus_target_scrapes_sample_out_of_order_total", Counter, &[], &[]),
    ("prometheus_target_sync_failed_total", Counter, &["scrape_job"], &[]),
    ("prometheus_target_sync_length_histogram_seconds", Native, &["scrape_job"], &[]),
    ("prometheus_target_sync_length_seconds", Summary, &["scrape_job"], &["0.01", "0.05", "0.5", "0.9", "0.99"]),
    ("prometheus_tsdb_blocks_loaded", Gauge, &[], &[]),
    ("prometheus_tsdb_checkpoint_creations_failed_total", Counter, &[], &[]),
    ("prometheus_tsdb_checkpoint_creations_total", Counter, &[], &[]),
    ("prometheus_tsdb_checkpoint_deletions_failed_total", Counter, &[], &[]),
    ("prometheus_tsdb_checkpoint_deletions_total", Counter, &[], &[]),
    ("prometheus_tsdb_clean_start", Gauge, &[], &[]),
    ("prometheus_tsdb_compaction_chunk_range_seconds", Histogram, &[], &[]),
    ("prometheus_tsdb_compaction_chunk_samples", Histogram, &[], &[]),
    ("prometheus_tsdb_compaction_chunk_size_bytes", Histogram, &[], &[]),
    ("prometheus_tsdb_compaction_duration_seconds", Native, &[], &[]),
    ("prometheus_tsdb_compaction_populating_block", Gauge, &[], &[]),
    ("prometheus_tsdb_compactions_failed_total", Counter, &[], &[]),
    ("prometheus_tsdb_compactions_skipped_total", Counter, &[], &[]),
    ("prometheus_tsdb_compactions_total", Counter, &[], &[]),
    ("prometheus_tsdb_compactions_triggered_total", Counter, &[], &[]),
    ("prometheus_tsdb_data_replay_duration_seconds", Gauge, &[], &[]),
    ("prometheus_tsdb_exemplar_exemplars_appended_total", Counter, &[], &[]),
    ("prometheus_tsdb_exemplar_exemplars_in_storage", Gauge, &[], &[]),
    ("prometheus_tsdb_exemplar_last_exemplars_timestamp_seconds", Gauge, &[], &[]),
    ("prometheus_tsdb_exemplar_max_exemplars", Gauge, &[], &[]),
    ("prometheus_tsdb_exemplar_out_of_order_exemplars_total", Counter, &[], &[]),
    ("prometheus_tsdb_exemplar_series_with_exemplars_in_storage", Gauge, &[], &[]),
    ("prometheus_tsdb_head_active_appenders", Gauge, &[], &[]),
    ("prometheus_tsdb_head_appenders_created_total", Counter, &[], &[]),
    ("prometheus_tsdb_head_chunks", Gauge, &[], &[]),
    ("prometheus_tsdb_head_chunks_created_total", Counter, &[], &[]),
    ("prometheus_tsdb_head_chunks_removed_total", Counter, &[], &[]),
    ("prometheus_tsdb_head_chunks_storage_size_bytes", Gauge, &[], &[]),
    ("prometheus_tsdb_head_gc_duration_seconds", Summary, &[], &[]),
    ("prometheus_tsdb_head_max_time", Gauge, &[], &[]),
    ("prometheus_tsdb_head_max_time_seconds", Gauge, &[], &[]),
    ("prometheus_tsdb_head_min_time", Gauge, &[], &[]),
    ("prometheus_tsdb_head_min_time_seconds", Gauge, &[], &[]),
    ("prometheus_tsdb_head_native_histogram_buckets", Gauge, &[], &[]),
    ("prometheus_tsdb_head_native_histogram_series", Gauge, &[], &[]),
    ("prometheus_tsdb_head_out_of_order_samples_appended_total", Counter, &["type"], &[]),
    ("prometheus_tsdb_head_samples_appended_total", Counter, &["type"], &[]),
    ("prometheus_tsdb_head_series", Gauge, &[], &[]),
    ("prometheus_tsdb_head_series_created_total", Counter, &[], &[]),
    ("prometheus_tsdb_head_series_not_found_total", Counter, &[], &[]),
    ("prometheus_tsdb_head_series_removed_total", Counter, &[], &[]),
    ("prometheus_tsdb_head_stale_series", Gauge, &[], &[]),
    ("prometheus_tsdb_head_truncations_failed_total", Counter, &[], &[]),
    ("prometheus_tsdb_head_truncations_total", Counter, &[], &[]),
    ("prometheus_tsdb_isolation_high_watermark", Gauge, &[], &[]),
    ("prometheus_tsdb_isolation_low_watermark", Gauge, &[], &[]),
    ("prometheus_tsdb_lowest_timestamp", Gauge, &[], &[]),
    ("prometheus_tsdb_lowest_timestamp_seconds", Gauge, &[], &[]),
    ("prometheus_tsdb_mmap_chunk_corruptions_total", Counter, &[], &[]),
    ("prometheus_tsdb_mmap_chunks_total", Counter, &[], &[]),
    ("prometheus_tsdb_out_of_bound_samples_total", Counter, &["type"], &[]),
    ("prometheus_tsdb_out_of_order_samples_total", Counter, &["type"], &[]),
    ("prometheus_tsdb_reloads_failures_total", Counter, &[], &[]),
    ("prometheus_tsdb_reloads_total", Counter, &[], &[]),
    ("prometheus_tsdb_retention_limit_bytes", Gauge, &[], &[]),
    ("prometheus_tsdb_retention_limit_percentage", Gauge, &[], &[]),
    ("prometheus_tsdb_retention_limit_seconds", Gauge, &[], &[]),
    ("prometheus_tsdb_sample_ooo_delta", Native, &[], &[]),
    ("prometheus_tsdb_selected_series_compaction_duration_seconds", Native, &[], &[]),
    ("prometheus_tsdb_selected_series_compactions_failed_total", Counter, &[], &[]),
    ("prometheus_tsdb_selected_series_compactions_triggered_total", Counter, &[], &[]),
    ("prometheus_tsdb_size_retentions_total", Counter, &[], &[]),
    ("prometheus_tsdb_snapshot_replay_error_total", Counter, &[], &[]),
    ("prometheus_tsdb_stale_series_compaction_duration_seconds", Native, &[], &[]),
    ("prometheus_tsdb_stale_series_compactions_failed_total", Counter, &[], &[]),
    ("prometheus_tsdb_stale_series_compactions_triggered_total", Counter, &[], &[]),
    ("prometheus_tsdb_storage_blocks_bytes", Gauge, &[], &[]),
    ("prometheus_tsdb_symbol_table_size_bytes", Gauge, &[], &[]),
    ("prometheus_tsdb_time_retentions_total", Counter, &[], &[]),
    ("prometheus_tsdb_tombstone_cleanup_seconds", Native, &[], &[]),
    ("prometheus_tsdb_too_old_samples_total", Counter, &["type"], &[]),
    ("prometheus_tsdb_vertical_compactions_total", Counter, &[], &[]),
    ("prometheus_tsdb_wal_corruptions_total", Counter, &[], &[]),
    ("prometheus_tsdb_wal_fsync_duration_seconds", Summary, &[], &["0.5", "0.9", "0.99"]),
    ("prometheus_tsdb_wal_page_flushes_total", Counter, &[], &[]),
    ("prometheus_tsdb_wal_record_parts_bytes_written_total", Counter, &[], &[]),
    ("prometheus_tsdb_wal_segment_current", Gauge, &[], &[]),
    ("prometheus_tsdb_wal_storage_size_bytes", Gauge, &[], &[]),
    ("prometheus_tsdb_wal_truncate_duration_seconds", Summary, &[], &[]),
    ("prometheus_tsdb_wal_truncations_failed_total", Counter, &[], &[]),
    ("prometheus_tsdb_wal_truncations_total", Counter, &[], &[]),
    ("prometheus_tsdb_wal_writes_failed_total", Counter, &[], &[]),
    ("prometheus_web_federation_errors_total", Counter, &[], &[]),
    ("prometheus_web_federation_warnings_total", Counter, &[], &[]),
    ("promhttp_metric_handler_requests_in_flight", Gauge, &[], &[]),
    ("promhttp_metric_handler_requests_total", Counter, &["code"], &[]),
];

/// What a self-scraping server shows, by name.
fn shown(port: u16) -> BTreeMap<String, Value> {
    let (status, body) = http::get(port, "/api/v1/status/self_metrics").unwrap();
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let families = answer["data"].as_array().unwrap().iter();
    families.map(|family| (family["name"].as_str().unwrap().to_owned(), family.clone())).collect()
}

fn set<'a>(values: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    values.collect()
}

#[test]
fn every_metric_has_upstreams_name_type_labels_and_quantiles() {
    let dir = tempfile::tempdir().unwrap();
    let port = http::free_port();
    let config = format!(
        "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\nscrape_configs:\n  - job_name: self\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    );
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let flags =
        ["--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage", "--log.level=error"];
    let _server = Server::start(dir.path(), port, &flags);
    // The second scrape is the first that knows how long the pause was.
    Server::until("it scrapes itself", || {
        let (_, page) = http::get(port, "/metrics").unwrap();
        page.contains("prometheus_target_interval_length_seconds{")
    });
    let families = shown(port);
    let mut faults = Vec::new();
    for (name, kind, labels, quantiles) in METRICS {
        let Some(family) = families.get(*name) else {
            faults.push(format!("{name} is missing"));
            continue;
        };
        let metrics: Vec<&Value> = family["metric"].as_array().unwrap().iter().collect();
        let names = |metric: &&Value| -> Vec<String> {
            let labels = metric["label"].as_array().cloned().unwrap_or_default();
            labels.iter().map(|label| label["name"].as_str().unwrap().to_owned()).collect()
        };
        let have: BTreeSet<String> = metrics.iter().flat_map(names).collect();
        if set(have.iter().map(String::as_str)) != set(labels.iter().copied()) {
            faults.push(format!("{name} has the labels {have:?}, not {labels:?}"));
        }
        let wanted = match kind {
            Counter => "COUNTER",
            Gauge => "GAUGE",
            Summary => "SUMMARY",
            Histogram | Native => "HISTOGRAM",
        };
        if family["type"] != wanted {
            faults.push(format!("{name} is a {}, not a {wanted}", family["type"]));
        }
        let is_native = metrics.iter().any(|metric| metric["histogram"].get("schema").is_some());
        if is_native != (*kind == Native) {
            faults.push(format!("{name}: native form: {is_native}"));
        }
        for metric in &metrics {
            let have: Vec<String> = metric["summary"]["quantile"]
                .as_array()
                .map(|all| {
                    all.iter().map(|q| q["quantile"].to_string().trim_matches('"').to_owned()).collect()
                })
                .unwrap_or_default();
            if have != **quantiles {
                faults.push(format!("{name} has the quantiles {have:?}, not {quantiles:?}"));
            }
        }
    }
    println!(
        "own metrics: {} of {} as upstream's",
        METRICS.len() - faults.len().min(METRICS.len()),
        METRICS.len()
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    // The same families in every format.
    let names: BTreeSet<&str> = METRICS.iter().map(|(name, ..)| *name).collect();
    let page = |accept: &str| http::request(port, "GET", "/metrics", &[accept], b"").unwrap();
    let (_, _, text) = page("Accept: text/plain;version=0.0.4");
    let (_, head, open) = page("Accept: application/openmetrics-text;version=1.0.0");
    assert!(head.to_lowercase().contains("content-type: application/openmetrics-text"), "{head}");
    assert!(open.ends_with("# EOF\n"));
    let (_, head, proto) = page(
        "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    );
    assert!(head.to_lowercase().contains("content-type: application/vnd.google.protobuf"), "{head}");
    for name in names {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} in the text format");
        let open_name = name.strip_suffix("_total").unwrap_or(name);
        assert!(open.contains(&format!("# TYPE {open_name} ")), "{name} in OpenMetrics");
        assert!(proto.contains(name), "{name} in protobuf");
    }
}
