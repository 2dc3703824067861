//! Runs a template: walks its tree, evaluates pipelines, writes text.
//!
//! ```text
//! walk (if, range, with, template) ─► eval (pipelines, fields) ─► call (functions, methods)
//! ```
//!
//! A template may come from anybody who may write a rule, and must not be able to
//! stop the server: steps, text made, text written and depth are bounded.
//! Source: Go `text/template/exec.go`.

mod call;
mod eval;

pub(crate) use eval::joined;

use std::cell::Cell;
use std::sync::Arc;

use crate::error::{CallError, EscapeError, ExecError};
use crate::expand::{ExternalUrl, Query};
use crate::function::Function;
use crate::node::{At, Branch, List, Node, Pipe, Tree};
use crate::print;
use crate::value::{StrType, Struct, Type, Value};

/// How much a template may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nodes and values evaluated.
    pub steps: u64,
    /// Bytes of text written.
    pub output_bytes: usize,
    /// Bytes of text made by functions, all in all.
    pub made_bytes: usize,
    /// Templates in templates, lists in lists, parentheses in parentheses.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { steps: 20_000_000, output_bytes: 64 << 20, made_bytes: 256 << 20, depth: 5000 }
    }
}

/// What surrounds a template that runs.
pub(crate) struct Surroundings<'e> {
    pub(crate) query: &'e dyn Query,
    pub(crate) now_ms: i64,
    pub(crate) external_url: &'e ExternalUrl,
    pub(crate) limits: Limits,
    pub(crate) made_bytes: Cell<usize>,
    pub(crate) in_page: bool,
}

impl Surroundings<'_> {
    /// Counts text that a function makes.
    pub(crate) fn make(&self, bytes: usize) -> Result<(), CallError> {
        let made = self.made_bytes.get().saturating_add(bytes);
        self.made_bytes.set(made);
        if made > self.limits.made_bytes {
            return Err(CallError::new(format!(
                "template makes too much text: more than {} bytes",
                self.limits.made_bytes
            )));
        }
        Ok(())
    }
}

/// The templates that a template may call.
pub(crate) trait Templates {
    /// One as it is.
    fn lookup(&self, name: &[u8]) -> Option<Arc<Tree>>;

    /// One made ready to be run on its own.
    fn ready(&self, name: &[u8]) -> Result<Arc<Tree>, EscapeError>;
}

/// Runs a tree on its data and returns what it writes.
pub(crate) fn execute(
    surroundings: &Surroundings<'_>,
    templates: &dyn Templates,
    tree: Arc<Tree>,
    data: Value,
) -> Result<Vec<u8>, ExecError> {
    let mut exec = Exec {
        surroundings,
        templates,
        tree,
        at: None,
        vars: Vec::new(),
        out: Vec::new(),
        steps: 0,
        depth: 0,
    };
    exec.run(data)?;
    Ok(exec.out)
}

/// Whether a loop goes on after a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

type Walked = Result<Flow, ExecError>;

struct Exec<'e> {
    surroundings: &'e Surroundings<'e>,
    templates: &'e dyn Templates,
    tree: Arc<Tree>,
    /// The node at hand, for messages.
    at: Option<At>,
    vars: Vec<(Arc<[u8]>, Value)>,
    out: Vec<u8>,
    steps: u64,
    depth: usize,
}

