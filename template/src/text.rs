//! Bytes as Go's strings: characters, quotes, escapes.
//!
//! A Go string may hold any bytes; what is no UTF-8 reads as the replacement
//! character, one byte wide. Templates slice strings by bytes, so that is needed
//! here too.

use std::fmt::Write;

pub(crate) use model::labels::decode_char as decode;
use model::labels::go_quote;
pub(crate) use model::matcher::{is_digit, is_letter, is_print};

/// The characters with their positions.
pub(crate) fn chars(bytes: &[u8]) -> impl Iterator<Item = (usize, char, usize)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (c, width) = decode(&bytes[at..])?;
        at += width;
        Some((at - width, c, width))
    })
}

/// How many characters the bytes are.
pub(crate) fn char_count(bytes: &[u8]) -> usize {
    chars(bytes).count()
}

/// The bytes of the first `count` characters.
pub(crate) fn first_chars(bytes: &[u8], count: usize) -> &[u8] {
    chars(bytes).nth(count).map_or(bytes, |(at, ..)| &bytes[..at])
}

/// Where `needle` starts first.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|b| *b == first)?;
        if bytes[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// Bytes as text: each byte that is no UTF-8 reads as the replacement character.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => chars(bytes).map(|(_, c, _)| c).collect(),
    }
}

/// Adds a character.
pub(crate) fn push_char(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

pub(crate) fn is_letter_or_digit(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => true,
        c if c.is_ascii() => false,
        c => is_letter(c) || is_digit(c),
    }
}

/// Bytes in double quotes, escaped as Go's `strconv.Quote` does.
pub(crate) fn quote(bytes: &[u8]) -> String {
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

/// As [`quote`], with everything beyond ASCII escaped.
pub(crate) fn quote_to_ascii(bytes: &[u8]) -> String {
    let mut out = String::new();
    for c in quote(bytes).chars() {
        match u32::from(c) {
            0..0x80 => out.push(c),
            code @ 0x80..0x10000 => {
                let _ = write!(out, "\\u{code:04x}");
            }
            code => {
                let _ = write!(out, "\\U{code:08x}");
            }
        }
    }
    out
}

/// A character in single quotes, escaped.
pub(crate) fn quote_char(c: char) -> String {
    match c {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c => {
            let quoted = go_quote(c.encode_utf8(&mut [0; 4])).into_owned();
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

/// A character's code point, with the character where it can be printed.
pub(crate) fn unicode_name(c: char) -> String {
    let mut name = format!("U+{:04X}", u32::from(c));
    if is_print(c) {
        let _ = write!(name, " '{c}'");
    }
    name
}

/// A text that is not a well-formed literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid syntax")]
pub(crate) struct QuoteError;

/// The bytes that a quoted literal stands for, as Go's `strconv.Unquote`.
pub(crate) fn unquote(literal: &[u8]) -> Result<Vec<u8>, QuoteError> {
    let [quote, inner @ .., end] = literal else { return Err(QuoteError) };
    if quote != end {
        return Err(QuoteError);
    }
    if *quote == b'`' {
        return Ok(inner.iter().copied().filter(|b| *b != b'\r').collect());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        let (part, tail) = unquote_char(rest, *quote)?;
        match part {
            Part::Byte(byte) => bytes.push(byte),
            Part::Char(c) => push_char(&mut bytes, c),
        }
        rest = tail;
    }
    Ok(bytes)
}

/// What one character or escape of a literal stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Byte(u8),
    Char(char),
}

impl Part {
    pub(crate) fn code(self) -> u32 {
        match self {
            Part::Byte(byte) => u32::from(byte),
            Part::Char(c) => u32::from(c),
        }
    }
}

/// The first character or escape of a literal's inside, and what follows.
pub(crate) fn unquote_char(text: &[u8], quote: u8) -> Result<(Part, &[u8]), QuoteError> {
    let (c, width) = decode(text).ok_or(QuoteError)?;
    if c == char::from(quote) || c == '\n' {
        return Err(QuoteError);
    }
    if c != '\\' {
        return Ok((Part::Char(c), &text[width..]));
    }
    let [_, escape, rest @ ..] = text else { return Err(QuoteError) };
    let number = |digits: usize, base: u32, rest: &'_ [u8]| -> Result<u32, QuoteError> {
        let digits = rest.get(..digits).ok_or(QuoteError)?;
        digits.iter().try_fold(0u32, |code, digit| {
            let digit = char::from(*digit).to_digit(base).ok_or(QuoteError)?;
            code.checked_mul(base).and_then(|code| code.checked_add(digit)).ok_or(QuoteError)
        })
    };
    let plain = |byte: u8| Ok((Part::Byte(byte), rest));
    match *escape {
        b'a' => plain(0x07),
        b'b' => plain(0x08),
        b'f' => plain(0x0c),
        b'n' => plain(b'\n'),
        b'r' => plain(b'\r'),
        b't' => plain(b'\t'),
        b'v' => plain(0x0b),
        b'x' => {
            let code = number(2, 16, rest)?;
            Ok((Part::Byte(u8::try_from(code).map_err(|_| QuoteError)?), &rest[2..]))
        }
        letter @ (b'u' | b'U') => {
            let digits = if letter == b'u' { 4 } else { 8 };
            let c = char::from_u32(number(digits, 16, rest)?).ok_or(QuoteError)?;
            Ok((Part::Char(c), &rest[digits..]))
        }
        b'0'..=b'7' => {
            let code = number(3, 8, &text[1..])?;
            Ok((Part::Byte(u8::try_from(code).map_err(|_| QuoteError)?), &text[4..]))
        }
        b'\\' => plain(b'\\'),
        same @ (b'\'' | b'"') if same == quote => plain(same),
        _ => Err(QuoteError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read_as_in_go() {
        assert_eq!(unquote(br#""a\tb\x41\101\u00e9\"""#).unwrap(), "a\tbAA\u{e9}\"".as_bytes());
        assert_eq!(unquote(b"`a\\n\rb`").unwrap(), b"a\\nb");
        assert_eq!(unquote(br#""\xff""#).unwrap(), b"\xff");
        for bad in [&br#""\'""#[..], br#""\q""#, br#""\400""#, br#""\ud800""#, br#""\x1""#, b"\"a\nb\""] {
            assert_eq!(unquote(bad), Err(QuoteError), "{}", lossy(bad));
        }
    }

    #[test]
    fn bytes_are_quoted_as_in_go() {
        assert_eq!(quote(b"a\xff\n\"\xc3\xa9"), "\"a\\xff\\n\\\"\u{e9}\"");
        assert_eq!(quote_to_ascii("\u{e9}\u{1f600}".as_bytes()), "\"\\u00e9\\U0001f600\"");
        assert_eq!(quote_char('\''), r"'\''");
        assert_eq!(unicode_name('c'), "U+0063 'c'");
        assert_eq!(unicode_name('\n'), "U+000A");
    }

    #[test]
    fn characters_are_counted_where_bytes_are_broken() {
        assert_eq!(char_count(b"a\xff\xe2\x82b"), 5);
        assert_eq!(first_chars("h\u{e9}llo".as_bytes(), 2), "h\u{e9}".as_bytes());
        assert_eq!(find(b"a{b{{c", b"{{"), Some(3));
        assert_eq!(find(b"a{b", b"{{"), None);
    }
}
