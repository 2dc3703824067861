//! What the two text formats share: classes of bytes, tokens and their names
//! in errors, where the parts of a series stand, escapes.

use std::borrow::Cow;

use model::MetricType;
use model::labels::{BUCKET_LABEL, METRIC_NAME, METRIC_TYPE, METRIC_UNIT, go_quote};

use super::label_buf::LabelBuf;
use model::float::format_open_metrics;

/// The label of a summary's quantile.
const QUANTILE_LABEL: &str = "quantile";

/// What stands at a place of a page. Names are those of upstream's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Invalid,
    Eof,
    LineBreak,
    Help,
    Type,
    Unit,
    EofWord,
    Comment,
    QuotedString,
    BraceOpen,
    BraceClose,
    LabelName,
    Comma,
    Equal,
    Timestamp,
    Value,
}

impl Token {
    pub(super) fn name(self) -> &'static str {
        match self {
            Token::Invalid => "INVALID",
            Token::Eof => "EOF",
            Token::LineBreak => "LINEBREAK",
            Token::Help => "HELP",
            Token::Type => "TYPE",
            Token::Unit => "UNIT",
            Token::EofWord => "EOFWORD",
            Token::Comment => "COMMENT",
            Token::QuotedString => "QSTRING",
            Token::BraceOpen => "BOPEN",
            Token::BraceClose => "BCLOSE",
            Token::LabelName => "LNAME",
            Token::Comma => "COMMA",
            Token::Equal => "EQUAL",
            Token::Timestamp => "TIMESTAMP",
            Token::Value => "VALUE",
        }
    }
}

const LABEL_START: u8 = 1;
const LABEL_REST: u8 = 2;
const METRIC_START: u8 = 4;
const METRIC_REST: u8 = 8;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        classes[byte] = if b.is_ascii_alphabetic() || b == b'_' {
            LABEL_START | LABEL_REST | METRIC_START | METRIC_REST
        } else if b.is_ascii_digit() {
            LABEL_REST | METRIC_REST
        } else if b == b':' {
            METRIC_START | METRIC_REST
        } else {
            0
        };
        byte += 1;
    }
    classes
};

pub(super) fn starts_metric_name(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & METRIC_START != 0
}

pub(super) fn starts_label_name(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & LABEL_START != 0
}

/// Where the metric name that starts at `from` ends.
pub(super) fn metric_name_end(page: &[u8], from: usize) -> usize {
    run_end(page, from, METRIC_REST)
}

/// Where the label name that starts at `from` ends.
pub(super) fn label_name_end(page: &[u8], from: usize) -> usize {
    run_end(page, from, LABEL_REST)
}

fn run_end(page: &[u8], from: usize, class: u8) -> usize {
    page[from..].iter().position(|&b| CLASSES[usize::from(b)] & class == 0).map_or(page.len(), |n| from + n)
}

/// Which bytes a quoted string may not hold unescaped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct QuotedRules {
    /// NUL bytes may stand inside.
    pub(super) nul: bool,
    /// Line breaks may stand inside.
    pub(super) line_break: bool,
}

/// The end of the quoted string that starts with the quote at `from`: after
/// its closing quote, or the place of the byte that cannot stand there.
pub(super) fn quoted_end(page: &[u8], from: usize, rules: QuotedRules) -> Result<usize, usize> {
    let mut at = from + 1;
    loop {
        let Some(step) = memchr::memchr2(b'"', b'\\', &page[at..]) else {
            return Err(first_forbidden(page, at, page.len(), rules).unwrap_or(page.len()));
        };
        let stop = at + step;
        if let Some(bad) = first_forbidden(page, at, stop, rules) {
            return Err(bad);
        }
        if page[stop] == b'"' {
            return Ok(stop + 1);
        }
        match page.get(stop + 1) {
            None => return Err(page.len()),
            Some(b'\n') => return Err(stop + 1),
            Some(0) if !rules.nul => return Err(stop + 1),
            Some(_) => at = stop + 2,
        }
    }
}

fn first_forbidden(page: &[u8], from: usize, to: usize, rules: QuotedRules) -> Option<usize> {
    let span = &page[from..to];
    let found = match rules {
        QuotedRules { nul: true, line_break: true } => None,
        QuotedRules { nul: true, line_break: false } => memchr::memchr(b'\n', span),
        QuotedRules { nul: false, line_break: true } => memchr::memchr(0, span),
        QuotedRules { nul: false, line_break: false } => memchr::memchr2(0, b'\n', span),
    };
    found.map(|n| from + n)
}

