//! The grammar of the command line, which is that of upstream's library.
//!
//! ```text
//! --name=value   --name value   --switch   --no-switch   -h   @file   --
//! ```
//!
//! A command line that cannot be read ends with code 1, a malformed value with
//! code 2 and the usage on standard output. What is to be printed (`--help`,
//! `--version`) wins over a fault that stands behind it.

use super::print;
use super::table::{self, FLAGS, Flag, Kind, Mode};
use super::{Flags, Invocation, UsageError, value};

/// Argument files may name further ones so deep.
const ARGUMENT_FILE_DEPTH_MAX: usize = 10;

/// Neighbours of an unknown flag are named from this likeness on.
const LIKENESS_MIN: f64 = 0.8;

/// Parses the arguments behind the program's name.
///
/// # Errors
/// An unknown flag (with the nearest one that exists), a malformed value, a
/// flag of the other mode.
pub fn parse(program: &str, args: impl IntoIterator<Item = String>) -> Result<Invocation, UsageError> {
    let mut tokens = Vec::new();
    let unreadable = expand_all(args, &mut tokens).err();
    let mut line = Line { tokens: tokens.into_iter(), given: Vec::new(), print: None, document: false };
    let fault = line.read().err().or(unreadable);
    if let Some(print) = line.print {
        return Ok(Invocation::Print(print(program)));
    }
    if let Some(fault) = fault {
        let message = format!("Error parsing command line arguments: {fault}\n{program}: error: {fault}");
        return Err(UsageError { message, usage: String::new(), code: 1 });
    }
    if line.document {
        return Ok(Invocation::Print(print::documentation(program)));
    }
    let flags = values(line.given).map_err(|fault| UsageError {
        message: format!("Error parsing command line arguments: {fault}"),
        usage: print::help(program),
        code: 2,
    })?;
    check_mode(&flags)?;
    Ok(Invocation::Run(flags))
}

fn expand_all(args: impl IntoIterator<Item = String>, out: &mut Vec<String>) -> Result<(), String> {
    let mut behind_dashes = false;
    for arg in args {
        behind_dashes |= arg == "--";
        match arg.strip_prefix('@') {
            Some(path) if !behind_dashes => expand_file(path, out, 0)?,
            _ => out.push(arg),
        }
    }
    Ok(())
}

/// `@file` stands for the arguments in the file, one a line.
fn expand_file(path: &str, out: &mut Vec<String>, depth: usize) -> Result<(), String> {
    if depth >= ARGUMENT_FILE_DEPTH_MAX {
        return Err(format!(
            "argument files name each other more than {ARGUMENT_FILE_DEPTH_MAX} deep: {path}"
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        let path_quoted = model::labels::go_quote(path);
        format!("failed to open arguments file {path_quoted}: open {path}: {}", io_text(&error))
    })?;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('@') {
            Some(path) => expand_file(path, out, depth + 1)?,
            None => out.push(line.to_owned()),
        }
    }
    Ok(())
}

/// An error of the system in Go's words.
fn io_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

/// The command line while it is read.
struct Line<I> {
    tokens: I,
    given: Vec<(&'static Flag, String)>,
    print: Option<fn(&str) -> String>,
    document: bool,
}

impl<I: Iterator<Item = String>> Line<I> {
    fn read(&mut self) -> Result<(), String> {
        while let Some(token) = self.tokens.next() {
            if token == "--" {
                return self.tokens.next().map_or(Ok(()), |rest| Err(format!("unexpected {rest}")));
            }
            match (token.strip_prefix("--"), token.strip_prefix('-')) {
                (Some(long), _) => self.long(long)?,
                (None, Some("h")) => self.print = Some(print::help),
                (None, Some(short)) if !short.is_empty() => {
                    let letter = short.chars().next().unwrap_or_default();
                    return Err(format!("unknown short flag '-{letter}'"));
                }
                _ => return Err(format!("unexpected {token}")),
            }
        }
        Ok(())
    }

    fn long(&mut self, text: &str) -> Result<(), String> {
        let (name, mut value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let print: Option<fn(&str) -> String> = match name.strip_prefix("no-").unwrap_or(name) {
            "help" => Some(print::help),
            "help-long" => Some(print::help_long),
            "help-man" => Some(print::man),
            "version" => Some(print::version_text),
            _ => None,
        };
        let positive = name.strip_prefix("no-").unwrap_or(name);
        if print.is_some() {
            // The first one that is asked for.
            self.print = self.print.or(print);
        } else if positive == "write-documentation" {
            self.document = name == positive;
        } else if let Some(flag) = table::find(name).filter(|flag| flag.kind == Kind::Bool) {
            self.given.push((flag, "true".to_owned()));
        } else if let Some(flag) = table::find(positive).filter(|flag| flag.kind == Kind::Bool) {
            self.given.push((flag, "false".to_owned()));
        } else if let Some(flag) = table::find(name) {
            let value = value.take().or_else(|| self.tokens.next().filter(|next| is_value(next)));
            let value = value.ok_or_else(|| format!("expected argument for flag '--{name}'"))?;
            self.given.push((flag, value));
        } else {
            return Err(unknown(name));
        }
        match value {
            Some(value) => Err(format!("unexpected {value}")),
            None => Ok(()),
        }
    }
}

/// Whether a token can be the value of the flag before it.
fn is_value(token: &str) -> bool {
    !token.starts_with('-') || token == "-"
}

fn unknown(name: &str) -> String {
    let nearest = FLAGS
        .iter()
        .map(|flag| (strsim::jaro_winkler(name, flag.name), flag.name))
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, nearest)) => format!("unknown long flag '--{name}' (did you mean '--{nearest}'?)"),
        None => format!("unknown long flag '--{name}'"),
    }
}

/// The values of all flags, checked in the order in which they were given.
fn values(given: Vec<(&'static Flag, String)>) -> Result<Flags, String> {
    let mut flags = Flags::default();
    for (flag, text) in given {
        let repeatable = matches!(flag.kind, Kind::Texts | Kind::List | Kind::Messages);
        if !repeatable && flags.is_given(flag.name) {
            return Err(format!("flag '{}' cannot be repeated", flag.name));
        }
        value::check(flag.kind, &text).map_err(|fault| format!("{fault} (--{})", flag.name))?;
        let have = flags.values.entry(flag.name).or_default();
        if flag.kind == Kind::Messages && have.contains(&text) {
            return Err(format!("duplicated {text} flag value, got {} already", have.join(", ")));
        }
        have.push(text);
        flags.given.push(flag.name);
    }
    for flag in FLAGS {
        flags.values.entry(flag.name).or_insert_with(|| match flag.kind {
            Kind::Messages => flag.default.split(',').map(str::to_owned).collect(),
            Kind::List => Vec::new(),
            _ => vec![flag.default.to_owned()],
        });
    }
    Ok(flags)
}

/// Flags of the mode that is not running are refused with exit code 3.
fn check_mode(flags: &Flags) -> Result<(), UsageError> {
    let (wrong, how) = match flags.bool("agent") {
        true => (Mode::Server, "can not be used in agent mode"),
        false => (Mode::Agent, "can only be used in agent mode"),
    };
    let mut names = flags.given.clone();
    names.dedup();
    let mixed: Vec<String> = names
        .iter()
        .filter(|name| table::find(name).is_some_and(|flag| flag.mode == wrong))
        .map(|name| format!("\"--{name}\""))
        .collect();
    if mixed.is_empty() {
        return Ok(());
    }
    let message = format!("The following flag(s) {how}: [{}]", mixed.join(" "));
    Err(UsageError { message, usage: String::new(), code: 3 })
}
