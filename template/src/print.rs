//! `print`, `printf` and `println` as Go's package `fmt` has them.
//!
//! Every fault of a format is written into the result, `%!d(string=x)`, never
//! returned: so a wrong annotation still says something.
//!
//! ```text
//! format.rs  %-8.3f      finds verbs, flags and arguments
//! print.rs   v d s q …   what a verb means for a type
//! pad.rs     8, 3        digits, padding, quotes
//! float.rs   e f g b x   digits of floats
//! ```

pub(crate) mod float;
mod format;
mod pad;

use pad::{Padder, Sign};

use crate::text;
use crate::time;
use crate::value::{IntType, Map, Slice, SliceType, Struct, Type, Value};

/// Where the pointers that cannot be followed point to: addresses tell nobody
/// anything, and are not shown.
const ADDRESS: u64 = 0xc0_0000_0000;

/// Beyond this nothing more of a value is printed, and the executor refuses the
/// text: a few maps that hold each other several times print without end.
pub(crate) const BYTES_MAX: usize = 16 << 20;

/// The values one after the other, spaces between those that are no text.
pub(crate) fn sprint(args: &[Value]) -> Vec<u8> {
    let mut printer = Printer::default();
    let mut after_text = false;
    for (i, arg) in args.iter().enumerate() {
        let arg = arg.clone().opened();
        let is_text = matches!(arg, Value::Str(..));
        if i > 0 && !is_text && !after_text {
            printer.to.push(" ");
        }
        printer.arg(&arg, 'v');
        after_text = is_text;
    }
    printer.to.out
}

/// The values with spaces between, and a newline.
pub(crate) fn sprintln(args: &[Value]) -> Vec<u8> {
    let mut printer = Printer::default();
    for (i, arg) in args.iter().enumerate() {
        if i > 0 {
            printer.to.push(" ");
        }
        printer.arg(&arg.clone().opened(), 'v');
    }
    printer.to.push("\n");
    printer.to.out
}

/// The format with the values in place of its verbs.
pub(crate) fn sprintf(format: &[u8], args: &[Value]) -> Vec<u8> {
    let args: Vec<Value> = args.iter().map(|arg| arg.clone().opened()).collect();
    format::run(format, &args)
}

/// One value by one verb, as messages need it.
pub(crate) fn shown(value: &Value, verb: char) -> String {
    let mut printer = Printer::default();
    match value.clone().opened() {
        Value::Nothing => printer.to.push("<nil>"),
        value => printer.arg(&value, verb),
    }
    text::lossy(&printer.to.out)
}

#[derive(Debug, Default)]
struct Printer {
    to: Padder,
    /// Within `%!d(…)`: values are shown as they are, not by their methods.
    in_fault: bool,
}

impl Printer {
    /// One argument.
    fn arg(&mut self, arg: &Value, verb: char) {
        let Some(of) = arg.type_of() else {
            match verb {
                'T' | 'v' => self.to.pad(b"<nil>"),
                _ => self.bad_verb(None, verb),
            }
            return;
        };
        match verb {
            'T' => self.to.text(of.to_string().as_bytes()),
            'p' => self.pointer(arg, 'p'),
            _ if self.method(arg, verb) => {}
            _ => self.value(arg, verb, 0),
        }
    }

    /// A verb that the type does not know.
    fn bad_verb(&mut self, value: Option<&Value>, verb: char) {
        self.in_fault = true;
        self.to.push("%!");
        text::push_char(&mut self.to.out, verb);
        self.to.push("(");
        match value {
            Some(value) => {
                self.to.push(&value.type_name());
                self.to.push("=");
                self.value(value, 'v', 0);
            }
            None => self.to.push("<nil>"),
        }
        self.to.push(")");
        self.in_fault = false;
    }

    /// Prints by the value's own method, if it has one for the verb.
    fn method(&mut self, value: &Value, verb: char) -> bool {
        if self.in_fault {
            return false;
        }
        if verb == 'w' {
            self.bad_verb(Some(value), verb);
            return true;
        }
        if self.to.flags.sharp_v {
            let (Value::Time(time) | Value::TimePointer(time)) = value else { return false };
            self.to.text(time.go_syntax().as_bytes());
            return true;
        }
        if !matches!(verb, 'v' | 's' | 'x' | 'X' | 'q') {
            return false;
        }
        let name = match value {
            Value::Int(kind, number) => time::int_name(*kind, *number),
            Value::Time(time) | Value::TimePointer(time) => Some(time.to_string()),
            Value::DurationPointer(duration) => Some(duration.to_string()),
            Value::Location(location) => Some(location.to_string()),
            Value::Histogram(histogram) => Some(histogram.to_string()),
            _ => None,
        };
        let Some(name) = name else { return false };
        self.text(&Value::text(&name), name.as_bytes(), verb);
        true
    }

