//! `prometheus_sd_*`: what discovery has found and how it went.

use model::metrics::{Counter, Gauge, HistogramMetric, HistogramOptions, Registry, Summary, Vector};

/// Instruments of all mechanisms and of the manager, upstream's names.
pub struct DiscoveryMetrics {
    pub(crate) discovered_targets: Vector<Gauge>,
    pub(crate) failed_configs: Vector<Gauge>,
    pub(crate) received_updates: Vector<Counter>,
    pub(crate) updates: Vector<Counter>,
    pub(crate) delayed_updates: Vector<Counter>,
    pub(crate) last_update: Vector<Gauge>,
    pub(crate) refresh_failures: Vector<Counter>,
    pub(crate) refresh_duration: Vector<Summary>,
    pub(crate) refresh_duration_histogram: Vector<HistogramMetric>,
    pub(crate) file_read_errors: Counter,
    pub(crate) file_scan_duration: Summary,
    pub(crate) file_watcher_errors: Counter,
    pub(crate) file_mtime: Vector<Gauge>,
    pub(crate) dns_lookups: Counter,
    pub(crate) dns_lookup_failures: Counter,
    pub(crate) http_failures: Counter,
    pub(crate) kubernetes_events: Vector<Counter>,
    pub(crate) kubernetes_failures: Counter,
    pub(crate) kubernetes_requests: Vector<Counter>,
    pub(crate) kubernetes_request_duration: Vector<Summary>,
    pub(crate) queue_depth: Vector<Gauge>,
    pub(crate) queue_items: Vector<Counter>,
    pub(crate) queue_latency: Vector<Summary>,
    pub(crate) queue_unfinished: Vector<Gauge>,
    pub(crate) queue_longest_running: Vector<Gauge>,
    pub(crate) queue_work_duration: Vector<Summary>,
    pub(crate) consul_rpc_failures: Counter,
    pub(crate) consul_rpc_duration: Vector<Summary>,
    pub(crate) azure_failures: Counter,
    pub(crate) azure_cache_hits: Counter,
    pub(crate) linode_failures: Counter,
    pub(crate) nomad_failures: Counter,
    pub(crate) kuma_fetch_failures: Counter,
    pub(crate) kuma_skipped_updates: Counter,
    pub(crate) kuma_fetch_duration: Summary,
}

const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

impl DiscoveryMetrics {
    /// Forgets what a mechanism that ended had to say of its set.
    pub(crate) fn forget_refreshes(&self, mechanism: &str, set: &str) {
        self.refresh_failures.remove(&[mechanism, set]);
        self.refresh_duration.remove(&[mechanism, set]);
    }