/// Where the parts of a series stand in the page.
#[derive(Clone, Debug, Default)]
pub(super) struct SeriesSpans {
    /// The metric's name, `None` until it was seen.
    pub(super) name: Option<(usize, usize)>,
    /// Name and value of each label, without quotes.
    pub(super) labels: Vec<LabelSpan>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct LabelSpan {
    pub(super) name: (usize, usize),
    pub(super) value: (usize, usize),
}

/// What is known of the family of a series.
#[derive(Clone, Copy, Debug)]
pub(super) struct FamilyHint<'a> {
    pub(super) metric_type: MetricType,
    /// Type and unit become labels where `Some`.
    pub(super) unit_label: Option<&'a str>,
}

impl SeriesSpans {
    pub(super) fn clear(&mut self) {
        self.name = None;
        self.labels.clear();
    }

    /// Decodes the labels of a series, sorted by name.
    pub(super) fn decode(&self, page: &[u8], family: FamilyHint<'_>, into: &mut LabelBuf) {
        into.clear();
        let (start, end) = self.name.expect("a series was accepted, so its name was seen");
        let name = unescape(&page[start..end]);
        let type_label = family.unit_label.is_some() && family.metric_type != MetricType::Unknown;
        let unit = family.unit_label.unwrap_or("");
        into.push_bytes(METRIC_NAME.as_bytes(), &name);
        if type_label {
            into.push(METRIC_TYPE, family.metric_type.as_str());
        }
        if !unit.is_empty() {
            into.push(METRIC_UNIT, unit);
        }
        for label in &self.labels {
            let label_name = unescape(&page[label.name.0..label.name.1]);
            let overridden = family.unit_label.is_some()
                && match label_name.as_ref() {
                    b"__name__" => !name.is_empty(),
                    b"__type__" => type_label,
                    b"__unit__" => !unit.is_empty(),
                    _ => false,
                };
            if !overridden {
                let value = unescape(&page[label.value.0..label.value.1]);
                match normalised_bound(family.metric_type, &label_name, &value) {
                    Some(bound) => into.push_bytes(&label_name, bound.as_bytes()),
                    None => into.push_bytes(&label_name, &value),
                }
            }
        }
        into.sort();
    }
}

/// The value of `le` or `quantile` as OpenMetrics writes it, `None` where the
/// label is another one or its value no number.
fn normalised_bound(metric_type: MetricType, name: &[u8], value: &[u8]) -> Option<String> {
    let is_bound = match metric_type {
        MetricType::Histogram => name == BUCKET_LABEL.as_bytes(),
        MetricType::Summary => name == QUANTILE_LABEL.as_bytes(),
        _ => false,
    };
    if !is_bound {
        return None;
    }
    super::float::parse_float(value).ok().map(|bound| format_open_metrics(bound + 0.0))
}

/// Takes `\\`, `\"` and `\n` back; any other backslash stays.
pub(super) fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    unescape_with(text, true)
}

/// As [`unescape`], but quotes are not escaped: help texts of the text format.
pub(super) fn unescape_help(text: &[u8]) -> Cow<'_, [u8]> {
    unescape_with(text, false)
}

fn unescape_with(text: &[u8], quotes: bool) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let replaced = match (byte, bytes.peek()) {
            (b'\\', Some(b'n')) => Some(b'\n'),
            (b'\\', Some(b'\\')) => Some(b'\\'),
            (b'\\', Some(b'"')) if quotes => Some(b'"'),
            _ => None,
        };
        if replaced.is_some() {
            bytes.next();
        }
        plain.push(replaced.unwrap_or(byte));
    }
    Cow::Owned(plain)
}

/// Bytes in double quotes as Go's `%q` prints them.
pub(super) fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        let quoted = go_quote(chunk.valid());
        out.push_str(&quoted[1..quoted.len() - 1]);
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

/// Bytes as text. Nearly always they are: that is told in one go, and only
/// then character by character what is not.
pub(super) fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_escapes_are_taken_back() {
        assert_eq!(unescape(br#"a\\b\"c\nd\te\"#).as_ref(), b"a\\b\"c\nd\\te\\");
        assert_eq!(unescape_help(br#"a\\b\"c\n"#).as_ref(), b"a\\b\\\"c\n");
    }

    #[test]
    fn a_quoted_string_ends_at_the_first_bare_quote() {
        let rules = QuotedRules { nul: false, line_break: false };
        assert_eq!(quoted_end(br#""a\"b" "#, 0, rules), Ok(6));
        assert_eq!(quoted_end(b"\"ab", 0, rules), Err(3));
        assert_eq!(quoted_end(b"\"a\nb\"", 0, rules), Err(2));
        assert_eq!(quoted_end(b"\"a\\\nb\"", 0, QuotedRules { nul: true, line_break: true }), Err(3));
    }

    #[test]
    fn bytes_are_quoted_as_go_does() {
        assert_eq!(quote(b"\xff\"\n\0a"), r#""\xff\"\n\x00a""#);
    }
}
