//! The protobuf format: `io.prometheus.client.MetricFamily` messages, each
//! after its length.
//!
//! ```text
//! family: name help type unit metric*          entries: Help [Unit] Type, then for each metric
//! metric: label* timestamp value               a series, or
//!                                              _count _sum quantile*        (summary)
//!                                              _count _sum _bucket*         (classic histogram)
//!                                              histogram [classic series]   (native histogram)
//! ```
//!
//! A metric is decoded into one set of fields that is used again for the next;
//! labels and exemplars stay bytes until they are asked for.

mod metric;

use std::borrow::Cow;

use model::histogram::{CounterResetHint, FloatHistogram, Histogram, Span};
use model::labels::{BUCKET_LABEL, METRIC_NAME, METRIC_TYPE, METRIC_UNIT};
use model::{Exemplar, HistogramValue, MetricType};

use self::metric::{HistogramFields, MetricFields, WireExemplar, label_pair};
use super::error::ParseError;
use super::label_buf::LabelBuf;
use super::nhcb::histogram_from_classic;
use super::wire::{Fields, take_varint};
use super::{Entry, ParseOptions};
use model::float::format_open_metrics;

/// What separates name, label names and values in a series' raw bytes: no
/// byte of UTF-8.
const SEPARATOR: u8 = 0xff;

const COUNTER: u64 = 0;
const GAUGE: u64 = 1;
const SUMMARY: u64 = 2;
const UNTYPED: u64 = 3;
const HISTOGRAM: u64 = 4;
const GAUGE_HISTOGRAM: u64 = 5;

/// A parser of a protobuf page.
pub struct ProtobufParser<'p> {
    rest: &'p [u8],
    options: ParseOptions,
    family: Family<'p>,
    metrics: Vec<&'p [u8]>,
    metric_idx: usize,
    fields: MetricFields<'p>,
    step: Step,
    /// The raw bytes of the series, or the family's name.
    key: Vec<u8>,
    labels: LabelBuf,
    converted: Option<HistogramValue>,
    exemplar_idx: usize,
}

#[derive(Clone, Copy, Default)]
struct Family<'p> {
    name: &'p str,
    help: &'p str,
    unit: &'p str,
    type_number: u64,
}

/// Which entry was yielded last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// None of this family.
    Family,
    Help,
    Unit,
    Type,
    /// The one series of a counter, gauge or untyped metric.
    Single,
    Count,
    Sum,
    /// A bucket or quantile.
    Part(usize),
    Native,
    Converted,
}

impl<'p> ProtobufParser<'p> {
    /// A parser that starts at the beginning of a page.
    pub fn new(page: &'p [u8], options: ParseOptions) -> ProtobufParser<'p> {
        ProtobufParser {
            rest: page,
            options,
            family: Family::default(),
            metrics: Vec::new(),
            metric_idx: 0,
            fields: MetricFields::default(),
            step: Step::Family,
            key: Vec::new(),
            labels: LabelBuf::new(),
            converted: None,
            exemplar_idx: 0,
        }
    }

    /// See [`super::Parser::next_entry`].
    ///
    /// # Errors
    /// See [`super::Parser::next_entry`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ParseError> {
        self.exemplar_idx = 0;
        self.converted = None;
        let next = match self.step {
            Step::Family => return self.next_family(),
            Step::Help if !self.family.unit.is_empty() => Some(Step::Unit),
            Step::Help | Step::Unit => Some(Step::Type),
            Step::Type => Some(self.first_step()),
            step => self.step_after(step),
        };
        let step = match next {
            Some(step) => step,
            None => {
                self.metric_idx += 1;
                if self.metric_idx >= self.metrics.len() {
                    return self.next_family();
                }
                self.decode_metric()?;
                self.first_step()
            }
        };
        self.step = step;
        Ok(Some(match step {
            Step::Unit => Entry::Unit,
            Step::Type => Entry::Type(self.metric_type()),
            Step::Native => {
                self.check_spans()?;
                self.describe_series()?;
                Entry::Histogram { timestamp_ms: self.timestamp_ms() }
            }
            Step::Converted => {
                self.converted = Some(self.convert()?);
                self.describe_series()?;
                Entry::Histogram { timestamp_ms: self.timestamp_ms() }
            }
            _ => {
                self.describe_series()?;
                Entry::Series { value: self.value(), timestamp_ms: self.timestamp_ms() }
            }
        }))
    }

    /// See [`super::Parser::metric`].
    pub fn metric(&self) -> &[u8] {
        &self.key
    }