    /// Registers the instruments.
    pub fn new(registry: &Registry) -> DiscoveryMetrics {
        let refresh = [0.01, 0.1, 1.0, 10.0];
        DiscoveryMetrics {
            discovered_targets: registry.gauge_vec(
                "prometheus_sd_discovered_targets",
                "Current number of discovered targets.",
                &["name", "config"],
            ),
            failed_configs: registry.gauge_vec(
                "prometheus_sd_failed_configs",
                "Current number of service discovery configurations that failed to load.",
                &["name"],
            ),
            received_updates: registry.counter_vec(
                "prometheus_sd_received_updates_total",
                "Total number of update events received from the SD providers.",
                &["name"],
            ),
            updates: registry.counter_vec(
                "prometheus_sd_updates_total",
                "Total number of update events sent to the SD consumers.",
                &["name"],
            ),
            delayed_updates: registry.counter_vec(
                "prometheus_sd_updates_delayed_total",
                "Total number of update events that couldn't be sent immediately.",
                &["name"],
            ),
            last_update: registry.gauge_vec(
                "prometheus_sd_last_update_timestamp_seconds",
                "Timestamp of the last update sent to the SD consumers.",
                &["name", "config"],
            ),
            refresh_failures: registry.counter_vec(
                "prometheus_sd_refresh_failures_total",
                "Number of refresh failures for the given SD mechanism.",
                &["mechanism", "config"],
            ),
            refresh_duration: registry.summary_vec(
                "prometheus_sd_refresh_duration_seconds",
                "The duration of a refresh in seconds for the given SD mechanism.",
                &["mechanism", "config"],
                &QUANTILES,
            ),
            refresh_duration_histogram: registry.histogram_vec(
                "prometheus_sd_refresh_duration_histogram_seconds",
                "The duration of a refresh for the given SD mechanism.",
                &["mechanism"],
                HistogramOptions::classic(&refresh).with_native(1.1),
            ),
            file_read_errors: registry
                .counter("prometheus_sd_file_read_errors_total", "The number of File-SD read errors."),
            file_scan_duration: registry.summary(
                "prometheus_sd_file_scan_duration_seconds",
                "The duration of the File-SD scan in seconds.",
                &QUANTILES,
            ),
            file_watcher_errors: registry.counter(
                "prometheus_sd_file_watcher_errors_total",
                "The number of File-SD errors caused by filesystem watch failures.",
            ),
            file_mtime: registry.gauge_vec(
                "prometheus_sd_file_mtime_seconds",
                "Timestamp (mtime) of files read by FileSD. Timestamp is set at read time.",
                &["filename"],
            ),
            http_failures: registry.counter(
                "prometheus_sd_http_failures_total",
                "Number of HTTP service discovery refresh failures.",
            ),
            kubernetes_events: kubernetes_events(registry),
            kubernetes_failures: registry.counter(
                "prometheus_sd_kubernetes_failures_total",
                "The number of failed WATCH/LIST requests.",
            ),
            kubernetes_requests: registry.counter_vec(
                "prometheus_sd_kubernetes_http_request_total",
                "Total number of HTTP requests to the Kubernetes API by status code.",
                &["status_code"],
            ),
            kubernetes_request_duration: registry.summary_vec(
                "prometheus_sd_kubernetes_http_request_duration_seconds",
                "Summary of latencies for HTTP requests to the Kubernetes API by endpoint.",
                &["endpoint"],
                &[],
            ),
            queue_depth: registry.gauge_vec(
                "prometheus_sd_kubernetes_workqueue_depth",
                "Current depth of the work queue.",
                &["queue_name"],
            ),
            queue_items: registry.counter_vec(
                "prometheus_sd_kubernetes_workqueue_items_total",
                "Total number of items added to the work queue.",
                &["queue_name"],
            ),
            queue_latency: registry.summary_vec(
                "prometheus_sd_kubernetes_workqueue_latency_seconds",
                "How long an item stays in the work queue.",
                &["queue_name"],
                &[],
            ),
            queue_unfinished: registry.gauge_vec(
                "prometheus_sd_kubernetes_workqueue_unfinished_work_seconds",
                "How long an item has remained unfinished in the work queue.",
                &["queue_name"],
            ),
            queue_longest_running: registry.gauge_vec(
                "prometheus_sd_kubernetes_workqueue_longest_running_processor_seconds",
                "Duration of the longest running processor in the work queue.",
                &["queue_name"],
            ),
            queue_work_duration: registry.summary_vec(
                "prometheus_sd_kubernetes_workqueue_work_duration_seconds",
                "How long processing an item from the work queue takes.",
                &["queue_name"],
                &[],
            ),
            consul_rpc_failures: registry.counter(
                "prometheus_sd_consul_rpc_failures_total",
                "The number of Consul RPC call failures.",
            ),
            consul_rpc_duration: consul_rpc_duration(registry),
            azure_failures: registry.counter(
                "prometheus_sd_azure_failures_total",
                "Number of Azure service discovery refresh failures.",
            ),
            azure_cache_hits: registry
                .counter("prometheus_sd_azure_cache_hit_total", "Number of cache hit during refresh."),
            linode_failures: registry.counter(
                "prometheus_sd_linode_failures_total",
                "Number of Linode service discovery refresh failures.",
            ),
            nomad_failures: registry.counter(
                "prometheus_sd_nomad_failures_total",
                "Number of nomad service discovery refresh failures.",
            ),
            kuma_fetch_failures: registry.counter(
                "prometheus_sd_kuma_fetch_failures_total",
                "The number of Kuma MADS fetch call failures.",
            ),
            kuma_skipped_updates: registry.counter(
                "prometheus_sd_kuma_fetch_skipped_updates_total",
                "The number of Kuma MADS fetch calls that result in no updates to the targets.",
            ),
            kuma_fetch_duration: registry.summary(
                "prometheus_sd_kuma_fetch_duration_seconds",
                "The duration of a Kuma MADS fetch call.",
                &QUANTILES,
            ),
            dns_lookups: registry.counter("prometheus_sd_dns_lookups_total", "The number of DNS-SD lookups."),
            dns_lookup_failures: registry
                .counter("prometheus_sd_dns_lookup_failures_total", "The number of DNS-SD lookup failures."),
        }
    }
}

fn kubernetes_events(registry: &Registry) -> Vector<Counter> {
    let events = registry.counter_vec(
        "prometheus_sd_kubernetes_events_total",
        "The number of Kubernetes events handled.",
        &["role", "event"],
    );
    for role in ["endpointslice", "endpoints", "node", "pod", "service", "ingress"] {
        for event in ["add", "delete", "update"] {
            events.with(&[role, event]);
        }
    }
    events
}

fn consul_rpc_duration(registry: &Registry) -> Vector<Summary> {
    let duration = registry.summary_vec(
        "prometheus_sd_consul_rpc_duration_seconds",
        "The duration of a Consul RPC call in seconds.",
        &["endpoint", "call"],
        &QUANTILES,
    );
    duration.with(&["catalog", "service"]);
    duration.with(&["catalog", "services"]);
    duration
}
