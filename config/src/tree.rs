//! A YAML document as a tree that knows where each part was written.
//!
//! ```text
//! text → events (granit-parser) → Node { line, column, scalar | sequence | mapping }
//! ```
//!
//! The only file that knows the parser. Scalars keep their text: what `yes` or
//! `010` means is decided when a field asks for it ([`crate::scalar`]). Aliases
//! share the node they name; what expanding them would cost is bounded here.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use base64::Engine;
use granit_parser::{Event, Parser, ScalarStyle};

/// Where YAML's own tags live.
const YAML_NAMESPACE: &str = "tag:yaml.org,2002:";
/// Nodes that aliases may add, beyond ten for each node that is written out.
const ALIASED_NODES_MAX: u64 = 400_000;
/// Nested collections, aliases expanded.
const DEPTH_MAX: u32 = 300;

/// A place in a document, both numbers counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// One node of a document.
#[derive(Debug)]
pub struct Node {
    /// Where its text starts.
    pub position: Position,
    /// What it is.
    pub kind: NodeKind,
    /// Nodes below and including this one, aliases expanded.
    weight: u64,
    /// Levels below this one.
    depth: u32,
}

/// What a node is.
#[derive(Debug)]
pub enum NodeKind {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Seq(Vec<Rc<Node>>),
    /// Keys and values as written, duplicates included.
    Map(Vec<(Rc<Node>, Rc<Node>)>),
}

/// A single value as written.
#[derive(Debug)]
pub struct Scalar {
    /// Its text after escapes, or the decoded bytes of a `!!binary` value.
    pub text: Text,
    /// Whether it stands without quotes, so that `yes` is a boolean.
    pub plain: bool,
    /// An explicit tag without its `!!`, such as `str`.
    pub tag: Option<String>,
}

/// Text of a scalar; only `!!binary` yields bytes that are no text.
#[derive(Debug)]
pub enum Text {
    /// Characters.
    Utf8(String),
    /// Bytes that are no UTF-8.
    Bytes(Vec<u8>),
}

/// A text that is no YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("yaml: line {}: {message}", .position.line)]
pub struct SyntaxError {
    /// Where parsing stopped.
    pub position: Position,
    /// Why.
    pub message: String,
    /// Whether the document is well formed and only a value is not.
    pub in_value: bool,
}

impl Node {
    fn new(position: Position, kind: NodeKind) -> Node {
        let mut weight = 1u64;
        let mut depth = 0u32;
        let mut add = |child: &Node| {
            weight = weight.saturating_add(child.weight);
            depth = depth.max(child.depth.saturating_add(1));
        };
        match &kind {
            NodeKind::Scalar(_) => {}
            NodeKind::Seq(items) => items.iter().for_each(|item| add(item)),
            NodeKind::Map(entries) => entries.iter().for_each(|(key, value)| {
                add(key);
                add(value);
            }),
        }
        Node { position, kind, weight, depth }
    }

    /// The scalar's text, where it is one and is text.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar(Scalar { text: Text::Utf8(text), .. }) => Some(text),
            _ => None,
        }
    }

    /// Whether the node is an explicit or absent null.
    pub fn is_null(&self) -> bool {
        let NodeKind::Scalar(scalar) = &self.kind else { return false };
        match scalar.tag.as_deref() {
            Some("null") => true,
            Some(_) => false,
            None => {
                scalar.plain
                    && matches!(&scalar.text, Text::Utf8(t) if matches!(t.as_str(), "" | "~" | "null" | "Null" | "NULL"))
            }
        }
    }

    /// The value and key position of the last entry with that key.
    pub fn entry(&self, name: &str) -> Option<(&Node, &Node)> {
        let NodeKind::Map(entries) = &self.kind else { return None };
        entries.iter().rev().find(|(key, _)| key.text() == Some(name)).map(|(key, value)| (&**key, &**value))
    }
}

/// Parses the first document of a text; `None` where there is none.
///
/// # Errors
/// The text is no YAML, or its aliases expand to too much.
pub fn parse(text: &str) -> Result<Option<Rc<Node>>, SyntaxError> {
    if let Some(fault) = stray_tab(text) {
        return Err(fault);
    }
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| SyntaxError {
            position: Position { line: error.marker().line(), column: error.marker().col() + 1 },
            message: error.info(),
            in_value: false,
        })?;
        let position = Position { line: span.start.line(), column: span.start.col() + 1 };
        if let Flow::Done = builder.event(event, position)? {
            break;
        }
    }
    let Some(root) = builder.root else { return Ok(None) };
    let limit = ALIASED_NODES_MAX.saturating_add(builder.nodes.saturating_mul(10));
    if root.weight > limit || root.depth > DEPTH_MAX {
        return Err(SyntaxError {
            position: root.position,
            message: "document contains excessive aliasing".to_owned(),
            in_value: false,
        });
    }
    Ok(Some(root))
}

