//! One series of a page: found or made, limited, put into the batch.

use std::collections::HashMap;

use model::series_cache::SeriesKey;
use model::{Exemplar, HistogramValue, Metadata, MetricType, SeriesHandle};

use super::refusals::Refusal;
use super::{Family, PageError, Run, TargetState};
use crate::append::batch::Sample;
use crate::exposition::{Entry, KnownLine, Parser};
use crate::labelling::stored_labels;
use crate::metadata::MetadataCache;

/// Where a series of the page is stored.
struct Place {
    /// Its entry in the cache, where it has one.
    entry: Option<u32>,
    handle: SeriesHandle,
    /// Its stored name, where it was worked out.
    name: Option<String>,
    is_new: bool,
}

impl Run<'_, '_> {
    /// A line that is where it was in the page before.
    pub(super) fn known_line(&mut self, state: &mut TargetState, line: KnownLine) {
        let hit = state.cache.take_expected();
        self.counts.total += 1;
        let Some(handle) = hit.handle else { return };
        self.counts.added += 1;
        let own_time = line.timestamp_ms.filter(|_| self.context.job.config.honor_timestamps);
        let key = || state.cache.key(hit.entry);
        if hit.repeated && own_time.is_none() {
            self.duplicate(Some(key()));
            return;
        }
        if !self.within_limits(own_time, key) {
            state.cache.untracked(hit.entry);
            return;
        }
        if own_time.is_none() {
            self.batch.push_plain(handle, hit.entry, line.value);
            return;
        }
        let sample =
            Sample { handle, entry: Some(hit.entry), own_time_ms: own_time, start_ms: 0, synthesised: false };
        self.batch.push_float(sample, line.value);
    }

    pub(super) fn series(
        &mut self,
        state: &mut TargetState,
        metadata: &MetadataCache,
        family: &Family,
        parser: &mut Parser<'_>,
        entry: Entry,
    ) -> Result<(), PageError> {
        self.counts.total += 1;
        let (value, exposed_time) = match entry {
            Entry::Series { value, timestamp_ms } => (Some(value), timestamp_ms),
            Entry::Histogram { timestamp_ms } => (None, timestamp_ms),
            _ => return Ok(()),
        };
        let own_time = exposed_time.filter(|_| self.context.job.config.honor_timestamps);
        let key = SeriesKey::of(parser.metric());
        let place = match state.cache.find(key) {
            Some(hit) => {
                let Some(handle) = hit.handle else { return Ok(()) };
                self.counts.added += 1;
                if hit.repeated && own_time.is_none() {
                    self.duplicate(Some(key));
                    return Ok(());
                }
                Place { entry: Some(hit.entry), handle, name: None, is_new: false }
            }
            None => match self.new_series(state, parser, key)? {
                Some(place) => place,
                None => return Ok(()),
            },
        };
        let histogram = if value.is_none() { parser.take_histogram() } else { None };
        self.append_series(state, metadata, family, parser, place, own_time, value, histogram)
    }

