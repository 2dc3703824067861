//! JavaScript: values, strings, regular expressions, and where a slash is which.

use super::json::json;
use super::replace::replaced;
use crate::exec::printable;
use crate::print;
use crate::text;
use crate::time;
use crate::value::Value;

/// A value as an expression.
pub(super) fn value(args: &[Value]) -> Vec<u8> {
    let args: Vec<Value> = args.iter().map(|arg| arg.clone().opened()).collect();
    let value = match args.as_slice() {
        [value] => own_form(value.clone()),
        args => {
            let args: Vec<Value> = args.iter().cloned().map(printable).collect();
            Value::text(print::sprint(&args))
        }
    };
    let text = match json(&value) {
        Ok(text) => text,
        // No text of a fault ends the comment.
        Err(fault) => return format!(" /* {fault} */null ").into_bytes(),
    };
    let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| is_identifier_part(*byte));
    if is_part(text.as_bytes().first()) || is_part(text.as_bytes().last()) {
        return format!(" {text} ").into_bytes();
    }
    text.into_bytes()
}

/// Values that print themselves are written so.
fn own_form(value: Value) -> Value {
    match value {
        Value::Int(kind, number) => match time::int_name(kind, number) {
            Some(name) => Value::text(name),
            None => value,
        },
        Value::DurationPointer(duration) => Value::text(duration.to_string()),
        value => value,
    }
}

/// What stands for a character everywhere in JavaScript.
fn common(c: char) -> Option<String> {
    Some(match c {
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\r' => "\\r".to_owned(),
        '/' => "\\/".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\0'..='\u{1f}' | '"' | '&' | '\'' | '+' | '<' | '>' | '\u{2028}' | '\u{2029}' => {
            format!("\\u{:04x}", u32::from(c))
        }
        _ => return None,
    })
}

/// For a string in quotes.
pub(super) fn string(text: &[u8]) -> Vec<u8> {
    replaced(text, |c| if c == '`' { Some("\\u0060".to_owned()) } else { common(c) })
}

/// For a string in back quotes.
pub(super) fn template_literal(text: &[u8]) -> Vec<u8> {
    replaced(text, |c| match c {
        '`' | '$' | '{' | '}' => Some(format!("\\u{:04x}", u32::from(c))),
        c => common(c),
    })
}

/// For a regular expression.
pub(super) fn regexp(text: &[u8]) -> Vec<u8> {
    if text.is_empty() {
        // Nothing between two slashes would be a comment.
        return b"(?:)".to_vec();
    }
    replaced(text, |c| match c {
        '$' | '(' | ')' | '*' | '-' | '.' | '?' | '[' | ']' | '^' | '{' | '|' | '}' => Some(format!("\\{c}")),
        c => common(c),
    })
}

fn is_identifier_part(byte: u8) -> bool {
    byte == b'$' || byte == b'_' || byte.is_ascii_alphanumeric()
}

/// What a slash would begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Slash {
    Regexp,
    Division,
    /// Two ways lead here, and they differ.
    Unknown,
}

const KEYWORDS: &[&[u8]] = &[
    b"break",
    b"case",
    b"continue",
    b"delete",
    b"do",
    b"else",
    b"finally",
    b"in",
    b"instanceof",
    b"return",
    b"throw",
    b"try",
    b"typeof",
    b"void",
];

fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t'..='\r' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{2028}' | '\u{2029}'
            | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{feff}'
    )
}

/// What a slash after the text begins.
pub(super) fn slash_after(text: &[u8], before: Slash) -> Slash {
    let end =
        text::chars(text).filter(|(_, c, _)| !is_space(*c)).last().map_or(0, |(at, _, width)| at + width);
    let text = &text[..end];
    let Some(last) = text.last() else { return before };
    match last {
        // `a++ /b` divides, `a+ /b/` does not.
        b'+' | b'-' => {
            let run = text.iter().rev().take_while(|b| *b == last).count();
            if run % 2 == 1 { Slash::Regexp } else { Slash::Division }
        }
        // `1./x` divides.
        b'.' => match text.len().checked_sub(2).map(|at| text[at]) {
            Some(b'0'..=b'9') => Slash::Division,
            _ => Slash::Regexp,
        },
        b',' | b'<' | b'>' | b'=' | b'*' | b'%' | b'&' | b'|' | b'^' | b'?' | b'!' | b'~' | b'(' | b'['
        | b':' | b';' | b'{' | b'}' => Slash::Regexp,
        _ => {
            let len = text.iter().rev().take_while(|b| is_identifier_part(**b)).count();
            let word = &text[text.len() - len..];
            if KEYWORDS.contains(&word) { Slash::Regexp } else { Slash::Division }
        }
    }
}

/// Whether a script of the type is JavaScript (or JSON).
pub(super) fn is_script_type(kind: &[u8]) -> bool {
    let kind = text::lossy(kind);
    let kind = kind.split(';').next().unwrap_or("").to_lowercase();
    let kind = kind.trim();
    if let Some(version) = kind.strip_prefix("text/javascript1.") {
        return matches!(version, "0" | "1" | "2" | "3" | "4" | "5");
    }
    matches!(
        kind,
        "" | "application/ecmascript"
            | "application/javascript"
            | "application/json"
            | "application/ld+json"
            | "application/x-ecmascript"
            | "application/x-javascript"
            | "module"
            | "text/ecmascript"
            | "text/javascript"
            | "text/jscript"
            | "text/livescript"
            | "text/x-ecmascript"
            | "text/x-javascript"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_expressions() {
        let js = |value: Value| String::from_utf8(value_text(value)).unwrap();
        assert_eq!(js(Value::int(1)), " 1 ");
        assert_eq!(js(Value::text("a'</script>")), "\"a'\\u003c/script\\u003e\"");
        assert_eq!(js(Value::Nothing), " null ");
        assert_eq!(js(Value::Float(f64::NAN)), " /* json: unsupported value: NaN */null ");
    }

    fn value_text(value: Value) -> Vec<u8> {
        super::value(&[value])
    }

    #[test]
    fn strings_are_escaped_for_their_quotes() {
        assert_eq!(string(b"a'b/\n`$"), b"a\\u0027b\\/\\n\\u0060$");
        assert_eq!(template_literal(b"${x}`"), b"\\u0024\\u007bx\\u007d\\u0060");
        assert_eq!(regexp(b"a.b+"), b"a\\.b\\u002b");
        assert_eq!(regexp(b""), b"(?:)");
    }

    #[test]
    fn slashes_are_told_apart() {
        for (text, slash) in [
            ("x = ", Slash::Regexp),
            ("x", Slash::Division),
            ("x++", Slash::Division),
            ("x+", Slash::Regexp),
            ("return ", Slash::Regexp),
            ("1.", Slash::Division),
            ("x)", Slash::Division),
            ("x]", Slash::Division),
        ] {
            assert_eq!(slash_after(text.as_bytes(), Slash::Regexp), slash, "{text}");
        }
        assert_eq!(slash_after(b" \n", Slash::Unknown), Slash::Unknown);
    }
}
