//! Histogram records: whole and float counts, four older kinds that keep custom
//! buckets apart, two newer ones that hold both and start timestamps.

use std::sync::Arc;

use model::histogram::{
    CUSTOM_BUCKETS_SCHEMA, EXPONENTIAL_SCHEMA_MAX_RESERVED, EXPONENTIAL_SCHEMA_MIN_RESERVED, no_bounds,
    no_spans,
};
use model::{CounterResetHint, FloatHistogram, Histogram, SeriesRef, Span};

use super::{Bases, RecordType, entries, ref_delta, ref_plus};
use crate::chunk::reduce;
use crate::corruption::Damage;
use crate::cursor::{Cursor, put_uvarint, put_varint};

/// A histogram of whole counts.
#[derive(Clone, Debug)]
pub struct RefHistogram {
    /// The series.
    pub series: SeriesRef,
    /// Its time in ms.
    pub timestamp_ms: i64,
    /// Its start timestamp in ms, 0 where unknown.
    pub start_timestamp_ms: i64,
    /// The histogram.
    pub histogram: Histogram,
}

/// A histogram of float counts.
#[derive(Clone, Debug)]
pub struct RefFloatHistogram {
    /// The series.
    pub series: SeriesRef,
    /// Its time in ms.
    pub timestamp_ms: i64,
    /// Its start timestamp in ms, 0 where unknown.
    pub start_timestamp_ms: i64,
    /// The histogram.
    pub histogram: FloatHistogram,
}

/// The two kinds of entries.
trait Entry: Sized {
    const OLD: [RecordType; 2];
    const NEW: RecordType;
    fn place(&self) -> (SeriesRef, i64, i64);
    fn is_custom(&self) -> bool;
    fn put(&self, out: &mut Vec<u8>);
    fn take(place: (SeriesRef, i64, i64), cursor: &mut Cursor<'_>) -> Result<(Self, i32), Damage>;
    fn reduce(self) -> Self;
}

impl Entry for RefHistogram {
    const OLD: [RecordType; 2] = [RecordType::Histograms, RecordType::CustomHistograms];
    const NEW: RecordType = RecordType::HistogramsV2;

    fn place(&self) -> (SeriesRef, i64, i64) {
        (self.series, self.timestamp_ms, self.start_timestamp_ms)
    }

    fn is_custom(&self) -> bool {
        self.histogram.uses_custom_buckets()
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_histogram(out, &self.histogram);
    }

    fn take(
        (series, timestamp_ms, start_timestamp_ms): (SeriesRef, i64, i64),
        cursor: &mut Cursor<'_>,
    ) -> Result<(Self, i32), Damage> {
        let histogram = take_histogram(cursor)?;
        let schema = histogram.schema;
        Ok((RefHistogram { series, timestamp_ms, start_timestamp_ms, histogram }, schema))
    }

    fn reduce(mut self) -> Self {
        self.histogram = reduce::integer(self.histogram);
        self
    }
}

impl Entry for RefFloatHistogram {
    const OLD: [RecordType; 2] = [RecordType::FloatHistograms, RecordType::CustomFloatHistograms];
    const NEW: RecordType = RecordType::FloatHistogramsV2;

    fn place(&self) -> (SeriesRef, i64, i64) {
        (self.series, self.timestamp_ms, self.start_timestamp_ms)
    }

    fn is_custom(&self) -> bool {
        self.histogram.uses_custom_buckets()
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_float_histogram(out, &self.histogram);
    }

    fn take(
        (series, timestamp_ms, start_timestamp_ms): (SeriesRef, i64, i64),
        cursor: &mut Cursor<'_>,
    ) -> Result<(Self, i32), Damage> {
        let histogram = take_float_histogram(cursor)?;
        let schema = histogram.schema;
        Ok((RefFloatHistogram { series, timestamp_ms, start_timestamp_ms, histogram }, schema))
    }

