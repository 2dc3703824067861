//! Matchers and Go's regular expressions.

use model::matcher::GoRegex;
use model::{MatchOp, Matcher};

pub(crate) const WORDS: &[&str] = &[
    ".*",
    ".+",
    "(?i)",
    "(?s)",
    "(?:",
    "(?P<n>",
    "(",
    ")",
    "|",
    "[a-z]",
    "[^a]",
    "[[:alpha:]]",
    "\\d",
    "\\pL",
    "\\Q",
    "\\E",
    "\\b",
    "^",
    "$",
    "{2,5}",
    "{,3}",
    "{1000}",
    "*?",
    "+?",
    "\\x{10FFFF}",
    "\u{130}",
    "\u{17f}",
    "K",
    "\n",
    "a",
    "b",
];

/// A pattern, a line end, a text: however it is matched, the answer is one.
pub(crate) fn matcher(bytes: &[u8]) {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    let (pattern, value) = text.split_once('\n').unwrap_or((&text, "abc"));
    let made = Matcher::new(MatchOp::Regex, "n", pattern);
    let plain = GoRegex::new(&format!("^(?s:{pattern})$"));
    let Ok(matcher) = made else { return };
    let mut values =
        vec![String::new(), value.to_owned(), value.to_uppercase(), format!("{value}\n"), "a".to_owned()];
    if let Some(set) = matcher.set_matches() {
        assert!(set.iter().all(|member| matcher.matches(member)), "{pattern}: members of its set match");
        values.extend(set.iter().take(20).cloned());
    }
    values.extend([matcher.prefix(), matcher.suffix()].into_iter().flatten().map(str::to_owned));
    for value in &values {
        let answer = matcher.matches(value);
        assert_eq!(matcher.negated().matches(value), !answer);
        if let Ok(plain) = &plain {
            assert_eq!(answer, plain.is_match(value), "{pattern:?} on {value:?}: planned and searched for");
        }
        if answer {
            assert!(
                matcher.prefix().is_none_or(|prefix| value.starts_with(prefix)),
                "{pattern:?} on {value:?}"
            );
            assert!(
                matcher.suffix().is_none_or(|suffix| value.ends_with(suffix)),
                "{pattern:?} on {value:?}"
            );
            assert!(
                matcher.contains().iter().all(|part| value.contains(part.as_str())),
                "{pattern:?} on {value:?}"
            );
            assert!(matcher.set_matches().is_none_or(|set| set.contains(value)), "{pattern:?} on {value:?}");
            assert!(!matcher.matches_nothing() && (!matcher.matches_only_empty() || value.is_empty()));
        } else {
            assert!(!matcher.matches_everything() && (!matcher.matches_any_non_empty() || value.is_empty()));
        }
    }
    assert_eq!(matcher.matches_empty(), matcher.matches(""));
    if let Ok(regex) = GoRegex::anchored(pattern) {
        let _ = regex.replace_all(value, "$1-${n}$$");
        assert_eq!(regex.captures(value).is_some(), regex.is_match(value));
    }
}

pub(crate) fn corpus() -> Vec<Vec<u8>> {
    let all = [
        "foo|bar|baz\nbar",
        "foo.*\nfoobar",
        ".*foo\nxfoo",
        ".*a.*b.*\nxaxbx",
        "(?i)foo|BAR\nBar",
        "a{2,5}b?\naaab",
        "[a-c]{1,3}x|y\nabx",
        "(?P<n>x+)-(y)\nxx-y",
        "\\Qa.b\\E\na.b",
        "(a|b|c)(d|e)?\nad",
        "\n",
        ".+\n",
        ".*\n",
        "a\\d+\\.\\w\na1.b",
        "(?s:.)x\n\nx",
        "prom-[0-9]{3}\nprom-123",
        "(?i:k)\n\u{212a}",
        "^abc$\nabc",
        "a||b\n",
        "((a*)*)*\naaaa",
    ];
    all.iter().map(|text| text.as_bytes().to_vec()).chain(crate::finds::of("matcher")).collect()
}
