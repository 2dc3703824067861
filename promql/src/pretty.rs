//! Syntax tree → text on several lines.
//!
//! What fits a line stays on it; what does not is split, its parts one level
//! deeper. How long a part is on one line is known from printing the whole once.
//! Source: Prometheus `promql/parser/prettier.go`.

use crate::ast::Expr;
use crate::printer::{Printed, aggregate_head, operator, subquery_suffix};

/// Upstream's line length, in bytes.
pub const MAX_CHARACTERS_PER_LINE: usize = 100;

/// Longest result, in bytes: indentation grows with the square of nesting.
const OUTPUT_BYTES_MAX: usize = 16 << 20;

/// The expression split into lines, where what fits `max_characters_per_line`
/// bytes is not split. An expression that would grow beyond 16 MiB by
/// indentation comes on one line.
///
/// ```
/// let expr = promql::parse("sum by(job)(rate(up[5m]))", promql::Features::default()).unwrap();
/// assert_eq!(promql::prettify(&expr, 10), "sum by (job) (\n  rate(\n    up[5m]\n  )\n)");
/// ```
pub fn prettify(expr: &Expr, max_characters_per_line: usize) -> String {
    let mut pretty = Pretty {
        printed: Printed::new(expr),
        max: max_characters_per_line,
        out: String::new(),
        overflow: false,
    };
    pretty.expr(expr, 0);
    if pretty.overflow { pretty.printed.text } else { pretty.out }
}

struct Pretty {
    printed: Printed,
    max: usize,
    out: String,
    overflow: bool,
}

impl Pretty {
    fn needs_split(&self, expr: &Expr) -> bool {
        self.printed.of(expr).len() > self.max
    }

    fn push(&mut self, text: &str) {
        if self.out.len() + text.len() > OUTPUT_BYTES_MAX {
            self.overflow = true;
        }
        if !self.overflow {
            self.out.push_str(text);
        }
    }

    fn indent(&mut self, level: usize) {
        const SPACES: &str = "                                                                ";
        let mut bytes = 2 * level;
        while bytes > 0 && !self.overflow {
            let some = bytes.min(SPACES.len());
            self.push(&SPACES[..some]);
            bytes -= some;
        }
    }

    fn one_line(&mut self, expr: &Expr) {
        let text = self.printed.of(expr).to_owned();
        self.push(&text);
    }

    /// Writes an expression, indented, at a level. The left sides of operators
    /// are one level deeper each, so a chain is written from its bottom up.
    fn expr(&mut self, top: &Expr, level: usize) {
        let mut chain = Vec::new();
        let mut node = top;
        while let Expr::Binary(e) = node
            && self.needs_split(node)
        {
            chain.push(e);
            node = &e.lhs;
        }
        let mut level = level + chain.len();
        self.node(node, level);
        for e in chain.into_iter().rev() {
            level -= 1;
            self.push("\n");
            self.indent(level);
            self.push(&operator(e));
            self.push("\n");
            self.expr(&e.rhs, level + 1);
        }
    }

    fn node(&mut self, expr: &Expr, level: usize) {
        if self.overflow {
            return;
        }
        let split = self.needs_split(expr);
        match expr {
            // Without indentation, as upstream's.
            Expr::Subquery(_) if !split => self.one_line(expr),
            Expr::Subquery(e) => {
                self.expr(&e.expr, level);
                self.push(&subquery_suffix(e));
            }
            Expr::Unary(e) => {
                self.indent(level);
                self.push(if e.negative { "-" } else { "+" });
                let sign_end = self.out.len();
                self.expr(&e.expr, level);
                // The sign is indented, so what it stands before must not be.
                let indented = self.out.len() - sign_end - self.out[sign_end..].trim_start().len();
                self.out.replace_range(sign_end..sign_end + indented, "");
            }
            Expr::Aggregate(e) if split => {
                self.indent(level);
                self.push(&aggregate_head(e));
                self.push("(\n");
                if let Some(param) = &e.param {
                    self.expr(param, level + 1);
                    self.push(",\n");
                }
                self.expr(&e.expr, level + 1);
                self.close(level);
            }
            Expr::Call(e) if split => {
                self.indent(level);
                self.push(e.func.name);
                self.push("(\n");
                for (i, arg) in e.args.iter().enumerate() {
                    if i > 0 {
                        self.push(",\n");
                    }
                    self.expr(arg, level + 1);
                }
                self.close(level);
            }
            Expr::Paren(e) if split => {
                self.indent(level);
                self.push("(\n");
                self.expr(&e.expr, level + 1);
                self.close(level);
            }
            _ => {
                self.indent(level);
                self.one_line(expr);
            }
        }
    }

    fn close(&mut self, level: usize) {
        self.push("\n");
        self.indent(level);
        self.push(")");
    }
}
