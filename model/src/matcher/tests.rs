//! The reduced plan against the plain automaton, hostile patterns, Go's texts.

use proptest::prelude::*;
use proptest::sample::select;

use super::automaton::Automaton;
use super::parse::{Dialect, parse};
use super::*;

fn regex(pattern: &str) -> Matcher {
    Matcher::new(MatchOp::Regex, "l", pattern).unwrap_or_else(|error| panic!("{:?}", error.kind))
}

fn message(pattern: &str) -> String {
    Matcher::new(MatchOp::Regex, "l", pattern).unwrap_err().to_string()
}

/// Pieces that reduce to something, among some that do not.
const PIECES: [&str; 24] = [
    "a",
    "b",
    "foo",
    "K",
    "-",
    "é",
    ".",
    ".*",
    ".+",
    ".{2,}",
    "(.*)",
    "(a|b)",
    "(?:foo|bar|)",
    "[a-c]",
    "[^a]",
    "(?i:k)",
    "(?i:foos)",
    "b?",
    "(ab){1,2}",
    "^",
    "$",
    "\\d",
    "\\b",
    "|",
];

const TEXTS: [&str; 14] =
    ["a", "b", "ab", "foo", "FOO", "bar", "k", "K", "\u{212a}", "é", "-", "7", "\n", "fooſ"];

