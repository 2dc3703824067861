//! From the bytes of a page to entries: what a target exposes, one line or
//! protobuf field at a time.
//!
//! ```text
//! page ── Parser::next_entry ──▶ Entry ─┬─ metric()   raw bytes: the key of the target's cache
//!                                 ├─ labels()   decoded on demand, into the caller's buffer
//!                                 └─ value, timestamp, histogram, exemplars
//! ```
//!
//! A parser goes over the page once, borrows it, never recurses and allocates
//! nothing for a line: whoever knows the raw bytes of a series already does not
//! ask for its labels. What is accepted, and at which entry a page fails, is
//! upstream's (`model/textparse`).

mod content_type;
mod error;
mod float;
mod known;
mod label_buf;
mod lexing;
mod nhcb;
mod openmetrics;
mod protobuf;
mod text;
mod wire;

use std::borrow::Cow;

use model::{Exemplar, HistogramValue, MetricType};

pub use content_type::{ContentTypeError, Format, Selected, select_format};
pub use error::ParseError;
pub use known::KnownLine;
pub use label_buf::LabelBuf;
pub use nhcb::NhcbParser;
pub use openmetrics::OpenMetricsParser;
pub use protobuf::ProtobufParser;
pub use text::TextParser;

/// What a page holds at one place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Entry {
    /// A series with a float value.
    Series {
        /// The value; every NaN is the ordinary one.
        value: f64,
        /// The exposed time in ms, where there is one.
        timestamp_ms: Option<i64>,
    },
    /// A series with a native histogram, to be had from `take_histogram`.
    Histogram {
        /// The exposed time in ms, where there is one.
        timestamp_ms: Option<i64>,
    },
    /// The type of a family.
    Type(MetricType),
    /// The help text of a family.
    Help,
    /// The unit of a family.
    Unit,
    /// A comment.
    Comment,
}

/// What a parser is asked to do beyond the format.
#[derive(Clone, Copy, Debug, Default)]
pub struct ParseOptions {
    /// Adds the labels `__type__` and `__unit__`.
    pub type_and_unit_labels: bool,
    /// Reads protobuf histograms as classic ones only.
    pub ignore_native_histograms: bool,
    /// Turns classic histograms into native ones with custom buckets.
    pub convert_classic_to_nhcb: bool,
    /// Yields the classic series of a histogram beside the native one.
    pub keep_classic: bool,
    /// OpenMetrics: `_created` lines are start timestamps, not series.
    pub start_timestamps: bool,
}

/// A parser of any format.
pub enum Parser<'p> {
    /// A page as it is.
    Plain(PageParser<'p>),
    /// A text page whose classic histograms are converted.
    Converting(Box<NhcbParser<'p>>),
}

impl<'p> Parser<'p> {
    /// A parser of a page in a format.
    pub fn new(page: &'p [u8], format: Format, options: ParseOptions) -> Parser<'p> {
        let labels = options.type_and_unit_labels;
        let plain = match format {
            Format::Text => PageParser::Text(Box::new(TextParser::new(page, labels))),
            Format::OpenMetrics => {
                let parser = OpenMetricsParser::new(page, options.start_timestamps, labels);
                PageParser::OpenMetrics(Box::new(parser))
            }
            // Converts by itself.
            Format::Protobuf => PageParser::Protobuf(Box::new(ProtobufParser::new(page, options))),
        };
        if options.convert_classic_to_nhcb && format != Format::Protobuf {
            let converting = NhcbParser::new(plain, options.keep_classic, options.start_timestamps);
            Parser::Converting(Box::new(converting))
        } else {
            Parser::Plain(plain)
        }
    }

    /// The next entry, `None` at the end of the page.
    ///
    /// # Errors
    /// The page is malformed here; nothing after it is read.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ParseError> {
        match self {
            Parser::Plain(parser) => parser.next_entry(),
            Parser::Converting(parser) => parser.next_entry(),
        }
    }

    /// The series of the line at hand if it is the one whose raw bytes `known`
    /// recognises, read without taking it apart. `None` leaves the parser where
    /// it is: the line is another one, or needs the whole parser.
    pub fn next_known(&mut self, key_bytes: usize, known: impl FnOnce(&[u8]) -> bool) -> Option<KnownLine> {
        match self {
            Parser::Plain(parser) => parser.next_known(key_bytes, known),
            Parser::Converting(_) => None,
        }
    }

    /// The raw bytes of the series at hand, or the family's name.
    pub fn metric(&self) -> &[u8] {
        match self {
            Parser::Plain(parser) => parser.metric(),
            Parser::Converting(parser) => parser.metric(),
        }
    }

    /// Help, unit or comment at hand.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Parser::Plain(parser) => parser.text(),
            Parser::Converting(parser) => parser.text(),
        }
    }

    /// Help at hand as it is written in the page; `None` where it is not
    /// written as text.
    pub fn written(&self) -> Option<&[u8]> {
        match self {
            Parser::Plain(PageParser::Text(parser)) => Some(parser.written()),
            Parser::Plain(PageParser::OpenMetrics(parser)) => Some(parser.written()),
            _ => None,
        }
    }

    /// The labels of the series at hand, sorted by name, empty values included.
    pub fn labels(&self, into: &mut LabelBuf) {
        match self {
            Parser::Plain(parser) => parser.labels(into),
            Parser::Converting(parser) => parser.labels(into),
        }
    }

    /// The histogram of the [`Entry::Histogram`] at hand.
    pub fn take_histogram(&mut self) -> Option<HistogramValue> {
        match self {
            Parser::Plain(parser) => parser.take_histogram(),
            Parser::Converting(parser) => parser.take_histogram(),
        }
    }

    /// The next exemplar of the series at hand. Without an exposed time its
    /// `timestamp_ms` is 0.
    pub fn next_exemplar(&mut self) -> Option<Exemplar> {
        match self {
            Parser::Plain(parser) => parser.next_exemplar(),
            Parser::Converting(parser) => parser.next_exemplar(),
        }
    }

    /// The start timestamp of the series at hand in ms, 0 where unknown.
    pub fn start_timestamp_ms(&mut self) -> i64 {
        match self {
            Parser::Plain(parser) => parser.start_timestamp_ms(),
            Parser::Converting(parser) => parser.start_timestamp_ms(),
        }
    }
}

