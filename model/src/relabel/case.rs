//! Lower and upper case as Go's `strings.ToLower` and `strings.ToUpper` have it:
//! character by character, no character becoming several, no context.

/// The text in lower case.
pub fn to_lower(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().map(lower).collect()
}

/// The text in upper case.
pub fn to_upper(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_uppercase();
    }
    text.chars().map(upper).collect()
}

fn lower(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(only), None) => only,
        // The only one that becomes several: a dotted capital I.
        _ => 'i',
    }
}

fn upper(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        // Some letters got a capital after the version of Unicode that Go has.
        (Some(only), None) if crate::matcher::is_print(only) => only,
        _ => upper_greek(c),
    }
}

/// Greek letters with iota subscript have a capital of their own; whatever else
/// would become several characters stays.
fn upper_greek(c: char) -> char {
    let offset = match c {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => 0,
    };
    char::from_u32(u32::from(c) + offset).unwrap_or(c)
}
