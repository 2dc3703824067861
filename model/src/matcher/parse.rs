//! Reads Go's regular-expression syntax (`regexp/syntax` with its Perl flags).
//!
//! The parser keeps its own stack of open groups, so nesting costs no call
//! stack; what is too deep, too often repeated or too large is refused with the
//! texts Go has for it. Inside a group:
//!
//! ```text
//! ( a b | c d* | e      ◀── reading here
//!   └─┬─┘ └─┬──┘ └┬┘
//!   alternatives  items
//! ```

use regex_syntax::hir::{ClassUnicode, Look};

use super::ast::Node;
use super::class::{self, Reading};
use super::error::{RegexError, RegexErrorKind};
use super::unicode;

/// The deepest tree that is accepted.
const HEIGHT_MAX: u32 = 1000;
/// The most copies that nested counted repetitions may ask for.
const REPEAT_MAX: u32 = 1000;
/// The most instructions that a pattern may come to, by Go's count.
const SIZE_MAX: u64 = (128 << 20) / 40;

/// The most ranges of characters that the classes of a pattern may have; under
/// `(?i)` each class counts as some more.
const RANGES_MAX: usize = 1 << 20;

/// The flags that `(?ims-U)` switches.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    /// `i`: letters match their case variants.
    pub(super) fold: bool,
    /// `m`: `^` and `$` match at line ends too.
    pub(super) multi_line: bool,
    /// `s`: the dot matches newlines.
    pub(super) dot_newline: bool,
    /// `U`: repetitions are lazy, and greedy with a `?`.
    pub(super) swap_greed: bool,
}

/// A pattern read.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    /// What it means.
    pub(super) node: Node,
    /// The names of the capturing groups, the whole match first.
    pub(super) groups: Vec<Option<Box<str>>>,
    /// How many instructions it comes to, by Go's count.
    pub(super) size: u64,
}

/// Which of upstream's two readers of patterns is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The one of matchers: as if inside `(?s:…)`.
    Matcher,
    /// The one of Go itself.
    Go,
}

/// Reads a pattern.
pub(super) fn parse(pattern: &str, dialect: Dialect) -> Result<Parsed, RegexError> {
    Parser {
        pattern,
        rest: pattern,
        dialect,
        flags: Flags { dot_newline: dialect == Dialect::Matcher, ..Flags::default() },
        groups: vec![None],
        ranges: 0,
        outer: Vec::new(),
        open: Level::default(),
    }
    .run()
}

/// A node with what the limits need to know of it.
#[derive(Debug)]
struct Item {
    node: Node,
    height: u32,
    /// The largest product of nested counts.
    copies: u32,
    size: u64,
}

impl Item {
    fn leaf(node: Node) -> Item {
        let size = match &node {
            Node::Literal(text) => text.len() as u64,
            _ => 1,
        };
        Item { node, height: 1, copies: 1, size }
    }

    /// Several items as one.
    fn join(items: Vec<Item>, make: impl FnOnce(Vec<Node>) -> Node) -> Item {
        let height = 1 + items.iter().map(|item| item.height).max().unwrap_or(0);
        let copies = items.iter().map(|item| item.copies).max().unwrap_or(1);
        let size = items.iter().map(|item| item.size).fold(0, u64::saturating_add).max(1);
        Item { node: make(items.into_iter().map(|item| item.node).collect()), height, copies, size }
    }
}

/// What an opening parenthesis starts.
#[derive(Debug, Default)]
enum GroupKind {
    /// The whole pattern.
    #[default]
    Whole,
    /// `(?:`
    Plain,
    /// `(`, with its number.
    Capture(u32),
}

/// An open group and what was read in it so far.
#[derive(Debug, Default)]
struct Level {
    kind: GroupKind,
    /// The flags that hold again behind the group.
    flags_behind: Flags,
    alternatives: Vec<Item>,
    items: Vec<Item>,
}

impl Level {
    /// Ends the alternative being read.
    fn end_alternative(&mut self) {
        let items = merge_literals(std::mem::take(&mut self.items));
        self.alternatives.push(match items.len() {
            0 => Item::leaf(Node::Empty),
            _ => single_or(items, Node::Concat),
        });
    }

    /// Ends the group.
    fn close(mut self) -> Item {
        self.end_alternative();
        let inner = single_or(self.alternatives, Node::Alternate);
        match self.kind {
            GroupKind::Whole | GroupKind::Plain => inner,
            GroupKind::Capture(index) => Item {
                height: inner.height + 1,
                copies: inner.copies,
                size: inner.size.saturating_add(2),
                node: Node::Group { index, node: Box::new(inner.node) },
            },
        }
    }
}

