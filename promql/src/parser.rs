//! Tokens → syntax tree.
//!
//! Operators bind by strength (Pratt), everything else descends. What upstream
//! says about a malformed query comes from the innermost place in its grammar
//! that knows a message; here such a place turns [`Stop::Unexpected`], which
//! rises from below, into its own message:
//!
//! ```text
//! sum(foo offset *)      token `*` fits nowhere      Unexpected
//!         └ offset ┘     knows what it expected      Reported, ends the parse
//! ```
//!
//! Tokens are read only when they are looked at, so that errors come in the
//! order in which upstream finds them.
//! Source: Prometheus `promql/parser/generated_parser.y`, `parse.go`.

mod aggregate;
mod duration;
mod error;
mod expr;
mod features;
mod modifier;
mod number;
mod selector;

use crate::ast::{Expr, PositionRange, StringLiteral};
use crate::check;
use crate::lexer::{Lexer, Token, TokenKind};
use crate::quote::{lossy, unquote};
use model::Matcher;

pub(crate) use error::ErrorList;
pub use error::{ParseError, ParseErrors};
pub use features::Features;
pub(crate) use number::parse_count;
pub(crate) use selector::is_metric_name;

/// How deep expressions may nest: each parenthesis, call, sign and right-hand
/// side counts. A chain like `a or b or c …` nests to the left and is not bound.
pub const NESTING_MAX: usize = 500;

/// The longest query, in bytes: positions are 32 bits wide.
const QUERY_BYTES_MAX: usize = i32::MAX as usize;

/// Most bytes that the compiled regular expressions of a query take together:
/// short texts can ask for large ones, as often as a query is long.
const PATTERN_BYTES_MAX: usize = 64 << 20;

/// Parses and checks an expression.
///
/// ```
/// use promql::Features;
///
/// let expr = promql::parse("rate( up [5m] )", Features::default()).unwrap();
/// assert_eq!(expr.to_string(), "rate(up[5m])");
/// let error = promql::parse("rate(up)", Features::default()).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"
/// );
/// ```
///
/// # Errors
/// The text is no expression, or its types do not fit.
pub fn parse(text: &str, features: Features) -> Result<Expr, ParseErrors> {
    parse_bytes(text.as_bytes(), features)
}

/// [`parse`] for bytes that need not be UTF-8.
///
/// # Errors
/// As [`parse`]; bytes that are no UTF-8 are allowed in comments alone.
pub fn parse_bytes(text: &[u8], features: Features) -> Result<Expr, ParseErrors> {
    let mut parser = Parser::new(text, Lexer::new(text), features)?;
    let parsed = parser.whole_expr();
    let mut expr = parser.finish(parsed)?;
    check::check(&mut expr, text)?;
    Ok(expr)
}

/// Parses a selector alone, as in `match[]`: `up{job="node"}`. That it may match
/// every series is for the caller to refuse.
///
/// # Errors
/// The text is no selector.
pub fn parse_selector(text: &str, features: Features) -> Result<Vec<Matcher>, ParseErrors> {
    let bytes = text.as_bytes();
    let mut parser = Parser::new(bytes, Lexer::new(bytes), features)?;
    let parsed = parser.whole_selector();
    parser.finish(parsed)
}

/// Why a rule could not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The last token read fits nowhere; nobody has said so yet.
    Unexpected,
    /// The error was recorded.
    Reported,
}

/// What a rule made, or why it could not.
pub(crate) type Rule<T> = Result<T, Stop>;

