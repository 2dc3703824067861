//! Finite sets: the texts that a pattern equals, listed where they are few.

use regex_syntax::hir::ClassUnicode;
use smallvec::SmallVec;

use super::ast::Node;

/// How many texts may come from classes, optional parts and their combinations.
const LISTED_MAX: usize = 256;
/// How many characters a place may accept and still be compared one by one.
const CHOICES_MAX: usize = 4;
/// How many texts with such places are compared one by one.
pub(super) const FOLDED_MAX: usize = 64;
/// How many places are put together while such texts are listed.
const PLACES_MAX: usize = 16 << 10;

/// Bounds on a listing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    count: usize,
    bytes: usize,
}

impl Budget {
    /// What a pattern of that length may be listed to: a plain alternation
    /// always, everything else up to a fixed count.
    pub(super) fn for_pattern(len: usize) -> Budget {
        Budget { count: LISTED_MAX.max(len), bytes: (64 << 10).max(len.saturating_mul(2)) }
    }

    fn allows(&self, words: &[String]) -> bool {
        words.len() <= self.count && words.iter().map(String::len).sum::<usize>() <= self.bytes
    }
}

/// Every text that the node matches, in the order of the pattern; `None`: too
/// many, or not a finite set.
pub(super) fn list(node: &Node, budget: Budget) -> Option<Vec<String>> {
    let words = match node {
        Node::Empty => vec![String::new()],
        Node::Literal(text) => vec![text.clone()],
        Node::Class(class) => chars_of(class, LISTED_MAX)?.map(String::from).collect(),
        Node::Look(_) => return None,
        Node::Group { node, .. } => return list(node, budget),
        Node::Alternate(nodes) => {
            let mut words: Vec<String> = Vec::new();
            let mut bytes = 0;
            for node in nodes {
                let more = list(node, budget)?;
                bytes += more.iter().map(String::len).sum::<usize>();
                words.extend(more);
                if words.len() > budget.count || bytes > budget.bytes {
                    return None;
                }
            }
            return Some(words);
        }
        Node::Concat(nodes) => list_sequence(nodes, budget)?,
        Node::Repeat { min, max, node, .. } => {
            let max = (*max)?;
            if max == 0 {
                return Some(vec![String::new()]);
            }
            let once = list(node, budget)?;
            let mut words = Vec::new();
            let mut power = vec![String::new()];
            for n in 0..=max {
                if n > 0 {
                    power = product(&power, &once, budget)?;
                }
                if n >= *min {
                    words.extend_from_slice(&power);
                }
                if words.len() > budget.count {
                    return None;
                }
            }
            words
        }
    };
    budget.allows(&words).then_some(words)
}

/// Every text that the nodes match one after the other, as [`list`].
pub(super) fn list_sequence<'n>(
    nodes: impl IntoIterator<Item = &'n Node>,
    budget: Budget,
) -> Option<Vec<String>> {
    let mut words = vec![String::new()];
    for node in nodes {
        words = product(&words, &list(node, budget)?, budget)?;
    }
    Some(words)
}

/// Each text of `left` before each of `right`.
fn product(left: &[String], right: &[String], budget: Budget) -> Option<Vec<String>> {
    let count = left.len().checked_mul(right.len())?;
    if left.len() > 1 && right.len() > 1 && count > LISTED_MAX {
        return None;
    }
    let bytes = |words: &[String]| words.iter().map(String::len).sum::<usize>();
    let total =
        bytes(left).saturating_mul(right.len()).saturating_add(bytes(right).saturating_mul(left.len()));
    if count > budget.count || total > budget.bytes {
        return None;
    }
    Some(left.iter().flat_map(|head| right.iter().map(move |tail| format!("{head}{tail}"))).collect())
}

/// The characters of a class of at most `max`.
fn chars_of(class: &ClassUnicode, max: usize) -> Option<impl Iterator<Item = char> + '_> {
    let size: usize = class.ranges().iter().map(|range| range.len()).sum();
    (size <= max).then(|| class.ranges().iter().flat_map(|range| range.start()..=range.end()))
}

