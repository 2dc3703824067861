//! The series about each scrape: `up` and its kin.

use std::time::Duration;

use model::{AppendError, Appender, FloatBatch, Metadata, MetricType, Outcome, SeriesHandle, Timestamps};

use crate::append::{AppendOptions, Counts};
use crate::labelling::report_labels;
use crate::target::Target;

/// Series that every scrape yields.
const PLAIN: usize = 5;

/// (name, unit, help) of the series, the extra ones last.
const SERIES: [(&str, &str, &str); 8] = [
    ("up", "targets", "Health of the scrape target. 1 means the target is healthy, 0 if the scrape failed."),
    ("scrape_duration_seconds", "seconds", "Duration of the last scrape in seconds."),
    ("scrape_samples_scraped", "samples", "Number of samples last scraped."),
    (
        "scrape_samples_post_metric_relabeling",
        "samples",
        "Number of samples remaining after metric relabeling was applied.",
    ),
    ("scrape_series_added", "series", "Number of series in the last scrape."),
    ("scrape_timeout_seconds", "seconds", "The configured scrape timeout for a target."),
    (
        "scrape_sample_limit",
        "samples",
        "The configured sample limit for a target. Returns zero if there is no limit configured.",
    ),
    (
        "scrape_body_size_bytes",
        "bytes",
        "The uncompressed size of the last scrape response, if successful. Scrapes failing because body_size_limit is \
         exceeded report -1, other scrape failures report 0.",
    ),
];

/// Handles of a target's report series.
#[derive(Default)]
pub(crate) struct ReportCache {
    handles: [Option<SeriesHandle>; SERIES.len()],
}

/// What a scrape's series say.
pub(crate) struct Report {
    pub(crate) up: bool,
    pub(crate) duration: Duration,
    pub(crate) counts: Counts,
    pub(crate) extra: Option<ExtraReport>,
}

/// What the extra series say.
pub(crate) struct ExtraReport {
    pub(crate) timeout: Duration,
    pub(crate) sample_limit: u64,
    /// Bytes of the page; -1 over the limit, 0 where there is none.
    pub(crate) body_bytes: i64,
}

impl Report {
    fn values(&self) -> Vec<f64> {
        let mut values = vec![
            f64::from(u8::from(self.up)),
            self.duration.as_secs_f64(),
            self.counts.total as f64,
            self.counts.added as f64,
            self.counts.series_added as f64,
        ];
        if let Some(extra) = &self.extra {
            values.extend([extra.timeout.as_secs_f64(), extra.sample_limit as f64, extra.body_bytes as f64]);
        }
        values
    }
}

impl ReportCache {
    /// Appends what a scrape's series say.
    ///
    /// # Errors
    /// A series cannot be made.
    pub(crate) fn append(
        &mut self,
        appender: &mut dyn Appender,
        target: &Target,
        options: AppendOptions,
        time_ms: i64,
        report: &Report,
    ) -> Result<(), AppendError> {
        self.append_values(appender, target, options, time_ms, &report.values(), false)
    }

    /// Appends markers: the target is gone.
    ///
    /// # Errors
    /// A series cannot be made.
    pub(crate) fn append_end(
        &mut self,
        appender: &mut dyn Appender,
        target: &Target,
        options: AppendOptions,
        time_ms: i64,
        extra: bool,
    ) -> Result<(), AppendError> {
        let values = vec![model::stale_nan(); if extra { SERIES.len() } else { PLAIN }];
        self.append_values(appender, target, options, time_ms, &values, true)
    }

    fn append_values(
        &mut self,
        appender: &mut dyn Appender,
        target: &Target,
        options: AppendOptions,
        time_ms: i64,
        values: &[f64],
        in_order_only: bool,
    ) -> Result<(), AppendError> {
        let mut outcomes = Vec::with_capacity(values.len());
        // A second round for series that the store has forgotten.
        for _ in 0..2 {
            let mut handles = Vec::with_capacity(values.len());
            for i in 0..values.len() {
                handles.push(self.handle(appender, target, options, i)?);
            }
            let timestamps = Timestamps::Same(time_ms);
            let batch =
                FloatBatch { series: &handles, timestamps, start_timestamps: None, values, in_order_only };
            appender.append_floats(batch, &mut outcomes);
            let mut forgotten = false;
            for (handle, outcome) in self.handles.iter_mut().zip(&outcomes) {
                if *outcome == Outcome::UnknownSeries {
                    *handle = None;
                    forgotten = true;
                }
            }
            if !forgotten {
                break;
            }
        }
        Ok(())
    }

    fn handle(
        &mut self,
        appender: &mut dyn Appender,
        target: &Target,
        options: AppendOptions,
        i: usize,
    ) -> Result<SeriesHandle, AppendError> {
        if let Some(handle) = self.handles[i] {
            return Ok(handle);
        }
        let (name, unit, help) = SERIES[i];
        let handle = appender.series(&report_labels(name, target))?;
        if options.append_metadata {
            let metadata =
                Metadata { metric_type: MetricType::Gauge, unit: unit.to_owned(), help: help.to_owned() };
            appender.update_metadata(handle, &metadata);
        }
        self.handles[i] = Some(handle);
        Ok(handle)
    }
}
