//! From a parsed pattern to the simplest plan that decides it.
//!
//! A pattern is cut into pieces: finite sets of texts, gaps of any characters,
//! and the rest. Without a rest no automaton is needed; with one, the pieces
//! still say what every match starts with, ends with and contains.

use regex_automata::meta::BuildError;
use regex_syntax::hir::Look;

use super::ast::Node;
use super::automaton::Automaton;
use super::plan::{Filtered, Gapped, Plan, Required, Word};
use super::words::{self, Budget, FOLDED_MAX, FoldedWord};

/// How many alternatives a text of a gapped pattern may have.
const WORDS_MAX: usize = 16;
/// How many plans are tried one after the other.
const PLANS_MAX: usize = 16;

/// A plan and what every matching value has.
pub(super) struct Reduced {
    pub(super) plan: Plan,
    pub(super) required: Required,
}

/// Reduces a pattern that must match whole values.
pub(super) fn reduce(node: &Node, pattern_len: usize) -> Result<Reduced, Box<BuildError>> {
    if let Some(reduced) = reduce_simple(node, pattern_len) {
        return Ok(reduced);
    }
    let required = match node.ungrouped() {
        Node::Alternate(_) => Required::default(),
        node => required(&pieces(node, Budget::for_pattern(pattern_len))),
    };
    let filtered = Filtered::new(&required, Automaton::whole(node)?);
    Ok(Reduced { plan: Plan::Automaton(Box::new(filtered)), required })
}

/// As [`reduce`], where no automaton is needed.
pub(super) fn reduce_simple(node: &Node, pattern_len: usize) -> Option<Reduced> {
    alternatives(node.ungrouped(), Budget::for_pattern(pattern_len))
}

/// One piece of a concatenation.
enum Piece {
    /// One of these texts.
    Set(Vec<String>),
    /// One of these, small classes taken together.
    Folded(Vec<FoldedWord>),
    /// At least `min` characters of any kind; just as many if not open-ended.
    Gap { min: u32, open_ended: bool },
    /// Something else.
    Rest,
}

/// The plan where no automaton is needed.
fn alternatives(node: &Node, budget: Budget) -> Option<Reduced> {
    if let Some(set) = words::list(node, budget) {
        return Some(of_set(set));
    }
    let Node::Alternate(nodes) = node else { return concatenation(node, budget) };
    let mut found = Alternatives::default();
    for node in nodes {
        found.add(alternatives(node.ungrouped(), budget)?);
        if found.plans.len() > PLANS_MAX || found.folded.len() > FOLDED_MAX {
            return None;
        }
    }
    Some(found.together())
}

/// The plans of the alternatives of a pattern, those of one kind joined.
#[derive(Default)]
struct Alternatives {
    set: Vec<String>,
    folded: Vec<FoldedWord>,
    plans: Vec<Plan>,
    required: Option<Required>,
}

impl Alternatives {
    fn add(&mut self, reduced: Reduced) {
        self.required = Some(match self.required.take() {
            None => reduced.required,
            Some(before) => in_both(&before, &reduced.required),
        });
        self.add_plan(reduced.plan);
    }

    fn add_plan(&mut self, plan: Plan) {
        match plan {
            Plan::Set(more) => self.set.extend(more),
            Plan::Folded(more) => self.folded.extend(more),
            Plan::AnyOf(more) => more.into_iter().for_each(|plan| self.add_plan(plan)),
            plan => self.plans.push(plan),
        }
    }

    fn together(self) -> Reduced {
        let Alternatives { mut set, folded, mut plans, required } = self;
        if !folded.is_empty() {
            plans.insert(0, Plan::Folded(folded));
        }
        if !set.is_empty() || plans.is_empty() {
            set.sort_unstable();
            set.dedup();
            plans.insert(0, Plan::Set(set));
        }
        let everything = plans.iter().any(|plan| matches!(plan, Plan::Everything));
        let non_empty = plans.iter().any(|plan| matches!(plan, Plan::NonEmpty));
        if everything || (non_empty && plans.iter().any(|plan| plan.matches(""))) {
            return Reduced { plan: Plan::Everything, required: Required::default() };
        }
        if non_empty {
            return Reduced { plan: Plan::NonEmpty, required: Required::default() };
        }
        let plan = if plans.len() == 1 { plans.swap_remove(0) } else { Plan::AnyOf(plans) };
        Reduced { plan, required: required.unwrap_or_default() }
    }
}

