//! The command line: parsed against one table of flags into typed values.

mod grammar;
mod print;
mod table;
mod value;

use std::collections::BTreeMap;

pub use grammar::parse;
pub use table::FLAGS;
use table::Kind;
pub use value::{format_bytes, parse_bytes};

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
    /// What to say on standard output: the usage, where a value is malformed.
    pub usage: String,
    /// The exit code.
    pub code: u8,
}

/// Values of all flags.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    values: BTreeMap<&'static str, Vec<String>>,
    given: Vec<&'static str>,
    /// Values as they came out where a flag's own is only a wish.
    effective: BTreeMap<&'static str, String>,
}

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

    /// All values of a flag that may be repeated; lists are split at commas.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let values = &self.values[name];
        match table::find(name).map(|flag| flag.kind) {
            Some(Kind::List) => {
                let split = values.iter().flat_map(|value| value.split(','));
                split.map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).collect()
            }
            _ => values.clone(),
        }
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
        value::parse_integer(self.text(name)).expect("numbers are checked when the command line is parsed")
    }

    /// The flag's value as a number.
    pub fn number(&self, name: &str) -> f64 {
        self.text(name).parse().expect("numbers are checked when the command line is parsed")
    }

    /// The flag's value in bytes, `None` where it is empty or 0.
    pub fn bytes(&self, name: &str) -> Option<u64> {
        parse_bytes(self.text(name)).ok().filter(|&bytes| bytes > 0)
    }

    /// The features switched on, as given.
    pub fn features(&self) -> Vec<String> {
        self.texts("enable-feature")
    }

    /// Whether a feature is switched on.
    pub fn has_feature(&self, name: &str) -> bool {
        self.features().iter().any(|feature| feature == name)
    }

    /// Notes what a flag came to, for those who ask for all flags.
    pub fn set_effective(&mut self, name: &'static str, value: String) {
        self.effective.insert(name, value);
    }

    /// Every flag and its value as text: `/api/v1/status/flags`.
    pub fn all(&self) -> BTreeMap<String, String> {
        let shown = |name: &str, values: &[String]| match self.effective.get(name) {
            Some(value) => value.clone(),
            None => value::shown(table::find(name).map_or(Kind::Text, |flag| flag.kind), values),
        };
        let mut all: BTreeMap<String, String> =
            self.values.iter().map(|(name, values)| ((*name).to_owned(), shown(name, values))).collect();
        // It never runs with this flag on.
        all.insert("write-documentation".to_owned(), "false".to_owned());
        all
    }
}

#[cfg(test)]
mod tests;
