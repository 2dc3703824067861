//! Formats: verbs, flags, widths and which argument is meant.
//! Source: Go `fmt.Sprintf`.

use super::Printer;
use super::pad::Flags;
use crate::text;
use crate::value::Value;

/// Widths and precisions beyond this are no numbers to Go.
const NUMBER_MAX: i64 = 1_000_000;

pub(super) fn run(format: &[u8], args: &[Value]) -> Vec<u8> {
    let mut run = Run {
        printer: Printer::default(),
        format,
        at: 0,
        args,
        next_arg: 0,
        reordered: false,
        index_is_good: true,
        after_index: false,
    };
    run.whole();
    run.printer.to.out
}

struct Run<'f> {
    printer: Printer,
    format: &'f [u8],
    at: usize,
    args: &'f [Value],
    next_arg: usize,
    /// An argument was asked for by number.
    reordered: bool,
    index_is_good: bool,
    /// What was read last is such a number.
    after_index: bool,
}

impl Run<'_> {
    fn peek(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    fn flags(&mut self) -> &mut Flags {
        &mut self.printer.to.flags
    }

    fn whole(&mut self) {
        while self.at < self.format.len() {
            let rest = &self.format[self.at..];
            let plain = rest.iter().position(|b| *b == b'%').unwrap_or(rest.len());
            self.printer.to.out.extend_from_slice(&rest[..plain]);
            self.at += plain;
            if self.peek().is_none() {
                break;
            }
            self.at += 1;
            if !self.verb() {
                break;
            }
        }
        self.extra();
    }

    /// One verb with its flags; `false` if the format ends before it.
    fn verb(&mut self) -> bool {
        self.index_is_good = true;
        self.after_index = false;
        *self.flags() = Flags::default();
        while let Some(byte) = self.peek() {
            match byte {
                b'#' => self.flags().sharp = true,
                b'0' => self.flags().zero = true,
                b'+' => self.flags().plus = true,
                b'-' => self.flags().minus = true,
                b' ' => self.flags().space = true,
                _ => break,
            }
            self.at += 1;
        }
        self.index();
        self.width();
        self.precision();
        if !self.after_index {
            self.index();
        }
        let Some((verb, size)) = text::decode(&self.format[self.at..]) else {
            self.printer.to.push("%!(NOVERB)");
            return false;
        };
        self.at += size;
        self.print(verb);
        true
    }

    fn print(&mut self, verb: char) {
        if verb == '%' {
            return self.printer.to.push("%");
        }
        let fault = match self.args.get(self.next_arg) {
            _ if !self.index_is_good => "(BADINDEX)",
            None => "(MISSING)",
            Some(arg) => {
                if matches!(verb, 'v' | 'w') {
                    let flags = self.flags();
                    flags.sharp_v = std::mem::take(&mut flags.sharp);
                    flags.plus_v = std::mem::take(&mut flags.plus);
                }
                self.printer.arg(arg, verb);
                self.next_arg += 1;
                return;
            }
        };
        self.printer.to.push("%!");
        text::push_char(&mut self.printer.to.out, verb);
        self.printer.to.push(fault);
    }

    fn width(&mut self) {
        if self.peek() == Some(b'*') {
            self.at += 1;
            match self.number_from_arg() {
                Some(width) => {
                    self.flags().width = Some(width.unsigned_abs() as usize);
                    if width < 0 {
                        self.flags().minus = true;
                        self.flags().zero = false;
                    }
                }
                None => self.printer.to.push("%!(BADWIDTH)"),
            }
            self.after_index = false;
            return;
        }
        let width = self.number();
        self.flags().width = width;
        if self.after_index && width.is_some() {
            self.index_is_good = false;
        }
    }

    fn precision(&mut self) {
        if self.peek() != Some(b'.') || self.at + 1 >= self.format.len() {
            return;
        }
        self.at += 1;
        if self.after_index {
            self.index_is_good = false;
        }
        self.index();
        if self.peek() == Some(b'*') {
            self.at += 1;
            let number = self.number_from_arg();
            let precision = number.and_then(|number| usize::try_from(number).ok());
            self.flags().precision = precision;
            if precision.is_none() {
                self.printer.to.push("%!(BADPREC)");
            }
            self.after_index = false;
            return;
        }
        let precision = self.number();
        self.flags().precision = Some(precision.unwrap_or(0));
    }

    /// Digits as a number. One that is too large swallows the rest of the format.
    fn number(&mut self) -> Option<usize> {
        let (number, end) = parse_number(self.format, self.at, self.format.len());
        self.at = end;
        number
    }

    fn number_from_arg(&mut self) -> Option<i64> {
        let arg = self.args.get(self.next_arg)?;
        self.next_arg += 1;
        let Value::Int(kind, number) = arg else { return None };
        let fits = kind.is_signed() || *number >= 0;
        (fits && number.abs() <= NUMBER_MAX).then_some(*number)
    }

    /// `[3]`: the argument to take next.
    fn index(&mut self) {
        self.after_index = false;
        if self.peek() != Some(b'[') {
            return;
        }
        self.reordered = true;
        let rest = &self.format[self.at..];
        let end = if rest.len() < 3 { None } else { rest.iter().position(|b| *b == b']') };
        let Some(end) = end else {
            self.index_is_good = false;
            self.at += 1;
            return;
        };
        let (number, stopped) = parse_number(rest, 1, end);
        let number = number.filter(|_| stopped == end);
        self.at += end + 1;
        let index = number.and_then(|number| number.checked_sub(1)).filter(|index| *index < self.args.len());
        match index {
            Some(index) => self.next_arg = index,
            None => self.index_is_good = false,
        }
        self.after_index = number.is_some();
    }

    /// Arguments that no verb asked for.
    fn extra(&mut self) {
        if self.reordered || self.next_arg >= self.args.len() {
            return;
        }
        *self.flags() = Flags::default();
        self.printer.to.push("%!(EXTRA ");
        for (i, arg) in self.args[self.next_arg..].iter().enumerate() {
            if i > 0 {
                self.printer.to.push(", ");
            }
            match arg {
                Value::Nothing => self.printer.to.push("<nil>"),
                arg => {
                    self.printer.to.push(&arg.type_name());
                    self.printer.to.push("=");
                    self.printer.arg(arg, 'v');
                }
            }
        }
        self.printer.to.push(")");
    }
}

/// The number that starts at `start`, and where it ends.
fn parse_number(text: &[u8], start: usize, end: usize) -> (Option<usize>, usize) {
    if start >= end {
        return (None, end);
    }
    let mut number = 0i64;
    let mut at = start;
    while at < end && text[at].is_ascii_digit() {
        if number > NUMBER_MAX {
            return (None, end);
        }
        number = number * 10 + i64::from(text[at] - b'0');
        at += 1;
    }
    (if at > start { usize::try_from(number).ok() } else { None }, at)
}
