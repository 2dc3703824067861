//! Loading the configuration anew: read and checked whole, then applied part by
//! part in upstream's order. What fails leaves the rest running.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::admin::TsdbAdmin as _;

use super::listen::told;
use super::{Failure, Parts, Server, failure};
use crate::config_file::LoadedConfig;
use crate::settings;

/// How long each part took; the names and their order are upstream's.
#[derive(Default)]
struct Timings {
    db_storage: Duration,
    remote_storage: Duration,
    web_handler: Duration,
    query_engine: Duration,
    scrape: Duration,
    scrape_sd: Duration,
    notify: Duration,
    notify_sd: Duration,
    rules: Duration,
    tracing: Duration,
    total: Duration,
}

/// Hands the jobs to those who scrape.
///
/// # Errors
/// What of them cannot be applied.
pub(super) async fn apply_jobs(scrape: &scrape::ScrapeManager, loaded: &LoadedConfig) -> Result<(), String> {
    let external_labels = model::Labels::from_pairs(loaded.config.global.external_labels.iter());
    let jobs = loaded.jobs.iter().cloned().map(Arc::new).collect();
    scrape.apply(jobs, &external_labels).await.map_err(|error| error.to_string())
}

/// Hands the jobs' mechanisms to those who find targets.
pub(super) fn apply_discovery(discovery: &discovery::Manager, loaded: &LoadedConfig) {
    let jobs = loaded.jobs.iter().map(|job| (job.job_name.clone(), discovery::mechanisms(&job.discovery)));
    discovery.apply(jobs.collect());
}

/// `GOGC` as upstream's runtime says it.
fn shown_gogc(gogc: i64) -> String {
    if gogc < 0 { "off".to_owned() } else { gogc.to_string() }
}

impl Server {
    /// Applies the configuration that was checked before anything was started.
    pub(super) async fn apply_first(&self, parts: &Parts, loaded: &LoadedConfig) -> Result<(), Failure> {
        let started = self.clock.monotonic();
        tracing::info!(filename = self.source.name(), "Loading configuration file");
        let timings = self.apply(parts, loaded, started).await.map_err(|error| {
            let name = model::labels::go_quote(&self.source.name()).into_owned();
            failure(1, format!("error loading config from {name}: {error}"))
        })?;
        self.say_completed(&timings);
        self.note_reload(parts, true);
        Ok(())
    }

    /// Loads the file whole and checks it, then applies it.
    ///
    /// # Errors
    /// Why not, for who asked: the log says the same without the file's lines.
    pub(super) async fn reload(&self, parts: &Parts) -> Result<(), String> {
        let started = self.clock.monotonic();
        tracing::info!(filename = self.source.name(), "Loading configuration file");
        let mut excerpts = String::new();
        let applied = match self.source.load(&self.flags, &self.environment) {
            Ok(loaded) => self.apply(parts, &loaded, started).await,
            Err(error) => {
                error.excerpts().clone_into(&mut excerpts);
                Err(error.to_string())
            }
        };
        self.note_reload(parts, applied.is_ok());
        let timings = applied.map_err(|error| {
            tracing::error!(err = error, "Error reloading config");
            if excerpts.is_empty() { error } else { format!("{error}\n\n{}", excerpts.trim_end()) }
        })?;
        self.say_completed(&timings);
        Ok(())
    }

