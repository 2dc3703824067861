//! A regular expression as Go's `regexp` has it: search, groups, templates.
//!
//! Relabelling, `label_replace` and the template functions use it. Patterns of
//! the common shape `prefix(.*)suffix` find their groups without an automaton.

use std::fmt;
use std::sync::{Arc, OnceLock};

use regex_automata::util::captures::Captures;
use regex_syntax::hir::Look;
use smallvec::{SmallVec, smallvec};

use super::ast::Node;
use super::automaton::Automaton;
use super::error::{RegexError, RegexErrorKind};
use super::parse::{self, Dialect, Parsed};
use super::plan::Plan;
use super::{reduce, unicode};

/// Up to this size (Go's instructions) an automaton surely fits, and is built
/// when it is first needed.
const LAZY_SIZE_MAX: u64 = 4096;

/// A compiled regular expression. Clones share it; two are equal if their
/// patterns are, as written.
#[derive(Clone)]
pub struct GoRegex {
    program: Arc<Program>,
}

struct Program {
    pattern: Box<str>,
    node: Node,
    groups: Vec<Option<Box<str>>>,
    /// Set where whole texts are matched.
    whole: Option<Whole>,
    automaton: OnceLock<Automaton>,
}

/// What is known of a pattern for whole texts.
#[derive(Debug, Default)]
struct Whole {
    /// Decides whether a text matches, if that needs no automaton.
    plan: Option<Plan>,
    /// Set for `prefix(.*)suffix`.
    middle: Option<Middle>,
}

/// One gap, with or without a group around it, between two texts.
#[derive(Debug, Default)]
struct Middle {
    prefix_len: usize,
    suffix_len: usize,
    grouped: bool,
}

impl GoRegex {
    /// A pattern that is searched for anywhere in a text, as `regexp.Compile`.
    ///
    /// # Errors
    /// The pattern is malformed or too large.
    pub fn new(pattern: &str) -> Result<GoRegex, RegexError> {
        GoRegex::compile(pattern, pattern)
    }

    /// A pattern that must match a whole text and whose dot matches newlines: the
    /// pattern is put into `^(?s:…)$` as text, as upstream does for relabelling
    /// and `label_replace`.
    ///
    /// ```
    /// # use model::matcher::GoRegex;
    /// let regex = GoRegex::anchored("f(.*)")?;
    /// let groups = regex.captures("foo").expect("it starts with f");
    /// assert_eq!(groups.expand("ch${1}-$$"), "choo-$");
    /// # Ok::<(), model::matcher::RegexError>(())
    /// ```
    ///
    /// # Errors
    /// The pattern is malformed or too large.
    pub fn anchored(pattern: &str) -> Result<GoRegex, RegexError> {
        GoRegex::compile(pattern, &format!("^(?s:{pattern})$"))
    }

    fn compile(pattern: &str, text: &str) -> Result<GoRegex, RegexError> {
        let Parsed { node, groups, size } = parse::parse(text, Dialect::Go)?;
        let whole = whole(&node).map(|inner| Whole {
            plan: reduce::reduce_simple(inner, text.len()).map(|reduced| reduced.plan),
            middle: middle(inner),
        });
        let automaton = OnceLock::new();
        let decided = whole.as_ref().is_some_and(|whole| whole.plan.is_some());
        if !decided || size > LAZY_SIZE_MAX {
            let built =
                Automaton::search(&node).map_err(|_| RegexError::new(RegexErrorKind::TooLarge, text))?;
            automaton.get_or_init(|| built);
        }
        let program = Program { pattern: pattern.into(), node, groups, whole, automaton };
        Ok(GoRegex { program: Arc::new(program) })
    }

    /// Bytes on the heap, about, with what a thread holds while it searches.
    pub fn heap_bytes(&self) -> usize {
        let automaton = self.program.automaton.get();
        let searched = automaton.map_or(0, |automaton| automaton.heap_bytes() + automaton.search_bytes());
        self.program.pattern.len() + self.plan().map_or(0, Plan::heap_bytes) + searched
    }

    /// The pattern as given.
    pub fn as_str(&self) -> &str {
        &self.program.pattern
    }

    /// The names of the groups, the whole match first; a group without a name has none.
    pub fn group_names(&self) -> impl ExactSizeIterator<Item = Option<&str>> {
        self.program.groups.iter().map(Option::as_deref)
    }

    /// Whether the pattern matches (somewhere in) the text.
    pub fn is_match(&self, text: &str) -> bool {
        match self.plan() {
            Some(plan) => plan.matches(text),
            None => self.automaton().is_match(text),
        }
    }