/// A finite set, ordered.
fn of_set(mut set: Vec<String>) -> Reduced {
    set.sort_unstable();
    set.dedup();
    let required =
        Required { prefix: common_prefix(&set), suffix: common_suffix(&set), contains: Vec::new() };
    Reduced { plan: Plan::Set(set), required }
}

/// The plan of something that is no alternation.
fn concatenation(node: &Node, budget: Budget) -> Option<Reduced> {
    let mut pieces = pieces(node, budget);
    if pieces.iter().any(|piece| matches!(piece, Piece::Rest | Piece::Gap { open_ended: false, .. })) {
        return None;
    }
    let required = required(&pieces);
    if pieces.len() <= 1 {
        return match pieces.pop() {
            None => Some(of_set(vec![String::new()])),
            Some(Piece::Set(set)) => Some(of_set(set)),
            Some(Piece::Folded(words)) => Some(Reduced { plan: Plan::Folded(words), required }),
            Some(Piece::Gap { min: 0, .. }) => Some(Reduced { plan: Plan::Everything, required }),
            Some(Piece::Gap { min: 1, .. }) => Some(Reduced { plan: Plan::NonEmpty, required }),
            Some(gap) => gapped(vec![gap]).map(|gapped| Reduced { plan: Plan::Gapped(gapped), required }),
        };
    }
    gapped(pieces).map(|gapped| Reduced { plan: Plan::Gapped(gapped), required })
}

fn gapped(pieces: Vec<Piece>) -> Option<Gapped> {
    let nothing = || vec![Word::exact("")];
    let mut start = None;
    let mut inner: Vec<(u32, Vec<Word>)> = Vec::new();
    let mut gap = None;
    let mut behind_gap = None;
    for piece in pieces {
        match (piece, gap) {
            (Piece::Gap { min, .. }, before) => {
                if let (Some(words), Some(before)) = (behind_gap.take(), before) {
                    inner.push((before, words));
                }
                gap = Some(min);
            }
            (piece, None) if start.is_none() => start = Some(words_of(piece)?),
            (piece, Some(_)) if behind_gap.is_none() => behind_gap = Some(words_of(piece)?),
            // Two texts side by side that could not be joined.
            _ => return None,
        }
    }
    Some(Gapped {
        start: start.unwrap_or_else(nothing),
        inner,
        last_gap: gap?,
        end: behind_gap.unwrap_or_else(nothing),
    })
}

fn words_of(piece: Piece) -> Option<Vec<Word>> {
    let words: Vec<Word> = match piece {
        Piece::Set(set) => set.iter().map(|text| Word::exact(text)).collect(),
        Piece::Folded(words) => words.into_iter().map(Word::Folded).collect(),
        Piece::Gap { .. } | Piece::Rest => return None,
    };
    (words.len() <= WORDS_MAX).then_some(words)
}

/// Cuts a pattern into pieces, neighbours of one kind joined.
fn pieces(node: &Node, budget: Budget) -> Vec<Piece> {
    let mut flat = Vec::new();
    flatten(node, &mut flat);
    // Whole values are matched anyway.
    let at_start = |node: &&Node| matches!(node, Node::Look(Look::Start | Look::StartLF));
    let starts = flat.iter().copied().take_while(at_start).count();
    flat.drain(..starts);
    while matches!(flat.last(), Some(Node::Look(Look::End | Look::EndLF))) {
        flat.pop();
    }
    let mut pieces: Vec<Piece> = Vec::new();
    let mut run: Vec<&Node> = Vec::new();
    for node in flat {
        let piece = match gap(node) {
            Some(gap) => gap,
            None if words::list(node, budget).is_some() || words::list_folded([node]).is_some() => {
                run.push(node);
                continue;
            }
            None => Piece::Rest,
        };
        end_run(&mut pieces, &mut run, budget);
        match (pieces.last_mut(), piece) {
            (Some(Piece::Gap { min, open_ended }), Piece::Gap { min: more, open_ended: open }) => {
                *min = min.saturating_add(more);
                *open_ended |= open;
            }
            (_, piece) => pieces.push(piece),
        }
    }
    end_run(&mut pieces, &mut run, budget);
    pieces
}

