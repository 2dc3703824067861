//! Expressions: operators by strength, operands, calls.

use super::{Parser, Rule, Stop, merge, span};
use crate::ast::{BinaryExpr, BinaryOp, CallExpr, Expr, NumberLiteral, ParenExpr, UnaryExpr, ValueType};
use crate::function_table::function;
use crate::lexer::{Token, TokenKind};
use crate::parser::aggregate::aggregate_op;
use crate::parser::number::parse_number;
use crate::parser::selector::is_metric_name;
use model::time::parse_duration_ms;

/// Strength of `^`. A sign binds weaker than it, but stronger than the rest.
const POWER: u8 = 6;

/// An operator and how strong it binds.
fn binary_op(kind: TokenKind) -> Option<(BinaryOp, u8)> {
    Some(match kind {
        TokenKind::Or => (BinaryOp::Or, 1),
        TokenKind::And => (BinaryOp::And, 2),
        TokenKind::Unless => (BinaryOp::Unless, 2),
        TokenKind::EqlC => (BinaryOp::Eql, 3),
        TokenKind::Neq => (BinaryOp::Neq, 3),
        TokenKind::Lss => (BinaryOp::Lss, 3),
        TokenKind::Gtr => (BinaryOp::Gtr, 3),
        TokenKind::Lte => (BinaryOp::Lte, 3),
        TokenKind::Gte => (BinaryOp::Gte, 3),
        TokenKind::TrimUpper => (BinaryOp::TrimUpper, 3),
        TokenKind::TrimLower => (BinaryOp::TrimLower, 3),
        TokenKind::Add => (BinaryOp::Add, 4),
        TokenKind::Sub => (BinaryOp::Sub, 4),
        TokenKind::Mul => (BinaryOp::Mul, 5),
        TokenKind::Div => (BinaryOp::Div, 5),
        TokenKind::Mod => (BinaryOp::Mod, 5),
        TokenKind::Atan2 => (BinaryOp::Atan2, 5),
        TokenKind::Pow => (BinaryOp::Pow, POWER),
        _ => return None,
    })
}

/// Whether an expression may start with the token.
fn starts_expr(kind: TokenKind) -> bool {
    use TokenKind::*;
    matches!(kind, LeftParen | LeftBrace | String | Number | Duration | Add | Sub) || is_metric_name(kind)
}

