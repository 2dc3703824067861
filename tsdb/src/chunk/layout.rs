//! What all histograms of a chunk share, and the chunk's header.
//!
//! ```text
//! plain  count 2 │ flags 1     │ layout …      flags: reset bits 7-6
//! ST     count 2 │ ST header 1 │ layout …      reset bits on top of the count
//!
//! layout: zero threshold │ schema varbit │ positive spans │ negative spans │ custom bounds
//! spans:  number varbit  │ (length varbit, offset varbit)*
//! ```

use std::sync::Arc;

use model::Span;
use model::histogram::{
    CUSTOM_BUCKETS_SCHEMA, EXPONENTIAL_SCHEMA_MAX_RESERVED, EXPONENTIAL_SCHEMA_MIN_RESERVED, no_bounds,
    no_spans,
};

use super::bits::{BitReader, BitWriter};
use super::{COUNT_LEN, COUNT_MASK_HISTOGRAM_ST, ChunkError};

/// Bytes before the layout.
pub(super) const HEADER_LEN: usize = 3;
/// Offset of the flag byte, or of the start timestamps' header byte.
pub(super) const THIRD_BYTE_AT: usize = COUNT_LEN;
const _: () = assert!(THIRD_BYTE_AT + 1 == HEADER_LEN);

const RESET_MASK: u8 = 0b1100_0000;

/// What a chunk's header says about counter resets at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ResetHeader {
    /// Nothing is known.
    #[default]
    Unknown = 0b0000_0000,
    /// There was none.
    NotReset = 0b0100_0000,
    /// A reset made this chunk begin.
    Reset = 0b1000_0000,
    /// The chunk holds gauges.
    Gauge = 0b1100_0000,
}

impl ResetHeader {
    fn from_bits(byte: u8) -> ResetHeader {
        match byte & RESET_MASK {
            0b0000_0000 => ResetHeader::Unknown,
            0b0100_0000 => ResetHeader::NotReset,
            0b1000_0000 => ResetHeader::Reset,
            _ => ResetHeader::Gauge,
        }
    }
}

/// The three bytes before the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) samples: u16,
    pub(super) reset: ResetHeader,
    /// The start timestamps' header byte of an ST chunk.
    pub(super) start: Option<u8>,
}

impl Header {
    pub(super) fn read(bytes: &[u8], with_start: bool) -> Result<Header, ChunkError> {
        let [high, low, third] = *bytes.first_chunk::<HEADER_LEN>().ok_or(ChunkError::Truncated)?;
        let count = u16::from_be_bytes([high, low]);
        Ok(if with_start {
            Header {
                samples: count & COUNT_MASK_HISTOGRAM_ST,
                reset: ResetHeader::from_bits(high),
                start: Some(third),
            }
        } else {
            Header { samples: count, reset: ResetHeader::from_bits(third), start: None }
        })
    }

    pub(super) fn write(&self, bytes: &mut [u8]) {
        let mut count = self.samples.to_be_bytes();
        let third = match self.start {
            Some(start) => {
                count[0] |= self.reset as u8;
                start
            }
            None => self.reset as u8,
        };
        bytes[..COUNT_LEN].copy_from_slice(&count);
        bytes[THIRD_BYTE_AT] = third;
    }

    /// The most samples a chunk of this kind holds.
    pub(super) fn samples_max(&self) -> u16 {
        if self.start.is_some() { COUNT_MASK_HISTOGRAM_ST } else { u16::MAX }
    }
}

/// What all histograms of a chunk share.
#[derive(Clone, Debug)]
pub struct Layout {
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) positive_spans: Arc<[Span]>,
    pub(super) negative_spans: Arc<[Span]>,
    pub(super) custom_values: Arc<[f64]>,
    pub(super) positive_len: usize,
    pub(super) negative_len: usize,
}

impl Layout {
    pub(super) fn new(
        schema: i32,
        zero_threshold: f64,
        positive_spans: Arc<[Span]>,
        negative_spans: Arc<[Span]>,
        custom_values: Arc<[f64]>,
    ) -> Layout {
        let len = |spans: &[Span]| spans.iter().map(|span| span.length as usize).sum();
        Layout {
            schema,
            zero_threshold,
            positive_len: len(&positive_spans),
            negative_len: len(&negative_spans),
            positive_spans,
            negative_spans,
            custom_values,
        }
    }

    /// The layout of a staleness marker that opens a chunk.
    pub(super) fn empty() -> Layout {
        Layout::new(0, 0.0, no_spans(), no_spans(), no_bounds())
    }

    pub(super) fn put(&self, out: &mut BitWriter) {
        put_zero_threshold(out, self.zero_threshold);
        out.put_varbit_int(i64::from(self.schema));
        put_spans(out, &self.positive_spans);
        put_spans(out, &self.negative_spans);
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            out.put_varbit_uint(self.custom_values.len() as u64);
            for &bound in self.custom_values.iter() {
                put_bound(out, bound);
            }
        }
    }

    /// Reads a layout; each bucket is expected to take at least `bucket_bits`
    /// of what is left, which bounds the buckets before any is allocated.
    pub(super) fn take(reader: &mut BitReader<'_>, bucket_bits: usize) -> Result<Layout, ChunkError> {
        let zero_threshold = take_zero_threshold(reader);
        let schema = reader.take_varbit_int();
        reader.check()?;
        let known = schema == i64::from(CUSTOM_BUCKETS_SCHEMA)
            || (i64::from(EXPONENTIAL_SCHEMA_MIN_RESERVED)..=i64::from(EXPONENTIAL_SCHEMA_MAX_RESERVED))
                .contains(&schema);
        let schema = schema as i32;
        if !known {
            return Err(ChunkError::UnknownSchema(schema));
        }
        let positive_spans = take_spans(reader)?;
        let negative_spans = take_spans(reader)?;
        let custom_values = if schema == CUSTOM_BUCKETS_SCHEMA { take_bounds(reader)? } else { no_bounds() };
        let layout = Layout::new(schema, zero_threshold, positive_spans, negative_spans, custom_values);
        let buckets = layout.positive_len.saturating_add(layout.negative_len);
        if buckets.saturating_mul(bucket_bits) > reader.left() {
            return Err(ChunkError::Malformed("more buckets than its bytes can hold"));
        }
        Ok(layout)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        (self.positive_spans.len() + self.negative_spans.len() + self.custom_values.len()) * 8
    }
}

