//! What a pattern means, before it becomes an automaton or something simpler.
//!
//! ```text
//! text ──parse──▶ Node ──reduce──▶ Plan (sets, prefixes, gaps)
//!                  └────lower────▶ Hir ──▶ automaton
//! ```
//!
//! Flags are resolved while parsing: a letter under `(?i)` is a small class, a
//! dot is the class of what it accepts. So two patterns that mean the same look
//! the same here.

use regex_syntax::hir::{Capture, Class, ClassUnicode, ClassUnicodeRange, Hir, Look, Repetition};

/// One node of a parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Matches nothing but the empty text.
    Empty,
    /// Matches this text; never empty.
    Literal(String),
    /// Matches one character of a class; an empty class never matches.
    Class(ClassUnicode),
    /// An assertion about a position.
    Look(Look),
    /// A capturing group; its name is kept with the pattern.
    Group { index: u32, node: Box<Node> },
    /// `min` to `max` copies; no `max`: any number.
    Repeat { min: u32, max: Option<u32>, greedy: bool, node: Box<Node> },
    /// One after the other.
    Concat(Vec<Node>),
    /// The first alternative that leads to a match.
    Alternate(Vec<Node>),
}

impl Node {
    /// The class of every character, the newline too.
    pub(super) fn any_char() -> Node {
        Node::Class(ClassUnicode::new([ClassUnicodeRange::new('\0', char::MAX)]))
    }

    /// Whether this is exactly [`Node::any_char`].
    pub(super) fn is_any_char(&self) -> bool {
        let Node::Class(class) = self else { return false };
        matches!(class.ranges(), [only] if only.start() == '\0' && only.end() == char::MAX)
    }

    /// The node without the groups around it.
    pub(super) fn ungrouped(&self) -> &Node {
        let mut node = self;
        while let Node::Group { node: inner, .. } = node {
            node = inner;
        }
        node
    }

    /// The same pattern for the automaton's compiler. The depth of the recursion
    /// is bounded by the parser's nesting limit.
    pub(super) fn to_hir(&self) -> Hir {
        match self {
            Node::Empty => Hir::empty(),
            Node::Literal(text) => Hir::literal(text.as_bytes()),
            Node::Class(class) => Hir::class(Class::Unicode(class.clone())),
            Node::Look(look) => Hir::look(*look),
            Node::Group { index, node } => {
                Hir::capture(Capture { index: *index, name: None, sub: Box::new(node.to_hir()) })
            }
            Node::Repeat { min, max, greedy, node } => Hir::repetition(Repetition {
                min: *min,
                max: *max,
                greedy: *greedy,
                sub: Box::new(node.to_hir()),
            }),
            Node::Concat(nodes) => Hir::concat(nodes.iter().map(Node::to_hir).collect()),
            Node::Alternate(nodes) => Hir::alternation(nodes.iter().map(Node::to_hir).collect()),
        }
    }
}
