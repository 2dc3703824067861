//! The tokens of series notation behind the series' name: values and histograms.

use super::{HistogramState, Lexer, Mode, Token, TokenKind, is_alpha, is_digit, is_space};
use crate::quote::quote_char;

impl Lexer<'_> {
    /// Between values.
    pub(super) fn values(&mut self) -> Option<Token> {
        use TokenKind::*;
        if self.histogram != HistogramState::None {
            return self.histogram();
        }
        let Some(c) = self.next() else {
            self.mode = Mode::Statements;
            return None;
        };
        let kind = match c {
            '{' if self.peek() == Some('{') => {
                self.next();
                self.histogram = HistogramState::Open;
                return self.emit_in(OpenHist, Mode::Histogram);
            }
            c if is_space(Some(c)) => {
                let token = self.emit_in(Space, Mode::Values);
                self.skip_space();
                return token;
            }
            '+' => Add,
            '-' => Sub,
            'x' => Times,
            '_' => Blank,
            c if c.is_ascii_digit() || (c == '.' && is_digit(self.peek())) => {
                self.pos -= 1;
                return self.series_number(Mode::Values);
            }
            c if is_alpha(Some(c)) => {
                self.pos -= 1;
                return self.keyword_or_identifier();
            }
            c => {
                return self
                    .fail(format!("unexpected character in series sequence: {}", quote_char(Some(c))));
            }
        };
        self.emit_in(kind, Mode::Values)
    }

    pub(super) fn series_number(&mut self, mode: Mode) -> Option<Token> {
        if self.scan_number() {
            return self.emit_in(TokenKind::Number, mode);
        }
        let word = self.word();
        self.fail(format!("bad number syntax: {}", model::labels::go_quote(&word)))
    }

    /// Inside `{{…}}`, and the operator right behind it.
    pub(super) fn histogram(&mut self) -> Option<Token> {
        use TokenKind::*;
        if self.histogram == HistogramState::Operator {
            self.histogram = HistogramState::None;
            let kind = match self.next() {
                Some('+') => Add,
                Some('-') => Sub,
                _ => Times,
            };
            return self.emit_in(kind, Mode::Values);
        }
        if self.bracket_open {
            return self.buckets();
        }
        let Some(c) = self.next() else {
            return self.fail(format!("histogram description incomplete unexpected: {}", quote_char(None)));
        };
        match c {
            c if is_space(Some(c)) => {
                let token = self.emit_in(Space, Mode::Histogram);
                self.skip_space();
                token
            }
            c if is_alpha(Some(c)) => self.histogram_word(),
            ':' => self.emit_in(Colon, Mode::Histogram),
            '-' => self.emit_in(Sub, Mode::Histogram),
            c if c.is_ascii_digit() => {
                self.pos -= 1;
                self.series_number(Mode::Histogram)
            }
            '[' => {
                self.bracket_open = true;
                self.got_colon = false;
                self.got_duration = false;
                self.emit_in(LeftBracket, Mode::Buckets)
            }
            '}' if self.peek() == Some('}') => {
                self.next();
                self.histogram = match self.peek() {
                    Some('x' | '+' | '-') => HistogramState::Operator,
                    _ => HistogramState::None,
                };
                self.emit_in(CloseHist, Mode::Values)
            }
            c => self.fail(format!("histogram description incomplete unexpected: {}", quote_char(Some(c)))),
        }
    }

    /// A key, a special number or a counter-reset hint whose first letter was read.
    fn histogram_word(&mut self) -> Option<Token> {
        self.accept_while(|c| is_alpha(Some(c)));
        let word = self.word();
        let lower = word.to_ascii_lowercase();
        if let Some(kind) = TokenKind::histogram_key(&lower) {
            if self.peek() != Some(':') {
                return self.fail("missing `:` for histogram descriptor".to_owned());
            }
            return self.emit_in(kind, Mode::Histogram);
        }
        if TokenKind::keyword(&lower) == Some(TokenKind::Number) {
            return self.emit_in(TokenKind::Number, Mode::Histogram);
        }
        match TokenKind::counter_reset_hint(&lower) {
            Some(kind) => self.emit_in(kind, Mode::Histogram),
            None => self.fail(format!("bad histogram descriptor found: {}", model::labels::go_quote(&word))),
        }
    }

    /// Inside the brackets of `buckets:[…]`.
    pub(super) fn buckets(&mut self) -> Option<Token> {
        use TokenKind::*;
        let Some(c) = self.next() else {
            return self.fail(format!("invalid character in buckets description: {}", quote_char(None)));
        };
        match c {
            c if is_space(Some(c)) => {
                let token = self.emit_in(Space, Mode::Buckets);
                self.skip_space();
                token
            }
            '-' => self.emit_in(Sub, Mode::BucketNumber),
            c if c.is_ascii_digit() => {
                self.pos -= 1;
                self.series_number(Mode::Buckets)
            }
            ']' => {
                self.bracket_open = false;
                self.emit_in(RightBracket, Mode::Histogram)
            }
            c if is_alpha(Some(c)) => {
                // Letters pile up until they spell a special number.
                let lower = self.word().to_ascii_lowercase();
                if TokenKind::keyword(&lower) == Some(TokenKind::Number) {
                    return self.emit_in(Number, Mode::Buckets);
                }
                None
            }
            c => self.fail(format!("invalid character in buckets description: {}", quote_char(Some(c)))),
        }
    }
}