fn single_or(mut items: Vec<Item>, make: fn(Vec<Node>) -> Node) -> Item {
    match items.pop() {
        Some(only) if items.is_empty() => only,
        Some(last) => {
            items.push(last);
            Item::join(items, make)
        }
        None => Item::leaf(Node::Empty),
    }
}

/// Joins neighbouring characters to one text; only now is it known that no
/// repetition follows one of them.
fn merge_literals(items: Vec<Item>) -> Vec<Item> {
    let mut merged: Vec<Item> = Vec::with_capacity(items.len());
    for item in items {
        if let (Node::Literal(text), Some(Item { node: Node::Literal(before), size, .. })) =
            (&item.node, merged.last_mut())
        {
            before.push_str(text);
            *size += item.size;
            continue;
        }
        merged.push(item);
    }
    merged
}

struct Parser<'p> {
    pattern: &'p str,
    rest: &'p str,
    dialect: Dialect,
    flags: Flags,
    groups: Vec<Option<Box<str>>>,
    /// How many ranges the classes read so far have.
    ranges: usize,
    outer: Vec<Level>,
    open: Level,
}

impl<'p> Parser<'p> {
    fn run(mut self) -> Result<Parsed, RegexError> {
        // The text from the last repetition on, while nothing else was read.
        let mut last_repeat: Option<&'p str> = None;
        while let Some(c) = self.rest.chars().next() {
            let before = self.rest;
            let mut repeat = None;
            match c {
                '(' if before[1..].starts_with('?') => self.extended_group()?,
                '(' => {
                    self.rest = &before[1..];
                    self.open_capture(None);
                }
                '|' => {
                    self.rest = &before[1..];
                    self.open.end_alternative();
                }
                ')' => {
                    self.close_group()?;
                    self.rest = &before[1..];
                }
                '*' | '+' | '?' => {
                    self.rest = &before[1..];
                    let (min, max) = match c {
                        '*' => (0, None),
                        '+' => (1, None),
                        _ => (0, Some(1)),
                    };
                    self.repeat(min, max, false, before, last_repeat)?;
                    repeat = Some(before);
                }
                '{' => match counts(before) {
                    Some(Counts { min, max, rest }) => {
                        self.rest = rest;
                        let (min, max) = self.check_counts(min, max, before)?;
                        self.repeat(min, max, true, before, last_repeat)?;
                        repeat = Some(before);
                    }
                    None => self.take_literal(c),
                },
                '\\' => self.escape()?,
                '^' | '$' | '.' => {
                    self.rest = &before[1..];
                    let node = self.meta_char(c);
                    self.push(node);
                }
                '[' => {
                    let (class, rest) = class::bracketed(before, self.reading())?;
                    self.rest = rest;
                    self.push_class(class)?;
                }
                _ => self.take_literal(c),
            }
            last_repeat = repeat;
        }
        if !self.outer.is_empty() {
            return Err(self.error_whole(RegexErrorKind::MissingParen));
        }
        let item = std::mem::take(&mut self.open).close();
        self.check_limits(&item)?;
        Ok(Parsed { node: item.node, groups: self.groups, size: item.size })
    }

    fn reading(&self) -> Reading {
        Reading { fold: self.flags.fold, loose_names: self.dialect == Dialect::Go }
    }

    fn error_whole(&self, kind: RegexErrorKind) -> RegexError {
        RegexError::new(kind, self.pattern)
    }

