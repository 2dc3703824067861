//! Printing YAML exactly as Go's yaml.v2 does: block style, lists not indented,
//! quotes only where needed, long texts folded after column 80.

use crate::decode::{Value, Walk, entries};
use crate::scalar::{Resolved, needs_quotes, resolve_scalar};
use crate::tree::{Node, NodeKind};

/// A value to be printed.
#[derive(Clone, Debug, PartialEq)]
pub enum Yaml {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any number, as Go's `%g`.
    Float(f64),
    /// Text.
    Str(String),
    /// A list, an item a line.
    Seq(Vec<Yaml>),
    /// A list in brackets.
    FlowSeq(Vec<Yaml>),
    /// A mapping in this order.
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    /// A mapping in the order in which yaml.v2 prints maps.
    pub fn sorted_map(entries: impl IntoIterator<Item = (String, Yaml)>) -> Yaml {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by(|a, b| natural_order(&a.0, &b.0));
        Yaml::Map(entries)
    }

    /// Any node as a value of its own kind; `None` where a fault was recorded.
    pub fn from_node(node: &Node, walk: &mut Walk) -> Option<Yaml> {
        match &node.kind {
            NodeKind::Scalar(scalar) => Some(match resolve_scalar(scalar) {
                Resolved::Null => Yaml::Null,
                Resolved::Bool(value) => Yaml::Bool(value),
                Resolved::Int(value) => Yaml::Int(value),
                Resolved::Float(value) => Yaml::Float(value),
                Resolved::Str => Yaml::Str(String::decode(node, walk)?),
            }),
            NodeKind::Seq(items) => {
                items.iter().map(|item| Yaml::from_node(item, walk)).collect::<Option<_>>().map(Yaml::Seq)
            }
            NodeKind::Map(_) => {
                let mut out = Vec::new();
                for (key, value, _) in entries(node, "a map", walk)? {
                    out.push((String::decode(&key, walk)?, Yaml::from_node(&value, walk)?));
                }
                Some(Yaml::sorted_map(out))
            }
        }
    }

    /// The same list in brackets.
    pub fn in_flow(self) -> Yaml {
        match self {
            Yaml::Seq(items) => Yaml::FlowSeq(items),
            other => other,
        }
    }

    /// The document's text.
    pub fn to_text(&self) -> String {
        let mut emitter = Emitter::default();
        emitter.node(self, -1, Place::Root);
        emitter.out.push('\n');
        emitter.out
    }
}

