//! What follows an operand or an operator: ranges, `offset`, `@`, `anchored`,
//! `bool`, `on`, `group_left`, `fill`.

use super::duration::Resolved;
use super::{Parser, Rule, Stop, merge, span};
use crate::ast::{
    AtModifier, Cardinality, Expr, MatrixSelector, PositionRange, SubqueryExpr, VectorMatching,
    VectorSelector,
};
use crate::lexer::{Token, TokenKind};

/// An operand with its modifiers so far.
struct Operand {
    expr: Expr,
    /// Where a range stands behind something that cannot have one; the error
    /// was recorded, `expr` is what the range stands behind.
    refused_range: Option<PositionRange>,
}

/// The places of an operand that modifiers set.
struct Slots<'e> {
    offset_ms: &'e mut i64,
    offset_expr: &'e mut Option<Box<Expr>>,
    at: &'e mut Option<AtModifier>,
    end: &'e mut u32,
}

impl Operand {
    fn pos(&self) -> PositionRange {
        self.refused_range.unwrap_or_else(|| self.expr.pos())
    }

    fn slots(&mut self) -> Option<Slots<'_>> {
        if self.refused_range.is_some() {
            return None;
        }
        fn of_selector(selector: &mut VectorSelector) -> Slots<'_> {
            Slots {
                offset_ms: &mut selector.offset_ms,
                offset_expr: &mut selector.offset_expr,
                at: &mut selector.at,
                end: &mut selector.pos.end,
            }
        }
        match &mut self.expr {
            Expr::VectorSelector(selector) => Some(of_selector(selector)),
            Expr::MatrixSelector(matrix) => {
                Some(Slots { end: &mut matrix.end, ..of_selector(&mut matrix.selector) })
            }
            Expr::Subquery(subquery) => Some(Slots {
                offset_ms: &mut subquery.offset_ms,
                offset_expr: &mut subquery.offset_expr,
                at: &mut subquery.at,
                end: &mut subquery.pos.end,
            }),
            _ => None,
        }
    }

    /// Why a modifier cannot stand here.
    fn no_slots(&self, modifier: &str) -> String {
        if self.refused_range.is_some() {
            return "ranges only allowed for vector selectors".to_owned();
        }
        format!(
            "{modifier} modifier must be preceded by an instant vector selector or range vector selector or a subquery"
        )
    }
}

