//! Selectors: a name, and matchers in braces.

use super::{PATTERN_BYTES_MAX, Parser, Rule, Stop, merge, span};
use crate::ast::{PositionRange, VectorSelector};
use crate::lexer::{Token, TokenKind};
use crate::parser::aggregate::aggregate_op;
use model::{METRIC_NAME, MatchOp, Matcher};

const CONTEXT: &str = "label matching";

/// Whether a name or keyword may be the name of a metric.
pub(crate) fn is_metric_name(kind: TokenKind) -> bool {
    use TokenKind::*;
    aggregate_op(kind).is_some()
        || matches!(
            kind,
            By | Fill | FillLeft | FillRight | Identifier | And | Or | Unless | MetricIdentifier
        )
        || matches!(kind, Offset | Without | Start | End | Step | Range | Anchored | Smoothed | MaxOf | MinOf)
}

fn match_op(kind: TokenKind) -> Option<MatchOp> {
    Some(match kind {
        TokenKind::Eql => MatchOp::Equal,
        TokenKind::Neq => MatchOp::NotEqual,
        TokenKind::EqlRegex => MatchOp::Regex,
        TokenKind::NeqRegex => MatchOp::NotRegex,
        _ => return None,
    })
}

impl Parser<'_> {
    /// A selector.
    pub(super) fn selector(&mut self) -> Rule<VectorSelector> {
        if is_metric_name(self.peek()) {
            let name = self.take();
            return self.selector_named(name);
        }
        let (matchers, pos) = self.matchers()?;
        Ok(new_selector(None, matchers, pos))
    }

    /// A selector whose name was taken.
    pub(super) fn selector_named(&mut self, token: Token) -> Rule<VectorSelector> {
        let name = self.text(token);
        let (mut matchers, pos) = match self.peek() {
            TokenKind::LeftBrace => {
                let (matchers, braces) = self.matchers()?;
                (matchers, merge(span(token), braces))
            }
            _ => (Vec::new(), span(token)),
        };
        matchers.extend(self.matcher(MatchOp::Equal, METRIC_NAME, name, span(token)));
        Ok(new_selector(Some(name.to_owned()), matchers, pos))
    }

    /// Matchers in braces; a comma may follow the last.
    fn matchers(&mut self) -> Rule<(Vec<Matcher>, PositionRange)> {
        let open = self.expect(TokenKind::LeftBrace)?;
        let mut matchers = Vec::new();
        loop {
            if let Some(close) = self.accept(TokenKind::RightBrace) {
                return Ok((matchers, merge(span(open), span(close))));
            }
            matchers.extend(self.label_matcher()?);
            if let Some(close) = self.accept(TokenKind::RightBrace) {
                return Ok((matchers, merge(span(open), span(close))));
            }
            let comma = self.expect(TokenKind::Comma);
            self.within(comma, CONTEXT, "\",\" or \"}\"")?;
        }
    }

    /// One matcher, or a quoted metric name; `None` where it is in error.
    fn label_matcher(&mut self) -> Rule<Option<Matcher>> {
        let label = match self.peek() {
            TokenKind::Identifier | TokenKind::String => self.take(),
            _ => return self.within(Err(Stop::Unexpected), CONTEXT, "identifier or \"}\""),
        };
        let quoted = label.kind == TokenKind::String;
        let name = if quoted { self.label_text(label) } else { self.text(label).to_owned() };
        let Some(op) = match_op(self.peek()) else {
            if quoted {
                return Ok(self.matcher(MatchOp::Equal, METRIC_NAME, &name, span(label)));
            }
            return self.within(Err(Stop::Unexpected), CONTEXT, "label matching operator");
        };
        self.take();
        let value = self.expect(TokenKind::String);
        let value = self.within(value, CONTEXT, "string")?;
        let text = self.label_text(value);
        Ok(self.matcher(op, &name, &text, merge(span(label), span(value))))
    }

    fn matcher(&mut self, op: MatchOp, name: &str, value: &str, pos: PositionRange) -> Option<Matcher> {
        if op.is_regex() && self.pattern_bytes > PATTERN_BYTES_MAX {
            return None;
        }
        let matcher =
            Matcher::new(op, name, value).map_err(|error| self.error(pos, error.to_string())).ok()?;
        if op.is_regex() {
            self.pattern_bytes += matcher.heap_bytes();
        }
        if self.pattern_bytes > PATTERN_BYTES_MAX {
            let bytes = self.pattern_bytes;
            let message = format!(
                "regular expressions are too large: {bytes} bytes together, at most {PATTERN_BYTES_MAX}"
            );
            self.error(pos, message);
        }
        Some(matcher)
    }
}

fn new_selector(name: Option<String>, matchers: Vec<Matcher>, pos: PositionRange) -> VectorSelector {
    VectorSelector {
        name,
        matchers,
        offset_ms: 0,
        offset_expr: None,
        at: None,
        anchored: false,
        smoothed: false,
        bypass_empty_matcher_check: false,
        pos,
    }
}
