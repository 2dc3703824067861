//! Calls: arguments brought to the types that parameters have.

use std::sync::Arc;

use super::Exec;
use crate::error::ExecError;
use crate::function::{Function, Param, Signature};
use crate::method::{self, Method};
use crate::node::{At, Operand, Term};
use crate::text;
use crate::value::{IntType, StrType, Type, Value};
use crate::{builtin, prometheus};

type Evaluated = Result<Value, ExecError>;

impl Exec<'_> {
    /// A function by its name. `whole` is the node that messages about its result name.
    pub(super) fn named(
        &mut self,
        dot: &Value,
        at: At,
        whole: At,
        name: &[u8],
        args: &[Operand],
        last: Option<Value>,
    ) -> Evaluated {
        self.at = Some(at);
        let function = self.function(name)?;
        let shown = text::lossy(name);
        let rest = args.get(1..).unwrap_or(&[]);
        let signature = function.signature();
        self.check_count(&signature, &shown, rest.len(), last.is_some())?;
        if matches!(function, Function::And | Function::Or) {
            return self.short_circuit(dot, function, rest, last);
        }
        let values = self.arguments(dot, &signature, rest, last)?;
        let surroundings = self.surroundings;
        let result = match (function, values.as_slice()) {
            (Function::Tmpl, [Value::Str(_, name), data]) => self.inserted(name, data.clone()),
            (Function::Call, values) => {
                let callee = rest.first().map(ToString::to_string);
                builtin::call(callee.as_deref(), values)
            }
            (function, values) => match builtin::apply(function, values) {
                Some(result) => result,
                None => prometheus::apply(surroundings, function, values),
            },
        };
        let result = result.and_then(|value| {
            if let Value::Str(_, text) = &value {
                surroundings.make(text.len())?;
            }
            Ok(value)
        });
        result.map_err(|fault| {
            self.at = Some(whole);
            self.error(format!("error calling {shown}: {fault}"))
        })
    }

    pub(super) fn call_method(
        &mut self,
        at: At,
        dot: &Value,
        receiver: Value,
        found: Method,
        name: &[u8],
        args: &[Operand],
        last: Option<Value>,
    ) -> Evaluated {
        let shown = text::lossy(name);
        let rest = args.get(1..).unwrap_or(&[]);
        self.check_count(&found.signature, &shown, rest.len(), last.is_some())?;
        let values = self.arguments(dot, &found.signature, rest, last)?;
        method::call(&receiver, name, &values).map_err(|fault| {
            self.at = Some(at);
            self.error(format!("error calling {shown}: {fault}"))
        })
    }

    fn check_count(
        &self,
        signature: &Signature,
        name: &str,
        args: usize,
        has_last: bool,
    ) -> Result<(), ExecError> {
        let given = args + usize::from(has_last);
        let params = signature.params.len();
        if signature.variadic {
            let least = params - 1;
            if given < least {
                let message = format!("wrong number of args for {name}: want at least {least} got {args}");
                return Err(self.error(message));
            }
        } else if given != params {
            return Err(self.error(format!("wrong number of args for {name}: want {params} got {given}")));
        }
        match signature.fault {
            Some(fault) => Err(self.error(fault.replace("{}", name))),
            None => Ok(()),
        }
    }

    /// `and` and `or`: no argument behind the one that decides is evaluated.
    fn short_circuit(
        &mut self,
        dot: &Value,
        function: Function,
        args: &[Operand],
        last: Option<Value>,
    ) -> Evaluated {
        let mut value = Value::Nothing;
        for operand in args {
            value = self.argument(dot, Param::Reflected, operand)?;
            if value.is_true() == (function == Function::Or) {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn arguments(
        &mut self,
        dot: &Value,
        signature: &Signature,
        args: &[Operand],
        last: Option<Value>,
    ) -> Result<Vec<Value>, ExecError> {
        let param = |index: usize| {
            let end = signature.params.len() - 1;
            signature.params[index.min(end)]
        };
        let mut values = Vec::with_capacity(args.len() + 1);
        for (i, operand) in args.iter().enumerate() {
            values.push(self.argument(dot, param(i), operand)?);
        }
        if let Some(last) = last {
            values.push(self.checked(last, param(args.len()))?);
        }
        Ok(values)
    }

    /// A value that must be assignable to a parameter.
    fn checked(&self, value: Value, param: Param) -> Evaluated {
        let of = param.type_of();
        if let Value::Nothing = value {
            if of.can_be_nil() {
                return Ok(if param == Param::Reflected { Value::Nothing } else { of.nil() });
            }
            return Err(self.error(format!("invalid value; expected {of}")));
        }
        if Exec::fits(&value, &of) {
            return Ok(value);
        }
        let value = match value {
            Value::Any(Some(inner)) => {
                let inner = (*inner).clone();
                if Exec::fits(&inner, &of) {
                    return Ok(inner);
                }
                inner
            }
            value => value,
        };
        match (value, &of) {
            (Value::TimePointer(time), Type::Time) => Ok(Value::Time(time)),
            (Value::DurationPointer(duration), Type::Int(IntType::Duration)) => {
                Ok(Value::Int(IntType::Duration, duration.0))
            }
            (value, of) => {
                Err(self.error(format!("wrong type for value; expected {of}; got {}", value.type_name())))
            }
        }
    }

    /// What stands before a chain of fields.
    pub(super) fn untyped_argument(&mut self, dot: &Value, operand: &Operand) -> Evaluated {
        self.at = Some(operand.at);
        match self.evaluated(dot, operand)? {
            Some(value) => Ok(value),
            None => Err(self.error(format!("can't evaluate command {operand}"))),
        }
    }

    /// The value of an operand that is no constant.
    fn evaluated(&mut self, dot: &Value, operand: &Operand) -> Result<Option<Value>, ExecError> {
        let at = operand.at;
        Ok(Some(match &operand.term {
            Term::Dot => dot.clone(),
            Term::Field(names) => self.field_chain(at, dot, dot.clone(), names, &[], None)?,
            Term::Variable(names) => self.variable(dot, at, names, &[], None)?,
            Term::Pipe(pipe) => self.pipeline(dot, pipe)?,
            Term::Identifier(name) => self.named(dot, at, at, name, &[], None)?,
            Term::Chain(inner, names) => self.chain(dot, operand, inner, names, &[], None)?,
            Term::Bool(_) | Term::Number(_) | Term::Str { .. } | Term::Nil => return Ok(None),
        }))
    }

    fn argument(&mut self, dot: &Value, param: Param, operand: &Operand) -> Evaluated {
        self.step()?;
        self.at = Some(operand.at);
        if let Term::Nil = operand.term {
            let of = param.type_of();
            if of.can_be_nil() {
                return Ok(if param == Param::Reflected { Value::Nothing } else { of.nil() });
            }
            return Err(self.error(format!("cannot assign nil to {of}")));
        }
        if let Some(value) = self.evaluated(dot, operand)? {
            return self.checked(value, param);
        }
        self.constant_for(param, operand)
    }

    /// A constant as a parameter's type has it.
    fn constant_for(&mut self, param: Param, operand: &Operand) -> Evaluated {
        let int = |kind: IntType| match &operand.term {
            Term::Number(number) => number.int.map(|value| Value::Int(kind, value)),
            _ => None,
        };
        let (value, wanted) = match param {
            Param::Any | Param::Reflected => {
                return match &operand.term {
                    Term::Bool(value) => Ok(Value::Bool(*value)),
                    Term::Str { text, .. } => Ok(Value::Str(StrType::Plain, text.clone())),
                    Term::Number(number) => self.constant(operand.at, number),
                    _ => Err(self
                        .error(format!("can't handle assignment of {operand} to empty interface argument"))),
                };
            }
            Param::Str => match &operand.term {
                Term::Str { text, .. } => (Some(Value::Str(StrType::Plain, Arc::clone(text))), "string"),
                _ => (None, "string"),
            },
            Param::Int => (int(IntType::Int), "integer"),
            Param::Duration => (int(IntType::Duration), "integer"),
            Param::Sample | Param::QueryResult | Param::Time | Param::Location => {
                let of = param.type_of();
                return Err(self.error(format!("can't handle {operand} for arg of type {of}")));
            }
        };
        value.ok_or_else(|| self.error(format!("expected {wanted}; found {operand}")))
    }
}
