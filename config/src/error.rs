//! What is wrong with a configuration: every fault found, each with its place.
//!
//! A single fault prints as Prometheus prints it, its place appended; values
//! that may be secret are never quoted.

use std::fmt;
use std::path::Path;

use crate::excerpt::excerpts;
use crate::tree::Position;

/// Which step found a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The text is no YAML.
    Syntax,
    /// A field is unknown, repeated, or holds the wrong type.
    Decoding,
    /// A value was understood and is not allowed.
    Invalid,
}

/// One fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Which step found it.
    pub kind: FaultKind,
    /// Where in the file; `None` where the fault has no place, as a missing file.
    pub position: Option<Position>,
    /// The field, as `scrape_configs[0].job_name`; empty for the whole file.
    pub field: String,
    /// What is wrong, in upstream's words where it has some.
    pub message: String,
    /// The nearest valid name for an unknown field.
    pub suggestion: Option<String>,
}

impl ConfigError {
    /// A fault of the whole file, without a place.
    pub fn whole(message: impl Into<String>) -> ConfigError {
        ConfigError {
            kind: FaultKind::Invalid,
            position: None,
            field: String::new(),
            message: message.into(),
            suggestion: None,
        }
    }

    /// `(column 3, at scrape_configs[0], did you mean "x"?)`, empty where
    /// nothing is known.
    fn place(&self, with_line: bool) -> String {
        let mut parts = Vec::new();
        if let Some(position) = self.position {
            if with_line {
                parts.push(format!("line {}", position.line));
            }
            parts.push(format!("column {}", position.column));
        }
        if !self.field.is_empty() {
            parts.push(format!("at {}", self.field));
        }
        if let Some(name) = &self.suggestion {
            parts.push(format!("did you mean \"{name}\"?"));
        }
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.position) {
            (FaultKind::Decoding | FaultKind::Syntax, Some(position)) => {
                write!(f, "line {}: {}{}", position.line, self.message, self.place(false))
            }
            _ => write!(f, "{}{}", self.message, self.place(true)),
        }
    }
}

impl std::error::Error for ConfigError {}

/// All faults of one configuration; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// What is put before the faults, such as `parsing YAML file x.yml: `.
    pub prefix: String,
    /// The faults in order of their place.
    pub errors: Vec<ConfigError>,
    /// The faults' lines as a compiler shows them, values left out; empty where
    /// the text came from no file.
    pub excerpts: String,
}

impl ConfigErrors {
    /// One fault without a place.
    pub fn single(message: impl Into<String>) -> ConfigErrors {
        ConfigErrors::of(vec![ConfigError::whole(message)])
    }

    /// Faults, with nothing around them.
    pub(crate) fn of(errors: Vec<ConfigError>) -> ConfigErrors {
        ConfigErrors { prefix: String::new(), errors, excerpts: String::new() }
    }

    /// The same faults with their lines of the file's text.
    pub(crate) fn with_excerpts(mut self, file: &Path, text: &str) -> ConfigErrors {
        self.excerpts = excerpts(file, text, &self.errors);
        self
    }

    /// The same faults behind a prefix.
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> ConfigErrors {
        self.prefix = prefix.into() + &self.prefix;
        self
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix)?;
        match self.errors.as_slice() {
            [one] if one.kind == FaultKind::Invalid => return write!(f, "{one}"),
            [one] if one.kind == FaultKind::Syntax => return write!(f, "yaml: {one}"),
            errors if errors.iter().all(|e| e.kind == FaultKind::Decoding) => {
                f.write_str("yaml: unmarshal errors:")?;
            }
            errors => write!(f, "{} errors:", errors.len())?,
        }
        for error in &self.errors {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
