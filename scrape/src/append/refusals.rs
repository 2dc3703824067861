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
        if self.by_key.is_empty() {
            return;
        }
        let mut parser = Parser::new(page, format, options);
        while let Ok(Some(entry)) = parser.next_entry() {
            if !matches!(entry, Entry::Series { .. } | Entry::Histogram { .. }) {
                continue;
            }
            let series = parser.metric();
            for refusal in self.by_key.remove(&SeriesKey::of(series)).unwrap_or_default() {
                tracing::debug!(
                    component = COMPONENT,
                    scrape_pool = context.job.name(),
                    target = context.target.url(),
                    series = %String::from_utf8_lossy(series),
                    "{}",
                    refusal.message()
                );
            }
        }
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