impl Exec<'_> {
    fn run(&mut self, data: Value) -> Result<(), ExecError> {
        let tree = self.tree.clone();
        self.vars.push((b"$".as_slice().into(), data.clone()));
        self.list(&data, &tree.root)?;
        Ok(())
    }

    fn error(&self, message: impl AsRef<str>) -> ExecError {
        let name = String::from_utf8_lossy(&self.tree.name);
        let message = message.as_ref();
        let Some(at) = self.at else {
            return ExecError(format!("template: {name}: {message}"));
        };
        let location = self.tree.location(at);
        let shown = self.tree.shown(at);
        let name = crate::text::quote(&self.tree.name);
        ExecError(format!("template: {location}: executing {name} at <{shown}>: {message}"))
    }

    fn step(&mut self) -> Result<(), ExecError> {
        self.steps += 1;
        if self.steps > self.surroundings.limits.steps {
            return Err(self.error(format!("exceeded maximum of {} steps", self.surroundings.limits.steps)));
        }
        if self.steps.is_multiple_of(1024) && self.surroundings.query.is_cancelled() {
            return Err(self.error("template was cancelled"));
        }
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> Result<(), ExecError> {
        if self.out.len().saturating_add(text.len()) > self.surroundings.limits.output_bytes {
            let limit = self.surroundings.limits.output_bytes;
            return Err(self.error(format!("output is longer than {limit} bytes")));
        }
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, ExecError>) -> Result<T, ExecError> {
        let limit = self.surroundings.limits.depth;
        if self.depth >= limit {
            return Err(self.error(format!("exceeded maximum template depth ({limit})")));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    fn list(&mut self, dot: &Value, list: &List) -> Walked {
        self.deeper(|exec| {
            exec.at = Some(list.at);
            for node in &list.nodes {
                let flow = exec.node(dot, node)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
            Ok(Flow::Next)
        })
    }

    fn node(&mut self, dot: &Value, node: &Node) -> Walked {
        self.step()?;
        self.at = Some(node.at());
        match node {
            Node::Text { text, .. } => self.write(text)?,
            Node::Action { at, pipe } => {
                let value = self.pipeline(dot, pipe)?;
                if pipe.decls.is_empty() {
                    self.print(*at, value)?;
                }
            }
            Node::If(branch) => return self.branch(dot, branch, false),
            Node::With(branch) => return self.branch(dot, branch, true),
            Node::Range(branch) => return self.range(dot, branch),
            Node::Template { at, name, pipe } => self.template(dot, *at, name, pipe.as_ref())?,
            Node::Break { .. } => return Ok(Flow::Break),
            Node::Continue { .. } => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn branch(&mut self, dot: &Value, branch: &Branch, sets_dot: bool) -> Walked {
        let mark = self.vars.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let flow = if value.is_true() {
            self.list(if sets_dot { &value } else { dot }, &branch.list)?
        } else if let Some(list) = &branch.else_list {
            self.list(dot, list)?
        } else {
            Flow::Next
        };
        self.vars.truncate(mark);
        Ok(flow)
    }

    fn range(&mut self, dot: &Value, branch: &Branch) -> Walked {
        let mark = self.vars.len();
        let value = self.pipeline(dot, &branch.pipe)?.opened();
        let ran = self.range_over(branch, &value);
        let flow = match ran? {
            Some(_) => Flow::Next,
            None => match &branch.else_list {
                Some(list) => self.list(dot, list)?,
                None => Flow::Next,
            },
        };
        self.vars.truncate(mark);
        Ok(flow)
    }

    /// Runs the body for each element; `None`: there is none.
    fn range_over(&mut self, branch: &Branch, value: &Value) -> Result<Option<()>, ExecError> {
        let mut any = None;
        match value {
            Value::Int(kind, number) => {
                if branch.pipe.decls.len() > 1 {
                    let shown = print::shown(value, 'v');
                    let fault = format!("can't use {shown} to iterate over more than one variable");
                    return Err(self.error(fault));
                }
                for element in 0..*number {
                    any = Some(());
                    let element = Value::Int(*kind, element);
                    if self.iteration(branch, Value::Nothing, element)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Slice(slice) => {
                for index in 0..slice.len() {
                    any = Some(());
                    let element = slice.get(index).unwrap_or(Value::Nothing);
                    if self.iteration(branch, Value::int(index as i64), element)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (name, element) in map.entries.iter() {
                    any = Some(());
                    if self.iteration(branch, Value::text(name), element.clone())? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Nothing => {}
            value => {
                let shown = print::shown(&printable(value.clone()), 'v');
                return Err(self.error(format!("range can't iterate over {shown}")));
            }
        }
        Ok(any)
    }

    fn iteration(&mut self, branch: &Branch, index: Value, element: Value) -> Walked {
        self.step()?;
        let pipe = &branch.pipe;
        let mark = self.vars.len();
        match (pipe.decls.as_slice(), pipe.assigns) {
            ([], _) => {}
            ([name], true) => self.set_var(name, element.clone())?,
            ([first, second, ..], true) => {
                self.set_var(first, index)?;
                self.set_var(second, element.clone())?;
            }
            ([_], false) => self.vars[mark - 1].1 = element.clone(),
            (_, false) => {
                self.vars[mark - 1].1 = element.clone();
                self.vars[mark - 2].1 = index;
            }
        }
        let flow = self.list(&element, &branch.list)?;
        self.vars.truncate(mark);
        Ok(flow)
    }

    fn template(&mut self, dot: &Value, at: At, name: &[u8], pipe: Option<&Pipe>) -> Result<(), ExecError> {
        self.at = Some(at);
        let Some(tree) = self.templates.lookup(name) else {
            return Err(self.error(format!("template {} not defined", crate::text::quote(name))));
        };
        if self.depth >= self.surroundings.limits.depth {
            let limit = self.surroundings.limits.depth;
            return Err(self.error(format!("exceeded maximum template depth ({limit})")));
        }
        let data = match pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Nothing,
        };
        self.within(tree, data)
    }

    /// Runs another tree, which sees none of the variables of this one.
    fn within(&mut self, tree: Arc<Tree>, data: Value) -> Result<(), ExecError> {
        let outer_tree = std::mem::replace(&mut self.tree, tree.clone());
        let outer_vars = std::mem::replace(&mut self.vars, vec![(b"$".as_slice().into(), data.clone())]);
        let outer_at = self.at;
        let ran = self.list(&data, &tree.root);
        self.tree = outer_tree;
        self.vars = outer_vars;
        self.at = outer_at;
        ran.map(|_| ())
    }

    /// The function `tmpl`: what another template writes, as it is.
    fn inserted(&mut self, name: &[u8], data: Value) -> Result<Value, CallError> {
        let tree = self.templates.ready(name).map_err(|fault| CallError(fault.to_string()))?;
        let outer_out = std::mem::take(&mut self.out);
        let ran = self.within(tree, data);
        let text = std::mem::replace(&mut self.out, outer_out);
        ran.map_err(|fault| CallError(fault.to_string()))?;
        self.surroundings.make(text.len())?;
        Ok(Value::Str(StrType::Html, text.into()))
    }

    fn print(&mut self, at: At, value: Value) -> Result<(), ExecError> {
        self.at = Some(at);
        match value {
            Value::Nothing => self.write(b"<no value>"),
            Value::Str(_, text) => self.write(&text),
            value => self.write(&print::sprint(&[printable(value)])),
        }
    }

    fn set_var(&mut self, name: &[u8], value: Value) -> Result<(), ExecError> {
        match self.vars.iter_mut().rev().find(|(have, _)| **have == *name) {
            Some((_, held)) => {
                *held = value;
                Ok(())
            }
            None => Err(self.error(format!("undefined variable: {}", crate::text::lossy(name)))),
        }
    }

    fn var(&self, name: &[u8]) -> Result<Value, ExecError> {
        let found = self.vars.iter().rev().find(|(have, _)| **have == *name);
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| self.error(format!("undefined variable: {}", crate::text::lossy(name))))
    }

    fn function(&self, name: &[u8]) -> Result<Function, ExecError> {
        let escaper = || crate::html::Escaper::by_name(name).map(Function::Escape);
        let found = Function::by_name(name, self.surroundings.in_page);
        found
            .or_else(|| if self.surroundings.in_page { escaper() } else { None })
            .ok_or_else(|| self.error(format!("{} is not a defined function", crate::text::quote(name))))
    }

    /// Whether a value fits a type without more ado.
    fn fits(value: &Value, of: &Type) -> bool {
        match of {
            Type::Any | Type::Reflected => true,
            of => value.type_of().as_ref() == Some(of),
        }
    }
}

/// The value as it is printed: what a pointer points to.
pub(crate) fn printable(value: Value) -> Value {
    match value {
        Value::Sample(Some(sample)) => {
            let fields = vec![("Labels", Value::Map(sample.labels.clone())), ("Value", sample.value.clone())];
            Value::Struct(Arc::new(Struct { type_name: "template.sample".to_owned(), fields }))
        }
        Value::TimePointer(time) => Value::Time(time),
        Value::DurationPointer(duration) => Value::Int(crate::value::IntType::Duration, duration.0),
        value => value,
    }
}
