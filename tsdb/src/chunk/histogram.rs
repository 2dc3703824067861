//! Histogram chunks: whole and float counts, with and without start timestamps.
//!
//! ```text
//! field →     t     count zero  sum  buckets          float kind: count, zero and
//! sample 0    raw   raw   raw   raw  raw               buckets as floats, raw,
//! later       ΔΔ    ΔΔ    ΔΔ    xor  ΔΔ each           then xor each
//! ```
//!
//! All histograms of a chunk share one layout (schema, spans, bounds). The
//! [`Appender`] decides what a histogram that differs does to the chunk:
//! buckets the chunk lacks make it **recoded** with wider spans; buckets the
//! histogram lacks, if they were empty, widen the histogram; a counter reset or
//! another schema, threshold or set of bounds starts a **new chunk**.
//! Source of the rules: Prometheus `tsdb/chunkenc/histogram.go`.

mod float;
mod integer;

use std::sync::Arc;

use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{CounterResetHint, FloatHistogram, Span, is_stale_nan};

use super::ChunkError;
use super::bits::{BitReader, BitWriter};
use super::layout::{HEADER_LEN, Header, Layout};
use super::spans::{Alignment, Insert, align};
use super::start::{StartDecoder, StartField, StartState};

pub use super::layout::ResetHeader;
pub use float::FloatKind;
pub use integer::IntegerKind;

/// Appends histograms of whole counts.
pub type HistogramAppender = Appender<IntegerKind>;
/// Appends histograms of float counts.
pub type FloatHistogramAppender = Appender<FloatKind>;

/// What the appender and the decoder need to know of a kind of histogram:
/// [`IntegerKind`] or [`FloatKind`].
pub trait Kind: Sized {
    /// A histogram of the kind.
    type Histogram: Clone;
    /// The newest sample's fields, as the next one is coded against them.
    type Fields: Default + Clone;
    /// The fewest bits a bucket of the first sample takes.
    const BUCKET_BITS: usize;

    /// The parts both kinds have.
    fn view(sample: &Self::Histogram) -> View<'_>;
    /// A staleness marker without buckets.
    fn stale(sum: f64) -> Self::Histogram;
    /// Gives a sample wider spans and puts empty buckets in.
    fn widen(
        sample: &mut Self::Histogram,
        positive: (Arc<[Span]>, &[Insert]),
        negative: (Arc<[Span]>, &[Insert]),
    );

    /// Writes the first sample.
    fn put_first(
        fields: &mut Self::Fields,
        out: &mut BitWriter,
        t: i64,
        sample: &Self::Histogram,
        layout: &Layout,
    );
    /// Writes a later sample.
    fn put_next(fields: &mut Self::Fields, out: &mut BitWriter, t: i64, sample: &Self::Histogram);
    /// Reads the first sample.
    fn take_first(fields: &mut Self::Fields, reader: &mut BitReader<'_>, layout: &Layout);
    /// Reads a later sample.
    fn take_next(fields: &mut Self::Fields, reader: &mut BitReader<'_>);

    /// Time of the newest sample.
    fn t(fields: &Self::Fields) -> i64;
    /// Sum of the newest sample.
    fn sum(fields: &Self::Fields) -> f64;
    /// Whether count or zero count of a sample are below the newest's.
    fn count_fell(fields: &Self::Fields, sample: &Self::Histogram) -> bool;
    /// The same of the zero bucket.
    fn zero_count_fell(fields: &Self::Fields, sample: &Self::Histogram) -> bool;
    /// How the newest sample's buckets go together with a sample's, `None`
    /// where a bucket lost counts.
    fn counter_alignment(
        fields: &Self::Fields,
        layout: &Layout,
        sample: &Self::Histogram,
    ) -> Option<(Alignment, Alignment)>;
    /// The newest sample as it is stored.
    fn sample(fields: &Self::Fields, layout: &Layout, hint: CounterResetHint) -> Self::Histogram;
    /// The newest sample as a float histogram.
    fn float_sample(fields: &Self::Fields, layout: &Layout, hint: CounterResetHint) -> FloatHistogram;
    /// Bytes the fields hold.
    fn heap_bytes(fields: &Self::Fields) -> usize;
}

/// The parts both kinds of histograms have.
pub struct View<'a> {
    pub(crate) hint: CounterResetHint,
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) sum: f64,
    pub(crate) positive_spans: &'a Arc<[Span]>,
    pub(crate) negative_spans: &'a Arc<[Span]>,
    pub(crate) custom_values: &'a Arc<[f64]>,
}