fn put_spans(out: &mut BitWriter, spans: &[Span]) {
    out.put_varbit_uint(spans.len() as u64);
    for span in spans {
        out.put_varbit_uint(u64::from(span.length));
        out.put_varbit_int(i64::from(span.offset));
    }
}

fn take_spans(reader: &mut BitReader<'_>) -> Result<Arc<[Span]>, ChunkError> {
    // Two bits is the least that a span takes.
    let number =
        reader.take_varbit_uint_max(reader.left() as u64 / 2, "more spans than its bytes can hold")?;
    if number == 0 {
        return Ok(no_spans());
    }
    let mut spans = Vec::with_capacity(number as usize);
    for _ in 0..number {
        let length = reader.take_varbit_uint_max(u64::from(u32::MAX), "a span's length is out of range")?;
        let offset = i32::try_from(reader.take_varbit_int())
            .map_err(|_| ChunkError::Malformed("a span's offset is out of range"))?;
        spans.push(Span { offset, length: length as u32 });
    }
    reader.check()?;
    Ok(spans.into())
}

/// The byte that says that the threshold follows as a float.
const THRESHOLD_RAW: u8 = 255;
/// What is added to the exponent of a threshold that is a power of two.
const THRESHOLD_BIAS: i32 = 243;

fn put_zero_threshold(out: &mut BitWriter, threshold: f64) {
    if threshold == 0.0 {
        return out.put(0, 8);
    }
    // A power of two 0.5 · 2^e is 1.0 · 2^(e-1): fraction bits 0, biased exponent e - 1 + 1023.
    let bits = threshold.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1022;
    let is_power = bits >> 63 == 0 && bits << 12 == 0;
    if is_power && (-242..=11).contains(&exponent) {
        out.put((exponent + THRESHOLD_BIAS) as u64, 8);
    } else {
        out.put(u64::from(THRESHOLD_RAW), 8);
        out.put(bits, 64);
    }
}

fn take_zero_threshold(reader: &mut BitReader<'_>) -> f64 {
    match reader.take(8) as u8 {
        0 => 0.0,
        THRESHOLD_RAW => f64::from_bits(reader.take(64)),
        byte => f64::from_bits(((i32::from(byte) - THRESHOLD_BIAS + 1022) as u64) << 52),
    }
}

/// The largest bound in thousandths that is stored as a whole number.
const BOUND_THOUSANDTHS_MAX: f64 = 33_554_430.0;

fn put_bound(out: &mut BitWriter, bound: f64) {
    let thousandths = bound * 1000.0;
    let rounded = thousandths.round();
    let small = (0.0..=BOUND_THOUSANDTHS_MAX).contains(&thousandths);
    if small && rounded / 1000.0 == bound {
        out.put_varbit_uint(rounded as u64 + 1);
    } else {
        out.put(0, 1);
        out.put(bound.to_bits(), 64);
    }
}

fn take_bounds(reader: &mut BitReader<'_>) -> Result<Arc<[f64]>, ChunkError> {
    // A prefix and three bits is the least that a bound takes.
    let number =
        reader.take_varbit_uint_max(reader.left() as u64 / 5, "more bounds than its bytes can hold")?;
    let mut bounds = Vec::with_capacity(number as usize);
    for _ in 0..number {
        bounds.push(match reader.take_varbit_uint() {
            0 => f64::from_bits(reader.take(64)),
            thousandths => (thousandths - 1) as f64 / 1000.0,
        });
    }
    reader.check()?;
    Ok(if bounds.is_empty() { no_bounds() } else { bounds.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_take_one_byte_where_they_are_powers_of_two() {
        let cases = [
            (0.0, 1),
            (2f64.powi(-128), 1),
            (2f64.powi(-243), 1),
            (2f64.powi(10), 1),
            (2f64.powi(11), 9),
            (2f64.powi(-244), 9),
            (0.001, 9),
            (-1.0, 9),
            (f64::INFINITY, 9),
        ];
        for (threshold, len) in cases {
            let mut out = BitWriter::default();
            put_zero_threshold(&mut out, threshold);
            assert_eq!(out.bytes().len(), len, "{threshold}");
            let read = take_zero_threshold(&mut BitReader::new(out.bytes(), 0));
            assert_eq!(read.to_bits(), threshold.to_bits());
        }
        let mut out = BitWriter::default();
        put_zero_threshold(&mut out, 2f64.powi(-128));
        assert_eq!(out.bytes(), [116]);
    }

    #[test]
    fn bounds_survive() {
        let bounds = [0.0, 0.005, 1.0, 33_554.43, 33_554.431, -1.0, 0.1 + 0.2, f64::INFINITY, f64::NAN];
        let mut out = BitWriter::default();
        out.put_varbit_uint(bounds.len() as u64);
        for bound in bounds {
            put_bound(&mut out, bound);
        }
        let read = take_bounds(&mut BitReader::new(out.bytes(), 0)).expect("what was written can be read");
        assert!(read.iter().zip(bounds).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}
