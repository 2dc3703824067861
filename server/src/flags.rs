//! The command line: parsed against one table of flags into typed values.

mod table;
mod value;

use std::collections::BTreeMap;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

pub use table::{FLAGS, Kind, Mode};
pub use value::parse_bytes;

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run the server.
    Run(Flags),
    /// Print this to standard output and exit with 0.
    Print(String),
}

/// A command line that cannot be followed.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError {
    /// What to say on standard error.
    pub message: String,
    /// The exit code.
    pub code: u8,
}

/// Values of all flags.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    values: BTreeMap<&'static str, Vec<String>>,
    given: Vec<&'static str>,
}

/// Arguments files may name further ones so deep.
const ARGUMENT_FILE_DEPTH_MAX: usize = 10;

impl Flags {
    /// Whether the flag stood on the command line.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains(&name)
    }

    /// The flag's value as text; the last one where it was repeated.
    ///
    /// # Panics
    /// No such flag: our bug.
    pub fn text(&self, name: &str) -> &str {
        self.values[name].last().map_or("", String::as_str)
    }

    /// All values of a flag that may be repeated, split at commas.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let split = self.values[name].iter().flat_map(|value| value.split(','));
        split.map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).collect()
    }

    /// Whether the flag is on.
    pub fn bool(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// The flag's value in milliseconds.
    pub fn duration_ms(&self, name: &str) -> i64 {
        let text = self.text(name);
        let parsed = match table::find(name).map(|flag| flag.kind) {
            Some(Kind::GoDuration) => value::parse_go_duration_ms(text),
            _ if text.is_empty() => Some(0),
            _ => model::time::parse_duration_ms(text).ok(),
        };
        parsed.expect("durations are checked when the command line is parsed")
    }

    /// The flag's value as a whole number.
    pub fn integer(&self, name: &str) -> i64 {
        self.text(name).parse().expect("numbers are checked when the command line is parsed")
    }

    /// The flag's value as a number.
    pub fn number(&self, name: &str) -> f64 {
        self.text(name).parse().expect("numbers are checked when the command line is parsed")
    }

    /// The flag's value in bytes, `None` where it is empty or 0.
    pub fn bytes(&self, name: &str) -> Option<u64> {
        parse_bytes(self.text(name)).filter(|&bytes| bytes > 0)
    }

    /// The features switched on, as given.
    pub fn features(&self) -> Vec<String> {
        self.texts("enable-feature")
    }

    /// Whether a feature is switched on.
    pub fn has_feature(&self, name: &str) -> bool {
        self.features().iter().any(|feature| feature == name)
    }

    /// Every flag and its value as text: `/api/v1/status/flags`.
    pub fn all(&self) -> BTreeMap<String, String> {
        let shown = |name: &str, values: &[String]| match table::find(name).map(|flag| flag.kind) {
            Some(Kind::Number) => self.number(name).to_string(),
            _ => values.join(","),
        };
        self.values.iter().map(|(name, values)| ((*name).to_owned(), shown(name, values))).collect()
    }
}

/// Parses the arguments behind the program's name.
///
/// # Errors
/// An unknown flag (with the nearest one that exists), a malformed value, a
/// flag of the other mode.
pub fn parse(program: &str, args: impl IntoIterator<Item = String>) -> Result<Invocation, UsageError> {
    let mut expanded = Vec::new();
    for arg in args {
        expand_argument_file(arg, &mut expanded, 0)?;
    }
    if let Some(arg) = expanded.iter().find(|arg| is_single_dash_long(arg)) {
        return Err(usage(format!("unknown short flag '{}'", arg.split('=').next().unwrap_or_default())));
    }
    let matches = match command(program).try_get_matches_from(expanded) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return Ok(Invocation::Print(error.render().to_string()));
        }
        Err(error) => return Err(usage(describe(&error))),
    };
    for (id, print) in
        [("version", version_text as fn(&str) -> String), ("write-documentation", documentation)]
    {
        if matches.get_flag(id) {
            return Ok(Invocation::Print(print(program)));
        }
    }
    if matches.get_flag("help-long") || matches.get_flag("help-man") {
        return Ok(Invocation::Print(command(program).render_long_help().to_string()));
    }
    let mut flags = Flags::default();
    for flag in FLAGS {
        let given = matches.value_source(flag.name) == Some(clap::parser::ValueSource::CommandLine);
        let values: Vec<String> = match flag.kind {
            Kind::Bool => {
                let off = format!("no-{}", flag.name);
                let off = matches.value_source(&off) == Some(clap::parser::ValueSource::CommandLine);
                if given || off {
                    flags.given.push(flag.name);
                }
                vec![
                    if off {
                        "false"
                    } else if given {
                        "true"
                    } else {
                        flag.default
                    }
                    .to_owned(),
                ]
            }
            _ => {
                if given {
                    flags.given.push(flag.name);
                }
                matches.get_many::<String>(flag.name).into_iter().flatten().cloned().collect()
            }
        };
        flags.values.insert(flag.name, values);
    }
    check_mode(&flags)?;
    Ok(Invocation::Run(flags))
}

