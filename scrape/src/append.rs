//! One page into one batch.
//!
//! ```text
//! page ─▶ known line? ──yes──▶ handle ─┐
//!          └─no─▶ labels, relabelling, │
//!                 limits ─▶ handle ────┴─▶ columns ─▶ append ─▶ outcomes
//!                                                                ├─ track staleness
//!                                                                └─ count what was refused
//! ```
//!
//! Everything here is synchronous: it runs between the read of a body and the
//! next await.

mod batch;
mod refusals;
mod series;

use std::sync::Arc;

use model::{Appender, FloatBatch, LabelsBuilder, StorageError, Timestamps};
use parking_lot::Mutex;

use self::batch::{Batch, HistogramLimits};
use self::refusals::Refusals;
use crate::COMPONENT;
use crate::cache::TargetCache;
use crate::exposition::{
    ContentTypeError, Entry, Format, LabelBuf, ParseError, ParseOptions, Parser, select_format,
};
use crate::job::Job;
use crate::labelling::LabelError;
use crate::metadata::{KnownWords, MetadataCache, Said};
use crate::metrics::ScrapeMetrics;
use crate::report::ReportCache;
use crate::synthesis::Synthesis;
use crate::target::Target;

/// Samples may be so far ahead of now.
const AHEAD_MAX_MS: i64 = 10 * 60 * 1000;

/// Switches of the whole server that change what is appended.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendOptions {
    /// Type, unit and help go to the store with the series.
    pub append_metadata: bool,
    /// Start timestamps are read.
    pub start_timestamps: bool,
    /// A zero is stored at each new start timestamp.
    pub start_timestamp_zeros: bool,
    /// Start timestamps that targets do not expose are made up.
    pub synthesize_start_timestamps: bool,
    /// Type and unit become labels.
    pub type_and_unit_labels: bool,
}

/// What is known of a target from scrape to scrape.
#[derive(Default)]
pub(crate) struct TargetState {
    pub(crate) cache: TargetCache,
    pub(crate) report: ReportCache,
    pub(crate) metadata: Arc<Mutex<MetadataCache>>,
    pub(crate) synthesis: Synthesis,
}

impl TargetState {
    pub(crate) fn new() -> TargetState {
        TargetState { cache: TargetCache::new(), ..TargetState::default() }
    }
}

/// What a scrape is made with.
pub(crate) struct AppendContext<'a> {
    pub(crate) job: &'a Job,
    pub(crate) target: &'a Target,
    pub(crate) options: AppendOptions,
    pub(crate) metrics: &'a ScrapeMetrics,
    /// The wall clock.
    pub(crate) now_ms: i64,
}

/// What a scrape yielded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Samples in the page.
    pub(crate) total: u64,
    /// Samples that relabelling kept.
    pub(crate) added: u64,
    /// Series that were not known before.
    pub(crate) series_added: u64,
}

