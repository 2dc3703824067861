//! Remote write 1.0: all of a request or nothing of it.

use model::append::{Appender, SeriesHandle};
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::series_cache::{SeriesCache, SeriesKey};

use crate::batch::{FUTURE_MS_MAX, Kind, Pending, Report, TOO_FAR_AHEAD};
use crate::histogram;
use crate::receiver::{Stats, WriteError, Written};
use crate::series::{Known, LabelFault, labels};
use crate::wire::{Reader, WireError};

/// Decodes a `WriteRequest` into the batch. The caller commits, or rolls back
/// where this fails.
///
/// # Errors
/// The bytes are no such message, or a sample is refused: then nothing of the
/// request may stay.
pub fn write(
    message: &[u8],
    appender: &mut dyn Appender,
    cache: &SeriesCache,
    now_ms: i64,
) -> Result<Written, WriteError> {
    let mut request = Request {
        known: Known::new(cache),
        latest_ms: now_ms.saturating_add(FUTURE_MS_MAX),
        series: Vec::new(),
        pending: Pending::default(),
        stats: Stats::default(),
        skipped_series: 0,
    };
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        // Field 3, metadata, is not stored: upstream ignores it as well.
        if field.number == 1 {
            request.one_series(field.bytes()?, appender)?;
        }
    }
    request.flush(appender)?;
    Ok(Written {
        stats: request.stats,
        invalid_labels: request.skipped_series,
        new_series: request.known.into_new(),
        ..Written::default()
    })
}

struct Request<'a, 'c> {
    known: Known<'c>,
    latest_ms: i64,
    /// The message of each series.
    series: Vec<&'a [u8]>,
    pending: Pending<'a>,
    stats: Stats,
    skipped_series: u64,
}

