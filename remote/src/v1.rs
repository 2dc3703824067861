//! Remote write 1.0: all of a request or nothing of it.

use model::append::{Appender, SeriesHandle};
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::series_cache::{SeriesCache, SeriesKey};

use crate::batch::{FUTURE_MS_MAX, Pending, TOO_FAR_AHEAD};
use crate::histogram;
use crate::receiver::{Stats, WriteError, Written};
use crate::series::{Known, LabelFault, labels};
use crate::wire::{Reader, WireError, double_and_varint};

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
    let expected = (message.len() / SERIES_BYTES).min(SERIES_AT_ONCE);
    let mut request = Request {
        known: Known::new(cache),
        latest_ms: now_ms.saturating_add(FUTURE_MS_MAX),
        series: Vec::with_capacity(expected),
        keys: Vec::with_capacity(expected),
        handles: Vec::new(),
        pending: Pending::default(),
        stats: Stats::default(),
        skipped_series: 0,
    };
    let mut reader = Reader::new(message);
    // Field 3, metadata, is not stored: upstream ignores it as well.
    while let Some(series) = reader.find_next(SERIES_TAG)? {
        request.gather(series)?;
        if request.series.len() >= SERIES_AT_ONCE {
            request.store(appender)?;
        }
    }
    request.store(appender)?;
    Ok(Written {
        stats: request.stats,
        invalid_labels: request.skipped_series,
        new_series: request.known.into_new(),
        ..Written::default()
    })
}

/// Series that are looked up together.
const SERIES_AT_ONCE: usize = 4096;
/// Bytes of a series with few labels and a sample: no more of them are expected.
const SERIES_BYTES: usize = 96;

/// The tag of a series: field 1, with a length.
const SERIES_TAG: u8 = 1 << 3 | 2;
/// The tag of a label: field 1, with a length.
const LABEL_TAG: u8 = 1 << 3 | 2;
/// The tag of a sample: field 2, with a length.
const SAMPLE_TAG: u8 = 2 << 3 | 2;

/// A series that is gathered.
#[derive(Clone, Copy)]
struct Gathered<'a> {
    message: &'a [u8],
    /// Where the labels end that stand first; 0 where others stand elsewhere.
    labels_end: usize,
    /// The time and value of its sample, where that is all behind the labels.
    only: Option<(i64, f64)>,
}

struct Request<'a, 'c> {
    known: Known<'c>,
    latest_ms: i64,
    series: Vec<Gathered<'a>>,
    keys: Vec<SeriesKey>,
    handles: Vec<Option<SeriesHandle>>,
    pending: Pending<'a>,
    stats: Stats,
    skipped_series: u64,
}

/// Looks whether the samples of a series that is passed over can be read: else
/// nothing of the request is believed.
fn decodes(message: &[u8]) -> Result<(), WireError> {
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            2 => {
                sample(field.bytes()?)?;
            }
            3 => {
                exemplar(field.bytes()?)?;
            }
            4 => {
                histogram::decode(field.bytes()?)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Of a series whose labels do not stand first and together: nothing is known
/// under it, and nothing is remembered.
fn no_key() -> SeriesKey {
    SeriesKey::empty()
}

impl<'a> Request<'a, '_> {
    /// Notes a series: every sender writes its labels first and together, and
    /// these bytes are its key.
    fn gather(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let mut reader = Reader::new(message);
        reader.skip_run(LABEL_TAG)?;
        let end = reader.position();
        let mut together = end > 0;
        let first = reader.next_of(SAMPLE_TAG)?;
        let only = match reader.is_at_end() {
            true => first.and_then(double_and_varint).map(|(value, timestamp)| (timestamp as i64, value)),
            false => None,
        };
        reader.skip_run(SAMPLE_TAG)?;
        while let Some(field) = reader.next_field()? {
            together &= field.number != 1;
        }
        self.keys.push(if together { SeriesKey::of(&message[..end]) } else { no_key() });
        self.series.push(Gathered { message, labels_end: if together { end } else { 0 }, only });
        Ok(())
    }

    /// Stores the samples of the series that are gathered.
    fn store(&mut self, appender: &mut dyn Appender) -> Result<(), WriteError> {
        let mut handles = std::mem::take(&mut self.handles);
        self.known.get_all(&self.keys, &mut handles);
        self.pending.reserve(handles.len());
        for (i, handle) in handles.iter().enumerate() {
            let Gathered { message, labels_end: end, only } = self.series[i];
            let handle = match handle {
                Some(handle) if end > 0 => Some(*handle),
                _ => self.handle(message, self.keys[i], end > 0, appender)?,
            };
            match (handle, only) {
                (Some(handle), Some(sample)) => self.float(sample, i as u32, handle, appender)?,
                (Some(handle), None) => self.samples(i as u32, &message[end..], handle, appender)?,
                (None, _) => {
                    decodes(&message[end..])?;
                    self.skipped_series += 1;
                }
            }
        }
        self.flush(appender)?;
        self.series.clear();
        self.keys.clear();
        self.handles = handles;
        Ok(())
    }

    fn samples(
        &mut self,
        owner: u32,
        message: &'a [u8],
        handle: SeriesHandle,
        appender: &mut dyn Appender,
    ) -> Result<(), WriteError> {
        let mut reader = Reader::new(message);
        // Almost always there is nothing else.
        while let Some(message) = reader.next_of(SAMPLE_TAG)? {
            self.float(sample(message)?, owner, handle, appender)?;
        }
        while let Some(field) = reader.next_field()? {
            match field.number {
                2 => self.float(sample(field.bytes()?)?, owner, handle, appender)?,
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

    #[inline]
    fn float(
        &mut self,
        (timestamp_ms, value): (i64, f64),
        owner: u32,
        handle: SeriesHandle,
        appender: &mut dyn Appender,
    ) -> Result<(), WriteError> {
        self.check_time(timestamp_ms)?;
        if self.pending.is_full_for_float(handle) {
            self.flush(appender)?;
        }
        self.pending.push_float(owner, handle, timestamp_ms, 0, value);
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
        let Request { known, series, keys, pending, stats, .. } = self;
        let mut refused = None;
        let mut resolve = |appender: &mut dyn Appender, owner: u32| {
            let Gathered { message, labels_end: end, .. } = series[owner as usize];
            // These labels were found usable when the series was read.
            let labels = pairs(message).ok().and_then(|pairs| labels(pairs.iter().copied()).ok());
            let handle = appender.series(&labels.unwrap_or_default())?;
            if end > 0 {
                known.add(keys[owner as usize], handle);
            }
            Ok(handle)
        };
        let stored = pending.flush(appender, &mut resolve, &mut |_, text| {
            refused.get_or_insert(text);
        })?;
        stats.samples += stored.floats;
        stats.histograms += stored.histograms;
        match refused {
            Some(text) => Err(WriteError::Refused(text)),
            None => Ok(()),
        }
    }

    /// The series of a message that is not known; `None` where its labels cannot
    /// be used.
    fn handle(
        &mut self,
        message: &[u8],
        key: SeriesKey,
        remember: bool,
        appender: &mut dyn Appender,
    ) -> Result<Option<SeriesHandle>, WriteError> {
        match labels(pairs(message)?.iter().copied()) {
            Ok(labels) => {
                if !self.known.may_make(&labels) {
                    return Err(WriteError::TooManyLabels);
                }
                let handle = appender.series(&labels)?;
                if remember {
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

#[inline]
fn sample(message: &[u8]) -> Result<(i64, f64), WireError> {
    if let Some((value, timestamp)) = double_and_varint(message) {
        return Ok((timestamp as i64, value));
    }
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
