//! The syntax tree of a template.
//!
//! ```text
//! {{ if gt .Value 0.5 }}high{{ end }}
//! If ─┬─ pipe ── command ── gt · .Value · 0.5
//!     └─ list ── Text "high"
//! ```
//!
//! Nodes print themselves, since messages quote them. The forms are Go's.

use std::fmt::{self, Write};
use std::sync::Arc;

use crate::number::Number;
use crate::text;

/// Names a node within its tree, and where it starts in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) id: u32,
    pub(crate) pos: usize,
}

/// Nodes one after the other.
#[derive(Clone, Debug)]
pub(crate) struct List {
    pub(crate) at: At,
    pub(crate) nodes: Vec<Node>,
}

/// What stands between and around actions.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Text { at: At, text: Arc<[u8]> },
    Action { at: At, pipe: Pipe },
    If(Branch),
    Range(Branch),
    With(Branch),
    Template { at: At, name: Arc<[u8]>, pipe: Option<Pipe> },
    Break { at: At },
    Continue { at: At },
}

/// A pipeline that decides, and what it decides about.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub(crate) at: At,
    pub(crate) pipe: Pipe,
    pub(crate) list: List,
    pub(crate) else_list: Option<List>,
}

/// Commands, the value of each the last argument of the next.
#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    pub(crate) at: At,
    pub(crate) line: usize,
    /// The variables exist already and are set, not declared.
    pub(crate) assigns: bool,
    pub(crate) decls: Vec<Arc<[u8]>>,
    pub(crate) commands: Vec<Command>,
}

/// A value or a function with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) at: At,
    pub(crate) args: Vec<Operand>,
}

/// One argument.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub(crate) at: At,
    pub(crate) term: Term,
}

#[derive(Clone, Debug)]
pub(crate) enum Term {
    Bool(bool),
    Number(Box<Number>),
    Str {
        quoted: Arc<[u8]>,
        text: Arc<[u8]>,
    },
    Dot,
    Nil,
    /// `.a.b`
    Field(Vec<Arc<[u8]>>),
    /// `$x.a`: the name with its dollar first.
    Variable(Vec<Arc<[u8]>>),
    Identifier(Arc<[u8]>),
    /// `(pipe).a.b`
    Chain(Box<Operand>, Vec<Arc<[u8]>>),
    Pipe(Box<Pipe>),
}

/// One template: the whole text or what a `define` or `block` holds.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) name: Arc<[u8]>,
    /// The name of the text it stood in.
    pub(crate) parse_name: Arc<[u8]>,
    pub(crate) text: Arc<[u8]>,
    pub(crate) root: List,
    /// Ids from here on name no node yet.
    pub(crate) next_id: u32,
}

impl List {
    /// Whether there is nothing but space.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.iter().all(|node| match node {
            Node::Text { text, .. } => text::chars(text).all(|(_, c, _)| c.is_whitespace()),
            _ => false,
        })
    }
}

impl Tree {
    /// Where a node is, `name:line:column`, as messages say it.
    pub(crate) fn location(&self, at: At) -> String {
        let before = &self.text[..at.pos.min(self.text.len())];
        let column = before.iter().rev().take_while(|b| **b != b'\n').count();
        format!("{}:{}:{column}", text::lossy(&self.parse_name), self.line(at))
    }

    /// The line that a node starts on, from 1.
    pub(crate) fn line(&self, at: At) -> usize {
        1 + self.text[..at.pos.min(self.text.len())].iter().filter(|b| **b == b'\n').count()
    }

    /// A node of this tree as text.
    pub(crate) fn shown(&self, at: At) -> String {
        let mut finder = Finder { id: at.id, found: None };
        finder.list(&self.root);
        finder.found.unwrap_or_default()
    }
}

/// Looks for a node by id and prints it.
struct Finder {
    id: u32,
    found: Option<String>,
}

impl Finder {
    fn hit(&mut self, at: At, shown: &dyn fmt::Display) {
        if at.id == self.id && self.found.is_none() {
            self.found = Some(shown.to_string());
        }
    }

