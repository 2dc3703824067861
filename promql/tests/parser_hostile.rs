//! Whatever the text, the parser answers: it neither panics, nor overflows the
//! stack, nor takes more than linear time. These run on the 2 MiB stacks of
//! test threads, as large as those that serve queries.

use promql::{Expr, Features, NESTING_MAX, parse, parse_bytes};
use proptest::prelude::*;

/// Everything that walks a tree.
fn use_all(expr: &Expr) {
    let text = expr.to_string();
    assert!(!promql::to_json(expr).get().is_empty());
    assert!(!promql::prettify(expr, 100).is_empty());
    assert_eq!(expr.clone().to_string(), text);
    let mut n_nodes = 0_usize;
    promql::visit::walk(expr, &mut |_| n_nodes += 1);
    assert!(n_nodes > 0);
}

/// One of the ways to nest, `depth` deep.
fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

const NESTS: [(&str, &str, &str); 9] = [
    ("(", "x", ")"),
    ("-", "x", ""),
    ("abs(", "x", ")"),
    ("sum by (a) (", "x", ")"),
    ("topk(1, ", "x", ")"),
    ("x ^ ", "x", ""),
    ("x + (", "x", ")"),
    ("max_over_time((", "x", ")[1h:])"),
    ("x or x and x == x + x * x ^ (", "x", ")"),
];

#[test]
fn nesting_up_to_the_limit_works_and_beyond_is_refused() {
    for (open, inner, close) in NESTS {
        let mut refused = None;
        // Each way counts as one or more levels: find where it ends.
        for depth in [50, NESTING_MAX / 3 - 1, NESTING_MAX / 2 - 1, NESTING_MAX - 1, 100_000] {
            match parse(&nested(open, inner, close, depth), Features::all()) {
                Ok(expr) => use_all(&expr),
                Err(error) => refused = Some(error.to_string()),
            }
        }
        let refused = refused.unwrap_or_else(|| panic!("100,000 times {open} must be refused"));
        assert!(refused.contains("nested too deeply"), "{open}: {refused}");
    }
}

#[test]
fn parentheses_nest_just_up_to_the_limit() {
    let text = nested("(", "x", ")", NESTING_MAX - 1);
    assert_eq!(parse(&text, Features::default()).unwrap().to_string(), text);
    assert!(parse(&nested("(", "x", ")", NESTING_MAX), Features::default()).is_err());
}

#[test]
fn long_chains_of_operators_work_everywhere() {
    for op in [" or ", " + ", " == bool ", " / on (a) group_left () "] {
        let text = vec!["x"; 10_000].join(op);
        let expr = parse(&text, Features::default()).unwrap();
        assert_eq!(expr.to_string(), text);
        use_all(&expr);
    }
}

#[test]
fn chains_of_a_megabyte_parse_and_drop() {
    let text = format!("1{}", "+1".repeat(500_000));
    let expr = parse(&text, Features::default()).unwrap();
    assert_eq!(expr.to_string().len(), 1 + 4 * 500_000);
    let copy = expr.clone();
    drop(expr);
    drop(copy);
}

#[test]
fn chains_of_subqueries_are_refused_without_overflow() {
    let text = format!("x{}", "[1m:]".repeat(100_000));
    let errors = parse(&text, Features::default()).unwrap_err();
    assert!(errors.to_string().contains("subquery is only allowed on instant vector"));
}

#[test]
fn long_durations_are_refused() {
    let sum = vec!["1s"; NESTING_MAX + 1].join("+");
    assert!(parse(&format!("x[{sum}]"), Features::default()).is_ok());
    for text in [
        format!("x[{}]", vec!["1s"; 100_000].join("+")),
        format!("x offset ({})", vec!["1s"; 100_000].join("+")),
        format!("x[{}1s{}]", "(".repeat(100_000), ")".repeat(100_000)),
        format!("x[{}1s]", "-".repeat(100_000)),
        format!("x[{}1s{}]", "max_of(1s,".repeat(100_000), ")".repeat(100_000)),
    ] {
        assert!(parse(&text, Features::default()).is_err());
    }
}

