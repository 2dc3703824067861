//! The line of a fault as a compiler shows it: names and structure, no values,
//! as a value may be secret.
//!
//! ```text
//! error: field pasword not found in type config.plain
//!  --> prometheus.yml:7:31
//!   |
//! 7 |     basic_auth: {username: …, pasword: …}
//!   |                               ^^^^^^^ did you mean "password"?
//! ```

use std::fmt::Write as _;
use std::path::Path;

use crate::error::{ConfigError, FaultKind};
use crate::tree::Position;

/// So many faults are shown; the message tells them all.
const EXCERPTS_MAX: usize = 20;
/// What stands for a value.
const HIDDEN: char = '…';

/// All faults that have a place, each below the last. Of a text that is no YAML
/// nothing is shown: what in it is a value cannot be told.
pub(crate) fn excerpts(file: &Path, text: &str, errors: &[ConfigError]) -> String {
    let mut out = String::new();
    let of_values = errors.iter().filter(|error| error.kind != FaultKind::Syntax);
    for error in of_values.take(EXCERPTS_MAX) {
        let Some(position) = error.position else { continue };
        let Some(line) = text.lines().nth(position.line.saturating_sub(1)) else { continue };
        if !out.is_empty() {
            out.push('\n');
        }
        // Writing to a string cannot fail.
        let _ = write_excerpt(&mut out, file, line, position, error);
    }
    out
}

fn write_excerpt(
    out: &mut String,
    file: &Path,
    line: &str,
    position: Position,
    error: &ConfigError,
) -> std::fmt::Result {
    let Position { line: number, column } = position;
    let shown = Masked::of(line, column.saturating_sub(1));
    let number = number.to_string();
    let margin = " ".repeat(number.len());
    writeln!(out, "error: {}", error.message)?;
    writeln!(out, "{margin}--> {}:{number}:{column}", file.display())?;
    writeln!(out, "{margin} |")?;
    writeln!(out, "{number} | {}", shown.text)?;
    let (before, marks) = (" ".repeat(shown.mark), "^".repeat(shown.mark_len));
    write!(out, "{margin} | {before}{marks}")?;
    match &error.suggestion {
        Some(name) => writeln!(out, " did you mean \"{name}\"?"),
        None => writeln!(out),
    }
}

/// A line without its values, and where in it a place of the line came to be.
#[derive(Default)]
struct Masked {
    text: String,
    /// Characters of `text`.
    len: usize,
    /// The place that is asked for, in characters of the line.
    wanted: usize,
    /// That place in `text`.
    mark: usize,
    mark_len: usize,
}

impl Masked {
    fn of(line: &str, wanted: usize) -> Masked {
        let line: Vec<char> = line.trim_end().chars().collect();
        let mut masked = Masked { wanted, mark_len: 1, ..Masked::default() };
        let mut at = 0;
        while let Some(c) = line.get(at).filter(|c| c.is_whitespace()) {
            masked.keep(at, &[*c]);
            at += 1;
        }
        while line.get(at) == Some(&'-') && line.get(at + 1).is_none_or(|c| *c == ' ') {
            masked.keep(at, &line[at..at + 1]);
            at += 1;
            while line.get(at) == Some(&' ') {
                masked.keep(at, &[' ']);
                at += 1;
            }
        }
        if let Some(end) = key_end(&line, at) {
            masked.keep(at, &line[at..end]);
            at = end;
            while line.get(at) == Some(&' ') {
                masked.keep(at, &[' ']);
                at += 1;
            }
        }
        match line.get(at) {
            Some('{' | '[') => masked.flow(&line, at),
            Some(_) => masked.hide(at, line.len()),
            None => {}
        }
        masked
    }