/// What an append did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The sample went into the chunk.
    Appended,
    /// The sample did not fit: it opened a new chunk, which the appender now
    /// holds. These are the bytes of the old one, complete.
    NewChunk(Vec<u8>),
    /// The chunk was written anew with wider spans and has the sample.
    Recoded,
}

/// An open histogram chunk: its bytes, always complete and readable, and what
/// is needed to append more.
#[derive(Clone)]
pub struct Appender<K: Kind> {
    out: BitWriter,
    header: Header,
    starts: StartState,
    layout: Layout,
    fields: K::Fields,
}

/// What a histogram does to a chunk.
enum Fit {
    /// It starts a new chunk with this header.
    NewChunk(ResetHeader),
    /// It goes in after this widening: positive, negative.
    Fits(Alignment, Alignment),
}

impl<K: Kind> Appender<K> {
    /// A chunk without samples; `with_start` makes it one that keeps start timestamps.
    pub fn new(with_start: bool) -> Appender<K> {
        Appender {
            out: BitWriter::after(vec![0; HEADER_LEN]),
            header: Header { samples: 0, reset: ResetHeader::Unknown, start: with_start.then_some(0) },
            starts: StartState::default(),
            layout: Layout::empty(),
            fields: K::Fields::default(),
        }
    }

    /// Goes on with a chunk's bytes.
    ///
    /// # Errors
    /// The bytes are no chunk of the kind.
    pub fn resume(bytes: &[u8], with_start: bool) -> Result<Appender<K>, ChunkError> {
        let mut decoder = Decoder::<K>::new(bytes, with_start)?;
        while decoder.next()? {}
        decoder.reader.check_padding()?;
        Ok(decoder.into_appender(bytes))
    }

    /// The chunk's bytes: at any time a whole chunk.
    pub fn bytes(&self) -> &[u8] {
        self.out.bytes()
    }

