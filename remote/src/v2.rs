//! Remote write 2.0: labels as references to a table of symbols; what is good
//! is kept, what is bad is named.

use model::append::{AppendError, Appender, ExemplarError, SeriesHandle};
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::metadata::{Metadata, MetricType};
use model::series_cache::{SeriesCache, SeriesKey};

use crate::batch::{FUTURE_MS_MAX, Pending, TOO_FAR_AHEAD};
use crate::faults::Faults;
use crate::histogram;
use crate::receiver::{Stats, WriteError, Written};
use crate::series::{Known, LABEL_BYTES_MAX, LabelFault, labels};
use crate::wire::{Reader, WireError, double_and_varint, each_packed_varint};

/// How to treat what comes with samples.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Store metadata.
    pub metadata: bool,
    /// Add `__type__` and `__unit__` from metadata.
    pub type_and_unit_labels: bool,
    /// Write a zero at each start timestamp.
    pub start_zero: bool,
    /// Store start timestamps with samples.
    pub start_timestamps: bool,
}

/// How many different symbols of at most two bytes there can be.
const SHORT_SYMBOLS_MAX: usize = 1 + (1 << 8) + (1 << 16);
/// Bytes that any other one takes in a message. A table without one twice has no more
/// symbols than these two say; of empty ones, a small body could unpack to millions.
const LONGER_SYMBOL_BYTES: usize = 5;

/// The symbols of a request and the hash of each.
struct Symbols<'a> {
    text: Vec<&'a [u8]>,
    keys: Vec<SeriesKey>,
}

impl<'a> Symbols<'a> {
    fn read(message: &'a [u8]) -> Result<Symbols<'a>, WriteError> {
        let mut symbols = Symbols { text: Vec::new(), keys: Vec::new() };
        let most = SHORT_SYMBOLS_MAX + message.len() / LONGER_SYMBOL_BYTES;
        let mut reader = Reader::new(message);
        loop {
            let text = match reader.next_of(SYMBOL_TAG)? {
                Some(text) => text,
                None => {
                    reader.skip_run(SERIES_TAG)?;
                    match reader.next_field()? {
                        Some(field) if field.number == 4 => field.bytes()?,
                        Some(_) => continue,
                        None => return Ok(symbols),
                    }
                }
            };
            if symbols.text.len() >= most {
                return Err(WriteError::TooManySymbols);
            }
            symbols.add(text);
        }
    }

    fn add(&mut self, text: &'a [u8]) {
        self.text.push(text);
        self.keys.push(SeriesKey::of(text));
    }

    fn get(&self, reference: u32) -> Option<&'a [u8]> {
        self.text.get(reference as usize).copied()
    }

    /// The texts of pairs of references; `None` where one leads nowhere.
    fn pairs(&self, references: &[u32]) -> Option<Vec<(&'a [u8], &'a [u8])>> {
        references.chunks_exact(2).map(|pair| Some((self.get(pair[0])?, self.get(pair[1])?))).collect()
    }

    /// What is wrong with the references of a label set.
    fn fault(&self, references: &[u32]) -> Option<String> {
        if !references.len().is_multiple_of(2) {
            return Some(format!("invalid labelRefs length {}", references.len()));
        }
        let size = self.text.len();
        let pair = references.chunks_exact(2).find(|pair| pair.iter().any(|&at| at as usize >= size))?;
        Some(format!(
            "labelRefs {} (name) = {} (value) outside of symbols table (size {size})",
            pair[0], pair[1]
        ))
    }
}

