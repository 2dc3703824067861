//! Numbers and text with flags, width and precision.
//! Source: Go `fmt/format.go`.

use super::float;
use crate::text;

/// What stands between `%` and the verb.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
    pub(super) minus: bool,
    pub(super) plus: bool,
    pub(super) sharp: bool,
    pub(super) space: bool,
    pub(super) zero: bool,
    /// `%+v` and `%#v` mean something else than plus and sharp.
    pub(super) plus_v: bool,
    pub(super) sharp_v: bool,
}

/// Text under construction, and the flags of the verb at hand.
#[derive(Debug, Default)]
pub(super) struct Padder {
    pub(super) out: Vec<u8>,
    pub(super) flags: Flags,
}

/// Whether an integer's bits are to be read with a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Signed,
    Unsigned,
}

impl Padder {
    pub(super) fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn fill(&mut self, count: usize) {
        let byte = if self.flags.zero && !self.flags.minus { b'0' } else { b' ' };
        self.out.extend(std::iter::repeat_n(byte, count));
    }

    pub(super) fn pad(&mut self, text: &[u8]) {
        let Some(width) = self.flags.width.filter(|width| *width > 0) else {
            self.out.extend_from_slice(text);
            return;
        };
        let missing = width.saturating_sub(text::char_count(text));
        if self.flags.minus {
            self.out.extend_from_slice(text);
            self.fill(missing);
        } else {
            self.fill(missing);
            self.out.extend_from_slice(text);
        }
    }

    fn without_zero(&mut self, write: impl FnOnce(&mut Self)) {
        let zero = std::mem::replace(&mut self.flags.zero, false);
        write(self);
        self.flags.zero = zero;
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.pad(if value { b"true" } else { b"false" });
    }

    /// Text, cut to the precision.
    pub(super) fn text(&mut self, text: &[u8]) {
        let cut = self.cut(text);
        self.pad(cut);
    }

