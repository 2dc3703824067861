//! Why a page cannot be read, in upstream's words.

use super::lexing::quote;

/// Bytes of a page that an error quotes at most.
const EXCERPT_BYTES_MAX: usize = 1024;

/// Why a page cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// Something else stands where a token of the grammar must.
    #[error("{expected}, got {} (\"{token}\") while parsing: {}", quote(got), quote(parsing))]
    Unexpected {
        /// What the grammar wants.
        expected: &'static str,
        /// What stands there.
        got: Vec<u8>,
        /// What that would be elsewhere.
        token: &'static str,
        /// The entry up to there.
        parsing: Vec<u8>,
    },
    /// A family line ends after the name.
    #[error("expected text in {0}")]
    NoText(&'static str),
    /// A type that the format does not have.
    #[error("invalid metric type {}", quote(.0))]
    MetricType(Vec<u8>),
    /// Help that is no text.
    #[error("help text {} is not a valid utf8 string", quote(.0))]
    Help(Vec<u8>),
    /// A unit that the family's name does not end with.
    #[error("unit {} not a suffix of metric {}", quote(unit), quote(metric))]
    Unit {
        /// The unit.
        unit: Vec<u8>,
        /// The family.
        metric: Vec<u8>,
    },
    /// Braces with two names.
    #[error("metric name already set while parsing: {}", quote(.0))]
    NameTwice(Vec<u8>),
    /// Braces without a name.
    #[error("metric name not set while parsing: {}", quote(.0))]
    NoName(Vec<u8>),
    /// A label value that is no text.
    #[error("invalid UTF-8 label value: {}", quote(.0))]
    LabelValue(Vec<u8>),
    /// A value or time that is no number.
    #[error("{error} while parsing: {}", quote(parsing))]
    Number {
        /// What is wrong with it.
        error: NumberError,
        /// The entry up to there.
        parsing: Vec<u8>,
    },
    /// A time that is no moment.
    #[error("invalid timestamp {0}")]
    Timestamp(&'static str),
    /// An exemplar's time that is no moment.
    #[error("invalid exemplar timestamp {0}")]
    ExemplarTimestamp(&'static str),
    /// OpenMetrics: the page was cut.
    #[error("data does not end with # EOF")]
    NoEof,
    /// OpenMetrics: the page goes on.
    #[error("unexpected data after # EOF")]
    AfterEof,
    /// Protobuf: a message is longer than the page.
    #[error("clientpb: insufficient length of buffer, expected at least {wanted} bytes, got {have} bytes")]
    MessageCut {
        /// Bytes that the message announces.
        wanted: u64,
        /// Bytes that there are.
        have: usize,
    },
    /// Protobuf: a message's length is no number.
    #[error("clientpb: invalid varint encountered")]
    MessageLength,
    /// Protobuf: the fields of a message are malformed.
    #[error("{0}")]
    Wire(WireError),
    /// Protobuf: a name that is no text, or empty.
    #[error("invalid metric name: {0}")]
    MetricName(String),
    /// Protobuf: help that is no text.
    #[error("invalid help for metric {}: {help}", quote(metric.as_bytes()))]
    FamilyHelp {
        /// The family.
        metric: String,
        /// Its help, as far as it is text.
        help: String,
    },
    /// Protobuf: a type number without meaning.
    #[error("unknown metric type for metric {}: {number}", quote(metric.as_bytes()))]
    TypeNumber {
        /// The family.
        metric: String,
        /// The number.
        number: u64,
    },
    /// Protobuf: a label name that is no text, or empty.
    #[error("invalid label name: {0}")]
    WireLabelName(String),
    /// Protobuf: a label value that is no text.
    #[error("invalid label value: {0}")]
    WireLabelValue(String),
    /// Protobuf: spans and buckets disagree.
    #[error("histogram {}: {side} side: spans require {spans} buckets, have {buckets}", quote(metric.as_bytes()))]
    SpanMismatch {
        /// The family.
        metric: String,
        /// `positive` or `negative`.
        side: &'static str,
        /// Buckets that the spans promise.
        spans: u64,
        /// Buckets that there are.
        buckets: usize,
    },
    /// A classic histogram with too many buckets to be converted.
    #[error("classic histogram has {have} buckets, which is more than the {limit} that are converted")]
    TooManyBuckets {
        /// Buckets that it has.
        have: usize,
        /// Buckets that are converted.
        limit: usize,
    },
    /// A classic histogram that no native one can hold.
    #[error(transparent)]
    Conversion(model::histogram::ClassicError),
}

/// What is wrong with the fields of a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends inside a field.
    #[error("unexpected EOF")]
    Cut,
    /// A number of more than ten bytes.
    #[error("proto: integer overflow")]
    Overflow,
    /// A field number that cannot be.
    #[error("proto: illegal tag {0}")]
    Tag(u64),
    /// A field of another kind than the schema says.
    #[error("proto: wrong wireType = {wire} for field {field}")]
    Kind {
        /// The kind that it has.
        wire: u8,
        /// The number of the field.
        field: u64,
    },
}

/// What is wrong with a number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Hexadecimal floats and digit separators, which only newer Go knows.
    #[error("unsupported character in float")]
    UnsupportedCharacter,
    /// No number.
    #[error("strconv.{function}: parsing {}: invalid syntax", quote(text))]
    Syntax {
        /// What upstream calls.
        function: &'static str,
        /// The text.
        text: Vec<u8>,
    },
    /// Too large.
    #[error("strconv.{function}: parsing {}: value out of range", quote(text))]
    Range {
        /// What upstream calls.
        function: &'static str,
        /// The text.
        text: Vec<u8>,
    },
}

/// A copy of some bytes of a page for an error, of bounded length.
pub(super) fn excerpt(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(EXCERPT_BYTES_MAX)].to_vec()
}