/// Decodes a `Request` into the batch. The caller commits what is good.
///
/// # Errors
/// The bytes are no such message, or the store failed: then nothing may stay.
pub fn write(
    message: &[u8],
    appender: &mut dyn Appender,
    cache: &SeriesCache,
    options: Options,
    now_ms: i64,
) -> Result<Written, WriteError> {
    let expected = (message.len() / SERIES_BYTES).min(SERIES_AT_ONCE);
    let mut request = Request {
        symbols: Symbols::read(message)?,
        known: Known::new(cache),
        options,
        latest_ms: now_ms.saturating_add(FUTURE_MS_MAX),
        series: Vec::with_capacity(expected),
        told: 0,
        keys: Vec::with_capacity(expected),
        handles: Vec::new(),
        pending: Pending::default(),
        stats: Stats::default(),
        faults: Faults::default(),
        invalid_label_samples: 0,
        without_metadata_samples: 0,
    };
    let mut reader = Reader::new(message);
    while let Some(series) = reader.find_next(SERIES_TAG)? {
        request.gather(series)?;
        if request.series.len() >= SERIES_AT_ONCE {
            request.store(appender)?;
        }
    }
    request.store(appender)?;
    Ok(Written {
        stats: request.stats,
        fault: request.faults.into_text(),
        invalid_labels: request.invalid_label_samples,
        without_metadata_samples: request.without_metadata_samples,
        new_series: request.known.into_new(),
    })
}

/// Series that are looked up together.
const SERIES_AT_ONCE: usize = 4096;
/// Bytes of a series with few labels and a sample: no more of them are expected.
const SERIES_BYTES: usize = 32;

/// A series that is gathered.
#[derive(Clone, Copy)]
struct Gathered<'a> {
    message: &'a [u8],
    /// The value and time of its sample, where that is all it has besides
    /// references and metadata.
    only: Option<(f64, i64)>,
    /// Its references and those of its metadata lead to symbols.
    is_sound: bool,
    with_metadata: bool,
    samples: u64,
}

struct Request<'a, 'c> {
    symbols: Symbols<'a>,
    known: Known<'c>,
    options: Options,
    latest_ms: i64,
    /// The series that are gathered, and how many were before them.
    series: Vec<Gathered<'a>>,
    told: u32,
    keys: Vec<SeriesKey>,
    handles: Vec<Option<SeriesHandle>>,
    pending: Pending<'a>,
    stats: Stats,
    faults: Faults,
    invalid_label_samples: u64,
    without_metadata_samples: u64,
}

/// The tag of a symbol: field 4 of a request, with a length.
const SYMBOL_TAG: u8 = 4 << 3 | 2;
/// The tag of a series: field 5 of a request, with a length.
const SERIES_TAG: u8 = 5 << 3 | 2;
/// The tag of a series' references, packed: field 1, with a length.
const REFERENCES_TAG: u8 = 1 << 3 | 2;
/// The tag of a sample: field 2, with a length.
const SAMPLE_TAG: u8 = 2 << 3 | 2;
/// The tag of a series' metadata: field 5, with a length.
const METADATA_TAG: u8 = 5 << 3 | 2;

/// The key of a series, made of its references one by one.
struct PairedKey<'s> {
    symbols: &'s [SeriesKey],
    key: SeriesKey,
    /// The name whose value comes next.
    name: Option<SeriesKey>,
    /// Each reference leads to a symbol.
    is_sound: bool,
}

