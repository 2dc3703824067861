//! Classic histograms of text pages turned into native ones with custom buckets.
//!
//! ```text
//! # TYPE h histogram
//! h_bucket{le="1"}   ┐
//! h_bucket{le="+Inf"}│ collected, and yielded too where classic series are kept
//! h_sum              │
//! h_count            ┘
//! x …                  first line of something else: one histogram `h` is
//!                      yielded before it, unless the lines make no histogram
//! ```
//!
//! A native histogram of the same name and labels forbids the conversion of
//! the classic series behind it.

use std::borrow::Cow;

use model::histogram::{ClassicError, ClassicHistogram};
use model::labels::{BUCKET_LABEL, METRIC_NAME};
use model::{Exemplar, HistogramValue, MetricType};

use super::error::ParseError;
use super::label_buf::LabelBuf;
use super::lexing::quote;
use super::{Entry, PageParser};

/// Buckets of one classic histogram that are converted at most: they may come
/// in any order, and sorting them in must not take a hostile target's word for it.
const BUCKETS_MAX: usize = 1 << 14;

/// The native histogram of a classic one: `buckets` are (upper bound,
/// cumulative count).
///
/// # Errors
/// The counts make no histogram.
pub(super) fn histogram_from_classic(
    count: f64,
    sum: f64,
    buckets: impl ExactSizeIterator<Item = (f64, f64)>,
) -> Result<HistogramValue, ParseError> {
    if buckets.len() > BUCKETS_MAX {
        return Err(ParseError::TooManyBuckets { have: buckets.len(), limit: BUCKETS_MAX });
    }
    let convert = || -> Result<HistogramValue, ClassicError> {
        let mut classic = ClassicHistogram::default();
        classic.set_count(count)?;
        classic.set_sum(sum)?;
        for (bound, count) in buckets {
            classic.set_bucket_count(bound, count)?;
        }
        classic.convert()
    };
    convert().map_err(ParseError::Conversion)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is collected.
    Idle,
    /// The lines of one classic histogram are being collected.
    Collecting,
    /// A converted histogram is the entry at hand; the line read since waits.
    Emitting,
    /// A native histogram was seen: its classic series are not converted.
    Inhibited,
}

/// A text parser that yields converted histograms.
pub struct NhcbParser<'p> {
    parser: PageParser<'p>,
    keep_classic: bool,
    start_timestamps: bool,
    state: State,
    /// The entry of the wrapped parser that was read last.
    read: Result<Option<Entry>, ParseError>,
    labels: LabelBuf,
    family: Vec<u8>,
    metric_type: MetricType,
    /// Name without suffix, and labels without bound, of what is collected.
    collected_name: String,
    collected_labels: LabelBuf,
    classic: ClassicHistogram,
    collected_buckets: usize,
    collected_exemplars: Vec<Exemplar>,
    collected_start_ms: i64,
    timestamp_ms: Option<i64>,
    emitted: Emitted,
}

/// The converted histogram at hand.
#[derive(Default)]
struct Emitted {
    key: Vec<u8>,
    labels: LabelBuf,
    histogram: Option<HistogramValue>,
    exemplars: std::vec::IntoIter<Exemplar>,
    start_ms: i64,
}

