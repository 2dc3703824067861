//! The fields of one metric message.

use model::Exemplar;
use model::histogram::Span;

use super::super::error::{ParseError, WireError};
use super::super::label_buf::LabelBuf;
use super::super::wire::Fields;

/// One metric: all kinds of values side by side; the family's type says which
/// one counts. Used again for each metric, so that the vectors keep their room.
#[derive(Default)]
pub(super) struct MetricFields<'p> {
    /// Label pairs as messages, see [`label_pair`].
    pub(super) labels: Vec<&'p [u8]>,
    pub(super) timestamp_ms: i64,
    pub(super) gauge: f64,
    pub(super) untyped: f64,
    pub(super) counter: f64,
    pub(super) counter_exemplar: Option<WireExemplar<'p>>,
    pub(super) counter_start_ms: i64,
    pub(super) summary: SummaryFields,
    pub(super) histogram: HistogramFields<'p>,
}

#[derive(Default)]
pub(super) struct SummaryFields {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) quantiles: Vec<(f64, f64)>,
    pub(super) start_ms: i64,
}

#[derive(Default)]
pub(super) struct HistogramFields<'p> {
    pub(super) count: u64,
    pub(super) count_float: f64,
    pub(super) sum: f64,
    pub(super) buckets: Vec<BucketFields<'p>>,
    pub(super) start_ms: i64,
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) zero_count: u64,
    pub(super) zero_count_float: f64,
    pub(super) positive_spans: Vec<Span>,
    pub(super) negative_spans: Vec<Span>,
    pub(super) positive_deltas: Vec<i64>,
    pub(super) negative_deltas: Vec<i64>,
    pub(super) positive_counts: Vec<f64>,
    pub(super) negative_counts: Vec<f64>,
    pub(super) exemplars: Vec<WireExemplar<'p>>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct BucketFields<'p> {
    count: u64,
    count_float: f64,
    pub(super) upper_bound: f64,
    pub(super) exemplar: Option<WireExemplar<'p>>,
}

/// An exemplar whose labels are not decoded yet.
#[derive(Clone, Copy, Default)]
pub(super) struct WireExemplar<'p> {
    message: &'p [u8],
    value: f64,
    pub(super) timestamp_ms: Option<i64>,
}

