//! Adds to each action what makes its value safe where it stands.
//!
//! A template is read once for each place it is called from: called inside an
//! attribute it becomes another template, `name$htmltemplate_stateAttr…`. Where
//! two ways meet (the branches of an `if`, a loop and its repetition) they must
//! arrive at the same place, else the template is refused. What a recursive
//! template arrives at is guessed and then checked.
//!
//! Edits are collected and made only when everything was found to be well.
//! Source: Go `html/template/escape.go`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::context::{Context, Delim, Fault, State, UrlPart};
use super::escaper::Escaper;
use super::javascript::Slash;
use super::transition::{after_text, spans_lines};
use crate::error::EscapeError;
use crate::exec::Templates;
use crate::node::{At, Branch, Command, List, Node, Operand, Pipe, Term, Tree};
use crate::text;

type Name = Arc<[u8]>;

/// A page's templates, made safe as they are needed.
pub(crate) struct Page {
    inner: RefCell<Inner>,
}

struct Inner {
    trees: BTreeMap<Name, Arc<Tree>>,
    /// Templates that were made ready, or why they cannot be.
    done: BTreeMap<Name, Result<(), EscapeError>>,
    /// Where each template that was read ends.
    output: BTreeMap<Name, Context>,
}

impl Page {
    pub(crate) fn new(trees: BTreeMap<Name, Arc<Tree>>) -> Page {
        Page { inner: RefCell::new(Inner { trees, done: BTreeMap::new(), output: BTreeMap::new() }) }
    }

    /// The page's own template, ready to be run.
    pub(crate) fn main(&self, name: &[u8]) -> Result<Arc<Tree>, EscapeError> {
        let mut inner = self.inner.borrow_mut();
        if !inner.trees.contains_key(name) {
            let name = text::quote(name);
            return Err(EscapeError(format!("template: {name} is an incomplete or empty template")));
        }
        inner.ready(name)
    }
}

impl Templates for Page {
    fn lookup(&self, name: &[u8]) -> Option<Arc<Tree>> {
        self.inner.borrow().trees.get(name).cloned()
    }

    fn ready(&self, name: &[u8]) -> Result<Arc<Tree>, EscapeError> {
        let mut inner = self.inner.borrow_mut();
        if !inner.trees.contains_key(name) && !inner.done.contains_key(name) {
            return Err(EscapeError(format!("html/template: {} is undefined", text::quote(name))));
        }
        inner.ready(name)
    }
}

impl Inner {
    fn ready(&mut self, name: &[u8]) -> Result<Arc<Tree>, EscapeError> {
        if !self.done.contains_key(name) {
            let result = self.escape(name);
            if result.is_err() {
                self.trees.remove(name);
            }
            self.done.insert(name.into(), result);
        }
        if let Some(Err(fault)) = self.done.get(name) {
            return Err(fault.clone());
        }
        self.trees.get(name).cloned().ok_or_else(|| {
            EscapeError(format!("html/template: {} is an incomplete template", text::quote(name)))
        })
    }

    fn escape(&mut self, name: &[u8]) -> Result<(), EscapeError> {
        let visits = Cell::new(0);
        let mut reader = Reader {
            trees: &self.trees,
            derived: BTreeMap::new(),
            output: self.output.clone(),
            called: BTreeSet::new(),
            edits: BTreeMap::new(),
            loops: Vec::new(),
            depth: 0,
            visits: &visits,
        };
        let from = CallSite { at: None, tree: None, line: 0 };
        let (end, _) = reader.template(Context::start(), &from, name);
        let shown = text::lossy(name);
        if let Some(mut fault) = end.fault.clone() {
            fault.name = shown;
            return Err(EscapeError(fault.to_string()));
        }
        if end.state != State::Text {
            let what = format!("ends in a non-text context: {end}");
            let fault = Fault { location: None, line: 0, name: shown, what };
            return Err(EscapeError(fault.to_string()));
        }
        let Reader { derived, output, edits, .. } = reader;
        self.output = output;
        self.trees.extend(derived);
        for (name, edits) in edits {
            if let Some(tree) = self.trees.get_mut(&name) {
                edit_list(&mut Arc::make_mut(tree).root, &edits);
            }
        }
        Ok(())
    }
}

