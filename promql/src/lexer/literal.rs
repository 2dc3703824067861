//! The tokens of strings, numbers and durations. Here only their ends are found
//! and escapes checked; what they stand for is computed by the parser.

use super::{Lexer, Mode, Token, TokenKind, is_alphanumeric, is_digit};
use crate::quote::unicode_name;

impl Lexer<'_> {
    /// A string whose opening quote was read.
    pub(super) fn string(&mut self, quote: char) -> Option<Token> {
        loop {
            match self.next() {
                Some('\\') => {
                    if let Err(message) = self.escape(quote) {
                        return self.fail(message);
                    }
                }
                Some(char::REPLACEMENT_CHARACTER) => return self.fail("invalid UTF-8 rune".to_owned()),
                None | Some('\n') => return self.fail("unterminated quoted string".to_owned()),
                Some(c) if c == quote => return self.emit_in(TokenKind::String, Mode::Statements),
                Some(_) => {}
            }
        }
    }

    /// Checks an escape sequence whose backslash was read.
    fn escape(&mut self, quote: char) -> Result<(), String> {
        let unterminated = || "escape sequence not terminated".to_owned();
        let first = self.next().ok_or_else(unterminated)?;
        let (digits, base, max) = match first {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
            c if c == quote => return Ok(()),
            '0'..='7' => {
                self.pos -= 1;
                (3, 8, 255)
            }
            'x' => (2, 16, 255),
            'u' => (4, 16, u32::from(char::MAX)),
            'U' => (8, 16, u32::from(char::MAX)),
            c => return Err(format!("unknown escape sequence {}", unicode_name(c))),
        };
        let mut code: u32 = 0;
        for _ in 0..digits {
            let c = self.next().ok_or_else(unterminated)?;
            let digit = c
                .to_digit(base)
                .ok_or_else(|| format!("illegal character {} in escape sequence", unicode_name(c)))?;
            code = code.wrapping_mul(base).wrapping_add(digit);
        }
        if code > max || (0xd800..0xe000).contains(&code) {
            return Err("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }

    /// A string without escapes whose opening backtick was read.
    pub(super) fn raw_string(&mut self) -> Option<Token> {
        loop {
            match self.next() {
                Some(char::REPLACEMENT_CHARACTER) => return self.fail("invalid UTF-8 rune".to_owned()),
                None => return self.fail("unterminated raw string".to_owned()),
                Some('`') => return self.emit_in(TokenKind::String, Mode::Statements),
                Some(_) => {}
            }
        }
    }

    pub(super) fn number_or_duration(&mut self) -> Option<Token> {
        if self.scan_number() {
            return self.emit_in(TokenKind::Number, Mode::Statements);
        }
        if self.scan_duration_tail() {
            return self.emit_in(TokenKind::Duration, Mode::Statements);
        }
        let word = self.word();
        self.fail(format!("bad number or duration syntax: {}", model::labels::go_quote(&word)))
    }

    /// Reads units and further numbers behind the digits that a number began
    /// with. Units that do not exist are found when the duration is computed.
    fn scan_duration_tail(&mut self) -> bool {
        if !self.accept(|c| "smhdwy".contains(c)) {
            return false;
        }
        self.accept(|c| c == 's');
        while is_digit(self.peek()) {
            self.accept_while(|c| c.is_ascii_digit());
            // Years can only come first.
            if !self.accept(|c| "smhdw".contains(c)) {
                return false;
            }
            self.accept(|c| c == 's');
        }
        if is_alphanumeric(self.peek()) {
            self.next();
            return false;
        }
        true
    }

    /// Reads what may be a number: decimal, octal, hexadecimal or float. That
    /// it is one is for the parser to see.
    pub(super) fn scan_number(&mut self) -> bool {
        let initial = self.pos;
        let mut hex = false;
        // In series notation `0x3` is a zero three times.
        if !self.series && self.accept(|c| c == '0') && self.accept(|c| c == 'x' || c == 'X') {
            self.accept(|c| c == '_');
            hex = true;
        }
        let is_number_digit = |c: char| c.is_ascii_digit() || (hex && c.is_ascii_hexdigit());
        self.accept(|c| c == '.');
        self.accept(is_number_digit);
        let mut dot = false;
        let mut exponent = false;
        while let Some(c) = self.peek() {
            match c {
                '.' => {
                    self.next();
                    if dot {
                        return false;
                    }
                    dot = true;
                    if self.accept(|c| c == '_' || c == '.') || hex {
                        return false;
                    }
                }
                // As a hexadecimal digit an `e` may repeat no less than as an exponent.
                'e' | 'E' => {
                    self.next();
                    if exponent {
                        return false;
                    }
                    exponent = true;
                    self.accept(|c| c == '+' || c == '-');
                    if self.accept(|c| "._eE".contains(c)) || self.peek().is_none() {
                        return false;
                    }
                }
                '_' => {
                    self.next();
                    if self.accept(|c| "._eE".contains(c)) || self.peek().is_none() {
                        return false;
                    }
                }
                c if is_number_digit(c) => self.accept_while(is_number_digit),
                _ => break,
            }
        }
        if self.pos == initial {
            return false;
        }
        let next = self.peek();
        (self.series && next == Some('x')) || !is_alphanumeric(next)
    }
}
