//! What the database tells about itself.

use hashbrown::HashMap;
use model::StorageError;
use model::admin::{HeadStats, NamedCount, ReplayProgress, RuntimeSettings, TsdbStatus};

use super::Db;
use std::sync::atomic::Ordering;

/// The largest counts first; equal ones in order of names.
fn top(mut counts: Vec<NamedCount>, limit: usize) -> Vec<NamedCount> {
    counts.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.name.cmp(&b.name)));
    counts.truncate(limit);
    counts
}

impl TsdbStatus for Db {
    fn head_stats(&self, limit: usize) -> Result<HeadStats, StorageError> {
        self.check_open()?;
        let head = &self.store.head;
        let tables = head.symbols.read();
        let mut stats = HeadStats {
            num_series: head.counts.series.load(Ordering::Relaxed),
            chunk_count: head.counts.chunks.load(Ordering::Relaxed).max(0).unsigned_abs(),
            min_time_ms: head.times.min(),
            max_time_ms: head.times.max(),
            ..HeadStats::default()
        };
        let mut pairs: Vec<(u64, u32, u32)> = Vec::new();
        for (name, text) in tables.names.iter() {
            let Some(postings) = head.postings.name(name) else { continue };
            let (mut values, mut bytes) = (0, 0);
            let mut by_metric: HashMap<u32, u64, rapidhash::fast::RandomState> = HashMap::default();
            postings.for_each(|value, list| {
                let series = list.len();
                values += 1;
                // A text is stored behind its length, of one byte or of four.
                let stored = |text: &str| text.len() as u64 + if text.len() < 255 { 1 } else { 4 };
                bytes += (stored(text) + stored(tables.values.text(value))) * series;
                pairs.push((series, name, value));
                if text == model::METRIC_NAME {
                    by_metric.insert(value, series);
                }
            });
            if values == 0 {
                continue;
            }
            stats.num_label_pairs += values;
            stats.values_by_label.push(NamedCount { name: text.to_owned(), value: values });
            stats.bytes_by_label.push(NamedCount { name: text.to_owned(), value: bytes });
            stats.series_by_metric.extend(by_metric.into_iter().map(|(value, series)| NamedCount {
                name: tables.values.text(value).to_owned(),
                value: series,
            }));
        }
        // Only the pairs that will be shown become text; among equal ones the
        // order of names decides, so more are kept than shown.
        pairs.sort_unstable_by_key(|pair| std::cmp::Reverse(pair.0));
        let least = pairs.get(limit.saturating_sub(1)).map_or(0, |pair| pair.0);
        stats.series_by_pair = pairs
            .iter()
            .take_while(|pair| pair.0 >= least)
            .map(|&(series, name, value)| NamedCount {
                name: format!("{}={}", tables.names.text(name), tables.values.text(value)),
                value: series,
            })
            .collect();
        stats.series_by_metric = top(stats.series_by_metric, limit);
        stats.values_by_label = top(stats.values_by_label, limit);
        stats.bytes_by_label = top(stats.bytes_by_label, limit);
        stats.series_by_pair = top(stats.series_by_pair, limit);
        Ok(stats)
    }

    fn blocks(&self) -> Result<Vec<serde_json::Value>, StorageError> {
        self.check_open()?;
        Ok(self.store.block_metas())
    }

    fn replay_progress(&self) -> ReplayProgress {
        self.progress.progress()
    }

    fn is_ready(&self) -> bool {
        self.progress.is_done() && self.check_open().is_ok()
    }

    fn start_time_ms(&self) -> Result<i64, StorageError> {
        self.check_open()?;
        Ok(self.store.start_time_ms())
    }

    fn corruption_count(&self) -> u64 {
        self.store.corruptions.load(Ordering::Relaxed)
    }

    fn retention_text(&self) -> String {
        retention_text(&self.store.runtime.lock())
    }
}

/// The retention in force as upstream prints it.
fn retention_text(settings: &RuntimeSettings) -> String {
    let mut parts = Vec::new();
    if let Some(time) = settings.retention_time.filter(|time| !time.is_zero()) {
        let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        parts.push(model::time::format_duration_ms(ms));
    }
    if let Some(bytes) = settings.retention_bytes.filter(|bytes| *bytes > 0) {
        parts.push(format_bytes(bytes));
    }
    if let Some(percentage) = settings.retention_percentage.filter(|p| *p > 0.0) {
        parts.push(format!("{percentage}%"));
    }
    parts.join(" or ")
}

/// Bytes in the largest power of 1024 that they are a multiple of, as upstream's
/// base-2 sizes print.
fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1024 && value.is_multiple_of(1024) && unit + 1 < UNITS.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn retention_reads_as_upstream_prints_it() {
        let mut settings = crate::DbOptions::default().runtime;
        assert_eq!(retention_text(&settings), "15d");
        settings.retention_bytes = Some(1 << 30);
        assert_eq!(retention_text(&settings), "15d or 1GiB");
        settings.retention_time = Some(Duration::ZERO);
        assert_eq!(retention_text(&settings), "1GiB");
    }
}