fn pattern() -> impl Strategy<Value = String> {
    prop::collection::vec(select(&PIECES[..]), 0..7).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = String> {
    prop::collection::vec(select(&TEXTS[..]), 0..5).prop_map(|texts| texts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn reduced_matcher_equals_plain_automaton(pattern in pattern(), values in prop::collection::vec(value(), 12)) {
        let matcher = regex(&pattern);
        let automaton = Automaton::whole(&parse(&pattern, Dialect::Matcher).unwrap().node).unwrap();
        for value in &values {
            let expected = automaton.is_match(value);
            prop_assert_eq!(matcher.matches(value), expected, "{:?} on {:?}", &pattern, value);
            prop_assert_eq!(matcher.negated().matches(value), !expected);
            if expected {
                prop_assert!(value.starts_with(matcher.prefix().unwrap_or("")));
                prop_assert!(value.ends_with(matcher.suffix().unwrap_or("")));
                prop_assert!(matcher.contains().iter().all(|text| value.contains(text.as_str())));
                prop_assert!(!matcher.matches_only_empty() || value.is_empty());
                prop_assert!(!matcher.matches_nothing());
            } else {
                prop_assert!(!matcher.matches_everything());
                prop_assert!(!matcher.matches_any_non_empty() || value.is_empty());
            }
            if let Some(set) = matcher.set_matches() {
                prop_assert_eq!(set.contains(value), expected);
            }
        }
    }

    #[test]
    fn shortcut_groups_equal_those_of_the_automaton(
        prefix in value(), suffix in value(), gap in select(&["(.*)", "(.+)", ".*", "(?:.{2,})"][..]), middle in value(),
    ) {
        let quoted = |text: &str| format!("\\Q{text}\\E");
        let pattern = format!("{}{gap}{}", quoted(&prefix), quoted(&suffix));
        let anchored = GoRegex::anchored(&pattern).unwrap();
        // A searched pattern takes no short cut.
        let searched = GoRegex::new(&format!("^(?s:{pattern})$")).unwrap();
        for text in [format!("{prefix}{middle}{suffix}"), middle, prefix, suffix] {
            let groups = |regex: &GoRegex| regex.captures(&text).map(|g| (g.get(0).is_some(), g.expand("$0|$1")));
            prop_assert_eq!(groups(&anchored), groups(&searched));
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(pattern in "\\PC{0,24}") {
        let _ = Matcher::new(MatchOp::Regex, "l", &pattern);
        let _ = GoRegex::anchored(&pattern);
    }
}

#[test]
fn sets_are_listed_case_variants_too() {
    let set = |pattern: &str| regex(pattern).set_matches().map(<[String]>::to_vec);
    let texts = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    assert_eq!(set("b|a|b"), texts(&["a", "b"]));
    assert_eq!(set("^x(y|z)?$"), texts(&["x", "xy", "xz"]));
    assert_eq!(set("(?i)k1"), texts(&["K1", "k1", "\u{212a}1"]));
    assert_eq!(set("[0-9]{2}").map(|set| set.len()), Some(100));
    assert_eq!(set("[0-9]{3}"), None);
    assert_eq!(set(""), texts(&[""]));
    assert_eq!(set("a.*"), None);
    let long = (0..5000).map(|n| format!("pod-{n}")).collect::<Vec<_>>().join("|");
    assert_eq!(regex(&long).set_matches().map(<[String]>::len), Some(5000));
}

#[test]
fn common_shapes_need_no_automaton() {
    let shapes = [
        "foo.*",
        ".*foo",
        ".*foo.*",
        ".+",
        ".*",
        "foo|bar.*|.*baz",
        "(?i)prometheus.*",
        "(?i).*error.*",
        "(?i)alertmanager|prometheus",
        "a.*b.+c",
        "(foo|bar).*(baz|qux)",
        "^foo.*$",
        "(.*)",
        ".*-.*-.*",
    ];
    for shape in shapes {
        assert!(regex(shape).is_simple(), "{shape} needs the automaton");
    }
}

#[test]
fn texts_required_of_values_are_known() {
    let matcher = regex("node-[0-9]+:9100.*x");
    assert_eq!(
        (matcher.prefix(), matcher.suffix(), matcher.contains()),
        (Some("node-"), Some("x"), &[":9100".to_owned()][..])
    );
    assert_eq!(regex("foo1|foo2").prefix(), Some("foo"));
    assert_eq!(regex("ab.*|ac.*").prefix(), Some("a"));
    assert_eq!(regex("(?i)foo.*").prefix(), None);
}

#[test]
fn trivial_matchers_are_known() {
    let new = |op, value| Matcher::new(op, "l", value).unwrap();
    for everything in [new(MatchOp::Regex, ".*"), new(MatchOp::NotRegex, "[^\\x00-\\x{10FFFF}]")] {
        assert!(everything.matches_everything() && everything.matches("") && everything.matches("x"));
    }
    for non_empty in [new(MatchOp::Regex, ".+"), new(MatchOp::NotEqual, ""), new(MatchOp::NotRegex, "")] {
        assert!(non_empty.matches_any_non_empty() && !non_empty.matches_empty());
    }
    for empty in [new(MatchOp::Equal, ""), new(MatchOp::NotRegex, ".+"), new(MatchOp::Regex, "^$")] {
        assert!(empty.matches_only_empty() && empty.matches_empty());
    }
    assert!(new(MatchOp::NotRegex, ".*").matches_nothing());
}

#[test]
fn equality_is_by_operator_name_and_value() {
    assert_eq!(regex("a|b"), regex("a|b"));
    assert_ne!(regex("a|b"), regex("b|a"));
    assert_ne!(regex("a"), regex("a").negated());
    assert_eq!(Matcher::equal("a.b", "c\n").to_string(), r#""a.b"="c\n""#);
}

#[test]
fn errors_have_the_texts_of_go() {
    for (pattern, text) in [
        ("[a", "missing closing ]: `[a`"),
        ("(a", "missing closing ): `(a`"),
        ("a)b", "unexpected ): `a)b`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("(a{100}){11}", "invalid repeat count: `{11}`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("\\p{letter}", "invalid character class range: `\\p{letter}`"),
        ("\\x{110000}", "invalid escape sequence: `\\x{110000`"),
        ("\\", "trailing backslash at end of expression: ``"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?P<>a)", "invalid named capture: `(?P<>`"),
    ] {
        assert_eq!(message(pattern), format!("error parsing regexp: {text}"));
    }
    assert_eq!(
        GoRegex::anchored("(a").unwrap_err().to_string(),
        "error parsing regexp: missing closing ): `^(?s:(a)$`"
    );
}

#[test]
fn syntax_of_go_differs_from_that_of_the_automaton() {
    // Digits and words are ASCII, a brace may be plain, no set operations in brackets.
    assert!(!regex("\\d").matches("٣") && !regex("\\w").matches("é") && !regex("\\s").matches("\x0b"));
    assert!(regex("a{,2}").matches("a{,2}") && regex("a{").matches("a{"));
    assert!(regex("[a&&b]+").matches("a&b") && regex("[a[b]+").matches("[ab"));
    assert!(regex("\\Qa.*\\Eb").matches("a.*b") && regex("\\<").matches("<"));
    assert!(regex("(?i)k").matches("\u{212a}") && regex("\\12").matches("\n"));
    assert!(regex("(?P<n>a)(?P<n>b)").matches("ab"));
}

#[test]
fn deep_and_large_patterns_are_refused_not_fatal() {
    let nested = |depth: usize, inside: &str| format!("{}{inside}{}", "(".repeat(depth), ")".repeat(depth));
    assert!(message(&nested(1001, "a")).contains("expression nests too deeply"));
    assert!(regex(&nested(900, "a")).matches("a"));
    assert!(GoRegex::anchored(&nested(900, "\\d")).is_ok_and(|regex| regex.is_match("7")));
    let alternatives = (0..330).fold("\\d".to_owned(), |inner, n| format!("(x{n}|{inner}y)"));
    assert!(regex(&alternatives).matches(&format!("7{}", "y".repeat(330))));
    assert!(message(&"(".repeat(1 << 20)).starts_with("error parsing regexp: missing closing )"));
    assert!(message("((((\\pL{10}){10}){10}\\pL{1000}){1}[^x]{900}\\PN{900}){1}").contains("too large"));
    assert!(regex("(x{1000}){0}|\\pL{20}y").matches(&format!("{}y", "é".repeat(20))));
}

#[test]
fn templates_expand_as_in_go() {
    let regex = GoRegex::new("(?P<first>[a-z]+) (?P<second>[a-z]+)?(x)?").unwrap();
    let groups = regex.captures("ab cd").unwrap();
    for (template, expanded) in [
        ("$1-$second", "ab-cd"),
        ("$1x-${1}x", "-abx"),
        ("$$1 $", "$1 $"),
        ("${1 ${} $-", "${1 ${} $-"),
        ("<$3$9$01$none>", "<>"),
        ("$0", "ab cd"),
    ] {
        assert_eq!(groups.expand(template), expanded, "{template}");
    }
    assert_eq!(GoRegex::new("a*").unwrap().replace_all("baac", "<$0>"), "<>b<aa>c<>");
    assert_eq!(GoRegex::new("b").unwrap().replace_all("abc", "$0$0"), "abbc");
}
