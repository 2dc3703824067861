//! Matchers: what a selector asks of one label.
//!
//! A matcher with a regular expression is anchored at both ends, its dot
//! matches newlines, and its syntax is Go's. The path of a pattern:
//!
//! ```text
//! text ─parse─▶ ast ─reduce─▶ plan: sets, prefixes, gaps … or the automaton
//! ```

mod ast;
mod automaton;
mod class;
mod error;
mod go_regex;
mod parse;
mod plan;
mod reduce;
#[cfg(test)]
mod tests;
mod unicode;
mod words;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use error::{RegexError, RegexErrorKind};
pub use go_regex::{GoRegex, Groups};
use parse::Dialect;
use plan::{Plan, Required};
pub use unicode::{is_digit, is_letter, is_print};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as written.
    pub fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }

    /// The operator that accepts what this one refuses.
    pub fn negate(self) -> MatchOp {
        match self {
            MatchOp::Equal => MatchOp::NotEqual,
            MatchOp::NotEqual => MatchOp::Equal,
            MatchOp::Regex => MatchOp::NotRegex,
            MatchOp::NotRegex => MatchOp::Regex,
        }
    }

    /// Whether the value is a regular expression.
    pub fn is_regex(self) -> bool {
        matches!(self, MatchOp::Regex | MatchOp::NotRegex)
    }

    /// Whether it refuses what its value describes.
    pub fn is_negative(self) -> bool {
        matches!(self, MatchOp::NotEqual | MatchOp::NotRegex)
    }
}

impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A pattern for whole values, compiled.
#[derive(Debug)]
struct Pattern {
    plan: Plan,
    required: Required,
}

impl Pattern {
    fn compile(text: &str) -> Result<Pattern, RegexError> {
        let parsed = parse::parse(text, Dialect::Matcher)?;
        let reduced = reduce::reduce(&parsed.node, text.len())
            .map_err(|_| RegexError::new(RegexErrorKind::TooLarge, text))?;
        Ok(Pattern { plan: reduced.plan, required: reduced.required })
    }
}

/// A condition on the value of one label. Clones share the compiled pattern.
///
/// Two matchers are equal if operator, name and value are, as written.
#[derive(Clone)]
pub struct Matcher {
    op: MatchOp,
    name: Arc<str>,
    value: Arc<str>,
    pattern: Option<Arc<Pattern>>,
}

impl Matcher {
    /// A matcher; for the regular-expression operators `value` is compiled.
    ///
    /// ```
    /// # use model::{MatchOp, Matcher};
    /// let matcher = Matcher::new(MatchOp::Regex, "job", "node|kubelet-.+")?;
    /// assert!(matcher.matches("kubelet-7") && !matcher.matches("nodes"));
    /// # Ok::<(), model::matcher::RegexError>(())
    /// ```
    ///
    /// # Errors
    /// The pattern is malformed or too large.
    pub fn new(op: MatchOp, name: &str, value: &str) -> Result<Matcher, RegexError> {
        let pattern = if op.is_regex() { Some(Arc::new(Pattern::compile(value)?)) } else { None };
        Ok(Matcher { op, name: name.into(), value: value.into(), pattern })
    }

    /// The matcher `name="value"`.
    pub fn equal(name: &str, value: &str) -> Matcher {
        Matcher { op: MatchOp::Equal, name: name.into(), value: value.into(), pattern: None }
    }