/// Why nothing of a page is stored.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The page is in no known format.
    #[error(transparent)]
    ContentType(#[from] ContentTypeError),
    /// The page is malformed.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A series cannot be stored.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// Too many samples.
    #[error("sample limit exceeded")]
    SampleLimit,
    /// A native histogram has too many buckets.
    #[error("histogram bucket limit exceeded")]
    BucketLimit,
    /// A native histogram is malformed.
    #[error(transparent)]
    Histogram(#[from] model::histogram::HistogramError),
    /// The store refuses.
    #[error(transparent)]
    Append(#[from] model::AppendError),
    /// The store fails.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Appends a page; what it held before the error is counted, too.
pub(crate) fn append_page(
    context: &AppendContext<'_>,
    state: &mut TargetState,
    appender: &mut dyn Appender,
    page: &[u8],
    content_type: &str,
    time_ms: i64,
) -> (Counts, Result<(), PageError>) {
    let mut run = Run {
        context,
        appender,
        time_ms,
        counts: Counts::default(),
        batch: Batch::new(time_ms),
        labels: LabelBuf::new(),
        builder: LabelsBuilder::new(),
        histogram_limits: HistogramLimits::of(context.job),
        attempts: 0,
        sample_limit: match context.job.config.sample_limit {
            0 => u64::MAX,
            limit => limit,
        },
        sample_limit_passed: false,
        bucket_limit_passed: false,
        refused_series: 0,
        problems: Problems::default(),
        refusals: Refusals::new(),
        forgotten: Vec::new(),
        format: None,
    };
    let metadata = state.metadata.clone();
    let mut metadata = metadata.lock();
    let result = run.page(state, &mut metadata, page, content_type);
    let result = run.finish(state, page, result);
    if result.is_ok() {
        state.cache.end_good();
        state.synthesis.end_scrape();
        metadata.end_scrape(true);
    }
    run.problems.log(context.job, context.target, run.refused_series);
    (run.counts, result)
}

/// Appends markers for all series of the scrape before: this one failed, or
/// its page was empty. Upstream leaves out those that stand before the fault of
/// a malformed page, and so lets them go on with their old value; here they end
/// like the others.
pub(crate) fn append_nothing(
    context: &AppendContext<'_>,
    state: &mut TargetState,
    appender: &mut dyn Appender,
    time_ms: i64,
) {
    append_markers(state, appender, time_ms, true);
    if state.cache.end_bad() {
        context.metrics.cache_flush_forced.inc();
    }
    state.metadata.lock().end_scrape(false);
}

fn append_markers(state: &TargetState, appender: &mut dyn Appender, time_ms: i64, whole_failed: bool) {
    let ended = state.cache.ended(whole_failed);
    if ended.is_empty() {
        return;
    }
    let values = vec![model::stale_nan(); ended.len()];
    let batch = FloatBatch {
        series: &ended,
        timestamps: Timestamps::Same(time_ms),
        start_timestamps: None,
        values: &values,
        in_order_only: true,
    };
    // A marker that comes too late, after the target is back, is refused by
    // the store: as it should be.
    appender.append_floats(batch, &mut Vec::new());
}

/// A page under way.
struct Run<'a, 'b> {
    context: &'a AppendContext<'b>,
    appender: &'a mut dyn Appender,
    time_ms: i64,
    counts: Counts,
    batch: Batch,
    labels: LabelBuf,
    builder: LabelsBuilder,
    histogram_limits: HistogramLimits,
    /// Samples that the sample limit counts.
    attempts: u64,
    /// So many may be stored.
    sample_limit: u64,
    sample_limit_passed: bool,
    bucket_limit_passed: bool,
    refused_series: u64,
    problems: Problems,
    refusals: Refusals,
    /// Entries of the cache whose series the store does not have any more.
    forgotten: Vec<u32>,
    /// How the page is read.
    format: Option<(Format, ParseOptions)>,
}

/// Samples and exemplars that were not stored.
#[derive(Default)]
struct Problems {
    out_of_order: u64,
    duplicates: u64,
    out_of_bounds: u64,
    exemplars_out_of_order: u64,
}

impl Problems {
    fn log(&self, job: &Job, target: &Target, refused_series: u64) {
        for (count, message) in [
            (self.out_of_order, "Error on ingesting out-of-order samples"),
            (self.duplicates, "Error on ingesting samples with different value but same timestamp"),
            (
                self.out_of_bounds,
                "Error on ingesting samples that are too old or are too far into the future",
            ),
            (self.exemplars_out_of_order, "Error on ingesting out-of-order exemplars"),
            (refused_series, "No room for new series"),
        ] {
            if count > 0 {
                tracing::warn!(
                    component = COMPONENT,
                    scrape_pool = job.name(),
                    target = target.url(),
                    num_dropped = count,
                    "{message}"
                );
            }
        }
    }
}

/// The family that metadata was said of last.
#[derive(Default)]
struct Family {
    name: Vec<u8>,
    /// What was said is new.
    changed: bool,
}

impl Run<'_, '_> {
    fn page(
        &mut self,
        state: &mut TargetState,
        metadata: &mut MetadataCache,
        page: &[u8],
        content_type: &str,
    ) -> Result<(), PageError> {
        let (job, target, options) = (self.context.job, self.context.target, self.context.options);
        let selected = match select_format(content_type, job.fallback_format()) {
            Ok(selected) => selected,
            Err(error) => {
                tracing::error!(
                    component = COMPONENT,
                    scrape_pool = job.name(),
                    target = target.url(),
                    content_type,
                    fallback_media_type = job.fallback_format().map_or("", Format::media_type),
                    err = %error,
                    "Failed to determine correct type of scrape target."
                );
                return Err(error.into());
            }
        };
        if let Some(warning) = &selected.warning {
            tracing::debug!(
                component = COMPONENT,
                scrape_pool = job.name(),
                target = target.url(),
                content_type,
                fallback_media_type = job.fallback_format().map_or("", Format::media_type),
                err = %warning,
                "Invalid content type on scrape, using fallback setting."
            );
        }
        let parse_options = ParseOptions {
            type_and_unit_labels: options.type_and_unit_labels,
            ignore_native_histograms: !target.reads_native_histograms(job),
            convert_classic_to_nhcb: target.converts_classic_histograms(job),
            keep_classic: target.keeps_classic_histograms(job),
            start_timestamps: options.start_timestamps,
        };
        self.format = Some((selected.format, parse_options));
        let mut parser = Parser::new(page, selected.format, parse_options);
        let mut family = Family::default();
        self.batch.reserve(state.cache.good_len());
        // Made-up start timestamps need the whole path for every line.
        let predict = !options.synthesize_start_timestamps;
        loop {
            if predict
                && !(options.append_metadata && family.changed)
                && let Some((key_bytes, key)) = state.cache.expected()
                && let Some(line) =
                    parser.next_known(key_bytes, |bytes| model::series_cache::SeriesKey::of(bytes) == key)
            {
                self.known_line(state, line);
                continue;
            }
            let Some(entry) = parser.next_entry()? else { return Ok(()) };
            match entry {
                Entry::Comment => {}
                Entry::Type(metric_type) => {
                    let words = KnownWords::Type(metric_type);
                    if !family.note_known(&parser, metadata, words) {
                        family.note(&parser, metadata, Said::Type(metric_type));
                    }
                }
                Entry::Help => {
                    let words = parser.written().map(KnownWords::Help);
                    if !words.is_some_and(|words| family.note_known(&parser, metadata, words)) {
                        let help = parser.text();
                        family.note(&parser, metadata, Said::Help(&help));
                    }
                }
                Entry::Unit => {
                    let unit = parser.text();
                    family.note(&parser, metadata, Said::Unit(&unit));
                }
                Entry::Series { .. } | Entry::Histogram { .. } => {
                    self.series(state, metadata, &family, &mut parser, entry)?;
                }
            }
        }
    }

    /// Appends what was gathered, and markers for series that ended.
    fn finish(
        &mut self,
        state: &mut TargetState,
        page: &[u8],
        parsed: Result<(), PageError>,
    ) -> Result<(), PageError> {
        let metrics = self.context.metrics;
        if let Err(PageError::Label(error)) = &parsed
            && error.is_limit()
        {
            metrics.exceeded_label_limits.inc();
        }
        if self.sample_limit_passed {
            metrics.exceeded_sample_limit.inc();
        }
        if self.bucket_limit_passed {
            metrics.exceeded_bucket_limit.inc();
        }
        let limit = match (self.sample_limit_passed, self.bucket_limit_passed) {
            (true, _) => Err(PageError::SampleLimit),
            (false, true) => Err(PageError::BucketLimit),
            (false, false) => Ok(()),
        };
        if let Err(error) = parsed.and(limit) {
            self.count_new_series(state);
            return Err(error);
        }
        self.append_batch(state)?;
        if !self.forgotten.is_empty() {
            self.find_forgotten(state, page)?;
            self.append_batch(state)?;
        }
        append_markers(state, self.appender, self.time_ms, false);
        if let Some((format, options)) = self.format {
            self.refusals.tell(self.context, page, format, options);
        }
        Ok(())
    }

    /// The latest time that a sample may have.
    fn time_max_ms(&self) -> i64 {
        self.context.now_ms.saturating_add(AHEAD_MAX_MS)
    }
}

impl Family {
    fn begin(&mut self, name: &[u8]) {
        if self.name != name {
            self.name.clear();
            self.name.extend_from_slice(name);
            self.changed = false;
        }
    }

    /// Takes note of words that were said before; whether they were.
    fn note_known(
        &mut self,
        parser: &Parser<'_>,
        metadata: &mut MetadataCache,
        words: KnownWords<'_>,
    ) -> bool {
        let name = parser.metric();
        let Some(is_news) = metadata.note_known(name, words) else { return false };
        self.begin(name);
        self.changed |= is_news;
        true
    }

    fn note(&mut self, parser: &Parser<'_>, metadata: &mut MetadataCache, said: Said<'_>) {
        let name = parser.metric();
        self.begin(name);
        self.changed |= match std::str::from_utf8(name) {
            Ok(name) => metadata.note(name, said),
            Err(_) => metadata.note(&String::from_utf8_lossy(name), said),
        };
    }
}