    fn text(&mut self, value: &Value, text: &[u8], verb: char) {
        match verb {
            'v' if self.to.flags.sharp_v => self.to.quoted(text),
            'v' | 's' => self.to.text(text),
            'x' => self.to.hex_text(text, false),
            'X' => self.to.hex_text(text, true),
            'q' => self.to.quoted(text),
            _ => self.bad_verb(Some(value), verb),
        }
    }

    fn integer(&mut self, value: &Value, bits: u64, sign: Sign, verb: char) {
        match verb {
            'v' if self.to.flags.sharp_v && sign == Sign::Unsigned => self.hex(bits, true),
            'v' | 'd' => self.to.integer(bits, 10, sign, verb),
            'b' => self.to.integer(bits, 2, sign, verb),
            'o' | 'O' => self.to.integer(bits, 8, sign, verb),
            'x' | 'X' => self.to.integer(bits, 16, sign, verb),
            'c' => self.to.character(bits),
            'q' => self.to.quoted_character(bits),
            'U' => self.to.code_point(bits),
            _ => self.bad_verb(Some(value), verb),
        }
    }

    /// A number in hexadecimal, with a prefix or without.
    fn hex(&mut self, bits: u64, prefix: bool) {
        let sharp = std::mem::replace(&mut self.to.flags.sharp, prefix);
        self.to.integer(bits, 16, Sign::Unsigned, 'v');
        self.to.flags.sharp = sharp;
    }

    /// Writes a float; `false` if the verb is not one of floats.
    fn float(&mut self, number: f64, verb: char) -> bool {
        match verb {
            'v' => self.to.float(number, 'g', None),
            'b' | 'g' | 'G' | 'x' | 'X' => self.to.float(number, verb, None),
            'f' | 'e' | 'E' => self.to.float(number, verb, Some(6)),
            'F' => self.to.float(number, 'f', Some(6)),
            _ => return false,
        }
        true
    }

    fn complex(&mut self, value: &Value, real: f64, imaginary: f64, verb: char) {
        if !matches!(verb, 'v' | 'b' | 'g' | 'G' | 'x' | 'X' | 'f' | 'F' | 'e' | 'E') {
            return self.bad_verb(Some(value), verb);
        }
        let plus = self.to.flags.plus;
        self.to.push("(");
        self.float(real, verb);
        self.to.flags.plus = true;
        self.float(imaginary, verb);
        self.to.push("i)");
        self.to.flags.plus = plus;
    }

    fn pointer(&mut self, value: &Value, verb: char) {
        let address = match value {
            Value::Sample(None) => 0,
            Value::Slice(slice) if slice.is_nil() => 0,
            Value::Sample(_)
            | Value::TimePointer(_)
            | Value::DurationPointer(_)
            | Value::Location(_)
            | Value::Histogram(_)
            | Value::Map(_)
            | Value::Slice(_) => ADDRESS,
            _ => return self.bad_verb(Some(value), verb),
        };
        match verb {
            'v' if self.to.flags.sharp_v => {
                self.to.push(&format!("({})(", value.type_name()));
                match address {
                    0 => self.to.push("nil"),
                    address => self.hex(address, true),
                }
                self.to.push(")");
            }
            'v' if address == 0 => self.to.pad(b"<nil>"),
            'v' | 'p' => self.hex(address, !self.to.flags.sharp),
            'b' | 'o' | 'd' | 'x' | 'X' => self.integer(value, address, Sign::Unsigned, verb),
            _ => self.bad_verb(Some(value), verb),
        }
    }

