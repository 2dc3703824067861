//! Text → tokens.
//!
//! What a byte means depends on where it stands, so the lexer is in one of a
//! few modes, and what is open (braces, brackets, parentheses) decides to which
//! it returns after a token:
//!
//! ```text
//! rate ( foo { job = "x" } [ 5m : step() ] )      statements
//!              └─ braces ─┘  └─ duration ─┘
//! foo{a="b"} 1+2x3 _ {{schema:1 buckets:[1 2]}}   series notation
//!            └─ values ─┘ └ histogram └buckets┘
//! ```
//!
//! Tokens are made one at a time, when the parser asks: an error far ahead must
//! not come before an error of what was read.
//! Source: Prometheus `promql/parser/lex.go`.

mod literal;
mod series;
mod token;

use crate::quote::{decode, quote_char};

pub use token::{Token, TokenKind};

/// What the lexer expects next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Statements,
    Braces,
    DurationExpr,
    Values,
    Histogram,
    Buckets,
    /// Behind a minus sign in buckets.
    BucketNumber,
    /// The end or an error was reached.
    Done,
}

/// What of a histogram in series notation was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HistogramState {
    None,
    Open,
    /// It is closed, and an operator follows at once.
    Operator,
}

/// Cuts a text into tokens. After the end or an error it yields the end for ever.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    input: &'a [u8],
    mode: Mode,
    /// Next byte to read.
    pos: usize,
    /// First byte of the token being read.
    start: usize,
    paren_depth: usize,
    brace_open: bool,
    bracket_open: bool,
    /// Whether a `:` was seen since `[`.
    got_colon: bool,
    /// Whether any number was seen directly in brackets. Never reset, as upstream.
    got_duration: bool,
    series: bool,
    histogram: HistogramState,
    error: Option<String>,
}

fn is_space(c: Option<char>) -> bool {
    matches!(c, Some(' ' | '\t' | '\n' | '\r'))
}

fn is_digit(c: Option<char>) -> bool {
    c.is_some_and(|c| c.is_ascii_digit())
}

fn is_alpha(c: Option<char>) -> bool {
    c.is_some_and(|c| c == '_' || c.is_ascii_alphabetic())
}

fn is_alphanumeric(c: Option<char>) -> bool {
    is_alpha(c) || is_digit(c)
}