    fn list(&mut self, list: &List) {
        self.hit(list.at, list);
        for node in &list.nodes {
            if self.found.is_some() {
                return;
            }
            self.node(node);
        }
    }

    fn node(&mut self, node: &Node) {
        self.hit(node.at(), node);
        match node {
            Node::Action { pipe, .. } => self.pipe(pipe),
            Node::Template { pipe, .. } => pipe.iter().for_each(|pipe| self.pipe(pipe)),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                self.pipe(&branch.pipe);
                self.list(&branch.list);
                branch.else_list.iter().for_each(|list| self.list(list));
            }
            Node::Text { .. } | Node::Break { .. } | Node::Continue { .. } => {}
        }
    }

    fn pipe(&mut self, pipe: &Pipe) {
        self.hit(pipe.at, pipe);
        for command in &pipe.commands {
            self.hit(command.at, command);
            command.args.iter().for_each(|operand| self.operand(operand));
        }
    }

    fn operand(&mut self, operand: &Operand) {
        self.hit(operand.at, operand);
        match &operand.term {
            Term::Pipe(pipe) => self.pipe(pipe),
            Term::Chain(inner, _) => self.operand(inner),
            _ => {}
        }
    }
}

impl Node {
    pub(crate) fn at(&self) -> At {
        match self {
            Node::Text { at, .. }
            | Node::Action { at, .. }
            | Node::Template { at, .. }
            | Node::Break { at }
            | Node::Continue { at } => *at,
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => branch.at,
        }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.nodes.iter().try_for_each(|node| node.fmt(f))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Text { text, .. } => f.write_str(&text::lossy(text)),
            Node::Action { pipe, .. } => write!(f, "{{{{{pipe}}}}}"),
            Node::If(branch) => branch.show(f, "if"),
            Node::Range(branch) => branch.show(f, "range"),
            Node::With(branch) => branch.show(f, "with"),
            Node::Template { name, pipe, .. } => {
                write!(f, "{{{{template {}", text::quote(name))?;
                if let Some(pipe) = pipe {
                    write!(f, " {pipe}")?;
                }
                f.write_str("}}")
            }
            Node::Break { .. } => f.write_str("{{break}}"),
            Node::Continue { .. } => f.write_str("{{continue}}"),
        }
    }
}

impl Branch {
    fn show(&self, f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
        write!(f, "{{{{{word} {}}}}}{}", self.pipe, self.list)?;
        if let Some(list) = &self.else_list {
            write!(f, "{{{{else}}}}{list}")?;
        }
        f.write_str("{{end}}")
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.decls.iter().enumerate() {
            write!(f, "{}{}", if i > 0 { ", " } else { "" }, text::lossy(name))?;
        }
        if !self.decls.is_empty() {
            f.write_str(if self.assigns { " = " } else { " := " })?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if i > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, operand) in self.args.iter().enumerate() {
            if i > 0 {
                f.write_char(' ')?;
            }
            match &operand.term {
                Term::Pipe(pipe) => write!(f, "({pipe})")?,
                _ => operand.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.term {
            Term::Bool(value) => write!(f, "{value}"),
            Term::Number(number) => f.write_str(&text::lossy(&number.text)),
            Term::Str { quoted, .. } => f.write_str(&text::lossy(quoted)),
            Term::Dot => f.write_char('.'),
            Term::Nil => f.write_str("nil"),
            Term::Field(names) => names.iter().try_for_each(|name| write!(f, ".{}", text::lossy(name))),
            Term::Variable(names) => {
                for (i, name) in names.iter().enumerate() {
                    write!(f, "{}{}", if i > 0 { "." } else { "" }, text::lossy(name))?;
                }
                Ok(())
            }
            Term::Identifier(name) => f.write_str(&text::lossy(name)),
            Term::Chain(inner, fields) => {
                match &inner.term {
                    Term::Pipe(pipe) => write!(f, "({pipe})")?,
                    _ => inner.fmt(f)?,
                }
                fields.iter().try_for_each(|name| write!(f, ".{}", text::lossy(name)))
            }
            Term::Pipe(pipe) => pipe.fmt(f),
        }
    }
}
