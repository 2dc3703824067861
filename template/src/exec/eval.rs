//! Pipelines, commands and fields.

use std::sync::Arc;

use super::{Exec, printable};
use crate::error::ExecError;
use crate::method;
use crate::node::{At, Command, Operand, Pipe, Term};
use crate::number::Number;
use crate::text;
use crate::value::Value;

type Evaluated = Result<Value, ExecError>;

impl Exec<'_> {
    /// The value of the last command. Variables that are declared stay until the
    /// caller drops them.
    pub(super) fn pipeline(&mut self, dot: &Value, pipe: &Pipe) -> Evaluated {
        self.deeper(|exec| {
            exec.at = Some(pipe.at);
            let mut value = None;
            for command in &pipe.commands {
                let next = exec.command(dot, command, value)?;
                value = Some(next.opened());
            }
            let value = value.unwrap_or(Value::Nothing);
            for name in &pipe.decls {
                if pipe.assigns {
                    exec.set_var(name, value.clone())?;
                } else {
                    exec.vars.push((name.clone(), value.clone()));
                }
            }
            Ok(value)
        })
    }

    fn not_a_function(&self, args: &[Operand], last: &Option<Value>) -> Result<(), ExecError> {
        if args.len() > 1 || last.is_some() {
            return Err(self.error(format!("can't give argument to non-function {}", args[0])));
        }
        Ok(())
    }

    fn command(&mut self, dot: &Value, command: &Command, last: Option<Value>) -> Evaluated {
        self.step()?;
        let args = command.args.as_slice();
        let first = &args[0];
        match &first.term {
            Term::Field(names) => {
                self.at = Some(first.at);
                return self.field_chain(first.at, dot, dot.clone(), names, args, last);
            }
            Term::Chain(inner, names) => return self.chain(dot, first, inner, names, args, last),
            Term::Identifier(name) => return self.named(dot, first.at, command.at, name, args, last),
            Term::Pipe(pipe) => {
                self.not_a_function(args, &last)?;
                return self.pipeline(dot, pipe);
            }
            Term::Variable(names) => return self.variable(dot, first.at, names, args, last),
            _ => {}
        }
        self.at = Some(first.at);
        self.not_a_function(args, &last)?;
        match &first.term {
            Term::Dot => Ok(dot.clone()),
            Term::Nil => Err(self.error("nil is not a command")),
            Term::Bool(value) => Ok(Value::Bool(*value)),
            Term::Str { text, .. } => Ok(Value::text(text)),
            Term::Number(number) => self.constant(first.at, number),
            _ => {
                Err(self
                    .error(format!("can't evaluate command {}", text::quote(first.to_string().as_bytes()))))
            }
        }
    }

    /// A number without a type to go by: its form decides.
    pub(super) fn constant(&mut self, at: At, number: &Number) -> Evaluated {
        self.at = Some(at);
        if let Some((real, imaginary)) = number.complex {
            return Ok(Value::Complex(real, imaginary));
        }
        let written = &number.text;
        let has = |set: &[u8]| written.iter().any(|b| set.contains(b));
        let is_hex_int = matches!(&**written, [b'0', b'x' | b'X', _, ..]) && !has(b"pP");
        let is_char = written.first() == Some(&b'\'');
        match (number.float, number.int) {
            (Some(value), _) if !is_hex_int && !is_char && has(b".eEpP") => Ok(Value::Float(value)),
            (_, Some(value)) => Ok(Value::int(value)),
            _ => Err(self.error(format!("{} overflows int", text::lossy(written)))),
        }
    }

    pub(super) fn chain(
        &mut self,
        dot: &Value,
        node: &Operand,
        inner: &Operand,
        names: &[Arc<[u8]>],
        args: &[Operand],
        last: Option<Value>,
    ) -> Evaluated {
        self.at = Some(node.at);
        if let Term::Nil = inner.term {
            return Err(self.error(format!("indirection through explicit nil in {node}")));
        }
        let receiver = self.untyped_argument(dot, inner)?;
        self.field_chain(node.at, dot, receiver, names, args, last)
    }

    pub(super) fn variable(
        &mut self,
        dot: &Value,
        at: At,
        names: &[Arc<[u8]>],
        args: &[Operand],
        last: Option<Value>,
    ) -> Evaluated {
        self.at = Some(at);
        let value = self.var(&names[0])?;
        if names.len() == 1 {
            if !args.is_empty() {
                self.not_a_function(args, &last)?;
            }
            return Ok(value);
        }
        self.field_chain(at, dot, value, &names[1..], args, last)
    }

    /// `.a.b.c`, of which the last may be a method with arguments.
    pub(super) fn field_chain(
        &mut self,
        at: At,
        dot: &Value,
        receiver: Value,
        names: &[Arc<[u8]>],
        args: &[Operand],
        last: Option<Value>,
    ) -> Evaluated {
        let (end, path) = names.split_last().expect("the parser makes no chain without a name");
        let mut receiver = receiver;
        for name in path {
            receiver = self.field(at, dot, receiver, name, &[], None)?;
        }
        self.field(at, dot, receiver, end, args, last)
    }

    fn field(
        &mut self,
        at: At,
        dot: &Value,
        receiver: Value,
        name: &[u8],
        args: &[Operand],
        last: Option<Value>,
    ) -> Evaluated {
        let Some(of) = receiver.type_of() else { return Ok(Value::Nothing) };
        let shown = text::lossy(name);
        if let Value::Any(None) | Value::Sample(None) = receiver {
            return Err(self.error(format!("nil pointer evaluating {of}.{shown}")));
        }
        let receiver = receiver.opened();
        if let Some(found) = method::find(&receiver, name) {
            return self.call_method(at, dot, receiver, found, name, args, last);
        }
        let has_args = args.len() > 1 || last.is_some();
        if let Value::Map(map) = &receiver {
            if has_args {
                return Err(self.error(format!("{shown} is not a method but has arguments")));
            }
            return Ok(map.get(name));
        }
        if let Some(value) = method::struct_field(&receiver, name) {
            if has_args {
                return Err(self.error(format!("{shown} has arguments but cannot be invoked as function")));
            }
            return Ok(value);
        }
        if method::is_hidden_field(&receiver, name) {
            return Err(self.error(format!("{shown} is an unexported field of struct type {of}")));
        }
        Err(self.error(format!("can't evaluate field {shown} in type {of}")))
    }
}

/// The arguments as one text, as the escaping functions take them.
pub(crate) fn joined(args: &[Value]) -> Vec<u8> {
    if let [Value::Str(_, text)] = args {
        return text.to_vec();
    }
    let args: Vec<Value> = args.iter().map(|arg| shown_argument(arg.clone())).collect();
    crate::print::sprint(&args)
}

/// An argument as it is printed when it is the value of an action.
fn shown_argument(value: Value) -> Value {
    match value.opened() {
        Value::Nothing => Value::text("<no value>"),
        value => printable(value),
    }
}