    /// A value, or a part of one at some depth.
    fn value(&mut self, value: &Value, verb: char, depth: usize) {
        if self.to.out.len() > BYTES_MAX {
            return;
        }
        if depth > 0 && !matches!(value, Value::Any(_) | Value::Nothing) && self.method(value, verb) {
            return;
        }
        match value {
            Value::Nothing if depth > 0 && verb == 'v' => self.to.push("<nil>"),
            Value::Nothing => self.bad_verb(None, verb),
            Value::Any(None) if self.to.flags.sharp_v => self.to.push("interface {}(nil)"),
            Value::Any(None) => self.to.push("<nil>"),
            Value::Any(Some(inner)) => self.value(inner, verb, depth + 1),
            Value::Bool(truth) if matches!(verb, 't' | 'v') => self.to.bool(*truth),
            Value::Bool(_) => self.bad_verb(Some(value), verb),
            Value::Int(kind, number) => {
                let sign = if kind.is_signed() { Sign::Signed } else { Sign::Unsigned };
                self.integer(value, *number as u64, sign, verb);
            }
            Value::Float(number) => {
                if !self.float(*number, verb) {
                    self.bad_verb(Some(value), verb);
                }
            }
            Value::Complex(real, imaginary) => self.complex(value, *real, *imaginary, verb),
            Value::Str(_, text) => self.text(value, text, verb),
            Value::Map(map) => self.map(map, verb, depth),
            Value::Slice(slice) => self.slice(slice, verb, depth),
            Value::Struct(of) => self.fields(of, verb, depth),
            Value::Sample(Some(sample)) if depth == 0 => {
                let fields =
                    vec![("Labels", Value::Map(sample.labels.clone())), ("Value", sample.value.clone())];
                self.to.push("&");
                self.fields(&Struct { type_name: "template.sample".to_owned(), fields }, verb, 1);
            }
            Value::Histogram(histogram) if depth == 0 => {
                self.to.push("&");
                self.fields(&crate::method::histogram_struct(histogram), verb, 1);
            }
            Value::Time(time) => self.to.push(&time.inside()),
            Value::TimePointer(time) if depth == 0 => self.to.push(&format!("&{}", time.inside())),
            Value::Sample(_)
            | Value::TimePointer(_)
            | Value::DurationPointer(_)
            | Value::Location(_)
            | Value::Histogram(_) => self.pointer(value, verb),
        }
    }

    fn separator(&mut self, index: usize) {
        if index > 0 {
            let text = if self.to.flags.sharp_v { ", " } else { " " };
            self.to.push(text);
        }
    }

    fn map(&mut self, map: &Map, verb: char, depth: usize) {
        let sharp = self.to.flags.sharp_v;
        if sharp {
            self.to.push(&format!("{}{{", Type::Map(map.kind)));
        } else {
            self.to.push("map[");
        }
        for (i, (name, element)) in map.entries.iter().enumerate() {
            self.separator(i);
            self.value(&Value::text(name), verb, depth + 1);
            self.to.push(":");
            self.value(element, verb, depth + 1);
        }
        self.to.push(if sharp { "}" } else { "]" });
    }

    fn slice(&mut self, slice: &Slice, verb: char, depth: usize) {
        let sharp = self.to.flags.sharp_v;
        if slice.kind == SliceType::Octets && matches!(verb, 's' | 'q' | 'x' | 'X') {
            let bytes: Vec<u8> = slice
                .iter()
                .map(|item| if let Value::Int(IntType::Uint8, byte) = item { byte as u8 } else { 0 })
                .collect();
            return self.text(&Value::text(&bytes), &bytes, verb);
        }
        if sharp {
            self.to.push(&Type::Slice(slice.kind).to_string());
            if slice.is_nil() {
                return self.to.push("(nil)");
            }
        }
        self.to.push(if sharp { "{" } else { "[" });
        for (i, item) in slice.iter().enumerate() {
            self.separator(i);
            self.value(&item, verb, depth + 1);
        }
        self.to.push(if sharp { "}" } else { "]" });
    }

    fn fields(&mut self, of: &Struct, verb: char, depth: usize) {
        let flags = self.to.flags;
        if flags.sharp_v {
            self.to.push(&of.type_name);
        }
        self.to.push("{");
        for (i, (name, value)) in of.fields.iter().enumerate() {
            self.separator(i);
            if flags.plus_v || flags.sharp_v {
                self.to.push(&format!("{name}:"));
            }
            match value {
                Value::Any(Some(inner)) => self.value(inner, verb, depth + 1),
                value => self.value(value, verb, depth + 1),
            }
        }
        self.to.push("}");
    }
}

#[cfg(test)]
mod tests;