impl<'s> PairedKey<'s> {
    fn of(symbols: &'s [SeriesKey]) -> PairedKey<'s> {
        PairedKey { symbols, key: SeriesKey::empty(), name: None, is_sound: true }
    }

    #[inline]
    fn take(&mut self, reference: u64) {
        let symbol = usize::try_from(reference).ok().and_then(|at| self.symbols.get(at));
        let Some(&symbol) = symbol else {
            self.is_sound = false;
            return;
        };
        match self.name.take() {
            None => self.name = Some(symbol),
            Some(name) => self.key = self.key.then_pair(name, symbol),
        }
    }

    /// Takes packed references, most of them two at a time.
    #[inline]
    fn take_all(&mut self, references: &[u8]) -> Result<(), WireError> {
        let mut reader = Reader::new(references);
        if self.name.is_none() {
            while let Some((name, value)) = reader.next_two_short() {
                let (Some(&name), Some(&value)) =
                    (self.symbols.get(name as usize), self.symbols.get(value as usize))
                else {
                    self.is_sound = false;
                    continue;
                };
                self.key = self.key.then_pair(name, value);
            }
        }
        each_packed_varint(reader.rest(), |at| self.take(at))
    }

    /// The key; `None` where a reference leads nowhere or has no other beside it.
    fn finish(self) -> Option<SeriesKey> {
        (self.is_sound && self.name.is_none()).then_some(self.key)
    }
}

/// What is looked at of a series' metadata when it is gathered.
struct MetadataRead {
    /// How many symbols there are.
    size: u64,
    /// It says something.
    says: bool,
    /// Its references lead to symbols.
    is_sound: bool,
}

impl MetadataRead {
    /// Reads a message, the last of which counts.
    #[inline]
    fn read(&mut self, message: &[u8]) -> Result<(), WireError> {
        self.says = false;
        let mut reader = Reader::new(message);
        while let Some(part) = reader.next_field()? {
            match part.number {
                1 => self.says |= part.varint()? != 0,
                // The first symbol is the empty one.
                3 | 4 => {
                    let symbol = part.varint()?;
                    self.says |= symbol != 0;
                    self.is_sound &= symbol < self.size;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What the fields of a series say besides its samples.
#[derive(Default)]
struct Head {
    references: Vec<u32>,
    metadata: Metadata,
    /// A reference of the metadata leads nowhere.
    metadata_fault: Option<String>,
    samples: u64,
}

impl<'a> Request<'a, '_> {
    fn head(&self, message: &[u8]) -> Result<Head, WireError> {
        let mut head = Head { references: Vec::with_capacity(32), ..Head::default() };
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => field.each_varint(|n| head.references.push(u32::try_from(n).unwrap_or(u32::MAX)))?,
                2 | 3 => head.samples += 1,
                5 => self.metadata(field.bytes()?, &mut head)?,
                _ => {}
            }
        }
        Ok(head)
    }

    /// Notes a series: its key is made of its symbols' keys.
    fn gather(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let mut key = PairedKey::of(&self.symbols.keys);
        let mut metadata = MetadataRead { size: self.symbols.keys.len() as u64, says: false, is_sound: true };
        let mut reader = Reader::new(message);
        // Most series are no more than their references, a sample and metadata.
        while let Some(references) = reader.next_of(REFERENCES_TAG)? {
            key.take_all(references)?;
        }
        let (mut samples, mut only) = (0, None);
        while let Some(sample) = reader.next_of(SAMPLE_TAG)? {
            only = double_and_varint(sample);
            samples += 1;
        }
        while let Some(part) = reader.next_of(METADATA_TAG)? {
            metadata.read(part)?;
        }
        if samples != 1 || !reader.is_at_end() {
            only = None;
        }
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => field.each_varint(|at| key.take(at))?,
                2 | 3 => samples += 1,
                5 => metadata.read(field.bytes()?)?,
                _ => {}
            }
        }
        let key = key.finish();
        let is_sound = metadata.is_sound && key.is_some();
        self.keys.push(key.unwrap_or(SeriesKey::empty()));
        let only = only.map(|(value, timestamp)| (value, timestamp as i64));
        self.series.push(Gathered { message, only, is_sound, with_metadata: metadata.says, samples });
        Ok(())
    }

    /// Stores the samples of the series that are gathered.
    fn store(&mut self, appender: &mut dyn Appender) -> Result<(), WriteError> {
        let mut handles = std::mem::take(&mut self.handles);
        self.known.get_all(&self.keys, &mut handles);
        self.pending.reserve(handles.len());
        // Labels made from metadata are no part of the key.
        let cached = !self.options.type_and_unit_labels;
        for (i, known) in handles.iter().enumerate() {
            let gathered = self.series[i];
            let owner = i as u32;
            let handle = match known {
                Some(handle) if cached && gathered.is_sound => *handle,
                _ => {
                    let head = self.head(gathered.message)?;
                    match self.handle(&head, appender)? {
                        Ok(handle) => handle,
                        Err(fault) => {
                            self.faults.add(self.told + owner, || fault);
                            // Faults of metadata are told and not counted.
                            if head.metadata_fault.is_none() || self.symbols.fault(&head.references).is_some()
                            {
                                self.invalid_label_samples += head.samples;
                            }
                            continue;
                        }
                    }
                }
            };
            if gathered.samples == 0 {
                let labels = self.shown_owner(owner);
                self.faults.add(self.told + owner, || {
                    format!("TimeSeries must contain at least one sample or histogram for series {labels}")
                });
                continue;
            }
            if !gathered.with_metadata {
                self.without_metadata_samples += gathered.samples;
            }
            match gathered.only {
                Some((value, timestamp_ms)) => {
                    let sample = FloatSample { value, timestamp_ms, start_ms: 0 };
                    self.float(sample, owner, handle, &mut None, appender)?;
                }
                None => self.samples(gathered.message, owner, handle, appender)?,
            }
            if self.options.metadata {
                let head = self.head(gathered.message)?;
                appender.update_metadata(handle, &head.metadata);
            }
        }
        self.flush(appender)?;
        self.told += self.series.len() as u32;
        self.series.clear();
        self.keys.clear();
        self.handles = handles;
        Ok(())
    }

