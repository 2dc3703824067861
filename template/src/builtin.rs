//! The functions that Go gives every template.
//! Source: Go `text/template/funcs.go`.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::error::CallError;
use crate::exec::joined;
use crate::function::Function;
use crate::print;
use crate::text;
use crate::value::{IntType, Value};

type Called = Result<Value, CallError>;

fn fail<T>(message: impl Into<String>) -> Result<T, CallError> {
    Err(CallError::new(message))
}

/// Calls one of Go's functions; `None` if it is none of them.
pub(crate) fn apply(function: Function, args: &[Value]) -> Option<Called> {
    Some(match (function, args) {
        (Function::Html, args) => Ok(Value::text(html_escaped(&joined(args)))),
        (Function::Js, args) => Ok(Value::text(js_escaped(&joined(args)))),
        (Function::UrlQuery, args) => Ok(Value::text(query_escaped(&joined(args)))),
        (Function::Print, args) => Ok(Value::text(print::sprint(args))),
        (Function::Println, args) => Ok(Value::text(print::sprintln(args))),
        (Function::Printf, [Value::Str(_, format), args @ ..]) => {
            Ok(Value::text(print::sprintf(format, args)))
        }
        (Function::Not, [arg]) => Ok(Value::Bool(!arg.is_true())),
        (Function::Len, [arg]) => length(arg),
        (Function::Index, [item, indexes @ ..]) => index(item, indexes),
        (Function::Slice, [item, indexes @ ..]) => slice(item, indexes),
        (Function::Eq, [first, others @ ..]) => equal(first, others).map(Value::Bool),
        (Function::Ne, [a, b]) => equal(a, std::slice::from_ref(b)).map(|equal| Value::Bool(!equal)),
        (Function::Lt, [a, b]) => less(a, b).map(Value::Bool),
        (Function::Le, [a, b]) => less_or_equal(a, b).map(Value::Bool),
        (Function::Gt, [a, b]) => less_or_equal(a, b).map(|not| Value::Bool(!not)),
        (Function::Ge, [a, b]) => less(a, b).map(|not| Value::Bool(!not)),
        _ => return None,
    })
}

/// `call`: no value that a template can meet is a function.
pub(crate) fn call(name: Option<&str>, args: &[Value]) -> Called {
    let callee = args.first().cloned().unwrap_or(Value::Nothing).opened();
    match (callee.type_of(), name) {
        (None, _) => fail("call of nil"),
        (Some(of), Some(name)) => fail(format!("non-function {name} of type {of}")),
        (Some(of), None) => {
            let shown = match &callee {
                Value::Str(_, text) => text::lossy(text),
                _ => format!("<{of} Value>"),
            };
            fail(format!("non-function {shown} of type {of}"))
        }
    }
}

fn length(item: &Value) -> Called {
    let len = match item.clone().opened() {
        Value::Nothing if matches!(item, Value::Any(None)) => return fail("len of nil pointer"),
        Value::Nothing => return fail("reflect: call of reflect.Value.Type on zero Value"),
        Value::Sample(None) => return fail("len of nil pointer"),
        Value::Str(_, text) => text.len(),
        Value::Map(map) => map.entries.len(),
        Value::Slice(slice) => slice.len(),
        item => {
            let item = pointed_to(item);
            return fail(format!("len of type {}", pointed_type(&item)));
        }
    };
    Ok(Value::int(len as i64))
}

/// What a pointer points to.
fn pointed_to(item: Value) -> Value {
    crate::exec::printable(item)
}

fn pointed_type(item: &Value) -> String {
    item.type_name().trim_start_matches('*').to_owned()
}

/// An index into something of so many elements; their number itself passes here.
fn position(index: &Value, capacity: usize) -> Result<usize, CallError> {
    match index {
        Value::Int(_, number) => match usize::try_from(*number) {
            Ok(index) if index <= capacity => Ok(index),
            _ => fail(format!("index out of range: {number}")),
        },
        Value::Nothing => fail("cannot index slice/array with nil"),
        other => fail(format!("cannot index slice/array with type {}", other.type_name())),
    }
}

fn index(item: &Value, indexes: &[Value]) -> Called {
    let mut item = item.clone().opened();
    if let Value::Nothing = item {
        return fail("index of untyped nil");
    }
    for index in indexes {
        let index = &index.clone().opened();
        item = match item {
            Value::Any(None) | Value::Sample(None) => return fail("index of nil pointer"),
            item => item.opened(),
        };
        let next = match &item {
            Value::Str(_, text) => {
                let at = position(index, text.len())?;
                text.get(at).map(|byte| Value::Int(IntType::Uint8, i64::from(*byte))).ok_or("string")
            }
            Value::Slice(slice) => {
                let at = position(index, slice.len())?;
                slice.get(at).ok_or("slice")
            }
            Value::Map(map) => match index {
                Value::Str(crate::value::StrType::Plain, key) => Ok(map.get(key)),
                Value::Nothing => return fail("value is nil; should be of type string"),
                other => {
                    return fail(format!("value has type {}; should be string", other.type_name()));
                }
            },
            item => {
                return fail(format!("can't index item of type {}", pointed_type(&pointed_to(item.clone()))));
            }
        };
        item = next.or_else(|kind| fail(format!("reflect: {kind} index out of range")))?;
    }
    Ok(item)
}