/// What becomes of a node.
#[derive(Clone, Debug)]
enum Edit {
    Escape(Vec<Escaper>),
    Call(Name),
    Text(Arc<[u8]>),
}

type Edits = BTreeMap<u32, Edit>;

/// Where a template is called.
struct CallSite<'t> {
    at: Option<At>,
    tree: Option<&'t Tree>,
    line: usize,
}

/// Places at which a loop is left or repeated.
#[derive(Clone, Debug, Default)]
struct Loop {
    breaks: Vec<(Context, At)>,
    continues: Vec<(Context, At)>,
}

/// How deep templates may call each other while they are read.
const DEPTH_MAX: usize = 400;
/// How many nodes may be read: the body of each loop is read twice, of a loop in
/// it four times, and so on.
const VISITS_MAX: u64 = 200_000;

struct Reader<'p> {
    trees: &'p BTreeMap<Name, Arc<Tree>>,
    derived: BTreeMap<Name, Arc<Tree>>,
    output: BTreeMap<Name, Context>,
    called: BTreeSet<Name>,
    edits: BTreeMap<Name, Edits>,
    loops: Vec<Loop>,
    depth: usize,
    /// Nodes read, by all readers of one template.
    visits: &'p Cell<u64>,
}

fn fault_at(tree: &Tree, at: At, line: usize, what: String) -> Context {
    Context::error(Fault { location: Some(tree.location(at)), line, name: String::new(), what })
}

impl<'p> Reader<'p> {
    fn find(&self, name: &[u8]) -> Option<Arc<Tree>> {
        self.trees.get(name).or_else(|| self.derived.get(name)).cloned()
    }

    fn edit(&mut self, tree: &Tree, at: At, edit: Edit) {
        self.edits.entry(tree.name.clone()).or_default().insert(at.id, edit);
    }

    /// A template called from some place: where it ends, and what it is called there.
    fn template(&mut self, c: Context, from: &CallSite<'_>, name: &[u8]) -> (Context, Name) {
        let refuse = |what: String| match (from.tree, from.at) {
            (Some(tree), Some(at)) => fault_at(tree, at, from.line, what),
            _ => Context::bad(what),
        };
        // Behind a fault nothing is learned but of calls that lead nowhere, of which
        // the last is told; reading on would double with each call.
        if c.state == State::Error {
            let is_there = self.find(name).is_some();
            let c = if is_there { c } else { refuse(format!("no such template {}", text::quote(name))) };
            return (c, name.into());
        }
        let mangled: Name = c.mangled(name).into();
        self.called.insert(mangled.clone());
        if let Some(end) = self.output.get(&mangled) {
            return (end.clone(), mangled);
        }
        let Some(tree) = self.find(name) else {
            return (refuse(format!("no such template {}", text::quote(name))), mangled);
        };
        if self.depth >= DEPTH_MAX {
            return (refuse(format!("templates call each other more than {DEPTH_MAX} deep")), mangled);
        }
        let tree = if *mangled == *name {
            tree
        } else {
            self.find(&mangled).unwrap_or_else(|| {
                let copy = Arc::new(Tree { name: mangled.clone(), ..Tree::clone(&tree) });
                self.derived.insert(mangled.clone(), copy.clone());
                copy
            })
        };
        self.depth += 1;
        let end = self.template_end(c, &tree);
        self.depth -= 1;
        (end, mangled)
    }

    /// Where a template ends: first as if calls of itself changed nothing, then,
    /// if that was wrong, as if they ended where it ended.
    fn template_end(&mut self, c: Context, tree: &Tree) -> Context {
        let (first, ok) = self.body(&c, tree);
        if ok {
            return first;
        }
        let (second, ok) = self.body(&first, tree);
        if ok {
            return second;
        }
        if first.state == State::Error {
            // A fault that is met again says so again.
            return if second.state == State::Error { second } else { first };
        }
        let what = format!("cannot compute output context for template {}", text::lossy(&tree.name));
        fault_at(tree, tree.root.at, 0, what)
    }