    fn reduce(mut self) -> Self {
        self.histogram = reduce::float(self.histogram);
        self
    }
}

/// Writes those of a batch that are (`custom`) or are not of custom buckets.
/// Upstream's base is the batch's first entry for the one record and the first
/// entry of its kind for the other.
fn put_old<E: Entry>(out: &mut Vec<u8>, all: &[E], custom: bool) -> bool {
    let Some(first_of_kind) = all.iter().find(|entry| entry.is_custom() == custom) else {
        return false;
    };
    let (series, first_ms, _) = if custom { first_of_kind.place() } else { all[0].place() };
    out.push(E::OLD[usize::from(custom)] as u8);
    out.extend_from_slice(&series.0.to_be_bytes());
    out.extend_from_slice(&first_ms.to_be_bytes());
    for entry in all.iter().filter(|entry| entry.is_custom() == custom) {
        let (reference, timestamp_ms, _) = entry.place();
        put_varint(out, ref_delta(reference, series));
        put_varint(out, timestamp_ms.wrapping_sub(first_ms));
        entry.put(out);
    }
    true
}

fn put_new<E: Entry>(out: &mut Vec<u8>, all: &[E]) {
    out.push(E::NEW as u8);
    let mut bases = Bases::default();
    for entry in all {
        let (series, timestamp_ms, start_ms) = entry.place();
        bases.put(out, series, timestamp_ms, start_ms);
        entry.put(out);
    }
}

fn decode<E: Entry>(record: &[u8], all: &mut Vec<E>) -> Result<usize, Damage> {
    let (kind, mut cursor) = entries(record, &[E::OLD[0], E::OLD[1], E::NEW])?;
    let mut skipped = 0;
    if cursor.is_empty() {
        return Ok(skipped);
    }
    let mut keep = |entry: E, schema: i32, all: &mut Vec<E>| {
        let exponential = EXPONENTIAL_SCHEMA_MIN_RESERVED..=EXPONENTIAL_SCHEMA_MAX_RESERVED;
        if schema == CUSTOM_BUCKETS_SCHEMA || exponential.contains(&schema) {
            all.push(entry.reduce());
        } else {
            skipped += 1;
        }
    };
    if kind == E::NEW {
        let mut bases = Bases::default();
        while !cursor.is_empty() {
            let place = bases.take(&mut cursor)?;
            let (entry, schema) = E::take(place, &mut cursor)?;
            keep(entry, schema, all);
        }
        return Ok(skipped);
    }
    let series = SeriesRef(cursor.be_u64("a series reference")?);
    let first_ms = cursor.be_i64("a timestamp")?;
    while !cursor.is_empty() {
        let reference = ref_plus(series, cursor.varint("a series reference")?);
        let timestamp_ms = first_ms.wrapping_add(cursor.varint("a timestamp")?);
        let (entry, schema) = E::take((reference, timestamp_ms, 0), &mut cursor)?;
        keep(entry, schema, all);
    }
    Ok(skipped)
}

/// Appends a record of those histograms that have no custom buckets; `false`,
/// and nothing, where none is such.
pub fn put_histograms(out: &mut Vec<u8>, all: &[RefHistogram]) -> bool {
    put_old(out, all, false)
}

/// Appends a record of those histograms that have custom buckets; `false`, and
/// nothing, where none is such.
pub fn put_custom_histograms(out: &mut Vec<u8>, all: &[RefHistogram]) -> bool {
    put_old(out, all, true)
}

/// As [`put_histograms`], of float counts.
pub fn put_float_histograms(out: &mut Vec<u8>, all: &[RefFloatHistogram]) -> bool {
    put_old(out, all, false)
}

/// As [`put_custom_histograms`], of float counts.
pub fn put_custom_float_histograms(out: &mut Vec<u8>, all: &[RefFloatHistogram]) -> bool {
    put_old(out, all, true)
}

/// Appends a record of histograms of any schema with start timestamps.
pub fn put_histograms_v2(out: &mut Vec<u8>, all: &[RefHistogram]) {
    put_new(out, all);
}

/// As [`put_histograms_v2`], of float counts.
pub fn put_float_histograms_v2(out: &mut Vec<u8>, all: &[RefFloatHistogram]) {
    put_new(out, all);
}

/// Reads a record of histograms of whole counts, of any of the three types.
/// Answers how many were left out because their schema is unknown; too fine
/// ones are brought down to the finest in use.
///
/// # Errors
/// The record is damaged; what precedes the damage was appended.
pub fn decode_histograms(record: &[u8], all: &mut Vec<RefHistogram>) -> Result<usize, Damage> {
    decode(record, all)
}

/// As [`decode_histograms`], of float counts.
///
/// # Errors
/// As [`decode_histograms`].
pub fn decode_float_histograms(record: &[u8], all: &mut Vec<RefFloatHistogram>) -> Result<usize, Damage> {
    decode(record, all)
}

fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_be_bytes());
}

fn put_spans(out: &mut Vec<u8>, spans: &[Span]) {
    put_uvarint(out, spans.len() as u64);
    for span in spans {
        put_varint(out, i64::from(span.offset));
        put_uvarint(out, u64::from(span.length));
    }
}

fn take_spans(cursor: &mut Cursor<'_>) -> Result<Arc<[Span]>, Damage> {
    let count = cursor.count(2, "spans")?;
    if count == 0 {
        return Ok(no_spans());
    }
    (0..count)
        .map(|_| {
            let offset = cursor.varint("a span's offset")?;
            let length = cursor.uvarint("a span's length")?;
            match (i32::try_from(offset), u32::try_from(length)) {
                (Ok(offset), Ok(length)) => Ok(Span { offset, length }),
                _ => Err(Damage::Malformed("a span is out of range")),
            }
        })
        .collect()
}

/// A histogram must have as many buckets as its spans say.
fn check_shape(spans: [&[Span]; 2], buckets: [usize; 2]) -> Result<(), Damage> {
    let len = |spans: &[Span]| spans.iter().map(|span| u64::from(span.length)).sum::<u64>();
    if len(spans[0]) != buckets[0] as u64 || len(spans[1]) != buckets[1] as u64 {
        return Err(Damage::Malformed("a histogram's buckets do not match its spans"));
    }
    Ok(())
}