fn slice(item: &Value, indexes: &[Value]) -> Called {
    let item = item.clone().opened();
    if let Value::Nothing = item {
        return fail("slice of untyped nil");
    }
    if let Value::Sample(None) = item {
        return fail("slice of nil pointer");
    }
    if indexes.len() > 3 {
        return fail(format!("too many slice indexes: {}", indexes.len()));
    }
    let (len, capacity) = match &item {
        Value::Str(..) if indexes.len() == 3 => return fail("cannot 3-index slice a string"),
        Value::Str(_, text) => (text.len(), text.len()),
        Value::Slice(slice) => (slice.len(), slice.capacity()),
        item => return fail(format!("can't slice item of type {}", pointed_type(&pointed_to(item.clone())))),
    };
    let mut bounds = [0, len, capacity];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = position(index, capacity)?;
    }
    let [from, to, end] = bounds;
    if from > to {
        return fail(format!("invalid slice index: {from} > {to}"));
    }
    if to > end {
        return fail(format!("invalid slice index: {to} > {end}"));
    }
    Ok(match item {
        Value::Str(kind, text) => Value::Str(kind, Arc::from(&text[from..to])),
        Value::Slice(slice) => Value::Slice(slice.part(from, to)),
        other => other,
    })
}

/// The kinds that can be compared by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Other,
    Bool,
    Complex,
    Int,
    Uint,
    Float,
    Str,
}

fn kind(value: &Value) -> Kind {
    match value {
        Value::Bool(_) => Kind::Bool,
        Value::Complex(..) => Kind::Complex,
        Value::Int(of, _) if of.is_signed() => Kind::Int,
        Value::Int(..) => Kind::Uint,
        Value::Float(_) => Kind::Float,
        Value::Str(..) => Kind::Str,
        _ => Kind::Other,
    }
}

fn incompatible<T>(a: &Value, b: &Value) -> Result<T, CallError> {
    fail(format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name()))
}

/// Whether the first equals any of the others.
fn equal(first: &Value, others: &[Value]) -> Result<bool, CallError> {
    let first = first.clone().opened();
    if others.is_empty() {
        return fail("missing argument for comparison");
    }
    for other in others {
        if equal_to(&first, &other.clone().opened())? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal_to(a: &Value, b: &Value) -> Result<bool, CallError> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => return Ok(a == b),
        (Value::Int(_, x), Value::Int(_, y)) => {
            // Bits that are no negative number mean the same with a sign and without.
            return Ok(x == y && (kind(a) == kind(b) || *x >= 0));
        }
        (Value::Float(a), Value::Float(b)) => return Ok(a == b),
        (Value::Complex(a, ai), Value::Complex(b, bi)) => return Ok(a == b && ai == bi),
        (Value::Str(_, a), Value::Str(_, b)) => return Ok(a == b),
        _ => {}
    }
    let has_nothing = matches!(a, Value::Nothing) || matches!(b, Value::Nothing);
    if kind(a) != kind(b) {
        return if has_nothing { Ok(false) } else { incompatible(a, b) };
    }
    if !has_nothing && go_kind(a) != go_kind(b) {
        return fail(format!(
            "non-comparable types {}: {}, {}: {}",
            print::shown(a, 's'),
            a.type_name(),
            b.type_name(),
            print::shown(b, 'v')
        ));
    }
    if a.is_nil() || b.is_nil() {
        return Ok(a.is_nil() == b.is_nil());
    }
    match (a, b) {
        (_, Value::Map(_) | Value::Slice(_)) => {
            fail(format!("non-comparable type {}: {}", print::shown(b, 's'), b.type_name()))
        }
        (_, Value::Struct(of)) => match of.fields.iter().find(|(_, value)| is_collection(value)) {
            Some(_) => fail(format!("non-comparable type {}: {}", print::shown(b, 's'), b.type_name())),
            None => Ok(print::shown(a, 'v') == print::shown(b, 'v') && a.type_of() == b.type_of()),
        },
        (Value::Sample(Some(a)), Value::Sample(Some(b))) => Ok(Arc::ptr_eq(a, b)),
        (Value::Histogram(a), Value::Histogram(b)) => Ok(Arc::ptr_eq(a, b)),
        (Value::Time(a), Value::Time(b)) => Ok(a == b),
        (Value::Location(a), Value::Location(b)) => Ok(a == b),
        _ => Ok(false),
    }
}

fn is_collection(value: &Value) -> bool {
    matches!(value, Value::Map(_) | Value::Slice(_))
}