    /// The leftmost match and its groups.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Groups<'_, 't>> {
        if let (Some(whole), Some(plan)) = (&self.program.whole, self.plan()) {
            if !plan.matches(text) {
                return None;
            }
            let all = Some((0, text.len()));
            if let Some(middle) = whole.middle.as_ref().filter(|middle| middle.grouped) {
                return Some(self.groups(text, smallvec![all, Some(middle.span(text))]));
            }
            if self.program.groups.len() == 1 {
                return Some(self.groups(text, smallvec![all]));
            }
        }
        let automaton = self.automaton();
        let mut captures = automaton.create_captures();
        automaton.captures(text, &mut captures);
        captures.is_match().then(|| self.groups(text, spans(&captures)))
    }

    /// The text with each match replaced by the expanded template, as Go's
    /// `ReplaceAllString`.
    pub fn replace_all(&self, text: &str, template: &str) -> String {
        let mut out = String::with_capacity(text.len());
        if self.program.whole.is_some() {
            match self.captures(text) {
                Some(groups) => groups.expand_into(template, &mut out),
                None => out.push_str(text),
            }
            return out;
        }
        let mut copied = 0;
        for captures in self.automaton().all_captures(text) {
            let Some(found) = captures.get_match() else { continue };
            out.push_str(&text[copied..found.start()]);
            self.groups(text, spans(&captures)).expand_into(template, &mut out);
            copied = found.end();
        }
        out.push_str(&text[copied..]);
        out
    }

    fn plan(&self) -> Option<&Plan> {
        self.program.whole.as_ref().and_then(|whole| whole.plan.as_ref())
    }

    fn automaton(&self) -> &Automaton {
        let build = || Automaton::search(&self.program.node).expect("only small patterns are left for later");
        self.program.automaton.get_or_init(build)
    }

    fn groups<'t>(&self, text: &'t str, spans: Spans) -> Groups<'_, 't> {
        Groups { names: &self.program.groups, text, spans }
    }
}

impl PartialEq for GoRegex {
    fn eq(&self, other: &GoRegex) -> bool {
        self.program.pattern == other.program.pattern && self.program.node == other.program.node
    }
}

impl Eq for GoRegex {}

impl fmt::Debug for GoRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GoRegex({:?})", self.as_str())
    }
}

impl fmt::Display for GoRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Middle {
    fn span(&self, text: &str) -> (usize, usize) {
        (self.prefix_len, text.len() - self.suffix_len)
    }
}

/// What stands between `^` and `$`, where that is the whole pattern.
fn whole(node: &Node) -> Option<&Node> {
    match node {
        Node::Concat(nodes) => match nodes.as_slice() {
            [Node::Look(Look::Start), inner, Node::Look(Look::End)] => Some(inner),
            _ => None,
        },
        _ => None,
    }
}

/// Recognises `prefix(.*)suffix`.
fn middle(node: &Node) -> Option<Middle> {
    let mut found = Middle::default();
    let mut gaps = 0;
    let nodes = match node {
        Node::Concat(nodes) => nodes.as_slice(),
        node => std::slice::from_ref(node),
    };
    for node in nodes {
        match node {
            Node::Literal(text) if gaps == 0 => found.prefix_len += text.len(),
            Node::Literal(text) => found.suffix_len += text.len(),
            Node::Group { index: 1, node } => {
                let Node::Repeat { max: None, node, .. } = &**node else { return None };
                gaps += 1;
                found.grouped = node.is_any_char();
                if !found.grouped {
                    return None;
                }
            }
            _ => return None,
        }
    }
    (gaps == 1).then_some(found)
}

type Spans = SmallVec<[Option<(usize, usize)>; 4]>;

fn spans(captures: &Captures) -> Spans {
    (0..captures.group_len()).map(|i| captures.get_group(i).map(|span| (span.start, span.end))).collect()
}

/// A match and its groups.
#[derive(Clone, Debug)]
pub struct Groups<'r, 't> {
    names: &'r [Option<Box<str>>],
    text: &'t str,
    spans: Spans,
}

impl<'t> Groups<'_, 't> {
    /// A group by number, 0 being the whole match; `None` if it took no part or
    /// does not exist.
    pub fn get(&self, index: usize) -> Option<&'t str> {
        let (start, end) = self.spans.get(index).copied().flatten()?;
        Some(&self.text[start..end])
    }

    /// A group by name: of several with that name the first that took part.
    pub fn by_name(&self, name: &str) -> Option<&'t str> {
        let named = self.names.iter().enumerate().filter(|(_, have)| have.as_deref() == Some(name));
        named.filter_map(|(index, _)| self.get(index)).next()
    }

    /// The template with its variables filled in: `$1`, `$name`, `${name}`, and
    /// `$$` for a dollar. A variable reaches as far as letters, digits and
    /// underscores do; unknown ones are empty; a dollar that starts none stays.
    /// Source: Go `regexp.Expand`.
    pub fn expand(&self, template: &str) -> String {
        let mut out = String::new();
        self.expand_into(template, &mut out);
        out
    }

    /// As [`Groups::expand`], appending to `out`.
    pub fn expand_into(&self, template: &str, out: &mut String) {
        let mut rest = template;
        while let Some((before, behind)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(tail) = behind.strip_prefix('$') {
                out.push('$');
                rest = tail;
            } else if let Some((name, tail)) = variable(behind) {
                out.push_str(self.variable_value(name));
                rest = tail;
            } else {
                out.push('$');
                rest = behind;
            }
        }
        out.push_str(rest);
    }

    fn variable_value(&self, name: &str) -> &'t str {
        let numeric = name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
        let number = if numeric { name.parse::<usize>().ok().filter(|n| *n < 1_000_000_000) } else { None };
        number.map_or_else(|| self.by_name(name), |number| self.get(number)).unwrap_or("")
    }
}

/// The variable's name at the start of the text, and what follows.
fn variable(text: &str) -> Option<(&str, &str)> {
    let (braced, text) = text.strip_prefix('{').map_or((false, text), |text| (true, text));
    let end =
        text.find(|c| !(c == '_' || unicode::is_letter(c) || unicode::is_digit(c))).unwrap_or(text.len());
    if end == 0 {
        return None;
    }
    let (name, rest) = text.split_at(end);
    let rest = if braced { rest.strip_prefix('}')? } else { rest };
    Some((name, rest))
}