impl<'p> NhcbParser<'p> {
    /// Wraps a parser.
    pub fn new(parser: PageParser<'p>, keep_classic: bool, start_timestamps: bool) -> NhcbParser<'p> {
        NhcbParser {
            parser,
            keep_classic,
            start_timestamps,
            state: State::Idle,
            read: Ok(None),
            labels: LabelBuf::new(),
            family: Vec::new(),
            metric_type: MetricType::Unknown,
            collected_name: String::new(),
            collected_labels: LabelBuf::new(),
            classic: ClassicHistogram::default(),
            collected_buckets: 0,
            collected_exemplars: Vec::new(),
            collected_start_ms: 0,
            timestamp_ms: None,
            emitted: Emitted::default(),
        }
    }

    /// See [`super::Parser::next_entry`].
    ///
    /// # Errors
    /// See [`super::Parser::next_entry`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ParseError> {
        loop {
            if self.state == State::Emitting {
                self.state = State::Idle;
            } else {
                let before = self.timestamp_ms;
                self.read = self.parser.next_entry();
                if self.ends_collection() && self.emit(before) {
                    return Ok(Some(Entry::Histogram { timestamp_ms: before }));
                }
            }
            match self.read.clone()? {
                Some(Entry::Series { value, timestamp_ms }) => {
                    self.timestamp_ms = timestamp_ms;
                    if self.collect(value) && !self.keep_classic {
                        continue;
                    }
                }
                Some(Entry::Histogram { .. }) => {
                    self.state = State::Inhibited;
                    self.collected_name = self.labels.get(METRIC_NAME).unwrap_or("").to_owned();
                    self.collected_labels.clone_from(&self.labels);
                }
                _ => {}
            }
            return self.read.clone();
        }
    }

    /// See [`super::Parser::metric`].
    pub fn metric(&self) -> &[u8] {
        match self.state {
            State::Emitting => &self.emitted.key,
            _ => self.parser.metric(),
        }
    }

