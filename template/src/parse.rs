//! Items → syntax tree.
//!
//! A text yields one tree for itself and one for each `define` and `block` in
//! it. Definitions are parsed with a state of their own (window of items,
//! variables in sight), as Go does: which line a message names depends on it.
//! Source: Go `text/template/parse`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::lexer::{Item, Kind, Lexer};
use crate::node::{At, Branch, Command, List, Node, Operand, Pipe, Term, Tree};
use crate::number::{Number, NumberError};
use crate::text::{self, QuoteError};

/// How deep parentheses and control structures may nest (Go: 10,000 of the
/// first, no bound for the second).
pub const NESTING_MAX: usize = 1000;

/// A template that is not well formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template: {name}:{line}: {message}")]
pub struct ParseError {
    /// The text's name.
    pub name: String,
    /// The line of the item that was read last, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Parses a text.
///
/// # Errors
/// The first fault.
pub(crate) fn parse(
    name: &[u8],
    text: &[u8],
    is_function: &dyn Fn(&[u8]) -> bool,
) -> Result<BTreeMap<Arc<[u8]>, Tree>, ParseError> {
    let mut parser = Parser {
        lexer: Lexer::new(text),
        parse_name: name.into(),
        text: text.into(),
        is_function,
        trees: BTreeMap::new(),
        next_id: 0,
        nesting: 0,
        state: State::new(),
    };
    parser.whole(name)?;
    let next_id = parser.next_id;
    let mut trees = parser.trees;
    trees.values_mut().for_each(|tree| tree.next_id = next_id);
    Ok(trees)
}

/// What belongs to the definition being parsed.
struct State {
    /// The last items read; those below `peeked` are to be read again.
    window: [Item; 3],
    peeked: usize,
    variables: Vec<Vec<u8>>,
    action_line: usize,
    range_depth: usize,
}

impl State {
    fn new() -> State {
        State {
            window: std::array::from_fn(|_| Item::none()),
            peeked: 0,
            variables: vec![b"$".to_vec()],
            action_line: 0,
            range_depth: 0,
        }
    }
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    parse_name: Arc<[u8]>,
    text: Arc<[u8]>,
    is_function: &'t dyn Fn(&[u8]) -> bool,
    trees: BTreeMap<Arc<[u8]>, Tree>,
    next_id: u32,
    nesting: usize,
    state: State,
}

/// What ends a list.
enum Ended {
    End,
    Else { pos: usize },
}

impl Ended {
    fn shown(&self) -> &'static str {
        match self {
            Ended::End => "{{end}}",
            Ended::Else { .. } => "{{else}}",
        }
    }
}

/// What an action is.
enum Action {
    Node(Node),
    Ended(Ended),
}

type Parsed<T> = Result<T, ParseError>;

