//! Durations in `[…]` and behind `offset`: literals, and expressions of them.

use super::expr::placeholder;
use super::{NESTING_MAX, Parser, Rule, Stop, merge, span};
use crate::ast::{DurationExpr, DurationOp, Expr, NumberLiteral, PositionRange};
use crate::lexer::{Token, TokenKind};

/// Strength of `^`.
const POWER: u8 = 3;

/// Seconds that fit 64-bit nanoseconds, either sign.
const SECONDS_MAX: f64 = (1_u64 << 63) as f64 / 1e9;

/// A duration of the tree: milliseconds where it is a literal, else the expression.
pub(super) struct Resolved {
    pub(super) ms: i64,
    pub(super) expr: Option<Box<Expr>>,
}

impl Resolved {
    /// Literals count in nanoseconds first, as upstream's do, and lose what is
    /// less than a millisecond.
    pub(super) fn new(duration: Expr) -> Resolved {
        match duration {
            Expr::Number(number) => {
                let nanoseconds = (number.value * 1e9).round() as i64;
                Resolved { ms: nanoseconds / 1_000_000, expr: None }
            }
            expr => Resolved { ms: 0, expr: Some(Box::new(expr)) },
        }
    }
}

fn binary_op(kind: TokenKind) -> Option<(DurationOp, u8)> {
    Some(match kind {
        TokenKind::Add => (DurationOp::Add, 1),
        TokenKind::Sub => (DurationOp::Sub, 1),
        TokenKind::Mul => (DurationOp::Mul, 2),
        TokenKind::Div => (DurationOp::Div, 2),
        TokenKind::Mod => (DurationOp::Mod, 2),
        TokenKind::Pow => (DurationOp::Pow, POWER),
        _ => return None,
    })
}