/// A tab at the start of a line before the first token or behind the last one,
/// where the parser would take it for white space.
fn stray_tab(text: &str) -> Option<SyntaxError> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let says_nothing = |line: &str| matches!(line.trim_start().chars().next(), None | Some('#'));
    let is_stray = |line: &str| line[..indent(line)].contains('\t');
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|line| !says_nothing(line))?;
    let last = lines.iter().rposition(|line| !says_nothing(line))?;
    let before = (0..=first).find(|&index| is_stray(lines[index]));
    let index = before.or_else(|| (last + 1..lines.len()).find(|&index| is_stray(lines[index])))?;
    Some(SyntaxError {
        position: Position { line: index + 1, column: 1 },
        message: "found character that cannot start any token".to_owned(),
        in_value: false,
    })
}

enum Flow {
    Going,
    Done,
}

enum Open {
    Seq(Vec<Rc<Node>>),
    Map(Vec<(Rc<Node>, Rc<Node>)>, Option<Rc<Node>>),
}

#[derive(Default)]
struct Builder {
    open: Vec<(Position, usize, Open)>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    nodes: u64,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, position: Position) -> Result<Flow, SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let tag = tag.map(|tag| match tag.suffix_in_namespace(YAML_NAMESPACE) {
                    Some(name) => name.into_owned(),
                    None => tag.original(),
                });
                let text = scalar_text(text, tag.as_deref(), position)?;
                let scalar = Scalar { text, plain, tag };
                return self.add(Node::new(position, NodeKind::Scalar(scalar)), anchor);
            }
            Event::SequenceStart(_, anchor, _) => self.open.push((position, anchor, Open::Seq(Vec::new()))),
            Event::MappingStart(_, anchor, _) => {
                self.open.push((position, anchor, Open::Map(Vec::new(), None)));
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some((start, anchor, open)) = self.open.pop() else { return Ok(Flow::Done) };
                let kind = match open {
                    Open::Seq(items) => NodeKind::Seq(items),
                    Open::Map(entries, _) => NodeKind::Map(entries),
                };
                return self.add(Node::new(start, kind), anchor);
            }
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id).cloned() else {
                    return Err(SyntaxError {
                        position,
                        message: "an alias stands inside the value it names".to_owned(),
                        in_value: false,
                    });
                };
                return Ok(self.attach(node));
            }
            Event::DocumentEnd => return Ok(Flow::Done),
            _ => {}
        }
        Ok(Flow::Going)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<Flow, SyntaxError> {
        self.nodes += 1;
        if node.weight > ALIASED_NODES_MAX.saturating_mul(1000) || node.depth > DEPTH_MAX {
            return Err(SyntaxError {
                position: node.position,
                message: "document contains excessive aliasing".to_owned(),
                in_value: false,
            });
        }
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(self.attach(node))
    }

    fn attach(&mut self, node: Rc<Node>) -> Flow {
        match self.open.last_mut() {
            None => {
                self.root = Some(node);
                return Flow::Going;
            }
            Some((_, _, Open::Seq(items))) => items.push(node),
            Some((_, _, Open::Map(entries, pending))) => match pending.take() {
                None => *pending = Some(node),
                Some(key) => entries.push((key, node)),
            },
        }
        Flow::Going
    }
}

fn scalar_text(text: Cow<'_, str>, tag: Option<&str>, position: Position) -> Result<Text, SyntaxError> {
    if tag != Some("binary") {
        return Ok(Text::Utf8(text.into_owned()));
    }
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(packed).map_err(|_| SyntaxError {
        position,
        message: "!!binary value contains invalid base64 data".to_owned(),
        in_value: true,
    })?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Text::Utf8(text),
        Err(error) => Text::Bytes(error.into_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_line_and_column() {
        let root = parse("a: 1\nb:\n  - x\n  - y: z\n").unwrap().unwrap();
        let (key, value) = root.entry("b").unwrap();
        assert_eq!(key.position, Position { line: 2, column: 1 });
        let NodeKind::Seq(items) = &value.kind else { panic!("a list") };
        assert_eq!(items[1].position, Position { line: 4, column: 5 });
    }

    #[test]
    fn an_empty_text_has_no_document() {
        assert!(parse("").unwrap().is_none());
        assert!(parse("# nothing\n").unwrap().is_none());
    }

    #[test]
    fn aliases_that_explode_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let refs = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        let error = parse(&text).unwrap_err();
        assert!(error.message.contains("excessive aliasing"), "{error}");
    }

    #[test]
    fn an_alias_inside_its_own_value_is_refused() {
        assert!(parse("a: &a [*a]\n").is_err());
    }

    #[test]
    fn only_the_first_document_is_read() {
        let root = parse("a: 1\n---\nb: [\n").unwrap().unwrap();
        assert!(root.entry("a").is_some());
    }
}