impl<'p> MetricFields<'p> {
    pub(super) fn decode(&mut self, message: &'p [u8]) -> Result<(), WireError> {
        self.clear();
        let mut fields = Fields::new(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => self.labels.push(field.bytes(number)?),
                2 => self.gauge = first_double(field.bytes(number)?)?,
                3 => self.decode_counter(field.bytes(number)?)?,
                4 => self.summary.decode(field.bytes(number)?)?,
                5 => self.untyped = first_double(field.bytes(number)?)?,
                6 => self.timestamp_ms = field.varint(number)? as i64,
                7 => self.histogram.decode(field.bytes(number)?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.labels.clear();
        self.timestamp_ms = 0;
        self.gauge = 0.0;
        self.untyped = 0.0;
        self.counter = 0.0;
        self.counter_exemplar = None;
        self.counter_start_ms = 0;
        self.summary.clear();
        self.histogram.clear();
    }

    fn decode_counter(&mut self, message: &'p [u8]) -> Result<(), WireError> {
        let mut fields = Fields::new(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => self.counter = field.double(number)?,
                2 => self.counter_exemplar = Some(WireExemplar::read(field.bytes(number)?)?),
                3 => self.counter_start_ms = timestamp_ms(field.bytes(number)?)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl SummaryFields {
    fn clear(&mut self) {
        self.count = 0;
        self.sum = 0.0;
        self.quantiles.clear();
        self.start_ms = 0;
    }

    fn decode(&mut self, message: &[u8]) -> Result<(), WireError> {
        let mut fields = Fields::new(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => self.count = field.varint(number)?,
                2 => self.sum = field.double(number)?,
                3 => self.quantiles.push(quantile(field.bytes(number)?)?),
                4 => self.start_ms = timestamp_ms(field.bytes(number)?)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'p> HistogramFields<'p> {
    fn clear(&mut self) {
        let HistogramFields {
            count,
            count_float,
            sum,
            buckets,
            start_ms,
            schema,
            zero_threshold,
            zero_count,
            zero_count_float,
            positive_spans,
            negative_spans,
            positive_deltas,
            negative_deltas,
            positive_counts,
            negative_counts,
            exemplars,
        } = self;
        (*count, *zero_count, *start_ms, *schema) = (0, 0, 0, 0);
        (*count_float, *sum, *zero_threshold, *zero_count_float) = (0.0, 0.0, 0.0, 0.0);
        buckets.clear();
        positive_spans.clear();
        negative_spans.clear();
        positive_deltas.clear();
        negative_deltas.clear();
        positive_counts.clear();
        negative_counts.clear();
        exemplars.clear();
    }

    fn decode(&mut self, message: &'p [u8]) -> Result<(), WireError> {
        let mut fields = Fields::new(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => self.count = field.varint(number)?,
                2 => self.sum = field.double(number)?,
                3 => self.buckets.push(BucketFields::read(field.bytes(number)?)?),
                4 => self.count_float = field.double(number)?,
                5 => self.schema = field.zigzag(number)? as i32,
                6 => self.zero_threshold = field.double(number)?,
                7 => self.zero_count = field.varint(number)?,
                8 => self.zero_count_float = field.double(number)?,
                9 => self.negative_spans.push(span(field.bytes(number)?)?),
                10 => field.zigzags(number, &mut self.negative_deltas)?,
                11 => field.doubles(number, &mut self.negative_counts)?,
                12 => self.positive_spans.push(span(field.bytes(number)?)?),
                13 => field.zigzags(number, &mut self.positive_deltas)?,
                14 => field.doubles(number, &mut self.positive_counts)?,
                15 => self.start_ms = timestamp_ms(field.bytes(number)?)?,
                16 => self.exemplars.push(WireExemplar::read(field.bytes(number)?)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the message is meant as a native histogram: an empty one says so
    /// by a span without length or a zero threshold.
    pub(super) fn is_native(&self) -> bool {
        !self.positive_spans.is_empty()
            || !self.negative_spans.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0
    }

    pub(super) fn is_float(&self) -> bool {
        self.count_float > 0.0 || self.zero_count_float > 0.0
    }

    pub(super) fn any_count(&self) -> f64 {
        if self.count_float == 0.0 { self.count as f64 } else { self.count_float }
    }

    /// Classic buckets as exposed: up to the first +Inf one, which is added
    /// where there is none.
    pub(super) fn exposed_buckets(&self) -> usize {
        let infinite = self.buckets.iter().position(|bucket| bucket.upper_bound == f64::INFINITY);
        infinite.unwrap_or(self.buckets.len()) + 1
    }
}

impl<'p> BucketFields<'p> {
    fn read(message: &'p [u8]) -> Result<BucketFields<'p>, WireError> {
        let mut bucket = BucketFields::default();
        let mut fields = Fields::new(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => bucket.count = field.varint(number)?,
                2 => bucket.upper_bound = field.double(number)?,
                3 => bucket.exemplar = Some(WireExemplar::read(field.bytes(number)?)?),
                4 => bucket.count_float = field.double(number)?,
                _ => {}
            }
        }
        Ok(bucket)
    }

    pub(super) fn any_count(&self) -> f64 {
        if self.count_float == 0.0 { self.count as f64 } else { self.count_float }
    }
}

impl<'p> WireExemplar<'p> {
    fn read(message: &'p [u8]) -> Result<WireExemplar<'p>, WireError> {
        let mut exemplar = WireExemplar { message, ..WireExemplar::default() };
        let mut fields = Fields::new(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => {
                    raw_pair(field.bytes(number)?)?;
                }
                2 => exemplar.value = field.double(number)?,
                3 => exemplar.timestamp_ms = Some(timestamp_ms(field.bytes(number)?)?),
                _ => {}
            }
        }
        Ok(exemplar)
    }

    /// The exemplar with its labels.
    pub(super) fn decode(self) -> Exemplar {
        let mut labels = LabelBuf::new();
        let mut fields = Fields::new(self.message);
        while let Ok(Some((number, field))) = fields.next() {
            if let (1, Ok(pair)) = (number, field.bytes(number))
                && let Ok((name, value)) = raw_pair(pair)
            {
                labels.push_bytes(name, value);
            }
        }
        Exemplar {
            labels: labels.to_labels(),
            value: self.value,
            timestamp_ms: self.timestamp_ms.unwrap_or(0),
            has_timestamp: self.timestamp_ms.is_some(),
        }
    }
}

/// Name and value of a label pair message, checked to be text.
pub(super) fn label_pair(message: &[u8]) -> Result<(&str, &str), ParseError> {
    let (name, value) = raw_pair(message).map_err(ParseError::Wire)?;
    let lossy = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let name = std::str::from_utf8(name).map_err(|_| ParseError::WireLabelName(lossy(name)))?;
    let value = std::str::from_utf8(value).map_err(|_| ParseError::WireLabelValue(lossy(value)))?;
    if name.is_empty() {
        return Err(ParseError::WireLabelName(String::new()));
    }
    Ok((name, value))
}

fn raw_pair(message: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Fields::new(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => name = field.bytes(number)?,
            2 => value = field.bytes(number)?,
            _ => {}
        }
    }
    Ok((name, value))
}

/// A message whose first field is the value.
fn first_double(message: &[u8]) -> Result<f64, WireError> {
    let mut value = 0.0;
    let mut fields = Fields::new(message);
    while let Some((number, field)) = fields.next()? {
        if number == 1 {
            value = field.double(number)?;
        }
    }
    Ok(value)
}

fn quantile(message: &[u8]) -> Result<(f64, f64), WireError> {
    let mut pair = (0.0, 0.0);
    let mut fields = Fields::new(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => pair.0 = field.double(number)?,
            2 => pair.1 = field.double(number)?,
            _ => {}
        }
    }
    Ok(pair)
}

fn span(message: &[u8]) -> Result<Span, WireError> {
    let mut span = Span::default();
    let mut fields = Fields::new(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => span.offset = field.zigzag(number)? as i32,
            2 => span.length = field.varint(number)? as u32,
            _ => {}
        }
    }
    Ok(span)
}

/// A `google.protobuf.Timestamp` in ms.
fn timestamp_ms(message: &[u8]) -> Result<i64, WireError> {
    let (mut seconds, mut nanos) = (0i64, 0i32);
    let mut fields = Fields::new(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => seconds = field.varint(number)? as i64,
            2 => nanos = field.varint(number)? as i32,
            _ => {}
        }
    }
    Ok(seconds.wrapping_mul(1000).wrapping_add(i64::from(nanos / 1_000_000)))
}