    /// See [`super::Parser::text`].
    pub fn text(&self) -> Cow<'p, str> {
        Cow::Borrowed(if self.step == Step::Unit { self.family.unit } else { self.family.help })
    }

    /// See [`super::Parser::labels`].
    pub fn labels(&self, into: &mut LabelBuf) {
        into.clone_from(&self.labels);
    }

    /// See [`super::Parser::take_histogram`].
    pub fn take_histogram(&mut self) -> Option<HistogramValue> {
        match self.step {
            Step::Converted => self.converted.take(),
            Step::Native => Some(self.native()),
            _ => None,
        }
    }

    /// See [`super::Parser::next_exemplar`]. Series have one at most; of native
    /// histograms only exemplars with a time are given.
    pub fn next_exemplar(&mut self) -> Option<Exemplar> {
        let histogram = &self.fields.histogram;
        let found = match self.step {
            Step::Single if self.exemplar_idx == 0 && self.family.type_number == COUNTER => {
                self.fields.counter_exemplar
            }
            Step::Part(i) if self.exemplar_idx == 0 && self.is_histogram() => {
                histogram.buckets.get(i).and_then(|bucket| bucket.exemplar)
            }
            Step::Native | Step::Converted => {
                let from = self.exemplar_idx;
                let has_time =
                    |exemplar: &Option<WireExemplar<'p>>| exemplar.is_some_and(|e| e.timestamp_ms.is_some());
                let at = if histogram.exemplars.is_empty() {
                    (from..histogram.buckets.len()).find(|&i| has_time(&histogram.buckets[i].exemplar))
                } else {
                    (from..histogram.exemplars.len()).find(|&i| has_time(&Some(histogram.exemplars[i])))
                };
                self.exemplar_idx = at.unwrap_or(usize::MAX - 1);
                at.and_then(|i| match histogram.exemplars.get(i) {
                    Some(exemplar) => Some(*exemplar),
                    None => histogram.buckets[i].exemplar,
                })
            }
            _ => None,
        };
        self.exemplar_idx += 1;
        found.map(WireExemplar::decode)
    }

    /// See [`super::Parser::start_timestamp_ms`].
    pub fn start_timestamp_ms(&mut self) -> i64 {
        match self.family.type_number {
            COUNTER => self.fields.counter_start_ms,
            SUMMARY => self.fields.summary.start_ms,
            HISTOGRAM | GAUGE_HISTOGRAM => self.fields.histogram.start_ms,
            _ => 0,
        }
    }

    fn next_family(&mut self) -> Result<Option<Entry>, ParseError> {
        loop {
            if self.rest.is_empty() {
                self.step = Step::Family;
                return Ok(None);
            }
            let before = self.rest;
            let len = take_varint(&mut self.rest).map_err(|_| ParseError::MessageLength)?;
            let len_bytes = before.len() - self.rest.len();
            if len_bytes > 5 {
                return Err(ParseError::MessageLength);
            }
            let message = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
            let Some((message, rest)) = message else {
                return Err(ParseError::MessageCut { wanted: len_bytes as u64 + len, have: before.len() });
            };
            self.rest = rest;
            self.read_family(message)?;
            if !self.metrics.is_empty() {
                break;
            }
        }
        self.metric_idx = 0;
        self.decode_metric()?;
        if self.family.name.is_empty() {
            return Err(ParseError::MetricName(String::new()));
        }
        if self.family.type_number > GAUGE_HISTOGRAM {
            let metric = self.family.name.to_owned();
            return Err(ParseError::TypeNumber { metric, number: self.family.type_number });
        }
        self.key.clear();
        self.key.extend_from_slice(self.family.name.as_bytes());
        self.step = Step::Help;
        Ok(Some(Entry::Help))
    }

    fn read_family(&mut self, message: &'p [u8]) -> Result<(), ParseError> {
        self.metrics.clear();
        let mut family = Family::default();
        let (mut name, mut help, mut unit): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
        let mut fields = Fields::new(message);
        while let Some((number, field)) = fields.next().map_err(ParseError::Wire)? {
            match number {
                1 => name = field.bytes(number).map_err(ParseError::Wire)?,
                2 => help = field.bytes(number).map_err(ParseError::Wire)?,
                3 => family.type_number = field.varint(number).map_err(ParseError::Wire)?,
                4 => self.metrics.push(field.bytes(number).map_err(ParseError::Wire)?),
                5 => unit = field.bytes(number).map_err(ParseError::Wire)?,
                _ => {}
            }
        }
        if self.metrics.is_empty() {
            return Ok(());
        }
        family.name = std::str::from_utf8(name)
            .map_err(|_| ParseError::MetricName(String::from_utf8_lossy(name).into_owned()))?;
        family.help = std::str::from_utf8(help).map_err(|_| ParseError::FamilyHelp {
            metric: family.name.to_owned(),
            help: String::from_utf8_lossy(help).into_owned(),
        })?;
        // Upstream takes any bytes for a unit; what is no text is left out here.
        family.unit = std::str::from_utf8(unit).unwrap_or("");
        self.family = family;
        Ok(())
    }

    fn decode_metric(&mut self) -> Result<(), ParseError> {
        self.fields.decode(self.metrics[self.metric_idx]).map_err(ParseError::Wire)
    }

    fn is_histogram(&self) -> bool {
        matches!(self.family.type_number, HISTOGRAM | GAUGE_HISTOGRAM)
    }

    fn is_classic(&self) -> bool {
        self.options.ignore_native_histograms || !self.fields.histogram.is_native()
    }

    fn first_step(&self) -> Step {
        if self.family.type_number == SUMMARY {
            return Step::Count;
        }
        if !self.is_histogram() {
            return Step::Single;
        }
        match (self.is_classic(), self.options.convert_classic_to_nhcb, self.options.keep_classic) {
            (false, _, _) => Step::Native,
            (true, true, false) => Step::Converted,
            (true, _, _) => Step::Count,
        }
    }

    /// What follows an entry of the same metric.
    fn step_after(&self, step: Step) -> Option<Step> {
        let part_count = if self.is_histogram() {
            self.fields.histogram.exposed_buckets()
        } else {
            self.fields.summary.quantiles.len()
        };
        let after_parts = (self.is_histogram() && self.is_classic() && self.options.convert_classic_to_nhcb)
            .then_some(Step::Converted);
        match step {
            Step::Native => (self.options.keep_classic && !self.fields.histogram.buckets.is_empty())
                .then_some(Step::Count),
            Step::Count => Some(Step::Sum),
            Step::Sum if part_count > 0 => Some(Step::Part(0)),
            Step::Part(i) if i + 1 < part_count => Some(Step::Part(i + 1)),
            Step::Sum | Step::Part(_) => after_parts,
            _ => None,
        }
    }

    fn metric_type(&self) -> MetricType {
        match self.family.type_number {
            COUNTER => MetricType::Counter,
            GAUGE => MetricType::Gauge,
            SUMMARY => MetricType::Summary,
            HISTOGRAM => MetricType::Histogram,
            GAUGE_HISTOGRAM => MetricType::GaugeHistogram,
            _ => MetricType::Unknown,
        }
    }

    fn timestamp_ms(&self) -> Option<i64> {
        Some(self.fields.timestamp_ms).filter(|&t| t != 0)
    }

    fn value(&self) -> f64 {
        let (histogram, summary) = (&self.fields.histogram, &self.fields.summary);
        let value = match (self.family.type_number, self.step) {
            (COUNTER, _) => self.fields.counter,
            (GAUGE, _) => self.fields.gauge,
            (UNTYPED, _) => self.fields.untyped,
            (SUMMARY, Step::Count) => summary.count as f64,
            (SUMMARY, Step::Sum) => summary.sum,
            (SUMMARY, Step::Part(i)) => summary.quantiles[i].1,
            (_, Step::Count) => histogram.any_count(),
            (_, Step::Sum) => histogram.sum,
            (_, Step::Part(i)) => histogram.buckets.get(i).map_or(histogram.any_count(), |b| b.any_count()),
            _ => 0.0,
        };
        plain_nan(value)
    }

    /// Puts labels and raw bytes of the series at hand together.
    fn describe_series(&mut self) -> Result<(), ParseError> {
        let suffix = match self.step {
            Step::Count => "_count",
            Step::Sum => "_sum",
            Step::Part(_) if self.is_histogram() => "_bucket",
            _ => "",
        };
        self.key.clear();
        self.key.extend_from_slice(self.family.name.as_bytes());
        self.key.extend_from_slice(suffix.as_bytes());
        let name = std::str::from_utf8(&self.key).expect("a family's name was checked when it was read");
        self.labels.clear();
        self.labels.push(METRIC_NAME, name);
        let metadata_labels = self.options.type_and_unit_labels;
        let metric_type = self.metric_type();
        let has_type = metadata_labels && metric_type != MetricType::Unknown;
        let has_unit = metadata_labels && !self.family.unit.is_empty();
        if has_type {
            self.labels.push(METRIC_TYPE, metric_type.as_str());
        }
        if has_unit {
            self.labels.push(METRIC_UNIT, self.family.unit);
        }
        for pair in &self.fields.labels {
            let (name, value) = label_pair(pair)?;
            let overridden = match name {
                METRIC_NAME => metadata_labels,
                METRIC_TYPE => has_type,
                METRIC_UNIT => has_unit,
                _ => false,
            };
            if !overridden {
                self.labels.push(name, value);
            }
        }
        if let Step::Part(i) = self.step {
            if self.is_histogram() {
                let bound = self.fields.histogram.buckets.get(i).map_or(f64::INFINITY, |b| b.upper_bound);
                self.labels.push(BUCKET_LABEL, &format_open_metrics(bound + 0.0));
            } else {
                let quantile = self.fields.summary.quantiles[i].0;
                self.labels.push("quantile", &format_open_metrics(quantile + 0.0));
            }
        }
        self.labels.sort();
        let mut names = 0;
        for (name, value) in self.labels.iter() {
            if name == METRIC_NAME && names == 0 {
                names += 1;
                continue;
            }
            self.key.push(SEPARATOR);
            self.key.extend_from_slice(name.as_bytes());
            self.key.push(SEPARATOR);
            self.key.extend_from_slice(value.as_bytes());
        }
        Ok(())
    }

    fn check_spans(&self) -> Result<(), ParseError> {
        let histogram = &self.fields.histogram;
        let (positive, negative) = if histogram.is_float() {
            (histogram.positive_counts.len(), histogram.negative_counts.len())
        } else {
            (histogram.positive_deltas.len(), histogram.negative_deltas.len())
        };
        for (side, spans, buckets) in [
            ("positive", &histogram.positive_spans, positive),
            ("negative", &histogram.negative_spans, negative),
        ] {
            let promised: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
            if promised != buckets as u64 {
                let metric = self.family.name.to_owned();
                return Err(ParseError::SpanMismatch { metric, side, spans: promised, buckets });
            }
        }
        Ok(())
    }

    fn reset_hint(&self) -> CounterResetHint {
        if self.family.type_number == GAUGE_HISTOGRAM {
            CounterResetHint::Gauge
        } else {
            CounterResetHint::Unknown
        }
    }

    fn native(&self) -> HistogramValue {
        let HistogramFields { schema, zero_threshold, .. } = self.fields.histogram;
        let sum = plain_nan(self.fields.histogram.sum);
        let histogram = &self.fields.histogram;
        let shared = |spans: &Vec<Span>| spans.as_slice().into();
        if histogram.is_float() {
            let mut float = FloatHistogram {
                counter_reset_hint: self.reset_hint(),
                schema,
                zero_threshold,
                zero_count: histogram.zero_count_float,
                count: histogram.count_float,
                sum,
                positive_spans: shared(&histogram.positive_spans),
                negative_spans: shared(&histogram.negative_spans),
                positive_buckets: histogram.positive_counts.clone(),
                negative_buckets: histogram.negative_counts.clone(),
                ..FloatHistogram::default()
            };
            float.compact(0);
            return HistogramValue::Float(float);
        }
        let mut integer = Histogram {
            counter_reset_hint: self.reset_hint(),
            schema,
            zero_threshold,
            zero_count: histogram.zero_count,
            count: histogram.count,
            sum,
            positive_spans: shared(&histogram.positive_spans),
            negative_spans: shared(&histogram.negative_spans),
            positive_buckets: histogram.positive_deltas.clone(),
            negative_buckets: histogram.negative_deltas.clone(),
            ..Histogram::default()
        };
        integer.compact(0);
        HistogramValue::Integer(integer)
    }

    fn convert(&self) -> Result<HistogramValue, ParseError> {
        let histogram = &self.fields.histogram;
        let buckets = histogram.buckets.iter().map(|bucket| (bucket.upper_bound, bucket.any_count()));
        let mut converted = histogram_from_classic(histogram.any_count(), plain_nan(histogram.sum), buckets)?;
        match &mut converted {
            HistogramValue::Integer(integer) => integer.counter_reset_hint = self.reset_hint(),
            HistogramValue::Float(float) => float.counter_reset_hint = self.reset_hint(),
        }
        Ok(converted)
    }
}

/// No target may say that a series ended: a NaN of any bits is the plain one.
fn plain_nan(value: f64) -> f64 {
    if value.is_nan() { model::sample::normal_nan() } else { value }
}
