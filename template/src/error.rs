//! What can go wrong when a template is expanded.

use crate::parse::ParseError;

/// A function or method refused its arguments.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CallError(pub(crate) String);

impl CallError {
    pub(crate) fn new(message: impl Into<String>) -> CallError {
        CallError(message.into())
    }
}

/// A template stopped while it ran; the text says where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExecError(pub(crate) String);

/// A page's template cannot be escaped: what it says depends on its data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EscapeError(pub(crate) String);

/// An expansion that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// The text is not well formed.
    #[error("error parsing template {name}: {source}")]
    Parse {
        /// The template.
        name: String,
        /// Where and why.
        source: ParseError,
    },
    /// A file with more templates is not well formed.
    #[error("error parsing template files for {name}: {source}")]
    ParseFile {
        /// The template.
        name: String,
        /// Where and why.
        source: ParseError,
    },
    /// It stopped while it ran.
    #[error("error executing template {name}: {source}")]
    Exec {
        /// The template.
        name: String,
        /// Where and why.
        source: ExecError,
    },
    /// Its output depends on its data in a way that cannot be made safe.
    #[error("error executing template {name}: {source}")]
    Escape {
        /// The template.
        name: String,
        /// Where and why.
        source: EscapeError,
    },
    /// The system gave no thread to run it on.
    #[error("error executing template {name}: no thread: {reason}")]
    Thread {
        /// The template.
        name: String,
        /// What the system said.
        reason: String,
    },
}