#[test]
fn wide_expressions_work() {
    let args = vec!["\"a\""; 50_000].join(", ");
    let expr = parse(&format!("label_join(x, \"b\", \",\", {args})"), Features::default()).unwrap();
    use_all(&expr);
    let matchers = vec!["a!=\"b\""; 50_000].join(",");
    use_all(&parse(&format!("x{{{matchers}}}"), Features::default()).unwrap());
    let labels = vec!["a"; 50_000].join(", ");
    let both = format!("x / on ({labels}) group_left ({labels}) x");
    assert!(parse(&both, Features::default()).is_err());
}

#[test]
fn errors_are_bounded_in_number_and_size() {
    let name = "n".repeat(200_000);
    let matchers = vec!["__name__=\"a\""; 20_000].join(",");
    let errors = parse(&format!("{name}{{{matchers}}}"), Features::default()).unwrap_err();
    let bytes: usize = errors.errors().iter().map(|e| e.message.len()).sum();
    assert!(bytes < 32 << 20, "{bytes} bytes of errors");
    let errors = parse(&vec!["{}"; 200_000].join("-"), Features::default()).unwrap_err();
    assert!(errors.errors().len() < 100_000);
}

#[test]
fn series_descriptions_are_bounded() {
    for text in [
        "{} 1x99999999999",
        "{} _x18446744073709551615",
        "{} 1+1x18446744073709551616",
        "{} {{sum:1}}x99999999999",
        "{} 1x9000000 1x9000000",
    ] {
        assert!(promql::parse_series_description(text).is_err(), "{text}");
    }
}

/// Text that is nearly a query.
fn token_soup() -> impl Strategy<Value = String> {
    let tokens = prop::sample::select(vec![
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "=",
        "==",
        "!=",
        "=~",
        "!~",
        "<",
        ">",
        "<=",
        ">=",
        "</",
        ">/",
        "+",
        "-",
        "*",
        "/",
        "%",
        "^",
        "@",
        "and",
        "or",
        "unless",
        "atan2",
        "sum",
        "topk",
        "count_values",
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "bool",
        "offset",
        "anchored",
        "smoothed",
        "fill",
        "fill_left",
        "fill_right",
        "start",
        "end",
        "step",
        "range",
        "min_of",
        "max_of",
        "rate",
        "info",
        "label_replace",
        "foo",
        "a:b",
        "bar",
        "1",
        "5m",
        "0x1f",
        "1e3",
        "Inf",
        "NaN",
        "\"s\"",
        "'s'",
        "`s`",
        "\"\\xff\"",
        "#c\n",
        "\n",
        "{{",
        "}}",
        "x",
        "_",
        "stale",
        "schema:1",
        "buckets:[1 2]",
        "é",
        "\u{0}",
    ]);
    let space = prop::sample::select(vec!["", " "]);
    prop::collection::vec((tokens, space), 0..40)
        .prop_map(|parts| parts.into_iter().map(|(token, space)| format!("{token}{space}")).collect())
}

/// Whatever parses prints as something that parses to the same again.
fn check_any(text: &[u8]) {
    for features in [Features::none(), Features::default(), Features::all()] {
        match parse_bytes(text, features) {
            Ok(expr) => {
                use_all(&expr);
                let printed = expr.to_string();
                if let Ok(again) = parse(&printed, features) {
                    assert_eq!(again.to_string(), printed);
                }
            }
            Err(errors) => {
                assert!(!errors.errors().is_empty());
                assert!(!errors.to_string().is_empty());
                for error in errors.errors() {
                    assert!(error.pos.start as usize <= text.len(), "{error:?}");
                }
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(text) {
        let _ = promql::parse_selector(text, Features::default());
        let _ = promql::parse_series_description(text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        check_any(&bytes);
    }

    #[test]
    fn any_text_is_answered(text in ".{0,40}") {
        check_any(text.as_bytes());
    }

    #[test]
    fn token_soup_is_answered(text in token_soup()) {
        check_any(text.as_bytes());
        let series = format!("foo{{a=\"b\"}} {text}");
        let _ = promql::parse_series_description(&series);
    }
}
