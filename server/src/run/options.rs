//! From flags and configuration to the options of each part.

use std::sync::Arc;
use std::time::Duration;

use net::server::Listener;

use super::{Failure, Server, failure, user_agent};
use crate::config_file::LoadedConfig;
use crate::settings;

impl Server {
    pub(super) fn engine_options(&self, threads: usize, loaded: &LoadedConfig) -> promql::EngineOptions {
        let flags = &self.flags;
        promql::EngineOptions {
            features: promql::Features {
                experimental_functions: flags.has_feature("promql-experimental-functions"),
                extended_range_selectors: flags.has_feature("promql-extended-range-selectors"),
                binop_fill_modifiers: flags.has_feature("promql-binop-fill-modifiers"),
                ..promql::Features::default()
            },
            max_samples: usize::try_from(flags.integer("query.max-samples")).unwrap_or(usize::MAX),
            timeout_ms: flags.duration_ms("query.timeout"),
            lookback_delta_ms: flags.duration_ms("query.lookback-delta"),
            default_subquery_interval_ms: loaded.config.global.evaluation_interval.0,
            delayed_name_removal: flags.has_feature("promql-delayed-name-removal"),
            use_start_timestamps: flags.has_feature("use-start-timestamps"),
            type_and_unit_labels: flags.has_feature("type-and-unit-labels"),
            per_step_stats: flags.has_feature("promql-per-step-stats"),
            share_parts: true,
            chains_as_lists: false,
            threads,
            memory: self.memory.clone(),
            // One query may take what is left; the account refuses before the ceiling.
            query_memory_budget: self.memory.limit(),
        }
    }

    pub(super) fn scrape_options(&self, dials: &net::Dials) -> scrape::ManagerOptions {
        let flags = &self.flags;
        let client = net::ClientOptions {
            proxies: Arc::new(self.proxies()),
            ..net::ClientOptions::new(user_agent(), self.clock.clone())
        };
        let fetchers = scrape::NetFetchFactory::new(client, self.memory.clone()).counting(dials.clone());
        let start_timestamps = flags.has_feature("created-timestamp-zero-ingestion");
        let st_storage = flags.has_feature("st-storage");
        scrape::ManagerOptions {
            append: scrape::AppendOptions {
                append_metadata: flags.has_feature("metadata-wal-records"),
                start_timestamps: start_timestamps || st_storage,
                start_timestamp_zeros: start_timestamps,
                synthesize_start_timestamps: flags.has_feature("st-synthesis"),
                type_and_unit_labels: flags.has_feature("type-and-unit-labels"),
            },
            update_interval: Duration::from_millis(
                flags.duration_ms("scrape.discovery-reload-interval").max(1).unsigned_abs(),
            ),
            align_timestamps: flags.bool("scrape.adjust-timestamps"),
            timestamp_tolerance: Duration::from_millis(
                flags.duration_ms("scrape.timestamp-tolerance").max(0).unsigned_abs(),
            ),
            host_name: self.environment.hostname.clone(),
            accountant: self.memory.clone(),
            ..scrape::ManagerOptions::new(Arc::new(fetchers))
        }
    }

    /// The proxies that `proxy_from_environment` means; lower-case names first, as Go.
    pub(super) fn proxies(&self) -> net::ProxyEnvironment {
        let variable = |name: &str| {
            let lower = self.environment.variables.get(&name.to_lowercase());
            lower.or_else(|| self.environment.variables.get(name)).cloned().unwrap_or_default()
        };
        net::ProxyEnvironment {
            http_proxy: variable("HTTP_PROXY"),
            https_proxy: variable("HTTPS_PROXY"),
            no_proxy: variable("NO_PROXY"),
        }
    }

