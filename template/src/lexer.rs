//! Template text cut into items.
//!
//! ```text
//! up is {{- .Value | printf "%.1f" -}} now
//! ╰text╯╰left╯╰field╯ ╰pipe╯ …     ╰right╯╰text╯
//! ```
//!
//! Text outside actions is one item each; inside, runs of space are items too,
//! since they separate arguments. White space next to a trim marker is dropped
//! here, so the parser never sees it. Source: Go `text/template/parse`.

use crate::text::{self, is_letter_or_digit, unicode_name};

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The text is a fault, described by the item's value.
    Error,
    Bool,
    /// A printable ASCII character without a meaning of its own, such as a comma.
    Char,
    CharConstant,
    /// A number of two parts, as `1+2i`.
    Complex,
    Assign,
    Declare,
    Eof,
    Field,
    Identifier,
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    String,
    Text,
    Variable,
    Block,
    Break,
    Continue,
    Dot,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

impl Kind {
    fn is_keyword(self) -> bool {
        matches!(
            self,
            Kind::Block
                | Kind::Break
                | Kind::Continue
                | Kind::Dot
                | Kind::Define
                | Kind::Else
                | Kind::End
                | Kind::If
                | Kind::Nil
                | Kind::Range
                | Kind::Template
                | Kind::With
        )
    }
}

/// A piece of the template.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    /// Where it starts, in bytes.
    pub(crate) pos: usize,
    pub(crate) value: Vec<u8>,
    /// The line it starts on, from 1.
    pub(crate) line: usize,
}

impl Item {
    /// Nothing yet: what a parser's window holds before it has read.
    pub(crate) fn none() -> Item {
        Item { kind: Kind::Error, pos: 0, value: Vec::new(), line: 0 }
    }

    /// The item as messages show it.
    pub(crate) fn shown(&self) -> String {
        match self.kind {
            Kind::Eof => "EOF".to_owned(),
            Kind::Error => text::lossy(&self.value),
            kind if kind.is_keyword() => format!("<{}>", text::lossy(&self.value)),
            _ if self.value.len() > 10 => {
                format!("{}...", text::quote(text::first_chars(&self.value, 10)))
            }
            _ => text::quote(&self.value),
        }
    }
}

fn keyword(word: &[u8]) -> Option<Kind> {
    Some(match word {
        b"." => Kind::Dot,
        b"block" => Kind::Block,
        b"break" => Kind::Break,
        b"continue" => Kind::Continue,
        b"define" => Kind::Define,
        b"else" => Kind::Else,
        b"end" => Kind::End,
        b"if" => Kind::If,
        b"range" => Kind::Range,
        b"nil" => Kind::Nil,
        b"template" => Kind::Template,
        b"with" => Kind::With,
        _ => return None,
    })
}

const LEFT: &[u8] = b"{{";
const RIGHT: &[u8] = b"}}";
const COMMENT_OPEN: &[u8] = b"/*";
const COMMENT_CLOSE: &[u8] = b"*/";
/// A minus and the space that must stand beside it.
const TRIM_LEN: usize = 2;

/// Cuts one text, an item a call.
#[derive(Debug)]
pub(crate) struct Lexer<'t> {
    input: &'t [u8],
    pos: usize,
    start: usize,
    line: usize,
    start_line: usize,
    paren_depth: usize,
    in_action: bool,
    /// A fault was met: nothing follows.
    failed: bool,
}

impl<'t> Lexer<'t> {
    pub(crate) fn new(input: &'t [u8]) -> Lexer<'t> {
        Lexer {
            input,
            pos: 0,
            start: 0,
            line: 1,
            start_line: 1,
            paren_depth: 0,
            in_action: false,
            failed: false,
        }
    }

    /// The next item; at the end, [`Kind::Eof`] for ever.
    pub(crate) fn next_item(&mut self) -> Item {
        if self.failed {
            return Item { kind: Kind::Eof, pos: 0, value: b"EOF".to_vec(), line: self.start_line };
        }
        if self.in_action { self.action_item() } else { self.text_item() }
    }

    fn rest(&self) -> &'t [u8] {
        &self.input[self.pos..]
    }