impl Parser<'_> {
    /// A duration in brackets; a literal must be above zero.
    pub(super) fn positive_duration(&mut self) -> Rule<Expr> {
        self.duration_operators = 0;
        let duration = self.duration_expr(1)?;
        if let Expr::Number(number) = &duration
            && number.value <= 0.0
        {
            self.error(number.pos, "duration must be greater than 0".to_owned());
            return Ok(placeholder(PositionRange::default()));
        }
        Ok(duration)
    }

    /// A duration behind `offset`. Operators go on with it only where it starts
    /// with a parenthesis: `foo offset 5m * 2` doubles `foo`.
    pub(super) fn offset_duration(&mut self) -> Rule<Expr> {
        self.duration_operators = 0;
        match self.peek() {
            TokenKind::Add | TokenKind::Sub => self.signed_offset(),
            TokenKind::LeftParen => self.duration_expr(1),
            _ => self.duration_operand(),
        }
    }

    fn signed_offset(&mut self) -> Rule<Expr> {
        let sign = self.take();
        match self.peek() {
            TokenKind::Number | TokenKind::Duration => {
                let number = self.number_literal();
                Ok(self.signed_literal(sign, number))
            }
            TokenKind::Step | TokenKind::Range | TokenKind::MaxOf | TokenKind::MinOf => {
                let inner = self.duration_function(false)?;
                let expr = signed_expr(sign, inner);
                self.require_duration_expr(expr.pos());
                Ok(expr)
            }
            TokenKind::LeftParen => {
                self.take();
                let inner = self.duration_expr(1)?;
                self.expect(TokenKind::RightParen)?;
                let pos = inner.pos();
                Ok(self.apply_sign(sign, wrap(inner, pos)))
            }
            TokenKind::Add | TokenKind::Sub => {
                let inner = self.duration_expr(POWER)?;
                let signed = self.apply_sign(sign, inner);
                self.duration_tail(signed, 1)
            }
            _ => Err(Stop::Unexpected),
        }
    }

    /// A duration of operators that bind at least so strong.
    fn duration_expr(&mut self, strength_min: u8) -> Rule<Expr> {
        self.enter()?;
        let lhs = self.duration_operand()?;
        let expr = self.duration_tail(lhs, strength_min)?;
        self.leave();
        Ok(expr)
    }

    /// Operators and their right sides. Unlike other chains they are bound in
    /// number, so that whoever walks a duration may do so recursively.
    fn duration_tail(&mut self, mut lhs: Expr, strength_min: u8) -> Rule<Expr> {
        while let Some((op, strength)) = binary_op(self.peek()) {
            if strength < strength_min {
                break;
            }
            let token = self.take();
            self.duration_operators += 1;
            if self.duration_operators > NESTING_MAX {
                let message = format!("duration has too many operators: more than {NESTING_MAX}");
                return self.stop(span(token), message);
            }
            let rhs = self.duration_expr(if strength == POWER { POWER } else { strength + 1 })?;
            lhs = self.duration_binary(lhs, op, token, rhs);
        }
        Ok(lhs)
    }

    fn duration_binary(&mut self, lhs: Expr, op: DurationOp, token: Token, rhs: Expr) -> Expr {
        self.require_duration_expr(lhs.pos());
        let by_zero = matches!(&rhs, Expr::Number(number) if number.value == 0.0);
        let refused = match op {
            DurationOp::Div if by_zero => Some("division by zero"),
            DurationOp::Mod if by_zero => Some("modulo by zero"),
            _ => None,
        };
        if let Some(message) = refused {
            self.error(span(token), message.to_owned());
            return placeholder(PositionRange::default());
        }
        let pos = merge(lhs.pos(), rhs.pos());
        let (lhs, rhs) = (Some(Box::new(lhs)), Some(Box::new(rhs)));
        Expr::Duration(DurationExpr { op, lhs, rhs, wrapped: false, pos })
    }

    fn duration_operand(&mut self) -> Rule<Expr> {
        match self.peek() {
            TokenKind::Number | TokenKind::Duration => {
                let number = self.number_literal();
                Ok(self.literal_in_range(number.pos, number))
            }
            TokenKind::Add | TokenKind::Sub => {
                let sign = self.take();
                let inner = self.duration_expr(POWER)?;
                Ok(self.apply_sign(sign, inner))
            }
            TokenKind::LeftParen => {
                let open = self.take();
                let inner = self.duration_expr(1)?;
                self.expect(TokenKind::RightParen)?;
                self.require_duration_expr(inner.pos());
                let pos = PositionRange { start: open.start, end: inner.pos().end };
                Ok(wrap(inner, pos))
            }
            TokenKind::Step | TokenKind::Range | TokenKind::MaxOf | TokenKind::MinOf => {
                self.duration_function(true)
            }
            _ => Err(Stop::Unexpected),
        }
    }

    /// `step()`, `range()`, `min_of(a, b)`, `max_of(a, b)`; the next token is its name.
    fn duration_function(&mut self, gated: bool) -> Rule<Expr> {
        let name = self.take();
        self.expect(TokenKind::LeftParen)?;
        let op = match name.kind {
            TokenKind::Step => DurationOp::Step,
            TokenKind::Range => DurationOp::Range,
            TokenKind::MaxOf => DurationOp::MaxOf,
            _ => DurationOp::MinOf,
        };
        let (mut lhs, mut rhs) = (None, None);
        if matches!(op, DurationOp::MaxOf | DurationOp::MinOf) {
            lhs = Some(Box::new(self.duration_expr(1)?));
            self.expect(TokenKind::Comma)?;
            rhs = Some(Box::new(self.duration_expr(1)?));
        }
        let close = self.expect(TokenKind::RightParen)?;
        // With arguments the position is theirs, as upstream's is.
        let pos = match (&lhs, &rhs) {
            (Some(lhs), Some(rhs)) => merge(lhs.pos(), rhs.pos()),
            _ => merge(span(name), span(close)),
        };
        if gated {
            self.require_duration_expr(pos);
        }
        Ok(Expr::Duration(DurationExpr { op, lhs, rhs, wrapped: false, pos }))
    }

    fn require_duration_expr(&mut self, pos: PositionRange) {
        if !self.features.duration_expr {
            self.error(pos, "experimental duration expression is not enabled".to_owned());
        }
    }

    fn literal_in_range(&mut self, pos: PositionRange, number: NumberLiteral) -> Expr {
        if number.value.abs() > SECONDS_MAX {
            self.error(pos, "duration out of range".to_owned());
            return placeholder(PositionRange::default());
        }
        Expr::Number(number)
    }

    fn signed_literal(&mut self, sign: Token, mut number: NumberLiteral) -> Expr {
        if sign.kind == TokenKind::Sub {
            number.value = -number.value;
        }
        number.pos.start = sign.start;
        self.literal_in_range(span(sign), number)
    }

    /// A sign folds into a literal; a plus before anything else is dropped.
    fn apply_sign(&mut self, sign: Token, inner: Expr) -> Expr {
        match inner {
            Expr::Number(number) => self.signed_literal(sign, number),
            expr if sign.kind == TokenKind::Sub => signed_expr(sign, expr),
            expr => expr,
        }
    }
}

fn signed_expr(sign: Token, inner: Expr) -> Expr {
    let op = if sign.kind == TokenKind::Sub { DurationOp::Sub } else { DurationOp::Add };
    let pos = PositionRange { start: sign.start, end: inner.pos().end };
    Expr::Duration(DurationExpr { op, lhs: None, rhs: Some(Box::new(inner)), wrapped: false, pos })
}

/// Notes the parentheses; a literal gets a plus sign to note them on.
fn wrap(inner: Expr, pos: PositionRange) -> Expr {
    match inner {
        Expr::Duration(mut expr) => {
            expr.wrapped = true;
            Expr::Duration(expr)
        }
        expr => {
            let rhs = Some(Box::new(expr));
            Expr::Duration(DurationExpr { op: DurationOp::Add, lhs: None, rhs, wrapped: true, pos })
        }
    }
}
