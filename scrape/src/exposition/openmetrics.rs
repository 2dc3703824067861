//! OpenMetrics text, versions 0.0.1 and 1.0.0, as leniently as upstream reads it.
//!
//! ```text
//! # TYPE name counter
//! # UNIT name seconds
//! name_total{l="v"} value [time in s] [# {trace="id"} value [time in s]]
//! name_created{l="v"} time in s
//! # EOF
//! ```
//!
//! Between tokens stands exactly one blank. `_created` lines give the start
//! timestamp of the series before them: to find it, the parser looks ahead
//! over the rest of the family and then goes back.

mod created;

use std::borrow::Cow;

use model::{Exemplar, MetricType};

use self::created::{Created, has_start};
use super::Entry;
use super::error::{NumberError, ParseError, excerpt};
use super::float::parse_float;
use super::known::KnownLine;
use super::label_buf::LabelBuf;
use super::lexing::{
    FamilyHint, LabelSpan, QuotedRules, SeriesSpans, Token, label_name_end, metric_name_end, quoted_end,
    starts_label_name, starts_metric_name, text_of, unescape,
};

const VALUE_RULES: QuotedRules = QuotedRules { nul: true, line_break: false };
const NAME_RULES: QuotedRules = QuotedRules { nul: false, line_break: true };
const EXEMPLAR_RULES: QuotedRules = QuotedRules { nul: false, line_break: false };

/// A parser of an OpenMetrics page.
pub struct OpenMetricsParser<'p> {
    page: &'p [u8],
    position: Position,
    series_end: usize,
    spans: SeriesSpans,
    text: (usize, usize),
    text_is_help: bool,
    unit: (usize, usize),
    family_name_bytes: usize,
    exemplar: Option<ParsedExemplar>,
    exemplar_labels: Vec<LabelSpan>,
    skip_created: bool,
    type_and_unit_labels: bool,
    created: Option<Created>,
    /// How far was looked ahead, and what stood there.
    horizon: Option<(usize, Option<Created>)>,
}

/// What is put back after looking ahead.
#[derive(Clone, Copy)]
struct Position {
    at: usize,
    entry_start: usize,
    token_start: usize,
    /// A line did not end after its value: the next token is refused.
    inside_line: bool,
    metric_type: MetricType,
    looking_ahead: bool,
}

#[derive(Clone, Copy)]
struct ParsedExemplar {
    value: f64,
    timestamp_ms: Option<i64>,
}

impl<'p> OpenMetricsParser<'p> {
    /// A parser that starts at the beginning of a page. With `skip_created`,
    /// `_created` lines of counters, histograms and summaries are no series.
    pub fn new(page: &'p [u8], skip_created: bool, type_and_unit_labels: bool) -> OpenMetricsParser<'p> {
        OpenMetricsParser {
            page,
            position: Position {
                at: 0,
                entry_start: 0,
                token_start: 0,
                inside_line: false,
                metric_type: MetricType::Unknown,
                looking_ahead: false,
            },
            series_end: 0,
            spans: SeriesSpans::default(),
            text: (0, 0),
            text_is_help: false,
            unit: (0, 0),
            family_name_bytes: 0,
            exemplar: None,
            exemplar_labels: Vec::new(),
            skip_created,
            type_and_unit_labels,
            created: None,
            horizon: None,
        }
    }

    /// See [`super::Parser::next_entry`].
    ///
    /// # Errors
    /// See [`super::Parser::next_entry`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ParseError> {
        loop {
            self.position.entry_start = self.position.at;
            self.position.token_start = self.position.at;
            self.spans.clear();
            if !self.position.looking_ahead {
                self.exemplar = None;
                self.exemplar_labels.clear();
            }
            let expected = "expected a valid start token";
            match self.byte() {
                None => return Err(ParseError::NoEof),
                Some(_) if self.position.inside_line => {
                    let token = self.after_value();
                    return Err(self.unexpected(expected, token));
                }
                Some(b'#') => return self.hash_line(),
                Some(b'{') => {
                    self.position.at += 1;
                    self.label_pairs()?;
                    self.series_end = self.position.at;
                    if self.spans.name.is_none() {
                        self.value_token();
                        return Err(ParseError::NoName(excerpt(self.entry_up_to(self.position.at))));
                    }
                }
                Some(byte) if starts_metric_name(byte) => {
                    let end = metric_name_end(self.page, self.position.at);
                    self.spans.name = Some((self.position.at, end));
                    self.position.at = end;
                    if self.byte() == Some(b'{') {
                        self.position.at += 1;
                        self.label_pairs()?;
                    }
                    self.series_end = self.position.at;
                }
                Some(_) => return Err(self.unexpected(expected, Token::Invalid)),
            }
            let entry = self.value_and_rest()?;
            if !(self.skip_created && self.is_created_line()) {
                return Ok(Some(entry));
            }
        }
    }