    fn body(&mut self, c: &Context, tree: &Tree) -> (Context, bool) {
        self.output.insert(tree.name.clone(), c.clone());
        let (end, tried) = self.tried(c.clone(), tree, &tree.root);
        let ok = end.state != State::Error && (!tried.called.contains(&tree.name) || *c == end);
        if ok {
            self.output.extend(tried.output);
            self.derived.extend(tried.derived);
            self.called.extend(tried.called);
            for (name, edits) in tried.edits {
                self.edits.entry(name).or_default().extend(edits);
            }
        }
        (end, ok)
    }

    /// Reads a list without keeping what it leads to.
    fn tried(&self, c: Context, tree: &Tree, list: &List) -> (Context, Reader<'p>) {
        let mut reader = Reader {
            trees: self.trees,
            derived: BTreeMap::new(),
            output: self.output.clone(),
            called: BTreeSet::new(),
            edits: BTreeMap::new(),
            loops: self.loops.clone(),
            depth: self.depth,
            visits: self.visits,
        };
        let end = reader.list(c, tree, list);
        (end, reader)
    }

    fn list(&mut self, mut c: Context, tree: &Tree, list: &List) -> Context {
        for node in &list.nodes {
            self.visits.set(self.visits.get() + 1);
            if self.visits.get() > VISITS_MAX {
                return Context::bad(format!("more than {VISITS_MAX} nodes to read"));
            }
            c = self.node(c, tree, node);
            if c.state == State::Dead {
                break;
            }
        }
        c
    }

    fn node(&mut self, c: Context, tree: &Tree, node: &Node) -> Context {
        match node {
            Node::Text { at, text } => self.text(c, tree, *at, text),
            Node::Action { at, pipe } => self.action(c, tree, *at, pipe),
            Node::If(branch) => self.branch(c, tree, branch, "if"),
            Node::With(branch) => self.branch(c, tree, branch, "with"),
            Node::Range(branch) => self.range(c, tree, branch),
            Node::Template { at, name, pipe } => {
                let line = pipe.as_ref().map_or(0, |pipe| pipe.line);
                let (end, called) =
                    self.template(c, &CallSite { at: Some(*at), tree: Some(tree), line }, name);
                if called != *name {
                    self.edit(tree, *at, Edit::Call(called));
                }
                end
            }
            Node::Break { at } => self.leave(c, *at, true),
            Node::Continue { at } => self.leave(c, *at, false),
        }
    }

    fn leave(&mut self, c: Context, at: At, is_break: bool) -> Context {
        if let Some(current) = self.loops.last_mut() {
            let list = if is_break { &mut current.breaks } else { &mut current.continues };
            list.push((c, at));
        }
        Context::of(State::Dead, super::context::Element::None)
    }