    /// Applies a checked configuration in upstream's order. Every part gets it,
    /// even where an earlier one failed.
    async fn apply(
        &self,
        parts: &Parts,
        loaded: &LoadedConfig,
        started: Duration,
    ) -> Result<Timings, String> {
        let mut faults = Vec::new();
        let mut timings = Timings::default();
        let mut last = self.clock.monotonic();
        let mut lap = || {
            let now = self.clock.monotonic();
            std::mem::replace(&mut last, now).abs_diff(now)
        };
        let external_labels = model::Labels::from_pairs(loaded.config.global.external_labels.iter());
        if let Err(error) = self.apply_storage(parts, loaded) {
            faults.push(error);
        }
        timings.db_storage = lap();
        timings.remote_storage = lap();
        parts.web.config_text.store(Arc::new(self.shown(&loaded.config)));
        parts.web.gogc.store(Arc::new(shown_gogc(loaded.config.runtime.gogc)));
        parts.web.external_labels.store(Arc::new(external_labels));
        timings.web_handler = lap();
        if let Err(error) = parts.observer.set_log(&loaded.config.global.query_log_file) {
            let path = &loaded.config.global.query_log_file;
            faults.push(format!("can't create json log file: open {path}: {}", told(&error)));
        }
        timings.query_engine = lap();
        if let Err(error) = apply_jobs(&parts.scrape, loaded).await {
            faults.push(error);
        }
        timings.scrape = lap();
        apply_discovery(&parts.discovery, loaded);
        timings.scrape_sd = lap();
        for part in [&mut timings.notify, &mut timings.notify_sd, &mut timings.rules, &mut timings.tracing] {
            *part = lap();
        }
        for fault in &faults {
            tracing::error!(err = fault, "Failed to apply configuration");
        }
        self.gauges.inactive.retain(|labels| loaded.inactive.contains(&labels[0]));
        for name in &loaded.inactive {
            self.gauges.inactive.with(&[name.as_str()]).set(1.0);
        }
        if !faults.is_empty() {
            let name = model::labels::go_quote(&self.source.name()).into_owned();
            return Err(format!(
                "one or more errors occurred while applying the new configuration (--config.file={name})"
            ));
        }
        parts.engine.set_default_subquery_interval_ms(loaded.config.global.evaluation_interval.0);
        timings.total = self.clock.monotonic().saturating_sub(started);
        Ok(timings)
    }

    /// What a reload may change of the store.
    fn apply_storage(&self, parts: &Parts, loaded: &LoadedConfig) -> Result<(), String> {
        let settings =
            settings::runtime_settings(&self.flags, &loaded.config).map_err(|error| error.to_string())?;
        parts.db.apply(&settings).map_err(|error| error.to_string())?;
        let mut last = self.last_retention.lock();
        let retention = settings::retention_facts(&settings);
        if last.as_ref() != Some(&retention) {
            let [duration, size, percentage] = &retention;
            tracing::info!(duration, size, percentage, "TSDB retention updated");
            *last = Some(retention);
        }
        Ok(())
    }

    fn say_completed(&self, timings: &Timings) {
        tracing::info!(
            db_storage = ?timings.db_storage,
            remote_storage = ?timings.remote_storage,
            web_handler = ?timings.web_handler,
            query_engine = ?timings.query_engine,
            scrape = ?timings.scrape,
            scrape_sd = ?timings.scrape_sd,
            notify = ?timings.notify,
            notify_sd = ?timings.notify_sd,
            rules = ?timings.rules,
            tracing = ?timings.tracing,
            filename = self.source.name(),
            totalDuration = ?timings.total,
            "Completed loading of configuration file"
        );
    }

    /// The configuration in force as text, with what the server fills in:
    /// exemplars where their feature is on.
    fn shown(&self, config: &config::Config) -> String {
        let mut shown = config.clone();
        if self.flags.has_feature("exemplar-storage") {
            shown
                .storage
                .exemplars
                .get_or_insert(config::storage::ExemplarsConfig { max_exemplars: settings::EXEMPLARS_MAX });
        }
        shown.to_yaml()
    }

    fn note_reload(&self, parts: &Parts, success: bool) {
        let web = &parts.web;
        web.reload_successful.store(success, Ordering::Relaxed);
        self.gauges.reload_successful.set(f64::from(u8::from(success)));
        if success {
            web.notifications.remove(web::notifications::RELOAD_FAILED);
            let now_ms = self.clock.now_ms();
            web.last_config_time_ms.store(now_ms, Ordering::Relaxed);
            self.gauges.reload_time.set(now_ms as f64 / 1000.0);
        } else {
            web.notifications.add(web::notifications::RELOAD_FAILED);
        }
    }
}