    /// See [`super::Parser::next_known`].
    pub fn next_known(&mut self, key_bytes: usize, known: impl FnOnce(&[u8]) -> bool) -> Option<KnownLine> {
        let at = self.position.at;
        let key_end = at.checked_add(key_bytes)?;
        if *self.page.get(key_end)? != b' '
            || self.position.inside_line
            || (self.skip_created && has_start(self.position.metric_type))
            || !known(&self.page[at..key_end])
        {
            return None;
        }
        let value_end = self.word_end(key_end + 1);
        if self.page.get(value_end) != Some(&b'\n') {
            return None;
        }
        let value = parse_float(&self.page[key_end + 1..value_end]).ok()?;
        self.position.entry_start = at;
        self.series_end = key_end;
        self.position.at = value_end + 1;
        self.exemplar = None;
        Some(KnownLine { value, timestamp_ms: None })
    }

    /// See [`super::Parser::metric`].
    pub fn metric(&self) -> &'p [u8] {
        match self.spans.name {
            Some((start, end)) if self.series_end <= self.position.entry_start => &self.page[start..end],
            _ => &self.page[self.position.entry_start..self.series_end],
        }
    }

    /// See [`super::Parser::written`].
    pub fn written(&self) -> &'p [u8] {
        &self.page[self.text.0..self.text.1]
    }

    /// See [`super::Parser::text`].
    pub fn text(&self) -> Cow<'p, str> {
        let raw = self.written();
        let plain = if self.text_is_help { unescape(raw) } else { Cow::Borrowed(raw) };
        match plain {
            Cow::Borrowed(bytes) => text_of(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// See [`super::Parser::labels`].
    pub fn labels(&self, into: &mut LabelBuf) {
        let unit = String::from_utf8_lossy(&self.page[self.unit.0..self.unit.1]);
        let family = FamilyHint {
            metric_type: self.position.metric_type,
            unit_label: self.type_and_unit_labels.then_some(unit.as_ref()),
        };
        self.spans.decode(self.page, family, into);
    }

    /// See [`super::Parser::next_exemplar`]: a line has one at most.
    pub fn next_exemplar(&mut self) -> Option<Exemplar> {
        let exemplar = self.exemplar.take()?;
        let mut labels = LabelBuf::new();
        for label in &self.exemplar_labels {
            labels
                .push_bytes(&self.page[label.name.0..label.name.1], &self.page[label.value.0..label.value.1]);
        }
        Some(Exemplar {
            labels: labels.to_labels(),
            value: exemplar.value,
            timestamp_ms: exemplar.timestamp_ms.unwrap_or(0),
            has_timestamp: exemplar.timestamp_ms.is_some(),
        })
    }

    /// `# EOF`, or a line about a family.
    fn hash_line(&mut self) -> Result<Option<Entry>, ParseError> {
        const WORDS: [(&[u8], Token); 4] = [
            (b"# HELP ", Token::Help),
            (b"# TYPE ", Token::Type),
            (b"# UNIT ", Token::Unit),
            (b"# EOF", Token::EofWord),
        ];
        let rest = &self.page[self.position.at..];
        let Some((word, token)) = WORDS.iter().find(|(word, _)| rest.starts_with(word)) else {
            let same = |word: &[u8]| rest.iter().zip(word).take_while(|(a, b)| a == b).count();
            self.position.at += WORDS.iter().map(|(word, _)| same(word)).max().unwrap_or(0);
            return Err(self.unexpected("expected a valid start token", Token::Invalid));
        };
        self.position.at += word.len();
        if *token != Token::EofWord {
            return self.family_line(*token);
        }
        if self.byte() == Some(b'\n') {
            self.position.at += 1;
        }
        if self.byte().is_some() {
            return Err(ParseError::AfterEof);
        }
        // A further call finds the end again.
        self.position.at = self.position.entry_start;
        Ok(None)
    }

    fn family_line(&mut self, kind: Token) -> Result<Option<Entry>, ParseError> {
        let name = self.family_line_name(kind)?;
        self.spans.name = Some(name);
        self.family_name_bytes = name.1 - name.0;
        let at = self.position.at;
        let line_break = memchr::memchr(b'\n', &self.page[at..]).map(|n| at + n);
        let line_end = match (self.byte(), line_break) {
            (Some(b' '), Some(line_end)) => line_end,
            _ => return Err(ParseError::NoText(kind.name())),
        };
        self.text = (at + 1, line_end);
        self.text_is_help = kind == Token::Help;
        self.series_end = self.position.entry_start;
        self.position.at = line_end + 1;
        let text = &self.page[at + 1..line_end];
        Ok(Some(match kind {
            Token::Type => {
                self.position.metric_type = metric_type(text)?;
                Entry::Type(self.position.metric_type)
            }
            Token::Help => {
                if std::str::from_utf8(text).is_err() {
                    return Err(ParseError::Help(excerpt(text)));
                }
                Entry::Help
            }
            _ => {
                self.unit = self.text;
                let metric = &self.page[name.0..name.1];
                if !text.is_empty() && !metric.strip_suffix(text).is_some_and(|base| base.ends_with(b"_")) {
                    return Err(ParseError::Unit { unit: excerpt(text), metric: excerpt(metric) });
                }
                Entry::Unit
            }
        }))
    }

    fn family_line_name(&mut self, kind: Token) -> Result<(usize, usize), ParseError> {
        let start = self.position.at;
        let found = match self.begin_token() {
            Some(b'"') => quoted_end(self.page, start, NAME_RULES).map(|end| ((start + 1, end - 1), end)),
            Some(byte) if starts_metric_name(byte) => {
                let end = metric_name_end(self.page, start);
                Ok(((start, end), end))
            }
            _ => Err(start),
        };
        match found {
            Ok((name, end)) => {
                self.position.at = end;
                Ok(name)
            }
            Err(stop) => {
                self.position.at = stop;
                let expected = match kind {
                    Token::Help => "expected metric name after HELP",
                    Token::Type => "expected metric name after TYPE",
                    _ => "expected metric name after UNIT",
                };
                let token = if start >= self.page.len() { Token::Eof } else { Token::Invalid };
                Err(self.unexpected(expected, token))
            }
        }
    }

    /// Labels of a series up to the closing brace.
    fn label_pairs(&mut self) -> Result<(), ParseError> {
        let mut labels = std::mem::take(&mut self.spans.labels);
        let done = self.pairs(&mut labels, false);
        self.spans.labels = labels;
        done
    }

    fn pairs(&mut self, labels: &mut Vec<LabelSpan>, of_exemplar: bool) -> Result<(), ParseError> {
        let mut token = self.label_token(of_exemplar);
        loop {
            let start = self.position.token_start;
            let end = self.position.at;
            let quoted = match token {
                Token::BraceClose => return Ok(()),
                Token::LabelName => false,
                Token::QuotedString => true,
                _ => return Err(self.unexpected("expected label name", token)),
            };
            token = self.label_token(of_exemplar);
            if quoted && matches!(token, Token::Comma | Token::BraceClose) {
                if of_exemplar {
                    return Err(self.unexpected("expected label name", token));
                }
                if self.spans.name.is_some() {
                    return Err(ParseError::NameTwice(excerpt(self.entry_up_to(self.position.at))));
                }
                self.spans.name = Some((start + 1, end - 1));
                if token == Token::BraceClose {
                    return Ok(());
                }
                token = self.label_token(of_exemplar);
                continue;
            }
            if token != Token::Equal {
                return Err(self.unexpected("expected equal", token));
            }
            let name = if quoted { (start + 1, end - 1) } else { (start, end) };
            let value = self.label_value(if of_exemplar { EXEMPLAR_RULES } else { VALUE_RULES })?;
            labels.push(LabelSpan { name, value });
            token = self.label_token(of_exemplar);
            if token == Token::Comma {
                token = self.label_token(of_exemplar);
            } else if token != Token::BraceClose {
                return Err(self.unexpected("expected comma or brace close", token));
            }
        }
    }

    fn label_token(&mut self, of_exemplar: bool) -> Token {
        let single = match self.begin_token() {
            None => return Token::Eof,
            Some(b'}') => Token::BraceClose,
            Some(b'=') => Token::Equal,
            Some(b',') => Token::Comma,
            Some(b'"') => {
                let rules = if of_exemplar { EXEMPLAR_RULES } else { NAME_RULES };
                return match quoted_end(self.page, self.position.at, rules) {
                    Ok(end) => {
                        self.position.at = end;
                        Token::QuotedString
                    }
                    Err(stop) => {
                        self.position.at = stop;
                        Token::Invalid
                    }
                };
            }
            Some(byte) if starts_label_name(byte) => {
                self.position.at = label_name_end(self.page, self.position.at);
                return Token::LabelName;
            }
            Some(_) => return Token::Invalid,
        };
        self.position.at += 1;
        single
    }

    fn label_value(&mut self, rules: QuotedRules) -> Result<(usize, usize), ParseError> {
        let start = self.position.at;
        let expected = "expected label value";
        match self.begin_token() {
            None => return Err(self.unexpected(expected, Token::Eof)),
            Some(b'"') => match quoted_end(self.page, start, rules) {
                Ok(end) => self.position.at = end,
                Err(stop) => {
                    self.position.at = stop;
                    return Err(self.unexpected(expected, Token::Invalid));
                }
            },
            Some(_) => return Err(self.unexpected(expected, Token::Invalid)),
        }
        let end = self.position.at;
        if std::str::from_utf8(&self.page[start + 1..end - 1]).is_err() {
            return Err(ParseError::LabelValue(excerpt(&self.page[start..end])));
        }
        Ok((start + 1, end - 1))
    }

    /// A blank and a word: a value or a time.
    fn value_token(&mut self) -> Token {
        match self.begin_token() {
            None => Token::Eof,
            Some(b'{') => {
                self.position.at += 1;
                Token::BraceOpen
            }
            Some(b' ') => self.word(Token::Value),
            Some(_) => Token::Invalid,
        }
    }

    /// What may stand after a value: a time, an exemplar, the line's end.
    fn after_value(&mut self) -> Token {
        match self.begin_token() {
            None => Token::Eof,
            Some(b'\n') => {
                self.position.at += 1;
                Token::LineBreak
            }
            Some(b' ') if self.page[self.position.at..].starts_with(b" # ") => {
                self.position.at += 3;
                if self.byte() != Some(b'{') {
                    return Token::Invalid;
                }
                self.position.at += 1;
                Token::Comment
            }
            Some(b' ') => self.word(Token::Timestamp),
            Some(_) => Token::Invalid,
        }
    }

    fn word(&mut self, token: Token) -> Token {
        let start = self.position.at + 1;
        self.position.at = self.word_end(start);
        if self.position.at == start { Token::Invalid } else { token }
    }

    fn word_end(&self, from: usize) -> usize {
        let mut at = from;
        while let Some(&byte) = self.page.get(at) {
            if matches!(byte, b' ' | b'\n' | 0) {
                break;
            }
            at += 1;
        }
        at
    }

    fn value_and_rest(&mut self) -> Result<Entry, ParseError> {
        let value = self.float_value("expected value after metric")?;
        let mut timestamp_ms = None;
        match self.after_value() {
            Token::Eof => return Err(ParseError::NoEof),
            Token::LineBreak => {}
            Token::Comment => self.exemplar()?,
            Token::Timestamp => {
                timestamp_ms = Some(self.timestamp(ParseError::Timestamp)?);
                match self.after_value() {
                    Token::LineBreak => {}
                    Token::Comment => self.exemplar()?,
                    token => return Err(self.unexpected("expected next entry after timestamp", token)),
                }
            }
            // The entry stands; what follows it will not.
            _ => self.position.inside_line = true,
        }
        Ok(Entry::Series { value, timestamp_ms })
    }

    fn float_value(&mut self, expected: &'static str) -> Result<f64, ParseError> {
        let token = self.value_token();
        if token != Token::Value {
            return Err(self.unexpected(expected, token));
        }
        parse_float(self.token_word()).map_err(|error| self.number(error))
    }

    /// The word of the token at hand: seconds, to ms.
    fn timestamp(&self, invalid: fn(&'static str) -> ParseError) -> Result<i64, ParseError> {
        let seconds = parse_float(self.token_word()).map_err(|error| self.number(error))?;
        if seconds.is_nan() {
            return Err(invalid("NaN"));
        }
        if seconds.is_infinite() {
            return Err(invalid(if seconds > 0.0 { "+Inf" } else { "-Inf" }));
        }
        Ok((seconds * 1000.0) as i64)
    }

    fn exemplar(&mut self) -> Result<(), ParseError> {
        if self.position.looking_ahead {
            let at = self.position.at;
            let line_end = memchr::memchr(b'\n', &self.page[at..]).ok_or(ParseError::NoEof)?;
            self.position.at = at + line_end + 1;
            return Ok(());
        }
        let mut labels = std::mem::take(&mut self.exemplar_labels);
        let done = self.pairs(&mut labels, true);
        self.exemplar_labels = labels;
        done?;
        let value = self.float_value("expected value after exemplar labels")?;
        let timestamp_ms = match self.begin_token() {
            None => return Err(ParseError::NoEof),
            Some(b'\n') => {
                self.position.at += 1;
                None
            }
            Some(b' ') if self.word(Token::Timestamp) == Token::Timestamp => {
                let timestamp_ms = self.timestamp(ParseError::ExemplarTimestamp)?;
                self.position.token_start = self.position.at;
                if self.byte() != Some(b'\n') {
                    let token = if self.byte().is_none() { Token::Eof } else { self.after_value() };
                    return Err(self.unexpected("expected next entry after exemplar timestamp", token));
                }
                self.position.at += 1;
                Some(timestamp_ms)
            }
            Some(_) => return Err(self.unexpected("expected timestamp or comment", Token::Invalid)),
        };
        self.exemplar = Some(ParsedExemplar { value, timestamp_ms });
        Ok(())
    }

    /// The byte at hand, where a token starts unless the page ends.
    fn begin_token(&mut self) -> Option<u8> {
        let byte = self.byte();
        if byte.is_some() {
            self.position.token_start = self.position.at;
        }
        byte
    }

    fn byte(&self) -> Option<u8> {
        self.page.get(self.position.at).copied()
    }

    /// The token at hand without the blank before it.
    fn token_word(&self) -> &'p [u8] {
        &self.page[self.position.token_start + 1..self.position.at]
    }

    fn entry_up_to(&self, to: usize) -> &'p [u8] {
        &self.page[self.position.entry_start..to.min(self.page.len())]
    }

    fn number(&self, error: NumberError) -> ParseError {
        ParseError::Number { error, parsing: excerpt(self.entry_up_to(self.position.at)) }
    }

    fn unexpected(&self, expected: &'static str, token: Token) -> ParseError {
        let end = (self.position.at + 1).min(self.page.len());
        ParseError::Unexpected {
            expected,
            got: excerpt(&self.page[self.position.token_start..end]),
            token: token.name(),
            parsing: excerpt(self.entry_up_to(end)),
        }
    }
}

fn metric_type(text: &[u8]) -> Result<MetricType, ParseError> {
    Ok(match text {
        b"counter" => MetricType::Counter,
        b"gauge" => MetricType::Gauge,
        b"histogram" => MetricType::Histogram,
        b"gaugehistogram" => MetricType::GaugeHistogram,
        b"summary" => MetricType::Summary,
        b"info" => MetricType::Info,
        b"stateset" => MetricType::StateSet,
        b"unknown" => MetricType::Unknown,
        _ => return Err(ParseError::MetricType(excerpt(text))),
    })
}