fn take_hint(cursor: &mut Cursor<'_>) -> Result<CounterResetHint, Damage> {
    Ok(match cursor.u8("a counter reset hint")? {
        1 => CounterResetHint::CounterReset,
        2 => CounterResetHint::NotCounterReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    })
}

fn take_schema(cursor: &mut Cursor<'_>) -> Result<i32, Damage> {
    i32::try_from(cursor.varint("a schema")?).map_err(|_| Damage::Malformed("a schema is out of range"))
}

fn put_bounds(out: &mut Vec<u8>, schema: i32, bounds: &[f64]) {
    if schema == CUSTOM_BUCKETS_SCHEMA {
        put_uvarint(out, bounds.len() as u64);
        bounds.iter().for_each(|&bound| put_f64(out, bound));
    }
}

fn take_bounds(cursor: &mut Cursor<'_>, schema: i32) -> Result<Arc<[f64]>, Damage> {
    if schema != CUSTOM_BUCKETS_SCHEMA {
        return Ok(no_bounds());
    }
    let count = cursor.count(8, "custom bounds")?;
    (0..count).map(|_| cursor.be_f64("a custom bound")).collect()
}

/// Writes a histogram of whole counts.
pub(crate) fn put_histogram(out: &mut Vec<u8>, h: &Histogram) {
    out.push(h.counter_reset_hint as u8);
    put_varint(out, i64::from(h.schema));
    put_f64(out, h.zero_threshold);
    put_uvarint(out, h.zero_count);
    put_uvarint(out, h.count);
    put_f64(out, h.sum);
    put_spans(out, &h.positive_spans);
    put_spans(out, &h.negative_spans);
    for buckets in [&h.positive_buckets, &h.negative_buckets] {
        put_uvarint(out, buckets.len() as u64);
        buckets.iter().for_each(|&delta| put_varint(out, delta));
    }
    put_bounds(out, h.schema, &h.custom_values);
}

/// Reads a histogram of whole counts.
pub(crate) fn take_histogram(cursor: &mut Cursor<'_>) -> Result<Histogram, Damage> {
    let counter_reset_hint = take_hint(cursor)?;
    let schema = take_schema(cursor)?;
    let zero_threshold = cursor.be_f64("a zero threshold")?;
    let zero_count = cursor.uvarint("a zero count")?;
    let count = cursor.uvarint("a count")?;
    let sum = cursor.be_f64("a sum")?;
    let positive_spans = take_spans(cursor)?;
    let negative_spans = take_spans(cursor)?;
    let buckets = |cursor: &mut Cursor<'_>| -> Result<Vec<i64>, Damage> {
        let count = cursor.count(1, "buckets")?;
        (0..count).map(|_| cursor.varint("a bucket")).collect()
    };
    let positive_buckets = buckets(cursor)?;
    let negative_buckets = buckets(cursor)?;
    let custom_values = take_bounds(cursor, schema)?;
    check_shape([&positive_spans, &negative_spans], [positive_buckets.len(), negative_buckets.len()])?;
    Ok(Histogram {
        counter_reset_hint,
        schema,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive_spans,
        negative_spans,
        positive_buckets,
        negative_buckets,
        custom_values,
    })
}

/// Writes a histogram of float counts.
pub(crate) fn put_float_histogram(out: &mut Vec<u8>, h: &FloatHistogram) {
    out.push(h.counter_reset_hint as u8);
    put_varint(out, i64::from(h.schema));
    put_f64(out, h.zero_threshold);
    put_f64(out, h.zero_count);
    put_f64(out, h.count);
    put_f64(out, h.sum);
    put_spans(out, &h.positive_spans);
    put_spans(out, &h.negative_spans);
    for buckets in [&h.positive_buckets, &h.negative_buckets] {
        put_uvarint(out, buckets.len() as u64);
        buckets.iter().for_each(|&value| put_f64(out, value));
    }
    put_bounds(out, h.schema, &h.custom_values);
}

/// Reads a histogram of float counts.
pub(crate) fn take_float_histogram(cursor: &mut Cursor<'_>) -> Result<FloatHistogram, Damage> {
    let counter_reset_hint = take_hint(cursor)?;
    let schema = take_schema(cursor)?;
    let zero_threshold = cursor.be_f64("a zero threshold")?;
    let zero_count = cursor.be_f64("a zero count")?;
    let count = cursor.be_f64("a count")?;
    let sum = cursor.be_f64("a sum")?;
    let positive_spans = take_spans(cursor)?;
    let negative_spans = take_spans(cursor)?;
    let buckets = |cursor: &mut Cursor<'_>| -> Result<Vec<f64>, Damage> {
        let count = cursor.count(8, "buckets")?;
        (0..count).map(|_| cursor.be_f64("a bucket")).collect()
    };
    let positive_buckets = buckets(cursor)?;
    let negative_buckets = buckets(cursor)?;
    let custom_values = take_bounds(cursor, schema)?;
    check_shape([&positive_spans, &negative_spans], [positive_buckets.len(), negative_buckets.len()])?;
    Ok(FloatHistogram {
        counter_reset_hint,
        schema,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive_spans,
        negative_spans,
        positive_buckets,
        negative_buckets,
        custom_values,
    })
}