/// yaml.v2's order of keys: digits by value, letters after everything else.
fn natural_order(a: &str, b: &str) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(i) = a.iter().zip(&b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    match (a[i].is_alphabetic(), b[i].is_alphabetic()) {
        (true, true) => return a[i].cmp(&b[i]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A zero that continues a number weighs as a digit of it.
    let continues = (a[i] == '0' || b[i] == '0')
        && a[..i].iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
    let start = u64::from(continues);
    let number = |text: &[char]| {
        let digits: Vec<u64> = text[i..].iter().map_while(|c| c.to_digit(10).map(u64::from)).collect();
        let value = digits.iter().fold(start, |n, d| n.wrapping_mul(10).wrapping_add(*d));
        (value, digits.len())
    };
    number(&a).cmp(&number(&b)).then_with(|| a[i].cmp(&b[i]))
}

const WIDTH: usize = 80;
/// A longer key needs the `? key` form.
const SIMPLE_KEY_MAX: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    MapValue,
    SeqItem,
}

#[derive(Default)]
struct Emitter {
    out: String,
    /// Characters since the last line break.
    column: usize,
}

impl Emitter {
    fn write(&mut self, text: &str) {
        for c in text.chars() {
            self.column = if c == '\n' { 0 } else { self.column + 1 };
        }
        self.out.push_str(text);
    }

    fn line(&mut self, indent: i32) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.write("\n");
        }
        for _ in 0..indent.max(0) {
            self.write(" ");
        }
    }

    /// `indent`: of the collection that the node stands in.
    fn node(&mut self, node: &Yaml, indent: i32, place: Place) {
        match node {
            Yaml::Seq(items) if !items.is_empty() => self.seq(items, indent, place),
            Yaml::Map(entries) if !entries.is_empty() => self.map(entries, indent, place),
            Yaml::Seq(_) | Yaml::FlowSeq(_) | Yaml::Map(_) => {
                self.space(place);
                self.flow(node, indent + 2);
            }
            Yaml::Str(text) => {
                self.space(place);
                self.text(text, (indent + 2).max(2), false, false);
            }
            scalar => {
                self.space(place);
                let text = scalar_text(scalar);
                self.write(&text);
            }
        }
    }

    fn space(&mut self, place: Place) {
        if place == Place::MapValue {
            self.write(" ");
        }
    }

    fn seq(&mut self, items: &[Yaml], indent: i32, place: Place) {
        // A list directly in a mapping is not indented.
        let own = match place {
            Place::Root => 0,
            Place::MapValue => indent,
            Place::SeqItem => indent + 2,
        };
        for (i, item) in items.iter().enumerate() {
            if i > 0 || place != Place::SeqItem {
                self.line(own);
            }
            self.write("- ");
            self.node(item, own, Place::SeqItem);
        }
    }

    fn map(&mut self, entries: &[(String, Yaml)], indent: i32, place: Place) {
        let own = if place == Place::Root { 0 } else { indent + 2 };
        for (i, (key, value)) in entries.iter().enumerate() {
            if i > 0 || place == Place::MapValue {
                self.line(own);
            }
            let simple = key.len() <= SIMPLE_KEY_MAX && !key.contains('\n');
            if simple {
                self.text(key, own + 2, true, false);
            } else {
                self.write("? ");
                self.text(key, own + 2, false, false);
                self.line(own);
            }
            self.write(":");
            self.node(value, own, Place::MapValue);
        }
    }

    fn flow(&mut self, node: &Yaml, indent: i32) {
        match node {
            Yaml::Map(entries) => {
                self.write("{");
                for (i, (key, value)) in entries.iter().enumerate() {
                    self.flow_gap(i, indent);
                    self.text(key, indent, true, true);
                    self.write(": ");
                    self.flow(value, indent);
                }
                self.write("}");
            }
            Yaml::Seq(items) | Yaml::FlowSeq(items) => {
                self.write("[");
                for (i, item) in items.iter().enumerate() {
                    self.flow_gap(i, indent);
                    self.flow(item, indent + 2);
                }
                self.write("]");
            }
            Yaml::Str(text) => self.text(text, indent, false, true),
            scalar => {
                let text = scalar_text(scalar);
                self.write(&text);
            }
        }
    }

    fn flow_gap(&mut self, i: usize, indent: i32) {
        if i > 0 {
            self.write(",");
        }
        if self.column > WIDTH {
            self.line(indent);
        } else if i > 0 {
            self.write(" ");
        }
    }

    /// `indent`: of continuation lines.
    fn text(&mut self, text: &str, indent: i32, is_key: bool, in_flow: bool) {
        let facts = TextFacts::of(text);
        let quoted = needs_quotes(text);
        if text.contains('\n') && facts.block_allowed && !is_key && !in_flow {
            self.literal(text, indent);
        } else if text.contains('\n') || quoted {
            self.double_quoted(text, indent, is_key);
        } else if (in_flow && facts.flow_plain) || (!in_flow && facts.block_plain) {
            self.folded(text, indent, is_key, false);
        } else if facts.single_quoted {
            self.write("'");
            self.folded(text, indent, is_key, true);
            self.write("'");
        } else {
            self.double_quoted(text, indent, is_key);
        }
    }

    /// Writes one-line text, breaking at single spaces beyond the width.
    fn folded(&mut self, text: &str, indent: i32, is_key: bool, quoted: bool) {
        let chars: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (i, c) in chars.iter().enumerate() {
            if *c == ' ' {
                let inner = !quoted || (i > 0 && i + 1 < chars.len());
                let next_is_space = chars.get(i + 1) == Some(&' ');
                if !is_key && !after_space && self.column > WIDTH && inner && !next_is_space {
                    self.line(indent);
                } else {
                    self.write(" ");
                }
                after_space = true;
                continue;
            }
            if quoted && *c == '\'' {
                self.write("''");
            } else {
                self.write(c.encode_utf8(&mut [0; 4]));
            }
            after_space = false;
        }
    }

    fn double_quoted(&mut self, text: &str, indent: i32, is_key: bool) {
        let chars: Vec<char> = text.chars().collect();
        // yaml.v2 looks for a byte order mark at the text's start only, at every
        // character.
        let marked = chars.first() == Some(&'\u{feff}');
        self.write("\"");
        let mut after_space = false;
        for (i, &c) in chars.iter().enumerate() {
            if marked || !is_printable(c) || is_break(c) || c == '"' || c == '\\' {
                let escaped = escape(c);
                self.write(&escaped);
                after_space = false;
            } else if c == ' ' {
                let inner = i > 0 && i + 1 < chars.len();
                if !is_key && !after_space && self.column > WIDTH && inner {
                    self.line(indent);
                    if chars[i + 1] == ' ' {
                        self.write("\\");
                    }
                } else {
                    self.write(" ");
                }
                after_space = true;
            } else {
                self.write(c.encode_utf8(&mut [0; 4]));
                after_space = false;
            }
        }
        self.write("\"");
    }

    fn literal(&mut self, text: &str, indent: i32) {
        self.write("|");
        if text.starts_with([' ', '\n']) {
            self.write("2");
        }
        let trimmed = text.trim_end_matches('\n');
        match text.len() - trimmed.len() {
            0 => self.write("-"),
            1 if !trimmed.is_empty() => {}
            _ => self.write("+"),
        }
        // The last break belongs to the next line to be written.
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            self.write("\n");
            if !line.is_empty() {
                self.write(&" ".repeat(usize::try_from(indent).unwrap_or(0)));
                self.write(line);
            }
        }
    }
}

