//! What a target says about its metrics, kept for a while after it stops.

mod texts;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use model::series_cache::SeriesKey;
use model::{Metadata, MetricType};

use self::texts::{SharedText, Text};

/// Scrapes that metadata is kept after its family was last seen.
const KEPT_SCRAPES: u32 = 10;

/// Metadata of one target by family.
#[derive(Debug, Default)]
pub struct MetadataCache {
    families: HashTable<Entry>,
    text_bytes: usize,
    scrape: u32,
}

#[derive(Debug)]
struct Entry {
    text: SharedText,
    seen: u32,
    changed: u32,
}

fn hash(family: &str) -> u64 {
    hash_of(family.as_bytes())
}

fn hash_of(family: &[u8]) -> u64 {
    SeriesKey::of(family).table_hash()
}

impl Entry {
    fn size(&self) -> usize {
        let metadata = &self.text.metadata;
        metadata.help.len() + metadata.unit.len() + metadata.metric_type.as_str().len()
    }
}

/// One thing said about a family.
pub(crate) enum Said<'a> {
    Type(MetricType),
    Help(&'a str),
    Unit(&'a str),
}

/// The same as it is written in the page.
#[derive(Clone, Copy)]
pub(crate) enum KnownWords<'a> {
    Type(MetricType),
    Help(&'a [u8]),
}

impl Said<'_> {
    fn is_known(&self, metadata: &Metadata) -> bool {
        match self {
            Said::Type(metric_type) => metadata.metric_type == *metric_type,
            Said::Help(help) => metadata.help == *help,
            Said::Unit(unit) => metadata.unit == *unit,
        }
    }

    fn apply(&self, metadata: &mut Metadata) {
        match *self {
            Said::Type(metric_type) => metadata.metric_type = metric_type,
            Said::Help(help) => help.clone_into(&mut metadata.help),
            Said::Unit(unit) => unit.clone_into(&mut metadata.unit),
        }
    }
}

impl MetadataCache {
    /// The metadata of a family.
    pub fn get(&self, family: &str) -> Option<&Metadata> {
        let found = self.families.find(hash(family), |entry| entry.text.family == family);
        found.map(|entry| &entry.text.metadata)
    }

    /// All families and their metadata, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Metadata)> {
        self.families.iter().map(|entry| (entry.text.family.as_str(), &entry.text.metadata))
    }

    /// How many families there are.
    pub fn len(&self) -> usize {
        self.families.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    /// Bytes of help, units and types.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Takes note of something that was said before in the same words, if it
    /// was: then it need not be read as text. Whether it is new in this scrape.
    pub(crate) fn note_known(&mut self, family: &[u8], said: KnownWords<'_>) -> Option<bool> {
        let same_family = |entry: &Entry| entry.text.family.as_bytes() == family;
        let entry = self.families.find_mut(hash_of(family), same_family)?;
        let metadata = &entry.text.metadata;
        let is_known = match said {
            KnownWords::Type(metric_type) => metadata.metric_type == metric_type,
            KnownWords::Help(raw) => metadata.help.as_bytes() == raw && !raw.contains(&b'\\'),
        };
        if !is_known {
            return None;
        }
        entry.seen = self.scrape;
        Some(entry.changed == self.scrape + 1)
    }

    /// Takes note of something said; whether it is new in this scrape.
    pub(crate) fn note(&mut self, family: &str, said: Said<'_>) -> bool {
        let new_text = |mut metadata: Metadata| {
            said.apply(&mut metadata);
            SharedText::of(Text { family: family.to_owned(), metadata })
        };
        let same_family = |entry: &Entry| entry.text.family == family;
        match self.families.entry(hash(family), same_family, |entry| hash(&entry.text.family)) {
            Slot::Occupied(mut found) => {
                let entry = found.get_mut();
                entry.seen = self.scrape;
                if !said.is_known(&entry.text.metadata) {
                    self.text_bytes -= entry.size();
                    entry.text = new_text(entry.text.metadata.clone());
                    self.text_bytes += entry.size();
                    entry.changed = self.scrape + 1;
                }
                entry.changed == self.scrape + 1
            }
            Slot::Vacant(slot) => {
                let is_news = !said.is_known(&Metadata::default());
                let changed = if is_news { self.scrape + 1 } else { 0 };
                let entry = Entry { text: new_text(Metadata::default()), seen: self.scrape, changed };
                self.text_bytes += entry.size();
                slot.insert(entry);
                is_news
            }
        }
    }

    /// Ends a scrape; after a good one, what was not said for long is forgotten.
    pub(crate) fn end_scrape(&mut self, good: bool) {
        if good {
            let (scrape, text_bytes) = (self.scrape, &mut self.text_bytes);
            self.families.retain(|entry| {
                let keep = scrape - entry.seen <= KEPT_SCRAPES;
                if !keep {
                    *text_bytes -= entry.size();
                }
                keep
            });
        }
        self.scrape += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_stays_ten_scrapes_after_its_family() {
        let mut cache = MetadataCache::default();
        assert!(cache.note("a", Said::Type(MetricType::Counter)));
        assert_eq!(cache.text_bytes(), 7);
        for _ in 0..=KEPT_SCRAPES {
            cache.end_scrape(true);
            assert!(cache.get("a").is_some());
        }
        cache.end_scrape(true);
        assert!(cache.is_empty());
        assert_eq!(cache.text_bytes(), 0);
    }

    #[test]
    fn words_that_were_said_before_are_known_as_bytes() {
        let mut cache = MetadataCache::default();
        assert_eq!(cache.note_known(b"a", KnownWords::Type(MetricType::Gauge)), None);
        cache.note("a", Said::Help("one \\ two"));
        cache.note("b", Said::Help("plain"));
        cache.note("b", Said::Type(MetricType::Gauge));
        assert_eq!(cache.note_known(b"b", KnownWords::Help(b"plain")), Some(true), "new in this scrape");
        for _ in 0..=KEPT_SCRAPES {
            cache.end_scrape(true);
        }
        assert_eq!(cache.note_known(b"b", KnownWords::Help(b"plain")), Some(false));
        assert_eq!(cache.note_known(b"b", KnownWords::Type(MetricType::Counter)), None);
        assert_eq!(cache.note_known(b"a", KnownWords::Help(b"one \\ two")), None, "written with an escape");
        cache.end_scrape(true);
        assert!(cache.get("a").is_none() && cache.get("b").is_some(), "what is known counts as seen");
    }

    #[test]
    fn a_change_is_news_for_one_scrape() {
        let mut cache = MetadataCache::default();
        cache.note("a", Said::Help("x"));
        cache.end_scrape(true);
        assert!(!cache.note("a", Said::Help("x")));
        cache.end_scrape(true);
        assert!(cache.note("a", Said::Help("y")));
        assert!(cache.note("a", Said::Help("y")), "still the same scrape");
    }
}
