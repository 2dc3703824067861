//! Style sheets.

use super::escaper::FAILSAFE;
use crate::text;

fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ')
}

/// Whether a character may be part of a name.
fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '\u{80}'..='\u{fffd}' | '\u{10000}'..)
}

/// Whether the text ends with a keyword that is not the end of a longer name.
pub(super) fn ends_with_keyword(text: &[u8], keyword: &[u8]) -> bool {
    let Some(start) = text.len().checked_sub(keyword.len()) else { return false };
    let before = last_char(&text[..start]);
    !before.is_some_and(is_name) && text[start..].eq_ignore_ascii_case(keyword)
}

fn last_char(text: &[u8]) -> Option<char> {
    let start = text.len().saturating_sub(4);
    let tail = &text[start..];
    (0..tail.len())
        .find_map(|at| text::decode(&tail[at..]).filter(|(_, width)| at + width == tail.len()))
        .map(|(c, _)| c)
}

/// The text with its escapes resolved.
pub(super) fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|b| *b == b'\\') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let Some(next) = rest.get(1) else { return out };
        if !next.is_ascii_hexdigit() {
            let (_, width) = text::decode(&rest[1..]).unwrap_or(('\\', 1));
            out.extend_from_slice(&rest[1..1 + width]);
            rest = &rest[1 + width..];
            continue;
        }
        let mut digits = rest[1..].iter().take(6).take_while(|b| b.is_ascii_hexdigit()).count();
        let read = |digits: &[u8]| {
            digits.iter().fold(0, |code, digit| code * 16 + char::from(*digit).to_digit(16).unwrap_or(0))
        };
        let mut code = read(&rest[1..1 + digits]);
        if code > 0x10_ffff {
            digits -= 1;
            code /= 16;
        }
        text::push_char(&mut out, char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = without_space(&rest[1 + digits..]);
    }
    out.extend_from_slice(rest);
    out
}

/// What follows the one space that may end an escape.
fn without_space(text: &[u8]) -> &[u8] {
    match text {
        [b'\r', b'\n', rest @ ..] => rest,
        [first, rest @ ..] if is_space(*first) => rest,
        text => text,
    }
}

/// For a string in a style sheet.
pub(super) fn escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for (i, byte) in text.iter().enumerate() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            0 | b'\t' | b'\n' | b'\x0c' | b'\r' | b'"' | b'&' | b'\'' | b'(' | b')' | b'+' | b'/' | b':'
            | b';' | b'<' | b'>' | b'{' | b'}' => {
                out.extend_from_slice(format!("\\{byte:x}").as_bytes());
                // A space keeps the escape from taking in what follows.
                if text.get(i + 1).is_none_or(|next| next.is_ascii_hexdigit() || is_space(*next)) {
                    out.push(b' ');
                }
            }
            byte => out.push(*byte),
        }
    }
    out
}

/// A value of a property, if it holds nothing that could run or end it.
pub(super) fn value(text: &[u8]) -> Vec<u8> {
    let plain = decoded(text);
    let mut name = Vec::new();
    for (i, byte) in plain.iter().enumerate() {
        match byte {
            0 | b'"' | b'\'' | b'(' | b')' | b'/' | b';' | b'@' | b'[' | b'\\' | b']' | b'`' | b'{'
            | b'}' | b'<' | b'>' => return FAILSAFE.into(),
            b'-' if i > 0 && plain[i - 1] == b'-' => return FAILSAFE.into(),
            byte if byte.is_ascii_alphanumeric() || *byte == b'_' => name.push(byte.to_ascii_lowercase()),
            _ => {}
        }
    }
    let runs = |word: &[u8]| text::find(&name, word).is_some();
    if runs(b"expression") || runs(b"mozbinding") { FAILSAFE.into() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_could_run_are_refused() {
        for good in ["green", "10px", "#fff", "-moz-x", "1.5em solid"] {
            assert_eq!(value(good.as_bytes()), good.as_bytes());
        }
        for bad in ["expression(x)", "url(x)", "a;b", "a--b", "\\65 xpression", "-moz-binding", "</style"] {
            assert_eq!(value(bad.as_bytes()), b"ZgotmplZ", "{bad}");
        }
    }

    #[test]
    fn strings_are_escaped_and_decoded() {
        assert_eq!(escaped(b"a'b(c\\ "), b"a\\27 b\\28 c\\\\ ");
        assert_eq!(escaped(b"'z"), b"\\27z");
        assert_eq!(decoded(b"\\41 b\\zc\\"), b"Abzc");
        assert_eq!(decoded(b"\\110000x"), "\u{11000}0x".as_bytes());
        assert!(ends_with_keyword(b"a URL", b"url"));
        assert!(!ends_with_keyword(b"curl", b"url"));
    }
}
