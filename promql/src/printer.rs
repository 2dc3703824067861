//! Syntax tree → text in upstream's normal form, on one line.
//! Source: Prometheus `promql/parser/printer.go`.

use std::fmt::{self, Write};

use hashbrown::HashMap;

use crate::ast::{
    AggregateExpr, AtModifier, BinaryExpr, CallExpr, Cardinality, DurationExpr, DurationOp, Expr,
    MatrixSelector, NumberLiteral, SubqueryExpr, VectorMatching, VectorSelector,
};
use crate::visit::left_spine;
use model::float::{format_f, format_g};
use model::labels::go_quote;
use model::names::is_legacy_label_name;
use model::time::PromDuration;
use model::{METRIC_NAME, MatchOp, Matcher};

/// In upstream's normal form, on one line.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printer = Printer { out: String::new(), spans: None };
        printer.expr(self);
        f.write_str(&printer.out)
    }
}

/// A printed expression and where in the text each node stands.
pub(crate) struct Printed {
    pub(crate) text: String,
    spans: Spans,
}

/// Nodes by address.
type Spans = HashMap<*const Expr, (usize, usize), rapidhash::fast::RandomState>;

impl Printed {
    pub(crate) fn new(expr: &Expr) -> Printed {
        let mut printer = Printer { out: String::new(), spans: Some(Spans::default()) };
        printer.expr(expr);
        Printed { text: printer.out, spans: printer.spans.unwrap_or_default() }
    }

    /// The text of a node of the expression.
    pub(crate) fn of(&self, node: &Expr) -> &str {
        let (start, end) = self.spans.get(&std::ptr::from_ref(node)).copied().unwrap_or_default();
        &self.text[start..end]
    }
}

struct Printer {
    out: String,
    spans: Option<Spans>,
}

impl Printer {
    fn expr(&mut self, top: &Expr) {
        let start = self.out.len();
        let (spine, bottom) = left_spine(top);
        self.node(bottom);
        self.note(bottom, start);
        for node in spine.into_iter().rev() {
            match node {
                Expr::Binary(e) => {
                    self.push(&format!(" {} ", operator(e)));
                    self.expr(&e.rhs);
                }
                Expr::Subquery(e) => self.push(&subquery_suffix(e)),
                _ => unreachable!("a spine is made of binary expressions and subqueries"),
            }
            self.note(node, start);
        }
    }

