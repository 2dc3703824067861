//! Types, arity and the other rules that a well-formed text can break.
//!
//! Runs over a tree whose syntax is sound. Errors come in upstream's order:
//! below before above, left before right.
//! Source: Prometheus `promql/parser/parse.go`, `checkAST`.

use std::mem;

use crate::ast::{
    AggregateExpr, AggregateOp, BinaryExpr, CallExpr, Cardinality, Expr, NumberLiteral, PositionRange,
    ValueType, VectorSelector,
};
use crate::parser::{ErrorList, ParseErrors};
use model::METRIC_NAME;
use model::labels::go_quote;

/// Checks a tree and settles what only types decide: whether sides match as
/// vectors, and which selector may match everything. `text` is the query.
pub(crate) fn check(expr: &mut Expr, text: &[u8]) -> Result<(), ParseErrors> {
    let mut checker = Checker { text, errors: ErrorList::default() };
    checker.expr(expr);
    checker.errors.into_result((), text)
}

struct Checker<'a> {
    text: &'a [u8],
    errors: ErrorList,
}

fn leaf() -> Expr {
    Expr::Number(NumberLiteral { value: 0.0, duration: false, pos: PositionRange::default() })
}

impl Checker<'_> {
    fn error(&mut self, pos: PositionRange, message: String) {
        self.errors.push(pos, message);
    }

    /// Checks an expression: its left spine is taken apart from the top, then
    /// checked and put together from the bottom.
    fn expr(&mut self, top: &mut Expr) -> ValueType {
        if !matches!(top, Expr::Binary(_) | Expr::Subquery(_)) {
            return self.node(top);
        }
        let mut spine = Vec::new();
        let mut node = mem::replace(top, leaf());
        loop {
            let below = match &mut node {
                Expr::Binary(e) => mem::replace(&mut *e.lhs, leaf()),
                Expr::Subquery(e) => mem::replace(&mut *e.expr, leaf()),
                _ => break,
            };
            spine.push(mem::replace(&mut node, below));
        }
        let mut value_type = self.node(&mut node);
        while let Some(mut above) = spine.pop() {
            match &mut above {
                Expr::Binary(e) => {
                    *e.lhs = node;
                    self.binary(e, value_type);
                }
                Expr::Subquery(e) => {
                    *e.expr = node;
                    if value_type != ValueType::Vector {
                        let got = value_type.as_str();
                        let message =
                            format!("subquery is only allowed on instant vector, got {got} instead");
                        self.error(e.pos, message);
                    }
                }
                _ => unreachable!("a spine is made of binary expressions and subqueries"),
            }
            value_type = above.value_type();
            node = above;
        }
        *top = node;
        value_type
    }

    fn node(&mut self, expr: &mut Expr) -> ValueType {
        let pos = expr.pos();
        match expr {
            Expr::Paren(e) => self.expr(&mut e.expr),
            Expr::Unary(e) => {
                let value_type = self.expr(&mut e.expr);
                if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
                    let message = format!(
                        "unary expression only allowed on expressions of type scalar or instant vector, got \"{}\"",
                        value_type.documented()
                    );
                    self.error(pos, message);
                }
                value_type
            }
            Expr::Aggregate(e) => {
                self.aggregate(e);
                ValueType::Vector
            }
            Expr::Call(e) => {
                self.call(e);
                e.func.return_type
            }
            Expr::VectorSelector(e) => {
                self.selector(e, pos);
                ValueType::Vector
            }
            Expr::MatrixSelector(e) => {
                let pos = e.selector.pos;
                self.selector(&e.selector, pos);
                ValueType::Matrix
            }
            Expr::Number(_) | Expr::String(_) | Expr::Duration(_) => expr.value_type(),
            Expr::Binary(_) | Expr::Subquery(_) => self.expr(expr),
        }
    }

    fn expect(&mut self, expr: &mut Expr, want: ValueType, context: &str) {
        let got = self.expr(expr);
        if got != want {
            let (want, got) = (want.documented(), got.documented());
            self.error(expr.pos(), format!("expected type {want} in {context}, got {got}"));
        }
    }

    fn aggregate(&mut self, e: &mut AggregateExpr) {
        self.expect(&mut e.expr, ValueType::Vector, "aggregation expression");
        let want = if e.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
        if let Some(param) = &mut e.param {
            self.expect(param, want, "aggregation parameter");
        }
    }

    fn call(&mut self, e: &mut CallExpr) {
        let func = e.func;
        let name = func.name;
        let (wanted, given) = (func.arg_types.len(), e.args.len());
        if func.variadic == 0 {
            if wanted != given {
                self.error(
                    e.pos,
                    format!("expected {wanted} argument(s) in call to \"{name}\", got {given}"),
                );
            }
        } else {
            let at_least = wanted.saturating_sub(1);
            let more = usize::try_from(func.variadic).ok();
            if at_least > given {
                let message =
                    format!("expected at least {at_least} argument(s) in call to \"{name}\", got {given}");
                self.error(e.pos, message);
            } else if let Some(at_most) = more.map(|more| at_least + more)
                && at_most < given
            {
                let message =
                    format!("expected at most {at_most} argument(s) in call to \"{name}\", got {given}");
                self.error(e.pos, message);
            }
        }
        if name == "info"
            && let Some(labels) = e.args.get_mut(1)
        {
            self.info_labels(labels, e.pos);
        }
        for (i, arg) in e.args.iter_mut().enumerate() {
            // Surplus arguments are checked only where the last may be repeated.
            let want = match func.arg_types.get(i) {
                Some(want) => *want,
                None if func.variadic == 0 => break,
                None => match func.arg_types.last() {
                    Some(want) => *want,
                    None => break,
                },
            };
            let got = self.expr(arg);
            if got != want {
                let (want, got) = (want.documented(), got.documented());
                let message = format!("expected type {want} in call to function \"{name}\", got {got}");
                self.error(arg.pos(), message);
            }
        }
    }

    /// The second argument of `info` is matchers in braces, not a selector.
    fn info_labels(&mut self, labels: &mut Expr, call: PositionRange) {
        let got = labels.value_type();
        if got != ValueType::Vector {
            let message = format!(
                "expected type instant vector in call to function \"info\", got {}",
                got.documented()
            );
            self.error(call, message);
        }
        let pos = labels.pos();
        match labels {
            Expr::VectorSelector(selector) if selector.name.is_some() => {
                self.error(pos, "expected label selectors only, got vector selector instead".to_owned());
            }
            Expr::VectorSelector(selector) => selector.bypass_empty_matcher_check = true,
            _ => self.error(pos, "expected label selectors only".to_owned()),
        }
    }

    fn selector(&mut self, e: &VectorSelector, pos: PositionRange) {
        if let Some(name) = &e.name {
            // The last matcher is the one made of the name.
            let others = e.matchers.split_last().map_or(&[][..], |(_, others)| others);
            for matcher in others.iter().filter(|m| m.name() == METRIC_NAME) {
                if self.errors.is_full() {
                    break;
                }
                let (name, other) = (go_quote(name), go_quote(matcher.value()));
                self.error(pos, format!("metric name must not be set twice: {name} or {other}"));
            }
        } else if !e.bypass_empty_matcher_check && e.matchers.iter().all(|m| m.matches_empty()) {
            self.error(pos, "vector selector must contain at least one non-empty matcher".to_owned());
        }
    }

    /// Checks a binary expression whose left side was checked.
    fn binary(&mut self, e: &mut BinaryExpr, lhs: ValueType) {
        let rhs = self.expr(&mut e.rhs);
        let both_scalar = lhs == ValueType::Scalar && rhs == ValueType::Scalar;
        if e.return_bool && !e.op.is_comparison() {
            let message = "bool modifier can only be used on comparison operators".to_owned();
            self.error(self.operator_range(e), message);
        }
        if e.op.is_comparison() && !e.return_bool && both_scalar {
            let message = "comparisons between scalars must use BOOL modifier".to_owned();
            self.error(self.operator_range(e), message);
        }
        self.matching_labels(e);
        for (side, value_type) in [(&e.lhs, lhs), (&e.rhs, rhs)] {
            if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
                let message =
                    "binary expression must contain only scalar and instant vector types".to_owned();
                self.error(side.pos(), message);
            }
        }
        self.matching(e, lhs == ValueType::Vector && rhs == ValueType::Vector);
        if e.op.is_set() && (lhs == ValueType::Scalar || rhs == ValueType::Scalar) {
            let message =
                format!("set operator \"{}\" not allowed in binary scalar expression", e.op.as_str());
            self.error(e.pos, message);
        }
    }

    fn matching_labels(&mut self, e: &BinaryExpr) {
        let Some(matching) = e.matching.as_ref().filter(|matching| matching.on) else { return };
        // A set, as either list may be as long as the query.
        let include: hashbrown::HashSet<&str, rapidhash::fast::RandomState> =
            matching.include.iter().map(String::as_str).collect();
        for label in matching.labels.iter().filter(|label| include.contains(label.as_str())) {
            let message = format!("label {} must not occur in ON and GROUP clause at once", go_quote(label));
            self.error(self.operator_range(e), message);
        }
    }

    /// Whether the way of matching fits the operator; there is none between
    /// anything but vectors.
    fn matching(&mut self, e: &mut BinaryExpr, vectors: bool) {
        let Some(matching) = &mut e.matching else { return };
        let has_fill = matching.fill_left.is_some() || matching.fill_right.is_some();
        if !vectors {
            let has_labels = !matching.labels.is_empty();
            e.matching = None;
            if has_labels {
                self.error(e.pos, "vector matching only allowed between instant vectors".to_owned());
            }
            if has_fill {
                let message = "filling in missing series only allowed between instant vectors".to_owned();
                self.error(e.pos, message);
            }
        } else if e.op.is_set() {
            if matching.card == Cardinality::OneToOne {
                matching.card = Cardinality::ManyToMany;
            } else {
                let message = format!("no grouping allowed for \"{}\" operation", e.op.as_str());
                self.error(e.pos, message);
                self.error(e.pos, "set operations must always be many-to-many".to_owned());
            }
            if has_fill {
                self.error(e.pos, "filling in missing series not allowed for set operators".to_owned());
            }
        }
    }

    /// Where the operator and its modifiers stand: between the sides, without
    /// the space at either end. The end is inclusive, as upstream's is.
    fn operator_range(&self, e: &BinaryExpr) -> PositionRange {
        let is_space =
            |at: u32| self.text.get(at as usize).is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
        let mut start = e.lhs.pos().end;
        while is_space(start) {
            start += 1;
        }
        let mut end = e.rhs.pos().start.saturating_sub(1);
        while end > start && is_space(end) {
            end -= 1;
        }
        PositionRange { start, end }
    }
}
