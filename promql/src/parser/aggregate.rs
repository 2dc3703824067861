//! Aggregations and label lists.

use super::expr::placeholder;
use super::{Parser, Rule, Stop, merge, span};
use crate::ast::{AggregateExpr, AggregateOp, Expr, PositionRange};
use crate::lexer::{Token, TokenKind};

/// The operator that a keyword names.
pub(super) fn aggregate_op(kind: TokenKind) -> Option<AggregateOp> {
    Some(match kind {
        TokenKind::Sum => AggregateOp::Sum,
        TokenKind::Avg => AggregateOp::Avg,
        TokenKind::Count => AggregateOp::Count,
        TokenKind::Min => AggregateOp::Min,
        TokenKind::Max => AggregateOp::Max,
        TokenKind::Group => AggregateOp::Group,
        TokenKind::Stddev => AggregateOp::Stddev,
        TokenKind::Stdvar => AggregateOp::Stdvar,
        TokenKind::Topk => AggregateOp::Topk,
        TokenKind::Bottomk => AggregateOp::Bottomk,
        TokenKind::CountValues => AggregateOp::CountValues,
        TokenKind::Quantile => AggregateOp::Quantile,
        TokenKind::Limitk => AggregateOp::Limitk,
        TokenKind::LimitRatio => AggregateOp::LimitRatio,
        _ => return None,
    })
}

/// Labels of `by` or `without`.
#[derive(Default)]
struct Grouping {
    labels: Vec<String>,
    without: bool,
}

/// Whether a keyword or name may stand in a list of labels.
fn is_label(kind: TokenKind) -> bool {
    use TokenKind::*;
    aggregate_op(kind).is_some()
        || matches!(
            kind,
            Bool | By | GroupLeft | GroupRight | Fill | FillLeft | FillRight | Identifier | Ignoring | And
        )
        || matches!(kind, Or | Unless | MetricIdentifier | Offset | On | Start | End | Atan2 | Step | Range)
        || matches!(kind, Anchored | Smoothed | MaxOf | MinOf)
}

impl Parser<'_> {
    /// An aggregation whose operator was taken.
    #[inline(never)]
    pub(super) fn aggregate(&mut self, op: AggregateOp, name: Token) -> Rule<Expr> {
        let parts = self.aggregate_parts();
        if matches!(parts, Err(Stop::Unexpected)) {
            self.unexpected("aggregation", "");
            let pos = PositionRange { start: name.start, end: self.last_closing() };
            return self.stop(pos, "no arguments for aggregate expression provided".to_owned());
        }
        let (grouping, args, end) = parts?;
        Ok(self.build_aggregate(op, merge(span(name), end), grouping, args))
    }

    /// Grouping, arguments and where the last of them ended.
    fn aggregate_parts(&mut self) -> Rule<(Grouping, Vec<Expr>, PositionRange)> {
        if let Some(grouping) = self.grouping()? {
            let args = self.call_args()?;
            return Ok((grouping, args, span(self.last)));
        }
        let args = self.call_args()?;
        let end = span(self.last);
        match self.grouping()? {
            Some(grouping) => Ok((grouping, args, span(self.last))),
            None => Ok((Grouping::default(), args, end)),
        }
    }

    fn grouping(&mut self) -> Rule<Option<Grouping>> {
        let without = match self.peek() {
            TokenKind::By => false,
            TokenKind::Without => true,
            _ => return Ok(None),
        };
        self.take();
        Ok(Some(Grouping { labels: self.label_list()?, without }))
    }

    /// Labels in parentheses; a comma may follow the last.
    pub(super) fn label_list(&mut self) -> Rule<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        let open = self.expect(TokenKind::LeftParen);
        self.within(open, CONTEXT, "\"(\"")?;
        let mut labels = Vec::new();
        loop {
            if self.accept(TokenKind::RightParen).is_some() {
                return Ok(labels);
            }
            let label = self.label_in_list();
            labels.push(self.within(label, CONTEXT, "label")?);
            if self.accept(TokenKind::RightParen).is_some() {
                return Ok(labels);
            }
            let comma = self.expect(TokenKind::Comma);
            self.within(comma, CONTEXT, "\",\" or \")\"")?;
        }
    }

    fn label_in_list(&mut self) -> Rule<String> {
        let kind = self.peek();
        if kind != TokenKind::String && !is_label(kind) {
            return Err(Stop::Unexpected);
        }
        let token = self.take();
        if kind != TokenKind::String {
            return Ok(self.text(token).to_owned());
        }
        let label = self.string_literal(token);
        if label.value.is_empty() || label.bytes.is_some() {
            self.error(label.pos, format!("invalid label name for grouping: {}", label.quoted()));
        }
        Ok(label.value)
    }

    fn build_aggregate(
        &mut self,
        op: AggregateOp,
        pos: PositionRange,
        grouping: Grouping,
        args: Vec<Expr>,
    ) -> Expr {
        let given = args.len();
        if given == 0 {
            self.error(pos, "no arguments for aggregate expression provided".to_owned());
            return placeholder(pos);
        }
        if op.is_experimental() && !self.features.experimental_functions {
            let message = format!(
                "{}() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                op.as_str()
            );
            self.error(pos, message);
            return placeholder(pos);
        }
        let mut args = args.into_iter();
        let (wanted, param) = if op.has_param() { (2, args.next()) } else { (1, None) };
        match (args.next(), given == wanted) {
            (Some(expr), true) => Expr::Aggregate(AggregateExpr {
                op,
                expr: Box::new(expr),
                param: param.map(Box::new),
                grouping: grouping.labels,
                without: grouping.without,
                pos,
            }),
            _ => {
                let message = format!(
                    "wrong number of arguments for aggregate expression provided, expected {wanted}, got {given}"
                );
                self.error(pos, message);
                placeholder(pos)
            }
        }
    }
}