    /// Gives the chunk's bytes away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out.into_bytes()
    }

    /// How many samples the chunk has.
    pub fn num_samples(&self) -> u16 {
        self.header.samples
    }

    /// What the chunk says of a reset at its start.
    pub fn reset_header(&self) -> ResetHeader {
        self.header.reset
    }

    /// Whether the chunk keeps start timestamps.
    pub fn keeps_start(&self) -> bool {
        self.header.start.is_some()
    }

    /// Time of the newest sample in ms, `None` without samples.
    pub fn last_timestamp_ms(&self) -> Option<i64> {
        (self.header.samples > 0).then(|| K::t(&self.fields))
    }

    /// The newest sample's start timestamp in ms, 0 where unknown.
    pub fn last_start_ms(&self) -> i64 {
        self.starts.last_start_ms()
    }

    /// Whether the newest sample is a staleness marker.
    pub fn is_stale(&self) -> bool {
        self.header.samples > 0 && is_stale_nan(K::sum(&self.fields))
    }

    /// The newest sample as stored: with the chunk's spans.
    pub fn last_sample(&self) -> Option<K::Histogram> {
        match self.header.samples {
            0 => None,
            _ if self.is_stale() => Some(K::stale(K::sum(&self.fields))),
            read => Some(K::sample(&self.fields, &self.layout, hint(self.header.reset, read))),
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.out.heap_bytes() + self.layout.heap_bytes() + K::heap_bytes(&self.fields)
    }

    /// Whether another sample may be appended to this chunk.
    pub fn has_room(&self) -> bool {
        self.header.samples < self.header.samples_max()
    }

    /// Appends a histogram, whose buckets must be as many as its spans say.
    ///
    /// A full chunk counts as one that the histogram does not fit into.
    pub fn append(
        &mut self,
        start_timestamp_ms: i64,
        timestamp_ms: i64,
        histogram: &K::Histogram,
    ) -> Appended {
        if self.header.samples == 0 {
            self.header.reset = first_header(K::view(histogram).hint).unwrap_or(ResetHeader::Unknown);
            self.push(start_timestamp_ms, timestamp_ms, histogram);
            return Appended::Appended;
        }
        if !self.has_room() {
            return Appended::NewChunk(self.append_to_new_chunk(start_timestamp_ms, timestamp_ms, histogram));
        }
        let (positive, negative) = match self.fit(histogram) {
            Fit::NewChunk(header) => {
                return Appended::NewChunk(self.replace(header, start_timestamp_ms, timestamp_ms, histogram));
            }
            Fit::Fits(positive, negative) => (positive, negative),
        };
        let grows = !positive.into_first.is_empty() || !negative.into_first.is_empty();
        let widens = !positive.into_second.is_empty() || !negative.into_second.is_empty();
        if !grows && !widens {
            self.push(start_timestamp_ms, timestamp_ms, histogram);
            return Appended::Appended;
        }
        let mut histogram = histogram.clone();
        if widens {
            self.widen_sample(&mut histogram, &positive, &negative, grows);
        }
        if grows {
            let view = K::view(&histogram);
            let spans = (view.positive_spans.clone(), view.negative_spans.clone());
            self.recode(spans, &positive.into_first, &negative.into_first);
        }
        self.push(start_timestamp_ms, timestamp_ms, &histogram);
        if grows { Appended::Recoded } else { Appended::Appended }
    }

    /// Closes the chunk whatever it holds, opens a new one with the histogram and
    /// answers the old one's bytes. What the header of the new one says of a
    /// reset comes from the old one's newest sample.
    pub fn append_to_new_chunk(
        &mut self,
        start_timestamp_ms: i64,
        timestamp_ms: i64,
        histogram: &K::Histogram,
    ) -> Vec<u8> {
        let view = K::view(histogram);
        let header = first_header(view.hint).unwrap_or_else(|| match self.header.samples {
            0 => ResetHeader::Unknown,
            _ => match self.counter_fit(histogram) {
                Fit::NewChunk(header) => header,
                Fit::Fits(..) => ResetHeader::NotReset,
            },
        });
        self.replace(header, start_timestamp_ms, timestamp_ms, histogram)
    }

    fn replace(&mut self, header: ResetHeader, start_ms: i64, t: i64, histogram: &K::Histogram) -> Vec<u8> {
        let old = std::mem::replace(self, Appender::new(self.keeps_start()));
        self.header.reset = header;
        self.push(start_ms, t, histogram);
        old.into_bytes()
    }

    fn fit(&self, histogram: &K::Histogram) -> Fit {
        if K::view(histogram).hint == CounterResetHint::Gauge {
            self.gauge_fit(histogram)
        } else {
            self.counter_fit(histogram)
        }
    }

    /// Whether a counter histogram goes on where the chunk ends.
    fn counter_fit(&self, histogram: &K::Histogram) -> Fit {
        let view = K::view(histogram);
        if self.header.reset == ResetHeader::Gauge {
            return Fit::NewChunk(ResetHeader::NotReset);
        }
        if view.hint == CounterResetHint::CounterReset {
            return Fit::NewChunk(ResetHeader::Reset);
        }
        if is_stale_nan(view.sum) {
            return Fit::Fits(Alignment::default(), Alignment::default());
        }
        if is_stale_nan(K::sum(&self.fields)) {
            return Fit::NewChunk(ResetHeader::Unknown);
        }
        if K::count_fell(&self.fields, histogram) {
            return Fit::NewChunk(ResetHeader::Reset);
        }
        if view.schema != self.layout.schema || view.zero_threshold != self.layout.zero_threshold {
            return Fit::NewChunk(ResetHeader::Unknown);
        }
        if !self.same_bounds(&view) || K::zero_count_fell(&self.fields, histogram) {
            return Fit::NewChunk(ResetHeader::Reset);
        }
        match K::counter_alignment(&self.fields, &self.layout, histogram) {
            Some((positive, negative)) => Fit::Fits(positive, negative),
            None => Fit::NewChunk(ResetHeader::Reset),
        }
    }

    /// Whether a gauge histogram may follow in the chunk.
    fn gauge_fit(&self, histogram: &K::Histogram) -> Fit {
        let view = K::view(histogram);
        let new_chunk = Fit::NewChunk(ResetHeader::Gauge);
        if self.header.reset != ResetHeader::Gauge {
            return new_chunk;
        }
        if is_stale_nan(view.sum) {
            return Fit::Fits(Alignment::default(), Alignment::default());
        }
        let same_layout = view.schema == self.layout.schema
            && view.zero_threshold == self.layout.zero_threshold
            && self.same_bounds(&view);
        if is_stale_nan(K::sum(&self.fields)) || !same_layout {
            return new_chunk;
        }
        let positive = align(&self.layout.positive_spans, view.positive_spans, |_, _| true);
        let negative = align(&self.layout.negative_spans, view.negative_spans, |_, _| true);
        match (positive, negative) {
            (Some(positive), Some(negative)) => Fit::Fits(positive, negative),
            _ => new_chunk,
        }
    }

    fn same_bounds(&self, view: &View<'_>) -> bool {
        view.schema != CUSTOM_BUCKETS_SCHEMA || **view.custom_values == *self.layout.custom_values
    }

    /// Gives a histogram the empty buckets that only the chunk has.
    fn widen_sample(
        &self,
        histogram: &mut K::Histogram,
        positive: &Alignment,
        negative: &Alignment,
        grows: bool,
    ) {
        let gauge = self.header.reset == ResetHeader::Gauge;
        let view = K::view(histogram);
        // Which spans are written matters only where the chunk is recoded; they
        // are upstream's: the chunk's own, else those of all buckets, and a side
        // of a counter that lacks nothing keeps what it came with.
        let spans = |side: &Alignment, chunk: &Arc<[Span]>, own: &Arc<[Span]>| -> Arc<[Span]> {
            if gauge {
                side.union.as_slice().into()
            } else if !grows {
                chunk.clone()
            } else if side.into_second.is_empty() {
                own.clone()
            } else {
                side.union.as_slice().into()
            }
        };
        let positive_spans = spans(positive, &self.layout.positive_spans, view.positive_spans);
        let negative_spans = spans(negative, &self.layout.negative_spans, view.negative_spans);
        K::widen(histogram, (positive_spans, &positive.into_second), (negative_spans, &negative.into_second));
    }

    /// Writes the chunk anew with wider spans.
    fn recode(&mut self, spans: (Arc<[Span]>, Arc<[Span]>), positive: &[Insert], negative: &[Insert]) {
        let mut recoded = Appender::<K>::new(self.keeps_start());
        recoded.header.reset = self.header.reset;
        let mut decoder = Decoder::<K>::new(self.out.bytes(), self.keeps_start())
            .expect("the appender's own bytes are a chunk");
        while decoder.next().expect("the appender's own bytes are a chunk") {
            let mut sample = decoder.stored();
            K::widen(&mut sample, (spans.0.clone(), positive), (spans.1.clone(), negative));
            recoded.push(decoder.start_ms(), decoder.t(), &sample);
        }
        *self = recoded;
    }

    /// Writes a sample that fits.
    fn push(&mut self, start_ms: i64, t: i64, histogram: &K::Histogram) {
        let index = self.header.samples;
        let previous_ms = K::t(&self.fields);
        let stale;
        let histogram = if is_stale_nan(K::view(histogram).sum) {
            stale = K::stale(K::view(histogram).sum);
            &stale
        } else {
            histogram
        };
        if index == 0 {
            let view = K::view(histogram);
            self.layout = Layout::new(
                view.schema,
                view.zero_threshold,
                view.positive_spans.clone(),
                view.negative_spans.clone(),
                view.custom_values.clone(),
            );
            self.layout.put(&mut self.out);
            K::put_first(&mut self.fields, &mut self.out, t, histogram, &self.layout);
        } else {
            K::put_next(&mut self.fields, &mut self.out, t, histogram);
        }
        if self.header.start.is_some() {
            match self.starts.next(index, previous_ms, t, start_ms) {
                StartField::Nothing => {}
                StartField::First(field) => self.out.put_varint(field),
                StartField::Diff(field) => self.out.put_varbit_int(field),
            }
            self.header.start = Some(self.starts.header);
        }
        self.header.samples = index + 1;
        self.header.write(self.out.bytes_mut());
    }
}