    fn samples(
        &mut self,
        message: &'a [u8],
        owner: u32,
        handle: SeriesHandle,
        appender: &mut dyn Appender,
    ) -> Result<(), WriteError> {
        // The start at which a zero was written last: once a start is enough.
        let mut zero_ms = None;
        let mut reader = Reader::new(message);
        reader.skip_run(REFERENCES_TAG)?;
        while let Some(sample) = reader.next_of(SAMPLE_TAG)? {
            self.float(FloatSample::decode(sample)?, owner, handle, &mut zero_ms, appender)?;
        }
        while let Some(field) = reader.next_field()? {
            match field.number {
                2 => {
                    let sample = FloatSample::decode(field.bytes()?)?;
                    self.float(sample, owner, handle, &mut zero_ms, appender)?;
                }
                3 => {
                    let message = field.bytes()?;
                    let mut histogram = histogram::decode(message)?;
                    if self.is_too_far_ahead(owner, histogram.timestamp_ms) {
                        continue;
                    }
                    let (time_ms, start_ms) = (histogram.timestamp_ms, histogram.start_timestamp_ms);
                    if self.wants_zero(start_ms, zero_ms) {
                        zero_ms = Some(start_ms);
                        self.flush(appender)?;
                        let _ = appender.append_start_zero(handle, time_ms, start_ms, Some(&histogram.value));
                    }
                    if self.pending.is_full_for_histogram() {
                        self.flush(appender)?;
                    }
                    if !self.options.start_timestamps {
                        histogram.start_timestamp_ms = 0;
                    }
                    self.pending.push_histogram(owner, handle, histogram, message);
                }
                4 => self.exemplar(field.bytes()?, owner, handle, appender)?,
                _ => {}
            }
        }
        Ok(())
    }

    #[inline]
    fn float(
        &mut self,
        sample: FloatSample,
        owner: u32,
        handle: SeriesHandle,
        zero_ms: &mut Option<i64>,
        appender: &mut dyn Appender,
    ) -> Result<(), WriteError> {
        if self.is_too_far_ahead(owner, sample.timestamp_ms) {
            return Ok(());
        }
        if self.wants_zero(sample.start_ms, *zero_ms) {
            *zero_ms = Some(sample.start_ms);
            self.flush(appender)?;
            // A zero that does not fit is left out; the sample itself goes in.
            let _ = appender.append_start_zero(handle, sample.timestamp_ms, sample.start_ms, None);
        }
        if self.pending.is_full_for_float(handle) {
            self.flush(appender)?;
        }
        let start_ms = if self.options.start_timestamps { sample.start_ms } else { 0 };
        self.pending.push_float(owner, handle, sample.timestamp_ms, start_ms, sample.value);
        Ok(())
    }

    fn wants_zero(&self, start_ms: i64, zero_ms: Option<i64>) -> bool {
        self.options.start_zero && start_ms != 0 && zero_ms != Some(start_ms)
    }

    fn is_too_far_ahead(&mut self, owner: u32, timestamp_ms: i64) -> bool {
        let ahead = timestamp_ms > self.latest_ms;
        if ahead {
            let labels = self.shown_owner(owner);
            self.faults.add(self.told + owner, || format!("{TOO_FAR_AHEAD} for series {labels}"));
        }
        ahead
    }

