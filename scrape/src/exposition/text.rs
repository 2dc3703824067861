//! The text format, versions 0.0.4 and 1.0.0.
//!
//! ```text
//! # HELP name text            name{l="v",l2="v2",} value [timestamp_ms]
//! # TYPE name counter         {"name", "l"="v"} value
//! ```
//!
//! Tokens may be apart by blanks and tabs. As upstream's, the parser lets line
//! breaks stand in label values, needs no comma between labels, ends quietly
//! at a NUL byte where an entry would start, and counts blanks before a name
//! into the name. A page that does not end with a line break is read as if
//! one followed.

use std::borrow::Cow;

use model::MetricType;

use super::Entry;
use super::error::{NumberError, ParseError, excerpt};
use super::float::{parse_digits, parse_float};
use super::known::KnownLine;
use super::label_buf::LabelBuf;
use super::lexing::{
    FamilyHint, QuotedRules, SeriesSpans, Token, label_name_end, metric_name_end, quoted_end,
    starts_label_name, starts_metric_name, text_of, unescape_help,
};

/// Quoted label values.
const VALUE_RULES: QuotedRules = QuotedRules { nul: true, line_break: true };
/// Quoted names.
const NAME_RULES: QuotedRules = QuotedRules { nul: false, line_break: true };

/// A parser of a text page.
pub struct TextParser<'p> {
    page: &'p [u8],
    /// Where the next token is looked for.
    at: usize,
    /// Where the entry at hand starts.
    entry_start: usize,
    /// Where the token at hand starts.
    token_start: usize,
    series_end: usize,
    spans: SeriesSpans,
    text: (usize, usize),
    text_is_help: bool,
    metric_type: MetricType,
    type_and_unit_labels: bool,
}

impl<'p> TextParser<'p> {
    /// A parser that starts at the beginning of a page.
    pub fn new(page: &'p [u8], type_and_unit_labels: bool) -> TextParser<'p> {
        TextParser {
            page,
            at: 0,
            entry_start: 0,
            token_start: 0,
            series_end: 0,
            spans: SeriesSpans::default(),
            text: (0, 0),
            text_is_help: false,
            metric_type: MetricType::Unknown,
            type_and_unit_labels,
        }
    }

    /// See [`super::Parser::next_entry`].
    ///
    /// # Errors
    /// See [`super::Parser::next_entry`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ParseError> {
        self.spans.clear();
        loop {
            self.entry_start = self.at;
            self.skip_blanks();
            self.token_start = self.at;
            match self.byte(self.at) {
                None | Some(0) => return Ok(None),
                Some(b'\n') => self.at += 1,
                Some(b'#') => return self.hash_line(),
                Some(b'{') => {
                    self.at += 1;
                    return self.series_after_brace();
                }
                Some(byte) if starts_metric_name(byte) => {
                    self.at = metric_name_end(self.page, self.at);
                    return self.series_after_name();
                }
                Some(_) => return Err(self.unexpected("expected a valid start token", Token::Invalid)),
            }
        }
    }

    /// See [`super::Parser::next_known`].
    ///
    /// The raw bytes of a series were once read as one; when the same bytes
    /// follow here, and then a blank and a number, they are that series again.
    pub fn next_known(&mut self, key_bytes: usize, known: impl FnOnce(&[u8]) -> bool) -> Option<KnownLine> {
        let key_end = self.at.checked_add(key_bytes)?;
        if !matches!(self.page.get(key_end)?, b' ' | b'\t') || !known(&self.page[self.at..key_end]) {
            return None;
        }
        let value_start = skip_blanks_from(self.page, key_end);
        let value_end = value_end(self.page, value_start);
        let value = parse_float(&self.page[value_start..value_end]).ok()?;
        let (timestamp_ms, end) = match self.page.get(value_end) {
            Some(b'\n') => (None, value_end),
            Some(b' ' | b'\t') => {
                let start = skip_blanks_from(self.page, value_end);
                let end = digits_end(self.page, start);
                let timestamp =
                    if start == end { None } else { Some(parse_digits(&self.page[start..end]).ok()?) };
                (timestamp, skip_blanks_from(self.page, end))
            }
            _ => return None,
        };
        if self.page.get(end) != Some(&b'\n') {
            return None;
        }
        self.entry_start = self.at;
        self.series_end = key_end;
        self.at = end + 1;
        Some(KnownLine { value, timestamp_ms })
    }