    /// See [`super::Parser::text`].
    pub fn text(&self) -> Cow<'_, str> {
        self.parser.text()
    }

    /// See [`super::Parser::labels`].
    pub fn labels(&self, into: &mut LabelBuf) {
        match self.state {
            State::Emitting => into.clone_from(&self.emitted.labels),
            _ => into.clone_from(&self.labels),
        }
    }

    /// See [`super::Parser::take_histogram`].
    pub fn take_histogram(&mut self) -> Option<HistogramValue> {
        match self.state {
            State::Emitting => self.emitted.histogram.take(),
            _ => self.parser.take_histogram(),
        }
    }

    /// See [`super::Parser::next_exemplar`]. Exemplars of collected lines are
    /// yielded with the converted histogram.
    pub fn next_exemplar(&mut self) -> Option<Exemplar> {
        match self.state {
            State::Emitting => self.emitted.exemplars.next(),
            _ => self.parser.next_exemplar(),
        }
    }

    /// See [`super::Parser::start_timestamp_ms`].
    pub fn start_timestamp_ms(&mut self) -> i64 {
        match self.state {
            State::Collecting => self.collected_start_ms,
            State::Emitting => self.emitted.start_ms,
            _ => self.parser.start_timestamp_ms(),
        }
    }

    /// Takes note of what was read; whether it is no part of the histogram
    /// that was collected so far.
    fn ends_collection(&mut self) -> bool {
        match &self.read {
            Err(_) => return false,
            Ok(None | Some(Entry::Help | Entry::Unit | Entry::Comment)) => {}
            Ok(Some(Entry::Type(metric_type))) => {
                self.metric_type = *metric_type;
                self.family.clear();
                self.family.extend_from_slice(self.parser.metric());
            }
            Ok(Some(Entry::Histogram { .. })) => self.parser.labels(&mut self.labels),
            Ok(Some(Entry::Series { .. })) => {
                self.parser.labels(&mut self.labels);
                let differs = self.is_other_metric();
                if self.state == State::Inhibited && differs {
                    self.state = State::Idle;
                }
                return self.state == State::Collecting && differs;
            }
        }
        self.state == State::Collecting
    }

    /// Whether the series at hand is no part of the histogram seen last.
    fn is_other_metric(&self) -> bool {
        let (_, base) = split_suffix(self.labels.get(METRIC_NAME).unwrap_or(""));
        let identity = |labels: &LabelBuf| -> Vec<(String, String)> {
            let kept = labels.iter().filter(|(name, _)| !matches!(*name, METRIC_NAME | BUCKET_LABEL));
            kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        self.metric_type != MetricType::Histogram
            || self.collected_name != base
            || identity(&self.labels) != identity(&self.collected_labels)
    }

    /// Adds the series at hand to what is collected; whether it was one to collect.
    fn collect(&mut self, value: f64) -> bool {
        if self.metric_type != MetricType::Histogram || self.state == State::Inhibited {
            return false;
        }
        let (suffix, base) = split_suffix(self.labels.get(METRIC_NAME).unwrap_or(""));
        if base.as_bytes() != self.family {
            return false;
        }
        let bound = match suffix {
            Suffix::None => return false,
            Suffix::Bucket if self.collected_buckets >= BUCKETS_MAX => return false,
            Suffix::Bucket => {
                let bound = self.labels.get(BUCKET_LABEL).and_then(|le| model::float::parse(le).ok());
                match bound {
                    Some(bound) if !bound.is_nan() => bound,
                    _ => return false,
                }
            }
            Suffix::Sum | Suffix::Count => 0.0,
        };
        if self.state != State::Collecting {
            self.collected_name = base.to_owned();
            self.collected_labels.clone_from(&self.labels);
            self.collected_start_ms =
                if self.start_timestamps { self.parser.start_timestamp_ms() } else { 0 };
            self.state = State::Collecting;
        }
        while let Some(exemplar) = self.parser.next_exemplar() {
            self.collected_exemplars.push(exemplar);
        }
        // What fails is remembered and answered by the conversion.
        let _remembered = match suffix {
            Suffix::Bucket => {
                self.collected_buckets += 1;
                self.classic.set_bucket_count(bound, value)
            }
            Suffix::Sum => self.classic.set_sum(value),
            Suffix::Count | Suffix::None => self.classic.set_count(value),
        };
        true
    }

    /// Makes the converted histogram the entry at hand; `false` where the
    /// lines make none.
    fn emit(&mut self, timestamp_ms: Option<i64>) -> bool {
        let converted = self.classic.convert();
        self.classic.reset();
        self.collected_buckets = 0;
        let exemplars = std::mem::take(&mut self.collected_exemplars);
        self.state = State::Idle;
        let Some(histogram) = converted.ok().filter(is_valid) else { return false };
        self.timestamp_ms = timestamp_ms;
        self.emitted.labels.clear();
        self.emitted.key.clear();
        self.emitted.key.extend_from_slice(self.collected_name.as_bytes());
        let mut before = b'{';
        self.emitted.labels.push(METRIC_NAME, &self.collected_name);
        for (name, value) in self.collected_labels.iter() {
            if matches!(name, METRIC_NAME | BUCKET_LABEL) || value.is_empty() {
                continue;
            }
            self.emitted.labels.push(name, value);
            self.emitted.key.push(before);
            self.emitted.key.extend_from_slice(name.as_bytes());
            self.emitted.key.push(b'=');
            self.emitted.key.extend_from_slice(quote(value.as_bytes()).as_bytes());
            before = b',';
        }
        if before == b',' {
            self.emitted.key.push(b'}');
        }
        self.emitted.labels.sort();
        self.emitted.histogram = Some(histogram);
        self.emitted.exemplars = exemplars.into_iter();
        self.emitted.start_ms = self.collected_start_ms;
        self.state = State::Emitting;
        true
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suffix {
    None,
    Bucket,
    Sum,
    Count,
}

fn is_valid(histogram: &HistogramValue) -> bool {
    match histogram {
        HistogramValue::Integer(histogram) => histogram.validate().is_ok(),
        HistogramValue::Float(histogram) => histogram.validate().is_ok(),
    }
}

/// The part of a classic histogram that a series is, and the histogram's name.
fn split_suffix(name: &str) -> (Suffix, &str) {
    for (ending, suffix) in [("_bucket", Suffix::Bucket), ("_sum", Suffix::Sum), ("_count", Suffix::Count)] {
        if let Some(base) = name.strip_suffix(ending) {
            return (suffix, base);
        }
    }
    (Suffix::None, name)
}