impl Parser<'_> {
    /// Ranges and modifiers behind an operand.
    pub(super) fn postfix(&mut self, expr: Expr) -> Rule<Expr> {
        use TokenKind::*;
        if !matches!(self.peek(), LeftBracket | Offset | At | Anchored | Smoothed) {
            return Ok(expr);
        }
        self.postfix_chain(expr)
    }

    #[inline(never)]
    fn postfix_chain(&mut self, expr: Expr) -> Rule<Expr> {
        let mut operand = Operand { expr, refused_range: None };
        loop {
            match self.peek() {
                TokenKind::LeftBracket => operand = self.bracket(operand)?,
                TokenKind::Offset => self.offset(&mut operand)?,
                TokenKind::At => self.at(&mut operand)?,
                TokenKind::Anchored | TokenKind::Smoothed => {
                    let token = self.take();
                    self.extend_range(&mut operand, token);
                }
                _ => return Ok(operand.expr),
            }
        }
    }

    /// A range or a subquery.
    fn bracket(&mut self, operand: Operand) -> Rule<Operand> {
        let open = self.take();
        let range = self.positive_duration();
        let literal = "number, duration, step(), or range()";
        let range = self.within(range, "subquery or range selector", literal)?;
        match self.peek() {
            TokenKind::RightBracket => {
                let close = self.take();
                Ok(self.matrix(operand, merge(span(open), span(close)), Resolved::new(range)))
            }
            TokenKind::Colon => {
                self.take();
                self.subquery(operand, Resolved::new(range))
            }
            _ => self.within(Err(Stop::Unexpected), "subquery or range", "\":\" or \"]\""),
        }
    }

    fn matrix(&mut self, operand: Operand, brackets: PositionRange, range: Resolved) -> Operand {
        let operand_pos = operand.pos();
        let refused = match &operand.expr {
            Expr::VectorSelector(selector) if operand.refused_range.is_none() => {
                if selector.offset_ms != 0 || selector.offset_expr.is_some() {
                    Some("no offset modifiers allowed before range")
                } else if selector.at.is_some() {
                    Some("no @ modifiers allowed before range")
                } else {
                    None
                }
            }
            _ => Some("ranges only allowed for vector selectors"),
        };
        if let Some(message) = refused {
            self.error(brackets, message.to_owned());
        }
        match operand.expr {
            Expr::VectorSelector(selector) if operand.refused_range.is_none() => {
                let matrix = MatrixSelector {
                    selector,
                    range_ms: range.ms,
                    range_expr: range.expr,
                    end: self.last_closing(),
                };
                Operand { expr: Expr::MatrixSelector(matrix), refused_range: None }
            }
            expr => Operand { expr, refused_range: Some(merge(operand_pos, brackets)) },
        }
    }

    /// A subquery from its step on.
    fn subquery(&mut self, operand: Operand, range: Resolved) -> Rule<Operand> {
        const CONTEXT: &str = "subquery selector";
        let mut step = Resolved { ms: 0, expr: None };
        if self.peek() != TokenKind::RightBracket {
            let duration = self.positive_duration();
            let expected = "number, duration, step(), range(), or \"]\"";
            step = Resolved::new(self.within(duration, CONTEXT, expected)?);
        }
        let close = self.expect(TokenKind::RightBracket);
        let close = self.within(close, CONTEXT, "\"]\"")?;
        let pos = merge(operand.pos(), span(close));
        let subquery = SubqueryExpr {
            expr: Box::new(operand.expr),
            range_ms: range.ms,
            range_expr: range.expr,
            step_ms: step.ms,
            step_expr: step.expr,
            offset_ms: 0,
            offset_expr: None,
            at: None,
            pos,
        };
        Ok(Operand { expr: Expr::Subquery(subquery), refused_range: None })
    }

    fn offset(&mut self, operand: &mut Operand) -> Rule<()> {
        self.take();
        let duration = self.offset_duration();
        let duration = self.within(duration, "offset", "number, duration, step(), or range()")?;
        let offset = Resolved::new(duration);
        let (pos, end) = (operand.pos(), self.last_closing());
        let Some(slots) = operand.slots() else {
            self.error(pos, operand.no_slots("offset"));
            return Ok(());
        };
        *slots.end = end;
        if *slots.offset_ms != 0 || slots.offset_expr.is_some() {
            self.error(pos, "offset may not be set multiple times".to_owned());
        } else {
            *slots.offset_ms = offset.ms;
            *slots.offset_expr = offset.expr;
        }
        Ok(())
    }

    fn at(&mut self, operand: &mut Operand) -> Rule<()> {
        self.take();
        let time = self.at_time();
        let at = match self.within(time, "@", "timestamp")? {
            AtTime::Seconds(seconds) => {
                // The bounds of 64 bits, although what counts is milliseconds.
                let in_bounds = seconds < i64::MAX as f64 && seconds > i64::MIN as f64;
                if !in_bounds {
                    let shown = if seconds.is_nan() {
                        "NaN".to_owned()
                    } else if seconds.is_infinite() {
                        (if seconds > 0.0 { "+Inf" } else { "-Inf" }).to_owned()
                    } else {
                        format!("{seconds:.6}")
                    };
                    self.error(operand.pos(), format!("timestamp out of bounds for @ modifier: {shown}"));
                }
                AtModifier::Timestamp(go_i64((seconds * 1000.0).round()))
            }
            AtTime::Edge(at) => at,
        };
        let (pos, end) = (operand.pos(), self.last_closing());
        let Some(slots) = operand.slots() else {
            self.error(pos, operand.no_slots("@"));
            return Ok(());
        };
        if slots.at.is_some() {
            self.error(pos, "@ <timestamp> may not be set multiple times".to_owned());
        } else {
            *slots.at = Some(at);
            *slots.end = end;
        }
        Ok(())
    }

    fn at_time(&mut self) -> Rule<AtTime> {
        let kind = self.peek();
        if matches!(kind, TokenKind::Start | TokenKind::End) {
            self.take();
            self.expect(TokenKind::LeftParen)?;
            self.expect(TokenKind::RightParen)?;
            let edge = if kind == TokenKind::Start { AtModifier::Start } else { AtModifier::End };
            return Ok(AtTime::Edge(edge));
        }
        self.signed_number().map(AtTime::Seconds)
    }

    /// A number or duration with or without sign.
    pub(crate) fn signed_number(&mut self) -> Rule<f64> {
        let negative = self.sign();
        let token = self.number_token()?;
        let value = self.number_value(token);
        Ok(if negative { -value } else { value })
    }

    /// Takes a sign if there is one: whether it is a minus.
    fn sign(&mut self) -> bool {
        let kind = self.peek();
        if matches!(kind, TokenKind::Add | TokenKind::Sub) {
            self.take();
        }
        kind == TokenKind::Sub
    }

    /// Takes a number or duration.
    pub(crate) fn number_token(&mut self) -> Rule<Token> {
        match self.peek() {
            TokenKind::Number | TokenKind::Duration => Ok(self.take()),
            _ => Err(Stop::Unexpected),
        }
    }

    /// `anchored` or `smoothed`.
    fn extend_range(&mut self, operand: &mut Operand, token: Token) {
        let anchored = token.kind == TokenKind::Anchored;
        let name = if anchored { "anchored" } else { "smoothed" };
        let pos = operand.pos();
        if !self.features.extended_range_selectors {
            return self.error(pos, format!("{name} modifier is experimental and not enabled"));
        }
        let selector = match &mut operand.expr {
            _ if operand.refused_range.is_some() => return,
            Expr::VectorSelector(selector) => selector,
            Expr::MatrixSelector(matrix) => &mut matrix.selector,
            Expr::Subquery(_) => {
                return self.error(pos, format!("{name} modifier is not supported for subqueries"));
            }
            _ => return self.error(pos, format!("{name} modifier not implemented")),
        };
        if anchored {
            selector.anchored = true;
        } else {
            selector.smoothed = true;
        }
        if selector.anchored && selector.smoothed {
            self.error(pos, "anchored and smoothed modifiers cannot be used together".to_owned());
        }
    }

    /// `bool` and how the sides of an operator match.
    pub(super) fn binary_modifiers(&mut self) -> Rule<(bool, VectorMatching)> {
        let return_bool = self.accept(TokenKind::Bool).is_some();
        let mut matching = VectorMatching::default();
        if matches!(self.peek(), TokenKind::On | TokenKind::Ignoring) {
            matching.on = self.take().kind == TokenKind::On;
            matching.labels = self.label_list()?;
            if matches!(self.peek(), TokenKind::GroupLeft | TokenKind::GroupRight) {
                matching.card = match self.take().kind {
                    TokenKind::GroupLeft => Cardinality::ManyToOne,
                    _ => Cardinality::OneToMany,
                };
                if self.peek() == TokenKind::LeftParen {
                    matching.include = self.label_list()?;
                }
            }
        }
        match self.peek() {
            TokenKind::Fill => {
                let value = self.fill_value()?;
                matching.fill_left = Some(value);
                matching.fill_right = Some(value);
            }
            TokenKind::FillLeft => {
                matching.fill_left = Some(self.fill_value()?);
                if self.peek() == TokenKind::FillRight {
                    matching.fill_right = Some(self.fill_value()?);
                }
            }
            TokenKind::FillRight => {
                matching.fill_right = Some(self.fill_value()?);
                if self.peek() == TokenKind::FillLeft {
                    matching.fill_left = Some(self.fill_value()?);
                }
            }
            _ => {}
        }
        Ok((return_bool, matching))
    }

    /// The keyword, which is next, and its number in parentheses.
    fn fill_value(&mut self) -> Rule<f64> {
        self.take();
        self.expect(TokenKind::LeftParen)?;
        let value = self.signed_number()?;
        self.expect(TokenKind::RightParen)?;
        Ok(value)
    }
}

/// The time behind `@`.
enum AtTime {
    Seconds(f64),
    Edge(AtModifier),
}

/// A float as integer the way Go converts it on common machines: what does not
/// fit becomes the smallest.
fn go_i64(value: f64) -> i64 {
    let fits = value >= i64::MIN as f64 && value < i64::MAX as f64;
    if fits { value as i64 } else { i64::MIN }
}
