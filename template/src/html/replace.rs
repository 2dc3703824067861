//! Characters of HTML text and attributes written as references.

use crate::text;

/// Whether ampersands are left, since the text is HTML already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ampersand {
    Escaped,
    Kept,
}

/// For text and quoted attributes.
pub(super) fn html(text: &[u8]) -> Vec<u8> {
    quoted(text, Ampersand::Escaped)
}

/// As [`html`], for what is HTML.
pub(super) fn html_again(text: &[u8]) -> Vec<u8> {
    quoted(text, Ampersand::Kept)
}

/// For attributes without quotes.
pub(super) fn no_space(text: &[u8]) -> Vec<u8> {
    unquoted(text, Ampersand::Escaped)
}

/// As [`no_space`], for what is HTML.
pub(super) fn no_space_again(text: &[u8]) -> Vec<u8> {
    unquoted(text, Ampersand::Kept)
}

/// The characters that are never left as they are.
fn reference(c: char, ampersand: Ampersand) -> Option<&'static str> {
    Some(match c {
        '"' => "&#34;",
        '&' if ampersand == Ampersand::Escaped => "&amp;",
        '\'' => "&#39;",
        '+' => "&#43;",
        '<' => "&lt;",
        '>' => "&gt;",
        _ => return None,
    })
}

fn quoted(text: &[u8], ampersand: Ampersand) -> Vec<u8> {
    replaced(text, |c| match c {
        '\0' => Some("\u{fffd}".to_owned()),
        c => reference(c, ampersand).map(str::to_owned),
    })
}

fn unquoted(text: &[u8], ampersand: Ampersand) -> Vec<u8> {
    replaced(text, |c| match c {
        '\0' => Some("&#xfffd;".to_owned()),
        '\t'..='\r' | ' ' | '=' | '`' => Some(format!("&#{};", u32::from(c))),
        // No characters, and what reads as none.
        '\u{fdd0}'..='\u{fdef}' | '\u{fff0}'..='\u{ffff}' => Some(format!("&#x{:x};", u32::from(c))),
        c => reference(c, ampersand).map(str::to_owned),
    })
}

/// The text with some characters replaced; bytes that are no UTF-8 stay where
/// their character is not replaced.
pub(super) fn replaced(text: &[u8], replacement: impl Fn(char) -> Option<String>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for (at, c, width) in text::chars(text) {
        match replacement(c) {
            Some(by) => out.extend_from_slice(by.as_bytes()),
            None => out.extend_from_slice(&text[at..at + width]),
        }
    }
    out
}