fn flatten<'n>(node: &'n Node, flat: &mut Vec<&'n Node>) {
    match node.ungrouped() {
        Node::Concat(nodes) => nodes.iter().for_each(|node| flatten(node, flat)),
        Node::Empty => {}
        node => flat.push(node),
    }
}

fn gap(node: &Node) -> Option<Piece> {
    match node {
        node if node.is_any_char() => Some(Piece::Gap { min: 1, open_ended: false }),
        Node::Repeat { min, max: None, node, .. } if node.ungrouped().is_any_char() => {
            Some(Piece::Gap { min: *min, open_ended: true })
        }
        _ => None,
    }
}

/// Turns neighbouring finite nodes into one piece, or into several where their
/// combinations are too many.
fn end_run(pieces: &mut Vec<Piece>, run: &mut Vec<&Node>, budget: Budget) {
    if run.is_empty() {
        return;
    }
    let set = words::list_sequence(run.iter().copied(), budget);
    let few = set.as_ref().is_some_and(|set| set.len() <= WORDS_MAX);
    let folded = if few { None } else { words::list_folded(run.iter().copied()) };
    match (set, folded) {
        (_, Some(words)) => pieces.push(Piece::Folded(words)),
        (Some(set), None) => pieces.push(Piece::Set(set)),
        (None, None) => {
            let one = |node: &&Node| words::list(node, budget).map_or(Piece::Rest, Piece::Set);
            pieces.extend(run.iter().map(one));
        }
    }
    run.clear();
}

/// What the pieces, one after the other, ask of every value.
fn required(pieces: &[Piece]) -> Required {
    let contains = match pieces {
        [_, inner @ .., _] => inner.iter().filter_map(|piece| match piece {
            Piece::Set(set) => match set.as_slice() {
                [only] if !only.is_empty() => Some(only.clone()),
                _ => None,
            },
            _ => None,
        }),
        _ => {
            let [Piece::Set(set)] = pieces else { return Required::default() };
            return Required { prefix: common_prefix(set), suffix: common_suffix(set), contains: Vec::new() };
        }
    };
    let set = |piece: Option<&Piece>, common: fn(&[String]) -> String| match piece {
        Some(Piece::Set(set)) => common(set),
        _ => String::new(),
    };
    Required {
        prefix: set(pieces.first(), common_prefix),
        suffix: set(pieces.last(), common_suffix),
        contains: contains.collect(),
    }
}

/// What values have that fulfil one or the other.
fn in_both(left: &Required, right: &Required) -> Required {
    Required {
        prefix: left.prefix[..prefix_len(&left.prefix, &right.prefix)].to_owned(),
        suffix: left.suffix[left.suffix.len() - suffix_len(&left.suffix, &right.suffix)..].to_owned(),
        contains: if left.contains == right.contains { left.contains.clone() } else { Vec::new() },
    }
}

fn common_prefix(set: &[String]) -> String {
    let Some((first, others)) = set.split_first() else { return String::new() };
    let len = others.iter().fold(first.len(), |len, text| len.min(prefix_len(first, text)));
    first[..len].to_owned()
}

fn common_suffix(set: &[String]) -> String {
    let Some((first, others)) = set.split_first() else { return String::new() };
    let len = others.iter().fold(first.len(), |len, text| len.min(suffix_len(first, text)));
    first[first.len() - len..].to_owned()
}

fn prefix_len(left: &str, right: &str) -> usize {
    left.chars().zip(right.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum()
}

fn suffix_len(left: &str, right: &str) -> usize {
    left.chars().rev().zip(right.chars().rev()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum()
}
