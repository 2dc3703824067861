//! `info`, as its description has it: every series takes the labels of the info
//! series with its instance and job.

use model::{Labels, MatchOp, Matcher};
use promql::Expr;
use promql::ast::{AtModifier, CallExpr, VectorSelector};

use super::{Fault, Naive, Outcome, Point, Series, Vector};

/// `@` and offset of a selector and of the subqueries around it, innermost last.
type Times = Vec<(Option<AtModifier>, i64)>;

impl Naive<'_> {
    pub(super) fn info(&self, e: &CallExpr, t: i64) -> Outcome<Vector> {
        let base = self.vector(&e.args[0], t)?;
        let asked: &[Matcher] = match e.args.get(1) {
            Some(Expr::VectorSelector(selector)) => &selector.matchers,
            Some(_) => return Err(Fault::Unknown),
            None => &[],
        };
        let (mut names, data): (Vec<Matcher>, Vec<Matcher>) =
            asked.iter().cloned().partition(|m| m.name() == "__name__");
        let named = |op, value| Matcher::new(op, "__name__", value).map_err(|_| Fault::Unknown);
        if names.is_empty() {
            names.push(named(MatchOp::Equal, "target_info")?);
        } else if names.iter().all(|m| matches!(m.op(), MatchOp::NotEqual | MatchOp::NotRegex)) {
            names.push(named(MatchOp::Regex, ".+_info")?);
        }
        let matching = |matchers: &[Matcher], labels: &Labels| {
            matchers.iter().all(|m| m.matches(labels.value_or_empty(m.name())))
        };
        let info: Vec<&Series> =
            self.data.iter().filter(|s| matching(&names, &s.labels) && matching(&data, &s.labels)).collect();
        let at = self.first_selector(&e.args[0], &Times::new())?.map_or(t, |times| self.time_of(&times, t));
        let info = self.newest(&info, at);
        if info.iter().any(|(_, found)| matches!(found.point, Point::Hist(_))) {
            return Err(Fault::Query);
        }
        let mut out = Vec::new();
        for (labels, v) in base {
            if matching(&names, &labels) {
                out.push((labels, v));
                continue;
            }
            let identity =
                |l: &Labels| [l.value_or_empty("instance").to_owned(), l.value_or_empty("job").to_owned()];
            let mine: Vec<_> = info.iter().filter(|(l, _)| identity(l) == identity(&labels)).collect();
            if mine.is_empty() && data.iter().any(|m| !m.matches_empty()) {
                continue;
            }
            let mut added: Vec<(String, String)> = Vec::new();
            for (info_labels, found) in &mine {
                // Of several series of a name the newest counts.
                let newer = mine
                    .iter()
                    .any(|(l, other)| l.metric_name() == info_labels.metric_name() && other.t > found.t);
                for label in info_labels.iter().filter(|_| !newer) {
                    let wanted = data.is_empty() || data.iter().any(|m| m.name() == label.name);
                    if label.name == "__name__" || !wanted {
                        continue;
                    }
                    match added.iter().find(|(name, _)| name == label.name) {
                        Some((_, value)) if value != label.value => return Err(Fault::Query),
                        Some(_) => {}
                        None if labels.value_or_empty(label.name).is_empty() => {
                            added.push((label.name.to_owned(), label.value.to_owned()));
                        }
                        None => {}
                    }
                }
            }
            let mut with = labels.to_builder();
            for (name, value) in added {
                with.set(&name, &value);
            }
            out.push((with.labels(), v));
        }
        Ok(out)
    }

    /// The first selector of an expression, with the subqueries around it.
    fn first_selector(&self, expr: &Expr, around: &Times) -> Outcome<Option<Times>> {
        let selector = |e: &VectorSelector| -> Outcome<Option<Times>> {
            let mut times = around.clone();
            times.push((e.at, self.duration(e.offset_expr.as_deref(), e.offset_ms, false)?));
            Ok(Some(times))
        };
        let first = |list: &[&Expr]| -> Outcome<Option<Times>> {
            for expr in list {
                if let Some(found) = self.first_selector(expr, around)? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        };
        match expr {
            Expr::Paren(e) => self.first_selector(&e.expr, around),
            Expr::Unary(e) => self.first_selector(&e.expr, around),
            Expr::Binary(e) => first(&[&e.lhs, &e.rhs]),
            Expr::Aggregate(e) => match &e.param {
                Some(param) => first(&[&e.expr, param]),
                None => first(&[&e.expr]),
            },
            Expr::Call(e) => first(&e.args.iter().collect::<Vec<_>>()),
            Expr::VectorSelector(e) => selector(e),
            Expr::MatrixSelector(e) => selector(&e.selector),
            Expr::Subquery(e) => {
                let mut inside = around.clone();
                inside.push((e.at, self.duration(e.offset_expr.as_deref(), e.offset_ms, false)?));
                self.first_selector(&e.expr, &inside)
            }
            Expr::Number(_) | Expr::String(_) | Expr::Duration(_) => Ok(None),
        }
    }

    /// The innermost `@` counts, and the offsets up to it.
    fn time_of(&self, times: &Times, t: i64) -> i64 {
        let mut shift = 0;
        for &(at, offset_ms) in times.iter().rev() {
            shift += offset_ms;
            if at.is_some() {
                return self.reference(at, shift, t);
            }
        }
        t - shift
    }
}