/// A parser of one format, without conversion.
pub enum PageParser<'p> {
    /// Text 0.0.4 and 1.0.0.
    Text(Box<TextParser<'p>>),
    /// OpenMetrics text.
    OpenMetrics(Box<OpenMetricsParser<'p>>),
    /// Delimited protobuf.
    Protobuf(Box<ProtobufParser<'p>>),
}

impl PageParser<'_> {
    fn next_entry(&mut self) -> Result<Option<Entry>, ParseError> {
        match self {
            PageParser::Text(parser) => parser.next_entry(),
            PageParser::OpenMetrics(parser) => parser.next_entry(),
            PageParser::Protobuf(parser) => parser.next_entry(),
        }
    }

    fn next_known(&mut self, key_bytes: usize, known: impl FnOnce(&[u8]) -> bool) -> Option<KnownLine> {
        match self {
            PageParser::Text(parser) => parser.next_known(key_bytes, known),
            PageParser::OpenMetrics(parser) => parser.next_known(key_bytes, known),
            PageParser::Protobuf(_) => None,
        }
    }

    fn metric(&self) -> &[u8] {
        match self {
            PageParser::Text(parser) => parser.metric(),
            PageParser::OpenMetrics(parser) => parser.metric(),
            PageParser::Protobuf(parser) => parser.metric(),
        }
    }

    fn text(&self) -> Cow<'_, str> {
        match self {
            PageParser::Text(parser) => parser.text(),
            PageParser::OpenMetrics(parser) => parser.text(),
            PageParser::Protobuf(parser) => parser.text(),
        }
    }

    fn labels(&self, into: &mut LabelBuf) {
        match self {
            PageParser::Text(parser) => parser.labels(into),
            PageParser::OpenMetrics(parser) => parser.labels(into),
            PageParser::Protobuf(parser) => parser.labels(into),
        }
    }

    fn take_histogram(&mut self) -> Option<HistogramValue> {
        match self {
            PageParser::Protobuf(parser) => parser.take_histogram(),
            _ => None,
        }
    }

    fn next_exemplar(&mut self) -> Option<Exemplar> {
        match self {
            PageParser::Text(_) => None,
            PageParser::OpenMetrics(parser) => parser.next_exemplar(),
            PageParser::Protobuf(parser) => parser.next_exemplar(),
        }
    }

    fn start_timestamp_ms(&mut self) -> i64 {
        match self {
            PageParser::Text(_) => 0,
            PageParser::OpenMetrics(parser) => parser.start_timestamp_ms(),
            PageParser::Protobuf(parser) => parser.start_timestamp_ms(),
        }
    }
}