    fn action(&mut self, c: Context, tree: &Tree, at: At, pipe: &Pipe) -> Context {
        if !pipe.decls.is_empty() {
            return c;
        }
        let mut c = c.nudged();
        for (i, command) in pipe.commands.iter().enumerate() {
            let Some(name) = called_name(command) else { continue };
            if !is_predefined(name) {
                continue;
            }
            let unquoted = c.state == State::Attr && c.delim == Delim::SpaceOrTagEnd && name == b"html";
            if i + 1 < pipe.commands.len() || unquoted {
                let what = format!("predefined escaper {} disallowed in template", text::quote(name));
                return fault_at(tree, at, pipe.line, what);
            }
        }
        if c.state == State::Error {
            return c;
        }
        let mut escapers = Vec::with_capacity(3);
        match c.state {
            State::Url
            | State::CssDouble
            | State::CssSingle
            | State::CssDoubleUrl
            | State::CssSingleUrl
            | State::CssUrl => {
                if c.url_part == UrlPart::None {
                    escapers.push(Escaper::UrlFilter);
                }
                let in_string = matches!(c.state, State::CssDouble | State::CssSingle);
                match c.url_part {
                    UrlPart::None | UrlPart::PreQuery if in_string => escapers.push(Escaper::Css),
                    UrlPart::None | UrlPart::PreQuery => escapers.push(Escaper::UrlNormalize),
                    UrlPart::QueryOrFragment => escapers.push(Escaper::UrlQuery),
                    UrlPart::Unknown => {
                        let shown = Node::Action { at, pipe: pipe.clone() };
                        let what = format!("{shown} appears in an ambiguous context within a URL");
                        return fault_at(tree, at, pipe.line, what);
                    }
                }
            }
            State::MetaContentUrl => escapers.push(Escaper::UrlFilter),
            State::Js => {
                escapers.push(Escaper::JsValue);
                // A slash after a value divides.
                c.slash = Slash::Division;
            }
            State::JsDouble | State::JsSingle => escapers.push(Escaper::JsString),
            State::JsTemplate => escapers.push(Escaper::JsTemplate),
            State::JsRegexp => escapers.push(Escaper::JsRegexp),
            State::Css => escapers.push(Escaper::CssValue),
            State::Text => escapers.push(Escaper::Html),
            State::RcData => escapers.push(Escaper::RcData),
            State::AttrName | State::Tag => {
                c.state = State::AttrName;
                escapers.push(Escaper::Name);
            }
            State::Srcset => escapers.push(Escaper::Srcset),
            state if state.is_comment() => escapers.push(Escaper::Comment),
            // A plain attribute needs only what its quotes need; the other states
            // are left by nudging.
            _ => {}
        }
        match c.delim {
            Delim::None => {}
            Delim::SpaceOrTagEnd => escapers.push(Escaper::NoSpace),
            Delim::Double | Delim::Single => escapers.push(Escaper::Attribute),
        }
        self.edit(tree, at, Edit::Escape(escapers));
        c
    }

    fn branch(&mut self, c: Context, tree: &Tree, branch: &Branch, word: &str) -> Context {
        let first = self.list(c.clone(), tree, &branch.list);
        let second = match &branch.else_list {
            Some(list) => self.list(c, tree, list),
            None => c,
        };
        join(first, second, tree, branch.at, word)
    }

    fn range(&mut self, c: Context, tree: &Tree, branch: &Branch) -> Context {
        self.loops.push(Loop::default());
        let mut end = self.list(c.clone(), tree, &branch.list);
        let left = self.loops.pop().unwrap_or_default();
        if end.state != State::Error {
            end = join_loop(end, left, tree);
        }
        if end.state == State::Error {
            return end;
        }
        // The body must lead to the same place when it starts where it ended.
        self.loops.push(Loop::default());
        let (again, mut tried) = self.tried(end.clone(), tree, &branch.list);
        let left = tried.loops.pop().unwrap_or_default();
        drop(tried);
        self.loops.pop();
        end = join(end, again, tree, branch.at, "range");
        if let Some(fault) = &mut end.fault {
            fault.line = branch.pipe.line;
            fault.what = format!("on range loop re-entry: {}", fault.what);
            return end;
        }
        end = join_loop(end, left, tree);
        if end.state == State::Error {
            return end;
        }
        let other = match &branch.else_list {
            Some(list) => self.list(c, tree, list),
            None => c,
        };
        join(end, other, tree, branch.at, "range")
    }