/// Go's kind of a value that [`kind`] does not know.
fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Map(_) => "map",
        Value::Slice(_) => "slice",
        Value::Time(_) | Value::Struct(_) => "struct",
        Value::Nothing => "invalid",
        _ => "pointer",
    }
}

fn order(a: &Value, b: &Value) -> Result<Option<Ordering>, CallError> {
    const BAD: &str = "invalid type for comparison";
    let (a, b) = (a.clone().opened(), b.clone().opened());
    if kind(&a) == Kind::Other || kind(&b) == Kind::Other {
        return fail(BAD);
    }
    match (&a, &b) {
        (Value::Int(of_a, x), Value::Int(of_b, y)) => {
            let wide = |of: &IntType, bits: i64| {
                if of.is_signed() { i128::from(bits) } else { i128::from(bits as u64) }
            };
            Ok(Some(wide(of_a, *x).cmp(&wide(of_b, *y))))
        }
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Str(_, a), Value::Str(_, b)) => Ok(Some(a.cmp(b))),
        (a, b) if kind(a) == kind(b) => fail(BAD),
        (a, b) => incompatible(a, b),
    }
}

fn less(a: &Value, b: &Value) -> Result<bool, CallError> {
    Ok(order(a, b)? == Some(Ordering::Less))
}

fn less_or_equal(a: &Value, b: &Value) -> Result<bool, CallError> {
    Ok(matches!(order(a, b)?, Some(Ordering::Less | Ordering::Equal)))
}

/// Text for HTML. Source: Go `template.HTMLEscape`.
pub(crate) fn html_escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        let replacement: &[u8] = match byte {
            0 => "\u{fffd}".as_bytes(),
            b'"' => b"&#34;",
            b'\'' => b"&#39;",
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            byte => std::slice::from_ref(byte),
        };
        out.extend_from_slice(replacement);
    }
    out
}

/// Text for a string of JavaScript. Source: Go `template.JSEscape`.
fn js_escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for (at, c, width) in text::chars(text) {
        match c {
            '\\' => out.extend_from_slice(b"\\\\"),
            '\'' => out.extend_from_slice(b"\\'"),
            '"' => out.extend_from_slice(b"\\\""),
            '<' | '>' | '&' | '=' | '\0'..=' ' if c != ' ' => {
                out.extend_from_slice(format!("\\u{:04X}", u32::from(c)).as_bytes());
            }
            c if c.is_ascii() || text::is_print(c) => out.extend_from_slice(&text[at..at + width]),
            c => out.extend_from_slice(format!("\\u{:04X}", u32::from(c)).as_bytes()),
        }
    }
    out
}

/// Text for a query of a URL. Source: Go `url.QueryEscape`.
pub(crate) fn query_escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(*byte),
            b' ' => out.push(b'+'),
            byte => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Map;

    #[test]
    fn comparisons_follow_kinds() {
        let uint = Value::Int(IntType::Uint8, 97);
        assert_eq!(equal(&Value::int(97), std::slice::from_ref(&uint)), Ok(true));
        let fault = equal(&Value::int(1), &[Value::Float(1.0)]).unwrap_err();
        assert_eq!(fault.0, "incompatible types for comparison: int and float64");
        assert_eq!(equal(&Value::Nothing, &[Value::Any(None)]), Ok(true));
        assert_eq!(less(&Value::Float(f64::NAN), &Value::Float(1.0)), Ok(false));
        assert_eq!(
            less(&Value::Bool(true), &Value::Bool(true)).unwrap_err().0,
            "invalid type for comparison"
        );
        let map = Value::Map(Map::of_strings([("a", "b")]));
        let fault = equal(&map, std::slice::from_ref(&map)).unwrap_err();
        assert_eq!(fault.0, "non-comparable type map[a:b]: map[string]string");
    }

    #[test]
    fn indexes_are_checked_as_in_go() {
        let text = Value::text("ab");
        let at = |i: i64| index(&text, &[Value::int(i)]);
        assert!(matches!(at(1), Ok(Value::Int(IntType::Uint8, 98))));
        assert_eq!(at(2).unwrap_err().0, "reflect: string index out of range");
        assert_eq!(at(3).unwrap_err().0, "index out of range: 3");
        assert_eq!(index(&Value::int(1), &[Value::int(1)]).unwrap_err().0, "can't index item of type int");
        assert_eq!(
            slice(&text, &[Value::int(2), Value::int(1)]).unwrap_err().0,
            "invalid slice index: 2 > 1"
        );
    }

    #[test]
    fn text_is_escaped_as_in_go() {
        assert_eq!(html_escaped(b"<a'\"&\0>"), "&lt;a&#39;&#34;&amp;\u{fffd}&gt;".as_bytes());
        assert_eq!(
            js_escaped("a'<\n\u{2028}\u{e9}=".as_bytes()),
            "a\\'\\u003C\\u000A\\u2028\u{e9}\\u003D".as_bytes()
        );
        assert_eq!(query_escaped("a b/\u{e9}".as_bytes()), b"a+b%2F%C3%A9");
    }
}