fn scalar_text(scalar: &Yaml) -> String {
    match scalar {
        Yaml::Bool(value) => value.to_string(),
        Yaml::Int(value) => value.to_string(),
        Yaml::Float(value) => float_text(*value),
        _ => "null".to_owned(),
    }
}

/// A float as Go's `strconv.FormatFloat(f, 'g', -1, 64)`, with YAML's names for
/// what is no number.
pub fn float_text(value: f64) -> String {
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Which styles can hold a text; the rules of libyaml's emitter.
struct TextFacts {
    flow_plain: bool,
    block_plain: bool,
    single_quoted: bool,
    block_allowed: bool,
}

impl TextFacts {
    fn of(text: &str) -> TextFacts {
        let chars: Vec<char> = text.chars().collect();
        let (Some(&first), Some(&last)) = (chars.first(), chars.last()) else {
            return TextFacts {
                flow_plain: false,
                block_plain: true,
                single_quoted: true,
                block_allowed: false,
            };
        };
        let (mut flow_mark, mut block_mark) = (false, false);
        if text.starts_with("---") || text.starts_with("...") {
            (flow_mark, block_mark) = (true, true);
        }
        let (mut breaks, mut special, mut break_space, mut space_break) = (false, false, false, false);
        let (mut after_space, mut after_break, mut after_blank) = (false, false, true);
        for (i, &c) in chars.iter().enumerate() {
            let before_blank = chars.get(i + 1).is_none_or(|n| is_blank_or_break(*n));
            let (flow, block) = indicators(c, i == 0, after_blank, before_blank);
            flow_mark |= flow;
            block_mark |= block;
            special |= !is_printable(c);
            breaks |= is_break(c);
            break_space |= c == ' ' && after_break;
            space_break |= is_break(c) && after_space;
            after_space = c == ' ';
            after_break = is_break(c);
            after_blank = is_blank_or_break(c);
        }
        let edge = |c: char| c == ' ' || is_break(c);
        let plain = !edge(first) && !edge(last) && !break_space && !space_break && !special && !breaks;
        TextFacts {
            flow_plain: plain && !flow_mark,
            block_plain: plain && !block_mark,
            single_quoted: !break_space && !space_break && !special,
            block_allowed: last != ' ' && !space_break && !special,
        }
    }
}

/// Whether a character forbids plain text in flow and in block style.
fn indicators(c: char, is_first: bool, after_blank: bool, before_blank: bool) -> (bool, bool) {
    if is_first {
        return match c {
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
            | '`' => (true, true),
            '?' | ':' => (true, before_blank),
            '-' => (before_blank, before_blank),
            _ => (false, false),
        };
    }
    match c {
        ',' | '?' | '[' | ']' | '{' | '}' => (true, false),
        ':' => (true, before_blank),
        '#' => (after_blank, after_blank),
        _ => (false, false),
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank_or_break(c: char) -> bool {
    c == ' ' || c == '\t' || is_break(c) || c == '\0'
}

/// yaml.v2 counts neither tabs nor anything beyond the basic plane as printable.
fn is_printable(c: char) -> bool {
    matches!(c as u32, 0x0a | 0x20..=0x7e | 0xa0..=0xd7ff | 0xe000..=0xfefe | 0xff00..=0xfffd)
}

fn escape(c: char) -> String {
    let short = match c {
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{85}' => "\\N",
        '\u{a0}' => "\\_",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        c if (c as u32) <= 0xff => return format!("\\x{:02X}", c as u32),
        c if (c as u32) <= 0xffff => return format!("\\u{:04X}", c as u32),
        c => return format!("\\U{:08X}", c as u32),
    };
    short.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, Yaml)]) -> Yaml {
        Yaml::Map(entries.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
    }

    fn text(text: &str) -> Yaml {
        Yaml::Str(text.to_owned())
    }

    #[test]
    fn lists_in_mappings_are_not_indented() {
        let yaml = map(&[
            ("a", Yaml::Seq(vec![map(&[("b", text("c")), ("d", Yaml::Seq(vec![text("e")]))])])),
            ("f", Yaml::Map(vec![])),
            ("g", map(&[("h", Yaml::Bool(true))])),
        ]);
        assert_eq!(yaml.to_text(), "a:\n- b: c\n  d:\n  - e\nf: {}\ng:\n  h: true\n");
    }

    #[test]
    fn texts_are_quoted_only_where_needed() {
        for (raw, printed) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("true", "\"true\""),
            ("0123", "\"0123\""),
            ("a: b", "'a: b'"),
            ("it's: x", "'it''s: x'"),
            ("${1}", "${1}"),
            ("*", "'*'"),
            (".*", ".*"),
            ("<secret>", "<secret>"),
            ("tab\there", "\"tab\\there\""),
            ("測試", "測試"),
            ("😀", "\"\\U0001F600\""),
            (" x", "' x'"),
        ] {
            assert_eq!(map(&[("k", text(raw))]).to_text(), format!("k: {printed}\n"), "{raw:?}");
        }
    }

    #[test]
    fn texts_of_several_lines_are_literal() {
        assert_eq!(map(&[("k", text("a\nb\n"))]).to_text(), "k: |\n  a\n  b\n");
        assert_eq!(map(&[("k", text("a\n\nb"))]).to_text(), "k: |-\n  a\n\n  b\n");
    }

    #[test]
    fn long_texts_fold_after_column_80() {
        let long = "word ".repeat(20).trim_end().to_owned();
        let printed = map(&[("k", text(&long))]).to_text();
        assert_eq!(
            printed,
            format!("k: {}\n  {}\n", "word ".repeat(16).trim_end(), "word ".repeat(4).trim_end())
        );
    }

    #[test]
    fn keys_sort_numbers_by_value() {
        let sorted = Yaml::sorted_map(["b10", "b9", "a", "_", "B"].map(|k| (k.to_owned(), Yaml::Null)));
        let Yaml::Map(entries) = sorted else { panic!() };
        let keys: Vec<_> = entries.iter().map(|(k, _)| k.as_str()).collect();
        assert_eq!(keys, ["_", "B", "a", "b9", "b10"]);
    }

    #[test]
    fn floats_print_as_go_does() {
        for (value, printed) in
            [(0.5, "0.5"), (28.0, "28"), (1e21, "1e+21"), (1e-7, "1e-07"), (1e20, "100000000000000000000")]
        {
            assert_eq!(float_text(value), printed);
        }
    }
}