impl<'a> Request<'a, '_> {
    fn one_series(&mut self, message: &'a [u8], appender: &mut dyn Appender) -> Result<(), WriteError> {
        let owner = u32::try_from(self.series.len()).expect("a request of 32 MiB has fewer than 2^32 series");
        self.series.push(message);
        let Some(handle) = self.handle(message, appender)? else {
            self.skipped_series += 1;
            return Ok(());
        };
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next_field()? {
            match field.number {
                2 => {
                    let (timestamp_ms, value) = sample(field.bytes()?)?;
                    self.check_time(timestamp_ms)?;
                    if self.pending.is_full_for_float(handle) {
                        self.flush(appender)?;
                    }
                    self.pending.push_float(owner, handle, timestamp_ms, 0, value);
                }
                3 => self.exemplar(field.bytes()?, owner, handle, appender)?,
                4 => {
                    let message = field.bytes()?;
                    let mut histogram = histogram::decode(message)?;
                    histogram.start_timestamp_ms = 0;
                    self.check_time(histogram.timestamp_ms)?;
                    if self.pending.is_full_for_histogram() {
                        self.flush(appender)?;
                    }
                    self.pending.push_histogram(owner, handle, histogram, message);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_time(&self, timestamp_ms: i64) -> Result<(), WriteError> {
        match timestamp_ms > self.latest_ms {
            true => Err(WriteError::Refused(TOO_FAR_AHEAD.to_owned())),
            false => Ok(()),
        }
    }

    /// Hands over what is gathered; the first refused sample ends the request.
    fn flush(&mut self, appender: &mut dyn Appender) -> Result<(), WriteError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let Request { known, series, pending, stats, .. } = self;
        let mut refused = None;
        let mut resolve = |appender: &mut dyn Appender, owner: u32| {
            let message = series[owner as usize];
            // These labels were found usable when the series was read.
            let labels = pairs(message).ok().and_then(|pairs| labels(pairs.iter().copied()).ok());
            let handle = appender.series(&labels.unwrap_or_default())?;
            if let Some(key) = key(message) {
                known.add(key, handle);
            }
            Ok(handle)
        };
        pending.flush(appender, &mut resolve, &mut |report: Report| match report.refusal {
            Some(text) => {
                refused.get_or_insert(text);
            }
            None if report.kind == Kind::Float => stats.samples += 1,
            None => stats.histograms += 1,
        })?;
        match refused {
            Some(text) => Err(WriteError::Refused(text)),
            None => Ok(()),
        }
    }

    /// The series of a message; `None` where its labels cannot be used.
    fn handle(
        &mut self,
        message: &[u8],
        appender: &mut dyn Appender,
    ) -> Result<Option<SeriesHandle>, WriteError> {
        let key = key(message);
        if let Some(handle) = key.and_then(|key| self.known.get(key)) {
            return Ok(Some(handle));
        }
        match labels(pairs(message)?.iter().copied()) {
            Ok(labels) => {
                if !self.known.may_make(&labels) {
                    return Err(WriteError::TooManyLabels);
                }
                let handle = appender.series(&labels)?;
                if let Some(key) = key {
                    self.known.add(key, handle);
                }
                Ok(Some(handle))
            }
            Err(LabelFault::Invalid(shown) | LabelFault::Duplicate { labels: shown, .. }) => {
                tracing::warn!(component = "remote", labels = shown, "invalid labels from remote write");
                Ok(None)
            }
            Err(LabelFault::TooLong(bytes)) => {
                tracing::warn!(component = "remote", bytes, "labels from remote write are too long");
                Ok(None)
            }
        }
    }

    /// A refused exemplar does not fail the request.
    fn exemplar(
        &mut self,
        message: &[u8],
        owner: u32,
        handle: SeriesHandle,
        appender: &mut dyn Appender,
    ) -> Result<(), WriteError> {
        let Some(exemplar) = exemplar(message)? else { return Ok(()) };
        if exemplar.timestamp_ms > self.latest_ms {
            return Ok(());
        }
        match appender.append_exemplar(handle, &exemplar) {
            Ok(()) => self.stats.exemplars += 1,
            Err(error) => {
                tracing::debug!(component = "remote", %error, series = owner, "exemplar of remote write refused")
            }
        }
        Ok(())
    }
}

/// The key of a series: its label fields as they stand, which every sender
/// writes first and together. `None` where they do not.
fn key(message: &[u8]) -> Option<SeriesKey> {
    let mut reader = Reader::new(message);
    let mut end = 0;
    let mut after = false;
    while let Ok(Some(field)) = reader.next_field() {
        match (field.number, after) {
            (1, false) => end = reader.position(),
            (1, true) => return None,
            _ => after = true,
        }
    }
    (end > 0).then(|| SeriesKey::of(&message[..end]))
}

/// The label pairs of a series, or of an exemplar, where they stand in `message`.
fn pairs(message: &[u8]) -> Result<Vec<(&[u8], &[u8])>, WireError> {
    let mut pairs = Vec::with_capacity(16);
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        if field.number != 1 {
            continue;
        }
        let (mut name, mut value) = (&[][..], &[][..]);
        let mut label = Reader::new(field.bytes()?);
        while let Some(part) = label.next_field()? {
            match part.number {
                1 => name = part.bytes()?,
                2 => value = part.bytes()?,
                _ => {}
            }
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn sample(message: &[u8]) -> Result<(i64, f64), WireError> {
    let mut reader = Reader::new(message);
    let (mut timestamp_ms, mut value) = (0, 0.0);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => value = field.double()?,
            2 => timestamp_ms = field.varint()? as i64,
            _ => {}
        }
    }
    Ok((timestamp_ms, value))
}

/// An exemplar; `None` where its labels are no UTF-8.
fn exemplar(message: &[u8]) -> Result<Option<Exemplar>, WireError> {
    let mut reader = Reader::new(message);
    let (mut timestamp_ms, mut value) = (0, 0.0);
    while let Some(field) = reader.next_field()? {
        match field.number {
            2 => value = field.double()?,
            3 => timestamp_ms = field.varint()? as i64,
            _ => {}
        }
    }
    let text: Option<Vec<(&str, &str)>> = pairs(message)?
        .into_iter()
        .map(|(name, value)| Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?)))
        .collect();
    Ok(text.map(|text| Exemplar {
        labels: Labels::from_pairs(text),
        value,
        timestamp_ms,
        has_timestamp: true,
    }))
}