impl Parser<'_> {
    /// A whole expression.
    pub(super) fn expr(&mut self) -> Rule<Expr> {
        self.expr_from(1)
    }

    /// An expression of operators that bind at least so strong.
    fn expr_from(&mut self, strength_min: u8) -> Rule<Expr> {
        self.enter()?;
        let mut lhs = self.operand()?;
        while let Some((op, strength)) = binary_op(self.peek()) {
            if strength < strength_min {
                break;
            }
            self.take();
            lhs = self.binary_tail(lhs, op, strength)?;
        }
        self.leave();
        Ok(lhs)
    }

    /// Modifiers and right side of an operator that was taken.
    #[inline(never)]
    fn binary_tail(&mut self, lhs: Expr, op: BinaryOp, strength: u8) -> Rule<Expr> {
        let (return_bool, matching) = self.binary_modifiers()?;
        // Only `^` groups to the right.
        let rhs = self.expr_from(if strength == POWER { POWER } else { strength + 1 })?;
        let pos = merge(lhs.pos(), rhs.pos());
        let has_fill = matching.fill_left.is_some() || matching.fill_right.is_some();
        if has_fill && !self.features.binop_fill_modifiers {
            self.error(pos, "binop fill modifiers are experimental and not enabled".to_owned());
        }
        let value_type = match (lhs.value_type(), rhs.value_type()) {
            (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
            _ => ValueType::Vector,
        };
        let (lhs, rhs) = (Box::new(lhs), Box::new(rhs));
        Ok(Expr::Binary(BinaryExpr { op, lhs, rhs, matching: Some(matching), return_bool, value_type, pos }))
    }

    /// An operand: signs, then what they stand before, then modifiers.
    fn operand(&mut self) -> Rule<Expr> {
        match self.peek() {
            TokenKind::Add | TokenKind::Sub => self.signed(),
            _ => {
                let primary = self.primary()?;
                self.postfix(primary)
            }
        }
    }

    #[inline(never)]
    fn signed(&mut self) -> Rule<Expr> {
        let sign = self.take();
        let negative = sign.kind == TokenKind::Sub;
        Ok(match self.expr_from(POWER)? {
            Expr::Number(mut number) => {
                if negative {
                    number.value = -number.value;
                }
                number.pos.start = sign.start;
                Expr::Number(number)
            }
            expr => Expr::Unary(UnaryExpr { negative, expr: Box::new(expr), start: sign.start }),
        })
    }

    fn primary(&mut self) -> Rule<Expr> {
        match self.peek() {
            TokenKind::Number | TokenKind::Duration => Ok(Expr::Number(self.number_literal())),
            TokenKind::String => {
                let token = self.take();
                Ok(Expr::String(self.string_literal(token)))
            }
            TokenKind::LeftParen => self.paren(),
            TokenKind::LeftBrace => Ok(Expr::VectorSelector(self.selector()?)),
            kind if is_metric_name(kind) => self.named(),
            _ => Err(Stop::Unexpected),
        }
    }

    #[inline(never)]
    fn paren(&mut self) -> Rule<Expr> {
        let open = self.take();
        let expr = Box::new(self.expr()?);
        let close = self.expect(TokenKind::RightParen)?;
        Ok(Expr::Paren(ParenExpr { expr, pos: merge(span(open), span(close)) }))
    }

    /// What starts with a name: an aggregation, a call or a selector.
    fn named(&mut self) -> Rule<Expr> {
        let name = self.take();
        let next = self.peek();
        if let Some(op) = aggregate_op(name.kind)
            && matches!(next, TokenKind::LeftParen | TokenKind::By | TokenKind::Without)
        {
            return self.aggregate(op, name);
        }
        use TokenKind::*;
        if next == LeftParen && matches!(name.kind, Identifier | Start | End | Step | Range | MaxOf | MinOf) {
            return self.call(name);
        }
        Ok(Expr::VectorSelector(self.selector_named(name)?))
    }

    #[inline(never)]
    fn call(&mut self, name: Token) -> Rule<Expr> {
        let args = self.call_args()?;
        let pos = merge(span(name), span(self.last));
        let text = self.text(name);
        let Some(func) = function(text) else {
            self.error(span(name), format!("unknown function with name {}", model::labels::go_quote(text)));
            return Ok(placeholder(pos));
        };
        if func.experimental && !self.features.experimental_functions {
            self.error(span(name), format!("function \"{text}\" is not enabled"));
        }
        Ok(Expr::Call(CallExpr { func, args, pos }))
    }

    /// Arguments in parentheses.
    pub(super) fn call_args(&mut self) -> Rule<Vec<Expr>> {
        self.expect(TokenKind::LeftParen)?;
        let mut args = Vec::new();
        if self.accept(TokenKind::RightParen).is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if self.accept(TokenKind::RightParen).is_some() {
                return Ok(args);
            }
            let comma = self.expect(TokenKind::Comma)?;
            if !starts_expr(self.peek()) {
                self.error(span(comma), "trailing commas not allowed in function call args".to_owned());
                self.expect(TokenKind::RightParen)?;
                return Ok(args);
            }
        }
    }

    /// A number or duration; the next token is one.
    pub(super) fn number_literal(&mut self) -> NumberLiteral {
        let token = self.take();
        let duration = token.kind == TokenKind::Duration;
        NumberLiteral { value: self.number_value(token), duration, pos: span(token) }
    }

    /// The value of a number or duration token, in seconds for the latter.
    pub(crate) fn number_value(&mut self, token: Token) -> f64 {
        let text = self.text(token);
        let value = match token.kind {
            TokenKind::Duration => {
                parse_duration_ms(text).map(seconds_of_ms).map_err(|error| error.to_string())
            }
            _ => parse_number(text),
        };
        value.unwrap_or_else(|message| {
            self.error(span(token), message);
            0.0
        })
    }
}

/// Milliseconds in seconds, as Go's `Duration.Seconds` computes it: whole
/// seconds and the rest apart.
fn seconds_of_ms(ms: i64) -> f64 {
    (ms / 1000) as f64 + ((ms % 1000) * 1_000_000) as f64 / 1e9
}

/// Stands for what could not be built; an error was recorded.
pub(super) fn placeholder(pos: crate::ast::PositionRange) -> Expr {
    Expr::Number(NumberLiteral { value: 0.0, duration: false, pos })
}