/// A text with, at each place, up to four characters to choose from: `[Kk\u{212a}]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoldedWord {
    places: Box<[[char; CHOICES_MAX]]>,
}

impl FoldedWord {
    /// Bytes of the part at the start of `text` that this word equals.
    pub(super) fn len_at_start(&self, text: &str) -> Option<usize> {
        let mut chars = text.chars();
        for place in &self.places {
            let c = chars.next()?;
            if !place.contains(&c) {
                return None;
            }
        }
        Some(text.len() - chars.as_str().len())
    }

    /// Bytes of the part at the end of `text` that this word equals.
    pub(super) fn len_at_end(&self, text: &str) -> Option<usize> {
        let mut chars = text.chars();
        for place in self.places.iter().rev() {
            let c = chars.next_back()?;
            if !place.contains(&c) {
                return None;
            }
        }
        Some(text.len() - chars.as_str().len())
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.places.len() * size_of::<[char; CHOICES_MAX]>()
    }

    /// Where its first occurrence ends.
    pub(super) fn find_end(&self, text: &str) -> Option<usize> {
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        starts.into_iter().find_map(|at| self.len_at_start(&text[at..]).map(|len| at + len))
    }
}

/// Every text that the nodes match one after the other, case variants and other
/// small classes taken together; `None`: too many, or not a finite set.
pub(super) fn list_folded<'n>(nodes: impl IntoIterator<Item = &'n Node>) -> Option<Vec<FoldedWord>> {
    let mut places_left = PLACES_MAX;
    let words = folded_sequence(nodes, &mut places_left)?;
    Some(words.into_iter().map(|places| FoldedWord { places: places.into_vec().into() }).collect())
}

type Places = SmallVec<[[char; CHOICES_MAX]; 4]>;

fn folded(node: &Node, places_left: &mut usize) -> Option<Vec<Places>> {
    let words = match node {
        Node::Empty => vec![Places::new()],
        Node::Literal(text) => vec![text.chars().map(|c| [c; CHOICES_MAX]).collect()],
        Node::Class(class) => {
            let mut chars = chars_of(class, CHOICES_MAX)?;
            let Some(first) = chars.next() else { return Some(Vec::new()) };
            let mut place = [first; CHOICES_MAX];
            for (slot, c) in place[1..].iter_mut().zip(chars) {
                *slot = c;
            }
            vec![Places::from_iter([place])]
        }
        Node::Look(_) => return None,
        Node::Group { node, .. } => return folded(node, places_left),
        Node::Alternate(nodes) => {
            let mut words = Vec::new();
            for node in nodes {
                words.extend(folded(node, places_left)?);
            }
            words
        }
        Node::Concat(nodes) => folded_sequence(nodes, places_left)?,
        Node::Repeat { min: 0, max: Some(1), node, .. } => {
            let mut words = folded(node, places_left)?;
            words.push(Places::new());
            words
        }
        Node::Repeat { .. } => return None,
    };
    (words.len() <= FOLDED_MAX).then_some(words)
}

fn folded_sequence<'n>(
    nodes: impl IntoIterator<Item = &'n Node>,
    places_left: &mut usize,
) -> Option<Vec<Places>> {
    let mut words = vec![Places::new()];
    for node in nodes {
        let tails = folded(node, places_left)?;
        if let ([head], [tail]) = (words.as_mut_slice(), tails.as_slice()) {
            *places_left = places_left.checked_sub(tail.len() + 1)?;
            head.extend_from_slice(tail);
        } else {
            words = joined(&words, &tails, places_left)?;
        }
    }
    Some(words)
}

fn joined(left: &[Places], right: &[Places], places_left: &mut usize) -> Option<Vec<Places>> {
    if left.len().checked_mul(right.len())? > FOLDED_MAX {
        return None;
    }
    let mut words = Vec::new();
    for head in left {
        for tail in right {
            *places_left = places_left.checked_sub(head.len() + tail.len() + 1)?;
            words.push(head.iter().chain(tail).copied().collect());
        }
    }
    Some(words)
}