    /// What was read since `before`.
    fn read_since(&self, before: &'p str) -> &'p str {
        &before[..before.len() - self.rest.len()]
    }

    fn push(&mut self, node: Node) {
        self.open.items.push(Item::leaf(node));
    }

    fn push_class(&mut self, class: ClassUnicode) -> Result<(), RegexError> {
        self.ranges += class.ranges().len();
        if self.flags.fold {
            // The search for case variants takes its time.
            self.ranges += 64;
        }
        if self.ranges > RANGES_MAX {
            return Err(self.error_whole(RegexErrorKind::TooLarge));
        }
        self.push(class_node(class));
        Ok(())
    }

    fn take_literal(&mut self, c: char) {
        self.rest = &self.rest[c.len_utf8()..];
        self.push_literal(c);
    }

    /// One character, or the class of its case variants.
    fn push_literal(&mut self, c: char) {
        let mut class = unicode::of_ranges(&[(c, c)]);
        // Only letters have case variants, and most of a pattern is ASCII.
        if self.flags.fold && (c.is_ascii_alphabetic() || !c.is_ascii()) {
            unicode::fold(&mut class);
        }
        self.push(class_node(class));
    }

    fn meta_char(&self, c: char) -> Node {
        match (c, self.flags.multi_line) {
            ('^', true) => Node::Look(Look::StartLF),
            ('^', false) => Node::Look(Look::Start),
            ('$', true) => Node::Look(Look::EndLF),
            ('$', false) => Node::Look(Look::End),
            _ if self.flags.dot_newline => Node::any_char(),
            _ => Node::Class(unicode::of_ranges(&[('\0', '\t'), ('\x0b', char::MAX)])),
        }
    }

    fn open_level(&mut self, kind: GroupKind) {
        let level = Level { kind, flags_behind: self.flags, ..Level::default() };
        self.outer.push(std::mem::replace(&mut self.open, level));
    }

    fn open_capture(&mut self, name: Option<Box<str>>) {
        // A pattern has fewer groups than bytes, and patterns are far below 4 GiB.
        let index = self.groups.len() as u32;
        self.groups.push(name);
        self.open_level(GroupKind::Capture(index));
    }

    fn close_group(&mut self) -> Result<(), RegexError> {
        let Some(outer) = self.outer.pop() else {
            return Err(self.error_whole(RegexErrorKind::UnexpectedParen));
        };
        let level = std::mem::replace(&mut self.open, outer);
        self.flags = level.flags_behind;
        let item = level.close();
        self.check_limits(&item)?;
        self.open.items.push(item);
        Ok(())
    }

    fn check_limits(&self, item: &Item) -> Result<(), RegexError> {
        if item.height > HEIGHT_MAX {
            return Err(self.error_whole(RegexErrorKind::NestingDepth));
        }
        if item.size > SIZE_MAX {
            return Err(self.error_whole(RegexErrorKind::TooLarge));
        }
        Ok(())
    }

    /// `(?flags)`, `(?flags:`, `(?P<name>` and `(?<name>`; the rest starts with `(?`.
    fn extended_group(&mut self) -> Result<(), RegexError> {
        let start = self.rest;
        let name_at = if start.len() > 4 && start.starts_with("(?P<") {
            Some(4)
        } else if start.len() > 3 && start.starts_with("(?<") {
            Some(3)
        } else {
            None
        };
        if let Some(name_at) = name_at {
            let Some(end) = start.find('>') else {
                return Err(RegexError::new(RegexErrorKind::InvalidNamedCapture, start));
            };
            let name = &start[name_at..end];
            if name.is_empty() || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
                return Err(RegexError::new(RegexErrorKind::InvalidNamedCapture, &start[..=end]));
            }
            self.rest = &start[end + 1..];
            self.open_capture(Some(name.into()));
            return Ok(());
        }
        self.flag_group(start)
    }