    fn peek(&self) -> Option<char> {
        text::decode(self.rest()).map(|(c, _)| c)
    }

    fn advance(&mut self) -> Option<char> {
        let (c, width) = text::decode(self.rest())?;
        self.pos += width;
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    /// What was passed over becomes an item.
    fn item(&mut self, kind: Kind) -> Item {
        let item = Item {
            kind,
            pos: self.start,
            value: self.input[self.start..self.pos].to_vec(),
            line: self.start_line,
        };
        self.start = self.pos;
        self.start_line = self.line;
        item
    }

    /// What was passed over is dropped; its lines are counted here.
    fn ignore(&mut self) {
        self.line += newlines(&self.input[self.start..self.pos]);
        self.start = self.pos;
        self.start_line = self.line;
    }

    fn error(&mut self, message: String) -> Item {
        self.failed = true;
        let line = self.start_line;
        Item { kind: Kind::Error, pos: self.start, value: message.into_bytes(), line }
    }

    fn text_item(&mut self) -> Item {
        loop {
            let Some(found) = text::find(self.rest(), LEFT) else {
                self.pos = self.input.len();
                if self.pos > self.start {
                    self.line += newlines(&self.input[self.start..self.pos]);
                    return self.item(Kind::Text);
                }
                return self.item(Kind::Eof);
            };
            if found > 0 {
                self.pos += found;
                let trims = has_left_trim(&self.input[self.pos + LEFT.len()..]);
                let trimmed = if trims { space_at_end(&self.input[self.start..self.pos]) } else { 0 };
                self.pos -= trimmed;
                self.line += newlines(&self.input[self.start..self.pos]);
                let item = self.item(Kind::Text);
                self.pos += trimmed;
                self.ignore();
                if !item.value.is_empty() {
                    return item;
                }
            }
            if let Some(item) = self.left_delim() {
                return item;
            }
        }
    }

    /// The opening of an action; `None` if it was a comment.
    fn left_delim(&mut self) -> Option<Item> {
        self.pos += LEFT.len();
        let marker = if has_left_trim(self.rest()) { TRIM_LEN } else { 0 };
        if self.input[self.pos + marker..].starts_with(COMMENT_OPEN) {
            self.pos += marker;
            self.ignore();
            return self.comment();
        }
        let item = self.item(Kind::LeftDelim);
        self.in_action = true;
        self.pos += marker;
        self.ignore();
        self.paren_depth = 0;
        Some(item)
    }

    fn comment(&mut self) -> Option<Item> {
        self.pos += COMMENT_OPEN.len();
        let Some(end) = text::find(self.rest(), COMMENT_CLOSE) else {
            return Some(self.error("unclosed comment".to_owned()));
        };
        self.pos += end + COMMENT_CLOSE.len();
        let Some(trims) = self.at_right_delim() else {
            return Some(self.error("comment ends before closing delimiter".to_owned()));
        };
        self.line += newlines(&self.input[self.start..self.pos]);
        self.item(Kind::Text);
        self.pos += RIGHT.len();
        if trims {
            self.pos += TRIM_LEN;
            self.pos += space_at_start(self.rest());
        }
        self.ignore();
        None
    }

    /// Whether an action ends here, and whether with a trim marker.
    fn at_right_delim(&self) -> Option<bool> {
        let rest = self.rest();
        if has_right_trim(rest) && rest[TRIM_LEN..].starts_with(RIGHT) {
            return Some(true);
        }
        rest.starts_with(RIGHT).then_some(false)
    }

    fn right_delim(&mut self) -> Item {
        let trims = self.at_right_delim() == Some(true);
        if trims {
            self.pos += TRIM_LEN;
            self.ignore();
        }
        self.pos += RIGHT.len();
        let item = self.item(Kind::RightDelim);
        if trims {
            self.pos += space_at_start(self.rest());
            self.ignore();
        }
        self.in_action = false;
        item
    }

    fn action_item(&mut self) -> Item {
        if self.at_right_delim().is_some() {
            if self.paren_depth == 0 {
                return self.right_delim();
            }
            return self.error("unclosed left paren".to_owned());
        }
        let Some(c) = self.peek() else { return self.error("unclosed action".to_owned()) };
        if is_space(c) {
            return self.space();
        }
        let digit_follows =
            |lexer: &Lexer<'_>| lexer.input.get(lexer.pos + 1).is_none_or(|b| b.is_ascii_digit());
        match c {
            '+' | '-' | '0'..='9' => return self.number(),
            '.' if digit_follows(self) => return self.number(),
            c if is_letter_or_digit(c) => return self.identifier(),
            _ => {}
        }
        self.advance();
        match c {
            '=' => self.item(Kind::Assign),
            ':' if self.advance() != Some('=') => self.error("expected :=".to_owned()),
            ':' => self.item(Kind::Declare),
            '|' => self.item(Kind::Pipe),
            '"' => self.quoted('"', Kind::String, "unterminated quoted string"),
            '\'' => self.quoted('\'', Kind::CharConstant, "unterminated character constant"),
            '`' => self.raw_quoted(),
            '$' if self.at_terminator() => self.item(Kind::Variable),
            '$' => self.field_or_variable(Kind::Variable),
            '.' => self.field_or_variable(Kind::Field),
            '(' => {
                self.paren_depth += 1;
                self.item(Kind::LeftParen)
            }
            ')' if self.paren_depth == 0 => self.error("unexpected right paren".to_owned()),
            ')' => {
                self.paren_depth -= 1;
                self.item(Kind::RightParen)
            }
            c if c.is_ascii_graphic() => self.item(Kind::Char),
            c => self.error(format!("unrecognized character in action: {}", unicode_name(c))),
        }
    }

    fn space(&mut self) -> Item {
        let mut spaces = 0;
        while self.peek().is_some_and(is_space) {
            self.advance();
            spaces += 1;
        }
        // The last space may belong to a trim marker that closes the action.
        let last = &self.input[self.pos - 1..];
        if has_right_trim(last) && last[TRIM_LEN..].starts_with(RIGHT) {
            self.pos -= 1;
            if self.input[self.pos] == b'\n' {
                self.line -= 1;
            }
            if spaces == 1 {
                return self.right_delim();
            }
        }
        self.item(Kind::Space)
    }

    fn identifier(&mut self) -> Item {
        while self.peek().is_some_and(is_letter_or_digit) {
            self.advance();
        }
        if !self.at_terminator() {
            return self.bad_character();
        }
        let word = &self.input[self.start..self.pos];
        let kind = match word {
            b"true" | b"false" => Kind::Bool,
            word => keyword(word).unwrap_or(Kind::Identifier),
        };
        self.item(kind)
    }

    fn field_or_variable(&mut self, kind: Kind) -> Item {
        if self.at_terminator() {
            return self.item(if kind == Kind::Variable { Kind::Variable } else { Kind::Dot });
        }
        while self.peek().is_some_and(is_letter_or_digit) {
            self.advance();
        }
        if !self.at_terminator() {
            return self.bad_character();
        }
        self.item(kind)
    }

    fn bad_character(&mut self) -> Item {
        let shown = self.peek().map_or_else(|| "U+FFFFFFFFFFFFFFFF".to_owned(), unicode_name);
        self.error(format!("bad character {shown}"))
    }

    /// Whether a name may end here.
    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(c) => is_space(c) || self.rest().starts_with(RIGHT),
        }
    }

    fn quoted(&mut self, end: char, kind: Kind, fault: &str) -> Item {
        loop {
            match self.advance() {
                Some('\\') if !matches!(self.peek(), None | Some('\n')) => {
                    self.advance();
                }
                None | Some('\\' | '\n') => {
                    return self.error(fault.to_owned());
                }
                Some(c) if c == end => return self.item(kind),
                Some(_) => {}
            }
        }
    }

    fn raw_quoted(&mut self) -> Item {
        loop {
            match self.advance() {
                None => return self.error("unterminated raw quoted string".to_owned()),
                Some('`') => return self.item(Kind::RawString),
                Some(_) => {}
            }
        }
    }

    fn number(&mut self) -> Item {
        if !self.scan_number() {
            return self.bad_number();
        }
        if matches!(self.peek(), Some('+' | '-')) {
            if !self.scan_number() || self.input[self.pos - 1] != b'i' {
                return self.bad_number();
            }
            return self.item(Kind::Complex);
        }
        self.item(Kind::Number)
    }

    fn bad_number(&mut self) -> Item {
        let shown = text::quote(&self.input[self.start..self.pos]);
        self.error(format!("bad number syntax: {shown}"))
    }

    fn accept(&mut self, valid: &str) -> bool {
        let found = self.peek().is_some_and(|c| valid.contains(c));
        if found {
            self.advance();
        }
        found
    }

    fn accept_run(&mut self, valid: &str) {
        while self.accept(valid) {}
    }

    fn scan_number(&mut self) -> bool {
        const DECIMAL: &str = "0123456789_";
        const HEXADECIMAL: &str = "0123456789abcdefABCDEF_";
        self.accept("+-");
        let mut digits = DECIMAL;
        if self.accept("0") {
            if self.accept("xX") {
                digits = HEXADECIMAL;
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.accept_run(digits);
        if self.accept(".") {
            self.accept_run(digits);
        }
        if (digits == DECIMAL && self.accept("eE")) || (digits == HEXADECIMAL && self.accept("pP")) {
            self.accept("+-");
            self.accept_run(DECIMAL);
        }
        self.accept("i");
        if self.peek().is_some_and(is_letter_or_digit) {
            self.advance();
            return false;
        }
        true
    }
}

fn newlines(text: &[u8]) -> usize {
    text.iter().filter(|b| **b == b'\n').count()
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_space_byte(b: &u8) -> bool {
    is_space(char::from(*b))
}

fn space_at_end(text: &[u8]) -> usize {
    text.iter().rev().take_while(|b| is_space_byte(b)).count()
}

fn space_at_start(text: &[u8]) -> usize {
    text.iter().take_while(|b| is_space_byte(b)).count()
}

fn has_left_trim(text: &[u8]) -> bool {
    matches!(text, [b'-', space, ..] if is_space_byte(space))
}

fn has_right_trim(text: &[u8]) -> bool {
    matches!(text, [space, b'-', ..] if is_space_byte(space))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<(Kind, String)> {
        let mut lexer = Lexer::new(text.as_bytes());
        let mut all = Vec::new();
        loop {
            let item = lexer.next_item();
            if item.kind == Kind::Eof {
                return all;
            }
            all.push((item.kind, String::from_utf8(item.value).unwrap()));
        }
    }

    #[test]
    fn an_action_is_cut_into_items() {
        use Kind::*;
        let kinds: Vec<Kind> =
            items("a{{ $x := printf \"%d\" 1.5e3 | .Foo }}b").iter().map(|i| i.0).collect();
        assert_eq!(
            kinds,
            [
                Text, LeftDelim, Space, Variable, Space, Declare, Space, Identifier, Space, String, Space,
                Number, Space, Pipe, Space, Field, Space, RightDelim, Text
            ]
        );
    }

    #[test]
    fn trim_markers_eat_space_and_comments_vanish() {
        let texts: Vec<String> = items("a \n{{- 1 -}}\n b {{- /* c */ -}} d")
            .into_iter()
            .filter(|i| i.0 == Kind::Text)
            .map(|i| i.1)
            .collect();
        assert_eq!(texts, ["a", "b", "d"]);
    }

    #[test]
    fn faults_are_named() {
        let fault = |text| items(text).pop().map(|i| i.1).unwrap();
        assert_eq!(fault("{{ 1a }}"), "bad number syntax: \"1a\"");
        assert_eq!(fault("{{ \"a"), "unterminated quoted string");
        assert_eq!(fault("{{ (1 }}"), "unclosed left paren");
        assert_eq!(fault("{{ 1 ) }}"), "unexpected right paren");
        assert_eq!(fault("{{/* "), "unclosed comment");
        assert_eq!(fault("{{ \u{1} }}"), "unrecognized character in action: U+0001");
        assert_eq!(fault("{{ a"), "unclosed action");
    }
}