    fn cut<'s>(&self, text: &'s [u8]) -> &'s [u8] {
        self.flags.precision.map_or(text, |count| text::first_chars(text, count))
    }

    /// Text as hexadecimal digits.
    pub(super) fn hex_text(&mut self, text: &[u8], upper: bool) {
        let shown = &text[..self.flags.precision.map_or(text.len(), |precision| precision.min(text.len()))];
        let prefix = if upper { "0X" } else { "0x" };
        let (space, sharp) = (self.flags.space, self.flags.sharp);
        let mut digits = String::new();
        for (i, byte) in shown.iter().enumerate() {
            if space && i > 0 {
                digits.push(' ');
            }
            if sharp && (i == 0 || space) {
                digits.push_str(prefix);
            }
            digits.push_str(&if upper { format!("{byte:02X}") } else { format!("{byte:02x}") });
        }
        let missing = self.flags.width.unwrap_or(0).saturating_sub(digits.len());
        if shown.is_empty() {
            return self.fill(missing);
        }
        if !self.flags.minus {
            self.fill(missing);
        }
        self.push(&digits);
        if self.flags.minus {
            self.fill(missing);
        }
    }

    /// Text in quotes.
    pub(super) fn quoted(&mut self, text: &[u8]) {
        let text = self.cut(text);
        if self.flags.sharp && can_backquote(text) {
            let quoted = [b"`", text, b"`"].concat();
            return self.pad(&quoted);
        }
        let quoted = if self.flags.plus { text::quote_to_ascii(text) } else { text::quote(text) };
        self.pad(quoted.as_bytes());
    }

    /// An integer as a character.
    pub(super) fn character(&mut self, code: u64) {
        let c = character(code);
        self.pad(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// An integer as a character in quotes.
    pub(super) fn quoted_character(&mut self, code: u64) {
        let c = character(code);
        let quoted = text::quote_char(c);
        let quoted = if self.flags.plus && !c.is_ascii() {
            let escaped = text::quote_to_ascii(c.encode_utf8(&mut [0; 4]).as_bytes());
            format!("'{}'", escaped.trim_matches('"'))
        } else {
            quoted
        };
        self.pad(quoted.as_bytes());
    }

    /// An integer as a code point, `U+0063 'c'`.
    pub(super) fn code_point(&mut self, code: u64) {
        let digits = self.flags.precision.unwrap_or(4).max(4);
        let mut shown = format!("U+{}", zero_filled(format!("{code:X}"), digits));
        let c = u32::try_from(code).ok().and_then(char::from_u32);
        if let Some(c) = c.filter(|c| self.flags.sharp && text::is_print(*c)) {
            shown.push_str(&format!(" '{c}'"));
        }
        self.without_zero(|padder| padder.pad(shown.as_bytes()));
    }

    pub(super) fn integer(&mut self, bits: u64, base: u32, sign: Sign, verb: char) {
        let negative = sign == Sign::Signed && (bits as i64) < 0;
        let magnitude = if negative { (bits as i64).unsigned_abs() } else { bits };
        let flags = self.flags;
        let mut digits_min = 0;
        if let Some(precision) = flags.precision {
            if precision == 0 && magnitude == 0 {
                return self.without_zero(|padder| padder.fill(flags.width.unwrap_or(0)));
            }
            digits_min = precision;
        } else if let Some(width) = flags.width.filter(|_| flags.zero && !flags.minus) {
            let has_sign = negative || flags.plus || flags.space;
            digits_min = width.saturating_sub(usize::from(has_sign));
        }
        let digits = match (base, verb) {
            (2, _) => format!("{magnitude:b}"),
            (8, _) => format!("{magnitude:o}"),
            (16, 'X') => format!("{magnitude:X}"),
            (16, _) => format!("{magnitude:x}"),
            _ => magnitude.to_string(),
        };
        let digits = zero_filled(digits, digits_min);
        let sharp_prefix = match base {
            2 => "0b",
            8 if !digits.starts_with('0') => "0",
            16 if verb == 'X' => "0X",
            16 => "0x",
            _ => "",
        };
        let prefix = if flags.sharp { sharp_prefix } else { "" };
        let octal = if verb == 'O' { "0o" } else { "" };
        let sign = match (negative, flags.plus, flags.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (.., true) => " ",
            _ => "",
        };
        let shown = format!("{sign}{octal}{prefix}{digits}");
        self.without_zero(|padder| padder.pad(shown.as_bytes()));
    }

    pub(super) fn float(&mut self, value: f64, verb: char, precision: Option<usize>) {
        let precision = self.flags.precision.or(precision);
        let mut shown = float::format(value, verb, precision);
        if !shown.starts_with(['-', '+']) {
            shown.insert(0, '+');
        }
        let flags = self.flags;
        if flags.space && shown.starts_with('+') && !flags.plus {
            shown.replace_range(..1, " ");
        }
        if shown[1..].starts_with(['I', 'N']) {
            if shown.ends_with("NaN") && !flags.space && !flags.plus {
                shown.remove(0);
            }
            return self.without_zero(|padder| padder.pad(shown.as_bytes()));
        }
        if flags.sharp && verb != 'b' {
            shown = with_point(&shown, verb, precision);
        }
        if flags.plus || !shown.starts_with('+') {
            let width = flags.width.unwrap_or(0);
            if flags.zero && !flags.minus && width > shown.len() {
                self.push(&shown[..1]);
                self.fill(width - shown.len());
                return self.push(&shown[1..]);
            }
            return self.pad(shown.as_bytes());
        }
        self.pad(&shown.as_bytes()[1..]);
    }
}

fn zero_filled(digits: String, count: usize) -> String {
    if digits.len() >= count { digits } else { "0".repeat(count - digits.len()) + &digits }
}

fn character(code: u64) -> char {
    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// What the sharp flag makes of a float with its sign: always a point, and zeros
/// up to the precision.
fn with_point(shown: &str, verb: char, precision: Option<usize>) -> String {
    let mut missing = match verb {
        'g' | 'G' | 'x' => precision.unwrap_or(6) as i64,
        _ => 0,
    };
    let is_hex = matches!(verb, 'x' | 'X');
    let tail_at = shown.find(|c| matches!(c, 'p' | 'P') || (!is_hex && matches!(c, 'e' | 'E')));
    let (body, tail) = shown.split_at(tail_at.unwrap_or(shown.len()));
    let mut seen_nonzero = false;
    for c in body[1..].chars().filter(|c| *c != '.') {
        seen_nonzero |= c != '0';
        missing -= i64::from(seen_nonzero);
    }
    let mut out = body.to_owned();
    if !body.contains('.') {
        if &body[1..] == "0" {
            missing -= 1;
        }
        out.push('.');
    }
    out.extend(std::iter::repeat_n('0', usize::try_from(missing).unwrap_or(0)));
    out.push_str(tail);
    out
}

/// Whether the text can stand between back quotes.
fn can_backquote(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| {
        text.chars().all(|c| c != '\u{feff}' && c != '`' && c != '\u{7f}' && (c >= ' ' || c == '\t'))
    })
}
