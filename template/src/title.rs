//! Words with a capital first, the rest as it was.
//!
//! Go's `cases.Title` without lowering: a word ends where Unicode says so
//! (roughly), and its first letter with a case gets its title form; `it's` and
//! `foo.bar` are one word each. Source: golang.org/x/text `cases`.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, ClassUnicode, HirKind};

fn class(pattern: &str) -> ClassUnicode {
    let parsed = regex_syntax::parse(pattern).expect("the pattern is constant and of this library's syntax");
    match parsed.into_kind() {
        HirKind::Class(Class::Unicode(class)) => class,
        _ => ClassUnicode::empty(),
    }
}

fn contains(class: &ClassUnicode, c: char) -> bool {
    let ranges = class.ranges();
    let behind = ranges.partition_point(|range| range.end() < c);
    ranges.get(behind).is_some_and(|range| range.start() <= c)
}

static CASED: LazyLock<ClassUnicode> = LazyLock::new(|| class(r"\p{Cased}"));
static MIDDLE: LazyLock<ClassUnicode> =
    LazyLock::new(|| class(r"[\p{wb=MidLetter}\p{wb=MidNumLet}\p{wb=Single_Quote}]"));
static WORD: LazyLock<ClassUnicode> = LazyLock::new(|| {
    class(
        r"[\p{wb=ALetter}\p{wb=Hebrew_Letter}\p{wb=Numeric}\p{wb=Extend}\p{wb=ExtendNumLet}\p{wb=Format}\p{wb=ZWJ}]",
    )
});

/// The text with each word's first letter in title case.
pub(crate) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    let mut after_middle = false;
    for c in text.chars() {
        let is_middle = contains(&MIDDLE, c);
        if after_middle && is_middle {
            in_word = false;
        }
        if contains(&CASED, c) {
            if in_word {
                out.push(c);
            } else {
                push_title(&mut out, c);
                in_word = true;
            }
        } else {
            out.push(c);
            if !is_middle && !contains(&WORD, c) {
                in_word = false;
            }
        }
        after_middle = is_middle;
    }
    out
}

/// The title form of a letter, which may be several characters.
fn push_title(out: &mut String, c: char) {
    match c {
        'Ǆ' | 'ǅ' | 'ǆ' => return out.push('ǅ'),
        'Ǉ' | 'ǈ' | 'ǉ' => return out.push('ǈ'),
        'Ǌ' | 'ǋ' | 'ǌ' => return out.push('ǋ'),
        'Ǳ' | 'ǲ' | 'ǳ' => return out.push('ǲ'),
        // Georgian has capitals only for whole words.
        '\u{10d0}'..='\u{10ff}' => return out.push(c),
        _ => {}
    }
    let single = model::relabel::to_upper(c.encode_utf8(&mut [0; 4]));
    if !single.starts_with(c) {
        return out.push_str(&single);
    }
    let mut upper = c.to_uppercase();
    out.extend(upper.next());
    out.extend(upper.flat_map(char::to_lowercase));
}

#[cfg(test)]
mod tests {
    use super::title;

    #[test]
    fn words_begin_with_a_capital() {
        for (text, titled) in [
            ("aa bB CC", "Aa BB CC"),
            ("it's foo.bar a-b", "It's Foo.bar A-B"),
            ("foo_bar 3com 'quoted'", "Foo_bar 3Com 'Quoted'"),
            ("a''b", "A''B"),
            ("straße ßa ǆ", "Straße Ssa ǅ"),
        ] {
            assert_eq!(title(text), titled);
        }
    }
}
