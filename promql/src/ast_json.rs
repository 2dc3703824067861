//! Syntax tree → the JSON of `/api/v1/parse_query`.
//!
//! Written as text at once: a tree of JSON values as deep as a long chain of
//! operators could neither be written nor dropped without overflowing the stack.
//! Source: Prometheus `web/api/v1/translate_ast.go`.

use std::fmt::Write;

use serde_json::value::RawValue;

use crate::ast::{
    AggregateExpr, AtModifier, BinaryExpr, CallExpr, Cardinality, DurationExpr, Expr, SubqueryExpr,
    ValueType, VectorMatching, VectorSelector,
};
use crate::visit::left_spine;
use model::Matcher;
use model::float::format_f;

/// The expression as JSON, keys sorted.
///
/// ```
/// let expr = promql::parse("-(1)", promql::Features::default()).unwrap();
/// assert_eq!(
///     promql::to_json(&expr).get(),
///     r#"{"expr":{"expr":{"type":"numberLiteral","val":"1"},"type":"parenExpr"},"op":"-","type":"unaryExpr"}"#
/// );
/// ```
pub fn to_json(expr: &Expr) -> Box<RawValue> {
    let mut writer = Writer { out: String::new() };
    writer.expr(expr);
    RawValue::from_string(writer.out).expect("the writer writes JSON")
}

struct Writer {
    out: String,
}

impl Writer {
    /// Opens the objects of a left spine from the top down and closes them from
    /// the bottom up.
    fn expr(&mut self, top: &Expr) {
        let (spine, bottom) = left_spine(top);
        for node in &spine {
            match node {
                Expr::Binary(e) => self.format(format_args!("{{\"bool\":{},\"lhs\":", e.return_bool)),
                _ => self.push("{\"expr\":"),
            }
        }
        self.node(bottom);
        for node in spine.into_iter().rev() {
            match node {
                Expr::Binary(e) => self.binary_rest(e),
                Expr::Subquery(e) => self.subquery_rest(e),
                _ => unreachable!("a spine is made of binary expressions and subqueries"),
            }
        }
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn format(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.out.write_fmt(text);
    }

    fn string(&mut self, text: &str) {
        let json = serde_json::to_string(text).expect("a string is valid JSON");
        self.push(&json);
    }

    fn strings<'s>(&mut self, texts: impl IntoIterator<Item = &'s str>) {
        self.list(texts, |writer, text| writer.string(text));
    }

    fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Writer, T)) {
        self.push("[");
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                self.push(",");
            }
            write(self, item);
        }
        self.push("]");
    }

    fn node(&mut self, expr: &Expr) {
        match expr {
            Expr::Number(e) => {
                let value = format_f(e.value);
                self.format(format_args!("{{\"type\":\"numberLiteral\",\"val\":\"{value}\"}}"));
            }
            Expr::String(e) => {
                self.push("{\"type\":\"stringLiteral\",\"val\":");
                self.string(&e.value);
                self.push("}");
            }
            Expr::Paren(e) => {
                self.push("{\"expr\":");
                self.expr(&e.expr);
                self.push(",\"type\":\"parenExpr\"}");
            }
            Expr::Unary(e) => {
                self.push("{\"expr\":");
                self.expr(&e.expr);
                let op = if e.negative { "-" } else { "+" };
                self.format(format_args!(",\"op\":\"{op}\",\"type\":\"unaryExpr\"}}"));
            }
            Expr::Aggregate(e) => self.aggregate(e),
            Expr::Call(e) => self.call(e),
            Expr::VectorSelector(e) => {
                self.selector_head(e);
                self.selector_rest(e, "vectorSelector");
            }
            Expr::MatrixSelector(e) => {
                self.selector_head(&e.selector);
                self.format(format_args!(",\"range\":{},\"rangeExpr\":", e.range_ms));
                self.duration(e.range_expr.as_deref());
                self.selector_rest(&e.selector, "matrixSelector");
            }
            Expr::Duration(_) => self.duration(Some(expr)),
            Expr::Binary(_) | Expr::Subquery(_) => self.expr(expr),
        }
    }

    fn aggregate(&mut self, e: &AggregateExpr) {
        self.push("{\"expr\":");
        self.expr(&e.expr);
        self.push(",\"grouping\":");
        self.strings(e.grouping.iter().map(String::as_str));
        self.format(format_args!(",\"op\":\"{}\",\"param\":", e.op.as_str()));
        match &e.param {
            Some(param) => self.expr(param),
            None => self.push("null"),
        }
        self.format(format_args!(",\"type\":\"aggregation\",\"without\":{}}}", e.without));
    }

    fn call(&mut self, e: &CallExpr) {
        self.push("{\"args\":");
        self.list(&e.args, Writer::expr);
        self.push(",\"func\":{\"argTypes\":");
        self.strings(e.func.arg_types.iter().copied().map(ValueType::as_str));
        self.format(format_args!(
            ",\"name\":\"{}\",\"returnType\":\"{}\",\"variadic\":{}}},\"type\":\"call\"}}",
            e.func.name,
            e.func.return_type.as_str(),
            e.func.variadic
        ));
    }

    /// A binary expression behind its left side.
    fn binary_rest(&mut self, e: &BinaryExpr) {
        self.push(",\"matching\":");
        match &e.matching {
            Some(matching) => self.matching(matching),
            None => self.push("null"),
        }
        self.format(format_args!(",\"op\":\"{}\",\"rhs\":", e.op.as_str()));
        self.expr(&e.rhs);
        self.push(",\"type\":\"binaryExpr\"}");
    }

    fn matching(&mut self, matching: &VectorMatching) {
        let card = match matching.card {
            Cardinality::OneToOne => "one-to-one",
            Cardinality::ManyToOne => "many-to-one",
            Cardinality::OneToMany => "one-to-many",
            Cardinality::ManyToMany => "many-to-many",
        };
        self.format(format_args!("{{\"card\":\"{card}\",\"fillValues\":{{\"lhs\":"));
        self.fill(matching.fill_left);
        self.push(",\"rhs\":");
        self.fill(matching.fill_right);
        self.push("},\"include\":");
        self.strings(matching.include.iter().map(String::as_str));
        self.push(",\"labels\":");
        self.strings(matching.labels.iter().map(String::as_str));
        self.format(format_args!(",\"on\":{}}}", matching.on));
    }

    /// A fill value: a number, or a string where JSON has no number for it.
    fn fill(&mut self, value: Option<f64>) {
        match value {
            Some(value) if value.is_finite() => self.push(&format_f(value)),
            Some(value) => self.string(&format_f(value)),
            None => self.push("null"),
        }
    }

    /// The keys of a selector up to where those of its range stand.
    fn selector_head(&mut self, e: &VectorSelector) {
        self.format(format_args!("{{\"anchored\":{},\"matchers\":", e.anchored));
        self.list(&e.matchers, Writer::matcher);
        self.push(",\"name\":");
        self.string(e.name.as_deref().unwrap_or(""));
        self.offset(e.offset_ms, e.offset_expr.as_deref());
    }

    fn selector_rest(&mut self, e: &VectorSelector, kind: &str) {
        self.format(format_args!(",\"smoothed\":{}", e.smoothed));
        self.start_or_end(e.at);
        self.timestamp(e.at);
        self.format(format_args!(",\"type\":\"{kind}\"}}"));
    }

    fn matcher(&mut self, m: &Matcher) {
        self.push("{\"name\":");
        self.string(m.name());
        self.format(format_args!(",\"type\":\"{}\",\"value\":", m.op()));
        self.string(m.value());
        self.push("}");
    }

    fn offset(&mut self, ms: i64, expr: Option<&Expr>) {
        self.format(format_args!(",\"offset\":{ms},\"offsetExpr\":"));
        self.duration(expr);
    }

    fn start_or_end(&mut self, at: Option<AtModifier>) {
        self.push(",\"startOrEnd\":");
        self.push(match at {
            Some(AtModifier::Start) => "\"start\"",
            Some(AtModifier::End) => "\"end\"",
            _ => "null",
        });
    }

    fn timestamp(&mut self, at: Option<AtModifier>) {
        match at {
            Some(AtModifier::Timestamp(ms)) => self.format(format_args!(",\"timestamp\":{ms}")),
            _ => self.push(",\"timestamp\":null"),
        }
    }

    /// A subquery behind its expression.
    fn subquery_rest(&mut self, e: &SubqueryExpr) {
        self.offset(e.offset_ms, e.offset_expr.as_deref());
        self.format(format_args!(",\"range\":{},\"rangeExpr\":", e.range_ms));
        self.duration(e.range_expr.as_deref());
        self.start_or_end(e.at);
        self.format(format_args!(",\"step\":{},\"stepExpr\":", e.step_ms));
        self.duration(e.step_expr.as_deref());
        self.timestamp(e.at);
        self.push(",\"type\":\"subquery\"}");
    }

    fn duration(&mut self, expr: Option<&Expr>) {
        match expr {
            Some(Expr::Duration(e)) => self.duration_expr(e),
            Some(Expr::Number(e)) => {
                let (duration, value) = (e.duration, format_f(e.value));
                self.format(format_args!(
                    "{{\"duration\":{duration},\"type\":\"numberLiteral\",\"val\":\"{value}\"}}"
                ));
            }
            Some(other) => self.expr(other),
            None => self.push("null"),
        }
    }

    fn duration_expr(&mut self, e: &DurationExpr) {
        self.push("{\"lhs\":");
        self.duration(e.lhs.as_deref());
        self.format(format_args!(",\"op\":\"{}\",\"rhs\":", e.op.as_str()));
        self.duration(e.rhs.as_deref());
        self.format(format_args!(",\"type\":\"durationExpr\",\"wrapped\":{}}}", e.wrapped));
    }
}