    fn metadata(&self, message: &[u8], head: &mut Head) -> Result<(), WireError> {
        let mut reader = Reader::new(message);
        let mut text = |reference: u64| {
            let bytes = usize::try_from(reference).ok().and_then(|at| self.symbols.text.get(at));
            if bytes.is_none() {
                let size = self.symbols.text.len();
                head.metadata_fault =
                    Some(format!("symbol reference {reference} outside of symbols table (size {size})"));
            }
            // A text beyond any sense is not kept: it would be copied for every series.
            let bytes = bytes.filter(|bytes| bytes.len() <= LABEL_BYTES_MAX).copied().unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let mut metadata = Metadata::default();
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => {
                    metadata.metric_type = MetricType::from_number(u8::try_from(field.varint()?).unwrap_or(0))
                }
                3 => metadata.help = text(field.varint()?),
                4 => metadata.unit = text(field.varint()?),
                _ => {}
            }
        }
        head.metadata = metadata;
        Ok(())
    }

    fn exemplar(
        &mut self,
        message: &[u8],
        owner: u32,
        handle: SeriesHandle,
        appender: &mut dyn Appender,
    ) -> Result<(), WriteError> {
        let mut reader = Reader::new(message);
        let mut references = Vec::new();
        let (mut timestamp_ms, mut value) = (0, 0.0);
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => field.each_varint(|n| references.push(u32::try_from(n).unwrap_or(u32::MAX)))?,
                2 => value = field.double()?,
                3 => timestamp_ms = field.varint()? as i64,
                _ => {}
            }
        }
        if let Some(fault) = self.symbols.fault(&references) {
            let labels = self.shown_owner(owner);
            self.faults.add(self.told + owner, || format!("parsing exemplar for series {labels}: {fault}"));
            return Ok(());
        }
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let pairs: Option<Vec<(&str, &str)>> = self
            .symbols
            .pairs(&references)
            .into_iter()
            .flatten()
            .map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect();
        let too_long = |pairs: &Vec<(&str, &str)>| {
            let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
            bytes > LABEL_BYTES_MAX
        };
        let Some(pairs) = pairs.filter(|pairs| !too_long(pairs) && timestamp_ms <= self.latest_ms) else {
            return Ok(());
        };
        let exemplar =
            Exemplar { labels: Labels::from_pairs(pairs), value, timestamp_ms, has_timestamp: true };
        match appender.append_exemplar(handle, &exemplar) {
            // As upstream: one that is there already, or that nobody keeps, is no loss
            // that the sender should count.
            Ok(()) | Err(ExemplarError::Duplicate | ExemplarError::Disabled) => self.stats.exemplars += 1,
            Err(error @ ExemplarError::OutOfOrder) => {
                let labels = self.shown_owner(owner);
                self.faults.add(self.told + owner, || format!("{error} for series {labels}"));
            }
            Err(error) => tracing::debug!(component = "remote", %error, "exemplar of remote write refused"),
        }
        Ok(())
    }

    /// The handle of a series, or why its labels cannot be used.
    fn handle(
        &mut self,
        head: &Head,
        appender: &mut dyn Appender,
    ) -> Result<Result<SeriesHandle, String>, WriteError> {
        if let Some(fault) = self.symbols.fault(&head.references) {
            return Ok(Err(format!("parsing labels for series {}: {fault}", GoSlice(&head.references))));
        }
        if let Some(fault) = &head.metadata_fault {
            return Ok(Err(format!("parsing metadata for series {}: {fault}", GoSlice(&head.references))));
        }
        let cached = !self.options.type_and_unit_labels;
        match self.labels(head) {
            Ok(labels) => {
                if !self.known.may_make(&labels) {
                    return Err(WriteError::TooManyLabels);
                }
                let handle = appender.series(&labels)?;
                if cached {
                    self.known.add(self.key(&head.references), handle);
                }
                Ok(Ok(handle))
            }
            Err(LabelFault::Invalid(labels)) => {
                Ok(Err(format!("invalid metric name or labels, got {labels}")))
            }
            Err(LabelFault::Duplicate { labels, name }) => {
                Ok(Err(format!("invalid labels for series, labels {labels}, duplicated label {name}")))
            }
            Err(LabelFault::TooLong(bytes)) => {
                Ok(Err(format!("labels of {bytes} bytes are over the limit of {LABEL_BYTES_MAX} bytes")))
            }
        }
    }

    /// The key of references that lead to symbols.
    fn key(&self, references: &[u32]) -> SeriesKey {
        let mut key = PairedKey::of(&self.symbols.keys);
        references.iter().for_each(|&at| key.take(u64::from(at)));
        key.finish().unwrap_or(SeriesKey::empty())
    }

    fn labels(&self, head: &Head) -> Result<Labels, LabelFault> {
        let pairs = self.symbols.pairs(&head.references).unwrap_or_default();
        let labels = labels(pairs.into_iter())?;
        let metadata = &head.metadata;
        if !self.options.type_and_unit_labels
            || (metadata.metric_type == MetricType::Unknown && metadata.unit.is_empty())
        {
            return Ok(labels);
        }
        let mut builder = labels.to_builder();
        if metadata.metric_type != MetricType::Unknown {
            builder.set(model::labels::METRIC_TYPE, metadata.metric_type.as_str());
        }
        if !metadata.unit.is_empty() {
            builder.set(model::labels::METRIC_UNIT, &metadata.unit);
        }
        Ok(builder.labels())
    }

    fn shown(&self, head: &Head) -> String {
        match self.labels(head) {
            Ok(labels) => labels.to_string(),
            Err(LabelFault::Invalid(labels) | LabelFault::Duplicate { labels, .. }) => labels,
            Err(LabelFault::TooLong(bytes)) => format!("of {bytes} bytes"),
        }
    }

    /// The labels of an earlier series; empty where nobody will read them.
    fn shown_owner(&self, owner: u32) -> String {
        match self.faults.is_full() {
            true => String::new(),
            false => self
                .head(self.series[owner as usize].message)
                .map(|head| self.shown(&head))
                .unwrap_or_default(),
        }
    }

    /// Hands over what is gathered; refused samples become faults.
    fn flush(&mut self, appender: &mut dyn Appender) -> Result<(), WriteError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut pending = std::mem::take(&mut self.pending);
        let mut refused: Vec<(u32, String)> = Vec::new();
        let mut resolved: Vec<(SeriesKey, SeriesHandle)> = Vec::new();
        let mut resolve = |appender: &mut dyn Appender, owner: u32| {
            let head = self.head(self.series[owner as usize].message).unwrap_or_default();
            let labels = self.labels(&head).map_err(|_| AppendError::EmptyLabels)?;
            let handle = appender.series(&labels)?;
            resolved.push((self.key(&head.references), handle));
            Ok(handle)
        };
        let flushed = pending.flush(appender, &mut resolve, &mut |owner, text| refused.push((owner, text)));
        self.pending = pending;
        if !self.options.type_and_unit_labels {
            resolved.into_iter().for_each(|(key, handle)| self.known.add(key, handle));
        }
        let stored = flushed?;
        self.stats.samples += stored.floats;
        self.stats.histograms += stored.histograms;
        for (owner, text) in refused {
            let labels = self.shown_owner(owner);
            self.faults.add(self.told + owner, || format!("{text} for series {labels}"));
        }
        Ok(())
    }
}

struct FloatSample {
    value: f64,
    timestamp_ms: i64,
    start_ms: i64,
}

impl FloatSample {
    #[inline]
    fn decode(message: &[u8]) -> Result<FloatSample, WireError> {
        if let Some((value, timestamp)) = double_and_varint(message) {
            return Ok(FloatSample { value, timestamp_ms: timestamp as i64, start_ms: 0 });
        }
        let mut reader = Reader::new(message);
        let mut sample = FloatSample { value: 0.0, timestamp_ms: 0, start_ms: 0 };
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => sample.value = field.double()?,
                2 => sample.timestamp_ms = field.varint()? as i64,
                3 => sample.start_ms = field.varint()? as i64,
                _ => {}
            }
        }
        Ok(sample)
    }
}

/// Numbers as Go prints a slice of them: `[1 2 3]`.
struct GoSlice<'a>(&'a [u32]);

impl std::fmt::Display for GoSlice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// Numbers shown; longer lists are hostile.
        const SHOWN: usize = 256;
        f.write_str("[")?;
        for (i, number) in self.0.iter().take(SHOWN).enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{number}")?;
        }
        f.write_str(if self.0.len() > SHOWN { " …]" } else { "]" })
    }
}
