//! What decides whether a value matches, as simple as the pattern allows.
//!
//! ```text
//! foo|bar           set        equal to one of these
//! (?i)foo|bar       folded     equal but for case
//! a.*(b|c).+d       gapped     starts with a, then b or c, ends with d
//! .*a.*|b           any of     one of several such
//! [a-z]+\d          automaton  after start, end and contained texts agree
//! ```
//!
//! All of them decide about a whole value: patterns are anchored.

use memchr::memmem;

use super::automaton::Automaton;
use super::words::FoldedWord;

/// The way a value is tested.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    /// Every value matches.
    Everything,
    /// Every value but the empty one matches.
    NonEmpty,
    /// The values that match, sorted, each once.
    Set(Vec<String>),
    /// The values that match but for case.
    Folded(Vec<FoldedWord>),
    /// Texts with gaps between them.
    Gapped(Gapped),
    /// Any of these.
    AnyOf(Vec<Plan>),
    /// Only the automaton knows.
    Automaton(Box<Filtered>),
}

impl Plan {
    pub(super) fn matches(&self, value: &str) -> bool {
        match self {
            Plan::Everything => true,
            Plan::NonEmpty => !value.is_empty(),
            Plan::Set(set) => in_set(set, value),
            Plan::Folded(words) => words.iter().any(|word| word.len_at_start(value) == Some(value.len())),
            Plan::Gapped(gapped) => gapped.matches(value),
            Plan::AnyOf(plans) => plans.iter().any(|plan| plan.matches(value)),
            Plan::Automaton(filtered) => filtered.matches(value),
        }
    }

    /// Whether the automaton is never asked.
    pub(super) fn is_simple(&self) -> bool {
        !matches!(self, Plan::Automaton(_))
    }

    /// Bytes on the heap, about.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Plan::Everything | Plan::NonEmpty => 0,
            Plan::Set(set) => set.iter().map(|text| text.len() + size_of::<String>()).sum(),
            Plan::Folded(words) => words.iter().map(FoldedWord::heap_bytes).sum(),
            Plan::Gapped(gapped) => gapped.heap_bytes(),
            Plan::AnyOf(plans) => plans.iter().map(|plan| plan.heap_bytes() + size_of::<Plan>()).sum(),
            Plan::Automaton(filtered) => filtered.heap_bytes(),
        }
    }

    /// Bytes that searching takes on a thread, about.
    pub(super) fn search_bytes(&self) -> usize {
        match self {
            Plan::AnyOf(plans) => plans.iter().map(Plan::search_bytes).sum(),
            Plan::Automaton(filtered) => filtered.automaton.search_bytes(),
            _ => 0,
        }
    }
}

fn in_set(set: &[String], value: &str) -> bool {
    match set {
        [] => false,
        [only] => only == value,
        few if few.len() <= 8 => few.iter().any(|text| text == value),
        many => many.binary_search_by(|text| text.as_str().cmp(value)).is_ok(),
    }
}

/// One text of a gapped pattern.
#[derive(Clone, Debug)]
pub(super) enum Word {
    /// This text.
    Exact(Box<memmem::Finder<'static>>),
    /// This text but for case.
    Folded(FoldedWord),
}

impl Word {
    pub(super) fn exact(text: &str) -> Word {
        Word::Exact(Box::new(memmem::Finder::new(text).into_owned()))
    }

    fn len_at_start(&self, value: &str) -> Option<usize> {
        match self {
            Word::Exact(text) => value.as_bytes().starts_with(text.needle()).then_some(text.needle().len()),
            Word::Folded(word) => word.len_at_start(value),
        }
    }

    fn len_at_end(&self, value: &str) -> Option<usize> {
        match self {
            Word::Exact(text) => value.as_bytes().ends_with(text.needle()).then_some(text.needle().len()),
            Word::Folded(word) => word.len_at_end(value),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Word::Exact(text) => text.needle().len(),
            Word::Folded(word) => word.heap_bytes(),
        }
    }

    fn find_end(&self, value: &str) -> Option<usize> {
        match self {
            Word::Exact(text) => text.find(value.as_bytes()).map(|at| at + text.needle().len()),
            Word::Folded(word) => word.find_end(value),
        }
    }
}

/// `start gap inner gap … gap end`, where each gap is any text of at least some
/// characters, and each text one of a few.
///
/// Taking the occurrence that ends first (at the end of the value: starts last)
/// never spoils a match, as it only widens the next gap.
#[derive(Clone, Debug)]
pub(super) struct Gapped {
    pub(super) start: Vec<Word>,
    /// The gap's least number of characters, and the text behind it.
    pub(super) inner: Vec<(u32, Vec<Word>)>,
    /// The least number of characters of the last gap.
    pub(super) last_gap: u32,
    pub(super) end: Vec<Word>,
}

impl Gapped {
    fn heap_bytes(&self) -> usize {
        let words = self.start.iter().chain(&self.end).chain(self.inner.iter().flat_map(|(_, words)| words));
        words.map(|word| size_of::<Word>() + word.heap_bytes()).sum()
    }

    fn matches(&self, value: &str) -> bool {
        self.test(value).is_some()
    }

    fn test(&self, value: &str) -> Option<()> {
        let mut rest = &value[shortest(&self.start, |word| word.len_at_start(value))?..];
        let end_len = shortest(&self.end, |word| word.len_at_end(rest))?;
        rest = &rest[..rest.len() - end_len];
        for (gap, words) in &self.inner {
            rest = skip_chars(rest, *gap)?;
            rest = &rest[shortest(words, |word| word.find_end(rest))?..];
        }
        skip_chars(rest, self.last_gap).map(drop)
    }
}

fn shortest(words: &[Word], len: impl Fn(&Word) -> Option<usize>) -> Option<usize> {
    match words {
        [only] => len(only),
        words => words.iter().filter_map(len).min(),
    }
}

fn skip_chars(text: &str, count: u32) -> Option<&str> {
    let mut chars = text.chars();
    for _ in 0..count {
        chars.next()?;
    }
    Some(chars.as_str())
}

/// Texts that every matching value has; empty where nothing is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Required {
    pub(super) prefix: String,
    pub(super) suffix: String,
    /// In this order, behind the prefix and before the suffix.
    pub(super) contains: Vec<String>,
}

/// An automaton behind cheap conditions.
#[derive(Clone, Debug)]
pub(super) struct Filtered {
    prefix: String,
    suffix: String,
    contains: Vec<memmem::Finder<'static>>,
    automaton: Automaton,
}

impl Filtered {
    pub(super) fn new(required: &Required, automaton: Automaton) -> Filtered {
        let contains = required.contains.iter().map(|text| memmem::Finder::new(text).into_owned()).collect();
        Filtered { prefix: required.prefix.clone(), suffix: required.suffix.clone(), contains, automaton }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.automaton.heap_bytes() + self.prefix.len() + self.suffix.len()
    }

    fn matches(&self, value: &str) -> bool {
        let Some(rest) = value.strip_prefix(self.prefix.as_str()) else { return false };
        let Some(rest) = rest.strip_suffix(self.suffix.as_str()) else { return false };
        let mut rest = rest.as_bytes();
        for text in &self.contains {
            match text.find(rest) {
                Some(at) => rest = &rest[at + text.needle().len()..],
                None => return false,
            }
        }
        self.automaton.is_match(value)
    }
}
