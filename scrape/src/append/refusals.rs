//! Which samples of a page were refused, told one by one where debug messages
//! are wanted.
//!
//! A line that is known is told by its hash alone; so the page is gone over
//! again for the text of what was refused.

use std::collections::HashMap;
use std::fmt;

use model::Exemplar;
use model::series_cache::SeriesKey;

use crate::COMPONENT;
use crate::append::AppendContext;
use crate::exposition::{Entry, Format, ParseOptions, Parser};

/// Why a sample was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    OutOfOrder,
    Duplicate,
    OutOfBounds,
}

impl Refusal {
    fn message(self) -> &'static str {
        match self {
            Refusal::OutOfOrder => "Out of order sample",
            Refusal::Duplicate => "Duplicate sample for timestamp",
            Refusal::OutOfBounds => "Out of bounds metric",
        }
    }
}

/// The refused samples of one page; empty where nobody wants to know.
pub(super) struct Refusals {
    is_wanted: bool,
    by_key: HashMap<SeriesKey, Vec<Refusal>>,
}

impl Refusals {
    pub(super) fn new() -> Refusals {
        Refusals { is_wanted: tracing::enabled!(tracing::Level::DEBUG), by_key: HashMap::new() }
    }

    pub(super) fn note(&mut self, key: SeriesKey, refusal: Refusal) {
        if self.is_wanted {
            self.by_key.entry(key).or_default().push(refusal);
        }
    }

    /// Says which they are, in the order of the page.
    pub(super) fn tell(
        &mut self,
        context: &AppendContext<'_>,
        page: &[u8],
        format: Format,
        options: ParseOptions,
    ) {
        for (series, refusal) in self.found(page, format, options) {
            tracing::debug!(
                component = COMPONENT,
                scrape_pool = context.job.name(),
                target = context.target.url(),
                series,
                "{}",
                refusal.message()
            );
        }
    }

    /// The text of each refused sample's series, as exposed.
    fn found(&mut self, page: &[u8], format: Format, options: ParseOptions) -> Vec<(String, Refusal)> {
        let mut found = Vec::new();
        let mut parser = Parser::new(page, format, options);
        while !self.by_key.is_empty()
            && let Ok(Some(entry)) = parser.next_entry()
        {
            if matches!(entry, Entry::Series { .. } | Entry::Histogram { .. }) {
                let series = parser.metric();
                let refusals = self.by_key.remove(&SeriesKey::of(series)).unwrap_or_default();
                let text = |refusal| (String::from_utf8_lossy(series).into_owned(), refusal);
                found.extend(refusals.into_iter().map(text));
            }
        }
        found
    }
}

/// An exemplar as Go prints it.
pub(super) struct Shown<'a>(pub(super) &'a Exemplar);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exemplar { labels, value, timestamp_ms, has_timestamp } = self.0;
        write!(f, "{{Labels:{labels} Value:{value} Ts:{timestamp_ms} HasTs:{has_timestamp}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_samples_are_found_by_their_place_in_the_page() {
        let page = b"# TYPE a counter\na{x=\"\xc3\xa9\"} 1 5\nb 2\na{x=\"2\"} 3\nb 3\n";
        let mut refusals = Refusals { is_wanted: true, by_key: HashMap::new() };
        refusals.note(SeriesKey::of(b"b"), Refusal::Duplicate);
        refusals.note(SeriesKey::of(b"a{x=\"\xc3\xa9\"}"), Refusal::OutOfOrder);
        refusals.note(SeriesKey::of(b"gone"), Refusal::OutOfBounds);
        let found = refusals.found(page, Format::Text, ParseOptions::default());
        let wanted =
            [("a{x=\"\u{e9}\"}".to_owned(), Refusal::OutOfOrder), ("b".to_owned(), Refusal::Duplicate)];
        assert_eq!(found, wanted);
        let mut nobody = Refusals { is_wanted: false, by_key: HashMap::new() };
        nobody.note(SeriesKey::of(b"b"), Refusal::Duplicate);
        assert_eq!(nobody.found(page, Format::Text, ParseOptions::default()), []);
    }

    #[test]
    fn exemplars_print_as_gos_structures_do() {
        let labels = model::labels::Labels::from_pairs([("t", "x")]);
        let exemplar = Exemplar { labels, value: 1.5, timestamp_ms: 7, has_timestamp: true };
        assert_eq!(Shown(&exemplar).to_string(), "{Labels:{t=\"x\"} Value:1.5 Ts:7 HasTs:true}");
    }
}
