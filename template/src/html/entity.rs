//! Character references in attributes, resolved to learn what a script or a URL
//! in them reads as. Only those that stand for ASCII can change that (and the
//! space that does not break): the other names are left as they are.

use crate::text;

const NAMED: &[(&str, char)] = &[
    ("Tab", '\t'),
    ("NewLine", '\n'),
    ("excl", '!'),
    ("quot", '"'),
    ("QUOT", '"'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("amp", '&'),
    ("AMP", '&'),
    ("apos", '\''),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("midast", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("period", '.'),
    ("sol", '/'),
    ("colon", ':'),
    ("semi", ';'),
    ("lt", '<'),
    ("LT", '<'),
    ("equals", '='),
    ("gt", '>'),
    ("GT", '>'),
    ("quest", '?'),
    ("commat", '@'),
    ("lbrack", '['),
    ("lsqb", '['),
    ("bsol", '\\'),
    ("rbrack", ']'),
    ("rsqb", ']'),
    ("Hat", '^'),
    ("lowbar", '_'),
    ("UnderBar", '_'),
    ("grave", '`'),
    ("DiacriticalGrave", '`'),
    ("lbrace", '{'),
    ("lcub", '{'),
    ("verbar", '|'),
    ("vert", '|'),
    ("VerticalLine", '|'),
    ("rbrace", '}'),
    ("rcub", '}'),
    ("nbsp", '\u{a0}'),
    ("NonBreakingSpace", '\u{a0}'),
];

/// Names that need no semicolon.
const BARE: &[&str] = &["quot", "QUOT", "amp", "AMP", "lt", "LT", "gt", "GT", "nbsp"];

/// The text with its references resolved.
pub(super) fn resolved(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|b| *b == b'&') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        match reference(rest) {
            Some((c, len)) => {
                text::push_char(&mut out, c);
                rest = &rest[len..];
            }
            None => {
                out.push(b'&');
                rest = &rest[1..];
            }
        }
    }
    out.extend_from_slice(rest);
    out
}

/// The character of the reference at the start, and the reference's length.
fn reference(text: &[u8]) -> Option<(char, usize)> {
    if text.get(1) == Some(&b'#') {
        return numeric(text);
    }
    let len = text[1..].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
    let name = std::str::from_utf8(&text[1..1 + len]).ok()?;
    let of = |name: &str| NAMED.iter().find(|(have, _)| *have == name).map(|(_, c)| *c);
    if text.get(1 + len) == Some(&b';')
        && let Some(c) = of(name)
    {
        return Some((c, len + 2));
    }
    let bare = BARE.iter().find(|bare| name.starts_with(**bare))?;
    Some((of(bare)?, 1 + bare.len()))
}

fn numeric(text: &[u8]) -> Option<(char, usize)> {
    let (base, start) = if matches!(text.get(2), Some(b'x' | b'X')) { (16, 3) } else { (10, 2) };
    let digits = text.get(start..)?.iter().take_while(|b| char::from(**b).is_digit(base)).count();
    if digits == 0 {
        return None;
    }
    let code = text[start..start + digits].iter().fold(0u32, |code, digit| {
        let digit = char::from(*digit).to_digit(base).unwrap_or(0);
        code.saturating_mul(base).saturating_add(digit)
    });
    let end = start + digits;
    let end = end + usize::from(text.get(end) == Some(&b';'));
    let c = char::from_u32(code).filter(|c| *c != '\0').unwrap_or(char::REPLACEMENT_CHARACTER);
    Some((c, end))
}

#[cfg(test)]
mod tests {
    use super::resolved;

    #[test]
    fn references_are_resolved() {
        for (text, plain) in [
            ("&quot;a&#39;&#x2F;b", "\"a'/b"),
            ("&ampx &lt&gt; &nope; & &#;", "&x <> &nope; & &#;"),
            ("&colon;&sol;&#0;", ":/\u{fffd}"),
        ] {
            assert_eq!(resolved(text.as_bytes()), plain.as_bytes(), "{text}");
        }
    }
}
