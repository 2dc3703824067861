//! Characters and strings as Go writes and reads them.

use std::fmt::Write;

pub(crate) use model::labels::decode_char as decode;
use model::labels::go_quote;

/// A character in single quotes, escaped; the end of the text shows as the
/// replacement character.
pub(crate) fn quote_char(c: Option<char>) -> String {
    let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
    match c {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c => {
            let quoted = go_quote(c.encode_utf8(&mut [0; 4])).into_owned();
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

/// A character's code point, with the character where it can be printed:
/// `U+0063 'c'`.
pub(crate) fn unicode_name(c: char) -> String {
    let mut name = format!("U+{:04X}", u32::from(c));
    let quoted = go_quote(c.encode_utf8(&mut [0; 4])).into_owned();
    let printable = c == '"' || c == '\\' || !quoted.starts_with("\"\\");
    if printable {
        let _ = write!(name, " '{c}'");
    }
    name
}

/// Bytes in double quotes, escaped as Go's `strconv.Quote` does: what is no
/// UTF-8 as `\xff`.
pub(crate) fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = "\"".to_owned();
    for chunk in bytes.utf8_chunks() {
        let quoted = go_quote(chunk.valid());
        out.push_str(&quoted[1..quoted.len() - 1]);
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

/// Bytes as text: each byte that is no UTF-8 reads as the replacement character.
pub(crate) fn lossy(mut bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    while let Some((c, width)) = decode(bytes) {
        out.push(c);
        bytes = &bytes[width..];
    }
    out
}

/// The bytes that a string token stands for. The lexer has checked its escapes;
/// `None` where that is not so.
pub(crate) fn unquote(token: &str) -> Option<Vec<u8>> {
    let inner = token.get(1..token.len().checked_sub(1)?)?;
    if token.starts_with('`') || !inner.contains('\\') {
        return Some(inner.as_bytes().to_vec());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let digits = |chars: &mut std::str::Chars<'_>, first: u32, count: usize, base: u32| -> Option<u32> {
            (0..count).try_fold(first, |code, _| Some(code * base + chars.next()?.to_digit(base)?))
        };
        match chars.next()? {
            'a' => bytes.push(0x07),
            'b' => bytes.push(0x08),
            'f' => bytes.push(0x0c),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(0x0b),
            'x' => bytes.push(u8::try_from(digits(&mut chars, 0, 2, 16)?).ok()?),
            c @ ('u' | 'U') => {
                let count = if c == 'u' { 4 } else { 8 };
                let code = char::from_u32(digits(&mut chars, 0, count, 16)?)?;
                bytes.extend_from_slice(code.encode_utf8(&mut [0; 4]).as_bytes());
            }
            c @ '0'..='7' => {
                let code = digits(&mut chars, c.to_digit(8)?, 2, 8)?;
                bytes.push(u8::try_from(code).ok()?);
            }
            c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_print_as_in_go() {
        assert_eq!(quote_char(Some('\'')), r"'\''");
        assert_eq!(quote_char(Some('"')), "'\"'");
        assert_eq!(quote_char(Some('\u{1}')), r"'\x01'");
        assert_eq!(quote_char(None), "'\u{fffd}'");
        assert_eq!(unicode_name('c'), "U+0063 'c'");
        assert_eq!(unicode_name('\n'), "U+000A");
    }

    #[test]
    fn escapes_are_resolved_to_bytes() {
        let text = |token| String::from_utf8(unquote(token).unwrap()).unwrap();
        assert_eq!(text(r#""a\tb\x41\101\u00e9\U0001F600\"""#), "a\tbAA\u{e9}\u{1f600}\"");
        assert_eq!(text(r#""\xc3\xa9""#), "\u{e9}");
        assert_eq!(text("`a\\nb`"), "a\\nb");
    }

    #[test]
    fn bytes_that_are_no_utf8_survive() {
        let bytes = unquote(r#""a\xff\xe2\x82b""#).unwrap();
        assert_eq!(bytes, b"a\xff\xe2\x82b");
        assert_eq!(quote_bytes(&bytes), r#""a\xff\xe2\x82b""#);
        assert_eq!(lossy(&bytes), "a\u{fffd}\u{fffd}\u{fffd}b");
    }
}