    /// Collections in brackets: their names stay, whatever else is in them goes.
    fn flow(&mut self, line: &[char], mut at: usize) {
        let mut names_may_come = false;
        while let Some(&c) = line.get(at) {
            match c {
                '{' | '}' | '[' | ']' | ',' | ' ' | ':' => {
                    self.keep(at, &[c]);
                    names_may_come = matches!(c, '{' | ',') || (c == ' ' && names_may_come);
                    at += 1;
                }
                '#' => return self.hide(at, line.len()),
                _ => {
                    let end = match key_end(line, at).filter(|_| names_may_come) {
                        Some(end) => {
                            self.keep(at, &line[at..end]);
                            end
                        }
                        None => {
                            let end = value_end(line, at);
                            self.hide(at, end);
                            end
                        }
                    };
                    names_may_come = false;
                    at = end;
                }
            }
        }
    }

    /// Takes characters of the line over as they are.
    fn keep(&mut self, from: usize, chars: &[char]) {
        if (from..from + chars.len()).contains(&self.wanted) {
            self.mark = self.len + (self.wanted - from);
            let word = chars[self.wanted - from..].iter().take_while(|c| is_name(**c)).count();
            self.mark_len = word.max(1);
        }
        self.text.extend(chars);
        self.len += chars.len();
    }

    /// Puts one sign in place of a part of the line.
    fn hide(&mut self, from: usize, to: usize) {
        if (from..to).contains(&self.wanted) {
            self.mark = self.len;
        }
        self.text.push(HIDDEN);
        self.len += 1;
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Behind the colon of the name that starts here, if one does.
fn key_end(line: &[char], at: usize) -> Option<usize> {
    let end = at + line[at..].iter().take_while(|c| is_name(**c)).count();
    let is_key = end > at && line.get(end) == Some(&':') && line.get(end + 1).is_none_or(|c| *c == ' ');
    is_key.then_some(end + 1)
}

/// Behind the value that starts here: a quoted one ends with its quote.
fn value_end(line: &[char], at: usize) -> usize {
    let quote = line[at];
    if quote != '"' && quote != '\'' {
        return at + line[at..].iter().take_while(|c| !matches!(c, ',' | '{' | '}' | '[' | ']')).count();
    }
    let mut end = at + 1;
    while let Some(&c) = line.get(end) {
        end += 1;
        match c {
            '\\' if quote == '"' => end += 1,
            // Twice the sign means itself.
            c if c == quote && quote == '\'' && line.get(end) == Some(&quote) => end += 1,
            c if c == quote => return end,
            _ => {}
        }
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(line: &str, column: usize) -> (String, String) {
        let masked = Masked::of(line, column - 1);
        (masked.text, " ".repeat(masked.mark) + &"^".repeat(masked.mark_len))
    }

    #[test]
    fn names_stay_and_values_go() {
        for (line, shown) in [
            ("  scrape_timout: 10s", "  scrape_timout: …"),
            ("- job_nam: x # y: z", "- job_nam: …"),
            ("- - a: b", "- - a: …"),
            ("    basic_auth: {username: u, pasword: hunter2}", "    basic_auth: {username: …, pasword: …}"),
            ("a: {password: \"hunter2, x: y\", b: 'it''s, c: d'}", "a: {password: …, b: …}"),
            ("a: {password: \"hunter2, x: y", "a: {password: …"),
            ("a: [hunter2, {b: c}, \"x\"]", "a: […, {b: …}, …]"),
            ("password: hunter2: x: y", "password: …"),
            ("hunter2", "…"),
            ("- hunter2", "- …"),
            ("url: http://u:hunter2@h/", "url: …"),
            ("\"password\": hunter2", "…"),
            ("", ""),
        ] {
            assert_eq!(masked(line, 1).0, shown, "{line}");
        }
    }

    #[test]
    fn the_mark_follows_its_word() {
        let (text, mark) = masked("    basic_auth: {username: a long name, pasword: hunter2}", 41);
        assert_eq!(text, "    basic_auth: {username: …, pasword: …}");
        assert_eq!(mark, "                              ^^^^^^^");
        assert_eq!(masked("a: hunter2", 4).1, "   ^");
    }
}