    pub(super) fn db_options(&self, loaded: &LoadedConfig) -> Result<tsdb::DbOptions, Failure> {
        let flags = &self.flags;
        let defaults = tsdb::DbOptions::default();
        let runtime = settings::runtime_settings(flags, &loaded.config)?;
        let block_duration_ms = flags.duration_ms("storage.tsdb.min-block-duration").max(1);
        let max_block_duration_ms = settings::max_block_duration_ms(flags, &runtime);
        let segment = flags.bytes("storage.tsdb.wal-segment-size");
        if segment.is_some_and(|bytes| !(10 << 20..=256 << 20).contains(&bytes)) {
            return Err(failure(
                1,
                "flag 'storage.tsdb.wal-segment-size' must be set between 10MB and 256MB",
            ));
        }
        let chunk_segment = flags.bytes("storage.tsdb.max-block-chunk-segment-size");
        if chunk_segment.is_some_and(|bytes| bytes < 1 << 20) {
            return Err(failure(1, "flag 'storage.tsdb.max-block-chunk-segment-size' must be set over 1MB"));
        }
        let compression = match flags.bool("storage.tsdb.wal-compression") {
            false => tsdb::Compression::None,
            true if flags.text("storage.tsdb.wal-compression-type") == "zstd" => tsdb::Compression::Zstd,
            true => tsdb::Compression::Snappy,
        };
        let delay_percent = flags.integer("storage.tsdb.delayed-compaction.max-percent");
        Ok(tsdb::DbOptions {
            dir: settings::data_dir(flags),
            block_duration_ms,
            max_block_duration_ms: max_block_duration_ms.max(block_duration_ms),
            samples_per_chunk: u16::try_from(flags.integer("storage.tsdb.samples-per-chunk"))
                .unwrap_or(120)
                .max(1),
            wal_segment_bytes: segment.unwrap_or(defaults.wal_segment_bytes),
            wal_compression: compression,
            block_chunk_segment_bytes: chunk_segment.unwrap_or(defaults.block_chunk_segment_bytes),
            no_lockfile: flags.bool("storage.tsdb.no-lockfile"),
            runtime,
            exemplar_storage: flags.has_feature("exemplar-storage"),
            memory_snapshot_on_shutdown: flags.has_feature("memory-snapshot-on-shutdown"),
            replay_threads: std::thread::available_parallelism().map_or(2, usize::from),
            // What scrapes bring while the log is read takes an eighth of memory at most.
            parked_bytes_max: defaults.parked_bytes_max.min(self.memory.limit() / 8),
            fast_startup: flags.has_feature("fast-startup"),
            histogram_start_timestamps: flags.has_feature("histograms-st-encoding"),
            start_timestamp_storage: flags.has_feature("st-storage"),
            metadata_storage: flags.has_feature("metadata-wal-records"),
            delay_compact_file: match flags.text("storage.tsdb.delay-compact-file.path") {
                "" => None,
                path => Some(path.into()),
            },
            overlapping_compaction: flags.bool("storage.tsdb.allow-overlapping-compaction"),
            compaction_delay_max_percent: flags
                .has_feature("delayed-compaction")
                .then(|| u8::try_from(delay_percent).ok().filter(|p| (1..=100).contains(p)).unwrap_or(10)),
            maintenance_interval: Duration::from_millis(
                flags.duration_ms("storage.tsdb.block-reload-interval").max(1000).unsigned_abs(),
            ),
            ..defaults
        })
    }

    pub(super) fn web_options(
        &self,
        external_url: String,
        route_prefix: String,
        listeners: &[(Listener, String)],
    ) -> web::WebOptions {
        let flags = &self.flags;
        let listen_address = listeners.first().map(|(_, address)| address.clone()).unwrap_or_default();
        let count = |name| usize::try_from(flags.integer(name)).unwrap_or(0);
        web::WebOptions {
            external_url,
            route_prefix,
            listen_address,
            cors_origin: flags.text("web.cors.origin").to_owned(),
            page_title: flags.text("web.page-title").to_owned(),
            enable_lifecycle: flags.bool("web.enable-lifecycle"),
            enable_admin_api: flags.bool("web.enable-admin-api"),
            enable_remote_write_receiver: flags.bool("web.enable-remote-write-receiver"),
            enable_otlp_receiver: flags.bool("web.enable-otlp-receiver"),
            accepted_remote_write_messages: flags
                .texts("web.remote-write-receiver.accepted-protobuf-messages"),
            search_max_limit: count("web.search.max-limit"),
            query_timeout_ms: flags.duration_ms("query.timeout"),
            query_concurrency: count("query.max-concurrency"),
            lookback_delta_ms: flags.duration_ms("query.lookback-delta"),
            flags: flags.all(),
            features: flags.features(),
            build: settings::build_facts(),
            start_time_ms: self.clock.now_ms(),
            godebug: self.environment.variables.get("GODEBUG").cloned().unwrap_or_default(),
            working_directory: self.environment.working_directory.clone(),
            hostname: self.environment.hostname.clone(),
            command_line: self.environment.command_line.clone(),
            #[cfg(feature = "profile")]
            profiler: web::profiles::Handle::new(std::sync::Arc::new(crate::profile::ProcessProfiler)),
            #[cfg(not(feature = "profile"))]
            profiler: web::profiles::Handle::default(),
        }
    }
}
