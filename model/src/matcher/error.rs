//! Why a pattern is refused, in Go's words.

/// What is wrong with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegexErrorKind {
    /// `[z-a]`, `[[:nope:]]`, `\p{Nope}`.
    #[error("invalid character class range")]
    InvalidCharRange,
    /// `\y`.
    #[error("invalid escape sequence")]
    InvalidEscape,
    /// `(?P<>a)`.
    #[error("invalid named capture")]
    InvalidNamedCapture,
    /// `(?=a)`.
    #[error("invalid or unsupported Perl syntax")]
    InvalidPerlOp,
    /// `a**`.
    #[error("invalid nested repetition operator")]
    InvalidRepeatOp,
    /// `a{1001}`.
    #[error("invalid repeat count")]
    InvalidRepeatSize,
    /// `[a`.
    #[error("missing closing ]")]
    MissingBracket,
    /// `(a`.
    #[error("missing closing )")]
    MissingParen,
    /// `*`.
    #[error("missing argument to repetition operator")]
    MissingRepeatArgument,
    /// A single backslash at the end.
    #[error("trailing backslash at end of expression")]
    TrailingBackslash,
    /// `a)`.
    #[error("unexpected )")]
    UnexpectedParen,
    /// Groups in groups, too many of them.
    #[error("expression nests too deeply")]
    NestingDepth,
    /// More than the automaton may take.
    #[error("expression too large")]
    TooLarge,
}

/// A pattern that is no regular expression of Go's syntax, or too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {kind}: `{fragment}`")]
pub struct RegexError {
    /// What is wrong.
    pub kind: RegexErrorKind,
    /// Where: a part of the pattern, or all of it.
    pub fragment: String,
}

impl RegexError {
    pub(super) fn new(kind: RegexErrorKind, fragment: &str) -> RegexError {
        RegexError { kind, fragment: fragment.to_owned() }
    }
}