/// The state of one parse.
pub(crate) struct Parser<'a> {
    input: &'a [u8],
    lexer: Lexer<'a>,
    pub(crate) features: Features,
    /// A token that was looked at but not taken.
    ahead: Option<Token>,
    /// The token read last.
    last: Token,
    /// First byte behind the last token read that may end an expression.
    last_closing: u32,
    errors: ErrorList,
    depth: usize,
    /// Operators so far in the duration being read.
    duration_operators: usize,
    /// Bytes of the regular expressions so far.
    pattern_bytes: usize,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(
        input: &'a [u8],
        lexer: Lexer<'a>,
        features: Features,
    ) -> Result<Parser<'a>, ParseErrors> {
        if input.len() > QUERY_BYTES_MAX {
            let message = format!("query is too long: {} bytes, at most {QUERY_BYTES_MAX}", input.len());
            let mut errors = ErrorList::default();
            errors.push(PositionRange::default(), message);
            return Err(errors.into_errors(b""));
        }
        Ok(Parser {
            input,
            lexer,
            features,
            ahead: None,
            last: Token { kind: TokenKind::Eof, start: 0, end: 0 },
            last_closing: 0,
            errors: ErrorList::default(),
            depth: 0,
            duration_operators: 0,
            pattern_bytes: 0,
        })
    }

    /// The result, unless anything was wrong.
    pub(crate) fn finish<T>(mut self, parsed: Rule<T>) -> Result<T, ParseErrors> {
        if matches!(parsed, Err(Stop::Unexpected)) {
            self.unexpected("", "");
        }
        match parsed {
            Ok(value) => self.errors.into_result(value, self.input),
            Err(_) => Err(self.errors.into_errors(self.input)),
        }
    }

    fn whole_expr(&mut self) -> Rule<Expr> {
        if self.peek() == TokenKind::Eof {
            return self.stop(PositionRange::default(), "no expression found in input".to_owned());
        }
        let expr = self.expr()?;
        self.expect(TokenKind::Eof)?;
        Ok(expr)
    }

    fn whole_selector(&mut self) -> Rule<Vec<Matcher>> {
        let selector = self.selector()?;
        self.expect(TokenKind::Eof)?;
        Ok(selector.matchers)
    }

    /// The kind of the next token. Reading an error token records its error.
    pub(crate) fn peek(&mut self) -> TokenKind {
        if let Some(token) = self.ahead {
            return token.kind;
        }
        let token = self.lexer.next_token();
        self.last = token;
        self.ahead = Some(token);
        if token.kind == TokenKind::Error {
            let message = self.lexer.error().unwrap_or_default().to_owned();
            let start = u32::try_from(self.lexer.error_start()).unwrap_or(u32::MAX);
            let end = u32::try_from(self.input.len()).unwrap_or(u32::MAX);
            self.error(PositionRange { start, end }, message);
        } else if token.kind.is_closing() {
            self.last_closing = token.end;
        }
        token.kind
    }

    /// Takes the next token. The end and errors can be taken again and again.
    pub(crate) fn take(&mut self) -> Token {
        self.peek();
        if !matches!(self.last.kind, TokenKind::Eof | TokenKind::Error) {
            self.ahead = None;
        }
        self.last
    }

    /// Takes the next token if it is of that kind.
    pub(crate) fn accept(&mut self, kind: TokenKind) -> Option<Token> {
        if self.peek() == kind { Some(self.take()) } else { None }
    }

    /// Takes the next token, which must be of that kind.
    pub(crate) fn expect(&mut self, kind: TokenKind) -> Rule<Token> {
        self.accept(kind).ok_or(Stop::Unexpected)
    }

    /// The text of a token. The lexer makes tokens of UTF-8 only.
    pub(crate) fn text(&self, token: Token) -> &'a str {
        let bytes = self.input.get(token.start as usize..token.end as usize).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// A string token as literal.
    pub(crate) fn string_literal(&mut self, token: Token) -> StringLiteral {
        let bytes = unquote(self.text(token)).unwrap_or_default();
        let pos = span(token);
        match String::from_utf8(bytes) {
            Ok(value) => StringLiteral { value, bytes: None, pos },
            Err(error) => {
                let bytes = error.into_bytes();
                StringLiteral { value: lossy(&bytes), bytes: Some(bytes.into()), pos }
            }
        }
    }

    /// The value of a string token that names or matches a label, and so must
    /// be UTF-8.
    pub(crate) fn label_text(&mut self, token: Token) -> String {
        let literal = self.string_literal(token);
        if literal.bytes.is_some() {
            self.error(literal.pos, format!("invalid UTF-8 in label name or value: {}", literal.quoted()));
        }
        literal.value
    }

    /// First byte behind the last token read that may end an expression.
    pub(crate) fn last_closing(&self) -> u32 {
        self.last_closing
    }

    /// Where the token read last stands.
    pub(crate) fn last_span(&self) -> PositionRange {
        span(self.last)
    }

    /// Records an error; the parse goes on.
    pub(crate) fn error(&mut self, pos: PositionRange, message: String) {
        self.errors.push(pos, message);
    }

    /// Records an error that ends the parse.
    pub(crate) fn stop<T>(&mut self, pos: PositionRange, message: String) -> Rule<T> {
        self.error(pos, message);
        Err(Stop::Reported)
    }

    /// Records that the token read last was not expected, unless that is an
    /// error token and so recorded already.
    pub(crate) fn unexpected(&mut self, context: &str, expected: &str) {
        let token = self.last;
        if token.kind == TokenKind::Error {
            return;
        }
        let mut message = format!("unexpected {}", token.kind.describe(self.text(token)));
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        self.error(span(token), message);
    }

    /// Gives a message to an error from below that has none.
    pub(crate) fn within<T>(&mut self, rule: Rule<T>, context: &str, expected: &str) -> Rule<T> {
        if matches!(rule, Err(Stop::Unexpected)) {
            self.unexpected(context, expected);
            return Err(Stop::Reported);
        }
        rule
    }

    /// Goes one level deeper; the caller comes back by [`Parser::leave`].
    fn enter(&mut self) -> Rule<()> {
        if self.depth == NESTING_MAX {
            let message = format!("expression is nested too deeply: more than {NESTING_MAX} levels");
            return self.stop(self.last_span(), message);
        }
        self.depth += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }
}

/// Where a token stands.
pub(crate) fn span(token: Token) -> PositionRange {
    PositionRange { start: token.start, end: token.end }
}

/// From the start of one range to the end of another.
pub(crate) fn merge(first: PositionRange, last: PositionRange) -> PositionRange {
    PositionRange { start: first.start, end: last.end }
}