impl Parser<'_> {
    fn next(&mut self) -> Item {
        let state = &mut self.state;
        if state.peeked > 0 {
            state.peeked -= 1;
        } else {
            state.window[0] = self.lexer.next_item();
        }
        state.window[state.peeked].clone()
    }

    fn backup(&mut self) {
        self.state.peeked += 1;
    }

    /// Puts one more item back, before the one that is in the window.
    fn backup_two(&mut self, first: Item) {
        self.state.window[1] = first;
        self.state.peeked = 2;
    }

    fn backup_three(&mut self, first: Item, second: Item) {
        self.state.window[1] = second;
        self.state.window[2] = first;
        self.state.peeked = 3;
    }

    fn peek(&mut self) -> Item {
        let item = self.next();
        self.backup();
        item
    }

    fn next_non_space(&mut self) -> Item {
        loop {
            let item = self.next();
            if item.kind != Kind::Space {
                return item;
            }
        }
    }

    fn peek_non_space(&mut self) -> Item {
        let item = self.next_non_space();
        self.backup();
        item
    }

    fn at(&mut self, pos: usize) -> At {
        self.next_id += 1;
        At { id: self.next_id - 1, pos }
    }

    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        let line = self.state.window[0].line;
        Err(ParseError { name: text::lossy(&self.parse_name), line, message: message.into() })
    }

    fn unexpected<T>(&self, item: &Item, context: &str) -> Parsed<T> {
        if item.kind != Kind::Error {
            return self.fail(format!("unexpected {} in {context}", item.shown()));
        }
        let mut extra = String::new();
        let line = self.state.action_line;
        if line != 0 && line != item.line {
            let place = format!(" started at {}:{line}", text::lossy(&self.parse_name));
            // Not "unclosed action in action".
            extra = if item.value.ends_with(b" action") { place } else { format!(" in action{place}") };
        }
        self.fail(format!("{}{extra}", item.shown()))
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<Item> {
        let item = self.next_non_space();
        if item.kind == kind { Ok(item) } else { self.unexpected(&item, context) }
    }

    fn unquoted(&self, item: &Item) -> Parsed<Arc<[u8]>> {
        text::unquote(&item.value).map(Arc::from).or_else(|fault: QuoteError| self.fail(fault.to_string()))
    }

    /// Adds a tree; an empty one gives way.
    fn add(&mut self, name: Arc<[u8]>, root: List) -> Parsed<()> {
        let known = self.trees.get(&name).is_some_and(|tree| !tree.root.is_empty());
        if known && !root.is_empty() {
            let message = format!("template: multiple definition of template {}", text::quote(&name));
            return self.fail(message);
        }
        if !known {
            let tree = Tree {
                name: name.clone(),
                parse_name: self.parse_name.clone(),
                text: self.text.clone(),
                root,
                next_id: 0,
            };
            self.trees.insert(name, tree);
        }
        Ok(())
    }

    fn whole(&mut self, name: &[u8]) -> Parsed<()> {
        let pos = self.peek().pos;
        let mut root = List { at: self.at(pos), nodes: Vec::new() };
        loop {
            let item = self.peek();
            if item.kind == Kind::Eof {
                break;
            }
            if item.kind == Kind::LeftDelim {
                let delim = self.next();
                if self.next_non_space().kind == Kind::Define {
                    self.with_own_state(Parser::definition)?;
                    continue;
                }
                self.backup_two(delim);
            }
            match self.text_or_action()? {
                Action::Node(node) => root.nodes.push(node),
                Action::Ended(ended) => return self.fail(format!("unexpected {}", ended.shown())),
            }
        }
        self.add(name.into(), root)
    }

    fn with_own_state<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let outer = std::mem::replace(&mut self.state, State::new());
        let result = parse(self)?;
        self.state = outer;
        Ok(result)
    }

    /// What follows `define`.
    fn definition(&mut self) -> Parsed<()> {
        const CONTEXT: &str = "define clause";
        let item = self.next_non_space();
        if !matches!(item.kind, Kind::String | Kind::RawString) {
            return self.unexpected(&item, CONTEXT);
        }
        let name = self.unquoted(&item)?;
        self.expect(Kind::RightDelim, CONTEXT)?;
        self.body(name, CONTEXT)
    }

    /// A definition's list and its `end`.
    fn body(&mut self, name: Arc<[u8]>, context: &str) -> Parsed<()> {
        let (root, ended) = self.list()?;
        if let Ended::Else { .. } = ended {
            return self.fail(format!("unexpected {} in {context}", ended.shown()));
        }
        self.add(name, root)
    }

    /// Nodes up to an `end` or `else`.
    fn list(&mut self) -> Parsed<(List, Ended)> {
        let pos = self.peek_non_space().pos;
        let mut list = List { at: self.at(pos), nodes: Vec::new() };
        while self.peek_non_space().kind != Kind::Eof {
            match self.text_or_action()? {
                Action::Node(node) => list.nodes.push(node),
                Action::Ended(ended) => return Ok((list, ended)),
            }
        }
        self.fail("unexpected EOF")
    }

    fn text_or_action(&mut self) -> Parsed<Action> {
        let item = self.next_non_space();
        match item.kind {
            Kind::Text => {
                let at = self.at(item.pos);
                Ok(Action::Node(Node::Text { at, text: item.value.into() }))
            }
            Kind::LeftDelim => {
                self.state.action_line = item.line;
                let action = self.action()?;
                self.state.action_line = 0;
                Ok(action)
            }
            _ => self.unexpected(&item, "input"),
        }
    }

    fn action(&mut self) -> Parsed<Action> {
        let item = self.next_non_space();
        let node = match item.kind {
            Kind::Block => self.block()?,
            Kind::Break => {
                self.loop_control("{{break}}")?;
                Node::Break { at: self.at(item.pos) }
            }
            Kind::Continue => {
                self.loop_control("{{continue}}")?;
                Node::Continue { at: self.at(item.pos) }
            }
            Kind::Else => return self.else_control(),
            Kind::End => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Action::Ended(Ended::End));
            }
            Kind::If => Node::If(self.branch("if")?),
            Kind::Range => Node::Range(self.branch("range")?),
            Kind::With => Node::With(self.branch("with")?),
            Kind::Template => self.template()?,
            _ => {
                self.backup();
                let pos = self.peek().pos;
                let at = self.at(pos);
                Node::Action { at, pipe: self.pipeline("command", Kind::RightDelim)? }
            }
        };
        Ok(Action::Node(node))
    }

    fn loop_control(&mut self, shown: &str) -> Parsed<()> {
        let item = self.next_non_space();
        if item.kind != Kind::RightDelim {
            return self.unexpected(&item, shown);
        }
        if self.state.range_depth == 0 {
            return self.fail(format!("{shown} outside {{{{range}}}}"));
        }
        Ok(())
    }

    /// `else`; the word after `else if` and `else with` is left to be read.
    fn else_control(&mut self) -> Parsed<Action> {
        let peeked = self.peek_non_space();
        let pos = match peeked.kind {
            Kind::If | Kind::With => peeked.pos,
            _ => self.expect(Kind::RightDelim, "else")?.pos,
        };
        Ok(Action::Ended(Ended::Else { pos }))
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting >= NESTING_MAX {
            return self.fail("max expression depth exceeded");
        }
        self.nesting += 1;
        let result = parse(self);
        self.nesting -= 1;
        result
    }

    fn branch(&mut self, word: &str) -> Parsed<Branch> {
        self.deeper(|parser| parser.branch_inside(word))
    }

    fn branch_inside(&mut self, word: &str) -> Parsed<Branch> {
        let variables = self.state.variables.len();
        let pipe = self.pipeline(word, Kind::RightDelim)?;
        let is_range = usize::from(word == "range");
        self.state.range_depth += is_range;
        let (list, ended) = self.list()?;
        self.state.range_depth -= is_range;
        let else_list = match ended {
            Ended::End => None,
            Ended::Else { pos } => Some(self.else_list(word, pos)?),
        };
        self.state.variables.truncate(variables);
        Ok(Branch { at: self.at(pipe.at.pos), pipe, list, else_list })
    }

    /// What follows `else`. `else if` is a list of one `if`, whose `end` is shared.
    fn else_list(&mut self, word: &str, pos: usize) -> Parsed<List> {
        let next = self.peek().kind;
        let nested = match (word, next) {
            ("if", Kind::If) | ("with", Kind::With) => {
                self.next();
                let branch = self.branch(word)?;
                if next == Kind::If { Node::If(branch) } else { Node::With(branch) }
            }
            _ => {
                let (list, ended) = self.list()?;
                return match ended {
                    Ended::End => Ok(list),
                    Ended::Else { .. } => self.fail(format!("expected end; found {}", ended.shown())),
                };
            }
        };
        Ok(List { at: self.at(pos), nodes: vec![nested] })
    }

    fn template_name(&mut self, item: &Item, context: &str) -> Parsed<Arc<[u8]>> {
        match item.kind {
            Kind::String | Kind::RawString => self.unquoted(item),
            _ => self.unexpected(item, context),
        }
    }

    /// `block "name" pipe`: a definition that is called where it stands.
    fn block(&mut self) -> Parsed<Node> {
        const CONTEXT: &str = "block clause";
        let item = self.next_non_space();
        let name = self.template_name(&item, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, Kind::RightDelim)?;
        self.deeper(|parser| parser.with_own_state(|parser| parser.body(name.clone(), CONTEXT)))?;
        Ok(Node::Template { at: self.at(item.pos), name, pipe: Some(pipe) })
    }

    fn template(&mut self) -> Parsed<Node> {
        const CONTEXT: &str = "template clause";
        let item = self.next_non_space();
        let name = self.template_name(&item, CONTEXT)?;
        let mut pipe = None;
        if self.next_non_space().kind != Kind::RightDelim {
            self.backup();
            pipe = Some(self.pipeline(CONTEXT, Kind::RightDelim)?);
        }
        Ok(Node::Template { at: self.at(item.pos), name, pipe })
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipe> {
        let first = self.peek_non_space();
        let at = self.at(first.pos);
        let mut pipe = Pipe { at, line: first.line, assigns: false, decls: Vec::new(), commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            let item = self.next_non_space();
            match item.kind {
                kind if kind == end => {
                    self.check_pipeline(&pipe, context)?;
                    return Ok(pipe);
                }
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    self.backup();
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&item, context),
            }
        }
    }

    /// Variables at the start of a pipeline. Space is an item, so that telling
    /// `$x := 1` from `$x foo` takes three items of look-ahead.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Parsed<()> {
        loop {
            let variable = self.peek_non_space();
            if variable.kind != Kind::Variable {
                return Ok(());
            }
            self.next();
            let behind = self.peek();
            let next = self.peek_non_space();
            let is_comma = next.kind == Kind::Char && next.value == b",";
            match next.kind {
                Kind::Assign | Kind::Declare => {
                    pipe.assigns = next.kind == Kind::Assign;
                    self.next_non_space();
                    self.declare(pipe, variable);
                    return Ok(());
                }
                _ if is_comma => {
                    self.next_non_space();
                    self.declare(pipe, variable);
                    if context != "range" || pipe.decls.len() >= 2 {
                        return self.fail(format!("too many declarations in {context}"));
                    }
                    match self.peek_non_space().kind {
                        Kind::Variable | Kind::RightDelim | Kind::RightParen => {}
                        _ => return self.fail("range can only initialize variables"),
                    }
                }
                _ if behind.kind == Kind::Space => {
                    self.backup_three(variable, behind);
                    return Ok(());
                }
                _ => {
                    self.backup_two(variable);
                    return Ok(());
                }
            }
        }
    }

    fn declare(&mut self, pipe: &mut Pipe, variable: Item) {
        pipe.decls.push(variable.value.as_slice().into());
        self.state.variables.push(variable.value);
    }

    fn check_pipeline(&mut self, pipe: &Pipe, context: &str) -> Parsed<()> {
        if pipe.commands.is_empty() {
            return self.fail(format!("missing value for {context}"));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            let first = command.args.first().map(|operand| &operand.term);
            if let Some(Term::Bool(_) | Term::Dot | Term::Nil | Term::Number(_) | Term::Str { .. }) = first {
                return self.fail(format!("non executable command in pipeline stage {}", i + 1));
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Parsed<Command> {
        let pos = self.peek_non_space().pos;
        let mut command = Command { at: self.at(pos), args: Vec::new() };
        loop {
            self.peek_non_space();
            if let Some(operand) = self.operand()? {
                command.args.push(operand);
            }
            let item = self.next();
            match item.kind {
                Kind::Space => {}
                Kind::RightDelim | Kind::RightParen => {
                    self.backup();
                    break;
                }
                Kind::Pipe => break,
                _ => return self.unexpected(&item, "operand"),
            }
        }
        if command.args.is_empty() {
            return self.fail("empty command");
        }
        Ok(command)
    }

    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(operand) = self.term()? else { return Ok(None) };
        let first = self.peek();
        if first.kind != Kind::Field {
            return Ok(Some(operand));
        }
        let mut fields: Vec<Arc<[u8]>> = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.next().value[1..].into());
        }
        let shown = operand.to_string();
        let term = match operand.term {
            Term::Field(mut names) => {
                names.append(&mut fields);
                Term::Field(names)
            }
            Term::Variable(mut names) => {
                names.append(&mut fields);
                Term::Variable(names)
            }
            Term::Bool(_) | Term::Str { .. } | Term::Number(_) | Term::Nil | Term::Dot => {
                return self.fail(format!("unexpected . after term {}", text::quote(shown.as_bytes())));
            }
            term => Term::Chain(Box::new(Operand { at: operand.at, term }), fields),
        };
        Ok(Some(Operand { at: self.at(first.pos), term }))
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let item = self.next_non_space();
        let term = match item.kind {
            Kind::Identifier => {
                if !(self.is_function)(&item.value) {
                    return self.fail(format!("function {} not defined", text::quote(&item.value)));
                }
                Term::Identifier(item.value.into())
            }
            Kind::Dot => Term::Dot,
            Kind::Nil => Term::Nil,
            Kind::Variable => {
                if !self.state.variables.contains(&item.value) {
                    return self.fail(format!("undefined variable {}", text::quote(&item.value)));
                }
                Term::Variable(vec![item.value.into()])
            }
            Kind::Field => Term::Field(vec![item.value[1..].into()]),
            Kind::Bool => Term::Bool(item.value == b"true"),
            Kind::CharConstant => self.number(Number::of_char(&item.value))?,
            Kind::Complex => self.number(Number::of_complex(&item.value))?,
            Kind::Number => self.number(Number::of(&item.value))?,
            Kind::LeftParen => {
                let inner =
                    self.deeper(|parser| parser.pipeline("parenthesized pipeline", Kind::RightParen))?;
                let at = inner.at;
                return Ok(Some(Operand { at, term: Term::Pipe(Box::new(inner)) }));
            }
            Kind::String | Kind::RawString => {
                let text = self.unquoted(&item)?;
                Term::Str { quoted: item.value.into(), text }
            }
            _ => {
                self.backup();
                return Ok(None);
            }
        };
        Ok(Some(Operand { at: self.at(item.pos), term }))
    }

    fn number(&self, number: Result<Number, NumberError>) -> Parsed<Term> {
        match number {
            Ok(number) => Ok(Term::Number(Box::new(number))),
            Err(fault) => self.fail(fault.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, String> {
        let known = |name: &[u8]| matches!(name, b"printf" | b"len");
        let trees = parse(b"t", text.as_bytes(), &known).map_err(|fault| fault.to_string())?;
        Ok(trees[&b"t"[..]].root.to_string())
    }

    #[test]
    fn trees_print_as_they_were_written() {
        for text in [
            "a{{.B.C}}c",
            "{{if .X}}1{{else}}2{{end}}",
            "{{range $i, $e := .L}}{{$e | printf \"%d\" $i}}{{break}}{{end}}",
            "{{with (len .X).Y}}{{template \"x\" .}}{{end}}",
            "{{$x := 1}}{{$x = 2}}",
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(text));
        }
        let chain = parsed("{{if 1}}a{{else if 2}}b{{else}}c{{end}}").unwrap();
        assert_eq!(chain, "{{if 1}}a{{else}}{{if 2}}b{{else}}c{{end}}{{end}}");
    }

    #[test]
    fn faults_read_as_in_go() {
        for (text, fault) in [
            ("{{", "template: t:1: unclosed action"),
            ("\n{{nope}}", "template: t:2: function \"nope\" not defined"),
            ("{{$x}}", "template: t:1: undefined variable \"$x\""),
            ("{{if .X}}", "template: t:1: unexpected EOF"),
            ("{{end}}", "template: t:1: unexpected {{end}}"),
            ("{{if}}{{end}}", "template: t:1: missing value for if"),
            ("{{1 | 2}}", "template: t:1: non executable command in pipeline stage 2"),
            ("{{\"a\".B}}", "template: t:1: unexpected . after term \"\\\"a\\\"\""),
            ("{{break}}", "template: t:1: {{break}} outside {{range}}"),
            ("{{.X ,}}", "template: t:1: unexpected \",\" in operand"),
            (
                "{{define \"a\"}}x{{end}}{{define \"a\"}}y{{end}}",
                "template: t:1: template: multiple definition of template \"a\"",
            ),
            ("{{\n\n", "template: t:3: unclosed action started at t:1"),
        ] {
            assert_eq!(parsed(text), Err(fault.to_owned()), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |n: usize| format!("{{{{{}1{}}}}}", "(".repeat(n), ")".repeat(n));
        let run = move || {
            assert!(parsed(&deep(NESTING_MAX)).is_ok());
            let fault = parsed(&deep(NESTING_MAX + 1)).unwrap_err();
            assert!(fault.ends_with("max expression depth exceeded"), "{fault}");
        };
        let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(run).unwrap();
        thread.join().unwrap();
    }
}