    fn note(&mut self, node: &Expr, start: usize) {
        if let Some(spans) = &mut self.spans {
            spans.insert(std::ptr::from_ref(node), (start, self.out.len()));
        }
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn node(&mut self, expr: &Expr) {
        match expr {
            Expr::Number(e) => push_number(&mut self.out, e),
            Expr::String(e) => self.push(&e.quoted()),
            Expr::Paren(e) => {
                self.push("(");
                self.expr(&e.expr);
                self.push(")");
            }
            Expr::Unary(e) => {
                self.push(if e.negative { "-" } else { "+" });
                self.expr(&e.expr);
            }
            Expr::Aggregate(e) => self.aggregate(e),
            Expr::Call(e) => self.call(e),
            Expr::VectorSelector(e) => {
                push_selector(&mut self.out, e);
                push_selector_modifiers(&mut self.out, e);
            }
            Expr::MatrixSelector(e) => push_matrix(&mut self.out, e),
            Expr::Duration(e) => push_duration(&mut self.out, e),
            Expr::Binary(_) | Expr::Subquery(_) => self.expr(expr),
        }
    }

    fn aggregate(&mut self, e: &AggregateExpr) {
        self.push(&aggregate_head(e));
        self.push("(");
        if let Some(param) = &e.param {
            self.expr(param);
            self.push(", ");
        }
        self.expr(&e.expr);
        self.push(")");
    }

    fn call(&mut self, e: &CallExpr) {
        self.push(e.func.name);
        self.push("(");
        for (i, arg) in e.args.iter().enumerate() {
            if i > 0 {
                self.push(", ");
            }
            self.expr(arg);
        }
        self.push(")");
    }
}

/// An aggregation without its arguments: `sum by (job) `.
pub(crate) fn aggregate_head(e: &AggregateExpr) -> String {
    let op = e.op.as_str();
    if e.without {
        format!("{op} without ({}) ", labels(&e.grouping))
    } else if e.grouping.is_empty() {
        op.to_owned()
    } else {
        format!("{op} by ({}) ", labels(&e.grouping))
    }
}

/// Label names as they stand in a list.
pub(crate) fn labels(names: &[String]) -> String {
    let quoted: Vec<_> = names
        .iter()
        .map(|name| if is_legacy_label_name(name) { name.into() } else { go_quote(name) })
        .collect();
    quoted.join(", ")
}

/// An operator with its modifiers: `== bool on (job)`.
pub(crate) fn operator(e: &BinaryExpr) -> String {
    let mut out = e.op.as_str().to_owned();
    if e.return_bool {
        out.push_str(" bool");
    }
    if let Some(matching) = &e.matching {
        push_matching(&mut out, matching);
    }
    out
}

/// The modifiers of an operator, each behind a space.
pub(crate) fn push_matching(out: &mut String, matching: &VectorMatching) {
    let group = match matching.card {
        Cardinality::ManyToOne => Some("group_left"),
        Cardinality::OneToMany => Some("group_right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if !matching.labels.is_empty() || matching.on || group.is_some() {
        let keyword = if matching.on { "on" } else { "ignoring" };
        let _ = write!(out, " {keyword} ({})", labels(&matching.labels));
    }
    if let Some(group) = group {
        let _ = write!(out, " {group} ({})", labels(&matching.include));
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left == right => {
            let _ = write!(out, " fill ({})", format_g(left));
        }
        (left, right) => {
            if let Some(left) = left {
                let _ = write!(out, " fill_left ({})", format_g(left));
            }
            if let Some(right) = right {
                let _ = write!(out, " fill_right ({})", format_g(right));
            }
        }
    }
}

fn push_number(out: &mut String, e: &NumberLiteral) {
    if !e.duration {
        out.push_str(&format_f(e.value));
        return;
    }
    if e.value < 0.0 {
        out.push('-');
    }
    let nanoseconds = (e.value.abs() * 1e9) as i64;
    let _ = write!(out, "{}", PromDuration(nanoseconds / 1_000_000));
}

fn push_duration(out: &mut String, e: &DurationExpr) {
    if e.wrapped {
        out.push('(');
    }
    let operand = |out: &mut String, side: &Option<Box<Expr>>| match side.as_deref() {
        Some(Expr::Duration(inner)) => push_duration(out, inner),
        Some(Expr::Number(number)) => push_number(out, number),
        Some(other) => {
            let _ = write!(out, "{other}");
        }
        None => {}
    };
    match e.op {
        DurationOp::Step | DurationOp::Range => {
            let _ = write!(out, "{}()", e.op.as_str());
        }
        DurationOp::MinOf | DurationOp::MaxOf => {
            let _ = write!(out, "{}(", e.op.as_str());
            operand(out, &e.lhs);
            out.push_str(", ");
            operand(out, &e.rhs);
            out.push(')');
        }
        op if e.lhs.is_none() => {
            // A plus sign is only there to note parentheses on.
            if op == DurationOp::Sub {
                out.push('-');
            }
            operand(out, &e.rhs);
        }
        op => {
            operand(out, &e.lhs);
            let _ = write!(out, " {} ", op.as_str());
            operand(out, &e.rhs);
        }
    }
    if e.wrapped {
        out.push(')');
    }
}

fn push_literal_or_expr(out: &mut String, ms: i64, expr: &Option<Box<Expr>>) {
    match expr.as_deref() {
        Some(Expr::Duration(e)) => push_duration(out, e),
        _ => {
            let _ = write!(out, "{}", PromDuration(ms));
        }
    }
}

fn push_at(out: &mut String, at: Option<AtModifier>) {
    match at {
        Some(AtModifier::Timestamp(ms)) => {
            let _ = write!(out, " @ {:.3}", ms as f64 / 1000.0);
        }
        Some(AtModifier::Start) => out.push_str(" @ start()"),
        Some(AtModifier::End) => out.push_str(" @ end()"),
        None => {}
    }
}

fn push_offset(out: &mut String, ms: i64, expr: &Option<Box<Expr>>) {
    if ms != 0 || expr.is_some() {
        out.push_str(" offset ");
        push_literal_or_expr(out, ms, expr);
    }
}

/// The name and matchers of a selector. The matcher that the name made is left
/// out; the others are in the order of their texts.
fn push_selector(out: &mut String, e: &VectorSelector) {
    let name = e.name.as_deref().unwrap_or("");
    out.push_str(name);
    let is_name = |m: &&Matcher| {
        m.name() == METRIC_NAME && m.op() == MatchOp::Equal && m.value() == name && !name.is_empty()
    };
    let mut texts: Vec<String> = e.matchers.iter().filter(|m| !is_name(m)).map(matcher).collect();
    texts.sort_unstable();
    if !texts.is_empty() {
        let _ = write!(out, "{{{}}}", texts.join(","));
    }
}

fn matcher(m: &Matcher) -> String {
    let name = if is_legacy_label_name(m.name()) { m.name().into() } else { go_quote(m.name()) };
    format!("{name}{}{}", m.op(), go_quote(m.value()))
}

fn push_extension(out: &mut String, e: &VectorSelector) {
    if e.anchored {
        out.push_str(" anchored");
    } else if e.smoothed {
        out.push_str(" smoothed");
    }
}

fn push_selector_modifiers(out: &mut String, e: &VectorSelector) {
    push_at(out, e.at);
    push_extension(out, e);
    push_offset(out, e.offset_ms, &e.offset_expr);
}

fn push_matrix(out: &mut String, e: &MatrixSelector) {
    push_selector(out, &e.selector);
    out.push('[');
    push_literal_or_expr(out, e.range_ms, &e.range_expr);
    out.push(']');
    push_extension(out, &e.selector);
    push_at(out, e.selector.at);
    push_offset(out, e.selector.offset_ms, &e.selector.offset_expr);
}

/// A subquery without its expression: `[1h:5m] @ start() offset 1d`.
pub(crate) fn subquery_suffix(e: &SubqueryExpr) -> String {
    let mut out = "[".to_owned();
    push_literal_or_expr(&mut out, e.range_ms, &e.range_expr);
    out.push(':');
    if e.step_ms != 0 || e.step_expr.is_some() {
        push_literal_or_expr(&mut out, e.step_ms, &e.step_expr);
    }
    out.push(']');
    push_at(&mut out, e.at);
    push_offset(&mut out, e.offset_ms, &e.offset_expr);
    out
}