    /// See [`super::Parser::metric`].
    pub fn metric(&self) -> &'p [u8] {
        match self.spans.name {
            Some((start, end)) if self.series_end <= self.entry_start => &self.page[start..end],
            _ => &self.page[self.entry_start..self.series_end],
        }
    }

    /// See [`super::Parser::written`].
    pub fn written(&self) -> &'p [u8] {
        &self.page[self.text.0..self.text.1]
    }

    /// See [`super::Parser::text`].
    pub fn text(&self) -> Cow<'p, str> {
        let raw = self.written();
        let plain = if self.text_is_help { unescape_help(raw) } else { Cow::Borrowed(raw) };
        match plain {
            Cow::Borrowed(bytes) => text_of(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// See [`super::Parser::labels`].
    pub fn labels(&self, into: &mut LabelBuf) {
        let family =
            FamilyHint { metric_type: self.metric_type, unit_label: self.type_and_unit_labels.then_some("") };
        self.spans.decode(self.page, family, into);
    }

    /// A comment, or a line about a family.
    fn hash_line(&mut self) -> Result<Option<Entry>, ParseError> {
        let page = self.page;
        let word = skip_blanks_from(page, self.at + 1);
        let has_blank = word > self.at + 1;
        let kind = match page.get(word..word + 5) {
            Some(b"HELP " | b"HELP\t") if has_blank => Token::Help,
            Some(b"TYPE " | b"TYPE\t") if has_blank => Token::Type,
            _ => return self.comment(has_blank),
        };
        self.at = skip_blanks_from(page, word + 5);
        self.family_line(kind)
    }

    fn comment(&mut self, has_blank: bool) -> Result<Option<Entry>, ParseError> {
        let line_end = self.line_end(self.at);
        if !has_blank && memchr::memchr(0, &self.page[self.at..line_end]).is_some() {
            // A NUL byte in a comment without blank after the hash ends the page.
            return Ok(None);
        }
        self.text = (self.at, line_end);
        self.text_is_help = false;
        self.series_end = self.entry_start;
        self.at = line_end + 1;
        Ok(Some(Entry::Comment))
    }

    fn family_line(&mut self, kind: Token) -> Result<Option<Entry>, ParseError> {
        self.token_start = self.at;
        let name = match self.byte(self.at) {
            Some(b'"') => match quoted_end(self.page, self.at, NAME_RULES) {
                Ok(end) => {
                    let name = (self.at + 1, end - 1);
                    self.at = end;
                    Some(name)
                }
                Err(stop) => {
                    self.at = stop;
                    None
                }
            },
            Some(byte) if starts_metric_name(byte) => {
                let end = metric_name_end(self.page, self.at);
                let name = (self.at, end);
                self.at = end;
                Some(name)
            }
            _ => None,
        };
        let Some(name) = name else {
            let expected = match kind {
                Token::Help => "expected metric name after HELP",
                _ => "expected metric name after TYPE",
            };
            return Err(self.unexpected(expected, Token::Invalid));
        };
        self.spans.name = Some(name);
        let line_end = self.line_end(self.at);
        let only_blanks = skip_blanks_from(self.page, self.at) >= line_end;
        let text_start = if only_blanks { line_end } else { self.at + 1 };
        self.text = (text_start, line_end);
        self.text_is_help = kind == Token::Help;
        self.series_end = self.entry_start;
        let text = &self.page[text_start..line_end];
        let entry = if kind == Token::Type {
            self.metric_type = match text {
                b"counter" => MetricType::Counter,
                b"gauge" => MetricType::Gauge,
                b"histogram" => MetricType::Histogram,
                b"summary" => MetricType::Summary,
                b"untyped" => MetricType::Unknown,
                _ => return Err(ParseError::MetricType(excerpt(text))),
            };
            Entry::Type(self.metric_type)
        } else {
            if std::str::from_utf8(text).is_err() {
                return Err(ParseError::Help(excerpt(text)));
            }
            Entry::Help
        };
        if self.byte(self.at) == Some(0) {
            self.token_start = self.at;
            return Err(self.unexpected("linebreak expected after metadata", Token::Eof));
        }
        self.at = line_end + 1;
        Ok(Some(entry))
    }

    fn series_after_name(&mut self) -> Result<Option<Entry>, ParseError> {
        self.spans.name = Some((self.entry_start, self.at));
        self.series_end = self.at;
        self.skip_blanks();
        self.token_start = self.at;
        if self.byte(self.at) == Some(b'{') {
            self.at += 1;
            self.label_pairs()?;
            self.series_end = self.at;
        }
        self.value_and_time()
    }

    fn series_after_brace(&mut self) -> Result<Option<Entry>, ParseError> {
        self.label_pairs()?;
        self.series_end = self.at;
        if self.spans.name.is_none() {
            // Upstream reads one token more before it complains.
            self.value_token();
            return Err(ParseError::NoName(excerpt(self.entry_up_to(self.at))));
        }
        self.value_and_time()
    }

    /// Labels up to the closing brace.
    fn label_pairs(&mut self) -> Result<(), ParseError> {
        let mut token = self.label_token();
        loop {
            let start = self.token_start;
            let end = self.at;
            let quoted = match token {
                Token::BraceClose => return Ok(()),
                Token::LabelName => false,
                Token::QuotedString => true,
                _ => return Err(self.unexpected("expected label name", token)),
            };
            token = self.label_token();
            if quoted && matches!(token, Token::Comma | Token::BraceClose) {
                if self.spans.name.is_some() {
                    return Err(ParseError::NameTwice(excerpt(self.entry_up_to(self.at))));
                }
                self.spans.name = Some((start + 1, end - 1));
                if token == Token::BraceClose {
                    return Ok(());
                }
                token = self.label_token();
                continue;
            }
            if token != Token::Equal {
                return Err(self.unexpected("expected equal", token));
            }
            let name = if quoted { (start + 1, end - 1) } else { (start, end) };
            let value = self.label_value()?;
            self.spans.labels.push(super::lexing::LabelSpan { name, value });
            token = self.label_token();
            if token == Token::Comma {
                token = self.label_token();
            }
        }
    }

    /// The next token between braces.
    fn label_token(&mut self) -> Token {
        self.skip_blanks();
        self.token_start = self.at;
        let single = match self.byte(self.at) {
            None => return Token::Eof,
            Some(b'}') => Token::BraceClose,
            Some(b'=') => Token::Equal,
            Some(b',') => Token::Comma,
            Some(b'"') => {
                return match quoted_end(self.page, self.at, NAME_RULES) {
                    Ok(end) => {
                        self.at = end;
                        Token::QuotedString
                    }
                    Err(stop) => {
                        self.at = self.past_line_break(stop);
                        Token::Invalid
                    }
                };
            }
            Some(byte) if starts_label_name(byte) => {
                self.at = label_name_end(self.page, self.at);
                return Token::LabelName;
            }
            Some(_) => return Token::Invalid,
        };
        self.at += 1;
        single
    }

    /// The quoted value after an equal sign, without its quotes.
    fn label_value(&mut self) -> Result<(usize, usize), ParseError> {
        self.skip_blanks();
        self.token_start = self.at;
        let expected = "expected label value";
        if self.byte(self.at) != Some(b'"') {
            let token = if self.byte(self.at).is_none() { Token::Eof } else { Token::Invalid };
            return Err(self.unexpected(expected, token));
        }
        match quoted_end(self.page, self.at, VALUE_RULES) {
            Ok(end) => self.at = end,
            Err(stop) => {
                self.at = self.past_line_break(stop);
                return Err(self.unexpected(expected, Token::Invalid));
            }
        }
        let value = (self.token_start + 1, self.at - 1);
        if std::str::from_utf8(&self.page[value.0..value.1]).is_err() {
            return Err(ParseError::LabelValue(excerpt(&self.page[self.token_start..self.at])));
        }
        Ok(value)
    }

    /// The token where a value should stand.
    fn value_token(&mut self) -> Token {
        self.skip_blanks();
        self.token_start = self.at;
        match self.byte(self.at) {
            None => Token::Eof,
            Some(b'{') => {
                self.at += 1;
                Token::BraceOpen
            }
            Some(b'\n' | 0) => Token::Invalid,
            Some(_) => {
                self.at = value_end(self.page, self.at);
                Token::Value
            }
        }
    }

    fn value_and_time(&mut self) -> Result<Option<Entry>, ParseError> {
        let token = self.value_token();
        if token != Token::Value {
            return Err(self.unexpected("expected value after metric", token));
        }
        let value = parse_float(&self.page[self.token_start..self.at]).map_err(|error| self.number(error))?;
        self.skip_blanks();
        self.token_start = self.at;
        let timestamp_ms = match self.byte(self.at) {
            Some(b'\n') => None,
            Some(byte) if byte.is_ascii_digit() => {
                self.at = digits_end(self.page, self.at);
                let timestamp = parse_digits(&self.page[self.token_start..self.at])
                    .map_err(|error| self.number(error))?;
                self.skip_blanks();
                self.token_start = self.at;
                match self.byte(self.at) {
                    Some(b'\n') => Some(timestamp),
                    Some(byte) => {
                        let token = self.after_timestamp(byte);
                        return Err(self.unexpected("expected next entry after timestamp", token));
                    }
                    None => return Err(self.unexpected("expected next entry after timestamp", Token::Eof)),
                }
            }
            Some(_) => return Err(self.unexpected("expected timestamp or new record", Token::Invalid)),
            None => return Err(self.unexpected("expected timestamp or new record", Token::Eof)),
        };
        self.at += 1;
        Ok(Some(Entry::Series { value, timestamp_ms }))
    }

    fn after_timestamp(&mut self, byte: u8) -> Token {
        if byte.is_ascii_digit() {
            self.at = digits_end(self.page, self.at);
            return Token::Timestamp;
        }
        Token::Invalid
    }

    /// The byte at a place, with a line break after a page that ends without.
    fn byte(&self, at: usize) -> Option<u8> {
        match self.page.get(at) {
            Some(&byte) => Some(byte),
            None if at == self.page.len() && self.page.last() != Some(&b'\n') => Some(b'\n'),
            None => None,
        }
    }

    fn skip_blanks(&mut self) {
        self.at = skip_blanks_from(self.page, self.at);
    }

    /// The place of the next line break, the page's end where there is none.
    fn line_end(&self, from: usize) -> usize {
        memchr::memchr(b'\n', &self.page[from.min(self.page.len())..]).map_or(self.page.len(), |n| from + n)
    }

    /// A string that runs over the page's end has also run over the line break
    /// that is thought to be there.
    fn past_line_break(&self, stop: usize) -> usize {
        if stop == self.page.len() { stop + 1 } else { stop }
    }

    /// The entry's bytes up to a place.
    fn entry_up_to(&self, to: usize) -> &'p [u8] {
        &self.page[self.entry_start..to.clamp(self.entry_start, self.page.len())]
    }

    fn number(&self, error: NumberError) -> ParseError {
        ParseError::Number { error, parsing: excerpt(self.entry_up_to(self.at)) }
    }

    fn unexpected(&self, expected: &'static str, token: Token) -> ParseError {
        let end = self.at + 1;
        let mut got = excerpt(&self.page[self.token_start.min(self.page.len())..end.min(self.page.len())]);
        let mut parsing = excerpt(self.entry_up_to(end));
        if end > self.page.len() && self.page.last() != Some(&b'\n') {
            got.push(b'\n');
            parsing.push(b'\n');
        }
        ParseError::Unexpected { expected, got, token: token.name(), parsing }
    }
}

fn skip_blanks_from(page: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(b' ' | b'\t') = page.get(at) {
        at += 1;
    }
    at
}

fn value_end(page: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(&byte) = page.get(at) {
        if matches!(byte, b'{' | b' ' | b'\t' | b'\n' | 0) {
            break;
        }
        at += 1;
    }
    at
}

fn digits_end(page: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(b'0'..=b'9') = page.get(at) {
        at += 1;
    }
    at
}