    /// Reads text, drops comments, and writes what could be taken for a tag as text.
    fn text(&mut self, mut c: Context, tree: &Tree, at: At, s: &[u8]) -> Context {
        let mut out: Vec<u8> = Vec::new();
        let mut written = 0;
        let mut i = 0;
        while i != s.len() {
            let (next, reach) = after_text(c.clone(), &s[i..]);
            let end = i + reach;
            if matches!(c.state, State::Text | State::RcData) {
                let mut text_end = end;
                if next.state != c.state
                    && let Some(tag) = s[i..end].iter().rposition(|b| *b == b'<')
                {
                    text_end = i + tag;
                }
                for j in i..text_end {
                    let is_doctype =
                        s.get(j..j + 9).is_some_and(|word| word.eq_ignore_ascii_case(b"<!DOCTYPE"));
                    if s[j] == b'<' && !is_doctype {
                        out.extend_from_slice(&s[written..j]);
                        out.extend_from_slice(b"&lt;");
                        written = j + 1;
                    }
                }
            } else if c.state.is_comment() && c.delim == Delim::None {
                match c.state {
                    State::JsBlockComment if spans_lines(&s[written..end]) => out.push(b'\n'),
                    State::JsBlockComment | State::CssBlockComment => out.push(b' '),
                    _ => {}
                }
                written = end;
            }
            if c.state != next.state && next.state.is_comment() && next.delim == Delim::None {
                let opening = match next.state {
                    State::HtmlComment | State::JsHtmlOpenComment => 4,
                    State::JsHtmlCloseComment => 3,
                    _ => 2,
                };
                out.extend_from_slice(&s[written..end - opening]);
                written = end;
            }
            if c.state.is_script_literal()
                && let Some(escaped) = without_script_tags(&s[i..end])
            {
                out.extend_from_slice(&s[written..i]);
                out.extend_from_slice(&escaped);
                written = end;
            }
            if reach == 0 && c.state == next.state {
                return Context::bad("text that leads nowhere".to_owned());
            }
            (c, i) = (next, end);
        }
        if written != 0 && c.state != State::Error {
            if !c.state.is_comment() || c.delim != Delim::None {
                out.extend_from_slice(&s[written..]);
            }
            self.edit(tree, at, Edit::Text(out.into()));
        }
        c
    }
}

/// The text with tags that would change how a script is read escaped; `None` if
/// there are none.
fn without_script_tags(s: &[u8]) -> Option<Vec<u8>> {
    let special = |rest: &[u8]| {
        [&b"<script"[..], b"</script", b"<!--"]
            .iter()
            .any(|tag| rest.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag)))
    };
    let mut out = Vec::new();
    let mut found = false;
    for (at, byte) in s.iter().enumerate() {
        if *byte == b'<' && special(&s[at..]) {
            found = true;
            out.extend_from_slice(b"\\x3C");
        } else {
            out.push(*byte);
        }
    }
    found.then_some(out)
}

/// The place where two ways meet.
fn join(a: Context, b: Context, tree: &Tree, at: At, word: &str) -> Context {
    if a.state == State::Error || b.state == State::Dead {
        return a;
    }
    if b.state == State::Error || a.state == State::Dead || a == b {
        return if b.state == State::Error || a.state == State::Dead { b } else { a };
    }
    let mut c = Context { url_part: b.url_part, ..a.clone() };
    if c == b {
        c.url_part = UrlPart::Unknown;
        return c;
    }
    let mut c = Context { slash: b.slash, ..a.clone() };
    if c == b {
        c.slash = Slash::Unknown;
        return c;
    }
    // `<p {{if .C}}{{.C}}{{end}}` may end in an attribute's name or before it.
    let (c, d) = (a.nudged(), b.nudged());
    if c != a || d != b {
        let joined = join(c, d, tree, at, word);
        if joined.state != State::Error {
            return joined;
        }
    }
    fault_at(tree, at, 0, format!("{{{{{word}}}}} branches end in different contexts: {a}, {b}"))
}

fn join_loop(mut c: Context, left: Loop, tree: &Tree) -> Context {
    let breaks = left.breaks.into_iter().map(|way| (way, "break"));
    let continues = left.continues.into_iter().map(|way| (way, "continue"));
    for ((other, at), word) in breaks.chain(continues) {
        c = join(c, other, tree, at, "range");
        if let Some(fault) = &mut c.fault {
            fault.line = tree.line(at);
            fault.what = format!("at range loop {word}: {}", fault.what);
            return c;
        }
    }
    c
}

