//! Our own scripts leave nothing of the language out.

use std::collections::BTreeSet;
use std::path::Path;

use promql::ast::{AtModifier, Cardinality, VectorSelector};
use promql::visit::walk;
use promql::{Expr, FUNCTIONS, Features};

/// Every operator between two operands.
const OPERATORS: [&str; 18] = [
    "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", ">", "<=", ">=", "</", ">/", "and", "or",
    "unless",
];
const AGGREGATIONS: [&str; 14] = [
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
];
const MODIFIERS: [&str; 25] = [
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "fill_left",
    "fill_right",
    "by",
    "without",
    "offset",
    "negative offset",
    "offset expression",
    "@ number",
    "@ start()",
    "@ end()",
    "anchored",
    "smoothed",
    "smoothed instant selector",
    "range",
    "range expression",
    "subquery",
    "subquery without step",
    "subquery offset",
    "subquery @",
    "unary",
];
/// Parts of the errors that an evaluation may end with.
const ERRORS: [&str; 16] = [
    "Parameter value is NaN",
    "Ratio value is NaN",
    "underflows int64",
    "overflows int64",
    "invalid label name",
    "invalid destination label name",
    "invalid regular expression",
    "many-to-one matching must be explicit",
    "grouping labels must ensure unique matches",
    "found duplicate series for the match group",
    "vector cannot contain metrics with the same labelset",
    "invalid smoothing factor",
    "invalid trend factor",
    "anchored modifier can only be used with",
    "smoothed modifier can only be used with",
    "division by zero",
];

fn note_selector(found: &mut BTreeSet<String>, e: &VectorSelector) {
    let mut note = |text: &str| {
        found.insert(text.to_owned());
    };
    match e.offset_ms {
        0 => {}
        ms if ms < 0 => note("negative offset"),
        _ => note("offset"),
    }
    if e.offset_expr.is_some() {
        note("offset expression");
    }
    note_at(found, e.at);
    if e.anchored {
        found.insert("anchored".to_owned());
    }
    if e.smoothed {
        found.insert("smoothed".to_owned());
    }
}

fn note_at(found: &mut BTreeSet<String>, at: Option<AtModifier>) {
    let text = match at {
        None => return,
        Some(AtModifier::Timestamp(_)) => "@ number",
        Some(AtModifier::Start) => "@ start()",
        Some(AtModifier::End) => "@ end()",
    };
    found.insert(text.to_owned());
}

fn note(found: &mut BTreeSet<String>, expr: &Expr) {
    let mut word = |text: &str| {
        found.insert(text.to_owned());
    };
    match expr {
        Expr::Unary(_) => word("unary"),
        Expr::Binary(e) => {
            word(e.op.as_str());
            if e.return_bool {
                word("bool");
            }
            if let Some(m) = &e.matching {
                if m.on {
                    word("on");
                } else if !m.labels.is_empty() {
                    word("ignoring");
                }
                match m.card {
                    Cardinality::ManyToOne => word("group_left"),
                    Cardinality::OneToMany => word("group_right"),
                    _ => {}
                }
                if m.fill_left.is_some() {
                    word("fill_left");
                }
                if m.fill_right.is_some() {
                    word("fill_right");
                }
            }
        }
        Expr::Aggregate(e) => {
            word(&format!("{} of series", e.op.as_str()));
            if e.without {
                word("without");
            } else if !e.grouping.is_empty() {
                word("by");
            }
        }
        Expr::Call(e) => word(&format!("{}()", e.func.name)),
        Expr::VectorSelector(e) => {
            if e.smoothed {
                word("smoothed instant selector");
            }
            note_selector(found, e);
        }
        Expr::MatrixSelector(e) => {
            word(if e.range_expr.is_some() { "range expression" } else { "range" });
            note_selector(found, &e.selector);
        }
        Expr::Subquery(e) => {
            word("subquery");
            if e.step_ms == 0 && e.step_expr.is_none() {
                word("subquery without step");
            }
            if e.offset_ms != 0 {
                word("subquery offset");
            }
            if e.at.is_some() {
                word("subquery @");
            }
            note_at(found, e.at);
        }
        Expr::Paren(_) | Expr::Number(_) | Expr::String(_) | Expr::Duration(_) => {}
    }
}

/// The expression of a line that starts with `eval`.
fn expression(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("eval ")?;
    let words = if rest.starts_with("instant") { 3 } else { 7 };
    rest.splitn(words + 1, ' ').nth(words)
}

#[test]
fn our_scripts_use_everything_the_language_has() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/promql");
    let mut found = BTreeSet::new();
    let mut failures = String::new();
    for entry in std::fs::read_dir(&dir).expect("the scripts are in the project") {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_none_or(|extension| extension != "test") {
            continue;
        }
        let script = std::fs::read_to_string(&path).expect("the script can be read");
        for line in script.lines().map(str::trim) {
            if line.starts_with("expect fail") {
                failures.push_str(&line.replace('\\', ""));
                failures.push('\n');
            }
            let Some(text) = expression(line) else { continue };
            let expr = promql::parse(text, Features::all())
                .unwrap_or_else(|errors| panic!("{}: {text}: {errors}", path.display()));
            walk(&expr, &mut |expr| note(&mut found, expr));
        }
    }
    let functions = FUNCTIONS.iter().map(|f| format!("{}()", f.name));
    let aggregations = AGGREGATIONS.iter().map(|op| format!("{op} of series"));
    let others = OPERATORS.iter().chain(&MODIFIERS).map(|word| (*word).to_owned());
    let missing: Vec<String> =
        functions.chain(aggregations).chain(others).filter(|word| !found.contains(word)).collect();
    assert!(missing.is_empty(), "in no script: {missing:?}");
    let unseen: Vec<&str> = ERRORS.into_iter().filter(|error| !failures.contains(error)).collect();
    assert!(unseen.is_empty(), "errors that no script expects: {unseen:?}");
}
