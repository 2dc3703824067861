//! Start timestamps: the `_created` lines behind the series that they are of.
//!
//! ```text
//! c_total{a="b"} 1      ← here: what is the start?
//! c_total{a="c"} 2        look ahead, up to the first `_created` line:
//! c_created{a="b"} 5    ← of this series, so 5; of another one: unknown
//! ```
//!
//! All series before that line see the same one, so it is looked for once.

use model::MetricType;

use super::OpenMetricsParser;
use crate::exposition::Entry;

const CREATED: &[u8] = b"_created";

/// The start timestamp last found, and for which series.
#[derive(Clone, Copy)]
pub(super) struct Created {
    series_hash: u64,
    timestamp_ms: i64,
}

impl<'p> OpenMetricsParser<'p> {
    /// See [`super::super::Parser::start_timestamp_ms`]. From the first call on,
    /// `_created` lines are no series.
    pub fn start_timestamp_ms(&mut self) -> i64 {
        if !has_start(self.position.metric_type) {
            self.created = None;
            return 0;
        }
        let series_hash = self.series_hash(self.family_name());
        if let Some(created) = self.created.filter(|c| c.series_hash == series_hash && c.timestamp_ms > 0) {
            return created.timestamp_ms;
        }
        let ahead = match self.horizon {
            // Up to the first `_created` line ahead all series see the same one.
            Some((end, ahead)) if self.position.at < end => ahead,
            _ => self.look_ahead(),
        };
        self.skip_created = true;
        self.created = ahead.filter(|created| created.series_hash == series_hash);
        self.created.map_or(0, |created| created.timestamp_ms)
    }

    /// The next `_created` line before the next family.
    fn look_ahead(&mut self) -> Option<Created> {
        let position = self.position;
        let series_end = self.series_end;
        let text = (self.text, self.text_is_help, self.unit, self.family_name_bytes);
        let spans = std::mem::take(&mut self.spans);
        self.position.looking_ahead = true;
        self.skip_created = false;
        let ahead = self.find_created();
        self.horizon = Some((self.position.at, ahead));
        self.position = position;
        self.series_end = series_end;
        (self.text, self.text_is_help, self.unit, self.family_name_bytes) = text;
        self.spans = spans;
        ahead
    }

    fn find_created(&mut self) -> Option<Created> {
        while let Ok(Some(Entry::Series { value, .. })) = self.next_entry() {
            let (start, end) = self.spans.name?;
            if let Some(base) = self.page[start..end].strip_suffix(CREATED) {
                let timestamp_ms = (value * 1000.0) as i64;
                return Some(Created { series_hash: self.series_hash(base), timestamp_ms });
            }
        }
        None
    }

    /// The name of the family that the series at hand is thought to belong to:
    /// as much of its name as the family's last had.
    fn family_name(&self) -> &'p [u8] {
        let (start, end) = self.spans.name.unwrap_or((0, 0));
        &self.page[start..end.min(start + self.family_name_bytes)]
    }

    /// A hash over a family's name and the labels of the series at hand, but
    /// those that tell buckets and quantiles apart.
    fn series_hash(&self, family: &[u8]) -> u64 {
        let mut hash = xxhash_rust::xxh64::Xxh64::new(0);
        for label in &self.spans.labels {
            let name = &self.page[label.name.0..label.name.1];
            let is_bound = match self.position.metric_type {
                MetricType::Summary => name == b"quantile",
                MetricType::Histogram => name == b"le",
                _ => false,
            };
            if !is_bound {
                hash.update(name);
                hash.update(&[0xff]);
                hash.update(&self.page[label.value.0..label.value.1]);
                hash.update(&[0xff]);
            }
        }
        hash.update(family);
        hash.digest()
    }

    pub(super) fn is_created_line(&self) -> bool {
        has_start(self.position.metric_type)
            && self.spans.name.is_some_and(|(start, end)| self.page[start..end].ends_with(CREATED))
    }
}

/// Whether series of the type have a start timestamp.
pub(super) fn has_start(metric_type: MetricType) -> bool {
    matches!(metric_type, MetricType::Counter | MetricType::Summary | MetricType::Histogram)
}