fn called_name(command: &Command) -> Option<&[u8]> {
    match command.args.first().map(|operand| &operand.term) {
        Some(Term::Identifier(name)) => Some(name),
        _ => None,
    }
}

/// Escapers that a template may name itself, at the end of a pipeline.
fn is_predefined(name: &[u8]) -> bool {
    matches!(name, b"html" | b"urlquery")
}

/// Escapers that do the same have the same name here.
fn family(name: &[u8]) -> &[u8] {
    match name {
        b"_html_template_attrescaper" | b"_html_template_htmlescaper" | b"_html_template_rcdataescaper" => {
            b"html"
        }
        b"_html_template_urlescaper" | b"_html_template_urlnormalizer" => b"urlquery",
        name => name,
    }
}

/// Whether the second escaper finds nothing left to do after the first.
fn is_redundant(first: &[u8], second: &[u8]) -> bool {
    match first {
        b"_html_template_commentescaper" => {
            matches!(second, b"_html_template_attrescaper" | b"_html_template_htmlescaper")
        }
        b"_html_template_cssescaper"
        | b"_html_template_jsregexpescaper"
        | b"_html_template_jsstrescaper"
        | b"_html_template_jstmpllitescaper" => second == b"_html_template_attrescaper",
        b"_html_template_urlescaper" => second == b"_html_template_urlnormalizer",
        _ => false,
    }
}

fn edit_list(list: &mut List, edits: &Edits) {
    for node in &mut list.nodes {
        let edit = edits.get(&node.at().id);
        match (node, edit) {
            (Node::Text { text, .. }, Some(Edit::Text(by))) => *text = by.clone(),
            (Node::Action { pipe, .. }, Some(Edit::Escape(escapers))) => add_escapers(pipe, escapers),
            (Node::Template { name, .. }, Some(Edit::Call(by))) => *name = by.clone(),
            (Node::If(branch) | Node::Range(branch) | Node::With(branch), _) => {
                edit_list(&mut branch.list, edits);
                branch.else_list.iter_mut().for_each(|list| edit_list(list, edits));
            }
            _ => {}
        }
    }
}

fn call_of(name: &[u8], at: At) -> Command {
    Command { at, args: vec![Operand { at, term: Term::Identifier(name.into()) }] }
}

fn append(commands: &mut Vec<Command>, name: &[u8], at: At) {
    let last = commands.last().and_then(called_name);
    if !last.is_some_and(|last| is_redundant(last, name)) {
        commands.push(call_of(name, at));
    }
}

/// Adds escapers to the end of a pipeline, but for those that it has already.
fn add_escapers(pipe: &mut Pipe, escapers: &[Escaper]) {
    if escapers.is_empty() {
        return;
    }
    let mut names: Vec<Vec<u8>> = escapers.iter().map(|escaper| escaper.name().as_bytes().to_vec()).collect();
    let at = pipe.at;
    let own =
        pipe.commands.last().and_then(called_name).filter(|name| is_predefined(name)).map(<[u8]>::to_vec);
    if let Some(own) = own {
        // `html .X .Y` alone: its arguments are joined first, then escaped.
        if let [only] = pipe.commands.as_mut_slice()
            && only.args.len() > 1
        {
            only.args[0].term = Term::Identifier(Escaper::Join.name().as_bytes().into());
            append(&mut pipe.commands, &own, at);
        }
        let mut duplicate = false;
        for name in names.iter_mut().filter(|name| family(name) == family(&own)) {
            *name = own.clone();
            duplicate = true;
        }
        if duplicate {
            pipe.commands.pop();
        }
    }
    let have: Vec<Vec<u8>> =
        pipe.commands.iter().filter_map(called_name).map(|name| family(name).to_vec()).collect();
    for name in names {
        if !have.iter().any(|have| have == family(&name)) {
            append(&mut pipe.commands, &name, at);
        }
    }
}