    /// The matcher that accepts what this one refuses; nothing is compiled anew.
    pub fn negated(&self) -> Matcher {
        Matcher { op: self.op.negate(), ..self.clone() }
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value or pattern as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// Whether a label of this value is accepted; a missing label has the empty value.
    pub fn matches(&self, value: &str) -> bool {
        let described = match &self.pattern {
            Some(pattern) => pattern.plan.matches(value),
            None => *self.value == *value,
        };
        described != self.op.is_negative()
    }

    /// Whether a series without the label is accepted.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The finite set that the regular expression equals, sorted; the values that
    /// `=~` accepts and `!~` refuses. `None`: not known to be one, or no
    /// regular expression.
    pub fn set_matches(&self) -> Option<&[String]> {
        match &self.pattern.as_ref()?.plan {
            Plan::Set(set) => Some(set),
            _ => None,
        }
    }

    /// The longest text known to be at the start of every value that the regular
    /// expression describes; `None` where there is none.
    pub fn prefix(&self) -> Option<&str> {
        self.required().map(|required| required.prefix.as_str()).filter(|text| !text.is_empty())
    }

    /// As [`Matcher::prefix`], at the end. The two may overlap.
    pub fn suffix(&self) -> Option<&str> {
        self.required().map(|required| required.suffix.as_str()).filter(|text| !text.is_empty())
    }

    /// Texts that every value has between prefix and suffix which the regular
    /// expression describes, in this order, without overlaps.
    pub fn contains(&self) -> &[String] {
        self.required().map_or(&[], |required| required.contains.as_slice())
    }

    /// Whether every value is accepted, the empty one too: the matcher may be left out.
    pub fn matches_everything(&self) -> bool {
        self.accepts(Simple::Everything)
    }

    /// Whether no value is accepted, so that nothing can be found.
    pub fn matches_nothing(&self) -> bool {
        self.accepts(Simple::Nothing)
    }

    /// Whether exactly the values but the empty one are accepted: `!=""`, `=~".+"`.
    pub fn matches_any_non_empty(&self) -> bool {
        self.accepts(Simple::NonEmpty)
    }

    /// Whether exactly the empty value is accepted: `=""`, `!~".+"`.
    pub fn matches_only_empty(&self) -> bool {
        self.accepts(Simple::Empty)
    }

    /// Whether a regular expression is decided without running an automaton.
    pub fn is_simple(&self) -> bool {
        self.plan().is_none_or(Plan::is_simple)
    }

    /// Bytes on the heap, about, shared between clones.
    pub fn heap_bytes(&self) -> usize {
        self.name.len() + self.value.len() + self.plan().map_or(0, Plan::heap_bytes)
    }

    /// Bytes that a thread holds beside that while it looks at values, about; 0
    /// where no automaton is run.
    pub fn search_bytes(&self) -> usize {
        self.plan().map_or(0, Plan::search_bytes)
    }

    fn plan(&self) -> Option<&Plan> {
        self.pattern.as_ref().map(|pattern| &pattern.plan)
    }

    fn required(&self) -> Option<&Required> {
        self.pattern.as_ref().map(|pattern| &pattern.required)
    }

    fn accepts(&self, wanted: Simple) -> bool {
        let wanted = if self.op.is_negative() { wanted.complement() } else { wanted };
        match (self.plan(), wanted) {
            (None, Simple::Empty) => self.value.is_empty(),
            (Some(Plan::Everything), Simple::Everything) | (Some(Plan::NonEmpty), Simple::NonEmpty) => true,
            (Some(Plan::Set(set)), Simple::Empty) => matches!(set.as_slice(), [only] if only.is_empty()),
            (Some(Plan::Set(set)), Simple::Nothing) => set.is_empty(),
            _ => false,
        }
    }
}

/// The sets of values that need no look at the values.
#[derive(Clone, Copy)]
enum Simple {
    Everything,
    Nothing,
    Empty,
    NonEmpty,
}

impl Simple {
    fn complement(self) -> Simple {
        match self {
            Simple::Everything => Simple::Nothing,
            Simple::Nothing => Simple::Everything,
            Simple::Empty => Simple::NonEmpty,
            Simple::NonEmpty => Simple::Empty,
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        self.op == other.op && self.name == other.name && self.value == other.value
    }
}

impl Eq for Matcher {}

impl Hash for Matcher {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.op.hash(state);
        self.name.hash(state);
        self.value.hash(state);
    }
}

/// As in a selector: `job=~"node.*"`; names that need it are quoted.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = crate::labels::go_quote(&self.value);
        if crate::names::is_legacy_label_name(&self.name) {
            write!(f, "{}{}{value}", self.name, self.op)
        } else {
            write!(f, "{}{}{value}", crate::labels::go_quote(&self.name), self.op)
        }
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