/// The header of a chunk that a histogram with this hint opens, where the hint decides it.
fn first_header(hint: CounterResetHint) -> Option<ResetHeader> {
    match hint {
        CounterResetHint::Gauge => Some(ResetHeader::Gauge),
        CounterResetHint::CounterReset => Some(ResetHeader::Reset),
        CounterResetHint::Unknown | CounterResetHint::NotCounterReset => None,
    }
}

/// What is known of a reset before the sample that was read as number `read` (from 1).
fn hint(header: ResetHeader, read: u16) -> CounterResetHint {
    match header {
        ResetHeader::Gauge => CounterResetHint::Gauge,
        _ if read > 1 => CounterResetHint::NotCounterReset,
        // What the header says holds against the chunk before, which may have been
        // deleted, or overlap: whoever reads compares the buckets.
        _ => CounterResetHint::Unknown,
    }
}

/// Reads a histogram chunk from its start.
pub(super) struct Decoder<'a, K: Kind> {
    reader: BitReader<'a>,
    header: Header,
    read: u16,
    starts: StartDecoder,
    layout: Layout,
    fields: K::Fields,
}

impl<'a, K: Kind> Decoder<'a, K> {
    pub(super) fn new(bytes: &'a [u8], with_start: bool) -> Result<Decoder<'a, K>, ChunkError> {
        let header = Header::read(bytes, with_start)?;
        let reader = BitReader::new(bytes, HEADER_LEN);
        // Time, count, zero count and sum: a bit each is the least.
        if usize::from(header.samples) > reader.left() / 4 {
            return Err(ChunkError::Truncated);
        }
        Ok(Decoder {
            reader,
            header,
            read: 0,
            starts: StartDecoder::new(header.start.unwrap_or(0)),
            layout: Layout::empty(),
            fields: K::Fields::default(),
        })
    }

    /// Samples of the whole chunk.
    pub(super) fn count(&self) -> usize {
        usize::from(self.header.samples)
    }

    /// Goes to the next sample; `false` behind the last.
    pub(super) fn next(&mut self) -> Result<bool, ChunkError> {
        if self.read == self.header.samples {
            return Ok(false);
        }
        let previous_ms = K::t(&self.fields);
        if self.read == 0 {
            self.layout = Layout::take(&mut self.reader, K::BUCKET_BITS)?;
            K::take_first(&mut self.fields, &mut self.reader, &self.layout);
        } else {
            K::take_next(&mut self.fields, &mut self.reader);
        }
        let t = self.t();
        self.starts.read(&mut self.reader, usize::from(self.read), previous_ms, t)?;
        self.read += 1;
        self.reader.check()?;
        Ok(true)
    }

    /// Time of the sample.
    pub(super) fn t(&self) -> i64 {
        K::t(&self.fields)
    }

    /// Its start timestamp, 0 where unknown.
    pub(super) fn start_ms(&self) -> i64 {
        self.starts.current_ms()
    }

    /// The sample as it is stored.
    pub(super) fn stored(&self) -> K::Histogram {
        if is_stale_nan(K::sum(&self.fields)) {
            return K::stale(K::sum(&self.fields));
        }
        K::sample(&self.fields, &self.layout, hint(self.header.reset, self.read))
    }

    /// The sample as a float histogram.
    pub(super) fn float(&self) -> FloatHistogram {
        if is_stale_nan(K::sum(&self.fields)) {
            return FloatKind::stale_float(K::sum(&self.fields));
        }
        K::float_sample(&self.fields, &self.layout, hint(self.header.reset, self.read))
    }

    fn into_appender(self, bytes: &[u8]) -> Appender<K> {
        let bits = self.reader.position();
        let used = bytes[..bits.div_ceil(8)].to_vec();
        let free = (used.len() * 8 - bits) as u32;
        let mut header = self.header;
        let starts = self.starts.state();
        header.start = header.start.map(|_| starts.header);
        Appender {
            out: BitWriter::resume(used, free),
            header,
            starts,
            layout: self.layout,
            fields: self.fields,
        }
    }
}