impl<'a> Lexer<'a> {
    /// A lexer for an expression or a selector.
    pub fn new(input: &'a [u8]) -> Lexer<'a> {
        Lexer {
            input,
            mode: Mode::Statements,
            pos: 0,
            start: 0,
            paren_depth: 0,
            brace_open: false,
            bracket_open: false,
            got_colon: false,
            got_duration: false,
            series: false,
            histogram: HistogramState::None,
            error: None,
        }
    }

    /// A lexer for a series description.
    pub fn for_series(input: &'a [u8]) -> Lexer<'a> {
        Lexer { series: true, ..Lexer::new(input) }
    }

    /// What the error token that was yielded says.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Where the lexer stood when the error token was made, in bytes.
    pub fn error_start(&self) -> usize {
        self.start
    }

    /// The next token; comments are skipped.
    pub fn next_token(&mut self) -> Token {
        loop {
            let found = match self.mode {
                Mode::Statements if self.histogram != HistogramState::None => self.histogram(),
                Mode::Statements if self.brace_open => self.braces(),
                Mode::Statements => self.statement(),
                Mode::Braces => self.braces(),
                Mode::DurationExpr => self.duration_expr(),
                Mode::Values => self.values(),
                Mode::Histogram => self.histogram(),
                Mode::Buckets => self.buckets(),
                Mode::BucketNumber => self.series_number(Mode::Buckets),
                Mode::Done => Some(self.emit(TokenKind::Eof)),
            };
            if let Some(token) = found {
                return token;
            }
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.input.get(self.pos..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        decode(self.rest()).map(|(c, _)| c)
    }

    fn next(&mut self) -> Option<char> {
        let (c, width) = decode(self.rest())?;
        self.pos += width;
        Some(c)
    }

    fn accept(&mut self, set: impl Fn(char) -> bool) -> bool {
        let found = self.peek().is_some_and(set);
        if found {
            self.next();
        }
        found
    }

    fn accept_while(&mut self, set: impl Fn(char) -> bool) {
        while self.accept(&set) {}
    }

    /// The text of the token being read.
    fn word(&self) -> String {
        String::from_utf8_lossy(&self.input[self.start..self.pos]).into_owned()
    }

    fn emit(&mut self, kind: TokenKind) -> Token {
        let token = Token { kind, start: offset(self.start), end: offset(self.pos) };
        self.start = self.pos;
        token
    }

    fn emit_in(&mut self, kind: TokenKind, mode: Mode) -> Option<Token> {
        self.mode = mode;
        Some(self.emit(kind))
    }

    fn fail(&mut self, message: String) -> Option<Token> {
        self.mode = Mode::Done;
        self.error = Some(message);
        Some(Token { kind: TokenKind::Error, start: offset(self.start), end: offset(self.pos) })
    }

    fn skip_space(&mut self) {
        while is_space(self.peek()) {
            self.next();
        }
        self.start = self.pos;
    }

    fn skip_comment(&mut self) -> Option<Token> {
        while self.peek().is_some_and(|c| c != '\n' && c != '\r') {
            self.next();
        }
        self.start = self.pos;
        self.mode = Mode::Statements;
        None
    }

    fn statement(&mut self) -> Option<Token> {
        use TokenKind::*;
        if self.peek() == Some('#') {
            return self.skip_comment();
        }
        let Some(c) = self.next() else {
            return if self.paren_depth != 0 {
                self.fail("unclosed left parenthesis".to_owned())
            } else if self.bracket_open {
                self.fail("unclosed left bracket".to_owned())
            } else {
                self.emit_in(Eof, Mode::Done)
            };
        };
        let kind = match c {
            ' ' | '\t' | '\n' | '\r' => {
                self.skip_space();
                return None;
            }
            ',' => Comma,
            '*' => Mul,
            '/' => Div,
            '%' => Mod,
            '+' => Add,
            '-' => Sub,
            '^' => Pow,
            '@' => At,
            '=' => match self.peek() {
                Some('=') => {
                    self.next();
                    EqlC
                }
                Some('~') => return self.fail("unexpected character after '=': '~'".to_owned()),
                _ => Eql,
            },
            '!' => match self.next() {
                Some('=') => Neq,
                other => {
                    return self.fail(format!("unexpected character after '!': {}", quote_char(other)));
                }
            },
            '<' if self.accept(|c| c == '=') => Lte,
            '<' if self.accept(|c| c == '/') => TrimUpper,
            '<' => Lss,
            '>' if self.accept(|c| c == '=') => Gte,
            '>' if self.accept(|c| c == '/') => TrimLower,
            '>' => Gtr,
            '(' => {
                self.paren_depth += 1;
                LeftParen
            }
            ')' => return self.right_paren(Mode::Statements),
            '{' => {
                self.brace_open = true;
                return self.emit_in(LeftBrace, Mode::Braces);
            }
            '[' => return self.left_bracket(),
            ']' if !self.bracket_open => {
                return self.fail(format!("unexpected right bracket {}", quote_char(Some(c))));
            }
            ']' => {
                self.bracket_open = false;
                RightBracket
            }
            '"' | '\'' => return self.string(c),
            '`' => return self.raw_string(),
            c if c.is_ascii_digit() || (c == '.' && is_digit(self.peek())) => {
                self.pos -= 1;
                return self.number_or_duration();
            }
            c if (is_alpha(Some(c)) || c == ':') && self.bracket_open => return self.word_in_brackets(c),
            c if is_alpha(Some(c)) || c == ':' => {
                self.pos -= 1;
                return self.keyword_or_identifier();
            }
            c => return self.fail(format!("unexpected character: {}", quote_char(Some(c)))),
        };
        self.emit_in(kind, Mode::Statements)
    }

    fn right_paren(&mut self, mode: Mode) -> Option<Token> {
        let token = self.emit_in(TokenKind::RightParen, mode);
        match self.paren_depth.checked_sub(1) {
            Some(depth) => self.paren_depth = depth,
            None => return self.fail("unexpected right parenthesis ')'".to_owned()),
        }
        token
    }

    fn left_bracket(&mut self) -> Option<Token> {
        if self.bracket_open {
            return self.fail("unexpected left bracket '['".to_owned());
        }
        self.got_colon = false;
        self.bracket_open = true;
        let token = self.emit_in(TokenKind::LeftBracket, Mode::DurationExpr);
        self.skip_space();
        token
    }

    /// A colon or the name of a duration function, after the first number in brackets.
    fn word_in_brackets(&mut self, first: char) -> Option<Token> {
        if first == ':' {
            if self.got_colon {
                return self.fail("unexpected colon ':'".to_owned());
            }
            self.got_colon = true;
            return self.emit_in(TokenKind::Colon, Mode::Statements);
        }
        match self.duration_keyword(first) {
            Some(kind) => self.emit_in(kind, Mode::Statements),
            None => self.fail(format!("unexpected character: {}, expected ':'", quote_char(Some(first)))),
        }
    }

    /// Reads on the name of a duration function whose first letter was read.
    fn duration_keyword(&mut self, first: char) -> Option<TokenKind> {
        if !matches!(first.to_ascii_lowercase(), 's' | 'r' | 'm') {
            return None;
        }
        self.accept_while(|c| is_alpha(Some(c)));
        TokenKind::duration_keyword(&self.word().to_ascii_lowercase())
    }

    /// Inside `[…]`, up to and with the first number.
    fn duration_expr(&mut self) -> Option<Token> {
        use TokenKind::*;
        let Some(c) = self.next() else {
            return self.fail("unexpected end of input in duration expression".to_owned());
        };
        let kind = match c {
            ']' => {
                self.bracket_open = false;
                self.got_colon = false;
                return self.emit_in(RightBracket, Mode::Statements);
            }
            ':' => {
                let token = self.emit_in(Colon, Mode::DurationExpr);
                if !self.got_duration {
                    return self.fail("unexpected colon before duration in duration expression".to_owned());
                }
                if self.got_colon {
                    return self.fail("unexpected repeated colon in duration expression".to_owned());
                }
                self.got_colon = true;
                return token;
            }
            '(' => {
                self.paren_depth += 1;
                LeftParen
            }
            ')' => return self.right_paren(Mode::DurationExpr),
            ' ' | '\t' | '\n' | '\r' => {
                self.skip_space();
                return None;
            }
            '+' => Add,
            '-' => Sub,
            '*' => Mul,
            '/' => Div,
            '%' => Mod,
            '^' => Pow,
            ',' => Comma,
            c if c.is_ascii_digit() || (c == '.' && is_digit(self.peek())) => {
                self.pos -= 1;
                self.got_duration = true;
                return self.number_or_duration();
            }
            c => match self.duration_keyword(c) {
                Some(kind) => kind,
                None => {
                    let shown = quote_char(Some(c));
                    return self.fail(format!("unexpected character in duration expression: {shown}"));
                }
            },
        };
        self.emit_in(kind, Mode::DurationExpr)
    }

    /// Inside `{…}`, where keywords are plain names.
    fn braces(&mut self) -> Option<Token> {
        use TokenKind::*;
        if self.peek() == Some('#') {
            return self.skip_comment();
        }
        let Some(c) = self.next() else {
            return self.fail("unexpected end of input inside braces".to_owned());
        };
        let kind = match c {
            ' ' | '\t' | '\n' | '\r' => {
                self.skip_space();
                return None;
            }
            c if is_alpha(Some(c)) => {
                self.accept_while(|c| is_alphanumeric(Some(c)));
                Identifier
            }
            ',' => Comma,
            '"' | '\'' => return self.string(c),
            '`' => return self.raw_string(),
            '=' if self.accept(|c| c == '~') => EqlRegex,
            '=' => Eql,
            '!' => match self.next() {
                Some('~') => NeqRegex,
                Some('=') => Neq,
                other => {
                    let shown = quote_char(other);
                    return self.fail(format!("unexpected character after '!' inside braces: {shown}"));
                }
            },
            '{' => return self.fail("unexpected left brace '{'".to_owned()),
            '}' => {
                self.brace_open = false;
                let mode = if self.series { Mode::Values } else { Mode::Statements };
                return self.emit_in(RightBrace, mode);
            }
            c => return self.fail(format!("unexpected character inside braces: {}", quote_char(Some(c)))),
        };
        self.emit_in(kind, Mode::Braces)
    }

    fn keyword_or_identifier(&mut self) -> Option<Token> {
        self.accept_while(|c| is_alphanumeric(Some(c)) || c == ':');
        let word = self.word();
        let kind = match TokenKind::keyword(&word.to_ascii_lowercase()) {
            // Metrics of these names were in use before the keywords came.
            Some(TokenKind::Fill | TokenKind::FillLeft | TokenKind::FillRight) if !self.paren_follows() => {
                TokenKind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        };
        let values = self.series && self.peek() != Some('{');
        self.emit_in(kind, if values { Mode::Values } else { Mode::Statements })
    }

    fn paren_follows(&self) -> bool {
        let next = self.rest().iter().find(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
        next == Some(&b'(')
    }
}

/// A byte offset as tokens hold it. The parser refuses longer texts.
fn offset(pos: usize) -> u32 {
    u32::try_from(pos).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(input: &str) -> Vec<TokenKind> {
        let mut lexer = Lexer::new(input.as_bytes());
        let mut kinds = Vec::new();
        loop {
            let token = lexer.next_token();
            kinds.push(token.kind);
            if matches!(token.kind, TokenKind::Eof | TokenKind::Error) {
                return kinds;
            }
        }
    }

    #[test]
    fn keywords_are_names_inside_braces() {
        use TokenKind::*;
        assert_eq!(kinds("{by=\"x\"}"), [LeftBrace, Identifier, Eql, String, RightBrace, Eof]);
        assert_eq!(kinds("BY"), [By, Eof]);
    }

    #[test]
    fn fill_is_a_keyword_only_before_a_parenthesis() {
        use TokenKind::*;
        assert_eq!(kinds("fill + fill (1)")[..3], [Identifier, Add, Fill]);
    }

    #[test]
    fn an_error_is_followed_by_the_end() {
        let mut lexer = Lexer::new(b"$ 1");
        assert_eq!(lexer.next_token().kind, TokenKind::Error);
        assert_eq!(lexer.error(), Some("unexpected character: '$'"));
        assert_eq!(lexer.next_token().kind, TokenKind::Eof);
    }
}