/// `@file` stands for the arguments in the file, one a line.
fn expand_argument_file(arg: String, out: &mut Vec<String>, depth: usize) -> Result<(), UsageError> {
    let Some(path) = arg.strip_prefix('@') else {
        out.push(arg);
        return Ok(());
    };
    if depth >= ARGUMENT_FILE_DEPTH_MAX {
        return Err(usage(format!(
            "argument files name each other more than {ARGUMENT_FILE_DEPTH_MAX} deep: {path}"
        )));
    }
    let text =
        std::fs::read_to_string(Path::new(path)).map_err(|error| usage(format!("open {path}: {error}")))?;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        expand_argument_file(line.to_owned(), out, depth + 1)?;
    }
    Ok(())
}

fn is_single_dash_long(arg: &str) -> bool {
    arg.starts_with('-') && !arg.starts_with("--") && arg.len() > 2
}

fn usage(message: String) -> UsageError {
    UsageError { message: format!("Error parsing command line arguments: {message}"), code: 2 }
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program.to_owned())
        .about("Scrapes, stores and queries metrics: a Prometheus-compatible monitoring server.")
        .no_binary_name(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true);
    for (name, help) in [
        ("version", "Print the version."),
        ("help-long", "Print the help, hidden flags included."),
        ("help-man", "Print the help."),
        ("write-documentation", "Print all flags as a Markdown table."),
    ] {
        command = command
            .arg(Arg::new(name).long(name).action(ArgAction::SetTrue).help(help).hide(name != "version"));
    }
    for flag in FLAGS {
        let arg = Arg::new(flag.name).long(flag.name).help(flag.help).hide(flag.hidden);
        command = match flag.kind {
            Kind::Bool => {
                let off = format!("no-{}", flag.name);
                command.arg(arg.action(ArgAction::SetTrue).overrides_with(off.clone())).arg(
                    Arg::new(off.clone())
                        .long(off)
                        .action(ArgAction::SetTrue)
                        .overrides_with(flag.name)
                        .hide(true),
                )
            }
            kind => {
                let action = if kind == Kind::Texts { ArgAction::Append } else { ArgAction::Set };
                let parser = move |text: &str| value::check(kind, text).map(|()| text.to_owned());
                let arg = arg.action(action).allow_hyphen_values(true).num_args(1).value_parser(parser);
                command.arg(if flag.default.is_empty() { arg } else { arg.default_value(flag.default) })
            }
        };
    }
    command
}

/// The error in upstream's words, with the nearest flag that exists.
fn describe(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let arg = context(ContextKind::InvalidArg);
    let name = arg.split([' ', '=']).next().unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if name.starts_with("--") => {
            let wanted = name.trim_start_matches("--");
            let nearest = FLAGS
                .iter()
                .map(|flag| (strsim::jaro_winkler(wanted, flag.name), flag.name))
                .filter(|(likeness, _)| *likeness > 0.8)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            match nearest {
                Some((_, nearest)) => format!("unknown long flag '{name}' (did you mean '--{nearest}'?)"),
                None => format!("unknown long flag '{name}'"),
            }
        }
        ErrorKind::UnknownArgument if name.starts_with('-') => format!("unknown short flag '{name}'"),
        ErrorKind::UnknownArgument => format!("unexpected argument '{name}'"),
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => {
            format!("expected argument for flag '{name}'")
        }
        ErrorKind::ArgumentConflict => format!("flag '{name}' cannot be repeated"),
        ErrorKind::ValueValidation => {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            format!("invalid value for flag '{name}': {cause}")
        }
        _ => error.render().to_string().trim().trim_start_matches("error: ").to_owned(),
    }
}

/// Flags of the mode that is not running are refused with exit code 3.
fn check_mode(flags: &Flags) -> Result<(), UsageError> {
    let (wrong, running) = match flags.bool("agent") {
        true => (Mode::Server, "agent"),
        false => (Mode::Agent, "server"),
    };
    let mixed: Vec<String> = FLAGS
        .iter()
        .filter(|flag| flag.mode == wrong && flags.is_given(flag.name))
        .map(|flag| format!("\"--{}\"", flag.name))
        .collect();
    if mixed.is_empty() {
        return Ok(());
    }
    let message = format!("The following flag(s) can not be used in {running} mode: {}", mixed.join(", "));
    Err(UsageError { message, code: 3 })
}

/// The text of `--version`.
pub fn version_text(_program: &str) -> String {
    let build = crate::build::INFO;
    format!(
        "prometheus, version {} (branch: {}, revision: {})\n  build user:       {}\n  build date:       {}\n  \
         go version:       {}\n  platform:         {}\n  tags:             {}\n",
        build.version,
        build.branch,
        build.revision,
        build.user,
        build.date,
        build.compiler,
        build.platform,
        build.tags
    )
}

fn documentation(program: &str) -> String {
    let mut out = format!("# {program}\n\n| Flag | Description | Default |\n| --- | --- | --- |\n");
    for flag in FLAGS.iter().filter(|flag| !flag.hidden) {
        let default = if flag.default.is_empty() { String::new() } else { format!("`{}`", flag.default) };
        out.push_str(&format!(
            "| <code class=\"text-nowrap\">--{}</code> | {} | {default} |\n",
            flag.name, flag.help
        ));
    }
    out
}

#[cfg(test)]
mod tests;
