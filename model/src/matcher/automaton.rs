//! The automaton: what runs where nothing simpler decides.

use std::fmt;
use std::sync::Arc;

use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::captures::Captures;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Hir, Look};

use super::ast::Node;

/// The most memory that a compiled pattern may take, in bytes.
const PROGRAM_BYTES_MAX: usize = 32 << 20;
/// The most that a thread's cache of states takes, in bytes.
const CACHE_BYTES_MAX: usize = 2 << 20;

/// A compiled pattern. Clones share it.
#[derive(Clone)]
pub(super) struct Automaton {
    regex: Arc<Regex>,
    anchored: Anchored,
}

impl fmt::Debug for Automaton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Automaton").field("bytes", &self.regex.memory_usage()).finish()
    }
}

impl Automaton {
    /// Matches whole values, tells yes or no.
    pub(super) fn whole(node: &Node) -> Result<Automaton, Box<BuildError>> {
        let hir = Hir::concat(vec![Hir::look(Look::Start), node.to_hir(), Hir::look(Look::End)]);
        Ok(Automaton { regex: build(&hir, WhichCaptures::None)?, anchored: Anchored::Yes })
    }

    /// Finds the leftmost match and its groups.
    pub(super) fn search(node: &Node) -> Result<Automaton, Box<BuildError>> {
        Ok(Automaton { regex: build(&node.to_hir(), WhichCaptures::All)?, anchored: Anchored::No })
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(Input::new(text).anchored(self.anchored))
    }

    /// Room for the groups of a match.
    pub(super) fn create_captures(&self) -> Captures {
        self.regex.create_captures()
    }

    /// The leftmost match and its groups.
    pub(super) fn captures(&self, text: &str, captures: &mut Captures) {
        self.regex.search_captures(&Input::new(text).anchored(self.anchored), captures);
    }

    /// Each match in turn, without overlaps.
    pub(super) fn all_captures<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Captures> + 'a {
        self.regex.captures_iter(text)
    }

    /// Bytes on the heap that the automaton holds, caches of threads left out.
    pub(super) fn heap_bytes(&self) -> usize {
        self.regex.memory_usage()
    }

    /// Bytes that searching takes on a thread, about: states are made of the
    /// program's as they are met, up to a limit.
    pub(super) fn search_bytes(&self) -> usize {
        self.regex.memory_usage().saturating_mul(4).min(CACHE_BYTES_MAX)
    }
}

fn build(hir: &Hir, captures: WhichCaptures) -> Result<Arc<Regex>, Box<BuildError>> {
    let config = Config::new()
        .which_captures(captures)
        .nfa_size_limit(Some(PROGRAM_BYTES_MAX))
        .hybrid_cache_capacity(CACHE_BYTES_MAX)
        .onepass_size_limit(Some(1 << 20));
    let regex = Regex::builder().configure(config).build_from_hir(hir).map_err(Box::new)?;
    Ok(Arc::new(regex))
}