    fn append_series(
        &mut self,
        state: &mut TargetState,
        metadata: &MetadataCache,
        family: &Family,
        parser: &mut Parser<'_>,
        place: Place,
        own_time: Option<i64>,
        mut value: Option<f64>,
        mut histogram: Option<HistogramValue>,
    ) -> Result<(), PageError> {
        let options = self.context.options;
        let time_ms = own_time.unwrap_or(self.time_ms);
        let mut start_ms = if options.start_timestamps { parser.start_timestamp_ms() } else { 0 };
        let (mut skipped, mut synthesised) = (false, false);
        if options.synthesize_start_timestamps && start_ms == 0 {
            let key = SeriesKey::of(parser.metric());
            let applies = || self.is_cumulative(parser, &place, metadata, family);
            let made_up = state.synthesis.apply(key, time_ms, value, histogram.take(), applies);
            (value, histogram, start_ms, skipped) =
                (made_up.value, made_up.histogram, made_up.start_ms, made_up.skip);
            synthesised = start_ms != 0;
        }
        if !skipped {
            // Limits hold for what is stored.
            histogram = match histogram.map(|h| self.histogram_limits.apply(h)).transpose() {
                Ok(histogram) => histogram,
                Err(PageError::BucketLimit) => {
                    self.bucket_limit_passed = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            if !self.within_limits(own_time, || SeriesKey::of(parser.metric())) {
                if let Some(entry) = place.entry {
                    self.refused(state, entry);
                }
                return Ok(());
            }
            if options.start_timestamp_zeros && start_ms != 0 {
                // A start that is not news is refused: as it should be.
                self.appender.append_start_zero(place.handle, time_ms, start_ms, histogram.as_ref());
            }
        }
        if options.append_metadata && (place.is_new || family.changed) {
            self.append_metadata(metadata, family, parser, &place)?;
        }
        if skipped {
            if let Some(entry) = place.entry {
                state.cache.accept(entry);
                if !place.is_new {
                    state.cache.track(entry);
                }
            }
            return Ok(());
        }
        let is_histogram = histogram.is_some();
        let sample =
            Sample { handle: place.handle, entry: place.entry, own_time_ms: own_time, start_ms, synthesised };
        match (histogram, value) {
            (Some(histogram), _) => self.batch.push_histogram(sample, histogram, time_ms),
            (None, Some(value)) => self.batch.push_float(sample, value),
            (None, None) => return Ok(()),
        }
        let mut exemplars: Vec<Exemplar> = Vec::new();
        while let Some(mut exemplar) = parser.next_exemplar() {
            if !exemplar.has_timestamp {
                if is_histogram {
                    // Without a time they could not be told from repetitions.
                    continue;
                }
                exemplar.timestamp_ms = time_ms;
            }
            exemplars.push(exemplar);
        }
        if !exemplars.is_empty() {
            exemplars.sort_by(|a, b| {
                let by_value = || a.value.total_cmp(&b.value);
                a.timestamp_ms.cmp(&b.timestamp_ms).then_with(by_value).then_with(|| a.labels.cmp(&b.labels))
            });
            self.batch.push_exemplars(is_histogram, exemplars);
        }
        Ok(())
    }

    /// A series that the cache does not have: `None` where it is dropped, or
    /// its sample cannot be taken.
    fn new_series(
        &mut self,
        state: &mut TargetState,
        parser: &Parser<'_>,
        key: SeriesKey,
    ) -> Result<Option<Place>, PageError> {
        let key_bytes = parser.metric().len();
        parser.labels(&mut self.labels);
        let labels = stored_labels(&self.labels, self.context.target, self.context.job, &mut self.builder)?;
        let Some(labels) = labels else {
            state.cache.add(key, key_bytes, None);
            return Ok(None);
        };
        self.counts.added += 1;
        if self.sample_limit_passed {
            return Ok(None);
        }
        let handle = match self.appender.series(&labels) {
            Ok(handle) => handle,
            Err(model::AppendError::Refused(reason)) => {
                tracing::debug!(target = self.context.target.url(), %reason, "No room for a new series");
                self.refused_series += 1;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let entry = state.cache.add(key, key_bytes, Some(handle));
        Ok(Some(Place { entry, handle, name: Some(labels.metric_name().to_owned()), is_new: true }))
    }

    /// Goes over the page again for the series that the store has forgotten
    /// since they were scraped last, and gathers their samples under new handles.
    pub(super) fn find_forgotten(&mut self, state: &mut TargetState, page: &[u8]) -> Result<(), PageError> {
        let Some((format, options)) = self.format else { return Ok(()) };
        let mut wanted: HashMap<SeriesKey, u32> =
            self.forgotten.drain(..).map(|entry| (state.cache.key(entry), entry)).collect();
        let mut parser = Parser::new(page, format, options);
        while let Some(parsed) = parser.next_entry()? {
            let (Entry::Series { timestamp_ms, .. } | Entry::Histogram { timestamp_ms }) = parsed else {
                continue;
            };
            let Some(entry) = wanted.remove(&SeriesKey::of(parser.metric())) else { continue };
            parser.labels(&mut self.labels);
            let labels =
                stored_labels(&self.labels, self.context.target, self.context.job, &mut self.builder)?;
            let Some(labels) = labels else { continue };
            let handle = self.appender.series(&labels)?;
            state.cache.set_handle(entry, handle);
            let own_time_ms = timestamp_ms.filter(|_| self.context.job.config.honor_timestamps);
            let start_ms = if options.start_timestamps { parser.start_timestamp_ms() } else { 0 };
            let sample = Sample { handle, entry: Some(entry), own_time_ms, start_ms, synthesised: false };
            if let Entry::Series { value, .. } = parsed {
                self.batch.push_float(sample, value);
            } else if let Some(histogram) = parser.take_histogram() {
                let histogram = self.histogram_limits.apply(histogram)?;
                self.batch.push_histogram(sample, histogram, own_time_ms.unwrap_or(self.time_ms));
            }
        }
        Ok(())
    }

    /// Whether a sample may be appended as far as the sample limit and its
    /// time are concerned.
    fn within_limits(&mut self, own_time: Option<i64>, key: impl FnOnce() -> SeriesKey) -> bool {
        self.attempts += 1;
        if self.attempts > self.sample_limit {
            self.sample_limit_passed = true;
            return false;
        }
        if own_time.is_some_and(|t| t > self.time_max_ms()) {
            self.out_of_bounds(Some(key()));
            return false;
        }
        true
    }

    fn append_metadata(
        &mut self,
        metadata: &MetadataCache,
        family: &Family,
        parser: &Parser<'_>,
        place: &Place,
    ) -> Result<(), PageError> {
        let Ok(family_name) = std::str::from_utf8(&family.name) else { return Ok(()) };
        let Some(said) = metadata.get(family_name) else { return Ok(()) };
        let name = match &place.name {
            Some(name) => name.clone(),
            None => {
                parser.labels(&mut self.labels);
                let labels =
                    stored_labels(&self.labels, self.context.target, self.context.job, &mut self.builder)?;
                labels.map(|labels| labels.metric_name().to_owned()).unwrap_or_default()
            }
        };
        if is_part_of_family(&name, family_name, said.metric_type) {
            self.appender.update_metadata(place.handle, &Metadata::clone(said));
        }
        Ok(())
    }

    /// Whether the series adds up: then it has a start.
    fn is_cumulative(
        &self,
        parser: &Parser<'_>,
        place: &Place,
        metadata: &MetadataCache,
        family: &Family,
    ) -> bool {
        let Ok(family_name) = std::str::from_utf8(&family.name) else { return false };
        let Some(metric_type) = metadata.get(family_name).map(|said| said.metric_type) else { return false };
        let name = match &place.name {
            Some(name) => name.clone(),
            None => {
                let mut labels = crate::exposition::LabelBuf::new();
                parser.labels(&mut labels);
                labels.get(model::METRIC_NAME).unwrap_or("").to_owned()
            }
        };
        is_part_of_family(&name, family_name, metric_type)
            && match metric_type {
                MetricType::Counter | MetricType::Histogram => true,
                MetricType::Summary => name.ends_with("_count") || name.ends_with("_sum"),
                _ => false,
            }
    }

    /// No sample of a known series was stored.
    pub(super) fn refused(&self, state: &mut TargetState, entry: u32) {
        state.cache.untracked(entry);
        if self.context.options.synthesize_start_timestamps {
            state.synthesis.forget(state.cache.key(entry));
        }
    }

    fn note(&mut self, key: Option<SeriesKey>, refusal: Refusal) {
        if let Some(key) = key {
            self.refusals.note(key, refusal);
        }
    }

    pub(super) fn duplicate(&mut self, key: Option<SeriesKey>) {
        self.note(key, Refusal::Duplicate);
        self.problems.duplicates += 1;
        self.context.metrics.duplicate_timestamp.inc();
    }

    pub(super) fn out_of_bounds(&mut self, key: Option<SeriesKey>) {
        self.note(key, Refusal::OutOfBounds);
        self.problems.out_of_bounds += 1;
        self.context.metrics.out_of_bounds.inc();
    }

    pub(super) fn out_of_order(&mut self, key: Option<SeriesKey>) {
        self.note(key, Refusal::OutOfOrder);
        self.problems.out_of_order += 1;
        self.context.metrics.out_of_order.inc();
    }
}

/// Whether a series of that name belongs to a family of that name and type:
/// metadata of a family says nothing about a series that merely follows it.
fn is_part_of_family(name: &str, family: &str, metric_type: MetricType) -> bool {
    let without = |name: &str, suffixes: &[&str]| -> String {
        suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name).to_owned()
    };
    if !name.starts_with(family) {
        return false;
    }
    let (family, base) = match metric_type {
        MetricType::Counter => (without(family, &["_total"]), without(name, &["_total"])),
        MetricType::Info => (without(family, &["_info"]), without(name, &["_info"])),
        MetricType::Histogram => (family.to_owned(), without(name, &["_bucket", "_sum", "_count"])),
        MetricType::GaugeHistogram => (family.to_owned(), without(name, &["_bucket", "_gsum", "_gcount"])),
        MetricType::Summary => (family.to_owned(), without(name, &["_sum", "_count"])),
        _ => (family.to_owned(), name.to_owned()),
    };
    family == base
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_belong_to_families_by_their_suffix() {
        for (name, family, metric_type, belongs) in [
            ("a_total", "a", MetricType::Counter, true),
            ("a_total", "a_total", MetricType::Counter, true),
            ("a", "a", MetricType::Counter, true),
            ("a", "a_total", MetricType::Counter, false),
            ("ab_total", "a", MetricType::Counter, false),
            ("a_bucket", "a", MetricType::Histogram, true),
            ("a_bucket", "a", MetricType::Summary, false),
            ("a_gsum", "a", MetricType::GaugeHistogram, true),
            ("a_info", "a", MetricType::Info, true),
            ("b", "a", MetricType::Gauge, false),
        ] {
            assert_eq!(is_part_of_family(name, family, metric_type), belongs, "{name} of {family}");
        }
    }
}
