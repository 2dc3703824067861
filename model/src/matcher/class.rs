//! Reads character classes and escapes of Go's syntax.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use super::error::{RegexError, RegexErrorKind};
use super::unicode;

/// How classes are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// Case variants are added.
    pub(super) fold: bool,
    /// `\p{letter}` and the like are known: Go has accepted them since 1.25, but
    /// upstream reads the patterns of matchers with an older parser.
    pub(super) loose_names: bool,
}

/// Reads `[…]` at the start of `text`; gives what follows.
pub(super) fn bracketed(text: &str, read: Reading) -> Result<(ClassUnicode, &str), RegexError> {
    let mut rest = &text[1..];
    let negated = rest.starts_with('^');
    if negated {
        rest = &rest[1..];
    }
    // Collected first and ordered once: adding one by one would be quadratic.
    let mut ranges: Vec<ClassUnicodeRange> = Vec::new();
    let mut unfolded: Vec<ClassUnicodeRange> = Vec::new();
    let mut first = true;
    while first || !rest.starts_with(']') {
        first = false;
        if let Some((class, tail)) = posix(rest, read)? {
            ranges.extend(class.ranges());
            rest = tail;
            continue;
        }
        if let Some((class, tail)) = named(rest, read)? {
            ranges.extend(class.ranges());
            rest = tail;
            continue;
        }
        let (low, high, tail) = range(rest, text)?;
        rest = tail;
        unfolded.extend(without_surrogates(low, high).map(|(low, high)| ClassUnicodeRange::new(low, high)));
    }
    let mut class = ClassUnicode::new(unfolded);
    if read.fold {
        unicode::fold(&mut class);
    }
    class.union(&ClassUnicode::new(ranges));
    if negated {
        class.negate();
    }
    Ok((class, &rest[1..]))
}

/// `a` or `a-z`; `whole` is the class from its bracket on.
fn range<'p>(text: &'p str, whole: &str) -> Result<(u32, u32, &'p str), RegexError> {
    let (low, rest) = class_char(text, whole)?;
    // In `[a-]` the dash is a plain character.
    let Some(tail) = rest.strip_prefix('-').filter(|tail| !tail.is_empty() && !tail.starts_with(']')) else {
        return Ok((low, low, rest));
    };
    let (high, rest) = class_char(tail, whole)?;
    if high < low {
        let read = &text[..text.len() - rest.len()];
        return Err(RegexError::new(RegexErrorKind::InvalidCharRange, read));
    }
    Ok((low, high, rest))
}

fn class_char<'p>(text: &'p str, whole: &str) -> Result<(u32, &'p str), RegexError> {
    let Some(c) = text.chars().next() else {
        return Err(RegexError::new(RegexErrorKind::MissingBracket, whole));
    };
    if c == '\\' { escaped_char(text) } else { Ok((u32::from(c), &text[c.len_utf8()..])) }
}

/// The part of a range that text can have.
fn without_surrogates(low: u32, high: u32) -> Option<(char, char)> {
    let low = if (0xd800..0xe000).contains(&low) { 0xe000 } else { low };
    let high = if (0xd800..0xe000).contains(&high) { 0xd7ff } else { high };
    if low > high { None } else { char::from_u32(low).zip(char::from_u32(high)) }
}

/// `[:alpha:]` or `[:^alpha:]` inside brackets.
fn posix(text: &str, read: Reading) -> Result<Option<(ClassUnicode, &str)>, RegexError> {
    let Some(end) = text.strip_prefix("[:").and_then(|tail| tail.find(":]")) else { return Ok(None) };
    let (whole, rest) = text.split_at(end + 4);
    let name = &whole[2..end + 2];
    let (negated, name) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
    let class =
        unicode::posix_class(name).ok_or_else(|| RegexError::new(RegexErrorKind::InvalidCharRange, whole))?;
    Ok(Some((finished(class, negated, read.fold), rest)))
}

/// `\d`, `\pN`, `\p{Greek}` and their negations; `None`: something else.
pub(super) fn named(text: &str, read: Reading) -> Result<Option<(ClassUnicode, &str)>, RegexError> {
    let Some(tail) = text.strip_prefix('\\') else { return Ok(None) };
    let Some(letter) = tail.bytes().next() else { return Ok(None) };
    if let Some(class) = unicode::perl_class(letter.to_ascii_lowercase()) {
        return Ok(Some((finished(class, letter.is_ascii_uppercase(), read.fold), &tail[1..])));
    }
    if !letter.eq_ignore_ascii_case(&b'p') {
        return Ok(None);
    }
    let mut negated = letter == b'P';
    let tail = &tail[1..];
    let name_len = match tail.chars().next() {
        Some('{') => tail.find('}').map_or(tail.len(), |end| end + 1),
        Some(c) => c.len_utf8(),
        None => 0,
    };
    let unknown = || RegexError::new(RegexErrorKind::InvalidCharRange, &text[..2 + name_len]);
    let (name, rest) = tail.split_at(name_len);
    let name = match name.strip_prefix('{') {
        Some(name) => name.strip_suffix('}').ok_or_else(unknown)?,
        None => name,
    };
    let name = match name.strip_prefix('^') {
        Some(name) => {
            negated = !negated;
            name
        }
        None => name,
    };
    let class = match read.loose_names {
        true => unicode::loosely_named_class(name),
        false => unicode::named_class(name),
    };
    let class = class.ok_or_else(unknown)?;
    Ok(Some((finished(class, negated, read.fold), rest)))
}

/// Case variants are added before a class is negated.
fn finished(mut class: ClassUnicode, negated: bool, fold: bool) -> ClassUnicode {
    if fold {
        unicode::fold(&mut class);
    }
    if negated {
        class.negate();
    }
    class
}

/// The one character that an escape stands for, maybe a surrogate.
pub(super) fn escaped_char(text: &str) -> Result<(u32, &str), RegexError> {
    let mut chars = text[1..].chars();
    let Some(c) = chars.next() else {
        return Err(RegexError::new(RegexErrorKind::TrailingBackslash, ""));
    };
    let octal = |chars: &std::str::Chars<'_>| chars.clone().next().and_then(|c| c.to_digit(8));
    let code = match c {
        '0'..='7' => {
            let mut code = c.to_digit(8);
            // A single digit other than zero would be a back reference.
            if c != '0' && octal(&chars).is_none() {
                code = None;
            }
            for _ in 0..2 {
                if let (Some(high), Some(low)) = (code, octal(&chars)) {
                    code = Some(high * 8 + low);
                    chars.next();
                }
            }
            code
        }
        'x' => hex_escape(&mut chars),
        'a' => Some(7),
        'f' => Some(0xc),
        'n' => Some(0xa),
        'r' => Some(0xd),
        't' => Some(9),
        'v' => Some(0xb),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
        _ => None,
    };
    let rest = chars.as_str();
    match code {
        Some(code) => Ok((code, rest)),
        None => Err(RegexError::new(RegexErrorKind::InvalidEscape, &text[..text.len() - rest.len()])),
    }
}

/// `41` or `{41}` behind `\x`; reads as far as Go does before it gives up.
fn hex_escape(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    let first = chars.next()?;
    if first != '{' {
        let second = chars.next();
        return Some(first.to_digit(16)? * 16 + second?.to_digit(16)?);
    }
    let mut code = None;
    loop {
        let c = chars.next()?;
        if c == '}' {
            return code;
        }
        let next = code.unwrap_or(0) * 16 + c.to_digit(16)?;
        if next > 0x10_ffff {
            return None;
        }
        code = Some(next);
    }
}