    fn flag_group(&mut self, start: &'p str) -> Result<(), RegexError> {
        self.rest = &start[2..];
        let mut flags = self.flags;
        let mut on = true;
        let mut saw_flag = false;
        while let Some(c) = self.rest.chars().next() {
            self.rest = &self.rest[c.len_utf8()..];
            match c {
                'i' => flags.fold = on,
                'm' => flags.multi_line = on,
                's' => flags.dot_newline = on,
                'U' => flags.swap_greed = on,
                '-' if on => {
                    on = false;
                    saw_flag = false;
                    continue;
                }
                ':' | ')' if on || saw_flag => {
                    if c == ':' {
                        self.open_level(GroupKind::Plain);
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
            saw_flag = true;
        }
        Err(RegexError::new(RegexErrorKind::InvalidPerlOp, self.read_since(start)))
    }

    /// Turns counts that are out of bounds away.
    fn check_counts(
        &self,
        min: Count,
        max: Option<Count>,
        before: &'p str,
    ) -> Result<(u32, Option<u32>), RegexError> {
        let too_many = || RegexError::new(RegexErrorKind::InvalidRepeatSize, self.read_since(before));
        let within = |count: Count| count.filter(|n| *n <= REPEAT_MAX).ok_or_else(too_many);
        let min = within(min)?;
        let max = max.map(within).transpose()?;
        if max.is_some_and(|max| min > max) {
            return Err(too_many());
        }
        Ok((min, max))
    }

    /// Repeats the last item; `before` starts at the operator.
    fn repeat(
        &mut self,
        min: u32,
        max: Option<u32>,
        counted: bool,
        before: &'p str,
        last_repeat: Option<&'p str>,
    ) -> Result<(), RegexError> {
        let mut greedy = !self.flags.swap_greed;
        if let Some(rest) = self.rest.strip_prefix('?') {
            self.rest = rest;
            greedy = !greedy;
        }
        if let Some(last) = last_repeat {
            return Err(RegexError::new(RegexErrorKind::InvalidRepeatOp, self.read_since(last)));
        }
        let Some(item) = self.open.items.pop() else {
            return Err(RegexError::new(RegexErrorKind::MissingRepeatArgument, self.read_since(before)));
        };
        let count = if counted { max.unwrap_or(min) } else { 1 };
        let copies = item.copies.saturating_mul(count.max(1));
        if counted && count >= 2 && copies > REPEAT_MAX {
            return Err(RegexError::new(RegexErrorKind::InvalidRepeatSize, self.read_since(before)));
        }
        let copied = item.size.saturating_mul(u64::from(max.unwrap_or(min).max(1))).saturating_add(1);
        let repeated = Item {
            height: item.height + 1,
            // What is repeated zero times does not count further.
            copies: if counted && max == Some(0) { 1 } else { copies },
            size: copied.saturating_add(u64::from(max.unwrap_or(0) - if max.is_some() { min } else { 0 })),
            node: Node::Repeat { min, max, greedy, node: Box::new(item.node) },
        };
        self.check_limits(&repeated)?;
        self.open.items.push(repeated);
        Ok(())
    }

    /// What a backslash starts outside of brackets.
    fn escape(&mut self) -> Result<(), RegexError> {
        let start = self.rest;
        if let Some(letter) = start.as_bytes().get(1) {
            let look = match letter {
                b'A' => Some(Look::Start),
                b'z' => Some(Look::End),
                b'b' => Some(Look::WordAscii),
                b'B' => Some(Look::WordAsciiNegate),
                b'C' => return Err(RegexError::new(RegexErrorKind::InvalidEscape, &start[..2])),
                _ => None,
            };
            if let Some(look) = look {
                self.rest = &start[2..];
                self.push(Node::Look(look));
                return Ok(());
            }
            if *letter == b'Q' {
                let (text, rest) = start[2..].split_once("\\E").unwrap_or((&start[2..], ""));
                self.rest = rest;
                text.chars().for_each(|c| self.push_literal(c));
                return Ok(());
            }
        }
        if let Some((class, rest)) = class::named(start, self.reading())? {
            self.rest = rest;
            return self.push_class(class);
        }
        let (code, rest) = class::escaped_char(start)?;
        self.rest = rest;
        match char::from_u32(code) {
            Some(c) => self.push_literal(c),
            // A surrogate: no text has it.
            None => self.push(Node::Class(ClassUnicode::empty())),
        }
        Ok(())
    }
}

/// A class, as a text where it has just one character.
fn class_node(class: ClassUnicode) -> Node {
    match class.ranges() {
        [only] if only.start() == only.end() => Node::Literal(only.start().to_string()),
        _ => Node::Class(class),
    }
}

/// A number read, `None` where it is beyond all bounds.
type Count = Option<u32>;

/// `{min}`, `{min,}` or `{min,max}`.
struct Counts<'p> {
    min: Count,
    max: Option<Count>,
    rest: &'p str,
}

/// The counts at the start of `text`; `None`: the brace is a plain character.
fn counts(text: &str) -> Option<Counts<'_>> {
    let (min, rest) = number(text.strip_prefix('{')?)?;
    let Some(rest) = rest.strip_prefix(',') else {
        return Some(Counts { min, max: Some(min), rest: rest.strip_prefix('}')? });
    };
    if let Some(rest) = rest.strip_prefix('}') {
        return Some(Counts { min, max: None, rest });
    }
    let (max, rest) = number(rest)?;
    Some(Counts { min, max: Some(max), rest: rest.strip_prefix('}')? })
}

fn number(text: &str) -> Option<(Count, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    if digits == 0 || (digits > 1 && number.starts_with('0')) {
        return None;
    }
    Some((number.parse().ok().filter(|n| *n < 100_000_000), rest))
}
